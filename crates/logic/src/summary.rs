//! What cells tell each other of their clusters, so that a super cluster needs to know no member of another cell.
//!
//! - `Teller` turns what a cell knows of its clusters into few coarse numbers, and tells others when one of them has
//!   moved to another step, at most once a second.
//! - `Board` keeps what other cells told. A cell that sends nonsense, too much or too often is quarantined: it alone.
//!
//! Promises: a single member makes no news unless it moves a step, and a number that wavers at the edge of a step makes
//! one news, not many; what crosses does not grow with the members of a cell. Durations are milliseconds of `Time`.
//! Not here: streams, and which cell a request is sent to.

mod board;
mod step;
mod teller;

pub use board::{Board, BoardInput, BoardOutput, Fault, Standing};
pub use teller::{Facts, Teller, TellerInput, TellerOutput};

#[cfg(test)]
mod tests;

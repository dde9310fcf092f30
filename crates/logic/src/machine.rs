//! The shape of everything that decides over time.
//!
//! Not here: how outputs are carried out (see `driver` in the binary) and how machines are tried (see `sim`).

use crate::time::Time;

/// A decision maker without a body: same state, time and input give the same outputs.
pub trait Machine {
    type Input;
    type Output;
    /// Takes one input and says what shall happen, in this order.
    fn step(&mut self, now: Time, input: Self::Input) -> Vec<Self::Output>;
    /// The input that means "time has passed".
    fn tick() -> Self::Input;
    /// When `step` must be called with `tick` even if nothing happens.
    fn wake_at(&self) -> Option<Time>;
    /// Panics when a promise this machine makes to itself is broken. Called after every step in tests.
    fn check(&self);
}

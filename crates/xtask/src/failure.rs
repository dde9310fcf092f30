//! How a task of this tool fails: with one sentence for the person who ran it.
//!
//! A plain text on purpose: nothing here acts on a failure, people read it. Each place that fails names the act and
//! its object; no state of the project has changed unless the sentence says so.

use std::fmt;

pub type Outcome<T> = Result<T, Failure>;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure(pub String);

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// Adds what was being done to an error that does not know.
pub trait Doing<T> {
    fn doing(self, act: impl fmt::Display) -> Outcome<T>;
}

impl<T, E: fmt::Display> Doing<T> for Result<T, E> {
    fn doing(self, act: impl fmt::Display) -> Outcome<T> {
        self.map_err(|error| Failure(format!("could not {act}: {error}")))
    }
}

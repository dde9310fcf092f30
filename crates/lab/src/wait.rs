//! Waits for states, with a bound.

use crate::{Outcome, Problem};
use std::time::{Duration, Instant};

/// Pause between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Looks until there is an answer, at least once; afterwards the last refusal is the problem.
pub fn until<T>(most: Duration, what: &str, mut look: impl FnMut() -> Outcome<T>) -> Outcome<T> {
    let started = Instant::now();
    loop {
        match look() {
            Ok(found) => return Ok(found),
            Err(Problem(refusal)) if started.elapsed() >= most => {
                let text = format!("waited {:.1} s for {what}, and still: {refusal}", most.as_secs_f64());
                return Err(Problem(text));
            }
            Err(_) => std::thread::sleep(LOOK_EVERY),
        }
    }
}

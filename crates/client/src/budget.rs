//! How many calls may be made again: a share of those that were made, so that clients do not multiply an overload.
//!
//! Pure.

use crate::limits::{CALLS_FOR_A_RETRY, RETRIES_SAVED_MAX};

/// What is left, in parts of which a call earns one and a retry costs `CALLS_FOR_A_RETRY`.
#[derive(Debug, Clone)]
pub struct RetryBudget {
    parts: u32,
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self { parts: RETRIES_SAVED_MAX * CALLS_FOR_A_RETRY }
    }
}

impl RetryBudget {
    pub fn call(&mut self) {
        self.parts = (self.parts + 1).min(RETRIES_SAVED_MAX * CALLS_FOR_A_RETRY);
    }

    /// Whether one may be made; it is paid for then.
    pub fn take(&mut self) -> bool {
        match self.parts.checked_sub(CALLS_FOR_A_RETRY) {
            Some(left) => {
                self.parts = left;
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fifth_of_the_calls_is_made_again_and_a_quiet_client_has_some_to_spare() {
        let mut budget = RetryBudget::default();
        let spare = (0..100).filter(|_| budget.take()).count();
        assert_eq!(spare, RETRIES_SAVED_MAX as usize);
        let mut retries = 0;
        for _ in 0..1_000 {
            budget.call();
            retries += usize::from(budget.take());
        }
        assert_eq!(retries, 200, "one for five calls");
        (0..1_000).for_each(|_| budget.call());
        assert_eq!(
            (0..100).filter(|_| budget.take()).count(),
            RETRIES_SAVED_MAX as usize,
            "it saves no more"
        );
    }
}

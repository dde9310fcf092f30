//! The table of restart delays. Everything else is told as stories of the agent, see `agent::tests`.

use super::*;

#[test]
fn delays_double_up_to_their_maximum() {
    for (delay_ms, delay_max_ms, failures, expected_ms) in [
        (100, 1_000, 1, 100),
        (100, 1_000, 2, 200),
        (100, 1_000, 4, 800),
        (100, 1_000, 5, 1_000),
        (100, 1_000, 4_000_000_000, 1_000),
        (0, 1_000, 9, 0),
        (u64::MAX, u64::MAX, 2, u64::MAX),
        // A maximum below the first delay wins.
        (500, 100, 1, 100),
    ] {
        let restart = RestartSettings {
            delay_ms,
            delay_max_ms,
            attempts_max: u32::MAX,
            reset_after_ms: 0,
            start_timeout_ms: 0,
            hung_after_ms: 0,
        };
        let delay = restart_delay_ms(&restart, failures);
        assert_eq!(delay, expected_ms, "{delay_ms} to {delay_max_ms} after {failures} failures");
    }
}

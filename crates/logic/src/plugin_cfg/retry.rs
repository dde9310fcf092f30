//! Whether a failed request may be tried again where a plugin-cfg.xml says how: the plug-in's rules instead of ours.
//!
//! They differ in three points. A cluster with a PostBufferSize repeats requests whatever their method, which can carry
//! one out twice; that is what its owner asked for. One without keeps no body, so nothing with a body is repeated once it
//! was written. And after a silence (ServerIOTimeout) a request is tried again ServerIOTimeoutRetry times only.
//! Unlike a plug-in we never ask one server twice for one request after it was silent. Facts: spec/routing.md 1.6.

use crate::retry::{self, Failure, Fault, Refusal, Verdict};
use wire::view::PluginRules;

/// What `retry::may_retry` says, under `rules`; `has_body` says whether a byte of body came.
pub fn may_retry(rules: &PluginRules, failure: &Failure, has_body: bool, attempts_max: u32) -> Verdict {
    let is_over = rules.io_timeout_retries.is_some_and(|most| failure.silences > most);
    if failure.fault == Fault::MemberTimeout && is_over {
        return Verdict::Refuse { why: Refusal::AttemptsSpent };
    }
    let keeps_bodies = rules.post_buffer_max_bytes != Some(0);
    let is_body_gone = failure.is_written && has_body && !keeps_bodies;
    let adjusted = Failure {
        is_idempotent: failure.is_idempotent || keeps_bodies,
        is_body_replayable: failure.is_body_replayable && !is_body_gone,
        // Bounded above, if at all.
        silences: 0,
        ..*failure
    };
    retry::may_retry(&adjusted, attempts_max)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::retry::{Phase, Place};

    const AGAIN: Verdict = Verdict::Retry { place: Place::OtherMember };

    fn silent_post() -> Failure {
        Failure {
            fault: Fault::MemberTimeout,
            phase: Phase::AwaitHead,
            is_written: true,
            answer_started: false,
            is_idempotent: false,
            is_body_replayable: true,
            is_connection_reused: false,
            attempts: 1,
            silences: 1,
        }
    }

    fn rules(post_buffer_max_bytes: Option<u64>, io_timeout_retries: Option<u32>) -> PluginRules {
        PluginRules { post_buffer_max_bytes, io_timeout_retries, ..PluginRules::default() }
    }

    #[test]
    fn post_buffer_size_lets_any_method_be_repeated() {
        let kept = rules(Some(65_536), None);
        assert_eq!(may_retry(&kept, &silent_post(), true, 14), AGAIN);
        let too_long = Failure { is_body_replayable: false, ..silent_post() };
        assert_eq!(may_retry(&kept, &too_long, true, 14), Verdict::Refuse { why: Refusal::BodyGone });
    }

    #[test]
    fn post_buffer_size_zero_never_repeats_what_has_a_body() {
        let none = rules(Some(0), None);
        let put = Failure { is_idempotent: true, ..silent_post() };
        assert_eq!(may_retry(&none, &put, true, 14), Verdict::Refuse { why: Refusal::BodyGone });
        assert_eq!(may_retry(&none, &put, false, 14), AGAIN);
        let post = silent_post();
        assert_eq!(may_retry(&none, &post, false, 14), Verdict::Refuse { why: Refusal::NotIdempotent });
        let unwritten =
            Failure { fault: Fault::ConnectFailed, phase: Phase::Connect, is_written: false, ..post };
        assert_eq!(may_retry(&none, &unwritten, true, 14), AGAIN);
    }

    #[test]
    fn server_io_timeout_retry_counts_silences_only() {
        let once = rules(Some(65_536), Some(1));
        assert_eq!(may_retry(&once, &silent_post(), true, 14), AGAIN);
        let spent = Verdict::Refuse { why: Refusal::AttemptsSpent };
        assert_eq!(may_retry(&once, &Failure { silences: 2, ..silent_post() }, true, 14), spent);
        assert_eq!(may_retry(&rules(None, Some(0)), &silent_post(), true, 14), spent);
        let refused = Failure { fault: Fault::ConnectFailed, is_written: false, ..silent_post() };
        assert_eq!(may_retry(&rules(None, Some(0)), &refused, true, 14), AGAIN);
    }
}

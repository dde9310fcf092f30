//! Which failures are tried again, and when the budget says no.

use super::*;
use crate::http::refusal::Refusal as HttpRefusal;
use crate::time::Time;
use expect_test::expect;
use proptest::prelude::*;
use wire::router::RetrySettings;

fn failure(fault: Fault, phase: Phase) -> Failure {
    Failure {
        fault,
        phase,
        is_written: phase > Phase::Connect,
        answer_started: false,
        is_idempotent: true,
        is_body_replayable: true,
        is_connection_reused: false,
        attempts: 1,
        silences: u32::from(fault == Fault::MemberTimeout),
    }
}

const OTHER: Verdict = Verdict::Retry { place: Place::OtherMember };
const SAME: Verdict = Verdict::Retry { place: Place::SameMember };

#[track_caller]
fn check(failure: Failure, expected: Verdict) {
    assert_eq!(may_retry(&failure, 2), expected);
}

#[test]
fn what_never_reached_a_member_may_be_tried_again_whatever_its_method() {
    let refused = failure(Fault::ConnectFailed, Phase::Connect);
    check(refused, OTHER);
    check(Failure { is_idempotent: false, ..refused }, OTHER);
    check(Failure { is_body_replayable: false, ..refused }, Verdict::Refuse { why: Refusal::BodyGone });
}

#[test]
fn what_a_member_may_have_carried_out_is_sent_again_only_if_that_is_harmless() {
    let closed = failure(Fault::MemberClosed, Phase::AwaitHead);
    check(closed, OTHER);
    check(Failure { is_idempotent: false, ..closed }, Verdict::Refuse { why: Refusal::NotIdempotent });
    check(Failure { fault: Fault::MemberTimeout, ..closed }, OTHER);
    check(Failure { answer_started: true, ..closed }, Verdict::Refuse { why: Refusal::AnswerStarted });
    check(failure(Fault::MemberClosed, Phase::Body), Verdict::Refuse { why: Refusal::AnswerStarted });
}

#[test]
fn an_idle_connection_that_was_closed_is_replaced_at_the_same_member() {
    let stale = Failure { is_connection_reused: true, ..failure(Fault::MemberClosed, Phase::SendHead) };
    check(stale, SAME);
    check(Failure { attempts: 3, ..stale }, SAME);
    check(Failure { is_idempotent: false, ..stale }, Verdict::Refuse { why: Refusal::NotIdempotent });
    check(Failure { is_idempotent: false, is_written: false, ..stale }, SAME);
    check(Failure { fault: Fault::MemberTimeout, ..stale }, OTHER);
}

#[test]
fn attempts_have_a_bound() {
    let refused = failure(Fault::ConnectFailed, Phase::Connect);
    check(Failure { attempts: 2, ..refused }, OTHER);
    check(Failure { attempts: 3, ..refused }, Verdict::Refuse { why: Refusal::AttemptsSpent });
    assert_eq!(may_retry(&refused, 0), Verdict::Refuse { why: Refusal::AttemptsSpent });
    let many = Failure { attempts: REQUEST_TRIES_MAX as u32, ..refused };
    assert_eq!(may_retry(&many, u32::MAX), Verdict::Refuse { why: Refusal::AttemptsSpent });
}

#[test]
fn a_request_waits_in_vain_for_two_members_at_most() {
    let silent = failure(Fault::MemberTimeout, Phase::AwaitHead);
    check(silent, OTHER);
    let again = Failure { attempts: 2, silences: 2, ..silent };
    check(again, Verdict::Refuse { why: Refusal::AttemptsSpent });
    // What ends at once may follow, and a member that was lost has not kept anybody waiting.
    check(Failure { fault: Fault::MemberClosed, silences: 1, ..again }, OTHER);
    check(Failure { fault: Fault::MemberLost, silences: 1, ..again }, OTHER);
}

/// One of each kind.
const FAULTS: [Fault; 14] = [
    Fault::RequestRefused { why: HttpRefusal::Target },
    Fault::RequestTimeout,
    Fault::ClientGone,
    Fault::NoRoute,
    Fault::NoMember,
    Fault::Overloaded,
    Fault::DeadlinePassed,
    Fault::Internal,
    Fault::ConnectFailed,
    Fault::ConnectTimeout,
    Fault::MemberClosed,
    Fault::MemberTimeout,
    Fault::MemberLost,
    Fault::AnswerRefused { why: HttpRefusal::StatusInvalid },
];

#[test]
fn faults_of_client_and_router_are_not_tried_again() {
    for fault in FAULTS {
        let verdict = may_retry(&failure(fault, Phase::SendBody), 2);
        let may_others_do_better =
            fault.answer().side == Side::Member && !matches!(fault, Fault::AnswerRefused { .. });
        assert_eq!(verdict == OTHER, may_others_do_better, "{fault:?}");
    }
}

#[test]
fn the_table_of_answers() {
    let line = |fault: Fault| {
        let Answer { side, status, code, text, retry_after_s } = fault.answer();
        let wait = retry_after_s.map(|wait| format!(" (wait {wait} s)")).unwrap_or_default();
        format!("{status} {code} {side:?}: {text}{wait}")
    };
    let mut lines: Vec<String> = FAULTS.into_iter().map(line).collect();
    let refused = [
        HttpRefusal::HeadTooLarge,
        HttpRefusal::BodyTooLarge,
        HttpRefusal::Connect,
        HttpRefusal::Expectation,
    ];
    lines.extend(refused.map(|why| line(Fault::RequestRefused { why })));
    expect![[r#"
        400 M4001 Client: The request is malformed.
        408 M4008 Client: The request came too slowly.
        499 M4012 Client: The client closed the connection.
        404 M4002 Us: Nothing is served at this address.
        503 M4003 Us: The service is not available. (wait 1 s)
        503 M4009 Us: The service is busy. (wait 1 s)
        504 M4005 Us: The request took too long.
        500 M4013 Us: The request could not be served.
        503 M4003 Member: The service could not be reached. (wait 1 s)
        503 M4003 Member: The service could not be reached. (wait 1 s)
        502 M4004 Member: The service broke off before its answer was complete.
        504 M4005 Member: The service did not answer in time.
        504 M4005 Member: The service did not answer in time.
        502 M4004 Member: The service gave an answer that cannot be passed on.
        431 M4007 Client: The request's head is too large.
        413 M4006 Client: The request's body is too large.
        405 M4010 Client: The request asks for something that is not supported.
        417 M4011 Client: The request expects something that is not offered."#]]
    .assert_eq(&lines.join("\n"));
}

#[test]
fn a_client_is_told_of_the_attempt_that_may_have_been_carried_out() {
    assert_eq!(Fault::worse(Some(Fault::MemberClosed), Fault::ConnectFailed), Fault::MemberClosed);
    assert_eq!(Fault::worse(Some(Fault::MemberTimeout), Fault::NoMember), Fault::MemberTimeout);
    assert_eq!(Fault::worse(Some(Fault::MemberClosed), Fault::MemberTimeout), Fault::MemberTimeout);
    assert_eq!(Fault::worse(Some(Fault::ConnectFailed), Fault::NoMember), Fault::NoMember);
    assert_eq!(Fault::worse(None, Fault::ConnectFailed), Fault::ConnectFailed);
}

#[test]
fn methods_are_told_apart_by_case() {
    for method in ["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"] {
        assert!(is_idempotent(method.as_bytes()), "{method}");
    }
    for method in ["POST", "PATCH", "get", "", "CONNECT"] {
        assert!(!is_idempotent(method.as_bytes()), "{method}");
    }
}

fn settings(budget_percent: u32, budget_floor_per_second: u32) -> RetrySettings {
    RetrySettings { attempts_max: 2, budget_percent, budget_floor_per_second, replay_max_bytes: 0 }
}

#[test]
fn a_quiet_router_may_retry_the_floor_of_ten_seconds_all_at_once() {
    let mut budget = RetryBudget::new(&settings(20, 3));
    let taken = |budget: &mut RetryBudget, at| (0..50).filter(|_| budget.take(Time(at))).count();
    assert_eq!(taken(&mut budget, 0), 30);
    assert_eq!(taken(&mut budget, 9_999), 0);
    assert_eq!(taken(&mut budget, 10_000), 30);
}

#[test]
fn a_busy_router_may_retry_its_share_of_the_last_ten_seconds() {
    let mut budget = RetryBudget::new(&settings(20, 0));
    (0..1000).for_each(|at| budget.request(Time(at)));
    let taken = |budget: &mut RetryBudget, at| (0..1000).filter(|_| budget.take(Time(at))).count();
    assert_eq!(taken(&mut budget, 5_000), 200);
    assert_eq!(taken(&mut budget, 9_999), 0);
    assert_eq!(taken(&mut budget, 10_000), 0, "the requests have left the window");
}

proptest! {
    #[test]
    fn the_budget_agrees_with_a_list_of_all_events(
        percent in 0u32..150,
        floor in 0u32..4,
        steps in prop::collection::vec((0u64..3_000, any::<bool>()), 0..200),
    ) {
        let mut budget = RetryBudget::new(&settings(percent, floor));
        let (mut now, mut requests, mut retries) = (0u64, Vec::new(), Vec::new());
        for (pause, is_request) in steps {
            now += pause;
            if is_request {
                budget.request(Time(now));
                requests.push(now / 1000);
                continue;
            }
            let recent = |list: &[u64]| list.iter().filter(|second| **second + 10 > now / 1000).count() as u64;
            let is_allowed = recent(&retries) < u64::from(floor) * 10
                || (recent(&retries) + 1) * 100 <= recent(&requests) * u64::from(percent);
            prop_assert_eq!(budget.take(Time(now)), is_allowed);
            if is_allowed {
                retries.push(now / 1000);
            }
        }
    }
}

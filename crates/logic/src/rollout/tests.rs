//! Each step of a member that is taken out and comes back, and the order in which a cluster's members go.

use super::*;

fn progress(now: u64) -> Progress {
    Progress {
        now: Time(now),
        has_conversations: true,
        is_quiet: false,
        state: RunState::Up,
        is_current: true,
    }
}

#[test]
fn each_phase_ends_for_a_reason_or_at_its_time() {
    let goal = Goal::Restart;
    let draining = Phase::Draining { until: Time(100), goal };
    let out = Phase::Out { until: Time(100), goal };
    let returning = Phase::Returning { until: Time(100) };
    let cases: &[(&str, Phase, Progress, Step)] = &[
        ("steady", Phase::Steady, progress(500), Step::Stay),
        ("conversations go on", draining, progress(99), Step::Stay),
        (
            "conversations ended",
            draining,
            Progress { has_conversations: false, ..progress(1) },
            Step::TakeOut(goal),
        ),
        ("drained long enough", draining, progress(100), Step::TakeOut(goal)),
        (
            "died while draining",
            draining,
            Progress { state: RunState::Down, ..progress(1) },
            Step::TakeOut(goal),
        ),
        ("requests under way", out, Progress { state: RunState::Down, ..progress(99) }, Step::Stay),
        ("quiet", out, Progress { is_quiet: true, ..progress(1) }, Step::Reach { goal, in_time: true }),
        ("not quiet in time", out, progress(100), Step::Reach { goal, in_time: false }),
        (
            "quiet at the last moment",
            out,
            Progress { is_quiet: true, ..progress(100) },
            Step::Reach { goal, in_time: true },
        ),
        ("the old process answers", returning, Progress { is_current: false, ..progress(1) }, Step::Stay),
        ("starting", returning, Progress { state: RunState::Starting, ..progress(99) }, Step::Stay),
        ("up", returning, progress(1), Step::Returned),
        (
            "up, drained by wish",
            returning,
            Progress { state: RunState::Draining, ..progress(1) },
            Step::Returned,
        ),
        ("up at the last moment", returning, progress(100), Step::Returned),
        (
            "gave up",
            returning,
            Progress { state: RunState::Failed, ..progress(1) },
            Step::Missing(Setback::GaveUp),
        ),
        (
            "the old process gave up",
            returning,
            Progress { state: RunState::Failed, is_current: false, ..progress(1) },
            Step::Stay,
        ),
        (
            "too late",
            returning,
            Progress { state: RunState::Starting, ..progress(100) },
            Step::Missing(Setback::TooLate),
        ),
    ];
    for (situation, phase, progress, step) in cases {
        assert_eq!(next_step(*phase, progress), *step, "{situation}");
    }
}

/// Members as words: a name, then `+` up, `l` left to restart, `b` busy, `s` stopped by wish.
fn candidates(text: &str) -> Vec<Candidate> {
    let words = text.split(' ').filter(|word| !word.is_empty());
    let candidate = |word: &str| {
        let (name, marks) = word.split_once(':').expect("name:marks");
        Candidate {
            name: name.into(),
            is_up: marks.contains('+'),
            is_wanted: !marks.contains('s'),
            is_left: marks.contains('l'),
            is_busy: marks.contains('b'),
        }
    };
    words.map(candidate).collect()
}

#[test]
fn last_member_that_is_up_is_never_taken() {
    let take = |name: &str| Choice::Take(name.into());
    let only = |name: &str| format!("{name} is the only member that is up");
    let busy = || Choice::Wait("the members that are left are busy with something else".into());
    use Cause::{Configuration, Operator};
    let cases: &[(&str, Cause, &str, Choice)] = &[
        ("nobody left", Operator, "a:+ b:+", Choice::Finished),
        ("in order", Operator, "a:+l b:+l", take("a")),
        ("those that are not up first", Operator, "a:+l b:+l c:l", take("c")),
        ("another is up", Operator, "a:+ b:+l", take("b")),
        ("last one up", Operator, "a:+l b:", Choice::Stop(only("a"))),
        ("last one up, configuration", Configuration, "a:+l b:", Choice::Wait(only("a"))),
        ("nothing else is wanted", Configuration, "a:+l b:s", take("a")),
        ("single member", Configuration, "a:+l", take("a")),
        ("single member, by hand", Operator, "a:+l", Choice::Stop(only("a"))),
        ("nobody is up", Operator, "a:l b:l", take("a")),
        ("busy", Operator, "a:+ b:lb", busy()),
        ("another one is free", Operator, "a:+ b:+lb c:+l", take("c")),
    ];
    for (situation, cause, members, choice) in cases {
        assert_eq!(choose(*cause, &candidates(members)), *choice, "{situation}");
    }
}

#[test]
fn rollout_says_where_it_is() {
    let mut rollout = Rollout {
        cause: Cause::Operator,
        left: vec!["c".into()],
        current: Some("b".into()),
        done: 1,
        waits_for: None,
    };
    assert_eq!(rollout.to_string(), "restarting b (2 of 3)");
    rollout.current = None;
    rollout.waits_for = Some("c is the only member that is up".into());
    assert_eq!(rollout.to_string(), "restarting, 1 of 2 done, waiting: c is the only member that is up");
}

//! The table of cases: each row is a situation and what routers shall believe in it.

use super::*;
use ProbeState::{Failing, Passing, Unknown as Unasked};

const RUNNING: ProcessState = ProcessState::Running { pid: 7 };
const STOPPING: ProcessState = ProcessState::Stopping { pid: 7 };

/// A managed member on a connected agent, of whose process this was reported.
fn reported(process: ProcessState, probe: ProbeState) -> Facts<'static> {
    let observed = Observed { process, probe, is_current: true, has_passed: true, detail: "" };
    Facts {
        wish: Wish::Run,
        task: Task::None,
        is_external: process == ProcessState::External,
        link: AgentLink::Connected,
        observed: Some(observed),
        before: None,
        away: None,
        was_lost: false,
    }
}

fn up() -> Facts<'static> {
    reported(RUNNING, Passing)
}

/// An agent that has said nothing of the member.
fn silent(link: AgentLink) -> Facts<'static> {
    Facts { link, observed: None, ..up() }
}

fn with_observed(facts: Facts<'static>, change: impl FnOnce(&mut Observed<'static>)) -> Facts<'static> {
    let mut observed = facts.observed.expect("only for facts with a report");
    change(&mut observed);
    Facts { observed: Some(observed), ..facts }
}

type Case<'a> = (&'a str, Facts<'a>, RunState, &'a str);

/// Each situation has one state and one reason.
fn check_all(cases: &[Case]) {
    for (situation, facts, state, reason) in cases {
        let (judged, why) = judge(facts);
        assert_eq!((judged, why.to_string().as_str()), (*state, *reason), "{situation}");
    }
}

#[test]
fn table_of_what_process_and_probe_say() {
    use RunState::{Down, Failed, Starting, Up};
    check_all(&[
        ("passing", up(), Up, "passes its probe"),
        ("not yet probed", reported(RUNNING, Unasked), Starting, "has not passed its probe yet"),
        ("fails after it has passed", reported(RUNNING, Failing), Down, "fails its probe"),
        (
            "fails and never passed",
            with_observed(reported(RUNNING, Failing), |observed| observed.has_passed = false),
            Starting,
            "has not passed its probe yet",
        ),
        (
            "the agent's sentence is passed on",
            with_observed(reported(RUNNING, Failing), |observed| observed.detail = "HTTP 500"),
            Down,
            "HTTP 500",
        ),
        (
            "stopped but wanted",
            reported(ProcessState::Stopped, Unasked),
            Starting,
            "its agent has been told to start it",
        ),
        ("stopping, still answers", reported(STOPPING, Passing), Down, "its process is stopping"),
        (
            "stopping because it hangs",
            with_observed(reported(STOPPING, Unasked), |observed| {
                observed.detail = "did not answer its probe for 15.0 s; restarting"
            }),
            Down,
            "did not answer its probe for 15.0 s; restarting",
        ),
        (
            "backing off",
            reported(ProcessState::BackingOff, Unasked),
            Down,
            "exited and will be started again",
        ),
        (
            "backing off, old answer",
            reported(ProcessState::BackingOff, Passing),
            Down,
            "exited and will be started again",
        ),
        (
            "gave up",
            reported(ProcessState::GaveUp, Failing),
            Failed,
            "failed too often and waits for a person to start it",
        ),
        (
            "still the old process",
            with_observed(up(), |observed| observed.is_current = false),
            Starting,
            "its agent has been told to start it",
        ),
    ]);
}

#[test]
fn table_of_members_on_a_machine_that_is_away() {
    use RunState::{Down, Failed};
    let away = |facts| Facts { away: Some(Away::Silent), ..facts };
    const AWAY: &str = "its node cannot be reached: its heartbeats have stopped";
    check_all(&[
        ("was up", away(up()), Down, AWAY),
        ("its agent's link is gone too", away(Facts { link: AgentLink::Lost, ..up() }), Down, AWAY),
        ("was starting", away(reported(RUNNING, Unasked)), Down, AWAY),
        ("never heard", away(silent(AgentLink::NotHeard)), Down, AWAY),
        ("failed its probe before", away(reported(RUNNING, Failing)), Down, "fails its probe"),
        (
            "gave up before",
            away(reported(ProcessState::GaveUp, Failing)),
            Failed,
            "failed too often and waits for a person to start it",
        ),
        ("stopped by a person", away(Facts { wish: Wish::Stop, ..up() }), Down, "its process is stopping"),
        ("drained by a person", away(Facts { wish: Wish::Drain, ..up() }), Down, AWAY),
    ]);
    assert!(is_lost(&away(up())), "nobody answers what is under way");
    assert!(!is_lost(&Facts { was_lost: true, ..up() }), "the machine is back, and the member up");
}

#[test]
fn table_of_members_on_a_machine_that_was_removed() {
    use RunState::Down;
    let removed = |facts| Facts { away: Some(Away::Removed), link: AgentLink::Lost, ..facts };
    const REMOVED: &str = "its node's machine was removed from the cell";
    check_all(&[
        ("was up", removed(up()), Down, REMOVED),
        ("failed its probe before", removed(reported(RUNNING, Failing)), Down, REMOVED),
        ("gave up before", removed(reported(ProcessState::GaveUp, Failing)), Down, REMOVED),
        ("never heard", removed(silent(AgentLink::NotHeard)), Down, REMOVED),
    ]);
    assert!(is_lost(&removed(up())), "nobody waits for what must not be asked any more");
}

#[test]
fn table_of_external_members() {
    use RunState::{Down, Starting, Up};
    check_all(&[
        ("external passing", reported(ProcessState::External, Passing), Up, "passes its probe"),
        ("external failing", reported(ProcessState::External, Failing), Down, "fails its probe"),
        (
            "external not yet probed",
            reported(ProcessState::External, Unasked),
            Starting,
            "has not passed its probe yet",
        ),
        (
            "external, not yet reported",
            Facts { is_external: true, ..silent(AgentLink::Connected) },
            Starting,
            "its agent has been told to probe it",
        ),
    ]);
}

#[test]
fn table_of_what_the_link_says() {
    use RunState::{Down, Starting, Unknown, Up};
    let stale = "(last known: its agent is not connected)";
    check_all(&[
        ("never heard", silent(AgentLink::NotHeard), Unknown, "its agent has not reported yet"),
        (
            "never heard, up before",
            Facts { before: Some(Up), ..silent(AgentLink::NotHeard) },
            Up,
            "as before; its agent has not been heard since",
        ),
        ("told", silent(AgentLink::Connected), Starting, "its agent has been told to start it"),
        (
            "heard, so the past does not count",
            Facts { before: Some(Up), ..silent(AgentLink::Connected) },
            Starting,
            "its agent has been told to start it",
        ),
        (
            "its agent ended",
            silent(AgentLink::Lost),
            Down,
            "did not run when its agent was last heard, which is not connected",
        ),
        (
            "external, its agent ended",
            Facts { is_external: true, before: Some(Up), ..silent(AgentLink::Lost) },
            Up,
            "as before; its agent has not been heard since",
        ),
        (
            "external, its agent started anew",
            Facts { is_external: true, before: Some(Up), ..silent(AgentLink::Connected) },
            Up,
            "as before; its agent has not probed it again yet",
        ),
        (
            "external, its new agent probes",
            Facts { before: Some(Down), ..reported(ProcessState::External, Unasked) },
            Down,
            "as before; its agent has not probed it again yet",
        ),
        (
            "external, its new agent knows",
            Facts { before: Some(Down), ..reported(ProcessState::External, Passing) },
            Up,
            "passes its probe",
        ),
        ("lost while up", Facts { link: AgentLink::Lost, ..up() }, Up, &format!("passes its probe {stale}")),
        (
            "lost while backing off",
            Facts { link: AgentLink::Lost, ..reported(ProcessState::BackingOff, Unasked) },
            Down,
            &format!("exited and will be started again {stale}"),
        ),
    ]);
}

#[test]
fn table_of_what_the_operator_wants() {
    use RunState::{Down, Draining};
    check_all(&[
        (
            "stopped",
            Facts { wish: Wish::Stop, ..reported(ProcessState::Stopped, Unasked) },
            Down,
            "stopped by an operator",
        ),
        ("stopped, runs on", Facts { wish: Wish::Stop, ..up() }, Down, "its process is stopping"),
        (
            "stopped, gave up",
            Facts { wish: Wish::Stop, ..reported(ProcessState::GaveUp, Failing) },
            Down,
            "stopped by an operator",
        ),
        (
            "stopped, unheard",
            Facts { wish: Wish::Stop, ..silent(AgentLink::NotHeard) },
            Down,
            "stopped by an operator",
        ),
        (
            "external, stopped",
            Facts { wish: Wish::Stop, ..reported(ProcessState::External, Passing) },
            Down,
            "taken out of rotation by an operator",
        ),
        (
            "drained",
            Facts { wish: Wish::Drain, ..up() },
            Draining,
            "drained by an operator; keeps its conversations, takes no new ones",
        ),
        (
            "drained, not up",
            Facts { wish: Wish::Drain, ..reported(RUNNING, Failing) },
            Down,
            "fails its probe",
        ),
        (
            "drained, agent lost",
            Facts { wish: Wish::Drain, link: AgentLink::Lost, ..up() },
            Draining,
            "drained by an operator; keeps its conversations, takes no new ones",
        ),
    ]);
}

#[test]
fn table_of_what_an_operation_does() {
    use RunState::{Down, Draining};
    check_all(&[
        ("taken out", Facts { task: Task::TakenOut(Goal::Restart), ..up() }, Down, "is being restarted"),
        (
            "taken out while drained",
            Facts { task: Task::TakenOut(Goal::Remove), wish: Wish::Drain, ..up() },
            Down,
            "is being removed",
        ),
        (
            "drains before its stop",
            Facts { task: Task::Draining(Goal::Stop), wish: Wish::Stop, ..up() },
            Draining,
            "conversations may end before it is stopped",
        ),
        (
            "fails while it drains",
            Facts { task: Task::Draining(Goal::Stop), wish: Wish::Stop, ..reported(RUNNING, Failing) },
            Down,
            "fails its probe",
        ),
    ]);
}

#[test]
fn requests_are_given_up_only_where_nobody_will_answer() {
    let never_passed = |observed: &mut Observed| observed.has_passed = false;
    let old_process = |observed: &mut Observed| observed.is_current = false;
    let lost_before = |facts| Facts { was_lost: true, ..facts };
    let cases: &[(&str, Facts, bool)] = &[
        ("up", up(), false),
        ("exited", reported(ProcessState::BackingOff, Unasked), true),
        ("gave up", reported(ProcessState::GaveUp, Unasked), true),
        ("hangs", reported(RUNNING, Failing), true),
        ("external hangs", reported(ProcessState::External, Failing), true),
        ("starts slowly", with_observed(reported(RUNNING, Failing), never_passed), false),
        ("stops in good order", reported(STOPPING, Failing), false),
        ("has stopped", reported(ProcessState::Stopped, Failing), false),
        ("is being replaced", with_observed(reported(ProcessState::BackingOff, Unasked), old_process), false),
        ("is taken out", Facts { task: Task::TakenOut(Goal::Stop), ..up() }, false),
        (
            "is taken out and hangs",
            Facts { task: Task::TakenOut(Goal::Stop), ..reported(RUNNING, Failing) },
            true,
        ),
        ("hung and is stopped for it", lost_before(reported(STOPPING, Unasked)), true),
        ("hung, and its next process starts", lost_before(reported(RUNNING, Unasked)), true),
        ("gave up, and is started again", with_observed(lost_before(up()), old_process), true),
        ("hung and is up again", lost_before(up()), false),
        ("agent silent", Facts { link: AgentLink::Lost, ..up() }, false),
        ("never heard", silent(AgentLink::NotHeard), false),
    ];
    for (situation, facts, expected) in cases {
        assert_eq!(is_lost(facts), *expected, "{situation}");
    }
}

/// Every combination of facts: what must hold of all of them, whatever the table shows.
#[test]
fn no_combination_makes_a_member_serve_that_must_not() {
    let processes = [
        ProcessState::External,
        ProcessState::Stopped,
        RUNNING,
        STOPPING,
        ProcessState::BackingOff,
        ProcessState::GaveUp,
    ];
    let tasks = [Task::None, Task::Draining(Goal::Stop), Task::TakenOut(Goal::Stop)];
    let mut count = 0;
    for process in processes {
        for probe in [Unasked, Passing, Failing] {
            for (link, away) in [
                (AgentLink::NotHeard, None),
                (AgentLink::Connected, None),
                (AgentLink::Lost, None),
                (AgentLink::Connected, Some(Away::Silent)),
                (AgentLink::Lost, Some(Away::Removed)),
            ] {
                for wish in [Wish::Run, Wish::Drain, Wish::Stop] {
                    for task in tasks {
                        let facts = Facts { wish, task, link, away, ..reported(process, probe) };
                        let state = judge(&facts).0;
                        let serves = matches!(state, RunState::Up | RunState::Draining);
                        for was_lost in [false, true] {
                            assert!(!(serves && is_lost(&Facts { was_lost, ..facts })), "{facts:?}");
                        }
                        let can_serve = away.is_none()
                            && probe == Passing
                            && matches!(process, ProcessState::External | RUNNING);
                        assert!(!serves || can_serve, "{facts:?}");
                        let is_out =
                            matches!(task, Task::TakenOut(_)) || (task == Task::None && wish == Wish::Stop);
                        assert!(!is_out || state == RunState::Down, "{facts:?}");
                        let takes_new = task == Task::None && wish == Wish::Run;
                        assert!(state != RunState::Up || takes_new, "{facts:?}");
                        count += 1;
                    }
                }
            }
        }
    }
    assert_eq!(count, 6 * 3 * 5 * 3 * 3);
}

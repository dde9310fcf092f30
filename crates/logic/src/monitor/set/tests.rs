//! A node's monitors together: what goes out when.

use super::*;
use crate::monitor::Answer;
use crate::recovery::Stays;
use wire::monitor::{Check, FinalAction, MonitorState, MonitorWish, Pace, Recovery, RecoveryTarget, Target};

fn assignment(name: &str) -> MonitorAssignment {
    MonitorAssignment {
        name: name.into(),
        check: Check::Tcp { target: Target { host: name.into(), port: 80 } },
        pace: Pace { interval_ms: 1_000, timeout_ms: 400, retries: 0, confirmations: 1, slow_percent: 0 },
        wish: MonitorWish::Run,
        recovery: None,
    }
}

fn assign(generation: u64, names: &[&str]) -> Input {
    Input::Assign { generation, monitors: names.iter().map(|name| assignment(name)).collect() }
}

fn step(monitors: &mut Monitors, now: u64, input: Input) -> Vec<String> {
    let outputs = monitors.step(Time(now), input);
    monitors.check();
    let tell = |output| match output {
        Output::Probe { name, probe } => format!("probe {name} {}", probe.number.0),
        Output::Report(report) => {
            let told = report.monitors.iter().map(|monitor| format!(" {}={}", monitor.name, monitor.state));
            format!("report {}{}", report.sequence, told.collect::<String>())
        }
        Output::Verdicts(verdicts) => {
            let told = verdicts.iter().map(|it| format!(" {}={}@{:?}", it.monitor, it.state, it.stay));
            format!("verdicts{}", told.collect::<String>())
        }
        Output::Refused { generation, newest } => format!("refused {generation} after {newest}"),
    };
    outputs.into_iter().map(tell).collect()
}

fn probed(name: &str, number: u64, answer: Answer) -> Input {
    Input::Probed { name: name.into(), probe: ProbeNumber(number), answer }
}

#[test]
fn changes_are_told_at_once_and_the_rest_every_five_seconds() {
    let mut monitors = Monitors::new(Time(0), "a".into(), 1);
    assert_eq!(monitors.wake_at(), None, "where there is nothing to do nobody is woken");
    let begun = step(&mut monitors, 0, assign(1, &["mail", "web"]));
    assert_eq!(begun, ["probe mail 1", "probe web 2", "report 1 mail=unknown web=unknown"]);
    let told = step(&mut monitors, 10, probed("web", 2, Answer::good()));
    assert_eq!(told, ["report 2 mail=unknown web=normal"]);
    assert_eq!(
        step(&mut monitors, 20, probed("mail", 1, Answer::bad("no"))),
        ["report 3 mail=error web=normal"]
    );
    for second in 1..5 {
        let now = second * 1_000;
        assert_eq!(monitors.wake_at(), Some(Time(now)));
        let asked = step(&mut monitors, now, Input::Tick);
        let number = second * 2 + 1;
        assert_eq!(asked, [format!("probe mail {number}"), format!("probe web {}", number + 1)]);
        assert!(step(&mut monitors, now + 1, probed("mail", number, Answer::bad("no"))).is_empty());
        assert!(step(&mut monitors, now + 2, probed("web", number + 1, Answer::good())).is_empty());
    }
    let told = step(&mut monitors, 5_020, Input::Tick);
    assert_eq!(told, ["probe mail 11", "probe web 12", "report 4 mail=error web=normal"]);
}

#[test]
fn only_what_is_assigned_is_kept_and_older_managers_are_refused() {
    let mut monitors = Monitors::new(Time(0), "a".into(), 1);
    step(&mut monitors, 0, assign(2, &["mail", "web"]));
    assert_eq!(step(&mut monitors, 5, assign(1, &[])), ["refused 1 after 2"]);
    assert_eq!(step(&mut monitors, 10, assign(3, &["web"])), ["report 2 web=unknown"]);
    // Its answer comes late, and nobody wants it.
    assert!(step(&mut monitors, 20, probed("mail", 1, Answer::good())).is_empty());
    assert_eq!(step(&mut monitors, 30, assign(3, &[])), ["report 3"]);
    assert_eq!(monitors.wake_at(), None);
}

#[test]
fn a_manager_that_connects_is_told_everything() {
    let mut monitors = Monitors::new(Time(0), "a".into(), 1);
    step(&mut monitors, 0, assign(1, &["web"]));
    assert_eq!(step(&mut monitors, 10, Input::Connected), ["report 2 web=unknown"]);
}

#[test]
fn a_thousand_monitors_are_asked_once_a_second_each() {
    let names: Vec<String> = (0..1_000).map(|number| format!("m{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut monitors = Monitors::new(Time(0), "a".into(), 1);
    let mut asked = 0;
    let mut inputs = vec![(0, assign(1, &names))];
    while let Some((now, input)) = inputs.pop() {
        for output in monitors.step(Time(now), input) {
            if let Output::Probe { name, probe } = output {
                asked += 1;
                inputs.push((now, Input::Probed { name, probe: probe.number, answer: Answer::good() }));
            }
        }
        if let (true, Some(at)) = (inputs.is_empty(), monitors.wake_at().filter(|at| at.0 < 10_000)) {
            inputs.push((at.0.max(now), Input::Tick));
        }
    }
    assert_eq!(asked, 10_000);
    let states: BTreeSet<MonitorState> = monitors.watches.values().map(Watch::state).collect();
    assert_eq!(states, BTreeSet::from([MonitorState::Normal]));
}

#[test]
fn what_belongs_to_a_target_is_asked_while_that_is_online_and_begins_anew_with_each_stay() {
    let recovery = Recovery {
        target: RecoveryTarget::Group { group: "shop".into() },
        is_while_active: true,
        delay_ms: 2_000,
        start_period_ms: 0,
        restarts_max: 3,
        failovers_max: 1,
        final_action: FinalAction::None,
        final_command: Vec::new(),
        before_restart: Vec::new(),
        before_failover: Vec::new(),
        before_final: Vec::new(),
    };
    let online = |stay: Option<u64>| {
        let stays = Stays { group: stay, resources: BTreeMap::new() };
        Input::Activity(Activity { groups: BTreeMap::from([("shop".into(), stays)]) })
    };
    let mut monitors = Monitors::new(Time(0), "a".into(), 1);
    let assignment = MonitorAssignment { recovery: Some(recovery.clone()), ..assignment("web") };
    let assigned = Input::Assign { generation: 1, monitors: vec![assignment.clone()] };
    assert_eq!(step(&mut monitors, 0, assigned), ["report 1 web=idle", "verdicts web=idle@None"]);
    assert_eq!(
        step(&mut monitors, 100, online(Some(7))),
        ["report 2 web=unknown", "verdicts web=unknown@Some(7)"]
    );
    assert!(step(&mut monitors, 2_099, Input::Tick).is_empty(), "it waits until the target may answer");
    assert_eq!(step(&mut monitors, 2_100, Input::Tick), ["probe web 1"]);
    let told = step(&mut monitors, 2_110, probed("web", 1, Answer::bad("no")));
    assert_eq!(told, ["report 3 web=error", "verdicts web=error@Some(7)"]);
    // What was said of an earlier stay says nothing of this one, also if it comes late.
    assert_eq!(step(&mut monitors, 3_100, Input::Tick), ["probe web 2"]);
    let told = step(&mut monitors, 3_110, online(Some(9)));
    assert_eq!(told, ["report 4 web=unknown", "verdicts web=unknown@Some(9)"]);
    assert!(step(&mut monitors, 3_120, probed("web", 2, Answer::bad("no"))).is_empty());
    assert_eq!(step(&mut monitors, 3_130, online(None)), ["report 5 web=idle", "verdicts web=idle@None"]);
    // Asked everywhere, it begins anew too, and goes on where its target is not.
    let always = Recovery { is_while_active: false, ..recovery };
    let assignment = MonitorAssignment { recovery: Some(always), ..assignment };
    let assigned = Input::Assign { generation: 1, monitors: vec![assignment] };
    assert_eq!(
        step(&mut monitors, 4_000, assigned),
        ["probe web 3", "report 6 web=unknown", "verdicts web=unknown@None"]
    );
    let told = step(&mut monitors, 4_010, probed("web", 3, Answer::bad("no")));
    assert_eq!(told, ["report 7 web=error", "verdicts web=error@None"]);
    let told = step(&mut monitors, 4_020, online(Some(11)));
    assert_eq!(told, ["report 8 web=unknown", "verdicts web=unknown@Some(11)"]);
}

//! What a cell does about its monitors: who is told to make probes, and what people hear of the answers.

use super::story;
use crate::cell::{Cell, Input, Output};
use crate::machine::Machine;
use crate::time::Time;
use std::collections::BTreeMap;
use wire::id::NodeName;
use wire::monitor::{
    Alert, Check, FinalAction, MonitorReport, MonitorSettings, MonitorState, MonitorsReport, Pace, Recovery,
    RecoveryTarget, Target,
};
use wire::status::{MonitorAct, MonitorStatus, Severity};

fn monitor(name: &str, nodes: &[&str]) -> MonitorSettings {
    MonitorSettings {
        name: name.into(),
        nodes: nodes.iter().map(|node| (*node).into()).collect(),
        check: Check::Tcp { target: Target { host: name.into(), port: 80 } },
        pace: Pace { interval_ms: 1_000, timeout_ms: 400, retries: 1, confirmations: 1, slow_percent: 0 },
        recovery: None,
    }
}

/// A cell and everything it says, without what is not about monitors.
struct Told {
    cell: Cell,
    remembered: BTreeMap<String, String>,
    sequence: u64,
}

impl Told {
    fn new(monitors: &[MonitorSettings]) -> Self {
        let mut told = Self { cell: Cell::new(7, []), remembered: BTreeMap::new(), sequence: 0 };
        told.configure(0, monitors);
        told
    }

    fn configure(&mut self, now: u64, monitors: &[MonitorSettings]) -> Vec<String> {
        let settings = story::settings(&["shop=s1@a"]);
        let settings = wire::settings::CellSettings { monitors: monitors.to_vec(), ..settings };
        self.step(now, Input::Configure(Box::new(settings)))
    }

    fn connect(&mut self, now: u64, node: &str) -> Vec<String> {
        self.step(now, Input::AgentConnected { node: node.into() })
    }

    /// `web=error` each.
    fn report(&mut self, now: u64, node: &str, words: &[&str]) -> Vec<String> {
        self.sequence += 1;
        let monitors = words.iter().map(|word| {
            let (name, state) = word.split_once('=').expect("name=state");
            let (state, probes) = match state {
                "unasked" => (MonitorState::Unknown, 0),
                "unknown" => (MonitorState::Unknown, 9),
                "normal" => (MonitorState::Normal, 9),
                "warning" => (MonitorState::Warning, 9),
                "paused" => (MonitorState::Paused, 9),
                "idle" => (MonitorState::Idle, 9),
                _ => (MonitorState::Error, 9),
            };
            MonitorReport {
                name: name.into(),
                state,
                reason: "so it is".into(),
                took_ms: Some(3),
                probes,
                failures: 2,
                next_in_ms: Some(500),
                figures: Vec::new(),
            }
        });
        let (node, sequence): (NodeName, u64) = (node.into(), self.sequence);
        let report = MonitorsReport { node, incarnation: 1, sequence, monitors: monitors.collect() };
        self.step(now, Input::AgentMonitors(report))
    }

    fn operate(&mut self, now: u64, name: &str, act: MonitorAct) -> Vec<String> {
        let (ask, who) = (1, "ann".to_owned());
        self.step(now, Input::MonitorOperator { ask, who, monitor: name.into(), act })
    }

    fn step(&mut self, now: u64, input: Input) -> Vec<String> {
        let outputs = self.cell.step(Time(now), input);
        self.cell.check();
        outputs.into_iter().filter_map(|output| self.hear(output)).collect()
    }

    fn hear(&mut self, output: Output) -> Option<String> {
        match output {
            Output::Monitor { node, monitors } => {
                let texts = monitors.iter().map(|monitor| format!(" {}:{:?}", monitor.name, monitor.wish));
                Some(format!("{node} shall{}", texts.collect::<String>()))
            }
            Output::NodeEvent { severity, kind, node, id, text } => {
                let id = id.map(|id| format!(" {id}")).unwrap_or_default();
                Some(format!("{severity:?} {kind}{id} of {node}: {text}"))
            }
            Output::Event { kind, text, .. } if kind == "operator" || kind.starts_with("monitor") => {
                Some(text)
            }
            Output::Answer { result, .. } => {
                Some(result.unwrap_or_else(|refusal| format!("{}: {}", refusal.code, refusal.message)))
            }
            Output::Remember { key, value } if key.starts_with("monitor/") => {
                match value {
                    Some(value) => self.remembered.insert(key, value),
                    None => self.remembered.remove(&key),
                };
                None
            }
            _ => None,
        }
    }

    fn status(&self, name: &str, node: &str) -> MonitorStatus {
        let summary = self.cell.summary(&|time| time.0 + 1_000_000);
        let mut all = summary.monitors.into_iter();
        all.find(|status| status.monitor.0 == name && status.node.0 == node).expect("it is configured")
    }
}

#[test]
fn each_node_is_told_its_own_when_its_agent_comes_and_when_they_change() {
    let mut told = Told::new(&[monitor("web", &["a", "b"]), monitor("mail", &["a"])]);
    assert_eq!(told.connect(10, "a"), ["a shall web:Run mail:Run"]);
    assert_eq!(told.connect(20, "b"), ["b shall web:Run"]);
    let slower =
        MonitorSettings { pace: Pace { retries: 9, ..monitor("mail", &[]).pace }, ..monitor("mail", &["a"]) };
    assert_eq!(
        told.configure(30, &[monitor("web", &["a", "b"]), slower.clone()]),
        ["a shall web:Run mail:Run"]
    );
    assert_eq!(
        told.configure(40, &[monitor("web", &["a"]), slower]),
        ["a shall web:Run mail:Run", "b shall"]
    );
    assert_eq!(told.configure(50, &[]), ["a shall"]);
    // A node without any is told nothing, unless it speaks of some that an earlier manager gave it.
    told.step(60, Input::AgentLost { node: "a".into() });
    assert!(told.connect(70, "a").is_empty());
    assert_eq!(told.report(80, "a", &["old=normal"]), ["a shall"]);
}

#[test]
fn changes_are_events_and_what_is_well_from_the_start_is_none() {
    let mut told = Told::new(&[monitor("web", &["a", "b"])]);
    told.connect(0, "a");
    told.connect(0, "b");
    assert!(told.report(10, "a", &["web=unasked"]).is_empty());
    assert!(told.report(20, "a", &["web=normal"]).is_empty());
    assert!(told.report(30, "a", &["web=normal"]).is_empty());
    assert_eq!(
        told.report(40, "a", &["web=warning"]),
        ["Warning monitor-warning of a: monitor web on a: warning: so it is"]
    );
    assert_eq!(
        told.report(50, "a", &["web=unknown"]),
        ["Warning monitor-unknown of a: monitor web on a: unknown: so it is"]
    );
    assert_eq!(
        told.report(60, "a", &["web=error"]),
        ["Error monitor-error of a: monitor web on a: error: so it is"]
    );
    assert_eq!(
        told.report(70, "a", &["web=normal"]),
        ["Info monitor-normal of a: monitor web on a: normal: so it is"]
    );
    assert_eq!(
        told.report(80, "b", &["web=error"]),
        ["Error monitor-error of b: monitor web on b: error: so it is"]
    );
    let status = told.status("web", "b");
    assert_eq!(
        (status.state, status.since_ms, status.next_ms),
        (MonitorState::Error, 1_000_080, Some(1_000_580))
    );
}

#[test]
fn reports_that_are_older_or_of_strangers_change_nothing() {
    let mut told = Told::new(&[monitor("web", &["a"])]);
    told.connect(0, "a");
    told.report(10, "a", &["web=normal"]);
    told.sequence = 0;
    assert!(told.report(20, "a", &["web=error"]).is_empty());
    told.sequence = 5;
    assert!(told.report(30, "z", &["web=error"]).is_empty());
    assert_eq!(told.status("web", "a").state, MonitorState::Normal);
}

#[test]
fn of_a_node_that_is_not_connected_nothing_is_known() {
    let mut told = Told::new(&[monitor("web", &["a"])]);
    assert_eq!(told.status("web", "a").reason, "the agent of node a is not connected");
    told.connect(10, "a");
    assert_eq!(told.status("web", "a").reason, "its agent has not told yet");
    told.report(20, "a", &["web=normal"]);
    told.step(500, Input::AgentLost { node: "a".into() });
    let status = told.status("web", "a");
    assert_eq!((status.state, status.since_ms), (MonitorState::Unknown, 1_000_500));
}

#[test]
fn a_pause_outlives_the_manager_and_a_drill_ends_by_itself() {
    let monitors = [monitor("web", &["a"])];
    let mut told = Told::new(&monitors);
    told.connect(0, "a");
    let drill = told.operate(100, "web", MonitorAct::Fail { for_ms: 5_000 });
    let asked = "ann asked to let monitor web fail for 5 s";
    assert_eq!(drill, [asked, "a shall web:Fail", "monitor web fails for 5 s, as a drill"]);
    assert_eq!(told.status("web", "a").drill_ends_ms, Some(1_005_100));
    assert_eq!(told.cell.wake_at(), Some(Time(2_000)), "views are settled first");
    told.step(2_000, Input::Tick);
    assert_eq!(told.cell.wake_at(), Some(Time(5_100)));
    assert_eq!(told.step(5_100, Input::Tick), ["the drill of monitor web is over", "a shall web:Run"]);
    let paused = told.operate(6_000, "web", MonitorAct::Pause);
    assert_eq!(paused, ["ann asked to pause monitor web", "a shall web:Pause", "monitor web is paused"]);
    assert_eq!(told.operate(6_000, "web", MonitorAct::Pause), ["monitor web is paused already"]);
    let drill = told.operate(6_000, "web", MonitorAct::Fail { for_ms: 5_000 });
    assert_eq!(drill, ["M2005: monitor web is paused, and a drill would go unnoticed: resume it first"]);
    // The next manager.
    told.cell = Cell::new(8, told.remembered.clone());
    told.configure(0, &monitors);
    assert_eq!(told.connect(10, "a"), ["a shall web:Pause"]);
    assert_eq!(told.status("web", "a").state, MonitorState::Paused);
    let resumed = told.operate(20, "web", MonitorAct::Resume);
    assert_eq!(resumed, ["ann asked to resume monitor web", "a shall web:Run", "monitor web runs again"]);
    assert!(told.remembered.is_empty());
    assert_eq!(told.operate(30, "web", MonitorAct::Resume), ["monitor web runs already"]);
    assert_eq!(told.operate(30, "wep", MonitorAct::Pause), ["M2010: there is no monitor wep; there is web"]);
}

#[test]
fn the_pause_of_a_monitor_that_is_removed_is_forgotten() {
    let mut told = Told::new(&[monitor("web", &["a"])]);
    told.operate(10, "web", MonitorAct::Pause);
    told.configure(20, &[]);
    assert!(told.remembered.is_empty());
}

#[test]
fn messages_of_monitoring_commands_become_alerts_with_their_number() {
    let mut told = Told::new(&[]);
    let alert = |source: &str, text: &str| {
        let (severity, text) = (Severity::Error, text.to_owned());
        Input::Alert { node: "a".into(), alert: Alert { source: source.into(), id: 6, severity, text } }
    };
    assert_eq!(told.step(0, alert("clp_httpmon", "it ends\n")), ["Error clp-httpmon 6 of a: it ends"]);
    assert!(told.step(0, alert("somebody", "hello")).is_empty());
    let long = told.step(0, alert("clp_smtpmon", &"x".repeat(5_000)));
    assert_eq!(long[0].len(), "Error clp-smtpmon 6 of a: ".len() + 600);
}

#[test]
fn a_monitor_of_a_group_says_what_the_monitoring_commands_say_under_their_numbers() {
    let recovery = Recovery {
        target: RecoveryTarget::AllGroups,
        is_while_active: true,
        delay_ms: 0,
        start_period_ms: 0,
        restarts_max: 0,
        failovers_max: 0,
        final_action: FinalAction::None,
        final_command: Vec::new(),
        before_restart: Vec::new(),
        before_failover: Vec::new(),
        before_final: Vec::new(),
    };
    let check = Check::Smtp { target: Target { host: "mail".into(), port: 25 }, tls: None };
    let settings = MonitorSettings { recovery: Some(recovery), check, ..monitor("mail", &["a"]) };
    let mut told = Told::new(&[settings]);
    told.connect(10, "a");
    assert!(told.report(20, "a", &["mail=idle"]).is_empty());
    assert_eq!(
        told.report(30, "a", &["mail=unasked"]),
        ["Info monitor-starting 2 of a: monitor mail begins on a: its target is online there"]
    );
    assert_eq!(
        told.report(40, "a", &["mail=normal"]),
        ["Info monitor-started 1 of a: monitor mail watches on a: so it is"]
    );
    assert_eq!(
        told.report(50, "a", &["mail=error"]),
        ["Error monitor-error 6 of a: monitor mail on a: error: so it is"]
    );
    assert_eq!(
        told.report(60, "a", &["mail=idle"]),
        ["Info monitor-stopped 3 of a: monitor mail ends on a: so it is"]
    );
    assert!(told.report(70, "a", &["mail=idle"]).is_empty());
}

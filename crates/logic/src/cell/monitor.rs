//! What a cell knows of its monitors: who shall make which probes, what operators want of them, what agents say.
//!
//! Promises: a node is told its whole list again when anything on it changes, when its agent connects, and when it speaks of
//! monitors that it should not have; a drill ends by itself; of a node that is not connected nothing is believed.
//! A pause survives the manager (`monitor/<name>` = `paused`), a drill does not: a new manager ends it.

use super::operate::{list, refuse};
use super::{Cell, Output, Refusal};
use crate::limits::ALERT_TEXT_MAX_CHARS;
use crate::time::Time;
use std::collections::BTreeMap;
use wire::error_code::{ACT_MAKES_NO_SENSE, NO_SUCH_MONITOR};
use wire::id::{MonitorName, NodeName};
use wire::monitor::{
    Alert, Check, MonitorAssignment, MonitorReport, MonitorSettings, MonitorState, MonitorWish,
    MonitorsReport,
};
use wire::status::{MonitorAct, MonitorStatus, Severity};

const PAUSED: &str = "paused";

fn key(monitor: &MonitorName) -> String {
    format!("monitor/{monitor}")
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wish {
    Run,
    Pause,
    /// A drill.
    Fail {
        until: Time,
    },
}

/// What a node said of a monitor.
#[derive(Debug, Clone)]
struct Told {
    report: MonitorReport,
    heard: Time,
    since: Time,
    /// Its target has come online there, and it has not said yet that all is well.
    is_starting: bool,
}

/// One monitor of the configuration.
#[derive(Debug)]
pub(super) struct Monitor {
    settings: MonitorSettings,
    wish: Wish,
    told: BTreeMap<NodeName, Told>,
    /// Since when it is as it is where nobody has said anything yet.
    since: Time,
}

impl Monitor {
    /// For a node; `is_left_alone`: that is in maintenance.
    fn assignment(&self, is_left_alone: bool) -> MonitorAssignment {
        MonitorAssignment {
            name: self.settings.name.clone(),
            check: self.settings.check.clone(),
            pace: self.settings.pace,
            wish: match self.wish {
                Wish::Run | Wish::Fail { .. } if is_left_alone => MonitorWish::Pause,
                Wish::Run => MonitorWish::Run,
                Wish::Pause => MonitorWish::Pause,
                Wish::Fail { .. } => MonitorWish::Fail,
            },
            recovery: self.settings.recovery.clone(),
        }
    }
}

/// All monitors of a cell.
#[derive(Debug, Default)]
pub(super) struct Monitors {
    all: Vec<Monitor>,
    /// Incarnation and sequence of each node's newest report.
    newest: BTreeMap<NodeName, (u64, u64)>,
    /// Nodes that must be told their list.
    untold: std::collections::BTreeSet<NodeName>,
}

impl Monitors {
    fn of_node<'a>(&'a self, node: &'a NodeName) -> impl Iterator<Item = &'a Monitor> {
        self.all.iter().filter(move |monitor| monitor.settings.nodes.contains(node))
    }

    fn mark(&mut self, position: usize) {
        self.untold.extend(self.all[position].settings.nodes.iter().cloned());
    }

    /// When a drill ends.
    pub fn wake_at(&self) -> Option<Time> {
        let drills = self.all.iter().filter_map(|monitor| match monitor.wish {
            Wish::Fail { until } => Some(until),
            Wish::Run | Wish::Pause => None,
        });
        drills.min()
    }
}

impl Cell {
    pub(super) fn configure_monitors(&mut self, now: Time, settings: Vec<MonitorSettings>) {
        let mut old = std::mem::take(&mut self.monitors.all);
        for settings in settings {
            let known = old.iter().position(|monitor| monitor.settings.name == settings.name);
            let monitor = match known.map(|position| old.remove(position)) {
                Some(mut monitor) => {
                    if monitor.settings != settings {
                        self.monitors
                            .untold
                            .extend(monitor.settings.nodes.iter().chain(&settings.nodes).cloned());
                    }
                    monitor.told.retain(|node, _| settings.nodes.contains(node));
                    Monitor { settings, ..monitor }
                }
                None => {
                    let is_paused = self.remembered.remove(&key(&settings.name)).as_deref() == Some(PAUSED);
                    self.monitors.untold.extend(settings.nodes.iter().cloned());
                    let wish = if is_paused { Wish::Pause } else { Wish::Run };
                    Monitor { settings, wish, told: BTreeMap::new(), since: now }
                }
            };
            self.monitors.all.push(monitor);
        }
        for gone in old {
            self.monitors.untold.extend(gone.settings.nodes);
            if gone.wish == Wish::Pause {
                self.outputs.push(Output::Remember { key: key(&gone.settings.name), value: None });
            }
        }
    }

    /// A node that has none is not told so, unless it speaks of some.
    pub(super) fn tell_monitors_anew(&mut self, node: &NodeName) {
        if self.monitors.of_node(node).next().is_some() {
            self.monitors.untold.insert(node.clone());
        }
    }

    pub(super) fn on_monitors_report(&mut self, now: Time, report: MonitorsReport) {
        let node = report.node;
        if !self.agents.contains_key(&node) {
            return;
        }
        let this = (report.incarnation, report.sequence);
        if self.monitors.newest.get(&node).is_some_and(|newest| this <= *newest) {
            return;
        }
        self.monitors.newest.insert(node.clone(), this);
        for told in report.monitors {
            let mut all = self.monitors.all.iter_mut();
            let known = all.find(|monitor| monitor.settings.name == told.name);
            let Some(monitor) = known.filter(|monitor| monitor.settings.nodes.contains(&node)) else {
                self.monitors.untold.insert(node.clone());
                continue;
            };
            let before = monitor.told.get(&node);
            // Before its first answer it is only not known yet, which is no news, and neither is that all is well then.
            let was = before.filter(|before| before.report.probes > 0 || is_quiet(before.report.state));
            let was = was.map(|before| before.report.state);
            let since =
                before.filter(|before| before.report.state == told.state).map_or(now, |before| before.since);
            let was_starting = before.is_some_and(|before| before.is_starting);
            let event = event(&node, &monitor.settings, was, was_starting, &told);
            let is_starting = match told.state {
                MonitorState::Unknown => was_starting || was == Some(MonitorState::Idle),
                MonitorState::Normal
                | MonitorState::Warning
                | MonitorState::Error
                | MonitorState::Paused
                | MonitorState::Idle => false,
            };
            monitor.told.insert(node.clone(), Told { report: told, heard: now, since, is_starting });
            self.outputs.extend(event);
        }
    }

    pub(super) fn operate_monitor(
        &mut self,
        now: Time,
        who: &str,
        name: &MonitorName,
        act: MonitorAct,
    ) -> Result<String, Refusal> {
        let position = self.monitors.all.iter().position(|monitor| monitor.settings.name == *name);
        let Some(position) = position else {
            let names = list(self.monitors.all.iter().map(|monitor| &monitor.settings.name.0));
            return Err(refuse(NO_SUCH_MONITOR, format!("there is no monitor {name}; there is {names}")));
        };
        let monitor = &mut self.monitors.all[position];
        let was = monitor.wish;
        let (wish, done, asked): (Wish, String, String) = match (act, was) {
            (MonitorAct::Pause, Wish::Pause) => return Ok(format!("monitor {name} is paused already")),
            (MonitorAct::Pause, Wish::Run | Wish::Fail { .. }) => {
                (Wish::Pause, format!("monitor {name} is paused"), format!("pause monitor {name}"))
            }
            (MonitorAct::Resume, Wish::Run) => return Ok(format!("monitor {name} runs already")),
            (MonitorAct::Resume, Wish::Pause | Wish::Fail { .. }) => {
                (Wish::Run, format!("monitor {name} runs again"), format!("resume monitor {name}"))
            }
            (MonitorAct::Fail { .. }, Wish::Pause) => {
                let message =
                    format!("monitor {name} is paused, and a drill would go unnoticed: resume it first");
                return Err(refuse(ACT_MAKES_NO_SENSE, message));
            }
            (MonitorAct::Fail { for_ms }, Wish::Run | Wish::Fail { .. }) => {
                let seconds = for_ms as f64 / 1e3;
                let done = format!("monitor {name} fails for {seconds} s, as a drill");
                (Wish::Fail { until: now + for_ms }, done, format!("let monitor {name} fail for {seconds} s"))
            }
        };
        monitor.wish = wish;
        self.monitors.mark(position);
        if (wish == Wish::Pause) != (was == Wish::Pause) {
            let value = (wish == Wish::Pause).then(|| PAUSED.to_owned());
            self.outputs.push(Output::Remember { key: key(name), value });
        }
        self.event(Severity::Info, "operator", format!("{who} asked to {asked}"));
        Ok(done)
    }

    /// It becomes an event as it is, with its number.
    pub(super) fn on_alert(&mut self, node: NodeName, alert: Alert) {
        let kind = match alert.source.as_str() {
            "clp_httpmon" => "clp-httpmon",
            "clp_smtpmon" => "clp-smtpmon",
            _ => return,
        };
        let (severity, id, text) = (alert.severity, Some(alert.id), cut(&alert.text));
        self.outputs.push(Output::NodeEvent { severity, kind, node, id, text });
    }

    /// Ends drills whose time is up, and tells nodes what they shall do.
    pub(super) fn settle_monitors(&mut self, now: Time) {
        for position in 0..self.monitors.all.len() {
            let monitor = &mut self.monitors.all[position];
            if matches!(monitor.wish, Wish::Fail { until } if until <= now) {
                monitor.wish = Wish::Run;
                let text = format!("the drill of monitor {} is over", monitor.settings.name);
                self.monitors.mark(position);
                self.event(Severity::Info, "monitor-drill-over", text);
            }
        }
        for node in std::mem::take(&mut self.monitors.untold) {
            if self.agents.get(&node).is_some_and(|agent| agent.is_connected) {
                let is_left_alone = self.wish_of(&node).is_in_maintenance;
                let here = self.monitors.of_node(&node);
                let monitors = here.map(|monitor| monitor.assignment(is_left_alone)).collect();
                self.outputs.push(Output::Monitor { node, monitors });
            }
        }
    }

    pub(super) fn monitor_statuses(&self, unix_ms: &dyn Fn(Time) -> u64) -> Vec<MonitorStatus> {
        let mut statuses = Vec::new();
        for monitor in &self.monitors.all {
            for node in &monitor.settings.nodes {
                statuses.push(self.monitor_status(monitor, node, unix_ms));
            }
        }
        statuses
    }

    fn monitor_status(
        &self,
        monitor: &Monitor,
        node: &NodeName,
        unix_ms: &dyn Fn(Time) -> u64,
    ) -> MonitorStatus {
        let agent = self.agents.get(node);
        let is_connected = agent.is_some_and(|agent| agent.is_connected);
        let told = monitor.told.get(node);
        let fresh = told.filter(|_| is_connected);
        let is_left_alone = self.wish_of(node).is_in_maintenance;
        let (state, reason) = match (fresh, monitor.wish) {
            (Some(told), Wish::Run | Wish::Fail { .. })
                if is_left_alone && told.report.state == MonitorState::Paused =>
            {
                (MonitorState::Paused, "its node is in maintenance".to_owned())
            }
            (Some(told), _) => (told.report.state, told.report.reason.clone()),
            (None, Wish::Pause) => (MonitorState::Paused, "paused by an operator".to_owned()),
            (None, Wish::Run | Wish::Fail { .. }) if is_connected => {
                (MonitorState::Unknown, "its agent has not told yet".to_owned())
            }
            (None, Wish::Run | Wish::Fail { .. }) => {
                (MonitorState::Unknown, format!("the agent of node {node} is not connected"))
            }
        };
        let since = match (fresh, agent) {
            (Some(told), _) => told.since,
            (None, Some(agent)) => agent.link_since().max(monitor.since),
            (None, None) => monitor.since,
        };
        MonitorStatus {
            monitor: monitor.settings.name.clone(),
            node: node.clone(),
            kind: monitor.settings.check.kind().to_owned(),
            target: monitor.settings.check.target(),
            state,
            since_ms: unix_ms(since),
            reason,
            took_ms: fresh.and_then(|told| told.report.took_ms),
            interval_ms: monitor.settings.pace.interval_ms,
            next_ms: fresh.and_then(|told| Some(unix_ms(told.heard + told.report.next_in_ms?))),
            probes: told.map_or(0, |told| told.report.probes),
            failures: told.map_or(0, |told| told.report.failures),
            drill_ends_ms: match monitor.wish {
                Wish::Fail { until } => Some(unix_ms(until)),
                Wish::Run | Wish::Pause => None,
            },
            figures: fresh.map(|told| told.report.figures.clone()).unwrap_or_default(),
        }
    }
}

/// What people are told of a change. Nothing where it is as it should be from the first.
fn event(
    node: &NodeName,
    settings: &MonitorSettings,
    was: Option<MonitorState>,
    was_starting: bool,
    told: &MonitorReport,
) -> Option<Output> {
    let is = told.state;
    let (severity, kind) = match is {
        MonitorState::Normal if was_starting => (Severity::Info, "monitor-started"),
        _ if was.unwrap_or_default() == is => return None,
        MonitorState::Unknown if was == Some(MonitorState::Idle) => (Severity::Info, "monitor-starting"),
        MonitorState::Idle if was.is_some_and(|was| !is_quiet(was)) => (Severity::Info, "monitor-stopped"),
        MonitorState::Normal if was.is_none() => return None,
        MonitorState::Normal => (Severity::Info, "monitor-normal"),
        MonitorState::Warning => (Severity::Warning, "monitor-warning"),
        MonitorState::Error => (Severity::Error, "monitor-error"),
        // From the start on, and after a pause, it is only not asked yet.
        MonitorState::Unknown if was == Some(MonitorState::Paused) => return None,
        MonitorState::Unknown => (Severity::Warning, "monitor-unknown"),
        // Whoever did that was told of already.
        MonitorState::Paused | MonitorState::Idle => return None,
    };
    let text = match kind {
        "monitor-starting" => format!("monitor {} begins on {node}: its target is online there", told.name),
        "monitor-started" => format!("monitor {} watches on {node}: {}", told.name, told.reason),
        "monitor-stopped" => format!("monitor {} ends on {node}: {}", told.name, told.reason),
        _ => format!("monitor {} on {node}: {is}: {}", told.name, told.reason),
    };
    let id = settings.recovery.as_ref().and_then(|_| command_id(&settings.check, kind));
    Some(Output::NodeEvent { severity, kind, node: node.clone(), id, text })
}

/// Nobody is asked.
fn is_quiet(state: MonitorState) -> bool {
    matches!(state, MonitorState::Paused | MonitorState::Idle)
}

/// Under which number ExpressCluster's monitoring command of that kind says the same.
fn command_id(check: &Check, kind: &str) -> Option<u16> {
    if !matches!(check, Check::Http { .. } | Check::Smtp { .. }) {
        return None;
    }
    match kind {
        "monitor-started" => Some(1),
        "monitor-starting" => Some(2),
        "monitor-stopped" => Some(3),
        "monitor-error" => Some(6),
        _ => None,
    }
}

/// Longer than any message of a command: what comes from a socket is bounded all the same.
fn cut(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_control()).take(ALERT_TEXT_MAX_CHARS).collect()
}

//! The monitors of a node: the real machine, and a service of each group that is well or not, by node.
//!
//! What is sick answers no, or not at all. A restart mends nothing here; chance does, and the end of all faults.

use super::{Event, World, node_name};
use logic::group::ResidentInput;
use logic::machine::Machine;
use logic::monitor::Answer;
use logic::monitor::set::{Input, Monitors, Output};
use logic::recovery::Activity;
use logic::seed::Chance;
use wire::group::GroupSettings;
use wire::id::{GroupName, MonitorName};
use wire::monitor::{
    Check, FinalAction, MonitorAssignment, MonitorWish, Pace, Recovery, RecoveryTarget, Target,
};

/// Between monitors and groups of one node.
const HAND_OVER_US: u64 = 50;

fn group_of(monitor: &MonitorName) -> GroupName {
    GroupName(monitor.0.clone())
}

/// One monitor for each group, with its name.
pub(super) fn assignments(groups: &[GroupSettings], chance: &mut Chance) -> Vec<MonitorAssignment> {
    let monitor = |group: &GroupSettings| MonitorAssignment {
        name: MonitorName(group.name.0.clone()),
        check: Check::Tcp { target: Target { host: group.name.0.clone(), port: 80 } },
        pace: Pace { interval_ms: 500, timeout_ms: 200, retries: 1, confirmations: 1, slow_percent: 0 },
        wish: MonitorWish::Run,
        recovery: Some(Recovery {
            target: match chance.below(4) {
                0 => RecoveryTarget::AllGroups,
                1 => RecoveryTarget::Resource { group: group.name.clone(), resource: "second".into() },
                _ => RecoveryTarget::Group { group: group.name.clone() },
            },
            is_while_active: chance.percent(70),
            delay_ms: 0,
            start_period_ms: 0,
            restarts_max: chance.below(3),
            failovers_max: chance.below(3),
            final_action: match chance.below(4) {
                0 => FinalAction::StopGroup,
                1 => FinalAction::StopService,
                _ => FinalAction::None,
            },
            final_command: Vec::new(),
            before_restart: if chance.percent(30) { vec!["before".into()] } else { Vec::new() },
            before_failover: if chance.percent(30) { vec!["before".into()] } else { Vec::new() },
            before_final: if chance.percent(30) { vec!["before".into()] } else { Vec::new() },
        }),
    };
    groups.iter().map(monitor).collect()
}

impl World {
    pub(super) fn start_monitors(&mut self, node: usize, start: u64, incarnation: u64) {
        let now = self.nodes[node].clock.shows(self.now_us);
        self.nodes[node].monitors_wake_us = None;
        self.nodes[node].monitors = Some(Monitors::new(now, node_name(node), incarnation));
        let monitors = self.monitors.clone();
        self.step_monitors(node, start, Input::Assign { generation: 1, monitors });
    }

    pub(super) fn on_activity(&mut self, node: usize, start: u64, activity: Activity) {
        let input = Box::new(Input::Activity(activity));
        self.after(HAND_OVER_US, Event::ToMonitors { node, start, input });
    }

    pub(super) fn step_monitors(&mut self, node: usize, start: u64, input: Input) {
        let host = &mut self.nodes[node];
        let now = host.clock.shows(self.now_us);
        let Some(monitors) = host.monitors.as_mut().filter(|_| host.start == start) else { return };
        let outputs = monitors.step(now, input);
        monitors.check();
        let due_us = monitors.wake_at().map(|due| host.clock.reaches(due).max(self.now_us + 1));
        // What is planned for later fires at a time that means nothing, and does no harm.
        let is_planned = |at_us: &u64| host.monitors_wake_us.is_some_and(|planned_us| planned_us <= *at_us);
        if let Some(at_us) = due_us.filter(|at_us| !is_planned(at_us)) {
            host.monitors_wake_us = Some(at_us);
            self.at(at_us, Event::WakeMonitors { node, start });
        }
        for output in outputs {
            match output {
                Output::Probe { name, probe } => {
                    let is_sick = self.sick.contains(&(node, group_of(&name)));
                    let (pause_us, answer) = match (is_sick, self.chance.percent(30)) {
                        (false, _) => (self.some(500, 30_000), Answer::good()),
                        (true, false) => (self.some(500, 30_000), Answer::bad("refused")),
                        (true, true) => (probe.timeout_ms * 1_000, Answer::Silent),
                    };
                    let input = Box::new(Input::Probed { name, probe: probe.number, answer });
                    self.after(pause_us, Event::ToMonitors { node, start, input });
                }
                Output::Verdicts(verdicts) => {
                    let input = Box::new(ResidentInput::Verdicts(verdicts));
                    self.after(HAND_OVER_US, Event::FromGuardian { node, start, input });
                }
                Output::Report(_) | Output::Refused { .. } => {}
            }
        }
    }

    pub(super) fn wake_monitors(&mut self, node: usize, start: u64) {
        let host = &mut self.nodes[node];
        if host.start == start && host.monitors_wake_us.is_some_and(|planned_us| planned_us <= self.now_us) {
            host.monitors_wake_us = None;
            self.step_monitors(node, start, Input::Tick);
        }
    }

    /// Everything that ran there has ended in order.
    pub(super) fn on_service_ended(&mut self, node: usize) {
        self.tell(|| format!("the service of {} has ended", node_name(node)));
        self.kill_node(node);
    }

    pub(super) fn fall_sick(&mut self, node: usize, group: &str) {
        self.tell(|| format!("group {group} is sick on {}", node_name(node)));
        self.sick.insert((node, group.into()));
    }

    pub(super) fn heal(&mut self, group: Option<&str>) {
        self.tell(|| format!("{group:?} is well again"));
        self.sick.retain(|(_, sick)| group.is_some_and(|group| sick.0 != group));
    }
}

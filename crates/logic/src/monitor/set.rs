//! All monitors of one node: which probes are due, and when the manager is told.
//!
//! Promises: a change of any state or reason goes out in the same step; a report goes out each
//! `MONITORS_REPORT_INTERVAL_MS` in any case, while there is anything to tell; older generations are refused.
//! The shell's part: each `Probe` is answered by `Probed` within its time-out.

use super::Answer;
use super::watch::{Probe, Watch};
use crate::limits::MONITORS_REPORT_INTERVAL_MS;
use crate::machine::Machine;
use crate::probe::ProbeNumber;
use crate::recovery::{Activity, Verdict};
use crate::time::Time;
use std::collections::{BTreeMap, BTreeSet};
use wire::id::{MonitorName, NodeName};
use wire::monitor::{MonitorAssignment, MonitorReport, MonitorsReport};

#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// The manager of this generation wants exactly these.
    Assign {
        generation: u64,
        monitors: Vec<MonitorAssignment>,
    },
    /// What of this node's groups is online now.
    Activity(Activity),
    /// A manager listens (again) and knows nothing of this node.
    Connected,
    Probed {
        name: MonitorName,
        probe: ProbeNumber,
        answer: Answer,
    },
    Tick,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// Boxed: it is far larger than the rest, and the rest waits in queues.
    Probe {
        name: MonitorName,
        probe: Box<Probe>,
    },
    Report(MonitorsReport),
    /// All that monitors say to groups, whenever any of it changes.
    Verdicts(Vec<Verdict>),
    Refused {
        generation: u64,
        newest: u64,
    },
}

/// The monitors of one node.
#[derive(Debug, Clone)]
pub struct Monitors {
    node: NodeName,
    incarnation: u64,
    sequence: u64,
    generation: u64,
    watches: BTreeMap<MonitorName, Watch>,
    /// When each is due, so that a step looks at those that are and at no other.
    due: BTreeSet<(Time, MonitorName)>,
    report_at: Time,
    numbers: u64,
    activity: Activity,
    /// As told last.
    verdicts: Vec<Verdict>,
}

impl Monitors {
    /// `incarnation` must be higher than that of the agent's last start.
    pub fn new(now: Time, node: NodeName, incarnation: u64) -> Self {
        Self {
            node,
            incarnation,
            sequence: 0,
            generation: 0,
            watches: BTreeMap::new(),
            due: BTreeSet::new(),
            report_at: now,
            numbers: 0,
            activity: Activity::default(),
            verdicts: Vec::new(),
        }
    }

    fn on_assign(
        &mut self,
        now: Time,
        generation: u64,
        monitors: Vec<MonitorAssignment>,
        outputs: &mut Vec<Output>,
    ) -> bool {
        if generation < self.generation {
            outputs.push(Output::Refused { generation, newest: self.generation });
            return false;
        }
        self.generation = generation;
        let wanted: BTreeSet<MonitorName> = monitors.iter().map(|monitor| monitor.name.clone()).collect();
        let count = self.watches.len();
        self.watches.retain(|name, _| wanted.contains(name));
        self.due.retain(|(_, name)| wanted.contains(name));
        let mut changed = self.watches.len() != count;
        for assignment in monitors {
            let name = assignment.name.clone();
            if !self.watches.contains_key(&name) {
                let stay = self.stay_of(&assignment);
                let watch = Watch::new(now, assignment, stay);
                self.due.extend(watch.wake_at().map(|at| (at, name.clone())));
                self.watches.insert(name, watch);
                changed = true;
            } else {
                let stay = self.stay_of(&assignment);
                changed |= self.change(&name, |watch| {
                    watch.assign(now, assignment);
                    watch.stay(now, stay);
                });
            }
        }
        changed
    }

    fn stay_of(&self, assignment: &MonitorAssignment) -> Option<u64> {
        self.activity.stay(assignment.recovery.as_ref()?)
    }

    fn on_activity(&mut self, now: Time, activity: Activity) -> bool {
        self.activity = activity;
        let stay = |watch: &Watch| Some((self.activity.stay(watch.recovery()?), watch.name().clone()));
        let stays: Vec<_> = self.watches.values().filter_map(stay).collect();
        let mut changed = false;
        for (stay, name) in stays {
            changed |= self.change(&name, |watch| watch.stay(now, stay));
        }
        changed
    }

    /// Lets one monitor take something in; says whether it has something new to tell.
    fn change(&mut self, name: &MonitorName, act: impl FnOnce(&mut Watch)) -> bool {
        // News of a monitor that has been forgotten meanwhile.
        let Some(watch) = self.watches.get_mut(name) else { return false };
        let (state, reason) = watch.news();
        let before = (state, reason.to_owned());
        let woke_at = watch.wake_at();
        act(watch);
        let wakes_at = watch.wake_at();
        if woke_at != wakes_at {
            if let Some(at) = woke_at {
                self.due.remove(&(at, name.clone()));
            }
            self.due.extend(wakes_at.map(|at| (at, name.clone())));
        }
        watch.news() != (before.0, &before.1)
    }

    /// Asks what is due.
    fn ask(&mut self, now: Time, outputs: &mut Vec<Output>) -> bool {
        let mut changed = false;
        let is_due = |(at, _): &&(Time, MonitorName)| *at <= now;
        let due: Vec<MonitorName> =
            self.due.iter().take_while(is_due).map(|(_, name)| name.clone()).collect();
        for name in due {
            self.numbers += 1;
            let number = ProbeNumber(self.numbers);
            let mut probe = None;
            changed |= self.change(&name, |watch| probe = watch.ask(now, number));
            outputs.extend(probe.map(|probe| Output::Probe { name, probe: Box::new(probe) }));
        }
        changed
    }

    fn tell_groups(&mut self, outputs: &mut Vec<Output>) {
        let verdicts: Vec<Verdict> = self.watches.values().filter_map(Watch::verdict).collect();
        if verdicts != self.verdicts {
            self.verdicts.clone_from(&verdicts);
            outputs.push(Output::Verdicts(verdicts));
        }
    }

    fn settle(&mut self, now: Time, changed: bool, outputs: &mut Vec<Output>) {
        let is_due = self.report_at <= now && !self.watches.is_empty();
        if changed || is_due {
            self.sequence += 1;
            self.report_at = now + MONITORS_REPORT_INTERVAL_MS;
            let monitors: Vec<MonitorReport> = self.watches.values().map(|watch| watch.report(now)).collect();
            let (node, incarnation, sequence) = (self.node.clone(), self.incarnation, self.sequence);
            outputs.push(Output::Report(MonitorsReport { node, incarnation, sequence, monitors }));
        }
    }
}

impl Machine for Monitors {
    type Input = Input;
    type Output = Output;

    fn step(&mut self, now: Time, input: Input) -> Vec<Output> {
        let mut outputs = Vec::new();
        // What monitors say to groups changes with what they report, or with one of these.
        let may_differ = matches!(input, Input::Assign { .. } | Input::Activity(_));
        let changed = match input {
            Input::Assign { generation, monitors } => self.on_assign(now, generation, monitors, &mut outputs),
            Input::Activity(activity) => self.on_activity(now, activity),
            Input::Connected => true,
            Input::Probed { name, probe, answer } => self.change(&name, |watch| {
                watch.answer(now, probe, answer);
            }),
            Input::Tick => false,
        };
        let changed = changed | self.ask(now, &mut outputs);
        self.settle(now, changed, &mut outputs);
        if changed || may_differ {
            self.tell_groups(&mut outputs);
        }
        outputs
    }

    fn tick() -> Input {
        Input::Tick
    }

    fn wake_at(&self) -> Option<Time> {
        if self.watches.is_empty() {
            return None;
        }
        self.due.first().map(|(at, _)| *at).into_iter().chain([self.report_at]).min()
    }

    fn check(&self) {
        for (name, watch) in &self.watches {
            watch.check();
            if let Some(at) = watch.wake_at() {
                assert!(self.due.contains(&(at, name.clone())), "a monitor would never be asked");
            }
        }
        assert!(self.due.len() <= self.watches.len(), "a monitor is due twice");
    }
}

#[cfg(test)]
mod tests;

//! One node's groups: starts their resources in order, stops them in reverse, and ends them when the node may not go on.
//!
//! Each group that runs has a guardian, a process that holds all processes of it and a deadline. Promises:
//! - Nothing is begun without the leader's word, and where a lease is needed nothing goes on after its end.
//! - `Stopped`, `Failed` and `Expired` are only reported after the guardian's end, when nothing is left. What cannot be given
//!   back, e.g. a file system that is in use, keeps the group `Stopping`, and says so.
//! - Assignments older than those obeyed are refused.
//!
//! The shell's part: each `Do` is answered by `Done`, unless the guardian ends before; each guardian's end is told once,
//! after everything that it held is gone; where that takes long, what is `Left` is told meanwhile. The time that is passed must
//! count while the machine sleeps.

mod local;
mod recover;
mod rest;

use crate::lease::Span;
use crate::limits::{RECOVERY_LEDGERS_MAX, REPORT_INTERVAL_MS};
use crate::machine::Machine;
use crate::recovery::{Activity, Ledger, Verdict};
use crate::time::Time;
use local::Local;
use std::collections::BTreeMap;
use wire::group::{Ailment, GroupAssignment, GroupsReport, ResourceSettings};
use wire::id::{GroupName, NodeName};
use wire::monitor::{MonitorState, RecoveryTarget};
use wire::node::PowerAct;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// The leader of this generation wants exactly these groups run here.
    Assign {
        generation: u64,
        number: u64,
        groups: Vec<GroupAssignment>,
    },
    /// A manager listens (again) and knows nothing of this node.
    Connected,
    /// The node may act before this time; None: it never might.
    Lease {
        until: Option<Time>,
    },
    /// How an action ended; the error completes "it ...".
    Done {
        group: GroupName,
        run: u64,
        step: u64,
        result: Result<(), String>,
    },
    /// A process that is to run as long as the group does has ended.
    Lost {
        group: GroupName,
        run: u64,
        resource: usize,
        why: String,
    },
    /// All that this node's monitors say to groups.
    Verdicts(Vec<Verdict>),
    /// The guardian is gone, and nothing that it held is left.
    Ended {
        group: GroupName,
        run: u64,
        why: String,
    },
    /// The leader of this generation wants everything stopped, and then this program run.
    Power {
        generation: u64,
        act: PowerAct,
        command: Vec<String>,
        who: String,
    },
    /// That program has failed: the node goes on.
    PowerFailed,
    /// The guardian is gone, or hangs where it should be, and this of what it held is left, as a sentence. `Ended` follows
    /// once it is gone too.
    Left {
        group: GroupName,
        run: u64,
        why: String,
    },
    /// The same of a group that an agent before this one ran; its run is `RUN_OF_BEFORE`.
    Found {
        group: GroupName,
        epoch: u64,
        resources: Vec<ResourceSettings>,
        why: String,
    },
    /// Stop everything, then `Finished`.
    Shutdown,
    Tick,
}

/// Of what an agent before this one ran: runs of this one begin above it.
pub const RUN_OF_BEFORE: u64 = 0;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// The group's guardian of this run, which is started if there is none, kills everything when this span of the node's lease
    /// ends (see `Lease`); None: never by itself.
    Guard { group: GroupName, run: u64, span: Option<u64> },
    /// So long the node has its lease, for all guardians: what is said of it comes before a `Guard` of its span.
    Lease(Span),
    /// What the guardian's last action has not ended is killed first.
    Do { group: GroupName, run: u64, step: u64, action: Box<Action> },
    /// The guardian kills what is left, and ends.
    End { group: GroupName, run: u64 },
    /// All that is known, for the leader; lost without harm while there is none.
    Report(GroupsReport),
    /// Assignments were refused because they are older than those obeyed.
    Refused { generation: u64, newest: u64 },
    /// Something that people want to read in the log.
    Tell { group: GroupName, is_warning: bool, text: String },
    /// What is online has changed, or came online anew.
    Activity(Activity),
    /// Before `Finished`, where a final action has ended the groups: all else that runs here shall end too, and then this program
    /// be run, if there is one.
    EndService { command: Vec<String>, why: String },
    /// Nothing of groups runs any more, as at `Finished`, and this program is to be run. Answered by `Shutdown` or `PowerFailed`.
    Power { act: PowerAct, command: Vec<String>, who: String },
    /// A wish of that kind comes to nothing; who asked was told that it is granted.
    PowerRefused { act: PowerAct, why: &'static str },
    /// After `Shutdown`: nothing runs any more, and nothing more can be given back soon.
    Finished,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    Start,
    Stop,
}

/// One resource is to be started or stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Action {
    pub verb: Verb,
    /// Its place in the group.
    pub index: usize,
    pub resource: ResourceSettings,
    /// What it may know, beside what is configured.
    pub environment: BTreeMap<String, String>,
    /// The node before has given it back in this moment, and no other had it: nobody has to be asked.
    pub is_handed_over: bool,
}

/// All groups of one node.
#[derive(Debug, Clone)]
pub struct Resident {
    node: NodeName,
    incarnation: u64,
    sequence: u64,
    /// Of the newest assignments obeyed.
    generation: u64,
    number: u64,
    lease: Option<Time>,
    /// As told last.
    span: Span,
    groups: BTreeMap<GroupName, Local>,
    report_at: Time,
    /// Guardians and actions so far.
    used: u64,
    is_ending: bool,
    is_finished: bool,
    verdicts: Vec<Verdict>,
    /// As told last.
    activity: Activity,
    /// Of groups that are not here.
    ledgers: BTreeMap<GroupName, Ledger>,
    ends: Option<recover::EndService>,
    power: Power,
}

/// Whether the machine is to be rebooted or shut down. Until that has failed the node ends.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Power {
    No,
    /// Once nothing runs.
    Wanted {
        act: PowerAct,
        command: Vec<String>,
        who: String,
    },
    UnderWay {
        act: PowerAct,
    },
}

impl Power {
    /// What becomes of another wish while the node ends: the same is granted already.
    fn refuse(&self, act: PowerAct) -> Option<Output> {
        let why = match self {
            Power::No => "its agent is ending",
            Power::Wanted { act: its, .. } | Power::UnderWay { act: its } if *its == act => return None,
            Power::Wanted { act, .. } | Power::UnderWay { act } => match act {
                PowerAct::Reboot => "it is being rebooted",
                PowerAct::Shutdown => "it is being shut down",
            },
        };
        Some(Output::PowerRefused { act, why })
    }
}

/// What a group needs to know of its node.
#[derive(Debug, Clone, Copy)]
struct Around<'a> {
    now: Time,
    node: &'a NodeName,
    lease: Option<Time>,
    /// The number of the present span of the lease.
    span: u64,
    is_ending: bool,
    /// Monitors in error that have judged what is online now.
    faults: &'a [&'a Verdict],
}

impl Around<'_> {
    fn has_lease(&self) -> bool {
        self.lease.is_some_and(|end| self.now < end)
    }
}

impl Resident {
    /// `incarnation` must be higher than that of the agent's last start. What ran below that must be gone.
    pub fn new(now: Time, node: NodeName, incarnation: u64) -> Self {
        Self {
            node,
            incarnation,
            sequence: 0,
            generation: 0,
            number: 0,
            lease: None,
            span: Span::default(),
            groups: BTreeMap::new(),
            report_at: now,
            used: 0,
            is_ending: false,
            is_finished: false,
            verdicts: Vec::new(),
            activity: Activity::default(),
            ledgers: BTreeMap::new(),
            ends: None,
            power: Power::No,
        }
    }

    /// The groups of which something may run at this moment, with their epochs.
    pub fn running(&self) -> impl Iterator<Item = (&GroupName, u64)> {
        let running = self.groups.iter().filter(|(_, local)| local.is_held());
        running.map(|(name, local)| (name, local.epoch()))
    }

    /// The guardian that holds a group, by its number; None: nothing of the group may run.
    pub fn run_of(&self, group: &GroupName) -> Option<u64> {
        self.groups.get(group)?.run()
    }

    fn assign(
        &mut self,
        now: Time,
        generation: u64,
        number: u64,
        groups: Vec<GroupAssignment>,
        outputs: &mut Vec<Output>,
    ) {
        if (generation, number) < (self.generation, self.number) {
            outputs.push(Output::Refused { generation, newest: self.generation });
            return;
        }
        (self.generation, self.number) = (generation, number);
        let mut wanted: BTreeMap<GroupName, GroupAssignment> =
            groups.into_iter().map(|group| (group.name.clone(), group)).collect();
        let (node, lease, span, is_ending) = (&self.node, self.lease, self.span.number, self.is_ending);
        let around = Around { now, node, lease, span, is_ending, faults: &[] };
        for (name, local) in &mut self.groups {
            local.assign(wanted.remove(name), &around, outputs);
        }
        // One that ends begins nothing, and still says what it has obeyed: what it has stopped may then run elsewhere at once. It
        // may have to go on, though, if its machine does.
        let may_begin = !self.is_ending || self.power != Power::No;
        for (name, assignment) in wanted.into_iter().filter(|_| may_begin) {
            let ledger = self.ledgers.remove(&name).unwrap_or_default();
            self.groups.insert(name, Local::new(now, assignment, ledger));
        }
    }

    /// Lets every group go on as far as it can, and forgets those that are gone.
    fn settle(&mut self, now: Time, outputs: &mut Vec<Output>) {
        let activity = self.activity_now();
        let is_fault = |it: &&Verdict| {
            it.state == MonitorState::Error && it.stay.is_some() && it.stay == activity.stay(&it.recovery)
        };
        let faults: Vec<&Verdict> = self.verdicts.iter().filter(is_fault).collect();
        let (node, lease, span, mut is_ending) = (&self.node, self.lease, self.span.number, self.is_ending);
        loop {
            let around = Around { now, node, lease, span, is_ending, faults: &faults };
            self.groups.values_mut().for_each(|local| local.go_on(&around, &mut self.used, outputs));
            let ends = self.groups.values_mut().find_map(|local| local.care.take_end());
            // All of them have to see that.
            match ends.filter(|_| !is_ending) {
                Some(ends) => (self.ends, is_ending) = (Some(ends), true),
                None => break,
            }
        }
        self.is_ending = is_ending;
        for (name, local) in &mut self.groups {
            if local.is_done() && !local.ledger.is_empty() && self.ledgers.len() < RECOVERY_LEDGERS_MAX {
                self.ledgers.insert(name.clone(), std::mem::take(&mut local.ledger));
            }
        }
        self.groups.retain(|_, local| !local.is_done());
        if !self.ledgers.is_empty() {
            self.ledgers.values_mut().for_each(|ledger| ledger.expire(now));
            self.ledgers.retain(|_, ledger| !ledger.is_empty());
        }
    }

    fn activity_now(&self) -> Activity {
        let held = self.groups.iter().filter(|(_, local)| local.is_held());
        Activity { groups: held.map(|(name, local)| (name.clone(), local.stays())).collect() }
    }

    /// What a monitor has led to is forgotten when it has other rules from now on.
    fn take_verdicts(&mut self, verdicts: Vec<Verdict>) {
        for old in std::mem::replace(&mut self.verdicts, verdicts) {
            let new = self.verdicts.iter().find(|new| new.monitor == old.monitor);
            if new.is_some_and(|new| new.recovery != old.recovery) {
                let here = self.groups.values_mut().map(|local| &mut local.ledger);
                here.chain(self.ledgers.values_mut()).for_each(|ledger| ledger.forget(&old.monitor));
            }
        }
    }

    fn ailments(&self) -> Vec<Ailment> {
        let errors = self.verdicts.iter().filter(|verdict| verdict.state == MonitorState::Error);
        let ailment = |verdict: &Verdict| Ailment {
            monitor: verdict.monitor.clone(),
            group: match &verdict.recovery.target {
                RecoveryTarget::Group { group } | RecoveryTarget::Resource { group, .. } => {
                    Some(group.clone())
                }
                RecoveryTarget::AllGroups => None,
            },
            why: verdict.reason.clone(),
        };
        errors.map(ailment).collect()
    }

    fn report(&mut self, now: Time) -> GroupsReport {
        self.sequence += 1;
        self.report_at = now + REPORT_INTERVAL_MS;
        GroupsReport {
            node: self.node.clone(),
            incarnation: self.incarnation,
            sequence: self.sequence,
            generation: self.generation,
            number: self.number,
            has_lease: !self.is_ending && self.lease.is_some_and(|end| now < end),
            groups: self.groups.values().map(|local| local.report(now)).collect(),
            ailments: self.ailments(),
        }
    }

    /// What reports say, without what changes with each.
    fn said(&self, now: Time) -> impl PartialEq + use<> {
        let has_lease = !self.is_ending && self.lease.is_some_and(|end| now < end);
        let groups: Vec<_> = self.groups.values().map(|local| local.report(now)).collect();
        (self.generation, self.number, has_lease, groups, self.ailments())
    }

    /// Nothing runs any more, and nothing more can be given back soon.
    fn end(&mut self, outputs: &mut Vec<Output>) {
        match &self.power {
            Power::Wanted { act, command, who } => {
                let (act, command, who) = (*act, command.clone(), who.clone());
                self.power = Power::UnderWay { act };
                outputs.push(Output::Power { act, command, who });
            }
            Power::UnderWay { .. } => {}
            Power::No => {
                self.is_finished = true;
                if let Some(recover::EndService { command, why }) = self.ends.take() {
                    outputs.push(Output::EndService { command, why });
                }
                outputs.push(Output::Finished);
            }
        }
    }

    fn take(&mut self, now: Time, input: Input, outputs: &mut Vec<Output>) -> bool {
        match input {
            Input::Assign { generation, number, groups } => {
                self.assign(now, generation, number, groups, outputs);
                // Also where nothing follows from them: the leader waits to hear that they were obeyed.
                return true;
            }
            Input::Connected => return true,
            Input::Lease { until } => {
                self.lease = until;
                if let Some(until) = until.filter(|until| *until > self.span.until) {
                    self.span.renew(now, until);
                    outputs.push(Output::Lease(self.span));
                }
            }
            Input::Done { group, run, step, result } => {
                if let Some(local) = self.groups.get_mut(&group) {
                    local.done(run, step, result, outputs);
                }
            }
            Input::Lost { group, run, resource, why } => {
                if let Some(local) = self.groups.get_mut(&group) {
                    local.lost(now, run, resource, &why, outputs);
                }
            }
            Input::Ended { group, run, why } => {
                if let Some(local) = self.groups.get_mut(&group) {
                    local.ended(now, run, &why, outputs);
                }
            }
            Input::Left { group, run, why } => {
                if let Some(local) = self.groups.get_mut(&group) {
                    local.left(run, why, outputs);
                }
            }
            Input::Found { group, epoch, resources, why } => {
                let found = Local::found(group.clone(), epoch, resources, why);
                found.tell(true, outputs);
                self.groups.insert(group, found);
            }
            Input::Verdicts(verdicts) => self.take_verdicts(verdicts),
            Input::Power { generation, .. } if generation < self.generation => {
                outputs.push(Output::Refused { generation, newest: self.generation });
            }
            Input::Power { act, command, who, .. } if !self.is_ending => {
                (self.power, self.is_ending) = (Power::Wanted { act, command, who }, true);
            }
            Input::Power { act, .. } => outputs.extend(self.power.refuse(act)),
            Input::PowerFailed => {
                self.is_ending &= !matches!(self.power, Power::UnderWay { .. });
                self.power = Power::No;
                return true;
            }
            Input::Shutdown => (self.power, self.is_ending) = (Power::No, true),
            Input::Tick => {}
        }
        false
    }
}

impl Machine for Resident {
    type Input = Input;
    type Output = Output;

    fn step(&mut self, now: Time, input: Input) -> Vec<Output> {
        let mut outputs = Vec::new();
        if self.is_finished {
            return outputs;
        }
        let before = self.said(now);
        // What may not go on ends before anything else is looked at: this process may have been stopped for long.
        let lease = match &input {
            Input::Lease { until } => *until,
            _ => self.lease,
        };
        let (node, span, is_ending) = (&self.node, self.span.number, self.is_ending);
        let around = Around { now, node, lease, span, is_ending, faults: &[] };
        self.groups.values_mut().for_each(|local| local.expire(&around, &mut outputs));
        let is_asked = self.take(now, input, &mut outputs);
        self.settle(now, &mut outputs);
        let activity = self.activity_now();
        if activity != self.activity {
            self.activity = activity.clone();
            outputs.push(Output::Activity(activity));
        }
        if is_asked || before != self.said(now) || self.report_at <= now {
            let report = self.report(now);
            outputs.push(Output::Report(report));
        }
        if self.is_ending && self.groups.values().all(Local::is_over) {
            self.end(&mut outputs);
        }
        outputs
    }

    fn tick() -> Input {
        Input::Tick
    }

    fn wake_at(&self) -> Option<Time> {
        if self.is_finished {
            return None;
        }
        let groups = self.groups.values().filter_map(|local| local.wake_at(self.lease));
        groups.chain([self.report_at]).min()
    }

    fn check(&self) {
        for local in self.groups.values() {
            local.check();
            assert!(!local.is_done(), "a group that is gone and not wanted is still kept");
        }
    }
}

#[cfg(test)]
mod tests;

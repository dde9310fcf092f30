//! The leader's side: decides where each group runs, commits it, tells the nodes, and says why.
//!
//! Promises:
//! - An owner is committed before it is told, and replaced only with proof that it has stopped (`Planner::is_stopped`).
//! - A node whose lease was taken is released only once it has obeyed the newest assignments and runs nothing that is
//!   not its own.
//! - Who leads next knows owners, wishes and taken nodes from the records, and nothing else is needed.
//!
//! The shell's part: each `Commit` is answered by `Committed`, in order; `Assign` goes out in order, and what a node says
//! after its connection ended is dropped. Not here: what a node does (`resident`), who is silent (`heartbeat`).

mod claims;
mod commits;
mod decide;
mod fence;
mod node;
mod operate;
mod power;
mod recover;
mod status;
mod wish;

use super::record::{self, Claim, Mark, Record, Wish};
use crate::cell::Refusal;
use crate::limits::{GROUP_ACTS_MAX, NODE_NUMBERS_MAX};
use crate::machine::Machine;
use crate::time::Time;
use fence::Fencing;
use node::Node;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use wire::group::{
    Attribute, GroupAct, GroupAssignment, GroupClass, GroupCondition, GroupSettings, GroupsReport,
};
use wire::id::{GroupName, NodeName};
use wire::node::{NodeAct, NodeWish};
use wire::status::Severity;
use wish::Wished;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// The nodes of the configuration in force, before its groups.
    Nodes(Vec<NodeName>),
    /// The groups of the configuration in force, at start and after each change.
    Configure(Vec<GroupSettings>),
    NodeConnected {
        node: NodeName,
    },
    NodeLost {
        node: NodeName,
    },
    /// Of the node's present connection.
    Report(GroupsReport),
    /// Whether heartbeats come, as far as that is news.
    Reach {
        node: NodeName,
        is_reachable: bool,
        /// It fell together with too many others, and nobody has said that it is lost.
        is_mass: bool,
    },
    /// Its lease has run out, and it gets none before `Output::Release`.
    Taken {
        node: NodeName,
    },
    Committed {
        attempt: u64,
        end: CommitEnd,
    },
    /// What came of `Output::Fence`: the node is proven to be off, or could not be switched off for now, and why.
    Fenced {
        node: NodeName,
        run: u64,
        result: Result<(), String>,
    },
    /// `ask` comes back in the answer.
    Operator {
        ask: u64,
        who: String,
        group: GroupName,
        act: GroupAct,
        dry_run: bool,
    },
    /// The same of a whole node.
    NodeOperator {
        ask: u64,
        who: String,
        node: NodeName,
        act: NodeAct,
        dry_run: bool,
    },
    Tick,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommitEnd {
    Done,
    /// It did not happen, and will not. This is what stands there.
    NotDone {
        found: Option<String>,
    },
}

#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    Assign {
        node: NodeName,
        number: u64,
        groups: Vec<GroupAssignment>,
    },
    /// If the key is as this leader knows it; None: delete it.
    Commit {
        attempt: u64,
        key: String,
        value: Option<String>,
    },
    /// The node may be granted leases again.
    Release {
        node: NodeName,
    },
    /// The node has to be off. Only who leads may act on it, and the wish is committed.
    Fence {
        node: NodeName,
        run: u64,
    },
    /// It need not be off any more.
    Spare {
        node: NodeName,
    },
    Event {
        severity: Severity,
        kind: &'static str,
        text: String,
    },
    /// What is wanted of the node from now on.
    NodeWish {
        node: NodeName,
        wish: NodeWish,
    },
    Answer {
        ask: u64,
        result: Result<String, Refusal>,
    },
}

/// On its way to the store.
#[derive(Debug, Clone)]
struct Pending {
    attempt: u64,
    /// None: the group is forgotten.
    record: Option<Record>,
    /// What people are told once it is done.
    event: Option<String>,
    answer: Option<(u64, String)>,
}

/// How often something of a group failed on a node.
#[derive(Debug, Clone)]
struct Failure {
    count: u32,
    why: String,
    /// The epoch that was counted last, and when.
    epoch: u64,
    at: Time,
}

#[derive(Debug, Clone)]
struct Group {
    settings: GroupSettings,
    /// Not in the configuration any more.
    is_leaving: bool,
    record: Record,
    pending: Option<Pending>,
    /// Nothing is committed before: the store has just failed.
    retry_at: Time,
    acts: VecDeque<Act>,
    failures: BTreeMap<NodeName, Failure>,
    /// When it went to another node because something of it failed.
    failovers: VecDeque<Time>,
    /// The owner is off: a person has said so.
    confirmed_off: Option<NodeName>,
    /// Other nodes that may run it, as far as is known; the record follows.
    claims: BTreeMap<NodeName, Claim>,
    /// The owner is proven to be off, as far as it ran this epoch.
    proven: Option<fence::Proof>,
    /// Since when its owner says that something of it cannot be given back.
    left_since: Option<Time>,
    /// The epoch before which its owner gave it back, and said so.
    handed_over: Option<u64>,
    /// As people are told.
    condition: GroupCondition,
    reason: String,
    since: Time,
    said: Option<(GroupCondition, Option<NodeName>)>,
    recovering: recover::Recovering,
}

#[derive(Debug, Clone)]
struct Act {
    ask: u64,
    who: String,
    act: GroupAct,
    dry_run: bool,
}

impl Group {
    fn new(settings: GroupSettings, record: Record, now: Time) -> Self {
        Self {
            settings,
            is_leaving: false,
            claims: record.claims.clone(),
            record,
            pending: None,
            retry_at: now,
            acts: VecDeque::new(),
            failures: BTreeMap::new(),
            failovers: VecDeque::new(),
            confirmed_off: None,
            proven: None,
            left_since: None,
            handed_over: None,
            condition: GroupCondition::Offline,
            reason: "it is not started yet".into(),
            since: now,
            said: None,
            recovering: recover::Recovering::default(),
        }
    }

    /// What has to be proven of its owner before another may have it: what counted when the owner got it, and never less than
    /// what is configured now.
    fn class(&self) -> GroupClass {
        match (self.record.class, self.settings.class) {
            (Some(GroupClass::Hard), _) | (_, GroupClass::Hard) => GroupClass::Hard,
            (Some(GroupClass::Soft) | None, GroupClass::Soft) => GroupClass::Soft,
        }
    }

    fn shall_run(&self) -> bool {
        let wish = match (self.record.wish, self.settings.startup) {
            (Some(wish), _) => wish,
            (None, Attribute::Automatic) => Wish::Run,
            (None, Attribute::Manual) => Wish::Stop,
        };
        wish == Wish::Run && !self.is_leaving
    }

    /// Whether its owner shall run it on.
    fn may_stay(&self, owner: &NodeName) -> bool {
        self.shall_run()
            && self.record.to.as_ref().is_none_or(|to| to == owner)
            && self.settings.nodes.contains(owner)
            && self.confirmed_off.as_ref() != Some(owner)
    }
}

/// All groups of a cell, as their leader sees them.
#[derive(Debug, Clone)]
pub struct Planner {
    generation: u64,
    /// From then on what an earlier leader granted has run out.
    trust_at: Time,
    started_at: Time,
    groups: BTreeMap<GroupName, Group>,
    /// Of groups that are not configured yet, or not any more.
    found: BTreeMap<GroupName, Record>,
    nodes: BTreeMap<NodeName, Node>,
    /// Nodes that are to be switched off.
    fencing: BTreeMap<NodeName, Fencing>,
    runs: u64,
    /// Those of the configuration.
    known: BTreeSet<NodeName>,
    wishes: BTreeMap<NodeName, Wished>,
    numbers: u64,
    attempts: u64,
    /// Of the latest step.
    now: Time,
    outputs: Vec<Output>,
}

impl Planner {
    /// Of the leader of this generation. `records` are all for which `is_record`; `lease_wait_ms` is how long after its
    /// start all that managers before it granted has run out.
    pub fn new(
        now: Time,
        generation: u64,
        lease_wait_ms: u64,
        records: impl IntoIterator<Item = (String, String)>,
    ) -> Self {
        let mut found = BTreeMap::new();
        let mut wishes: BTreeMap<NodeName, Wished> = BTreeMap::new();
        for (key, text) in records {
            let node = key.strip_prefix(record::NODE_PREFIX).map(NodeName::from);
            if let (Some(node), Some(wish)) = (node, NodeWish::parse(&text)) {
                wishes.insert(node, Wished::found(wish));
            }
            let name = key.strip_prefix(record::PREFIX).map(GroupName::from);
            if let (Some(name), Some(record)) = (name, Record::parse(&text)) {
                found.insert(name, record);
            }
        }
        let mut nodes: BTreeMap<NodeName, Node> = BTreeMap::new();
        for node in found.values().flat_map(|record| &record.taken) {
            nodes.entry(node.clone()).or_default().is_taken = true;
        }
        Self {
            generation,
            trust_at: now + lease_wait_ms,
            started_at: now,
            groups: BTreeMap::new(),
            found,
            nodes,
            fencing: BTreeMap::new(),
            runs: 0,
            known: BTreeSet::new(),
            wishes,
            numbers: 0,
            attempts: 0,
            now,
            outputs: Vec::new(),
        }
    }

    /// Nodes from which something was taken, and that have not come back since.
    pub fn taken(&self) -> impl Iterator<Item = &NodeName> {
        self.nodes.iter().filter(|(_, node)| node.is_taken).map(|(name, _)| name)
    }

    /// What is committed of a group.
    pub(super) fn record(&self, name: &GroupName) -> Option<&Record> {
        self.groups.get(name).map(|group| &group.record)
    }

    fn configure(&mut self, now: Time, all: Vec<GroupSettings>) {
        let names: BTreeSet<GroupName> = all.iter().map(|group| group.name.clone()).collect();
        for settings in all {
            let name = settings.name.clone();
            if let Some(group) = self.groups.get_mut(&name) {
                group.settings = settings;
                group.is_leaving = false;
                // What failed may have been mended.
                group.failures.values_mut().for_each(|failure| failure.count = 0);
            } else {
                let record = self.found.remove(&name).unwrap_or_default();
                self.groups.insert(name, Group::new(settings, record, now));
            }
        }
        for (name, group) in &mut self.groups {
            group.is_leaving = !names.contains(name);
        }
        // Of a group that was removed while nobody led: its owner may still run it.
        let found = std::mem::take(&mut self.found).into_iter();
        let (resting, gone): (BTreeMap<_, _>, BTreeMap<_, _>) =
            found.partition(|(_, record)| record.rest().as_ref() == Some(record));
        self.found = resting;
        for (name, record) in gone {
            let settings = claims::removed(&name, &record);
            let mut group = Group::new(settings, record, now);
            group.is_leaving = true;
            self.groups.insert(name, group);
        }
        // What they hold may have been unknown until now.
        let nodes: Vec<NodeName> = self.nodes.keys().cloned().collect();
        nodes.iter().for_each(|node| self.note_claims(node));
    }

    /// Everything that follows from what is known now.
    fn settle(&mut self, now: Time) {
        self.settle_wishes(now);
        let names: Vec<GroupName> = self.groups.keys().cloned().collect();
        for name in &names {
            self.tell_recovery(name);
            self.tell_stops(name);
            self.settle_claims(now, name);
            self.commit_claims(now, name);
            self.count_failure(now, name);
            self.take_acts(now, name);
            self.weigh_proof(now, name);
            self.note_left(now, name);
            self.settle_group(now, name);
        }
        // One that comes earlier may have waited for one that comes later.
        if !self.wishes.is_empty() {
            names.iter().for_each(|name| self.settle_group(now, name));
        }
        self.fence(now);
        self.release();
        self.assign();
    }

    fn assign(&mut self) {
        let connected: Vec<NodeName> =
            self.nodes.iter().filter(|(_, node)| node.is_connected).map(|(name, _)| name.clone()).collect();
        for name in connected {
            if self.is_unasked(&name) {
                continue;
            }
            let groups = self.assignments(&name);
            let node = self.nodes.get_mut(&name).expect("it was just there");
            if node.sent.as_ref().is_some_and(|(_, sent)| *sent == groups) {
                continue;
            }
            self.numbers += 1;
            node.sent = Some((self.numbers, groups.clone()));
            self.outputs.push(Output::Assign { node: name, number: self.numbers, groups });
        }
    }

    fn assignments(&self, node: &NodeName) -> Vec<GroupAssignment> {
        let told = |group: &&Group| {
            let record = &group.record;
            // Nobody is told of an owner that is about to be another one.
            let is_certain = group.pending.as_ref().is_none_or(|pending| {
                pending
                    .record
                    .as_ref()
                    .is_some_and(|next| (&next.owner, next.epoch) == (&record.owner, record.epoch))
            });
            let is_kept = record.owner.as_ref() == Some(node) && record.mark == Mark::No;
            is_kept && group.may_stay(node) && is_certain && self.may_begin(group, node)
        };
        let groups = self.groups.values().filter(told);
        groups
            .map(|group| {
                let place = group.settings.nodes.iter().position(|known| known == node);
                GroupAssignment {
                    name: group.settings.name.clone(),
                    epoch: group.record.epoch,
                    is_leased: group.record.is_leased || group.settings.is_leased(),
                    is_frozen: group.record.is_frozen,
                    restarts_max: group.settings.restarts_max,
                    granted: self.granted(group),
                    cause: group.record.cause,
                    priority: place.unwrap_or(0) as u32,
                    previous: group.record.previous.clone(),
                    is_handed_over: group.handed_over == Some(group.record.epoch),
                    resources: group.settings.resources.clone(),
                }
            })
            .collect()
    }

    /// Lets nodes have leases again that have come back and run nothing that is not theirs.
    fn release(&mut self) {
        let taken: Vec<NodeName> = self.taken().cloned().collect();
        for name in taken {
            let is_noted = |group: &Group| {
                let pending = group.pending.as_ref().and_then(|pending| pending.record.as_ref());
                group.record.taken.contains(&name) || pending.is_some_and(|next| next.taken.contains(&name))
            };
            // As long as its heartbeats do not come, its lease would be taken again at once.
            let is_clean = self.nodes.get(&name).is_some_and(|node| node.is_reachable && node.is_clean());
            if is_clean && !self.groups.values().any(is_noted) {
                self.nodes.get_mut(&name).expect("it was just there").is_taken = false;
                self.outputs.push(Output::Release { node: name });
            }
        }
    }

    fn queue(&mut self, group: &GroupName, act: Act) {
        let ask = act.ask;
        let refusal = match self.groups.get_mut(group) {
            None => operate::no_such_group(group, self.groups.keys()),
            Some(group) if group.acts.len() >= GROUP_ACTS_MAX => operate::too_many(&group.settings.name),
            Some(group) => return group.acts.push_back(act),
        };
        self.outputs.push(Output::Answer { ask, result: Err(refusal) });
    }

    fn node(&mut self, name: NodeName) -> &mut Node {
        self.nodes.entry(name).or_default()
    }
}

impl Machine for Planner {
    type Input = Input;
    type Output = Output;

    fn step(&mut self, now: Time, input: Input) -> Vec<Output> {
        self.now = now;
        match input {
            Input::Nodes(nodes) => self.configure_nodes(nodes),
            Input::Configure(groups) => self.configure(now, groups),
            Input::NodeConnected { node } => {
                // Another agent may begin, which counts its wishes anew, and begins at another time.
                self.forget_grants(&node);
                self.forget_handed_over(&node);
                self.node(node).connected(now);
            }
            Input::NodeLost { node } => self.node(node).lost(),
            Input::Report(report) => {
                let (node, generation) = (report.node.clone(), self.generation);
                self.node(node.clone()).take_report(now, generation, report);
                self.note_claims(&node);
            }
            Input::Reach { node, is_reachable, is_mass } => {
                let node = self.node(node);
                (node.is_reachable, node.is_mass) = (is_reachable, is_mass);
            }
            Input::Taken { node } => {
                let node = self.node(node);
                (node.is_taken, node.is_taken_here) = (true, true);
            }
            Input::Committed { attempt, end } => self.on_committed(now, attempt, end),
            Input::Fenced { node, run, result } => self.on_fenced(now, &node, run, result),
            Input::Operator { ask, who, group, act, dry_run } => {
                self.queue(&group, Act { ask, who, act, dry_run });
            }
            Input::NodeOperator { ask, who, node, act, dry_run } => {
                self.queue_node(node, wish::Act { ask, who, act, dry_run });
            }
            Input::Tick => {}
        }
        self.settle(now);
        std::mem::take(&mut self.outputs)
    }

    fn tick() -> Input {
        Input::Tick
    }

    fn wake_at(&self) -> Option<Time> {
        let groups = self.groups.values().flat_map(|group| self.group_wakes(group));
        groups.chain(self.wishes_wake()).min()
    }

    fn check(&self) {
        assert!(self.outputs.is_empty(), "outputs are left over");
        for (name, group) in &self.groups {
            let record = &group.record;
            assert!(record.owner.is_none() || record.epoch > 0, "group {name} has an owner without an epoch");
            assert!(
                record.claims.len() <= NODE_NUMBERS_MAX,
                "{} claims to group {name}",
                record.claims.len()
            );
            if let Some(next) = group.pending.as_ref().and_then(|pending| pending.record.as_ref()) {
                assert!(next.epoch >= record.epoch, "group {name} goes back to epoch {}", next.epoch);
            }
        }
    }
}

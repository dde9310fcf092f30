//! Writes down what groups go through when they start, stop or go elsewhere: each stage, and when.
//!
//! Looks on at the planner: what it hears, and what follows. Decides nothing, so nothing depends on it. Promises: at most
//! `GROUP_MOVES_MAX` moves are kept, each with at most `GROUP_STAGES_MAX` stages; one that goes on is kept beside those.
//! What a node has done counts from when its report came. Not here: where a group goes (`planner`), the store: who leads
//! next begins with an empty list.

mod story;

use super::planner::{CommitEnd, Input, Output, Planner};
use super::record::{self, Record};
use crate::limits::GROUP_MOVES_MAX;
use crate::time::Time;
use std::collections::{BTreeMap, VecDeque};
use story::{Noted, Story};
use wire::group::{GroupReport, GroupState, GroupsReport, ResourceState, StartCause};
use wire::group_move::{GroupMove, MoveKind, MoveOutcome, MoveSummary, Stage};
use wire::id::{GroupName, NodeName};

/// What is kept of a group's time since it was online last. Eight: a stop, a failure, and what the next epochs add.
const BEFORE_MAX: usize = 8;

/// What is known of one step of the planner: goes from `Moves::hear` to `Moves::follow`.
#[derive(Debug, Default)]
pub struct Said {
    /// A person's wish that was granted.
    asked: Option<String>,
    /// The group of which a decision was just written.
    written: Option<GroupName>,
    /// The names of groups may have come up that there are not.
    has_names: bool,
}

/// The moves of all groups, as their leader saw them.
#[derive(Debug, Clone, Default)]
pub struct Moves {
    numbers: u64,
    open: BTreeMap<GroupName, Story>,
    done: VecDeque<Story>,
    /// Decisions on their way to the store.
    writing: BTreeMap<u64, GroupName>,
    /// What speaks for each node being lost, for as long as it does.
    doubts: BTreeMap<NodeName, Vec<Noted>>,
    /// What became of groups since they were online, before anything was decided.
    before: BTreeMap<GroupName, Vec<Noted>>,
    /// The newest report of each node that is connected.
    seen: BTreeMap<NodeName, Vec<GroupReport>>,
}

impl Moves {
    /// Before a step of the planner: what it is about to hear.
    #[must_use]
    pub fn hear(&mut self, now: Time, input: &Input) -> Said {
        let mut said = Said::default();
        self.take(now, input, &mut said);
        said
    }

    /// After that step: what followed.
    pub fn follow(&mut self, now: Time, mut said: Said, outputs: &[Output], planner: &Planner) {
        for output in outputs {
            self.take_output(now, output, planner, &mut said);
        }
        if said.has_names {
            self.before.retain(|name, _| planner.record(name).is_some());
        }
    }

    fn take(&mut self, now: Time, input: &Input, said: &mut Said) {
        match input {
            Input::Configure(_) => said.has_names = true,
            Input::Nodes(_) | Input::Operator { .. } | Input::NodeOperator { .. } | Input::Tick => {}
            Input::NodeConnected { node } => {
                self.seen.remove(node);
                self.believe(node, Stage::Suspected);
                self.believe(node, Stage::Fenced);
            }
            Input::NodeLost { node } => {
                self.seen.remove(node);
                self.doubt(now, node, Stage::Suspected, "its agent is not connected any more");
            }
            Input::Reach { node, is_reachable: true, .. } => {
                self.believe(node, Stage::LastHeard);
                self.believe(node, Stage::Confirmed);
            }
            Input::Reach { node, is_reachable: false, .. } => {
                self.doubt(now, node, Stage::Confirmed, "its heartbeats do not come");
            }
            Input::Taken { node } => {
                let text = "its lease has run out and is withheld";
                self.doubt(now, node, Stage::LeaseEnded, text);
                for story in self.open.values_mut().filter(|story| story.from.as_ref() == Some(node)) {
                    story.note(Noted::of(Stage::LeaseEnded, now, node, text));
                }
            }
            Input::Fenced { node, result: Ok(()), .. } => {
                let text = "it is proven to be off";
                self.doubt(now, node, Stage::Fenced, text);
                for story in self.open.values_mut().filter(|story| story.from.as_ref() == Some(node)) {
                    story.note(Noted::of(Stage::Fenced, now, node, text));
                }
            }
            Input::Fenced { result: Err(_), .. } => {}
            Input::Report(report) => {
                said.has_names = true;
                self.reported(now, report);
            }
            Input::Committed { attempt, end } => self.written(now, *attempt, end, said),
        }
    }

    /// No heartbeat of the node has come for so long, which is why it is not reachable.
    pub fn silent(&mut self, now: Time, node: &NodeName, silence_ms: u64) {
        let heard = Time(now.0.saturating_sub(silence_ms));
        self.doubt(heard, node, Stage::LastHeard, "its last heartbeat came");
    }

    fn doubt(&mut self, now: Time, node: &NodeName, stage: Stage, text: &str) {
        let doubts = self.doubts.entry(node.clone()).or_default();
        if doubts.iter().all(|doubt| doubt.stage != stage) {
            doubts.push(Noted::of(stage, now, node, text));
        }
    }

    fn believe(&mut self, node: &NodeName, stage: Stage) {
        if let Some(doubts) = self.doubts.get_mut(node) {
            doubts.retain(|doubt| doubt.stage != stage);
        }
    }

    fn written(&mut self, now: Time, attempt: u64, end: &CommitEnd, said: &mut Said) {
        let Some(name) = self.writing.remove(&attempt) else { return };
        if let Some(story) = self.open.get_mut(&name) {
            let (stage, text) = match end {
                CommitEnd::Done => (Stage::Committed, "the decision is in the store"),
                CommitEnd::NotDone { .. } => (Stage::NotCommitted, "the store did not take the decision"),
            };
            story.note(Noted { stage, at: now, node: None, resource: None, text: text.to_owned() });
            if story.ends_when_written && *end == CommitEnd::Done {
                self.end(now, &name, MoveOutcome::Offline);
            }
        }
        said.written = Some(name);
    }

    fn take_output(&mut self, now: Time, output: &Output, planner: &Planner, said: &mut Said) {
        match output {
            Output::Commit { attempt, key, value } => {
                let Some(name) = key.strip_prefix(record::PREFIX).map(GroupName::from) else { return };
                self.writing.insert(*attempt, name.clone());
                let asked = said.asked.take();
                match (value.as_deref().and_then(Record::parse), planner.record(&name)) {
                    (Some(next), Some(old)) => {
                        let is_back = planner.goes_back(&name, old, &next);
                        self.planned(now, &name, old, &next, asked, is_back);
                    }
                    (Some(_) | None, _) => self.end(now, &name, MoveOutcome::Offline),
                }
            }
            Output::Assign { node, groups, .. } => {
                for told in groups {
                    let Some(story) = self.open.get_mut(&told.name) else { continue };
                    if story.is_to(node, told.epoch) && !story.has(Stage::Told, node) {
                        let text = format!("node {node} is told to run it, as epoch {}", told.epoch);
                        story.note(Noted::of(Stage::Told, now, node, text));
                    }
                }
            }
            Output::Event { kind: "operator", text, .. } => said.asked = Some(text.clone()),
            Output::Event { kind: "group-planned", text, .. } => {
                let story = said.written.as_ref().and_then(|name| self.open.get_mut(name));
                if let Some(story) = story.filter(|story| !story.is_asked) {
                    story.reason.clone_from(text);
                }
            }
            Output::Release { node } => self.believe(node, Stage::LeaseEnded),
            Output::Fence { .. } | Output::Spare { .. } | Output::NodeWish { .. } => {}
            Output::Event { .. } | Output::Answer { .. } => {}
        }
    }

    /// A decision, if it has to do with where the group runs.
    fn planned(
        &mut self,
        now: Time,
        name: &GroupName,
        old: &Record,
        next: &Record,
        asked: Option<String>,
        is_back: bool,
    ) {
        let is_given = next.epoch > old.epoch;
        let is_sent = next.to.is_some() && next.to != old.to;
        let is_left = old.owner.is_some() && next.owner.is_none();
        let is_to_stop = next.wish != old.wish && old.owner.is_some();
        if !(is_given || is_sent || is_left || is_to_stop) {
            return;
        }
        if !self.open.contains_key(name) {
            let kind = kind_of(old, next, asked.as_deref(), is_back);
            self.begin(now, name, kind, old.owner.clone());
        }
        let Some(story) = self.open.get_mut(name) else { return };
        if let Some(text) = asked {
            (story.is_asked, story.reason) = (true, text.clone());
            story.note(Noted { stage: Stage::Asked, at: now, node: None, resource: None, text });
        }
        let goal = if is_given { next.owner.as_ref() } else { next.to.as_ref() };
        story.to = goal.cloned().or(story.to.take()).filter(|_| !is_left);
        story.epoch = next.epoch;
        story.ends_when_written = is_left;
        let (node, text) = match (goal, old.owner.as_ref()) {
            (Some(node), _) if is_given => {
                (Some(node), format!("node {node} is to run it, as epoch {}", next.epoch))
            }
            (Some(node), Some(owner)) => {
                (Some(node), format!("it goes to node {node}, once node {owner} has stopped it"))
            }
            (Some(node), None) => (Some(node), format!("it is to start on node {node}")),
            (None, owner) if is_left => (owner, "it is stopped, and no node has it".to_owned()),
            (None, owner) => (owner, "it is to stop".to_owned()),
        };
        story.note(Noted { stage: Stage::Decided, at: now, node: node.cloned(), resource: None, text });
    }

    fn begin(&mut self, now: Time, name: &GroupName, kind: MoveKind, from: Option<NodeName>) {
        self.numbers += 1;
        let mut earlier = self.before.remove(name).unwrap_or_default();
        if let Some(doubts) = from.as_ref().and_then(|from| self.doubts.get(from)) {
            earlier.extend(doubts.iter().cloned());
        }
        earlier.sort_by_key(|noted| noted.at);
        let began = earlier.first().map_or(now, |first| first.at);
        let mut story = Story::new(self.numbers, name.clone(), kind, from, began);
        earlier.into_iter().for_each(|noted| story.note(noted));
        self.open.insert(name.clone(), story);
    }

    fn end(&mut self, now: Time, name: &GroupName, outcome: MoveOutcome) {
        let Some(mut story) = self.open.remove(name) else { return };
        (story.ended, story.outcome) = (Some(now), outcome);
        self.done.push_back(story);
        if self.done.len() > GROUP_MOVES_MAX {
            self.done.pop_front();
        }
    }

    fn reported(&mut self, now: Time, report: &GroupsReport) {
        let node = &report.node;
        let before = self.seen.insert(node.clone(), report.groups.clone()).unwrap_or_default();
        for group in &report.groups {
            let old = before.iter().find(|old| (&old.name, old.epoch) == (&group.name, group.epoch));
            self.resources_changed(now, node, old, group);
            if old.is_none_or(|old| old.state != group.state) {
                self.group_changed(now, node, old.is_some(), group);
            }
        }
        // One that is not told of any more has stopped.
        let gone = before.iter().filter(|old| report.groups.iter().all(|group| group.name != old.name));
        for old in gone {
            if let Some(story) = self.open.get_mut(&old.name)
                && story.from.as_ref() == Some(node)
                && !story.has(Stage::Stopped, node)
            {
                story.note(Noted::of(Stage::Stopped, now, node, "nothing of it is left there"));
            }
        }
    }

    fn resources_changed(
        &mut self,
        now: Time,
        node: &NodeName,
        old: Option<&GroupReport>,
        group: &GroupReport,
    ) {
        let Some(story) = self.open.get_mut(&group.name).filter(|story| story.is_to(node, group.epoch))
        else {
            return;
        };
        for resource in &group.resources {
            let known = old.and_then(|old| old.resources.iter().find(|known| known.name == resource.name));
            let known = known.map_or(ResourceState::Offline, |known| known.state);
            let (stage, what) = match resource.state {
                state if state == known => continue,
                ResourceState::Starting => (Stage::ResourceStarting, "is being started"),
                ResourceState::Online => (Stage::ResourceOnline, "runs"),
                ResourceState::Failed => (Stage::ResourceFailed, "failed"),
                ResourceState::Offline | ResourceState::Stopping => continue,
            };
            let mut noted = Noted::of(stage, now, node, format!("{} {what}", resource.name));
            noted.resource = Some(resource.name.clone());
            story.note(noted);
        }
    }

    /// `is_known`: the node has told of this epoch before.
    fn group_changed(&mut self, now: Time, node: &NodeName, is_known: bool, group: &GroupReport) {
        let name = &group.name;
        let open = self.open.get(name);
        let is_to = open.is_some_and(|story| story.is_to(node, group.epoch));
        let is_from = open.is_some_and(|story| story.from.as_ref() == Some(node));
        let stage = match group.state {
            GroupState::Waiting | GroupState::Starting => return,
            GroupState::Online => Stage::Online,
            GroupState::Stopping => Stage::Stopping,
            GroupState::Stopped | GroupState::Expired => Stage::Stopped,
            GroupState::Failed => Stage::Failed,
        };
        let noted = Noted::of(stage, now, node, group.reason.clone());
        match (stage, self.open.get_mut(name).filter(|_| is_to || is_from)) {
            (Stage::Online, Some(story)) if is_to => {
                story.note(noted);
                self.end(now, name, MoveOutcome::Online);
            }
            (Stage::Online, _) => drop(self.before.remove(name)),
            (Stage::Failed, Some(story)) if is_to => {
                story.note(noted.clone());
                self.end(now, name, MoveOutcome::Failed);
                self.before.insert(name.clone(), vec![noted]);
            }
            (_, Some(story)) => story.note(noted),
            // Of an epoch that this leader hears of for the first time nobody knows when it came to that.
            (_, None) if is_known => {
                let before = self.before.entry(name.clone()).or_default();
                if before.len() < BEFORE_MAX {
                    before.push(noted);
                }
            }
            (_, None) => {}
        }
    }

    /// Of this group, the newest first. `unix_ms` makes times for people.
    pub fn of(&self, group: &GroupName, unix_ms: &dyn Fn(Time) -> u64) -> Vec<GroupMove> {
        self.stories(group).map(|story| story.tell(unix_ms)).collect()
    }

    pub fn newest(&self, group: &GroupName, unix_ms: &dyn Fn(Time) -> u64) -> Option<MoveSummary> {
        self.stories(group).next().map(|story| story.tell(unix_ms).summary())
    }

    fn stories<'a>(&'a self, group: &'a GroupName) -> impl Iterator<Item = &'a Story> {
        let done = self.done.iter().rev().filter(move |story| story.group == *group);
        self.open.get(group).into_iter().chain(done)
    }
}

/// What a decision about a group begins. `is_back`: it goes to a node that comes earlier in its policy.
fn kind_of(old: &Record, next: &Record, asked: Option<&str>, is_back: bool) -> MoveKind {
    let is_given = next.epoch > old.epoch;
    let goal = if is_given { next.owner.as_ref() } else { next.to.as_ref() };
    let is_failback = asked.map_or(is_back, |text| text.contains("`failback`"));
    match (&old.owner, goal) {
        (_, None) => MoveKind::Stop,
        (None, Some(_)) => MoveKind::Start,
        (Some(owner), Some(goal)) if owner == goal => MoveKind::Restart,
        (Some(_), Some(_)) if is_given && next.cause == StartCause::Failover => MoveKind::Failover,
        (Some(_), Some(_)) if !is_given && is_failback => MoveKind::Failback,
        (Some(_), Some(_)) => MoveKind::Move,
    }
}

#[cfg(test)]
mod tests;

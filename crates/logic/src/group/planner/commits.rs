//! Commits on their way: what becomes of a group once the store has taken its record, or has not.

use super::super::record::{self, Mark, Record};
use super::{CommitEnd, Output, Pending, Planner, operate};
use crate::limits::{GROUP_RETRY_MS, GROUPS_GONE_MAX};
use crate::time::Time;
use wire::id::{GroupName, NodeName};
use wire::status::Severity;

impl Planner {
    pub(super) fn on_committed(&mut self, now: Time, attempt: u64, end: CommitEnd) {
        if self.on_wish_committed(now, attempt, &end) {
            return;
        }
        let mut pendings = self.groups.iter_mut().filter_map(|(name, group)| {
            let is_it = group.pending.as_ref().is_some_and(|it| it.attempt == attempt);
            let pending = group.pending.take_if(|_| is_it)?;
            Some((name.clone(), pending))
        });
        let found = pendings.next();
        drop(pendings);
        match (found, end) {
            (None, _) => {}
            (Some((name, pending)), CommitEnd::Done) => self.on_done(&name, pending),
            (Some((name, pending)), CommitEnd::NotDone { found }) => {
                self.on_not_done(now, &name, pending, found.as_deref().and_then(Record::parse));
            }
        }
    }

    fn on_done(&mut self, name: &GroupName, pending: Pending) {
        let is_asked = pending.answer.is_some();
        if let Some((ask, text)) = pending.answer {
            self.outputs.push(Output::Answer { ask, result: Ok(text) });
        }
        if let Some(text) = pending.event {
            let (severity, kind) = (Severity::Info, "group-planned");
            self.outputs.push(Output::Event { severity, kind, text });
        }
        let has_let_go = self.groups.get(name).is_some_and(|group| self.has_let_go(group));
        let Some(group) = self.groups.get_mut(name) else { return };
        match pending.record {
            Some(record) => {
                if record.owner != group.record.owner {
                    group.confirmed_off = None;
                    group.handed_over = Some(record.epoch).filter(|_| has_let_go);
                }
                if record.mark == Mark::No {
                    group.proven = None;
                }
                if is_asked {
                    // A person has said that these are off; one that is there says what it has.
                    let is_there = |node: &NodeName| self.nodes.get(node).is_some_and(|it| it.is_connected);
                    group.claims.retain(|node, _| record.claims.contains_key(node) || is_there(node));
                }
                let is_gone = group.is_leaving && record.rest().as_ref() == Some(&record);
                group.record = record;
                if is_gone && let Some(group) = self.groups.remove(name) {
                    self.found.insert(name.clone(), group.record);
                }
            }
            None if group.is_leaving => drop(self.groups.remove(name)),
            // It was put back into the configuration meanwhile, and begins anew.
            None => group.record = Record::default(),
        }
    }

    /// A group that is not in the configuration any more, and of which nothing is left anywhere.
    pub(super) fn forget(&mut self, name: &GroupName) {
        let rest = self.record(name).and_then(Record::rest).filter(|_| self.found.len() < GROUPS_GONE_MAX);
        self.commit(name, rest, None, None);
    }

    fn on_not_done(&mut self, now: Time, name: &GroupName, pending: Pending, found: Option<Record>) {
        let Some(group) = self.groups.get_mut(name) else { return };
        group.retry_at = now + GROUP_RETRY_MS;
        if let Some(record) = found {
            let is_stay = |other: &Record| (&other.owner, other.epoch) == (&record.owner, record.epoch);
            // Its own decision, whose answer was lost, was taken with proof.
            if !pending.record.as_ref().is_some_and(is_stay) {
                Self::note_foreign(group, &record);
            }
            for (node, claim) in &record.claims {
                group.claims.entry(node.clone()).or_insert(*claim);
            }
            group.record = record;
        }
        if let Some((ask, _)) = pending.answer {
            let refusal = operate::not_kept(name);
            self.outputs.push(Output::Answer { ask, result: Err(refusal) });
        }
    }

    pub(super) fn commit(
        &mut self,
        name: &GroupName,
        record: Option<Record>,
        event: Option<String>,
        answer: Option<(u64, String)>,
    ) {
        self.attempts += 1;
        let (attempt, key) = (self.attempts, record::key(name));
        self.outputs.push(Output::Commit { attempt, key, value: record.as_ref().map(Record::to_string) });
        let group = self.groups.get_mut(name).expect("only groups that there are are committed");
        group.pending = Some(Pending { attempt, record, event, answer });
    }
}

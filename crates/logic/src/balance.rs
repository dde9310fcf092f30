//! Decides which member of one cluster gets a request: affinity first, then weighted round robin or chance.
//!
//! One router thread owns one `Balancer` per cluster; no allocation and no hashing per request.
//! Promises: a request without affinity goes to a member that is `Up` while there is one with weight; over a cycle
//! each member gets exactly its weight (divided by the highest common factor); `Down`, `Failed` and `Starting`
//! members get nothing, ever; a `Draining` member gets its own conversations only.
//!
//! Where nobody is fit, in this order: the session's own member if it is `Up` or `Draining` though this router just
//! failed to reach it, or `Unknown`; members that are `Up` though this router failed to reach them, the one whose
//! pause ends first; members that are `Unknown`, in file order.
//! Not here: what a clone id is (see `affinity`), whether a request may be tried again (see `retry`).

mod explain;
mod tried;
mod why;

pub use explain::{Explained, explain};
pub use tried::Tried;
pub use why::{AffinityFate, How, Why, WhyNone};

use crate::limits::{CLUSTER_MEMBERS_MAX, MARK_PAUSE_MAX_MS, MARK_PAUSE_MIN_MS};
use crate::seed::Chance;
use crate::time::Time;
use std::collections::BTreeMap;
use wire::id::{Epoch, MemberName};
use wire::view::{MemberView, Policy, RunState, View};

/// The answer to "who gets this request".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// `index` counts the members of the view that was applied last.
    Member {
        index: u16,
        why: Why,
    },
    None {
        why: WhyNone,
    },
}

/// Chooses members of one cluster for one router thread.
#[derive(Debug, Clone)]
pub struct Balancer {
    epoch: Epoch,
    policy: Policy,
    lowers_weight: bool,
    members: Vec<Member>,
    names: Vec<Names>,
    /// Indices of `members`, ordered by clone id.
    by_clone_id: Vec<u16>,
    /// Where round robin looks first.
    cursor: usize,
    chance: Chance,
}

/// What each request reads; names are apart, to keep this small.
#[derive(Debug, Clone)]
struct Member {
    state: RunState,
    has_address: bool,
    /// As configured, divided by the highest common factor of all.
    weight: i64,
    /// What is left of it in this cycle; affinity and retries can push it below zero.
    current: i64,
    mark: Option<Mark>,
}

#[derive(Debug, Clone)]
struct Names {
    name: MemberName,
    clone_id: String,
}

/// This router failed to reach the member. The cell's probes are the real judge; this spans the time until they speak.
#[derive(Debug, Clone, Copy)]
struct Mark {
    until: Time,
    pause_ms: u64,
    /// The pause is over and one request is out to try it; `until` bounds how long that one is waited for.
    is_tried: bool,
}

impl Member {
    fn is_marked(&self, now: Time) -> bool {
        self.mark.is_some_and(|mark| now < mark.until)
    }

    /// Takes requests without affinity.
    fn takes_new(&self, now: Time) -> bool {
        self.state == RunState::Up && self.has_address && self.weight > 0 && !self.is_marked(now)
    }

    fn keeps_sessions(&self) -> bool {
        matches!(self.state, RunState::Up | RunState::Draining) && self.has_address
    }
}

impl Balancer {
    pub fn new(view: &View, seed: u64) -> Self {
        let mut balancer = Self {
            epoch: Epoch::default(),
            policy: view.policy,
            lowers_weight: false,
            members: Vec::new(),
            names: Vec::new(),
            by_clone_id: Vec::new(),
            cursor: 0,
            chance: Chance::new(seed),
        };
        balancer.take_over(view);
        balancer
    }

    /// Takes the view over unless its epoch is not newer, and says whether it did. Members that stay, by name,
    /// keep what is left of their weight and their mark; one that is new, or becomes `Up`, starts with its whole
    /// weight and without a mark.
    pub fn apply(&mut self, view: &View) -> bool {
        if view.epoch <= self.epoch {
            return false;
        }
        self.take_over(view);
        true
    }

    fn take_over(&mut self, view: &View) {
        // The bound is the configuration's; more than that can only be a foreign manager's mistake.
        let fresh = &view.members[..view.members.len().min(CLUSTER_MEMBERS_MAX)];
        let factor =
            fresh.iter().fold(0, |factor, member| highest_common_factor(factor, member.weight)).max(1);
        let old_of_name: BTreeMap<&MemberName, usize> =
            self.names.iter().enumerate().map(|(index, names)| (&names.name, index)).collect();
        let members: Vec<Member> = fresh
            .iter()
            .map(|member| {
                let old = old_of_name.get(&member.name).map(|index| &self.members[*index]);
                renew(old, member, i64::from(member.weight / factor))
            })
            .collect();
        self.cursor = self.renewed_cursor(fresh);
        self.members = members;
        self.names = fresh
            .iter()
            .map(|member| Names { name: member.name.clone(), clone_id: member.clone_id.clone() })
            .collect();
        self.by_clone_id = (0..fresh.len() as u16).collect();
        // Stable: of two members with one clone id the first in the file comes first.
        let names = &self.names;
        self.by_clone_id
            .sort_by(|left, right| names[*left as usize].clone_id.cmp(&names[*right as usize].clone_id));
        self.epoch = view.epoch;
        self.policy = view.policy;
        self.lowers_weight = view.affinity.as_ref().is_some_and(|affinity| affinity.lowers_weight);
    }

    /// The place of the first member, from the old cursor on, that still exists; by chance where there is none.
    fn renewed_cursor(&mut self, fresh: &[MemberView]) -> usize {
        let count = self.names.len();
        let kept = (0..count)
            .map(|step| &self.names[(self.cursor + step) % count].name)
            .find_map(|name| fresh.iter().position(|member| member.name == *name));
        match kept {
            Some(place) => place,
            None if fresh.is_empty() => 0,
            None => self.chance.below(fresh.len() as u32) as usize,
        }
    }

    /// Chooses a member and counts the request as given to it. `clone_ids` in the order of the session id; empty
    /// for a request that belongs to no conversation.
    pub fn choose<'id>(
        &mut self,
        clone_ids: impl Iterator<Item = &'id str>,
        tried: &Tried,
        now: Time,
    ) -> Choice {
        let (affinity, resort) = self.follow_affinity(clone_ids, tried, now);
        if let AffinityFate::Honoured { index } = affinity {
            return self.give(index, How::Affinity, affinity, now);
        }
        let found = match self.policy {
            Policy::RoundRobin => self.next_in_turn(tried, now).map(|index| (index, How::InTurn)),
            Policy::Random => self.any(tried, now).map(|index| (index, How::AtRandom)),
        };
        if let Some((index, how)) = found {
            return self.give(index, how, affinity, now);
        }
        match resort.or_else(|| self.last_resort(tried)) {
            Some(index) => {
                let is_unknown = self.members[index as usize].state == RunState::Unknown;
                let how = if is_unknown { How::UnknownAsLastResort } else { How::MarkedAsLastResort };
                self.give(index, how, affinity, now)
            }
            None => Choice::None { why: self.why_none(tried) },
        }
    }

    /// What becomes of the wish for affinity, and the session's member that may serve as a last resort.
    fn follow_affinity<'id>(
        &self,
        clone_ids: impl Iterator<Item = &'id str>,
        tried: &Tried,
        now: Time,
    ) -> (AffinityFate, Option<u16>) {
        let mut fate = AffinityFate::NotAsked;
        let mut resort = None;
        for clone_id in clone_ids {
            let Some(index) = self.index_of_clone_id(clone_id) else {
                if fate == AffinityFate::NotAsked {
                    fate = AffinityFate::NoSuchMember;
                }
                continue;
            };
            let member = &self.members[index as usize];
            let is_tried = tried.contains(index);
            if member.keeps_sessions() && !is_tried && !member.is_marked(now) {
                return (AffinityFate::Honoured { index }, None);
            }
            let is_unknown = member.state == RunState::Unknown && member.has_address;
            if resort.is_none() && !is_tried && (member.keeps_sessions() || is_unknown) {
                resort = Some(index);
            }
            // The first member named is the one the reader of the reason asks about.
            if matches!(fate, AffinityFate::NotAsked | AffinityFate::NoSuchMember) {
                fate = if is_tried {
                    AffinityFate::AlreadyTried { index }
                } else if member.keeps_sessions() {
                    AffinityFate::MarkedDown { index }
                } else {
                    AffinityFate::NotTaking { index, state: member.state }
                };
            }
        }
        (fate, resort)
    }

    /// Weighted round robin: the next in file order with something left of its weight.
    fn next_in_turn(&mut self, tried: &Tried, now: Time) -> Option<u16> {
        if let Some(index) = self
            .next_where(|index, member| member.current > 0 && member.takes_new(now) && !tried.contains(index))
        {
            return Some(index);
        }
        // A retry may find weight only where it has already been. It borrows from the next cycle, as affinity
        // does; a new cycle now would give the others' share away.
        let is_spent = !self.members.iter().any(|member| member.current > 0 && member.takes_new(now));
        if is_spent {
            self.readjust(now);
        }
        self.next_where(|index, member| member.takes_new(now) && !tried.contains(index))
    }

    fn next_where(&self, is_fit: impl Fn(u16, &Member) -> bool) -> Option<u16> {
        let count = self.members.len();
        let from_cursor = (self.cursor..count).chain(0..self.cursor.min(count));
        from_cursor.map(|index| index as u16).find(|index| is_fit(*index, &self.members[*index as usize]))
    }

    /// Begins a new cycle: adds each weight as many times as it takes until everyone has something left.
    /// Members that take nothing now are left alone: they must not save up for their return.
    fn readjust(&mut self, now: Time) {
        let fit = self.members.iter().filter(|member| member.takes_new(now));
        // The smallest k with current + k * weight > 0, for current <= 0.
        let times = fit.map(|member| -member.current / member.weight + 1).max().unwrap_or(0);
        for member in self.members.iter_mut().filter(|member| member.takes_new(now)) {
            member.current += times * member.weight;
            assert!(member.current > 0, "readjusting must leave something of every weight");
        }
    }

    /// Any member that takes new requests, each equally likely.
    fn any(&mut self, tried: &Tried, now: Time) -> Option<u16> {
        let is_fit =
            |(index, member): &(usize, &Member)| member.takes_new(now) && !tried.contains(*index as u16);
        let count = self.members.iter().enumerate().filter(is_fit).count();
        if count == 0 {
            return None;
        }
        let lot = self.chance.below(count as u32) as usize;
        self.members.iter().enumerate().filter(is_fit).nth(lot).map(|(index, _)| index as u16)
    }

    fn last_resort(&self, tried: &Tried) -> Option<u16> {
        let fit = |state| {
            self.members.iter().enumerate().filter(move |(index, member)| {
                let is_fit = member.state == state && member.has_address && member.weight > 0;
                is_fit && !tried.contains(*index as u16)
            })
        };
        let marked = fit(RunState::Up).min_by_key(|(_, member)| member.mark.map(|mark| mark.until));
        marked.or_else(|| fit(RunState::Unknown).next()).map(|(index, _)| index as u16)
    }

    fn why_none(&self, tried: &Tried) -> WhyNone {
        let is_up = |member: &Member| member.state == RunState::Up && member.has_address;
        if self.members.is_empty() {
            WhyNone::NoMembers
        } else if tried.count() > 0 {
            WhyNone::AllTried { tried: tried.count() as u16 }
        } else if self.members.iter().any(is_up) {
            WhyNone::NoWeight
        } else {
            WhyNone::NobodyUp { members: self.members.len() as u16 }
        }
    }

    fn give(&mut self, index: u16, how: How, affinity: AffinityFate, now: Time) -> Choice {
        let count = self.members.len();
        let member = &mut self.members[index as usize];
        let lowers = match how {
            How::Affinity => self.lowers_weight && self.policy == Policy::RoundRobin,
            How::InTurn => true,
            How::AtRandom | How::MarkedAsLastResort | How::UnknownAsLastResort => false,
        };
        if lowers && member.weight > 0 {
            member.current -= 1;
        }
        if let Some(mark) = &mut member.mark {
            // Whoever comes next waits for this one's fate, or for another pause.
            if mark.until <= now {
                mark.until = now + mark.pause_ms;
                mark.is_tried = true;
            }
        }
        if how == How::InTurn {
            self.cursor = (index as usize + 1) % count;
        }
        Choice::Member { index, why: Why { how, affinity } }
    }

    /// The member refused a connection, or broke one off before its answer. It gets nothing for a pause that
    /// doubles each time a request that was let through to try it fails as well.
    pub fn failed(&mut self, index: u16, now: Time) {
        let Some(member) = self.members.get_mut(index as usize) else { return };
        let pause_ms = match member.mark {
            None => MARK_PAUSE_MIN_MS,
            Some(mark) if mark.is_tried || mark.until <= now => (mark.pause_ms * 2).min(MARK_PAUSE_MAX_MS),
            // Others that were under way when the mark was made tell nothing new.
            Some(_) => return,
        };
        member.mark = Some(Mark { until: now + pause_ms, pause_ms, is_tried: false });
    }

    /// The member began an answer, whatever its status: it can be reached.
    pub fn answered(&mut self, index: u16) {
        if let Some(member) = self.members.get_mut(index as usize) {
            member.mark = None;
        }
    }

    /// Whether this router failed to reach the member and waits before it tries again.
    pub fn is_marked(&self, index: u16, now: Time) -> bool {
        self.members.get(index as usize).is_some_and(|member| member.is_marked(now))
    }

    /// Whether a request that has begun with this member may go on there, on another connection.
    pub fn keeps(&self, index: u16) -> bool {
        self.members.get(index as usize).is_some_and(Member::keeps_sessions)
    }

    /// Where a member of an older view is now.
    pub fn index_of(&self, name: &MemberName) -> Option<u16> {
        self.names.iter().position(|names| names.name == *name).map(|index| index as u16)
    }

    fn index_of_clone_id(&self, clone_id: &str) -> Option<u16> {
        let id_of = |index: &u16| self.names[*index as usize].clone_id.as_str();
        let first = self.by_clone_id.partition_point(|index| id_of(index) < clone_id);
        self.by_clone_id.get(first).copied().filter(|index| id_of(index) == clone_id)
    }

    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// What is left of each member's weight in this cycle, for the curious.
    pub fn current_weights(&self) -> impl Iterator<Item = i64> {
        self.members.iter().map(|member| member.current)
    }

    /// Panics when a promise of this file about its own state is broken.
    pub fn check(&self) {
        let count = self.members.len();
        assert!(self.cursor < count.max(1), "cursor {} of {count}", self.cursor);
        assert_eq!(self.names.len(), count, "each member has its names");
        assert_eq!(self.by_clone_id.len(), count, "each member can be found by clone id");
        let factor = self.members.iter().fold(0, |factor, member| {
            assert!(member.weight >= 0, "no weight is negative");
            highest_common_factor(factor, member.weight as u32)
        });
        assert!(factor <= 1, "weights have no common factor, not {factor}");
    }
}

/// The member of a new view, with what stays of the old one.
fn renew(old: Option<&Member>, fresh: &MemberView, weight: i64) -> Member {
    let mut member = Member {
        state: fresh.state,
        has_address: fresh.address.is_some(),
        weight,
        current: weight,
        mark: None,
    };
    let Some(old) = old else { return member };
    let becomes_up = fresh.state == RunState::Up && old.state != RunState::Up;
    if becomes_up {
        return member;
    }
    member.mark = old.mark;
    member.current = if old.weight == weight {
        old.current
    } else {
        // What it was given in this cycle counts against the new weight. A debt made under the old weight is
        // forgiven: many times a small new weight, it would keep the member waiting for as many cycles.
        (weight - (old.weight - old.current)).clamp(0, weight)
    };
    member
}

fn highest_common_factor(left: u32, right: u32) -> u32 {
    if right == 0 { left } else { highest_common_factor(right, left % right) }
}

#[cfg(test)]
mod tests;

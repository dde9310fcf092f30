//! Decides which member of one cluster gets a request: affinity first, then the cluster's policy.
//!
//! One router thread owns one `Balancer` per cluster; no allocation per request, and no hashing unless the policy asks
//! for it or a session has lost its member.
//! Promises: a request without affinity goes to a member that is `Up` while there is one with weight; over a cycle
//! of round robin each member gets exactly its weight (divided by the highest common factor); `Down`, `Failed` and
//! `Starting` members get nothing, ever, but for those that fail nothing but their probe, and these in panic only; a `Draining` member gets its own conversations only; a backup gets nothing
//! while another member can be used; a member with `requests_max` requests under way gets no more.
//!
//! Panic: fewer than `panic_percent` of the members can be used. Then a common cause is likelier than as many faults,
//! and all are used that nothing but this router or their probe speaks against.
//! Where nobody is fit, in this order: the first backup that can be used; the session's own member if it is `Up` or
//! `Draining` though this router just failed to reach it, or `Unknown`; members that are `Up` though this router leaves
//! them out, the one whose pause ends first; members that are `Unknown`, in file order.
//! Not here: what a clone id is (see `affinity`), whether a request may be tried again (see `retry`), which cluster of
//! a route it is (see `spread`).

mod ejection;
mod load;
mod own;
mod policy;
mod renew;
mod tried;
mod why;

pub use ejection::Left;
pub use own::Own;
pub use policy::name_hash;
pub use tried::Tried;
pub use why::{AffinityFate, How, Why, WhyNone};

use crate::limits::{CLUSTER_MEMBERS_MAX, MARK_PAUSE_MAX_MS, MARK_PAUSE_MIN_MS};
use crate::seed::Chance;
use crate::time::Time;
use ejection::Ejection;
use load::{Load, Typical};
use renew::{highest_common_factor, renew};
use std::collections::BTreeMap;
use wire::id::{Epoch, MemberName};
use wire::view::{Health, MemberView, Policy, RunState, View};

/// The answer to "who gets this request".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// `index` counts the members of the view that was applied last.
    Member {
        index: u16,
        why: Why,
    },
    /// Whoever could take it has `requests_max` requests under way, this member for one: it may wait. `is_own`: for
    /// this member only, which has its session.
    Full {
        index: u16,
        is_own: bool,
    },
    None {
        why: WhyNone,
    },
}

/// Members of one cluster, as seen from a router's zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    All,
    /// In the router's own zone.
    Near,
    Far,
}

/// What bears on a choice besides the members.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    pub tried: &'a Tried,
    pub now: Time,
    /// Number of the request's session (`affinity::session_key`), by which an orphaned one finds its new member.
    pub session: Option<u64>,
    /// What a choice by hash goes by.
    pub key: u64,
}

impl<'a> Ask<'a> {
    /// A request of no session.
    pub fn new(tried: &'a Tried, now: Time) -> Self {
        Self { tried, now, session: None, key: 0 }
    }
}

/// How much of a part of a cluster can be used, by weight; backups do not count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Standing {
    pub usable: u64,
    pub whole: u64,
}

/// Chooses members of one cluster for one router thread.
#[derive(Debug, Clone)]
pub struct Balancer {
    epoch: Epoch,
    policy: Policy,
    health: Health,
    /// Its cluster comes from a plugin-cfg.xml, whose router knows no new home for a session but its policy.
    is_plugin: bool,
    lowers_weight: bool,
    is_strict: bool,
    zone: String,
    members: Vec<Member>,
    names: Vec<Names>,
    /// Indices of `members`, ordered by clone id.
    by_clone_id: Vec<u16>,
    /// Sums of the weights up to each member, for a draw by weight.
    weight_sums: Vec<u64>,
    /// Where round robin looks first.
    cursor: usize,
    chance: Chance,
    typical: Typical,
    /// Some member may be left out by this router alone, or by its probe alone.
    has_left_out: bool,
    /// Until when some member has less than its full share.
    rises_until: Time,
}

/// What each request reads; names are apart, to keep this small.
#[derive(Debug, Clone)]
struct Member {
    state: RunState,
    /// Down by its probe alone: used in panic.
    only_fails_probe: bool,
    has_address: bool,
    is_backup: bool,
    is_near: bool,
    /// It has `requests_max` requests under way.
    is_full: bool,
    /// As configured, divided by the highest common factor of all.
    weight: i64,
    /// What is left of it in this cycle; affinity and retries can push it below zero.
    current: i64,
    mark: Option<Mark>,
    ejection: Ejection,
    /// When it began to come back; None once that is long ago.
    rises_since: Option<Time>,
    load: Load,
    /// Of its name and its cluster's: the same for every router and thread.
    hash: u64,
}

#[derive(Debug, Clone)]
struct Names {
    name: MemberName,
    clone_id: String,
    /// As configured.
    weight: u32,
}

/// This router failed to reach the member. The cell's probes are the real judge; this spans the time until they speak.
#[derive(Debug, Clone, Copy)]
struct Mark {
    until: Time,
    pause_ms: u64,
    /// The pause is over and one request is out to try it; `until` bounds how long that one is waited for.
    is_tried: bool,
}

/// Which members a choice is among.
#[derive(Debug, Clone, Copy)]
struct Scope<'a> {
    tried: &'a Tried,
    now: Time,
    part: Part,
    /// So few can be used that nobody is left out.
    is_panic: bool,
    /// Members that come back with less than this share, in thousandths, are passed over.
    share_min: u32,
}

impl Member {
    fn is_marked(&self, now: Time) -> bool {
        self.mark.is_some_and(|mark| now < mark.until)
    }

    /// This router alone keeps away from it.
    fn is_left_out(&self, now: Time) -> bool {
        self.is_marked(now) || self.ejection.is_out(now)
    }

    /// Nothing but its probe speaks against it.
    fn is_doubted(&self) -> bool {
        self.only_fails_probe && self.has_address && self.weight > 0
    }

    fn is_up(&self) -> bool {
        self.state == RunState::Up && self.has_address && self.weight > 0
    }

    /// Takes requests without affinity.
    fn takes_new(&self, scope: &Scope<'_>) -> bool {
        let may_be_used = if scope.is_panic {
            self.is_up() || self.is_doubted()
        } else {
            self.is_up() && !self.is_left_out(scope.now)
        };
        may_be_used && !self.is_backup && !self.is_full && self.is_in(scope.part)
    }

    fn is_in(&self, part: Part) -> bool {
        match part {
            Part::All => true,
            Part::Near => self.is_near,
            Part::Far => !self.is_near,
        }
    }

    fn keeps_sessions(&self) -> bool {
        matches!(self.state, RunState::Up | RunState::Draining) && self.has_address
    }
}

impl Balancer {
    /// `zone` is the router's own.
    pub fn new(view: &View, seed: u64, zone: &str) -> Self {
        let mut balancer = Self {
            epoch: Epoch::default(),
            policy: view.policy,
            health: Health::default(),
            is_plugin: false,
            lowers_weight: false,
            is_strict: false,
            zone: zone.to_owned(),
            members: Vec::new(),
            names: Vec::new(),
            by_clone_id: Vec::new(),
            weight_sums: Vec::new(),
            cursor: 0,
            chance: Chance::new(seed),
            typical: Typical::default(),
            has_left_out: false,
            rises_until: Time(0),
        };
        balancer.take_over(view, None);
        balancer
    }

    /// Takes the view over unless its epoch is not newer, and says whether it did. Members that stay, by name,
    /// keep what is left of their weight and what this router knows of them; one that is new, or becomes `Up`, starts
    /// with its whole weight and without a mark, and gets its full share only after the slow start.
    pub fn apply(&mut self, view: &View, now: Time) -> bool {
        if view.epoch <= self.epoch {
            return false;
        }
        self.take_over(view, Some(now));
        true
    }

    /// Says in which zone the router is.
    pub fn set_zone(&mut self, view: &View, zone: &str) {
        if self.zone != zone {
            zone.clone_into(&mut self.zone);
            for (member, fresh) in self.members.iter_mut().zip(&view.members) {
                member.is_near = fresh.zone == zone && !zone.is_empty();
            }
        }
    }

    /// `now` is None for the first view: whoever is up then has been so for long, as far as we know.
    fn take_over(&mut self, view: &View, now: Option<Time>) {
        // The bound is the configuration's; more than that can only be a foreign manager's mistake.
        let fresh = &view.members[..view.members.len().min(CLUSTER_MEMBERS_MAX)];
        let factor =
            fresh.iter().fold(0, |factor, member| highest_common_factor(factor, member.weight)).max(1);
        let old_of_name: BTreeMap<&MemberName, usize> =
            self.names.iter().enumerate().map(|(index, names)| (&names.name, index)).collect();
        let rises_from = now.filter(|_| view.health.slow_start_ms > 0);
        let members: Vec<Member> = fresh
            .iter()
            .map(|member| {
                let old = old_of_name.get(&member.name).map(|index| &self.members[*index]);
                let mut renewed = renew(old, member, i64::from(member.weight / factor), rises_from);
                renewed.hash = name_hash(&view.cluster.0, &member.name.0);
                renewed.is_near = member.zone == self.zone && !member.zone.is_empty();
                renewed
            })
            .collect();
        self.cursor = self.renewed_cursor(fresh);
        self.members = members;
        self.names = fresh
            .iter()
            .map(|member| Names {
                name: member.name.clone(),
                clone_id: member.clone_id.clone(),
                weight: member.weight,
            })
            .collect();
        self.by_clone_id = (0..fresh.len() as u16).collect();
        // Stable: of two members with one clone id the first in the file comes first.
        let names = &self.names;
        self.by_clone_id
            .sort_by(|left, right| names[*left as usize].clone_id.cmp(&names[*right as usize].clone_id));
        let mut sum = 0;
        self.weight_sums = (self.members.iter())
            .map(|member| {
                sum += member.weight as u64;
                sum
            })
            .collect();
        self.epoch = view.epoch;
        self.policy = view.policy;
        self.health = view.health.clone();
        self.is_plugin = view.plugin.is_some();
        self.lowers_weight = view.affinity.as_ref().is_some_and(|affinity| affinity.lowers_weight);
        self.is_strict = view.affinity.as_ref().is_some_and(|affinity| affinity.is_strict);
        self.typical.in_flight = self.members.iter().map(|member| member.load.in_flight).sum();
        self.note_left_out();
        if let Some(now) = rises_from {
            self.rises_until = self.rises_until.max(now + self.health.slow_start_ms);
        }
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

    fn note_left_out(&mut self) {
        let is_out = |member: &Member| {
            member.mark.is_some() || member.ejection.has_been_out() || member.only_fails_probe
        };
        self.has_left_out = self.members.iter().any(is_out);
    }

    /// Chooses a member and counts the request as given to it. `clone_ids` in the order of the session id; empty
    /// for a request that belongs to no conversation.
    pub fn choose<'id>(&mut self, clone_ids: impl Iterator<Item = &'id str>, ask: &Ask<'_>) -> Choice {
        let mut own = Own::default();
        for clone_id in clone_ids {
            if own.look(0, self, clone_id, ask) {
                break;
            }
        }
        let affinity = own.fate;
        if let Some((_, decided)) = self.decided_by_affinity(&own, ask.now) {
            return decided;
        }
        let found = match ask.session.filter(|_| own.is_orphan() && !self.is_plugin) {
            Some(session) => self.rehome(session, ask.tried, ask.now).map(|(_, index)| (index, How::Rehomed)),
            None => self.by_policy(Part::All, ask),
        };
        if let Some((index, how)) = found {
            return self.give(index, how, affinity, ask.now);
        }
        if let Some(index) = self.full(ask.tried) {
            return Choice::Full { index, is_own: false };
        }
        if let Some(index) = self.backup(ask.tried, ask.now) {
            return self.give(index, How::Backup, affinity, ask.now);
        }
        match own.resort.map(|(_, index)| index).or_else(|| self.last_resort(ask.tried)) {
            Some(index) => self.give_as_last_resort(index, affinity, ask.now),
            None => Choice::None { why: self.why_none(ask.tried) },
        }
    }

    /// The choice where the session's own member decides it: that member, waiting for it, or nobody else; and of
    /// which cluster that member is.
    pub(crate) fn decided_by_affinity(&mut self, own: &Own, now: Time) -> Option<(usize, Choice)> {
        match own.fate {
            AffinityFate::Honoured { index } => {
                Some((own.cluster, self.give(index, How::Affinity, own.fate, now)))
            }
            AffinityFate::Full { index } if self.health.queue_max > 0 => {
                Some((own.cluster, Choice::Full { index, is_own: true }))
            }
            fate => {
                let is_refused = self.is_strict && fate.names_member();
                is_refused.then_some((own.cluster, Choice::None { why: WhyNone::Strict }))
            }
        }
    }

    pub(crate) fn give_as_last_resort(&mut self, index: u16, affinity: AffinityFate, now: Time) -> Choice {
        let is_unknown = self.members[index as usize].state == RunState::Unknown;
        let how = if is_unknown { How::UnknownAsLastResort } else { How::MarkedAsLastResort };
        self.give(index, how, affinity, now)
    }

    /// The first backup that can be used, in the order of the file: never more than one at a time.
    pub(crate) fn backup(&self, tried: &Tried, now: Time) -> Option<u16> {
        let is_fit = |(index, member): &(u16, &Member)| {
            member.is_up()
                && member.is_backup
                && !member.is_full
                && !member.is_left_out(now)
                && !tried.contains(*index)
        };
        (0..).zip(&self.members).find(is_fit).map(|(index, _)| index)
    }

    /// A member that could take the request were it not for `requests_max`: a primary, else a backup.
    pub(crate) fn full(&self, tried: &Tried) -> Option<u16> {
        let is_full =
            |(index, member): &(u16, &Member)| member.is_up() && member.is_full && !tried.contains(*index);
        let mut full = (0..).zip(&self.members).filter(is_full);
        let first = full.clone().find(|(_, member)| !member.is_backup).or_else(|| full.next());
        first.map(|(index, _)| index)
    }

    fn last_resort(&self, tried: &Tried) -> Option<u16> {
        self.left_out(tried).or_else(|| self.unknown(tried))
    }

    /// The member that is up though this router leaves it out, whose pause ends first.
    pub(crate) fn left_out(&self, tried: &Tried) -> Option<u16> {
        let left_out = self.resorts(RunState::Up, tried);
        let ends = |member: &Member| member.mark.map(|mark| mark.until).max(member.ejection.until());
        left_out.min_by_key(|(_, member)| (member.is_backup, ends(member))).map(|(index, _)| index)
    }

    /// The first member of which nobody has told us anything.
    pub(crate) fn unknown(&self, tried: &Tried) -> Option<u16> {
        self.resorts(RunState::Unknown, tried).map(|(index, _)| index).next()
    }

    fn resorts(&self, state: RunState, tried: &Tried) -> impl Iterator<Item = (u16, &Member)> {
        (0_u16..).zip(&self.members).filter(move |(index, member)| {
            let is_there = member.state == state && member.has_address && member.weight > 0;
            is_there && !member.is_full && !tried.contains(*index)
        })
    }

    pub(crate) fn why_none(&self, tried: &Tried) -> WhyNone {
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

    pub(crate) fn give(&mut self, index: u16, how: How, affinity: AffinityFate, now: Time) -> Choice {
        let count = self.members.len();
        let member = &mut self.members[index as usize];
        let lowers = match how {
            How::Affinity | How::Rehomed => self.lowers_weight && self.policy == Policy::RoundRobin,
            How::InTurn | How::LeastOutstanding => true,
            How::AtRandom
            | How::Quickest
            | How::ByHash
            | How::Backup
            | How::MarkedAsLastResort
            | How::UnknownAsLastResort => false,
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
        if matches!(how, How::InTurn | How::LeastOutstanding) {
            self.cursor = (index as usize + 1) % count;
        }
        Choice::Member { index, why: Why { how, affinity } }
    }

    /// The member refused a connection, or broke one off before its answer. It gets nothing for a pause that
    /// doubles each time a request that was let through to try it fails as well.
    pub fn failed(&mut self, index: u16, now: Time) {
        let fixed_ms = self.health.retry_interval_ms;
        let Some(member) = self.members.get_mut(index as usize) else { return };
        let pause_ms = match (member.mark, fixed_ms) {
            (None, fixed_ms) => fixed_ms.unwrap_or(MARK_PAUSE_MIN_MS),
            (Some(mark), Some(fixed_ms)) if mark.is_tried || mark.until <= now => fixed_ms,
            (Some(mark), None) if mark.is_tried || mark.until <= now => {
                (mark.pause_ms * 2).min(MARK_PAUSE_MAX_MS)
            }
            // Others that were under way when the mark was made tell nothing new.
            (Some(_), _) => return,
        };
        member.mark = Some(Mark { until: now + pause_ms, pause_ms, is_tried: false });
        self.has_left_out = true;
    }

    /// The member began an answer, whatever its status: it can be reached.
    pub fn answered(&mut self, index: u16) {
        if let Some(member) = self.members.get_mut(index as usize)
            && member.mark.is_some()
        {
            member.mark = None;
            self.note_left_out();
        }
    }

    /// Whether this router failed to reach the member and waits before it tries again.
    pub fn is_marked(&self, index: u16, now: Time) -> bool {
        self.members.get(index as usize).is_some_and(|member| member.is_marked(now))
    }

    /// A plug-in's router knows no other home for an orphaned session than what its policy says.
    pub(crate) fn goes_by_policy_alone(&self) -> bool {
        self.is_plugin
    }

    /// Whether a request that has begun with this member may go on there, on another connection.
    pub fn keeps(&self, index: u16) -> bool {
        self.members.get(index as usize).is_some_and(Member::keeps_sessions)
    }

    /// Says whether a member has `requests_max` requests under way.
    pub fn set_full(&mut self, index: u16, is_full: bool) {
        if let Some(member) = self.members.get_mut(index as usize) {
            member.is_full = is_full;
        }
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
        assert_eq!(self.weight_sums.len(), count, "each member can be drawn by weight");
        let factor = self.members.iter().fold(0, |factor, member| {
            assert!(member.weight >= 0, "no weight is negative");
            highest_common_factor(factor, member.weight as u32)
        });
        assert!(factor <= 1, "weights have no common factor, not {factor}");
    }
}

#[cfg(test)]
mod tests;

//! Decides what a router that comes back is sent: nothing, what changed since the view that it has, or whole views, and
//! whose turn it is for those.
//!
//! A thousand routers that lose their manager come to the next one at once. Almost all of them have what it would tell
//! them: then an epoch each is enough. Whole views, which cost most, are bounded in bytes for each second.
//! Not here: what a change is (see `view::change`), and clients, who fetch whole views by themselves (see `snapshot`).

use crate::limits::{
    PAST_CHANGES_MAX, RESUME_BURST_MS, RESUME_BYTES_PER_MS, RESUME_MEMBER_BYTES, RESUME_VIEW_BYTES,
};
use crate::seed::Chance;
use crate::time::Time;
use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use wire::id::Epoch;
use wire::link::KnownView;
use wire::view::{MemberView, View};
use wire::view_change::ViewChange;

/// Of all that routers act on in a view. Equal prints mean equal views; another version of Muster may print differently,
/// which only costs a whole view.
pub fn print(view: &View) -> u64 {
    let View { cluster, epoch: _, policy, affinity, members, hash_key, health, cell, plugin } = view;
    let mut hasher = DefaultHasher::new();
    (cluster, policy, affinity, hash_key, health, cell, plugin, members.len()).hash(&mut hasher);
    for member in members {
        let MemberView {
            name,
            clone_id,
            address,
            state,
            weight,
            is_lost,
            only_fails_probe,
            reason: _,
            zone,
            is_backup,
            requests_max,
            transport,
            secure,
        } = member;
        (name, clone_id, address, state, weight, is_lost, only_fails_probe).hash(&mut hasher);
        (zone, is_backup, requests_max, transport, secure).hash(&mut hasher);
    }
    hasher.finish()
}

/// What a router tells of a view that it has.
pub fn known(view: &View) -> KnownView {
    KnownView { cluster: view.cluster.clone(), epoch: view.epoch, print: print(view) }
}

/// The latest changes of a view, each made for the one before it.
#[derive(Debug, Clone, Default)]
pub struct Past {
    changes: VecDeque<ViewChange>,
    /// Members named in all of them.
    named: usize,
}

impl Past {
    /// A newer view was told, which has so many members. None: not as a change, so nothing leads there from before.
    pub fn add(&mut self, change: Option<&ViewChange>, members: usize) {
        let Some(change) = change else { return *self = Self::default() };
        self.named += named_in(change);
        self.changes.push_back(change.clone());
        // Changes that name as many members as there are cost as much as the view.
        while self.changes.len() > PAST_CHANGES_MAX || self.named > members {
            let Some(oldest) = self.changes.pop_front() else { break };
            self.named -= named_in(&oldest);
        }
    }

    /// What leads from that epoch to the newest; None: it is not known any more.
    fn since(&self, epoch: Epoch) -> Option<Vec<ViewChange>> {
        let is_first =
            |change: &ViewChange| change.to.generation == epoch.generation && change.from == epoch.number;
        let first = self.changes.iter().position(is_first)?;
        Some(self.changes.range(first..).cloned().collect())
    }
}

fn named_in(change: &ViewChange) -> usize {
    1 + change.gone.len() + change.put.len() + change.states.values().map(Vec::len).sum::<usize>()
}

/// What a router lacks of one cluster's view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lack {
    Nothing,
    /// In this order.
    Changes(Vec<ViewChange>),
    Whole,
}

/// What somebody with `known` lacks of `view`, whose print is `print`. An epoch alone is believed only within a generation,
/// and not above what was given in it.
pub fn lack(known: Option<&KnownView>, view: &View, print: u64, past: Option<&Past>) -> Lack {
    let Some(known) = known else { return Lack::Whole };
    if known.print == print && known.epoch == view.epoch {
        return Lack::Nothing;
    }
    if known.print == print && known.epoch < view.epoch {
        return Lack::Changes(vec![ViewChange {
            cluster: view.cluster.clone(),
            from: known.epoch.number,
            of: (known.epoch.generation != view.epoch.generation).then_some(known.epoch.generation),
            to: view.epoch,
            ..ViewChange::default()
        }]);
    }
    past.and_then(|past| past.since(known.epoch)).map_or(Lack::Whole, Lack::Changes)
}

/// What a whole view takes on its way, about.
pub fn cost_bytes(view: &View) -> u64 {
    RESUME_VIEW_BYTES + view.members.len() as u64 * RESUME_MEMBER_BYTES
}

/// Whose turn it is for whole views, first come, first served.
#[derive(Debug, Clone)]
pub struct Line<Who> {
    waiting: VecDeque<Who>,
    /// When what has been given is paid for at the rate.
    paid_until: Time,
}

impl<Who> Default for Line<Who> {
    fn default() -> Self {
        Self { waiting: VecDeque::new(), paid_until: Time(0) }
    }
}

impl<Who> Line<Who> {
    pub fn join(&mut self, who: Who) {
        self.waiting.push_back(who);
    }

    /// Those who have gone make room.
    pub fn leave(&mut self, has_gone: impl Fn(&Who) -> bool) {
        self.waiting.retain(|who| !has_gone(who));
    }

    /// Who is next, if anybody may be served now.
    pub fn next(&mut self, now: Time) -> Option<Who> {
        if self.wake_at()? > now { None } else { self.waiting.pop_front() }
    }

    /// So much was given. One that is larger than a burst makes those behind it wait, and is not refused.
    pub fn gave(&mut self, now: Time, bytes: u64) {
        self.paid_until = self.paid_until.max(now) + bytes.div_ceil(RESUME_BYTES_PER_MS);
    }

    /// When the next may be served; None: nobody waits.
    pub fn wake_at(&self) -> Option<Time> {
        (!self.waiting.is_empty()).then_some(Time(self.paid_until.0.saturating_sub(RESUME_BURST_MS)))
    }

    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

/// How long to wait before another attempt to connect, of `most_ms` at the most and a quarter of it at least: those who
/// were cut off together do not come back together.
pub fn pause_ms(most_ms: u64, chance: &mut Chance) -> u64 {
    let least_ms = most_ms / 4;
    let spread = u32::try_from(most_ms - least_ms).unwrap_or(u32::MAX - 1);
    least_ms + u64::from(chance.below(spread + 1))
}

#[cfg(test)]
mod tests;

//! Which member gets a call, by the newest view and by what the client itself has met with.
//!
//! Pure: times are milliseconds of the caller's clock. Promises: a member that the view calls down or lost gets nothing, one
//! that draining has begun for only what belongs to it, one that just failed nothing while another can be had; a view
//! never goes back; what is known of a member survives a new view, unless it came back in it.
//! Not here: whether a call may be made again (see `attempt`).

use crate::chance::Chance;
use crate::evidence::{Evidence, Failing};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use wire::client_view::{Applied, ClientMember, ClientState, ClientView, ViewDelta};
use wire::id::MemberName;
use wire::view::Policy;

/// Which members are near.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Prefer {
    /// All are alike.
    #[default]
    Nothing,
    /// Those whose zone is called so.
    Zone(String),
    /// Those that listen on this address, as members on the client's own machine do.
    Address(IpAddr),
}

/// Who takes a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chosen {
    pub member: ClientMember,
    pub why: Why,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// The transaction is there already.
    Transaction,
    Policy,
    /// All that could be had have just failed; this one comes back first.
    FailedLeastRecently,
}

/// What a client knows of one member besides the view.
#[derive(Debug, Clone, Default)]
struct Known {
    evidence: Evidence,
    in_flight: u32,
    /// Of the weighted round robin: what it has saved up.
    saved: i64,
}

#[derive(Debug)]
pub struct Choice {
    view: Arc<ClientView>,
    prefer: Prefer,
    /// Instead of the cluster's own.
    policy: Option<Policy>,
    known: BTreeMap<MemberName, Known>,
}

impl Choice {
    pub fn new(view: ClientView, prefer: Prefer, policy: Option<Policy>) -> Self {
        Self { view: Arc::new(view), prefer, policy, known: BTreeMap::new() }
    }

    pub fn view(&self) -> &Arc<ClientView> {
        &self.view
    }

    /// Takes over what changed.
    pub fn apply(&mut self, delta: &ViewDelta) -> Applied {
        // Looked at before the view is copied: mostly many calls bring the same news.
        if delta.cluster == self.view.cluster && delta.to <= self.view.epoch {
            return Applied::Known;
        }
        let mut newer = ClientView::clone(&self.view);
        let applied = newer.apply(delta);
        if applied == Applied::Now {
            self.take(newer);
        }
        applied
    }

    /// Takes a whole view over.
    pub fn replace(&mut self, newer: ClientView) -> Applied {
        let mut copy = ClientView {
            cluster: self.view.cluster.clone(),
            epoch: self.view.epoch,
            ..ClientView::default()
        };
        let applied = copy.replace(newer);
        if applied == Applied::Now {
            self.take(copy);
        }
        applied
    }

    fn take(&mut self, newer: ClientView) {
        assert!(newer.epoch > self.view.epoch, "a view went back to {}", newer.epoch);
        let was_up = |name: &MemberName| {
            self.view.members.iter().any(|member| member.name == *name && member.state == ClientState::Up)
        };
        let is_there = |name: &MemberName| newer.members.iter().any(|member| member.name == *name);
        self.known.retain(|name, known| known.in_flight > 0 || is_there(name));
        for member in newer.members.iter().filter(|member| member.state == ClientState::Up) {
            // It is another process, or the same one in health again: what it did before counts no more.
            if !was_up(&member.name)
                && let Some(known) = self.known.get_mut(&member.name)
            {
                known.evidence.succeeded();
            }
        }
        self.view = Arc::new(newer);
    }

    /// The member of a transaction that has begun there, while it may have more of it.
    pub fn same(&self, name: &MemberName) -> Option<Chosen> {
        let member = self.view.members.iter().find(|member| member.name == *name)?;
        let takes_it = matches!(member.state, ClientState::Up | ClientState::Draining);
        let is_reachable = takes_it && member.address.is_some();
        is_reachable.then(|| Chosen { member: member.clone(), why: Why::Transaction })
    }

    /// A member for a call that is bound to none, other than those tried. None: only a router can help.
    pub fn choose(&mut self, now_ms: u64, tried: &[MemberName], chance: &mut Chance) -> Option<Chosen> {
        let view = self.view.clone();
        let can_be_had = |member: &&ClientMember| {
            let is_up = member.state == ClientState::Up && member.address.is_some();
            is_up && !tried.contains(&member.name)
        };
        let all: Vec<&ClientMember> = view.members.iter().filter(can_be_had).collect();
        let left_out =
            |name: &MemberName| self.known.get(name).is_some_and(|known| known.evidence.is_left_out(now_ms));
        let well: Vec<&ClientMember> = all.iter().copied().filter(|member| !left_out(&member.name)).collect();
        // A weight of 0 takes no new conversations, whatever happens.
        let regular = |member: &&ClientMember| !member.is_backup && member.weight > 0;
        let usual: Vec<&ClientMember> = well.iter().copied().filter(regular).collect();
        if !usual.is_empty() {
            let near: Vec<&ClientMember> =
                usual.iter().copied().filter(|member| self.is_near(member)).collect();
            let among = if near.is_empty() { &usual } else { &near };
            let member = self.by_policy(among, chance).clone();
            return Some(Chosen { member, why: Why::Policy });
        }
        let backup = well.iter().find(|member| member.is_backup && member.weight > 0);
        if let Some(backup) = backup {
            return Some(Chosen { member: (*backup).clone(), why: Why::Policy });
        }
        let comes_back = |member: &&&ClientMember| {
            self.known.get(&member.name).map_or(0, |known| known.evidence.left_out_until_ms())
        };
        let first = all.iter().filter(|member| member.weight > 0).min_by_key(comes_back)?;
        Some(Chosen { member: (*first).clone(), why: Why::FailedLeastRecently })
    }

    fn is_near(&self, member: &ClientMember) -> bool {
        match &self.prefer {
            Prefer::Nothing => false,
            Prefer::Zone(zone) => member.zone == *zone,
            Prefer::Address(address) => member.address.is_some_and(|own| own.ip() == *address),
        }
    }

    fn by_policy<'m>(&mut self, among: &[&'m ClientMember], chance: &mut Chance) -> &'m ClientMember {
        match self.policy.unwrap_or(self.view.policy) {
            // By which part of a call to choose, only routers know.
            Policy::RoundRobin | Policy::Hash => self.in_turn(among),
            Policy::Random => among[chance.below(among.len() as u64) as usize],
            Policy::LeastOutstanding => self.least_busy(among, chance),
            Policy::Auto => {
                let two = [draw(among, chance), draw(among, chance)];
                self.least_busy(&two, chance)
            }
        }
    }

    /// Weighted round robin without bursts: everybody saves its weight, who has most pays the sum of all.
    fn in_turn<'m>(&mut self, among: &[&'m ClientMember]) -> &'m ClientMember {
        let sum: i64 = among.iter().map(|member| i64::from(member.weight)).sum();
        let mut most: Option<(i64, usize)> = None;
        for (at, member) in among.iter().enumerate() {
            let known = self.known.entry(member.name.clone()).or_default();
            known.saved += i64::from(member.weight);
            if most.is_none_or(|(saved, _)| known.saved > saved) {
                most = Some((known.saved, at));
            }
        }
        let (_, at) = most.expect("there is somebody to choose");
        self.known.entry(among[at].name.clone()).or_default().saved -= sum;
        among[at]
    }

    /// Who has the fewest calls under way for its weight; of equals one drawn by chance.
    fn least_busy<'m>(&self, among: &[&'m ClientMember], chance: &mut Chance) -> &'m ClientMember {
        let start = chance.below(among.len() as u64) as usize;
        let around = among[start..].iter().chain(&among[..start]);
        let busy = |member: &ClientMember| {
            let in_flight = self.known.get(&member.name).map_or(0, |known| known.in_flight);
            u64::from(in_flight) + 1
        };
        let less = |left: &&&ClientMember, right: &&&ClientMember| {
            let (left_load, right_load) = (busy(left), busy(right));
            (left_load * u64::from(right.weight)).cmp(&(right_load * u64::from(left.weight)))
        };
        around.min_by(less).expect("there is somebody to choose")
    }

    /// A call to that member begins.
    pub fn begin(&mut self, name: &MemberName) {
        self.known.entry(name.clone()).or_default().in_flight += 1;
    }

    /// A call that had begun is over, however it ended.
    pub fn end(&mut self, name: &MemberName) {
        if let Some(known) = self.known.get_mut(name) {
            known.in_flight = known.in_flight.saturating_sub(1);
        }
    }

    pub fn answered(&mut self, name: &MemberName) {
        if let Some(known) = self.known.get_mut(name) {
            known.evidence.succeeded();
        }
    }

    /// Whether the member is left out from now on.
    pub fn failed(&mut self, name: &MemberName, now_ms: u64, how: Failing, chance: &mut Chance) -> bool {
        self.known.entry(name.clone()).or_default().evidence.failed(now_ms, how, chance)
    }

    /// Whether calls that wait for that member's answer shall be given up.
    pub fn is_lost(&self, name: &MemberName) -> bool {
        let member = self.view.members.iter().find(|member| member.name == *name);
        member.is_some_and(|member| member.state == ClientState::Lost)
    }
}

/// One drawn by weight.
fn draw<'m>(among: &[&'m ClientMember], chance: &mut Chance) -> &'m ClientMember {
    let sum = among.iter().map(|member| u64::from(member.weight)).sum();
    let mut left = chance.below(sum);
    for member in among {
        match left.checked_sub(u64::from(member.weight)) {
            Some(less) => left = less,
            None => return member,
        }
    }
    among[among.len() - 1]
}

#[cfg(test)]
mod tests;

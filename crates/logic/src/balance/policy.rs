//! How a request without affinity finds its member: in turn, by chance, where least is under way, where it is quickest,
//! or by hash.
//!
//! Each policy chooses among the members that are fit; none of them counts the request (see `Balancer::give`).

use super::{Ask, Balancer, How, Member, Part, Scope, Tried};
use crate::limits::{DRAWS_MAX, EXPLORE_PERCENT};
use crate::real::ln;
use crate::seed::Chance;
use crate::time::Time;
use wire::view::Policy;

/// A number for a member that every router and every thread agrees on.
pub fn name_hash(cluster: &str, member: &str) -> u64 {
    let bytes = cluster.bytes().chain([0]).chain(member.bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    });
    Chance::new(hash).bits()
}

/// How much a member wants a key (weighted rendezvous hashing): the highest bid wins, in proportion to the weights,
/// and a member that comes or goes moves only its own keys.
fn bid(key: u64, member: &Member) -> f64 {
    let lot = Chance::new(key ^ member.hash).bits() >> 11;
    // Between 0 and 1 and neither of them: 53 bits and a half.
    let fraction = (lot as f64 + 0.5) / (1_u64 << 53) as f64;
    -(member.weight as f64) / ln(fraction)
}

impl Balancer {
    /// A member for a request without affinity, and how it was found. None where nobody is fit.
    pub(crate) fn by_policy(&mut self, part: Part, ask: &Ask<'_>) -> Option<(u16, How)> {
        let mut scope = self.scope(part, ask.tried, ask.now);
        if ask.now < self.rises_until {
            // Whoever has come back by so much takes this one.
            scope.share_min = self.chance.below(1000);
            if !self.fit(scope).any(|_| true) {
                scope.share_min = 0;
            }
        }
        match self.policy {
            Policy::RoundRobin => self.next_in_turn(&scope, |_| true).map(|index| (index, How::InTurn)),
            Policy::Random => self.any(&scope).map(|index| (index, How::AtRandom)),
            Policy::LeastOutstanding => {
                self.least_outstanding(&scope).map(|index| (index, How::LeastOutstanding))
            }
            Policy::Auto => self.quickest(&scope).map(|index| (index, How::Quickest)),
            Policy::Hash => self.by_hash(ask.key, &scope).map(|index| (index, How::ByHash)),
        }
    }

    fn is_fit(&self, index: u16, member: &Member, scope: &Scope<'_>) -> bool {
        self.has_turns(member, scope) && !scope.tried.contains(index)
    }

    /// Takes part in this round of the rotation.
    fn has_turns(&self, member: &Member, scope: &Scope<'_>) -> bool {
        let has_risen = || scope.share_min == 0 || self.share(member, scope.now) >= scope.share_min;
        member.takes_new(scope) && has_risen()
    }

    fn fit<'s>(&'s self, scope: Scope<'s>) -> impl Iterator<Item = (u16, &'s Member)> {
        let members = (0_u16..).zip(&self.members);
        members.filter(move |(index, member)| self.is_fit(*index, member, &scope))
    }

    /// The members that may get a request without affinity, in the order of the file.
    pub fn candidates(&mut self, part: Part, now: Time) -> Vec<u16> {
        let tried = Tried::default();
        let scope = self.scope(part, &tried, now);
        self.fit(scope).map(|(index, _)| index).collect()
    }

    /// Weighted round robin: the next in file order with something left of its weight, of those that are `eligible`.
    fn next_in_turn(&mut self, scope: &Scope<'_>, eligible: impl Fn(&Member) -> bool) -> Option<u16> {
        let next = |balancer: &Self, needs_weight: bool| {
            balancer.next_where(|index, member| {
                (!needs_weight || member.current > 0)
                    && balancer.is_fit(index, member, scope)
                    && eligible(member)
            })
        };
        if let Some(index) = next(self, true) {
            return Some(index);
        }
        // A retry may find weight only where it has already been. It borrows from the next cycle, as affinity
        // does; a new cycle now would give the others' share away.
        let is_spent = !self.members.iter().any(|member| member.current > 0 && self.has_turns(member, scope));
        if is_spent {
            self.readjust(scope);
            if let Some(index) = next(self, true) {
                return Some(index);
            }
        }
        next(self, false)
    }

    fn next_where(&self, is_wanted: impl Fn(u16, &Member) -> bool) -> Option<u16> {
        let count = self.members.len();
        let from_cursor = (self.cursor..count).chain(0..self.cursor.min(count));
        from_cursor.map(|index| index as u16).find(|index| is_wanted(*index, &self.members[*index as usize]))
    }

    /// Begins a new cycle: adds each weight as many times as it takes until everyone has something left.
    /// Members that take nothing now are left alone: they must not save up for their return.
    fn readjust(&mut self, scope: &Scope<'_>) {
        let fit = self.members.iter().filter(|member| self.has_turns(member, scope));
        // The smallest k with current + k * weight > 0, for current <= 0.
        let times = fit.map(|member| -member.current / member.weight + 1).max().unwrap_or(0);
        for index in 0..self.members.len() {
            if self.has_turns(&self.members[index], scope) {
                let member = &mut self.members[index];
                member.current += times * member.weight;
                assert!(member.current > 0, "readjusting must leave something of every weight");
            }
        }
    }

    /// Any member that takes new requests, each equally likely.
    fn any(&mut self, scope: &Scope<'_>) -> Option<u16> {
        let count = self.fit(*scope).count();
        if count == 0 {
            return None;
        }
        let lot = self.chance.below(count as u32) as usize;
        self.fit(*scope).nth(lot).map(|(index, _)| index)
    }

    /// Fewest requests under way for its weight; of equals the next in turn.
    fn least_outstanding(&mut self, scope: &Scope<'_>) -> Option<u16> {
        // in flight / weight, compared without division: a/b < c/d is a*d < c*b.
        let load = |member: &Member| (u64::from(member.load.in_flight), member.weight as u64);
        let is_less = |left: (u64, u64), right: (u64, u64)| left.0 * right.1 < right.0 * left.1;
        let loads = self.fit(*scope).map(|(_, member)| load(member));
        let least = loads.reduce(|least, next| if is_less(next, least) { next } else { least })?;
        self.next_in_turn(scope, |member| !is_less(least, load(member)))
    }

    /// The better of two drawn by weight. Where even that one is worse than usual, two more are drawn: with few
    /// requests under way at each, one that queues behind another is what makes the slowest percent slow.
    fn quickest(&mut self, scope: &Scope<'_>) -> Option<u16> {
        if self.chance.percent(EXPLORE_PERCENT) {
            // In turn and whatever they have done: so each is heard from, and one that has recovered is noticed.
            return self.next_fit_from_cursor(scope);
        }
        let mut best: Option<(u16, f64)> = None;
        let count = self.members.len().max(1) as f64;
        let usual = self.typical.latency_us() * (f64::from(self.typical.in_flight) / count + 1.0);
        for _ in 0..DRAWS_MAX {
            let first = self.draw(scope)?;
            let second = self.draw(scope)?;
            let better = self.better(first, second, scope.now);
            let cost = self.cost(better, scope.now);
            if best.is_none_or(|(_, known)| cost < known) {
                best = Some((better, cost));
            }
            if cost <= usual {
                return Some(better);
            }
        }
        best.map(|(index, _)| index)
    }

    fn next_fit_from_cursor(&mut self, scope: &Scope<'_>) -> Option<u16> {
        let index = self.next_where(|index, member| self.is_fit(index, member, scope))?;
        self.cursor = (index as usize + 1) % self.members.len();
        Some(index)
    }

    /// A fit member, each as likely as its weight says.
    fn draw(&mut self, scope: &Scope<'_>) -> Option<u16> {
        let sum = *self.weight_sums.last()?;
        if sum == 0 {
            return None;
        }
        // Most members are fit at most times; where few are, they are counted out.
        for _ in 0..4 {
            let lot = self.chance.bits() % sum;
            let index = self.weight_sums.partition_point(|up_to| *up_to <= lot);
            if self.is_fit(index as u16, &self.members[index], scope) {
                return Some(index as u16);
            }
        }
        let sum: u64 = self.fit(*scope).map(|(_, member)| member.weight as u64).sum();
        if sum == 0 {
            return None;
        }
        let mut lot = self.chance.bits() % sum;
        for (index, member) in self.fit(*scope) {
            let weight = member.weight as u64;
            if lot < weight {
                return Some(index);
            }
            lot -= weight;
        }
        None
    }

    /// Latencies that differ by less than half are equal: the noise of measuring must not rule.
    fn better(&self, first: u16, second: u16, now: Time) -> u16 {
        let members = [&self.members[first as usize], &self.members[second as usize]];
        let latency = members.map(|member| member.load.latency_us(&self.typical, now));
        let is_alike = latency[0] < latency[1] * 1.5 && latency[1] < latency[0] * 1.5;
        let busy = members.map(|member| f64::from(member.load.in_flight) / member.weight.max(1) as f64);
        let is_second_better =
            if is_alike { busy[1] < busy[0] } else { self.cost(second, now) < self.cost(first, now) };
        if is_second_better { second } else { first }
    }

    /// What one more request there would be expected to take.
    fn cost(&self, index: u16, now: Time) -> f64 {
        let member = &self.members[index as usize];
        let mean_weight = self.weight_sums.last().copied().unwrap_or(1) as f64 / self.members.len() as f64;
        let queue = f64::from(member.load.in_flight) * mean_weight / (member.weight.max(1) as f64);
        member.load.latency_us(&self.typical, now) * (queue + 1.0)
    }

    /// The highest bidder for the key that is not over its share of what is under way by a quarter.
    fn by_hash(&self, key: u64, scope: &Scope<'_>) -> Option<u16> {
        let weights: i64 = self.fit(*scope).map(|(_, member)| member.weight).sum();
        let all = f64::from(self.typical.in_flight + 1);
        let is_bounded = |member: &Member| {
            let share = all * member.weight as f64 / weights as f64;
            f64::from(member.load.in_flight) < (share * 1.25).ceil()
        };
        let bids = || self.fit(*scope).map(|(index, member)| (index, bid(key, member), member));
        let bounded = bids().filter(|(_, _, member)| is_bounded(member));
        let best = bounded.max_by(|left, right| left.1.total_cmp(&right.1));
        let best = best.or_else(|| bids().max_by(|left, right| left.1.total_cmp(&right.1)));
        best.map(|(index, _, _)| index)
    }

    /// The new home of a session whose member is gone, with its bid, so that clusters can be compared.
    pub(crate) fn rehome(&mut self, session: u64, tried: &Tried, now: Time) -> Option<(f64, u16)> {
        let scope = self.scope(Part::All, tried, now);
        let raw = |index: u16, member: &Member| {
            bid(session, member) * f64::from(self.names[index as usize].weight) / member.weight.max(1) as f64
        };
        let bids = self.fit(scope).map(|(index, member)| (raw(index, member), index));
        bids.max_by(|left, right| left.0.total_cmp(&right.0))
    }

    /// Says how many requests are under way at a member.
    pub fn set_in_flight(&mut self, index: u16, in_flight: u32) {
        if let Some(member) = self.members.get_mut(index as usize) {
            let all = self.typical.in_flight + in_flight;
            self.typical.in_flight = all.saturating_sub(member.load.in_flight);
            member.load.in_flight = in_flight;
        }
    }
}

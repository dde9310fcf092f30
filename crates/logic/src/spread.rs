//! Decides over which clusters of a route a request without affinity goes, and finds its member there.
//!
//! A route has levels, a level has groups, a group is a cluster or the part of one that lies in the router's zone or
//! outside of it. Whatever the spread, a session's own member is looked for in all clusters first.
//! Promises: groups of a level share requests in proportion to the weight that can be used of each, exactly over a
//! cycle; a level before the last gives nothing away while 1/1.4 of it can be used (spill, zone-first), or while any
//! of it can be (strict-backup); an orphaned session finds the same member in every router and thread that sees the
//! same members. Not here: who of a cluster's members it is (see `balance`).

mod explain;

pub use explain::{Explained, explain, read_session};

use crate::balance::{Ask, Balancer, Choice, How, Own, Part, Standing, Tried, WhyNone};
use crate::time::Time;
use std::cell::RefCell;
use wire::settings::{RouteSettings, Spread};

/// What a level can carry beyond what can be used of it, in tenths: 1.4 (over-provisioning, as Envoy has it).
/// Members are seldom sized so tightly that one of three may not be missing.
const OVER_PROVISIONING_TENTHS: u64 = 14;
/// The whole of the requests, as levels share it.
const WHOLE: u64 = 10_000;

/// The clusters of a route as their owner keeps them; places count all clusters of all levels.
pub trait Clusters {
    /// None while its view is not known.
    fn balancer(&self, cluster: usize) -> Option<&RefCell<Balancer>>;
    /// The first cluster that reads sessions in the same way, perhaps itself.
    fn reads_as(&self, cluster: usize) -> usize;
    /// Members that the request has tried.
    fn tried(&self, cluster: usize) -> Tried;
    /// Calls `look` with each clone id that the request has in the way of that cluster, until it says true.
    fn each_clone_id(&self, cluster: usize, look: &mut dyn FnMut(&str) -> bool);
    /// What a choice by hash goes by in that cluster.
    fn key(&self, cluster: usize) -> u64;
    /// Whether its members are the gateways of another cell.
    fn is_elsewhere(&self, cluster: usize) -> bool;
}

/// Chooses among the clusters of one route for one router thread.
#[derive(Debug, Clone)]
pub struct Spreader {
    spread: Spread,
    clusters: usize,
    levels: Vec<Level>,
}

#[derive(Debug, Clone, Default)]
struct Level {
    groups: Vec<Group>,
    /// What is owed to it, in the manner of smooth weighted round robin.
    owed: i64,
    share: u64,
}

#[derive(Debug, Clone)]
struct Group {
    cluster: usize,
    part: Part,
    standing: Standing,
    owed: i64,
}

impl Spreader {
    pub fn new(route: &RouteSettings) -> Self {
        let clusters = route.clusters().count();
        let group = |part| move |cluster| Group { cluster, part, standing: Standing::default(), owed: 0 };
        let level = |groups: Vec<Group>| Level { groups, ..Level::default() };
        let levels = match route.spread {
            Spread::Flat => vec![level((0..clusters).map(group(Part::All)).collect())],
            Spread::ZoneFirst => vec![
                level((0..clusters).map(group(Part::Near)).collect()),
                level((0..clusters).map(group(Part::Far)).collect()),
            ],
            Spread::Spill | Spread::StrictBackup => {
                let mut first = 0;
                let of = |names: &Vec<_>| {
                    first += names.len();
                    level((first - names.len()..first).map(group(Part::All)).collect())
                };
                route.levels.iter().map(of).collect()
            }
        };
        Self { spread: route.spread, clusters, levels }
    }

    /// Chooses a cluster and its member, and counts the request as given to it. `session` is the number of the
    /// request's session, where it has one.
    pub fn choose(&mut self, clusters: &impl Clusters, session: Option<u64>, now: Time) -> (usize, Choice) {
        let own = self.find_own(clusters, now);
        if own.fate.names_member()
            && let Some(owner) = clusters.balancer(own.cluster)
            && let Some(decided) = owner.borrow_mut().decided_by_affinity(&own, now)
        {
            return decided;
        }
        let found = match session.filter(|_| own.is_orphan()) {
            Some(session) => self
                .rehome(clusters, session, now)
                .map(|(cluster, index)| (cluster, index, How::Rehomed))
                .or_else(|| self.by_policy(clusters, now)),
            None => self.by_policy(clusters, now),
        };
        let give = |cluster: usize, index, how| {
            let balancer = clusters.balancer(cluster).expect("what was found has a view");
            (cluster, balancer.borrow_mut().give(index, how, own.fate, now))
        };
        if let Some((cluster, index, how)) = found {
            return give(cluster, index, how);
        }
        if let Some((cluster, index)) = self.first(clusters, |balancer, tried| balancer.full(tried)) {
            return (cluster, Choice::Full { index, is_own: false });
        }
        if let Some((cluster, index)) = self.first(clusters, |balancer, tried| balancer.backup(tried, now)) {
            return give(cluster, index, How::Backup);
        }
        let left_out = || self.first(clusters, Balancer::left_out);
        let unknown = || self.first(clusters, Balancer::unknown);
        match own.resort.or_else(left_out).or_else(unknown) {
            Some((cluster, index)) => {
                let balancer = clusters.balancer(cluster).expect("what was found has a view");
                (cluster, balancer.borrow_mut().give_as_last_resort(index, own.fate, now))
            }
            None => (0, Choice::None { why: self.why_none(clusters) }),
        }
    }

    /// The session's own member, in whichever cluster. Ids in the order of the session, for each in all clusters. Those of
    /// other cells come first: their cookie is our own and says where the conversation is, while an application's id may
    /// name a member here and another one there.
    fn find_own(&self, clusters: &impl Clusters, now: Time) -> Own {
        let mut own = Own::default();
        let elsewhere = (0..self.clusters).filter(|cluster| clusters.is_elsewhere(*cluster));
        let here = (0..self.clusters).filter(|cluster| !clusters.is_elsewhere(*cluster));
        for reader in elsewhere.chain(here).filter(|cluster| clusters.reads_as(*cluster) == *cluster) {
            let mut is_found = false;
            clusters.each_clone_id(reader, &mut |clone_id| {
                for cluster in (reader..self.clusters).filter(|other| clusters.reads_as(*other) == reader) {
                    let Some(balancer) = clusters.balancer(cluster) else { continue };
                    let tried = clusters.tried(cluster);
                    is_found |= own.look(cluster, &balancer.borrow(), clone_id, &Ask::new(&tried, now));
                    if is_found {
                        break;
                    }
                }
                is_found
            });
            if is_found {
                break;
            }
        }
        own
    }

    /// The new home of an orphaned session: in the first level of which anything can be used, whatever the zone, so
    /// that all routers agree.
    fn rehome(&mut self, clusters: &impl Clusters, session: u64, now: Time) -> Option<(usize, u16)> {
        for level in &self.levels {
            let mut best: Option<(f64, usize, u16)> = None;
            for group in &level.groups {
                let Some(balancer) = clusters.balancer(group.cluster) else { continue };
                let tried = clusters.tried(group.cluster);
                let mut balancer = balancer.borrow_mut();
                if balancer.goes_by_policy_alone() {
                    return None;
                }
                if let Some((bid, index)) = balancer.rehome(session, &tried, now)
                    && best.is_none_or(|(highest, _, _)| bid > highest)
                {
                    best = Some((bid, group.cluster, index));
                }
            }
            if let Some((_, cluster, index)) = best {
                return Some((cluster, index));
            }
        }
        None
    }

    fn by_policy(&mut self, clusters: &impl Clusters, now: Time) -> Option<(usize, u16, How)> {
        self.weigh(clusters, now);
        let level = smooth(self.levels.iter_mut().map(|level| (level.share, &mut level.owed)))?;
        let groups = &mut self.levels[level].groups;
        let place = smooth(groups.iter_mut().map(|group| (group.standing.usable, &mut group.owed)))?;
        let group = &groups[place];
        let tried = clusters.tried(group.cluster);
        let ask = Ask { key: clusters.key(group.cluster), ..Ask::new(&tried, now) };
        let mut balancer = clusters.balancer(group.cluster)?.borrow_mut();
        let (index, how) = balancer.by_policy(group.part, &ask)?;
        Some((group.cluster, index, how))
    }

    /// Finds out how much of each group can be used, and what each level gets.
    fn weigh(&mut self, clusters: &impl Clusters, now: Time) {
        let mut left = WHOLE;
        let spread = self.spread;
        for level in &mut self.levels {
            let mut sum = Standing::default();
            for group in &mut level.groups {
                group.standing = match clusters.balancer(group.cluster) {
                    Some(balancer) => {
                        let tried = clusters.tried(group.cluster);
                        balancer.borrow_mut().standing(group.part, &tried, now)
                    }
                    None => Standing::default(),
                };
                sum.usable += group.standing.usable;
                sum.whole += group.standing.whole;
            }
            level.share = left.min(carries(spread, sum));
            left -= level.share;
        }
    }

    /// The first member that `find` finds, clusters in the order of the levels.
    fn first(
        &self,
        clusters: &impl Clusters,
        find: impl Fn(&Balancer, &Tried) -> Option<u16>,
    ) -> Option<(usize, u16)> {
        (0..self.clusters).find_map(|cluster| {
            let balancer = clusters.balancer(cluster)?.borrow();
            Some((cluster, find(&balancer, &clusters.tried(cluster))?))
        })
    }

    fn why_none(&self, clusters: &impl Clusters) -> WhyNone {
        let of = |cluster| Some(clusters.balancer(cluster)?.borrow().why_none(&clusters.tried(cluster)));
        (0..self.clusters).filter_map(of).reduce(WhyNone::with).unwrap_or(WhyNone::NoMembers)
    }
}

/// What a level of which so much can be used takes at most.
fn carries(spread: Spread, standing: Standing) -> u64 {
    let Standing { usable, whole } = standing;
    if usable == 0 {
        return 0;
    }
    match spread {
        Spread::Flat | Spread::StrictBackup => WHOLE,
        Spread::Spill | Spread::ZoneFirst => {
            WHOLE.min((usable * WHOLE * OVER_PROVISIONING_TENTHS).div_ceil(whole * 10))
        }
    }
}

/// Smooth weighted round robin: each takes part in proportion to its weight, spread evenly; exact over a cycle.
fn smooth<'w>(parts: impl Iterator<Item = (u64, &'w mut i64)>) -> Option<usize> {
    let mut sum = 0;
    let mut chosen: Option<(usize, &mut i64)> = None;
    for (place, (weight, owed)) in parts.enumerate() {
        if weight == 0 {
            // Whoever can take nothing must not save up for later.
            *owed = 0;
            continue;
        }
        sum += weight as i64;
        *owed += weight as i64;
        if chosen.as_ref().is_none_or(|(_, most)| **most < *owed) {
            chosen = Some((place, owed));
        }
    }
    let (place, owed) = chosen?;
    *owed -= sum;
    Some(place)
}

#[cfg(test)]
mod tests;

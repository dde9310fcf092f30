//! Random histories of a route over several clusters: who gets a request, whatever happens to the members.
//!
//! Written from the promises of `logic::spread` and `logic::balance`, not from their code. `MUSTER_SEED=n` runs that seed
//! alone. Not here: the rest of the cell (see `random`).

use logic::balance::{AffinityFate, Balancer, Choice, Tried};
use logic::seed::Chance;
use logic::spread::{Clusters, Spreader};
use logic::time::Time;
use std::cell::RefCell;
use wire::id::Epoch;
use wire::settings::{RouteSettings, Spread};
use wire::view::{Affinity, Health, MemberView, Policy, RunState, View};

const STEPS: u32 = 2_000;
const SEEDS: u64 = 128;

struct World {
    chance: Chance,
    now: Time,
    spread: Spread,
    /// For each cluster the level that it is of.
    level_of: Vec<usize>,
    views: Vec<View>,
    balancers: Vec<RefCell<Balancer>>,
    spreader: Spreader,
    tally: Tally,
}

/// Of what the promises speak: each has to happen.
#[derive(Default)]
struct Tally {
    kept: u64,
    failed_over: u64,
    ejected: u64,
    second_level: u64,
    refused: u64,
}

/// A request that may name a session's member.
struct Asked<'a> {
    balancers: &'a [RefCell<Balancer>],
    clone_id: Option<String>,
}

impl Clusters for Asked<'_> {
    fn balancer(&self, cluster: usize) -> Option<&RefCell<Balancer>> {
        self.balancers.get(cluster)
    }

    fn reads_as(&self, _cluster: usize) -> usize {
        0
    }

    fn tried(&self, _cluster: usize) -> Tried {
        Tried::default()
    }

    fn each_clone_id(&self, _cluster: usize, look: &mut dyn FnMut(&str) -> bool) {
        self.clone_id.as_deref().map(look);
    }

    fn is_elsewhere(&self, _cluster: usize) -> bool {
        false
    }

    fn key(&self, cluster: usize) -> u64 {
        cluster as u64
    }
}

fn new_view(cluster: usize, weights: &[u32], policy: Policy) -> View {
    let members = weights.iter().enumerate().map(|(index, weight)| MemberView {
        name: format!("m{index}").as_str().into(),
        clone_id: format!("c{cluster}m{index}"),
        address: Some(([127, 0, 0, 1], 1).into()),
        state: RunState::Up,
        weight: *weight,
        ..MemberView::default()
    });
    View {
        cluster: format!("k{cluster}").as_str().into(),
        epoch: Epoch { generation: 1, number: 1 },
        policy,
        affinity: Some(Affinity { separator: ':', ..Affinity::default() }),
        members: members.collect(),
        health: Health { eject_after: 3, eject_ms: 400, eject_percent_max: 33, ..Health::default() },
        ..View::default()
    }
}

fn route(spread: Spread, level_of: &[usize]) -> RouteSettings {
    let levels = level_of.iter().max().map_or(0, |last| last + 1);
    let of = |level| {
        let clusters = (0..level_of.len()).filter(move |cluster| level_of[*cluster] == level);
        clusters.map(|cluster| format!("k{cluster}").as_str().into()).collect()
    };
    RouteSettings { spread, levels: (0..levels).map(of).collect(), ..RouteSettings::default() }
}

impl World {
    fn new(seed: u64) -> Self {
        let mut chance = Chance::new(seed);
        let policies =
            [Policy::RoundRobin, Policy::Random, Policy::LeastOutstanding, Policy::Auto, Policy::Hash];
        let policy = policies[chance.below(5) as usize];
        let spread = [Spread::Flat, Spread::Spill, Spread::StrictBackup][chance.below(3) as usize];
        let level_of = if spread == Spread::Flat { vec![0, 0, 0] } else { vec![0, 1, 1] };
        let mut view = |cluster| {
            let weights: Vec<u32> = (0..2 + chance.below(5)).map(|_| 1 + chance.below(4)).collect();
            new_view(cluster, &weights, policy)
        };
        let views: Vec<View> = (0..3).map(&mut view).collect();
        let balancers = views.iter().map(|view| RefCell::new(Balancer::new(view, seed, "")));
        Self {
            now: Time(1_000_000),
            spread,
            balancers: balancers.collect(),
            spreader: Spreader::new(&route(spread, &level_of)),
            level_of,
            views,
            chance,
            tally: Tally::default(),
        }
    }

    fn step(&mut self) {
        self.now = self.now + u64::from(self.chance.below(20));
        if self.chance.percent(3) {
            self.change_state();
        } else {
            self.request();
        }
    }

    fn change_state(&mut self) {
        use RunState::{Down, Draining, Failed, Starting, Up};
        let cluster = self.chance.below(3) as usize;
        let view = &mut self.views[cluster];
        let member = self.chance.below(view.members.len() as u32) as usize;
        view.members[member].state =
            [Up, Up, Up, Draining, Down, Failed, Starting][self.chance.below(7) as usize];
        view.epoch.number += 1;
        assert!(self.balancers[cluster].get_mut().apply(view, self.now), "a newer view is taken");
    }

    /// This router has nothing against it.
    fn is_in(&self, cluster: usize, index: u16) -> bool {
        let balancer = self.balancers[cluster].borrow();
        !balancer.is_marked(index, self.now) && balancer.ejected_for_ms(index, self.now) == 0
    }

    fn has_usable(&self, level: usize) -> bool {
        (0..3).filter(|cluster| self.level_of[*cluster] == level).any(|cluster| {
            let members = (0_u16..).zip(&self.views[cluster].members);
            members
                .into_iter()
                .any(|(index, member)| member.state == RunState::Up && self.is_in(cluster, index))
        })
    }

    fn request(&mut self) {
        let named = self.chance.percent(40).then(|| {
            let cluster = self.chance.below(3) as usize;
            (cluster, self.chance.below(self.views[cluster].members.len() as u32) as u16)
        });
        let own = named.filter(|(cluster, index)| {
            let state = self.views[*cluster].members[usize::from(*index)].state;
            matches!(state, RunState::Up | RunState::Draining) && self.is_in(*cluster, *index)
        });
        let asked = Asked {
            balancers: &self.balancers,
            clone_id: named.map(|(cluster, index)| format!("c{cluster}m{index}")),
        };
        let session = named.map(|_| self.chance.bits());
        // Before the choice: whoever is let through to try a member keeps the others away from it.
        let has_usable = [self.has_usable(0), self.has_usable(1)];
        let is_in: Vec<Vec<bool>> = (0..3)
            .map(|cluster| {
                let count = self.views[cluster].members.len() as u16;
                (0..count).map(|index| self.is_in(cluster, index)).collect()
            })
            .collect();
        let (cluster, choice) = self.spreader.choose(&asked, session, self.now);
        self.balancers[cluster].borrow().check();
        let Choice::Member { index, why } = choice else {
            assert!(own.is_none() && !has_usable.contains(&true), "refused: {choice:?}");
            self.tally.refused += 1;
            return;
        };
        let state = self.views[cluster].members[usize::from(index)].state;
        if let Some(own) = own {
            assert_eq!((cluster, index), own, "a session was taken away from its member");
            self.tally.kept += 1;
        } else {
            assert!(state == RunState::Up || named == Some((cluster, index)), "given to one that is {state}");
            assert!(matches!(state, RunState::Up | RunState::Draining), "given to one that is {state}");
            assert!(!matches!(why.affinity, AffinityFate::Honoured { .. }), "{why:?}");
            assert!(
                !has_usable.contains(&true) || is_in[cluster][usize::from(index)],
                "given to one that is left out"
            );
            self.tally.failed_over += u64::from(why.affinity.is_failover());
            let level = self.level_of[cluster];
            self.tally.second_level += level as u64;
            if self.spread == Spread::StrictBackup && level > 0 {
                assert!(!has_usable[0], "the backup level was used while the first could be");
            }
        }
        self.answer(cluster, index);
    }

    /// Two members of each cluster fail most of the time.
    fn answer(&mut self, cluster: usize, index: u16) {
        let balancer = self.balancers[cluster].get_mut();
        if index >= 2 || self.chance.percent(20) {
            balancer.answered(index);
            balancer.measured(index, 500 + u64::from(self.chance.below(500)), self.now);
            return;
        }
        if self.chance.percent(10) {
            balancer.failed(index, self.now);
        }
        if balancer.measured_failure(index, 100, true, self.now).is_some() {
            self.tally.ejected += 1;
            let up = |index: &u16| self.views[cluster].members[usize::from(*index)].state == RunState::Up;
            let all = 0..self.views[cluster].members.len() as u16;
            let count = all.clone().filter(up).count();
            let out = all.filter(up).filter(|index| balancer.ejected_for_ms(*index, self.now) > 0).count();
            assert!(out <= (count / 3).max(1), "{out} of {count} are left out");
        }
    }
}

#[test]
fn members_of_several_clusters_come_and_go_and_every_promise_holds() {
    let only = std::env::var("MUSTER_SEED").ok().map(|text| text.parse().expect("MUSTER_SEED is a number"));
    let seeds = only.map_or(0..SEEDS, |seed: u64| seed..seed + 1);
    let mut sums = [0; 5];
    for seed in seeds {
        let mut world = World::new(seed);
        // Told if a promise breaks.
        println!("seed {seed}");
        (0..STEPS).for_each(|_| world.step());
        let Tally { kept, failed_over, ejected, second_level, refused } = world.tally;
        let tally = [kept, failed_over, ejected, second_level, refused];
        sums.iter_mut().zip(tally).for_each(|(sum, count)| *sum += count);
    }
    assert!(only.is_some() || sums[..4].iter().all(|sum| *sum > SEEDS), "too few of one kind: {sums:?}");
}

/// The requests of no session that each member gets, of so many.
fn shares(
    views: &[View],
    spread: Spread,
    level_of: &[usize],
    count: u64,
    slow: Option<u16>,
) -> Vec<Vec<u64>> {
    let balancers: Vec<_> = views.iter().map(|view| RefCell::new(Balancer::new(view, 3, ""))).collect();
    let mut spreader = Spreader::new(&route(spread, level_of));
    let mut given: Vec<Vec<u64>> = views.iter().map(|view| vec![0; view.members.len()]).collect();
    for number in 0..count {
        let asked = Asked { balancers: &balancers, clone_id: None };
        let now = Time(1_000 + number);
        let (cluster, Choice::Member { index, .. }) = spreader.choose(&asked, None, now) else {
            panic!("somebody can be used");
        };
        given[cluster][usize::from(index)] += 1;
        let latency_us = if slow == Some(index) { 50_000 } else { 1_000 };
        balancers[cluster].borrow_mut().measured(index, latency_us, now);
    }
    given
}

#[test]
fn nobody_starves_however_slow_it_was() {
    for seed in 0..8 {
        let mut chance = Chance::new(seed);
        let weights: Vec<u32> = (0..3 + chance.below(6)).map(|_| 1 + chance.below(4)).collect();
        let view = |cluster| new_view(cluster, &weights, Policy::Auto);
        let given = shares(&[view(0), view(1)], Spread::Flat, &[0, 0], 20_000, Some(0));
        let least = given.iter().flatten().min().expect("there are members");
        assert!(*least >= 4, "seed {seed}: {given:?}");
        assert!(
            given.iter().all(|given| given[0] * 2 < given[1]),
            "seed {seed}: the slow get less, {given:?}"
        );
    }
}

#[test]
fn levels_get_what_the_rule_of_1_4_says() {
    for seed in 0..16 {
        let mut chance = Chance::new(seed);
        let mut views: Vec<View> = (0..3)
            .map(|cluster| {
                let weights: Vec<u32> = (0..2 + chance.below(6)).map(|_| 1 + chance.below(5)).collect();
                new_view(cluster, &weights, Policy::RoundRobin)
            })
            .collect();
        for member in views.iter_mut().take(2).flat_map(|view| &mut view.members) {
            if chance.percent(50) {
                member.state = RunState::Down;
            }
        }
        let given = shares(&views, Spread::Spill, &[0, 1, 2], 10_000, None);
        let mut left = 10_000.0_f64;
        // The last level is whole, so that nothing remains.
        for (view, given) in views.iter().zip(&given) {
            let weight = |is_counted: fn(&&MemberView) -> bool| {
                f64::from(view.members.iter().filter(is_counted).map(|member| member.weight).sum::<u32>())
            };
            let usable = weight(|member| member.state == RunState::Up);
            let expected = left.min(10_000.0 * 1.4 * usable / weight(|_| true));
            let got = given.iter().sum::<u64>() as f64;
            assert!((got - expected).abs() <= 3.0, "seed {seed}: {got} instead of {expected}");
            left -= expected;
        }
    }
}

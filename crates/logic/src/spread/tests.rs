//! Shares of clusters and levels.

use super::*;
use wire::view::{MemberView, Policy, RunState, View};

#[test]
fn clusters_share_in_proportion_exactly_over_a_cycle() {
    let mut owed = [0, 0, 0];
    let mut given = [0; 3];
    for _ in 0..70 {
        let parts = [5, 2, 0].into_iter().zip(owed.iter_mut());
        given[smooth(parts).expect("there is weight")] += 1;
    }
    assert_eq!(given, [50, 20, 0]);
}

#[test]
fn a_level_gives_away_only_what_it_cannot_carry() {
    let carries = |spread, usable| carries(spread, Standing { usable, whole: 10 });
    assert_eq!(carries(Spread::Spill, 8), WHOLE);
    assert_eq!(carries(Spread::Spill, 7), 9_800);
    assert_eq!(carries(Spread::Spill, 5), 7_000);
    assert_eq!(carries(Spread::Spill, 0), 0);
    assert_eq!(carries(Spread::StrictBackup, 1), WHOLE);
}

/// Clusters whose requests belong to no session.
struct Plain(Vec<RefCell<Balancer>>);

impl Clusters for Plain {
    fn balancer(&self, cluster: usize) -> Option<&RefCell<Balancer>> {
        self.0.get(cluster)
    }
    fn reads_as(&self, _cluster: usize) -> usize {
        0
    }
    fn tried(&self, _cluster: usize) -> Tried {
        Tried::default()
    }
    fn each_clone_id(&self, _cluster: usize, _look: &mut dyn FnMut(&str) -> bool) {}
    fn is_elsewhere(&self, _cluster: usize) -> bool {
        false
    }

    fn key(&self, _cluster: usize) -> u64 {
        0
    }
}

/// Clusters `0`, `1` and so on with members of these weights; those of `down` are down.
fn plain(weights: &[&[u32]], down: &[(usize, usize)]) -> Plain {
    let clusters = weights.iter().enumerate().map(|(cluster, weights)| {
        let members = weights.iter().enumerate().map(|(index, weight)| MemberView {
            name: format!("m{index}").as_str().into(),
            address: Some(([127, 0, 0, 1], 1).into()),
            state: if down.contains(&(cluster, index)) { RunState::Down } else { RunState::Up },
            weight: *weight,
            ..MemberView::default()
        });
        let (cluster, members) = (cluster.to_string().as_str().into(), members.collect());
        let view = View { cluster, members, policy: Policy::RoundRobin, ..View::default() };
        RefCell::new(Balancer::new(&view, 1, ""))
    });
    Plain(clusters.collect())
}

fn given(clusters: &Plain, spread: Spread, levels: &[&[usize]], count: u32) -> Vec<Vec<u32>> {
    let names = |level: &&[usize]| level.iter().map(|place| place.to_string().as_str().into()).collect();
    let route =
        RouteSettings { spread, levels: levels.iter().map(names).collect(), ..RouteSettings::default() };
    let mut spreader = Spreader::new(&route);
    let mut given = vec![vec![0; 8]; clusters.0.len()];
    for _ in 0..count {
        match spreader.choose(clusters, None, Time(0)) {
            (cluster, Choice::Member { index, .. }) => given[cluster][usize::from(index)] += 1,
            other => panic!("{other:?}"),
        }
    }
    given
}

#[test]
fn flat_gives_each_member_exactly_its_weight_whichever_cluster_it_is_of() {
    let clusters = plain(&[&[3, 1], &[2, 2, 4], &[5]], &[(1, 1)]);
    let given = given(&clusters, Spread::Flat, &[&[0, 1, 2]], 150);
    assert_eq!(given[0][..2], [30, 10]);
    assert_eq!(given[1][..3], [20, 0, 40]);
    assert_eq!(given[2][..1], [50]);
}

#[test]
fn each_level_takes_1_4_times_what_is_left_of_it_and_the_last_resort_is_shared_by_weight() {
    let weights: &[&[u32]] = &[&[1; 4], &[1; 4], &[1; 4]];
    let sums = |down: &[(usize, usize)]| {
        let given = given(&plain(weights, down), Spread::Spill, &[&[0], &[1], &[2]], 1_000);
        given.iter().map(|given| given.iter().sum::<u32>()).collect::<Vec<_>>()
    };
    assert_eq!(sums(&[]), [1_000, 0, 0]);
    assert_eq!(sums(&[(0, 0)]), [1_000, 0, 0], "3 of 4 carry 105 of a hundred");
    assert_eq!(sums(&[(0, 0), (0, 1)]), [700, 300, 0]);
    assert_eq!(sums(&[(0, 0), (0, 1), (0, 2)]), [350, 650, 0]);
    assert_eq!(sums(&[(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]), [350, 350, 300]);
    let all_but_one: Vec<_> = (0..3).flat_map(|level| (1..4).map(move |index| (level, index))).collect();
    // Together they carry 105 of a hundred.
    assert_eq!(sums(&all_but_one), [350, 350, 300]);
}

#[test]
fn what_all_levels_together_cannot_carry_is_still_carried() {
    let weights: &[&[u32]] = &[&[1; 4], &[1; 8]];
    let down: Vec<_> = (1..4).map(|index| (0, index)).chain((1..8).map(|index| (1, index))).collect();
    let given = given(&plain(weights, &down), Spread::Spill, &[&[0], &[1]], 1_050);
    let sums: Vec<u32> = given.iter().map(|given| given.iter().sum()).collect();
    // 35 and 17.5 of a hundred, and nobody is refused.
    assert_eq!(sums, [700, 350]);
}

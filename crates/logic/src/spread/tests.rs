//! Shares of clusters and levels.

use super::*;

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

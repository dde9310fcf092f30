//! Many cells: what one costs does not depend on how many others there are, nor on how many members they have.

use sim::{SuperCluster, SuperOutcome};

fn run(cells: usize, members: u32) -> SuperOutcome {
    let changes_per_second = f64::from(members) * 2.0 / 3_600.0;
    let (outcome, cost) =
        SuperCluster { cells, members, clusters: 20, seconds: 120, changes_per_second, seed: 1 }.run();
    println!("{cells} cells of {members}: {outcome:?} {cost:?}");
    outcome
}

#[test]
fn what_crosses_between_two_cells_depends_neither_on_their_number_nor_on_their_members() {
    let (few, many, small) = (run(10, 10_000), run(40, 10_000), run(10, 1_000));
    let ratio = many.bytes_per_second_and_pair / few.bytes_per_second_and_pair;
    assert!((0.8..1.2).contains(&ratio), "{ratio}");
    // Ten times the members, ten times the changes.
    let ratio = few.bytes_per_second_and_pair / small.bytes_per_second_and_pair;
    assert!(ratio < 2.0, "{ratio}");
    for (outcome, cells) in [(few, 10), (many, 40), (small, 10)] {
        // All others, but for the one that is gone and the one that sends nonsense.
        assert_eq!(outcome.fresh_least, cells - 3, "{outcome:?}");
        assert_eq!(outcome.quarantined, cells - 1, "{outcome:?}");
        assert!(outcome.error_percent_most < 25.0, "{outcome:?}");
    }
}

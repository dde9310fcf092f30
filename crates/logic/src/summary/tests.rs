//! Stories of one teller and of one board.

use super::step::{coarse, load};
use super::*;
use crate::limits::{CELLS_MAX, SUMMARY_QUARANTINE_MS};
use crate::machine::Machine;
use crate::seed::Chance;
use crate::time::Time;
use wire::id::{CellNumber, ClusterName, Epoch};
use wire::summary::{CellSummary, ClusterSummary, SUMMARY_CLUSTERS_MAX, SUMMARY_MAX_BYTES};

const ME: CellNumber = CellNumber(1);
const OTHER: CellNumber = CellNumber(2);

fn facts(number: u64, ready: u32, load_percent: u32) -> Facts {
    let epoch = Epoch { generation: 1, number };
    Facts { epoch, ready, weight: u64::from(ready) * 4, load_percent, ..Facts::default() }
}

fn cluster(name: &str, facts: Facts) -> TellerInput {
    TellerInput::Cluster { cluster: name.into(), facts }
}

/// Steps a teller and gives what it tells all: the names of clusters with their ready members.
fn told(teller: &mut Teller, now: u64, input: TellerInput) -> Vec<Vec<(String, u32)>> {
    let outputs = teller.step(Time(now), input);
    teller.check();
    let told = outputs.into_iter().filter_map(|output| match output {
        TellerOutput::TellAll(summary) => {
            Some(summary.clusters.into_iter().map(|news| (news.cluster.0, news.ready)).collect())
        }
        TellerOutput::Tell { .. } | TellerOutput::TooMany { .. } => None,
    });
    told.collect()
}

#[test]
fn small_numbers_are_exact_and_large_ones_within_an_eighth() {
    for value in 0..=8 {
        assert_eq!(coarse(value, None), value);
        assert_eq!(coarse(value, Some(value + 1)), value, "small numbers are never blurred");
    }
    for value in 9..100_000 {
        let told = coarse(value, None);
        assert!(told <= value && (value - told) * 8 < value, "{value} is told as {told}");
    }
    assert_eq!(coarse(u64::MAX, None), u64::MAX - (u64::MAX % (1 << 60)));
    assert_eq!(coarse(0, Some(500)), 0, "nothing is never blurred");
}

#[test]
fn a_number_that_wavers_at_an_edge_is_told_once() {
    let mut told = coarse(512, None);
    assert_eq!(told, 512);
    let mut changes = 0;
    for value in [511, 512, 510, 513, 500, 515, 490, 512].repeat(10) {
        let next = coarse(value, Some(told));
        changes += u32::from(next != told);
        told = next;
    }
    assert_eq!((told, changes), (512, 0));
    assert_eq!(coarse(440, Some(512)), 416, "further than half a step");
    assert_eq!((load(49, None), load(52, Some(4)), load(54, Some(4)), load(250, None)), (4, 4, 5, 10));
}

/// Whatever a number does, what is told of it lies within a step and a half of it.
#[test]
fn what_is_told_is_never_far_from_the_truth() {
    let mut chance = Chance::new(1);
    let (mut value, mut told) = (500u64, None);
    for _ in 0..100_000 {
        value = (value + u64::from(chance.below(41))).saturating_sub(20).min(20_000);
        let next = coarse(value, told);
        told = Some(next);
        assert!(next.abs_diff(value) * 4 <= value.max(next), "{value} is told as {next}");
        assert_eq!(next == 0, value == 0, "{value} is told as {next}");
    }
}

#[test]
fn news_are_told_at_once_and_then_once_a_second() {
    let mut teller = Teller::new(ME, Time(0));
    assert_eq!(told(&mut teller, 0, TellerInput::Tick), [[]], "it is there");
    assert!(told(&mut teller, 100, cluster("shop", facts(1, 500, 10))).is_empty());
    assert_eq!(teller.wake_at(), Some(Time(1_000)));
    assert_eq!(told(&mut teller, 1_000, TellerInput::Tick), [[("shop".to_owned(), 480)]]);
    // One member more or less of 500 is no news, whatever the epoch says.
    for number in 0..50 {
        let ready = 500 - (number % 3) as u32;
        assert!(told(&mut teller, 1_001 + number, cluster("shop", facts(2 + number, ready, 12))).is_empty());
    }
    assert_eq!(teller.wake_at(), Some(Time(3_000)), "nothing but to say that it is there");
    assert_eq!(told(&mut teller, 3_000, TellerInput::Tick), [[]]);
    assert_eq!(
        told(&mut teller, 4_500, cluster("shop", facts(60, 0, 0))),
        [[("shop".to_owned(), 0)]],
        "a second is over, so that it is told at once"
    );
    // Back before the next message: nobody hears of it.
    assert!(told(&mut teller, 4_600, cluster("shop", facts(61, 3, 0))).is_empty());
    assert!(told(&mut teller, 4_700, cluster("shop", facts(62, 0, 0))).is_empty());
    assert_eq!(told(&mut teller, 6_500, TellerInput::Tick), [[]]);
}

#[test]
fn a_cell_that_joins_hears_everything_and_a_cluster_that_goes_is_said() {
    let mut teller = Teller::new(ME, Time(0));
    told(&mut teller, 0, cluster("shop", facts(1, 5, 10)));
    told(&mut teller, 1, cluster("bank", facts(1, 7, 10)));
    told(&mut teller, 1_000, TellerInput::Tick);
    let outputs = teller.step(Time(1_100), TellerInput::Joined { cell: OTHER });
    let [TellerOutput::Tell { to: OTHER, summary }] = &outputs[..] else { panic!("{outputs:?}") };
    assert!(summary.is_whole);
    assert_eq!(summary.clusters.iter().map(|news| news.ready).collect::<Vec<_>>(), [7, 5]);
    let outputs = teller.step(Time(2_000), TellerInput::Gone { cluster: "shop".into() });
    let [TellerOutput::TellAll(summary)] = &outputs[..] else { panic!("{outputs:?}") };
    assert_eq!(summary.gone, ["shop".into()]);
    teller.check();
}

#[test]
fn clusters_beyond_the_bound_are_refused_and_that_is_said_once() {
    let mut teller = Teller::new(ME, Time(0));
    let mut refused = Vec::new();
    for number in 0..SUMMARY_CLUSTERS_MAX + 5 {
        let outputs = teller.step(Time(0), cluster(&format!("c{number}"), facts(1, 5, 10)));
        refused.extend(outputs.into_iter().filter(|output| matches!(output, TellerOutput::TooMany { .. })));
    }
    teller.check();
    assert_eq!(
        refused,
        [TellerOutput::TooMany { cluster: format!("c{SUMMARY_CLUSTERS_MAX}").as_str().into() }]
    );
}

fn news(name: &str, number: u64, ready: u32) -> ClusterSummary {
    let epoch = Epoch { generation: 1, number };
    ClusterSummary { cluster: name.into(), epoch, ready, weight: ready, ..ClusterSummary::default() }
}

fn message(clusters: Vec<ClusterSummary>) -> CellSummary {
    CellSummary { cell: OTHER, clusters, ..CellSummary::default() }
}

fn receive(board: &mut Board, now: u64, summary: CellSummary) -> Vec<BoardOutput> {
    let outputs =
        board.step(Time(now), BoardInput::Received { from: OTHER, bytes: 500, summary: Some(summary) });
    board.check();
    outputs
}

fn ready(board: &Board, name: &str) -> Option<(Standing, u32)> {
    let name = ClusterName::from(name);
    board.places(&name).next().map(|(_, standing, summary)| (standing, summary.ready))
}

#[test]
fn a_board_never_goes_backwards_and_notices_silence() {
    let mut board = Board::default();
    receive(&mut board, 0, message(vec![news("shop", 5, 10)]));
    assert_eq!(ready(&board, "shop"), Some((Standing::Fresh, 10)));
    assert!(receive(&mut board, 1_000, message(vec![news("shop", 4, 99)])).is_empty());
    assert_eq!(ready(&board, "shop"), Some((Standing::Fresh, 10)));
    assert_eq!(board.wake_at(), Some(Time(11_000)));
    let silent = BoardOutput::Stands { cell: OTHER, standing: Standing::Silent };
    assert_eq!(board.step(Time(11_000), BoardInput::Tick), [silent]);
    assert_eq!(ready(&board, "shop"), Some((Standing::Silent, 10)), "its last numbers are kept");
    receive(&mut board, 12_000, message(vec![]));
    assert_eq!(ready(&board, "shop"), Some((Standing::Fresh, 10)));
    let gone = CellSummary { gone: vec!["shop".into()], ..message(vec![]) };
    assert_eq!(
        receive(&mut board, 13_000, gone),
        [BoardOutput::Changed { cell: OTHER, cluster: "shop".into() }]
    );
    assert_eq!(ready(&board, "shop"), None);
}

#[test]
fn a_whole_summary_replaces_everything() {
    let mut board = Board::default();
    receive(&mut board, 0, message(vec![news("shop", 5, 10), news("bank", 5, 3)]));
    receive(&mut board, 1_000, CellSummary { is_whole: true, ..message(vec![news("bank", 6, 4)]) });
    assert_eq!((ready(&board, "shop"), ready(&board, "bank")), (None, Some((Standing::Fresh, 4))));
}

#[test]
fn nonsense_quarantines_its_sender_and_nobody_else() {
    let many = (0..SUMMARY_CLUSTERS_MAX + 1).map(|number| news(&format!("c{number}"), 1, 1)).collect();
    let gateways = vec!["192.0.2.1:80".parse().expect("an address"); 5];
    let bad: [(usize, Option<CellSummary>, Fault); 6] = [
        (SUMMARY_MAX_BYTES + 1, None, Fault::TooLong { bytes: SUMMARY_MAX_BYTES + 1 }),
        (10, None, Fault::Unreadable),
        (10, Some(CellSummary { cell: ME, ..message(vec![]) }), Fault::OtherCell { named: ME }),
        (10, Some(message(many)), Fault::TooManyClusters),
        (10, Some(message(vec![ClusterSummary { load: 11, ..news("shop", 2, 1) }])), Fault::OutOfBounds),
        (10, Some(message(vec![ClusterSummary { gateways, ..news("shop", 2, 1) }])), Fault::OutOfBounds),
    ];
    for (bytes, summary, why) in bad {
        let mut board = Board::default();
        receive(&mut board, 0, message(vec![news("shop", 1, 10)]));
        let third = CellNumber(3);
        let sound = CellSummary { cell: third, ..message(vec![news("shop", 1, 8)]) };
        board.step(Time(0), BoardInput::Received { from: third, bytes: 10, summary: Some(sound) });
        let outputs = board.step(Time(2_000), BoardInput::Received { from: OTHER, bytes, summary });
        board.check();
        let until = Time(2_000 + SUMMARY_QUARANTINE_MS);
        assert_eq!(outputs[0], BoardOutput::Quarantined { cell: OTHER, why, until });
        // Nothing counts until the time is over, then everything does again.
        assert!(receive(&mut board, 3_000, message(vec![news("shop", 9, 77)])).is_empty());
        assert_eq!(ready(&board, "shop"), Some((Standing::Quarantined, 10)));
        assert!(board.standings().any(|standing| standing == (third, Standing::Fresh)));
        receive(&mut board, until.0, message(vec![news("shop", 9, 77)]));
        assert_eq!(ready(&board, "shop"), Some((Standing::Fresh, 77)));
    }
}

#[test]
fn a_flood_quarantines_too_and_a_reconnection_does_not() {
    let mut board = Board::default();
    for at in [0, 500, 510, 900] {
        receive(&mut board, at, message(vec![]));
    }
    assert!(board.standings().all(|(_, standing)| standing == Standing::Fresh));
    receive(&mut board, 950, message(vec![]));
    assert!(board.standings().all(|(_, standing)| standing == Standing::Quarantined));
}

#[test]
fn cells_beyond_the_bound_are_refused_until_one_is_forgotten() {
    let mut board = Board::default();
    let hear = |board: &mut Board, number: u64| {
        let from = CellNumber(number);
        let summary = Some(CellSummary { cell: from, ..message(vec![]) });
        board.step(Time(0), BoardInput::Received { from, bytes: 10, summary })
    };
    (0..CELLS_MAX as u64).for_each(|number| drop(hear(&mut board, number)));
    assert_eq!(hear(&mut board, 999), [BoardOutput::TooManyCells { cell: CellNumber(999) }]);
    board.step(Time(0), BoardInput::Forget { cell: CellNumber(0) });
    assert_ne!(hear(&mut board, 999), [BoardOutput::TooManyCells { cell: CellNumber(999) }]);
    board.check();
}

#[test]
fn who_joins_is_told_also_of_what_the_others_hear_in_a_moment() {
    let mut teller = Teller::new(ME, Time(0));
    teller.step(Time(0), cluster("shop", facts(1, 3, 0)));
    teller.step(Time(1), cluster("stock", facts(1, 2, 0)));
    let outputs = teller.step(Time(2), TellerInput::Joined { cell: OTHER });
    let [TellerOutput::Tell { summary, .. }] = &outputs[..] else { panic!("{outputs:?}") };
    let names: Vec<&str> = summary.clusters.iter().map(|told| told.cluster.0.as_str()).collect();
    assert!(summary.is_whole);
    assert_eq!(names, ["shop", "stock"], "what is not told counts as gone");
}

#[test]
fn what_a_silent_cell_told_is_forgotten_after_a_time_and_known_again_when_it_speaks() {
    use crate::limits::{SUMMARY_MEMORY_MS, SUMMARY_SILENCE_MAX_MS};
    let mut board = Board::default();
    let whole = |number| CellSummary {
        cell: OTHER,
        is_whole: true,
        clusters: vec![ClusterSummary {
            cluster: "shop".into(),
            epoch: Epoch { generation: 1, number },
            ..ClusterSummary::default()
        }],
        gone: Vec::new(),
    };
    let received = |number| BoardInput::Received { from: OTHER, bytes: 9, summary: Some(whole(number)) };
    board.step(Time(0), received(1));
    let standing = |board: &Board| board.standings().next().map(|(_, standing)| standing);
    assert_eq!(board.wake_at(), Some(Time(SUMMARY_SILENCE_MAX_MS)));
    board.step(Time(SUMMARY_SILENCE_MAX_MS), BoardInput::Tick);
    assert_eq!(standing(&board), Some(Standing::Silent));
    assert_eq!(board.wake_at(), Some(Time(SUMMARY_MEMORY_MS)));
    let outputs = board.step(Time(SUMMARY_MEMORY_MS), BoardInput::Tick);
    assert_eq!(outputs, [BoardOutput::Stands { cell: OTHER, standing: Standing::Forgotten }]);
    assert_eq!(board.wake_at(), None);
    board.step(Time(SUMMARY_MEMORY_MS + 5), received(1));
    assert_eq!(standing(&board), Some(Standing::Fresh));
}

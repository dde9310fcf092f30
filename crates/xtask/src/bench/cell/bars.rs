//! What a cell promises and a simulation can show.

use super::rows::stall_verdicts;
use super::{Bar, bar};
use sim::models::{Case, Fault};
use sim::{Day, Leader, Push, SuperCluster, SuperOutcome, push_bytes, run_fleet_case};

const NODES: usize = 10_000;
/// Crashes of which the slowest but one is told: p99.
const CRASHES: u64 = 100;

pub fn all(is_whole_day: bool) -> (Vec<Bar>, Vec<String>) {
    let (mut bars, mut notes) = (Vec::new(), Vec::new());
    crash(&mut bars, &mut notes);
    leader(&mut bars);
    day(is_whole_day, &mut bars, &mut notes);
    bars.push(bar("managers stalled for 0.5 to 10 s: verdicts", stall_verdicts() as f64, 0.0, ""));
    bytes(&mut bars, &mut notes);
    super_cluster(&mut bars, &mut notes);
    (bars, notes)
}

fn case(nodes: usize, faulty: usize, seed: u64) -> Case {
    Case { nodes, faulty, fault: Fault::Crash, at_s: 5, until_s: 8, seed }
}

fn crash(bars: &mut Vec<Bar>, notes: &mut Vec<String>) {
    eprintln!("simulating: crashes among {NODES} nodes");
    let push = Push { routers: NODES, loss: 0 };
    let mut epochs = 0;
    let mut informed_ms: Vec<u64> = (0..CRASHES)
        .map(|seed| {
            let faulty = [1, 10, 100][seed as usize % 3];
            let found = run_fleet_case(case(NODES, faulty, seed + 1), Leader::Well, push);
            epochs = found.epochs.max(epochs);
            found.informed_max_ms
        })
        .collect();
    informed_ms.sort_unstable();
    let at = |percent: usize| informed_ms[(informed_ms.len() * percent).div_ceil(100) - 1];
    let (p50_ms, p99_ms) = (at(50), at(99));
    let text = "1, 10 or 100 of 10,000 crash, 3 managers: to all of 10,000 routers informed, p99 of 100";
    bars.push(bar(text, p99_ms as f64, 1_000.0, "ms"));
    bars.push(bar("each of these: epochs", epochs as f64, 1.0, ""));
    let rack = run_fleet_case(case(NODES, NODES / 4, 4), Leader::Well, push);
    bars.push(bar("a quarter of 10,000 gone at once: epochs", rack.epochs as f64, 1.0, ""));
    let lossy = run_fleet_case(case(NODES, 10, 5), Leader::Well, Push { loss: 10, ..push });
    notes.push(format!(
        "crash to routers: of 100 crashes half are known to all after {p50_ms} ms; where the network loses 1 % of the packets to \
         routers as well, after one of ten nodes: half of the routers know after {} ms, 99 % after {} ms, all after {} ms",
        lossy.informed_p50_ms, lossy.informed_p99_ms, lossy.informed_max_ms
    ));
}

fn leader(bars: &mut Vec<Bar>) {
    eprintln!("simulating: leaders that die");
    let mut longest_ms = 0;
    for seed in 1..=20 {
        let found = run_fleet_case(case(20, 1, seed), Leader::Killed, Push { routers: 1, loss: 0 });
        longest_ms = found.led_ms.unwrap_or(u64::MAX).max(longest_ms);
    }
    bars.push(bar("the leader dies: a new one, longest of 20", longest_ms as f64, 2_000.0, "ms"));
}

fn day(is_whole: bool, bars: &mut Vec<Bar>, notes: &mut Vec<String>) {
    let seconds = if is_whole { 86_400 } else { 3_600 };
    eprintln!("simulating: {seconds} s of {NODES} nodes at 1 % loss");
    let outcome = Day { nodes: NODES as u32, managers: 3, seconds, loss: 100, seed: 1 }.run();
    let length = if is_whole { "a day" } else { "an hour (a day with --day)" };
    let text = format!("{length} of 10,000 nodes at 1 % loss: verdicts against them");
    bars.push(bar(&text, outcome.false_verdicts as f64, 0.0, ""));
    notes.push(format!(
        "in that time: {} heartbeats came, {} were lost, other managers were asked about a node {} times",
        outcome.heartbeats, outcome.lost, outcome.questions
    ));
}

fn bytes(bars: &mut Vec<Bar>, notes: &mut Vec<String>) {
    let one = push_bytes(500, 1, 1);
    bars.push(bar("one change of a cluster of 500: bytes to each router", one.frame as f64, 150.0, "B"));
    let rack = push_bytes(500, 20, 2_500);
    notes.push(format!(
        "a change with TLS, TCP and IP: {} B; 2,500 members of 20 clusters at once: {:.1} B a member; one whole view: {} B",
        one.on_the_wire,
        rack.frame as f64 / 2_500.0,
        one.whole
    ));
}

fn super_cluster(bars: &mut Vec<Bar>, notes: &mut Vec<String>) {
    eprintln!("simulating: 10 and 100 cells of {NODES} members");
    let run = |cells| {
        // All members restarted within an hour.
        let changes_per_second = NODES as f64 * 2.0 / 3_600.0;
        SuperCluster { cells, members: NODES as u32, clusters: 20, seconds: 120, changes_per_second, seed: 1 }
            .run()
    };
    let ((few, _), (many, cost)) = (run(10), run(100));
    let ratio = |of: fn(&SuperOutcome) -> f64| of(&many) / of(&few);
    let text = "100 cells of 10,000 beside 10: bytes a second between two cells, ratio";
    bars.push(bar(text, ratio(|outcome| outcome.bytes_per_second_and_pair), 1.1, ""));
    let text = "100 cells beside 10: what a cell writes for all others, ratio";
    bars.push(bar(text, ratio(|outcome| outcome.written_bytes_per_second), 1.1, ""));
    let lost = (100 - 3usize).abs_diff(many.fresh_least);
    bars.push(bar(
        "one cell sends nonsense and one is gone: others that are not heard",
        lost as f64,
        0.0,
        "",
    ));
    notes.push(format!(
        "a cell of 100 hears {:.1} kB/s of all others, {:.0} B/s of each, in {:.1} us of processor a second for each; what \
         it knows of their ready members is wrong by at most {:.0} %",
        many.heard_bytes_per_second / 1e3,
        many.bytes_per_second_and_pair,
        cost.hearing_one.as_secs_f64() * 1e6,
        many.error_percent_most
    ));
}

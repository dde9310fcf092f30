//! The comparison: one function for each fault.

use super::Row;
use sim::models::{
    Case, Fault, Found, FullMesh, Gossip, GossipSettings, RapidC, RapidSettings, Serf, conflicts_percent,
    fenced, memberlist, memberlist_without_lifeguard, nomad_waits_s, periods_to_detection, run, spread_ms,
    swim,
};
use sim::{FleetFound, Leader, Push, SuperCluster, fleet_boot_ms, fleet_join_ms, push_bytes, run_fleet_case};

const NONE: &str = "-";
/// Routers that are told in all cases.
const PUSH: Push = Push { routers: 1_000, loss: 0 };

fn row(what: &str, paper: &str, model: String, muster: &str) -> Row {
    Row { what: what.to_owned(), paper: paper.to_owned(), model, muster: muster.to_owned() }
}

/// Ten of a thousand, from second 10 on.
fn ten(fault: Fault, until_s: u64) -> Case {
    Case { nodes: 1_000, faulty: 10, fault, at_s: 10, until_s, seed: 1 }
}

fn muster(case: Case, leader: Leader) -> FleetFound {
    run_fleet_case(case, leader, PUSH)
}

type Part = fn() -> Vec<Row>;

pub fn all() -> Vec<Row> {
    let parts: [(&str, Part); 12] = [
        ("start", boot),
        ("spread of one change", spread),
        ("crash", crash),
        ("crash beside a proxy", proxy),
        ("take-over", take_over),
        ("deaf on and off", deaf),
        ("egress loss", egress),
        ("stalled hosts", stalls),
        ("cells", cells),
        ("time to live", nomad),
        ("stalled managers", managers),
        ("cost", cost),
    ];
    let mut rows = Vec::new();
    for (name, part) in parts {
        eprintln!("simulating: {name}");
        rows.extend(part());
    }
    rows
}

fn seconds(ms: Option<u64>) -> String {
    ms.map_or_else(|| "never".to_owned(), |ms| format!("{:.1} s", ms as f64 / 1e3))
}

/// Ours is without the time that machines and processes need to start, which the published figures have in them.
fn boot() -> Vec<Row> {
    let mut rows = Vec::new();
    for (nodes, sizes) in [(1_000, "1000 ZooKeeper, 901 memberlist, 4 Rapid"), (2_000, "2000, 1858, 4")] {
        let (ms, said) = fleet_boot_ms(nodes, 1);
        let what = format!("{nodes} start at once: sizes seen until all are in");
        let ours = format!("{} in {}", 1 + said, seconds(Some(ms)));
        rows.push(row(&what, sizes, NONE.to_owned(), &ours));
    }
    let (ms, _) = fleet_boot_ms(1_000, 2);
    rows.push(row(
        "1000 start at once: all are up, Akka",
        "4 min 15 s, machines included",
        NONE.into(),
        &seconds(Some(ms)),
    ));
    let ms = fleet_join_ms(1_500, 20, 1);
    rows.push(row("20 come to 1480: all are in, Akka", "15 to 30 s", NONE.into(), &seconds(Some(ms))));
    rows
}

/// A proxy whose list of members changes with each size that is seen.
fn proxy() -> Vec<Row> {
    let case = Case { nodes: 50, faulty: 10, ..ten(Fault::Crash, 60) };
    let others = run::<Gossip>(case, memberlist(50));
    let ours = muster(case, Leader::Well);
    let ours = format!("{} in {}", ours.epochs, seconds(ours.found.everywhere_ms));
    let last = seconds(others.everywhere_ms);
    let model = format!("{} seen by all observers, last after {last}", others.views - 1);
    vec![row("10 of 50 crash: changes of a proxy's list, Serf", "several; Rapid one", model, &ours)]
}

/// From the crash until something may be taken over from the node, which a fence of leases allows.
fn take_over() -> Vec<Row> {
    let sizes = [(5, "7 s"), (10, "10 s"), (20, "13 s"), (50, "17 s"), (100, "20 s"), (1_000, "30 s")];
    let one = |(nodes, paper): (usize, &str)| {
        let found = muster(Case { nodes, faulty: 1, ..ten(Fault::Crash, 14) }, Leader::Well);
        let what = format!("1 of {nodes} crashes: until take-over, Akka SBR");
        row(&what, paper, NONE.to_owned(), &seconds(found.taken_over_ms))
    };
    sizes.into_iter().map(one).collect()
}

fn spread() -> Vec<Row> {
    let mut rows = Vec::new();
    for nodes in [1_000, 10_000] {
        let shares = [0.5, 0.99, 0.9999];
        let text = |times: [f64; 3]| format!("{:.1} / {:.1} / {:.1} s", times[0], times[1], times[2]);
        let serf = shares.map(|share| Serf::new(nodes).known_to_s(share));
        let model = spread_ms(nodes as usize, true, 1).map(|ms| ms as f64 / 1e3);
        let crash = Case { nodes: nodes as usize, ..ten(Fault::Crash, 13) };
        let push = Push { routers: nodes as usize, loss: 0 };
        let ours = run_fleet_case(crash, Leader::Well, push);
        let told = |ms: u64| (ms - ours.found.everywhere_ms.unwrap_or(0)) as f64 / 1e3;
        let ours = [ours.informed_p50_ms, ours.informed_p99_ms, ours.informed_max_ms].map(told);
        let of = |share: &str| format!("known to {share} of {nodes}, Serf");
        let ours = format!("{:.2} / {:.2} / {:.2} s", ours[0], ours[1], ours[2]);
        rows.push(row(&of("50 / 99 / 99.99 %"), &text(serf), text(model), &ours));
    }
    rows
}

fn sizes(found: &Found) -> String {
    let end = if found.is_concluded { "" } else { ", not all" };
    format!("{}, {} sizes seen{end}", seconds(found.everywhere_ms), found.views)
}

fn rate(found: &Found) -> String {
    let kilo = |bytes: f64| bytes / 1e3;
    let (heard, sent) = (found.received, found.sent);
    format!(
        "{:.2}/{:.2} KB/s, most {:.1}/{:.1}",
        kilo(heard.mean),
        kilo(sent.mean),
        kilo(heard.most as f64),
        kilo(sent.most as f64)
    )
}

fn crash() -> Vec<Row> {
    let one = Case { nodes: 100, faulty: 1, ..ten(Fault::Crash, 14) };
    let ours = muster(one, Leader::Well);
    let swim_periods = periods_to_detection(100, 1_000);
    let mut rows = vec![row(
        "1 of 100 crashes: first suspicion, SWIM (T' 2 s)",
        "1.58 T' = 3.2 s",
        format!("{swim_periods:.2} T' = {:.1} s", swim_periods * 2.0),
        &seconds(ours.found.first_ms),
    )];
    let ours = muster(ten(Fault::Crash, 60), Leader::Well);
    let all = format!("{}, {} epoch", seconds(ours.found.everywhere_ms), ours.epochs);
    let gossip = |settings: GossipSettings, until_s| run::<Gossip>(ten(Fault::Crash, until_s), settings);
    let others = gossip(memberlist(1_000), 60);
    rows.push(row("10 of 1K crash: out everywhere, memberlist", "several sizes", sizes(&others), &all));
    rows.push(row(
        "10 of 1K crash: heard/sent by a host, memberlist",
        "0.54/0.64 KB/s, most 7.4/8.0",
        rate(&others),
        &rate(&ours.found),
    ));
    rows.push(row("10 of 1K crash: out everywhere, SWIM", NONE, sizes(&gossip(swim(1_000), 120)), &all));
    for (name, settings) in [("4 of 10 probes", RapidSettings::PAPER), ("10 of 10", RapidSettings::CODE)] {
        let found = run::<RapidC>(ten(Fault::Crash, 60), settings);
        let what = format!("10 of 1K crash: out everywhere, Rapid-C, {name}");
        rows.push(row(&what, "all ten at once", sizes(&found), &all));
    }
    let mesh = Case { nodes: 100, faulty: 10, at_s: 40, ..ten(Fault::Crash, 260) };
    let ours = muster(Case { nodes: 100, ..ten(Fault::Crash, 14) }, Leader::Well);
    rows.push(row(
        "10 of 100 crash: out everywhere, full mesh (HAM)",
        "180 s",
        sizes(&run::<FullMesh>(mesh, ())),
        &format!("{}, {} epoch", seconds(ours.found.everywhere_ms), ours.epochs),
    ));
    rows.push(conflicts());
    rows
}

/// How often what fails together is not said together.
fn conflicts() -> Row {
    let percent = conflicts_percent(RapidSettings::CODE, 2, 20_000, 1);
    let mut split = 0;
    let mut runs = 0;
    for faulty in [2, 4, 8, 16] {
        for seed in 1..6 {
            let case = Case { nodes: 200, faulty, seed, ..ten(Fault::Crash, 13) };
            split += u32::from(muster(case, Leader::Well).epochs > 1);
            runs += 1;
        }
    }
    row(
        "2 fail at once: told apart, Rapid (H-L 5)",
        "at most 2 %",
        format!("{percent:.1} %"),
        &format!("{split} of {runs} runs"),
    )
}

fn wavers(found: &Found) -> String {
    let end = if found.is_concluded { "all ten" } else { "not all" };
    format!("{end} out, {} returns, {} false", found.returns, found.false_removals)
}

fn deaf() -> Vec<Row> {
    let case = ten(Fault::DeafOnAndOff, 110);
    let ours = muster(case, Leader::Well);
    let ours = format!("{}, {} epochs", wavers(&ours.found), ours.epochs);
    let what = |name: &str| format!("10 of 1K deaf 20 s on/off for 100 s: {name}");
    let gossip = wavers(&run::<Gossip>(case, memberlist(1_000)));
    let rapid = wavers(&run::<RapidC>(case, RapidSettings::PAPER));
    vec![
        row(&what("memberlist"), "oscillates, never all", gossip, &ours),
        row(&what("Rapid-C"), "exactly the ten", rapid, &ours),
    ]
}

fn egress() -> Vec<Row> {
    let case = ten(Fault::EgressLoss(800), 210);
    let ours = muster(case, Leader::Well);
    let ours = format!("{}, {} epochs", wavers(&ours.found), ours.epochs);
    let what = |name: &str| format!("10 of 1K lose 80 % they send, 200 s: {name}");
    let gossip = wavers(&run::<Gossip>(case, memberlist(1_000)));
    let rapid = wavers(&run::<RapidC>(case, RapidSettings::PAPER));
    vec![
        row(&what("memberlist"), "inconsistent, not concluded", gossip, &ours),
        row(&what("Rapid-C"), "exactly the ten", rapid, &ours),
    ]
}

fn stalls() -> Vec<Row> {
    let fault = Fault::Stalls { blocked_ms: 2_000, runs_ms: 3 };
    let stalled = Case { nodes: 100, faulty: 16, ..ten(fault, 310) };
    let with = run::<Gossip>(stalled, memberlist(100)).false_removals;
    let without = run::<Gossip>(stalled, memberlist_without_lifeguard(100)).false_removals;
    let ours = muster(stalled, Leader::Well).found.false_removals;
    let fault = Fault::Blocks { blocked_ms: 16_000, runs_ms: 1_000 };
    let blocked = Case { nodes: 100, faulty: 4, ..ten(fault, 310) };
    let with_blocked = run::<Gossip>(blocked, memberlist(100)).false_at_healthy;
    let without_blocked = run::<Gossip>(blocked, memberlist_without_lifeguard(100)).false_at_healthy;
    let ours_blocked = muster(blocked, Leader::Well).found.false_at_healthy;
    // A grid of the same kind was published, with figures that we do not have.
    let fault = Fault::Blocks { blocked_ms: 16_384, runs_ms: 1_000 };
    let grid = Case { nodes: 128, faulty: 16, ..ten(fault, 310) };
    let with_grid = run::<Gossip>(grid, memberlist(128)).false_at_healthy;
    let without_grid = run::<Gossip>(grid, memberlist_without_lifeguard(128)).false_at_healthy;
    let ours_grid = muster(grid, Leader::Well).found.false_at_healthy;
    vec![
        row(
            "16 of 128 blocked up to 16 s: removals at the well",
            NONE,
            format!("{with_grid} with Lifeguard, {without_grid} without"),
            &ours_grid.to_string(),
        ),
        row(
            "16 of 100 overloaded: false removals, Lifeguard",
            "50 to 100 times fewer",
            format!("{with} with, {without} without"),
            &ours.to_string(),
        ),
        row(
            "4 of 100 blocked: removals at the well, Lifeguard",
            "hundreds without",
            format!("{with_blocked} with, {without_blocked} without"),
            &ours_blocked.to_string(),
        ),
    ]
}

fn nomad() -> Vec<Row> {
    let mut rows = Vec::new();
    for (nodes, paper) in [(1_000, "30 to 50 s"), (5_000, "110 to 210 s"), (10_000, "210 to 410 s")] {
        let (first, last) = nomad_waits_s(nodes, false, 1);
        let ours = muster(Case { nodes, ..ten(Fault::Crash, 13) }, Leader::Well);
        let what = format!("10 of {nodes} crash: silence until out, Nomad");
        rows.push(row(&what, paper, format!("{first} to {last} s"), &seconds(ours.found.everywhere_ms)));
    }
    let (first, last) = nomad_waits_s(1_000, true, 1);
    let ours = muster(ten(Fault::Crash, 16), Leader::Killed);
    rows.push(row(
        "the leader dies with 10 of 1K: until out, Nomad",
        "300 s after the new leader",
        format!("{first} to {last} s after it"),
        &format!("{} in all, new leader included", seconds(ours.found.everywhere_ms)),
    ));
    rows
}

/// Verdicts about a cell that is well, by how long all its managers got no time of their processor.
pub fn stall_verdicts() -> usize {
    let verdicts = |stall_ms| {
        let well = Case { nodes: 1_000, faulty: 0, ..ten(Fault::None, 30) };
        muster(well, Leader::AllStall(stall_ms)).epochs
    };
    [500, 1_000, 2_000, 5_000, 10_000].into_iter().map(verdicts).sum()
}

fn managers() -> Vec<Row> {
    let (slow, mended) = (fenced(10, 1_100, false), fenced(10, 1_100, true));
    vec![row(
        "slow controller: healthy ones fenced, KAFKA-15019",
        "fenced above 1 s a heartbeat",
        format!("{slow} times in 60 s; {mended} with its fix"),
        &format!("{} with managers stalled for 0.5 to 10 s", stall_verdicts()),
    )]
}

/// What other cells hear of 66,000 members.
fn cells() -> Vec<Row> {
    let cells = SuperCluster {
        cells: 66,
        members: 1_000,
        clusters: 20,
        seconds: 60,
        changes_per_second: 1_000.0 * 2.0 / 3_600.0,
        seed: 1,
    };
    let (outcome, _) = cells.run();
    let changes = 66.0 * outcome.changes as f64 / cells.seconds as f64;
    let ours = format!(
        "{:.0} B/s between two of 66 cells, while {changes:.0} members change each second",
        outcome.bytes_per_second_and_pair
    );
    vec![row(
        "66K members: what crosses, Consul's segments",
        "20 segments: 90 % less",
        NONE.to_owned(),
        &ours,
    )]
}

/// Each node pings all others within half of the time-out.
fn redis_pings_per_second(nodes: u32, timeout_s: f64) -> f64 {
    f64::from(nodes) * f64::from(nodes - 1) / (timeout_s / 2.0)
}

fn cost() -> Vec<Row> {
    let hundred = muster(Case { nodes: 100, faulty: 1, ..ten(Fault::Crash, 14) }, Leader::Well);
    let pings = redis_pings_per_second(100, 60.0);
    let ours = muster(Case { faulty: 0, ..ten(Fault::None, 40) }, Leader::Well);
    let bytes = push_bytes(500, 1, 1).on_the_wire;
    vec![
        row(
            "100 nodes: messages, and a crash known, Redis Cluster",
            "330 a second, after 60 s",
            format!("{pings:.0} a second, after 60 s"),
            &format!(
                "{:.0} a second, after {}",
                hundred.heartbeats_per_second,
                seconds(hundred.found.everywhere_ms)
            ),
        ),
        row(
            "store writes in peace, Kubernetes (GKE), 130K",
            "13,000 a second",
            format!("{} a second: one each 10 s", 130_000 / 10),
            &format!("{:.1} a second, whatever the size", ours.commits_per_second),
        ),
        row(
            "one change to 5K watchers, Kubernetes (KEP-0752)",
            "10 GB; slices 50 MB; each alone 5 MB",
            "5K x 2 MB; x 10 kB; x 1 kB".to_owned(),
            &format!("{:.1} MB", bytes as f64 * 5_000.0 / 1e6),
        ),
    ]
}

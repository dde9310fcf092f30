//! SWIM as published (DSN 2002): one probe a period, K helpers, news with the probes only, suspicion for a fixed time.

use super::drive::Subject;
use super::gossip::{Gossip, Settings};
use super::tally::{Case, Fault};
use super::world::World;

/// T' and K of the published measurements.
pub const PERIOD_US: u64 = 2_000_000;
const HELPERS: usize = 1;

/// 3 ⌈ln(N+1)⌉: how often news are passed on, and for how many periods a host is suspected.
fn rounds(nodes: usize) -> u64 {
    3 * ((nodes + 1) as f64).ln().ceil() as u64
}

pub fn settings(nodes: usize) -> Settings {
    let suspect_us = rounds(nodes) * PERIOD_US;
    Settings {
        period_us: PERIOD_US,
        ping_wait_us: PERIOD_US / 4,
        helpers: HELPERS,
        suspect_us: (suspect_us, suspect_us),
        confirmations: 0,
        spread: None,
        sends_max: rounds(nodes) as u32,
        exchange_us: None,
        doubts_itself: false,
        is_in_step: false,
    }
}

/// Mean number of periods from a crash to the first suspicion, if all periods begin together and the crash just before
/// one: what the published analysis counts. Its result is e/(e-1) = 1.58, whatever the number of hosts.
pub fn periods_to_detection(nodes: usize, crashes: u64) -> f64 {
    let mut periods = 0;
    for seed in 0..crashes {
        let case = Case { nodes, faulty: 1, fault: Fault::Crash, at_s: 0, until_s: 0, seed };
        let mut world = World::new(nodes, seed);
        let mut gossip = Gossip::new(case, Settings { is_in_step: true, ..settings(nodes) }, &mut world);
        world.hosts[0].is_crashed = true;
        while gossip.first_suspected_us.is_none() {
            periods += 1;
            let end_us = world.now_us + PERIOD_US;
            world.run_until_us(&mut gossip, end_us - 1);
            world.now_us = end_us;
        }
    }
    periods as f64 / crashes as f64
}

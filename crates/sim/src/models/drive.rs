//! Runs a case in the world of the models: its faults at their times, and a look at everything each second.

use super::tally::{Case, Fault, Found, Rate, Tally};
use super::world::{Meter, Model, World};

/// What a case needs of a model besides its events.
pub trait Subject: Model {
    type Settings;
    fn new(case: Case, settings: Self::Settings, world: &mut World<Self::Event>) -> Self;
    fn tally(&mut self) -> &mut Tally;
    /// How many hosts `observer` believes to be there.
    fn size(&self, observer: usize) -> usize;
    /// Hosts that have a list of their own: all, or one service.
    fn observers(&self) -> usize;
}

/// Half a period of a host that is deaf on and off.
const DEAF_US: u64 = 20_000_000;
/// Faults are looked at so often, and sizes each second.
const STEP_US: u64 = 1_000;
const SECOND_US: u64 = 1_000_000;

pub fn run<S: Subject>(case: Case, settings: S::Settings) -> Found {
    let mut world: World<S::Event> = World::new(case.nodes, case.seed);
    let mut subject = S::new(case, settings, &mut world);
    let (at_us, until_us) = (case.at_s * SECOND_US, case.until_s * SECOND_US);
    world.run_until_us(&mut subject, at_us);
    // Traffic counts from the fault on, as in what was published.
    for host in &mut world.hosts {
        (host.sent, host.received) = (Meter::default(), Meter::default());
    }
    let mut turns = vec![at_us; case.faulty];
    while world.now_us < until_us {
        disturb(&case, &mut world, &mut turns);
        let next_us = world.now_us + STEP_US;
        world.run_until_us(&mut subject, next_us);
        if world.now_us.is_multiple_of(SECOND_US) {
            look(&case, &mut subject);
        }
    }
    let seconds = (case.until_s - case.at_s) as f64;
    let rate = |of: fn(&super::world::Host) -> Meter| Rate {
        mean: world.hosts.iter().map(|host| of(host).bytes).sum::<u64>() as f64 / seconds / case.nodes as f64,
        most: world.hosts.iter().map(|host| of(host).most_per_second).max().unwrap_or(0),
    };
    let (sent, received) = (rate(|host| host.sent), rate(|host| host.received));
    subject.tally().found(sent, received)
}

fn look<S: Subject>(case: &Case, subject: &mut S) {
    let first = if subject.observers() == 1 { 0 } else { case.faulty };
    for observer in first..subject.observers() {
        let size = subject.size(observer);
        subject.tally().saw(size);
    }
}

fn disturb<E>(case: &Case, world: &mut World<E>, turns: &mut [u64]) {
    let now_us = world.now_us;
    for (host, turn_us) in turns.iter_mut().enumerate().filter(|(_, turn_us)| **turn_us <= now_us) {
        match case.fault {
            Fault::None => *turn_us = u64::MAX,
            Fault::Crash => {
                world.hosts[host].is_crashed = true;
                *turn_us = u64::MAX;
            }
            Fault::DeafOnAndOff => {
                let loss = &mut world.hosts[host].ingress_loss;
                *loss = if *loss == 0 { 1_000 } else { 0 };
                *turn_us = now_us + DEAF_US;
            }
            Fault::EgressLoss(share) => {
                world.hosts[host].egress_loss = share;
                *turn_us = u64::MAX;
            }
            Fault::Stalls { blocked_ms, runs_ms } | Fault::Blocks { blocked_ms, runs_ms } => {
                let blocked_us = 1_000 * (1 + u64::from(world.chance.below(blocked_ms)));
                let runs_us = 1_000 * (1 + u64::from(world.chance.below(runs_ms)));
                let is_only_blocked = matches!(case.fault, Fault::Blocks { .. });
                world.stall(host, now_us + blocked_us, is_only_blocked);
                *turn_us = now_us + blocked_us + runs_us;
            }
        }
    }
}

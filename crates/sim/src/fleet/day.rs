//! A day of heartbeats over a network that loses some, with nothing else wrong: nobody may be suspected.
//!
//! Only nodes and detectors, without a queue of events: each heartbeat is drawn, lost or taken. That is what a manager's
//! thread does, too, so it also shows what a heartbeat and a look at all nodes cost.

use logic::heartbeat::{Detector, Heard, Input, Output, Settings};
use logic::lease::NORMAL;
use logic::limits::{HEARTBEAT_INTERVAL_MS, SWEEP_INTERVAL_MS};
use logic::machine::Machine;
use logic::seed::Chance;
use logic::time::Time;
use std::time::{Duration, Instant};
use wire::heartbeat::{Datagram, Kind};
use wire::id::{CellNumber, ManagerNumber, NodeNumber, TermNumber};

#[derive(Debug, Clone, Copy)]
pub struct Day {
    pub nodes: u32,
    pub managers: u16,
    pub seconds: u64,
    /// Of ten thousand datagrams.
    pub loss: u32,
    pub seed: u64,
}

#[derive(Debug, Clone, Default)]
pub struct DayOutcome {
    pub heartbeats: u64,
    pub lost: u64,
    /// Nodes about which others were asked.
    pub questions: u64,
    /// Verdicts against nodes, all of which were well.
    pub false_verdicts: u64,
    pub looks: u64,
    /// Time of this machine that went into taking heartbeats, drawing them included.
    pub hearing: Duration,
    /// And into looks at all nodes.
    pub looking: Duration,
}

struct Host {
    detector: Detector,
    number: ManagerNumber,
}

/// Slots of one interval: nodes speak in the slot of their number, as evenly as chance would have it.
const SLOTS: u64 = HEARTBEAT_INTERVAL_MS as u64 / SWEEP_INTERVAL_MS;
/// How late a datagram may be, in milliseconds.
const DELAY_MAX_MS: u32 = 10;

impl Day {
    pub fn run(&self) -> DayOutcome {
        let mut chance = Chance::new(self.seed);
        let mut outcome = DayOutcome::default();
        let numbers: Vec<ManagerNumber> = (0..self.managers).map(ManagerNumber).collect();
        let mut hosts: Vec<Host> = numbers.iter().map(|number| self.host(*number, &numbers)).collect();
        let leader = &mut hosts[0].detector;
        leader.step(Time(0), Input::Lead { away: Vec::new(), taken: Vec::new() });
        let mut sequence = 0;
        for slot in 0..self.seconds * 1_000 / SWEEP_INTERVAL_MS {
            sequence += u64::from(slot % SLOTS == 0);
            let now = Time(slot * SWEEP_INTERVAL_MS);
            let begun = Instant::now();
            for host in &mut hosts {
                self.speak(host, now, slot % SLOTS, sequence, &mut chance, &mut outcome);
            }
            outcome.hearing += begun.elapsed();
            let begun = Instant::now();
            for from in 0..hosts.len() {
                let outputs = hosts[from].detector.step(now + SWEEP_INTERVAL_MS, Input::Tick);
                self.carry_out(&mut hosts, from, now + SWEEP_INTERVAL_MS, outputs, &mut outcome);
            }
            outcome.looking += begun.elapsed();
            outcome.looks += hosts.len() as u64;
        }
        hosts.iter().for_each(|host| host.detector.check());
        outcome
    }

    fn host(&self, me: ManagerNumber, managers: &[ManagerNumber]) -> Host {
        let settings = Settings { me, managers: managers.to_vec(), lease: NORMAL, is_elected: true, run: 0 };
        let mut detector = Detector::new(settings, Time(0));
        detector.step(Time(0), Input::Nodes((0..self.nodes).map(NodeNumber).collect()));
        Host { detector, number: me }
    }

    fn speak(
        &self,
        host: &mut Host,
        now: Time,
        slot: u64,
        sequence: u64,
        chance: &mut Chance,
        outcome: &mut DayOutcome,
    ) {
        for node in (slot as u32..self.nodes).step_by(SLOTS as usize) {
            if chance.below(10_000) < self.loss {
                outcome.lost += 1;
                continue;
            }
            let beat = Datagram {
                kind: Kind::Heartbeat { is_deaf: false },
                cell: CellNumber(1),
                node: NodeNumber(node),
                manager: host.number,
                interval_ms: HEARTBEAT_INTERVAL_MS,
                incarnation: 1,
                sequence,
                term: TermNumber(1),
                epochs: 0,
                boot: 1,
                run: 0,
            };
            let at = now + u64::from(chance.below(DELAY_MAX_MS));
            let heard = host.detector.hear(at, &beat, true);
            assert!(matches!(heard, Heard::Fresh { .. }), "a heartbeat was not taken: {heard:?}");
            outcome.heartbeats += 1;
        }
    }

    fn carry_out(
        &self,
        hosts: &mut [Host],
        from: usize,
        now: Time,
        outputs: Vec<Output>,
        outcome: &mut DayOutcome,
    ) {
        for output in outputs {
            match output {
                Output::Ask { asked_at, nodes } => {
                    outcome.questions += nodes.len() as u64;
                    let by = hosts[from].number;
                    for other in (0..hosts.len()).filter(|other| *other != from) {
                        let asked = Input::Asked { by, asked_at, nodes: nodes.clone() };
                        let told = hosts[other].detector.step(now, asked);
                        let by = hosts[other].number;
                        for output in told {
                            if let Output::Tell { asked_at, opinions, .. } = output {
                                hosts[from].detector.step(now, Input::Told { by, asked_at, opinions });
                            }
                        }
                    }
                }
                Output::Verdicts(verdicts) => outcome.false_verdicts += verdicts.len() as u64,
                Output::TakeOver { node } => panic!("node {node} is well and was taken over from"),
                Output::Alarm(alarm) => panic!("nothing is wrong, and yet: {alarm:?}"),
                Output::Search { .. } | Output::Tell { .. } | Output::Restarted(_) => {}
            }
        }
    }
}

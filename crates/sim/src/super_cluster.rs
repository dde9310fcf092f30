//! Many cells that know each other by summaries alone: what crosses, what it costs a cell, and that a cell which sends
//! nonsense or is gone harms no other.
//!
//! The machines are `logic::summary::Teller` and `Board`, one of each in every cell; messages are written and read as the
//! JSON that they are. Members are only counted: what goes on within a cell is `fleet`'s part. Times are milliseconds.

use logic::machine::Machine;
use logic::seed::Chance;
use logic::summary::{Board, BoardInput, BoardOutput, Facts, Standing, Teller, TellerInput, TellerOutput};
use logic::time::Time;
use std::time::{Duration, Instant};
use wire::id::{CellNumber, ClusterName, Epoch};
use wire::summary::CellSummary;

#[derive(Debug, Clone, Copy)]
pub struct SuperCluster {
    pub cells: usize,
    pub members: u32,
    pub clusters: u32,
    pub seconds: u64,
    /// Members that come or go in each cell in a second: 10,000 restarted within an hour are 5.6.
    pub changes_per_second: f64,
    pub seed: u64,
}

/// What it came to. Rates are of one cell.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct SuperOutcome {
    /// Changes of members in each cell.
    pub changes: u64,
    /// Messages and bytes that one cell writes, before they are sent to each other cell.
    pub written_per_second: f64,
    pub written_bytes_per_second: f64,
    /// Bytes that one cell sends to, and hears from, *one* other.
    pub bytes_per_second_and_pair: f64,
    /// And in all.
    pub heard_bytes_per_second: f64,
    /// Cells that a cell hears and goes by at the end, the fewest.
    pub fresh_least: usize,
    /// Cells that were quarantined: by how many others.
    pub quarantined: usize,
    /// How far the ready members that are known elsewhere are from the truth at the end, of a hundred, at most.
    pub error_percent_most: f64,
}

/// Processor time of this machine, which is not the same each time.
#[derive(Debug, Clone, Copy, Default)]
pub struct SuperCost {
    /// Of one cell for its own summaries, of each second.
    pub telling: Duration,
    /// Of one cell for what one other cell tells, of each second.
    pub hearing_one: Duration,
}

struct Cell {
    teller: Teller,
    board: Board,
    /// Whether each member takes requests; member `i` is in cluster `i % clusters`.
    is_ready: Vec<bool>,
    facts: Vec<Facts>,
    load_percent: Vec<i32>,
}

const STEP_MS: u64 = 100;
const WEIGHT: u64 = 4;

struct World {
    of: SuperCluster,
    chance: Chance,
    cells: Vec<Cell>,
    has_faults: bool,
    names: Vec<ClusterName>,
    written: u64,
    written_bytes: u64,
    heard_bytes: u64,
    quarantined: usize,
    changes: u64,
    cost: SuperCost,
}

impl SuperCluster {
    /// In the last quarter of the time the last cell sends nonsense, and the one before is gone.
    pub fn run(&self) -> (SuperOutcome, SuperCost) {
        let mut world = World::new(*self);
        let end = self.seconds * 1_000;
        for now in (0..end).step_by(STEP_MS as usize) {
            world.has_faults = now >= end * 3 / 4;
            for cell in 0..self.cells {
                let is_gone = world.has_faults && cell + 2 == self.cells;
                if !is_gone {
                    world.change(cell, now);
                    world.tell(cell, now);
                }
            }
        }
        world.outcome(end)
    }
}

impl World {
    fn new(of: SuperCluster) -> Self {
        let mut chance = Chance::new(of.seed);
        let names: Vec<ClusterName> =
            (0..of.clusters).map(|number| ClusterName(format!("application-{number}"))).collect();
        let cell = |number: usize, chance: &mut Chance| Cell {
            teller: Teller::new(CellNumber(number as u64), Time(0)),
            board: Board::default(),
            is_ready: vec![true; of.members as usize],
            facts: (0..of.clusters).map(|cluster| Self::begin(of, number, cluster)).collect(),
            load_percent: (0..of.clusters).map(|_| 30 + chance.below(30) as i32).collect(),
        };
        let cells = (0..of.cells).map(|number| cell(number, &mut chance)).collect();
        let mut world = Self {
            of,
            chance,
            cells,
            has_faults: false,
            names,
            written: 0,
            written_bytes: 0,
            heard_bytes: 0,
            quarantined: 0,
            changes: 0,
            cost: SuperCost::default(),
        };
        for cell in 0..of.cells {
            for cluster in 0..of.clusters as usize {
                world.say(cell, cluster, 0);
            }
        }
        world
    }

    fn begin(of: SuperCluster, cell: usize, cluster: u32) -> Facts {
        let ready = (of.members + of.clusters - 1 - cluster) / of.clusters;
        let gateway = |last: u8| std::net::SocketAddr::from(([10, cell as u8, 0, last], 8_080));
        Facts {
            epoch: Epoch { generation: 1, number: 1 },
            ready,
            weight: u64::from(ready) * WEIGHT,
            gateways: (1..=3).map(gateway).collect(),
            ..Facts::default()
        }
    }

    fn say(&mut self, cell: usize, cluster: usize, now: u64) {
        let host = &mut self.cells[cell];
        host.facts[cluster].load_percent = host.load_percent[cluster].clamp(0, 100) as u32;
        let facts = host.facts[cluster].clone();
        let begun = Instant::now();
        let input = TellerInput::Cluster { cluster: self.names[cluster].clone(), facts };
        let outputs = host.teller.step(Time(now), input);
        self.cost.telling += begun.elapsed();
        self.carry_out(cell, now, outputs);
    }

    /// Members come and go, one after the other, and load wanders.
    fn change(&mut self, cell: usize, now: u64) {
        let parts = 1_000_000;
        let wanted = (self.of.changes_per_second * f64::from(parts) * STEP_MS as f64 / 1_000.0) as u32;
        let mut count = wanted / parts;
        count += u32::from(self.chance.below(parts) < wanted % parts);
        for _ in 0..count {
            let member = self.chance.below(self.of.members) as usize;
            let cluster = member % self.of.clusters as usize;
            let host = &mut self.cells[cell];
            let is_ready = &mut host.is_ready[member];
            *is_ready = !*is_ready;
            let facts = &mut host.facts[cluster];
            facts.ready = if *is_ready { facts.ready + 1 } else { facts.ready - 1 };
            facts.weight = u64::from(facts.ready) * WEIGHT;
            facts.epoch.number += 1;
            self.changes += 1;
            self.say(cell, cluster, now);
        }
        if now.is_multiple_of(1_000) {
            for cluster in 0..self.of.clusters as usize {
                let drift = self.chance.below(5) as i32 - 2;
                let load = &mut self.cells[cell].load_percent[cluster];
                *load = (*load + drift).clamp(10, 95);
                self.say(cell, cluster, now);
            }
        }
    }

    fn tell(&mut self, cell: usize, now: u64) {
        let begun = Instant::now();
        let teller = &mut self.cells[cell].teller;
        let is_due = teller.wake_at().is_some_and(|due| due <= Time(now));
        let outputs = if is_due { teller.step(Time(now), TellerInput::Tick) } else { Vec::new() };
        teller.check();
        self.cost.telling += begun.elapsed();
        self.carry_out(cell, now, outputs);
    }

    fn carry_out(&mut self, cell: usize, now: u64, outputs: Vec<TellerOutput>) {
        let is_nonsense = self.has_faults && cell + 1 == self.cells.len();
        for output in outputs {
            let TellerOutput::TellAll(summary) = output else { continue };
            let begun = Instant::now();
            let text =
                serde_json::to_vec(&summary).expect("a summary has no maps with keys that are no text");
            self.cost.telling += begun.elapsed();
            let text = if is_nonsense { vec![b'x'; text.len()] } else { text };
            self.written += 1;
            self.written_bytes += text.len() as u64;
            let begun = Instant::now();
            for other in (0..self.cells.len()).filter(|other| *other != cell) {
                self.hear(other, cell, now, &text);
            }
            self.cost.hearing_one += begun.elapsed();
        }
    }

    fn hear(&mut self, cell: usize, from: usize, now: u64, text: &[u8]) {
        let summary: Option<CellSummary> = serde_json::from_slice(text).ok();
        let from = CellNumber(from as u64);
        let input = BoardInput::Received { from, bytes: text.len(), summary };
        let board = &mut self.cells[cell].board;
        let outputs = board.step(Time(now), input);
        board.check();
        self.heard_bytes += text.len() as u64;
        let quarantines = |output: &&BoardOutput| matches!(output, BoardOutput::Quarantined { .. });
        self.quarantined += outputs.iter().filter(quarantines).count();
    }

    fn outcome(mut self, end: u64) -> (SuperOutcome, SuperCost) {
        let (cells, seconds) = (self.of.cells as f64, self.of.seconds as f64);
        self.cells.iter_mut().for_each(|cell| drop(cell.board.step(Time(end), BoardInput::Tick)));
        let heard = self.heard_bytes as f64 / cells / seconds;
        let fresh =
            |cell: &Cell| cell.board.standings().filter(|(_, standing)| *standing == Standing::Fresh).count();
        let outcome = SuperOutcome {
            changes: self.changes / self.of.cells as u64,
            written_per_second: self.written as f64 / cells / seconds,
            written_bytes_per_second: self.written_bytes as f64 / cells / seconds,
            bytes_per_second_and_pair: heard / (cells - 1.0),
            heard_bytes_per_second: heard,
            fresh_least: self.cells[..self.cells.len() - 2].iter().map(fresh).min().unwrap_or(0),
            quarantined: self.quarantined,
            error_percent_most: self.error_percent(),
        };
        let cost = SuperCost {
            telling: self.cost.telling.div_f64(cells * seconds),
            hearing_one: self.cost.hearing_one.div_f64(cells * (cells - 1.0) * seconds),
        };
        (outcome, cost)
    }

    /// As the first cell sees those that are well.
    fn error_percent(&self) -> f64 {
        let mut most: f64 = 0.0;
        for (cluster, name) in self.names.iter().enumerate() {
            for (cell, standing, summary) in self.cells[0].board.places(name) {
                let truth = f64::from(self.cells[cell.0 as usize].facts[cluster].ready);
                if standing == Standing::Fresh {
                    most = most.max((f64::from(summary.ready) - truth).abs() * 100.0 / truth.max(1.0));
                }
            }
        }
        most
    }
}

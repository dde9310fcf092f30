//! Serf's formula for how fast gossip spreads and what it costs (its convergence simulator).

/// One round is one gossip interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Serf {
    pub nodes: f64,
    pub fan_out: f64,
    pub interval_s: f64,
    pub loss: f64,
    pub failed: f64,
}

const PACKET_BYTES: f64 = 1_400.0;

impl Serf {
    /// The defaults for a local network.
    pub fn new(nodes: u32) -> Self {
        Self { nodes: f64::from(nodes), fan_out: 3.0, interval_s: 0.2, loss: 0.0, failed: 0.0 }
    }

    fn share_after(&self, rounds: u32) -> f64 {
        let contact = self.fan_out / self.nodes * (1.0 - self.loss) * (1.0 - self.failed) * 0.5;
        1.0 / (1.0 + (self.nodes + 1.0) * (-contact * self.nodes * f64::from(rounds)).exp())
    }

    /// Seconds, in whole rounds, until so many of all know.
    pub fn known_to_s(&self, share: f64) -> f64 {
        let rounds = (0..).find(|rounds| self.share_after(*rounds) >= share);
        f64::from(rounds.expect("the share grows to one")) * self.interval_s
    }

    /// Most that a host sends and hears.
    pub fn kilobits_per_second(&self) -> f64 {
        PACKET_BYTES * self.fan_out / self.interval_s * 2.0 * 8.0 / 1024.0
    }
}

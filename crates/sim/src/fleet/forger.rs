//! Somebody in the network who hears heartbeats and sends them again: as they were, changed in every place, as another
//! node's, as of another cell, cut short and made longer.

use super::world::Fleet;
use logic::heartbeat::Heard;
use wire::heartbeat::{Datagram, SIZE_BYTES};

/// What is overheard at most: a minute of a few nodes.
const OVERHEARD_MAX: usize = 5_000;
/// Where a datagram has its cell and its node.
const CELL_AT: usize = 8;
const NODE_AT: usize = 16;

/// What came of forged datagrams.
#[derive(Debug, Default)]
struct Tally {
    sent: u64,
    /// Genuine once, and old.
    old: u64,
    /// Genuine once, of a time that the manager does not remember: answered, and nothing more.
    unproven: u64,
}

impl Fleet {
    /// Keeps what a node sends, if anybody listens.
    pub(super) fn overhear(&mut self, datagram: Datagram) {
        if let Some(overheard) = self.overheard.as_mut().filter(|kept| kept.len() < OVERHEARD_MAX) {
            overheard.push(datagram);
        }
    }

    /// All that was overheard goes to every manager, in every way. None of it counts as a sign of life.
    pub(super) fn forge(&mut self) {
        let overheard = self.overheard.clone().unwrap_or_default();
        let mut tally = Tally::default();
        for datagram in &overheard {
            let key = Self::key_of(datagram.node);
            for bytes in forged(datagram.bytes(|signed| super::manager::code(signed, key)).as_slice()) {
                for manager in 0..self.managers.len() {
                    tally.sent += 1;
                    match self.hear_bytes(manager, &bytes, key).map(|(_, heard)| heard) {
                        None | Some(Heard::Unknown) => {}
                        Some(Heard::Old) => tally.old += 1,
                        Some(Heard::Unproven) => tally.unproven += 1,
                        Some(heard @ Heard::Fresh { .. }) => panic!("a forged datagram counts: {heard:?}"),
                    }
                }
            }
        }
        let Tally { sent, old, unproven } = tally;
        self.tell(|| {
            format!("{sent} forged datagrams: {old} are old, {unproven} not proven, the rest not genuine")
        });
    }
}

fn forged(bytes: &[u8]) -> Vec<Vec<u8>> {
    assert_eq!(bytes.len(), SIZE_BYTES);
    let mut all = vec![bytes.to_vec()];
    let with = |at: usize, new: &[u8]| {
        let mut changed = bytes.to_vec();
        changed[at..at + new.len()].copy_from_slice(new);
        changed
    };
    all.extend((0..bytes.len()).map(|at| with(at, &[bytes[at] ^ (1 << (at % 8))])));
    all.extend((0..4_u32).map(|node| with(NODE_AT, &node.to_be_bytes())));
    all.push(with(CELL_AT, &0x5eed_u64.to_be_bytes()));
    all.push(bytes[..bytes.len() - 1].to_vec());
    all.push([bytes, &[0; 16]].concat());
    all
}

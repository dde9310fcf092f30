//! A table from hashes to places in a list: fixed once it is made, looked up without allocation.
//!
//! The hash has no secret: what is stored comes from the configuration, and a request only looks up. A hostile path can
//! at most meet as many entries as one that is in the table.

/// Open addressing with linear steps; at most half full, so that a search is over soon.
#[derive(Debug, Clone, Default)]
pub(super) struct Slots {
    /// Place + 1; 0 is empty. The length is a power of two.
    slots: Vec<u32>,
}

impl Slots {
    pub fn with_room_for(count: usize) -> Self {
        Self { slots: vec![0; (count.max(1) * 2).next_power_of_two()] }
    }

    /// `place` must not be there yet; no more places than there is room for.
    pub fn insert(&mut self, hash: u64, place: usize) {
        let mask = self.slots.len() - 1;
        let mut at = start(hash) & mask;
        while self.slots[at] != 0 {
            at = (at + 1) & mask;
        }
        self.slots[at] = place as u32 + 1;
    }

    pub fn find(&self, hash: u64, is_it: impl Fn(usize) -> bool) -> Option<usize> {
        let mask = self.slots.len().checked_sub(1)?;
        let mut at = start(hash) & mask;
        loop {
            let place = self.slots[at].checked_sub(1)? as usize;
            if is_it(place) {
                return Some(place);
            }
            at = (at + 1) & mask;
        }
    }

    /// The most places that one search can look at.
    #[cfg(test)]
    pub fn longest_run(&self) -> usize {
        self.slots.split(|slot| *slot == 0).map(<[u32]>::len).max().unwrap_or(0)
    }
}

/// The upper bits are the well mixed ones.
fn start(hash: u64) -> usize {
    (hash >> 32) as usize
}

/// FNV-1a: one multiplication for each byte, and it can go on from any beginning of a path.
pub(super) fn hash_of(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| step(hash, *byte))
}

pub(super) fn step(hash: u64, byte: u8) -> u64 {
    (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
}

/// Two hashes as one, mixed.
pub(super) fn joined(left: u64, right: u64) -> u64 {
    let mixed = (left ^ right.wrapping_mul(0x9e37_79b9_7f4a_7c15)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed ^ (mixed >> 29)
}

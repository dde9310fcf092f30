//! Estimates how many distinct sessions were seen in the last five minutes, in little and bounded memory.
//!
//! HyperLogLog sketches in a ring of windows. Each router thread keeps its own; merged, they count a session that
//! several threads saw once. The count covers the running window and the three before it: 300 to 400 seconds.
//! Not here: what identifies a session (see `affinity::session_key`). Windows are cut at multiples of
//! `SESSION_WINDOW_MS` of the caller's `Time`, so threads of one process agree on them.

use crate::limits::{SESSION_WINDOW_MS, SESSION_WINDOWS, SKETCH_REGISTERS};
use crate::real::ln;
use crate::time::Time;

/// Bits of a key that name its register.
const REGISTER_BITS: u32 = SKETCH_REGISTERS.trailing_zeros();

/// Estimates how many distinct keys were added; keys must be well mixed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sketch {
    /// For each register the longest run of leading zeros seen, plus one; 0 means nothing seen. None while no key was
    /// added: thousands of members without sessions shall cost nothing.
    registers: Option<Box<[u8; SKETCH_REGISTERS]>>,
}

impl Sketch {
    pub fn add(&mut self, key: u64) {
        let register = (key >> (64 - REGISTER_BITS)) as usize;
        // The bit that is set last ends the run where all bits of the key are zero.
        let rest = (key << REGISTER_BITS) | (1 << (REGISTER_BITS - 1));
        let rank = rest.leading_zeros() as u8 + 1;
        let registers = self.registers.get_or_insert_with(|| Box::new([0; SKETCH_REGISTERS]));
        registers[register] = registers[register].max(rank);
    }

    /// Makes this the sketch of all keys of both.
    pub fn merge(&mut self, other: &Sketch) {
        let Some(theirs) = &other.registers else { return };
        match &mut self.registers {
            None => self.registers = Some(theirs.clone()),
            Some(mine) => {
                mine.iter_mut().zip(theirs.iter()).for_each(|(mine, theirs)| *mine = (*mine).max(*theirs))
            }
        }
    }

    pub fn estimate(&self) -> u64 {
        let Some(registers) = &self.registers else { return 0 };
        let count = SKETCH_REGISTERS as f64;
        let zeros = registers.iter().filter(|register| **register == 0).count() as f64;
        let sum: f64 = registers.iter().map(|register| 0.5_f64.powi(i32::from(*register))).sum();
        let raw = 0.7213 / (1.0 + 1.079 / count) * count * count / sum;
        // Few keys leave registers empty, and counting those is more exact (Flajolet and others, 2007).
        let estimate = if raw <= 2.5 * count && zeros > 0.0 { count * ln(count / zeros) } else { raw };
        estimate.round() as u64
    }
}

/// The sessions of one member, as one router thread saw them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SessionCount {
    windows: [Sketch; SESSION_WINDOWS],
    /// Number of the running window since time 0; its sketch is at that number modulo `SESSION_WINDOWS`.
    running: u64,
}

impl SessionCount {
    pub fn add(&mut self, key: u64, now: Time) {
        self.turn(now);
        self.windows[self.running as usize % SESSION_WINDOWS].add(key);
    }

    /// Makes this the count of both.
    pub fn merge(&mut self, other: &SessionCount, now: Time) {
        self.turn(now);
        let oldest = self.running.saturating_sub(SESSION_WINDOWS as u64 - 1);
        let other_oldest = other.running.saturating_sub(SESSION_WINDOWS as u64 - 1);
        for number in oldest.max(other_oldest)..=self.running.min(other.running) {
            let place = number as usize % SESSION_WINDOWS;
            self.windows[place].merge(&other.windows[place]);
        }
    }

    pub fn estimate(&mut self, now: Time) -> u64 {
        self.turn(now);
        let mut all = Sketch::default();
        for window in &self.windows {
            all.merge(window);
        }
        all.estimate()
    }

    /// Empties the windows that have begun since the last call.
    fn turn(&mut self, now: Time) {
        let running = now.0 / SESSION_WINDOW_MS;
        let begun = running.saturating_sub(self.running).min(SESSION_WINDOWS as u64);
        for back in 0..begun {
            self.windows[(running - back) as usize % SESSION_WINDOWS] = Sketch::default();
        }
        self.running = self.running.max(running);
    }
}

#[cfg(test)]
mod tests;

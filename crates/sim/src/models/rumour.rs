//! What a host of a gossip protocol believes and passes on.

use std::collections::BTreeMap;
use std::rc::Rc;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Alive,
    Suspect,
    Dead,
}

/// News about one host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rumour {
    pub about: u32,
    pub state: State,
    pub incarnation: u32,
    /// Who says so first hand.
    pub from: u32,
}

impl Rumour {
    /// On the wire, as memberlist writes it: names of fields are sent with it. Host names of twelve letters.
    pub fn bytes(&self) -> u64 {
        match self.state {
            State::Alive => 85,
            State::Suspect | State::Dead => 45,
        }
    }
}

/// News that is still to be passed on, each so many times.
#[derive(Debug, Clone, Default)]
pub struct Rumours {
    waiting: Vec<(Rumour, u32)>,
}

/// News in one packet: what fits into 1,400 bytes.
const RUMOURS_PER_PACKET_MAX: usize = 30;

impl Rumours {
    /// Newer news about a host replace older ones.
    pub fn add(&mut self, rumour: Rumour) {
        self.waiting.retain(|(known, _)| known.about != rumour.about);
        self.waiting.push((rumour, 0));
    }

    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// For one packet, those first that were sent least; forgotten once sent so many times.
    pub fn take(&mut self, sends_max: u32) -> Rc<[Rumour]> {
        if self.waiting.is_empty() {
            return Rc::new([]);
        }
        self.waiting.sort_by_key(|(_, sends)| *sends);
        let taken = self.waiting.iter_mut().take(RUMOURS_PER_PACKET_MAX).map(|(rumour, sends)| {
            *sends += 1;
            *rumour
        });
        let taken: Rc<[Rumour]> = taken.collect();
        self.waiting.retain(|(_, sends)| *sends < sends_max);
        taken
    }
}

/// What one host believes of all others; those that it never heard of are alive.
#[derive(Debug, Clone, Default)]
pub struct List {
    known: BTreeMap<u32, (State, u32)>,
    pub dead: usize,
}

impl List {
    /// State and incarnation.
    pub fn of(&self, host: usize) -> (State, u32) {
        self.known.get(&(host as u32)).copied().unwrap_or((State::Alive, 0))
    }

    pub fn set(&mut self, host: u32, state: State, incarnation: u32) {
        let before = self.known.insert(host, (state, incarnation)).map_or(State::Alive, |(state, _)| state);
        self.dead -= usize::from(before == State::Dead);
        self.dead += usize::from(state == State::Dead);
    }

    /// Everything that is not as at the start.
    pub fn news(&self) -> impl Iterator<Item = (u32, State, u32)> {
        self.known.iter().map(|(host, (state, incarnation))| (*host, *state, *incarnation))
    }
}

//! A world for protocols at size: hosts that crash, stall and lose what they send or hear, and a heap of events.
//!
//! A host may also be blocked: what it sends and hears waits, and its time-outs go on.
//!
//! Each event belongs to a host. One that has crashed handles nothing more. One that stalls handles nothing until it
//! goes on, and then first what its own clock woke it for, then one by one what had arrived: as programs do whose
//! time-outs fire before they have read their sockets. Times are microseconds; shares are parts of a thousand.

use logic::seed::Chance;
use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// What comes to a host.
#[derive(Debug, Clone)]
struct Entry<E> {
    at_us: u64,
    order: u64,
    host: u32,
    is_message: bool,
    event: E,
}

impl<E> PartialEq for Entry<E> {
    fn eq(&self, other: &Self) -> bool {
        (self.at_us, self.order) == (other.at_us, other.order)
    }
}

impl<E> Eq for Entry<E> {}

impl<E> PartialOrd for Entry<E> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> Ord for Entry<E> {
    /// The earliest is the greatest: that is what a heap gives first.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at_us, other.order).cmp(&(self.at_us, self.order))
    }
}

#[derive(Debug, Clone, Default)]
pub struct Host {
    pub is_crashed: bool,
    /// Of what is sent to it.
    pub ingress_loss: u32,
    /// Of what it sends.
    pub egress_loss: u32,
    stalled_until_us: u64,
    /// Only what it sends and hears waits; its time-outs go on.
    is_only_blocked: bool,
    /// Messages that have waited since it last stalled.
    unread: u64,
    pub sent: Meter,
    pub received: Meter,
}

/// Bytes of one host, and the most in a second.
#[derive(Debug, Clone, Copy, Default)]
pub struct Meter {
    pub bytes: u64,
    pub most_per_second: u64,
    second: u64,
    in_second: u64,
}

impl Meter {
    fn add(&mut self, now_us: u64, bytes: u64) {
        let second = now_us / 1_000_000;
        if second != self.second {
            (self.second, self.in_second) = (second, 0);
        }
        self.bytes += bytes;
        self.in_second += bytes;
        self.most_per_second = self.most_per_second.max(self.in_second);
    }
}

/// A protocol: what its hosts do about their events.
pub trait Model {
    type Event;
    fn handle(&mut self, world: &mut World<Self::Event>, host: usize, event: Self::Event);
}

#[derive(Debug)]
pub struct World<E> {
    pub now_us: u64,
    pub chance: Chance,
    pub hosts: Vec<Host>,
    /// Least and most that a message is under way.
    pub delay_us: (u32, u32),
    pub events: u64,
    queue: BinaryHeap<Entry<E>>,
    queued: u64,
}

/// What it takes a host that goes on to read each message that waited in its socket.
const READ_US: u64 = 200;

impl<E> World<E> {
    pub fn new(hosts: usize, seed: u64) -> Self {
        Self {
            now_us: 0,
            chance: Chance::new(seed),
            hosts: vec![Host::default(); hosts],
            delay_us: (100, 1_000),
            events: 0,
            queue: BinaryHeap::new(),
            queued: 0,
        }
    }

    fn push(&mut self, at_us: u64, host: usize, is_message: bool, event: E) {
        self.queued += 1;
        self.queue.push(Entry { at_us, order: self.queued, host: host as u32, is_message, event });
    }

    /// Wakes a host after so long.
    pub fn wake(&mut self, host: usize, after_us: u64, event: E) {
        self.push(self.now_us + after_us, host, false, event);
    }

    /// What came by other ways than `send`, after so long.
    pub fn arrive(&mut self, host: usize, after_us: u64, event: E) {
        self.push(self.now_us + after_us, host, true, event);
    }

    /// From nothing to so many microseconds, without the last.
    pub fn some_us(&mut self, most_us: u64) -> u64 {
        u64::from(self.chance.below(most_us.max(1) as u32))
    }

    /// The host gets no time of its processor until then; `is_only_blocked`: it can only neither send nor hear.
    pub fn stall(&mut self, host: usize, until_us: u64, is_only_blocked: bool) {
        let host = &mut self.hosts[host];
        (host.stalled_until_us, host.is_only_blocked, host.unread) = (until_us, is_only_blocked, 0);
    }

    fn is_lost(&mut self, share: u32) -> bool {
        share > 0 && self.chance.below(1_000) < share
    }

    /// A message from one host to another, which may never come.
    pub fn send(&mut self, from: usize, to: usize, bytes: u64, event: E) {
        let now_us = self.now_us;
        self.hosts[from].sent.add(now_us, bytes);
        let (egress, ingress) = (self.hosts[from].egress_loss, self.hosts[to].ingress_loss);
        if self.is_lost(egress) || self.is_lost(ingress) || self.hosts[to].is_crashed {
            return;
        }
        let (least, most) = self.delay_us;
        // What a blocked host sends leaves once it goes on.
        let held_us = self.hosts[from].stalled_until_us.saturating_sub(now_us);
        let delay_us = held_us + u64::from(least) + self.some_us(u64::from(most - least + 1));
        self.hosts[to].received.add(now_us, bytes);
        self.push(now_us + delay_us, to, true, event);
    }

    /// Whether a connection between two hosts can be made and used now: a handshake and an exchange must pass both ways.
    pub fn can_connect(&mut self, one: usize, other: usize) -> bool {
        let is_up = |host: &Host| !host.is_crashed && host.stalled_until_us <= self.now_us;
        if !is_up(&self.hosts[one]) || !is_up(&self.hosts[other]) {
            return false;
        }
        (0..2).all(|_| self.passes(one, other) && self.passes(other, one))
    }

    fn passes(&mut self, from: usize, to: usize) -> bool {
        let (egress, ingress) = (self.hosts[from].egress_loss, self.hosts[to].ingress_loss);
        !self.is_lost(egress) && !self.is_lost(ingress)
    }

    pub fn run_until_us<M: Model<Event = E>>(&mut self, model: &mut M, end_us: u64) {
        while self.queue.peek().is_some_and(|entry| entry.at_us <= end_us) {
            let entry = self.queue.pop().expect("there is one to look at");
            self.now_us = entry.at_us;
            let host = entry.host as usize;
            let Host { is_crashed, stalled_until_us, is_only_blocked, .. } = self.hosts[host];
            if is_crashed {
                continue;
            }
            if stalled_until_us > self.now_us && (entry.is_message || !is_only_blocked) {
                let unread = &mut self.hosts[host].unread;
                *unread += u64::from(entry.is_message);
                let late_us = if entry.is_message { *unread * READ_US } else { 0 };
                self.push(stalled_until_us + late_us, host, entry.is_message, entry.event);
                continue;
            }
            self.events += 1;
            model.handle(self, host, entry.event);
        }
        self.now_us = end_us;
    }
}

/// A walk over all hosts in an order drawn by chance, each once: what a shuffled list gives, without the list.
#[derive(Debug, Clone, Copy)]
pub struct Walk {
    step: u64,
    start: u64,
    done: u64,
    count: u64,
}

impl Walk {
    pub fn new(count: usize, chance: &mut Chance) -> Self {
        let count = count as u64;
        let mut walk = Self { step: 1, start: 0, done: 0, count };
        walk.begin(chance);
        walk
    }

    fn begin(&mut self, chance: &mut Chance) {
        self.done = 0;
        self.start = u64::from(chance.below(self.count as u32));
        self.step = 1 + u64::from(chance.below(self.count as u32));
        while common_divisor(self.step, self.count) != 1 {
            self.step += 1;
        }
    }

    /// The next host; after the last a new walk begins.
    pub fn next(&mut self, chance: &mut Chance) -> usize {
        if self.done == self.count {
            self.begin(chance);
        }
        let place = (self.start + self.step * self.done) % self.count;
        self.done += 1;
        place as usize
    }
}

fn common_divisor(one: u64, other: u64) -> u64 {
    if other == 0 { one } else { common_divisor(other, one % other) }
}

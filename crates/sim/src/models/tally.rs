//! What a case came to, in the same words for every protocol.

use std::collections::BTreeSet;

/// What goes wrong with the first `faulty` of `nodes` hosts, from `at_s` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    None,
    Crash,
    /// Nothing reaches them for 20 s, everything for the next 20 s, and so on.
    DeafOnAndOff,
    /// They lose so many of a thousand datagrams that they send.
    EgressLoss(u32),
    /// They get no time of their processor for up to so many milliseconds, then run for up to as many of the second.
    Stalls {
        blocked_ms: u32,
        runs_ms: u32,
    },
    /// The same, but their time-outs go on: only what they send and hear waits.
    Blocks {
        blocked_ms: u32,
        runs_ms: u32,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Case {
    pub nodes: usize,
    pub faulty: usize,
    pub fault: Fault,
    pub at_s: u64,
    pub until_s: u64,
    pub seed: u64,
}

/// Seen from outside. Durations count from when the fault began.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Found {
    /// When the first faulty one was removed anywhere.
    pub first_ms: Option<u64>,
    /// When the last faulty one was removed everywhere; None: they never all were.
    pub everywhere_ms: Option<u64>,
    /// Different sizes of the cell that were seen by anybody who is well, or epochs where there are such.
    pub views: usize,
    /// Whether all faulty ones are removed everywhere at the end.
    pub is_concluded: bool,
    /// Times that somebody removed a host that is well; and those of them at hosts that are well.
    pub false_removals: u64,
    pub false_at_healthy: u64,
    /// Times that somebody took a removed faulty host back.
    pub returns: u64,
    pub sent: Rate,
    pub received: Rate,
}

/// Bytes a second of one host.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Rate {
    pub mean: f64,
    pub most: u64,
}

/// Notes removals as they happen.
#[derive(Debug)]
pub struct Tally {
    case: Case,
    /// Who keeps a list of its own.
    observers: usize,
    /// For each host, how many of the healthy observers have removed it.
    removed_by: Vec<u32>,
    first_us: Option<u64>,
    everywhere_us: Option<u64>,
    false_removals: u64,
    false_at_healthy: u64,
    returns: u64,
    sizes: BTreeSet<usize>,
}

impl Tally {
    /// `observers`: each host, or one service.
    pub fn new(case: Case, observers: usize) -> Self {
        Self {
            case,
            observers,
            removed_by: vec![0; case.nodes],
            first_us: None,
            everywhere_us: None,
            false_removals: 0,
            false_at_healthy: 0,
            returns: 0,
            sizes: BTreeSet::new(),
        }
    }

    fn is_healthy(&self, host: usize) -> bool {
        host >= self.case.faulty || self.case.fault == Fault::None
    }

    fn is_healthy_observer(&self, observer: usize) -> bool {
        self.observers == 1 || self.is_healthy(observer)
    }

    fn is_everywhere(&self) -> bool {
        let healthy = if self.observers == 1 { 1 } else { self.observers - self.case.faulty };
        self.removed_by[..self.case.faulty].iter().all(|count| *count as usize == healthy)
    }

    pub fn removed(&mut self, now_us: u64, observer: usize, host: usize) {
        let is_healthy_observer = self.is_healthy_observer(observer);
        if is_healthy_observer {
            self.removed_by[host] += 1;
        }
        if self.is_healthy(host) {
            self.false_removals += 1;
            self.false_at_healthy += u64::from(is_healthy_observer);
        } else if is_healthy_observer {
            self.first_us = self.first_us.or(Some(now_us));
            if self.everywhere_us.is_none() && self.is_everywhere() {
                self.everywhere_us = Some(now_us);
            }
        }
    }

    pub fn returned(&mut self, observer: usize, host: usize) {
        if self.is_healthy_observer(observer) {
            self.removed_by[host] -= 1;
            self.returns += u64::from(!self.is_healthy(host));
        }
    }

    /// Somebody who is well looks at how many there are.
    pub fn saw(&mut self, size: usize) {
        self.sizes.insert(size);
    }

    pub fn found(&self, sent: Rate, received: Rate) -> Found {
        let at_us = self.case.at_s * 1_000_000;
        let since_ms = |us: u64| us.saturating_sub(at_us) / 1_000;
        Found {
            first_ms: self.first_us.map(since_ms),
            everywhere_ms: self.everywhere_us.map(since_ms),
            views: self.sizes.len(),
            is_concluded: self.is_everywhere(),
            false_removals: self.false_removals,
            false_at_healthy: self.false_at_healthy,
            returns: self.returns,
            sent,
            received,
        }
    }
}

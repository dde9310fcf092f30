//! The other managers, as their datagrams tell: which of these count, and which manager is there.
//!
//! A datagram counts once, and only if it repeats this manager's run, so it was sent since. What was recorded and is sent
//! again changes nothing, across starts of either side. Each tells the others its run by presences; whoever starts is
//! believed after one of each side. A run that somebody only claims gets presences too, beside the proven one, so that
//! replayed claims shut nobody out. Not here: codes, which the shell has compared before, and what follows from what
//! managers say of nodes (see `Detector`).

use crate::limits::{FELLOW_DOWN_AFTER_MS, FELLOW_RUNS_MAX, MANAGERS_MAX};
use crate::time::Time;
use std::collections::VecDeque;
use wire::heartbeat::between::{Head, Topic};
use wire::id::{CellNumber, ManagerNumber, TermNumber};

/// Sequences below the newest that may still come. 64: what one look sends at most may arrive in any order.
const WINDOW: u64 = 64;

/// The run of which another manager has proven to be, and what of it has counted.
#[derive(Debug, Clone, Copy)]
struct Proven {
    run: u64,
    newest: u64,
    /// Bit n: the sequence n below the newest has counted.
    counted: u64,
}

impl Proven {
    /// False: it has counted before, or is too old to tell.
    fn count(&mut self, sequence: u64) -> bool {
        if sequence > self.newest {
            let ahead = sequence - self.newest;
            self.counted = if ahead < WINDOW { self.counted << ahead | 1 } else { 1 };
            self.newest = sequence;
            return true;
        }
        let behind = self.newest - sequence;
        let is_new = behind < WINDOW && self.counted & (1 << behind) == 0;
        if is_new {
            self.counted |= 1 << behind;
        }
        is_new
    }
}

#[derive(Debug, Clone)]
struct Fellow {
    manager: ManagerNumber,
    /// The run of what came last and may be from before this manager started.
    claimed_run: Option<u64>,
    proven: Option<Proven>,
    earlier_runs: VecDeque<u64>,
    /// Since when it is there, and when it was heard last.
    heard: Option<(Time, Time)>,
    /// What people were told last.
    is_told_down: bool,
}

/// What a genuine datagram is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    Counts,
    /// Perhaps it is from before this manager started: its run is noted, and asked for.
    Unproven,
    /// It has counted before, or another run has begun since.
    Old,
    /// Of nobody who is a manager of this cell, or not meant for this one.
    Foreign,
}

/// Another manager, for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// This manager has not listened for long enough.
    Unknown,
    There {
        since: Time,
    },
    Down {
        /// When it was heard last; None: not since this manager started.
        since: Option<Time>,
    },
}

#[derive(Debug, Clone)]
pub struct Fellows {
    cell: CellNumber,
    me: ManagerNumber,
    run: u64,
    started_at: Time,
    sequence: u64,
    fellows: Vec<Fellow>,
    /// The highest term of which any of them has told.
    highest: TermNumber,
}

impl Fellows {
    /// `run`: drawn by chance.
    pub fn new(cell: CellNumber, me: ManagerNumber, managers: &[ManagerNumber], run: u64, now: Time) -> Self {
        assert!(managers.len() <= MANAGERS_MAX, "{} managers", managers.len());
        let others = managers.iter().filter(|manager| **manager != me);
        let fellow = |manager: &ManagerNumber| Fellow {
            manager: *manager,
            claimed_run: None,
            proven: None,
            earlier_runs: VecDeque::new(),
            heard: None,
            is_told_down: false,
        };
        let (fellows, highest) = (others.map(fellow).collect(), TermNumber(0));
        Self { cell, me, run, started_at: now, sequence: 0, fellows, highest }
    }

    pub fn others(&self) -> impl Iterator<Item = ManagerNumber> {
        self.fellows.iter().map(|fellow| fellow.manager)
    }

    pub fn highest(&self) -> TermNumber {
        self.highest
    }

    fn place_of(&self, manager: ManagerNumber) -> Option<usize> {
        self.fellows.iter().position(|fellow| fellow.manager == manager)
    }

    /// Whether it may be worth while to compare the code. Costs nothing, for floods.
    pub fn concerns(&self, head: &Head) -> bool {
        head.cell == self.cell && head.to == self.me && self.place_of(head.from).is_some()
    }

    /// Takes a datagram whose code is right.
    pub fn hear(&mut self, now: Time, head: &Head) -> Word {
        let place = self.place_of(head.from).filter(|_| self.concerns(head));
        let Some(fellow) = place.map(|place| &mut self.fellows[place]) else { return Word::Foreign };
        if fellow.earlier_runs.contains(&head.run) {
            return Word::Old;
        }
        if head.to_run != self.run {
            fellow.claimed_run = Some(head.run);
            return Word::Unproven;
        }
        match &mut fellow.proven {
            Some(proven) if proven.run == head.run => {
                if !proven.count(head.sequence) {
                    return Word::Old;
                }
            }
            known => {
                fellow.earlier_runs.extend(known.map(|known| known.run));
                if fellow.earlier_runs.len() > FELLOW_RUNS_MAX {
                    fellow.earlier_runs.pop_front();
                }
                *known = Some(Proven { run: head.run, newest: head.sequence, counted: 1 });
            }
        }
        fellow.claimed_run = fellow.claimed_run.filter(|claimed| *claimed != head.run);
        let is_there = |(_, last): &(Time, Time)| now.since_ms(*last) < FELLOW_DOWN_AFTER_MS;
        let since = fellow.heard.filter(is_there).map_or(now, |(since, _)| since);
        fellow.heard = Some((since, now));
        self.highest = self.highest.max(head.term);
        Word::Counts
    }

    fn head(&mut self, topic: Topic, to: (ManagerNumber, u64), leads: bool, term: TermNumber) -> Head {
        self.sequence += 1;
        Head {
            topic,
            leads,
            cell: self.cell,
            from: self.me,
            to: to.0,
            run: self.run,
            to_run: to.1,
            sequence: self.sequence,
            term,
            asked_at: None,
        }
    }

    /// What tells the others that this manager is there: one or two for each.
    pub fn presences(&mut self, leads: bool, term: TermNumber) -> Vec<Head> {
        let mut to = Vec::new();
        for fellow in &self.fellows {
            let proven = fellow.proven.map(|proven| proven.run);
            let runs = proven.into_iter().chain(fellow.claimed_run);
            to.extend(runs.map(|run| (fellow.manager, run)));
            if proven.is_none() && fellow.claimed_run.is_none() {
                to.push((fellow.manager, 0));
            }
        }
        to.into_iter().map(|to| self.head(Topic::Presence, to, leads, term)).collect()
    }

    /// The head of what is said to another manager; None for one that has not proven yet that it is there.
    pub fn word_to(
        &mut self,
        to: ManagerNumber,
        topic: Topic,
        leads: bool,
        term: TermNumber,
        asked_at: Option<Time>,
    ) -> Option<Head> {
        let run = self.fellows[self.place_of(to)?].proven?.run;
        Some(Head { asked_at: asked_at.map(|at| at.0), ..self.head(topic, (to, run), leads, term) })
    }

    /// From now on people are told of all that are down; nobody knows what they were told before.
    pub fn tell_anew(&mut self) {
        self.fellows.iter_mut().for_each(|fellow| fellow.is_told_down = false);
    }

    /// Who is down since this was asked last, false, and who is back, true.
    pub fn news(&mut self, now: Time) -> Vec<(ManagerNumber, bool)> {
        let presence: Vec<(ManagerNumber, Presence)> = self.presence(now).collect();
        let known = self.fellows.iter_mut().zip(presence);
        let news = known.filter_map(|(fellow, (manager, presence))| {
            let is_down = match presence {
                Presence::Unknown => return None,
                Presence::There { .. } => false,
                Presence::Down { .. } => true,
            };
            let was_down = std::mem::replace(&mut fellow.is_told_down, is_down);
            (was_down != is_down).then_some((manager, !is_down))
        });
        news.collect()
    }

    pub fn presence(&self, now: Time) -> impl Iterator<Item = (ManagerNumber, Presence)> {
        self.fellows.iter().map(move |fellow| {
            let last = fellow.heard.map(|(_, last)| last);
            let silence_ms = now.since_ms(last.unwrap_or(self.started_at));
            let presence = match fellow.heard {
                _ if silence_ms >= FELLOW_DOWN_AFTER_MS => Presence::Down { since: last },
                Some((since, _)) => Presence::There { since },
                None => Presence::Unknown,
            };
            (fellow.manager, presence)
        })
    }
}

#[cfg(test)]
mod tests;

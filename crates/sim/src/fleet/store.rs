//! The store of a fleet: `logic::model` behind a network, that may be down, slow, or put back to an older state.

use super::world::{Event, Fleet, Place};
use crate::asked::{ANSWER_WAIT_US, Asked};
use logic::model::{Model, Read, Revision, Snapshot};
use logic::term::{Input, Outcome, PREFIX};

#[derive(Debug, Default)]
pub(super) struct Store {
    pub model: Model,
    pub commits: u64,
    pub is_down: bool,
    /// It is being put back to an older state until then.
    pub away_until_us: u64,
    /// Its disk is full: it reads, and refuses to write.
    pub is_full: bool,
    /// Added to every answer.
    pub slow_us: u64,
    pub copy: Option<Model>,
    /// Kill this manager when its next commit has happened and before it hears of it.
    pub kill_on_commit: Option<usize>,
    /// The same, but the manager only gets no more time of its processor.
    pub stop_on_commit: Option<usize>,
}

impl Fleet {
    pub(super) fn ask_store(&mut self, manager: usize, asked: Asked) {
        let run = self.managers[manager].run;
        let refused = asked.no_answer();
        self.after(ANSWER_WAIT_US, Event::ToElector { manager, run, input: refused });
        if self.is_lost(Place::Manager(manager), Place::Store) {
            return;
        }
        // Now and then a request lies about for long, and arrives when nobody waits for it any more.
        let longest_us = if self.has_mischief && self.chance.percent(1) { 2_000_000 } else { 4_000 };
        let delay_us = self.some(500, longest_us) + self.store.slow_us;
        self.after(delay_us, Event::ToStore { manager, run, asked });
    }

    pub(super) fn on_store(&mut self, manager: usize, run: u64, asked: Asked) {
        if self.store.is_down || self.now_us < self.store.away_until_us {
            return;
        }
        let before: Revision = self.store.model.changes(PREFIX, 0).revision;
        let input = match asked {
            Asked::Read { ask } => {
                let snapshot: Snapshot = self.store.model.read(&Read::Prefix(PREFIX.into()));
                Input::Read { ask, snapshot: Some(snapshot) }
            }
            Asked::Commit { attempt, .. } if self.store.is_full => {
                Input::Committed { attempt, outcome: Outcome::NotDone }
            }
            Asked::Commit { attempt, txn } => {
                let outcome = match self.store.model.commit(&txn) {
                    Ok(revision) => {
                        self.store.commits += 1;
                        Outcome::Done { revision }
                    }
                    Err(_) => Outcome::Refused,
                };
                if self.store.kill_on_commit == Some(manager) && outcome != Outcome::Refused {
                    self.store.kill_on_commit = None;
                    self.tell(|| format!("manager-{} is killed before it hears of its commit", manager + 1));
                    self.kill_manager(manager);
                }
                if self.store.stop_on_commit == Some(manager) && outcome != Outcome::Refused {
                    self.store.stop_on_commit = None;
                    self.tell(|| format!("manager-{} is stopped before it hears of its commit", manager + 1));
                    self.stop_manager(manager);
                }
                Input::Committed { attempt, outcome }
            }
        };
        if !self.is_lost(Place::Store, Place::Manager(manager)) {
            let delay_us = self.some(500, 4_000);
            self.after(delay_us, Event::ToElector { manager, run, input });
        }
        self.tell_watchers(before);
    }

    fn tell_watchers(&mut self, before: Revision) {
        let changes = self.store.model.changes(PREFIX, before);
        if changes.changes.is_empty() {
            return;
        }
        for manager in 0..self.managers.len() {
            // Watches break too: nothing may depend on them.
            if !self.is_lost(Place::Store, Place::Manager(manager)) && !self.chance.percent(2) {
                let delay_us = self.some(500, 6_000);
                let (run, input) = (self.managers[manager].run, Input::Changed(changes.clone()));
                self.after(delay_us, Event::ToElector { manager, run, input });
            }
        }
    }
}

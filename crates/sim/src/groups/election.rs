//! Several managers: who leads is elected over the store, which may be down, out of reach of some, or put back; and what the
//! managers say to each other.

use super::{Event, World};
use crate::asked::{ANSWER_WAIT_US, Asked};
use logic::heartbeat;
use logic::lease::Profile;
use logic::machine::Machine;
use logic::model::{Check, Read, Revision, Txn, Write};
use logic::term::{Elector, Input, Outcome, Output, PREFIX};
use wire::id::TermNumber;

/// Pause between words of a manager to the others.
const PRESENCE_US: u64 = 200_000;

/// What one manager says to another.
#[derive(Debug, Clone)]
pub(super) enum Word {
    Term(TermNumber),
    Of(heartbeat::Input),
}

impl World {
    /// What nodes are granted.
    pub(super) fn lease(&self) -> Profile {
        if self.managers.len() > 1 { self.profile.across_leaders() } else { self.profile }
    }

    /// What is sent lies about for seconds now and then.
    pub(super) fn has_mischief(&self) -> bool {
        self.has_several && !self.is_calm
    }

    /// The store is down, being put back, or out of this manager's reach.
    pub(super) fn is_away_from(&self, manager: usize) -> bool {
        self.is_store_down || self.now_us < self.away_until_us || self.cut_store.contains(&manager)
    }

    pub(super) fn wake_elector(&mut self, run: u64) {
        let Some(manager) = self.manager_of(run) else { return };
        let host = &self.managers[manager];
        let now = host.clock.shows(self.now_us);
        let due = host.process.as_ref().and_then(|process| process.elector.as_ref()?.wake_at());
        if due.is_some_and(|due| due <= now) {
            self.step_elector(run, Input::Tick);
        }
    }

    pub(super) fn step_elector(&mut self, run: u64, input: Input) {
        let Some(manager) = self.manager_of(run) else { return };
        let host = &mut self.managers[manager];
        let now = host.clock.shows(self.now_us);
        let Some(elector) = host.process.as_mut().and_then(|process| process.elector.as_mut()) else {
            return;
        };
        let outputs = elector.step(now, input);
        elector.check();
        if let Some(due) = elector.wake_at() {
            let at_us = host.clock.reaches(due);
            self.at(at_us, Event::WakeElector { run });
        }
        for output in outputs {
            self.on_elected(manager, run, output);
        }
    }

    fn on_elected(&mut self, manager: usize, run: u64, output: Output) {
        match output {
            Output::Read { ask } => self.ask_store(manager, run, Asked::Read { ask }),
            Output::Commit { attempt, txn } => self.ask_store(manager, run, Asked::Commit { attempt, txn }),
            Output::Lead { term, fence, .. } => {
                let process = self.managers[manager].process.as_mut();
                let is_new = process.is_some_and(|process| process.begins.replace(term) != Some(term));
                if is_new {
                    let pause_us = self.some(500, 20_000);
                    self.after(pause_us, Event::BeginTerm { run, term, fence });
                }
            }
            Output::Stop { term, why } => {
                self.tell(|| format!("manager-{} stops in term {term}: {why}", manager + 1));
                self.end_term(manager);
                let pause_us = self.some(0, self.profile.stop_ms * 1_000);
                self.after(pause_us, Event::ToElector { run, input: Input::Stopped { term } });
            }
            Output::Tell(_) => {}
        }
    }

    /// Takes a generation, which fails once another term has begun, and reads what those before have left.
    pub(super) fn begin_term(&mut self, run: u64, term: TermNumber, fence: Check) {
        let Some(manager) = self.manager_of(run) else { return };
        let host = &self.managers[manager];
        let now = host.clock.shows(self.now_us);
        let elector = host.process.as_ref().and_then(|process| process.elector.as_ref());
        if elector.and_then(|elector| elector.acting(now)) != Some(term) {
            return;
        }
        let write = Write::put("generation".to_owned(), (self.generation + 1).to_string());
        let txn = Txn { checks: vec![fence.clone()], writes: vec![write] };
        if self.is_away_from(manager) || self.store.commit(&txn).is_err() {
            return self.after(100_000, Event::BeginTerm { run, term, fence });
        }
        self.lead(manager, Some(term), Some(fence));
    }

    fn ask_store(&mut self, manager: usize, run: u64, asked: Asked) {
        let refused = asked.no_answer();
        self.after(ANSWER_WAIT_US, Event::ToElector { run, input: refused });
        // Now and then a request lies about for long, and arrives when nobody waits for it any more.
        let longest_us = if self.has_mischief() && self.chance.percent(1) { 2_000_000 } else { 4_000 };
        let pause_us = self.some(500, longest_us);
        self.after(pause_us, Event::AskStore { manager, run, asked });
    }

    pub(super) fn on_asked(&mut self, manager: usize, run: u64, asked: Asked) {
        if self.is_away_from(manager) {
            return;
        }
        let before: Revision = self.store.changes(PREFIX, 0).revision;
        let input = match asked {
            Asked::Read { ask } => {
                let snapshot = self.store.read(&Read::Prefix(PREFIX.into()));
                Input::Read { ask, snapshot: Some(snapshot) }
            }
            Asked::Commit { attempt, txn } => {
                let outcome = match self.store.commit(&txn) {
                    Ok(revision) => Outcome::Done { revision },
                    Err(_) => Outcome::Refused,
                };
                Input::Committed { attempt, outcome }
            }
        };
        let pause_us = self.some(500, 4_000);
        self.after(pause_us, Event::ToElector { run, input });
        let changes = self.store.changes(PREFIX, before);
        if changes.changes.is_empty() {
            return;
        }
        for other in 0..self.managers.len() {
            let run = self.managers[other].process.as_ref().map(|process| process.run);
            // Watches break too: nothing may depend on them.
            if let (Some(run), false) = (run, self.is_away_from(other) || self.chance.percent(2)) {
                let pause_us = self.some(500, 6_000);
                self.after(pause_us, Event::ToElector { run, input: Input::Changed(changes.clone()) });
            }
        }
    }

    pub(super) fn resign(&mut self, manager: usize) {
        let run = self.managers[manager].process.as_ref().map(|process| process.run);
        if let (Some(run), false) = (run, self.managers[manager].is_stopped) {
            self.step_elector(run, Input::Resign);
        }
    }

    /// Which term it knows of, so that one which the store has forgotten is not given again.
    pub(super) fn tell_term(&mut self, manager: usize) {
        let now_us = self.now_us;
        let Some(process) = &mut self.managers[manager].process else { return };
        let highest = process.elector.as_ref().map(Elector::highest);
        if let Some(highest) = highest.filter(|_| now_us >= process.told_us + PRESENCE_US) {
            process.told_us = now_us;
            self.send_word(manager, None, &Word::Term(highest));
        }
    }

    pub(super) fn tell_others(&mut self, from: usize, to: Option<usize>, input: &heartbeat::Input) {
        self.send_word(from, to, &Word::Of(input.clone()));
    }

    fn send_word(&mut self, from: usize, to: Option<usize>, word: &Word) {
        for other in
            (0..self.managers.len()).filter(|other| *other != from && to.is_none_or(|to| to == *other))
        {
            let run = self.managers[other].process.as_ref().map(|process| process.run);
            let is_lost = self.cut_managers.contains(&(from, other));
            if let (Some(run), false) = (run, is_lost) {
                let pause_us = self.some(200, 3_000);
                self.after(pause_us, Event::Between { run, word: word.clone() });
            }
        }
    }

    pub(super) fn on_word(&mut self, run: u64, word: Word) {
        let Some(manager) = self.manager_of(run) else { return };
        match word {
            Word::Term(term) => self.step_elector(run, Input::Heard { term }),
            Word::Of(input) => self.step_detector(manager, input),
        }
    }
}

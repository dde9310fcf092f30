//! Elects one manager of several to lead, over a store that only reads, commits with checks, and tells of changes.
//!
//! One record holds the term, its manager and a counter that the leader raises. Who sees it stand still for L takes over
//! with a higher term; who led stops R after it sent its last renewal that was taken (`lease`). Promises:
//! - At most one manager acts at any moment, while clocks keep their rate and shells stop within K.
//! - A term has one manager. The number of a new one is above all that this manager ever saw or heard of.
//! - A commit whose end is unknown counts for nothing until the store shows it, then from when it was sent.
//! - Nothing is taken over before one lease of listening, and only after one more look; who was paused listens anew. One
//!   that a manager saw being released is taken over at once; one that it finds released, as in a store that was put
//!   back, is not.
//! - Each write of a leader can carry `Output::Lead::fence`: it fails once another term has begun.
//!
//! The store may be slow, gone, or put back to an older state: then nobody acts for a while, never two.
//! Not here: what a leader does. Two keys lie below `PREFIX`: the record, and the fence that only a new term writes.

mod message;
mod record;

use crate::lease::{Holding, Profile, Waiting};
use crate::limits::{RENEWALS_REMEMBERED_MAX, TERM_MAX};
use crate::machine::Machine;
use crate::model::{Changes, Check, Revision, Snapshot, Txn, Write};
use crate::time::Time;
pub use message::{Input, News, Outcome, Output, StopReason};
pub use record::{Candidate, Record, State};
use record::{FENCE_KEY, Found, RECORD_KEY};
use std::collections::VecDeque;
use wire::id::{ManagerName, TermNumber};

/// What a manager must read and watch.
pub const PREFIX: &str = "term/";

/// A commit on its way, or one of which nobody knows whether it happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Attempt {
    number: u64,
    term: TermNumber,
    counter: u64,
    sent_at: Time,
}

/// A term that the store gave to this manager.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Held {
    term: TermNumber,
    counter: u64,
    revision: Revision,
    fence: Revision,
    lease: Holding,
    /// Whether `Output::Lead` was said.
    is_led: bool,
    renew_at: Time,
}

/// What a follower saw of the record.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Sight {
    /// 0: there is no record.
    revision: Revision,
    found: Found,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Asking {
    number: u64,
    at: Time,
    /// The wait was over when it was asked: if nothing is new, the term is taken over.
    is_last_look: bool,
}

/// One manager's part in the election.
#[derive(Debug, Clone)]
pub struct Elector {
    me: Candidate,
    profile: Profile,
    /// The highest term that this manager knows of.
    highest: TermNumber,
    /// The highest term that the store has shown.
    stored: TermNumber,
    /// This manager never acts again in this term or below.
    finished: TermNumber,
    held: Option<Held>,
    /// None: it has not looked yet, or holds the term.
    seen: Option<Waiting<Sight>>,
    /// The record was seen to be released by a leader that was seen to lead just before: until then nobody else can have
    /// led in between, whatever became of the store.
    handed_until: Option<Time>,
    /// Oldest first.
    sent: VecDeque<Attempt>,
    /// The commit whose answer is waited for.
    in_flight: Option<(u64, Time)>,
    asking: Option<Asking>,
    numbers: u64,
    /// After a resignation: what to release, and whether everything is proven to have stopped.
    to_release: Option<(Held, bool)>,
    /// Nothing is asked or claimed before.
    pause_until: Time,
    contends_from: Time,
    /// Who was last said to be followed.
    followed: Option<TermNumber>,
}

impl Elector {
    /// `run` must differ from that of every other process there is or was: draw 64 bits by chance.
    pub fn new(manager: ManagerName, run: u64, profile: Profile) -> Self {
        Self {
            me: Candidate { manager, run },
            profile,
            highest: TermNumber(0),
            stored: TermNumber(0),
            finished: TermNumber(0),
            held: None,
            seen: None,
            handed_until: None,
            sent: VecDeque::with_capacity(RENEWALS_REMEMBERED_MAX),
            in_flight: None,
            asking: None,
            numbers: 0,
            to_release: None,
            pause_until: Time(0),
            contends_from: Time(0),
            followed: None,
        }
    }

    /// The term in which this manager may act at this moment. Ask right before each act: a process may be paused anywhere.
    pub fn acting(&self, now: Time) -> Option<TermNumber> {
        let held = self.held.as_ref().filter(|held| held.is_led && held.lease.may_act(now))?;
        Some(held.term)
    }

    /// That term, and the first moment at which it may not act any more, as far as is known now.
    pub fn holding(&self) -> Option<(TermNumber, Time)> {
        let held = self.held.as_ref().filter(|held| held.is_led)?;
        Some((held.term, held.lease.ends_at()))
    }

    /// The highest term that this manager knows of, its own or another's.
    pub fn highest(&self) -> TermNumber {
        self.highest
    }

    /// Longest wait for an answer before the store is asked again. Half a lease: the other half is for trying again.
    fn patience_ms(&self) -> u64 {
        self.profile.hold_ms / 2
    }

    fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    fn learn(&mut self, term: TermNumber) {
        if term.0 < TERM_MAX {
            self.highest = self.highest.max(term);
        }
    }

    fn ask(&mut self, now: Time, is_last_look: bool, outputs: &mut Vec<Output>) {
        let number = self.number();
        self.asking = Some(Asking { number, at: now, is_last_look });
        outputs.push(Output::Read { ask: number });
    }

    /// Writes the record, if it is still as it was. `fence` too for a new term.
    fn commit(&mut self, now: Time, check: Check, record: &Record, outputs: &mut Vec<Output>) {
        let number = self.number();
        if self.sent.len() == RENEWALS_REMEMBERED_MAX {
            self.sent.pop_front();
        }
        self.sent.push_back(Attempt { number, term: record.term, counter: record.counter, sent_at: now });
        self.in_flight = Some((number, now));
        let mut writes = vec![Write::put(RECORD_KEY, record.to_string())];
        if record.counter == 0 {
            writes.push(Write::put(FENCE_KEY, record.fence().to_string()));
        }
        outputs.push(Output::Commit { attempt: number, txn: Txn { checks: vec![check], writes } });
    }

    fn claim(&mut self, now: Time, outputs: &mut Vec<Output>) {
        let Some(sight) = self.seen.as_ref().map(Waiting::mark) else { return };
        let check = match (&sight.found, sight.revision) {
            (Found::Unreadable, _) => {
                self.pause_until = now + self.profile.wait_ms;
                return;
            }
            (Found::Absent, _) => Check::Absent { key: RECORD_KEY.into() },
            (Found::Record(_), revision) => Check::Unchanged { key: RECORD_KEY.into(), revision },
        };
        // Only now: a look may have been overtaken by a newer one, but not for a whole wait.
        let shown = match &sight.found {
            Found::Record(record) => record.term,
            Found::Absent | Found::Unreadable => TermNumber(0),
        };
        if shown < self.stored {
            outputs.push(Output::Tell(News::WentBack { known: self.stored }));
            self.stored = shown;
        }
        let term = TermNumber(self.highest.0 + 1);
        let record = Record { term, holder: self.me.clone(), counter: 0, state: State::Held };
        self.commit(now, check, &record, outputs);
    }

    fn renew(&mut self, now: Time, outputs: &mut Vec<Output>) {
        let Some(held) = &mut self.held else { return };
        // Above every attempt, so that what the store shows tells which of them it took.
        let counter = self.sent.iter().map(|attempt| attempt.counter).fold(held.counter, u64::max) + 1;
        held.renew_at = now + self.profile.renew_ms;
        let check = Check::Unchanged { key: RECORD_KEY.into(), revision: held.revision };
        let record = Record { term: held.term, holder: self.me.clone(), counter, state: State::Held };
        self.commit(now, check, &record, outputs);
    }

    fn stop(&mut self, now: Time, why: StopReason, outputs: &mut Vec<Output>) {
        let Some(held) = self.held.take() else { return };
        self.finished = self.finished.max(held.term);
        if held.is_led {
            outputs.push(Output::Stop { term: held.term, why });
        }
        let record =
            Record { term: held.term, holder: self.me.clone(), counter: held.counter, state: State::Held };
        let sight = Sight { revision: held.revision, found: Found::Record(record) };
        self.seen = Some(Waiting::new(&self.profile, now, sight));
        if why == StopReason::Resigned {
            self.to_release = Some((held, false));
            self.contends_from = now + 2 * self.profile.wait_ms;
        }
    }

    /// What this manager holds from now on, because the store took that attempt.
    fn taken(&mut self, now: Time, attempt: Attempt, revision: Revision, outputs: &mut Vec<Output>) {
        if attempt.term <= self.finished {
            return;
        }
        match &mut self.held {
            Some(held) if held.term == attempt.term => {
                held.lease.renewed(attempt.sent_at);
                held.counter = held.counter.max(attempt.counter);
                held.revision = held.revision.max(revision);
            }
            Some(_) => return,
            None => {
                self.learn(attempt.term);
                self.stored = self.stored.max(attempt.term);
                self.to_release = None;
                self.seen = None;
                self.held = Some(Held {
                    term: attempt.term,
                    counter: attempt.counter,
                    revision,
                    fence: revision,
                    lease: Holding::new(&self.profile, attempt.sent_at),
                    is_led: false,
                    renew_at: attempt.sent_at + self.profile.renew_ms,
                });
            }
        }
        let Some(held) = &mut self.held else { return };
        if held.lease.may_act(now) {
            held.is_led = true;
            let fence = Check::Unchanged { key: FENCE_KEY.into(), revision: held.fence };
            outputs.push(Output::Lead { term: held.term, fence, until: held.lease.ends_at() });
        }
    }

    fn on_committed(&mut self, now: Time, number: u64, outcome: Outcome, outputs: &mut Vec<Output>) {
        let is_awaited = self.in_flight.is_some_and(|(awaited, _)| awaited == number);
        if is_awaited {
            self.in_flight = None;
        }
        let attempt = self.sent.iter().find(|attempt| attempt.number == number).copied();
        match (outcome, attempt) {
            (Outcome::Done { revision }, Some(attempt)) => self.taken(now, attempt, revision, outputs),
            (Outcome::Refused | Outcome::Unknown, Some(_)) if is_awaited => {
                if self.held.is_none() {
                    // Whoever was first will be seen; a store that shows old states must not be asked without end.
                    self.pause_until = now + self.profile.renew_ms / 2;
                }
                self.ask(now, false, outputs);
            }
            (Outcome::NotDone, Some(_)) if is_awaited => self.pause_until = now + self.profile.renew_ms / 2,
            // Late news of what was given up, or of a release: the store will show what it led to.
            (_, _) => {}
        }
    }

    fn on_read(&mut self, now: Time, ask: u64, snapshot: Option<Snapshot>, outputs: &mut Vec<Output>) {
        let Some(asking) = self.asking.filter(|asking| asking.number == ask) else { return };
        self.asking = None;
        let Some(snapshot) = snapshot else {
            self.pause_until = now + self.profile.renew_ms / 2;
            return;
        };
        let entry = |key: &str| snapshot.entries.iter().find(|entry| entry.key == key);
        let record = entry(RECORD_KEY);
        let found = Found::parse(record.map(|entry| entry.value.as_slice()));
        let sight = Sight { revision: record.map_or(0, |entry| entry.revision), found };
        if self.is_own_claim(&sight) {
            // The claim whose end was unknown did happen; the fence was written with it.
            let attempt = self.attempt_of(&sight);
            if let (Some(attempt), Some(fence)) = (attempt, entry(FENCE_KEY)) {
                self.taken(now, attempt, fence.revision, outputs);
                return;
            }
        }
        self.look(now, sight, outputs);
        let is_over = self.seen.as_ref().is_some_and(|seen| seen.is_over(now));
        if asking.is_last_look && is_over && self.in_flight.is_none() && now >= self.contends_from {
            self.claim(now, outputs);
        }
    }

    fn is_own_claim(&self, sight: &Sight) -> bool {
        match &sight.found {
            Found::Record(record) => {
                self.held.is_none() && record.holder == self.me && record.term > self.finished
            }
            Found::Absent | Found::Unreadable => false,
        }
    }

    fn attempt_of(&self, sight: &Sight) -> Option<Attempt> {
        let Found::Record(record) = &sight.found else { return None };
        let is_it = |attempt: &&Attempt| attempt.term == record.term && attempt.counter == record.counter;
        self.sent.iter().find(is_it).copied().filter(|_| record.holder == self.me)
    }

    fn on_changed(&mut self, now: Time, changes: &Changes, outputs: &mut Vec<Output>) {
        let record = changes.changes.iter().find(|change| change.key == RECORD_KEY);
        if record.is_none() && !changes.is_whole {
            return;
        }
        let found = Found::parse(record.and_then(|change| change.value.as_deref()));
        let is_there = found != Found::Absent;
        let revision = record.filter(|_| is_there).map_or(0, |change| change.revision);
        let sight = Sight { revision, found };
        if self.is_own_claim(&sight) {
            if self.asking.is_none() {
                self.ask(now, false, outputs);
            }
            return;
        }
        // A watch may tell of what a newer answer has overtaken: only what is newer counts against a holder.
        let is_old = self.held.as_ref().is_some_and(|held| sight.revision <= held.revision);
        if !is_old {
            self.look(now, sight, outputs);
        }
    }

    /// The record is, or just was, like this.
    fn look(&mut self, now: Time, sight: Sight, outputs: &mut Vec<Output>) {
        if let Some(held) = &self.held {
            let goes_on = match &sight.found {
                Found::Record(record) => {
                    record.term == held.term
                        && record.holder == self.me
                        && record.counter >= held.counter
                        && sight.revision >= held.revision
                }
                Found::Absent | Found::Unreadable => false,
            };
            if goes_on {
                match self.attempt_of(&sight) {
                    Some(attempt) => self.taken(now, attempt, sight.revision, outputs),
                    // Sent too long ago to lengthen anything, but the next renewal must build on it.
                    None => self.held.iter_mut().for_each(|held| held.revision = sight.revision),
                }
                return;
            }
            let is_newer = matches!(&sight.found, Found::Record(record) if record.term > held.term);
            let why = if is_newer { StopReason::Superseded } else { StopReason::WentBack };
            self.stop(now, why, outputs);
        }
        self.tell(&sight, outputs);
        if let Found::Record(record) = &sight.found {
            self.learn(record.term);
            self.stored = self.stored.max(record.term);
        }
        match &mut self.seen {
            Some(seen) => {
                if seen.mark() != &sight {
                    let is_newest = |record: &Record| record.term == self.highest;
                    let is_handed = seen.mark().found.released_as(&sight.found).is_some_and(is_newest)
                        && sight.revision > seen.mark().revision;
                    self.handed_until = is_handed.then(|| seen.changed_at() + self.profile.hand_over_ms());
                }
                seen.saw(now, sight);
            }
            None => {
                self.handed_until = None;
                self.seen = Some(Waiting::new(&self.profile, now, sight));
            }
        }
    }

    fn tell(&mut self, sight: &Sight, outputs: &mut Vec<Output>) {
        if self.seen.as_ref().is_some_and(|seen| seen.mark() == sight) {
            return;
        }
        match &sight.found {
            Found::Record(record) if self.followed != Some(record.term) && record.holder != self.me => {
                self.followed = Some(record.term);
                let (term, manager) = (record.term, record.holder.manager.clone());
                outputs.push(Output::Tell(News::Follows { term, manager }));
            }
            Found::Record(_) => {}
            Found::Absent => {}
            Found::Unreadable => outputs.push(Output::Tell(News::Unreadable)),
        }
    }

    fn on_heard(&mut self, now: Time, term: TermNumber, outputs: &mut Vec<Output>) {
        self.learn(term);
        // Its own term may have been given before, in a history that the store has lost: a higher one is needed.
        if self.held.as_ref().is_some_and(|held| held.term < self.highest) {
            self.stop(now, StopReason::Outnumbered { heard: term }, outputs);
        }
    }

    /// What arrives after a pause was on its way before it, so it says nothing about when it happened; and a store that was
    /// put back meanwhile repeats its revisions, so not even a commit finds out. Who slept through more than K listens anew.
    fn notice_pause(&mut self, now: Time) {
        let was_paused = self.wake_at().is_some_and(|due| now > due + self.profile.stop_ms);
        if was_paused {
            self.handed_until = None;
            self.contends_from = self.contends_from.max(now + self.profile.wait_ms);
        }
    }

    /// Whatever is due by now.
    fn pursue(&mut self, now: Time, outputs: &mut Vec<Output>) {
        if self.held.as_ref().is_some_and(|held| held.is_led && !held.lease.may_act(now)) {
            self.stop(now, StopReason::LeaseOver, outputs);
        }
        self.handed_until = self.handed_until.filter(|until| now < *until);
        let patience_ms = self.patience_ms();
        if self.in_flight.is_some_and(|(_, since)| now >= since + patience_ms) {
            self.in_flight = None;
            self.ask(now, false, outputs);
        }
        if self.asking.is_some_and(|asking| now >= asking.at + patience_ms) {
            self.asking = None;
        }
        if self.in_flight.is_some() || self.asking.is_some() || now < self.pause_until {
            return;
        }
        if let Some((held, true)) = &self.to_release {
            let check = Check::Unchanged { key: RECORD_KEY.into(), revision: held.revision };
            let counter = held.counter + 1;
            let record = Record { term: held.term, holder: self.me.clone(), counter, state: State::Released };
            self.to_release = None;
            self.commit(now, check, &record, outputs);
            return;
        }
        match (&self.held, &self.seen) {
            (Some(held), _) if now >= held.renew_at => self.renew(now, outputs),
            (Some(_), _) => {}
            (None, None) => self.ask(now, false, outputs),
            (None, Some(seen)) if now < self.contends_from.max(self.claims_from(seen)) => {}
            // What was seen is proof, and the commit checks that nothing came in between.
            (None, Some(_)) if self.handed_until.is_some() => self.claim(now, outputs),
            (None, Some(_)) => self.ask(now, true, outputs),
        }
    }

    fn claims_from(&self, seen: &Waiting<Sight>) -> Time {
        if self.handed_until.is_some() { Time(0) } else { seen.ends_at() }
    }
}

impl Machine for Elector {
    type Input = Input;
    type Output = Output;

    fn step(&mut self, now: Time, input: Input) -> Vec<Output> {
        let mut outputs = Vec::new();
        self.notice_pause(now);
        // First of all: whoever was paused must hear that its time is over before anything else.
        if self.held.as_ref().is_some_and(|held| held.is_led && !held.lease.may_act(now)) {
            self.stop(now, StopReason::LeaseOver, &mut outputs);
        }
        match input {
            Input::Tick => {}
            Input::Read { ask, snapshot } => self.on_read(now, ask, snapshot, &mut outputs),
            Input::Changed(changes) => self.on_changed(now, &changes, &mut outputs),
            Input::Committed { attempt, outcome } => {
                self.on_committed(now, attempt, outcome, &mut outputs);
            }
            Input::Heard { term } => self.on_heard(now, term, &mut outputs),
            Input::Resign => {
                self.stop(now, StopReason::Resigned, &mut outputs);
                self.contends_from = now + 2 * self.profile.wait_ms;
            }
            Input::Stopped { term } => {
                let released = self.to_release.iter_mut().filter(|(held, _)| held.term == term);
                released.for_each(|(_, is_proven)| *is_proven = true);
            }
        }
        self.pursue(now, &mut outputs);
        outputs
    }

    fn tick() -> Input {
        Input::Tick
    }

    fn wake_at(&self) -> Option<Time> {
        let patience_ms = self.patience_ms();
        let lease = self.held.as_ref().filter(|held| held.is_led).map(|held| held.lease.ends_at());
        let answer = match (self.in_flight, self.asking) {
            (Some((_, since)), _) => Some(since + patience_ms),
            (None, Some(asking)) => Some(asking.at + patience_ms),
            (None, None) => None,
        };
        let next = answer.or_else(|| {
            let due = match (&self.held, &self.seen) {
                (Some(held), _) => held.renew_at,
                (None, None) => self.pause_until,
                (None, Some(seen)) => self.claims_from(seen).max(self.contends_from),
            };
            Some(due.max(self.pause_until))
        });
        lease.into_iter().chain(next).min()
    }

    fn check(&self) {
        assert!(self.sent.len() <= RENEWALS_REMEMBERED_MAX, "{} attempts are remembered", self.sent.len());
        assert!(self.highest.0 <= TERM_MAX, "term {} is beyond all terms", self.highest);
        let Some(held) = &self.held else { return };
        assert!(held.term > self.finished, "term {} was finished and is held again", held.term);
        assert!(held.term <= self.highest, "term {} is held and not known", held.term);
        assert!(self.seen.is_none(), "{} holds the term and waits for it", self.me.manager);
        assert!(held.fence <= held.revision, "the fence is newer than the record that it came with");
    }
}

#[cfg(test)]
mod tests;

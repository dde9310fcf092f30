//! Judges one monitor: when it is asked, and what its answers make of it.
//!
//! Pure: the caller makes the probes. Times are milliseconds of `Time`.
//! Promises: one probe at a time; an answer to any other than the newest probe is ignored; nothing but the configured
//! number of failures in a row makes an Error, counted once it has answered or its start period is over; silence alone never does before it was asked about again (see
//! `Pace::confirmations`), and until then the state is Unknown; one good answer ends an Error; what we fail to ask changes
//! nothing.

use super::Answer;
use crate::limits::{FIGURES_MAX, FOREIGN_TEXT_MAX_CHARS, WARNING_CALM_ANSWERS};
use crate::probe::ProbeNumber;
use crate::recovery::Verdict;
use crate::time::Time;
use wire::id::MonitorName;
use wire::monitor::{
    Check, Figure, MonitorAssignment, MonitorReport, MonitorState, MonitorWish, Pace, Recovery,
};

/// So much more often is asked what may still be starting.
const OFTENER_AT_START: u64 = 4;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Never,
    At(Time),
    Awaiting { probe: ProbeNumber, sent: Time },
}

/// A probe that must be made now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    pub number: ProbeNumber,
    pub check: Check,
    /// From its start to that of the next, when all is well.
    pub interval_ms: u64,
    pub timeout_ms: u64,
}

/// One monitor of one node.
#[derive(Debug, Clone)]
pub struct Watch {
    assignment: MonitorAssignment,
    state: MonitorState,
    reason: String,
    next: Next,
    /// Failed probes in a row, silent ones among them.
    failures_in_row: u32,
    /// Silence is being asked about; so often it was silent again.
    confirming: Option<u32>,
    /// Answers without a warning since the last one with.
    calm: u32,
    took_ms: Option<u64>,
    probes: u64,
    failures: u64,
    figures: Vec<Figure>,
    /// What fails until then is not counted, as its target is only starting; None: it has answered since, or may not start.
    starting_until: Option<Time>,
    /// The present stay of its target on this node (see `recovery::Activity`); None: it is not online here, or there is none.
    stay: Option<u64>,
}

impl Watch {
    pub fn new(now: Time, assignment: MonitorAssignment, stay: Option<u64>) -> Self {
        let mut watch = Self {
            assignment,
            state: MonitorState::Unknown,
            reason: String::new(),
            next: Next::Never,
            failures_in_row: 0,
            confirming: None,
            calm: 0,
            took_ms: None,
            probes: 0,
            failures: 0,
            figures: Vec::new(),
            starting_until: None,
            stay,
        };
        watch.begin(now);
        watch
    }

    /// Takes what is wanted now. What is known stays until new answers say otherwise, unless it was or is paused, or
    /// something else is asked.
    pub fn assign(&mut self, now: Time, assignment: MonitorAssignment) {
        if assignment == self.assignment {
            return;
        }
        let old = std::mem::replace(&mut self.assignment, assignment);
        if old.check != self.assignment.check
            || old.recovery != self.assignment.recovery
            || [old.wish, self.assignment.wish].contains(&MonitorWish::Pause)
        {
            self.begin(now);
        } else if self.state != MonitorState::Idle {
            self.failures_in_row = 0;
            self.confirming = None;
            self.next = Next::At(now);
        }
    }

    /// Its target has come online here, or has gone. What was known of it before says nothing about how it is now.
    pub fn stay(&mut self, now: Time, stay: Option<u64>) {
        if stay != self.stay {
            self.stay = stay;
            self.begin(now);
        }
    }

    /// It is asked only where its target is online, and that is not here.
    fn is_idle(&self) -> bool {
        self.stay.is_none()
            && self.assignment.recovery.as_ref().is_some_and(|recovery| recovery.is_while_active)
    }

    pub fn name(&self) -> &MonitorName {
        &self.assignment.name
    }

    pub fn recovery(&self) -> Option<&Recovery> {
        self.assignment.recovery.as_ref()
    }

    /// What it says to groups; None: it does not.
    pub fn verdict(&self) -> Option<Verdict> {
        Some(Verdict {
            monitor: self.assignment.name.clone(),
            recovery: self.assignment.recovery.clone()?,
            state: self.state,
            reason: self.reason.clone(),
            stay: self.stay,
        })
    }

    fn begin(&mut self, now: Time) {
        self.failures_in_row = 0;
        self.confirming = None;
        self.calm = 0;
        self.took_ms = None;
        self.figures.clear();
        self.starting_until = None;
        (self.state, self.reason, self.next) = match self.assignment.wish {
            MonitorWish::Pause => (MonitorState::Paused, "paused by an operator".into(), Next::Never),
            MonitorWish::Run | MonitorWish::Fail if self.is_idle() => {
                (MonitorState::Idle, "its target is not online here".into(), Next::Never)
            }
            MonitorWish::Run | MonitorWish::Fail => {
                let delay_ms = self.assignment.recovery.as_ref().map_or(0, |recovery| recovery.delay_ms);
                let delay_ms = if self.stay.is_some() { delay_ms } else { 0 };
                self.starting_until = self.start_period_ms().map(|period_ms| now + period_ms);
                (MonitorState::Unknown, "not answered yet".into(), Next::At(now + delay_ms))
            }
        };
    }

    /// How long what begins now may fail to answer; None: it may not.
    fn start_period_ms(&self) -> Option<u64> {
        let recovery = self.assignment.recovery.as_ref().filter(|recovery| recovery.is_while_active)?;
        (self.stay.is_some() && recovery.start_period_ms > 0).then_some(recovery.start_period_ms)
    }

    /// The probe that is due, if one is. `fresh` names it; the caller uses that number for nothing else. A drill fails here
    /// and asks nobody.
    pub fn ask(&mut self, now: Time, fresh: ProbeNumber) -> Option<Probe> {
        let Next::At(due) = self.next else { return None };
        if due > now {
            return None;
        }
        self.next = Next::Awaiting { probe: fresh, sent: now };
        if self.assignment.wish == MonitorWish::Fail {
            self.starting_until = None;
            self.answer(now, fresh, Answer::bad("an operator lets it fail, as a drill"));
            return None;
        }
        let patience = if self.confirming.is_some() { 2 } else { 1 };
        Some(Probe {
            number: fresh,
            check: self.assignment.check.clone(),
            interval_ms: self.assignment.pace.interval_ms,
            timeout_ms: self.assignment.pace.timeout_ms.saturating_mul(patience),
        })
    }

    /// Takes an answer; says whether it was the one that was awaited.
    pub fn answer(&mut self, now: Time, number: ProbeNumber, answer: Answer) -> bool {
        let sent = match self.next {
            Next::Awaiting { probe, sent } if probe == number => sent,
            Next::Awaiting { .. } | Next::At(_) | Next::Never => return false,
        };
        let took_ms = now.since_ms(sent);
        let starting_until = self.starting_until.filter(|until| sent < *until);
        self.starting_until = starting_until;
        match answer {
            Answer::Good { warning, figures } => self.on_good(took_ms, warning, figures),
            Answer::Bad { why } if starting_until.is_some() => self.on_start(Some(why)),
            Answer::Silent if starting_until.is_some() => self.on_start(None),
            Answer::Bad { why } => self.on_failure(Some(why)),
            Answer::Silent => self.on_failure(None),
            // Why nothing is known yet is worth telling; what was known stays.
            Answer::Unasked { why } if self.state == MonitorState::Unknown => {
                self.reason = format!("could not be asked: {}", shorten(&why));
            }
            Answer::Unasked { .. } => {}
        }
        // Counted from sending, so that a slow answer does not stretch the interval; but never at once, so that an interval
        // below the time-out cannot make a service be asked without pause. Silence is asked about without delay.
        // What starts is asked more often, so that it is soon known to be well, and once more when its period is over.
        let interval_ms = self.assignment.pace.interval_ms;
        let due = match (self.confirming, self.starting_until) {
            (Some(_), _) if self.state == MonitorState::Unknown => now,
            (_, Some(until)) => (sent + interval_ms / OFTENER_AT_START).min(until),
            _ => sent + interval_ms,
        };
        self.next = Next::At(due.max(now + 1));
        true
    }

    fn on_good(&mut self, took_ms: u64, warning: Option<String>, mut figures: Vec<Figure>) {
        self.probes += 1;
        self.failures_in_row = 0;
        self.confirming = None;
        self.starting_until = None;
        self.took_ms = Some(took_ms);
        figures.truncate(FIGURES_MAX);
        self.figures = figures;
        match warning.map(|why| shorten(&why)).or_else(|| self.slowness(took_ms)) {
            Some(why) => {
                self.state = MonitorState::Warning;
                self.calm = 0;
                self.reason = why;
            }
            None => {
                self.calm = self.calm.saturating_add(1);
                // One answer in time between slow ones is no end of the trouble.
                if self.state != MonitorState::Warning || self.calm >= WARNING_CALM_ANSWERS {
                    self.state = MonitorState::Normal;
                    self.reason = "answers as it should".into();
                }
            }
        }
    }

    fn slowness(&self, took_ms: u64) -> Option<String> {
        let Pace { timeout_ms, slow_percent, .. } = self.assignment.pace;
        let is_slow = slow_percent > 0
            && took_ms.saturating_mul(100) > timeout_ms.saturating_mul(u64::from(slow_percent));
        is_slow
            .then(|| format!("answers take more than {slow_percent}% of the {timeout_ms} ms that they may"))
    }

    fn failure_text(&self, why: Option<String>) -> String {
        let timeout_ms = self.assignment.pace.timeout_ms;
        why.map_or_else(|| format!("no answer within {timeout_ms} ms"), |why| shorten(&why))
    }

    /// It fails while its target may still be starting. None: it was silent.
    fn on_start(&mut self, why: Option<String>) {
        self.probes += 1;
        self.failures += 1;
        self.reason = format!("{}; it may still be starting", self.failure_text(why));
    }

    /// None: it was silent.
    fn on_failure(&mut self, why: Option<String>) {
        self.probes += 1;
        self.failures += 1;
        self.failures_in_row = self.failures_in_row.saturating_add(1);
        self.took_ms = None;
        let Pace { retries, confirmations, .. } = self.assignment.pace;
        let is_silent = why.is_none();
        let text = self.failure_text(why);
        if self.state == MonitorState::Error {
            self.reason = text;
            return;
        }
        if self.failures_in_row <= retries {
            let allowed = retries + 1;
            self.reason = format!("{text}; {} of {allowed} tries in a row failed", self.failures_in_row);
            return;
        }
        let silent_again = match self.confirming {
            Some(count) => count + 1,
            None => 0,
        };
        if is_silent && silent_again < confirmations {
            self.confirming = Some(silent_again);
            self.state = MonitorState::Unknown;
            self.reason = format!("{text}; asking again, with twice the time");
            return;
        }
        self.confirming = None;
        self.state = MonitorState::Error;
        self.reason = text;
    }

    pub fn state(&self) -> MonitorState {
        self.state
    }

    /// What must be told at once when it changes.
    pub fn news(&self) -> (MonitorState, &str) {
        (self.state, &self.reason)
    }

    pub fn report(&self, now: Time) -> MonitorReport {
        let next_in_ms = match self.next {
            Next::Never => None,
            Next::At(due) => Some(due.since_ms(now)),
            Next::Awaiting { sent, .. } => Some((sent + self.assignment.pace.interval_ms).since_ms(now)),
        };
        MonitorReport {
            name: self.assignment.name.clone(),
            state: self.state,
            reason: self.reason.clone(),
            took_ms: self.took_ms,
            probes: self.probes,
            failures: self.failures,
            next_in_ms,
            figures: self.figures.clone(),
        }
    }

    pub fn wake_at(&self) -> Option<Time> {
        match self.next {
            Next::At(due) => Some(due),
            Next::Never | Next::Awaiting { .. } => None,
        }
    }

    pub fn check(&self) {
        let is_confirming = self.confirming.is_some();
        assert!(
            !is_confirming || self.state == MonitorState::Unknown,
            "silence is asked about in doubt only"
        );
        assert!(
            self.starting_until.is_none()
                || (self.state == MonitorState::Unknown && self.failures_in_row == 0),
            "nothing is known of what is starting, and nothing counted"
        );
        let is_paused = self.assignment.wish == MonitorWish::Pause;
        let is_idle = self.state == MonitorState::Idle;
        assert!(
            (is_paused || is_idle) == (self.next == Next::Never),
            "only a paused or idle monitor is never asked"
        );
        assert!(is_idle == (self.is_idle() && !is_paused), "its state says that it is idle");
        assert!(is_paused == (self.state == MonitorState::Paused), "its state says that it is paused");
    }
}

/// Foreign text on one line, not too long.
fn shorten(text: &str) -> String {
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match words.char_indices().nth(FOREIGN_TEXT_MAX_CHARS) {
        Some((end, _)) => format!("{}...", &words[..end]),
        None => words,
    }
}

#[cfg(test)]
mod tests;

//! Tells whether a member answers its probe, and when to ask it again.
//!
//! Pure: the caller sends the probes and brings the answers. Times are milliseconds of `Time`.
//! Promises: one probe at a time; an answer to any other than the newest probe is ignored; `rise` good answers in
//! a row make a member Passing, `fall` bad ones Failing, and a process that has just started is not called
//! Failing before it has passed once (its start has a time-out of its own, see `supervision`). What we fail to ask
//! changes nothing.
//! Not here: how a probe is made, and what a failing member leads to.

use crate::limits::PROBE_FIRST_PAUSE_MS;
use crate::time::Time;
use wire::agent::{ProbeKind, ProbeSettings, ProbeState};

#[cfg(test)]
mod tests;

/// Names one probe; never used twice by an agent, so that a late answer cannot be taken for a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProbeNumber(pub u64);

/// What came of a probe. Running out of time is `Bad` too; whoever makes the probe watches that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProbeAnswer {
    Good,
    Bad {
        why: String,
    },
    /// It could not be asked, for want of something on our side: that tells nothing about it.
    Unasked {
        why: String,
    },
}

/// What is probed: decides how bad answers count before the first good one, and how soon they are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// A process that starts just now: it is asked often and may be silent.
    JustStarted,
    /// Something that runs elsewhere, for as long as anybody knows.
    LongThere,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Next {
    /// Nothing to ask: there is no process, or its being there is enough.
    Never,
    At(Time),
    Awaiting {
        probe: ProbeNumber,
        sent: Time,
    },
}

/// One member's answers so far.
#[derive(Debug, Clone)]
pub struct Health {
    state: ProbeState,
    subject: Subject,
    next: Next,
    good_in_row: u32,
    bad_in_row: u32,
    /// Pause before the next probe while a start is awaited.
    pause_ms: u64,
    /// The newest bad answer since the last good one.
    trouble: Option<String>,
}

impl Health {
    /// Nothing is there to be probed.
    pub fn idle() -> Self {
        Self {
            state: ProbeState::Unknown,
            subject: Subject::LongThere,
            next: Next::Never,
            good_in_row: 0,
            bad_in_row: 0,
            pause_ms: PROBE_FIRST_PAUSE_MS,
            trouble: None,
        }
    }

    /// Something new is there to be probed.
    pub fn begin(now: Time, settings: &ProbeSettings, subject: Subject) -> Self {
        let idle = Self::idle();
        match settings.kind {
            ProbeKind::Process => Self { state: ProbeState::Passing, subject, ..idle },
            ProbeKind::Tcp | ProbeKind::Http { .. } => Self { subject, next: Next::At(now), ..idle },
        }
    }

    /// The settings changed under way: what is known stays until new answers say otherwise.
    pub fn adjust(&mut self, now: Time, settings: &ProbeSettings) {
        self.good_in_row = 0;
        self.bad_in_row = 0;
        match settings.kind {
            ProbeKind::Process => {
                self.state = ProbeState::Passing;
                self.next = Next::Never;
                self.trouble = None;
            }
            ProbeKind::Tcp | ProbeKind::Http { .. } => self.next = Next::At(now),
        }
    }

    /// Whether a probe must be sent now. `fresh` names it; the caller uses that number for nothing else.
    pub fn ask(&mut self, now: Time, fresh: ProbeNumber) -> bool {
        let is_due = matches!(self.next, Next::At(due) if due <= now);
        if is_due {
            self.next = Next::Awaiting { probe: fresh, sent: now };
        }
        is_due
    }

    /// Takes an answer; says whether it was the one that was awaited.
    pub fn answer(
        &mut self,
        now: Time,
        settings: &ProbeSettings,
        number: ProbeNumber,
        answer: ProbeAnswer,
    ) -> bool {
        let sent = match self.next {
            Next::Awaiting { probe, sent } if probe == number => sent,
            Next::Awaiting { .. } | Next::At(_) | Next::Never => return false,
        };
        match answer {
            ProbeAnswer::Good => self.on_good(settings),
            ProbeAnswer::Bad { why } => self.on_bad(settings, why),
            // Why it is not up yet is worth telling; what was known of it stays.
            ProbeAnswer::Unasked { why } if self.state == ProbeState::Unknown => self.trouble = Some(why),
            ProbeAnswer::Unasked { .. } => {}
        }
        let pause_ms =
            if self.is_awaited() { self.pause_ms.min(settings.interval_ms) } else { settings.interval_ms };
        // Counted from sending, so that a slow answer does not stretch the interval; but never at once, so that
        // an interval below the time-out cannot make a member be asked without pause.
        self.next = Next::At((sent + pause_ms).max(now + 1));
        true
    }

    fn on_good(&mut self, settings: &ProbeSettings) {
        self.bad_in_row = 0;
        self.good_in_row = self.good_in_row.saturating_add(1);
        self.trouble = None;
        // It is there: what is left to prove is proven quickly.
        self.pause_ms = PROBE_FIRST_PAUSE_MS;
        if self.good_in_row >= settings.rise {
            self.state = ProbeState::Passing;
        }
    }

    fn on_bad(&mut self, settings: &ProbeSettings, why: String) {
        self.good_in_row = 0;
        self.bad_in_row = self.bad_in_row.saturating_add(1);
        self.trouble = Some(why);
        if self.is_awaited() {
            // The first pause stands for the first bad answer.
            let is_first = self.bad_in_row == 1;
            self.pause_ms = if is_first { PROBE_FIRST_PAUSE_MS } else { self.pause_ms.saturating_mul(2) };
        } else if self.bad_in_row >= settings.fall {
            self.state = ProbeState::Failing;
        }
    }

    /// Started, and not well yet: it may be silent and is asked often.
    fn is_awaited(&self) -> bool {
        self.subject == Subject::JustStarted && self.state == ProbeState::Unknown
    }

    pub fn state(&self) -> ProbeState {
        self.state
    }

    /// What was wrong with the newest answer, if it was bad.
    pub fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    pub fn wake_at(&self) -> Option<Time> {
        match self.next {
            Next::At(due) => Some(due),
            Next::Never | Next::Awaiting { .. } => None,
        }
    }
}

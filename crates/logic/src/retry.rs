//! Decides whether a failed request may be tried again, and what the client is told if not.
//!
//! Promise: a request whose method is not idempotent is never sent to a member after a byte of it reached one, and
//! nothing is sent again after a byte of the answer reached the client. One table (`Fault::answer`) turns every
//! failure into a status and a code; where several attempts failed, `Fault::worse` says which one the client is told
//! of. Not here: which member comes next (see `balance`), how the answer looks.

mod budget;
mod fault;

pub use budget::RetryBudget;
pub use fault::{Answer, Fault};

use crate::limits::{REQUEST_SILENCES_MAX, REQUEST_TRIES_MAX};
use std::fmt;

/// How far a request had come. Each phase is over when its last byte is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Phase {
    /// Getting a connection to the member.
    Connect,
    SendHead,
    SendBody,
    /// Sent; no whole head of a final answer yet.
    AwaitHead,
    /// The answer's body.
    Body,
}

/// Whose fault it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    Client,
    Us,
    Member,
}

/// One attempt that failed, and what bears on another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failure {
    pub fault: Fault,
    pub phase: Phase,
    /// A byte of the request was written to this member.
    pub is_written: bool,
    /// A byte of the answer reached the client, interim answers (1xx) included.
    pub answer_started: bool,
    /// See `is_idempotent`.
    pub is_idempotent: bool,
    /// Every byte of the body that was taken from the client is still at hand.
    pub is_body_replayable: bool,
    /// The connection had served another request before.
    pub is_connection_reused: bool,
    /// Attempts so far, this one included; those at the same member with a new connection are not counted.
    pub attempts: u32,
    /// Those of them that ended because the member said nothing for `response_ms`, this one included.
    pub silences: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Retry { place: Place },
    Refuse { why: Refusal },
}

/// Where to try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// At the same member on a new connection: it may only have closed one that lay idle. That is no reason to mark
    /// it. If the view in force by now says that it takes nothing (`Balancer::keeps`), this means `OtherMember`.
    SameMember,
    OtherMember,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// Nothing that another member could do better.
    NotTheMember,
    AnswerStarted,
    BodyGone,
    NotIdempotent,
    AttemptsSpent,
    /// Given by `RetryBudget`, not by `may_retry`.
    BudgetSpent,
}

impl fmt::Display for Refusal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Refusal::NotTheMember => "another member could not do better",
            Refusal::AnswerStarted => "the answer had begun",
            Refusal::BodyGone => "the body is too long to be kept for another attempt",
            Refusal::NotIdempotent => "the member may already have carried it out",
            Refusal::AttemptsSpent => "all attempts are used up",
            Refusal::BudgetSpent => "too many requests are being tried again already",
        })
    }
}

/// Whether doing it twice is the same as doing it once (RFC 9110, 9.2.2). Methods are matched with regard to case.
pub fn is_idempotent(method: &[u8]) -> bool {
    matches!(method, b"GET" | b"HEAD" | b"OPTIONS" | b"TRACE" | b"PUT" | b"DELETE")
}

/// Whether the request may be sent again. `attempts_max` counts further attempts, as in the settings.
/// A retry at another member needs leave of the `RetryBudget` as well; one at the same member does not, because it
/// happens at most once for each idle connection.
pub fn may_retry(failure: &Failure, attempts_max: u32) -> Verdict {
    let refuse = |why| Verdict::Refuse { why };
    if failure.answer_started || failure.phase == Phase::Body {
        return refuse(Refusal::AnswerStarted);
    }
    if !failure.fault.is_transient() {
        return refuse(Refusal::NotTheMember);
    }
    if !failure.is_body_replayable {
        return refuse(Refusal::BodyGone);
    }
    if failure.is_written && !failure.is_idempotent {
        return refuse(Refusal::NotIdempotent);
    }
    if failure.is_connection_reused && failure.fault == Fault::MemberClosed {
        return Verdict::Retry { place: Place::SameMember };
    }
    if failure.fault == Fault::MemberTimeout && failure.silences >= REQUEST_SILENCES_MAX {
        return refuse(Refusal::AttemptsSpent);
    }
    if failure.attempts > attempts_max || failure.attempts as usize >= REQUEST_TRIES_MAX {
        return refuse(Refusal::AttemptsSpent);
    }
    Verdict::Retry { place: Place::OtherMember }
}

#[cfg(test)]
mod tests;

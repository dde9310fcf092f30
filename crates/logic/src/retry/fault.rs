//! Everything that can go wrong with a request, and the one table of what the client is told.
//!
//! Promise: 503 and 404 mean that no member has seen the request; after 502 and 504 one may have carried it out.
//! Texts for the client never name members, addresses or causes inside the cell; the log does.

use super::Side;
use crate::http::refusal::Refusal;
use wire::error_code::{self, ErrorCode};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The request, or its body later on, breaks a rule or a bound.
    RequestRefused {
        why: Refusal,
    },
    /// Its caller makes more requests than it may.
    RateLimited {
        retry_after_s: u8,
    },
    /// It asks for the view of a cluster without a token for it.
    NotAClient,
    /// The head did not come in time, or the body stopped coming.
    RequestTimeout,
    /// The client went away; the answer is for the log alone.
    ClientGone,
    NoRoute,
    /// Sent on a TLS connection that was made for a host of another certificate.
    WrongHost,
    /// Nobody can have it (see `balance::WhyNone`).
    NoMember,
    /// Too many connections, or the router is about to stop.
    Overloaded,
    /// The request's whole time is up.
    DeadlinePassed,
    /// A promise of the router itself was broken.
    Internal,
    /// Refused, unreachable, or out of local ports.
    ConnectFailed,
    ConnectTimeout,
    /// Closed or reset before its answer was complete.
    MemberClosed,
    /// Silent for longer than the settings allow.
    MemberTimeout,
    /// The cell has found out that it is dead or cut off, while its answer was awaited.
    MemberLost,
    /// The answer breaks a rule or a bound.
    AnswerRefused {
        why: Refusal,
    },
}

/// What the client is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    pub side: Side,
    pub status: u16,
    pub code: ErrorCode,
    pub text: &'static str,
    /// Seconds for a Retry-After header, where waiting helps.
    pub retry_after_s: Option<u32>,
}

impl Fault {
    /// Whether another member, or another connection, may do better.
    pub fn is_transient(self) -> bool {
        match self {
            Fault::ConnectFailed
            | Fault::ConnectTimeout
            | Fault::MemberClosed
            | Fault::MemberTimeout
            | Fault::MemberLost => true,
            Fault::RequestRefused { .. }
            | Fault::RateLimited { .. }
            | Fault::NotAClient
            | Fault::RequestTimeout
            | Fault::ClientGone
            | Fault::NoRoute
            | Fault::WrongHost
            | Fault::NoMember
            | Fault::Overloaded
            | Fault::DeadlinePassed
            | Fault::Internal
            | Fault::AnswerRefused { .. } => false,
        }
    }

    /// What happened, for people who look after the member.
    pub fn text(self) -> &'static str {
        match self {
            Fault::ConnectFailed => "it cannot be connected to",
            Fault::ConnectTimeout => "connecting took too long",
            Fault::MemberClosed => "it closed the connection before its answer",
            Fault::MemberTimeout => "its answer took too long",
            Fault::MemberLost => "it was lost before its answer",
            Fault::AnswerRefused { .. } => "its answer breaks a rule",
            Fault::RequestRefused { .. }
            | Fault::RequestTimeout
            | Fault::ClientGone
            | Fault::NoRoute
            | Fault::NoMember
            | Fault::Overloaded
            | Fault::DeadlinePassed
            | Fault::RateLimited { .. }
            | Fault::NotAClient
            | Fault::WrongHost
            | Fault::Internal => "the request failed",
        }
    }

    /// Whether the member could not be reached, which `Balancer::failed` wants to hear. A slow answer is not that:
    /// it may be one slow page, and the probes judge the member.
    pub fn marks_member(self) -> bool {
        matches!(self, Fault::ConnectFailed | Fault::ConnectTimeout | Fault::MemberClosed)
    }

    /// Which of two attempts' faults the client is told of: the later one, unless only the earlier member may have
    /// carried the request out. To say then that nobody has seen it would be wrong.
    pub fn worse(earlier: Option<Fault>, later: Fault) -> Fault {
        match earlier {
            Some(earlier @ (Fault::MemberClosed | Fault::MemberTimeout | Fault::MemberLost))
                if later.answer().status == 503 =>
            {
                earlier
            }
            Some(_) | None => later,
        }
    }

    /// The table: status, code and text of every failure.
    pub fn answer(self) -> Answer {
        use error_code as code;
        let row = |side, status, code, text| Answer {
            side,
            status,
            code,
            text,
            retry_after_s: (status == 503).then_some(1),
        };
        let (client, us, member) = (Side::Client, Side::Us, Side::Member);
        match self {
            Fault::RequestRefused { why } => refused(why),
            Fault::RateLimited { retry_after_s } => Answer {
                retry_after_s: Some(u32::from(retry_after_s)),
                ..row(client, 429, code::RATE_LIMITED, "There were too many requests.")
            },
            Fault::NotAClient => row(client, 401, code::NOT_A_CLIENT, "This is for clients with a token."),
            Fault::RequestTimeout => {
                row(client, 408, code::REQUEST_TIMED_OUT, "The request came too slowly.")
            }
            // The status that other routers write in their logs for it; nobody is there to read it.
            Fault::ClientGone => row(client, 499, code::CLIENT_GONE, "The client closed the connection."),
            Fault::NoRoute => row(us, 404, code::NO_ROUTE, "Nothing is served at this address."),
            Fault::WrongHost => {
                let text = "This connection was made for another host.";
                row(client, 421, code::WRONG_HOST_FOR_CONNECTION, text)
            }
            Fault::NoMember => row(us, 503, code::NO_MEMBER_AVAILABLE, "The service is not available."),
            Fault::Overloaded => row(us, 503, code::TOO_MANY_CONNECTIONS, "The service is busy."),
            Fault::DeadlinePassed => row(us, 504, code::MEMBER_TIMED_OUT, "The request took too long."),
            Fault::Internal => row(us, 500, code::ROUTER_AT_FAULT, "The request could not be served."),
            Fault::ConnectFailed | Fault::ConnectTimeout => {
                row(member, 503, code::NO_MEMBER_AVAILABLE, "The service could not be reached.")
            }
            Fault::MemberClosed => {
                row(member, 502, code::MEMBER_FAILED, "The service broke off before its answer was complete.")
            }
            Fault::MemberTimeout | Fault::MemberLost => {
                row(member, 504, code::MEMBER_TIMED_OUT, "The service did not answer in time.")
            }
            Fault::AnswerRefused { .. } => {
                row(member, 502, code::MEMBER_FAILED, "The service gave an answer that cannot be passed on.")
            }
        }
    }
}

/// The status is the refusal's own; the code follows from it.
fn refused(why: Refusal) -> Answer {
    let status = why.status();
    let (code, text) = match status {
        413 => (error_code::BODY_TOO_LARGE, "The request's body is too large."),
        417 => (error_code::EXPECTATION_FAILED, "The request expects something that is not offered."),
        431 => (error_code::HEAD_TOO_LARGE, "The request's head is too large."),
        405 | 501 => (error_code::NOT_SUPPORTED, "The request asks for something that is not supported."),
        _ if why == Refusal::PlainOnTls => {
            (error_code::BAD_REQUEST, "This port speaks TLS: use https:// instead of http://.")
        }
        _ => (error_code::BAD_REQUEST, "The request is malformed."),
    };
    Answer { side: Side::Client, status, code, text, retry_after_s: None }
}

//! Everything that can go wrong with a request, and the one table of what the client is told.
//!
//! Texts for the client never name members, addresses or causes inside the cell; the log does.

use super::Side;
use wire::error_code::ErrorCode;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// The request breaks the rules of HTTP.
    RequestMalformed,
    /// Head longer, or of more headers, than the settings allow.
    RequestHeadTooLarge,
    RequestBodyTooLarge,
    /// The head did not come in time.
    RequestHeadTimeout,
    /// The body stopped coming.
    RequestBodyTimeout,
    /// A method, version or expectation that the router does not serve.
    RequestUnsupported,
    /// The client went away; the answer is for the log alone.
    ClientGone,
    NoRoute,
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
    /// The answer breaks the rules of HTTP.
    AnswerMalformed,
    AnswerHeadTooLarge,
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
    pub const ALL: [Fault; 18] = [
        Fault::RequestMalformed,
        Fault::RequestHeadTooLarge,
        Fault::RequestBodyTooLarge,
        Fault::RequestHeadTimeout,
        Fault::RequestBodyTimeout,
        Fault::RequestUnsupported,
        Fault::ClientGone,
        Fault::NoRoute,
        Fault::NoMember,
        Fault::Overloaded,
        Fault::DeadlinePassed,
        Fault::Internal,
        Fault::ConnectFailed,
        Fault::ConnectTimeout,
        Fault::MemberClosed,
        Fault::MemberTimeout,
        Fault::AnswerMalformed,
        Fault::AnswerHeadTooLarge,
    ];

    /// Whether another member, or another connection, may do better.
    pub fn is_transient(self) -> bool {
        match self {
            Fault::ConnectFailed | Fault::ConnectTimeout | Fault::MemberClosed | Fault::MemberTimeout => true,
            Fault::RequestMalformed
            | Fault::RequestHeadTooLarge
            | Fault::RequestBodyTooLarge
            | Fault::RequestHeadTimeout
            | Fault::RequestBodyTimeout
            | Fault::RequestUnsupported
            | Fault::ClientGone
            | Fault::NoRoute
            | Fault::NoMember
            | Fault::Overloaded
            | Fault::DeadlinePassed
            | Fault::Internal
            | Fault::AnswerMalformed
            | Fault::AnswerHeadTooLarge => false,
        }
    }

    /// Whether the member could not be reached, which `Balancer::failed` wants to hear. A slow answer is not that:
    /// it may be one slow page, and the probes judge the member.
    pub fn marks_member(self) -> bool {
        matches!(self, Fault::ConnectFailed | Fault::ConnectTimeout | Fault::MemberClosed)
    }

    /// The table: status, code and text of every failure.
    pub fn answer(self) -> Answer {
        let row = |side, status, code, text| Answer {
            side,
            status,
            code: ErrorCode(code),
            text,
            retry_after_s: (status == 503).then_some(1),
        };
        match self {
            Fault::RequestMalformed => row(Side::Client, 400, "M4001", "The request is malformed."),
            Fault::RequestHeadTooLarge => row(Side::Client, 431, "M4002", "The request's head is too large."),
            Fault::RequestBodyTooLarge => row(Side::Client, 413, "M4003", "The request's body is too large."),
            Fault::RequestHeadTimeout => {
                row(Side::Client, 408, "M4004", "The request's head came too slowly.")
            }
            Fault::RequestBodyTimeout => {
                row(Side::Client, 408, "M4005", "The request's body came too slowly.")
            }
            Fault::RequestUnsupported => {
                row(Side::Client, 501, "M4006", "The request asks for something unsupported.")
            }
            // The status that access logs of other routers use for it; nobody is there to read it.
            Fault::ClientGone => row(Side::Client, 499, "M4007", "The client closed the connection."),
            Fault::NoRoute => row(Side::Us, 404, "M4101", "Nothing is served at this address."),
            Fault::NoMember => row(Side::Us, 503, "M4102", "The service is not available at the moment."),
            Fault::Overloaded => row(Side::Us, 503, "M4103", "The service is busy at the moment."),
            Fault::DeadlinePassed => row(Side::Us, 504, "M4104", "The request took too long."),
            Fault::Internal => row(Side::Us, 500, "M4105", "The request could not be served."),
            Fault::ConnectFailed => row(Side::Member, 502, "M4201", "The service could not be reached."),
            Fault::ConnectTimeout => {
                row(Side::Member, 504, "M4202", "The service could not be reached in time.")
            }
            Fault::MemberClosed => {
                row(Side::Member, 502, "M4203", "The service broke off before its answer.")
            }
            Fault::MemberTimeout => row(Side::Member, 504, "M4204", "The service did not answer in time."),
            Fault::AnswerMalformed => row(Side::Member, 502, "M4205", "The service gave a malformed answer."),
            Fault::AnswerHeadTooLarge => {
                row(Side::Member, 502, "M4206", "The service gave an answer with too large a head.")
            }
        }
    }
}

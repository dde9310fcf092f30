//! What can go wrong with a call or with connecting, and whether anything was done.

use std::io;

/// Why a call or a connection came to nothing. `is_done` says of a call whether somebody may have carried it out.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing was sent.
    #[error("{what}: {why}")]
    WrongUse { what: String, why: &'static str },
    /// Certificates of authorities could not be used. Nothing was sent.
    #[error("the authorities of TLS could not be used: {why}")]
    Authorities { why: String },
    /// No router gave a view. Nothing was called; connecting may be tried again.
    #[error("no router of {routers} gave a view of the cluster")]
    NotConnected {
        routers: usize,
        #[source]
        last: Option<Box<Failure>>,
    },
    /// A router does not take the token for this cluster. To try again is no use before that changes.
    #[error("the router at {router} knows no client with this token for the cluster")]
    NotAClient { router: String },
    /// Nobody can take the call now. Nothing was sent; it may be made again later.
    #[error("no member and no router can take the call")]
    Nobody,
    /// It was tried as often as it may be.
    #[error("the call failed after {attempts} attempts")]
    Failed {
        attempts: usize,
        /// Somebody may have carried it out.
        is_done: bool,
        #[source]
        last: Box<Failure>,
    },
    /// The member that has the transaction takes nothing any more. What it did in calls before may be lost with it.
    #[error("the member {member} that has the transaction is gone")]
    TransactionLost { member: String },
}

impl Error {
    /// Whether the call may have been carried out although there is no answer. False: it certainly was not.
    pub fn is_done(&self) -> bool {
        match self {
            Error::Failed { is_done, .. } => *is_done,
            Error::WrongUse { .. }
            | Error::Authorities { .. }
            | Error::NotConnected { .. }
            | Error::NotAClient { .. }
            | Error::Nobody
            | Error::TransactionLost { .. } => false,
        }
    }
}

/// How one attempt ended at one place.
#[derive(Debug, thiserror::Error)]
#[error("{place} {how}")]
pub struct Failure {
    /// Member or router, for people.
    pub place: String,
    pub how: How,
    /// It may have seen something of the call.
    pub is_sent: bool,
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// It refused, or the name or the certificate is wrong.
    NotConnected,
    /// It did not take the connection in time.
    ConnectedTooLate,
    /// It broke off before its answer was complete.
    BrokeOff,
    /// It was silent for too long.
    Silent,
    /// The cell found out that it is dead while its answer was awaited.
    Lost,
    /// Its answer is larger than the client takes.
    AnswerTooLarge,
    /// Its answer makes no sense.
    Malformed,
}

impl std::fmt::Display for How {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(match self {
            How::NotConnected => "could not be connected to",
            How::ConnectedTooLate => "did not take the connection in time",
            How::BrokeOff => "broke off before its answer was complete",
            How::Silent => "did not answer in time",
            How::Lost => "was lost before it answered",
            How::AnswerTooLarge => "gave an answer that is larger than allowed",
            How::Malformed => "gave an answer that makes no sense",
        })
    }
}

impl Failure {
    pub(crate) fn unsent(place: &str, how: How, source: io::Error) -> Self {
        Self { place: place.to_owned(), how, is_sent: false, source: Some(Box::new(source)) }
    }

    pub(crate) fn plain(place: &str, how: How, is_sent: bool) -> Self {
        Self { place: place.to_owned(), how, is_sent, source: None }
    }
}

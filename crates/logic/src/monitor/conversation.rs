//! What is said to a server over a connection, and what comes of its answers.
//!
//! The shell connects, then follows: it says what it is told to say, takes up TLS when it is told to, hands over what it
//! reads, and ends with the verdict. Each protocol is a file of its own.
//! Promise: however much a server says, a verdict comes after a bounded number of bytes.

use super::http::{HttpTalk, Wanted};
use super::postgres::PostgresTalk;
use super::redis::RedisTalk;
use super::smtp::{SmtpManner, SmtpTalk};

/// What the shell does next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Say this, which may be nothing, and wait for more.
    Say(Vec<u8>),
    /// Take up TLS, then ask again with `encrypted`.
    Encrypt,
    /// Say goodbye with these bytes, without waiting, and close.
    Done { verdict: Verdict, goodbye: &'static [u8] },
}

impl Next {
    pub fn listen() -> Self {
        Next::Say(Vec::new())
    }

    pub fn good(goodbye: &'static [u8]) -> Self {
        Next::Done { verdict: Ok(()), goodbye }
    }

    pub fn bad(trouble: Trouble) -> Self {
        Next::Done { verdict: Err(trouble), goodbye: b"" }
    }
}

pub type Verdict = Result<(), Trouble>;

/// What is wrong with an answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    #[error("it does not speak {0}")]
    OtherProtocol(&'static str),
    #[error("it was answered {status}, not {status_min} to {status_max}")]
    Status { status: u16, status_min: u16, status_max: u16 },
    #[error("the text \"{0}\" is not in the answer")]
    TextMissing(String),
    #[error("the answer to {asked} was {code} {text}")]
    Reply { asked: &'static str, code: u16, text: String },
    #[error("it does not offer {0}")]
    NotOffered(&'static str),
    #[error("it says: {0}")]
    Said(String),
    #[error("it closed the connection before it had answered")]
    Closed,
    #[error("its answer is longer than {0} bytes")]
    TooLong(u64),
}

/// One conversation; see the protocols.
#[derive(Debug, Clone)]
pub enum Conversation {
    /// A connection is enough.
    Tcp,
    Http(HttpTalk),
    Smtp(SmtpTalk),
    Redis(RedisTalk),
    Postgres(PostgresTalk),
}

impl Conversation {
    pub fn http(wanted: Wanted, request: Vec<u8>) -> Self {
        Conversation::Http(HttpTalk::new(wanted, request))
    }

    pub fn smtp(manner: SmtpManner) -> Self {
        Conversation::Smtp(SmtpTalk::new(manner))
    }

    /// The connection is made.
    pub fn begin(&mut self) -> Next {
        match self {
            Conversation::Tcp => Next::good(b""),
            Conversation::Http(talk) => talk.begin(),
            Conversation::Smtp(_) => Next::listen(),
            Conversation::Redis(talk) => talk.begin(),
            Conversation::Postgres(talk) => talk.begin(),
        }
    }

    pub fn heard(&mut self, bytes: &[u8]) -> Next {
        match self {
            Conversation::Tcp => Next::good(b""),
            Conversation::Http(talk) => talk.heard(bytes),
            Conversation::Smtp(talk) => talk.heard(bytes),
            Conversation::Redis(talk) => talk.heard(bytes),
            Conversation::Postgres(talk) => talk.heard(bytes),
        }
    }

    /// What was read is encrypted from here on.
    pub fn encrypted(&mut self) -> Next {
        match self {
            Conversation::Smtp(talk) => talk.encrypted(),
            Conversation::Tcp
            | Conversation::Http(_)
            | Conversation::Redis(_)
            | Conversation::Postgres(_) => unreachable!("only SMTP asks for TLS within a conversation"),
        }
    }

    /// The server says nothing more.
    pub fn closed(&mut self) -> Verdict {
        match self {
            Conversation::Tcp => Ok(()),
            Conversation::Http(talk) => talk.closed(),
            Conversation::Smtp(_) | Conversation::Redis(_) | Conversation::Postgres(_) => {
                Err(Trouble::Closed)
            }
        }
    }
}

//! Monitors: what is asked of a service by using it, and what follows from the answers.
//!
//! `watch` judges the answers of one monitor, `set` looks after all of a node. `conversation` and the protocols beside it say
//! what goes over a connection and what comes of it; `plugin` reads what monitoring plugins print.
//! Pure: the shell makes connections and starts programs.
//! Not here: what a cell makes of the reports (see `cell`).

pub mod command;
pub mod conversation;
pub mod dns;
pub mod http;
pub mod line;
pub mod messages;
pub mod plugin;
pub mod postgres;
pub mod redis;
pub mod set;
pub mod smtp;
pub mod watch;

use wire::monitor::Figure;

/// What came of a probe.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    Good {
        /// It works, and yet a person should look.
        warning: Option<String>,
        figures: Vec<Figure>,
    },
    Bad {
        why: String,
    },
    /// Nothing came in time. That may be the service's fault, ours or the network's.
    Silent,
    /// It could not be asked, for want of something on our side: that tells nothing about it.
    Unasked {
        why: String,
    },
}

impl Answer {
    pub fn good() -> Self {
        Answer::Good { warning: None, figures: Vec::new() }
    }

    pub fn bad(why: impl Into<String>) -> Self {
        Answer::Bad { why: why.into() }
    }
}

//! The terms of leadership that this manager knows of: what its part in the election knows goes out with heartbeats'
//! answers and to other managers, and what other managers tell comes in. What nodes say of terms is believed by nobody:
//! whoever has one machine must not be able to depose leaders.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::watch;
use wire::id::TermNumber;

#[derive(Debug, Clone)]
pub struct Terms {
    known: Arc<AtomicU64>,
    /// Never lower than it was.
    heard: watch::Sender<TermNumber>,
}

impl Default for Terms {
    fn default() -> Self {
        Self { known: Arc::default(), heard: watch::Sender::new(TermNumber(0)) }
    }
}

impl Terms {
    /// The highest that the election knows of.
    pub fn know(&self, term: TermNumber) {
        // Nothing else is read by it.
        self.known.store(term.0, Ordering::Relaxed);
    }

    pub fn known(&self) -> TermNumber {
        TermNumber(self.known.load(Ordering::Relaxed))
    }

    /// Another manager has told of it.
    pub fn hear(&self, term: TermNumber) {
        self.heard.send_if_modified(|heard| {
            let is_new = term > *heard;
            *heard = term.max(*heard);
            is_new
        });
    }

    /// The highest that other managers have told of.
    pub fn heard(&self) -> watch::Receiver<TermNumber> {
        self.heard.subscribe()
    }
}

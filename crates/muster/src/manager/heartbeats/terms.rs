//! The terms of leadership that this manager knows of: what its part in the election knows goes out with heartbeats'
//! answers and to other managers, and what other managers tell comes in. What nodes say of terms is believed by nobody:
//! whoever has one machine must not be able to depose leaders. And until when this manager may act in its own term, which is
//! asked at each heartbeat before a lease is granted.

use logic::time::Time;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::watch;
use wire::id::TermNumber;

#[derive(Debug, Clone)]
pub struct Terms {
    known: Arc<AtomicU64>,
    /// Never lower than it was.
    heard: watch::Sender<TermNumber>,
    /// The term that this manager leads, and when its lease ends, by `BootClock`.
    held: watch::Sender<Option<(TermNumber, Time)>>,
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            known: Arc::default(),
            heard: watch::Sender::new(TermNumber(0)),
            held: watch::Sender::new(None),
        }
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

    /// What the election knows of this manager's own lease; None: it does not lead.
    pub fn hold(&self, held: Option<(TermNumber, Time)>) {
        self.held.send_if_modified(|known| {
            let is_new = *known != held;
            *known = held;
            is_new
        });
    }

    /// Whether this manager may act in that term at that moment.
    pub fn holds(&self, term: TermNumber, now: Time) -> bool {
        self.held.borrow().is_some_and(|(held, until)| held == term && now < until)
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

//! What a manager knew last of the cell, for those who ask while nobody leads.
//!
//! Promise: it is only given to who says that it will do, and says since when it is old. Not here: the status itself,
//! which only the manager that leads has.

use super::answer::{self, Answer};
use super::auth::Way;
use super::forward;
use super::server::{Proven, Shared};
use crate::identity::now_us;
use crate::manager::handle::{Leadership, Request};
use bytes::Bytes;
use hyper::StatusCode;
use std::cell::RefCell;
use std::time::Duration;
use wire::status::CellStatus;

/// With it, `GET /api/v1/status` may be answered with what was known last.
pub const STALE_HEADER: &str = "x-muster-stale";
/// How often it is looked at, as there is no last word of a leader that is lost. Five seconds: a status of the largest
/// cells has megabytes.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// The same where there is nothing yet, or the leader has not answered.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

#[derive(Debug)]
enum Told {
    Here(Box<CellStatus>),
    /// As another manager wrote it.
    There(Bytes),
}

#[derive(Debug, Default)]
pub struct LastKnown(RefCell<Option<(u64, Told)>>);

impl LastKnown {
    /// None: nothing was ever known.
    pub fn answer(&self) -> Option<Answer> {
        let kept = self.0.borrow();
        let (at_ms, told) = kept.as_ref()?;
        let mut status = match told {
            Told::Here(status) => CellStatus::clone(status),
            Told::There(text) => serde_json::from_slice(text).ok()?,
        };
        (status.stale_since_ms, status.now_ms) = (Some(*at_ms), now_us() / 1_000);
        Some(answer::json(StatusCode::OK, &status))
    }

    fn keep(&self, told: Told) {
        self.0.replace(Some((now_us() / 1_000, told)));
    }
}

/// Whether the caller can do with it. Another manager has its own.
pub fn is_taken(proven: &Proven) -> bool {
    proven.caller.way != Way::Manager && proven.request.headers().contains_key(STALE_HEADER)
}

/// Keeps it new until it is dropped or the manager ends. One that has its store to itself always leads, and needs none.
pub async fn keep(shared: &Shared) {
    let mut changes = shared.manager.leadership.clone();
    loop {
        let leadership = changes.borrow_and_update().clone();
        let told = match &leadership {
            Leadership::Here => {
                let asked = shared.manager.ask(|reply| Request::Status { reply }).await.ok();
                if asked.as_ref().is_some_and(|status| status.leader.is_none()) {
                    return;
                }
                asked.map(|status| Told::Here(Box::new(status)))
            }
            Leadership::There(leader) => {
                forward::fetch_status(&shared.forward, leader).await.ok().map(Told::There)
            }
            Leadership::Nobody => None,
        };
        let pause = if told.is_some() { LOOK_INTERVAL } else { LOOK_AGAIN };
        if let Some(told) = told {
            shared.last_known.keep(told);
        }
        // Both only wait.
        tokio::select! {
            changed = changes.changed() => if changed.is_err() {
                return;
            },
            () = tokio::time::sleep(pause) => {}
        }
    }
}

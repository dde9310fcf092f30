//! A stream of events that comes from the leader, for somebody who listens at another manager.
//!
//! Promises: it ends when who listens may do so no longer, when another manager leads, and when the leader is silent
//! for longer than its heartbeats; whoever listens then comes back, and is led to the next one.

use super::auth::{Auth, Caller};
use super::forward::overtaken;
use super::server::moment;
use crate::manager::handle::{LeaderRecord, Leadership};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use logic::account::Known;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Two heartbeats and a half.
const SILENT_MAX: Duration = Duration::from_secs(25);

/// One stream under way.
#[derive(Debug)]
pub struct Relay {
    pub body: Incoming,
    /// Moves the bytes; ends with this.
    pub _driver: JoinSet<()>,
    pub leader: LeaderRecord,
    pub leadership: watch::Receiver<Leadership>,
    pub auth: Rc<RefCell<Auth>>,
    pub known: watch::Receiver<Arc<Known>>,
    pub caller: Caller,
    pub start: Instant,
    /// Its place among those that may be open.
    pub _permit: OwnedSemaphorePermit,
}

impl Relay {
    /// The next chunk, or None when the stream shall end.
    pub async fn next(mut self) -> Option<(Bytes, Self)> {
        loop {
            // All may be cancelled: a frame that is not there yet stays in the body.
            let frame = tokio::select! {
                frame = self.body.frame() => Some(frame?.ok()?),
                known = self.known.changed() => { known.ok()?; None }
                () = overtaken(&mut self.leadership, &self.leader) => return None,
                () = tokio::time::sleep(SILENT_MAX) => return None,
            };
            let known = self.known.borrow_and_update().clone();
            if !self.auth.borrow().is_still(moment(&known, self.start), &self.caller) {
                return None;
            }
            if let Some(Ok(bytes)) = frame.map(hyper::body::Frame::into_data) {
                return Some((bytes, self));
            }
        }
    }
}

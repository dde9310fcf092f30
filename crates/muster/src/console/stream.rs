//! Tells every open console what changes, by server-sent events.
//!
//! One `Hub` asks the manager after each change, at most five times a second in the long run and only while somebody
//! listens; each subscriber sends the newest status when its connection can take it, so a slow reader misses statuses that were
//! overtaken, and never an event. Nothing is queued: a subscriber holds one chunk at most.

use super::auth::{Auth, Caller};
use super::server::moment;
use crate::manager::handle::{ManagerGone, ManagerHandle, Request};
use bytes::Bytes;
use logic::account::Known;
use std::cell::RefCell;
use std::fmt::Write;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::{Notify, OwnedSemaphorePermit, watch};
use tokio::time::Instant;
use wire::status::Event;

/// Time between two statuses in the long run. 200 ms: a person sees that as at once.
const STATUS_INTERVAL_MS: u64 = 200;
/// Statuses that may follow each other without a pause after a quiet time. 5: one event shows as a handful of changes
/// within milliseconds, and the page shall not lag behind it.
const STATUSES_AT_ONCE_MAX: u64 = 5;
/// A comment is sent when there was nothing else for this long, so that both sides notice a dead connection.
const HEARTBEAT_MS: u64 = 10_000;
/// Events sent to a page that comes without having seen any.
const FIRST_EVENTS_MAX: usize = 50;
/// Events asked for at once; what is missing comes with the next chunk.
const EVENTS_MAX: usize = 200;
/// How long a browser waits before it tries again.
const RETRY_MS: u64 = 1_000;

/// What the newest answer of the manager was.
#[derive(Debug, Clone)]
struct Snapshot {
    status: Bytes,
    event_number: u64,
}

#[derive(Debug, Clone)]
enum News {
    /// Nobody has listened, so nobody has asked.
    None,
    Known(Snapshot),
    ManagerGone,
}

/// Asks the manager once for all subscribers.
#[derive(Debug)]
pub struct Hub {
    newest: watch::Sender<News>,
    wanted: Notify,
}

impl Hub {
    pub fn new() -> Self {
        Self { newest: watch::Sender::new(News::None), wanted: Notify::new() }
    }

    /// Runs until the manager is gone; subscribers then end.
    pub async fn run(&self, mut manager: ManagerHandle) {
        let _end = End(self);
        let mut event_number = 0;
        let mut pace = Pace::new(Instant::now());
        loop {
            if self.newest.receiver_count() == 0 {
                self.wanted.notified().await;
            }
            manager.changed.mark_unchanged();
            let Ok(snapshot) = ask(&manager, event_number).await else {
                self.newest.send_replace(News::ManagerGone);
                if manager.requests.is_closed() || !manager.leads_again().await {
                    break;
                }
                // Another manager may have led meanwhile, and its events have numbers of their own.
                event_number = 0;
                tokio::time::sleep(Duration::from_millis(STATUS_INTERVAL_MS)).await;
                self.newest.send_replace(News::None);
                continue;
            };
            event_number = snapshot.event_number;
            self.newest.send_replace(News::Known(snapshot));
            tokio::time::sleep(pace.pause(Instant::now())).await;
            // A new subscriber need not wait for a change. Both branches lose nothing when cancelled.
            tokio::select! {
                changed = manager.changed.changed() => if changed.is_err() { break },
                () = self.wanted.notified() => {}
            }
        }
    }

    fn subscribe(&self) -> watch::Receiver<News> {
        let mut newest = self.newest.subscribe();
        if matches!(*newest.borrow(), News::ManagerGone) {
            newest.mark_changed();
        }
        self.wanted.notify_one();
        newest
    }
}

/// Spreads statuses over time: a quiet time earns some at once, after those one comes each interval.
#[derive(Debug)]
struct Pace {
    /// When the statuses sent so far would all have been earned.
    earned: Instant,
}

impl Pace {
    fn new(now: Instant) -> Self {
        Self { earned: now }
    }

    /// How long the next status must wait after one that was sent at `now`.
    fn pause(&mut self, now: Instant) -> Duration {
        self.earned = self.earned.max(now) + Duration::from_millis(STATUS_INTERVAL_MS);
        let ahead = Duration::from_millis(STATUS_INTERVAL_MS * (STATUSES_AT_ONCE_MAX - 1));
        self.earned.saturating_duration_since(now).saturating_sub(ahead)
    }
}

/// However the hub ends, its subscribers end too instead of waiting for ever.
struct End<'a>(&'a Hub);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.newest.send_replace(News::ManagerGone);
    }
}

async fn ask(manager: &ManagerHandle, after: u64) -> Result<Snapshot, ManagerGone> {
    let status = manager.ask(|reply| Request::Status { reply }).await?;
    let newest = manager.ask(|reply| Request::Events { after: None, most: 1, reply }).await?;
    let event_number = newest.last().map_or(after, |event| event.number);
    let json = serde_json::to_string(&status).expect("a status has only names as keys");
    Ok(Snapshot { status: format!("event: status\ndata: {json}\n\n").into(), event_number })
}

/// What a subscriber needs besides the hub.
#[derive(Debug)]
pub struct Subscription {
    pub manager: ManagerHandle,
    pub auth: Rc<RefCell<Auth>>,
    /// Users and tokens; a stream ends at once when its caller may no longer listen.
    pub known: watch::Receiver<Arc<Known>>,
    pub caller: Caller,
    /// The start of the clock that `Auth` is asked with.
    pub start: Instant,
    /// The last event that this caller has seen; None if it has seen none.
    pub seen: Option<u64>,
    /// Its place among the streams that may be open.
    #[expect(dead_code, reason = "held for as long as the stream is open, and given back with it")]
    pub permit: OwnedSemaphorePermit,
}

#[derive(Debug)]
struct Subscriber {
    what: Subscription,
    newest: watch::Receiver<News>,
    is_greeted: bool,
}

type Step = Pin<Box<dyn Future<Output = Option<(Bytes, Subscriber)>>>>;

/// The body of an answer that goes on for as long as the caller may and wants to listen.
pub struct EventStream {
    step: Option<Step>,
}

impl std::fmt::Debug for EventStream {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "EventStream {{ open: {} }}", self.step.is_some())
    }
}

impl EventStream {
    pub fn new(hub: &Hub, what: Subscription) -> Self {
        let subscriber = Subscriber { what, newest: hub.subscribe(), is_greeted: false };
        Self { step: Some(Box::pin(subscriber.next())) }
    }

    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let Some(step) = &mut self.step else { return Poll::Ready(None) };
        let Poll::Ready(next) = step.as_mut().poll(context) else { return Poll::Pending };
        let (bytes, step) = match next {
            Some((bytes, subscriber)) => (Some(bytes), Some(Box::pin(subscriber.next()) as Step)),
            None => (None, None),
        };
        self.step = step;
        Poll::Ready(bytes)
    }
}

impl Subscriber {
    /// The next chunk, or None when the stream shall end.
    async fn next(mut self) -> Option<(Bytes, Subscriber)> {
        if !self.is_greeted {
            self.is_greeted = true;
            // Sent at once, so that a caller knows that it listens even while the manager is slow to answer.
            return Some((format!("retry: {RETRY_MS}\n\n").into(), self));
        }
        let waited = loop {
            let heartbeat = tokio::time::sleep(Duration::from_millis(HEARTBEAT_MS));
            // All may be cancelled: what has changed is seen as changed the next time.
            let waited = tokio::select! {
                changed = self.newest.changed() => Some(Ok(changed)),
                () = heartbeat => Some(Err(())),
                known = self.what.known.changed() => known.is_err().then_some(Err(())),
            };
            let known = self.what.known.borrow_and_update().clone();
            let is_still =
                self.what.auth.borrow().is_still(moment(&known, self.what.start), &self.what.caller);
            match waited {
                _ if !is_still => return None,
                Some(waited) => break waited,
                None => {}
            }
        };
        match waited {
            Err(_) => return Some((Bytes::from_static(b": still here\nevent: beat\ndata: {}\n\n"), self)),
            Ok(Err(_)) => return None,
            Ok(Ok(())) => {}
        }
        let News::Known(snapshot) = self.newest.borrow_and_update().clone() else { return None };
        let mut chunk = String::new();
        for event in self.new_events(snapshot.event_number).await.ok()? {
            let json = serde_json::to_string(&event).expect("an event has only names as keys");
            write!(chunk, "id: {}\nevent: event\ndata: {json}\n\n", event.number)
                .expect("a string takes any text");
        }
        let mut bytes = chunk.into_bytes();
        bytes.extend_from_slice(&snapshot.status);
        Some((bytes.into(), self))
    }

    async fn new_events(&mut self, newest: u64) -> Result<Vec<Event>, ManagerGone> {
        // A history that begins anew is behind what this caller saw of the one before.
        let seen = self.what.seen.filter(|seen| *seen <= newest);
        let (after, most) = match seen {
            Some(seen) if seen == newest => return Ok(Vec::new()),
            Some(seen) => (Some(seen), EVENTS_MAX),
            None => (None, FIRST_EVENTS_MAX),
        };
        let events = self.what.manager.ask(|reply| Request::Events { after, most, reply }).await?;
        self.what.seen = Some(events.last().map_or(newest, |event| event.number));
        if events.len() == EVENTS_MAX {
            // There may be more: the next chunk shall not wait for the next change.
            self.newest.mark_changed();
        }
        Ok(events)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quiet_time_earns_statuses_at_once_and_a_busy_one_gets_five_a_second() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        let at = |ms: u64| start + Duration::from_millis(ms);
        for _ in 0..4 {
            assert_eq!(pace.pause(at(0)), Duration::ZERO);
        }
        let mut now_ms = 0;
        for _ in 0..10 {
            now_ms += pace.pause(at(now_ms)).as_millis() as u64;
        }
        assert_eq!(now_ms, 2_000, "ten statuses of a busy cell take two seconds");
        for _ in 0..4 {
            assert_eq!(pace.pause(at(60_000)), Duration::ZERO);
        }
        assert_eq!(pace.pause(at(60_000)), Duration::from_millis(200), "an hour earns no more than a second");
    }
}

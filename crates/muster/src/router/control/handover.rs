//! How the control thread hands its work over to another process, or takes it over from one.
//!
//! Sockets are shared, never bound anew: connections that wait in their queues are accepted by whoever comes first.
//! Promise: until `Release` nothing of a hand-over can be noticed, so whoever takes over accepts nobody before that; from
//! then on this process takes no new client, answers each that it has once more, and ends with the last or when its time
//! is up.

use super::{Control, DataThread, Source};
use crate::link::{Link, LinkEvent, follow};
use crate::router::handover::{Follower, Held, Offer, Request, Taken};
use crate::router::kept::Kept;
use crate::router::listen;
use crate::router::thread::Order;
use crate::router::views::Views;
use logic::time::Time;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use wire::link::Role;
use wire::router::{ClusterTraffic, MemberTraffic, RouterReport, Totals};

/// For how long sessions that only the predecessor has seen are counted: as long as any other (`logic::sessions`).
const SESSIONS_COUNT_MS: u64 = 300_000;

/// After this long a thread is asked to stop again; it needs half of it at most.
const STOP_AGAIN: Duration = Duration::from_secs(60);

/// Where this router stands between another process before it and one after it.
#[derive(Debug, Default)]
pub(super) struct Handover {
    /// Who took over from us.
    pub successor: Option<mpsc::Sender<RouterReport>>,
    /// Another process accepts at the addresses that we have from it: one that we accept is lost if we die now.
    awaits_release: bool,
    /// Whom we took over from, while it has clients.
    follower: Option<Follower>,
    predecessor: Option<(RouterReport, Time)>,
}

impl Handover {
    /// What the process before this one has counted and still does is the router's too.
    pub fn add_predecessor(&self, report: &mut RouterReport, now: Time) {
        let Some((before, at)) = &self.predecessor else { return };
        report.connections += before.connections;
        report.totals = sum(report.totals, before.totals);
        let counts_sessions = now.since_ms(*at) < SESSIONS_COUNT_MS;
        for cluster in &mut report.clusters {
            let Some(old) = before.clusters.iter().find(|old| old.cluster == cluster.cluster) else {
                continue;
            };
            // A report has them in the order of their names, but only those that have had a request.
            let mut others = Vec::new();
            for old in &old.members {
                match cluster.members.binary_search_by(|member| member.member.cmp(&old.member)) {
                    Ok(place) => add_member(&mut cluster.members[place], old, counts_sessions),
                    Err(_) => {
                        let mut member =
                            MemberTraffic { member: old.member.clone(), ..MemberTraffic::default() };
                        add_member(&mut member, old, counts_sessions);
                        others.push(member);
                    }
                }
            }
            cluster.members.append(&mut others);
        }
    }

    pub fn has_predecessor(&self) -> bool {
        self.predecessor.is_some()
    }

    /// Counts stay; what was going on has ended.
    fn predecessor_ended(&mut self) {
        self.follower = None;
        if let Some((report, _)) = &mut self.predecessor {
            report.connections = 0;
            let members = report.clusters.iter_mut().flat_map(|ClusterTraffic { members, .. }| members);
            for member in members {
                member.in_flight = 0;
                member.requests_per_second = 0.0;
            }
        }
    }
}

fn sum(mine: Totals, theirs: Totals) -> Totals {
    Totals {
        requests: mine.requests + theirs.requests,
        failed: mine.failed + theirs.failed,
        retried: mine.retried + theirs.retried,
        refused: mine.refused + theirs.refused,
        bytes_in: mine.bytes_in + theirs.bytes_in,
        bytes_out: mine.bytes_out + theirs.bytes_out,
    }
}

fn add_member(member: &mut MemberTraffic, old: &MemberTraffic, counts_sessions: bool) {
    member.requests += old.requests;
    member.failed += old.failed;
    // Whoever waits to stop the member waits for the predecessor's requests too.
    member.in_flight += old.in_flight;
    member.requests_per_second += old.requests_per_second;
    if counts_sessions {
        // Most sessions of the one will be seen by the other.
        member.sessions = member.sessions.max(old.sessions);
    }
}

impl DataThread {
    /// Another thread or process accepts in its place; its last clients have so long.
    pub(super) async fn let_go(&mut self, drain: Duration) {
        let until = Instant::now() + drain;
        self.drains_until = Some(self.drains_until.map_or(until, |before| before.min(until)));
        // One that retired before may have ended with its last client.
        drop(self.orders.send(Order::HandOver).await);
    }
}

/// The next event of a link; never where there is none. Safe to cancel.
pub(super) async fn next_event(link: &mut Option<Link>) -> Option<LinkEvent> {
    match link {
        Some(link) => link.events.recv().await,
        None => std::future::pending().await,
    }
}

impl Control {
    /// Follows the manager, or a file, from now on.
    pub(super) fn lead(&mut self, stopped: &watch::Receiver<bool>) {
        self.link = self.source.take().map(|source| match source {
            Source::Manager { node, manager } => {
                // What is served from is not gone back behind.
                let obeyed = self.views.all().values().map(|view| view.epoch.generation).max();
                let role = Role::Router { node, router: self.router.clone() };
                self.note_held();
                let having = Some(self.known.having());
                follow(manager, role, obeyed.unwrap_or_default(), having, stopped.clone())
            }
            Source::File(source) => source.follow(stopped.clone()),
        });
    }

    /// Is ready to serve what another process hands over. `serves` is told once every thread is; they accept from
    /// `Request::Lead` on.
    pub(super) async fn use_taken(&mut self, taken: Taken) {
        self.listening = taken.held.into_iter().map(|held| (held.asked, held)).collect();
        self.handover.awaits_release = true;
        self.use_settings().await;
        for thread in &self.threads {
            let (reply, is_ready) = oneshot::channel();
            if thread.orders.send(Order::Ready(reply)).await.is_err() || is_ready.await.is_err() {
                // Dropping `serves` says that we do not.
                return tracing::error!("a router thread has ended early");
            }
        }
        if !self.threads.is_empty() && taken.serves.send(()).is_err() {
            tracing::debug!("nobody waits for this router to serve");
        }
    }

    pub(super) async fn answer(&mut self, request: Request, stopped: &watch::Receiver<bool>) {
        match request {
            Request::Offer { reply } => drop(reply.send(self.offer())),
            Request::Release { drain_ms, successor, reply } => {
                self.release(drain_ms, successor).await;
                // Nobody waits any more where the successor has died; it is too late to take the work back.
                let _ = reply.send(());
            }
            Request::Lead { follower } => {
                self.handover.follower = follower;
                if std::mem::take(&mut self.handover.awaits_release) {
                    self.hand_out_all().await;
                }
                if self.link.is_none() && self.handover.successor.is_none() {
                    self.lead(stopped);
                }
            }
            Request::Follow { kept } => {
                self.state.settings = kept.settings.or(self.state.settings.take());
                self.views = Views::new(kept.views);
                self.publish().await;
            }
            Request::PredecessorCounts { report } => {
                self.handover.predecessor = Some((*report, self.clock.now()));
                // Whoever waits for a member's last request must not wait for the next tick.
                self.reported.notify_one();
            }
            Request::PredecessorEnded => self.handover.predecessor_ended(),
        }
    }

    fn offer(&self) -> io::Result<Offer> {
        let views = self.views.all().values().cloned().collect();
        let copy = |held: &Held| {
            let listeners = held.listeners.iter().map(TcpListener::try_clone).collect::<io::Result<_>>()?;
            Ok(Held { asked: held.asked, got: held.got, listeners })
        };
        let held = self.listening.values().map(copy).collect::<io::Result<_>>()?;
        Ok(Offer { kept: Kept { settings: self.state.settings.clone(), views }, held })
    }

    async fn release(&mut self, drain_ms: u64, successor: mpsc::Sender<RouterReport>) {
        self.link = None;
        self.plugin_cfg = None;
        // Waits until the last state is written: the successor writes the same file.
        self.keeper = None;
        self.must_keep = false;
        self.listening.clear();
        self.problems.clear();
        self.handover.successor = Some(successor);
        for thread in self.threads.iter_mut().chain(&mut self.retired) {
            thread.let_go(Duration::from_millis(drain_ms)).await;
        }
        tracing::info!(router = %self.router, "handed over; answering the clients that are left");
    }

    /// Ends the clients of draining threads that take too long.
    pub(super) async fn end_late_drains(&mut self) {
        for thread in self.threads.iter_mut().chain(&mut self.retired) {
            let is_late = thread.drains_until.is_some_and(|until| until <= Instant::now());
            if is_late && !thread.thread.is_finished() {
                tracing::warn!("the time to drain is up; closing the connections that are left");
                thread.drains_until = Some(Instant::now() + STOP_AGAIN);
                // Its end may come in between.
                drop(thread.orders.send(Order::Stop).await);
            }
        }
    }

    /// After a release: whether all threads have ended.
    pub(super) fn is_drained(&mut self) -> Option<bool> {
        self.handover.successor.as_ref()?;
        let is_over = self.threads.iter().chain(&self.retired).all(|thread| thread.thread.is_finished());
        if is_over {
            // The last counts.
            self.report();
        }
        Some(is_over)
    }

    pub(super) fn tell_predecessor(&mut self, kept: &Kept) {
        let Some(follower) = &self.handover.follower else { return };
        // One that does not read hears of the next change; it takes no new clients any more.
        if follower.try_send((self.router.clone(), kept.clone())).is_err() {
            tracing::debug!("the predecessor does not listen");
        }
    }

    /// Holds an address and hands it out.
    pub(super) async fn hold(&mut self, held: Held) {
        let asked = held.asked;
        self.listening.insert(asked, held);
        self.hand_out(asked).await;
    }

    pub(super) async fn hand_out_all(&mut self) {
        for asked in self.listening.keys().copied().collect::<Vec<_>>() {
            self.hand_out(asked).await;
        }
    }

    /// Gives every thread its part of an address's sockets: each socket to one thread at least, and one at least to
    /// each thread, so that no queue is left without anybody who accepts.
    async fn hand_out(&mut self, asked: SocketAddr) {
        let Some(held) = self.listening.get_mut(&asked) else { return };
        if let Some(missing) = self.threads.len().checked_sub(held.listeners.len()) {
            match listen::bind_beside(held.got, missing) {
                Ok(more) => held.listeners.extend(more),
                // Fewer threads accept there; the others share the work of those connections that they have.
                Err(error) => tracing::warn!(address = %held.got, %error, "not every thread accepts there"),
            }
        }
        if self.threads.is_empty() || self.handover.awaits_release {
            return;
        }
        let got = held.got;
        let copies: Vec<io::Result<TcpListener>> =
            held.listeners.iter().map(TcpListener::try_clone).collect();
        for (copy, DataThread { orders, .. }) in copies.into_iter().zip(self.threads.iter().cycle()) {
            match copy {
                Ok(listener) => {
                    if orders.send(Order::Listen { asked, listener }).await.is_err() {
                        tracing::error!("a router thread has ended early");
                    }
                }
                Err(error) => tracing::error!(address = %got, %error, "a listener could not be used"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(members: &[(&str, u64)]) -> RouterReport {
        let member = |(name, in_flight): &(&str, u64)| MemberTraffic {
            member: (*name).into(),
            in_flight: *in_flight,
            ..MemberTraffic::default()
        };
        let cluster = ClusterTraffic {
            cluster: "shop".into(),
            applied: wire::id::Epoch::default(),
            members: members.iter().map(member).collect(),
            failed_over: 0,
            queued: 0,
            queue_refused: 0,
            waiting: 0,
        };
        RouterReport {
            router: "front".into(),
            listening: Vec::new(),
            problems: Vec::new(),
            connections: 0,
            clusters: vec![cluster],
            routes: Vec::new(),
            totals: Totals::default(),
            takes_changes: false,
        }
    }

    /// Whoever waits for a member's last request hears of those that only the predecessor has.
    #[test]
    fn what_only_the_predecessor_has_under_way_is_told_too() {
        let before = report(&[("c", 3), ("b", 2), ("a", 1)]);
        let handover = Handover { predecessor: Some((before, Time(0))), ..Handover::default() };
        let mut told = report(&[("b", 5)]);
        handover.add_predecessor(&mut told, Time(1));
        let mut told: Vec<_> =
            told.clusters[0].members.iter().map(|member| (&*member.member.0, member.in_flight)).collect();
        told.sort_unstable();
        assert_eq!(told, [("a", 1), ("b", 7), ("c", 3)]);
    }
}

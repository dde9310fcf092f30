//! Routers that follow the manager, each on a thread of its own: what arrives there, when, and in how many bytes.
//!
//! They report as busy routers do: the traffic of every member, a thousand members a second, and at each change which view
//! they use.

use super::fleet::Fleet;
use super::link::Link;
use crate::failure::{Doing, Failure, Outcome};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use wire::id::{ClusterName, Epoch, MemberName, RouterName};
use wire::link::{FromManager, ToManager};
use wire::router::{ClusterTraffic, MemberTraffic, RouterProgress, RouterReport, Totals, TrafficCounts};

/// How often a router reports; all of its members only if they are a thousand or fewer.
const REPORT_EVERY: Duration = Duration::from_secs(1);
/// It tells of so many members in a second.
const MEMBERS_PER_SECOND: u32 = 1_000;
/// A read waits for so long, so that reports are not late.
pub const READ_WAIT: Duration = Duration::from_millis(20);

/// A message with changes that a router has read.
#[derive(Debug, Clone)]
pub struct Arrival {
    pub at: Instant,
    /// Of the frame: length and text.
    pub bytes: usize,
    pub members: Vec<MemberName>,
}

/// What all routers have heard so far.
#[derive(Debug, Default)]
pub struct Heard {
    pub changes: Vec<Arrival>,
    /// Whole views that came after the first ones.
    pub whole_views: usize,
    /// Routers that have a view of every cluster.
    pub ready: usize,
}

pub struct Routers {
    threads: Vec<JoinHandle<Outcome<()>>>,
    is_over: Arc<AtomicBool>,
    pub heard: Arc<Mutex<Heard>>,
}

impl Routers {
    pub fn start(links: Vec<(RouterName, Link)>, clusters: usize) -> Self {
        let (is_over, heard) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Heard::default())));
        let count = links.len() as u32;
        let threads = links.into_iter().enumerate().map(|(number, (name, link))| {
            let router = Router {
                name,
                link,
                clusters,
                views: BTreeMap::new(),
                is_ready: false,
                report_at: Instant::now(),
                whole_at: None,
                // Routers do not all report at once.
                phase: (number as u32, count.max(1)),
                heard: heard.clone(),
            };
            let is_over = is_over.clone();
            std::thread::spawn(move || router.run(&is_over))
        });
        let threads = threads.collect();
        Self { threads, is_over, heard }
    }

    /// What came before is how a cell comes to be.
    pub fn forget(&self) {
        let mut heard = self.heard.lock().expect("nobody panics while holding it");
        heard.changes.clear();
        heard.whole_views = 0;
    }

    /// The machines speak meanwhile: a link that says nothing for long is ended.
    pub fn wait_until_ready(&self, fleet: &mut Fleet, time_max: Duration) -> Outcome<()> {
        let started = Instant::now();
        let ready = || self.heard.lock().expect("nobody panics while holding it").ready;
        while ready() < self.threads.len() {
            if let Some(ended) = self.threads.iter().find(|thread| thread.is_finished()) {
                return Err(Failure(format!("the thread {:?} of a router has ended", ended.thread().id())));
            }
            if started.elapsed() > time_max {
                return Err(Failure(format!("only {} routers have all views", ready())));
            }
            fleet.run(Instant::now() + READ_WAIT, None)?;
        }
        Ok(())
    }

    /// What they heard; a failure if one of them lost its manager.
    pub fn end(self) -> Outcome<Heard> {
        self.is_over.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().map_err(|_| Failure("a router's thread has failed".into()))??;
        }
        Ok(std::mem::take(&mut *self.heard.lock().expect("nobody panics while holding it")))
    }
}

struct Router {
    name: RouterName,
    link: Link,
    clusters: usize,
    /// With the number of its members and their traffic as it stands in reports.
    views: BTreeMap<ClusterName, (Epoch, u32, String)>,
    is_ready: bool,
    report_at: Instant,
    /// None: it has not told all yet.
    whole_at: Option<Instant>,
    /// Its number, of so many.
    phase: (u32, u32),
    heard: Arc<Mutex<Heard>>,
}

impl Router {
    fn run(mut self, is_over: &AtomicBool) -> Outcome<()> {
        while !is_over.load(Ordering::Relaxed) {
            if let Some(body) = self.link.take()? {
                self.hear(&body, Instant::now())?;
            }
            let now = Instant::now();
            if self.is_ready && self.report_at <= now {
                self.report_at = now + REPORT_EVERY;
                self.report(now)?;
            }
        }
        Ok(())
    }

    fn hear(&mut self, body: &[u8], at: Instant) -> Outcome<()> {
        let message = serde_json::from_slice(body).doing("read a message of the manager")?;
        let heard = self.heard.clone();
        let mut heard = heard.lock().expect("nobody panics while holding it");
        match message {
            FromManager::Views(views) => {
                heard.whole_views += if self.is_ready { views.len() } else { 0 };
                for view in views {
                    let members: Vec<MemberTraffic> =
                        view.members.into_iter().map(|member| traffic(member.name)).collect();
                    let text = serde_json::to_string(&members).doing("write a report")?;
                    self.views.insert(view.cluster, (view.epoch, members.len() as u32, text));
                }
                if !self.is_ready && self.views.len() == self.clusters {
                    self.is_ready = true;
                    heard.ready += 1;
                }
            }
            FromManager::Changes(changes) => {
                let mut arrival = Arrival { at, bytes: body.len() + 4, members: Vec::new() };
                for change in changes {
                    let put = change.put.into_iter().map(|put| put.member.name);
                    arrival.members.extend(change.states.into_values().flatten().chain(put));
                    if let Some((epoch, _, _)) = self.views.get_mut(&change.cluster) {
                        *epoch = change.to;
                    }
                }
                heard.changes.push(arrival);
                // As soon as its threads use it, which takes milliseconds.
                self.report_at = at;
            }
            FromManager::Settings { .. } | FromManager::Clusters { .. } | FromManager::KeepAlive => {}
            other => return Err(Failure(format!("a router is told {other:?}"))),
        }
        Ok(())
    }

    /// Members' part is always the same text: to write it anew each second would cost as much as the manager's reading.
    fn report(&mut self, now: Instant) -> Outcome<()> {
        const MEMBERS: &str = "\"members\":";
        const NONE: &str = "\"members\":[]";
        let clusters = self.views.iter().map(|(cluster, (applied, _, _))| ClusterTraffic {
            cluster: cluster.clone(),
            applied: *applied,
            members: Vec::new(),
            failed_over: 0,
            queued: 0,
            queue_refused: 0,
            waiting: 0,
        });
        let clusters: Vec<ClusterTraffic> = clusters.collect();
        let router = self.name.clone();
        if self.whole_at.is_some_and(|at| at > now) {
            // None of its members had requests under way when it fell.
            return self.link.send(&ToManager::Progress(RouterProgress { router, clusters }));
        }
        let members: u32 = self.views.values().map(|(_, members, _)| members).sum();
        let pause = REPORT_EVERY * members / MEMBERS_PER_SECOND;
        self.whole_at = Some(match self.whole_at {
            Some(at) => at + pause,
            None => now + pause * self.phase.0 / self.phase.1,
        });
        let report = RouterReport {
            router,
            listening: Vec::new(),
            problems: Vec::new(),
            connections: 1_000,
            clusters,
            routes: Vec::new(),
            totals: Totals { requests: 1_000_000, ..Totals::default() },
            takes_changes: self.is_ready,
        };
        let text = serde_json::to_string(&ToManager::Router(report)).doing("write a report")?;
        let mut parts = text.split(NONE);
        let mut body = parts.next().unwrap_or_default().to_owned();
        for (part, (_, _, members)) in parts.zip(self.views.values()) {
            body.push_str(MEMBERS);
            body.push_str(members);
            body.push_str(part);
        }
        self.link.send_body(body.as_bytes())
    }
}

/// A member that has ten requests a second of this router, for some hours.
fn traffic(member: MemberName) -> MemberTraffic {
    let mut counts = TrafficCounts { by_class: [0, 123_450, 67, 8, 0], ..TrafficCounts::default() };
    counts.bytes_in = 56_789_012;
    counts.bytes_out = 1_234_567_890;
    counts.first_byte[1] = 120_000;
    counts.first_byte[3] = 3_525;
    counts.first_byte_sum_us = 123_456_789;
    MemberTraffic {
        member,
        requests: 123_525,
        requests_per_second: 10.2,
        sessions: 40,
        latency_p50_us: 812,
        latency_p99_us: 4_310,
        counts,
        ..MemberTraffic::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_of_a_report_is_as_large_as_a_busy_one() {
        let text = serde_json::to_string(&traffic("shop-1-1234".into())).expect("it can be written");
        assert!((300..600).contains(&text.len()), "{text}");
    }
}

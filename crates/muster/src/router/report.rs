//! What data threads counted, added up for the manager.

use super::core::Core;
use super::member::{Cluster, Ejected, Member};
use super::takeover::Slices;
use logic::histogram::Histogram;
use logic::sessions::SessionCount;
use logic::time::Time;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use wire::id::{ClusterName, Epoch, MemberName, RouterName};
use wire::router::{
    ClusterTraffic, Ejection, MemberTraffic, RouteTraffic, RouterProgress, RouterReport, Totals,
    TrafficCounts,
};
use wire::view::{RunState, View};

/// One data thread's counts.
#[derive(Debug, Clone, Default)]
pub struct ThreadReport {
    /// It takes no new tables and no new connections.
    pub is_stopping: bool,
    pub connections: u64,
    pub totals: Totals,
    pub clusters: Vec<ClusterCounts>,
    /// Name, requests under way, and what was counted.
    pub routes: Vec<(String, u64, TrafficCounts)>,
}

#[derive(Debug, Clone)]
pub struct ClusterCounts {
    pub cluster: ClusterName,
    pub applied: Epoch,
    /// Of those that have had a request: of the others there is nothing to tell.
    pub members: Vec<MemberCounts>,
    pub failed_over: u64,
    pub queued: u64,
    pub queue_refused: u64,
    pub waiting: u64,
}

#[derive(Debug, Clone)]
pub struct MemberCounts {
    pub member: MemberName,
    pub requests: u64,
    pub failed: u64,
    pub in_flight: u64,
    pub latency: Histogram,
    pub counts: TrafficCounts,
    pub sessions: SessionCount,
    pub ejection: Option<Ejected>,
}

/// How long to wait before the next report: ten times as long as the last one took, so that reports of large routers,
/// which are wanted at every change, never take more than a tenth of a core. Half a second at most.
#[derive(Debug, Default)]
pub struct Pace {
    pause: Duration,
    /// Until then reports need not be whole; None: each is.
    whole_at: Option<Instant>,
}

const PAUSES: u32 = 10;
const PAUSE_MIN: Duration = Duration::from_millis(1);
/// Members up to which each report is whole. 1,000: some 350 kB.
const WHOLE_MEMBERS_MAX: usize = 1_000;
/// Of a member of a larger router is told so often: a manager reads a thousand members of each router in a second, whatever the
/// number of members and of changes. Ten thousand are told of every ten seconds.
const WHOLE_MEMBERS_PER_SECOND: usize = 1_000;
/// Half a second: whoever looks at figures does not wait longer for them.
const PAUSE_MAX: Duration = Duration::from_millis(500);

impl Pace {
    /// A report that began then is made.
    pub fn made(&mut self, began: Instant) {
        let pause = (began.elapsed() * PAUSES).min(PAUSE_MAX);
        // Most reports take microseconds.
        self.pause = if pause < PAUSE_MIN { Duration::ZERO } else { pause };
    }

    pub fn pause(&self) -> Duration {
        self.pause
    }

    /// Whether the next report must be whole.
    pub fn wants_whole(&self, now: Instant) -> bool {
        self.whole_at.is_none_or(|at| at <= now)
    }

    /// A whole one is made, with so many members.
    pub fn made_whole(&mut self, now: Instant, members: usize) {
        let pause = Duration::from_secs(1) * members as u32 / WHOLE_MEMBERS_PER_SECOND as u32;
        self.whole_at = (members > WHOLE_MEMBERS_MAX).then(|| now + pause);
    }

    /// Whoever hears the next one knows nothing, or what has changed stands only in a whole one.
    pub fn begin_anew(&mut self) {
        self.whole_at = None;
    }
}

/// Reads the counts of a data thread, in slices, and closes connections to members that were idle for too long. With
/// `fade`, durations counted so far weigh half from now on.
pub async fn of_thread(core: &Core, fade: bool) -> ThreadReport {
    let known: Vec<(ClusterName, Rc<Cluster>)> = {
        let clusters = core.clusters.borrow();
        clusters.iter().map(|(name, cluster)| (name.clone(), cluster.clone())).collect()
    };
    let mut clusters = Vec::with_capacity(known.len());
    let mut slices = Slices::begin();
    for (name, cluster) in known {
        let pool_idle_ms = core.settings.borrow().timeouts.pool_idle_ms;
        let used =
            cluster.members.borrow().iter().filter(|member| member.is_used()).cloned().collect::<Vec<_>>();
        used.iter().for_each(|member| member.close_old_idle(core.now(), pool_idle_ms));
        clusters.push(of_cluster(name, &cluster, &used, fade));
        slices.pause().await;
    }
    ThreadReport {
        is_stopping: core.is_stopping.get(),
        connections: core.connections() as u64,
        totals: core.totals.get(),
        clusters,
        routes: core.route_states.counted(),
    }
}

/// Threads judge for themselves: the ejection that lasts longest is told, and how many leave the member out.
fn add_ejection(traffic: &mut MemberTraffic, ejected: Option<&Ejected>, now: Time) {
    let Some(ejected) = ejected else { return };
    let left_ms = ejected.until.since_ms(now);
    let threads = u32::from(left_ms > 0);
    match &mut traffic.ejection {
        Some(known) => {
            known.threads += threads;
            if left_ms > known.left_ms {
                known.left_ms = left_ms;
                known.reason.clone_from(&ejected.reason);
            }
        }
        None => traffic.ejection = Some(Ejection { reason: ejected.reason.clone(), threads, left_ms }),
    }
}

fn of_cluster(name: ClusterName, cluster: &Cluster, used: &[Rc<Member>], fade: bool) -> ClusterCounts {
    let members = used.iter().map(|member| {
        let mut latency = member.latency.borrow_mut();
        let counts = MemberCounts {
            member: member.name.clone(),
            requests: member.requests.get(),
            failed: member.failed.get(),
            in_flight: member.in_flight(),
            latency: latency.clone(),
            counts: *member.counts.borrow(),
            sessions: member.sessions.borrow().clone(),
            ejection: member.ejection.borrow().clone(),
        };
        if fade {
            latency.fade();
        }
        counts
    });
    ClusterCounts {
        cluster: name,
        applied: cluster.view.borrow().epoch,
        members: members.collect(),
        failed_over: cluster.failed_over.get(),
        queued: cluster.queued.get(),
        queue_refused: cluster.queue_refused.get(),
        waiting: u64::from(cluster.waiting.get()),
    }
}

/// Adds reports up, and tells rates from what it saw before.
#[derive(Debug, Default)]
pub struct Summary {
    before: BTreeMap<Counted, Rate>,
    /// When it was asked last: what was not told then had had no request.
    asked: Option<Time>,
    /// What has been told of progress since the last whole report, requests under way and sessions: who waits for thousands of
    /// lost members need not hear of each with every change.
    told: BTreeMap<ClusterName, BTreeMap<MemberName, (u64, u64)>>,
}

/// What has a rate.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Counted {
    Member(ClusterName, MemberName),
    Route(String),
}

#[derive(Debug, Clone, Copy)]
struct Rate {
    requests: u64,
    at: Time,
    per_second: f64,
}

impl Summary {
    /// The router's report from those of all its threads, the first of which takes requests.
    pub fn of(
        &mut self,
        router: &RouterName,
        threads: &[Arc<ThreadReport>],
        listening: Vec<SocketAddr>,
        problems: Vec<String>,
        now: Time,
    ) -> RouterReport {
        let mut report = RouterReport {
            router: router.clone(),
            listening,
            problems,
            connections: threads.iter().map(|thread| thread.connections).sum(),
            clusters: Vec::new(),
            routes: self.routes(threads, now),
            totals: threads.iter().fold(Totals::default(), |sum, thread| add(sum, thread.totals)),
            takes_changes: true,
        };
        report.clusters = self.clusters(threads, |_| None, now);
        self.told.clear();
        self.before.retain(|_, rate| now.since_ms(rate.at) < 60_000);
        self.asked = Some(now);
        report
    }

    /// What managers wait for, as far as it is news since the last report of either kind. `views`: the newest that the router has.
    pub fn progress(
        &mut self,
        router: &RouterName,
        threads: &[Arc<ThreadReport>],
        views: &BTreeMap<ClusterName, Arc<View>>,
        now: Time,
    ) -> RouterProgress {
        let not_up = |cluster: &ClusterName| {
            let members = views.get(cluster).map(|view| view.members.iter()).unwrap_or_default();
            let not_up = members.filter(|member| member.state != RunState::Up);
            Some(not_up.map(|member| member.name.clone()).collect())
        };
        let mut clusters = self.clusters(threads, not_up, now);
        for cluster in &mut clusters {
            let told = self.told.entry(cluster.cluster.clone()).or_default();
            cluster.members.retain(|member| {
                let now = (member.in_flight, member.sessions);
                told.insert(member.member.clone(), now) != Some(now)
            });
        }
        RouterProgress { router: router.clone(), clusters }
    }

    /// `only`: of which members of a cluster is told; None: of all.
    fn clusters<'t>(
        &mut self,
        threads: &'t [Arc<ThreadReport>],
        only: impl Fn(&ClusterName) -> Option<BTreeSet<MemberName>>,
        now: Time,
    ) -> Vec<ClusterTraffic> {
        let mut clusters = Vec::new();
        let names = threads.first().map(|thread| thread.clusters.as_slice()).unwrap_or_default();
        for cluster in names.iter().map(|counts| &counts.cluster) {
            let of = |thread: &'t Arc<ThreadReport>| {
                // They are in the order of their names.
                let place = thread.clusters.binary_search_by(|counts| counts.cluster.cmp(cluster));
                (thread.is_stopping, place.ok().map(|place| &thread.clusters[place]))
            };
            let found: Vec<(bool, Option<&ClusterCounts>)> = threads.iter().map(of).collect();
            // A thread that does not know the cluster yet uses no epoch of it; one that stops gives it no new request.
            let epochs = found.iter().filter(|(is_stopping, _)| !is_stopping);
            let applied =
                epochs.map(|(_, counts)| counts.map_or(Epoch::default(), |counts| counts.applied)).min();
            let applied = applied.unwrap_or_default();
            let counts: Vec<&ClusterCounts> = found.iter().filter_map(|(_, counts)| *counts).collect();
            let only = only(cluster);
            let members = self.members(cluster, &counts, only.as_ref(), now);
            let sum = |of: fn(&ClusterCounts) -> u64| counts.iter().map(|counts| of(counts)).sum();
            clusters.push(ClusterTraffic {
                cluster: cluster.clone(),
                applied,
                members,
                failed_over: sum(|counts| counts.failed_over),
                queued: sum(|counts| counts.queued),
                queue_refused: sum(|counts| counts.queue_refused),
                waiting: sum(|counts| counts.waiting),
            });
        }
        clusters
    }

    fn routes(&mut self, threads: &[Arc<ThreadReport>], now: Time) -> Vec<RouteTraffic> {
        let mut sums: BTreeMap<&str, (u64, TrafficCounts)> = BTreeMap::new();
        for (name, in_flight, counts) in threads.iter().flat_map(|thread| &thread.routes) {
            let sum = sums.entry(name).or_default();
            sum.0 += in_flight;
            sum.1.merge(counts);
        }
        let told = sums.into_iter().map(|(name, (in_flight, counts))| RouteTraffic {
            route: name.to_owned(),
            in_flight,
            requests_per_second: self.rate(Counted::Route(name.to_owned()), counts.requests(), now),
            counts,
        });
        told.collect()
    }

    /// In the order of their names.
    fn members(
        &mut self,
        cluster: &ClusterName,
        counts: &[&ClusterCounts],
        only: Option<&BTreeSet<MemberName>>,
        now: Time,
    ) -> Vec<MemberTraffic> {
        let mut sums: BTreeMap<&MemberName, Sum> = BTreeMap::new();
        let is_told = |member: &&MemberCounts| only.is_none_or(|only| only.contains(&member.member));
        for member in counts.iter().flat_map(|counts| &counts.members).filter(is_told) {
            sums.entry(&member.member).or_default().add(member, now);
        }
        let told = sums.into_iter().map(|(name, sum)| {
            let Sum { mut traffic, latency, mut sessions } = sum;
            traffic.member = name.clone();
            traffic.sessions = sessions.estimate(now);
            traffic.latency_p50_us = latency.percentile_us(50);
            traffic.latency_p99_us = latency.percentile_us(99);
            let counted = Counted::Member(cluster.clone(), name.clone());
            traffic.requests_per_second = self.rate(counted, traffic.requests, now);
            traffic
        });
        told.collect()
    }

    /// Requests per second since the last look that was long enough ago to tell.
    fn rate(&mut self, key: Counted, requests: u64, now: Time) -> f64 {
        let unknown = match self.asked {
            Some(at) => Rate { requests: 0, at, per_second: 0.0 },
            None => Rate { requests, at: now, per_second: 0.0 },
        };
        let before = self.before.entry(key).or_insert(unknown);
        let elapsed_ms = now.since_ms(before.at);
        if elapsed_ms >= 500 {
            let counted = requests.saturating_sub(before.requests);
            *before = Rate { requests, at: now, per_second: counted as f64 * 1000.0 / elapsed_ms as f64 };
        }
        before.per_second
    }
}

/// What all threads counted of one member.
#[derive(Debug, Default)]
struct Sum {
    traffic: MemberTraffic,
    latency: Histogram,
    sessions: SessionCount,
}

impl Sum {
    fn add(&mut self, member: &MemberCounts, now: Time) {
        self.traffic.requests += member.requests;
        self.traffic.failed += member.failed;
        self.traffic.counts.merge(&member.counts);
        self.traffic.in_flight += member.in_flight;
        self.latency.merge(&member.latency);
        add_ejection(&mut self.traffic, member.ejection.as_ref(), now);
        self.sessions.merge(&member.sessions, now);
    }
}

fn add(left: Totals, right: Totals) -> Totals {
    Totals {
        requests: left.requests + right.requests,
        failed: left.failed + right.failed,
        retried: left.retried + right.retried,
        refused: left.refused + right.refused,
        bytes_in: left.bytes_in + right.bytes_in,
        bytes_out: left.bytes_out + right.bytes_out,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::view::MemberView;

    fn counts(member: &str, requests: u64, in_flight: u64) -> MemberCounts {
        MemberCounts {
            member: member.into(),
            requests,
            failed: 0,
            in_flight,
            latency: Histogram::default(),
            counts: TrafficCounts::default(),
            sessions: SessionCount::default(),
            ejection: None,
        }
    }

    fn thread(members: Vec<MemberCounts>) -> Arc<ThreadReport> {
        let cluster = ClusterCounts {
            cluster: "shop".into(),
            applied: Epoch::default(),
            members,
            failed_over: 0,
            queued: 0,
            queue_refused: 0,
            waiting: 0,
        };
        Arc::new(ThreadReport { clusters: vec![cluster], ..ThreadReport::default() })
    }

    fn members(summary: &mut Summary, threads: &[Arc<ThreadReport>], now: Time) -> Vec<MemberTraffic> {
        let report = summary.of(&"front".into(), threads, Vec::new(), Vec::new(), now);
        report.clusters.into_iter().flat_map(|cluster| cluster.members).collect()
    }

    /// Threads tell only of members that they have used: not each of the same ones, nor in the same places.
    #[test]
    fn a_member_counts_whichever_thread_has_used_it() {
        let threads = [thread(vec![counts("b", 2, 1)]), thread(vec![counts("a", 1, 0), counts("b", 3, 1)])];
        let told = members(&mut Summary::default(), &threads, Time(0));
        let told: Vec<_> =
            told.iter().map(|member| (&*member.member.0, member.requests, member.in_flight)).collect();
        assert_eq!(told, [("a", 1, 0), ("b", 5, 2)]);
    }

    #[test]
    fn the_first_requests_of_a_member_have_a_rate() {
        let mut summary = Summary::default();
        assert!(members(&mut summary, &[thread(Vec::new())], Time(1_000)).is_empty());
        let first = members(&mut summary, &[thread(vec![counts("a", 10, 0)])], Time(2_000));
        assert_eq!(first[0].requests_per_second, 10.0);
        // What a router has counted before anybody asked says nothing of how fast.
        let late = members(&mut Summary::default(), &[thread(vec![counts("a", 10, 0)])], Time(2_000));
        assert_eq!(late[0].requests_per_second, 0.0);
    }

    #[test]
    fn progress_tells_once_of_who_is_not_up_until_it_changes() {
        let member = |name: &str, state| MemberView { name: name.into(), state, ..MemberView::default() };
        let members = vec![member("one", RunState::Up), member("two", RunState::Draining)];
        let view = View { cluster: "shop".into(), members, ..View::default() };
        let views = BTreeMap::from([(view.cluster.clone(), Arc::new(view))]);
        let mut summary = Summary::default();
        let mut told = |in_flight: u64, is_whole: bool| -> Vec<(String, u64)> {
            let threads = [thread(vec![counts("one", 5, 5), counts("two", 7, in_flight)])];
            let (router, now) = ("front".into(), Time(1_000));
            let clusters = match is_whole {
                true => summary.of(&router, &threads, Vec::new(), Vec::new(), now).clusters,
                false => summary.progress(&router, &threads, &views, now).clusters,
            };
            assert_eq!(clusters.len(), 1, "which view is used is always told");
            let members = clusters.into_iter().flat_map(|cluster| cluster.members);
            members.map(|member| (member.member.0, member.in_flight)).collect()
        };
        let (one, two) = (("one".to_owned(), 5), |in_flight| ("two".to_owned(), in_flight));
        assert_eq!(told(3, true), [one, two(3)]);
        assert_eq!(told(3, false), [two(3)], "it may have been up when it was told");
        assert_eq!(told(3, false), []);
        assert_eq!(told(0, false), [two(0)]);
        assert_eq!(told(0, false), []);
    }

    #[test]
    fn reports_of_many_members_are_whole_now_and_then() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        assert!(pace.wants_whole(start), "the first");
        pace.made_whole(start, 1_000);
        assert!(pace.wants_whole(start), "each of a thousand members");
        pace.made_whole(start, 10_000);
        assert!(!pace.wants_whole(start + Duration::from_secs(9)));
        assert!(pace.wants_whole(start + Duration::from_secs(10)));
        pace.begin_anew();
        assert!(pace.wants_whole(start), "whoever hears it knows nothing");
    }
}

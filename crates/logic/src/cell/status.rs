//! What people are shown of a cell, made from its state and the routers' last reports.
//!
//! Over several routers counts, rates and sessions are added (a session that uses two routers counts twice), the median
//! latency is weighted by rate, and the 99th percentile is the worst router's.

use super::Cell;
use super::cluster::Cluster;
use super::member::Member;
use super::router::{Router, traffic};
use crate::actions;
use crate::heartbeat::Reach;
use crate::rollout::Phase;
use crate::time::Time;
use std::collections::BTreeMap;
use wire::id::{ClusterName, RouterName};
use wire::router::{MemberTraffic, OTHER_ROUTES, ROUTES_TOLD_MAX, RouteTraffic, RouterReport, TrafficCounts};
use wire::status::{
    ClusterStatus, MemberEjection, MemberStatus, MonitorStatus, NodeReach, NodeStatus, RouteStatus,
    RouterStatus,
};

/// The parts of a `CellStatus` that the cell knows.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    pub nodes: Vec<NodeStatus>,
    pub routers: Vec<RouterStatus>,
    pub clusters: Vec<ClusterStatus>,
    pub monitors: Vec<MonitorStatus>,
}

impl Cell {
    /// `unix_ms` tells what the wall clock said at a time, for display.
    pub fn summary(&self, unix_ms: &dyn Fn(Time) -> u64) -> Summary {
        let agents = self.agents.iter().map(|(node, agent)| NodeStatus {
            refused: None,
            node: node.clone(),
            connected: agent.is_connected,
            heard_ms: agent.heard.map(unix_ms),
            reach: match agent.reach() {
                None => NodeReach::Unknown,
                Some(Reach::Reachable) => NodeReach::Reachable,
                Some(Reach::Degraded | Reach::Elsewhere | Reach::Nearby) => NodeReach::Degraded,
                Some(Reach::Unreachable) => NodeReach::Unreachable,
            },
            heard_by: agent.heard_by.clone().filter(|_| agent.reach().is_some()),
            reach_since_ms: agent.reach_since.map(unix_ms),
            left_out: agent.is_away(),
            lost_with_many: agent.is_mass(),
            certificate_until_ms: agent.certificate_until_ms,
            drained: self.wish_of(node).is_drained(),
            maintenance: self.wish_of(node).is_in_maintenance,
            clock_ahead_ms: agent.clock.map(|(at, clock_ms)| clock_ms as i64 - unix_ms(at) as i64),
            // Of its connection the manager's shell knows.
            ..NodeStatus::default()
        });
        let clusters = self.clusters.iter().map(|cluster| self.cluster_status(cluster, unix_ms));
        let remotes = self.remotes.iter().map(|remote| self.remote_status(remote, unix_ms));
        Summary {
            nodes: agents.collect(),
            routers: self.routers.values().map(|router| router.status(unix_ms)).collect(),
            clusters: clusters.chain(remotes).collect(),
            monitors: self.monitor_statuses(unix_ms),
        }
    }

    fn cluster_status(&self, cluster: &Cluster, unix_ms: &dyn Fn(Time) -> u64) -> ClusterStatus {
        let rollout = cluster.rollout.as_ref().map(ToString::to_string);
        let leaving = || cluster.is_leaving.then(|| "being removed".to_owned());
        let members = cluster.members.iter();
        ClusterStatus {
            cluster: cluster.name.clone(),
            epoch: cluster.keeper.view().epoch,
            policy: cluster.policy,
            operation: rollout.or_else(leaving),
            setback: cluster.setback.clone(),
            members: members.map(|member| self.member_status(cluster, member, unix_ms)).collect(),
        }
    }

    fn member_status(
        &self,
        cluster: &Cluster,
        member: &Member,
        unix_ms: &dyn Fn(Time) -> u64,
    ) -> MemberStatus {
        let mut status = MemberStatus {
            member: member.settings.name.clone(),
            node: member.settings.node.clone(),
            clone_id: member.settings.clone_id.clone(),
            address: member.address,
            state: member.state,
            since_ms: unix_ms(member.since),
            reason: member.reason.to_string(),
            weight: member.settings.weight,
            process: member.report.as_ref().map(|report| report.process),
            restarts: member.report.as_ref().map_or(0, |report| report.restarts),
            requests: 0,
            failed: 0,
            in_flight: 0,
            requests_per_second: 0.0,
            sessions: 0,
            latency_p50_us: 0,
            latency_p99_us: 0,
            counts: TrafficCounts::default(),
            ejection: None,
            drain_ends_ms: match member.phase {
                Phase::Draining { until, .. } => Some(unix_ms(until)),
                Phase::Steady | Phase::Out { .. } | Phase::Returning { .. } => None,
            },
        };
        self.add_traffic(&cluster.name, &mut status);
        status
    }

    pub(super) fn add_traffic(&self, cluster: &ClusterName, status: &mut MemberStatus) {
        let mut weighted_p50 = 0.0;
        for router in self.routers.values() {
            let report = router.report.as_ref();
            let Some(told) = report.and_then(|report| traffic(report, cluster, &status.member)) else {
                continue;
            };
            status.requests += told.requests;
            status.failed += told.failed;
            status.counts.merge(&told.counts);
            add_ejection(status, &router.place.name, told, router.has_reported);
            // What a router that is away did last is no longer true.
            if router.has_reported {
                status.in_flight += told.in_flight;
                status.requests_per_second += told.requests_per_second;
                status.sessions += told.sessions;
                status.latency_p99_us = status.latency_p99_us.max(told.latency_p99_us);
                status.latency_p50_us = status.latency_p50_us.max(told.latency_p50_us);
                weighted_p50 += told.requests_per_second * told.latency_p50_us as f64;
            }
        }
        if status.requests_per_second > 0.0 {
            status.latency_p50_us = (weighted_p50 / status.requests_per_second) as u64;
        }
    }
}

/// The ejection that lasts longest is the one to be shown.
fn add_ejection(status: &mut MemberStatus, router: &RouterName, told: &MemberTraffic, is_fresh: bool) {
    let Some(ejection) = &told.ejection else { return };
    let left_ms = if is_fresh { ejection.left_ms } else { 0 };
    if status.ejection.as_ref().is_none_or(|known| known.left_ms < left_ms) {
        let (router, reason) = (router.clone(), ejection.reason.clone());
        status.ejection = Some(MemberEjection { router, reason, left_ms });
    }
}

impl Router {
    fn status(&self, unix_ms: &dyn Fn(Time) -> u64) -> RouterStatus {
        let report = self.report.as_ref();
        let fresh = report.filter(|_| self.has_reported);
        let members = fresh.iter().flat_map(|report| &report.clusters).flat_map(|cluster| &cluster.members);
        RouterStatus {
            router: self.place.name.clone(),
            node: self.place.node.clone(),
            connected: self.is_connected,
            heard_ms: self.heard.map(unix_ms),
            listening: report.map(|report| report.listening.clone()).unwrap_or_default(),
            applied: fresh
                .iter()
                .flat_map(|report| &report.clusters)
                .map(|cluster| (cluster.cluster.clone(), cluster.applied))
                .collect(),
            connections: fresh.map_or(0, |report| report.connections),
            requests_per_second: members.map(|member| member.requests_per_second).sum(),
            totals: report.map(|report| report.totals).unwrap_or_default(),
            routes: self.routes(report, fresh.is_some()),
            problems: report.map(|report| report.problems.clone()).unwrap_or_default(),
        }
    }

    /// Its routes with what was last told of each; rates only while it is heard.
    fn routes(&self, report: Option<&RouterReport>, is_fresh: bool) -> Vec<RouteStatus> {
        let told: BTreeMap<&str, &RouteTraffic> = report
            .iter()
            .flat_map(|report| &report.routes)
            .map(|traffic| (traffic.route.as_str(), traffic))
            .collect();
        let count = |mut status: RouteStatus| {
            if let Some(traffic) = told.get(status.route.as_str()) {
                status.counts = traffic.counts;
                status.in_flight = if is_fresh { traffic.in_flight } else { 0 };
                status.requests_per_second = if is_fresh { traffic.requests_per_second } else { 0.0 };
            }
            status
        };
        let one_by_one = self.place.routes.iter().take(ROUTES_TOLD_MAX).map(|route| RouteStatus {
            route: route.name.clone(),
            host: route.host.clone(),
            path: route.path.clone(),
            levels: route.levels.clone(),
            actions: actions::describe(&route.actions),
            ..RouteStatus::default()
        });
        let others = told
            .contains_key(OTHER_ROUTES)
            .then(|| RouteStatus { route: OTHER_ROUTES.into(), ..RouteStatus::default() });
        one_by_one.chain(others).map(count).collect()
    }
}

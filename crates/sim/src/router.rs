//! The router's shell, control side: takes settings and views from the manager, reports, and counts.
//!
//! As the real one: it goes on with what it has when the manager is gone, applies only newer views, and reports at
//! once when it has taken a view or a member that is not up has nothing under way any more.

use crate::link::Peer;
use crate::manager::view_text;
use crate::node::ProcessNumber;
use crate::plant::CLUSTER;
use crate::world::World;
use logic::balance::Balancer;
use logic::retry::RetryBudget;
use logic::route::RouteTable;
use logic::seed::Chance;
use logic::sessions::SessionCount;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use wire::id::{ClusterName, Epoch, MemberName, NodeName, RouterName};
use wire::link::{FromManager, ToManager};
use wire::router::{
    ClusterTraffic, MemberTraffic, RouterProgress, RouterReport, RouterSettings, Totals, TrafficCounts,
};
use wire::view::{RunState, View};
use wire::view_change::ViewChange;

/// Reports that only tell what managers wait for, between two whole ones.
const PROGRESS_BETWEEN: u32 = 3;

#[derive(Debug)]
pub(crate) struct RouterHost {
    pub name: RouterName,
    pub node: NodeName,
    pub settings: Option<RouterSettings>,
    pub routes: RouteTable,
    pub clusters: BTreeMap<ClusterName, Routed>,
    pub budget: Option<RetryBudget>,
    /// Idle connections, newest last.
    pub pool: BTreeMap<SocketAddr, Vec<ProcessNumber>>,
    pub counts: BTreeMap<(ClusterName, MemberName), Counts>,
    seeds: Chance,
    generation: u64,
    /// Until the next whole report.
    reports_left: u32,
}

/// A cluster that the router knows.
#[derive(Debug)]
pub(crate) struct Routed {
    pub view: Rc<View>,
    pub balancer: Balancer,
}

#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub in_flight: u64,
    pub requests: u64,
    pub sessions: SessionCount,
}

impl RouterHost {
    pub fn new(name: RouterName, node: NodeName, seed: u64) -> Self {
        Self {
            name,
            node,
            settings: None,
            routes: RouteTable::default(),
            clusters: BTreeMap::new(),
            budget: None,
            pool: BTreeMap::new(),
            counts: BTreeMap::new(),
            seeds: Chance::new(seed),
            generation: 0,
            reports_left: 0,
        }
    }

    /// Of the view in use.
    pub fn epoch(&self) -> Option<Epoch> {
        self.clusters.get(&ClusterName::from(CLUSTER)).map(|routed| routed.view.epoch)
    }

    pub fn counts_of(&mut self, cluster: &ClusterName, member: &MemberName) -> &mut Counts {
        self.counts.entry((cluster.clone(), member.clone())).or_default()
    }

    /// Whether nothing is under way to a member that takes nothing: the manager waits for that.
    pub fn has_left(&self, cluster: &ClusterName, member: &MemberName) -> bool {
        let in_flight =
            self.counts.get(&(cluster.clone(), member.clone())).map_or(0, |counts| counts.in_flight);
        let view = self.clusters.get(cluster).map(|routed| &routed.view);
        let known = view.and_then(|view| view.members.iter().find(|known| known.name == *member));
        in_flight == 0 && known.is_none_or(|member| member.state != RunState::Up)
    }
}

impl World {
    pub(crate) fn router_hears(&mut self, name: &RouterName, message: FromManager) {
        let router = self.routers.get_mut(name).expect("routers stay");
        match message {
            FromManager::Welcome { generation, .. } => {
                assert!(generation >= router.generation, "an older manager was followed");
                router.generation = generation;
                router.reports_left = 0;
                self.report_of(name);
            }
            FromManager::Settings { settings, .. } => {
                router.routes = RouteTable::new(&settings.routes);
                match &mut router.budget {
                    Some(budget) => budget.set(&settings.retry),
                    None => router.budget = Some(RetryBudget::new(&settings.retry)),
                }
                router.settings = Some(*settings);
            }
            FromManager::Views(views) => {
                for view in views {
                    self.apply_view(name, view);
                }
                self.report_of(name);
            }
            FromManager::Changes(changes) => {
                for change in changes {
                    self.apply_change(name, &change);
                }
                self.report_of(name);
            }
            FromManager::Clusters { names, .. } => {
                router.clusters.retain(|cluster, _| names.contains(cluster));
            }
            FromManager::Refused { .. }
            | FromManager::NotLeader { .. }
            | FromManager::Groups { .. }
            | FromManager::Assignments { .. }
            | FromManager::Monitors { .. }
            | FromManager::Placed(_)
            | FromManager::Carry { .. }
            | FromManager::Power { .. }
            | FromManager::KeepAlive => {
                unreachable!("not for routers")
            }
        }
    }

    /// The stream is in order, so a change always fits what came before it.
    fn apply_change(&mut self, name: &RouterName, change: &ViewChange) {
        let known = self.routers[name].clusters.get(&change.cluster);
        let view = known.expect("a change follows a whole view").view.clone();
        let newer = change.apply(&view);
        self.apply_view(name, newer.expect("a change fits the view that was sent before it"));
    }

    fn apply_view(&mut self, name: &RouterName, view: View) {
        let router = self.routers.get_mut(name).expect("routers stay");
        let before = router.clusters.get(&view.cluster).map(|routed| routed.view.epoch);
        match router.clusters.get_mut(&view.cluster) {
            Some(routed) => {
                if !routed.balancer.apply(&view, self.now) {
                    assert!(view.epoch <= routed.view.epoch, "a newer view was refused");
                    return;
                }
                routed.view = Rc::new(view.clone());
            }
            None => {
                let balancer = Balancer::new(&view, router.seeds.bits(), "");
                router
                    .clusters
                    .insert(view.cluster.clone(), Routed { view: Rc::new(view.clone()), balancer });
            }
        }
        router.clusters[&view.cluster].balancer.check();
        self.checks.applied(name, before, &view);
        self.tell(|| format!("{name} uses {}", view_text(&view)));
        for lost in view.members.iter().filter(|member| member.is_lost) {
            self.give_up_on(name, &view.cluster, &lost.name);
        }
    }

    /// Sends what the router knows about its traffic: all of it, or what managers wait for, a few times in between.
    pub(crate) fn report_of(&mut self, name: &RouterName) {
        let now = self.now;
        let router = self.routers.get_mut(name).expect("routers stay");
        let is_whole = router.reports_left == 0;
        router.reports_left = if is_whole { PROGRESS_BETWEEN } else { router.reports_left - 1 };
        let mut clusters = Vec::new();
        for (cluster, routed) in &router.clusters {
            let is_up = |member: &MemberName| {
                let known = routed.view.members.iter().find(|known| known.name == *member);
                known.is_some_and(|member| member.state == RunState::Up)
            };
            let own = router.counts.iter_mut().filter(|((of, _), _)| of == cluster);
            let told = own.filter(|((_, member), _)| is_whole || !is_up(member));
            let members = told.map(|((_, member), counts)| MemberTraffic {
                member: member.clone(),
                requests: counts.requests,
                failed: 0,
                in_flight: counts.in_flight,
                requests_per_second: 0.0,
                sessions: counts.sessions.estimate(now),
                latency_p50_us: 0,
                latency_p99_us: 0,
                counts: TrafficCounts::default(),
                ejection: None,
            });
            clusters.push(ClusterTraffic {
                cluster: cluster.clone(),
                applied: routed.view.epoch,
                members: members.collect(),
                failed_over: 0,
                queued: 0,
                queue_refused: 0,
                waiting: 0,
            });
        }
        let router = name.clone();
        let message = if is_whole {
            ToManager::Router(RouterReport {
                routes: Vec::new(),
                router,
                listening: Vec::new(),
                connections: 0,
                clusters,
                totals: Totals::default(),
                problems: Vec::new(),
                takes_changes: true,
            })
        } else {
            ToManager::Progress(RouterProgress { router, clusters })
        };
        self.send_to_manager(&Peer::Router(name.clone()), message);
    }
}

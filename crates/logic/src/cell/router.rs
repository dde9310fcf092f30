//! A router as the cell knows it: what it was told, what it last reported, and whether to wait for it.

use super::remote::Remote;
use super::{Cell, Output};
use crate::limits::ROUTER_RETURN_MS;
use crate::plugin_cfg::write::of_routers;
use crate::time::Time;
use wire::id::{ClusterName, Epoch, MemberName, RouterName};
use wire::router::{
    ClusterTraffic, MemberTraffic, PluginCfgFile, RouterProgress, RouterReport, RouterSettings,
};
use wire::settings::RouterPlace;
use wire::status::Severity;

#[derive(Debug, Clone)]
pub(super) struct Router {
    pub place: RouterPlace,
    pub is_connected: bool,
    /// Since when it is not connected.
    pub away_since: Time,
    pub heard: Option<Time>,
    /// Its last report on any connection.
    pub report: Option<RouterReport>,
    /// Whether that report came on the present connection.
    pub has_reported: bool,
}

impl Router {
    pub fn new(place: RouterPlace, now: Time) -> Self {
        Self { place, is_connected: false, away_since: now, heard: None, report: None, has_reported: false }
    }

    /// Without a file for web servers, which takes knowing the other routers too.
    fn settings(&self) -> RouterSettings {
        let place = self.place.clone();
        RouterSettings {
            name: place.name,
            listeners: place.listeners,
            zone: place.zone,
            threads: place.threads,
            routes: place.routes,
            timeouts: place.timeouts,
            limits: place.limits,
            retry: place.retry,
            access_log: place.access_log,
            trace: place.trace,
            trusted_proxies: place.trusted_proxies,
            clients: place.clients,
            cookie_keys: Vec::new(),
            matches_listener_port: false,
            plugin_cfg: None,
        }
    }

    /// A router that was there a moment ago still routes by the view it had; one that is long gone does not count.
    fn may_still_route(&self, now: Time) -> bool {
        self.is_connected || now < self.away_since + ROUTER_RETURN_MS
    }

    /// Whether it has left `member` alone: it uses that epoch or a later one and has nothing under way.
    fn is_done_with(&self, now: Time, cluster: &ClusterName, member: &MemberName, epoch: Epoch) -> bool {
        let fresh = self.report.as_ref().filter(|_| self.is_connected && self.has_reported);
        let Some(report) = fresh else { return !self.may_still_route(now) };
        match cluster_traffic(report, cluster) {
            Some(traffic) => {
                let member = member_traffic(traffic, member);
                traffic.applied >= epoch && member.is_none_or(|traffic| traffic.in_flight == 0)
            }
            // It does not know the cluster: no matter, unless it is about to learn of it.
            None => !self.place.routes.iter().any(|route| route.clusters().any(|named| named == cluster)),
        }
    }

    fn has_conversations(&self, cluster: &ClusterName, member: &MemberName) -> bool {
        let fresh = self.report.as_ref().filter(|_| self.is_connected && self.has_reported);
        // One that has not told may have some; the wait is bounded.
        fresh
            .is_none_or(|report| traffic(report, cluster, member).is_some_and(|traffic| traffic.sessions > 0))
    }
}

/// What a report says about a member.
pub(super) fn traffic<'a>(
    report: &'a RouterReport,
    cluster: &ClusterName,
    member: &MemberName,
) -> Option<&'a MemberTraffic> {
    member_traffic(cluster_traffic(report, cluster)?, member)
}

fn cluster_traffic<'a>(report: &'a RouterReport, cluster: &ClusterName) -> Option<&'a ClusterTraffic> {
    let place = report.clusters.binary_search_by(|traffic| traffic.cluster.cmp(cluster));
    place.ok().map(|place| &report.clusters[place])
}

fn member_traffic<'a>(cluster: &'a ClusterTraffic, member: &MemberName) -> Option<&'a MemberTraffic> {
    let place = cluster.members.binary_search_by(|traffic| traffic.member.cmp(member));
    place.ok().map(|place| &cluster.members[place])
}

/// Clusters and members in the order of their names, which most reports have: they are looked for among thousands.
fn sort(clusters: &mut [ClusterTraffic]) {
    clusters.sort_by(|left, right| left.cluster.cmp(&right.cluster));
    for cluster in clusters {
        cluster.members.sort_by(|left, right| left.member.cmp(&right.member));
    }
}

/// Puts what is newer in the place of what was told before.
fn renew(report: &mut RouterReport, newer: Vec<ClusterTraffic>) {
    for mut newer in newer {
        let place = report.clusters.binary_search_by(|known| known.cluster.cmp(&newer.cluster));
        let known = match place {
            Ok(place) => &mut report.clusters[place],
            Err(place) => {
                report.clusters.insert(place, newer);
                continue;
            }
        };
        for member in std::mem::take(&mut newer.members) {
            match known.members.binary_search_by(|known| known.member.cmp(&member.member)) {
                Ok(place) => known.members[place] = member,
                Err(place) => known.members.insert(place, member),
            }
        }
        newer.members = std::mem::take(&mut known.members);
        *known = newer;
    }
}

impl Cell {
    pub(super) fn on_router_connected(&mut self, now: Time, name: RouterName) {
        let Some(router) = self.routers.get_mut(&name) else { return };
        router.is_connected = true;
        router.has_reported = false;
        router.heard = Some(now);
        let settings = self.settings_of(&name).expect("it is there");
        // Views before routes: no request shall find a route whose cluster is not there yet.
        for cluster in self.clusters.iter().filter(|cluster| cluster.is_published) {
            let view = cluster.keeper.view().clone();
            self.outputs.push(Output::Publish { to: Some(name.clone()), view });
        }
        for view in self.remotes.iter().filter_map(Remote::view) {
            self.outputs.push(Output::Publish { to: Some(name.clone()), view: view.clone() });
        }
        let names = self.cluster_names();
        self.outputs.push(Output::RouterSettings { router: name.clone(), settings });
        self.outputs.push(Output::Clusters { to: Some(name.clone()), names });
        self.event(Severity::Info, "router-connected", format!("router {name} is connected"));
    }

    pub(super) fn on_router_report(&mut self, now: Time, mut report: RouterReport) {
        sort(&mut report.clusters);
        let Some(router) = self.routers.get_mut(&report.router) else { return };
        if !router.is_connected {
            return;
        }
        router.heard = Some(now);
        router.has_reported = true;
        let old = router.report.replace(report);
        let old = old.map(|old| old.problems).unwrap_or_default();
        let problems = router.report.iter().flat_map(|report| &report.problems);
        let new: Vec<String> = problems.filter(|problem| !old.contains(problem)).cloned().collect();
        let name = router.place.name.clone();
        for problem in new {
            self.event(Severity::Warning, "router-problem", format!("router {name}: {problem}"));
        }
    }

    /// Says nothing before a whole report on the same connection: what is not in it has not changed since that one.
    pub(super) fn on_router_progress(&mut self, now: Time, mut progress: RouterProgress) {
        let Some(router) = self.routers.get_mut(&progress.router) else { return };
        if !router.is_connected {
            return;
        }
        router.heard = Some(now);
        if let Some(report) = router.report.as_mut().filter(|_| router.has_reported) {
            sort(&mut progress.clusters);
            renew(report, progress.clusters);
        }
    }

    pub(super) fn on_router_lost(&mut self, now: Time, name: RouterName) {
        let Some(router) = self.routers.get_mut(&name) else { return };
        router.is_connected = false;
        router.has_reported = false;
        router.away_since = now;
        let text = format!("router {name} is not connected; it goes on with what it has");
        self.event(Severity::Warning, "router-lost", text);
    }

    /// What a router is told; None for one that is not configured.
    pub(super) fn settings_of(&self, name: &RouterName) -> Option<RouterSettings> {
        let router = self.routers.get(name)?;
        let mut settings = router.settings();
        if let Some(output) = &router.place.plugin_cfg {
            let routers: Vec<(&RouterPlace, bool)> =
                self.routers.values().map(|router| (&router.place, router.is_connected)).collect();
            let written = of_routers(&self.name, &routers, &router.place, output.scope);
            settings.plugin_cfg =
                written.map(|written| PluginCfgFile { output: output.clone(), text: written.file.write() });
        }
        Some(settings)
    }

    pub(super) fn cluster_names(&self) -> Vec<ClusterName> {
        let own = self.clusters.iter().map(|cluster| &cluster.name);
        own.chain(self.remotes.iter().map(|remote| &remote.name)).cloned().collect()
    }

    /// Whether no router sends anything to a member any more, now that `epoch` says it is out.
    pub(super) fn is_quiet(
        &self,
        now: Time,
        cluster: &ClusterName,
        member: &MemberName,
        epoch: Epoch,
    ) -> bool {
        self.routers.values().all(|router| router.is_done_with(now, cluster, member, epoch))
    }

    /// Whether some router may have conversations with a member.
    pub(super) fn has_conversations(&self, now: Time, cluster: &ClusterName, member: &MemberName) -> bool {
        let mut present = self.routers.values().filter(|router| router.may_still_route(now));
        present.any(|router| router.has_conversations(cluster, member))
    }

    /// When routers that are away stop counting.
    pub(super) fn routers_awaited_until(&self) -> Option<Time> {
        let away = self.routers.values().filter(|router| !router.is_connected);
        away.map(|router| router.away_since + ROUTER_RETURN_MS).filter(|until| *until > self.now).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::router::Totals;

    fn cluster(name: &str, number: u64, members: &[(&str, u64)]) -> ClusterTraffic {
        let members = members.iter().map(|(member, in_flight)| MemberTraffic {
            member: (*member).into(),
            in_flight: *in_flight,
            ..MemberTraffic::default()
        });
        ClusterTraffic {
            cluster: name.into(),
            applied: Epoch { generation: 1, number },
            members: members.collect(),
            failed_over: 0,
            queued: 0,
            queue_refused: 0,
            waiting: 0,
        }
    }

    #[test]
    fn progress_renews_what_it_speaks_of_and_leaves_the_rest() {
        let mut report = RouterReport {
            router: "edge".into(),
            listening: Vec::new(),
            problems: Vec::new(),
            connections: 1,
            clusters: vec![cluster("shop", 4, &[("c", 3), ("a", 5)]), cluster("mail", 2, &[("x", 1)])],
            routes: Vec::new(),
            totals: Totals::default(),
            takes_changes: true,
        };
        sort(&mut report.clusters);
        renew(&mut report, vec![cluster("shop", 5, &[("c", 0), ("b", 2)]), cluster("news", 1, &[])]);
        let expected = [
            cluster("mail", 2, &[("x", 1)]),
            cluster("news", 1, &[]),
            cluster("shop", 5, &[("a", 5), ("b", 2), ("c", 0)]),
        ];
        assert_eq!(report.clusters, expected);
        let of = |name: &str, member: &str| {
            traffic(&report, &name.into(), &member.into()).map(|traffic| traffic.in_flight)
        };
        assert_eq!((of("shop", "c"), of("shop", "x"), of("bank", "a")), (Some(0), None, None));
    }
}

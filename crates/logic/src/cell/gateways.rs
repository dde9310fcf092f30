//! What this cell can tell others of its clusters: how much of each can be used, and through which of its routers.

use super::Cell;
use crate::summary::Facts;
use std::net::SocketAddr;
use wire::id::ClusterName;
use wire::view::RunState;

impl Cell {
    /// The present truth of one of its clusters; None until its view was published.
    pub fn facts(&self, name: &ClusterName) -> Option<Facts> {
        let cluster = self.clusters.iter().find(|cluster| cluster.name == *name && cluster.is_published)?;
        let view = cluster.keeper.view();
        let up = view.members.iter().filter(|member| member.state == RunState::Up && member.weight > 0);
        let ready = u32::try_from(up.clone().count()).unwrap_or(u32::MAX);
        let drains = || view.members.iter().any(|member| member.state == RunState::Draining);
        Some(Facts {
            epoch: view.epoch,
            ready,
            weight: up.clone().map(|member| u64::from(member.weight)).sum(),
            load_percent: self.load_percent(name, up.map(|member| (&member.name, member.requests_max))),
            is_draining: ready == 0 && drains(),
            gateways: self.gateways_to(name),
        })
    }

    /// How much is in use of what the members may have at once. What has no bound is never used up.
    fn load_percent<'a>(
        &self,
        cluster: &ClusterName,
        up: impl Iterator<Item = (&'a wire::id::MemberName, u32)>,
    ) -> u32 {
        let (mut used, mut most) = (0, 0);
        for (member, requests_max) in up {
            if requests_max == 0 {
                return 0;
            }
            for router in self.routers.values().filter(|router| router.has_reported) {
                let report = router.report.as_ref();
                let traffic = report.and_then(|report| super::router::traffic(report, cluster, member));
                used += traffic.map_or(0, |traffic| traffic.in_flight);
                most += u64::from(requests_max);
            }
        }
        let percent = (used * 100).checked_div(most).unwrap_or(0);
        u32::try_from(percent).unwrap_or(u32::MAX)
    }

    /// Where routers of other cells reach those of this one that have a route to the cluster. Those that are connected
    /// come first; without any, the others are better than nothing: routers serve without a manager.
    fn gateways_to(&self, cluster: &ClusterName) -> Vec<SocketAddr> {
        let leads_there = |router: &&super::Router| {
            router.place.routes.iter().any(|route| route.clusters().any(|named| named == cluster))
        };
        let all = || {
            let routers = self.routers.values().filter(leads_there);
            routers.filter_map(|router| Some((router.is_connected, router.place.gateway?)))
        };
        let connected: Vec<SocketAddr> =
            all().filter(|(is_connected, _)| *is_connected).map(|(_, gateway)| gateway).collect();
        if connected.is_empty() { all().map(|(_, gateway)| gateway).collect() } else { connected }
    }
}

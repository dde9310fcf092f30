//! What losses leave of clusters: counted, and for a member's own loss asked of the machines that look after it.

use super::{ClusterEnd, Loss, Outcome};
use crate::probe::{Health, ProbeAnswer, ProbeNumber, Subject};
use crate::supervision::{Goal, Rules, StartNumber, Supervision};
use crate::time::Time;
use std::net::{Ipv4Addr, SocketAddr};
use wire::agent::{Launch, ProbeState, Run};
use wire::id::{ClusterName, MemberName, NodeName};
use wire::settings::{CellSettings, ClusterSettings, MemberSettings};

/// The clusters that lose members with nodes, and those of which a router reaches fewer without a link.
pub(super) fn around(cell: &CellSettings, loss: &Loss) -> Vec<ClusterEnd> {
    match loss {
        Loss::Node(node) => cell.clusters.iter().filter_map(|cluster| without(cluster, &[node])).collect(),
        Loss::Pair(one, two) => {
            cell.clusters.iter().filter_map(|cluster| without(cluster, &[one, two])).collect()
        }
        Loss::Link(one, two) => {
            let mut ends = unreached(cell, one, two);
            ends.extend(unreached(cell, two, one));
            ends
        }
        Loss::Boot | Loss::Manager(_) | Loss::Group(_) | Loss::Member(..) => Vec::new(),
    }
}

fn count(cluster: &ClusterSettings, is_lost: impl Fn(&MemberSettings) -> bool) -> Option<(usize, usize)> {
    let left = cluster.members.iter().filter(|member| !is_lost(member)).count();
    (left < cluster.members.len()).then_some((cluster.members.len(), left))
}

fn without(cluster: &ClusterSettings, nodes: &[&NodeName]) -> Option<ClusterEnd> {
    let (members, left) = count(cluster, |member| is_run_by(member) && nodes.contains(&&member.node))?;
    let names: Vec<&str> = nodes.iter().map(|node| node.0.as_str()).collect();
    let why = format!("its members on {} are lost with their machines", names.join(" and "));
    Some(ClusterEnd { cluster: cluster.name.clone(), router: None, members, left, back_ms: None, why })
}

/// What runs elsewhere is only watched by its node.
fn is_run_by(member: &MemberSettings) -> bool {
    matches!(member.run, Run::Managed(_))
}

fn unreached(cell: &CellSettings, from: &NodeName, to: &NodeName) -> Vec<ClusterEnd> {
    let mut ends = Vec::new();
    for router in cell.routers.iter().filter(|router| router.node == *from) {
        for cluster in &cell.clusters {
            let is_used = router
                .routes
                .iter()
                .any(|route| route.levels.iter().flatten().any(|name| *name == cluster.name));
            let counted = count(cluster, |member| is_run_by(member) && member.node == *to);
            if let (true, Some((members, left))) = (is_used, counted) {
                ends.push(ClusterEnd {
                    cluster: cluster.name.clone(),
                    router: Some(router.name.0.clone()),
                    members,
                    left,
                    back_ms: None,
                    why: format!("router {} does not reach the members on {to}", router.name),
                });
            }
        }
    }
    ends
}

pub(super) fn member(cell: &CellSettings, cluster: &ClusterName, member: &MemberName) -> Outcome {
    let loss = Loss::Member(cluster.clone(), member.clone());
    let settings = cell.clusters.iter().find(|known| known.name == *cluster);
    let found = settings.and_then(|known| Some((known, known.members.iter().find(|it| it.name == *member)?)));
    let ends = found.map(|(cluster, member)| {
        let (back_ms, why) = match &member.run {
            Run::Managed(launch) => {
                let back_ms = starts_after_ms(launch);
                let others = match cluster.members.len() {
                    1 => "it is the only one",
                    _ => "its requests go to the others at once",
                };
                (back_ms, format!("{others}; its agent starts it again"))
            }
            Run::External { .. } => {
                let noticed_ms = noticed_after_ms(member);
                (None, format!("requests that it refuses go to the others; its probe fails after {noticed_ms} ms at most"))
            }
        };
        let members = cluster.members.len();
        ClusterEnd { cluster: cluster.name.clone(), router: None, members, left: members - 1, back_ms, why }
    });
    let clusters = ends.into_iter().collect();
    Outcome { loss, groups: Vec::new(), clusters, crowds: Vec::new(), notes: Vec::new() }
}

/// A process that was healthy for long ends by itself: when the next one is started.
fn starts_after_ms(launch: &Launch) -> Option<u64> {
    let rules = Rules { restart: launch.restart, stop_grace_ms: launch.stop_grace_ms };
    let mut supervision = Supervision::new(rules);
    let (start, next) = (StartNumber(1), StartNumber(2));
    supervision.aim(Time(0), Goal::Run { instance: 1 }, rules, "rehearsed", start);
    supervision.started(start, 1, SocketAddr::from((Ipv4Addr::LOCALHOST, 1)));
    supervision.probed(Time(1), ProbeState::Passing, None);
    let lost_at = Time(1) + launch.restart.reset_after_ms;
    supervision.ended(lost_at, start, "rehearsed", next);
    supervision.wake_at().map(|at| at.since_ms(lost_at))
}

/// What runs elsewhere stops answering right after a good answer: when that is known at the latest.
fn noticed_after_ms(member: &MemberSettings) -> u64 {
    let settings = &member.probe;
    let mut health = Health::begin(Time(0), settings, Subject::LongThere);
    let (mut now, mut number) = (Time(0), 0);
    for good in 0..=settings.rise + settings.fall {
        if health.state() == ProbeState::Failing {
            break;
        }
        now = health.wake_at().map_or(now, |at| at.max(now));
        number += 1;
        health.ask(now, ProbeNumber(number));
        let answer = match good < settings.rise {
            true => ProbeAnswer::Good,
            false => {
                now = now + settings.timeout_ms;
                ProbeAnswer::Bad { why: "rehearsed".into() }
            }
        };
        health.answer(now, settings, ProbeNumber(number), answer);
    }
    let good_ms = u64::from(settings.rise.saturating_sub(1)) * settings.interval_ms;
    now.0.saturating_sub(good_ms)
}

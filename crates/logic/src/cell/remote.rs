//! Clusters of other cells as routers of this one see them: gateways stand as members, and a summary says how they are.
//!
//! Promises: nothing is published of a cluster before its cell was heard, so that routers keep what they knew across a new
//! leader; silence alone changes nothing until the caller says that it has lasted too long, and even then gateways stay
//! known, as a last resort. Not here: what is believed of what another cell sends (see `summary`).

use super::{Cell, Output};
use crate::time::Time;
use crate::view::{Rules, ViewKeeper};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use wire::id::{ClusterName, MemberName, NodeName};
use wire::settings::OtherCell;
use wire::status::{ClusterStatus, MemberStatus, Severity};
use wire::summary::{ClusterSummary, LOAD_MAX};
use wire::view::{Affinity, AffinityKind, HashKey, Health, MemberView, Policy, RunState, Transport, View};

/// The cookie that says in which cell a conversation is. Not `MUSTERID`, which the other cell may set itself.
pub const CELL_COOKIE: &str = "MUSTERCELL";
/// How long a gateway that fails is left out; it has few others to stand in for it.
const EJECT_AFTER: u32 = 5;

/// What is known of a cluster of another cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Elsewhere {
    Told(ClusterSummary),
    /// Its cell is there and tells nothing of it.
    Untold,
    /// Its cell was silent for so long that what it told counts no more.
    Forgotten,
}

#[derive(Debug, Clone)]
pub(super) struct Remote {
    pub name: ClusterName,
    cell: String,
    transport: Transport,
    affinity: Option<Affinity>,
    keeper: ViewKeeper,
    known: Option<Elsewhere>,
    gateways: Vec<MemberView>,
    since: Time,
}

impl Remote {
    fn new(other: &OtherCell, cluster: &ClusterName, generation: u64, start_after: u64) -> Self {
        let name = other.name_of(cluster);
        Self {
            keeper: ViewKeeper::of_cell(name.clone(), other.name.clone(), generation, start_after),
            name,
            cell: other.name.clone(),
            transport: other.transport.clone(),
            affinity: None,
            known: None,
            gateways: Vec::new(),
            since: Time(0),
        }
    }

    /// None until its cell was heard.
    pub fn view(&self) -> Option<&View> {
        self.known.as_ref().map(|_| self.keeper.view())
    }

    pub fn number(&self) -> u64 {
        self.keeper.view().epoch.number
    }

    /// What its gateways are, by what is known; and why, for people.
    fn standing(&self) -> (RunState, String) {
        let cell = &self.cell;
        match &self.known {
            None => (RunState::Unknown, format!("cell {cell} was not heard yet")),
            Some(Elsewhere::Forgotten) => (RunState::Unknown, format!("cell {cell} is silent")),
            Some(Elsewhere::Untold) => (RunState::Down, format!("cell {cell} tells nothing of it")),
            Some(Elsewhere::Told(told)) if told.gateways.is_empty() => {
                (RunState::Down, format!("cell {cell} names no gateway to it"))
            }
            Some(Elsewhere::Told(told)) if told.is_draining || (told.ready > 0 && told.load >= LOAD_MAX) => {
                (RunState::Draining, format!("cell {cell} takes no new conversations"))
            }
            Some(Elsewhere::Told(told)) if told.ready == 0 => {
                (RunState::Down, format!("no member is up in cell {cell}"))
            }
            Some(Elsewhere::Told(told)) => {
                (RunState::Up, format!("about {} members are up in cell {cell}", told.ready))
            }
        }
    }

    /// Gateways as members; those that were known stay while their cell tells of none.
    fn gateways(&self) -> Vec<MemberView> {
        let (state, reason) = self.standing();
        let Some(Elsewhere::Told(told)) = &self.known else {
            let restated =
                |gateway: &MemberView| MemberView { state, reason: reason.clone(), ..gateway.clone() };
            return self.gateways.iter().map(restated).collect();
        };
        let addresses: BTreeSet<SocketAddr> = told.gateways.iter().copied().collect();
        let count = u32::try_from(addresses.len()).unwrap_or(u32::MAX).max(1);
        let gateway = |address: SocketAddr| MemberView {
            name: MemberName(address.to_string()),
            clone_id: address.to_string(),
            address: Some(address),
            state,
            weight: (told.weight / count).max(1),
            reason: reason.clone(),
            transport: self.transport.clone(),
            ..MemberView::default()
        };
        addresses.into_iter().map(gateway).collect()
    }

    /// Its view, if routers do not know all of it.
    fn offer(&mut self, now: Time, is_first: bool) -> Option<&View> {
        let gateways = self.gateways();
        let state = |members: &[MemberView]| members.first().map(|member| member.state);
        if state(&gateways) != state(&self.gateways) {
            self.since = now;
        }
        self.gateways.clone_from(&gateways);
        let health = Health { eject_after: EJECT_AFTER, ..Health::default() };
        let rules = Rules {
            policy: Policy::LeastOutstanding,
            affinity: &self.affinity,
            hash_key: &HashKey::ClientAddress,
            health: &health,
        };
        self.keeper.offer(rules, gateways, is_first)
    }
}

/// How a conversation in another cell is found again.
fn affinity() -> Affinity {
    Affinity {
        kind: AffinityKind::Own,
        cookie: CELL_COOKIE.to_owned(),
        separator: '.',
        ..Affinity::default()
    }
}

impl Cell {
    /// Takes other cells of the configuration. To be called when the own clusters are known.
    pub(super) fn configure_remotes(&mut self, now: Time, others: &[OtherCell]) {
        let mut old = std::mem::take(&mut self.remotes);
        for (other, cluster) in
            others.iter().flat_map(|other| other.clusters.iter().map(move |name| (other, name)))
        {
            let name = other.name_of(cluster);
            let known = old.iter().position(|remote| remote.name == name);
            let mut remote = match known {
                Some(place) => old.remove(place),
                None => Remote::new(other, cluster, self.generation, self.number_floor),
            };
            remote.transport.clone_from(&other.transport);
            // Where the same cluster of this cell has no conversations, there are none to be kept over there.
            let own = self.clusters.iter().find(|own| own.name == *cluster);
            let keeps = own.is_none_or(|own| own.affinity.is_some());
            remote.affinity = keeps.then(affinity);
            self.remotes.push(remote);
            let place = self.remotes.len() - 1;
            self.publish_remote(now, place, false);
        }
        for gone in old {
            self.number_floor = self.number_floor.max(gone.number());
        }
    }

    /// Something is known of a cluster of another cell; one that is not configured is none of ours.
    pub(super) fn on_elsewhere(&mut self, now: Time, cluster: &ClusterName, known: Elsewhere) {
        let Some(place) = self.remotes.iter().position(|remote| remote.name == *cluster) else { return };
        let remote = &mut self.remotes[place];
        // What was never heard cannot be forgotten, and routers may know more than this manager.
        if remote.known.is_none() && known == Elsewhere::Forgotten {
            return;
        }
        let before = remote.known.is_some().then(|| remote.standing().0);
        let is_first = remote.known.is_none();
        remote.known = Some(known);
        self.publish_remote(now, place, is_first);
        let remote = &self.remotes[place];
        let (state, reason) = remote.standing();
        if before == Some(state) {
            return;
        }
        let (severity, kind) = match state {
            RunState::Up => (Severity::Info, "remote-cluster-up"),
            RunState::Draining => (Severity::Info, "remote-cluster-draining"),
            RunState::Unknown | RunState::Starting | RunState::Down | RunState::Failed => {
                (Severity::Warning, "remote-cluster-down")
            }
        };
        let (cluster, text) = (Some(cluster.clone()), format!("{} is {state}: {reason}", remote.name));
        self.outputs.push(Output::Event { severity, kind, cluster, member: None, text });
    }

    fn publish_remote(&mut self, now: Time, place: usize, is_first: bool) {
        let remote = &mut self.remotes[place];
        if remote.known.is_none() {
            return;
        }
        if let Some(view) = remote.offer(now, is_first) {
            self.outputs.push(Output::Publish { to: None, view: view.clone() });
        }
    }

    pub(super) fn remote_status(&self, remote: &Remote, unix_ms: &dyn Fn(Time) -> u64) -> ClusterStatus {
        let view = remote.keeper.view();
        let members = remote.gateways.iter().map(|gateway| {
            let mut status = MemberStatus {
                member: gateway.name.clone(),
                node: NodeName(remote.cell.clone()),
                clone_id: gateway.clone_id.clone(),
                address: gateway.address,
                state: gateway.state,
                since_ms: unix_ms(remote.since),
                reason: gateway.reason.clone(),
                weight: gateway.weight,
                ..MemberStatus::default()
            };
            self.add_traffic(&remote.name, &mut status);
            status
        });
        ClusterStatus {
            cluster: remote.name.clone(),
            epoch: view.epoch,
            policy: view.policy,
            operation: None,
            setback: match remote.known {
                None => Some(remote.standing().1),
                Some(_) => None,
            },
            members: members.collect(),
        }
    }
}

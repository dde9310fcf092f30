//! Links between the manager and the roles that follow it: streams in order that delay, stall, break and come back.
//!
//! As the real ones: a role that lost its connection tries again after a growing pause, and hears the manager's
//! generation before anything else. A lost packet is a stall, because the stream repeats it.

use crate::world::{Event, World};
use logic::time::Time;
use std::fmt;
use wire::id::{NodeName, RouterName};
use wire::link::{FromManager, LINK_VERSION, Role, ToManager};

/// Longest pause between attempts at a connection.
const RECONNECT_MAX_MS: u64 = 500;

/// Who is at the other end of a link.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Peer {
    Agent(NodeName),
    Router(RouterName),
}

impl fmt::Display for Peer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Peer::Agent(node) => node.fmt(out),
            Peer::Router(router) => router.fmt(out),
        }
    }
}

/// A path to the manager. Each side knows its own connection only.
#[derive(Debug, Default)]
pub(crate) struct Link {
    pub is_cut: bool,
    /// Nothing arrives before this.
    pub stalled_until: Time,
    pub role_side: Option<u64>,
    pub manager_side: Option<u64>,
    /// A connection on which nothing arrives any more, although its ends may not know yet.
    broken: Option<u64>,
    /// Order: nothing arrives before what was sent before it.
    to_manager_at: Time,
    from_manager_at: Time,
}

impl World {
    pub(crate) fn add_link(&mut self, peer: Peer) {
        self.links.insert(peer.clone(), Link::default());
        let pause_ms = self.some_ms(1, 20);
        self.after(pause_ms, Event::Connect { peer });
    }

    pub(crate) fn on_connect(&mut self, peer: Peer) {
        let Some(link) = self.links.get(&peer) else { return };
        let role_is_there = match &peer {
            Peer::Agent(node) => self.nodes[node].agent.is_some(),
            Peer::Router(_) => true,
        };
        if link.role_side.is_some() || !role_is_there {
            return;
        }
        let role = match &peer {
            Peer::Agent(node) => Role::Agent { node: node.clone() },
            Peer::Router(router) => {
                Role::Router { node: self.routers[router].node.clone(), router: router.clone() }
            }
        };
        let is_admitted = !link.is_cut && self.manager.admits(&role);
        if !is_admitted {
            let pause_ms = self.some_ms(20, RECONNECT_MAX_MS);
            self.after(pause_ms, Event::Connect { peer });
            return;
        }
        let connection = self.fresh();
        let (generation, now) = (self.manager.generation, self.now);
        let link = self.links.get_mut(&peer).expect("the link was there above");
        link.role_side = Some(connection);
        link.manager_side = Some(connection);
        link.broken = None;
        link.stalled_until = link.stalled_until.min(now);
        self.send_to_role(&peer, FromManager::Welcome { version: LINK_VERSION, generation });
        self.manager_hears(match &peer {
            Peer::Agent(node) => logic::cell::Input::AgentConnected { node: node.clone() },
            Peer::Router(router) => logic::cell::Input::RouterConnected { router: router.clone() },
        });
    }

    pub(crate) fn send_to_role(&mut self, peer: &Peer, message: FromManager) {
        let delay_ms = self.some_ms(1, 3);
        let at = self.now + delay_ms;
        let Some(link) = self.links.get_mut(peer) else { return };
        let Some(connection) = link.manager_side else { return };
        link.from_manager_at = at.max(link.from_manager_at).max(link.stalled_until);
        let at = link.from_manager_at;
        self.at(at, Event::FromManager { peer: peer.clone(), connection, message });
    }

    pub(crate) fn send_to_manager(&mut self, peer: &Peer, message: ToManager) {
        let delay_ms = self.some_ms(1, 3);
        let at = self.now + delay_ms;
        let Some(link) = self.links.get_mut(peer) else { return };
        let Some(connection) = link.role_side else { return };
        link.to_manager_at = at.max(link.to_manager_at).max(link.stalled_until);
        let at = link.to_manager_at;
        self.at(at, Event::ToManager { peer: peer.clone(), connection, message });
    }

    pub(crate) fn on_to_manager(&mut self, peer: &Peer, connection: u64, message: ToManager) {
        let link = &self.links[peer];
        if link.manager_side != Some(connection) || link.broken == Some(connection) {
            return;
        }
        match message {
            ToManager::Agent(report) => self.manager_hears(logic::cell::Input::AgentReport(report)),
            ToManager::Router(report) => self.manager_hears(logic::cell::Input::RouterReport(report)),
            ToManager::Progress(progress) => {
                self.manager_hears(logic::cell::Input::RouterProgress(progress));
            }
            ToManager::Monitors(_)
            | ToManager::Alert(_)
            | ToManager::Carried { .. }
            | ToManager::PowerFailed { .. }
            | ToManager::Groups(_)
            | ToManager::Hello { .. }
            | ToManager::Have(_)
            | ToManager::KeepAlive => {
                unreachable!("roles of the simulation send reports only")
            }
        }
    }

    pub(crate) fn on_from_manager(&mut self, peer: &Peer, connection: u64, message: FromManager) {
        let link = &self.links[peer];
        if link.role_side != Some(connection) || link.broken == Some(connection) {
            return;
        }
        match peer {
            Peer::Agent(node) => self.agent_hears(node, message),
            Peer::Router(router) => self.router_hears(router, message),
        }
    }

    pub(crate) fn on_role_notices(&mut self, peer: &Peer, connection: u64) {
        let link = self.links.get_mut(peer).expect("links stay");
        if link.role_side == Some(connection) {
            link.role_side = None;
            let pause_ms = self.some_ms(20, RECONNECT_MAX_MS);
            self.after(pause_ms, Event::Connect { peer: peer.clone() });
        }
    }

    pub(crate) fn on_manager_notices(&mut self, peer: &Peer, connection: u64) {
        let link = self.links.get_mut(peer).expect("links stay");
        // A newer connection has taken its place: what the old one says is dropped.
        if link.manager_side == Some(connection) {
            link.manager_side = None;
            self.manager_hears(match peer {
                Peer::Agent(node) => logic::cell::Input::AgentLost { node: node.clone() },
                Peer::Router(router) => logic::cell::Input::RouterLost { router: router.clone() },
            });
        }
    }

    /// Breaks the connection; what is under way on it is lost, and each end hears of it in its own time.
    pub(crate) fn cut(&mut self, peer: &Peer) {
        let (role_ms, manager_ms) = (self.some_ms(1, 300), self.some_ms(1, 300));
        let link = self.links.get_mut(peer).expect("links stay");
        link.is_cut = true;
        let (role_side, manager_side) = (link.role_side, link.manager_side);
        link.broken = role_side.or(manager_side);
        if let Some(connection) = role_side {
            self.after(role_ms, Event::RoleNotices { peer: peer.clone(), connection });
        }
        if let Some(connection) = manager_side {
            self.after(manager_ms, Event::ManagerNotices { peer: peer.clone(), connection });
        }
    }

    pub(crate) fn heal(&mut self, peer: &Peer) {
        self.links.get_mut(peer).expect("links stay").is_cut = false;
    }

    /// Everything on the link waits; nothing is lost.
    pub(crate) fn stall(&mut self, peer: &Peer, pause_ms: u64) {
        let until = self.now + pause_ms;
        self.links.get_mut(peer).expect("links stay").stalled_until = until;
    }

    /// The manager's end of every connection is gone; roles still read what was sent before.
    pub(crate) fn close_all_at_manager(&mut self) {
        let peers: Vec<Peer> = self.links.keys().cloned().collect();
        for peer in peers {
            let pause_ms = self.some_ms(1, 5);
            let now = self.now;
            let link = self.links.get_mut(&peer).expect("its key was just read");
            link.manager_side = None;
            if let Some(connection) = link.role_side {
                let at = (now + pause_ms).max(link.from_manager_at);
                self.at(at, Event::RoleNotices { peer, connection });
            }
        }
    }

    /// The role's end is gone.
    pub(crate) fn close_at_role(&mut self, peer: &Peer) {
        let pause_ms = self.some_ms(1, 5);
        let link = self.links.get_mut(peer).expect("links stay");
        link.role_side = None;
        if let Some(connection) = link.manager_side {
            let at = (self.now + pause_ms).max(link.to_manager_at);
            self.at(at, Event::ManagerNotices { peer: peer.clone(), connection });
        }
    }
}

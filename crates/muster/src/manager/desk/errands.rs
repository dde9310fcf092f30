//! Questions that agents carry to nodes that are not heard (see `logic::heartbeat::Carriers`), and what they bring back.

use super::{Desk, Output, Peer, Place, To};
use crate::manager::heartbeats::Sought;
use logic::enrol::from_hex;
use logic::heartbeat::Search;
use logic::limits::ERRANDS_MAX;
use logic::time::Time;
use std::collections::BTreeMap;
use wire::heartbeat::{SIZE_MAX_BYTES, Sealed};
use wire::id::NodeNumber;
use wire::link::FromManager;

impl Desk {
    /// The number under which the agent can be sent from now on; None for one that does not know how, and for routers.
    pub(super) fn carrier(&mut self, place: &Place, peer: &Peer) -> Option<NodeNumber> {
        let Place::Agent(node) = place else { return None };
        let carrier = self.cell.number_of(node).filter(|_| peer.carries);
        // One that came with an older version in its place does not know how any more.
        self.cell.number_of(node).into_iter().for_each(|node| self.carriers.left(node));
        carrier.into_iter().for_each(|node| self.carriers.came(node));
        carrier
    }

    pub(super) fn search(&mut self, now: Time, sought: &[Sought]) -> Vec<Output> {
        let searches: Vec<Search> = sought.iter().map(|sought| sought.search).collect();
        let errands: BTreeMap<NodeNumber, &Sought> =
            sought.iter().map(|sought| (sought.search.node, sought)).collect();
        let own = self.cell.number_of(&self.node);
        let sent = self.carriers.send(now, own, &searches);
        let messages = sent.into_iter().filter_map(|(carrier, nodes)| {
            let place = Place::Agent(self.cell.node_of(carrier)?.clone());
            let errands = nodes.iter().filter_map(|node| Some(errands.get(node)?.errand.clone()));
            Some(Output::Send {
                to: To::One(place),
                message: FromManager::Carry { errands: errands.collect() },
            })
        });
        messages.collect()
    }

    /// Nothing of it is looked at here: it proves itself, or is nothing.
    pub(super) fn carried(&self, place: &Place, replies: Vec<Sealed>) -> Vec<Output> {
        let Some(by) = self.links.get(place).and_then(|linked| linked.carrier) else { return Vec::new() };
        let is_short = |reply: &Sealed| reply.0.len() <= 2 * SIZE_MAX_BYTES;
        let replies = replies.into_iter().take(ERRANDS_MAX).filter(is_short);
        replies.filter_map(|reply| Some(Output::Carried { by, reply: from_hex(&reply.0)? })).collect()
    }
}

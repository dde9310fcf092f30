//! Two machines with one identity, e.g. a copy of a state directory: the one that is there stays, the other is refused.
//!
//! Promise: what has one machine's certificate cannot take that machine's place while it speaks. Not here: a machine that
//! joined with a token of its own since, which does take the place.

use super::{Desk, Output, Peer, Place};
use logic::time::Time;
use std::collections::BTreeMap;
use std::net::IpAddr;
use wire::link::{KEEP_ALIVE_MS, Role};
use wire::status::Severity;

/// A connection that has said nothing for so long leaves its place to another machine's address. Three reports, of which
/// agents and routers make one each second.
const SPEAKS_MS: u64 = 3 * KEEP_ALIVE_MS;
/// A twin that comes again within this is no news. Longer than the pause of who was refused.
const NEWS_AFTER_MS: u64 = 120_000;
/// Twins remembered. 64: more machines with copied identities are told of more than once.
const TWINS_MAX: usize = 64;

#[derive(Debug, Default)]
pub(super) struct Twins(BTreeMap<(Place, IpAddr), Time>);

impl Twins {
    /// Whether that one is there is news.
    fn note(&mut self, now: Time, twin: (Place, IpAddr)) -> bool {
        self.0.retain(|_, last| now.since_ms(*last) < NEWS_AFTER_MS);
        if self.0.len() >= TWINS_MAX && !self.0.contains_key(&twin) {
            return true;
        }
        self.0.insert(twin, now).is_none()
    }
}

impl Desk {
    /// Why a connection may not take the place of the one that is there, and what is told of that.
    pub(super) fn refuse_twin(
        &mut self,
        now: Time,
        place: &Place,
        peer: &Peer,
        role: &Role,
    ) -> Option<(String, Option<Output>)> {
        let there = self.links.get(place).filter(|there| now.since_ms(there.heard) < SPEAKS_MS)?;
        let address = |peer: &Peer| peer.from.map(|from| from.ip().to_canonical());
        let (first, second) = (address(&there.peer)?, address(peer)?);
        if first == second || peer.joined_us != there.peer.joined_us || there.outlet.is_ended() {
            return None;
        }
        let (Role::Agent { node } | Role::Router { node, .. }) = role;
        let why = format!(
            "the machine at {first} is connected as node {node}, and the one at {second} shows the same certificate: was \
             a state directory copied?"
        );
        let text = format!(
            "two machines have the identity of node {node}: the one at {first} stays, the one at {second} is refused. If \
             that is the wrong one, `muster node token {node}` lets the right one join anew"
        );
        let is_news = self.twins.note(now, (place.clone(), second));
        let (severity, kind) = (Severity::Error, "node-twice");
        let event = Output::Event { severity, kind, cluster: None, member: None, text };
        Some((why, is_news.then_some(event)))
    }
}

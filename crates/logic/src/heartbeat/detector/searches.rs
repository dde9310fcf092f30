//! The second opinion of other nodes: whom they shall be sent to, with which question, and what a reply is worth.
//!
//! A question is proven by the key of the node that it is for, and so is the reply: who carries both can neither make nor
//! read anything into them, only lose them. The question says when it was asked, the reply repeats that and this manager's
//! run, so none counts that is older than its question.

use super::super::case::Case;
use super::super::message::{Output, Reach, Search};
use super::Detector;
use crate::limits::{CARRIED_NODES_MAX, CARRY_INTERVAL_MS, REPLY_AGE_MAX_MS};
use crate::time::Time;
use wire::heartbeat::{Datagram, Kind};
use wire::id::{CellNumber, NodeNumber, TermNumber};

impl Detector {
    /// Nodes that are silent, or hear nobody, as soon as that is more than a lost heartbeat or two. So many at once that no
    /// reply could change what follows are not asked after.
    pub(super) fn search(&mut self, now: Time, outputs: &mut Vec<Output>) {
        let is_recent =
            |case: &&Case| case.searched_at.is_some_and(|asked| now.since_ms(asked) < CARRY_INTERVAL_MS);
        let mut room = CARRIED_NODES_MAX.saturating_sub(self.cases.values().filter(is_recent).count());
        let mut searches = Vec::new();
        let mut cases = std::mem::take(&mut self.cases);
        for (node, case) in &mut cases {
            if room == 0 {
                break;
            }
            if case.should_search(now, &self.signs(now, *node)) {
                case.searched_at = Some(now);
                searches.push(Search { node: *node, preferred: case.nearest() });
                room -= 1;
            }
        }
        self.cases = cases;
        if !searches.is_empty() {
            outputs.push(Output::Search { asked_at: now, searches });
        }
    }

    /// What the node is asked; None for one that was never heard.
    pub fn question(
        &self,
        cell: CellNumber,
        node: NodeNumber,
        asked_at: Time,
        term: TermNumber,
    ) -> Option<Datagram> {
        let facts = self.facts.get(node.0 as usize).filter(|facts| facts.is_member && facts.was_heard)?;
        Some(Datagram {
            kind: Kind::Question,
            cell,
            node,
            manager: self.settings.me,
            interval_ms: self.interval_ms(),
            incarnation: facts.incarnation,
            sequence: asked_at.0,
            term,
            epochs: 0,
            boot: facts.boot,
            run: self.settings.run,
        })
    }

    /// A node that was started anew since it was last heard may be there: what it ran is not, as far as anybody knows.
    pub(super) fn on_carried(&mut self, now: Time, by: NodeNumber, reply: &Datagram) {
        let asked_at = Time(reply.sequence);
        let is_ours = reply.kind == Kind::Reply
            && reply.run == self.settings.run
            && by != reply.node
            && asked_at <= now
            && now.since_ms(asked_at) <= REPLY_AGE_MAX_MS
            && self.is_member(reply.node)
            && self.facts[reply.node.0 as usize].incarnation == reply.incarnation;
        if let Some(case) = self.cases.get_mut(&reply.node).filter(|_| is_ours) {
            case.reply(asked_at, by);
        }
    }

    /// Whom a verdict names. A manager has the number of its node.
    pub(super) fn heard_by(
        &self,
        now: Time,
        node: NodeNumber,
        case: &Case,
        reach: Reach,
    ) -> Option<NodeNumber> {
        let (manager, other) = case.heard_by(now, &self.signs(now, node), reach);
        let manager = manager.and_then(|place| self.settings.managers.get(place));
        manager.map(|manager| NodeNumber(u32::from(manager.0))).or(other)
    }
}

//! A manager's side of questions that other nodes carry: which of them are sent to a node that is not heard.
//!
//! Whoever was answered last goes again; the others take turns, so that no node has more to carry than another. Promise: at
//! most `CARRIERS_MAX` for each node, and `ERRANDS_MAX` for each of them within `CARRY_INTERVAL_MS`.

use super::message::Search;
use crate::limits::{CARRIERS_MAX, CARRIERS_PASSED_OVER_MAX, CARRY_INTERVAL_MS, ERRANDS_MAX};
use crate::time::Time;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use wire::id::NodeNumber;

#[derive(Debug, Clone, Default)]
pub struct Carriers {
    able: BTreeSet<NodeNumber>,
    /// Whose turn was the last.
    last: Option<NodeNumber>,
    /// What each was given since then.
    given: BTreeMap<NodeNumber, usize>,
    given_since: Time,
}

impl Carriers {
    /// The node's agent is connected and knows how to carry.
    pub fn came(&mut self, node: NodeNumber) {
        self.able.insert(node);
    }

    pub fn left(&mut self, node: NodeNumber) {
        self.able.remove(&node);
    }

    /// Who carries what. None of those that are searched for carries anything, nor does `own`: the node of the manager's
    /// machine hears what the manager hears.
    pub fn send(
        &mut self,
        now: Time,
        own: Option<NodeNumber>,
        searches: &[Search],
    ) -> BTreeMap<NodeNumber, Vec<NodeNumber>> {
        if now.since_ms(self.given_since) >= CARRY_INTERVAL_MS {
            self.given.clear();
            self.given_since = now;
        }
        let mut unfit: BTreeSet<NodeNumber> = searches.iter().map(|search| search.node).collect();
        unfit.extend(own);
        let mut errands: BTreeMap<NodeNumber, Vec<NodeNumber>> = BTreeMap::new();
        for Search { node, preferred } in searches {
            let mut found = BTreeSet::new();
            found.extend(preferred.filter(|carrier| self.is_free(*carrier, &unfit)));
            let mut passed_over = 0;
            while found.len() < CARRIERS_MAX && passed_over < CARRIERS_PASSED_OVER_MAX.min(self.able.len()) {
                let Some(carrier) = self.next() else { break };
                if !self.is_free(carrier, &unfit) || !found.insert(carrier) {
                    passed_over += 1;
                }
            }
            for carrier in found {
                *self.given.entry(carrier).or_default() += 1;
                errands.entry(carrier).or_default().push(*node);
            }
        }
        errands
    }

    fn is_free(&self, carrier: NodeNumber, unfit: &BTreeSet<NodeNumber>) -> bool {
        self.able.contains(&carrier)
            && !unfit.contains(&carrier)
            && self.given.get(&carrier).is_none_or(|given| *given < ERRANDS_MAX)
    }

    /// Whose turn it is.
    fn next(&mut self) -> Option<NodeNumber> {
        let after = self.last.map_or(Bound::Unbounded, Bound::Excluded);
        let next = self.able.range((after, Bound::Unbounded)).next().or_else(|| self.able.first());
        self.last = next.copied();
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn search(node: u32, preferred: Option<u32>) -> Search {
        Search { node: NodeNumber(node), preferred: preferred.map(NodeNumber) }
    }

    /// `1: 7 8, 2: 7` in order.
    fn text(errands: &BTreeMap<NodeNumber, Vec<NodeNumber>>) -> String {
        let one = |(carrier, nodes): (&NodeNumber, &Vec<NodeNumber>)| {
            let nodes: Vec<String> = nodes.iter().map(ToString::to_string).collect();
            format!("{carrier}: {}", nodes.join(" "))
        };
        errands.iter().map(one).collect::<Vec<_>>().join(", ")
    }

    fn carriers(nodes: u32) -> Carriers {
        let mut carriers = Carriers::default();
        (0..nodes).for_each(|node| carriers.came(NodeNumber(node)));
        carriers
    }

    #[test]
    fn three_are_sent_in_turn_and_never_who_is_searched_for() {
        let mut carriers = carriers(6);
        let own = Some(NodeNumber(0));
        assert_eq!(text(&carriers.send(Time(0), own, &[search(2, None)])), "1: 2, 3: 2, 4: 2");
        assert_eq!(text(&carriers.send(Time(200), own, &[search(2, None)])), "1: 2, 3: 2, 5: 2");
        carriers.left(NodeNumber(4));
        let both = [search(2, None), search(3, None)];
        assert_eq!(text(&carriers.send(Time(400), own, &both)), "1: 2 3, 5: 2 3");
        assert_eq!(text(&Carriers::default().send(Time(0), None, &both)), "");
    }

    #[test]
    fn who_was_answered_goes_again_while_it_is_there() {
        let mut carriers = carriers(9);
        for at in 0..4 {
            let sent = carriers.send(Time(at * 200), None, &[search(0, Some(7))]);
            assert!(sent.contains_key(&NodeNumber(7)), "{sent:?}");
            assert_eq!(sent.len(), CARRIERS_MAX);
        }
        carriers.left(NodeNumber(7));
        assert!(!carriers.send(Time(1_000), None, &[search(0, Some(7))]).contains_key(&NodeNumber(7)));
        let own = carriers.send(Time(2_000), Some(NodeNumber(5)), &[search(0, Some(5))]);
        assert!(!own.contains_key(&NodeNumber(5)));
    }

    #[test]
    fn nobody_is_given_more_than_it_may_carry() {
        let mut carriers = carriers(4);
        let many: Vec<Search> = (100..200).map(|node| search(node, Some(1))).collect();
        let sent = carriers.send(Time(1_000), None, &many);
        assert_eq!(sent.values().map(Vec::len).collect::<Vec<_>>(), [ERRANDS_MAX; 4]);
        assert_eq!(carriers.send(Time(1_000 + CARRY_INTERVAL_MS - 1), None, &many).len(), 0);
        assert_eq!(carriers.send(Time(1_000 + CARRY_INTERVAL_MS), None, &many).len(), 4);
    }
}

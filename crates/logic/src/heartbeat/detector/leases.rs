//! Who is granted leases, and when all grants to a node have run out.
//!
//! Only who may act as leader grants (the caller says so at each heartbeat), and a grant counts from when the heartbeat was
//! sent. So whatever a leader before has granted, also one that was stopped in the middle of it, was asked for before its own
//! lease ended, which is before the next one began to lead: L after that it has run out (decision 31).

use super::super::case::Case;
use super::super::message::{Output, Reach};
use super::Detector;
use crate::lease::Profile;
use crate::time::Time;
use wire::heartbeat::Grant;
use wire::id::NodeNumber;

impl Detector {
    /// What this manager grants, where it may.
    pub(super) fn grant(&self) -> Grant {
        if self.settings.managers.len() == 1 { Grant::Only } else { Grant::Leader }
    }

    /// How long such grants last.
    fn granted(&self) -> Profile {
        match self.grant() {
            Grant::Only => self.settings.lease,
            Grant::Leader => self.settings.lease.across_leaders(),
        }
    }

    /// How long what was granted by others than this manager may last: there may have been several.
    pub(super) fn earlier_wait_ms(&self) -> u64 {
        let lease = self.settings.lease;
        if self.settings.is_elected { lease.across_leaders().wait_ms } else { lease.wait_ms }
    }

    /// Whether no grant of anybody can be in force.
    pub(super) fn is_over(&self, now: Time, node: NodeNumber) -> bool {
        let granted_at = self.facts[node.0 as usize].granted_at;
        now >= (granted_at + self.granted().wait_ms).max(self.earlier_over_at)
    }

    /// When a grant of that moment has run out, for people.
    pub(super) fn runs_out_at(&self, granted_at: Time) -> Time {
        granted_at + self.granted().wait_ms
    }

    pub(super) fn withhold(&mut self, node: NodeNumber) {
        if self.is_member(node) {
            self.facts[node.0 as usize].is_withheld = true;
            self.withheld.insert(node);
        }
    }

    pub(super) fn release(&mut self, node: NodeNumber) {
        if self.is_member(node) {
            self.facts[node.0 as usize].is_withheld = false;
            self.withheld.remove(&node);
        }
        if let Some(case) = self.cases.get_mut(&node) {
            case.is_taken = false;
        }
    }

    fn may_take_over(&self, now: Time, case: &Case) -> bool {
        case.said != Reach::Reachable
            && !case.is_mass
            && !case.is_taken
            && !self.hears_nobody
            && now >= self.distrust_until
    }

    /// It is silent for as long as a lease, and is about to be taken over from.
    pub(super) fn may_be_over(&self, now: Time, node: NodeNumber, case: &Case) -> bool {
        let since = self.facts[node.0 as usize].last_heard.max(self.started_at);
        now >= since + self.settings.lease.wait_ms && self.may_take_over(now, case)
    }

    pub(super) fn take_over(&mut self, now: Time, outputs: &mut Vec<Output>) {
        let is_due =
            |(node, case): &(&NodeNumber, &Case)| self.may_take_over(now, case) && self.is_over(now, **node);
        let due: Vec<NodeNumber> = self.cases.iter().filter(is_due).map(|(node, _)| *node).collect();
        for node in due {
            self.withhold(node);
            if let Some(case) = self.cases.get_mut(&node) {
                case.is_taken = true;
                outputs.push(Output::TakeOver { node });
            }
        }
    }

    /// A term begins: of what is withheld only what those before have written down counts.
    pub(super) fn withhold_only(&mut self, now: Time, taken: &[NodeNumber]) {
        for node in std::mem::take(&mut self.withheld) {
            self.facts[node.0 as usize].is_withheld = false;
        }
        for node in taken {
            if !self.is_member(*node) {
                continue;
            }
            self.withhold(*node);
            // It has a case, so that it is looked at once it is there.
            self.facts[node.0 as usize].has_case = true;
            let case = self.cases.entry(*node).or_insert_with(|| Case::new(Reach::Reachable));
            case.is_taken = true;
        }
        if self.settings.is_elected {
            self.earlier_over_at = self.earlier_over_at.max(now + self.earlier_wait_ms());
        }
    }
}

//! Questions between managers, and what they promise each other: a node that all of a majority grant nothing may be taken
//! over from once all their grants have run out.

use super::super::case::{Case, Told, missing_ms};
use super::super::message::{Opinion, Output, Question, Reach};
use super::Detector;
use crate::limits::{HEARTBEAT_INTERVAL_MAX_MS, OPINION_SILENT_AFTER_BEATS, QUESTION_NODES_MAX};
use crate::time::Time;
use wire::id::{ManagerNumber, NodeNumber};

impl Detector {
    /// Whether no grant of this manager can be in force. Promises to give none from now on.
    fn promise(&mut self, now: Time, node: NodeNumber) -> bool {
        let facts = &self.facts[node.0 as usize];
        let is_over = now >= facts.granted_at.max(self.started_at) + self.settings.lease.wait_ms;
        if is_over {
            self.withhold(node);
        }
        is_over
    }

    pub(super) fn on_asked(&mut self, now: Time, questions: &[Question]) -> Vec<Opinion> {
        let mut opinions = Vec::new();
        for question in questions.iter().take(QUESTION_NODES_MAX) {
            if self.is_member(question.node) {
                let is_over = question.wants_promise && self.promise(now, question.node);
                let signs = self.signs(now, question.node);
                let silent_ms = signs.silence_ms;
                // Who has only begun to listen has no opinion yet.
                let is_silent = silent_ms >= missing_ms(OPINION_SILENT_AFTER_BEATS, signs.interval_ms);
                if signs.is_heard || is_silent || is_over {
                    opinions.push(Opinion {
                        node: question.node,
                        silent_ms,
                        is_deaf: signs.is_deaf,
                        is_over,
                    });
                }
            }
        }
        opinions
    }

    pub(super) fn on_told(
        &mut self,
        by: ManagerNumber,
        asked_at: Option<Time>,
        opinions: &[Opinion],
    ) -> Vec<Output> {
        let mut outputs = Vec::new();
        let Some(manager) = self.settings.managers.iter().position(|known| *known == by) else {
            return outputs;
        };
        if !self.is_leader || by == self.settings.me {
            return outputs;
        }
        for opinion in opinions.iter().take(QUESTION_NODES_MAX) {
            let case = self.cases.get_mut(&opinion.node);
            match (case, asked_at) {
                (Some(case), Some(asked_at)) => case.hear_of(manager, Told { asked_at, opinion: *opinion }),
                // A promise for nothing: the leader wants nothing of this node any more.
                (None, _) if opinion.is_over && !self.withheld.contains(&opinion.node) => {
                    outputs.push(Output::Release { node: opinion.node });
                }
                (_, _) => {}
            }
        }
        outputs
    }

    /// Nodes that are there and get no grant here: whoever leads should release them, or has a reason not to.
    pub(super) fn remind(&mut self, now: Time, outputs: &mut Vec<Output>) {
        if self.withheld.is_empty() || now.since_ms(self.withheld_told_at) < self.settings.lease.wait_ms {
            return;
        }
        self.withheld_told_at = now;
        let opinion = |node: &NodeNumber| {
            let signs = self.signs(now, *node);
            Opinion { node: *node, silent_ms: signs.silence_ms, is_deaf: signs.is_deaf, is_over: true }
        };
        let interval_ms = u64::from(HEARTBEAT_INTERVAL_MAX_MS);
        let opinions = self.withheld.iter().map(opinion).filter(|opinion| opinion.silent_ms < interval_ms);
        let opinions: Vec<Opinion> = opinions.take(QUESTION_NODES_MAX).collect();
        if !opinions.is_empty() {
            outputs.push(Output::Tell { to: None, asked_at: None, opinions });
        }
    }

    /// Nodes that came back before anything was taken over may have leases again, here and elsewhere.
    pub(super) fn drop_promises(&mut self, now: Time, outputs: &mut Vec<Output>) {
        let is_back = |node: &&NodeNumber| {
            let case = self.cases.get(node);
            let is_unwanted = case.is_some_and(|case| case.said == Reach::Reachable && !case.is_taken);
            is_unwanted && !self.signs(now, **node).is_silent()
        };
        let back: Vec<NodeNumber> = self.withheld.iter().filter(is_back).copied().collect();
        for node in back {
            self.release(node);
            outputs.push(Output::Release { node });
        }
    }

    fn may_take_over(&self, now: Time, case: &Case) -> bool {
        !case.said.may_hold_lease()
            && !case.is_mass
            && !case.is_taken
            && !self.hears_nobody
            && now >= self.distrust_until
    }

    pub(super) fn ask(&mut self, now: Time, outputs: &mut Vec<Output>) {
        let mut questions = Vec::new();
        let mut cases = std::mem::take(&mut self.cases);
        for (node, case) in &mut cases {
            let signs = self.signs(now, *node);
            let facts = &self.facts[node.0 as usize];
            let is_over = now >= facts.granted_at.max(self.started_at) + self.settings.lease.wait_ms;
            let wants_promise = is_over && self.may_take_over(now, case);
            let is_urgent = wants_promise || case.said != Reach::Unreachable;
            if case.should_ask(now, &signs, is_urgent) {
                case.asked_at = Some(now);
                questions.push(Question { node: *node, wants_promise });
            }
        }
        self.cases = cases;
        if self.settings.managers.len() > 1 {
            for questions in questions.chunks(QUESTION_NODES_MAX) {
                outputs.push(Output::Ask { asked_at: now, questions: questions.to_vec() });
            }
        }
    }

    pub(super) fn take_over(&mut self, now: Time, outputs: &mut Vec<Output>) {
        let candidates: Vec<NodeNumber> = self
            .cases
            .iter()
            .filter(|(_, case)| self.may_take_over(now, case))
            .map(|(node, _)| *node)
            .collect();
        for node in candidates {
            if !self.promise(now, node) {
                continue;
            }
            let majority = self.settings.managers.len() / 2 + 1;
            let Some(case) = self.cases.get_mut(&node) else { continue };
            let (promises, asked_at) = case.promises(now);
            if promises + 1 >= majority {
                case.is_taken = true;
                let until = asked_at + self.settings.lease.hold_ms;
                outputs.push(Output::TakeOver { node, until });
            }
        }
    }
}

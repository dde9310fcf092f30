//! What managers ask each other about silent nodes.

use super::super::case::{Told, missing_ms};
use super::super::message::{Opinion, Output, Reach};
use super::Detector;
use crate::limits::{OPINION_SILENT_AFTER_BEATS, QUESTION_NODES_MAX};
use crate::time::Time;
use wire::id::{ManagerNumber, NodeNumber};

impl Detector {
    pub(super) fn on_asked(&self, now: Time, nodes: &[NodeNumber]) -> Vec<Opinion> {
        let mut opinions = Vec::new();
        for node in nodes.iter().take(QUESTION_NODES_MAX).copied().filter(|node| self.is_member(*node)) {
            let signs = self.signs(now, node);
            let silent_ms = signs.silence_ms;
            // Who has only begun to listen has no opinion yet.
            let is_silent = silent_ms >= missing_ms(OPINION_SILENT_AFTER_BEATS, signs.interval_ms);
            if signs.is_heard || is_silent {
                opinions.push(Opinion { node, silent_ms, is_deaf: signs.is_deaf });
            }
        }
        opinions
    }

    pub(super) fn on_told(&mut self, by: ManagerNumber, asked_at: Time, opinions: &[Opinion]) {
        let Some(manager) = self.settings.managers.iter().position(|known| *known == by) else { return };
        if !self.is_leader || by == self.settings.me {
            return;
        }
        for opinion in opinions.iter().take(QUESTION_NODES_MAX) {
            if let Some(case) = self.cases.get_mut(&opinion.node) {
                case.hear_of(manager, Told { asked_at, opinion: *opinion });
            }
        }
    }

    pub(super) fn ask(&mut self, now: Time, outputs: &mut Vec<Output>) {
        let mut asked = Vec::new();
        let mut cases = std::mem::take(&mut self.cases);
        for (node, case) in &mut cases {
            let signs = self.signs(now, *node);
            // One that loses most of what it sends is told from one that is back by what others say at each moment.
            let is_urgent = case.said != Reach::Unreachable || self.may_be_over(now, *node, case);
            if case.should_ask(now, &signs, is_urgent) {
                case.asked_at = Some(now);
                asked.push(*node);
            }
        }
        self.cases = cases;
        if self.settings.managers.len() > 1 {
            for nodes in asked.chunks(QUESTION_NODES_MAX) {
                outputs.push(Output::Ask { asked_at: now, nodes: nodes.to_vec() });
            }
        }
    }
}

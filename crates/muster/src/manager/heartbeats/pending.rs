//! What the manager has yet to hear, the newest of each node.

use super::Sought;
use crate::manager::desk::Input;
use logic::cell;
use logic::heartbeat::{Alarm, Restart, Verdict};
use std::collections::{BTreeMap, BTreeSet};
use tokio::sync::mpsc;
use wire::id::{ManagerNumber, NodeNumber};
use wire::status::Severity;

/// Alarms that may wait. Eight: more at once say the same.
const ALARMS_MAX: usize = 8;

#[derive(Debug, Default)]
pub struct Pending {
    first_beats: BTreeSet<NodeNumber>,
    restarts: BTreeMap<NodeNumber, Restart>,
    taken: BTreeSet<NodeNumber>,
    verdicts: BTreeMap<NodeNumber, Verdict>,
    alarms: Vec<Alarm>,
    fellows: BTreeMap<ManagerNumber, bool>,
    /// Older questions are of no use once there are newer ones.
    sought: Vec<Sought>,
}

impl Pending {
    pub fn beats(&mut self, node: NodeNumber) {
        self.first_beats.insert(node);
    }

    pub fn taken(&mut self, node: NodeNumber) {
        self.taken.insert(node);
    }

    pub fn restarted(&mut self, restart: Restart) {
        let was_reboot = self.restarts.get(&restart.node).is_some_and(|earlier| earlier.is_reboot);
        let is_reboot = was_reboot || restart.is_reboot;
        self.restarts.insert(restart.node, Restart { is_reboot, ..restart });
    }

    pub fn verdicts(&mut self, verdicts: impl IntoIterator<Item = Verdict>) {
        self.verdicts.extend(verdicts.into_iter().map(|verdict| (verdict.node, verdict)));
    }

    /// Which other managers are there again, or no more.
    pub fn fellows(&mut self, news: Vec<(ManagerNumber, bool)>) {
        self.fellows.extend(news);
    }

    pub fn sought(&mut self, sought: Vec<Sought>) {
        self.sought = sought;
    }

    pub fn alarm(&mut self, alarm: Alarm) {
        if self.alarms.len() < ALARMS_MAX {
            self.alarms.push(alarm);
        }
    }

    /// Hands over as much as there is room for: what a machine lost before whether it is there.
    pub fn hand_over(&mut self, inbox: &mpsc::Sender<Input>) {
        while let Ok(room) = inbox.try_reserve() {
            let input = if let Some(node) = self.first_beats.pop_first() {
                Input::Cell(cell::Input::Beats { node })
            } else if let Some((_, restart)) = self.restarts.pop_first() {
                Input::Cell(cell::Input::Restarted(restart))
            } else if !self.verdicts.is_empty() {
                let verdicts = std::mem::take(&mut self.verdicts).into_values().collect();
                Input::Cell(cell::Input::Verdicts(verdicts))
            } else if !self.sought.is_empty() {
                Input::Search(std::mem::take(&mut self.sought))
            } else if let Some(node) = self.taken.pop_first() {
                Input::Taken { node }
            } else if let Some((manager, is_there)) = self.fellows.pop_first() {
                Input::Fellow { manager, is_there }
            } else if let Some(alarm) = self.alarms.pop() {
                note(alarm)
            } else {
                return;
            };
            room.send(input);
        }
    }
}

fn note(alarm: Alarm) -> Input {
    let (kind, text) = match alarm {
        Alarm::Lagged { lag_ms } => {
            let seconds = lag_ms as f64 / 1_000.0;
            let text = format!(
                "the manager did not run for {seconds:.1} s, and listens anew before it judges any node"
            );
            ("manager-lagged", text)
        }
        Alarm::HearsNobody { nodes } => {
            let text = format!(
                "the manager hears none of {nodes} other nodes: its own network is likelier broken than all of them, so \
                 nothing is changed"
            );
            ("manager-alone", text)
        }
        Alarm::MassSilence { fallen, nodes } => {
            let text = format!(
                "{fallen} of {nodes} nodes fell silent within seconds: a common cause is likely, so nothing is taken over from \
                 them. Those that are lost are named with `muster node confirm-lost`"
            );
            ("mass-silence", text)
        }
    };
    Input::Note { severity: Severity::Error, kind, text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use logic::heartbeat::Reach;

    #[test]
    fn what_waits_is_merged_and_comes_in_one_batch() {
        let (inbox, mut heard) = mpsc::channel(3);
        let mut pending = Pending::default();
        let verdict = |node, reach| Verdict {
            node: NodeNumber(node),
            reach,
            silence_ms: 900,
            heard_by: None,
            is_mass: false,
        };
        let restart = |is_reboot| Restart { node: NodeNumber(1), incarnation: 7, is_reboot };
        pending.verdicts([verdict(1, Reach::Unreachable), verdict(2, Reach::Unreachable)]);
        pending.verdicts([verdict(2, Reach::Reachable)]);
        pending.restarted(restart(true));
        pending.restarted(restart(false));
        pending.beats(NodeNumber(3));
        pending.alarm(Alarm::Lagged { lag_ms: 300 });
        pending.hand_over(&inbox);
        let cell = |input| match input {
            Input::Cell(input) => input,
            other => panic!("not for the cell: {other:?}"),
        };
        assert_eq!(cell(heard.try_recv().expect("beats")), cell::Input::Beats { node: NodeNumber(3) });
        assert_eq!(cell(heard.try_recv().expect("a restart")), cell::Input::Restarted(restart(true)));
        let verdicts = vec![verdict(1, Reach::Unreachable), verdict(2, Reach::Reachable)];
        let said = cell::Input::Verdicts(verdicts);
        assert_eq!(cell(heard.try_recv().expect("verdicts")), said);
        assert!(heard.try_recv().is_err(), "there was no more room");
        pending.hand_over(&inbox);
        assert!(matches!(heard.try_recv(), Ok(Input::Note { kind: "manager-lagged", .. })));
        pending.hand_over(&inbox);
        assert!(heard.try_recv().is_err());
    }
}

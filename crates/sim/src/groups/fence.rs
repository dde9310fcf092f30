//! Power switches: agents of fences that fail, hang and come late, and guardians that only a power switch ends.
//!
//! An agent that says that a node is off says the truth; nothing can be built on one that lies about that.

use super::{Event, World, node_name};
use logic::fence::{self, Call, End};
use logic::group::PlannerInput;
use wire::fence::{FenceAction, FenceSettings};

/// Longest time of an agent.
const TIMEOUT_MS: u64 = 2_000;

impl World {
    /// One for all nodes.
    pub(super) fn fences(&self) -> Vec<FenceSettings> {
        vec![FenceSettings {
            name: "power".into(),
            agent: "/usr/sbin/fence_power".into(),
            nodes: (0..self.nodes.len()).map(node_name).collect(),
            parameters: Default::default(),
            secret_files: Default::default(),
            action: FenceAction::Reboot,
            timeout_ms: TIMEOUT_MS,
            retries: 1,
            check_interval_ms: 60_000,
        }]
    }

    pub(super) fn on_fences(&mut self, run: u64, output: fence::Output) {
        match output {
            fence::Output::Run { job, node, call, .. } => {
                let node = (0..self.nodes.len()).find(|index| node_name(*index) == node);
                let node = node.expect("only nodes of the world are fenced");
                let pause_us = self.some(1_000, TIMEOUT_MS * 1_000);
                self.after(pause_us, Event::Call { run, job, node, call });
            }
            fence::Output::Fenced { node, run: number, result } => {
                self.step_planner(run, PlannerInput::Fenced { node, run: number, result });
            }
            fence::Output::Event { text, .. } => self.tell(|| text),
            // It may have done its work all the same.
            fence::Output::Kill { .. } => {}
        }
    }

    /// Late or not, whoever leads by now: what an agent was called for it does, or fails.
    pub(super) fn on_call(&mut self, run: u64, job: u64, node: usize, call: Call) {
        let (fails, hangs) = (self.chance.percent(self.fence_fails_percent), self.chance.percent(20));
        // One that fails may have done it.
        if call == Call::Off && (!fails || hangs) {
            self.switch_off(node);
        }
        if call == Call::On && !fails {
            self.after(500_000, Event::StartNode { node });
        }
        let end = match (fails, hangs) {
            (true, true) => End::TimedOut,
            (true, false) => End::Exited { status: 1, words: "no answer".into() },
            (false, _) => {
                let is_off = call == Call::Status && self.nodes[node].is_off;
                End::Exited { status: if is_off { 2 } else { 0 }, words: String::new() }
            }
        };
        self.step_fences(run, fence::Input::Ended { job, end });
    }

    /// Everything on it is gone at this instant.
    fn switch_off(&mut self, node: usize) {
        self.outcome.fenced += 1;
        self.kill_node(node);
        self.tell(|| format!("{} is switched off", node_name(node)));
        self.held.values_mut().for_each(|all| all.retain(|held| held.node != node));
        self.nodes[node].is_off = true;
    }

    /// What a node holds of hard groups does not end any more, whatever anybody says.
    pub(super) fn stick(&mut self, node: usize) {
        // The class of their stay: what was started as soft promises nothing of the kind.
        let is_hard = |name: &wire::id::GroupName| {
            let key = format!("{}{name}", logic::group::PREFIX);
            let found = self.store.read(&logic::model::Read::Keys(vec![key])).entries;
            found.iter().any(|entry| String::from_utf8_lossy(&entry.value).contains("class=hard"))
        };
        let hard: Vec<_> = self.held.keys().filter(|name| is_hard(name)).cloned().collect();
        for name in hard {
            let held = self.held.get_mut(&name).into_iter().flatten();
            held.filter(|held| held.node == node && !held.is_ending).for_each(|held| held.is_stuck = true);
        }
    }

    pub(super) fn unstick(&mut self) {
        let mut freed = Vec::new();
        for (name, all) in &mut self.held {
            for held in all.iter_mut().filter(|held| held.is_stuck) {
                (held.is_stuck, held.is_ending) = (false, true);
                freed.push((held.node, name.clone(), held.number));
            }
        }
        for (node, group, held) in freed {
            self.after(1_000, Event::Gone { node, group, held });
        }
    }
}

//! Stories of a fleet as text; the answer is the complete history, line by line.
//!
//! One statement a line; `#` begins a comment. First the fleet: `seed 1`, `managers 3`, `nodes 8`, `profile fast`. Then
//! `at SECONDS ACTION` in order of time; `act` below lists the actions. Nodes and managers count from 1.

use super::node::Manner;
use super::world::{Event, Fleet, Place};
use logic::heartbeat;
use logic::lease::{NORMAL, Profile};
use wire::id::NodeNumber;

#[derive(Debug)]
struct Plan {
    seed: u64,
    managers: usize,
    nodes: usize,
    profile: Profile,
}

/// The history of a script, or which line is wrong.
pub fn run_fleet_scenario(script: &str) -> Result<String, String> {
    let plain = |line: &str| line.split('#').next().unwrap_or_default().trim().to_owned();
    let lines: Vec<String> = script.lines().map(plain).filter(|line| !line.is_empty()).collect();
    let mut plan = Plan { seed: 1, managers: 3, nodes: 4, profile: NORMAL };
    let (actions, cell): (Vec<&String>, Vec<&String>) =
        lines.iter().partition(|line| line.starts_with("at "));
    for line in cell {
        let words: Vec<&str> = line.split_whitespace().collect();
        define(&mut plan, &words).ok_or_else(|| format!("not understood: {line}"))?;
    }
    let mut fleet = Fleet::new(plan.managers, plan.nodes, plan.profile, plan.seed, true);
    for line in actions {
        let wrong = || format!("not understood: {line}");
        let words: Vec<&str> = line.split_whitespace().collect();
        let [_, at, action @ ..] = &words[..] else { return Err(wrong()) };
        let at: f64 = at.parse().map_err(|_| wrong())?;
        fleet.run_until_us((at * 1_000_000.0).round() as u64);
        let text = action.join(" ");
        fleet.tell(|| format!("> {text}"));
        fleet.act(action).ok_or_else(wrong)?;
    }
    Ok(fleet.trace().to_owned())
}

fn define(plan: &mut Plan, words: &[&str]) -> Option<()> {
    match words {
        ["seed", seed] => plan.seed = seed.parse().ok()?,
        ["managers", count] => plan.managers = count.parse().ok()?,
        ["nodes", count] => plan.nodes = count.parse().ok()?,
        ["profile", name] => plan.profile = *Profile::named(name)?,
        _ => return None,
    }
    Some(())
}

impl Fleet {
    /// Carries out one action; None if there is no such action.
    fn act(&mut self, words: &[&str]) -> Option<()> {
        match words {
            ["end"] => {}
            ["whole"] => {
                let text = self.is_whole().err().unwrap_or_else(|| "all is whole".into());
                self.tell(|| text);
            }
            ["cut", from, "to", to] => {
                for from in self.parse(from)? {
                    self.parse(to)?.into_iter().for_each(|to| self.cut(from, to));
                }
            }
            ["isolate", places @ ..] => {
                for place in places {
                    self.parse(place)?.into_iter().for_each(|place| self.isolate(place));
                }
            }
            ["join", place] => self.parse(place)?.into_iter().for_each(|place| self.join(place)),
            ["split", left, "from", right] => {
                for (one, other) in [(left, right), (right, left)] {
                    for from in self.parse(one)? {
                        self.parse(other)?.into_iter().for_each(|to| self.cut(from, to));
                    }
                }
            }
            ["heal"] => self.cuts.clear(),
            // Somebody in the network listens from now on, and sends what was heard.
            ["overhear"] => self.overheard = Some(Vec::new()),
            ["forge"] => self.forge(),
            ["lose", permille] => self.loss_permille = permille.parse().ok()?,
            ["store", rest @ ..] => self.act_on_store(rest)?,
            // A person names those that fell together, and the leader writes that down.
            ["confirm"] => {
                for node in std::mem::take(&mut self.mass) {
                    for manager in 0..self.managers.len() {
                        let (run, node) = (self.managers[manager].run, NodeNumber(node as u32));
                        self.step_detector(manager, run, heartbeat::Input::Confirm { node });
                    }
                }
            }
            [verb, place, rest @ ..] => {
                for place in self.parse(place)? {
                    match place {
                        Place::Manager(manager) => self.act_on_manager(verb, manager, rest)?,
                        Place::Node(node) => self.act_on_node(verb, node, rest)?,
                        Place::Store => return None,
                    }
                }
            }
            [] | [_] => return None,
        }
        Some(())
    }

    fn act_on_store(&mut self, words: &[&str]) -> Option<()> {
        match words {
            ["down"] => self.store.is_down = true,
            ["up"] => self.store.is_down = false,
            ["full"] => self.store.is_full = true,
            ["room"] => self.store.is_full = false,
            ["slow", ms] => self.store.slow_us = ms.parse::<u64>().ok()? * 1_000,
            ["copy"] => self.store.copy = Some(self.store.model.clone()),
            ["restore"] => {
                self.store.model = self.store.copy.clone()?;
                self.was_restored = true;
            }
            _ => return None,
        }
        Some(())
    }

    fn act_on_manager(&mut self, verb: &str, manager: usize, rest: &[&str]) -> Option<()> {
        match (verb, rest) {
            ("kill", []) => self.kill_manager(manager),
            ("kill", ["during", "commit"]) => self.store.kill_on_commit = Some(manager),
            ("stop", ["during", "commit"]) => self.store.stop_on_commit = Some(manager),
            ("start", []) => self.start_manager(manager),
            ("stop", []) => self.stop_manager(manager),
            ("resume", []) => self.resume_manager(manager),
            ("busy", []) => {
                self.managers[manager].is_busy = true;
                self.after(0, Event::Turn { manager, is_running: false });
            }
            ("idle", []) => self.managers[manager].is_busy = false,
            ("resign", []) => {
                let run = self.managers[manager].run;
                self.step_elector(manager, run, logic::term::Input::Resign);
            }
            _ => return None,
        }
        Some(())
    }

    fn act_on_node(&mut self, verb: &str, node: usize, rest: &[&str]) -> Option<()> {
        match (verb, rest) {
            ("kill", []) => self.kill_node(node),
            ("start", []) => self.start_node(node, true),
            ("stop", []) => self.stop_node(node),
            ("resume", []) => self.resume_node(node),
            ("honest", []) => self.nodes[node].manner = Manner::Honest,
            ("idle", []) => self.nodes[node].manner = Manner::Idle,
            ("lie", []) => self.nodes[node].manner = Manner::Lying,
            // Off, and on again after so many milliseconds.
            ("reboot" | "restart", [ms]) => {
                self.kill_node(node);
                let is_reboot = verb == "reboot";
                self.after(ms.parse::<u64>().ok()? * 1_000, Event::StartNode { node, is_reboot });
            }
            ("clock", [ms]) => self.nodes[node].wall_ms += ms.parse::<i64>().ok()?,
            _ => return None,
        }
        Some(())
    }

    /// `store`, `managers`, `leader`, `followers`, `nodes`, `manager-2`, `node-3`, `node-3..node-7`.
    fn parse(&self, word: &str) -> Option<Vec<Place>> {
        let one = |word: &str| match word.split_once('-')? {
            ("manager", number) => Some(Place::Manager(number.parse::<usize>().ok()?.checked_sub(1)?)),
            ("node", number) => Some(Place::Node(number.parse::<usize>().ok()?.checked_sub(1)?)),
            _ => None,
        };
        let places = match word {
            "store" => vec![Place::Store],
            "leader" | "followers" => {
                let is_wanted =
                    |manager: &usize| self.managers[*manager].leads.is_some() == (word == "leader");
                (0..self.managers.len()).filter(is_wanted).map(Place::Manager).collect()
            }
            "managers" => (0..self.managers.len()).map(Place::Manager).collect(),
            "nodes" => (0..self.nodes.len()).map(Place::Node).collect(),
            _ => match word.split_once("..") {
                None => vec![one(word)?],
                Some((first, last)) => match (one(first)?, one(last)?) {
                    (Place::Node(first), Place::Node(last)) => (first..=last).map(Place::Node).collect(),
                    (Place::Manager(first), Place::Manager(last)) => {
                        (first..=last).map(Place::Manager).collect()
                    }
                    _ => return None,
                },
            },
        };
        let known = self.places();
        places.iter().all(|place| known.contains(place)).then_some(places)
    }
}

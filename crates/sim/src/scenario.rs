//! Stories as text: a cell, what happens to it and when; the answer is the complete history, line by line.
//!
//! A script has one statement a line; `#` begins a comment. First the cell: `seed 1`, `nodes 2`, `routers 1`,
//! `drain 500`, `policy random`, `member shop-1 node 1 weight 2 [external]`. Then `at SECONDS ACTION`, in order of time;
//! `act` below lists the actions. Times are seconds with a point, durations milliseconds.

use crate::link::Peer;
use crate::node::{Conduct, HEALTHY, StartConduct};
use crate::plant::Plant;
use crate::world::{Event, World};
use logic::time::Time;
use std::fmt::Write;
use wire::status::Act;
use wire::view::Policy;

/// The history of a script, or which line is wrong.
pub fn run_scenario(script: &str) -> Result<String, String> {
    let lines: Vec<&str> = script.lines().map(plain).filter(|line| !line.is_empty()).collect();
    let (actions, cell): (Vec<&str>, Vec<&str>) = lines.into_iter().partition(|line| line.starts_with("at "));
    let (plant, seed) = plant(&cell)?;
    let mut world = World::new(plant, seed, true);
    for line in actions {
        let wrong = || format!("not understood: {line}");
        let words: Vec<&str> = line.split_whitespace().collect();
        let [_, at, action @ ..] = &words[..] else { return Err(wrong()) };
        let at: f64 = at.parse().map_err(|_| wrong())?;
        world.run_until(Time((at * 1000.0).round() as u64));
        world.act(action).ok_or_else(wrong)?;
    }
    Ok(world.trace().to_owned())
}

fn plain(line: &str) -> &str {
    line.split('#').next().unwrap_or_default().trim()
}

fn plant(lines: &[&str]) -> Result<(Plant, u64), String> {
    let mut plant = Plant::new(1, 1);
    let mut seed = 1;
    for line in lines {
        let words: Vec<&str> = line.split_whitespace().collect();
        define(&mut plant, &mut seed, &words).ok_or_else(|| format!("not understood: {line}"))?;
    }
    Ok((plant, seed))
}

fn define(plant: &mut Plant, seed: &mut u64, words: &[&str]) -> Option<()> {
    match words {
        ["seed", number] => *seed = number.parse().ok()?,
        ["nodes", count] => plant.nodes = count.parse().ok()?,
        ["routers", count] => plant.routers = count.parse().ok()?,
        ["drain", ms] => plant.drain_ms = ms.parse().ok()?,
        ["policy", "random"] => plant.policy = Policy::Random,
        ["member", name, "node", node, "weight", weight, rest @ ..] => {
            let is_external = match rest {
                [] => false,
                ["external"] => true,
                _ => return None,
            };
            plant.add(name, node.parse().ok()?, weight.parse().ok()?, is_external);
        }
        _ => return None,
    }
    Some(())
}

impl World {
    /// Carries out one action; None if there is no such action.
    fn act(&mut self, words: &[&str]) -> Option<()> {
        let line = words.join(" ");
        self.tell(|| format!("> {line}"));
        match words {
            ["end"] => {}
            ["tally"] => self.tell_tally(),
            ["clients", count, "think", ms, "posts", percent, rest @ ..] => {
                let (count, think_ms): (u32, u64) = (count.parse().ok()?, ms.parse().ok()?);
                for _ in 0..count {
                    self.add_client(think_ms, percent.parse().ok()?, *rest == ["sessions"]);
                }
            }
            ["operator", act] => self.operate(None, parse_act(act)?),
            ["operator", act, member] => self.operate(Some(member), parse_act(act)?),
            ["manager", "kill"] => self.kill_manager(),
            ["manager", "start"] => self.start_manager(),
            ["agent", "kill", node] => self.kill_agent(&(*node).into()),
            ["agent", "start", node] => self.after(0, Event::AgentStarts { node: (*node).into() }),
            ["cut", peer] => self.cut(&parse_peer(peer)),
            ["heal", peer] => self.heal(&parse_peer(peer)),
            ["stall", peer, ms] => self.stall(&parse_peer(peer), ms.parse().ok()?),
            ["split", router, node] => {
                self.splits.insert(((*router).into(), (*node).into()));
            }
            ["join", router, node] => {
                self.splits.remove(&((*router).into(), (*node).into()));
            }
            ["starts", member, conduct @ ..] => {
                self.conducts.insert(Plant::member_id(member), parse_conduct(conduct)?);
            }
            ["external", "start", member] => self.start_external(member),
            ["kill" | "hang" | "resume" | "slow", member, rest @ ..] => {
                let process = self.process_of(member)?;
                match (words[0], rest) {
                    ("kill", []) => self.exit(process, "was killed by SIGKILL"),
                    ("hang", []) => self.set_hung(process, true),
                    ("resume", []) => self.set_hung(process, false),
                    ("slow", [ms]) => self.processes.get_mut(&process)?.service_ms = ms.parse().ok()?,
                    _ => return None,
                }
            }
            _ => return self.act_on_plant(words),
        }
        Some(())
    }

    /// Actions that change the configuration.
    fn act_on_plant(&mut self, words: &[&str]) -> Option<()> {
        match words {
            ["add", rest @ ..] => {
                let member = [&["member"], rest].concat();
                define(&mut self.plant, &mut 0, &member)?;
            }
            ["remove", name] => self.plant.members.retain(|member| member.name != *name),
            ["weight", name, weight] => {
                self.plant.members.iter_mut().find(|member| member.name == *name)?.weight =
                    weight.parse().ok()?;
            }
            ["release", name] => {
                self.plant.members.iter_mut().find(|member| member.name == *name)?.release += 1;
            }
            _ => return None,
        }
        self.apply();
        Some(())
    }

    /// What clients have seen since the last time this was asked.
    fn tell_tally(&mut self) {
        let tally = std::mem::take(&mut self.tally);
        let mut text = format!("clients: {} answered", tally.answered);
        for (member, count) in &tally.by_member {
            write!(text, ", {member} {count}").expect("a String takes any text");
        }
        write!(text, "; {} tried again, {} away from their first member", tally.retried, tally.moved)
            .expect("a String takes any text");
        for (what, count) in &tally.failed {
            write!(text, "; {count} failed: {what}").expect("a String takes any text");
        }
        self.tell(|| text);
    }
}

fn parse_act(word: &str) -> Option<Act> {
    match word {
        "start" => Some(Act::Start),
        "stop" => Some(Act::Stop),
        "drain" => Some(Act::Drain),
        "restart" => Some(Act::Restart),
        _ => None,
    }
}

fn parse_peer(word: &str) -> Peer {
    if word.starts_with("router") { Peer::Router(word.into()) } else { Peer::Agent(word.into()) }
}

/// `well`, `ready 1500`, `exits 30`, `missing`.
fn parse_conduct(words: &[&str]) -> Option<Conduct> {
    match words {
        ["well"] => Some(HEALTHY),
        ["ready", ms] => Some(Conduct { ready_ms: ms.parse().ok()?, ..HEALTHY }),
        ["exits", ms] => Some(Conduct { ready_ms: ms.parse().ok()?, start: StartConduct::Exits, ..HEALTHY }),
        ["missing"] => Some(Conduct { start: StartConduct::Missing, ..HEALTHY }),
        _ => None,
    }
}

//! Random histories: a cell by chance, faults or planned work by chance, and what must be true at the end.
//!
//! `Kind::Faults` breaks everything that can break; afterwards all faults end, and every member must be up within
//! `WHOLE_WITHIN_MS`. `Kind::Planned` only does what an operator may do on a working day: no request may fail.

use crate::exchange::Tally;
use crate::link::Peer;
use crate::node::{Conduct, HEALTHY, StartConduct};
use crate::plant::Plant;
use crate::world::{Event, World};
use logic::seed::Chance;
use wire::id::NodeName;
use wire::status::Act;
use wire::view::{Policy, RunState};

/// Every member must be up so long after the last fault. The longest way there: an outdated process is drained
/// (0.5 s), taken out (1 s), stopped (1 s) and started (0.5 s), one of seven after the other, behind a manager that
/// waits for its agents (2 s), a process that hangs (0.5 s to notice, 2 s, 1 s to stop) and a back-off (1 s).
pub const WHOLE_WITHIN_MS: u64 = 30_000;

/// Longest time that a link holds everything back. Below the silence at which either end would give it up.
const STALL_MAX_MS: u64 = 4_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Faults,
    Planned,
}

/// What a history came to.
#[derive(Debug, Clone)]
pub struct Outcome {
    pub tally: Tally,
    /// Cycles of round robin that were followed from end to end.
    pub cycles: u64,
    /// Choices that affinity decided.
    pub kept: u64,
    pub events: u64,
    /// From the end of all faults until every member was up.
    pub whole_after_ms: u64,
    /// Processes of agents that hung at the end of all faults, and that nobody but their agents helped.
    pub left_hung: u64,
}

/// Tells how to see a failed history again.
struct Replay {
    kind: Kind,
    seed: u64,
}

impl Drop for Replay {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Self { kind, seed } = self;
            eprintln!(
                "{kind:?} failed with seed {seed}; MUSTER_SEED={seed} replays it and shows its history"
            );
        }
    }
}

/// Runs the history of `seed`. Panics where a promise is broken.
pub fn run_seed(kind: Kind, seed: u64, steps: u32, is_traced: bool) -> Outcome {
    let _replay = Replay { kind, seed };
    let mut chance = Chance::new(seed);
    let plant = random_plant(&mut chance, kind);
    let mut world = World::new(plant, chance.bits(), is_traced);
    world.become_whole(10_000);
    let clients = 4 + chance.below(5);
    for number in 0..clients {
        world.add_client(20 + u64::from(chance.below(100)), chance.below(50), number % 2 == 0);
    }
    let mut names = 100;
    for _ in 0..steps {
        let pause_ms = u64::from(1 + chance.below(40));
        world.run_until(world.now + pause_ms);
        if chance.percent(8) {
            match kind {
                Kind::Faults => world.disturb(&mut chance, &mut names),
                Kind::Planned => world.work(&mut chance, &mut names),
            }
        }
    }
    if kind == Kind::Faults {
        world.hang_last(&mut chance);
    }
    let end = world.now;
    let left_hung = world.end_faults();
    world.become_whole(WHOLE_WITHIN_MS);
    let whole_after_ms = world.now.since_ms(end);
    assert!(world.processes.values().all(|process| !process.is_hung), "a process that hangs was left alone");
    world.run_out();
    if kind == Kind::Planned {
        assert_eq!(world.tally.failed_count(), 0, "planned work failed requests: {:?}", world.tally.failed);
    }
    Outcome {
        tally: world.tally.clone(),
        cycles: world.checks.cycles,
        kept: world.checks.kept,
        events: world.events_handled,
        whole_after_ms,
        left_hung,
    }
}

fn random_plant(chance: &mut Chance, kind: Kind) -> Plant {
    let nodes = 1 + chance.below(3) as usize;
    let mut plant = Plant::new(nodes, 1 + chance.below(2) as usize);
    if chance.percent(15) {
        plant.policy = Policy::Random;
    }
    plant.lowers_weight = chance.percent(30);
    plant.drain_ms = u64::from(chance.below(2)) * 500;
    for number in 1..=2 + chance.below(3) {
        let least = u32::from(kind == Kind::Planned || number == 1);
        let node = 1 + chance.below(nodes as u32) as usize;
        plant.add(&format!("shop-{number}"), node, least + chance.below(4), chance.percent(15));
    }
    plant
}

impl World {
    /// Waits until nothing is missing, at most so long.
    fn become_whole(&mut self, within_ms: u64) {
        let begin = self.now;
        while let Err(missing) = self.is_whole() {
            assert!(self.now.since_ms(begin) < within_ms, "not whole after {within_ms} ms: {missing}");
            self.run_until(self.now + 50);
        }
    }

    /// Clients stop; every request under way must come to its end.
    fn run_out(&mut self) {
        self.clients.iter_mut().for_each(|client| client.is_active = false);
        self.run_until(self.now + 5_000);
        assert!(self.requests.is_empty(), "{} requests never ended", self.requests.len());
        assert!(self.attempts.is_empty(), "{} attempts never ended", self.attempts.len());
        for router in self.routers.values() {
            assert!(router.counts.values().all(|counts| counts.in_flight == 0), "{} miscounts", router.name);
        }
    }

    fn some_member(&self, chance: &mut Chance) -> String {
        let lot = chance.below(self.plant.members.len() as u32) as usize;
        self.plant.members[lot].name.clone()
    }

    fn some_node(&self, chance: &mut Chance) -> NodeName {
        Plant::node_name(1 + chance.below(self.plant.nodes as u32) as usize)
    }

    fn some_peer(&self, chance: &mut Chance) -> Peer {
        let peers: Vec<&Peer> = self.links.keys().collect();
        peers[chance.below(peers.len() as u32) as usize].clone()
    }

    fn disturb(&mut self, chance: &mut Chance, names: &mut u32) {
        match chance.below(13) {
            0 | 1 => self.disturb_process(chance),
            2 => self.disturb_starts(chance),
            3 => self.disturb_manager(chance),
            4 => {
                let peer = self.some_peer(chance);
                self.tell(|| format!("the link of {peer} is cut"));
                self.cut(&peer);
            }
            5 | 6 => {
                let peer = self.some_peer(chance);
                self.tell(|| format!("the link of {peer} is whole"));
                self.heal(&peer);
            }
            7 => {
                let peer = self.some_peer(chance);
                let pause_ms = u64::from(chance.below(STALL_MAX_MS as u32));
                self.tell(|| format!("the link of {peer} stalls for {pause_ms} ms"));
                self.stall(&peer, pause_ms);
            }
            8 => {
                let node = self.some_node(chance);
                self.kill_agent(&node);
                self.after(u64::from(chance.below(2_000)), Event::AgentStarts { node });
            }
            9 => {
                let node = self.some_node(chance);
                let router = self.routers.keys().next().expect("every plant has a router").clone();
                let split = (router, node);
                self.tell(|| format!("the path of {split:?} breaks or mends"));
                if !self.splits.remove(&split) {
                    self.splits.insert(split);
                }
            }
            10 | 11 => self.operate_somehow(chance),
            _ => self.change_plant(chance, names, 0),
        }
    }

    fn disturb_process(&mut self, chance: &mut Chance) {
        let name = self.some_member(chance);
        let act = chance.below(5);
        let Some(process) = self.process_of(&name) else {
            if self.plant.members.iter().any(|member| member.name == name && member.is_external) {
                self.tell(|| format!("{name} is started elsewhere"));
                self.start_external(&name);
            }
            return;
        };
        match act {
            0 | 1 => {
                self.tell(|| format!("{name} is killed"));
                self.exit(process, "was killed by SIGKILL");
            }
            2 => {
                self.tell(|| format!("{name} hangs"));
                self.set_hung(process, true);
            }
            3 => {
                self.tell(|| format!("{name} goes on"));
                self.set_hung(process, false);
            }
            _ => {
                let service_ms = [1, 5, 60, 200, 700][chance.below(5) as usize];
                self.tell(|| format!("{name} needs {service_ms} ms for an answer"));
                self.processes.get_mut(&process).expect("its number was just found").service_ms = service_ms;
            }
        }
    }

    /// The last fault of a history, so that most end with a process that only its agent can help.
    fn hang_last(&mut self, chance: &mut Chance) {
        let managed = self.processes.iter().filter(|(_, process)| !process.is_external());
        let managed: Vec<_> = managed.map(|(number, process)| (*number, process.member.clone())).collect();
        if managed.is_empty() {
            return;
        }
        let (process, member) = &managed[chance.below(managed.len() as u32) as usize];
        self.tell(|| format!("{} hangs", member.member));
        self.set_hung(*process, true);
    }

    fn disturb_starts(&mut self, chance: &mut Chance) {
        let name = self.some_member(chance);
        let conduct = Conduct {
            ready_ms: [10, 100, 500, 1_500, 2_500][chance.below(5) as usize],
            service_ms: [1, 5, 60, 200][chance.below(4) as usize],
            start: match chance.below(4) {
                0 | 1 => StartConduct::Listens,
                2 => StartConduct::Exits,
                _ => StartConduct::Missing,
            },
        };
        self.tell(|| format!("the next starts of {name}: {conduct:?}"));
        self.conducts.insert(Plant::member_id(&name), conduct);
    }

    fn disturb_manager(&mut self, chance: &mut Chance) {
        match (self.manager.is_there(), chance.below(3)) {
            (false, _) => self.start_manager(),
            (true, 0) => self.kill_manager(),
            (true, _) => self.manager.dies_after = Some(chance.below(6)),
        }
    }

    fn operate_somehow(&mut self, chance: &mut Chance) {
        let act = [Act::Start, Act::Stop, Act::Drain, Act::Restart][chance.below(4) as usize];
        let member = chance.percent(70).then(|| self.some_member(chance));
        self.operate(member.as_deref(), act);
    }

    /// A new configuration that differs in one thing; at least `least` members stay.
    fn change_plant(&mut self, chance: &mut Chance, names: &mut u32, least: usize) {
        let lot = chance.below(self.plant.members.len() as u32) as usize;
        match chance.below(6) {
            0 | 1 => self.plant.members[lot].weight = 1 + chance.below(4),
            2 => self.plant.members[lot].release += 1,
            3 if self.plant.members.len() < 7 => {
                *names += 1;
                let node = 1 + chance.below(self.plant.nodes as u32) as usize;
                let is_external = chance.percent(20);
                let name = format!("shop-{names}");
                self.plant.add(&name, node, 1 + chance.below(4), is_external);
                if is_external {
                    self.start_external(&name);
                }
            }
            4 if self.plant.members.len() > least.max(1) => {
                self.plant.members.remove(lot);
            }
            _ => {
                self.plant.policy = match self.plant.policy {
                    Policy::RoundRobin => Policy::Random,
                    Policy::Random => Policy::Auto,
                    Policy::Auto => Policy::LeastOutstanding,
                    Policy::LeastOutstanding => Policy::Hash,
                    Policy::Hash => Policy::RoundRobin,
                };
            }
        }
        self.tell(|| "a new configuration is applied".into());
        self.apply();
    }

    /// What an operator does on a working day: never without another member that serves.
    fn work(&mut self, chance: &mut Chance, names: &mut u32) {
        let name = self.some_member(chance);
        let is_up = |name: &str| {
            let view = self.manager.view().expect("the manager of planned work lives");
            view.members.iter().any(|member| member.name.0 == name && member.state == RunState::Up)
        };
        let others_up =
            self.plant.members.iter().filter(|member| member.name != name && is_up(&member.name)).count();
        let up = others_up + usize::from(is_up(&name));
        match chance.below(8) {
            0 => self.operate(None, Act::Restart),
            1 if others_up > 0 => self.operate(Some(&name), Act::Restart),
            2 if others_up > 1 => self.operate(Some(&name), Act::Stop),
            3 if others_up > 1 => self.operate(Some(&name), Act::Drain),
            // A new release of the only one that serves would stop the service, as asked for.
            4 if up > 1 => self.change_plant(chance, names, if up > 2 { 2 } else { usize::MAX }),
            5 => {
                // A network is never even; well within the time that a stop waits for routers.
                let peer = self.some_peer(chance);
                let pause_ms = u64::from(chance.below(300));
                self.tell(|| format!("the link of {peer} stalls for {pause_ms} ms"));
                self.stall(&peer, pause_ms);
            }
            6 => {
                let service_ms = 1 + u64::from(chance.below(80));
                if let Some(process) = self.process_of(&name) {
                    self.processes.get_mut(&process).expect("its number was just found").service_ms =
                        service_ms;
                }
            }
            _ => self.operate(None, Act::Start),
        }
    }

    /// From now on everything works, and everything is wanted to run. A process that hangs goes on to hang if it has an
    /// agent, which must replace it; says how many those are.
    fn end_faults(&mut self) -> u64 {
        self.tell(|| "all faults end".into());
        self.manager.dies_after = None;
        self.start_manager();
        self.conducts.clear();
        self.splits.clear();
        let peers: Vec<Peer> = self.links.keys().cloned().collect();
        for peer in &peers {
            self.heal(peer);
            self.stall(peer, 0);
        }
        let nodes: Vec<NodeName> = self.nodes.keys().cloned().collect();
        nodes.iter().for_each(|node| self.start_agent(node));
        let mut left_hung = 0;
        for process in self.processes.keys().copied().collect::<Vec<_>>() {
            if self.processes[&process].is_external() {
                self.set_hung(process, false);
            }
            left_hung += u64::from(self.processes[&process].is_hung);
            if self.processes[&process].never_listens() {
                self.exit(process, "exited with status 1");
                continue;
            }
            self.processes.get_mut(&process).expect("its key was just read").service_ms = HEALTHY.service_ms;
        }
        let external: Vec<String> = self
            .plant
            .members
            .iter()
            .filter(|member| member.is_external)
            .map(|member| member.name.clone())
            .collect();
        external.iter().for_each(|name| self.start_external(name));
        // Once the manager knows again what has failed: what was sent on a stalled link is still under way.
        self.run_until(self.now + STALL_MAX_MS + 1_000);
        self.operate(None, Act::Start);
        left_hung
    }
}

//! A node: its agent's shell, and the processes that the agent starts. Processes are healthy, slow, hung or dead.
//!
//! As the real ones: an exit is news at once, a port stays with its member, and no process outlives its agent.

use crate::link::Peer;
use crate::plant::{CLUSTER, Plant};
use crate::world::{Event, World};
use logic::agent::{Agent, Input, Output};
use logic::machine::Machine;
use logic::probe::ProbeAnswer;
use logic::supervision::StartNumber;
use logic::time::Time;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use wire::agent::Assignment;
use wire::id::{MemberId, NodeName};
use wire::link::{FromManager, ToManager};

/// A process, for the whole simulation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ProcessNumber(pub u32);

#[derive(Debug, Default)]
pub(crate) struct Node {
    pub agent: Option<Agent>,
    pub incarnation: u64,
    /// The agent's file.
    remembered: Option<(u64, Vec<Assignment>)>,
    armed: Option<Time>,
    ports: BTreeMap<MemberId, u16>,
    /// Told to stop before their process was there.
    stopped_early: BTreeSet<StartNumber>,
}

/// How the next process of a member behaves.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Conduct {
    /// From its start until it listens.
    pub ready_ms: u64,
    pub service_ms: u64,
    pub start: StartConduct,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StartConduct {
    Listens,
    /// Exits with status 1 when it should listen.
    Exits,
    /// There is no such program.
    Missing,
}

/// A healthy application.
pub(crate) const HEALTHY: Conduct = Conduct { ready_ms: 60, service_ms: 5, start: StartConduct::Listens };

/// From the stop signal to the exit of a process that obeys it. It drops what it has: nobody may rely on more.
const STOP_MS: u64 = 1;

#[derive(Debug)]
pub(crate) struct Process {
    pub member: MemberId,
    pub address: SocketAddr,
    /// None: it runs elsewhere, started by nobody that we know.
    owner: Option<(NodeName, u64, StartNumber)>,
    ready_at: Time,
    pub service_ms: u64,
    pub is_hung: bool,
    /// It was asked to stop; a hung one will hear of it when it wakes up.
    is_stopping: bool,
    /// Attempts that wait for it to wake up.
    pub held: Vec<u64>,
}

impl Process {
    /// Whether it accepts connections. A hung one does: the kernel accepts for it.
    pub fn listens(&self, now: Time) -> bool {
        self.ready_at <= now
    }

    pub fn never_listens(&self) -> bool {
        self.ready_at == Time(u64::MAX)
    }

    pub fn is_external(&self) -> bool {
        self.owner.is_none()
    }
}

impl World {
    pub(crate) fn start_agent(&mut self, name: &NodeName) {
        let now = self.now;
        let node = self.nodes.get_mut(name).expect("nodes stay");
        if node.agent.is_some() {
            return;
        }
        node.incarnation += 1;
        node.agent = Some(Agent::new(now, name.clone(), node.incarnation, node.remembered.clone()));
        let incarnation = node.incarnation;
        self.tell(|| format!("{name}: agent starts, incarnation {incarnation}"));
        self.add_link(Peer::Agent(name.clone()));
        self.arm_agent(name);
    }

    /// The agent is gone, and every process of it.
    pub(crate) fn kill_agent(&mut self, name: &NodeName) {
        let node = self.nodes.get_mut(name).expect("nodes stay");
        if node.agent.take().is_none() {
            return;
        }
        node.armed = None;
        node.stopped_early.clear();
        self.tell(|| format!("{name}: agent is killed"));
        self.close_at_role(&Peer::Agent(name.clone()));
        let own = |process: &Process| process.owner.as_ref().is_some_and(|(node, _, _)| node == name);
        let processes: Vec<_> =
            self.processes.iter().filter(|(_, process)| own(process)).map(|(number, _)| *number).collect();
        for process in processes {
            self.exit(process, "died with its agent");
        }
    }

    pub(crate) fn agent_hears(&mut self, node: &NodeName, message: FromManager) {
        match message {
            FromManager::Welcome { .. } => self.agent_takes(node, Input::Connected),
            FromManager::Assignments { generation, assignments } => {
                self.agent_takes(node, Input::Assign { generation, assignments });
            }
            FromManager::Refused { .. }
            | FromManager::NotLeader { .. }
            | FromManager::Groups { .. }
            | FromManager::Settings { .. }
            | FromManager::Views(_)
            | FromManager::Changes(_)
            | FromManager::Clusters { .. }
            | FromManager::Monitors { .. }
            | FromManager::Placed(_)
            | FromManager::Carry { .. }
            | FromManager::Power { .. }
            | FromManager::KeepAlive => unreachable!("not for agents or not in one process"),
        }
    }

    pub(crate) fn on_agent_news(&mut self, node: &NodeName, incarnation: u64, news: Input) {
        if self.nodes[node].incarnation == incarnation {
            self.agent_takes(node, news);
        }
    }

    pub(crate) fn wake_agent(&mut self, name: &NodeName) {
        let node = self.nodes.get_mut(name).expect("nodes stay");
        node.armed = None;
        let Some(wake_at) = node.agent.as_ref().and_then(Agent::wake_at) else { return };
        if wake_at <= self.now {
            self.agent_takes(name, Agent::tick());
            let wake_at = self.nodes[name].agent.as_ref().and_then(Agent::wake_at);
            assert!(wake_at.is_none_or(|at| at > self.now), "the agent wants to be woken again at once");
        } else {
            self.arm_agent(name);
        }
    }

    fn arm_agent(&mut self, name: &NodeName) {
        let node = self.nodes.get_mut(name).expect("nodes stay");
        if let Some(at) = node.agent.as_ref().and_then(Agent::wake_at)
            && node.armed.is_none_or(|armed| at < armed)
        {
            node.armed = Some(at);
            self.at(at, Event::WakeAgent { node: name.clone() });
        }
    }

    fn agent_takes(&mut self, name: &NodeName, input: Input) {
        let now = self.now;
        let Some(agent) = &mut self.nodes.get_mut(name).expect("nodes stay").agent else { return };
        let outputs = agent.step(now, input);
        agent.check();
        for output in outputs {
            self.carry_out_at(name, output);
        }
        self.arm_agent(name);
    }

    fn carry_out_at(&mut self, name: &NodeName, output: Output) {
        let node = self.nodes.get_mut(name).expect("nodes stay");
        let incarnation = node.incarnation;
        match output {
            Output::Start { id, start, clone_id, .. } => {
                let pause_ms = self.some_ms(1, 4);
                self.after(pause_ms, Event::Spawn { node: name.clone(), incarnation, id, start, clone_id });
            }
            Output::Stop { id, start, .. } => self.signal_stop(name, &id, start),
            Output::Kill { start, id } => {
                if let Some(process) = self.process_of_start(&id, start) {
                    self.exit(process, "was killed by SIGKILL");
                }
            }
            Output::Probe { id, probe, address, timeout_ms, .. } => {
                let (pause_ms, answer) = self.probe(address, timeout_ms);
                let news = Input::Probed { id, probe, answer };
                self.after(pause_ms, Event::AgentNews { node: name.clone(), incarnation, news });
            }
            Output::Report(report) => {
                self.send_to_manager(&Peer::Agent(name.clone()), ToManager::Agent(report));
            }
            Output::Remember { generation, assignments } => node.remembered = Some((generation, assignments)),
            Output::Refused { generation, newest } => {
                self.tell(|| format!("{name}: refuses generation {generation}, obeys {newest}"));
            }
            Output::Tell { id, text, .. } => self.tell(|| format!("{name}: {} {text}", id.member)),
            Output::Finished => unreachable!("no agent of the simulation is asked to end"),
        }
    }

    pub(crate) fn on_spawn(
        &mut self,
        name: &NodeName,
        incarnation: u64,
        id: MemberId,
        start: StartNumber,
        clone_id: String,
    ) {
        let conduct = self.conducts.get(&id).copied().unwrap_or(HEALTHY);
        let node = self.nodes.get_mut(name).expect("nodes stay");
        if node.incarnation != incarnation || node.agent.is_none() {
            return;
        }
        if conduct.start == StartConduct::Missing {
            let why = "could not start application: no such file".into();
            self.agent_takes(name, Input::StartFailed { id, start, why });
            return;
        }
        assert_eq!(clone_id, format!("c{}", id.member), "a process is told its own clone id");
        let free = 8_001 + node.ports.len() as u16;
        let port = *node.ports.entry(id.clone()).or_insert(free);
        let number = name.0.bytes().last().map_or(0, |digit| digit - b'0');
        let address = SocketAddr::from(([10, 0, 0, number], port));
        let is_stopped_already = node.stopped_early.remove(&start);
        let owner = Some((name.clone(), incarnation, start));
        let process = self.add_process(id.clone(), address, owner, conduct);
        self.agent_takes(name, Input::Started { id: id.clone(), start, pid: process.0, address });
        if conduct.start == StartConduct::Exits {
            let cause = "exited with status 1".into();
            self.after(conduct.ready_ms, Event::Exit { process, cause });
        }
        if is_stopped_already {
            self.signal_stop(name, &id, start);
        }
    }

    fn add_process(
        &mut self,
        member: MemberId,
        address: SocketAddr,
        owner: Option<(NodeName, u64, StartNumber)>,
        conduct: Conduct,
    ) -> ProcessNumber {
        let is_second =
            self.processes.values().any(|process| process.member == member && process.address == address);
        assert!(!is_second, "a second process of {member} starts while the first is there");
        self.processes_so_far += 1;
        let number = ProcessNumber(100 + self.processes_so_far);
        let ready_ms = match conduct.start {
            StartConduct::Listens => conduct.ready_ms,
            StartConduct::Exits | StartConduct::Missing => u64::MAX,
        };
        self.processes.insert(
            number,
            Process {
                member,
                address,
                owner,
                ready_at: self.now + ready_ms,
                service_ms: conduct.service_ms,
                is_hung: false,
                is_stopping: false,
                held: Vec::new(),
            },
        );
        number
    }

    /// Somebody else starts an external member.
    pub(crate) fn start_external(&mut self, name: &str) {
        let id = Plant::member_id(name);
        if !self.processes.values().any(|process| process.member == id) {
            self.add_process(id, Plant::external_address(name), None, HEALTHY);
        }
    }

    fn process_of_start(&self, id: &MemberId, start: StartNumber) -> Option<ProcessNumber> {
        let mut own = self.processes.iter().filter(|(_, process)| process.member == *id);
        own.find(|(_, process)| process.owner.as_ref().is_some_and(|(_, _, own)| *own == start))
            .map(|(number, _)| *number)
    }

    /// A process of the member, if it has one.
    pub(crate) fn process_of(&self, name: &str) -> Option<ProcessNumber> {
        let id = MemberId::new(CLUSTER, name);
        self.processes.iter().find(|(_, process)| process.member == id).map(|(number, _)| *number)
    }

    pub(crate) fn process_at(&self, address: SocketAddr) -> Option<(ProcessNumber, &Process)> {
        let mut there = self.processes.iter().filter(|(_, process)| process.address == address);
        there.next().map(|(number, process)| (*number, process))
    }

    fn signal_stop(&mut self, node: &NodeName, id: &MemberId, start: StartNumber) {
        let Some(number) = self.process_of_start(id, start) else {
            self.nodes.get_mut(node).expect("nodes stay").stopped_early.insert(start);
            return;
        };
        let process = self.processes.get_mut(&number).expect("its number was just found");
        process.is_stopping = true;
        if !process.is_hung {
            self.after(STOP_MS, Event::Exit { process: number, cause: "exited with status 0".into() });
        }
    }

    pub(crate) fn set_hung(&mut self, number: ProcessNumber, is_hung: bool) {
        let Some(process) = self.processes.get_mut(&number) else { return };
        process.is_hung = is_hung;
        if is_hung {
            return;
        }
        let held = std::mem::take(&mut process.held);
        let service_ms = process.service_ms;
        if process.is_stopping {
            self.after(STOP_MS, Event::Exit { process: number, cause: "exited with status 0".into() });
        }
        for attempt in held {
            self.after(service_ms, Event::Reply { attempt });
        }
    }

    /// When a probe that is sent now is answered, and how.
    fn probe(&mut self, address: SocketAddr, timeout_ms: u64) -> (u64, ProbeAnswer) {
        let bad = |why: &str| ProbeAnswer::Bad { why: why.into() };
        let delay_ms = self.some_ms(1, 3);
        match self.process_at(address) {
            Some((_, process)) if !process.listens(self.now) => (delay_ms, bad("connection refused")),
            Some((_, process)) if process.is_hung || process.service_ms + delay_ms > timeout_ms => {
                (timeout_ms, bad(&format!("no answer within {timeout_ms} ms")))
            }
            Some((_, process)) => (delay_ms + process.service_ms, ProbeAnswer::Good),
            None => (delay_ms, bad("connection refused")),
        }
    }

    /// The process is gone, for whatever cause; its connections break.
    pub(crate) fn exit(&mut self, number: ProcessNumber, cause: &str) {
        let Some(process) = self.processes.remove(&number) else { return };
        self.connections_break(number);
        let Some((node, incarnation, start)) = process.owner else {
            self.tell(|| format!("{} {cause}", process.member.member));
            return;
        };
        let news = Input::Exited { id: process.member, start, status: cause.into(), last_line: None };
        self.after(1, Event::AgentNews { node, incarnation, news });
    }
}

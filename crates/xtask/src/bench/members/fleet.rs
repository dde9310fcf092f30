//! The agents of all machines, on one thread: heartbeats, reports and links as real ones have them, and members that
//! only their reports know of.

use super::link::Link;
use crate::bench::heartbeats::from_hex;
use crate::failure::{Doing, Failure, Outcome};
use ring::hmac;
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use wire::agent::{MemberReport, ProbeState, ProcessState, Report, Run};
use wire::heartbeat::{Code, Datagram, HeartbeatSettings, Kind, Parsed, SIZE_MAX_BYTES};
use wire::id::{ManagerNumber, MemberName, NodeName, NodeNumber, TermNumber};
use wire::link::{FromManager, ToManager};

/// As `logic::limits` has them.
const REPORT_EVERY: Duration = Duration::from_secs(1);
const BEAT_EVERY: Duration = Duration::from_millis(150);
/// Pause of the thread that is all agents.
const TURN: Duration = Duration::from_millis(2);
/// How often each link is looked at.
const LISTEN_EVERY: Duration = Duration::from_millis(100);

struct Agent {
    node: NodeName,
    link: Link,
    /// Once the manager has said how to send heartbeats.
    beat: Option<Beat>,
    report: Report,
    report_at: Instant,
    listen_at: Instant,
    heard_at: Instant,
    is_silent: bool,
}

struct Beat {
    settings: HeartbeatSettings,
    key: hmac::Key,
    to: SocketAddr,
    manager: ManagerNumber,
    due: Instant,
    every: Duration,
    sequence: u64,
    run: u64,
}

/// A member whose probe began to fail, as its agent found.
#[derive(Debug, Clone)]
pub struct Fall {
    pub member: MemberName,
    pub at: Instant,
}

pub struct Fleet {
    agents: Vec<Agent>,
    by_number: BTreeMap<NodeNumber, usize>,
    socket: UdpSocket,
    pub beats: u64,
    pub answers: u64,
    pub falls: Vec<Fall>,
}

impl Fleet {
    pub fn new(links: Vec<(NodeName, Link)>) -> Outcome<Self> {
        let socket = UdpSocket::bind("127.0.0.1:0").doing("open a socket")?;
        socket.set_nonblocking(true).doing("open a socket")?;
        let (now, count) = (Instant::now(), links.len() as u32);
        let incarnation = SystemTime::now().duration_since(UNIX_EPOCH).doing("read the clock")?;
        let agents = links.into_iter().enumerate().map(|(place, (node, link))| Agent {
            report: Report {
                node: node.clone(),
                incarnation: incarnation.as_micros() as u64,
                sequence: 0,
                members: Vec::new(),
                manager_heard_ms: None,
                clock_ms: None,
                certificate_until_ms: None,
            },
            node,
            link,
            beat: None,
            // Machines do not all speak at once.
            report_at: now + REPORT_EVERY * place as u32 / count,
            listen_at: now,
            heard_at: now,
            is_silent: false,
        });
        let (by_number, falls) = (BTreeMap::new(), Vec::new());
        Ok(Self { agents: agents.collect(), by_number, socket, beats: 0, answers: 0, falls })
    }

    /// Whether every agent knows its members and how to send heartbeats.
    pub fn is_ready(&self) -> bool {
        self.agents.iter().all(|agent| agent.beat.is_some() && !agent.report.members.is_empty())
    }

    /// All agents until then. Every so often another member's probe begins to fail.
    pub fn run(&mut self, until: Instant, fall_every: Option<Duration>) -> Outcome<()> {
        let mut fall_at = fall_every.map(|every| Instant::now() + every);
        while Instant::now() < until {
            let now = Instant::now();
            self.send_beats(now)?;
            self.take_answers();
            self.serve_links(now)?;
            if let (Some(at), Some(every)) = (fall_at, fall_every)
                && at <= now
            {
                fall_at = Some(at + every);
                self.fall()?;
            }
            std::thread::sleep(TURN);
        }
        Ok(())
    }

    fn send_beats(&mut self, now: Instant) -> Outcome<()> {
        for agent in self.agents.iter_mut().filter(|agent| !agent.is_silent) {
            let Some(beat) = agent.beat.as_mut().filter(|beat| beat.due <= now) else { continue };
            beat.due = (beat.due + beat.every).max(now);
            beat.sequence += 1;
            match self.socket.send_to(&beat.datagram(agent.report.incarnation), beat.to) {
                Ok(_) => self.beats += 1,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(Failure(format!("cannot send a heartbeat: {error}"))),
            }
        }
        Ok(())
    }

    /// Answers are believed here: nobody else sends any, and to prove them would only cost this process.
    fn take_answers(&mut self) {
        let mut buffer = [0; SIZE_MAX_BYTES];
        while let Ok(length) = self.socket.recv(&mut buffer) {
            let Ok(Parsed { datagram, .. }) = Parsed::parse(&buffer[..length]) else { continue };
            let agent = self.by_number.get(&datagram.node).map(|place| &mut self.agents[*place]);
            if let Some(beat) = agent.and_then(|agent| agent.beat.as_mut()) {
                beat.run = datagram.run;
                beat.every = Duration::from_millis(u64::from(datagram.interval_ms));
                self.answers += 1;
            }
        }
    }

    fn serve_links(&mut self, now: Instant) -> Outcome<()> {
        for (place, agent) in self.agents.iter_mut().enumerate().filter(|(_, agent)| !agent.is_silent) {
            if agent.listen_at <= now {
                agent.listen_at = now + LISTEN_EVERY;
                while let Some(body) = agent.link.take()? {
                    agent.hear(&body, now)?;
                }
                if let Some(beat) = &agent.beat {
                    self.by_number.insert(beat.settings.node, place);
                }
            }
            if agent.report_at <= now {
                agent.report(now)?;
            }
        }
        Ok(())
    }

    /// Another member of another machine each time.
    fn fall(&mut self) -> Outcome<()> {
        let (count, number) = (self.agents.len(), self.falls.len());
        let agent = &mut self.agents[number % count];
        let Some(member) = agent.report.members.get_mut(number / count) else { return Ok(()) };
        member.probe = ProbeState::Failing;
        member.reason = "its probe was answered with 503".into();
        self.falls.push(Fall { member: member.id.member.clone(), at: Instant::now() });
        agent.report(Instant::now())
    }

    /// These machines lose their power; how many members they had. Those that had fallen count: routers learn that such a
    /// one no longer only fails its probe.
    pub fn silence(&mut self, nodes: usize) -> usize {
        let gone = self.agents.iter_mut().rev().take(nodes);
        gone.map(|agent| {
            agent.is_silent = true;
            agent.report.members.len()
        })
        .sum()
    }
}

impl Agent {
    fn hear(&mut self, body: &[u8], now: Instant) -> Outcome<()> {
        self.heard_at = now;
        match serde_json::from_slice(body).doing("read a message of the manager")? {
            FromManager::Assignments { assignments, .. } => {
                let members = assignments.into_iter().map(|assignment| {
                    let address = match assignment.run {
                        Run::External { address } => Some(address),
                        Run::Managed(_) => None,
                    };
                    MemberReport {
                        id: assignment.id,
                        instance: assignment.instance,
                        process: ProcessState::External,
                        probe: ProbeState::Passing,
                        address,
                        restarts: 0,
                        reason: "passes its probe".into(),
                    }
                });
                self.report.members = members.collect();
                self.report(now)?;
            }
            FromManager::Placed(placed) => {
                if let Some(settings) = placed.heartbeats {
                    self.beat = Some(Beat::new(*settings, now)?);
                }
            }
            // There are none of either here.
            FromManager::Groups { .. } | FromManager::Monitors { .. } => {}
            FromManager::KeepAlive => {}
            other => return Err(Failure(format!("the agent of {} is told {other:?}", self.node))),
        }
        Ok(())
    }

    fn report(&mut self, now: Instant) -> Outcome<()> {
        self.report_at = now + REPORT_EVERY;
        self.report.sequence += 1;
        self.report.manager_heard_ms = Some((now - self.heard_at).as_millis() as u64);
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).doing("read the clock")?;
        self.report.clock_ms = Some(unix.as_millis() as u64);
        self.link.send(&ToManager::Agent(self.report.clone()))
    }
}

impl Beat {
    fn new(settings: HeartbeatSettings, now: Instant) -> Outcome<Self> {
        let secret = from_hex(&settings.key.0);
        let to = settings.managers.first().map(|manager| (manager.number, manager.address));
        let (manager, to) = to.ok_or_else(|| Failure("heartbeats have nowhere to go".into()))?;
        let number = u64::from(settings.node.0);
        Ok(Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, &secret),
            settings,
            to,
            manager,
            // Machines do not all speak at once.
            due: now + BEAT_EVERY * (number % 50) as u32 / 50,
            every: BEAT_EVERY,
            sequence: 0,
            run: 0,
        })
    }

    fn datagram(&self, incarnation: u64) -> Vec<u8> {
        let datagram = Datagram {
            kind: Kind::Heartbeat { is_deaf: false },
            cell: self.settings.cell,
            node: self.settings.node,
            manager: self.manager,
            interval_ms: self.every.as_millis() as u16,
            incarnation,
            sequence: self.sequence,
            term: TermNumber(0),
            epochs: 0,
            boot: 1,
            run: self.run,
        };
        let code = |signed: &[u8]| -> Code {
            let tag = hmac::sign(&self.key, signed);
            *tag.as_ref().first_chunk().expect("HMAC with SHA-256 has 32 bytes")
        };
        datagram.bytes(code).to_vec()
    }
}

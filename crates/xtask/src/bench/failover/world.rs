//! Four hosts on one Ethernet: a manager, two that an address goes between, and a client; and what happens to them.
//!
//! All systems run on them at the same time, each with an address of its own, so that one fault meets all of them. Each is
//! at home on `ONE`, which is where faults happen.

use super::client::{Asker, Client};
use super::system::System;
use super::{keepalived, muster, pacemaker};
use crate::failure::{Doing, Failure, Outcome};
use lab::host::Program;
use lab::hosts::Hosts;
use lab::lan::Deaf;
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub const BOSS: &str = "boss";
pub const ONE: &str = "one";
pub const TWO: &str = "two";
pub const CLIENT: &str = "client";
const HOSTS: [&str; 4] = [BOSS, ONE, TWO, CLIENT];

/// Where the service answers that is on both hosts all the time, so that only the address goes.
pub const SERVICE_PORT: u16 = 7000;
/// How often a client asks.
pub const ASK_EVERY: Duration = Duration::from_millis(5);
/// Longest wait for all to be at home again. Pacemaker takes half a minute after a crash.
const HOME_TIME_MAX: Duration = Duration::from_secs(120);
/// Longest wait for a program that ends in good order.
const END_TIME_MAX: Duration = Duration::from_secs(20);
/// How long all must have been at home until that is believed.
const HOME_FOR: Duration = Duration::from_millis(1_500);
/// Pause between two looks while nothing is measured.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// An address that was answered for within this time is there.
const ANSWERED_WITHIN: Duration = Duration::from_millis(50);

/// What happens to the host that has the addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// Nothing gets through its cable any more; its link stays up.
    Cut,
    /// All that runs on it stops at once, and its kernel goes on.
    Freeze,
    /// All that runs on it is killed, and its kernel goes on.
    Kill,
    /// It and the other hosts do not hear each other; clients hear all of them.
    Part,
}

pub const FAULTS: [Fault; 4] = [Fault::Cut, Fault::Freeze, Fault::Kill, Fault::Part];

impl Fault {
    pub fn text(self) -> &'static str {
        match self {
            Fault::Cut => "node lost: its cable is cut",
            Fault::Freeze => "node lost: all on it is frozen",
            Fault::Kill => "node lost: all on it is killed with -9",
            Fault::Part => "the hosts do not hear each other, clients hear both",
        }
    }

    /// Whether clients see it.
    pub fn has_outage(self) -> bool {
        match self {
            Fault::Cut | Fault::Freeze | Fault::Kill => true,
            Fault::Part => false,
        }
    }
}

pub struct World {
    /// First, so that the clients do not see the others go.
    clients: BTreeMap<System, Client>,
    pub asker: Asker,
    programs: BTreeMap<(&'static str, &'static str), Program>,
    pub hosts: Hosts,
    pub systems: Vec<System>,
    /// This program, as a host's service.
    tool: PathBuf,
}

impl World {
    /// Brings all up, and waits until all are at home. `tables`: more of Muster's configuration.
    pub fn start(systems: &[System], directory: &Path, program: &Path, tables: &str) -> Outcome<Self> {
        let hosts = Hosts::new(directory, &HOSTS, program, true).doing("bring up the hosts")?;
        hosts.connect_by_lan().doing("connect the hosts")?;
        let host = |name| hosts.get(name).doing("find a host");
        let addresses = systems.iter().map(|system| system.address()).collect();
        let asker = Asker::start(host(BOSS)?, addresses, ASK_EVERY);
        let client = |system: &System| -> Outcome<_> {
            let address = SocketAddr::from((system.address(), SERVICE_PORT));
            Ok((*system, Client::start(host(CLIENT)?, address, ASK_EVERY)))
        };
        let clients = systems.iter().map(client).collect::<Outcome<_>>()?;
        let tool = std::env::current_exe().doing("find this program")?;
        let mut world =
            Self { clients, asker, programs: BTreeMap::new(), hosts, systems: systems.to_vec(), tool };
        if let Err(failure) = world.set_up(tables) {
            world.hosts.keep_directory();
            return Err(Failure(format!("{failure}\nkept for a look: {}", directory.display())));
        }
        Ok(world)
    }

    fn set_up(&mut self, tables: &str) -> Outcome<()> {
        if self.has(System::Pacemaker) {
            pacemaker::prepare(&self.hosts)?;
        }
        if self.has(System::Keepalived) || self.has(System::KeepalivedQuick) {
            keepalived::prepare(&self.hosts)?;
        }
        if self.has(System::Muster) {
            muster::set_up(self, tables)?;
        }
        [ONE, TWO].into_iter().try_for_each(|name| self.start_all(name))?;
        if self.has(System::Pacemaker) {
            pacemaker::configure(&self.hosts)?;
        }
        self.wait_until_home()
    }

    pub fn has(&self, system: System) -> bool {
        self.systems.contains(&system)
    }

    pub fn client(&self, system: System) -> &Client {
        &self.clients[&system]
    }

    /// The words that start the service at these addresses.
    pub fn service(&self, addresses: &[SocketAddr]) -> Vec<String> {
        let mut words: Vec<String> = vec![self.tool.display().to_string()];
        words.extend(["bench", "failover", "--answer"].map(str::to_owned));
        words.extend(addresses.iter().map(SocketAddr::to_string));
        words
    }

    /// Starts a program on a host, unless it runs.
    pub fn start_on(&mut self, host: &'static str, name: &'static str, words: &[String]) -> Outcome<()> {
        let key = (host, name);
        if self.programs.get_mut(&key).is_some_and(|program| !program.has_ended()) {
            return Ok(());
        }
        let place = self.hosts.get(host).doing("find a host")?;
        let program = place.start(name, words).doing(format_args!("start {name} on {host}"))?;
        self.programs.insert(key, program);
        Ok(())
    }

    /// Waits until a program has ended that was told to.
    pub fn wait_for_end(&mut self, host: &'static str, name: &'static str) -> Outcome<()> {
        match self.programs.get_mut(&(host, name)) {
            Some(program) => program.wait(END_TIME_MAX).doing(format_args!("see {name} end on {host}")),
            None => Ok(()),
        }
    }

    /// Starts what does not run of all that belongs on a host.
    pub fn start_all(&mut self, host: &'static str) -> Outcome<()> {
        if host == BOSS {
            return muster::start_manager(self);
        }
        let addresses: Vec<SocketAddr> =
            self.systems.iter().map(|system| SocketAddr::from((system.address(), SERVICE_PORT))).collect();
        let service = self.service(&addresses);
        self.start_on(host, "service", &service)?;
        if self.has(System::Muster) {
            self.start_on(host, "muster", &["muster", "run"].map(str::to_owned))?;
        }
        if self.has(System::Keepalived) || self.has(System::KeepalivedQuick) {
            self.start_on(host, "keepalived", &keepalived::command())?;
        }
        if self.has(System::Pacemaker) {
            for (name, words) in pacemaker::commands() {
                self.start_on(host, name, &words)?;
            }
        }
        Ok(())
    }

    /// Whether a host has a system's address.
    pub fn is_at(&self, host: &str, system: System) -> Outcome<bool> {
        let shown = self.hosts.must(host, &format!("ip -o -4 address show dev {}", lab::lan::INTERFACE));
        let shown = shown.doing("see a host's addresses")?;
        Ok(shown.contains(&format!(" {}/", system.address())))
    }

    fn is_home(&self, system: System) -> Outcome<bool> {
        let is_there = self.is_at(ONE, system)? && !self.is_at(TWO, system)?;
        if !is_there || self.client(system).silence() > ANSWERED_WITHIN {
            return Ok(false);
        }
        match system {
            System::Muster => muster::is_whole(&self.hosts),
            System::Keepalived | System::KeepalivedQuick => Ok(true),
            System::Pacemaker => pacemaker::is_whole(&self.hosts),
        }
    }

    /// Until every system could lose its host as if nothing had happened yet.
    pub fn wait_until_home(&mut self) -> Outcome<()> {
        let started = Instant::now();
        let mut home_since = None;
        loop {
            let mut away = Vec::new();
            for system in self.systems.clone() {
                if !self.is_home(system)? {
                    away.push(system.text());
                    if system == System::Muster {
                        muster::bring_home(self)?;
                    }
                }
            }
            let since = *home_since.get_or_insert_with(Instant::now);
            match away.is_empty() {
                true if since.elapsed() >= HOME_FOR => return Ok(()),
                true => {}
                false => home_since = None,
            }
            if started.elapsed() > HOME_TIME_MAX {
                return Err(Failure(format!(
                    "not at home within {} s: {}",
                    HOME_TIME_MAX.as_secs(),
                    away.join(", ")
                )));
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    pub fn inflict(&self, fault: Fault) -> Outcome<()> {
        let one = self.hosts.get(ONE).doing("find a host")?;
        match fault {
            Fault::Cut => self.hosts.cut_lan(ONE).doing("cut a cable"),
            Fault::Freeze => {
                one.signal_all(Signal::STOP);
                Ok(())
            }
            Fault::Kill => one.run(&["sh", "-c", "kill -9 -1"]).map(drop).doing("kill all of a host"),
            Fault::Part => self.hosts.part_lan(ONE, &[BOSS, TWO], Deaf::Both).doing("part hosts"),
        }
    }

    pub fn mend(&mut self, fault: Fault) -> Outcome<()> {
        match fault {
            Fault::Cut => self.hosts.join_lan(ONE).doing("mend a cable"),
            Fault::Freeze => {
                self.hosts.get(ONE).doing("find a host")?.signal_all(Signal::CONT);
                Ok(())
            }
            Fault::Kill => Ok(()),
            Fault::Part => self.hosts.reunite_lan(ONE).doing("reunite hosts"),
        }?;
        self.start_all(ONE)
    }
}

/// Waits until somebody else answers; None: nobody does in time.
pub fn taken_over(client: &Client, most: Duration) -> Option<Duration> {
    wait_for(most, || client.change().filter(|_| client.silence() < ANSWERED_WITHIN))
}

/// Waits until the same one answers again after a silence; None: it does not in time.
pub fn answered_again(client: &Client, most: Duration) -> Option<Duration> {
    let outage = || Some(client.outage()).filter(|outage| *outage > 2 * ANSWERED_WITHIN);
    wait_for(most, || outage().filter(|_| client.silence() < ANSWERED_WITHIN))
}

fn wait_for(most: Duration, look: impl Fn() -> Option<Duration>) -> Option<Duration> {
    let started = Instant::now();
    loop {
        match look() {
            Some(found) => return Some(found),
            None if started.elapsed() >= most => return None,
            None => std::thread::sleep(ASK_EVERY),
        }
    }
}

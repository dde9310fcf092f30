//! Three machines with a manager each: the guide word by word, leaders that are killed and paused, a store that goes away and
//! one that is put back from a backup. Routers serve throughout.
//!
//! Each host is a network namespace of the test's own. Needs root.

mod support;

use rustix::process::Signal;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use support::guide::{self, Guide};
use support::hosts::Hosts;
use support::stores::{Kind, PASSWORD, StoreServer};
use support::{Running, Scratch, wait_at_most, wait_for};
use wire::status::{CellStatus, ErrorBody, LeaderStatus};

const MANAGERS: [&str; 3] = ["web-1", "web-2", "web-3"];
/// Where the store is.
const STORE: &str = "store";
/// From the loss of a leader to the next one. Two seconds are promised; a busy test machine may need as much again.
const NEXT_LEADER_MAX: Duration = Duration::from_secs(4);

/// Requests to the router of a host, one after the other, with what became of each.
struct Load {
    host: &'static str,
    log: PathBuf,
    /// What became of those before is nobody's fault: the machine was killed or paused.
    forgiven: usize,
    _process: Running,
}

impl Load {
    fn lines(&self) -> Vec<String> {
        let text = std::fs::read_to_string(&self.log).expect("curl writes it");
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        whole.lines().map(str::to_owned).collect()
    }
}

struct Cell {
    /// By manager; dropped before the hosts.
    running: Vec<Option<Running>>,
    loads: Vec<Load>,
    store: Option<Running>,
    server: StoreServer,
    hosts: Hosts,
}

fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is set");
    u64::try_from(now.as_millis()).expect("it fits for long")
}

fn index(host: &str) -> usize {
    MANAGERS.iter().position(|name| *name == host).expect("it is a manager's")
}

impl Cell {
    /// Follows the guide to its last command.
    fn follow_guide(scratch: &Scratch, kind: Kind) -> Self {
        let Guide { files, commands } = guide::read("several-managers.md", &MANAGERS);
        let hosts = Hosts::new(scratch, &[&MANAGERS[..], &[STORE]].concat());
        let port = if kind == Kind::Etcd { 2379 } else { 5432 };
        let server = StoreServer::prepare(scratch, kind, "10.0.0.4", port);
        let file = match kind {
            Kind::Etcd => files[0].clone(),
            Kind::Postgres => {
                let start = files[0].find("[store]").expect("the guide has a store");
                let end = start + files[0][start..].find("[nodes").expect("nodes follow");
                for host in MANAGERS {
                    let path = hosts.home(host).join("state/store-password");
                    std::fs::write(path, format!("{PASSWORD}\n")).expect("it can be written");
                }
                [&files[0][..start], &files[1], "\n", &files[0][end..]].concat()
            }
        };
        hosts.write("web-1", "muster.toml", &file);
        let (running, loads) = (vec![None, None, None], Vec::new());
        let mut cell = Self { running, loads, store: None, server, hosts };
        cell.start_store();
        let mut join = String::new();
        for (host, lines) in commands {
            lines.iter().for_each(|line| cell.follow(&host, line, &mut join));
        }
        cell
    }

    fn follow(&mut self, host: &str, line: &str, join: &mut String) {
        if let Some(started) = line.strip_suffix(" &") {
            self.running[index(host)] = Some(self.hosts.start(host, started));
            if host == "web-1" {
                wait_for("the first manager to lead", || self.try_status(host).map(drop));
            }
        } else if line.starts_with("muster node token") {
            self.hosts.must(host, line).trim().clone_into(join);
        } else if line.starts_with("muster join") {
            assert!(join.starts_with("muster join 10.0.0.1:29001 mj1."), "{join}");
            self.hosts.must(host, join);
        } else {
            self.hosts.must(host, line);
        }
    }

    fn start_store(&mut self) {
        let line = self.server.command().join(" ");
        self.store = Some(self.hosts.start(STORE, &line));
    }

    fn stop_store(&mut self) {
        let mut store = self.store.take().expect("it runs");
        store.signal(match self.server.kind {
            Kind::Postgres => Signal::INT,
            Kind::Etcd => Signal::TERM,
        });
        store.wait();
    }

    fn start(&mut self, host: &str) {
        let line = if host == "web-1" { "muster run --node web-1" } else { "muster run" };
        self.running[index(host)] = Some(self.hosts.start(host, line));
    }

    /// What the manager of a host says, if it leads.
    fn try_status(&self, host: &str) -> Result<CellStatus, String> {
        let api = "--api http://127.0.0.1:29003 --token-file /var/lib/muster/admin-token";
        let said = self.hosts.run(host, &format!("muster status --json {api}"));
        if said.code == Some(0) {
            return serde_json::from_str(&said.data).map_err(|error| format!("{error}: {said:?}"));
        }
        let refused: Result<ErrorBody, _> = serde_json::from_str(&said.data);
        Err(refused.map_or_else(|_| format!("{said:?}"), |body| format!("{} {}", body.code, body.message)))
    }

    /// The only one that leads, of these hosts.
    fn leader_of(&self, hosts: &[&'static str]) -> Result<(&'static str, CellStatus), String> {
        let statuses: Vec<_> = hosts.iter().map(|host| (*host, self.try_status(host))).collect();
        let leading: Vec<_> =
            statuses.iter().filter(|(_, status)| status.is_ok()).map(|(host, _)| *host).collect();
        assert!(leading.len() < 2, "{leading:?} lead at once");
        let mut refusals = Vec::new();
        for (host, status) in statuses {
            match status {
                Ok(status) => return Ok((host, status)),
                Err(refusal) => refusals.push(format!("{host}: {refusal}")),
            }
        }
        Err(refusals.join("; "))
    }

    fn wait_for_leader(&self, hosts: &[&'static str]) -> (&'static str, CellStatus, LeaderStatus) {
        let (host, status) = wait_for("a manager to lead", || self.leader_of(hosts));
        let leader = status.leader.clone().expect("there are several managers");
        assert_eq!(leader.node.0, host);
        (host, status, leader)
    }

    /// Waits until the leader has all agents and routers of these hosts.
    fn wait_until_whole(&self, hosts: &[&'static str]) -> CellStatus {
        wait_for(&format!("{hosts:?} to be connected with their routers"), || {
            let (_, status) = self.leader_of(hosts)?;
            let is_whole = |host: &&&str| {
                let node = status.nodes.iter().find(|node| node.node.0 == ***host);
                node.is_some_and(|node| {
                    node.connected && node.roles.iter().any(|role| role.starts_with("router"))
                })
            };
            match hosts.iter().filter(is_whole).count() == hosts.len() {
                true => Ok(status),
                false => Err(format!("{:?}", status.nodes)),
            }
        })
    }

    /// Waits until these managers say who leads in their place.
    fn wait_until_followed(&self, leader: &str, others: &[&str]) {
        for host in others {
            wait_for(&format!("{host} to follow {leader}"), || match self.try_status(host) {
                Err(refusal) if refusal.contains(&format!("that of node {leader}")) => Ok(()),
                other => Err(format!("{other:?}")),
            });
        }
    }

    fn load(&mut self, host: &'static str) {
        let script = "while true; do\n  curl --silent --output /dev/null --max-time 10 --write-out \
                      '%{http_code} %{errormsg}\\n' http://127.0.0.1:8080/healthz\n  sleep 0.05\ndone\n";
        self.hosts.write(host, "load.sh", script);
        let log = self.hosts.home(host).join("load.log");
        let process = self.hosts.start_beside(host, "sh load.sh", &log);
        self.loads.push(Load { host, log, forgiven: 0, _process: process });
    }

    /// How many requests of each host were answered; all that were not are told.
    fn answered(&self, hosts: &[&str]) -> Vec<usize> {
        let loads = self.loads.iter().filter(|load| hosts.contains(&load.host));
        let count = |load: &Load| {
            let lines = load.lines();
            let failed = lines.iter().enumerate().skip(load.forgiven);
            let failed: Vec<_> = failed.filter(|(_, line)| !line.starts_with("200")).collect();
            assert!(failed.is_empty(), "{}: {failed:?} of {}", load.host, lines.len());
            lines.len()
        };
        loads.map(count).collect()
    }

    /// The machine of a host serves again: from now on its requests count as well.
    fn forgive(&mut self, host: &str) {
        let load = self.loads.iter_mut().find(|load| load.host == host).expect("each host has one");
        wait_for("the router to answer again", || {
            let last = load.lines().pop().unwrap_or_default();
            if last.starts_with("200") { Ok(()) } else { Err(last) }
        });
        load.forgiven = load.lines().len();
    }

    /// That requests go on being answered on these hosts.
    fn wait_until_more_are_answered(&self, hosts: &[&str]) {
        let before = self.answered(hosts);
        wait_for("further answers", || {
            let now = self.answered(hosts);
            let is_more = now.iter().zip(&before).all(|(now, before)| now > &(before + 5));
            if is_more { Ok(()) } else { Err(format!("{now:?}")) }
        });
    }

    fn apply(&self, host: &str, drain_ms: u64) {
        let said = self.hosts.must("web-1", "cat muster.toml");
        let text = format!("{said}\n[clusters.shop]\ndrain_ms = {drain_ms}\n");
        self.hosts.write(host, "new.toml", &text);
        let api = "--api http://127.0.0.1:29003 --token-file /var/lib/muster/admin-token";
        self.hosts.must(host, &format!("muster apply new.toml {api}"));
    }

    fn signal(&self, host: &str, signal: Signal) {
        let process = self.running[index(host)].as_ref().expect("it runs");
        // What was started is the namespace's shell, which has become the program.
        process.signal(signal);
    }
}

fn others(of: &str) -> Vec<&'static str> {
    MANAGERS.into_iter().filter(|host| *host != of).collect()
}

fn lasts(kind: Kind) {
    let scratch = Scratch::new();
    let mut cell = Cell::follow_guide(&scratch, kind);
    let (first, _, _) = cell.wait_for_leader(&MANAGERS);
    assert_eq!(first, "web-1");
    cell.wait_until_whole(&MANAGERS);
    cell.wait_until_followed("web-1", &["web-2", "web-3"]);
    MANAGERS.into_iter().for_each(|host| cell.load(host));
    cell.wait_until_more_are_answered(&MANAGERS);
    cell.lose_the_store();
    cell.kill_the_leader();
    let generation = cell.pause_the_leader();
    cell.put_the_store_back(generation);
}

impl Cell {
    /// The store goes away, and is saved meanwhile.
    fn lose_the_store(&mut self) {
        self.stop_store();
        wait_for("nobody to lead", || match self.leader_of(&MANAGERS) {
            Ok((host, _)) => Err(host.to_owned()),
            Err(_) => Ok(()),
        });
        self.server.copy(&self.server.data(), &self.server.backup());
        self.wait_until_more_are_answered(&MANAGERS);
        self.start_store();
        let (leader, _, _) = self.wait_for_leader(&MANAGERS);
        self.wait_until_whole(&MANAGERS);
        self.apply(leader, 1_001);
    }

    /// Waits for a leader among the rest; tells how long that took.
    fn wait_for_the_next(
        &self,
        rest: &[&'static str],
        what: &str,
        since_ms: u64,
    ) -> (&'static str, CellStatus) {
        let (host, status) =
            wait_at_most(NEXT_LEADER_MAX, "another manager to lead", &mut || self.leader_of(rest));
        let led = status.leader.as_ref().expect("there are several managers");
        let kind = self.server.kind;
        eprintln!("{kind:?}: after {what} {host} leads after {} ms", led.since_ms.saturating_sub(since_ms));
        (host, status)
    }

    /// With all that runs on its machine.
    fn kill_the_leader(&mut self) {
        let (first, before, _) = self.wait_for_leader(&MANAGERS);
        let rest = others(first);
        let killed_ms = now_ms();
        self.signal(first, Signal::KILL);
        let (second, status) = self.wait_for_the_next(&rest, "a kill", killed_ms);
        assert!(status.generation > before.generation, "a generation is used once");
        assert_eq!(status.config_revision, 2, "what was applied is known");
        self.wait_until_whole(&rest);
        self.wait_until_more_are_answered(&rest);
        self.start(first);
        self.wait_until_followed(second, &[first]);
        self.wait_until_whole(&MANAGERS);
        self.apply(second, 1_002);
        self.forgive(first);
    }

    /// It goes on when another one leads, and must not act. Gives the generation of that one.
    fn pause_the_leader(&mut self) -> u64 {
        let (first, before, _) = self.wait_for_leader(&MANAGERS);
        let rest = others(first);
        let paused_ms = now_ms();
        self.signal(first, Signal::STOP);
        let (second, after) = self.wait_for_the_next(&rest, "a pause", paused_ms);
        assert!(after.generation > before.generation, "a generation is used once");
        self.wait_until_whole(&rest);
        self.signal(first, Signal::CONT);
        self.wait_until_followed(second, &[first]);
        let log = self.running[index(first)].as_ref().expect("it runs").log();
        assert!(log.contains("this manager leads no longer"), "{log}");
        let status = self.wait_until_whole(&MANAGERS);
        self.forgive(first);
        let who = |status: &CellStatus| (status.generation, status.leader.clone());
        assert_eq!(who(&status), who(&after), "it has done nothing");
        after.generation
    }

    /// Nobody goes back to what was, and the configuration of then can be changed again.
    fn put_the_store_back(&mut self, generation: u64) {
        self.stop_store();
        self.server.copy(&self.server.backup(), &self.server.data());
        self.start_store();
        let restored = wait_for("a generation above all that were", || {
            let (_, status) = self.leader_of(&MANAGERS)?;
            match status.generation > generation {
                true => Ok(status),
                false => Err(format!("generation {}", status.generation)),
            }
        });
        assert_eq!(restored.config_revision, 1, "the store is that of then");
        self.wait_until_whole(&MANAGERS);
        let (leader, _, _) = self.wait_for_leader(&MANAGERS);
        self.apply(leader, 1_003);
        self.wait_until_more_are_answered(&MANAGERS);
    }
}

#[test]
fn three_managers_on_etcd_outlast_every_leader() {
    lasts(Kind::Etcd);
}

#[test]
fn three_managers_on_postgresql_outlast_every_leader() {
    lasts(Kind::Postgres);
}

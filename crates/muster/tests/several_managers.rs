//! Three machines with a manager each: the guide word by word, leaders that are killed and paused, a store that goes away and
//! one that is put back from a backup. Routers serve throughout. Whatever is asked at any manager, the leader answers.
//!
//! A manager that gets no processor for a second loses the lead, as it must. So nothing here takes for granted that somebody leads
//! who has led a moment ago. Scenarios of the lab (`leader-killed-etcd` and its neighbours) hold the two seconds within which
//! the next one leads.
//!
//! Each host is a network namespace of the test's own. Needs root.

#[path = "several_managers/words.rs"]
mod words;

mod support;

use rustix::process::Signal;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};
use support::guide::{self, Guide};
use support::hosts::Hosts;
use support::stores::{Kind, PASSWORD, StoreServer};
use support::{Running, Scratch, wait_for};
use wire::account::AuditEntry;
use wire::id::TermNumber;
use wire::status::{CellStatus, ErrorBody, LeaderStatus};

const MANAGERS: [&str; 3] = ["web-1", "web-2", "web-3"];
/// Where the store is.
const STORE: &str = "store";
/// The API of a manager on its own machine.
const API: &str = "--api http://127.0.0.1:29003 --token-file /var/lib/muster/admin-token";
/// How often a story is begun anew that somebody else's lead has made meaningless.
const STORIES_MAX: usize = 4;

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

fn term(status: &CellStatus) -> TermNumber {
    status.leader.as_ref().expect("there are several managers").term
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
        let status = self.told(host)?;
        match &status.leader {
            Some(leader) if leader.node.0 == host => Ok(status),
            other => Err(format!("it hands on: {:?} leads", other.as_ref().map(|leader| &leader.node.0))),
        }
    }

    /// What it says, or the one that it takes for the leader.
    fn told(&self, host: &str) -> Result<CellStatus, String> {
        let said = self.hosts.run(host, &format!("muster status --json {API}"));
        if said.code == Some(0) {
            return serde_json::from_str(&said.data).map_err(|error| format!("{error}: {said:?}"));
        }
        let refused: Result<ErrorBody, _> = serde_json::from_str(&said.data);
        Err(refused.map_or_else(|_| format!("{said:?}"), |body| format!("{} {}", body.code, body.message)))
    }

    /// The one that leads, of these hosts; where the lead changes between two answers, the newer one.
    fn leader_of(&self, hosts: &[&'static str]) -> Result<(&'static str, CellStatus), String> {
        let mut leading: BTreeMap<TermNumber, (&'static str, CellStatus)> = BTreeMap::new();
        let mut refusals = Vec::new();
        for host in hosts {
            match self.try_status(host) {
                Ok(status) => {
                    let other = leading.insert(term(&status), (host, status));
                    assert!(
                        other.is_none(),
                        "{host} and {} lead in the same term",
                        other.expect("there is").0
                    );
                }
                Err(refusal) => refusals.push(format!("{host}: {refusal}")),
            }
        }
        leading.pop_last().map(|(_, found)| found).ok_or_else(|| refusals.join("; "))
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

    /// Waits until all managers say the same of who leads, and gives that.
    fn wait_until_followed(&self) -> LeaderStatus {
        wait_for("all managers to follow one", || {
            let told: Result<Vec<CellStatus>, String> = MANAGERS.iter().map(|host| self.told(host)).collect();
            let leaders: Vec<Option<LeaderStatus>> = told?.into_iter().map(|status| status.leader).collect();
            match &leaders[0] {
                Some(leader) if leaders.iter().all(|other| other == &leaders[0]) => Ok(leader.clone()),
                _ => Err(format!("{leaders:?}")),
            }
        })
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
        wait_for("somebody to take the configuration", || {
            let said = self.hosts.run(host, &format!("muster apply new.toml {API}"));
            let is_repeatable = said.talk.contains("nothing was done");
            assert!(said.code == Some(0) || is_repeatable, "{said:?}");
            if said.code == Some(0) { Ok(()) } else { Err(said.talk) }
        });
    }

    fn signal(&self, host: &str, signal: Signal) {
        let process = self.running[index(host)].as_ref().expect("it runs");
        process.signal(signal);
    }
}

fn others(of: &str) -> Vec<&'static str> {
    MANAGERS.into_iter().filter(|host| *host != of).collect()
}

fn lasts(kind: Kind) {
    let scratch = Scratch::new();
    let mut cell = Cell::follow_guide(&scratch, kind);
    cell.wait_until_whole(&MANAGERS);
    cell.wait_until_followed();
    MANAGERS.into_iter().for_each(|host| cell.load(host));
    cell.wait_until_more_are_answered(&MANAGERS);
    cell.lose_the_store();
    cell.kill_the_leader();
    cell.pause_the_leader();
    let generation = cell.start_where_nothing_can_be_written();
    cell.put_the_store_back(generation);
    cell.start_where_nobody_leads();
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
        let (host, status) = wait_for("another manager to lead", || self.leader_of(rest));
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
        let (_, status) = self.wait_for_the_next(&rest, "a kill", killed_ms);
        assert!(status.generation > before.generation, "a generation is used once");
        assert_eq!(status.config_revision, 2, "what was applied is known");
        self.wait_until_whole(&rest);
        self.wait_until_more_are_answered(&rest);
        self.start(first);
        self.wait_until_followed();
        self.wait_until_whole(&MANAGERS);
        let (leader, _, _) = self.wait_for_leader(&MANAGERS);
        self.apply(leader, 1_002);
        self.forgive(first);
    }

    /// It goes on when another one leads, and must not act.
    fn pause_the_leader(&mut self) {
        let (first, before, _) = self.wait_for_leader(&MANAGERS);
        let rest = others(first);
        let paused_ms = now_ms();
        self.signal(first, Signal::STOP);
        let (_, after) = self.wait_for_the_next(&rest, "a pause", paused_ms);
        assert!(after.generation > before.generation, "a generation is used once");
        self.wait_until_whole(&rest);
        self.signal(first, Signal::CONT);
        self.wait_until_followed();
        wait_for("it to know", || {
            let log = self.running[index(first)].as_ref().expect("it runs").log();
            if log.contains("this manager leads no longer") { Ok(()) } else { Err(log) }
        });
        let status = self.wait_until_whole(&MANAGERS);
        self.forgive(first);
        // What it wanted to do in its own term has not happened; whoever leads does so since, or in a newer one.
        let who = |status: &CellStatus| (term(status), status.generation, status.leader.clone());
        if term(&status) == term(&after) {
            assert_eq!(who(&status), who(&after), "it has done something");
        }
        assert!(term(&status) >= term(&after) && status.generation >= after.generation, "{status:?}");
        assert_eq!(status.config_revision, after.config_revision);
    }

    /// The first manager is started with its file, and can keep nothing. Gives the newest generation.
    fn start_where_nothing_can_be_written(&mut self) -> u64 {
        let mut first = self.running[index("web-1")].take().expect("it runs");
        first.signal(Signal::TERM);
        first.wait();
        let obstacle = self.hosts.home("web-1").join("state/cell/cell.new");
        std::fs::create_dir(&obstacle).expect("it is not there");
        self.start("web-1");
        self.wait_until_whole(&MANAGERS);
        self.wait_until_followed();
        let log = self.running[index("web-1")].as_ref().expect("it runs").log();
        assert!(log.contains("starts with what was kept before"), "{log}");
        std::fs::remove_dir(&obstacle).expect("ours");
        self.forgive("web-1");
        self.wait_for_leader(&MANAGERS).1.generation
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

impl Cell {
    /// The store says that the leader has left, as one that is put back may say of a leader before the present one. Whoever
    /// finds it so has not seen it happen, and waits for one lease.
    fn start_where_nobody_leads(&mut self) {
        for host in MANAGERS {
            self.signal(host, Signal::TERM);
        }
        for host in MANAGERS {
            let mut process = self.running[index(host)].take().expect("it runs");
            assert_eq!(process.wait(), Some(0), "{}", process.log());
        }
        let started_ms = now_ms();
        self.start("web-1");
        let (_, _, leader) = self.wait_for_leader(&["web-1"]);
        let waited_ms = leader.since_ms.saturating_sub(started_ms);
        assert!(waited_ms >= 1_500, "it led after {waited_ms} ms");
    }
}

impl Cell {
    /// What a script prints on a host.
    fn script(&self, host: &str, text: &str) -> String {
        self.hosts.write(host, "asks.sh", text);
        self.hosts.must(host, "sh asks.sh")
    }

    /// A raw call to the leader over the cell's own connections, by the certificate of a host, for somebody else.
    fn call_for_another(&self, host: &str, path: &str) -> String {
        let own = "/var/lib/muster/cell/identity.pem";
        self.script(
            host,
            &format!(
                "printf 'POST {path} HTTP/1.1\\r\\nHost: m\\r\\nMuster-Caller: administrator\\r\\n\
                 Muster-Caller-Role: admin\\r\\nContent-Length: 0\\r\\nConnection: close\\r\\n\\r\\n' | \
                 timeout 20 openssl s_client -quiet -connect 10.0.0.1:29001 -alpn muster-api/1 -cert {own} -key {own} \
                 2>/dev/null\ntrue\n"
            ),
        )
    }

    fn audited(&self, act: &str) -> Vec<AuditEntry> {
        let text = self.hosts.must("web-3", &format!("muster audit --json {API}"));
        let entries: Vec<AuditEntry> = serde_json::from_str(&text).expect("entries");
        entries.into_iter().filter(|entry| entry.act == act).collect()
    }

    /// Commands of a machine with a follower, and of one without a manager.
    fn try_calls(&self) {
        let status: CellStatus =
            serde_json::from_str(&self.hosts.must("web-2", "muster status --json")).expect("a status");
        assert_eq!(status.leader.expect("there are several managers").node.0, "web-1");
        self.apply("web-2", 1_500);
        let (_, status, _) = self.wait_for_leader(&MANAGERS);
        assert_eq!(status.config_revision, 2, "what was applied at a follower is in force");
        self.hosts.must("web-3", &format!("muster cluster restart shop --yes {API}"));
        let applied = self.audited("config-apply");
        assert_eq!(applied.len(), 1, "once, by the leader: {applied:?}");
        assert_eq!((applied[0].who.as_str(), applied[0].from.to_string().as_str()), ("admin", "10.0.0.2"));
        assert_eq!(self.audited("cluster-restart").len(), 1);
    }

    /// The console at a follower: its page, its stream, and what a user may not do there.
    fn try_console(&self) {
        let said = self.script(
            "web-2",
            "A=\"Authorization: Bearer $(cat /var/lib/muster/admin-token)\"\nC=http://127.0.0.1:29003\n\
             curl -s -H \"$A\" $C/ | grep -c '<title>'\n\
             curl -s -N --max-time 3 -H \"$A\" $C/api/v1/stream\n\
             curl -s -H \"$A\" -d '{\"role\": \"viewer\", \"password\": \"long enough to count\"}' \
             $C/api/v1/users/vera\necho\n\
             K=$(curl -s -c jar -H \"Origin: $C\" -d '{\"user\": \"vera\", \"password\": \"long enough to count\"}' \
             $C/login | sed 's/.*\"key\": *\"\\([^\"]*\\)\".*/\\1/')\n\
             curl -s -b jar $C/api/v1/status | grep -c '\"cell\":\"shop\"'\n\
             curl -s -b jar -H \"Origin: $C\" -H \"X-Muster-Key: $K\" -X POST $C/api/v1/clusters/shop/stop\n",
        );
        assert!(said.starts_with("1\n"), "the page: {said}");
        assert!(said.contains("event: status\ndata: {"), "the stream: {said}");
        assert!(said.contains("\n1\n") && said.contains("M2060"), "looks and changes nothing: {said}");
        let stops = self.audited("cluster-stop");
        assert_eq!(stops.len(), 1, "{stops:?}");
        assert_eq!((stops[0].who.as_str(), stops[0].code.as_deref()), ("vera", Some("M2060")));
    }

    /// Machines that are no managers say for whom they call, as managers do.
    fn try_lies(&self) {
        let file = self.hosts.must("web-2", "cat new.toml");
        self.hosts.write("web-2", "more.toml", &format!("{file}\n[nodes.web-4]\naddress = \"10.0.0.4\"\n"));
        self.hosts.must("web-2", &format!("muster apply more.toml {API}"));
        let join = self.hosts.must("web-2", &format!("muster node token web-4 {API}"));
        self.hosts.must(STORE, join.trim());
        let status: CellStatus =
            serde_json::from_str(&self.hosts.must(STORE, "muster status --json")).expect("a status");
        let said = self.call_for_another(STORE, "/api/v1/clusters/shop/stop");
        assert!(said.starts_with("HTTP/1.1 403 ") && said.contains("M2046"), "no manager: {said}");
        let stranger = self.script(
            STORE,
            "curl -s -X POST -H 'Muster-Caller: administrator' -H 'Muster-Caller-Role: admin' \
             http://10.0.0.1:29003/api/v1/clusters/shop/stop || echo not reached\n",
        );
        assert!(stranger.contains("M2046") || stranger.contains("not reached"), "a stranger: {stranger}");
        for manager in ["web-1", "web-2"] {
            let said = self.script(
                manager,
                "curl -s -X POST -H 'Muster-Caller: administrator' -H 'Muster-Caller-Role: admin' \
                 http://127.0.0.1:29003/api/v1/clusters/shop/stop\n",
            );
            assert!(said.contains("M2046"), "a stranger at {manager}: {said}");
        }
        // The same from a manager's machine counts, so the above was refused for what it was.
        let said = self.call_for_another("web-3", "/api/v1/clusters/shop/drain");
        assert!(said.starts_with("HTTP/1.1 202 "), "a manager: {said}");
        assert_eq!(status.cell, "shop");
    }
}

/// Told while the first manager leads, as the guide says. Where it has lost the lead meanwhile, what went wrong means nothing,
/// and the story is told again with another cell.
#[test]
fn every_manager_answers_for_the_one_that_leads() {
    for number in 1.. {
        let scratch = Scratch::new();
        let cell = Cell::follow_guide(&scratch, Kind::Etcd);
        cell.wait_until_whole(&MANAGERS);
        let leader = cell.wait_until_followed();
        let told = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            assert_eq!(leader.node.0, "web-1");
            cell.try_calls();
            cell.try_console();
            cell.try_lies();
        }));
        let Err(panic) = told else { return };
        let is_first = leader.node.0 == "web-1";
        let is_same = is_first && cell.wait_until_followed().term == leader.term;
        if is_same || number >= STORIES_MAX {
            std::panic::resume_unwind(panic);
        }
    }
}

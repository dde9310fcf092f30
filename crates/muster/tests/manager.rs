//! The manager as a process: roles that speak its link, wishes and configurations that survive `kill -9`.

mod support;

use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command;
use support::cell::MUSTER;
use support::http::{self, Answer};
use support::{PATIENCE, Running, Scratch, free_address, wait_for};
use wire::agent::{Assignment, MemberReport, ProbeState, ProcessState, Report, Want};
use wire::link::{FromManager, LINK_VERSION, Role, ToManager};
use wire::router::{ClusterTraffic, MemberTraffic, RouterReport, Totals, TrafficCounts};
use wire::status::{Applied, CellStatus, ConfigRevision, ErrorBody, Event, Explanation};
use wire::view::{RunState, View};

/// A manager process on its own, with its console.
struct Manager {
    process: Running,
    console: SocketAddr,
    config: PathBuf,
    state_dir: PathBuf,
    log: PathBuf,
    token: String,
}

const CLUSTER: &str = "
[clusters.shop]
drain_ms = 0
[clusters.shop.defaults]
command = [\"/bin/sleep\", \"{port}\"]
[clusters.shop.members.s1]
[clusters.shop.members.s2]
";

impl Manager {
    fn start(scratch: &Scratch) -> Self {
        let console = free_address();
        let text = support::cell::config(scratch, console, free_address(), CLUSTER);
        let config = scratch.write("muster.toml", &text);
        let log = scratch.join("muster.log");
        let process = Running::start("muster", &mut Self::command(&config), &log);
        let state_dir = scratch.join("state");
        let mut manager = Self { process, console, config, state_dir, log, token: String::new() };
        manager.wait_until_it_answers();
        manager
    }

    fn command(config: &PathBuf) -> Command {
        let mut command = Command::new(MUSTER);
        command.args(["run", "--role", "manager", "--log-format", "json", "--config"]).arg(config);
        command
    }

    fn wait_until_it_answers(&mut self) {
        let token = self.state_dir.join("admin-token");
        wait_for("the manager's API", || {
            self.process.check();
            self.token =
                std::fs::read_to_string(&token).map_err(|error| error.to_string())?.trim().to_owned();
            let answer = self.ask("GET", "/api/v1/status", "")?;
            if answer.status == 200 { Ok(()) } else { Err(answer.text()) }
        });
    }

    /// As a crash would end it, and then a new start with the same file.
    fn kill_and_restart(&mut self) {
        self.process.signal(rustix::process::Signal::KILL);
        assert_eq!(self.process.wait(), None, "a killed process has no status");
        self.process = Running::start("muster", &mut Self::command(&self.config), &self.log);
        self.wait_until_it_answers();
    }

    fn ask(&self, method: &str, target: &str, body: &str) -> Result<Answer, String> {
        let authorization = format!("Bearer {}", self.token);
        let headers = [("Authorization", authorization.as_str())];
        http::request(self.console, method, target, &headers, body.as_bytes())
            .map_err(|error| error.to_string())
    }

    fn call<T: DeserializeOwned>(&self, status: u16, method: &str, target: &str, body: &str) -> T {
        let answer = self.ask(method, target, body).unwrap_or_else(|error| panic!("{target}: {error}"));
        assert_eq!(answer.status, status, "{target}: {}", answer.text());
        serde_json::from_slice(&answer.body).unwrap_or_else(|error| panic!("{error}: {}", answer.text()))
    }

    fn status(&self) -> CellStatus {
        self.call(200, "GET", "/api/v1/status", "")
    }

    fn connect(&self, role: Role) -> Peer {
        let mut peer = Peer::dial(self);
        peer.say(&ToManager::Hello {
            version: LINK_VERSION,
            role,
            muster: String::new(),
            generation: 0,
            resumes: false,
            carries: false,
            powers: false,
        });
        peer
    }

    fn agent(&self) -> Peer {
        self.connect(Role::Agent { node: "local".into() })
    }

    fn router(&self) -> Peer {
        self.connect(Role::Router { node: "local".into(), router: "front".into() })
    }
}

/// A role that is none: speaks the link by hand.
struct Peer {
    stream: UnixStream,
}

impl Peer {
    fn dial(manager: &Manager) -> Self {
        let stream =
            UnixStream::connect(manager.state_dir.join("manager.sock")).expect("the manager listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("any time-out but zero is allowed");
        Self { stream }
    }

    fn say(&mut self, message: &impl Serialize) {
        self.try_say(message).expect("the manager reads");
    }

    fn try_say(&mut self, message: &impl Serialize) -> std::io::Result<()> {
        let body = serde_json::to_vec(message).expect("messages can be written");
        let length = u32::try_from(body.len()).expect("tests say little").to_be_bytes();
        self.stream.write_all(&[&length[..], &body].concat())
    }

    /// Who says nothing for long is taken for gone. The manager may be gone itself.
    fn stay(&mut self) {
        drop(self.try_say(&ToManager::KeepAlive));
    }

    /// The next message that is no keep-alive, nor says that a node runs no group; None at the end of the connection.
    fn try_hear(&mut self) -> Option<FromManager> {
        loop {
            let mut length = [0; 4];
            self.stream.read_exact(&mut length).ok()?;
            let mut body = vec![0; u32::from_be_bytes(length) as usize];
            self.stream.read_exact(&mut body).ok()?;
            match serde_json::from_slice(&body).expect("the manager's messages parse") {
                FromManager::KeepAlive => {}
                FromManager::Groups { groups, .. } if groups.is_empty() => {}
                message => return Some(message),
            }
        }
    }

    fn hear(&mut self) -> FromManager {
        self.try_hear().expect("the manager goes on speaking")
    }

    fn hear_welcome(&mut self) -> u64 {
        match self.hear() {
            FromManager::Welcome { version: LINK_VERSION, generation } => generation,
            other => panic!("{other:?} instead of a welcome"),
        }
    }

    fn hear_assignments(&mut self) -> Vec<Assignment> {
        self.stay();
        match self.hear() {
            FromManager::Assignments { assignments, .. } => assignments,
            other => panic!("{other:?} instead of assignments"),
        }
    }

    /// Hears until there is a view in which `is_meant` holds.
    fn hear_view(&mut self, is_meant: impl Fn(&View) -> bool) -> View {
        loop {
            self.stay();
            if let FromManager::Views(views) = self.hear()
                && let Some(view) = views.into_iter().find(&is_meant)
            {
                return view;
            }
        }
    }

    /// Reports both members as running and passing, with these exceptions.
    fn report(&mut self, sequence: u64, assignments: &[Assignment], exceptions: &[(&str, ProcessState)]) {
        let members = assignments.iter().map(|assignment| {
            let exception = exceptions.iter().find(|(name, _)| *name == assignment.id.member.0);
            MemberReport {
                id: assignment.id.clone(),
                instance: assignment.instance,
                process: exception.map_or(ProcessState::Running { pid: 7 }, |(_, process)| *process),
                probe: if exception.is_none() { ProbeState::Passing } else { ProbeState::Unknown },
                address: Some(([127, 0, 0, 1], 8080).into()),
                restarts: 0,
                reason: String::new(),
            }
        });
        let members = members.collect();
        let (node, manager_heard_ms, clock_ms) = ("local".into(), None, None);
        let report = Report {
            node,
            incarnation: 1,
            sequence,
            members,
            manager_heard_ms,
            clock_ms,
            certificate_until_ms: None,
        };
        self.say(&ToManager::Agent(report));
    }

    fn report_traffic(&mut self, view: &View, in_flight: u64) {
        let members = view.members.iter().map(|member| MemberTraffic {
            member: member.name.clone(),
            requests: 5,
            failed: 0,
            in_flight,
            requests_per_second: 2.5,
            sessions: 0,
            latency_p50_us: 0,
            latency_p99_us: 0,
            counts: TrafficCounts::default(),
            ejection: None,
        });
        let traffic = ClusterTraffic {
            cluster: view.cluster.clone(),
            applied: view.epoch,
            members: members.collect(),
            failed_over: 0,
            queued: 0,
            queue_refused: 0,
            waiting: 0,
        };
        self.say(&ToManager::Router(RouterReport {
            routes: Vec::new(),
            router: "front".into(),
            listening: vec![([127, 0, 0, 1], 9).into()],
            problems: Vec::new(),
            connections: 1,
            clusters: vec![traffic],
            totals: Totals::default(),
            takes_changes: false,
        }));
    }
}

fn state(view: &View, member: &str) -> RunState {
    let found = view.members.iter().find(|known| known.name.0 == member);
    found.unwrap_or_else(|| panic!("{member} is not in {view:?}")).state
}

fn wants(assignments: &[Assignment]) -> Vec<(&str, Want, u64)> {
    let each = assignments.iter();
    each.map(|assignment| (assignment.id.member.0.as_str(), assignment.want, assignment.instance)).collect()
}

#[test]
fn killed_manager_comes_back_with_a_higher_generation_and_all_wishes() {
    let scratch = Scratch::new();
    let mut manager = Manager::start(&scratch);
    let (mut agent, mut router) = (manager.agent(), manager.router());
    assert_eq!(agent.hear_welcome(), 1);
    assert_eq!(router.hear_welcome(), 1);
    let assignments = agent.hear_assignments();
    assert_eq!(wants(&assignments), [("s1", Want::Running, 1), ("s2", Want::Running, 1)]);
    agent.report(1, &assignments, &[]);
    let is_up = |view: &View| view.members.iter().all(|member| member.state == RunState::Up);
    let view = router.hear_view(is_up);
    router.report_traffic(&view, 1);

    // Stopping waits until the router has no request under way to the member.
    let answer = manager.ask("POST", "/api/v1/clusters/shop/members/s1/stop", "").expect("it answers");
    assert_eq!(answer.status, 202, "{}", answer.text());
    let view = router.hear_view(|view| state(view, "s1") == RunState::Down);
    router.report_traffic(&view, 1);
    router.report_traffic(&view, 0);
    let assignments = agent.hear_assignments();
    assert_eq!(wants(&assignments), [("s1", Want::Stopped, 1), ("s2", Want::Running, 1)]);
    agent.report(2, &assignments, &[("s1", ProcessState::Stopped)]);
    let old_epoch = view.epoch;
    let before = manager.status();
    assert_eq!((before.generation, before.config_revision), (1, 1));
    assert_eq!(before.clusters[0].members[1].requests_per_second, 2.5);
    assert_eq!(before.routers[0].listening, [([127, 0, 0, 1], 9).into()]);

    manager.kill_and_restart();
    while agent.try_hear().is_some() {}
    while router.try_hear().is_some() {}
    let (mut agent, mut router) = (manager.agent(), manager.router());
    assert_eq!(agent.hear_welcome(), 2);
    assert_eq!(router.hear_welcome(), 2);
    let assignments = agent.hear_assignments();
    assert_eq!(wants(&assignments), [("s1", Want::Stopped, 1), ("s2", Want::Running, 1)]);
    agent.report(3, &assignments, &[("s1", ProcessState::Stopped)]);
    // It waits a while for reports before it tells anything, which on a busy machine come too late for that.
    let view = router.hear_view(|view| {
        assert!(view.epoch > old_epoch && view.epoch.generation == 2, "{} after {old_epoch}", view.epoch);
        assert_ne!(state(view, "s1"), RunState::Up, "what was stopped is not up before");
        state(view, "s2") == RunState::Up
    });
    assert_eq!(state(&view, "s1"), RunState::Down);
    let after = manager.status();
    assert_eq!((after.generation, after.config_revision), (2, 1));
    let events: Vec<Event> = manager.call(200, "GET", "/api/v1/events", "");
    let numbers: Vec<u64> = events.iter().map(|event| event.number).collect();
    assert!(numbers.is_sorted_by(|one, next| one < next), "{numbers:?}");
    let starts = events.iter().filter(|event| event.kind == "manager-started").count();
    assert_eq!(starts, 2, "events of before the crash are kept");
}

#[test]
fn configuration_is_applied_in_place_and_bad_ones_change_nothing() {
    let scratch = Scratch::new();
    let mut manager = Manager::start(&scratch);
    let (mut agent, mut router) = (manager.agent(), manager.router());
    agent.hear_welcome();
    router.hear_welcome();
    let assignments = agent.hear_assignments();
    agent.report(1, &assignments, &[]);
    let old = router.hear_view(|view| state(view, "s1") == RunState::Up);

    let text = std::fs::read_to_string(&manager.config).expect("the test wrote it");
    let bad = text.replace("drain_ms", "drian_ms");
    let refused: ErrorBody = manager.call(422, "POST", "/api/v1/config", &bad);
    assert_eq!(refused.code, "M1002", "{}", refused.message);
    assert!(refused.message.contains("drain_ms"), "it suggests the right key: {}", refused.message);

    let new = format!("{text}weight = 7\n[clusters.shop.members.s3]\n");
    let dry: Applied = manager.call(200, "POST", "/api/v1/config?dry_run=true", &new);
    assert_eq!(dry.changes, ["shop/s2: weight changes from 2 to 7", "shop/s3 is added on node local"]);
    assert_eq!(dry.revision, 1);
    let applied: Applied = manager.call(200, "POST", "/api/v1/config", &new);
    assert_eq!((applied.revision, &applied.changes), (2, &dry.changes));
    let view = router.hear_view(|view| view.members.len() == 3);
    assert!(view.epoch > old.epoch);
    assert_eq!(view.members[1].weight, 7);
    assert_eq!((state(&view, "s1"), state(&view, "s3")), (RunState::Up, RunState::Starting));
    assert_eq!(wants(&agent.hear_assignments()).len(), 3);

    // The file is what counts at the next start; going back is a new revision with its own changes.
    manager.kill_and_restart();
    let history: Vec<ConfigRevision> = manager.call(200, "GET", "/api/v1/config/history", "");
    let revisions: Vec<(u64, &str)> =
        history.iter().map(|entry| (entry.revision, entry.who.as_str())).collect();
    assert_eq!(revisions.len(), 3, "{revisions:?}");
    assert_eq!((revisions[0], revisions[2]), ((1, "muster run"), (3, "muster run")));
    assert_eq!(history[2].changes, ["shop/s2: weight changes from 7 to 2", "shop/s3 is removed"]);
    std::fs::write(&manager.config, &new).expect("the test may write it");
    manager.kill_and_restart();
    assert_eq!(manager.status().config_revision, 4);
    manager.kill_and_restart();
    let status = manager.status();
    assert_eq!((status.config_revision, status.generation), (4, 4), "the same file is no new revision");
}

#[test]
fn second_manager_is_refused_and_the_first_not_disturbed() {
    let scratch = Scratch::new();
    let manager = Manager::start(&scratch);
    let second = Manager::command(&manager.config).output().expect("it starts");
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert_eq!(second.status.code(), Some(2), "{said}");
    assert!(said.contains("M2007"), "{said}");
    assert!(said.contains(&manager.state_dir.display().to_string()), "{said}");
    assert_eq!(manager.status().generation, 1);
    let mode =
        std::fs::metadata(manager.state_dir.join("manager.sock")).expect("it listens").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn roles_that_do_not_belong_are_refused_with_a_reason() {
    let scratch = Scratch::new();
    let manager = Manager::start(&scratch);
    let refusal = |mut peer: Peer| match peer.hear() {
        FromManager::Refused { reason } => reason,
        other => panic!("{other:?} instead of a refusal"),
    };
    let stranger = manager.connect(Role::Agent { node: "elsewhere".into() });
    assert_eq!(refusal(stranger), "node elsewhere is not in the configuration");
    let mut newer = Peer::dial(&manager);
    let role = Role::Agent { node: "local".into() };
    newer.say(&ToManager::Hello {
        version: 99,
        role,
        muster: "9.9.9".into(),
        generation: 0,
        resumes: false,
        carries: false,
        powers: false,
    });
    assert!(refusal(newer).contains("version 99"));
    let mut rude = Peer::dial(&manager);
    rude.say(&ToManager::KeepAlive);
    assert_eq!(refusal(rude), "it did not say hello");
    let mut garbled = Peer::dial(&manager);
    garbled.stream.write_all(b"\0\0\0\x02{]").expect("it reads");
    assert!(!refusal(garbled).is_empty());
    let mut endless = Peer::dial(&manager);
    endless.stream.write_all(&[0xff; 4]).expect("it reads");
    assert!(refusal(endless).contains("too long"));

    // Who speaks for somebody else loses the connection, and nothing else happens.
    let mut liar = manager.agent();
    liar.hear_welcome();
    liar.hear_assignments();
    let (node, manager_heard_ms, clock_ms) = ("elsewhere".into(), None, None);
    let report = Report {
        node,
        incarnation: 1,
        sequence: 1,
        members: Vec::new(),
        manager_heard_ms,
        clock_ms,
        certificate_until_ms: None,
    };
    liar.say(&ToManager::Agent(report));
    assert_eq!(liar.try_hear(), None);
    // Of two connections of one role the newer one counts.
    let mut older = manager.agent();
    older.hear_welcome();
    let mut newer = manager.agent();
    newer.hear_welcome();
    newer.hear_assignments();
    while older.try_hear().is_some() {}
    assert!(manager.status().nodes[0].connected);
}

#[test]
fn requests_are_explained_and_wrong_acts_refused() {
    let scratch = Scratch::new();
    let manager = Manager::start(&scratch);
    let mut agent = manager.agent();
    agent.hear_welcome();
    let assignments = agent.hear_assignments();
    agent.report(1, &assignments, &[("s1", ProcessState::BackingOff)]);
    wait_for("s2 to be up", || match manager.status().clusters[0].members[1].state {
        RunState::Up => Ok(()),
        state => Err(format!("it is {state}")),
    });
    let explained: Explanation = manager.call(200, "GET", "/api/v1/explain?url=http://shop.example/cart", "");
    assert_eq!(explained.cluster, Some("shop".into()));
    assert_eq!(explained.member, Some("s2".into()), "{:?}", explained.why);
    let refused = |target: &str, status: u16| -> ErrorBody { manager.call(status, "POST", target, "") };
    assert_eq!(refused("/api/v1/clusters/nope/stop", 404).code, "M2003");
    assert_eq!(refused("/api/v1/clusters/shop/members/nope/stop", 404).code, "M2004");
    manager.ask("POST", "/api/v1/clusters/shop/members/s1/stop", "").expect("it answers");
    assert_eq!(refused("/api/v1/clusters/shop/members/s1/drain", 409).code, "M2005");
}

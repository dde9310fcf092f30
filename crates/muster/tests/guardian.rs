//! The real guardian with real processes, told what to do by hand: what comes too late, and what it cannot give back.

#[allow(dead_code, reason = "tests share it, and each needs a part")]
mod processes;

use processes::Scratch;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use serde_json::{Value, json};
use std::fs::File;
use std::io::{BufRead as _, BufReader, IoSlice, Lines, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::process::{Child, ChildStdout, Command, Stdio};

/// A guardian, told by hand.
struct Guardian {
    process: Child,
    orders: Option<UnixStream>,
    news: Lines<BufReader<ChildStdout>>,
    said: Vec<Value>,
}

impl Guardian {
    fn start() -> Self {
        let (orders, its_orders) = UnixStream::pair().expect("sockets can be made");
        send_board(&orders);
        let mut process = Command::new(env!("CARGO_BIN_EXE_muster"))
            .arg("guardian")
            .stdin(OwnedFd::from(its_orders))
            .stdout(Stdio::piped())
            .spawn()
            .expect("the guardian starts");
        let news = BufReader::new(process.stdout.take().expect("it is a pipe")).lines();
        Self { process, orders: Some(orders), news, said: Vec::new() }
    }

    /// All at once.
    fn tell(&mut self, orders: &[Value]) {
        let all: String = orders.iter().map(|order| format!("{order}\n")).collect();
        let socket = self.orders.as_mut().expect("its agent is there");
        socket.write_all(all.as_bytes()).expect("a socket holds it");
    }

    /// Listens until this word was said, or until it has said all.
    fn hear(&mut self, word: &str) {
        for line in self.news.by_ref() {
            let line: Value = serde_json::from_str(&line.expect("it can be heard")).expect("it speaks JSON");
            self.said.push(line.clone());
            if line[word].is_object() {
                return;
            }
        }
    }

    /// The agent is gone; all that it has said until it has ended.
    fn end(mut self) -> Vec<Value> {
        self.orders = None;
        self.hear("nothing that it says");
        assert!(self.process.wait().expect("it ends").success(), "{:?}", self.said);
        self.said
    }
}

/// One that nothing was ever written on: no lease has begun.
fn send_board(socket: &UnixStream) {
    let board = File::open("/dev/null").expect("it is on every machine");
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let descriptors = [board.as_fd()];
    assert!(ancillary.push(SendAncillaryMessage::ScmRights(&descriptors)), "there is room for one");
    sendmsg(socket, &[IoSlice::new(b"\n")], &mut ancillary, SendFlags::empty()).expect("it is empty");
}

/// All that it says, when all of this stands in its pipe before it looks. The agent is gone once something was done.
fn told(orders: &[Value]) -> Vec<Value> {
    let mut guardian = Guardian::start();
    guardian.tell(orders);
    guardian.hear("done");
    guardian.end()
}

fn hold(scratch: &Scratch) -> Value {
    json!({ "hold": {
        "lock": scratch.path("lock"), "epoch": 3, "cgroup": null, "log": scratch.path("log"),
        "log_size_max_bytes": 1_000_000, "log_files_max": 1,
    }})
}

fn start(resource: &Value) -> Value {
    json!({ "do": { "step": 1, "verb": "start", "index": 0, "resource": resource, "environment": {} } })
}

fn resource(name: &str, kind: &Value) -> Value {
    json!({ "name": name, "kind": kind, "start_timeout_ms": 1000, "stop_timeout_ms": 1000 })
}

#[test]
fn nothing_is_begun_after_the_lease_whatever_waits_in_the_socket() {
    let scratch = Scratch::new("guardian-late");
    let touched = scratch.path("touched");
    let exec = resource("app", &json!({ "exec": { "start": ["touch", touched], "stop": ["true"] } }));
    let said = told(&[hold(&scratch), json!({ "leased": { "span": 1 } }), start(&exec)]);
    assert!(!touched.exists(), "{said:?}");
}

/// A resource whose agent answers `monitor` and `stop` so; all else is fine.
fn of_agent(scratch: &Scratch, monitor: &str, stop: &str) -> Value {
    let root = scratch.path("ocf");
    let directory = root.join("resource.d/test");
    std::fs::create_dir_all(&directory).expect("the test's directory can be written");
    let agent = directory.join("sticky");
    let text = format!(
        "#!/bin/sh\ncase $1 in\nmeta-data) echo '<resource-agent name=\"sticky\"><actions><action name=\"start\" timeout=\"5\"/>\
         <action name=\"stop\" timeout=\"5\"/><action name=\"monitor\" timeout=\"5\" interval=\"100\"/></actions></resource-agent>';;\n\
         monitor) {monitor};;\nstop) {stop};;\nesac\n"
    );
    std::fs::write(&agent, text).expect("it can be written");
    std::fs::set_permissions(&agent, std::fs::Permissions::from_mode(0o755)).expect("it is ours");
    let options = json!({ "agent": "test:sticky", "check_level": 0, "check_interval_ms": 0 });
    let mut resource = resource("disk", &json!({ "ocf": options }));
    resource["environment"] = json!({ "OCF_ROOT": root });
    resource
}

fn noted(scratch: &Scratch) -> String {
    std::fs::read_to_string(scratch.path("lock")).expect("it is there")
}

#[test]
fn what_cannot_be_given_back_is_the_last_word_and_stays_noted() {
    let scratch = Scratch::new("guardian-left");
    let keeps = scratch.path("keeps");
    std::fs::write(&keeps, "").expect("it can be written");
    let (there, gone) = (format!("[ -e {} ]", keeps.display()), format!("[ ! -e {} ]", keeps.display()));
    let ocf = of_agent(&scratch, &format!("{there} || exit 7"), &gone);
    let said = told(&[hold(&scratch), start(&ocf)]);
    assert_eq!(said[0], json!({ "done": { "step": 1, "error": null } }), "{said:?}");
    let last = said.last().expect("it says something");
    let why = last["left"]["why"].as_str().unwrap_or_default();
    assert!(why.starts_with("disk: it may not be stopped"), "{said:?}");
    let noted_here = noted(&scratch);
    assert!(noted_here.contains("test:sticky") && noted_here.contains("\"epoch\":3"), "{noted_here}");

    // The next one begins nothing beside it.
    let touched = scratch.path("touched");
    let exec = resource("app", &json!({ "exec": { "start": ["touch", touched], "stop": ["true"] } }));
    let said = told(&[hold(&scratch), start(&exec)]);
    assert!(said.last().is_some_and(|last| last["left"].is_object()), "{said:?}");
    assert!(!touched.exists(), "{said:?}");

    // Once it lets go, nothing is left.
    std::fs::remove_file(&keeps).expect("it is there");
    let said = told(&[hold(&scratch), start(&exec)]);
    assert!(said.iter().all(|news| !news["left"].is_object()), "{said:?}");
    assert!(touched.exists(), "{said:?}");
    assert_eq!(noted(&scratch), "");
}

#[test]
fn an_agent_whose_stop_fails_where_nothing_runs_keeps_nothing() {
    let scratch = Scratch::new("guardian-gone");
    let said = told(&[hold(&scratch), start(&of_agent(&scratch, "exit 7", "exit 1"))]);
    assert_eq!(said[0], json!({ "done": { "step": 1, "error": null } }), "{said:?}");
    assert!(said.iter().all(|news| !news["left"].is_object()), "{said:?}");
    assert_eq!(noted(&scratch), "");
}

#[test]
fn what_speaks_against_a_start_is_told_and_nothing_is_stopped_that_was_not_started() {
    let scratch = Scratch::new("guardian-not-begun");
    let stopped = scratch.path("stopped");
    let agent = of_agent(&scratch, "exit 5", &format!("touch {}; exit 1", stopped.display()));
    let stop =
        json!({ "do": { "step": 2, "verb": "stop", "index": 0, "resource": agent, "environment": {} } });
    let said = {
        let mut guardian = Guardian::start();
        guardian.tell(&[hold(&scratch), start(&agent)]);
        guardian.hear("done");
        guardian.tell(&[stop]);
        guardian.hear("done");
        guardian.end()
    };
    let error = said[0]["done"]["error"].as_str().unwrap_or_default();
    assert!(error.contains("(action monitor, status 5)"), "{said:?}");
    assert_eq!(said[1], json!({ "done": { "step": 2, "error": null } }), "{said:?}");
    assert!(said.iter().all(|news| !news["left"].is_object()), "{said:?}");
    assert!(!stopped.exists(), "{said:?}");
    assert_eq!(noted(&scratch), "");
}

/// The process that waits for the next program of this guardian.
fn wait_until_ready(guardian: &Guardian) -> u32 {
    let is_ready = |pid: u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let mut fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
        let is_alive = fields.next() != Some("Z");
        let is_child = fields.next() == Some(guardian.process.id().to_string().as_str());
        let words = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        is_child && is_alive && words.contains("--ready")
    };
    let started = std::time::Instant::now();
    loop {
        let all = std::fs::read_dir("/proc").expect("it can be read");
        let mut numbers = all.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        if let Some(pid) = numbers.find(|pid| is_ready(*pid)) {
            return pid;
        }
        assert!(started.elapsed().as_secs() < 30, "nobody waits for the next program");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

fn wait_until_buried(pid: u32) {
    let place = std::path::PathBuf::from(format!("/proc/{pid}"));
    let started = std::time::Instant::now();
    while place.exists() {
        assert!(started.elapsed().as_secs() < 30, "{pid} is still there");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

#[test]
fn the_next_program_is_run_by_a_process_that_waits_for_it_if_it_lives() {
    let scratch = Scratch::new("guardian-ready");
    let seen = scratch.path("seen");
    let step = |step: u64, resource: &Value| {
        let environment = json!({ "MUSTER_RESOURCE": "app" });
        json!({ "do": { "step": step, "verb": "start", "index": step, "resource": resource, "environment": environment } })
    };
    let write = format!("echo $$ $PWD $MUSTER_RESOURCE $OWN $(readlink /proc/$$/fd/0) >{}", seen.display());
    let mut app = resource("app", &json!({ "exec": { "start": ["sh", "-c", write], "stop": ["true"] } }));
    app["directory"] = json!("/");
    app["environment"] = json!({ "OWN": "mine" });
    let mut guardian = Guardian::start();
    guardian.tell(&[hold(&scratch), step(1, &app)]);
    guardian.hear("done");
    let saw = || std::fs::read_to_string(&seen).expect("it was written");
    let own = " / app mine /dev/null\n";
    assert!(saw().ends_with(own), "{}", saw());

    let ready = wait_until_ready(&guardian);
    guardian.tell(&[step(2, &app)]);
    guardian.hear("done");
    assert_eq!(saw(), format!("{ready}{own}"), "{:?}", guardian.said);

    // It says why it cannot be run, too.
    let missing = resource("no", &json!({ "exec": { "start": ["no-such-program"], "stop": ["true"] } }));
    wait_until_ready(&guardian);
    guardian.tell(&[step(3, &missing)]);
    guardian.hear("done");
    let why = guardian.said.last().expect("it was heard")["done"]["error"].clone();
    assert_eq!(why, "could not be run: there is no command no-such-program in PATH");

    // One that is gone is not waited for.
    let gone = wait_until_ready(&guardian);
    let killed = Command::new("kill").args(["-9", &gone.to_string()]).status().expect("there is a kill");
    assert!(killed.success());
    wait_until_buried(gone);
    guardian.tell(&[step(4, &app)]);
    guardian.hear("done");
    assert_eq!(guardian.said.last(), Some(&json!({ "done": { "step": 4, "error": null } })));
    assert!(saw().ends_with(own) && !saw().starts_with(&gone.to_string()), "{}", saw());

    // The one that waits goes with the group.
    let last = wait_until_ready(&guardian);
    guardian.end();
    assert!(!std::path::Path::new(&format!("/proc/{last}")).exists());
}

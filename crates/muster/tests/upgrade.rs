//! A new process of the program takes the routers over while they serve: under load, with a slow download and an open
//! WebSocket; and what fails leaves the old process serving.

#[path = "upgrade/steady_http2.rs"]
mod steady_http2;
mod support;

use rustix::process::Signal;
use serde::Deserialize;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::Duration;
use steady_http2::SteadyHttp2;
use support::cell::{self, Cell, MUSTER, Said, shop_tables};
use support::http::Connection;
use support::steady::Steady;
use support::websocket::{Opcode, WebSocket};
use support::{Running, Scratch, http, is_alive, program, root, send, wait_for};

/// Upgrades in a row.
const ROUNDS: usize = 4;
/// Requests that tell that the load goes on.
const ENOUGH: u64 = 400;
/// Bytes of the slow download: far more than all buffers between its ends.
const DOWNLOAD_BYTES: usize = 16 << 20;

#[derive(Debug, Deserialize)]
struct Told {
    is_upgraded: bool,
    old_pid: Option<u32>,
    new_pid: Option<u32>,
    reason: Option<String>,
}

/// A cell whose router is a process of its own, which changes.
struct Shop {
    cell: Cell,
    /// The first process of the router.
    first: Running,
    /// Every process that has served since; ended with the test, however it ends.
    pids: Vec<u32>,
    /// Hears what a service manager would hear.
    supervisor: UnixDatagram,
}

impl Drop for Shop {
    fn drop(&mut self) {
        self.pids.iter().for_each(|pid| send(*pid, Signal::KILL));
    }
}

fn tables() -> String {
    let script = root().join("crates/muster/tests/support/websocket_member.py").display().to_string();
    let python = program("python3").display().to_string();
    format!(
        "[[routers.front.routes]]\npath = \"/chat\"\ncluster = \"chat\"\n\n\
         [[routers.front.routes]]\npath = \"/\"\ncluster = \"shop\"\n\n{}\n\
         [clusters.chat.probe]\nkind = \"http\"\npath = \"/\"\ninterval_ms = 200\nrise = 1\n\n\
         [clusters.chat.members.one]\ncommand = [{python:?}, {script:?}, \"{{port}}\", \"{{member}}\"]\n",
        shop_tables(&[("s1", 1), ("s2", 1), ("s3", 1)])
    )
}

impl Shop {
    fn start(scratch: &Scratch) -> Self {
        let cell = Cell::start_roles(scratch, &tables(), &["manager", "agent"]);
        let notify = scratch.join("notify.sock");
        let supervisor = UnixDatagram::bind(&notify).expect("a free path");
        supervisor.set_read_timeout(Some(support::PATIENCE)).expect("it can be set");
        let mut command = Command::new(MUSTER);
        command.args(["run", "--role", "router", "--config"]).arg(&cell.config).env("NOTIFY_SOCKET", &notify);
        let first = Running::start("router", &mut command, &scratch.join("router.log"));
        cell.wait_until_all_up("shop");
        cell.wait_until_all_up("chat");
        let pids = vec![first.pid()];
        let shop = Self { cell, first, pids, supervisor };
        shop.supervisor_hears(&["READY=1"]);
        shop
    }

    /// The next messages, in any order.
    fn supervisor_hears(&self, messages: &[&str]) {
        let mut heard: Vec<String> = messages
            .iter()
            .map(|_| {
                let mut bytes = [0; 64];
                let length = self.supervisor.recv(&mut bytes).expect("there is a message");
                String::from_utf8_lossy(&bytes[..length]).into_owned()
            })
            .collect();
        let mut expected: Vec<String> = messages.iter().map(|message| (*message).to_owned()).collect();
        heard.sort();
        expected.sort();
        assert_eq!(heard, expected);
    }

    fn state_dir(&self) -> String {
        self.cell.state_dir.display().to_string()
    }

    fn try_upgrade(&mut self, arguments: &[&str]) -> (Told, Said) {
        let state_dir = self.state_dir();
        let words = [&["router", "upgrade", "--json", "--state-dir", &state_dir], arguments].concat();
        let said = cell::muster(&words);
        let told: Told = serde_json::from_str(&said.data)
            .unwrap_or_else(|error| panic!("{error}: {said:?}\n{}", self.first.log()));
        self.pids.extend(told.new_pid);
        (told, said)
    }

    /// Upgrades, and gives the process that served before and the one that serves now.
    fn upgrade(&mut self) -> (u32, u32) {
        let before = *self.pids.last().expect("the first at least");
        let (told, said) = self.try_upgrade(&[]);
        assert_eq!(said.code, Some(0), "{told:?} {said:?}\n{}", self.first.log());
        let (old, new) = (told.old_pid.expect("told"), told.new_pid.expect("told"));
        assert!(told.is_upgraded && told.reason.is_none() && old == before && new != old, "{told:?}");
        (old, new)
    }

    /// An upgrade that must fail for this reason, after which the same process serves.
    fn fails(&mut self, arguments: &[&str], reason: &str) {
        let (told, said) = self.try_upgrade(arguments);
        assert_eq!(said.code, Some(1), "{told:?} {said:?}");
        assert!(!told.is_upgraded && told.new_pid.is_none(), "{told:?}");
        let found = told.reason.unwrap_or_default();
        assert!(found.contains(reason), "{found:?} does not speak of {reason:?}");
        assert!(is_alive(self.serving()), "the old process goes on");
    }

    fn serving(&self) -> u32 {
        *self.pids.last().expect("the first at least")
    }

    /// The serving process ends well when asked to, and nothing is left that serves.
    fn stop(mut self) {
        send(self.serving(), Signal::TERM);
        wait_until_gone(self.serving());
        // A predecessor that was told a moment ago may still be letting go.
        wait_for("nobody to hold the address", || match TcpStream::connect(self.cell.router) {
            Err(_) => Ok(()),
            Ok(_) => Err("somebody accepts".into()),
        });
        self.pids.clear();
        self.cell.process.signal(Signal::TERM);
        assert_eq!(self.cell.process.wait(), Some(0), "{}", self.cell.process.log());
    }

    fn script(&self, scratch: &Scratch, name: &str, text: &str) -> String {
        let path: PathBuf = scratch.write(name, &format!("#!/bin/sh\n{text}\n"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("ours");
        path.display().to_string()
    }
}

fn wait_until_gone(pid: u32) {
    wait_for(&format!("process {pid} to end"), || if is_alive(pid) { Err("it runs".into()) } else { Ok(()) });
}

/// A connection that asks for a large answer and reads a little of it now and then. Ends with what it got.
fn download_slowly(router: SocketAddr, pause: Duration) -> thread::JoinHandle<usize> {
    let mut stream = TcpStream::connect(router).expect("the router accepts");
    let head = format!("GET /bytes/{DOWNLOAD_BYTES} HTTP/1.1\r\nHost: {router}\r\n\r\n");
    stream.write_all(head.as_bytes()).expect("the router takes the request");
    thread::spawn(move || {
        let mut bytes = vec![0; 256 << 10];
        let (mut count, mut head) = (0, Vec::new());
        loop {
            let length = stream.read(&mut bytes).expect("the download goes on");
            if length == 0 {
                break count;
            }
            if head.len() < 4096 {
                head.extend_from_slice(&bytes[..length]);
                let end = head.windows(4).position(|window| window == b"\r\n\r\n");
                count = end.map_or(0, |end| head.len() - end - 4);
            } else {
                count += length;
            }
            if count == DOWNLOAD_BYTES {
                break count;
            }
            thread::sleep(pause);
        }
    })
}

#[test]
fn upgrades_in_a_row_fail_no_request_and_refuse_no_connection() {
    let scratch = Scratch::new();
    let mut shop = Shop::start(&scratch);
    let router = shop.cell.router;
    let load = Steady::start(router, "/healthz", 8);
    let mut chat = WebSocket::open(router, "/chat");
    let download = download_slowly(router, Duration::from_millis(20));
    // A client that is silent for a while and does not know of any of it.
    let mut quiet = Connection::open(router);
    let request = format!("GET /healthz HTTP/1.1\r\nHost: {router}\r\n\r\n");
    quiet.send(request.as_bytes()).expect("sent");
    assert_eq!(quiet.read_answer("GET").expect("answered").header("connection"), None);
    load.go_on(ENOUGH);
    let mut old = Vec::new();
    for _ in 0..ROUNDS {
        let (before, after) = shop.upgrade();
        old.push(before);
        shop.supervisor_hears(&["READY=1", &format!("MAINPID={after}")]);
        load.go_on(ENOUGH);
        chat.echo(Opcode::Text, b"still there");
    }
    quiet.send(request.as_bytes()).expect("sent");
    let last = quiet.read_answer("GET").expect("a connection that was kept is answered once more");
    assert_eq!((last.status, last.header("connection")), (200, Some("close")));
    assert_eq!(quiet.read_to_end().expect("then it ends"), b"");
    // The manager knows one router, which follows it, and counts what its predecessors did.
    wait_for("the router to count everything", || {
        let status = shop.cell.try_status()?;
        let front = status.routers.first().ok_or("no router")?;
        let wanted = ENOUGH * (ROUNDS as u64 + 1);
        if front.connected && front.totals.requests >= wanted && front.totals.failed == 0 {
            Ok(())
        } else {
            Err(format!("{front:?}"))
        }
    });
    assert_eq!(download.join().expect("it only reads"), DOWNLOAD_BYTES);
    // The first process waits for its WebSocket alone, the others for nobody.
    old[1..].iter().for_each(|pid| wait_until_gone(*pid));
    assert!(is_alive(old[0]));
    chat.echo(Opcode::Binary, &[7; 5000]);
    drop(chat);
    wait_until_gone(old[0]);
    assert_eq!(shop.first.wait(), Some(0), "a process that was replaced ends well: {}", shop.first.log());
    load.finish();
    shop.stop();
}

#[test]
fn clients_of_http2_move_on_without_losing_a_request() {
    let scratch = Scratch::new();
    let mut shop = Shop::start(&scratch);
    let load = SteadyHttp2::start(shop.cell.router, "/healthz", 5);
    let enough = |load: &SteadyHttp2| {
        let until = load.answers() + ENOUGH;
        wait_for("the load to go on", || match load.answers() {
            count if count >= until => Ok(()),
            count => Err(format!("{count} of {until} answers")),
        });
    };
    // Says nothing, and is asked to go all the same.
    let mut quiet = TcpStream::connect(shop.cell.router).expect("the router accepts");
    let empty_settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    quiet
        .write_all(&[b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice(), &empty_settings].concat())
        .expect("the router reads");
    quiet.set_read_timeout(Some(support::PATIENCE)).expect("it can be set");
    enough(&load);
    for _ in 0..ROUNDS {
        let (old, _) = shop.upgrade();
        enough(&load);
        wait_until_gone(old);
    }
    let connections = load.finish();
    assert!(connections >= 5 * (ROUNDS as u64 + 1), "{connections} connections");
    let mut told = Vec::new();
    quiet.read_to_end(&mut told).expect("it ends in good order");
    shop.stop();
}

#[test]
fn an_upgrade_that_fails_leaves_the_old_process_serving() {
    let scratch = Scratch::new();
    let mut shop = Shop::start(&scratch);
    let load = Steady::start(shop.cell.router, "/healthz", 4);
    shop.fails(&["--binary", "/bin/false"], "ended before it served");
    load.go_on(ENOUGH);
    let killed = shop.script(&scratch, "killed", "kill -9 $$");
    shop.fails(&["--binary", &killed], "signal: 9");
    let text = fs::read_to_string(&shop.cell.config).expect("the test wrote it");
    fs::write(&shop.cell.config, "[cell").expect("ours");
    shop.fails(&[], "exit status: 2");
    // A router fewer than there are: its clients would have nobody.
    fs::write(
        &shop.cell.config,
        text.replace("[routers.front]", "[routers.back]").replace("routers.front", "routers.back"),
    )
    .expect("ours");
    shop.fails(&[], "exit status: 2");
    fs::write(&shop.cell.config, text).expect("ours");
    // It cannot be found by the next one, and says so before anybody lets go.
    let in_the_way = shop.cell.state_dir.join("router").join("upgrade.new");
    fs::create_dir(&in_the_way).expect("the state directory can be written");
    shop.fails(&[], "exit status");
    fs::remove_dir(&in_the_way).expect("nobody needs it");
    load.go_on(ENOUGH);
    let said =
        cell::muster(&["router", "upgrade", "--state-dir", &shop.state_dir(), "--binary", "/etc/passwd"]);
    assert_eq!(said.code, Some(2), "{said:?}");
    shop.upgrade();
    load.go_on(ENOUGH);
    load.finish();
    shop.stop();
}

#[test]
fn a_new_process_that_dies_at_any_moment_is_not_noticed() {
    let scratch = Scratch::new();
    let mut shop = Shop::start(&scratch);
    let load = Steady::start(shop.cell.router, "/healthz", 4);
    // It stops by itself before it is Muster, so it dies at its beginning however slow the machine is.
    let stopped =
        format!("sh -c 'kill -STOP $$; exec {MUSTER} \"$@\"' sh \"$@\" &\npid=$!\nsleep 0.01\nkill -9 $pid");
    let killer = shop.script(&scratch, "stopped", &stopped);
    shop.fails(&["--binary", &killer], "ended before it served");
    load.go_on(ENOUGH);
    for milliseconds in [1, 3, 5, 7, 10, 15, 20, 25, 30] {
        // Killed while it loads, asks, prepares: whether it got as far as serving is chance. Then the old one has gone.
        let text = format!(
            "{MUSTER} \"$@\" &\npid=$!\nsleep {}\nkill -STOP $pid\nkill -9 $pid",
            f64::from(milliseconds) / 1000.0
        );
        let killer = shop.script(&scratch, "killer", &text);
        let (told, said) = shop.try_upgrade(&["--binary", &killer]);
        if told.is_upgraded {
            return;
        }
        assert_eq!(said.code, Some(1), "{told:?}");
        load.go_on(ENOUGH);
    }
    load.finish();
    shop.stop();
}

#[test]
fn a_new_process_goes_on_alone_when_the_old_one_is_killed() {
    let scratch = Scratch::new();
    let mut shop = Shop::start(&scratch);
    let router = shop.cell.router;
    let _chat = WebSocket::open(router, "/chat");
    let (old, _) = shop.upgrade();
    // It waits for its WebSocket; nobody else needs it any more.
    let load = Steady::start(router, "/healthz", 4);
    load.go_on(ENOUGH);
    send(old, Signal::KILL);
    load.go_on(ENOUGH);
    load.finish();
    // Killed before the new one could ask it: the new one starts for itself.
    let (started, go_on) = (scratch.join("started"), scratch.join("go-on"));
    let wait =
        format!("touch {}\nwhile [ ! -e {} ]; do sleep 0.02; done", started.display(), go_on.display());
    let slow = shop.script(&scratch, "slow", &format!("{wait}\nexec {MUSTER} \"$@\""));
    let serving = shop.serving();
    let killer = thread::spawn(move || {
        wait_for("the new process to be started", || match started.exists() {
            true => Ok(()),
            false => Err("not yet".into()),
        });
        send(serving, Signal::KILL);
        wait_until_gone(serving);
        fs::write(&go_on, "").expect("the test's directory can be written");
    });
    let (told, said) = shop.try_upgrade(&["--binary", &slow]);
    killer.join().expect("it only kills");
    assert_eq!(said.code, Some(4), "{told:?}");
    wait_for("the new process to serve", || {
        let answer = http::get(router, "/healthz").map_err(|error| error.to_string())?;
        if answer.status == 200 { Ok(()) } else { Err(answer.status.to_string()) }
    });
    let state_dir = shop.state_dir();
    // It can be upgraded in its turn, which also tells the test its number.
    let said = wait_for("an upgrade", || {
        let said = cell::muster(&["router", "upgrade", "--json", "--state-dir", &state_dir]);
        if said.code == Some(0) { Ok(said) } else { Err(format!("{said:?}")) }
    });
    let told: Told = serde_json::from_str(&said.data).expect("JSON");
    shop.pids.extend([told.old_pid, told.new_pid].into_iter().flatten());
    shop.stop();
}

#[test]
fn a_process_with_members_is_not_replaced_and_says_why() {
    let scratch = Scratch::new();
    let cell = Cell::start(&scratch, &shop_tables(&[("s1", 1)]));
    cell.wait_until_all_up("shop");
    let said = cell.muster(&["router", "upgrade"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.talk.contains("--role router"), "{said:?}");
    assert_eq!(http::get(cell.router, "/healthz").expect("answered").status, 200);
    cell.stop();
    let state_dir = scratch.join("state").display().to_string();
    let said = cell::muster(&["router", "upgrade", "--state-dir", &state_dir]);
    assert_eq!(said.code, Some(3), "{said:?}");
}

#[test]
fn a_router_without_a_cell_is_replaced_too() {
    let scratch = Scratch::new();
    let member = support::member::RecordingMember::start();
    let address = support::free_address();
    let file = scratch.write(
        "plugin-cfg.xml",
        &format!(
            "<Config><VirtualHostGroup Name=\"h\"><VirtualHost Name=\"*:{port}\"/></VirtualHostGroup>\
             <ServerCluster Name=\"c\"><Server Name=\"s\"><Transport Hostname=\"127.0.0.1\" Port=\"{}\" \
             Protocol=\"http\"/></Server></ServerCluster><UriGroup Name=\"u\"><Uri Name=\"/*\"/></UriGroup>\
             <Route ServerCluster=\"c\" UriGroup=\"u\" VirtualHostGroup=\"h\"/></Config>",
            member.address.port(),
            port = address.port()
        ),
    );
    let state_dir = scratch.join("state");
    let mut command = Command::new(MUSTER);
    command.args(["router", "run", "--listen", &address.to_string(), "--plugin-cfg"]).arg(&file);
    command.arg("--state-dir").arg(&state_dir);
    let mut first = Running::start("router", &mut command, &scratch.join("router.log"));
    support::wait_until_listening(address, &mut first);
    let load = Steady::start(address, "/x", 4);
    load.go_on(ENOUGH);
    let (file, state_dir) = (file.display().to_string(), state_dir.display().to_string());
    let said = wait_for("an upgrade", || {
        let words = ["router", "upgrade", "--json", "--plugin-cfg", &file, "--state-dir", &state_dir];
        let said = cell::muster(&words);
        if said.code == Some(0) { Ok(said) } else { Err(format!("{said:?}")) }
    });
    let told: Told = serde_json::from_str(&said.data).expect("JSON");
    let new = told.new_pid.expect("told");
    assert_eq!(first.wait(), Some(0), "{}", first.log());
    load.go_on(ENOUGH);
    load.finish();
    send(new, Signal::TERM);
    wait_until_gone(new);
}

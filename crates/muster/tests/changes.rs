//! The cell is changed in every way that an operator has, under load, and no request fails: members added, removed,
//! drained, restarted and killed; routes, listeners and threads changed.
//!
//! Not here: a new binary (see `upgrade`), real servers (see `servers`).

mod support;

use rustix::process::Signal;
use std::fs;
use std::net::{SocketAddr, TcpStream};
use support::cell::{Cell, shop_tables};
use support::http::Connection;
use support::steady::Steady;
use support::{Scratch, free_address, http, send, wait_for};
use wire::view::RunState;

/// Requests that tell that the load goes on.
const ENOUGH: u64 = 300;
const CONNECTIONS: usize = 8;

/// A cell under load from its beginning.
struct Busy {
    cell: Cell,
    load: Steady,
}

impl Busy {
    fn start(scratch: &Scratch, tables: &str) -> Self {
        let cell = Cell::start(scratch, tables);
        cell.wait_until_all_up("shop");
        let load = Steady::start(cell.router, "/healthz", CONNECTIONS);
        load.go_on(ENOUGH);
        Self { cell, load }
    }

    /// Writes a new configuration and applies it.
    fn apply(&self, change: impl FnOnce(String) -> String) {
        let text = fs::read_to_string(&self.cell.config).expect("the test wrote it");
        fs::write(&self.cell.config, change(text)).expect("the test's directory can be written");
        let config = self.cell.config.display().to_string();
        let said = support::cell::muster(&["apply", &config]);
        assert_eq!(said.code, Some(0), "{said:?}");
    }

    fn finish(self) {
        self.load.go_on(ENOUGH);
        self.load.finish();
        self.cell.stop();
    }

    fn wait_for_member(&self, name: &str, is_wanted: bool) {
        wait_for(&format!("member {name} to be there: {is_wanted}"), || {
            let status = self.cell.try_status()?;
            let members = status.clusters.iter().flat_map(|cluster| &cluster.members);
            let is_there = members.clone().any(|member| member.member.0 == name);
            if is_there == is_wanted { Ok(()) } else { Err(format!("there are {}", members.count())) }
        });
    }
}

/// The member that answers.
fn answers(address: SocketAddr, target: &str) -> Result<String, String> {
    let answer = http::get(address, target).map_err(|error| error.to_string())?;
    match answer.status {
        200 => Ok(answer.header("x-member").unwrap_or_default().to_owned()),
        status => Err(format!("{target}: {status}")),
    }
}

#[test]
fn members_are_added_removed_drained_and_restarted() {
    let scratch = Scratch::new();
    let busy = Busy::start(&scratch, &shop_tables(&[("s1", 1), ("s2", 1)]));
    for round in 0..3 {
        let name = format!("more-{round}");
        busy.apply(|text| text + &format!("\n[clusters.shop.members.{name}]\nweight = 2\n"));
        busy.cell.wait_until_all_up("shop");
        busy.load.go_on(ENOUGH);
        busy.cell.must(&["cluster", "drain", &format!("shop/{name}"), "--yes"]);
        busy.load.go_on(ENOUGH);
        busy.cell.must(&["cluster", "start", &format!("shop/{name}")]);
        busy.load.go_on(ENOUGH);
        busy.apply(|text| text.replace(&format!("\n[clusters.shop.members.{name}]\nweight = 2\n"), ""));
        busy.wait_for_member(&name, false);
        busy.load.go_on(ENOUGH);
    }
    busy.cell.must(&["cluster", "restart", "shop", "--yes"]);
    busy.load.go_on(ENOUGH);
    busy.cell.must(&["cluster", "stop", "shop/s1", "--yes"]);
    busy.load.go_on(ENOUGH);
    busy.cell.must(&["cluster", "start", "shop/s1"]);
    busy.finish();
}

#[test]
fn members_are_killed_one_after_the_other() {
    let scratch = Scratch::new();
    let busy = Busy::start(&scratch, &shop_tables(&[("s1", 1), ("s2", 1), ("s3", 1)]));
    for round in 0..6 {
        let name = ["s1", "s2", "s3"][round % 3];
        let pid = busy.cell.member_pid("shop", name);
        send(pid, Signal::KILL);
        wait_for("another process of it", || {
            let member = busy.cell.member("shop", name);
            let is_new = member.process.as_ref().is_some_and(
                |process| !matches!(process, wire::agent::ProcessState::Running { pid: now } if *now == pid),
            );
            if is_new && member.state == RunState::Up { Ok(()) } else { Err(format!("{member:?}")) }
        });
        busy.load.go_on(ENOUGH);
    }
    busy.finish();
}

#[test]
fn routes_are_changed() {
    let scratch = Scratch::new();
    let other = "\n[clusters.other.members.o1]\ncommand = [\"MUSTER\", \"sample-app\"]\n\
                 environment = { PORT = \"{port}\" }\n"
        .replace("MUSTER", support::cell::MUSTER);
    let route = |path: &str, cluster: &str| {
        format!("[[routers.front.routes]]\npath = \"{path}\"\ncluster = \"{cluster}\"\n\n")
    };
    let tables = format!(
        "{}{}{}{other}",
        route("/", "shop"),
        route("/status", "shop"),
        shop_tables(&[("s1", 1), ("s2", 1)])
    );
    let busy = Busy::start(&scratch, &tables);
    busy.cell.wait_until_all_up("other");
    let moved = Steady::start(busy.cell.router, "/status/200", 4);
    for _ in 0..4 {
        for (before, after) in [("shop", "other"), ("other", "shop")] {
            busy.apply(|text| text.replace(&route("/status", before), &route("/status", after)));
            wait_for("the route to lead elsewhere", || {
                let member = answers(busy.cell.router, "/status/200")?;
                if member.starts_with('o') == (after == "other") { Ok(()) } else { Err(member) }
            });
            moved.go_on(100);
            busy.load.go_on(100);
        }
    }
    moved.finish();
    busy.finish();
}

#[test]
fn listeners_and_threads_are_changed() {
    let scratch = Scratch::new();
    let busy = Busy::start(&scratch, &shop_tables(&[("s1", 1), ("s2", 1)]));
    let first = busy.cell.router;
    for round in 0..3 {
        let more = free_address();
        let one = format!("listen = [\"{first}\"]");
        let two = format!("listen = [\"{first}\", \"{more}\"]");
        busy.apply(|text| text.replace(&one, &two));
        wait_for("the new address", || answers(more, "/healthz"));
        let mut kept = Connection::open(more);
        let more_load = Steady::start(more, "/healthz", 4);
        more_load.go_on(ENOUGH);
        more_load.finish();
        busy.apply(|text| text.replace(&two, &one));
        wait_for("the address to be given up", || match TcpStream::connect(more) {
            Err(_) => Ok(()),
            Ok(_) => Err("somebody accepts".into()),
        });
        let request = format!("GET /healthz HTTP/1.1\r\nHost: {more}\r\n\r\n");
        kept.send(request.as_bytes()).expect("a connection outlives its address");
        assert_eq!(kept.read_answer("GET").expect("answered").status, 200);
        busy.load.go_on(ENOUGH);
        let (before, after) = if round % 2 == 0 { (2, 4) } else { (4, 2) };
        busy.apply(|text| text.replace(&format!("threads = {before}"), &format!("threads = {after}")));
        busy.load.go_on(ENOUGH);
    }
    busy.finish();
}

//! One manager whose store is on servers: PostgreSQL and etcd, that stop and come back.

mod support;

use std::net::TcpListener;
use std::process::Command;
use support::cell::{Cell, muster};
use support::stores::{Kind, StoreServer};
use support::{Running, Scratch, free_port, wait_for};
use wire::status::CellStatus;
use wire::view::RunState;

fn start(server: &StoreServer, scratch: &Scratch) -> Running {
    let words = server.command();
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]);
    Running::start("store", &mut command, &scratch.join("store.log"))
}

/// A cluster with a member that the test keeps listening.
fn cluster(member: &TcpListener) -> String {
    let address = member.local_addr().expect("it is bound");
    format!("\n[clusters.shop.members.one]\naddress = \"{address}\"\nweight = 2\n")
}

fn history(cell: &Cell) -> Vec<wire::status::ConfigRevision> {
    cell.read("/api/v1/config/history").expect("the history")
}

fn lives_on(kind: Kind) {
    let scratch = Scratch::new();
    let server = StoreServer::prepare(&scratch, kind, "127.0.0.1", free_port());
    let table = server.table(&scratch.join("store-password"));
    // The manager starts first: it waits for its store.
    let member = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let tables = format!("{}{table}", cluster(&member));
    let (console, router) = (support::free_address(), support::free_address());
    let text = support::cell::config(&scratch, console, router, &tables);
    let config = scratch.write("muster.toml", &text);
    let process = support::cell::run(&config, &[], &scratch.join("muster.log"));
    wait_for("the manager to miss its store", || {
        if process.log().contains("M5004") { Ok(()) } else { Err(process.log()) }
    });
    let store = start(&server, &scratch);
    let cell = Cell::attach(process, console, router, config, scratch.join("state"));
    let first = cell.status();
    let leader = first.leader.expect("its store is shared");
    assert_eq!(leader.node.0, "local");
    assert!(leader.term.0 > 0, "{leader:?}");

    cell.apply(&[("weight = 2", "weight = 3")]);
    assert_eq!(cell.status().config_revision, 2);
    cell.wait_for_state("shop", "one", RunState::Up);
    cell.must(&["cluster", "drain", "shop", "one"]);
    cell.wait_for_state("shop", "one", RunState::Draining);

    // While the store is away nothing is changed, and nobody is told that it was.
    drop(store);
    wait_for("the lead to end", || match cell.try_status() {
        Ok(status) => Err(format!("{:?}", status.leader)),
        Err(refusal) if refusal.contains("M2025") => Ok(()),
        Err(refusal) => Err(refusal),
    });
    // What was known last is shown to people, as what it is.
    let shown = cell.muster(&["status"]);
    assert_eq!(shown.code, Some(3), "{shown:?}");
    assert!(shown.data.contains("STALE: no manager leads") && shown.data.contains("shop"), "{shown:?}");
    let shown = cell.muster(&["status", "--json"]);
    let status: CellStatus = serde_json::from_str(&shown.data).expect("a status");
    assert!(status.stale_since_ms.is_some_and(|since_ms| since_ms <= status.now_ms), "{status:?}");
    assert_eq!((shown.code, status.nodes.len(), status.clusters.len()), (Some(3), 1, 1));
    let config = cell.config.display().to_string();
    let said = muster(&["apply", &config]);
    assert_ne!(said.code, Some(0), "{said:?}");
    assert!(said.talk.contains("M2025"), "{said:?}");

    let _store = start(&server, &scratch);
    let status = wait_for("the manager to lead again", || cell.try_status());
    assert!(status.leader.expect("its store is shared").term > leader.term, "a term has one beginning");
    assert!(status.generation > first.generation, "a generation too");
    assert_eq!(status.config_revision, 2);
    cell.wait_for_state("shop", "one", RunState::Draining);
    cell.apply(&[("weight = 3", "weight = 4")]);
    assert_eq!(history(&cell).iter().map(|entry| entry.revision).collect::<Vec<_>>(), [1, 2, 3]);

    // Another process: what its file says is in force, as with a store of its own.
    let Cell { process, console, router, config, state_dir, .. } = cell;
    process.signal(rustix::process::Signal::TERM);
    let mut process = process;
    assert_eq!(process.wait(), Some(0), "{}", process.log());
    let text = std::fs::read_to_string(&config).expect("the test wrote it");
    std::fs::write(&config, text.replace("weight = 4", "weight = 5")).expect("it can be written");
    let process = support::cell::run(&config, &[], &scratch.join("muster-2.log"));
    let cell = Cell::attach(process, console, router, config, state_dir);
    assert_eq!(history(&cell).last().map(|entry| entry.revision), Some(4));
}

#[test]
fn a_manager_lives_on_postgresql() {
    lives_on(Kind::Postgres);
}

#[test]
fn a_manager_lives_on_etcd() {
    lives_on(Kind::Etcd);
}

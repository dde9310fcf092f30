//! A cell of several processes: routers and agents go on without their manager, and start without it; it finds them
//! again when it is back. And a cell whose disk is full.

mod support;

use rustix::process::Signal;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use support::cell::{self, Cell, MUSTER, shop_tables};
use support::steady::Steady;
use support::{Running, Scratch, family, free_address, http, is_alive, send, wait_for};
use wire::agent::ProcessState;
use wire::status::{ConfigRevision, ErrorBody, NodeStatus};
use wire::view::RunState;

/// Requests that tell that a cell goes on.
const ENOUGH: u64 = 300;

/// The processes of a member among those that descend from `process`.
fn processes_of(process: &Running, member: &str) -> Vec<u32> {
    let wanted = format!("MUSTER_MEMBER={member}");
    let has_name = |pid: &u32| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|variable| variable == wanted.as_bytes())
    };
    family(process.pid()).into_iter().filter(|pid| has_name(pid) && is_alive(*pid)).collect()
}

/// Waits until a member answers requests that come through the router.
fn wait_until_it_answers(cell: &Cell, member: &str) {
    wait_for(&format!("{member} to answer through the router"), || {
        let answer = http::get(cell.router, "/healthz").map_err(|error| error.to_string())?;
        let name = answer.header("x-member").unwrap_or_default().to_owned();
        if name == member { Ok(()) } else { Err(format!("{} from {name:?}", answer.status)) }
    });
}

fn kill(process: &mut Running) {
    process.signal(Signal::KILL);
    assert_eq!(process.wait(), None, "a killed process has no status");
}

fn stop(mut process: Running) {
    process.signal(Signal::TERM);
    assert_eq!(process.wait(), Some(0), "{}", process.log());
}

fn start_manager_again(cell: &mut Cell, scratch: &Scratch) {
    cell.process = cell::run(&cell.config, &["manager"], &scratch.join("again.log"));
    cell.wait_until_it_answers();
}

fn history(cell: &Cell) -> Vec<ConfigRevision> {
    cell.read("/api/v1/config/history").unwrap_or_else(|refusal| panic!("no history: {refusal}"))
}

#[test]
fn router_and_agent_go_on_without_their_manager_and_it_finds_them_again() {
    let scratch = Scratch::new();
    let tables = shop_tables(&[("s1", 2), ("s2", 2), ("s3", 2)]);
    let mut cell = Cell::start_roles(&scratch, &tables, &["manager"]);
    let rest = cell::run(&cell.config, &["agent", "router"], &scratch.join("rest.log"));
    cell.wait_until_all_up("shop");
    cell.apply(&[("members.s2]\nweight = 2", "members.s2]\nweight = 4")]);
    cell.must(&["cluster", "stop", "shop/s3", "--yes"]);
    let (before, history_before, events_before) = (cell.status(), history(&cell), cell.events());
    let (first, second) = (cell.member_pid("shop", "s1"), cell.member_pid("shop", "s2"));
    let load = Steady::start(cell.router, "/healthz", 4);
    load.go_on(ENOUGH);

    kill(&mut cell.process);
    load.go_on(ENOUGH);
    assert_eq!(cell.muster(&["status"]).code, Some(3), "a cell without manager is not reached");
    send(first, Signal::KILL);
    wait_for("the agent to start s1 again", || match processes_of(&rest, "s1").as_slice() {
        [] => Err("there is none".into()),
        running if running.contains(&first) => Err("the old one is there".into()),
        _ => Ok(()),
    });
    wait_until_it_answers(&cell, "s1");
    load.go_on(ENOUGH);
    assert_eq!(processes_of(&rest, "s3"), Vec::<u32>::new(), "what was stopped stays stopped");

    start_manager_again(&mut cell, &scratch);
    cell.wait_for_state("shop", "s1", RunState::Up);
    cell.wait_for_state("shop", "s2", RunState::Up);
    let after = cell.status();
    assert!(after.generation > before.generation, "{} and {}", before.generation, after.generation);
    assert_eq!((after.config_revision, history(&cell)), (2, history_before));
    assert!(after.nodes[0].connected && after.routers[0].connected, "{after:?}");
    let events = cell.events();
    assert_eq!(events[..events_before.len()], events_before, "what happened before is not forgotten");
    assert_eq!(cell.member_pid("shop", "s2"), second, "a member that runs is left alone");
    assert!(cell.member("shop", "s1").restarts > 0, "the agent tells of its restart");
    let stopped = cell.member("shop", "s3");
    assert_eq!((stopped.state, stopped.process), (RunState::Down, Some(ProcessState::Stopped)));
    assert_eq!(cell.member("shop", "s2").weight, 4);
    cell.must(&["cluster", "start", "shop/s3"]);
    wait_until_it_answers(&cell, "s3");
    load.go_on(ENOUGH);
    load.finish();
    stop(rest);
    cell.stop();
}

#[test]
fn router_and_agent_start_without_a_manager_from_what_they_knew() {
    let scratch = Scratch::new();
    let mut cell = Cell::start_roles(&scratch, &shop_tables(&[("s1", 2), ("s2", 2)]), &["manager"]);
    let mut agent = cell::run(&cell.config, &["agent"], &scratch.join("agent.log"));
    let mut router = cell::run(&cell.config, &["router"], &scratch.join("router.log"));
    cell.wait_until_all_up("shop");
    cell.must(&["cluster", "stop", "shop/s2", "--yes"]);
    let members = processes_of(&agent, "s1");
    kill(&mut cell.process);

    kill(&mut router);
    let router = cell::run(&cell.config, &["router"], &scratch.join("router.log"));
    wait_until_it_answers(&cell, "s1");

    kill(&mut agent);
    wait_for("the members to be gone with their agent", || {
        let left: Vec<u32> = members.iter().copied().filter(|pid| is_alive(*pid)).collect();
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?} are there")) }
    });
    let agent = cell::run(&cell.config, &["agent"], &scratch.join("agent.log"));
    wait_until_it_answers(&cell, "s1");
    assert_eq!(processes_of(&agent, "s2"), Vec::<u32>::new(), "what was stopped stays stopped");

    start_manager_again(&mut cell, &scratch);
    cell.wait_for_state("shop", "s1", RunState::Up);
    cell.must(&["cluster", "start", "shop/s2"]);
    cell.wait_until_all_up("shop");
    stop(router);
    stop(agent);
    cell.stop();
}

#[test]
fn a_lost_agent_is_told_of_and_its_return_heals_the_cell() {
    let scratch = Scratch::new();
    let cell = Cell::start_roles(&scratch, &shop_tables(&[("s1", 2)]), &["manager", "router"]);
    let mut agent = cell::run(&cell.config, &["agent"], &scratch.join("agent.log"));
    cell.wait_until_all_up("shop");
    let nodes = |said: &str| -> Vec<NodeStatus> { serde_json::from_str(said).expect("nodes as JSON") };
    assert!(nodes(&cell.must(&["node", "--json"]))[0].connected);
    kill(&mut agent);
    let code = wait_for("the manager to miss the agent", || {
        let said = cell.muster(&["node", "--json"]);
        let is_missed = !nodes(&said.data)[0].connected;
        if is_missed { Ok(said.code) } else { Err("connected".into()) }
    });
    assert_eq!(code, Some(1));
    let lost = cell.events().into_iter().find(|event| event.kind == "node-lost");
    assert!(lost.is_some(), "a person is told");
    let agent = cell::run(&cell.config, &["agent"], &scratch.join("agent.log"));
    wait_for("the manager to hear the agent", || {
        let said = cell.muster(&["node"]);
        if said.code == Some(0) { Ok(()) } else { Err(said.data) }
    });
    cell.wait_until_all_up("shop");
    wait_until_it_answers(&cell, "s1");
    stop(agent);
    cell.stop();
}

/// A cell whose state lies on a disk of four megabytes, which only its processes see and which goes with them. The shell's
/// `script` runs its arguments, which are `muster run`.
fn start_on_a_small_disk(scratch: &Scratch, script: &str) -> Cell {
    let (console, router) = (free_address(), free_address());
    let text = cell::config(scratch, console, router, &shop_tables(&[("s1", 2), ("s2", 2)]));
    let config = scratch.write("muster.toml", &text);
    let state_dir = scratch.join("state");
    fs::create_dir_all(&state_dir).expect("the test's directory can be written");
    let mut command = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        command.arg("--map-root-user");
    }
    command.args(["--mount", "sh", "-c"]);
    command.arg(format!("mount -t tmpfs -o size=4m none \"$0\" || exit 1; {script}")).arg(&state_dir);
    command.arg(MUSTER).arg("run").arg("--config").arg(&config);
    let process = Running::start("muster", &mut command, &scratch.join("muster.log"));
    let seen_from_here = PathBuf::from(format!("/proc/{}/root{}", process.pid(), state_dir.display()));
    Cell::attach(process, console, router, config, seen_from_here)
}

fn fill_disk(cell: &Cell) -> PathBuf {
    let filler = cell.state_dir.join("filler");
    let full = fs::write(&filler, vec![7; 5 << 20]).expect_err("the disk is small");
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull, "{full}");
    filler
}

#[test]
fn a_cell_starts_on_a_full_disk_with_what_it_keeps_and_gets_its_manager_once_there_is_room() {
    let scratch = Scratch::new();
    // The second start is the shell's last act, in its own place.
    let mut cell = start_on_a_small_disk(&scratch, "\"$@\"; exec \"$@\"");
    cell.wait_until_all_up("shop");
    wait_for("what is kept for the next start", || {
        let kept = ["agent/assignments.json", "router/front.json"].map(|file| cell.state_dir.join(file));
        if kept.iter().all(|file| file.exists()) { Ok(()) } else { Err(format!("{kept:?}")) }
    });
    let filler = fill_disk(&cell);
    let first = family(cell.process.pid()).into_iter().find(|pid| *pid != cell.process.pid());
    send(first.expect("the shell has started it"), Signal::KILL);
    wait_for("members and router of the second start", || {
        let log = cell.process.log();
        if !log.contains("the manager cannot start now") {
            return Err(log);
        }
        let answer = http::get(cell.router, "/healthz").map_err(|error| error.to_string())?;
        if answer.status == 200 { Ok(()) } else { Err(answer.text()) }
    });
    let refusal = cell.try_status();
    assert!(refusal.is_err(), "there is no manager: {refusal:?}");
    fs::remove_file(&filler).expect("it is there");
    cell.wait_until_it_answers();
    cell.wait_until_all_up("shop");
    cell.stop();
}

#[test]
fn a_store_that_is_removed_under_its_manager_is_told_of_and_nothing_is_acknowledged() {
    let scratch = Scratch::new();
    let cell = Cell::start(&scratch, &shop_tables(&[("s1", 2)]));
    cell.wait_until_all_up("shop");
    fs::remove_file(cell.state_dir.join("store.sqlite")).expect("it is there");
    wait_for("an event", || {
        let events = cell.events();
        let is_told =
            events.iter().any(|event| event.kind == "store-failed" && event.text.contains("is gone"));
        if is_told { Ok(()) } else { Err(format!("{events:?}")) }
    });
    let text =
        fs::read_to_string(&cell.config).expect("the test wrote it").replace("weight = 2", "weight = 3");
    let refusal = cell.ask("POST", "/api/v1/config", text.as_bytes()).expect("the API answers");
    let body: ErrorBody =
        serde_json::from_slice(&refusal.body).unwrap_or_else(|error| panic!("{error}: {refusal:?}"));
    assert_eq!(body.code, "M5002", "{body:?}");
    assert_eq!(cell.member("shop", "s1").weight, 2, "nothing has changed");
    cell.stop();
}

#[test]
fn a_full_disk_refuses_changes_and_goes_on_serving() {
    let scratch = Scratch::new();
    let cell = start_on_a_small_disk(&scratch, "exec \"$@\"");
    cell.wait_until_all_up("shop");
    let load = Steady::start(cell.router, "/healthz", 2);
    let filler = fill_disk(&cell);

    // Long enough not to fit into what the store has of the disk already.
    let text = fs::read_to_string(&cell.config).expect("the test wrote it");
    let longer = format!("{}\n# {}\n", text.replace("weight = 2", "weight = 3"), "x".repeat(1 << 20));
    let apply = || cell.ask("POST", "/api/v1/config", longer.as_bytes()).expect("the API answers");
    let refusal = apply();
    let body: ErrorBody =
        serde_json::from_slice(&refusal.body).unwrap_or_else(|error| panic!("{error}: {refusal:?}"));
    assert!(refusal.status >= 500, "{refusal:?}");
    assert!(body.code.starts_with('M') && body.message.contains("full"), "it says what is wrong: {body:?}");
    let status = cell.status();
    assert_eq!((status.config_revision, cell.member("shop", "s1").weight), (1, 2), "nothing has changed");
    load.go_on(ENOUGH);
    kill_and_wait(&cell, "s1");
    load.go_on(ENOUGH);

    fs::remove_file(&filler).expect("it is there");
    wait_for("the configuration to be taken", || {
        let answer = apply();
        if answer.status < 300 { Ok(()) } else { Err(answer.text()) }
    });
    let status = cell.status();
    assert_eq!((status.config_revision, cell.member("shop", "s1").weight), (2, 3));
    load.go_on(ENOUGH);
    load.finish();
    cell.stop();
}

/// Kills a member and waits until the agent has replaced it: its log cannot be written, and it runs all the same.
fn kill_and_wait(cell: &Cell, member: &str) {
    let before = cell.member("shop", member).restarts;
    send(cell.member_pid("shop", member), Signal::KILL);
    wait_for(&format!("{member} to be started again"), || {
        let now = cell.member("shop", member);
        let is_back = now.restarts > before && now.state == RunState::Up;
        if is_back { Ok(()) } else { Err(format!("{}: {}", now.state, now.reason)) }
    });
}

//! Three machines and one manager: the guide word by word, cut cables, and a manager that is away.
//!
//! Each host is a network namespace of the test's own. Needs root.

#[path = "several_machines/flood.rs"]
mod flood;
#[path = "several_machines/lost.rs"]
mod lost;
mod support;

use std::time::Duration;
use support::guide::Guide;
use support::hosts::Hosts;
use support::{PATIENCE, Running, Scratch, wait_at_most, wait_for};
use wire::status::{CellStatus, NodeStatus};

const HOSTS: [&str; 3] = ["web-1", "web-2", "web-3"];

/// How long the manager may take to notice that a machine is silent: ten seconds, and a slow test machine.
const SILENCE: Duration = Duration::from_secs(40);

/// The cell of the guide.
struct Cell {
    /// By host; dropped before the hosts.
    running: Vec<Running>,
    hosts: Hosts,
}

/// Parts of the guide: the file, and for each block of commands the host on which they are run.
fn guide() -> (String, Vec<(String, Vec<String>)>) {
    let Guide { mut files, commands } = support::guide::read("several-machines.md", &HOSTS);
    (files.remove(0), commands)
}

impl Cell {
    /// Follows the guide up to the commands that begin with `until`.
    fn follow_guide(scratch: &Scratch, until: &str) -> Self {
        let (file, commands) = guide();
        let hosts = Hosts::new(scratch, &HOSTS);
        hosts.write("web-1", "muster.toml", &file);
        let mut cell = Self { running: Vec::new(), hosts };
        let mut join = String::new();
        for (host, lines) in commands {
            for line in lines {
                if line.starts_with(until) {
                    return cell;
                }
                cell.follow(&host, &line, &mut join);
            }
        }
        panic!("`{until}` is not in the guide")
    }

    fn follow(&mut self, host: &str, line: &str, join: &mut String) {
        if let Some(started) = line.strip_suffix(" &") {
            self.running.push(self.hosts.start(host, started));
            // The manager is asked next.
            if host == "web-1" {
                wait_for("the manager to answer", || self.try_status().map(drop));
            }
        } else if line.starts_with("muster node token") {
            let said = self.hosts.must(host, line);
            said.trim().clone_into(join);
        } else if line.starts_with("muster join") {
            assert!(join.starts_with("muster join 10.0.0.1:29001 mj1."), "{join}");
            self.hosts.must(host, join);
        } else if line.starts_with("curl") {
            // Who types it is slower than a router that has just started.
            wait_for(line, || match self.hosts.run(host, line) {
                said if said.code == Some(0) => Ok(()),
                said => Err(format!("{said:?}")),
            });
        } else {
            self.hosts.must(host, line);
        }
    }

    fn try_status(&self) -> Result<CellStatus, String> {
        let said = self.hosts.run("web-1", "muster status --json");
        serde_json::from_str(&said.data).map_err(|error| format!("{error}: {said:?}"))
    }

    fn node(&self, name: &str) -> Result<NodeStatus, String> {
        let nodes = self.try_status()?.nodes;
        nodes.into_iter().find(|node| node.node.0 == name).ok_or_else(|| format!("there is no node {name}"))
    }

    fn wait_until_connected(&self, name: &str) {
        wait_for(&format!("{name} to be connected with its router"), || {
            let node = self.node(name)?;
            let is_whole = node.connected && node.roles.iter().any(|role| role.starts_with("router"));
            if is_whole { Ok(()) } else { Err(format!("{node:?}")) }
        });
    }

    /// Who answers so many requests to the router of a host; all must be answered.
    fn members_reached(&self, host: &str, requests: usize) -> Vec<String> {
        let ask = |_| {
            let curl =
                "curl --silent --show-error --fail --max-time 20 --include http://127.0.0.1:8080/healthz";
            let said = self.hosts.must(host, curl);
            let member = said.lines().find_map(|line| line.strip_prefix("x-member: "));
            member.unwrap_or_else(|| panic!("no member is named: {said}")).trim().to_owned()
        };
        let mut members: Vec<String> = (0..requests).map(ask).collect();
        members.sort();
        members.dedup();
        members
    }

    /// A router leaves out who did not answer, for ten seconds more each time, up to a hundred.
    fn wait_until_reached(&self, host: &str, wanted: &[&str]) {
        let most = Duration::from_secs(100) + PATIENCE;
        wait_at_most(most, &format!("the router of {host} to use {wanted:?}"), &mut || {
            let reached = self.members_reached(host, 12);
            if reached == wanted { Ok(()) } else { Err(format!("{reached:?}")) }
        });
    }
}

const ALL: [&str; 3] = ["shop-1", "shop-2", "shop-3"];

#[test]
fn the_guide_leads_to_a_cell_in_which_every_router_reaches_every_member_and_a_node_can_be_removed() {
    let scratch = Scratch::new();
    let cell = Cell::follow_guide(&scratch, "muster node remove");
    for host in HOSTS {
        cell.wait_until_connected(host);
        cell.wait_until_reached(host, &ALL);
    }
    let second = cell.node("web-2").expect("a node");
    assert_eq!(second.address, Some([10, 0, 0, 2].into()));
    assert_eq!(second.version, env!("CARGO_PKG_VERSION"));
    assert_eq!(second.roles, ["agent", "router front-2"]);
    assert_eq!(cell.node("web-1").expect("a node").roles, ["manager", "agent", "router front-1"]);

    // A router that is placed elsewhere by the manager's configuration stops there and starts here.
    let (file, _) = guide();
    let moved =
        file.replace("node = \"web-2\"\nlisten", "node = \"web-3\"\nlisten").replacen("8080", "8081", 2);
    let moved = moved.replacen("8081", "8080", 1);
    cell.hosts.write("web-1", "new.toml", &moved);
    cell.hosts.must("web-1", "muster apply new.toml");
    wait_for("front-2 to run on web-3", || {
        let said =
            cell.hosts.run("web-3", "curl --silent --fail --max-time 10 http://127.0.0.1:8081/healthz");
        if said.code == Some(0) { Ok(()) } else { Err(format!("{said:?}")) }
    });

    // What is removed is cut off at once and stays out; its router goes on.
    cell.hosts.must("web-1", "muster node remove web-3 --yes");
    wait_at_most(Duration::from_secs(5), "web-3 to be cut off", &mut || {
        let node = cell.node("web-3")?;
        if node.connected || !node.roles.is_empty() { Err(format!("{node:?}")) } else { Ok(()) }
    });
    wait_for("web-3 to say why", || {
        let log = cell.running.last().expect("web-3 runs").log();
        if log.contains("was removed from the cell") { Ok(()) } else { Err(log) }
    });
    assert!(!cell.node("web-3").expect("a node").connected, "it came back");
    cell.members_reached("web-3", 4);
    let again = cell.hosts.run("web-1", "muster node remove web-3 --yes");
    assert_eq!(again.code, Some(1), "{again:?}");
    assert!(again.talk.contains("M2006"), "{again:?}");
}

#[test]
fn routers_go_on_when_a_cable_is_cut_and_when_the_manager_is_away() {
    let scratch = Scratch::new();
    let mut cell = Cell::follow_guide(&scratch, "curl");
    for host in HOSTS {
        cell.wait_until_connected(host);
        cell.wait_until_reached(host, &ALL);
    }

    // Who is cut off is noticed, and left out by routers that cannot reach it; its own router uses what it reaches.
    cell.hosts.cut("web-3");
    // Requests over connections that were there already find out by themselves, so some fail at first.
    cell.wait_until_only_reached("web-2", &ALL[..2]);
    cell.wait_until_only_reached("web-1", &ALL[..2]);
    cell.wait_until_only_reached("web-3", &ALL[2..]);
    wait_at_most(SILENCE, "the manager to miss web-3", &mut || match cell.node("web-3")? {
        node if node.connected => Err(format!("{node:?}")),
        _ => Ok(()),
    });
    cell.hosts.heal("web-3");
    cell.wait_until_connected("web-3");
    for host in HOSTS {
        cell.wait_until_reached(host, &ALL);
    }

    // Without the manager's machine: also a node that starts anew goes on as it was.
    drop(cell.running.remove(0));
    for host in ["web-2", "web-3"] {
        cell.wait_until_reached(host, &ALL[1..]);
    }
    drop(cell.running.remove(0));
    cell.running.insert(0, cell.hosts.start("web-2", "muster run"));
    cell.wait_until_reached_at_last("web-2", &ALL[1..]);
    cell.running.insert(0, cell.hosts.start("web-1", "muster run --node web-1"));
    wait_for("the manager to answer", || cell.try_status().map(drop));
    for host in HOSTS {
        cell.wait_until_connected(host);
        cell.wait_until_reached(host, &ALL);
    }
}

impl Cell {
    /// Waits until so many requests in a row are answered, each soon and by one of these.
    fn wait_until_only_reached(&self, host: &str, wanted: &[&str]) {
        let curl = "curl --silent --show-error --fail --max-time 8 --include http://127.0.0.1:8080/healthz";
        wait_at_most(Duration::from_secs(90), &format!("only {wanted:?} on {host}"), &mut || {
            for _ in 0..12 {
                let said = self.hosts.run(host, curl);
                let member = said.data.lines().find_map(|line| line.strip_prefix("x-member: "));
                if !member.is_some_and(|member| wanted.contains(&member.trim())) {
                    return Err(format!("{said:?}"));
                }
            }
            Ok(())
        });
    }

    /// The same of a router that has yet to start, and may refuse until then.
    fn wait_until_reached_at_last(&self, host: &str, wanted: &[&str]) {
        wait_for(&format!("the router of {host} to answer"), || {
            let said =
                self.hosts.run(host, "curl --silent --fail --max-time 10 http://127.0.0.1:8080/healthz");
            if said.code == Some(0) { Ok(()) } else { Err(format!("{said:?}")) }
        });
        self.wait_until_reached(host, wanted);
    }
}

//! The script templates of ExpressCluster's guide, as they stand there, in a group: a real nginx and a real Postfix, each with the
//! script that starts it and the script that monitors it; and the guide's four verifications with its commands.
//!
//! Needs root: each host is a network namespace with files of its own.

mod support;

use support::hosts::Hosts;
use support::templates::{Case, HTTP, SMTP, furnish};
use support::{Running, Scratch, wait_for};
use wire::group::{GroupCondition, GroupStatus};
use wire::status::{CellStatus, Event};

const HOSTS: [&str; 3] = ["boss", "one", "two"];

fn tables(case: &Case, scratch: &Scratch) -> String {
    let script = |name: &str| case.script(scratch, name);
    let group = case.group;
    format!(
        "[groups.{group}]\nnodes = [\"one\", \"two\"]\nrestarts_max = 0\n\n\
             [groups.{group}.resources.app]\ntype = \"exec\"\nstart = [\"{}\"]\nstop = [\"{}\"]\n\n\
             [groups.{group}.resources.mon]\ntype = \"process\"\ncommand = [\"{}\"]\n\n\
             [groups.{group}.resources.mon-stop]\ntype = \"exec\"\nstart = [\"true\"]\nstop = [\"{}\"]\n",
        script("app-start.sh"),
        script("app-stop.sh"),
        script("mon-start.sh"),
        script("mon-stop.sh")
    )
}

/// A cell of three hosts, of which two may run the group.
struct Cell {
    /// By host; dropped before the hosts.
    running: Vec<Running>,
    hosts: Hosts,
    case: Case,
}

impl Cell {
    fn start(scratch: &Scratch, case: Case) -> Self {
        case.write_scripts(scratch);
        let hosts = Hosts::new(scratch, &HOSTS);
        let mut config = String::from("[manager]\nlisten = \"0.0.0.0:29001\"\n");
        for (index, host) in HOSTS.iter().enumerate() {
            config.push_str(&format!("\n[nodes.{host}]\naddress = \"10.0.0.{}\"\n", index + 1));
        }
        hosts.write("boss", "muster.toml", &format!("{config}\n{}", tables(&case, scratch)));
        hosts.must("boss", "muster init");
        let mut cell = Self { running: Vec::new(), hosts, case };
        cell.running.push(cell.hosts.start("boss", "muster run --node boss"));
        wait_for("the manager to answer", || cell.try_status().map(drop));
        for host in &HOSTS[1..] {
            furnish(&cell.hosts, host);
            cell.case.install(&cell.hosts, host);
            let join = cell.hosts.must("boss", &format!("muster node token {host}"));
            cell.hosts.must(host, join.trim());
            cell.running.push(cell.hosts.start(host, "muster run"));
        }
        cell
    }

    fn try_status(&self) -> Result<CellStatus, String> {
        let said = self.hosts.run("boss", "muster status --json");
        serde_json::from_str(&said.data).map_err(|error| format!("{error}: {said:?}"))
    }

    fn group(&self) -> Result<GroupStatus, String> {
        let mut groups = self.try_status()?.groups;
        groups.pop().ok_or_else(|| "there is no group".to_owned())
    }

    fn wait_until_able(&self) -> GroupStatus {
        wait_for("the group to run, and both nodes to be able", || {
            let group = self.group()?;
            let is_able = group.why.iter().all(|why| why.is_able);
            if is_able && group.state == GroupCondition::Online {
                Ok(group)
            } else {
                Err(format!("{group:?}"))
            }
        })
    }

    fn events(&self) -> Result<Vec<Event>, String> {
        let said = self.hosts.shell(
            "boss",
            "curl -s -H \"Authorization: Bearer $(cat /var/lib/muster/admin-token)\" \
             'http://127.0.0.1:29003/api/v1/events?most=1000'",
        );
        serde_json::from_str(&said.data).map_err(|error| format!("{error}: {said:?}"))
    }

    /// The number of the newest event.
    fn mark(&self) -> u64 {
        let events = wait_for("the events", || self.events());
        events.last().map_or(0, |event| event.number)
    }

    /// Waits until the monitoring command of a node has said these numbers since the mark, and nothing else.
    fn wait_for_ids(&self, mark: u64, node: &str, ids: &[u16]) {
        wait_for(&format!("{ids:?} of {node}"), || {
            let events = self.events()?;
            let its = events.iter().filter(|event| event.number > mark && event.kind == self.case.kind);
            let here = its.filter(|event| event.node.as_ref().is_some_and(|there| there.0 == node));
            let said: Vec<u16> = here.filter_map(|event| event.id).collect();
            if said == ids { Ok(()) } else { Err(format!("{said:?}")) }
        });
    }

    /// Runs a command of ExpressCluster at the manager, which must end with 0.
    fn clp(&self, line: &str) -> String {
        let said = self.hosts.run("boss", &format!("muster clp {line}"));
        assert_eq!(said.code, Some(0), "{line}: {said:?}");
        said.data
    }

    /// What the scripts of a node have said so far.
    fn log(&self, node: &str) -> String {
        let path = self.hosts.home(node).join(format!("state/log/group.{}.log", self.case.group));
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// What clpstat shows of the group.
    fn shows(&self, state: &str) {
        let shown = self.clp("stat");
        let line =
            shown.lines().find(|line| line.trim_start().starts_with(&format!("{} ..", self.case.group)));
        assert!(line.is_some_and(|line| line.ends_with(&format!(": {state}"))), "{shown}");
    }

    fn place(&self, node: &str) -> usize {
        HOSTS.iter().position(|known| *known == node).expect("a host of the test")
    }
}

/// The branch of the template that a node takes.
fn branch(word: &str, node: &str) -> String {
    let number = if word == "NORMAL" { 1 } else { 2 };
    let server = if node == "one" { format!("{word}2") } else { format!("ON_OTHER{number}") };
    format!("{word}1\n{server}\n")
}

fn verify(case: Case) {
    let scratch = Scratch::new();
    let cell = Cell::start(&scratch, case);
    let name = cell.case.group;
    let group = cell.wait_until_able();
    let first = if group.node.is_some_and(|node| node.0 == "one") { "one" } else { "two" };
    let other = if first == "one" { "two" } else { "one" };

    // Verification 1: it starts, and monitoring begins.
    cell.wait_for_ids(0, first, &[1, 2]);
    cell.shows("Online");
    assert!(cell.log(first).starts_with(&branch("NORMAL", first)), "{}", cell.log(first));
    assert!(cell.log(first).contains("\nstart: 0\n"), "{}", cell.log(first));

    // Verification 2: it stops, and monitoring before it.
    let mark = cell.mark();
    cell.clp(&format!("grp -t {name}"));
    cell.wait_for_ids(mark, first, &[3]);
    cell.shows("Offline");
    let said = cell.log(first);
    let (monitor, app) = (said.find("mon stop\n"), said.find("\nstop: 0\n"));
    assert!(monitor.is_some() && monitor < app, "{said}");
    let mark = cell.mark();
    cell.clp(&format!("grp -s {name} -h {first}"));
    cell.wait_for_ids(mark, first, &[1, 2]);

    // Verification 3: it moves. The destination starts it as a start, not as a failover.
    let mark = cell.mark();
    cell.clp(&format!("grp -m {name}"));
    cell.wait_for_ids(mark, first, &[3]);
    cell.wait_for_ids(mark, other, &[1, 2]);
    assert_eq!(cell.clp(&format!("grp -n {name}")).trim(), other);
    assert!(cell.log(other).starts_with(&branch("NORMAL", other)), "{}", cell.log(other));

    // Verification 4: its server is rebooted.
    cell.wait_until_able();
    let mark = cell.mark();
    cell.clp(&format!("down -r -h {other} --command true"));
    cell.wait_for_ids(mark, other, &[3]);
    cell.wait_for_ids(mark, first, &[1, 2]);
    cell.clp(&format!("cl --return -h {other}"));

    // The monitoring command ends, which the pid monitor would see: it fails over.
    cell.wait_until_able();
    let mark = cell.mark();
    let pid = cell.hosts.shell(first, &format!("{} {} --disp", cell.case.command, cell.case.identifier));
    assert_eq!(pid.code, Some(0), "{pid:?}");
    cell.hosts.must(first, &format!("kill -KILL {}", pid.data.trim()));
    cell.wait_for_ids(mark, other, &[1, 2]);
    assert!(cell.log(other).contains(&branch("FAILOVER", other)), "{}", cell.log(other));

    // The server is lost.
    cell.clp(&format!("grp -s {name} -h {other}"));
    cell.wait_until_able();
    let mark = cell.mark();
    let place = cell.place(other);
    cell.running[place].signal(rustix::process::Signal::KILL);
    cell.wait_for_ids(mark, first, &[1, 2]);
    assert!(cell.log(first).contains(&branch("FAILOVER", first)), "{}", cell.log(first));
}

#[test]
fn templates_of_the_http_daemon_run_unmodified() {
    verify(HTTP);
}

#[test]
fn templates_of_the_smtp_daemon_run_unmodified() {
    verify(SMTP);
}

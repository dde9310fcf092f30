//! Failover groups on real machines: never on two at once, and back elsewhere when a machine, its agent or its network goes.
//!
//! Each host is a network namespace of the test's own. Needs root. What runs writes one line after the other into a file
//! that all hosts share, with its node and epoch: the order of lines is the order of events.

mod support;

use rustix::process::Signal;
use std::path::PathBuf;
use std::time::Duration;
use support::hosts::Hosts;
use support::{Running, Scratch, wait_for};
use wire::group::{GroupCondition, GroupStatus};
use wire::status::CellStatus;

const HOSTS: [&str; 3] = ["boss", "one", "two"];

struct Cell {
    /// By host; dropped before the hosts.
    running: Vec<Running>,
    hosts: Hosts,
    events: PathBuf,
}

/// One line of the shared file.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Sign {
    what: String,
    node: String,
    epoch: u64,
}

/// Goes on writing for as long as it runs. `EVENTS` is the shared file.
const BEAT: &str = "while :; do echo beat $MUSTER_NODE $MUSTER_EPOCH >> EVENTS; sleep 0.01; done";

impl Cell {
    /// Three hosts with an agent each; the manager is on the first. `groups` are tables of groups, in which `EVENTS` stands
    /// for the shared file.
    fn start(scratch: &Scratch, groups: &str) -> Self {
        let events = scratch.write("events", "");
        let hosts = Hosts::new(scratch, &HOSTS);
        let mut cell = Self { running: Vec::new(), hosts, events };
        cell.hosts.write("boss", "muster.toml", &cell.config(groups));
        cell.hosts.must("boss", "muster check --node boss");
        cell.hosts.must("boss", "muster init");
        cell.running.push(cell.hosts.start("boss", "muster run --node boss"));
        wait_for("the manager to answer", || cell.try_status().map(drop));
        for host in &HOSTS[1..] {
            let join = cell.hosts.must("boss", &format!("muster node token {host}"));
            cell.hosts.must(host, join.trim());
            cell.running.push(cell.hosts.start(host, "muster run"));
        }
        cell
    }

    fn config(&self, groups: &str) -> String {
        let mut text = String::from("[manager]\nlisten = \"0.0.0.0:29001\"\n");
        for (index, host) in HOSTS.iter().enumerate() {
            text.push_str(&format!("\n[nodes.{host}]\naddress = \"10.0.0.{}\"\n", index + 1));
        }
        text + "\n" + &groups.replace("EVENTS", &self.events.display().to_string())
    }

    fn try_status(&self) -> Result<CellStatus, String> {
        let said = self.hosts.run("boss", "muster status --json");
        serde_json::from_str(&said.data).map_err(|error| format!("{error}: {said:?}"))
    }

    fn group(&self, name: &str) -> Result<GroupStatus, String> {
        let groups = self.try_status()?.groups;
        groups
            .into_iter()
            .find(|group| group.group.0 == name)
            .ok_or_else(|| format!("there is no group {name}"))
    }

    fn wait_until_online(&self, name: &str, node: &str) -> GroupStatus {
        wait_for(&format!("group {name} to run on {node}"), || {
            let group = self.group(name)?;
            let is_there = group.node.as_ref().is_some_and(|there| there.0 == node);
            if group.state == GroupCondition::Online && is_there {
                Ok(group)
            } else {
                Err(format!("{group:?}"))
            }
        })
    }

    /// Where it started, which is where a lease came first, and the other node of its policy; both are able.
    fn wait_until_started(&self, name: &str) -> [&'static str; 2] {
        self.wait_for_condition(name, GroupCondition::Online);
        let group = self.wait_until_able(name);
        if group.node.is_some_and(|node| node.0 == "one") { ["one", "two"] } else { ["two", "one"] }
    }

    fn wait_until_able(&self, name: &str) -> GroupStatus {
        wait_for("both nodes to be able", || {
            let group = self.group(name)?;
            if group.why.iter().all(|why| why.is_able) { Ok(group) } else { Err(format!("{:?}", group.why)) }
        })
    }

    fn wait_for_condition(&self, name: &str, wanted: GroupCondition) -> GroupStatus {
        wait_for(&format!("group {name} to be {wanted}"), || {
            let group = self.group(name)?;
            if group.state == wanted { Ok(group) } else { Err(format!("{group:?}")) }
        })
    }

    fn signs(&self) -> Vec<Sign> {
        let text = std::fs::read_to_string(&self.events).expect("the test wrote it");
        let sign = |line: &str| {
            let words: Vec<&str> = line.split(' ').collect();
            let [what, node, epoch] = words[..] else { panic!("{line:?} is no sign") };
            let epoch = epoch.parse().unwrap_or_else(|_| panic!("{line:?} has no epoch"));
            Sign { what: what.to_owned(), node: node.to_owned(), epoch }
        };
        text.lines().map(sign).collect()
    }

    /// Waits until what runs on a node has written something new.
    fn wait_for_sign(&self, what: &str, node: &str) {
        let seen = self.signs().len();
        wait_for(&format!("{what} on {node}"), || {
            let new = self.signs().split_off(seen);
            let is_there = new.iter().any(|sign| sign.what == what && sign.node == node);
            if is_there { Ok(()) } else { Err(format!("{:?}", new.last())) }
        });
    }

    /// Nothing of an epoch is seen once something of a later one was: nobody ran it beside another.
    fn check_that_one_ran_at_a_time(&self) {
        let signs = self.signs();
        for pair in signs.windows(2) {
            let is_in_order = pair[0].epoch <= pair[1].epoch;
            assert!(is_in_order, "two owners at once: {:?} was followed by {:?}", pair[0], pair[1]);
            let is_one = pair[0].epoch != pair[1].epoch || pair[0].node == pair[1].node;
            assert!(is_one, "two nodes had one epoch: {:?} and {:?}", pair[0], pair[1]);
        }
    }

    fn of(&mut self, host: &str) -> &mut Running {
        let place = HOSTS.iter().position(|known| *known == host).expect("a host of the test");
        &mut self.running[place]
    }

    /// Starts what was killed again.
    fn start_again(&mut self, host: &str, line: &str) {
        let place = HOSTS.iter().position(|known| *known == host).expect("a host of the test");
        let _ = self.running[place].wait();
        self.running[place] = self.hosts.start(host, line);
    }
}

fn beat_group() -> String {
    format!(
        "[groups.beat]\nnodes = [\"one\", \"two\"]\n\n[groups.beat.resources.beat]\ntype = \"process\"\n\
         command = [\"sh\", \"-c\", \"{BEAT}\"]\nstop_timeout_ms = 2000\n"
    )
}

#[test]
fn a_group_comes_back_elsewhere_when_its_machine_is_cut_off_and_never_runs_twice() {
    let scratch = Scratch::new();
    let cell = Cell::start(&scratch, &beat_group());
    let [first, other] = cell.wait_until_started("beat");
    cell.wait_for_sign("beat", first);
    cell.hosts.cut(first);
    cell.wait_until_online("beat", other);
    cell.wait_for_sign("beat", other);
    cell.check_that_one_ran_at_a_time();

    // The node that is back runs nothing, and may have the group again.
    cell.hosts.heal(first);
    cell.wait_until_able("beat");
    let said = cell.hosts.run("boss", "muster group move beat --yes");
    assert_eq!(said.code, Some(0), "{said:?}");
    cell.wait_for_sign("beat", first);
    cell.check_that_one_ran_at_a_time();
}

#[test]
fn a_group_outlives_the_agent_the_manager_and_a_frozen_agent_with_one_owner_at_any_time() {
    let scratch = Scratch::new();
    let mut cell = Cell::start(&scratch, &beat_group());
    let [first, other] = cell.wait_until_started("beat");
    cell.wait_for_sign("beat", first);

    // What the killed agent ran is gone with it, and runs elsewhere.
    cell.of(first).signal(Signal::KILL);
    cell.wait_until_online("beat", other);
    cell.wait_for_sign("beat", other);
    cell.start_again(first, "muster run");

    // An agent that is stopped cannot end what it runs; its guardian does.
    cell.wait_until_able("beat");
    cell.of(other).signal(Signal::STOP);
    cell.wait_until_online("beat", first);
    cell.wait_for_sign("beat", first);
    cell.of(other).signal(Signal::CONT);
    cell.check_that_one_ran_at_a_time();

    // A guardian that hangs is found out and killed, and what it held is started anew.
    cell.wait_until_able("beat");
    let held = cell.group("beat").expect("the manager answers");
    let node = held.node.expect("it runs somewhere").0;
    let [guardian] = companions(cell.of(&node).pid(), "guardian")[..] else { panic!("one has the group") };
    support::send(guardian, Signal::STOP);
    let group = wait_for("the group to run with a new epoch", || {
        let group = cell.group("beat")?;
        let is_new = group.epoch > held.epoch && group.state == GroupCondition::Online;
        if is_new { Ok(group) } else { Err(format!("{group:?}")) }
    });
    assert_eq!(group.node.map(|node| node.0), Some(node), "there is nothing wrong with the node");
    cell.check_that_one_ran_at_a_time();

    // A manager that is killed and comes back at once finds the group where it is.
    let epoch = cell.group("beat").expect("the manager answers").epoch;
    cell.of("boss").signal(Signal::KILL);
    cell.start_again("boss", "muster run --node boss");
    wait_for("the manager to answer", || cell.try_status().map(drop));
    let group = cell.wait_for_condition("beat", GroupCondition::Online);
    assert!(group.epoch >= epoch, "{group:?} after epoch {epoch}");
    let node = group.node.expect("it runs somewhere").0;
    cell.wait_for_sign("beat", &node);
    cell.check_that_one_ran_at_a_time();
}

/// The processes below an agent that Muster gave this work to.
fn companions(agent: u32, role: &str) -> Vec<u32> {
    let end = format!("\0{role}\0");
    let is_meant = |pid: &u32| {
        std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.ends_with(end.as_bytes()))
    };
    support::family(agent).into_iter().filter(is_meant).collect()
}

/// What a script has left in the background, in a session of its own, does not end with whoever started it: a third process ends
/// it. Each pair is what happens to the agent and to the guardian at once.
#[test]
fn what_runs_in_the_background_ends_when_agent_and_guardian_are_killed_or_stopped_both() {
    let scratch = Scratch::new();
    let groups = format!(
        "[groups.beat]\nnodes = [\"one\", \"two\"]\n\n[groups.beat.resources.beat]\ntype = \"exec\"\n\
         start = [\"setsid\", \"--fork\", \"sh\", \"-c\", \"exec > /dev/null 2>&1; {BEAT}\"]\nstop = [\"true\"]\n"
    );
    let mut cell = Cell::start(&scratch, &groups);
    let [mut node, mut other] = cell.wait_until_started("beat");
    let (kill, stop) = (Signal::KILL, Signal::STOP);
    for (to_agent, to_guardian) in [(kill, kill), (stop, stop), (stop, kill), (kill, stop)] {
        cell.wait_until_able("beat");
        cell.wait_for_sign("beat", node);
        let agent = cell.of(node).pid();
        let [guardian] = companions(agent, "guardian")[..] else { panic!("one guardian has the group") };
        // One that is killed has a successor.
        let warden = wait_for("the node's warden", || match companions(agent, "warden")[..] {
            [warden] => Ok(warden),
            _ => Err("it is not there".to_owned()),
        });
        support::send(warden, kill);
        wait_for("another warden", || match companions(agent, "warden")[..] {
            [another] if another != warden => Ok(()),
            _ => Err("it is not there".to_owned()),
        });
        // Stopped first, so that neither sees what becomes of the other.
        cell.of(node).signal(stop);
        support::send(guardian, to_guardian);
        cell.of(node).signal(to_agent);
        cell.wait_until_online("beat", other);
        cell.wait_for_sign("beat", other);
        support::send(guardian, Signal::CONT);
        cell.of(node).signal(Signal::CONT);
        if to_agent == kill {
            cell.start_again(node, "muster run");
        }
        cell.wait_until_able("beat");
        cell.wait_for_sign("beat", other);
        cell.check_that_one_ran_at_a_time();
        (node, other) = (other, node);
    }
}

#[test]
fn people_start_stop_move_and_freeze_groups_and_learn_why() {
    let scratch = Scratch::new();
    let exec = "[groups.site]\nnodes = [\"one\", \"two\"]\nstartup = \"manual\"\n\n\
        [groups.site.resources.first]\ntype = \"exec\"\n\
        start = [\"sh\", \"-c\", \"echo start $MUSTER_NODE $MUSTER_EPOCH >> EVENTS\"]\n\
        stop = [\"sh\", \"-c\", \"echo stop $MUSTER_NODE $MUSTER_EPOCH >> EVENTS\"]\n";
    let cell = Cell::start(&scratch, exec);
    let group = cell.wait_until_able("site");
    assert_eq!((group.state, group.node), (GroupCondition::Offline, None), "it is started by hand only");

    let dry = cell.hosts.must("boss", "muster group start site --dry-run");
    assert_eq!(dry, "dry run: group site is being started on node one\n");
    assert_eq!(cell.hosts.must("boss", "muster group start site"), "group site runs on node one\n");
    assert_eq!(cell.hosts.must("boss", "muster group move site --yes"), "group site runs on node two\n");
    let why = cell.hosts.must("boss", "muster group why site");
    assert!(why.starts_with("group site is online on node two: all of it was started\n"), "{why}");
    assert!(why.contains("\n  one: yes, it can run there\n"), "{why}");

    assert_eq!(cell.hosts.must("boss", "muster group failback site --yes"), "group site runs on node one\n");
    cell.hosts.must("boss", "muster group freeze site");
    let refused = cell.hosts.run("boss", "muster group move site --yes");
    assert_eq!((refused.code, refused.talk.trim()), (Some(1), "M2005: group site is frozen: thaw it first"));
    cell.hosts.must("boss", "muster group thaw site");
    assert_eq!(cell.hosts.must("boss", "muster group stop site --yes"), "group site is stopped\n");
    let unknown = cell.hosts.run("boss", "muster group stop sight --yes");
    assert_eq!(unknown.code, Some(1), "{unknown:?}");
    assert!(unknown.talk.contains("M2011: there is no group sight; there is site"), "{unknown:?}");

    let told: Vec<String> = cell.signs().iter().map(|sign| format!("{} {}", sign.what, sign.node)).collect();
    assert_eq!(told, ["start one", "stop one", "start two", "stop two", "start one", "stop one"]);
}

#[test]
fn what_fails_is_started_again_there_then_elsewhere() {
    let scratch = Scratch::new();
    let groups = "[groups.site]\nnodes = [\"one\", \"two\"]\nstartup = \"manual\"\nrestarts_max = 1\n\n\
        [groups.site.resources.bad]\ntype = \"exec\"\n\
        start = [\"sh\", \"-c\", \"echo start $MUSTER_NODE $MUSTER_EPOCH >> EVENTS; echo no luck; test $MUSTER_NODE = two\"]\n\
        stop = [\"true\"]\n";
    let cell = Cell::start(&scratch, groups);
    cell.wait_until_able("site");
    let said = cell.hosts.must("boss", "muster group start site");
    assert!(said.contains("runs on node two"), "{said}");
    let group = cell.wait_until_online("site", "two");
    let one = group.why.iter().find(|why| why.node.0 == "one").expect("it is in the policy");
    assert_eq!(
        one.why,
        "the group failed there 2 times: bad was not started: it exited with status 1; it said last: no luck"
    );
    let nodes: Vec<String> = cell.signs().into_iter().map(|sign| sign.node).collect();
    assert_eq!(nodes, ["one", "one", "two"]);
    let since = Duration::from_millis(group.since_ms);
    assert!(since > Duration::ZERO, "{group:?}");

    // Who waits for a move learns that it failed, and does not wait on.
    let said = cell.hosts.run("boss", "muster group move site one --yes");
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.talk.contains("group site runs on node two again; one: the group failed there"), "{said:?}");
}

#[test]
fn a_node_is_emptied_or_left_alone_as_people_ask() {
    let scratch = Scratch::new();
    let mut cell = Cell::start(&scratch, &beat_group());
    let [first, other] = cell.wait_until_started("beat");
    cell.wait_until_able("beat");
    let said = cell.hosts.run("boss", &format!("muster node drain {first} --dry-run"));
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.data.contains(&format!("beat goes to {other}")), "{said:?}");

    let said = cell.hosts.run("boss", &format!("muster node drain {first} --yes"));
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.data.contains(&format!("no group is on node {first}")), "{said:?}");
    cell.wait_until_online("beat", other);
    cell.wait_for_sign("beat", other);
    let nodes = cell.try_status().expect("the manager answers").nodes;
    assert!(nodes.iter().any(|node| node.node.0 == first && node.drained), "{nodes:?}");
    let said = cell.hosts.run("boss", &format!("muster group move beat {first} --yes"));
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.talk.contains("it is drained"), "{said:?}");
    cell.hosts.must("boss", &format!("muster node undrain {first}"));
    cell.wait_until_able("beat");

    // Of a node in maintenance nothing is taken over, until that is over.
    cell.hosts.must("boss", &format!("muster node maintenance {other} on"));
    cell.of(other).signal(Signal::KILL);
    wait_for("the group to be held", || {
        let group = cell.group("beat")?;
        if group.reason.contains("is in maintenance") { Ok(()) } else { Err(group.reason) }
    });
    cell.hosts.must("boss", &format!("muster node maintenance {other} off"));
    cell.wait_until_online("beat", first);
    cell.wait_for_sign("beat", first);
    cell.check_that_one_ran_at_a_time();
}

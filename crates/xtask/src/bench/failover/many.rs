//! What a node costs that runs two hundred groups and asks a thousand services each second: a share of one core.
//!
//! All processes of Muster on the node count, guardians included; what they look after does not.

use crate::bench::meter;
use crate::failure::{Doing, Failure, Outcome};
use lab::host::Program;
use lab::hosts::Hosts;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};
use wire::group::{GroupCondition, GroupStatus};
use wire::monitor::MonitorState;
use wire::status::CellStatus;

const GROUPS: usize = 200;
/// One of each kind for each group, with their defaults: each second.
const KINDS: [&str; 5] = [
    "kind = \"http\"\ntarget = \"127.0.0.1:8000\"\npath = \"/healthz\"\n",
    "kind = \"tcp\"\ntarget = \"127.0.0.1:8000\"\n",
    "kind = \"pid\"\npid_file = \"/var/lib/muster/sample.pid\"\n",
    "kind = \"disk\"\ndirectory = \"/var/lib/muster\"\nfree_min_percent = 0\n",
    "kind = \"link\"\ninterface = \"lan0\"\n",
];
const BOSS: &str = "boss";
const ONE: &str = "one";
/// Longest wait for all of it to run. Two minutes: ten times what it takes on a quiet machine.
const START_TIME_MAX: Duration = Duration::from_secs(120);
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// After all runs, until what its start has cost is over.
const CALM: Duration = Duration::from_secs(5);
const MEASURED_FOR: Duration = Duration::from_secs(20);

/// Both may run each group, so that each needs the node's lease.
fn configuration() -> String {
    let mut text =
        String::from("[manager]\nnodes = [\"boss\"]\nlisten = \"0.0.0.0:29001\"\nprofile = \"fast\"\n");
    for (number, name) in (1..).zip([ONE, BOSS]) {
        let _ = write!(text, "\n[nodes.{name}]\naddress = \"{}\"\n", lab::lan::addresses(number).0);
    }
    for group in 1..=GROUPS {
        let _ = write!(
            text,
            "\n[groups.g{group}]\nnodes = [\"{ONE}\", \"{BOSS}\"]\nstartup = \"manual\"\n\n\
             [groups.g{group}.resources.server]\ntype = \"process\"\ncommand = [\"sleep\", \"infinity\"]\n"
        );
        for (kind, keys) in KINDS.iter().enumerate() {
            let _ = write!(text, "\n[monitors.m{group}-{kind}]\ngroup = \"g{group}\"\n{keys}");
        }
    }
    text
}

/// The share of a core, in percent.
pub fn measure(directory: &Path, program: &Path) -> Outcome<f64> {
    let hosts = Hosts::new(directory, &[ONE, BOSS], program, true).doing("bring up the hosts")?;
    hosts.connect_by_lan().doing("connect the hosts")?;
    let boss = hosts.get(BOSS).doing("find a host")?;
    let path = boss.home.join("muster.toml");
    fs::write(&path, configuration()).doing(format_args!("write {}", path.display()))?;
    hosts.must(BOSS, "muster init").doing("make a cell")?;
    let _manager = hosts.start(BOSS, "muster", "muster run --node boss").doing("start the manager")?;
    wait(&hosts, "the manager to answer", |_| true)?;
    let join = hosts.must(BOSS, "muster node token one").doing("let a host join")?;
    hosts.must(ONE, join.trim()).doing("join the cell")?;
    let one = hosts.get(ONE).doing("find a host")?;
    let sample = "echo $$ >/var/lib/muster/sample.pid; exec muster sample-app --port 8000";
    let _sample = one.start("sample", &["sh", "-c", sample]).doing("start what monitors ask")?;
    let agent = hosts.start(ONE, "muster", "muster run").doing("start the node")?;
    wait(&hosts, "both nodes to be able", |status| {
        status.groups.iter().all(|group| group.why.iter().all(|why| why.is_able))
    })?;
    // One command for all: a shell of its own for each would take longer than the groups.
    let start =
        format!("for g in $(seq {GROUPS}); do muster group start g$g {ONE} --yes --no-wait || exit 1; done");
    match boss.run(&["sh", "-c", &start]).doing("start the groups")? {
        said if said.code == Some(0) => {}
        said => return Err(Failure(format!("the groups were not started: {said:?}"))),
    }
    wait(&hosts, "all groups to run, and all monitors to be content", is_calm)?;
    std::thread::sleep(CALM);
    let percent = share(&agent)?;
    let status = status(&hosts)?;
    match is_calm(&status) {
        true => Ok(percent),
        false => Err(Failure("not all groups and monitors were well all the time".into())),
    }
}

fn share(agent: &Program) -> Outcome<f64> {
    let before = meter::read(agent.pid())?;
    std::thread::sleep(MEASURED_FOR);
    let usage = before.usage_until(&meter::read(agent.pid())?);
    Ok(usage.run.as_secs_f64() / usage.wall.as_secs_f64() * 100.0)
}

fn is_calm(status: &CellStatus) -> bool {
    let is_there = |group: &GroupStatus| {
        group.state == GroupCondition::Online && group.node.as_ref().is_some_and(|node| node.0 == ONE)
    };
    let monitors = status.monitors.iter().filter(|monitor| monitor.node.0 == ONE);
    let well = monitors.filter(|monitor| monitor.state == MonitorState::Normal).count();
    status.groups.len() == GROUPS && status.groups.iter().all(is_there) && well == GROUPS * KINDS.len()
}

fn status(hosts: &Hosts) -> Outcome<CellStatus> {
    let said = hosts.run(BOSS, "muster status --json").doing("ask for the status")?;
    serde_json::from_str(&said.data).map_err(|error| Failure(format!("{error}: {}", said.talk)))
}

fn wait(hosts: &Hosts, what: &str, is_so: impl Fn(&CellStatus) -> bool) -> Outcome<()> {
    let started = Instant::now();
    while !status(hosts).is_ok_and(|status| is_so(&status)) {
        if started.elapsed() > START_TIME_MAX {
            return Err(Failure(format!("not within {} s: {what}", START_TIME_MAX.as_secs())));
        }
        std::thread::sleep(LOOK_EVERY);
    }
    Ok(())
}

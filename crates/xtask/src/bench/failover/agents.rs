//! What Muster adds to the time of agents that it calls: a group of ten resources is started, and the same calls are made by
//! hand, one right after the other.
//!
//! The agent is this program, behind a line of shell. It notes when it begins and ends; what lies between the first begin and
//! the last end is the agents' own time, and what whoever calls them needs in between.

use super::world::{BOSS, ONE, World};
use crate::failure::{Doing, Failure, Outcome};
use rustix::time::{ClockId, clock_gettime};
use std::fmt::Write as _;
use std::fs::{self, File, Permissions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

pub const GROUP: &str = "agents";
const RESOURCES: usize = 10;
/// Starts of the group.
const STARTS: usize = 5;
/// Where it notes its times.
const NOTES: &str = "BENCH_NOTES";
const DESCRIPTION: &str = "<?xml version=\"1.0\"?><resource-agent name=\"Stamp\" version=\"1.0\"><version>1.0</version>\
    <parameters/><actions><action name=\"start\" timeout=\"20s\"/><action name=\"stop\" timeout=\"20s\"/>\
    <action name=\"monitor\" timeout=\"20s\" interval=\"3600s\"/><action name=\"validate-all\" timeout=\"20s\"/></actions>\
    </resource-agent>";
/// What an agent says of itself that does not run.
const NOT_RUNNING: i32 = 7;

/// One call of the agent.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Call {
    action: String,
    instance: String,
    began_ns: i128,
    ended_ns: i128,
}

fn now_ns() -> i128 {
    let now = clock_gettime(ClockId::Boottime);
    i128::from(now.tv_sec) * 1_000_000_000 + i128::from(now.tv_nsec)
}

/// What the agent does; never comes back.
pub fn agent(action: &str) -> ! {
    let began = now_ns();
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let (notes, instance) = (variable(NOTES), variable("OCF_RESOURCE_INSTANCE"));
    let running = PathBuf::from(format!("{notes}.{instance}"));
    let code = match action {
        "meta-data" => {
            println!("{DESCRIPTION}");
            0
        }
        "start" => i32::from(File::create(&running).is_err()),
        "stop" => {
            // It may be stopped twice.
            let _ = fs::remove_file(&running);
            0
        }
        "monitor" if running.exists() => 0,
        "monitor" => NOT_RUNNING,
        _ => 0,
    };
    let file = File::options().create(true).append(true).open(&notes);
    let noted = file.and_then(|mut file| writeln!(file, "{action} {instance} {began} {}", now_ns()));
    std::process::exit(if noted.is_ok() { code } else { 1 });
}

fn notes(directory: &Path) -> PathBuf {
    directory.join("agent-notes")
}

fn program(directory: &Path) -> PathBuf {
    directory.join("ocf/resource.d/bench/Stamp")
}

/// The agent lies where it is looked for; gives the group's tables.
pub fn prepare(directory: &Path) -> Outcome<String> {
    let (tool, path) = (std::env::current_exe().doing("find this program")?, program(directory));
    fs::create_dir_all(directory.join("ocf/resource.d/bench")).doing("make a directory for an agent")?;
    let text = format!("#!/bin/sh\nexec {} bench failover --agent \"$1\"\n", tool.display());
    let written = fs::write(&path, text);
    written
        .and_then(|()| fs::set_permissions(&path, Permissions::from_mode(0o755)))
        .doing(format_args!("write {}", path.display()))?;
    let mut group = format!("\n[groups.{GROUP}]\nnodes = [\"{ONE}\"]\nstartup = \"manual\"\n");
    let (root, notes) = (directory.join("ocf"), notes(directory));
    for number in 1..=RESOURCES {
        let _ = write!(
            group,
            "\n[groups.{GROUP}.resources.r{number}]\ntype = \"ocf\"\nagent = \"bench:Stamp\"\n\
             environment = {{ OCF_ROOT = {root:?}, {NOTES} = {notes:?} }}\n"
        );
    }
    Ok(group)
}

/// What was added to each call, in the middle of all starts.
pub fn measure(world: &World, directory: &Path) -> Outcome<(Duration, usize)> {
    let mut added = Vec::with_capacity(STARTS);
    let mut count = 0;
    for _ in 0..STARTS {
        let said = |act: &str| {
            let line = format!("muster group {act} {GROUP} --yes");
            world.hosts.must(BOSS, &line).map(drop).doing(format_args!("{act} the group of agents"))
        };
        forget(directory)?;
        said("start")?;
        let by_muster = calls(directory)?;
        said("stop")?;
        forget(directory)?;
        for call in &by_muster {
            by_hand(directory, call)?;
        }
        let by_hand = calls(directory)?;
        if by_hand.len() != by_muster.len() || by_muster.len() < RESOURCES {
            return Err(Failure(format!("{} calls by hand, {} by Muster", by_hand.len(), by_muster.len())));
        }
        count = by_muster.len();
        let more = span_ns(&by_muster) - span_ns(&by_hand);
        added.push(more.max(0) / (by_muster.len() as i128 - 1));
    }
    added.sort_unstable();
    let middle = u64::try_from(added[STARTS / 2]).expect("it was made positive");
    Ok((Duration::from_nanos(middle), count))
}

fn forget(directory: &Path) -> Outcome<()> {
    let path = notes(directory);
    File::create(&path).map(drop).doing(format_args!("empty {}", path.display()))
}

fn by_hand(directory: &Path, call: &Call) -> Outcome<()> {
    let mut command = Command::new(program(directory));
    command.arg(&call.action).env_clear().env(NOTES, notes(directory));
    command.env("OCF_RESOURCE_INSTANCE", &call.instance).env("PATH", "/usr/bin:/bin");
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command.status().map(drop).doing("call an agent")
}

fn calls(directory: &Path) -> Outcome<Vec<Call>> {
    let path = notes(directory);
    let text = fs::read_to_string(&path).doing(format_args!("read {}", path.display()))?;
    let call = |line: &str| {
        let mut words = line.split(' ');
        let (action, instance) = (words.next()?.to_owned(), words.next()?.to_owned());
        let (began_ns, ended_ns) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        Some(Call { action, instance, began_ns, ended_ns })
    };
    let calls: Option<Vec<Call>> = text.lines().map(call).collect();
    calls.ok_or_else(|| Failure(format!("an agent notes what is not understood:\n{text}")))
}

/// From the first begin to the last end.
fn span_ns(calls: &[Call]) -> i128 {
    let began = calls.iter().map(|call| call.began_ns).min();
    let ended = calls.iter().map(|call| call.ended_ns).max();
    ended.zip(began).map_or(0, |(ended, began)| ended - began)
}

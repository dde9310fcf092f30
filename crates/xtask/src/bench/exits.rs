//! How long a member's exit takes to reach the tables of all routers: members are killed one by one.
//!
//! Each figure is the time from the kill until the cell's own stream has told that the member is no longer up and that
//! every router uses a view that was made after the kill. What people are told comes after what routers do, so routers
//! are no later than this. The cell is as users run it: one process with all roles, three members, default settings
//! except for restarts, which are quick because each kill waits until all is well again.

use super::candidate::{self, free_address, write_output_to};
use super::cell_stream::{CellStream, Told};
use super::router::Scratch;
use super::statistics;
use crate::failure::{Doing, Failure, Outcome};
use crate::process::{self, Owned};
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use wire::agent::ProcessState;
use wire::id::{ClusterName, Epoch, MemberName};
use wire::status::{CellStatus, MemberStatus};
use wire::view::RunState;

pub const KILLS_DEFAULT: usize = 100;
const MEMBERS: usize = 3;
/// Longest wait for the cell to do anything. 30 s: a hundred times what it takes on a quiet machine.
const STEP_TIME_MAX: Duration = Duration::from_secs(30);
/// How long a cell in which all is well is left alone before the next kill: the stream has then earned a handful of
/// statuses that it sends at once.
const QUIET: Duration = Duration::from_millis(800);
/// Kills are spread over this time, so that they meet every phase of probes and reports.
const SPREAD_MS: u64 = 1000;
/// Kills after which a line tells how far it is.
const PROGRESS_EVERY: usize = 10;

#[derive(Debug, clap::Args)]
pub struct ExitsArgs {
    /// Members to kill, one after the other
    #[arg(long, default_value_t = KILLS_DEFAULT)]
    kills: usize,
    /// Print one JSON object on stdout
    #[arg(long)]
    json: bool,
}

/// Times from an exit to the routers' tables.
#[derive(Debug, serde::Serialize)]
pub struct Exits {
    pub kills: usize,
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub max_ms: f64,
    /// Of the last minute, before and after: above the number of cores, the machine was busy with other things.
    pub load_average: [f64; 2],
}

/// Runs the benchmark by itself; whether its bar was met.
pub fn exits(args: &ExitsArgs) -> Outcome<bool> {
    super::router::build()?;
    let mut report = super::report::Report { machine: super::router::machine(), ..Default::default() };
    report.exits = Some(measure(args.kills)?);
    let is_met = report.judge();
    report.show(args.json)?;
    Ok(is_met)
}

/// Kills so many members in a cell of its own.
pub fn measure(kills: usize) -> Outcome<Exits> {
    if kills == 0 {
        return Err(Failure("--kills must be at least 1".into()));
    }
    let load_before = load_average()?;
    let scratch = Scratch::new("exits")?;
    let console = free_address()?;
    let config = scratch.0.join(candidate::MUSTER_FILE);
    fs::write(&config, configuration(&scratch.0, console)?)
        .doing(format_args!("write {}", config.display()))?;
    let mut command = Command::new(candidate::muster()?);
    command.arg("run").arg("--config").arg(&config);
    let log = scratch.0.join("output.log");
    write_output_to(&mut command, &log)?;
    let mut cell = Owned(command.spawn().doing("start muster")?);
    let outcome = kill_all(&mut cell, console, &scratch.0, kills);
    let mut latencies_ms =
        outcome.map_err(|failure| Failure(format!("{}\n{failure}", process::tail(&log, 20).join("\n"))))?;
    latencies_ms.sort_by(f64::total_cmp);
    Ok(Exits {
        kills,
        p50_ms: statistics::quantile(&latencies_ms, 0.5),
        p99_ms: statistics::quantile(&latencies_ms, 0.99),
        max_ms: statistics::quantile(&latencies_ms, 1.0),
        load_average: [load_before, load_average()?],
    })
}

/// One router and one cluster of sample applications on this machine.
fn configuration(directory: &Path, console: SocketAddr) -> Outcome<String> {
    let mut text = format!(
        "[cell]\nstate_dir = \"{state}\"\n\n[console]\nlisten = \"{console}\"\n\n\
         [routers.front]\nlisten = [\"{router}\"]\n\n\
         [clusters.shop.probe]\npath = \"/healthz\"\n\n\
         [clusters.shop.defaults]\ncommand = [\"{program}\", \"sample-app\"]\nport = 0\n\
         environment = {{ PORT = \"{{port}}\" }}\n\n\
         [clusters.shop.defaults.restart]\ndelay_ms = 20\ndelay_max_ms = 20\nattempts_max = 1000\n",
        state = directory.join("state").display(),
        router = free_address()?,
        program = candidate::muster()?.display(),
    );
    for number in 1..=MEMBERS {
        text.push_str(&format!("\n[clusters.shop.members.shop-{number}]\n"));
    }
    Ok(text)
}

/// The load average of the last minute.
fn load_average() -> Outcome<f64> {
    let text = fs::read_to_string("/proc/loadavg").doing("read /proc/loadavg")?;
    let first = text.split_whitespace().next().and_then(|word| word.parse().ok());
    first.ok_or_else(|| Failure("/proc/loadavg has no number".into()))
}

fn kill_all(cell: &mut Owned, console: SocketAddr, directory: &Path, kills: usize) -> Outcome<Vec<f64>> {
    let token = directory.join("state/admin-token");
    let stream = CellStream::open(cell, console, &token, STEP_TIME_MAX)?;
    let mut latencies_ms = Vec::with_capacity(kills);
    for number in 0..kills {
        let status = wait_until_quiet(&stream)?;
        let (victim, pid, epochs) = choose(&status, number)?;
        std::thread::sleep(phase(number));
        // What came meanwhile is older than the kill.
        while stream.told.try_recv().is_ok() {}
        let started = Instant::now();
        process::send(pid, Signal::KILL);
        let known = wait(&stream, &format!("every router knows that {victim} is gone"), |status| {
            members(status).any(|member| member.member == victim && member.state != RunState::Up)
                && epochs_of(status)
                    .iter()
                    .any(|(name, epoch)| epochs.get(name).is_some_and(|old| epoch > old))
                && routers_know(status)
        })?;
        let latency_ms = (known.at - started).as_secs_f64() * 1e3;
        latencies_ms.push(latency_ms);
        if (number + 1) % PROGRESS_EVERY == 0 {
            eprintln!(
                "{:>8} of {kills} members killed, the last one known after {latency_ms:.1} ms",
                number + 1
            );
        }
    }
    Ok(latencies_ms)
}

/// Another part of `SPREAD_MS` for each kill, all parts visited evenly: steps of the golden ratio.
fn phase(number: usize) -> Duration {
    Duration::from_millis((number as u64 * 618) % SPREAD_MS)
}

/// The status of a cell in which every member is up, all routers know it, and nothing changed for a while.
fn wait_until_quiet(stream: &CellStream) -> Outcome<CellStatus> {
    let is_well = |status: &CellStatus| {
        members(status).count() == MEMBERS
            && members(status).all(|member| member.state == RunState::Up)
            && !status.routers.is_empty()
            && routers_know(status)
    };
    let well = wait(stream, "every member is up", is_well)?;
    std::thread::sleep(QUIET);
    let mut newest = well.status;
    while let Ok(told) = stream.told.try_recv() {
        newest = told?.status;
    }
    match is_well(&newest) {
        true => Ok(newest),
        false => Err(Failure("a member went down that nobody had killed".into())),
    }
}

/// The member whose turn it is, its process, and the epochs that the cell has so far.
fn choose(status: &CellStatus, number: usize) -> Outcome<(MemberName, u32, BTreeMap<ClusterName, Epoch>)> {
    let member = members(status).nth(number % MEMBERS).expect("there are so many members");
    match member.process {
        Some(ProcessState::Running { pid }) => Ok((member.member.clone(), pid, epochs_of(status))),
        _ => Err(Failure(format!("{} is up without a process", member.member))),
    }
}

fn members(status: &CellStatus) -> impl Iterator<Item = &MemberStatus> {
    status.clusters.iter().flat_map(|cluster| &cluster.members)
}

fn epochs_of(status: &CellStatus) -> BTreeMap<ClusterName, Epoch> {
    status.clusters.iter().map(|cluster| (cluster.cluster.clone(), cluster.epoch)).collect()
}

/// Whether every router uses the newest view of every cluster.
fn routers_know(status: &CellStatus) -> bool {
    status.routers.iter().all(|router| {
        status
            .clusters
            .iter()
            .all(|cluster| router.applied.get(&cluster.cluster).is_some_and(|epoch| *epoch >= cluster.epoch))
    })
}

fn wait(stream: &CellStream, what: &str, is_so: impl Fn(&CellStatus) -> bool) -> Outcome<Told> {
    let started = Instant::now();
    loop {
        let left = STEP_TIME_MAX.saturating_sub(started.elapsed());
        match stream.told.recv_timeout(left) {
            Ok(told) => {
                let told = told?;
                if is_so(&told.status) {
                    return Ok(told);
                }
            }
            Err(_) => return Err(Failure(format!("not within {} s: {what}", STEP_TIME_MAX.as_secs()))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kills_meet_every_phase() {
        let mut tenths: Vec<u128> = (0..100).map(|number| phase(number).as_millis() / 100).collect();
        tenths.sort_unstable();
        tenths.dedup();
        assert_eq!(tenths, (0..10).collect::<Vec<u128>>());
    }
}

//! How long a member's exit takes to reach the tables of all routers: members are killed one by one.
//!
//! Each figure is the time from the kill until the cell's status, asked for again and again, tells that every router
//! uses a view that was made after the kill. What people are told comes after what routers do, so routers are no later
//! than this. The cell is as users run it: one process with all roles, three members, default settings except for
//! restarts, which are quick because each kill waits until all is well again.

use super::candidate::{self, free_address, write_output_to};
use super::cell_client::CellClient;
use super::router::Scratch;
use super::statistics;
use crate::failure::{Doing, Failure, Outcome};
use crate::process::{self, Owned};
use rustix::process::Signal;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use wire::agent::ProcessState;
use wire::id::{Epoch, MemberName};
use wire::status::{CellStatus, ClusterStatus, MemberStatus};
use wire::view::RunState;

pub const KILLS_DEFAULT: usize = 100;
const MEMBERS: usize = 3;
/// Longest wait for the cell to do anything. 30 s: a hundred times what it takes on a quiet machine.
const STEP_TIME_MAX: Duration = Duration::from_secs(30);
/// Kills are spread over this time after all is well, so that they meet every phase of probes and reports.
const SPREAD_MS: u64 = 1000;
/// Pause between two looks while nothing is measured.
const LOOK_EVERY: Duration = Duration::from_millis(20);
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
    let mut client = CellClient::open(cell, console, &token, STEP_TIME_MAX)?;
    let mut latencies_ms = Vec::with_capacity(kills);
    for number in 0..kills {
        wait(&mut client, "every member is up", LOOK_EVERY, is_well)?;
        std::thread::sleep(phase(number));
        let before = client.status()?;
        if !is_well(&before) {
            return Err(Failure("a member went down that nobody had killed".into()));
        }
        let (victim, pid) = choose(&before, number)?;
        let started = Instant::now();
        process::send(pid, Signal::KILL);
        let known =
            wait(&mut client, "every router knows that a member is gone", Duration::ZERO, |status| {
                routers_use_later(status, &before)
            })?;
        let latency_ms = started.elapsed().as_secs_f64() * 1e3;
        // Nothing else makes a view in this cell, but the figure stands on it.
        if members(&known)
            .any(|member| member.member == victim && member.process == Some(ProcessState::Running { pid }))
        {
            return Err(Failure(format!("{victim} is said to run although it was killed")));
        }
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

/// Whether every member is up and all routers know it.
fn is_well(status: &CellStatus) -> bool {
    members(status).count() == MEMBERS
        && members(status).all(|member| member.state == RunState::Up)
        && !status.routers.is_empty()
        && status
            .clusters
            .iter()
            .all(|cluster| all_routers_use(status, cluster, |used| used >= cluster.epoch))
}

/// Whether every router uses a view of every cluster that was made after `before`.
fn routers_use_later(status: &CellStatus, before: &CellStatus) -> bool {
    before.clusters.iter().all(|cluster| all_routers_use(status, cluster, |used| used > cluster.epoch))
}

fn all_routers_use(status: &CellStatus, cluster: &ClusterStatus, is_right: impl Fn(Epoch) -> bool) -> bool {
    status
        .routers
        .iter()
        .all(|router| router.applied.get(&cluster.cluster).is_some_and(|used| is_right(*used)))
}

/// The member whose turn it is, and its process.
fn choose(status: &CellStatus, number: usize) -> Outcome<(MemberName, u32)> {
    let member = members(status).nth(number % MEMBERS).expect("a cell that is well has so many members");
    match member.process {
        Some(ProcessState::Running { pid }) => Ok((member.member.clone(), pid)),
        _ => Err(Failure(format!("{} is up without a process", member.member))),
    }
}

fn members(status: &CellStatus) -> impl Iterator<Item = &MemberStatus> {
    status.clusters.iter().flat_map(|cluster| &cluster.members)
}

/// Asks again and again until it is so.
fn wait(
    client: &mut CellClient,
    what: &str,
    pause: Duration,
    is_so: impl Fn(&CellStatus) -> bool,
) -> Outcome<CellStatus> {
    let started = Instant::now();
    loop {
        let status = client.status()?;
        if is_so(&status) {
            return Ok(status);
        }
        if started.elapsed() > STEP_TIME_MAX {
            return Err(Failure(format!("not within {} s: {what}", STEP_TIME_MAX.as_secs())));
        }
        std::thread::sleep(pause);
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

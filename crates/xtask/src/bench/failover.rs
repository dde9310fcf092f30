//! `cargo xtask bench failover`: keepalived, Pacemaker and Muster lose their host, and move, in the same lab.
//!
//! All of them run on the same two hosts, each with an address of its own, so that each fault meets all at the same moment.
//! A client asks every 5 ms; the outage is the longest time between two answers. Whose an address is, is asked as often: a
//! question that two hosts answer is an instant with two owners. Hosts are network namespaces, everything on them is real.

mod agents;
mod answer;
mod client;
mod keepalived;
mod many;
mod muster;
mod pacemaker;
mod schedules;
mod system;
mod world;

use super::{candidate, statistics};
use crate::failure::{Doing, Failure, Outcome};
use crate::lab::directory;
use crate::testing::packages;
use answer::{READY, answer};
use client::Client;
use schedules::Scheduled;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use system::{SYSTEMS, System};
use world::{CLIENT, FAULTS, Fault, World};

/// Longest wait for an address to be back.
const BACK_TIME_MAX: Duration = Duration::from_secs(20);
/// How long hosts do not hear each other where nobody sees an outage: longer than Pacemaker takes to act on it.
const PART_TIME: Duration = Duration::from_secs(8);
/// Faults are spread over this time, so that they meet every phase of heartbeats, advertisements and monitors.
const SPREAD_MS: u64 = 1000;
/// Muster alone: processes killed, and monitors that find an error.
const KILLS: usize = 20;
const ERRORS: usize = 10;
/// How long a process runs at least before it is killed.
const AFTER_START: Duration = Duration::from_millis(1_200);
/// Muster alone: moves, of which the others have as many as there are rounds.
const MOVES: usize = 10;
/// How often the client asks where milliseconds count.
const ASK_OFTEN: Duration = Duration::from_micros(250);
const MANY: &str = "a node that runs 200 groups and asks 1,000 monitors each second";
/// Starts of the service by itself.
const STARTS: usize = 20;

/// What can be measured by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// Nodes are cut off, frozen, killed and parted
    Lost,
    /// Planned moves
    Moves,
    /// Monitors find an error
    Monitors,
    /// Processes of a group are killed
    Kills,
    /// Calls of an OCF agent
    Agents,
    /// A node with 200 groups and 1,000 monitors
    Many,
    /// Random schedules of faults: who has two owners
    Schedules,
}

#[derive(Debug, clap::Args)]
pub struct FailoverArgs {
    /// Times that each fault happens
    #[arg(long, default_value_t = 2)]
    rounds: usize,
    /// Parts to measure
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Part::Lost, Part::Moves, Part::Monitors, Part::Kills, Part::Agents, Part::Many])]
    only: Vec<Part>,
    /// Schedules of `--only schedules`; each takes about half a minute
    #[arg(long, default_value_t = 30)]
    schedules: u32,
    /// What schedules are drawn from
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Leave the others out
    #[arg(long)]
    muster_only: bool,
    /// Print one JSON object on stdout
    #[arg(long)]
    json: bool,
    /// A binary of Muster to use instead of the one that is built
    #[arg(long, value_name = "FILE")]
    muster: Option<PathBuf>,
    /// Be the service that fails over
    #[arg(long, hide = true, num_args = 1..)]
    answer: Vec<SocketAddr>,
    /// Be a resource agent that carries out this action
    #[arg(long, hide = true)]
    agent: Option<String>,
}

/// One line of the report.
#[derive(Debug, serde::Serialize)]
struct Figure {
    what: String,
    system: System,
    times: usize,
    /// None: the address was not back in time.
    p50_ms: Option<f64>,
    max_ms: Option<f64>,
    /// Bars are Muster's.
    most_ms: Option<f64>,
    is_met: bool,
}

#[derive(Debug, serde::Serialize)]
struct Owners {
    fault: Fault,
    system: System,
    times: usize,
    /// Questions that two hosts have answered; there are 200 a second.
    instants: u64,
}

/// What something of Muster costs.
#[derive(Debug, serde::Serialize)]
struct Cost {
    what: &'static str,
    found: f64,
    most: f64,
    unit: &'static str,
    is_met: bool,
}

impl Cost {
    fn new(what: &'static str, found: f64, most: f64, unit: &'static str) -> Self {
        Self { what, found, most, unit, is_met: found < most }
    }
}

#[derive(Debug, Default, serde::Serialize)]
struct Report {
    machine: String,
    figures: Vec<Figure>,
    two_owners: Vec<Owners>,
    costs: Vec<Cost>,
    schedules: Vec<Scheduled>,
    took_s: f64,
}

/// Whether every bar was met.
pub fn failover(args: &FailoverArgs) -> Outcome<bool> {
    if !args.answer.is_empty() {
        return answer(&args.answer);
    }
    if let Some(action) = &args.agent {
        agents::agent(action);
    }
    if args.rounds == 0 {
        return Err(Failure("--rounds must be at least 1".into()));
    }
    let program = match &args.muster {
        Some(path) => path.canonicalize().doing(format_args!("find {}", path.display()))?,
        None => {
            super::router::build()?;
            candidate::muster()?
        }
    };
    let systems = if args.muster_only { vec![System::Muster] } else { SYSTEMS.to_vec() };
    let started = Instant::now();
    let is_beside = |part: &Part| matches!(part, Part::Many | Part::Schedules);
    let mut report = match args.only.iter().any(|part| !is_beside(part)) {
        true => compare(args, &systems, &program)?,
        false => Report { machine: super::router::machine(), ..Report::default() },
    };
    // The rest took minutes, and is told whatever becomes of this.
    let many = match args.only.contains(&Part::Many) {
        true => many(&program).map(|percent| report.costs.push(Cost::new(MANY, percent, 5.0, "%"))),
        false => Ok(()),
    };
    if args.only.contains(&Part::Schedules) {
        report.schedules = schedule(args, &systems, &program)?;
    }
    report.took_s = started.elapsed().as_secs_f64();
    report.show(args.json)?;
    many.map(|()| report.is_met())
}

fn many(program: &Path) -> Outcome<f64> {
    eprintln!("bringing up a node with 200 groups and 1,000 monitors");
    many::measure(&directory("failover-many")?, program)
}

fn schedule(args: &FailoverArgs, systems: &[System], program: &Path) -> Outcome<Vec<Scheduled>> {
    install(systems)?;
    eprintln!("bringing up four hosts with {} systems for {} schedules", systems.len(), args.schedules);
    schedules::run(systems, args.schedules, args.seed, &directory("failover-schedules")?, program)
}

fn install(systems: &[System]) -> Outcome<()> {
    match systems.len() {
        0 | 1 => Ok(()),
        _ => packages::install_rivals(&std::env::temp_dir().join("muster-failover-packages.log")).map(drop),
    }
}

/// All that is measured on the same four hosts.
fn compare(args: &FailoverArgs, systems: &[System], program: &Path) -> Outcome<Report> {
    install(systems)?;
    eprintln!("bringing up four hosts with {} systems", systems.len());
    let directory = directory("failover")?;
    let mut run = Run::start(systems, args, &directory, program)?;
    if let Err(failure) = run.all(&directory) {
        run.world.hosts.keep_directory();
        return Err(Failure(format!("{failure}\nkept for a look: {}", directory.display())));
    }
    Ok(run.report())
}

/// What was measured of one thing.
struct Measured {
    what: String,
    system: System,
    most_ms: Option<f64>,
    outages: Vec<Option<Duration>>,
}

struct Run {
    world: World,
    rounds: usize,
    only: Vec<Part>,
    measured: Vec<Measured>,
    /// Instants with two owners.
    owners: BTreeMap<(Fault, System), u64>,
    costs: Vec<Cost>,
}

impl Run {
    fn start(systems: &[System], args: &FailoverArgs, directory: &Path, program: &Path) -> Outcome<Self> {
        let world = World::start(systems, directory, program, &agents::prepare(directory)?)?;
        let (rounds, only) = (args.rounds, args.only.clone());
        Ok(Self { world, rounds, only, measured: Vec::new(), owners: BTreeMap::new(), costs: Vec::new() })
    }

    fn all(&mut self, directory: &Path) -> Outcome<()> {
        let wants = |part| self.only.contains(&part);
        let [lost, moves, monitors] = [Part::Lost, Part::Moves, Part::Monitors].map(wants);
        let (kills, agents) = (wants(Part::Kills), wants(Part::Agents));
        for round in 0..self.rounds {
            for fault in FAULTS.into_iter().filter(|_| lost) {
                self.lose(round, fault)?;
            }
            for system in self.world.systems.clone() {
                if moves {
                    self.move_away(round, system)?;
                }
                if monitors {
                    self.fail_monitor(round, system)?;
                }
            }
        }
        for round in (self.rounds..MOVES.max(self.rounds)).filter(|_| moves) {
            self.move_away(round, System::Muster)?;
        }
        for round in (self.rounds..ERRORS.max(self.rounds)).filter(|_| monitors) {
            self.fail_monitor(round, System::Muster)?;
        }
        if kills {
            self.kill_processes()?;
        }
        if agents {
            let (added, _) = agents::measure(&self.world, directory)?;
            self.costs.push(Cost::new("added to each call of an OCF agent", milliseconds(added), 2.0, "ms"));
        }
        Ok(())
    }

    fn note(&mut self, what: &str, system: System, most_ms: f64, outage: Option<Duration>) {
        let text = outage.map_or("not back".to_owned(), |outage| format!("{:.0} ms", milliseconds(outage)));
        eprintln!("{what}, {}: {text}", system.text());
        let most_ms = (system == System::Muster).then_some(most_ms);
        let is_it = |one: &&mut Measured| one.what == what && one.system == system;
        match self.measured.iter_mut().find(is_it) {
            Some(known) => known.outages.push(outage),
            None => {
                self.measured.push(Measured { what: what.to_owned(), system, most_ms, outages: vec![outage] })
            }
        }
    }

    /// All at home, and some time of this round over.
    fn begin(&mut self, round: usize) -> Outcome<()> {
        self.world.wait_until_home()?;
        std::thread::sleep(Duration::from_millis((round as u64 * 618) % SPREAD_MS));
        self.world.systems.iter().for_each(|system| self.world.client(*system).begin());
        Ok(())
    }

    fn lose(&mut self, round: usize, fault: Fault) -> Outcome<()> {
        self.begin(round)?;
        let before = self.world.asker.counts();
        let started = Instant::now();
        self.world.inflict(fault)?;
        if fault.has_outage() {
            for system in self.world.systems.clone() {
                let left = BACK_TIME_MAX.saturating_sub(started.elapsed());
                let outage = world::taken_over(self.world.client(system), left);
                self.note(fault.text(), system, 1_500.0, outage);
            }
        } else {
            std::thread::sleep(PART_TIME);
        }
        self.world.mend(fault)?;
        self.world.wait_until_home()?;
        let counts = self.world.asker.counts();
        for (system, (after, before)) in self.world.systems.iter().zip(counts.iter().zip(before)) {
            let instants = after - before;
            *self.owners.entry((fault, *system)).or_default() += instants;
            eprintln!("{}, {}: two owners at {instants} instants", fault.text(), system.text());
        }
        Ok(())
    }

    fn move_away(&mut self, round: usize, system: System) -> Outcome<()> {
        if system == System::KeepalivedQuick {
            // It goes with the other one.
            return Ok(());
        }
        self.begin(round)?;
        let hosts = &self.world.hosts;
        match system {
            System::Muster => muster::move_away(hosts)?,
            System::Keepalived | System::KeepalivedQuick => keepalived::end(hosts)?,
            System::Pacemaker => pacemaker::stand_by(hosts, true)?,
        }
        let moved: &[System] = match system {
            System::Muster => &[System::Muster],
            System::Keepalived | System::KeepalivedQuick => &[System::Keepalived, System::KeepalivedQuick],
            System::Pacemaker => &[System::Pacemaker],
        };
        for system in moved {
            let outage = world::taken_over(self.world.client(*system), BACK_TIME_MAX);
            self.note("planned move", *system, 20.0, outage);
        }
        match system {
            System::Muster => Ok(()),
            System::Keepalived | System::KeepalivedQuick => {
                self.world.wait_for_end(world::ONE, "keepalived")?;
                self.world.start_all(world::ONE)
            }
            System::Pacemaker => pacemaker::stand_by(&self.world.hosts, false),
        }
    }

    /// Waits until the address is at the other host only.
    fn is_there(&self, system: System) -> Outcome<bool> {
        let started = Instant::now();
        while started.elapsed() < BACK_TIME_MAX {
            if self.world.is_at(world::TWO, system)? && !self.world.is_at(world::ONE, system)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// What a monitor that asks each second finds: a service that is deaf, or an address that is gone.
    fn fail_monitor(&mut self, round: usize, system: System) -> Outcome<()> {
        const WHAT: &str = "a monitor that asks each second finds an error";
        match system {
            System::Muster => {
                let own = self.own_client()?;
                self.begin(round)?;
                own.begin();
                own.close_service();
                let outage = world::taken_over(&own, BACK_TIME_MAX);
                self.note(WHAT, system, 1_500.0, outage);
            }
            System::Keepalived => {
                self.begin(round)?;
                // Its address goes on answering where it was: what counts is when the other host has it.
                let started = Instant::now();
                keepalived::fail(&self.world.hosts)?;
                for system in [System::Keepalived, System::KeepalivedQuick] {
                    let is_back = self.is_there(system)?;
                    self.note(WHAT, system, 1_500.0, is_back.then(|| started.elapsed()));
                }
                keepalived::recover(&self.world.hosts)?;
            }
            // It goes with the other one.
            System::KeepalivedQuick => {}
            System::Pacemaker => {
                self.begin(round)?;
                pacemaker::fail(&self.world.hosts)?;
                let outage = world::answered_again(self.world.client(system), BACK_TIME_MAX);
                self.note(WHAT, system, 1_500.0, outage);
            }
        }
        Ok(())
    }

    /// Asks the group's own service, which answers already.
    fn own_client(&self) -> Outcome<Client> {
        let host = self.world.hosts.get(CLIENT).doing("find a host")?;
        let client = Client::start(host, muster::own_service(), ASK_OFTEN);
        let started = Instant::now();
        while client.silence() > world::ASK_EVERY {
            if started.elapsed() > BACK_TIME_MAX {
                return Err(Failure("the group's service does not answer".into()));
            }
            std::thread::sleep(world::ASK_EVERY);
        }
        Ok(client)
    }

    fn kill_processes(&mut self) -> Outcome<()> {
        let own = own_start()?;
        let client = self.own_client()?;
        for round in 0..KILLS {
            self.begin(round)?;
            // What fails within a second of its start rests before it is started again.
            std::thread::sleep(AFTER_START);
            client.begin();
            muster::kill_service(&self.world.hosts)?;
            let outage = world::taken_over(&client, BACK_TIME_MAX).map(|outage| outage.saturating_sub(own));
            self.note("a process of a group is killed, without its own start", System::Muster, 5.0, outage);
        }
        Ok(())
    }

    fn report(self) -> Report {
        let two_owners = self.owners.iter().map(|((fault, system), instants)| Owners {
            fault: *fault,
            system: *system,
            times: self.rounds,
            instants: *instants,
        });
        Report {
            machine: super::router::machine(),
            figures: self.measured.iter().map(Measured::figure).collect(),
            two_owners: two_owners.collect(),
            costs: self.costs,
            schedules: Vec::new(),
            took_s: 0.0,
        }
    }
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// How long the service takes from its start by somebody until it answers: the middle of several.
fn own_start() -> Outcome<Duration> {
    let tool = std::env::current_exe().doing("find this program")?;
    let address = SocketAddr::from((Ipv4Addr::new(127, 0, 0, 97), muster::OWN_PORT));
    let mut times = Vec::with_capacity(STARTS);
    for _ in 0..STARTS {
        // As long after the last one as when it is killed: what has just run starts twice as fast.
        std::thread::sleep(AFTER_START);
        let mut command = Command::new(&tool);
        command.args(["bench", "failover", "--answer"]).arg(address.to_string()).stdout(Stdio::piped());
        let started = Instant::now();
        let mut child = crate::process::Owned(command.spawn().doing("start the service")?);
        let output = child.0.stdout.take().expect("its output is piped");
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line).doing("hear the service")?;
        times.push(started.elapsed());
        if line.trim() != READY {
            return Err(Failure(format!("the service does not start: {line}")));
        }
    }
    times.sort();
    Ok(times[STARTS / 2])
}

impl Measured {
    fn figure(&self) -> Figure {
        let times = self.outages.len();
        let back: Option<Vec<f64>> = self.outages.iter().map(|outage| outage.map(milliseconds)).collect();
        let mut sorted = back.unwrap_or_default();
        sorted.sort_by(f64::total_cmp);
        let [p50_ms, max_ms] =
            [0.5, 1.0].map(|share| (!sorted.is_empty()).then(|| statistics::quantile(&sorted, share)));
        let is_met = self.most_ms.is_none_or(|most| max_ms.is_some_and(|max| max <= most));
        let (what, system, most_ms) = (self.what.clone(), self.system, self.most_ms);
        Figure { what, system, times, p50_ms, max_ms, most_ms, is_met }
    }
}

impl Report {
    /// Two owners of Muster's are one too many, whatever the others have.
    fn is_met(&self) -> bool {
        let is_single = |it: &Owners| it.system != System::Muster || it.instants == 0;
        let bars = self.figures.iter().map(|figure| figure.is_met);
        bars.chain(self.costs.iter().map(|cost| cost.is_met)).all(|is_met| is_met)
            && self.two_owners.iter().all(is_single)
            && self.schedules.iter().all(Scheduled::is_met)
    }

    fn show(&self, is_json: bool) -> Outcome<()> {
        if is_json {
            println!("{}", serde_json::to_string(self).doing("write JSON")?);
            return Ok(());
        }
        for figure in &self.figures {
            let Figure { what, system, times, p50_ms, max_ms, most_ms, is_met } = figure;
            let text = |ms: &Option<f64>| ms.map_or("not back".to_owned(), |ms| format!("{ms:.1} ms"));
            let verdict = match (most_ms, is_met) {
                (None, _) => "       ",
                (Some(_), true) => "met    ",
                (Some(_), false) => "MISSED ",
            };
            let most = most_ms.map_or(String::new(), |most| format!(", at most {most} ms"));
            println!(
                "{verdict}{what}, {}: p50 {}, longest of {times} {}{most}",
                system.text(),
                text(p50_ms),
                text(max_ms)
            );
        }
        println!();
        for Owners { fault, system, times, instants } in &self.two_owners {
            let verdict = match (system, instants) {
                (System::Muster, 0) => "met    ",
                (System::Muster, _) => "MISSED ",
                (System::Keepalived | System::KeepalivedQuick | System::Pacemaker, _) => "       ",
            };
            println!(
                "{verdict}{}, {}: two owners at {instants} instants in {times} times",
                fault.text(),
                system.text()
            );
        }
        println!();
        for Cost { what, found, most, unit, is_met } in &self.costs {
            let verdict = if *is_met { "met    " } else { "MISSED " };
            println!("{verdict}{what}: {found:.2} {unit}, less than {most} {unit}");
        }
        self.schedules.iter().for_each(|scheduled| println!("{scheduled}"));
        println!("{}, in {:.0} s", self.machine, self.took_s);
        Ok(())
    }
}

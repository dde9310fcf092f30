//! `cargo xtask bench router`: the rounds of slices, and memory with idle connections.
//!
//! Sizes are bytes of body. Not here: how results are judged and shown (see `report`).

use super::candidate::{self, Candidate, Doors, Kind, Programs, START_TIME_MAX};
use super::generator::{Generator, Slice};
use super::report::{Cell, Memory, Report};
use super::{exits, meter, network, peers, protocols, statistics, tables};
use crate::failure::{Doing, Failure, Outcome};
use crate::{process, testing};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use std::{env, fs};

/// Rounds below which a median is not worth much.
const ROUNDS_DEFAULT: usize = 7;
const WARM_UP: Duration = Duration::from_millis(250);
const MEASURE: Duration = Duration::from_millis(600);
/// Answers from this size on count as large.
const LARGE_BYTES: usize = 500_000;
/// Share of the proxies' core that others may use in a slice that counts.
const FOREIGN_SHARE_MAX: f64 = 0.10;
/// Slices in which others used the core are made again, so often.
pub const REPEATS_MAX: usize = 40;
/// Time for memory to settle after connections were opened.
const SETTLE: Duration = Duration::from_millis(1500);

/// What can be measured by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Part {
    /// Processor time per request, by size of the answer
    Sizes,
    /// Memory with idle connections
    Memory,
    /// Cost and swaps of tables with 10,000 routes and members
    Tables,
    /// From a member's exit to the routers' tables
    Exits,
    /// Processor time per request over TLS and HTTP/2
    Protocols,
}

const PROXIES: [Kind; 5] = [Kind::Muster, Kind::Haproxy, Kind::HaproxyTuned, Kind::Nginx, Kind::Envoy];

#[derive(Debug, clap::Args)]
pub struct RouterArgs {
    /// Rounds of slices over all proxies
    #[arg(long, default_value_t = ROUNDS_DEFAULT)]
    rounds: usize,
    /// Parts to measure
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Part::Sizes, Part::Memory, Part::Tables, Part::Exits, Part::Protocols])]
    only: Vec<Part>,
    /// Sizes of answers, in bytes
    #[arg(long, value_delimiter = ',', default_values_t = [200, 10_000, 1_000_000])]
    sizes: Vec<usize>,
    /// Idle connections at which memory is measured
    #[arg(long, value_delimiter = ',', default_values_t = [0, 1_000, 10_000])]
    idle: Vec<usize>,
    /// Proxies to run
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = PROXIES)]
    proxies: Vec<Kind>,
    /// Another program to compare with, started as muster is: an older build, say
    #[arg(long)]
    against: Option<PathBuf>,
    /// Three rounds, sizes only: to see that it works, not how good it is
    #[arg(long)]
    quick: bool,
    /// Count slices although others use the proxies' core: for a hint on a busy machine, not for figures
    #[arg(long)]
    noisy: bool,
    /// Seed of the order within rounds
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Print one JSON object on stdout
    #[arg(long)]
    json: bool,
}

impl RouterArgs {
    fn wants(&self, part: Part) -> bool {
        match part {
            Part::Sizes => self.only.contains(&part),
            Part::Memory | Part::Tables | Part::Exits | Part::Protocols => {
                self.only.contains(&part) && !self.quick
            }
        }
    }

    fn rounds(&self) -> usize {
        if self.quick { 3 } else { self.rounds }
    }

    /// Share of the proxies' core that others may use in a slice that counts.
    fn foreign_share_max(&self) -> f64 {
        if self.noisy { 1.0 } else { FOREIGN_SHARE_MAX }
    }

    fn kinds(&self) -> Vec<Kind> {
        let mut kinds = self.proxies.clone();
        kinds.extend(self.against.as_ref().map(|_| Kind::Other));
        kinds.dedup();
        kinds
    }
}

/// A directory that goes when the run ends.
#[derive(Debug)]
pub struct Scratch(pub PathBuf);

impl Scratch {
    pub fn new(name: &str) -> Outcome<Self> {
        let path = env::temp_dir().join(format!("muster-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).doing(format_args!("create {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed is the system's to clean.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// One measured slice.
#[derive(Debug)]
struct Measured {
    cpu_us: f64,
    requests_per_second: f64,
    p50_us: f64,
    p99_us: f64,
    generator_idle: f64,
}

/// Runs the benchmark; whether every bar was met.
pub fn router(args: &RouterArgs) -> Outcome<bool> {
    let kinds = args.kinds();
    if kinds.contains(&Kind::Muster) && !network::is_inside() {
        build()?;
    }
    let envoy = if kinds.contains(&Kind::Envoy) { Some(peers::fetch_envoy()?) } else { None };
    // What is to be fetched is there now: no other network is needed from here on.
    network::enter()?;
    raise_descriptor_limit();
    let mut report = Report { machine: machine(), ..Report::default() };
    if args.wants(Part::Exits) {
        // Before this process is bound to a core, because what it starts is bound with it.
        report.exits = Some(exits::measure(exits::KILLS_DEFAULT)?);
    }
    meter::bind_to(meter::GENERATOR_CORE)?;
    let scratch = Scratch::new("bench")?;
    let programs = Programs { envoy, other: args.against.clone() };
    for kind in &kinds {
        report.versions.insert(*kind, candidate::version(*kind, &programs)?);
    }
    let mut stage = Stage { directory: scratch.0.clone(), programs, generator: Generator::new(&args.sizes)? };
    if args.wants(Part::Sizes) {
        let mut candidates = stage.start_all(&kinds)?;
        for size in &args.sizes {
            report.cells.extend(measure_size(args, *size, &mut candidates, &mut stage.generator)?);
        }
    }
    if args.wants(Part::Protocols) {
        report.protocols = protocols::measure(&kinds, args.rounds(), args.foreign_share_max(), &mut stage)?;
    }
    if args.wants(Part::Memory) {
        for kind in kinds.iter().filter(|kind| **kind != Kind::HaproxyTuned) {
            report.memory.push(measure_memory(*kind, &args.idle, &mut stage)?);
        }
    }
    if args.wants(Part::Tables) && kinds.contains(&Kind::Muster) {
        let directory = stage.directory.join("tables");
        report.tables = Some(tables::measure(args.rounds(), &directory, &mut stage.generator)?);
    }
    let is_met = report.judge();
    report.show(args.json)?;
    Ok(is_met)
}

/// Where proxies are started, and what stands before and behind them.
pub struct Stage {
    pub directory: PathBuf,
    programs: Programs,
    pub generator: Generator,
}

/// What figures depend on besides the proxies.
pub fn machine() -> String {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!("Linux {}, {cores} cores, {}", release.trim(), network::text())
}

pub fn build() -> Outcome<()> {
    eprintln!("building the release binary");
    let status = process::cargo().args(testing::RELEASE_BUILD).status().doing("run cargo build")?;
    if status.success() { Ok(()) } else { Err(Failure("cargo build failed".into())) }
}

/// Ten thousand connections need as many descriptors; proxies inherit the limit.
pub fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // Where this is refused, opening connections fails with a message of its own.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

impl Stage {
    fn start_all(&mut self, kinds: &[Kind]) -> Outcome<Vec<Candidate>> {
        kinds.iter().map(|kind| self.start(*kind, "load", None)).collect()
    }

    /// Starts a proxy and waits until it passes on requests.
    pub fn start(&mut self, kind: Kind, purpose: &str, doors: Option<&Doors>) -> Outcome<Candidate> {
        let Self { directory, programs, generator } = self;
        let directory = directory.join(purpose);
        let back_ends = generator.addresses().to_vec();
        let mut candidate = Candidate::start(kind, programs, &directory, &back_ends, doors)?;
        let started = Instant::now();
        loop {
            // Answers probes meanwhile, so that members become healthy.
            generator.serve(Duration::from_millis(50))?;
            if candidate.is_listening(&directory)? {
                match generator.open_idle(candidate.address, 200, 1) {
                    Ok(()) => break,
                    Err(failure) if started.elapsed() > START_TIME_MAX => {
                        return Err(Failure(format!("{} does not answer: {failure}", kind.text())));
                    }
                    Err(_) => {}
                }
            } else if started.elapsed() > START_TIME_MAX {
                return Err(Failure(format!("{} does not listen on {}", kind.text(), candidate.address)));
            }
        }
        generator.close()?;
        Ok(candidate)
    }
}

/// Whether a proxy is measured at a size: the tuned one is tuned for large answers.
fn takes_part(kind: Kind, size_bytes: usize) -> bool {
    kind != Kind::HaproxyTuned || size_bytes >= LARGE_BYTES
}

fn measure_size(
    args: &RouterArgs,
    size_bytes: usize,
    candidates: &mut [Candidate],
    generator: &mut Generator,
) -> Outcome<Vec<Cell>> {
    let rounds = args.rounds();
    let mut measured: BTreeMap<Kind, Vec<Measured>> = BTreeMap::new();
    let part = |index: &usize| takes_part(candidates[*index].kind, size_bytes);
    let mut order: Vec<usize> = (0..candidates.len()).filter(part).collect();
    let mut chance = args.seed;
    for round in 1..=rounds {
        shuffle(&mut order, &mut chance);
        let mut line = format!("{size_bytes:>8} B  round {round:>2}/{rounds}");
        for index in &order {
            let candidate = &candidates[*index];
            let slice = measure_slice(candidate, size_bytes, args.foreign_share_max(), generator)?;
            line.push_str(&format!("  {} {:.1} us", candidate.kind.text(), slice.cpu_us));
            measured.entry(candidate.kind).or_default().push(slice);
        }
        eprintln!("{line}");
    }
    Ok(measured.iter().map(|(kind, slices)| cell(*kind, size_bytes, slices, &measured)).collect())
}

fn cell(
    kind: Kind,
    size_bytes: usize,
    slices: &[Measured],
    measured: &BTreeMap<Kind, Vec<Measured>>,
) -> Cell {
    let all = |value: fn(&Measured) -> f64| {
        let values: Vec<f64> = slices.iter().map(value).collect();
        statistics::spread(&values)
    };
    let ratio = |peer: &Vec<Measured>| {
        let within: Vec<f64> =
            slices.iter().zip(peer).map(|(slice, peer)| slice.cpu_us / peer.cpu_us).collect();
        statistics::spread(&within)
    };
    Cell {
        proxy: kind,
        size_bytes,
        cpu_us: all(|slice| slice.cpu_us),
        ratios: measured.iter().map(|(peer, slices)| (*peer, ratio(slices))).collect(),
        requests_per_second: all(|slice| slice.requests_per_second).median,
        p50_us: all(|slice| slice.p50_us).median,
        p99_us: all(|slice| slice.p99_us).median,
        generator_idle: all(|slice| slice.generator_idle).median,
        slices: slices.len(),
    }
}

/// Fisher and Yates, with splitmix64 behind it: the same seed gives the same order.
pub fn shuffle(order: &mut [usize], chance: &mut u64) {
    for last in (1..order.len()).rev() {
        *chance = chance.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = *chance;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        order.swap(last, ((mixed >> 33) % (last as u64 + 1)) as usize);
    }
}

/// Connections under load: fewer for large answers, of which a few fill the core.
fn connections(size_bytes: usize) -> usize {
    if size_bytes >= LARGE_BYTES { 16 } else { 64 }
}

fn measure_slice(
    candidate: &Candidate,
    size_bytes: usize,
    foreign_share_max: f64,
    generator: &mut Generator,
) -> Outcome<Measured> {
    let mut foreign = 0.0;
    for _ in 0..REPEATS_MAX {
        generator.open(candidate.address, size_bytes, connections(size_bytes))?;
        let warm_up = generator.load(WARM_UP)?;
        let before = meter::read(candidate.pid())?;
        let slice = generator.load(MEASURE)?;
        let usage = before.usage_until(&meter::read(candidate.pid())?);
        check_slice(candidate, &warm_up)?;
        check_slice(candidate, &slice)?;
        generator.close()?;
        foreign = usage.foreign_share;
        if foreign <= foreign_share_max {
            return Ok(measured(&slice, usage));
        }
    }
    Err(not_quiet(foreign))
}

pub fn not_quiet(foreign_share: f64) -> Failure {
    Failure(format!(
        "something else used {:.0}% of core {} in {REPEATS_MAX} slices in a row: measure on a quiet machine",
        foreign_share * 100.0,
        meter::PROXY_CORE
    ))
}

/// A wrong answer or an idle back end means that this proxy did other work than the rest.
fn check_slice(candidate: &Candidate, slice: &Slice) -> Outcome<()> {
    if let Some(wrong) = &slice.first_wrong {
        return Err(Failure(format!("{}: {wrong}", candidate.kind.text())));
    }
    let total: u64 = slice.served.iter().sum();
    let shares = slice.served.map(|served| served as f64 / total as f64);
    let is_weighted =
        shares.iter().zip([0.4, 0.3, 0.2, 0.1]).all(|(share, wanted)| (share - wanted).abs() < 0.05);
    if total >= 1000 && !is_weighted {
        return Err(Failure(format!("{} spreads {shares:.2?} instead of 4:3:2:1", candidate.kind.text())));
    }
    Ok(())
}

fn measured(slice: &Slice, usage: meter::Usage) -> Measured {
    let requests = slice.latencies.len().max(1) as f64;
    let mut latencies: Vec<f64> =
        slice.latencies.iter().map(|nanoseconds| f64::from(*nanoseconds) / 1e3).collect();
    latencies.sort_by(f64::total_cmp);
    Measured {
        cpu_us: usage.run.as_secs_f64() * 1e6 / requests,
        requests_per_second: requests / slice.wall.as_secs_f64(),
        p50_us: statistics::quantile(&latencies, 0.5),
        p99_us: statistics::quantile(&latencies, 0.99),
        generator_idle: slice.idle.as_secs_f64() / slice.wall.as_secs_f64(),
    }
}

/// Memory of a fresh proxy as idle connections grow, each of which has made one request.
fn measure_memory(kind: Kind, idle: &[usize], stage: &mut Stage) -> Outcome<Memory> {
    let candidate = stage.start(kind, "memory", None)?;
    let generator = &mut stage.generator;
    let mut memory = Memory { proxy: kind, resident_kb: BTreeMap::new() };
    let mut open = 0;
    let mut counts = idle.to_vec();
    counts.sort_unstable();
    for count in counts {
        generator.open_idle(candidate.address, 200, count - open)?;
        open = count;
        generator.serve(SETTLE)?;
        let resident_kb = meter::memory_kb(candidate.pid());
        eprintln!("{:>13}  {count:>6} idle connections  {:.1} MB", kind.text(), resident_kb as f64 / 1e3);
        memory.resident_kb.insert(count, resident_kb);
    }
    generator.close()?;
    Ok(memory)
}

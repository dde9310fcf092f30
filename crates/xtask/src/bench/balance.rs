//! How long requests take when two of sixteen members are sixteen times slower: Muster's `auto` beside HAProxy's
//! leastconn and random, at 60 % of what the members can do.
//!
//! Open loop: requests are due at fixed times, and a latency counts from then on, so that waiting for a free client is
//! not left out. The members work on a few requests at once, each for its service time, and let others wait, as servers
//! with a pool of threads do; they sleep instead of computing, so that what is measured is the choice. Every round meets
//! all proxies, in turn and freshly started, because a policy that has learnt in an earlier run has an advantage.

use super::candidate::{
    BESIDE_ROUTER, MUSTER_FILE, ROUTER_ONLY, free_address, muster, start_manager, write_output_to,
};
use super::router::Scratch;
use crate::failure::{Doing, Failure, Outcome};
use crate::process::{self, Owned};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const MEMBERS: usize = 16;
const SLOW_MEMBERS: usize = 2;
/// Requests that a member works on at once.
const WORKERS: usize = 2;
const SERVICE: Duration = Duration::from_millis(40);
const SLOWNESS: u32 = 16;
/// Share of what all members can do.
const LOAD: f64 = 0.6;
/// Connections over which requests come. Twice what is under way when a quarter of the requests meets a slow member.
const CLIENTS: usize = 192;
/// Requests at the start of a run that do not count: the policy learns.
const WARM_UP: Duration = Duration::from_secs(1);
/// Longest wait for an answer.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(10);
/// Longest wait for a process to listen. It takes well under a second on a machine that does nothing else.
const START_TIME_MAX: Duration = Duration::from_secs(10);
/// With slow members: at most a third of either of HAProxy's.
const SLOW_BAR: f64 = 1.0 / 3.0;
/// With equal members: within a tenth of the better of HAProxy's.
const EQUAL_BAR: f64 = 1.1;
/// Fewest requests a second that a slow member gets, so that its recovery is noticed.
const HEARD_BAR: f64 = 0.1;

#[derive(Debug, clap::Args)]
pub struct BalanceArgs {
    /// Rounds over all proxies; the median of them counts
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Length of one run in seconds
    #[arg(long, default_value_t = 8)]
    seconds: u64,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Proxy {
    MusterAuto,
    HaproxyLeastconn,
    HaproxyRandom,
}

const PROXIES: [Proxy; 3] = [Proxy::MusterAuto, Proxy::HaproxyLeastconn, Proxy::HaproxyRandom];

impl Proxy {
    fn text(self) -> &'static str {
        match self {
            Proxy::MusterAuto => "muster-auto",
            Proxy::HaproxyLeastconn => "haproxy-leastconn",
            Proxy::HaproxyRandom => "haproxy-random",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Scene {
    /// Two of the members are sixteen times slower.
    TwoSlow,
    Equal,
}

/// One run.
#[derive(Debug, Clone, Serialize)]
struct Run {
    proxy: Proxy,
    scene: Scene,
    requests: usize,
    p50_ms: f64,
    p99_ms: f64,
    /// Requests a second at the slow member that got fewest; nothing where all are equal.
    slow_per_second: Option<f64>,
}

#[derive(Debug, Serialize)]
struct Report {
    runs: Vec<Run>,
    medians_p99_ms: BTreeMap<Scene, BTreeMap<Proxy, f64>>,
    bars: Vec<Bar>,
}

#[derive(Debug, Serialize)]
struct Bar {
    text: String,
    is_met: bool,
}

/// Whether every bar was met.
pub fn balance(args: &BalanceArgs) -> Outcome<bool> {
    process::find_program("haproxy")
        .ok_or_else(|| Failure("haproxy is missing: cargo xtask test --only packages installs it".into()))?;
    let scratch = Scratch::new("balance")?;
    let mut runs = Vec::new();
    for round in 0..args.rounds.max(1) {
        for scene in [Scene::TwoSlow, Scene::Equal] {
            for turn in 0..PROXIES.len() {
                let proxy = PROXIES[(round + turn) % PROXIES.len()];
                let directory = scratch.0.join(format!("{round}-{scene:?}-{}", proxy.text()));
                let run = run(proxy, scene, &directory, Duration::from_secs(args.seconds.max(2)))?;
                eprintln!(
                    "round {}, {scene:?}, {}: p50 {:.1} ms, p99 {:.1} ms",
                    round + 1,
                    proxy.text(),
                    run.p50_ms,
                    run.p99_ms
                );
                runs.push(run);
            }
        }
    }
    let report = judge(runs);
    let is_met = report.bars.iter().all(|bar| bar.is_met);
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report).doing("write the report as JSON")?);
    } else {
        for bar in &report.bars {
            println!("{}  {}", if bar.is_met { "met   " } else { "MISSED" }, bar.text);
        }
    }
    Ok(is_met)
}

fn judge(runs: Vec<Run>) -> Report {
    let mut medians: BTreeMap<Scene, BTreeMap<Proxy, f64>> = BTreeMap::new();
    for scene in [Scene::TwoSlow, Scene::Equal] {
        for proxy in PROXIES {
            let of = runs.iter().filter(|run| run.proxy == proxy && run.scene == scene);
            let middle = median(of.map(|run| run.p99_ms).collect());
            medians.entry(scene).or_default().insert(proxy, middle);
        }
    }
    let p99 = |scene: Scene, proxy: Proxy| medians[&scene][&proxy];
    let mut bars = Vec::new();
    for peer in [Proxy::HaproxyLeastconn, Proxy::HaproxyRandom] {
        let (own, other) = (p99(Scene::TwoSlow, Proxy::MusterAuto), p99(Scene::TwoSlow, peer));
        bars.push(Bar {
            text: format!("two slow: p99 {own:.1} ms, at most a third of {other:.1} ms of {}", peer.text()),
            is_met: own <= other * SLOW_BAR,
        });
    }
    let own = p99(Scene::Equal, Proxy::MusterAuto);
    let best = p99(Scene::Equal, Proxy::HaproxyLeastconn).min(p99(Scene::Equal, Proxy::HaproxyRandom));
    bars.push(Bar {
        text: format!("equal: p99 {own:.1} ms, within a tenth of HAProxy's {best:.1} ms"),
        is_met: own <= best * EQUAL_BAR,
    });
    let own_runs = runs.iter().filter(|run| run.proxy == Proxy::MusterAuto);
    let heard = median(own_runs.filter_map(|run| run.slow_per_second).collect());
    bars.push(Bar {
        text: format!("two slow: {heard:.2} requests a second at a slow member, at least {HEARD_BAR}"),
        is_met: heard >= HEARD_BAR,
    });
    Report { runs, medians_p99_ms: medians, bars }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn run(proxy: Proxy, scene: Scene, directory: &Path, length: Duration) -> Outcome<Run> {
    fs::create_dir_all(directory).doing(format_args!("create {}", directory.display()))?;
    let slow = if scene == Scene::TwoSlow { SLOW_MEMBERS } else { 0 };
    let members: Vec<Member> = (0..MEMBERS)
        .map(|index| Member::start(if index < slow { SERVICE * SLOWNESS } else { SERVICE }))
        .collect::<Outcome<_>>()?;
    let addresses: Vec<SocketAddr> = members.iter().map(|member| member.address).collect();
    let fast_per_second = WORKERS as f64 / SERVICE.as_secs_f64();
    let capacity = fast_per_second * ((MEMBERS - slow) as f64 + slow as f64 / f64::from(SLOWNESS));
    let (_running, address) = start(proxy, directory, &addresses)?;
    let begun: Vec<u64> = members.iter().map(Member::served).collect();
    let mut latencies = load(address, capacity * LOAD, length)?;
    latencies.sort_unstable();
    let at = |share: f64| {
        let index = ((latencies.len() as f64 * share) as usize).min(latencies.len().saturating_sub(1));
        latencies.get(index).map_or(f64::NAN, |latency| latency.as_secs_f64() * 1e3)
    };
    let served = members.iter().zip(begun).take(slow).map(|(member, begun)| member.served() - begun);
    let slow_per_second = served.min().map(|least| least as f64 / (length + WARM_UP).as_secs_f64());
    Ok(Run { proxy, scene, requests: latencies.len(), p50_ms: at(0.5), p99_ms: at(0.99), slow_per_second })
}

/// The proxy and what it is told by, which go when dropped.
type Running = (Owned, Option<Owned>);

fn start(proxy: Proxy, directory: &Path, members: &[SocketAddr]) -> Outcome<(Running, SocketAddr)> {
    let address = free_address()?;
    let (mut command, manager) = match proxy {
        Proxy::MusterAuto => {
            let config = directory.join(MUSTER_FILE);
            write_file(&config, &muster_config(directory, address, members)?)?;
            let manager = start_manager(&muster()?, directory, None, &BESIDE_ROUTER)?;
            let mut command = Command::new(muster()?);
            command.arg("run").arg("--config").arg(config).args(ROUTER_ONLY);
            (command, Some(manager))
        }
        Proxy::HaproxyLeastconn | Proxy::HaproxyRandom => {
            let policy = if proxy == Proxy::HaproxyRandom { "random" } else { "leastconn" };
            let config = directory.join("haproxy.cfg");
            write_file(&config, &haproxy_config(address, policy, members))?;
            let mut command = Command::new("haproxy");
            command.arg("-db").arg("-f").arg(config);
            (command, None)
        }
    };
    write_output_to(&mut command, &directory.join("output.log"))?;
    let child = Owned(command.spawn().doing(format_args!("start {}", proxy.text()))?);
    let started = Instant::now();
    // Its members count as usable once a request passes through it.
    while ask(address).is_err() {
        if started.elapsed() > START_TIME_MAX {
            let said = process::tail(&directory.join("output.log"), 20).join("\n");
            return Err(Failure(format!("{} does not answer:\n{said}", proxy.text())));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(((child, manager), address))
}

fn write_file(path: &Path, text: &str) -> Outcome<()> {
    fs::write(path, text).doing(format_args!("write {}", path.display()))
}

fn muster_config(directory: &Path, address: SocketAddr, members: &[SocketAddr]) -> Outcome<String> {
    let (console, state) = (free_address()?, directory.join("state"));
    let mut text = format!(
        "[cell]\nstate_dir = \"{}\"\n\n[console]\nlisten = \"{console}\"\n\n[routers.bench]\n\
         listen = [\"{address}\"]\nthreads = 1\n\n[clusters.bench]\npolicy = \"auto\"\n",
        state.display()
    );
    for (index, member) in members.iter().enumerate() {
        write!(text, "\n[clusters.bench.members.member-{index}]\naddress = \"{member}\"\n")
            .expect("a String takes any text");
    }
    Ok(text)
}

fn haproxy_config(address: SocketAddr, policy: &str, members: &[SocketAddr]) -> String {
    let mut text = format!(
        "global\n  nbthread 1\n  maxconn 4000\n\ndefaults\n  mode http\n  timeout connect 5s\n  timeout client 60s\n  \
         timeout server 60s\n  http-reuse always\n\nfrontend in\n  bind {address}\n  default_backend members\n\n\
         backend members\n  balance {policy}\n"
    );
    for (index, member) in members.iter().enumerate() {
        writeln!(text, "  server member-{index} {member}").expect("a String takes any text");
    }
    text
}

/// Sends requests at a fixed rate; how long each took from when it was due. Those of the warm-up are left out.
fn load(address: SocketAddr, per_second: f64, length: Duration) -> Outcome<Vec<Duration>> {
    let count = ((length + WARM_UP).as_secs_f64() * per_second) as u64;
    let started = Instant::now() + Duration::from_millis(50);
    let next = Arc::new(AtomicU64::new(0));
    let clients: Vec<JoinHandle<Outcome<Vec<Duration>>>> = (0..CLIENTS)
        .map(|_| {
            let next = next.clone();
            std::thread::spawn(move || client(address, &next, count, per_second, started))
        })
        .collect();
    let mut latencies = Vec::new();
    for client in clients {
        latencies.extend(client.join().map_err(|_| Failure("a client panicked".into()))??);
    }
    Ok(latencies)
}

fn client(
    address: SocketAddr,
    next: &AtomicU64,
    count: u64,
    per_second: f64,
    started: Instant,
) -> Outcome<Vec<Duration>> {
    let mut stream = connect(address)?;
    let mut latencies = Vec::new();
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= count {
            return Ok(latencies);
        }
        let due = started + Duration::from_secs_f64(number as f64 / per_second);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        exchange(&mut stream)?;
        if due.saturating_duration_since(started) >= WARM_UP {
            latencies.push(due.elapsed());
        }
    }
}

fn connect(address: SocketAddr) -> Outcome<TcpStream> {
    let stream = TcpStream::connect(address).doing("connect to the proxy")?;
    stream.set_nodelay(true).doing("set up a client")?;
    stream.set_read_timeout(Some(ANSWER_TIME_MAX)).doing("set up a client")?;
    Ok(stream)
}

fn ask(address: SocketAddr) -> Outcome<()> {
    exchange(&mut connect(address)?)
}

fn exchange(stream: &mut TcpStream) -> Outcome<()> {
    stream.write_all(b"GET / HTTP/1.1\r\nHost: bench\r\n\r\n").doing("send a request")?;
    let head = read_head(stream)?.ok_or_else(|| Failure("the proxy closed".into()))?;
    if !head.starts_with("HTTP/1.1 200") {
        return Err(Failure(format!("the answer is {:?}", head.lines().next().unwrap_or_default())));
    }
    Ok(())
}

/// A head, perhaps with the beginning of a body; None where the other side has closed.
fn read_head(stream: &mut TcpStream) -> Outcome<Option<String>> {
    let mut text = Vec::new();
    let mut bytes = [0; 2048];
    // A refusal has a body, which nobody reads: its connection is not used again.
    while !text.windows(4).any(|part| part == b"\r\n\r\n") {
        match stream.read(&mut bytes).doing("read a head")? {
            0 => return Ok(None),
            count => text.extend_from_slice(&bytes[..count]),
        }
    }
    Ok(Some(String::from_utf8_lossy(&text).into_owned()))
}

/// A server that works on a few requests at once.
struct Member {
    address: SocketAddr,
    served: Arc<AtomicU64>,
    is_over: Arc<AtomicBool>,
}

impl Member {
    fn start(service: Duration) -> Outcome<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").doing("listen as a member")?;
        let address = listener.local_addr().doing("ask for a member's port")?;
        let (served, is_over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let member = Self { address, served: served.clone(), is_over: is_over.clone() };
        let workers = Arc::new(Workers { free: Mutex::new(WORKERS), freed: Condvar::new() });
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if is_over.load(Ordering::Relaxed) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let (served, workers) = (served.clone(), workers.clone());
                // Ends with its connection.
                std::thread::spawn(move || serve(stream, service, &workers, &served));
            }
        });
        Ok(member)
    }

    fn served(&self) -> u64 {
        self.served.load(Ordering::Relaxed)
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        // Wakes the one that accepts, so that it sees that it is over.
        drop(TcpStream::connect(self.address));
    }
}

struct Workers {
    free: Mutex<usize>,
    freed: Condvar,
}

fn serve(mut stream: TcpStream, service: Duration, workers: &Workers, served: &AtomicU64) {
    let _ = stream.set_nodelay(true);
    while let Ok(Some(_)) = read_head(&mut stream) {
        let free = workers.free.lock().expect("nobody panics while holding it");
        *workers.freed.wait_while(free, |free| *free == 0).expect("nobody panics while holding it") -= 1;
        std::thread::sleep(service);
        *workers.free.lock().expect("nobody panics while holding it") += 1;
        workers.freed.notify_one();
        served.fetch_add(1, Ordering::Relaxed);
        if stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").is_err() {
            return;
        }
    }
}

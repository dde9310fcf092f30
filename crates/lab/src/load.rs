//! Steady requests from clients on a host of their own, each of which is remembered if it fails.
//!
//! A request fails when it is answered with anything but 200, or not within `ANSWER_MAX`, or its connection breaks. Clients
//! never repeat a request. Both ends of a failed one are kept, so that "after a second" can be judged strictly.

use crate::{Doing, Outcome, Problem};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::File;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::ops::Range;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Requests on one connection before a new one is made: both kinds of beginnings are tried.
const REQUESTS_PER_CONNECTION: usize = 50;
/// Longest wait of a client: longer than any time-out of a router that a scenario is about.
const ANSWER_MAX: Duration = Duration::from_secs(20);
/// Longest wait for a connection: three lost packets.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// Failures that are kept; more are counted.
const FAILURES_MAX: usize = 10_000;
/// Longest head and body of an answer.
const ANSWER_SIZE_MAX_BYTES: usize = 64 << 10;

/// What clients ask with. A router repeats GETs elsewhere; of a POST nobody knows what it has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    Get,
    Post,
}

impl Method {
    fn head(self) -> &'static str {
        match self {
            Method::Get => "GET /healthz HTTP/1.1\r\n",
            Method::Post => "POST /healthz HTTP/1.1\r\nContent-Length: 0\r\n",
        }
    }
}

/// A request that was not answered well.
#[derive(Debug, Clone)]
pub struct Failure {
    /// The host whose router was asked.
    pub host: String,
    pub began: Instant,
    pub ended: Instant,
    pub why: String,
}

/// Of the requests to one host's router.
#[derive(Debug, Default)]
struct Counts {
    answered: AtomicU64,
    slowest_us: AtomicU64,
}

#[derive(Debug, Default)]
struct Shared {
    must_stop: AtomicBool,
    failures: Mutex<Vec<Failure>>,
    /// One for each client: what it waits on, to be ended when the load is.
    waiting: Mutex<Vec<Option<TcpStream>>>,
}

#[derive(Debug)]
struct Target {
    host: String,
    address: SocketAddr,
    method: Method,
    counts: Counts,
}

/// Ends with its owner.
#[derive(Debug)]
pub struct Load {
    shared: Arc<Shared>,
    targets: Vec<Arc<Target>>,
    threads: Vec<JoinHandle<()>>,
}

/// Moves this thread into a network namespace, for ever.
pub fn enter(namespace: &str) -> Outcome<()> {
    let path = format!("/run/netns/{namespace}");
    let file = File::open(&path).doing(format_args!("open {path}"))?;
    move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
        .doing(format_args!("enter {path}"))
}

impl Load {
    /// From the host with this namespace, so many connections to each router, each with a pause between requests.
    pub fn start(
        namespace: &str,
        routers: Vec<(String, SocketAddr)>,
        connections: usize,
        method: Method,
        pause: Duration,
    ) -> Outcome<Self> {
        let shared = Arc::new(Shared::default());
        let targets = routers
            .into_iter()
            .map(|(host, address)| Arc::new(Target { host, address, method, counts: Counts::default() }));
        let mut load = Self { shared, targets: targets.collect(), threads: Vec::new() };
        for target in &load.targets {
            for _ in 0..connections {
                let (shared, target, namespace) = (load.shared.clone(), target.clone(), namespace.to_owned());
                let (ready, is_ready) = mpsc::sync_channel(1);
                let place = load.threads.len();
                shared.waiting.lock().expect("no client dies while it holds this").push(None);
                load.threads.push(std::thread::spawn(move || {
                    let entered = enter(&namespace);
                    let is_there = entered.is_ok();
                    // Who started it waits for this.
                    let _ = ready.send(entered);
                    while is_there && !shared.must_stop.load(Ordering::Relaxed) {
                        ask_some(&shared, &target, pause, place);
                    }
                }));
                is_ready.recv().doing("start a client")??;
            }
        }
        Ok(load)
    }

    /// How many requests to each host's router have been answered well.
    pub fn answered(&self) -> Vec<(String, u64)> {
        let of = |target: &Arc<Target>| (target.host.clone(), target.counts.answered.load(Ordering::Relaxed));
        self.targets.iter().map(of).collect()
    }

    /// How long the slowest of those took.
    pub fn slowest(&self) -> Vec<(String, Duration)> {
        let of = |target: &Arc<Target>| {
            (target.host.clone(), Duration::from_micros(target.counts.slowest_us.load(Ordering::Relaxed)))
        };
        self.targets.iter().map(of).collect()
    }

    pub fn failures(&self) -> Vec<Failure> {
        self.shared.failures.lock().expect("no client dies while it holds this").clone()
    }

    /// One line for each router.
    pub fn summary(&self) -> Vec<String> {
        let failures = self.failures();
        let line = |target: &Arc<Target>| {
            let failed = failures.iter().filter(|failure| failure.host == target.host).count();
            format!(
                "{} through {}: {failed} failed, slowest {:.1} ms",
                target.counts.answered.load(Ordering::Relaxed),
                target.host,
                target.counts.slowest_us.load(Ordering::Relaxed) as f64 / 1e3
            )
        };
        self.targets.iter().map(line).collect()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.shared.must_stop.store(true, Ordering::Relaxed);
        // Who waits for a host that was cut off would do so for long.
        let waiting = self.shared.waiting.lock().expect("no client dies while it holds this");
        waiting.iter().flatten().for_each(|stream| drop(stream.shutdown(Shutdown::Both)));
        drop(waiting);
        for thread in self.threads.drain(..) {
            // A client that died has said so.
            let _ = thread.join();
        }
    }
}

/// Requests of one connection.
fn ask_some(shared: &Shared, target: &Target, pause: Duration, place: usize) {
    let mut began = Instant::now();
    let failed = |began: Instant, why: String| {
        if shared.must_stop.load(Ordering::Relaxed) {
            return;
        }
        let mut failures = shared.failures.lock().expect("no client dies while it holds this");
        if failures.len() < FAILURES_MAX {
            failures.push(Failure { host: target.host.clone(), began, ended: Instant::now(), why });
        }
    };
    let mut connection = match connect(target.address) {
        Ok(connection) => connection,
        Err(error) => {
            failed(began, format!("connect: {error}"));
            std::thread::sleep(pause);
            return;
        }
    };
    // Without a copy only the end of the load takes longer.
    let copy = connection.try_clone().ok();
    shared.waiting.lock().expect("no client dies while it holds this")[place] = copy;
    for number in 1..=REQUESTS_PER_CONNECTION {
        if number > 1 {
            began = Instant::now();
        }
        match ask(&mut connection, target.method, target.address) {
            Ok(answer) if answer.status == 200 => {
                target.counts.answered.fetch_add(1, Ordering::Relaxed);
                let us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
                target.counts.slowest_us.fetch_max(us, Ordering::Relaxed);
            }
            Ok(answer) => return failed(began, format!("status {}", answer.status)),
            Err(error) => return failed(began, format!("request {number} of its connection: {error}")),
        }
        if shared.must_stop.load(Ordering::Relaxed) {
            return;
        }
        std::thread::sleep(pause);
    }
}

fn connect(address: SocketAddr) -> std::io::Result<TcpStream> {
    let connection = TcpStream::connect_timeout(&address, CONNECT_MAX)?;
    connection.set_read_timeout(Some(ANSWER_MAX))?;
    connection.set_write_timeout(Some(ANSWER_MAX))?;
    connection.set_nodelay(true)?;
    Ok(connection)
}

struct Answer {
    status: u16,
    /// The member that the answer names.
    member: Option<String>,
}

/// One request, and the whole of its answer.
fn ask(connection: &mut TcpStream, method: Method, host: SocketAddr) -> std::io::Result<Answer> {
    let broken = |why: &str| std::io::Error::new(std::io::ErrorKind::InvalidData, why.to_owned());
    connection.write_all(format!("{}Host: {host}\r\n\r\n", method.head()).as_bytes())?;
    let (mut bytes, mut scratch) = (Vec::new(), [0; 4096]);
    let mut whole = None;
    while whole.is_none_or(|whole| bytes.len() < whole) {
        let count = connection.read(&mut scratch)?;
        if count == 0 {
            return Err(broken("the connection was closed before the answer's end"));
        }
        bytes.extend_from_slice(&scratch[..count]);
        if whole.is_none()
            && let Some(head) = bytes.windows(4).position(|four| four == b"\r\n\r\n")
        {
            let text = String::from_utf8_lossy(&bytes[..head]).into_owned();
            let length = header(&text, "content-length").and_then(|value| value.parse::<usize>().ok());
            let length = length.ok_or_else(|| broken("the answer has no length"))?;
            whole = Some(head + 4 + length);
        }
        if bytes.len() > ANSWER_SIZE_MAX_BYTES || whole.is_some_and(|whole| whole > ANSWER_SIZE_MAX_BYTES) {
            return Err(broken("the answer is too long"));
        }
    }
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let status = text.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| broken("the answer has no status"))?;
    Ok(Answer { status, member: header(&text, "x-member").map(str::to_owned) })
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let lines = head.lines().skip(1).take_while(|line| !line.is_empty());
    let mut pairs = lines.filter_map(|line| line.split_once(':'));
    pairs.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

/// Which members answer so many requests, each on a connection of its own, from the host with this namespace: at least the
/// first number of them, and further ones until all that are `wanted` have answered. All must be answered well.
pub fn members_reached(
    namespace: &str,
    router: SocketAddr,
    requests: Range<usize>,
    wanted: &[String],
) -> Outcome<Vec<String>> {
    let (namespace, wanted) = (namespace.to_owned(), wanted.to_vec());
    // A thread of its own, because the way into a namespace is for ever.
    let asking = std::thread::spawn(move || {
        enter(&namespace)?;
        let mut members: Vec<String> = Vec::new();
        for number in 0..requests.end {
            if number >= requests.start && wanted.iter().all(|wanted| members.contains(wanted)) {
                break;
            }
            let answer = connect(router).and_then(|mut connection| ask(&mut connection, Method::Get, router));
            let answer = answer.doing("get an answer")?;
            if answer.status != 200 {
                return Err(Problem(format!("status {}", answer.status)));
            }
            members.extend(answer.member.filter(|member| !members.contains(member)));
        }
        members.sort();
        Ok(members)
    });
    asking.join().map_err(|_| Problem("a client has died".into()))?
}

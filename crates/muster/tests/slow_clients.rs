//! Clients that are slow on purpose: they are many, each holds a connection and little else, ordinary requests stay fast,
//! and those who keep the router waiting too long are ended.

mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use support::cell::{Cell, shop_tables};
use support::http::Connection;
use support::{Scratch, wait_for};

/// Of each kind: more than a router that gives each a thread or a worker would bear.
const CLIENTS: usize = 800;
/// How long the router waits for a head, and for the next bytes of a body or an answer's taker.
const PATIENCE_MS: u64 = 2_500;
/// Of a hundred ordinary requests among them, so many take less than the router waits for the slow ones: who had to wait for
/// those would wait that long each time. On a quiet machine all take a millisecond; a busy one may stand still for a while.
const SOON_PERCENT: usize = 90;
/// What all these clients may cost, beyond what an idle router has.
const MEMORY_MAX_KB: u64 = 160_000;

fn tables() -> String {
    format!(
        "[routers.front.timeouts]\nhead_ms = {PATIENCE_MS}\nresponse_ms = {PATIENCE_MS}\n\n{}",
        shop_tables(&[("s1", 1), ("s2", 1)])
    )
}

fn open(address: SocketAddr, text: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("the router accepts");
    stream.write_all(text.as_bytes()).expect("the router takes the first bytes");
    stream
}

fn resident_kb(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it has memory");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// Ordinary requests until told to stop; how long each took.
fn ordinary(address: SocketAddr, stop: &AtomicBool) -> Vec<Duration> {
    let mut took = Vec::new();
    let request = format!("GET /healthz HTTP/1.1\r\nHost: {address}\r\n\r\n");
    while !stop.load(Ordering::Relaxed) {
        let mut begun = Instant::now();
        let mut connection = Connection::open(address);
        for _ in 0..5 {
            connection.send(request.as_bytes()).expect("sent");
            assert_eq!(connection.read_answer("GET").expect("answered").status, 200);
            took.push(begun.elapsed());
            begun = Instant::now();
        }
        thread::sleep(Duration::from_millis(5));
    }
    took
}

/// Does `story` while ordinary requests go on; those must stay fast.
fn beside_ordinary_requests(cell: &Cell, story: impl FnOnce()) {
    let stop = AtomicBool::new(false);
    let mut took = thread::scope(|scope| {
        let asking = scope.spawn(|| ordinary(cell.router, &stop));
        let told = std::panic::catch_unwind(std::panic::AssertUnwindSafe(story));
        stop.store(true, Ordering::Relaxed);
        let asked = asking.join().expect("ordinary requests are answered");
        if let Err(panic) = told {
            std::panic::resume_unwind(panic);
        }
        asked
    });
    assert!(!took.is_empty(), "there were no requests beside them");
    took.sort_unstable();
    println!("{} ordinary requests, the slowest {:?}", took.len(), took[took.len() - 1]);
    let (soon, waited) = (took[took.len() * SOON_PERCENT / 100], Duration::from_millis(PATIENCE_MS));
    assert!(soon < waited, "ordinary requests wait: {SOON_PERCENT}% of {} took up to {soon:?}", took.len());
}

/// What the router says to each before it closes; each must be closed.
fn last_words(streams: Vec<TcpStream>) -> Vec<Vec<u8>> {
    let words = |mut stream: TcpStream| {
        stream.set_read_timeout(Some(support::PATIENCE)).expect("it can be set");
        let mut bytes = Vec::new();
        match stream.read_to_end(&mut bytes) {
            Ok(_) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => bytes,
            Err(error) => panic!("the router does not close: {error}"),
        }
    };
    streams.into_iter().map(words).collect()
}

#[test]
fn slow_heads_bodies_and_readers_hold_nobody_up_and_are_ended() {
    let scratch = Scratch::new();
    let cell = Cell::start(&scratch, &tables());
    cell.wait_until_all_up("shop");
    let address = cell.router;
    let before_kb = resident_kb(cell.process.pid());
    beside_ordinary_requests(&cell, || {
        let mut heads: Vec<TcpStream> =
            (0..CLIENTS).map(|_| open(address, "GET / HTTP/1.1\r\nHost: x\r\n")).collect();
        let body = "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\nhello";
        let bodies: Vec<TcpStream> = (0..CLIENTS).map(|_| open(address, body)).collect();
        let read = "GET /bytes/8000000 HTTP/1.1\r\nHost: x\r\n\r\n";
        let readers: Vec<TcpStream> = (0..CLIENTS / 40).map(|_| open(address, read)).collect();
        // A header every now and then does not put off the end of a head.
        let until = Instant::now() + Duration::from_millis(PATIENCE_MS - 1_000);
        while Instant::now() < until {
            // Fails for those that are ended already.
            heads.iter_mut().for_each(|stream| drop(stream.write_all(b"X: y\r\n")));
            thread::sleep(Duration::from_millis(200));
        }
        let used_kb = resident_kb(cell.process.pid()).saturating_sub(before_kb);
        assert!(used_kb < MEMORY_MAX_KB, "slow clients cost {used_kb} kB");
        let is_late = |words: &Vec<u8>| words.starts_with(b"HTTP/1.1 408 ");
        let heads = last_words(heads);
        assert!(
            heads.iter().all(is_late),
            "a slow head is told so: {:?}",
            heads.iter().find(|words| !is_late(words))
        );
        // Where the member has begun to answer there is no other answer any more; what there is stays incomplete.
        let is_cut_off = |words: &Vec<u8>| {
            words.starts_with(b"HTTP/1.1 200 ") && !words.ends_with(b"\r\n0\r\n\r\n") || is_late(words)
        };
        let bodies = last_words(bodies);
        assert!(bodies.iter().all(is_cut_off), "a slow body is ended");
        wait_for("those who do not read to be ended", || {
            let status = cell.try_status()?;
            let front = status.routers.first().ok_or("no router")?;
            // Whoever looks for failures of the service must not find the clients' own.
            assert_eq!(front.totals.failed, 0, "slow clients are counted as failures");
            if front.connections < 10 { Ok(()) } else { Err(format!("{} connections", front.connections)) }
        });
        drop(readers);
    });
    cell.stop();
}

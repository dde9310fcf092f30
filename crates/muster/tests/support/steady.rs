//! Steady GETs from several threads, each of which must be answered well, while a test does something to the cell.

use super::http::Connection;
use super::wait_for;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// Requests on one connection before a new one is made: both kinds of beginnings are tried.
const REQUESTS_PER_CONNECTION: usize = 20;
/// Failures that are told of.
const TOLD_MAX: usize = 20;

#[derive(Debug, Default)]
struct Counts {
    requests: AtomicU64,
    must_stop: AtomicBool,
    failures: Mutex<Vec<String>>,
}

/// Ends with its owner, whatever way the test ends.
#[derive(Debug)]
pub struct Steady {
    counts: Arc<Counts>,
    threads: Vec<JoinHandle<()>>,
}

impl Steady {
    /// Begins to ask `address` for `target` on so many connections at a time.
    pub fn start(address: SocketAddr, target: &str, connections: usize) -> Self {
        let counts = Arc::new(Counts::default());
        let start = |_| {
            let (counts, target) = (counts.clone(), target.to_owned());
            std::thread::spawn(move || {
                while !counts.must_stop.load(Ordering::Relaxed) {
                    if let Err(failure) = ask(address, &target, &counts) {
                        let mut failures =
                            counts.failures.lock().expect("no thread dies while it holds this");
                        if failures.len() < TOLD_MAX {
                            failures.push(failure);
                        }
                    }
                }
            })
        };
        let threads = (0..connections).map(start).collect();
        Self { counts, threads }
    }

    /// Waits until so many more requests have been answered, and checks that none has failed.
    pub fn go_on(&self, more: u64) {
        let until = self.counts.requests.load(Ordering::Relaxed) + more;
        wait_for("the load to go on", || {
            let now = self.counts.requests.load(Ordering::Relaxed);
            if now >= until {
                Ok(())
            } else {
                Err(format!("{now} of {until} requests; {:?}", self.failures()))
            }
        });
        assert_eq!(self.failures(), Vec::<String>::new());
    }

    fn failures(&self) -> Vec<String> {
        self.counts.failures.lock().expect("no thread dies while it holds this").clone()
    }

    /// Stops, and checks that no request has failed.
    pub fn finish(mut self) {
        self.stop();
        assert_eq!(self.failures(), Vec::<String>::new());
    }

    fn stop(&mut self) {
        self.counts.must_stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().expect("it only counts");
        }
    }
}

impl Drop for Steady {
    fn drop(&mut self) {
        self.counts.must_stop.store(true, Ordering::Relaxed);
    }
}

/// Some requests on one connection.
fn ask(address: SocketAddr, target: &str, counts: &Counts) -> Result<(), String> {
    let mut connection = Connection::try_open(address).map_err(|error| format!("connect: {error}"))?;
    let request = format!("GET {target} HTTP/1.1\r\nHost: {address}\r\n\r\n");
    for number in 0..REQUESTS_PER_CONNECTION {
        let answer = connection.send(request.as_bytes()).and_then(|()| connection.read_answer("GET"));
        let answer = answer.map_err(|error| format!("request {number} of its connection: {error}"))?;
        if answer.status != 200 {
            return Err(format!("status {}: {}", answer.status, answer.text()));
        }
        counts.requests.fetch_add(1, Ordering::Relaxed);
        if answer.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close")) {
            return Ok(());
        }
    }
    Ok(())
}

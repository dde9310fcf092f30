//! A machine that is lost under load: known to all routers in less than a second, whatever was under way.

use super::support::http::Connection;
use super::support::{Scratch, wait_for};
use super::{ALL, Cell, HOSTS};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// From the loss of a machine on, within which all is well again.
const KNOWN_WITHIN: Duration = Duration::from_secs(1);
/// How long requests may take that have nothing to do with the loss: members answer after 100 ms, the rest is the test
/// machine's.
const USUAL_MAX: Duration = Duration::from_millis(600);

/// One request that came to its end.
#[derive(Debug, Clone)]
struct Asked {
    started: Instant,
    ended: Instant,
    outcome: Result<u16, String>,
}

/// Clients on one host that ask its router without a break.
struct Load {
    must_stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Vec<Asked>>>,
}

impl Load {
    fn start(cell: &Cell, host: &str, request: &'static str, clients: usize) -> Self {
        let must_stop = Arc::new(AtomicBool::new(false));
        let client = |_| {
            let must_stop = must_stop.clone();
            cell.hosts.spawn(host, move || {
                let mut asked = Vec::new();
                let mut connection = None;
                while !must_stop.load(Ordering::Relaxed) {
                    let started = Instant::now();
                    let outcome = ask(&mut connection, request);
                    if !matches!(outcome, Ok(200)) {
                        connection = None;
                    }
                    asked.push(Asked { started, ended: Instant::now(), outcome });
                }
                asked
            })
        };
        let threads = (0..clients).map(client).collect();
        Self { must_stop, threads }
    }

    fn finish(self) -> Vec<Asked> {
        self.must_stop.store(true, Ordering::Relaxed);
        self.threads.into_iter().flat_map(|thread| thread.join().expect("it only counts")).collect()
    }
}

fn ask(connection: &mut Option<Connection>, request: &str) -> Result<u16, String> {
    let method = request.split(' ').next().expect("a method");
    let connection = match connection {
        Some(connection) => connection,
        None => {
            let opened = Connection::try_open(([127, 0, 0, 1], 8080).into());
            connection.insert(opened.map_err(|error| error.to_string())?)
        }
    };
    connection.send(request.as_bytes()).map_err(|error| error.to_string())?;
    connection.read_answer(method).map(|answer| answer.status).map_err(|error| error.to_string())
}

/// GETs may be repeated; of POSTs nobody knows what they have done.
const GET: &str = "GET /slow?ms=100 HTTP/1.1\r\nHost: shop\r\n\r\n";
const POST: &str = "POST /slow?ms=100 HTTP/1.1\r\nHost: shop\r\nContent-Length: 2\r\n\r\nok";

impl Cell {
    /// When the manager says that the node is as wanted.
    pub fn wait_for_reach(&self, name: &str, wanted: &str) {
        wait_for(&format!("{name} to be {wanted}"), || {
            let node = self.node(name)?;
            let reach = node.reach.to_string();
            if reach == wanted { Ok(()) } else { Err(format!("{node:?}")) }
        });
    }
}

#[test]
fn a_machine_that_is_cut_off_under_load_is_left_by_all_routers_within_a_second() {
    let scratch = Scratch::new();
    let cell = Cell::follow_guide(&scratch, "curl");
    for host in HOSTS {
        cell.wait_until_connected(host);
        cell.wait_until_reached(host, &ALL);
        cell.wait_for_reach(host, "reachable");
    }
    let others = ["web-1", "web-2"];
    let start = |request, clients| others.map(|host| Load::start(&cell, host, request, clients));
    let (gets, posts) = (start(GET, 6), start(POST, 3));
    std::thread::sleep(Duration::from_secs(2));
    let cut = Instant::now();
    cell.hosts.cut("web-3");
    std::thread::sleep(Duration::from_secs(3));
    cell.wait_for_reach("web-3", "unreachable");
    let status = cell.try_status().expect("the manager answers");
    let member = status.clusters[0].members.iter().find(|member| member.member.0 == "shop-3");
    let reason = &member.expect("a member").reason;
    assert_eq!(reason, "its node cannot be reached: its heartbeats have stopped");

    // Back at the next heartbeats, and nobody notices.
    let healed = Instant::now();
    cell.hosts.heal("web-3");
    cell.wait_for_reach("web-3", "reachable");
    for host in HOSTS {
        cell.wait_until_connected(host);
        cell.wait_until_reached(host, &ALL);
    }
    let mut known_after = Duration::ZERO;
    for (host, load) in others.iter().zip(gets) {
        let asked = load.finish();
        assert!(asked.len() > 100, "{host}: {} requests are no load", asked.len());
        for one in &asked {
            assert_eq!(one.outcome, Ok(200), "{host}: {one:?}, cut at {cut:?}, healed at {healed:?}");
            let took = one.ended - one.started;
            let is_hit = one.started <= cut + KNOWN_WITHIN && one.ended >= cut;
            if is_hit && took > USUAL_MAX {
                known_after = known_after.max(one.ended - cut);
            }
            assert!(took <= USUAL_MAX || is_hit, "{host}: {one:?} took {took:?}, cut at {cut:?}");
        }
    }
    for (host, load) in others.iter().zip(posts) {
        for one in load.finish() {
            let is_hit = one.started <= cut + KNOWN_WITHIN && one.ended >= cut;
            let took = one.ended - one.started;
            let is_refused_at_once = matches!(one.outcome, Ok(502 | 504)) && is_hit;
            assert!(one.outcome == Ok(200) || is_refused_at_once, "{host}: {one:?}, cut at {cut:?}");
            assert!(took <= USUAL_MAX || is_hit, "{host}: {one:?} took {took:?}");
            if is_hit && took > USUAL_MAX {
                known_after = known_after.max(one.ended - cut);
            }
        }
    }
    println!("requests that waited for the lost machine went on {known_after:?} after it was cut off");
    // Those that went on had 100 ms more to wait for their answer.
    assert!(known_after > Duration::ZERO, "nothing was under way to the lost machine");
    assert!(known_after < KNOWN_WITHIN + USUAL_MAX, "{known_after:?}");
}

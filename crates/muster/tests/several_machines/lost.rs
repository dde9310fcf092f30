//! A machine that is lost under load: known to all routers, whatever was under way.
//!
//! Scenarios of the lab, `host-cut` and `host-cut-posts`, hold the second within which that is promised.

use super::support::http::Connection;
use super::support::{Scratch, wait_for};
use super::{ALL, Cell, HOSTS};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;
use wire::status::RouterStatus;
use wire::view::RunState;

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
    /// Of each client, how many requests came to their end.
    counts: Vec<Arc<AtomicUsize>>,
    threads: Vec<JoinHandle<Vec<Asked>>>,
}

impl Load {
    fn start(cell: &Cell, host: &str, request: &'static str, clients: usize) -> Self {
        let must_stop = Arc::new(AtomicBool::new(false));
        let counts: Vec<Arc<AtomicUsize>> = (0..clients).map(|_| Arc::default()).collect();
        let client = |count: &Arc<AtomicUsize>| {
            let (must_stop, count) = (must_stop.clone(), count.clone());
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
                    count.fetch_add(1, Ordering::Relaxed);
                }
                asked
            })
        };
        let threads = counts.iter().map(client).collect();
        Self { must_stop, counts, threads }
    }

    /// Waits until each client has had so many further answers.
    fn go_on(&self, more: usize) {
        let now = || self.counts.iter().map(|count| count.load(Ordering::Relaxed)).collect::<Vec<usize>>();
        let before = now();
        wait_for("all clients to go on", || {
            let now = now();
            let is_each = now.iter().zip(&before).all(|(now, before)| *now >= before + more);
            if is_each { Ok(()) } else { Err(format!("{now:?} after {before:?}")) }
        });
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

    /// When the routers of these hosts use no member of `lost` any more, as they say.
    fn wait_until_left_by(&self, hosts: &[&str], lost: &str) {
        wait_for(&format!("{hosts:?} to leave {lost}"), || {
            let status = self.try_status()?;
            let cluster = &status.clusters[0];
            let member = cluster.members.iter().find(|member| member.member.0 == lost).ok_or("no member")?;
            let is_behind = |router: &&RouterStatus| {
                hosts.contains(&router.node.0.as_str())
                    && router.applied.get(&cluster.cluster) < Some(&cluster.epoch)
            };
            match status.routers.iter().find(is_behind) {
                None if member.state == RunState::Down => Ok(()),
                behind => Err(format!("{member:?}, {behind:?}")),
            }
        });
    }
}

#[test]
fn a_machine_that_is_cut_off_under_load_is_left_by_all_routers() {
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
    let go_on = |more| gets.iter().chain(&posts).for_each(|load| load.go_on(more));
    go_on(10);
    let cut = Instant::now();
    cell.hosts.cut("web-3");
    cell.wait_until_left_by(&others, "shop-3");
    let known = Instant::now();
    // Also those who waited for the lost machine.
    go_on(10);
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
    go_on(10);
    for (host, load) in others.iter().zip(gets) {
        for one in load.finish() {
            assert_eq!(one.outcome, Ok(200), "{host}: {one:?}, cut at {cut:?}, healed at {healed:?}");
        }
    }
    let mut refused = Vec::new();
    for (host, load) in others.iter().zip(posts) {
        for one in load.finish() {
            // What was under way to the lost machine; nothing goes there once its loss is known.
            let is_hit = one.started <= known && one.ended >= cut;
            if matches!(one.outcome, Ok(502 | 504)) && is_hit {
                refused.push(one.ended - cut);
                continue;
            }
            assert_eq!(one.outcome, Ok(200), "{host}: {one:?}, cut at {cut:?}, known at {known:?}");
        }
    }
    println!("known {:?} after the cut; what was under way ended after {refused:?}", known - cut);
    assert!(!refused.is_empty(), "nothing was under way to the lost machine");
}

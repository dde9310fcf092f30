//! A router of Muster's that is told its tables by the benchmark itself, over the link that a manager would use.
//!
//! So tables of any size can be swapped at a chosen moment, without ten thousand members that would have to be probed.

use super::candidate::{self, ROUTER_ONLY};
use super::meter;
use crate::failure::{Doing, Failure, Outcome};
use crate::process::Owned;
use serde::Serialize;
use serde_json::json;
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use std::{fs, thread};
use wire::id::{ClusterName, Epoch};
use wire::link::{FromManager, KEEP_ALIVE_MS, LINK_VERSION};
use wire::router::RouterSettings;
use wire::settings::RouteSettings;
use wire::view::{MemberView, Policy, RunState, View};

/// Longest wait for the router to call its manager.
const CALL_TIME_MAX: Duration = Duration::from_secs(10);
/// The path that the load asks for; other routes are there to be many.
const ASKED_PATH: &str = "/200";
/// Members of one cluster.
const CLUSTER_MEMBERS: usize = 10;

/// A table of so many routes and as many members, of which one route is asked for.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Begins the names of all clusters, so that two tables have none in common.
    pub prefix: &'static str,
    pub count: usize,
    /// Where the members are, again and again.
    pub back_ends: Vec<SocketAddr>,
}

impl Plan {
    fn cluster(&self, number: usize) -> ClusterName {
        format!("{}-{number}", self.prefix).as_str().into()
    }

    fn views(&self) -> Vec<View> {
        let member = |cluster: usize, place: usize| MemberView {
            name: format!("{}-{cluster}-{place}", self.prefix).as_str().into(),
            clone_id: format!("{}-{cluster}-{place}", self.prefix),
            address: Some(self.back_ends[place % self.back_ends.len()]),
            state: RunState::Up,
            weight: 1,
            ..MemberView::default()
        };
        let clusters = self.count.div_ceil(CLUSTER_MEMBERS);
        let view = |number: usize| View {
            cluster: self.cluster(number),
            epoch: Epoch { generation: 1, number: 1 },
            policy: Policy::RoundRobin,
            members: (0..CLUSTER_MEMBERS).map(|place| member(number, place)).collect(),
            ..View::default()
        };
        (0..clusters).map(view).collect()
    }

    fn routes(&self) -> Vec<RouteSettings> {
        let clusters = self.count.div_ceil(CLUSTER_MEMBERS);
        let mut routes: Vec<RouteSettings> = (1..self.count)
            .map(|number| {
                let path = format!("/shop/department-{}/{number}", number % 100);
                RouteSettings::to_cluster("*", &path, self.cluster(number % clusters))
            })
            .collect();
        // In the middle of its cluster's and of all routes: neither first nor last.
        routes.insert(self.count / 2, RouteSettings::to_cluster("*", ASKED_PATH, self.cluster(clusters / 2)));
        routes
    }

    fn settings(&self, address: SocketAddr) -> Outcome<RouterSettings> {
        let plain = json!({
            "name": "bench", "listeners": [], "zone": "", "threads": 1, "routes": [],
            "timeouts": {
                "connect_ms": 5_000, "head_ms": 30_000, "idle_ms": 75_000, "response_ms": 75_000, "request_ms": 0,
                "tunnel_idle_ms": 75_000, "pool_idle_ms": 60_000,
            },
            "limits": {
                "head_size_max_bytes": 32_768, "header_count_max": 100, "body_size_max_bytes": 0,
                "connections_max": 20_000, "pool_size_max": 256,
            },
            "retry": {
                "attempts_max": 3, "budget_percent": 20, "budget_floor_per_second": 10, "replay_max_bytes": 65_536,
            },
            "access_log": { "format": "off", "path": "" }, "trusted_proxies": [],
        });
        let mut settings: RouterSettings = serde_json::from_value(plain).doing("make a router's settings")?;
        settings.listeners = vec![wire::settings::Listener::plain(address)];
        settings.routes = self.routes();
        Ok(settings)
    }

    /// The frames that bring a router to this table: views first, so that every route finds its cluster.
    pub fn frames(&self, address: SocketAddr) -> Outcome<Vec<u8>> {
        let views = self.views();
        let names = views.iter().map(|view| view.cluster.clone()).collect();
        let mut frames = frame(&FromManager::Views(views))?;
        let settings = Box::new(self.settings(address)?);
        frames.extend(frame(&FromManager::Settings { generation: 1, settings })?);
        frames.extend(frame(&FromManager::Clusters { generation: 1, names })?);
        Ok(frames)
    }
}

fn frame(message: &impl Serialize) -> Outcome<Vec<u8>> {
    let body = serde_json::to_vec(message).doing("write a message")?;
    let length = u32::try_from(body.len()).doing("write a message's length")?;
    Ok([&length.to_be_bytes()[..], &body].concat())
}

/// A router that runs, and the link to it.
pub struct ToldRouter {
    pub address: SocketAddr,
    child: Owned,
    link: Arc<Mutex<UnixStream>>,
}

impl ToldRouter {
    /// Starts a router on the proxies' core and tells it a table.
    pub fn start(directory: &Path, plan: &Plan) -> Outcome<Self> {
        let state = directory.join("state");
        fs::create_dir_all(&state).doing(format_args!("create {}", state.display()))?;
        let address = candidate::free_address()?;
        let config = directory.join(candidate::MUSTER_FILE);
        let text = candidate::muster_config(directory, address, &plan.back_ends)?;
        fs::write(&config, text).doing(format_args!("write {}", config.display()))?;
        let socket = state.join("manager.sock");
        let listener = UnixListener::bind(&socket).doing(format_args!("listen on {}", socket.display()))?;
        let mut command = Command::new(candidate::muster()?);
        command.arg("run").arg("--config").arg(&config).args(ROUTER_ONLY);
        candidate::write_output_to(&mut command, &directory.join("output.log"))?;
        meter::bind_to(meter::PROXY_CORE)?;
        let child = command.spawn().doing("start muster");
        meter::bind_to(meter::GENERATOR_CORE)?;
        let child = Owned(child?);
        let link = accept(&listener)?;
        let hello = FromManager::Welcome { version: LINK_VERSION, generation: 1 };
        let router = Self { address, child, link: Arc::new(Mutex::new(link)) };
        router.tell(&frame(&hello)?)?;
        router.tell(&plan.frames(address)?)?;
        router.keep_alive()?;
        Ok(router)
    }

    pub fn pid(&self) -> u32 {
        self.child.0.id()
    }

    pub fn tell(&self, frames: &[u8]) -> Outcome<()> {
        self.link.lock().expect("nobody panics while holding it").write_all(frames).doing("tell the router")
    }

    /// Sends frames from a thread of its own, so that the load goes on; gives back when it began.
    pub fn tell_later(&self, frames: Vec<u8>, pause: Duration) -> thread::JoinHandle<Instant> {
        let link = self.link.clone();
        thread::spawn(move || {
            thread::sleep(pause);
            let began = Instant::now();
            // A router that is gone shows in the load.
            drop(link.lock().expect("nobody panics while holding it").write_all(&frames));
            began
        })
    }

    /// Reads what the router reports, and speaks to it at least once a second, until it ends.
    fn keep_alive(&self) -> Outcome<()> {
        let link = self.link.clone();
        let mut reading =
            link.lock().expect("nobody panics while holding it").try_clone().doing("share the link")?;
        let alive = frame(&FromManager::KeepAlive)?;
        reading.set_read_timeout(Some(Duration::from_millis(KEEP_ALIVE_MS / 2))).doing("set up the link")?;
        thread::spawn(move || {
            let mut scratch = vec![0; 64 * 1024];
            let mut spoken = Instant::now();
            loop {
                match reading.read(&mut scratch) {
                    Ok(0) => return,
                    Ok(_) => {}
                    Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                    Err(_) => return,
                }
                if spoken.elapsed() >= Duration::from_millis(KEEP_ALIVE_MS / 2) {
                    spoken = Instant::now();
                    let sent = link.lock().expect("nobody panics while holding it").write_all(&alive);
                    if sent.is_err() {
                        return;
                    }
                }
            }
        });
        Ok(())
    }
}

/// The stream of the first caller that says hello. Others only look whether anybody is there.
fn accept(listener: &UnixListener) -> Outcome<UnixStream> {
    listener.set_nonblocking(true).doing("set up the link")?;
    let started = Instant::now();
    while started.elapsed() < CALL_TIME_MAX {
        match listener.accept() {
            Ok((mut stream, _)) => {
                stream.set_nonblocking(false).doing("set up the link")?;
                if read_frame(&mut stream).is_ok() {
                    return Ok(stream);
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(Duration::from_millis(10)),
            Err(error) => return Err(Failure(format!("could not accept the router's call: {error}"))),
        }
    }
    Err(Failure("the router does not call its manager".into()))
}

fn read_frame(stream: &mut UnixStream) -> std::io::Result<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let mut body = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut body)?;
    Ok(body)
}

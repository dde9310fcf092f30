//! A router with everything around it: members that the test plays, and a manager that tells views.

use super::super::{RouterOptions, start};
use crate::link::ManagerAt;
use crate::role::RoleHandle;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use wire::id::Epoch;
use wire::link::{FromManager, LINK_VERSION, ToManager};
use wire::router::{Limits, RetrySettings, RouterReport, RouterSettings, Timeouts};
use wire::settings::{AccessLog, Listener, RouteSettings};
use wire::view::{Affinity, MemberView, Policy, RunState, View};

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

pub struct Stage {
    directory: PathBuf,
    router: Option<RoleHandle>,
    address: Option<SocketAddr>,
    told: Arc<Mutex<Told>>,
}

/// What the manager has said and heard.
struct Told {
    settings: RouterSettings,
    view: View,
    connection: Option<UnixStream>,
    report: Option<RouterReport>,
}

/// Requests that reached a member.
#[derive(Clone, Default)]
pub struct Seen(Arc<AtomicU64>);

impl Seen {
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }

    pub fn wait_for(&self, count: u64) {
        wait_until("the member sees a request", || self.count() >= count);
    }
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "{what}: not after {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

impl Stage {
    pub fn new() -> Self {
        Self::with(|_| {})
    }

    pub fn with(change: impl FnOnce(&mut RouterSettings)) -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("muster-stage-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("a temporary directory can be made");
        let mut settings = settings();
        change(&mut settings);
        let told = Told { settings, view: view(), connection: None, report: None };
        let mut stage = Self { directory, router: None, address: None, told: Arc::new(Mutex::new(told)) };
        stage.play_manager();
        stage.start_router();
        wait_until("the router listens", || stage.reported_address().is_some());
        stage.address = stage.reported_address();
        stage
    }

    fn start_router(&mut self) {
        let options = RouterOptions {
            node: "local".into(),
            router: "front".into(),
            state_dir: self.directory.clone(),
            manager: ManagerAt::Socket(self.directory.join("manager.sock")),
        };
        // Nobody asks it to hand over.
        let (_, requests) = tokio::sync::mpsc::channel(1);
        self.router = Some(start(options, requests, None).expect("the router starts"));
    }

    fn play_manager(&self) {
        let listener = UnixListener::bind(self.directory.join("manager.sock")).expect("a socket");
        let told = self.told.clone();
        std::thread::spawn(move || {
            while let Ok((connection, _)) = listener.accept() {
                serve_router(connection, &told);
            }
        });
    }

    /// Adds a member that is Up and treats each connection as `serve` says. Counts heads of requests.
    pub fn member(&self, name: &str, weight: u32, serve: impl Fn(TcpStream) + Send + Sync + 'static) -> Seen {
        let (member, seen) = Self::serve(name, weight, serve);
        self.change(|view| view.members.push(member));
        seen
    }

    /// A member of no cluster yet.
    pub fn serve(
        name: &str,
        weight: u32,
        serve: impl Fn(TcpStream) + Send + Sync + 'static,
    ) -> (MemberView, Seen) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let seen = Seen::default();
        let (counter, serve) = (seen.clone(), Arc::new(serve));
        std::thread::spawn(move || {
            for caller in listener.incoming().map_while(Result::ok) {
                let (counter, serve) = (counter.clone(), serve.clone());
                std::thread::spawn(move || {
                    let mut first = [0];
                    if matches!(caller.peek(&mut first), Ok(1)) {
                        counter.0.fetch_add(1, Ordering::SeqCst);
                        serve(caller);
                    }
                });
            }
        });
        let member = MemberView {
            name: name.into(),
            clone_id: name.into(),
            address: Some(address),
            state: RunState::Up,
            weight,
            is_lost: false,
            reason: String::new(),
            ..MemberView::default()
        };
        (member, seen)
    }

    /// Tells the router of another cluster besides `shop` and waits until it uses it.
    pub fn tell(&self, cluster: &str, members: Vec<MemberView>) {
        let view = View { cluster: cluster.into(), members, ..view() };
        let epoch = view.epoch;
        {
            let mut told = self.told.lock().expect("no panic");
            let connection = told.connection.as_mut().expect("the router is connected");
            send(connection, &FromManager::Views(vec![view]));
        }
        self.wait_for_report(|report| {
            let is_it =
                |told: &wire::router::ClusterTraffic| told.cluster.0 == cluster && told.applied == epoch;
            report.clusters.iter().any(is_it)
        });
    }

    /// As `member`, for one that speaks HTTP/2.
    pub fn http2_member(&self, name: &str, serve: impl Fn(TcpStream) + Send + Sync + 'static) -> Seen {
        let seen = self.member(name, 1, serve);
        self.change(|view| member(view, name).transport.http2 = true);
        seen
    }

    /// Stops the router in good order.
    pub fn stop(&mut self) {
        stop(&mut self.router);
    }

    pub fn set_state(&self, name: &str, state: RunState) {
        self.change(|view| member(view, name).state = state);
    }

    pub fn lose(&self, name: &str) {
        self.change(|view| {
            let member = member(view, name);
            (member.state, member.is_lost) = (RunState::Down, true);
        });
    }

    /// Tells the router other settings; they are in force when it uses the view that follows them.
    pub fn change_settings(&self, change: impl FnOnce(&mut RouterSettings)) {
        {
            let mut told = self.told.lock().expect("no panic");
            change(&mut told.settings);
            let settings = told.settings.clone();
            let connection = told.connection.as_mut().expect("the router is connected");
            send(connection, &FromManager::Settings { generation: 1, settings: Box::new(settings) });
        }
        self.change(|_| {});
    }

    /// Tells the router a newer view and waits until it uses it.
    pub fn change(&self, change: impl FnOnce(&mut View)) {
        let mut told = self.told.lock().expect("no panic");
        let before = told.view.clone();
        change(&mut told.view);
        told.view.epoch.number += 1;
        let epoch = told.view.epoch;
        // As a manager does.
        let message = match logic::view::change(&before, &told.view) {
            Some(change) => FromManager::Changes(vec![change]),
            None => FromManager::Views(vec![told.view.clone()]),
        };
        let connection = told.connection.as_mut().expect("the router is connected");
        send(connection, &message);
        drop(told);
        wait_until("the router uses the view", || {
            let told = self.told.lock().expect("no panic");
            told.report
                .as_ref()
                .is_some_and(|report| report.clusters.iter().any(|cluster| cluster.applied == epoch))
        });
    }

    /// Tells the router something else about its views.
    pub fn say(&self, message: &FromManager) {
        let mut told = self.told.lock().expect("no panic");
        send(told.connection.as_mut().expect("the router is connected"), message);
    }

    /// What it was told last.
    pub fn told_view(&self) -> View {
        self.told.lock().expect("no panic").view.clone()
    }

    fn reported_address(&self) -> Option<SocketAddr> {
        let told = self.told.lock().expect("no panic");
        told.report.as_ref().and_then(|report| report.listening.first().copied())
    }

    /// The newest report once it is as wanted.
    pub fn wait_for_report(&self, is_wanted: impl Fn(&RouterReport) -> bool) -> RouterReport {
        let wanted = Mutex::new(None);
        wait_until("the report is as wanted", || {
            let report = self.told.lock().expect("no panic").report.clone().filter(&is_wanted);
            let is_there = report.is_some();
            *wanted.lock().expect("no panic") = report;
            is_there
        });
        wanted.into_inner().expect("no panic").expect("it was there")
    }

    pub fn connect(&self) -> TcpStream {
        let client = TcpStream::connect(self.address.expect("listening")).expect("the router accepts");
        client.set_read_timeout(Some(PATIENCE)).expect("a positive time");
        client
    }

    pub fn ask(&self, path: &str) -> String {
        let mut client = self.connect();
        client.write_all(get(path).as_bytes()).expect("the router reads");
        read_answer(&mut client)
    }

    /// The same router again, with its disk but without anybody to ask. The port is the one that it had.
    pub fn restart_without_manager(mut self) -> Self {
        let address = self.address.expect("listening");
        {
            let mut told = self.told.lock().expect("no panic");
            told.settings.listeners = vec![Listener::plain(address)];
            let settings = Box::new(told.settings.clone());
            let connection = told.connection.as_mut().expect("the router is connected");
            send(connection, &FromManager::Settings { generation: 1, settings });
        }
        let kept = self.directory.join("router/front.json");
        wait_until("the router keeps its state", || {
            std::fs::read_to_string(&kept).is_ok_and(|text| text.contains(&address.to_string()))
        });
        stop(&mut self.router);
        std::fs::remove_file(self.directory.join("manager.sock")).expect("the socket is ours");
        self.start_router();
        wait_until("the router listens", || TcpStream::connect(address).is_ok());
        self
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        stop(&mut self.router);
        drop(std::fs::remove_dir_all(&self.directory));
    }
}

fn stop(router: &mut Option<RoleHandle>) {
    if let Some(router) = router.take() {
        router.stop.send_replace(true);
        let ended = router.thread.join();
        assert!(ended.is_ok() || std::thread::panicking(), "the router panicked");
    }
}

pub fn member<'v>(view: &'v mut View, name: &str) -> &'v mut MemberView {
    view.members.iter_mut().find(|member| member.name.0 == name).expect("a member of that name")
}

fn serve_router(mut connection: UnixStream, told: &Mutex<Told>) {
    let Some(ToManager::Hello { .. }) = receive(&mut connection) else { panic!("no hello") };
    send(&mut connection, &FromManager::Welcome { version: LINK_VERSION, generation: 1 });
    {
        let mut told = told.lock().expect("no panic");
        let settings = Box::new(told.settings.clone());
        send(&mut connection, &FromManager::Settings { generation: 1, settings });
        send(&mut connection, &FromManager::Views(vec![told.view.clone()]));
        told.connection = Some(connection.try_clone().expect("a second handle"));
    }
    while let Some(message) = receive(&mut connection) {
        let mut told = told.lock().expect("no panic");
        if let ToManager::Router(report) = message {
            told.report = Some(report);
        }
        // Who says nothing for long is taken for gone. The router speaks every second; it may be gone itself.
        if let Some(connection) = &mut told.connection {
            drop(try_send(connection, &FromManager::KeepAlive));
        }
    }
}

fn send(connection: &mut UnixStream, message: &FromManager) {
    try_send(connection, message).expect("the router reads");
}

fn try_send(connection: &mut UnixStream, message: &FromManager) -> std::io::Result<()> {
    let body = serde_json::to_vec(message).expect("messages can be written");
    connection.write_all(&(body.len() as u32).to_be_bytes())?;
    connection.write_all(&body)
}

fn receive(connection: &mut UnixStream) -> Option<ToManager> {
    let mut length = [0; 4];
    connection.read_exact(&mut length).ok()?;
    let mut body = vec![0; u32::from_be_bytes(length) as usize];
    connection.read_exact(&mut body).ok()?;
    Some(serde_json::from_slice(&body).expect("the router writes what we read"))
}

/// Of a router with one thread and one route for everything.
pub fn settings() -> RouterSettings {
    RouterSettings {
        name: "front".into(),
        listeners: vec![Listener::plain("127.0.0.1:0".parse().expect("an address"))],
        zone: String::new(),
        threads: 1,
        routes: vec![RouteSettings::to_cluster("*", "/", "shop".into())],
        timeouts: Timeouts {
            connect_ms: 1_000,
            head_ms: 60_000,
            body_ms: 60_000,
            idle_ms: 60_000,
            response_ms: 60_000,
            request_ms: 0,
            tunnel_idle_ms: 60_000,
            pool_idle_ms: 60_000,
        },
        limits: Limits {
            head_size_max_bytes: 32_768,
            header_count_max: 100,
            body_size_max_bytes: 0,
            connections_max: 1_000,
            pool_size_max: 16,
        },
        retry: RetrySettings {
            attempts_max: 3,
            budget_percent: 20,
            budget_floor_per_second: 1_000,
            replay_max_bytes: 65_536,
        },
        access_log: AccessLog::default(),
        trace: None,
        matches_listener_port: false,
        plugin_cfg: None,
        trusted_proxies: Vec::new(),
        clients: Vec::new(),
        cookie_keys: Vec::new(),
    }
}

fn view() -> View {
    View {
        cluster: "shop".into(),
        epoch: Epoch { generation: 1, number: 1 },
        policy: Policy::RoundRobin,
        affinity: Some(Affinity {
            cookie: "JSESSIONID".into(),
            url_identifier: String::new(),
            separator: ':',
            lowers_weight: false,
            ..Affinity::default()
        }),
        members: Vec::new(),
        ..View::default()
    }
}

/// Has the router log in JSON into a file of its own; its path.
pub fn log_json(stage: &Stage, name: &str) -> std::path::PathBuf {
    let path = std::env::temp_dir().join(format!("muster-{name}-{}", std::process::id()));
    stage.change_settings(|settings| {
        settings.access_log = AccessLog {
            format: wire::settings::AccessLogFormat::Json,
            path: path.display().to_string(),
            ..AccessLog::default()
        };
    });
    path
}

/// The lines of a file once there are so many.
pub fn wait_for_lines(path: &std::path::Path, count: usize) -> Vec<String> {
    let lines = || -> Vec<String> {
        std::fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect()
    };
    wait_until("the lines are written", || lines().len() >= count);
    lines()
}

pub fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")
}

/// Bytes up to and with an empty line; None if the other side ends or breaks off before.
pub fn read_head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        match stream.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            Ok(_) => return None,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
            Err(error) => panic!("reading a head: {error}"),
        }
    }
    Some(String::from_utf8(head).expect("text"))
}

/// A request with the body that its Content-Length announces.
pub fn read_request(stream: &mut TcpStream) -> Option<String> {
    let head = read_head(stream)?;
    let mut body = vec![0; content_length(&head).unwrap_or(0)];
    stream.read_exact(&mut body).ok()?;
    Some(head + &String::from_utf8(body).expect("text"))
}

/// An answer with its body, framing and all; answers to HEAD are not for this.
pub fn read_answer(stream: &mut TcpStream) -> String {
    String::from_utf8(read_answer_bytes(stream)).expect("text")
}

pub fn read_answer_bytes(stream: &mut TcpStream) -> Vec<u8> {
    let head = read_head(stream).expect("an answer");
    let mut answer = head.clone().into_bytes();
    if let Some(length) = content_length(&head) {
        let mut body = vec![0; length];
        stream.read_exact(&mut body).expect("the whole body");
        answer.extend(body);
    } else if head.contains("chunked") {
        while !answer.ends_with(b"\r\n\r\n") || answer.len() == head.len() {
            let mut byte = [0];
            stream.read_exact(&mut byte).expect("the whole body");
            answer.push(byte[0]);
        }
    }
    answer
}

fn content_length(head: &str) -> Option<usize> {
    let line = head.lines().find(|line| line.to_ascii_lowercase().starts_with("content-length:"))?;
    Some(line.split_once(':')?.1.trim().parse().expect("a number"))
}

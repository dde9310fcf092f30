//! Steady load on a router: conversations on keep-alive connections, each request checked as it is answered.
//!
//! Every failure is counted, with an example. Not here: what is done to the cluster meanwhile, and what is judged of
//! it (see `check`).

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Conversations at a time.
pub const CONNECTIONS: usize = 64;
/// One request in so many is a POST.
const POST_EVERY: u64 = 16;
/// Examples of failures that are kept.
const EXAMPLES_MAX: usize = 5;
/// No answer takes longer while the router keeps its promises.
const ANSWER_MAX: Duration = Duration::from_secs(90);
/// Longest head of an answer that is read.
const HEAD_MAX_BYTES: usize = 16 * 1024;

/// What was counted so far.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    pub requests: u64,
    pub gets_failed: u64,
    /// POSTs that were answered with 502, 503 or 504: never sent twice.
    pub posts_refused: u64,
    /// POSTs that failed in any other way.
    pub posts_failed: u64,
    /// Answers by another member than the conversation's own, while that was out.
    pub moved: u64,
    /// Conversations that left their member although it was there.
    pub sessions_lost: BTreeSet<usize>,
    pub examples: Vec<String>,
}

/// Members that may be out at the moment, so that their conversations may go on elsewhere.
pub type Out = Arc<Mutex<BTreeSet<String>>>;

/// A load that runs until it is dropped.
#[derive(Debug)]
pub struct Load {
    tally: Arc<Mutex<Tally>>,
    out: Out,
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Load {
    pub fn start(router: SocketAddr) -> std::io::Result<Self> {
        let tally = Arc::new(Mutex::new(Tally::default()));
        let stop = Arc::new(AtomicBool::new(false));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let out = Out::default();
        let (counted, stopped, may_be_out) = (tally.clone(), stop.clone(), out.clone());
        let thread = std::thread::Builder::new().name("load".into()).spawn(move || {
            let local = tokio::task::LocalSet::new();
            for number in 0..CONNECTIONS {
                let conversation = Conversation::new(number, router, counted.clone(), may_be_out.clone());
                local.spawn_local(conversation.run(stopped.clone()));
            }
            runtime.block_on(local);
        })?;
        Ok(Self { tally, out, stop, thread: Some(thread) })
    }

    pub fn tally(&self) -> Tally {
        self.tally.lock().expect("nobody panics while holding it").clone()
    }

    /// From now on conversations of these members may be answered by others.
    pub fn allow_out(&self, members: impl IntoIterator<Item = String>) {
        *self.out.lock().expect("nobody panics while holding it") = members.into_iter().collect();
    }

    /// Lets requests under way end, and tells what was counted.
    pub fn stop(mut self) -> Tally {
        self.end();
        self.tally()
    }

    fn end(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the load panicked");
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.end();
    }
}

/// One client with its session.
struct Conversation {
    number: usize,
    router: SocketAddr,
    tally: Arc<Mutex<Tally>>,
    out: Out,
    cookie: Option<String>,
    asked: u64,
    started: Instant,
}

impl Conversation {
    fn new(number: usize, router: SocketAddr, tally: Arc<Mutex<Tally>>, out: Out) -> Self {
        Self { number, router, tally, out, cookie: None, asked: 0, started: Instant::now() }
    }

    async fn run(mut self, stop: Arc<AtomicBool>) {
        let mut connection = None;
        while !stop.load(Ordering::Relaxed) {
            self.asked += 1;
            let is_post = self.asked.is_multiple_of(POST_EVERY);
            let was_out = self.is_home_out();
            let asked = tokio::time::timeout(ANSWER_MAX, self.ask(&mut connection, is_post)).await;
            let result = asked.unwrap_or_else(|_| Err("no answer in time".into()));
            if result.is_err() {
                connection = None;
            }
            self.note(is_post, was_out, result);
        }
    }

    /// The member whose conversation it is: the first clone id of the session, which here is the member's name.
    fn home(&self) -> Option<&str> {
        self.cookie.as_ref().and_then(|cookie| cookie.split(':').nth(1))
    }

    /// Since the load began.
    fn seconds(&self) -> f64 {
        (self.started.elapsed().as_secs_f64() * 1000.0).round() / 1000.0
    }

    fn is_home_out(&self) -> bool {
        let out = self.out.lock().expect("nobody panics while holding it");
        self.home().is_some_and(|home| out.contains(home))
    }

    async fn ask(&self, connection: &mut Option<TcpStream>, is_post: bool) -> Result<Answer, String> {
        let stream = match connection {
            Some(stream) => stream,
            None => {
                let stream =
                    TcpStream::connect(self.router).await.map_err(|error| format!("connect: {error}"))?;
                stream.set_nodelay(true).map_err(|error| format!("connect: {error}"))?;
                connection.insert(stream)
            }
        };
        let cookie = self.cookie.as_ref().map(|cookie| format!("Cookie: {cookie}\r\n")).unwrap_or_default();
        let request = if is_post {
            format!("POST /echo HTTP/1.1\r\nHost: demo\r\n{cookie}Content-Length: 5\r\n\r\nhello")
        } else {
            format!("GET / HTTP/1.1\r\nHost: demo\r\n{cookie}\r\n")
        };
        stream.write_all(request.as_bytes()).await.map_err(|error| format!("send: {error}"))?;
        let answer = read_answer(stream).await?;
        if answer.closes {
            *connection = None;
        }
        Ok(answer)
    }

    fn note(&mut self, is_post: bool, was_out: bool, result: Result<Answer, String>) {
        let is_out = was_out || self.is_home_out();
        let mut tally = self.tally.lock().expect("nobody panics while holding it");
        tally.requests += 1;
        let problem = match result {
            Ok(answer) if answer.status == 200 => {
                if self.home().is_some_and(|home| home != answer.member) {
                    tally.moved += 1;
                    if !is_out {
                        tally.sessions_lost.insert(self.number);
                    }
                }
                if let Some(cookie) = answer.cookie {
                    self.cookie = Some(cookie);
                }
                return;
            }
            Ok(answer) if is_post && matches!(answer.status, 502..=504) => {
                tally.posts_refused += 1;
                return;
            }
            Ok(answer) => format!("status {} from {}", answer.status, answer.member),
            Err(problem) => problem,
        };
        if is_post {
            tally.posts_failed += 1;
        } else {
            tally.gets_failed += 1;
        }
        if tally.examples.len() < EXAMPLES_MAX {
            let out = self.out.lock().expect("nobody panics while holding it").clone();
            let method = if is_post { "POST" } else { "GET" };
            tally
                .examples
                .push(format!("{method} at {} s while {out:?} may be out: {problem}", self.seconds()));
        }
    }
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub member: String,
    cookie: Option<String>,
    closes: bool,
}

/// Reads an answer whose body has a length or comes in chunks.
pub async fn read_answer(stream: &mut TcpStream) -> Result<Answer, String> {
    let mut bytes = Vec::with_capacity(512);
    let head_end = loop {
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        if bytes.len() > HEAD_MAX_BYTES {
            return Err("a head without end".into());
        }
        read_more(stream, &mut bytes).await?;
    };
    let head = String::from_utf8_lossy(&bytes[..head_end]).into_owned();
    let value = |name: &str| {
        let lines = head.lines().skip(1).filter_map(|line| line.split_once(':'));
        lines
            .filter(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim().to_owned())
            .next()
    };
    match value("content-length") {
        Some(length) => {
            let length: usize = length.parse().map_err(|_| "a length that is no number".to_owned())?;
            while bytes.len() < head_end + length {
                read_more(stream, &mut bytes).await?;
            }
        }
        None => {
            let mut framing = logic::http::body::Framing::CHUNKED;
            let mut used = head_end;
            while !framing.is_done() {
                if used == bytes.len() {
                    read_more(stream, &mut bytes).await?;
                }
                used += framing.consume(&bytes[used..]).map_err(|refusal| refusal.to_string())?.used;
            }
        }
    }
    Ok(Answer {
        status: head.get(9..12).and_then(|digits| digits.parse().ok()).unwrap_or_default(),
        member: value("x-member").unwrap_or_default(),
        cookie: value("set-cookie").and_then(|cookie| cookie.split(';').next().map(str::to_owned)),
        closes: value("connection").is_some_and(|value| value.eq_ignore_ascii_case("close")),
    })
}

async fn read_more(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> Result<(), String> {
    match stream.read_buf(bytes).await {
        Ok(0) => Err("closed before the answer was complete".into()),
        Ok(_) => Ok(()),
        Err(error) => Err(format!("receive: {error}")),
    }
}

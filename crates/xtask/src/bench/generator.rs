//! Clients and back ends of a benchmark in one thread and one epoll loop, so that they need one core only.
//!
//! Clients are a closed loop: each sends its next request when it has its answer. While it measures the loop never
//! sleeps, so that no wake-up of ours is charged to the proxy. Promise: every answer's status and length are checked.
//! Not here: what is measured about the proxy (see `meter`).

use super::connection::{BackEnd, Client, Moved, Progress};
use super::message::Exchanges;
use crate::failure::{Doing, Failure, Outcome};
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

/// Members behind each proxy; their weights are 4, 3, 2 and 1.
pub const BACK_ENDS: usize = 4;
/// Bytes read at once. 256 KiB: a large answer in few reads, so that the generator is not the bottleneck.
const SCRATCH_SIZE_BYTES: usize = 256 * 1024;
/// Events taken from the kernel at once. 1,024: more than there are connections under load.
const EVENTS_MAX: usize = 1024;
/// Longest wait for one answer when connections are opened one by one.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(5);

#[derive(Debug)]
enum Socket {
    Listener(TcpListener, usize),
    BackEnd(BackEnd, usize),
    Client(Client),
}

/// What the clients saw during one run of the loop.
#[derive(Debug, Default)]
pub struct Slice {
    pub wall: Duration,
    /// Nanoseconds, one for each answer.
    pub latencies: Vec<u32>,
    pub wrong: u64,
    pub first_wrong: Option<String>,
    /// Requests that each back end got.
    pub served: [u64; BACK_ENDS],
    /// When each of them got its first one.
    pub first_served: [Option<Instant>; BACK_ENDS],
    /// Time in which there was nothing to do: how far the generator is from being the bottleneck.
    pub idle: Duration,
}

/// When a run of the loop ends.
#[derive(Debug, Clone, Copy)]
enum Until {
    At(Instant),
    Answers(usize),
    AllIdle,
}

pub struct Generator {
    epoll: OwnedFd,
    sockets: Vec<Option<Socket>>,
    free: Vec<usize>,
    exchanges: Exchanges,
    addresses: Vec<SocketAddr>,
    scratch: Vec<u8>,
    events: Vec<epoll::Event>,
    /// What the clients of the current load ask for.
    size_bytes: usize,
    /// Whether a client that has its answer asks again.
    is_asking: bool,
    /// Clients that wait for an answer.
    underway: usize,
}

impl Generator {
    /// Back ends on free ports, ready to answer with bodies of these sizes.
    pub fn new(sizes_bytes: &[usize]) -> Outcome<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).doing("create an epoll")?;
        let mut generator = Self {
            epoll,
            sockets: Vec::new(),
            free: Vec::new(),
            exchanges: Exchanges::new(sizes_bytes),
            addresses: Vec::new(),
            scratch: vec![0; SCRATCH_SIZE_BYTES],
            events: Vec::with_capacity(EVENTS_MAX),
            size_bytes: sizes_bytes.first().copied().unwrap_or_default(),
            is_asking: false,
            underway: 0,
        };
        for index in 0..BACK_ENDS {
            let listener = TcpListener::bind("127.0.0.1:0").doing("listen as a back end")?;
            listener.set_nonblocking(true).doing("set up a back end")?;
            generator.addresses.push(listener.local_addr().doing("ask for a back end's port")?);
            generator.add(Socket::Listener(listener, index))?;
        }
        Ok(generator)
    }

    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Opens `count` clients to `target` that will ask for bodies of this size.
    pub fn open(&mut self, target: SocketAddr, size_bytes: usize, count: usize) -> Outcome<()> {
        self.size_bytes = size_bytes;
        for _ in 0..count {
            self.open_one(target)?;
        }
        Ok(())
    }

    fn open_one(&mut self, target: SocketAddr) -> Outcome<usize> {
        let stream = TcpStream::connect(target).doing(format_args!("connect to the proxy at {target}"))?;
        stream.set_nonblocking(true).doing("set up a client")?;
        stream.set_nodelay(true).doing("set up a client")?;
        self.add(Socket::Client(Client::new(stream)))
    }

    /// Opens clients one by one, each of which makes one request and then stays without a word.
    pub fn open_idle(&mut self, target: SocketAddr, size_bytes: usize, count: usize) -> Outcome<()> {
        self.size_bytes = size_bytes;
        self.is_asking = false;
        for number in 0..count {
            let slot = self.open_one(target)?;
            let mut slice = Slice::default();
            self.begin(slot, &mut slice);
            self.run(Until::AllIdle, ANSWER_TIME_MAX, &mut slice)?;
            if let Some(wrong) = slice.first_wrong {
                return Err(Failure(format!("idle connection {number}: {wrong}")));
            }
        }
        Ok(())
    }

    /// Lets the clients ask without pause for `duration`.
    pub fn load(&mut self, duration: Duration) -> Outcome<Slice> {
        let mut slice = Slice::default();
        self.start_all(&mut slice);
        let end = Instant::now() + duration;
        self.run(Until::At(end), duration * 2, &mut slice)?;
        Ok(slice)
    }

    /// Lets the clients ask until there are `answers` of them, and then until each has its last one.
    pub fn load_count(&mut self, answers: usize, time_max: Duration) -> Outcome<Slice> {
        let mut slice = Slice::default();
        self.start_all(&mut slice);
        self.run(Until::Answers(answers), time_max, &mut slice)?;
        self.is_asking = false;
        self.run(Until::AllIdle, time_max, &mut slice)?;
        Ok(slice)
    }

    /// Answers as a back end for `duration`, sleeping in between; fails if a client loses its connection.
    pub fn serve(&mut self, duration: Duration) -> Outcome<()> {
        let end = Instant::now() + duration;
        let mut slice = Slice::default();
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return slice.first_wrong.map_or(Ok(()), |wrong| Err(Failure(wrong)));
            }
            self.turn(left, &mut slice)?;
        }
    }

    /// Lets each client have its last answer, then closes all of them.
    pub fn close(&mut self) -> Outcome<()> {
        self.is_asking = false;
        self.run(Until::AllIdle, ANSWER_TIME_MAX, &mut Slice::default())?;
        for slot in 0..self.sockets.len() {
            if matches!(self.sockets[slot], Some(Socket::Client(_))) {
                self.remove(slot);
            }
        }
        Ok(())
    }

    fn start_all(&mut self, slice: &mut Slice) {
        self.is_asking = true;
        for slot in 0..self.sockets.len() {
            if matches!(&self.sockets[slot], Some(Socket::Client(client)) if client.is_idle()) {
                self.begin(slot, slice);
            }
        }
    }

    fn begin(&mut self, slot: usize, slice: &mut Slice) {
        if let Some(Socket::Client(client)) = &mut self.sockets[slot] {
            self.underway += 1;
            let progress = client.begin(self.exchanges.of_size(self.size_bytes));
            self.follow(slot, progress, slice);
        }
    }

    /// Turns the loop without sleeping until the end is reached.
    fn run(&mut self, until: Until, time_max: Duration, slice: &mut Slice) -> Outcome<()> {
        let started = Instant::now();
        let mut now = started;
        loop {
            let is_reached = match until {
                Until::At(end) => now >= end,
                Until::Answers(wanted) => slice.latencies.len() >= wanted,
                Until::AllIdle => self.underway == 0,
            };
            if is_reached || slice.wrong > 0 {
                slice.wall += started.elapsed();
                return Ok(());
            }
            if now - started > time_max {
                return Err(Failure(format!("no answer within {} s", time_max.as_secs_f64())));
            }
            let events = self.turn(Duration::ZERO, slice)?;
            let later = Instant::now();
            if events == 0 {
                slice.idle += later - now;
            }
            now = later;
        }
    }

    /// Takes what the kernel has, waiting for it at most `wait`.
    fn turn(&mut self, wait: Duration, slice: &mut Slice) -> Outcome<usize> {
        let timeout = Timespec { tv_sec: wait.as_secs() as i64, tv_nsec: i64::from(wait.subsec_nanos()) };
        let mut events = std::mem::take(&mut self.events);
        events.clear();
        match epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(Failure(format!("could not wait for events: {error}"))),
        }
        for event in &events {
            let slot = usize::try_from(event.data.u64()).expect("a slot was put in");
            self.step(slot, slice)?;
        }
        let count = events.len();
        self.events = events;
        Ok(count)
    }

    fn step(&mut self, slot: usize, slice: &mut Slice) -> Outcome<()> {
        match &mut self.sockets[slot] {
            // Closed by an earlier event of the same turn.
            None => Ok(()),
            Some(Socket::Listener(..)) => self.accept(slot),
            Some(Socket::BackEnd(back_end, index)) => {
                let index = *index;
                let served = &mut slice.served[index];
                let moved = back_end.step(&self.exchanges, &mut self.scratch, served);
                if *served > 0 && slice.first_served[index].is_none() {
                    slice.first_served[index] = Some(Instant::now());
                }
                if moved == Moved::Closed {
                    self.remove(slot);
                }
                Ok(())
            }
            Some(Socket::Client(client)) => {
                let progress = client.step(self.exchanges.of_size(self.size_bytes), &mut self.scratch);
                self.follow(slot, progress, slice);
                Ok(())
            }
        }
    }

    fn follow(&mut self, slot: usize, progress: Progress, slice: &mut Slice) {
        match progress {
            Progress::Underway => {}
            Progress::Answered(latency) => {
                self.underway -= 1;
                slice.latencies.push(latency);
                if self.is_asking {
                    self.begin(slot, slice);
                }
            }
            Progress::Wrong(text) => {
                slice.wrong += 1;
                slice.first_wrong.get_or_insert(text);
                if matches!(&self.sockets[slot], Some(Socket::Client(client)) if !client.is_idle()) {
                    self.underway -= 1;
                }
                self.remove(slot);
            }
        }
    }

    fn accept(&mut self, slot: usize) -> Outcome<()> {
        loop {
            let Some(Socket::Listener(listener, index)) = &self.sockets[slot] else { return Ok(()) };
            let index = *index;
            match listener.accept() {
                Ok((stream, _)) => {
                    stream.set_nonblocking(true).doing("set up a back end's connection")?;
                    stream.set_nodelay(true).doing("set up a back end's connection")?;
                    self.add(Socket::BackEnd(BackEnd::new(stream), index))?;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(Failure(format!("could not accept as a back end: {error}"))),
            }
        }
    }

    fn add(&mut self, socket: Socket) -> Outcome<usize> {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.sockets.push(None);
            self.sockets.len() - 1
        });
        let flags =
            epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::RDHUP | epoll::EventFlags::ET;
        let descriptor = match &socket {
            Socket::Listener(listener, _) => listener.as_fd(),
            Socket::BackEnd(back_end, _) => back_end.as_fd(),
            Socket::Client(client) => client.as_fd(),
        };
        epoll::add(&self.epoll, descriptor, epoll::EventData::new_u64(slot as u64), flags)
            .doing("watch a socket")?;
        self.sockets[slot] = Some(socket);
        Ok(slot)
    }

    /// Closes a socket, which takes it out of the epoll too.
    fn remove(&mut self, slot: usize) {
        self.sockets[slot] = None;
        self.free.push(slot);
    }
}

//! Waits for orders, for a server and for a time at once, and holds a conversation meanwhile: for commands that must be small.
//!
//! Without a runtime, whose code would be a fifth of the memory of such a command. Promises: an order is heard while
//! a server is silent, and breaks the conversation off; the conversation ends at its deadline; at most one lookup of a name
//! hangs in the system at a time. No TLS (see `converse`).

use super::converse::{ADDRESSES_MAX, READ_MAX_BYTES, Step, Trouble};
use logic::monitor::conversation::{Conversation, Next};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, Type};
use std::io::{self, PipeReader, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};
use wire::monitor::Target;

/// How long who connects may take to say what it wants.
pub const ORDER_WAIT: Duration = Duration::from_secs(10);
/// After an order could not be taken for want of descriptors: it is not ours, and who asks hears of it by its own time-out.
const ORDER_PAUSE: Duration = Duration::from_millis(100);

/// What a running monitor is told, a byte each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    Stop = b's' as isize,
    Pause = b'p' as isize,
    Resume = b'r' as isize,
}

impl Order {
    fn of(byte: u8) -> Option<Self> {
        [Order::Stop, Order::Pause, Order::Resume].into_iter().find(|order| *order as u8 == byte)
    }
}

/// An order, and who waits for it to be heard.
#[derive(Debug)]
pub struct Ordered {
    pub order: Order,
    who: UnixStream,
}

impl Ordered {
    /// Who asked may have gone.
    pub fn heard(mut self) {
        let _ = self.who.write_all(&[self.order as u8]);
    }
}

/// What a wait has ended with.
#[derive(Debug)]
pub enum Woken {
    Order(Ordered),
    Ready,
    Late,
}

/// Why a conversation has no good end.
#[derive(Debug)]
pub enum Broken {
    ByOrder(Ordered),
    Failed(Trouble),
}

impl From<Trouble> for Broken {
    fn from(trouble: Trouble) -> Self {
        Broken::Failed(trouble)
    }
}

/// Those who give orders, one after the other: they are people and scripts.
#[derive(Debug)]
pub struct Orders {
    listener: UnixListener,
    /// Has connected, and has until then to say what it wants.
    asker: Option<(UnixStream, Instant)>,
}

impl Orders {
    /// The listener does not block.
    pub fn new(listener: UnixListener) -> Self {
        Self { listener, asker: None }
    }

    /// Waits for an order, for what a file is to be ready for, or a time; for ever without one.
    pub fn wait(&mut self, file: Option<(BorrowedFd<'_>, PollFlags)>, until: Option<Instant>) -> Woken {
        loop {
            let now = Instant::now();
            self.asker.take_if(|(_, late)| *late <= now);
            let first = until.into_iter().chain(self.asker.as_ref().map(|(_, late)| *late)).min();
            let left = first.map(|first| timespec(first.saturating_duration_since(now)));
            let orders = self.asker.as_ref().map_or(self.listener.as_fd(), |(asker, _)| asker.as_fd());
            let mut asked = vec![PollFd::from_borrowed_fd(orders, PollFlags::IN)];
            asked.extend(file.map(|(file, flags)| PollFd::from_borrowed_fd(file, flags)));
            // An interrupted wait is begun anew.
            let _ = poll(&mut asked, left.as_ref());
            let is_ready = |at: usize| asked.get(at).is_some_and(|file| !file.revents().is_empty());
            let (has_order, is_file_ready) = (is_ready(0), is_ready(1));
            drop(asked);
            if has_order && let Some(ordered) = self.take() {
                return Woken::Order(ordered);
            }
            if is_file_ready {
                return Woken::Ready;
            }
            if until.is_some_and(|until| until <= Instant::now()) {
                return Woken::Late;
            }
        }
    }

    /// What has just become ready: somebody who connects, or what it says.
    fn take(&mut self) -> Option<Ordered> {
        match self.asker.take() {
            None => {
                match self.listener.accept() {
                    Ok((asker, _)) => self.asker = Some((asker, Instant::now() + ORDER_WAIT)),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(_) => std::thread::sleep(ORDER_PAUSE),
                }
                None
            }
            Some((mut who, _)) => {
                let mut byte = [0];
                // It is there, or the end is.
                who.read_exact(&mut byte).ok()?;
                Some(Ordered { order: Order::of(byte[0])?, who })
            }
        }
    }

    fn wait_for(
        &mut self,
        step: Step,
        file: BorrowedFd<'_>,
        flags: PollFlags,
        deadline: Instant,
    ) -> Result<(), Broken> {
        match self.wait(Some((file, flags)), Some(deadline)) {
            Woken::Order(ordered) => Err(Broken::ByOrder(ordered)),
            Woken::Ready => Ok(()),
            Woken::Late => Err(Trouble::Silent(step).into()),
        }
    }
}

fn timespec(duration: Duration) -> Timespec {
    // A wait is at most as long as an interval: some hours.
    let tv_sec = i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
    Timespec { tv_sec, tv_nsec: i64::from(duration.subsec_nanos()) }
}

type Found = io::Result<Vec<SocketAddr>>;

/// A lookup of the name: the pipe ends when its answer is there.
#[derive(Debug)]
struct Looking {
    end: PipeReader,
    found: Receiver<Found>,
}

/// A server that is spoken to again and again.
#[derive(Debug)]
pub struct Server {
    target: Target,
    /// Not answered by the system yet, perhaps since an earlier conversation.
    looking: Option<Looking>,
}

impl Server {
    pub fn new(target: Target) -> Self {
        Self { target, looking: None }
    }

    pub fn converse(
        &mut self,
        orders: &mut Orders,
        mut conversation: Conversation,
        deadline: Instant,
    ) -> Result<(), Broken> {
        let mut stream = self.connect(orders, deadline)?;
        // Small messages to and fro: each shall go at once. A socket that cannot be told is only slower.
        let _ = stream.set_nodelay(true);
        let mut next = conversation.begin();
        let mut buffer = vec![0; READ_MAX_BYTES];
        loop {
            match next {
                Next::Say(bytes) => {
                    say(&mut stream, &bytes, orders, deadline)?;
                    match hear(&mut stream, &mut buffer, orders, deadline)? {
                        0 => return conversation.closed().map_err(|wrong| Trouble::Wrong(wrong).into()),
                        length => next = conversation.heard(&buffer[..length]),
                    }
                }
                Next::Encrypt => unreachable!("a conversation asks for TLS only where it is configured"),
                Next::Done { verdict, goodbye } => {
                    // Whether it hears that plays no part any more.
                    let _ = stream.write(goodbye);
                    return verdict.map_err(|wrong| Trouble::Wrong(wrong).into());
                }
            }
        }
    }

    /// The addresses of its name.
    fn look_up(&mut self, orders: &mut Orders, deadline: Instant) -> Result<Vec<SocketAddr>, Broken> {
        let Target { host, port } = &self.target;
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(address, *port)]);
        }
        // It means nothing else anywhere (RFC 6761), and the system's resolver alone would take most of a megabyte.
        if host.eq_ignore_ascii_case("localhost") {
            let both = [IpAddr::V6(Ipv6Addr::LOCALHOST), IpAddr::V4(Ipv4Addr::LOCALHOST)];
            return Ok(both.map(|address| SocketAddr::new(address, *port)).to_vec());
        }
        let failed = |source: io::Error| Broken::from(Trouble::Lookup { source });
        let looking = match self.looking.take() {
            Some(looking) => looking,
            None => begin_lookup(host.clone(), *port).map_err(failed)?,
        };
        let end = looking.end.try_clone().map_err(failed)?;
        let found = &self.looking.insert(looking).found;
        orders.wait_for(Step::Lookup, end.as_fd(), PollFlags::IN, deadline)?;
        let found = found.recv().unwrap_or_else(|error| Err(io::Error::other(error)));
        self.looking = None;
        let found = found.map_err(failed)?;
        if found.is_empty() { Err(failed(io::ErrorKind::NotFound.into())) } else { Ok(found) }
    }

    /// The first of its addresses that takes a connection.
    fn connect(&mut self, orders: &mut Orders, deadline: Instant) -> Result<TcpStream, Broken> {
        let mut last = None;
        for address in self.look_up(orders, deadline)? {
            let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP));
            let socket = socket.and_then(|socket| socket.set_nonblocking(true).map(|()| socket));
            let socket = match socket {
                Ok(socket) => socket,
                Err(source) => {
                    last = Some(Trouble::Socket { source });
                    continue;
                }
            };
            let mut connected = socket.connect(&address.into());
            if connected.as_ref().is_err_and(is_under_way) {
                orders.wait_for(Step::Connect, socket.as_fd(), PollFlags::OUT, deadline)?;
                connected = socket.take_error().and_then(|error| error.map_or(Ok(()), Err));
            }
            match connected {
                Ok(()) => return Ok(socket.into()),
                Err(source) => last = Some(Trouble::Connect { address, source }),
            }
        }
        Err(last.expect("a name that was found has an address").into())
    }
}

fn is_under_way(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::INPROGRESS.raw_os_error())
}

/// On a thread of its own: the system's resolver takes as long as it likes, and cannot be told to stop.
fn begin_lookup(host: String, port: u16) -> io::Result<Looking> {
    let (end, end_of_thread) = io::pipe()?;
    let (answer, found) = sync_channel(1);
    std::thread::Builder::new().name("lookup".into()).spawn(move || {
        let looked_up = (host.as_str(), port).to_socket_addrs();
        // Nobody listens only when the command ends.
        let _ = answer.send(looked_up.map(|found| found.take(ADDRESSES_MAX).collect()));
        drop(end_of_thread);
    })?;
    Ok(Looking { end, found })
}

fn say(
    stream: &mut TcpStream,
    mut bytes: &[u8],
    orders: &mut Orders,
    deadline: Instant,
) -> Result<(), Broken> {
    while !bytes.is_empty() {
        match stream.write(bytes) {
            Ok(length) => bytes = &bytes[length..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                orders.wait_for(Step::Exchange, stream.as_fd(), PollFlags::OUT, deadline)?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(source) => return Err(Trouble::Send { source }.into()),
        }
    }
    Ok(())
}

fn hear(
    stream: &mut TcpStream,
    buffer: &mut [u8],
    orders: &mut Orders,
    deadline: Instant,
) -> Result<usize, Broken> {
    loop {
        match stream.read(buffer) {
            Ok(length) => return Ok(length),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                orders.wait_for(Step::Exchange, stream.as_fd(), PollFlags::IN, deadline)?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(source) => return Err(Trouble::Receive { source }.into()),
        }
    }
}

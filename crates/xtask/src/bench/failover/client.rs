//! Who sees an outage: a client that asks an address again and again, and somebody who asks whose address it is.
//!
//! Both are threads on the network of a host of the lab. An outage is the longest time between two answers, so it is longer
//! than what really was missing by up to the pause between two questions.

use crate::failure::{Doing, Failure, Outcome};
use lab::host::Host;
use lab::load::enter;
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::SockaddrStorage;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with,
};
use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What was asked, and who answers.
const ANSWER_BYTES: usize = 2 * size_of::<u64>();
const ETHERNET_ARP: u16 = 0x0806;
/// Bytes of an ARP frame with the header of Ethernet.
const FRAME_BYTES: usize = 42;
/// Where the operation stands, and a reply.
const OPERATION: std::ops::Range<usize> = 20..22;
const REPLY: [u8; 2] = [0, 2];
/// Where the link address and the address of its sender stand.
const SENDER: std::ops::Range<usize> = 22..28;
const SENDER_ADDRESS: std::ops::Range<usize> = 28..32;

/// A thread that ends with its owner.
#[derive(Debug)]
struct Worker {
    must_stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    fn start(host: &Host, work: impl FnOnce(&AtomicBool) + Send + 'static) -> Self {
        let must_stop = Arc::new(AtomicBool::new(false));
        let (stop, namespace) = (must_stop.clone(), host.namespace.clone());
        let thread = std::thread::spawn(move || match enter(&namespace) {
            Ok(()) => work(&stop),
            // Nobody is answered then, which the measurement tells.
            Err(problem) => eprintln!("{problem}"),
        });
        Self { must_stop, thread: Some(thread) }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.must_stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[derive(Debug)]
struct Gaps {
    last: Instant,
    longest: Duration,
    /// Who has answered last.
    who: Option<[u8; 8]>,
    /// Between the last answer of one and the first of another.
    change: Option<Duration>,
}

impl Gaps {
    fn new() -> Self {
        Self { last: Instant::now(), longest: Duration::ZERO, who: None, change: None }
    }

    fn answered(&mut self, now: Instant, who: [u8; 8]) {
        let gap = now.saturating_duration_since(self.last);
        self.longest = self.longest.max(gap);
        if self.who.is_some_and(|before| before != who) {
            self.change = Some(self.change.unwrap_or_default().max(gap));
        }
        (self.last, self.who) = (now, Some(who));
    }
}

/// Asks one address all the time.
#[derive(Debug)]
pub struct Client {
    gaps: Arc<Mutex<Gaps>>,
    must_close: Arc<AtomicBool>,
    _worker: Worker,
}

impl Client {
    pub fn start(host: &Host, address: SocketAddr, every: Duration) -> Self {
        let gaps = Arc::new(Mutex::new(Gaps::new()));
        let must_close = Arc::new(AtomicBool::new(false));
        let (kept, close) = (gaps.clone(), must_close.clone());
        let worker = Worker::start(host, move |must_stop| {
            if let Err(failure) = ask_all_the_time(address, every, must_stop, &close, &kept) {
                eprintln!("{failure}");
            }
        });
        Self { gaps, must_close, _worker: worker }
    }

    fn gaps(&self) -> std::sync::MutexGuard<'_, Gaps> {
        self.gaps.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets what was missing so far.
    pub fn begin(&self) {
        let mut gaps = self.gaps();
        (gaps.longest, gaps.change) = (Duration::ZERO, None);
    }

    /// Since when nobody has answered.
    pub fn silence(&self) -> Duration {
        self.gaps().last.elapsed()
    }

    /// The longest time without an answer since `begin`.
    pub fn outage(&self) -> Duration {
        let gaps = self.gaps();
        gaps.longest.max(gaps.last.elapsed())
    }

    /// The longest time since `begin` after which somebody else has answered; None: nobody else has.
    pub fn change(&self) -> Option<Duration> {
        self.gaps().change
    }

    /// Tells the service to be deaf from now on.
    pub fn close_service(&self) {
        self.must_close.store(true, Ordering::Relaxed);
    }
}

fn ask_all_the_time(
    address: SocketAddr,
    every: Duration,
    must_stop: &AtomicBool,
    must_close: &AtomicBool,
    gaps: &Mutex<Gaps>,
) -> Outcome<()> {
    let socket = UdpSocket::bind("0.0.0.0:0").doing("open a socket")?;
    socket.set_nonblocking(true).doing("set a socket up")?;
    let mut next = Instant::now();
    let mut number = 0u64;
    let mut buffer = [0; 64];
    while !must_stop.load(Ordering::Relaxed) {
        let is_close = must_close.swap(false, Ordering::Relaxed);
        number += 1;
        let question: &[u8] = if is_close { super::answer::CLOSE } else { &number.to_ne_bytes() };
        // Refused where the address is nowhere: that is the outage.
        let _ = socket.send_to(question, address);
        next += every;
        while is_answered_by(&socket, next) {
            let Ok((ANSWER_BYTES, _)) = socket.recv_from(&mut buffer) else { continue };
            if let Ok(who) = buffer[size_of::<u64>()..ANSWER_BYTES].try_into() {
                gaps.lock().unwrap_or_else(PoisonError::into_inner).answered(Instant::now(), who);
            }
        }
        // After a pause of this program it does not make up for what it has missed.
        next = next.max(Instant::now());
    }
    Ok(())
}

/// Whether something came before this moment. A socket's own time-outs end with the kernel's clock ticks, of 4 ms and more.
fn is_answered_by(socket: &UdpSocket, moment: Instant) -> bool {
    let left = moment.saturating_duration_since(Instant::now());
    let left = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
    let mut sources = [PollFd::new(socket, PollFlags::IN)];
    poll(&mut sources, Some(&left)).is_ok_and(|ready| ready > 0)
}

/// Asks the Ethernet whose some addresses are, and counts how often two hosts answer to one question.
#[derive(Debug)]
pub struct Asker {
    counts: Arc<Mutex<Vec<u64>>>,
    _worker: Worker,
}

impl Asker {
    pub fn start(host: &Host, addresses: Vec<Ipv4Addr>, every: Duration) -> Self {
        let counts = Arc::new(Mutex::new(vec![0; addresses.len()]));
        let kept = counts.clone();
        let worker = Worker::start(host, move |must_stop| {
            if let Err(failure) = ask_whose(&addresses, every, must_stop, &kept) {
                eprintln!("{failure}");
            }
        });
        Self { counts, _worker: worker }
    }

    /// For each address: the questions so far that two hosts have answered.
    pub fn counts(&self) -> Vec<u64> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn lan_socket() -> Outcome<(OwnedFd, [u8; 6])> {
    let interfaces = getifaddrs().doing("list interfaces")?;
    let link = interfaces
        .filter(|interface| interface.interface_name == lab::lan::INTERFACE)
        .find_map(|interface| interface.address.as_ref().and_then(SockaddrStorage::as_link_addr).copied());
    let link = link.ok_or_else(|| Failure("the host is not on the Ethernet".into()))?;
    let own = link.addr().ok_or_else(|| Failure("the Ethernet has no address".into()))?;
    let protocol = Protocol::from_raw(u32::from(ETHERNET_ARP.to_be()).try_into().expect("it is not 0"));
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::PACKET, SocketType::RAW, flags, Some(protocol));
    let socket = socket.doing("open a socket for frames")?;
    nix::sys::socket::bind(socket.as_raw_fd(), &link).doing("use the Ethernet")?;
    Ok((socket, own))
}

fn question(own: [u8; 6], address: Ipv4Addr) -> Vec<u8> {
    let mut frame = [[0xff; 6], own].concat();
    frame.extend_from_slice(&[8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
    frame.extend_from_slice(&own);
    frame.extend_from_slice(&lab::lan::addresses(1).0.octets());
    frame.extend_from_slice(&[0; 6]);
    frame.extend_from_slice(&address.octets());
    frame
}

fn ask_whose(
    addresses: &[Ipv4Addr],
    every: Duration,
    must_stop: &AtomicBool,
    counts: &Mutex<Vec<u64>>,
) -> Outcome<()> {
    let (socket, own) = lan_socket()?;
    let mut buffer = [0; 256];
    while !must_stop.load(Ordering::Relaxed) {
        for address in addresses {
            // What the buffers do not take now is asked again soon.
            let _ = send(&socket, &question(own, *address), SendFlags::empty());
        }
        std::thread::sleep(every);
        let mut holders: Vec<BTreeSet<[u8; 6]>> = vec![BTreeSet::new(); addresses.len()];
        while let Ok((_, length)) = recv(&socket, &mut buffer, RecvFlags::empty()) {
            // Only what answers us: who has just got an address says so to everybody.
            if length < FRAME_BYTES || buffer[..6] != own || buffer[OPERATION] != REPLY {
                continue;
            }
            let place = addresses.iter().position(|address| buffer[SENDER_ADDRESS] == address.octets());
            if let (Some(place), Ok(link)) = (place, buffer[SENDER].try_into()) {
                holders[place].insert(link);
            }
        }
        let mut counts = counts.lock().unwrap_or_else(PoisonError::into_inner);
        for (count, holders) in counts.iter_mut().zip(&holders) {
            *count += u64::from(holders.len() > 1);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_counts_is_the_time_until_somebody_else_answers() {
        let (mut gaps, start) = (Gaps::new(), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        gaps.answered(at(10), [1; 8]);
        gaps.answered(at(60), [1; 8]);
        assert_eq!(gaps.change, None);
        gaps.answered(at(90), [2; 8]);
        gaps.answered(at(95), [2; 8]);
        assert_eq!(gaps.change, Some(Duration::from_millis(30)));
        assert_eq!(gaps.longest, Duration::from_millis(50));
    }

    #[test]
    fn a_question_is_a_frame_to_all_from_the_first_host() {
        let frame = question([2, 0, 0, 0, 0, 7], Ipv4Addr::new(10, 1, 0, 100));
        assert_eq!(frame.len(), FRAME_BYTES);
        assert_eq!(frame[..6], [0xff; 6]);
        assert_eq!(frame[OPERATION], [0, 1]);
        assert_eq!(frame[SENDER_ADDRESS], [10, 1, 0, 1]);
        assert_eq!(frame[38..], [10, 1, 0, 100]);
    }
}

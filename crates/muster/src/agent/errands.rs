//! Carries questions of the leader to nodes that it does not hear, and brings back what they reply (see
//! `logic::heartbeat::Courier`).
//!
//! What is carried can neither be read nor made here. Sockets are open only while something is under way, so that no port
//! of this machine waits for anybody.

use super::monitors::Way;
use crate::clock::BootClock;
use logic::enrol::{from_hex, to_hex};
use logic::heartbeat::Courier;
use logic::limits::{ERRANDS_MAX, REPLY_AGE_MAX_MS};
use logic::time::Time;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use wire::heartbeat::{Errand, SIZE_MAX_BYTES, Sealed};
use wire::link::ToManager;

/// Messages with errands that may wait. Four: half a second of them.
const QUEUE_MAX: usize = 4;
/// Datagrams that are read at once at most, so that a flood keeps nothing else from running.
const READ_AT_ONCE_MAX: usize = 64;

struct Carrying {
    clock: BootClock,
    courier: Courier,
    /// For addresses of IPv4 and IPv6.
    sockets: [Option<UdpSocket>; 2],
    /// Until when a reply may still come.
    until: Option<Time>,
}

pub fn start(helpers: &mut JoinSet<()>, clock: BootClock, way: Way) -> mpsc::Sender<Vec<Errand>> {
    let (errands, inbox) = mpsc::channel(QUEUE_MAX);
    let carrying = Carrying { clock, courier: Courier::default(), sockets: [None, None], until: None };
    helpers.spawn_local(carrying.carry(inbox, way));
    errands
}

impl Carrying {
    async fn carry(mut self, mut inbox: mpsc::Receiver<Vec<Errand>>, way: Way) {
        loop {
            // All may be cancelled: they only wait.
            tokio::select! {
                errands = inbox.recv() => match errands {
                    Some(errands) => errands.iter().take(ERRANDS_MAX).for_each(|errand| self.send(errand)),
                    None => return,
                },
                () = self.readable() => {
                    let replies = self.read();
                    if !replies.is_empty() {
                        way.say(ToManager::Carried { replies });
                    }
                    // A flood must not keep the rest of the agent waiting.
                    tokio::task::yield_now().await;
                }
                () = self.idle() => (self.sockets, self.until) = ([None, None], None),
            }
        }
    }

    fn send(&mut self, errand: &Errand) {
        let now = self.clock.now();
        let Some(question) = from_hex(&errand.question.0) else { return };
        if !self.courier.take(now, errand.to, &question) {
            return;
        }
        let to = SocketAddr::new(errand.to.ip().to_canonical(), errand.to.port());
        self.until = Some(now + REPLY_AGE_MAX_MS + 1);
        let socket = &mut self.sockets[usize::from(to.is_ipv6())];
        let opened = match socket.take() {
            Some(socket) => Ok(socket),
            None => open(to),
        };
        let sent = opened.and_then(|opened| socket.insert(opened).try_send_to(&question, to));
        if let Err(error) = sent {
            tracing::debug!(%to, %error, "a question to another node is not carried");
        }
    }

    /// Ends when some socket has something to read.
    async fn readable(&self) {
        let one = async |place: usize| match &self.sockets[place] {
            Some(socket) => drop(socket.readable().await),
            None => std::future::pending().await,
        };
        tokio::select! {
            () = one(0) => {}
            () = one(1) => {}
        }
    }

    /// Ends when no reply can come any more that counts.
    async fn idle(&self) {
        match self.until {
            Some(until) => tokio::time::sleep_until(self.clock.instant(until)).await,
            None => std::future::pending().await,
        }
    }

    fn read(&mut self) -> Vec<Sealed> {
        let mut replies = Vec::new();
        let mut buffer = [0; SIZE_MAX_BYTES + 1];
        let now = self.clock.now();
        for socket in self.sockets.iter().flatten() {
            for _ in 0..READ_AT_ONCE_MAX {
                match socket.try_recv_from(&mut buffer) {
                    Ok((length, from)) => {
                        if self.courier.bring(now, from, &buffer[..length]) {
                            replies.push(Sealed(to_hex(&buffer[..length])));
                        }
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    // That the other's port is closed: it does not reply, which says as much.
                    Err(_) => {}
                }
            }
        }
        replies
    }
}

fn open(to: SocketAddr) -> io::Result<UdpSocket> {
    let own: SocketAddr = match to {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = std::net::UdpSocket::bind(own)?;
    socket.set_nonblocking(true)?;
    UdpSocket::from_std(socket)
}

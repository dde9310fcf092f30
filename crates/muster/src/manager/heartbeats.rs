//! Hears heartbeats on a thread of its own, answers them, and tells the manager what they mean (see
//! `logic::heartbeat::Detector`).
//!
//! Each datagram is stamped when it is read, before any queue; all that lies in the socket is read before each look at
//! who is silent. What the manager is to hear waits here, merged, while it is busy: nothing is lost, and there is never
//! more of it than there are nodes. What is not genuine costs a look and changes nothing.
//! Not here: keys (see `heartbeat`), what follows from verdicts (see `logic::cell`).

mod ears;
mod pending;

use crate::clock::BootClock;
use crate::heartbeat::{CellSecret, come_first};
use crate::identity::Place;
use ears::Ears;
use logic::cell::NodePlace;
use logic::heartbeat::Glance;
use logic::lease::LAN;
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::UdpSocket;
use tokio::sync::{mpsc, watch};
use wire::heartbeat::{HeartbeatKey, HeartbeatSettings, ManagerAddress};
use wire::id::{CellNumber, ManagerNumber, NodeName, NodeNumber};
use wire::settings::CellSettings;

use super::desk::Input;

/// What the kernel keeps of datagrams that were not read yet. 4 MiB: 5,000, which is 50 ms of the most that a manager
/// wants to hear.
const RECEIVE_BUFFER_BYTES: usize = 4 << 20;

/// A node whose heartbeats count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    pub place: NodePlace,
    pub key: HeartbeatKey,
    /// This manager runs there.
    pub is_own: bool,
}

/// The socket, before the thread runs.
#[derive(Debug)]
pub struct Prepared {
    socket: std::net::UdpSocket,
    pub keys: Keys,
}

impl Prepared {
    pub fn bind(address: SocketAddr, keys: Keys) -> io::Result<Self> {
        let socket = std::net::UdpSocket::bind(address)?;
        socket.set_nonblocking(true)?;
        // More than the system allows needs a right that not everybody has.
        let forced = rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, RECEIVE_BUFFER_BYTES);
        if forced.is_err()
            && let Err(error) =
                rustix::net::sockopt::set_socket_recv_buffer_size(&socket, RECEIVE_BUFFER_BYTES)
        {
            tracing::debug!(%error, "the socket of heartbeats keeps the usual size");
        }
        Ok(Self { socket, keys })
    }
}

/// What nodes are told, and the thread is told of them.
#[derive(Debug, Clone)]
pub struct Keys {
    cell: CellNumber,
    /// On which heartbeats are heard, whatever the configuration says since.
    port: u16,
    secret: CellSecret,
}

impl Keys {
    /// The secret lies beside the authority's key.
    pub fn open(place: &Place, cell: CellNumber, port: u16) -> io::Result<Self> {
        place.create()?;
        Ok(Self { cell, port, secret: CellSecret::read_or_create(&place.heartbeat_secret())? })
    }

    fn key_of(&self, place: &NodePlace, joined_us: u64) -> HeartbeatKey {
        self.secret.key_of(place, joined_us)
    }

    /// How a node sends heartbeats; None where nobody can be told an address.
    pub fn settings_of(
        &self,
        cell: &CellSettings,
        place: &NodePlace,
        joined_us: u64,
    ) -> Option<Box<HeartbeatSettings>> {
        let address = SocketAddr::new(*cell.node_addresses.get(cell.nodes.first()?)?, self.port);
        Some(Box::new(HeartbeatSettings {
            cell: self.cell,
            node: place.number,
            key: self.key_of(place, joined_us),
            managers: vec![ManagerAddress { number: ManagerNumber(0), address }],
            lease: LAN.name.to_owned(),
        }))
    }
}

/// Tells cells apart: the id of its authority, which is 16 hexadecimal digits.
pub fn cell_number(authority: &str) -> CellNumber {
    CellNumber(u64::from_str_radix(authority, 16).unwrap_or(0))
}

/// What was known of each node a moment ago.
pub type Glances = Arc<BTreeMap<NodeNumber, Glance>>;

/// The manager's end of the thread, which ends when this is dropped.
#[derive(Debug)]
pub struct Heartbeats {
    keys: Keys,
    known: watch::Sender<Vec<Known>>,
    glances: watch::Receiver<Glances>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Heartbeats {
    /// Starts the thread, which tells `inbox`.
    pub fn start(prepared: Prepared, inbox: mpsc::Sender<Input>) -> io::Result<Self> {
        let mut run = [0; 8];
        getrandom::fill(&mut run).map_err(|error| io::Error::other(error.to_string()))?;
        let run = u64::from_be_bytes(run);
        let Prepared { socket, keys } = prepared;
        let cell = keys.cell;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (known, heard) = watch::channel(Vec::new());
        let (glances_in, glances) = watch::channel(Glances::default());
        let thread = std::thread::Builder::new().name("heartbeats".into()).spawn(move || {
            come_first();
            runtime.block_on(async {
                let socket = UdpSocket::from_std(socket).expect("it is a socket of this runtime's kind");
                let clock = BootClock::start();
                Ears::new(socket, cell, run, clock, glances_in).hear_for_ever(heard, inbox).await;
            });
        })?;
        Ok(Self { keys, known, glances, thread: Some(thread) })
    }

    /// Whose heartbeats count from now on: those of nodes whose machines have joined. `joined_us`: since when, None for
    /// one that has not.
    pub fn know(
        &self,
        places: impl Iterator<Item = NodePlace>,
        own: Option<&NodeName>,
        joined_us: impl Fn(&NodeName) -> Option<u64>,
    ) {
        let known = |place: NodePlace| {
            let is_own = own == Some(&place.node);
            let joined_us = if is_own { Some(0) } else { joined_us(&place.node) };
            let key = self.keys.key_of(&place, joined_us?);
            Some(Known { place, key, is_own })
        };
        let nodes: Vec<Known> = places.filter_map(known).collect();
        self.known.send_if_modified(|known| {
            let is_new = *known != nodes;
            *known = nodes;
            is_new
        });
    }

    pub fn glances(&self) -> Glances {
        self.glances.borrow().clone()
    }
}

impl Drop for Heartbeats {
    fn drop(&mut self) {
        // The thread ends with the sender.
        drop(std::mem::replace(&mut self.known, watch::channel(Vec::new()).0));
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that hears heartbeats has failed");
        }
    }
}

//! Hears heartbeats on a thread of its own, answers them, and tells the manager what they mean (see
//! `logic::heartbeat::Detector`).
//!
//! The thread lasts as long as the manager, whether that leads or not: who follows hears all nodes too, so that it knows
//! who is there when its turn comes. Each datagram is stamped when it is read, before any queue; all that lies in the socket
//! is read before each look at who is silent. What a leader is to hear waits here, merged, while it is busy: nothing is
//! lost, and there is never more of it than there are nodes. What is not genuine costs a look and changes nothing.
//! Managers ask each other about silent nodes through the same socket (see `council`), and tell which terms they know of.
//! Not here: keys (see `heartbeat`), what follows from verdicts (see `logic::cell`), whether this manager may act on them
//! (see `shell`).

mod council;
mod ears;
mod pending;
mod terms;

pub use terms::Terms;

use crate::clock::BootClock;
use crate::heartbeat::{CellSecret, come_first};
use crate::identity::Place;
use ears::Ears;
use logic::cell::NodePlace;
use logic::heartbeat::{Doubted, Glance, Presence, Search};
use logic::lease::{NORMAL, Profile};
use logic::limits::NODE_NUMBERS_MAX;
use logic::time::Time;
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::UdpSocket;
use tokio::sync::{mpsc, watch};
use wire::heartbeat::{Errand, HeartbeatKey, HeartbeatSettings, ManagerAddress};
use wire::id::{CellNumber, ManagerNumber, NodeName, NodeNumber, TermNumber};
use wire::settings::{CellSettings, StoreSettings};

use super::desk::Input;

/// What the kernel keeps of datagrams that were not read yet. 4 MiB: 5,000, which is 50 ms of the most that a manager
/// wants to hear.
const RECEIVE_BUFFER_BYTES: usize = 4 << 20;

/// Replies that other nodes have brought and that wait for the thread. 1,000: more than are asked for in a second; what is lost
/// is asked for again.
const REPLIES_MAX: usize = 1_000;

/// Words about nodes that may wait before the thread looks: two about every node that a cell may have. Takes room only for those
/// that there are.
const WORDS_MAX: usize = 2 * NODE_NUMBERS_MAX;

/// A node whose heartbeats count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    pub place: NodePlace,
    pub key: HeartbeatKey,
}

/// The socket, before the thread runs.
#[derive(Debug)]
pub struct Prepared {
    socket: std::net::UdpSocket,
    keys: Keys,
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

    /// How a node sends heartbeats; None where nobody can be told an address. `numbers`: of all nodes.
    pub fn settings_of(
        &self,
        cell: &CellSettings,
        numbers: &BTreeMap<NodeName, NodeNumber>,
        place: &NodePlace,
        joined_us: u64,
    ) -> Option<Box<HeartbeatSettings>> {
        let managers = self.managers(cell, numbers);
        (!managers.is_empty()).then(|| {
            Box::new(HeartbeatSettings {
                cell: self.cell,
                node: place.number,
                key: self.key_of(place, joined_us),
                managers,
                lease: profile_of(cell).name.to_owned(),
            })
        })
    }

    /// A manager has the number of its node, which nobody else ever gets.
    fn managers(&self, cell: &CellSettings, numbers: &BTreeMap<NodeName, NodeNumber>) -> Vec<ManagerAddress> {
        let address = |node| Some(SocketAddr::new(*cell.node_addresses.get(node)?, self.port));
        let manager = |node| {
            Some(ManagerAddress { number: manager_number(*numbers.get(node)?)?, address: address(node)? })
        };
        cell.managers().iter().filter_map(manager).collect()
    }
}

/// None for numbers that no node has.
pub fn manager_number(node: NodeNumber) -> Option<ManagerNumber> {
    u16::try_from(node.0).ok().map(ManagerNumber)
}

fn profile_of(cell: &CellSettings) -> Profile {
    *Profile::named(&cell.manager.profile).unwrap_or(&NORMAL)
}

/// The store is on servers, and shared.
fn is_elected(cell: &CellSettings) -> bool {
    match cell.store {
        StoreSettings::Sqlite => false,
        StoreSettings::Postgres { .. } | StoreSettings::Etcd { .. } => true,
    }
}

/// How long a new leader waits until all that was granted before it has run out.
pub fn lease_wait_ms(cell: &CellSettings) -> u64 {
    let profile = profile_of(cell);
    if is_elected(cell) { profile.across_leaders().wait_ms } else { profile.wait_ms }
}

/// Tells cells apart: the id of its authority, which is 16 hexadecimal digits.
pub fn cell_number(authority: &str) -> CellNumber {
    CellNumber(u64::from_str_radix(authority, 16).unwrap_or(0))
}

/// What was known a moment ago.
#[derive(Debug, Clone, Default)]
pub struct Glances {
    pub nodes: Arc<BTreeMap<NodeNumber, Glance>>,
    /// The other managers, in no order.
    pub managers: Vec<(ManagerNumber, Presence)>,
}

/// A node that others shall be sent to, and what they shall carry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sought {
    pub search: Search,
    pub errand: Errand,
}

/// What whoever leads has to say of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Word {
    /// It may be granted leases again.
    Release(NodeNumber),
    /// It fell with many others, and counts as one that fell alone.
    Lost(NodeNumber),
}

/// What comes to the thread from the manager: orders, words of a generation, and what other nodes have brought.
type Inlets = (watch::Receiver<Orders>, mpsc::Receiver<(u64, Word)>, mpsc::Receiver<(NodeNumber, Vec<u8>)>);

/// What a manager that leads has the thread do for it.
#[derive(Debug, Clone)]
pub struct Lead {
    /// Tells its term from others.
    pub generation: u64,
    /// In which it was elected; None: it has its store to itself.
    pub term: Option<TermNumber>,
    /// The nodes that are left out, as the term began.
    pub away: Vec<Doubted>,
    /// The nodes whose leases were taken from them, as the term began.
    pub taken: Vec<NodeNumber>,
    pub inbox: mpsc::Sender<Input>,
}

/// What the thread works by.
#[derive(Debug, Clone)]
struct Orders {
    /// This manager's own number; until it has one nothing is heard.
    me: Option<ManagerNumber>,
    managers: Vec<ManagerAddress>,
    profile: Profile,
    /// Whoever leads is elected.
    is_elected: bool,
    known: Vec<Known>,
    /// None: another manager leads, or nobody.
    lead: Option<Lead>,
}

impl Default for Orders {
    fn default() -> Self {
        Self {
            me: None,
            managers: Vec::new(),
            profile: NORMAL,
            is_elected: false,
            known: Vec::new(),
            lead: None,
        }
    }
}

impl Orders {
    fn is_same(&self, other: &Self) -> bool {
        let generation = |orders: &Self| orders.lead.as_ref().map(|lead| lead.generation);
        self.me == other.me
            && self.managers == other.managers
            && self.profile == other.profile
            && self.is_elected == other.is_elected
            && self.known == other.known
            && generation(self) == generation(other)
    }
}

/// What the thread begins with.
struct Start {
    cell: CellNumber,
    managers_key: ring::hmac::Key,
    clock: BootClock,
    terms: Terms,
}

/// The manager's end of the thread, which ends when this is dropped.
#[derive(Debug)]
pub struct Heartbeats {
    pub keys: Keys,
    pub terms: Terms,
    clock: BootClock,
    orders: watch::Sender<Orders>,
    glances: watch::Receiver<Glances>,
    words: mpsc::Sender<(u64, Word)>,
    replies: mpsc::Sender<(NodeNumber, Vec<u8>)>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Heartbeats {
    pub fn start(prepared: Prepared) -> io::Result<Self> {
        let Prepared { socket, keys } = prepared;
        let (clock, terms) = (BootClock::of_process(), Terms::default());
        let start = Start {
            cell: keys.cell,
            managers_key: keys.secret.key_of_managers(),
            clock,
            terms: terms.clone(),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (orders, given) = watch::channel(Orders::default());
        let (words, said) = mpsc::channel(WORDS_MAX);
        let (replies, carried) = mpsc::channel(REPLIES_MAX);
        let (glances_in, glances) = watch::channel(Glances::default());
        let thread = std::thread::Builder::new().name("heartbeats".into()).spawn(move || {
            come_first();
            runtime.block_on(async {
                let socket = UdpSocket::from_std(socket).expect("it is a socket of this runtime's kind");
                Ears::hear_for_ever(socket, start, (given, said, carried), glances_in).await;
            });
        })?;
        Ok(Self { keys, terms, clock, orders, glances, words, replies, thread: Some(thread) })
    }

    /// Whose heartbeats count from now on: those of nodes whose machines have joined. `own`: this manager's node.
    /// `joined_us`: since when a machine is the node, None for one that was removed.
    pub fn know(
        &self,
        cell: &CellSettings,
        own: &NodeName,
        places: impl Iterator<Item = NodePlace>,
        joined_us: impl Fn(&NodeName) -> Option<u64>,
        lead: Option<Lead>,
    ) {
        let places: Vec<NodePlace> = places.collect();
        let numbers = places.iter().map(|place| (place.node.clone(), place.number)).collect();
        let managers = self.keys.managers(cell, &numbers);
        let me = numbers.get(own).and_then(|number| manager_number(*number));
        let me = me.filter(|me| managers.iter().any(|manager| manager.number == *me));
        let known = places.into_iter().filter_map(|place| {
            let key = self.keys.key_of(&place, joined_us(&place.node)?);
            Some(Known { place, key })
        });
        let new = Orders {
            me,
            managers,
            profile: profile_of(cell),
            is_elected: is_elected(cell),
            known: known.collect(),
            lead,
        };
        self.orders.send_if_modified(|orders| {
            let is_new = !orders.is_same(&new);
            if is_new {
                *orders = new;
            }
            is_new
        });
    }

    /// The node may be granted leases again, as the leader of this generation says.
    pub fn release(&self, generation: u64, node: NodeNumber) {
        self.say(generation, Word::Release(node));
    }

    /// The node counts as one that fell alone, as the leader of this generation says.
    pub fn lost(&self, generation: u64, node: NodeNumber) {
        self.say(generation, Word::Lost(node));
    }

    fn say(&self, generation: u64, word: Word) {
        if self.words.try_send((generation, word)).is_err() {
            tracing::error!(?word, "this holds only once another manager leads: the thread does not listen");
        }
    }

    /// A node has brought this from another one.
    pub fn carried(&self, by: NodeNumber, reply: Vec<u8>) {
        if self.replies.try_send((by, reply)).is_err() {
            tracing::debug!(%by, "a reply that a node has carried is lost");
        }
    }

    /// This manager leads no longer.
    pub fn follow(&self) {
        self.orders.send_if_modified(|orders| orders.lead.take().is_some());
    }

    pub fn glances(&self) -> Glances {
        self.glances.borrow().clone()
    }

    /// How long ago that was.
    pub fn ago_ms(&self, at: Time) -> u64 {
        self.clock.now().since_ms(at)
    }
}

impl Drop for Heartbeats {
    fn drop(&mut self) {
        // The thread ends with the sender.
        drop(std::mem::replace(&mut self.orders, watch::channel(Orders::default()).0));
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that hears heartbeats has failed");
        }
    }
}

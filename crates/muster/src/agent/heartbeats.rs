//! Sends this node's heartbeats on a thread of its own, as `logic::heartbeat::Pulse` says, once a manager has said how.
//!
//! Nothing else runs on the thread, and it comes before others where that is allowed: what delays a heartbeat looks like
//! the machine's end. Promise: sequences rise for as long as the agent runs, whoever the managers are.

use crate::clock::BootClock;
use crate::heartbeat::{code, come_first, usable};
use logic::heartbeat::admit::Receiver;
use logic::heartbeat::{Pulse, PulseInput, PulseOutput, PulseSettings};
use logic::lease::{NORMAL, Profile};
use logic::limits::HEARTBEAT_INTERVAL_MS;
use logic::machine::Machine;
use logic::time::Time;
use ring::hmac;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::sync::watch;
use wire::heartbeat::{Datagram, HeartbeatSettings, Parsed, SIZE_MAX_BYTES};

/// The thread, once there is one. It ends when this is dropped.
pub struct Heartbeats {
    incarnation: u64,
    clock: BootClock,
    lease: watch::Sender<Option<Time>>,
    thread: Option<(watch::Sender<Wanted>, JoinHandle<()>)>,
}

/// How heartbeats are to be sent, and under which number.
#[derive(Debug, Clone, PartialEq)]
struct Wanted {
    settings: HeartbeatSettings,
    incarnation: u64,
}

impl Heartbeats {
    /// `incarnation`: higher than that of every earlier start of this agent. `lease` is told until when, by `clock`, the node
    /// may do what only one node may.
    pub fn new(incarnation: u64, clock: BootClock, lease: watch::Sender<Option<Time>>) -> Self {
        Self { incarnation, clock, lease, thread: None }
    }

    pub fn incarnation(&self) -> u64 {
        self.incarnation
    }

    /// From now on heartbeats have this number, which is higher.
    pub fn rise_to(&mut self, incarnation: u64) {
        self.incarnation = incarnation;
        if let Some((told, _)) = &self.thread {
            told.send_modify(|wanted| wanted.incarnation = incarnation);
        }
    }

    /// From now on heartbeats are sent so.
    pub fn send_as(&mut self, settings: HeartbeatSettings) {
        let wanted = Wanted { settings, incarnation: self.incarnation };
        if let Some((told, _)) = &self.thread {
            told.send_if_modified(|known| {
                let is_new = *known != wanted;
                *known = wanted;
                is_new
            });
            return;
        }
        let (told, heard) = watch::channel(wanted);
        let (clock, lease) = (self.clock, self.lease.clone());
        let spawned = std::thread::Builder::new().name("heartbeats".into()).spawn(move || {
            come_first();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            match runtime {
                Ok(runtime) => runtime.block_on(send_for_ever(heard, clock, lease)),
                Err(error) => tracing::error!(%error, "this node sends no heartbeats: no event loop"),
            }
        });
        match spawned {
            Ok(thread) => self.thread = Some((told, thread)),
            // The next connection brings the settings again.
            Err(error) => tracing::error!(%error, "this node sends no heartbeats: no thread"),
        }
    }
}

impl Drop for Heartbeats {
    fn drop(&mut self) {
        if let Some((told, thread)) = self.thread.take() {
            drop(told);
            if thread.join().is_err() {
                tracing::error!("the thread that sends heartbeats has failed");
            }
        }
    }
}

/// Everything that settings lead to.
struct Sender {
    settings: HeartbeatSettings,
    key: hmac::Key,
    pulse: Pulse,
    sockets: [Option<UdpSocket>; 2],
}

async fn send_for_ever(
    mut heard: watch::Receiver<Wanted>,
    clock: BootClock,
    lease: watch::Sender<Option<Time>>,
) {
    let boot = boot_number();
    let mut sender: Option<Sender> = None;
    // Nodes that start together do not all speak at once.
    let spread = heard.borrow().incarnation;
    tokio::time::sleep(Duration::from_millis(spread % u64::from(HEARTBEAT_INTERVAL_MS))).await;
    heard.mark_changed();
    loop {
        let until = sender.as_ref().and_then(|sender| sender.pulse.lease_ends_at());
        lease.send_if_modified(|told| std::mem::replace(told, until) != until);
        let due = sender.as_ref().and_then(|sender| sender.pulse.wake_at());
        // All may be cancelled: they only wait.
        tokio::select! {
            changed = heard.changed() => {
                if changed.is_err() {
                    return;
                }
                let wanted = heard.borrow_and_update().clone();
                sender = Sender::follow(sender, wanted, boot, &clock);
            }
            () = wait_until(&clock, due) => {
                if let Some(sender) = &mut sender {
                    let outputs = sender.pulse.step(clock.now(), PulseInput::Tick);
                    sender.carry_out(outputs, None);
                }
            }
            () = readable(sender.as_ref()) => {
                if let Some(sender) = &mut sender {
                    sender.take_answers(&clock);
                }
            }
        }
    }
}

async fn wait_until(clock: &BootClock, due: Option<Time>) {
    match due {
        Some(due) => tokio::time::sleep_until(clock.instant(due)).await,
        None => std::future::pending().await,
    }
}

/// Ends when some socket has something to read, or an error to tell.
async fn readable(sender: Option<&Sender>) {
    let one = async |place: usize| match sender.and_then(|sender| sender.sockets[place].as_ref()) {
        Some(socket) => drop(socket.readable().await),
        None => std::future::pending().await,
    };
    tokio::select! {
        () = one(0) => {}
        () = one(1) => {}
    }
}

impl Sender {
    /// None, and a word about it, where settings are of no use.
    fn follow(
        before: Option<Self>,
        Wanted { settings, incarnation }: Wanted,
        boot: u64,
        clock: &BootClock,
    ) -> Option<Self> {
        let pulse_settings = PulseSettings {
            cell: settings.cell,
            node: settings.node,
            managers: settings.managers.iter().map(|manager| manager.number).collect(),
            lease: *Profile::named(&settings.lease).unwrap_or(&NORMAL),
            incarnation,
            boot,
        };
        let is_bounded = (1..=logic::limits::MANAGERS_MAX).contains(&pulse_settings.managers.len());
        let Some(key) = usable(&settings.key).filter(|_| is_bounded) else {
            tracing::error!("the manager's word on heartbeats makes no sense: they go on as before");
            return before;
        };
        let (pulse, mut sockets) = match before {
            Some(Self { mut pulse, sockets, .. }) => {
                pulse.reconfigure(pulse_settings);
                (pulse, sockets)
            }
            None => (Pulse::new(pulse_settings, clock.now()), [None, None]),
        };
        for manager in &settings.managers {
            let place = usize::from(manager.address.is_ipv6());
            if sockets[place].is_none() {
                sockets[place] = open(manager.address)
                    .inspect_err(|error| {
                        let to = manager.address;
                        tracing::error!(%to, %error, "this node can send no heartbeats there");
                    })
                    .ok();
            }
        }
        Some(Self { settings, key, pulse, sockets })
    }

    fn take_answers(&mut self, clock: &BootClock) {
        let mut buffer = [0; SIZE_MAX_BYTES];
        for place in 0..self.sockets.len() {
            // Bounded, so that a flood delays no heartbeat: some of ours are among the first.
            for _ in 0..ANSWERS_AT_ONCE_MAX {
                let Some(socket) = &self.sockets[place] else { break };
                match socket.try_recv_from(&mut buffer) {
                    Ok((length, from)) => self.take_answer(clock, &buffer[..length], (place, from)),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    // That a manager's port is closed, or that there is no way: it does not answer, which says as much.
                    Err(_) => {}
                }
            }
        }
    }

    /// An answer of a manager, or its question that another node has brought.
    fn take_answer(&mut self, clock: &BootClock, bytes: &[u8], asker: (usize, SocketAddr)) {
        let Ok(parsed) = Parsed::parse(bytes) else { return };
        let receiver = Receiver::Node { cell: self.settings.cell, node: self.settings.node };
        let Ok(answer) = receiver.admit(&parsed, || Some(code(&self.key, parsed.signed))) else { return };
        let outputs = self.pulse.step(clock.now(), PulseInput::Answer(answer));
        self.carry_out(outputs, Some(asker));
    }

    /// `asker`: the socket by which it came, and from where.
    fn carry_out(&mut self, outputs: Vec<PulseOutput>, asker: Option<(usize, SocketAddr)>) {
        for output in outputs {
            match output {
                PulseOutput::Send(datagram) => self.send(&datagram),
                PulseOutput::Reply(datagram) => {
                    let Some((place, to)) = asker else { continue };
                    self.send_to(&self.sockets[place], &datagram, to);
                }
                // Managers tell all that is new over links.
                PulseOutput::Behind { .. } => {}
            }
        }
    }

    fn send(&self, datagram: &Datagram) {
        let manager = self.settings.managers.iter().find(|manager| manager.number == datagram.manager);
        let Some(manager) = manager else { return };
        let socket = &self.sockets[usize::from(manager.address.is_ipv6())];
        self.send_to(socket, datagram, manager.address);
    }

    fn send_to(&self, socket: &Option<UdpSocket>, datagram: &Datagram, to: SocketAddr) {
        let bytes = datagram.bytes(|signed| code(&self.key, signed));
        // One that cannot be sent is one that is lost; the next follows soon.
        if let Some(Err(error)) = socket.as_ref().map(|socket| socket.try_send_to(&bytes, to)) {
            tracing::trace!(%error, "a heartbeat could not be sent");
        }
    }
}

/// Datagrams that are read between two heartbeats at most. 64: ten times what managers send.
const ANSWERS_AT_ONCE_MAX: usize = 64;

fn open(to: SocketAddr) -> io::Result<UdpSocket> {
    let own: SocketAddr = match to {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = std::net::UdpSocket::bind(own)?;
    socket.set_nonblocking(true)?;
    UdpSocket::from_std(socket)
}

/// Another one after each start of the machine.
fn boot_number() -> u64 {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).take(16).collect();
    u64::from_str_radix(&digits, 16).unwrap_or(0)
}

//! The type `address`: an address that is on one machine at a time, that of the group.
//!
//! Before it is taken, the network is asked whether somebody has it, unless another node of the group has just handed it over;
//! once it is there, the network is told, several times. Where the group has a deadline the kernel gets one too, and takes the address away by itself when nobody moves it: then
//! it goes also when agent and guardian are killed at the same moment. Facts: failover 4.3, 7.5.

mod frame;
mod interface;
mod neighbours;
mod netlink;

use super::{Doing, Resource, Type, Wrong, options};
use crate::agent::guardian::Tools;
use crate::config::definition::{Definition, Preset};
use crate::config::definitions::{integer, key};
use crate::config::kind::{Form, Kind};
use interface::Interface;
use neighbours::Neighbours;
use netlink::{Changes, Lifetime};
use serde::Deserialize;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV6, UdpSocket};
use std::rc::Rc;
use std::time::Duration;
use tokio::time::{Instant, sleep, sleep_until};
use wire::group::{OptionValue, ResourceOptions, ResourceSettings};

pub const TYPE: Type = Type {
    name: "address",
    keys: KEYS,
    needed: &["address"],
    shared: &[],
    timeout_ms: None,
    check,
    look,
    make,
};

/// Longest time that the network may be asked.
const PROBE_MAX_MS: u64 = 10_000;
/// How long the network is asked by itself. A machine on the same network answers within a millisecond; who answers later is
/// heard too, and told in the log.
const PROBE_MS: u64 = 10;

const KEYS: &[Definition] = &[
    key(
        "address",
        Kind::Text(Form::Word),
        Preset::Else("none"),
        "\"10.0.0.100/24\"",
        "Of `address`: the address with the length of its network's prefix. No machine may have it by itself.",
    ),
    key(
        "interface",
        Kind::Text(Form::Word),
        Preset::Else("the one that has an address of the same network"),
        "\"eth0\"",
        "Of `address`: the network interface that gets it, of the same name on each node.",
    ),
    integer(
        "probe_ms",
        0,
        PROBE_MAX_MS,
        PROBE_MS,
        "200",
        "Of `address`: how long the network is asked whether another machine has it before it is taken; 0: not at all. It is not \
         asked where the node before has just given the address back and said so.",
    ),
    key(
        "expires",
        Kind::Boolean,
        Preset::Boolean(true),
        "false",
        "Of `address`: where the node needs a lease for the group, the system takes the address away by itself when it \
         was not renewed for a second, also when everything of `muster` was killed.",
    ),
];

/// What the kernel gives an address that nobody renews: whole seconds only, and up to a quarter more. Renewals follow those
/// of the lease, so one second ends before another node may begin.
const LIFETIME: Lifetime = Lifetime::Seconds(1);
/// The kernel takes away only what was not renewed for as long; what goes earlier somebody has taken.
const EXPIRED_AFTER: Duration = Duration::from_millis(900);
/// When the network is told again, after the first time. Five times in all: frames get lost, and a switch may have been
/// learning; the last is for those who slept.
const TELL_AFTER: [Duration; 4] = [
    Duration::from_millis(100),
    Duration::from_millis(400),
    Duration::from_millis(1_500),
    Duration::from_millis(5_000),
];
/// Shortest time between two answers to somebody else who claims the address, so that two of them do not flood the network.
const DEFENCE_PAUSE: Duration = Duration::from_secs(1);
/// How often it is tried whether programs can use the address: the kernel has it after microseconds.
const LOCAL_PAUSE: Duration = Duration::from_millis(2);

/// An address and the length of its network's prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prefixed {
    pub address: IpAddr,
    pub prefix: u8,
}

impl Prefixed {
    fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = text.split_once('/')?;
        let (address, prefix): (IpAddr, u8) = (address.parse().ok()?, prefix.parse().ok()?);
        let most = if address.is_ipv4() { 32 } else { 128 };
        (prefix <= most && prefix > 0).then_some(Self { address, prefix })
    }

    /// Whether the other one is in the network that this one's prefix describes.
    fn covers(&self, other: IpAddr) -> bool {
        let bits = |address: IpAddr| match address {
            IpAddr::V4(address) => (u128::from(address.to_bits()) << 96, 4),
            IpAddr::V6(address) => (address.to_bits(), 6),
        };
        let ((own, family), (other, other_family)) = (bits(self.address), bits(other));
        let other_bits = 128 - u32::from(self.prefix.min(128));
        family == other_family && self.prefix > 0 && (own ^ other).checked_shr(other_bits).unwrap_or(0) == 0
    }

    /// Whether it stands for the network or for all in it, so that no machine can have it.
    fn is_of_network(&self) -> bool {
        let IpAddr::V4(address) = self.address else { return false };
        // Networks of one or two machines have neither.
        let Some(hosts) = u32::MAX.checked_shr(u32::from(self.prefix)).filter(|_| self.prefix < 31) else {
            return false;
        };
        let own = address.to_bits() & hosts;
        own == 0 || own == hosts
    }
}

impl fmt::Display for Prefixed {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.address, self.prefix)
    }
}

#[derive(Debug, Deserialize)]
struct Options {
    address: String,
    interface: Option<String>,
    probe_ms: u64,
    expires: bool,
}

fn check(options: &ResourceOptions) -> Vec<Wrong> {
    let Some(text) = options.get("address").and_then(OptionValue::text) else { return Vec::new() };
    let allowed = "an address with the length of its prefix, such as `10.0.0.100/24` or `2001:db8::100/64`";
    let wrong = |message: String| vec![Wrong { key: "address", message, allowed }];
    match Prefixed::parse(text) {
        None => wrong(format!("`{text}` is no address with a prefix")),
        Some(Prefixed { address, .. })
            if address.is_loopback() || address.is_multicast() || address.is_unspecified() =>
        {
            wrong(format!("`{address}` cannot go from one machine to another"))
        }
        Some(prefixed) if prefixed.is_of_network() => {
            wrong(format!("`{text}` is the address of the network itself, or of all in it"))
        }
        Some(_) => Vec::new(),
    }
}

fn look(settings: &ResourceSettings) -> Vec<String> {
    let Ok(Options { address, interface, .. }) = options(settings) else { return Vec::new() };
    let Some(prefixed) = Prefixed::parse(&address) else { return Vec::new() };
    let found = interface::all().and_then(|all| interface::choose(all, interface.as_deref(), prefixed));
    found.err().map(|why| format!("the address {why}")).into_iter().collect()
}

struct Address {
    prefixed: Prefixed,
    interface: Option<String>,
    probe: Duration,
    expires: bool,
    /// Where it was put, and who is there.
    taken: RefCell<Option<Rc<Taken>>>,
    /// The same of one that was cut. The kernel takes ten milliseconds to close the socket, for which nobody shall wait then.
    past: RefCell<Option<Rc<Taken>>>,
}

struct Taken {
    interface: Interface,
    neighbours: Neighbours,
    changes: Changes,
    renewed: Cell<Instant>,
    /// The kernel has taken it away because it was not renewed in time.
    has_expired: Cell<bool>,
}

fn make(settings: &ResourceSettings) -> Result<Rc<dyn Resource>, String> {
    let Options { address, interface, probe_ms, expires } = options(settings)?;
    let prefixed = Prefixed::parse(&address).ok_or_else(|| format!("has no address: {address}"))?;
    let probe = Duration::from_millis(probe_ms);
    let (taken, past) = (RefCell::default(), RefCell::default());
    Ok(Rc::new(Address { prefixed, interface, probe, expires, taken, past }))
}

impl Address {
    fn lifetime(&self, tools: &Tools) -> Lifetime {
        if self.expires && tools.has_deadline() { LIFETIME } else { Lifetime::Forever }
    }

    fn find_other(&self) -> Result<(), String> {
        let address = self.prefixed.address;
        match interface::all()?.iter().find(|interface| interface.has(address)) {
            Some(holder) => Err(format!(
                "is on {} already, and Muster did not put it there: take {address} out of this machine's configuration",
                holder.name
            )),
            None => Ok(()),
        }
    }

    async fn take(&self, tools: &Tools) -> Result<(), String> {
        let address = self.prefixed.address;
        let interface = interface::choose(interface::all()?, self.interface.as_deref(), self.prefixed)?;
        let failed = |what: &str, error: io::Error| could_not(what, &interface.name, &error);
        let changes = Changes::watch().map_err(|error| failed("watch", error))?;
        let neighbours = Neighbours::of(&interface, address).map_err(|error| failed("ask", error))?;
        // Who had it before has given it back, as the leader knows from that node: nobody is left to be asked.
        let wait = if tools.is_handed_over() { Duration::ZERO } else { self.probe };
        neighbours.ask(wait).await.map_err(|error| failed("ask", error))?.map_or(Ok(()), |holder| {
            Err(format!("was not taken: the machine with the link address {holder} has {address}"))
        })?;
        // Whatever happens from here on, `cut` takes it away.
        let lifetime = self.lifetime(tools);
        netlink::add(&interface, self.prefixed, lifetime).map_err(|error| failed("add", error))?;
        neighbours.tell().map_err(|error| failed("announce", error))?;
        until_local(&interface, address).await?;
        let (renewed, has_expired) = (Cell::new(Instant::now()), Cell::new(false));
        let taken = Taken { interface, neighbours, changes, renewed, has_expired };
        self.taken.replace(Some(Rc::new(taken)));
        Ok(())
    }

    /// Until it is gone though nobody here took it away.
    async fn look_after(&self, tools: &Tools) -> String {
        let Some(taken) = self.taken.borrow().clone() else { return "was never taken".into() };
        let address = self.prefixed.address;
        let mut tell_after = TELL_AFTER.into_iter();
        let mut tell_at = tell_after.next().map(|pause| Instant::now() + pause);
        let mut defended = None;
        taken.neighbours.narrow().await;
        loop {
            // Each only waits, or has taken what it gives.
            tokio::select! {
                () = at(tell_at) => {
                    let _ = taken.neighbours.tell();
                    tell_at = tell_after.next().map(|pause| Instant::now() + pause);
                }
                holder = taken.neighbours.hear() => {
                    if defended.is_none_or(|last: Instant| last.elapsed() >= DEFENCE_PAUSE) {
                        defended = Some(Instant::now());
                        let _ = taken.neighbours.tell();
                        tools.warn(format!(
                            "the machine with the link address {holder} claims {address} too"
                        ));
                    }
                }
                () = taken.changes.removed(taken.interface.index, address) => {
                    let is_late = taken.renewed.get().elapsed() >= EXPIRED_AFTER;
                    if self.lifetime(tools) == Lifetime::Forever || !is_late {
                        return format!("was taken from {} by somebody", taken.interface.name);
                    }
                    // The next renewal puts it back, if there is one.
                    taken.has_expired.set(true);
                }
            }
        }
    }
}

impl Resource for Address {
    fn may_start<'a>(&'a self, _tools: &'a Tools) -> Doing<'a, Result<(), String>> {
        Box::pin(async { self.find_other() })
    }

    fn start<'a>(&'a self, tools: &'a Tools) -> Doing<'a, Result<(), String>> {
        Box::pin(self.take(tools))
    }

    fn stop<'a>(&'a self, _tools: &'a Tools) -> Doing<'a, Result<(), String>> {
        Box::pin(async {
            // Before it is taken away: from then on somebody waits for it.
            drop(self.taken.take());
            self.cut()
        })
    }

    fn watch<'a>(&'a self, tools: &'a Tools) -> Doing<'a, String> {
        Box::pin(self.look_after(tools))
    }

    fn renew(&self, tools: &Tools) {
        let Some(taken) = self.taken.borrow().clone() else { return };
        if !self.expires {
            return;
        }
        match netlink::add(&taken.interface, self.prefixed, self.lifetime(tools)) {
            Ok(()) => {
                taken.renewed.set(Instant::now());
                if taken.has_expired.take() {
                    let _ = taken.neighbours.tell();
                }
            }
            Err(error) => tools.warn(could_not("renew", &taken.interface.name, &error)),
        }
    }

    fn is_renewed(&self) -> bool {
        self.expires
    }

    fn cut(&self) -> Result<(), String> {
        // From now on nothing renews it.
        if let Some(taken) = self.taken.take() {
            self.past.replace(Some(taken));
        }
        for interface in interface::all()?.iter().filter(|interface| interface.has(self.prefixed.address)) {
            match netlink::remove(interface, self.prefixed) {
                Ok(()) => {}
                // The kernel was faster.
                Err(error)
                    if error.raw_os_error() == Some(rustix::io::Errno::ADDRNOTAVAIL.raw_os_error()) => {}
                Err(error) => return Err(could_not("remove", &interface.name, &error)),
            }
        }
        Ok(())
    }
}

async fn at(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

/// Until programs of this machine can use it.
async fn until_local(interface: &Interface, address: IpAddr) -> Result<(), String> {
    let place = match address {
        IpAddr::V4(_) => SocketAddr::new(address, 0),
        IpAddr::V6(address) if address.is_unicast_link_local() => {
            SocketAddr::V6(SocketAddrV6::new(address, 0, 0, interface.index))
        }
        IpAddr::V6(_) => SocketAddr::new(address, 0),
    };
    loop {
        match UdpSocket::bind(place) {
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => sleep(LOCAL_PAUSE).await,
            Err(error) => return Err(format!("is on {}, but cannot be used: {error}", interface.name)),
        }
    }
}

/// Completes "it ...".
fn could_not(what: &str, interface: &str, error: &io::Error) -> String {
    match (error.kind(), what) {
        (io::ErrorKind::PermissionDenied, "ask") => {
            format!("could not ask the network of {interface}: `muster` needs to run as root, or CAP_NET_RAW")
        }
        (io::ErrorKind::PermissionDenied, _) => {
            format!(
                "could not {what} the address on {interface}: `muster` needs to run as root, or CAP_NET_ADMIN"
            )
        }
        (_, "ask") => format!("could not ask the network of {interface}: {error}"),
        (_, _) => format!("could not {what} the address on {interface}: {error}"),
    }
}

#[cfg(test)]
mod tests;

//! The machines on the same link: asks them whether one has an address, tells them that we do, and hears who says so too.

use super::frame::{self, ETHERNET_ARP, LinkAddress};
use super::interface::Interface;
use crate::readable::Readable;
use nix::sys::socket::{LinkAddr, MsgFlags, recvfrom, sendto};
use rustix::net::{AddressFamily, Protocol, SocketFlags, SocketType, socket_with};
use socket2::{Domain, SockAddr, Socket, Type};
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddrV6};
use std::num::NonZeroU32;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout_at};

/// How often it is asked while somebody may answer. Three times: a frame may be lost.
const ASKS: u32 = 3;
/// All machines of a link.
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
/// Neighbour discovery believes only what was not passed on by anybody.
const HOPS: u32 = 255;
/// A new interface has no address of its own for one or two seconds; so long it is tried again.
const OWN_ADDRESS_PAUSE: Duration = Duration::from_millis(50);

/// Those of one interface, about one address.
pub struct Neighbours {
    link: Option<Link>,
}

struct Link {
    own: LinkAddress,
    place: LinkAddr,
    index: u32,
    name: String,
    address: IpAddr,
    socket: Readable,
}

impl Neighbours {
    /// An interface that is not Ethernet has none.
    pub fn of(interface: &Interface, address: IpAddr) -> io::Result<Self> {
        let Some((place, own)) = interface.link.zip(interface.link_address()) else {
            return Ok(Self { link: None });
        };
        let socket = match address {
            IpAddr::V4(_) => arp_socket()?,
            IpAddr::V6(_) => discovery_socket(interface.index, &interface.name, None)?.into(),
        };
        let (own, socket) = (LinkAddress(own), Readable::new(socket)?);
        let link = Link { own, place, index: interface.index, name: interface.name.clone(), address, socket };
        Ok(Self { link: Some(link) })
    }

    /// From now on the kernel does not pass on what is said on other interfaces. May be cancelled.
    pub async fn narrow(&self) {
        let Some(link) = self.link.as_ref().filter(|link| link.address.is_ipv4()) else { return };
        let Ok(socket) = link.socket.as_fd().try_clone_to_owned() else { return };
        let place = link.place;
        // The kernel waits until no processor uses the socket as it was, ten milliseconds or more. Without it more is heard than
        // has to be, which does no harm.
        let bind = move || nix::sys::socket::bind(socket.as_raw_fd(), &place);
        let _ = tokio::task::spawn_blocking(bind).await;
    }

    /// Who says within this time that it has the address.
    pub async fn ask(&self, wait: Duration) -> io::Result<Option<LinkAddress>> {
        let Some(link) = self.link.as_ref().filter(|_| !wait.is_zero()) else { return Ok(None) };
        for _ in 0..ASKS {
            link.ask().await?;
            if let Ok(holder) = timeout_at(Instant::now() + wait / ASKS, link.hear()).await {
                return Ok(Some(holder));
            }
        }
        Ok(None)
    }

    /// Tells all that the address is here.
    pub fn tell(&self) -> io::Result<()> {
        match &self.link {
            Some(link) => link.tell(),
            None => Ok(()),
        }
    }

    /// Waits until somebody else says to have the address. May be cancelled.
    pub async fn hear(&self) -> LinkAddress {
        match &self.link {
            Some(link) => link.hear().await,
            None => std::future::pending().await,
        }
    }
}

impl Link {
    async fn ask(&self) -> io::Result<()> {
        match self.address {
            IpAddr::V4(address) => {
                self.send(&frame::who_has(self.own, address))?;
            }
            IpAddr::V6(address) => {
                let message = frame::solicitation(self.own, address);
                let group = frame::solicited_group(address);
                let socket = discovery_socket(self.index, &self.name, None)?;
                while let Err(error) = socket.send_to(&message, &self.place(group)) {
                    if error.kind() != io::ErrorKind::AddrNotAvailable {
                        return Err(error);
                    }
                    sleep(OWN_ADDRESS_PAUSE).await;
                }
            }
        }
        Ok(())
    }

    fn tell(&self) -> io::Result<()> {
        match self.address {
            IpAddr::V4(address) => {
                for frame in frame::i_have(self.own, address) {
                    self.send(&frame)?;
                }
            }
            IpAddr::V6(address) => {
                let socket = discovery_socket(self.index, &self.name, Some(address))?;
                socket.send_to(&frame::advertisement(self.own, address), &self.place(ALL_NODES))?;
            }
        }
        Ok(())
    }

    fn send(&self, frame: &[u8]) -> io::Result<()> {
        sendto(self.socket.as_fd().as_raw_fd(), frame, &self.place, MsgFlags::empty())?;
        Ok(())
    }

    /// What is there now; 0 bytes: of another interface.
    fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.address.is_ipv6() {
            return self.socket.read(buffer);
        }
        let (length, place) = recvfrom::<LinkAddr>(self.socket.as_fd().as_raw_fd(), buffer)?;
        let is_here = place.is_some_and(|place| place.ifindex() == self.place.ifindex());
        Ok(if is_here { length } else { 0 })
    }

    async fn hear(&self) -> LinkAddress {
        let mut buffer = [0; 2048];
        loop {
            self.socket.ready().await;
            let length = match self.read(&mut buffer) {
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                // The interface is down, which is told once; when it is up again there is more to hear.
                Err(_) => {
                    sleep(OWN_ADDRESS_PAUSE).await;
                    continue;
                }
            };
            let holder = match self.address {
                IpAddr::V4(address) => frame::claimed_by_arp(&buffer[..length], self.own, address),
                IpAddr::V6(address) => frame::claimed_by_advertisement(&buffer[..length], self.own, address),
            };
            if let Some(holder) = holder {
                return holder;
            }
        }
    }

    fn place(&self, group: Ipv6Addr) -> SockAddr {
        SocketAddrV6::new(group, 0, 0, self.index).into()
    }
}

/// All ARP frames of all interfaces. One that is bound to an interface is there only ten milliseconds later: the kernel waits
/// until no processor uses it any more as it was before. Who needs the address waits for that.
fn arp_socket() -> io::Result<OwnedFd> {
    let protocol = Protocol::from_raw(NonZeroU32::from(
        std::num::NonZeroU16::new(ETHERNET_ARP.to_be()).expect("a constant that is not 0"),
    ));
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(socket_with(AddressFamily::PACKET, SocketType::RAW, flags, Some(protocol))?)
}

/// Messages of neighbour discovery of an interface, from an address of ours or from the one that the kernel chooses.
fn discovery_socket(index: u32, name: &str, from: Option<Ipv6Addr>) -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV6, Type::RAW, Some(socket2::Protocol::ICMPV6))?;
    socket.bind_device(Some(name.as_bytes()))?;
    socket.set_multicast_if_v6(index)?;
    socket.set_multicast_hops_v6(HOPS)?;
    socket.set_unicast_hops_v6(HOPS)?;
    // What we tell is for others.
    socket.set_multicast_loop_v6(false)?;
    socket.set_nonblocking(true)?;
    if let Some(from) = from {
        let scope = if from.is_unicast_link_local() { index } else { 0 };
        socket.bind(&SocketAddrV6::new(from, 0, 0, scope).into())?;
    }
    Ok(socket)
}

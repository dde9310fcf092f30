//! Three words to the kernel about addresses, by netlink: add (or renew), remove, and tell me when they change.
//!
//! The messages are 60 bytes; their layout is that of `linux/if_addr.h` and `linux/rtnetlink.h`, in the byte order of the
//! machine. Each is acknowledged at once, which takes microseconds.

use super::Prefixed;
use super::interface::{self, Interface};
use crate::readable::Readable;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recv, sendto, socket_with,
};
use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;

const RTM_NEWADDR: u16 = 20;
const RTM_DELADDR: u16 = 21;
const NLMSG_ERROR: u16 = 2;
/// Request, with an answer in any case.
const FLAGS_ASK: u16 = 1 | 4;
/// Create or replace.
const FLAGS_PUT: u16 = 0x400 | 0x100;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_CACHEINFO: u16 = 6;
const IFA_FLAGS: u16 = 8;
/// We have asked the network ourselves.
const IFA_F_NODAD: u32 = 0x02;
/// The interface has a route to this network already, which must not go with the address.
const IFA_F_NOPREFIXROUTE: u32 = 0x200;
/// Groups of changes of IPv4 and IPv6 addresses, as bits.
const GROUPS_OF_ADDRESSES: u32 = (1 << 4) | (1 << 8);
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
/// Bytes before the attributes: of the message, and of the address.
const HEADER_BYTES: usize = 16;

/// How long the kernel keeps an address that nobody renews.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifetime {
    Forever,
    Seconds(u32),
}

/// Puts the address there, or renews it.
pub fn add(interface: &Interface, prefixed: Prefixed, lifetime: Lifetime) -> io::Result<()> {
    let has_route = interface.addresses.iter().any(|own| own.covers(prefixed.address));
    ask(&message(RTM_NEWADDR, FLAGS_ASK | FLAGS_PUT, interface, prefixed, Some((lifetime, has_route))))
}

pub fn remove(interface: &Interface, prefixed: Prefixed) -> io::Result<()> {
    // As the kernel has it: who wrote another prefix into the configuration meanwhile must not keep it.
    let own = interface.addresses.iter().find(|own| own.address == prefixed.address);
    ask(&message(RTM_DELADDR, FLAGS_ASK, interface, own.copied().unwrap_or(prefixed), None))
}

fn message(
    kind: u16,
    flags: u16,
    interface: &Interface,
    prefixed: Prefixed,
    put: Option<(Lifetime, bool)>,
) -> Vec<u8> {
    let (family, bytes) = match prefixed.address {
        IpAddr::V4(address) => (AF_INET, address.octets().to_vec()),
        IpAddr::V6(address) => (AF_INET6, address.octets().to_vec()),
    };
    let mut message = vec![0; HEADER_BYTES];
    message[4..6].copy_from_slice(&kind.to_ne_bytes());
    message[6..8].copy_from_slice(&flags.to_ne_bytes());
    message.extend_from_slice(&[family, prefixed.prefix, 0, 0]);
    message.extend_from_slice(&interface.index.to_ne_bytes());
    attribute(&mut message, IFA_LOCAL, &bytes);
    attribute(&mut message, IFA_ADDRESS, &bytes);
    if let Some((lifetime, has_route)) = put {
        let seconds = match lifetime {
            Lifetime::Forever => u32::MAX,
            Lifetime::Seconds(seconds) => seconds,
        };
        // Preferred and valid for so long; the kernel fills in the rest.
        let parts = [seconds, seconds, 0, 0].map(u32::to_ne_bytes);
        attribute(&mut message, IFA_CACHEINFO, parts.as_flattened());
        let route = if has_route { IFA_F_NOPREFIXROUTE } else { 0 };
        attribute(&mut message, IFA_FLAGS, &(IFA_F_NODAD | route).to_ne_bytes());
    }
    let length = u32::try_from(message.len()).expect("a message has less than 100 bytes");
    message[0..4].copy_from_slice(&length.to_ne_bytes());
    message
}

fn attribute(message: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(4 + value.len()).expect("no value is longer than 16 bytes");
    message.extend_from_slice(&length.to_ne_bytes());
    message.extend_from_slice(&kind.to_ne_bytes());
    message.extend_from_slice(value);
}

fn open(flags: SocketFlags) -> io::Result<OwnedFd> {
    let flags = flags | SocketFlags::CLOEXEC;
    // The protocol of routes and addresses is 0, which is none.
    Ok(socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?)
}

/// Says it to the kernel, which has done it when this returns.
fn ask(message: &[u8]) -> io::Result<()> {
    let socket = open(SocketFlags::empty())?;
    sendto(&socket, message, SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
    let mut answer = [0; 512];
    let (_, length) = recv(&socket, &mut answer, RecvFlags::empty())?;
    judge(&answer[..length.min(answer.len())])
}

/// An answer is an error, whose number is 0 where all went well.
fn judge(answer: &[u8]) -> io::Result<()> {
    let kind = answer.get(4..6).map(|bytes| u16::from_ne_bytes([bytes[0], bytes[1]]));
    let number = answer.get(HEADER_BYTES..HEADER_BYTES + 4);
    match (kind, number) {
        (Some(NLMSG_ERROR), Some(bytes)) => {
            match i32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) {
                0 => Ok(()),
                number => Err(io::Error::from_raw_os_error(number.saturating_neg())),
            }
        }
        (_, _) => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// Tells when addresses of this machine change.
#[derive(Debug)]
pub struct Changes(Readable);

impl Changes {
    pub fn watch() -> io::Result<Self> {
        let socket = open(SocketFlags::NONBLOCK)?;
        bind(&socket, &SocketAddrNetlink::new(0, GROUPS_OF_ADDRESSES))?;
        Ok(Self(Readable::new(socket)?))
    }

    /// Waits until the address was taken from the interface, even if it is back already. May be cancelled.
    pub async fn removed(&self, index: u32, address: IpAddr) {
        loop {
            self.0.ready().await;
            let mut buffer = [0; 8192];
            match self.0.read(&mut buffer) {
                Ok(length) if removes(&buffer[..length], index, address) => return,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // There were too many to tell all.
                Err(_) => {
                    let is_there = interface::all()
                        .is_ok_and(|all| all.iter().any(|it| it.index == index && it.has(address)));
                    if !is_there {
                        return;
                    }
                }
            }
        }
    }
}

/// Whether one of the messages says that the address is gone from the interface.
fn removes(mut messages: &[u8], index: u32, address: IpAddr) -> bool {
    let number = |bytes: &[u8]| u32::from_ne_bytes(bytes.try_into().expect("four bytes were taken"));
    while messages.len() >= HEADER_BYTES {
        let length = number(&messages[..4]) as usize;
        let Some(message) = messages.get(..length).filter(|message| message.len() >= HEADER_BYTES) else {
            return false;
        };
        let kind = u16::from_ne_bytes([message[4], message[5]]);
        let is_gone = kind == RTM_DELADDR
            && message.get(20..24).is_some_and(|bytes| number(bytes) == index)
            && message.get(24..).is_some_and(|attributes| has_attribute(attributes, address));
        if is_gone {
            return true;
        }
        messages = &messages[length.next_multiple_of(4).min(messages.len())..];
    }
    false
}

fn has_attribute(mut attributes: &[u8], address: IpAddr) -> bool {
    while let [low, high, kind_low, kind_high, ..] = *attributes {
        let length = usize::from(u16::from_ne_bytes([low, high]));
        let kind = u16::from_ne_bytes([kind_low, kind_high]);
        let Some(value) = attributes.get(4..length) else { return false };
        let is_it = match address {
            IpAddr::V4(address) => value == address.octets(),
            IpAddr::V6(address) => value == address.octets(),
        };
        if is_it && (kind == IFA_LOCAL || kind == IFA_ADDRESS) {
            return true;
        }
        attributes = &attributes[length.next_multiple_of(4).min(attributes.len())..];
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_judged_by_its_number() {
        let answer = |number: i32| {
            let mut answer = vec![0; HEADER_BYTES];
            answer[4..6].copy_from_slice(&NLMSG_ERROR.to_ne_bytes());
            answer.extend_from_slice(&number.to_ne_bytes());
            answer
        };
        assert!(judge(&answer(0)).is_ok());
        let refused = judge(&answer(-1)).expect_err("the kernel refused");
        assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied);
        for cut in 0..20 {
            assert!(judge(&answer(0)[..cut]).is_err(), "{cut} bytes are no answer");
        }
        assert!(judge(&answer(i32::MIN)).is_err());
    }

    #[test]
    fn the_removal_of_an_address_is_found_among_other_messages() {
        let prefixed = Prefixed::parse("10.0.0.9/24").expect("an address");
        let interface = Interface { name: "eth0".into(), index: 7, link: None, addresses: Vec::new() };
        let added = message(RTM_NEWADDR, 0, &interface, prefixed, Some((Lifetime::Forever, false)));
        let removed = message(RTM_DELADDR, 0, &interface, prefixed, None);
        let both = [added.clone(), removed].concat();
        assert!(removes(&both, 7, prefixed.address));
        assert!(!removes(&both, 8, prefixed.address));
        assert!(!removes(&both, 7, "10.0.0.8".parse().expect("an address")));
        assert!(!removes(&added, 7, prefixed.address));
        for cut in 0..both.len() - 16 {
            removes(&both[..cut], 7, prefixed.address);
        }
        assert!(!removes(&[0; 64], 7, prefixed.address), "lengths of 0 end");
    }
}

//! Frames of ARP and messages of neighbour discovery: who has this address, and I have it.
//!
//! Pure: bytes in and out. Formats of RFC 826, RFC 4861 and RFC 5227. Not here: how they travel (see `neighbours`).

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

/// The address of a network card.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkAddress(pub [u8; 6]);

impl fmt::Display for LinkAddress {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, f] = self.0;
        write!(out, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
    }
}

const EVERYBODY: [u8; 6] = [0xff; 6];
pub const ETHERNET_ARP: u16 = 0x0806;
/// Ethernet, IPv4, and the lengths of their addresses.
const ARP_OF_IPV4: [u8; 6] = [0, 1, 8, 0, 6, 4];
const ASK: u8 = 1;
const ANSWER: u8 = 2;
/// Where the parts of an ARP frame begin, and its length.
const KINDS: usize = 14;
const SENDER: usize = 22;
const SENDER_IP: usize = 28;
const ARP_END: usize = 42;

const NEIGHBOUR_SOLICITATION: u8 = 135;
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
/// What was known of the address before is wrong.
const OVERRIDE: u8 = 0x20;
const SOURCE_LINK: u8 = 1;
const TARGET_LINK: u8 = 2;

fn arp(own: LinkAddress, operation: u8, sender: Ipv4Addr, target: [u8; 6], target_ip: Ipv4Addr) -> Vec<u8> {
    let mut frame = Vec::with_capacity(ARP_END);
    frame.extend_from_slice(&EVERYBODY);
    frame.extend_from_slice(&own.0);
    frame.extend_from_slice(&ETHERNET_ARP.to_be_bytes());
    frame.extend_from_slice(&ARP_OF_IPV4);
    frame.extend_from_slice(&[0, operation]);
    frame.extend_from_slice(&own.0);
    frame.extend_from_slice(&sender.octets());
    frame.extend_from_slice(&target);
    frame.extend_from_slice(&target_ip.octets());
    frame
}

/// Who has it? Without an own address, so that nobody learns anything from it.
pub fn who_has(own: LinkAddress, address: Ipv4Addr) -> Vec<u8> {
    arp(own, ASK, Ipv4Addr::UNSPECIFIED, [0; 6], address)
}

/// I have it, as a question and as an answer: some systems learn from the one, some from the other.
pub fn i_have(own: LinkAddress, address: Ipv4Addr) -> [Vec<u8>; 2] {
    [arp(own, ASK, address, [0; 6], address), arp(own, ANSWER, address, own.0, address)]
}

/// Who says in this frame that it has the address, if that is somebody else.
pub fn claimed_by_arp(frame: &[u8], own: LinkAddress, address: Ipv4Addr) -> Option<LinkAddress> {
    let frame = frame.get(..ARP_END)?;
    let is_arp =
        frame[KINDS..KINDS + 6] == ARP_OF_IPV4 && frame[SENDER_IP..SENDER_IP + 4] == address.octets();
    let sender = LinkAddress(frame[SENDER..SENDER + 6].try_into().expect("six bytes were taken"));
    (is_arp && sender != own).then_some(sender)
}

fn discovery(kind: u8, flags: u8, target: Ipv6Addr, option: u8, own: LinkAddress) -> Vec<u8> {
    // The kernel fills in the sum.
    let mut message = vec![kind, 0, 0, 0, flags, 0, 0, 0];
    message.extend_from_slice(&target.octets());
    message.extend_from_slice(&[option, 1]);
    message.extend_from_slice(&own.0);
    message
}

pub fn solicitation(own: LinkAddress, address: Ipv6Addr) -> Vec<u8> {
    discovery(NEIGHBOUR_SOLICITATION, 0, address, SOURCE_LINK, own)
}

pub fn advertisement(own: LinkAddress, address: Ipv6Addr) -> Vec<u8> {
    discovery(NEIGHBOUR_ADVERTISEMENT, OVERRIDE, address, TARGET_LINK, own)
}

/// Who advertises the address in this message, if that is somebody else.
pub fn claimed_by_advertisement(message: &[u8], own: LinkAddress, address: Ipv6Addr) -> Option<LinkAddress> {
    let is_ours = *message.first()? == NEIGHBOUR_ADVERTISEMENT && message.get(8..24)? == address.octets();
    let mut options = message.get(24..)?;
    while let [kind, length, ..] = *options {
        // In units of eight bytes; one of 0 would never end.
        if length == 0 {
            return None;
        }
        let option = options.get(..usize::from(length) * 8)?;
        if kind == TARGET_LINK {
            let holder = LinkAddress(option[2..8].try_into().expect("an option has eight bytes"));
            return (is_ours && holder != own).then_some(holder);
        }
        options = &options[option.len()..];
    }
    None
}

/// The group of machines that may have an address.
pub fn solicited_group(address: Ipv6Addr) -> Ipv6Addr {
    let group = 0xff02_0000_0000_0000_0000_0001_ff00_0000_u128;
    Ipv6Addr::from_bits(group | (address.to_bits() & 0xff_ffff))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: LinkAddress = LinkAddress([2, 0, 0, 0, 0, 1]);
    const OTHER: LinkAddress = LinkAddress([2, 0, 0, 0, 0, 0xfe]);

    #[test]
    fn who_claims_an_address_is_heard_and_who_asks_for_it_is_not() {
        let address = Ipv4Addr::new(10, 0, 0, 9);
        for frame in i_have(OTHER, address) {
            assert_eq!(frame.len(), ARP_END);
            assert_eq!(claimed_by_arp(&frame, OWN, address), Some(OTHER));
            assert_eq!(claimed_by_arp(&frame, OTHER, address), None, "it is our own");
            assert_eq!(claimed_by_arp(&frame, OWN, Ipv4Addr::new(10, 0, 0, 8)), None);
            for cut in 0..ARP_END {
                assert_eq!(claimed_by_arp(&frame[..cut], OWN, address), None);
            }
        }
        assert_eq!(claimed_by_arp(&who_has(OTHER, address), OWN, address), None);
        assert_eq!(OTHER.to_string(), "02:00:00:00:00:fe");
    }

    #[test]
    fn advertisements_are_heard_whatever_options_they_have() {
        let address: Ipv6Addr = "2001:db8::9".parse().expect("an address");
        let message = advertisement(OTHER, address);
        assert_eq!(claimed_by_advertisement(&message, OWN, address), Some(OTHER));
        assert_eq!(claimed_by_advertisement(&message, OTHER, address), None, "it is our own");
        assert_eq!(claimed_by_advertisement(&message, OWN, Ipv6Addr::LOCALHOST), None);
        assert_eq!(claimed_by_advertisement(&solicitation(OTHER, address), OWN, address), None);
        for cut in 0..message.len() {
            assert_eq!(claimed_by_advertisement(&message[..cut], OWN, address), None, "{cut} bytes");
        }
        let mut more = message[..24].to_vec();
        more.extend_from_slice(&[14, 2]);
        more.extend_from_slice(&[0; 14]);
        more.extend_from_slice(&message[24..]);
        assert_eq!(claimed_by_advertisement(&more, OWN, address), Some(OTHER));
        let mut endless = message[..24].to_vec();
        endless.extend_from_slice(&[14, 0, 0, 0]);
        assert_eq!(claimed_by_advertisement(&endless, OWN, address), None);
    }

    #[test]
    fn the_group_of_an_address_has_its_last_three_bytes() {
        let group = solicited_group("2001:db8::12:3456".parse().expect("an address"));
        assert_eq!(group.to_string(), "ff02::1:ff12:3456");
    }
}

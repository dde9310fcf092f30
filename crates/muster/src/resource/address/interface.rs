//! The network interfaces of this machine, and which of them an address belongs on.

use super::Prefixed;
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{LinkAddr, SockaddrStorage};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// How Linux numbers Ethernet among the kinds of links; only there neighbours are asked and told.
const ETHERNET: u16 = 1;

#[derive(Debug, Clone)]
pub struct Interface {
    pub name: String,
    pub index: u32,
    /// To send frames there. None: it is not Ethernet, and has no neighbours to ask.
    pub link: Option<LinkAddr>,
    pub addresses: Vec<Prefixed>,
}

impl Interface {
    pub fn has(&self, address: IpAddr) -> bool {
        self.addresses.iter().any(|own| own.address == address)
    }

    /// Its own link address.
    pub fn link_address(&self) -> Option<[u8; 6]> {
        self.link.as_ref().and_then(LinkAddr::addr)
    }
}

/// All of this machine.
pub fn all() -> Result<Vec<Interface>, String> {
    let entries = getifaddrs().map_err(|error| format!("cannot see the network interfaces: {error}"))?;
    let mut all: BTreeMap<String, Interface> = BTreeMap::new();
    let mut addresses = Vec::new();
    for entry in entries {
        let Some(address) = entry.address else { continue };
        if let Some(link) = address.as_link_addr() {
            let is_ethernet = link.hatype() == ETHERNET;
            let interface = Interface {
                name: entry.interface_name.clone(),
                index: u32::try_from(link.ifindex()).unwrap_or(0),
                link: is_ethernet.then_some(*link),
                addresses: Vec::new(),
            };
            all.insert(entry.interface_name, interface);
        } else if let Some(address) = ip(&address) {
            let prefix = entry.netmask.as_ref().and_then(ip).map_or(0, prefix_of);
            addresses.push((entry.interface_name, Prefixed { address, prefix }));
        }
    }
    for (label, address) in addresses {
        // Old labels are `eth0:1`.
        let name = label.split(':').next().unwrap_or(&label);
        if let Some(interface) = all.get_mut(name) {
            interface.addresses.push(address);
        }
    }
    Ok(all.into_values().collect())
}

/// The one that is named, or the one with an address of the same network. The error completes "it ...".
pub fn choose(all: Vec<Interface>, name: Option<&str>, wanted: Prefixed) -> Result<Interface, String> {
    let names: Vec<String> = all.iter().map(|interface| interface.name.clone()).collect();
    let names = names.join(", ");
    match name {
        Some(name) => {
            let found = all.into_iter().find(|interface| interface.name == name);
            found.ok_or_else(|| format!("has no interface: there is no {name} on this machine, only {names}"))
        }
        None => {
            let is_near = |interface: &Interface| {
                let mut own = interface.addresses.iter().filter(|own| own.prefix < full(own.address));
                own.any(|own| own.covers(wanted.address))
            };
            all.into_iter().find(is_near).ok_or_else(|| {
                format!(
                    "has no interface: none of {names} has an address of the network of {wanted}; name one"
                )
            })
        }
    }
}

fn full(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn ip(address: &SockaddrStorage) -> Option<IpAddr> {
    let v4 = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
    v4.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())))
}

fn prefix_of(mask: IpAddr) -> u8 {
    let ones = match mask {
        IpAddr::V4(mask) => mask.to_bits().leading_ones(),
        IpAddr::V6(mask) => mask.to_bits().leading_ones(),
    };
    u8::try_from(ones).expect("there are at most 128 bits")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interface(name: &str, addresses: &[&str]) -> Interface {
        let addresses = addresses.iter().map(|text| Prefixed::parse(text).expect("an address")).collect();
        Interface { name: name.into(), index: 1, link: None, addresses }
    }

    fn chosen(name: Option<&str>, wanted: &str) -> Result<String, String> {
        let all = vec![
            interface("lo", &["127.0.0.1/8", "::1/128"]),
            interface("eth0", &["10.1.0.5/24", "2001:db8::5/64"]),
            interface("eth1", &["10.2.0.5/32"]),
        ];
        choose(all, name, Prefixed::parse(wanted).expect("an address")).map(|interface| interface.name)
    }

    #[test]
    fn the_interface_of_the_same_network_is_chosen_or_the_named_one() {
        assert_eq!(chosen(None, "10.1.0.100/24").as_deref(), Ok("eth0"));
        assert_eq!(chosen(None, "2001:db8::100/64").as_deref(), Ok("eth0"));
        assert_eq!(chosen(Some("eth1"), "10.1.0.100/24").as_deref(), Ok("eth1"));
        let error =
            "has no interface: none of lo, eth0, eth1 has an address of the network of 10.2.0.9/24; name one";
        assert_eq!(chosen(None, "10.2.0.9/24"), Err(error.to_owned()));
        let error = "has no interface: there is no eth9 on this machine, only lo, eth0, eth1";
        assert_eq!(chosen(Some("eth9"), "10.1.0.100/24"), Err(error.to_owned()));
    }

    #[test]
    fn the_loopback_of_this_machine_is_seen() {
        let all = all().expect("every machine has interfaces");
        assert!(
            all.iter().any(|interface| interface.has("127.0.0.1".parse().expect("an address"))),
            "{all:?}"
        );
    }
}

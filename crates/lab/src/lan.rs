//! A second network of a lab: a switch of Ethernet, on which hosts see each other's links, as on one shelf of a rack.
//!
//! For what the first network has not: questions of ARP, addresses that move from one host to another. It needs bridges of
//! the kernel.

use crate::Outcome;
use crate::network::{carry_out, ip};
use std::net::{Ipv4Addr, Ipv6Addr};

/// The interface of each host on it.
pub const INTERFACE: &str = "lan0";

/// What the host with this number, from 1, has there.
pub fn addresses(number: u8) -> (Ipv4Addr, Ipv6Addr) {
    (Ipv4Addr::new(10, 1, 0, number), Ipv6Addr::new(0xfd01, 0, 0, 0, 0, 0, 0, u16::from(number)))
}

/// Puts hosts, by the names of their namespaces, on a switch of their own.
pub fn connect(prefix: &str, namespaces: &[&str]) -> Outcome<()> {
    let switch = format!("{prefix}-lan");
    ip(&format!("netns add {switch}"))?;
    carry_out("ip", &["-n", &switch, "-batch", "-"], "link add lan type bridge\nlink set lan up\n")?;
    for (number, namespace) in (1..).zip(namespaces) {
        let cable = format!("{prefix}l{number}");
        ip(&format!("link add {cable} netns {switch} type veth peer name {INTERFACE} netns {namespace}"))?;
        let plug = format!("link set {cable} master lan\nlink set {cable} up\n");
        carry_out("ip", &["-n", &switch, "-batch", "-"], &plug)?;
        let (v4, v6) = addresses(number);
        let own = format!(
            "link set {INTERFACE} up\naddress add {v4}/24 dev {INTERFACE}\n\
             address add {v6}/64 dev {INTERFACE} nodad\n"
        );
        carry_out("ip", &["-n", namespace, "-batch", "-"], &own)?;
    }
    Ok(())
}

/// Nothing gets through the cable of the host with this number, from 1, and the host does not notice.
pub fn cut(prefix: &str, number: usize) -> Outcome<()> {
    ip(&format!("-n {prefix}-lan link set {prefix}l{number} nomaster"))
}

/// The cable of a host is whole again.
pub fn join(prefix: &str, number: usize) -> Outcome<()> {
    ip(&format!("-n {prefix}-lan link set {prefix}l{number} master lan"))
}

/// What a parted host and the others do not hear of each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deaf {
    Both,
    /// The host hears nothing of them, and is heard.
    Host,
    /// They hear nothing of the host, which hears them.
    Others,
}

/// A host and these others hear nothing of each other but whose address is whose; to everybody else it speaks on.
pub fn part(namespace: &str, others: &[Ipv4Addr], deaf: Deaf) -> Outcome<()> {
    let others: Vec<String> = others.iter().map(ToString::to_string).collect();
    let others = others.join(", ");
    let incoming =
        format!(" chain in {{\n  type filter hook input priority 0;\n  ip saddr {{ {others} }} drop\n }}\n");
    // What is sent to many is sent to them too.
    let outgoing = format!(
        " chain out {{\n  type filter hook output priority 0;\n  ip daddr {{ {others}, 224.0.0.0/4 }} drop\n }}\n"
    );
    let chains = match deaf {
        Deaf::Both => incoming + &outgoing,
        Deaf::Host => incoming,
        Deaf::Others => outgoing,
    };
    carry_out(
        "ip",
        &["netns", "exec", namespace, "nft", "-f", "-"],
        &format!("table ip parted {{\n{chains}}}\n"),
    )
}

/// The opposite of `part`.
pub fn reunite(namespace: &str) -> Outcome<()> {
    ip(&format!("netns exec {namespace} nft delete table ip parted"))
}

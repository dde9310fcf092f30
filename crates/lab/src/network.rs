//! The switch between the hosts: a namespace with a cable to each, and what happens to packets in it.
//!
//! It passes packets on by routes of single addresses, so no host sees another one's link, and needs no module of the kernel
//! for bridges. A packet that is dropped here vanishes without a word, as where a cable is cut far away; a cable that is
//! plugged out is noticed by its own host at once.

use crate::delay::Relay;
use crate::{Doing, Outcome, Problem};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// What all hosts have as their gateway.
const GATEWAY: &str = "10.0.0.254";
/// Where servers lie that Debian keeps out of a user's path.
const SYSTEM_DIRECTORIES: [&str; 3] = ["/usr/sbin", "/sbin", "/usr/local/sbin"];

/// A program of the system, by name.
pub fn program(name: &str) -> Outcome<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories = std::env::split_paths(&path).chain(SYSTEM_DIRECTORIES.map(PathBuf::from));
    let found = directories.map(|directory| directory.join(name)).find(|candidate| candidate.is_file());
    found.ok_or_else(|| Problem(format!("{name} is missing: `cargo xtask test --only packages` installs it")))
}

/// Runs a program of the system to its end with this input; it must end well.
pub fn carry_out(name: &str, arguments: &[&str], input: &str) -> Outcome<()> {
    let mut command = Command::new(program(name)?);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().doing(format_args!("start {name}"))?;
    let mut stdin = child.stdin.take().expect("its input is piped");
    stdin.write_all(input.as_bytes()).doing(format_args!("tell {name} what to do"))?;
    drop(stdin);
    let ended = child.wait_with_output().doing(format_args!("wait for {name}"))?;
    if ended.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&ended.stderr);
    Err(Problem(format!("{name} {}: {}\n{input}", arguments.join(" "), said.trim())))
}

/// `ip` with these arguments.
pub fn ip(arguments: &str) -> Outcome<()> {
    carry_out("ip", &arguments.split(' ').collect::<Vec<_>>(), "")
}

#[derive(Debug)]
pub struct Network {
    prefix: String,
    directory: PathBuf,
    /// Of each host, in the order of their cables.
    addresses: Vec<Ipv4Addr>,
    /// Packets from one to the other vanish.
    cuts: Vec<(Ipv4Addr, Ipv4Addr)>,
    /// Of a thousand packets to and from a host, so many vanish each way.
    losses: BTreeMap<Ipv4Addr, u32>,
    /// Hosts without power.
    dark: Vec<Ipv4Addr>,
    relay: Option<Relay>,
}

impl Network {
    /// A switch without cables.
    pub fn new(prefix: &str, directory: &Path) -> Outcome<Self> {
        let network = Self {
            prefix: prefix.to_owned(),
            directory: directory.to_path_buf(),
            addresses: Vec::new(),
            cuts: Vec::new(),
            losses: BTreeMap::new(),
            dark: Vec::new(),
            relay: None,
        };
        let switch = network.switch();
        ip(&format!("netns add {switch}"))?;
        // A packet that the relay gives back comes from elsewhere than its sender's cable.
        for setting in ["ip_forward=1", "conf.all.rp_filter=0", "conf.default.rp_filter=0"] {
            ip(&format!("netns exec {switch} sysctl -q -w net.ipv4.{setting}"))?;
        }
        Ok(network)
    }

    /// What the names of all namespaces of the lab begin with.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    fn switch(&self) -> String {
        format!("{}-switch", self.prefix)
    }

    /// A new host's namespace with a cable to the switch. Gives the namespace's name.
    pub fn add(&mut self, name: &str, address: Ipv4Addr) -> Outcome<String> {
        let (switch, namespace) = (self.switch(), format!("{}-{name}", self.prefix));
        let cable = format!("{}c{}", self.prefix, self.addresses.len());
        ip(&format!("netns add {namespace}"))?;
        ip(&format!("link add {cable} netns {switch} type veth peer name eth0 netns {namespace}"))?;
        let of_switch = format!(
            "link set {cable} up\naddress add {GATEWAY}/32 dev {cable}\nroute add {address}/32 dev {cable}\n"
        );
        carry_out("ip", &["-n", &switch, "-batch", "-"], &of_switch)?;
        let of_host = format!("address add {address}/32 dev eth0\nlink set lo up\n");
        carry_out("ip", &["-n", &namespace, "-batch", "-"], &of_host)?;
        plug(&namespace)?;
        self.addresses.push(address);
        Ok(namespace)
    }

    /// Packets from `from` to `to` vanish from now on.
    pub fn cut(&mut self, from: Ipv4Addr, to: Ipv4Addr) {
        if from != to && !self.cuts.contains(&(from, to)) {
            self.cuts.push((from, to));
        }
    }

    /// No packet of this host vanishes any more for a cut or by chance.
    pub fn heal(&mut self, host: Ipv4Addr) {
        self.cuts.retain(|(from, to)| *from != host && *to != host);
        self.losses.remove(&host);
    }

    /// So many of a thousand packets to and from this host vanish.
    pub fn lose(&mut self, host: Ipv4Addr, per_mille: u32) {
        self.losses.remove(&host);
        if per_mille > 0 {
            self.losses.insert(host, per_mille.min(1000));
        }
    }

    /// Nothing leaves or reaches a host without power, not even what its kernel still has to say for dead processes.
    pub fn darken(&mut self, host: Ipv4Addr, is_dark: bool) {
        self.dark.retain(|known| *known != host);
        if is_dark {
            self.dark.push(host);
        }
    }

    /// Makes what was said of cuts and losses so, all at once.
    pub fn enforce(&self) -> Outcome<()> {
        carry_out("ip", &["netns", "exec", &self.switch(), "nft", "-f", "-"], &self.rules())
    }

    fn rules(&self) -> String {
        let mut rules = String::from(
            "table ip lab {}\ndelete table ip lab\ntable ip lab {\n chain forward {\n  \
             type filter hook forward priority 0; policy accept;\n",
        );
        // What goes to the relay comes back from it, and is judged then.
        let _ = writeln!(rules, "  oifname \"{}\" accept", Relay::INTERFACE);
        for host in &self.dark {
            let _ = writeln!(rules, "  ip saddr {host} drop\n  ip daddr {host} drop");
        }
        for (from, to) in &self.cuts {
            let _ = writeln!(rules, "  ip saddr {from} ip daddr {to} drop");
        }
        for (host, per_mille) in &self.losses {
            let chance = match per_mille {
                1000 => "drop".to_owned(),
                per_mille => format!("numgen random mod 1000 < {per_mille} drop"),
            };
            let _ = writeln!(rules, "  ip saddr {host} {chance}\n  ip daddr {host} {chance}");
        }
        rules.push_str(" }\n}\n");
        rules
    }

    /// Packets to and from this host take so much longer, each way.
    pub fn delay(&mut self, host: Ipv4Addr, delay: Duration) -> Outcome<()> {
        let relay = match self.relay.take() {
            Some(relay) => relay,
            None => {
                let relay = Relay::start(&self.switch(), &self.directory)?;
                let rules = format!(
                    "rule add pref 10 iif {0} lookup main\nrule add pref 20 to 10.0.0.0/24 lookup 100\n\
                     route add default dev {0} table 100\n",
                    Relay::INTERFACE
                );
                carry_out("ip", &["-n", &self.switch(), "-batch", "-"], &rules)?;
                relay
            }
        };
        self.relay.insert(relay).set(host, delay)
    }
}

/// Plugs a host's cable out.
pub fn unplug(namespace: &str) -> Outcome<()> {
    ip(&format!("-n {namespace} link set eth0 down"))
}

/// Plugs it in.
pub fn plug(namespace: &str) -> Outcome<()> {
    // Routes go with the interface.
    let routes = format!(
        "link set eth0 up\nroute replace {GATEWAY}/32 dev eth0\nroute replace 10.0.0.0/24 via {GATEWAY}\n"
    );
    carry_out("ip", &["-n", namespace, "-batch", "-"], &routes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_have_cuts_of_one_direction_and_chances_of_both() {
        let (a, b) = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2));
        let mut network = Network {
            prefix: "m1x1".into(),
            directory: PathBuf::new(),
            addresses: Vec::new(),
            cuts: Vec::new(),
            losses: BTreeMap::new(),
            dark: Vec::new(),
            relay: None,
        };
        let empty = network.rules();
        network.cut(a, b);
        network.cut(a, b);
        network.cut(a, a);
        network.lose(b, 15);
        let rules = network.rules();
        assert_eq!(rules.matches("ip saddr 10.0.0.1 ip daddr 10.0.0.2 drop").count(), 1, "{rules}");
        assert!(!rules.contains("ip saddr 10.0.0.2 ip daddr"), "{rules}");
        for end in ["saddr", "daddr"] {
            let rule = format!("ip {end} 10.0.0.2 numgen random mod 1000 < 15 drop");
            assert!(rules.contains(&rule), "{rules}");
        }
        network.heal(b);
        assert_eq!(network.rules(), empty);
    }
}

//! All hosts of a lab, by name, and the network between them.

use crate::host::{Host, Program, Said};
use crate::janitor::{self, Janitor};
use crate::lan;
use crate::network::{self, Network};
use crate::{Doing, Outcome, Problem};
use std::fs::{self, Permissions};
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Hosts of a lab. 200: what the last part of an address has room for beside the store's, the clients' and the switch's.
pub const HOSTS_MAX: usize = 200;
/// Commands of every host beside `muster`, for `do`: what they do stands at their beginning.
const TOOLS: [(&str, &str); 2] = [("forger", include_str!("forger.py")), ("crowd", include_str!("crowd.py"))];

/// Hosts with the addresses 10.0.0.1 and so on, in the order of their names. All goes with it.
#[derive(Debug)]
pub struct Hosts {
    // In the order in which they must go: processes, then names of namespaces.
    hosts: Vec<Host>,
    network: Network,
    janitor: Janitor,
    /// The control group that those of the hosts are in.
    groups: Option<PathBuf>,
    directory: PathBuf,
}

impl Drop for Hosts {
    fn drop(&mut self) {
        // All at once: the kernel takes a second for each.
        self.hosts.iter().for_each(Host::kill_all);
    }
}

impl Hosts {
    /// Hosts that are on, whose `muster` is this binary, with their homes in `directory`. `is_ours`: it goes with the lab.
    pub fn new(directory: &Path, names: &[&str], muster: &Path, is_ours: bool) -> Outcome<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        if names.len() > HOSTS_MAX {
            return Err(Problem(format!("there are {} hosts; a lab has at most {HOSTS_MAX}", names.len())));
        }
        janitor::sweep();
        let prefix = janitor::prefix(NEXT.fetch_add(1, Ordering::Relaxed));
        let groups = janitor::make_groups(&prefix);
        let janitor = Janitor::start(&prefix, is_ours.then_some(directory), groups.as_deref())?;
        let network = Network::new(&prefix, directory)?;
        let link = directory.join("muster");
        std::os::unix::fs::symlink(muster, &link).doing(format_args!("link {}", link.display()))?;
        for (name, text) in TOOLS {
            let path = directory.join(name);
            fs::write(&path, text)
                .and_then(|()| fs::set_permissions(&path, Permissions::from_mode(0o755)))
                .doing(format_args!("write {}", path.display()))?;
        }
        let mut hosts =
            Self { hosts: Vec::new(), network, janitor, groups, directory: directory.to_path_buf() };
        for (place, name) in (1..).zip(names) {
            hosts.add(name, Ipv4Addr::new(10, 0, 0, place))?;
        }
        Ok(hosts)
    }

    /// One more host, which is on.
    pub fn add(&mut self, name: &str, address: Ipv4Addr) -> Outcome<()> {
        let namespace = self.network.add(name, address)?;
        let mut host = Host::new(name, address, namespace, &self.directory, self.groups.as_deref())?;
        host.power_on()?;
        self.hosts.push(host);
        Ok(())
    }

    pub fn all(&self) -> &[Host] {
        &self.hosts
    }

    pub fn get(&self, name: &str) -> Outcome<&Host> {
        let found = self.hosts.iter().find(|host| host.name == name);
        found.ok_or_else(|| Problem(format!("there is no host {name}")))
    }

    pub fn get_mut(&mut self, name: &str) -> Outcome<&mut Host> {
        let found = self.hosts.iter_mut().find(|host| host.name == name);
        found.ok_or_else(|| Problem(format!("there is no host {name}")))
    }

    /// The directory of all homes stays when the lab ends.
    pub fn keep_directory(&mut self) {
        self.janitor.keep_directory();
    }

    /// Runs a command line (without quotes) on a host to its end.
    pub fn run(&self, name: &str, line: &str) -> Outcome<Said> {
        self.get(name)?.run(&line.split_whitespace().collect::<Vec<_>>())
    }

    /// The same, which must end with 0; gives its data.
    pub fn must(&self, name: &str, line: &str) -> Outcome<String> {
        match self.run(name, line)? {
            said if said.code == Some(0) => Ok(said.data),
            said => Err(Problem(format!("{name}: {line}: {said:?}"))),
        }
    }

    /// Starts a command line that goes on; its log is called `as_name`.
    pub fn start(&self, name: &str, as_name: &str, line: &str) -> Outcome<Program> {
        self.get(name)?.start(as_name, &line.split_whitespace().collect::<Vec<_>>())
    }

    /// Puts all hosts on one Ethernet beside their first network (see `lan`).
    pub fn connect_by_lan(&self) -> Outcome<()> {
        let namespaces: Vec<&str> = self.hosts.iter().map(|host| host.namespace.as_str()).collect();
        lan::connect(self.network.prefix(), &namespaces)
    }

    /// The place of a host on the Ethernet.
    fn lan_number(&self, name: &str) -> Outcome<usize> {
        let place = self.hosts.iter().position(|host| host.name == name);
        place.map(|place| place + 1).ok_or_else(|| Problem(format!("there is no host {name}")))
    }

    /// What goes to and from a host on the Ethernet vanishes; the host's own link stays up.
    pub fn cut_lan(&self, name: &str) -> Outcome<()> {
        lan::cut(self.network.prefix(), self.lan_number(name)?)
    }

    /// Nothing of it vanishes any more.
    pub fn join_lan(&self, name: &str) -> Outcome<()> {
        lan::join(self.network.prefix(), self.lan_number(name)?)
    }

    /// On the Ethernet a host and these others do not hear each other; all others hear all of them.
    pub fn part_lan(&self, name: &str, others: &[&str], deaf: lan::Deaf) -> Outcome<()> {
        let numbers: Outcome<Vec<usize>> = others.iter().map(|other| self.lan_number(other)).collect();
        let address = |number: usize| {
            let number = u8::try_from(number).expect("a lab has fewer hosts than an address has room for");
            lan::addresses(number).0
        };
        let others: Vec<Ipv4Addr> = numbers?.into_iter().map(address).collect();
        lan::part(&self.get(name)?.namespace, &others, deaf)
    }

    /// The opposite of `part_lan`.
    pub fn reunite_lan(&self, name: &str) -> Outcome<()> {
        lan::reunite(&self.get(name)?.namespace)
    }

    /// Takes the power away from all of these at once, without a last word to anybody.
    pub fn power_off(&mut self, names: &[impl AsRef<str>]) -> Outcome<()> {
        for name in names {
            let address = self.get(name.as_ref())?.address;
            self.network.darken(address, true);
        }
        self.network.enforce()?;
        // The end of one may take seconds, and none may go on meanwhile.
        for name in names {
            self.get(name.as_ref())?.kill_all();
        }
        names.iter().try_for_each(|name| self.get_mut(name.as_ref()).map(Host::power_off))
    }

    /// Gives the power back. Nothing runs on the host yet.
    pub fn power_on(&mut self, name: &str) -> Outcome<()> {
        let host = self.get_mut(name)?;
        let address = host.address;
        host.power_on()?;
        self.network.darken(address, false);
        self.network.enforce()
    }

    /// Plugs a host's cable out.
    pub fn unplug(&self, name: &str) -> Outcome<()> {
        network::unplug(&self.get(name)?.namespace)
    }

    /// Plugs it in.
    pub fn plug(&self, name: &str) -> Outcome<()> {
        network::plug(&self.get(name)?.namespace)
    }

    /// What goes from the one to the other vanishes.
    pub fn cut(&mut self, pairs: &[(&str, &str)]) -> Outcome<()> {
        for (from, to) in pairs {
            let (from, to) = (self.get(from)?.address, self.get(to)?.address);
            self.network.cut(from, to);
        }
        self.network.enforce()
    }

    /// Nothing that goes to and from these hosts vanishes any more.
    pub fn heal(&mut self, names: &[&str]) -> Outcome<()> {
        for name in names {
            let address = self.get(name)?.address;
            self.network.heal(address);
        }
        self.network.enforce()
    }

    /// So many of a thousand packets to and from a host vanish, each way.
    pub fn lose(&mut self, name: &str, per_mille: u32) -> Outcome<()> {
        let address = self.get(name)?.address;
        self.network.lose(address, per_mille);
        self.network.enforce()
    }

    /// Packets to and from a host take so much longer, each way.
    pub fn delay(&mut self, name: &str, delay: Duration) -> Outcome<()> {
        let address = self.get(name)?.address;
        self.network.delay(address, delay)
    }
}

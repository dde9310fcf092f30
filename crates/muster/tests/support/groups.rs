//! A cell with a manager and two nodes for failover groups, on one Ethernet, and a look at who answers for an address there.

use super::hosts::Hosts;
use super::{Running, Scratch, wait_for};
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::SockaddrStorage;
use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with,
};
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;
use wire::group::{GroupCondition, GroupStatus};
use wire::status::{CellStatus, Event};

pub const HOSTS: [&str; 3] = ["boss", "one", "two"];
const ETHERNET_ARP: u16 = 0x0806;
/// Pause between two questions who has an address.
const ASK_EVERY: Duration = Duration::from_millis(2);

/// A cell of these hosts, with keys of each node beside its address.
pub fn config(keys: &dyn Fn(&str) -> String, groups: &str) -> String {
    let mut text = String::from("[manager]\nlisten = \"0.0.0.0:29001\"\n");
    for (index, host) in HOSTS.iter().enumerate() {
        text.push_str(&format!("\n[nodes.{host}]\naddress = \"10.0.0.{}\"\n{}", index + 1, keys(host)));
    }
    format!("{text}\n{groups}")
}

pub struct Cell {
    /// By host; dropped before the hosts.
    pub running: Vec<Running>,
    pub hosts: Hosts,
}

impl Cell {
    /// `groups` are tables of groups.
    pub fn start(scratch: &Scratch, groups: &str) -> Self {
        Self::start_as(scratch, groups, "muster run")
    }

    /// The same with another way to start what runs on the nodes.
    pub fn start_as(scratch: &Scratch, groups: &str, run: &str) -> Self {
        Self::start_where(scratch, &|_| String::new(), groups, run)
    }

    /// The same with more keys of each node.
    pub fn start_where(scratch: &Scratch, keys: &dyn Fn(&str) -> String, groups: &str, run: &str) -> Self {
        let hosts = Hosts::new(scratch, &HOSTS);
        hosts.connect_by_lan();
        let mut cell = Self { running: Vec::new(), hosts };
        cell.hosts.write("boss", "muster.toml", &config(keys, groups));
        cell.hosts.must("boss", "muster check --node boss");
        cell.hosts.must("boss", "muster init");
        cell.running.push(cell.hosts.start("boss", "muster run --node boss"));
        wait_for("the manager to answer", || cell.try_status().map(drop));
        for host in &HOSTS[1..] {
            let join = cell.hosts.must("boss", &format!("muster node token {host}"));
            cell.hosts.must(host, join.trim());
            cell.running.push(cell.hosts.start(host, run));
        }
        cell
    }

    /// All events that the manager keeps.
    pub fn events(&self) -> Result<Vec<Event>, String> {
        let said = self.hosts.shell(
            "boss",
            "curl -s -H \"Authorization: Bearer $(cat /var/lib/muster/admin-token)\" \
             'http://127.0.0.1:29003/api/v1/events?most=1000'",
        );
        serde_json::from_str(&said.data).map_err(|error| format!("{error}: {said:?}"))
    }

    fn try_status(&self) -> Result<CellStatus, String> {
        let said = self.hosts.run("boss", "muster status --json");
        serde_json::from_str(&said.data).map_err(|error| format!("{error}: {said:?}"))
    }

    pub fn group(&self, name: &str) -> Result<GroupStatus, String> {
        let groups = self.try_status()?.groups;
        groups
            .into_iter()
            .find(|group| group.group.0 == name)
            .ok_or_else(|| format!("there is no group {name}"))
    }

    pub fn wait_until(&self, what: &str, name: &str, is_so: impl Fn(&GroupStatus) -> bool) -> GroupStatus {
        wait_for(&format!("group {name} {what}"), || {
            let group = self.group(name)?;
            if is_so(&group) { Ok(group) } else { Err(format!("{group:?}")) }
        })
    }

    pub fn wait_until_online(&self, name: &str, node: &str) -> GroupStatus {
        self.wait_until(&format!("to run on {node}"), name, |group| {
            group.state == GroupCondition::Online && group.node.as_ref().is_some_and(|there| there.0 == node)
        })
    }

    pub fn wait_until_able(&self, name: &str) -> GroupStatus {
        self.wait_until("to have able nodes", name, |group| group.why.iter().all(|why| why.is_able))
    }

    /// Where it started, which is where a lease came first, and the other node of its policy; both are able.
    pub fn wait_until_started(&self, name: &str) -> [&'static str; 2] {
        self.wait_until("to run", name, |group| group.state == GroupCondition::Online);
        let group = self.wait_until_able(name);
        if group.node.is_some_and(|node| node.0 == "one") { ["one", "two"] } else { ["two", "one"] }
    }

    pub fn shell(&self, host: &str, text: &str) -> String {
        let said = self.hosts.shell(host, text);
        format!("{}{}", said.data, said.talk)
    }

    /// The link address of a host on the Ethernet.
    pub fn link_address(&self, host: &str) -> String {
        let shown = self.hosts.must(host, "ip -o link show dev lan0");
        let mut words = shown.split_whitespace().skip_while(|word| *word != "link/ether");
        words.nth(1).unwrap_or_else(|| panic!("{shown}")).to_owned()
    }

    /// Starts what was killed again.
    pub fn start_again(&mut self, host: &str) {
        let place = HOSTS.iter().position(|known| *known == host).expect("a host of the test");
        let _ = self.running[place].wait();
        self.running[place] = self.hosts.start(host, "muster run");
    }
}

/// Asks the Ethernet all the time who has an address, from the host `boss`, and keeps who answers.
pub struct Asker {
    is_over: Arc<AtomicBool>,
    answers: Arc<Mutex<Vec<String>>>,
    thread: Option<JoinHandle<()>>,
}

impl Asker {
    pub fn start(cell: &Cell, address: Ipv4Addr) -> Self {
        let (is_over, answers) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let (over, kept) = (is_over.clone(), Arc::clone(&answers));
        let thread = cell.hosts.spawn("boss", move || ask_and_keep(address, &over, &kept));
        Self { is_over, answers, thread: Some(thread) }
    }

    /// The link addresses that have answered so far, in their order; the same one several times in a row counts once.
    pub fn holders(&self) -> Vec<String> {
        self.answers.lock().expect("nobody panics with it").clone()
    }

    pub fn wait_for_holders(&self, wanted: &[String]) {
        wait_for("an answer of another host", || {
            let holders = self.holders();
            if holders == wanted { Ok(()) } else { Err(format!("{holders:?}, not {wanted:?}")) }
        });
    }
}

impl Drop for Asker {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn lan_socket() -> (OwnedFd, [u8; 6]) {
    let interfaces = getifaddrs().expect("interfaces are known");
    let link = interfaces
        .filter(|interface| interface.interface_name == "lan0")
        .find_map(|interface| interface.address.as_ref().and_then(SockaddrStorage::as_link_addr).copied())
        .expect("the host is on the Ethernet");
    let protocol = Protocol::from_raw(u32::from(ETHERNET_ARP.to_be()).try_into().expect("it is not 0"));
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket =
        socket_with(AddressFamily::PACKET, SocketType::RAW, flags, Some(protocol)).expect("root may");
    nix::sys::socket::bind(socket.as_raw_fd(), &link).expect("the interface is there");
    (socket, link.addr().expect("Ethernet has addresses"))
}

fn ask_and_keep(address: Ipv4Addr, is_over: &AtomicBool, answers: &Mutex<Vec<String>>) {
    let (socket, own) = lan_socket();
    let mut question = [[0xff; 6], own].concat();
    question.extend_from_slice(&[8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
    question.extend_from_slice(&own);
    question.extend_from_slice(&[10, 1, 0, 1, 0, 0, 0, 0, 0, 0]);
    question.extend_from_slice(&address.octets());
    while !is_over.load(Ordering::Relaxed) {
        send(&socket, &question, SendFlags::empty()).expect("the Ethernet takes it");
        std::thread::sleep(ASK_EVERY);
        let mut frame = [0; 256];
        while let Ok((_, length)) = recv(&socket, &mut frame, RecvFlags::empty()) {
            if length < 42 || frame[28..32] != address.octets() {
                continue;
            }
            let holder = frame[22..28].iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":");
            let mut answers = answers.lock().expect("nobody panics with it");
            if answers.last() != Some(&holder) {
                answers.push(holder);
            }
        }
    }
}

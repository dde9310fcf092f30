//! Doubts a member whose machine may be gone, before anybody says so: a request waits there, and no answer came from it meanwhile.
//!
//! New connections tell: the member's system takes or refuses one, whatever the member itself is doing. Where several in a row come to
//! nothing, others come first, as after any connection that failed, and kept connections are not used again, so that nothing that
//! may be carried out only once is sent into the void. Requests that wait for a connection there go elsewhere. One that was sent
//! ends only if its bytes were repeated and have not even arrived: a member that has more callers than it can take drops new
//! connections too, and may be busy with that request. Members on this machine are not doubted: its own network is not cut.
//! Not here: what is known of members by their connections (`session`), and by the cell (`views`).

use super::core::Core;
use super::member::{Cluster, Member};
use crate::role::is_our_want;
use logic::time::Time;
use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::task::{JoinSet, spawn_blocking, spawn_local};

const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long a request waits before its member is doubted. 250 ms: most answers take less, and with both waits that follow all is over
/// within a second, before the cell could know.
const DOUBT_AFTER_MS: u64 = 250;
/// Between two trials of a member. A second: a member that only answers slowly is not bothered more often.
const TRIAL_PAUSE_MS: u64 = 1_000;
/// Longest wait for a connection. 300 ms: the slowest networks of one cell take a tenth of it.
const CONNECT_WAIT: Duration = Duration::from_millis(300);
/// Connections that are begun in that time. Four: of a hundred packets one may be lost, and the system repeats none in this time.
const CONNECTIONS: u32 = 4;
const CONNECTION_PAUSE: Duration = Duration::from_millis(60);
/// What was sent just before is looked at once more after this. 250 ms: systems repeat after 200 what nobody says to have.
const SECOND_LOOK_AFTER: Duration = Duration::from_millis(250);

/// Local ports of connections to a machine that has not said that it has what was sent, and sent again.
#[derive(Debug, Default)]
pub struct Unheard {
    to: Option<SocketAddr>,
    ports: BTreeSet<u16>,
}

impl Unheard {
    pub fn has(&self, local: SocketAddr, remote: SocketAddr) -> bool {
        self.to == Some(remote) && self.ports.contains(&local.port())
    }
}

/// Looks after the members that requests of this thread wait for.
pub async fn watch_for_ever(core: Rc<Core>) {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let now_us = core.waits.refresh();
        let waited_for = core.waits.members_since(now_us.saturating_sub(DOUBT_AFTER_MS * 1_000));
        if waited_for.is_empty() {
            continue;
        }
        for cluster in core.clusters.borrow().values() {
            let members = cluster.members.borrow();
            for member in members.iter().filter(|member| waited_for.contains(&member.identity())) {
                if let Some(address) = doubted(&core, cluster, member) {
                    member.tried_at.set(core.now());
                    spawn_local(try_out(core.clone(), cluster.clone(), member.clone(), address));
                }
            }
        }
    }
}

/// Where the member is tried out, if it is to be.
fn doubted(core: &Core, cluster: &Cluster, member: &Member) -> Option<SocketAddr> {
    let now = core.now();
    let is_quiet = |since: Time, ms: u64| since.0 == 0 || now.since_ms(since) >= ms;
    let is_due = is_quiet(member.answered_at.get(), DOUBT_AFTER_MS)
        && is_quiet(member.tried_at.get(), TRIAL_PAUSE_MS)
        && !cluster.is_marked(member, now);
    member.address().filter(|address| is_due && !address.ip().is_loopback())
}

async fn try_out(core: Rc<Core>, cluster: Rc<Cluster>, member: Rc<Member>, address: SocketAddr) {
    if is_there(address).await {
        return;
    }
    core.waits.refresh();
    // An answer is worth more.
    let answered_at = member.answered_at.get();
    if core.now().since_ms(answered_at) < DOUBT_AFTER_MS {
        return;
    }
    if core.may_tell() {
        tracing::warn!(member = %member.name, %address, "a request waits, and no connection comes about: others come first");
    }
    member.forget_connections();
    cluster.member_failed(&member, core.now());
    end_unheard(&core, &member, address).await;
    tokio::time::sleep(SECOND_LOOK_AFTER).await;
    if member.answered_at.get() == answered_at {
        end_unheard(&core, &member, address).await;
    }
}

async fn end_unheard(core: &Core, member: &Rc<Member>, address: SocketAddr) {
    // Apart: with very many connections the table is long.
    let ports = spawn_blocking(move || unheard(address)).await.unwrap_or_default();
    core.unheard.replace(Unheard { to: Some(address), ports });
    core.waits.refresh();
    core.waits.member_doubted(member.identity());
}

/// Whether a system answers there; a refusal is an answer.
async fn is_there(address: SocketAddr) -> bool {
    let mut tries = JoinSet::new();
    for number in 0..CONNECTIONS {
        tries.spawn_local(async move {
            tokio::time::sleep(CONNECTION_PAUSE * number).await;
            match TcpStream::connect(address).await {
                Ok(_) => true,
                Err(error) => error.kind() == ErrorKind::ConnectionRefused || is_our_want(&error),
            }
        });
    }
    // What is still being tried then ends with the set.
    let any = async {
        while let Some(tried) = tries.join_next().await {
            if matches!(tried, Ok(true)) {
                return true;
            }
        }
        false
    };
    tokio::time::timeout(CONNECT_WAIT, any).await.unwrap_or(false)
}

/// Local ports of connections there on which something was sent again, and not acknowledged yet.
fn unheard(address: SocketAddr) -> BTreeSet<u16> {
    let path = if address.is_ipv4() { "/proc/self/net/tcp" } else { "/proc/self/net/tcp6" };
    let table = std::fs::read_to_string(path).unwrap_or_default();
    unheard_in(&table, address)
}

fn unheard_in(table: &str, address: SocketAddr) -> BTreeSet<u16> {
    let remote = as_in_table(address);
    let ports = table.lines().skip(1).filter_map(|line| {
        let mut columns = line.split_ascii_whitespace().skip(1);
        let local = columns.next()?;
        let is_meant = columns.next()? == remote && columns.next()? == "01";
        let sent = columns.next()?.split_once(':')?.0;
        // The timer that repeats; another one asks a full receiver for room, which is there.
        let repeats = columns.next()?.starts_with("01:");
        let number = |text| u32::from_str_radix(text, 16).ok();
        let is_unheard = is_meant && repeats && number(sent)? > 0 && number(columns.next()?)? > 0;
        is_unheard.then(|| u16::from_str_radix(local.split_once(':')?.1, 16).ok())?
    });
    ports.collect()
}

/// Words of an address as the processor has them, which is how the kernel writes them.
fn as_in_table(address: SocketAddr) -> String {
    let octets = match address.ip() {
        std::net::IpAddr::V4(ip) => ip.octets().to_vec(),
        std::net::IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    let words = octets.chunks_exact(4).map(|word| {
        let word = u32::from_ne_bytes([word[0], word[1], word[2], word[3]]);
        format!("{word:08X}")
    });
    format!("{}:{:04X}", words.collect::<String>(), address.port())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::net::TcpListener;

    fn is_there_now(address: SocketAddr) -> bool {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        tokio::task::LocalSet::new().block_on(&runtime, is_there(address))
    }

    #[test]
    fn a_system_that_takes_or_refuses_a_connection_is_there_and_one_that_says_nothing_is_not() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        assert!(is_there_now(address));
        // As many as it may keep wait to be accepted: what comes then is dropped without a word.
        rustix::net::listen(&listener, 0).expect("it listens");
        let mut kept = Vec::new();
        while let Ok(stream) = std::net::TcpStream::connect_timeout(&address, Duration::from_millis(200)) {
            kept.push(stream);
            assert!(kept.len() < 1_000, "it takes whoever comes");
        }
        assert!(!is_there_now(address));
        drop(listener);
        assert!(is_there_now(address), "it is refused");
    }

    #[test]
    fn what_has_arrived_is_not_unheard_though_nobody_reads_it() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(address).expect("a free port");
            let address = listener.local_addr().expect("it is bound");
            let mut stream = std::net::TcpStream::connect(address).expect("it listens");
            stream.write_all(b"x").expect("there is room");
            let port = stream.local_addr().expect("it is connected").port();
            assert_eq!(unheard(address), BTreeSet::new());
            // The line is there all the same: as it would be with the byte under way.
            let path = if address.is_ipv4() { "/proc/self/net/tcp" } else { "/proc/self/net/tcp6" };
            let table = std::fs::read_to_string(path).expect("the kernel has one");
            let (own, remote) = (as_in_table(stream.local_addr().expect("connected")), as_in_table(address));
            let line = table.lines().find(|line| line.contains(&format!("{own} {remote} 01")));
            let line = line.expect("the connection has a line");
            let still = "00000000:00000000 00:00000000 00000000";
            assert!(line.contains(still), "{line}");
            let line = line.replace(still, "00000001:00000000 01:00000014 00000001");
            let table = format!("a line above\n{line}\n");
            assert_eq!(unheard_in(&table, address), BTreeSet::from([port]));
            let under_way = table.replace(" 01:00000014 00000001", " 01:00000014 00000000");
            assert_eq!(unheard_in(&under_way, address), BTreeSet::new(), "it was sent only now");
            let probing = table.replace(" 01:00000014", " 04:00000014");
            assert_eq!(unheard_in(&probing, address), BTreeSet::new(), "its receiver is full");
        }
    }
}

//! Doubts a member whose machine may be gone, before anybody says so: a request waits there, and no answer came from it meanwhile.
//!
//! A new connection tells: the member's system takes it, whatever the member itself is doing. Where none comes about other members
//! come first, as after any connection that failed, and kept connections are not used again, so that nothing that may be carried out
//! only once is sent into the void. Requests that wait go on waiting: two lost packets must not end them, and the cell says soon
//! whether the machine is lost. Members on this machine are not doubted: its own network is not cut.
//! Not here: what is known of members by their connections (`session`), and by the cell (`views`).

use super::core::Core;
use super::member::{Cluster, Member};
use crate::role::is_our_want;
use logic::time::Time;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;
use tokio::net::TcpStream;

const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long a request waits before its member is doubted. 300 ms: few answers take longer, and with the wait for a connection all is
/// over before the cell could know.
const DOUBT_AFTER_MS: u64 = 300;
/// Longest wait for a connection. 400 ms: the slowest networks of one cell take a tenth of it.
const CONNECT_WAIT: Duration = Duration::from_millis(400);
/// Then a second one is begun, because one packet may be lost, and the system would repeat it only after a second.
const SECOND_AFTER: Duration = Duration::from_millis(150);
/// Between two trials of a member. A second: a member that only answers slowly is not bothered more often.
const TRIAL_PAUSE_MS: u64 = 1_000;

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
                    let (core, cluster, member) = (core.clone(), cluster.clone(), member.clone());
                    tokio::task::spawn_local(try_out(core, cluster, member, address));
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
    let now = core.now();
    // An answer is worth more.
    if now.since_ms(member.answered_at.get()) < DOUBT_AFTER_MS {
        return;
    }
    member.forget_connections();
    cluster.member_failed(&member, now);
    if core.may_tell() {
        tracing::warn!(member = %member.name, %address, "a request waits, and no connection comes about: others come first");
    }
}

/// Whether a system answers there; a refusal is an answer.
async fn is_there(address: SocketAddr) -> bool {
    let connect = async |pause| {
        tokio::time::sleep(pause).await;
        match TcpStream::connect(address).await {
            Ok(_) => true,
            Err(error) => error.kind() == ErrorKind::ConnectionRefused || is_our_want(&error),
        }
    };
    let either = async {
        // Both may be cancelled: what is connected is of no further use.
        tokio::select! {
            true = connect(Duration::ZERO) => true,
            true = connect(SECOND_AFTER) => true,
            else => false,
        }
    };
    tokio::time::timeout(CONNECT_WAIT, either).await.unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    fn is_there_now(address: SocketAddr) -> bool {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(is_there(address))
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
}

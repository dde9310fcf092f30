//! Doubts a member whose machine may be gone, before anybody says so: what was sent there is not acknowledged, and nothing came from it.
//!
//! New connections tell: the member's system takes or refuses one, whatever the member itself is doing. Where several in a row come to
//! nothing, others come first, as after any connection that failed, and kept connections are not used again, so that nothing that
//! may be carried out only once is sent into the void. Requests that wait for a connection there go elsewhere, if there is another
//! member for them. One that was sent ends only if its bytes were repeated and have not even arrived: a member that has more
//! callers than it can take drops new connections too, and may be busy with that request. A member that is only slow is not
//! bothered: its system acknowledges.
//! Not here: what is known of members by their connections (`session`), and by the cell (`views`).

use super::core::Core;
use super::member::{Cluster, Member};
use super::silence::Line;
use crate::role::is_our_want;
use logic::time::Time;
use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::task::{JoinSet, spawn_local};

const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long a request waits before its member is doubted. 200 ms: most answers take less, systems repeat by then what nobody says to
/// have, and with both trials that follow all is over within a second, before the cell could know.
const DOUBT_AFTER_MS: u64 = 200;
/// Between two trials of a member. A second: what is lost on the way to it is not lost more often.
const TRIAL_PAUSE_MS: u64 = 1_000;
/// Longest wait for a connection. 300 ms: the slowest networks of one cell take a tenth of it.
const CONNECT_WAIT: Duration = Duration::from_millis(300);
/// Connections that are begun in that time. Four: of a hundred packets one may be lost, and the system repeats none in this time.
const CONNECTIONS: u32 = 4;
const CONNECTION_PAUSE: Duration = Duration::from_millis(60);

/// What was found out last about a member that was tried out in vain.
#[derive(Debug, Default)]
pub struct Doubt {
    /// Connections to it on which something was sent again, and its machine has not said that it has it.
    unheard: BTreeSet<Line>,
    /// Another member of its cluster can be reached.
    has_other: bool,
}

impl Doubt {
    pub fn is_unheard(&self, local: SocketAddr, remote: SocketAddr) -> bool {
        self.unheard.contains(&(remote, local.port()))
    }

    pub fn has_other(&self) -> bool {
        self.has_other
    }
}

/// Looks after the members that requests of this thread wait for.
pub async fn watch_for_ever(core: Rc<Core>) {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        for (cluster, member) in doubted(&core) {
            let mut is_silent = false;
            for address in member.addresses() {
                is_silent |= core.silences.recent(address).await.is_silent(address);
            }
            if is_silent {
                member.tried_at.set(core.now());
                spawn_local(try_out(core.clone(), cluster, member));
            }
        }
    }
}

/// Members for which requests wait too long, and of which nothing is heard.
fn doubted(core: &Core) -> Vec<(Rc<Cluster>, Rc<Member>)> {
    let now_us = core.waits.refresh();
    let waited_for = core.waits.members_since(now_us.saturating_sub(DOUBT_AFTER_MS * 1_000));
    if waited_for.is_empty() {
        return Vec::new();
    }
    let now = core.now();
    let is_quiet = |since: Time, ms: u64| since.0 == 0 || now.since_ms(since) >= ms;
    let mut doubted = Vec::new();
    for cluster in core.clusters.borrow().values() {
        let members = cluster.members.borrow();
        let meant = members.iter().filter(|member| {
            waited_for.contains(&member.identity())
                && is_quiet(member.heard_at.get(), DOUBT_AFTER_MS)
                && is_quiet(member.tried_at.get(), TRIAL_PAUSE_MS)
        });
        doubted.extend(meant.map(|member| (cluster.clone(), member.clone())));
    }
    doubted
}

async fn try_out(core: Rc<Core>, cluster: Rc<Cluster>, member: Rc<Member>) {
    let (addresses, heard_at) = (member.addresses(), member.heard_at.get());
    // Meanwhile it may have answered after all, or be somewhere else.
    let is_as_before = || member.heard_at.get() == heard_at && member.addresses() == addresses;
    if is_there(&addresses).await || !is_as_before() {
        return;
    }
    core.waits.refresh();
    if core.may_tell() {
        let name = &member.name;
        tracing::warn!(member = %name, ?addresses, "requests wait, and no connection comes about: others come first");
    }
    member.forget_connections();
    cluster.member_failed(&member, core.now());
    end_unheard(&core, &cluster, &member, is_as_before).await;
    // For what was sent just before, and only if the network is not back.
    let is_back = is_there(&addresses).await;
    if !is_as_before() {
        return;
    }
    if is_back {
        cluster.member_connected(&member);
    } else {
        end_unheard(&core, &cluster, &member, is_as_before).await;
    }
}

/// Tells those who wait for the member: who only connects goes elsewhere if that helps, who was not heard ends.
async fn end_unheard(core: &Core, cluster: &Cluster, member: &Rc<Member>, is_as_before: impl Fn() -> bool) {
    let (asked, asked_us) = (Instant::now(), core.waits.refresh());
    let mut unheard = BTreeSet::new();
    for address in member.addresses() {
        unheard.extend(core.silences.since(address, asked).await.unheard(address));
    }
    core.waits.refresh();
    if is_as_before() {
        let has_other = cluster.has_other(member, core.now());
        member.doubt.replace(Doubt { unheard, has_other });
        core.waits.member_doubted(member.identity(), asked_us);
    }
}

/// Whether a system answers at any of these addresses; a refusal is an answer.
async fn is_there(addresses: &[SocketAddr]) -> bool {
    let mut tries = JoinSet::new();
    for number in 0..CONNECTIONS {
        for address in addresses.iter().copied() {
            tries.spawn_local(async move {
                tokio::time::sleep(CONNECTION_PAUSE * number).await;
                match TcpStream::connect(address).await {
                    Ok(_) => true,
                    Err(error) => error.kind() == ErrorKind::ConnectionRefused || is_our_want(&error),
                }
            });
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    fn is_there_now(addresses: &[SocketAddr]) -> bool {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        tokio::task::LocalSet::new().block_on(&runtime, is_there(addresses))
    }

    #[test]
    fn a_system_that_takes_or_refuses_a_connection_is_there_and_one_that_says_nothing_is_not() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        assert!(is_there_now(&[address]));
        // As many as it may keep wait to be accepted: what comes then is dropped without a word.
        rustix::net::listen(&listener, 0).expect("it listens");
        let mut kept = Vec::new();
        while let Ok(stream) = std::net::TcpStream::connect_timeout(&address, Duration::from_millis(200)) {
            kept.push(stream);
            assert!(kept.len() < 1_000, "it takes whoever comes");
        }
        assert!(!is_there_now(&[address]));
        let other = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let other = other.local_addr().expect("it is bound");
        assert!(is_there_now(&[address, other]), "its other address refuses");
        drop(listener);
        assert!(is_there_now(&[address]), "it is refused");
    }
}

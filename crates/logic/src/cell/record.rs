//! What survives a manager: the wish and instance of each member, and what was last observed of it, as text.
//!
//! Keys: `member/<cluster>/<member>`, `seen/<cluster>/<member>`, `instance-floor`. Values are `name=value` words, so
//! that a person can read them in the store. A value that does not parse counts as absent: then the member is
//! wanted to run, which is what the configuration says.

use super::member::Member;
use crate::run_state::Wish;
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use wire::agent::{Run, Want};
use wire::id::{ClusterName, MemberName};
use wire::settings::MemberSettings;
use wire::view::RunState;

/// Under which instance numbers of removed members lie.
pub(super) const INSTANCE_FLOOR_KEY: &str = "instance-floor";

pub(super) fn member_key(cluster: &ClusterName, member: &MemberName) -> String {
    format!("member/{cluster}/{member}")
}

pub(super) fn seen_key(cluster: &ClusterName, member: &MemberName) -> String {
    format!("seen/{cluster}/{member}")
}

/// Takes the floor out of what was remembered.
pub(super) fn take_instance_floor(remembered: &mut BTreeMap<String, String>) -> u64 {
    remembered.remove(INSTANCE_FLOOR_KEY).and_then(|value| value.parse().ok()).unwrap_or(0)
}

/// What is wanted of a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Record {
    pub wish: Wish,
    pub want: Want,
    pub instance: u64,
    /// Of the settings that its process was started with.
    pub launched: u64,
}

impl Record {
    pub fn of(member: &Member) -> Self {
        Self { wish: member.wish, want: member.want, instance: member.instance, launched: member.launched }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Some(Self {
            wish: match word(text, "wish")? {
                "run" => Wish::Run,
                "drain" => Wish::Drain,
                "stop" => Wish::Stop,
                _ => return None,
            },
            want: match word(text, "want")? {
                "running" => Want::Running,
                "stopped" => Want::Stopped,
                _ => return None,
            },
            instance: word(text, "instance")?.parse().ok()?,
            launched: u64::from_str_radix(word(text, "launched")?, 16).ok()?,
        })
    }
}

impl fmt::Display for Record {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let wish = match self.wish {
            Wish::Run => "run",
            Wish::Drain => "drain",
            Wish::Stop => "stop",
        };
        let want = match self.want {
            Want::Running => "running",
            Want::Stopped => "stopped",
        };
        write!(out, "wish={wish} want={want} instance={} launched={:016x}", self.instance, self.launched)
    }
}

/// What was last observed of a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    pub state: RunState,
    pub address: Option<SocketAddr>,
}

impl Seen {
    pub fn parse(text: &str) -> Option<Self> {
        let states = [
            RunState::Unknown,
            RunState::Starting,
            RunState::Up,
            RunState::Draining,
            RunState::Down,
            RunState::Failed,
        ];
        let state = word(text, "state")?;
        Some(Self {
            state: states.into_iter().find(|known| known.to_string() == state)?,
            address: match word(text, "address")? {
                "unknown" => None,
                address => Some(address.parse().ok()?),
            },
        })
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "state={} address=", self.state)?;
        match self.address {
            Some(address) => write!(out, "{address}"),
            None => out.write_str("unknown"),
        }
    }
}

/// The value of `name=value` in `text`.
pub(super) fn word<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.split(' ').find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
}

/// A number that differs when a running process no longer fits its settings, and that stays the same over releases
/// of Muster: FNV-1a over each such setting with its length. What the agent can change at a running process (probe,
/// stop signal, grace, restarts) is left out.
pub(super) fn fingerprint(settings: &MemberSettings) -> u64 {
    let mut hash = Fnv(0xcbf2_9ce4_8422_2325);
    hash.text(&settings.node.0);
    hash.text(&settings.clone_id);
    match &settings.run {
        Run::External { address } => hash.text(&address.to_string()),
        Run::Managed(launch) => {
            hash.count(launch.command.len());
            launch.command.iter().for_each(|word| hash.text(word));
            hash.count(launch.environment.len());
            for (name, value) in &launch.environment {
                hash.text(name);
                hash.text(value);
            }
            hash.text(launch.directory.as_deref().unwrap_or_default());
            hash.text(launch.user.as_deref().unwrap_or_default());
            hash.count(usize::from(launch.port));
            if let Some(address) = launch.address {
                hash.text(&address.to_string());
            }
            hash.text(launch.log.path.as_deref().unwrap_or_default());
            hash.text(&launch.log.size_max_bytes.to_string());
            hash.count(launch.log.files_max as usize);
        }
    }
    hash.0
}

struct Fnv(u64);

impl Fnv {
    fn bytes(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn count(&mut self, count: usize) {
        self.bytes(&(count as u64).to_be_bytes());
    }

    fn text(&mut self, text: &str) {
        self.count(text.len());
        self.bytes(text.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::super::absence::Absence;
    use super::super::node;
    use super::*;
    use wire::node::NodeWish;

    #[test]
    fn what_a_newer_version_adds_is_left_aside() {
        let record = "wish=stop want=stopped instance=7 launched=00000000000000ff";
        let read = Record::parse(&format!("{record} rank=3")).expect("it is one");
        assert_eq!((read.wish, read.to_string().as_str()), (Wish::Stop, record));
        let seen = "state=up address=10.0.0.1:80";
        assert_eq!(Seen::parse(&format!("{seen} rank=3")).expect("it is one").to_string(), seen);
        let node = "number=3 beats=yes away=mass";
        let read = node::Record::parse(&format!("{node} rank=3")).expect("it is one");
        assert_eq!((read.away, read.text().as_str()), (Absence::Mass, node));
        let wish = "drain=one-by-one maintenance=no";
        assert_eq!(NodeWish::parse(&format!("{wish} rank=3")).expect("it is one").to_string(), wish);
        assert!(crate::group::is_readable("group-node/a", &format!("{wish} rank=3")));
        // Wanted to run, as the configuration says.
        assert_eq!(Record::parse(&record.replace("wish=stop", "wish=rest")), None);
    }
}

//! What the commands of ExpressCluster have in common: which node this machine is, what they say, how they end.

use super::words::{Flag, Words, take};
use crate::cli::Exit;
use crate::cli::client::{Api, ClientError, Target, fail, run as run_until_done};
use crate::cli::table::plain;
use crate::config;
use crate::identity::Place;
use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;
use wire::group::{GroupStatus, GroupVerb};
use wire::id::{NodeName, is_valid_name};
use wire::status::{Acted, CellStatus};

/// What they say when all went well.
pub const SUCCEEDED: &str = "Command succeeded.";

/// How long a group may take to start, stop or move. 1800 seconds: what ExpressCluster gives one script.
pub const WAIT_S: u64 = 1_800;

/// Why a command did not do what was asked.
#[derive(Debug)]
pub enum Failure {
    WrongUse(String),
    /// The answer is no.
    No(String),
    Client(ClientError),
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        Failure::Client(error)
    }
}

/// Runs one command. `work` says what it has to say.
pub fn run<F>(name: &str, help: &str, flags: &[Flag], words: &[String], work: impl FnOnce(Words) -> F) -> Exit
where
    F: Future<Output = Result<String, Failure>>,
{
    let words = match take(flags, words) {
        Ok(words) => words,
        Err(why) => return wrong_use(name, &why),
    };
    if words.has("--help") {
        return crate::cli::print(help.as_bytes());
    }
    let work = work(words);
    match run_until_done(async { Ok(work.await) }) {
        Ok(Ok(text)) => crate::cli::print(format!("{}\n", plain(text.trim_end())).as_bytes()),
        Ok(Err(Failure::WrongUse(why))) => wrong_use(name, &why),
        Ok(Err(Failure::No(why))) => {
            eprintln!("{name}: {}", plain(&why));
            Exit::No
        }
        Ok(Err(Failure::Client(error))) | Err(error) => fail(&error, false),
    }
}

pub fn wrong_use(name: &str, why: &str) -> Exit {
    eprintln!("{name}: {}\nInvalid option. `{name} --help` shows them.", plain(why));
    Exit::WrongUse
}

/// The cell as it is now.
pub async fn status(api: &Api) -> Result<CellStatus, Failure> {
    Ok(api.get("/api/v1/status").await?)
}

/// The node that this machine is, as far as that can be told: what a group's script was told, what this machine joined
/// as, the only node of the configuration, or the one that is called like the machine.
pub fn own_node(target: &Target, status: &CellStatus) -> Option<NodeName> {
    let is_known = |node: &NodeName| status.nodes.iter().any(|known| known.node == *node);
    let told = std::env::var("MUSTER_NODE").ok().map(NodeName);
    let state_dir = target.state_dir.clone().or_else(|| {
        let path = target.config.clone().unwrap_or_else(config::default_path);
        let kept = config::load(&path).ok().map(|(settings, _)| PathBuf::from(settings.state_dir));
        kept.or_else(|| config::default_state_dir().map(PathBuf::from))
    });
    let joined = || state_dir.and_then(|dir| Place::of(&dir).membership()).map(|it| it.node);
    let only = || match status.nodes.as_slice() {
        [only] => Some(only.node.clone()),
        _ => None,
    };
    let called = || Some(NodeName(machine_name()));
    let all = [told.filter(is_known), joined().filter(is_known), only(), called().filter(is_known)];
    all.into_iter().flatten().next()
}

/// As the system calls this machine; empty where it does not say.
pub fn machine_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_owned()
}

/// The node of `-h`, or this machine's.
pub fn node_of(words: &Words, status: &CellStatus) -> Result<NodeName, Failure> {
    match words.value("-h") {
        Some(name) => known_node(status, name),
        None => own_node(&words.target(), status).ok_or_else(|| {
            Failure::WrongUse("it is not known which server this machine is: name one with -h".into())
        }),
    }
}

pub fn known_node(status: &CellStatus, name: &str) -> Result<NodeName, Failure> {
    let found = status.nodes.iter().find(|node| node.node.0 == name);
    found.map(|node| node.node.clone()).ok_or_else(|| {
        let names: Vec<&str> = status.nodes.iter().map(|node| node.node.0.as_str()).collect();
        Failure::No(format!("there is no server {name}; there is {}", names.join(", ")))
    })
}

pub fn known_group<'a>(status: &'a CellStatus, name: &str) -> Result<&'a GroupStatus, Failure> {
    let found = status.groups.iter().find(|group| group.group.0 == name);
    found.ok_or_else(|| {
        let names: Vec<&str> = status.groups.iter().map(|group| group.group.0.as_str()).collect();
        let names = if names.is_empty() { "none".into() } else { names.join(", ") };
        Failure::No(format!("there is no group {name}; there is {names}"))
    })
}

/// Asks for an act of a group and waits until it has come about.
pub async fn act_on_group(
    api: &Api,
    verb: GroupVerb,
    group: &GroupStatus,
    node: Option<&NodeName>,
    wait_s: u64,
) -> Result<String, Failure> {
    let name = &group.group;
    if !is_valid_name(&name.0) {
        return Err(Failure::WrongUse(format!("`{name}` is no name of a group")));
    }
    let wanted = node.map(|node| node.0.clone());
    let node = node.map(|node| format!("?node={node}")).unwrap_or_default();
    let path = format!("/api/v1/groups/{name}/{}{node}", verb.name());
    let _: Acted = api.post(&path, String::new()).await?;
    let waiting = crate::cli::group::see_through(api, verb, group, wanted.as_deref());
    match tokio::time::timeout(Duration::from_secs(wait_s), waiting).await {
        Ok(Ok(Ok(text))) => Ok(text),
        Ok(Ok(Err(why))) => Err(Failure::No(why)),
        Ok(Err(error)) => Err(error.into()),
        Err(_) => Err(Failure::No(format!("group {name}: not done after {wait_s} s; it goes on"))),
    }
}

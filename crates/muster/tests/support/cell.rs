//! A cell that runs: `muster run` on a configuration of the test, seen and steered through its API and by commands.

use super::http::{self, Answer};
use super::{Running, Scratch, family, free_address, is_alive, wait_for};
use serde::de::DeserializeOwned;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use wire::agent::ProcessState;
use wire::status::{CellStatus, ClusterStatus, Event, MemberStatus};
use wire::view::RunState;

/// The binary under test.
pub const MUSTER: &str = env!("CARGO_BIN_EXE_muster");

pub struct Cell {
    pub process: Running,
    pub console: SocketAddr,
    /// Where the router `front` listens.
    pub router: SocketAddr,
    pub config: PathBuf,
    pub state_dir: PathBuf,
    token: String,
}

/// What a command said, and how it ended.
#[derive(Debug)]
pub struct Said {
    pub code: Option<i32>,
    /// Its standard output.
    pub data: String,
    /// Its standard error.
    pub talk: String,
}

/// Runs a command of Muster to its end; nothing of the test's own environment tells it where a cell is.
pub fn muster(arguments: &[&str]) -> Said {
    let mut command = Command::new(MUSTER);
    command.args(arguments).env_remove("MUSTER_API").env_remove("MUSTER_TOKEN");
    let output = command.output().unwrap_or_else(|error| panic!("could not start muster: {error}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Said { code: output.status.code(), data: text(&output.stdout), talk: text(&output.stderr) }
}

/// Starts `muster run` on a configuration, with these roles or all of them.
pub fn run(config: &Path, roles: &[&str], log: &Path) -> Running {
    let mut command = Command::new(MUSTER);
    command.arg("run").arg("--config").arg(config);
    for role in roles {
        command.args(["--role", role]);
    }
    Running::start("muster", &mut command, log)
}

impl Cell {
    /// Starts a cell with one router `front` and these further tables, and waits until its API answers.
    pub fn start(scratch: &Scratch, tables: &str) -> Self {
        Self::start_roles(scratch, tables, &[])
    }

    /// The same with only these roles, of which the manager must be one.
    pub fn start_roles(scratch: &Scratch, tables: &str, roles: &[&str]) -> Self {
        let (console, router) = (free_address(), free_address());
        let text = config(scratch, console, router, tables);
        let config = scratch.write("muster.toml", &text);
        let process = run(&config, roles, &scratch.join("muster.log"));
        Self::attach(process, console, router, config, scratch.join("state"))
    }

    /// A cell whose manager's process was started in some other way. Waits until its API answers.
    pub fn attach(
        process: Running,
        console: SocketAddr,
        router: SocketAddr,
        config: PathBuf,
        state_dir: PathBuf,
    ) -> Self {
        let mut cell = Self { process, console, router, config, state_dir, token: String::new() };
        cell.wait_until_it_answers();
        cell
    }

    pub fn wait_until_it_answers(&mut self) {
        let path = self.state_dir.join("admin-token");
        wait_for("the cell's API", || {
            self.process.check();
            let token = std::fs::read_to_string(&path).map_err(|error| error.to_string())?;
            self.token = token.trim().to_owned();
            self.try_status().map(drop)
        });
    }

    /// Runs a command of Muster on this cell.
    pub fn muster(&self, arguments: &[&str]) -> Said {
        let config = self.config.display().to_string();
        muster(&[arguments, &["--config", &config]].concat())
    }

    /// Runs a command that must end with 0, and gives its data.
    pub fn must(&self, arguments: &[&str]) -> String {
        let said = self.muster(arguments);
        assert_eq!(said.code, Some(0), "muster {}: {said:?}", arguments.join(" "));
        said.data
    }

    /// Changes the configuration by replacing pieces of it, each of which must be there.
    pub fn apply(&self, changes: &[(&str, &str)]) {
        let mut text = std::fs::read_to_string(&self.config).expect("the test wrote it");
        for (old, new) in changes {
            assert!(text.contains(old), "{old:?} is not in\n{text}");
            text = text.replacen(old, new, 1);
        }
        std::fs::write(&self.config, text).expect("the test's directory can be written");
        let config = self.config.display().to_string();
        let said = muster(&["apply", &config]);
        assert_eq!(said.code, Some(0), "{said:?}");
    }

    pub fn ask(&self, method: &str, target: &str, body: &[u8]) -> Result<Answer, String> {
        let authorization = format!("Bearer {}", self.token);
        let headers = [("Authorization", authorization.as_str())];
        http::request(self.console, method, target, &headers, body).map_err(|error| error.to_string())
    }

    pub fn read<T: DeserializeOwned>(&self, target: &str) -> Result<T, String> {
        let answer = self.ask("GET", target, b"")?;
        if answer.status != 200 {
            return Err(format!("{target}: {} {}", answer.status, answer.text()));
        }
        serde_json::from_slice(&answer.body).map_err(|error| format!("{target}: {error}: {}", answer.text()))
    }

    pub fn try_status(&self) -> Result<CellStatus, String> {
        self.read("/api/v1/status")
    }

    pub fn status(&self) -> CellStatus {
        self.try_status().unwrap_or_else(|refusal| panic!("no status: {refusal}"))
    }

    pub fn events(&self) -> Vec<Event> {
        self.read("/api/v1/events").unwrap_or_else(|refusal| panic!("no events: {refusal}"))
    }

    pub fn member(&self, cluster: &str, member: &str) -> MemberStatus {
        find(self.status(), cluster, member).unwrap_or_else(|refusal| panic!("{refusal}"))
    }

    /// Waits until a member is in a state and the router knows, and gives it as it is then.
    pub fn wait_for_state(&self, cluster: &str, member: &str, wanted: RunState) -> MemberStatus {
        wait_for(&format!("{cluster}/{member} to be {wanted}"), || {
            let status = self.try_status()?;
            routers_know(&status, cluster)?;
            let found = find(status, cluster, member)?;
            let known = format!("it is {}: {}", found.state, found.reason);
            if found.state == wanted { Ok(found) } else { Err(known) }
        })
    }

    /// Waits until all members of a cluster are up and the router knows.
    pub fn wait_until_all_up(&self, cluster: &str) {
        wait_for(&format!("all members of {cluster} to be up"), || {
            let status = self.try_status()?;
            let found = cluster_of(&status, cluster)?;
            let behind = found.members.iter().find(|member| member.state != RunState::Up);
            match behind {
                Some(member) => Err(format!("{} is {}: {}", member.member, member.state, member.reason)),
                None => routers_know(&status, cluster),
            }
        });
    }

    /// Start, stop, drain or restart, as an operator asks for it.
    pub fn act(&self, cluster: &str, member: Option<&str>, act: &str) {
        let member = member.map_or_else(String::new, |member| format!("/members/{member}"));
        let target = format!("/api/v1/clusters/{cluster}{member}/{act}");
        let answer = self.ask("POST", &target, b"").unwrap_or_else(|error| panic!("{target}: {error}"));
        assert!(answer.status < 300, "{target}: {} {}", answer.status, answer.text());
    }

    /// The process of a member that the agent started.
    pub fn member_pid(&self, cluster: &str, member: &str) -> u32 {
        match self.member(cluster, member).process {
            Some(ProcessState::Running { pid }) => pid,
            other => panic!("{cluster}/{member} does not run: {other:?}"),
        }
    }

    /// A member's processes: its first one and all that descend from it.
    pub fn member_family(&self, cluster: &str, member: &str) -> Vec<u32> {
        family(self.member_pid(cluster, member))
    }

    /// Asks the cell to end as an administrator's shell does, and checks that nothing of it is left.
    pub fn stop(mut self) {
        let everybody = family(self.process.pid());
        self.process.signal(rustix::process::Signal::TERM);
        let code = self.process.wait();
        assert_eq!(code, Some(0), "muster ends well when asked to:\n{}", self.process.log());
        wait_for("all processes of the cell to be gone", || {
            let left: Vec<u32> = everybody.iter().copied().filter(|pid| is_alive(*pid)).collect();
            if left.is_empty() { Ok(()) } else { Err(format!("{left:?} are there")) }
        });
    }
}

fn cluster_of<'s>(status: &'s CellStatus, name: &str) -> Result<&'s ClusterStatus, String> {
    let found = status.clusters.iter().find(|known| known.cluster.0 == name);
    found.ok_or_else(|| format!("there is no cluster {name}"))
}

fn find(status: CellStatus, cluster: &str, member: &str) -> Result<MemberStatus, String> {
    let clusters = status.clusters.into_iter().filter(|known| known.cluster.0 == cluster);
    let mut members = clusters.flat_map(|cluster| cluster.members);
    let found = members.find(|known| known.member.0 == member);
    found.ok_or_else(|| format!("there is no member {cluster}/{member}"))
}

/// Whether all threads of all routers use the newest view of a cluster.
fn routers_know(status: &CellStatus, name: &str) -> Result<(), String> {
    let epoch = cluster_of(status, name)?.epoch;
    for router in &status.routers {
        let applied = router.applied.iter().find(|(known, _)| known.0 == name).map(|(_, epoch)| *epoch);
        if !router.connected || router.listening.is_empty() || applied < Some(epoch) {
            return Err(format!("router {} uses {applied:?} instead of {epoch:?}", router.router));
        }
    }
    Ok(())
}

/// The cluster `shop` of sample applications with these weights. They take turns, so that a test knows who gets what.
pub fn shop_tables(members: &[(&str, u32)]) -> String {
    let mut tables = format!(
        "[clusters.shop]\npolicy = \"round-robin\"\ndrain_ms = 2000\n\n\
         [clusters.shop.probe]\nkind = \"http\"\npath = \"/healthz\"\ninterval_ms = 200\nrise = 1\n\n\
         [clusters.shop.defaults]\ncommand = [\"{MUSTER}\", \"sample-app\"]\n\
         environment = {{ PORT = \"{{port}}\" }}\n\n[clusters.shop.defaults.restart]\ndelay_ms = 50\n"
    );
    for (name, weight) in members {
        tables.push_str(&format!("\n[clusters.shop.members.{name}]\nweight = {weight}\n"));
    }
    tables
}

/// A configuration for one machine with the router `front`.
pub fn config(scratch: &Scratch, console: SocketAddr, router: SocketAddr, tables: &str) -> String {
    format!(
        "[cell]\nstate_dir = \"{}\"\n\n[console]\nlisten = \"{console}\"\n\n\
         [routers.front]\nlisten = [\"{router}\"]\nthreads = 2\n\n{tables}",
        scratch.join("state").display()
    )
}

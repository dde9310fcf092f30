//! A cell that runs: `muster run` on a configuration of the test, seen and steered through its API.

use super::http::{self, Answer};
use super::{Running, Scratch, family, free_address, is_alive, wait_for};
use serde::de::DeserializeOwned;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use wire::agent::ProcessState;
use wire::status::{CellStatus, Event, MemberStatus};
use wire::view::RunState;

/// The binary under test.
pub const MUSTER: &str = env!("CARGO_BIN_EXE_muster");

pub struct Cell {
    pub process: Running,
    pub console: SocketAddr,
    /// Where the router `front` listens.
    pub router: SocketAddr,
    pub state_dir: PathBuf,
    token: String,
}

impl Cell {
    /// Starts a cell with one router `front` and these further tables, and waits until its API answers.
    pub fn start(scratch: &Scratch, tables: &str) -> Self {
        let (console, router) = (free_address(), free_address());
        let text = config(scratch, console, router, tables);
        let path = scratch.write("muster.toml", &text);
        let mut command = Command::new(MUSTER);
        command.arg("run").arg("--config").arg(&path);
        let process = Running::start("muster", &mut command, &scratch.join("muster.log"));
        let state_dir = scratch.join("state");
        let mut cell = Self { process, console, router, state_dir, token: String::new() };
        wait_for("the cell's API", || {
            cell.process.check();
            let token = std::fs::read_to_string(cell.state_dir.join("admin-token"))
                .map_err(|error| error.to_string())?;
            cell.token = token.trim().to_owned();
            cell.try_status().map(drop)
        });
        cell
    }

    fn ask(&self, method: &str, target: &str, body: &[u8]) -> Result<Answer, String> {
        let authorization = format!("Bearer {}", self.token);
        let headers = [("Authorization", authorization.as_str())];
        http::request(self.console, method, target, &headers, body).map_err(|error| error.to_string())
    }

    fn read<T: DeserializeOwned>(&self, target: &str) -> Result<T, String> {
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
        self.try_member(cluster, member).unwrap_or_else(|refusal| panic!("{refusal}"))
    }

    fn try_member(&self, cluster: &str, member: &str) -> Result<MemberStatus, String> {
        let status = self.try_status()?;
        let clusters = status.clusters.into_iter().filter(|known| known.cluster.0 == cluster);
        let mut members = clusters.flat_map(|cluster| cluster.members);
        let found = members.find(|known| known.member.0 == member);
        found.ok_or_else(|| format!("there is no member {cluster}/{member}"))
    }

    /// Waits until a member is in a state, and gives it as it is then.
    pub fn wait_for_state(&self, cluster: &str, member: &str, wanted: RunState) -> MemberStatus {
        wait_for(&format!("{cluster}/{member} to be {wanted}"), || {
            let found = self.try_member(cluster, member)?;
            let known = format!("it is {}: {}", found.state, found.reason);
            if found.state == wanted { Ok(found) } else { Err(known) }
        })
    }

    /// Waits until the router knows what the manager knows of a cluster now.
    pub fn wait_until_all_up(&self, cluster: &str) {
        wait_for(&format!("all members of {cluster} to be up"), || {
            let status = self.try_status()?;
            let found =
                status.clusters.iter().find(|known| known.cluster.0 == cluster).ok_or("no such cluster")?;
            let behind = found.members.iter().find(|member| member.state != RunState::Up);
            match behind {
                Some(member) => Err(format!("{} is {}: {}", member.member, member.state, member.reason)),
                None => Ok(()),
            }
        });
        wait_for("the router to answer", || match http::get(self.router, "/") {
            Ok(answer) if answer.status < 500 => Ok(()),
            Ok(answer) => Err(format!("status {}", answer.status)),
            Err(error) => Err(error.to_string()),
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

/// A configuration for one machine with the router `front`.
pub fn config(scratch: &Scratch, console: SocketAddr, router: SocketAddr, tables: &str) -> String {
    format!(
        "[cell]\nstate_dir = \"{}\"\n\n[console]\nlisten = \"{console}\"\n\n\
         [routers.front]\nlisten = [\"{router}\"]\nthreads = 2\n\n{tables}",
        scratch.join("state").display()
    )
}

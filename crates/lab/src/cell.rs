//! A cell of Muster on the hosts of a lab: its configuration, how it comes to be, and what it says of itself.
//!
//! Members are used in turn, so that a few requests show which ones a router knows. Each host is a node with a router on port 8080 and members of the cluster `shop`. The first hosts have the managers.

use crate::host::Program;
use crate::hosts::Hosts;
use crate::servers::Kind;
use crate::wait::until;
use crate::{Doing, Outcome, Problem};
use rustix::process::Signal;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::time::Duration;
use wire::status::{CellStatus, Event, LeaderStatus};

/// Where every router listens.
pub const ROUTER_PORT: u16 = 8080;
/// Longest wait for a cell to come to be: hosts of a busy machine.
const START_TIME_MAX: Duration = Duration::from_secs(90);
/// Longest wait for an answer of a manager that may be frozen.
const ANSWER_SECONDS_MAX: &str = "2";

/// What the group `once` runs; nothing else does.
const GROUP_COMMAND: &str = "[\"sleep\", \"86413\"]";

/// The API of a manager on its own machine.
pub const API: &str = "--api http://127.0.0.1:29003 --token-file /var/lib/muster/admin-token";

/// What a lab consists of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    pub hosts: Vec<String>,
    pub managers: usize,
    pub store: Kind,
    pub profile: Option<String>,
    /// Members of `shop` on each host.
    pub members: usize,
    /// Hosts where the manager is a process of its own.
    pub split: Vec<String>,
    /// How large the state directory of a host is, if it is small.
    pub disks: Vec<(String, String)>,
    /// Hosts whose clocks can be stepped.
    pub clocks: Vec<String>,
    /// Where the failover group `once` may run, first where it shall; none: there is no such group.
    pub group: Vec<String>,
}

/// The process or processes of Muster on one host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    Manager,
    /// All that is not the manager, or all that there is where it is no process of its own.
    Rest,
}

impl Part {
    fn log(self) -> &'static str {
        match self {
            Part::Manager => "manager",
            Part::Rest => "muster",
        }
    }
}

#[derive(Debug)]
pub struct Cell {
    pub plan: Plan,
    programs: BTreeMap<(String, Part), Program>,
}

/// The file of the first node, which is where the cell is made.
pub fn configuration(plan: &Plan) -> String {
    let mut text = String::from("[cell]\nname = \"lab\"\n\n[manager]\nlisten = \"0.0.0.0:29001\"\n");
    if plan.managers > 1 {
        let names: Vec<String> =
            plan.hosts[..plan.managers].iter().map(|name| format!("\"{name}\"")).collect();
        let _ = writeln!(text, "nodes = [{}]", names.join(", "));
    }
    if let Some(profile) = &plan.profile {
        let _ = writeln!(text, "profile = \"{profile}\"");
    }
    let _ = write!(text, "\n{}", plan.store.table());
    for (number, host) in (1..).zip(&plan.hosts) {
        let _ = writeln!(text, "[nodes.{host}]\naddress = \"10.0.0.{number}\"\n");
        let _ = writeln!(
            text,
            "[routers.front-{number}]\nnode = \"{host}\"\nlisten = [\"0.0.0.0:{ROUTER_PORT}\"]\n"
        );
    }
    text.push_str(
        "[clusters.shop]\npolicy = \"round-robin\"\n\n[clusters.shop.probe]\nkind = \"http\"\npath = \"/healthz\"\n\n[clusters.shop.defaults]\n\
         command = [\"muster\", \"sample-app\", \"--address\", \"{address}\", \"--port\", \"{port}\"]\n",
    );
    for (number, host) in (1..=plan.hosts.len() * plan.members)
        .zip(plan.hosts.iter().flat_map(|host| std::iter::repeat_n(host, plan.members)))
    {
        let _ = writeln!(text, "\n[clusters.shop.members.shop-{number}]\nnode = \"{host}\"");
    }
    if !plan.group.is_empty() {
        let names: Vec<String> = plan.group.iter().map(|name| format!("\"{name}\"")).collect();
        let _ = write!(
            text,
            "\n[groups.once]\nnodes = [{}]\nstartup = \"manual\"\n\n[groups.once.resources.work]\ntype = \"process\"\ncommand = {GROUP_COMMAND}\n",
            names.join(", ")
        );
    }
    text
}

impl Cell {
    /// Brings the cell up on its hosts, and waits until every member takes requests and every router knows it.
    pub fn start(plan: &Plan, hosts: &Hosts) -> Outcome<Self> {
        let mut cell = Self { plan: plan.clone(), programs: BTreeMap::new() };
        let text = configuration(plan);
        let first = &plan.hosts[0];
        let path = hosts.get(first)?.home.join("muster.toml");
        fs::write(&path, &text).doing(format_args!("write {}", path.display()))?;
        hosts.must(first, "muster init")?;
        // Who finds no manager pauses before it looks again.
        cell.run_part(hosts, first, cell.parts(first)[0])?;
        until(START_TIME_MAX, "the first manager to answer", || {
            cell.status_at::<CellStatus>(hosts, first).map(drop)
        })
        .map_err(|Problem(problem)| Problem(format!("{problem}\n{}", cell.log(hosts, first))))?;
        cell.run(hosts, first)?;
        for name in &plan.hosts[1..] {
            let join = hosts.must(first, &format!("muster node token {name}"))?;
            hosts.must(name, join.trim())?;
            cell.run_part(hosts, name, Part::Rest)?;
        }
        for name in &plan.hosts[1..] {
            // The leader has to say first that there is a manager.
            until(START_TIME_MAX, "a manager to be placed", || match cell.is_split(name) {
                true => cell.run_placed_manager(hosts, name),
                false => Ok(()),
            })?;
        }
        until(START_TIME_MAX, "the cell to be whole", || cell.is_whole(hosts))?;
        if let Some(host) = plan.group.first() {
            // By itself it starts where it may first, which is now one host and now another.
            let line = format!("muster group start once {host} --yes {API}");
            until(START_TIME_MAX, "the group to be started", || hosts.must(first, &line).map(drop))?;
        }
        Ok(cell)
    }

    /// Every member is up, and every router has the newest views.
    pub fn is_whole(&self, hosts: &Hosts) -> Outcome<()> {
        let status = self.status(hosts)?;
        let members = status.clusters.iter().flat_map(|cluster| &cluster.members);
        let not_up = members.filter(|member| member.state != wire::view::RunState::Up);
        let mut missing: Vec<String> = not_up
            .map(|member| format!("{} is {:?}: {}", member.member, member.state, member.reason))
            .collect();
        for router in &status.routers {
            // One that is ahead has an epoch that this manager did not give.
            let is_elsewhere = |cluster: &wire::status::ClusterStatus| {
                router.applied.get(&cluster.cluster) != Some(&cluster.epoch)
            };
            if !router.connected || status.clusters.iter().any(is_elsewhere) {
                missing.push(format!("{} has not the newest view", router.router));
            }
        }
        if missing.is_empty() { Ok(()) } else { Err(Problem(missing.join("; "))) }
    }

    fn is_split(&self, host: &str) -> bool {
        self.plan.split.iter().any(|split| split == host)
    }

    /// The parts of Muster that a host has.
    pub fn parts(&self, host: &str) -> &'static [Part] {
        if self.is_split(host) { &[Part::Manager, Part::Rest] } else { &[Part::Rest] }
    }

    /// Starts what does not run of a host's parts.
    pub fn run(&mut self, hosts: &Hosts, host: &str) -> Outcome<()> {
        self.parts(host).iter().try_for_each(|part| self.run_part(hosts, host, *part))
    }

    pub fn run_part(&mut self, hosts: &Hosts, host: &str, part: Part) -> Outcome<()> {
        let key = (host.to_owned(), part);
        if self.programs.get_mut(&key).is_some_and(|program| !program.has_ended()) {
            return Ok(());
        }
        let has_file = self.plan.hosts.first().is_some_and(|first| first == host);
        let mut words = Vec::new();
        if self.plan.clocks.iter().any(|name| name == host) {
            words.extend(crate::run::clock_words(hosts.get(host)?)?);
        }
        words.extend(["muster", "run"].map(str::to_owned));
        if has_file {
            words.extend(["--node".to_owned(), host.to_owned()]);
        }
        match (self.is_split(host), part) {
            (false, _) => {}
            (true, Part::Manager) => words.extend(["--role", "manager"].map(str::to_owned)),
            (true, Part::Rest) => {
                words.extend(["--role", "agent", "--role", "router"].map(str::to_owned));
            }
        }
        let program = hosts.get(host)?.start(part.log(), &words)?;
        self.programs.insert(key, program);
        Ok(())
    }

    /// Starts the manager of a machine that has joined; it ends at once where no manager was placed.
    fn run_placed_manager(&mut self, hosts: &Hosts, host: &str) -> Outcome<()> {
        self.run_part(hosts, host, Part::Manager)?;
        std::thread::sleep(Duration::from_millis(500));
        let program = self.programs.get_mut(&(host.to_owned(), Part::Manager));
        let is_running = program.is_some_and(|program| !program.has_ended());
        if is_running { Ok(()) } else { Err(Problem(self.log(hosts, host))) }
    }

    /// Sends a signal to a part of a host; all of its parts where none is named.
    pub fn signal(&mut self, host: &str, part: Option<Part>, signal: Signal) -> Outcome<()> {
        let wanted = self.parts(host).iter().filter(|known| part.is_none_or(|part| part == **known));
        let wanted: Vec<Part> = wanted.copied().collect();
        if wanted.is_empty() {
            return Err(Problem(format!("the manager of {host} is no process of its own; see `split`")));
        }
        for part in wanted {
            let program = self.programs.get_mut(&(host.to_owned(), part));
            let program = program.ok_or_else(|| Problem(format!("{host} does not run")))?;
            program.signal(signal);
            if signal == Signal::KILL || signal == Signal::TERM {
                program.wait(START_TIME_MAX)?;
            }
        }
        Ok(())
    }

    pub fn log(&self, hosts: &Hosts, host: &str) -> String {
        let Ok(host) = hosts.get(host) else { return String::new() };
        let logs = [Part::Manager, Part::Rest].map(|part| fs::read(host.log(part.log())).unwrap_or_default());
        logs.iter().map(|bytes| String::from_utf8_lossy(bytes).into_owned()).collect()
    }

    /// The manager that leads, by its own word.
    pub fn leader(&self, hosts: &Hosts) -> Outcome<LeaderStatus> {
        let mut problem = Problem("there is no manager".into());
        for host in &self.plan.hosts[..self.plan.managers] {
            match self.status_at::<CellStatus>(hosts, host) {
                Ok(status) => match status.leader {
                    Some(leader) => return Ok(leader),
                    None => problem = Problem(format!("{host} knows of no leader")),
                },
                Err(refused) => problem = refused,
            }
        }
        Err(problem)
    }

    fn status_at<T: DeserializeOwned>(&self, hosts: &Hosts, host: &str) -> Outcome<T> {
        let command = format!("timeout {ANSWER_SECONDS_MAX} muster status --json {API}");
        let said = hosts.run(host, &command)?;
        serde_json::from_str(&said.data)
            .map_err(|error| Problem(format!("{host}: {error}: {}", said.talk.trim())))
    }

    /// What the first manager that answers says; the others are asked in their order.
    pub fn status(&self, hosts: &Hosts) -> Outcome<CellStatus> {
        let mut problem = Problem("there is no manager".into());
        for host in &self.plan.hosts[..self.plan.managers] {
            match self.status_at(hosts, host) {
                Ok(status) => return Ok(status),
                Err(refused) => problem = refused,
            }
        }
        Err(problem)
    }

    /// What each of its managers says.
    pub fn statuses(&self, hosts: &Hosts) -> Outcome<Vec<(String, CellStatus)>> {
        let managers = self.plan.hosts[..self.plan.managers].iter();
        managers.map(|host| Ok((host.clone(), self.status_at(hosts, host)?))).collect()
    }

    /// What has happened, as the manager of one host tells it.
    pub fn events(&self, hosts: &Hosts) -> Outcome<Vec<Event>> {
        let mut problem = Problem("there is no manager".into());
        let curl = "T=$(cat /var/lib/muster/admin-token) && exec curl --silent --fail --max-time 4 \
                    -H \"Authorization: Bearer $T\" 'http://127.0.0.1:29003/api/v1/events?most=1000'";
        for host in &self.plan.hosts[..self.plan.managers] {
            let said = hosts.get(host)?.run(&["sh", "-c", curl]);
            match said
                .map(|said| serde_json::from_str(&said.data).map_err(|error| format!("{error}: {said:?}")))
            {
                Ok(Ok(events)) => return Ok(events),
                Ok(Err(refused)) => problem = Problem(refused),
                Err(refused) => problem = refused,
            }
        }
        Err(problem)
    }

    /// Where the router of a host is reached.
    pub fn router(&self, hosts: &Hosts, host: &str) -> Outcome<SocketAddr> {
        Ok(SocketAddr::from((hosts.get(host)?.address, ROUTER_PORT)))
    }

    /// The host on which a member runs.
    pub fn host_of(&self, member: &str) -> Option<&str> {
        let number: usize = member.strip_prefix("shop-")?.parse().ok()?;
        self.plan.hosts.get(number.checked_sub(1)? / self.plan.members).map(String::as_str)
    }
}

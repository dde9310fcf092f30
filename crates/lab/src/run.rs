//! Carries out scenarios: brings up the lab, does what the lines say at their times, and judges what they expect.

use crate::cell::{Cell, Plan};
use crate::host::{Host, Program};
use crate::hosts::Hosts;
use crate::ledger::{self, Ledger};
use crate::load::{self, Load, Method};
use crate::scenario::{self, Act, Expected, Scenario, Step, StoreAct, Way, WeightAt, What};
use crate::servers::{self, Kind, Server};
use crate::wait::until;
use crate::{Doing, Outcome, Problem};
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use wire::id::TermNumber;
use wire::status::CellStatus;

/// The host of those who ask routers.
const CLIENTS: &str = "clients";
const CLIENTS_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 202);
/// Pause of each client between two requests: 100 a second on each connection leave room for the cell on a small machine.
const PAUSE: Duration = Duration::from_millis(10);
/// Least and most requests that show which members a router uses: several times the members of a scenario. The requests of
/// others come between them, so that any of them may miss a member's turn.
const PROBES: std::ops::Range<usize> = 24..600;
/// Failures that are told of one by one.
const FAILURES_TOLD_MAX: usize = 5;
/// Longest wait for somebody to lead whom a line is about.
const LEADER_TIME_MAX: Duration = Duration::from_secs(30);
/// Lines of a log that are told.
const LOG_LINES_MAX: usize = 25;

/// How strictly times are held that a scenario gives: they are those that are promised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// What is waited for, and what is measured, may take so many times as long.
    waits: u32,
    /// Requests may fail for so many times as long after something was done.
    failures: u32,
}

impl Patience {
    /// The machine does nothing else.
    pub const ALONE: Self = Self { waits: 1, failures: 1 };
    /// It may do whatever it likes beside this.
    pub const CROWDED: Self = Self { waits: 4, failures: 2 };
}

/// A lab that is up.
#[derive(Debug)]
pub struct Lab {
    // Clients go first, so that they do not see the others go.
    load: Option<Load>,
    ledger: Ledger,
    server: Option<Server>,
    burning: BTreeMap<String, Vec<Program>>,
    cell: Cell,
    hosts: Hosts,
    /// What `@leader` stood for last, and the term that it led in then.
    old_leader: Option<(String, TermNumber)>,
    patience: Patience,
    /// When the cell was whole.
    began: Instant,
    /// When something was done.
    acts: Vec<Instant>,
}

/// The words that start a program on a host whose clock can be stepped: its file says by how much.
pub fn clock_words(host: &Host) -> Outcome<Vec<String>> {
    let directories = std::fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    let mut found = directories.map(|entry| entry.path().join("faketime/libfaketime.so.1"));
    let library = found.find(|path| path.is_file());
    let library = library.ok_or_else(|| {
        Problem("libfaketime is missing: `cargo xtask test --only packages` installs it".into())
    })?;
    let file = host.home.join("clock");
    if !file.exists() {
        std::fs::write(&file, "+0\n").doing(format_args!("write {}", file.display()))?;
    }
    // Only the clock that people set; the one that counts on is the kernel's.
    Ok(vec![
        "env".to_owned(),
        format!("LD_PRELOAD={}", library.display()),
        format!("FAKETIME_TIMESTAMP_FILE={}", file.display()),
        "FAKETIME_DONT_FAKE_MONOTONIC=1".to_owned(),
        "DONT_FAKE_MONOTONIC=1".to_owned(),
        "FAKETIME_CACHE_DURATION=1".to_owned(),
    ])
}

/// What clocks showed at a moment that has been.
fn unix_ms(moment: Instant) -> Outcome<u64> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).doing("read the clock")?;
    Ok(u64::try_from(now.saturating_sub(moment.elapsed()).as_millis()).unwrap_or(u64::MAX))
}

/// Carries out a scenario in `directory`, with this binary; `tell` gets a line for each step.
pub fn run(
    scenario: &Scenario,
    directory: &Path,
    muster: &Path,
    patience: Patience,
    tell: &mut dyn FnMut(&str),
) -> Outcome<()> {
    let started = Instant::now();
    let mut lab = Lab::start(&scenario.plan, directory, muster)?;
    lab.patience = patience;
    tell(&format!("the cell is whole after {:.1} s", started.elapsed().as_secs_f64()));
    for step in &scenario.steps {
        let done = lab.carry_out(step).and_then(|()| lab.ledger.judge());
        let at = lab.began.elapsed().as_secs_f64();
        if let Err(Problem(problem)) = done {
            lab.hosts.keep_directory();
            let load = lab.load.as_ref().map(Load::summary).unwrap_or_default().join("\n");
            let logs = lab.logs();
            let (line, text) = (step.line, &step.text);
            return Err(Problem(format!("line {line}, `{text}`, at {at:.2} s: {problem}\n{load}\n{logs}")));
        }
        tell(&format!("{at:7.2} s  {}", step.text));
    }
    for line in lab.load.as_ref().map(Load::summary).unwrap_or_default() {
        tell(&line);
    }
    Ok(())
}

impl Lab {
    /// Brings up all that the plan says. The directory goes with the lab, unless something is wrong.
    pub fn start(plan: &Plan, directory: &Path, muster: &Path) -> Outcome<Self> {
        let names: Vec<&str> = plan.hosts.iter().map(String::as_str).collect();
        let mut hosts = Hosts::new(directory, &names, muster, true)?;
        match Self::start_on(plan, &mut hosts) {
            Ok((server, cell, ledger)) => Ok(Self {
                load: None,
                ledger,
                server,
                burning: BTreeMap::new(),
                cell,
                hosts,
                old_leader: None,
                patience: Patience::ALONE,
                began: Instant::now(),
                acts: Vec::new(),
            }),
            Err(problem) => {
                hosts.keep_directory();
                Err(problem)
            }
        }
    }

    fn start_on(plan: &Plan, hosts: &mut Hosts) -> Outcome<(Option<Server>, Cell, Ledger)> {
        for (name, size) in &plan.disks {
            let host = hosts.get_mut(name)?;
            host.power_off();
            host.disk = Some(size.clone());
            host.power_on()?;
        }
        hosts.add(CLIENTS, CLIENTS_ADDRESS)?;
        if plan.store != Kind::Sqlite {
            hosts.add(servers::NAME, servers::ADDRESS)?;
            // What its disk costs depends on all else that the machine does, and is not what scenarios are about.
            let store = hosts.get_mut(servers::NAME)?;
            store.power_off();
            store.disk = Some("768M".into());
            store.power_on()?;
        }
        let server = match plan.store {
            Kind::Sqlite => None,
            Kind::Etcd | Kind::Postgres => Server::start(plan.store, hosts.get(servers::NAME)?)?,
        };
        let cell = Cell::start(plan, hosts)?;
        let router = |(number, host): (usize, &String)| {
            // A disk of its own is not seen from outside: nothing is said of that one.
            let path = hosts.get(host)?.home.join(format!("state/router/front-{number}.json"));
            Ok(ledger::Router { host: host.clone(), path, written: None })
        };
        let ledger = Ledger::start((1..).zip(&plan.hosts).map(router).collect::<Outcome<_>>()?)?;
        Ok((server, cell, ledger))
    }

    pub fn hosts(&self) -> &Hosts {
        &self.hosts
    }

    /// What the cell says of itself.
    pub fn status(&self) -> Outcome<CellStatus> {
        self.cell.status(&self.hosts)
    }

    fn logs(&self) -> String {
        let of = |host: &String| {
            let log = self.cell.log(&self.hosts, host);
            let lines: Vec<&str> = log.lines().collect();
            let last = lines[lines.len().saturating_sub(LOG_LINES_MAX)..].join("\n");
            format!("---- {host} said, last ----\n{last}\n")
        };
        let logs: String = self.cell.plan.hosts.iter().map(of).collect();
        let home = self.hosts.all().first().and_then(|host| host.home.parent());
        format!("{logs}kept for a look: {}", home.unwrap_or(Path::new("")).display())
    }

    /// Does one line of a scenario.
    pub fn type_in(&mut self, line: &str) -> Outcome<()> {
        let step = scenario::read_step(&self.cell.plan, 1, line).map_err(Problem)?;
        self.carry_out(&step)
    }

    fn carry_out(&mut self, step: &Step) -> Outcome<()> {
        if let Some(pause) = step.at.and_then(|at| at.checked_sub(self.began.elapsed())) {
            std::thread::sleep(pause);
        }
        let step = &self.name_leader(step)?;
        match &step.what {
            What::Load { hosts, connections, method } => self.start_load(hosts, *connections, *method),
            What::Wait(time) => {
                std::thread::sleep(*time);
                Ok(())
            }
            What::Act(act) => {
                self.acts.push(Instant::now());
                self.act(act)
            }
            What::Expect(expected) => until(step.within * self.patience.waits, "it", || self.judge(expected)),
        }
    }

    /// The step with the host that leads in the place of the words for it.
    fn name_leader(&mut self, step: &Step) -> Outcome<Step> {
        let has = |wanted: &str| step.text.split_whitespace().any(|word| word == wanted);
        let [current, old] = scenario::LEADERS;
        if has(current) {
            let leader = until(LEADER_TIME_MAX, "a leader", || self.cell.leader(&self.hosts))?;
            self.old_leader = Some((leader.node.0, leader.term));
        }
        if !has(current) && !has(old) {
            return Ok(step.clone());
        }
        let leader = self.old_leader.as_ref().map(|(leader, _)| leader.as_str());
        let leader = leader.ok_or_else(|| Problem(format!("{current} comes before {old}")))?;
        let name = |word| if scenario::LEADERS.contains(&word) { leader } else { word };
        let text: Vec<&str> = step.text.split_whitespace().map(name).collect();
        scenario::read_step(&self.cell.plan, step.line, &text.join(" ")).map_err(Problem)
    }

    fn start_load(&mut self, hosts: &[String], connections: usize, method: Method) -> Outcome<()> {
        let routers: Outcome<Vec<_>> =
            hosts.iter().map(|host| Ok((host.clone(), self.cell.router(&self.hosts, host)?))).collect();
        // The one before, if there was one, ends here and is judged no more.
        self.load = None;
        let clients = &self.hosts.get(CLIENTS)?.namespace;
        self.load = Some(Load::start(clients, routers?, connections, method, PAUSE)?);
        Ok(())
    }

    fn act(&mut self, act: &Act) -> Outcome<()> {
        match act {
            Act::Cut(pairs) => self.cut(pairs),
            Act::Partition(parts) => self.partition(parts),
            Act::Heal(names) => self.hosts.heal(&names.iter().map(String::as_str).collect::<Vec<_>>()),
            Act::Lose { host, per_mille } => self.hosts.lose(host, *per_mille),
            Act::Delay { host, delay } => self.hosts.delay(host, *delay),
            Act::Unplug(host) => self.hosts.unplug(host),
            Act::Plug(host) => self.hosts.plug(host),
            Act::Off(names) => self.hosts.power_off(names),
            Act::On(names) => names.iter().try_for_each(|name| {
                self.hosts.power_on(name)?;
                self.cell.run(&self.hosts, name)
            }),
            Act::Freeze { host, part: None } => {
                self.hosts.get(host)?.signal_all(Signal::STOP);
                Ok(())
            }
            Act::Thaw { host, part: None } => {
                self.hosts.get(host)?.signal_all(Signal::CONT);
                Ok(())
            }
            Act::Freeze { host, part } => self.cell.signal(host, *part, Signal::STOP),
            Act::Thaw { host, part } => self.cell.signal(host, *part, Signal::CONT),
            Act::Kill { host, part } => self.cell.signal(host, *part, Signal::KILL),
            Act::KillMember(member) => self.kill_member(member),
            Act::Start { host, part: None } => self.cell.run(&self.hosts, host),
            Act::Start { host, part: Some(part) } => self.cell.run_part(&self.hosts, host, *part),
            Act::Fill(host) => {
                let fill = "dd if=/dev/zero of=/var/lib/muster/filler bs=64k; \
                            dd if=/dev/zero of=/var/lib/muster/filler-2 bs=512; true";
                self.hosts.get(host)?.run(&["sh", "-c", fill]).map(drop)
            }
            Act::Clear(host) => {
                let clear = "rm -f /var/lib/muster/filler /var/lib/muster/filler-2";
                self.hosts.get(host)?.run(&["sh", "-c", clear]).map(drop)
            }
            Act::Burn { host, processes } => {
                let start = |_| self.hosts.get(host)?.start("burn", &["sh", "-c", "while :; do :; done"]);
                let programs: Outcome<Vec<Program>> = (0..*processes).map(start).collect();
                self.burning.entry(host.clone()).or_default().extend(programs?);
                Ok(())
            }
            Act::Calm(host) => {
                self.burning.remove(host).into_iter().flatten().for_each(|one| one.signal(Signal::KILL));
                Ok(())
            }
            Act::Clock { host, seconds } => {
                let file = self.hosts.get(host)?.home.join("clock");
                std::fs::write(&file, format!("{seconds:+}\n"))
                    .doing(format_args!("write {}", file.display()))
            }
            Act::Store(act) => self.act_on_store(*act),
            Act::Do { host, command } => match self.hosts.get(host)?.run(&["sh", "-c", command])? {
                said if said.code == Some(0) => Ok(()),
                said => Err(Problem(format!("{said:?}"))),
            },
        }
    }

    /// All hosts but these.
    fn others(&self, names: &[&str]) -> Vec<String> {
        let all = self.hosts.all().iter().map(|host| host.name.clone());
        all.filter(|name| !names.contains(&name.as_str())).collect()
    }

    fn cut(&mut self, pairs: &[Way]) -> Outcome<()> {
        let mut all: Vec<(String, String)> = Vec::new();
        for (from, to) in pairs {
            let ends = |end: &Option<String>, other: &Option<String>| match (end, other) {
                (Some(name), _) => vec![name.clone()],
                (None, other) => self.others(&other.as_deref().into_iter().collect::<Vec<_>>()),
            };
            let (from, to) = (ends(from, to), ends(to, from));
            all.extend(from.iter().flat_map(|from| to.iter().map(|to| (from.clone(), to.clone()))));
        }
        self.hosts.cut(&all.iter().map(|(from, to)| (from.as_str(), to.as_str())).collect::<Vec<_>>())
    }

    /// Hosts of different parts do not hear each other. Whoever is in none, like the store, hears all.
    fn partition(&mut self, parts: &[Vec<String>]) -> Outcome<()> {
        let mut pairs: Vec<(&str, &str)> = Vec::new();
        for (place, part) in parts.iter().enumerate() {
            for other in parts.iter().enumerate().filter(|(other, _)| *other != place).map(|(_, part)| part) {
                pairs
                    .extend(part.iter().flat_map(|from| other.iter().map(|to| (from.as_str(), to.as_str()))));
            }
        }
        self.hosts.cut(&pairs)
    }

    fn kill_member(&self, member: &str) -> Outcome<()> {
        let host =
            self.cell.host_of(member).ok_or_else(|| Problem(format!("there is no member {member}")))?;
        // Its own agent tells nobody while there is no manager, so it is found by what it was started with.
        let mark = format!("MUSTER_MEMBER={member}");
        match self.hosts.get(host)?.kill_marked(&mark, "sample-app") {
            0 => Err(Problem(format!("{member} has no process"))),
            _ => Ok(()),
        }
    }

    fn act_on_store(&mut self, act: StoreAct) -> Outcome<()> {
        let host = self.hosts.get(servers::NAME)?;
        let server = self.server.as_mut().ok_or_else(|| Problem("there is no server".into()))?;
        match act {
            StoreAct::Kill => server.kill(host),
            StoreAct::Start => server.run(host),
            StoreAct::Freeze => {
                server.signal(host, Signal::STOP);
                Ok(())
            }
            StoreAct::Thaw => {
                server.signal(host, Signal::CONT);
                Ok(())
            }
            StoreAct::Save => server.copy(host, false),
            StoreAct::Restore => server.copy(host, true),
        }
    }

    fn judge(&self, expected: &Expected) -> Outcome<()> {
        let status = || self.cell.status(&self.hosts);
        let hold = |is_so: bool, found: String| if is_so { Ok(()) } else { Err(Problem(found)) };
        match expected {
            Expected::Answered { hosts, later_than } => self.judge_load(hosts, *later_than),
            Expected::Whole => self.cell.is_whole(&self.hosts),
            Expected::Node { name, is_connected } => {
                let nodes = status()?.nodes;
                let node = nodes.into_iter().find(|node| node.node.0 == *name);
                let node = node.ok_or_else(|| Problem(format!("the cell has no node {name}")))?;
                hold(node.connected == *is_connected, format!("{node:?}"))
            }
            Expected::Member { name, state } => {
                let status = status()?;
                let mut members = status.clusters.iter().flat_map(|cluster| &cluster.members);
                let member = members.find(|member| member.member.0 == *name);
                let member = member.ok_or_else(|| Problem(format!("the cell has no member {name}")))?;
                let found = format!("{:?}", member.state).to_lowercase();
                hold(found == *state, format!("it is {found}: {}", member.reason))
            }
            Expected::Reached { host, members } => {
                let clients = &self.hosts.get(CLIENTS)?.namespace;
                let router = self.cell.router(&self.hosts, host)?;
                let reached = load::members_reached(clients, router, PROBES, members)?;
                hold(reached == *members, format!("{reached:?} answer"))
            }
            Expected::Leader { name, is_meant, by } => self.judge_leader(name, *is_meant, *by),
            Expected::NoneSlower { than, hosts } => self.judge_slowest(hosts, *than * self.patience.waits),
            Expected::GenerationAbove(floor) => {
                let generation = status()?.generation;
                hold(generation > *floor, format!("it is {generation}"))
            }
            Expected::EpochsBegun { count, cluster } => {
                let done = self.acts.last().ok_or_else(|| Problem("nothing was done yet".into()))?;
                let begun = self.ledger.begun_since(cluster, *done)?;
                hold(begun == *count, format!("there are {begun}"))
            }
            Expected::Weight { member, choices } => self.judge_weight(member, choices),
            Expected::Event { kind, is_meant } => {
                let events = self.cell.events(&self.hosts)?;
                // What came before the cell was whole is how a cell comes to be.
                let began_ms = unix_ms(self.began)?;
                let found = events.iter().find(|event| event.kind == *kind && event.at_ms > began_ms);
                match (found, is_meant) {
                    (Some(_), true) | (None, false) => Ok(()),
                    (Some(event), false) => Err(Problem(format!("there is: {}", event.text))),
                    (None, true) => Err(Problem("there is none".into())),
                }
            }
            Expected::Command { host, command, is_good } => {
                let said = self.hosts.get(host)?.run(&["sh", "-c", command])?;
                hold((said.code == Some(0)) == *is_good, format!("{said:?}"))
            }
        }
    }

    /// `by`: it leads since at most that long after what was done last, as it says itself.
    fn judge_leader(&self, name: &str, is_meant: bool, by: Option<Duration>) -> Outcome<()> {
        let leader = self.cell.leader(&self.hosts)?;
        // Who has led may lead again, in another term: on a busy machine any of them may lose the lead for a moment.
        let is_again = matches!(&self.old_leader, Some((old, term)) if old == name && leader.term > *term);
        let is_it = leader.node.0 == name && (is_meant || !is_again);
        if is_it != is_meant {
            return Err(Problem(format!("{} leads, in term {}", leader.node, leader.term)));
        }
        let (Some(by), Some(done)) = (by, self.acts.last()) else { return Ok(()) };
        let after = Duration::from_millis(leader.since_ms.saturating_sub(unix_ms(*done)?));
        match after <= by * self.patience.waits {
            true => Ok(()),
            false => {
                Err(Problem(format!("{} leads since {:.3} s after that", leader.node, after.as_secs_f64())))
            }
        }
    }

    /// One of the choices holds everywhere: a configuration is in force wholly or not at all.
    fn judge_weight(&self, member: &str, choices: &[WeightAt]) -> Outcome<()> {
        let mut told = Vec::new();
        for (host, status) in self.cell.statuses(&self.hosts)? {
            let mut members = status.clusters.iter().flat_map(|cluster| &cluster.members);
            let found = members.find(|known| known.member.0 == member);
            let found = found.ok_or_else(|| Problem(format!("{host} has no member {member}")))?;
            told.push((host, WeightAt { weight: found.weight, revision: status.config_revision }));
        }
        let used = self.ledger.weights(member);
        let holds = |choice: &WeightAt| {
            let is_told = told.iter().all(|(_, told)| told == choice);
            is_told
                && used.len() == self.cell.plan.hosts.len()
                && used.iter().all(|(_, used)| *used == choice.weight)
        };
        match choices.iter().any(holds) {
            true => Ok(()),
            false => Err(Problem(format!("managers say {told:?}, and routers use {used:?}"))),
        }
    }

    fn clients(&self) -> Outcome<&Load> {
        self.load.as_ref().ok_or_else(|| Problem("there are no clients: `load` first".into()))
    }

    fn judge_slowest(&self, hosts: &[String], most: Duration) -> Outcome<()> {
        let slowest = self.clients()?.slowest();
        let mut meant = slowest.iter().filter(|(host, _)| hosts.is_empty() || hosts.contains(host));
        match meant.find(|(_, slowest)| *slowest > most) {
            None => Ok(()),
            Some((host, slowest)) => {
                Err(Problem(format!("one through {host} took {:.3} s", slowest.as_secs_f64())))
            }
        }
    }

    fn judge_load(&self, hosts: &[String], later_than: Option<Duration>) -> Outcome<()> {
        let load = self.clients()?;
        let later_than = later_than.map(|time| time * self.patience.failures);
        let is_meant = |host: &String| hosts.is_empty() || hosts.contains(host);
        if let Some((host, _)) = load.answered().iter().find(|(host, count)| is_meant(host) && *count == 0) {
            return Err(Problem(format!("no request through {host} was answered at all")));
        }
        // The last thing that was done before it failed is what it may have failed for.
        let lateness =
            |ended: Instant| self.acts.iter().filter_map(|act| ended.checked_duration_since(*act)).min();
        let failures = load.failures();
        let wrong: Vec<String> = failures
            .iter()
            .filter(|failure| is_meant(&failure.host))
            .filter(|failure| match (later_than, lateness(failure.ended)) {
                (Some(most), Some(late)) => late > most,
                (Some(_), None) | (None, _) => true,
            })
            .map(|failure| {
                let late = lateness(failure.ended).map_or("before anything was done".to_owned(), |late| {
                    format!("{:.3} s after something was done", late.as_secs_f64())
                });
                let took = (failure.ended - failure.began).as_secs_f64();
                format!("through {}, {late}, having taken {took:.3} s: {}", failure.host, failure.why)
            })
            .collect();
        match wrong.len() {
            0 => Ok(()),
            count => {
                let told = wrong[..count.min(FAILURES_TOLD_MAX)].join("\n  ");
                Err(Problem(format!("{count} requests failed:\n  {told}")))
            }
        }
    }
}

//! The demo trying itself: steady load while members are killed, hung, stopped, added, weighted and restarted.
//!
//! Every step waits for a state, never for a time, and says how long that took. What was promised and not kept is
//! listed in `problems`; `ok` is true only if there is nothing.

use super::Plan;
use super::load::{CONNECTIONS, Load, read_answer};
use crate::manager::handle::{ManagerGone, ManagerHandle, Request};
use rustix::process::{Pid, Signal, kill_process};
use serde::Serialize;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use wire::agent::ProcessState;
use wire::id::{ClusterName, MemberName};
use wire::status::{Act, CellStatus, ClusterStatus, MemberStatus};
use wire::view::RunState;

/// Requests that a check makes at least.
const REQUESTS_MIN: u64 = 60_000;
/// Requests between two events, so that each meets a cell under load.
const REQUESTS_BETWEEN: u64 = 3_000;
/// How long a step may take on a machine that is busy with other things.
const STEP_MAX: Duration = Duration::from_secs(60);
/// Cycles of the rotation over which weights are counted.
const CYCLES: u64 = 10;

/// What the check found, as it is printed.
#[derive(Debug, Default, Serialize)]
pub struct Findings {
    pub requests: u64,
    /// GETs without a good answer.
    pub failed: u64,
    /// Requests that the router sent to another member after one had failed.
    pub retried: u64,
    /// From what was done to a member, or asked for, until every router knew.
    pub detect_ms: BTreeMap<&'static str, f64>,
    /// Requests without a session over ten cycles, by member.
    pub distribution: BTreeMap<String, u64>,
    pub distribution_expected: BTreeMap<String, u64>,
    pub sessions: usize,
    /// Conversations that never left their member while it was there.
    pub sessions_kept: usize,
    /// POSTs that met a dying member: refused, never sent twice.
    pub posts_refused: u64,
    pub duration_ms: u64,
    pub ok: bool,
    pub problems: Vec<String>,
}

/// Why a check could not go on. The cell still runs and is stopped by the caller.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    #[error(transparent)]
    Gone(#[from] ManagerGone),
    #[error("the load could not be started")]
    Load(#[source] std::io::Error),
    #[error("{what}: not within {} s; {seen}", STEP_MAX.as_secs())]
    TooSlow { what: String, seen: String },
    #[error("the cell refused to {what}: {why}")]
    Refused { what: String, why: String },
    #[error("{member} has no process")]
    NoProcess { member: String },
    #[error("a signal could not be sent to {member}")]
    Signal {
        member: String,
        #[source]
        source: rustix::io::Errno,
    },
}

pub struct Check {
    pub manager: ManagerHandle,
    pub router: SocketAddr,
    pub plan: Plan,
    pub state_dir: PathBuf,
    pub program: PathBuf,
}

impl Check {
    /// Runs the whole check. `say` tells a person what goes on.
    pub async fn run(mut self, say: impl Fn(&str)) -> Result<Findings, CheckError> {
        let start = Instant::now();
        let mut findings = Findings { sessions: CONNECTIONS, ..Findings::default() };
        let load = Load::start(self.router).map_err(CheckError::Load)?;
        say("load: 64 conversations on keep-alive connections");
        self.settle(&load).await?;
        self.kill(&load, &mut findings, &say).await?;
        self.hang(&load, &mut findings, &say).await?;
        self.stop_and_start(&load, &mut findings, &say).await?;
        self.add(&load, &mut findings, &say).await?;
        self.weigh(&load, &mut findings, &say).await?;
        self.restart_all(&load, &mut findings, &say).await?;
        while load.tally().requests < REQUESTS_MIN {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let tally = load.stop();
        findings.requests = tally.requests;
        findings.failed = tally.gets_failed;
        findings.posts_refused = tally.posts_refused;
        findings.sessions_kept = CONNECTIONS - tally.sessions_lost.len();
        findings.retried = self.status().await?.routers.iter().map(|router| router.totals.retried).sum();
        findings.duration_ms = start.elapsed().as_millis() as u64;
        judge(&mut findings, tally.posts_failed, &tally.examples);
        Ok(findings)
    }

    async fn kill(
        &mut self,
        load: &Load,
        findings: &mut Findings,
        say: &impl Fn(&str),
    ) -> Result<(), CheckError> {
        let victim = self.victim(0);
        say(&format!("kill: SIGKILL to {victim}"));
        load.allow_out([victim.clone()]);
        let started = Instant::now();
        let killed = self.signal(&victim, Signal::KILL).await?;
        // Its next process may be up before we get to look.
        let is_seen = |status: &CellStatus| {
            let member = member(status, &victim);
            (member.state != RunState::Up || process(member) != Some(killed)) && routers_know(status)
        };
        self.wait_for(&format!("{victim} is seen to be killed"), is_seen).await?;
        findings.detect_ms.insert("kill", elapsed_ms(started));
        self.all_up(&format!("{victim} is back")).await?;
        self.settle(load).await
    }

    async fn hang(
        &mut self,
        load: &Load,
        findings: &mut Findings,
        say: &impl Fn(&str),
    ) -> Result<(), CheckError> {
        let victim = self.victim(1);
        say(&format!("hang: SIGSTOP to {victim}"));
        load.allow_out([victim.clone()]);
        let started = Instant::now();
        self.signal(&victim, Signal::STOP).await?;
        self.wait_out(&victim, &format!("{victim} is seen to hang")).await?;
        findings.detect_ms.insert("hang", elapsed_ms(started));
        self.signal(&victim, Signal::CONT).await?;
        self.all_up(&format!("{victim} is back")).await?;
        self.settle(load).await
    }

    async fn stop_and_start(
        &mut self,
        load: &Load,
        findings: &mut Findings,
        say: &impl Fn(&str),
    ) -> Result<(), CheckError> {
        let victim = self.victim(2);
        say(&format!("stop: {victim}, in good order"));
        load.allow_out([victim.clone()]);
        let started = Instant::now();
        self.act(Some(&victim), Act::Stop).await?;
        self.wait_out(&victim, &format!("{victim} is out of rotation")).await?;
        findings.detect_ms.insert("stop", elapsed_ms(started));
        let stopped = |status: &CellStatus| member(status, &victim).process == Some(ProcessState::Stopped);
        self.wait_for(&format!("{victim} has stopped"), stopped).await?;
        self.act(Some(&victim), Act::Start).await?;
        self.all_up(&format!("{victim} is back")).await?;
        self.settle(load).await
    }

    async fn add(
        &mut self,
        load: &Load,
        findings: &mut Findings,
        say: &impl Fn(&str),
    ) -> Result<(), CheckError> {
        say("add: a fourth member");
        let started = Instant::now();
        self.plan.members.push(("shop-4".into(), 2));
        self.apply().await?;
        self.all_up("shop-4 takes requests").await?;
        findings.detect_ms.insert("add", elapsed_ms(started));
        self.settle(load).await
    }

    async fn weigh(
        &mut self,
        load: &Load,
        findings: &mut Findings,
        say: &impl Fn(&str),
    ) -> Result<(), CheckError> {
        let heavy = self.victim(0);
        say(&format!("weight: {heavy} gets twice as much as the others"));
        let started = Instant::now();
        self.plan.members[0].1 = 4;
        self.apply().await?;
        let is_known = |status: &CellStatus| member(status, &heavy).weight == 4 && routers_know(status);
        self.wait_for("the weight is known", is_known).await?;
        findings.detect_ms.insert("weight", elapsed_ms(started));
        self.distribution(findings).await?;
        self.settle(load).await
    }

    async fn restart_all(
        &mut self,
        load: &Load,
        findings: &mut Findings,
        say: &impl Fn(&str),
    ) -> Result<(), CheckError> {
        say("restart: all members, one by one");
        load.allow_out(self.plan.members.iter().map(|(name, _)| name.clone()));
        let before = self.processes().await?;
        let started = Instant::now();
        self.act(None, Act::Restart).await?;
        let is_done = |status: &CellStatus| {
            let cluster = shop(status);
            let renewed = cluster.members.iter().all(|member| {
                member.state == RunState::Up
                    && process(member).is_some_and(|pid| before.get(&member.member.0) != Some(&pid))
            });
            cluster.operation.is_none() && renewed && routers_know(status)
        };
        self.wait_for("every member has been restarted", is_done).await?;
        findings.detect_ms.insert("restart", elapsed_ms(started));
        self.settle(load).await
    }

    /// Counts requests that belong to no session. The first cycles end what the old weights began.
    async fn distribution(&self, findings: &mut Findings) -> Result<(), CheckError> {
        let cycle: u64 = self.plan.members.iter().map(|(_, weight)| u64::from(*weight) / 2).sum();
        for number in 0..(2 + CYCLES) * cycle {
            let name = self.ask_once().await.unwrap_or_else(|problem| format!("failed: {problem}"));
            if number >= 2 * cycle {
                *findings.distribution.entry(name).or_default() += 1;
            }
        }
        findings.distribution_expected = self
            .plan
            .members
            .iter()
            .map(|(name, weight)| (name.clone(), CYCLES * u64::from(*weight) / 2))
            .collect();
        Ok(())
    }

    async fn ask_once(&self) -> Result<String, String> {
        let mut stream = TcpStream::connect(self.router).await.map_err(|error| error.to_string())?;
        let request = b"GET /healthz HTTP/1.1\r\nHost: demo\r\nConnection: close\r\n\r\n";
        stream.write_all(request).await.map_err(|error| error.to_string())?;
        read_answer(&mut stream).await.map(|answer| answer.member)
    }

    fn victim(&self, number: usize) -> String {
        self.plan.members[number].0.clone()
    }

    async fn status(&self) -> Result<CellStatus, CheckError> {
        Ok(self.manager.ask(|reply| Request::Status { reply }).await?)
    }

    /// Nobody is out from here on, and the load has gone on for a while.
    async fn settle(&mut self, load: &Load) -> Result<(), CheckError> {
        self.wait_for("every router knows", routers_know).await?;
        let until = load.tally().requests + REQUESTS_BETWEEN;
        load.allow_out([]);
        let started = Instant::now();
        while load.tally().requests < until {
            if started.elapsed() > STEP_MAX {
                let seen = format!("{} requests so far", load.tally().requests);
                return Err(CheckError::TooSlow { what: "the load goes on".into(), seen });
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    async fn all_up(&mut self, what: &str) -> Result<(), CheckError> {
        let wanted = self.plan.members.len();
        let is_up = move |status: &CellStatus| {
            let members = &shop(status).members;
            members.len() == wanted
                && members.iter().all(|member| member.state == RunState::Up)
                && routers_know(status)
        };
        self.wait_for(what, is_up).await
    }

    async fn wait_out(&mut self, name: &str, what: &str) -> Result<(), CheckError> {
        self.wait_for(what, |status| member(status, name).state != RunState::Up && routers_know(status)).await
    }

    async fn wait_for(&mut self, what: &str, is_so: impl Fn(&CellStatus) -> bool) -> Result<(), CheckError> {
        let deadline = tokio::time::Instant::now() + STEP_MAX;
        loop {
            self.manager.changed.borrow_and_update();
            let status = self.status().await?;
            if is_so(&status) {
                return Ok(());
            }
            match tokio::time::timeout_at(deadline, self.manager.changed.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return Err(ManagerGone.into()),
                Err(_) => {
                    let told: Vec<String> = shop(&status).members.iter().map(told).collect();
                    return Err(CheckError::TooSlow { what: what.into(), seen: told.join(", ") });
                }
            }
        }
    }

    async fn processes(&self) -> Result<BTreeMap<String, u32>, CheckError> {
        let status = self.status().await?;
        let members = &shop(&status).members;
        Ok(members.iter().filter_map(|member| Some((member.member.0.clone(), process(member)?))).collect())
    }

    /// Gives the number of the member's process.
    async fn signal(&self, name: &str, signal: Signal) -> Result<u32, CheckError> {
        let process = self.processes().await?.get(name).copied();
        let number = process.and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        let (Some(process), Some(pid)) = (process, number) else {
            return Err(CheckError::NoProcess { member: name.into() });
        };
        let sent = kill_process(pid, signal);
        sent.map(|()| process).map_err(|source| CheckError::Signal { member: name.into(), source })
    }

    async fn act(&self, member: Option<&str>, act: Act) -> Result<(), CheckError> {
        let (cluster, member) = (ClusterName::from("shop"), member.map(MemberName::from));
        let asked =
            self.manager.ask(|reply| Request::Act { who: "demo".into(), cluster, member, act, reply });
        match asked.await? {
            Ok(_) => Ok(()),
            Err(error) => Err(CheckError::Refused { what: format!("{act:?}"), why: error.message }),
        }
    }

    async fn apply(&self) -> Result<(), CheckError> {
        let text = self.plan.configuration(&self.state_dir, &self.program);
        let asked = self.manager.ask(|reply| Request::Apply {
            who: "demo".into(),
            text,
            dry_run: false,
            back_to: None,
            only_after: None,
            reply,
        });
        match asked.await? {
            Ok(_) => Ok(()),
            Err(error) => Err(CheckError::Refused { what: "apply".into(), why: error.message }),
        }
    }
}

fn judge(findings: &mut Findings, posts_failed: u64, examples: &[String]) {
    let mut problems = Vec::new();
    if findings.failed > 0 {
        problems.push(format!("{} GETs failed", findings.failed));
    }
    if posts_failed > 0 {
        problems.push(format!("{posts_failed} POSTs failed other than by being refused"));
    }
    problems.extend(examples.iter().map(|example| format!("for example {example}")));
    if findings.distribution != findings.distribution_expected {
        problems.push("weights were not honoured exactly".into());
    }
    if findings.sessions_kept != findings.sessions {
        problems.push("conversations left members that were there".into());
    }
    findings.ok = problems.is_empty();
    findings.problems = problems;
}

fn shop(status: &CellStatus) -> &ClusterStatus {
    status
        .clusters
        .iter()
        .find(|cluster| cluster.cluster.0 == "shop")
        .expect("the demo's cluster is never removed")
}

fn member<'s>(status: &'s CellStatus, name: &str) -> &'s MemberStatus {
    let members = &shop(status).members;
    members.iter().find(|member| member.member.0 == name).expect("the demo's members are never removed")
}

fn process(member: &MemberStatus) -> Option<u32> {
    match member.process {
        Some(ProcessState::Running { pid } | ProcessState::Stopping { pid }) => Some(pid),
        Some(
            ProcessState::External | ProcessState::Stopped | ProcessState::BackingOff | ProcessState::GaveUp,
        )
        | None => None,
    }
}

/// Whether every router uses the newest view of every cluster.
fn routers_know(status: &CellStatus) -> bool {
    status.routers.iter().all(|router| {
        status.clusters.iter().all(|cluster| {
            router.applied.iter().any(|(name, epoch)| *name == cluster.cluster && *epoch >= cluster.epoch)
        })
    })
}

fn told(member: &MemberStatus) -> String {
    format!("{} is {} ({})", member.member, member.state, member.reason)
}

fn elapsed_ms(started: Instant) -> f64 {
    (started.elapsed().as_secs_f64() * 10_000.0).round() / 10.0
}

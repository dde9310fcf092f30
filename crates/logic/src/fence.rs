//! Switches nodes off for certain: which agent is called, what its answers prove, and whether it could if it had to.
//!
//! Promises:
//! - A node is proven to be off only by `status` after what was done, or instead of it: what an agent says of its own success
//!   counts for nothing.
//! - `status` comes first: a node that is off already, because somebody before us did it, is not switched off again.
//! - Of a node one agent is called at a time. The fences of a node are tried in the order of the configuration, each as often
//!   as it may, and from the beginning after a pause as long as somebody wants it.
//! - An agent that says that a node is off which is there is not believed when it says so again, before it has said better.
//! - Each fence is asked for each of its nodes from time to time whether it could work; that never waits for ever.
//!
//! The shell's part: each `Run` is answered by `Ended`, unless `Kill` came before. Not here: who has to be fenced (`group`),
//! processes, secrets.

mod work;

use crate::limits::{FENCE_AGAIN_MS, FENCE_CHECKS_AT_ONCE_MAX, FENCE_DOUBT_MS};
use crate::machine::Machine;
use crate::time::Time;
use std::collections::{BTreeMap, BTreeSet};
use wire::fence::{FenceSettings, FenceState, FenceStatus};
use wire::id::{FenceName, NodeName};
use wire::status::Severity;
use work::{Next, Work};

/// What an agent is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    Status,
    Off,
    On,
}

impl Call {
    /// As fence agents know it.
    pub fn word(self) -> &'static str {
        match self {
            Call::Status => "status",
            Call::Off => "off",
            Call::On => "on",
        }
    }
}

/// How a call ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// With this status, and these last words.
    Exited { status: i32, words: String },
    /// It was killed because it took too long.
    TimedOut,
    /// It was not started, or was killed; why.
    Failed(String),
}

/// What a call of `status` shows.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Shown {
    Off,
    On,
    /// Nothing; why.
    Nothing(String),
}

/// Exit status of an agent's `status` for a node that is off.
const STATUS_OFF: i32 = 2;

impl End {
    fn shown(&self) -> Shown {
        match self {
            End::Exited { status: 0, .. } => Shown::On,
            End::Exited { status: STATUS_OFF, .. } => Shown::Off,
            End::Exited { .. } | End::TimedOut | End::Failed(_) => Shown::Nothing(self.trouble()),
        }
    }

    /// What people read.
    fn trouble(&self) -> String {
        match self {
            End::Exited { status, words } if words.is_empty() => format!("ended with status {status}"),
            End::Exited { status, words } => format!("ended with status {status}: {words}"),
            End::TimedOut => "took too long and was killed".to_owned(),
            End::Failed(why) => why.clone(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    Configure(Vec<FenceSettings>),
    /// The node has to be off. `run` comes back in what is said about it.
    Fence {
        node: NodeName,
        run: u64,
    },
    /// It need not be any more.
    Spare {
        node: NodeName,
    },
    /// A person wants it off.
    Off {
        node: NodeName,
    },
    /// A person wants to know whether the fence could switch its nodes off.
    Test {
        fence: FenceName,
    },
    /// Whether the node's agent is connected.
    Here {
        node: NodeName,
        is_here: bool,
    },
    Ended {
        job: u64,
        end: End,
    },
    Tick,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Calls the agent, for as long as its settings say.
    Run {
        job: u64,
        fence: Box<FenceSettings>,
        node: NodeName,
        call: Call,
    },
    /// The call is not wanted any more.
    Kill {
        job: u64,
    },
    /// The node is proven to be off, or could not be switched off for now, and why.
    Fenced {
        node: NodeName,
        run: u64,
        result: Result<(), String>,
    },
    Event {
        severity: Severity,
        kind: &'static str,
        text: String,
    },
}

/// Whether a fence could work for a node.
#[derive(Debug, Clone, Default)]
struct Check {
    due: Time,
    job: Option<u64>,
    checked_at: Option<Time>,
    /// None: it was not asked yet.
    result: Option<Result<(), String>>,
    /// When it said first that the node is off, if it has said so ever since.
    off_since: Option<Time>,
    /// The node was there then.
    is_doubted: bool,
}

impl Check {
    /// Whether its answer is not believed, given all that it has said before.
    fn doubt(&mut self, now: Time, shown: &Shown, is_here: bool) -> bool {
        match shown {
            Shown::Off => {
                let since = *self.off_since.get_or_insert(now);
                // A link that was broken would have been found to be by now.
                self.is_doubted |= is_here && now.since_ms(since) >= FENCE_DOUBT_MS;
            }
            Shown::On => (self.off_since, self.is_doubted) = (None, false),
            Shown::Nothing(_) => {}
        }
        self.is_doubted
    }
}

/// All fences of a cell, as their leader uses them.
#[derive(Debug, Clone)]
pub struct Fences {
    settings: Vec<FenceSettings>,
    works: BTreeMap<NodeName, Work>,
    /// Nodes that have to be off and that no fence covers, each with its run.
    bare: BTreeMap<NodeName, u64>,
    checks: BTreeMap<(FenceName, NodeName), Check>,
    /// Nodes whose agents are connected.
    here: BTreeSet<NodeName>,
    jobs: u64,
    outputs: Vec<Output>,
}

impl Default for Fences {
    fn default() -> Self {
        Self::new()
    }
}

impl Fences {
    pub fn new() -> Self {
        Self {
            settings: Vec::new(),
            works: BTreeMap::new(),
            bare: BTreeMap::new(),
            checks: BTreeMap::new(),
            here: BTreeSet::new(),
            jobs: 0,
            outputs: Vec::new(),
        }
    }

    pub fn has(&self, fence: &FenceName) -> bool {
        self.settings.iter().any(|known| known.name == *fence)
    }

    /// Whether anything could switch the node off.
    pub fn covers(&self, node: &NodeName) -> bool {
        self.settings.iter().any(|fence| fence.nodes.contains(node))
    }

    pub fn status(&self, unix_ms: &dyn Fn(Time) -> u64) -> Vec<FenceStatus> {
        let pairs = self.settings.iter().flat_map(|fence| fence.nodes.iter().map(move |node| (fence, node)));
        pairs.map(|(fence, node)| self.status_of(&fence.name, node, unix_ms)).collect()
    }

    fn status_of(&self, fence: &FenceName, node: &NodeName, unix_ms: &dyn Fn(Time) -> u64) -> FenceStatus {
        let check = self.checks.get(&(fence.clone(), node.clone()));
        let result = check.and_then(|check| check.result.clone());
        let (state, reason) = match (self.works.get(node), result) {
            (Some(work), _) => (FenceState::Fencing, work.tell()),
            (None, None) => (FenceState::Unknown, "it was not asked yet".to_owned()),
            (None, Some(Ok(()))) => (FenceState::Ready, "it answers".to_owned()),
            (None, Some(Err(why))) => (FenceState::Failing, why),
        };
        let checked_ms = check.and_then(|check| check.checked_at).map(unix_ms);
        FenceStatus { fence: fence.clone(), node: node.clone(), state, checked_ms, reason }
    }

    fn of_node(&self, node: &NodeName) -> Vec<FenceSettings> {
        self.settings.iter().filter(|fence| fence.nodes.contains(node)).cloned().collect()
    }

    fn configure(&mut self, now: Time, settings: Vec<FenceSettings>) {
        let mut old = std::mem::take(&mut self.checks);
        for fence in &settings {
            let is_same = self.settings.iter().any(|known| known == fence);
            for node in &fence.nodes {
                let key = (fence.name.clone(), node.clone());
                // What was changed is asked at once.
                let fresh = Check { due: now, ..Check::default() };
                let check = old.remove(&key).map_or(fresh.clone(), |check| {
                    if is_same { check } else { Check { job: check.job, ..fresh } }
                });
                self.checks.insert(key, check);
            }
        }
        self.outputs.extend(old.into_values().filter_map(|check| check.job).map(|job| Output::Kill { job }));
        self.settings = settings;
        // A fence may have been added for those that had none.
        for (node, run) in std::mem::take(&mut self.bare) {
            self.begin(now, node, Some(run));
        }
    }

    fn job(&mut self) -> u64 {
        self.jobs += 1;
        self.jobs
    }

    /// For groups, under this number; None: for a person, who was told before what no fence can do.
    fn begin(&mut self, now: Time, node: NodeName, run: Option<u64>) {
        let fences = self.of_node(&node);
        if fences.is_empty() {
            if let Some(run) = run {
                let why = format!("no fence covers node {node}");
                self.bare.insert(node.clone(), run);
                self.outputs.push(Output::Fenced { node, run, result: Err(why) });
            }
            return;
        }
        if let Some(work) = self.works.get_mut(&node) {
            // What is under way proves nothing about what came after its first look.
            work.join(run);
            return;
        }
        let text = format!("node {node} is being fenced");
        self.outputs.push(Output::Event { severity: Severity::Warning, kind: "fencing", text });
        self.works.insert(node.clone(), Work::new(now, fences, run));
        self.go_on(now, &node);
    }

    /// Calls what comes next for the node, or ends its work.
    fn go_on(&mut self, now: Time, node: &NodeName) {
        let Some(work) = self.works.get_mut(node) else { return };
        match work.next(now) {
            Next::Wait => {}
            Next::Call { fence, call } => {
                self.jobs += 1;
                work.job = Some(self.jobs);
                self.outputs.push(Output::Run { job: self.jobs, fence, node: node.clone(), call });
            }
            Next::Proven => {
                let run = work.take_run();
                let text = format!("node {node} is off, as {} shows", work.fence());
                self.outputs.push(Output::Event { severity: Severity::Warning, kind: "fenced", text });
                self.outputs.extend(run.map(|run| Output::Fenced {
                    node: node.clone(),
                    run,
                    result: Ok(()),
                }));
                match work.wants_on() {
                    true => self.go_on(now, node),
                    false => drop(self.works.remove(node)),
                }
            }
            Next::GivenUp { why } => {
                work.leave_persons();
                let run = work.run();
                let text = format!("node {node} could not be fenced: {why}");
                self.outputs.push(Output::Event { severity: Severity::Error, kind: "fence-failed", text });
                match run {
                    Some(run) => {
                        work.begin_again(now + FENCE_AGAIN_MS);
                        self.outputs.push(Output::Fenced { node: node.clone(), run, result: Err(why) });
                    }
                    None => drop(self.works.remove(node)),
                }
            }
            Next::Woken { trouble } => {
                if let Some(why) = trouble {
                    let text = format!("node {node} was fenced, and could not be switched on again: {why}");
                    self.outputs.push(Output::Event {
                        severity: Severity::Error,
                        kind: "fence-failed",
                        text,
                    });
                }
                self.works.remove(node);
            }
        }
    }

    fn spare(&mut self, node: &NodeName) {
        self.bare.remove(node);
        let Some(work) = self.works.get_mut(node) else { return };
        if !work.spare() {
            return;
        }
        if let Some(job) = work.job {
            self.outputs.push(Output::Kill { job });
        }
        self.works.remove(node);
        let text = format!("node {node} need not be fenced any more");
        self.outputs.push(Output::Event { severity: Severity::Info, kind: "fence-spared", text });
    }

    fn on_ended(&mut self, now: Time, job: u64, end: End) {
        let work = self.works.iter_mut().find(|(_, work)| work.job == Some(job));
        if let Some((node, work)) = work {
            let node = node.clone();
            let check = self.checks.get_mut(&(work.fence_name().clone(), node.clone()));
            // Its word about what it did itself is not an answer.
            let asked = check.filter(|_| work.is_asking());
            let is_doubted =
                asked.is_some_and(|check| check.doubt(now, &end.shown(), self.here.contains(&node)));
            work.ended(&end, is_doubted);
            return self.go_on(now, &node);
        }
        let check = self.checks.iter().find(|(_, check)| check.job == Some(job));
        let Some(key) = check.map(|(key, _)| key.clone()) else { return };
        self.checked(now, &key, &end);
    }

    fn checked(&mut self, now: Time, key: &(FenceName, NodeName), end: &End) {
        let (fence, node) = key;
        let interval_ms =
            self.settings.iter().find(|known| known.name == *fence).map_or(0, |it| it.check_interval_ms);
        let Some(check) = self.checks.get_mut(key) else { return };
        let is_here = self.here.contains(node);
        check.doubt(now, &end.shown(), is_here);
        let result = match end.shown() {
            Shown::Off if is_here => {
                // For whoever is lost a moment later, see `note_here`.
                check.is_doubted = true;
                Err("says that it is off, and it is there".to_owned())
            }
            Shown::Off | Shown::On => Ok(()),
            Shown::Nothing(why) => Err(why),
        };
        (check.job, check.due, check.checked_at) = (None, now + interval_ms, Some(now));
        let was_failing = matches!(check.result, Some(Err(_)));
        check.result = Some(result.clone());
        match &result {
            Ok(()) if was_failing => {
                let text = format!("fence {fence} could switch node {node} off again");
                self.outputs.push(Output::Event { severity: Severity::Info, kind: "fence-ready", text });
            }
            Err(why) if !was_failing => {
                let text = format!("fence {fence} could not switch node {node} off: its agent {why}");
                self.outputs.push(Output::Event { severity: Severity::Error, kind: "fence-failing", text });
            }
            Ok(()) | Err(_) => {}
        }
    }

    fn test(&mut self, now: Time, fence: &FenceName) {
        let checks = self.checks.iter_mut().filter(|(key, _)| key.0 == *fence);
        checks.for_each(|(_, check)| check.due = now);
    }

    fn note_here(&mut self, now: Time, node: NodeName, is_here: bool) {
        for (_, check) in self.checks.iter_mut().filter(|(key, _)| key.1 == node) {
            let Some(since) = check.off_since else { continue };
            if is_here {
                // It should say something else by now.
                check.due = now;
            } else if now.since_ms(since) < FENCE_DOUBT_MS {
                // It had been switched off, and nobody had noticed that yet.
                check.is_doubted = false;
            }
        }
        if is_here {
            self.here.insert(node);
        } else {
            self.here.remove(&node);
        }
    }

    /// Asks fences whose turn it is, a few at a time, and none of a node that is being fenced.
    fn begin_checks(&mut self, now: Time) {
        let running = self.checks.values().filter(|check| check.job.is_some()).count();
        let is_due = |(key, check): &(&(FenceName, NodeName), &Check)| {
            check.job.is_none() && check.due <= now && !self.works.contains_key(&key.1)
        };
        let due: Vec<_> = self.checks.iter().filter(is_due).map(|(key, _)| key.clone()).collect();
        for key in due.into_iter().take(FENCE_CHECKS_AT_ONCE_MAX.saturating_sub(running)) {
            let Some(fence) = self.settings.iter().find(|known| known.name == key.0) else { continue };
            let fence = Box::new(fence.clone());
            let job = self.job();
            let node = key.1.clone();
            self.checks.get_mut(&key).expect("it was just there").job = Some(job);
            self.outputs.push(Output::Run { job, fence, node, call: Call::Status });
        }
    }
}

impl Machine for Fences {
    type Input = Input;
    type Output = Output;

    fn step(&mut self, now: Time, input: Input) -> Vec<Output> {
        match input {
            Input::Configure(settings) => self.configure(now, settings),
            Input::Fence { node, run } => self.begin(now, node, Some(run)),
            Input::Spare { node } => self.spare(&node),
            Input::Off { node } => self.begin(now, node, None),
            Input::Test { fence } => self.test(now, &fence),
            Input::Here { node, is_here } => self.note_here(now, node, is_here),
            Input::Ended { job, end } => self.on_ended(now, job, end),
            Input::Tick => {
                let waiting =
                    self.works.iter().filter(|(_, work)| work.wakes_at().is_some_and(|at| at <= now));
                let waiting: Vec<NodeName> = waiting.map(|(node, _)| node.clone()).collect();
                waiting.iter().for_each(|node| self.go_on(now, node));
            }
        }
        self.begin_checks(now);
        std::mem::take(&mut self.outputs)
    }

    fn tick() -> Input {
        Input::Tick
    }

    fn wake_at(&self) -> Option<Time> {
        let works = self.works.values().filter_map(Work::wakes_at);
        let running = self.checks.values().filter(|check| check.job.is_some()).count();
        let is_free = running < FENCE_CHECKS_AT_ONCE_MAX;
        let idle =
            self.checks.iter().filter(|(key, check)| check.job.is_none() && !self.works.contains_key(&key.1));
        let checks = idle.filter(|_| is_free).map(|(_, check)| check.due);
        works.chain(checks).min()
    }

    fn check(&self) {
        assert!(self.outputs.is_empty(), "outputs are left over");
        for (node, work) in &self.works {
            assert!(work.is_alive(), "the work on node {node} waits for nothing");
        }
    }
}

#[cfg(test)]
mod tests;

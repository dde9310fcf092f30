//! A manager's side: notices silence, asks others, and says what it knows in batches.
//!
//! Every manager hears every node and answers questions; only the leader asks, judges and says verdicts. It asks other
//! managers, and has other nodes ask the silent one (see `Carriers` and `Courier`). Promises:
//! - A verdict against a node needs its silence here, and most managers' silence or the lack of anyone who hears it.
//! - What falls together is said together: a failed rack is one batch.
//! - Only who leads grants leases, and `Output::TakeOver` comes after all grants have run out, those of earlier leaders too.
//! - A manager that was not running, or hears nobody, believes itself to be the one that is ill.
//!
//! The shell reads all that lies in the socket before it calls `step`, so that no heartbeat waits behind a look.

mod asking;
mod leases;
mod searches;

use super::case::{Case, Signs, missing_ms};
use super::message::{Alarm, Doubted, Glance, Heard, Input, Output, Reach, Restart, Settings, Verdict};
use crate::lease::Profile;
use crate::limits::{
    ASK_AFTER_BEATS, CUT_HOLD_MAX_MS, HEARTBEAT_INTERVAL_MAX_MS, HEARTBEAT_INTERVAL_MIN_MS,
    HEARTBEAT_INTERVAL_MS, HEARTBEATS_PER_SECOND_MAX, MANAGERS_MAX, MASS_SILENCE_PERCENT,
    MASS_SILENCE_WINDOW_MS, NODE_NUMBERS_MAX, RELAPSE_WINDOW_MS, RELAPSES_COUNTED_MAX, RELIEF_INTERVAL_MS,
    RELIEF_LEVEL_MAX, SWEEP_INTERVAL_MS, SWEEP_LAG_MAX_MS, UNREACHABLE_AFTER_BEATS,
};
use crate::machine::Machine;
use crate::time::Time;
use std::collections::{BTreeMap, BTreeSet};
use wire::heartbeat::{Datagram, Kind};
use wire::id::{NodeNumber, TermNumber};

/// What is known of one node; touched by every heartbeat.
#[derive(Debug, Clone, Copy, Default)]
struct Facts {
    last_heard: Time,
    granted_at: Time,
    incarnation: u64,
    sequence: u64,
    boot: u64,
    /// When it last came back.
    returned_at: Time,
    interval_ms: u16,
    relapses: u8,
    is_member: bool,
    was_heard: bool,
    is_deaf: bool,
    is_withheld: bool,
    has_case: bool,
    /// Started again, and nobody was told.
    restarted: Option<bool>,
}

#[derive(Debug, Clone)]
pub struct Detector {
    settings: Settings,
    facts: Vec<Facts>,
    /// When each node must be looked at, if nothing is heard of it; `NEVER` if not. Apart from the facts, because all of
    /// it is read forty times a second.
    due_at: Vec<u64>,
    members: usize,
    restarts: Vec<NodeNumber>,
    /// Nodes that are not simply there. Only a leader has some.
    cases: BTreeMap<NodeNumber, Case>,
    withheld: BTreeSet<NodeNumber>,
    /// The node of this manager's own machine.
    own: Option<NodeNumber>,
    is_leader: bool,
    started_at: Time,
    /// Silence counts from here: this manager was not listening before.
    listening_since: Time,
    /// Nothing is taken over before.
    distrust_until: Time,
    /// From then on what others than this manager have granted has run out.
    earlier_over_at: Time,
    cut_since: Option<Time>,
    hears_nobody: bool,
    sweep_at: Time,
    relief_level: u32,
    relief_at: Time,
}

const NEVER: u64 = u64::MAX;
/// Entries of `due_at` that are compared at once.
const SWEEP_CHUNK: usize = 64;

impl Detector {
    pub fn new(settings: Settings, now: Time) -> Self {
        let count = settings.managers.len();
        assert!((1..=MANAGERS_MAX).contains(&count), "a cell has 1 to {MANAGERS_MAX} managers, not {count}");
        assert!(settings.managers.contains(&settings.me), "{} is not among its managers", settings.me);
        let distrust_until = now + settings.lease.wait_ms;
        let mut detector = Self {
            settings,
            facts: Vec::new(),
            due_at: Vec::new(),
            members: 0,
            restarts: Vec::new(),
            cases: BTreeMap::new(),
            withheld: BTreeSet::new(),
            own: None,
            is_leader: false,
            started_at: now,
            listening_since: now,
            distrust_until,
            earlier_over_at: now,
            cut_since: None,
            hears_nobody: false,
            sweep_at: now + SWEEP_INTERVAL_MS,
            relief_level: 0,
            relief_at: now,
        };
        detector.earlier_over_at = now + detector.earlier_wait_ms();
        detector
    }

    /// Those before this one went by another profile: what they have granted may last as long as that says.
    pub fn follow_on(&mut self, earlier: Profile, now: Time) {
        self.earlier_over_at = self.earlier_over_at.max(now + earlier.across_leaders().wait_ms);
    }

    /// Takes a heartbeat that `admit` let through. `at`: when it arrived. `may_grant`: this manager leads, and its own lease
    /// holds at that time or later.
    pub fn hear(&mut self, at: Time, beat: &Datagram, may_grant: bool) -> Heard {
        let index = beat.node.0 as usize;
        let Some(facts) = self.facts.get_mut(index).filter(|facts| facts.is_member) else {
            return Heard::Unknown;
        };
        if beat.run != self.settings.run {
            return Heard::Unproven;
        }
        if (beat.incarnation, beat.sequence) <= (facts.incarnation, facts.sequence) {
            return Heard::Old;
        }
        let Kind::Heartbeat { is_deaf } = beat.kind else { return Heard::Old };
        if beat.incarnation != facts.incarnation {
            if facts.was_heard {
                if facts.restarted.is_none() {
                    self.restarts.push(beat.node);
                }
                let was_reboot = facts.restarted.unwrap_or(false);
                facts.restarted = Some(was_reboot || beat.boot != facts.boot);
            }
            facts.was_heard = true;
            facts.incarnation = beat.incarnation;
            facts.boot = beat.boot;
        }
        facts.sequence = beat.sequence;
        facts.last_heard = facts.last_heard.max(at);
        facts.interval_ms = beat.interval_ms.clamp(HEARTBEAT_INTERVAL_MIN_MS, HEARTBEAT_INTERVAL_MAX_MS);
        facts.is_deaf = is_deaf;
        let due_ms = if is_deaf { 0 } else { missing_ms(ASK_AFTER_BEATS, facts.interval_ms) };
        self.due_at[index] = (facts.last_heard + due_ms).0;
        // What does not hear this manager would not hear the grant either, and nobody could tell when its last one runs out. One
        // that hears it again says so with its next heartbeat.
        let is_granted = may_grant && !facts.is_withheld && !is_deaf;
        if is_granted {
            facts.granted_at = facts.granted_at.max(at);
        }
        Heard::Fresh { is_granted }
    }

    /// The answer to a heartbeat that was fresh, or unproven.
    pub fn answer(&self, beat: &Datagram, is_granted: bool, term: TermNumber, epochs: u64) -> Datagram {
        let grant = is_granted.then(|| self.grant());
        let (kind, interval_ms, run) = (Kind::Answer { grant }, self.interval_ms(), self.settings.run);
        Datagram { kind, interval_ms, term, epochs, run, ..*beat }
    }

    /// The pause between heartbeats that this manager can bear. Never longer than a quarter of what the lease allows.
    pub fn interval_ms(&self) -> u16 {
        let by_count = (self.members as u64 * 1_000).div_ceil(HEARTBEATS_PER_SECOND_MAX);
        let wanted = by_count.max(u64::from(HEARTBEAT_INTERVAL_MS)) << self.relief_level;
        let longest = (self.settings.lease.hold_ms / 4).min(u64::from(HEARTBEAT_INTERVAL_MAX_MS));
        wanted.min(longest) as u16
    }

    /// What is known of a node, for people; None for one that is none of ours.
    pub fn glance(&self, now: Time, node: NodeNumber) -> Option<Glance> {
        let facts = self.facts.get(node.0 as usize).filter(|facts| facts.is_member)?;
        Some(Glance {
            silence_ms: facts.was_heard.then(|| now.since_ms(facts.last_heard)),
            interval_ms: facts.interval_ms,
            is_granted: facts.was_heard && now < self.runs_out_at(facts.granted_at),
            is_withheld: facts.is_withheld,
        })
    }

    fn silence_ms(&self, now: Time, facts: &Facts) -> u64 {
        now.since_ms(facts.last_heard.max(self.listening_since))
    }

    fn signs(&self, now: Time, node: NodeNumber) -> Signs {
        let facts = &self.facts[node.0 as usize];
        Signs {
            silence_ms: self.silence_ms(now, facts),
            interval_ms: facts.interval_ms,
            // Who was not running has answered nobody: that they heard nothing says nothing about them.
            is_deaf: facts.is_deaf
                && now.since_ms(self.listening_since)
                    >= missing_ms(UNREACHABLE_AFTER_BEATS, facts.interval_ms),
            is_heard: facts.last_heard > self.listening_since,
            managers: self.settings.managers.len(),
            relapses: facts.relapses,
        }
    }

    fn set_nodes(&mut self, now: Time, nodes: &[NodeNumber]) {
        let is_fit = |node: &&NodeNumber| (node.0 as usize) < NODE_NUMBERS_MAX;
        let wanted: BTreeSet<NodeNumber> = nodes.iter().filter(is_fit).copied().collect();
        let length = wanted.last().map_or(0, |node| node.0 as usize + 1).max(self.facts.len());
        self.facts.resize(length, Facts::default());
        self.due_at.resize(length, NEVER);
        for index in 0..length {
            let node = NodeNumber(index as u32);
            match (wanted.contains(&node), self.facts[index].is_member) {
                (true, false) => {
                    let interval_ms = HEARTBEAT_INTERVAL_MS;
                    // As if it had been heard and granted something right now: it has one lease to be heard.
                    let (last_heard, granted_at) = (now, now);
                    self.facts[index] =
                        Facts { is_member: true, interval_ms, last_heard, granted_at, ..Facts::default() };
                    self.due_at[index] = (now + missing_ms(ASK_AFTER_BEATS, interval_ms)).0;
                }
                (false, true) => {
                    self.facts[index].is_member = false;
                    self.due_at[index] = NEVER;
                    self.cases.remove(&node);
                    self.withheld.remove(&node);
                }
                (true, true) | (false, false) => {}
            }
        }
        self.members = wanted.len();
        self.restarts.retain(|node| wanted.contains(node));
        self.restarts.reserve(self.members);
    }

    fn lead(&mut self, now: Time, away: Vec<Doubted>, taken: &[NodeNumber]) {
        self.is_leader = true;
        self.open_all();
        for Doubted { node, reach, is_mass } in away {
            if self.is_member(node) && reach != Reach::Reachable {
                let mut case = Case::new(reach);
                // It fell before this manager led.
                case.fell_at = (!reach.may_hold_lease()).then_some(Time(0));
                case.is_mass = is_mass && !reach.may_hold_lease();
                self.facts[node.0 as usize].has_case = true;
                self.cases.insert(node, case);
            }
        }
        self.withhold_only(now, taken);
        self.distrust_until = self.distrust_until.max(self.started_at + self.settings.lease.wait_ms).max(now);
    }

    /// Every node is looked at again unless it is heard.
    fn open_all(&mut self) {
        for index in 0..self.facts.len() {
            if self.facts[index].is_member {
                self.arm(index);
            }
        }
    }

    /// The node is looked at once it has been silent for as long as others are asked about.
    fn arm(&mut self, index: usize) {
        let facts = &self.facts[index];
        let heard = facts.last_heard.max(self.listening_since);
        self.due_at[index] = (heard + missing_ms(ASK_AFTER_BEATS, facts.interval_ms)).0;
    }

    fn is_member(&self, node: NodeNumber) -> bool {
        self.facts.get(node.0 as usize).is_some_and(|facts| facts.is_member)
    }

    fn follow(&mut self) {
        self.is_leader = false;
        self.facts.iter_mut().for_each(|facts| facts.has_case = false);
        self.cases.clear();
        self.cut_since = None;
        self.hears_nobody = false;
    }

    fn lagged(&mut self, now: Time, lag_ms: u64, outputs: &mut Vec<Output>) {
        if now >= self.distrust_until {
            outputs.push(Output::Alarm(Alarm::Lagged { lag_ms }));
        }
        self.doubt_myself(now);
    }

    /// This manager cannot bear as much as it is told.
    fn doubt_myself(&mut self, now: Time) {
        self.listen_anew(now);
        self.relieve(now);
    }

    /// What was not heard until now proves nothing.
    fn listen_anew(&mut self, now: Time) {
        self.listening_since = now;
        self.distrust_until = now + self.settings.lease.wait_ms;
        self.open_all();
    }

    fn relieve(&mut self, now: Time) {
        self.relief_level = (self.relief_level + 1).min(RELIEF_LEVEL_MAX);
        self.relief_at = now + RELIEF_INTERVAL_MS;
    }

    fn sweep(&mut self, now: Time, outputs: &mut Vec<Output>) {
        let lag_ms = now.since_ms(self.sweep_at);
        self.sweep_at = now + SWEEP_INTERVAL_MS;
        if lag_ms > SWEEP_LAG_MAX_MS {
            self.lagged(now, lag_ms, outputs);
        }
        if self.relief_level > 0 && now >= self.relief_at {
            self.relief_level -= 1;
            self.relief_at = now + RELIEF_INTERVAL_MS;
        }
        self.tell_restarts(outputs);
        if self.is_leader {
            self.open_due(now);
            self.look(now, outputs);
            self.ask(now, outputs);
            self.search(now, outputs);
            self.take_over(now, outputs);
        }
    }

    fn tell_restarts(&mut self, outputs: &mut Vec<Output>) {
        for node in self.restarts.drain(..) {
            let facts = &mut self.facts[node.0 as usize];
            if let Some(is_reboot) = facts.restarted.take() {
                let incarnation = facts.incarnation;
                outputs.push(Output::Restarted(Restart { node, incarnation, is_reboot }));
            }
        }
    }

    /// Opens a case for each node whose time is over.
    fn open_due(&mut self, now: Time) {
        for (chunk, dues) in self.due_at.chunks_mut(SWEEP_CHUNK).enumerate() {
            if dues.iter().fold(NEVER, |least, due| least.min(*due)) > now.0 {
                continue;
            }
            for (offset, due) in dues.iter_mut().enumerate().filter(|(_, due)| **due <= now.0) {
                *due = NEVER;
                let index = chunk * SWEEP_CHUNK + offset;
                let facts = &mut self.facts[index];
                if !facts.has_case {
                    facts.has_case = true;
                    self.cases.insert(NodeNumber(index as u32), Case::new(Reach::Reachable));
                }
            }
        }
    }

    /// Works out what is to be said, and says it if nothing more is about to follow.
    fn look(&mut self, now: Time, outputs: &mut Vec<Output>) {
        let mut cases = std::mem::take(&mut self.cases);
        let (mut silent, mut pending, mut news, mut falls) = (0, 0, 0, 0);
        cases.retain(|node, case| {
            let signs = self.signs(now, *node);
            case.look(now, &signs);
            let is_silent = signs.silence_ms >= missing_ms(UNREACHABLE_AFTER_BEATS, signs.interval_ms);
            silent += usize::from(is_silent && self.own != Some(*node));
            pending += usize::from(case.is_pending(&signs));
            news += usize::from(case.next.is_some());
            falls += usize::from(case.next.is_some_and(|next| next != Reach::Reachable));
            let is_closed = case.is_closed(&signs) && !self.withheld.contains(node);
            self.facts[node.0 as usize].has_case = !is_closed;
            if is_closed {
                // It may never speak again, which is what arms it otherwise.
                self.arm(node.0 as usize);
            }
            !is_closed
        });
        self.cases = cases;
        // With two nodes or more, silence all around says more about this manager than about them. Its own machine does not
        // count: it is heard over no network.
        let is_own_member = self.own.is_some_and(|own| self.is_member(own));
        let others = self.members - usize::from(is_own_member);
        let hears_nobody = silent == others && others > 1;
        if hears_nobody && !self.hears_nobody {
            outputs.push(Output::Alarm(Alarm::HearsNobody { nodes: others }));
        }
        if std::mem::replace(&mut self.hears_nobody, hears_nobody) && !hears_nobody {
            // The first is heard again; the others are about to be, and have not been away either.
            self.cut_since = None;
            return self.listen_anew(now);
        }
        if news == 0 || hears_nobody {
            self.cut_since = None;
            return;
        }
        let since = *self.cut_since.get_or_insert(now);
        if falls > 0 && pending > 0 && now.since_ms(since) < CUT_HOLD_MAX_MS {
            return;
        }
        self.cut_since = None;
        self.say(now, outputs);
    }

    fn say(&mut self, now: Time, outputs: &mut Vec<Output>) {
        let is_falling = |case: &&Case| {
            case.fell_at.is_some_and(|fell| fell.0 > 0 && now.since_ms(fell) <= MASS_SILENCE_WINDOW_MS)
        };
        let fallen = self.cases.values().filter(is_falling).count();
        let falls_now = self.cases.values().any(|case| case.next.is_some_and(|next| !next.may_hold_lease()));
        let is_mass = falls_now && fallen > (self.members * MASS_SILENCE_PERCENT / 100).max(1);
        if is_mass {
            outputs.push(Output::Alarm(Alarm::MassSilence { fallen, nodes: self.members }));
        }
        let mut verdicts = Vec::new();
        let mut cases = std::mem::take(&mut self.cases);
        for (node, case) in &mut cases {
            let joins = is_mass && !case.is_mass && is_falling(&&*case);
            case.is_mass |= joins;
            let news = case.next.take();
            if let Some(reach) = news {
                self.turn(now, *node, case, reach);
            }
            if news.is_some() || joins {
                let Case { said: reach, is_mass, .. } = *case;
                let heard_by = self.heard_by(now, *node, case, reach);
                let silence_ms = self.silence_ms(now, &self.facts[node.0 as usize]);
                verdicts.push(Verdict { node: *node, reach, silence_ms, heard_by, is_mass });
            }
        }
        self.cases = cases;
        outputs.push(Output::Verdicts(verdicts));
    }

    /// What is said of a node changes.
    fn turn(&mut self, now: Time, node: NodeNumber, case: &mut Case, reach: Reach) {
        let facts = &mut self.facts[node.0 as usize];
        let falls_again = reach == Reach::Unreachable && case.was_unreachable;
        if case.said == Reach::Reachable || falls_again {
            let is_relapse = facts.returned_at.0 > 0 && now.since_ms(facts.returned_at) < RELAPSE_WINDOW_MS;
            let relapses = if is_relapse { facts.relapses + 1 } else { 0 };
            facts.relapses = relapses.min(RELAPSES_COUNTED_MAX);
        }
        if case.said == Reach::Unreachable || reach == Reach::Reachable {
            facts.returned_at = now;
        }
        if reach.may_hold_lease() {
            (case.fell_at, case.is_mass) = (None, false);
        }
        case.was_unreachable |= reach == Reach::Unreachable;
        case.said = reach;
    }

    fn confirm(&mut self, node: NodeNumber) {
        if let Some(case) = self.cases.get_mut(&node).filter(|case| !case.said.may_hold_lease()) {
            case.is_mass = false;
            // A person has looked: who falls right afterwards does not make it one of too many again.
            case.fell_at = Some(Time(0));
        }
    }
}

impl Machine for Detector {
    type Input = Input;
    type Output = Output;

    fn step(&mut self, now: Time, input: Input) -> Vec<Output> {
        let mut outputs = Vec::new();
        match input {
            Input::Tick => {}
            Input::Nodes(nodes) => self.set_nodes(now, &nodes),
            Input::Own(node) => self.own = Some(node),
            Input::Lead { away, taken } => self.lead(now, away, &taken),
            Input::Follow => self.follow(),
            Input::Asked { by, asked_at, nodes } => {
                let opinions = self.on_asked(now, &nodes);
                outputs.push(Output::Tell { to: by, asked_at, opinions });
            }
            Input::Told { by, asked_at, opinions } => self.on_told(by, asked_at, &opinions),
            Input::Carried { by, reply } => self.on_carried(now, by, &reply),
            Input::Release { node } => self.release(node),
            Input::Confirm { node } => self.confirm(node),
            Input::Lagged { lag_ms } if lag_ms > SWEEP_LAG_MAX_MS => self.lagged(now, lag_ms, &mut outputs),
            Input::Lagged { .. } => {}
            Input::Dropped => self.doubt_myself(now),
        }
        if now >= self.sweep_at {
            self.sweep(now, &mut outputs);
        }
        outputs
    }

    fn tick() -> Input {
        Input::Tick
    }

    fn wake_at(&self) -> Option<Time> {
        Some(self.sweep_at)
    }

    fn check(&self) {
        assert!(self.is_leader || self.cases.is_empty(), "a follower has cases");
        assert!(self.restarts.len() <= self.members, "more nodes started again than there are");
        assert!(self.facts.len() <= NODE_NUMBERS_MAX, "{} numbers of nodes", self.facts.len());
        for (node, case) in &self.cases {
            let facts = &self.facts[node.0 as usize];
            assert!(facts.is_member && facts.has_case, "node {node} has a case and is none of ours");
            assert!(!case.is_taken || facts.is_withheld, "node {node} is taken over from and granted leases");
        }
        for node in &self.withheld {
            assert!(self.facts[node.0 as usize].is_withheld, "node {node} is withheld and not");
        }
    }
}

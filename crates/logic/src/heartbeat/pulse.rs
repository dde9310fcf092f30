//! A node's side: sends a heartbeat to every manager, and knows by their answers how long it may act.
//!
//! A grant counts from when the node *sent* the heartbeat that was answered: for R if the only manager gave it, and for as long
//! as another leader may take to be elected besides if the one of several that leads did (`Profile::across_leaders`). The
//! others grant nothing. An answer that is replayed or late grants what it granted before, no more.

use crate::lease::Profile;
use crate::limits::{
    HEARTBEAT_INTERVAL_MAX_MS, HEARTBEAT_INTERVAL_MIN_MS, HEARTBEAT_INTERVAL_MS, HEARTBEAT_SLACK_MS,
    HEARTBEATS_REMEMBERED_MAX, MANAGERS_MAX, REPLIES_PER_BEAT_MAX, UNREACHABLE_AFTER_BEATS,
};
use crate::machine::Machine;
use crate::time::Time;
use wire::heartbeat::{Datagram, Grant, Kind};
use wire::id::{CellNumber, ManagerNumber, NodeNumber, TermNumber};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PulseSettings {
    pub cell: CellNumber,
    pub node: NodeNumber,
    /// One to `MANAGERS_MAX`.
    pub managers: Vec<ManagerNumber>,
    pub lease: Profile,
    /// Higher than that of every earlier start of this node's agent: one more than the last on its disk, or the wall
    /// clock in milliseconds, whichever is more.
    pub incarnation: u64,
    /// Drawn anew when the machine starts.
    pub boot: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PulseInput {
    Tick,
    /// An answer that `admit` let through, or a question.
    Answer(Datagram),
    /// What this node has by now: the highest term and the digest of its epochs.
    Knows {
        term: TermNumber,
        epochs: u64,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PulseOutput {
    /// To the manager that it names.
    Send(Datagram),
    /// A manager has other epochs than this node, or knows a higher term: fetch.
    Behind { manager: ManagerNumber },
    /// To whoever has brought the question.
    Reply(Datagram),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Peer {
    manager: ManagerNumber,
    interval_ms: u16,
    answered_at: Option<Time>,
    /// The newest heartbeat that was answered.
    answered: u64,
    /// What it last said that it has.
    epochs: u64,
    /// Its run, as it last said.
    run: u64,
}

impl Peer {
    fn new(manager: ManagerNumber) -> Self {
        let interval_ms = HEARTBEAT_INTERVAL_MS;
        Self { manager, interval_ms, answered_at: None, answered: 0, epochs: 0, run: 0 }
    }
}

#[derive(Debug, Clone)]
pub struct Pulse {
    settings: PulseSettings,
    peers: Vec<Peer>,
    /// Until when the node may act, by whichever manager's word.
    granted_until: Option<Time>,
    sequence: u64,
    /// When the last heartbeats were sent; that with sequence s is at s modulo the length.
    sent: [Time; HEARTBEATS_REMEMBERED_MAX],
    next_at: Time,
    started_at: Time,
    /// Since the last heartbeat.
    replies: u32,
    term: TermNumber,
    epochs: u64,
}

impl Pulse {
    pub fn new(settings: PulseSettings, now: Time) -> Self {
        let count = settings.managers.len();
        assert!((1..=MANAGERS_MAX).contains(&count), "a cell has 1 to {MANAGERS_MAX} managers, not {count}");
        Self {
            peers: settings.managers.iter().map(|manager| Peer::new(*manager)).collect(),
            settings,
            granted_until: None,
            sequence: 0,
            sent: [Time(0); HEARTBEATS_REMEMBERED_MAX],
            next_at: now,
            started_at: now,
            replies: 0,
            term: TermNumber(0),
            epochs: 0,
        }
    }

    /// Other managers, or another place in the cell. What was granted stands, also by a manager that is none any more: whoever
    /// grants next has waited for it. With a shorter lease it lasts no longer than that. Sequences go on, so that no manager
    /// takes the next heartbeat for an old one.
    pub fn reconfigure(&mut self, settings: PulseSettings) {
        let count = settings.managers.len();
        assert!((1..=MANAGERS_MAX).contains(&count), "a cell has 1 to {MANAGERS_MAX} managers, not {count}");
        let is_same = settings.cell == self.settings.cell && settings.node == self.settings.node;
        let old = std::mem::take(&mut self.peers);
        let stays = |manager: &ManagerNumber| old.iter().find(|peer| is_same && peer.manager == *manager);
        let peer = |manager: &ManagerNumber| stays(manager).copied().unwrap_or_else(|| Peer::new(*manager));
        self.peers = settings.managers.iter().map(peer).collect();
        self.settings = settings;
        let longest = self.longest();
        self.granted_until = self.granted_until.filter(|_| is_same).map(|until| until.min(longest));
    }

    /// Nothing can be granted for longer by now.
    fn longest(&self) -> Time {
        let newest = self.sent[self.sequence as usize % HEARTBEATS_REMEMBERED_MAX];
        newest + self.settings.lease.across_leaders().hold_ms
    }

    /// The first moment at which this node may no longer act by its lease; None: it never might.
    pub fn lease_ends_at(&self) -> Option<Time> {
        self.granted_until
    }

    /// How long a node may act by a grant.
    fn hold_ms(&self, grant: Grant) -> Option<u64> {
        match grant {
            Grant::Leader => Some(self.settings.lease.across_leaders().hold_ms),
            Grant::Only if self.peers.len() == 1 => Some(self.settings.lease.hold_ms),
            // Of several, those that are older than this rule all grant, whoever leads.
            Grant::Only => None,
        }
    }

    /// Ask right before each act that only one node may do.
    pub fn may_act(&self, now: Time) -> bool {
        self.lease_ends_at().is_some_and(|end| now < end)
    }

    /// The slowest that any manager asked for.
    pub fn interval_ms(&self) -> u16 {
        self.peers.iter().map(|peer| peer.interval_ms).fold(HEARTBEAT_INTERVAL_MIN_MS, u16::max)
    }

    fn beat(&mut self, now: Time) -> Vec<PulseOutput> {
        self.sequence += 1;
        self.replies = 0;
        self.sent[self.sequence as usize % HEARTBEATS_REMEMBERED_MAX] = now;
        let interval_ms = self.interval_ms();
        self.next_at = now + u64::from(interval_ms);
        let silent_after_ms = UNREACHABLE_AFTER_BEATS * u64::from(interval_ms) + HEARTBEAT_SLACK_MS;
        let send = |peer: &Peer| {
            let heard_at = peer.answered_at.unwrap_or(self.started_at);
            PulseOutput::Send(Datagram {
                kind: Kind::Heartbeat { is_deaf: now.since_ms(heard_at) >= silent_after_ms },
                cell: self.settings.cell,
                node: self.settings.node,
                manager: peer.manager,
                interval_ms,
                incarnation: self.settings.incarnation,
                sequence: self.sequence,
                term: self.term,
                epochs: self.epochs,
                boot: self.settings.boot,
                run: peer.run,
            })
        };
        self.peers.iter().map(send).collect()
    }

    /// Says that this node is there, and nothing of what it may do: its lease is a matter of heartbeats alone. A question
    /// that somebody sends again costs a datagram of its own length, a bounded number of times.
    fn reply(&mut self, question: &Datagram) -> Vec<PulseOutput> {
        let is_ours = question.kind == Kind::Question
            && question.node == self.settings.node
            && self.settings.managers.contains(&question.manager);
        if !is_ours || self.replies >= REPLIES_PER_BEAT_MAX {
            return Vec::new();
        }
        self.replies += 1;
        vec![PulseOutput::Reply(Datagram {
            kind: Kind::Reply,
            interval_ms: self.interval_ms(),
            incarnation: self.settings.incarnation,
            term: self.term,
            epochs: self.epochs,
            boot: self.settings.boot,
            ..*question
        })]
    }

    fn on_answer(&mut self, now: Time, answer: &Datagram) -> Vec<PulseOutput> {
        let Kind::Answer { grant } = answer.kind else { return self.reply(answer) };
        let hold_ms = grant.and_then(|grant| self.hold_ms(grant));
        let oldest = self.sequence.saturating_sub(HEARTBEATS_REMEMBERED_MAX as u64 - 1).max(1);
        let is_ours = answer.incarnation == self.settings.incarnation
            && answer.node == self.settings.node
            && (oldest..=self.sequence).contains(&answer.sequence);
        let Some(peer) = self.peers.iter_mut().find(|peer| peer.manager == answer.manager) else {
            return Vec::new();
        };
        if !is_ours || answer.sequence <= peer.answered {
            return Vec::new();
        }
        peer.answered = answer.sequence;
        peer.run = answer.run;
        let sent_at = self.sent[answer.sequence as usize % HEARTBEATS_REMEMBERED_MAX];
        peer.answered_at = peer.answered_at.max(Some(now));
        peer.interval_ms = answer.interval_ms.clamp(HEARTBEAT_INTERVAL_MIN_MS, HEARTBEAT_INTERVAL_MAX_MS);
        if let Some(hold_ms) = hold_ms {
            self.granted_until = self.granted_until.max(Some(sent_at + hold_ms));
        }
        let is_news = answer.epochs != peer.epochs || answer.term > self.term;
        let is_behind = answer.epochs != self.epochs || answer.term > self.term;
        peer.epochs = answer.epochs;
        self.term = self.term.max(answer.term);
        if is_news && is_behind {
            return vec![PulseOutput::Behind { manager: answer.manager }];
        }
        Vec::new()
    }
}

impl Machine for Pulse {
    type Input = PulseInput;
    type Output = PulseOutput;

    fn step(&mut self, now: Time, input: PulseInput) -> Vec<PulseOutput> {
        match input {
            PulseInput::Tick if now >= self.next_at => self.beat(now),
            PulseInput::Tick => Vec::new(),
            PulseInput::Answer(answer) => self.on_answer(now, &answer),
            PulseInput::Knows { term, epochs } => {
                self.term = self.term.max(term);
                self.epochs = epochs;
                Vec::new()
            }
        }
    }

    fn tick() -> PulseInput {
        PulseInput::Tick
    }

    fn wake_at(&self) -> Option<Time> {
        Some(self.next_at)
    }

    fn check(&self) {
        let granted = self.granted_until;
        assert!(granted.is_none_or(|until| until <= self.longest()), "a grant of what was never sent");
        assert!(granted.is_none() || self.sequence > 0, "a grant without a heartbeat");
    }
}

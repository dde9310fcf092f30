//! A node as the cell knows it: its number, its agent's link and reports, and whether its machine can be reached.
//!
//! Two ways lead to a machine: heartbeats and the link of its agent. Members are left out when heartbeats have stopped; a
//! link alone that is gone changes nothing while heartbeats come. Where heartbeats alone do not get through (a firewall
//! that knows no UDP), the link vouches for the node: its agent has to speak, and to have heard the manager, since.
//! A degraded node, of which one direction is broken, is left out only when its link does not vouch for it in time.
//! Promise: a number is never given to another node, nor to another machine that takes a removed node's name.

use super::absence::Absence;
use super::cluster::Cluster;
use super::member::Member;
use super::record::word;
use super::{Cell, Output};
use crate::heartbeat::{Doubted, Reach, Restart, Verdict};
use crate::limits::{AGENT_END_MS, DEGRADED_WAIT_MS, NODES_NAMED_MAX, VOUCH_AFTER_MS};
use crate::run_state::Away;
use crate::time::Time;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use wire::agent::{Assignment, Report, Run};
use wire::id::{NodeName, NodeNumber};
use wire::status::Severity;

/// Under which the next free number lies.
const FLOOR_KEY: &str = "node-floor";

fn key(node: &NodeName) -> String {
    format!("node/{node}")
}

/// Takes the next free number out of what was remembered.
pub(super) fn take_floor(remembered: &mut BTreeMap<String, String>) -> u32 {
    remembered.remove(FLOOR_KEY).and_then(|value| value.parse().ok()).unwrap_or(0)
}

/// A node and where it stands in tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodePlace {
    pub node: NodeName,
    pub number: NodeNumber,
    /// Its heartbeats have been heard, by this manager or one before: their absence means something.
    pub beats: bool,
}

/// What survives a manager, as text: `number=3 beats=yes away=mass`. A manager that does not know `mass` yet takes such a node for
/// there until it misses it itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Record {
    number: NodeNumber,
    beats: bool,
    pub away: Absence,
}

impl Record {
    pub fn text(self) -> String {
        let beats = if self.beats { "yes" } else { "no" };
        format!("number={} beats={beats} away={}", self.number, self.away.word())
    }

    /// None for what nobody has written so; then the node gets a new number.
    pub fn parse(text: &str) -> Option<Self> {
        let number = NodeNumber(word(text, "number")?.parse().ok()?);
        let beats = word(text, "beats")? == "yes";
        // A manager of an earlier version wrote no more.
        let away = word(text, "away").map_or(Absence::No, Absence::named);
        Some(Self { number, beats, away })
    }
}

impl NodePlace {
    /// A place as a cell has it remembered, for managers that only listen; None: the key is another one, or nobody has
    /// written that.
    pub fn remembered(key: &str, value: &str) -> Option<Self> {
        let node = key.strip_prefix("node/")?.into();
        let Record { number, beats, .. } = Record::parse(value)?;
        Some(Self { node, number, beats })
    }
}

/// One node's agent and machine.
#[derive(Debug, Clone)]
pub(super) struct Agent {
    pub is_configured: bool,
    pub is_connected: bool,
    /// When it last spoke.
    pub heard: Option<Time>,
    /// Incarnation and sequence of its newest report.
    pub newest: Option<(u64, u64)>,
    /// The number with which it was told to go above another, and that one.
    overtaken: Option<(u64, u64)>,
    /// What it was told last on its present connection.
    pub assigned: Option<Vec<Assignment>>,
    pub record: Record,
    /// Where others reach the machine.
    address: Option<IpAddr>,
    /// Since when it is connected, or not.
    link_since: Time,
    /// As its heartbeats tell.
    pub reach: Reach,
    /// Who hears it where the leader does not.
    pub heard_by: Option<NodeName>,
    /// None: it has always been so.
    pub reach_since: Option<Time>,
    /// What its clock showed when it last said so, in Unix milliseconds.
    pub clock: Option<(Time, u64)>,
    /// Until when its certificate counts, which was not renewed. Unix milliseconds.
    pub certificate_until_ms: Option<u64>,
    /// Its link has worked both ways since its heartbeats stopped.
    is_vouched: bool,
    /// It is degraded, and was not vouched for in time.
    is_given_up: bool,
    /// Its link ended when its heartbeats did: the agent is gone, its machine is not.
    is_agent_end: bool,
    /// Its machine is no longer of the cell.
    is_removed: bool,
}

impl Agent {
    /// Since when it is connected, or not.
    pub fn link_since(&self) -> Time {
        self.link_since
    }

    fn new(record: Record) -> Self {
        Self {
            is_configured: false,
            is_connected: false,
            heard: None,
            newest: None,
            overtaken: None,
            assigned: None,
            record,
            address: None,
            link_since: Time(0),
            reach: record.away.reach(),
            heard_by: None,
            reach_since: None,
            clock: None,
            certificate_until_ms: None,
            is_vouched: false,
            is_given_up: false,
            is_agent_end: false,
            is_removed: false,
        }
    }

    /// Its name stands for another node from now on, while its link is up: what was said of the one before says nothing of it.
    fn named_anew(self, record: Record) -> Self {
        let reach = record.away.reach();
        let (heard_by, reach_since, is_given_up, is_agent_end) = (None, None, false, false);
        Self { record, reach, heard_by, reach_since, is_given_up, is_agent_end, ..self }
    }

    /// It fell together with too many others, and nobody has said that it is lost.
    pub fn is_mass(&self) -> bool {
        self.record.away == Absence::Mass
    }

    pub fn is_away(&self) -> bool {
        self.away().is_some()
    }

    fn away(&self) -> Option<Away> {
        let is_doubted = match self.reach {
            Reach::Reachable | Reach::Elsewhere | Reach::Nearby => false,
            Reach::Degraded => self.is_given_up,
            Reach::Unreachable => true,
        };
        match is_doubted && !(self.is_connected && self.is_vouched) {
            _ if self.is_removed => Some(Away::Removed),
            true => Some(Away::Silent),
            false => None,
        }
    }

    /// What its heartbeats tell; None while none have ever come.
    pub fn reach(&self) -> Option<Reach> {
        self.record.beats.then_some(self.reach)
    }

    /// When nobody waits any longer for its link to vouch for it.
    pub fn given_up_at(&self) -> Option<Time> {
        let is_waited_for = self.reach == Reach::Degraded && !self.is_given_up && !self.is_vouched;
        self.reach_since.filter(|_| is_waited_for).map(|since| since + DEGRADED_WAIT_MS)
    }

    /// Why the member is gone with the machine, as far as anybody can tell. One that the agent only probes may run
    /// anywhere, and outlives an agent.
    fn takes_along(&self, member: &Member) -> Option<Away> {
        self.away().filter(|_| match &member.settings.run {
            Run::Managed(_) => true,
            Run::External { address } => self.address == Some(address.ip()) && !self.is_agent_end,
        })
    }
}

/// Nodes by what is news of them.
#[derive(Debug, Default)]
struct Said {
    there: Vec<NodeName>,
    degraded: Vec<NodeName>,
    away: Vec<NodeName>,
    elsewhere: Vec<NodeName>,
    nearby: Vec<NodeName>,
}

impl Cell {
    /// The nodes of the configuration that have a place.
    pub fn nodes(&self) -> impl Iterator<Item = NodePlace> {
        let configured = self.agents.iter().filter(|(_, agent)| agent.is_configured);
        configured.map(|(node, agent)| {
            let Record { number, beats, .. } = agent.record;
            NodePlace { node: node.clone(), number, beats }
        })
    }

    pub fn number_of(&self, node: &NodeName) -> Option<NodeNumber> {
        Some(self.agents.get(node)?.record.number)
    }

    pub fn node_of(&self, number: NodeNumber) -> Option<&NodeName> {
        self.numbered.get(&number)
    }

    /// Those of them that cannot simply be reached, as was last said.
    pub fn away(&self) -> impl Iterator<Item = Doubted> {
        let configured = self.agents.values().filter(|agent| agent.is_configured);
        let doubted = configured.filter(|agent| agent.reach != Reach::Reachable);
        let tell = |agent: &Agent| Doubted {
            node: agent.record.number,
            reach: agent.reach,
            is_mass: agent.is_mass(),
        };
        doubted.map(tell)
    }

    pub(super) fn configure_agents(&mut self, nodes: &[NodeName], mut addresses: BTreeMap<NodeName, IpAddr>) {
        let mut old = std::mem::take(&mut self.agents);
        for node in nodes {
            let mut agent = match old.remove(node) {
                Some(agent) if agent.is_configured => agent,
                Some(agent) => agent.named_anew(self.new_record(node)),
                None => Agent::new(self.new_record(node)),
            };
            agent.is_configured = true;
            agent.address = addresses.remove(node);
            self.agents.insert(node.clone(), agent);
        }
        for (node, agent) in old {
            self.agents.insert(node, Agent { is_configured: false, ..agent });
        }
        let configured = self.agents.iter().filter(|(_, agent)| agent.is_configured);
        self.numbered = configured.map(|(node, agent)| (agent.record.number, node.clone())).collect();
        let gone = self.agents.iter().filter(|(_, agent)| !agent.is_configured);
        let gone: Vec<(NodeName, bool)> =
            gone.map(|(node, agent)| (node.clone(), agent.is_connected)).collect();
        for (node, is_connected) in gone {
            self.outputs.push(Output::Remember { key: key(&node), value: None });
            if !is_connected {
                self.agents.remove(&node);
            }
        }
    }

    /// Nobody hears heartbeats: what they told earlier managers is not true for ever.
    pub(super) fn forget_reach(&mut self) {
        let agents = self.agents.values_mut();
        agents.for_each(|agent| (agent.reach, agent.record.away) = (Reach::Reachable, Absence::No));
    }

    fn new_record(&mut self, node: &NodeName) -> Record {
        let found = self.remembered.remove(&key(node));
        if let Some(record) = found.as_deref().and_then(Record::parse) {
            self.node_floor = self.node_floor.max(record.number.0 + 1);
            return record;
        }
        let record = Record { number: NodeNumber(self.node_floor), beats: false, away: Absence::No };
        self.node_floor += 1;
        let floor = self.node_floor.to_string();
        self.outputs.push(Output::Remember { key: FLOOR_KEY.to_owned(), value: Some(floor) });
        self.remember_node(node, record);
        record
    }

    pub(super) fn remember_node(&mut self, node: &NodeName, record: Record) {
        self.outputs.push(Output::Remember { key: key(node), value: Some(record.text()) });
    }

    pub(super) fn on_agent_connected(&mut self, now: Time, node: NodeName) {
        let Some(agent) = self.agents.get_mut(&node) else { return };
        agent.is_connected = true;
        agent.is_removed = false;
        agent.is_vouched = false;
        agent.overtaken = None;
        agent.link_since = now;
        agent.heard = Some(now);
        // Told anew on each connection: what was sent on the last one may not have arrived.
        agent.assigned = None;
        self.mark_node(&node);
        self.tell_monitors_anew(&node);
        self.event(Severity::Info, "node-connected", format!("the agent of node {node} is connected"));
    }

    pub(super) fn on_agent_lost(&mut self, now: Time, node: NodeName) {
        let Some(agent) = self.agents.get_mut(&node) else { return };
        agent.is_connected = false;
        agent.assigned = None;
        agent.link_since = now;
        let (is_configured, is_away) = (agent.is_configured, agent.is_away());
        if !is_configured {
            self.agents.remove(&node);
            return;
        }
        self.mark_node(&node);
        let then = if is_away { "" } else { "; its members keep their last state" };
        let text = format!("the agent of node {node} is not connected{then}");
        self.event(Severity::Warning, "node-lost", text);
    }

    pub(super) fn on_agent_report(&mut self, now: Time, report: Report) {
        let Some(agent) = self.agents.get_mut(&report.node) else { return };
        let this = (report.incarnation, report.sequence);
        if agent.newest.is_some_and(|newest| this <= newest) {
            self.on_overtaken(&report);
            return;
        }
        agent.newest = Some(this);
        agent.heard = Some(now);
        agent.clock = report.clock_ms.map(|clock_ms| (now, clock_ms)).or(agent.clock);
        let overdue = report.certificate_until_ms.filter(|_| agent.certificate_until_ms.is_none());
        agent.certificate_until_ms = report.certificate_until_ms;
        let doubted_since = agent.link_since.max(agent.reach_since.unwrap_or_default());
        let has_heard_us = report.manager_heard_ms.is_some_and(|ago_ms| doubted_since + ago_ms < now);
        let was_away = agent.is_away();
        agent.is_vouched |= agent.is_connected && has_heard_us && now >= doubted_since + VOUCH_AFTER_MS;
        let is_back = was_away && !agent.is_away();
        let mut by_id: BTreeMap<_, _> =
            report.members.into_iter().map(|member| (member.id.clone(), member)).collect();
        for cluster in &mut self.clusters {
            let taken = cluster.take_reports(&report.node, &mut by_id);
            cluster.is_dirty |= taken.is_new;
            if taken.is_ahead {
                self.unassigned.insert(report.node.clone());
            }
        }
        if let Some(until_ms) = overdue {
            let text = certificate_text(&report.node, until_ms, report.clock_ms.unwrap_or(until_ms));
            self.event(Severity::Warning, "node-certificate", text);
        }
        if is_back {
            self.mark_node(&report.node);
            let text = format!(
                "heartbeats of node {} do not get through, but its agent speaks: its members are used. A firewall may \
                 keep UDP from the manager",
                report.node
            );
            self.event(Severity::Warning, "node-vouched", text);
        }
    }

    /// Of an agent whose number only rises, one with a lower number is another machine with a copy of its state directory,
    /// or was put back to one. Nothing of it would count ever again: it has to go above the other.
    fn on_overtaken(&mut self, report: &Report) {
        let Some(agent) = self.agents.get_mut(&report.node).filter(|agent| agent.is_connected) else {
            return;
        };
        let Some((newest, _)) = agent.newest.filter(|(newest, _)| *newest > report.incarnation) else {
            return;
        };
        // Reports follow each other; the answer to the first is under way.
        if agent.overtaken == Some((report.incarnation, newest)) {
            return;
        }
        agent.overtaken = Some((report.incarnation, newest));
        let node = report.node.clone();
        let text = format!(
            "the agent of node {node} was started before another one that has spoken as node {node} since: was its \
             state directory copied to another machine, or put back? The one that is connected now counts"
        );
        self.outputs.push(Output::Overtaken { node, incarnation: newest });
        self.event(Severity::Error, "node-twice", text);
    }

    /// The first heartbeat of a node: from now on its silence means something.
    pub(super) fn on_beats(&mut self, number: NodeNumber) {
        let Some(node) = self.numbered.get(&number).cloned() else { return };
        let Some(agent) = self.agents.get_mut(&node) else { return };
        if !agent.record.beats {
            agent.record.beats = true;
            let record = agent.record;
            self.remember_node(&node, record);
        }
    }

    /// All that heartbeats tell at once: one epoch of each cluster.
    pub(super) fn on_verdicts(&mut self, now: Time, verdicts: &[Verdict]) {
        let mut said = Said::default();
        let (mut silence_ms, mut hearers) = (0, BTreeSet::new());
        for verdict in verdicts {
            let heard_by = verdict.heard_by.and_then(|by| self.numbered.get(&by)).cloned();
            let Some(node) = self.numbered.get(&verdict.node).cloned() else { continue };
            let Some(agent) = self.agents.get_mut(&node) else { continue };
            let absence = Absence::of(verdict.reach, verdict.is_mass);
            let away = std::mem::replace(&mut agent.record.away, absence);
            let (is_news, record) = (away != agent.record.away, agent.record);
            let is_turn = agent.reach != verdict.reach;
            if is_news {
                self.remember_node(&node, record);
            }
            let Some(agent) = self.agents.get_mut(&node).filter(|_| is_turn) else { continue };
            agent.reach = verdict.reach;
            hearers.extend(heard_by.clone().filter(|_| verdict.reach == Reach::Nearby));
            agent.heard_by = heard_by;
            agent.reach_since = Some(now);
            agent.is_vouched = false;
            agent.is_given_up = false;
            let last_beat = Time(now.0.saturating_sub(verdict.silence_ms));
            let ended = agent.link_since;
            agent.is_agent_end = !agent.is_connected && ended.0.abs_diff(last_beat.0) <= AGENT_END_MS;
            let is_removed = agent.is_removed;
            self.mark_node(&node);
            match verdict.reach {
                // Nobody asks any more.
                _ if is_removed => {}
                Reach::Reachable => said.there.push(node),
                Reach::Degraded => said.degraded.push(node),
                Reach::Unreachable => {
                    silence_ms = silence_ms.max(verdict.silence_ms);
                    said.away.push(node);
                }
                Reach::Elsewhere => said.elsewhere.push(node),
                Reach::Nearby => said.nearby.push(node),
            }
        }
        let hearers: Vec<NodeName> = hearers.into_iter().collect();
        let is_mass = verdicts.iter().any(|verdict| verdict.is_mass);
        self.tell_reach(said, &hearers, silence_ms, is_mass);
    }

    /// An event for each kind of news. `hearers`: who was sent to nodes that no manager hears, and was answered.
    fn tell_reach(&mut self, said: Said, hearers: &[NodeName], silence_ms: u64, is_mass: bool) {
        let Said { there, degraded, away, elsewhere, nearby } = said;
        if !away.is_empty() {
            let mass = if is_mass { "; so many at once are suspicious" } else { "" };
            let seconds = silence_ms as f64 / 1_000.0;
            let text = format!(
                "{} cannot be reached, no heartbeat for {seconds:.1} s: requests go around{mass}",
                name_nodes(&away)
            );
            self.event(Severity::Error, "node-unreachable", text);
        }
        if !degraded.is_empty() {
            let text = format!(
                "{} can be heard by some and not by all, or hears nobody: something is wrong with its network",
                name_nodes(&degraded)
            );
            self.event(Severity::Warning, "node-degraded", text);
        }
        if !elsewhere.is_empty() {
            let text = format!(
                "{} and this manager do not hear each other, but other managers do: something is wrong with the network \
                 in between, and its members are used",
                name_nodes(&elsewhere)
            );
            self.event(Severity::Warning, "node-degraded", text);
        }
        if !nearby.is_empty() {
            let text = format!(
                "no manager hears {}, but questions that {} carried there were answered: something is wrong with the \
                 network in between. Members there are used; groups are not run there, for nobody grants a lease",
                name_nodes(&nearby),
                name_nodes(hearers)
            );
            self.event(Severity::Warning, "node-degraded", text);
        }
        if !there.is_empty() {
            let text = format!("{} can be reached", name_nodes(&there));
            self.event(Severity::Info, "node-reachable", text);
        }
    }

    /// Nobody has vouched for some degraded nodes in time.
    pub(super) fn give_up_degraded(&mut self, now: Time) {
        let is_due = |agent: &Agent| agent.given_up_at().is_some_and(|at| at <= now);
        let due = self.agents.iter_mut().filter(|(_, agent)| is_due(agent));
        let due: Vec<NodeName> = due
            .map(|(node, agent)| {
                agent.is_given_up = true;
                node.clone()
            })
            .collect();
        if due.is_empty() {
            return;
        }
        due.iter().for_each(|node| self.mark_node(node));
        let text = format!(
            "{} cannot be reached both ways, neither by heartbeats nor over a link: requests go around",
            name_nodes(&due)
        );
        self.event(Severity::Error, "node-unreachable", text);
    }

    /// A node's agent has started anew, perhaps with its machine. What it ran before is gone, and its last report with it;
    /// where the machine was gone too, nobody was there to end connections: whoever waits for an answer waits in vain.
    pub(super) fn on_restarted(&mut self, restart: &Restart) {
        let Some(node) = self.numbered.get(&restart.node).cloned() else { return };
        let Some(agent) = self.agents.get(&node) else { return };
        let has_reported = agent.newest.is_some_and(|(incarnation, _)| incarnation >= restart.incarnation);
        let members = self.clusters.iter_mut().flat_map(|cluster: &mut Cluster| &mut cluster.members);
        let here = members.filter(|member| member.settings.node == node && !member.is_external());
        for member in here {
            member.is_lost |= restart.is_reboot;
            if !has_reported {
                member.report = None;
                member.passed_pid = None;
            }
        }
        self.mark_node(&node);
        if restart.is_reboot {
            let text = format!("the machine of node {node} was started anew");
            self.event(Severity::Warning, "node-rebooted", text);
        }
    }

    /// Why the member's machine has taken it along, if it has.
    pub(super) fn is_taken_along(&self, member: &Member) -> Option<Away> {
        self.agents.get(&member.settings.node)?.takes_along(member)
    }

    /// The node's machine is no longer of the cell; until another one, or the same with a new token, is connected.
    pub(super) fn on_node_removed(&mut self, node: &NodeName) {
        let Some(agent) = self.agents.get_mut(node) else { return };
        agent.is_removed = true;
        // Whoever is this node next is another machine.
        agent.newest = None;
        let members = self.clusters.iter_mut().flat_map(|cluster: &mut Cluster| &mut cluster.members);
        for member in members.filter(|member| member.settings.node == *node) {
            member.report = None;
            member.passed_pid = None;
        }
        self.mark_node(node);
    }
}

/// `node a`, `nodes a, b and c`, or how many more there are.
fn name_nodes(nodes: &[NodeName]) -> String {
    let named: Vec<&str> = nodes.iter().take(NODES_NAMED_MAX).map(|node| node.0.as_str()).collect();
    match (nodes.len() - named.len(), named.as_slice()) {
        (0, [one]) => format!("node {one}"),
        (0, [first @ .., last]) => format!("nodes {} and {last}", first.join(", ")),
        (more, named) => format!("nodes {} and {more} more", named.join(", ")),
    }
}

/// What people are told of a certificate that was not renewed.
fn certificate_text(node: &NodeName, until_ms: u64, now_ms: u64) -> String {
    let left = match until_ms.saturating_sub(now_ms) / 86_400_000 {
        0 => "less than a day".to_owned(),
        1 => "a day".to_owned(),
        days => format!("{days} days"),
    };
    format!(
        "the certificate of node {node} is overdue and was not renewed; it expires in {left}, and then the node must join again. \
         The log of its machine tells why"
    )
}

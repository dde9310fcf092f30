//! Carries out what the desk decides: sends, keeps events, answers requests, commits configurations.
//!
//! Not here: decisions about the cell, and waiting for the disk (see `archive`).

use super::archive::{self, Archive, ArchiveError, EVENTS_MAX, LeaderRecord};
use super::desk::{Again, Config, Desk, Input, Output};
use super::election::Lease;
use super::enrol::Office;
use super::fenced::FencedStore;
use super::fences::FenceCalls;
use super::group_records::GroupRecords;
use super::handle::Request;
use super::heartbeats::{Heartbeats, Lead, manager_number};
use super::past;
use crate::clock::Clock;
use crate::config;
use crate::identity::now_us;
use logic::cell::changes;
use logic::explain::explain;
use logic::heartbeat::Presence;
use logic::plugin_cfg::write::of_cell;
use std::collections::{BTreeMap, VecDeque};
use std::ops::ControlFlow;
use std::rc::Rc;
use std::sync::Arc;
use store::StoreError;
use tokio::sync::{Mutex, mpsc, oneshot, watch};
use tokio::task::JoinSet;
use wire::error_code;
use wire::id::{NodeName, RouterName};
use wire::settings::CellSettings;
use wire::status::{
    Applied, CellStanding, CellStatus, ClusterStatus, ConfigRevision, ErrorBody, Event, HeartbeatStatus,
    LeaderStatus, LeaseStatus, ManagerState, ManagerStatus, NodeStatus, OtherCellStatus, PluginCfgText,
    Severity,
};
use wire::view::View;

/// What a configuration is called in messages when it came over the API and not from a file.
const UNNAMED_FILE: &str = "configuration";

pub struct Shell {
    pub clock: Clock,
    pub store: FencedStore,
    /// Asked before each act.
    pub lease: Lease,
    pub archive: Archive,
    pub events: VecDeque<Event>,
    pub history: Vec<ConfigRevision>,
    pub changed: Rc<watch::Sender<u64>>,
    pub inbox: mpsc::Sender<Input>,
    /// What is being committed.
    pub commits: JoinSet<()>,
    /// Agents of fences that run, by their jobs; killed with the term.
    pub fence_calls: FenceCalls,
    /// The configuration in force, for those who follow it.
    pub settings: watch::Sender<Arc<CellSettings>>,
    /// There where other machines are listened to.
    pub office: Option<Rc<Office>>,
    pub heartbeats: Option<Rc<Heartbeats>>,
    /// The manager's own.
    pub node: NodeName,
    /// Since when this manager leads, and in which term; None: it is the only one.
    pub leader: Option<LeaderRecord>,
    pub group_records: GroupRecords,
    /// Why all has to begin anew.
    pub again: Option<Again>,
    /// One configuration is committed at a time.
    pub applying: Rc<Mutex<()>>,
    /// As they are heard.
    pub other_cells: watch::Receiver<Vec<OtherCellStatus>>,
}

/// A configuration that somebody wants; see `Request::Apply`.
struct Wish {
    who: String,
    text: String,
    dry_run: bool,
    back_to: Option<u64>,
    only_after: Option<u64>,
}

impl Shell {
    pub fn carry_out(&mut self, desk: &Desk, output: Output) -> ControlFlow<()> {
        if !self.lease.holds() {
            return ControlFlow::Break(());
        }
        // The thread that hears heartbeats, where there is one.
        let (thread, generation) = (self.heartbeats.as_ref(), desk.cell.generation());
        match output {
            // Whoever asked may have gone; that is no concern of ours, here and below.
            Output::Admit { result, reply } => {
                self.know_nodes(desk);
                drop(reply.send(result));
            }
            Output::Send { to, message } => {
                desk.outlets(&to).for_each(|outlet| outlet.send(message.clone()));
            }
            Output::Cut(place) => {
                self.know_nodes(desk);
                desk.outlets(&super::desk::To::One(place)).for_each(|outlet| outlet.end());
            }
            Output::Event { severity, kind, cluster, member, text } => {
                let event =
                    Event { severity, kind: kind.to_owned(), cluster, member, text, ..self.next_event() };
                self.add_event(event);
            }
            Output::NodeEvent { severity, kind, node, id, text } => {
                let (kind, node) = (kind.to_owned(), Some(node));
                let event = Event { severity, kind, node, id, text, ..self.next_event() };
                self.add_event(event);
            }
            Output::Remember { key, value } => self.archive.remember(&key, value),
            Output::Answer { reply, result: Ok(text) } => self.archive.answer_when_safe(reply, text),
            Output::Answer { reply, result: refused @ Err(_) } => drop(reply.send(refused)),
            Output::Ask(request) => self.answer(desk, request),
            Output::Applied { entry, reply } => {
                self.settings.send_replace(Arc::new(desk.config.settings.clone()));
                if let Some(office) = &self.office {
                    office.use_settings(&desk.config.settings);
                }
                self.know_nodes(desk);
                let replaced = entry.revision.checked_sub(1).filter(|before| *before > 0);
                let applied = Applied { revision: entry.revision, changes: entry.changes.clone(), replaced };
                archive::extend_history(&mut self.history, entry);
                drop(reply.send(Ok(applied)));
            }
            Output::Commit { attempt, key, value } => {
                while self.commits.try_join_next().is_some() {}
                let (records, store) = (self.group_records.clone(), self.store.clone());
                self.commits.spawn_local(records.commit(store, self.inbox.clone(), attempt, key, value));
            }
            Output::CallFence { job, fence, node, call } => {
                self.fence_calls.begin(&self.inbox, job, fence, node, call)
            }
            Output::KillFence { job } => self.fence_calls.kill(job),
            Output::Release { node } => thread.map_or((), |thread| thread.release(generation, node)),
            Output::Lost { node } => thread.map_or((), |thread| thread.lost(generation, node)),
            Output::Carried { by, reply } => thread.map_or((), |thread| thread.carried(by, reply)),
            Output::Changed => self.changed.send_modify(|number| *number += 1),
            Output::Again(again) => {
                self.again = Some(again);
                return ControlFlow::Break(());
            }
            Output::Stop => return ControlFlow::Break(()),
        }
        ControlFlow::Continue(())
    }

    /// Tells whose heartbeats count: of the configuration's nodes, whose machines have joined.
    pub fn know_nodes(&self, desk: &Desk) {
        if let (Some(heartbeats), Some(office)) = (&self.heartbeats, &self.office) {
            let number = |name: &NodeName| desk.cell.nodes().find(|place| place.node == *name);
            let taken = desk.groups.planner.taken().filter_map(|name| Some(number(name)?.number));
            let lead = Lead {
                generation: desk.cell.generation(),
                term: self.lease.term(),
                away: desk.cell.away().collect(),
                taken: taken.collect(),
                inbox: self.inbox.clone(),
            };
            let joined_us = |node: &NodeName| office.joined_us(node);
            heartbeats.know(&desk.config.settings, &self.node, desk.cell.nodes(), joined_us, Some(lead));
        }
    }

    /// With nothing in it but its number and the time.
    fn next_event(&self) -> Event {
        Event {
            number: self.events.back().map_or(1, |last| last.number + 1),
            at_ms: self.clock.unix_ms(self.clock.now()),
            severity: Severity::Info,
            kind: String::new(),
            cluster: None,
            member: None,
            node: None,
            id: None,
            text: String::new(),
        }
    }

    fn add_event(&mut self, event: Event) {
        let (number, kind) = (event.number, event.kind.as_str());
        debug_assert!(
            wire::event_kind::is_known(kind),
            "{kind} is in no list, so that nobody says what to do"
        );
        match event.severity {
            Severity::Info => tracing::info!(number, kind, "{}", event.text),
            Severity::Warning => tracing::warn!(number, kind, "{}", event.text),
            Severity::Error => tracing::error!(number, kind, "{}", event.text),
        }
        self.archive.add_event(event.clone());
        self.events.push_back(event);
        if self.events.len() > EVENTS_MAX {
            self.events.pop_front();
        }
    }

    fn answer(&mut self, desk: &Desk, request: Request) {
        match request {
            Request::Status { reply } => drop(reply.send(self.status(desk))),
            Request::Events { after, most, reply } => drop(reply.send(self.events_after(after, most))),
            Request::Config { reply } => {
                drop(reply.send((desk.config.revision, desk.config.text.clone())));
            }
            Request::History { reply } => drop(reply.send(self.history.clone())),
            Request::Explain { url, cookie, reply } => {
                let explained = explain(&url, cookie.as_deref(), &desk.cell.routers(), desk.cell.views());
                drop(reply.send(explained.map_err(|message| ErrorBody {
                    code: error_code::CALL_MALFORMED.to_string(),
                    message,
                    retry: false,
                })));
            }
            Request::Facts { clusters, reply } => {
                let known = clusters.into_iter().filter_map(|name| {
                    let facts = desk.cell.facts(&name)?;
                    Some((name, facts))
                });
                drop(reply.send(known.collect()));
            }
            Request::PluginCfg { router, reply } => drop(reply.send(plugin_cfg(desk, router.as_ref()))),
            Request::GroupMoves { group, reply } => {
                let moves = desk.groups.moves_of(&group, &|time| self.clock.unix_ms(time));
                drop(reply.send(moves));
            }
            Request::NodeToken { node, valid_ms, reply } => {
                let Some(office) = self.office.clone() else { return drop(reply.send(Err(one_machine()))) };
                while self.commits.try_join_next().is_some() {}
                self.commits.spawn_local(async move {
                    drop(reply.send(office.issue_token(&node, valid_ms).await));
                });
            }
            Request::NodeRemove { who, node, reply } => self.remove_node(who, node, reply),
            Request::Apply { who, text, dry_run, back_to, only_after, reply } => {
                self.apply(desk, Wish { who, text, dry_run, back_to, only_after }, reply);
            }
            Request::OldConfig { revision, reply } => {
                let store = self.store.clone();
                while self.commits.try_join_next().is_some() {}
                self.commits.spawn_local(async move { drop(reply.send(past::read(&store, revision).await)) });
            }
            Request::Rollback { who, revision, dry_run, reply } => {
                let (store, inbox, office) = (self.store.clone(), self.inbox.clone(), self.office.clone());
                let nodes = desk.config.settings.nodes.clone();
                while self.commits.try_join_next().is_some() {}
                self.commits.spawn_local(async move {
                    let text = match past::read_to_return(&store, revision, &nodes, office.as_deref()).await {
                        Ok(text) => text,
                        Err(refusal) => return drop(reply.send(Err(refusal))),
                    };
                    let back_to = Some(revision);
                    let request = Request::Apply { who, text, dry_run, back_to, only_after: None, reply };
                    // Only fails when the manager ends, which answers nobody any more.
                    drop(inbox.send(Input::Ask(request)).await);
                });
            }
            Request::Act { .. }
            | Request::ActGroup { .. }
            | Request::ActNode { .. }
            | Request::Power { .. }
            | Request::ConfirmLost { .. }
            | Request::ActMonitor { .. }
            | Request::ActFence { .. } => {
                unreachable!("the desk asks the cell")
            }
        }
    }

    fn remove_node(
        &mut self,
        who: String,
        node: NodeName,
        reply: oneshot::Sender<Result<String, ErrorBody>>,
    ) {
        let Some(office) = self.office.clone() else { return drop(reply.send(Err(one_machine()))) };
        let inbox = self.inbox.clone();
        while self.commits.try_join_next().is_some() {}
        self.commits.spawn_local(async move {
            let removed = office.remove(&node).await;
            if removed.is_ok() {
                tracing::warn!(%node, who, "a node is removed");
                // Only fails when the manager ends, and its connections with it.
                drop(inbox.send(Input::Removed { node }).await);
            }
            drop(reply.send(removed));
        });
    }

    fn status(&self, desk: &Desk) -> CellStatus {
        let unix_ms = |time| self.clock.unix_ms(time);
        let mut summary = desk.cell.summary(&unix_ms);
        desk.describe(&mut summary.nodes, &unix_ms);
        self.describe_heartbeats(desk, &mut summary.nodes);
        let now_ms = self.clock.unix_ms(self.clock.now());
        if let Some(office) = &self.office {
            let nodes = summary.nodes.iter_mut();
            nodes.for_each(|node| node.refused = office.refusal(&node.node, now_ms));
        }
        let other_cells = self.other_cells.borrow().clone();
        let clusters = summary.clusters.iter_mut();
        clusters.for_each(|cluster| describe_gateways(cluster, &other_cells));
        CellStatus {
            cell: desk.config.settings.name.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            generation: desk.cell.generation(),
            leader: self.leader.as_ref().map(|leader| LeaderStatus {
                node: leader.node.clone(),
                term: leader.term,
                since_ms: leader.since_ms,
            }),
            managers: self.managers(desk),
            config_revision: desk.config.revision,
            now_ms,
            nodes: summary.nodes,
            routers: summary.routers,
            clusters: summary.clusters,
            groups: desk.groups.status(&unix_ms),
            monitors: summary.monitors,
            fences: desk.groups.fences.status(&unix_ms),
            other_cells,
            stale_since_ms: None,
        }
    }

    /// None where there is one manager.
    fn managers(&self, desk: &Desk) -> Vec<ManagerStatus> {
        let Some(leader) = &self.leader else { return Vec::new() };
        let heard = self.heartbeats.as_ref().map(|heartbeats| heartbeats.glances()).unwrap_or_default();
        let ago_ms = |at| self.heartbeats.as_ref().map_or(0, |heartbeats| heartbeats.ago_ms(at));
        let unix_ms = |at| self.clock.unix_ms(self.clock.now()).saturating_sub(ago_ms(at));
        let numbers: BTreeMap<_, _> = desk.cell.nodes().map(|place| (place.node, place.number)).collect();
        let presence = |node: &NodeName| {
            let number = manager_number(*numbers.get(node)?)?;
            heard.managers.iter().find(|(manager, _)| *manager == number).map(|(_, presence)| *presence)
        };
        let describe = |node: &NodeName| {
            let (state, since_ms) = match presence(node).unwrap_or(Presence::Unknown) {
                _ if *node == self.node => (ManagerState::Leads, Some(leader.since_ms)),
                Presence::Unknown => (ManagerState::Unknown, None),
                Presence::There { since } => (ManagerState::Follows, Some(unix_ms(since))),
                Presence::Down { since } => (ManagerState::Down, since.map(unix_ms)),
            };
            ManagerStatus { node: node.clone(), state, since_ms }
        };
        desk.config.settings.managers().iter().map(describe).collect()
    }

    fn describe_heartbeats(&self, desk: &Desk, nodes: &mut [NodeStatus]) {
        let glances = self.heartbeats.as_ref().map(|heartbeats| heartbeats.glances()).unwrap_or_default();
        let numbers: BTreeMap<_, _> = desk.cell.nodes().map(|place| (place.node, place.number)).collect();
        // Somebody may have set this machine's clock since the start, from which times are counted.
        let set_ms = (now_us() / 1_000) as i64 - self.clock.unix_ms(self.clock.now()) as i64;
        for node in nodes {
            node.clock_ahead_ms = node.clock_ahead_ms.map(|ahead_ms| ahead_ms - set_ms);
            let glance = numbers.get(&node.node).and_then(|number| glances.nodes.get(number));
            node.heartbeat = glance.and_then(|glance| {
                Some(HeartbeatStatus {
                    ago_ms: glance.silence_ms?,
                    interval_ms: glance.interval_ms,
                    lease: match (glance.is_withheld, glance.is_granted) {
                        (true, _) => LeaseStatus::Withheld,
                        (false, true) => LeaseStatus::Granted,
                        (false, false) => LeaseStatus::Over,
                    },
                })
            });
        }
    }

    fn events_after(&self, after: Option<u64>, most: usize) -> Vec<Event> {
        match after {
            Some(after) => {
                self.events.iter().filter(|event| event.number > after).take(most).cloned().collect()
            }
            None => {
                let skipped = self.events.len().saturating_sub(most);
                self.events.iter().skip(skipped).cloned().collect()
            }
        }
    }

    fn apply(&mut self, desk: &Desk, wish: Wish, reply: oneshot::Sender<Result<Applied, ErrorBody>>) {
        let Wish { who, text, dry_run, back_to, only_after } = wish;
        if let Some(meant) = only_after.filter(|meant| *meant != desk.config.revision) {
            drop(reply.send(Err(moved_on(meant, desk.config.revision, &self.history))));
            return;
        }
        let settings = match config::parse(&text, UNNAMED_FILE) {
            Ok(settings) => settings,
            Err(problems) => {
                let code = problems.list.first().map_or(error_code::CONFIG_NOT_ALLOWED, |first| first.code);
                let message = problems.to_string();
                drop(reply.send(Err(ErrorBody { code: code.to_string(), message, retry: false })));
                return;
            }
        };
        let current = &desk.config;
        if settings.store != current.settings.store && self.lease.term().is_some() {
            drop(reply.send(Err(other_store())));
            return;
        }
        let changes = changes(&current.settings, &settings);
        if dry_run || text == current.text {
            drop(reply.send(Ok(Applied { revision: current.revision, changes, replaced: None })));
            return;
        }
        let after = current.revision;
        let at_ms = self.clock.unix_ms(self.clock.now());
        let entry = ConfigRevision { revision: after + 1, at_ms, who, changes, back_to };
        let config = Box::new(Config { revision: entry.revision, text, settings });
        let (store, inbox, applying) = (self.store.clone(), self.inbox.clone(), self.applying.clone());
        while self.commits.try_join_next().is_some() {}
        self.commits.spawn_local(async move {
            let _turn = applying.lock().await;
            // Sending to the desk only fails when the manager ends; then the next one starts with what is in the store.
            let error = match archive::commit_config(&store, after, &entry, &config.text).await {
                Ok(()) => return drop(inbox.send(Input::Applied { config, entry, reply }).await),
                Err(error) => error,
            };
            drop(reply.send(Err(refusal(&error))));
            if let ArchiveError::Overtaken | ArchiveError::Store(StoreError::Unknown { .. }) = error {
                drop(inbox.send(Input::Doubted { after }).await);
            }
        });
    }
}

/// Gateways of a cell that is not heard stand for what it told last; that is said with each.
fn describe_gateways(cluster: &mut ClusterStatus, cells: &[OtherCellStatus]) {
    let Some((_, cell)) = cluster.cluster.0.rsplit_once('@') else { return };
    let told = match cells.iter().find(|other| other.cell == cell).map(|other| other.standing) {
        Some(CellStanding::Silent) => "; that was told last, and the cell is not heard",
        Some(CellStanding::Quarantined) => "; that was told last, and the cell is not listened to",
        Some(CellStanding::Heard | CellStanding::Forgotten | CellStanding::Unheard) | None => return,
    };
    cluster.members.iter_mut().for_each(|member| member.reason.push_str(told));
}

/// The members as servers; the error says that there is no such router.
fn plugin_cfg(desk: &Desk, router: Option<&RouterName>) -> Result<PluginCfgText, ErrorBody> {
    let views: Vec<&View> = desk.cell.views().collect();
    let written = of_cell(&desk.config.settings.name, &desk.cell.routers(), router, &views);
    let written = written.map_err(|message| ErrorBody {
        code: error_code::CALL_MALFORMED.to_string(),
        message,
        retry: false,
    })?;
    Ok(PluginCfgText { text: written.file.write(), notes: written.notes })
}

/// Somebody else was first.
fn moved_on(meant: u64, now: u64, history: &[ConfigRevision]) -> ErrorBody {
    let entry = history.iter().find(|entry| entry.revision == now);
    let by = entry.map_or(String::new(), |entry| format!(", by {}", entry.who));
    let message = format!(
        "revision {now} is in force{by}, and not {meant}; nothing was changed. `muster config diff {meant} {now}` shows \
         what came in between"
    );
    ErrorBody { code: error_code::CONFIG_MOVED_ON.to_string(), message, retry: false }
}

fn one_machine() -> ErrorBody {
    let message =
        "this manager does not listen for other machines: `listen` in [manager] and a restart let it".into();
    ErrorBody { code: error_code::NOT_SEVERAL_MACHINES.to_string(), message, retry: false }
}

/// Managers that were started before and after such a change would not know of each other.
fn other_store() -> ErrorBody {
    let message = "another store cannot be applied while managers run: stop all of them, change [store] in the file of \
                   one, and start that one first"
        .to_owned();
    ErrorBody { code: error_code::ACT_MAKES_NO_SENSE.to_string(), message, retry: false }
}

pub fn refusal(error: &ArchiveError) -> ErrorBody {
    let (code, message, retry) = match error {
        ArchiveError::Overtaken => (error_code::ACT_MAKES_NO_SENSE, error.to_string(), true),
        ArchiveError::NotLeader => (error_code::MANAGER_UNAVAILABLE, error.to_string(), true),
        ArchiveError::Config { .. } | ArchiveError::NotPlaced { .. } => {
            (error_code::CONFIG_NOT_ALLOWED, error.to_string(), false)
        }
        ArchiveError::Meaningless { .. } => (error_code::STORE_DAMAGED, error.to_string(), false),
        ArchiveError::Store(source @ StoreError::Damaged { .. }) => {
            (error_code::STORE_DAMAGED, source.to_string(), false)
        }
        ArchiveError::Store(source @ StoreError::Unknown { .. }) => {
            (error_code::STORE_WRITE_UNCERTAIN, source.to_string(), false)
        }
        ArchiveError::Store(source @ (StoreError::Unavailable { .. } | StoreError::Denied { .. })) => {
            (error_code::STORE_NOT_REACHED, source.to_string(), true)
        }
        ArchiveError::Store(source @ StoreError::TooLarge { .. }) => {
            (error_code::STORE_WRITE_FAILED, source.to_string(), false)
        }
        ArchiveError::Store(source) => (error_code::STORE_WRITE_FAILED, source.to_string(), true),
    };
    ErrorBody { code: code.to_string(), message, retry }
}

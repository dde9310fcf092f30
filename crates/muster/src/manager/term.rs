//! One term of leadership, from the first look into the store to the end of the last connection.
//!
//! Promises: a generation is taken, and the configuration is known, before anything is done. When the lease is over all
//! connections are cut and everything that was decided is forgotten at once; a manager that was asked to stop writes what
//! is left first. Not here: who leads (see `election`).

use super::archive::{self, Archive, ArchiveError, Found, LeaderRecord};
use super::desk::{Again, Config, Desk, Groups, Input};
use super::election::Lease;
use super::enrol::{Office, Told};
use super::fenced::FencedStore;
use super::fences::FenceCalls;
use super::group_records::GroupRecords;
use super::handle::Request;
use super::heartbeats::lease_wait_ms;
use super::links::{self, Reception};
use super::shell::Shell;
use super::telling;
use super::{Base, Own, hearing, strangers};
use crate::clock::Clock;
use crate::config;
use crate::driver::{INBOX_MAX, drive};
use logic::cell::{self, Cell, changes};
use logic::enrol::number_of;
use logic::group::Planner;
use logic::machine::Machine;
use logic::model::Revision;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use wire::enrol::NodeRecord;
use wire::id::NodeName;
use wire::settings::CellSettings;
use wire::status::{ConfigRevision, OtherCellStatus, Severity};

/// How long the end waits for what is still to be written.
const CLOSE_WAIT: Duration = Duration::from_secs(5);

/// What a term begins with.
#[derive(Debug)]
pub struct Begun {
    found: Found,
    /// The configuration before this start, if it was another one.
    before: Option<CellSettings>,
    config: Config,
    leader: Option<LeaderRecord>,
}

/// Why a term ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// The manager was asked to stop.
    Asked,
    /// It may not act any more.
    Over,
    /// The same manager may begin anew.
    Again(Again),
}

/// Takes a generation above `heard` and finds the configuration in force: that of the store, or `own` if the store has
/// none. `is_new`: `own` is what the user has just started the only manager with, and is in force from now on.
pub async fn begin(
    store: &FencedStore,
    own: &Own,
    is_new: bool,
    heard: u64,
    lease: &Lease,
) -> Result<Begun, ArchiveError> {
    let clock = Clock::start();
    let at_ms = clock.unix_ms(clock.now());
    let leader = lease.term().map(|term| LeaderRecord {
        node: own.node.clone(),
        term,
        address: own.settings.manager_address(&own.node).unwrap_or_default(),
        since_ms: at_ms,
    });
    let mut found = archive::begin(store, heard, leader.as_ref()).await?;
    let own_is_meant = is_new && !own.settings.has_several_managers();
    let old = found.current.clone();
    if let Some((revision, text)) = old.as_ref().filter(|(_, text)| !own_is_meant || *text == own.config_text)
    {
        let settings = match *text == own.config_text {
            true => own.settings.clone(),
            false => config::parse(text, "the configuration in the store")
                .map_err(|problems| ArchiveError::Config { problems: problems.to_string() })?,
        };
        if lease.term().is_some() && !settings.managers().contains(&own.node) {
            return Err(ArchiveError::NotPlaced { node: own.node.clone() });
        }
        if is_new && own.is_users && *text != own.config_text {
            tracing::warn!(
                revision,
                "the configuration with which this manager was started is not the one in force; `muster apply` makes it so"
            );
        }
        let config = Config { revision: *revision, text: text.clone(), settings };
        return Ok(Begun { found, before: None, config, leader });
    }
    let before = old.as_ref().and_then(|(_, text)| config::parse(text, "the last configuration").ok());
    let after = old.as_ref().map_or(0, |(revision, _)| *revision);
    let changes = match &before {
        Some(before) => changes(before, &own.settings),
        None => vec!["the configuration of a new cell".to_owned()],
    };
    let entry = ConfigRevision { revision: after + 1, at_ms, who: own.who.clone(), changes, back_to: None };
    archive::commit_config(store, after, &entry, &own.config_text).await?;
    let config =
        Config { revision: entry.revision, text: own.config_text.clone(), settings: own.settings.clone() };
    archive::extend_history(&mut found.history, entry);
    Ok(Begun { found, before, config, leader })
}

/// Leads until the manager is asked to stop, `over` returns, or somebody obeys a newer generation.
pub async fn lead(
    base: &mut Base,
    begun: Begun,
    store: FencedStore,
    lease: Lease,
    over: impl Future<Output = ()>,
) -> Ended {
    let Begun { found, before, config, leader } = begun;
    let (inputs, inbox) = mpsc::channel(INBOX_MAX);
    let started = started(found.generation, &config, leader.as_ref());
    let (listeners_in, listeners) = mpsc::channel(telling::LISTENERS_WAITING_MAX);
    let removed = removed(&found.nodes);
    let told = Told { listeners: listeners_in, inbox: inputs.clone(), accounts: base.accounts.clone() };
    let office = base
        .front
        .clone()
        .map(|front| Rc::new(Office::open(store.clone(), front, config.settings.clone(), found.nodes, told)));
    let telling = office.clone().map(|office| (office, listeners));
    let groups = open_groups(base, found.generation, &config.settings, &found.groups);
    let mut desk = open_desk(base, Cell::new(found.generation, found.remembered), groups, config);
    let (settings, in_force) = watch::channel(Arc::new(desk.config.settings.clone()));
    let (cells_in, other_cells) = watch::channel(Vec::new());
    let mut shell = Shell {
        settings,
        clock: base.clock,
        store: store.clone(),
        lease: lease.clone(),
        archive: Archive::default(),
        events: found.events,
        history: found.history,
        changed: base.changed.clone(),
        inbox: inputs.clone(),
        commits: JoinSet::new(),
        fence_calls: FenceCalls::default(),
        office: office.clone(),
        heartbeats: base.heartbeats.clone(),
        node: base.own.node.clone(),
        leader,
        group_records: GroupRecords::new(&found.groups),
        again: None,
        applying: Rc::default(),
        other_cells,
    };
    configure(&mut desk, &mut shell, started, before, removed);
    shell.know_nodes(&desk);

    let reception = Reception::Leads { inbox: inputs.clone(), office, lease: lease.clone() };
    let mut tasks = listen(base, reception, &inputs);
    speak_with_cells(base, &mut tasks, (in_force, cells_in), telling, &inputs);
    let writer = tokio::task::spawn_local(shell.archive.clone().keep(store.clone(), inputs.clone()));
    let is_over = {
        let driving = drive(desk, base.clock, inbox, |desk, output| shell.carry_out(desk, output));
        // What is cancelled loses what it was about to do, and that is what the end of a lease means.
        tokio::select! {
            biased;
            () = over => true,
            () = store.overtaken() => true,
            _ = driving => !lease.holds(),
            () = pass_on(&mut base.requests, inputs) => unreachable!("it waits for ever once nobody listens"),
        }
    };

    if let Some(heartbeats) = &base.heartbeats {
        heartbeats.follow();
    }
    end(tasks, shell, writer, is_over).await
}

/// Ends everything that was done in a term, and says why it ended.
async fn end(mut tasks: JoinSet<()>, mut shell: Shell, writer: JoinHandle<()>, is_over: bool) -> Ended {
    // Roles see their connections end; what is left to be written is written, if this manager still may.
    tasks.shutdown().await;
    shell.commits.shutdown().await;
    shell.fence_calls.shutdown().await;
    let (archive, again) = (shell.archive.clone(), shell.again.take());
    drop(shell);
    close(archive, writer, is_over).await;
    match again {
        _ if is_over => Ended::Over,
        Some(again) => Ended::Again(again),
        None => Ended::Asked,
    }
}

fn open_desk(base: &Base, cell: Cell, groups: Groups, config: Config) -> Desk {
    let keys = base.heartbeats.as_ref().map(|heartbeats| heartbeats.keys.clone());
    let (node, secrets, suspects) = (base.own.node.clone(), base.secrets.clone(), base.suspects.clone());
    Desk::new((cell, groups), config, node, secrets, keys, suspects)
}

/// The groups as those who led before have left them.
fn open_groups(
    base: &Base,
    generation: u64,
    settings: &CellSettings,
    found: &[(String, String, Revision)],
) -> Groups {
    let records = found.iter().map(|(key, text, _)| (key.clone(), text.clone()));
    let wait_ms = lease_wait_ms(settings);
    Groups::new(Planner::new(base.clock.now(), generation, wait_ms, records))
}

/// Nodes whose machines are no longer of the cell.
fn removed(nodes: &BTreeMap<NodeName, NodeRecord>) -> Vec<NodeName> {
    let removed = nodes.iter().filter(|(_, record)| record.is_removed);
    removed.map(|(node, _)| node.clone()).collect()
}

/// What brings the inputs of a term from outside.
fn listen(base: &Base, reception: Reception, inputs: &mpsc::Sender<Input>) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    tasks.spawn_local(links::accept(base.local.clone(), reception.clone()));
    if let Some(front) = &base.front {
        tasks.spawn_local(strangers::accept(front.clone(), reception));
    }
    tasks.spawn_local(pass_on_stop(base.stopping.clone(), inputs.clone()));
    tasks
}

/// Hears other cells, and tells them about this one where they can come in.
fn speak_with_cells(
    base: &Base,
    tasks: &mut JoinSet<()>,
    (in_force, cells): (watch::Receiver<Arc<CellSettings>>, watch::Sender<Vec<OtherCellStatus>>),
    telling: Option<(Rc<Office>, mpsc::Receiver<telling::Listener>)>,
    inputs: &mpsc::Sender<Input>,
) {
    tasks.spawn_local(hearing::hear(in_force.clone(), cells, base.clock, inputs.clone()));
    let Some((office, listeners)) = telling else { return };
    let cell = number_of(&office.front.authority.fingerprint());
    let changed = base.changed.subscribe();
    tasks.spawn_local(telling::tell(cell, in_force, changed, listeners, base.clock, inputs.clone()));
}

/// Tells that the term has begun, and makes the configuration known.
fn configure(
    desk: &mut Desk,
    shell: &mut Shell,
    started: Input,
    before: Option<CellSettings>,
    removed: Vec<NodeName>,
) {
    // The one before first: members that it had and the present one has not are taken out in good order.
    let settings = before.into_iter().chain([desk.config.settings.clone()]);
    let configured = settings.map(|settings| Input::Cell(cell::Input::Configure(Box::new(settings))));
    let removed = removed.into_iter().map(|node| Input::Cell(cell::Input::NodeRemoved { node }));
    for input in std::iter::once(started).chain(configured).chain(removed).collect::<Vec<_>>() {
        for output in desk.step(shell.clock.now(), input) {
            // It only asks to end when the lease is over, which the caller finds as well.
            let _ = shell.carry_out(desk, output);
        }
    }
}

async fn close(archive: Archive, mut writer: JoinHandle<()>, is_over: bool) {
    archive.close();
    let wait = if is_over { Duration::ZERO } else { CLOSE_WAIT };
    if tokio::time::timeout(wait, &mut writer).await.is_err() {
        if !is_over {
            tracing::warn!("the last events could not be written in time");
        }
        // It holds the store, whose thread is waited for at the end.
        writer.abort();
        drop(writer.await);
    }
}

fn started(generation: u64, config: &Config, leader: Option<&LeaderRecord>) -> Input {
    let revision = config.revision;
    let (kind, text) = match leader {
        Some(LeaderRecord { node, term, .. }) => (
            "manager-leads",
            format!(
                "manager {node} leads in term {term}, as generation {generation}, with revision {revision} of the \
                 configuration"
            ),
        ),
        None => (
            "manager-started",
            format!(
                "manager of generation {generation} started with revision {revision} of the configuration"
            ),
        ),
    };
    Input::Note { severity: Severity::Info, kind, text }
}

async fn pass_on(requests: &mut mpsc::Receiver<Request>, inputs: mpsc::Sender<Input>) {
    while let Some(request) = requests.recv().await {
        if inputs.send(Input::Ask(request)).await.is_err() {
            break;
        }
    }
    // The desk ends for other reasons.
    std::future::pending::<()>().await;
}

async fn pass_on_stop(mut stopping: watch::Receiver<bool>, inputs: mpsc::Sender<Input>) {
    // A handle that was dropped means the same: nobody can ask to stop any more.
    drop(stopping.wait_for(|stop| *stop).await);
    drop(inputs.send(Input::Stop).await);
}

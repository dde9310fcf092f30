//! The agent's shell: runs and probes this node's members as `logic::agent` says, and tells the manager.
//!
//! One thread of its own with one event loop. Promises: goes on when the manager is gone, and starts from what it was
//! told last when there is none (see `disk`); leaves no process behind, however it ends (see `keeper`).
//! Files: `<state_dir>/agent/` (lock, incarnation, assignments, ports) and `<state_dir>/log/`.

mod alerts;
mod board;
mod boot_timer;
mod certificate;
mod companion;
mod disk;
mod errands;
mod groups;
pub mod guardian;
mod heartbeats;
pub mod keeper;
mod members;
mod monitors;
mod orphans;
mod placeholders;
mod ports;
mod probe;
mod process;
#[cfg(test)]
mod scratch;
pub mod warden;

use crate::clock::{BootClock, Clock};
use crate::driver::{INBOX_MAX, drive};
use crate::link::{Heard, LinkEvent, ManagerAt, follow};
use crate::lock_file;
use crate::role::RoleHandle;
use certificate::OwnCertificate;
use disk::Remembered;
use heartbeats::Heartbeats;
use logic::agent::{Agent, Input, Output, Severity};
use logic::group::ResidentInput as GroupInput;
use members::{Members, Surroundings};
use monitors::MonitorsHandle;
use orphans::Children;
use ports::PortBook;
use process::Command;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinHandle, JoinSet, LocalSet};
use wire::agent::Report;
use wire::heartbeat::Errand;
use wire::id::{MemberId, NodeName};
use wire::link::{FromManager, Placed, Role, ToManager};

/// How long the end waits for what is still being done off the event loop. A disk that hangs is not waited for.
const BLOCKED_WAIT: Duration = Duration::from_millis(500);
/// How long the end waits for the assignments to reach the disk.
const REMEMBER_WAIT: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub struct AgentOptions {
    pub node: NodeName,
    pub state_dir: PathBuf,
    pub manager: ManagerAt,
    /// Told what the manager places on this node.
    pub placed: watch::Sender<Option<Placed>>,
}

/// Why no agent runs. Nothing was started; a retry is safe.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    #[error("cannot use the directory {path}", path = path.display())]
    Directory {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("another agent uses the directory {path}", path = path.display())]
    AlreadyRuns { path: PathBuf },
    #[error("cannot set up the agent's event loop")]
    Setup(#[source] io::Error),
}

/// Starts the agent of `options.node` on a thread of its own. Sending true to the handle's `stop` stops all members,
/// each with its grace, and then the thread ends.
pub fn start(options: AgentOptions) -> Result<RoleHandle, AgentError> {
    let state_dir = std::path::absolute(&options.state_dir)
        .map_err(|source| AgentError::Directory { path: options.state_dir.clone(), source })?;
    let directory = state_dir.join("agent");
    let cannot_use = |source| AgentError::Directory { path: directory.clone(), source };
    std::fs::create_dir_all(&directory).map_err(cannot_use)?;
    let lock = lock_file::take(&directory.join("lock")).map_err(cannot_use)?;
    let lock = lock.ok_or_else(|| AgentError::AlreadyRuns { path: directory.clone() })?;
    let incarnation = disk::next_incarnation(&directory).map_err(cannot_use)?;
    // What a killed keeper leaves behind comes to us and to nobody else.
    let own = rustix::process::getpid();
    rustix::process::set_child_subreaper(Some(own)).map_err(|error| AgentError::Setup(error.into()))?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(AgentError::Setup)?;
    let (stop, stop_seen) = watch::channel(false);
    let start = Start {
        options,
        remembered: disk::recall(&directory),
        ports: PortBook::open(directory.join("ports.json")),
        log_directory: state_dir.join("log"),
        alert_socket: crate::monitor::tell::alert_socket(&state_dir),
        directory,
        incarnation,
        _lock: lock,
    };
    let thread = std::thread::Builder::new()
        .name("agent".into())
        .spawn(move || {
            LocalSet::new().block_on(&runtime, live(start, stop_seen));
            runtime.shutdown_timeout(BLOCKED_WAIT);
        })
        .map_err(AgentError::Setup)?;
    Ok(RoleHandle { name: "agent", stop, thread })
}

/// All that was gathered before the thread started.
struct Start {
    options: AgentOptions,
    directory: PathBuf,
    log_directory: PathBuf,
    alert_socket: PathBuf,
    incarnation: u64,
    remembered: Option<Remembered>,
    ports: PortBook,
    _lock: File,
}

async fn live(start: Start, stop: watch::Receiver<bool>) {
    let clock = Clock::start();
    let (inputs, inbox) = mpsc::channel(INBOX_MAX);
    let (node, alert_socket) = (start.options.node.clone(), start.alert_socket);
    let remembered = start.remembered.map(|remembered| (remembered.generation, remembered.assignments));
    let obeyed = remembered.as_ref().map_or(0, |(generation, _)| *generation);
    let machine = Agent::new(clock.now(), node.clone(), start.incarnation, remembered);

    // The link outlives the members, so that the manager hears of their end.
    let (link_stop, link_stop_seen) = watch::channel(false);
    let certificate = OwnCertificate::of(&start.options.state_dir);
    let role = Role::Agent { node: node.clone() };
    let link = follow(start.options.manager, role, obeyed, None, link_stop_seen);
    let (is_connected, (remember, to_remember)) = (Rc::new(Cell::new(false)), watch::channel(None));

    let (mut helpers, children) = (JoinSet::new(), Rc::new(Children::at_start()));
    let way = monitors::Way { to_manager: link.to_manager.clone(), is_connected: is_connected.clone() };
    let (lease, lease_seen) = watch::channel(None);
    let (seen, side) = groups::beside_monitors(lease_seen);
    let monitors = monitors::start(&mut helpers, clock, node.clone(), start.incarnation, way.clone(), side);
    helpers.spawn_local(alerts::listen(alert_socket, way.clone()));
    let (boot_clock, (group_inputs, group_inbox)) = (BootClock::of_process(), groups::inbox());
    let errands = errands::start(&mut helpers, boot_clock, way);
    let told = Told {
        placed: start.options.placed,
        heartbeats: Heartbeats::new(start.incarnation, boot_clock, lease),
        groups: group_inputs.clone(),
        to_manager: link.to_manager.clone(),
        monitors,
        errands,
        directory: start.directory.clone(),
    };
    helpers.spawn_local(listen(link.events, is_connected.clone(), told, inputs.clone()));
    let (cgroup, stop_groups) = (keeper::cgroup::find_base(&node.0), stop.clone());
    helpers.spawn_local(pass_on_stop(stop, inputs.clone(), group_inputs.clone()));
    let around_groups = groups::Surroundings {
        node: node.clone(),
        incarnation: start.incarnation,
        clock: boot_clock,
        children: children.clone(),
        cgroup: cgroup.clone(),
        log_directory: start.log_directory.clone(),
        directory: start.directory.join("groups"),
        inputs: group_inputs,
        to_manager: link.to_manager.clone(),
        is_connected: is_connected.clone(),
    };
    let groups = tokio::task::spawn_local(groups::live(around_groups, group_inbox, seen, stop_groups));
    let remembering = tokio::task::spawn_local(disk::keep_remembering(start.directory, to_remember));

    let surroundings = Surroundings {
        inputs: inputs.clone(),
        ports: RefCell::new(start.ports),
        children,
        cgroup,
        log_directory: start.log_directory,
    };
    let mut shell = Shell {
        node,
        members: Members::new(surroundings),
        probes: Probes::new(inputs),
        to_manager: link.to_manager,
        heard: link.heard,
        certificate,
        is_connected,
        remember,
    };
    drive(machine, clock, inbox, |_, output| shell.carry_out(output)).await;
    end(shell, groups, remembering, link_stop, helpers).await;
}

async fn end(
    mut shell: Shell,
    groups: JoinHandle<()>,
    remembering: JoinHandle<()>,
    link_stop: watch::Sender<bool>,
    mut helpers: JoinSet<()>,
) {
    // Their stop scripts have time-outs of their own.
    let _ = groups.await;
    shell.probes.tasks.shutdown().await;
    shell.members.end().await;
    drop(shell.remember);
    // Out of time: the file of last time is still whole.
    let _ = tokio::time::timeout(REMEMBER_WAIT, remembering).await;
    link_stop.send_replace(true);
    helpers.shutdown().await;
}

/// Who hears what the machine does not decide about.
struct Told {
    placed: watch::Sender<Option<Placed>>,
    heartbeats: Heartbeats,
    groups: mpsc::Sender<GroupInput>,
    to_manager: mpsc::Sender<ToManager>,
    monitors: MonitorsHandle,
    errands: mpsc::Sender<Vec<Errand>>,
    directory: PathBuf,
}

impl Told {
    /// Those for which there is no room are asked for again soon.
    fn carry(&self, errands: Vec<Errand>) {
        if self.errands.try_send(errands).is_err() {
            tracing::debug!("questions to other nodes are not carried: too many at once");
        }
    }

    async fn tell_groups(&self, input: GroupInput) {
        let Err(mpsc::error::SendError(unheard)) = self.groups.send(input).await else { return };
        tracing::debug!("no groups are run here any more");
        if let GroupInput::Power { act, .. } = unheard {
            let why = "its agent is ending, or cannot run groups".to_owned();
            // Its task reads as long as there is a link.
            let _ = self.to_manager.send(ToManager::PowerFailed { act, why }).await;
        }
    }

    /// Another agent has spoken in this node's name, under numbers up to `above`. Those of this one go on above it, and the
    /// next start's above that.
    fn rise_above(&mut self, above: u64) {
        let incarnation = self.heartbeats.incarnation().max(above.saturating_add(1));
        tracing::error!(
            incarnation,
            "another machine has spoken as this node: was this state directory copied, or put back?"
        );
        if let Err(error) = disk::keep_incarnation(&self.directory, incarnation) {
            tracing::warn!(%error, "the agent's number could not be written down");
        }
        self.heartbeats.rise_to(incarnation);
    }
}

/// Turns what the manager says into inputs.
async fn listen(
    mut events: mpsc::Receiver<LinkEvent>,
    is_connected: Rc<Cell<bool>>,
    mut told: Told,
    inputs: mpsc::Sender<Input>,
) {
    while let Some(event) = events.recv().await {
        let input = match event {
            LinkEvent::Connected { generation } => {
                tracing::info!(generation, "the manager is there");
                is_connected.set(true);
                told.tell_groups(GroupInput::Connected).await;
                told.monitors.connected().await;
                Input::Connected
            }
            LinkEvent::Lost { reason } => {
                tracing::warn!(reason, "the manager is gone; going on without it");
                is_connected.set(false);
                continue;
            }
            LinkEvent::Message(FromManager::Monitors { generation, monitors }) => {
                told.monitors.assign(generation, monitors).await;
                continue;
            }
            LinkEvent::Message(FromManager::Carry { errands }) => {
                told.carry(errands);
                continue;
            }
            LinkEvent::Message(FromManager::Assignments { generation, assignments }) => {
                Input::Assign { generation, assignments }
            }
            LinkEvent::Message(FromManager::Groups { generation, number, groups }) => {
                told.tell_groups(GroupInput::Assign { generation, number, groups }).await;
                continue;
            }
            LinkEvent::Message(FromManager::Power { generation, act, command, who }) => {
                told.tell_groups(GroupInput::Power { generation, act, command, who }).await;
                continue;
            }
            LinkEvent::Message(FromManager::Placed(mut place)) => {
                let above = place.incarnation_above.take();
                if let Some(above) = above {
                    told.rise_above(above);
                }
                if let Some(settings) = place.heartbeats.take() {
                    told.heartbeats.send_as(*settings);
                }
                told.placed.send_replace(Some(place));
                match above {
                    Some(_) => Input::Above { incarnation: told.heartbeats.incarnation() },
                    None => continue,
                }
            }
            LinkEvent::Message(
                FromManager::Welcome { .. }
                | FromManager::Refused { .. }
                | FromManager::NotLeader { .. }
                | FromManager::Settings { .. }
                | FromManager::Views(_)
                | FromManager::Changes(_)
                | FromManager::Clusters { .. }
                | FromManager::KeepAlive,
            ) => continue,
        };
        if inputs.send(input).await.is_err() {
            return;
        }
    }
}

async fn pass_on_stop(
    mut stop: watch::Receiver<bool>,
    inputs: mpsc::Sender<Input>,
    groups: mpsc::Sender<GroupInput>,
) {
    // A handle that was dropped can never stop us in order, so that means stop too.
    let _ = stop.wait_for(|stop| *stop).await;
    // No groups are run any more: then there is nothing to stop.
    let _ = groups.send(GroupInput::Shutdown).await;
    let _ = inputs.send(Input::Shutdown).await;
}

/// Carries out what the machine decides.
struct Shell {
    node: NodeName,
    members: Members,
    probes: Probes,
    to_manager: mpsc::Sender<ToManager>,
    heard: Heard,
    certificate: OwnCertificate,
    is_connected: Rc<Cell<bool>>,
    remember: watch::Sender<Option<Remembered>>,
}

impl Shell {
    fn carry_out(&mut self, output: Output) -> ControlFlow<()> {
        match output {
            Output::Start { id, start, clone_id, launch } => {
                let launch = Box::new(launch);
                self.members.order(id, Command::Start { start, clone_id, launch });
            }
            Output::Stop { id, start, signal } => self.members.order(id, Command::Stop { start, signal }),
            Output::Kill { id, start } => self.members.order(id, Command::Kill { start }),
            Output::Probe { id, probe, address, kind, timeout_ms } => {
                let inputs = self.probes.inputs.clone();
                let configs = self.probes.configs.clone();
                self.probes.begin(id.clone(), async move {
                    let answer = probe::probe(&configs, address, &kind, timeout_ms).await;
                    let _ = inputs.send(Input::Probed { id, probe, answer }).await;
                });
            }
            Output::Report(report) => self.report(report),
            Output::Remember { generation, assignments } => {
                self.members.keep_ports(&assignments);
                self.remember.send_replace(Some(Remembered { generation, assignments }));
            }
            Output::Refused { generation, newest } => {
                tracing::warn!(
                    node = %self.node, generation, newest,
                    "refused assignments of a manager that is older than one obeyed before"
                );
            }
            Output::Tell { id, severity: Severity::Info, text } => {
                tracing::info!(cluster = %id.cluster, member = %id.member, "{text}");
            }
            Output::Tell { id, severity: Severity::Warning, text } => {
                tracing::warn!(cluster = %id.cluster, member = %id.member, "{text}");
            }
            Output::Finished => return ControlFlow::Break(()),
        }
        ControlFlow::Continue(())
    }

    fn report(&mut self, mut report: Report) {
        report.manager_heard_ms = self.heard.ago_ms();
        report.clock_ms = Some(crate::identity::now_us() / 1_000);
        report.certificate_until_ms = self.certificate.overdue_until_ms();
        // In the order of their ids, see `logic::agent`.
        let is_known = |id: &MemberId| report.members.binary_search_by(|member| member.id.cmp(id)).is_ok();
        self.members.retain(is_known);
        self.probes.retain(is_known);
        // Without a manager nobody misses it, and the next connection begins with a whole one. A full queue means
        // that the manager does not read: the next report says everything anew.
        if self.is_connected.get() && self.to_manager.try_send(ToManager::Agent(report)).is_err() {
            tracing::debug!("a report was left out: the manager does not read");
        }
    }
}

/// The probes under way, at most one for each member.
struct Probes {
    inputs: mpsc::Sender<Input>,
    running: BTreeMap<MemberId, AbortHandle>,
    tasks: JoinSet<()>,
    configs: Rc<probe::TlsConfigs>,
}

impl Probes {
    fn new(inputs: mpsc::Sender<Input>) -> Self {
        Self { inputs, running: BTreeMap::new(), tasks: JoinSet::new(), configs: Rc::default() }
    }

    fn begin(&mut self, id: MemberId, probe: impl Future<Output = ()> + 'static) {
        while self.tasks.try_join_next().is_some() {}
        let begun = self.tasks.spawn_local(probe);
        // A probe of an earlier process may still be waiting: its answer is of no interest.
        if let Some(earlier) = self.running.insert(id, begun) {
            earlier.abort();
        }
    }

    fn retain(&mut self, is_known: impl Fn(&MemberId) -> bool) {
        self.running.retain(|id, _| is_known(id));
    }
}

//! The manager's shell: holds configuration and run state, tells routers and agents.
//!
//! One thread of its own. Only one manager uses a state directory at a time (`manager.lock`). Files there:
//! `store.sqlite`, `manager.sock`. Serving needs no manager: agents and routers go on when it is gone, and it learns
//! from them again when it is back. Not here: decisions (see `logic::cell`), roles and their order (see `roles`).

mod archive;
mod cookie_keys;
mod desk;
mod enrol;
pub mod handle;
mod heartbeats;
mod links;
mod shell;
mod strangers;

use crate::clock::Clock;
use crate::config;
use crate::driver::{INBOX_MAX, drive};
use crate::identity::authority::Authority;
use crate::identity::{IdentityError, Place};
use crate::role::{RoleHandle, manager_socket};
use archive::{Archive, ArchiveError, Found};
use desk::{Config, Desk, Input};
use enrol::Office;
use handle::{ManagerHandle, REQUESTS_MAX, Request};
use heartbeats::Heartbeats;
use logic::cell::{self, Cell, changes};
use logic::machine::Machine;
use rustls::ServerConfig;
use shell::Shell;
use std::fs::{DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use store::{Store, StoreError, StoreThread};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinSet, LocalSet};
use wire::error_code::{self, ErrorCode};
use wire::settings::CellSettings;
use wire::status::{ConfigRevision, Severity};

/// How large the store may grow. 4 GiB: a hundred configurations of the largest size many times over; a mistake
/// must not fill the disk of a machine that also serves.
const STORE_SIZE_MAX_BYTES: u64 = 4 << 30;
/// How long the end waits for what is still to be written.
const CLOSE_WAIT: Duration = Duration::from_secs(5);

/// What a manager needs to run.
#[derive(Debug, Clone)]
pub struct ManagerOptions {
    /// Made from `config_text`.
    pub settings: CellSettings,
    pub config_text: String,
    pub state_dir: PathBuf,
    /// Who gave the configuration, for its history.
    pub who: String,
}

/// Why no manager runs. None is left running; retry once the cause is gone.
#[derive(Debug, thiserror::Error)]
pub enum ManagerError {
    /// Nothing has changed.
    #[error("{}: the state directory {} cannot be used", self.code(), path.display())]
    Directory {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// Nothing has changed, and the other process is not disturbed.
    #[error("{}: another process uses the state directory {}", self.code(), path.display())]
    InUse { path: PathBuf },
    /// The generation may have been raised, which is harmless.
    #[error("{}: the manager cannot start from its state", self.code())]
    Archive {
        #[source]
        source: ArchiveError,
    },
    /// The generation was raised, and the configuration is in the history.
    #[error("{}: the manager cannot listen at {}", self.code(), path.display())]
    Socket {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// As for `Socket`.
    #[error("{}: the manager cannot listen on {address} for other machines", self.code())]
    Listen {
        address: SocketAddr,
        #[source]
        source: io::Error,
    },
    /// As for `Socket`.
    #[error("{}: the manager cannot hear heartbeats on UDP {address}", self.code())]
    Heartbeats {
        address: SocketAddr,
        #[source]
        source: io::Error,
    },
    /// Nothing has changed.
    #[error("other machines cannot be let in")]
    Identity(#[source] IdentityError),
    /// As for `Socket`.
    #[error("{}: the manager's thread cannot start", self.code())]
    Thread {
        #[source]
        source: io::Error,
    },
}

impl ManagerError {
    /// The code under which docs/errors explains this.
    pub fn code(&self) -> ErrorCode {
        match self {
            ManagerError::InUse { .. } => error_code::STATE_DIRECTORY_IN_USE,
            ManagerError::Archive {
                source: ArchiveError::Store(StoreError::Damaged { .. } | StoreError::Foreign { .. }),
            }
            | ManagerError::Archive { source: ArchiveError::Meaningless { .. } } => error_code::STORE_DAMAGED,
            ManagerError::Archive { .. } => error_code::STORE_WRITE_FAILED,
            ManagerError::Listen { .. } | ManagerError::Heartbeats { .. } => error_code::ADDRESS_IN_USE,
            ManagerError::Identity(error) => error.code(),
            ManagerError::Directory { .. } | ManagerError::Socket { .. } | ManagerError::Thread { .. } => {
                error_code::STATE_DIRECTORY_NOT_USABLE
            }
        }
    }
}

/// All that was gathered before the thread started.
struct Start {
    store: Store,
    store_thread: StoreThread,
    found: Found,
    /// The configuration before this start, if it was another one.
    before: Option<CellSettings>,
    config: Config,
    cookie_keys: Vec<String>,
    listener: std::os::unix::net::UnixListener,
    socket: PathBuf,
    elsewhere: Option<Elsewhere>,
    requests: mpsc::Receiver<Request>,
    changed: watch::Sender<u64>,
    _lock: File,
}

/// What it takes to let other machines in.
struct Elsewhere {
    listener: std::net::TcpListener,
    authority: Authority,
    tls: Arc<ServerConfig>,
    place: Place,
    heartbeats: heartbeats::Prepared,
}

impl Elsewhere {
    fn prepare(settings: &CellSettings, directory: &Path) -> Result<Option<Self>, ManagerError> {
        let (Some(address), Some(node)) = (settings.manager.listen, settings.nodes.first()) else {
            return Ok(None);
        };
        let place = Place::of(directory);
        let authority = Authority::load(&place).map_err(ManagerError::Identity)?;
        let life = Duration::from_millis(settings.manager.certificate_life_ms);
        let tls = enrol::own_tls(&authority, &place, node, life).map_err(ManagerError::Identity)?;
        let refused = |source| ManagerError::Listen { address, source };
        let listener = std::net::TcpListener::bind(address).map_err(refused)?;
        listener.set_nonblocking(true).map_err(refused)?;
        let heard_at = settings.manager.heartbeat_listen().expect("a port without a next one was refused");
        let keys = heartbeats::Keys::open(&place, heartbeats::cell_number(&authority.id), heard_at.port());
        let keys =
            keys.map_err(|source| ManagerError::Directory { path: place.heartbeat_secret(), source })?;
        let refused = |source| ManagerError::Heartbeats { address: heard_at, source };
        let heartbeats = heartbeats::Prepared::bind(heard_at, keys).map_err(refused)?;
        Ok(Some(Self { listener, authority, tls, place, heartbeats }))
    }
}

/// Starts the manager on a thread of its own. When this returns `Ok`, roles can connect and requests are answered.
pub fn start(options: ManagerOptions) -> Result<(RoleHandle, ManagerHandle), ManagerError> {
    let directory = options.state_dir.clone();
    let unusable = |source| ManagerError::Directory { path: directory.clone(), source };
    DirBuilder::new().recursive(true).mode(0o700).create(&directory).map_err(unusable)?;
    let lock = lock(&directory).map_err(unusable)?;
    let lock = lock.ok_or_else(|| ManagerError::InUse { path: directory.clone() })?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|source| ManagerError::Thread { source })?;
    let elsewhere = Elsewhere::prepare(&options.settings, &directory)?;

    let opened = Store::open(&directory.join("store.sqlite"), STORE_SIZE_MAX_BYTES);
    let (store, store_thread) =
        opened.map_err(|error| ManagerError::Archive { source: ArchiveError::Store(error) })?;
    let prepared = runtime.block_on(prepare(&store, &options));
    let (found, before, config) = prepared.map_err(|source| ManagerError::Archive { source })?;

    let cookie_keys = cookie_keys::read_or_create(&directory.join("cookie-keys"));
    let cookie_keys = cookie_keys.map_err(unusable)?;
    let socket = manager_socket(&directory);
    let listener = listen(&socket).map_err(|source| ManagerError::Socket { path: socket.clone(), source })?;
    let (stop, stopping) = watch::channel(false);
    let (requests_in, requests) = mpsc::channel(REQUESTS_MAX);
    let (changed, changed_seen) = watch::channel(0);
    let start = Start {
        store,
        store_thread,
        found,
        before,
        config,
        cookie_keys,
        listener,
        socket,
        elsewhere,
        requests,
        changed,
        _lock: lock,
    };
    let thread = std::thread::Builder::new()
        .name("manager".into())
        .spawn(move || LocalSet::new().block_on(&runtime, live(start, stopping)))
        .map_err(|source| ManagerError::Thread { source })?;
    let handle = ManagerHandle { requests: requests_in, changed: changed_seen };
    Ok((RoleHandle { name: "manager", stop, thread }, handle))
}

/// None: another process has it.
fn lock(directory: &Path) -> io::Result<Option<File>> {
    let path = directory.join("manager.lock");
    let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Takes a generation and brings the configuration's history up to date.
async fn prepare(
    store: &Store,
    options: &ManagerOptions,
) -> Result<(Found, Option<CellSettings>, Config), ArchiveError> {
    let mut found = archive::begin(store).await?;
    let (text, settings) = (options.config_text.clone(), options.settings.clone());
    if let Some((revision, _)) = found.current.as_ref().filter(|(_, old)| *old == text) {
        let config = Config { revision: *revision, text, settings };
        return Ok((found, None, config));
    }
    let old = found.current.as_ref().and_then(|(_, old)| config::parse(old, "the last configuration").ok());
    let after = found.current.as_ref().map_or(0, |(revision, _)| *revision);
    let changes = match &old {
        Some(old) => changes(old, &settings),
        None => vec!["the configuration of a new cell".to_owned()],
    };
    let clock = Clock::start();
    let at_ms = clock.unix_ms(clock.now());
    let entry = ConfigRevision { revision: after + 1, at_ms, who: options.who.clone(), changes };
    archive::commit_config(store, after, &entry, &text).await?;
    let config = Config { revision: entry.revision, text, settings };
    archive::extend_history(&mut found.history, entry);
    Ok((found, old, config))
}

/// We hold the lock, so a socket that is there belongs to nobody.
fn listen(socket: &Path) -> io::Result<std::os::unix::net::UnixListener> {
    match std::fs::remove_file(socket) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let listener = std::os::unix::net::UnixListener::bind(socket)?;
    std::fs::set_permissions(socket, Permissions::from_mode(0o600))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

async fn live(start: Start, stopping: watch::Receiver<bool>) {
    let clock = Clock::start();
    let (inputs, inbox) = mpsc::channel(INBOX_MAX);
    let mut tasks = JoinSet::new();
    let generation = start.found.generation;
    let revision = start.config.revision;
    let (office, prepared) = open_office(start.elsewhere, &start.store, &start.config.settings).await.unzip();
    let keys = prepared.as_ref().map(|prepared: &heartbeats::Prepared| prepared.keys.clone());
    let cell = Cell::new(generation, start.found.remembered);
    let mut desk = Desk::new(cell, start.config, start.cookie_keys, keys.clone());
    let mut shell = Shell {
        clock,
        store: start.store.clone(),
        archive: Archive::default(),
        events: start.found.events,
        history: start.found.history,
        changed: start.changed,
        inbox: inputs.clone(),
        commits: JoinSet::new(),
        office: office.as_ref().map(|(_, office)| office.clone()),
        heartbeats: prepared.and_then(|prepared| listen_for_heartbeats(prepared, &inputs)),
    };
    let text =
        format!("manager of generation {generation} started with revision {revision} of the configuration");
    let started = Input::Note { severity: Severity::Info, kind: "manager-started", text };
    // The one before first: members that it had and the present one has not are taken out in good order.
    let settings = start.before.into_iter().chain([desk.config.settings.clone()]);
    let configured = settings.map(|settings| Input::Cell(cell::Input::Configure(Box::new(settings))));
    for input in std::iter::once(started).chain(configured).collect::<Vec<_>>() {
        for output in desk.step(clock.now(), input) {
            assert!(shell.carry_out(&desk, output).is_continue(), "nobody has asked to stop");
        }
    }
    shell.know_nodes(&desk);

    let listener = UnixListener::from_std(start.listener).expect("it is a listener of this runtime's kind");
    tasks.spawn_local(links::accept(listener, inputs.clone()));
    if let Some((listener, office)) = office {
        tasks.spawn_local(strangers::accept(listener, office.clone(), inputs.clone()));
        tasks.spawn_local(async move { office.keep_own_renewed().await });
    }
    tasks.spawn_local(pass_on(start.requests, inputs.clone()));
    tasks.spawn_local(pass_on_stop(stopping, inputs.clone()));
    let archive = shell.archive.clone();
    let mut writer = tokio::task::spawn_local(archive.clone().keep(start.store, inputs));
    drive(desk, clock, inbox, |desk, output| shell.carry_out(desk, output)).await;

    // Roles see their connections end; what is left to be written is written.
    tasks.shutdown().await;
    shell.commits.shutdown().await;
    drop(shell);
    archive.close();
    if tokio::time::timeout(CLOSE_WAIT, &mut writer).await.is_err() {
        tracing::warn!("the last events could not be written in time");
        // It holds the store, whose thread is waited for below.
        writer.abort();
        drop(writer.await);
    }
    // Gone already is as good as removed.
    drop(std::fs::remove_file(&start.socket));
    if start.store_thread.join().is_err() {
        tracing::error!("the store's thread has failed");
    }
}

/// None where the system gives no thread: the manager then goes on as it did before there were heartbeats, and says so.
fn listen_for_heartbeats(prepared: heartbeats::Prepared, inputs: &mpsc::Sender<Input>) -> Option<Heartbeats> {
    match Heartbeats::start(prepared, inputs.clone()) {
        Ok(heartbeats) => Some(heartbeats),
        Err(error) => {
            tracing::error!(%error, "no heartbeats are heard: lost machines are noticed by their connections");
            None
        }
    }
}

/// None also where the store has just failed: the manager then goes on for its own machine, and says so.
async fn open_office(
    elsewhere: Option<Elsewhere>,
    store: &Store,
    settings: &CellSettings,
) -> Option<((TcpListener, Rc<Office>), heartbeats::Prepared)> {
    let Elsewhere { listener, authority, tls, place, heartbeats } = elsewhere?;
    let address = listener.local_addr().ok();
    let listener = TcpListener::from_std(listener).expect("it is a listener of this runtime's kind");
    let fingerprint = authority.fingerprint_text();
    match Office::open(store.clone(), authority, place, settings.clone(), tls).await {
        Ok(office) => {
            tracing::info!(?address, authority = fingerprint, "the manager listens for other machines");
            Some(((listener, Rc::new(office)), heartbeats))
        }
        Err(error) => {
            tracing::error!(%error, "other machines cannot be let in: the store has failed");
            None
        }
    }
}

async fn pass_on(mut requests: mpsc::Receiver<Request>, inputs: mpsc::Sender<Input>) {
    while let Some(request) = requests.recv().await {
        if inputs.send(Input::Ask(request)).await.is_err() {
            return;
        }
    }
}

async fn pass_on_stop(mut stopping: watch::Receiver<bool>, inputs: mpsc::Sender<Input>) {
    // A handle that was dropped means the same: nobody can ask to stop any more.
    drop(stopping.wait_for(|stop| *stop).await);
    drop(inputs.send(Input::Stop).await);
}

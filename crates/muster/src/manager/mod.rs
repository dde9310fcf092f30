//! The manager's shell: holds configuration and run state, tells routers and agents.
//!
//! One thread of its own. Only one manager uses a state directory at a time (`manager.lock`). Files there:
//! `store.sqlite`, `manager.sock`. Serving needs no manager: agents and routers go on when it is gone, and it learns
//! from them again when it is back. A manager on a file of its own leads from its start to its end; those that share a
//! store on servers elect the one that leads, and begin anew with each term.
//! Not here: decisions (see `logic::cell`), roles and their order (see `roles`).

mod archive;
mod cookie_keys;
mod desk;
mod election;
mod enrol;
mod fenced;
mod fences;
mod front;
mod group_records;
pub mod handle;
mod hearing;
mod heartbeats;
mod links;
mod listening;
mod past;
mod shell;
mod storage;
mod strangers;
mod telling;
mod term;
mod waiting;

use crate::accounts::{self, Accounts, AccountsHandle};
use crate::clock::Clock;
use crate::identity::IdentityError;
use crate::lock_file;
use crate::role::{RoleHandle, manager_socket};
use archive::ArchiveError;
use desk::{Again, Suspects};
use election::{Election, Lease};
use fenced::{Bounds, FencedStore};
use front::{Front, Passage};
use handle::{CALLERS_MAX, Leadership, ManagerHandle, NodeCallers, REQUESTS_MAX, Request, Started};
use heartbeats::Heartbeats;
use logic::lease::{NORMAL, Profile};
use std::fs::{DirBuilder, File, Permissions};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;
use storage::StorageError;
use store::{Store, StoreError, StoreThread};
use term::{Begun, Ended};
use tokio::net::UnixListener;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinSet, LocalSet};
use waiting::WaitingRoom;
use wire::error_code::{self, ErrorCode};
use wire::id::NodeName;
use wire::link::CellSecrets;
use wire::settings::{CellSettings, StoreSettings};

/// First pause between attempts to open a store on servers; each is twice the last.
const OPEN_AGAIN_MIN: Duration = Duration::from_millis(200);
/// Longest such pause: servers that are back must not wait long for us.
const OPEN_AGAIN_MAX: Duration = Duration::from_secs(5);
/// Pause after a term that could not begin.
const BEGIN_AGAIN: Duration = Duration::from_secs(1);

/// What a manager needs to run.
#[derive(Debug, Clone)]
pub struct ManagerOptions {
    /// Made from `config_text`.
    pub settings: CellSettings,
    pub config_text: String,
    /// It is a file of the user's, and not what another manager said.
    pub is_users: bool,
    /// The one that it runs on.
    pub node: NodeName,
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
    /// Nothing has changed.
    #[error("{}: the manager has no store", self.code())]
    Storage {
        #[source]
        source: StorageError,
    },
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
    /// Whether another attempt may succeed although nobody has changed anything of Muster's: a disk gets room, a server
    /// of a store comes back.
    pub fn may_pass(&self) -> bool {
        use io::ErrorKind::{QuotaExceeded, StorageFull};
        match self {
            ManagerError::Archive { source: ArchiveError::Store(error) }
            | ManagerError::Storage { source: StorageError::Store(error) } => match error {
                StoreError::Full { .. }
                | StoreError::Busy { .. }
                | StoreError::Unavailable { .. }
                | StoreError::Engine { .. }
                | StoreError::Unknown { .. }
                | StoreError::Gone { .. } => true,
                StoreError::Refused(_)
                | StoreError::Denied { .. }
                | StoreError::TooLarge { .. }
                | StoreError::Damaged { .. }
                | StoreError::Foreign { .. }
                | StoreError::Newer { .. }
                | StoreError::Closed => false,
            },
            ManagerError::Directory { source, .. } | ManagerError::Socket { source, .. } => {
                matches!(source.kind(), StorageFull | QuotaExceeded)
            }
            ManagerError::Archive { source: ArchiveError::NotLeader } => true,
            ManagerError::Archive {
                source:
                    ArchiveError::Overtaken
                    | ArchiveError::Meaningless { .. }
                    | ArchiveError::Config { .. }
                    | ArchiveError::NotPlaced { .. },
            }
            | ManagerError::Storage { source: StorageError::Password { .. } | StorageError::Tls(_) }
            | ManagerError::InUse { .. }
            | ManagerError::Listen { .. }
            | ManagerError::Heartbeats { .. }
            | ManagerError::Identity(_)
            | ManagerError::Thread { .. } => false,
        }
    }

    /// The code under which docs/errors explains this.
    pub fn code(&self) -> ErrorCode {
        match self {
            ManagerError::InUse { .. } => error_code::STATE_DIRECTORY_IN_USE,
            ManagerError::Storage {
                source: StorageError::Store(StoreError::Damaged { .. } | StoreError::Foreign { .. }),
            }
            | ManagerError::Archive {
                source: ArchiveError::Store(StoreError::Damaged { .. } | StoreError::Foreign { .. }),
            }
            | ManagerError::Archive { source: ArchiveError::Meaningless { .. } } => error_code::STORE_DAMAGED,
            ManagerError::Archive { .. } | ManagerError::Storage { .. } => error_code::STORE_WRITE_FAILED,
            ManagerError::Listen { .. } | ManagerError::Heartbeats { .. } => error_code::ADDRESS_IN_USE,
            ManagerError::Identity(error) => error.code(),
            ManagerError::Directory { .. } | ManagerError::Socket { .. } | ManagerError::Thread { .. } => {
                error_code::STATE_DIRECTORY_NOT_USABLE
            }
        }
    }
}

pub use desk::{FenceWish, PowerWish};
pub use storage::read_password as read_store_password;

/// Where the keys of cookies are kept.
pub fn cookie_keys_path(state_dir: &Path) -> PathBuf {
    state_dir.join("cookie-keys")
}

/// What the manager was started with.
struct Own {
    settings: CellSettings,
    config_text: String,
    is_users: bool,
    node: NodeName,
    who: String,
}

/// What lasts from the start to the end, whether this manager leads or not.
struct Base {
    clock: Clock,
    own: Own,
    local: Rc<UnixListener>,
    front: Option<Rc<Front>>,
    heartbeats: Option<Rc<Heartbeats>>,
    secrets: CellSecrets,
    suspects: Suspects,
    /// For the audit log.
    accounts: AccountsHandle,
    requests: mpsc::Receiver<Request>,
    changed: Rc<watch::Sender<u64>>,
    leadership: watch::Sender<Leadership>,
    stopping: watch::Receiver<bool>,
}

impl Base {
    /// Tells why all begins anew. A generation that was heard of, and which the store has forgotten.
    fn begin_anew(&mut self, again: Again) -> Option<u64> {
        match again {
            Again::Outnumbered { place, generation } => {
                tracing::warn!(
                    ?place,
                    generation,
                    "the store was put back: this generation is known and was not kept"
                );
                self.suspects.note(self.clock.now(), place);
                Some(generation)
            }
            Again::Doubted => {
                tracing::warn!("another configuration may be in the store: what is in force is read again");
                None
            }
        }
    }
}

/// A store that is open, with the first term on it.
struct Opened {
    store: Store,
    thread: StoreThread,
    begun: Begun,
    accounts: Accounts,
}

/// What is to be led on.
enum Stock {
    Here(Box<Opened>),
    /// It is on servers, which may not be there yet.
    Elsewhere(accounts::Waiting),
}

/// All that was gathered before the thread started.
struct Start {
    own: Own,
    stock: Stock,
    state_dir: PathBuf,
    secrets: CellSecrets,
    listener: std::os::unix::net::UnixListener,
    socket: PathBuf,
    front: Option<front::Prepared>,
    heartbeats: Option<heartbeats::Prepared>,
    passage: Passage,
    accounts: AccountsHandle,
    requests: mpsc::Receiver<Request>,
    changed: watch::Sender<u64>,
    leadership: watch::Sender<Leadership>,
    _lock: File,
}

/// Starts the manager on a thread of its own. When this returns `Ok`, roles can connect; requests are answered once it
/// leads, which is at once where it has its store to itself.
pub fn start(options: ManagerOptions) -> Result<Started, ManagerError> {
    let ManagerOptions { settings, config_text, is_users, node, state_dir, who } = options;
    let unusable = |source| ManagerError::Directory { path: state_dir.clone(), source };
    DirBuilder::new().recursive(true).mode(0o700).create(&state_dir).map_err(unusable)?;
    let lock = lock_file::take(&state_dir.join("manager.lock")).map_err(unusable)?;
    let lock = lock.ok_or_else(|| ManagerError::InUse { path: state_dir.clone() })?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|source| ManagerError::Thread { source })?;
    let front = front::Prepared::gather(&settings, &state_dir, &node)?;
    let own = Own { settings, config_text, is_users, node, who };
    let (accounts, waiting) = accounts::prepare();
    let stock = match own.settings.store {
        StoreSettings::Sqlite => {
            Stock::Here(Box::new(runtime.block_on(open_own(&own, &state_dir, waiting))?))
        }
        StoreSettings::Postgres { .. } | StoreSettings::Etcd { .. } => Stock::Elsewhere(waiting),
    };
    let cookie_keys = cookie_keys::read_or_create(&cookie_keys_path(&state_dir)).map_err(unusable)?;
    let heartbeats = front.as_ref().map(|front| front.heartbeats(&own.settings)).transpose()?;
    let secrets = match &front {
        Some(front) => front.secrets(cookie_keys).map_err(unusable)?,
        None => CellSecrets { cookie_keys, ..CellSecrets::default() },
    };
    let socket = manager_socket(&state_dir);
    let listener = listen(&socket).map_err(|source| ManagerError::Socket { path: socket.clone(), source })?;
    let (stop, stopping) = watch::channel(false);
    let (requests_in, requests) = mpsc::channel(REQUESTS_MAX);
    let (changed, changed_seen) = watch::channel(0);
    let (leadership, leadership_seen) = watch::channel(Leadership::Nobody);
    let (callers, connections) = mpsc::channel(CALLERS_MAX);
    let (records, records_seen) = watch::channel(None);
    let start = Start {
        own,
        stock,
        state_dir,
        secrets,
        listener,
        socket,
        front,
        heartbeats,
        passage: Passage { callers, records },
        accounts: accounts.clone(),
        requests,
        changed,
        leadership,
        _lock: lock,
    };
    let thread = std::thread::Builder::new()
        .name("manager".into())
        .spawn(move || LocalSet::new().block_on(&runtime, live(start, stopping)))
        .map_err(|source| ManagerError::Thread { source })?;
    Ok(Started {
        role: RoleHandle { name: "manager", stop, thread },
        manager: ManagerHandle { leadership: leadership_seen, requests: requests_in, changed: changed_seen },
        accounts,
        callers: NodeCallers { connections, records: records_seen },
    })
}

/// Opens a store that this manager has to itself, and begins on it.
async fn open_own(own: &Own, state_dir: &Path, waiting: accounts::Waiting) -> Result<Opened, ManagerError> {
    let opened = storage::open(&own.settings.store, state_dir).await;
    let (store, thread) = opened.map_err(|source| ManagerError::Storage { source })?;
    let lease = Lease::always();
    let fenced = FencedStore::new(store.clone(), lease.clone(), Bounds::of(&own.settings.store));
    let begun = term::begin(&fenced, own, true, 0, &lease).await;
    let begun = begun.map_err(|source| ManagerError::Archive { source })?;
    let accounts = waiting.open(store.clone()).await;
    let accounts = accounts.map_err(|error| ManagerError::Archive { source: ArchiveError::Store(error) })?;
    Ok(Opened { store, thread, begun, accounts })
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
    let Start {
        own,
        stock,
        state_dir,
        secrets,
        listener,
        socket,
        front,
        heartbeats,
        passage,
        accounts,
        requests,
        changed,
        leadership,
        _lock,
    } = start;
    let local = UnixListener::from_std(listener).expect("it is a listener of this runtime's kind");
    let front = front.map(|front| Rc::new(front.open(passage)));
    let mut lasting = JoinSet::new();
    if let Some(front) = front.clone() {
        lasting.spawn_local(async move { front.keep_own_renewed().await });
    }
    let mut base = Base {
        clock: Clock::start(),
        own,
        local: Rc::new(local),
        front,
        heartbeats: heartbeats.and_then(listen_for_heartbeats),
        secrets,
        suspects: Suspects::default(),
        accounts,
        requests,
        changed: Rc::new(changed),
        leadership,
        stopping,
    };
    let thread = match stock {
        Stock::Here(opened) => {
            let Opened { store, thread, begun, accounts } = *opened;
            lasting.spawn_local(accounts.run());
            lead_alone(&mut base, store, begun).await;
            Some(thread)
        }
        Stock::Elsewhere(waiting) => match open_shared(&mut base, &state_dir).await {
            Some((store, thread)) => {
                // Whoever leads, and if nobody does.
                lasting.spawn_local(waiting.run(store.clone()));
                take_turns(&mut base, store).await;
                Some(thread)
            }
            None => None,
        },
    };
    lasting.shutdown().await;
    drop(base);
    // Gone already is as good as removed.
    drop(std::fs::remove_file(&socket));
    if let Some(thread) = thread {
        // Apart, so that tasks of this thread which were given up can let go of the store.
        let joined = tokio::task::spawn_blocking(move || thread.join().is_ok()).await;
        if !joined.unwrap_or(false) {
            tracing::error!("the store's thread has failed");
        }
    }
}

/// None where the system gives no thread: the manager then goes on as if there were no heartbeats, and says so.
fn listen_for_heartbeats(prepared: heartbeats::Prepared) -> Option<Rc<Heartbeats>> {
    match Heartbeats::start(prepared) {
        Ok(heartbeats) => Some(Rc::new(heartbeats)),
        Err(error) => {
            tracing::error!(%error, "no heartbeats are heard: lost machines are noticed by their connections");
            None
        }
    }
}

/// Leads until it is asked to stop: nobody else uses the store.
async fn lead_alone(base: &mut Base, store: Store, begun: Begun) {
    let lease = Lease::always();
    let fenced = FencedStore::new(store, lease.clone(), Bounds::of(&base.own.settings.store));
    let mut begun = Some(begun);
    let mut heard = 0;
    base.leadership.send_replace(Leadership::Here);
    loop {
        let next = match begun.take() {
            Some(begun) => Ok(begun),
            None => term::begin(&fenced, &base.own, false, heard, &lease).await,
        };
        let ended = match next {
            Ok(begun) => term::lead(base, begun, fenced.clone(), lease.clone(), std::future::pending()).await,
            Err(error) => match pause_after(base, &error).await {
                true => continue,
                false => Ended::Asked,
            },
        };
        match ended {
            Ended::Asked | Ended::Over => return,
            Ended::Again(again) => heard = base.begin_anew(again).unwrap_or(heard),
        }
    }
}

/// Opens a store on servers, however long that takes. None: the manager was asked to stop.
async fn open_shared(base: &mut Base, state_dir: &Path) -> Option<(Store, StoreThread)> {
    let _room = WaitingRoom::open(base);
    let mut pause = OPEN_AGAIN_MIN;
    let mut told = String::new();
    let mut stopping = base.stopping.clone();
    let opening = async {
        loop {
            let error = match storage::open(&base.own.settings.store, state_dir).await {
                Ok(opened) => return opened,
                Err(error) => crate::logging::chain(&error),
            };
            if told != error {
                let code = error_code::STORE_NOT_REACHED;
                tracing::error!(%code, error, "this manager cannot lead without its store; trying again");
                told = error;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(OPEN_AGAIN_MAX);
        }
    };
    // What is cancelled has only read.
    tokio::select! {
        _ = stopping.wait_for(|stop| *stop) => None,
        opened = opening => Some(opened),
        () = waiting::turn_away(&mut base.requests) => None,
    }
}

/// Takes part in the election, and leads whenever it is this manager's turn, until it is asked to stop.
async fn take_turns(base: &mut Base, store: Store) {
    let profile = Profile::named(&base.own.settings.manager.profile).unwrap_or(&NORMAL);
    let terms = base.heartbeats.as_ref().map(|heartbeats| heartbeats.terms.clone()).unwrap_or_default();
    let election = match Election::start(store.clone(), &base.own.node, *profile, terms) {
        Ok(election) => election,
        Err(error) => {
            return tracing::error!(%error, "no random numbers: this manager cannot be told from others");
        }
    };
    let bounds = Bounds::of(&base.own.settings.store);
    let (mut is_new, mut heard) = (true, 0);
    while let Some(lease) = waiting::until_leading(base, &store, &election).await {
        let number = lease.term().expect("it is of an election");
        loop {
            let fenced = FencedStore::new(store.clone(), lease.clone(), bounds);
            let beginning = term::begin(&fenced, &base.own, is_new, heard, &lease);
            // Cancelling leaves at most a generation that nobody has used.
            let begun = tokio::select! {
                biased;
                () = election.over(number) => break,
                begun = beginning => begun,
            };
            let ended = match begun {
                Ok(begun) => {
                    is_new = false;
                    let over = election.over(number);
                    term::lead(base, begun, fenced, lease.clone(), over).await
                }
                Err(ArchiveError::NotLeader) => Ended::Over,
                Err(error) => {
                    election.give_up(number).await;
                    match pause_after(base, &error).await {
                        true => Ended::Over,
                        false => Ended::Asked,
                    }
                }
            };
            match ended {
                Ended::Asked => return election.leave(number).await,
                Ended::Over if lease.holds() => {
                    // A write has shown that another term has begun, and the lease has not heard of it yet.
                    election.give_up(number).await;
                    break;
                }
                Ended::Over => break,
                Ended::Again(again) => heard = base.begin_anew(again).unwrap_or(heard),
            }
        }
        base.leadership.send_replace(Leadership::Nobody);
        election.stopped(number).await;
    }
}

/// Tells why no term has begun, and waits a moment. False: the manager was asked to stop.
async fn pause_after(base: &mut Base, error: &ArchiveError) -> bool {
    let (code, error) = (shell::refusal(error).code, crate::logging::chain(error));
    tracing::error!(code, error, "this manager cannot begin to lead; trying again");
    let mut stopping = base.stopping.clone();
    // What is cancelled only waits.
    tokio::select! {
        _ = stopping.wait_for(|stop| *stop) => false,
        () = tokio::time::sleep(BEGIN_AGAIN) => true,
    }
}

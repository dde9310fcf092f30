//! The side of the process that serves: starts a successor when an operator asks, and hands over to it.

use super::message::{Answer, Ask, OfferedAddress, OfferedRouter, UPGRADE_VERSION};
use super::predecessor::{Before, lead};
use super::{DRAIN_SECONDS, Origin, RELEASE, RouterAccess, START_MAX, descriptors, notify};
use crate::link::{read_frame, read_frame_within, write_frame};
use crate::role::RoleHandle;
use crate::router::handover::{Held, Offer, Request};
use std::cell::Cell;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinSet, LocalSet};
use wire::link::KEEP_ALIVE_MS;
use wire::router::RouterReport;

/// Connections at a time: an operator, a successor, and a few who made a mistake.
const CONNECTIONS_MAX: usize = 8;
/// Reports that may wait for the successor.
const REPORTS_MAX: usize = 16;
/// Pause after the system gave no connection, e.g. for want of file descriptors: nothing tells when there are some.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub struct ServeOptions {
    pub seat: Seat,
    pub routers: Vec<RouterAccess>,
    /// How to start a successor, or why there cannot be one.
    pub origin: Result<Origin, String>,
    pub before: Before,
    /// Set when another process has taken over.
    pub is_handed_over: Arc<AtomicBool>,
}

/// Nothing was changed; a retry is safe once the cause is gone.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("another process runs these routers and answers at {path}; `muster router upgrade` replaces it", path = path.display())]
    AlreadyRuns { path: PathBuf },
    #[error("cannot listen at {path}", path = path.display())]
    Listen {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// A listener beside the place where others look for the process that serves: what can fail, fails before anybody lets go.
#[derive(Debug)]
pub struct Seat {
    path: PathBuf,
    beside: PathBuf,
    listener: std::os::unix::net::UnixListener,
}

impl Seat {
    /// `is_first`: nothing is taken over, so nobody may be there.
    pub fn prepare(path: &Path, is_first: bool) -> Result<Self, ServeError> {
        let path = path.to_path_buf();
        if is_first && std::os::unix::net::UnixStream::connect(&path).is_ok() {
            return Err(ServeError::AlreadyRuns { path });
        }
        let beside = path.with_extension("new");
        match bind(&beside) {
            Ok(listener) => Ok(Self { path, beside, listener }),
            Err(source) => Err(ServeError::Listen { path, source }),
        }
    }

    /// In the place of what lies there: a predecessor's, or what is left of a process that was killed. Whoever got here
    /// serves already, and goes on also where the next one will not find it.
    fn sit(self) -> std::os::unix::net::UnixListener {
        if let Err(error) = fs::rename(&self.beside, &self.path) {
            let path = self.path.display();
            tracing::error!(%path, %error, "nobody can ask this process for an upgrade until it is restarted");
        }
        self.listener
    }
}

fn bind(path: &Path) -> io::Result<std::os::unix::net::UnixListener> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let listener = std::os::unix::net::UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Listens for operators and successors on a thread of its own.
pub fn serve(options: ServeOptions) -> Result<RoleHandle, ServeError> {
    let path = options.seat.path.clone();
    let cannot = |source| ServeError::Listen { path: path.clone(), source };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(cannot)?;
    let (stop, stopped) = watch::channel(false);
    let thread = std::thread::Builder::new().name("upgrade".into());
    let live = move || LocalSet::new().block_on(&runtime, live(options, stopped));
    let thread = thread.spawn(live).map_err(cannot)?;
    Ok(RoleHandle { name: "upgrade", stop, thread })
}

/// What the connections share.
#[derive(Debug)]
struct Desk {
    routers: Vec<RouterAccess>,
    origin: Result<Origin, String>,
    is_handed_over: Arc<AtomicBool>,
    /// A process is being started, or takes over.
    is_starting: watch::Sender<bool>,
    is_taking_over: watch::Sender<bool>,
    drain_ms: Cell<u64>,
    /// Who took over: process and version.
    successor: watch::Sender<Option<(u32, String)>>,
}

/// Takes a flag back when whoever set it is done, whatever way.
struct Busy<'a>(Option<&'a watch::Sender<bool>>);

impl<'a> Busy<'a> {
    fn begin(flag: &'a watch::Sender<bool>) -> Option<Self> {
        (!flag.send_replace(true)).then_some(Self(Some(flag)))
    }

    /// Leaves it set.
    fn for_ever(mut self) {
        self.0 = None;
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        if let Some(flag) = self.0 {
            flag.send_replace(false);
        }
    }
}

async fn live(options: ServeOptions, mut stopped: watch::Receiver<bool>) {
    let ServeOptions { seat, routers, origin, is_handed_over, before } = options;
    let listener = seat.sit();
    let mut tasks = JoinSet::new();
    tasks.spawn_local(lead(before, routers.clone()));
    let (successor, mut succeeded) = watch::channel(None);
    let desk = Rc::new(Desk {
        routers,
        origin,
        is_handed_over,
        is_starting: watch::Sender::new(false),
        is_taking_over: watch::Sender::new(false),
        drain_ms: Cell::new(DRAIN_SECONDS * 1000),
        successor,
    });
    let listener = UnixListener::from_std(listener).expect("it is a listener of this runtime's kind");
    loop {
        // Every branch may be cancelled: neither a connection nor an end is lost before it is returned.
        tokio::select! {
            _ = stopped.wait_for(|stop| *stop) => return tasks.shutdown().await,
            _ = succeeded.wait_for(Option::is_some) => break,
            accepted = listener.accept(), if tasks.len() < CONNECTIONS_MAX => match accepted {
                Ok((stream, _)) => drop(tasks.spawn_local(connection(desk.clone(), stream))),
                Err(error) => {
                    tracing::warn!(%error, "cannot accept at the upgrade socket");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(_) = tasks.join_next() => {}
        }
    }
    // The path is the successor's now. What is left is to tell it of our last clients.
    drop(listener);
    let rest = async { while tasks.join_next().await.is_some() {} };
    tokio::select! {
        _ = stopped.wait_for(|stop| *stop) => {}
        () = rest => {}
    }
    tasks.shutdown().await;
}

async fn connection(desk: Rc<Desk>, mut stream: UnixStream) {
    if let Err(error) = desk.talk(&mut stream).await {
        tracing::debug!(%error, "a connection to the upgrade socket ended");
    }
}

async fn refuse(stream: &mut UnixStream, reason: String) -> io::Result<()> {
    tracing::warn!(reason, "no upgrade");
    write_frame(stream, &Answer::Refused { reason }).await
}

impl Desk {
    async fn talk(&self, stream: &mut UnixStream) -> io::Result<()> {
        let uid = stream.peer_cred()?.uid();
        if uid != rustix::process::geteuid().as_raw() && uid != 0 {
            return refuse(stream, "only the user of this process may ask".into()).await;
        }
        match read_frame(stream).await? {
            Ask::Upgrade { version, .. } | Ask::TakeOver { version, .. } if version != UPGRADE_VERSION => {
                let reason = format!(
                    "it speaks version {version} of the hand-over and this process version {UPGRADE_VERSION}: \
                     stop the one and start the other"
                );
                refuse(stream, reason).await
            }
            Ask::Upgrade { binary, drain_ms, .. } => self.upgrade(stream, binary, drain_ms).await,
            Ask::TakeOver { pid, release, .. } => self.hand_over(stream, pid, release).await,
            Ask::Serves | Ask::Follow { .. } | Ask::KeepAlive => Err(io::Error::other("not a beginning")),
        }
    }

    /// Starts a successor and waits until it serves or fails.
    async fn upgrade(
        &self,
        stream: &mut UnixStream,
        binary: Option<PathBuf>,
        drain_ms: u64,
    ) -> io::Result<()> {
        let origin = match &self.origin {
            Ok(origin) => origin,
            Err(reason) => return refuse(stream, reason.clone()).await,
        };
        let Some(_busy) = Busy::begin(&self.is_starting) else {
            return refuse(stream, "another upgrade is under way".into()).await;
        };
        self.drain_ms.set(drain_ms);
        let mut succeeded = self.successor.subscribe();
        let mut child = match origin.start(binary.as_deref()) {
            Ok(child) => child,
            Err(error) => {
                return refuse(stream, format!("the new program could not be started: {error}")).await;
            }
        };
        tracing::info!(pid = child.pid(), "a new process is started to take over");
        // Every branch may be cancelled: they only wait.
        let outcome = tokio::select! {
            biased;
            _ = succeeded.wait_for(Option::is_some) => Ok(()),
            status = child.ended() => match self.last_hope().await {
                true => Ok(()),
                false => Err(format!("the new process ended before it served ({status}); its log says why")),
            },
            () = tokio::time::sleep(START_MAX) => {
                child.kill();
                Err(format!("the new process did not serve within {} s and was killed", START_MAX.as_secs()))
            }
        };
        let successor = self.successor.borrow().clone();
        match (outcome, successor) {
            (Ok(()), Some((new_pid, new_release))) => {
                let old_pid = std::process::id();
                let old_release = RELEASE.to_owned();
                write_frame(stream, &Answer::Upgraded { old_pid, new_pid, old_release, new_release }).await
            }
            (Err(reason), _) => refuse(stream, reason).await,
            (Ok(()), None) => refuse(stream, "this process ends".into()).await,
        }
    }

    /// What was started may have been a script that left the program behind, which is about to serve: waits until that
    /// is decided. Whether it serves.
    async fn last_hope(&self) -> bool {
        let (mut succeeded, mut tried) = (self.successor.subscribe(), self.is_taking_over.subscribe());
        // Both may be cancelled: they only wait. The hand-over gives up by itself.
        tokio::select! {
            biased;
            _ = succeeded.wait_for(Option::is_some) => true,
            _ = tried.wait_for(|is_taking_over| !is_taking_over) => false,
        }
    }

    async fn hand_over(&self, stream: &mut UnixStream, pid: u32, release: String) -> io::Result<()> {
        if let Err(reason) = &self.origin {
            return refuse(stream, reason.clone()).await;
        }
        let Some(busy) = Busy::begin(&self.is_taking_over) else {
            return refuse(stream, "another process is taking over".into()).await;
        };
        if let Err(error) = self.offer(stream).await {
            return refuse(stream, format!("the sockets could not be handed over: {error}")).await;
        }
        match read_frame_within(stream, START_MAX).await {
            Ok(Ask::Serves) => {}
            Ok(other) => return Err(io::Error::other(format!("unexpected: {other:?}"))),
            Err(error) => {
                tracing::warn!(pid, %error, "the new process ended before it served; this one goes on");
                return Err(error);
            }
        }
        if matches!(stream.try_read(&mut [0]), Ok(0)) {
            tracing::warn!(pid, "the new process ended as soon as it served; this one goes on");
            return Ok(());
        }
        // From here on there is no way back: the new process accepts now, and so must go on.
        busy.for_ever();
        // First, so that the end of routers without clients is no surprise.
        self.is_handed_over.store(true, Ordering::SeqCst);
        let reports = self.release().await;
        notify::main_process(pid);
        tracing::info!(pid, release, "another process has taken over");
        let told = write_frame(stream, &Answer::Released).await;
        self.successor.send_replace(Some((pid, release)));
        told?;
        self.accompany(stream, reports).await
    }

    /// Sends everything that a successor needs.
    async fn offer(&self, stream: &mut UnixStream) -> io::Result<()> {
        let (mut routers, mut sockets) = (Vec::new(), Vec::new());
        for router in &self.routers {
            let (reply, answer) = oneshot::channel();
            router.ask(Request::Offer { reply }).await;
            let offer = answer.await.map_err(|_| io::Error::other("a router has ended"))?;
            let Offer { kept, held } = offer?;
            let mut addresses = Vec::new();
            for Held { asked, got, listeners } in held {
                addresses.push(OfferedAddress { asked, got, count: listeners.len() });
                sockets.extend(listeners);
            }
            routers.push(OfferedRouter { router: router.router.clone(), kept, addresses });
        }
        let offer = Answer::Offer { pid: std::process::id(), release: RELEASE.into(), routers };
        write_frame(stream, &offer).await?;
        descriptors::send(stream, &sockets).await
    }

    async fn release(&self) -> mpsc::Receiver<RouterReport> {
        let (successor, reports) = mpsc::channel(REPORTS_MAX);
        for router in &self.routers {
            let (reply, answer) = oneshot::channel();
            let drain_ms = self.drain_ms.get();
            router.ask(Request::Release { drain_ms, successor: successor.clone(), reply }).await;
            if answer.await.is_err() {
                tracing::error!(router = %router.router, "the router ended while it handed over");
            }
        }
        reports
    }

    /// While there are clients: tells the successor of them, and the routers of its changes.
    async fn accompany(
        &self,
        stream: &mut UnixStream,
        mut reports: mpsc::Receiver<RouterReport>,
    ) -> io::Result<()> {
        let (mut reader, mut writer) = stream.split();
        let hear = async {
            loop {
                match read_frame(&mut reader).await {
                    Ok(Ask::Follow { router, kept }) => {
                        let followers = self.routers.iter().find(|known| known.router == router);
                        if let Some(router) = followers {
                            router.ask(Request::Follow { kept }).await;
                        }
                    }
                    Ok(_) => {}
                    Err(error) => return Err(error),
                }
            }
        };
        let tell = async {
            loop {
                let keep_alive = Duration::from_millis(KEEP_ALIVE_MS);
                let answer = match tokio::time::timeout(keep_alive, reports.recv()).await {
                    Ok(Some(report)) => Answer::Counts(Box::new(report)),
                    Ok(None) => return Ok(()),
                    Err(_) => Answer::KeepAlive,
                };
                write_frame(&mut writer, &answer).await?;
            }
        };
        // Whichever ends first ends the talk, so a frame that is cut in half is harmless.
        tokio::select! {
            heard = hear => heard,
            told = tell => told,
        }
    }
}

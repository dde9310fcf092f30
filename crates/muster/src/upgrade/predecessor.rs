//! The new process's side: asks the one that serves for its sockets, and later hears of the clients that it still has.

use super::message::{Answer, Ask, OfferedRouter, UPGRADE_VERSION};
use super::{RELEASE, RouterAccess, START_MAX, descriptors};
use crate::link::{read_frame, read_frame_within, write_frame};
use crate::router::handover::{Held, Request, Taken};
use std::io;
use std::path::Path;
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot};
use wire::id::RouterName;
use wire::link::KEEP_ALIVE_MS;

/// Changes that may wait for the predecessor. 16: it hears of the next one if it is slower.
const CHANGES_MAX: usize = 16;

/// Why nothing was taken over. The process that serves goes on.
#[derive(Debug, thiserror::Error)]
pub enum TakeOverError {
    #[error("the process that serves does not hand over: {reason}")]
    Refused { reason: String },
    #[error(
        "the process that serves runs router {router}, which this configuration does not have on this node"
    )]
    RouterMissing { router: RouterName },
    #[error("router {router} does not serve")]
    NotServing { router: RouterName },
    #[error("could not speak to the process that serves")]
    Io(#[source] io::Error),
}

/// The process whose routers this one takes over.
#[derive(Debug)]
pub struct Predecessor {
    runtime: tokio::runtime::Runtime,
    stream: UnixStream,
    offered: Vec<(RouterName, Taken)>,
    serving: Vec<(RouterName, oneshot::Receiver<()>)>,
}

/// What became of the process that served before.
#[derive(Debug)]
pub enum Before {
    /// This process took nothing over.
    Nobody,
    /// It ended before it could say that it has let go.
    Gone,
    /// It answers the clients that it still has.
    Draining(std::os::unix::net::UnixStream),
}

impl Predecessor {
    /// Asks for everything that `routers` need. None if there is nobody to ask, or who was asked ends meanwhile.
    pub fn find(socket: &Path, routers: &[RouterName]) -> Result<Option<Self>, TakeOverError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(TakeOverError::Io)?;
        let asked = runtime.block_on(async {
            let mut stream = UnixStream::connect(socket).await?;
            let (version, pid) = (UPGRADE_VERSION, std::process::id());
            write_frame(&mut stream, &Ask::TakeOver { version, pid, release: RELEASE.into() }).await?;
            let answer: Answer = read_frame(&mut stream).await?;
            let sockets = match &answer {
                Answer::Offer { routers, .. } => receive(&stream, routers).await?,
                _ => Vec::new(),
            };
            io::Result::Ok((stream, answer, sockets))
        });
        let (stream, answer, sockets) = match asked {
            Ok(asked) => asked,
            Err(error) if is_gone(&error) => {
                tracing::warn!(%error, "there is no process to take over from; starting anew");
                return Ok(None);
            }
            Err(error) => return Err(TakeOverError::Io(error)),
        };
        let (pid, release, offered) = match answer {
            Answer::Offer { pid, release, routers } => (pid, release, routers),
            Answer::Refused { reason } => return Err(TakeOverError::Refused { reason }),
            Answer::Upgraded { .. } | Answer::Released | Answer::Counts(_) | Answer::KeepAlive => {
                return Err(TakeOverError::Io(io::Error::other("it did not offer anything")));
            }
        };
        if let Some(missing) = offered.iter().find(|offered| !routers.contains(&offered.router)) {
            return Err(TakeOverError::RouterMissing { router: missing.router.clone() });
        }
        tracing::info!(from = pid, release, sockets = sockets.len(), "taking over");
        let (offered, serving) = share(offered, sockets);
        Ok(Some(Self { runtime, stream, offered, serving }))
    }

    /// What there is for this router.
    pub fn taken(&mut self, router: &RouterName) -> Option<Taken> {
        let at = self.offered.iter().position(|(name, _)| name == router)?;
        Some(self.offered.swap_remove(at).1)
    }

    /// Waits until every router that was taken over serves, and until its predecessor has let go.
    pub fn relieve(self) -> Result<Before, TakeOverError> {
        let Self { runtime, mut stream, offered: _, serving } = self;
        let released = runtime.block_on(async {
            for (router, serves) in serving {
                let serves = tokio::time::timeout(START_MAX / 2, serves).await;
                if !matches!(serves, Ok(Ok(()))) {
                    return Err(TakeOverError::NotServing { router });
                }
            }
            Ok(released(&mut stream).await)
        })?;
        match released {
            Ok(()) => {
                let stream = stream.into_std().map_err(TakeOverError::Io)?;
                Ok(Before::Draining(stream))
            }
            Err(error) => {
                tracing::warn!(%error, "the process before this one ended before it let go; going on in its place");
                Ok(Before::Gone)
            }
        }
    }
}

async fn released(stream: &mut UnixStream) -> io::Result<()> {
    write_frame(stream, &Ask::Serves).await?;
    loop {
        match read_frame_within(stream, START_MAX).await? {
            Answer::Released => return Ok(()),
            Answer::KeepAlive => {}
            other => return Err(io::Error::other(format!("unexpected: {other:?}"))),
        }
    }
}

/// Whether the error says that nobody is there any more.
fn is_gone(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionRefused, ConnectionReset, NotFound, UnexpectedEof};
    matches!(error.kind(), NotFound | ConnectionRefused | ConnectionReset | UnexpectedEof | BrokenPipe)
}

async fn receive(stream: &UnixStream, routers: &[OfferedRouter]) -> io::Result<Vec<std::net::TcpListener>> {
    let addresses = routers.iter().flat_map(|router| &router.addresses);
    descriptors::receive(stream, addresses.map(|address| address.count).sum()).await
}

type Shared = (Vec<(RouterName, Taken)>, Vec<(RouterName, oneshot::Receiver<()>)>);

/// Gives each router its sockets, which come in the order of the offer.
fn share(offered: Vec<OfferedRouter>, sockets: Vec<std::net::TcpListener>) -> Shared {
    let mut sockets = sockets.into_iter();
    let (mut all, mut serving) = (Vec::new(), Vec::new());
    for OfferedRouter { router, kept, addresses } in offered {
        let held = addresses.into_iter().map(|address| Held {
            asked: address.asked,
            got: address.got,
            listeners: sockets.by_ref().take(address.count).collect(),
        });
        let (serves, is_serving) = oneshot::channel();
        let taken = Taken { kept, held: held.collect(), serves };
        serving.push((router.clone(), is_serving));
        all.push((router, taken));
    }
    (all, serving)
}

/// Lets the routers lead; as long as the predecessor has clients, it hears of changes and its counts are heard.
pub(super) async fn lead(before: Before, routers: Vec<RouterAccess>) {
    let stream = match before {
        Before::Nobody => return,
        Before::Gone => None,
        Before::Draining(stream) => UnixStream::from_std(stream)
            .inspect_err(|error| tracing::warn!(%error, "the predecessor cannot be heard"))
            .ok(),
    };
    let (follower, changes) = mpsc::channel(CHANGES_MAX);
    for router in &routers {
        router.ask(Request::Lead { follower: stream.as_ref().map(|_| follower.clone()) }).await;
    }
    drop(follower);
    let Some(stream) = stream else { return };
    let (mut reader, mut writer) = stream.into_split();
    // Whichever ends first means that the predecessor has ended; a frame that is cut in half is harmless.
    let reason = tokio::select! {
        reason = hear(&mut reader, &routers) => reason,
        reason = tell(&mut writer, changes) => reason,
    };
    tracing::info!(%reason, "the process before this one has answered its last client");
    for router in &routers {
        router.ask(Request::PredecessorEnded).await;
    }
}

async fn hear(reader: &mut OwnedReadHalf, routers: &[RouterAccess]) -> io::Error {
    loop {
        match read_frame(reader).await {
            Ok(Answer::Counts(report)) => {
                if let Some(router) = routers.iter().find(|router| router.router == report.router) {
                    router.ask(Request::PredecessorCounts { report }).await;
                }
            }
            Ok(Answer::KeepAlive) => {}
            Ok(other) => return io::Error::other(format!("unexpected: {other:?}")),
            Err(error) => return error,
        }
    }
}

async fn tell(
    writer: &mut OwnedWriteHalf,
    mut changes: mpsc::Receiver<(RouterName, crate::router::kept::Kept)>,
) -> io::Error {
    loop {
        let ask = match tokio::time::timeout(Duration::from_millis(KEEP_ALIVE_MS), changes.recv()).await {
            Ok(Some((router, kept))) => Ask::Follow { router, kept: Box::new(kept) },
            Ok(None) => return io::Error::other("the routers have ended"),
            Err(_) => Ask::KeepAlive,
        };
        if let Err(error) = write_frame(writer, &ask).await {
            return error;
        }
    }
}

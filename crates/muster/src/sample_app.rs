//! `muster sample-app`: a small application server to try a cluster with. It keeps sessions as WebSphere's servers do.
//!
//! Promises: every answer names its member in `X-Member`; bodies of any size go through bounded memory; on SIGTERM
//! and SIGINT it finishes the requests that it has, those waiting in the listen queue included, and ends with 0.
//! Addresses: see `answers`.

mod answers;
mod sessions;

use crate::cli::Exit;
use answers::Application;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::cell::Cell;
use std::future::poll_fn;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::{JoinSet, LocalSet};

/// Connections at a time. 4,096: far more than any demonstration; further ones wait in the listen queue.
const CONNECTIONS_MAX: usize = 4096;
/// What `/crash` ends with: "internal software error" in sysexits.h.
const CRASH_EXIT_STATUS: i32 = 70;
/// How long `/crash` waits for its answer to be read.
const CRASH_WAIT: Duration = Duration::from_secs(1);
/// How long connections are served on after the signal to stop: a request that was on its way must be read, because a
/// connection that is closed over it looks like a crash to its sender.
const LAST_CALL: Duration = Duration::from_millis(50);

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Port to listen on; 0 picks a free one [default: $PORT]
    #[arg(long)]
    port: Option<u16>,
    /// Address to listen on [default: $MUSTER_ADDRESS, or 127.0.0.1]
    #[arg(long)]
    address: Option<IpAddr>,
    /// Name given in answers [default: $MUSTER_MEMBER, or "sample"]
    #[arg(long)]
    member: Option<String>,
    /// What session ids carry to name this member [default: $MUSTER_CLONE_ID, or the member's name]
    #[arg(long)]
    clone_id: Option<String>,
}

/// Nothing has changed when these happen; after a port in use is free, a retry works.
#[derive(Debug, thiserror::Error)]
enum SampleAppError {
    #[error("no port given: use --port, or set PORT")]
    NoPort,
    #[error("PORT is {0:?}; a number from 0 to 65535 is allowed")]
    BadPort(String),
    #[error("could not listen on {address}")]
    Listen {
        address: SocketAddr,
        #[source]
        source: std::io::Error,
    },
    #[error("could not set up the event loop")]
    Runtime(#[source] std::io::Error),
}

pub fn run(args: Args) -> Exit {
    match serve(args) {
        Ok(()) => Exit::Yes,
        Err(error) => {
            let source = std::error::Error::source(&error).map(|source| format!(": {source}"));
            eprintln!("muster sample-app: {error}{}", source.unwrap_or_default());
            Exit::WrongUse
        }
    }
}

fn serve(args: Args) -> Result<(), SampleAppError> {
    let given = args.address.or_else(|| std::env::var("MUSTER_ADDRESS").ok()?.parse().ok());
    let address = SocketAddr::new(given.unwrap_or(Ipv4Addr::LOCALHOST.into()), port(args.port)?);
    let member =
        args.member.or_else(|| std::env::var("MUSTER_MEMBER").ok()).unwrap_or_else(|| "sample".into());
    let clone_id =
        args.clone_id.or_else(|| std::env::var("MUSTER_CLONE_ID").ok()).unwrap_or_else(|| member.clone());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(SampleAppError::Runtime)?;
    LocalSet::new().block_on(&runtime, async {
        let mut terminate = signal(SignalKind::terminate()).map_err(SampleAppError::Runtime)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(SampleAppError::Runtime)?;
        let listen = |source| SampleAppError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(listen)?;
        let local = listener.local_addr().map_err(listen)?;
        eprintln!("{member} listens on http://{local}");
        let application = Rc::new(Application::new(member, clone_id));
        let stop = async {
            // Either signal means the same; losing one of two is harmless.
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        accept(listener, application, stop).await;
        Ok(())
    })
}

fn port(given: Option<u16>) -> Result<u16, SampleAppError> {
    match (given, std::env::var("PORT")) {
        (Some(port), _) => Ok(port),
        (None, Ok(text)) => text.parse().map_err(|_| SampleAppError::BadPort(text)),
        (None, Err(_)) => Err(SampleAppError::NoPort),
    }
}

/// Serves until `stop`, then until the last request is answered.
async fn accept(listener: TcpListener, application: Rc<Application>, stop: impl Future<Output = ()>) {
    let (stopping, stopping_seen) = watch::channel(false);
    let mut connections = JoinSet::new();
    let mut stop = pin!(stop);
    loop {
        let has_room = connections.len() < CONNECTIONS_MAX;
        // Accept and join lose nothing when another branch wins: both take only what they return.
        tokio::select! {
            biased;
            () = &mut stop => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            accepted = listener.accept(), if has_room => match accepted {
                Ok((stream, _)) => {
                    connections.spawn_local(connection(stream, application.clone(), stopping_seen.clone()));
                }
                // Out of file descriptors, most likely: a pause lets connections end. Others fail one client only.
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            },
        }
    }
    // Who is in the listen queue has connected already and shall get an answer, not a reset.
    while let Some(stream) = waiting(&listener).await {
        connections.spawn_local(connection(stream, application.clone(), stopping_seen.clone()));
    }
    drop(listener);
    stopping.send_replace(true);
    while connections.join_next().await.is_some() {}
}

/// The next connection that waits already.
async fn waiting(listener: &TcpListener) -> Option<TcpStream> {
    poll_fn(|context| match listener.poll_accept(context) {
        Poll::Ready(accepted) => Poll::Ready(accepted.ok().map(|(stream, _)| stream)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

async fn connection(stream: TcpStream, application: Rc<Application>, mut stopping: watch::Receiver<bool>) {
    // Small answers shall not wait for more; if it cannot be set they are only slower.
    let _ = stream.set_nodelay(true);
    // Of this connection only: the end of another one must not take the answer of `/crash` away.
    let crashes = Cell::new(false);
    let has_asked = Cell::new(false);
    let service = service_fn(|request| {
        has_asked.set(true);
        application.answer(request, &crashes)
    });
    let mut builder = http1::Builder::new();
    // No time-out for idle connections: a router that keeps them must be the one to end them.
    builder.header_read_timeout(None).half_close(true);
    let mut served = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let last_call = async {
        // The sender lives as long as the connections, so this only ends by the signal.
        let _ = stopping.wait_for(|stopping| *stopping).await;
        tokio::time::sleep(LAST_CALL).await;
    };
    // The connection is polled on, whichever wins; an error of one client is that client's business.
    tokio::select! {
        _ = served.as_mut() => {}
        // Nobody knows whether a client that has not asked anything ever will.
        () = last_call => if has_asked.get() {
            served.as_mut().graceful_shutdown();
            let _ = served.as_mut().await;
        }
    }
    if crashes.get() {
        std::process::exit(CRASH_EXIT_STATUS);
    }
}

//! The manager's side of the link: accepts agents and routers at the socket, reads what they say, writes what they
//! are told.
//!
//! Promises: a connection that is too slow, silent or not understood is ended, and only that one. Not here: who may
//! join and what messages mean (see `desk`).

use super::desk::{Input, Outlet, Place};
use crate::link::{read_frame, write_frame};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinSet;
use wire::link::{FromManager, KEEP_ALIVE_MS, LINK_VERSION, Role, SILENCE_MAX_MS, ToManager};

/// Messages that may wait for one connection. 256: a second of changes in a busy cell; who is further behind is
/// better told everything anew.
const QUEUE_MAX: usize = 256;
/// Connections at a time. 1,024: the roles of one machine are few, and each connection may hold a frame of 16 MiB.
const CONNECTIONS_MAX: usize = 1024;
/// Pause after the system gave no connection, e.g. for want of file descriptors: nothing tells when there are some.
const ACCEPT_PAUSE_MS: u64 = 100;

/// Accepts until it is dropped. Must run within a `LocalSet`.
pub async fn accept(listener: UnixListener, inbox: mpsc::Sender<Input>) {
    let mut connections = JoinSet::new();
    loop {
        // Both branches may be cancelled: neither a connection nor an end is lost before it is returned.
        tokio::select! {
            accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => match accepted {
                Ok((stream, _)) => drop(connections.spawn_local(connection(stream, inbox.clone()))),
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(ACCEPT_PAUSE_MS)).await;
                }
            },
            Some(ended) = connections.join_next() => {
                if let Err(error) = ended {
                    tracing::error!(%error, "a connection's task has failed");
                }
            }
        }
    }
}

async fn connection(mut stream: UnixStream, inbox: mpsc::Sender<Input>) {
    let role = match hello(&mut stream).await {
        Ok(role) => role,
        Err(reason) => return refuse(&mut stream, reason).await,
    };
    let (queue, outbox) = mpsc::channel(QUEUE_MAX);
    let outlet = Outlet { queue, cut: Arc::new(Notify::new()), is_cut: Arc::new(AtomicBool::new(false)) };
    let cut = outlet.cut.clone();
    let (reply, answer) = oneshot::channel();
    let place = Place::from(&role);
    if inbox.send(Input::Join { role, outlet, reply }).await.is_err() {
        return;
    }
    let number = match answer.await {
        Ok(Ok(number)) => number,
        Ok(Err(reason)) => return refuse(&mut stream, reason).await,
        Err(_) => return,
    };
    let (mut reader, mut writer) = stream.into_split();
    // Whichever ends first ends the connection, so a frame that is cut in half is harmless.
    let reason = tokio::select! {
        reason = receive(&mut reader, &place, number, &inbox) => reason,
        reason = send(&mut writer, outbox) => reason,
        () = cut.notified() => "it was too slow, or another connection took its place".to_owned(),
    };
    tracing::info!(?place, reason, "connection ended");
    // Only fails when the manager ends as well.
    drop(inbox.send(Input::Left { place, number }).await);
}

/// The role that the other side says it is.
async fn hello(stream: &mut UnixStream) -> Result<Role, String> {
    match read_frame(stream).await {
        Ok(ToManager::Hello { version: LINK_VERSION, role }) => Ok(role),
        Ok(ToManager::Hello { version, .. }) => {
            Err(format!("it speaks version {version} of the link, and this manager version {LINK_VERSION}"))
        }
        Ok(ToManager::Agent(_) | ToManager::Router(_) | ToManager::KeepAlive) => {
            Err("it did not say hello".into())
        }
        Err(error) => Err(error.to_string()),
    }
}

async fn refuse(stream: &mut UnixStream, reason: String) {
    tracing::info!(reason, "connection refused");
    let refused = FromManager::Refused { reason };
    let deadline = Duration::from_millis(SILENCE_MAX_MS);
    // Whoever does not wait for the reason has gone already.
    drop(tokio::time::timeout(deadline, write_frame(stream, &refused)).await);
}

async fn receive(
    reader: &mut (impl AsyncRead + Unpin),
    place: &Place,
    number: u64,
    inbox: &mpsc::Sender<Input>,
) -> String {
    loop {
        match read_frame(reader).await {
            Ok(ToManager::KeepAlive) => {}
            Ok(message) => {
                if inbox.send(Input::Said { place: place.clone(), number, message }).await.is_err() {
                    return "the manager ends".into();
                }
            }
            Err(error) => return error.to_string(),
        }
    }
}

async fn send(writer: &mut (impl AsyncWrite + Unpin), mut outbox: mpsc::Receiver<FromManager>) -> String {
    let keep_alive = Duration::from_millis(KEEP_ALIVE_MS);
    let deadline = Duration::from_millis(SILENCE_MAX_MS);
    loop {
        let message = match tokio::time::timeout(keep_alive, outbox.recv()).await {
            Ok(Some(message)) => message,
            Ok(None) => return "another connection took its place".into(),
            Err(_) => FromManager::KeepAlive,
        };
        match tokio::time::timeout(deadline, write_frame(writer, &message)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return error.to_string(),
            Err(_) => return "it takes nothing any more".into(),
        }
    }
}

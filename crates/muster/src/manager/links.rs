//! The manager's side of the link: accepts agents and routers at the socket, reads what they say, writes what they
//! are told.
//!
//! Promises: a connection that is too slow, silent or not understood is ended, and only that one. Not here: who may
//! join and what messages mean (see `desk`).

use super::desk::{Input, Outlet, Peer, Place};
use super::election::Lease;
use super::enrol::Office;
use super::strangers::Stranger;
use crate::link::{read_bounded_frame, read_known, write_frame};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixListener;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;
use wire::id::NodeName;
use wire::link::{
    FRAME_MAX_BYTES, FromManager, KEEP_ALIVE_MS, LINK_VERSION, Role, SILENCE_MAX_MS, ToManager,
};

/// Messages that may wait for one connection. 256: a second of changes in a busy cell; who is further behind is
/// better told everything anew.
const QUEUE_MAX: usize = 256;
/// Connections at a time. 1,024: the roles of one machine are few, and each connection may hold a frame of 16 MiB.
const CONNECTIONS_MAX: usize = 1024;
/// Pause after the system gave no connection, e.g. for want of file descriptors: nothing tells when there are some.
const ACCEPT_PAUSE_MS: u64 = 100;

/// Characters of a version that people are shown.
const VERSION_LENGTH_MAX: usize = 32;
/// Longest hello of another machine. 4 KiB: names.
const HELLO_MAX_BYTES: u32 = 4 << 10;

/// What a connection meets.
#[derive(Clone)]
pub enum Reception {
    /// This manager leads, in this term.
    Leads { inbox: mpsc::Sender<Input>, office: Option<Rc<Office>>, lease: Lease },
    /// Another one does, or nobody.
    Follows(Rc<Elsewhere>),
}

/// Who leads in place of this manager.
#[derive(Debug, Default)]
pub struct Elsewhere {
    /// Its address for other machines, if it is known.
    pub leader: RefCell<Option<String>>,
}

/// Accepts until it is dropped, and its connections with it. Must run within a `LocalSet`.
pub async fn accept(listener: Rc<UnixListener>, reception: Reception) {
    let mut connections = JoinSet::new();
    loop {
        // Both branches may be cancelled: neither a connection nor an end is lost before it is returned.
        tokio::select! {
            accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => match accepted {
                Ok((stream, _)) => {
                    connections.spawn_local(connection(stream, Peer::default(), reception.clone(), None));
                }
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

/// Serves one connection to its end. One of another machine is looked at by the office, and is a stranger until it is
/// admitted.
pub async fn connection(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    mut peer: Peer,
    reception: Reception,
    stranger: Option<Stranger>,
) {
    let said = hello(&mut stream, &mut peer, stranger.is_some()).await;
    let (inbox, office, lease) = match reception {
        Reception::Leads { inbox, office, lease } => (inbox, office, lease),
        Reception::Follows(elsewhere) => {
            let leader = elsewhere.leader.borrow().clone();
            let deadline = Duration::from_millis(SILENCE_MAX_MS);
            let answer = FromManager::NotLeader { leader };
            // Whoever does not wait for it tries another manager by itself.
            return drop(tokio::time::timeout(deadline, write_frame(&mut stream, &answer)).await);
        }
    };
    let joined_us = |node| office.as_ref().and_then(|office| office.joined_us(node)).unwrap_or(0);
    // What comes over the socket is of this machine.
    let office = office.as_deref().filter(|_| stranger.is_some());
    let role = match said {
        Ok(role) => role,
        Err(reason) => return refuse(&mut stream, reason, &peer, office).await,
    };
    peer.joined_us = joined_us(node_of(&role));
    // Before it takes anybody's place: a machine that was replaced must not cut off the one that replaced it.
    let refusal =
        || office.zip(peer.bearer.as_ref()).and_then(|(office, bearer)| office.front.admit(bearer).err());
    if let Some(reason) = refusal() {
        return refuse(&mut stream, reason, &peer, office).await;
    }
    let (queue, outbox) = mpsc::channel(QUEUE_MAX);
    let outlet = Outlet { queue, cut: Arc::new(Notify::new()), is_cut: Arc::new(AtomicBool::new(false)) };
    let cut = outlet.cut.clone();
    let (reply, answer) = oneshot::channel();
    let place = Place::from(&role);
    if inbox.send(Input::Join { role, outlet, peer: peer.clone(), reply }).await.is_err() {
        return;
    }
    let number = match answer.await {
        Ok(Ok(number)) => number,
        Ok(Err(reason)) => return refuse(&mut stream, reason, &peer, office).await,
        Err(_) => return,
    };
    // And once it is known to the desk: a node that is removed meanwhile is either cut there or refused here.
    let refusal = refusal();
    drop(stranger);
    let reason = match refusal {
        Some(reason) => {
            refuse(&mut stream, reason.clone(), &peer, office).await;
            reason
        }
        None => {
            if let Some((office, bearer)) = office.zip(peer.bearer.as_ref()) {
                office.note_admitted(&bearer.node, peer.from.map(|from| from.ip()));
            }
            let (mut reader, mut writer) = tokio::io::split(stream);
            // Whichever ends first ends the connection, so a frame that is cut in half is harmless.
            tokio::select! {
                reason = receive(&mut reader, &place, number, &inbox) => reason,
                reason = send(&mut writer, outbox, &lease) => reason,
                () = expiry(peer.until) => "its certificate has expired".to_owned(),
                () = cut.notified() => "it was removed, too slow, or another connection took its place".to_owned(),
            }
        }
    };
    tracing::info!(%place, reason, "connection ended");
    // Only fails when the manager ends as well.
    drop(inbox.send(Input::Left { place, number }).await);
}

/// Ends at the time given; never without one.
async fn expiry(until: Option<Instant>) {
    match until {
        Some(until) => tokio::time::sleep_until(until).await,
        None => std::future::pending().await,
    }
}

/// The role that the other side says it is. Who has come over TCP says only a little before it is known.
async fn hello(
    stream: &mut (impl AsyncRead + Unpin),
    peer: &mut Peer,
    is_stranger: bool,
) -> Result<Role, String> {
    let length_max_bytes = if is_stranger { HELLO_MAX_BYTES } else { FRAME_MAX_BYTES };
    let reading = read_bounded_frame(stream, length_max_bytes);
    let read = tokio::time::timeout(Duration::from_millis(SILENCE_MAX_MS), reading).await;
    let role = match read {
        Ok(Ok(ToManager::Hello {
            version: LINK_VERSION,
            role,
            muster,
            generation,
            resumes,
            carries,
            powers,
        })) => {
            peer.generation = generation;
            (peer.resumes, peer.carries, peer.powers) = (resumes, carries, powers);
            peer.muster = muster.chars().take(VERSION_LENGTH_MAX).collect();
            role
        }
        Ok(Ok(ToManager::Hello { version, muster, .. })) => {
            let own = env!("CARGO_PKG_VERSION");
            return Err(format!(
                "it speaks version {version} of the link (Muster {muster:.32}), and this manager version {LINK_VERSION} \
                 (Muster {own})"
            ));
        }
        Ok(Ok(
            ToManager::Have(_)
            | ToManager::Agent(_)
            | ToManager::Groups(_)
            | ToManager::Router(_)
            | ToManager::Progress(_)
            | ToManager::Monitors(_)
            | ToManager::Alert(_)
            | ToManager::Carried { .. }
            | ToManager::PowerFailed { .. }
            | ToManager::KeepAlive,
        )) => {
            return Err("it did not say hello".into());
        }
        Ok(Err(error)) => return Err(error.to_string()),
        Err(_) => return Err("it did not say hello in time".into()),
    };
    let node = node_of(&role);
    match &peer.bearer {
        Some(bearer) if bearer.node != *node => {
            Err(format!("its certificate is of node {}, and it says that it is of node {node}", bearer.node))
        }
        Some(_) | None => Ok(role),
    }
}

fn node_of(role: &Role) -> &NodeName {
    match role {
        Role::Agent { node } | Role::Router { node, .. } => node,
    }
}

async fn refuse(
    stream: &mut (impl AsyncWrite + Unpin),
    reason: String,
    peer: &Peer,
    office: Option<&Office>,
) {
    let from = peer.from.map(|from| from.ip().to_canonical());
    // A node that is refused asks again for ever; that is news once.
    match office.zip(peer.bearer.as_ref()) {
        Some((office, bearer)) if !office.note_refused(&bearer.node, from, &reason) => {
            tracing::debug!(node = %bearer.node, reason, "connection refused");
        }
        Some((_, bearer)) => {
            tracing::warn!(node = %bearer.node, from = from.map(tracing::field::display), reason, "connection of a node refused");
        }
        None => tracing::info!(reason, "connection refused"),
    }
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
        match read_known(reader, Duration::from_millis(SILENCE_MAX_MS)).await {
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

async fn send(
    writer: &mut (impl AsyncWrite + Unpin),
    mut outbox: mpsc::Receiver<FromManager>,
    lease: &Lease,
) -> String {
    let keep_alive = Duration::from_millis(KEEP_ALIVE_MS);
    let deadline = Duration::from_millis(SILENCE_MAX_MS);
    loop {
        let message = match tokio::time::timeout(keep_alive, outbox.recv()).await {
            Ok(Some(message)) => message,
            Ok(None) => return "another connection took its place".into(),
            Err(_) => FromManager::KeepAlive,
        };
        // It may have waited long, and this process with it.
        if !lease.holds() {
            return "this manager leads no longer".into();
        }
        match tokio::time::timeout(deadline, write_frame(writer, &message)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return error.to_string(),
            Err(_) => return "it takes nothing any more".into(),
        }
    }
}

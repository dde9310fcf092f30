//! Accepts other machines over TCP: nobody is a stranger for long, and strangers cannot take anybody's place.
//!
//! Promises: connections that have not proven who they are end after `STRANGER_MAX`, there are at most `STRANGERS_MAX`
//! of them, and a few from each address; of those that say nothing the oldest gives way to a newcomer; what they may send is small. Not here: what a node says once it is known
//! (see `links`), and who gets a certificate (see `enrol`).

use super::desk::Peer;
use super::front::Front;
use super::handle::{NodeCaller, SpeaksFor};
use super::links::{self, Reception};
use super::telling;
use crate::identity::{bearer_of, proof};
use crate::link::{read_bounded_frame, write_frame};
use logic::enrol::{Bearer, guesser};
use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use wire::enrol::{API_PROTOCOL, ENROL_FRAME_MAX_BYTES, EnrolAnswer, EnrolRequest, LINK_PROTOCOL, PROTOCOL};
use wire::error_code;
use wire::status::ErrorBody;
use wire::summary::BRIDGE_PROTOCOL;

/// Connections at a time that have not proven who they are. 256: all nodes of a large cell that come back together do
/// so within seconds, and each costs some 40 kB.
const STRANGERS_MAX: usize = 256;
/// Of those from one address (IPv6: one /64). 32: a node has an agent and some routers.
const STRANGERS_PER_ADDRESS_MAX: usize = 32;
/// From a connection to its handshake and first frame.
const STRANGER_MAX: Duration = Duration::from_secs(10);
/// How long the answer to a request may take: the store commits first.
const ANSWER_MAX: Duration = Duration::from_secs(20);
/// How long a refused connection is kept for its end to be read. A second: longer than the way there and back.
const LINGER_MAX: Duration = Duration::from_secs(1);
/// Reads of 1 KiB until then: 64 KiB are more than a hello.
const LINGER_READS_MAX: usize = 64;
/// Pause after the system gave no connection, e.g. for want of file descriptors: nothing tells when there are some.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Has the connections that have not proven who they are.
#[derive(Debug, Default)]
struct Gate {
    /// The oldest first.
    inside: RefCell<BTreeMap<u64, Inside>>,
    entered: Cell<u64>,
}

#[derive(Debug)]
struct Inside {
    address: IpAddr,
    /// Nothing is done but to wait for what it says.
    is_waited_for: bool,
    must_go: Rc<Notify>,
}

/// One of them; dropping it makes room.
#[derive(Debug)]
pub struct Stranger {
    gate: Rc<Gate>,
    number: u64,
    must_go: Rc<Notify>,
}

impl Gate {
    /// Where there is no room, one that is only waited for has to go: the oldest of the address that has most of them. So
    /// whoever fills all places with silence gives way to who knows what to say.
    fn enter(self: &Rc<Self>, address: IpAddr) -> Option<Stranger> {
        let address = guesser(address);
        let mut inside = self.inside.borrow_mut();
        let count = |address| inside.values().filter(|stranger| stranger.address == address).count();
        if count(address) >= STRANGERS_PER_ADDRESS_MAX {
            return None;
        }
        if inside.len() >= STRANGERS_MAX {
            let waited_for = inside.iter().filter(|(_, stranger)| stranger.is_waited_for);
            let goes =
                waited_for.max_by_key(|(number, stranger)| (count(stranger.address), Reverse(**number)));
            let goes = *goes?.0;
            inside.remove(&goes)?.must_go.notify_one();
        }
        let number = self.entered.get();
        self.entered.set(number + 1);
        let must_go = Rc::new(Notify::new());
        inside.insert(number, Inside { address, is_waited_for: false, must_go: must_go.clone() });
        Some(Stranger { gate: self.clone(), number, must_go })
    }
}

impl Stranger {
    /// Waits for what it says; None if that takes too long, or others need its place.
    pub async fn hear<T>(&self, saying: impl Future<Output = T>) -> Option<T> {
        self.set_waited_for(true);
        // Both may be cancelled: the connection is given up then.
        let said = tokio::select! {
            biased;
            () = self.must_go.notified() => None,
            said = tokio::time::timeout(STRANGER_MAX, saying) => said.ok(),
        };
        self.set_waited_for(false);
        said
    }

    fn set_waited_for(&self, is_waited_for: bool) {
        if let Some(own) = self.gate.inside.borrow_mut().get_mut(&self.number) {
            own.is_waited_for = is_waited_for;
        }
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        self.gate.inside.borrow_mut().remove(&self.number);
    }
}

/// Accepts until it is dropped. Must run within a `LocalSet`.
pub async fn accept(front: Rc<Front>, reception: Reception) {
    let gate = Rc::new(Gate::default());
    let mut connections = JoinSet::new();
    loop {
        // Both branches may be cancelled: neither a connection nor an end is lost before it is returned.
        tokio::select! {
            accepted = front.listener.accept() => match accepted {
                Ok((stream, from)) => match gate.enter(from.ip()) {
                    Some(stranger) => {
                        let begun = connection(stream, from, front.clone(), reception.clone(), stranger);
                        connections.spawn_local(begun);
                    }
                    None => tracing::debug!(%from, "too many connections that have not proven who they are"),
                },
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection of another machine");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
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

async fn connection(
    stream: TcpStream,
    from: SocketAddr,
    front: Rc<Front>,
    reception: Reception,
    stranger: Stranger,
) {
    // What is written is a whole message, which shall not wait for the next. Without it all is only later.
    drop(stream.set_nodelay(true));
    let acceptor = TlsAcceptor::from(front.tls.borrow().clone());
    let shaken = stranger.hear(acceptor.accept(stream).into_fallible()).await;
    let stream = match shaken {
        Some(Ok(stream)) => stream,
        // Anybody can cause as many of these as they like, so they are not for the log of every day.
        Some(Err((error, mut stream))) => {
            tracing::debug!(%from, %error, "a connection did not agree on TLS");
            return drop(tokio::time::timeout(LINGER_MAX, linger(&mut stream)).await);
        }
        None => return tracing::debug!(%from, "a connection was silent for too long"),
    };
    let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
    let known = shown.and_then(bearer_of);
    if shown.is_some() && known.is_none() {
        return tracing::info!(%from, "a certificate of this cell is no node's");
    }
    match (stream.get_ref().1.alpn_protocol(), known) {
        (Some(protocol), known) if protocol == PROTOCOL => {
            enrol(stream, &stranger, from, &reception, known.map(|(bearer, _)| bearer)).await;
        }
        (Some(protocol), Some((bearer, facts))) if protocol == LINK_PROTOCOL => {
            let (from, bearer, until) = (Some(from), Some(bearer), Some(until(facts.not_after_s)));
            let peer = Peer { from, bearer, until, ..Peer::default() };
            links::connection(stream, peer, reception, Some(stranger)).await;
        }
        (Some(protocol), Some((bearer, facts))) if protocol == API_PROTOCOL => {
            let until = until(facts.not_after_s);
            let speaks_for = speaks_for(&reception, &bearer);
            pass_on(NodeCaller { stream, from, bearer, until, speaks_for }, &front).await;
        }
        (Some(protocol), None) if protocol == BRIDGE_PROTOCOL => {
            telling::connection(stream, from, reception, stranger).await;
        }
        (_, _) => tracing::debug!(%from, "a connection without a certificate wants what needs one"),
    }
}

/// A certificate alone does not make a manager: one that is not named any more still has it.
fn speaks_for(reception: &Reception, bearer: &Bearer) -> SpeaksFor {
    match reception {
        Reception::Leads { office: Some(office), .. } if office.is_managers(&bearer.node) => {
            SpeaksFor::Others
        }
        Reception::Leads { .. } => SpeaksFor::Itself,
        Reception::Follows(_) => SpeaksFor::NotKnown,
    }
}

/// Lets the other side read why: a connection that is closed over what was not read is reset, and the alert with it.
async fn linger(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> std::io::Result<()> {
    stream.shutdown().await?;
    let mut rest = [0; 1024];
    for _ in 0..LINGER_READS_MAX {
        if stream.read(&mut rest).await? == 0 {
            break;
        }
    }
    Ok(())
}

/// Gives a machine that wants to use the API to the console, whether this manager leads or not.
async fn pass_on(caller: NodeCaller, front: &Front) {
    let (from, node) = (caller.from, caller.bearer.node.clone());
    let refused = match front.admit(&caller.bearer) {
        // Who was removed must not come in because nobody knows of it yet.
        _ if !front.knows_records() => {
            let text = "this manager has not read its store yet";
            Some((error_code::STORE_NOT_REACHED, "503 Service Unavailable", text.to_owned()))
        }
        Err(reason) => Some((error_code::NODE_REFUSED, "403 Forbidden", reason)),
        Ok(()) => None,
    };
    if let Some((code, status, reason)) = refused {
        tracing::info!(%from, %node, reason, "a call of a node is refused");
        let retry = code == error_code::STORE_NOT_REACHED;
        let body =
            ErrorBody { code: code.to_string(), message: format!("The manager refuses: {reason}."), retry };
        return drop(tokio::time::timeout(STRANGER_MAX, refuse_call(caller.stream, status, &body)).await);
    }
    // The console takes them at once while it has places; who is turned away hears the connection end.
    if front.callers.try_send(caller).is_err() {
        tracing::warn!(%from, %node, "the API has no place for another machine's connection");
    }
}

/// Says no to whoever speaks HTTP, whatever is asked.
async fn refuse_call(
    mut stream: TlsStream<TcpStream>,
    status: &str,
    body: &ErrorBody,
) -> std::io::Result<()> {
    // Answered once something was asked: an answer before that is one to nothing.
    stream.read_u8().await?;
    let body = serde_json::to_string(body).expect("a refusal has only names as keys");
    let head = format!("HTTP/1.1 {status}\r\nContent-Type: application/json\r\nConnection: close");
    stream.write_all(format!("{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).as_bytes()).await?;
    linger(&mut stream).await
}

/// When a certificate expires.
fn until(not_after_s: i64) -> Instant {
    let left_s = not_after_s.saturating_sub(crate::tls::now_s());
    Instant::now() + Duration::from_secs(u64::try_from(left_s).unwrap_or(0))
}

async fn enrol(
    mut stream: TlsStream<TcpStream>,
    stranger: &Stranger,
    from: SocketAddr,
    reception: &Reception,
    bearer: Option<Bearer>,
) {
    let Some(challenge) = proof::challenge(stream.get_ref().1) else { return };
    let reading = read_bounded_frame::<EnrolRequest>(&mut stream, ENROL_FRAME_MAX_BYTES);
    let request = match stranger.hear(reading).await {
        Some(Ok(request)) => request,
        Some(Err(error)) => return tracing::debug!(%from, %error, "a request was not understood"),
        None => return tracing::debug!(%from, "a request did not come in time"),
    };
    let answering = async {
        let answer = match reception {
            Reception::Leads { office: Some(office), .. } => {
                office.answer(request, &challenge, bearer.as_ref(), from.ip()).await
            }
            Reception::Leads { office: None, .. } => EnrolAnswer::NotLeader { leader: None },
            Reception::Follows(elsewhere) => {
                EnrolAnswer::NotLeader { leader: elsewhere.leader.borrow().clone() }
            }
        };
        write_frame(&mut stream, &answer).await?;
        stream.shutdown().await
    };
    if !matches!(tokio::time::timeout(ANSWER_MAX, answering).await, Ok(Ok(()))) {
        tracing::debug!(%from, "an answer was not taken");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::pending;

    /// Strangers of so many addresses that take all places, oldest first, each with whether it is still heard.
    async fn fill(gate: &Rc<Gate>) -> Vec<tokio::task::JoinHandle<Option<()>>> {
        let addresses = STRANGERS_MAX / STRANGERS_PER_ADDRESS_MAX;
        let mut heard = Vec::new();
        for number in 0..STRANGERS_MAX {
            let from = IpAddr::from([10, 0, 0, (number % addresses) as u8]);
            let stranger = gate.enter(from).expect("there is room");
            heard.push(tokio::task::spawn_local(async move { stranger.hear(pending::<()>()).await }));
        }
        while gate.inside.borrow().values().any(|stranger| !stranger.is_waited_for) {
            tokio::task::yield_now().await;
        }
        heard
    }

    #[tokio::test(flavor = "local")]
    async fn who_says_nothing_gives_way_and_who_is_being_answered_does_not() {
        let gate = Rc::new(Gate::default());
        let heard = fill(&gate).await;
        assert!(gate.enter(IpAddr::from([10, 0, 0, 1])).is_none(), "its address has as many as it may");
        let nodes: Vec<Stranger> = (0..3)
            .map(|number| gate.enter(IpAddr::from([10, 0, 1, number])).expect("one gives way"))
            .collect();
        assert_eq!(gate.inside.borrow().len(), STRANGERS_MAX);
        while heard.iter().filter(|heard| heard.is_finished()).count() < nodes.len() {
            tokio::task::yield_now().await;
        }
        let ended: Vec<usize> = (0..STRANGERS_MAX).filter(|place| heard[*place].is_finished()).collect();
        assert_eq!(ended, [0, 1, 2], "the oldest, of an address each");
        // Nobody who waits is left: they are answered.
        for stranger in gate.inside.borrow_mut().values_mut() {
            stranger.is_waited_for = false;
        }
        assert!(gate.enter(IpAddr::from([10, 0, 1, 9])).is_none());
        drop(nodes);
        assert!(gate.enter(IpAddr::from([10, 0, 1, 9])).is_some(), "three have left");
    }
}

//! The primitive on etcd, from version 3.4, that several managers share.
//!
//! Keys: below the prefix, `format` and `entries/<key>`. Revisions are etcd's own, which count the changes of all who
//! use the servers. Each commit is one transaction of etcd, which syncs those together that come together. A watch of
//! etcd only tells that there is news; what it is follows from the entries now and then, so nothing depends on what
//! a connection missed. Where etcd has compacted that history away, watchers are told everything.
//!
//! Not here: the requests for one command (see `requests`), and how they travel (see `channel`).

mod channel;
mod message;
mod requests;

use crate::command::{Command, is_plain};
use crate::remote::{self, CALL_TIME_MAX, Desk, Ended, HEARTBEAT_INTERVAL};
use crate::{Cause, StoreError};
pub use channel::Endpoint;
use channel::{Channel, Failed, Mover, WatchStream};
use message::WatchAnswer;
use requests::Requests;
use rustls::ClientConfig;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Calls under way at the same time. 256: what a server gathers for one sync; more would only wait there.
const CALLS_MAX: usize = 256;

/// How long the other calls may still take once a connection has failed one. A quarter of a second: many syncs.
const GRACE: Duration = Duration::from_millis(250);

/// How to find the servers.
#[derive(Clone)]
pub struct Settings {
    /// Used one at a time; the next when one fails.
    pub endpoints: Vec<Endpoint>,
    /// Before every key; one for each cell, printable ASCII. A `/` is added where it does not end with one.
    pub prefix: String,
    pub user: Option<User>,
    /// None: clear text, for networks that are trusted. A certificate of ours in it can be the credential.
    pub tls: Option<Arc<ClientConfig>>,
}

#[derive(Clone)]
pub struct User {
    pub name: String,
    pub password: String,
}

pub struct Driver {
    settings: Settings,
    place: String,
    /// The endpoint to be tried next.
    next: usize,
    cluster: Option<u64>,
}

pub struct Session {
    requests: Requests,
    watch: WatchStream,
    mover: Mover,
}

/// What became of a call.
enum After {
    Fine,
    /// Not done; another connection may do better.
    Again(Instant, Command, Cause),
    /// Answered, but the connection is of no more use.
    Broken(Cause),
}

impl Driver {
    pub fn new(mut settings: Settings) -> Result<Self, StoreError> {
        if !settings.prefix.ends_with('/') {
            settings.prefix.push('/');
        }
        let scheme = if settings.tls.is_some() { "https" } else { "http" };
        let endpoints = settings.endpoints.iter();
        let endpoints: Vec<String> =
            endpoints.map(|endpoint| format!("{scheme}://{}:{}", endpoint.host, endpoint.port)).collect();
        let place = format!("etcd {} below {}", endpoints.join(","), settings.prefix);
        if settings.endpoints.is_empty() || !is_plain(&settings.prefix) {
            let source = "it needs an endpoint, and a prefix of printable ASCII".into();
            return Err(StoreError::Engine { place, act: "use the settings of", source });
        }
        Ok(Self { settings, place, next: 0, cluster: None })
    }

    async fn connect_to(&mut self, endpoint: &Endpoint, desk: &mut Desk) -> Result<Session, StoreError> {
        let unavailable = |source| StoreError::Unavailable { place: self.place.clone(), source };
        let connected = Channel::connect(endpoint, self.settings.tls.as_ref()).await;
        let (mut channel, mover) = connected.map_err(unavailable)?;
        if let Some(user) = &self.settings.user {
            let request = message::authenticate(&user.name, &user.password);
            let answer = channel.call("/etcdserverpb.Auth/Authenticate", &request, CALL_TIME_MAX).await;
            let answer = answer.map_err(|failed| requests::explain(&self.place, "open", failed))?;
            channel.set_token(message::token(&answer).map_err(|error| unavailable(Box::new(error)))?);
        }
        let requests = Requests::new(channel, &self.settings.prefix, &self.place);
        let watch = requests.watch().await?;
        // After the watch: from here on nothing is missed.
        let header = requests.begin().await?;
        let is_other = self.cluster.is_some_and(|cluster| cluster != header.cluster);
        self.cluster = Some(header.cluster);
        desk.tell_found(header.revision, is_other);
        Ok(Session { requests, watch, mover })
    }
}

impl remote::Driver for Driver {
    type Session = Session;

    fn place(&self) -> String {
        self.place.clone()
    }

    async fn connect(&mut self, desk: &mut Desk) -> Result<Session, StoreError> {
        let mut result = Err(StoreError::Closed);
        for _ in 0..self.settings.endpoints.len() {
            let endpoint = self.settings.endpoints[self.next % self.settings.endpoints.len()].clone();
            result = self.connect_to(&endpoint, desk).await;
            if result.is_ok() {
                break;
            }
            self.next += 1;
        }
        result
    }

    async fn serve(&mut self, session: Session, desk: &mut Desk) -> Ended {
        let Session { requests, mut watch, mover } = session;
        let mut heartbeat = Instant::now() + HEARTBEAT_INTERVAL;
        let mut calls: JoinSet<After> = JoinSet::new();
        let cause = loop {
            // Whichever branch is not taken has done nothing: all four can be cancelled. In this order, so that nothing
            // more is sent where a call has just failed.
            let after = tokio::select! {
                biased;
                Some(ended) = calls.join_next() => {
                    ended.unwrap_or_else(|error| After::Broken(Box::new(error)))
                }
                news = watch.next() => hear(news, desk),
                () = tokio::time::sleep_until(heartbeat) => {
                    heartbeat = Instant::now() + HEARTBEAT_INTERVAL;
                    calls.spawn_local(beat(requests.clone()));
                    After::Fine
                }
                next = desk.next(), if calls.len() < CALLS_MAX => match next {
                    Some((since, command)) => {
                        calls.spawn_local(carry_out(requests.clone(), since, command));
                        After::Fine
                    }
                    None => {
                        while calls.join_next().await.is_some() {}
                        return Ended::Closed;
                    }
                },
            };
            match after {
                After::Fine => {}
                After::Broken(cause) => break cause,
                After::Again(since, command, cause) => {
                    desk.put_back(since, command);
                    break cause;
                }
            }
        };
        drain(calls, mover, desk).await;
        self.next += 1;
        Ended::Lost(cause)
    }

    fn give_up(&mut self, _before: Instant) {
        // A call that is in doubt was answered when its connection broke.
    }
}

fn hear(news: Result<WatchAnswer, Failed>, desk: &Desk) -> After {
    match news {
        Ok(news) if news.is_cancelled => After::Broken(format!("the watch ended: {}", news.reason).into()),
        Ok(news) => {
            if news.has_events {
                desk.tell(news.header.revision);
            }
            After::Fine
        }
        Err(failed) => After::Broken(requests::cause(failed)),
    }
}

/// Shows that the server answers, and that it is one of a majority.
async fn beat(requests: Requests) -> After {
    match requests.ask_revision().await {
        Ok(_) => After::Fine,
        Err(failed) => After::Broken(requests::cause(failed)),
    }
}

/// The other calls of a connection that has failed one may be fine: they get a moment, then they end with it.
async fn drain(mut calls: JoinSet<After>, mover: Mover, desk: &mut Desk) {
    let grace = tokio::time::sleep(GRACE);
    tokio::pin!(grace);
    let mut mover = Some(mover);
    loop {
        tokio::select! {
            ended = calls.join_next() => match ended {
                None => break,
                Some(Ok(After::Again(since, command, _))) => desk.put_back(since, command),
                Some(_) => {}
            },
            () = &mut grace, if mover.is_some() => drop(mover.take()),
        }
    }
}

async fn carry_out(requests: Requests, since: Instant, command: Command) -> After {
    match command {
        Command::Read { read, reply } => match requests.read(&read).await {
            Ok(snapshot) => {
                drop(reply.send(Ok(snapshot)));
                After::Fine
            }
            Err(failed) if requests::may_repeat(&failed) => {
                After::Again(since, Command::Read { read, reply }, requests::cause(failed))
            }
            Err(failed) => {
                drop(reply.send(Err(requests.explain("read", failed))));
                After::Fine
            }
        },
        Command::Changes { prefix, since: revision, reply } => {
            match requests.changes(&prefix, revision).await {
                Ok(changes) => {
                    drop(reply.send(Ok(changes)));
                    After::Fine
                }
                Err(failed) if requests::may_repeat(&failed) => {
                    let command = Command::Changes { prefix, since: revision, reply };
                    After::Again(since, command, requests::cause(failed))
                }
                Err(failed) => {
                    drop(reply.send(Err(requests.explain("read", failed))));
                    After::Fine
                }
            }
        }
        Command::Commit { txn, reply } => match requests.commit(&txn).await {
            Ok(result) => {
                drop(reply.send(result.map_err(StoreError::Refused)));
                After::Fine
            }
            Err(failed) if requests::is_untouched(&failed) => {
                After::Again(since, Command::Commit { txn, reply }, requests::cause(failed))
            }
            Err(failed) => match requests.explain("write", failed) {
                StoreError::Unknown { place, source } => {
                    let text = source.to_string();
                    drop(reply.send(Err(StoreError::Unknown { place, source })));
                    After::Broken(text.into())
                }
                error => {
                    drop(reply.send(Err(error)));
                    After::Fine
                }
            },
        },
    }
}

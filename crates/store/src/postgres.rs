//! The primitive on a PostgreSQL database that several managers share.
//!
//! A group of commits is read, judged here, and written by one statement that happens only if the revision is still
//! the one that was read. So no lock outlives a statement, whatever becomes of us. A write whose answer is lost is
//! looked for after the next connection, which first takes a revision of its own: what was not written by then never is.
//! Watchers hear of changes by NOTIFY and read them from the entries by revision.
//!
//! Not here: statements and tables (see `session`).

mod session;
mod tls;

use crate::command::{Command, Reply};
use crate::group::Group;
use crate::remote::{self, CALL_TIME_MAX, CONNECT_TIME_MAX, Desk, Ended, HEARTBEAT_INTERVAL};
use crate::{Cause, StoreError};
use logic::model::{Refused, Revision, Txn, Write, within_bounds};
use rustls::ClientConfig;
use session::{Found, Session, Trouble};
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::time::Instant;

/// Commits of one group. 256: a sync costs as much as some hundred small writes, more would only add delay.
const GROUP_MAX: usize = 256;
/// Bytes of values of one group, but for its first commit. 8 MiB: far above what a sync waits for.
const GROUP_SIZE_MAX_BYTES: usize = 8 << 20;
/// Times that a group is judged again because another manager was faster. 100: each time one of them got on.
const RACES_MAX: u32 = 100;

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    Tcp {
        name: String,
        port: u16,
    },
    /// The directory of its Unix socket.
    Socket {
        directory: PathBuf,
        port: u16,
    },
}

/// How to find the database.
#[derive(Clone)]
pub struct Settings {
    /// Tried in order; the first that takes writes is used.
    pub hosts: Vec<Host>,
    pub user: String,
    /// None: the server trusts us by other means.
    pub password: Option<String>,
    pub database: String,
    /// Lower case letters, digits and `_`; one for each cell. Created where it is missing.
    pub schema: String,
    /// None: clear text, for Unix sockets and networks that are trusted. Otherwise never without TLS; the server must
    /// have a certificate for its host's name.
    pub tls: Option<Arc<ClientConfig>>,
}

/// A group whose answer was lost.
#[derive(Debug)]
struct Doubt {
    since: Instant,
    group: Vec<Waiting>,
    results: Vec<Result<Revision, Refused>>,
    before: Revision,
    mark: String,
    cause: String,
}

type Waiting = (Instant, Txn, Reply<Revision>);

pub struct Driver {
    settings: Settings,
    place: String,
    /// Tells our writes from those of others.
    name: String,
    groups: u64,
    doubt: Option<Doubt>,
}

impl Driver {
    pub fn new(settings: Settings) -> Result<Self, StoreError> {
        let place = place(&settings);
        let wrong = |act| StoreError::Engine {
            place: place.clone(),
            act,
            source: "a schema's name is 1 to 48 lower case letters, digits or _".into(),
        };
        let is_letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        let schema = settings.schema.as_bytes();
        let starts_well = schema.first().is_some_and(u8::is_ascii_lowercase);
        if schema.len() > 48 || !starts_well || !schema.iter().copied().all(is_letter) {
            return Err(wrong("use the settings of"));
        }
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(|source| StoreError::Engine {
            place: place.clone(),
            act: "find a name for our writes to",
            source: source.to_string().into(),
        })?;
        let name = random.iter().fold(String::new(), |mut name, byte| {
            // Writing to a string cannot fail.
            let _ = write!(name, "{byte:02x}");
            name
        });
        Ok(Self { settings, place, name, groups: 0, doubt: None })
    }

    /// Tells those in doubt what became of their group, and takes back what can be tried again.
    fn settle(&mut self, found: &Found, desk: &mut Desk) {
        let Some(doubt) = self.doubt.take() else { return };
        if found.mark.as_deref() == Some(doubt.mark.as_str()) {
            answer(doubt.group, doubt.results);
        } else if found.revision == doubt.before {
            for (since, txn, reply) in doubt.group {
                desk.put_back(since, Command::Commit { txn, reply });
            }
        } else {
            // Others wrote meanwhile, and maybe over it.
            unknown(doubt.group, &self.place, &doubt.cause);
        }
    }

    /// One group of commits, and the questions that came with them.
    async fn turn(
        &mut self,
        session: &mut Session,
        desk: &mut Desk,
        first: (Instant, Command),
    ) -> Result<(), Cause> {
        let (mut group, mut questions) = (Vec::new(), Vec::new());
        let (mut size_bytes, mut next) = (0, Some(first));
        while let Some((since, command)) = next {
            match command {
                Command::Commit { txn, reply } => match within_bounds(&txn) {
                    Ok(()) => {
                        size_bytes += size(&txn);
                        group.push((since, txn, reply));
                    }
                    Err(refused) => drop(reply.send(Err(StoreError::Refused(refused)))),
                },
                question @ (Command::Read { .. } | Command::Changes { .. }) => {
                    questions.push((since, question));
                }
            }
            let is_full = group.len() + questions.len() >= GROUP_MAX || size_bytes >= GROUP_SIZE_MAX_BYTES;
            next = if is_full { None } else { desk.try_next() };
        }
        let mut lost = if group.is_empty() { None } else { self.commit(session, desk, group).await.err() };
        for (since, question) in questions {
            match lost {
                None => lost = self.answer(session, desk, since, question).await.err(),
                Some(_) => desk.put_back(since, question),
            }
        }
        lost.map_or(Ok(()), Err)
    }

    async fn commit(
        &mut self,
        session: &mut Session,
        desk: &mut Desk,
        group: Vec<Waiting>,
    ) -> Result<(), Cause> {
        for _ in 0..RACES_MAX {
            let txns: Vec<&Txn> = group.iter().map(|(_, txn, _)| txn).collect();
            let (before, found) = match session.revisions(&crate::group::keys(&txns)).await {
                Ok(read) => read,
                Err(trouble) => return not_begun(trouble, group, desk, &self.place),
            };
            let judged = Group::judge(&txns, found, before);
            if judged.writes.is_empty() {
                let results = judged.results;
                answer(group, results);
                return Ok(());
            }
            self.groups += 1;
            let mark = format!("{}-{}", self.name, self.groups);
            match session.write(before, &judged, &mark).await {
                Ok(true) => {
                    let has_deleted = judged.has_deleted();
                    let Group { results, revision, writes: _ } = judged;
                    answer(group, results);
                    desk.tell(revision);
                    return if has_deleted { session.forget().await } else { Ok(()) };
                }
                Ok(false) => {}
                Err(trouble @ Trouble::Server(_)) => return not_begun(trouble, group, desk, &self.place),
                Err(Trouble::Lost(cause)) => {
                    let (results, told) = (judged.results, cause.to_string());
                    let since = Instant::now();
                    self.doubt = Some(Doubt { since, group, results, before, mark, cause: told });
                    return Err(cause);
                }
            }
        }
        for (_, _, reply) in group {
            drop(reply.send(Err(StoreError::Busy { place: self.place.clone() })));
        }
        Ok(())
    }

    async fn answer(
        &mut self,
        session: &mut Session,
        desk: &mut Desk,
        since: Instant,
        question: Command,
    ) -> Result<(), Cause> {
        let trouble = match &question {
            Command::Read { read, .. } => match session.read(read).await {
                Ok(snapshot) => {
                    question.answer_read(snapshot);
                    return Ok(());
                }
                Err(trouble) => trouble,
            },
            Command::Changes { prefix, since, .. } => match session.changes(prefix, *since).await {
                Ok(changes) => {
                    question.answer_changes(changes);
                    return Ok(());
                }
                Err(trouble) => trouble,
            },
            Command::Commit { .. } => unreachable!("commits were taken out before"),
        };
        let cause = match trouble {
            Trouble::Server(said) if !session::is_useless(&said) => {
                question.refuse(session::explain(&self.place, "read", &said));
                return Ok(());
            }
            Trouble::Server(said) => said,
            Trouble::Lost(cause) => cause,
        };
        desk.put_back(since, question);
        Err(cause)
    }
}

impl remote::Driver for Driver {
    type Session = Session;

    fn place(&self) -> String {
        self.place.clone()
    }

    async fn connect(&mut self, desk: &mut Desk) -> Result<Session, StoreError> {
        let limit = CONNECT_TIME_MAX + CALL_TIME_MAX;
        let opening = Session::open(&self.settings, &self.place, self.doubt.is_some());
        let (session, found) = match tokio::time::timeout(limit, opening).await {
            Ok(opened) => opened?,
            Err(_) => {
                let source = format!("no answer within {} s", limit.as_secs()).into();
                return Err(StoreError::Unavailable { place: self.place.clone(), source });
            }
        };
        self.settle(&found, desk);
        // The revision that was taken in case of doubt is above the one that was found.
        desk.tell_found(found.revision + u64::from(found.is_raised), false);
        Ok(session)
    }

    async fn serve(&mut self, mut session: Session, desk: &mut Desk) -> Ended {
        let mut heartbeat = Instant::now() + HEARTBEAT_INTERVAL;
        loop {
            // Whichever branch is not taken has done nothing: all three can be cancelled.
            let result = tokio::select! {
                heard = session.heard() => match heard {
                    Ok(revision) => {
                        desk.tell(revision);
                        Ok(())
                    }
                    Err(cause) => Err(cause),
                },
                next = desk.next() => match next {
                    None => return Ended::Closed,
                    Some(first) => self.turn(&mut session, desk, first).await,
                },
                () = tokio::time::sleep_until(heartbeat) => {
                    heartbeat = Instant::now() + HEARTBEAT_INTERVAL;
                    session.revision().await.map(|revision| desk.tell(revision))
                }
            };
            if let Err(cause) = result {
                return Ended::Lost(cause);
            }
        }
    }

    fn give_up(&mut self, before: Instant) {
        if let Some(doubt) = self.doubt.take_if(|doubt| doubt.since <= before) {
            unknown(doubt.group, &self.place, &doubt.cause);
        }
    }
}

fn place(settings: &Settings) -> String {
    let hosts = settings.hosts.iter().map(|host| match host {
        Host::Tcp { name, port } => format!("{name}:{port}"),
        Host::Socket { directory, port } => format!("{}:{port}", directory.display()),
    });
    let hosts: Vec<String> = hosts.collect();
    format!("postgresql://{}/{} in schema {}", hosts.join(","), settings.database, settings.schema)
}

fn size(txn: &Txn) -> usize {
    let sizes = txn.writes.iter().map(|write| match write {
        Write::Put { key, value } => key.len() + value.len(),
        Write::Delete { key } => key.len(),
    });
    sizes.sum()
}

fn answer(group: Vec<Waiting>, results: Vec<Result<Revision, Refused>>) {
    for ((_, _, reply), result) in group.into_iter().zip(results) {
        drop(reply.send(result.map_err(StoreError::Refused)));
    }
}

fn unknown(group: Vec<Waiting>, place: &str, cause: &str) {
    for (_, _, reply) in group {
        let error = StoreError::Unknown { place: place.to_owned(), source: cause.into() };
        drop(reply.send(Err(error)));
    }
}

/// Nothing was done: the callers are told why, or wait for another connection.
fn not_begun(trouble: Trouble, group: Vec<Waiting>, desk: &mut Desk, place: &str) -> Result<(), Cause> {
    let cause = match trouble {
        Trouble::Server(said) if !session::is_useless(&said) => {
            for (_, _, reply) in group {
                drop(reply.send(Err(session::explain(place, "write", &said))));
            }
            return Ok(());
        }
        Trouble::Server(said) => said,
        Trouble::Lost(cause) => cause,
    };
    for (since, txn, reply) in group {
        desk.put_back(since, Command::Commit { txn, reply });
    }
    Err(cause)
}

//! One connection to PostgreSQL: tables, statements, and what an error of theirs means.
//!
//! Tables, in a schema of their own: `entries(key, value, bytes, is_deleted, revision)`, where `value` is the text of a
//! value and `bytes` a value that is no text; a deletion is kept for watchers that have not heard of it. `meta` has one
//! row: format, revision of the last commit, revision up to which deletions were forgotten, mark of the last writer.
//! The schema's name is also the channel of notifications. Every statement is a transaction.

use super::{Host, Settings, tls};
use crate::command::{after, is_plain};
use crate::group::Group;
use crate::remote::{CALL_TIME_MAX, CONNECT_TIME_MAX, LONG_CALL_TIME_MAX};
use crate::{Cause, StoreError};
use logic::limits::TOMBSTONES_MAX;
use logic::model::{Change, Changes, Entry, Read, Revision, Snapshot};
use std::collections::HashMap;
use std::future::poll_fn;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_postgres::config::{SslMode, TargetSessionAttrs};
use tokio_postgres::error::{DbError, SqlState};
use tokio_postgres::types::ToSql;
use tokio_postgres::{AsyncMessage, Client, Config, Connection, NoTls, Row, Statement};

/// Raised when the tables change their meaning.
const FORMAT: i64 = 1;
/// How much earlier than we the server gives up on a lock: then it is certain that nothing was done.
const SERVER_FIRST: Duration = Duration::from_millis(500);
/// How long a server may acknowledge nothing before the system asks whether it is there. As long as one call.
const SILENCE_MAX: Duration = CALL_TIME_MAX;
/// Questions without an answer after which the system takes it for dead. Three: one lost packet is no death.
const PROBES_MAX: u32 = 3;
const PROBE_INTERVAL: Duration = Duration::from_secs(1);
/// Serialises managers that create the tables at the same time. Any number that nobody else uses: `MSTR`.
const CREATION_LOCK: i64 = 0x4d53_5452;

/// Why a statement has no result.
#[derive(Debug)]
pub enum Trouble {
    /// Nothing was done.
    Server(Box<DbError>),
    /// Nobody knows what was done.
    Lost(Cause),
}

impl From<tokio_postgres::Error> for Trouble {
    fn from(error: tokio_postgres::Error) -> Self {
        match error.as_db_error() {
            Some(said) => Trouble::Server(Box::new(said.clone())),
            None => Trouble::Lost(Box::new(error)),
        }
    }
}

/// What a new connection finds.
#[derive(Debug)]
pub struct Found {
    pub revision: Revision,
    pub mark: Option<String>,
    /// Whether the next revision was taken, so that no older write can come any more.
    pub is_raised: bool,
}

struct Statements {
    revisions: Statement,
    write: Statement,
    forget: Statement,
    read_keys: Statement,
    read_prefix: Statement,
    changes: Statement,
    everything: Statement,
}

pub struct Session {
    client: Client,
    statements: Statements,
    heard: watch::Receiver<Revision>,
    /// Moves the bytes. Ends with the connection, or with us.
    mover: JoinHandle<Cause>,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.mover.abort();
    }
}

impl Session {
    /// Connects to the first host that takes writes. `raise`: see `Found::is_raised`.
    pub async fn open(settings: &Settings, place: &str, raise: bool) -> Result<(Self, Found), StoreError> {
        let (client, heard, mover) = connect(settings).await.map_err(|error| match error.as_db_error() {
            Some(said) => explain(place, "open", said),
            None => StoreError::Unavailable { place: place.to_owned(), source: Box::new(error) },
        })?;
        // From here on the task ends even if we do not come to the end.
        let mover = AbortOnDrop(Some(mover));
        let opened = prepare(&client, settings, place, raise).await;
        let (statements, found) = opened.map_err(|error| match error {
            Opening::Known(error) => error,
            Opening::Trouble(Trouble::Server(said)) => explain(place, "open", &said),
            Opening::Trouble(Trouble::Lost(source)) => {
                StoreError::Unavailable { place: place.to_owned(), source }
            }
        })?;
        Ok((Self { client, statements, heard, mover: mover.keep() }, found))
    }

    /// The next revision that another connection tells of, or why this one ended. Safe to cancel.
    pub async fn heard(&mut self) -> Result<Revision, Cause> {
        match self.heard.changed().await {
            Ok(()) => Ok(*self.heard.borrow_and_update()),
            Err(_) => Err((&mut self.mover).await.unwrap_or_else(|ended| Box::new(ended))),
        }
    }

    async fn ask(
        &self,
        statement: &Statement,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Trouble> {
        self.ask_within(CALL_TIME_MAX, statement, parameters).await
    }

    async fn ask_within(
        &self,
        limit: Duration,
        statement: &Statement,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Trouble> {
        let asked = tokio::time::timeout(limit, self.client.query(statement, parameters)).await;
        let slow = |_| Trouble::Lost(format!("no answer within {} s", limit.as_secs()).into());
        asked.map_err(slow)?.map_err(Trouble::from)
    }

    /// The store's revision and those of the keys that exist.
    pub async fn revisions(&self, keys: &[&str]) -> Result<(Revision, HashMap<String, Revision>), Trouble> {
        let rows = self.ask(&self.statements.revisions, &[&keys]).await?;
        let mut found = HashMap::new();
        for row in &rows {
            if let Some(key) = row.try_get::<_, Option<String>>(1)? {
                found.insert(key, number(row, 2)?);
            }
        }
        Ok((revision_of(&rows)?, found))
    }

    pub async fn revision(&self) -> Result<Revision, Cause> {
        match self.revisions(&[]).await {
            Ok((revision, _)) => Ok(revision),
            Err(Trouble::Lost(cause)) => Err(cause),
            Err(Trouble::Server(said)) => Err(said),
        }
    }

    /// False: someone else has written after `before`, and nothing was done.
    pub async fn write(&self, before: Revision, group: &Group<'_>, mark: &str) -> Result<bool, Trouble> {
        let count = group.writes.len();
        let (mut keys, mut texts, mut bytes) =
            (Vec::with_capacity(count), Vec::with_capacity(count), Vec::with_capacity(count));
        let mut revisions = Vec::with_capacity(count);
        for (key, (value, revision)) in &group.writes {
            let text = value.and_then(text);
            keys.push(*key);
            bytes.push(if text.is_some() { None } else { *value });
            texts.push(text);
            revisions.push(*revision as i64);
        }
        let (before, after) = (before as i64, group.revision as i64);
        let parameters: [&(dyn ToSql + Sync); 7] =
            [&before, &after, &mark, &keys, &texts, &bytes, &revisions];
        Ok(!self.ask(&self.statements.write, &parameters).await?.is_empty())
    }

    /// Drops the oldest deletions beyond the bound, whole revisions at a time. What the server does not do now it does
    /// after the next deletion.
    pub async fn forget(&self) -> Result<(), Cause> {
        match self.ask(&self.statements.forget, &[&(TOMBSTONES_MAX as i64)]).await {
            Ok(_) | Err(Trouble::Server(_)) => Ok(()),
            Err(Trouble::Lost(cause)) => Err(cause),
        }
    }

    pub async fn read(&self, read: &Read) -> Result<Snapshot, Trouble> {
        let rows = match read {
            Read::Keys(keys) => {
                let keys: Vec<&str> = keys.iter().map(String::as_str).filter(|key| is_plain(key)).collect();
                self.ask(&self.statements.read_keys, &[&keys]).await?
            }
            Read::Prefix(prefix) if is_plain(prefix) => {
                let parameters: [&(dyn ToSql + Sync); 2] = [prefix, &after(prefix)];
                self.ask_within(LONG_CALL_TIME_MAX, &self.statements.read_prefix, &parameters).await?
            }
            Read::Prefix(_) => {
                let nothing: [&str; 0] = [];
                self.ask(&self.statements.read_keys, &[&nothing.as_slice()]).await?
            }
        };
        let mut entries = Vec::with_capacity(rows.len());
        for row in &rows {
            if let Some(change) = change(row)? {
                let Change { key, value, revision } = change;
                entries.push(Entry { key, value: value.unwrap_or_default(), revision });
            }
        }
        Ok(Snapshot { revision: revision_of(&rows)?, entries })
    }

    pub async fn changes(&self, prefix: &str, since: Revision) -> Result<Changes, Trouble> {
        let since_signed = i64::try_from(since).unwrap_or(i64::MAX);
        let (from, to) = if is_plain(prefix) { (prefix, after(prefix)) } else { ("", String::new()) };
        let parameters: [&(dyn ToSql + Sync); 3] = [&from, &to, &since_signed];
        let mut rows = self.ask_within(LONG_CALL_TIME_MAX, &self.statements.changes, &parameters).await?;
        let forgotten = rows.first().map_or(Ok(0), |row| number(row, 5))?;
        let is_whole = since < forgotten || since > revision_of(&rows)?;
        if is_whole {
            rows = self.ask_within(LONG_CALL_TIME_MAX, &self.statements.everything, &parameters[..2]).await?;
        }
        let mut changes = Vec::with_capacity(rows.len());
        for row in &rows {
            changes.extend(change(row)?);
        }
        Ok(Changes { revision: revision_of(&rows)?, is_whole, changes })
    }
}

/// Ends a task whose owner did not come to be.
struct AbortOnDrop(Option<JoinHandle<Cause>>);

impl AbortOnDrop {
    fn keep(mut self) -> JoinHandle<Cause> {
        self.0.take().expect("it is only taken here")
    }
}

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}

enum Opening {
    Known(StoreError),
    Trouble(Trouble),
}

impl From<tokio_postgres::Error> for Opening {
    fn from(error: tokio_postgres::Error) -> Self {
        Opening::Trouble(error.into())
    }
}

type Connected = (Client, watch::Receiver<Revision>, JoinHandle<Cause>);

async fn connect(settings: &Settings) -> Result<Connected, tokio_postgres::Error> {
    let mut config = Config::new();
    config.user(&settings.user).dbname(&settings.database).application_name("muster");
    config.connect_timeout(CONNECT_TIME_MAX).target_session_attrs(TargetSessionAttrs::ReadWrite);
    config.keepalives_idle(SILENCE_MAX).keepalives_interval(PROBE_INTERVAL).keepalives_retries(PROBES_MAX);
    config.tcp_user_timeout(SILENCE_MAX + PROBE_INTERVAL * PROBES_MAX);
    for host in &settings.hosts {
        match host {
            Host::Tcp { name, port } => config.host(name).port(*port),
            Host::Socket { directory, port } => config.host_path(directory).port(*port),
        };
    }
    if let Some(password) = &settings.password {
        config.password(password);
    }
    match &settings.tls {
        None => {
            let (client, connection) = config.ssl_mode(SslMode::Disable).connect(NoTls).await?;
            Ok(start_mover(client, connection))
        }
        Some(tls) => {
            let maker = tls::Maker(tls.clone());
            let (client, connection) = config.ssl_mode(SslMode::Require).connect(maker).await?;
            Ok(start_mover(client, connection))
        }
    }
}

fn start_mover<S, T>(client: Client, mut connection: Connection<S, T>) -> Connected
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
    T: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let (told, heard) = watch::channel(0);
    let mover = tokio::task::spawn_local(async move {
        loop {
            match poll_fn(|context| connection.poll_message(context)).await {
                Some(Ok(AsyncMessage::Notification(notification))) => {
                    // One that is not a number was made by a person's hand: a hint, and no more.
                    if let Ok(revision) = notification.payload().parse() {
                        told.send_replace(revision);
                    }
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => return Box::new(error) as Cause,
                None => return "the server closed the connection".into(),
            }
        }
    });
    (client, heard, mover)
}

async fn prepare(
    client: &Client,
    settings: &Settings,
    place: &str,
    raise: bool,
) -> Result<(Statements, Found), Opening> {
    let schema = &settings.schema;
    let lock_ms = (CALL_TIME_MAX - SERVER_FIRST).as_millis();
    let limit_ms = LONG_CALL_TIME_MAX.as_millis();
    // Whoever set the server to acknowledge before the disk has it did not mean us.
    let session = format!(
        "SET statement_timeout = {limit_ms}; SET lock_timeout = {lock_ms};
         SELECT set_config('synchronous_commit', 'on', false)
             WHERE current_setting('synchronous_commit') IN ('off', 'local');
         LISTEN {schema};"
    );
    client.batch_execute(&session).await?;
    create(client, schema, place).await?;
    let found = find(client, schema, place, raise).await?;
    let entry = "m.revision, e.key, e.value, e.bytes, e.revision";
    let from = format!("FROM {schema}.meta m LEFT JOIN {schema}.entries e ON");
    let within = "e.key >= $1 AND e.key < $2";
    let revisions =
        format!("SELECT m.revision, e.key, e.revision {from} e.key = ANY($1) AND NOT e.is_deleted");
    let write = write(schema);
    let forget = forget(schema);
    let read_keys = format!("SELECT {entry} {from} e.key = ANY($1) AND NOT e.is_deleted ORDER BY e.key");
    let read_prefix = format!("SELECT {entry} {from} {within} AND NOT e.is_deleted ORDER BY e.key");
    let changes =
        format!("SELECT {entry}, m.forgotten {from} {within} AND e.revision > $3 ORDER BY e.revision, e.key");
    let everything =
        format!("SELECT {entry} {from} {within} AND NOT e.is_deleted ORDER BY e.revision, e.key");
    let (revisions, write, forget, read_keys, read_prefix, changes, everything) = tokio::try_join!(
        client.prepare(&revisions),
        client.prepare(&write),
        client.prepare(&forget),
        client.prepare(&read_keys),
        client.prepare(&read_prefix),
        client.prepare(&changes),
        client.prepare(&everything),
    )?;
    let statements = Statements { revisions, write, forget, read_keys, read_prefix, changes, everything };
    Ok((statements, found))
}

/// The row of `meta` is the turn: of two that come at the same time the later finds another revision and does nothing.
fn write(schema: &str) -> String {
    format!(
        "WITH turn AS (
             UPDATE {schema}.meta SET revision = $2, mark = $3 WHERE revision = $1 RETURNING revision
         ), written AS (
             INSERT INTO {schema}.entries (key, value, bytes, is_deleted, revision)
             SELECT e.key, e.value, e.bytes, e.value IS NULL AND e.bytes IS NULL, e.revision
             FROM turn, unnest($4::text[], $5::text[], $6::bytea[], $7::bigint[]) AS e (key, value, bytes, revision)
             ON CONFLICT (key) DO UPDATE SET value = excluded.value, bytes = excluded.bytes,
                 is_deleted = excluded.is_deleted, revision = excluded.revision
         )
         SELECT pg_notify('{schema}', turn.revision::text) FROM turn"
    )
}

fn forget(schema: &str) -> String {
    format!(
        "WITH newest AS (
             SELECT revision FROM {schema}.entries WHERE is_deleted ORDER BY revision DESC LIMIT 1 OFFSET $1
         ), dropped AS (
             DELETE FROM {schema}.entries e USING newest WHERE e.is_deleted AND e.revision <= newest.revision
         )
         UPDATE {schema}.meta SET forgotten = greatest(forgotten, newest.revision) FROM newest"
    )
}

/// Creates the tables where there are none.
async fn create(client: &Client, schema: &str, place: &str) -> Result<(), Opening> {
    let sql = "SELECT c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
               WHERE n.nspname = $1 AND c.relkind IN ('r', 'p')";
    let rows = client.query(sql, &[&schema]).await?;
    let mut names = Vec::new();
    for row in &rows {
        names.push(row.try_get::<_, String>(0)?);
    }
    match (names.is_empty(), names.iter().any(|name| name == "meta")) {
        (false, true) => return Ok(()),
        (false, false) => return Err(Opening::Known(StoreError::Foreign { place: place.to_owned() })),
        (true, _) => {}
    }
    // Sent as one, so it is one transaction. Another manager may do the same: the second finds everything there.
    let tables = format!(
        "SELECT pg_advisory_xact_lock({CREATION_LOCK});
         CREATE SCHEMA IF NOT EXISTS {schema};
         CREATE TABLE IF NOT EXISTS {schema}.meta (
             is_only boolean PRIMARY KEY DEFAULT true CHECK (is_only),
             format bigint NOT NULL, revision bigint NOT NULL, forgotten bigint NOT NULL, mark text
         ) WITH (fillfactor = 10);
         INSERT INTO {schema}.meta (format, revision, forgotten) VALUES ({FORMAT}, 0, 0) ON CONFLICT DO NOTHING;
         CREATE TABLE IF NOT EXISTS {schema}.entries (
             key text COLLATE \"C\" PRIMARY KEY, value text, bytes bytea,
             is_deleted boolean NOT NULL, revision bigint NOT NULL
         );
         CREATE INDEX IF NOT EXISTS entries_by_revision ON {schema}.entries (revision);
         CREATE INDEX IF NOT EXISTS deletions ON {schema}.entries (revision) WHERE is_deleted;"
    );
    Ok(client.batch_execute(&tables).await?)
}

async fn find(client: &Client, schema: &str, place: &str, raise: bool) -> Result<Found, Opening> {
    // Locked first, so that a write of an earlier connection is either seen or finds another revision than its own.
    let sql = match raise {
        false => format!("SELECT format, revision, mark FROM {schema}.meta"),
        true => format!(
            "WITH found AS (SELECT format, revision, mark FROM {schema}.meta FOR UPDATE)
             UPDATE {schema}.meta m SET revision = found.revision + 1 FROM found
             RETURNING found.format, found.revision, found.mark"
        ),
    };
    let place = place.to_owned();
    let row = match client.query_opt(&sql, &[]).await {
        Ok(Some(row)) => row,
        Ok(None) => {
            let detail = "its table meta is empty".into();
            return Err(Opening::Known(StoreError::Damaged { place, detail }));
        }
        Err(error) if error.code() == Some(&SqlState::UNDEFINED_COLUMN) => {
            return Err(Opening::Known(StoreError::Foreign { place }));
        }
        Err(error) => return Err(error.into()),
    };
    let found: i64 = row.try_get(0)?;
    if found != FORMAT {
        return Err(Opening::Known(StoreError::Newer { place, found, known: FORMAT }));
    }
    Ok(Found { revision: number(&row, 1)?, mark: row.try_get(2)?, is_raised: raise })
}

fn number(row: &Row, column: usize) -> Result<u64, tokio_postgres::Error> {
    row.try_get::<_, i64>(column).map(|number| number as u64)
}

/// Every statement that reads gives a row for `meta`, with an entry or without.
fn revision_of(rows: &[Row]) -> Result<Revision, Trouble> {
    let first = rows.first().ok_or_else(|| Trouble::Lost("its table meta is empty".into()))?;
    Ok(number(first, 0)?)
}

fn change(row: &Row) -> Result<Option<Change>, tokio_postgres::Error> {
    let Some(key) = row.try_get::<_, Option<String>>(1)? else { return Ok(None) };
    let text: Option<String> = row.try_get(2)?;
    let value = match text {
        Some(text) => Some(text.into_bytes()),
        None => row.try_get::<_, Option<Vec<u8>>>(3)?,
    };
    Ok(Some(Change { key, value, revision: number(row, 4)? }))
}

/// A value as text, where it is text that the engine can hold.
fn text(value: &[u8]) -> Option<&str> {
    std::str::from_utf8(value).ok().filter(|text| !text.contains('\0'))
}

/// Whether the server will refuse everything on this connection, so that another may do better.
pub fn is_useless(said: &DbError) -> bool {
    let code = said.code();
    // 57P: it is being shut down or started; 25006: it has become a standby.
    code.code().starts_with("57P")
        || code.code().starts_with("08")
        || *code == SqlState::READ_ONLY_SQL_TRANSACTION
}

/// An error of the server in our words. Nothing was done.
pub fn explain(place: &str, act: &'static str, said: &DbError) -> StoreError {
    let place = place.to_owned();
    let source: Cause = said.clone().into();
    match said.code().code() {
        "53100" | "53400" => StoreError::Full { place },
        "40001" | "40P01" | "55P03" | "57014" => StoreError::Busy { place },
        "42501" | "3D000" => StoreError::Denied { place, source },
        "54000" | "22023" => StoreError::TooLarge { place, detail: said.to_string() },
        "XX001" | "XX002" => StoreError::Damaged { place, detail: said.to_string() },
        code if code.starts_with("28") => StoreError::Denied { place, source },
        code if code.starts_with("53") || is_useless(said) => StoreError::Unavailable { place, source },
        _ => StoreError::Engine { place, act, source },
    }
}

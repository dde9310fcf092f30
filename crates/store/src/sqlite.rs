//! The primitive on a SQLite file: write-ahead log, synchronous FULL, one connection.
//!
//! Tables: `entries(key, value, revision)` with text values wherever they are text, so that a person can read them with
//! any SQLite shell; a value of NULL is a deletion that watchers may not have heard of. `meta` holds the revision and
//! up to which one deletions were forgotten. Blocking: only the store's thread calls this.

use crate::StoreError;
use crate::command::after;
use logic::limits::TOMBSTONES_MAX;
use logic::model::{Change, Changes, Entry, Read, Refused, Revision, Snapshot, Txn, Write, within_bounds};
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, Row, ToSql, params};
use std::fs::Metadata;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// `MSTR`, at a fixed place of the file: tells ours from other SQLite files.
const APPLICATION_ID: i64 = 0x4d53_5452;
/// Raised when the tables change their meaning.
const FORMAT: i64 = 1;
/// How long a person's SQLite shell may hold us up. Longer than any question at a prompt needs the lock.
const BUSY_MS: u64 = 2_000;
/// To what size the log is cut after it has grown.
const LOG_SIZE_KEPT_BYTES: i64 = 16 << 20;
const PAGE_SIZE_BYTES: u64 = 4096;
/// The smallest page that the format knows.
const HEADER_SIZE_BYTES: u64 = 512;

const TABLES: &str = "
    CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
    INSERT INTO meta (name, value) VALUES ('revision', 0), ('forgotten', 0);
    CREATE TABLE entries (key TEXT PRIMARY KEY, value, revision INTEGER NOT NULL);
    CREATE INDEX entries_by_revision ON entries (revision);
    CREATE INDEX deletions ON entries (revision) WHERE value IS NULL;
";

/// An open file.
#[derive(Debug)]
pub struct Engine {
    connection: Connection,
    place: String,
    path: PathBuf,
    /// Device and number of the file that was opened.
    identity: (u64, u64),
    revision: Revision,
    forgotten: Revision,
}

impl Engine {
    pub fn open(path: &Path, size_max_bytes: u64) -> Result<Self, StoreError> {
        let failed = |act, source: Box<dyn std::error::Error + Send + Sync>| StoreError::Engine {
            place: path.display().to_string(),
            act,
            source,
        };
        // Created here and not by SQLite: nobody else may read it, and its log inherits the mode.
        let file = std::fs::OpenOptions::new().create(true).append(true).mode(0o600).open(path);
        let metadata = file.and_then(|file| file.metadata());
        let metadata = metadata.map_err(|source| failed("create or open", Box::new(source)))?;
        let size_bytes = metadata.len();
        // SQLite takes a file that is shorter than its header for an empty one, and would write over it.
        if (1..HEADER_SIZE_BYTES).contains(&size_bytes) {
            let detail = format!("it has only {size_bytes} bytes");
            return Err(StoreError::Damaged { place: path.display().to_string(), detail });
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let opened = Connection::open_with_flags(path, flags);
        let connection = opened.map_err(|source| failed("open", Box::new(source)))?;
        let mut engine = Self {
            connection,
            place: path.display().to_string(),
            path: path.to_path_buf(),
            identity: identity(&metadata),
            revision: 0,
            forgotten: 0,
        };
        engine.prepare(size_max_bytes)?;
        engine.revision = engine.meta("revision")?;
        engine.forgotten = engine.meta("forgotten")?;
        Ok(engine)
    }

    pub fn place(&self) -> &str {
        &self.place
    }

    /// Of the last commit.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    fn prepare(&mut self, size_max_bytes: u64) -> Result<(), StoreError> {
        self.settings(size_max_bytes).map_err(|error| self.explain("open", error))?;
        let application = self.pragma("application_id")?;
        let tables: i64 = self
            .connection
            .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
            .map_err(|error| self.explain("read", error))?;
        if application == 0 && tables == 0 {
            return self.create().map_err(|error| self.explain("create", error));
        }
        if application != APPLICATION_ID {
            return Err(StoreError::Foreign { place: self.place.clone() });
        }
        let found = self.pragma("user_version")?;
        if found != FORMAT {
            return Err(StoreError::Newer { place: self.place.clone(), found, known: FORMAT });
        }
        let checked = self.connection.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0));
        match checked.map_err(|error| self.explain("check", error))? {
            verdict if verdict == "ok" => Ok(()),
            detail => Err(StoreError::Damaged { place: self.place.clone(), detail }),
        }
    }

    fn settings(&self, size_max_bytes: u64) -> rusqlite::Result<()> {
        let connection = &self.connection;
        connection.busy_timeout(Duration::from_millis(BUSY_MS))?;
        connection.pragma_update(None, "page_size", PAGE_SIZE_BYTES as i64)?;
        connection.pragma_update(None, "journal_mode", "wal")?;
        connection.pragma_update(None, "synchronous", "full")?;
        connection.pragma_update(None, "journal_size_limit", LOG_SIZE_KEPT_BYTES)?;
        let pages = size_max_bytes / PAGE_SIZE_BYTES;
        connection.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(()))
    }

    fn pragma(&self, name: &str) -> Result<i64, StoreError> {
        let read = self.connection.pragma_query_value(None, name, |row| row.get(0));
        read.map_err(|error| self.explain("read", error))
    }

    fn create(&self) -> rusqlite::Result<()> {
        // One transaction, so that a store which was killed here is still an empty file and not a foreign one.
        let script = format!(
            "BEGIN IMMEDIATE; {TABLES} PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {FORMAT}; COMMIT;"
        );
        self.connection.execute_batch(&script)
    }

    fn meta(&self, name: &str) -> Result<u64, StoreError> {
        let sql = "SELECT value FROM meta WHERE name = ?";
        let read = self.connection.query_row(sql, [name], |row| row.get::<_, i64>(0));
        read.map(|value| value as u64).map_err(|error| self.explain("read", error))
    }

    /// What is written to a file that was removed is lost with this process, and SQLite does not say so.
    fn check_place(&self) -> Result<(), StoreError> {
        let found = std::fs::metadata(&self.path).map(|metadata| identity(&metadata));
        if found.is_ok_and(|found| found == self.identity) {
            return Ok(());
        }
        Err(StoreError::Gone { place: self.place.clone() })
    }

    pub fn read(&self, read: &Read) -> Result<Snapshot, StoreError> {
        self.check_place()?;
        let entries = match read {
            Read::Keys(keys) => self.read_keys(keys),
            Read::Prefix(prefix) => self.read_prefix(prefix),
        };
        let entries = entries.map_err(|error| self.explain("read", error))?;
        Ok(Snapshot { revision: self.revision, entries })
    }

    fn read_keys(&self, keys: &[String]) -> rusqlite::Result<Vec<Entry>> {
        let sql = "SELECT key, value, revision FROM entries WHERE key = ? AND value IS NOT NULL";
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut sorted: Vec<&String> = keys.iter().collect();
        sorted.sort_unstable();
        sorted.dedup();
        let mut entries = Vec::new();
        for key in sorted {
            entries.extend(statement.query_row([key], entry).optional()?);
        }
        Ok(entries)
    }

    fn read_prefix(&self, prefix: &str) -> rusqlite::Result<Vec<Entry>> {
        let sql = "SELECT key, value, revision FROM entries
                   WHERE key >= ?1 AND key < ?2 AND value IS NOT NULL ORDER BY key";
        let mut statement = self.connection.prepare_cached(sql)?;
        let rows = statement.query_map([prefix, &after(prefix)], entry)?;
        rows.collect()
    }

    pub fn changes(&self, prefix: &str, since: Revision) -> Result<Changes, StoreError> {
        let is_whole = since < self.forgotten || since > self.revision;
        let changes = self.read_changes(prefix, if is_whole { None } else { Some(since) });
        let changes = changes.map_err(|error| self.explain("read", error))?;
        Ok(Changes { revision: self.revision, is_whole, changes })
    }

    /// All that is there, or all that changed after a revision, deletions included.
    fn read_changes(&self, prefix: &str, since: Option<Revision>) -> rusqlite::Result<Vec<Change>> {
        let sql = "SELECT key, value, revision FROM entries
                   WHERE key >= ?1 AND key < ?2 AND revision > ?3 AND (?4 OR value IS NOT NULL)
                   ORDER BY revision, key";
        let mut statement = self.connection.prepare_cached(sql)?;
        let after_revision = since.map_or(-1, |since| since as i64);
        let rows =
            statement.query_map(params![prefix, after(prefix), after_revision, since.is_some()], |row| {
                Ok(Change {
                    key: row.get(0)?,
                    value: value(row.get_ref(1)?),
                    revision: row.get::<_, i64>(2)? as u64,
                })
            })?;
        rows.collect()
    }

    /// Commits all transactions with one sync. Each is accepted or refused by itself; an error means that none
    /// has happened, or that it is unclear.
    pub fn commit_all(&mut self, txns: &[&Txn]) -> Result<Vec<Result<Revision, Refused>>, StoreError> {
        let before = (self.revision, self.forgotten);
        let result = self.write_all(txns);
        if result.is_err() {
            if !self.connection.is_autocommit() {
                // If this fails too, the next BEGIN fails and says so.
                drop(self.connection.execute_batch("ROLLBACK"));
            }
            // Asked of the file: where it is unclear what happened, only the file knows.
            let found = self.meta("revision").and_then(|revision| Ok((revision, self.meta("forgotten")?)));
            (self.revision, self.forgotten) = found.unwrap_or(before);
        }
        result
    }

    fn write_all(&mut self, txns: &[&Txn]) -> Result<Vec<Result<Revision, Refused>>, StoreError> {
        self.check_place()?;
        let begun = self.connection.execute_batch("BEGIN IMMEDIATE");
        begun.map_err(|error| self.explain("write", error))?;
        let mut results = Vec::with_capacity(txns.len());
        for txn in txns {
            results.push(match self.judge(txn)? {
                Ok(()) => Ok(self.write(txn).map_err(|error| self.explain("write", error))?),
                Err(refused) => Err(refused),
            });
        }
        let committed = self.connection.execute_batch("COMMIT");
        committed.map_err(|error| match self.explain("write", error) {
            StoreError::Engine { place, act: _, source } => StoreError::Unknown { place, source },
            clear => clear,
        })?;
        Ok(results)
    }

    fn judge(&self, txn: &Txn) -> Result<Result<(), Refused>, StoreError> {
        if let Err(refused) = within_bounds(txn) {
            return Ok(Err(refused));
        }
        for check in &txn.checks {
            let found = self.find(check.key()).map_err(|error| self.explain("read", error))?;
            if !check.holds(found) {
                return Ok(Err(Refused::CheckFailed { key: check.key().to_owned() }));
            }
        }
        Ok(Ok(()))
    }

    /// The revision of an entry that exists.
    fn find(&self, key: &str) -> rusqlite::Result<Option<Revision>> {
        let sql = "SELECT revision FROM entries WHERE key = ? AND value IS NOT NULL";
        let mut statement = self.connection.prepare_cached(sql)?;
        statement
            .query_row([key], |row| row.get::<_, i64>(0))
            .optional()
            .map(|found| found.map(|it| it as u64))
    }

    fn write(&mut self, txn: &Txn) -> rusqlite::Result<Revision> {
        let revision = self.revision + 1;
        let mut has_deleted = false;
        for write in &txn.writes {
            let value = match write {
                Write::Put { value, .. } => Some(Value(value)),
                Write::Delete { key } if self.find(key)?.is_none() => continue,
                Write::Delete { .. } => {
                    has_deleted = true;
                    None
                }
            };
            let sql = "INSERT INTO entries (key, value, revision) VALUES (?1, ?2, ?3)
                       ON CONFLICT (key) DO UPDATE SET value = ?2, revision = ?3";
            self.connection.prepare_cached(sql)?.execute(params![write.key(), value, revision as i64])?;
            self.revision = revision;
        }
        self.set_meta("revision", self.revision)?;
        if has_deleted {
            self.forget()?;
        }
        Ok(self.revision)
    }

    /// Drops the oldest deletions beyond the bound, whole revisions at a time.
    fn forget(&mut self) -> rusqlite::Result<()> {
        let sql = "SELECT revision FROM entries WHERE value IS NULL ORDER BY revision DESC LIMIT 1 OFFSET ?";
        let mut statement = self.connection.prepare_cached(sql)?;
        let newest_dropped: Option<i64> =
            statement.query_row([TOMBSTONES_MAX as i64], |row| row.get(0)).optional()?;
        drop(statement);
        let Some(newest_dropped) = newest_dropped else { return Ok(()) };
        let sql = "DELETE FROM entries WHERE value IS NULL AND revision <= ?";
        self.connection.prepare_cached(sql)?.execute([newest_dropped])?;
        self.forgotten = newest_dropped as u64;
        self.set_meta("forgotten", self.forgotten)
    }

    fn set_meta(&self, name: &str, value: u64) -> rusqlite::Result<()> {
        let sql = "UPDATE meta SET value = ?2 WHERE name = ?1";
        self.connection.prepare_cached(sql)?.execute(params![name, value as i64])?;
        Ok(())
    }

    fn explain(&self, act: &'static str, error: rusqlite::Error) -> StoreError {
        let place = self.place.clone();
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => StoreError::Full { place },
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => StoreError::Busy { place },
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                StoreError::Damaged { place, detail: error.to_string() }
            }
            _ => StoreError::Engine { place, act, source: Box::new(error) },
        }
    }
}

fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

fn entry(row: &Row) -> rusqlite::Result<Entry> {
    let value = value(row.get_ref(1)?).unwrap_or_default();
    Ok(Entry { key: row.get(0)?, value, revision: row.get::<_, i64>(2)? as u64 })
}

/// The bytes of a value, however it was written; someone may have repaired one by hand.
fn value(stored: ValueRef) -> Option<Vec<u8>> {
    match stored {
        ValueRef::Null => None,
        ValueRef::Integer(number) => Some(number.to_string().into_bytes()),
        ValueRef::Real(number) => Some(number.to_string().into_bytes()),
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => Some(bytes.to_vec()),
    }
}

/// Text where it is text, so that a shell shows it.
struct Value<'a>(&'a [u8]);

impl ToSql for Value<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        let is_text = std::str::from_utf8(self.0).is_ok() && !self.0.contains(&0);
        let value = if is_text { ValueRef::Text(self.0) } else { ValueRef::Blob(self.0) };
        Ok(ToSqlOutput::Borrowed(value))
    }
}

//! The requests behind each command, and what etcd's refusals mean.

use super::channel::{self, Channel, Failed, WatchStream};
use super::message::{self, Header, KeyValue, Malformed, Range, RangeAnswer, TransactionAnswer};
use crate::command::{after, is_plain};
use crate::remote::{CALL_TIME_MAX, LONG_CALL_TIME_MAX, story};
use crate::{Cause, StoreError};
use logic::model::{
    Change, Changes, Check, Entry, Read, Refused, Revision, Snapshot, Txn, Write, within_bounds,
};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Raised when the keys change their meaning.
const FORMAT: i64 = 1;
/// Keys read by one request. 100: etcd takes 128 parts of a transaction unless it is told otherwise.
const KEYS_MAX: usize = 100;
/// Times that a read in parts is begun again because etcd forgot the revision between two of them.
const READS_MAX: u32 = 3;

const RANGE: &str = "/etcdserverpb.KV/Range";
const TRANSACTION: &str = "/etcdserverpb.KV/Txn";

/// Cheap to clone.
#[derive(Clone)]
pub struct Requests {
    channel: Channel,
    prefix: String,
    place: String,
}

impl Requests {
    pub fn new(channel: Channel, prefix: &str, place: &str) -> Self {
        Self { channel, prefix: format!("{prefix}entries/"), place: place.to_owned() }
    }

    fn format_key(&self) -> String {
        let stem = self.prefix.strip_suffix("entries/").expect("it was added in `new`");
        format!("{stem}format")
    }

    fn key(&self, key: &str) -> Vec<u8> {
        format!("{}{key}", self.prefix).into_bytes()
    }

    /// From and to of all keys that start with `prefix`; nothing where no key can.
    fn range(&self, prefix: &str) -> (Vec<u8>, Vec<u8>) {
        let from = self.key(prefix);
        let to = if is_plain(prefix) { after(&self.prefix_of(prefix)).into_bytes() } else { from.clone() };
        (from, to)
    }

    fn prefix_of(&self, prefix: &str) -> String {
        format!("{}{prefix}", self.prefix)
    }

    fn name(&self, key: &[u8]) -> String {
        String::from_utf8_lossy(key.get(self.prefix.len()..).unwrap_or_default()).into_owned()
    }

    pub fn explain(&self, act: &'static str, failed: Failed) -> StoreError {
        explain(&self.place, act, failed)
    }

    async fn transact(&self, message: &message::Message) -> Result<TransactionAnswer, Failed> {
        self.transact_within(CALL_TIME_MAX, message).await
    }

    async fn transact_within(
        &self,
        limit: Duration,
        message: &message::Message,
    ) -> Result<TransactionAnswer, Failed> {
        let bytes = self.channel.call(TRANSACTION, message, limit).await?;
        TransactionAnswer::read(&bytes).map_err(malformed)
    }

    pub async fn watch(&self) -> Result<WatchStream, StoreError> {
        let (from, to) = self.range("");
        let opened = self.channel.watch(&message::watch(&from, &to)).await;
        opened.map_err(|failed| not_done(self.explain("watch", failed)))
    }

    /// Makes sure that the prefix is ours.
    pub async fn begin(&self) -> Result<Header, StoreError> {
        let key = self.format_key();
        let is_new = message::compare(key.as_bytes(), false, 0);
        let put = message::put(key.as_bytes(), FORMAT.to_string().as_bytes());
        let get = Range { from: key.as_bytes(), ..Range::default() }.operation();
        let answer = self.transact(&message::transaction(&[is_new], &[put], &[get])).await;
        // Doing it twice is no harm, so it is never in doubt.
        let answer = answer.map_err(|failed| not_done(self.explain("open", failed)))?;
        if !answer.has_succeeded {
            let found = answer.ranges.first().and_then(|range| range.found.first());
            let text = found.map(|found| String::from_utf8_lossy(&found.value).into_owned());
            let place = self.place.clone();
            match text.unwrap_or_default().trim().parse::<i64>() {
                Ok(FORMAT) => {}
                Ok(found) => return Err(StoreError::Newer { place, found, known: FORMAT }),
                Err(_) => return Err(StoreError::Foreign { place }),
            }
        }
        Ok(answer.header)
    }

    /// Answers only if the server is one of a majority.
    pub async fn ask_revision(&self) -> Result<Revision, Failed> {
        let key = self.format_key();
        let request = Range { from: key.as_bytes(), is_count_only: true, ..Range::default() }.request();
        let bytes = self.channel.call(RANGE, &request, CALL_TIME_MAX).await?;
        Ok(RangeAnswer::read(&bytes).map_err(malformed)?.header.revision)
    }

    pub async fn read(&self, read: &Read) -> Result<Snapshot, Failed> {
        match read {
            Read::Keys(keys) => self.read_keys(keys).await,
            Read::Prefix(prefix) => {
                let answer = self.read_range(prefix).await?;
                let entries = answer.found.into_iter().map(|found| self.entry(found)).collect();
                Ok(Snapshot { revision: answer.header.revision, entries })
            }
        }
    }

    async fn read_range(&self, prefix: &str) -> Result<RangeAnswer, Failed> {
        let (from, to) = self.range(prefix);
        let request = Range { from: &from, to: &to, ..Range::default() }.request();
        let bytes = self.channel.call(RANGE, &request, LONG_CALL_TIME_MAX).await?;
        RangeAnswer::read(&bytes).map_err(malformed)
    }

    async fn read_keys(&self, keys: &[String]) -> Result<Snapshot, Failed> {
        let keys: BTreeSet<&str> = keys.iter().map(String::as_str).filter(|key| is_plain(key)).collect();
        let keys: Vec<Vec<u8>> = keys.into_iter().map(|key| self.key(key)).collect();
        let mut reads = 0;
        loop {
            reads += 1;
            match self.read_keys_once(&keys).await {
                Err(Failed::Status { code: channel::OUT_OF_RANGE, .. }) if reads < READS_MAX => {}
                result => return result,
            }
        }
    }

    /// The first part says at which revision the others are read.
    async fn read_keys_once(&self, keys: &[Vec<u8>]) -> Result<Snapshot, Failed> {
        let (first, rest) = keys.split_at(keys.len().min(KEYS_MAX));
        let mut answer = self.read_part(first, 0).await?;
        let revision = answer.header.revision;
        let mut ranges = std::mem::take(&mut answer.ranges);
        for part in rest.chunks(KEYS_MAX) {
            ranges.extend(self.read_part(part, revision).await?.ranges);
        }
        let found = ranges.into_iter().flat_map(|range| range.found);
        Ok(Snapshot { revision, entries: found.map(|found| self.entry(found)).collect() })
    }

    async fn read_part(&self, keys: &[Vec<u8>], revision: Revision) -> Result<TransactionAnswer, Failed> {
        let gets = keys.iter().map(|key| Range { from: key, revision, ..Range::default() }.operation());
        self.transact(&message::transaction(&[], &gets.collect::<Vec<_>>(), &[])).await
    }

    fn entry(&self, found: KeyValue) -> Entry {
        Entry { key: self.name(&found.key), value: found.value, revision: found.changed }
    }

    pub async fn commit(&self, txn: &Txn) -> Result<Result<Revision, Refused>, Failed> {
        if let Err(refused) = within_bounds(txn) {
            return Ok(Err(refused));
        }
        let compares: Vec<_> = txn.checks.iter().map(|check| self.compare(check)).collect();
        // etcd takes each key only once.
        let mut writes = BTreeMap::new();
        for write in &txn.writes {
            let key = self.key(write.key());
            let operation = match write {
                Write::Put { value, .. } => message::put(&key, value),
                Write::Delete { .. } => message::delete(&key),
            };
            writes.insert(key, operation);
        }
        let writes: Vec<_> = writes.into_values().collect();
        let looks = txn.checks.iter().map(|check| {
            let key = self.key(check.key());
            Range { from: &key, is_keys_only: true, ..Range::default() }.operation()
        });
        let looks: Vec<_> = looks.collect();
        let answer = self.transact(&message::transaction(&compares, &writes, &looks)).await?;
        if answer.has_succeeded {
            return Ok(Ok(answer.header.revision));
        }
        let mut checked = txn.checks.iter().zip(&answer.ranges);
        let failed =
            checked.find(|(check, range)| !check.holds(range.found.first().map(|found| found.changed)));
        match failed {
            Some((check, _)) => Ok(Err(Refused::CheckFailed { key: check.key().to_owned() })),
            None => Err(malformed(Malformed)),
        }
    }

    fn compare(&self, check: &Check) -> message::Message {
        let key = self.key(check.key());
        match check {
            Check::Absent { .. } => message::compare(&key, false, 0),
            Check::Exists { .. } => message::compare(&key, true, 0),
            Check::Unchanged { revision, .. } => {
                // To etcd 0 is a key that is not there; to us it is a revision that no entry has.
                let revision = i64::try_from(*revision).ok().filter(|revision| *revision > 0);
                message::compare(&key, false, revision.unwrap_or(-1))
            }
        }
    }

    /// What is different now from what was at `since`; everything where etcd does not know that any more.
    pub async fn changes(&self, prefix: &str, since: Revision) -> Result<Changes, Failed> {
        let is_known = since > 0 && i64::try_from(since).is_ok();
        if is_known {
            match self.difference(prefix, since).await {
                // Compacted, or of another history.
                Err(Failed::Status { code: channel::OUT_OF_RANGE, .. }) => {}
                result => return result,
            }
        }
        let answer = self.read_range(prefix).await?;
        let changes = answer.found.into_iter().map(|found| self.change(found));
        Ok(Changes { revision: answer.header.revision, is_whole: true, changes: in_order(changes.collect()) })
    }

    async fn difference(&self, prefix: &str, since: Revision) -> Result<Changes, Failed> {
        let (from, to) = self.range(prefix);
        let all = Range { from: &from, to: &to, ..Range::default() };
        let gets = [
            Range { changed_from: since + 1, ..all }.operation(),
            Range { is_count_only: true, ..all }.operation(),
            Range { is_count_only: true, revision: since, ..all }.operation(),
        ];
        let request = message::transaction(&[], &gets, &[]);
        let mut answer = self.transact_within(LONG_CALL_TIME_MAX, &request).await?;
        let revision = answer.header.revision;
        let [changed, now, then] = answer.ranges.as_mut_slice() else { return Err(malformed(Malformed)) };
        let created = changed.found.iter().filter(|found| found.created > since).count() as u64;
        let is_any_gone = then.count + created != now.count;
        let found = std::mem::take(&mut changed.found);
        let mut changes: Vec<Change> = found.into_iter().map(|found| self.change(found)).collect();
        if is_any_gone {
            let gone = self.gone(all, since, revision).await?;
            changes.extend(gone.map(|key| Change { key, value: None, revision }));
        }
        Ok(Changes { revision, is_whole: false, changes: in_order(changes) })
    }

    /// The keys that were there at `since` and are not at `revision`.
    async fn gone(
        &self,
        all: Range<'_>,
        since: Revision,
        revision: Revision,
    ) -> Result<impl Iterator<Item = String>, Failed> {
        let at = |revision| Range { revision, is_keys_only: true, ..all }.operation();
        let request = message::transaction(&[], &[at(since), at(revision)], &[]);
        let answer = self.transact_within(LONG_CALL_TIME_MAX, &request).await?;
        let [then, now] = answer.ranges.as_slice() else { return Err(malformed(Malformed)) };
        let names = |range: &RangeAnswer| -> BTreeSet<String> {
            range.found.iter().map(|found| self.name(&found.key)).collect()
        };
        let (then, now) = (names(then), names(now));
        Ok(then.into_iter().filter(move |key| !now.contains(key)))
    }

    fn change(&self, found: KeyValue) -> Change {
        Change { key: self.name(&found.key), value: Some(found.value), revision: found.changed }
    }
}

fn in_order(mut changes: Vec<Change>) -> Vec<Change> {
    changes.sort_by(|one, other| (one.revision, &one.key).cmp(&(other.revision, &other.key)));
    changes
}

fn malformed(error: Malformed) -> Failed {
    Failed::Lost(Box::new(error))
}

/// Whether a question may be asked again, of this server or another.
pub fn may_repeat(failed: &Failed) -> bool {
    match failed {
        Failed::NotSent(_) | Failed::Lost(_) => true,
        Failed::Status { code, .. } => !matches!(
            *code,
            channel::INVALID_ARGUMENT
                | channel::PERMISSION_DENIED
                | channel::RESOURCE_EXHAUSTED
                | channel::FAILED_PRECONDITION
                | channel::OUT_OF_RANGE
        ),
    }
}

/// Whether nothing was done because of this connection: the server has not seen it, or our token was too old.
pub fn is_untouched(failed: &Failed) -> bool {
    matches!(failed, Failed::NotSent(_) | Failed::Status { code: channel::UNAUTHENTICATED, .. })
}

pub fn cause(failed: Failed) -> Cause {
    match failed {
        Failed::NotSent(cause) | Failed::Lost(cause) => cause,
        Failed::Status { code, text } => format!("{text} (status {code})").into(),
    }
}

/// An error for an act that may be repeated: that it is unknown does not matter.
fn not_done(error: StoreError) -> StoreError {
    match error {
        StoreError::Unknown { place, source } => StoreError::Unavailable { place, source },
        error => error,
    }
}

/// What became of a call, in our words.
pub fn explain(place: &str, act: &'static str, failed: Failed) -> StoreError {
    let place = place.to_owned();
    let (code, text) = match failed {
        Failed::NotSent(source) => return StoreError::Unavailable { place, source },
        Failed::Lost(source) => {
            return StoreError::Unknown { place, source: story(source.as_ref()).into() };
        }
        Failed::Status { code, text } => (code, text),
    };
    let is_about = |words: &str| text.contains(words);
    match code {
        channel::RESOURCE_EXHAUSTED if is_about("space") => StoreError::Full { place },
        channel::RESOURCE_EXHAUSTED | channel::INVALID_ARGUMENT
            if is_about("larger") || is_about("too large") || is_about("too many operations") =>
        {
            StoreError::TooLarge { place, detail: text }
        }
        channel::RESOURCE_EXHAUSTED => StoreError::Unavailable { place, source: text.into() },
        channel::PERMISSION_DENIED | channel::UNAUTHENTICATED => {
            StoreError::Denied { place, source: text.into() }
        }
        channel::INVALID_ARGUMENT | channel::FAILED_PRECONDITION
            if is_about("auth") || is_about("user name") =>
        {
            StoreError::Denied { place, source: text.into() }
        }
        channel::INVALID_ARGUMENT | channel::FAILED_PRECONDITION | channel::OUT_OF_RANGE => {
            StoreError::Engine { place, act, source: text.into() }
        }
        // No leader, a time-out, a server that stops: the transaction may be on its way to the others.
        _ => StoreError::Unknown { place, source: text.into() },
    }
}

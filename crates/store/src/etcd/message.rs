//! The few messages of etcd's API version 3 that we need, written and read by hand: no generator, no schema files.
//!
//! Pure. Protocol buffers: a message is fields, each a number and a varint or a piece of bytes. Fields that we do not
//! know are passed over, as the format demands. Not here: how messages travel (see `channel`).

/// Bytes that are no message of this kind.
#[derive(Debug, thiserror::Error)]
#[error("the server's answer is not of etcd's API version 3")]
pub struct Malformed;

/// A message that is being written.
#[derive(Debug, Default)]
pub struct Message(pub Vec<u8>);

impl Message {
    fn varint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push((number as u8 & 0x7f) | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }

    pub fn number(mut self, field: u32, value: i64) -> Self {
        self.varint(u64::from(field << 3));
        // A negative number is written as its 64 bits.
        self.varint(value as u64);
        self
    }

    pub fn bytes(mut self, field: u32, value: &[u8]) -> Self {
        self.varint(u64::from(field << 3 | 2));
        self.varint(value.len() as u64);
        self.0.extend_from_slice(value);
        self
    }

    pub fn message(self, field: u32, value: &Message) -> Self {
        self.bytes(field, &value.0)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// The fields of a message, in their order.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn varint(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.0.split_first()?;
            self.0 = rest;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    fn take(&mut self, count: u64) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(usize::try_from(count).ok()?)?;
        self.0 = rest;
        Some(taken)
    }

    fn field(&mut self) -> Option<(u64, Value<'a>)> {
        let tag = self.varint()?;
        let value = match tag & 7 {
            0 => Value::Number(self.varint()?),
            1 => Value::Bytes(self.take(8)?),
            2 => {
                let length = self.varint()?;
                Value::Bytes(self.take(length)?)
            }
            5 => Value::Bytes(self.take(4)?),
            _ => return None,
        };
        Some((tag >> 3, value))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Value<'a>), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_none() {
            self.0 = &[];
        }
        Some(field.ok_or(Malformed))
    }
}

/// What a range is asked for.
#[derive(Debug, Clone, Copy, Default)]
pub struct Range<'a> {
    pub from: &'a [u8],
    /// The first key beyond; empty: only the key `from`.
    pub to: &'a [u8],
    /// 0: as it is now.
    pub revision: u64,
    pub changed_from: u64,
    pub is_keys_only: bool,
    pub is_count_only: bool,
}

impl Range<'_> {
    pub fn request(&self) -> Message {
        let message = Message::default().bytes(1, self.from);
        // An end that is there but empty means every key from the first on.
        let message = if self.to.is_empty() { message } else { message.bytes(2, self.to) };
        let message = message.number(4, self.revision as i64).number(8, i64::from(self.is_keys_only));
        message.number(9, i64::from(self.is_count_only)).number(10, self.changed_from as i64)
    }

    /// As a part of a transaction.
    pub fn operation(&self) -> Message {
        Message::default().message(1, &self.request())
    }
}

pub fn put(key: &[u8], value: &[u8]) -> Message {
    Message::default().message(2, &Message::default().bytes(1, key).bytes(2, value))
}

pub fn delete(key: &[u8]) -> Message {
    Message::default().message(3, &Message::default().bytes(1, key))
}

/// Compares the revision of a key's last change; 0 stands for a key that is not there.
pub fn compare(key: &[u8], is_greater: bool, revision: i64) -> Message {
    // Result 0: equal, 1: greater. Target 2: the revision of the last change.
    Message::default().number(1, i64::from(is_greater)).number(2, 2).bytes(3, key).number(6, revision)
}

pub fn transaction(compares: &[Message], success: &[Message], failure: &[Message]) -> Message {
    let parts = [(1, compares), (2, success), (3, failure)];
    let parts = parts.into_iter().flat_map(|(field, list)| list.iter().map(move |part| (field, part)));
    parts.fold(Message::default(), |message, (field, part)| message.message(field, part))
}

/// Asks for all changes of a range from now on.
pub fn watch(from: &[u8], to: &[u8]) -> Message {
    Message::default().message(1, &Message::default().bytes(1, from).bytes(2, to))
}

pub fn authenticate(name: &str, password: &str) -> Message {
    Message::default().bytes(1, name.as_bytes()).bytes(2, password.as_bytes())
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Header {
    pub cluster: u64,
    pub revision: u64,
}

impl Header {
    fn read(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut header = Self::default();
        for field in Fields(bytes) {
            match field? {
                (1, Value::Number(cluster)) => header.cluster = cluster,
                (3, Value::Number(revision)) => header.revision = revision,
                _ => {}
            }
        }
        Ok(header)
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyValue {
    pub key: Vec<u8>,
    pub created: u64,
    pub changed: u64,
    pub value: Vec<u8>,
}

impl KeyValue {
    fn read(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut found = Self::default();
        for field in Fields(bytes) {
            match field? {
                (1, Value::Bytes(key)) => found.key = key.to_vec(),
                (2, Value::Number(created)) => found.created = created,
                (3, Value::Number(changed)) => found.changed = changed,
                (5, Value::Bytes(value)) => found.value = value.to_vec(),
                _ => {}
            }
        }
        Ok(found)
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RangeAnswer {
    pub header: Header,
    pub found: Vec<KeyValue>,
    pub count: u64,
}

impl RangeAnswer {
    pub fn read(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut answer = Self::default();
        for field in Fields(bytes) {
            match field? {
                (1, Value::Bytes(header)) => answer.header = Header::read(header)?,
                (2, Value::Bytes(found)) => answer.found.push(KeyValue::read(found)?),
                (4, Value::Number(count)) => answer.count = count,
                _ => {}
            }
        }
        Ok(answer)
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TransactionAnswer {
    pub header: Header,
    pub has_succeeded: bool,
    /// One for each operation; empty where it was no range.
    pub ranges: Vec<RangeAnswer>,
}

impl TransactionAnswer {
    pub fn read(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut answer = Self::default();
        for field in Fields(bytes) {
            match field? {
                (1, Value::Bytes(header)) => answer.header = Header::read(header)?,
                (2, Value::Number(succeeded)) => answer.has_succeeded = succeeded != 0,
                (3, Value::Bytes(operation)) => {
                    let mut range = RangeAnswer::default();
                    for field in Fields(operation) {
                        if let (1, Value::Bytes(bytes)) = field? {
                            range = RangeAnswer::read(bytes)?;
                        }
                    }
                    answer.ranges.push(range);
                }
                _ => {}
            }
        }
        Ok(answer)
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WatchAnswer {
    pub header: Header,
    pub is_created: bool,
    pub is_cancelled: bool,
    pub reason: String,
    pub has_events: bool,
}

impl WatchAnswer {
    pub fn read(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut answer = Self::default();
        for field in Fields(bytes) {
            match field? {
                (1, Value::Bytes(header)) => answer.header = Header::read(header)?,
                (3, Value::Number(created)) => answer.is_created = created != 0,
                (4, Value::Number(cancelled)) => answer.is_cancelled = cancelled != 0,
                (6, Value::Bytes(reason)) => answer.reason = String::from_utf8_lossy(reason).into_owned(),
                (11, Value::Bytes(_)) => answer.has_events = true,
                _ => {}
            }
        }
        Ok(answer)
    }
}

/// The token of an answer to `authenticate`.
pub fn token(bytes: &[u8]) -> Result<String, Malformed> {
    for field in Fields(bytes) {
        if let (2, Value::Bytes(token)) = field? {
            return String::from_utf8(token.to_vec()).map_err(|_| Malformed);
        }
    }
    Err(Malformed)
}

#[cfg(test)]
mod tests;

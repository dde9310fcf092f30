//! The record of the term as it lies in the store: words that a person can read there with the engine's own tools.
//!
//! `term=7 manager=m1 run=9f3c counter=45 state=held`. What does not parse is no record of ours and stops every take-over.

use std::fmt;
use wire::id::{ManagerName, TermNumber};

/// Raised with each renewal.
pub(super) const RECORD_KEY: &str = "term/record";
/// Written once for each term, so that its revision fences the leader's other writes.
pub(super) const FENCE_KEY: &str = "term/fence";

/// One process of a manager.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    pub manager: ManagerName,
    /// Tells processes of the same name apart.
    pub run: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Held,
    /// Its manager has stopped, provably: nobody needs to wait.
    Released,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub term: TermNumber,
    pub holder: Candidate,
    /// 0 in the commit that begins the term; only that one writes the fence.
    pub counter: u64,
    pub state: State,
}

/// What lies under the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found {
    Absent,
    Record(Record),
    Unreadable,
}

impl Found {
    pub fn parse(value: Option<&[u8]>) -> Self {
        let Some(value) = value else { return Found::Absent };
        let record = std::str::from_utf8(value).ok().and_then(Record::parse);
        record.map_or(Found::Unreadable, Found::Record)
    }

    /// What `self`, held, has become, if its own holder has released it.
    pub fn released_as<'a>(&self, after: &'a Found) -> Option<&'a Record> {
        let (Found::Record(held), Found::Record(after)) = (self, after) else { return None };
        let is_same = held.term == after.term && held.holder == after.holder;
        let is_released = held.state == State::Held && after.state == State::Released;
        (is_same && is_released && held.counter < after.counter).then_some(after)
    }
}

/// The words of a fence.
pub(super) struct Fence<'a>(&'a Record);

impl fmt::Display for Fence<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Record { term, holder, .. } = self.0;
        write!(out, "term={term} manager={} run={:x}", holder.manager, holder.run)
    }
}

impl Record {
    pub(super) fn fence(&self) -> Fence<'_> {
        Fence(self)
    }

    /// None: it is not one.
    pub fn parse(text: &str) -> Option<Self> {
        let word = |name: &str| text.split(' ').find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
        Some(Self {
            term: TermNumber(word("term")?.parse().ok()?),
            holder: Candidate {
                manager: ManagerName(word("manager")?.to_owned()),
                run: u64::from_str_radix(word("run")?, 16).ok()?,
            },
            counter: word("counter")?.parse().ok()?,
            state: match word("state")? {
                "held" => State::Held,
                "released" => State::Released,
                _ => return None,
            },
        })
    }
}

impl fmt::Display for Record {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::Held => "held",
            State::Released => "released",
        };
        write!(out, "{} counter={} state={state}", self.fence(), self.counter)
    }
}

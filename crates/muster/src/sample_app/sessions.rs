//! Session ids with clone ids, and how many requests each session made.
//!
//! An id is `0000`, 23 characters, and after a `:` each the clone ids of the members that served the session. A
//! member that takes a session over appends its own; the count goes on from what this member knows of it.
//! Promise: memory is bounded; beyond the bound the oldest session is forgotten and its count starts again.

use std::collections::{HashMap, VecDeque};

#[cfg(test)]
mod tests;

const CACHE_ID: &str = "0000";
const ID_LENGTH: usize = 23;
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-";
/// Sessions remembered. 10,000: about 1 MB.
pub const SESSIONS_MAX: usize = 10_000;
/// Clone ids in one session id. 8: a cookie that grew with each take-over would end as a refused header.
const CLONE_IDS_MAX: usize = 8;

#[derive(Debug, Default)]
pub struct Sessions {
    counts: HashMap<String, u64>,
    /// Oldest first.
    order: VecDeque<String>,
}

/// One request of one session.
#[derive(Debug, PartialEq, Eq)]
pub struct Visit {
    /// The 23 characters.
    pub id: String,
    /// Requests of this session that this member knows of.
    pub count: u64,
    /// What the cookie must become, if it is not that already.
    pub new_cookie: Option<String>,
}

impl Sessions {
    /// Counts one request that brought `cookie`. `random` is for the id of a new session.
    pub fn visit(&mut self, cookie: Option<&str>, clone_id: &str, random: [u8; ID_LENGTH]) -> Visit {
        let Some((id, clone_ids)) = cookie.and_then(parse) else {
            let id: String = random.iter().map(|byte| char::from(ALPHABET[usize::from(byte % 64)])).collect();
            let new_cookie = Some(format!("{CACHE_ID}{id}:{clone_id}"));
            return Visit { count: self.count(&id), id, new_cookie };
        };
        let new_cookie = (!clone_ids.contains(&clone_id)).then(|| {
            let surplus = (clone_ids.len() + 1).saturating_sub(CLONE_IDS_MAX);
            let kept = clone_ids[surplus..].iter().copied().chain([clone_id]);
            format!("{CACHE_ID}{id}:{}", kept.collect::<Vec<_>>().join(":"))
        });
        Visit { count: self.count(id), id: id.to_owned(), new_cookie }
    }

    fn count(&mut self, id: &str) -> u64 {
        if let Some(count) = self.counts.get_mut(id) {
            *count += 1;
            return *count;
        }
        if self.order.len() == SESSIONS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.counts.remove(&oldest);
        }
        self.counts.insert(id.to_owned(), 1);
        self.order.push_back(id.to_owned());
        1
    }
}

/// Id and clone ids of a cookie's value that one of us made.
fn parse(value: &str) -> Option<(&str, Vec<&str>)> {
    let (head, clones) = value.split_once(':')?;
    // The cache id may change within a session and means nothing here.
    let id = head.get(CACHE_ID.len()..)?;
    let is_ours = id.len() == ID_LENGTH && id.bytes().all(|byte| ALPHABET.contains(&byte));
    is_ours.then(|| (id, clones.split(':').filter(|clone| !clone.is_empty()).collect()))
}

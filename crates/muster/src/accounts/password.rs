//! Makes and checks hashes of passwords with Argon2id, on threads of their own and only a few at a time.
//!
//! Promise: a check costs the same whether the user exists or not. Parameters are the first choice of OWASP's list
//! (19 MiB, two passes, one lane); a record keeps its own, so that they can be raised later.

use argon2::{Algorithm, Argon2, Params, Version};
use logic::enrol::{from_hex, to_hex};
use std::sync::Arc;
use subtle::ConstantTimeEq;
use tokio::sync::Semaphore;
use wire::account::PasswordHash;

const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;
const SALT_BYTES: usize = 16;
const HASH_BYTES: usize = 32;
/// Hashes at the same time. Two: 38 MiB, and half a small machine at most for some 30 ms each.
const AT_ONCE_MAX: usize = 2;
/// Those and others that wait. 32: half a second; whoever comes then is told to come again.
const WAITING_MAX: usize = 32;
/// Most memory that a record may ask for. 256 MiB: a record that somebody has changed must not take the machine.
const RECORD_MEMORY_MAX_KIB: u32 = 256 << 10;
/// Most passes. 16: eight times as long as now.
const RECORD_PASSES_MAX: u32 = 16;
/// Most lanes. 16: more gain nothing, for they are worked through one after the other.
const RECORD_LANES_MAX: u32 = 16;

/// Why there is no hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoHash {
    /// Too many wait already.
    Busy,
    /// The system gives no random numbers, memory or thread.
    Failed,
}

/// Hashes passwords for one console.
#[derive(Debug, Clone)]
pub struct Hasher {
    waiting: Arc<Semaphore>,
    at_once: Arc<Semaphore>,
}

impl Hasher {
    pub fn new() -> Self {
        Self {
            waiting: Arc::new(Semaphore::new(WAITING_MAX)),
            at_once: Arc::new(Semaphore::new(AT_ONCE_MAX)),
        }
    }

    /// The hash of a new password.
    pub async fn hash(&self, password: String) -> Result<PasswordHash, NoHash> {
        self.work(move || new_hash(password.as_bytes())).await?.ok_or(NoHash::Failed)
    }

    /// Whether this is the password of `record`; without one it is not, and that takes as long.
    pub async fn is_right(&self, password: String, record: Option<PasswordHash>) -> Result<bool, NoHash> {
        let is_right = move || {
            let is_known = record.is_some();
            let record = record.unwrap_or_else(nobodys);
            matches(password.as_bytes(), &record).map(|matches| matches && is_known)
        };
        self.work(is_right).await?.ok_or(NoHash::Failed)
    }

    async fn work<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, NoHash> {
        let waiting = self.waiting.clone().try_acquire_owned().map_err(|_| NoHash::Busy)?;
        let at_once = self.at_once.clone().acquire_owned().await.expect("nobody closes this semaphore");
        let task = tokio::task::spawn_blocking(move || {
            let done = work();
            // Given back by the work and not by whoever waits for it, who may go while it is under way.
            drop((waiting, at_once));
            done
        });
        task.await.map_err(|_| NoHash::Failed)
    }
}

/// A record that nobody's password fits.
fn nobodys() -> PasswordHash {
    let (salt, hash) = ("00".repeat(SALT_BYTES), "00".repeat(HASH_BYTES));
    PasswordHash { memory_kib: MEMORY_KIB, passes: PASSES, lanes: LANES, salt, hash }
}

fn new_hash(password: &[u8]) -> Option<PasswordHash> {
    let mut salt = [0; SALT_BYTES];
    getrandom::fill(&mut salt).ok()?;
    let hash = argon2id(password, &salt, (MEMORY_KIB, PASSES, LANES))?;
    let (salt, hash) = (to_hex(&salt), to_hex(&hash));
    Some(PasswordHash { memory_kib: MEMORY_KIB, passes: PASSES, lanes: LANES, salt, hash })
}

/// None: the record makes no sense, or there is no memory.
fn matches(password: &[u8], record: &PasswordHash) -> Option<bool> {
    let PasswordHash { memory_kib, passes, lanes, salt, hash } = record;
    let is_bounded =
        *memory_kib <= RECORD_MEMORY_MAX_KIB && *passes <= RECORD_PASSES_MAX && *lanes <= RECORD_LANES_MAX;
    let (salt, hash) = (from_hex(salt)?, from_hex(hash)?);
    let found = is_bounded.then(|| argon2id(password, &salt, (*memory_kib, *passes, *lanes))).flatten()?;
    Some(found.ct_eq(hash.as_slice()).into())
}

fn argon2id(password: &[u8], salt: &[u8], cost: (u32, u32, u32)) -> Option<[u8; HASH_BYTES]> {
    let (memory_kib, passes, lanes) = cost;
    let params = Params::new(memory_kib, passes, lanes, Some(HASH_BYTES)).ok()?;
    let mut hash = [0; HASH_BYTES];
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    argon2.hash_password_into(password, salt, &mut hash).ok()?;
    Some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn argon2id_is_the_one_of_the_standard() {
        // RFC 9106 has no vector without a secret; this one is of the reference implementation:
        // echo -n password | argon2 somesalt -id -t 2 -m 16 -p 1 -l 32
        let hash = argon2id(b"password", b"somesalt", (65_536, 2, 1)).expect("allowed numbers");
        assert_eq!(to_hex(&hash), "09316115d5cf24ed5a15a31a3ba326e5cf32edc24702987c02b6566f61913cf7");
    }

    #[test]
    fn a_password_fits_its_own_record_and_no_other() {
        let record = new_hash(b"correct horse").expect("this system has random numbers");
        let other = new_hash(b"correct horse").expect("this system has random numbers");
        assert_ne!(record, other, "the salt is chance");
        assert_eq!(matches(b"correct horse", &record), Some(true));
        assert_eq!(matches(b"correct hors", &record), Some(false));
        assert_eq!(matches(b"", &nobodys()), Some(false));
        let greedy = PasswordHash { memory_kib: u32::MAX, ..record.clone() };
        assert_eq!(matches(b"correct horse", &greedy), None);
        let damaged = PasswordHash { salt: "xy".into(), ..record.clone() };
        assert_eq!(matches(b"correct horse", &damaged), None);
        assert!(!format!("{record:?}").contains(&record.hash));
    }

    #[test]
    fn who_comes_when_too_many_wait_is_told_so_and_those_before_are_served() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        tokio::task::LocalSet::new().block_on(&runtime, async {
            let hasher = Hasher::new();
            // Nothing is hashed until all have come.
            let held = hasher.at_once.clone().acquire_many_owned(AT_ONCE_MAX as u32).await.expect("open");
            let mut tasks = tokio::task::JoinSet::new();
            for number in 0..WAITING_MAX + 3 {
                let hasher = hasher.clone();
                let cheap = PasswordHash { memory_kib: 8, passes: 1, ..nobodys() };
                tasks.spawn_local(async move { hasher.is_right(number.to_string(), Some(cheap)).await });
            }
            for _ in 0..3 {
                let ended = tasks.join_next().await.map(|ended| ended.expect("no task panics"));
                assert_eq!(ended, Some(Err(NoHash::Busy)));
            }
            drop(held);
            assert_eq!(tasks.join_all().await, [Ok(false); WAITING_MAX]);
        });
    }
}

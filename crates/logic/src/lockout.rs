//! Keeps out who guesses: counts wrong guesses of each place they come from, and locks it for longer and longer.
//!
//! Pure: the caller passes `now_ms` (milliseconds of any steady clock) and a hash of what was guessed. A guess counts
//! when it begins, not when it is found wrong, so that many at once count as many; one that was right is forgiven.
//! Tables are bounded.

use std::collections::BTreeMap;

/// The first lock lasts this long; each further wrong guess doubles it.
pub const LOCK_MIN_MS: u64 = 1_000;
/// Longest lock. 60 s: a person who gets it right at last is not kept out for long.
pub const LOCK_MAX_MS: u64 = 60_000;
/// Failures this long ago are forgotten. A quarter of an hour: longer than a person tries.
pub const FORGIVE_AFTER_MS: u64 = 15 * 60_000;
/// Places that are remembered; the one that failed longest ago makes room. 1,024: some 100 kB.
pub const PLACES_MAX: usize = 1024;

#[derive(Debug, Clone, Copy)]
struct Failures {
    count: u32,
    last_ms: u64,
    locked_until_ms: u64,
    /// Hash of the last wrong guess: a script that goes on with an old secret guesses nothing.
    last_guess: u64,
}

/// Wrong guesses by where they come from.
#[derive(Debug)]
pub struct Lockout<K> {
    /// Different wrong guesses before a lock.
    guesses_max: u32,
    by_place: BTreeMap<K, Failures>,
}

impl<K: Ord + Clone> Lockout<K> {
    pub fn new(guesses_max: u32) -> Self {
        Self { guesses_max, by_place: BTreeMap::new() }
    }

    /// After how many milliseconds somebody there may guess again; None: now.
    pub fn locked_for_ms(&self, now_ms: u64, place: &K) -> Option<u64> {
        let failures = self.by_place.get(place)?;
        (now_ms < failures.locked_until_ms).then(|| failures.locked_until_ms - now_ms)
    }

    /// A guess begins, and counts as wrong until it is forgiven. The caller has asked whether the place is locked.
    pub fn guess(&mut self, now_ms: u64, place: &K, guess: u64) {
        let known = self.by_place.get(place).copied();
        let known = known.filter(|failures| now_ms < failures.last_ms + FORGIVE_AFTER_MS);
        let is_new = known.is_none_or(|failures| failures.last_guess != guess);
        let before = known.map_or(0, |failures| failures.count);
        let count = if is_new { before.saturating_add(1) } else { before };
        let lock_ms = match count.checked_sub(self.guesses_max) {
            Some(beyond) if is_new => (LOCK_MIN_MS << beyond.min(10)).min(LOCK_MAX_MS),
            _ => 0,
        };
        self.make_room(now_ms, place);
        let failures =
            Failures { count, last_ms: now_ms, locked_until_ms: now_ms + lock_ms, last_guess: guess };
        self.by_place.insert(place.clone(), failures);
        assert!(self.by_place.len() <= PLACES_MAX, "{} places are remembered", self.by_place.len());
    }

    /// It was right after all.
    pub fn forgive(&mut self, place: &K) {
        self.by_place.remove(place);
    }

    fn make_room(&mut self, now_ms: u64, for_place: &K) {
        if self.by_place.len() < PLACES_MAX || self.by_place.contains_key(for_place) {
            return;
        }
        self.by_place.retain(|_, failures| now_ms < failures.last_ms + FORGIVE_AFTER_MS);
        if self.by_place.len() < PLACES_MAX {
            return;
        }
        let oldest = self.by_place.iter().min_by_key(|(_, failures)| failures.last_ms);
        if let Some(oldest) = oldest.map(|(place, _)| place.clone()) {
            self.by_place.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guesses(lockout: &mut Lockout<u32>, now_ms: u64, place: u32, count: u64) {
        (0..count).for_each(|number| lockout.guess(now_ms, &place, now_ms * 1_000 + number));
    }

    #[test]
    fn a_lock_comes_after_the_last_guess_allowed_and_doubles_up_to_its_bound() {
        let mut lockout = Lockout::new(5);
        guesses(&mut lockout, 0, 1, 4);
        assert_eq!(lockout.locked_for_ms(0, &1), None);
        guesses(&mut lockout, 1, 1, 1);
        let mut now_ms = 1;
        for wait_ms in [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000] {
            assert_eq!(lockout.locked_for_ms(now_ms, &1), Some(wait_ms));
            assert_eq!(lockout.locked_for_ms(now_ms, &2), None, "nobody else is kept out");
            now_ms += wait_ms;
            assert_eq!(lockout.locked_for_ms(now_ms, &1), None);
            guesses(&mut lockout, now_ms, 1, 1);
        }
        lockout.forgive(&1);
        assert_eq!(lockout.locked_for_ms(now_ms, &1), None);
    }

    #[test]
    fn the_same_guess_again_is_no_new_one() {
        let mut lockout = Lockout::new(5);
        (0..1_000).for_each(|now_ms| lockout.guess(now_ms, &1, 7));
        assert_eq!(lockout.locked_for_ms(1_000, &1), None);
    }

    #[test]
    fn many_guesses_that_begin_at_once_count_as_many() {
        let mut lockout = Lockout::new(5);
        let begun = (0..100).filter(|number| {
            let may = lockout.locked_for_ms(0, &1).is_none();
            if may {
                lockout.guess(0, &1, *number);
            }
            may
        });
        assert_eq!(begun.count(), 5);
    }

    #[test]
    fn what_was_long_ago_is_forgotten_and_what_is_remembered_is_bounded() {
        let mut lockout = Lockout::new(2);
        guesses(&mut lockout, 0, 1, 1);
        guesses(&mut lockout, FORGIVE_AFTER_MS, 1, 1);
        assert_eq!(lockout.locked_for_ms(FORGIVE_AFTER_MS, &1), None);
        (10..2_000).for_each(|place| guesses(&mut lockout, FORGIVE_AFTER_MS + u64::from(place), place, 2));
        assert_eq!(lockout.by_place.len(), PLACES_MAX);
        assert!(!lockout.by_place.contains_key(&10), "the oldest made room");
        assert!(lockout.locked_for_ms(FORGIVE_AFTER_MS + 1_999, &1_999).is_some());
    }
}

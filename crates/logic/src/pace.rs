//! How slowly the body of a request may come.
//!
//! A pause has a bound of its own (`response_ms`), but whoever sends a byte before each is over could hold a request and its
//! member for ever. So the whole has a bound too: a time that every body gets, and a second more for each hundred bytes of
//! it. Not here: bodies that come while their answer is sent (conversations), for which nobody calls this.

use crate::limits::BODY_RATE_MIN_BYTES_PER_SECOND;

/// When a body must be whole of which `body_bytes` have come, all in microseconds of one clock; `body_ms` 0 sets no bound.
pub fn body_due_us(since_us: u64, body_ms: u64, body_bytes: u64) -> u64 {
    if body_ms == 0 {
        return u64::MAX;
    }
    let earned_us = body_bytes.saturating_mul(1_000_000 / BODY_RATE_MIN_BYTES_PER_SECOND);
    since_us.saturating_add(body_ms.saturating_mul(1000)).saturating_add(earned_us)
}

/// Whether a body of this type is a conversation whose client speaks when it likes: a gRPC call.
pub fn may_dribble(content_type: Option<&[u8]>) -> bool {
    const CALL: &[u8] = b"application/grpc";
    content_type.and_then(|kind| kind.get(..CALL.len())).is_some_and(|start| start.eq_ignore_ascii_case(CALL))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_has_its_time_and_a_second_for_each_hundred_bytes() {
        assert_eq!(body_due_us(5, 60_000, 0), 60_000_005);
        assert_eq!(body_due_us(5, 60_000, 100), 61_000_005);
        // Ten seconds for each byte: it is never earned.
        let dribbled = |bytes: u64| bytes * 10_000_000;
        assert!((0..7).all(|bytes| dribbled(bytes) < body_due_us(0, 60_000, bytes)));
        assert!((7..1_000).all(|bytes| dribbled(bytes) > body_due_us(0, 60_000, bytes)));
        // A gigabyte over a line of 56 kbit/s.
        assert!((1 << 30) / 7_000 * 1_000_000 < body_due_us(0, 60_000, 1 << 30));
        assert_eq!(body_due_us(5, 0, 0), u64::MAX);
        assert_eq!(body_due_us(5, u64::MAX, u64::MAX), u64::MAX);
    }

    #[test]
    fn calls_speak_when_they_like() {
        assert!(may_dribble(Some(b"application/grpc")) && may_dribble(Some(b"Application/gRPC+proto")));
        assert!(!may_dribble(None) && !may_dribble(Some(b"application/json")) && !may_dribble(Some(b"")));
    }
}

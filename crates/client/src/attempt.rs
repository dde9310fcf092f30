//! Whether a call that failed may be made again elsewhere.
//!
//! Pure. Promise: what may have been carried out is only repeated if that changes nothing.

use crate::limits::ATTEMPTS_MAX;
use http::{HeaderMap, Method};

/// How an attempt ended that brought no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempt {
    /// The other side may have seen something of it.
    pub is_sent: bool,
    /// Whether doing the call twice has the effect of doing it once.
    pub is_idempotent: bool,
    /// Attempts so far, this one included.
    pub attempts: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// With leave of the budget.
    Again,
    /// It may have been carried out.
    MayBeDone,
    /// It was tried often enough.
    Enough,
}

pub fn judge(attempt: Attempt) -> Verdict {
    match attempt {
        Attempt { is_sent: true, is_idempotent: false, .. } => Verdict::MayBeDone,
        Attempt { attempts, .. } if attempts >= ATTEMPTS_MAX => Verdict::Enough,
        Attempt { .. } => Verdict::Again,
    }
}

/// Whether doing it twice has the effect of doing it once (RFC 9110, 9.2.2), or its receiver sees to that.
pub fn is_idempotent(method: &Method, headers: &HeaderMap) -> bool {
    let is_safe = [Method::GET, Method::HEAD, Method::PUT, Method::DELETE, Method::OPTIONS, Method::TRACE];
    is_safe.contains(method)
        || headers.get("idempotency-key").is_some_and(|key| !key.as_bytes().trim_ascii().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn what_may_have_been_done_is_not_done_again() {
        let attempt = |is_sent, is_idempotent, attempts| judge(Attempt { is_sent, is_idempotent, attempts });
        assert_eq!(attempt(false, false, 1), Verdict::Again, "nobody has seen it");
        assert_eq!(attempt(true, true, 1), Verdict::Again);
        assert_eq!(attempt(true, false, 1), Verdict::MayBeDone);
        assert_eq!(attempt(false, true, ATTEMPTS_MAX), Verdict::Enough);
        assert_eq!(attempt(true, false, ATTEMPTS_MAX), Verdict::MayBeDone);
    }

    #[test]
    fn a_key_makes_a_post_repeatable() {
        let mut headers = HeaderMap::new();
        assert!(is_idempotent(&Method::PUT, &headers) && !is_idempotent(&Method::POST, &headers));
        headers.insert("idempotency-key", HeaderValue::from_static(" "));
        assert!(!is_idempotent(&Method::POST, &headers));
        headers.insert("idempotency-key", HeaderValue::from_static("8e03978e"));
        assert!(is_idempotent(&Method::POST, &headers));
    }
}

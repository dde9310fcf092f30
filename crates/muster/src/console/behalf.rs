//! For whom a manager calls that hands a call on: two headers, believed from managers alone and only where one leads.
//!
//! Pure. Not here: who is a manager (see `manager/strangers.rs`), and the handing on (see `forward`).

use super::auth::{Caller, Refusal, Way};
use crate::manager::handle::SpeaksFor;
use hyper::header::{HeaderMap, HeaderName};
use logic::account::Principal;
use wire::account::Role;
use wire::id::is_valid_name;

/// Who has proven to another manager that they are it.
pub const CALLER_HEADER: HeaderName = HeaderName::from_static("muster-caller");
/// What they may do.
pub const ROLE_HEADER: HeaderName = HeaderName::from_static("muster-caller-role");
/// With an answer: nothing was done, since this manager does not lead.
pub const ELSEWHERE_HEADER: HeaderName = HeaderName::from_static("muster-elsewhere");

/// A principal as the header has it.
pub fn caller_text(principal: &Principal) -> String {
    match principal {
        Principal::Administrator => "administrator".to_owned(),
        Principal::User { name, changed_us } => format!("user {name} {changed_us}"),
        Principal::Token { name, created_us } => format!("token {name} {created_us}"),
        Principal::Node(name) => format!("node {name}"),
    }
}

fn read_caller(text: &str) -> Option<Principal> {
    let words: Vec<&str> = text.split(' ').collect();
    let principal = match words[..] {
        ["administrator"] => Principal::Administrator,
        ["user", name, changed_us] if is_valid_name(name) => {
            Principal::User { name: name.into(), changed_us: changed_us.parse().ok()? }
        }
        ["token", name, created_us] if is_valid_name(name) => {
            Principal::Token { name: name.into(), created_us: created_us.parse().ok()? }
        }
        ["node", name] if is_valid_name(name) => Principal::Node(name.into()),
        _ => return None,
    };
    Some(principal)
}

/// Who calls through another manager; None: nobody says so, and whoever calls speaks for themselves.
pub fn prove(speaks_for: SpeaksFor, headers: &HeaderMap) -> Option<Result<Caller, Refusal>> {
    if !headers.contains_key(CALLER_HEADER) && !headers.contains_key(ROLE_HEADER) {
        return None;
    }
    let only = |name: HeaderName| {
        let mut values = headers.get_all(name).iter();
        let value = values.next()?.to_str().ok()?;
        if values.next().is_none() { Some(value) } else { None }
    };
    Some(match speaks_for {
        SpeaksFor::Itself => Err(Refusal::NotForOthers),
        SpeaksFor::NotKnown => Err(Refusal::NotLeading),
        SpeaksFor::Others => {
            let principal = only(CALLER_HEADER).and_then(read_caller);
            let role = only(ROLE_HEADER).and_then(Role::named);
            match principal.zip(role) {
                Some((principal, role)) => Ok(Caller { principal, role, way: Way::Manager }),
                None => Err(Refusal::NotForOthers),
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::HeaderValue;

    fn headers(caller: &str, role: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in [(CALLER_HEADER, caller), (ROLE_HEADER, role)] {
            headers.insert(name, HeaderValue::from_str(value).expect("it is plain text"));
        }
        headers
    }

    #[test]
    fn every_principal_arrives_as_it_was_sent() {
        let all = [
            Principal::Administrator,
            Principal::User { name: "admin-2".into(), changed_us: 7 },
            Principal::Token { name: "ci".into(), created_us: u64::MAX },
            Principal::Node("web-4".into()),
        ];
        for principal in all {
            for role in Role::ALL {
                let headers = headers(&caller_text(&principal), role.name());
                let caller = prove(SpeaksFor::Others, &headers);
                let principal = principal.clone();
                assert_eq!(caller, Some(Ok(Caller { principal, role, way: Way::Manager })));
            }
        }
    }

    #[test]
    fn who_is_no_manager_gains_nothing_by_what_it_says() {
        let said = headers("administrator", "admin");
        assert_eq!(prove(SpeaksFor::Itself, &said), Some(Err(Refusal::NotForOthers)));
        assert_eq!(prove(SpeaksFor::NotKnown, &said), Some(Err(Refusal::NotLeading)));
        for speaks_for in [SpeaksFor::Itself, SpeaksFor::NotKnown, SpeaksFor::Others] {
            assert_eq!(prove(speaks_for, &HeaderMap::new()), None);
        }
    }

    #[test]
    fn what_is_not_whole_is_refused_and_not_guessed() {
        let refused = Some(Err(Refusal::NotForOthers));
        for caller in
            ["", "admin", "user", "user anna", "user anna x", "user a/b 1", "node a b", "token ci 1 "]
        {
            assert_eq!(prove(SpeaksFor::Others, &headers(caller, "admin")), refused, "{caller}");
        }
        assert_eq!(prove(SpeaksFor::Others, &headers("administrator", "root")), refused);
        let mut twice = headers("user anna 1", "viewer");
        twice.append(ROLE_HEADER, HeaderValue::from_static("admin"));
        assert_eq!(prove(SpeaksFor::Others, &twice), refused);
        let mut half = headers("user anna 1", "viewer");
        half.remove(ROLE_HEADER);
        assert_eq!(prove(SpeaksFor::Others, &half), refused);
    }
}

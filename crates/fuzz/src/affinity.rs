//! Session ids and clone ids: what is found was sent, in its order, and nothing else in the request changes it.

use logic::affinity::{clone_ids, session_key, session_values};
use logic::limits::CLONE_IDS_MAX;
use wire::view::{Affinity, AffinityKind};

/// The first byte chooses settings; a line break ends the cookie header, the rest is the path.
pub fn check(bytes: &[u8]) {
    let Some((flags, rest)) = bytes.split_first() else { return };
    let affinity = Affinity {
        kind: AffinityKind::CloneId,
        cookie: if flags & 1 == 0 { "JSESSIONID".into() } else { "S".into() },
        url_identifier: if flags & 2 == 0 { "jsessionid".into() } else { String::new() },
        separator: if flags & 4 == 0 { ':' } else { '+' },
        lowers_weight: false,
        is_strict: false,
    };
    let end = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
    let (cookies, path) = (&rest[..end], rest.get(end + 1..).unwrap_or_default());
    let values: Vec<&str> = session_values([cookies].into_iter(), path, &affinity).collect();
    let clones: Vec<&str> = clone_ids([cookies].into_iter(), path, &affinity).collect();
    check_found(&values, &clones, rest, &affinity);
    // A cookie of another name, before or behind, is nobody's session.
    for other in [[b"other=1; ", cookies].concat(), [cookies, b"; other=1"].concat()] {
        let same: Vec<&str> = session_values([other.as_slice()].into_iter(), path, &affinity).collect();
        assert_eq!(same, values, "another cookie changes the session");
    }
    // Nor does a query, and a cookie in front comes first.
    let with_query = [path, b"?x=;jsessionid=zz:c9"].concat();
    let same: Vec<&str> = session_values([cookies].into_iter(), &with_query, &affinity).collect();
    assert_eq!(same, values, "a query changes the session");
    let own = format!("{}=0000abcdefghijklmnopqrst{}c7; ", affinity.cookie, affinity.separator);
    let first = [own.as_bytes(), cookies].concat();
    let first: Vec<&str> = clone_ids([first.as_slice()].into_iter(), path, &affinity).collect();
    assert_eq!(first.first(), Some(&"c7"));
    for value in &values {
        check_key(value, &affinity);
    }
}

fn check_found(values: &[&str], clones: &[&str], sent: &[u8], affinity: &Affinity) {
    let was_sent = |text: &&str| sent.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(values.iter().all(|value| !value.is_empty() && was_sent(value)), "{values:?}");
    assert!(clones.len() <= CLONE_IDS_MAX, "{} clone ids", clones.len());
    assert!(
        clones
            .iter()
            .all(|clone| !clone.is_empty() && !clone.contains(affinity.separator) && was_sent(clone))
    );
    let all = values.iter().flat_map(|value| value.split(affinity.separator).skip(1));
    let expected: Vec<&str> = all.filter(|clone| !clone.is_empty()).take(CLONE_IDS_MAX).collect();
    assert_eq!(clones, expected);
}

/// Clone ids and the cache id are no part of what a session is.
fn check_key(value: &str, affinity: &Affinity) {
    let key = session_key(value, affinity);
    let id = value.split(affinity.separator).next().unwrap_or_default();
    assert_eq!(session_key(&format!("{id}{}c1{}c2", affinity.separator, affinity.separator), affinity), key);
    if id.len() >= 20 && id.bytes().take(4).all(|byte| byte.is_ascii_digit()) {
        assert_eq!(session_key(&format!("9876{}", &id[4..]), affinity), key);
    }
}

//! Which of several patterns fits the name that a client asks for: exact, then `*.domain`, then `*`.
//!
//! Pure. Names are lower case without a dot at the end. `*` at the start stands for exactly one label, as in
//! certificates (RFC 6125).

/// Place of the pattern that fits best; of equal ones the first. A client that names nobody gets `*` alone.
pub fn find<'p>(patterns: impl Iterator<Item = &'p str>, name: Option<&str>) -> Option<usize> {
    let ranked = patterns.enumerate().filter_map(|(index, pattern)| Some((rank(pattern, name)?, index)));
    ranked.min().map(|(_, index)| index)
}

fn rank(pattern: &str, name: Option<&str>) -> Option<u8> {
    match (pattern, name) {
        ("*", _) => Some(2),
        (_, None) => None,
        (pattern, Some(name)) if pattern.eq_ignore_ascii_case(name) => Some(0),
        (pattern, Some(name)) => covers_by_wildcard(pattern, name).then_some(1),
    }
}

fn covers_by_wildcard(pattern: &str, name: &str) -> bool {
    let (Some(domain), Some((label, rest))) = (pattern.strip_prefix("*."), name.split_once('.')) else {
        return false;
    };
    !label.is_empty() && rest.eq_ignore_ascii_case(domain)
}

/// Whether a certificate for `pattern` is one for `name`.
pub fn covers(pattern: &str, name: &str) -> bool {
    pattern.eq_ignore_ascii_case(name) || covers_by_wildcard(pattern, name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_exact_pattern_wins() {
        let patterns = ["*", "*.shop.example", "www.shop.example", "*.www.shop.example"];
        let find = |name| find(patterns.into_iter(), name);
        assert_eq!(find(Some("www.shop.example")), Some(2));
        assert_eq!(find(Some("WWW.shop.example")), Some(2));
        assert_eq!(find(Some("a.shop.example")), Some(1));
        assert_eq!(find(Some("a.www.shop.example")), Some(3));
        assert_eq!(find(Some("shop.example")), Some(0));
        assert_eq!(find(Some(".shop.example")), Some(0));
        assert_eq!(find(None), Some(0));
        assert_eq!(super::find(["a"].into_iter(), None), None);
        assert!(!covers("*.shop.example", "a.b.shop.example"));
    }
}

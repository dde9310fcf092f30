//! Lines of the access log: whatever a client says, a request is one line, and JSON says what the client said.

use logic::log_pattern::{COMBINED, Line, Pattern};

/// Between the parts of an input: pattern, client's request, protocol, head, route.
const SEPARATOR: u8 = 0xff;

pub fn check(bytes: &[u8]) {
    let mut parts = bytes.split(|byte| *byte == SEPARATOR);
    let mut next = || parts.next().unwrap_or_default();
    let (pattern, request, protocol, head, route) = (next(), next(), next(), next(), next());
    let text = |part| String::from_utf8_lossy(part).into_owned();
    let (pattern, request, protocol, route) = (text(pattern), text(request), text(protocol), text(route));
    let line = Line {
        unix_ms: bytes
            .iter()
            .fold(bytes.len() as u64, |sum, byte| sum * 31 % 253_402_300_800_000 + u64::from(*byte)),
        request: &request,
        protocol: &protocol,
        client: "2001:db8::1",
        head,
        route: &route,
        status: 200,
        ..Line::default()
    };
    check_json(&line);
    let mut common = String::new();
    Pattern::parse(COMBINED).expect("our own").write(&line, &mut common);
    assert_eq!(common.matches('"').count(), 6, "a quote of the client stands in {common}");
    assert!(common.bytes().all(|byte| (0x20..0x7f).contains(&byte)), "{common}");
    let Ok(parsed) = Pattern::parse(&pattern) else { return };
    let mut written = String::new();
    parsed.write(&line, &mut written);
    assert!(!written.chars().any(char::is_control), "{}", written.escape_debug());
    let quotes = pattern.matches('"').count();
    assert_eq!(written.matches('"').count(), quotes, "a quote of the client stands in {written}");
}

fn check_json(line: &Line<'_>) {
    let mut json = String::new();
    line.json(&mut json);
    assert!(!json.chars().any(|letter| letter.is_control() || matches!(letter, '\u{2028}' | '\u{2029}')));
    let value: serde_json::Value =
        serde_json::from_str(&json).unwrap_or_else(|error| panic!("{error}: {json}"));
    let said = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
    if let Some((method, target)) = line.request.split_once(' ') {
        assert_eq!((said("method"), said("target")), (method.to_owned(), target.to_owned()));
    }
    assert_eq!(said("route"), line.route);
    assert_eq!(said("protocol"), line.protocol);
    assert_eq!(value["status"], 200);
}

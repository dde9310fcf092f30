//! Redirects, own answers, rewritten targets and changed headers, and which of them are refused.

use super::*;

fn facts(target: &str) -> Facts<'_> {
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    Facts {
        host: b"shop.example",
        path: path.as_bytes(),
        route_path: b"/old",
        query: query.map(str::as_bytes),
        client: "10.0.0.9",
        scheme: "http",
        route: "*/old",
    }
}

fn location(template: &str, target: &str) -> String {
    let template = Template::parse_location(template).expect("a location");
    String::from_utf8(template.location(&facts(target))).expect("text")
}

#[test]
fn a_redirect_keeps_host_path_and_query_as_asked() {
    assert_eq!(location("https://{host}{path}{query}", "/old/x?a=b"), "https://shop.example/old/x?a=b");
    assert_eq!(location("https://{host}:8443{path}{query}", "/old"), "https://shop.example:8443/old");
    assert_eq!(location("/new{rest}{query}", "/old/x?a"), "/new/x?a");
    assert_eq!(location("/new{rest}", "/old;v=1"), "/new/;v=1");
    assert_eq!(location("https://a.example/", "*"), "https://a.example/");
}

#[test]
fn a_redirect_never_leads_to_a_host_that_the_path_names() {
    for path in ["//evil.example/", "/\\evil.example", "///evil.example", "/\\/evil.example"] {
        let told = location("{path}", path);
        assert!(told.starts_with("/e") && !told.contains("//e"), "{path} became {told}");
    }
    let root = Facts { route_path: b"", path: b"//evil.example", ..facts("/") };
    let template = Template::parse_location("/{rest}").expect("a location");
    assert_eq!(template.location(&root), b"/evil.example");
    for open in [
        "https://shop.example{rest}",
        "https://shop.example{query}",
        "https://{path}",
        "https://{host}{host}/",
        "https://a@{host}/",
        "//evil.example",
        "/\\evil.example",
        "{host}/x",
        "{rest}",
        "javascript:alert(1)",
        "ftp://a/",
        "https:///x",
        "",
    ] {
        assert!(Template::parse_location(open).is_err(), "{open} was taken");
    }
}

#[test]
fn templates_have_only_known_places_and_no_line_ends() {
    for wrong in ["{nobody}", "{", "}", "{host", "a\r\nSet-Cookie: x", "a\0", "{rest}", "ä"] {
        assert!(Template::parse(wrong, VALUE_PLACES).is_err(), "{wrong:?} was taken");
    }
    let template = Template::parse("{scheme}|{client}|{route}|{path}", VALUE_PLACES).expect("a template");
    let mut out = Vec::new();
    template.fill(&facts("/old/y?q"), &mut out);
    assert_eq!(out, b"http|10.0.0.9|*/old|/old/y");
}

#[test]
fn a_rewrite_replaces_the_routes_path_only() {
    let rewritten = |replacement: &str, target: &str| {
        let mut out = Vec::new();
        rewrite(replacement, &facts(target), &mut out)?;
        Some(String::from_utf8(out).expect("text"))
    };
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(rewritten("/new", "/old/x?q=1"), text("/new/x?q=1"));
    assert_eq!(rewritten("/new", "/old"), text("/new"));
    assert_eq!(rewritten("/", "/old"), text("/"));
    assert_eq!(rewritten("/", "/old/x"), text("/x"));
    assert_eq!(rewritten("/", "/old;v=1/x"), text("/;v=1/x"));
    assert_eq!(rewritten("/new", "/old/a%2Fb/%20"), text("/new/a%2Fb/%20"));
    assert_eq!(rewritten("/new", "/old/...;x/.a/a..b/.."), None);
    assert_eq!(rewritten("/new", "*"), text("*"));
}

#[test]
fn nothing_climbs_out_of_a_rewritten_path() {
    for rest in [
        "/..",
        "/../x",
        "/a/../../x",
        "/%2e%2e/x",
        "/%2E./x",
        "/.%2e",
        "/..;v=1/x",
        "/..%2fx",
        "/a%2f..%2f..%2fx",
        "/..\\x",
        "/..%5cx",
        "/%252e%252e/x",
        "/%25252e./x",
        "/..%252fx",
        "/%2e%2e%3bx/y",
    ] {
        assert!(climbs(rest.as_bytes()), "{rest} was let through");
    }
    for rest in ["", "/", "/.", "/...", "/..a", "/a..", "/.hidden", "/a.b", "/%2e", "/%2", "/%", "/%zz..x"] {
        assert!(!climbs(rest.as_bytes()), "{rest} was refused");
    }
}

#[test]
fn framing_and_what_the_router_vouches_for_cannot_be_changed() {
    for name in ["Content-Length", "content_length", "TRANSFER-ENCODING", "Connection", "Te", "Via"] {
        assert!(why_fixed(name, true).is_some() && why_fixed(name, false).is_some(), "{name}");
    }
    for name in ["Host", "X-Forwarded-For", "X_Forwarded_For", "Forwarded", "Expect"] {
        assert!(why_fixed(name, true).is_some(), "{name}");
    }
    for name in ["X-Forwarded-Prefix", "Authorization", "Cookie", "Cache-Control", "Server"] {
        assert!(why_fixed(name, true).is_none() && why_fixed(name, false).is_none(), "{name}");
    }
}

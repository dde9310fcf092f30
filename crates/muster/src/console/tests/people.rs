//! Users, tokens and roles over real sockets: who may do what, when it ends, and what is written down of it.

use super::super::routes::{Call, Found, find};
use super::*;
use std::time::Instant;
use wire::account::{ApiTokenStatus, Me, Role, UserStatus};

const PASSWORD: &str = "correct horse";
const OTHER: &str = "battery staple";

fn add_user(console: &Console, name: &str, role: &str, password: &str) -> Reply {
    let body = serde_json::json!({ "role": role, "password": password }).to_string();
    console.post(&format!("/api/v1/users/{name}"), &body)
}

/// A browser's session of a user.
fn session(reply: &Reply) -> (String, String) {
    assert_eq!(reply.status, 200, "{reply:?}");
    let cookie = reply.header("set-cookie").and_then(|cookie| cookie.split(';').next()).expect("a cookie");
    let body: serde_json::Value = serde_json::from_str(&reply.body).expect("JSON");
    let key = body["key"].as_str().expect("a login answers its key");
    (format!("Cookie: {cookie}\r\n"), format!("X-Muster-Key: {key}\r\n"))
}

#[test]
fn each_route_takes_its_least_role_and_all_above_and_nobody_below() {
    let console = Console::start();
    for role in Role::ALL {
        let token = console.token_of(role.name(), role.name());
        for route in ROUTES {
            let Need::Role(least) = route.need else { continue };
            // Streams do not end by themselves; that they begin is enough.
            if route.path == "/api/v1/stream" {
                continue;
            }
            let line = format!("{} {}", route.method, filled(route.path));
            let reply = console.call_as(&token, &line, "");
            if role < least {
                assert_eq!((reply.status, reply.code().as_str()), (403, "M2060"), "{role}: {line}");
                assert!(reply.body.contains(&format!("needs the role {least}")), "{reply:?}");
            } else {
                assert!(![401, 403].contains(&reply.status), "{role}: {line}: {reply:?}");
            }
        }
    }
    let by_viewer = console.asked().into_iter().find(|line| line.contains("token viewer"));
    assert_eq!(by_viewer, None);
    assert!(console.asked().contains(&"Drain shop token operator by API from 127.0.0.1".to_owned()));
}

#[test]
fn every_call_that_changes_something_is_in_the_log_with_its_end() {
    for route in ROUTES {
        let Found::Call(call, _) = find(&route.method, &filled(route.path)) else { panic!("{route:?}") };
        let is_change = route.method == hyper::Method::POST;
        assert_eq!(call.audited().is_some(), is_change, "{route:?}");
        assert_eq!(is_change || route.need != Need::Nothing, call != Call::LoginPage, "{route:?}");
    }
    let console = Console::start();
    let viewer = console.token_of("looks", "viewer");
    console.post("/api/v1/clusters/shop/members/shop-1/drain", "");
    console.post("/api/v1/clusters/nowhere/stop", "");
    console.post("/api/v1/config", "wrong = 1");
    console.call_as(&viewer, "POST /api/v1/clusters/shop/restart", "");
    console.call("POST /api/v1/config", "", "");
    console.call("POST /api/v1/config", "Authorization: Bearer hunter2\r\n", "");
    console.get("/api/v1/status");
    assert_eq!(
        console.audit(),
        [
            "admin API token-create looks done",
            "admin API member-drain shop/shop-1 done",
            "admin API cluster-stop nowhere refused M2003",
            "admin API config-apply refused M1003",
            "token looks API cluster-restart shop refused M2060",
            "nobody API config-apply refused M2002",
            "nobody API config-apply refused M2002",
        ]
    );
    let since = console.get("/api/v1/audit?since_ms=99999999999999");
    assert_eq!((since.status, since.body.as_str()), (200, "[]"));
    assert_eq!(console.get("/api/v1/audit?most=6001").status, 400);
}

#[test]
fn a_call_whose_caller_goes_away_is_written_down_all_the_same() {
    let console = Console::start();
    let mut stream = console.connect();
    // The body never comes whole.
    let text = format!(
        "POST /api/v1/config HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n{}\r\n[cell]",
        console.bearer()
    );
    stream.write_all(text.as_bytes()).expect("the console reads");
    drop(stream);
    let deadline = Instant::now() + PATIENCE;
    while console.audit() != ["admin API config-apply failed"]
        && console.audit() != ["admin API config-apply refused M2022"]
    {
        assert!(Instant::now() < deadline, "{:?}", console.audit());
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_user_logs_in_and_is_who_the_page_and_the_history_say() {
    let console = Console::start();
    assert_eq!(add_user(&console, "anna", "operator", PASSWORD).status, 200);
    let reply = console.try_password("anna", PASSWORD);
    let (cookie, key) = session(&reply);
    assert!(reply.body.contains(r#""who":"anna","role":"operator""#), "{reply:?}");
    let page = console.call("GET /", &cookie, "").body;
    assert!(page.contains(r#"<body data-role="operator">"#), "{page}");
    let me: Me = serde_json::from_str(&console.call("GET /api/v1/me", &cookie, "").body).expect("me");
    assert_eq!(me, Me { who: "anna".into(), role: Role::Operator });
    let headers = format!("{cookie}{key}{}", console.origin());
    assert_eq!(console.call("POST /api/v1/clusters/shop/restart", &headers, "").status, 202);
    let refused = console.call("POST /api/v1/config", &headers, "[cell]");
    assert_eq!((refused.status, refused.code().as_str()), (403, "M2060"));
    assert_eq!(console.asked(), ["Restart shop anna by console from 127.0.0.1"]);
    assert_eq!(
        console.audit(),
        [
            "admin API user-add anna done",
            "anna console login anna done",
            "anna console cluster-restart shop done",
            "anna console config-apply refused M2060"
        ]
    );
}

#[test]
fn sessions_and_streams_end_when_a_user_changes_or_goes() {
    let console = Console::start();
    add_user(&console, "anna", "operator", PASSWORD);
    let changes: [(&str, String); 3] = [
        ("/api/v1/users/anna/role?role=viewer", String::new()),
        ("/api/v1/users/anna/password", format!(r#"{{"password": "{PASSWORD}"}}"#)),
        ("/api/v1/users/anna/remove", String::new()),
    ];
    for (path, body) in changes {
        let (cookie, _) = session(&console.try_password("anna", PASSWORD));
        let mut stream = Stream::open(&console, "/api/v1/stream", &cookie);
        stream.wait_for("event: status");
        let reply = console.post(path, &body);
        assert_eq!(reply.status, 200, "{path}: {reply:?}");
        assert_eq!(console.call("GET /api/v1/status", &cookie, "").status, 401, "{path}");
        // Not at the next news of the cell: at once.
        stream.wait_for_end();
    }
    assert_eq!(console.try_password("anna", PASSWORD).status, 401);
}

#[test]
fn tokens_are_shown_once_and_end_when_they_are_revoked() {
    let console = Console::start();
    let token = console.token_of("ci", "operator");
    assert!(token.starts_with("mt1.") && token.ends_with(".ci"), "{token}");
    assert_eq!(console.call_as(&token, "GET /api/v1/status", "").status, 200);
    let listed = console.get("/api/v1/tokens").body;
    let secret = token.split('.').nth(1).expect("the secret");
    assert!(!listed.contains(secret), "{listed}");
    let listed: Vec<ApiTokenStatus> = serde_json::from_str(&listed).expect("a list");
    assert_eq!(
        listed.iter().map(|one| (one.token.0.as_str(), one.role)).collect::<Vec<_>>(),
        [("ci", Role::Operator)]
    );
    let again = console.post("/api/v1/tokens/ci?role=admin&valid_ms=1000", "");
    assert_eq!((again.status, again.code().as_str()), (409, "M2005"));
    assert_eq!(console.post("/api/v1/tokens/ci/revoke", "").status, 200);
    assert_eq!(console.call_as(&token, "GET /api/v1/status", "").status, 401);
    let gone = console.post("/api/v1/tokens/ci/revoke", "");
    assert_eq!((gone.status, gone.code().as_str()), (404, "M2061"));
    for query in
        ["", "?role=root&valid_ms=1000", "?role=viewer", "?role=viewer&valid_ms=999", "?valid_ms=1000"]
    {
        let reply = console.post(&format!("/api/v1/tokens/other{query}"), "");
        assert_eq!((reply.status, reply.code().as_str()), (400, "M2022"), "{query}");
    }
    let short = console.post("/api/v1/tokens/short?role=viewer&valid_ms=1000", "");
    let short: wire::account::IssuedApiToken = serde_json::from_str(&short.body).expect("a token");
    let deadline = Instant::now() + PATIENCE;
    let refused = loop {
        let reply = console.call_as(&short.token, "GET /api/v1/status", "");
        if reply.status != 200 {
            break reply;
        }
        assert!(Instant::now() < deadline, "it counts for a second");
        std::thread::sleep(Duration::from_millis(50));
    };
    assert_eq!((refused.status, refused.code().as_str()), (401, "M2065"));
}

#[test]
fn users_are_listed_and_what_makes_no_sense_is_refused() {
    let console = Console::start();
    add_user(&console, "anna", "admin", PASSWORD);
    let listed: Vec<UserStatus> = serde_json::from_str(&console.get("/api/v1/users").body).expect("a list");
    assert_eq!(
        listed.iter().map(|one| (one.user.0.as_str(), one.role)).collect::<Vec<_>>(),
        [("anna", Role::Admin)]
    );
    assert!(!console.get("/api/v1/users").body.contains("hash"));
    for (name, role, password, expected) in [
        ("anna", "viewer", PASSWORD, (409, "M2005")),
        ("admin", "viewer", PASSWORD, (409, "M2005")),
        ("otto", "root", PASSWORD, (400, "M2022")),
        ("otto", "viewer", "short", (422, "M2062")),
    ] {
        let reply = add_user(&console, name, role, password);
        assert_eq!((reply.status, reply.code().as_str()), expected, "{name} {role} {password}");
        assert!(!reply.body.contains(password), "{reply:?}");
    }
    for path in ["/api/v1/users/otto/role?role=admin", "/api/v1/users/otto/remove"] {
        let reply = console.post(path, "");
        assert_eq!((reply.status, reply.code().as_str()), (404, "M2061"), "{path}");
    }
    let reply = console.post("/api/v1/users/-x/remove", "");
    assert_eq!((reply.status, reply.code().as_str()), (404, "M2024"));
}

#[test]
fn people_change_their_own_password_with_the_one_before() {
    let console = Console::start();
    add_user(&console, "anna", "viewer", PASSWORD);
    let change = |password: &str, new: &str| {
        let body = serde_json::json!({ "user": "anna", "password": password, "new_password": new });
        console.call("POST /api/v1/own-password", "", &body.to_string())
    };
    let wrong = change(OTHER, OTHER);
    assert_eq!((wrong.status, wrong.code().as_str()), (401, "M2002"));
    let short = change(PASSWORD, "short");
    assert_eq!((short.status, short.code().as_str()), (422, "M2062"));
    assert_eq!(change(PASSWORD, OTHER).status, 200);
    assert_eq!(console.try_password("anna", PASSWORD).status, 401);
    assert_eq!(console.try_password("anna", OTHER).status, 200);
    assert_eq!(
        console.audit()[1..4],
        [
            "nobody API own-password anna refused M2002",
            "anna API own-password anna refused M2062",
            "anna API own-password anna done",
        ]
    );
}

#[test]
fn who_guesses_passwords_is_locked_out_and_is_not_told_who_is_a_user() {
    let console = Console::start();
    add_user(&console, "anna", "viewer", PASSWORD);
    let known = console.try_password("anna", OTHER);
    let unknown = console.try_password("otto", OTHER);
    assert_eq!((known.status, &known.body), (401, &unknown.body));
    let deadline = Instant::now() + PATIENCE;
    let locked = (0..).map(|guess| console.try_password("anna", &format!("guess {guess}")));
    // Even the right one; on a machine that stood still the lock may be over by then, and the guessing begins anew.
    let locked = locked.filter(|guessed| guessed.status != 401).find_map(|guessed| {
        assert_eq!((guessed.status, guessed.code().as_str()), (429, "M2021"));
        assert!(Instant::now() < deadline, "who guesses is let in");
        Some(console.try_password("anna", PASSWORD)).filter(|reply| reply.status != 200)
    });
    let locked = locked.expect("guesses do not end by themselves");
    assert_eq!((locked.status, locked.code().as_str()), (429, "M2021"));
    assert_eq!(console.get("/api/v1/status").status, 200, "the administrator's token is never locked out");
}

#[test]
fn a_login_of_nobody_takes_as_long_as_one_of_somebody() {
    let console = Console::start();
    add_user(&console, "anna", "viewer", PASSWORD);
    for user in ["anna", "otto"] {
        let begun = Instant::now();
        assert_eq!(console.try_password(user, &format!("{user} guess")).status, 401);
        // No machine fills 19 MiB twice with Argon2id in less; a busy one takes longer, which proves nothing else.
        assert!(begun.elapsed() > Duration::from_millis(4), "{user}: {:?}", begun.elapsed());
    }
}

#[test]
fn no_secret_is_written_anywhere() {
    let console = Console::start();
    let token = console.token_of("ci", "operator");
    let secret = token.split('.').nth(1).expect("the secret").to_owned();
    add_user(&console, "anna", "viewer", PASSWORD);
    console.try_password("anna", OTHER);
    // A password in the field of the name.
    console.try_password(OTHER, PASSWORD);
    console.call("POST /login", &console.origin(), &format!("{{\"tokn\": \"{PASSWORD}\"}}"));
    for path in ["/api/v1/users", "/api/v1/tokens", "/api/v1/audit", "/api/v1/events"] {
        let body = console.get(path).body;
        for known in [secret.as_str(), PASSWORD, OTHER, console.token.as_str()] {
            assert!(!body.contains(known), "{path}: {body}");
        }
    }
}

#[test]
fn before_the_store_was_reached_nobody_is_refused_for_good() {
    let (accounts, waiting) = crate::accounts::prepare();
    let console = Console::start_with(accounts);
    assert_eq!(console.get("/api/v1/status").status, 200, "the administrator's token is this manager's own");
    for number in 0..20 {
        // No guesses: what is right is not known yet.
        let token = format!("mt1.deploy.{number:064}");
        let reply = console.call("GET /api/v1/status", &format!("Authorization: Bearer {token}\r\n"), "");
        assert_eq!((reply.status, reply.code().as_str()), (503, "M5004"), "{reply:?}");
        assert!(reply.body.contains(r#""retry":true"#), "{reply:?}");
    }
    let body = serde_json::json!({ "user": "anna", "password": PASSWORD }).to_string();
    let login = console.call("POST /login", &console.origin(), &body);
    assert_eq!((login.status, login.code().as_str()), (503, "M5004"), "{login:?}");
    let audit = console.get("/api/v1/audit");
    assert_eq!((audit.status, audit.code().as_str()), (503, "M5004"), "{audit:?}");
    drop(waiting);
}

#[test]
fn a_dry_run_is_written_down_as_one() {
    let console = Console::start();
    assert_eq!(console.post("/api/v1/groups/mail/move?dry_run=true&node=two", "").status, 200);
    assert_eq!(console.post("/api/v1/groups/mail/move?node=two", "").status, 202);
    let audit = console.audit();
    assert!(audit[0].contains("group-move mail (dry run)"), "{audit:?}");
    assert!(audit[1].contains("group-move mail") && !audit[1].contains("dry run"), "{audit:?}");
}

#[test]
fn machines_are_rebooted_by_operators_who_confirm_with_their_name() {
    let console = Console::start();
    let viewer = console.token_of("looks", "viewer");
    let refused = console.call_as(&viewer, "POST /api/v1/nodes/web-1/reboot", "");
    assert_eq!((refused.status, refused.code().as_str()), (403, "M2060"), "{refused:?}");
    let wrong = console.post("/api/v1/nodes/web-1/reboot?confirm=web-2", "");
    assert_eq!((wrong.status, wrong.code().as_str()), (400, "M2022"), "{wrong:?}");
    assert_eq!(console.post("/api/v1/nodes/web-1/reboot?dry_run=true", "").status, 200);
    assert_eq!(console.post("/api/v1/nodes/web-1/drain?dry_run=true", "").status, 200);
    assert_eq!(console.post("/api/v1/nodes/web-1/shutdown?confirm=web-1", "").status, 202);
    let audit = console.audit();
    for wanted in ["node-reboot web-1 (dry run)", "node-drain web-1 (dry run)", "node-shutdown web-1"] {
        assert!(audit.iter().any(|line| line.contains(wanted)), "{wanted}: {audit:?}");
    }
}

#[test]
fn viewers_read_what_a_group_went_through() {
    let console = Console::start();
    let viewer = console.token_of("looks", "viewer");
    let reply = console.call_as(&viewer, "GET /api/v1/groups/mail/moves", "");
    let moves: Vec<wire::group_move::GroupMove> = serde_json::from_str(&reply.body).expect("moves");
    assert_eq!((reply.status, moves.len(), moves[0].group.0.as_str()), (200, 1, "mail"));
    assert!(reply.body.contains(r#""stage":"confirmed""#), "{reply:?}");
    let reply = console.get("/api/v1/groups/mail/moves?x=1");
    assert_eq!(reply.status, 400);
}

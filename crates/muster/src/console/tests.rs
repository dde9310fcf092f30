//! The API over real sockets, with a manager that is made up.

mod follower;
mod people;

use super::routes::{ASSETS, Need, ROUTES};
use super::testing::{Directory, FakeManager, sample_event, sample_status};
use super::{ADDRESS_FILE, ConsoleOptions, TOKEN_FILE, start, tell_address};
use crate::role::RoleHandle;
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

/// Longer than any answer may take here; only a broken console gets there.
const PATIENCE: Duration = Duration::from_secs(20);

struct Console {
    address: SocketAddr,
    token: String,
    manager: FakeManager,
    directory: Directory,
    role: Option<RoleHandle>,
}

impl Console {
    fn start() -> Self {
        Self::start_with(crate::accounts::testing::start())
    }

    fn start_with(accounts: crate::accounts::AccountsHandle) -> Self {
        let directory = Directory::new();
        let events = vec![sample_event(1, "first"), sample_event(2, "second")];
        let (manager, handle) = FakeManager::start(sample_status(), events);
        let listen = ([127, 0, 0, 1], 0).into();
        let state_dir = directory.0.clone();
        let options = ConsoleOptions { listen, state_dir, manager: handle, accounts, callers: None };
        let (role, address) = start(options).expect("a free port and a directory of its own");
        let token = std::fs::read_to_string(directory.0.join(TOKEN_FILE)).expect("`start` wrote it");
        Self { address, token: token.trim().to_owned(), manager, directory, role: Some(role) }
    }

    /// Sends a request with these header lines, and reads the answer to its end.
    fn call(&self, line: &str, headers: &str, body: &str) -> Reply {
        let length = body.len();
        let host = self.address;
        let text = format!(
            "{line} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
        );
        self.send(text.as_bytes())
    }

    fn send(&self, bytes: &[u8]) -> Reply {
        let mut stream = self.connect();
        // A console that has answered may close before it has read everything.
        let _ = stream.write_all(bytes);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        Reply::read(&String::from_utf8_lossy(&answer))
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("the console listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("not zero");
        stream
    }

    fn bearer(&self) -> String {
        format!("Authorization: Bearer {}\r\n", self.token)
    }

    fn origin(&self) -> String {
        format!("Origin: http://{}\r\n", self.address)
    }

    fn get(&self, path: &str) -> Reply {
        self.call(&format!("GET {path}"), &self.bearer(), "")
    }

    fn post(&self, path: &str, body: &str) -> Reply {
        self.call(&format!("POST {path}"), &self.bearer(), body)
    }

    /// Logs a browser in: its cookie and its page's key, as header lines.
    fn log_in(&self) -> (String, String) {
        let body = format!("{{\"token\": \"{}\"}}", self.token);
        let reply = self.call("POST /login", &self.origin(), &body);
        assert_eq!(reply.status, 200, "{}", reply.body);
        let cookie = reply.header("set-cookie").expect("a login sets its cookie");
        assert!(cookie.contains("; HttpOnly; SameSite=Strict"), "{cookie}");
        let cookie = cookie.split(';').next().expect("there is a first part");
        let body: serde_json::Value = serde_json::from_str(&reply.body).expect("JSON");
        let key = body["key"].as_str().expect("a login answers its key");
        (format!("Cookie: {cookie}\r\n"), format!("X-Muster-Key: {key}\r\n"))
    }

    /// Calls with a token, and reads the answer.
    fn call_as(&self, token: &str, line: &str, body: &str) -> Reply {
        self.call(line, &format!("Authorization: Bearer {token}\r\n"), body)
    }

    /// Makes a token with this role.
    fn token_of(&self, name: &str, role: &str) -> String {
        let reply = self.post(&format!("/api/v1/tokens/{name}?role={role}&valid_ms=3600000"), "");
        assert_eq!(reply.status, 200, "{reply:?}");
        let issued: wire::account::IssuedApiToken = serde_json::from_str(&reply.body).expect("a token");
        issued.token
    }

    /// Logs a user in as a browser does, and reads the answer.
    fn try_password(&self, user: &str, password: &str) -> Reply {
        let body = serde_json::json!({ "user": user, "password": password }).to_string();
        self.call("POST /login", &self.origin(), &body)
    }

    /// The audit log, one line for each entry.
    fn audit(&self) -> Vec<String> {
        let reply = self.get("/api/v1/audit");
        let entries: Vec<wire::account::AuditEntry> = serde_json::from_str(&reply.body).expect("entries");
        let line = |entry: &wire::account::AuditEntry| {
            let code = entry.code.as_deref().unwrap_or_default();
            let text =
                format!("{} {} {} {} {} {code}", entry.who, entry.way, entry.act, entry.on, entry.result);
            text.split_whitespace().collect::<Vec<_>>().join(" ")
        };
        entries.iter().map(line).collect()
    }

    fn asked(&self) -> Vec<String> {
        self.manager.world.lock().expect("nobody panicked").asked.clone()
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        let role = self.role.take().expect("only taken here");
        role.stop.send_replace(true);
        role.thread.join().expect("the console does not panic");
    }
}

#[derive(Debug)]
struct Reply {
    status: u16,
    head: String,
    body: String,
}

impl Reply {
    fn read(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        Self { status, head: head.to_owned(), body: body.to_owned() }
    }

    fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    fn code(&self) -> String {
        let error: wire::status::ErrorBody =
            serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no error: {self:?}"));
        error.code
    }
}

/// The path of a route with names in place of its braces.
pub fn filled(path: &str) -> String {
    let path = path.replace("{group}/{act}", "site/freeze");
    let path = path.replace("{group}", "site");
    let path = path.replace("{monitor}/{act}", "web/pause").replace("{act}", "drain");
    let path = path.replace("{cluster}", "shop").replace("{member}", "shop-1");
    path.replace("{node}", "one")
        .replace("{user}", "anna")
        .replace("{token}", "ci")
        .replace("{fence}", "power")
        .replace("{revision}", "1")
}

#[test]
fn nobody_without_a_credential_reads_or_changes_anything() {
    let console = Console::start();
    // The last one proves by itself who calls.
    let open = ["GET /login", "POST /login", "POST /api/v1/own-password"];
    let unknown = ["GET /nothing".to_owned(), "DELETE /api/v1/status".to_owned()];
    let lines = ROUTES.iter().map(|route| format!("{} {}", route.method, filled(route.path))).chain(unknown);
    for line in lines.filter(|line| !open.contains(&line.as_str())) {
        for credential in ["", "Authorization: Bearer wrong\r\n", "Cookie: muster_session=wrong\r\n"] {
            let reply = console.call(&line, credential, "");
            let is_page = line == "GET /" && !credential.starts_with("Authorization");
            assert_eq!(reply.status, if is_page { 303 } else { 401 }, "{line} {credential}: {reply:?}");
            assert_eq!(reply.header("connection"), Some("close"), "{line}");
            assert!(!reply.body.contains("shop-1"), "{line}");
        }
    }
    assert!(console.asked().is_empty());
}

#[test]
fn every_answer_carries_the_headers_that_protect_it() {
    let console = Console::start();
    let paths = ["/", "/login", "/nothing", "/api/v1/status", "/metrics"];
    for path in paths.into_iter().chain(ASSETS.iter().map(|asset| asset.path)) {
        let reply = console.get(path);
        let policy = reply.header("content-security-policy").expect("always there");
        assert!(
            policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"),
            "{policy}"
        );
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(reply.header("x-content-type-options"), Some("nosniff"), "{path}");
        assert_eq!(reply.header("cache-control"), Some("no-store"), "{path}");
    }
}

#[test]
fn the_token_reads_and_changes() {
    let console = Console::start();
    let status: wire::status::CellStatus =
        serde_json::from_str(&console.get("/api/v1/status").body).expect("a status");
    assert_eq!(status, sample_status());
    let reply = console.post("/api/v1/clusters/shop/members/shop-1/drain", "");
    assert_eq!((reply.status, reply.body.as_str()), (202, r#"{"text":"Drain of shop/shop-1 has begun."}"#));
    assert_eq!(console.post("/api/v1/clusters/shop/restart", "").status, 202);
    assert_eq!(console.post("/api/v1/config?dry_run=true", "[cell]").status, 200);
    assert_eq!(
        console.asked(),
        [
            "Drain shop/shop-1 admin by API from 127.0.0.1",
            "Restart shop admin by API from 127.0.0.1",
            "Apply 6 bytes dry_run=true admin by API from 127.0.0.1"
        ]
    );
    let reply = console.get("/api/v1/explain?url=http%3A%2F%2Fa%2Fb+c&cookie=a%3Db");
    assert!(reply.body.contains(r#""url":"http://a/b c""#), "{reply:?}");
    assert!(reply.body.contains("a=b"), "{reply:?}");
    assert_eq!(console.get("/api/v1/config").body, r#"{"revision":1,"text":"[cell]\nname = \"test\"\n"}"#);
    assert!(console.get("/api/v1/config/history").body.starts_with(r#"[{"revision":1,"#));
    let head = console.call("HEAD /api/v1/status", &console.bearer(), "");
    assert_eq!((head.status, head.body.as_str()), (200, ""));
}

#[test]
fn refusals_of_the_manager_keep_their_words_and_get_a_status() {
    let console = Console::start();
    let reply = console.post("/api/v1/clusters/nowhere/stop", "");
    assert_eq!((reply.status, reply.code().as_str()), (404, "M2003"));
    let reply = console.post("/api/v1/config", "wrong = 1");
    assert_eq!((reply.status, reply.code().as_str()), (422, "M1003"));
    assert!(reply.body.contains("muster.toml:1"), "{reply:?}");
}

#[test]
fn what_is_not_understood_is_refused_with_a_reason() {
    let console = Console::start();
    for (path, reason) in [
        ("/api/v1/status?x=1", "`x` is not a parameter here; allowed: none"),
        ("/api/v1/events?after=-1", "`after` is `-1`; allowed: 0 to"),
        ("/api/v1/events?after=1&after=2", "`after` is given twice"),
        ("/api/v1/events?most=1001", "allowed: 0 to 1000"),
        ("/api/v1/explain", "`url` is missing"),
        ("/api/v1/explain?url=%zz", "broken percent-encoding"),
        ("/api/v1/explain?url=%ff", "not UTF-8"),
    ] {
        let reply = console.get(path);
        assert_eq!((reply.status, reply.code().as_str()), (400, "M2022"), "{path}");
        assert!(reply.body.contains(reason), "{path}: {reply:?}");
    }
    let reply = console.post("/api/v1/config?dry_run=yes", "[cell]");
    assert_eq!((reply.status, reply.code().as_str()), (400, "M2022"));
    let reply = console.call("POST /login", &console.origin(), "token=x");
    assert_eq!((reply.status, reply.code().as_str()), (400, "M2022"));
    for path in
        ["/nothing", "/api/v1/clusters/shop/explode", "/api/v1/clusters/-shop/stop", "/api/v1/status/"]
    {
        let reply = console.post(path, "");
        assert_eq!((reply.status, reply.code().as_str()), (404, "M2024"), "{path}");
    }
    let reply = console.post("/api/v1/status", "");
    assert_eq!((reply.status, reply.header("allow")), (405, Some("GET, HEAD")));
    let reply = console.call("DELETE /api/v1/config", &console.bearer(), "");
    assert_eq!((reply.status, reply.header("allow")), (405, Some("GET, POST, HEAD")));
    assert!(console.asked().is_empty());
}

#[test]
fn what_is_too_large_or_not_text_is_refused() {
    let console = Console::start();
    let large = "#".repeat(crate::config::SIZE_MAX_BYTES + 1);
    let reply = console.post("/api/v1/config", &large);
    assert_eq!((reply.status, reply.code().as_str()), (413, "M2023"));
    let head = format!(
        "POST /api/v1/config HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 2\r\n{}\r\n",
        console.bearer()
    );
    let reply = console.send(&[head.as_bytes(), b"a\xff"].concat());
    assert_eq!((reply.status, reply.code().as_str()), (400, "M2022"));
    assert!(reply.body.contains("not UTF-8 from byte 1 on"), "{reply:?}");
    let reply = console.call("GET /login", &format!("X-Long: {}\r\n", "x".repeat(64 << 10)), "");
    assert_eq!(reply.status, 431);
    assert!(console.asked().is_empty());
}

#[test]
fn a_browser_changes_things_only_from_our_own_page() {
    let console = Console::start();
    let (cookie, key) = console.log_in();
    let origin = console.origin();
    let drain = "POST /api/v1/clusters/shop/members/shop-1/drain";
    assert_eq!(console.call("GET /api/v1/status", &cookie, "").status, 200);
    assert_eq!(console.call("GET /", &cookie, "").status, 200);
    let other = "Origin: http://elsewhere.example\r\n".to_owned();
    for headers in [
        cookie.clone(),
        format!("{cookie}{key}"),
        format!("{cookie}{origin}"),
        format!("{cookie}{key}{other}"),
        format!("{cookie}{origin}X-Muster-Key: wrong\r\n"),
        format!("{cookie}{key}{origin}Sec-Fetch-Site: cross-site\r\n"),
        format!("{cookie}{key}Sec-Fetch-Site: same-site\r\n"),
        format!("{cookie}{key}Origin: null\r\n"),
    ] {
        let reply = console.call(drain, &headers, "");
        assert_eq!((reply.status, reply.code().as_str()), (403, "M2020"), "{headers}");
    }
    assert!(console.asked().is_empty());
    let reply = console.call(drain, &format!("{cookie}{key}{origin}"), "");
    assert_eq!(reply.status, 202, "{reply:?}");
    assert_eq!(console.asked(), ["Drain shop/shop-1 admin by console from 127.0.0.1"]);
    let body = format!("{{\"token\": \"{}\"}}", console.token);
    let reply = console.call("POST /login", &other, &body);
    assert_eq!((reply.status, reply.code().as_str()), (403, "M2020"));
}

#[test]
fn a_logout_ends_the_session_and_its_streams() {
    let console = Console::start();
    let (cookie, key) = console.log_in();
    let mut stream = Stream::open(&console, "/api/v1/stream", &cookie);
    stream.wait_for("event: status");
    let headers = format!("{cookie}{key}{}", console.origin());
    let reply = console.call("POST /logout", &headers, "");
    assert_eq!(reply.status, 204);
    assert!(reply.header("set-cookie").is_some_and(|cookie| cookie.contains("Max-Age=0")), "{reply:?}");
    assert_eq!(console.call("GET /api/v1/status", &cookie, "").status, 401);
    console.manager.change(|world| world.status.cell = "after".into());
    stream.wait_for_end();
}

#[test]
fn who_guesses_is_locked_out_for_a_while() {
    let console = Console::start();
    for guess in 0..super::auth::WRONG_TOKENS_MAX {
        let reply = console.call("GET /metrics", &format!("Authorization: Bearer guess{guess}\r\n"), "");
        assert_eq!((reply.status, reply.code().as_str()), (401, "M2002"));
    }
    let reply = console.call("GET /api/v1/status", "Authorization: Bearer another\r\n", "");
    assert_eq!((reply.status, reply.code().as_str()), (429, "M2021"));
    assert_eq!(console.get("/api/v1/status").status, 200, "the right token is never locked out");
    let wait_s: u64 = reply.header("retry-after").expect("it says when").parse().expect("a number");
    assert!((1..=60).contains(&wait_s), "{wait_s}");
}

/// A stream of server-sent events, read line by line.
struct Stream(BufReader<TcpStream>);

impl Stream {
    fn open(console: &Console, path: &str, headers: &str) -> Self {
        let mut stream = console.connect();
        let text = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n{headers}\r\n", console.address);
        stream.write_all(text.as_bytes()).expect("the console reads");
        let mut stream = Self(BufReader::new(stream));
        assert_eq!(stream.line().as_deref(), Some("HTTP/1.1 200 OK"));
        stream
    }

    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let length = self.0.read_line(&mut line).expect("an answer within our patience");
        if length == 0 { None } else { Some(line.trim_end().to_owned()) }
    }

    /// Reads on until a line holds `text`; the lines that came before are returned.
    fn wait_for(&mut self, text: &str) -> Vec<String> {
        let mut before = Vec::new();
        loop {
            let line = self.line().unwrap_or_else(|| panic!("no {text:?}, but {before:#?}"));
            if line.contains(text) {
                return before;
            }
            before.push(line);
        }
    }

    fn wait_for_end(&mut self) {
        while self.line().is_some_and(|line| line != "0") {}
    }
}

#[test]
fn a_stream_tells_each_change_and_each_event_once() {
    let console = Console::start();
    let mut stream = Stream::open(&console, "/api/v1/stream", &console.bearer());
    let before = stream.wait_for("event: status").join("\n");
    assert!(before.contains("text/event-stream"), "{before}");
    assert!(before.contains("id: 1") && before.contains("id: 2"), "{before}");
    stream.wait_for(r#""cell":"test""#);

    console.manager.change(|world| world.status.cell = "renamed".into());
    let before = stream.wait_for(r#""cell":"renamed""#).join("\n");
    assert!(!before.contains("event: event"), "no event is told twice: {before}");

    console.manager.change(|world| world.events.push(sample_event(3, "third")));
    let before = stream.wait_for("third").join("\n");
    assert!(before.contains("id: 3"), "{before}");
}

#[test]
fn a_stream_goes_on_where_it_broke_off() {
    let console = Console::start();
    let resumed = format!("{}Last-Event-ID: 1\r\n", console.bearer());
    // The header is newer than what the address says.
    let mut stream = Stream::open(&console, "/api/v1/stream?after=0", &resumed);
    let before = stream.wait_for("event: status").join("\n");
    assert!(!before.contains("id: 1") && before.contains("id: 2"), "{before}");
}

#[test]
fn a_history_that_began_anew_is_told_from_its_beginning() {
    let console = Console::start();
    let mut stream = Stream::open(&console, "/api/v1/stream?after=900", &console.bearer());
    let before = stream.wait_for("event: status").join("\n");
    assert!(before.contains("id: 1") && before.contains("id: 2"), "{before}");
}

#[test]
fn without_its_manager_the_console_says_so() {
    let directory = Directory::new();
    let (requests, inbox) = tokio::sync::mpsc::channel(1);
    let (changed, receiver) = tokio::sync::watch::channel(0);
    drop((inbox, changed));
    let (_, leadership) = tokio::sync::watch::channel(crate::manager::handle::Leadership::Here);
    let manager = crate::manager::handle::ManagerHandle { leadership, requests, changed: receiver };
    let listen = ([127, 0, 0, 1], 0).into();
    let accounts = crate::accounts::testing::start();
    let options = ConsoleOptions { listen, state_dir: directory.0.clone(), manager, accounts, callers: None };
    let (role, address) = start(options).expect("a console needs no manager to start");
    let (fake, _) = FakeManager::start(sample_status(), Vec::new());
    let token = std::fs::read_to_string(directory.0.join(TOKEN_FILE)).expect("`start` wrote it");
    let console =
        Console { address, token: token.trim().to_owned(), manager: fake, directory, role: Some(role) };
    let reply = console.get("/api/v1/status");
    assert_eq!((reply.status, reply.code().as_str()), (503, "M2025"));
    assert!(reply.body.contains(r#""retry":true"#), "{reply:?}");
    Stream::open(&console, "/api/v1/stream", &console.bearer()).wait_for_end();
}

#[test]
fn a_port_that_is_taken_is_named() {
    let console = Console::start();
    let (_fake, manager) = FakeManager::start(sample_status(), Vec::new());
    let directory = Directory::new();
    let (listen, accounts) = (console.address, crate::accounts::testing::start());
    let options = ConsoleOptions { listen, state_dir: directory.0.clone(), manager, accounts, callers: None };
    let error = start(options).expect_err("the port is taken");
    let text = error.to_string();
    assert!(text.starts_with("M1010: ") && text.contains(&console.address.to_string()), "{text}");
    assert!(!directory.0.join(TOKEN_FILE).exists(), "nothing was changed");
}

#[test]
fn the_token_is_its_owners_alone_and_stays() {
    let console = Console::start();
    let path = console.directory.0.join(TOKEN_FILE);
    let mode = std::fs::metadata(&path).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(console.token.len(), 64);
    assert_eq!(super::token::read_or_create(&path).expect("readable"), console.token);
    std::fs::write(&path, "short\n").expect("ours");
    let error = super::token::read_or_create(&path).expect_err("too short for a secret");
    assert!(error.to_string().contains("32 to 1024 printable characters"), "{error}");
}

#[test]
fn an_address_that_cannot_be_kept_leaves_no_other_one_behind() {
    let console = Console::start();
    let path = console.directory.0.join(ADDRESS_FILE);
    let told = || std::fs::read_to_string(&path).ok();
    let (old, other) = (told().expect("it was kept"), ([127, 0, 0, 1], 9).into());
    // Nothing can be written any more.
    std::fs::create_dir(path.with_extension("new")).expect("nothing is there");
    tell_address(&path, old.trim().parse().expect("it is an address"));
    assert_eq!(told(), Some(old), "what stands there already needs no room");
    tell_address(&path, other);
    assert_eq!(told(), None);
}

#[test]
fn the_description_lists_every_route_and_nothing_else() {
    let console = Console::start();
    let text = console.get("/api/v1/openapi.json").body;
    let description: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let paths = description["paths"].as_object().expect("an OpenAPI description has paths");
    let described: BTreeSet<String> = paths
        .iter()
        .flat_map(|(path, methods)| {
            let methods = methods.as_object().expect("a path has methods");
            methods.keys().map(move |method| format!("{} {path}", method.to_uppercase()))
        })
        .collect();
    let routes = ROUTES.iter().map(|route| format!("{} {}", route.method, route.path)).collect();
    assert_eq!(described, routes);
    for reference in text.split("\"$ref\":").skip(1) {
        let name = reference.split('"').nth(1).expect("a reference is a string");
        let pointer = name.strip_prefix('#').expect("all is in one document");
        assert!(description.pointer(pointer).is_some(), "{name} leads nowhere");
    }
}

#[test]
fn the_description_names_every_field_of_a_status() {
    let description: serde_json::Value =
        serde_json::from_str(include_str!("assets/openapi.json")).expect("JSON");
    let status = serde_json::to_value(sample_status()).expect("a status is JSON");
    for (schema, pointer) in [
        ("CellStatus", ""),
        ("NodeStatus", "/nodes/0"),
        ("RouterStatus", "/routers/0"),
        ("Totals", "/routers/0/totals"),
        ("RouteStatus", "/routers/0/routes/0"),
        ("TrafficCounts", "/routers/0/routes/0/counts"),
        ("ClusterStatus", "/clusters/0"),
        ("MemberStatus", "/clusters/0/members/0"),
    ] {
        let given = status.pointer(pointer).and_then(|value| value.as_object()).expect("part of the sample");
        let described = &description["components"]["schemas"][schema]["properties"];
        let described = described.as_object().unwrap_or_else(|| panic!("{schema} is not described"));
        let (given, described): (Vec<_>, Vec<_>) = (given.keys().collect(), described.keys().collect());
        assert_eq!(given, described, "{schema}");
    }
}

#[test]
fn metrics_need_a_credential_and_have_their_own_type() {
    let console = Console::start();
    let reply = console.get("/metrics");
    assert_eq!(reply.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    assert!(
        reply.body.contains(
            "\nmuster_member_state{cluster=\"shop\",member=\"shop-2\",node=\"one\",state=\"down\"} 1\n"
        ),
        "{reply:?}"
    );
}

#[test]
fn a_console_whose_places_are_all_taken_still_stops() {
    let console = Console::start();
    let taken: Vec<TcpStream> = (0..super::server::CONNECTIONS_MAX + 10).map(|_| console.connect()).collect();
    drop(console);
    drop(taken);
}

#[test]
fn the_reference_page_has_every_route_and_its_summary() {
    let page = include_str!("../../../../docs/reference/api.md");
    let description: serde_json::Value =
        serde_json::from_str(include_str!("assets/openapi.json")).expect("JSON");
    for route in ROUTES {
        let method = route.method.as_str();
        let summary = description["paths"][route.path][method.to_lowercase()]["summary"].as_str();
        let least = match route.need {
            Need::Nothing => "–",
            Need::Role(role) => role.name(),
        };
        let described = description["paths"][route.path][method.to_lowercase()]["x-muster-role"].as_str();
        assert_eq!(described.unwrap_or("–"), least, "{method} {}", route.path);
        let summary = summary.expect("each has a summary");
        let row = format!("| {method} | `{}` | {least} | {summary} |", route.path);
        assert!(page.contains(&row), "docs/reference/api.md lacks the row\n{row}");
    }
}

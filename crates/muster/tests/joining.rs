//! Who becomes a node and who does not: tokens, certificates of others, strangers that say nothing or nonsense.
//!
//! All machines are this one: the manager listens on 127.0.0.1, and nodes have state directories of their own.

mod support;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};
use support::cell::{MUSTER, Said, muster, run};
use support::{Running, Scratch, free_address, wait_at_most, wait_for};
use wire::account::AuditEntry;
use wire::enrol::{LINK_PROTOCOL, MANAGER_SERVER_NAME};
use wire::link::{FromManager, LINK_VERSION, Role, ToManager};
use wire::status::NodeStatus;

/// A manager with nodes a (its own), b and c.
struct Cell {
    manager: Running,
    address: SocketAddr,
    scratch: Scratch,
}

impl Cell {
    fn start(life_ms: u64) -> Self {
        let scratch = Scratch::new();
        let (address, console, router) = (free_address(), free_address(), free_address());
        let nodes: String =
            ["a", "b", "c"].iter().map(|name| format!("[nodes.{name}]\naddress = \"127.0.0.1\"\n")).collect();
        let text = format!(
            "[cell]\nname = \"shop\"\nstate_dir = \"{}\"\n[manager]\nlisten = \"{address}\"\n\
             certificate_life_ms = {life_ms}\n[console]\nlisten = \"{console}\"\n{nodes}\
             [routers.front]\nnode = \"a\"\nlisten = [\"{router}\"]\n\
             [clusters.shop.members.one]\nnode = \"a\"\naddress = \"127.0.0.1:9\"\n",
            scratch.join("a").display()
        );
        let config = scratch.write("muster.toml", &text);
        let before = muster(&["run", "--config", &config.display().to_string(), "--node", "a"]);
        assert_eq!(before.code, Some(2), "{before:?}");
        assert!(before.talk.contains("M2040") && before.talk.contains("muster init"), "{before:?}");
        let init = muster(&["init", "--config", &config.display().to_string()]);
        assert_eq!(init.code, Some(0), "{init:?}");
        let again = muster(&["init", "--config", &config.display().to_string()]);
        assert_eq!(again.code, Some(1), "{again:?}");
        assert!(again.talk.contains("M2041"), "{again:?}");
        let mut command = Command::new(MUSTER);
        command.args(["run", "--log-level", "debug", "--node", "a", "--config"]).arg(&config);
        let manager = Running::start("manager", &mut command, &scratch.join("manager.log"));
        let cell = Self { manager, address, scratch };
        wait_for("the manager to answer", || cell.nodes().map(drop));
        cell
    }

    fn config(&self) -> String {
        self.scratch.join("muster.toml").display().to_string()
    }

    fn muster(&self, arguments: &[&str]) -> Said {
        muster(&[arguments, &["--config", &self.config()]].concat())
    }

    fn nodes(&self) -> Result<Vec<NodeStatus>, String> {
        let said = self.muster(&["node", "--json"]);
        serde_json::from_str(&said.data).map_err(|error| format!("{error}: {said:?}"))
    }

    fn is_connected(&self, name: &str) -> Result<(), String> {
        let node = self.nodes()?.into_iter().find(|node| node.node.0 == name);
        let node = node.ok_or("it is not there")?;
        if node.connected { Ok(()) } else { Err(format!("{node:?}")) }
    }

    /// The words of `muster join` for a node.
    fn token(&self, node: &str, valid: &str) -> Vec<String> {
        let said = self.muster(&["node", "token", node, "--valid", valid]);
        assert_eq!(said.code, Some(0), "{said:?}");
        said.data.split_whitespace().skip(1).map(str::to_owned).collect()
    }

    fn state_dir(&self, name: &str) -> PathBuf {
        self.scratch.join(name)
    }

    fn join(&self, words: &[String], directory: &str) -> Said {
        let directory = self.state_dir(directory).display().to_string();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        muster(&[&words[..], &["--state-dir", &directory]].concat())
    }

    /// Lets a machine join as `node`, keeping who it is in a directory called so.
    fn let_join(&self, node: &str) {
        let said = self.join(&self.token(node, "1h"), node);
        assert_eq!(said.code, Some(0), "{said:?}");
    }

    fn run_node(&self, name: &str) -> Running {
        let mut command = Command::new(MUSTER);
        command.arg("run").arg("--state-dir").arg(self.state_dir(name));
        Running::start(name, &mut command, &self.scratch.join(&format!("{name}.log")))
    }
}

/// Of a certificate that a test sees renewed and expired. Between the one and the other are 15 seconds: a node that missed
/// them on a busy machine would be out for good.
const SHORT_LIFE_MS: u64 = 45_000;
/// Twice that life.
const EXPIRY: Duration = Duration::from_secs(90);
/// A month, as usual.
const MONTH_MS: u64 = 30 * 24 * 3_600_000;

#[test]
fn a_token_lets_one_machine_in_once_and_in_time_and_every_refusal_says_why() {
    let cell = Cell::start(MONTH_MS);
    let refused = |said: Said, code: i32, parts: &[&str]| {
        assert_eq!(said.code, Some(code), "{said:?}");
        parts.iter().for_each(|part| assert!(said.talk.contains(part), "{part} is not in {said:?}"));
    };
    refused(cell.muster(&["node", "token", "z"]), 1, &["M2006", "node z is not in the configuration"]);
    refused(cell.muster(&["node", "token", "a"]), 1, &["M2005", "the manager's own"]);
    refused(cell.muster(&["node", "token", "b", "--valid", "31d"]), 2, &["30d"]);

    let words = cell.token("b", "1h");
    let token = words[2].clone();
    let secret = token.split('.').nth(2).expect("the third part").to_owned();
    let with = |token: String| [words[0].clone(), words[1].clone(), token];
    refused(cell.join(&with(token[..50].into()), "x"), 2, &["M2042"]);
    refused(cell.join(&with(token.replace(&secret, &"0".repeat(40))), "x"), 1, &["M2043", "does not know"]);
    let authority = token.split('.').nth(1).expect("the second part");
    let other = token.replace(authority, &"0".repeat(64));
    refused(cell.join(&with(other), "x"), 1, &["M2044", "another authority", "begins with 0000"]);
    let nobody = [words[0].clone(), free_address().to_string(), token.clone()];
    refused(cell.join(&nobody, "x"), 3, &["M2001", "refused"]);

    // None of these used it up, nor does a directory that cannot be written.
    std::fs::write(cell.state_dir("file"), "").expect("written");
    refused(cell.join(&words, "file"), 2, &["M1014"]);
    assert_eq!(cell.join(&words, "b").code, Some(0));
    refused(cell.join(&words, "c"), 1, &["M2043", "the token was used", "from 127.0.0.1"]);
    refused(cell.join(&words, "b"), 1, &["M2041"]);
    refused(cell.join(&words, "a"), 1, &["M2041"]);

    let short = cell.token("c", "1s");
    std::thread::sleep(Duration::from_millis(1_100));
    refused(cell.join(&short, "c"), 1, &["M2043", "expired"]);

    // Who guesses is locked out, for longer each time.
    let mut guesses = 0_u64;
    wait_for("guesses to be refused unheard", || {
        guesses += 1;
        let said = cell.join(&with(token.replace(&secret, &format!("{guesses:040}"))), "x");
        assert_eq!(said.code, Some(1), "{said:?}");
        if said.talk.contains("M2021") && said.talk.contains("wait") { Ok(()) } else { Err(said.talk) }
    });
    assert!(guesses > 10, "{guesses} guesses are a mistake, and not yet an attack");

    // The secret is nowhere but with who got it.
    assert!(!cell.manager.log().contains(&secret), "it is in the log");
    for entry in std::fs::read_dir(cell.state_dir("a")).expect("a directory").flatten() {
        let bytes = std::fs::read(entry.path()).unwrap_or_default();
        let found = bytes.windows(secret.len()).any(|part| part == secret.as_bytes());
        assert!(!found, "it is in {}", entry.path().display());
    }
}

type Stream = StreamOwned<ClientConnection, TcpStream>;

/// Connects as somebody whose files lie in `identity`, believing the authority in `authority`.
fn connect(cell: &Cell, authority: &Path, identity: Option<&Path>) -> Stream {
    let mut roots = RootCertStore::empty();
    let authority =
        CertificateDer::from_pem_file(authority.join("cell/authority.pem")).expect("a certificate");
    roots.add(authority).expect("an authority");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots);
    let mut config = match identity.map(|directory| directory.join("cell/identity.pem")) {
        Some(file) => {
            let certificate = CertificateDer::from_pem_file(&file).expect("a certificate");
            let key = PrivateKeyDer::from_pem_file(&file).expect("a key");
            builder.with_client_auth_cert(vec![certificate], key).expect("a pair")
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![LINK_PROTOCOL.to_vec()];
    let name = ServerName::try_from(MANAGER_SERVER_NAME).expect("a name");
    let connection = ClientConnection::new(Arc::new(config), name).expect("a connection");
    let stream = TcpStream::connect(cell.address).expect("the manager listens");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a time-out");
    StreamOwned::new(connection, stream)
}

/// Says hello as a role, and gives the first answer.
fn hello(mut stream: Stream, version: u32, role: Role) -> Result<FromManager, String> {
    let message = ToManager::Hello {
        version,
        role,
        muster: "9.9.9".into(),
        generation: 0,
        resumes: false,
        carries: false,
        powers: false,
    };
    let body = serde_json::to_vec(&message).expect("JSON");
    let frame = [&u32::try_from(body.len()).expect("short").to_be_bytes()[..], &body].concat();
    stream.write_all(&frame).and_then(|()| stream.flush()).map_err(|error| error.to_string())?;
    let mut length = [0; 4];
    stream.read_exact(&mut length).map_err(|error| error.to_string())?;
    let mut body = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut body).map_err(|error| error.to_string())?;
    serde_json::from_slice(&body).map_err(|error| error.to_string())
}

fn agent(node: &str) -> Role {
    Role::Agent { node: node.into() }
}

fn reason(answer: Result<FromManager, String>) -> String {
    match answer {
        Ok(FromManager::Refused { reason }) => reason,
        other => panic!("it was not refused: {other:?}"),
    }
}

#[test]
fn a_certificate_speaks_for_its_own_node_of_its_own_cell_alone() {
    let cell = Cell::start(MONTH_MS);
    let other = Cell::start(MONTH_MS);
    cell.let_join("b");
    cell.let_join("c");
    other.let_join("b");
    let (b, own) = (cell.state_dir("b"), cell.state_dir("c"));
    let welcome = hello(connect(&cell, &b, Some(&b)), LINK_VERSION, agent("b"));
    assert!(matches!(welcome, Ok(FromManager::Welcome { .. })), "{welcome:?}");
    let text = reason(hello(connect(&cell, &b, Some(&b)), LINK_VERSION, agent("c")));
    assert!(text.contains("certificate is of node b") && text.contains("node c"), "{text}");
    let text = reason(hello(connect(&cell, &b, Some(&b)), LINK_VERSION, agent("a")));
    assert!(text.contains("certificate is of node b"), "{text}");
    let router = Role::Router { node: "b".into(), router: "front".into() };
    let text = reason(hello(connect(&cell, &b, Some(&b)), LINK_VERSION, router));
    assert!(text.contains("router front is configured on node a"), "{text}");
    let text = reason(hello(connect(&cell, &b, Some(&b)), 99, agent("b")));
    assert!(text.contains("version 99") && text.contains("9.9.9") && text.contains("0.1.0"), "{text}");

    // Of a cell with a node of the same name, and nobody at all.
    let foreign = other.state_dir("b");
    let answer = hello(connect(&cell, &b, Some(&foreign)), LINK_VERSION, agent("b"));
    assert!(answer.is_err(), "{answer:?}");
    let answer = hello(connect(&cell, &b, None), LINK_VERSION, agent("b"));
    assert!(answer.is_err(), "{answer:?}");
    // The machine of another cell finds out by itself.
    std::fs::copy(b.join("cell/cell.json"), foreign.join("cell/cell.json")).expect("copied");
    let lost = other.run_node("b");
    wait_for("it to say that the manager is another cell's", || {
        let log = lost.log();
        if log.contains("M2044") && log.contains("another authority") { Ok(()) } else { Err(log) }
    });

    // Removed: refused with the reason, until it joins again.
    let said = cell.muster(&["node", "remove", "b"]);
    assert_eq!(said.code, Some(2), "nobody was asked: {said:?}");
    let said = cell.muster(&["node", "remove", "b", "--yes"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    let text = reason(hello(connect(&cell, &own, Some(&b)), LINK_VERSION, agent("b")));
    assert!(text.contains("removed"), "{text}");
    std::fs::rename(&b, cell.state_dir("old")).expect("renamed");
    cell.let_join("b");
    let text = reason(hello(connect(&cell, &own, Some(&cell.state_dir("old"))), LINK_VERSION, agent("b")));
    assert!(text.contains("another machine has joined as node b"), "{text}");
    let welcome = hello(connect(&cell, &b, Some(&b)), LINK_VERSION, agent("b"));
    assert!(matches!(welcome, Ok(FromManager::Welcome { .. })), "{welcome:?}");
}

/// A connection from 127.0.0.2, which is not where nodes are.
fn stranger(cell: &Cell) -> TcpStream {
    use socket2::{Domain, Socket, Type};
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    let from: SocketAddr = ([127, 0, 0, 2], 0).into();
    socket.bind(&from.into()).expect("an address of loopback");
    socket.connect(&cell.address.into()).expect("the manager listens");
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a time-out");
    stream
}

/// Whether the other side has ended a connection, or does so in time.
fn ends(stream: &mut TcpStream) -> bool {
    let mut rest = [0; 1024];
    loop {
        match stream.read(&mut rest) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => return error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }
}

#[test]
fn nonsense_and_silence_cost_little_and_keep_nobody_out() {
    let cell = Cell::start(MONTH_MS);
    for nonsense in
        [&b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..], &[0; 5_000], &[0x16, 3, 1, 0xff, 0xff], b"\xff"]
    {
        let mut stream = stranger(&cell);
        // It may have ended already.
        drop(stream.write_all(nonsense));
        drop(stream.shutdown(std::net::Shutdown::Write));
        assert!(ends(&mut stream), "{nonsense:?}");
    }
    let began = Instant::now();
    let mut silent: Vec<TcpStream> = (0..300).map(|_| stranger(&cell)).collect();
    // Each sends a byte now and then, which makes them no less strange.
    for stream in &mut silent {
        drop(stream.write_all(b"\x16"));
    }
    cell.let_join("b");
    let _b = cell.run_node("b");
    wait_for("b to be connected", || cell.is_connected("b"));
    for stream in &mut silent {
        drop(stream.write_all(b"\x03"));
        assert!(ends(stream), "it is still there after {:?}", began.elapsed());
    }
    assert!(began.elapsed() < Duration::from_secs(40), "{:?}", began.elapsed());
    cell.is_connected("b").expect("it stayed");
}

#[test]
fn certificates_are_renewed_by_themselves_while_the_node_stays() {
    let cell = Cell::start(SHORT_LIFE_MS);
    cell.let_join("b");
    let file = cell.state_dir("b").join("cell/identity.pem");
    let first = std::fs::read(&file).expect("an identity");
    let own = cell.state_dir("a").join("cell/identity.pem");
    let own_first = std::fs::read(&own).expect("an identity");
    std::fs::create_dir_all(cell.state_dir("old/cell")).expect("a directory");
    std::fs::copy(&file, cell.state_dir("old/cell/identity.pem")).expect("copied");
    let b = cell.run_node("b");
    wait_for("b to be connected", || cell.is_connected("b"));
    let is_another = |file: &Path, first: &[u8]| match std::fs::read(file) {
        Ok(now) if now != first => Ok(()),
        _ => Err("it has the first".to_owned()),
    };
    wait_at_most(EXPIRY, "b to have another certificate", &mut || is_another(&file, &first));
    wait_at_most(EXPIRY, "the manager to have another certificate", &mut || is_another(&own, &own_first));
    // The first one has expired meanwhile, and opens nothing.
    let b_dir = cell.state_dir("b");
    wait_at_most(EXPIRY, "the first certificate to expire", &mut || {
        let old = connect(&cell, &b_dir, Some(&cell.state_dir("old")));
        match hello(old, LINK_VERSION, agent("c")) {
            Err(error) if error.contains("CertificateExpired") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    wait_for("b to be connected", || cell.is_connected("b"));
    assert!(b.log().contains("the certificate of this node is renewed"), "{}", b.log());
    // Strangers are shown the new one.
    cell.let_join("c");
}

#[test]
fn a_machine_that_is_no_node_runs_nothing_and_says_how_it_becomes_one() {
    let scratch = Scratch::new();
    let directory = scratch.join("state").display().to_string();
    let said = muster(&["run", "--state-dir", &directory]);
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(said.talk.contains("M2040") && said.talk.contains("muster node token"), "{said:?}");
    // In a cell of one machine there is nobody to let in.
    let console = free_address();
    let text = support::cell::config(&scratch, console, free_address(), &support::cell::shop_tables(&[]));
    let text = format!("{text}[clusters.shop.members.one]\naddress = \"127.0.0.1:9\"\n");
    let config = scratch.write("one.toml", &text);
    let _process = run(&config, &["manager"], &scratch.join("one.log"));
    let config = config.display().to_string();
    wait_for("the manager to answer", || {
        let said = muster(&["node", "token", "local", "--config", &config]);
        if said.code == Some(1) && said.talk.contains("M2048") { Ok(()) } else { Err(format!("{said:?}")) }
    });
}

#[test]
fn a_configuration_with_a_node_whose_machine_was_removed_does_not_come_back() {
    let cell = Cell::start(MONTH_MS);
    cell.let_join("c");
    let text = std::fs::read_to_string(cell.config()).expect("the test wrote it");
    let without = text.replace("[nodes.c]\naddress = \"127.0.0.1\"\n", "");
    let path = cell.scratch.write("without.toml", &without).display().to_string();
    assert_eq!(cell.muster(&["apply", &path]).code, Some(0));
    // Its machine still has its certificate, so the way back is open.
    let said = cell.muster(&["config", "rollback", "1", "--dry-run"]);
    assert_eq!((said.code, said.data.lines().next()), (Some(0), Some("node c is added")), "{said:?}");
    assert_eq!(cell.muster(&["node", "remove", "c", "--yes"]).code, Some(0));
    let said = cell.muster(&["config", "rollback", "1", "--yes"]);
    assert_eq!((said.code, said.data.as_str()), (Some(1), ""), "{said:?}");
    for part in ["M2005", "node c", "was removed from the cell", "muster config show 1"] {
        assert!(said.talk.contains(part), "{part}: {said:?}");
    }
    assert_eq!(cell.muster(&["config", "show"]).data, without);
}

#[test]
fn who_joined_who_could_not_and_who_was_replaced_can_be_found_out() {
    let cell = Cell::start(MONTH_MS);
    let words = cell.token("b", "1h");
    let second = cell.muster(&["node", "token", "b"]);
    assert!(second.talk.contains("1 more of this node's tokens can still be used"), "{second:?}");
    let other = words[2].strip_suffix(".b").map(|token| format!("{token}.c")).expect("it ends with its node");
    let refused = cell.join(&[words[0].clone(), words[1].clone(), other], "b");
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.talk.contains("M2043") && refused.talk.contains("not used up"), "{refused:?}");
    assert_eq!(cell.join(&words, "b").code, Some(0), "the token can still be used");
    assert_eq!(cell.join(&words, "c").code, Some(1), "and only once");
    let _first = cell.run_node("b");
    wait_for("b to be connected", || cell.is_connected("b"));

    // A file that would run a cell of its own does not do so over the identity of a node.
    let text = support::cell::config(&cell.scratch, free_address(), free_address(), "");
    let start = text.find("state_dir").expect("it has one");
    let end = start + text[start..].find('\n').expect("a line");
    let own = format!("{}state_dir = {:?}{}", &text[..start], cell.state_dir("b"), &text[end..]);
    let own = format!("{own}[clusters.shop.members.one]\naddress = \"127.0.0.1:9\"\n");
    let own = cell.scratch.write("own.toml", &own).display().to_string();
    let said = muster(&["run", "--config", &own]);
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(said.talk.contains("M2041") && said.talk.contains("as node b"), "{said:?}");

    let third = cell.muster(&["node", "token", "b"]);
    assert!(third.talk.contains("takes its place"), "{third:?}");
    let words: Vec<String> = third.data.split_whitespace().skip(1).map(str::to_owned).collect();
    assert_eq!(cell.join(&words, "x").code, Some(0));
    let _second = cell.run_node("x");
    wait_for("the first machine to be refused where people see it", || {
        let node = cell.nodes()?.into_iter().find(|node| node.node.0 == "b").ok_or("it is not there")?;
        let shown = cell.muster(&["node"]).data;
        match node.refused {
            Some(refusal) if node.connected && shown.contains(&refusal.reason) => Ok(()),
            other => Err(format!("{other:?}\n{shown}")),
        }
    });
    let entries: Vec<AuditEntry> = wait_for("joins to be in the audit log", || {
        let said = cell.muster(&["audit", "--json"]);
        let entries: Vec<AuditEntry> = serde_json::from_str(&said.data).map_err(|error| error.to_string())?;
        let joins: Vec<AuditEntry> = entries.into_iter().filter(|entry| entry.act == "node-join").collect();
        if joins.len() == 4 { Ok(joins) } else { Err(format!("{joins:?}")) }
    });
    let told: Vec<_> =
        entries.iter().map(|it| (it.who.as_str(), it.on.as_str(), it.code.as_deref())).collect();
    let refused = |on| ("nobody", on, Some("M2043"));
    assert_eq!(told, [refused("c"), ("node b", "b", None), refused("b"), ("node b", "b", None)]);
    let log = cell.manager.log();
    for part in [
        "join-refused",
        "a machine at 127.0.0.1 could not join with a token for node b",
        "in place of the one",
    ] {
        assert!(log.contains(part), "{part}: {log}");
    }
}

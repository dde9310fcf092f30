//! TLS, the PROXY protocol and TCP on listeners and to members, with the programs that people use: curl, openssl,
//! nginx, HAProxy, testssl.sh.

mod support;

use rustix::process::Signal;
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use support::cell::Cell;
use support::certificates::{Authority, Pair};
use support::clients::curl;
use support::{Running, Scratch, free_address, program, wait_for, wait_until_listening};

/// What nginx says of each request.
const TOLD: &str = "for=$http_x_forwarded_for proto=$http_x_forwarded_proto cert=$http_client_cert \
                    proxy=$proxy_protocol_addr tls=$ssl_protocol client=$ssl_client_verify name=$ssl_server_name \
                    reused=$ssl_session_reused requests=$connection_requests version=$server_protocol";

/// An nginx whose servers listen in these ways, each with its further lines.
fn nginx(scratch: &Scratch, servers: &[(SocketAddr, &str, &str)]) -> Running {
    let directory = scratch.path().display();
    let mut text = format!(
        "daemon off;\nworker_processes 1;\npid {directory}/nginx.pid;\nerror_log {directory}/nginx-error.log;\n\
         events {{ worker_connections 512; }}\nhttp {{\n  access_log off;\n  \
         client_body_temp_path {directory}/body;\n  proxy_temp_path {directory}/proxy;\n  \
         fastcgi_temp_path {directory}/fastcgi;\n  uwsgi_temp_path {directory}/uwsgi;\n  \
         scgi_temp_path {directory}/scgi;\n"
    );
    for (address, how, lines) in servers {
        write!(
            text,
            "  server {{\n    listen {address} {how};\n    {lines}\n    root {directory};\n    \
             location = / {{ default_type text/plain; return 200 \"{TOLD}\\n\"; }}\n  }}\n"
        )
        .expect("a string takes everything");
    }
    text.push_str("}\n");
    let config = scratch.write("nginx.conf", &text);
    std::fs::write(scratch.join("large"), vec![b'x'; 1_000_000]).expect("the directory is ours");
    let mut command = Command::new(program("nginx"));
    command
        .arg("-p")
        .arg(scratch.path())
        .arg("-c")
        .arg(config)
        .arg("-e")
        .arg(scratch.join("nginx-start.log"));
    let mut process = Running::start("nginx", &mut command, &scratch.join("nginx.log"));
    for (address, _, _) in servers {
        wait_until_listening(*address, &mut process);
    }
    process
}

fn certificates(pairs: &[&Pair]) -> String {
    let tables = pairs.iter().map(|pair| {
        format!(
            "[[routers.front.listeners.certificates]]\ncertificate = \"{}\"\nkey = \"{}\"\n",
            pair.certificate, pair.key
        )
    });
    tables.collect()
}

fn listener(address: SocketAddr, lines: &str) -> String {
    format!("[[routers.front.listeners]]\naddress = \"{address}\"\n{lines}\n")
}

fn cluster(name: &str, address: SocketAddr, lines: &str) -> String {
    format!(
        "[clusters.{name}.probe]\ninterval_ms = 100\nrise = 1\n[clusters.{name}.members.one]\naddress = \"{address}\"\n{lines}\n"
    )
}

/// curl asks `https://NAME:PORT/...` at `address`.
fn ask(address: SocketAddr, authority: &Authority, name: &str, path: &str, more: &[&str]) -> String {
    let port = address.port();
    let resolve = format!("{name}:{port}:127.0.0.1");
    let url = format!("https://{name}:{port}{path}");
    curl(&[&["--cacert", &authority.file, "--resolve", &resolve, &url], more].concat())
}

#[test]
fn clients_of_all_kinds_get_the_certificate_of_the_name_that_they_ask_for() {
    let scratch = Scratch::new();
    let authority = Authority::new(&scratch, "shop");
    let first = authority.sign(&scratch, "first", &["shop.example"]);
    let second = authority.sign(&scratch, "second", &["*.images.example"]);
    let (member, secure) = (free_address(), free_address());
    let _nginx = nginx(&scratch, &[(member, "", "")]);
    let log = scratch.join("access.log");
    let log_table =
        format!("[routers.front.access_log]\nformat = \"json\"\npath = \"{}\"\n\n", log.display());
    let tables =
        log_table + &listener(secure, "") + &certificates(&[&first, &second]) + &cluster("web", member, "");
    let cell = Cell::start(&scratch, &tables);
    cell.wait_until_all_up("web");
    for how in [
        &["--http1.0"][..],
        &["--http1.1"],
        &["--http2"],
        &["--http1.1", "--tlsv1.3"],
        &["--http1.1", "--tls-max", "1.2"],
    ] {
        for name in ["shop.example", "a.images.example"] {
            let said = ask(secure, &authority, name, "/", how);
            assert!(said.contains("for=127.0.0.1 proto=https"), "{how:?}: {said}");
        }
    }
    for (how, wanted) in [("--http2", "2 200"), ("--http1.1", "1.1 200"), ("--http1.0", "1.1 200")] {
        let format = ["--output", "/dev/null", "--write-out", "%{http_version} %{http_code}", how];
        assert_eq!(ask(secure, &authority, "shop.example", "/", &format), wanted, "{how}");
    }
    let large = ask(
        secure,
        &authority,
        "shop.example",
        "/large",
        &["--http1.1", "--output", "/dev/null", "--write-out", "%{size_download}"],
    );
    assert_eq!(large, "1000000");
    let status = ["--output", "/dev/null", "--write-out", "%{http_code}", "--http1.1"];
    // A host of another certificate must not come this way; one of the same may.
    let other = [&status[..], &["--header", "Host: a.images.example"]].concat();
    assert_eq!(ask(secure, &authority, "shop.example", "/", &other), "421");
    let unknown = [&status[..], &["--header", "Host: unknown.example"]].concat();
    assert_eq!(ask(secure, &authority, "shop.example", "/", &unknown), "200");
    let plain = curl(&["--write-out", "%{http_code}", &format!("http://{secure}/")]);
    assert!(plain.contains("This port speaks TLS") && plain.ends_with("400"), "HTTP without TLS: {plain}");
    let (log, plain) = wait_for("the router to write a line for it", || {
        let log = std::fs::read_to_string(&log).map_err(|error| error.to_string())?;
        let plain = log.lines().find(|line| line.contains("\"status\":400")).map(str::to_owned);
        plain.map(|plain| (log.clone(), plain)).ok_or(log)
    });
    assert!(!plain.contains("TLSv1"), "{plain}");
    assert!(log.contains("TLSv1.3"), "{log}");
    cell.stop();
}

#[test]
fn clients_prove_who_they_are_and_members_hear_of_it() {
    let scratch = Scratch::new();
    let (authority, clients) = (Authority::new(&scratch, "shop"), Authority::new(&scratch, "clients"));
    let own = authority.sign(&scratch, "own", &["shop.example"]);
    let known = clients.sign(&scratch, "known", &["client"]);
    let stranger = authority.sign(&scratch, "stranger", &["client"]);
    let (member, secure, optional) = (free_address(), free_address(), free_address());
    let _nginx = nginx(&scratch, &[(member, "", "")]);
    let lines = format!("client_authorities = \"{}\"\nclient_header = \"Client-Cert\"\n", clients.file);
    let tables = listener(secure, &format!("{lines}client_required = true"))
        + &certificates(&[&own])
        + &listener(optional, &lines)
        + &certificates(&[&own])
        + &cluster("web", member, "");
    let cell = Cell::start(&scratch, &tables);
    cell.wait_until_all_up("web");
    let with = |pair: &Pair| {
        vec!["--cert".to_owned(), pair.certificate.clone(), "--key".to_owned(), pair.key.clone()]
    };
    let ask_with = |address, pair: &Pair| {
        let with = with(pair);
        let with: Vec<&str> = with.iter().map(String::as_str).collect();
        ask(
            address,
            &authority,
            "shop.example",
            "/",
            &[&["--header", "Client-Cert: :forged:"], &with[..]].concat(),
        )
    };
    for address in [secure, optional] {
        let said = ask_with(address, &known);
        assert!(said.contains("cert=:MII") && !said.contains("forged"), "{said}");
    }
    let without = ask(optional, &authority, "shop.example", "/", &["--header", "Client-Cert: :forged:"]);
    assert!(without.contains("cert= "), "{without}");
    let plain = curl(&["--header", "Client-Cert: :forged:", &format!("http://{}/", cell.router)]);
    assert!(plain.contains("cert= "), "{plain}");
    let port = secure.port();
    // Again and again: what it has sent already must not take the reason from the client.
    for pair in [None, Some(&stranger)].repeat(6) {
        let mut command = Command::new(program("curl"));
        command.args(["--silent", "--show-error", "--max-time", "10"]);
        command.args(["--cacert", &authority.file, "--resolve"]);
        command.arg(format!("shop.example:{port}:127.0.0.1")).arg(format!("https://shop.example:{port}/"));
        command.args(pair.map(with).unwrap_or_default());
        let output = command.output().expect("curl runs");
        let said = String::from_utf8_lossy(&output.stderr);
        let wanted = if pair.is_none() { "alert certificate required" } else { "alert unknown ca" };
        assert!(!output.status.success() && said.contains(wanted), "{pair:?}: {said}");
    }
    cell.stop();
}

/// Subject of the certificate that a client is shown.
fn shown(address: SocketAddr) -> Result<String, String> {
    let mut command = Command::new(program("openssl"));
    command.args(["s_client", "-connect", &address.to_string(), "-servername", "shop.example"]);
    let output = command.stdin(Stdio::null()).output().map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let subject = text.lines().find_map(|line| line.strip_prefix("subject="));
    subject.map(|subject| subject.trim().to_owned()).ok_or(text)
}

/// Sentences of the cell's events.
fn told(cell: &Cell) -> String {
    cell.events().into_iter().map(|event| format!("{}\n", event.text)).collect()
}

#[test]
fn certificates_change_in_place_and_a_broken_one_changes_nothing() {
    let scratch = Scratch::new();
    let authority = Authority::new(&scratch, "shop");
    let pair = authority.sign(&scratch, "old", &["shop.example"]);
    let (member, secure) = (free_address(), free_address());
    let _nginx = nginx(&scratch, &[(member, "", "")]);
    let tables = listener(secure, "") + &certificates(&[&pair]) + &cluster("web", member, "");
    let cell = Cell::start(&scratch, &tables);
    cell.wait_until_all_up("web");
    assert!(shown(secure).expect("a certificate").ends_with("= old"));
    // A conversation that goes on while the certificate changes.
    let mut command = Command::new(program("openssl"));
    command.args(["s_client", "-quiet", "-connect", &secure.to_string(), "-servername", "shop.example"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut old = command.spawn().expect("openssl runs");
    let request = b"GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n";
    let (mut to, mut from) = (old.stdin.take().expect("piped"), old.stdout.take().expect("piped"));
    to.write_all(request).expect("it reads");
    let mut answer = [0; 4096];
    assert!(from.read(&mut answer).expect("an answer") > 0);

    let fresh = authority.sign(&scratch, "fresh", &["shop.example"]);
    std::fs::rename(&fresh.key, &pair.key).expect("ours");
    std::fs::rename(&fresh.certificate, &pair.certificate).expect("ours");
    wait_for("the new certificate", || {
        shown(secure).and_then(|it| if it.ends_with("= fresh") { Ok(()) } else { Err(it) })
    });
    to.write_all(request).expect("it reads");
    let count = from.read(&mut answer).expect("an answer");
    assert!(answer[..count].starts_with(b"HTTP/1.1 200"), "the old connection goes on");
    drop(to);
    old.kill().expect("it runs");
    old.wait().expect("it ends");

    std::fs::write(&pair.certificate, "no certificate").expect("ours");
    wait_for("the problem to be told", || {
        let told = told(&cell);
        if told.contains("holds no certificate") { Ok(()) } else { Err(told) }
    });
    assert!(shown(secure).expect("a certificate").ends_with("= fresh"));
    let said = cell.muster(&["check"]);
    assert!(said.talk.contains("M1030") && said.talk.contains("certificates[0].certificate"), "{said:?}");
    authority.sign(&scratch, "old", &["shop.example"]);
    wait_for("the certificate after it", || {
        shown(secure).and_then(|it| if it.ends_with("= old") { Ok(()) } else { Err(it) })
    });
    cell.stop();
}

#[test]
fn members_prove_who_they_are_and_get_our_certificate() {
    let scratch = Scratch::new();
    let (members, ours) = (Authority::new(&scratch, "members"), Authority::new(&scratch, "ours"));
    let pair = members.sign(&scratch, "member", &["member.internal"]);
    let own = ours.sign(&scratch, "router", &["router"]);
    let (strict, other) = (free_address(), free_address());
    let lines = format!(
        "ssl_certificate {}; ssl_certificate_key {}; ssl_session_cache shared:one:1m; ssl_protocols TLSv1.2 TLSv1.3;",
        pair.certificate, pair.key
    );
    let with_client = format!("{lines} ssl_client_certificate {}; ssl_verify_client on;", ours.file);
    let _nginx = nginx(&scratch, &[(strict, "ssl", &with_client), (other, "ssl", &lines)]);
    let tls = |rest: &str| format!("tls = true\ntls_server_name = \"member.internal\"\n{rest}\n");
    let by_ours = format!("tls_authorities = \"{}\"\n", members.file);
    let certificate = format!("tls_certificate = \"{}\"\ntls_key = \"{}\"\n", own.certificate, own.key);
    let route = |path: &str, cluster: &str| {
        format!("[[routers.front.routes]]\npath = \"{path}\"\ncluster = \"{cluster}\"\n")
    };
    let wrong = format!("tls_authorities = \"{}\"\n", ours.file);
    let misnamed = format!("tls = true\ntls_server_name = \"another.internal\"\n{by_ours}");
    let tables = route("/", "strict")
        + &route("/large", "large")
        + &route("/wrong", "wrong")
        + &route("/misnamed", "misnamed")
        + &route("/any", "any")
        + &cluster("strict", strict, &tls(&(by_ours.clone() + &certificate)))
            .replace("interval_ms", "path = \"/\"\ninterval_ms")
        + &cluster("large", other, &tls(&by_ours))
        + &cluster("wrong", other, &tls(&wrong))
        + &cluster("misnamed", other, &misnamed)
        + &cluster("any", other, "tls = true\ntls_unverified = true\n");
    let cell = Cell::start(&scratch, &tables);
    for name in ["strict", "large", "wrong", "misnamed", "any"] {
        cell.wait_until_all_up(name);
    }
    let url = format!("http://{}/", cell.router);
    let said = curl(&[&url, &url, &url]);
    assert!(said.contains("tls=TLSv1.3 client=SUCCESS name=member.internal"), "{said}");
    assert!(said.contains("requests=3"), "a connection is used again: {said}");
    let status = |path: &str| {
        let url = format!("http://{}{path}", cell.router);
        curl(&["--output", "/dev/null", "--write-out", "%{http_code} %{size_download}", &url])
    };
    assert_eq!(status("/large"), "200 1000000");
    assert!(status("/wrong").starts_with("503"));
    assert!(status("/misnamed").starts_with("503"));
    assert!(status("/any").starts_with("404"), "nginx has no such file, and was asked");
    let said = cell.muster(&["check"]);
    assert!(said.talk.contains("tls_unverified") && said.talk.contains("any/one"), "{said:?}");
    cell.stop();
}

#[test]
fn the_proxy_protocol_tells_who_the_client_is_on_both_sides() {
    let scratch = Scratch::new();
    let authority = Authority::new(&scratch, "shop");
    let pair = authority.sign(&scratch, "own", &["shop.example"]);
    let (member, told) = (free_address(), free_address());
    let (first, secure, second, before) = (free_address(), free_address(), free_address(), free_address());
    let _nginx = nginx(&scratch, &[(member, "", ""), (told, "proxy_protocol", "")]);
    let config = format!(
        "defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 5s\n  timeout server 5s\n\
         listen v1\n  bind {before}\n  server muster {first} send-proxy\n\
         listen v2\n  bind {second}\n  server muster {secure} send-proxy-v2\n"
    );
    let config = scratch.write("haproxy.cfg", &config);
    let tables = listener(first, "proxy_protocol = true")
        + &listener(secure, "proxy_protocol = true")
        + &certificates(&[&pair])
        + "[[routers.front.routes]]\ncluster = \"web\"\n[[routers.front.routes]]\nhost = \"told\"\ncluster = \"told\"\n"
        + &cluster("web", member, "")
        + &cluster("told", told, "proxy_protocol = true").replace("interval_ms", "path = \"/\"\ninterval_ms");
    let cell = Cell::start(&scratch, &tables);
    cell.wait_until_all_up("web");
    cell.wait_until_all_up("told");
    let mut command = Command::new(program("haproxy"));
    command.arg("-f").arg(config);
    let mut haproxy = Running::start("haproxy", &mut command, &scratch.join("haproxy.log"));
    wait_until_listening(before, &mut haproxy);
    // Another address of this machine, so that it is not the one of HAProxy's own connection.
    let said = curl(&["--interface", "127.0.0.7", &format!("http://{before}/")]);
    assert!(said.contains("for=127.0.0.7 proto=http "), "{said}");
    let said = ask(second, &authority, "shop.example", "/", &["--interface", "127.0.0.8"]);
    assert!(said.contains("for=127.0.0.8 proto=https"), "{said}");
    let url = format!("http://{before}/");
    let said = curl(&["--interface", "127.0.0.9", "--header", "Host: told", &url, &url]);
    assert_eq!(said.matches("proxy=127.0.0.9").count(), 2, "{said}");
    assert!(!said.contains("requests=2"), "connections that name a client are not shared: {said}");
    // Without a header there is no client to serve.
    let mut stranger = TcpStream::connect(first).expect("it listens");
    stranger.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").expect("it reads");
    let mut answer = Vec::new();
    let _ = stranger.read_to_end(&mut answer);
    assert!(answer.is_empty(), "{}", String::from_utf8_lossy(&answer));
    cell.stop();
}

/// A server that answers each byte with its successor and ends when the client does.
fn successor() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    std::thread::spawn(move || {
        for caller in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                let (mut from, mut to) = (caller.try_clone().expect("a second handle"), caller);
                let mut bytes = vec![0; 65_536];
                while let Ok(count @ 1..) = from.read(&mut bytes) {
                    bytes[..count].iter_mut().for_each(|byte| *byte = byte.wrapping_add(1));
                    if to.write_all(&bytes[..count]).is_err() {
                        return;
                    }
                }
                let _ = to.write_all(b"end");
            });
        }
    });
    address
}

#[test]
fn tcp_goes_both_ways_with_and_without_tls_and_tls_passes_through_by_its_name() {
    let scratch = Scratch::new();
    let authority = Authority::new(&scratch, "shop");
    let pair = authority.sign(&scratch, "own", &["shop.example"]);
    let behind = authority.sign(&scratch, "behind", &["behind.example"]);
    let (plain, secure, passing, web) = (free_address(), free_address(), free_address(), free_address());
    let lines = format!("ssl_certificate {}; ssl_certificate_key {};", behind.certificate, behind.key);
    let nginx = nginx(&scratch, &[(web, "ssl", &lines)]);
    let tcp = "protocol = \"tcp\"\ncluster = \"next\"";
    let dead = free_address();
    let tables = listener(plain, tcp)
        + &listener(secure, tcp)
        + &certificates(&[&pair])
        + &listener(passing, "protocol = \"tls\"")
        + "[[routers.front.listeners.server_names]]\nname = \"*.example\"\ncluster = \"web\"\n"
        + "[[routers.front.routes]]\ncluster = \"web\"\n"
        + &cluster("next", successor(), "")
        + &format!("[clusters.next.members.dead]\naddress = \"{dead}\"\n")
        + &cluster("web", web, "");
    let cell = Cell::start(&scratch, &tables);
    cell.wait_for_state("next", "one", wire::view::RunState::Up);
    cell.wait_until_all_up("web");
    // More than any buffer, so that both ways must move at once; then our end, and the member's last words.
    let mut client = TcpStream::connect(plain).expect("it listens");
    let sent: Vec<u8> = (0..8_000_000_u32).map(|at| (at % 251) as u8).collect();
    let mut writer = client.try_clone().expect("a second handle");
    let to_send = sent.clone();
    let writing = std::thread::spawn(move || {
        writer.write_all(&to_send).expect("it reads");
        writer.shutdown(std::net::Shutdown::Write).expect("open");
    });
    let mut received = Vec::new();
    client.read_to_end(&mut received).expect("it answers");
    writing.join().expect("no panic");
    let (body, last) = received.split_at(sent.len());
    assert_eq!(last, b"end");
    assert!(body.iter().zip(&sent).all(|(came, went)| *came == went.wrapping_add(1)));
    let mut command = Command::new(program("openssl"));
    command.args(["s_client", "-quiet", "-verify_return_error", "-CAfile", &authority.file]);
    command.args(["-connect", &secure.to_string(), "-servername", "shop.example"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut client = command.spawn().expect("openssl runs");
    client.stdin.as_mut().expect("piped").write_all(b"HAL").expect("it reads");
    let mut answer = [0; 3];
    client.stdout.as_mut().expect("piped").read_exact(&mut answer).expect("an answer");
    assert_eq!(&answer, b"IBM");
    drop(client.stdin.take());
    // It would not end by itself: -quiet goes on after the end of its input.
    client.kill().expect("it runs");
    client.wait().expect("it ends");
    let said = ask(passing, &authority, "behind.example", "/", &[]);
    assert!(said.contains("name=behind.example"), "{said}");
    let port = passing.port();
    let mut command = Command::new(program("curl"));
    command.args(["--silent", "--insecure", "--max-time", "10", "--resolve"]);
    command.arg(format!("other.net:{port}:127.0.0.1")).arg(format!("https://other.net:{port}/"));
    assert!(!command.status().expect("curl runs").success(), "nobody is for that name");
    wait_for("connections to be counted", || {
        let count = cell.member("next", "one").requests;
        if count >= 2 { Ok(()) } else { Err(format!("{count}")) }
    });
    nginx.signal(Signal::TERM);
    cell.stop();
}

/// testssl.sh looks at protocols, ciphers, and for the known attacks; all of it without leaving this machine.
#[test]
fn testssl_finds_nothing_worse_than_low() {
    let scratch = Scratch::new();
    let authority = Authority::new(&scratch, "shop");
    let pair = authority.sign(&scratch, "own", &["localhost"]);
    let (member, secure) = (free_address(), free_address());
    let _nginx = nginx(&scratch, &[(member, "", "")]);
    let tables = listener(secure, "") + &certificates(&[&pair]) + &cluster("web", member, "");
    let cell = Cell::start(&scratch, &tables);
    cell.wait_until_all_up("web");
    let found = scratch.join("testssl.csv");
    let mut command = Command::new(program("testssl"));
    command.args(["--quiet", "--color", "0", "--warnings", "off", "--nodns", "none", "--ip", "127.0.0.1"]);
    // What the certificate lacks to be one of the internet (revocation, transparency) is not the router's.
    command.args(["--protocols", "--std", "--fs", "--server-preference", "--vulnerable"]);
    command.arg("--csvfile").arg(&found).arg(format!("localhost:{}", secure.port()));
    let output = command.stdin(Stdio::null()).output().expect("testssl.sh runs");
    let said = String::from_utf8_lossy(&output.stdout);
    let text = std::fs::read_to_string(&found).unwrap_or_else(|error| panic!("{error}: {said}"));
    assert!(text.contains("\"TLS1_3\"") && text.lines().count() > 40, "{said}\n{text}");
    let grave = |line: &&str| {
        ["MEDIUM", "HIGH", "CRITICAL", "FATAL"].iter().any(|grade| line.contains(&format!("\"{grade}\"")))
    };
    let findings: Vec<&str> = text.lines().filter(grave).collect();
    assert!(findings.is_empty(), "{findings:#?}");
    cell.stop();
}

/// openssl makes a request in one connection; what it said of the connection, and of what came back.
fn session(address: SocketAddr, more: &[&str]) -> String {
    let mut command = Command::new(program("openssl"));
    // -ign_eof: it goes on reading until we have answered and closed, so that it also gets its tickets.
    command.args(["s_client", "-ign_eof", "-connect", &address.to_string(), "-servername", "shop.example"]);
    let mut client = command
        .args(more)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("openssl runs");
    let request = b"GET / HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n";
    client.stdin.take().expect("piped").write_all(request).expect("it reads");
    let output = client.wait_with_output().expect("it ends");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn sessions_go_on_in_new_connections_of_clients() {
    let scratch = Scratch::new();
    let authority = Authority::new(&scratch, "shop");
    let pair = authority.sign(&scratch, "own", &["shop.example"]);
    let (member, secure) = (free_address(), free_address());
    let _nginx = nginx(&scratch, &[(member, "", "")]);
    let tables = listener(secure, "") + &certificates(&[&pair]) + &cluster("web", member, "");
    let cell = Cell::start(&scratch, &tables);
    cell.wait_until_all_up("web");
    let kept = scratch.join("session.pem");
    let kept = kept.to_str().expect("a path of text");
    for version in ["-tls1_3", "-tls1_2"] {
        let first = session(secure, &[version, "-sess_out", kept]);
        assert!(first.contains("New, TLSv1") && first.contains("HTTP/1.1 200"), "{version}: {first}");
        // With a connection of another kind in between: the ticket holds all that is needed.
        assert!(session(secure, &[version]).contains("New, TLSv1"), "{version}");
        let again = session(secure, &[version, "-sess_in", kept]);
        assert!(again.contains("Reused, TLSv1") && again.contains("HTTP/1.1 200"), "{version}: {again}");
    }
    // Each of its five further connections goes on with the first one's session.
    let mut command = Command::new(program("openssl"));
    command.args(["s_client", "-reconnect", "-tls1_2", "-servername", "shop.example"]);
    command.args(["-connect", &secure.to_string()]).stdin(Stdio::null());
    let said = command.output().expect("openssl runs").stdout;
    let said = String::from_utf8_lossy(&said);
    assert_eq!((said.matches("New, TLSv1").count(), said.matches("Reused, TLSv1").count()), (1, 5), "{said}");
    cell.stop();
}

#[test]
fn sessions_go_on_in_new_connections_to_members() {
    let scratch = Scratch::new();
    let authority = Authority::new(&scratch, "members");
    let pair = authority.sign(&scratch, "member", &["member.internal"]);
    let (old, new) = (free_address(), free_address());
    // Each request has a connection of its own.
    let lines = format!(
        "ssl_certificate {}; ssl_certificate_key {}; ssl_session_cache shared:one:1m; keepalive_requests 1;",
        pair.certificate, pair.key
    );
    let (lines_old, lines_new) =
        (lines.clone() + " ssl_protocols TLSv1.2;", lines + " ssl_protocols TLSv1.3;");
    let _nginx = nginx(&scratch, &[(old, "ssl", &lines_old), (new, "ssl", &lines_new)]);
    let tls = format!(
        "tls = true\ntls_server_name = \"member.internal\"\ntls_authorities = \"{}\"\n",
        authority.file
    );
    let route = |name: &str| format!("[[routers.front.routes]]\nhost = \"{name}\"\ncluster = \"{name}\"\n");
    let tables = route("old") + &route("new") + &cluster("old", old, &tls) + &cluster("new", new, &tls);
    let cell = Cell::start(&scratch, &tables);
    for (name, version) in [("old", "TLSv1.2"), ("new", "TLSv1.3")] {
        cell.wait_until_all_up(name);
        let header = format!("Host: {name}");
        let url = format!("http://{}/", cell.router);
        let said: Vec<String> = (0..4).map(|_| curl(&["--header", &header, &url])).collect();
        assert!(said.iter().all(|said| said.contains(&format!("tls={version} "))), "{said:?}");
        assert!(said.iter().all(|said| said.contains("requests=1 ")), "{said:?}");
        // Each of the router's threads makes a first one.
        assert!(said.iter().any(|said| said.contains("reused=r ")), "{said:?}");
        assert!(said[0].contains("reused=. "), "the first has nothing to go on with: {said:?}");
    }
    cell.stop();
}

#[test]
fn a_member_speaks_http2_over_tls_with_clients_of_all_versions() {
    let scratch = Scratch::new();
    let authority = Authority::new(&scratch, "shop");
    let own = authority.sign(&scratch, "own", &["shop.example"]);
    let pair = authority.sign(&scratch, "member", &["member.internal"]);
    let (secure, member, other) = (free_address(), free_address(), free_address());
    let lines = format!(
        "ssl_certificate {}; ssl_certificate_key {}; ssl_protocols TLSv1.2 TLSv1.3;",
        pair.certificate, pair.key
    );
    let _nginx = nginx(&scratch, &[(member, "ssl http2", &lines), (other, "ssl", &lines)]);
    let tls = format!(
        "http2 = true\ntls = true\ntls_server_name = \"member.internal\"\ntls_authorities = \"{}\"\n",
        authority.file
    );
    let tables = listener(secure, "")
        + &certificates(&[&own])
        + "[[routers.front.routes]]\npath = \"/other\"\ncluster = \"other\"\n"
        + "[[routers.front.routes]]\ncluster = \"web\"\n"
        + &cluster("web", member, &tls)
        + &cluster("other", other, &tls);
    let cell = Cell::start(&scratch, &tables);
    cell.wait_until_all_up("web");
    cell.wait_until_all_up("other");
    for how in ["--http1.1", "--http2"] {
        let said = ask(secure, &authority, "shop.example", "/", &[how]);
        assert!(said.contains("tls=TLSv1.3 ") && said.contains("version=HTTP/2.0"), "{how}: {said}");
        let format = ["--output", "/dev/null", "--write-out", "%{http_code} %{size_download}", how];
        assert_eq!(ask(secure, &authority, "shop.example", "/large", &format), "200 1000000", "{how}");
        // A member that does not agree on HTTP/2 is not spoken to in it.
        let status = ["--output", "/dev/null", "--write-out", "%{http_code}", how];
        assert_eq!(ask(secure, &authority, "shop.example", "/other", &status), "503", "{how}");
    }
    let plain = curl(&["--http2-prior-knowledge", &format!("http://{}/", cell.router)]);
    assert!(plain.contains("version=HTTP/2.0"), "{plain}");
    cell.stop();
}

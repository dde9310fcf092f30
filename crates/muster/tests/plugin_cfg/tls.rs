//! TLS on both sides of a router that serves from a file: an HTTPS front, and servers with https transports.

use super::files::{Cluster, File, Server};
use super::support::certificates::{Authority, Pair};
use super::support::clients::curl;
use super::support::scripted::{Scripted, answer};
use super::support::{Scratch, free_address, wait_until_listening};
use super::{Router, counts};
use std::net::SocketAddr;

/// A router that listens for TLS too, and who signs for it and its servers.
struct Front {
    router: Router,
    secure: SocketAddr,
    authority: Authority,
}

impl Front {
    /// `file` gets the directory in which keyrings are.
    fn start(file: impl FnOnce(&Scratch, &Authority) -> File, more: &[&str]) -> Self {
        let scratch = Scratch::new();
        let authority = Authority::new(&scratch, "test");
        let own = authority.sign(&scratch, "front", &["localhost"]);
        let file = file(&scratch, &authority);
        let secure = free_address();
        let address = secure.to_string();
        let mut all = vec!["--listen-tls", &address, "--certificate", &own.certificate, "--key", &own.key];
        all.extend(more);
        let mut router = Router::with(scratch, &file, &all);
        wait_until_listening(secure, &mut router.process);
        Self { router, secure, authority }
    }

    fn url(&self) -> String {
        format!("https://localhost:{}/", self.secure.port())
    }

    /// What the front answers over TLS.
    fn get(&self, more: &[&str]) -> String {
        let url = self.url();
        let mut all = vec!["--noproxy", "*", "--http1.1", "--ipv4", "--cacert", &self.authority.file];
        all.extend(more);
        all.push(&url);
        curl(&all)
    }
}

/// The authority beside a keyring that cannot be read.
fn keyring(scratch: &Scratch, authority: &Authority) -> String {
    std::fs::copy(&authority.file, scratch.join("plugin-key.pem")).expect("the directory is ours");
    scratch.join("plugin-key.kdb").display().to_string()
}

fn member(scratch: &Scratch, authority: &Authority, name: &'static str) -> Scripted {
    let pair = authority.sign(scratch, name, &["localhost"]);
    Scripted::with_tls(&pair, move |_| answer(name))
}

#[test]
fn protocol_https_gets_what_came_by_tls_and_http_the_rest() {
    let plain = Scripted::named("plain");
    let mut secure = None;
    let front = Front::start(
        |scratch, authority| {
            let by_tls = member(scratch, authority, "by-tls");
            let server = Server::without_transport("a")
                .transport("http", "127.0.0.1", plain.address.port())
                .secure_transport("localhost", by_tls.address.port(), &keyring(scratch, authority));
            secure = Some(by_tls);
            File::simple(Cluster::new("A").server(server))
        },
        &[],
    );
    for _ in 0..3 {
        assert_eq!(front.get(&[]), "by-tls");
        assert_eq!(front.router.get("/").text(), "plain");
    }
    let got = secure.expect("the file names it").take();
    // One connection of its own is kept for all of them: no handshake for each request.
    assert_eq!(got.iter().map(|got| got.connection).collect::<Vec<_>>(), [0, 0, 0]);
    let port = front.secure.port().to_string();
    for (name, expected) in [
        ("$WSIS", Some("true")),
        ("$WSSC", Some("https")),
        ("$WSSN", Some("localhost")),
        ("$WSSP", Some(port.as_str())),
        ("$WSCS", Some("TLS_AES_128_GCM_SHA256")),
        ("$WSCC", None),
        ("$WSSI", None),
    ] {
        assert_eq!(got[0].header(name), expected, "{name} in {}", got[0].head);
    }
    let got = plain.take();
    assert_eq!((got[0].header("$WSIS"), got[0].header("$WSCS")), (Some("false"), None), "{}", got[0].head);
}

#[test]
fn protocol_https_alone_is_used_for_all_requests_and_http_alone_too() {
    let plain = Scripted::named("plain");
    let front = Front::start(
        |scratch, authority| {
            let by_tls = member(scratch, authority, "by-tls");
            let server = Server::without_transport("a").secure_transport(
                "localhost",
                by_tls.address.port(),
                &keyring(scratch, authority),
            );
            File::new()
                .cluster(Cluster::new("A").server(server))
                .cluster(Cluster::new("B").server(Server::new("b", plain.address)))
                .hosts("any", &["*:*"])
                .hosts("plain", &["plain.example:*"])
                .uris("all", &["/*"])
                .route("A", "all", "any")
                .route("B", "all", "plain")
        },
        &[],
    );
    assert_eq!(front.router.get("/").text(), "by-tls");
    assert_eq!(front.get(&[]), "by-tls");
    assert_eq!(front.router.get_from("plain.example", "/").text(), "plain");
    assert_eq!(front.get(&["--header", "Host: plain.example"]), "plain");
}

/// A server behind https alone, with these files beside its keyring, and what a request for it is answered with.
fn status_with(put_beside: impl FnOnce(&Scratch, &Authority)) -> (u16, Router) {
    let scratch = Scratch::new();
    let authority = Authority::new(&scratch, "test");
    let by_tls = member(&scratch, &authority, "by-tls");
    put_beside(&scratch, &authority);
    let keyring = scratch.join("plugin-key.kdb").display().to_string();
    let server =
        Server::without_transport("a").secure_transport("localhost", by_tls.address.port(), &keyring);
    let router = Router::with(scratch, &File::simple(Cluster::new("A").server(server)), &[]);
    (router.get("/").status, router)
}

#[test]
fn keyring_has_its_authorities_in_a_pem_file_beside_it_and_no_other_is_believed() {
    let (status, _) = status_with(|scratch, authority| drop(keyring(scratch, authority)));
    assert_eq!(status, 200);
    let (status, router) =
        status_with(|scratch, _| drop(keyring(scratch, &Authority::new(scratch, "other"))));
    assert_eq!(status, 503);
    router.wait_for_log("TLS to a member failed");
}

#[test]
fn keyring_without_a_pem_file_is_told_of_and_its_server_is_not_believed_blindly() {
    let (status, router) = status_with(|_, _| {});
    assert_eq!(status, 503);
    router.wait_for_log("no PEM file is beside it");
    router.wait_for_log("plugin-key.pem");
}

#[test]
fn client_authorities_ask_for_a_certificate_and_servers_are_told_of_it() {
    let a = Scripted::named("a");
    let scratch = Scratch::new();
    let people = Authority::new(&scratch, "people");
    let Pair { certificate, key } = people.sign(&scratch, "person", &["person.example"]);
    let front = Front::start(
        |_, _| File::simple(Cluster::new("A").server(Server::new("a", a.address))),
        &["--client-authorities", &people.file],
    );
    assert_eq!(front.get(&["--cert", &certificate, "--key", &key]), "a");
    let pem = std::fs::read_to_string(&certificate).expect("it was written");
    let base64: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    let got = &a.take()[0];
    assert_eq!(got.header("$WSCC"), Some(base64.as_str()), "{}", got.head);
    // Without one, or by a plain connection, nobody can say to have one.
    assert_eq!(front.get(&["--header", "$WSCC: Zm9yZ2Vk"]), "a");
    front.router.get_with("/", &[("$WSCC", "Zm9yZ2Vk")]);
    assert!(a.take().iter().all(|got| got.header("$WSCC").is_none()));
}

#[test]
fn several_certificates_are_chosen_by_the_server_name() {
    let a = Scripted::named("a");
    let scratch = Scratch::new();
    let shop = Authority::new(&scratch, "shop");
    let pair = shop.sign(&scratch, "shop", &["shop.example"]);
    let front = Front::start(
        |_, _| File::simple(Cluster::new("A").server(Server::new("a", a.address))),
        &["--certificate", &pair.certificate, "--key", &pair.key],
    );
    assert_eq!(front.get(&[]), "a");
    let resolve = format!("shop.example:{}:127.0.0.1", front.secure.port());
    let url = format!("https://shop.example:{}/", front.secure.port());
    let answer = curl(&["--noproxy", "*", "--cacert", &shop.file, "--resolve", &resolve, &url]);
    assert_eq!(counts(&[answer], "a"), 1);
}

#[test]
fn listen_tls_with_files_that_do_not_fit_is_refused() {
    let scratch = Scratch::new();
    let authority = Authority::new(&scratch, "test");
    let (one, two) = (authority.sign(&scratch, "one", &["one"]), authority.sign(&scratch, "two", &["two"]));
    let a = Scripted::named("a");
    let file = File::simple(Cluster::new("A").server(Server::new("a", a.address)));
    scratch.write("plugin-cfg.xml", &file.to_string());
    for (more, wanted) in [
        (vec!["--certificate", &one.certificate, "--key", &two.key], "two.key"),
        (vec!["--certificate", &one.certificate], "--key"),
        (vec!["--certificate", &one.certificate, "--key", &one.key, "--key", &two.key], "each --certificate"),
        (vec!["--certificate", "/nowhere.pem", "--key", &one.key], "/nowhere.pem"),
    ] {
        let mut all = vec!["--listen-tls", "127.0.0.1:0"];
        all.extend(more);
        let mut refused = Router::launch(&scratch, free_address(), &all);
        assert_eq!(refused.wait(), Some(2), "{all:?}");
        assert!(refused.log().contains(wanted), "{all:?}: {}", refused.log());
    }
}

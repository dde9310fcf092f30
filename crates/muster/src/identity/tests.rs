//! What is made by an authority, kept in files and read again, is believed by TLS where it should be and nowhere else.

use super::authority::{Authority, Subject};
use super::*;
use rcgen::PublicKeyData;
use rustls::{ClientConnection, ServerConnection};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use wire::enrol::LINK_PROTOCOL;
use wire::link::{FromManager, LINK_VERSION, Role};

const LIFE: Duration = Duration::from_secs(3_600);

/// A state directory for a test.
fn place() -> Place {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let path = std::env::temp_dir().join(format!("muster-identity-{}-{number}", std::process::id()));
    drop(std::fs::remove_dir_all(&path));
    Place::of(&path)
}

fn cell() -> (Authority, Place) {
    let place = place();
    let authority = Authority::create(&place).expect("a new authority");
    authority.issue_own(&place, &"a".into(), LIFE).expect("its first certificate");
    (authority, place)
}

/// A node's directory, as if it had joined.
fn node(authority: &Authority, name: &str, issued_us: u64, life: Duration) -> Place {
    let place = place();
    place.create().expect("a directory");
    let key = KeyPair::generate().expect("a key");
    let node = name.into();
    let subject = Subject { node: &node, is_manager: false, issued_us, life };
    let certificate = authority.issue(&key, &subject).expect("a certificate");
    kept_file::write_text(&place.authority(), &pem_text(&authority.certificate)).expect("written");
    place.keep_identity(&certificate, &key).expect("written");
    place
}

/// Shakes hands in memory; the error is that of whoever fails first.
fn shake(
    server: Arc<rustls::ServerConfig>,
    client: Arc<rustls::ClientConfig>,
) -> Result<ServerConnection, rustls::Error> {
    let mut client = ClientConnection::new(client, tls::manager_name())?;
    let mut server = ServerConnection::new(server)?;
    for _ in 0..4 {
        let mut bytes = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut bytes).expect("memory");
        }
        server.read_tls(&mut bytes.as_slice()).expect("memory");
        server.process_new_packets()?;
        let mut bytes = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut bytes).expect("memory");
        }
        client.read_tls(&mut bytes.as_slice()).expect("memory");
        client.process_new_packets()?;
    }
    assert!(!server.is_handshaking());
    Ok(server)
}

fn clear(places: &[&Place]) {
    for place in places {
        std::fs::remove_dir_all(place.path().parent().expect("below the state directory")).expect("removed");
    }
}

#[test]
fn an_authority_is_made_once_and_read_again_and_nobody_else_reads_its_files() {
    let (made, place) = cell();
    assert!(matches!(Authority::create(&place), Err(IdentityError::InACell { .. })));
    let read = Authority::load(&place).expect("it is there");
    assert_eq!((&read.id, read.fingerprint()), (&made.id, made.fingerprint()));
    for file in [place.authority(), place.authority_key(), place.identity()] {
        let mode = std::fs::metadata(&file).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", file.display());
    }
    let own = load(&place).expect("an identity");
    assert_eq!((own.bearer.cell, own.bearer.node), (made.id, "a".into()));
    assert!(own.bearer.issued_us > 0 && own.not_after_s > crate::tls::now_s());
    clear(&[&place]);
}

#[test]
fn a_node_and_a_manager_of_one_cell_believe_each_other() {
    let (authority, manager) = cell();
    let b = node(&authority, "B_2", now_us(), LIFE);
    let server = tls::server_config(&load(&manager).expect("an identity")).expect("a configuration");
    let own = load(&b).expect("an identity");
    let client = tls::client_config(&own, LINK_PROTOCOL).expect("a configuration");
    let shaken = shake(server.clone(), client).expect("they believe each other");
    let shown = shaken.peer_certificates().and_then(|chain| bearer_of(&chain[0])).expect("a node's").0;
    assert_eq!(shown, own.bearer);
    assert_eq!(shaken.alpn_protocol(), Some(LINK_PROTOCOL));
    // Who joins knows the fingerprint alone, and has nothing to show.
    let joining = tls::joining_config(authority.fingerprint()).expect("a configuration");
    assert_eq!(shake(server, joining).expect("it believes it").peer_certificates(), None);
    clear(&[&manager, &b]);
}

#[test]
fn clocks_that_differ_by_an_hour_shut_nobody_out() {
    const HOUR_US: u64 = 3_600_000_000;
    let (authority, manager) = cell();
    let server = tls::server_config(&load(&manager).expect("an identity")).expect("a configuration");
    let month = Duration::from_secs(30 * 86_400);
    for issued_us in [now_us() - HOUR_US, now_us() + HOUR_US, now_us() + 23 * HOUR_US] {
        let b = node(&authority, "b", issued_us, month);
        let own = load(&b).expect("an identity");
        let client = tls::client_config(&own, LINK_PROTOCOL).expect("a configuration");
        shake(server.clone(), client).expect("they believe each other");
        // What is backdated is not renewed the sooner.
        let issued_s = i64::try_from(issued_us / 1_000_000).expect("it fits");
        assert_eq!(renewal::due_s(&own), issued_s + 20 * 86_400);
        clear(&[&b]);
    }
    let facts = certificate::read(&authority.certificate).expect("a certificate");
    assert!(facts.not_before_s <= crate::tls::now_s() - 23 * 3_600, "{facts:?}");
    clear(&[&manager]);
}

#[test]
fn a_managers_next_certificate_is_newer_whatever_its_clock_says() {
    let (authority, manager) = cell();
    let ahead_us = now_us() + 3_600_000_000;
    let key = KeyPair::generate().expect("a key");
    let subject = Subject { node: &"a".into(), is_manager: false, issued_us: ahead_us, life: LIFE };
    let certificate = authority.issue(&key, &subject).expect("a certificate");
    manager.keep_identity(&certificate, &key).expect("written");
    authority.issue_own(&manager, &"a".into(), LIFE).expect("the next one");
    assert!(
        load(&manager).expect("an identity").bearer.issued_us > ahead_us,
        "its record refuses older ones"
    );
    clear(&[&manager]);
}

/// It was a year ahead at a renewal, and is right again: what is made now follows on what was made then, and counts today.
#[test]
fn a_manager_whose_clock_was_far_ahead_is_believed_once_it_is_right_again() {
    let (authority, manager) = cell();
    let ahead_us = now_us() + 365 * 86_400_000_000;
    let key = KeyPair::generate().expect("a key");
    let subject = Subject { node: &"a".into(), is_manager: true, issued_us: ahead_us, life: LIFE };
    let certificate = authority.issue(&key, &subject).expect("a certificate");
    manager.keep_identity(&certificate, &key).expect("written");
    authority.issue_own(&manager, &"a".into(), LIFE).expect("the next one");
    let own = load(&manager).expect("an identity");
    assert!(own.bearer.issued_us > ahead_us, "its record refuses older ones");
    let facts = certificate::read(&own.certificate).expect("a certificate");
    assert!(facts.not_before_s <= crate::tls::now_s() - 23 * 3_600, "{facts:?}");
    let server = tls::server_config(&own).expect("a configuration");
    let b = node(&authority, "b", now_us(), LIFE);
    let client = tls::client_config(&load(&b).expect("an identity"), LINK_PROTOCOL).expect("a configuration");
    shake(server, client).expect("they believe each other");
    clear(&[&manager, &b]);
}

#[test]
fn strangers_old_certificates_and_nodes_that_play_manager_are_refused() {
    let ((authority, manager), (other, other_manager)) = (cell(), cell());
    let server = tls::server_config(&load(&manager).expect("an identity")).expect("a configuration");
    let link = |place: &Place| {
        tls::client_config(&load(place).expect("an identity"), LINK_PROTOCOL).expect("a configuration")
    };
    let fails = |server: &Arc<rustls::ServerConfig>, client| {
        shake(server.clone(), client).err().map_or("nothing".to_owned(), |error| error.to_string())
    };
    // Node and manager are of different cells; then the node believes the right one and is still not of it.
    let foreign = node(&other, "b", now_us(), LIFE);
    assert!(fails(&server, link(&foreign)).contains("invalid peer certificate"));
    kept_file::write_text(&foreign.authority(), &pem_text(&authority.certificate)).expect("written");
    assert!(fails(&server, link(&foreign)).contains("UnknownIssuer"), "{}", fails(&server, link(&foreign)));
    // It expired a minute ago.
    let minute_us = 60_000_000;
    let old = node(&authority, "b", now_us() - 2 * minute_us, Duration::from_secs(60));
    assert!(fails(&server, link(&old)).contains("expired"), "{}", fails(&server, link(&old)));
    // A node that answers in the manager's place.
    let b = node(&authority, "b", now_us(), LIFE);
    let playing = tls::server_config(&load(&b).expect("an identity")).expect("a configuration");
    let refused = fails(&playing, link(&node(&authority, "c", now_us(), LIFE)));
    assert!(refused.contains("server authentication"), "{refused}");
    let joining =
        |authority: &Authority| tls::joining_config(authority.fingerprint()).expect("a configuration");
    assert!(fails(&playing, joining(&authority)).contains("server authentication"));
    assert!(fails(&server, joining(&other)).contains("UnknownIssuer"));
    clear(&[&manager, &other_manager, &foreign, &old, &b]);
}

#[test]
fn what_is_no_identity_is_told_apart_from_none() {
    let place = place();
    assert!(matches!(load(&place), Err(IdentityError::None { .. })));
    assert!(matches!(Authority::load(&place), Err(IdentityError::NoAuthority { .. })));
    place.create().expect("a directory");
    std::fs::write(place.identity(), "nothing").expect("written");
    assert!(matches!(load(&place), Err(IdentityError::Files { .. })));
    // A certificate of somebody's that is no node's.
    let key = KeyPair::generate().expect("a key");
    assert_eq!(key.der_bytes(), key.public_key_raw());
    let params = rcgen::CertificateParams::new(vec!["shop.example".to_owned()]).expect("a name");
    let certificate = params.self_signed(&key).expect("a certificate");
    place.keep_identity(certificate.der(), &key).expect("written");
    kept_file::write_text(&place.authority(), &pem_text(certificate.der())).expect("written");
    assert!(matches!(load(&place), Err(IdentityError::Meaningless { .. })));
    clear(&[&place]);
}

/// How a manager behaves whom a node tries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manners {
    /// Its process is stopped: the kernel takes connections, and that is all.
    Stopped,
    /// It was stopped after the handshake.
    Silent,
    /// It welcomes whoever comes.
    Welcoming,
}

/// A manager of the cell, for as long as the listener is kept.
fn manager(server: Arc<rustls::ServerConfig>, manners: Manners) -> (String, std::net::TcpListener) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("an address");
    let address = listener.local_addr().expect("it is bound").to_string();
    let own = listener.try_clone().expect("a second handle");
    if manners == Manners::Stopped {
        return (address, own);
    }
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            listener.set_nonblocking(true).expect("it can be");
            let listener = tokio::net::TcpListener::from_std(listener).expect("it is a listener");
            let acceptor = tokio_rustls::TlsAcceptor::from(server);
            let mut kept = Vec::new();
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(mut stream) = acceptor.accept(stream).await else { continue };
                if manners == Manners::Welcoming {
                    let welcome = FromManager::Welcome { version: LINK_VERSION, generation: 7 };
                    // Whoever only wanted a connection has gone.
                    drop(crate::link::write_frame(&mut stream, &welcome).await);
                }
                kept.push(stream);
            }
        });
    });
    (address, own)
}

#[test]
fn a_manager_that_hangs_holds_nobody_for_long_where_there_is_another() {
    let (authority, place) = cell();
    let server = tls::server_config(&load(&place).expect("an identity")).expect("a configuration");
    let managers: Vec<(String, std::net::TcpListener)> =
        [Manners::Stopped, Manners::Silent, Manners::Welcoming]
            .map(|manners| manager(server.clone(), manners))
            .into();
    let b = node(&authority, "b", now_us(), LIFE);
    let addresses: Vec<String> = managers.iter().map(|(address, _)| address.clone()).collect();
    let membership = Membership { cell: "c".into(), node: "b".into(), managers: addresses.clone() };
    b.keep_membership(&membership).expect("written");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let tasks = tokio::task::LocalSet::new();
    runtime.block_on(tasks.run_until(async {
        // A call goes to the first that proves who it is.
        let stream = api::connect_to_any(&b).await.expect("the second manager shakes hands");
        let reached = stream.get_ref().0.peer_addr().expect("it is connected").to_string();
        assert_eq!(reached, addresses[1]);
        // A role stays with the first that answers.
        let (_stop, stopped) = tokio::sync::watch::channel(false);
        let role = Role::Router { node: "b".into(), router: "front".into() };
        let at = crate::link::ManagerAt::Cell(b.clone());
        let mut link = crate::link::follow(at, role, 0, None, stopped);
        let event = tokio::time::timeout(Duration::from_secs(60), link.events.recv()).await;
        let event = event.expect("one of them answers").expect("the link goes on");
        assert!(matches!(event, crate::link::LinkEvent::Connected { generation: 7 }), "{event:?}");
    }));
    clear(&[&place, &b]);
}

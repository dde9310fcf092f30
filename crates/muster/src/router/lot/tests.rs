//! Parked connections, with sessions and clients of their own on one thread.

use super::super::accept::take;
use super::super::core::Core;
use super::super::tests::stage;
use super::{Lot, SESSIONS_FREE, SESSIONS_MANY, park_at_us, watch_for_ever};
use crate::clock::Clock;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use wire::settings::Listener;

/// A thread's core with everything that wakes its sessions up, and clients that have just connected to it.
fn check(idle_ms: u64, clients: usize, story: impl AsyncFnOnce(Rc<Core>, Vec<TcpStream>)) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let mut settings = stage::settings();
        settings.timeouts.idle_ms = idle_ms;
        let core = Core::new(
            Clock::start(),
            Arc::new(settings),
            1,
            Lot::new(crate::router::lot::watcher().expect("an epoll")),
            Arc::default(),
        );
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn_local(core.waits.clone().sweep_for_ever());
        tasks.spawn_local(watch_for_ever(core.clone()));
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let mut connected = Vec::new();
        for _ in 0..clients {
            connected.push(TcpStream::connect(address).expect("somebody listens"));
            let (stream, peer) = listener.accept().expect("somebody connected");
            stream.set_nonblocking(true).expect("a socket");
            let stream = tokio::net::TcpStream::from_std(stream).expect("within a runtime");
            take(&core, &Listener::plain(address), stream, peer);
        }
        story(core, connected).await;
        tasks.shutdown().await;
    });
}

async fn until(is_so: impl Fn() -> bool) {
    let patience = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), patience).await.expect("not within a minute");
}

/// The answer's first line, read without keeping the router's thread from making it.
async fn first_line(client: &mut TcpStream) -> String {
    client.set_nonblocking(true).expect("a socket");
    let mut bytes = [0; 64];
    loop {
        match client.read(&mut bytes) {
            Ok(length) => return String::from_utf8_lossy(&bytes[..length.min(12)]).into_owned(),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                tokio::time::sleep(Duration::from_millis(1)).await
            }
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn sessions_beyond_the_first_few_are_parked_and_come_back_for_their_next_request() {
    check(60_000, SESSIONS_FREE + 20, async |core, mut clients| {
        until(|| core.lot.count() == 20).await;
        assert_eq!((core.waits.count(), core.connections()), (SESSIONS_FREE, SESSIONS_FREE + 20));
        for client in &mut clients {
            client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").expect("the router reads");
            // No route is known here, which is an answer too.
            assert_eq!(first_line(client).await, "HTTP/1.1 404");
        }
        assert_eq!(core.connections(), SESSIONS_FREE + 20);
        until(|| core.lot.count() == 20).await;
    });
}

#[test]
fn parked_connections_end_with_their_time_their_client_or_the_router() {
    check(5_000, SESSIONS_FREE + 3, async |core, mut clients| {
        until(|| core.lot.count() == 3).await;
        until(|| core.connections() == 0).await;
        assert!(clients.iter_mut().all(|client| matches!(client.read(&mut [0]), Ok(0))));
    });
    check(60_000, SESSIONS_FREE + 3, async |core, clients| {
        until(|| core.lot.count() == 3).await;
        drop(clients);
        until(|| core.connections() == 0).await;
    });
    check(60_000, SESSIONS_FREE + 3, async |core, _clients| {
        until(|| core.lot.count() == 3).await;
        core.lot.clear();
        assert_eq!(core.connections(), SESSIONS_FREE);
    });
}

#[test]
fn a_crowd_is_parked_sooner_than_a_few() {
    let (few, many) = (park_at_us(1_000_000, SESSIONS_MANY), park_at_us(1_000_000, SESSIONS_MANY + 1));
    assert!((1_500_000..1_640_000).contains(&few), "{few}");
    assert!((1_050_000..1_070_000).contains(&many), "{many}");
    assert_eq!(park_at_us(u64::MAX - 1, 1), u64::MAX);
}

/// Ten thousand of them are a third of a megabyte.
#[test]
fn a_parked_connection_is_small() {
    assert!(size_of::<super::Parked>() <= 32, "{} bytes", size_of::<super::Parked>());
}

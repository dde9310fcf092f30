//! Steady requests over HTTP/2 from clients that behave well: told to go, they finish what they have begun and make a new
//! connection. What such a client may not send again is lost if it fails.

use bytes::Bytes;
use h2::client::SendRequest;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

/// Requests under way on each connection.
const STREAMS: usize = 10;

#[derive(Debug, Default)]
struct Counts {
    answers: AtomicU64,
    connections: AtomicU64,
    must_stop: AtomicBool,
}

pub struct SteadyHttp2 {
    counts: Arc<Counts>,
    thread: JoinHandle<Vec<String>>,
}

impl SteadyHttp2 {
    pub fn start(router: SocketAddr, path: &'static str, connections: usize) -> Self {
        let counts = Arc::new(Counts::default());
        let shared = counts.clone();
        let thread = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let clients: Vec<_> = (0..connections)
                    .map(|_| tokio::spawn(ask_for_ever(router, path, shared.clone())))
                    .collect();
                let mut failures = Vec::new();
                for client in clients {
                    failures.extend(client.await.expect("it only notes what fails"));
                }
                failures
            })
        });
        Self { counts, thread }
    }

    pub fn answers(&self) -> u64 {
        self.counts.answers.load(Ordering::Relaxed)
    }

    /// Stops, and checks that no request has failed; gives how many connections it took.
    pub fn finish(self) -> u64 {
        self.counts.must_stop.store(true, Ordering::Relaxed);
        assert_eq!(self.thread.join().expect("it only notes what fails"), Vec::<String>::new());
        self.counts.connections.load(Ordering::Relaxed)
    }
}

async fn ask_for_ever(router: SocketAddr, path: &'static str, counts: Arc<Counts>) -> Vec<String> {
    let mut failures = Vec::new();
    while failures.is_empty() && !counts.must_stop.load(Ordering::Relaxed) {
        let connection = match connect(router).await {
            Ok(connection) => connection,
            Err(error) => return vec![format!("no connection: {error}")],
        };
        counts.connections.fetch_add(1, Ordering::Relaxed);
        let asking: Vec<_> =
            (0..STREAMS).map(|_| tokio::spawn(ask_on(connection.clone(), path, counts.clone()))).collect();
        drop(connection);
        for task in asking {
            failures.extend(task.await.expect("it only notes what fails"));
        }
    }
    failures
}

async fn connect(router: SocketAddr) -> Result<SendRequest<Bytes>, String> {
    let stream = tokio::net::TcpStream::connect(router).await.map_err(|error| error.to_string())?;
    let (client, connection) = h2::client::handshake(stream).await.map_err(|error| error.to_string())?;
    tokio::spawn(async move {
        // How it ends is seen by its requests.
        let _ = connection.await;
    });
    Ok(client)
}

/// One request after the other until the connection takes no more; what failed, if anything did.
async fn ask_on(
    mut connection: SendRequest<Bytes>,
    path: &'static str,
    counts: Arc<Counts>,
) -> Option<String> {
    while !counts.must_stop.load(Ordering::Relaxed) {
        // Nothing is sent where this fails.
        let Ok(ready) = connection.ready().await else { return None };
        connection = ready;
        match ask(&mut connection, path).await {
            Ok(200) => drop(counts.answers.fetch_add(1, Ordering::Relaxed)),
            Ok(status) => return Some(format!("status {status}")),
            // Beyond the last stream that the router takes: it says that it has not looked at it.
            Err(error) if is_unseen(&error) => return None,
            Err(error) => return Some(format!("{error:?}")),
        }
    }
    None
}

fn is_unseen(error: &h2::Error) -> bool {
    let is_sent_away =
        error.is_go_away() && error.is_remote() && error.reason() == Some(h2::Reason::NO_ERROR);
    // Neither the router nor the connection has said so: the crate knew of the goodbye before it sent anything.
    is_sent_away || (!error.is_io() && !error.is_reset() && !error.is_go_away())
}

async fn ask(connection: &mut SendRequest<Bytes>, path: &str) -> Result<u16, h2::Error> {
    let request = http::Request::builder().uri(format!("http://shop{path}")).body(());
    let (response, _) = connection.send_request(request.expect("a request"), true)?;
    let (head, mut body) = response.await?.into_parts();
    while let Some(data) = body.data().await {
        body.flow_control().release_capacity(data?.len())?;
    }
    Ok(head.status.as_u16())
}

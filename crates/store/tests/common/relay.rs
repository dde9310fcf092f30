//! A relay between a store and its server that cuts and freezes on command.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct State {
    /// Each cut ends the connections that there are.
    cuts: u64,
    is_frozen: bool,
}

struct Shared {
    state: watch::Sender<State>,
    /// Bytes until the next cut, both ways together.
    left: Mutex<Option<usize>>,
}

impl Shared {
    /// How many of these bytes pass, and whether the cut comes after them.
    fn take(&self, count: usize) -> (usize, bool) {
        let mut left = self.left.lock().expect("no holder panics");
        match left.take() {
            None => (count, false),
            Some(bytes) if bytes > count => {
                *left = Some(bytes - count);
                (count, false)
            }
            Some(bytes) => (bytes, true),
        }
    }

    fn cut(&self) {
        self.state.send_modify(|state| state.cuts += 1);
    }
}

pub struct Relay {
    pub port: u16,
    shared: Arc<Shared>,
    _task: JoinSet<()>,
}

impl Relay {
    pub async fn to(port: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port is free");
        let own = listener.local_addr().expect("it is bound").port();
        let shared = Arc::new(Shared { state: watch::channel(State::default()).0, left: Mutex::new(None) });
        let mut task = JoinSet::new();
        task.spawn(accept(listener, SocketAddr::from((Ipv4Addr::LOCALHOST, port)), shared.clone()));
        Self { port: own, shared, _task: task }
    }

    /// Cuts all connections after so many bytes more.
    pub fn cut_after(&self, bytes: usize) {
        *self.shared.left.lock().expect("no holder panics") = Some(bytes);
    }

    /// Passes nothing on, and keeps the connections.
    pub fn freeze(&self, is_frozen: bool) {
        self.shared.state.send_modify(|state| state.is_frozen = is_frozen);
    }

    pub fn cut(&self) {
        self.shared.cut();
    }
}

async fn accept(listener: TcpListener, server: SocketAddr, shared: Arc<Shared>) {
    let mut pumps = JoinSet::new();
    loop {
        let Ok((client, _)) = listener.accept().await else { return };
        // A server that is down is a connection that ends at once.
        let Ok(server) = TcpStream::connect(server).await else { continue };
        let (client_in, client_out) = client.into_split();
        let (server_in, server_out) = server.into_split();
        pumps.spawn(pump(client_in, server_out, shared.clone()));
        pumps.spawn(pump(server_in, client_out, shared.clone()));
        while pumps.try_join_next().is_some() {}
    }
}

async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, shared: Arc<Shared>) {
    let mut state = shared.state.subscribe();
    let begun = state.borrow().cuts;
    let mut buffer = [0; 1024];
    loop {
        let count = tokio::select! {
            read = from.read(&mut buffer) => read.unwrap_or(0),
            _ = state.wait_for(|state| state.cuts > begun) => return,
        };
        let open = state.wait_for(|state| !state.is_frozen || state.cuts > begun).await;
        if count == 0 || !open.is_ok_and(|state| state.cuts == begun) {
            return;
        }
        let (passed, is_cut) = shared.take(count);
        let written = to.write_all(&buffer[..passed]).await;
        if is_cut {
            shared.cut();
        }
        if is_cut || written.is_err() {
            return;
        }
    }
}

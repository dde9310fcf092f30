//! Listening sockets: one for each data thread and address, so that the kernel spreads connections.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

/// Connections that may wait to be accepted. 4,096: the kernel's own default bound (`net.core.somaxconn`).
const BACKLOG: i32 = 4096;

/// Binds `count` sockets to one address. With port 0 all get the same port that the first one found.
///
/// An address that another program holds is refused, although sockets that share a port could push in beside it.
pub fn bind(address: SocketAddr, count: usize) -> io::Result<(SocketAddr, Vec<TcpListener>)> {
    drop(socket(address, false)?);
    let first = socket(address, true)?;
    let address = first.local_addr()?;
    let mut listeners = vec![first];
    while listeners.len() < count {
        listeners.push(socket(address, true)?);
    }
    Ok((address, listeners))
}

/// Binds `count` more sockets to an address that this process holds already.
pub fn bind_beside(address: SocketAddr, count: usize) -> io::Result<Vec<TcpListener>> {
    (0..count).map(|_| socket(address, true)).collect()
}

fn socket(address: SocketAddr, is_shared: bool) -> io::Result<TcpListener> {
    let socket = socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    if is_shared {
        socket.set_reuse_port(true)?;
    }
    if address.is_ipv6() {
        // One socket for one family: the other is asked for by its own address.
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    if is_shared {
        socket.listen(BACKLOG)?;
    }
    Ok(socket.into())
}

/// What to do when accepting fails: wait for descriptors to become free rather than spin.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_is_taken_is_refused() {
        let (address, listeners) = bind("127.0.0.1:0".parse().expect("an address"), 3).expect("a free port");
        assert_eq!(listeners.len(), 3);
        assert!(listeners.iter().all(|listener| listener.local_addr().expect("bound") == address));
        assert_eq!(bind(address, 1).expect_err("taken").kind(), io::ErrorKind::AddrInUse);
    }
}

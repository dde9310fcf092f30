//! The service that fails over: gives back each datagram that it gets on its addresses, with who it is, and takes connections.
//!
//! It is this very program, started on hosts of the lab, because it starts in a millisecond. It may be bound to addresses
//! that are elsewhere now. The word `CLOSE` makes it deaf: its process goes on, and nobody is answered any more.

use crate::failure::{Doing, Outcome};
use rustix::net::sockopt::{set_ip_freebind, set_socket_reuseaddr};
use rustix::net::{AddressFamily, Shutdown, SocketType, bind, listen, shutdown, socket};
use rustix::time::{ClockId, clock_gettime};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::thread;

/// What makes it deaf.
pub const CLOSE: &[u8] = b"close";
/// Longest datagram: a number, or `CLOSE`.
const DATAGRAM_MAX: usize = 64;
const BACKLOG: i32 = 16;
/// What it says when it answers.
pub const READY: &str = "ready";

/// Answers on these addresses for ever; a line tells that it does.
pub fn answer(addresses: &[SocketAddr]) -> Outcome<bool> {
    let bound = addresses.iter().map(|address| open(*address)).collect::<Outcome<Vec<_>>>()?;
    println!("{READY}");
    for (datagrams, connections) in bound {
        let taken = connections.try_clone().doing("share a socket")?;
        // Taken and dropped: that they can be made is all that a monitor wants to know.
        thread::spawn(move || while taken.accept().is_ok() {});
        thread::spawn(move || give_back(&datagrams, &connections));
    }
    loop {
        thread::park();
    }
}

fn give_back(datagrams: &UdpSocket, connections: &TcpListener) {
    // Numbers of processes are the same on several hosts; nobody else begins in the same nanosecond.
    let now = clock_gettime(ClockId::Boottime);
    let who = (now.tv_sec * 1_000_000_000 + now.tv_nsec).to_ne_bytes();
    let mut buffer = [0; DATAGRAM_MAX];
    loop {
        // An error is the ICMP message for an earlier answer.
        let Ok((length, from)) = datagrams.recv_from(&mut buffer) else { continue };
        if &buffer[..length] == CLOSE {
            // Wakes up who waits for connections, and refuses them from now on.
            let _ = shutdown(connections, Shutdown::Both);
            return;
        }
        let answer = [&buffer[..length], &who].concat();
        let _ = datagrams.send_to(&answer, from);
    }
}

fn open(address: SocketAddr) -> Outcome<(UdpSocket, TcpListener)> {
    let bound = |kind| {
        let socket = socket(AddressFamily::INET, kind, None)?;
        set_ip_freebind(&socket, true)?;
        set_socket_reuseaddr(&socket, true)?;
        bind(&socket, &address)?;
        Ok::<_, rustix::io::Errno>(socket)
    };
    let doing = format!("listen on {address}");
    let datagrams = bound(SocketType::DGRAM).doing(&doing)?;
    let connections = bound(SocketType::STREAM).doing(&doing)?;
    listen(&connections, BACKLOG).doing(&doing)?;
    Ok((datagrams.into(), connections.into()))
}

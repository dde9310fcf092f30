//! What comes to a host over UDP, as somebody who listens on its network hears it.

use super::hosts::Hosts;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, eth, recv, socket_with};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Of the heads of IP and UDP, which have no options here.
const HEADS_BYTES: usize = 28;

/// Datagrams that come to a host for so long and are wanted. It listens when this returns.
pub fn capture(
    hosts: &Hosts,
    host: &str,
    period: Duration,
    is_wanted: fn(&[u8]) -> bool,
) -> JoinHandle<Vec<Vec<u8>>> {
    let (ready, is_ready) = std::sync::mpsc::sync_channel(1);
    let capturing = hosts.spawn(host, move || {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = socket_with(AddressFamily::PACKET, SocketType::DGRAM, flags, Some(eth::ALL));
        let socket = socket.expect("root may listen to everything");
        ready.send(()).expect("whoever asked waits");
        let end = Instant::now() + period;
        let (mut found, mut packet) = (Vec::new(), [0; 2_048]);
        while Instant::now() < end {
            let Ok((_, length)) = recv(&socket, &mut packet, RecvFlags::empty()) else {
                std::thread::sleep(Duration::from_millis(1));
                continue;
            };
            let payload = packet[..length].get(HEADS_BYTES..).unwrap_or_default();
            if packet[9] == 17 && is_wanted(payload) {
                found.push(payload.to_vec());
            }
        }
        found
    });
    is_ready.recv().expect("it begins to listen");
    capturing
}

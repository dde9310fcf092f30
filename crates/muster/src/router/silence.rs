//! What the kernel knows of connections to members: where something was sent, and nobody says to have it.
//!
//! Read from its tables of connections: that needs no rights, and nothing else tells it without `unsafe`. One reading serves all
//! data threads, and what they may read again at any time takes at most a twentieth of one processor.
//! Not here: what follows from it (`doubt`).

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;

/// A reading is as good as new for this long.
const FRESH: Duration = Duration::from_millis(50);
/// And for this many times as long as it took: tables of very many connections are long.
const FRESH_TIMES: u32 = 20;
/// Ticks of 10 ms until something is repeated, on an open connection. At least 200 ms pass before; receivers acknowledge within 40.
const REPEATS_SOON: u32 = 12;
/// The same for the first packet, which is repeated after a second.
const CONNECTS_AGAIN_SOON: u32 = 80;

/// An address, and the local port of a connection there.
pub type Line = (SocketAddr, u16);

/// What was found at one time.
#[derive(Debug)]
pub struct Reading {
    begun: Instant,
    took: Duration,
    silent: BTreeMap<SocketAddr, BTreeSet<u16>>,
}

impl Reading {
    /// Whether something that was sent there, also in order to connect, is not acknowledged for longer than a healthy network takes.
    pub fn is_silent(&self, address: SocketAddr) -> bool {
        self.silent.contains_key(&address)
    }

    /// Open connections there on which something was repeated, and is not acknowledged yet.
    pub fn unheard(&self, address: SocketAddr) -> impl Iterator<Item = Line> {
        self.silent.get(&address).into_iter().flatten().map(move |port| (address, *port))
    }
}

/// The kernel's tables, as the threads of this process share them.
#[derive(Debug, Default)]
pub struct Silences {
    v4: Mutex<Option<Arc<Reading>>>,
    v6: Mutex<Option<Arc<Reading>>>,
}

impl Silences {
    /// A reading of a moment ago. With very many connections the moment is longer.
    pub async fn recent(&self, address: SocketAddr) -> Arc<Reading> {
        self.read(address, |reading| reading.begun.elapsed() <= FRESH.max(reading.took * FRESH_TIMES)).await
    }

    /// A reading that began after this.
    pub async fn since(&self, address: SocketAddr, asked: Instant) -> Arc<Reading> {
        self.read(address, |reading| reading.begun >= asked).await
    }

    async fn read(&self, address: SocketAddr, is_good: impl Fn(&Reading) -> bool) -> Arc<Reading> {
        let (table, path) = if address.is_ipv4() {
            (&self.v4, "/proc/self/net/tcp")
        } else {
            (&self.v6, "/proc/self/net/tcp6")
        };
        let mut latest = table.lock().await;
        if let Some(reading) = latest.as_ref().filter(|reading| is_good(reading)) {
            return reading.clone();
        }
        let begun = Instant::now();
        // Apart: it may be long. A system without the table says nothing of anybody.
        let silent = spawn_blocking(move || silent_in(BufReader::new(File::open(path)?))).await;
        let silent = silent.ok().and_then(Result::ok).unwrap_or_default();
        let reading = Arc::new(Reading { begun, took: begun.elapsed(), silent });
        *latest = Some(reading.clone());
        reading
    }
}

fn silent_in(mut table: impl BufRead) -> io::Result<BTreeMap<SocketAddr, BTreeSet<u16>>> {
    let mut silent: BTreeMap<SocketAddr, BTreeSet<u16>> = BTreeMap::new();
    let mut line = String::new();
    while table.read_line(&mut line)? > 0 {
        if let Some(Silent { remote, unheard }) = silence(&line) {
            silent.entry(remote).or_default().extend(unheard);
        }
        line.clear();
    }
    Ok(silent)
}

struct Silent {
    remote: SocketAddr,
    /// The local port, where something was repeated on an open connection.
    unheard: Option<u16>,
}

/// What a line of the table says of a connection, if something is not acknowledged there.
fn silence(line: &str) -> Option<Silent> {
    let number = |text| u32::from_str_radix(text, 16).ok();
    let mut columns = line.split_ascii_whitespace().skip(1);
    let (local, remote, state) = (columns.next()?, columns.next()?, columns.next()?);
    let soon = match state {
        "01" => REPEATS_SOON,
        "02" => CONNECTS_AGAIN_SOON,
        _ => return None,
    };
    let sent = number(columns.next()?.split_once(':')?.0)?;
    // The timer that repeats; another one asks a full receiver for room, which is there.
    let ticks = number(columns.next()?.strip_prefix("01:")?)?;
    let repeated = number(columns.next()?)?;
    let is_silent = sent > 0 && (repeated > 0 || ticks <= soon);
    let port = || number(local.split_once(':')?.1);
    is_silent.then(|| {
        let unheard = if state == "01" && repeated > 0 { Some(port()? as u16) } else { None };
        Some(Silent { remote: address_of(remote)?, unheard })
    })?
}

/// An address as the kernel writes it: words as the processor has them.
fn address_of(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let mut octets = [0; 16];
    for (place, octets) in octets.chunks_exact_mut(4).enumerate().take(ip.len() / 8) {
        let word = u32::from_str_radix(ip.get(place * 8..place * 8 + 8)?, 16).ok()?;
        octets.copy_from_slice(&word.to_ne_bytes());
    }
    let ip = match ip.len() {
        8 => IpAddr::V4(Ipv4Addr::new(octets[0], octets[1], octets[2], octets[3])),
        32 => IpAddr::V6(Ipv6Addr::from(octets)),
        _ => return None,
    };
    Some(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};

    const QUIET: &str = "00000000:00000000 00:00000000 00000000";

    /// The kernel's line of a connection on which a byte was sent, and has arrived though nobody reads it.
    fn line_of(address: &str) -> (Line, String) {
        let listener = TcpListener::bind(address).expect("a free port");
        let remote = listener.local_addr().expect("it is bound");
        let mut stream = TcpStream::connect(remote).expect("it listens");
        stream.write_all(b"x").expect("there is room");
        let port = stream.local_addr().expect("it is connected").port();
        let path = if remote.is_ipv4() { "/proc/self/net/tcp" } else { "/proc/self/net/tcp6" };
        let table = std::fs::read_to_string(path).expect("the kernel has one");
        let own = |line: &&str| {
            let mut columns = line.split_ascii_whitespace().skip(1);
            let local = columns.next().and_then(address_of);
            local.is_some_and(|local| local.port() == port)
                && columns.next().and_then(address_of) == Some(remote)
        };
        let line = table.lines().find(own).expect("the connection has a line");
        assert!(line.contains(QUIET), "{line}");
        assert!(silence(line).is_none());
        ((remote, port), line.to_owned())
    }

    #[test]
    fn only_what_is_not_acknowledged_for_long_is_silent_and_only_what_was_repeated_is_unheard() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let ((remote, port), line) = line_of(address);
            let with = |state: &str, numbers: &str| {
                let line = line.replace(&format!(" 01 {QUIET}"), &format!(" {state} {numbers}"));
                let table = silent_in(format!("a line above\n{line}\n").as_bytes()).expect("text");
                Reading { begun: Instant::now(), took: Duration::ZERO, silent: table }
            };
            let found = |reading: &Reading| {
                let unheard: Vec<Line> = reading.unheard(remote).collect();
                (reading.is_silent(remote), unheard)
            };
            let repeated = with("01", "00000001:00000000 01:00000014 00000001");
            assert_eq!(found(&repeated), (true, vec![(remote, port)]));
            let (none, some) = ((false, Vec::new()), (true, Vec::new()));
            for (state, numbers, expected, why) in [
                ("01", "00000001:00000000 01:00000014 00000000", &none, "it was sent only now"),
                ("01", "00000001:00000000 01:0000000A 00000000", &some, "it was sent 100 ms ago"),
                ("01", "00000001:00000000 04:00000014 00000001", &none, "its receiver is full"),
                ("02", "00000001:00000000 01:00000062 00000000", &none, "it connects only now"),
                ("02", "00000001:00000000 01:00000046 00000000", &some, "it connects for 300 ms"),
                ("02", "00000001:00000000 01:000000C8 00000001", &some, "it connects for a second"),
                ("04", "00000001:00000000 01:00000014 00000001", &none, "nobody waits for it"),
            ] {
                assert_eq!(&found(&with(state, numbers)), expected, "{why}");
            }
        }
    }

    #[test]
    fn a_reading_is_shared_while_it_is_fresh_and_made_anew_for_who_asks_later() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let address = SocketAddr::from(([127, 0, 0, 1], 9));
            let silences = Silences::default();
            let asked = Instant::now();
            let first = silences.since(address, asked).await;
            assert!(Arc::ptr_eq(&first, &silences.since(address, asked).await));
            assert!(!Arc::ptr_eq(&first, &silences.since(address, Instant::now()).await));
        });
    }
}

//! The first message of TLS: the name that is read here is the one that a server reads, however the message is cut.

use logic::client_hello::{Hello, WIRE_MAX_BYTES, parse};
use rustls::server::Acceptor;

/// The first byte says how the message is cut into records; with zero the rest is taken as it is.
pub fn check(bytes: &[u8]) {
    let Some((cut, rest)) = bytes.split_first() else { return };
    let wire = if *cut == 0 { rest.to_vec() } else { records(rest, usize::from(*cut)) };
    match parse(&wire) {
        Ok(Some(hello)) => {
            check_name(&hello, &wire);
            check_prefixes(&hello, &wire);
        }
        Ok(None) => assert!(wire.len() < WIRE_MAX_BYTES, "waits for more after {} bytes", wire.len()),
        Err(_) => return,
    }
    let is_whole = |message: &[u8]| {
        u32::from_be_bytes([0, message[1], message[2], message[3]]) as usize == message.len() - 4
    };
    if *cut != 0 && rest.len() > 4 && is_whole(rest) {
        // Records of another length carry the same message.
        assert_eq!(parse(&records(rest, usize::from(*cut) + 7)), parse(&wire));
    }
    if let Some(theirs) = others_read(&wire) {
        let ours = parse(&wire).ok().flatten().and_then(|hello| hello.server_name);
        assert_eq!(ours.as_deref(), Some(theirs.as_str()), "a server reads another name");
    }
}

fn check_name(hello: &Hello, wire: &[u8]) {
    let Some(name) = &hello.server_name else { return };
    assert!((1..=253).contains(&name.len()), "{name}");
    let is_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte);
    assert!(name.bytes().all(is_name), "{name}");
    assert!(name.split('.').all(|label| (1..=63).contains(&label.len())), "{name}");
    assert!(wire.len() > name.len());
}

/// From some byte on it is this answer; before, more is waited for.
fn check_prefixes(hello: &Hello, wire: &[u8]) {
    let mut is_known = false;
    for length in 0..wire.len() {
        match parse(&wire[..length]) {
            Ok(None) => assert!(!is_known, "known, and no longer after {length} bytes"),
            Ok(Some(found)) => {
                assert_eq!(found, *hello, "after {length} bytes");
                is_known = true;
            }
            Err(refusal) => panic!("{refusal} after {length} bytes"),
        }
    }
}

/// The message in records of so many bytes.
fn records(message: &[u8], size_bytes: usize) -> Vec<u8> {
    let mut wire = Vec::new();
    for piece in message.chunks(size_bytes) {
        let [high, low] = (piece.len() as u16).to_be_bytes();
        wire.extend_from_slice(&[22, 3, 1, high, low]);
        wire.extend_from_slice(piece);
    }
    wire
}

/// The name that rustls reads; None where it refuses the message or needs more.
fn others_read(wire: &[u8]) -> Option<String> {
    let mut acceptor = Acceptor::default();
    acceptor.read_tls(&mut &wire[..]).ok()?;
    let accepted = acceptor.accept().ok().flatten()?;
    let name = accepted.client_hello().server_name().map(str::to_ascii_lowercase);
    name.map(|name| name.trim_end_matches('.').to_owned())
}

//! Datagrams arrive as they were sent, in exactly these bytes, and nothing else is one.

use super::*;

fn datagram(kind: Kind) -> Datagram {
    Datagram {
        kind,
        cell: CellNumber(0x0102_0304_0506_0708),
        node: NodeNumber(0x090a_0b0c),
        manager: ManagerNumber(0x0d0e),
        interval_ms: 0x0f10,
        incarnation: 0x1112_1314_1516_1718,
        sequence: 0x191a_1b1c_1d1e_1f20,
        term: TermNumber(0x2122_2324_2526_2728),
        epochs: 0x292a_2b2c_2d2e_2f30,
        boot: 0x3132_3334_3536_3738,
        run: 0x393a_3b3c_3d3e_3f40,
    }
}

/// A code that any change of any byte changes; the real one is the shell's.
fn code(signed: &[u8]) -> Code {
    let mut code = [7_u8; CODE_SIZE_BYTES];
    for (index, byte) in signed.iter().enumerate() {
        let at = index % CODE_SIZE_BYTES;
        code[at] = code[at].rotate_left(1) ^ byte;
    }
    code
}

#[test]
fn the_layout_is_the_one_in_the_table() {
    let bytes = datagram(Kind::Heartbeat { is_deaf: true }).bytes(code);
    assert_eq!(&bytes[..8], b"MuHb\x01\x01\x01\x00");
    let counted: Vec<u8> = (1..=64).collect();
    assert_eq!(&bytes[8..72], &counted);
    assert_eq!(bytes.len(), 88);
    let answer = datagram(Kind::Answer { grant: None }).bytes(code);
    assert_eq!(&answer[..8], b"MuHb\x01\x02\x00\x00");
    assert_eq!(&datagram(Kind::Question).bytes(code)[..8], b"MuHb\x01\x03\x00\x00");
    assert_eq!(&datagram(Kind::Reply).bytes(code)[..8], b"MuHb\x01\x04\x00\x00");
}

#[test]
fn what_is_sent_arrives() {
    for kind in [
        Kind::Heartbeat { is_deaf: false },
        Kind::Heartbeat { is_deaf: true },
        Kind::Answer { grant: None },
        Kind::Answer { grant: Some(Grant::Only) },
        Kind::Answer { grant: Some(Grant::Leader) },
        Kind::Question,
        Kind::Reply,
    ] {
        let sent = datagram(kind);
        let bytes = sent.bytes(code);
        let parsed = Parsed::parse(&bytes).expect("it is one of ours");
        assert_eq!(parsed.datagram, sent);
        assert_eq!(parsed.signed, sent.body());
        assert_eq!(parsed.code, code(&sent.body()));
    }
}

#[test]
fn what_a_later_version_adds_is_signed_and_left_alone() {
    let sent = datagram(Kind::Heartbeat { is_deaf: false });
    let mut bytes = sent.body().to_vec();
    bytes.extend_from_slice(b"more of it");
    let over = code(&bytes);
    bytes.extend_from_slice(&over);
    let parsed = Parsed::parse(&bytes).expect("it is one of ours");
    assert_eq!(parsed.datagram, sent);
    assert_eq!(parsed.signed.len(), 82);
    assert_eq!(parsed.code, over);
}

#[test]
fn anything_else_is_refused_and_nothing_panics() {
    let good = datagram(Kind::Heartbeat { is_deaf: false }).bytes(code);
    for length in 0..SIZE_BYTES {
        assert_eq!(Parsed::parse(&good[..length]), Err(Malformed::Size));
    }
    assert_eq!(Parsed::parse(&[0; SIZE_MAX_BYTES + 1]), Err(Malformed::Size));
    assert_eq!(Parsed::parse(&[0; SIZE_MAX_BYTES]), Err(Malformed::NotOurs));
    let changed = |at: usize, to: u8| {
        let mut bytes = good;
        bytes[at] = to;
        Parsed::parse(&bytes).map(|parsed| parsed.datagram)
    };
    assert_eq!(changed(3, b'B'), Err(Malformed::NotOurs));
    assert_eq!(changed(4, 2), Err(Malformed::Version(2)));
    assert_eq!(changed(5, 5), Err(Malformed::Kind(5)));
    assert_eq!(changed(7, 9), Ok(datagram(Kind::Heartbeat { is_deaf: false })));
    // Every other byte either makes no datagram or leaves one whose code no longer fits.
    for at in 0..SIZE_BYTES {
        for bit in 0..8 {
            let mut bytes = good;
            bytes[at] ^= 1 << bit;
            if let Ok(parsed) = Parsed::parse(&bytes) {
                assert_ne!(parsed.code, code(parsed.signed), "byte {at} may be changed");
            }
        }
    }
}

use super::*;

fn frame(kind: u8, flags: u8, length: usize) -> Vec<u8> {
    let mut bytes = vec![0, (length >> 8) as u8, length as u8, kind, flags, 0, 0, 0, 1];
    bytes.resize(FRAME_HEAD_BYTES + length, b'x');
    bytes
}

/// How many times the client can send `frames` at once before it has spent its credit; None if always.
fn endured(frames: &[Vec<u8>], answer: &[Vec<u8>]) -> Option<usize> {
    let mut conduct = Conduct::new(Time(0));
    assert!(conduct.received(Time(0), PREFACE));
    for round in 0..100_000 {
        if !conduct.received(Time(0), &frames.concat()) {
            return Some(round);
        }
        conduct.sent(&answer.concat());
    }
    None
}

#[test]
fn a_flood_of_frames_that_bring_nothing_ends_soon() {
    for (what, flood) in [
        ("rapid reset", vec![frame(1, 5, 10), frame(3, 0, 4)]),
        ("CONTINUATION", vec![frame(9, 0, 10)]),
        ("PING", vec![frame(6, 0, 8)]),
        ("SETTINGS", vec![frame(4, 0, 0)]),
        ("PRIORITY", vec![frame(2, 0, 5)]),
        ("WINDOW_UPDATE", vec![frame(8, 0, 4)]),
        ("empty DATA", vec![frame(0, 0, 0)]),
        ("padding", vec![frame(0, 8, 100)]),
        ("unknown", vec![frame(200, 0, 3)]),
    ] {
        let rounds = endured(&flood, &[]).unwrap_or_else(|| panic!("{what} is endured for ever"));
        assert!((80..=2_000).contains(&rounds), "{what}: {rounds}");
    }
}

#[test]
fn a_client_that_asks_and_takes_answers_never_runs_out() {
    let (request, answer) = (frame(1, 5, 40), [frame(1, 4, 30), frame(0, 1, 200)]);
    assert_eq!(endured(std::slice::from_ref(&request), &answer), None);
    // An eager client: both windows and a PING for each answer, which it then gives up.
    let eager = [request, frame(8, 0, 4), frame(8, 0, 4), frame(6, 0, 8), frame(3, 0, 4)];
    let rounds = endured(&eager, &answer);
    assert_eq!(rounds, None);
    // Uploads in small pieces, and downloads taken in pieces of 4 KiB.
    assert_eq!(endured(&[frame(0, 0, 5)], &[]), None);
    let piecewise: Vec<_> = (0..8).map(|_| frame(8, 0, 4)).collect();
    assert_eq!(endured(&piecewise, &[frame(0, 0, 16_384)]), None);
}

#[test]
fn credit_grows_again_with_time() {
    let mut conduct = Conduct::new(Time(0));
    assert!(conduct.received(Time(0), PREFACE));
    let resets = frame(3, 0, 4).repeat((HTTP2_CREDIT_MAX / 10) as usize);
    assert!(conduct.received(Time(0), &resets));
    assert!(conduct.received(Time(100), &frame(3, 0, 4)));
    let second = frame(3, 0, 4).repeat((HTTP2_CREDIT_PER_SECOND / 10) as usize);
    assert!(conduct.received(Time(1_100), &second));
    assert!(!conduct.received(Time(1_100), &resets));
}

#[test]
fn frames_are_found_in_any_pieces() {
    let mut whole = Conduct::new(Time(0));
    let bytes = [PREFACE.to_vec(), frame(6, 0, 8), frame(0, 0, 300), frame(3, 0, 4)].concat();
    whole.received(Time(0), &bytes);
    for size in 1..40 {
        let mut parts = Conduct::new(Time(0));
        bytes.chunks(size).for_each(|part| {
            parts.received(Time(0), part);
        });
        assert_eq!(parts.credit, whole.credit, "in pieces of {size}");
    }
    assert_eq!(whole.credit, HTTP2_CREDIT_MAX - 15);
}

#[test]
fn a_preface_is_told_by_its_first_bytes() {
    assert!(!begins(b""));
    assert!(!begins(b"PRI"));
    assert!(begins(b"PRI * HT"));
    assert!(!begins(b"PRI /"));
    assert!(!begins(b"GET / HTTP/1.1\r\n"));
    assert!(begins(&[PREFACE, b"more"].concat()));
}

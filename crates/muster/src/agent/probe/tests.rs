//! Probes of real sockets: members that answer, refuse, hang and babble.

use super::*;
use tokio::net::TcpListener;

fn run<T>(story: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime can be built").block_on(story)
}

fn http() -> ProbeKind {
    ProbeKind::Http {
        path: "/healthz".into(),
        host: None,
        status_min: 200,
        status_max: 299,
        transport: Box::default(),
    }
}

/// What the probe thinks of a member that says `answer` to the first bytes it gets.
fn verdict_on(answer: &'static [u8]) -> ProbeAnswer {
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("the kernel has a free port");
        let address = listener.local_addr().expect("a listener has an address");
        let (kind, configs) = (http(), TlsConfigs::default());
        let member = async {
            let (mut stream, _) = listener.accept().await.expect("the probe comes");
            let mut request = [0; 512];
            let count = stream.read(&mut request).await.expect("the probe asks");
            assert!(request[..count].starts_with(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1:"));
            stream.write_all(answer).await.expect("the probe listens");
        };
        tokio::join!(probe(&configs, address, &kind, 5_000), member).0
    })
}

fn why(answer: ProbeAnswer) -> String {
    match answer {
        ProbeAnswer::Good => "good".into(),
        ProbeAnswer::Bad { why } | ProbeAnswer::Unasked { why } => why,
    }
}

#[test]
fn what_we_lack_ourselves_is_not_held_against_the_member() {
    let address = "127.0.0.1:1".parse().expect("an address");
    let verdict = |errno: rustix::io::Errno| {
        verdict(Trouble::Connect { address, source: std::io::Error::from_raw_os_error(errno.raw_os_error()) })
    };
    let ours = verdict(rustix::io::Errno::MFILE);
    assert!(matches!(&ours, ProbeAnswer::Unasked { why } if why.contains("Too many open files")), "{ours:?}");
    assert!(matches!(verdict(rustix::io::Errno::CONNREFUSED), ProbeAnswer::Bad { .. }));
}

#[test]
fn the_status_decides() {
    assert_eq!(verdict_on(b"HTTP/1.1 200 OK\r\n\r\n"), ProbeAnswer::Good);
    assert_eq!(verdict_on(b"HTTP/1.0 204\r\n\r\n"), ProbeAnswer::Good);
    let refused = why(verdict_on(b"HTTP/1.1 503 Busy\r\n\r\n"));
    assert_eq!(refused, "GET /healthz was answered 503, not 200 to 299");
}

#[test]
fn babble_and_silence_are_told_apart() {
    assert!(why(verdict_on(b"220 mail ready\r\n")).ends_with("does not speak HTTP"));
    assert!(why(verdict_on(b"HTTP/1.1 20")).ends_with("does not speak HTTP"));
    assert!(why(verdict_on(b"")).ends_with("closed the connection without an answer"));
}

#[test]
fn a_member_that_accepts_and_says_nothing_is_found_by_the_time_out() {
    let answer = run(async {
        // Never accepts: the kernel does that for it, as for a suspended process.
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("the kernel has a free port");
        let address = listener.local_addr().expect("a listener has an address");
        assert_eq!(probe(&TlsConfigs::default(), address, &ProbeKind::Tcp, 5_000).await, ProbeAnswer::Good);
        probe(&TlsConfigs::default(), address, &http(), 20).await
    });
    assert_eq!(why(answer), "no answer within 20 ms");
}

#[test]
fn nobody_listening_is_a_refusal() {
    let address = "127.0.0.1:1".parse().expect("an address");
    let answer = run(probe(&TlsConfigs::default(), address, &ProbeKind::Tcp, 5_000));
    assert!(why(answer).contains("Connection refused"));
}

#[test]
fn status_lines_are_read_strictly() {
    for (line, status) in [
        (&b"HTTP/1.1 200 OK"[..], Some(200)),
        (b"HTTP/1.1 200", Some(200)),
        (b"HTTP/1.1 2000", None),
        (b"HTTP/1.1 20", None),
        (b"HTTP/1.1 099 x", None),
        (b"HTTP/1.1  200", None),
        (b"HTTP/2 200", None),
        (b"http/1.1 200 OK", None),
    ] {
        assert_eq!(parse_status(line), status, "{}", String::from_utf8_lossy(line));
    }
}

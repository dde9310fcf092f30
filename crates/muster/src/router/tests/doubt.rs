//! Stories of members whose system says nothing, and of such that only take long.

use super::stage::{Stage, get, member, read_answer, read_request};
use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant};
use wire::view::{MemberView, RunState};

/// Longer than a router takes to doubt a member, on a machine that has time for it; a slower one proves less.
const LONG: Duration = Duration::from_millis(1_500);
/// Longest wait for a connection, which no story reaches.
const CONNECT_MS: u64 = 50_000;

fn answer(mut caller: TcpStream, text: &str) {
    while read_request(&mut caller).is_some() {
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len());
        if caller.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

/// A place where connections are dropped without a word, as long as nobody accepts those that fill its queue.
struct Silent {
    listener: TcpListener,
    address: SocketAddr,
    /// They fill it.
    _kept: Vec<TcpStream>,
}

fn silent() -> Silent {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    rustix::net::listen(&listener, 0).expect("it listens");
    let mut kept = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(200)) {
        kept.push(stream);
        assert!(kept.len() < 1_000, "it takes whoever comes");
    }
    Silent { listener, address, _kept: kept }
}

impl Silent {
    /// A member there that is Up.
    fn member(&self, name: &str) -> MemberView {
        MemberView {
            name: name.into(),
            clone_id: name.into(),
            address: Some(self.address),
            state: RunState::Up,
            weight: 1,
            ..MemberView::default()
        }
    }

    /// Accepts from now on, and answers who asks.
    fn speak(self, text: &'static str) {
        spawn(move || {
            for caller in self.listener.incoming().map_while(Result::ok) {
                spawn(move || answer(caller, text));
            }
        });
    }
}

fn patient_stage() -> Stage {
    Stage::with(|settings| settings.timeouts.connect_ms = CONNECT_MS)
}

#[test]
fn who_waits_for_a_connection_goes_to_a_member_that_can_be_reached() {
    let (stage, one, two) = (patient_stage(), silent(), silent());
    stage.member("good", 1, |caller| answer(caller, "good"));
    stage.change(|view| view.members.extend([one.member("one"), two.member("two")]));
    let begin = Instant::now();
    let mut clients: Vec<TcpStream> = (0..6).map(|_| stage.connect()).collect();
    for client in &mut clients {
        client.write_all(get("/").as_bytes()).expect("the router reads");
    }
    for client in &mut clients {
        let answer = read_answer(client);
        assert!(answer.ends_with("good"), "{answer}");
    }
    assert!(begin.elapsed() < Duration::from_millis(CONNECT_MS), "{:?}", begin.elapsed());
}

#[test]
fn who_waits_for_a_connection_to_the_only_member_goes_on_waiting() {
    let (stage, only) = (patient_stage(), silent());
    stage.change(|view| view.members.push(only.member("only")));
    let mut client = stage.connect();
    client.write_all(get("/").as_bytes()).expect("the router reads");
    sleep(LONG);
    only.speak("late");
    let answer = read_answer(&mut client);
    assert!(answer.ends_with("late"), "{answer}");
}

#[test]
fn a_member_that_only_takes_long_is_not_bothered() {
    let stage = Stage::new();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    let accepted = Arc::new(AtomicU32::new(0));
    let counter = accepted.clone();
    spawn(move || {
        for mut caller in listener.incoming().map_while(Result::ok) {
            counter.fetch_add(1, Ordering::SeqCst);
            spawn(move || {
                drop(read_request(&mut caller));
                sleep(LONG);
                drop(caller.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nslow"));
            });
        }
    });
    stage.member("slow", 1, |_| {});
    stage.change(|view| member(view, "slow").address = Some(address));
    let answer = stage.ask("/");
    assert!(answer.ends_with("slow"), "{answer}");
    assert_eq!(accepted.load(Ordering::SeqCst), 1, "it was asked once");
}

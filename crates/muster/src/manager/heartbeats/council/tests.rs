//! Two managers that speak through real sockets, and what of a word means something.

use super::*;
use crate::heartbeat::CellSecret;
use logic::limits::FELLOW_DOWN_AFTER_MS;
use std::time::Duration;
use wire::id::CellNumber;

const CELL: CellNumber = CellNumber(5);
const NUMBERS: [ManagerNumber; 2] = [ManagerNumber(3), ManagerNumber(8)];
const LEADS: Stand = Stand { leads: true, term: TermNumber(4) };
const FOLLOWS: Stand = Stand { leads: false, term: TermNumber(4) };

/// Longest wait for what was sent to this machine.
const PATIENCE: Duration = Duration::from_secs(30);

struct Side {
    socket: UdpSocket,
    council: Council,
}

impl Side {
    /// Everything that lies in the socket, given to the council.
    async fn hear(&mut self, now: Time, count: usize) -> Vec<Input> {
        let mut inputs = Vec::new();
        for _ in 0..count {
            let mut buffer = [0; 2_048];
            let heard = tokio::time::timeout(PATIENCE, self.socket.recv_from(&mut buffer)).await;
            let (length, _) = heard.expect("nothing comes").expect("it is there");
            inputs.extend(self.council.take(now, &buffer[..length]));
        }
        inputs
    }
}

fn key(path: &str) -> hmac::Key {
    let directory = std::env::temp_dir().join(format!("muster-council-{}-{path}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("the directory for temporary files can be written");
    let secret = CellSecret::read_or_create(&directory.join("secret")).expect("it can be written");
    std::fs::remove_dir_all(&directory).expect("it was made");
    secret.key_of_managers()
}

/// A leader and one that follows.
async fn two(keys: [hmac::Key; 2]) -> (Side, Side) {
    let mut sockets = Vec::new();
    for _ in NUMBERS {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
        // Nobody has asked the kernel yet.
        socket.writable().await.expect("nothing was sent");
        sockets.push(socket);
    }
    let address = |place: usize| sockets[place].local_addr().expect("it is bound");
    let addresses: Vec<ManagerAddress> =
        (0..2).map(|place| ManagerAddress { number: NUMBERS[place], address: address(place) }).collect();
    let mut sides = sockets.into_iter().zip(keys).enumerate().map(|(place, (socket, key))| {
        let fellows = Fellows::new(CELL, NUMBERS[place], &NUMBERS, 10 + place as u64, Time(0));
        Side { socket, council: Council::new(fellows, key, addresses.clone(), Time(0)) }
    });
    (sides.next().expect("two"), sides.next().expect("two"))
}

/// Each says twice that it is there.
async fn acquaint(leader: &mut Side, other: &mut Side, from: Time) {
    for now in [from, from + PRESENCE_INTERVAL_MS] {
        leader.council.look(&leader.socket, now, LEADS);
        other.council.look(&other.socket, now, FOLLOWS);
        assert_eq!(other.hear(now, 1).await, []);
        assert_eq!(leader.hear(now, 1).await, []);
    }
}

#[tokio::test]
async fn a_leader_asks_and_is_told() {
    let key = key("asks");
    let (mut leader, mut other) = two([key.clone(), key]).await;
    acquaint(&mut leader, &mut other, Time(0)).await;
    assert_eq!(leader.council.heard_term(), TermNumber(4));

    // More than one datagram takes.
    let nodes: Vec<NodeNumber> = (0..200).map(NodeNumber).collect();
    let (by, asked_at) = (NUMBERS[0], Time(77));
    let ask = Output::Ask { asked_at, nodes: nodes.clone() };
    assert_eq!(leader.council.carry_out(&leader.socket, LEADS, ask), None);
    let asked = |nodes: &[NodeNumber]| Input::Asked { by, asked_at, nodes: nodes.to_vec() };
    let heard = other.hear(Time(300), 2).await;
    assert_eq!(heard, [asked(&nodes[..ENTRIES_MAX]), asked(&nodes[ENTRIES_MAX..])]);

    let opinions = vec![
        Opinion { node: NodeNumber(7), silent_ms: 900, is_deaf: false },
        Opinion { node: NodeNumber(8), silent_ms: 3, is_deaf: true },
    ];
    let tell = Output::Tell { to: by, asked_at, opinions: opinions.clone() };
    assert_eq!(other.council.carry_out(&other.socket, FOLLOWS, tell), None);
    let told = Input::Told { by: NUMBERS[1], asked_at, opinions };
    assert_eq!(leader.hear(Time(310), 1).await, [told]);
}

#[tokio::test]
async fn who_has_another_secret_is_nobody() {
    let (mut leader, mut stranger) = two([key("one"), key("other")]).await;
    acquaint(&mut leader, &mut stranger, Time(0)).await;
    acquaint(&mut leader, &mut stranger, Time(2 * PRESENCE_INTERVAL_MS)).await;
    let down = [(NUMBERS[1], Presence::Down { since: None })];
    assert_eq!(leader.council.presence(Time(FELLOW_DOWN_AFTER_MS)), down);
    assert_eq!(leader.council.heard_term(), TermNumber(0));
    let ask = Output::Ask { asked_at: Time(700), nodes: vec![NodeNumber(1)] };
    leader.council.carry_out(&leader.socket, LEADS, ask);
    leader.council.look(&leader.socket, Time(800), LEADS);
    let mut buffer = [0; 64];
    let error = stranger.socket.try_recv(&mut buffer).expect_err("nothing is said to who has proven nothing");
    assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
}

#[test]
fn only_a_leaders_questions_mean_anything() {
    let head = Head {
        topic: Topic::Questions,
        leads: true,
        cell: CELL,
        from: NUMBERS[0],
        to: NUMBERS[1],
        run: 1,
        to_run: 2,
        sequence: 3,
        term: TermNumber(4),
        asked_at: Some(5),
    };
    let entry = Entry { node: NodeNumber(1), silent_ms: 0, deaf: false };
    let counts = |head: Head| meaning(&head, std::iter::once(entry)).is_some();
    assert!(counts(head));
    assert!(!counts(Head { leads: false, ..head }), "it does not lead");
    assert!(!counts(Head { asked_at: None, ..head }), "nobody could tell how old the answer is");
}

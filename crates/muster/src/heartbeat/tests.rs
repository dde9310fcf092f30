//! Keys: made once, the same for the same node, another for everybody else.

use super::*;
use wire::id::NodeNumber;

#[test]
fn every_machine_has_a_key_of_its_own_and_the_secret_is_kept_from_others() {
    let directory = std::env::temp_dir().join(format!("muster-heartbeat-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("a temporary directory can be made");
    let path = directory.join("heartbeat-secret");
    let first = CellSecret::read_or_create(&path).expect("a new secret");
    let again = CellSecret::read_or_create(&path).expect("the same");
    assert_eq!(std::fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);

    let place =
        |node: &str, number| NodePlace { node: node.into(), number: NodeNumber(number), beats: false };
    let key = first.key_of(&place("web-1", 1), 7);
    assert_eq!(again.key_of(&NodePlace { beats: true, ..place("web-1", 1) }, 7), key);
    let others = [
        first.key_of(&place("web-2", 1), 7),
        first.key_of(&place("web-1", 2), 7),
        first.key_of(&place("web-1", 1), 8),
    ];
    assert!(others.iter().all(|other| *other != key), "{others:?}");
    assert_eq!(format!("{key:?}"), "HeartbeatKey", "keys are not for logs");

    let usable_key = usable(&key).expect("a key");
    let other_key = usable(&others[0]).expect("a key");
    assert_eq!(code(&usable_key, b"datagram"), code(&usable_key, b"datagram"));
    assert_ne!(code(&usable_key, b"datagram"), code(&usable_key, b"datagran"));
    assert_ne!(code(&usable_key, b"datagram"), code(&other_key, b"datagram"));
    assert!(usable(&HeartbeatKey("ab".into())).is_none());

    std::fs::write(&path, "short").expect("ours");
    assert!(CellSecret::read_or_create(&path).is_err(), "what is no secret is refused");
    std::fs::remove_dir_all(&directory).expect("ours");
}

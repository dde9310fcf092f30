//! What a reader of this version makes of messages of another one.

use super::*;
use wire::link::Placed;

/// Reads the first message that is known of these frames.
fn read<T: DeserializeOwned + Known>(frames: &[&str]) -> io::Result<T> {
    let mut bytes = Vec::new();
    for frame in frames {
        bytes.extend((frame.len() as u32).to_be_bytes());
        bytes.extend(frame.as_bytes());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(read_known(&mut bytes.as_slice(), Duration::from_secs(5)))
}

#[test]
fn messages_and_fields_of_a_newer_version_are_skipped_and_damaged_ones_are_not() {
    let newer =
        ["{\"moon\":{\"phase\":3}}", "\"moonrise\"", "{\"not-leader\":{\"leader\":\"x:1\",\"moon\":2}}"];
    let leader = Some("x:1".to_owned());
    assert_eq!(read::<FromManager>(&newer).expect("the last is known"), FromManager::NotLeader { leader });
    let older = ["{\"placed\":{\"routers\":[\"front\"]}}"];
    let placed = Placed { routers: vec!["front".into()], ..Placed::default() };
    assert_eq!(read::<FromManager>(&older).expect("it is known"), FromManager::Placed(placed));
    for damaged in ["{\"views\":{}}", "{\"refused\":{}}", "17", "{}", "{\"keep-alive\":1,\"moon\":2}", "{"] {
        let error = read::<FromManager>(&[damaged, "\"keep-alive\""]).expect_err(damaged);
        assert_eq!(error.kind(), io::ErrorKind::Other, "{damaged}: {error}");
    }
}

#[test]
fn every_message_is_known_by_its_name() {
    /// The names that the parser knows, as it says itself.
    fn names<T: DeserializeOwned>() -> Vec<String> {
        let error = serde_json::from_str::<T>("\"moon\"").err().expect("there is no such message");
        error.to_string().split('`').skip(3).step_by(2).map(str::to_owned).collect()
    }
    assert_eq!(names::<FromManager>(), FromManager::NAMES);
    assert_eq!(names::<ToManager>(), ToManager::NAMES);
}

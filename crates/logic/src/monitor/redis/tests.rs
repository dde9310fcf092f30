//! Replies of Redis, cut in every place.

use super::*;

fn judge(credentials: Option<(&str, &str)>, replies: &str) -> Option<String> {
    let owned = || credentials.map(|(user, password)| (user.to_owned(), password.to_owned()));
    let ends = |cut: usize| {
        let mut talk = RedisTalk::new(owned());
        talk.begin();
        let (first, second) = replies.as_bytes().split_at(cut);
        [first, second].into_iter().find_map(|piece| match talk.heard(piece) {
            Next::Done { verdict, .. } => {
                Some(verdict.map_or_else(|trouble| trouble.to_string(), |()| "good".into()))
            }
            Next::Say(_) | Next::Encrypt => None,
        })
    };
    let end = ends(0);
    assert!((0..=replies.len()).all(|cut| ends(cut) == end), "{replies:?} is the same wherever it is cut");
    end
}

#[test]
fn a_server_that_answers_ping_is_good() {
    assert_eq!(judge(None, "+PONG\r\n").as_deref(), Some("good"));
    assert_eq!(
        judge(None, "-LOADING Redis is loading\r\n").as_deref(),
        Some("it says: LOADING Redis is loading")
    );
    assert_eq!(judge(None, "-NOAUTH who\r\n").as_deref(), Some("it says: NOAUTH who"));
    assert_eq!(judge(None, "HTTP/1.1 400\r\n").as_deref(), Some("it does not speak the protocol of Redis"));
    assert_eq!(judge(None, "+PON"), None);
}

#[test]
fn credentials_are_shown_first() {
    assert_eq!(judge(Some(("", "secret")), "+OK\r\n+PONG\r\n").as_deref(), Some("good"));
    assert_eq!(judge(Some(("", "secret")), "+OK\r\n"), None);
    assert_eq!(
        judge(Some(("", "no")), "-WRONGPASS no\r\n-NOAUTH\r\n").as_deref(),
        Some("it says: WRONGPASS no")
    );
    let mut talk = RedisTalk::new(Some(("watcher".into(), "a b".into())));
    let said = "*3\r\n$4\r\nAUTH\r\n$7\r\nwatcher\r\n$3\r\na b\r\n*1\r\n$4\r\nPING\r\n";
    assert_eq!(talk.begin(), Next::Say(said.as_bytes().to_vec()));
}

//! First messages of PostgreSQL servers, cut in every place.

use super::*;

fn judge(message: &[u8]) -> Option<String> {
    let ends = |cut: usize| {
        let mut talk = PostgresTalk::default();
        let (first, second) = message.split_at(cut);
        [first, second].into_iter().find_map(|piece| match talk.heard(piece) {
            Next::Done { verdict, .. } => {
                Some(verdict.map_or_else(|trouble| trouble.to_string(), |()| "good".into()))
            }
            Next::Say(_) | Next::Encrypt => None,
        })
    };
    let end = ends(0);
    assert!((0..=message.len()).all(|cut| ends(cut) == end), "{message:?} is the same wherever it is cut");
    end
}

fn error(code: &str, text: &str) -> Vec<u8> {
    let fields = format!("SFATAL\0C{code}\0M{text}\0\0");
    let mut message = vec![b'E'];
    message.extend_from_slice(&(fields.len() as u32 + 4).to_be_bytes());
    message.extend_from_slice(fields.as_bytes());
    message
}

#[test]
fn whoever_asks_for_a_password_or_refuses_our_name_is_there() {
    assert_eq!(judge(b"R\0\0\0\x08\0\0\0\0").as_deref(), Some("good"));
    assert_eq!(judge(&error("28000", "no such role")).as_deref(), Some("good"));
}

#[test]
fn whoever_cannot_serve_now_is_not() {
    let starting = judge(&error("57P03", "the database system is starting up"));
    assert_eq!(starting.as_deref(), Some("it says: the database system is starting up"));
    let full = judge(&error("53300", "too many clients already"));
    assert_eq!(full.as_deref(), Some("it says: too many clients already"));
}

#[test]
fn nonsense_is_no_answer() {
    let other = "it does not speak the protocol of PostgreSQL";
    assert_eq!(judge(b"HTTP/1.1 400 Bad Request\r\n").as_deref(), Some(other));
    assert_eq!(judge(b"E\xff\xff\xff\xff").as_deref(), Some(other));
    assert_eq!(judge(b"R\0\0\0\x03"), Some(other.to_owned()));
    assert_eq!(judge(b"E\0\0\0\x20abc"), None);
}

//! Questions to name servers, and their answers.

use super::*;

fn answer(question: &[u8], code: u8, answers: u8) -> Vec<u8> {
    let mut bytes = question.to_vec();
    bytes[2] |= 0x80;
    bytes[3] = 0x80 | code;
    bytes[7] = answers;
    bytes
}

fn judged(code: u8, answers: u8) -> Option<Result<(), String>> {
    let question = question(7, "www.example.com", false).expect("it is a name");
    judge(&question, &answer(&question, code, answers))
        .map(|verdict| verdict.map_err(|trouble| trouble.to_string()))
}

#[test]
fn an_address_is_good_and_nothing_else() {
    assert_eq!(judged(0, 1), Some(Ok(())));
    for (code, answers, why) in [
        (0, 0, "it says: the name has no such address"),
        (2, 0, "it says: SERVFAIL (2)"),
        (3, 0, "it says: NXDOMAIN (3): there is no such name"),
        (5, 0, "it says: REFUSED (5)"),
        (4, 1, "it says: response code 4"),
    ] {
        assert_eq!(judged(code, answers), Some(Err(why.to_owned())), "code {code}");
    }
}

#[test]
fn questions_are_written_as_the_standard_says() {
    let bytes = question(0x1234, "a.example.", true).expect("it is a name");
    assert_eq!(bytes, b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x01a\x07example\0\0\x1c\0\x01");
    for wrong in ["a..b", ".a", &"x".repeat(64), &"a.".repeat(130)] {
        assert_eq!(question(1, wrong, false), None, "{wrong}");
    }
}

#[test]
fn answers_to_something_else_do_not_count() {
    let ours = question(7, "www.example.com", false).expect("it is a name");
    let other_number = question(8, "www.example.com", false).expect("it is a name");
    let other_name = question(7, "www.example.org", false).expect("it is a name");
    for stray in [&other_number, &other_name] {
        assert_eq!(judge(&ours, &answer(stray, 0, 1)), None);
    }
    assert_eq!(judge(&ours, &ours), None, "a question is no answer");
    for length in 0..ours.len() {
        assert_eq!(judge(&ours, &answer(&ours, 0, 1)[..length]), None, "cut after {length}");
    }
    // Servers may change the case of letters.
    let loud = question(7, "WWW.example.COM", false).expect("it is a name");
    assert_eq!(judge(&ours, &answer(&loud, 0, 1)), Some(Ok(())));
}

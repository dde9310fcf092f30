//! Tokens, certificates that count, and guesses.

use super::*;

const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 7));

fn token() -> TokenRecord {
    TokenRecord { node: "b".into(), expires_ms: 1_000, used: None }
}

#[test]
fn a_token_is_read_as_it_was_written() {
    let token = JoinToken { authority: [0xa5; 32], secret: [7; 20], node: "rack.b-2".into() };
    let text = token.to_string();
    assert_eq!(text.len(), 4 + 64 + 1 + 40 + 1 + 8);
    assert!(text.parse() == Ok(token), "{text}");
}

#[test]
fn what_is_no_token_is_refused_without_repeating_it() {
    let whole = JoinToken { authority: [1; 32], secret: [2; 20], node: "b".into() }.to_string();
    let cases = [
        ("", "a join token begins"),
        ("10.0.0.1:29001", "a join token begins"),
        (&whole[..40], "it is not whole"),
        (&whole[..100], "it is not whole"),
        (&whole[..whole.len() - 1], "it does not end with the name"),
        (&whole.replace("0101", "01zz"), "it is not whole"),
    ];
    for (text, start) in cases {
        let Err(NotAToken(why)) = text.parse::<JoinToken>() else { panic!("{text} was taken") };
        assert!(why.starts_with(start), "{text}: {why}");
    }
    // Every shorter part and every longer text, too.
    for end in 0..whole.len() {
        assert!(whole[..end].parse::<JoinToken>().is_err(), "{}", &whole[..end]);
    }
}

#[test]
fn a_token_opens_once_and_in_time() {
    let used = redeem(Some(&token()), 999, HERE).expect("it is in time");
    assert_eq!(used.used, Some(TokenUse { at_ms: 999, from: HERE }));
    assert_eq!(redeem(Some(&used), 1_500, HERE), Err(Unusable::Used { ago_ms: 501, from: HERE }));
    assert_eq!(redeem(Some(&token()), 1_000, HERE), Err(Unusable::Expired { ago_ms: 0 }));
    assert_eq!(redeem(None, 0, HERE), Err(Unusable::Unknown));
    assert!(!is_forgotten(&token(), TOKEN_MEMORY_MS) && is_forgotten(&token(), TOKEN_MEMORY_MS + 1_000));
}

#[test]
fn a_certificate_counts_until_its_node_is_removed_or_joins_again() {
    let record = NodeRecord { valid_since_us: 50, is_removed: false };
    assert_eq!(admit(None, 1), Ok(()));
    assert_eq!(admit(Some(&record), 49), Err(Outdated::Replaced));
    assert_eq!(admit(Some(&record), 50), Ok(()));
    let removed = NodeRecord { is_removed: true, ..record.clone() };
    assert_eq!(admit(Some(&removed), 60), Err(Outdated::Removed));
    // Whatever the clock says.
    assert_eq!(issue_time_us(Some(&record), 10), 51);
    assert_eq!(issue_time_us(Some(&record), 99), 99);
    assert_eq!(renew_at_s(100, 400), 300);
}

#[test]
fn a_bearer_is_read_from_what_was_written() {
    let node = NodeName::from("B_2.x");
    let serial = serial_of(1_795_305_661_000_000, u64::MAX);
    let shortest: Vec<u8> = serial.iter().copied().skip_while(|byte| *byte == 0).collect();
    let found = bearer(&[uri_of("ab12", &node)], &shortest);
    let expected = Bearer { cell: "ab12".into(), node, issued_us: 1_795_305_661_000_000 };
    assert_eq!(found, Some(expected));
    let texts = ["", "muster://ab12/nodes/", "muster://ab12", "http://ab12/nodes/b", "muster://x/nodes/a b"];
    for text in texts {
        assert_eq!(bearer(&[text.to_owned()], &shortest), None, "{text}");
    }
    assert_eq!(bearer(&[uri_of("c", &"a".into()), uri_of("c", &"b".into())], &shortest), None);
}

#[test]
fn all_addresses_of_one_host_are_one_guesser() {
    let of = |text: &str| guesser(text.parse().expect("an address"));
    assert_eq!(of("fd00::1"), of("fd00::2:1"));
    assert_ne!(of("fd00::1"), of("fd00:0:0:1::1"));
    assert_eq!(of("::ffff:10.0.0.8"), of("10.0.0.8"));
    assert_ne!(of("10.0.0.7"), of("10.0.0.8"));
}

//! What is an address with a prefix, and which networks have it.

use super::{Prefixed, check};
use std::collections::BTreeMap;
use wire::group::OptionValue;

fn prefixed(text: &str) -> Prefixed {
    Prefixed::parse(text).unwrap_or_else(|| panic!("{text} is one"))
}

#[test]
fn addresses_have_a_prefix_that_fits() {
    for text in ["10.0.0.1/24", "10.0.0.1/32", "2001:db8::1/64", "2001:db8::1/128", "10.0.0.1/1"] {
        assert_eq!(prefixed(text).to_string(), text);
    }
    for text in
        ["10.0.0.1", "10.0.0.1/33", "10.0.0.1/0", "2001:db8::1/129", "10.0.0/24", "a/24", "10.0.0.1/-1"]
    {
        assert_eq!(Prefixed::parse(text), None, "{text}");
    }
}

#[test]
fn a_network_has_what_its_prefix_covers() {
    let covers = |network: &str, other: &str| prefixed(network).covers(other.parse().expect("an address"));
    assert!(covers("10.1.2.3/24", "10.1.2.255"));
    assert!(!covers("10.1.2.3/24", "10.1.3.3"));
    assert!(covers("10.1.2.3/23", "10.1.3.3"));
    assert!(covers("10.1.2.3/32", "10.1.2.3"));
    assert!(!covers("10.1.2.3/32", "10.1.2.2"));
    assert!(covers("2001:db8::1/64", "2001:db8::ffff"));
    assert!(!covers("2001:db8::1/64", "2001:db8:0:1::1"));
    assert!(covers("2001:db8::1/128", "2001:db8::1"));
    assert!(!covers("2001:db8::1/64", "10.1.2.3"));
}

#[test]
fn what_cannot_move_is_refused() {
    let wrong = |address: &str| {
        let options = BTreeMap::from([("address".to_owned(), OptionValue::Text(address.to_owned()))]);
        check(&options).into_iter().map(|wrong| wrong.message).collect::<Vec<_>>()
    };
    assert_eq!(wrong("10.0.0.1/24"), Vec::<String>::new());
    assert_eq!(wrong("10.0.0.1"), ["`10.0.0.1` is no address with a prefix"]);
    for address in ["127.0.0.1", "::1", "ff02::1", "224.0.0.1", "0.0.0.0", "::"] {
        let expected = format!("`{address}` cannot go from one machine to another");
        assert_eq!(wrong(&format!("{address}/8")), [expected]);
    }
}

#[test]
fn what_stands_for_a_network_is_refused() {
    let wrong = |address: &str| {
        let options = BTreeMap::from([("address".to_owned(), OptionValue::Text(address.to_owned()))]);
        check(&options).into_iter().map(|wrong| wrong.message).collect::<Vec<_>>()
    };
    for address in ["10.0.0.0/24", "10.0.0.255/24", "10.0.3.255/22", "10.0.0.3/30"] {
        let expected = format!("`{address}` is the address of the network itself, or of all in it");
        assert_eq!(wrong(address), [expected]);
    }
    for address in
        ["10.0.0.0/31", "10.0.0.1/31", "10.0.0.0/32", "10.0.0.0/16", "10.0.1.0/16", "2001:db8::/64"]
    {
        let expected = if address == "10.0.0.0/16" { 1 } else { 0 };
        assert_eq!(wrong(address).len(), expected, "{address}");
    }
}

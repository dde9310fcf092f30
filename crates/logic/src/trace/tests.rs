//! Which trace contexts are continued, and which are begun anew.

use super::*;

const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

#[test]
fn what_is_read_is_written_the_same() {
    let parent = TraceParent::parse(GOOD.as_bytes()).expect("a traceparent");
    assert_eq!(parent.to_string(), GOOD);
    assert_eq!(parent.child(5).to_string(), "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000005-01");
    let unsampled = GOOD.replace("-01", "-00");
    assert_eq!(TraceParent::parse(unsampled.as_bytes()).expect("a traceparent").to_string(), unsampled);
    assert_eq!(TraceParent::start([0; 3], false).to_string(), format!("00-{:032x}-{:016x}-00", 1, 1));
}

#[test]
fn a_later_version_is_understood_as_far_as_we_know_it() {
    let later = GOOD.replacen("00-", "cc-", 1) + "-what-the-future-will-be-like";
    assert_eq!(TraceParent::parse(later.as_bytes()).expect("a traceparent").to_string(), GOOD);
}

#[test]
fn garbage_is_no_trace() {
    let wrong = [
        String::new(),
        "00".into(),
        GOOD.to_uppercase(),
        GOOD.replacen("00-", "ff-", 1),
        format!("{GOOD}-more"),
        format!("{GOOD} "),
        GOOD.replacen("00-", "cc-", 1) + ".more",
        GOOD.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
        GOOD.replace("00f067aa0ba902b7", &"0".repeat(16)),
        GOOD[..54].into(),
        GOOD.replace('-', "_"),
        GOOD.replace("4bf", "4b\""),
    ];
    for value in wrong {
        assert_eq!(TraceParent::parse(value.as_bytes()), None, "{value:?}");
    }
}

#[test]
fn a_state_is_bounded_and_of_the_right_form() {
    for right in ["rojo=00f067aa0ba902b7,congo=t61rcWkgMzE", "a=1, b=2", "tenant@vendor=x", "a=1,,b=2"] {
        assert!(is_state(right.as_bytes()), "{right}");
    }
    let many: Vec<String> = (0..33).map(|number| format!("k{number}=v")).collect();
    for wrong in
        ["", ",", "a", "=1", "A=1", "a=1,a=2", "a=b=c", "a=\u{7f}", &many.join(","), &"a=1,".repeat(200)]
    {
        assert!(!is_state(wrong.as_bytes()), "{wrong}");
    }
}

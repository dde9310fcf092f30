//! Names of units, and what systemd says of them. What becomes of real ones is in the integration tests.

use super::*;

#[test]
fn a_unit_has_a_name_and_a_type_that_can_be_started() {
    for name in ["nginx.service", "getty@tty1.service", "srv-db.mount", "a.b.socket", "a-b.path"] {
        assert!(is_unit(name), "{name}");
    }
    let long = format!("{}.service", "x".repeat(UNIT_MAX_BYTES));
    for name in [
        "nginx",
        "",
        ".service",
        "-x.service",
        "getty@.service",
        "a b.service",
        "../x.service",
        "x\\x2d.mount",
        "x.slice",
        &long,
    ] {
        assert!(!is_unit(name), "{name}");
    }
}

#[test]
fn what_systemd_says_of_a_unit_is_read() {
    let text = "LoadState=loaded\nActiveState=active\nSubState=running\nMainPID=61\nResult=success\nUnitFileState=\n";
    let unit = Unit::parse(text);
    assert_eq!(unit.presence(), Presence::There);
    assert_eq!(unit.main.map(|pid| pid.as_raw_nonzero().get()), Some(61));
    assert_eq!(unit.how(), "is active (running)");
    let failed =
        Unit::parse("LoadState=loaded\nActiveState=failed\nSubState=failed\nMainPID=0\nResult=exit-code\n");
    assert_eq!((failed.presence(), failed.main), (Presence::Gone, None));
    assert_eq!(failed.how(), "is failed (failed): exit-code");
    let missing = Unit::parse("LoadState=not-found\nActiveState=inactive\nSubState=dead\nResult=success\n");
    assert_eq!(missing.how(), "is no unit that systemd could load (not-found)");
    for (state, presence) in [
        ("reloading", Presence::There),
        ("activating", Presence::OnItsWay),
        ("deactivating", Presence::OnItsWay),
        ("inactive", Presence::Gone),
        ("", Presence::Gone),
    ] {
        assert_eq!(Unit::parse(&format!("ActiveState={state}")).presence(), presence, "{state}");
    }
}

#[test]
fn what_watches_over_a_unit_has_a_name_of_its_own() {
    assert_eq!(watcher("nginx.service", "12"), "muster-watch-12-nginx.service.service");
    assert_eq!(watcher("getty@tty1.service", "*"), "muster-watch-*-getty:40tty1.service.service");
    let names = ["a@b.service", "a:40b.service", "a-b.service"].map(|unit| watcher(unit, "1"));
    let distinct: std::collections::BTreeSet<_> = names.iter().collect();
    assert_eq!(distinct.len(), names.len(), "{names:?}");
}

/// `*` stands for anything, a `-` too.
#[test]
fn what_watches_over_one_unit_is_not_found_under_the_name_of_another() {
    let units = ["db.service", "shop-db.service", "1-db.service", "a@b.service", "x-a@b.service"];
    for (asked, other) in units.iter().flat_map(|asked| units.map(|other| (*asked, other))) {
        let pattern = watcher(asked, "*");
        let (head, tail) = pattern.split_once('*').expect("there is one");
        let name = watcher(other, "4711");
        let is_found = name.strip_prefix(head).is_some_and(|rest| rest.ends_with(tail));
        assert_eq!(is_found, asked == other, "{pattern} and {name}");
    }
}

//! What the store's primitive means, one behaviour at a time.

use super::*;

fn txn(checks: &[Check], writes: &[Write]) -> Txn {
    Txn { checks: checks.to_vec(), writes: writes.to_vec() }
}

fn put(key: &str, value: &str) -> Write {
    Write::put(key, value)
}

fn delete(key: &str) -> Write {
    Write::Delete { key: key.into() }
}

fn keys(snapshot: &Snapshot) -> Vec<(&str, &str, Revision)> {
    snapshot
        .entries
        .iter()
        .map(|entry| {
            (entry.key.as_str(), std::str::from_utf8(&entry.value).expect("tests write text"), entry.revision)
        })
        .collect()
}

#[test]
fn commit_gives_each_written_key_the_revision_of_its_commit() {
    let mut model = Model::default();
    assert_eq!(model.commit(&txn(&[], &[put("a", "1"), put("b", "2")])), Ok(1));
    assert_eq!(model.commit(&txn(&[], &[put("a", "3")])), Ok(2));
    let snapshot = model.read(&Read::Prefix(String::new()));
    assert_eq!(keys(&snapshot), [("a", "3", 2), ("b", "2", 1)]);
    assert_eq!(snapshot.revision, 2);
}

#[test]
fn failed_check_leaves_everything_as_it_was() {
    let mut model = Model::default();
    model.commit(&txn(&[], &[put("a", "1")])).expect("nothing is checked");
    let before = model.clone();
    let cases = [
        Check::Absent { key: "a".into() },
        Check::Exists { key: "b".into() },
        Check::Unchanged { key: "a".into(), revision: 2 },
        Check::Unchanged { key: "b".into(), revision: 1 },
    ];
    for check in cases {
        let key = check.key().to_owned();
        let refused = model.commit(&txn(&[check], &[put("a", "2"), put("c", "3")]));
        assert_eq!(refused, Err(Refused::CheckFailed { key }));
        assert_eq!(model, before);
    }
}

#[test]
fn checks_see_the_state_before_the_writes() {
    let mut model = Model::default();
    let create = txn(&[Check::Absent { key: "a".into() }], &[put("a", "1"), delete("a"), put("a", "2")]);
    assert_eq!(model.commit(&create), Ok(1));
    assert_eq!(keys(&model.read(&Read::Keys(vec!["a".into()]))), [("a", "2", 1)]);
}

#[test]
fn transaction_without_effect_has_no_revision() {
    let mut model = Model::default();
    assert_eq!(model.commit(&txn(&[], &[delete("a")])), Ok(0));
    assert_eq!(model.commit(&txn(&[Check::Absent { key: "a".into() }], &[])), Ok(0));
}

#[test]
fn changes_tell_each_key_once_as_it_is_now() {
    let mut model = Model::default();
    for writes in [
        vec![put("m/a", "1"), put("n", "0")],
        vec![put("m/a", "2")],
        vec![put("m/b", "1")],
        vec![delete("m/a")],
    ] {
        model.commit(&txn(&[], &writes)).expect("nothing is checked");
    }
    let changes = model.changes("m/", 1);
    assert_eq!(changes.revision, 4);
    assert!(!changes.is_whole);
    let told: Vec<_> =
        changes.changes.iter().map(|c| (c.key.as_str(), c.value.is_some(), c.revision)).collect();
    assert_eq!(told, [("m/b", true, 3), ("m/a", false, 4)]);
    assert_eq!(model.changes("m/", 4).changes, []);
}

#[test]
fn who_knows_less_than_is_remembered_is_told_everything() {
    let mut model = Model::default();
    model.commit(&txn(&[], &[put("stays", "1")])).expect("nothing is checked");
    for number in 0..=TOMBSTONES_MAX {
        let key = format!("k{number}");
        model.commit(&txn(&[], &[put(&key, "1")])).expect("nothing is checked");
        model.commit(&txn(&[], &[delete(&key)])).expect("nothing is checked");
    }
    let changes = model.changes("", 2);
    assert!(changes.is_whole, "the first deletion is forgotten");
    assert_eq!(changes.changes.len(), 1);
    assert!(!model.changes("", 3).is_whole, "the first deletion itself was revision 3");
}

#[test]
fn watcher_of_another_history_is_told_everything() {
    let mut model = Model::default();
    model.commit(&txn(&[], &[put("a", "1")])).expect("nothing is checked");
    let changes = model.changes("", 7);
    assert!(changes.is_whole);
    assert_eq!(changes.changes.len(), 1);
}

#[test]
fn what_exceeds_a_bound_is_refused_by_name() {
    let long_key = "k".repeat(KEY_SIZE_MAX_BYTES + 1);
    let cases = [
        (txn(&[], &[put("", "1")]), "key \"\" is not 1 to 256 bytes of printable ASCII"),
        (txn(&[], &[put("ä", "1")]), "key \"ä\" is not 1 to 256 bytes of printable ASCII"),
        (
            txn(&[Check::Exists { key: "a\n".into() }], &[]),
            "key \"a\\n\" is not 1 to 256 bytes of printable ASCII",
        ),
        (
            txn(&[], &[Write::put("big", vec![0; VALUE_SIZE_MAX_BYTES + 1])]),
            "the value of key big has 4194305 bytes; at most 4194304 are allowed",
        ),
        (
            txn(&[], &vec![delete("a"); TXN_PARTS_MAX + 1]),
            "a transaction of 65537 checks and writes is too large; at most 65536 are allowed",
        ),
    ];
    for (txn, message) in cases {
        let refused = Model::default().commit(&txn).expect_err(message);
        assert_eq!(refused.to_string(), message);
    }
    assert!(matches!(Model::default().commit(&txn(&[], &[put(&long_key, "")])), Err(Refused::BadKey { .. })));
}

//! Groups against the model that does one after the other.

use super::*;
use logic::model::{Check, Model, Read};
use logic::seed::Chance;

fn txn(chance: &mut Chance) -> Txn {
    let key = |chance: &mut Chance| format!("k{}", chance.below(5));
    let checks = (0..chance.below(3)).map(|_| match chance.below(3) {
        0 => Check::Absent { key: key(chance) },
        1 => Check::Exists { key: key(chance) },
        _ => Check::Unchanged { key: key(chance), revision: u64::from(chance.below(30)) },
    });
    let checks = checks.collect();
    let writes = (0..chance.below(4)).map(|number| match chance.below(3) {
        0 => Write::Delete { key: key(chance) },
        _ => Write::put(key(chance), format!("{number}")),
    });
    Txn { checks, writes: writes.collect() }
}

#[test]
fn group_is_the_model_doing_one_after_the_other() {
    for seed in 0..300 {
        let (mut chance, mut model) = (Chance::new(seed), Model::default());
        for _ in 0..8 {
            let txns: Vec<Txn> = (0..1 + chance.below(6)).map(|_| txn(&mut chance)).collect();
            let asked: Vec<&Txn> = txns.iter().collect();
            let before = model.read(&Read::Prefix(String::new()));
            let wanted = keys(&asked);
            let known = before.entries.iter().filter(|entry| wanted.contains(&entry.key.as_str()));
            let found = known.map(|entry| (entry.key.clone(), entry.revision)).collect();
            let group = Group::judge(&asked, found, before.revision);
            let expected: Vec<_> = txns.iter().map(|txn| model.commit(txn)).collect();
            assert_eq!(group.results, expected, "seed {seed}");
            let changes = model.changes("", before.revision);
            assert_eq!(group.revision, changes.revision, "seed {seed}");
            let ours: BTreeMap<&str, _> = group.writes.clone();
            let told = changes.changes.iter();
            let theirs: BTreeMap<&str, _> = told
                .map(|change| (change.key.as_str(), (change.value.as_deref(), change.revision)))
                .collect();
            assert_eq!(ours, theirs, "seed {seed}");
            assert_eq!(group.has_deleted(), theirs.values().any(|(value, _)| value.is_none()));
        }
    }
}

#[test]
fn transaction_out_of_bounds_is_refused_alone() {
    let bad = Txn { checks: vec![], writes: vec![Write::put("", "x")] };
    let good = Txn { checks: vec![], writes: vec![Write::put("a", "x")] };
    let group = Group::judge(&[&bad, &good], HashMap::new(), 4);
    assert_eq!(group.results, [Err(Refused::BadKey { key: String::new() }), Ok(5)]);
}

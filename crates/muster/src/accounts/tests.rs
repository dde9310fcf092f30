//! Changes on a real store: what is kept for the next manager, what others hear of, what is refused.

use super::*;
use crate::console::testing::Directory;
use wire::account::{AuditResult, PasswordHash, Role};

fn hash() -> PasswordHash {
    PasswordHash { memory_kib: 8, passes: 1, lanes: 1, salt: "00".into(), hash: "0badcafe".into() }
}

fn add(name: &str) -> Change {
    Change::AddUser { name: name.into(), role: Role::Operator, password: hash() }
}

/// Runs a story on a store in a directory.
fn with_store<F: Future<Output = ()>>(directory: &Directory, story: impl FnOnce(Store) -> F) {
    let (store, thread) = Store::open(&directory.0.join("store.sqlite"), 64 << 20).expect("a store");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    tokio::task::LocalSet::new().block_on(&runtime, story(store));
    thread.join().expect("the store does not panic");
}

fn entry(at_ms: u64, who: &str) -> AuditEntry {
    AuditEntry {
        at_ms,
        who: who.into(),
        way: "API".into(),
        from: [10, 0, 0, 9].into(),
        act: "config-apply".into(),
        on: String::new(),
        result: AuditResult::Done,
        code: None,
        left_out: 0,
    }
}

#[test]
fn changes_and_entries_outlive_the_manager() {
    let directory = Directory::new();
    with_store(&directory, |store| async {
        let (handle, accounts) = open(store).await.expect("a new store");
        let running = tokio::task::spawn_local(accounts.run());
        assert!(handle.change(add("anna")).await.is_ok_and(|text| text.contains("anna")));
        assert_eq!(handle.known.borrow().users.len(), 1);
        let refused = handle.change(add("anna")).await.expect_err("she is there");
        assert_eq!(refused.code, error_code::ACT_MAKES_NO_SENSE.0);
        handle.note(entry(5, "anna")).await;
        drop(handle);
        running.await.expect("it ends with its last handle");
    });
    with_store(&directory, |store| async {
        let (handle, accounts) = open(store).await.expect("what was written can be read");
        assert_eq!(handle.known.borrow().users_told().len(), 1);
        let running = tokio::task::spawn_local(accounts.run());
        assert_eq!(handle.entries(0, 10).await.expect("it runs"), [entry(5, "anna")]);
        assert_eq!(handle.entries(6, 10).await.expect("it runs"), []);
        drop(handle);
        running.await.expect("it ends with its last handle");
    });
}

#[test]
fn managers_that_share_a_store_hear_of_each_other_and_never_overwrite() {
    with_store(&Directory::new(), |store| async {
        let (one, first) = open(store.clone()).await.expect("a new store");
        let (mut two, second) = open(store.clone()).await.expect("the same store");
        let running = [tokio::task::spawn_local(first.run()), tokio::task::spawn_local(second.run())];
        one.change(add("anna")).await.expect("nobody is there yet");
        two.known.wait_for(|known| known.users.len() == 1).await.expect("it runs");
        two.change(Change::RemoveUser { name: "anna".into() }).await.expect("it knows her");
        // Whether it has heard of it yet or not: she is gone, and cannot be brought back by a change.
        let late = one.change(Change::SetRole { name: "anna".into(), role: Role::Admin }).await;
        assert!(late.is_err(), "{late:?}");
        assert!(two.known.borrow().users.is_empty());
        // A record that somebody has damaged opens nothing and harms nobody else.
        two.change(add("otto")).await.expect("a new name");
        let damage = Write::put("account/user/otto", "{}");
        store.commit(Txn { checks: Vec::new(), writes: vec![damage] }).await.expect("the store works");
        two.known.wait_for(|known| known.users.is_empty()).await.expect("it runs");
        two.change(add("emil")).await.expect("others are as before");
        drop((one, two, store));
        for running in running {
            running.await.expect("it ends with its last handle");
        }
    });
}

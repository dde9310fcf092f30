//! Bounds of the log: the oldest make room, and strangers never push out what people did.

use super::*;
use crate::console::testing::Directory;

fn entry(at_ms: u64, who: &str) -> AuditEntry {
    AuditEntry {
        at_ms,
        who: who.into(),
        way: "API".into(),
        from: [10, 0, 0, 9].into(),
        act: "login".into(),
        on: String::new(),
        result: AuditResult::Refused,
        code: Some("M2002".into()),
        left_out: 0,
    }
}

#[test]
fn strangers_have_a_bound_of_their_own_and_a_rate() {
    let mut rate = Rate::default();
    let admitted = (0..100).filter(|_| rate.admit(5).is_some()).count();
    assert_eq!(admitted, STRANGERS_PER_MINUTE_MAX as usize);
    assert_eq!(rate.admit(MINUTE_MS), Some(70), "the next one tells of those");
    assert_eq!(rate.admit(MINUTE_MS), Some(0));
}

#[test]
fn the_oldest_of_each_kind_make_room() {
    let directory = Directory::new();
    let (store, thread) = Store::open(&directory.0.join("store.sqlite"), 64 << 20).expect("a store");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let (log, wishes) = prepare();
        let entries = read(&store).await.expect("a new store");
        let mut audit = Audit::begin(store, wishes, entries);
        let mut writes = Vec::new();
        audit.add(entry(1, "anna"), false, &mut writes);
        for number in 0..STRANGERS_MAX as u64 + 10 {
            // One a minute: slow enough to be written down.
            audit.add(entry(number * MINUTE_MS, "nobody"), true, &mut writes);
        }
        for number in 0..KNOWN_MAX as u64 {
            audit.add(entry(2 + number, "otto"), false, &mut writes);
        }
        for part in writes.chunks(BATCH_MAX) {
            assert!(audit.commit(Txn { checks: Vec::new(), writes: part.to_vec() }).await);
        }
        let running = tokio::task::spawn_local(audit.keep());
        let entries = log.entries(0, usize::MAX).await.expect("it runs");
        assert_eq!(entries.len(), KNOWN_MAX + STRANGERS_MAX);
        assert!(entries.iter().all(|entry| entry.who != "anna"), "the oldest one made room");
        assert_eq!(entries.iter().filter(|entry| entry.who == "otto").count(), KNOWN_MAX);
        let newest = log.entries(0, 3).await.expect("it runs");
        assert_eq!(newest, entries[entries.len() - 3..]);
        drop(log);
        running.await.expect("it ends with its last handle");
    });
    thread.join().expect("the store does not panic");
}

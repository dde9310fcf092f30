//! Accounts on a store of a test's own, kept by a thread as a manager keeps them.

use super::AccountsHandle;
use crate::console::testing::Directory;
use store::Store;

/// Ends when the last handle is gone.
pub fn start() -> AccountsHandle {
    let (sender, receiver) = std::sync::mpsc::sync_channel(1);
    std::thread::spawn(move || {
        let directory = Directory::new();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let opened = Store::open(&directory.0.join("store.sqlite"), 64 << 20);
        let (store, thread) = opened.expect("a new directory takes a store");
        tokio::task::LocalSet::new().block_on(&runtime, async {
            let (handle, accounts) = super::open(store).await.expect("a new store can be read");
            sender.send(handle).expect("the test waits for it");
            accounts.run().await;
        });
        thread.join().expect("the store does not panic");
    });
    receiver.recv().expect("the thread has started")
}

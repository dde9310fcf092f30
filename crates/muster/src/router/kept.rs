//! The last settings and views, on disk, so that a router can serve without a manager.
//!
//! Writing happens apart from the control thread; newer states overtake older ones.

use crate::kept_file;
use rustix::process::setpriority_process;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use wire::router::RouterSettings;
use wire::view::View;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Kept {
    pub settings: Option<Arc<RouterSettings>>,
    pub views: Vec<Arc<View>>,
}

/// Reads what was kept; nothing if there is nothing or it is damaged.
pub fn read(path: &Path) -> Kept {
    kept_file::read(path).unwrap_or_default()
}

/// Priority of the thread that writes, as `nice` counts.
const NICENESS: i32 = 10;

/// Writes states to disk on a thread of its own. Ends when it is dropped, after the last state was written.
#[derive(Debug)]
pub struct Keeper {
    states: Option<SyncSender<Kept>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Keeper {
    pub fn start(path: PathBuf) -> std::io::Result<Self> {
        // Two: one being written and the next. More would only be overtaken.
        let (states, to_write) = sync_channel(2);
        let thread = std::thread::Builder::new()
            .name("router-kept".into())
            .spawn(move || write_all(&path, &to_write))?;
        Ok(Self { states: Some(states), thread: Some(thread) })
    }

    /// Hands over a state to be written; false if the disk is so slow that it must be offered again later.
    pub fn offer(&self, kept: Kept) -> bool {
        let states = self.states.as_ref().expect("present until it is dropped");
        !matches!(states.try_send(kept), Err(TrySendError::Full(_)))
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.states = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that keeps the router's state panicked");
        }
    }
}

fn write_all(path: &Path, states: &Receiver<Kept>) {
    // Requests come first: a large state takes long to write, and nobody waits for it.
    if let Err(error) = setpriority_process(None, NICENESS) {
        tracing::debug!(%error, "the router's state is kept with full priority");
    }
    while let Ok(mut kept) = states.recv() {
        while let Ok(newer) = states.try_recv() {
            kept = newer;
        }
        if let Err(error) = kept_file::write(path, &kept) {
            tracing::warn!(path = %path.display(), %error, "the router's state could not be kept on disk");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_damaged_file_counts_as_none_and_the_last_state_wins() {
        let directory = std::env::temp_dir().join(format!("muster-kept-{}", std::process::id()));
        fs::create_dir_all(&directory).expect("a temporary directory can be made");
        let path = directory.join("front.json");
        assert!(read(&path).views.is_empty());
        fs::write(&path, "{ half a fi").expect("the directory is ours");
        assert!(read(&path).settings.is_none());
        let view = |number| View {
            cluster: "shop".into(),
            epoch: wire::id::Epoch { generation: 1, number },
            policy: wire::view::Policy::RoundRobin,
            affinity: None,
            members: Vec::new(),
            ..View::default()
        };
        let keeper = Keeper::start(path.clone()).expect("threads can be started");
        for number in 1..=50 {
            while !keeper.offer(Kept { settings: None, views: vec![view(number).into()] }) {
                std::thread::yield_now();
            }
        }
        drop(keeper);
        assert_eq!(read(&path).views[0].epoch.number, 50);
        fs::remove_dir_all(&directory).expect("the directory is ours");
    }
}

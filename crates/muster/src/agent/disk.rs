//! What an agent keeps in `<state_dir>/agent`: the newest assignments, its incarnation.

use crate::kept_file::{read, write};
use serde::{Deserialize, Serialize};
use std::io::{self, ErrorKind};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::sync::watch;
use wire::agent::Assignment;

const ASSIGNMENTS: &str = "assignments.json";

/// The assignments in force, and the manager's generation that they came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remembered {
    pub generation: u64,
    pub assignments: Vec<Assignment>,
}

/// Wall-clock microseconds, but higher than at the last start even if somebody has set the clock back. A full disk keeps
/// nobody from starting: then only the clock says what is higher at the next start.
pub fn next_incarnation(directory: &Path) -> io::Result<u64> {
    let path = directory.join("incarnation.json");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros() as u64;
    let incarnation = read::<u64>(&path).map_or(now, |last| now.max(last + 1));
    match write(&path, &incarnation) {
        Err(error) if matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) => {
            tracing::warn!(path = %path.display(), %error, "the agent's start could not be written down");
        }
        written => written?,
    }
    Ok(incarnation)
}

/// The next start's will be higher than this.
pub fn keep_incarnation(directory: &Path, incarnation: u64) -> io::Result<()> {
    write(&directory.join("incarnation.json"), &incarnation)
}

pub fn recall(directory: &Path) -> Option<Remembered> {
    read(&directory.join(ASSIGNMENTS))
}

/// Writes each newest value until the sender is gone. Off the event loop: a slow disk must not delay the news of an exit.
pub async fn keep_remembering(
    directory: std::path::PathBuf,
    mut newest: watch::Receiver<Option<Remembered>>,
) {
    let path = directory.join(ASSIGNMENTS);
    let mut on_disk = recall(&directory);
    while newest.changed().await.is_ok() {
        let remembered = newest.borrow_and_update().clone();
        if remembered == on_disk {
            continue;
        }
        let (target, value) = (path.clone(), remembered.clone());
        let written = tokio::task::spawn_blocking(move || write(&target, &value)).await;
        match written.map_err(io::Error::other).flatten() {
            Ok(()) => on_disk = remembered,
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "cannot keep the assignments for the next start");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::scratch::Scratch;

    #[test]
    fn the_newest_assignments_are_recalled_and_a_damaged_file_counts_as_none() {
        let scratch = Scratch::new("disk-recall");
        let directory = &scratch.0;
        assert_eq!(recall(directory), None);
        let remembered = Remembered { generation: 3, assignments: Vec::new() };
        let (newest, seen) = watch::channel(None);
        newest.send_replace(Some(remembered.clone()));
        drop(newest);
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime can be built");
        runtime.block_on(keep_remembering(directory.clone(), seen));
        assert_eq!(recall(directory), Some(remembered));
        std::fs::write(directory.join(ASSIGNMENTS), "{\"generation\":").expect("the file is ours");
        assert_eq!(recall(directory), None);
    }

    #[test]
    fn incarnations_rise_even_if_the_clock_is_set_back() {
        let scratch = Scratch::new("disk-incarnation");
        let directory = &scratch.0;
        let far_future = u64::MAX - 10;
        write(&directory.join("incarnation.json"), &far_future).expect("the directory is ours");
        assert_eq!(next_incarnation(directory).expect("the directory is ours"), far_future + 1);
        assert_eq!(next_incarnation(directory).expect("the directory is ours"), far_future + 2);
    }
}

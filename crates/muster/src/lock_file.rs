//! Files that one process has at a time. The kernel gives them back when that process has ended, however it ended.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long who was killed may take to end. It has much memory to give back, and the machine may be busy.
const ENDING_MAX: Duration = Duration::from_secs(3);
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Takes the file for this process; None if another has it at this moment. Free again when the file is dropped.
pub fn try_take(path: &Path) -> io::Result<Option<File>> {
    let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// The same for who is started, maybe right after its predecessor was killed: one that is ending is waited for, at most
/// three seconds. Blocks its thread.
pub fn take(path: &Path) -> io::Result<Option<File>> {
    let deadline = Instant::now() + ENDING_MAX;
    loop {
        let taken = try_take(path)?;
        if taken.is_some() || Instant::now() >= deadline {
            return Ok(taken);
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_belongs_to_one_at_a_time_and_who_is_ending_is_waited_for() {
        let path = std::env::temp_dir().join(format!("muster-lock-file-{}", std::process::id()));
        let first = try_take(&path).expect("the file is ours").expect("nobody else has it");
        assert!(try_take(&path).expect("the file is ours").is_none());
        let next = std::thread::scope(|scope| {
            let next = scope.spawn(|| take(&path));
            std::thread::sleep(Duration::from_millis(50));
            drop(first);
            next.join().expect("it does not panic")
        });
        assert!(next.expect("the file is ours").is_some());
        std::fs::remove_file(&path).expect("the file is ours");
    }
}

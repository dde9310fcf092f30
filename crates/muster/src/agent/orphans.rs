//! Clears up behind a keeper that was killed: what it looked after comes to the agent, the subreaper above it.
//!
//! In a program that runs an agent only keepers, guardians and scripts (see `script`) are started. So a child of ours that is none
//! of these, and was not there before the agent, is left over from one of them that was killed.

use super::keeper::descendants;
use crate::readable::Readable;
use crate::script;
use rustix::process::{Pid, PidfdFlags, WaitOptions, pidfd_open, waitpid};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::time::Duration;

/// Sweeps before the rest is left to the next one. Each kills all that it sees, so more than two are rare.
const SWEEPS_MAX: u32 = 20;
/// How long a killed process may take to be gone. Longer only if it hangs in the kernel.
const GONE_WAIT: Duration = Duration::from_secs(1);

/// Which of our children are meant to be there.
#[derive(Debug)]
pub struct Children {
    /// Children when the agent started, e.g. of a shell that became this program.
    earlier: BTreeSet<i32>,
    keepers: RefCell<BTreeSet<i32>>,
}

impl Children {
    pub fn at_start() -> Self {
        Self { earlier: descendants::children().into_iter().collect(), keepers: RefCell::default() }
    }

    pub fn add_keeper(&self, pid: i32) {
        self.keepers.borrow_mut().insert(pid);
    }

    pub fn remove_keeper(&self, pid: i32) {
        self.keepers.borrow_mut().remove(&pid);
    }

    fn is_left_over(&self, pid: i32) -> bool {
        !self.earlier.contains(&pid) && !self.keepers.borrow().contains(&pid)
    }

    /// Kills what is left over, in one sweep.
    pub fn kill_left_over(&self) {
        script::while_none_starts(|is_script| {
            descendants::kill_below(|pid| self.is_left_over(pid) && !is_script(pid));
        });
    }

    /// Those that are left over now.
    fn left_over(&self) -> Vec<i32> {
        let mut left = Vec::new();
        script::while_none_starts(|is_script| {
            left = descendants::children();
            left.retain(|pid| self.is_left_over(*pid) && !is_script(*pid));
        });
        left
    }

    /// Kills and reaps until nothing is left over. False: something hangs in the kernel.
    pub async fn clear(&self) -> bool {
        for _ in 0..SWEEPS_MAX {
            self.kill_left_over();
            let left = self.left_over();
            if left.is_empty() {
                return true;
            }
            for pid in left {
                reap(pid).await;
            }
        }
        tracing::warn!("processes that a killed keeper left behind cannot be killed");
        false
    }
}

async fn reap(pid: i32) {
    let Some(pid) = Pid::from_raw(pid) else { return };
    let pidfd = pidfd_open(pid, PidfdFlags::NONBLOCK);
    if let Ok(pidfd) = pidfd.map_err(std::io::Error::from).and_then(Readable::watch) {
        // Out of time: it is looked at again in the next sweep.
        let _ = tokio::time::timeout(GONE_WAIT, pidfd.ready()).await;
    }
    let _ = waitpid(Some(pid), WaitOptions::NOHANG);
}

//! Control groups (version 2), where this machine has them and lets us: a fence around all that a member starts.
//!
//! Only used to find and kill processes; no resource is limited. Everything here is a help and may fail: process
//! groups and the search below the keeper do the same, only slower. Layout:
//! `<own group>/muster-<node>-<agent's pid>/<cluster>.<member>`.

use std::io;
use std::path::{Path, PathBuf};

/// Where a keeper and the agent's end race to make and remove the upper group.
const CREATE_ATTEMPTS_MAX: u32 = 3;

/// The group that an agent's members live below, if this machine has one that we may write to. Groups that an earlier
/// agent of this node left behind are emptied and removed.
pub fn find_base(node: &str) -> Option<PathBuf> {
    let own = own_group()?;
    let prefix = format!("muster-{node}-");
    sweep(&own, &prefix);
    let base = own.join(format!("{prefix}{}", std::process::id()));
    std::fs::create_dir(&base).ok()?;
    base.join("cgroup.procs").exists().then_some(base)
}

/// Makes a member's group; says whether it is there.
pub fn create(group: &Path) -> bool {
    (0..CREATE_ATTEMPTS_MAX).any(|_| std::fs::create_dir_all(group).is_ok())
}

/// Moves this process into the group.
pub fn join(group: &Path) -> io::Result<()> {
    std::fs::write(group.join("cgroup.procs"), "0")
}

/// Kills all that is in the group. Needs Linux 5.14; before that the search below the keeper has to do.
pub fn kill(group: &Path) {
    let _ = std::fs::write(group.join("cgroup.kill"), "1");
}

/// Removes a group that is empty.
pub fn remove(group: &Path) {
    let _ = std::fs::remove_dir(group);
}

/// Empties and removes the groups of agents that are gone.
fn sweep(own: &Path, prefix: &str) {
    let Ok(entries) = std::fs::read_dir(own) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.strip_prefix(prefix)) else { continue };
        let is_number = pid.bytes().all(|byte| byte.is_ascii_digit());
        if !is_number || Path::new("/proc").join(pid).exists() {
            continue;
        }
        kill(&entry.path());
        for group in std::fs::read_dir(entry.path()).into_iter().flatten().flatten() {
            if group.path().is_dir() {
                remove(&group.path());
            }
        }
        remove(&entry.path());
    }
}

/// The group of this process within the mounted version 2 hierarchy.
fn own_group() -> Option<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
    let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    locate(&mounts, &groups)
}

fn locate(mounts: &str, groups: &str) -> Option<PathBuf> {
    let own = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
    mounts.lines().find_map(|line| {
        let (left, right) = line.split_once(" - ")?;
        let mut fields = left.split(' ').skip(3);
        let (root, mount) = (fields.next()?, fields.next()?);
        let is_version_2 = right.starts_with("cgroup2 ");
        let below = Path::new(own).strip_prefix(root).ok()?;
        // A path with an escaped blank is not worth a decoder: process groups do.
        (is_version_2 && !mount.contains('\\')).then(|| Path::new(mount).join(below))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:3 - cgroup2 cgroup2 rw
";

    #[test]
    fn the_version_2_hierarchy_is_found_beside_version_1() {
        let group = locate(HYBRID, "3:cpu:/a\n0::/system.slice/muster.service\n");
        assert_eq!(group, Some("/sys/fs/cgroup/unified/system.slice/muster.service".into()));
    }

    #[test]
    fn the_root_of_a_partial_mount_is_taken_off() {
        let mounts = "41 31 0:38 /outer /mnt rw - cgroup2 cgroup2 rw\n";
        assert_eq!(locate(mounts, "0::/outer/inner\n"), Some("/mnt/inner".into()));
        assert_eq!(locate(mounts, "0::/elsewhere\n"), None);
    }

    #[test]
    fn without_version_2_there_is_none() {
        assert_eq!(locate("32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n", "1:cpu:/\n"), None);
    }
}

//! What is mounted on this machine, and who has a device.

use rustix::fs::{AtFlags, CWD, Dev, FileType, Mode, OFlags, StatxFlags, makedev, open, stat, statx};
use rustix::io::Errno;
use std::path::{Path, PathBuf};

/// Links that may lead from one to the next, as in the kernel.
const LINKS_MAX: u32 = 40;

/// One line of the kernel's list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    pub source: String,
    pub is_read_only: bool,
    /// What all files on it say.
    device: Dev,
    /// It is to be seen at another place too.
    is_elsewhere: bool,
}

impl Mount {
    /// The device whose users are those of this mount. None: nobody can tell them apart from those of another place, which may be
    /// the whole machine.
    pub fn users(&self) -> Option<Dev> {
        (!self.is_elsewhere).then_some(self.device)
    }
}

/// What is mounted there, the topmost if there are several.
pub fn at(mount_point: &Path) -> Result<Option<Mount>, String> {
    let path = plain(mount_point);
    let list = std::fs::read_to_string("/proc/self/mountinfo")
        .map_err(|error| format!("cannot see what is mounted: {error}"))?;
    Ok(find(&list, &path.to_string_lossy()))
}

fn find(list: &str, path: &str) -> Option<Mount> {
    let all: Vec<(String, Mount)> = list.lines().filter_map(parse).collect();
    let (_, mount) = all.iter().rev().find(|(point, _)| point == path)?;
    let is_elsewhere = all.iter().any(|(point, other)| point != path && other.device == mount.device);
    Some(Mount { is_elsewhere, ..mount.clone() })
}

/// As the kernel writes it, without links; and without a question to what is mounted there, whose server or disk may be gone.
fn plain(mount_point: &Path) -> PathBuf {
    let mut path = mount_point.to_path_buf();
    for _ in 0..LINKS_MAX {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            // It ends with `..`, or is the root.
            return path.canonicalize().unwrap_or(path);
        };
        let parent = parent.canonicalize().unwrap_or_else(|_| parent.to_path_buf());
        let place = parent.join(name);
        // What is known of it will do: nothing is mounted on a link.
        let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::STATX_DONT_SYNC | AtFlags::NO_AUTOMOUNT;
        let is_link = statx(CWD, &place, flags, StatxFlags::TYPE)
            .is_ok_and(|found| FileType::from_raw_mode(found.stx_mode.into()) == FileType::Symlink);
        match is_link.then(|| std::fs::read_link(&place)) {
            Some(Ok(target)) => path = parent.join(target),
            Some(Err(_)) | None => return place,
        }
    }
    path
}

/// `36 35 98:0 /root /point rw,noatime master:1 - ext4 /dev/sda rw`: where, and what.
fn parse(line: &str) -> Option<(String, Mount)> {
    let (left, right) = line.split_once(" - ")?;
    let mut left = left.split(' ').skip(2);
    let (device, point, options) = (left.next()?, left.nth(1)?, left.next()?);
    let (major, minor) = device.split_once(':')?;
    let mut right = right.split(' ').skip(1);
    let (source, super_options) = (right.next()?, right.next()?);
    let is_read_only = |options: &str| options.split(',').any(|option| option == "ro");
    let mount = Mount {
        source: decoded(source),
        is_read_only: is_read_only(options) || is_read_only(super_options),
        device: makedev(major.parse().ok()?, minor.parse().ok()?),
        is_elsewhere: false,
    };
    Some((decoded(point), mount))
}

/// Without the escapes that stand for blanks and the like: a backslash and three octal digits.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, others @ ..] = rest {
        let code = others.get(..3).filter(|_| *first == b'\\');
        let code = code.and_then(|digits| u8::from_str_radix(str::from_utf8(digits).ok()?, 8).ok());
        bytes.push(code.unwrap_or(*first));
        rest = if code.is_some() { &others[3..] } else { others };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Who on this machine has the device, whatever it sees of the machine's files; None: nobody.
pub fn holder(device: &Path) -> Result<Option<String>, String> {
    let Ok(found) = stat(device) else { return Ok(None) };
    match FileType::from_raw_mode(found.st_mode) {
        // The system lets nobody else open a device like this while it is mounted or part of another one.
        FileType::BlockDevice => {
            let opened = open(device, OFlags::RDONLY | OFlags::EXCL | OFlags::CLOEXEC, Mode::empty());
            match opened {
                Ok(_) => Ok(None),
                Err(Errno::BUSY) => Ok(Some("it is mounted, or part of another device".to_owned())),
                Err(error) => Err(format!("is not mounted: {} cannot be opened: {error}", device.display())),
            }
        }
        FileType::RegularFile => Ok(loop_device_of(device)),
        _ => Ok(None),
    }
}

/// Whether somebody on this machine has a device that is one; whoever uses a place on a server is not known, and an image may be seen
/// by others. One that cannot be opened is not believed to be in use.
pub fn has_holder(device: &Path) -> bool {
    let is_device =
        stat(device).is_ok_and(|found| FileType::from_raw_mode(found.st_mode) == FileType::BlockDevice);
    is_device && matches!(holder(device), Ok(Some(_)))
}

/// The loop device that has an image.
fn loop_device_of(image: &Path) -> Option<String> {
    let image = image.canonicalize().ok()?;
    let devices = std::fs::read_dir("/sys/block").ok()?.flatten();
    let holder = devices.filter_map(|entry| {
        let backing = std::fs::read_to_string(entry.path().join("loop/backing_file")).ok()?;
        (Path::new(backing.trim_end()) == image).then(|| entry.file_name().to_string_lossy().into_owned())
    });
    holder.map(|name| format!("/dev/{name} has it")).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_kernel_is_read() {
        let line =
            r"36 35 98:1 / /srv/the\040spool rw,noatime shared:1 master:2 - ext4 /dev/sd\040a ro,errors=x";
        let device = makedev(98, 1);
        let mount = Mount { source: "/dev/sd a".into(), is_read_only: true, device, is_elsewhere: false };
        assert_eq!(find(line, "/srv/the spool"), Some(mount));
        assert_eq!(find(line, "/srv"), None);
        assert_eq!(find("36 35 98:1 / /srv", "/srv"), None);
        let line = "36 35 98:1 / /srv rw - ext4 /dev/sda rw";
        assert!(find(line, "/srv").is_some_and(|mount| !mount.is_read_only));
    }

    /// A directory of the machine's own disk that was put to another place: who uses that disk is everybody.
    #[test]
    fn users_of_what_is_mounted_twice_are_nobodys() {
        let list = "1 0 8:1 / / rw - ext4 /dev/sda rw\n2 1 8:1 /data /srv rw - ext4 /dev/sda rw\n\
                    3 1 8:2 / /mnt rw - ext4 /dev/sdb rw\n4 1 8:2 / /mnt rw - ext4 /dev/sdb rw\n";
        let users = |path: &str| find(list, path).and_then(|mount| mount.users());
        assert_eq!((users("/srv"), users("/")), (None, None));
        assert_eq!(users("/mnt"), Some(makedev(8, 2)));
    }

    #[test]
    fn a_place_is_named_as_the_kernel_names_it() {
        let directory = std::env::temp_dir().join(format!("muster-mounts-{}", std::process::id()));
        std::fs::create_dir_all(directory.join("real")).expect("the temporary directory can be written");
        let directory = directory.canonicalize().expect("it is there");
        for (link, target) in [("one", "two"), ("two", "real"), ("round", "round")] {
            std::os::unix::fs::symlink(target, directory.join(link)).expect("the directory is ours");
        }
        let real = directory.join("real");
        for name in ["real", "one", "two"] {
            assert_eq!(plain(&directory.join(name)), real, "{name}");
        }
        assert_eq!(plain(&directory.join("one/../one")), real);
        assert_eq!(plain(&real.join("..")), directory);
        assert_eq!(plain(&directory.join("nobody")), directory.join("nobody"));
        // It ends.
        plain(&directory.join("round"));
        assert_eq!(plain(Path::new("/")), Path::new("/"));
        std::fs::remove_dir_all(directory).expect("it is ours");
    }

    #[test]
    fn what_is_no_escape_stays() {
        assert_eq!(decoded(r"a\040b\0\9"), r"a b\0\9");
    }

    #[test]
    fn the_mounted_proc_is_seen_and_a_plain_directory_is_not() {
        assert_eq!(
            at(Path::new("/proc")).map(|mount| mount.map(|mount| mount.is_read_only)),
            Ok(Some(false))
        );
        assert_eq!(at(Path::new(env!("CARGO_MANIFEST_DIR"))), Ok(None));
    }
}

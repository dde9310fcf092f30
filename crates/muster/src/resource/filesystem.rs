//! The type `filesystem`: a file system that is mounted where the group is.
//!
//! Before it is mounted, it is made sure that nobody on this machine has its device, and it may be repaired. It is unmounted
//! after all who use it are gone; whoever is left is killed. It counts as given back once it is unmounted and nobody on this
//! machine has its device; before that data may still be written. Programs and other threads do what may hang (mount, fsck, umount,
//! looks at devices and users), so that the guardian never waits for a disk before its deadline.
//! Not here: whether the machine before this one still writes; only a fence proves that.

mod mounts;
mod users;

use super::{Doing, Resource, Type, Wrong, options};
use crate::agent::guardian::Tools;
use crate::agent::keeper::message::Start;
use crate::config::definition::{Definition, Preset};
use crate::config::definitions::key;
use crate::config::kind::{Form, Kind};
use mounts::Mount;
use rustix::io::Errno;
use rustix::mount::{UnmountFlags, unmount};
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::time::sleep;
use wire::group::{OptionValue, ResourceOptions, ResourceSettings};

pub const TYPE: Type = Type {
    name: "filesystem",
    keys: KEYS,
    needed: &["device", "mount_point", "file_system"],
    shared: &[],
    timeout_ms: None,
    check,
    look,
    make,
};

const KEYS: &[Definition] = &[
    key(
        "device",
        Kind::Text(Form::Word),
        Preset::Else("none"),
        "\"/dev/disk/by-id/scsi-360a98000\"",
        "Of `filesystem`: what is mounted, as `mount` takes it: a device, an image file with the option `loop`, or a place \
         on a server.",
    ),
    key(
        "mount_point",
        Kind::Text(Form::AbsolutePath),
        Preset::Else("none"),
        "\"/srv/spool\"",
        "Of `filesystem`: the directory where it is mounted; it must be there on each node.",
    ),
    key(
        "file_system",
        Kind::Text(Form::Name),
        Preset::Else("none"),
        "\"ext4\"",
        "Of `filesystem`: its kind, as `mount` takes it.",
    ),
    key(
        "mount_options",
        Kind::List { of: Form::Word, least: 0, most: 100 },
        Preset::EmptyList,
        "[\"noatime\"]",
        "Of `filesystem`: options of `mount`.",
    ),
    key(
        "fsck",
        Kind::Choice(&["never", "auto", "always"]),
        Preset::Text("auto"),
        "\"always\"",
        "Of `filesystem`: whether `fsck` is run before it is mounted. `auto`: as at the start of a machine, so that it looks \
         only where that is due. `always`: it looks at everything, and repairs what it can without asking.",
    ),
    key(
        "forced_unmount",
        Kind::Boolean,
        Preset::Boolean(true),
        "false",
        "Of `filesystem`: processes that use it when it is to be unmounted get TERM, after a second KILL; where it is \
         mounted at another place too they cannot be told apart, and are left alone. If that does not help, the group is \
         not given to another node, and says why; it is tried again every five seconds. With `false` its stop fails \
         instead. When the node has to end the group at once it is unmounted by force in any case.",
    ),
];

/// Between TERM and KILL for those who use a file system that is to be unmounted.
const GRACE: Duration = Duration::from_secs(1);
/// How long an unmount is tried after a KILL, and the pause between: killed processes let go within milliseconds.
const TRY_FOR: Duration = Duration::from_secs(3);
const TRY_PAUSE: Duration = Duration::from_millis(10);
/// How often it is looked whether it is still mounted and can be written: the system tells nobody when a bad disk makes it
/// read-only.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The kernel of Linux answers so for what is not mounted.
const NOT_MOUNTED: [Errno; 2] = [Errno::INVAL, Errno::NOENT];

#[derive(Debug, Deserialize)]
struct Options {
    device: String,
    mount_point: PathBuf,
    file_system: String,
    #[serde(default)]
    mount_options: Vec<String>,
    fsck: String,
    forced_unmount: bool,
}

struct Filesystem {
    options: Arc<Options>,
}

fn check(options: &ResourceOptions) -> Vec<Wrong> {
    let mount_point = options.get("mount_point").and_then(OptionValue::text);
    let is_root = mount_point.is_some_and(|path| Path::new(path).parent().is_none());
    if is_root {
        let message = "`/` cannot be mounted and unmounted".to_owned();
        return vec![Wrong { key: "mount_point", message, allowed: "a directory of its own" }];
    }
    Vec::new()
}

fn look(settings: &ResourceSettings) -> Vec<String> {
    let Ok(Options { device, mount_point, .. }) = options(settings) else { return Vec::new() };
    let mut missing = Vec::new();
    if !mount_point.is_dir() {
        missing.push(format!("there is no directory {}", mount_point.display()));
    }
    // Labels and places on servers are found by `mount` alone.
    if device.starts_with('/') && !Path::new(&device).exists() {
        missing.push(format!("there is no device {device}"));
    }
    missing
}

fn make(settings: &ResourceSettings) -> Result<Rc<dyn Resource>, String> {
    Ok(Rc::new(Filesystem { options: Arc::new(options(settings)?) }))
}

/// What may wait for a disk.
impl Options {
    /// As it is mounted there now, if anything is.
    fn mounted(&self) -> Result<Option<Mount>, String> {
        mounts::at(&self.mount_point)
    }

    fn holder(&self) -> Result<Option<String>, String> {
        mounts::holder(Path::new(&self.device))
    }

    /// It is not mounted here. Somebody may still see it where it was mounted before, e.g. a container: then the kernel writes on.
    fn let_go(&self) -> Result<(), String> {
        let late = Instant::now() + TRY_FOR;
        while mounts::has_holder(Path::new(&self.device)) {
            if Instant::now() >= late {
                return Err(format!("is unmounted, but something on this machine still has {}", self.device));
            }
            std::thread::sleep(TRY_PAUSE);
        }
        Ok(())
    }

    /// Unmounts it after all who use it are killed.
    fn force_out(&self) -> Result<(), String> {
        let Some(mount) = self.mounted()? else { return self.let_go() };
        let late = Instant::now() + TRY_FOR;
        // Later also what waits for a server that is gone.
        let mut flags = UnmountFlags::empty();
        loop {
            match unmount(&self.mount_point, flags) {
                Ok(()) => return self.let_go(),
                Err(error) if NOT_MOUNTED.contains(&error) => return self.let_go(),
                Err(error) if Instant::now() >= late => {
                    return Err(format!("is still mounted on {}: {error}", self.mount_point.display()));
                }
                Err(_) => mount.users().into_iter().for_each(users::kill),
            }
            flags = UnmountFlags::FORCE;
            std::thread::sleep(TRY_PAUSE);
        }
    }
}

impl Filesystem {
    fn mount_point(&self) -> String {
        self.options.mount_point.display().to_string()
    }

    /// On another thread, which may wait.
    async fn ask<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&Options) -> Result<T, String> + Send + 'static,
    ) -> Result<T, String> {
        let options = self.options.clone();
        let asked = tokio::task::spawn_blocking(move || ask(&options)).await;
        asked.unwrap_or_else(|error| Err(format!("cannot be looked at: {error}")))
    }

    /// Programs for disks are out of the path of ordinary users.
    fn program(&self, tools: &Tools, command: &[String]) -> Start {
        let mut start = tools.start(command);
        let path = std::env::var("PATH").unwrap_or_default();
        start.environment.insert("PATH".to_owned(), format!("{path}:/usr/sbin:/usr/bin:/sbin:/bin"));
        start
    }

    async fn find_other(&self) -> Result<(), String> {
        if let Some(Mount { source, .. }) = self.ask(Options::mounted).await? {
            let mount_point = self.mount_point();
            return Err(format!(
                "is not mounted: {source} is mounted on {mount_point} already, and not by Muster"
            ));
        }
        match self.ask(Options::holder).await? {
            Some(holder) => {
                let device = &self.options.device;
                Err(format!("is not mounted: {device} is in use on this machine: {holder}"))
            }
            None => Ok(()),
        }
    }

    async fn mount(&self, tools: &Tools) -> Result<(), String> {
        let Options { device, file_system, mount_options, .. } = &*self.options;
        let mount_point = self.mount_point();
        self.repair(tools).await?;
        let mut command = vec!["mount".to_owned(), "-t".to_owned(), file_system.clone()];
        if !mount_options.is_empty() {
            command.extend(["-o".to_owned(), mount_options.join(",")]);
        }
        command.extend([device.clone(), mount_point.clone()]);
        tools.run(&self.program(tools, &command)).await?.good()?;
        match self.ask(Options::mounted).await? {
            Some(_) => Ok(()),
            None => Err(format!("is not on {mount_point}, although `mount` was content")),
        }
    }

    async fn repair(&self, tools: &Tools) -> Result<(), String> {
        let how: &[&str] = match self.options.fsck.as_str() {
            "never" => return Ok(()),
            "always" => &["-f", "-y"],
            _ => &["-p"],
        };
        let program = format!("fsck.{}", self.options.file_system);
        let mut command: Vec<String> = vec![program.clone()];
        command.extend(how.iter().map(|word| (*word).to_owned()));
        command.push(self.options.device.clone());
        let ended = match tools.run(&self.program(tools, &command)).await {
            Ok(ended) => ended,
            // Not every kind has one: then there is nothing to repair.
            Err(why) if why.contains("there is no command") => return Ok(()),
            Err(why) => return Err(format!("{why} ({program})")),
        };
        match ended.code {
            Some(0) => Ok(()),
            Some(1) => {
                tools.warn(format!("{program} has repaired {}", self.options.device));
                Ok(())
            }
            Some(_) | None => Err(format!("is not mounted: {program} {}", ended.how)),
        }
    }

    async fn unmount(&self, tools: &Tools) -> Result<(), String> {
        let Some(mount) = self.ask(Options::mounted).await? else { return self.ask(Options::let_go).await };
        let command = ["umount".to_owned(), self.mount_point()];
        let unmounted = tools.run(&self.program(tools, &command)).await?.good();
        let Err(why) = unmounted else { return self.ask(Options::let_go).await };
        if !self.options.forced_unmount {
            return match self.ask(Options::mounted).await? {
                Some(_) => Err(format!("could not be unmounted: umount {why}")),
                None => self.ask(Options::let_go).await,
            };
        }
        let users = mount.users();
        let asked = self.ask(move |_| Ok(users.map(users::ask_to_leave).unwrap_or_default())).await?;
        if !asked.is_empty() {
            tools.warn(format!("still used, so these are ended: {}", asked.join(", ")));
            sleep(GRACE).await;
        }
        let late = Instant::now() + TRY_FOR;
        while Instant::now() < late {
            self.ask(move |_| {
                users.into_iter().for_each(users::kill);
                Ok(())
            })
            .await?;
            let unmounted = tools.run(&self.program(tools, &command)).await?.good();
            if unmounted.is_ok() || self.ask(Options::mounted).await?.is_none() {
                return self.ask(Options::let_go).await;
            }
            sleep(TRY_PAUSE).await;
        }
        Err(format!("is still mounted on {}: umount {why}", self.mount_point()))
    }
}

impl Resource for Filesystem {
    fn may_start<'a>(&'a self, _tools: &'a Tools) -> Doing<'a, Result<(), String>> {
        Box::pin(self.find_other())
    }

    fn start<'a>(&'a self, tools: &'a Tools) -> Doing<'a, Result<(), String>> {
        Box::pin(self.mount(tools))
    }

    fn stop<'a>(&'a self, tools: &'a Tools) -> Doing<'a, Result<(), String>> {
        Box::pin(self.unmount(tools))
    }

    fn watch<'a>(&'a self, _tools: &'a Tools) -> Doing<'a, String> {
        Box::pin(async {
            let look = || self.ask(Options::mounted);
            let was_written = matches!(look().await, Ok(Some(mount)) if !mount.is_read_only);
            loop {
                sleep(LOOK_EVERY).await;
                match look().await {
                    Ok(Some(mount)) if mount.is_read_only && was_written => {
                        return "cannot be written any more: the system has made it read-only".into();
                    }
                    Ok(Some(_)) => {}
                    Ok(None) => return format!("was unmounted from {} by somebody", self.mount_point()),
                    Err(why) => return why,
                }
            }
        })
    }

    fn release(&self) -> Result<(), String> {
        self.options.force_out()
    }
}

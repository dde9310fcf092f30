//! Types of resources of failover groups: a file for each, and what each of them must say.
//!
//! A type says which keys it has, how it is started, stopped and watched, and how it is taken away when the group has to end
//! at once. A new one is a file here and its line in `TYPES`: configuration, checks, schema, reference and guardian follow.
//! All that is not a check of the configuration happens in the group's guardian, and on the thread that hears its deadline: nothing
//! here may block, but for `cut` and `release`; looks at disks and mounts belong onto other threads.
//! Not here: when something is started or stopped (see `logic::group`).

mod address;
mod exec;
mod filesystem;
mod ocf;
mod process;
mod systemd;

use crate::agent::guardian::Tools;
use crate::config::definition::Definition;
use serde::de::DeserializeOwned;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;
use wire::group::{ResourceOptions, ResourceSettings};

/// What a type says of itself.
#[derive(Debug, Clone, Copy)]
pub struct Type {
    pub name: &'static str,
    /// Keys that no other type has.
    pub keys: &'static [Definition],
    /// Of these, those that must be written.
    pub needed: &'static [&'static str],
    /// Of the keys that types share, those that it heeds.
    pub shared: &'static [&'static str],
    /// How long a start and a stop may take where the configuration does not say; None: as long as usual.
    pub timeout_ms: Option<u64>,
    /// What is wrong with values that are right one by one.
    pub check: fn(&ResourceOptions) -> Vec<Wrong>,
    /// What this machine lacks to run it. May read files and call programs that change nothing.
    pub look: fn(&ResourceSettings) -> Vec<String>,
    pub make: fn(&ResourceSettings) -> Result<Rc<dyn Resource>, String>,
}

/// Something that must not be in the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    pub key: &'static str,
    pub message: String,
    pub allowed: &'static str,
}

/// All types, in the order of the reference.
pub const TYPES: [Type; 6] =
    [exec::TYPE, process::TYPE, systemd::TYPE, address::TYPE, filesystem::TYPE, ocf::TYPE];

/// Longest time that a `release` may take, if the kernel lets go of what it does. Ten seconds: others may begin meanwhile, and what
/// hangs for longer will not end.
pub const CLEAR_MAX: Duration = Duration::from_secs(10);

/// Keys of programs that a type runs.
const OF_PROGRAMS: &[&str] = &["environment", "directory", "user"];

pub fn find(name: &str) -> Option<&'static Type> {
    TYPES.iter().find(|known| known.name == name)
}

pub type Doing<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// A resource of a group that runs here, in its guardian. Errors complete "it ...".
///
/// At most one of `may_start`, `start` and `stop` is under way, and no `watch` beside them. All may be dropped at any point,
/// because they take too long or because the group ends; what a dropped `start` has done is undone by `stop`, `cut` or `release`.
pub trait Resource {
    /// What speaks against its start, e.g. that somebody else has it. Changes nothing: before `start` nothing of it is ours, so
    /// nobody stops it or takes it away.
    fn may_start<'a>(&'a self, _tools: &'a Tools) -> Doing<'a, Result<(), String>> {
        Box::pin(std::future::ready(Ok(())))
    }

    /// Ends when it is there for whatever is started after it.
    fn start<'a>(&'a self, tools: &'a Tools) -> Doing<'a, Result<(), String>>;

    /// Ends when nothing of it is there. Fine for what was not started to its end.
    fn stop<'a>(&'a self, tools: &'a Tools) -> Doing<'a, Result<(), String>>;

    /// From a good start on: ends when it is not there any more, and says why.
    fn watch<'a>(&'a self, _tools: &'a Tools) -> Doing<'a, String> {
        Box::pin(std::future::pending())
    }

    /// The node may go on for a while, or without a lease: called whenever that changes, and at each renewal of the lease where
    /// `is_renewed` says so.
    fn renew(&self, _tools: &Tools) {}

    /// Whether it must be renewed as often as the lease.
    fn is_renewed(&self) -> bool {
        false
    }

    /// The first part of the kill path: what other machines see of it ends now. Also called by an agent whose guardian was
    /// killed, so it must look at the machine and need no memory.
    fn cut(&self) -> Result<(), String> {
        Ok(())
    }

    /// The second part, after all processes of the group are gone. An error means that something of it may still be there: then
    /// nobody else may have the group, and it is called again.
    fn release(&self) -> Result<(), String> {
        Ok(())
    }
}

/// Whether what the settings describe must be renewed as often as the lease.
pub fn is_renewed(settings: &ResourceSettings) -> bool {
    make(settings).is_ok_and(|resource| resource.is_renewed())
}

/// Makes what the settings describe.
pub fn make(settings: &ResourceSettings) -> Result<Rc<dyn Resource>, String> {
    let name = &settings.kind.name;
    let known =
        find(name).ok_or_else(|| format!("is of the type {name}, which this edition does not know"))?;
    (known.make)(settings)
}

/// What the configuration says for a type, as the type wants it.
fn options<T: DeserializeOwned>(settings: &ResourceSettings) -> Result<T, String> {
    // Only another edition could have written such a thing: the configuration was checked.
    let options = serde_json::to_value(&settings.kind.options);
    options.and_then(serde_json::from_value).map_err(|error| format!("is not understood: {error}"))
}

/// For types whose values need no more than their definitions.
fn nothing_wrong(_options: &ResourceOptions) -> Vec<Wrong> {
    Vec::new()
}

/// For types that need nothing of a machine that could be looked at.
fn nothing_missing(_settings: &ResourceSettings) -> Vec<String> {
    Vec::new()
}

//! Serves from a plugin-cfg.xml instead of a manager: reads it, looks names up, tells the control thread, watches it.
//!
//! Promises: a file that cannot be read as a whole is refused with line and column in the log, and the last good one
//! stays in use, also across a restart (the router keeps its settings and views). Clusters are told before the routes
//! that lead to them, and forgotten after, so that no request finds a route without its cluster. Names are looked up
//! again all the time: a server whose name resolves later, or to another address, gets its requests from then on.
//! Not here: what the file means (see `logic::plugin_cfg::serve`).

mod names;

use super::kept::Kept;
use crate::link::{Heard, Link, LinkEvent};
use logic::limits::PLUGIN_CFG_SIZE_MAX_BYTES;
use logic::plugin_cfg::serve::{self, KeyFile, Served};
use logic::plugin_cfg::{self, Problem};
use names::Names;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use wire::id::{ClusterName, Epoch};
use wire::link::{FromManager, ToManager};
use wire::router::RouterSettings;
use wire::settings::Listener;
use wire::view::View;

/// Changes that may wait for the control thread. Three for a reload; the source waits beyond.
const QUEUE_MAX: usize = 8;
/// Files are all that there is of this kind of cell, so there is one generation.
const GENERATION: u64 = 1;
/// Pause between look-ups of names that are known. Thirty seconds: usual times to live are longer.
const NAMES_INTERVAL: Duration = Duration::from_secs(30);
/// Pause between look-ups while a name is not known.
const UNKNOWN_NAMES_INTERVAL: Duration = Duration::from_secs(2);

/// Where the router's orders come from, and what the file does not say.
#[derive(Debug, Clone)]
pub struct FileOptions {
    pub path: PathBuf,
    /// Listeners, threads, log and bounds; the file's own settings are put in.
    pub base: RouterSettings,
    /// Listen where the file's virtual hosts are, because nobody said where.
    pub listens_at_virtual_hosts: bool,
}

impl FileOptions {
    /// Of the file that keeps the last good state: one for each plugin-cfg.xml.
    pub fn kept_name(&self) -> String {
        let path = std::path::absolute(&self.path).unwrap_or_else(|_| self.path.clone());
        let plain = |byte: &u8| if byte.is_ascii_alphanumeric() { char::from(*byte) } else { '-' };
        let name: String = path.as_os_str().as_encoded_bytes().iter().map(plain).collect();
        // Names of files end at 255 bytes; what is cut off in front is what differs least.
        format!("plugin-cfg{}.json", &name[name.len().saturating_sub(200)..])
    }
}

/// Why a file is not served from. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("{path} cannot be read")]
    Unreadable {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{path} has more than {PLUGIN_CFG_SIZE_MAX_BYTES} bytes")]
    TooLarge { path: PathBuf },
    #[error("{path} is not a plugin-cfg.xml: {what}")]
    NotUnderstood { path: PathBuf, what: String },
    #[error("{path}: {problems}")]
    Wrong { path: PathBuf, problems: String },
    #[error("{path}, {place}: the name {host} is not known, and IgnoreDNSFailures is not set")]
    UnknownName { path: PathBuf, place: String, host: String },
    #[error(
        "{path} has no virtual host with a port to listen on; say one with --listen, for example 0.0.0.0:80"
    )]
    NoPort { path: PathBuf },
}

/// What tells one version of a file from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    length: u64,
    inode: u64,
}

/// The file as it was served last, and what has to be told when it changes.
#[derive(Debug)]
pub struct FileSource {
    options: FileOptions,
    served: Served,
    names: Names,
    key_files: BTreeMap<String, KeyFile>,
    stamp: Option<Stamp>,
    /// The number of the newest views.
    number: u64,
}

/// How a router that begins came by its state.
#[derive(Debug)]
pub enum Begun {
    /// From the file.
    Fresh,
    /// From the last good one: this one is refused.
    Kept { why: FileError },
}

impl FileSource {
    /// Reads the file for the first time. The state that comes with it is what the router begins with; where the file
    /// is refused, it is `kept` with the present listeners, and without that there is nothing to serve from.
    pub fn begin(options: FileOptions, kept: Kept) -> Result<(Self, Kept, Begun), FileError> {
        let mut source = Self {
            options,
            served: Served::default(),
            names: Names::default(),
            key_files: BTreeMap::new(),
            stamp: None,
            number: 1,
        };
        source.stamp = stamp_of(&source.options.path);
        let read = source.read().and_then(|served| {
            source.names = Names::of(served.addresses_in(&kept.views));
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.map_err(|error| source.unreadable(error))?;
            let names = runtime.block_on(source.names.looked_up(&served));
            source.accept(served, names)
        });
        match (read, kept.settings) {
            (Ok(()), _) => {
                let state = source.state(source.settings()?);
                Ok((source, state, Begun::Fresh))
            }
            (Err(why), Some(settings)) => {
                let mut views = kept.views;
                for view in &mut views {
                    Arc::make_mut(view).epoch = Epoch { generation: GENERATION, number: source.number };
                }
                let base = source.options.base.clone();
                let listeners = match source.options.listens_at_virtual_hosts {
                    true => settings.listeners.clone(),
                    false => base.listeners,
                };
                let (threads, access_log) = (base.threads, base.access_log);
                let settings =
                    RouterSettings { listeners, threads, access_log, ..RouterSettings::clone(&settings) };
                Ok((source, Kept { settings: Some(settings.into()), views }, Begun::Kept { why }))
            }
            (Err(why), None) => Err(why),
        }
    }

    /// Reads and judges the file, without looking anything up.
    fn read(&self) -> Result<Served, FileError> {
        let path = self.options.path.clone();
        let mut bytes = Vec::new();
        let bound = PLUGIN_CFG_SIZE_MAX_BYTES as u64 + 1;
        let file = File::open(&path).map_err(|source| self.unreadable(source))?;
        file.take(bound).read_to_end(&mut bytes).map_err(|source| self.unreadable(source))?;
        if bytes.len() > PLUGIN_CFG_SIZE_MAX_BYTES {
            return Err(FileError::TooLarge { path });
        }
        let document = plugin_cfg::read(&bytes)
            .map_err(|error| FileError::NotUnderstood { path: path.clone(), what: error.to_string() })?;
        if !document.problems.is_empty() {
            return Err(FileError::Wrong { path, problems: listed(&document.problems) });
        }
        serve::plan(&document.config)
            .map_err(|problem| FileError::Wrong { path, problems: listed(&[problem]) })
    }

    fn unreadable(&self, source: io::Error) -> FileError {
        FileError::Unreadable { path: self.options.path.clone(), source }
    }

    /// Takes what was read over, unless a name that it needs is not known.
    fn accept(&mut self, served: Served, names: Names) -> Result<(), FileError> {
        if !served.ignores_dns_failures
            && let Some(target) = served.targets().iter().find(|target| !names.knows(&target.host))
        {
            let place = format!("line {}, column {}", target.place.line, target.place.column);
            let path = self.options.path.clone();
            return Err(FileError::UnknownName { path, place, host: target.host.clone() });
        }
        let path = &self.options.path;
        for problem in &served.problems {
            tracing::warn!(file = %path.display(), "{problem}");
        }
        for host in served.targets().iter().map(|target| &target.host).filter(|host| !names.knows(host)) {
            tracing::warn!(host, "the name is not known; its servers get requests as soon as it is");
        }
        self.key_files = key_files(&served);
        (self.served, self.names) = (served, names);
        Ok(())
    }

    fn state(&self, settings: RouterSettings) -> Kept {
        Kept { settings: Some(settings.into()), views: self.views().into_iter().map(Arc::new).collect() }
    }

    fn views(&self) -> Vec<View> {
        let epoch = Epoch { generation: GENERATION, number: self.number };
        self.served.views(epoch, self.names.addresses(), &self.key_files)
    }

    fn settings(&self) -> Result<RouterSettings, FileError> {
        let mut settings = self.options.base.clone();
        settings.routes.clone_from(&self.served.routes);
        settings.trusted_proxies.clone_from(&self.served.trusted_proxies);
        settings.matches_listener_port = self.served.matches_listener_port;
        if self.options.listens_at_virtual_hosts {
            let ports = self.served.ports_to_listen().into_iter();
            let any = |port| Listener::plain((std::net::Ipv4Addr::UNSPECIFIED, port).into());
            settings.listeners = ports.map(any).collect();
        }
        if settings.listeners.is_empty() {
            return Err(FileError::NoPort { path: self.options.path.clone() });
        }
        Ok(settings)
    }

    /// Follows the file until `stop` turns true or the returned link is dropped. Must be called within a `LocalSet`.
    pub fn follow(self, stop: watch::Receiver<bool>) -> Link {
        let (to_manager, unheard) = mpsc::channel(1);
        let (events_in, events) = mpsc::channel(QUEUE_MAX);
        // Now and not in the task: one that comes before the task runs must count too.
        let hang_up = match signal(SignalKind::hangup()) {
            Ok(hang_up) => Some(hang_up),
            Err(error) => {
                tracing::warn!(%error, "SIGHUP will not reload the file");
                None
            }
        };
        tokio::task::spawn_local(self.follow_on(stop, hang_up, events_in, unheard));
        Link { to_manager, events, heard: Heard::default() }
    }

    async fn follow_on(
        mut self,
        mut stop: watch::Receiver<bool>,
        mut hang_up: Option<Signal>,
        events: mpsc::Sender<LinkEvent>,
        mut unheard: mpsc::Receiver<ToManager>,
    ) {
        let mut look_at = tokio::time::Instant::now() + self.refresh_interval();
        let mut look_up_at = tokio::time::Instant::now() + self.names_interval();
        loop {
            // Every branch may be cancelled: they only wait.
            let wish = tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return,
                () = next(&mut hang_up) => Wish::Reload,
                () = tokio::time::sleep_until(look_at) => Wish::Look,
                () = tokio::time::sleep_until(look_up_at) => Wish::LookUp,
                report = unheard.recv() => match report {
                    // Nobody manages this router, so nobody wants its reports.
                    Some(_) => continue,
                    None => return,
                },
            };
            let told = match wish {
                Wish::Reload => self.reload(&events).await,
                Wish::Look if stamp_of(&self.options.path) != self.stamp => self.reload(&events).await,
                Wish::Look => Ok(()),
                Wish::LookUp => self.look_names_up(&events).await,
            };
            if told.is_err() {
                return;
            }
            let now = tokio::time::Instant::now();
            if !matches!(wish, Wish::LookUp) {
                look_at = now + self.refresh_interval();
            }
            look_up_at = now + self.names_interval();
        }
    }

    fn refresh_interval(&self) -> Duration {
        // As good as never, and far from the end of the clock.
        const NEVER: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
        match self.served.refresh_interval_s {
            // Zero would keep a processor busy with looking.
            Some(seconds) => Duration::from_secs(seconds.max(1)).min(NEVER),
            None => NEVER,
        }
    }

    fn names_interval(&self) -> Duration {
        let is_known = |target: &serve::Target| self.names.knows(&target.host);
        if self.served.targets().iter().all(is_known) { NAMES_INTERVAL } else { UNKNOWN_NAMES_INTERVAL }
    }

    /// Takes the file as it is now, or says why not. An error means that nobody listens any more.
    async fn reload(&mut self, events: &mpsc::Sender<LinkEvent>) -> Result<(), Gone> {
        self.stamp = stamp_of(&self.options.path);
        let accepted = match self.read() {
            Ok(served) => {
                let names = self.names.looked_up(&served).await;
                self.accept(served, names)
            }
            Err(error) => Err(error),
        };
        match accepted.and_then(|()| self.settings()) {
            Ok(settings) => {
                let file = self.options.path.display();
                let (routes, clusters) = (settings.routes.len(), self.served.clusters().len());
                tracing::info!(%file, routes, clusters, "the file was taken over");
                self.tell(events, settings).await
            }
            Err(error) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                tracing::error!(cause, "{error}; the last good file stays in use");
                Ok(())
            }
        }
    }

    /// Clusters first and routes after them; what is gone is forgotten last.
    async fn tell(&mut self, events: &mpsc::Sender<LinkEvent>, settings: RouterSettings) -> Result<(), Gone> {
        self.number += 1;
        let names: Vec<ClusterName> = self.served.clusters();
        let generation = GENERATION;
        let settings = Box::new(settings);
        for message in [
            FromManager::Views(self.views()),
            FromManager::Settings { generation, settings },
            FromManager::Clusters { generation, names },
        ] {
            events.send(LinkEvent::Message(message)).await.map_err(|_| Gone)?;
        }
        Ok(())
    }

    async fn look_names_up(&mut self, events: &mpsc::Sender<LinkEvent>) -> Result<(), Gone> {
        let names = self.names.looked_up(&self.served).await;
        if names == self.names {
            return Ok(());
        }
        for host in names.differing_from(&self.names) {
            tracing::info!(
                host,
                address = names.addresses().get(host).map(tracing::field::display),
                "the name has another address"
            );
        }
        self.names = names;
        self.number += 1;
        let views = FromManager::Views(self.views());
        events.send(LinkEvent::Message(views)).await.map_err(|_| Gone)
    }
}

/// What the source was woken for.
enum Wish {
    Reload,
    Look,
    LookUp,
}

/// The control thread has ended.
struct Gone;

async fn next(hang_up: &mut Option<Signal>) {
    match hang_up {
        Some(hang_up) => {
            hang_up.recv().await;
        }
        None => std::future::pending().await,
    }
}

/// None where the file is not there.
fn stamp_of(path: &Path) -> Option<Stamp> {
    use std::os::unix::fs::MetadataExt as _;
    let metadata = std::fs::metadata(path).ok()?;
    Some(Stamp { modified: metadata.modified().ok(), length: metadata.len(), inode: metadata.ino() })
}

/// The first few, on one line.
fn listed(problems: &[Problem]) -> String {
    /// More than that nobody reads in a log.
    const SHOWN_MAX: usize = 5;
    let shown: Vec<String> = problems.iter().take(SHOWN_MAX).map(Problem::to_string).collect();
    let more = problems.len().saturating_sub(SHOWN_MAX);
    let more = if more > 0 { format!("; and {more} more") } else { String::new() };
    shown.join("; ") + &more
}

/// PEM files beside the keyrings, which only the vendor's own library can read: `plugin-key.pem` for `plugin-key.kdb`.
fn key_files(served: &Served) -> BTreeMap<String, KeyFile> {
    let keyrings = served.targets().iter().filter_map(|target| target.keyring.as_ref());
    let mut found = BTreeMap::new();
    for keyring in keyrings {
        if found.contains_key(keyring) {
            continue;
        }
        let path = Path::new(keyring).with_extension("pem");
        match std::fs::read(&path) {
            Ok(bytes) => {
                let has_key = bytes.windows(12).any(|part| part == b"PRIVATE KEY-");
                let path = path.display().to_string();
                found.insert(keyring.clone(), KeyFile { path, has_key });
            }
            Err(error) => tracing::warn!(
                keyring, wanted = %path.display(), %error,
                "a keyring of this kind cannot be read, and no PEM file is beside it: its servers must have \
                 certificates of an authority that the system knows"
            ),
        }
    }
    found
}

//! `clplogcc`: collects what helps to find out what happened, in one bounded file without secrets.
//!
//! What is taken: status, events and configuration of the cell as the API tells them, and the ends of the logs of this machine.
//! Never taken: the directory with certificates and keys, tokens, passwords, the store. What may be secret in the configuration
//! is left out (`config::blank`).

mod tar;

use super::common::{Failure, SUCCEEDED, known_node, machine_name, own_node, run, status};
use super::words::{Flag, Words, plain, valued};
use crate::cli::Exit;
use crate::cli::client::Api;
use crate::config;
use flate2::Compression;
use flate2::write::GzEncoder;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use tar::Archive;
use wire::status::{CellStatus, ConfigText, Event};

const HELP: &str = "\
clplogcc: collect status, events, configuration and the logs of this machine into one file.

  clplogcc [-t type1|type2|type3] [-l] [-o DIRECTORY] [-h SERVER]

  -t TYPE        how much of each log: type1 10 MiB (default), type2 50 MiB, type3 1 MiB, counted from its end
  -l             logs of this machine only; it is always so. Without -l the other servers are named, where this has
                 to be run as well
  -o DIRECTORY   where SERVER-log.tar.gz is written; default: the current directory
  -h SERVER      the name for the file; default: this machine's

Certificates, keys, tokens and passwords are never taken. Of the configuration everything that may be one is left out:
environments and parameters, arguments of programs, comments, and values whose key sounds like it.
Where the cell is not reached, only logs are collected, and that is said.

Also --config FILE, --api URL, --token-file FILE, --state-dir DIR.

Examples:
  clplogcc
  clplogcc -t type3 -l -o /root

Exit codes: 0 it is done, else it is not.
";

const FLAGS: &[Flag] = &[valued("-t"), plain("-l"), valued("-o"), valued("-h")];

const MIB: u64 = 1 << 20;
/// Logs that are taken. 500: groups and members of one machine.
const LOGS_MAX: usize = 500;
/// Logs are taken up to this, all together, times what one may have.
const LOGS_SIZE_FACTOR: u64 = 20;

pub fn clplogcc(words: &[String]) -> Exit {
    run("clplogcc", HELP, FLAGS, words, collect)
}

async fn collect(words: Words) -> Result<String, Failure> {
    if let Some(word) = words.rest.first() {
        return Err(Failure::WrongUse(format!("`{word}` is not expected here")));
    }
    let log_max = match words.value("-t").unwrap_or("type1") {
        "type1" => 10 * MIB,
        "type2" => 50 * MIB,
        "type3" => MIB,
        other => return Err(Failure::WrongUse(format!("`-t` is `{other}`; allowed: type1, type2, type3"))),
    };
    let (cell, notes) = ask(&words).await;
    let name = match (&cell, words.value("-h")) {
        (Some(told), Some(host)) => known_node(&told.status, host)?.0,
        (None, Some(host)) => host.to_owned(),
        (Some(told), None) => {
            own_node(&words.target(), &told.status).map_or_else(machine_name, |node| node.0)
        }
        (None, None) => machine_name(),
    };
    let is_plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    if !is_plain || name.starts_with('.') {
        return Err(Failure::WrongUse(format!("`{name}` is no name of a server")));
    }
    let path = PathBuf::from(words.value("-o").unwrap_or(".")).join(format!("{name}-log.tar.gz"));
    let state_dir = state_dir(&words);
    let written = write(&path, cell.as_ref(), &notes, state_dir.as_deref(), log_max);
    let count = written.map_err(|error| Failure::No(format!("{}: {error}", path.display())))?;
    notes.iter().for_each(|note| eprintln!("{note}"));
    eprintln!("{count} files are in {}", path.display());
    if let (Some(told), false) = (&cell, words.has("-l")) {
        let others = told.status.nodes.iter().map(|node| node.node.0.as_str()).filter(|other| *other != name);
        let others: Vec<&str> = others.collect();
        if !others.is_empty() {
            eprintln!(
                "logs of the others are on those machines; run it there as well: {}",
                others.join(", ")
            );
        }
    }
    Ok(SUCCEEDED.into())
}

/// What the cell tells.
struct Told {
    status: CellStatus,
    events: Vec<Event>,
    config: Option<String>,
}

/// None where it is not reached; the notes say what is missing and why.
async fn ask(words: &Words) -> (Option<Told>, Vec<String>) {
    let api = match Api::find(&words.target()) {
        Ok(api) => api,
        Err(error) => return (None, vec![format!("the cell was not asked: {error}")]),
    };
    let status = match status(&api).await {
        Ok(status) => status,
        Err(Failure::Client(error)) => return (None, vec![format!("the cell was not asked: {error}")]),
        Err(Failure::No(why) | Failure::WrongUse(why)) => {
            return (None, vec![format!("the cell was not asked: {why}")]);
        }
    };
    let mut notes = Vec::new();
    let events = api.get("/api/v1/events").await.unwrap_or_else(|error| {
        notes.push(format!("there are no events: {error}"));
        Vec::new()
    });
    let config = match api.get::<ConfigText>("/api/v1/config").await {
        Ok(config) => config::blank(&config.text, "muster.toml")
            .inspect_err(|_| {
                notes.push("the configuration in force cannot be read here: is this an older program?".into())
            })
            .ok(),
        Err(error) => {
            notes.push(format!("there is no configuration: {error}"));
            None
        }
    };
    (Some(Told { status, events, config }), notes)
}

fn state_dir(words: &Words) -> Option<PathBuf> {
    let target = words.target();
    target.state_dir.or_else(|| {
        let path = target.config.unwrap_or_else(config::default_path);
        let configured = config::load(&path).ok().map(|(settings, _)| PathBuf::from(settings.state_dir));
        configured.or_else(|| config::default_state_dir().map(PathBuf::from))
    })
}

fn write(
    path: &Path,
    cell: Option<&Told>,
    notes: &[String],
    state_dir: Option<&Path>,
    log_max: u64,
) -> std::io::Result<usize> {
    // Logs may hold what only their owner shall read: a file of our own, which then takes the place.
    let beside = path.with_extension("new");
    remove_if_there(&beside)?;
    let file = File::options().write(true).create_new(true).mode(0o600).open(&beside)?;
    let mut archive = Archive::new(GzEncoder::new(file, Compression::default()));
    let version = format!("muster {}\n{}\n", env!("CARGO_PKG_VERSION"), notes.join("\n"));
    archive.add("version.txt", version.as_bytes())?;
    if let Some(told) = cell {
        archive.add("status.json", &json(&told.status))?;
        archive.add("events.json", &json(&told.events))?;
        if let Some(config) = &told.config {
            archive.add("muster.toml", config.as_bytes())?;
        }
    }
    for system in ["/proc/uptime", "/proc/meminfo", "/proc/loadavg", "/proc/mounts", "/etc/os-release"] {
        if let Ok(text) = tail(Path::new(system), MIB) {
            archive.add(&format!("system{system}"), &text)?;
        }
    }
    let mut left = log_max * LOGS_SIZE_FACTOR;
    for log in state_dir.map(|dir| logs(&dir.join("log"))).unwrap_or_default() {
        let Ok(text) = tail(&log, log_max.min(left)) else { continue };
        left -= text.len() as u64;
        let name = log.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        archive.add(&format!("log/{name}"), &text)?;
    }
    let count = archive.count();
    archive.end()?.finish()?.flush()?;
    std::fs::rename(&beside, path)?;
    Ok(count)
}

fn remove_if_there(path: &Path) -> std::io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn json<T: serde::Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec_pretty(value).expect("what the API tells has only names as keys")
}

/// Ordinary files of a directory, by name.
fn logs(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let files = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()));
    let mut paths: Vec<PathBuf> = files.map(|entry| entry.path()).take(LOGS_MAX).collect();
    paths.sort();
    paths
}

/// At most so much of a file, from its end.
fn tail(path: &Path, most: u64) -> std::io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(most)))?;
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

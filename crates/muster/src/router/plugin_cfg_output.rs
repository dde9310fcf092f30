//! Keeps the plugin-cfg.xml for web servers in front of the cell's routers, and runs the change script after it changed.
//!
//! Promises: the file is judged before it is put in its place, whole; a failure leaves the old one and is tried again;
//! the script runs one at a time, after a change in more than comments, for a bounded time. Not here: what is in the
//! file (`logic::plugin_cfg::write`), how a file is replaced (`compat::plugin_cfg_file`).

use crate::compat::plugin_cfg_file::{Published, publish};
use crate::readable::Readable;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use std::cell::RefCell;
use std::io;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use wire::router::PluginCfgFile;
use wire::settings::PluginCfgOutput;

/// How soon a file that could not be written is tried again. Five seconds: a full disk or a missing directory is mended
/// by people, and trying costs little.
const AGAIN: Duration = Duration::from_secs(5);
/// Output of the script that is logged. 4 KiB: a page of text; what follows is read and dropped.
const OUTPUT_MAX_BYTES: usize = 4 << 10;

/// The task that does it.
#[derive(Debug)]
pub struct PluginCfgOutputs {
    wanted: watch::Sender<Option<PluginCfgFile>>,
    /// What went wrong last; None once it went well.
    problem: Rc<RefCell<Option<String>>>,
    task: JoinHandle<()>,
}

impl PluginCfgOutputs {
    /// Must be called within a `LocalSet`. `reported` is notified when there is something new to report.
    pub fn start(reported: Arc<Notify>) -> Self {
        let (wanted, inbox) = watch::channel(None);
        let problem = Rc::new(RefCell::new(None));
        let task = tokio::task::spawn_local(run(inbox, problem.clone(), reported));
        Self { wanted, problem, task }
    }

    /// The file that shall be there from now on; only the newest wish counts.
    pub fn want(&self, file: Option<PluginCfgFile>) {
        self.wanted.send_if_modified(|wanted| {
            let is_new = *wanted != file;
            *wanted = file;
            is_new
        });
    }

    pub fn problem(&self) -> Option<String> {
        self.problem.borrow().clone()
    }
}

impl Drop for PluginCfgOutputs {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn run(
    mut wanted: watch::Receiver<Option<PluginCfgFile>>,
    problem: Rc<RefCell<Option<String>>>,
    reported: Arc<Notify>,
) {
    // Ends when the router does: then nobody can wish for anything.
    while wanted.changed().await.is_ok() {
        loop {
            let file = wanted.borrow_and_update().clone();
            let outcome = match &file {
                Some(file) => keep(file).await,
                None => Ok(()),
            };
            let is_written = !matches!(outcome, Err(Trouble::Write(_)));
            let told = outcome.err().map(|trouble| trouble.to_string());
            if let Some(text) = &told {
                tracing::warn!("{text}");
            }
            if problem.replace(told.clone()) != told {
                reported.notify_one();
            }
            if is_written {
                break;
            }
            // A new wish ends the wait; both may be cancelled, as neither has taken anything.
            tokio::select! {
                () = tokio::time::sleep(AGAIN) => {}
                changed = wanted.changed() => if changed.is_err() { return },
            }
        }
    }
}

/// What went wrong.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    /// The old file is as it was.
    #[error("the plugin-cfg.xml for web servers was not replaced: {0}")]
    Write(String),
    /// The file is the new one.
    #[error("the change script of {} failed: {problem}", path.display())]
    Script { path: PathBuf, problem: String },
}

async fn keep(file: &PluginCfgFile) -> Result<(), Trouble> {
    let (path, text) = (PathBuf::from(&file.output.path), file.text.clone());
    let published = tokio::task::spawn_blocking(move || publish(&path, &text)).await;
    let published = match published {
        Ok(Ok(published)) => published,
        Ok(Err(error)) => return Err(Trouble::Write(error.told())),
        Err(error) => return Err(Trouble::Write(error.to_string())),
    };
    match published {
        Published::Same => Ok(()),
        Published::Replaced => {
            tracing::info!(path = file.output.path, "the plugin-cfg.xml for web servers has changed");
            run_script(&file.output)
                .await
                .map_err(|problem| Trouble::Script { path: PathBuf::from(&file.output.path), problem })
        }
    }
}

/// A script that runs; killed with all that it started when it is no longer waited for.
struct Script {
    child: Child,
    group: Pid,
    has_ended: bool,
}

impl Drop for Script {
    fn drop(&mut self) {
        if !self.has_ended {
            // It is not reaped yet, so the number is still its own; that it has just ended does no harm.
            let _ = kill_process_group(self.group, Signal::KILL);
            let _ = self.child.wait();
        }
    }
}

async fn run_script(output: &PluginCfgOutput) -> Result<(), String> {
    let Some((program, arguments)) = output.change_script.split_first() else { return Ok(()) };
    let limit = Duration::from_millis(output.change_script_ms);
    let (mut script, said) = start(program, arguments, output)
        .map_err(|error| format!("{program} could not be started: {error}"))?;
    let waiting = wait(&mut script, &said);
    let ended = tokio::time::timeout(limit, waiting).await;
    let (status, text) = match ended {
        Ok(Ok(ended)) => ended,
        Ok(Err(error)) => return Err(format!("{program} could not be waited for: {error}")),
        Err(_) => {
            return Err(format!(
                "{program} did not end within {} ms and was killed",
                output.change_script_ms
            ));
        }
    };
    let text = String::from_utf8_lossy(&text).trim_end().to_owned();
    match (status.code(), status.signal()) {
        (Some(0), _) => {
            tracing::info!(program = program.as_str(), output = text.as_str(), "the change script has run");
            Ok(())
        }
        (Some(code), _) => Err(format!("{program} ended with {code}: {text}")),
        (None, signal) => Err(format!("{program} was ended by signal {}: {text}", signal.unwrap_or(0))),
    }
}

fn start(program: &str, arguments: &[String], output: &PluginCfgOutput) -> io::Result<(Script, Readable)> {
    let (reader, writer) = io::pipe()?;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env("MUSTER_PLUGIN_CFG", &output.path)
        .stdin(Stdio::null())
        .stdout(writer.try_clone()?)
        .stderr(writer)
        // A group of its own, so that what it starts ends with it.
        .process_group(0);
    let child = command.spawn()?;
    let group = Pid::from_child(&child);
    let script = Script { child, group, has_ended: false };
    Ok((script, Readable::new(reader.into())?))
}

/// Until the script itself has ended; what it left running in the background is not waited for.
async fn wait(script: &mut Script, said: &Readable) -> io::Result<(ExitStatus, Vec<u8>)> {
    let exit = Readable::watch(pidfd_open(script.group, PidfdFlags::empty())?)?;
    let mut text = Vec::new();
    let mut is_open = true;
    while {
        // Cancelled waits have taken nothing.
        tokio::select! {
            biased;
            () = said.ready(), if is_open => true,
            () = exit.ready() => false,
        }
    } {
        is_open = take_text(said, &mut text);
    }
    // Its last words may have come with its end.
    take_text(said, &mut text);
    let status = script.child.wait()?;
    script.has_ended = true;
    Ok((status, text))
}

/// Takes what is there now; false at the end.
fn take_text(said: &Readable, text: &mut Vec<u8>) -> bool {
    let mut buffer = [0; 1024];
    // Bounded, so that one who never stops talking is still timed: the caller comes back for more.
    for _ in 0..64 {
        match said.read(&mut buffer) {
            Ok(0) => return false,
            Ok(length) => keep_text(text, &buffer[..length]),
            Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
        }
    }
    true
}

fn keep_text(text: &mut Vec<u8>, piece: &[u8]) {
    let room = OUTPUT_MAX_BYTES - text.len();
    text.extend_from_slice(&piece[..piece.len().min(room)]);
}

#[cfg(test)]
mod tests;

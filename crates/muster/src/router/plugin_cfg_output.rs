//! Keeps the plugin-cfg.xml for web servers in front of the cell's routers, and runs the change script after it changed.
//!
//! Promises: the file is judged before it is put in its place, whole; a failure leaves the old one and is tried again;
//! the script runs one at a time, after a change in more than comments, for a bounded time. Not here: what is in the
//! file (`logic::plugin_cfg::write`), how a file is replaced (`compat::plugin_cfg_file`).

use crate::compat::plugin_cfg_file::{Published, publish};
use crate::script::{self, Ended, Streams, Unfinished};
use std::cell::RefCell;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::Command;
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

async fn run_script(output: &PluginCfgOutput) -> Result<(), String> {
    let Some((program, arguments)) = output.change_script.split_first() else { return Ok(()) };
    let limit = Duration::from_millis(output.change_script_ms);
    let mut command = Command::new(program);
    command.args(arguments).env("MUSTER_PLUGIN_CFG", &output.path);
    let ended = script::run(command, Streams::Both, limit).await;
    let Ended { status, output: text } = match ended {
        Ok(ended) => ended,
        Err(Unfinished::Start(error)) => return Err(format!("{program} could not be started: {error}")),
        Err(Unfinished::Wait(error)) => return Err(format!("{program} could not be waited for: {error}")),
        Err(Unfinished::Late) => {
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

#[cfg(test)]
mod tests;

//! Calls agents of fences, as the fence-agent API wants it: arguments as lines on standard input, the answer as the status.
//!
//! Promises: an agent and what it started are killed when their time is up and when nobody waits for them any more, as at the
//! end of a term; what is a secret is read right before the call, and stands in no word that leaves here.
//! Not here: which agent is called, and what its answer proves (see `logic::fence`).

use super::desk::Input;
use crate::script::{self, Ended, OUTPUT_MAX_BYTES, Unfinished};
use crate::secret_file;
use logic::fence::{self, Call, End};
use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt as _;
use std::process::Command;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, timeout_at};
use wire::fence::FenceSettings;
use wire::id::NodeName;

/// Longest text of all arguments. 32 KiB: half of what a pipe takes at once, and a hundred times what agents need.
const ARGUMENTS_MAX_BYTES: usize = 32 << 10;
/// What people are shown of an agent's words.
const WORDS_MAX_CHARS: usize = 200;
/// What stands in words instead of a secret.
const HIDDEN: &str = "***";

/// What an agent reads, and what of it nobody else may.
struct Arguments {
    text: String,
    secrets: Vec<String>,
}

/// The calls of a term.
#[derive(Debug, Default)]
pub struct FenceCalls {
    tasks: JoinSet<()>,
    /// Bounded by the fences and nodes of the configuration, of each of which one is called at a time.
    running: BTreeMap<u64, AbortHandle>,
}

impl FenceCalls {
    /// How it ends is told to `inbox`.
    pub fn begin(
        &mut self,
        inbox: &mpsc::Sender<Input>,
        job: u64,
        fence: Box<FenceSettings>,
        node: NodeName,
        what: Call,
    ) {
        while self.tasks.try_join_next().is_some() {}
        self.running.retain(|_, handle| !handle.is_finished());
        let inbox = inbox.clone();
        let handle = self.tasks.spawn_local(async move {
            let end = call(&fence, &node, what).await;
            // Only fails when the term ends, and with it what wanted to know.
            drop(inbox.send(Input::Fence(fence::Input::Ended { job, end })).await);
        });
        self.running.insert(job, handle);
    }

    pub fn kill(&mut self, job: u64) {
        if let Some(handle) = self.running.remove(&job) {
            handle.abort();
        }
    }

    pub async fn shutdown(&mut self) {
        self.tasks.shutdown().await;
    }
}

/// Safe to cancel: the agent is killed then.
pub async fn call(fence: &FenceSettings, node: &NodeName, call: Call) -> End {
    let late = Instant::now() + Duration::from_millis(fence.timeout_ms);
    let (settings, told) = (fence.clone(), node.clone());
    // Off the manager's thread: secrets may lie on the very disk that hangs.
    let gathered = tokio::task::spawn_blocking(move || arguments(&settings, &told, call));
    let arguments = match timeout_at(late, gathered).await {
        Ok(Ok(Ok(arguments))) => arguments,
        Ok(Ok(Err(why))) => return End::Failed(why),
        Ok(Err(error)) => return End::Failed(format!("its parameters could not be gathered: {error}")),
        Err(_) => return End::Failed("its secrets could not be read in time".to_owned()),
    };
    let limit = late.saturating_duration_since(Instant::now());
    match script::run_fed(Command::new(&fence.agent), arguments.text.as_bytes(), limit).await {
        Ok(ended) => judge(&ended, &arguments.secrets),
        Err(Unfinished::Late) => End::TimedOut,
        Err(error @ (Unfinished::Start(_) | Unfinished::Wait(_))) => End::Failed(error.to_string()),
    }
}

fn judge(ended: &Ended, secrets: &[String]) -> End {
    let words = words(&ended.output, secrets);
    match (ended.status.code(), ended.status.signal()) {
        (Some(status), _) => End::Exited { status, words },
        (None, Some(signal)) => End::Failed(format!("was ended by signal {signal}")),
        (None, None) => End::Failed("ended in an unknown way".to_owned()),
    }
}

fn arguments(fence: &FenceSettings, node: &NodeName, call: Call) -> Result<Arguments, String> {
    let mut text = format!("action={}\n", call.word());
    let mut add = |name: &str, value: &str| {
        // A line more would be another argument.
        if value.contains(['\n', '\r', '\0']) {
            return Err(format!("cannot be told its parameter `{name}`, which has more than one line"));
        }
        text.push_str(&format!("{name}={value}\n"));
        match text.len() > ARGUMENTS_MAX_BYTES {
            true => Err("has more parameters than can be told to it".to_owned()),
            false => Ok(()),
        }
    };
    for (name, value) in &fence.parameters {
        add(name, &value.replace("{node}", &node.0))?;
    }
    let mut secrets = Vec::new();
    for (name, path) in &fence.secret_files {
        let path = path.replace("{node}", &node.0);
        let secret =
            secret(&path).map_err(|why| format!("cannot be told its parameter `{name}`: {path} {why}"))?;
        add(name, &secret)?;
        secrets.push(secret);
    }
    Ok(Arguments { text, secrets })
}

/// The first line of a file.
fn secret(path: &str) -> Result<String, String> {
    let text = secret_file::read(path).map_err(|error| format!("cannot be read: {error}"))?;
    let line = text.lines().next().unwrap_or_default();
    if line.is_empty() { Err("is empty".to_owned()) } else { Ok(line.to_owned()) }
}

/// The last line that says something, without secrets.
fn words(output: &[u8], secrets: &[String]) -> String {
    let mut text = String::from_utf8_lossy(whole_lines(output)).into_owned();
    for secret in secrets {
        text = text.replace(secret.as_str(), HIDDEN);
    }
    let line = text.lines().rev().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    let shown = line.chars().map(|letter| if letter.is_control() { '\u{fffd}' } else { letter });
    shown.take(WORDS_MAX_CHARS).collect()
}

/// Without a last line that was cut: half a secret is not known for one.
fn whole_lines(output: &[u8]) -> &[u8] {
    if output.len() < OUTPUT_MAX_BYTES {
        return output;
    }
    let end = output.iter().rposition(|byte| *byte == b'\n').unwrap_or_default();
    &output[..end]
}

#[cfg(test)]
mod tests;

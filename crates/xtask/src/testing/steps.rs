//! Runs steps one after the other and counts what they found.
//!
//! All of them run, so that one go shows everything that is wrong; only one that others need ends the run. The output
//! of a step is in `target/xtask/STEP.log`. The last line of stdout counts: each test, and one for each other step.

use super::counts::Counts;
use crate::failure::{Failure, Outcome};
use crate::{process, repository};
use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Lines shown of the log of a step that failed.
const TAIL_LINES_MAX: usize = 60;

#[derive(Debug, Clone, Copy)]
pub struct Step {
    pub name: &'static str,
    /// Whether later steps mean nothing without this one.
    pub is_needed_by_others: bool,
    /// Gets the path of the step's log.
    pub carry_out: fn(&Path) -> Ended,
}

/// How a step ended: what it has to say, and what it counts for.
#[derive(Debug)]
pub struct Ended {
    pub outcome: Outcome<String>,
    pub counts: Counts,
}

impl Ended {
    /// A step that is one test by itself.
    pub fn single(outcome: Outcome<String>) -> Self {
        let counts = Counts::one(outcome.is_ok());
        Self { outcome, counts }
    }
}

/// Runs the steps and prints the counts.
pub fn run(steps: &[Step]) -> ExitCode {
    let logs = repository::root().join("target/xtask");
    if let Err(error) = fs::create_dir_all(&logs) {
        eprintln!("could not create {}: {error}", logs.display());
        return ExitCode::FAILURE;
    }
    let started = Instant::now();
    let mut total = Counts::default();
    let mut summary = Vec::new();
    let mut is_broken_off = false;
    for (index, step) in steps.iter().enumerate() {
        if is_broken_off {
            summary.push(format!("  not run  {:13}", step.name));
            continue;
        }
        eprintln!("[{}/{}] {}", index + 1, steps.len(), step.name);
        let log = logs.join(format!("{}.log", step.name));
        let (step_started, processor_before) = (Instant::now(), process::processor_time());
        let ended = (step.carry_out)(&log);
        let seconds = step_started.elapsed().as_secs_f64();
        let processor_seconds = (process::processor_time() - processor_before).as_secs_f64();
        let word = if ended.outcome.is_ok() { "ok" } else { "FAILED" };
        let told = ended.outcome.as_ref().map_or_else(|_| format!("see {}", log.display()), String::clone);
        if let Err(failure) = &ended.outcome {
            eprintln!("{failure}");
        }
        let cost = format!("{seconds:7.1} s {processor_seconds:7.1} s of processors");
        eprintln!("       {cost}  {word}  {told}");
        summary.push(format!("  {word:7}  {:13} {cost}  {told}", step.name));
        total.add(ended.counts);
        is_broken_off = ended.outcome.is_err() && step.is_needed_by_others;
    }
    println!("{}", summary.join("\n"));
    println!(
        "  {:.1} minutes in all, {:.1} of processors",
        started.elapsed().as_secs_f64() / 60.0,
        process::processor_time().as_secs_f64() / 60.0
    );
    println!("{} passed, {} failed", total.passed, total.failed);
    if total.failed == 0 && !is_broken_off { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs cargo at the root with further environment variables.
pub fn cargo(
    arguments: &[&str],
    environment: &[(&str, &str)],
    log: &Path,
    time_max: Duration,
) -> Outcome<()> {
    let mut command = process::cargo();
    command.args(arguments).envs(environment.iter().copied()).current_dir(repository::root());
    let status = process::run_logged(&mut command, log, time_max)?;
    if status.success() {
        return Ok(());
    }
    Err(Failure(format!(
        "{}\ncargo {} ended with {status}",
        process::tail(log, TAIL_LINES_MAX).join("\n"),
        arguments.join(" ")
    )))
}

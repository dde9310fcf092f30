//! `cargo xtask test`: everything that must hold before a change is taken, in one command.
//!
//! Steps run in order and all of them run, so that one go shows everything that is wrong; only packages and fixtures,
//! without which tests would fail for no fault of theirs, end the run. The output of a step is in
//! `target/xtask/STEP.log`. The last line of stdout counts: each test of `cargo test`, and one for each other step.

mod counts;
mod fixtures;
mod packages;

use crate::failure::{Failure, Outcome};
use crate::{instructions, process, repository, tidy};
use counts::Counts;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

/// Longest time of one step. 25 minutes: what the whole run may take on two cores, so more is a hang.
const STEP_TIME_MAX: Duration = Duration::from_secs(25 * 60);
/// Lines shown of the log of a step that failed.
const TAIL_LINES_MAX: usize = 60;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Run only this step; may be given more than once
    #[arg(long, value_enum, value_name = "STEP")]
    only: Vec<StepName>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum StepName {
    /// Install the programs that tests run
    Packages,
    /// Fetch the requests that tests send
    Fixtures,
    /// cargo fmt --check
    Format,
    /// cargo clippy, warnings are errors
    Clippy,
    /// The project's own rules
    Tidy,
    /// Build the binary as it is shipped
    Release,
    /// cargo test of the whole workspace
    Tests,
    /// User instructions per request, counted by callgrind
    Instructions,
}

const STEPS: [StepName; 8] = [
    StepName::Packages,
    StepName::Fixtures,
    StepName::Format,
    StepName::Clippy,
    StepName::Tidy,
    StepName::Release,
    StepName::Tests,
    StepName::Instructions,
];

impl StepName {
    fn text(self) -> &'static str {
        match self {
            StepName::Packages => "packages",
            StepName::Fixtures => "fixtures",
            StepName::Format => "format",
            StepName::Clippy => "clippy",
            StepName::Tidy => "tidy",
            StepName::Release => "release",
            StepName::Tests => "tests",
            StepName::Instructions => "instructions",
        }
    }

    /// Whether later steps mean nothing without this one.
    fn is_needed_by_others(self) -> bool {
        matches!(self, StepName::Packages | StepName::Fixtures)
    }
}

/// How a step ended: what it has to say, and what it counts for.
#[derive(Debug)]
struct Ended {
    outcome: Outcome<String>,
    counts: Counts,
}

impl Ended {
    /// A step that is one test by itself.
    fn single(outcome: Outcome<String>) -> Self {
        let counts = Counts::one(outcome.is_ok());
        Self { outcome, counts }
    }
}

/// Runs the steps and prints the counts.
pub fn run(args: &Args) -> ExitCode {
    let logs = repository::root().join("target/xtask");
    if let Err(error) = fs::create_dir_all(&logs) {
        eprintln!("could not create {}: {error}", logs.display());
        return ExitCode::FAILURE;
    }
    let started = Instant::now();
    let steps: Vec<StepName> =
        STEPS.into_iter().filter(|step| args.only.is_empty() || args.only.contains(step)).collect();
    let mut total = Counts::default();
    let mut summary = Vec::new();
    let mut is_broken_off = false;
    for (index, step) in steps.iter().enumerate() {
        if is_broken_off {
            summary.push(format!("  not run  {:13}", step.text()));
            continue;
        }
        eprintln!("[{}/{}] {}", index + 1, steps.len(), step.text());
        let (step_started, processor_before) = (Instant::now(), process::processor_time());
        let ended = carry_out(*step, &logs);
        let seconds = step_started.elapsed().as_secs_f64();
        let processor_seconds = (process::processor_time() - processor_before).as_secs_f64();
        let word = if ended.outcome.is_ok() { "ok" } else { "FAILED" };
        let told = match &ended.outcome {
            Ok(text) => text.clone(),
            Err(failure) => {
                eprintln!("{failure}");
                format!("see {}", log_of(&logs, *step).display())
            }
        };
        let cost = format!("{seconds:7.1} s {processor_seconds:7.1} s of processors");
        eprintln!("       {cost}  {word}  {told}");
        summary.push(format!("  {word:7}  {:13} {cost}  {told}", step.text()));
        total.add(ended.counts);
        is_broken_off = ended.outcome.is_err() && step.is_needed_by_others();
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

fn log_of(logs: &Path, step: StepName) -> PathBuf {
    logs.join(format!("{}.log", step.text()))
}

fn carry_out(step: StepName, logs: &Path) -> Ended {
    let log = log_of(logs, step);
    match step {
        StepName::Packages => Ended::single(packages::install(&log)),
        StepName::Fixtures => Ended::single(fixtures::fetch(&log)),
        StepName::Format => Ended::single(cargo(&["fmt", "--all", "--check"], &log)),
        StepName::Clippy => {
            let arguments = ["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"];
            Ended::single(cargo(&arguments, &log))
        }
        StepName::Tidy => {
            let outcome = tidy::run(&repository::root());
            let text = outcome.as_ref().err().map(Failure::to_string).unwrap_or_default();
            // The log only repeats what is printed; without it nothing is lost.
            let _ = fs::write(&log, text);
            Ended::single(outcome.map(|()| String::new()))
        }
        StepName::Release => Ended::single(cargo(&RELEASE_BUILD, &log)),
        StepName::Tests => tests(&log),
        StepName::Instructions => Ended::single(instructions::gate()),
    }
}

/// How the binary is built as it is shipped.
pub const RELEASE_BUILD: [&str; 5] = ["build", "--release", "--locked", "--package", "muster"];

fn cargo(arguments: &[&str], log: &Path) -> Outcome<String> {
    let mut command = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".into()));
    command.args(arguments).current_dir(repository::root());
    let status = process::run_logged(&mut command, log, STEP_TIME_MAX)?;
    if status.success() {
        return Ok(String::new());
    }
    Err(Failure(format!(
        "{}\ncargo {} ended with {status}",
        process::tail(log, TAIL_LINES_MAX).join("\n"),
        arguments.join(" ")
    )))
}

/// Every test of the workspace. One that is ignored counts as failed: nothing is skipped in silence.
fn tests(log: &Path) -> Ended {
    let outcome = cargo(&["test", "--workspace", "--locked", "--no-fail-fast"], log);
    let text = fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let mut counts = counts::of_cargo_test(&text);
    let outcome = match outcome {
        Ok(_) if counts.passed == 0 => Err(Failure("cargo test ran no test".into())),
        Ok(_) if counts.failed > 0 => Err(Failure(format!("{} tests are ignored", counts.failed))),
        Ok(_) => Ok(format!("{} tests", counts.passed)),
        Err(failure) => Err(Failure(format!("{}\n{failure}", counts::failures_of_cargo_test(&text)))),
    };
    if outcome.is_err() && counts.failed == 0 {
        // It did not build, or it was ended: no test said so, but something failed.
        counts.failed = 1;
    }
    Ended { outcome, counts }
}

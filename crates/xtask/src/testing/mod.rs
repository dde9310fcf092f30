//! `cargo xtask test`: everything that must hold before a change is taken, in one command.
//!
//! Not here: how steps are run and counted (see `steps`).

mod counts;
mod fixtures;
mod nightly;
pub mod packages;
mod programs;
mod steps;

use crate::failure::Failure;
use crate::{instructions, repository, tidy};
pub use nightly::nightly;
use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;
use steps::{Ended, Step};

/// Longest time of one step. 25 minutes: what the whole run may take on two cores, so more is a hang.
const STEP_TIME_MAX: Duration = Duration::from_secs(25 * 60);

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
    /// Build the binary with optimisation, but without what makes a release's build long
    Optimised,
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
    StepName::Optimised,
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
            StepName::Optimised => "optimised",
            StepName::Tests => "tests",
            StepName::Instructions => "instructions",
        }
    }

    fn step(self) -> Step {
        let carry_out = match self {
            StepName::Packages => |log: &Path| Ended::single(packages::install(log)),
            StepName::Fixtures => |log: &Path| Ended::single(fixtures::fetch(log)),
            StepName::Format => |log: &Path| cargo(&["fmt", "--all", "--check"], log),
            StepName::Clippy => |log: &Path| {
                cargo(&["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"], log)
            },
            StepName::Tidy => tidy_step,
            StepName::Optimised => |log: &Path| cargo(&CHECKED_BUILD, log),
            StepName::Tests => tests,
            StepName::Instructions => |_: &Path| Ended::single(instructions::gate("checked")),
        };
        // Without packages and fixtures tests would fail for no fault of theirs.
        let is_needed_by_others = matches!(self, StepName::Packages | StepName::Fixtures);
        Step { name: self.text(), is_needed_by_others, carry_out }
    }
}

/// Runs the steps and prints the counts.
pub fn run(args: &Args) -> ExitCode {
    let wanted = STEPS.into_iter().filter(|step| args.only.is_empty() || args.only.contains(step));
    let steps: Vec<Step> = wanted.map(StepName::step).collect();
    steps::run(&steps)
}

fn tidy_step(log: &Path) -> Ended {
    let outcome = tidy::run(&repository::root());
    let text = outcome.as_ref().err().map(Failure::to_string).unwrap_or_default();
    // The log only repeats what is printed; without it nothing is lost.
    let _ = fs::write(log, text);
    Ended::single(outcome.map(|()| String::new()))
}

/// How the binary is built that instructions are counted of: a release takes twice as long to build, and fewer of them.
const CHECKED_BUILD: [&str; 6] = ["build", "--profile", "checked", "--locked", "--package", "muster"];

/// Builds the binary as it is shipped.
fn release(log: &Path) -> Ended {
    cargo(&RELEASE_BUILD, log)
}

/// How the binary is built as it is shipped.
pub const RELEASE_BUILD: [&str; 5] = ["build", "--release", "--locked", "--package", "muster"];

fn cargo(arguments: &[&str], log: &Path) -> Ended {
    Ended::single(steps::cargo(arguments, &[], log, STEP_TIME_MAX).map(|()| String::new()))
}

/// Every test of the workspace. One that is ignored counts as failed: nothing is skipped in silence.
fn tests(log: &Path) -> Ended {
    let (mut counts, outcome) = programs::run(log, STEP_TIME_MAX);
    let outcome = match outcome {
        Ok(()) if counts.passed == 0 => Err(Failure("no test ran".into())),
        Ok(()) => Ok(format!("{} tests", counts.passed)),
        Err(failure) => Err(failure),
    };
    if outcome.is_err() && counts.failed == 0 {
        // It did not build: no test said so, but something failed.
        counts.failed = 1;
    }
    Ended { outcome, counts }
}

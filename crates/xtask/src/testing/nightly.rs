//! `cargo xtask nightly`: what takes too long for every change, on a machine that does nothing else.
//!
//! More seeds and cases of the random tests, all targets of the fuzzer, every scenario of the lab, the demo trying itself
//! again and again, and all benchmarks. A seed that fails is printed and replays with `MUSTER_SEED`; an input that fails is
//! added to the corpus.

use super::release;
use super::steps::{self, Ended, Step};
use crate::bench;
use crate::failure::{Doing, Failure, Outcome};
use crate::process;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Duration;

/// Seeds of the simulation, of each kind.
const SEEDS: &str = "20000";
/// Nodes whose heartbeats of a whole day are simulated.
const DAY_NODES: &str = "10000";
/// Cases of each property test. 20,000: some eighty times what every change gets.
const CASES: &str = "20000";
/// How long each target of the fuzzer is tried. A quarter of an hour: some tens of millions of inputs.
const FUZZ_MINUTES: &str = "15";
/// Random schedules of faults on machines with failover groups.
const SCHEDULES: &str = "300";
/// Times that the demo tries itself.
const DEMO_RUNS: usize = 50;
/// Longest time of a step. Four hours: several times what 20,000 seeds take on two cores.
const STEP_TIME_MAX: Duration = Duration::from_secs(4 * 3600);
/// Longest time of one run of the demo. Five minutes: many times what it takes on a quiet machine.
const DEMO_TIME_MAX: Duration = Duration::from_secs(300);
/// Lines shown of a demo that failed: its findings are one object of that length.
const DEMO_LINES_MAX: usize = 80;
/// Lines shown of what the benchmarks found: about the length of their report.
const REPORT_LINES_MAX: usize = 60;

const STEPS: [Step; 10] = [
    Step { name: "release", is_needed_by_others: true, carry_out: release },
    Step { name: "seeds", is_needed_by_others: false, carry_out: seeds },
    Step { name: "fleet", is_needed_by_others: false, carry_out: fleet },
    Step { name: "cell", is_needed_by_others: false, carry_out: cell },
    Step { name: "properties", is_needed_by_others: false, carry_out: properties },
    Step { name: "fuzz", is_needed_by_others: false, carry_out: fuzz },
    Step { name: "lab", is_needed_by_others: false, carry_out: lab },
    Step { name: "schedules", is_needed_by_others: false, carry_out: schedules },
    Step { name: "demo", is_needed_by_others: false, carry_out: demo },
    Step { name: "benchmarks", is_needed_by_others: false, carry_out: benchmarks },
];

/// Runs everything and prints the counts.
pub fn nightly() -> ExitCode {
    steps::run(&STEPS)
}

fn seeds(log: &Path) -> Ended {
    let arguments = ["test", "--locked", "--package", "sim", "--test", "random"];
    cargo(&arguments, &[("MUSTER_SEEDS", SEEDS)], log, format!("{SEEDS} seeds of each kind"))
}

fn fleet(log: &Path) -> Ended {
    let arguments = ["test", "--locked", "--package", "sim", "--test", "fleet"];
    let environment = [("MUSTER_SEEDS", SEEDS), ("MUSTER_DAY_NODES", DAY_NODES)];
    cargo(&arguments, &environment, log, format!("{SEEDS} seeds, a day of {DAY_NODES} nodes"))
}

fn properties(log: &Path) -> Ended {
    let arguments = ["test", "--locked", "--package", "logic"];
    cargo(&arguments, &[("PROPTEST_CASES", CASES)], log, format!("{CASES} cases of each property"))
}

fn cargo(arguments: &[&str], environment: &[(&str, &str)], log: &Path, told: String) -> Ended {
    Ended::single(steps::cargo(arguments, environment, log, STEP_TIME_MAX).map(|()| told))
}

fn fuzz(log: &Path) -> Ended {
    cargo(
        &["xtask", "fuzz", "--minutes", FUZZ_MINUTES],
        &[],
        log,
        format!("{FUZZ_MINUTES} minutes of each target"),
    )
}

fn demo(log: &Path) -> Ended {
    Ended::single(run_demos(log))
}

/// Ends at the first run that broke a promise, so that the log is that of this run.
fn run_demos(log: &Path) -> Outcome<String> {
    let program = bench::muster()?;
    for run in 1..=DEMO_RUNS {
        let status =
            process::run_logged(Command::new(&program).args(["demo", "--check"]), log, DEMO_TIME_MAX)?;
        if !status.success() {
            let said = process::tail(log, DEMO_LINES_MAX).join("\n");
            return Err(Failure(format!("{said}\nrun {run} of {DEMO_RUNS} ended with {status}")));
        }
    }
    Ok(format!("{DEMO_RUNS} runs"))
}

/// All scenarios of the lab, with the binary as it is shipped.
fn lab(log: &Path) -> Ended {
    Ended::single(run_lab(log))
}

fn run_lab(log: &Path) -> Outcome<String> {
    on_machines(&["lab", "run", "--nightly"], log)
}

/// Nobody may have two owners; how often others have is told.
fn schedules(log: &Path) -> Ended {
    let words = ["bench", "failover", "--only", "schedules", "--schedules", SCHEDULES];
    Ended::single(on_machines(&words, log))
}

/// This tool with these words, and the binary as it is shipped.
fn on_machines(words: &[&str], log: &Path) -> Outcome<String> {
    let (tool, program) = (std::env::current_exe().doing("find this tool")?, bench::muster()?);
    let mut command = Command::new(tool);
    command.args(words).arg("--muster").arg(program);
    let status = process::run_logged(&mut command, log, STEP_TIME_MAX)?;
    let said = process::tail(log, REPORT_LINES_MAX);
    if !status.success() {
        return Err(Failure(said.join("\n")));
    }
    Ok(said.last().cloned().unwrap_or_default())
}

/// Each in a process of its own: that of the router binds itself to a core.
fn benchmarks(log: &Path) -> Ended {
    let all = || {
        for part in ["router", "heartbeats", "members"] {
            run_benchmark(part, log)?;
        }
        run_benchmark("crashes", log)?;
        run_benchmark("failover", log)
    };
    Ended::single(all())
}

/// Simulated, so that it needs no quiet machine.
fn cell(log: &Path) -> Ended {
    Ended::single(run_benchmark("cell", log))
}

fn run_benchmark(part: &str, log: &Path) -> Outcome<String> {
    let tool = std::env::current_exe().doing("find this tool")?;
    let status = process::run_logged(Command::new(tool).args(["bench", part]), log, STEP_TIME_MAX)?;
    let said = process::tail(log, REPORT_LINES_MAX).join("\n");
    if !status.success() {
        return Err(Failure(said));
    }
    eprintln!("{said}");
    Ok("every bar met".into())
}

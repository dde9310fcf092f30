//! The workspace's test programs: built once, then run beside each other.
//!
//! `cargo test` runs them one after the other, and most of them wait for other processes most of the time: two at
//! once use two cores and leave enough of them. The output of each is in `target/xtask/tests/`.

use super::counts::{self, Counts};
use super::steps;
use crate::failure::{Doing, Failure, Outcome};
use crate::process;
use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Programs that run at once.
const AT_ONCE: usize = 2;
/// Longest time of one program. Fifteen minutes: three times what the longest takes on a slow machine.
const PROGRAM_TIME_MAX: Duration = Duration::from_secs(15 * 60);
/// Begun before the others, as they take longest: none of them is left running alone.
const FIRST: [&str; 2] = ["browser", "lab"];

#[derive(Debug, PartialEq, Eq)]
struct Program {
    name: String,
    executable: PathBuf,
    /// Where it runs: its package, as with `cargo test`.
    directory: PathBuf,
}

/// Builds and runs all tests; the counts are of what ran, also when something failed.
pub fn run(log: &Path, build_time_max: Duration) -> (Counts, Outcome<()>) {
    match build(log, build_time_max).and_then(|programs| run_all(programs, log)) {
        Ok((counts, failures)) if failures.is_empty() => (counts, Ok(())),
        Ok((counts, failures)) => (counts, Err(Failure(failures.join("\n")))),
        Err(failure) => (Counts::default(), Err(failure)),
    }
}

fn build(log: &Path, time_max: Duration) -> Outcome<VecDeque<Program>> {
    let format = "--message-format=json-render-diagnostics";
    let started = Instant::now();
    steps::cargo(&["test", "--workspace", "--locked", "--no-run", format], &[], log, time_max)?;
    eprintln!("       {:7.1} s  built", started.elapsed().as_secs_f64());
    let text = fs::read(log).doing(format_args!("read {}", log.display()))?;
    let programs = programs(&String::from_utf8_lossy(&text));
    if programs.is_empty() { Err(Failure("cargo built no test program".into())) } else { Ok(programs) }
}

/// What cargo told of test programs, a JSON object on a line of its own for each, between lines that are none.
fn programs(told: &str) -> VecDeque<Program> {
    let objects = told.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let mut programs: Vec<Program> = objects.filter_map(|told| program(&told)).collect();
    programs.sort_by_key(|it| (!FIRST.contains(&it.name.as_str()), it.name.clone()));
    programs.into()
}

fn program(told: &serde_json::Value) -> Option<Program> {
    if !told.pointer("/profile/test")?.as_bool()? {
        return None;
    }
    let executable = PathBuf::from(told.get("executable")?.as_str()?);
    let directory = Path::new(told.get("manifest_path")?.as_str()?).parent()?.to_owned();
    let target = told.pointer("/target/name")?.as_str()?;
    let kinds = told.pointer("/target/kind")?.as_array()?;
    let is_unit = kinds.iter().any(|kind| kind != "test");
    let package = directory.file_name()?.to_str()?;
    let name = match package {
        "muster" if !is_unit => target.to_owned(),
        _ if is_unit => format!("{package}-unit"),
        _ => format!("{package}-{target}"),
    };
    Some(Program { name, executable, directory })
}

/// Runs them all, and then the examples in documentation; gives what failed. The output of each is a file beside `log`.
fn run_all(programs: VecDeque<Program>, log: &Path) -> Outcome<(Counts, Vec<String>)> {
    let logs = log.with_extension("");
    fs::create_dir_all(&logs).doing(format_args!("create {}", logs.display()))?;
    let queue = Mutex::new(programs);
    let work = || {
        let mut ran = Vec::new();
        loop {
            let next = queue.lock().expect("nobody dies while holding it").pop_front();
            let Some(program) = next else { return ran };
            let mut command = Command::new(&program.executable);
            command.current_dir(&program.directory);
            ran.push(run_one(&program.name, &mut command, &logs.join(format!("{}.log", program.name))));
        }
    };
    let mut ran = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(work)).collect();
        workers
            .into_iter()
            .flat_map(|worker| worker.join().expect("what a worker does has no panics"))
            .collect::<Vec<_>>()
    });
    let mut examples = process::cargo();
    examples.args(["test", "--workspace", "--locked", "--doc"]).current_dir(crate::repository::root());
    ran.push(run_one("examples", &mut examples, &logs.join("examples.log")));
    let mut counts = Counts::default();
    let mut failures = Vec::new();
    for (counted, outcome) in ran {
        counts.add(counted);
        failures.extend(outcome.err().map(|failure| failure.0));
    }
    Ok((counts, failures))
}

/// A program that fails without a test that says so, or that ran into its deadline, is a failed test itself.
fn run_one(name: &str, command: &mut Command, log: &Path) -> (Counts, Outcome<()>) {
    let started = Instant::now();
    let status = process::run_logged(command, log, PROGRAM_TIME_MAX);
    let text = fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let mut counts = counts::of_cargo_test(&text);
    let problem = match status {
        Ok(status) if status.success() => None,
        Ok(status) => Some(format!("{name} ended with {status}")),
        Err(failure) => Some(failure.0),
    };
    if problem.is_some() && counts.failed == 0 {
        counts.failed = 1;
    }
    let seconds = started.elapsed().as_secs_f64();
    eprintln!("       {seconds:7.1} s  {name}: {} passed, {} failed", counts.passed, counts.failed);
    let outcome = match problem {
        None if counts.failed > 0 => Err(Failure(format!("{name}: {} tests are ignored", counts.failed))),
        None => Ok(()),
        Some(problem) => {
            let said = counts::failures_of_cargo_test(&text);
            let said = if said.is_empty() { process::tail(log, 40).join("\n") } else { said };
            Err(Failure(format!("{said}\n{problem}; see {}", log.display())))
        }
    };
    (counts, outcome)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(package: &str, kind: &str, target: &str, is_test: bool) -> String {
        let executable = format!("/t/{target}-0");
        serde_json::json!({ "reason": "compiler-artifact", "manifest_path": format!("/w/crates/{package}/Cargo.toml"),
            "target": { "kind": [kind], "name": target }, "profile": { "test": is_test }, "executable": executable })
        .to_string()
    }

    #[test]
    fn only_test_programs_run_and_the_longest_begin() {
        let lines = [
            "   Compiling muster v0.1.0".to_owned(),
            told("muster", "bin", "muster", false),
            told("muster", "bin", "muster", true),
            told("muster", "test", "agent", true),
            told("muster", "test", "lab", true),
            told("sim", "test", "cell", true),
            told("logic", "lib", "logic", true),
            r#"{"reason":"build-finished","success":true}"#.to_owned(),
        ];
        let programs = programs(&lines.join("\n"));
        let names: Vec<&str> = programs.iter().map(|it| it.name.as_str()).collect();
        assert_eq!(names, ["lab", "agent", "logic-unit", "muster-unit", "sim-cell"]);
        assert_eq!(programs[0].executable, Path::new("/t/lab-0"));
        assert_eq!(programs[4].directory, Path::new("/w/crates/sim"));
    }

    #[test]
    fn a_program_that_dies_without_a_word_is_a_failed_test() {
        let log = std::env::temp_dir().join(format!("muster-xtask-{}.log", std::process::id()));
        let (counts, outcome) = run_one("dies", Command::new("sh").args(["-c", "echo gone; exit 3"]), &log);
        assert_eq!(counts, Counts { passed: 0, failed: 1 });
        let said = outcome.expect_err("it failed").0;
        assert!(said.contains("gone") && said.contains("dies ended with"), "{said}");
        let passes = "echo 'test result: ok. 2 passed; 0 failed; 0 ignored'";
        let (counts, outcome) = run_one("passes", Command::new("sh").args(["-c", passes]), &log);
        assert_eq!(counts, Counts { passed: 2, failed: 0 });
        assert!(outcome.is_ok());
        let _ = fs::remove_file(&log);
    }
}

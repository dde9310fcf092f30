//! `cargo xtask fuzz`: looks for inputs that break an oracle of the crate `fuzz`, with libFuzzer and a stable compiler.
//!
//! The driver is built apart from the workspace, so that nothing else is built for coverage. Inputs lie in
//! `crates/fuzz/corpus`, one a line; new ones that reach new branches are added while there is room for them, and a
//! finding is added as it is, so that the tests show it from then on.

use crate::failure::{Doing, Failure, Outcome};
use crate::{process, repository};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Targets, as the crate `fuzz` names them.
const TARGETS: [&str; 11] = [
    "request-head",
    "chunks",
    "answer-head",
    "affinity",
    "plugin-cfg",
    "proxy-protocol",
    "http2-client",
    "http2-frames",
    "http2-member",
    "client-hello",
    "log-line",
];
/// Bytes of one target's corpus in the repository.
const CORPUS_MAX_BYTES: usize = 18_000;
/// Longest input that is tried. Longer ones are slow to try and reach nothing new.
const INPUT_MAX_BYTES: usize = 4096;
/// Longest input that is kept: one must not fill the corpus.
const KEPT_MAX_BYTES: usize = 1500;
/// Coverage of every edge and comparison, as libFuzzer wants it.
const FLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
                     -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
                     -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 --cfg fuzzing";

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only this target [default: all, one after the other]
    #[arg(value_parser = clap::builder::PossibleValuesParser::new(TARGETS))]
    target: Option<String>,
    /// How long each is tried
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=1440))]
    minutes: u64,
}

pub fn run(args: &Args) -> Outcome<()> {
    let root = repository::root();
    let driver = build(&root)?;
    let wanted = TARGETS.iter().filter(|name| args.target.as_deref().is_none_or(|target| target == **name));
    let mut findings = Vec::new();
    for name in wanted {
        if let Err(Failure(finding)) = try_target(&root, &driver, name, args.minutes * 60) {
            findings.push(format!("{name}: {finding}"));
        }
    }
    if findings.is_empty() { Ok(()) } else { Err(Failure(findings.join("\n"))) }
}

fn build(root: &Path) -> Outcome<PathBuf> {
    let version = Command::new("rustc").arg("-vV").output().doing("ask the compiler who it is")?;
    let version = String::from_utf8_lossy(&version.stdout).into_owned();
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    let host = host.ok_or_else(|| Failure("the compiler does not say for which machine it builds".into()))?;
    let target = root.join("target/fuzz");
    // With --target, build scripts and macros are built as usual.
    let mut command = process::cargo();
    command.args(["build", "--release", "--target", host, "--manifest-path"]);
    command.arg(root.join("crates/fuzz/driver/Cargo.toml"));
    command.env("CARGO_TARGET_DIR", &target).env("RUSTFLAGS", FLAGS);
    let status = command.status().doing("start cargo")?;
    if !status.success() {
        return Err(Failure(format!("the driver was not built: {status}")));
    }
    Ok(target.join(host).join("release/fuzz-driver"))
}

/// Tries one target and keeps what it found out.
fn try_target(root: &Path, driver: &Path, name: &str, seconds: u64) -> Outcome<()> {
    let kept = root.join(format!("crates/fuzz/corpus/{name}.txt"));
    let work = root.join("target/fuzz/corpus").join(name);
    let found = root.join("target/fuzz/found").join(name);
    for directory in [&work, &found] {
        fs::create_dir_all(directory).doing(format_args!("create {}", directory.display()))?;
    }
    let mut lines: Vec<String> =
        fs::read_to_string(&kept).unwrap_or_default().lines().map(str::to_owned).collect();
    for (number, line) in lines.iter().enumerate() {
        let path = work.join(format!("kept-{number}"));
        fs::write(&path, unescape(line)).doing(format_args!("write {}", path.display()))?;
    }
    let outcome = libfuzzer(driver, name, &[&work], &found, &[format!("-max_total_time={seconds}")]);
    for finding in inputs(&found)? {
        add(&mut lines, &finding);
    }
    let smallest = root.join("target/fuzz/smallest").join(name);
    if smallest.exists() {
        fs::remove_dir_all(&smallest).doing("clear the merged corpus")?;
    }
    fs::create_dir_all(&smallest).doing("make room for the merged corpus")?;
    libfuzzer(driver, name, &[&smallest, &work], &found, &["-merge=1".into()])?;
    let mut all = inputs(&smallest)?;
    all.sort_by_key(Vec::len);
    for input in all.iter().filter(|input| input.len() <= KEPT_MAX_BYTES) {
        if lines.iter().map(String::len).sum::<usize>() + input.len() * 2 < CORPUS_MAX_BYTES {
            add(&mut lines, input);
        }
    }
    fs::write(&kept, lines.join("\n") + "\n").doing(format_args!("write {}", kept.display()))?;
    outcome
}

fn libfuzzer(driver: &Path, name: &str, corpora: &[&Path], found: &Path, more: &[String]) -> Outcome<()> {
    let mut command = Command::new(driver);
    command.env("MUSTER_FUZZ_TARGET", name).args(corpora).args(more);
    command.arg(format!("-max_len={INPUT_MAX_BYTES}")).args(["-timeout=10", "-rss_limit_mb=1024"]);
    command.args(["-print_final_stats=1", "-verbosity=0", "-use_value_profile=1"]);
    command.arg(format!("-artifact_prefix={}/", found.display()));
    let status = command.status().doing(format_args!("start {}", driver.display()))?;
    if status.success() {
        Ok(())
    } else {
        Err(Failure(format!("{status}; the input is in {}", found.display())))
    }
}

fn inputs(directory: &Path) -> Outcome<Vec<Vec<u8>>> {
    let entries = fs::read_dir(directory).doing(format_args!("list {}", directory.display()))?;
    let read = |entry: std::io::Result<fs::DirEntry>| entry.and_then(|entry| fs::read(entry.path()));
    entries.map(|entry| read(entry).doing("read an input")).collect()
}

fn add(lines: &mut Vec<String>, input: &[u8]) {
    let line = input.escape_ascii().to_string();
    if !lines.contains(&line) {
        lines.push(line);
    }
}

/// A byte string as `escape_ascii` writes it.
fn unescape(line: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = line.bytes();
    while let Some(byte) = rest.next() {
        let plain = match byte {
            b'\\' => match rest.next().unwrap_or(b'\\') {
                b'n' => b'\n',
                b'r' => b'\r',
                b't' => b'\t',
                b'x' => {
                    let digit =
                        |digit: Option<u8>| (digit.unwrap_or(b'0') as char).to_digit(16).unwrap_or(0) as u8;
                    digit(rest.next()) * 16 + digit(rest.next())
                }
                other => other,
            },
            plain => plain,
        };
        bytes.push(plain);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_survive_being_written_down() {
        let bytes: Vec<u8> = (0..=255).collect();
        assert_eq!(unescape(&bytes.escape_ascii().to_string()), bytes);
    }
}

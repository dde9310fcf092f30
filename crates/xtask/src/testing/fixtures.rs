//! What tests need and others made: gunicorn's source package with valid and invalid requests, and gRPC for Python.
//!
//! Fetched by pip and kept in `target/fixtures`; nothing of it is in this repository. Requests come with the sum below,
//! and are counted so that a package with fewer cases cannot pass for the whole corpus; gRPC is code for each system,
//! so only its version is said.

use crate::failure::{Doing, Failure, Outcome};
use crate::{process, repository};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const VERSION: &str = "27.0.1";
const SHA256: &str = "b1514965361c8b7e8107a80aa2a92636878df1ccfac6dd204a676426e04d9e3e";
/// Cases that this version has.
const INVALID_REQUESTS: usize = 81;
const VALID_REQUESTS: usize = 62;

const GRPC_VERSION: &str = "1.85.1";

/// Longest time for pip and tar. Five minutes: it is one small file and what builds its metadata.
const FETCH_TIME_MAX: Duration = Duration::from_secs(300);

/// Makes sure that the corpus is there and whole, and gRPC beside it.
pub fn fetch(log: &Path) -> Outcome<String> {
    let directory = repository::root().join("target/fixtures");
    fetch_grpc(&directory.join("grpc"), log)?;
    let unpacked = directory.join(format!("gunicorn-{VERSION}/tests/requests"));
    if !is_whole(&unpacked) {
        fs::create_dir_all(&directory).doing(format_args!("create {}", directory.display()))?;
        download(&directory, log)?;
    }
    if !is_whole(&unpacked) {
        return Err(Failure(format!(
            "{} does not hold {INVALID_REQUESTS} invalid and {VALID_REQUESTS} valid requests",
            unpacked.display()
        )));
    }
    Ok(format!("{INVALID_REQUESTS} invalid and {VALID_REQUESTS} valid requests"))
}

fn fetch_grpc(directory: &Path, log: &Path) -> Outcome<()> {
    if directory.join(format!("grpcio-{GRPC_VERSION}.dist-info")).is_dir() {
        return Ok(());
    }
    fs::create_dir_all(directory).doing(format_args!("create {}", directory.display()))?;
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "install", "--only-binary", ":all:", "--upgrade", "--target"]).arg(directory);
    pip.arg(format!("grpcio=={GRPC_VERSION}"));
    run(&mut pip, log)
}

fn is_whole(requests: &Path) -> bool {
    let count = |name: &str| {
        let entries = fs::read_dir(requests.join(name)).into_iter().flatten().flatten();
        entries.filter(|entry| entry.path().extension().is_some_and(|ending| ending == "http")).count()
    };
    count("invalid") == INVALID_REQUESTS && count("valid") == VALID_REQUESTS
}

fn download(directory: &Path, log: &Path) -> Outcome<()> {
    let wanted = directory.join("gunicorn.txt");
    fs::write(&wanted, format!("gunicorn=={VERSION} --hash=sha256:{SHA256}\n"))
        .doing(format_args!("write {}", wanted.display()))?;
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "download", "--no-deps", "--no-binary", ":all:", "--require-hashes"]);
    pip.arg("--dest").arg(directory).arg("--requirement").arg(&wanted);
    run(&mut pip, log)?;
    let mut tar = Command::new("tar");
    tar.arg("--extract").arg("--gzip").arg("--directory").arg(directory);
    tar.arg("--file").arg(directory.join(format!("gunicorn-{VERSION}.tar.gz")));
    run(&mut tar, log)
}

fn run(command: &mut Command, log: &Path) -> Outcome<()> {
    let status = process::run_logged(command, log, FETCH_TIME_MAX)?;
    if status.success() {
        return Ok(());
    }
    let program = command.get_program().to_string_lossy().into_owned();
    Err(Failure(format!("{}\n{program} ended with {status}", process::tail(log, 20).join("\n"))))
}

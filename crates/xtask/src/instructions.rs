//! `cargo xtask instructions`: user instructions that the binary spends on one request of 200 bytes.
//!
//! Counted by callgrind, so the answer repeats and needs no quiet machine: the difference of two runs of different
//! length, divided by the difference of their requests. Everything that runs in the router's process counts, as a user
//! pays for it; manager and agent are in a process of their own, uncounted: they do the same however many requests come.

use crate::bench::{self, Generator};
use crate::failure::{Doing, Failure, Outcome};
use crate::process::{self, Owned};
use rustix::process::Signal;
use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// Most user instructions per request. 20,000: about half of what HAProxy takes (36,600), with every feature on.
const INSTRUCTIONS_MAX: u64 = 20_000;
const SIZE_BYTES: usize = 200;
const CONNECTIONS: usize = 64;
/// Answers in the short and in the long run.
const ANSWERS: [usize; 2] = [1_000, 11_000];
/// Longest time for start, run and end under callgrind, which is some fifty times slower.
const TIME_MAX: Duration = Duration::from_secs(120);

/// Fails when a request costs more than it may.
pub fn gate(profile: &str) -> Outcome<String> {
    let found = per_request(&bench::built(profile)?)?;
    let text = format!("{found} user instructions per request, at most {INSTRUCTIONS_MAX}");
    if found <= INSTRUCTIONS_MAX { Ok(text) } else { Err(Failure(text)) }
}

fn per_request(program: &Path) -> Outcome<u64> {
    let (short, long) = (count(program, ANSWERS[0])?, count(program, ANSWERS[1])?);
    assert!(long.answers > short.answers, "the long run is longer");
    Ok(long.instructions.saturating_sub(short.instructions) / (long.answers - short.answers))
}

struct Counted {
    answers: u64,
    instructions: u64,
}

/// One run under callgrind.
fn count(program: &Path, answers: usize) -> Outcome<Counted> {
    let scratch = bench::Scratch::new("instructions")?;
    let mut generator = Generator::new(&[SIZE_BYTES])?;
    let address = bench::free_address()?;
    let config = scratch.0.join(bench::MUSTER_FILE);
    let text = bench::muster_config(&scratch.0, address, generator.addresses())?;
    fs::write(&config, text).doing(format_args!("write {}", config.display()))?;
    let _manager = bench::start_manager(program, &scratch.0, None, &bench::BESIDE_ROUTER)?;
    let counts = scratch.0.join("callgrind.out");
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--quiet", "--fair-sched=yes"]);
    valgrind.arg(format!("--callgrind-out-file={}", counts.display()));
    valgrind.arg(program).arg("run").arg("--config").arg(&config).args(bench::ROUTER_ONLY);
    let log = scratch.0.join("output.log");
    bench::write_output_to(&mut valgrind, &log)?;
    let mut child = Owned(valgrind.spawn().doing("start valgrind")?);
    let counted = wait_until_it_answers(&mut child, address, &mut generator).and_then(|()| {
        generator.open(address, SIZE_BYTES, CONNECTIONS)?;
        let slice = generator.load_count(answers, TIME_MAX)?;
        match slice.first_wrong {
            Some(wrong) => Err(Failure(wrong)),
            None => Ok(slice.latencies.len() as u64),
        }
    });
    let answers = counted.map_err(|failure| with_output(&failure, &log))?;
    generator.close()?;
    process::send(child.0.id(), Signal::TERM);
    wait_for_end(&mut child, &mut generator).map_err(|failure| with_output(&failure, &log))?;
    Ok(Counted { answers, instructions: instructions(&counts)? })
}

fn with_output(failure: &Failure, log: &Path) -> Failure {
    Failure(format!("{}\n{failure}", process::tail(log, 20).join("\n")))
}

/// Until one request has been answered; that one is part of both runs and so of neither's difference.
fn wait_until_it_answers(
    child: &mut Owned,
    address: std::net::SocketAddr,
    generator: &mut Generator,
) -> Outcome<()> {
    let started = Instant::now();
    loop {
        generator.serve(Duration::from_millis(100))?;
        if let Ok(Some(status)) = child.0.try_wait() {
            return Err(Failure(format!("muster ended with {status}")));
        }
        let answered =
            TcpStream::connect(address).is_ok() && generator.open_idle(address, SIZE_BYTES, 1).is_ok();
        if answered {
            return generator.close();
        }
        if started.elapsed() > TIME_MAX {
            return Err(Failure(format!("muster did not answer within {} s", TIME_MAX.as_secs())));
        }
    }
}

fn wait_for_end(child: &mut Owned, generator: &mut Generator) -> Outcome<()> {
    let started = Instant::now();
    while started.elapsed() < TIME_MAX {
        if child.0.try_wait().doing("wait for valgrind")?.is_some() {
            return Ok(());
        }
        // Probes may still come until it ends.
        generator.serve(Duration::from_millis(50))?;
    }
    Err(Failure(format!("muster did not end within {} s", TIME_MAX.as_secs())))
}

/// The total that callgrind wrote.
fn instructions(counts: &Path) -> Outcome<u64> {
    let text = fs::read_to_string(counts).doing(format_args!("read {}", counts.display()))?;
    let totals = text.lines().filter_map(|line| line.strip_prefix("totals:"));
    let sum: u64 = totals.filter_map(|total| total.trim().parse::<u64>().ok()).sum();
    if sum > 0 { Ok(sum) } else { Err(Failure("callgrind counted nothing".into())) }
}

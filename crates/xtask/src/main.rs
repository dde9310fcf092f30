//! The project's own tool: test, nightly, tidy, bench, fuzz, lab. Never shipped.
//!
//! Data goes to stdout, talk to stderr. Exit codes: 0 all is well, 1 something failed, 2 wrong use.

mod bench;
mod failure;
mod fuzz;
mod instructions;
mod lab;
mod process;
mod repository;
mod testing;
mod tidy;

use clap::{Parser, Subcommand};
use failure::Failure;
use std::process::ExitCode;

/// Tests, tidies and measures Muster
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", arg_required_else_help = true)]
struct CommandLine {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Everything that must hold before a change is taken: packages, lints, rules, tests, instructions
    Test(testing::Args),
    /// What takes too long for every change: 20,000 seeds, the demo trying itself again and again, all benchmarks
    Nightly,
    /// Hold the project's rules: edges, sizes, headers, bounds, documents, licences
    Tidy,
    /// Measure what a part costs
    Bench {
        #[command(subcommand)]
        part: BenchPart,
    },
    /// Try a cell on machines that are network namespaces, with faults, and see whether all ends as it must
    Lab {
        #[command(subcommand)]
        act: lab::Act,
    },
    /// Look for bytes that break what the parsers promise
    Fuzz(fuzz::Args),
    /// Count the user instructions of one request, and fail above the budget
    Instructions {
        /// How it was built: cargo build --profile PROFILE
        #[arg(long, default_value = "release")]
        profile: String,
    },
}

#[derive(Debug, Subcommand)]
enum BenchPart {
    /// The router beside HAProxy, nginx and Envoy: processor time per request, latency, memory; then `exits`
    Router(bench::RouterArgs),
    /// From a member's exit to the tables of all routers: members of a running cell are killed
    Exits(bench::ExitsArgs),
    /// The choice of members beside HAProxy's: latency with two slow members of sixteen, and with equal ones
    Balance(bench::BalanceArgs),
    /// Heartbeats that one core of a manager takes
    Heartbeats(bench::HeartbeatsArgs),
    /// What a manager costs that looks after ten thousand members on a hundred machines, with routers that follow it
    Members(bench::MembersArgs),
    /// From a lost machine, an exit and a drain to the tables of all routers, in a lab of twenty machines
    Crashes(bench::CrashesArgs),
    /// An address that fails over, beside keepalived and Pacemaker: outages, and instants with two owners
    Failover(bench::FailoverArgs),
    /// The cell in simulation: what was published about others, our models of them, and Muster, side by side
    Cell(bench::CellArgs),
}

fn main() -> ExitCode {
    let outcome = match CommandLine::parse().task {
        Task::Test(args) => return testing::run(&args),
        Task::Nightly => return testing::nightly(),
        Task::Tidy => tidy::run(&repository::root()),
        Task::Bench { part } => match part {
            BenchPart::Router(args) => bench::router(&args),
            BenchPart::Exits(args) => bench::exits(&args),
            BenchPart::Balance(args) => bench::balance(&args),
            BenchPart::Heartbeats(args) => bench::heartbeats(&args),
            BenchPart::Members(args) => bench::members(&args),
            BenchPart::Crashes(args) => bench::crashes(&args),
            BenchPart::Failover(args) => bench::failover(&args),
            BenchPart::Cell(args) => bench::cell(&args),
        }
        .and_then(|is_met| if is_met { Ok(()) } else { Err(Failure("a bar was missed".into())) }),
        Task::Lab { act } => lab::run(&act),
        Task::Fuzz(args) => fuzz::run(&args),
        Task::Instructions { profile } => instructions::gate(&profile).map(|text| println!("{text}")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::FAILURE
        }
    }
}

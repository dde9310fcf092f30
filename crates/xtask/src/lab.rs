//! `cargo xtask lab`: scenarios with expected ends on hosts that are network namespaces, or such a lab to play with.
//!
//! Not here: what a lab is and does (see the crate `lab`).

use crate::failure::{Doing, Failure, Outcome};
use crate::{process, repository};
use lab::run::{Lab, Patience};
use lab::scenario::{self, Scenario};
use std::fs;
use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Where scenarios lie.
const SCENARIOS: &str = "crates/lab/scenarios";
/// How long cargo may build the binary.
const BUILD_TIME_MAX: Duration = Duration::from_secs(25 * 60);

#[derive(Debug, clap::Subcommand)]
pub enum Act {
    /// Say which scenarios there are, and what each shows
    List,
    /// Carry out scenarios, and say whether they ended as they must
    Run {
        /// Files, or names from the list; none: all
        scenarios: Vec<String>,
        /// Also those that take too long for every change
        #[arg(long)]
        nightly: bool,
        /// A binary of Muster to use instead of the one that is built
        #[arg(long, value_name = "FILE")]
        muster: Option<PathBuf>,
    },
    /// Bring up what a scenario consists of, say how to get onto its hosts, and do its lines as they are typed
    Up {
        /// A file, or a name from the list; without one, three hosts
        scenario: Option<String>,
        /// A binary of Muster to use instead of the one that is built
        #[arg(long, value_name = "FILE")]
        muster: Option<PathBuf>,
    },
}

pub fn run(act: &Act) -> Outcome<()> {
    match act {
        Act::List => list(),
        Act::Run { scenarios, nightly, muster } => run_scenarios(scenarios, *nightly, muster.as_deref()),
        Act::Up { scenario, muster } => up(scenario.as_deref(), muster.as_deref()),
    }
}

/// All scenarios by name, in the order of their names.
fn all() -> Outcome<Vec<(String, Scenario)>> {
    let directory = repository::root().join(SCENARIOS);
    let entries = fs::read_dir(&directory).doing(format_args!("read {}", directory.display()))?;
    let paths = entries.flatten().map(|entry| entry.path());
    let mut files: Vec<PathBuf> =
        paths.filter(|path| path.extension().is_some_and(|it| it == "lab")).collect();
    files.sort();
    files.iter().map(|path| read(path)).collect()
}

fn read(path: &Path) -> Outcome<(String, Scenario)> {
    let text = fs::read_to_string(path).doing(format_args!("read {}", path.display()))?;
    let scenario = scenario::parse(&text)
        .map_err(|mistake| Failure(format!("{}:{}: {}", path.display(), mistake.line, mistake.why)))?;
    let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    Ok((name, scenario))
}

/// A scenario by its name or its file.
fn find(name: &str) -> Outcome<(String, Scenario)> {
    let known = repository::root().join(SCENARIOS).join(format!("{name}.lab"));
    read(if known.is_file() { &known } else { Path::new(name) })
}

fn list() -> Outcome<()> {
    for (name, scenario) in all()? {
        let mark = if scenario.is_nightly { " (nightly)" } else { "" };
        println!("{name}{mark}\n    {}", scenario.title);
    }
    Ok(())
}

fn build() -> Outcome<PathBuf> {
    let log = repository::root().join("target/lab-build.log");
    let mut cargo = process::cargo();
    cargo.args(["build", "--locked", "--package", "muster"]).current_dir(repository::root());
    eprintln!("building muster");
    match process::run_logged(&mut cargo, &log, BUILD_TIME_MAX)? {
        status if status.success() => Ok(repository::root().join("target/debug/muster")),
        _ => Err(Failure(process::tail(&log, 40).join("\n"))),
    }
}

fn binary(given: Option<&Path>) -> Outcome<PathBuf> {
    match given {
        Some(path) => path.canonicalize().doing(format_args!("find {}", path.display())),
        None => build()?.canonicalize().doing("find what was built"),
    }
}

/// A directory for one lab, which goes with it.
pub fn directory(name: &str) -> Outcome<PathBuf> {
    let path = std::env::temp_dir().join(format!("muster-lab-{}-{name}", std::process::id()));
    fs::create_dir_all(&path).doing(format_args!("create {}", path.display()))?;
    Ok(path)
}

fn run_scenarios(names: &[String], is_nightly: bool, muster: Option<&Path>) -> Outcome<()> {
    let wanted: Vec<(String, Scenario)> = match names {
        [] => all()?.into_iter().filter(|(_, scenario)| is_nightly || !scenario.is_nightly).collect(),
        names => names.iter().map(|name| find(name)).collect::<Outcome<_>>()?,
    };
    let muster = binary(muster)?;
    let mut failed = Vec::new();
    for (name, scenario) in &wanted {
        println!("{name}: {}", scenario.title);
        let started = Instant::now();
        let mut tell = |line: &str| println!("    {line}");
        let done = lab::run::run(scenario, &directory(name)?, &muster, Patience::ALONE, &mut tell);
        let seconds = started.elapsed().as_secs_f64();
        match done {
            Ok(()) => println!("  ok, {seconds:.1} s"),
            Err(problem) => {
                println!("  FAILED after {seconds:.1} s: {problem}");
                failed.push(name.as_str());
            }
        }
    }
    println!("{} passed, {} failed", wanted.len() - failed.len(), failed.len());
    if failed.is_empty() { Ok(()) } else { Err(Failure(format!("these failed: {}", failed.join(", ")))) }
}

/// What three hosts are where no scenario is named.
const PLAIN: &str = "# Three machines.\nhosts web-1 web-2 web-3\n";

fn up(name: Option<&str>, muster: Option<&Path>) -> Outcome<()> {
    let scenario = match name {
        Some(name) => find(name)?.1,
        None => scenario::parse(PLAIN).map_err(|mistake| Failure(mistake.why))?,
    };
    let muster = binary(muster)?;
    eprintln!("bringing up {}", scenario.plan.hosts.join(", "));
    let mut lab =
        Lab::start(&scenario.plan, &directory("up")?, &muster).map_err(|it| Failure(it.to_string()))?;
    tell_entrances(&lab);
    if !scenario.steps.is_empty() {
        println!("\nThe scenario's lines, to be typed here:");
        scenario.steps.iter().for_each(|step| println!("    {}", step.text));
    }
    println!(
        "\nLines of scenarios are done as they are typed. `hosts` says again how to get in; the end of input ends the lab."
    );
    for line in std::io::stdin().lock().lines() {
        let line = line.doing("read what is typed")?;
        match line.trim() {
            "" => {}
            "hosts" => tell_entrances(&lab),
            "end" | "exit" | "quit" => break,
            typed => match lab.type_in(typed) {
                Ok(()) => println!("done"),
                Err(problem) => println!("{problem}"),
            },
        }
    }
    Ok(())
}

fn tell_entrances(lab: &Lab) {
    for host in lab.hosts().all() {
        println!("# {} ({})\n{}", host.name, host.address, host.entrance());
    }
}

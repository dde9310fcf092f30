//! `muster plugin-cfg check`: findings with line, explanation and advice.

use super::super::table::plain;
use super::super::{Exit, print};
use super::load;
use logic::plugin_cfg::check::{Findings, Severity, check};
use serde_json::json;
use std::fmt::Write as _;
use std::path::PathBuf;

const EXAMPLES: &str = "\
Examples:
  muster plugin-cfg check plugin-cfg.xml
  muster plugin-cfg check --errors-only *.xml    in a build pipeline
  muster plugin-cfg check --json - < plugin-cfg.xml

Exit codes: 0 nothing of severity error, 1 there is, 2 wrong use.";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The files; - reads standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Leave out warnings and hints
    #[arg(long)]
    errors_only: bool,
    /// Print one JSON object for each file
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args) -> Exit {
    let mut worst = Exit::Yes;
    for path in &args.files {
        let exit = match load(path) {
            Ok(document) => {
                let mut findings = check(&document);
                if args.errors_only {
                    findings.list.retain(|finding| finding.severity == Severity::Error);
                }
                let name = super::name(path);
                let text = if args.json { as_json(&name, &findings) } else { tell(&name, &findings) };
                match print(text.as_bytes()) {
                    Exit::Yes if findings.count(Severity::Error) > 0 => Exit::No,
                    exit => exit,
                }
            }
            Err(failure) => failure.tell(args.json),
        };
        worst = if exit as u8 > worst as u8 { exit } else { worst };
    }
    worst
}

fn as_json(name: &str, findings: &Findings) -> String {
    let list: Vec<_> = findings
        .list
        .iter()
        .map(|finding| {
            json!({
                "severity": finding.severity.to_string(),
                "rule": finding.rule,
                "line": finding.place.line,
                "column": finding.place.column,
                "what": finding.what,
                "advice": finding.advice,
            })
        })
        .collect();
    let value = json!({
        "ok": findings.count(Severity::Error) == 0,
        "file": name,
        "findings": list,
        "findings_left_out": findings.left_out,
    });
    format!("{value:#}\n")
}

fn tell(name: &str, findings: &Findings) -> String {
    let mut text = String::new();
    for finding in &findings.list {
        writeln!(
            text,
            "{name}:{}:{}: {}: {} [{}]\n    {}",
            finding.place.line,
            finding.place.column,
            finding.severity,
            finding.what,
            finding.rule,
            finding.advice
        )
        .expect("a String takes any text");
    }
    if findings.left_out > 0 {
        writeln!(text, "{} more are left out", findings.left_out).expect("a String takes any text");
    }
    let count = |severity, one: &str| {
        let count = findings.count(severity);
        format!("{count} {one}{}", if count == 1 { "" } else { "s" })
    };
    writeln!(
        text,
        "{name}: {}, {}, {}",
        count(Severity::Error, "error"),
        count(Severity::Warning, "warning"),
        count(Severity::Hint, "hint")
    )
    .expect("a String takes any text");
    plain(&text)
}

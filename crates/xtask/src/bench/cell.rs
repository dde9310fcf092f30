//! `cargo xtask bench cell`: what was published about other protocols, our models of them, and Muster, side by side, at the
//! same number of hosts, with the same fault and the same measure; then the figures that a cell promises.
//!
//! Everything here is simulated, says so, and ends the same each time. The models are held against what was published by
//! the tests of `sim`; Muster's figures come from the machines that it runs. What is measured on real processes stands in
//! `docs/reference/performance.md` under commands of its own.

mod bars;
mod rows;

use crate::failure::{Doing, Outcome};
use serde::Serialize;

#[derive(Debug, clap::Args)]
pub struct CellArgs {
    /// Simulate a whole day of 10,000 nodes at 1 % loss instead of an hour: some ten minutes more
    #[arg(long)]
    day: bool,
    /// Leave the comparison with others out
    #[arg(long)]
    bars_only: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// One line of the comparison. A dash stands where nothing was published, or where it means nothing.
#[derive(Debug, Clone, Serialize)]
struct Row {
    /// Fault, protocol and measure.
    what: String,
    paper: String,
    model: String,
    muster: String,
}

/// A figure with a bound.
#[derive(Debug, Clone, Serialize)]
struct Bar {
    text: String,
    found: f64,
    at_most: f64,
    unit: &'static str,
    is_met: bool,
}

fn bar(text: &str, found: f64, at_most: f64, unit: &'static str) -> Bar {
    Bar { text: text.to_owned(), found, at_most, unit, is_met: found <= at_most }
}

#[derive(Debug, Serialize)]
struct Report {
    /// All figures come from a simulation.
    is_simulated: bool,
    comparison: Vec<Row>,
    bars: Vec<Bar>,
    notes: Vec<String>,
}

/// Whether every bar was met.
pub fn cell(args: &CellArgs) -> Outcome<bool> {
    let comparison = if args.bars_only { Vec::new() } else { rows::all() };
    let (bars, notes) = bars::all(args.day);
    let report = Report { is_simulated: true, comparison, bars, notes };
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report).doing("write the report as JSON")?);
    } else {
        print(&report);
    }
    Ok(report.bars.iter().all(|bar| bar.is_met))
}

/// Widths of the columns; what is longer pushes the rest aside.
const WIDTHS: [usize; 3] = [50, 34, 44];

fn print(report: &Report) {
    println!("All figures are simulated. K: thousand.\n");
    let [what, paper, model] = WIDTHS;
    if !report.comparison.is_empty() {
        println!("{:<what$} {:<paper$} {:<model$} Muster", "", "published", "our model of it");
    }
    for row in &report.comparison {
        println!("{:<what$} {:<paper$} {:<model$} {}", row.what, row.paper, row.model, row.muster);
    }
    println!();
    for Bar { text, found, at_most, unit, is_met } in &report.bars {
        let word = if *is_met { "met   " } else { "MISSED" };
        println!("{word}  {text}: {found:.2} {unit}, at most {at_most} {unit}");
    }
    println!();
    report.notes.iter().for_each(|note| println!("{note}"));
}

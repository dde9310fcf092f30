//! What the benchmark found, the bars it is held against, and how both are shown.

use super::candidate::Kind;
use super::exits::Exits;
use super::protocols::Protocol;
use super::statistics::Spread;
use super::tables::Tables;
use crate::failure::{Doing, Outcome};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;

/// Highest ratio to a peer's processor time per request, by size of the answer.
const RATIO_BARS: [(usize, Kind, f64); 6] = [
    (200, Kind::Haproxy, 0.82),
    (10_000, Kind::Haproxy, 0.75),
    (1_000_000, Kind::Haproxy, 0.35),
    (1_000_000, Kind::HaproxyTuned, 0.85),
    (200, Kind::Nginx, 0.85),
    (200, Kind::Envoy, 0.25),
];

/// Highest ratio to the better of HAProxy's and nginx's processor time per request over TLS and HTTP/2.
const PROTOCOL_BAR: f64 = 0.9;

/// Highest ratio to HAProxy's memory with the most idle connections.
const MEMORY_BAR: f64 = 0.5;

/// Highest cost of a request in a large table, as a ratio to a small one.
const TABLE_COST_BAR: f64 = 1.10;
/// Longest time for a swap of large tables, and longest that it may keep a request waiting.
const TABLE_SWAP_BAR_MS: f64 = 50.0;
const TABLE_STALL_BAR_MS: f64 = 5.0;

/// Longest time from a member's exit to all routers' tables, at the 99th percentile.
const EXIT_BAR_MS: f64 = 10.0;

/// One proxy at one size.
#[derive(Debug, Serialize)]
pub struct Cell {
    pub proxy: Kind,
    pub size_bytes: usize,
    /// Processor time per request.
    pub cpu_us: Spread,
    /// To each proxy that ran, in the same round.
    pub ratios: BTreeMap<Kind, Spread>,
    pub requests_per_second: f64,
    pub p50_us: f64,
    pub p99_us: f64,
    /// Share of time in which the generator had nothing to do.
    pub generator_idle: f64,
    pub slices: usize,
}

/// One proxy over one protocol.
#[derive(Debug, Serialize)]
pub struct ProtocolCell {
    pub protocol: Protocol,
    pub proxy: Kind,
    /// Processor time per request.
    pub cpu_us: Spread,
    /// To the better of HAProxy and nginx in the same round, where both ran.
    pub of_better: Option<Spread>,
    pub slices: usize,
}

/// Resident memory by number of idle connections.
#[derive(Debug, Serialize)]
pub struct Memory {
    pub proxy: Kind,
    pub resident_kb: BTreeMap<usize, u64>,
}

/// One bar and whether it was met.
#[derive(Debug, Serialize, PartialEq)]
pub struct Verdict {
    pub bar: String,
    pub found: f64,
    pub at_most: f64,
    pub is_met: bool,
}

#[derive(Debug, Default, Serialize)]
pub struct Report {
    pub machine: String,
    pub versions: BTreeMap<Kind, String>,
    pub cells: Vec<Cell>,
    pub protocols: Vec<ProtocolCell>,
    pub memory: Vec<Memory>,
    pub tables: Option<Tables>,
    pub exits: Option<Exits>,
    pub verdicts: Vec<Verdict>,
}

impl Report {
    /// Holds what was found against the bars; a bar for which nothing was measured says nothing.
    pub fn judge(&mut self) -> bool {
        let mut verdicts = Vec::new();
        for (size_bytes, peer, at_most) in RATIO_BARS {
            let is_ours = |cell: &&Cell| cell.proxy == Kind::Muster && cell.size_bytes == size_bytes;
            if let Some(ratio) = self.cells.iter().find(is_ours).and_then(|cell| cell.ratios.get(&peer)) {
                let bar = format!("processor time at {size_bytes} B, ratio to {}", peer.text());
                verdicts.push(verdict(bar, ratio.median, at_most));
            }
        }
        for cell in self.protocols.iter().filter(|cell| cell.proxy == Kind::Muster) {
            if let Some(ratio) = cell.of_better {
                let bar = format!(
                    "processor time with {}, ratio to the better of haproxy and nginx",
                    cell.protocol.text()
                );
                verdicts.push(verdict(bar, ratio.median, PROTOCOL_BAR));
            }
        }
        let most = |kind: Kind| {
            let memory = self.memory.iter().find(|memory| memory.proxy == kind)?;
            memory.resident_kb.last_key_value().map(|(count, kb)| (*count, *kb as f64))
        };
        if let (Some((count, ours)), Some((_, theirs))) = (most(Kind::Muster), most(Kind::Haproxy)) {
            verdicts.push(verdict(
                format!("memory with {count} idle connections, ratio to haproxy"),
                ours / theirs,
                MEMORY_BAR,
            ));
        }
        if let Some(tables) = &self.tables {
            let many = format!("{} routes and members", tables.routes);
            let bars = [
                ("cost per request, ratio to few", tables.cost_ratio, TABLE_COST_BAR),
                ("swap, ms", tables.swap_ms, TABLE_SWAP_BAR_MS),
                ("longest request during a swap, ms", tables.longest_request_ms, TABLE_STALL_BAR_MS),
            ];
            verdicts.extend(
                bars.map(|(bar, found, at_most)| verdict(format!("{many}: {bar}"), found.median, at_most)),
            );
        }
        if let Some(exits) = &self.exits {
            verdicts.push(verdict(
                format!("a member's exit to the routers' tables, ms at p99 of {} kills", exits.kills),
                exits.p99_ms,
                EXIT_BAR_MS,
            ));
        }
        self.verdicts = verdicts;
        self.verdicts.iter().all(|verdict| verdict.is_met)
    }
}

impl Report {
    /// Prints the report for people on stderr and, if wanted, for programs on stdout.
    pub fn show(&self, as_json: bool) -> Outcome<()> {
        if as_json {
            println!("{}", serde_json::to_string_pretty(self).doing("write the report")?);
        }
        eprint!("{self}");
        Ok(())
    }

    /// One line for each proxy and size, under a head line.
    fn fmt_cells(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.cells.is_empty() {
            return Ok(());
        }
        writeln!(
            out,
            "\n    size          proxy    CPU us/request [quartiles]   of haproxy's [quartiles]       req/s    p50 us    p99 us  generator idle"
        )?;
        for cell in &self.cells {
            let cpu = cell.cpu_us;
            let ratio = cell.ratios.get(&Kind::Haproxy).map_or_else(String::new, |ratio| {
                format!("{:.2} [{:.2} {:.2}]", ratio.median, ratio.lower_quartile, ratio.upper_quartile)
            });
            writeln!(
                out,
                "{:>8}  {:>13}  {:>10.1} [{:.1} {:.1}]  {ratio:>23}  {:>10.0}  {:>8.0}  {:>8.0}  {:>13.0}%",
                cell.size_bytes,
                cell.proxy.text(),
                cpu.median,
                cpu.lower_quartile,
                cpu.upper_quartile,
                cell.requests_per_second,
                cell.p50_us,
                cell.p99_us,
                cell.generator_idle * 100.0
            )?;
        }
        Ok(())
    }
}

fn verdict(bar: String, found: f64, at_most: f64) -> Verdict {
    Verdict { bar, found, at_most, is_met: found <= at_most }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "{}", self.machine)?;
        for (kind, version) in &self.versions {
            writeln!(out, "{:>13}: {version}", kind.text())?;
        }
        self.fmt_cells(out)?;
        for ProtocolCell { protocol, proxy, cpu_us, of_better, .. } in &self.protocols {
            let ratio = of_better.map_or_else(String::new, |ratio| {
                let Spread { median, lower_quartile, upper_quartile } = ratio;
                format!("  {median:.2} [{lower_quartile:.2} {upper_quartile:.2}] of the better peer's")
            });
            let (name, protocol) = (proxy.text(), protocol.text());
            writeln!(out, "{name:>13}  {protocol:<17}  {:>6.1} us/request{ratio}", cpu_us.median)?;
        }
        for memory in &self.memory {
            let points: Vec<String> = memory
                .resident_kb
                .iter()
                .map(|(count, kb)| format!("{count} idle: {:.1} MB", *kb as f64 / 1e3))
                .collect();
            writeln!(out, "{:>13}  memory with {}", memory.proxy.text(), points.join(", "))?;
        }
        if let Some(tables) = &self.tables {
            writeln!(
                out,
                "       muster  {} routes: cost {:.2} of few; swap {:.1} ms; longest request {:.1} ms, {:.1} ms without a swap",
                tables.routes,
                tables.cost_ratio.median,
                tables.swap_ms.median,
                tables.longest_request_ms.median,
                tables.longest_without_ms.median
            )?;
        }
        if let Some(exits) = &self.exits {
            writeln!(
                out,
                "  muster  exit to table p50 {:.1} ms, p99 {:.1} ms, longest {:.1} ms; load average {:.1} before, {:.1} after",
                exits.p50_ms, exits.p99_ms, exits.max_ms, exits.load_average[0], exits.load_average[1]
            )?;
        }
        for verdict in &self.verdicts {
            let word = if verdict.is_met { "met   " } else { "MISSED" };
            writeln!(out, "{word}  {}: {:.2}, at most {:.2}", verdict.bar, verdict.found, verdict.at_most)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(proxy: Kind, size_bytes: usize, ratio: f64) -> Cell {
        let ratio = Spread { median: ratio, lower_quartile: ratio, upper_quartile: ratio };
        Cell {
            proxy,
            size_bytes,
            cpu_us: Spread::default(),
            ratios: [(Kind::Haproxy, ratio)].into(),
            requests_per_second: 0.0,
            p50_us: 0.0,
            p99_us: 0.0,
            generator_idle: 0.0,
            slices: 7,
        }
    }

    #[test]
    fn a_bar_is_missed_by_muster_only() {
        let mut report = Report {
            cells: vec![cell(Kind::Muster, 200, 0.82), cell(Kind::Nginx, 200, 2.0)],
            ..Report::default()
        };
        assert!(report.judge(), "{:?}", report.verdicts);
        report.cells.push(cell(Kind::Muster, 1_000_000, 0.36));
        assert!(!report.judge(), "{:?}", report.verdicts);
    }

    #[test]
    fn protocols_are_held_against_the_better_peer() {
        let cell = |proxy, median| ProtocolCell {
            protocol: Protocol::Http2,
            proxy,
            cpu_us: Spread::default(),
            of_better: Some(Spread { median, lower_quartile: median, upper_quartile: median }),
            slices: 5,
        };
        let mut report =
            Report { protocols: vec![cell(Kind::Muster, 0.9), cell(Kind::Nginx, 1.0)], ..Report::default() };
        assert!(report.judge(), "{:?}", report.verdicts);
        report.protocols.push(cell(Kind::Muster, 0.91));
        assert!(!report.judge(), "{:?}", report.verdicts);
        assert!(report.to_string().contains("0.91 [0.91 0.91] of the better peer's"), "{report}");
    }

    #[test]
    fn exits_are_held_against_their_bar_and_shown() {
        let exits =
            |p99_ms| Exits { kills: 100, p50_ms: 3.0, p99_ms, max_ms: 12.0, load_average: [0.5, 7.25] };
        let mut report = Report { exits: Some(exits(10.0)), ..Report::default() };
        assert!(report.judge(), "{:?}", report.verdicts);
        report.exits = Some(exits(10.1));
        assert!(!report.judge(), "{:?}", report.verdicts);
        let text = report.to_string();
        assert!(text.contains("load average 0.5 before, 7.2 after") && text.contains("MISSED"), "{text}");
        assert!(!text.contains("CPU us/request"), "{text}");
    }

    #[test]
    fn memory_is_held_against_haproxy() {
        let memory = |proxy, kb| Memory { proxy, resident_kb: [(0, 1), (10_000, kb)].into() };
        let mut report =
            Report { memory: vec![memory(Kind::Muster, 5), memory(Kind::Haproxy, 10)], ..Report::default() };
        assert!(report.judge(), "{:?}", report.verdicts);
        report.memory = vec![memory(Kind::Muster, 6), memory(Kind::Haproxy, 10)];
        assert!(!report.judge(), "{:?}", report.verdicts);
    }
}

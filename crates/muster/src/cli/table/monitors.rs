//! The table of monitors.

use super::{Cell, Paint, Side, Style, cell, duration, one_line, styled, table};
use wire::monitor::MonitorState;
use wire::status::{CellStatus, MonitorStatus};

/// One row for each monitor and node.
pub fn monitors(status: &CellStatus, paint: Paint) -> String {
    let heads = [
        ("MONITOR", Side::Left),
        ("NODE", Side::Left),
        ("STATE", Side::Left),
        ("FOR", Side::Right),
        ("KIND", Side::Left),
        ("TARGET", Side::Left),
        ("ANSWER", Side::Right),
        ("PROBES", Side::Right),
        ("FAILED", Side::Right),
        ("NEXT IN", Side::Right),
        ("REASON", Side::Left),
    ];
    let rows: Vec<Vec<Cell>> = status.monitors.iter().map(|monitor| row(monitor, status.now_ms)).collect();
    table(paint, 0, &heads, &rows)
}

fn row(monitor: &MonitorStatus, now_ms: u64) -> Vec<Cell> {
    let style = match monitor.state {
        MonitorState::Normal => Style::Good,
        MonitorState::Warning | MonitorState::Unknown => Style::Careful,
        MonitorState::Error => Style::Bad,
        MonitorState::Paused | MonitorState::Idle => Style::Dim,
    };
    let took = monitor.took_ms.map_or("-".to_owned(), |took_ms| format!("{took_ms} ms"));
    // The last report may be older than the last probe.
    let next_ms = monitor.next_ms.map(|at_ms| next_after(at_ms, monitor.interval_ms, now_ms) - now_ms);
    let next = next_ms.map_or("-".to_owned(), |left_ms| format!("{:.1} s", left_ms as f64 / 1e3));
    let drill = monitor.drill_ends_ms.map(|at_ms| format!(" (for {} more)", duration(at_ms, now_ms)));
    let failures = if monitor.failures > 0 { Style::Careful } else { Style::Plain };
    vec![
        cell(&monitor.monitor.0),
        cell(&monitor.node.0),
        styled(monitor.state.to_string(), style),
        cell(duration(now_ms, monitor.since_ms)),
        cell(&monitor.kind),
        cell(one_line(&monitor.target)),
        cell(took),
        cell(monitor.probes.to_string()),
        styled(monitor.failures.to_string(), failures),
        cell(next),
        cell(one_line(&monitor.reason) + &drill.unwrap_or_default()),
    ]
}

/// The first time after `now_ms` of those that lie an interval apart.
fn next_after(at_ms: u64, interval_ms: u64, now_ms: u64) -> u64 {
    let missed = now_ms.saturating_sub(at_ms).div_ceil(interval_ms.max(1));
    at_ms + missed * interval_ms
}

//! Tables of text for terminals and files: aligned, coloured only where wanted, safe to show.
//!
//! Pure. Whatever comes from elsewhere is made plain first: a reason that holds control characters must not steer
//! the terminal of who reads it.

use wire::group::{GroupCondition, GroupStatus};
use wire::status::{
    CellStanding, CellStatus, ClusterStatus, Event, LeaseStatus, ManagerState, ManagerStatus, MemberStatus,
    NodeReach, NodeStatus, RouterStatus, Severity,
};
use wire::view::{Policy, RunState};

mod monitors;
pub mod moves;

pub use monitors::monitors;

/// Spaces between columns.
const GAP: usize = 2;

/// Whether to colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paint {
    Plain,
    Coloured,
}

impl Paint {
    /// Coloured where standard output is a terminal that nobody asked to stay plain (<https://no-color.org>).
    pub fn of_stdout() -> Self {
        use std::io::IsTerminal;
        let is_unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        if std::io::stdout().is_terminal() && !is_unwanted && !is_dumb {
            Paint::Coloured
        } else {
            Paint::Plain
        }
    }

    pub(super) fn dye(self, text: &str, style: Style) -> String {
        let code = match style {
            Style::Plain => return text.to_owned(),
            Style::Bold => "1",
            Style::Dim => "2",
            Style::Good => "32",
            Style::Busy => "34",
            Style::Careful => "33",
            Style::Bad => "31",
        };
        match self {
            Paint::Plain => text.to_owned(),
            Paint::Coloured => format!("\x1b[{code}m{text}\x1b[0m"),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    Plain,
    Bold,
    Dim,
    Good,
    Busy,
    Careful,
    Bad,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Left,
    Right,
}

pub(super) struct Cell {
    pub text: String,
    pub style: Style,
}

pub(super) fn cell(text: impl Into<String>) -> Cell {
    Cell { text: plain(&text.into()), style: Style::Plain }
}

pub(super) fn styled(text: impl Into<String>, style: Style) -> Cell {
    Cell { style, ..cell(text) }
}

/// Text without control characters.
pub fn plain(text: &str) -> String {
    text.chars()
        .map(|letter| if letter.is_control() && letter != '\n' { '\u{fffd}' } else { letter })
        .collect()
}

/// One line of plain text.
pub fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Columns as wide as their widest cell; no blanks at the end of a line.
pub(super) fn table(paint: Paint, indent: usize, heads: &[(&str, Side)], rows: &[Vec<Cell>]) -> String {
    let widths: Vec<usize> = heads
        .iter()
        .enumerate()
        .map(|(column, (head, _))| {
            let cells = rows.iter().map(|row| row[column].text.chars().count());
            cells.chain([head.len()]).max().unwrap_or(0)
        })
        .collect();
    let heading: Vec<Cell> = heads.iter().map(|(head, _)| styled(*head, Style::Dim)).collect();
    let mut text = String::new();
    for row in std::iter::once(&heading).chain(rows) {
        let mut line = " ".repeat(indent);
        let mut blanks = 0;
        for ((cell, width), (_, side)) in row.iter().zip(&widths).zip(heads) {
            let missing = width - cell.text.chars().count();
            let (before, after) = match side {
                Side::Left => (0, missing),
                Side::Right => (missing, 0),
            };
            line.push_str(&" ".repeat(blanks + before));
            line.push_str(&paint.dye(&cell.text, cell.style));
            blanks = after + GAP;
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Nodes, routers, clusters and members.
pub fn status(status: &CellStatus, paint: Paint) -> String {
    let mut text = format!(
        "cell {}  {}\n",
        paint.dye(&plain(&status.cell), Style::Bold),
        paint.dye(
            &format!(
                "configuration {}, manager generation {}, muster {}",
                status.config_revision,
                status.generation,
                plain(&status.version)
            ),
            Style::Dim
        )
    );
    if let Some(leader) = &status.leader {
        let since = duration(status.now_ms, leader.since_ms);
        text.push_str(&format!(
            "the manager of {} leads, for {since}, in term {}\n",
            leader.node, leader.term
        ));
    }
    for manager in &status.managers {
        text.push_str(&manager_text(manager, status.now_ms, paint));
    }
    text.push_str(&staleness(status, paint));
    text.push('\n');
    text.push_str(&nodes(status, paint));
    text.push_str(&other_cells(status, paint));
    text.push('\n');
    text.push_str(&routers(&status.routers, paint));
    text.push_str(&troubles(status, paint));
    for cluster in &status.clusters {
        text.push('\n');
        text.push_str(&cluster_text(cluster, status.now_ms, paint));
    }
    if !status.groups.is_empty() {
        text.push('\n');
        text.push_str(&groups(&status.groups.iter().collect::<Vec<_>>(), paint));
    }
    if !status.monitors.is_empty() {
        text.push('\n');
        text.push_str(&monitors(status, paint));
    }
    text
}

pub fn groups(groups: &[&GroupStatus], paint: Paint) -> String {
    let heads = [
        ("GROUP", Side::Left),
        ("STATE", Side::Left),
        ("NODE", Side::Left),
        ("POLICY", Side::Left),
        ("RESOURCES", Side::Left),
        ("WHY", Side::Left),
    ];
    let rows: Vec<Vec<Cell>> = groups
        .iter()
        .map(|group| {
            let style = match group.state {
                GroupCondition::Online => Style::Good,
                GroupCondition::Offline => Style::Dim,
                GroupCondition::Starting | GroupCondition::Stopping => Style::Busy,
                GroupCondition::Waiting => Style::Careful,
                GroupCondition::Failed => Style::Bad,
            };
            let frozen = if group.is_frozen { ", frozen" } else { "" };
            let nodes: Vec<&str> = group.nodes.iter().map(|node| node.0.as_str()).collect();
            let resources: Vec<String> = group
                .resources
                .iter()
                .map(|resource| format!("{} {}", resource.name, resource.state))
                .collect();
            vec![
                cell(&group.group.0),
                styled(format!("{}{frozen}", group.state), style),
                cell(group.node.as_ref().map_or("-", |node| node.0.as_str())),
                cell(nodes.join(", ")),
                cell(resources.join(", ")),
                cell(one_line(&group.reason)),
            ]
        })
        .collect();
    table(paint, 0, &heads, &rows)
}

/// Who leads has been told already.
fn manager_text(manager: &ManagerStatus, now_ms: u64, paint: Paint) -> String {
    let since = manager.since_ms.map(|since_ms| duration(now_ms, since_ms));
    let what = match (manager.state, since) {
        (ManagerState::Leads, _) => return String::new(),
        (ManagerState::Follows, Some(since)) => format!("follows, for {since}"),
        (ManagerState::Follows, None) => "follows".to_owned(),
        (ManagerState::Down, Some(since)) => paint.dye(&format!("is down, for {since}"), Style::Bad),
        (ManagerState::Down, None) => paint.dye("is down; the leader has never heard it", Style::Bad),
        (ManagerState::Unknown, _) => "may follow or be down: it will be known in a moment".to_owned(),
    };
    format!("the manager of {} {what}\n", manager.node)
}

/// A line for each thing that somebody should look after.
fn troubles(status: &CellStatus, paint: Paint) -> String {
    let of_routers = status.routers.iter().flat_map(|router| {
        router.problems.iter().map(move |problem| format!("router {}: {problem}", router.router))
    });
    let of_nodes = status.nodes.iter().filter_map(|node| {
        let left = duration(node.certificate_until_ms?, status.now_ms);
        Some(format!(
            "node {}: its certificate is overdue and was not renewed; it expires in {left}",
            node.node
        ))
    });
    of_routers
        .chain(of_nodes)
        .map(|text| format!("  {}\n", paint.dye(&plain(&one_line(&text)), Style::Bad)))
        .collect()
}

/// What operators want of it, where it is anything.
fn wishes(node: &NodeStatus) -> &'static str {
    match (node.drained, node.maintenance) {
        (false, false) => "",
        (true, false) => " (drained)",
        (false, true) => " (maintenance)",
        (true, true) => " (drained, maintenance)",
    }
}

pub fn nodes(status: &CellStatus, paint: Paint) -> String {
    let heads = [
        ("NODE", Side::Left),
        ("AGENT", Side::Left),
        ("HEARD", Side::Left),
        ("HEARTBEATS", Side::Left),
        ("CLOCK", Side::Right),
        ("FROM", Side::Left),
        ("VERSION", Side::Left),
        ("RUNS", Side::Left),
        ("MEMBERS", Side::Right),
        ("UP", Side::Right),
    ];
    let members = || status.clusters.iter().flat_map(|cluster| &cluster.members);
    let rows: Vec<Vec<Cell>> = status
        .nodes
        .iter()
        .map(|node| {
            let here = || members().filter(|member| member.node == node.node);
            let agent = match (node.connected, node.since_ms) {
                // TCP takes its time to notice.
                (true, _) if node.left_out => styled("silent", Style::Bad),
                (true, Some(since_ms)) => {
                    styled(format!("connected for {}", duration(status.now_ms, since_ms)), Style::Good)
                }
                (true, None) => styled("connected", Style::Good),
                (false, _) => styled("not connected", Style::Bad),
            };
            let heard = node
                .heard_ms
                .map_or("never".to_owned(), |heard_ms| format!("{} ago", duration(status.now_ms, heard_ms)));
            let from = node.address.map_or("-".to_owned(), |address| address.to_string());
            let or_none = |text: String| if text.is_empty() { "-".to_owned() } else { text };
            let up = here().filter(|member| member.state == RunState::Up).count();
            vec![
                cell(format!("{}{}", node.node, wishes(node))),
                agent,
                cell(heard),
                heartbeats(node, status.now_ms),
                clock(node),
                cell(from),
                cell(or_none(node.version.clone())),
                cell(or_none(node.roles.join(", "))),
                cell(here().count().to_string()),
                cell(up.to_string()),
            ]
        })
        .collect();
    let mut text = table(paint, 0, &heads, &rows);
    for (node, refusal) in status.nodes.iter().filter_map(|node| Some((node, node.refused.as_ref()?))) {
        let from = refusal.from.map_or("on this machine".to_owned(), |from| format!("at {from}"));
        let ago = duration(status.now_ms, refusal.at_ms);
        let line = format!(
            "{}: a machine {from} was refused {ago} ago: {}",
            node.node,
            plain(&refusal.reason).replace('\n', " ")
        );
        text.push_str(&format!("{}\n", paint.dye(&line, Style::Bad)));
    }
    text
}

/// That what is shown is old, and how old; empty if it is not.
pub fn staleness(status: &CellStatus, paint: Paint) -> String {
    let Some(since_ms) = status.stale_since_ms else { return String::new() };
    let ago = duration(status.now_ms, since_ms);
    let line = format!("STALE: no manager leads; this is what was known {ago} ago");
    format!("{}\n", paint.dye(&line, Style::Bad))
}

/// Cells that are not heard, or were not; those that are need no line.
fn other_cells(status: &CellStatus, paint: Paint) -> String {
    let mut text = String::new();
    for other in status.other_cells.iter().filter(|other| other.standing != CellStanding::Heard) {
        let heard = match other.heard_ms {
            Some(heard_ms) => format!("not heard for {}", duration(status.now_ms, heard_ms)),
            None => format!("never heard, for {}", duration(status.now_ms, other.since_ms)),
        };
        let counts = match other.standing {
            CellStanding::Silent => "; what it told last is shown and counts for a while",
            CellStanding::Quarantined => "; it is not listened to, and what it told last is shown",
            CellStanding::Forgotten => "; what it told counts no longer",
            CellStanding::Unheard | CellStanding::Heard => "",
        };
        let why = other
            .problem
            .as_ref()
            .map_or(String::new(), |why| format!(": {}", plain(why).replace('\n', " ")));
        let line = format!("cell {} {heard}{counts}{why}", plain(&other.cell));
        text.push_str(&format!("\n{}\n", paint.dye(&line, Style::Bad)));
    }
    text
}

/// When the last heartbeat came, or since when something is wrong.
fn heartbeats(node: &NodeStatus, now_ms: u64) -> Cell {
    let since =
        || node.reach_since_ms.map(|at_ms| format!(" for {}", duration(now_ms, at_ms))).unwrap_or_default();
    let withheld = node.heartbeat.is_some_and(|heartbeat| heartbeat.lease == LeaseStatus::Withheld);
    match (node.reach, node.heartbeat) {
        (NodeReach::Unknown, _) | (NodeReach::Reachable, None) => cell("-"),
        (NodeReach::Reachable, Some(heartbeat)) if withheld => {
            styled(format!("{} ms ago, no lease", heartbeat.ago_ms), Style::Bad)
        }
        (NodeReach::Reachable, Some(heartbeat)) => cell(format!("{} ms ago", heartbeat.ago_ms)),
        (NodeReach::Degraded | NodeReach::Unreachable, _) => {
            let used = match (node.left_out, node.lost_with_many) {
                (true, true) => ", with many others",
                (true, false) => "",
                (false, _) => ", still used",
            };
            let by = node.heard_by.as_ref().map(|by| format!(", heard by {}", plain(&by.0)));
            let used = format!("{}{used}", by.unwrap_or_default());
            styled(format!("{}{}{used}", node.reach, since()), Style::Bad)
        }
    }
}

/// How far the node's clock is from the manager's.
fn clock(node: &NodeStatus) -> Cell {
    match node.clock_ahead_ms {
        None => cell("-"),
        Some(ahead_ms) if ahead_ms.abs() < CLOCK_WORTH_TELLING_MS => cell("same"),
        Some(ahead_ms) => styled(format!("{:+.1} s", ahead_ms as f64 / 1_000.0), Style::Bad),
    }
}

/// Clocks that differ by less are the same for people. A second: logs can be read side by side.
const CLOCK_WORTH_TELLING_MS: i64 = 1_000;

fn routers(routers: &[RouterStatus], paint: Paint) -> String {
    let heads = [
        ("ROUTER", Side::Left),
        ("NODE", Side::Left),
        ("LISTENS AT", Side::Left),
        ("REQUESTS/S", Side::Right),
        ("CONNECTIONS", Side::Right),
        ("REQUESTS", Side::Right),
        ("RETRIED", Side::Right),
        ("FAILED", Side::Right),
        ("REFUSED", Side::Right),
    ];
    let rows: Vec<Vec<Cell>> = routers
        .iter()
        .map(|router| {
            let addresses: Vec<String> = router.listening.iter().map(ToString::to_string).collect();
            let place = match (router.connected, addresses.is_empty()) {
                (false, _) => styled("not heard", Style::Bad),
                (true, true) => styled("nowhere", Style::Bad),
                (true, false) => cell(addresses.join(" ")),
            };
            let failed = router.totals.failed;
            vec![
                styled(&router.router.0, Style::Bold),
                cell(&router.node.0),
                place,
                cell(rate(router.requests_per_second)),
                cell(router.connections.to_string()),
                cell(router.totals.requests.to_string()),
                cell(router.totals.retried.to_string()),
                styled(failed.to_string(), if failed > 0 { Style::Bad } else { Style::Plain }),
                cell(router.totals.refused.to_string()),
            ]
        })
        .collect();
    table(paint, 0, &heads, &rows)
}

fn cluster_text(cluster: &ClusterStatus, now_ms: u64, paint: Paint) -> String {
    let up = cluster.members.iter().filter(|member| member.state == RunState::Up).count();
    let policy = match cluster.policy {
        Policy::RoundRobin => "weighted round robin",
        Policy::Random => "random",
        Policy::LeastOutstanding => "least outstanding",
        Policy::Auto => "auto",
        Policy::Hash => "hash",
    };
    let name = paint.dye(&plain(&cluster.cluster.0), Style::Bold);
    let mut text = format!("cluster {name}  {up} of {} up, {policy}\n", cluster.members.len());
    if let Some(operation) = &cluster.operation {
        text.push_str(&format!("  {}\n", paint.dye(&plain(&one_line(operation)), Style::Busy)));
    }
    if let Some(setback) = &cluster.setback {
        text.push_str(&format!("  {}\n", paint.dye(&plain(&one_line(setback)), Style::Careful)));
    }
    let heads = [
        ("MEMBER", Side::Left),
        ("STATE", Side::Left),
        ("FOR", Side::Right),
        ("WEIGHT", Side::Right),
        ("REQUESTS/S", Side::Right),
        ("IN FLIGHT", Side::Right),
        ("SESSIONS", Side::Right),
        ("P50", Side::Right),
        ("P99", Side::Right),
        ("ADDRESS", Side::Left),
        ("REASON", Side::Left),
    ];
    let rows: Vec<Vec<Cell>> = cluster.members.iter().map(|member| member_row(member, now_ms)).collect();
    text.push_str(&table(paint, 2, &heads, &rows));
    text
}

/// How a run state looks.
pub(super) fn style_of(state: RunState) -> Style {
    match state {
        RunState::Up => Style::Good,
        RunState::Starting => Style::Busy,
        RunState::Draining | RunState::Unknown => Style::Careful,
        RunState::Down | RunState::Failed => Style::Bad,
    }
}

fn member_row(member: &MemberStatus, now_ms: u64) -> Vec<Cell> {
    let style = style_of(member.state);
    vec![
        cell(&member.member.0),
        styled(member.state.to_string(), style),
        cell(duration(now_ms, member.since_ms)),
        cell(member.weight.to_string()),
        cell(rate(member.requests_per_second)),
        cell(member.in_flight.to_string()),
        cell(member.sessions.to_string()),
        cell(latency(member.latency_p50_us)),
        cell(latency(member.latency_p99_us)),
        cell(member.address.map_or("-".into(), |address| address.to_string())),
        cell(one_line(&standing(member, now_ms))),
    ]
}

/// The member's reason, and what else bears on its traffic: an end of its drain, routers that leave it out.
fn standing(member: &MemberStatus, now_ms: u64) -> String {
    let mut text = member.reason.clone();
    if let Some(ends_ms) = member.drain_ends_ms {
        let left_s = ends_ms.saturating_sub(now_ms).div_ceil(1000);
        let plural = if member.sessions == 1 { "" } else { "s" };
        text += &format!("; {} session{plural} left, for {left_s} s at most", member.sessions);
    }
    if let Some(ejection) = &member.ejection {
        let router = &ejection.router;
        let when = match ejection.left_ms {
            0 => format!("router {router} left it out before"),
            left_ms => format!("router {router} leaves it out for {} s more", left_ms.div_ceil(1000)),
        };
        text += &format!("; {when}: {}", ejection.reason);
    }
    text
}

/// Events, oldest first, with their ages at `now_ms`.
pub fn events(events: &[Event], now_ms: u64, paint: Paint) -> String {
    let heads = [("AGO", Side::Right), ("ABOUT", Side::Left), ("WHAT HAPPENED", Side::Left)];
    let rows: Vec<Vec<Cell>> = events
        .iter()
        .map(|event| {
            let style = match event.severity {
                Severity::Info => Style::Plain,
                Severity::Warning => Style::Careful,
                Severity::Error => Style::Bad,
            };
            let about = match (&event.cluster, &event.member) {
                (Some(cluster), Some(member)) => format!("{cluster}/{member}"),
                (Some(cluster), None) => cluster.to_string(),
                (None, Some(member)) => member.to_string(),
                (None, None) => "-".into(),
            };
            vec![cell(duration(now_ms, event.at_ms)), cell(about), styled(one_line(&event.text), style)]
        })
        .collect();
    table(paint, 0, &heads, &rows)
}

pub(super) fn rate(per_second: f64) -> String {
    if per_second > 0.0 && per_second < 9.95 {
        format!("{per_second:.1}")
    } else {
        // No minus before a zero that rounding made.
        format!("{:.0}", per_second.max(0.0))
    }
}

pub(super) fn latency(micros: u64) -> String {
    match micros {
        0 => "-".into(),
        1..10_000 => format!("{:.1}ms", micros as f64 / 1e3),
        10_000..1_000_000 => format!("{}ms", micros / 1_000),
        _ => format!("{:.1}s", micros as f64 / 1e6),
    }
}

pub(super) fn duration(now_ms: u64, since_ms: u64) -> String {
    let seconds = now_ms.saturating_sub(since_ms) / 1_000;
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m", seconds / 60),
        3_600..86_400 => format!("{}h{:02}m", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{}d{:02}h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

/// At most `rows` lines of at most `columns` characters, colours not counted: what fits a terminal.
pub fn fit(text: &str, columns: usize, rows: usize) -> String {
    let mut lines: Vec<String> = text.lines().take(rows).map(|line| cut(line, columns)).collect();
    if text.lines().count() > rows
        && let Some(last) = lines.last_mut()
    {
        *last = cut("... and more; a larger window shows it", columns);
    }
    lines.join("\n")
}

/// The first `columns` characters of a line; sequences that colour take no room and are all kept.
fn cut(line: &str, columns: usize) -> String {
    let mut shown = String::with_capacity(line.len());
    let mut room = columns;
    let mut is_sequence = false;
    for letter in line.chars() {
        if is_sequence || letter == '\x1b' {
            shown.push(letter);
            is_sequence = letter != 'm';
        } else if room > 0 {
            shown.push(letter);
            room -= 1;
        }
    }
    shown
}

#[cfg(test)]
mod tests;

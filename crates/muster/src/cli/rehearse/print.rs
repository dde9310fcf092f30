//! What a rehearsal found out, for people: what is lost or only saved by hand first, what does no harm in one line.

use super::Findings;
use crate::cli::table::plain;
use logic::lease::{NORMAL, Profile};
use logic::rehearse::{ClusterEnd, Crowd, End, GroupEnd, Loss, Outcome, Span};
use std::fmt::Write as _;
use wire::settings::CellSettings;

/// Width of names.
const NAME_COLUMNS: usize = 14;

pub fn tell(settings: &CellSettings, findings: &Findings, all: bool) -> String {
    let mut text = heading(settings);
    for kind in Loss::KINDS {
        let of_kind: Vec<&Outcome> =
            findings.outcomes.iter().filter(|outcome| outcome.loss.kind() == kind).collect();
        tell_kind(&mut text, kind, &of_kind, all);
    }
    if !findings.cautions.is_empty() {
        text += "\nTo be known:\n";
        for caution in &findings.cautions {
            let _ = writeln!(text, "- {}", plain(caution));
        }
    }
    text += &sum(findings);
    text
}

fn plural(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

fn seconds(milliseconds: u64) -> String {
    format!("{:.2} s", milliseconds as f64 / 1_000.0)
}

fn heading(settings: &CellSettings) -> String {
    let profile = *Profile::named(&settings.manager.profile).unwrap_or(&NORMAL);
    let profile = if settings.has_several_managers() { profile.across_leaders() } else { profile };
    let managers: Vec<&str> = settings.managers().iter().map(|node| node.0.as_str()).collect();
    format!(
        "Cell {}: {}, {} ({}), {}.\nProfile {}: a node runs groups for {} after its last answered heartbeat, and {} after \
         it they may go elsewhere.\nTimes are without what scripts, processes and fences need for themselves.\n",
        plain(&settings.name),
        plural(settings.nodes.len(), "node"),
        plural(managers.len(), "manager"),
        managers.join(", "),
        plural(settings.groups.len(), "group"),
        profile.name,
        seconds(profile.hold_ms),
        seconds(profile.wait_ms),
    )
}

/// Of kinds of which there are many only those are told that do harm.
fn tell_kind(text: &mut String, kind: &str, outcomes: &[&Outcome], all: bool) {
    let is_many = !matches!(kind, "boot" | "node" | "manager");
    let mut quiet: Vec<&Outcome> = Vec::new();
    for outcome in outcomes {
        let is_touched = !outcome.groups.is_empty() || !outcome.clusters.is_empty();
        if !all && outcome.is_saved() && (is_many || (!is_touched && kind == "boot")) {
            quiet.push(outcome);
            continue;
        }
        tell_loss(text, outcome);
    }
    if quiet.is_empty() {
        return;
    }
    let away = quiet.iter().flat_map(|outcome| &outcome.groups).map(|group| group.away.most_ms).max();
    let (one, many) = match kind {
        "pair" => ("pair of nodes", "pairs of nodes"),
        "link" => ("link", "links"),
        "group" => ("group that fails on its node", "groups that fail on their nodes"),
        "member" => ("member", "members"),
        _ => ("loss", "losses"),
    };
    let what = format!("{} {}", quiet.len(), if quiet.len() == 1 { one } else { many });
    let away = match away {
        Some(away_ms) => format!(", groups are away for at most {}", seconds(away_ms)),
        None => String::new(),
    };
    let _ = writeln!(text, "\n{what}: everything is saved{away}");
}

fn tell_loss(text: &mut String, outcome: &Outcome) {
    let _ = writeln!(text, "\n{}", outcome.loss);
    for note in &outcome.notes {
        let _ = writeln!(text, "  note: {}", plain(note));
    }
    for group in &outcome.groups {
        let _ =
            writeln!(text, "  {:NAME_COLUMNS$} {}", group.group.0, plain(&tell_group(&outcome.loss, group)));
    }
    for cluster in &outcome.clusters {
        let _ = writeln!(text, "  {:NAME_COLUMNS$} {}", cluster.cluster.0, plain(&tell_cluster(cluster)));
    }
    for Crowd { node, before, after } in &outcome.crowds {
        let _ = writeln!(text, "  node {node} then runs {after} groups; before {before}");
    }
    if outcome.groups.is_empty() && outcome.clusters.is_empty() {
        text.push_str("  nothing is touched\n");
    }
}

fn tell_away(away: Span) -> String {
    match away.typical_ms == away.most_ms {
        true => seconds(away.most_ms),
        false => format!("{}, at most {}", seconds(away.typical_ms), seconds(away.most_ms)),
    }
}

fn tell_group(loss: &Loss, group: &GroupEnd) -> String {
    let name =
        |node: &Option<wire::id::NodeName>| node.as_ref().map_or("nowhere".to_owned(), ToString::to_string);
    let (from, to, why) = (name(&group.from), name(&group.to), &group.why);
    match group.end {
        End::Saved if *loss == Loss::Boot => format!("runs on {to} after {}", tell_away(group.away)),
        End::Saved if group.from == group.to => {
            format!("comes back on {to}, away {}: {why}", tell_away(group.away))
        }
        End::Saved => format!("{from} -> {to}, away {}: {why}", tell_away(group.away)),
        End::ByHand => format!("BY HAND: {why} (then it runs on {to})"),
        End::NotSaved => format!("NOT SAVED: {why}"),
        End::Twice => format!("RUNS TWICE, which is a mistake in Muster: {why}"),
    }
}

fn tell_cluster(cluster: &ClusterEnd) -> String {
    let ClusterEnd { members, left, why, .. } = cluster;
    let back = match cluster.back_ms {
        Some(back_ms) => format!(" after {}", seconds(back_ms)),
        None => String::new(),
    };
    match left {
        0 => format!("NO MEMBER LEFT of {members}: {why}{back}"),
        left => format!("{left} of {} left: {why}{back}", plural(*members, "member")),
    }
}

fn sum(findings: &Findings) -> String {
    let has = |outcome: &&Outcome, end: End| outcome.groups.iter().any(|group| group.end == end);
    let count = |end: End| findings.outcomes.iter().filter(|outcome| has(outcome, end)).count();
    let empty = |outcome: &&Outcome| outcome.clusters.iter().any(|cluster| cluster.left == 0);
    let empty = findings.outcomes.iter().filter(empty).count();
    let losses = match findings.outcomes.len() {
        1 => "1 loss".to_owned(),
        count => format!("{count} losses"),
    };
    let (lost, by_hand, twice) = (count(End::NotSaved), count(End::ByHand), count(End::Twice));
    let mut parts = Vec::new();
    if twice > 0 {
        parts.push(format!("{twice} let a group run twice"));
    }
    if lost > 0 {
        parts.push(format!("{lost} leave a group down"));
    }
    if by_hand > 0 {
        parts.push(format!("{by_hand} need a person"));
    }
    if empty > 0 {
        parts.push(format!("{empty} leave a cluster without members"));
    }
    match parts.is_empty() {
        true => format!("\n{losses} rehearsed: everything is saved.\n"),
        false => format!("\n{losses} rehearsed: {}.\n", parts.join(", ")),
    }
}

//! The timeline of a group's move: one line for each stage.

use super::super::time::utc;
use super::{Paint, Side, Style, cell, one_line, plain, styled, table};
use wire::group_move::{GroupMove, MoveOutcome, MoveStage, Stage};

/// What it was and how it ended in one line, why in a second one, and its stages below.
pub fn timeline(it: &GroupMove, paint: Paint) -> String {
    let place = match (&it.from, &it.to) {
        (Some(from), Some(to)) if from != to => format!(" from {from} to {to}"),
        (_, Some(to)) => format!(" on {to}"),
        (Some(from), None) => format!(" on {from}"),
        (None, None) => String::new(),
    };
    let took = it.ended_ms.map(|ended_ms| format!(" after {} ms", ended_ms.saturating_sub(it.began_ms)));
    let style = match it.outcome {
        MoveOutcome::Online => Style::Good,
        MoveOutcome::Offline => Style::Dim,
        MoveOutcome::Going => Style::Busy,
        MoveOutcome::Failed => Style::Bad,
    };
    let outcome = paint.dye(&format!("{}{}", it.outcome, took.unwrap_or_default()), style);
    let head = plain(&format!("{}  {}{place}", utc(it.began_ms), it.kind));
    let mut text = format!("{}: {outcome}\n", paint.dye(&head, Style::Bold));
    if !it.reason.is_empty() {
        text.push_str(&format!("  {}\n", plain(&one_line(&it.reason))));
    }
    let heads = [("AFTER", Side::Right), ("STAGE", Side::Left), ("NODE", Side::Left), ("WHAT", Side::Left)];
    let rows: Vec<Vec<super::Cell>> = it.stages.iter().map(|stage| row(stage, it.began_ms)).collect();
    text.push_str(&table(paint, 2, &heads, &rows));
    if it.left_out > 0 {
        text.push_str(&format!("  {} further stages were not kept\n", it.left_out));
    }
    text
}

fn row(stage: &MoveStage, began_ms: u64) -> Vec<super::Cell> {
    let style = match stage.stage {
        Stage::Failed | Stage::NotCommitted | Stage::ResourceFailed => Style::Bad,
        Stage::LastHeard | Stage::Suspected | Stage::Confirmed | Stage::LeaseEnded | Stage::Fenced => {
            Style::Careful
        }
        Stage::Online => Style::Good,
        Stage::Asked
        | Stage::Stopping
        | Stage::Stopped
        | Stage::Decided
        | Stage::Committed
        | Stage::Told
        | Stage::ResourceStarting
        | Stage::ResourceOnline => Style::Plain,
    };
    vec![
        cell(format!("{} ms", stage.at_ms.saturating_sub(began_ms))),
        styled(stage.stage.to_string(), style),
        cell(stage.node.as_ref().map_or("-", |node| node.0.as_str())),
        cell(one_line(&stage.text)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::group_move::MoveKind;

    #[test]
    fn a_timeline_is_one_line_for_each_stage_and_hostile_text_is_made_plain() {
        let stage = |stage, after_ms: u64, node: Option<&str>, text: &str| MoveStage {
            stage,
            at_ms: 1_700_000_000_000 + after_ms,
            node: node.map(Into::into),
            resource: None,
            text: text.into(),
        };
        let it = GroupMove {
            number: 1,
            group: "mail".into(),
            kind: MoveKind::Failover,
            from: Some("a".into()),
            to: Some("b".into()),
            epoch: 2,
            reason: "node a is lost\u{1b}[31m\nreally".into(),
            began_ms: 1_700_000_000_000,
            ended_ms: Some(1_700_000_001_423),
            outcome: MoveOutcome::Online,
            stages: vec![
                stage(Stage::LastHeard, 0, Some("a"), "its last heartbeat came"),
                stage(Stage::Committed, 1_221, None, "the decision is in the store"),
                stage(Stage::Online, 1_423, Some("b"), "all of it\nwas started"),
            ],
            left_out: 2,
        };
        assert_eq!(
            timeline(&it, Paint::Plain),
            "2023-11-14 22:13:20  failover from a to b: online after 1423 ms\n  \
               node a is lost\u{fffd}[31m really\n    \
                 AFTER  STAGE       NODE  WHAT\n     \
                  0 ms  last heard  a     its last heartbeat came\n  \
               1221 ms  committed   -     the decision is in the store\n  \
               1423 ms  online      b     all of it was started\n  \
               2 further stages were not kept\n"
        );
    }
}

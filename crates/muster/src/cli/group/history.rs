//! `muster group why` and `muster group history`: why a group is where it is, and what it went through to get there.
//!
//! Times within a move are milliseconds after its begin; what a node has done counts from when the manager heard of it.

use super::super::client::{Api, ClientError, Target, encode, fail, run as run_until_done};
use super::super::table::{self, Paint, moves, one_line, plain};
use super::super::{Exit, print};
use super::{find, to_json};
use serde::Serialize;
use wire::group::GroupStatus;
use wire::group_move::GroupMove;
use wire::id::is_valid_name;
use wire::status::CellStatus;

/// A group with its newest move.
#[derive(Serialize)]
struct Explained<'a> {
    #[serde(flatten)]
    group: &'a GroupStatus,
    /// Of the newest move: None if the manager that leads has seen none.
    timeline: Option<&'a GroupMove>,
}

pub fn why(target: &Target, name: &str, json: bool) -> Exit {
    let work = async {
        let api = Api::find(target)?;
        let status: CellStatus = api.get("/api/v1/status").await?;
        let group = find(&status, name)?;
        let moves: Vec<GroupMove> = match group.last_move {
            Some(_) => api.get(&path(name)).await?,
            None => Vec::new(),
        };
        let timeline = moves.first();
        let text = if json { to_json(&Explained { group, timeline }) } else { explain(group, timeline) };
        Ok::<_, ClientError>(print(text.as_bytes()))
    };
    run_until_done(work).unwrap_or_else(|error| fail(&error, json))
}

pub fn show(target: &Target, name: &str, last: u64, json: bool) -> Exit {
    let work = async {
        if !is_valid_name(name) {
            return Err(ClientError::WrongUse(format!("`{name}` is no name of a group")));
        }
        let mut moves: Vec<GroupMove> = Api::find(target)?.get(&path(name)).await?;
        moves.truncate(usize::try_from(last).unwrap_or(usize::MAX));
        if json {
            return Ok(print(to_json(&moves).as_bytes()));
        }
        moves.reverse();
        let paint = Paint::of_stdout();
        let told: Vec<String> = moves.iter().map(|it| moves::timeline(it, paint)).collect();
        let none =
            format!("group {name} has not been started, stopped or moved since the present manager leads\n");
        let text = if told.is_empty() { none } else { told.join("\n") };
        Ok(print(text.as_bytes()))
    };
    run_until_done(work).unwrap_or_else(|error| fail(&error, json))
}

fn path(group: &str) -> String {
    format!("/api/v1/groups/{}/moves", encode(group))
}

/// One sentence for the group, one for each node of its policy, and the timeline of its newest move.
fn explain(group: &GroupStatus, timeline: Option<&GroupMove>) -> String {
    let place = group.node.as_ref().map(|node| format!(" on node {node}")).unwrap_or_default();
    let frozen = if group.is_frozen { ", frozen" } else { "" };
    let mut text =
        format!("group {} is {}{place}{frozen}: {}\n", group.group, group.state, one_line(&group.reason));
    for why in &group.why {
        let able = if why.is_able { "yes" } else { "no" };
        text.push_str(&format!("  {}: {able}, {}\n", why.node, one_line(&why.why)));
    }
    let mut text = plain(&text);
    if let Some(newest) = timeline {
        text.push_str(&format!("\n{}", table::moves::timeline(newest, Paint::of_stdout())));
    }
    text
}

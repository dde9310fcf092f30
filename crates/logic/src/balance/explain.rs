//! Tells where a request would go, and why, from a view alone: for people, not for the request path.
//!
//! Not here: marks and current weights, which each router thread keeps for itself.

use super::highest_common_factor;
use std::fmt::Write;
use wire::view::{MemberView, Policy, RunState, View};

/// Where a request would go; indices count the view's members, sentences are in the order of the decisions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explained {
    /// None where there is none, or where turn or chance decides among `candidates`.
    pub member: Option<u16>,
    pub candidates: Vec<u16>,
    pub why: Vec<String>,
}

pub fn explain<'id>(view: &View, clone_ids: impl Iterator<Item = &'id str>) -> Explained {
    let mut why = Vec::new();
    for clone_id in clone_ids {
        let found = view.members.iter().position(|member| member.clone_id == clone_id);
        let Some(index) = found else {
            why.push(format!("No member of {} has the clone id {clone_id}.", view.cluster));
            continue;
        };
        let member = &view.members[index];
        if matches!(member.state, RunState::Up | RunState::Draining) && member.address.is_some() {
            why.push(format!(
                "The session belongs to {} by its clone id {clone_id}; it is {}, so the request goes there.",
                member.name, member.state
            ));
            return Explained { member: Some(index as u16), candidates: vec![index as u16], why };
        }
        why.push(format!(
            "The session belongs to {}, which is {} ({}).",
            member.name, member.state, member.reason
        ));
    }
    if why.is_empty() {
        why.push("The request belongs to no session.".into());
    }
    let candidates = candidates(view, RunState::Up, &mut why);
    let candidates =
        if candidates.is_empty() { candidates_of_last_resort(view, &mut why) } else { candidates };
    let member = match candidates[..] {
        [only] => Some(only),
        _ => None,
    };
    Explained { member, candidates, why }
}

fn candidates(view: &View, state: RunState, why: &mut Vec<String>) -> Vec<u16> {
    let is_fit = |member: &MemberView| member.state == state && member.weight > 0 && member.address.is_some();
    let fit: Vec<u16> =
        (0u16..).zip(&view.members).filter(|(_, member)| is_fit(member)).map(|(index, _)| index).collect();
    let factor =
        view.members.iter().fold(0, |factor, member| highest_common_factor(factor, member.weight)).max(1);
    let mut list = String::new();
    for index in &fit {
        let member = &view.members[*index as usize];
        let comma = if list.is_empty() { "" } else { ", " };
        match view.policy {
            Policy::RoundRobin => write!(list, "{comma}{} ({} in turn)", member.name, member.weight / factor),
            Policy::Random => write!(list, "{comma}{}", member.name),
        }
        .expect("a String takes any text");
    }
    if fit.len() == 1 {
        why.push(format!("One member only can take it: {list}."));
    } else if !fit.is_empty() {
        why.push(match view.policy {
            Policy::RoundRobin => format!("Weighted round robin decides among {list}."),
            Policy::Random => format!("Chance decides among {list}."),
        });
    }
    fit
}

fn candidates_of_last_resort(view: &View, why: &mut Vec<String>) -> Vec<u16> {
    let has_up = view.members.iter().any(|member| member.state == RunState::Up && member.address.is_some());
    why.push(if view.members.is_empty() {
        format!("{} has no members.", view.cluster)
    } else if has_up {
        "The members that are up have weight 0 and take no new conversations.".into()
    } else {
        format!("None of the {} members is up.", view.members.len())
    });
    let unknown = candidates(view, RunState::Unknown, why);
    if unknown.is_empty() {
        why.push("The router answers 503.".into());
    } else {
        why.push("Members of unknown state are tried as a last resort, in file order.".into());
    }
    unknown
}

//! What stays of a member when a newer view comes: its mark, its ejection, what is left of its weight.

use super::Member;
use super::ejection::Ejection;
use super::load::Load;
use crate::time::Time;
use wire::view::{MemberView, RunState};

/// The member of a new view, with what stays of the old one.
pub(super) fn renew(
    old: Option<&Member>,
    fresh: &MemberView,
    weight: i64,
    rises_from: Option<Time>,
) -> Member {
    let mut member = Member {
        state: fresh.state,
        only_fails_probe: fresh.only_fails_probe && fresh.state == RunState::Down,
        has_address: fresh.address.is_some(),
        is_backup: fresh.is_backup,
        is_near: false,
        is_full: false,
        weight,
        current: weight,
        mark: None,
        ejection: Ejection::default(),
        rises_since: rises_from.filter(|_| fresh.state == RunState::Up),
        load: Load::default(),
        hash: 0,
    };
    let Some(old) = old else { return member };
    member.load = old.load;
    member.is_full = old.is_full && fresh.requests_max > 0;
    let becomes_up = fresh.state == RunState::Up && old.state != RunState::Up;
    if becomes_up {
        member.load.forget_latency();
        return member;
    }
    member.rises_since = old.rises_since;
    member.mark = old.mark;
    member.ejection = old.ejection.clone();
    member.current = if old.weight == weight {
        old.current
    } else {
        // What it was given in this cycle counts against the new weight. A debt made under the old weight is
        // forgiven: many times a small new weight, it would keep the member waiting for as many cycles.
        (weight - (old.weight - old.current)).clamp(0, weight)
    };
    member
}

pub(super) fn highest_common_factor(left: u32, right: u32) -> u32 {
    if right == 0 { left } else { highest_common_factor(right, left % right) }
}

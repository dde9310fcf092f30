//! What has changed from one view of a cluster to a later one, as little as those need who have the first.

use super::{Rules, routes_alike};
use std::collections::BTreeMap;
use wire::id::MemberName;
use wire::view::{MemberView, View};
use wire::view_change::{self, PutView, Standing, ViewChange};

/// None if they are of different clusters or generations, or the second is not later: then only a whole view helps.
///
/// Promise: applied to the first it gives the second, but for reasons, which routers do not look at. Members that only
/// changed their run state are named; those that came, changed otherwise or moved are told whole.
pub fn change(old: &View, new: &View) -> Option<ViewChange> {
    let is_later = old.epoch.generation == new.epoch.generation && old.epoch.number < new.epoch.number;
    if old.cluster != new.cluster || !is_later || old.plugin != new.plugin {
        return None;
    }
    let mut change = ViewChange {
        cluster: new.cluster.clone(),
        from: old.epoch.number,
        to: new.epoch,
        ..ViewChange::default()
    };
    if Rules::of(old) != Rules::of(new) {
        let Rules { policy, affinity, hash_key, health } = Rules::of(new);
        change.rules = Some(Box::new(view_change::Rules {
            policy,
            affinity: affinity.clone(),
            hash_key: hash_key.clone(),
            health: health.clone(),
        }));
    }
    compare_members(old, new, &mut change);
    Some(change)
}

fn compare_members(old: &View, new: &View, change: &mut ViewChange) {
    let places: BTreeMap<&MemberName, usize> =
        old.members.iter().enumerate().map(|(place, member)| (&member.name, place)).collect();
    let mut is_left = vec![true; old.members.len()];
    // Members whose old places ascend have not moved among each other.
    let mut last = None;
    for (at, member) in (0..).zip(&new.members) {
        let place = places.get(&member.name).copied();
        if let Some(place) = place {
            is_left[place] = false;
        }
        let stays = place.filter(|place| last.is_none_or(|last| last < *place));
        let Some(place) = stays else {
            change.put.push(PutView { at, member: member.clone() });
            continue;
        };
        last = Some(place);
        let before = &old.members[place];
        if routes_alike(before, member) {
            continue;
        }
        let Standing { state, is_lost, only_fails_probe } = Standing::of(member);
        let restated = MemberView { state, is_lost, only_fails_probe, ..before.clone() };
        if routes_alike(&restated, member) {
            change.states.entry(Standing::of(member)).or_default().push(member.name.clone());
        } else {
            change.put.push(PutView { at, member: member.clone() });
        }
    }
    let left = old.members.iter().zip(is_left).filter(|(_, is_left)| *is_left);
    change.gone = left.map(|(member, _)| member.name.clone()).collect();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed::Chance;
    use wire::id::Epoch;
    use wire::view::{Policy, RunState};
    use wire::view_change::Misfit;

    fn member(number: u32, chance: &mut Chance) -> MemberView {
        let states = [RunState::Up, RunState::Down, RunState::Draining, RunState::Starting];
        MemberView {
            name: MemberName(format!("m{number}")),
            state: states[chance.below(4) as usize],
            weight: chance.below(2),
            is_lost: chance.percent(20),
            only_fails_probe: chance.percent(20),
            reason: format!("reason {}", chance.below(3)),
            ..MemberView::default()
        }
    }

    /// Members come, go, move and change.
    fn disturb(view: &View, chance: &mut Chance) -> View {
        let mut newer = view.clone();
        newer.epoch.number += 1 + u64::from(chance.below(3));
        if chance.percent(20) {
            newer.policy = [Policy::Random, Policy::Auto, Policy::RoundRobin][chance.below(3) as usize];
        }
        for _ in 0..chance.below(5) {
            let count = newer.members.len() as u32;
            let number = chance.below(12);
            let known = newer.members.iter().position(|member| member.name.0 == format!("m{number}"));
            match (known, chance.below(4)) {
                (None, _) => {
                    let place = chance.below(count + 1) as usize;
                    newer.members.insert(place, member(number, chance));
                }
                (Some(place), 0) => drop(newer.members.remove(place)),
                (Some(place), 1) => newer.members.swap(place, chance.below(count) as usize),
                (Some(place), _) => newer.members[place] = member(number, chance),
            }
        }
        newer
    }

    #[test]
    fn a_change_turns_any_view_into_any_later_one() {
        let mut chance = Chance::new(1);
        let mut view =
            View { cluster: "shop".into(), epoch: Epoch { generation: 1, number: 1 }, ..View::default() };
        let mut told = view.clone();
        for _ in 0..20_000 {
            let newer = disturb(&view, &mut chance);
            let change = change(&view, &newer).expect("it is later");
            // What a router has differs in reasons at most; changes are applied to that, one after the other.
            told = change.apply(&told).expect("it fits");
            assert_eq!((&told.cluster, told.epoch), (&newer.cluster, newer.epoch));
            assert_eq!(Rules::of(&told), Rules::of(&newer));
            assert_eq!(told.members.len(), newer.members.len());
            let are_alike =
                told.members.iter().zip(&newer.members).all(|(one, other)| routes_alike(one, other));
            assert!(are_alike, "{view:?}\n{newer:?}\n{change:?}");
            view = newer;
        }
        assert_eq!(change(&view, &view), None);
        let older = View { epoch: Epoch { generation: 1, number: 0 }, ..view.clone() };
        assert_eq!(change(&view, &older), None);
        let next = View { epoch: Epoch { generation: 2, number: 1 }, ..view.clone() };
        assert_eq!(change(&view, &next), None, "a new generation begins with whole views");
    }

    #[test]
    fn a_member_that_goes_down_costs_its_name() {
        let mut chance = Chance::new(2);
        let members: Vec<MemberView> = (0..500).map(|number| member(number, &mut chance)).collect();
        let old = View {
            cluster: "shop".into(),
            epoch: Epoch { generation: 1, number: 1 },
            members,
            ..View::default()
        };
        let mut new = View { epoch: Epoch { generation: 1, number: 2 }, ..old.clone() };
        new.members[250].state = RunState::Failed;
        let change = change(&old, &new).expect("it is later");
        assert!(change.put.is_empty() && change.gone.is_empty() && change.rules.is_none());
        assert_eq!(change.states.values().flatten().collect::<Vec<_>>(), [&MemberName("m250".into())]);
        assert_eq!(change.apply(&new), Err(Misfit::Elsewhere));
    }
}

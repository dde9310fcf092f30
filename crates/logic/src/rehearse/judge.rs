//! Applies a loss to a copy of the healthy cell and reads off what came of it.
//!
//! Each loss is taken at two moments: right after a heartbeat, when it is noticed last, and halfway between two. What a
//! person could still do is found out by doing it: saying of the nodes that are off that they are.

use super::world::{MESSAGE_MS, World};
use super::{Crowd, End, GroupEnd, Loss, Outcome, Span};
use crate::heartbeat::Alarm;
use std::collections::BTreeMap;
use wire::group::{Attribute, GroupAct};
use wire::id::{GroupName, NodeName};
use wire::link::SILENCE_MAX_MS;
use wire::settings::CellSettings;

/// Lets a cell come up, and tells how.
pub(super) fn boot(world: &mut World) -> Outcome {
    let started: Vec<GroupName> = startable(world);
    world.run_until_calm(|world| started.iter().all(|group| world.places[group].serves.is_some()));
    let reasons = reasons(world);
    let groups = started.iter().map(|group| {
        let place = &world.places[group];
        let away_ms = if place.serves.is_some() { place.away_ms } else { 0 };
        GroupEnd {
            group: group.clone(),
            from: None,
            to: place.serves.map(|node| world.names[node].clone()),
            end: if place.serves.is_some() { End::Saved } else { End::NotSaved },
            away: Span { typical_ms: away_ms, most_ms: away_ms },
            why: match place.serves {
                Some(_) => "it starts with the cell".into(),
                None => reasons.get(group).cloned().unwrap_or_else(|| "nobody leads".into()),
            },
        }
    });
    let groups = groups.collect();
    Outcome { loss: Loss::Boot, groups, clusters: Vec::new(), crowds: Vec::new(), notes: Vec::new() }
}

/// The groups that start with the cell.
fn startable(world: &World) -> Vec<GroupName> {
    let automatic = world.groups.iter().filter(|group| group.startup == Attribute::Automatic);
    automatic.map(|group| group.name.clone()).collect()
}

fn reasons(world: &World) -> BTreeMap<GroupName, String> {
    let status = world.status().unwrap_or_default();
    status.into_iter().map(|group| (group.group, group.reason)).collect()
}

/// What one run of a loss came to.
struct Run {
    ends: BTreeMap<GroupName, GroupEnd>,
    world: World,
}

pub(super) fn judge(healthy: &World, loss: &Loss) -> Outcome {
    let worst = run(healthy, loss, MESSAGE_MS, true);
    let half_ms = healthy.beat_interval_ms(0) / 2;
    let typical = run(healthy, loss, MESSAGE_MS + half_ms, false);
    let mut ends = worst.ends;
    for (group, end) in typical.ends {
        // The order of things may differ by chance, and what happens in either case can happen.
        match ends.get_mut(&group) {
            Some(known) if known.end == End::Saved && end.end == End::Saved => {
                let (one, two) = (known.away.most_ms, end.away.most_ms);
                known.away = Span { typical_ms: one.min(two), most_ms: one.max(two) };
            }
            Some(known) if known.end == End::Saved => *known = end,
            Some(_) => {}
            None => drop(ends.insert(group, end)),
        }
    }
    let notes = worst.world.alarms.iter().filter_map(note).collect();
    let crowds = crowds(healthy, &worst.world);
    Outcome { loss: loss.clone(), groups: ends.into_values().collect(), clusters: Vec::new(), crowds, notes }
}

fn note(alarm: &Alarm) -> Option<String> {
    match alarm {
        Alarm::Lagged { .. } => None,
        Alarm::HearsNobody { nodes } => Some(format!(
            "a manager hears none of {nodes} nodes, believes itself cut off, and decides nothing"
        )),
        Alarm::MassSilence { fallen, nodes } => Some(format!(
            "{fallen} of {nodes} nodes fall silent at once: a common cause is likelier, so nothing is taken over from them \
             without a person's word"
        )),
    }
}

/// The loss, so long after the next heartbeats.
fn run(healthy: &World, loss: &Loss, after_ms: u64, with_hand: bool) -> Run {
    let mut world = healthy.clone();
    let beat = world.beats_at(0).unwrap_or(world.now);
    world.run_until(beat + after_ms);
    world.reset();
    let served: Vec<(GroupName, usize)> =
        world.places.iter().filter_map(|(group, place)| Some((group.clone(), place.serves?))).collect();
    apply(&mut world, loss);
    world.run_until_calm(|world| {
        served.iter().all(|(group, _)| {
            let place = &world.places[group];
            place.serves.is_some_and(|node| place.held.len() == 1 && place.held.contains(&node))
        })
    });
    let mut ends: BTreeMap<GroupName, GroupEnd> = BTreeMap::new();
    let reasons = reasons(&world);
    for (group, from) in &served {
        if let Some(end) = end_of(&world, loss, group, *from, reasons.get(group)) {
            ends.insert(group.clone(), end);
        }
    }
    if with_hand {
        lend_hand(&mut world, &mut ends);
    }
    Run { ends, world }
}

fn apply(world: &mut World, loss: &Loss) {
    let place = |world: &World, name: &NodeName| world.names.iter().position(|known| known == name);
    match loss {
        Loss::Node(node) => switch_off(world, &[place(world, node)]),
        Loss::Pair(one, two) => switch_off(world, &[place(world, one), place(world, two)]),
        Loss::Link(one, two) => {
            if let (Some(one), Some(two)) = (place(world, one), place(world, two)) {
                world.cut(one, two);
                let ends = [(one, two), (two, one)];
                let cut =
                    ends.into_iter().filter(|(_, host)| world.linked_with_host(*host)).map(|(node, _)| node);
                let cut: Vec<usize> = cut.collect();
                world.links_fall_silent(&cut);
            }
        }
        Loss::Manager(node) => {
            let manager = world.managers.iter().position(|host| Some(host.node) == place(world, node));
            if let Some(manager) = manager {
                world.kill_manager(manager);
            }
        }
        Loss::Group(group) => {
            let node = world.places.get(group).and_then(|place| place.serves);
            if let Some(node) = node {
                world.break_group(group, node);
            }
        }
        Loss::Boot | Loss::Member(..) => {}
    }
}

fn switch_off(world: &mut World, nodes: &[Option<usize>]) {
    let nodes: Vec<usize> = nodes.iter().flatten().copied().collect();
    nodes.iter().for_each(|node| world.switch_off(*node));
    world.links_fall_silent(&nodes);
}

/// None: it was not touched.
fn end_of(
    world: &World,
    loss: &Loss,
    group: &GroupName,
    from: usize,
    reason: Option<&String>,
) -> Option<GroupEnd> {
    let place = &world.places[group];
    let is_double = world.doubles.iter().any(|(name, _, _)| name == group);
    if place.serves == Some(from) && place.away_ms == 0 && !is_double {
        return None;
    }
    let begin = format!("group {group} ");
    let mut moves = world.told.iter().rev().filter_map(|text| text.strip_prefix(&begin));
    let why = match (place.serves, reason) {
        (Some(_), _) => moves
            .find(|text| text.starts_with("goes ") || text.starts_with("starts "))
            .map(|text| text.split_once(": ").map_or(text, |(_, why)| why).to_owned())
            .unwrap_or_else(|| "it comes back".into()),
        (None, Some(reason)) if world.leader().is_some() => reason.clone(),
        (None, _) => nobody_leads(world, from, loss),
    };
    Some(GroupEnd {
        group: group.clone(),
        from: Some(world.names[from].clone()),
        to: place.serves.map(|node| world.names[node].clone()),
        end: match place.serves {
            _ if is_double => End::Twice,
            Some(_) => End::Saved,
            None => End::NotSaved,
        },
        away: Span { typical_ms: place.away_ms, most_ms: place.away_ms },
        why,
    })
}

fn nobody_leads(world: &World, from: usize, loss: &Loss) -> String {
    let managers: Vec<&str> = world.managers.iter().map(|host| world.names[host.node].0.as_str()).collect();
    let who = match managers.as_slice() {
        [only] => format!("the only manager, on {only}, is gone"),
        all => format!("none of the managers ({}) can lead", all.join(", ")),
    };
    let name = &world.names[from];
    if world.off.contains(&from) {
        return format!("nobody decides: {who}");
    }
    let hold_s = world.lease().hold_ms as f64 / 1_000.0;
    let until = match loss {
        Loss::Link(..) => "until the link is whole",
        _ => "until it is back",
    };
    format!("{name} ends it {hold_s} s after its last answered heartbeat, {until}: {who}")
}

/// What a person could still save by saying that what is off is off.
fn lend_hand(world: &mut World, ends: &mut BTreeMap<GroupName, GroupEnd>) {
    if world.off.is_empty() || world.leader().is_none() || ends.values().all(|end| end.end != End::NotSaved) {
        return;
    }
    // A node whose link is not known to be broken is not believed to be off.
    world.run_until(world.now + SILENCE_MAX_MS + 1_000);
    let status = world.status().unwrap_or_default();
    for group in status {
        let is_unsaved = ends.get(&group.group).is_some_and(|end| end.end == End::NotSaved);
        if is_unsaved && let Some(end) = ends.get_mut(&group.group) {
            // What is known by now says more than what was known at first.
            end.why = group.reason;
        }
        let owner = group.node.as_ref().and_then(|node| world.names.iter().position(|known| known == node));
        if let Some(owner) = owner.filter(|owner| is_unsaved && world.off.contains(owner)) {
            let node = world.names[owner].clone();
            world.ask(&group.group, GroupAct::ConfirmOff { node });
        }
    }
    let unsaved: Vec<GroupName> =
        ends.values().filter(|end| end.end == End::NotSaved).map(|end| end.group.clone()).collect();
    world.run_until_calm(|world| unsaved.iter().all(|group| world.places[group].serves.is_some()));
    for group in unsaved {
        let (Some(node), Some(end)) = (world.places[&group].serves, ends.get_mut(&group)) else { continue };
        end.end = End::ByHand;
        end.to = Some(world.names[node].clone());
    }
}

fn crowds(before: &World, after: &World) -> Vec<Crowd> {
    let count =
        |world: &World, node: usize| world.places.values().filter(|place| place.serves == Some(node)).count();
    let crowd = |node: usize| {
        let (was, is) = (count(before, node), count(after, node));
        (is > was && is > 1).then(|| Crowd { node: before.names[node].clone(), before: was, after: is })
    };
    (0..before.names.len()).filter_map(crowd).collect()
}

pub(super) fn cautions(cell: &CellSettings) -> Vec<String> {
    two_nodes(cell).into_iter().collect()
}

/// Why two machines with nothing outside cannot help each other in both directions.
pub fn two_nodes(cell: &CellSettings) -> Option<String> {
    let leased: Vec<&str> =
        cell.groups.iter().filter(|group| group.is_leased()).map(|group| group.name.0.as_str()).collect();
    let ([_, _], [manager]) = (cell.nodes.as_slice(), cell.managers()) else { return None };
    let other = cell.nodes.iter().find(|node| *node != manager)?;
    if leased.is_empty() {
        return None;
    }
    Some(format!(
        "two nodes, and nothing outside of them: when {manager} is lost, or the network between the two, {other} cannot know \
         which it is, so it ends {} and takes over nothing; that is for a person. A manager on a third machine, however \
         small, changes that",
        leased.join(", ")
    ))
}

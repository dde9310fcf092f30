//! What operators want of whole nodes: drained, which empties them, or in maintenance, which leaves them alone.
//!
//! Promises: a wish is committed before anybody acts on it or hears that it was granted; who leads next knows it. Draining
//! moves a group only to a node that can run it, and one that nobody else can run stays. Maintenance starts nothing
//! elsewhere by itself; it does not lengthen a lease. Not here: members and monitors of the node (`cell`).

use super::super::plan::{against, choose};
use super::super::record;
use super::operate::{no_such_node, refuse, refuse_for_now};
use super::{CommitEnd, Group, Output, Planner};
use crate::cell::Refusal;
use crate::limits::{GROUP_ACTS_MAX, GROUP_RETRY_MS};
use crate::time::Time;
use std::collections::{BTreeSet, VecDeque};
use wire::error_code::STORE_WRITE_FAILED;
use wire::group::GroupCondition;
use wire::id::NodeName;
use wire::node::{Drain, NodeAct, NodeWish};
use wire::status::Severity;

/// One node's wishes.
#[derive(Debug, Clone, Default)]
pub(super) struct Wished {
    pub wish: NodeWish,
    /// On its way to the store.
    pending: Option<Pending>,
    retry_at: Time,
    acts: VecDeque<Act>,
}

#[derive(Debug, Clone)]
struct Pending {
    attempt: u64,
    wish: NodeWish,
    /// Who waits for it, and what they are told. None: the node is not configured any more.
    answer: Option<(u64, String)>,
}

#[derive(Debug, Clone)]
pub(super) struct Act {
    pub ask: u64,
    pub who: String,
    pub act: NodeAct,
    pub dry_run: bool,
}

impl Wished {
    pub fn found(wish: NodeWish) -> Self {
        Self { wish, ..Self::default() }
    }
}

impl Planner {
    pub(super) fn wish_of(&self, node: &NodeName) -> NodeWish {
        self.wishes.get(node).map(|wished| wished.wish).unwrap_or_default()
    }

    /// The nodes of the configuration. What was wanted of others is forgotten.
    pub(super) fn configure_nodes(&mut self, nodes: Vec<NodeName>) {
        self.known = nodes.into_iter().collect::<BTreeSet<_>>();
        for (node, wished) in &self.wishes {
            self.outputs.push(Output::NodeWish { node: node.clone(), wish: wished.wish });
        }
    }

    pub(super) fn queue_node(&mut self, node: NodeName, act: Act) {
        let ask = act.ask;
        let refusal = if !self.known.contains(&node) {
            no_such_node(&node, self.known.iter())
        } else {
            let wished = self.wishes.entry(node.clone()).or_default();
            if wished.acts.len() < GROUP_ACTS_MAX {
                return wished.acts.push_back(act);
            }
            refuse_for_now(format!("too many wishes for node {node} wait already"))
        };
        self.outputs.push(Output::Answer { ask, result: Err(refusal) });
    }

    /// The wishes that wait, of each node one after the other.
    pub(super) fn settle_wishes(&mut self, now: Time) {
        let nodes: Vec<NodeName> = self.wishes.keys().cloned().collect();
        for node in nodes {
            while let Some(wished) = self.wishes.get_mut(&node) {
                if wished.pending.is_some() || now < wished.retry_at {
                    break;
                }
                let Some(act) = wished.acts.pop_front() else {
                    if wished.wish == NodeWish::default() {
                        self.wishes.remove(&node);
                    } else if !self.known.is_empty() && !self.known.contains(&node) {
                        self.commit_wish(&node, NodeWish::default(), None);
                    }
                    break;
                };
                let (ask, dry_run) = (act.ask, act.dry_run);
                match self.operate_node(&node, act.act) {
                    Err(refusal) => self.outputs.push(Output::Answer { ask, result: Err(refusal) }),
                    Ok((_, text)) if dry_run => {
                        let text = format!("dry run: {text}");
                        self.outputs.push(Output::Answer { ask, result: Ok(text) });
                    }
                    Ok((wish, text)) => {
                        let asked = format!("{} asked for `{}` of node {node}", act.who, act.act.name());
                        let (severity, kind) = (Severity::Info, "operator");
                        self.outputs.push(Output::Event { severity, kind, text: asked });
                        self.commit_wish(&node, wish, Some((ask, text)));
                    }
                }
            }
        }
    }

    fn commit_wish(&mut self, node: &NodeName, wish: NodeWish, answer: Option<(u64, String)>) {
        self.attempts += 1;
        let (attempt, key) = (self.attempts, record::node_key(node));
        let value = (wish != NodeWish::default()).then(|| wish.to_string());
        self.outputs.push(Output::Commit { attempt, key, value });
        let wished = self.wishes.entry(node.clone()).or_default();
        wished.pending = Some(Pending { attempt, wish, answer });
    }

    /// Whether the commit was one of a node's wishes.
    pub(super) fn on_wish_committed(&mut self, now: Time, attempt: u64, end: &CommitEnd) -> bool {
        let is_it = |wished: &Wished| wished.pending.as_ref().is_some_and(|it| it.attempt == attempt);
        let Some((node, wished)) = self.wishes.iter_mut().find(|(_, wished)| is_it(wished)) else {
            return false;
        };
        let Some(pending) = wished.pending.take() else { return false };
        let result = match end {
            CommitEnd::Done => {
                wished.wish = pending.wish;
                self.outputs.push(Output::NodeWish { node: node.clone(), wish: wished.wish });
                pending.answer.map(|(ask, text)| (ask, Ok(text)))
            }
            CommitEnd::NotDone { found } => {
                wished.retry_at = now + GROUP_RETRY_MS;
                wished.wish = found.as_deref().and_then(NodeWish::parse).unwrap_or_default();
                self.outputs.push(Output::NodeWish { node: node.clone(), wish: wished.wish });
                let message = format!("the wish for node {node} could not be written down");
                let refusal = Refusal { code: STORE_WRITE_FAILED, message, retry: true };
                pending.answer.map(|(ask, _)| (ask, Err(refusal)))
            }
        };
        self.outputs.extend(result.map(|(ask, result)| Output::Answer { ask, result }));
        true
    }

    pub(super) fn wishes_wake(&self) -> impl Iterator<Item = Time> {
        let waiting = self.wishes.values().filter(|wished| wished.pending.is_none());
        waiting.map(|wished| wished.retry_at).filter(|at| *at > self.now)
    }

    fn operate_node(&self, node: &NodeName, act: NodeAct) -> Result<(NodeWish, String), Refusal> {
        let old = self.wish_of(node);
        let new = old.after(act);
        let is_same = old == new;
        let text = match act {
            NodeAct::Drain | NodeAct::DrainAtOnce => {
                let how = if act == NodeAct::Drain { "one after the other" } else { "all at once" };
                let groups = self.what_drains(node);
                let already = if is_same { " already" } else { "" };
                format!("node {node} is being drained{already}, its groups {how}: {groups}")
            }
            NodeAct::Undrain if is_same => return Err(refuse(format!("node {node} is not drained"))),
            NodeAct::Undrain => {
                format!("node {node} may be used again; groups that left it come back as they fail back")
            }
            NodeAct::MaintenanceOn => {
                let groups = self.groups.values().filter(|group| group.record.owner.as_ref() == Some(node));
                let names: Vec<&str> = groups.map(|group| group.settings.name.0.as_str()).collect();
                let groups = if names.is_empty() { "no group".into() } else { names.join(", ") };
                let already = if is_same { " already" } else { "" };
                format!(
                    "node {node} is in maintenance{already}: its monitors pause, and nothing moves because of it by itself; \
                     on it: {groups}"
                )
            }
            NodeAct::MaintenanceOff if is_same => {
                return Err(refuse(format!("node {node} is not in maintenance")));
            }
            NodeAct::MaintenanceOff => format!("node {node} is looked after again"),
        };
        Ok((new, text))
    }

    /// What becomes of the groups of a node that is drained, for people.
    fn what_drains(&self, node: &NodeName) -> String {
        let on_it = self.groups.values().filter(|group| group.record.owner.as_ref() == Some(node));
        let said: Vec<String> = on_it
            .map(|group| {
                let name = &group.settings.name;
                if group.record.is_frozen {
                    return format!("{name} stays: it is frozen");
                }
                if !group.shall_run() {
                    return format!("{name} is being stopped");
                }
                let whys = self.whys(group);
                match choose(&whys, Some(node)) {
                    Some(to) => format!("{name} goes to {to}"),
                    None => {
                        let others = against(&whys, Some(node));
                        format!("{name} stays: no other node can run it: {others}")
                    }
                }
            })
            .collect();
        if said.is_empty() { "no group is there".into() } else { said.join("; ") }
    }

    /// Where a group of a drained node goes now; the error says why it does not yet. None: its node is not drained.
    pub(super) fn leaves_for(&self, group: &Group, owner: &NodeName) -> Option<Result<NodeName, String>> {
        let wish = self.wish_of(owner);
        if !wish.is_drained() || group.record.is_frozen {
            return None;
        }
        let others = || self.groups.values().filter(|other| other.settings.name != group.settings.name);
        if wish.drain == Drain::OneByOne
            && let Some(other) = others().find(|other| is_on_its_way(other, owner))
        {
            let first = &other.settings.name;
            return Some(Err(format!("its node is drained, and group {first} goes first")));
        }
        let whys = self.whys(group);
        Some(match choose(&whys, Some(owner)) {
            Some(node) => Ok(node.clone()),
            None => {
                let others = against(&whys, Some(owner));
                Err(format!("its node is drained, but no other can run it: {others}"))
            }
        })
    }

    /// Why nothing happens to a group by itself, if so.
    pub(super) fn held(&self, group: &Group) -> Option<String> {
        if group.record.is_frozen {
            return Some("it is frozen".to_owned());
        }
        let owner = group.record.owner.as_ref()?;
        let is_left_alone = self.wish_of(owner).is_in_maintenance;
        is_left_alone.then(|| format!("node {owner} is in maintenance"))
    }
}

/// Whether a group is leaving the node, or has left it and does not run yet.
fn is_on_its_way(group: &Group, from: &NodeName) -> bool {
    let next = group.pending.as_ref().and_then(|pending| pending.record.as_ref());
    let record = next.unwrap_or(&group.record);
    let is_leaving = record.owner.as_ref() == Some(from) && record.to.as_ref().is_some_and(|to| to != from);
    let has_left =
        record.previous.as_ref() == Some(from) && record.owner.as_ref().is_some_and(|owner| owner != from);
    let is_between = matches!(group.condition, GroupCondition::Starting | GroupCondition::Stopping);
    is_leaving || (has_left && is_between)
}

#[cfg(test)]
mod tests;

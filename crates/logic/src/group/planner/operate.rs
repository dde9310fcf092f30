//! Takes an operator's wish for a group: grants it, or refuses with a code and a reason. A dry run only tells.

use super::super::plan::{against, choose};
use super::super::record::{Record, Wish};
use super::{Act, Group, Output, Planner};
use crate::cell::Refusal;
use crate::limits::GROUPS_NAMED_MAX;
use crate::time::Time;
use wire::error_code::{ACT_MAKES_NO_SENSE, NO_SUCH_GROUP, NO_SUCH_NODE, STORE_WRITE_FAILED};
use wire::group::{GroupAct, GroupCondition, NodeWhy};
use wire::id::{GroupName, NodeName};
use wire::status::Severity;

/// What a wish comes to.
struct Granted {
    /// None: there is nothing to write.
    record: Option<Record>,
    text: String,
    /// What failed there before counts no longer.
    forgives: Vec<NodeName>,
    confirms_off: Option<NodeName>,
}

impl Granted {
    fn new(record: Record, text: String) -> Self {
        Self { record: Some(record), text, forgives: Vec::new(), confirms_off: None }
    }
}

pub(super) fn no_such_group<'a>(name: &GroupName, all: impl Iterator<Item = &'a GroupName>) -> Refusal {
    let names: Vec<&str> = all.take(GROUPS_NAMED_MAX).map(|name| name.0.as_str()).collect();
    let there = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    let message = format!("there is no group {name}; there is {there}");
    Refusal { code: NO_SUCH_GROUP, message, retry: false }
}

pub(super) fn no_such_node<'a>(name: &NodeName, all: impl Iterator<Item = &'a NodeName>) -> Refusal {
    let names: Vec<&str> = all.take(GROUPS_NAMED_MAX).map(|name| name.0.as_str()).collect();
    let message = format!("there is no node {name}; there is {}", names.join(", "));
    Refusal { code: NO_SUCH_NODE, message, retry: false }
}

pub(super) fn too_many(name: &GroupName) -> Refusal {
    refuse_for_now(format!("too many wishes for group {name} wait already"))
}

pub(super) fn not_kept(name: &GroupName) -> Refusal {
    let message = format!("the wish for group {name} could not be written down");
    Refusal { code: STORE_WRITE_FAILED, message, retry: true }
}

pub(super) fn refuse(message: String) -> Refusal {
    Refusal { code: ACT_MAKES_NO_SENSE, message, retry: false }
}

pub(super) fn refuse_for_now(message: String) -> Refusal {
    Refusal { code: ACT_MAKES_NO_SENSE, message, retry: true }
}

impl Planner {
    /// Refuses for a group that there is not, as a wish would be.
    pub fn must_have(&self, name: &GroupName) -> Result<(), Refusal> {
        if self.groups.contains_key(name) { Ok(()) } else { Err(no_such_group(name, self.groups.keys())) }
    }

    /// The wishes that wait for a group, one after the other: each is written down before the next is looked at.
    pub(super) fn take_acts(&mut self, now: Time, name: &GroupName) {
        while let Some(group) = self.groups.get_mut(name) {
            if group.pending.is_some() || now < group.retry_at {
                return;
            }
            let Some(Act { ask, who, act, dry_run }) = group.acts.pop_front() else { return };
            match self.operate(now, name, &act) {
                Err(refusal) => self.outputs.push(Output::Answer { ask, result: Err(refusal) }),
                Ok(granted) if dry_run => {
                    let text = format!("dry run: {}", granted.text);
                    self.outputs.push(Output::Answer { ask, result: Ok(text) });
                }
                Ok(granted) => self.grant(name, ask, &who, &act, granted),
            }
        }
    }

    fn grant(&mut self, name: &GroupName, ask: u64, who: &str, act: &GroupAct, granted: Granted) {
        let Some(group) = self.groups.get_mut(name) else { return };
        // Which epoch was counted last stays: what has failed is not counted again.
        let forgiven = group.failures.iter_mut().filter(|(node, _)| granted.forgives.contains(node));
        forgiven.for_each(|(_, failure)| failure.count = 0);
        let confirmed = granted.confirms_off.filter(|node| group.record.owner.as_ref() == Some(node));
        group.confirmed_off = confirmed.or(group.confirmed_off.take());
        group.recovering.forget_stop();
        let text = format!("{who} asked for `{}` of group {name}", act.verb().name());
        match act {
            GroupAct::Start { .. } | GroupAct::Move { .. } | GroupAct::Failback => {
                // Whoever looks after it has looked: it may go to other nodes as often as if it had never failed.
                group.failovers.clear();
                group.condition = GroupCondition::Starting;
                group.reason.clone_from(&granted.text);
            }
            GroupAct::Stop | GroupAct::Freeze | GroupAct::Thaw | GroupAct::ConfirmOff { .. } => {}
        }
        self.outputs.push(Output::Event { severity: Severity::Info, kind: "operator", text });
        match granted.record {
            Some(record) => self.commit(name, Some(record), None, Some((ask, granted.text))),
            None => self.outputs.push(Output::Answer { ask, result: Ok(granted.text) }),
        }
    }

    fn operate(&self, now: Time, name: &GroupName, act: &GroupAct) -> Result<Granted, Refusal> {
        let Some(group) = self.groups.get(name) else {
            return Err(no_such_group(name, self.groups.keys()));
        };
        // Whoever may have it after its node is off, or may forget it, has to be told that it is.
        if group.is_leaving && !matches!(act, GroupAct::ConfirmOff { .. }) {
            return Err(refuse(format!("group {name} is being removed")));
        }
        let is_moving = matches!(act, GroupAct::Start { .. } | GroupAct::Move { .. } | GroupAct::Failback);
        if is_moving && group.record.is_frozen {
            return Err(refuse(format!("group {name} is frozen: thaw it first")));
        }
        match act {
            GroupAct::Start { node } => self.wish_start(now, group, node.as_ref()),
            GroupAct::Stop => Ok(wish_stop(group)),
            GroupAct::Move { node } => self.wish_move(group, node.as_ref()),
            GroupAct::Failback => self.wish_failback(group),
            GroupAct::Freeze | GroupAct::Thaw => Ok(wish_frozen(group, *act == GroupAct::Freeze)),
            GroupAct::ConfirmOff { node } => self.wish_confirm(group, node),
        }
    }

    fn wish_start(&self, now: Time, group: &Group, node: Option<&NodeName>) -> Result<Granted, Refusal> {
        let name = &group.settings.name;
        if let (Some(owner), Some(node)) = (&group.record.owner, node)
            && owner != node
        {
            return Err(refuse(format!("group {name} is on node {owner}: move it to {node} instead")));
        }
        let whys = self.forgiven(group);
        let node = match node {
            Some(node) => Some(able(group, &whys, node)?.clone()),
            None => {
                let owner = group.record.owner.as_ref();
                let stays = owner.filter(|owner| !self.is_fenced(now, group, owner));
                stays.or_else(|| choose(&whys, owner)).cloned()
            }
        };
        let Some(to) = node else {
            let text = format!("no node can run group {name}: {}", against(&whys, None));
            return Err(refuse_for_now(text));
        };
        let forgives = group.settings.nodes.clone();
        let is_there = group.shall_run() && group.record.owner.as_ref() == Some(&to);
        let has_failed = group.failures.values().any(|failure| failure.count > 0);
        if is_there && !has_failed {
            let text = format!("group {name} runs on node {to}, or is being started there, already");
            return Ok(Granted { record: None, text, forgives, confirms_off: None });
        }
        let record = Record { wish: Some(Wish::Run), to: Some(to.clone()), ..group.record.clone() };
        let text = format!("group {name} is being started on node {to}");
        Ok(Granted { forgives, ..Granted::new(record, text) })
    }

    /// As it would be judged if nothing of it had ever failed: a person may have mended that.
    fn forgiven(&self, group: &Group) -> Vec<NodeWhy> {
        let mut group = group.clone();
        group.failures.clear();
        self.whys(&group)
    }

    fn wish_move(&self, group: &Group, node: Option<&NodeName>) -> Result<Granted, Refusal> {
        let name = &group.settings.name;
        let Some(owner) = group.record.owner.as_ref().filter(|_| group.shall_run()) else {
            return Err(refuse(format!("group {name} does not run; start it instead")));
        };
        let whys = self.forgiven(group);
        let to = match node {
            Some(node) if node == owner => {
                return Err(refuse(format!("group {name} is on node {owner} already")));
            }
            Some(node) => able(group, &whys, node)?,
            None => choose(&whys, Some(owner)).ok_or_else(|| {
                let others = against(&whys, Some(owner));
                refuse_for_now(format!("no other node can run group {name}: {others}"))
            })?,
        };
        let record = Record { to: Some(to.clone()), ..group.record.clone() };
        let text = format!("group {name} is being moved from node {owner} to {to}");
        Ok(Granted { forgives: vec![to.clone()], ..Granted::new(record, text) })
    }

    fn wish_failback(&self, group: &Group) -> Result<Granted, Refusal> {
        let name = &group.settings.name;
        let Some(owner) = group.record.owner.as_ref().filter(|_| group.shall_run()) else {
            return Err(refuse(format!("group {name} does not run; start it instead")));
        };
        let whys = self.forgiven(group);
        let better = whys.iter().find(|why| why.is_able).map(|why| &why.node);
        match better.filter(|node| self.is_before(group, node, owner)) {
            Some(node) => self.wish_move(group, Some(node)),
            None if group.settings.nodes.first() == Some(owner) => {
                Err(refuse(format!("group {name} is on the first node of its policy already")))
            }
            None => {
                let text = against(&whys, Some(owner));
                Err(refuse_for_now(format!("no node before {owner} can run group {name}: {text}")))
            }
        }
    }

    fn wish_confirm(&self, group: &Group, node: &NodeName) -> Result<Granted, Refusal> {
        let name = &group.settings.name;
        if group.record.owner.as_ref() != Some(node) && !group.claims.contains_key(node) {
            return Err(refuse(format!("group {name} is not on node {node}")));
        }
        if self.nodes.get(node).is_some_and(|node| node.is_connected) {
            return Err(refuse(format!("the agent of node {node} is connected, so it is not off")));
        }
        let text = format!("node {node} counts as off for group {name}");
        let mut record = group.record.clone();
        // Kept until that is written: whoever leads next would wait for the node again.
        let record = record.claims.remove(node).is_some().then_some(record);
        Ok(Granted { record, text, forgives: Vec::new(), confirms_off: Some(node.clone()) })
    }
}

/// The node, if the group could run there.
fn able<'a>(group: &Group, whys: &'a [NodeWhy], node: &NodeName) -> Result<&'a NodeName, Refusal> {
    let name = &group.settings.name;
    match whys.iter().find(|why| why.node == *node) {
        Some(why) if why.is_able => Ok(&why.node),
        Some(why) => Err(refuse_for_now(format!("group {name} cannot run on node {node}: {}", why.why))),
        None => {
            let nodes: Vec<&str> = group.settings.nodes.iter().map(|node| node.0.as_str()).collect();
            let message =
                format!("node {node} is not in the policy of group {name}; there is {}", nodes.join(", "));
            Err(Refusal { code: NO_SUCH_NODE, message, retry: false })
        }
    }
}

fn wish_stop(group: &Group) -> Granted {
    let record = Record { wish: Some(Wish::Stop), to: None, ..group.record.clone() };
    let text = match &group.record.owner {
        Some(node) => format!("group {} is being stopped on node {node}", group.settings.name),
        None => format!("group {} is not started by itself any more", group.settings.name),
    };
    Granted::new(record, text)
}

fn wish_frozen(group: &Group, is_frozen: bool) -> Granted {
    let record = Record { is_frozen, ..group.record.clone() };
    let text = match is_frozen {
        true => format!("nothing happens to group {} by itself", group.settings.name),
        false => format!("group {} is looked after again", group.settings.name),
    };
    Granted::new(record, text)
}

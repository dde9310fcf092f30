//! One move of a group while it is written down.
//!
//! Bounded: what is too much is counted, and not kept. Not here: when a stage is reached (`moves`).

use crate::limits::{GROUP_RESOURCE_STAGES_MAX, GROUP_STAGES_MAX};
use crate::time::Time;
use wire::group_move::{GroupMove, MoveKind, MoveOutcome, MoveStage, Stage};
use wire::id::{GroupName, NodeName, ResourceName};

#[derive(Debug, Clone)]
pub(super) struct Noted {
    pub stage: Stage,
    pub at: Time,
    pub node: Option<NodeName>,
    pub resource: Option<ResourceName>,
    pub text: String,
}

impl Noted {
    pub fn of(stage: Stage, at: Time, node: &NodeName, text: impl Into<String>) -> Self {
        Self { stage, at, node: Some(node.clone()), resource: None, text: text.into() }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Story {
    pub number: u64,
    pub group: GroupName,
    pub kind: MoveKind,
    pub from: Option<NodeName>,
    pub to: Option<NodeName>,
    pub epoch: u64,
    pub reason: String,
    /// A person wants it, which is reason enough.
    pub is_asked: bool,
    /// The newest decision leaves nothing to be done.
    pub ends_when_written: bool,
    pub ended: Option<Time>,
    pub outcome: MoveOutcome,
    began: Time,
    stages: Vec<Noted>,
    left_out: u64,
}

impl Story {
    pub fn new(number: u64, group: GroupName, kind: MoveKind, from: Option<NodeName>, began: Time) -> Self {
        Self {
            number,
            group,
            kind,
            from,
            to: None,
            epoch: 0,
            reason: String::new(),
            is_asked: false,
            ends_when_written: false,
            ended: None,
            outcome: MoveOutcome::Going,
            began,
            stages: Vec::new(),
            left_out: 0,
        }
    }

    pub fn is_to(&self, node: &NodeName, epoch: u64) -> bool {
        self.to.as_ref() == Some(node) && self.epoch == epoch
    }

    pub fn has(&self, stage: Stage, node: &NodeName) -> bool {
        self.stages.iter().any(|noted| noted.stage == stage && noted.node.as_ref() == Some(node))
    }

    pub fn note(&mut self, noted: Noted) {
        // A group of many resources shall still show how its move ended.
        let most = match noted.resource {
            Some(_) => GROUP_RESOURCE_STAGES_MAX,
            None => GROUP_STAGES_MAX,
        };
        if self.stages.len() < most {
            self.stages.push(noted);
        } else {
            self.left_out += 1;
        }
    }

    pub fn tell(&self, unix_ms: &dyn Fn(Time) -> u64) -> GroupMove {
        let stages = self.stages.iter().map(|noted| MoveStage {
            stage: noted.stage,
            at_ms: unix_ms(noted.at),
            node: noted.node.clone(),
            resource: noted.resource.clone(),
            text: noted.text.clone(),
        });
        GroupMove {
            number: self.number,
            group: self.group.clone(),
            kind: self.kind,
            from: self.from.clone(),
            to: self.to.clone(),
            epoch: self.epoch,
            reason: self.reason.clone(),
            began_ms: unix_ms(self.began),
            ended_ms: self.ended.map(unix_ms),
            outcome: self.outcome,
            stages: stages.collect(),
            left_out: self.left_out,
        }
    }
}

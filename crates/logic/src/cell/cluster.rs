//! A cluster as the cell knows it: its members, its view, and the rollout that goes on in it.

use super::member::Member;
use crate::rollout::{Phase, Rollout};
use crate::view::{Rules, ViewKeeper};
use std::collections::{BTreeMap, BTreeSet};
use wire::agent::MemberReport;
use wire::id::{ClusterName, MemberId, NodeName};
use wire::view::{Affinity, HashKey, Health, MemberView, Policy, View};

#[derive(Debug, Clone)]
pub(super) struct Cluster {
    pub name: ClusterName,
    pub policy: Policy,
    pub affinity: Option<Affinity>,
    pub hash_key: HashKey,
    pub health: Health,
    pub drain_ms: u64,
    /// In the order of the configuration; those that are being removed come last.
    pub members: Vec<Member>,
    pub keeper: ViewKeeper,
    pub is_published: bool,
    pub rollout: Option<Rollout>,
    /// Why the last rollout stopped early, until another begins.
    pub setback: Option<String>,
    /// No longer in the configuration.
    pub is_leaving: bool,
    /// Something has happened that may change a run state or the view.
    pub is_dirty: bool,
}

/// What a report says of the members of one cluster.
#[derive(Debug, Clone, Copy, Default)]
pub struct Taken {
    /// Something has changed.
    pub is_new: bool,
    /// The agent was told a higher instance than this manager knew of.
    pub is_ahead: bool,
}

impl Cluster {
    /// Its view with these members; None if routers know all of it.
    pub fn offer(&mut self, members: Vec<MemberView>) -> Option<&View> {
        let rules = Rules {
            policy: self.policy,
            affinity: &self.affinity,
            hash_key: &self.hash_key,
            health: &self.health,
        };
        self.keeper.offer(rules, members, !self.is_published)
    }

    /// Whether time alone may change something here.
    pub fn is_busy(&self) -> bool {
        self.rollout.is_some()
            || self.is_leaving
            || self.members.iter().any(|member| member.phase != Phase::Steady || member.is_leaving)
    }

    /// Hands each member of `node` what was reported of it. Whether anything is new.
    pub fn take_reports(&mut self, node: &NodeName, by_id: &mut BTreeMap<MemberId, MemberReport>) -> Taken {
        let mut taken = Taken::default();
        for member in self.members.iter_mut().filter(|member| member.settings.node == *node) {
            let id = MemberId { cluster: self.name.clone(), member: member.settings.name.clone() };
            let before = member.instance;
            taken.is_new |= member.take_report(by_id.remove(&id));
            taken.is_ahead |= member.instance > before;
        }
        taken
    }

    pub fn check(&self, generation: u64) {
        let view = self.keeper.view();
        assert_eq!(view.epoch.generation, generation, "cluster {} has a foreign epoch", self.name);
        let names: BTreeSet<_> = self.members.iter().map(|member| &member.settings.name).collect();
        assert_eq!(names.len(), self.members.len(), "cluster {} has a member twice", self.name);
        if self.is_published {
            let shown: BTreeSet<_> = view.members.iter().map(|member| &member.name).collect();
            assert_eq!(names, shown, "the view of {} is not complete", self.name);
        }
        for member in &self.members {
            let is_out = matches!(member.phase, Phase::Out { .. });
            assert!(!(is_out && member.serves()), "{} is out and serves", member.settings.name);
            assert!(
                !(member.want == wire::agent::Want::Stopped && member.serves()),
                "{} is told to stop while routers use it",
                member.settings.name
            );
        }
        if let Some(rollout) = &self.rollout {
            let busy = rollout.current.iter().chain(&rollout.left);
            let unique: BTreeSet<_> = busy.clone().collect();
            assert_eq!(unique.len(), busy.count(), "cluster {} restarts a member twice", self.name);
        }
    }
}

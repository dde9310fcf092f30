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
    /// Time alone may change something here, as it was after the last look at it: found out once, asked with each input.
    pub is_busy: bool,
    /// Where the members of each node stand, while that is known.
    places: Option<BTreeMap<NodeName, Vec<usize>>>,
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
    /// A cluster without members that nobody has seen.
    pub fn new(name: ClusterName, keeper: ViewKeeper) -> Self {
        Self {
            name,
            policy: Policy::default(),
            affinity: None,
            hash_key: HashKey::default(),
            health: Health::default(),
            drain_ms: 0,
            members: Vec::new(),
            keeper,
            is_published: false,
            rollout: None,
            setback: None,
            is_leaving: false,
            is_dirty: true,
            is_busy: false,
            places: None,
        }
    }

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

    /// Members have come, gone, or found other nodes.
    pub fn forget_places(&mut self) {
        self.places = None;
    }

    /// Where each node's members stand: nobody looks through a thousand members for the two that a report is about.
    fn places(members: &[Member]) -> BTreeMap<NodeName, Vec<usize>> {
        let mut places: BTreeMap<NodeName, Vec<usize>> = BTreeMap::new();
        for (place, member) in members.iter().enumerate() {
            match places.get_mut(&member.settings.node) {
                Some(here) => here.push(place),
                None => drop(places.insert(member.settings.node.clone(), vec![place])),
            }
        }
        places
    }

    fn places_of(&mut self, node: &NodeName) -> &[usize] {
        let places = self.places.get_or_insert_with(|| Self::places(&self.members));
        places.get(node).map_or(&[], Vec::as_slice)
    }

    /// The members of a node.
    pub fn members_of(&mut self, node: &NodeName) -> Vec<&Member> {
        let here = self.places_of(node).to_vec();
        here.into_iter().map(|place| &self.members[place]).collect()
    }

    /// Whether it has a member there.
    pub fn is_on(&mut self, node: &NodeName) -> bool {
        !self.places_of(node).is_empty()
    }

    /// Whether time alone may change something here.
    pub fn may_move(&self) -> bool {
        self.rollout.is_some()
            || self.is_leaving
            || self.members.iter().any(|member| member.phase != Phase::Steady || member.is_leaving)
    }

    /// Hands each member of `node` what was reported of it. Whether anything is new.
    pub fn take_reports(&mut self, node: &NodeName, by_id: &mut BTreeMap<MemberId, MemberReport>) -> Taken {
        let mut taken = Taken::default();
        for place in self.places_of(node).to_vec() {
            let member = &mut self.members[place];
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
        assert!(self.is_dirty || self.is_busy == self.may_move(), "cluster {} moves unseen", self.name);
        if let Some(places) = &self.places {
            assert_eq!(*places, Self::places(&self.members), "a member of {} is lost", self.name);
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

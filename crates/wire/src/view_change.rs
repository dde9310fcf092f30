//! What turns one view of a cluster into the next, for those who have the one before: routers.
//!
//! A few dozen bytes for each member that changes, where a whole view has a hundred for each that there is. Promise: a
//! change is applied to the view that it was made for and to no other, whole or not at all.
//! Not here: what has changed (see `logic::view`). Clients get changes of their own (`client_view`).

use crate::id::{ClusterName, Epoch, MemberName};
use crate::is_default;
use crate::view::{Affinity, HashKey, Health, MemberView, Policy, RunState, View};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::{BTreeMap, BTreeSet};

/// From the epoch with the number `from` to `to`. Applied in the order of the fields.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ViewChange {
    pub cluster: ClusterName,
    pub from: u64,
    #[serde(with = "epoch_text")]
    pub to: Epoch,
    /// The generation of `from`; None: that of `to`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub of: Option<u64>,
    /// All of what a view says besides members, if any of it has changed.
    #[serde(default, skip_serializing_if = "is_default")]
    pub rules: Option<Box<Rules>>,
    /// Members that are there no more.
    #[serde(default, skip_serializing_if = "is_default")]
    pub gone: Vec<MemberName>,
    /// Members of which nothing but this changed. Reasons are for people, who ask the manager.
    #[serde(default, skip_serializing_if = "is_default")]
    pub states: BTreeMap<Standing, Vec<MemberName>>,
    /// Members that are new, have changed otherwise or stand elsewhere: each is taken out if it is there, and then all
    /// are put in, in this order, each at its place in the newer view.
    #[serde(default, skip_serializing_if = "is_default")]
    pub put: Vec<PutView>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rules {
    pub policy: Policy,
    pub affinity: Option<Affinity>,
    pub hash_key: HashKey,
    pub health: Health,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PutView {
    pub at: u32,
    pub member: MemberView,
}

/// What changes most of a member. As text `down`, `down+lost`, `down+probe`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Standing {
    pub state: RunState,
    pub is_lost: bool,
    pub only_fails_probe: bool,
}

const STATES: [RunState; 6] = [
    RunState::Unknown,
    RunState::Starting,
    RunState::Up,
    RunState::Draining,
    RunState::Down,
    RunState::Failed,
];

impl Standing {
    pub fn of(member: &MemberView) -> Self {
        Self { state: member.state, is_lost: member.is_lost, only_fails_probe: member.only_fails_probe }
    }

    fn parse(text: &str) -> Option<Self> {
        let mut words = text.split('+');
        let state = words.next()?;
        let state = STATES.into_iter().find(|known| known.to_string() == state)?;
        let mut standing = Self { state, ..Self::default() };
        for word in words {
            match word {
                "lost" => standing.is_lost = true,
                "probe" => standing.only_fails_probe = true,
                _ => return None,
            }
        }
        Some(standing)
    }

    fn order(&self) -> (usize, bool, bool) {
        let place = STATES.iter().position(|state| *state == self.state).expect("all states are listed");
        (place, self.is_lost, self.only_fails_probe)
    }
}

impl PartialOrd for Standing {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Standing {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.order().cmp(&other.order())
    }
}

impl Serialize for Standing {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let lost = if self.is_lost { "+lost" } else { "" };
        let probe = if self.only_fails_probe { "+probe" } else { "" };
        serializer.collect_str(&format_args!("{}{lost}{probe}", self.state))
    }
}

impl<'de> Deserialize<'de> for Standing {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom(format_args!("{text:?} is no run state")))
    }
}

/// An epoch as `GENERATION.NUMBER`: a third of what it takes by names.
pub(crate) mod epoch_text {
    use crate::id::Epoch;
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(epoch: &Epoch, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(epoch)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Epoch, D::Error> {
        let text = String::deserialize(deserializer)?;
        let parts = text.split_once('.');
        let parsed = parts.and_then(|(generation, number)| {
            Some(Epoch { generation: generation.parse().ok()?, number: number.parse().ok()? })
        });
        parsed.ok_or_else(|| serde::de::Error::custom("an epoch is GENERATION.NUMBER"))
    }
}

/// Why a change was not applied; the view is as it was, and a whole one is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Misfit {
    /// It is for another cluster or another epoch.
    Elsewhere,
    /// It names a member that is not there, or a place beyond the end.
    Broken,
}

impl ViewChange {
    /// Whether it has nothing to say but a new epoch.
    pub fn is_empty(&self) -> bool {
        self.rules.is_none() && self.gone.is_empty() && self.states.is_empty() && self.put.is_empty()
    }

    /// The newer view.
    pub fn apply(&self, view: &View) -> Result<View, Misfit> {
        let from = Epoch { generation: self.of.unwrap_or(self.to.generation), number: self.from };
        if view.cluster != self.cluster || view.epoch != from || from >= self.to {
            return Err(Misfit::Elsewhere);
        }
        let mut newer = View { epoch: self.to, ..view.clone() };
        if let Some(rules) = &self.rules {
            let Rules { policy, affinity, hash_key, health } = rules.as_ref();
            newer.policy = *policy;
            newer.affinity.clone_from(affinity);
            newer.hash_key.clone_from(hash_key);
            newer.health.clone_from(health);
        }
        let put: BTreeSet<&MemberName> = self.put.iter().map(|put| &put.member.name).collect();
        let gone: BTreeSet<&MemberName> = self.gone.iter().collect();
        let count = newer.members.len();
        newer.members.retain(|member| !gone.contains(&member.name));
        if newer.members.len() + gone.len() != count {
            return Err(Misfit::Broken);
        }
        newer.members.retain(|member| !put.contains(&member.name));
        self.set_states(&mut newer)?;
        for PutView { at, member } in &self.put {
            let at = *at as usize;
            if at > newer.members.len() {
                return Err(Misfit::Broken);
            }
            newer.members.insert(at, member.clone());
        }
        Ok(newer)
    }

    fn set_states(&self, view: &mut View) -> Result<(), Misfit> {
        let named =
            self.states.iter().flat_map(|(standing, names)| names.iter().map(move |name| (name, standing)));
        let mut named: BTreeMap<&MemberName, &Standing> = named.collect();
        for member in &mut view.members {
            if let Some(Standing { state, is_lost, only_fails_probe }) = named.remove(&member.name) {
                (member.state, member.is_lost) = (*state, *is_lost);
                member.only_fails_probe = *only_fails_probe;
                member.reason.clear();
            }
        }
        if named.is_empty() { Ok(()) } else { Err(Misfit::Broken) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change() -> ViewChange {
        let lost = Standing { state: RunState::Down, is_lost: true, only_fails_probe: false };
        ViewChange {
            cluster: "shop".into(),
            from: 12,
            to: Epoch { generation: 7, number: 13 },
            states: [(lost, vec!["shop-17".into()])].into(),
            ..ViewChange::default()
        }
    }

    fn view() -> View {
        let member = MemberView {
            name: "shop-17".into(),
            state: RunState::Up,
            reason: "passes its probe".into(),
            ..MemberView::default()
        };
        let epoch = Epoch { generation: 7, number: 12 };
        View { cluster: "shop".into(), epoch, members: vec![member], ..View::default() }
    }

    #[test]
    fn a_change_is_short_and_read_as_it_was_written() {
        let text = serde_json::to_string(&change()).expect("it can be written");
        assert_eq!(text, r#"{"cluster":"shop","from":12,"to":"7.13","states":{"down+lost":["shop-17"]}}"#);
        assert_eq!(serde_json::from_str::<ViewChange>(&text).expect("it can be read"), change());
        for wrong in ["lost", "down+", "down+found", "up lost"] {
            let text = text.replace("down+lost", wrong);
            assert!(serde_json::from_str::<ViewChange>(&text).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_change_fits_one_view_only() {
        let newer = change().apply(&view()).expect("it fits");
        assert_eq!(newer.epoch.number, 13);
        assert_eq!((newer.members[0].state, newer.members[0].is_lost), (RunState::Down, true));
        assert_eq!(newer.members[0].reason, "", "the reason was that of another state");
        assert_eq!(change().apply(&newer), Err(Misfit::Elsewhere));
        let mut other = view();
        other.epoch.generation = 8;
        assert_eq!(change().apply(&other), Err(Misfit::Elsewhere));
        let next_term = ViewChange { to: Epoch { generation: 9, number: 1 }, of: Some(7), ..change() };
        assert_eq!(next_term.apply(&view()).expect("it fits").epoch, next_term.to);
        assert_eq!(next_term.apply(&other), Err(Misfit::Elsewhere));
        let strange = ViewChange { gone: vec!["shop-1".into()], ..change() };
        assert_eq!(strange.apply(&view()), Err(Misfit::Broken));
        let empty = View { members: Vec::new(), ..view() };
        assert_eq!(change().apply(&empty), Err(Misfit::Broken));
        let far = PutView { at: 2, member: MemberView::default() };
        let far = ViewChange { put: vec![far], states: BTreeMap::new(), ..change() };
        assert_eq!(far.apply(&view()), Err(Misfit::Broken));
    }
}

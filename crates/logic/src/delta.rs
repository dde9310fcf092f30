//! What clients see of a cluster, and what changed since the view that a client has.
//!
//! A router keeps one `History` for each cluster that clients may know. It remembers which members each step touched, not
//! how: what a client lacks is said with the values of now, so that many changes of one member cost as much as one.
//! Promises: a delta turns the view that the client has into the newest one, exactly (`wire::client_view` applies it);
//! an epoch that is not remembered gets none. Sizes in bytes are the shell's to check, which writes the text.

use crate::limits::{CLIENT_STEP_MEMBERS_MAX, CLIENT_STEPS_MAX};
use std::collections::{BTreeMap, VecDeque};
use wire::client_view::{ClientMember, ClientState, ClientView, PutMember, ViewDelta};
use wire::id::{Epoch, MemberName};
use wire::view::{MemberView, RunState, View};

/// What of a view is for clients: neither reasons nor files nor how routers protect members.
pub fn seen_by_clients(view: &View) -> ClientView {
    ClientView {
        cluster: view.cluster.clone(),
        epoch: view.epoch,
        policy: view.policy,
        members: view.members.iter().map(member_seen).collect(),
    }
}

fn member_seen(member: &MemberView) -> ClientMember {
    let transport = &member.transport;
    // A member that expects what only routers say is reached through them.
    let is_direct = !transport.http2 && !transport.sends_proxy_header;
    ClientMember {
        name: member.name.clone(),
        address: member.address.filter(|_| is_direct),
        state: state_seen(member),
        weight: member.weight,
        zone: member.zone.clone(),
        is_backup: member.is_backup,
        tls: transport.tls.as_ref().map(|tls| tls.server_name.clone()),
    }
}

fn state_seen(member: &MemberView) -> ClientState {
    match member.state {
        RunState::Up => ClientState::Up,
        RunState::Draining => ClientState::Draining,
        RunState::Unknown | RunState::Starting | RunState::Down | RunState::Failed if member.is_lost => {
            ClientState::Lost
        }
        RunState::Unknown | RunState::Starting | RunState::Down | RunState::Failed => ClientState::Down,
    }
}

/// How much of a member a step changed; of several steps, the most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Touch {
    /// Nothing but its state.
    State,
    /// It came, left, moved or changed otherwise.
    Whole,
}

/// From one view to the next.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Step {
    from: Epoch,
    has_other_policy: bool,
    touched: Vec<(MemberName, Touch)>,
}

/// The newest view of a cluster and the steps that led to it.
#[derive(Debug, Clone)]
pub struct History {
    newest: ClientView,
    /// Where each member stands in it.
    places: BTreeMap<MemberName, u32>,
    /// Oldest first; each begins where the one before ends, and the last ends at the newest view.
    steps: VecDeque<Step>,
}

/// What a client lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Since {
    /// Nothing. Also a client that knows more than we do.
    Nothing,
    Delta(ViewDelta),
    /// More than is remembered, or too much to say: the whole view.
    TooMuch,
}

impl History {
    pub fn new(view: &View) -> Self {
        let newest = seen_by_clients(view);
        let places = places(&newest);
        Self { newest, places, steps: VecDeque::new() }
    }

    pub fn newest(&self) -> &ClientView {
        &self.newest
    }

    /// Epochs from which there is a delta, the oldest first.
    pub fn remembered(&self) -> impl Iterator<Item = Epoch> {
        self.steps.iter().map(|step| step.from)
    }

    /// Takes a newer view over; an older one changes nothing.
    pub fn take(&mut self, view: &View) {
        if view.epoch <= self.newest.epoch || view.cluster != self.newest.cluster {
            return;
        }
        let newer = seen_by_clients(view);
        let step = step(&self.newest, &self.places, &newer);
        if step.touched.len() > CLIENT_STEP_MEMBERS_MAX {
            // Nobody could be told of it, nor of anything before.
            self.steps.clear();
        } else {
            self.steps.push_back(step);
        }
        if self.steps.len() > CLIENT_STEPS_MAX {
            self.steps.pop_front();
        }
        self.places = places(&newer);
        self.newest = newer;
    }

    /// What a client lacks whose view has that epoch.
    pub fn since(&self, epoch: Epoch) -> Since {
        if epoch >= self.newest.epoch {
            return Since::Nothing;
        }
        let Some(start) = self.steps.iter().position(|step| step.from == epoch) else {
            return Since::TooMuch;
        };
        let mut touched: BTreeMap<&MemberName, Touch> = BTreeMap::new();
        let mut has_other_policy = false;
        for step in self.steps.range(start..) {
            has_other_policy |= step.has_other_policy;
            for (name, touch) in &step.touched {
                let most = touched.entry(name).or_insert(*touch);
                *most = (*most).max(*touch);
            }
            if touched.len() > CLIENT_STEP_MEMBERS_MAX {
                return Since::TooMuch;
            }
        }
        let policy = has_other_policy.then_some(self.newest.policy);
        let mut delta = ViewDelta {
            cluster: self.newest.cluster.clone(),
            from: epoch,
            to: self.newest.epoch,
            policy,
            ..ViewDelta::default()
        };
        for (name, touch) in touched {
            self.tell(name, touch, &mut delta);
        }
        delta.put.sort_by_key(|put| put.at);
        Since::Delta(delta)
    }

    fn tell(&self, name: &MemberName, touch: Touch, delta: &mut ViewDelta) {
        let Some(at) = self.places.get(name).copied() else {
            return delta.gone.push(name.clone());
        };
        let member = &self.newest.members[at as usize];
        match touch {
            Touch::State => delta.states.entry(member.state).or_default().push(name.clone()),
            Touch::Whole => delta.put.push(PutMember { at, member: member.clone() }),
        }
    }

    /// Panics if a promise to itself is broken.
    pub fn check(&self) {
        assert!(self.steps.len() <= CLIENT_STEPS_MAX, "{} steps", self.steps.len());
        assert_eq!(self.places.len(), self.newest.members.len(), "a place for each member");
        let ends = self.remembered().skip(1).chain([self.newest.epoch]);
        for (from, to) in self.remembered().zip(ends) {
            assert!(from < to, "a step from {from} to {to}");
        }
    }
}

fn places(view: &ClientView) -> BTreeMap<MemberName, u32> {
    view.members.iter().zip(0..).map(|(member, at)| (member.name.clone(), at)).collect()
}

/// What is between two views. Members that are touched as a whole not at all stand in the same order in both.
fn step(old: &ClientView, old_places: &BTreeMap<MemberName, u32>, new: &ClientView) -> Step {
    let mut touched = Vec::new();
    let mut is_left = vec![true; old.members.len()];
    // Members whose old places ascend have not moved among each other.
    let mut last = None;
    for member in &new.members {
        let Some(&at) = old_places.get(&member.name) else {
            touched.push((member.name.clone(), Touch::Whole));
            continue;
        };
        is_left[at as usize] = false;
        let before = &old.members[at as usize];
        if last.is_some_and(|last| at < last) {
            touched.push((member.name.clone(), Touch::Whole));
            continue;
        }
        last = Some(at);
        if member != before {
            let with_old_state = ClientMember { state: before.state, ..member.clone() };
            let touch = if with_old_state == *before { Touch::State } else { Touch::Whole };
            touched.push((member.name.clone(), touch));
        }
    }
    let left = old.members.iter().zip(is_left).filter(|(_, is_left)| *is_left);
    touched.extend(left.map(|(member, _)| (member.name.clone(), Touch::Whole)));
    Step { from: old.epoch, has_other_policy: old.policy != new.policy, touched }
}

#[cfg(test)]
mod tests;

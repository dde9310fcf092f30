//! What must hold in every simulated cell whatever happens to it. Each broken promise is a panic that names it.
//!
//! Written from the promises, not from the code that keeps them: affinity and turns are worked out again here.

use logic::balance::{Balancer, Choice, How, Tried};
use logic::time::Time;
use std::collections::BTreeMap;
use wire::id::{ClusterName, Epoch, RouterName};
use wire::view::{MemberView, Policy, RunState, View};

#[derive(Debug, Default)]
pub(crate) struct Checks {
    views: BTreeMap<(ClusterName, Epoch), View>,
    newest: BTreeMap<ClusterName, Epoch>,
    turns: BTreeMap<RouterName, Turns>,
    /// Cycles of round robin that were followed from end to end.
    pub cycles: u64,
    /// Choices that affinity decided.
    pub kept: u64,
}

/// One cycle of weighted round robin, while nothing disturbs it.
#[derive(Debug)]
struct Turns {
    epoch: Epoch,
    given: Vec<u64>,
}

/// What is known before a choice.
#[derive(Debug)]
pub(crate) struct Expected {
    /// The session's member, while that may have it.
    own: Option<u16>,
    /// A cycle begins with this choice, or goes on undisturbed.
    is_clean: bool,
    has_up: bool,
}

impl Checks {
    /// Epochs only grow, and none is used again with other content. The same view may be sent again.
    pub fn published(&mut self, view: &View) {
        let known = self.views.entry((view.cluster.clone(), view.epoch)).or_insert_with(|| view.clone());
        assert!(
            are_alike(known, view),
            "epoch {} of {} was given twice: {known:?} and {view:?}",
            view.epoch,
            view.cluster
        );
        let newest = self.newest.entry(view.cluster.clone()).or_insert(view.epoch);
        assert!(view.epoch >= *newest, "epoch {} of {} follows {newest}", view.epoch, view.cluster);
        *newest = view.epoch;
    }

    pub fn applied(&mut self, router: &RouterName, before: Option<Epoch>, view: &View) {
        assert!(before.is_none_or(|before| before < view.epoch), "{router} went back to {}", view.epoch);
        let known = self.views.get(&(view.cluster.clone(), view.epoch));
        assert!(
            known.is_some_and(|known| are_alike(known, view)),
            "{router} uses a view that nobody published"
        );
    }

    pub fn before_choice(
        &mut self,
        router: &RouterName,
        view: &View,
        balancer: &Balancer,
        clone_ids: &[&str],
        tried: &Tried,
        now: Time,
    ) -> Expected {
        let is_fit = |index: u16, member: &MemberView| {
            matches!(member.state, RunState::Up | RunState::Draining)
                && !tried.contains(index)
                && !balancer.is_marked(index, now)
        };
        let find = |id: &&str| (0u16..).zip(&view.members).find(|(_, member)| member.clone_id == **id);
        let own = clone_ids.iter().filter_map(find).find(|(index, member)| is_fit(*index, member));
        let up = || (0u16..).zip(&view.members).filter(|(_, member)| member.state == RunState::Up);
        // A cycle can be told exactly where it begins with nothing left and nothing owed.
        let left: Vec<i64> = balancer.current_weights().collect();
        let begins = up().all(|(index, _)| left[index as usize] == 0);
        let goes_on = self.turns.get(router).is_some_and(|turns| turns.epoch == view.epoch);
        let is_disturbed = view.policy != Policy::RoundRobin
            || tried.count() > 0
            || up().any(|(index, _)| balancer.is_marked(index, now));
        if is_disturbed {
            self.turns.remove(router);
        } else if begins && !goes_on {
            let given = vec![0; view.members.len()];
            self.turns.insert(router.clone(), Turns { epoch: view.epoch, given });
        }
        let has_up = up().any(|(index, member)| member.weight > 0 && !tried.contains(index));
        Expected { own: own.map(|(index, _)| index), is_clean: !is_disturbed && (begins || goes_on), has_up }
    }

    pub fn after_choice(
        &mut self,
        router: &RouterName,
        view: &View,
        expected: Expected,
        tried: &Tried,
        choice: Choice,
    ) {
        let Choice::Member { index, why } = choice else {
            assert!(!expected.has_up, "{router} refused a request while a member is up");
            assert!(expected.own.is_none(), "{router} refused a request that belongs to a member");
            return;
        };
        let state = view.members[index as usize].state;
        let takes_nothing = matches!(state, RunState::Down | RunState::Failed | RunState::Starting);
        assert!(!takes_nothing, "{router} sent a request to a member that is {state}");
        assert!(state != RunState::Unknown || !expected.has_up || expected.own.is_none(), "{router} guessed");
        assert!(!tried.contains(index), "{router} tried a member twice");
        if let Some(own) = expected.own {
            self.kept += 1;
            assert_eq!(index, own, "{router} took a session away from its member");
        }
        if !expected.is_clean {
            self.turns.remove(router);
            return;
        }
        match why.how {
            How::InTurn => self.turn_given(router, view, index),
            // A conversation counts in its member's share, whether it has always been there or has found a new home.
            How::Affinity | How::Rehomed
                if view.affinity.as_ref().is_some_and(|affinity| affinity.lowers_weight) =>
            {
                self.turns.remove(router);
            }
            How::Affinity | How::Rehomed => {}
            How::AtRandom
            | How::LeastOutstanding
            | How::Quickest
            | How::ByHash
            | How::Backup
            | How::MarkedAsLastResort
            | How::UnknownAsLastResort => {
                self.turns.remove(router);
            }
        }
    }

    /// Over a cycle each member gets exactly its weight, divided by the highest common factor of all.
    fn turn_given(&mut self, router: &RouterName, view: &View, index: u16) {
        let Some(turns) = self.turns.get_mut(router) else { return };
        turns.given[index as usize] += 1;
        let factor =
            (1..=1_000u32).rev().find(|factor| view.members.iter().all(|member| member.weight % factor == 0));
        let factor = factor.unwrap_or(1);
        let share = |member: &MemberView| match member.state {
            RunState::Up => u64::from(member.weight / factor),
            RunState::Unknown
            | RunState::Starting
            | RunState::Draining
            | RunState::Down
            | RunState::Failed => 0,
        };
        let shares: Vec<u64> = view.members.iter().map(share).collect();
        if turns.given.iter().sum::<u64>() == shares.iter().sum::<u64>() {
            assert_eq!(turns.given, shares, "{router} does not honour the weights over a cycle");
            self.cycles += 1;
            self.turns.remove(router);
        }
    }

    /// A request that may not be repeated reaches one member at most.
    pub fn delivered(&mut self, is_idempotent: bool, deliveries: u32) {
        assert!(is_idempotent || deliveries == 1, "a request that may not be repeated was delivered twice");
    }
}

/// Equal but for reasons, which routers do not act on.
fn are_alike(left: &View, right: &View) -> bool {
    let plain = |view: &View| {
        let mut view = view.clone();
        view.members.iter_mut().for_each(|member| member.reason.clear());
        view
    };
    plain(left) == plain(right)
}

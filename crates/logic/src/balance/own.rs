//! What becomes of a request's wish to go on with the member that has its session, over one cluster or several.
//!
//! Promise: the first member named that takes it gets it; a clone id that is not of these clusters is never followed.

use super::{AffinityFate, Ask, Balancer};
use wire::view::RunState;

/// What was found of the session's member so far.
#[derive(Debug, Clone, Copy)]
pub struct Own {
    pub fate: AffinityFate,
    /// The place of the cluster that `fate` speaks of.
    pub cluster: usize,
    /// The session's member that may serve as a last resort, with its cluster.
    pub resort: Option<(usize, u16)>,
}

impl Default for Own {
    fn default() -> Self {
        Self { fate: AffinityFate::NotAsked, cluster: 0, resort: None }
    }
}

impl Own {
    /// Looks whether `clone_id` names a member of `balancer`, the cluster at the place `cluster`; true once the
    /// session's member is found and takes the request.
    pub fn look(&mut self, cluster: usize, balancer: &Balancer, clone_id: &str, ask: &Ask<'_>) -> bool {
        let Some(index) = balancer.index_of_clone_id(clone_id) else {
            if self.fate == AffinityFate::NotAsked {
                self.fate = AffinityFate::NoSuchMember;
            }
            return false;
        };
        let member = &balancer.members[index as usize];
        let is_tried = ask.tried.contains(index);
        let is_out = member.is_left_out(ask.now);
        let may_have = member.keeps_sessions() && !is_out
            || (member.is_doubted() || member.keeps_sessions()) && balancer.is_panic(ask.now);
        if may_have && !is_tried && !member.is_full {
            (self.fate, self.cluster) = (AffinityFate::Honoured { index }, cluster);
            return true;
        }
        let is_unknown = member.state == RunState::Unknown && member.has_address;
        let may_resort = member.keeps_sessions() && !member.is_full || is_unknown;
        if self.resort.is_none() && !is_tried && may_resort {
            self.resort = Some((cluster, index));
        }
        // The first member named is the one the reader of the reason asks about.
        if matches!(self.fate, AffinityFate::NotAsked | AffinityFate::NoSuchMember) {
            self.cluster = cluster;
            self.fate = if is_tried {
                AffinityFate::AlreadyTried { index }
            } else if !member.keeps_sessions() {
                AffinityFate::NotTaking { index, state: member.state }
            } else if member.ejection.is_out(ask.now) {
                AffinityFate::Ejected { index }
            } else if is_out {
                AffinityFate::MarkedDown { index }
            } else {
                AffinityFate::Full { index }
            };
        }
        false
    }

    /// The request names a session whose member cannot have it, or is no more.
    pub fn is_orphan(&self) -> bool {
        !matches!(self.fate, AffinityFate::NotAsked | AffinityFate::Honoured { .. })
    }
}

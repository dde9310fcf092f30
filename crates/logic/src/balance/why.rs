//! Why a member was chosen, or none: small values on the request path, sentences when somebody asks.

use std::fmt;
use wire::view::RunState;

/// How a member was chosen, and what became of the wish for affinity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Why {
    pub how: How,
    pub affinity: AffinityFate,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    Affinity,
    /// By its session's number, because the session's own member cannot have it.
    Rehomed,
    InTurn,
    AtRandom,
    LeastOutstanding,
    Quickest,
    ByHash,
    Backup,
    MarkedAsLastResort,
    UnknownAsLastResort,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AffinityFate {
    /// The request names no member.
    NotAsked,
    Honoured {
        index: u16,
    },
    /// It names clone ids that no member of this cluster has.
    NoSuchMember,
    NotTaking {
        index: u16,
        state: RunState,
    },
    /// This router failed to reach it a moment ago.
    MarkedDown {
        index: u16,
    },
    /// This router leaves it out for its failures.
    Ejected {
        index: u16,
    },
    /// It has `requests_max` requests under way.
    Full {
        index: u16,
    },
    AlreadyTried {
        index: u16,
    },
}

impl AffinityFate {
    /// The session's member is one of these clusters.
    pub fn names_member(self) -> bool {
        !matches!(self, AffinityFate::NotAsked | AffinityFate::NoSuchMember)
    }

    /// The request names a member and goes to another.
    pub fn is_failover(self) -> bool {
        self.names_member() && !matches!(self, AffinityFate::Honoured { .. })
    }
}

/// Why nobody can have the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhyNone {
    NoMembers,
    AllTried {
        tried: u16,
    },
    /// Members are up, and all of them have weight 0.
    NoWeight,
    NobodyUp {
        members: u16,
    },
    /// The session's own member cannot have it, and its cluster gives it to no other.
    Strict,
}

impl WhyNone {
    /// The reason for two clusters of a route together.
    pub fn with(self, other: WhyNone) -> WhyNone {
        match (self, other) {
            (WhyNone::AllTried { tried }, WhyNone::AllTried { tried: others }) => {
                WhyNone::AllTried { tried: tried + others }
            }
            (WhyNone::NobodyUp { members }, WhyNone::NobodyUp { members: others }) => {
                WhyNone::NobodyUp { members: members + others }
            }
            (tried @ WhyNone::AllTried { .. }, _) | (_, tried @ WhyNone::AllTried { .. }) => tried,
            (WhyNone::Strict, _) | (_, WhyNone::Strict) => WhyNone::Strict,
            (WhyNone::NoWeight, _) | (_, WhyNone::NoWeight) => WhyNone::NoWeight,
            (nobody @ WhyNone::NobodyUp { .. }, WhyNone::NoMembers)
            | (WhyNone::NoMembers, nobody @ WhyNone::NobodyUp { .. }) => nobody,
            (WhyNone::NoMembers, WhyNone::NoMembers) => WhyNone::NoMembers,
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.affinity {
            AffinityFate::NotAsked | AffinityFate::Honoured { .. } => {}
            AffinityFate::NoSuchMember => out.write_str("no member has the session's clone id; ")?,
            AffinityFate::NotTaking { state, .. } => write!(out, "the session's member is {state}; ")?,
            AffinityFate::MarkedDown { .. } => {
                out.write_str("the session's member did not answer just now; ")?
            }
            AffinityFate::Ejected { .. } => {
                out.write_str("the session's member is left out for failing; ")?
            }
            AffinityFate::Full { .. } => out.write_str("the session's member is full; ")?,
            AffinityFate::AlreadyTried { .. } => {
                out.write_str("the session's member failed this request; ")?
            }
        }
        out.write_str(match self.how {
            How::Affinity => "the session belongs to it",
            How::Rehomed => "the session's number chose it",
            How::InTurn => "next in turn with something left of its weight",
            How::AtRandom => "by chance among those that are up",
            How::LeastOutstanding => "the fewest requests are under way there",
            How::Quickest => "the better of two drawn by chance",
            How::ByHash => "by hash",
            How::Backup => "a backup, because no other member can be used",
            How::MarkedAsLastResort => "it did not answer just now, but no better one is up",
            How::UnknownAsLastResort => "its state is unknown, but no other is up",
        })
    }
}

impl fmt::Display for WhyNone {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WhyNone::NoMembers => out.write_str("the cluster has no members"),
            WhyNone::AllTried { tried: 1 } => out.write_str("the only member that could be tried failed"),
            WhyNone::AllTried { tried } => write!(out, "all {tried} members that could be tried failed"),
            WhyNone::NoWeight => out.write_str("the members that are up have weight 0: no new conversations"),
            WhyNone::Strict => {
                out.write_str("the session's member cannot have it, and sessions go to no other")
            }
            WhyNone::NobodyUp { members } => write!(out, "none of the {members} members is up"),
        }
    }
}

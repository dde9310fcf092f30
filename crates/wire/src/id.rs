//! Names and numbers that identify things, each a type of its own so that they cannot be mixed up.
//!
//! Names are 1 to 64 characters of `a-z A-Z 0-9 . _ -` and start with a letter or digit; `is_valid_name`
//! says so, the configuration enforces it, and everything behind it relies on it.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Longest name of anything. 64: fits a cgroup, a file name and a table column with room for a suffix.
pub const NAME_LENGTH_MAX: usize = 64;

/// Whether `name` may name a cluster, member, node or router.
pub fn is_valid_name(name: &str) -> bool {
    let first_is_plain = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    first_is_plain
        && name.len() <= NAME_LENGTH_MAX
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

// Types of the same shape: a macro, because a function cannot make types.
macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub String);

        impl fmt::Display for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str(&self.0)
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.to_owned())
            }
        }
    };
}

name_type!(
    /// Members that run the same application.
    ClusterName
);
name_type!(
    /// One application server process, unique within its cluster.
    MemberName
);
name_type!(
    /// One machine of the cell.
    NodeName
);
name_type!(
    /// Resources that run together on one node at a time.
    GroupName
);
name_type!(
    /// A way to switch nodes off.
    FenceName
);
name_type!(
    /// One thing of a group that is started and stopped, unique within it.
    ResourceName
);
name_type!(
    /// One router of the cell.
    RouterName
);
name_type!(
    /// One manager of the cell.
    ManagerName
);

name_type!(
    /// One monitor of the cell.
    MonitorName
);
name_type!(
    /// A person who may use the API and the console.
    UserName
);
name_type!(
    /// A token for programs that use the API.
    TokenName
);

// Numbers of the same shape, for what is counted or must be short.
macro_rules! number_type {
    ($(#[$doc:meta])* $name:ident, $inner:ty) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(out)
            }
        }
    };
}

number_type!(
    /// Counts the leaders of a cell, from 1; 0: none yet. A later leader has a higher one, and none is given twice.
    TermNumber,
    u64
);
number_type!(
    /// Tells cells apart: drawn by chance when a cell is founded.
    CellNumber,
    u64
);
number_type!(
    /// A node's place in tables: given when it joins, from 0 without gaps worth speaking of, and never to another.
    NodeNumber,
    u32
);
number_type!(
    /// A manager's place in tables, as `NodeNumber`.
    ManagerNumber,
    u16
);

/// A member of the cell: its cluster and its name there. Shown as `cluster/member`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct MemberId {
    pub cluster: ClusterName,
    pub member: MemberName,
}

impl MemberId {
    pub fn new(cluster: &str, member: &str) -> Self {
        Self { cluster: cluster.into(), member: member.into() }
    }
}

impl fmt::Display for MemberId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.cluster, self.member)
    }
}

/// Which edition of a cluster's view this is. The generation is new with each start of a manager and is
/// committed before use, so no epoch is ever given twice; the number counts within it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Epoch {
    pub generation: u64,
    pub number: u64,
}

impl fmt::Display for Epoch {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}.{}", self.generation, self.number)
    }
}

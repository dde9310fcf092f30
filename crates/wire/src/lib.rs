//! Everything that leaves a Muster process or outlives it: ids, messages, records, error codes.
//!
//! Depends on serde only. Nothing here decides anything; fields are public and have no setters.
//! Durations are milliseconds and say so in their names; sizes are bytes.

pub mod account;
pub mod agent;
pub mod client_view;
pub mod enrol;
pub mod error_code;
pub mod event_kind;
pub mod fence;
pub mod group;
pub mod group_move;
pub mod heartbeat;
pub mod id;
pub mod link;
pub mod monitor;
pub mod node;
pub mod router;
pub mod settings;
pub mod status;
pub mod summary;
pub mod view;
pub mod view_change;

/// For what is left out of messages where it says nothing.
pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

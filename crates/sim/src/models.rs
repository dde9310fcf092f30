//! Other protocols, as event-driven models in one small world, so that Muster is compared at the same number of hosts,
//! with the same fault and the same measure.
//!
//! Each is first held against what was published about it (`tests/models.rs`): only then its figures mean anything
//! beside ours. They are models of what was written down, not the programs themselves. Muster's own figures come from
//! the machines of `logic` in `fleet`.

mod drive;
mod full_mesh;
mod gossip;
mod memberlist;
mod nomad;
mod queue;
mod rapid;
mod rumour;
mod serf;
mod swim;
mod tally;
mod world;

pub use drive::run;
pub use full_mesh::FullMesh;
pub use gossip::{Gossip, Settings as GossipSettings};
pub use memberlist::{
    settings as memberlist, settings_without_lifeguard as memberlist_without_lifeguard, spread_ms,
    suspicion_us,
};
pub use nomad::{Nomad, Settings as NomadSettings, waits_s as nomad_waits_s};
pub use queue::fenced;
pub use rapid::{RapidC, Settings as RapidSettings, conflicts_percent};
pub use serf::Serf;
pub use swim::{PERIOD_US as SWIM_PERIOD_US, periods_to_detection, settings as swim};
pub use tally::{Case, Fault, Found, Rate};

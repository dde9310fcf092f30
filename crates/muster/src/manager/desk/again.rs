//! Why a manager must begin anew, and who has made it do so lately.

use super::Place;
use logic::time::Time;
use std::collections::BTreeMap;

/// Highest generation that is believed of a role: what is above comes from a fault.
pub const GENERATION_HEARD_MAX: u64 = 1 << 62;
/// How long a role that made the manager begin anew cannot do so again. A minute: after a store was put back each role has
/// one reason to, and one that only says so cannot keep the cell without a manager.
const SUSPECT_MS: u64 = 60_000;

/// Why all has to begin anew, with what the store says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Again {
    /// Somebody there obeyed another manager of this generation, which is ours or above it: the store has forgotten that
    /// one.
    Outnumbered { place: Place, generation: u64 },
    /// The store may have another configuration than the one in force.
    Doubted,
}

/// Who has made a manager begin anew lately. Bounded by the roles of the configuration: nobody else gets so far.
#[derive(Debug, Clone, Default)]
pub struct Suspects(BTreeMap<Place, Time>);

impl Suspects {
    pub fn note(&mut self, now: Time, place: Place) {
        self.0.retain(|_, since| now.since_ms(*since) < SUSPECT_MS);
        self.0.insert(place, now);
    }

    /// Why the generation that a role says it has obeyed is not believed, for people.
    pub fn doubt(&self, now: Time, place: &Place, generation: u64) -> Option<String> {
        let is_suspect = self.0.get(place).is_some_and(|since| now.since_ms(*since) < SUSPECT_MS);
        if generation > GENERATION_HEARD_MAX {
            Some(format!("it says that it obeyed generation {generation}, which no manager has had"))
        } else if is_suspect {
            Some(format!(
                "it says that it obeyed generation {generation}, and made the manager begin anew a moment ago"
            ))
        } else {
            None
        }
    }
}

//! Why a store could not do what was asked, in the same words for every engine.
//!
//! Promise: an error that does not say otherwise means that nothing has changed.

use logic::model::Refused;
use std::error::Error;

/// What an engine or the network said.
pub type Cause = Box<dyn Error + Send + Sync>;

/// Why the store could not do what was asked. `place` is the file, or the servers without their password.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Nothing has changed. Whether a retry can help is said there; a check that failed names its key.
    #[error(transparent)]
    Refused(Refused),
    /// Nothing has changed; safe to retry once there is room.
    #[error("the disk or the size allowed to the store at {place} is full")]
    Full { place: String },
    /// Nothing has changed; safe to retry.
    #[error("another program holds the store at {place} for too long")]
    Busy { place: String },
    /// Nothing has changed; safe to retry.
    #[error("the store at {place} cannot be reached")]
    Unavailable {
        place: String,
        #[source]
        source: Cause,
    },
    /// Nothing has changed; a retry cannot help before someone has changed rights or passwords.
    #[error("the store at {place} does not let us in")]
    Denied {
        place: String,
        #[source]
        source: Cause,
    },
    /// Nothing has changed; a retry cannot help before the server's own limits are raised.
    #[error("the server of the store at {place} takes no transaction or value of this size: {detail}")]
    TooLarge { place: String, detail: String },
    /// Nothing has changed; a retry cannot help.
    #[error("the store at {place} is damaged: {detail}")]
    Damaged { place: String, detail: String },
    /// Nothing has changed; a retry cannot help.
    #[error("{place} is not a store of Muster")]
    Foreign { place: String },
    /// Nothing has changed; a retry cannot help.
    #[error("the store at {place} has format {found}, and this Muster knows {known}")]
    Newer { place: String, found: i64, known: i64 },
    /// Nothing has changed; a retry cannot help before the file is back in its place, or it is opened anew.
    #[error("the file of the store at {place} is gone, or another is in its place")]
    Gone { place: String },
    /// Nothing has changed; safe to retry.
    #[error("could not {act} the store at {place}")]
    Engine {
        place: String,
        act: &'static str,
        #[source]
        source: Cause,
    },
    /// It may or may not have happened: read before a retry.
    #[error("whether the store at {place} was written is unknown")]
    Unknown {
        place: String,
        #[source]
        source: Cause,
    },
    /// The store was closed; what was asked may or may not have happened.
    #[error("the store is closed")]
    Closed,
}

//! Lets a manager hear heartbeats while another one leads: whose count, it reads in the store, where the leader keeps it.
//!
//! So it can be asked what it hears, and knows who is there when its turn to lead comes. Not here: hearing itself (see
//! `heartbeats`).

use super::archive::{CELL_PREFIX, CURRENT_KEY, config_key};
use super::enrol::joined_us;
use super::front::Front;
use super::heartbeats::Heartbeats;
use crate::config;
use logic::cell::NodePlace;
use logic::model::{Read, Revision};
use std::rc::Rc;
use std::time::Duration;
use store::{Store, StoreError};
use wire::id::NodeName;
use wire::settings::CellSettings;

/// Pause after the store could not be read.
const AGAIN: Duration = Duration::from_millis(500);
/// Pause between looks while things change. A quarter of a second: a batch of nodes that fall costs one look.
const SETTLE: Duration = Duration::from_millis(250);

/// Under which the nodes' places are.
fn places_prefix() -> String {
    format!("{CELL_PREFIX}node/")
}

/// What the store says.
struct Seen {
    revision: Revision,
    places: Vec<NodePlace>,
}

/// Tells `heartbeats` whose count, for as long as it is not dropped.
pub async fn listen(store: Store, own: NodeName, front: Rc<Front>, heartbeats: Rc<Heartbeats>) {
    let mut records = front.records();
    // Keys of nodes are made of their records. The front lasts as long as this task.
    drop(records.wait_for(Option::is_some).await);
    let mut config: Option<(u64, CellSettings)> = None;
    let mut watches = None;
    loop {
        records.mark_unchanged();
        let seen = match look(&store, &mut config).await {
            Ok(seen) => seen,
            Err(error) => {
                not_read(&error).await;
                continue;
            }
        };
        if let Some((_, settings)) = &config {
            let is_configured = |place: &NodePlace| settings.nodes.contains(&place.node);
            let places = seen.places.into_iter().filter(is_configured);
            let joined = |node: &NodeName| joined_us(front.record(node).as_ref());
            heartbeats.know(settings, &own, places, joined, None);
        }
        let (places, current) = watches.get_or_insert_with(|| {
            (store.watch(places_prefix(), seen.revision), store.watch(CURRENT_KEY, seen.revision))
        });
        // All may be cancelled: what was not returned is told the next time.
        let news = tokio::select! {
            news = places.next() => news.map(drop),
            news = current.next() => news.map(drop),
            _ = records.changed() => Ok(()),
        };
        match news {
            Ok(()) => tokio::time::sleep(SETTLE).await,
            Err(error) => not_read(&error).await,
        }
    }
}

/// Reads the places, and the configuration if it is another one. One that makes no sense to this Muster leaves the one
/// before.
async fn look(store: &Store, config: &mut Option<(u64, CellSettings)>) -> Result<Seen, StoreError> {
    let read = store.read(Read::Keys(vec![CURRENT_KEY.to_owned()])).await?;
    let revision = read.revision;
    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    let number = read.entries.first().and_then(|entry| text(&entry.value).trim().parse().ok()).unwrap_or(0);
    if config.as_ref().is_none_or(|(known, _)| *known != number) && number > 0 {
        let read = store.read(Read::Keys(vec![config_key(number)])).await?;
        let found = read.entries.first().map(|entry| text(&entry.value));
        match found.map(|text| config::parse(&text, "the configuration in the store")) {
            Some(Ok(settings)) => *config = Some((number, settings)),
            Some(Err(problems)) => tracing::warn!(
                revision = number,
                %problems,
                "the configuration makes no sense to this manager, which hears heartbeats by the one before"
            ),
            // It was just replaced; that is told, too.
            None => {}
        }
    }
    let read = store.read(Read::Prefix(places_prefix())).await?;
    let place = |key: &str, value: &[u8]| NodePlace::remembered(key.strip_prefix(CELL_PREFIX)?, &text(value));
    let places = read.entries.iter().filter_map(|entry| place(&entry.key, &entry.value)).collect();
    Ok(Seen { revision, places })
}

async fn not_read(error: &StoreError) {
    tracing::debug!(%error, "whose heartbeats count cannot be read at this moment");
    tokio::time::sleep(AGAIN).await;
}

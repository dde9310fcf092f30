//! Idle connections, to be used again: bounded in number, in places and in age.

use crate::connection::Connection;
use crate::limits::{IDLE_CONNECTION_MS, IDLE_CONNECTIONS_MAX, PLACES_MAX};
use crate::place::Place;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

#[derive(Default)]
pub struct Pool(Mutex<BTreeMap<Place, Vec<Connection>>>);

impl Pool {
    /// The one that was used last and is still alive.
    pub fn take(&self, place: &Place) -> Option<Connection> {
        let mut places = self.0.lock().expect("nobody panics while holding it");
        let idle = places.get_mut(place)?;
        while let Some(mut connection) = idle.pop() {
            if is_young(&connection) && connection.is_alive() {
                return Some(connection);
            }
        }
        places.remove(place);
        None
    }

    pub fn give(&self, place: &Place, connection: Connection) {
        let mut places = self.0.lock().expect("nobody panics while holding it");
        if !places.contains_key(place) && places.len() >= PLACES_MAX {
            // Rare: more places than a cluster has members. What is old goes, or else this one.
            places.retain(|_, idle| idle.iter().any(is_young));
            if places.len() >= PLACES_MAX {
                return;
            }
        }
        let idle = places.entry(place.clone()).or_default();
        idle.retain(is_young);
        if idle.len() < IDLE_CONNECTIONS_MAX {
            idle.push(connection);
        }
    }

    /// Closes what leads to a place that is dead.
    pub fn forget(&self, place: &Place) {
        self.0.lock().expect("nobody panics while holding it").remove(place);
    }

    /// Closes what is too old to be used again.
    pub fn sweep(&self) {
        let mut places = self.0.lock().expect("nobody panics while holding it");
        places.values_mut().for_each(|idle| idle.retain(is_young));
        places.retain(|_, idle| !idle.is_empty());
    }
}

fn is_young(connection: &Connection) -> bool {
    connection.idle_since.elapsed() < Duration::from_millis(IDLE_CONNECTION_MS)
}

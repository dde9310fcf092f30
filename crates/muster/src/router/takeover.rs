//! Takes a table over without making requests wait: what takes long is done in slices, with turns for others between.
//!
//! Clusters that are new or changed come first, so that what is left for the one moment in which routes change is small;
//! clusters that nobody knows any more go last. Promise: a slice takes about half a millisecond, or one cluster.

use super::core::Core;
use super::table::Table;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Longest time without a turn for others. Half a millisecond: a tenth of what a request may be kept waiting.
const SLICE_MAX: Duration = Duration::from_micros(500);

/// Work that gives others a turn now and then.
#[derive(Debug)]
pub struct Slices {
    began: Instant,
}

impl Slices {
    pub fn begin() -> Self {
        Self { began: Instant::now() }
    }

    /// Between two steps: lets others run if this has taken long. Nothing may be borrowed meanwhile.
    pub async fn pause(&mut self) {
        if self.began.elapsed() >= SLICE_MAX {
            tokio::task::yield_now().await;
            self.began = Instant::now();
        }
    }
}

/// Takes a table over. Requests under way keep the member that they have, unless it is lost.
pub async fn take_over(core: &Rc<Core>, table: &Arc<Table>) {
    let mut slices = Slices::begin();
    let has_its_views = core.has_views_of(table);
    if !has_its_views {
        for (name, view) in &*table.views {
            core.take_view(name, view, table);
            slices.pause().await;
        }
    }
    core.apply(table);
    slices.pause().await;
    if has_its_views {
        return core.report_now.notify_one();
    }
    let is_unknown = |name: &_| !table.views.contains_key(name);
    let unknown: Vec<_> = core.clusters.borrow().keys().filter(|name| is_unknown(name)).cloned().collect();
    for name in unknown {
        core.forget(&name);
        slices.pause().await;
    }
    core.report_now.notify_one();
}

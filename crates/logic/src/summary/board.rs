//! What other cells told, and which of them are listened to.

use crate::limits::{
    CELLS_MAX, SUMMARY_BURST_MAX, SUMMARY_INTERVAL_MIN_MS, SUMMARY_MEMORY_MS, SUMMARY_QUARANTINE_MS,
    SUMMARY_SILENCE_MAX_MS,
};
use crate::machine::Machine;
use crate::time::Time;
use std::collections::BTreeMap;
use wire::id::{CellNumber, ClusterName};
use wire::summary::{
    CellSummary, ClusterSummary, GATEWAYS_MAX, LOAD_MAX, SUMMARY_CLUSTERS_MAX, SUMMARY_MAX_BYTES,
};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BoardInput {
    Tick,
    /// A message of so many bytes on the stream of that cell; None: it does not parse.
    Received {
        from: CellNumber,
        bytes: usize,
        summary: Option<CellSummary>,
    },
    /// That cell is no longer to be listened to.
    Forget {
        cell: CellNumber,
    },
}

/// Why a cell is quarantined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("a message of {bytes} bytes is longer than {SUMMARY_MAX_BYTES}")]
    TooLong { bytes: usize },
    #[error("a message cannot be read")]
    Unreadable,
    #[error("it speaks in the name of cell {named}")]
    OtherCell { named: CellNumber },
    #[error("it tells of more than {SUMMARY_CLUSTERS_MAX} clusters")]
    TooManyClusters,
    #[error("it names more than {GATEWAYS_MAX} gateways, or a load above {LOAD_MAX}")]
    OutOfBounds,
    #[error("it sends more than {SUMMARY_BURST_MAX} messages a second")]
    TooOften,
}

/// Whether to go by what a cell told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    Fresh,
    /// Nothing came for `SUMMARY_SILENCE_MAX_MS`: its numbers may be wrong, and the cell may be gone.
    Silent,
    Quarantined,
    /// Nothing that counts came for `SUMMARY_MEMORY_MS`: what it told is too old to go by.
    Forgotten,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BoardOutput {
    /// What is known of this cluster in that cell has changed.
    Changed { cell: CellNumber, cluster: ClusterName },
    /// The standing of all that the cell told has changed.
    Stands { cell: CellNumber, standing: Standing },
    /// For a person. Nothing that the cell sends is looked at until then.
    Quarantined { cell: CellNumber, why: Fault, until: Time },
    /// More cells than may be listened to.
    TooManyCells { cell: CellNumber },
}

#[derive(Debug, Clone)]
struct Remote {
    clusters: BTreeMap<ClusterName, ClusterSummary>,
    heard_at: Time,
    standing: Standing,
    quarantined_until: Time,
    /// Messages since `counted_since`.
    count: u32,
    counted_since: Time,
}

#[derive(Debug, Clone, Default)]
pub struct Board {
    cells: BTreeMap<CellNumber, Remote>,
}

impl Board {
    /// What each other cell told of a cluster, and whether to go by it.
    pub fn places<'a>(
        &'a self,
        cluster: &'a ClusterName,
    ) -> impl Iterator<Item = (CellNumber, Standing, &'a ClusterSummary)> {
        self.cells.iter().filter_map(|(cell, remote)| {
            remote.clusters.get(cluster).map(|summary| (*cell, remote.standing, summary))
        })
    }

    /// Cells that were ever heard, and whether to go by what they told.
    pub fn standings(&self) -> impl Iterator<Item = (CellNumber, Standing)> {
        self.cells.iter().map(|(cell, remote)| (*cell, remote.standing))
    }

    fn receive(
        &mut self,
        now: Time,
        from: CellNumber,
        bytes: usize,
        summary: Option<CellSummary>,
    ) -> Vec<BoardOutput> {
        if !self.cells.contains_key(&from) && self.cells.len() == CELLS_MAX {
            return vec![BoardOutput::TooManyCells { cell: from }];
        }
        let remote = self.cells.entry(from).or_insert_with(|| Remote {
            clusters: BTreeMap::new(),
            heard_at: now,
            standing: Standing::Silent,
            quarantined_until: Time(0),
            count: 0,
            counted_since: now,
        });
        if now < remote.quarantined_until {
            return Vec::new();
        }
        match remote.examine(now, from, bytes, summary) {
            Ok(summary) => remote.take(now, from, summary),
            Err(why) => {
                let until = now + SUMMARY_QUARANTINE_MS;
                remote.quarantined_until = until;
                remote.standing = Standing::Quarantined;
                let standing = BoardOutput::Stands { cell: from, standing: Standing::Quarantined };
                vec![BoardOutput::Quarantined { cell: from, why, until }, standing]
            }
        }
    }

    fn tick(&mut self, now: Time) -> Vec<BoardOutput> {
        let mut outputs = Vec::new();
        for (cell, remote) in &mut self.cells {
            if remote.wake_at().is_some_and(|wake_at| now >= wake_at) {
                let is_forgotten = now >= remote.heard_at + SUMMARY_MEMORY_MS;
                remote.standing = if is_forgotten { Standing::Forgotten } else { Standing::Silent };
                outputs.push(BoardOutput::Stands { cell: *cell, standing: remote.standing });
            }
        }
        outputs
    }
}

impl Remote {
    /// The message, if it is one that a sound cell would send.
    fn examine(
        &mut self,
        now: Time,
        from: CellNumber,
        bytes: usize,
        summary: Option<CellSummary>,
    ) -> Result<CellSummary, Fault> {
        if now.since_ms(self.counted_since) >= SUMMARY_INTERVAL_MIN_MS {
            (self.count, self.counted_since) = (0, now);
        }
        self.count += 1;
        if self.count > SUMMARY_BURST_MAX {
            return Err(Fault::TooOften);
        }
        if bytes > SUMMARY_MAX_BYTES {
            return Err(Fault::TooLong { bytes });
        }
        let summary = summary.ok_or(Fault::Unreadable)?;
        if summary.cell != from {
            return Err(Fault::OtherCell { named: summary.cell });
        }
        let news = summary.clusters.iter().filter(|news| !self.clusters.contains_key(&news.cluster));
        let known = if summary.is_whole { 0 } else { self.clusters.len() };
        if known + news.count() > SUMMARY_CLUSTERS_MAX || summary.clusters.len() > SUMMARY_CLUSTERS_MAX {
            return Err(Fault::TooManyClusters);
        }
        let is_bounded = |news: &ClusterSummary| news.gateways.len() <= GATEWAYS_MAX && news.load <= LOAD_MAX;
        if !summary.clusters.iter().all(is_bounded) {
            return Err(Fault::OutOfBounds);
        }
        Ok(summary)
    }

    fn take(&mut self, now: Time, from: CellNumber, summary: CellSummary) -> Vec<BoardOutput> {
        let mut outputs = Vec::new();
        self.heard_at = now;
        if self.standing != Standing::Fresh {
            self.standing = Standing::Fresh;
            outputs.push(BoardOutput::Stands { cell: from, standing: Standing::Fresh });
        }
        let told: Vec<&ClusterName> = summary.clusters.iter().map(|news| &news.cluster).collect();
        let is_left = |cluster: &&ClusterName| {
            summary.gone.contains(cluster) || summary.is_whole && !told.contains(cluster)
        };
        let left: Vec<ClusterName> = self.clusters.keys().filter(is_left).cloned().collect();
        for cluster in left {
            self.clusters.remove(&cluster);
            outputs.push(BoardOutput::Changed { cell: from, cluster });
        }
        for news in summary.clusters {
            let known = self.clusters.get(&news.cluster);
            // Never backwards: an older stream of the same cell may still have had something to say.
            if known.is_none_or(|known| known.epoch <= news.epoch && *known != news) {
                outputs.push(BoardOutput::Changed { cell: from, cluster: news.cluster.clone() });
                self.clusters.insert(news.cluster.clone(), news);
            }
        }
        outputs
    }

    fn wake_at(&self) -> Option<Time> {
        match self.standing {
            Standing::Fresh => Some(self.heard_at + SUMMARY_SILENCE_MAX_MS),
            Standing::Quarantined => Some(self.quarantined_until),
            Standing::Silent => Some(self.heard_at + SUMMARY_MEMORY_MS),
            Standing::Forgotten => None,
        }
    }
}

impl Machine for Board {
    type Input = BoardInput;
    type Output = BoardOutput;

    fn step(&mut self, now: Time, input: BoardInput) -> Vec<BoardOutput> {
        let mut outputs = self.tick(now);
        match input {
            BoardInput::Tick => {}
            BoardInput::Received { from, bytes, summary } => {
                outputs.extend(self.receive(now, from, bytes, summary));
            }
            BoardInput::Forget { cell } => {
                let clusters = self.cells.remove(&cell).map(|remote| remote.clusters).unwrap_or_default();
                let changed = |cluster| BoardOutput::Changed { cell, cluster };
                outputs.extend(clusters.into_keys().map(changed));
            }
        }
        outputs
    }

    fn tick() -> BoardInput {
        BoardInput::Tick
    }

    fn wake_at(&self) -> Option<Time> {
        self.cells.values().filter_map(Remote::wake_at).min()
    }

    fn check(&self) {
        assert!(self.cells.len() <= CELLS_MAX, "{} cells", self.cells.len());
        for (cell, remote) in &self.cells {
            let count = remote.clusters.len();
            assert!(count <= SUMMARY_CLUSTERS_MAX, "cell {cell} tells of {count} clusters");
        }
    }
}

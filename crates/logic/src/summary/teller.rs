//! A cell's side: what it tells all other cells.

use super::step;
use crate::limits::{SUMMARY_INTERVAL_MIN_MS, SUMMARY_KEEP_ALIVE_MS};
use crate::machine::Machine;
use crate::time::Time;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use wire::id::{CellNumber, ClusterName, Epoch};
use wire::summary::{CellSummary, ClusterSummary, GATEWAYS_MAX, SUMMARY_CLUSTERS_MAX};

/// What a cell knows of one of its clusters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    pub epoch: Epoch,
    /// Members that take requests.
    pub ready: u32,
    /// Sum of their weights.
    pub weight: u64,
    /// Of what they can do, so much is in use.
    pub load_percent: u32,
    pub is_draining: bool,
    /// The best first; those beyond `GATEWAYS_MAX` are not told.
    pub gateways: Vec<SocketAddr>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TellerInput {
    Tick,
    /// The present truth about one cluster; also one that is new.
    Cluster {
        cluster: ClusterName,
        facts: Facts,
    },
    Gone {
        cluster: ClusterName,
    },
    /// Another cell has connected: it is told everything.
    Joined {
        cell: CellNumber,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TellerOutput {
    /// To all cells that are connected; without news it says that this cell is there.
    TellAll(CellSummary),
    Tell {
        to: CellNumber,
        summary: CellSummary,
    },
    /// More clusters than may be told of; said once, until there are fewer.
    TooMany {
        cluster: ClusterName,
    },
}

#[derive(Debug, Clone)]
pub struct Teller {
    me: CellNumber,
    facts: BTreeMap<ClusterName, Facts>,
    told: BTreeMap<ClusterName, ClusterSummary>,
    /// Clusters that may be news.
    touched: BTreeSet<ClusterName>,
    gone: BTreeSet<ClusterName>,
    told_at: Option<Time>,
    /// Some cluster differs from what was told.
    is_news: bool,
    has_said_too_many: bool,
    now: Time,
}

impl Teller {
    pub fn new(me: CellNumber, now: Time) -> Self {
        Self {
            me,
            facts: BTreeMap::new(),
            told: BTreeMap::new(),
            touched: BTreeSet::new(),
            gone: BTreeSet::new(),
            told_at: None,
            is_news: false,
            has_said_too_many: false,
            now,
        }
    }

    /// What would be told of a cluster, given what was.
    fn summary(cluster: &ClusterName, facts: &Facts, told: Option<&ClusterSummary>) -> ClusterSummary {
        let ready = step::coarse(u64::from(facts.ready), told.map(|told| u64::from(told.ready)));
        let weight = step::coarse(facts.weight, told.map(|told| u64::from(told.weight)));
        ClusterSummary {
            cluster: cluster.clone(),
            epoch: facts.epoch,
            ready: u32::try_from(ready).unwrap_or(u32::MAX),
            weight: u32::try_from(weight).unwrap_or(u32::MAX),
            load: step::load(facts.load_percent, told.map(|told| told.load)),
            is_draining: facts.is_draining,
            gateways: facts.gateways.iter().take(GATEWAYS_MAX).copied().collect(),
        }
    }

    /// Whether that is worth a message: an epoch alone is not.
    fn is_news(told: Option<&ClusterSummary>, summary: &ClusterSummary) -> bool {
        told.is_none_or(|told| {
            let ClusterSummary { cluster: _, epoch: _, ready, weight, load, is_draining, gateways } = told;
            *ready != summary.ready
                || *weight != summary.weight
                || *load != summary.load
                || *is_draining != summary.is_draining
                || *gateways != summary.gateways
        })
    }

    fn on_cluster(&mut self, cluster: ClusterName, facts: Facts) -> Option<TellerOutput> {
        if !self.facts.contains_key(&cluster) && self.facts.len() == SUMMARY_CLUSTERS_MAX {
            let is_first = !std::mem::replace(&mut self.has_said_too_many, true);
            return is_first.then_some(TellerOutput::TooMany { cluster });
        }
        let told = self.told.get(&cluster);
        if Self::is_news(told, &Self::summary(&cluster, &facts, told)) {
            self.touched.insert(cluster.clone());
        } else {
            // It went and came back before anybody was told.
            self.touched.remove(&cluster);
        }
        self.gone.remove(&cluster);
        self.facts.insert(cluster, facts);
        None
    }

    fn on_gone(&mut self, cluster: ClusterName) {
        self.facts.remove(&cluster);
        self.touched.remove(&cluster);
        self.has_said_too_many = false;
        if self.told.remove(&cluster).is_some() {
            self.gone.insert(cluster);
        }
    }

    fn whole(&self) -> CellSummary {
        // What is not there is taken for gone, so what the others will only be told in a moment is.
        let is_untold = |(cluster, _): &(&ClusterName, &Facts)| !self.told.contains_key(*cluster);
        let untold = self.facts.iter().filter(is_untold);
        let untold = untold.map(|(cluster, facts)| Self::summary(cluster, facts, None));
        let clusters = self.told.values().cloned().chain(untold).collect();
        CellSummary { cell: self.me, is_whole: true, clusters, gone: Vec::new() }
    }

    fn due_at(&self) -> Time {
        let Some(told_at) = self.told_at else { return self.now };
        let pause_ms = if self.is_news { SUMMARY_INTERVAL_MIN_MS } else { SUMMARY_KEEP_ALIVE_MS };
        told_at + pause_ms
    }

    fn tell(&mut self, now: Time) -> TellerOutput {
        let mut clusters = Vec::new();
        for cluster in std::mem::take(&mut self.touched) {
            let told = self.told.get(&cluster);
            let summary = Self::summary(&cluster, &self.facts[&cluster], told);
            self.told.insert(cluster, summary.clone());
            clusters.push(summary);
        }
        let gone = std::mem::take(&mut self.gone).into_iter().collect();
        self.told_at = Some(now);
        TellerOutput::TellAll(CellSummary { cell: self.me, is_whole: false, clusters, gone })
    }
}

impl Machine for Teller {
    type Input = TellerInput;
    type Output = TellerOutput;

    fn step(&mut self, now: Time, input: TellerInput) -> Vec<TellerOutput> {
        self.now = now;
        let mut outputs = Vec::new();
        match input {
            TellerInput::Tick => {}
            TellerInput::Cluster { cluster, facts } => outputs.extend(self.on_cluster(cluster, facts)),
            TellerInput::Gone { cluster } => self.on_gone(cluster),
            TellerInput::Joined { cell } => {
                outputs.push(TellerOutput::Tell { to: cell, summary: self.whole() });
            }
        }
        self.is_news = !self.touched.is_empty() || !self.gone.is_empty();
        if now >= self.due_at() {
            outputs.push(self.tell(now));
            self.is_news = false;
        }
        outputs
    }

    fn tick() -> TellerInput {
        TellerInput::Tick
    }

    fn wake_at(&self) -> Option<Time> {
        Some(self.due_at())
    }

    fn check(&self) {
        assert!(self.facts.len() <= SUMMARY_CLUSTERS_MAX, "{} clusters", self.facts.len());
        assert!(
            self.told.keys().all(|cluster| self.facts.contains_key(cluster)),
            "a cluster is told of for ever"
        );
        assert!(self.touched.iter().all(|cluster| self.facts.contains_key(cluster)), "news of nothing");
        assert!(self.gone.iter().all(|cluster| !self.told.contains_key(cluster)), "gone and told of");
    }
}

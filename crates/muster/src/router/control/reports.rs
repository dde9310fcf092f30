//! What the control thread reports: everything, or of very many members only what the manager waits for.
//!
//! Promise: the first report on each connection is whole, and so is the next one when something has changed that stands only
//! in whole ones. Not here: what the threads counted (see `report`).

use super::{Control, DataThread};
use crate::router::plugin_cfg_output::PluginCfgOutputs;
use crate::router::report::ThreadReport;
use std::sync::Arc;
use tokio::time::Instant;
use wire::link::ToManager;

impl Control {
    pub(super) fn report(&mut self) {
        let began = std::time::Instant::now();
        let is_brief =
            self.link.is_some() && !self.pace.wants_whole(began) && !self.handover.has_predecessor();
        let is_taken = if is_brief { self.report_progress() } else { self.report_all(began) };
        if !is_taken {
            // Who does not read gets the next report; nothing is lost, because that one is whole.
            self.pace.begin_anew();
            tracing::debug!("a report was not taken");
        }
        self.pace.made(began);
        self.report_after = Instant::now() + self.pace.pause();
    }

    fn thread_reports(&self) -> Vec<Arc<ThreadReport>> {
        let latest =
            |thread: &DataThread| thread.slot.latest.lock().expect("nobody panics while holding it").clone();
        self.threads.iter().chain(&self.retired).map(latest).collect()
    }

    /// Only what the manager waits for: of very many members a whole report is too much at each change.
    fn report_progress(&mut self) -> bool {
        let threads = self.thread_reports();
        let now = self.clock.now();
        let progress = self.summary.progress(&self.router, &threads, self.views.all(), now);
        let Some(link) = &self.link else { return true };
        link.to_manager.try_send(ToManager::Progress(progress)).is_ok()
    }

    fn report_all(&mut self, began: std::time::Instant) -> bool {
        let threads = self.thread_reports();
        let listeners = self.state.settings.iter().flat_map(|settings| &settings.listeners);
        let listening = listeners
            .filter_map(|listener| self.listening.get(&listener.address))
            .map(|held| held.got)
            .collect();
        let now = self.clock.now();
        let mut problems = self.problems.clone();
        problems.extend(self.vault.problems());
        problems.extend(self.plugin_cfg.as_ref().and_then(PluginCfgOutputs::problem));
        let mut report = self.summary.of(&self.router, &threads, listening, problems, now);
        report.takes_changes = !self.needs_whole_views;
        self.handover.add_predecessor(&mut report, now);
        self.pace.made_whole(began, report.clusters.iter().map(|cluster| cluster.members.len()).sum());
        match (&self.link, &self.handover.successor) {
            (Some(link), _) => link.to_manager.try_send(ToManager::Router(report)).is_ok(),
            (None, Some(successor)) => successor.try_send(report).is_ok(),
            (None, None) => true,
        }
    }
}

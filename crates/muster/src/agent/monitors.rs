//! Carries out this node's monitors: makes the probes that `logic::monitor::set` wants, and tells the manager.
//!
//! Promise: each probe ends within its time-out, whatever is asked.

mod machine;
mod probe;

use crate::clock::Clock;
use crate::driver::{INBOX_MAX, drive};
use logic::monitor::Answer;
use logic::monitor::set::{Input, Monitors, Output};
use logic::recovery::{Activity, Verdict};
use std::cell::Cell;
use std::ops::ControlFlow;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use wire::id::NodeName;
use wire::link::ToManager;
use wire::monitor::MonitorAssignment;

/// The way to the manager, while one is connected.
#[derive(Debug, Clone)]
pub struct Way {
    pub to_manager: mpsc::Sender<ToManager>,
    pub is_connected: Rc<Cell<bool>>,
}

impl Way {
    /// Whole reports and single alerts: what is left out because the manager does not read is said anew, or is in syslog.
    pub fn say(&self, message: ToManager) {
        if self.is_connected.get() && self.to_manager.try_send(message).is_err() {
            tracing::debug!("a report of monitors was left out: the manager does not read");
        }
    }
}

/// How the rest of the agent reaches its monitors.
#[derive(Debug)]
pub struct MonitorsHandle(mpsc::Sender<Input>);

impl MonitorsHandle {
    /// Only fails when the agent ends, as the next.
    pub async fn assign(&self, generation: u64, monitors: Vec<MonitorAssignment>) {
        let _ = self.0.send(Input::Assign { generation, monitors }).await;
    }

    pub async fn connected(&self) {
        let _ = self.0.send(Input::Connected).await;
    }
}

/// How monitors and groups of a node hear of each other: only the newest counts, so that neither waits for the other.
#[derive(Debug)]
pub struct GroupsSide {
    pub activity: watch::Receiver<Activity>,
    pub verdicts: watch::Sender<Vec<Verdict>>,
}

/// Must be called within a `LocalSet`; ends with `tasks`.
pub fn start(
    tasks: &mut JoinSet<()>,
    clock: Clock,
    node: NodeName,
    incarnation: u64,
    way: Way,
    groups: GroupsSide,
) -> MonitorsHandle {
    let (inputs, inbox) = mpsc::channel(INBOX_MAX);
    let machine = Monitors::new(clock.now(), node.clone(), incarnation);
    let GroupsSide { mut activity, verdicts } = groups;
    let mut shell = Shell {
        node,
        inputs: inputs.downgrade(),
        probes: JoinSet::new(),
        means: Rc::default(),
        way,
        verdicts,
    };
    let to_monitors = inputs.downgrade();
    tasks.spawn_local(async move {
        while activity.changed().await.is_ok() {
            let newest = activity.borrow_and_update().clone();
            let Some(inputs) = to_monitors.upgrade() else { return };
            let _ = inputs.send(Input::Activity(newest)).await;
        }
    });
    tasks.spawn_local(async move {
        drive(machine, clock, inbox, |_, output| shell.carry_out(output)).await;
    });
    MonitorsHandle(inputs)
}

struct Shell {
    node: NodeName,
    /// Weak: the machine ends with the agent that feeds it.
    inputs: mpsc::WeakSender<Input>,
    /// At most one for each monitor, and one more that nobody waits for any longer until its time-out.
    probes: JoinSet<()>,
    means: Rc<probe::Means>,
    way: Way,
    verdicts: watch::Sender<Vec<Verdict>>,
}

impl Shell {
    fn carry_out(&mut self, output: Output) -> ControlFlow<()> {
        while self.probes.try_join_next().is_some() {}
        match output {
            Output::Probe { name, probe } => {
                let (inputs, means) = (self.inputs.clone(), self.means.clone());
                self.probes.spawn_local(async move {
                    let limit = Duration::from_millis(probe.timeout_ms);
                    let interval = Duration::from_millis(probe.interval_ms);
                    let asked = probe::ask(&means, &name, &probe.check, interval, limit);
                    let answer = tokio::time::timeout(limit, asked).await.unwrap_or(Answer::Silent);
                    if let Some(inputs) = inputs.upgrade() {
                        let _ = inputs.send(Input::Probed { name, probe: probe.number, answer }).await;
                    }
                });
            }
            Output::Report(report) => self.way.say(ToManager::Monitors(report)),
            Output::Verdicts(verdicts) => drop(self.verdicts.send_replace(verdicts)),
            Output::Refused { generation, newest } => {
                tracing::warn!(
                    node = %self.node, generation, newest,
                    "refused monitors of a manager that is older than one obeyed before"
                );
            }
        }
        ControlFlow::Continue(())
    }
}

//! The shell of one node's groups: carries out what `logic::group::Resident` says, with a guardian for each that runs.
//!
//! Promise: nothing is begun before no guardian of an agent before this one holds anything (see `wait_for_guardians`); a group of
//! which one has left something is begun only once that is gone. The machine's
//! time is that of leases, which counts while the machine sleeps. Files: `<state_dir>/agent/groups/NAME.lock`.

mod guard;
mod service;

use super::board::Board;
use super::guardian::record::{self, Left};
use super::monitors::GroupsSide;
use super::orphans::Children;
use super::warden::Warden;
use crate::clock::BootClock;
use crate::driver::INBOX_MAX;
use guard::{Command, Undone};
use logic::group::{RUN_OF_BEFORE, Resident, ResidentInput as Input, ResidentOutput as Output};
use logic::lease::Span;
use logic::machine::Machine;
use logic::recovery::{Activity, Verdict};
use logic::time::Time;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use wire::group::GroupsReport;
use wire::id::{GroupName, NodeName};
use wire::link::ToManager;
use wire::node::PowerAct;

/// Commands that may wait for one guardian. 16: the steps of a group come one after the other, and its end is the last.
const COMMANDS_MAX: usize = 16;
/// How often it is tried to tell the manager something that it must hear.
const TELL_AGAIN: Duration = Duration::from_secs(1);
/// How long the end waits for guardians to clear up.
const END_WAIT: Duration = Duration::from_secs(4);

/// What all groups of a node share.
pub struct Surroundings {
    pub node: NodeName,
    /// Higher than that of the agent's last start.
    pub incarnation: u64,
    pub clock: BootClock,
    pub children: Rc<Children>,
    /// Upper control group, where this machine has them.
    pub cgroup: Option<PathBuf>,
    pub log_directory: PathBuf,
    /// `<state_dir>/agent/groups`
    pub directory: PathBuf,
    pub inputs: mpsc::Sender<Input>,
    pub to_manager: mpsc::Sender<ToManager>,
    pub is_connected: Rc<Cell<bool>>,
}

impl Surroundings {
    /// A person was told that the machine would be rebooted or shut down: who leads hears that it is not, once there is a link.
    async fn tell_power_failed(&self, act: PowerAct, why: String) {
        let message = ToManager::PowerFailed { act, why };
        while !self.is_connected.get() || self.to_manager.try_send(message.clone()).is_err() {
            tokio::time::sleep(TELL_AGAIN).await;
        }
    }
}

/// What groups go by beside their inbox, and say to monitors; only the newest counts.
#[derive(Debug)]
pub struct Seen {
    /// Until when the node may do what only one node may.
    lease: watch::Receiver<Option<Time>>,
    verdicts: watch::Receiver<Vec<Verdict>>,
    /// What is online here, for the monitors.
    activity: watch::Sender<Activity>,
}

/// How groups and monitors of a node hear of each other.
pub fn beside_monitors(lease: watch::Receiver<Option<Time>>) -> (Seen, GroupsSide) {
    let (activity, activity_seen) = watch::channel(Activity::default());
    let (to_groups, verdicts) = watch::channel(Vec::new());
    (Seen { lease, verdicts, activity }, GroupsSide { activity: activity_seen, verdicts: to_groups })
}

/// The inbox of the groups of a node.
pub fn inbox() -> (mpsc::Sender<Input>, mpsc::Receiver<Input>) {
    mpsc::channel(INBOX_MAX)
}

/// Runs the node's groups until it was told to stop, or they want to, and nothing of them is left that can be given back.
pub async fn live(
    around: Surroundings,
    mut inbox: mpsc::Receiver<Input>,
    seen: Seen,
    mut stop: watch::Receiver<bool>,
) {
    let Seen { mut lease, mut verdicts, activity } = seen;
    // Only waits; a handle that was dropped means stop too.
    let found = tokio::select! {
        found = wait_for_guardians(&around.directory) => found,
        _ = stop.wait_for(|stop| *stop) => return,
    };
    let found = match found {
        Ok(found) => found,
        Err(error) => {
            // Nothing is reported, so nobody believes that this node has stopped anything.
            let path = around.directory.display();
            tracing::error!(%path, %error, "no groups are run here: what an earlier agent left cannot be waited for");
            return;
        }
    };
    let clock = around.clock;
    let mut machine = Resident::new(clock.now(), around.node.clone(), around.incarnation);
    let mut shell = match Shell::new(around, activity) {
        Ok(shell) => shell,
        Err(error) => {
            tracing::error!(%error, "no groups are run here: guardians could not see the lease");
            return;
        }
    };
    for (group, left) in found {
        shell.clear_up(&group);
        let Left { epoch, resources, why } = left;
        let outputs = machine.step(clock.now(), Input::Found { group, epoch, resources, why });
        outputs.into_iter().for_each(|output| shell.carry_out(&machine, output));
    }
    loop {
        let due = machine.wake_at();
        // `recv` and `changed` lose nothing when another branch wins.
        let input = tokio::select! {
            biased;
            () = wait_until(&clock, due) => Input::Tick,
            Ok(()) = lease.changed() => Input::Lease { until: *lease.borrow_and_update() },
            Ok(()) = verdicts.changed() => Input::Verdicts(verdicts.borrow_and_update().clone()),
            input = inbox.recv() => match input {
                Some(input) => input,
                None => break,
            },
        };
        let outputs = machine.step(clock.now(), input);
        let is_finished = outputs.contains(&Output::Finished);
        outputs.into_iter().for_each(|output| shell.carry_out(&machine, output));
        shell.retain(&machine);
        if is_finished {
            break;
        }
    }
    let service = shell.service.take();
    shell.end().await;
    if let Some(service) = service {
        service.end().await;
    }
}

async fn wait_until(clock: &BootClock, due: Option<Time>) {
    match due {
        Some(due) => tokio::time::sleep_until(clock.instant(due)).await,
        None => std::future::pending().await,
    }
}

/// Until no guardian of an agent that was killed holds anything, for a bounded time. What one has left that was killed too is
/// taken away; says what of which group cannot be, and who holds on: only such groups are kept from beginning.
async fn wait_for_guardians(directory: &Path) -> io::Result<BTreeMap<GroupName, Left>> {
    std::fs::create_dir_all(directory)?;
    let mut undoing = JoinSet::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        let Some(group) = path.file_stem().and_then(OsStr::to_str).map(GroupName::from) else { continue };
        undoing.spawn_local(async move { (group, guard::undo(move || record::lock(&path)).await) });
    }
    let mut found = BTreeMap::new();
    while let Some(undone) = undoing.join_next().await {
        let (group, left) = match undone.map_err(io::Error::other)? {
            (_, Undone::Nothing) => continue,
            (group, Undone::Left(left)) => (group, left),
            // The guardian itself, or what it held.
            (group, Undone::Hangs(_)) => (group, Left::unknown("it hangs in the kernel".to_owned())),
        };
        found.insert(group, left);
    }
    Ok(found)
}

/// The way to the guardian of a group.
struct Guarded {
    run: u64,
    /// The span of the lease that it holds by; only the newest counts.
    span: watch::Sender<Option<u64>>,
    commands: mpsc::Sender<Command>,
}

struct Shell {
    around: Rc<Surroundings>,
    warden: Rc<Warden>,
    board: Rc<Board>,
    /// Of the lease.
    renewals: watch::Sender<()>,
    guardians: BTreeMap<GroupName, Guarded>,
    tasks: JoinSet<()>,
    activity: watch::Sender<Activity>,
    /// A final action: all that runs here is to end.
    service: Option<service::Ending>,
}

impl Shell {
    fn new(around: Surroundings, activity: watch::Sender<Activity>) -> io::Result<Self> {
        let board = Rc::new(Board::new()?);
        Ok(Self {
            warden: Rc::new(Warden::start(around.children.clone(), board.clone())),
            board,
            renewals: watch::Sender::new(()),
            around: Rc::new(around),
            guardians: BTreeMap::new(),
            tasks: JoinSet::new(),
            activity,
            service: None,
        })
    }

    /// What an agent before this one has left of the group.
    fn clear_up(&mut self, group: &GroupName) {
        let (commands, received) = mpsc::channel(COMMANDS_MAX);
        self.tasks.spawn_local(guard::clear_up(self.around.clone(), group.clone(), received));
        let span = watch::Sender::new(None);
        self.guardians.insert(group.clone(), Guarded { run: RUN_OF_BEFORE, span, commands });
    }

    fn carry_out(&mut self, machine: &Resident, output: Output) {
        match output {
            Output::Guard { group, run, span } => self.guard(machine, group, run, span),
            Output::Lease(span) => self.tell_lease(span),
            Output::Do { group, run, step, action } => {
                self.order(&group, run, Command::Do { step, action });
            }
            Output::End { group, run } => self.order(&group, run, Command::End),
            Output::Report(report) => self.report(report),
            Output::Refused { generation, newest } => {
                tracing::warn!(
                    generation,
                    newest,
                    "refused groups of a manager that is older than one obeyed before"
                );
            }
            Output::Tell { group, is_warning: false, text } => tracing::info!(%group, "{text}"),
            Output::Tell { group, is_warning: true, text } => tracing::warn!(%group, "{text}"),
            Output::Activity(activity) => drop(self.activity.send_replace(activity)),
            Output::EndService { command, why } => self.service = Some(service::Ending { command, why }),
            Output::Power { act, command, who } => self.power(act, command, who),
            Output::PowerRefused { act, why } => {
                let around = self.around.clone();
                self.tasks.spawn_local(async move { around.tell_power_failed(act, why.to_owned()).await });
            }
            Output::Finished => {}
        }
    }

    /// What came of it is told to who leads, as soon as it can be; a machine that does not end is a node again either way.
    fn power(&mut self, act: PowerAct, command: Vec<String>, who: String) {
        let around = self.around.clone();
        self.tasks.spawn_local(async move {
            let Err(why) = service::power(act, &command, &who).await else { return };
            tracing::error!(why, "this machine is not {}, and its node goes on", act.done());
            // Only fails when the node ends all the same.
            drop(around.inputs.send(Input::PowerFailed).await);
            around.tell_power_failed(act, why).await;
        });
    }

    fn tell_lease(&self, span: Span) {
        let until = Time(self.around.clock.since_boot_ms(span.until));
        match self.board.write(Span { until, ..span }) {
            Ok(()) => self.renewals.send_replace(()),
            // They end when the time is over that they know of.
            Err(error) => tracing::error!(%error, "guardians cannot see that the lease was renewed"),
        }
    }

    /// Begins a guardian, or tells the one that is there by which span of the lease it holds.
    fn guard(&mut self, machine: &Resident, group: GroupName, run: u64, span: Option<u64>) {
        if let Some(guarded) = self.guardians.get(&group).filter(|guarded| guarded.run == run) {
            guarded.span.send_replace(span);
            return;
        }
        let (commands, received) = mpsc::channel(COMMANDS_MAX);
        let (span, newest) = watch::channel(span);
        let spans = guard::Spans { newest, renewals: self.renewals.subscribe() };
        let epoch = machine.running().find(|(name, _)| **name == group).map_or(0, |(_, epoch)| epoch);
        let companions = guard::Companions { warden: self.warden.clone(), board: self.board.clone() };
        let around = self.around.clone();
        let guarding = guard::look_after(around, companions, group.clone(), epoch, run, spans, received);
        self.tasks.spawn_local(guarding);
        self.guardians.insert(group, Guarded { run, span, commands });
    }

    fn order(&mut self, group: &GroupName, run: u64, command: Command) {
        let Some(guarded) = self.guardians.get(group).filter(|guarded| guarded.run == run) else { return };
        // Fails only for a guardian that is gone, whose end is on its way to the machine.
        if guarded.commands.try_send(command).is_err() {
            tracing::warn!(%group, "a command for the guardian of this group was lost");
        }
    }

    fn report(&self, report: GroupsReport) {
        // As reports of members: the next connection begins with a whole one.
        let Surroundings { is_connected, to_manager, .. } = &*self.around;
        if is_connected.get() && to_manager.try_send(ToManager::Groups(report)).is_err() {
            tracing::debug!("a report of groups was left out: the manager does not read");
        }
    }

    /// Forgets guardians of groups that nothing is left of.
    fn retain(&mut self, machine: &Resident) {
        while self.tasks.try_join_next().is_some() {}
        self.guardians.retain(|group, _| machine.running().any(|(name, _)| name == group));
    }

    async fn end(mut self) {
        self.guardians.clear();
        let all_gone = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(END_WAIT, all_gone).await.is_err() {
            tracing::warn!("some groups have not ended in time");
        }
        self.tasks.shutdown().await;
        self.warden.end().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::scratch::Scratch;

    /// It takes as long as a guardian may.
    #[tokio::test]
    async fn a_guardian_that_holds_on_keeps_its_own_group_from_beginning_and_no_other() {
        let directory = Scratch::new("wait-for-guardians");
        let held = record::lock(&directory.0.join("held.lock")).expect("nobody has it");
        drop(record::lock(&directory.0.join("free.lock")).expect("nobody has it"));
        std::fs::create_dir(directory.0.join("odd.lock")).expect("a directory can be made");
        let waiting = tokio::task::LocalSet::new();
        let found = waiting.run_until(wait_for_guardians(&directory.0)).await;
        let found = found.expect("the rest can be waited for");
        let names: Vec<&str> = found.keys().map(|name| name.0.as_str()).collect();
        assert_eq!(names, ["held", "odd"]);
        drop(held);
    }
}

//! A manager that is not one: answers every request from a status made up by the test, over the real handle.

use crate::manager::handle::{Leadership, ManagerHandle, REQUESTS_MAX, Request};
use std::sync::{Arc, Mutex};
use tokio::sync::{mpsc, watch};
use wire::agent::ProcessState;
use wire::enrol::IssuedToken;
use wire::fence::{FenceState, FenceStatus};
use wire::group_move::{GroupMove, MoveKind, MoveOutcome, MoveStage, Stage};
use wire::id::{Epoch, GroupName};
use wire::monitor::{Figure, MonitorState};
use wire::router::{Totals, TrafficCounts};
use wire::status::{
    Act, Applied, CellStatus, ClusterStatus, ConfigRevision, ConfigText, ErrorBody, Event, Explanation,
    MemberStatus, MonitorStatus, NodeStatus, PluginCfgText, RouteStatus, RouterStatus, Severity,
};
use wire::view::{Policy, RunState};

/// What the made-up manager knows and has been asked to do.
#[derive(Debug)]
pub struct World {
    pub status: CellStatus,
    pub events: Vec<Event>,
    /// One line for each act and each configuration that came.
    pub asked: Vec<String>,
}

/// The handle of the test: changes the world as if something had happened.
#[derive(Debug, Clone)]
pub struct FakeManager {
    pub world: Arc<Mutex<World>>,
    changed: Arc<watch::Sender<u64>>,
}

impl FakeManager {
    /// Starts the manager on a thread of its own; it ends when the last handle is gone.
    pub fn start(status: CellStatus, events: Vec<Event>) -> (Self, ManagerHandle) {
        let (requests, inbox) = mpsc::channel(REQUESTS_MAX);
        let (changed, receiver) = watch::channel(0);
        let world = Arc::new(Mutex::new(World { status, events, asked: Vec::new() }));
        let fake = Self { world, changed: Arc::new(changed) };
        let answering = fake.clone();
        std::thread::spawn(move || answering.answer(inbox));
        let (_, leadership) = watch::channel(Leadership::Here);
        (fake, ManagerHandle { leadership, requests, changed: receiver })
    }

    pub fn change(&self, change: impl FnOnce(&mut World)) {
        change(&mut self.world.lock().expect("no test panics while it holds the world"));
        self.changed.send_modify(|number| *number += 1);
    }

    fn answer(&self, mut inbox: mpsc::Receiver<Request>) {
        while let Some(request) = inbox.blocking_recv() {
            let acted = matches!(request, Request::Act { .. });
            self.answer_one(request);
            if acted {
                self.changed.send_modify(|number| *number += 1);
            }
        }
    }

    fn answer_one(&self, request: Request) {
        let mut world = self.world.lock().expect("no test panics while it holds the world");
        // A caller that did not wait for its answer is no concern of a manager's.
        match request {
            Request::Status { reply } => drop(reply.send(world.status.clone())),
            // Nobody hears of this world.
            Request::Facts { reply, .. } => drop(reply.send(Vec::new())),
            Request::Events { after: Some(after), most, reply } => {
                let events = world.events.iter().filter(|event| event.number > after).take(most);
                drop(reply.send(events.cloned().collect()));
            }
            Request::Events { after: None, most, reply } => {
                let skip = world.events.len().saturating_sub(most);
                drop(reply.send(world.events[skip..].to_vec()));
            }
            Request::Act { who, cluster, member, act, reply } => {
                let name = member.as_ref().map_or(String::new(), |member| format!("/{member}"));
                world.asked.push(format!("{act:?} {cluster}{name} {who}"));
                let known = world.status.clusters.iter_mut().find(|known| known.cluster == cluster);
                let Some(known) = known else {
                    let message = format!("There is no cluster `{cluster}`.");
                    let error = ErrorBody { code: "M2003".into(), message, retry: false };
                    return drop(reply.send(Err(error)));
                };
                for one in known.members.iter_mut() {
                    if member.as_ref().is_none_or(|member| *member == one.member) {
                        (one.state, one.reason) = act_on(act);
                    }
                }
                drop(reply.send(Ok(format!("{act:?} of {cluster}{name} has begun."))));
            }
            request @ (Request::ActGroup { .. }
            | Request::ActNode { .. }
            | Request::ConfirmLost { .. }
            | Request::Power { .. }) => {
                answer_of_groups(&mut world.asked, request);
            }
            Request::GroupMoves { group, reply } => drop(reply.send(Ok(vec![sample_move(group)]))),
            Request::ActMonitor { who, monitor, act, reply } => {
                world.asked.push(format!("{act:?} {monitor} {who}"));
                drop(reply.send(Ok(format!("{act:?} of {monitor} has begun."))));
            }
            Request::ActFence { wish, reply, .. } => drop(reply.send(Ok(format!("{wish:?} has begun.")))),
            request @ (Request::Apply { .. }
            | Request::Config { .. }
            | Request::OldConfig { .. }
            | Request::Rollback { .. }
            | Request::History { .. }) => answer_of_config(&mut world.asked, request),
            Request::NodeToken { node, valid_ms, reply } => drop(reply.send(Ok(token(node, valid_ms)))),
            Request::NodeRemove { reply, .. } => drop(reply.send(Ok("it is cut off".into()))),
            Request::Explain { url, cookie, reply } => {
                let why = vec![format!("The cookie is {cookie:?}.")];
                let explanation = Explanation {
                    url,
                    route: Some("*/".into()),
                    cluster: Some("shop".into()),
                    member: None,
                    level: Some(1),
                    candidates: vec!["shop-1".into()],
                    candidate_clusters: vec!["shop".into()],
                    why,
                };
                drop(reply.send(Ok(explanation)));
            }
            Request::PluginCfg { router, reply } => {
                let text = format!("<Config Router=\"{}\"/>", router.unwrap_or_default());
                drop(reply.send(Ok(PluginCfgText { text, notes: vec!["a note".into()] })));
            }
        }
    }
}

/// Acts of groups and nodes.
fn answer_of_groups(asked: &mut Vec<String>, request: Request) {
    let dry = |dry_run| if dry_run { " dry" } else { "" };
    match request {
        Request::ActGroup { who, group, act, dry_run, reply } => {
            asked.push(format!("{act:?} group {group} {who}{}", dry(dry_run)));
            drop(reply.send(Ok(format!("{} of {group} has begun.", act.verb().name()))));
        }
        Request::ActNode { who, node, act, dry_run, reply } => {
            asked.push(format!("{act:?} node {node} {who}{}", dry(dry_run)));
            drop(reply.send(Ok(format!("{} of {node} has begun.", act.name()))));
        }
        Request::ConfirmLost { reply, .. } => drop(reply.send(Ok("it counts as lost".into()))),
        Request::Power { wish, reply } => {
            let how = if wish.is_confirmed { " confirmed" } else { "" };
            let (act, node, who) = (wish.act, &wish.node, &wish.who);
            asked.push(format!("{act:?} node {node} {who}{}{how}", dry(wish.dry_run)));
            drop(reply.send(Ok(format!("{} of {node} has begun.", act.name()))));
        }
        other => panic!("{other:?} is no act of a group or node"),
    }
}

/// What is asked about configurations.
fn answer_of_config(asked: &mut Vec<String>, request: Request) {
    match request {
        Request::Apply { who, text, dry_run, back_to: _, only_after: _, reply } => {
            asked.push(format!("Apply {} bytes dry_run={dry_run} {who}", text.len()));
            let answer = if text.contains("wrong") {
                let message = "muster.toml:1: `wrong` is not a key here".into();
                Err(ErrorBody { code: "M1003".into(), message, retry: false })
            } else {
                Ok(Applied {
                    revision: 2,
                    changes: vec!["weight of shop/shop-1: 1 -> 2".into()],
                    replaced: Some(1),
                })
            };
            drop(reply.send(answer));
        }
        Request::Config { reply } => drop(reply.send((1, "[cell]\nname = \"test\"\n".into()))),
        Request::OldConfig { revision, reply } => {
            let text = format!("[cell]\nname = \"test {revision}\"\n");
            drop(reply.send(Ok(ConfigText { revision, text })));
        }
        Request::Rollback { who, revision, dry_run, reply } => {
            asked.push(format!("Rollback to {revision} dry_run={dry_run} {who}"));
            drop(reply.send(Ok(Applied { revision: 3, changes: Vec::new(), replaced: Some(2) })));
        }
        Request::History { reply } => {
            let first =
                ConfigRevision { revision: 1, at_ms: 5, who: "start".into(), changes: vec![], back_to: None };
            drop(reply.send(vec![first]));
        }
        other => panic!("{other:?} is not about configurations"),
    }
}

fn token(node: wire::id::NodeName, expires_ms: u64) -> IssuedToken {
    IssuedToken {
        node,
        token: "mj1".into(),
        manager: "10.0.0.1:29001".into(),
        expires_ms,
        others: 0,
        replaces: false,
    }
}

fn act_on(act: Act) -> (RunState, String) {
    match act {
        Act::Start => (RunState::Starting, "an operator asked for it".into()),
        Act::Stop => (RunState::Down, "stopped by an operator".into()),
        Act::Drain => (RunState::Draining, "drained by an operator".into()),
        Act::Restart => (RunState::Starting, "restarted by an operator".into()),
    }
}

/// A directory of a test's own, removed with all it holds.
#[derive(Debug)]
pub struct Directory(pub std::path::PathBuf);

impl Directory {
    pub fn new() -> Self {
        let name = super::token::new_secret().expect("this system has random numbers");
        let path = std::env::temp_dir().join(format!("muster-test-{name}"));
        std::fs::create_dir(&path).expect("a new name in a directory for such things");
        Self(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // What stays behind lies in the system's directory for temporary things.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A cell of one router and two members, one of which is down.
pub fn sample_status() -> CellStatus {
    let up = sample_member("shop-1", RunState::Up, "passes its probe: status 200");
    let mut down = sample_member("shop-2", RunState::Down, "exited with \"status\" 1\nand said \\o/");
    (down.requests_per_second, down.in_flight, down.address) = (0.0, 0, None);
    let totals = Totals { requests: 2_001, failed: 1, retried: 2, refused: 3, bytes_in: 4, bytes_out: 5 };
    CellStatus {
        cell: "test".into(),
        version: "1.2.3".into(),
        generation: 7,
        leader: None,
        managers: Vec::new(),
        other_cells: Vec::new(),
        stale_since_ms: None,
        config_revision: 3,
        groups: Vec::new(),
        fences: vec![FenceStatus {
            fence: "power".into(),
            node: "one".into(),
            state: FenceState::Ready,
            checked_ms: Some(1_700_000_000_000),
            reason: "the node is on".into(),
        }],
        now_ms: 1_700_000_100_000,
        nodes: vec![NodeStatus {
            node: "one".into(),
            connected: true,
            heard_by: Some("two".into()),
            lost_with_many: true,
            heard_ms: Some(1_700_000_099_900),
            ..NodeStatus::default()
        }],
        routers: vec![RouterStatus {
            problems: Vec::new(),
            routes: vec![sample_route()],
            router: "front".into(),
            node: "one".into(),
            connected: true,
            heard_ms: Some(1_700_000_099_500),
            listening: vec![([127, 0, 0, 1], 8080).into()],
            applied: Default::default(),
            connections: 64,
            requests_per_second: 120.5,
            totals,
        }],
        monitors: vec![sample_monitor()],
        clusters: vec![ClusterStatus {
            cluster: "shop".into(),
            epoch: Epoch { generation: 7, number: 2 },
            policy: Policy::RoundRobin,
            operation: None,
            setback: None,
            members: vec![up, down],
        }],
    }
}

pub fn sample_member(name: &str, state: RunState, reason: &str) -> MemberStatus {
    MemberStatus {
        member: name.into(),
        node: "one".into(),
        clone_id: name.into(),
        address: Some(([127, 0, 0, 1], 9001).into()),
        state,
        since_ms: 1_700_000_000_000,
        reason: reason.into(),
        weight: 2,
        process: Some(ProcessState::Running { pid: 42 }),
        restarts: 1,
        requests: 1_000,
        failed: 1,
        in_flight: 3,
        requests_per_second: 120.5,
        sessions: 17,
        latency_p50_us: 1_250,
        latency_p99_us: 20_000,
        counts: TrafficCounts::default(),
        ejection: None,
        drain_ends_ms: None,
    }
}

fn sample_monitor() -> MonitorStatus {
    MonitorStatus {
        monitor: "web".into(),
        node: "one".into(),
        kind: "nagios".into(),
        target: "check_web -H \"shop\"".into(),
        state: MonitorState::Warning,
        since_ms: 1_700_000_000_000,
        reason: "slow\u{1b}[31m".into(),
        took_ms: Some(850),
        interval_ms: 1_000,
        next_ms: None,
        probes: 20,
        failures: 3,
        drill_ends_ms: None,
        figures: vec![Figure { label: "size of \"x\"".into(), value: 512.0, unit: "B".into() }],
    }
}

fn sample_route() -> RouteStatus {
    let mut counts = TrafficCounts::default();
    counts.add_answer(200, 100, 1_000, 3_000);
    counts.add_answer(404, 100, 50, 20_000_000);
    RouteStatus {
        route: "*/".into(),
        host: "*".into(),
        path: "/".into(),
        levels: vec![vec!["shop".into()]],
        in_flight: 2,
        requests_per_second: 120.5,
        counts,
        ..RouteStatus::default()
    }
}

pub fn sample_move(group: GroupName) -> GroupMove {
    GroupMove {
        number: 3,
        group,
        kind: MoveKind::Failover,
        from: Some("one".into()),
        to: Some("two".into()),
        epoch: 4,
        reason: "node one is lost".into(),
        began_ms: 1_700_000_000_000,
        ended_ms: None,
        outcome: MoveOutcome::Going,
        stages: vec![MoveStage {
            stage: Stage::Confirmed,
            at_ms: 1_700_000_000_600,
            node: Some("one".into()),
            resource: None,
            text: "its heartbeats do not come".into(),
        }],
        left_out: 0,
    }
}

pub fn sample_event(number: u64, text: &str) -> Event {
    Event {
        number,
        at_ms: 1_700_000_000_000 + number,
        severity: Severity::Info,
        kind: "member-up".into(),
        cluster: Some("shop".into()),
        member: None,
        node: None,
        id: None,
        text: text.into(),
    }
}

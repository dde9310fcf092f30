//! A manager that is not one: answers every request from a status made up by the test, over the real handle.

use crate::manager::handle::{ManagerHandle, REQUESTS_MAX, Request};
use std::sync::{Arc, Mutex};
use tokio::sync::{mpsc, watch};
use wire::status::{Act, Applied, CellStatus, ConfigRevision, ErrorBody, Event, Explanation};
use wire::view::RunState;

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
        (fake, ManagerHandle { requests, changed: receiver })
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
                    let error = ErrorBody { code: "M3001".into(), message, retry: false };
                    return drop(reply.send(Err(error)));
                };
                for one in known.members.iter_mut() {
                    if member.as_ref().is_none_or(|member| *member == one.member) {
                        (one.state, one.reason) = act_on(act);
                    }
                }
                drop(reply.send(Ok(format!("{act:?} of {cluster}{name} has begun."))));
            }
            Request::Apply { who, text, dry_run, reply } => {
                world.asked.push(format!("Apply {} bytes dry_run={dry_run} {who}", text.len()));
                let answer = if text.contains("wrong") {
                    let message = "muster.toml:1: `wrong` is not a key here".into();
                    Err(ErrorBody { code: "M1003".into(), message, retry: false })
                } else {
                    Ok(Applied { revision: 2, changes: vec!["weight of shop/shop-1: 1 -> 2".into()] })
                };
                drop(reply.send(answer));
            }
            Request::Config { reply } => drop(reply.send((1, "[cell]\nname = \"test\"\n".into()))),
            Request::History { reply } => {
                let first = ConfigRevision { revision: 1, at_ms: 5, who: "start".into(), changes: vec![] };
                drop(reply.send(vec![first]));
            }
            Request::Explain { url, cookie, reply } => {
                let why = vec![format!("The cookie is {cookie:?}.")];
                let explanation = Explanation {
                    url,
                    route: Some("*/".into()),
                    cluster: Some("shop".into()),
                    member: None,
                    candidates: vec!["shop-1".into()],
                    why,
                };
                drop(reply.send(Ok(explanation)));
            }
        }
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

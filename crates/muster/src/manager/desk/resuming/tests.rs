//! Routers that come back: what they are sent, in bytes and in turn, and that they end up with what there is.

use super::super::{Config, Groups, Input, Outlet, Peer, Suspects};
use super::*;
use logic::cell::{self, Cell};
use logic::group::Planner;
use logic::machine::Machine;
use logic::resume::known;
use std::fmt::Write as _;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};
use wire::agent::{MemberReport, ProbeState, ProcessState, Report};
use wire::id::MemberId;
use wire::link::{CellSecrets, Role, ToManager};
use wire::router::{RouterReport, Totals};

const MEMBERS: usize = 100;

/// A manager with so many routers, and the routers as they apply what they are sent.
struct Stage {
    desk: Desk,
    now: Time,
    routers: Vec<Router>,
    sequence: u64,
    agent: u64,
    _outboxes: Vec<mpsc::Receiver<FromManager>>,
}

#[derive(Default)]
struct Router {
    number: u64,
    views: BTreeMap<ClusterName, View>,
    settings: Option<RouterSettings>,
    bytes: usize,
    whole: usize,
}

fn settings_text(routers: usize, members: usize) -> String {
    let mut text = "[cell]\nstate_dir = \"/nonexistent\"\n".to_owned();
    for router in 0..routers {
        write!(
            text,
            "[routers.r{router}]\nlisten = [\"127.0.0.1:0\"]\n[[routers.r{router}.routes]]\ncluster = \"shop\"\n"
        )
        .expect("a String takes any text");
    }
    for member in 0..members {
        writeln!(text, "[clusters.shop.members.m{member}]\naddress = \"127.0.0.1:{}\"", 1_000 + member)
            .expect("a String takes any text");
    }
    text
}

fn place(router: usize) -> Place {
    Place::Router(format!("r{router}").as_str().into())
}

impl Stage {
    /// A manager that knows all members to be up; `routers` keep what they have.
    fn new(generation: u64, routers: Vec<Router>) -> Self {
        let text = settings_text(routers.len(), MEMBERS);
        let settings = crate::config::parse(&text, "test").unwrap_or_else(|problems| panic!("{problems}"));
        let config = Config { revision: 1, text, settings: settings.clone() };
        let machines = (Cell::new(generation, []), Groups::new(Planner::new(Time(0), generation, 1_550, [])));
        let (secrets, suspects) = (CellSecrets::default(), Suspects::default());
        let desk = Desk::new(machines, config, "local".into(), secrets, None, suspects);
        let mut stage = Self { desk, now: Time(0), routers, sequence: 0, agent: 0, _outboxes: Vec::new() };
        stage.step(Input::Cell(cell::Input::Configure(Box::new(settings))));
        stage.agent = stage.join(Role::Agent { node: "local".into() }, false);
        stage
    }

    fn step(&mut self, input: Input) -> Option<u64> {
        let mut admitted = None;
        for output in self.desk.step(self.now, input) {
            match output {
                Output::Admit { result, .. } => admitted = result.ok(),
                Output::Send { to: To::One(Place::Router(name)), message } => self.deliver(&name, &message),
                Output::Send { to: To::These(places), message } => {
                    for place in places {
                        let Place::Router(name) = place else { panic!("{message:?} to an agent") };
                        self.deliver(&name, &message);
                    }
                }
                _ => {}
            }
        }
        // A look at everything after each of thousands of steps would take most of the time.
        if self.routers.len() < 10 {
            self.desk.check();
        }
        admitted
    }

    /// As a router takes it; what does not fit fails the test.
    fn deliver(&mut self, name: &RouterName, message: &FromManager) {
        let number: usize = name.0[1..].parse().expect("routers are numbered");
        let router = &mut self.routers[number];
        router.bytes += serde_json::to_vec(message).expect("messages can be written").len();
        match message {
            FromManager::Views(views) => {
                for view in views {
                    router.whole += 1;
                    router.views.insert(view.cluster.clone(), view.clone());
                }
            }
            FromManager::Changes(changes) => {
                for change in changes {
                    let view = router.views.get_mut(&change.cluster).expect("a change of a view that it has");
                    *view = change.apply(view).expect("a change fits");
                }
            }
            FromManager::Settings { settings, .. } => {
                assert!(router.views.contains_key(&"shop".into()), "routes before the views that they need");
                router.settings = Some((**settings).clone());
            }
            _ => {}
        }
    }

    fn join(&mut self, role: Role, resumes: bool) -> u64 {
        let (queue, outbox) = mpsc::channel(1);
        self._outboxes.push(outbox);
        let outlet = Outlet { queue, cut: Arc::default(), is_cut: Arc::default() };
        let (reply, _) = oneshot::channel();
        let peer = Peer { resumes, ..Peer::default() };
        self.step(Input::Join { role, outlet, peer, reply }).expect("it is in the configuration")
    }

    /// A router connects, and says what it has.
    fn come(&mut self, router: usize) {
        let role = Role::Router { node: "local".into(), router: format!("r{router}").as_str().into() };
        let number = self.join(role, true);
        self.routers[router].number = number;
        let known = self.routers[router].views.values().map(known).collect();
        let settings = self.routers[router].settings.as_ref().and_then(print_of);
        self.say(router, ToManager::Have(Have { views: known, settings }));
    }

    fn say(&mut self, router: usize, message: ToManager) {
        let (place, number) = (place(router), self.routers[router].number);
        self.step(Input::Said { place, number, message });
    }

    fn leave(&mut self, router: usize) {
        let number = self.routers[router].number;
        self.step(Input::Left { place: place(router), number });
    }

    /// The agent says which members fail their probe.
    fn report(&mut self, failing: &[usize]) {
        self.sequence += 1;
        let member = |number: usize| MemberReport {
            id: MemberId::new("shop", format!("m{number}").as_str()),
            instance: 1,
            process: ProcessState::External,
            probe: if failing.contains(&number) { ProbeState::Failing } else { ProbeState::Passing },
            address: Some(([127, 0, 0, 1], 1_000 + number as u16).into()),
            restarts: 0,
            reason: String::new(),
        };
        let report = Report {
            node: "local".into(),
            incarnation: 1,
            sequence: self.sequence,
            members: (0..MEMBERS).map(member).collect(),
            manager_heard_ms: None,
            clock_ms: None,
            certificate_until_ms: None,
        };
        let (place, number) = (Place::Agent("local".into()), self.agent);
        self.step(Input::Said { place, number, message: ToManager::Agent(report) });
    }

    /// Until nobody waits in the line.
    fn serve(&mut self) {
        while let Some(at) = self.desk.line_wake_at() {
            self.now = self.now.max(at);
            self.step(Desk::tick());
        }
    }

    /// Bytes and whole views since the last time, of all routers together.
    fn cost(&mut self) -> (usize, usize) {
        let cost = self
            .routers
            .iter()
            .fold((0, 0), |(bytes, whole), router| (bytes + router.bytes, whole + router.whole));
        self.routers.iter_mut().for_each(|router| (router.bytes, router.whole) = (0, 0));
        cost
    }

    /// Everybody has what there is.
    fn check(&self) {
        self.desk.check();
        let view = self.desk.cell.views().next().expect("it is published");
        for router in &self.routers {
            let has = &router.views[&"shop".into()];
            assert_eq!((has.epoch, print(has)), (view.epoch, print(view)));
            assert!(router.settings.is_some());
        }
    }
}

fn routers(count: usize) -> Vec<Router> {
    std::iter::repeat_with(Router::default).take(count).collect()
}

#[test]
fn a_router_that_comes_back_is_sent_only_what_it_lacks() {
    let mut stage = Stage::new(5, routers(2));
    stage.report(&[]);
    stage.come(0);
    stage.come(1);
    stage.check();
    let (whole_bytes, whole) = stage.cost();
    assert_eq!(whole, 2);
    stage.leave(0);
    stage.come(0);
    assert_eq!(stage.cost(), (stage.welcome_bytes() + names_bytes(&stage), 0), "it has everything");
    stage.leave(0);
    stage.report(&[3]);
    stage.report(&[3, 4]);
    stage.cost();
    stage.come(0);
    stage.check();
    let (bytes, whole) = stage.cost();
    assert_eq!(whole, 0);
    assert!(bytes * 20 < whole_bytes, "{bytes} bytes for two changes, {whole_bytes} for two views");
    // It goes on as one that was never away.
    stage.report(&[4]);
    stage.check();
    assert_eq!(stage.cost().1, 0);
}

/// What names of clusters take.
fn names_bytes(stage: &Stage) -> usize {
    let generation = stage.desk.cell.generation();
    let message = FromManager::Clusters { generation, names: vec!["shop".into()] };
    serde_json::to_vec(&message).expect("messages can be written").len()
}

#[test]
fn a_thousand_routers_that_come_to_a_new_leader_are_told_an_epoch_each() {
    let mut old = Stage::new(5, routers(1_000));
    old.report(&[7]);
    (0..1_000).for_each(|router| old.come(router));
    old.serve();
    old.check();
    let (whole_bytes, whole) = old.cost();
    assert_eq!(whole, 1_000);

    // The first half is there before the new leader knows the members, the other half after it.
    let mut new = Stage::new(6, old.routers);
    let came_at = new.now;
    (0..500).for_each(|router| new.come(router));
    new.report(&[7]);
    (500..1_000).for_each(|router| new.come(router));
    new.check();
    let (bytes, whole) = new.cost();
    assert_eq!(whole, 0);
    assert!(bytes * 50 < whole_bytes, "{bytes} bytes where whole views took {whole_bytes}");
    assert!(new.desk.line_wake_at().is_none() && new.now == came_at, "nobody had to wait");
    new.report(&[]);
    new.check();
    assert_eq!(new.cost().1, 0, "and they take changes at once");
}

#[test]
fn a_thousand_routers_with_another_view_are_served_in_turn_while_changes_go_on() {
    let mut old = Stage::new(5, routers(1_000));
    old.report(&[7]);
    (0..1_000).for_each(|router| old.come(router));
    old.serve();
    old.cost();
    let mut new = Stage::new(6, old.routers);
    new.report(&[8]);
    (0..1_000).for_each(|router| new.come(router));
    let (_, at_once) = new.cost();
    assert!((100..1_000).contains(&at_once), "a burst: {at_once}");
    // Those who wait are told nothing of a view that they have not: they get the newest.
    new.report(&[8, 9]);
    assert_eq!(new.cost().1, 0);
    new.serve();
    new.check();
    let (_, later) = new.cost();
    assert_eq!(at_once + later, 1_000, "each once");
    assert!(new.now > Time(0), "the rest had to wait");
    new.report(&[]);
    new.check();
    assert_eq!(new.cost().1, 0);
}

#[test]
fn a_router_whose_change_did_not_fit_gets_the_whole_view_in_its_turn() {
    let mut stage = Stage::new(5, routers(1));
    stage.report(&[]);
    stage.come(0);
    stage.cost();
    let report = |takes_changes| {
        ToManager::Router(RouterReport {
            router: "r0".into(),
            listening: Vec::new(),
            problems: Vec::new(),
            connections: 0,
            clusters: Vec::new(),
            routes: Vec::new(),
            totals: Totals::default(),
            takes_changes,
        })
    };
    stage.say(0, report(true));
    assert_eq!(stage.cost().1, 0);
    stage.say(0, report(false));
    assert_eq!(stage.cost().1, 1);
    stage.say(0, report(false));
    assert_eq!(stage.cost().1, 0, "once is enough");
    stage.say(0, report(true));
    stage.report(&[1]);
    stage.check();
    assert_eq!(stage.cost().1, 0);
}

#[test]
fn one_that_announced_what_it_has_and_does_not_say_it_has_nothing() {
    let mut stage = Stage::new(5, routers(1));
    stage.report(&[]);
    let role = Role::Router { node: "local".into(), router: "r0".into() };
    stage.routers[0].number = stage.join(role, true);
    assert_eq!(stage.cost(), (stage.welcome_bytes(), 0));
    stage.report(&[2]);
    assert_eq!(stage.cost().1, 0, "it is sent nothing before it has spoken");
    stage.say(0, ToManager::Have(Have::default()));
    stage.check();
    stage.say(0, ToManager::Have(Have::default()));
    assert_eq!(stage.cost().1, 1, "what it says twice counts once");
}

impl Stage {
    fn welcome_bytes(&self) -> usize {
        let generation = self.desk.cell.generation();
        let message = FromManager::Welcome { version: wire::link::LINK_VERSION, generation };
        serde_json::to_vec(&message).expect("messages can be written").len()
    }
}

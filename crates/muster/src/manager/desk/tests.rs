//! Who is told what: connections that are slow, replaced or strangers, and operators that wait.

use super::*;
use wire::agent::Report;
use wire::status::Act;

const CONFIG: &str = "
[cell]
state_dir = \"/nonexistent\"
[routers.front]
listen = [\"127.0.0.1:0\"]
[clusters.shop.members.x]
address = \"127.0.0.1:9\"
[clusters.pay.members.x]
address = \"127.0.0.1:9\"
";

fn desk() -> Desk {
    let routes = "[[routers.front.routes]]\ncluster = \"shop\"\n";
    let text = CONFIG.replace("[clusters.shop", &format!("{routes}[clusters.shop"));
    let settings = crate::config::parse(&text, "test").unwrap_or_else(|problems| panic!("{problems}"));
    let config = Config { revision: 1, text, settings: settings.clone() };
    let mut desk = Desk::new(Cell::new(5, []), config, "local".into(), CellSecrets::default(), None);
    step(&mut desk, Input::Cell(cell::Input::Configure(Box::new(settings))));
    desk
}

fn step(desk: &mut Desk, input: Input) -> Vec<Output> {
    let outputs = desk.step(Time(0), input);
    desk.check();
    outputs
}

fn outlet(room: usize) -> (Outlet, mpsc::Receiver<FromManager>) {
    let (queue, outbox) = mpsc::channel(room);
    (Outlet { queue, cut: Arc::default(), is_cut: Arc::default() }, outbox)
}

/// Joins a role; the number of its connection and what it is sent.
fn join(desk: &mut Desk, role: Role, outlet: Outlet) -> (u64, Vec<FromManager>) {
    let (reply, _) = oneshot::channel();
    let mut number = None;
    let mut sent = Vec::new();
    for output in step(desk, Input::Join { role, outlet, peer: Peer::default(), reply }) {
        match output {
            Output::Admit { result, .. } => number = result.ok(),
            Output::Send { message, .. } => sent.push(message),
            _ => {}
        }
    }
    (number.expect("it is in the configuration"), sent)
}

fn agent() -> Role {
    Role::Agent { node: "local".into() }
}

fn router() -> Role {
    Role::Router { node: "local".into(), router: "front".into() }
}

fn report(sequence: u64) -> ToManager {
    let (node, members) = ("local".into(), Vec::new());
    ToManager::Agent(Report {
        node,
        incarnation: 1,
        sequence,
        members,
        manager_heard_ms: None,
        clock_ms: None,
    })
}

#[test]
fn slow_connection_is_cut_and_gets_nothing_after_a_gap() {
    let (outlet, mut outbox) = outlet(1);
    outlet.send(FromManager::KeepAlive);
    outlet.send(FromManager::Views(Vec::new()));
    assert!(outlet.is_cut.load(Ordering::Relaxed));
    assert_eq!(outbox.try_recv(), Ok(FromManager::KeepAlive));
    outlet.send(FromManager::KeepAlive);
    assert!(outbox.try_recv().is_err(), "there is room again, but a message is missing");
}

#[test]
fn views_of_one_step_travel_in_one_message_and_before_the_routes() {
    let mut desk = desk();
    let (agent_outlet, _agent_outbox) = outlet(8);
    let (number, _) = join(&mut desk, agent(), agent_outlet);
    step(&mut desk, Input::Said { place: Place::from(&agent()), number, message: report(1) });
    let (outlet, _outbox) = outlet(8);
    let (_, sent) = join(&mut desk, router(), outlet);
    match sent.as_slice() {
        [
            FromManager::Welcome { generation: 5, .. },
            FromManager::Views(views),
            FromManager::Settings { .. },
            FromManager::Clusters { names, .. },
        ] => assert_eq!((views.len(), names.len()), (2, 2)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn older_connection_of_a_role_no_longer_counts() {
    let mut desk = desk();
    let (first, _first_outbox) = outlet(8);
    let (old, _) = join(&mut desk, agent(), first.clone());
    let (second, _second_outbox) = outlet(8);
    let (new, _) = join(&mut desk, agent(), second.clone());
    assert!(first.is_cut.load(Ordering::Relaxed), "it is ended");
    assert!(!second.is_cut.load(Ordering::Relaxed));
    let place = Place::from(&agent());
    let said = |number| Input::Said { place: place.clone(), number, message: report(1) };
    assert!(matches!(step(&mut desk, said(old)).as_slice(), [Output::Changed]), "it is not listened to");
    assert!(step(&mut desk, said(new)).len() > 1, "the members become known");
    assert!(step(&mut desk, Input::Left { place: place.clone(), number: old }).is_empty());
    assert_eq!(desk.outlets(&To::One(place)).count(), 1);
}

#[test]
fn who_speaks_for_another_is_cut() {
    let mut desk = desk();
    let (outlet, _outbox) = outlet(8);
    let (number, _) = join(&mut desk, router(), outlet);
    let place = Place::from(&router());
    let outputs = step(&mut desk, Input::Said { place: place.clone(), number, message: report(1) });
    assert!(matches!(outputs.as_slice(), [Output::Cut(cut), Output::Changed] if *cut == place));
}

#[test]
fn operator_is_answered_after_what_must_be_remembered() {
    let mut desk = desk();
    let (reply, _) = oneshot::channel();
    let outputs = step(
        &mut desk,
        Input::Ask(Request::Act {
            who: "ann".into(),
            cluster: "shop".into(),
            member: Some("x".into()),
            act: Act::Drain,
            reply,
        }),
    );
    let remembered = outputs.iter().position(|output| matches!(output, Output::Remember { .. }));
    let answered = outputs.iter().position(|output| matches!(output, Output::Answer { result: Ok(_), .. }));
    assert!(remembered.is_some());
    assert!(remembered < answered, "{outputs:?}");
}

#[test]
fn router_that_is_removed_is_cut_once_the_configuration_is_in_force() {
    let mut desk = desk();
    let (outlet, _outbox) = outlet(8);
    join(&mut desk, router(), outlet);
    let mut config = desk.config.clone();
    config.revision = 2;
    config.settings.routers[0].name = "other".into();
    let entry = ConfigRevision { revision: 2, at_ms: 0, who: "ann".into(), changes: Vec::new() };
    let (reply, _) = oneshot::channel();
    let outputs = step(&mut desk, Input::Applied { config: Box::new(config), entry, reply });
    assert!(
        outputs.iter().any(|output| matches!(output, Output::Cut(Place::Router(name)) if name.0 == "front"))
    );
    assert_eq!(desk.config.revision, 2);
}

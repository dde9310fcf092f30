//! Who is told what: connections that are slow, replaced or strangers, and operators that wait.

use super::*;
use logic::enrol::Bearer;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::mpsc;
use wire::agent::{MemberReport, ProbeState, ProcessState, Report};
use wire::id::MemberId;
use wire::router::{RouterReport, Totals};
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
    let groups = Groups::new(logic::group::Planner::new(Time(0), 5, 1_550, []));
    let mut desk = Desk::new(
        (Cell::new(5, []), groups),
        config,
        "local".into(),
        CellSecrets::default(),
        None,
        Suspects::default(),
    );
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
        certificate_until_ms: None,
    })
}

mod errands;
mod power;

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

fn members_report(sequence: u64, probe: ProbeState) -> ToManager {
    let member = |cluster| MemberReport {
        id: MemberId::new(cluster, "x"),
        instance: 1,
        process: ProcessState::External,
        probe,
        address: Some(([127, 0, 0, 1], 9).into()),
        restarts: 0,
        reason: String::new(),
    };
    let members = vec![member("shop"), member("pay")];
    let ToManager::Agent(report) = report(sequence) else { unreachable!("it is an agent's") };
    ToManager::Agent(Report { members, ..report })
}

fn router_report(takes_changes: bool) -> RouterReport {
    RouterReport {
        router: "front".into(),
        listening: Vec::new(),
        problems: Vec::new(),
        connections: 0,
        clusters: Vec::new(),
        routes: Vec::new(),
        totals: Totals::default(),
        takes_changes,
    }
}

/// What the router is told once it has said whether it takes changes, and the members of `shop` and `pay` are up.
fn told_after(desk: &mut Desk, number: u64, takes_changes: bool, sequence: u64) -> Vec<FromManager> {
    let said = router_report(takes_changes);
    let mut outputs =
        step(desk, Input::Said { place: Place::from(&router()), number, message: ToManager::Router(said) });
    let probe = if sequence.is_multiple_of(2) { ProbeState::Passing } else { ProbeState::Failing };
    let message = members_report(sequence, probe);
    outputs.extend(step(desk, Input::Said { place: Place::from(&agent()), number: 1, message }));
    let (place, mut told) = (Place::from(&router()), Vec::new());
    for output in outputs {
        if let Output::Send { to, message } = output
            && (to == To::One(place.clone()) || to == To::These(vec![place.clone()]))
            && !matches!(message, FromManager::Clusters { .. })
        {
            told.push(message);
        }
    }
    told
}

#[test]
fn routers_that_take_changes_are_sent_only_those_and_whole_views_when_one_did_not_fit() {
    let mut desk = desk();
    let (agent_outlet, _agent_outbox) = outlet(8);
    join(&mut desk, agent(), agent_outlet);
    let (router_outlet, _outbox) = outlet(8);
    let (number, _) = join(&mut desk, router(), router_outlet);
    // Changes and whole views.
    let count = |told: Vec<FromManager>| {
        told.into_iter().fold((0, 0), |(changes, views), message| match message {
            FromManager::Changes(more) => (changes + more.len(), views),
            FromManager::Views(more) => (changes, views + more.len()),
            other => panic!("{other:?}"),
        })
    };
    // The first views of this manager are whole for everybody.
    assert_eq!(count(told_after(&mut desk, number, true, 1)), (0, 2));
    assert_eq!(count(told_after(&mut desk, number, true, 2)), (2, 0));
    assert_eq!(count(told_after(&mut desk, number, true, 3)), (2, 0));
    // One did not fit: everything at once, and no change until it says that it has it.
    assert_eq!(count(told_after(&mut desk, number, false, 4)), (0, 4));
    assert_eq!(count(told_after(&mut desk, number, false, 5)), (0, 2));
    assert_eq!(count(told_after(&mut desk, number, true, 6)), (2, 0));
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
    let entry =
        ConfigRevision { revision: 2, at_ms: 0, who: "ann".into(), changes: Vec::new(), back_to: None };
    let (reply, _) = oneshot::channel();
    let outputs = step(&mut desk, Input::Applied { config: Box::new(config), entry, reply });
    assert!(
        outputs.iter().any(|output| matches!(output, Output::Cut(Place::Router(name)) if name.0 == "front"))
    );
    assert_eq!(desk.config.revision, 2);
}

#[test]
fn who_has_obeyed_another_manager_of_this_generation_or_a_newer_one_is_told_nothing() {
    let say = |desk: &mut Desk, role: Role, generation: u64| {
        let (outlet, _outbox) = outlet(8);
        let (reply, _) = oneshot::channel();
        let peer = Peer { generation, ..Peer::default() };
        let outputs = step(desk, Input::Join { role, outlet, peer, reply });
        let is_admitted = outputs.iter().any(|output| matches!(output, Output::Admit { result: Ok(_), .. }));
        let outnumbered = outputs.iter().find_map(|output| match output {
            Output::Again(Again::Outnumbered { generation, .. }) => Some(*generation),
            _ => None,
        });
        assert_eq!(is_admitted, outnumbered.is_none());
        outnumbered
    };
    let mut desk = desk();
    assert_eq!(say(&mut desk, router(), 6), Some(6));
    assert_eq!(say(&mut desk, router(), 5), Some(5), "this manager has never spoken to it");
    assert_eq!(say(&mut desk, router(), 4), None);
    assert_eq!(say(&mut desk, router(), 5), None, "it is this manager whom it has obeyed");
    assert_eq!(say(&mut desk, agent(), 5), Some(5), "that was another one");
}

/// What follows when a role says hello: refused with a sentence, or a reason to begin anew, or neither.
fn hello(desk: &mut Desk, now: Time, generation: u64) -> (Option<String>, Option<Again>) {
    let (outlet, _outbox) = outlet(8);
    let (reply, _) = oneshot::channel();
    let peer = Peer { generation, ..Peer::default() };
    let outputs = desk.step(now, Input::Join { role: router(), outlet, peer, reply });
    let refused = outputs.iter().find_map(|output| match output {
        Output::Admit { result: Err(why), .. } => Some(why.clone()),
        _ => None,
    });
    let again = outputs.iter().find_map(|output| match output {
        Output::Again(again) => Some(again.clone()),
        _ => None,
    });
    (refused, again)
}

#[test]
fn who_only_says_that_it_has_obeyed_others_cannot_end_one_term_after_the_other() {
    let mut first = desk();
    let (refused, again) = hello(&mut first, Time(0), u64::MAX);
    assert_eq!((refused.is_some(), again), (true, None), "no manager was that far");
    let (refused, again) = hello(&mut first, Time(0), 9);
    let Some(Again::Outnumbered { place, generation: 9 }) = again else { panic!("{refused:?} {again:?}") };
    let mut suspects = Suspects::default();
    suspects.note(Time(0), place);
    let mut next = Desk { suspects, ..desk() };
    let minute = Time(60_000);
    let (refused, again) = hello(&mut next, Time(minute.0 - 1), 12);
    assert!(refused.is_some_and(|why| why.contains("a moment ago")) && again.is_none());
    let (refused, again) = hello(&mut next, minute, 12);
    assert!(refused.is_none() && again.is_some(), "a store can be put back twice");
}

/// The same configuration, with or without its router, comes into force.
fn configure(desk: &mut Desk, settings: CellSettings) {
    let config = Config { revision: desk.config.revision + 1, settings, ..desk.config.clone() };
    let (revision, changes) = (config.revision, Vec::new());
    let entry = ConfigRevision { revision, at_ms: 0, who: "ann".into(), changes, back_to: None };
    let (reply, _) = oneshot::channel();
    step(desk, Input::Applied { config: Box::new(config), entry, reply });
}

#[test]
fn a_router_that_is_taken_out_and_in_again_is_still_known() {
    let mut desk = desk();
    assert_eq!(hello(&mut desk, Time(0), 4), (None, None));
    let with_it = desk.config.settings.clone();
    let mut without = with_it.clone();
    without.routers.clear();
    configure(&mut desk, without);
    configure(&mut desk, with_it);
    assert_eq!(hello(&mut desk, Time(0), 5), (None, None), "it is this manager whom it has obeyed");
}

#[test]
fn a_commit_without_an_answer_makes_all_begin_anew_unless_a_later_one_is_known() {
    let mut desk = desk();
    let revision = desk.config.revision;
    let doubt = |desk: &mut Desk| step(desk, Input::Doubted { after: revision });
    assert!(matches!(doubt(&mut desk).as_slice(), [Output::Again(Again::Doubted), ..]));
    let settings = desk.config.settings.clone();
    configure(&mut desk, settings);
    assert!(doubt(&mut desk).is_empty(), "two were wanted at once");
}

/// Joins as a router from another machine; why it is refused, and the kinds of events that are told.
fn join_from(
    desk: &mut Desk,
    at: Time,
    from: &str,
    joined_us: u64,
) -> (Result<u64, String>, Vec<&'static str>) {
    let (outlet, outbox) = outlet(8);
    // The other end goes on reading.
    std::mem::forget(outbox);
    let (reply, _) = oneshot::channel();
    let bearer = Some(Bearer { cell: "c".into(), node: "local".into(), issued_us: joined_us });
    let from = Some(format!("{from}:4000").parse().expect("an address"));
    let peer = Peer { from, bearer, joined_us, ..Peer::default() };
    let (mut admitted, mut kinds) = (None, Vec::new());
    for output in desk.step(at, Input::Join { role: router(), outlet, peer, reply }) {
        match output {
            Output::Admit { result, .. } => admitted = Some(result),
            Output::Event { kind, .. } => kinds.push(kind),
            _ => {}
        }
    }
    (admitted.expect("everybody is answered"), kinds)
}

#[test]
fn a_second_machine_with_the_same_certificate_is_refused_and_named_once_while_the_first_one_speaks() {
    let mut desk = desk();
    let (first, _) = join_from(&mut desk, Time(0), "10.0.0.2", 7);
    let number = first.expect("nobody is there");
    let (refused, kinds) = join_from(&mut desk, Time(100), "10.0.0.9", 7);
    let why = refused.expect_err("the first one speaks");
    assert!(why.contains("10.0.0.2") && why.contains("10.0.0.9"), "{why}");
    assert_eq!(kinds, ["node-twice"]);
    for at in [1_000, 2_000, 3_000, 4_000] {
        let place = Place::from(&router());
        let message = ToManager::Router(router_report(false));
        desk.step(Time(at), Input::Said { place, number, message });
    }
    let (again, kinds) = join_from(&mut desk, Time(5_000), "10.0.0.9", 7);
    assert!(again.is_err() && kinds.is_empty(), "it is no news: {kinds:?}");
    // One that starts anew where it was, one that joined with a token of its own, and one that is there alone.
    assert!(join_from(&mut desk, Time(5_100), "10.0.0.2", 7).0.is_ok());
    assert!(join_from(&mut desk, Time(5_200), "10.0.0.8", 8).0.is_ok());
    assert!(join_from(&mut desk, Time(5_300), "10.0.0.9", 8).0.is_err());
    assert!(join_from(&mut desk, Time(8_200), "10.0.0.9", 8).0.is_ok(), "the other one is silent");
}

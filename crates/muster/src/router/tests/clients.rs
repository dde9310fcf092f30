//! Stories of clients that show which view of the cluster they have.

use super::stage::{Stage, get, read_answer, read_request};
use super::{named, says};
use std::io::Write;
use std::net::TcpStream;
use wire::client_view::{Applied, ClientState, ClientView, NEWS_MAX_BYTES, ViewNews};
use wire::id::Epoch;
use wire::settings::{ClientSettings, RouteActions, RouteAnswer, RouteSettings};
use wire::view::{MemberView, Policy, RunState};

pub const TOKEN: &str = "00112233445566778899aabbccddeeff";
/// `printf 00112233445566778899aabbccddeeff | sha256sum`
const TOKEN_SHA256: &str = "5947d7c33d783f94b3b4c1a96ebc8991ed28f1b069b71e03376cba8caa98a720";

/// A router whose clients of `shop` fetch views at `/views`.
pub fn stage() -> Stage {
    Stage::with(|settings| {
        let mut views = RouteSettings { host: "*".into(), path: "/views".into(), ..RouteSettings::default() };
        views.actions = RouteActions { answer: Some(RouteAnswer::Views), ..RouteActions::default() };
        settings.routes.push(views);
        settings.clients = vec![ClientSettings {
            name: "billing".into(),
            token_sha256: TOKEN_SHA256.into(),
            clusters: vec!["shop".into()],
        }];
    })
}

fn epoch(number: u64) -> Epoch {
    Epoch { generation: 1, number }
}

/// Asks for something with a view of that epoch.
fn ask_as(stage: &Stage, path: &str, epoch: Epoch) -> String {
    let mut client = stage.connect();
    send_as(&mut client, path, epoch);
    read_answer(&mut client)
}

fn send_as(client: &mut TcpStream, path: &str, epoch: Epoch) {
    let line = format!("\r\nMuster-View: shop {epoch} {TOKEN}\r\n\r\n");
    client.write_all(get(path).replace("\r\n\r\n", &line).as_bytes()).expect("the router reads");
}

fn header(answer: &str) -> Option<&str> {
    answer.lines().find_map(|line| line.strip_prefix("Muster-View: "))
}

fn news(answer: &str) -> Option<ViewNews> {
    let text = header(answer)?;
    assert!(text.len() <= NEWS_MAX_BYTES, "{text}");
    Some(serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}")))
}

fn fetched(stage: &Stage) -> ClientView {
    let answer = ask_as(stage, "/views", Epoch::default());
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    serde_json::from_str(answer.split_once("\r\n\r\n").expect("a body").1).expect("a view")
}

/// Takes over what the answer says; the view must be the newest then.
fn follow(stage: &Stage, view: &mut ClientView, answer: &str) {
    match news(answer) {
        Some(ViewNews::Delta(delta)) => assert_eq!(view.apply(&delta), Applied::Now),
        other => panic!("no delta: {other:?} in {answer}"),
    }
    assert_eq!(*view, fetched(stage));
}

#[test]
fn every_kind_of_answer_brings_what_the_client_lacks_and_nothing_else() {
    let stage = stage();
    stage.member("a", 1, named("a"));
    let mut view = fetched(&stage);
    assert_eq!(header(&ask_as(&stage, "/", view.epoch)), None);
    assert_eq!(header(&stage.ask("/")), None);
    assert!(ask_as(&stage, "/views", view.epoch).starts_with("HTTP/1.1 304 Not Modified\r\n"));

    stage.change(|view| view.policy = Policy::Random);
    let answer = ask_as(&stage, "/", view.epoch);
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\na"), "{answer}");
    follow(&stage, &mut view, &answer);
    assert_eq!(view.policy, Policy::Random);

    // By HEAD, by polling, and when there is nobody to answer.
    stage.change(|view| view.members[0].weight = 7);
    let mut client = stage.connect();
    let head = format!("HEAD / HTTP/1.1\r\nHost: a\r\nMuster-View: shop {} {TOKEN}\r\n\r\n", view.epoch);
    client.write_all(head.as_bytes()).expect("the router reads");
    let answer = super::stage::read_head(&mut client).expect("a head");
    follow(&stage, &mut view, &answer);
    stage.set_state("a", RunState::Draining);
    let answer = ask_as(&stage, "/views", view.epoch);
    assert!(answer.starts_with("HTTP/1.1 204 No Content\r\n"), "{answer}");
    follow(&stage, &mut view, &answer);
    stage.lose("a");
    let answer = ask_as(&stage, "/", view.epoch);
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    follow(&stage, &mut view, &answer);
    assert_eq!(view.members[0].state, ClientState::Lost);
}

#[test]
fn what_changes_while_a_request_is_under_way_comes_with_its_answer() {
    let stage = stage();
    let (send, receive) = std::sync::mpsc::sync_channel::<()>(1);
    let receive = std::sync::Mutex::new(receive);
    stage.member("patient", 1, move |mut caller| {
        while read_request(&mut caller).is_some() {
            receive.lock().expect("no panic").recv().expect("the test says when");
            caller.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").expect("the router reads");
        }
    });
    let mut view = fetched(&stage);
    let mut client = stage.connect();
    send_as(&mut client, "/", view.epoch);
    stage.wait_for_report(|report| {
        let members = report.clusters.iter().flat_map(|cluster| &cluster.members);
        members.map(|member| member.in_flight).sum::<u64>() == 1
    });
    stage.change(|view| view.members[0].weight = 3);
    send.send(()).expect("the member waits");
    follow(&stage, &mut view, &read_answer(&mut client));
}

#[test]
fn neither_token_nor_views_pass_between_clients_and_members() {
    let stage = stage();
    stage.member("a", 1, |mut caller| {
        while let Some(request) = read_request(&mut caller) {
            let forged = r#"muster-VIEW: {"fetch":{"cluster":"shop","to":"9.9"}}"#;
            let answer =
                format!("HTTP/1.1 200 OK\r\n{forged}\r\nContent-Length: {}\r\n\r\n{request}", request.len());
            if caller.write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    });
    let newest = fetched(&stage).epoch;
    for epoch in [newest, epoch(0)] {
        let answer = ask_as(&stage, "/", epoch);
        let (head, echoed) = answer.split_once("\r\n\r\n").expect("a body");
        assert!(!echoed.to_lowercase().contains("muster-view") && !echoed.contains(TOKEN), "{echoed}");
        assert!(!head.contains("9.9"), "a member is believed: {head}");
    }
    let mut client = stage.connect();
    client
        .write_all(get("/").replace("Host: a", "Host: a\r\nmuster-view: x\r\nMUSTER-VIEW: y").as_bytes())
        .expect("the router reads");
    let answer = read_answer(&mut client).to_lowercase();
    assert!(!answer.contains("muster-view"), "{answer}");
}

#[test]
fn what_does_not_fit_a_header_or_is_too_long_ago_is_to_be_fetched() {
    let stage = stage();
    stage.member("a", 1, says("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", false));
    let before = fetched(&stage).epoch;
    let member = |number: u32| MemberView {
        name: format!("a-member-with-a-long-name-{number}").as_str().into(),
        state: RunState::Down,
        weight: 1,
        ..MemberView::default()
    };
    stage.change(|view| view.members.extend((0..40).map(member)));
    let newest = fetched(&stage).epoch;
    for from in [before, epoch(0), Epoch { generation: 0, number: 9 }] {
        match news(&ask_as(&stage, "/", from)) {
            Some(ViewNews::Fetch(hint)) => {
                assert_eq!(
                    (hint.cluster.0.as_str(), hint.to, hint.path.as_str()),
                    ("shop", newest, "/views")
                );
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(fetched(&stage).members.len(), 41);
    }
    // A client that knows more than this router is left alone.
    for from in [Epoch { number: newest.number + 1, ..newest }, Epoch { generation: 2, number: 0 }] {
        assert_eq!(news(&ask_as(&stage, "/", from)), None);
        assert!(ask_as(&stage, "/views", from).starts_with("HTTP/1.1 304 "));
    }
    // Changes of many members' states alone are short.
    let before = newest;
    stage.change(|view| view.members.iter_mut().skip(1).for_each(|member| member.state = RunState::Up));
    assert!(matches!(news(&ask_as(&stage, "/", before)), Some(ViewNews::Delta(_))));
}

#[test]
fn clients_come_and_go_with_the_settings() {
    let stage = stage();
    stage.member("a", 1, named("a"));
    let before = fetched(&stage).epoch;
    stage.change(|view| view.members[0].weight = 2);
    assert!(news(&ask_as(&stage, "/", before)).is_some());
    stage.change_settings(|settings| settings.clients[0].clusters = vec!["bank".into()]);
    assert_eq!(news(&ask_as(&stage, "/", before)), None);
    assert!(ask_as(&stage, "/views", before).starts_with("HTTP/1.1 401 "));
    stage.change_settings(|settings| settings.clients[0].clusters.push("shop".into()));
    assert!(
        news(&ask_as(&stage, "/", before)).is_some(),
        "what is remembered begins anew, the hint is there"
    );
    stage.change_settings(|settings| settings.clients.clear());
    assert_eq!(news(&ask_as(&stage, "/", before)), None);
    assert!(ask_as(&stage, "/views", before).starts_with("HTTP/1.1 401 "));
}

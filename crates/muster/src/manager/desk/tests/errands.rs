//! Who is sent to nodes that are not heard, and what comes of what is brought back.

use super::*;
use crate::manager::heartbeats::Sought;
use logic::heartbeat::Search;
use logic::limits::ERRANDS_MAX;
use wire::heartbeat::{Errand, Sealed};
use wire::id::NodeNumber;

const FOUR: &str = "
[cell]
state_dir = \"/nonexistent\"
[manager]
listen = \"10.0.0.1:29001\"
[nodes.a]
address = \"10.0.0.1\"
[nodes.b]
address = \"10.0.0.2\"
[nodes.c]
address = \"10.0.0.3\"
[nodes.d]
address = \"10.0.0.4\"
[groups.site]
nodes = [\"a\"]
[groups.site.resources.server]
type = \"process\"
command = [\"/bin/site\"]
";

/// A cell of four nodes whose manager is on `a`.
fn four() -> Desk {
    let settings = crate::config::parse(FOUR, "test").unwrap_or_else(|problems| panic!("{problems}"));
    let config = Config { revision: 1, text: FOUR.into(), settings: settings.clone() };
    let groups = Groups::new(logic::group::Planner::new(Time(0), 5, 1_550, []));
    let secrets = CellSecrets::default();
    let mut desk =
        Desk::new((Cell::new(5, []), groups), config, "a".into(), secrets, None, Suspects::default());
    step(&mut desk, Input::Cell(cell::Input::Configure(Box::new(settings))));
    desk
}

fn place(node: &str) -> Place {
    Place::Agent(node.into())
}

fn come(desk: &mut Desk, node: &str, carries: bool) -> u64 {
    let (reply, _) = oneshot::channel();
    let role = Role::Agent { node: node.into() };
    let peer = Peer { carries, ..Peer::default() };
    let outputs = step(desk, Input::Join { role, outlet: outlet(8).0, peer, reply });
    let admitted = outputs.into_iter().find_map(|output| match output {
        Output::Admit { result, .. } => Some(result.expect("it is in the configuration")),
        _ => None,
    });
    admitted.expect("it is answered")
}

/// Who is sent to `node`, with how many errands.
fn sent(desk: &mut Desk, at: u64, node: &str) -> Vec<(Place, usize)> {
    let node = desk.cell.number_of(&node.into()).expect("a node of the cell");
    let errand = Errand { to: ([10, 0, 0, 4], 4_000).into(), question: Sealed("00ff".into()) };
    let sought = Sought { search: Search { node, preferred: None }, errand };
    let outputs = desk.step(Time(at), Input::Search(vec![sought]));
    let sent = outputs.into_iter().filter_map(|output| match output {
        Output::Send { to: To::One(to), message: FromManager::Carry { errands } } => {
            Some((to, errands.len()))
        }
        _ => None,
    });
    sent.collect()
}

#[test]
fn only_agents_that_know_how_are_sent_and_none_to_itself() {
    let mut desk = four();
    for node in ["a", "b", "d"] {
        come(&mut desk, node, true);
    }
    // Of an older version.
    let older = come(&mut desk, "c", false);
    assert_eq!(
        sent(&mut desk, 0, "d"),
        [(place("b"), 1)],
        "the manager's own hears no more than the manager"
    );
    step(&mut desk, Input::Left { place: place("c"), number: older });
    let newer = come(&mut desk, "c", true);
    assert_eq!(sent(&mut desk, 1_000, "d"), [(place("b"), 1), (place("c"), 1)]);
    // It comes back as it was, over the connection that is still there.
    come(&mut desk, "c", false);
    step(&mut desk, Input::Left { place: place("c"), number: newer });
    assert_eq!(sent(&mut desk, 2_000, "d"), [(place("b"), 1)]);
}

#[test]
fn what_is_brought_is_bounded_and_says_who_has_brought_it() {
    let mut desk = four();
    let number = come(&mut desk, "b", true);
    let mut carried = |replies: Vec<String>| {
        let message = ToManager::Carried { replies: replies.into_iter().map(Sealed).collect() };
        let outputs = step(&mut desk, Input::Said { place: place("b"), number, message });
        let carried = outputs.into_iter().filter_map(|output| match output {
            Output::Carried { by, reply } => Some((by, reply)),
            Output::Cut(place) => panic!("{place} is cut"),
            _ => None,
        });
        carried.collect::<Vec<(NodeNumber, Vec<u8>)>>()
    };
    assert_eq!(carried(vec!["00ff".into()]), [(NodeNumber(1), vec![0, 255])]);
    assert_eq!(carried(vec!["moon".into(), "0".into(), "00".repeat(10_000)]), []);
    assert_eq!(carried(vec!["00".into(); 1_000]).len(), ERRANDS_MAX);
    // Whoever has not said that it carries has nothing to bring.
    let number = come(&mut desk, "c", false);
    let message = ToManager::Carried { replies: vec![Sealed("00".into())] };
    let outputs = step(&mut desk, Input::Said { place: place("c"), number, message });
    assert!(!outputs.iter().any(|output| matches!(output, Output::Carried { .. })));
}

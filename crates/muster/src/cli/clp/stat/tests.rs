//! What clpstat shows of a cell of two servers.

use super::*;
use wire::group::ResourceReport;

fn cell() -> CellStatus {
    let node = |name: &str, connected, reach| NodeStatus {
        node: name.into(),
        connected,
        reach,
        ..NodeStatus::default()
    };
    let group = |name: &str, state, node: Option<&str>| GroupStatus {
        group: name.into(),
        state,
        node: node.map(Into::into),
        epoch: 1,
        reason: "all of it runs".into(),
        since_ms: 0,
        is_frozen: false,
        nodes: vec!["one".into(), "two".into()],
        resources: vec![ResourceReport { name: "exec1".into(), state: ResourceState::Online }],
        why: Vec::new(),
        last_move: None,
    };
    CellStatus {
        cell: "shop".into(),
        version: "1".into(),
        generation: 1,
        leader: None,
        managers: Vec::new(),
        config_revision: 7,
        now_ms: 0,
        nodes: vec![
            node("one", true, NodeReach::Reachable),
            NodeStatus { left_out: true, ..node("two", false, NodeReach::Unreachable) },
        ],
        routers: Vec::new(),
        clusters: Vec::new(),
        groups: vec![
            group("mail", GroupCondition::Online, Some("one")),
            group("web", GroupCondition::Offline, None),
        ],
        monitors: Vec::new(),
        other_cells: Vec::new(),
        fences: Vec::new(),
        stale_since_ms: None,
    }
}

#[test]
fn clpstat_s_shows_servers_groups_and_resources() {
    let text = summary(&cell(), Some(&"one".into()));
    for line in [
        "  Cluster : shop",
        "  <server>",
        "   *one ..................: Online",
        "      heartbeat           : Normal           LAN Heartbeat",
        "    two ..................: Offline",
        "  <group>",
        "    mail .................: Online",
        "      current             : one",
        "      exec1               : Online",
        "    web ..................: Offline",
    ] {
        assert!(text.lines().any(|known| known == line), "{line:?} is not in\n{text}");
    }
}

#[test]
fn clpstat_g_gives_long_states_their_room() {
    let mut cell = cell();
    cell.groups[0].state = GroupCondition::Starting;
    let text = groups(&cell, None);
    let at = |name: &str| text.lines().find(|line| line.contains(name)).expect("a line of it").to_owned();
    let (head, mail) = (at("Group"), at("mail"));
    assert_eq!(mail.find("Online Pending -"), head.find("server0"), "{text}");
    assert_eq!(mail.rfind('-'), head.find("server1"), "{text}");
}

#[test]
fn clpstat_g_shows_where_each_group_is() {
    let text = groups(&cell(), Some(&"two".into()));
    assert!(text.contains("    server0 : one\n   *server1 : two\n"), "{text}");
    let mail = text.lines().find(|line| line.contains("mail")).expect("a line of the group");
    assert_eq!(mail.split_whitespace().collect::<Vec<_>>(), ["mail", "o", "-"]);
    let web = text.lines().find(|line| line.contains("web")).expect("a line of the group");
    assert_eq!(web.split_whitespace().collect::<Vec<_>>(), ["web", "-", "-"]);
}

#[test]
fn clpstat_n_p_and_i_name_every_server() {
    for view in [heartbeats, partitions, configuration, monitors] {
        let text = view(&cell(), None);
        assert!(text.contains("server0 : one") && text.contains("server1 : two"), "{text}");
    }
    assert!(configuration(&cell(), None).contains("Configuration : 7"));
    let beats = heartbeats(&cell(), None);
    let two = beats.lines().find(|line| line.contains("server1 ") && line.contains('x'));
    assert!(two.is_some(), "{beats}");
}

#[test]
fn the_worst_state_of_a_monitor_is_shown() {
    use MonitorState::{Error, Normal, Paused, Unknown, Warning};
    assert_eq!(worst([Normal, Error, Warning].into_iter()), Error);
    assert_eq!(worst([Paused, Normal].into_iter()), Normal);
    assert_eq!(worst([Normal, Unknown].into_iter()), Unknown);
}

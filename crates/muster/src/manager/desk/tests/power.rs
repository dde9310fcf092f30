//! Who is told to reboot or to shut down a machine, and with what.

use super::*;
use wire::error_code::{AGENT_TOO_OLD_FOR_POWER, NODE_POWER_UNCONFIRMED};
use wire::node::PowerAct;

const TWO: &str = "
[cell]
state_dir = \"/nonexistent\"
[manager]
listen = \"10.0.0.1:29001\"
[nodes.a]
address = \"10.0.0.1\"
[nodes.b]
address = \"10.0.0.2\"
reboot_command = [\"/sbin/again\", \"-f\"]
[groups.site]
nodes = [\"a\"]
[groups.site.resources.server]
type = \"process\"
command = [\"/bin/site\"]
";

/// A cell of two nodes whose manager is on `a`; the agent of `b` is there, of that version.
fn two(powers: bool) -> (Desk, u64) {
    let settings = crate::config::parse(TWO, "test").unwrap_or_else(|problems| panic!("{problems}"));
    let config = Config { revision: 1, text: TWO.into(), settings: settings.clone() };
    let groups = Groups::new(logic::group::Planner::new(Time(0), 5, 1_550, []));
    let secrets = CellSecrets::default();
    let mut desk =
        Desk::new((Cell::new(5, []), groups), config, "a".into(), secrets, None, Suspects::default());
    step(&mut desk, Input::Cell(cell::Input::Configure(Box::new(settings))));
    let (reply, _) = oneshot::channel();
    let role = Role::Agent { node: "b".into() };
    let peer = Peer { powers, muster: "0.0.9".into(), ..Peer::default() };
    let outputs = step(&mut desk, Input::Join { role, outlet: outlet(8).0, peer, reply });
    let admitted = outputs.into_iter().find_map(|output| match output {
        Output::Admit { result, .. } => result.ok(),
        _ => None,
    });
    (desk, admitted.expect("it is in the configuration"))
}

/// What an operator is answered, and all that follows beside.
fn ask(
    desk: &mut Desk,
    node: &str,
    act: PowerAct,
    dry_run: bool,
) -> (Result<String, ErrorBody>, Vec<Output>) {
    let (reply, _) = oneshot::channel();
    let wish = PowerWish { who: "ann".into(), node: node.into(), act, dry_run, is_confirmed: false };
    let mut answer = None;
    let mut rest = Vec::new();
    for output in step(desk, Input::Ask(Request::Power { wish, reply })) {
        match output {
            Output::Answer { result, .. } => answer = Some(result),
            Output::Changed => {}
            output => rest.push(output),
        }
    }
    (answer.expect("each question is answered"), rest)
}

#[test]
fn the_agent_is_told_with_the_command_of_its_node_or_the_usual_one() {
    let (mut desk, _) = two(true);
    let mut told = Vec::new();
    for act in PowerAct::ALL {
        let (answer, rest) = ask(&mut desk, "b", act, false);
        let text = answer.unwrap_or_else(|refusal| panic!("{refusal:?}"));
        assert!(text.starts_with(&format!("node b is being {}", act.done())), "{text}");
        let [Output::NodeEvent { kind: "node-power", node, text, .. }, Output::Send { to, message }] =
            &rest[..]
        else {
            panic!("{rest:?}");
        };
        assert_eq!((node.0.as_str(), to), ("b", &To::One(Place::Agent("b".into()))));
        assert!(text.starts_with("ann asked: node b is being"), "{text}");
        let FromManager::Power { generation: 5, act: its, command, who } = message else {
            panic!("{message:?}");
        };
        assert_eq!((*its, who.as_str()), (act, "ann"));
        told.push(command.join(" "));
    }
    assert_eq!(told, ["/sbin/again -f", "systemctl poweroff"]);
    let (answer, rest) = ask(&mut desk, "b", PowerAct::Reboot, true);
    assert!(answer.is_ok_and(|text| text.starts_with("dry run: node b is being rebooted")));
    assert!(rest.is_empty(), "a dry run does nothing: {rest:?}");
}

#[test]
fn agents_that_do_not_know_how_are_not_told_and_the_version_is_named() {
    let (mut desk, _) = two(false);
    for dry_run in [true, false] {
        let (answer, rest) = ask(&mut desk, "b", PowerAct::Reboot, dry_run);
        let refusal = answer.expect_err("it cannot");
        assert_eq!(refusal.code, AGENT_TOO_OLD_FOR_POWER.0);
        assert!(refusal.message.contains("Muster 0.0.9"), "{}", refusal.message);
        assert!(rest.is_empty(), "{rest:?}");
    }
    // The only manager's node, whose agent is not there either.
    let (answer, _) = ask(&mut desk, "a", PowerAct::Reboot, false);
    assert!(answer.is_err_and(|refusal| refusal.code != NODE_POWER_UNCONFIRMED.0));
}

#[test]
fn that_a_machine_goes_on_is_told_as_an_error_of_its_node() {
    let (mut desk, number) = two(true);
    let message = ToManager::PowerFailed { act: PowerAct::Shutdown, why: "`off`: not found".into() };
    let place = Place::Agent("b".into());
    let outputs = step(&mut desk, Input::Said { place, number, message });
    let Some(Output::NodeEvent { severity: Severity::Error, kind: "node-power", node, text, .. }) =
        outputs.first()
    else {
        panic!("{outputs:?}");
    };
    assert_eq!(node.0, "b");
    assert_eq!(text, "the machine of node b is not shut down: `off`: not found");
}

//! Fences with real processes: a node of a hard group is killed, and the group goes on elsewhere once it is proven off, and not
//! before. Needs root.

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use support::groups::Cell;
use support::{Scratch, program, wait_for};
use wire::group::GroupCondition;

/// A fence for each node, whose switches are files, and a hard group that writes down what the switches show when it starts.
fn tables(scratch: &Scratch, agent: &str) -> String {
    let at = scratch.path().display();
    let mut text = String::new();
    for node in ["one", "two"] {
        scratch.write(&format!("power-{node}"), "on");
        text.push_str(&format!(
            "[fences.power-{node}]\nagent = \"{agent}\"\nnodes = [\"{node}\"]\nretries = 0\ntimeout_ms = 20000\n\
             check_interval_ms = 60000\nparameters = {{ type = \"file\", status_file = \"{at}/power-{{node}}\" }}\n\n"
        ));
    }
    let start = format!("echo $MUSTER_NODE $(cat {at}/power-one) $(cat {at}/power-two) >> {at}/starts");
    text + &format!(
        "[groups.db]\nnodes = [\"one\", \"two\"]\nclass = \"hard\"\n[groups.db.resources.disk]\ntype = \"exec\"\n\
         start = [\"sh\", \"-c\", \"{start}\"]\nstop = [\"true\"]\n"
    )
}

fn starts(scratch: &Scratch) -> Vec<String> {
    let text = fs::read_to_string(scratch.join("starts")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// What the switches show to a group that starts on `node` after the other was switched off.
fn start_after_proof(node: &str) -> String {
    let power = |of: &str| if of == node { "on" } else { "off" };
    format!("{node} {} {}", power("one"), power("two"))
}

#[test]
fn a_hard_group_starts_elsewhere_only_after_its_killed_node_was_proven_off() {
    let scratch = Scratch::new();
    let agent = program("fence_dummy").display().to_string();
    let mut cell = Cell::start(&scratch, &tables(&scratch, &agent));
    let [first, other] = cell.wait_until_started("db");
    assert_eq!(starts(&scratch), [format!("{first} on on")]);
    wait_for("both fences to have answered", || {
        let said = cell.hosts.run("boss", "muster fence list");
        if said.code == Some(0) { Ok(()) } else { Err(format!("{said:?}")) }
    });

    cell.shell(first, "kill -9 -1");
    cell.wait_until_online("db", other);
    assert_eq!(starts(&scratch)[1..], [start_after_proof(other)]);
    let switch = fs::read_to_string(scratch.join(&format!("power-{first}"))).expect("the test wrote it");
    assert_eq!(switch.trim(), "off");

    // It is switched on again and comes back, and proves nothing for the next time.
    fs::write(scratch.join(&format!("power-{first}")), "on").expect("it is the test's");
    cell.start_again(first);
    cell.wait_until_able("db");
    cell.shell(other, "kill -9 -1");
    cell.wait_until_online("db", first);
    assert_eq!(starts(&scratch)[2..], [start_after_proof(first)]);
}

/// Does as the file `mood` says; counts its calls.
fn moody(scratch: &Scratch) -> PathBuf {
    let at = scratch.path().display();
    let text = format!(
        "#!/bin/sh\nwords=$(cat)\necho \"$words\" | grep action >> {at}/calls\n\
         if grep -q silent {at}/mood; then echo the controller is silent >&2; exit 1; fi\n\
         echo \"$words\" | exec {}\n",
        program("fence_dummy").display()
    );
    let path = scratch.write("moody", &text);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("it is ours");
    path
}

#[test]
fn a_fence_that_fails_keeps_a_hard_group_where_it_is_and_the_reason_is_shown() {
    let scratch = Scratch::new();
    scratch.write("mood", "well");
    let agent = moody(&scratch).display().to_string();
    let cell = Cell::start(&scratch, &tables(&scratch, &agent));
    let [first, other] = cell.wait_until_started("db");
    scratch.write("mood", "silent");
    cell.hosts.run("boss", &format!("muster fence test power-{first}"));
    wait_for("the list to say so", || {
        let said = cell.hosts.run("boss", "muster fence list");
        let is_told = said.code == Some(1) && said.data.contains("the controller is silent");
        if is_told { Ok(()) } else { Err(format!("{said:?}")) }
    });

    cell.shell(first, "kill -9 -1");
    let why = wait_for("the reason", || {
        let why = cell.hosts.must("boss", "muster group why db");
        if why.contains("the controller is silent") { Ok(why) } else { Err(why) }
    });
    assert!(why.contains(first), "{why}");
    // Tried again and again, and in vain.
    let calls = || fs::read_to_string(scratch.join("calls")).unwrap_or_default().lines().count();
    let before = calls();
    wait_for("more tries", || if calls() > before { Ok(()) } else { Err(format!("{before} calls")) });
    let group = cell.group("db").expect("the manager answers");
    assert_ne!(group.state, GroupCondition::Online, "{group:?}");
    assert_eq!(starts(&scratch).len(), 1, "{:?}", starts(&scratch));

    // The controller is mended: nobody has to do anything.
    scratch.write("mood", "well");
    cell.wait_until_online("db", other);
    assert_eq!(starts(&scratch)[1..], [start_after_proof(other)]);
}

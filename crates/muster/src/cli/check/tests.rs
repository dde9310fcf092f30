//! What `muster check` answers for a right file, a wrong one, and one for several machines.

use super::{Args, Findings, as_json, examine, run, summary};
use crate::cli::Exit;
use expect_test::expect;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A file that goes away with the test.
struct File(PathBuf);

impl File {
    fn new(text: &str) -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("muster-check-{}-{number}.toml", std::process::id()));
        std::fs::write(&path, text).expect("the temporary directory can be written");
        Self(path)
    }

    fn args(&self) -> Args {
        Args { file: None, config: Some(self.0.clone()), node: None, file_only: true, json: false }
    }

    fn examine(&self, args: Args) -> Findings {
        Findings { file: "FILE".to_owned(), ..examine(&args) }
    }
}

impl Drop for File {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).expect("the file was written by this test");
    }
}

const RIGHT: &str = r#"
    [cell]
    name = "shop"
    state_dir = "/tmp"
    [nodes.a]
    [nodes.b]
    [routers.front]
    node = "a"
    listen = ["127.0.0.1:0", "[::1]:0"]
    [clusters.shop.affinity]
    [clusters.shop.defaults]
    node = "b"
    [clusters.shop.members.one]
    command = ["no-such-program", "{port}"]
    [clusters.shop.members.two]
    command = ["no-such-program"]
    port = 9102
    weight = 4
    [clusters.shop.members.far]
    address = "10.0.0.5:80"
"#;

#[test]
fn a_right_file_is_summed_up() {
    let file = File::new(RIGHT);
    expect![[r#"
        FILE is right.

        cell     shop, state in /tmp
        console  http://127.0.0.1:29003
        nodes    a, b
        router   front on a: listens on 127.0.0.1:0, [::1]:0
          */ -> shop
        cluster  shop: 3 members, auto, affinity by JSESSIONID
          one                  weight 2    on b: no-such-program {port} at a free port
          two                  weight 4    on b: no-such-program at port 9102
          far                  weight 2    on b: runs at 10.0.0.5:80
    "#]]
    .assert_eq(&summary(&file.examine(file.args())));
    assert_eq!(run(file.args()), Exit::Yes);
}

#[test]
fn groups_fences_and_monitors_are_summed_up() {
    let file = File::new(
        "[cell]\nstate_dir = \"/tmp\"\n[manager]\nlisten = \"0.0.0.0:9000\"\n[nodes.a]\naddress = \"10.0.0.1\"\n\
         [nodes.b]\naddress = \"10.0.0.2\"\n[groups.g]\nnodes = [\"a\", \"b\"]\nclass = \"hard\"\n\
         [groups.g.resources.ip]\ntype = \"address\"\naddress = \"10.0.0.9/24\"\n\
         [groups.one]\nnodes = [\"b\"]\n[groups.one.resources.r]\ntype = \"process\"\ncommand = [\"x\"]\n\
         [fences.f]\nagent = \"/sbin/f\"\nnodes = [\"a\", \"b\"]\n\
         [monitors.m]\nkind = \"tcp\"\ntarget = \"10.0.0.9:1\"\ngroup = \"g\"\n",
    );
    expect![[r#"
        FILE is right.

        cell     cell, state in /tmp
        console  http://127.0.0.1:29003
        nodes    a, b
        group    g on a, b: goes elsewhere by itself, once its node is proven to be off
          ip                   address
        group    one on b: stays there
          r                    process
        fence    f for a, b: /sbin/f
        monitor  m on a, b: tcp 10.0.0.9:1, for group g
    "#]]
    .assert_eq(&summary(&file.examine(file.args())));
}

#[test]
fn a_wrong_file_is_told_as_json_too() {
    let file = File::new("[cell]\nname = 3\n");
    let findings = file.examine(file.args());
    let json = as_json(&findings);
    assert_eq!(json["ok"], false);
    assert_eq!(json["problems"][0]["code"], "M1003");
    assert_eq!(json["problems"][0]["line"], 2);
    assert_eq!(json["cell"], serde_json::Value::Null);
    assert_eq!(run(file.args()), Exit::No);
    assert_eq!(run(Args { json: true, ..file.args() }), Exit::No);
}

#[test]
fn this_machine_is_looked_at_for_the_node_that_it_is() {
    let file = File::new(RIGHT);
    let as_node = |node: &str| {
        let args = Args { file_only: false, node: Some(node.to_owned()), ..file.args() };
        let problems = file.examine(args).problems.list;
        problems.iter().map(|problem| problem.code.0).collect::<Vec<_>>()
    };
    assert_eq!(as_node("b"), ["M1011", "M1011"]);
    assert_eq!(as_node("c"), ["M2006"]);
    let without_node = file.examine(Args { file_only: false, ..file.args() });
    assert!(without_node.problems.is_empty());
    assert!(without_node.notes[0].contains("--node NAME"), "{:?}", without_node.notes);
}

const BY_HAND: &str = r#"
    [cell]
    name = "shop"
    state_dir = "/tmp"
    [manager]
    listen = "0.0.0.0:29001"
    [nodes.a]
    address = "10.0.0.1"
    [nodes.b]
    address = "10.0.0.2"
    [groups.data]
    nodes = ["a", "b"]
    class = "hard"
    [groups.data.resources.server]
    type = "process"
    command = ["/bin/data"]
    [fences.board-a]
    agent = "/usr/sbin/fence_ipmilan"
    nodes = ["a"]
    parameters = { ip = "10.0.9.1", plug = "{node}" }
    secret_files = { password = "/etc/muster/fence-password" }
"#;

#[test]
fn what_is_only_safe_by_hand_is_noted() {
    let file = File::new(BY_HAND);
    let findings = file.examine(file.args());
    assert!(findings.problems.is_empty(), "{}", findings.problems);
    expect![[r#"
        two nodes, and nothing outside of them: when a is lost, or the network between the two, b cannot know which it is, so it ends data and takes over nothing; that is for a person. A manager on a third machine, however small, changes that
        group data is of the class hard, and no fence can switch off b: when such a node is lost, the group goes elsewhere only once a person has said that it is off"#]].assert_eq(&findings.notes.join("\n"));
}

#[test]
fn a_fence_keeps_its_secrets_out_of_the_file() {
    let wrong = BY_HAND.replace("ip = \"10.0.9.1\"", "password = \"hunter2\", action = \"on\"");
    let wrong = wrong.replace("\"/etc/muster/fence-password\"", "\"fence-password\"");
    let file = File::new(&wrong);
    let findings = file.examine(file.args());
    expect![[r#"
        FILE:20:20: M1004: `password` is a secret, and a configuration is read by many
          key:     fences.board-a.parameters.password
          value:   "hunter2"
          allowed: `secret_files = { password = "/path/of/a/file" }`
        FILE:20:20: M1005: `password` is given twice, once as a secret
          key:     fences.board-a.parameters.password
          value:   "hunter2"
          allowed: each parameter once
        FILE:20:42: M1008: `action` is what Muster tells the agent itself
          key:     fences.board-a.parameters.action
          value:   "on"
          allowed: another parameter
        FILE:21:33: M1004: `fence-password` is not an absolute path
          key:     fences.board-a.secret_files.password
          value:   "fence-password"
          allowed: a path that starts with `/`"#]]
    .assert_eq(&findings.problems.to_string().replace(&file.0.display().to_string(), "FILE"));
}

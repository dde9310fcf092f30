//! What this machine keeps a cell from running, shown on a directory of each test's own.

use crate::config::{Problems, check_environment, check_resources, parse};
use crate::roles::Selection;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use wire::id::NodeName;
use wire::settings::CellSettings;

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A directory that goes away with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("muster-config-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).expect("the temporary directory can be written");
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).expect("what the test made can be removed");
    }
}

/// The problems of a whole node.
fn check_on(settings: &CellSettings, text: &str, file_name: &str, node: &str) -> Problems {
    let node = NodeName::from(node);
    check_environment(settings, text, file_name, &node, Selection::of_node(settings, &node))
}

/// The problems of a managed member with these lines; `DIR` is the scratch directory, which is left out of messages.
fn check(scratch: &Scratch, console: &str, router: &str, member: &str) -> String {
    let text = format!(
        "[cell]\nstate_dir = \"DIR/state\"\n[console]\nlisten = \"{console}\"\n\
         [routers.front]\nlisten = [\"{router}\"]\n[clusters.shop.members.one]\n{member}\n"
    );
    let directory = scratch.0.display().to_string();
    let text = text.replace("DIR", &directory);
    let settings = parse(&text, "muster.toml").unwrap_or_else(|problems| panic!("{problems}\nin\n{text}"));
    let problems = check_on(&settings, &text, "muster.toml", "local");
    problems.to_string().replace(&directory, "DIR")
}

fn check_member(member: &str) -> String {
    check(&Scratch::new(), "127.0.0.1:0", "127.0.0.1:0", member)
}

const TRUE: &str = "command = [\"true\", \"{port}\"]\n";

#[test]
fn nothing_is_wrong_with_what_is_there() {
    assert_eq!(check_member(TRUE), "");
    assert_eq!(
        check_member(
            "command = [\"/bin/sh\", \"{port}\"]\ndirectory = \"/\"\n[clusters.shop.members.one.log]\npath = \"DIR/one.log\""
        ),
        ""
    );
}

#[test]
fn an_address_in_use_is_named_for_router_console_and_member() {
    let other = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port is found");
    let address = other.local_addr().expect("a listener has an address").to_string();
    let port = other.local_addr().expect("a listener has an address").port();
    let scratch = Scratch::new();
    let hide = |text: String| text.replace(&port.to_string(), "PORT");
    expect_test::expect![[r#"
        muster.toml:6:11: M1010: 127.0.0.1:PORT cannot be listened on: another process uses it
          key:     routers.front.listen[0]
          value:   "127.0.0.1:PORT"
          allowed: a free address of this machine, or port 0 for any free one"#]]
    .assert_eq(&hide(check(&scratch, "127.0.0.1:0", &address, TRUE)));
    expect_test::expect![[r#"
        muster.toml:4:10: M1010: 127.0.0.1:PORT cannot be listened on: another process uses it
          key:     console.listen
          value:   "127.0.0.1:PORT"
          allowed: a free address of this machine, or port 0 for any free one"#]]
    .assert_eq(&hide(check(&scratch, &address, "127.0.0.1:0", TRUE)));
    expect_test::expect![[r#"
        muster.toml:9:8: M1010: 127.0.0.1:PORT cannot be listened on: another process uses it
          key:     clusters.shop.members.one.port
          value:   PORT
          allowed: a free address of this machine, or port 0 for any free one"#]]
    .assert_eq(&hide(check_member(&format!("{TRUE}port = {port}"))));
}

#[test]
fn an_address_of_another_machine_is_told() {
    let told = check(&Scratch::new(), "127.0.0.1:0", "192.0.2.1:8080", TRUE);
    assert!(told.contains("M1010: 192.0.2.1:8080 cannot be listened on: no interface"), "{told}");
}

#[test]
fn a_program_that_is_not_there_or_not_executable_is_told() {
    expect_test::expect![[r#"
        muster.toml:8:11: M1011: the program `/no/such/server` cannot be run: /no/such/server does not exist
          key:     clusters.shop.members.one.command
          value:   ["/no/such/server", "{port}"]
          allowed: a program in PATH, or the path of an executable file"#]]
    .assert_eq(&check_member("command = [\"/no/such/server\", \"{port}\"]"));
    let in_path =
        check_member("command = [\"no-such-server\", \"{port}\"]\nenvironment = { PATH = \"/bin\" }");
    assert!(in_path.contains("it is in no directory of PATH (/bin)"), "{in_path}");
    let not_executable = check_member("command = [\"/etc/passwd\", \"{port}\"]");
    assert!(not_executable.contains("/etc/passwd is not executable"), "{not_executable}");
    let directory = check_member("command = [\"/tmp\", \"{port}\"]");
    assert!(directory.contains("/tmp is not a file"), "{directory}");
    let relative = check_member("command = [\"./sh\", \"{port}\"]\ndirectory = \"/bin\"");
    assert_eq!(relative, "");
}

#[test]
fn a_missing_directory_is_one_problem() {
    expect_test::expect![[r#"
        muster.toml:9:13: M1012: the working directory cannot be used: /no/such does not exist
          key:     clusters.shop.members.one.directory
          value:   "/no/such"
          allowed: a directory of this machine"#]]
    .assert_eq(&check_member("command = [\"./server\", \"{port}\"]\ndirectory = \"/no/such\""));
}

#[test]
fn a_key_from_the_defaults_is_told_in_its_own_line() {
    let member = "[clusters.shop.defaults]\ndirectory = \"/no/such\"\ncommand = [\"./server\", \"{port}\"]";
    let told = check_member(member);
    assert!(told.starts_with("muster.toml:9:13: M1012"), "{told}");
}

#[test]
fn an_unknown_user_is_told() {
    let told = check_member(&format!("{TRUE}user = \"no-such-user\""));
    assert!(told.contains("M1013: the member cannot run as `no-such-user`: there is no such user"), "{told}");
}

#[test]
fn a_log_directory_that_is_missing_is_told() {
    let log = |path: &str| check_member(&format!("{TRUE}[clusters.shop.members.one.log]\npath = \"{path}\""));
    expect_test::expect![[r#"
        muster.toml:10:8: M1012: the log file cannot be written: DIR/logs does not exist
          key:     clusters.shop.members.one.log.path
          value:   "DIR/logs/one.log"
          allowed: a file in a directory that exists and that this user may write"#]]
    .assert_eq(&log("DIR/logs/one.log"));
    assert!(log("DIR").contains("DIR is a directory"), "{}", log("DIR"));
}

#[test]
fn a_state_directory_that_cannot_be_is_told() {
    let scratch = Scratch::new();
    std::fs::write(scratch.0.join("state"), "a file").expect("the scratch directory can be written");
    let told = check(&scratch, "127.0.0.1:0", "127.0.0.1:0", TRUE);
    assert!(
        told.contains("M1014: the state directory cannot be used: DIR/state is not a directory"),
        "{told}"
    );
}

#[test]
fn another_node_is_not_looked_at() {
    let text = "[nodes.here]\n[nodes.there]\n[cell]\nstate_dir = \"/tmp\"\n[routers.r]\nlisten = [\"192.0.2.1:1\"]\n\
                node = \"there\"\n[clusters.c.members.m]\nnode = \"there\"\ncommand = [\"/no/such\", \"{port}\"]\n\
                [console]\nlisten = \"127.0.0.1:0\"";
    let settings = parse(text, "t").expect("the file is right");
    let count = |node: &str| check_on(&settings, text, "t", node).list.len();
    assert_eq!((count("here"), count("there")), (0, 2));
}

#[test]
fn roles_that_are_not_started_here_may_run_already() {
    let taken = [(); 3].map(|()| std::net::TcpListener::bind("127.0.0.1:0").expect("a free port is there"));
    let [console, router, member] = taken.each_ref().map(|taken| taken.local_addr().expect("it listens"));
    let text = format!(
        "[cell]\nstate_dir = \"/tmp\"\n[console]\nlisten = \"{console}\"\n[routers.r]\nlisten = [\"{router}\"]\n\
         [clusters.c.members.m]\ncommand = [\"/no/such\"]\nport = {}\n",
        member.port()
    );
    let settings = parse(&text, "t").unwrap_or_else(|problems| panic!("{problems}"));
    let node = NodeName::from("local");
    let count = |manager, agent, routers| {
        let roles = Selection { manager, agent, routers };
        check_environment(&settings, &text, "t", &node, roles).list.len()
    };
    assert_eq!((count(true, false, false), count(false, true, false), count(false, false, true)), (1, 2, 1));
    assert_eq!(count(false, false, false), 0);
}

/// What the resources, monitors and fences of a cell of one node lack.
fn lacking(text: &str) -> String {
    // What every file without groups needs stands last, so that it moves no line.
    let base = "[routers.front]\nlisten = [\"127.0.0.1:0\"]\n[clusters.shop.members.one]\naddress = \"10.0.0.5:80\"\n";
    let text = format!("[nodes.local]\n{text}{base}");
    let settings = parse(&text, "muster.toml").unwrap_or_else(|problems| panic!("{problems}\nin\n{text}"));
    check_resources(&settings, &text, "muster.toml", &NodeName::from("local")).to_string()
}

#[test]
fn programs_directories_and_users_of_groups_are_looked_for() {
    let resource =
        |lines: &str| lacking(&format!("[groups.g]\nnodes = [\"local\"]\n[groups.g.resources.r]\n{lines}"));
    expect_test::expect![[r#"
        muster.toml:6:9: M1040: on this machine: the program `/no/such/start` cannot be run: /no/such/start does not exist
          key:     groups.g.resources.r.start
          value:   ["/no/such/start"]
          allowed: what it needs, on each node that it may be on"#]]
    .assert_eq(&resource("type = \"exec\"\nstart = [\"/no/such/start\"]\nstop = [\"true\"]\n"));
    let process = "type = \"process\"\ncommand = [\"true\"]\n";
    assert_eq!(resource(process), "");
    let told = resource(&format!("{process}user = \"no-such-user\"\n"));
    assert!(told.contains("it cannot run as `no-such-user`: there is no such user"), "{told}");
    let told = resource(&format!("{process}directory = \"/no/such\"\n"));
    assert!(told.contains("the working directory cannot be used: /no/such does not exist"), "{told}");
}

#[test]
fn what_lies_on_a_disk_of_the_group_is_not_looked_for() {
    let told = lacking(
        "[groups.g]\nnodes = [\"local\"]\n[groups.g.resources.disk]\ntype = \"filesystem\"\ndevice = \"LABEL=x\"\n\
         mount_point = \"/tmp\"\nfile_system = \"ext4\"\n[groups.g.resources.r]\ntype = \"process\"\n\
         command = [\"/tmp/no/such/server\"]\ndirectory = \"/tmp/no/such\"\n",
    );
    assert_eq!(told, "");
}

#[test]
fn programs_of_monitors_and_fences_are_looked_for() {
    let told = lacking("[monitors.m]\nkind = \"custom\"\ncommand = [\"/no/such/plugin\"]\n");
    assert!(told.contains("the program `/no/such/plugin` cannot be run"), "{told}");
    let told = lacking(
        "[fences.f]\nagent = \"/no/such/agent\"\nnodes = [\"local\"]\nsecret_files = { password = \"/no/such/secret\" }\n",
    );
    assert!(told.contains("the fence has no agent: /no/such/agent does not exist"), "{told}");
    assert!(told.contains("the fence has no password: /no/such/secret cannot be read"), "{told}");
}

//! Groups that monitors look after, with real servers on real machines: what is sick is restarted where it is, then goes
//! elsewhere, and then the final action is taken; nothing leaves a node for one that is as sick.
//!
//! Each host is a network namespace of the test's own. Needs root.

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use support::hosts::Hosts;
use support::{Running, Scratch, wait_for};
use wire::group::{GroupCondition, GroupStatus};
use wire::monitor::MonitorState;
use wire::status::{CellStatus, Event};

const HOSTS: [&str; 3] = ["boss", "one", "two"];
/// How the monitors of these tests ask: often, and patient with a busy machine.
const PACE: &str = "interval_ms = 200\ntimeout_ms = 1500\nretries = 2\n";

struct Cell {
    /// By host; dropped before the hosts.
    running: Vec<Running>,
    hosts: Hosts,
}

impl Cell {
    /// Three hosts with an agent each; the manager is on the first.
    fn start(scratch: &Scratch, tables: &str) -> Self {
        let hosts = Hosts::new(scratch, &HOSTS);
        let mut cell = Self { running: Vec::new(), hosts };
        let mut text = String::from("[manager]\nlisten = \"0.0.0.0:29001\"\n");
        for (index, host) in HOSTS.iter().enumerate() {
            text.push_str(&format!("\n[nodes.{host}]\naddress = \"10.0.0.{}\"\n", index + 1));
        }
        cell.hosts.write("boss", "muster.toml", &(text + "\n" + tables));
        cell.hosts.must("boss", "muster check --node boss");
        cell.hosts.must("boss", "muster init");
        cell.running.push(cell.hosts.start("boss", "muster run --node boss"));
        wait_for("the manager to answer", || cell.try_status().map(drop));
        for host in &HOSTS[1..] {
            let join = cell.hosts.must("boss", &format!("muster node token {host}"));
            cell.hosts.must(host, join.trim());
            cell.running.push(cell.hosts.start(host, "muster run"));
        }
        cell
    }

    fn try_status(&self) -> Result<CellStatus, String> {
        let said = self.hosts.run("boss", "muster status --json");
        serde_json::from_str(&said.data).map_err(|error| format!("{error}: {said:?}"))
    }

    fn group(&self, name: &str) -> Result<GroupStatus, String> {
        let mut groups = self.try_status()?.groups.into_iter();
        groups.find(|group| group.group.0 == name).ok_or_else(|| format!("there is no group {name}"))
    }

    fn wait_for_group(&self, what: &str, name: &str, is_it: impl Fn(&GroupStatus) -> bool) -> GroupStatus {
        wait_for(what, || {
            let group = self.group(name)?;
            if is_it(&group) { Ok(group) } else { Err(format!("{group:?}")) }
        })
    }

    fn wait_until_on(&self, name: &str, node: &str) -> GroupStatus {
        self.wait_for_group(&format!("group {name} to run on {node}"), name, |group| {
            group.state == GroupCondition::Online && group.node.as_ref().is_some_and(|it| it.0 == node)
        })
    }

    /// Both nodes could run it; from then on where it goes does not depend on who was quick. It is started by hand.
    fn begin(&self, name: &str) {
        self.wait_for_group("both nodes to be able", name, |group| group.why.iter().all(|why| why.is_able));
        self.hosts.must("boss", &format!("muster group start {name} one"));
        self.wait_until_on(name, "one");
    }

    fn wait_for_monitor(&self, name: &str, node: &str, wanted: MonitorState) {
        wait_for(&format!("monitor {name} on {node} to be {wanted}"), || {
            let all = self.try_status()?.monitors;
            let monitor = all.iter().find(|it| it.monitor.0 == name && it.node.0 == node);
            match monitor {
                Some(monitor) if monitor.state == wanted => Ok(()),
                found => Err(format!("{found:?}")),
            }
        });
    }

    fn events(&self) -> Vec<Event> {
        let curl = "T=$(cat /var/lib/muster/admin-token) && exec curl --silent --fail --max-time 4 \
            -H \"Authorization: Bearer $T\" 'http://127.0.0.1:29003/api/v1/events?most=1000'";
        let said = self.hosts.shell("boss", curl);
        serde_json::from_str(&said.data).unwrap_or_else(|error| panic!("{error}: {said:?}"))
    }

    /// Texts of this kind, the oldest first.
    fn told(&self, kind: &str) -> Vec<String> {
        let mut events = self.events();
        events.sort_by_key(|event| event.number);
        events.into_iter().filter(|event| event.kind == kind).map(|event| event.text).collect()
    }

    /// Numbers of the events of a monitor's watch on a node.
    fn ids(&self, node: &str) -> Vec<u16> {
        let mut events = self.events();
        events.sort_by_key(|event| event.number);
        let here = events.into_iter().filter(|event| event.node.as_ref().is_some_and(|it| it.0 == node));
        here.filter_map(|event| event.id).collect()
    }
}

fn pid(file: &Path) -> Option<u32> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

fn running(file: &Path) -> u32 {
    pid(file).unwrap_or_else(|| panic!("{}: a server is there", file.display()))
}

/// Signals a server with all of its processes, by the numbers that its host knows.
fn signal_family(cell: &Cell, node: &str, pid: u32, signal: &str) {
    let text = format!("kill -{signal} {pid} $(cat /proc/{pid}/task/{pid}/children)");
    let said = cell.hosts.shell(node, &text);
    assert_eq!(said.code, Some(0), "{said:?}");
}

/// The server of a node is another process than before.
fn wait_for_another(file: &Path, before: u32) -> u32 {
    wait_for("another process", || match pid(file) {
        Some(now) if now != before => Ok(now),
        found => Err(format!("{found:?} instead of another than {before}")),
    })
}

/// An nginx for each node, which answers `/` with a status.
struct Web {
    directory: PathBuf,
}

impl Web {
    fn new(scratch: &Scratch) -> Self {
        let web = Self { directory: scratch.join("web") };
        for node in ["one", "two"] {
            fs::create_dir_all(web.directory.join(node)).expect("the test's directory can be written");
            web.answers(node, 200);
        }
        web
    }

    fn pid_file(&self, node: &str) -> PathBuf {
        self.directory.join(node).join("nginx.pid")
    }

    /// From its next start on.
    fn answers(&self, node: &str, status: u16) {
        let directory = self.directory.join(node);
        let at = directory.display();
        let text = format!(
            "daemon off;\nworker_processes 1;\npid {at}/nginx.pid;\nerror_log {at}/error.log;\n\
             events {{ worker_connections 64; }}\nhttp {{\n  access_log off;\n  client_body_temp_path {at}/body;\n  \
             proxy_temp_path {at}/proxy;\n  fastcgi_temp_path {at}/fastcgi;\n  uwsgi_temp_path {at}/uwsgi;\n  \
             scgi_temp_path {at}/scgi;\n  server {{ listen 127.0.0.1:8080; location / {{ return {status}; }} }}\n}}\n"
        );
        fs::write(directory.join("nginx.conf"), text).expect("the test's directory can be written");
    }

    fn group(&self) -> String {
        let at = self.directory.display();
        format!(
            "[groups.site]\nnodes = [\"one\", \"two\"]\nstartup = \"manual\"\n\n[groups.site.resources.server]\n\
             type = \"process\"\ncommand = [\"sh\", \"-c\", \"exec nginx -c {at}/$MUSTER_NODE/nginx.conf\"]\n\
             stop_timeout_ms = 5000\n"
        )
    }
}

/// The group of the web servers with a monitor that notes what it does.
fn watched(web: &Web, notes: &Path) -> String {
    let note = |what: &str| format!("[\"sh\", \"-c\", \"echo {what} $MUSTER_NODE >> {}\"]", notes.display());
    format!(
        "{}\n[monitors.web]\nkind = \"http\"\ntarget = \"127.0.0.1:8080\"\n{PACE}group = \"site\"\n\
         restarts_max = 2\nfailovers_max = 1\nfinal_action = \"stop-group\"\nbefore_restart = {}\n\
         before_failover = {}\nbefore_final = {}\n",
        web.group(),
        note("restart"),
        note("failover"),
        note("final"),
    )
}

#[test]
fn a_web_server_that_hangs_or_dies_is_restarted_in_its_place() {
    let scratch = Scratch::new();
    let web = Web::new(&scratch);
    let cell = Cell::start(&scratch, &watched(&web, &scratch.write("notes", "")));
    cell.begin("site");
    cell.wait_for_monitor("web", "one", MonitorState::Normal);
    cell.wait_for_monitor("web", "two", MonitorState::Idle);
    assert_eq!(cell.ids("one"), [2, 1], "{:?}", cell.events());

    // Hung: nobody would see that by looking at processes.
    let first = running(&web.pid_file("one"));
    signal_family(&cell, "one", first, "STOP");
    let second = wait_for_another(&web.pid_file("one"), first);
    cell.wait_for_monitor("web", "one", MonitorState::Normal);
    let group = cell.wait_until_on("site", "one");
    assert_eq!(group.epoch, 1, "it was restarted in its place");
    assert!(
        group.reason.contains("no answer within 1500 ms (restart 1 of 2 within an hour)"),
        "{}",
        group.reason
    );
    assert_eq!(cell.ids("one"), [2, 1, 6, 3, 2, 1]);

    // Killed: the group's own count, and at once.
    // Its workers, which would hold the port, are not killed here.
    cell.hosts.shell("one", &format!("kill -KILL {second}"));
    wait_for_another(&web.pid_file("one"), second);
    cell.wait_for_monitor("web", "one", MonitorState::Normal);
    let group = cell.wait_until_on("site", "one");
    assert_eq!(group.epoch, 1);
    assert!(group.reason.contains("server is lost: it was killed by signal KILL"), "{}", group.reason);
}

#[test]
fn a_web_server_that_answers_wrongly_is_restarted_then_moved_then_stopped() {
    let scratch = Scratch::new();
    let web = Web::new(&scratch);
    let notes = scratch.write("notes", "");
    let cell = Cell::start(&scratch, &watched(&web, &notes));
    cell.begin("site");
    cell.wait_for_monitor("web", "one", MonitorState::Normal);

    // Which a restart does not mend: two of them, and then it goes.
    web.answers("one", 500);
    signal_family(&cell, "one", running(&web.pid_file("one")), "HUP");
    cell.wait_until_on("site", "two");
    cell.wait_for_monitor("web", "two", MonitorState::Normal);
    cell.wait_for_monitor("web", "one", MonitorState::Idle);
    let recovered = cell.told("group-recovery");
    assert_eq!(recovered.len(), 1, "{recovered:?}");
    assert!(recovered[0].contains("500"), "{recovered:?}");

    // The same there: two restarts, and back; there again, and then a final end.
    web.answers("two", 500);
    signal_family(&cell, "two", running(&web.pid_file("two")), "HUP");
    let end = cell.wait_for_group("the final action", "site", |group| {
        group.state == GroupCondition::Offline && group.reason.starts_with("stopped by a final action")
    });
    assert!(end.reason.contains("monitor web is in error"), "{}", end.reason);
    let notes = fs::read_to_string(&notes).expect("the test wrote it");
    let notes: Vec<&str> = notes.lines().collect();
    let expected = [
        "restart one",
        "restart one",
        "failover one",
        "restart two",
        "restart two",
        "failover two",
        "restart one",
        "restart one",
        "final one",
    ];
    assert_eq!(notes, expected);
    let why = cell.hosts.must("boss", "muster group why site");
    assert!(why.contains("stopped by a final action: monitor web is in error"), "{why}");

    // A person mends it and starts it again.
    web.answers("one", 200);
    cell.hosts.must("boss", "muster group start site one");
    cell.wait_for_monitor("web", "one", MonitorState::Normal);
    cell.wait_until_on("site", "one");
}

#[test]
fn a_group_stays_where_it_is_while_the_other_node_has_the_same_fault_and_the_sick_node_goes_in_the_end() {
    let scratch = Scratch::new();
    let web = Web::new(&scratch);
    let ended = scratch.write("ended", "");
    let tables = format!(
        "{}\n[monitors.way]\nkind = \"address\"\naddress = \"10.77.0.1\"\n{PACE}all_groups = true\n\
         restarts_max = 0\nfailovers_max = 0\nfinal_action = \"reboot\"\n\
         final_command = [\"sh\", \"-c\", \"echo reboot >> {}\"]\n",
        web.group(),
        ended.display(),
    );
    let mut cell = Cell::start(&scratch, &tables);
    for host in ["one", "two"] {
        let said = cell.hosts.shell(host, "ip address add 10.77.0.1/32 dev lo");
        assert_eq!(said.code, Some(0), "{said:?}");
        cell.wait_for_monitor("way", host, MonitorState::Normal);
    }
    cell.begin("site");
    for host in ["two", "one"] {
        cell.hosts.shell(host, "ip address del 10.77.0.1/32 dev lo");
        cell.wait_for_monitor("way", host, MonitorState::Error);
    }
    let group = cell.wait_for_group("it to say why it stays", "site", |group| {
        group.reason.contains("no other node could run it better")
    });
    assert_eq!(
        (group.state, group.node.map(|node| node.0)),
        (GroupCondition::Online, Some("one".to_owned()))
    );
    // A leader that has just begun tells it once it knows who is able.
    let told = wait_for("people to be told", || {
        let told = cell.told("group-recovery-suppressed");
        if told.is_empty() { Err("not yet".to_owned()) } else { Ok(told) }
    });
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("two: it can run there, but monitor way is in error there"), "{told:?}");
    assert_eq!(fs::read_to_string(&ended).ok().as_deref(), Some(""));

    // Now the other node is well again: this one's service ends, with the program that ends the machine.
    cell.hosts.shell("two", "ip address add 10.77.0.1/32 dev lo");
    cell.wait_until_on("site", "two");
    let place = HOSTS.iter().position(|host| *host == "one").expect("a host of the test");
    let status = cell.running[place].wait();
    assert_eq!(status, Some(0));
    assert_eq!(fs::read_to_string(&ended).ok().as_deref(), Some("reboot\n"));
}

fn postfix(directory: &Path, node: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    let at = directory.join(node);
    for name in ["", "conf", "queue", "data"] {
        let path = at.join(name);
        fs::create_dir_all(&path).expect("the test's directory can be written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("it is ours");
    }
    let chown = std::process::Command::new("chown").arg("postfix").arg(at.join("data")).status();
    assert!(chown.is_ok_and(|status| status.success()), "the user postfix is there, and this runs as root");
    let main = format!(
        "compatibility_level = 3.6\nqueue_directory = {at}/queue\ndata_directory = {at}/data\n\
         command_directory = /usr/sbin\ndaemon_directory = /usr/lib/postfix/sbin\ninet_interfaces = 127.0.0.1\n\
         inet_protocols = ipv4\nmyhostname = mail.test\nmydestination =\nalias_maps =\nlocal_recipient_maps =\n\
         smtpd_tls_security_level = none\n",
        at = at.display()
    );
    fs::write(at.join("conf/main.cf"), main).expect("it can be written");
    let master = "127.0.0.1:2525 inet n - n - - smtpd\nanvil unix - - n - 1 anvil\n\
        rewrite unix - - n - - trivial-rewrite\ncleanup unix n - n - 0 cleanup\nqmgr unix n - n 300 1 qmgr\n";
    fs::write(at.join("conf/master.cf"), master).expect("it can be written");
    let check = std::process::Command::new("postfix").arg("-c").arg(at.join("conf")).arg("check").output();
    let check = check.expect("postfix is there");
    assert!(check.status.success(), "{check:?}");
}

#[test]
fn a_mail_server_that_hangs_is_restarted_and_then_moved() {
    let scratch = Scratch::new();
    let directory = scratch.join("mail");
    for node in ["one", "two"] {
        postfix(&directory, node);
    }
    let tables = format!(
        "[groups.mail]\nnodes = [\"one\", \"two\"]\nstartup = \"manual\"\n\n[groups.mail.resources.server]\n\
         type = \"process\"\nstop_timeout_ms = 5000\n\
         command = [\"sh\", \"-c\", \"exec /usr/lib/postfix/sbin/master -d -c {}/$MUSTER_NODE/conf\"]\n\n\
         [monitors.mail]\nkind = \"smtp\"\ntarget = \"127.0.0.1:2525\"\n{PACE}group = \"mail\"\n\
         resource = \"server\"\nrestarts_max = 1\nfailovers_max = 1\n",
        directory.display()
    );
    let cell = Cell::start(&scratch, &tables);
    cell.begin("mail");
    cell.wait_for_monitor("mail", "one", MonitorState::Normal);
    let pid_file = directory.join("one/queue/pid/master.pid");
    let first = running(&pid_file);
    signal_family(&cell, "one", first, "STOP");
    let second = wait_for_another(&pid_file, first);
    cell.wait_for_monitor("mail", "one", MonitorState::Normal);
    assert_eq!(cell.ids("one"), [2, 1, 6, 3, 2, 1]);
    signal_family(&cell, "one", second, "STOP");
    cell.wait_until_on("mail", "two");
    cell.wait_for_monitor("mail", "two", MonitorState::Normal);
    assert_eq!(cell.ids("two"), [2, 1]);
    let told = cell.told("group-recovery");
    assert!(told[0].starts_with("group mail on node one: monitor mail is in error: "), "{told:?}");
}

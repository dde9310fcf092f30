//! Agents of the Open Cluster Framework in failover groups: those of Debian, called as clusters call them. Needs root.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use support::groups::Cell;
use support::{Scratch, program, wait_for};
use wire::group::GroupCondition;

/// Longest wait of `ocf-tester` for one agent: it calls all actions several times, most of them shells.
const TESTER_TIMEOUT_MS: u32 = 120_000;

fn must(command: &mut Command) -> String {
    let said = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(said.status.success(), "{command:?}: {said:?}");
    String::from_utf8_lossy(&said.stdout).trim().to_owned()
}

/// An OCF_ROOT with Debian's agents, and one more of the provider `test`.
fn root_with(scratch: &Scratch, name: &str, text: &str) -> PathBuf {
    let root = scratch.join("ocf");
    let own = root.join("resource.d/test");
    fs::create_dir_all(&own).expect("the test's directory can be written");
    let link = |from: &str, to: PathBuf| std::os::unix::fs::symlink(from, to).expect("it is not there yet");
    link("/usr/lib/ocf/lib", root.join("lib"));
    link("/usr/lib/ocf/resource.d/heartbeat", root.join("resource.d/heartbeat"));
    fs::write(own.join(name), text).expect("it can be written");
    fs::set_permissions(own.join(name), fs::Permissions::from_mode(0o755)).expect("it is ours");
    root
}

/// An agent whose start runs `ocf-tester` for others, in the environment in which agents are called.
fn tester(report: &Path) -> String {
    let description = "<?xml version=\"1.0\"?><resource-agent name=\"Tester\" version=\"1.0\"><version>1.0</version>\
        <parameters/><actions><action name=\"start\" timeout=\"120s\"/><action name=\"stop\" timeout=\"20s\"/>\
        <action name=\"monitor\" timeout=\"20s\" interval=\"3600s\"/></actions></resource-agent>";
    let report = report.display();
    format!(
        "#!/bin/sh\nagents=$OCF_ROOT/resource.d/heartbeat\ncase \"$1\" in\nmeta-data) echo '{description}' ;;\n\
         monitor) [ -e {report}.done ] || exit 7 ;;\nstop) rm -f {report}.done ;;\n\
         start)\n  ocf-tester -n tested $agents/Dummy >{report} 2>&1 &&\n\
         ocf-tester -n tested -o ip=10.1.0.120 -o nic=lan0 -o cidr_netmask=24 $agents/IPaddr2 >>{report} 2>&1 &&\n\
         touch {report}.done || exit 1 ;;\n*) exit 3 ;;\nesac\n"
    )
}

fn start(cell: &Cell, group: &str, node: &str) {
    let said = cell.hosts.run("boss", &format!("muster group start {group} {node}"));
    assert_eq!(
        said.code,
        Some(0),
        "{said:?}\n{}",
        cell.hosts.must("boss", &format!("muster group why {group}"))
    );
}

#[test]
fn ocf_tester_is_content_with_agents_in_the_environment_that_they_get() {
    let scratch = Scratch::new();
    program("ocf-tester");
    program("xmllint");
    let report = scratch.join("report");
    let root = root_with(&scratch, "Tester", &tester(&report));
    let groups = format!(
        "[groups.tests]\nnodes = [\"one\"]\nstartup = \"manual\"\nrestarts_max = 0\n\
         [groups.tests.resources.tester]\ntype = \"ocf\"\nagent = \"test:Tester\"\n\
         start_timeout_ms = {TESTER_TIMEOUT_MS}\nenvironment = {{ OCF_ROOT = {root:?} }}\n"
    );
    let cell = Cell::start(&scratch, &groups);
    cell.wait_until_able("tests");
    let said = cell.hosts.run("boss", "muster group start tests one");
    let report = fs::read_to_string(&report).unwrap_or_default();
    assert_eq!(said.code, Some(0), "{said:?}\n{report}");
    for agent in ["Dummy", "IPaddr2"] {
        assert!(report.contains(&format!("heartbeat/{agent} passed all tests")), "{report}");
    }
}

/// The variables that an agent was called with, by action; the last call of each that is written whole by now.
fn calls(dumped: &str) -> BTreeMap<String, BTreeMap<String, String>> {
    let mut calls: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    for call in dumped.split("### ").filter_map(|call| call.strip_suffix("###\n")) {
        let mut lines = call.lines();
        let action = lines.next().unwrap_or_default();
        let variables = lines.filter_map(|line| line.split_once('='));
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        calls.insert(action.to_owned(), variables.collect());
    }
    calls
}

#[test]
fn an_agent_gets_the_variables_of_the_standard_and_its_reasons_are_shown() {
    let scratch = Scratch::new();
    let dump = scratch.join("dump");
    // As the agent for tests of another cluster, which writes its whole environment; and a monitor that can be told to fail.
    let agent = format!(
        "#!/bin/sh\n. $OCF_ROOT/lib/heartbeat/ocf-shellfuncs\n{{ echo \"### $1-$OCF_RESKEY_CRM_meta_interval\"; env; echo '###'; }} >>{dump}\n\
         case \"$1\" in\nmeta-data) cat <<END\n<?xml version=\"1.0\"?>\n<!DOCTYPE resource-agent SYSTEM \"ra-api-1.dtd\">\n\
         <resource-agent name=\"Thing\" version=\"1.0\"><version>1.0</version><parameters>\n\
         <parameter name=\"colour\" required=\"1\"><content type=\"string\"/></parameter></parameters><actions>\n\
         <action name=\"start\" timeout=\"17s\"/><action name=\"stop\" timeout=\"18s\"/>\n\
         <action name=\"monitor\" timeout=\"19s\" interval=\"1s\"/><action name=\"validate-all\" timeout=\"5s\"/>\n\
         </actions></resource-agent>\nEND\n;;\nmonitor) if [ -e {dump}.broken ]; then rm {dump}.broken; ocf_exit_reason \"the paint is off\"; exit 1; fi\n\
         [ -e {dump}.on ] || exit 7 ;;\nstart) touch {dump}.on ;;\nstop) rm -f {dump}.on ;;\nesac\nexit 0\n",
        dump = dump.display()
    );
    let root = root_with(&scratch, "Thing", &agent);
    let groups = format!(
        "[groups.things]\nnodes = [\"one\"]\nstartup = \"manual\"\nrestarts_max = 1\nfailovers_max = 0\n\
         [groups.things.resources.thing]\ntype = \"ocf\"\nagent = \"ocf:test:Thing\"\nparameters = {{ colour = \"red\" }}\n\
         environment = {{ OCF_ROOT = {root:?} }}\n"
    );
    let cell = Cell::start(&scratch, &groups);
    cell.wait_until_able("things");
    start(&cell, "things", "one");
    let read = || calls(&fs::read_to_string(&dump).unwrap_or_default());
    wait_for("a monitor", || if read().contains_key("monitor-1000") { Ok(()) } else { Err("none".into()) });
    let seen = read();
    for (call, timeout) in [("monitor-0", "19000"), ("start-0", "17000"), ("monitor-1000", "19000")] {
        let variables = seen.get(call).unwrap_or_else(|| panic!("{call} is not in {:?}", seen.keys()));
        let get = |name: &str| variables.get(name).map_or("", String::as_str);
        assert_eq!(get("OCF_RESKEY_colour"), "red");
        assert_eq!(get("OCF_RESKEY_CRM_meta_timeout"), timeout, "{call}");
        assert_eq!((get("OCF_RA_VERSION_MAJOR"), get("OCF_RA_VERSION_MINOR")), ("1", "1"));
        assert_eq!((get("OCF_RESOURCE_INSTANCE"), get("OCF_RESOURCE_TYPE")), ("thing", "Thing"));
        assert_eq!((get("OCF_RESOURCE_PROVIDER"), get("OCF_CHECK_LEVEL")), ("test", "0"));
        assert_eq!((get("OCF_RESKEY_CRM_meta_on_node"), get("LC_ALL")), ("one", "C"));
        assert!(get("MUSTER_EPOCH").parse::<u64>().is_ok(), "{variables:?}");
        assert_eq!(get("HOME"), "", "nothing else is there: {variables:?}");
    }
    assert!(seen.contains_key("validate-all-0"), "{:?}", seen.keys());

    fs::write(dump.with_extension("broken"), "").expect("the test's directory can be written");
    let restarted =
        "restarted here once: thing is lost: it failed (action monitor, status 1): the paint is off";
    cell.wait_until("to have been restarted", "things", |group| {
        group.state == GroupCondition::Online && group.reason.contains(restarted)
    });
    let log = cell.hosts.shell("one", "cat log");
    assert!(
        log.data.contains("thing is lost: it failed (action monitor, status 1): the paint is off"),
        "{log:?}"
    );
    cell.hosts.must("boss", "muster group stop things --yes");
    assert!(!dump.with_extension("on").exists(), "it was stopped");

    let wrong = cell
        .hosts
        .shell("boss", "sed -i 's/colour = \"red\"/color = \"red\"/' muster.toml; muster check --node one");
    assert_eq!(wrong.code, Some(1), "{wrong:?}");
    for text in
        ["the agent has no parameter `color`; it has colour", "the agent needs the parameter `colour`"]
    {
        assert!(wrong.talk.contains(text), "{wrong:?}");
    }
}

/// A disk with a PostgreSQL on it, which goes away with the test.
struct Disk(String);

impl Disk {
    fn new(scratch: &Scratch) -> Self {
        let (data, image) = (scratch.join("disk"), scratch.join("disk.img"));
        let pgdata = data.join("pg");
        fs::create_dir_all(&pgdata).expect("the test's directory can be written");
        must(Command::new("chown").arg("-R").arg("postgres:postgres").arg(&data));
        let initdb = "/usr/lib/postgresql/15/bin/initdb";
        must(
            Command::new("setpriv")
                .args(["--reuid=postgres", "--regid=postgres", "--init-groups", initdb])
                .args(["--no-sync", "-A", "trust", "-D"])
                .arg(&pgdata)
                .current_dir("/"),
        );
        must(Command::new("truncate").args(["-s", "160M"]).arg(&image));
        must(Command::new(program("mkfs.ext4")).args(["-q", "-d"]).arg(&data).arg(&image));
        Self(must(Command::new(program("losetup")).args(["--find", "--show"]).arg(&image)))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new(program("losetup")).args(["--detach", &self.0]).status();
    }
}

/// A directory with all that Postfix needs, for agents that start it.
fn postfix(scratch: &Scratch) -> PathBuf {
    let directory = scratch.join("mail");
    for name in ["", "conf", "queue", "data"] {
        fs::create_dir_all(directory.join(name)).expect("the test's directory can be written");
        fs::set_permissions(directory.join(name), fs::Permissions::from_mode(0o755)).expect("it is ours");
    }
    must(Command::new("chown").arg("postfix").arg(directory.join("data")));
    // What Postfix keeps there for itself.
    must(Command::new("cp").args(["-a", "/etc/postfix/."]).arg(directory.join("conf")));
    let place = directory.display();
    let main = format!(
        "compatibility_level = 3.6\nqueue_directory = {place}/queue\ndata_directory = {place}/data\n\
         command_directory = /usr/sbin\ndaemon_directory = /usr/lib/postfix/sbin\ninet_interfaces = 10.1.0.110\n\
         inet_protocols = ipv4\nmyhostname = mail.test\nmydestination =\nalias_maps =\nlocal_recipient_maps =\n\
         smtpd_tls_security_level = none\n"
    );
    let services = "2525 inet n - n - - smtpd\nanvil unix - - n - 1 anvil\nrewrite unix - - n - - trivial-rewrite\n\
         cleanup unix n - n - 0 cleanup\nqmgr unix n - n 300 1 qmgr\ntlsmgr unix - - n 1000? 1 tlsmgr\n";
    fs::write(directory.join("conf/main.cf"), main).expect("it can be written");
    fs::write(directory.join("conf/master.cf"), services).expect("it can be written");
    directory.join("conf")
}

fn nginx(scratch: &Scratch) -> PathBuf {
    let place = scratch.path().display();
    let kinds = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let kept = kinds.map(|kind| format!(" {kind}_temp_path {place}/nginx-{kind};\n")).concat();
    let text = format!(
        "pid {place}/nginx.pid;\nerror_log {place}/nginx.log;\nevents {{}}\nhttp {{\n access_log off;\n{kept} server {{\n  \
         listen 10.1.0.110:8080;\n  location / {{ return 200 \"here\"; }}\n }}\n}}\n"
    );
    scratch.write("nginx.conf", &text)
}

fn wait_until_served(cell: &Cell) {
    wait_for("nginx, postfix and postgres to answer", || {
        let mail = cell.hosts.shell("boss", "bash -c 'exec 3<>/dev/tcp/10.1.0.110/2525; head -1 <&3'");
        let web = cell.hosts.shell("boss", "curl -sS -m2 http://10.1.0.110:8080/");
        let sql = cell.hosts.shell("boss", "/usr/lib/postgresql/15/bin/pg_isready -h 10.1.0.110 -p 5444");
        let is_fine = web.data == "here" && mail.data.starts_with("220 ") && sql.code == Some(0);
        if is_fine { Ok(()) } else { Err(format!("{web:?} {mail:?} {sql:?}")) }
    });
}

#[test]
fn agents_of_debian_run_in_a_group_and_move_with_it() {
    let scratch = Scratch::new();
    must(Command::new("chmod").arg("755").arg(scratch.path()));
    let disk = Disk::new(&scratch);
    let mounted = scratch.join("mounted");
    fs::create_dir(&mounted).expect("the test's directory can be written");
    let (mail, web) = (postfix(&scratch), nginx(&scratch));
    let data = mounted.join("pg");
    let resource = |name: &str, agent: &str, parameters: &str| {
        format!(
            "[groups.all.resources.{name}]\ntype = \"ocf\"\nagent = \"heartbeat:{agent}\"\n\
             parameters = {{ {parameters} }}\ncheck_interval_ms = 1000\n"
        )
    };
    let mut groups =
        String::from("[groups.all]\nnodes = [\"one\", \"two\"]\nstartup = \"manual\"\nrestarts_max = 0\n");
    groups += &resource("ip", "IPaddr2", "ip = \"10.1.0.110\", cidr_netmask = \"24\", nic = \"lan0\"");
    groups += &resource(
        "disk",
        "Filesystem",
        &format!("device = \"{}\", directory = {mounted:?}, fstype = \"ext4\"", disk.0),
    );
    groups += &resource(
        "web",
        "nginx",
        &format!("configfile = {web:?}, status10url = \"http://10.1.0.110:8080/\""),
    );
    groups += &resource("mail", "postfix", "");
    groups += &resource(
        "data",
        "pgsql",
        &format!(
            "pgctl = \"/usr/lib/postgresql/15/bin/pg_ctl\", psql = \"/usr/lib/postgresql/15/bin/psql\", \
             pgdata = {data:?}, pgport = \"5444\", pgdb = \"postgres\", \
             socketdir = \"/tmp\", logfile = \"/dev/null\", start_opt = \"-h 10.1.0.110 -p 5444 -k /tmp\""
        ),
    );
    let cell = Cell::start(&scratch, &groups);
    // Postfix knows its main configuration by its place, and each host has files of its own.
    for host in ["one", "two"] {
        cell.hosts.must(host, &format!("mount --bind {} /etc/postfix", mail.display()));
    }
    cell.wait_until_able("all");
    start(&cell, "all", "one");
    wait_until_served(&cell);
    cell.hosts.must("boss", "muster group move all --yes");
    cell.wait_until_online("all", "two");
    wait_until_served(&cell);
    let left = cell.shell("one", "ip -o address show dev lan0; cat /proc/mounts; ps ax");
    for thing in ["10.1.0.110", "disk.img", "nginx", "postgres", mounted.to_str().expect("it is plain text")]
    {
        assert!(!left.contains(thing), "{thing} is left on one:\n{left}");
    }
    cell.hosts.must("boss", "muster group stop all --yes");
}

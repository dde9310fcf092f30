//! Monitors of the configuration against real servers: up, down, hung, wrong, over TLS; what people see of it; and what operators
//! may do.

mod support;

use rustix::process::Signal;
use std::collections::BTreeMap;
use support::cell::{Cell, shop_tables};
use support::certificates::Authority;
use support::servers::{self, Kind};
use support::{Running, Scratch, family, free_address, mail, program, send, wait_for, wait_until_listening};
use wire::monitor::MonitorState;
use wire::status::{Event, MonitorStatus};

fn monitor(cell: &Cell, name: &str) -> Result<MonitorStatus, String> {
    let mut all = cell.try_status()?.monitors.into_iter();
    all.find(|status| status.monitor.0 == name).ok_or_else(|| format!("there is no monitor {name}"))
}

fn wait_until(cell: &Cell, name: &str, wanted: MonitorState) -> MonitorStatus {
    wait_for(&format!("monitor {name} to be {wanted}"), || {
        let found = monitor(cell, name)?;
        let known = format!("it is {}: {}", found.state, found.reason);
        if found.state == wanted { Ok(found) } else { Err(known) }
    })
}

fn signal_family(pid: u32, signal: Signal) {
    family(pid).into_iter().for_each(|pid| send(pid, signal));
}

/// Stops a server and all its processes. The first one first, and until it has: it may be about to start another.
fn freeze(pid: u32) {
    send(pid, Signal::STOP);
    wait_for("the server to be stopped", || {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).map_err(|error| error.to_string())?;
        let (_, rest) = stat.rsplit_once(") ").ok_or("no state")?;
        if rest.starts_with('T') { Ok(()) } else { Err(rest.to_owned()) }
    });
    signal_family(pid, Signal::STOP);
}

/// Kinds of the events about a monitor, oldest first.
fn kinds(cell: &Cell, name: &str) -> Vec<String> {
    let about = |event: &Event| event.text.starts_with(&format!("monitor {name} on local: "));
    cell.events().into_iter().filter(about).map(|event| event.kind).collect()
}

/// A cell of one sample application with these monitors, asked often, patient with a busy machine.
fn cell_with(scratch: &Scratch, monitors: &str) -> Cell {
    Cell::start(scratch, &(shop_tables(&[("s1", 2)]) + monitors))
}

const OFTEN: &str = "interval_ms = 100\ntimeout_ms = 10000\nretries = 1\n";

#[test]
fn real_servers_are_normal_while_they_work_and_in_error_when_they_are_gone() {
    let scratch = Scratch::new();
    let mut nginx = servers::start("web", Kind::Nginx, &scratch, free_address());
    let mut postfix = mail::start(&scratch, None);
    let redis_address = free_address();
    let mut command = std::process::Command::new(program("redis-server"));
    command.args(["--port", &redis_address.port().to_string(), "--save", "", "--requirepass", "secret"]);
    let mut redis = Running::start("redis", &mut command, &scratch.join("redis.log"));
    wait_until_listening(redis_address, &mut redis);
    let password = scratch.write("redis.password", "secret\n");
    let pid_file = scratch.join("web/nginx.pid");
    let monitors = format!(
        "[monitors.web]\nkind = \"http\"\ntarget = \"{web}\"\npath = \"/index.html\"\ntext = \"web\"\n{OFTEN}\
         [monitors.head]\nkind = \"http\"\ntarget = \"{web}\"\nmethod = \"HEAD\"\nhttp_version = \"1.0\"\n{OFTEN}\
         [monitors.port]\nkind = \"tcp\"\ntarget = \"{web}\"\n{OFTEN}\
         [monitors.process]\nkind = \"pid\"\npid_file = \"{pid_file}\"\n{OFTEN}\
         [monitors.mail]\nkind = \"smtp\"\ntarget = \"{mail}\"\n{OFTEN}\
         [monitors.cache]\nkind = \"redis\"\ntarget = \"{redis_address}\"\npassword_file = \"{password}\"\n{OFTEN}",
        web = nginx.address,
        mail = postfix.address,
        pid_file = pid_file.display(),
        password = password.display(),
    );
    let cell = cell_with(&scratch, &monitors);
    let names = ["web", "head", "port", "process", "mail", "cache"];
    for name in names {
        let status = wait_until(&cell, name, MonitorState::Normal);
        assert_eq!(status.reason, "answers as it should");
    }
    assert_eq!(cell.muster(&["monitor"]).code, Some(0));
    nginx.process.signal(Signal::TERM);
    nginx.process.wait();
    signal_family(postfix.process.pid(), Signal::KILL);
    postfix.process.wait();
    redis.signal(Signal::KILL);
    redis.wait();
    for name in names {
        let status = wait_until(&cell, name, MonitorState::Error);
        let is_process = name == "process";
        let expected = if is_process { "nginx.pid" } else { "cannot connect to 127.0.0.1:" };
        assert!(status.reason.contains(expected), "{name}: {}", status.reason);
        assert!(kinds(&cell, name).contains(&"monitor-error".to_owned()), "{name}: {:?}", kinds(&cell, name));
    }
    let said = cell.muster(&["monitor", "list"]);
    assert_eq!(said.code, Some(1), "a monitor is in error");
    assert!(said.data.contains("cannot connect"), "{}", said.data);
    // What comes back is normal at once.
    let _nginx = servers::start("web", Kind::Nginx, &scratch, nginx.address);
    for name in ["web", "head", "port", "process"] {
        wait_until(&cell, name, MonitorState::Normal);
    }
    assert_eq!(kinds(&cell, "port"), ["monitor-error", "monitor-normal"]);
}

#[test]
fn silence_is_unknown_first_and_an_error_once_it_is_confirmed() {
    let scratch = Scratch::new();
    let nginx = servers::start("web", Kind::Nginx, &scratch, free_address());
    let monitors = format!(
        "[monitors.web]\nkind = \"http\"\ntarget = \"{}\"\ninterval_ms = 100\ntimeout_ms = 500\nretries = 0\n\
         confirmations = 4\n",
        nginx.address
    );
    let cell = cell_with(&scratch, &monitors);
    wait_until(&cell, "web", MonitorState::Normal);
    freeze(nginx.process.pid());
    let status = wait_until(&cell, "web", MonitorState::Error);
    assert_eq!(status.reason, "no answer within 500 ms");
    let told = kinds(&cell, "web");
    assert_eq!(told[told.len() - 2..], ["monitor-unknown", "monitor-error"], "{told:?}");
    signal_family(nginx.process.pid(), Signal::CONT);
    wait_until(&cell, "web", MonitorState::Normal);
}

#[test]
fn wrong_answers_are_errors_with_their_reason() {
    let scratch = Scratch::new();
    let nginx = servers::start("web", Kind::Nginx, &scratch, free_address());
    let web = nginx.address;
    let monitors = format!(
        "[monitors.status]\nkind = \"http\"\ntarget = \"{web}\"\npath = \"/missing\"\n{OFTEN}\
         [monitors.text]\nkind = \"http\"\ntarget = \"{web}\"\ntext = \"all is well\"\n{OFTEN}\
         [monitors.mail]\nkind = \"smtp\"\ntarget = \"{web}\"\n{OFTEN}\
         [monitors.database]\nkind = \"postgres\"\ntarget = \"{web}\"\n{OFTEN}\
         [monitors.cache]\nkind = \"redis\"\ntarget = \"{web}\"\n{OFTEN}\
         [monitors.link]\nkind = \"link\"\ninterface = \"nowhere0\"\n{OFTEN}\
         [monitors.address]\nkind = \"address\"\naddress = \"192.0.2.77\"\n{OFTEN}\
         [monitors.plugin]\nkind = \"nagios\"\n{OFTEN}\
         command = [\"/bin/sh\", \"-c\", \"echo 'DISK CRITICAL - full | used=99%;80;90'; exit 2\"]\n\
         [monitors.custom]\nkind = \"custom\"\n{OFTEN}command = [\"/bin/sh\", \"-c\", \"echo broken; exit 7\"]\n"
    );
    let cell = cell_with(&scratch, &monitors);
    for (name, reason) in [
        ("status", "it was answered 404, not 200 to 399"),
        ("text", "the text \"all is well\" is not in the answer"),
        ("database", "it does not speak the protocol of PostgreSQL"),
        ("cache", "it does not speak the protocol of Redis"),
        ("link", "there is no interface nowhere0"),
        ("address", "this machine does not have 192.0.2.77"),
        ("plugin", "DISK CRITICAL - full"),
        ("custom", "broken"),
    ] {
        assert_eq!(wait_until(&cell, name, MonitorState::Error).reason, reason, "{name}");
    }
}

#[test]
fn postfix_is_asked_over_tls_that_is_begun_with_starttls() {
    let scratch = Scratch::new();
    let authority = Authority::new(&scratch, "ca");
    let pair = authority.sign(&scratch, "mail", &["mail.test"]);
    let postfix = mail::start(&scratch, Some((pair.certificate.as_ref(), pair.key.as_ref())));
    let table = |name: &str, server: &str| {
        format!(
            "[monitors.{name}]\nkind = \"smtp\"\ntarget = \"{}\"\ntls = true\nstarttls = true\n\
             tls_server_name = \"{server}\"\ntls_authorities = \"{}\"\n{OFTEN}",
            postfix.address, authority.file
        )
    };
    let cell = cell_with(&scratch, &(table("right", "mail.test") + &table("wrong", "other.test")));
    wait_until(&cell, "right", MonitorState::Normal);
    let wrong = wait_until(&cell, "wrong", MonitorState::Error);
    assert!(wrong.reason.starts_with("it did not agree on TLS: "), "{}", wrong.reason);
}

#[test]
fn what_this_machine_has_is_looked_at_and_figures_become_metrics() {
    let scratch = Scratch::new();
    let monitors = format!(
        "[monitors.room]\nkind = \"disk\"\ndirectory = \"/\"\nfree_min_percent = 0\n{OFTEN}\
         [monitors.loop]\nkind = \"link\"\ninterface = \"lo\"\n{OFTEN}\
         [monitors.here]\nkind = \"address\"\naddress = \"127.0.0.1\"\n{OFTEN}\
         [monitors.load]\nkind = \"nagios\"\n{OFTEN}\
         command = [\"/bin/sh\", \"-c\", \"echo \\\"WARNING - busy | 'load 1'=3.5;2;9 time=12ms\\\"; exit 1\"]\n"
    );
    let cell = cell_with(&scratch, &monitors);
    for name in ["room", "loop", "here"] {
        wait_until(&cell, name, MonitorState::Normal);
    }
    assert_eq!(wait_until(&cell, "load", MonitorState::Warning).reason, "WARNING - busy");
    let metrics = cell.ask("GET", "/metrics", b"").expect("the cell answers").text();
    for line in [
        "muster_monitor_state{monitor=\"load\",node=\"local\",kind=\"nagios\",state=\"warning\"} 1",
        "muster_monitor_figure{monitor=\"load\",node=\"local\",kind=\"nagios\",label=\"load 1\",unit=\"\"} 3.5",
        "muster_monitor_figure{monitor=\"load\",node=\"local\",kind=\"nagios\",label=\"time\",unit=\"s\"} 0.012",
        "muster_monitor_figure{monitor=\"room\",node=\"local\",kind=\"disk\",label=\"free\",unit=\"%\"} ",
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
}

#[test]
fn operators_pause_resume_and_drill_and_configurations_change_under_way() {
    let scratch = Scratch::new();
    let nginx = servers::start("web", Kind::Nginx, &scratch, free_address());
    let table = format!("[monitors.web]\nkind = \"tcp\"\ntarget = \"{}\"\n{OFTEN}", nginx.address);
    let mut cell = cell_with(&scratch, &table);
    wait_until(&cell, "web", MonitorState::Normal);
    cell.must(&["monitor", "fail", "web", "--for", "1h"]);
    let status = wait_until(&cell, "web", MonitorState::Error);
    assert_eq!(status.reason, "an operator lets it fail, as a drill");
    assert!(status.drill_ends_ms.is_some());
    cell.must(&["monitor", "resume", "web"]);
    wait_until(&cell, "web", MonitorState::Normal);
    cell.must(&["monitor", "pause", "web"]);
    wait_until(&cell, "web", MonitorState::Paused);
    let drill = cell.muster(&["monitor", "fail", "web"]);
    assert_eq!(drill.code, Some(1), "{drill:?}");
    let stranger = cell.muster(&["monitor", "pause", "mail", "--json"]);
    assert!(stranger.data.contains("M2010") || stranger.talk.contains("M2010"), "{stranger:?}");
    // A pause is kept over a restart of all of it.
    cell.process.signal(Signal::TERM);
    cell.process.wait();
    cell.process = support::cell::run(&cell.config, &[], &scratch.join("again.log"));
    cell.wait_until_it_answers();
    wait_until(&cell, "web", MonitorState::Paused);
    cell.must(&["monitor", "resume", "web"]);
    wait_until(&cell, "web", MonitorState::Normal);
    cell.apply(&[("kind = \"tcp\"", "kind = \"http\"\npath = \"/missing\"")]);
    wait_until(&cell, "web", MonitorState::Error);
    assert!(cell.must(&["status"]).contains("it was answered 404"));
    let known: BTreeMap<String, MonitorState> =
        cell.status().monitors.into_iter().map(|status| (status.monitor.0, status.state)).collect();
    assert_eq!(known, BTreeMap::from([("web".to_owned(), MonitorState::Error)]));
}

#[test]
fn a_monitoring_command_on_a_node_becomes_an_alert_of_the_cell() {
    let scratch = Scratch::new();
    let cell = cell_with(&scratch, "");
    wait_for("the agent's socket of alerts", || {
        let path = cell.state_dir.join("agent/alerts.sock");
        if path.exists() { Ok(()) } else { Err("it is not there".to_owned()) }
    });
    wait_for("the alert", || {
        let mut command = std::process::Command::new(support::cell::MUSTER);
        command.args(["clp", "httpmon"]).env("MUSTER_STATE_DIR", &cell.state_dir);
        command.env("MUSTER_SYSLOG", scratch.join("no-syslog"));
        command.output().map_err(|error| error.to_string())?;
        // The agent drops what comes before it is connected.
        let events = cell.events();
        let alert =
            events.into_iter().find(|event| event.kind == "clp-httpmon").ok_or("it has not come yet")?;
        assert_eq!((alert.id, alert.node.map(|node| node.0)), (Some(13), Some("local".to_owned())));
        assert_eq!(alert.text, "An identifier is not specified in the clp_httpmon command.");
        Ok(())
    });
}

/// An agent that writes down what it gets, and does as the file beside it says.
const AGENT: &str = "#!/bin/bash\nset -u\nenv > DIRECTORY/environment.new && mv DIRECTORY/environment.new DIRECTORY/environment\n\
    case $(cat DIRECTORY/mood) in\n\
    well) exit 0 ;;\n\
    degraded) echo \"${OCF_EXIT_REASON_PREFIX}one disk of two\" >&2; exit 190 ;;\n\
    gone) echo \"${OCF_EXIT_REASON_PREFIX}no such process\" >&2; echo noise >&2; exit 7 ;;\n\
    hung) sleep 1000 & wait ;;\n\
    esac\n";

#[test]
fn agents_of_the_open_cluster_framework_are_asked_as_they_expect_it() {
    use std::os::unix::fs::PermissionsExt as _;
    let scratch = Scratch::new();
    program("ocf-tester");
    let root = scratch.join("ocf");
    let directory = root.join("resource.d/test");
    std::fs::create_dir_all(&directory).expect("the test's directory can be written");
    let agent = directory.join("Moody");
    std::fs::write(&agent, AGENT.replace("DIRECTORY", &scratch.path().display().to_string()))
        .expect("as above");
    std::fs::set_permissions(&agent, std::fs::Permissions::from_mode(0o755)).expect("it is ours");
    scratch.write("mood", "well");
    // Debian's own keeps what it has started in a file.
    let state = scratch.write("dummy.state", "");
    let monitors = format!(
        "[monitors.moody]\nkind = \"ocf\"\nagent = \"test:Moody\"\ninstance = \"thing\"\ncheck_level = 10\n\
         parameters = {{ size = \"3\" }}\nenvironment = {{ OCF_ROOT = {root:?} }}\ninterval_ms = 200\n\
         timeout_ms = 3000\nretries = 1\nconfirmations = 1\n\
         [monitors.dummy]\nkind = \"ocf\"\nagent = \"heartbeat:Dummy\"\nparameters = {{ state = {state:?} }}\n{OFTEN}\
         [monitors.nobody]\nkind = \"ocf\"\nagent = \"test:Nobody\"\n{OFTEN}",
    );
    let cell = cell_with(&scratch, &monitors);
    wait_until(&cell, "moody", MonitorState::Normal);
    wait_until(&cell, "dummy", MonitorState::Normal);
    let told = std::fs::read_to_string(scratch.join("environment")).expect("the agent has written it");
    for line in [
        "OCF_RESKEY_size=3",
        "OCF_RESOURCE_INSTANCE=thing",
        "OCF_RESOURCE_TYPE=Moody",
        "OCF_CHECK_LEVEL=10",
        "OCF_RESKEY_CRM_meta_name=monitor",
        "OCF_RESKEY_CRM_meta_interval=200",
        "OCF_RESKEY_CRM_meta_timeout=3000",
    ] {
        assert!(told.lines().any(|known| known == line), "{line} is not in\n{told}");
    }
    assert!(!told.contains("CARGO"), "nothing of the environment of muster: {told}");

    scratch.write("mood", "degraded");
    let warning = wait_until(&cell, "moody", MonitorState::Warning);
    assert!(warning.reason.contains("(status 190): one disk of two"), "{warning:?}");
    scratch.write("mood", "gone");
    let error = wait_until(&cell, "moody", MonitorState::Error);
    assert!(error.reason.contains("it does not run (status 7): no such process"), "{error:?}");
    scratch.write("mood", "well");
    wait_until(&cell, "moody", MonitorState::Normal);
    // Silence is no answer until it is confirmed, and what was started for it is gone then.
    scratch.write("mood", "hung");
    wait_until(&cell, "moody", MonitorState::Unknown);
    wait_until(&cell, "moody", MonitorState::Error);
    scratch.write("mood", "well");
    wait_until(&cell, "moody", MonitorState::Normal);
    let left = family(cell.process.pid()).into_iter().filter(|pid| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.starts_with(b"sleep\x001000")
    });
    assert_eq!(left.count(), 0);

    std::fs::remove_file(&state).expect("it is there");
    let error = wait_until(&cell, "dummy", MonitorState::Error);
    assert!(error.reason.contains("it does not run (status 7)"), "{error:?}");
    // What cannot be asked tells nothing about the service.
    let nobody = monitor(&cell, "nobody").expect("it is configured");
    assert_eq!(nobody.state, MonitorState::Unknown, "{nobody:?}");
    assert!(nobody.reason.contains("resource.d/test/Nobody"), "{nobody:?}");
}

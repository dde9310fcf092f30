//! Resources of the type `systemd` under a real systemd: one that is the first process of namespaces of the test's own, with
//! its own `/run`, `/tmp`, `/var` and control group, and Muster as a service of it. Needs root.

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use support::cell::{Cell, MUSTER, Said, config};
use support::{Running, Scratch, family, free_address, program, wait_for};
use wire::group::{GroupCondition, GroupStatus};

/// Turns into systemd. What the test shares with it is put aside before the directories for temporary things become its own.
const BOOT: &str = "set -e\n\
    mount -t proc proc /proc\n\
    mount -t tmpfs tmpfs /run\nmkdir -p /run/shared /run/systemd/system /run/lock\n\
    mount --bind \"$SHARED\" /run/shared\n\
    touch /run/muster\nmount --bind \"$MUSTER\" /run/muster\n\
    mount -t tmpfs tmpfs /tmp\nmount -t tmpfs tmpfs /var\nmkdir -p /var/log /var/lib /var/tmp \"$SHARED\"\n\
    mount --bind /run/shared \"$SHARED\"\n\
    umount --lazy --recursive /sys/fs/cgroup || true\nmount -t cgroup2 cgroup2 /sys/fs/cgroup\n\
    mount -t tmpfs tmpfs /etc/systemd/system\n\
    cp \"$SHARED\"/*.service \"$SHARED\"/default.target /run/systemd/system/\n\
    exec env --ignore-environment container=lab PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    /lib/systemd/systemd --system --unit=default.target --log-target=null --show-status=no\n";

/// Runs until a signal ends it.
const BEAT: &str =
    "[Unit]\nDefaultDependencies=no\n[Service]\nExecStart=/bin/sleep infinity\nTimeoutStopSec=20\n";

/// A control group that goes with the test, with all that is in it.
struct Group(PathBuf);

impl Group {
    fn new() -> Self {
        let mounts = fs::read_to_string("/proc/mounts").expect("it is always there");
        let mut mounts = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
        let mount = mounts.find(|words| words.get(2) == Some(&"cgroup2"));
        let mount = mount.expect("control groups of version 2 are mounted somewhere");
        let path = Path::new(mount[1]).join(format!("muster-test-systemd-{}", free_address().port()));
        fs::create_dir(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self(path)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Fails only on systems that are too old to have it; the processes are killed with the test anyway.
        let _ = fs::write(self.0.join("cgroup.kill"), "1");
        for _ in 0..500 {
            if remove(&self.0).is_ok() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        eprintln!("a control group is left: {}", self.0.display());
    }
}

/// Groups inside first; files in them cannot and need not be removed.
fn remove(directory: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            remove(&path)?;
        }
    }
    fs::remove_dir(directory)
}

/// A cell on a machine that systemd runs. What ends first stands first.
struct Machine {
    cell: Cell,
    /// The first process of the machine, as the test sees it.
    first: u32,
    _group: Group,
}

impl Machine {
    fn start(scratch: &Scratch, groups: &str) -> Self {
        for needed in ["unshare", "nsenter", "systemd-run"] {
            program(needed);
        }
        let group = Group::new();
        let (console, router) = (free_address(), free_address());
        let config = scratch.write("muster.toml", &config(scratch, console, router, groups));
        scratch.write("default.target", "[Unit]\nDefaultDependencies=no\n");
        scratch.write("beat.service", BEAT);
        let again = "Restart=always\nRestartSec=100ms\n";
        scratch.write("stubborn.service", &format!("{BEAT}{again}"));
        // As the page about installing has it.
        let service =
            "[Unit]\nDefaultDependencies=no\n[Service]\nKillMode=mixed\nDelegate=yes\nTimeoutStopSec=60\n";
        let run = format!("ExecStart=/run/muster run --config {}\n", config.display());
        let log = format!("StandardError=append:{}\n", scratch.join("service.log").display());
        scratch.write("muster.service", &format!("{service}{run}{log}"));
        let join = format!("echo $$ > {}/cgroup.procs", group.0.display());
        let boot = scratch.write("boot", BOOT);
        let namespaces = "--cgroup --pid --mount --ipc --uts --fork --kill-child=KILL --propagation=private";
        let line = format!("{join} && exec unshare {namespaces} sh {}", boot.display());
        let mut command = Command::new("sh");
        command.args(["-c", &line]).env("SHARED", scratch.path()).env("MUSTER", MUSTER);
        let process = Running::start("systemd", &mut command, &scratch.join("systemd.log"));
        let first = wait_for("systemd to be there", || {
            let first = family(process.pid()).get(1).copied().ok_or("nothing was started")?;
            let name =
                fs::read_to_string(format!("/proc/{first}/comm")).map_err(|error| error.to_string())?;
            if name.trim() == "systemd" { Ok(first) } else { Err(name) }
        });
        wait_for("systemd to be up", || {
            let said = enter(first, &["systemctl", "is-system-running"]);
            if said.code == Some(0) { Ok(()) } else { Err(format!("{said:?}")) }
        });
        let started = enter(first, &["systemctl", "start", "muster.service"]);
        assert_eq!(started.code, Some(0), "{started:?}");
        let cell = Cell::attach(process, console, router, config, scratch.join("state"));
        Self { cell, first, _group: group }
    }

    fn systemctl(&self, words: &[&str]) -> Said {
        enter(self.first, &[&["systemctl", "--no-pager"], words].concat())
    }

    fn property(&self, unit: &str, name: &str) -> String {
        self.systemctl(&["show", "--value", "--property", name, unit]).data.trim().to_owned()
    }

    fn wait_for_property(&self, unit: &str, name: &str, is_so: impl Fn(&str) -> bool) -> String {
        wait_for(&format!("{name} of {unit}"), || {
            let value = self.property(unit, name);
            if is_so(&value) { Ok(value) } else { Err(value) }
        })
    }

    fn group(&self) -> Result<GroupStatus, String> {
        self.cell.try_status()?.groups.into_iter().next().ok_or_else(|| "there is no group".to_owned())
    }

    fn wait_until(&self, wanted: GroupCondition) -> GroupStatus {
        wait_for(&format!("the group to be {wanted}"), || {
            let group = self.group()?;
            if group.state == wanted { Ok(group) } else { Err(format!("{group:?}")) }
        })
    }

    /// Units that wait for the end of a guardian.
    fn watchers(&self) -> Vec<String> {
        let listed =
            self.systemctl(&["list-units", "--all", "--plain", "--no-legend", "muster-watch-*"]).data;
        listed.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
    }
}

/// Runs a command on the machine to its end.
fn enter(first: u32, words: &[&str]) -> Said {
    let mut command = Command::new("nsenter");
    command.args(["--target", &first.to_string(), "--mount", "--pid", "--ipc", "--uts", "--cgroup", "--"]);
    let output =
        command.args(words).output().unwrap_or_else(|error| panic!("could not start nsenter: {error}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Said { code: output.status.code(), data: text(&output.stdout), talk: text(&output.stderr) }
}

fn group_of(unit: &str) -> String {
    format!(
        "[groups.one]\nnodes = [\"local\"]\n[groups.one.resources.server]\ntype = \"systemd\"\nunit = \"{unit}\"\n"
    )
}

#[test]
fn a_unit_goes_with_its_group_and_its_end_is_seen() {
    let scratch = Scratch::new();
    let machine = Machine::start(&scratch, &group_of("beat.service"));
    machine.wait_until(GroupCondition::Online);
    assert_eq!(machine.property("beat.service", "ActiveState"), "active");
    let first = machine.property("beat.service", "MainPID");

    // Nobody but Muster starts it again: systemd has not been asked to.
    enter(machine.first, &["kill", "-9", &first]);
    let second = machine.wait_for_property("beat.service", "MainPID", |pid| pid != first && pid != "0");
    assert_eq!(machine.property("beat.service", "NRestarts"), "0");
    let events = wait_for("the restart to be told", || {
        let events = machine.cell.events();
        let is_told = events.iter().any(|event| event.kind == "group-restarted");
        if is_told { Ok(events) } else { Err(format!("{events:?}")) }
    });
    let told = events.iter().find(|event| event.kind == "group-restarted").expect("it was just there");
    assert!(told.text.contains("it is failed (failed): signal"), "{told:?}");
    machine.wait_until(GroupCondition::Online);

    machine.cell.must(&["group", "stop", "one", "--yes"]);
    assert_eq!(machine.property("beat.service", "ActiveState"), "inactive");
    wait_for("nothing to watch over it", || {
        let left = machine.watchers();
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    });
    machine.cell.must(&["group", "start", "one", "--yes"]);
    let third = machine.property("beat.service", "MainPID");
    assert!(third != second && third != "0", "{third}");
}

#[test]
fn a_unit_does_not_outlive_a_muster_that_is_killed() {
    let scratch = Scratch::new();
    let machine = Machine::start(&scratch, &group_of("stubborn.service"));
    machine.wait_until(GroupCondition::Online);

    // What systemd restarts itself is not lost.
    let first = machine.property("stubborn.service", "MainPID");
    enter(machine.first, &["kill", "-9", &first]);
    machine.wait_for_property("stubborn.service", "MainPID", |pid| pid != first && pid != "0");
    assert_eq!(machine.property("stubborn.service", "NRestarts"), "1");
    assert!(machine.cell.events().iter().all(|event| event.kind != "group-restarted"));

    // Agent, guardian and manager at once: only systemd is left to end it, also one that it would restart.
    let killed = machine.systemctl(&["kill", "--signal=KILL", "muster.service"]);
    assert_eq!(killed.code, Some(0), "{killed:?}");
    machine.wait_for_property("stubborn.service", "ActiveState", |state| {
        state == "inactive" || state == "failed"
    });
    wait_for("nothing to watch over it", || {
        let left = machine.watchers();
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    });
    let started = machine.systemctl(&["start", "muster.service"]);
    assert_eq!(started.code, Some(0), "{started:?}");
    machine.wait_for_property("stubborn.service", "ActiveState", |state| state == "active");
    machine.wait_until(GroupCondition::Online);

    // An end in good order takes it along, too.
    let stopped = machine.systemctl(&["stop", "muster.service"]);
    assert_eq!(stopped.code, Some(0), "{stopped:?}");
    assert_eq!(machine.property("stubborn.service", "ActiveState"), "inactive");
    assert_eq!(machine.watchers(), Vec::<String>::new());
}

#[test]
fn a_unit_that_does_not_start_or_is_not_there_is_told_with_the_reason() {
    let scratch = Scratch::new();
    scratch.write(
        "broken.service",
        "[Unit]\nDefaultDependencies=no\n[Service]\nType=oneshot\nExecStart=/bin/false\n",
    );
    let groups = group_of("broken.service").replace("nodes", "startup = \"manual\"\nrestarts_max = 0\nnodes");
    let machine = Machine::start(&scratch, &groups);
    wait_for("a place for the group", || {
        let why = machine.cell.must(&["group", "why", "one"]);
        if why.contains("yes, it can run there") { Ok(()) } else { Err(why) }
    });
    let said = machine.cell.muster(&["group", "start", "one", "--yes"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    let why = machine.cell.must(&["group", "why", "one"]);
    assert!(why.contains("server was not started: it exited with status 1"), "{why}{said:?}");

    // What `muster check` says of a machine; ports that this very cell uses are no matter here.
    let eager = "[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=default.target\n";
    let eager = enter(
        machine.first,
        &[
            "sh",
            "-c",
            &format!(
                "printf '{eager}' > /etc/systemd/system/eager.service && systemctl enable eager.service"
            ),
        ],
    );
    assert_eq!(eager.code, Some(0), "{eager:?}");
    let check = |unit: &str| {
        let text = fs::read_to_string(&machine.cell.config).expect("the test wrote it");
        let file = scratch.write("check.toml", &text.replace("broken.service", unit));
        enter(
            machine.first,
            &["/run/muster", "check", "--node", "local", "--config", &file.display().to_string()],
        )
        .talk
    };
    let missing = check("nobody.service");
    assert!(missing.contains("nobody.service is no unit that systemd could load (not-found)"), "{missing}");
    let eager = check("eager.service");
    assert!(eager.contains("eager.service is enabled: systemd starts it with the machine"), "{eager}");
    let wrong = check("beat");
    assert!(wrong.contains("`beat` names no unit that could be started and stopped"), "{wrong}");
    let fine = check("beat.service");
    assert!(!fine.contains("beat.service"), "{fine}");
}

//! Types of resources of failover groups on real machines: network namespaces on one Ethernet. Needs root.

mod support;

use std::net::Ipv4Addr;
use support::groups::{Asker, Cell};
use support::{Scratch, program, wait_for};
use wire::group::{GroupCondition, GroupStatus};

const FLOATING: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 100);

/// A group with an address of each family, and something that listens there.
const SITE: &str = "[groups.site]\nnodes = [\"one\", \"two\"]\n
[groups.site.resources.ip]\ntype = \"address\"\naddress = \"10.1.0.100/24\"\n
[groups.site.resources.ip6]\ntype = \"address\"\naddress = \"fd01::100/64\"\n
[groups.site.resources.server]\ntype = \"process\"\nstop_timeout_ms = 2000\n\
command = [\"python3\", \"-m\", \"http.server\", \"--bind\", \"10.1.0.100\", \"8080\"]\n";

fn has_address(cell: &Cell, host: &str) -> bool {
    let shown = cell.hosts.must(host, "ip -o address show dev lan0");
    let (v4, v6) = (shown.contains("10.1.0.100/24"), shown.contains("fd01::100/64"));
    assert_eq!(v4, v6, "{shown}");
    v4
}

fn wait_until_reached(cell: &Cell) {
    wait_for("the addresses to answer", || {
        let said = cell.hosts.shell(
            "boss",
            "ping -c1 -W1 10.1.0.100 && ping -c1 -W1 fd01::100 && curl -sS -m2 -o /dev/null http://10.1.0.100:8080/",
        );
        if said.code == Some(0) { Ok(()) } else { Err(format!("{said:?}")) }
    });
}

#[test]
fn an_address_goes_to_another_node_when_its_own_is_cut_off_and_two_never_answer_for_it() {
    let scratch = Scratch::new();
    let cell = Cell::start(&scratch, SITE);
    let [first, other] = cell.wait_until_started("site");
    let asker = Asker::start(&cell, FLOATING);
    wait_until_reached(&cell);
    let [first_link, other_link] = [first, other].map(|host| cell.link_address(host));
    asker.wait_for_holders(std::slice::from_ref(&first_link));
    assert!(has_address(&cell, first) && !has_address(&cell, other));

    // The manager is out of its reach; who uses the address is not.
    cell.hosts.cut(first);
    cell.wait_until_online("site", other);
    asker.wait_for_holders(&[first_link.clone(), other_link.clone()]);
    wait_until_reached(&cell);
    assert!(!has_address(&cell, first) && has_address(&cell, other));
    // Who had its address was told, and did not have to ask again.
    for address in ["10.1.0.100", "fd01::100"] {
        let known = cell.hosts.must("boss", &format!("ip neigh show {address} dev lan0"));
        assert!(known.contains(&other_link), "{address}: {known}");
    }

    cell.hosts.heal(first);
    cell.wait_until_able("site");
    cell.hosts.must("boss", "muster group move site --yes");
    wait_until_reached(&cell);
    asker.wait_for_holders(&[first_link.clone(), other_link, first_link]);
}

#[test]
fn the_system_takes_an_address_away_when_everything_of_muster_was_killed() {
    let scratch = Scratch::new();
    let mut cell = Cell::start(&scratch, SITE);
    let [first, other] = cell.wait_until_started("site");
    let asker = Asker::start(&cell, FLOATING);
    let links = [first, other].map(|host| cell.link_address(host));
    asker.wait_for_holders(&links[..1]);

    // All of it at once, so that nothing is left to clear up.
    cell.shell(first, "kill -9 -1");
    cell.wait_until_online("site", other);
    asker.wait_for_holders(&links);
    assert!(!has_address(&cell, first));
    cell.start_again(first);
    cell.wait_until_able("site");
    assert_eq!(asker.holders(), links, "nobody else has answered");

    // A guardian alone: its agent takes away what it leaves.
    let epoch = cell.wait_until_online("site", other).epoch;
    let killed = cell.shell(other, "kill -9 $(pgrep -f 'muster guardia[n]') && echo killed");
    assert_eq!(killed, "killed\n");
    cell.wait_until("to run again", "site", |group| {
        group.state == GroupCondition::Online && group.epoch > epoch
    });
    wait_until_reached(&cell);
}

#[test]
fn an_address_that_somebody_has_or_takes_away_is_told() {
    let scratch = Scratch::new();
    let manual =
        SITE.replace("nodes =", "startup = \"manual\"\nrestarts_max = 0\nfailovers_max = 0\nnodes =");
    let cell = Cell::start(&scratch, &manual);
    cell.wait_until_able("site");
    cell.hosts.must("boss", "ip address add 10.1.0.100/24 dev lan0");
    let refused = cell.hosts.run("boss", "muster group start site one");
    assert_eq!(refused.code, Some(1), "{refused:?}");
    let why = cell.hosts.must("boss", "muster group why site");
    let holder = cell.link_address("boss");
    let wanted = format!(
        "ip was not started: it was not taken: the machine with the link address {holder} has 10.1.0.100"
    );
    assert!(why.contains(&wanted), "{why}");
    cell.hosts.must("boss", "ip address del 10.1.0.100/24 dev lan0");

    cell.hosts.must("one", "ip address add 10.1.0.100/24 dev lan0");
    cell.hosts.run("boss", "muster group start site one");
    let why = cell.hosts.must("boss", "muster group why site");
    assert!(why.contains("it is on lan0 already, and Muster did not put it there"), "{why}");
    cell.hosts.must("one", "ip address del 10.1.0.100/24 dev lan0");

    cell.hosts.must("boss", "muster group start site one");
    wait_until_reached(&cell);
    cell.hosts.must("one", "ip address del 10.1.0.100/24 dev lan0");
    cell.wait_until("to be down", "site", |group| group.state != GroupCondition::Online);
    let why = cell.hosts.must("boss", "muster group why site");
    assert!(why.contains("ip is lost: it was taken from lan0 by somebody"), "{why}");
}

#[test]
fn an_address_without_the_right_to_set_it_is_told() {
    let scratch = Scratch::new();
    let run = "setpriv --bounding-set=-net_admin --inh-caps=-net_admin muster run";
    let manual =
        SITE.replace("nodes =", "startup = \"manual\"\nrestarts_max = 0\nfailovers_max = 0\nnodes =");
    let cell = Cell::start_as(&scratch, &manual, run);
    cell.wait_until_able("site");
    cell.hosts.run("boss", "muster group start site one");
    let why = cell.hosts.must("boss", "muster group why site");
    let wanted = "it could not add the address on lan0: `muster` needs to run as root, or CAP_NET_ADMIN";
    assert!(why.contains(wanted), "{why}");
}

/// A disk that both nodes see, with something that writes to it all the time and does not end when it is asked to.
fn disk_group(scratch: &Scratch) -> String {
    let (image, mounted) = (scratch.join("disk.img"), scratch.join("mounted"));
    std::fs::create_dir(&mounted).expect("the test's directory can be written");
    for (name, words) in [("truncate", vec!["-s", "32M"]), ("mkfs.ext4", vec!["-q"])] {
        let made = std::process::Command::new(program(name)).args(words).arg(&image).output();
        assert!(made.as_ref().is_ok_and(|made| made.status.success()), "{name}: {made:?}");
    }
    let (image, mounted) = (image.display(), mounted.display());
    format!(
        "[groups.data]\nnodes = [\"one\", \"two\"]\n\n[groups.data.resources.disk]\ntype = \"filesystem\"\n\
         device = \"{image}\"\nmount_point = \"{mounted}\"\nfile_system = \"ext4\"\n\
         mount_options = [\"loop\", \"noatime\"]\n\n[groups.data.resources.writer]\ntype = \"process\"\n\
         stop_timeout_ms = 2000\ncommand = [\"sh\", \"-c\", \"cd {mounted}; echo $MUSTER_NODE >> owners; \
         while :; do echo $MUSTER_NODE >> written; sleep 0.02; done\"]\n"
    )
}

fn is_mounted(cell: &Cell, host: &str) -> bool {
    cell.hosts.must(host, "cat /proc/mounts").contains("/mounted ext4 ")
}

/// After something of it was lost.
fn runs_again(group: &GroupStatus, epoch: u64) -> bool {
    let is_anew = group.epoch > epoch || group.reason.contains("restarted here once");
    group.state == GroupCondition::Online && is_anew
}

#[test]
fn a_file_system_goes_with_its_group_and_users_of_it_do_not_keep_it() {
    let scratch = Scratch::new();
    let cell = Cell::start(&scratch, &disk_group(&scratch));
    let [first, other] = cell.wait_until_started("data");
    assert!(is_mounted(&cell, first) && !is_mounted(&cell, other));
    let mounted = scratch.join("mounted").display().to_string();

    // Somebody who is not of the group, and deaf.
    cell.shell(first, &format!("cd {mounted} && (trap '' TERM; exec >/dev/null 2>&1; setsid sleep 1000) &"));
    let moved = cell.hosts.run("boss", "muster group move data --yes");
    assert_eq!(moved.code, Some(0), "{moved:?}");
    cell.wait_until_online("data", other);
    assert!(!is_mounted(&cell, first) && is_mounted(&cell, other));
    let log = cell.hosts.must(first, "cat log");
    assert!(log.contains("still used, so these are ended: sleep "), "{log}");
    cell.wait_until_able("data");

    // Without a word from anybody: the guardian takes it away by itself.
    cell.shell(other, &format!("cd {mounted} && (exec >/dev/null 2>&1; setsid sleep 1000) &"));
    cell.hosts.cut(other);
    cell.wait_until_online("data", first);
    wait_for("the lost node to have unmounted it", || match is_mounted(&cell, other) {
        true => Err("it is mounted".into()),
        false => Ok(()),
    });
    let owners = cell.hosts.must(first, &format!("cat {mounted}/owners"));
    assert_eq!(owners.split_whitespace().collect::<Vec<_>>(), [first, other, first]);

    // Somebody takes it away: it is put back in its place, or, where that cannot be, with a new epoch.
    cell.hosts.heal(other);
    let epoch = cell.wait_until_able("data").epoch;
    cell.hosts.must(first, &format!("umount --lazy {mounted}"));
    cell.wait_until("to run again", "data", |group| runs_again(group, epoch));
}

#[test]
fn a_file_system_that_somebody_has_is_not_mounted_and_not_taken_from_him() {
    let scratch = Scratch::new();
    let manual = disk_group(&scratch)
        .replace("nodes =", "startup = \"manual\"\nrestarts_max = 0\nfailovers_max = 0\nnodes =");
    let cell = Cell::start(&scratch, &manual);
    cell.wait_until_able("data");
    let (mounted, image) = (scratch.join("mounted"), scratch.join("disk.img"));
    cell.hosts.must("one", &format!("mount -t tmpfs foreign {}", mounted.display()));
    cell.hosts.run("boss", "muster group start data one");
    let why = cell.hosts.must("boss", "muster group why data");
    assert!(why.contains("foreign is mounted on ") && why.contains("and not by Muster"), "{why}");
    assert!(cell.hosts.must("one", "cat /proc/mounts").contains("/mounted tmpfs "), "it is still there");
    cell.hosts.must("one", &format!("umount {}", mounted.display()));

    // The other machine has the disk.
    cell.hosts.must("two", &format!("mount -o loop {} {}", image.display(), mounted.display()));
    cell.hosts.run("boss", "muster group start data one");
    let why = cell.hosts.must("boss", "muster group why data");
    assert!(why.contains("is in use on this machine: /dev/loop"), "{why}");
    cell.hosts.must("two", &format!("umount {}", mounted.display()));
    wait_for("the loop device to be given back", || {
        let said = cell.hosts.run("boss", "muster group start data one");
        if said.code == Some(0) { Ok(()) } else { Err(format!("{said:?}")) }
    });
    assert!(is_mounted(&cell, "one"));
}

#[test]
fn r_08_a_start_and_a_stop_are_waited_for_and_their_status_counts_unless_a_start_is_asynchronous() {
    let scratch = Scratch::new();
    let (gate, ended) = (scratch.join("gate"), scratch.write("ended", ""));
    let (gate, ended) = (gate.display().to_string(), ended.display().to_string());
    let group = |name: &str, start: &str, more: &str| {
        format!(
            "[groups.{name}]\nnodes = [\"one\", \"two\"]\nstartup = \"manual\"\nrestarts_max = 0\nfailovers_max = 0\n\n\
             [groups.{name}.resources.{name}-app]\ntype = \"exec\"\nstart = [\"sh\", \"-c\", \"{start}\"]\n{more}\n\
             stop = [\"sh\", \"-c\", \"sleep 0.3; echo {name} >> {ended}\"]\n\n"
        )
    };
    let text = [
        group("waits", &format!("until [ -e {gate} ]; do sleep 0.1; done"), ""),
        group("fails", "echo no; exit 7", ""),
        group("goes-on", "exec sleep 100000", "asynchronous = true"),
    ]
    .concat();
    let cell = Cell::start(&scratch, &text);
    for name in ["waits", "fails", "goes-on"] {
        cell.wait_until_able(name);
        let args = if name == "waits" { " --no-wait" } else { "" };
        let said = cell.hosts.run("boss", &format!("muster group start {name} one{args}"));
        assert_eq!(said.code, Some(i32::from(name == "fails")), "{said:?}");
    }
    // Synchronous: not online before its program has ended, and not at all with another status than 0.
    let waits = cell.wait_until("to start", "waits", |group| group.state == GroupCondition::Starting);
    assert!(waits.resources.iter().all(|resource| resource.state.to_string() == "starting"), "{waits:?}");
    let failed = cell.wait_until("to fail", "fails", |group| group.state == GroupCondition::Failed);
    assert!(failed.reason.contains("exit") && failed.reason.contains('7'), "{failed:?}");
    std::fs::write(&gate, "").expect("the test's directory can be written");
    cell.wait_until_online("waits", "one");
    // Asynchronous: online while its program goes on; its stop is waited for as any.
    cell.wait_until_online("goes-on", "one");
    assert!(cell.shell("one", "pgrep -f 'sleep 10000[0]' && echo runs").ends_with("runs\n"));
    for name in ["goes-on", "waits"] {
        cell.hosts.must("boss", &format!("muster group stop {name} --yes"));
        let stopped = std::fs::read_to_string(&ended).expect("it is there");
        assert!(stopped.ends_with(&format!("{name}\n")), "the stop of {name} has come to its end: {stopped}");
    }
    assert!(!cell.shell("one", "pgrep -f 'sleep 10000[0]' && echo runs").contains("runs"));
}

/// A device that is a file on the file system: it uses that, and is no process that could be killed.
struct Loop(String);

impl Loop {
    fn new(cell: &Cell, host: &str, file: &str) -> Self {
        let losetup = program("losetup").display().to_string();
        let made = cell.shell(host, &format!("truncate -s 1M {file} && {losetup} --find --show {file}"));
        Self(made.trim().to_owned())
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = std::process::Command::new(program("losetup")).args(["--detach", &self.0]).status();
    }
}

#[test]
fn a_group_whose_file_system_cannot_be_given_back_starts_nowhere_else_until_it_can() {
    let scratch = Scratch::new();
    let cell = Cell::start(&scratch, &disk_group(&scratch));
    let [first, other] = cell.wait_until_started("data");
    let inner = scratch.join("mounted").join("inner").display().to_string();
    let user = Loop::new(&cell, first, &inner);
    // It does not come to its end before the user is gone.
    cell.hosts.must("boss", &format!("muster group move data {other} --yes --no-wait"));
    let held = cell.wait_until("to say what is left", "data", |group| {
        group.reason.contains("it cannot be given back there: disk: it is still mounted on ")
    });
    assert!(held.node.as_ref().is_some_and(|node| node.0 == first), "{held:?}");
    assert_eq!(held.state, GroupCondition::Stopping, "{held:?}");
    assert!(is_mounted(&cell, first) && !is_mounted(&cell, other), "{held:?}");
    let log = cell.hosts.must(first, "cat log");
    assert!(log.contains("not all of it could be given back: disk: it is still mounted on "), "{log}");

    // Once nobody uses it, it goes where it was to go.
    drop(user);
    cell.wait_until_online("data", other);
    assert!(!is_mounted(&cell, first) && is_mounted(&cell, other));
}

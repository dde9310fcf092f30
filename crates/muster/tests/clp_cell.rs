//! The commands of ExpressCluster that steer a cell, as scripts and people use them: clpgrp, clpstat, clpcl and the others.

mod support;

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use support::cell::{Cell, MUSTER, Said};
use support::{Scratch, wait_for};
use wire::group::GroupCondition;

/// A cell of one machine, with a group that writes down when it starts and stops, and one of two resources.
fn start(scratch: &Scratch) -> Cell {
    let log = scratch.join("said").display().to_string();
    std::fs::write(&log, "").expect("the test's directory can be written");
    let exec = |group: &str, name: &str| {
        format!(
            "[groups.{group}.resources.{name}]\ntype = \"exec\"\nstart = [\"sh\", \"-c\", \"echo start {name} >> {log}\"]\n\
             stop = [\"sh\", \"-c\", \"echo stop {name} >> {log}\"]\n"
        )
    };
    let group = |name: &str| format!("[groups.{name}]\nnodes = [\"local\"]\n");
    let tables = [
        "[nodes.local]\n".to_owned(),
        group("mail"),
        exec("mail", "mail"),
        group("site"),
        exec("site", "first"),
        exec("site", "second"),
        "[monitors.disk]\nkind = \"disk\"\ndirectory = \"/\"\nfree_min_percent = 0\ninterval_ms = 100\n"
            .to_owned(),
    ];
    let cell = Cell::start(scratch, &tables.concat());
    for name in ["mail", "site"] {
        wait_until(&cell, name, GroupCondition::Online);
    }
    cell
}

fn wait_until(cell: &Cell, name: &str, wanted: GroupCondition) {
    wait_for(&format!("group {name} to be {wanted}"), || {
        let groups = cell.try_status()?.groups;
        let group = groups.into_iter().find(|group| group.group.0 == name).ok_or("no such group")?;
        if group.state == wanted { Ok(()) } else { Err(format!("{group:?}")) }
    });
}

/// Runs a command by its own name, on this cell.
fn run(scratch: &Scratch, cell: &Cell, line: &str) -> Said {
    let mut words = line.split_whitespace();
    let name = words.next().expect("a command");
    let link = scratch.join(name);
    if !link.exists() {
        std::os::unix::fs::symlink(MUSTER, &link).expect("it is not there yet");
    }
    let mut command = Command::new(link);
    command.args(words).arg("--config").arg(&cell.config);
    for name in ["MUSTER_API", "MUSTER_TOKEN", "MUSTER_NODE", "MUSTER_POWER_COMMAND"] {
        command.env_remove(name);
    }
    let output = command.output().unwrap_or_else(|error| panic!("{line}: {error}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Said { code: output.status.code(), data: text(&output.stdout), talk: text(&output.stderr) }
}

fn must(scratch: &Scratch, cell: &Cell, line: &str) -> String {
    let said = run(scratch, cell, line);
    assert_eq!(said.code, Some(0), "{line}: {said:?}");
    said.data
}

fn refused(scratch: &Scratch, cell: &Cell, line: &str, why: &str) {
    let said = run(scratch, cell, line);
    assert_eq!(said.code, Some(1), "{line}: {said:?}");
    assert!(said.talk.contains(why), "{line}: {said:?}");
}

fn said(scratch: &Scratch) -> String {
    std::fs::read_to_string(scratch.join("said")).expect("the test wrote it").replace('\n', ";")
}

#[test]
fn clpgrp_and_clprsc_start_and_stop_groups_and_clpstat_shows_them() {
    let scratch = Scratch::new();
    let cell = start(&scratch);
    assert_eq!(must(&scratch, &cell, "clpgrp -t mail"), "Command succeeded.\n");
    let shown = must(&scratch, &cell, "clpstat");
    assert!(shown.contains("   *local "), "{shown}");
    assert!(shown.contains("    mail .................: Offline\n"), "{shown}");
    assert!(shown.contains("    site .................: Online\n"), "{shown}");
    refused(&scratch, &cell, "clpgrp -n mail", "runs on no server");
    must(&scratch, &cell, "clpgrp -s mail");
    assert_eq!(must(&scratch, &cell, "clpgrp -n mail"), "local\n");
    refused(&scratch, &cell, "clpgrp -m mail", "no other node can run group mail");
    refused(&scratch, &cell, "clpgrp -s nothing", "there is no group nothing; there is mail, site");
    refused(&scratch, &cell, "clpgrp -s mail -h nowhere", "there is no server nowhere; there is local");

    // A resource alone in its group is the group; one of several is not, and that is said.
    must(&scratch, &cell, "clprsc -t mail");
    wait_until(&cell, "mail", GroupCondition::Offline);
    must(&scratch, &cell, "clprsc -s mail");
    refused(&scratch, &cell, "clprsc -t first", "clpgrp -t site");
    // Without a group all of this server are meant.
    must(&scratch, &cell, "clpgrp -t");
    let grid = must(&scratch, &cell, "clpstat -g");
    let mail = grid.lines().find(|line| line.contains("mail")).expect("a line of the group");
    assert_eq!(mail.split_whitespace().collect::<Vec<_>>(), ["mail", "-"]);
    must(&scratch, &cell, "clpgrp -s");
    wait_until(&cell, "site", GroupCondition::Online);
    let said = said(&scratch);
    assert!(
        said.ends_with("stop mail;stop second;stop first;start mail;start first;start second;"),
        "{said}"
    );
    for view in ["-s", "-m", "-n", "-p", "-i"] {
        assert!(must(&scratch, &cell, &format!("clpstat {view} -h local")).contains("local"), "{view}");
    }
}

#[test]
fn clpmonctrl_suspends_monitors_and_lets_them_fail() {
    let scratch = Scratch::new();
    let cell = start(&scratch);
    let shows = |state: &str| {
        wait_for(&format!("clpstat to show {state}"), || {
            let shown = must(&scratch, &cell, "clpstat");
            let is_so = shown.contains(&format!("    disk .................: {state}\n"));
            if is_so { Ok(()) } else { Err(shown) }
        });
    };
    shows("Normal");
    must(&scratch, &cell, "clpmonctrl -s -m disk");
    shows("Suspend");
    must(&scratch, &cell, "clpmonctrl -r -h local");
    shows("Normal");
    must(&scratch, &cell, "clpmonctrl -n -m disk");
    shows("Error");
    must(&scratch, &cell, "clpmonctrl -e -m disk");
    shows("Normal");
    let counts = must(&scratch, &cell, "clpmonctrl -v");
    assert!(counts.lines().any(|line| line.starts_with("disk ") && line.contains(" local ")), "{counts}");
    refused(&scratch, &cell, "clpmonctrl -c", "forgotten within an hour");
    refused(&scratch, &cell, "clpmonctrl -s -m nothing", "there is no monitor nothing; there is disk");
}

#[test]
fn clpcl_takes_a_server_out_of_service_and_back_and_suspends_recovery() {
    let scratch = Scratch::new();
    let cell = start(&scratch);
    must(&scratch, &cell, "clpcl -t -h local");
    wait_until(&cell, "mail", GroupCondition::Offline);
    let shown = must(&scratch, &cell, "clpstat");
    assert!(shown.contains("(drained)"), "{shown}");
    must(&scratch, &cell, "clpcl --return -h local");
    wait_until(&cell, "mail", GroupCondition::Offline);
    must(&scratch, &cell, "clpcl -s");
    wait_until(&cell, "mail", GroupCondition::Online);
    wait_until(&cell, "site", GroupCondition::Online);
    must(&scratch, &cell, "clpcl -r -a");
    let said = said(&scratch);
    assert!(
        said.ends_with("stop mail;stop second;stop first;start mail;start first;start second;"),
        "{said}"
    );
    must(&scratch, &cell, "clpcl --suspend --force");
    let shown = must(&scratch, &cell, "clpstat");
    assert!(shown.contains("   *local ................: Suspend\n"), "{shown}");
    must(&scratch, &cell, "clpcl --resume");
    let shown = must(&scratch, &cell, "clpstat");
    assert!(shown.contains("   *local ................: Online\n"), "{shown}");
    // What is so already is no mistake.
    must(&scratch, &cell, "clpcl --resume");
    must(&scratch, &cell, "clpcl --return");
}

#[test]
fn clpdown_and_clpstdn_stop_groups_first_and_run_a_command_then() {
    let scratch = Scratch::new();
    let cell = start(&scratch);
    refused(&scratch, &cell, "clpdown", "no command switches servers off");
    refused(&scratch, &cell, "clpstdn -r", "Nothing was done");
    wait_until(&cell, "mail", GroupCondition::Online);

    let log = scratch.join("said").display().to_string();
    let power = scratch.write("power", &format!("#!/bin/sh\necho $MUSTER_POWER $MUSTER_NODE >> {log}\n"));
    std::fs::set_permissions(&power, std::fs::Permissions::from_mode(0o755)).expect("it is ours");
    let power = power.display();
    must(&scratch, &cell, &format!("clpdown --command {power}"));
    let text = said(&scratch);
    assert!(text.ends_with("stop mail;stop second;stop first;shutdown local;"), "{text}");
    must(&scratch, &cell, "clpcl -s");
    must(&scratch, &cell, &format!("clpstdn -r --command {power}"));
    let text = said(&scratch);
    assert!(text.ends_with("stop mail;stop second;stop first;reboot local;"), "{text}");
    refused(&scratch, &cell, "clpdown --command /bin/false", "/bin/false for local");
}

#[test]
fn clpcfctrl_saves_judges_and_applies_the_configuration() {
    let scratch = Scratch::new();
    let cell = start(&scratch);
    let saved = scratch.join("saved");
    std::fs::create_dir(&saved).expect("the test's directory can be written");
    let place = saved.display().to_string();
    let file = saved.join("muster.toml");
    assert_eq!(must(&scratch, &cell, &format!("clpcfctrl --pull -w -x {place}")), "success. (code:0)\n");
    let text = std::fs::read_to_string(&file).expect("it was saved");
    assert!(text.contains("\r\n") && text.contains("[groups.mail]"), "{text}");
    std::fs::write(&file, text.replace("free_min_percent = 0", "free_min_percent = 1")).expect("it is ours");
    let before = cell.status().config_revision;
    must(&scratch, &cell, &format!("clpcfctrl --compcheck -w -x {place}"));
    assert_eq!(cell.status().config_revision, before);
    must(&scratch, &cell, &format!("clpcfctrl --push -w -x {place}"));
    assert_eq!(cell.status().config_revision, before + 1);
    std::fs::write(&file, "[nonsense]\n").expect("it is ours");
    refused(&scratch, &cell, &format!("clpcfctrl --push -x {place}"), "nonsense");
    std::fs::rename(&file, saved.join("clp.conf")).expect("it is ours");
    refused(&scratch, &cell, &format!("clpcfctrl --push -x {place}"), "muster import clp.conf");
}

#[test]
fn clplogcc_collects_without_secrets() {
    let scratch = Scratch::new();
    let cell = start(&scratch);
    let place = scratch.path().display().to_string();
    must(&scratch, &cell, &format!("clplogcc -t type3 -o {place}"));
    let archive = scratch.join("local-log.tar.gz");
    let list = tar(&["tzf"], &archive);
    for name in ["version.txt", "status.json", "events.json", "muster.toml", "log/group.mail.log"] {
        assert!(list.lines().any(|line| line == name), "{name} is not in\n{list}");
    }
    let text = tar(&["xzOf"], &archive);
    assert!(text.contains("[groups.mail]"), "the configuration is in it");
    let token = std::fs::read_to_string(cell.state_dir.join("admin-token")).expect("there is one");
    assert!(!text.contains(token.trim()), "the administrator's token is not");
    let mode = std::fs::metadata(&archive).expect("it was written").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

fn tar(arguments: &[&str], archive: &Path) -> String {
    let output = Command::new("tar").args(arguments).arg(archive).output().expect("tar is there");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn names_are_installed_and_every_command_has_help() {
    let scratch = Scratch::new();
    let place = scratch.join("sbin");
    std::fs::create_dir(&place).expect("the test's directory can be written");
    std::fs::write(place.join("clpgrp"), "something else").expect("it can be written");
    let install = |arguments: &[&str]| {
        let output = Command::new(MUSTER).arg("install-names").arg(&place).args(arguments).output();
        let output = output.expect("it runs");
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    // What is in the way stays.
    assert_eq!(install(&[]).0, Some(1));
    assert_eq!(std::fs::read_to_string(place.join("clpgrp")).expect("it is there"), "something else");
    std::fs::remove_file(place.join("clpgrp")).expect("it is ours");
    assert_eq!(install(&[]).0, Some(0));
    assert_eq!(install(&[]).0, Some(0), "once more changes nothing");
    let names: Vec<String> = std::fs::read_dir(&place)
        .expect("it is there")
        .map(|entry| entry.expect("it can be read").file_name().to_string_lossy().into_owned())
        .collect();
    assert_eq!(names.len(), 12, "{names:?}");
    for name in &names {
        let output = Command::new(place.join(name)).arg("--help").output().expect("it runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(0), "{name}");
        assert!(text.starts_with(&format!("{name}: ")) && text.contains("Examples:"), "{text}");
        if !name.contains("mon") || name == "clpmonctrl" {
            let output = Command::new(place.join(name)).arg("--no-such-option").output().expect("it runs");
            let talk = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(2), "{name}");
            assert!(talk.contains("Invalid option."), "{talk}");
        }
    }
    assert_eq!(install(&["--remove"]).0, Some(0));
    assert_eq!(std::fs::read_dir(&place).expect("it is there").count(), 0);
}

#[test]
fn clplcnsc_says_that_no_licence_is_needed() {
    for words in ["-i -p ISAG10", "-i key.txt -p ISAG10", "-l -p ISAG10", "-d -p ISAG10"] {
        let mut command = Command::new(MUSTER);
        let output = command.args(["clp", "lcnsc"]).args(words.split(' ')).output().expect("it runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(0), "{words}");
        assert!(text.starts_with("Command succeeded.\nMuster needs no licence"), "{text}");
    }
}

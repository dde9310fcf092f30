//! The guides to life with several machines, followed word by word under load.
//!
//! Each host is a network namespace of the test's own. Needs root.

mod support;

use std::time::Instant;
use support::guide::{Line, Reader, lines};
use support::{Scratch, wait_for};
use wire::status::{CellStatus, ConfigRevision};
use wire::view::RunState;

fn status(reader: &Reader) -> CellStatus {
    let said = reader.shell("web-1", "muster status --json");
    serde_json::from_str(&said.data).unwrap_or_else(|error| panic!("{error}: {said:?}"))
}

/// All members of the shop that take requests.
fn up(status: &CellStatus) -> Vec<String> {
    let members = status.clusters.iter().flat_map(|cluster| &cluster.members);
    members.filter(|member| member.state == RunState::Up).map(|member| member.member.0.clone()).collect()
}

/// One request to the router of a machine, from another machine.
fn must_serve(reader: &Reader, host: &str, address: &str) {
    let curl = format!("curl --silent --show-error --fail --max-time 10 http://{address}:8080/healthz");
    let said = reader.shell(host, &curl);
    assert_eq!((said.code, said.data.as_str()), (Some(0), "ok\n"), "{said:?}");
}

/// Takes the tables of a file away that begin with one of these.
fn without(text: &str, tables: &[&str]) -> String {
    let mut is_kept = true;
    let mut kept = String::new();
    for line in text.lines() {
        if line.starts_with('[') {
            is_kept = !tables.contains(&line);
        }
        if is_kept {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    kept
}

#[test]
fn a_machine_is_added_and_removed() {
    let scratch = Scratch::new();
    let mut reader = Reader::with_cell(&scratch);
    let (files, commands) = lines("add-and-remove-machines.md");
    let path = reader.hosts.home("web-1").join("muster.toml");
    let mut text = std::fs::read_to_string(&path).expect("the test wrote it") + "\n" + &files[0];
    let mut edits = 0;
    let runs = ["[routers.front-4]", "[clusters.shop.members.shop-4]"];
    for line in &commands {
        if line.text.starts_with("muster apply") && !line.text.ends_with("--dry-run") {
            edits += 1;
            text = match edits {
                1 => text,
                2 => without(&text, &runs),
                3 => without(&text, &["[nodes.web-4]"]),
                _ => panic!("the guide applies more often than it says what is edited"),
            };
        }
        reader.hosts.write("web-1", "muster.toml", &text);
        reader.follow(line);
        if line.text.starts_with("curl") {
            assert_eq!(up(&status(&reader)).len(), 4);
            must_serve(&reader, "web-1", "10.0.0.4");
        }
        if line.text.starts_with("muster node remove") {
            let refused = reader.shell("web-1", "muster config rollback 2 --yes");
            assert_eq!(refused.code, Some(0), "the node is still of the configuration: {refused:?}");
            reader.follow(&Line { host: "web-1".into(), text: "muster apply muster.toml".into() });
        }
        must_serve(&reader, "web-3", "10.0.0.2");
    }
    assert_eq!(edits, 3);
    let status = status(&reader);
    assert_eq!((up(&status).len(), status.nodes.len(), status.routers.len()), (3, 3, 3));
    let refused = reader.shell("web-1", "muster config rollback 2 --yes");
    assert!(refused.talk.contains("was removed from the cell"), "{refused:?}");
}

#[test]
fn the_managers_machine_is_lost_and_restored() {
    let scratch = Scratch::new();
    let mut reader = Reader::with_cell(&scratch);
    let (_, commands) = lines("back-up.md");
    let changed = "sed 's/^.clusters.shop.members.shop-2.$/&\\nweight = 3/' muster.toml >new.toml && mv new.toml muster.toml";
    for text in [changed, "muster apply muster.toml", "muster cluster stop shop shop-3 --yes"] {
        reader.follow(&Line { host: "web-1".into(), text: text.into() });
    }
    let restore = commands.iter().position(|line| line.text.starts_with("mkdir -p /var/lib/muster"));
    let (back_up, restore) = commands.split_at(restore.expect("the guide says how"));
    back_up.iter().for_each(|line| reader.follow(line));
    // The backup knows nothing of this one, and its agent goes on from here.
    let text = "muster cluster restart shop shop-2 --yes".to_owned();
    reader.follow(&Line { host: "web-1".into(), text });

    drop(reader.running.remove("web-1"));
    reader.hosts.replace("web-1");
    std::fs::remove_file(reader.hosts.home("web-1").join("muster.toml")).expect("it is lost as well");
    wait_for("the others to serve without it", || {
        let said = reader.shell("web-3", "curl --silent --fail --max-time 10 http://10.0.0.2:8080/healthz");
        if said.code == Some(0) { Ok(()) } else { Err(format!("{said:?}")) }
    });
    for line in restore {
        // What an operator has stopped stays stopped, so not all are waited for in vain.
        if line.text.starts_with("muster status --wait-up") {
            wait_for("the member that was stopped to be known", || {
                let status = status(&reader);
                let mut members = status.clusters.iter().flat_map(|cluster| &cluster.members);
                let third = members.find(|member| member.member.0 == "shop-3").expect("a member");
                if third.state == RunState::Down && third.reason.contains("operator") {
                    Ok(())
                } else {
                    Err(format!("{third:?}"))
                }
            });
            reader.follow(&Line { host: "web-1".into(), text: "muster cluster start shop shop-3".into() });
        }
        reader.follow(line);
    }
    let said = reader.shell("web-1", "muster config log --json");
    let log: Vec<ConfigRevision> = serde_json::from_str(&said.data).expect("a list");
    assert_eq!(log.iter().map(|entry| entry.revision).collect::<Vec<_>>(), [1, 2], "{log:?}");
    assert_eq!(up(&status(&reader)).len(), 3);
    must_serve(&reader, "web-2", "10.0.0.1");
    // The authority is the one that machines know, so another one can still join.
    let said = reader.shell("web-1", "muster node token web-3");
    assert_eq!(said.code, Some(0), "{said:?}");
}

#[test]
fn machines_are_upgraded_one_after_the_other() {
    let scratch = Scratch::new();
    let mut reader = Reader::with_cell(&scratch);
    let (_, commands) = lines("upgrade-machines.md");
    let started = Instant::now();
    let mut away = None;
    // What follows is of several managers (see `managers_come_and_go`).
    for line in commands.iter().take_while(|line| line.text != "muster status") {
        if let Some(member) = line.text.strip_prefix("muster cluster stop shop shop-") {
            away = member.chars().next().and_then(|number| number.to_digit(10));
        }
        reader.follow(line);
        // Whoever spreads requests over routers leaves out the machine that is being upgraded.
        for number in (1..=3).filter(|number| away != Some(*number)) {
            (0..4).for_each(|_| must_serve(&reader, "web-4", &format!("10.0.0.{number}")));
        }
    }
    let status = status(&reader);
    assert_eq!(up(&status).len(), 3);
    assert!(status.nodes.iter().all(|node| node.version == env!("CARGO_PKG_VERSION")), "{:?}", status.nodes);
    println!("the guide took {:?}", started.elapsed());
}

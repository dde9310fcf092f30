//! The store is damaged, or what it says of a failover group makes no sense: no manager leads, the log says why, and the page of that
//! error is the way out, with its own commands. On SQLite, etcd and PostgreSQL.

mod support;

use rustix::process::Signal;
use std::process::Command;
use support::cell::{Cell, run};
use support::stores::{Kind, PASSWORD, StoreServer};
use support::{Running, Scratch, free_port, wait_for};
use wire::group::GroupCondition;

/// The page that is followed.
const PAGE: &str = include_str!("../../../docs/errors/M5001.md");
/// A group that runs wherever it is told to.
const GROUP: &str = "
[groups.mail]
nodes = [\"local\"]

[groups.mail.resources.server]
type = \"process\"
command = [\"sleep\", \"1000\"]
";
const CONFUSED: &str = "nothing that is known";

/// The commands of the page for one kind of store.
struct Page {
    commands: Vec<String>,
    /// Where the store is, in place of what the page names.
    store: Vec<(&'static str, String)>,
}

impl Page {
    fn read(program: &str, store: Vec<(&'static str, String)>) -> Self {
        let ours = PAGE.lines().filter(|line| line.starts_with(program));
        let commands: Vec<String> = ours.map(str::to_owned).collect();
        assert_eq!(commands.len(), 3, "look, write and delete: {commands:?}");
        Self { commands, store }
    }

    fn run(&self, command: &str, line: &str) -> String {
        let mut text = command.replace("LINE", line);
        for (named, ours) in &self.store {
            assert!(text.contains(named), "the page names no {named}: {text}");
            text = text.replace(named, ours);
        }
        let mut shell = Command::new("sh");
        let done = shell.args(["-c", &text]).env("PGPASSWORD", PASSWORD).output().expect("there is a shell");
        assert!(done.status.success(), "{text}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8_lossy(&done.stdout).into_owned()
    }

    /// The record as it stands there: the one line that says whose it is.
    fn look(&self) -> String {
        let said = self.run(&self.commands[0], "");
        let line = said.lines().find(|line| line.contains("epoch="));
        line.unwrap_or_else(|| panic!("there is no record: {said}")).trim().to_owned()
    }

    fn write(&self, line: &str) {
        self.run(&self.commands[1], line);
    }

    fn delete(&self) {
        self.run(&self.commands[2], "");
    }
}

/// Its epoch.
fn epoch_once_online(cell: &Cell) -> u64 {
    wait_for("the group to run", || {
        let groups = cell.try_status()?.groups;
        let group = groups.iter().find(|group| group.group.0 == "mail").ok_or("there is no group")?;
        match group.state {
            GroupCondition::Online => Ok(group.epoch),
            _ => Err(format!("{group:?}")),
        }
    })
}

/// The page is followed: the line is put right, and then, once more confused, deleted.
fn is_mended(scratch: &Scratch, page: &Page, tables: &str, ends_without_its_store: bool) {
    let mut cell = Cell::start(scratch, &format!("{GROUP}{tables}"));
    let epoch = epoch_once_online(&cell);
    for (round, is_deleted) in [(1, false), (2, true)] {
        cell.process.signal(Signal::TERM);
        assert_eq!(cell.process.wait(), Some(0), "{}", cell.process.log());
        let line = page.look();
        page.write(CONFUSED);
        cell.process = run(&cell.config, &[], &scratch.join(&format!("muster-{round}.log")));
        wait_for("the log to name the error and the record", || {
            let log = cell.process.log();
            let is_said = ["M5001", "group/mail", CONFUSED].iter().all(|word| log.contains(word));
            if is_said { Ok(()) } else { Err(log) }
        });
        assert!(cell.try_status().is_err(), "nobody leads");
        if is_deleted {
            page.delete();
        } else {
            page.write(&line);
        }
        if ends_without_its_store {
            assert_ne!(cell.process.wait(), Some(0), "{}", cell.process.log());
            cell.process = run(&cell.config, &[], &scratch.join(&format!("muster-{round}-again.log")));
        }
        cell.wait_until_it_answers();
        let now = epoch_once_online(&cell);
        assert!(is_deleted || now >= epoch, "what was written holds: {now} and {epoch}");
    }
    cell.stop();
}

fn on_a_server(kind: Kind) {
    let scratch = Scratch::new();
    let port = free_port();
    let server = StoreServer::prepare(&scratch, kind, "127.0.0.1", port);
    let words = server.command();
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]);
    let _store = Running::start("store", &mut command, &scratch.join("store.log"));
    let page = match kind {
        Kind::Etcd => Page::read("etcdctl", vec![("10.0.0.4:2379", format!("127.0.0.1:{port}"))]),
        Kind::Postgres => Page::read("psql", vec![("10.0.0.4", format!("127.0.0.1 --port {port}"))]),
    };
    let table = server.table(&scratch.join("store-password"));
    is_mended(&scratch, &page, &format!("\n{table}"), false);
}

fn in_directory(scratch: &Scratch, command: &str) {
    let state = scratch.join("state").display().to_string();
    let text = command.replace("/var/lib/muster", &state);
    let done = Command::new("sh").args(["-c", &text]).current_dir(scratch.join("")).output();
    let done = done.expect("there is a shell");
    assert!(done.status.success(), "{text}: {}", String::from_utf8_lossy(&done.stderr));
}

#[test]
fn a_damaged_file_is_put_back_or_begun_anew_as_its_page_says() {
    let scratch = Scratch::new();
    let first = PAGE.lines().position(|line| line.starts_with("mkdir damaged")).expect("the page says so");
    let commands: Vec<&str> = PAGE.lines().skip(first).take_while(|line| *line != "```").collect();
    assert_eq!(commands.len(), 3, "{commands:?}");
    let mut cell = Cell::start(&scratch, GROUP);
    epoch_once_online(&cell);
    cell.apply(&[("\"1000\"", "\"1001\"")]);
    let token = || std::fs::read(scratch.join("state/admin-token")).expect("it is there");
    let before = token();
    in_directory(
        &scratch,
        "mkdir backup && sqlite3 /var/lib/muster/store.sqlite '.backup backup/store.sqlite'",
    );
    for (round, is_backed_up) in [(1, true), (2, false)] {
        cell.process.signal(Signal::KILL);
        cell.process.wait();
        in_directory(&scratch, "truncate --size 100 /var/lib/muster/store.sqlite");
        let mut refused = run(&cell.config, &[], &scratch.join(&format!("refused-{round}.log")));
        assert_ne!(refused.wait(), Some(0));
        assert!(refused.log().contains("M5001"), "{}", refused.log());
        let count = if is_backed_up { 3 } else { 2 };
        commands[..count].iter().for_each(|command| in_directory(&scratch, command));
        in_directory(&scratch, "rm -r damaged");
        cell.process = run(&cell.config, &[], &scratch.join(&format!("muster-{round}.log")));
        cell.wait_until_it_answers();
        epoch_once_online(&cell);
        let revision = if is_backed_up { 2 } else { 1 };
        assert_eq!((cell.status().config_revision, token() == before), (revision, true));
    }
    cell.stop();
}

#[test]
fn an_unreadable_record_in_a_file_is_mended_as_its_page_says() {
    let scratch = Scratch::new();
    let file = scratch.join("state").join("store.sqlite").display().to_string();
    let page = Page::read("sqlite3", vec![("/var/lib/muster/store.sqlite", file)]);
    is_mended(&scratch, &page, "", true);
}

#[test]
fn an_unreadable_record_in_etcd_is_mended_as_its_page_says() {
    on_a_server(Kind::Etcd);
}

#[test]
fn an_unreadable_record_in_postgresql_is_mended_as_its_page_says() {
    on_a_server(Kind::Postgres);
}

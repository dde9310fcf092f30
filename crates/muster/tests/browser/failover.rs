//! A failover in the console, over three machines: a move with its dry run, the timeline of a lost node, a person's word that
//! a node is off. The browser runs on the manager's machine. Needs root.

use super::groups::{item, menu, row, wait_for_lamp};
use super::keep_screenshot;
use super::support::hosts::Hosts;
use super::support::{Running, Scratch, wait_for};
use super::webdriver::Browser;
use serde_json::Value;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

const HOSTS: [&str; 3] = ["boss", "one", "two"];

const GROUPS: &str = "
[groups.mail]
nodes = [\"one\", \"two\"]
[groups.mail.resources.spool]
type = \"exec\"
start = [\"sleep\", \"0.05\"]
stop = [\"true\"]
[groups.mail.resources.server]
type = \"process\"
command = [\"sleep\", \"100000\"]

[groups.hand]
nodes = [\"one\", \"two\"]
failover = \"manual\"
[groups.hand.resources.job]
type = \"exec\"
start = [\"true\"]
stop = [\"true\"]
";

struct Cell {
    /// Dropped before the hosts.
    _running: Vec<Running>,
    hosts: Hosts,
}

impl Cell {
    fn start(scratch: &Scratch) -> Self {
        let hosts = Hosts::new(scratch, &HOSTS);
        let mut text = String::from("[manager]\nlisten = \"0.0.0.0:29001\"\n");
        for (index, host) in HOSTS.iter().enumerate() {
            text.push_str(&format!("\n[nodes.{host}]\naddress = \"10.0.0.{}\"\n", index + 1));
        }
        hosts.write("boss", "muster.toml", &(text + GROUPS));
        hosts.must("boss", "muster init");
        let mut running = vec![hosts.start("boss", "muster run --node boss")];
        wait_for("the manager to answer", || {
            let said = hosts.run("boss", "muster status --json");
            if said.code == Some(0) { Ok(()) } else { Err(format!("{said:?}")) }
        });
        for host in &HOSTS[1..] {
            let join = hosts.must("boss", &format!("muster node token {host}"));
            hosts.must(host, join.trim());
            running.push(hosts.start(host, "muster run"));
        }
        for group in ["mail", "hand"] {
            wait_for(&format!("group {group} to run, and to be able to move"), || {
                let said = hosts.run("boss", &format!("muster group status {group} --json"));
                let status: Value = serde_json::from_str(&said.data).map_err(|error| error.to_string())?;
                let is_able =
                    status["why"].as_array().is_some_and(|all| all.iter().all(|why| why["is_able"] == true));
                if status["state"] == "online" && is_able { Ok(()) } else { Err(status.to_string()) }
            });
            // Where it started is where a lease came first.
            hosts.run("boss", &format!("muster group move {group} one --yes"));
        }
        Self { _running: running, hosts }
    }
}

/// What the browser's side asks of the test's, which alone may touch the network.
struct Cables {
    cut: SyncSender<&'static str>,
    done: Receiver<()>,
}

impl Cables {
    fn cut(&self, host: &'static str) {
        self.cut.send(host).expect("the test listens");
        self.done.recv().expect("the test answers");
    }
}

#[test]
fn a_person_moves_a_group_sees_its_failover_and_says_that_a_node_is_off() {
    let scratch = Scratch::new();
    let cell = Cell::start(&scratch);
    let token = std::fs::read_to_string(cell.hosts.home("boss").join("state/admin-token"));
    let token = token.expect("the manager wrote it").trim().to_owned();
    let (cut, cuts) = sync_channel(0);
    let (tell_done, done) = sync_channel(0);
    let profile = scratch.path().to_owned();
    let work = cell.hosts.spawn("boss", move || look(profile, &token, &Cables { cut, done }));
    for host in cuts {
        cell.hosts.cut(host);
        tell_done.send(()).expect("the browser's side waits");
    }
    if let Err(panic) = work.join() {
        std::panic::resume_unwind(panic);
    }
    let why = cell.hosts.must("boss", "muster group why mail --json");
    let why: Value = serde_json::from_str(&why).expect("it is JSON");
    assert_eq!(why["timeline"]["kind"], "failover", "{why}");
    let told = cell.hosts.must("boss", "muster group history mail");
    assert!(told.contains("failover from one to two: online after "), "{told}");
    assert!(told.contains("lease ended") && told.contains("resource online"), "{told}");
}

fn stages(browser: &Browser) -> Vec<String> {
    let found = browser.script(
        "return [...document.querySelectorAll('.stage:not(.leaving)')].map(item => item.dataset.stage)",
    );
    found.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn wait_for_place(browser: &Browser, group: &str, node: &str) {
    wait_for_lamp(browser, &format!("group/{group}"), "green", "Online");
    wait_for(&format!("{group} on {node}"), || {
        let note = browser.text(&format!("{} .tree-note", row(&format!("group/{group}"))));
        let lamp = browser.text(&format!("{} .lamp-word", row(&format!("group/{group}"))));
        if note == format!("on {node}") && lamp == "Online" { Ok(()) } else { Err(format!("{lamp} {note}")) }
    });
}

fn look(scratch: PathBuf, token: &str, cables: &Cables) {
    let browser = Browser::start_in(&scratch, 1280, 1400);
    browser.open(&format!("http://127.0.0.1:29003/login#token={token}"));
    browser.wait_for("#link[data-link=live]");
    wait_for_place(&browser, "mail", "one");

    // A move is shown before it is done.
    browser.click_right(&format!("{} .tree-name", row("group/mail")));
    browser.click(&item("Move…"));
    browser.click("#plan-choices input[value=two]");
    wait_for("the plan", || {
        let told = browser.text("#plan-told");
        if told.contains("moved from node one to two") { Ok(()) } else { Err(told) }
    });
    assert!(browser.text("#plan-steps").contains("stop server, spool"), "in reverse order");
    wait_for_place(&browser, "mail", "one");
    keep_screenshot("group-move", &browser, 1280);
    browser.click("#plan-yes:not([disabled])");
    wait_for_place(&browser, "mail", "two");
    browser.click(&row("group/mail"));
    wait_for("the timeline of the move", || {
        let found = stages(&browser);
        let is_whole = found.first().is_some_and(|first| first == "asked")
            && found.last().is_some_and(|last| last == "online")
            && found.iter().filter(|stage| *stage == "resource-online").count() == 2;
        if is_whole { Ok(()) } else { Err(format!("{found:?}")) }
    });

    browser.click_right(&format!("{} .tree-name", row("group/mail")));
    browser.click(&item("Fail back…"));
    browser.click("#plan-yes:not([disabled])");
    wait_for_place(&browser, "mail", "one");
    lose_a_node(&browser, cables);
    say_that_it_is_off(&browser);
}

/// The node of both groups is lost: one goes by itself, the other by a person's word.
fn lose_a_node(browser: &Browser, cables: &Cables) {
    cables.cut("one");
    wait_for_lamp(browser, "server/one", "red", "Lost");
    wait_for_place(browser, "mail", "two");
    wait_for("the timeline of the failover", || {
        let found = stages(browser);
        let has = |wanted: &str| found.iter().any(|stage| stage == wanted);
        let is_whole = [
            "last-heard",
            "confirmed",
            "lease-ended",
            "decided",
            "committed",
            "told",
            "resource-online",
            "online",
        ]
        .into_iter()
        .all(has);
        if is_whole { Ok(()) } else { Err(format!("{found:?}")) }
    });
    assert_eq!(stages(browser).first().map(String::as_str), Some("last-heard"));
    assert!(browser.text(".legend").contains("Detected"), "{}", browser.text(".legend"));
    keep_screenshot("group-failover", browser, 1280);
}

fn say_that_it_is_off(browser: &Browser) {
    wait_for_lamp(browser, "group/hand", "yellow", "Waiting");
    browser.click_right(&format!("{} .tree-name", row("group/hand")));
    assert!(menu(browser).contains(&"Confirm that its node is off…".to_owned()));
    browser.click(&item("Confirm that its node is off…"));
    wait_for("the warning", || {
        let told = browser.text("#plan-told");
        if told.contains("one counts as off") { Ok(()) } else { Err(told) }
    });
    assert_eq!(browser.count("#plan-yes[disabled]"), 1, "nothing is sent before its name is typed");
    browser.click("#plan-typed");
    browser.type_text("on");
    assert_eq!(browser.count("#plan-yes[disabled]"), 1);
    browser.type_text("e");
    keep_screenshot("group-confirm-off", browser, 1280);
    browser.press("\u{e007}");
    wait_for_place(browser, "hand", "two");
}

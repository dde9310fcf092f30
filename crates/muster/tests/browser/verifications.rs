//! The six set-up steps and the four verifications of ExpressCluster's guide, with the console and a real nginx and Postfix on
//! two machines: by scripts with monitoring commands and what watches those, and by monitors of Muster's own. Needs root.
//!
//! Each time the application alone is verified first, and then with what monitors it, as the guide has it.

use super::groups::{item, menu, row, wait_for_lamp};
use super::keep_screenshot;
use super::remote::Remote;
use super::support::groups::{Cell, HOSTS, config};
use super::support::templates::{Case, HTTP, SMTP, furnish};
use super::support::{Scratch, program, wait_for};
use super::webdriver::Browser;
use serde_json::{Value, json};
use wire::group::GroupCondition;
use wire::status::Event;

const CASES: [Case; 2] = [HTTP, SMTP];
const ENTER: &str = "\u{e007}";

/// How applications are started and watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Exec 1, exec 2 with a monitoring command, and what a pid monitor does.
    Commands,
    /// A process or an agent of Debian, and monitors of Muster's own.
    Native,
}

/// The cell, and a browser at its console on the manager's machine.
struct Stage {
    way: Way,
    is_monitored: bool,
    scratch: Scratch,
    browser: Remote,
    cell: Cell,
}

/// The failover groups: steps 1 and 2, and with monitoring steps 4 and 5.
fn tables(way: Way, is_monitored: bool, scratch: &Scratch) -> String {
    CASES.iter().map(|case| table(way, case, is_monitored, scratch)).collect()
}

fn table(way: Way, case: &Case, is_monitored: bool, scratch: &Scratch) -> String {
    let group = case.group;
    let last = if group == "web" { 12 } else { 13 };
    let mut text = format!(
        "[groups.{group}]\nnodes = [\"one\", \"two\"]\nstartup = \"manual\"\nrestarts_max = 0\n\n\
         [groups.{group}.resources.fip]\ntype = \"address\"\naddress = \"10.1.0.{last}/24\"\n\n\
         [groups.{group}.resources.app]\n"
    );
    if group == "web" {
        let (image, mounted) = (scratch.join("disk.img"), scratch.join("disk1"));
        let disk = format!(
            "[groups.web.resources.disk1]\ntype = \"filesystem\"\ndevice = {image:?}\nmount_point = {mounted:?}\n\
             file_system = \"ext4\"\nmount_options = [\"loop\"]\n\n[groups.web.resources.app]\n"
        );
        text = text.replace("[groups.web.resources.app]\n", &disk);
    }
    let script = |name: &str| case.script(scratch, name);
    let home = scratch.path().join("$MUSTER_NODE").display().to_string();
    text += &match (way, group) {
        (Way::Commands, _) => {
            format!(
                "type = \"exec\"\nstart = [\"{}\"]\nstop = [\"{}\"]\n\n",
                script("app-start.sh"),
                script("app-stop.sh")
            )
        }
        (Way::Native, "web") => format!(
            "type = \"process\"\ncommand = [\"sh\", \"-c\", \"exec nginx -p {home} -c {home}/nginx.conf \
             -e {home}/nginx.log -g 'daemon off;'\"]\n\n"
        ),
        (Way::Native, _) => "type = \"ocf\"\nagent = \"heartbeat:postfix\"\n\n".to_owned(),
    };
    if is_monitored {
        text += &match way {
            Way::Commands => format!(
                "[groups.{group}.resources.mon]\ntype = \"exec\"\nasynchronous = true\nmust_last = true\n\
                 start = [\"{}\"]\nstop = [\"{}\"]\n\n",
                script("mon-start.sh"),
                script("mon-stop.sh")
            ),
            Way::Native => format!(
                "[monitors.{group}]\nkind = \"{}\"\ntarget = \"127.0.0.1:{}\"\ninterval_ms = 500\n\
                 timeout_ms = 10000\nretries = 3\ngroup = \"{group}\"\n\n",
                if group == "web" { "http" } else { "smtp" },
                if group == "web" { 80 } else { 25 }
            ),
        };
    }
    text
}

/// How a node is rebooted, which notes whether applications ran yet; and a shutdown that fails.
fn power(scratch: &Scratch, node: &str) -> String {
    let notes = scratch.join("reboots").display().to_string();
    format!(
        "reboot_command = [\"sh\", \"-c\", \"curl -s -m5 -o /dev/null http://127.0.0.1/ && echo {node} runs >> {notes} \
         || echo {node} has ended >> {notes}\"]\nshutdown_command = [\"sh\", \"-c\", \"echo no power here; exit 3\"]\n"
    )
}

/// A disk that both nodes see.
fn make_disk(scratch: &Scratch) {
    std::fs::create_dir(scratch.join("disk1")).expect("the test's directory can be written");
    for (name, words) in [("truncate", ["-s", "16M"].as_slice()), ("mkfs.ext4", &["-q"])] {
        let made =
            std::process::Command::new(program(name)).args(words).arg(scratch.join("disk.img")).output();
        assert!(made.as_ref().is_ok_and(|made| made.status.success()), "{name}: {made:?}");
    }
}

impl Stage {
    fn set_up(way: Way) -> Self {
        let scratch = Scratch::new();
        CASES.iter().for_each(|case| case.write_scripts(&scratch));
        make_disk(&scratch);
        let groups = tables(way, false, &scratch);
        let cell = Cell::start_where(&scratch, &|node| power(&scratch, node), &groups, "muster run");
        for host in &HOSTS[1..] {
            furnish(&cell.hosts, host);
            CASES.iter().for_each(|case| case.install(&cell.hosts, host));
            assert_eq!(cell.hosts.home(host), scratch.join(host), "groups find it by their node's name");
            let conf = scratch.join(host).join("conf").display().to_string();
            // Agents of Debian know the configuration of Postfix by its place.
            let said = cell.shell(
                host,
                &format!("cp -an /etc/postfix/. {conf} && mount --bind {conf} /etc/postfix && echo done"),
            );
            assert!(said.ends_with("done\n"), "{said}");
        }
        CASES.iter().for_each(|case| drop(cell.wait_until_able(case.group)));
        let token = std::fs::read_to_string(cell.hosts.home("boss").join("state/admin-token"));
        let token = token.expect("the manager wrote it").trim().to_owned();
        let mut browser = Remote::start(&cell.hosts, "boss", scratch.path().to_owned(), 1280, 1400);
        browser.on(move |browser| {
            browser.open(&format!("http://127.0.0.1:29003/login#token={token}"));
            browser.wait_for("#link[data-link=live]");
        });
        Self { way, is_monitored: false, scratch, browser, cell }
    }

    /// Steps 4 and 5.
    fn add_monitoring(&mut self) {
        self.is_monitored = true;
        let text = config(&|node| power(&self.scratch, node), &tables(self.way, true, &self.scratch));
        self.cell.hosts.write("boss", "muster.toml", &text);
        self.cell.hosts.must("boss", "muster apply muster.toml");
    }

    /// The number of the newest event.
    fn mark(&self) -> u64 {
        let events = wait_for("the events", || self.cell.events());
        events.last().map_or(0, |event| event.number)
    }

    /// Whether an event is of what monitors a case.
    fn is_of(&self, case: &Case, event: &Event) -> bool {
        match self.way {
            Way::Commands => event.kind == case.kind,
            Way::Native => {
                event.kind.starts_with("monitor-") && event.text.contains(&format!("monitor {} ", case.group))
            }
        }
    }

    /// What monitors a case has said these numbers on a node since the mark, and nothing else; the alert view shows each with the
    /// server's name. Without monitoring nothing was said.
    fn wait_for_ids(&mut self, mark: u64, case: &Case, node: &str, ids: &[u16]) {
        let ids = if self.is_monitored { ids } else { &[] };
        let said = wait_for(&format!("{ids:?} of {} on {node}", case.group), || {
            let events = self.cell.events()?;
            let its = events.into_iter().filter(|event| event.number > mark && self.is_of(case, event));
            let here: Vec<Event> =
                its.filter(|event| event.node.as_ref().is_some_and(|there| there.0 == node)).collect();
            let mut said: Vec<u16> = here.iter().filter_map(|event| event.id).collect();
            // The command has started before it begins, and a monitor begins before it has started.
            said.sort_unstable();
            if said == ids { Ok(here) } else { Err(format!("{said:?}")) }
        });
        for event in said {
            let wanted =
                [node.to_owned(), format!("{} {}", event.kind, event.id.unwrap_or_default()), event.text];
            self.browser.on(move |browser| wait_for_alert(browser, &wanted));
        }
    }

    /// Whether the application of a case answers on a node, its address is there, and its disk.
    fn parts(&self, case: &Case, node: &str) -> [bool; 3] {
        let answers = match case.group {
            "web" => self.cell.hosts.shell(node, "curl -s -m5 http://127.0.0.1/").data == "ok",
            _ => {
                let line = "timeout 5 bash -c 'exec 3<>/dev/tcp/127.0.0.1/25; head -1 <&3'";
                self.cell.hosts.shell(node, line).data.starts_with("220 ")
            }
        };
        let address = if case.group == "web" { "10.1.0.12/24" } else { "10.1.0.13/24" };
        let has_address = self.cell.shell(node, "ip -o address show dev lan0").contains(address);
        let has_disk =
            case.group != "web" || self.cell.shell(node, "cat /proc/mounts").contains("/disk1 ext4 ");
        [answers, has_address, has_disk]
    }

    fn wait_until_it_runs(&self, case: &Case, node: &str, shall_run: bool) {
        // A group without a disk has it always.
        let wanted = [shall_run, shall_run, shall_run || case.group != "web"];
        wait_for(&format!("{} on {node} to run: {shall_run}", case.group), || {
            let parts = self.parts(case, node);
            if parts == wanted { Ok(()) } else { Err(format!("application, address and disk: {parts:?}")) }
        });
    }

    /// By the right button; `node` is chosen where it is asked for.
    fn act(&mut self, key: String, label: &'static str, node: Option<&'static str>) {
        self.browser.on(move |browser| {
            browser.click_right(&format!("{} .tree-name", row(&key)));
            assert!(menu(browser).contains(&label.to_owned()), "{label} of {key}: {:?}", menu(browser));
            browser.click(&item(label));
            if let Some(node) = node {
                browser.click(&format!("#plan-choices input[value={node}]"));
            }
            browser.wait_for("#plan-outcome[data-kind=granted]");
            browser.click("#plan-yes:not([disabled])");
        });
    }

    fn shows(&mut self, key: String, colour: &'static str, word: &'static str) {
        self.browser.on(move |browser| wait_for_lamp(browser, &key, colour, word));
    }

    /// The table of groups shows where a group is, and how it came there.
    fn table_shows(&mut self, group: &'static str, node: &'static str, came: &'static str) {
        self.browser.on(move |browser| {
            browser.click(&row("groups"));
            wait_for(&format!("{group} on {node}, after {came}"), || {
                let cells = format!(
                    "return [...document.querySelectorAll('tr[data-group={group}] td, tr[data-group={group}] th')]\
                     .map(cell => cell.textContent)"
                );
                let cells = browser.script(&cells);
                let cells: Vec<&str> =
                    cells.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
                let is_there = cells.contains(&node) && cells.iter().any(|cell| cell.starts_with(came));
                if is_there && cells.iter().any(|cell| cell.contains("Online")) {
                    Ok(())
                } else {
                    Err(format!("{cells:?}"))
                }
            });
        });
    }

    /// Verification 1: its icon is green, the application runs, monitoring begins.
    fn start(&mut self, case: &Case, node: &'static str) {
        let mark = self.mark();
        let key = format!("group/{}", case.group);
        self.act(key.clone(), "Start…", Some(node));
        self.shows(key, "green", "Online");
        self.wait_until_it_runs(case, node, true);
        self.wait_for_ids(mark, case, node, &[1, 2]);
        self.cell.wait_until_online(case.group, node);
    }

    /// Verification 2: its icon is gray, the application has ended, and monitoring before it.
    fn stop(&mut self, case: &Case, node: &str) {
        let mark = self.mark();
        let key = format!("group/{}", case.group);
        self.act(key.clone(), "Stop…", None);
        self.shows(key, "gray", "Offline");
        self.wait_until_it_runs(case, node, false);
        self.wait_for_ids(mark, case, node, &[3]);
    }

    /// Verification 3: the table shows it at its destination; monitoring ends and begins.
    fn move_to(&mut self, case: &Case, from: &'static str, to: &'static str) {
        let mark = self.mark();
        self.act(format!("group/{}", case.group), "Move…", Some(to));
        self.table_shows(case.group, to, "Move");
        self.wait_until_it_runs(case, from, false);
        self.wait_until_it_runs(case, to, true);
        self.wait_for_ids(mark, case, from, &[3]);
        self.wait_for_ids(mark, case, to, &[1, 2]);
    }

    /// Verification 4: its server is rebooted, and both groups fail over.
    fn reboot(&mut self, from: &'static str, to: &'static str) {
        let mark = self.mark();
        std::fs::write(self.scratch.join("reboots"), "").expect("it can be written");
        let name = format!("verification-{:?}-{}", self.way, self.is_monitored);
        self.browser.on(move |browser| reboot_by_the_console(browser, from, to, &name));
        for case in &CASES {
            self.table_shows(case.group, to, "Failover");
            self.wait_until_it_runs(case, to, true);
            self.wait_for_ids(mark, case, from, &[3]);
            self.wait_for_ids(mark, case, to, &[1, 2]);
        }
        // The machine: its service has ended, its applications before its command was run, and it comes back.
        let place = HOSTS.iter().position(|host| *host == from).expect("a host of the test");
        assert_eq!(self.cell.running[place].wait(), Some(0));
        let notes = std::fs::read_to_string(self.scratch.join("reboots")).expect("the command wrote it");
        assert_eq!(notes, format!("{from} has ended\n"));
        self.shows(format!("server/{from}"), "red", "Lost");
        self.cell.start_again(from);
        self.shows(format!("server/{from}"), "green", "Up");
        let told = wait_for("the events", || self.cell.events());
        let told: Vec<Event> =
            told.into_iter().filter(|event| event.number > mark && event.kind == "node-power").collect();
        let [told] = &told[..] else { panic!("{told:?}") };
        assert_eq!(told.node.as_ref().map(|node| node.0.as_str()), Some(from));
        assert!(told.text.contains(&format!("web goes to {to}")), "{}", told.text);
        CASES.iter().for_each(|case| drop(self.cell.wait_until_able(case.group)));
    }

    fn verify(&mut self) {
        // 1 and 2 on all servers.
        for case in &CASES {
            for node in ["two", "one"] {
                self.start(case, node);
                self.stop(case, node);
            }
            self.start(case, "one");
            self.move_to(case, "one", "two");
        }
        self.reboot("two", "one");
        for case in &CASES {
            self.stop(case, "one");
        }
    }
}

fn wait_for_alert(browser: &Browser, wanted: &[String; 3]) {
    let shown = "return [...document.querySelectorAll('#events tr')].map(row => \
                 [...row.children].slice(2).map(cell => cell.textContent))";
    wait_for(&format!("{wanted:?} in the alert view"), || {
        let rows = browser.script(shown);
        if rows.as_array().is_some_and(|rows| rows.contains(&json!(wanted))) {
            Ok(())
        } else {
            Err(rows.to_string())
        }
    });
}

/// The plan is told, and nothing is done before the server's name is typed.
fn reboot_by_the_console(browser: &Browser, from: &str, to: &str, name: &str) {
    browser.click_right(&format!("{} .tree-name", row(&format!("server/{from}"))));
    assert!(menu(browser).contains(&"Shut down…".to_owned()), "{:?}", menu(browser));
    browser.click(&item("Reboot…"));
    wait_for("the plan", || {
        let told = browser.text("#plan-told");
        let is_whole = ["web", "mail"].iter().all(|group| told.contains(&format!("{group} goes to {to}")));
        if is_whole { Ok(()) } else { Err(told) }
    });
    assert_eq!(browser.count("#plan-yes[disabled]"), 1, "nothing is sent before its name is typed");
    browser.click("#plan-typed");
    browser.type_text(from);
    browser.wait_for("#plan-yes:not([disabled])");
    keep_screenshot(name, browser, 1280);
    browser.press(ENTER);
}

/// A machine that does not end is a node again, and one that has the only manager does not end by itself.
fn refuse_and_fail(stage: &mut Stage) {
    let hosts = &stage.cell.hosts;
    let told = hosts.must("boss", "muster node shutdown one --dry-run");
    assert!(
        told.contains("dry run: node one is being shut down") && told.contains("web goes to two"),
        "{told}"
    );
    let refused = hosts.run("boss", "muster node reboot boss --yes");
    assert!(refused.code == Some(1) && refused.talk.contains("M2035"), "{refused:?}");
    assert!(refused.talk.contains("the only manager runs there"), "{refused:?}");
    let wrong = hosts.run("boss", "muster node shutdown one --confirm two");
    assert_eq!(wrong.code, Some(2), "{wrong:?}");
    let mark = stage.mark();
    let begun = hosts.must("boss", "muster node shutdown one --yes --json");
    assert!(begun.contains("node one is being shut down"), "{begun}");
    stage.cell.wait_until_online("web", "two");
    let why = wait_for("that it failed", || {
        let events = stage.cell.events()?;
        let failed = |event: &&Event| event.number > mark && event.text.contains("is not shut down");
        events.iter().find(failed).map(|event| event.text.clone()).ok_or_else(|| format!("{events:?}"))
    });
    assert!(why.contains("no power here") && why.contains("exit status: 3"), "{why}");
    stage.cell.wait_until_able("web");
    stage.cell.hosts.must("boss", "muster group move web one --yes");
    let group = stage.cell.wait_until_online("web", "one");
    assert_eq!(group.state, GroupCondition::Online);
}

fn verify_a_way(way: Way) {
    let mut stage = Stage::set_up(way);
    stage.verify();
    stage.add_monitoring();
    stage.verify();
    if way == Way::Native {
        stage.start(&HTTP, "one");
        refuse_and_fail(&mut stage);
    }
}

#[test]
fn verifications_of_the_guide_hold_with_scripts_and_monitoring_commands() {
    verify_a_way(Way::Commands);
}

#[test]
fn verifications_of_the_guide_hold_with_native_monitors() {
    verify_a_way(Way::Native);
}

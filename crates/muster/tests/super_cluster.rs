//! Two cells of one machine each that serve as one: the guide word by word, local first, spilling over, sessions kept, a cell
//! that is gone, and no token, no word.
//!
//! Each host is a network namespace of the test's own. Needs root.

mod support;

use std::os::unix::fs::PermissionsExt;
use support::guide::Guide;
use support::hosts::Hosts;
use support::{Running, Scratch, wait_for};
use wire::status::CellStatus;
use wire::view::RunState;

const HOSTS: [&str; 2] = ["east-1", "west-1"];
const NO_HASH: &str = "0000000000000000000000000000000000000000000000000000000000000000";

struct Cells {
    /// By host; dropped before the hosts.
    running: Vec<Option<Running>>,
    hosts: Hosts,
}

/// An answer of the sample application, with all cookies that the client has after it.
#[derive(Debug)]
struct Answer {
    status: u16,
    member: String,
    body: String,
}

fn other(host: &str) -> &'static str {
    if host == HOSTS[0] { HOSTS[1] } else { HOSTS[0] }
}

fn index(host: &str) -> usize {
    HOSTS.iter().position(|name| *name == host).expect("it is a host")
}

impl Cells {
    fn follow_guide(scratch: &Scratch) -> Self {
        let Guide { files, commands } = support::guide::read("super-cluster.md", &HOSTS);
        let hosts = Hosts::new(scratch, &HOSTS);
        for (host, file) in HOSTS.iter().zip(&files) {
            // Half a minute for conversations to end is nothing to wait for here.
            let file = file.replace(
                "[clusters.shop.affinity]",
                "[clusters.shop]\ndrain_ms = 500\n[clusters.shop.affinity]",
            );
            hosts.write(host, "muster.toml", &file);
        }
        let mut cells = Self { running: vec![None, None], hosts };
        for (host, lines) in commands {
            lines.iter().for_each(|line| cells.follow(&host, line));
        }
        cells
    }

    fn follow(&mut self, host: &str, line: &str) {
        if let Some(started) = line.strip_suffix(" &") {
            self.running[index(host)] = Some(self.hosts.start(host, started));
            wait_for("the manager to answer", || self.try_status(host).map(drop));
        } else if line.starts_with("muster bridge token") {
            let said = self.hosts.run(host, line);
            assert_eq!(said.code, Some(0), "{said:?}");
            let hash = said.talk.lines().find_map(|line| line.strip_prefix("token_sha256 = "));
            let hash = hash.unwrap_or_else(|| panic!("{said:?}")).trim_matches('"');
            let home = self.hosts.home(host);
            let file = std::fs::read_to_string(home.join("muster.toml")).expect("it was written");
            self.hosts.write(host, "muster.toml", &file.replace(NO_HASH, hash));
            let cell = host.strip_suffix("-1").expect("hosts end so");
            let path = self.hosts.home(other(host)).join(format!("state/{cell}.token"));
            std::fs::write(&path, &said.data).expect("it can be written");
            std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).expect("it is ours");
        } else {
            self.hosts.must(host, line);
        }
    }

    fn try_status(&self, host: &str) -> Result<CellStatus, String> {
        let said = self.hosts.run(host, "muster status --json");
        serde_json::from_str(&said.data).map_err(|error| format!("{error}: {said:?}"))
    }

    fn wait_for_state(&self, host: &str, cluster: &str, state: RunState, count: usize) {
        wait_for(&format!("{cluster} to be {state} on {host}"), || {
            let status = self.try_status(host)?;
            let found = status.clusters.iter().find(|known| known.cluster.0 == cluster);
            let found = found.ok_or(format!("there is no {cluster}"))?;
            let is_so = found.members.iter().all(|member| member.state == state);
            // Each thread of a router learns it for itself.
            let is_known = status
                .routers
                .iter()
                .all(|router| router.connected && router.applied.get(&found.cluster) >= Some(&found.epoch));
            let is_all = is_known && found.members.len() == count;
            if is_so && is_all { Ok(()) } else { Err(format!("{found:?}, {:?}", status.routers)) }
        });
    }

    /// The line of the log of the host's manager that says the last of these events, and its place.
    fn last_event(&self, host: &str, kind: &str) -> Result<(usize, String), String> {
        let log = std::fs::read_to_string(self.hosts.log(host)).map_err(|error| error.to_string())?;
        let found = log.lines().enumerate().filter(|(_, line)| line.contains(&format!("kind=\"{kind}\"")));
        let found = found.last().map(|(place, line)| (place, line.to_owned()));
        found.ok_or_else(|| format!("no {kind} in {log}"))
    }

    /// A request of a client who keeps its cookies in the file `jar`.
    fn ask(&self, host: &str, jar: &str, more: &str) -> Answer {
        let jar = self.hosts.home(host).join(jar);
        let jar = jar.display();
        let curl = format!(
            "curl --silent --show-error --max-time 20 --include --cookie {jar} --cookie-jar {jar} {more} http://127.0.0.1:8080/"
        );
        let said = self.hosts.run(host, &curl);
        let status = said.data.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        let member = said.data.lines().find_map(|line| line.strip_prefix("x-member: "));
        let member = member.unwrap_or_default().trim().to_owned();
        Answer { status, member, body: said.data }
    }

    fn must_ask(&self, host: &str, jar: &str) -> String {
        let answer = self.ask(host, jar, "");
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.member
    }

    /// Asks without cookies until the cell that answers is the one that is wanted.
    fn wait_for_answers_of(&self, host: &str, cell: &str) {
        wait_for(&format!("{cell} to answer on {host}"), || {
            let answer = self.ask(host, "none", "--junk-session-cookies");
            std::fs::remove_file(self.hosts.home(host).join("none")).ok();
            if answer.member.starts_with(cell) { Ok(()) } else { Err(format!("{answer:?}")) }
        });
    }
}

fn a_token_that_is_taken_back_opens_nothing_and_says_so(cells: &mut Cells) {
    let path = cells.hosts.home("east-1").join("muster.toml");
    let file = std::fs::read_to_string(&path).expect("it was written");
    let start = file.find("token_sha256 = \"").expect("a hash") + "token_sha256 = \"".len();
    let hash = file[start..start + 64].to_owned();
    cells.hosts.write("east-1", "other.toml", &file.replace(&hash, NO_HASH));
    cells.hosts.must("east-1", "muster apply other.toml");
    wait_for("west to be refused", || {
        let (_, text) = cells.last_event("west-1", "cell-not-heard")?;
        if text.contains("M2070") { Ok(()) } else { Err(text) }
    });
    cells.hosts.must("east-1", "muster apply muster.toml");
    wait_for("west to hear again", || {
        let heard = cells.last_event("west-1", "cell-heard")?;
        let not = cells.last_event("west-1", "cell-not-heard")?;
        if heard > not { Ok(()) } else { Err(not.1) }
    });
}

fn with_nobody_anywhere_requests_end(cells: &mut Cells) {
    // An end, and no circle.
    cells.hosts.must("east-1", "muster cluster stop shop --yes");
    wait_for("both cells to say no", || {
        // What went to and fro would take longer than its client waits.
        let answer = cells.ask("west-1", "nobody", "");
        if answer.status == 503 { Ok(()) } else { Err(format!("{answer:?}")) }
    });
}

#[test]
fn two_cells_serve_as_one_and_each_goes_on_alone() {
    let scratch = Scratch::new();
    let mut cells = Cells::follow_guide(&scratch);
    cells.wait_for_state("east-1", "shop", RunState::Up, 2);
    cells.wait_for_state("west-1", "shop", RunState::Up, 2);
    cells.wait_for_state("east-1", "shop@west", RunState::Up, 1);
    cells.wait_for_state("west-1", "shop@east", RunState::Up, 1);
    cells.wait_for_answers_of("east-1", "east");
    cells.wait_for_answers_of("west-1", "west");

    // Local first, with sessions.
    let home = cells.must_ask("west-1", "here");
    for _ in 0..20 {
        assert_eq!(cells.must_ask("west-1", "here"), home);
        let fresh = cells.ask("west-1", "/dev/null", "");
        assert!(fresh.status == 200 && fresh.member.starts_with("west-"), "{fresh:?}");
        assert!(!fresh.body.contains("MUSTERCELL"), "{fresh:?}");
        assert!(!fresh.body.to_lowercase().contains("muster-spilled"), "{fresh:?}");
    }

    // Spilling over, with sessions of the other cell. The clone ids of both cells are the same.
    cells.hosts.must("west-1", "muster cluster stop shop --yes");
    cells.wait_for_state("west-1", "shop", RunState::Down, 2);
    cells.wait_for_answers_of("west-1", "east-");
    let away = cells.must_ask("west-1", "away");
    assert!(away.starts_with("east-"), "{away}");
    for _ in 0..20 {
        assert_eq!(cells.must_ask("west-1", "away"), away, "its session is over there");
    }
    let marked = cells.ask("west-1", "marked", "--header Muster-Spilled:1");
    assert_eq!(marked.status, 503, "one that came from another cell goes to no third: {marked:?}");
    cells.wait_for_state("east-1", "shop@west", RunState::Down, 1);

    with_nobody_anywhere_requests_end(&mut cells);
    cells.hosts.must("east-1", "muster cluster start shop");
    cells.wait_for_answers_of("west-1", "east-");
    let away = cells.must_ask("west-1", "away");
    assert!(away.starts_with("east-"), "{away}");

    // Local members are back: new conversations here, those of the other cell there.
    cells.hosts.must("west-1", "muster cluster start shop");
    cells.wait_for_state("west-1", "shop", RunState::Up, 2);
    cells.wait_for_answers_of("west-1", "west-");
    for _ in 0..20 {
        assert_eq!(cells.must_ask("west-1", "away"), away, "a conversation stays where it is");
        let fresh = cells.ask("west-1", "/dev/null", "");
        assert!(fresh.status == 200 && fresh.member.starts_with("west-"), "{fresh:?}");
    }

    a_token_that_is_taken_back_opens_nothing_and_says_so(&mut cells);

    // The other cell is gone: this one serves, and who was over there begins anew.
    cells.hosts.cut("east-1");
    for _ in 0..20 {
        let fresh = cells.ask("west-1", "/dev/null", "");
        assert!(fresh.status == 200 && fresh.member.starts_with("west-"), "{fresh:?}");
    }
    let back = cells.ask("west-1", "away", "");
    assert!(back.status == 200 && back.member.starts_with("west-"), "{back:?}");
    assert!(back.body.contains("MUSTERCELL=; Path=/; Max-Age=0"), "{back:?}");
    let member = cells.must_ask("west-1", "away");
    cells.hosts.heal("east-1");
    cells.wait_for_answers_of("east-1", "east");
    for _ in 0..10 {
        assert_eq!(cells.must_ask("west-1", "away"), member, "it is here now");
    }
    assert!(cells.running.iter_mut().flatten().count() == HOSTS.len());
}

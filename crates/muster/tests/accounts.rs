//! Users, roles and tokens with real programs: the guide word by word, on two machines; who is refused, and no secret in
//! any file.
//!
//! Each host is a network namespace of the test's own. Needs root.

mod support;

use std::path::Path;
use support::hosts::Hosts;
use support::{Running, Scratch, wait_for};
use wire::account::{AuditEntry, AuditResult};

const HOSTS: [&str; 2] = ["web-1", "web-2"];

const CONFIG: &str = "\
[cell]
name = \"shop\"
[manager]
listen = \"0.0.0.0:29001\"
[nodes.web-1]
address = \"10.0.0.1\"
[nodes.web-2]
address = \"10.0.0.2\"
[routers.front]
node = \"web-2\"
listen = [\"0.0.0.0:8080\"]
[clusters.shop.defaults]
command = [\"muster\", \"sample-app\", \"--address\", \"{address}\", \"--port\", \"{port}\"]
[clusters.shop.members.shop-1]
node = \"web-1\"
[clusters.shop.members.shop-2]
node = \"web-2\"
";

/// A manager on web-1, and web-2 that has joined it.
struct Cell {
    /// Dropped before the hosts.
    running: Vec<Running>,
    hosts: Hosts,
}

impl Cell {
    fn start(scratch: &Scratch) -> Self {
        let hosts = Hosts::new(scratch, &HOSTS);
        hosts.write("web-1", "muster.toml", CONFIG);
        hosts.must("web-1", "muster init");
        let running = vec![hosts.start("web-1", "muster run --node web-1 --log-level debug")];
        let mut cell = Self { running, hosts };
        wait_for("the manager to answer", || cell.answers("web-1"));
        let join = cell.hosts.must("web-1", "muster node token web-2");
        cell.hosts.must("web-2", join.trim());
        cell.running.push(cell.hosts.start("web-2", "muster run"));
        cell.hosts.must("web-1", "muster status --wait-up shop");
        cell
    }

    fn answers(&self, host: &str) -> Result<(), String> {
        let said = self.hosts.run(host, "muster status --json");
        if said.code == Some(0) { Ok(()) } else { Err(format!("{said:?}")) }
    }

    /// Runs lines as a shell does; gives what they print.
    fn shell(&self, host: &str, lines: &str) -> String {
        self.hosts.write(host, "step.sh", lines);
        self.hosts.must(host, "sh -e step.sh")
    }

    fn audit(&self) -> Vec<AuditEntry> {
        let text = self.hosts.must("web-1", "muster audit --json");
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// A call that ends with the code of an error.
    fn refused(&self, host: &str, line: &str, code: i32, error: &str) {
        let said = self.hosts.run(host, line);
        assert_eq!(said.code, Some(code), "{line}: {said:?}");
        assert!(said.talk.contains(error), "{line}: {said:?}");
    }
}

/// Blocks of commands of the guide: the host, and the lines.
fn guide() -> Vec<(String, String)> {
    let path = support::root().join("docs/operate/users.md");
    let text = std::fs::read_to_string(path).expect("the guide is part of the project");
    let blocks: Vec<_> = text.split("\n```sh ").skip(1).collect();
    let parts = blocks.into_iter().map(|block| {
        let (host, rest) = block.split_once('\n').expect("a block begins with its host");
        let (lines, _) = rest.split_once("\n```").expect("a block ends");
        (host.to_owned(), format!("{lines}\n"))
    });
    parts.collect()
}

/// Whether a secret lies in any file below a directory.
fn find(directory: &Path, secret: &str, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(directory).expect("a directory").flatten() {
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            find(&path, secret, found);
        } else if let Ok(bytes) = std::fs::read(&path)
            && bytes.windows(secret.len()).any(|part| part == secret.as_bytes())
        {
            found.push(path.display().to_string());
        }
    }
}

#[test]
fn the_guide_holds_word_by_word_and_leaves_no_secret_behind() {
    let scratch = Scratch::new();
    let cell = Cell::start(&scratch);
    let token_file = cell.hosts.home("web-1").join("deploy-token");
    let mut token = String::new();
    for (host, lines) in guide() {
        assert!(HOSTS.contains(&host.as_str()), "{host}");
        if lines.contains("token revoke") {
            who_may_what(&cell, &token);
            no_secrets(&cell, &token);
        }
        let said = cell.shell(&host, &lines);
        if lines.contains("token create") {
            token = std::fs::read_to_string(&token_file).expect("the guide made it").trim().to_owned();
            assert!(!said.contains(&token), "{said}");
            // A person carries it to the other machine.
            cell.hosts.write("web-2", "deploy-token", &token);
        }
    }
    // What was taken back opens nothing.
    cell.refused("web-2", "muster apply nothing --dry-run --token-file deploy-token", 2, "nothing");
    cell.refused("web-2", "muster audit --token-file deploy-token", 2, "M2002");
    assert_eq!(cell.hosts.must("web-1", "muster user list").lines().count(), 1);

    // Before the end the machine itself is taken back, and told so.
    cell.answers("web-2").expect("it may look");
    cell.hosts.must("web-1", "muster node remove web-2 --yes");
    cell.refused("web-2", "muster status", 1, "M2046");
}

fn who_may_what(cell: &Cell, token: &str) {
    // By the certificate alone: look, and nothing else.
    cell.hosts.must("web-2", "muster status --wait-up shop");
    cell.hosts.must("web-2", "muster node --json");
    cell.refused("web-2", "muster cluster drain shop --yes --no-wait", 2, "M2060");
    cell.refused("web-2", "muster node token web-2", 2, "M2060");
    cell.refused("web-2", "muster audit", 2, "M2060");
    // A token that is wrong is not taken for the certificate.
    cell.hosts.write("web-2", "wrong-token", "0123456789abcdef");
    cell.refused("web-2", "muster status --token-file wrong-token", 2, "M2002");
    // The configuration from another machine than the manager's.
    cell.hosts.write("web-2", "new.toml", &format!("{CONFIG}weight = 7\n"));
    cell.refused("web-2", "muster apply new.toml --config new.toml", 2, "M2060");
    let applied = cell.hosts.must("web-2", "muster apply new.toml --token-file deploy-token");
    assert!(applied.contains("weight"), "{applied}");
    let history = cell.audit();
    let line = |entry: &AuditEntry| format!("{} {} {} {}", entry.who, entry.way, entry.act, entry.result);
    let lines: Vec<String> = history.iter().map(line).collect();
    for wanted in [
        "admin API user-add done",
        "admin API user-role done",
        "anna cell own-password done",
        "token deploy cell cluster-restart done",
        "node web-2 cell cluster-drain refused",
        "node web-2 cell node-token refused",
        "node web-2 cell config-apply refused",
        "token deploy cell config-apply done",
    ] {
        assert!(lines.iter().any(|line| line == wanted), "{wanted} is not in {lines:#?}");
    }
    assert!(history.iter().all(|entry| entry.result != AuditResult::Failed), "{history:#?}");
    let apply = history.iter().rfind(|entry| entry.act == "config-apply").expect("it is there");
    assert_eq!(apply.from.to_string(), "10.0.0.2");
    assert!(!token.is_empty());
}

fn no_secrets(cell: &Cell, token: &str) {
    let secret = token.split('.').nth(1).expect("the secret of a token");
    let administrator = cell.hosts.home("web-1").join("state/admin-token");
    let administrator = std::fs::read_to_string(administrator).expect("the manager made it");
    let secrets = ["correct horse battery", "staple horse battery", "my own four words", secret];
    for host in HOSTS {
        for secret in secrets {
            let mut found = Vec::new();
            find(&cell.hosts.home(host).join("state"), secret, &mut found);
            assert_eq!(found, Vec::<String>::new(), "{secret} on {host}");
        }
        let log = std::fs::read_to_string(cell.hosts.log(host)).expect("it has a log");
        for secret in secrets.into_iter().chain([administrator.trim()]) {
            assert!(!log.contains(secret), "{secret} is in the log of {host}");
        }
    }
    let audit = cell.hosts.must("web-1", "muster audit --json");
    for secret in secrets.into_iter().chain([administrator.trim()]) {
        assert!(!audit.contains(secret), "{secret} is in the audit log");
    }
}

//! Pages of docs/operate that tests follow word by word: what they say, and somebody who does it.
//!
//! A `Reader` takes `muster join ...` for what `muster node token` has printed, lets `... &` go on, and stops it with `kill %1` as a
//! shell does. Files, and what the text says of them, are the test's to carry out.

use super::cell::Said;
use super::hosts::Hosts;
use super::{Running, Scratch, wait_for};
use rustix::process::Signal;
use std::collections::BTreeMap;

/// The files of a page, and for each block of commands the host on which they are run.
pub struct Guide {
    pub files: Vec<String>,
    pub commands: Vec<(String, Vec<String>)>,
}

/// Reads the page `name` up to the heading that follows the last block of commands.
pub fn read(name: &str, hosts: &[&str]) -> Guide {
    let path = super::root().join("docs/operate").join(name);
    let text = std::fs::read_to_string(path).expect("the guide is part of the project");
    let mut blocks = text.split("\n```");
    let mut before = blocks.next().expect("a text").to_owned();
    let (mut files, mut commands) = (Vec::new(), Vec::new());
    while let (Some(block), Some(after)) = (blocks.next(), blocks.next()) {
        let (kind, lines) = block.split_once('\n').expect("a block begins with its kind");
        match kind {
            "toml" => files.push(lines.to_owned()),
            "sh" => {
                let host = before.rsplit('`').nth(1);
                let host = host.expect("a block of commands says where").to_owned();
                assert!(hosts.contains(&host.as_str()), "{host}: {lines}");
                commands.push((host, lines.lines().map(str::to_owned).collect()));
            }
            other => panic!("a block of {other} in the guide"),
        }
        after.clone_into(&mut before);
    }
    Guide { files, commands }
}

/// A command and the host on which it is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    pub host: String,
    pub text: String,
}

/// The machines on which the guides of this reader take place, by their addresses. The fourth is another node, or has the store.
const HOSTS: [&str; 4] = ["web-1", "web-2", "web-3", "web-4"];
/// The same where managers share a store, with one more node.
pub const HOSTS_WITH_STORE: [&str; 5] = ["web-1", "web-2", "web-3", "store", "web-5"];

/// The files of a page, and its commands in order.
pub fn lines(page: &str) -> (Vec<String>, Vec<Line>) {
    let Guide { files, commands } = read(page, &[&HOSTS[..], &HOSTS_WITH_STORE[..]].concat());
    let lines = commands
        .into_iter()
        .flat_map(|(host, lines)| lines.into_iter().map(move |text| Line { host: host.clone(), text }));
    (files, lines.collect())
}

/// Somebody at the keyboards of some machines.
pub struct Reader {
    /// By host; dropped before the hosts.
    pub running: BTreeMap<String, Running>,
    pub hosts: Hosts,
    join: String,
    /// What was exported at a keyboard.
    exports: BTreeMap<String, String>,
}

impl Reader {
    /// The machines of the guide to several machines, with the cell that it leads to, and one more machine.
    pub fn with_cell(scratch: &Scratch) -> Self {
        let mut reader = Self::on(scratch, &HOSTS);
        reader.make_cell();
        reader
    }

    /// Machines of which none is in a cell.
    pub fn on(scratch: &Scratch, names: &[&str]) -> Self {
        let hosts = Hosts::new(scratch, names);
        Self { running: BTreeMap::new(), hosts, join: String::new(), exports: BTreeMap::new() }
    }

    /// The cell of the guide to several machines.
    pub fn make_cell(&mut self) {
        let (files, lines) = lines("several-machines.md");
        self.hosts.write("web-1", "muster.toml", &files[0]);
        for line in lines.iter().take_while(|line| !line.text.starts_with("muster node remove")) {
            self.follow(line);
        }
    }

    pub fn shell(&self, host: &str, text: &str) -> Said {
        let exports = self.exports.get(host).map_or("", String::as_str);
        self.hosts.shell(host, &format!("{exports}{text}"))
    }

    /// Types it again where nobody led just then, so that nothing was done: on a busy machine the lead of one of several managers
    /// may be lost at any time.
    fn must(&self, line: &Line) -> String {
        wait_for(&line.text, || {
            let said = self.shell(&line.host, &line.text);
            let is_repeatable = said.code == Some(3) || said.talk.contains("nothing was done");
            let may_be_better = line.text.starts_with("muster ") && is_repeatable;
            assert!(said.code == Some(0) || may_be_better, "{line:?}: {said:?}");
            if said.code == Some(0) { Ok(said.data) } else { Err(format!("{said:?}")) }
        })
    }

    pub fn follow(&mut self, line: &Line) {
        let (host, text) = (line.host.clone(), line.text.trim());
        if let Some(started) = text.strip_suffix(" &") {
            self.running.insert(host.clone(), self.hosts.start(&host, started));
            if host == "web-1" {
                // The manager is asked next.
                wait_for("the manager to answer", || match self.shell("web-1", "muster status") {
                    said if said.code == Some(0) => Ok(()),
                    said => Err(format!("{said:?}")),
                });
            }
        } else if text.starts_with("export ") {
            *self.exports.entry(host).or_default() += &format!("{text}; ");
        } else if text == "kill %1" {
            let mut running = self.running.remove(&host).unwrap_or_else(|| panic!("{host} runs nothing"));
            running.signal(Signal::TERM);
            assert_eq!(running.wait(), Some(0), "{}", running.log());
        } else if text.starts_with("muster node token") {
            self.must(line).trim().clone_into(&mut self.join);
        } else if text.starts_with("muster join") {
            // Where another manager leads the guide means that one.
            assert!(self.join.starts_with("muster join 10.0.0."), "{}", self.join);
            self.must(&Line { host, text: self.join.clone() });
        } else if text.starts_with("curl") || text == "muster node" {
            // Who types it is slower than what has just started.
            wait_for(text, || match self.shell(&host, text) {
                said if said.code == Some(0) => Ok(()),
                said => Err(format!("{said:?}")),
            });
        } else {
            self.must(line);
        }
    }
}

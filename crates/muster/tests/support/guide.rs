//! Follows a page of the documentation as a person would: each block of commands on the machine that the text names before it.
//!
//! `muster join ...` stands for what `muster node token` has printed, `... &` goes on, and `kill %1` stops it as a shell does.
//! Blocks of `toml` and what the text says of files are the test's to carry out.

use super::cell::Said;
use super::hosts::Hosts;
use super::{Running, Scratch, root, wait_for};
use rustix::process::Signal;
use std::collections::BTreeMap;

/// A command and the host on which it is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    pub host: String,
    pub text: String,
}

/// The blocks of a page: its files, and its commands in order.
pub fn read(page: &str) -> (Vec<String>, Vec<Line>) {
    let path = root().join("docs/operate").join(page);
    let text = std::fs::read_to_string(path).expect("the guide is part of the project");
    let mut blocks = text.split("\n```");
    let mut before = blocks.next().expect("a text").to_owned();
    let (mut files, mut lines) = (Vec::new(), Vec::new());
    while let (Some(block), Some(after)) = (blocks.next(), blocks.next()) {
        let (kind, block) = block.split_once('\n').expect("a block begins with its kind");
        match kind {
            "toml" => files.push(block.to_owned()),
            "sh" => {
                let host = before.rsplit('`').nth(1);
                let host = host.filter(|host| host.starts_with("web-"));
                let host = host.unwrap_or_else(|| panic!("where is this run? {block}"));
                lines.extend(block.lines().map(|text| Line { host: host.into(), text: text.into() }));
            }
            other => panic!("a block of {other} in {page}"),
        }
        after.clone_into(&mut before);
    }
    (files, lines)
}

/// Somebody at the keyboards of some machines.
pub struct Reader {
    /// By host; dropped before the hosts.
    pub running: BTreeMap<String, Running>,
    pub hosts: Hosts,
    join: String,
}

impl Reader {
    /// The machines of the guide to several machines, with the cell that it leads to, and one more machine.
    pub fn with_cell(scratch: &Scratch) -> Self {
        let hosts = Hosts::new(scratch, &["web-1", "web-2", "web-3", "web-4"]);
        let (files, lines) = read("several-machines.md");
        hosts.write("web-1", "muster.toml", &files[0]);
        let mut reader = Self { running: BTreeMap::new(), hosts, join: String::new() };
        for line in lines.iter().take_while(|line| !line.text.starts_with("muster node remove")) {
            reader.follow(line);
        }
        reader
    }

    pub fn shell(&self, host: &str, text: &str) -> Said {
        self.hosts.shell(host, text)
    }

    fn must(&self, line: &Line) -> String {
        let said = self.shell(&line.host, &line.text);
        assert_eq!(said.code, Some(0), "{line:?}: {said:?}");
        said.data
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
        } else if text == "kill %1" {
            // What was started is the child of what led to it.
            let mut running = self.running.remove(&host).unwrap_or_else(|| panic!("{host} runs nothing"));
            let pid = super::family(running.pid())[1];
            super::send(pid, Signal::TERM);
            assert_eq!(running.wait(), Some(0), "{}", running.log());
        } else if text.starts_with("muster node token") {
            self.must(line).trim().clone_into(&mut self.join);
        } else if text.starts_with("muster join") {
            assert!(self.join.starts_with("muster join 10.0.0.1:29001 mj1."), "{}", self.join);
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

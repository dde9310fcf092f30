//! Machines for tests: the hosts of a lab, whose problems fail the test. All goes with the test.

use super::cell::{MUSTER, Said};
use super::{Running, Scratch};
use std::path::Path;

/// Hosts `names`, the first with the address 10.0.0.1, and so on.
pub struct Hosts(lab::hosts::Hosts);

fn must<T>(outcome: lab::Outcome<T>) -> T {
    outcome.unwrap_or_else(|problem| panic!("{problem}"))
}

impl Hosts {
    pub fn new(scratch: &Scratch, names: &[&str]) -> Self {
        Self(must(lab::hosts::Hosts::new(scratch.path(), names, Path::new(MUSTER), false)))
    }

    /// Runs a command line (without quotes) on a host to its end.
    pub fn run(&self, name: &str, line: &str) -> Said {
        let said = must(self.0.run(name, line));
        Said { code: said.code, data: said.data, talk: said.talk }
    }

    /// The same, which must end with 0; gives its data.
    pub fn must(&self, name: &str, line: &str) -> String {
        must(self.0.must(name, line))
    }

    /// Starts a command line that goes on.
    pub fn start(&self, name: &str, line: &str) -> Running {
        let host = must(self.0.get(name));
        let words: Vec<&str> = line.split_whitespace().collect();
        let mut command = must(host.command(&words));
        Running::start(&format!("{line} on {name}"), &mut command, &host.home.join("log"))
    }

    /// Plugs a host's cable out.
    pub fn cut(&self, name: &str) {
        must(self.0.unplug(name));
    }

    /// Plugs it in.
    pub fn heal(&self, name: &str) {
        must(self.0.plug(name));
    }

    /// Writes a file into a host's home.
    pub fn write(&self, name: &str, file: &str, text: &str) {
        let path = must(self.0.get(name)).home.join(file);
        std::fs::write(&path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
}

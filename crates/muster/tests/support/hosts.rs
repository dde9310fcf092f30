//! Machines for tests: the hosts of a lab, whose problems fail the test. All goes with the test.

use super::cell::{MUSTER, Said};
use super::{Running, Scratch};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

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

    /// Runs what a person types into a shell on a host.
    pub fn shell(&self, name: &str, text: &str) -> Said {
        let said = must(must(self.0.get(name)).run(&["sh", "-c", text]));
        Said { code: said.code, data: said.data, talk: said.talk }
    }

    /// Takes a host's power away and gives it back; its disk is another one, and empty.
    pub fn replace(&mut self, name: &str) {
        must(self.0.power_off(&[name]));
        let state = must(self.0.get(name)).home.join("state");
        std::fs::remove_dir_all(&state).unwrap_or_else(|error| panic!("{}: {error}", state.display()));
        std::fs::create_dir(&state).unwrap_or_else(|error| panic!("{}: {error}", state.display()));
        must(self.0.power_on(name));
    }

    /// The same, which must end with 0; gives its data.
    pub fn must(&self, name: &str, line: &str) -> String {
        must(self.0.must(name, line))
    }

    /// Starts a command line that goes on.
    pub fn start(&self, name: &str, line: &str) -> Running {
        self.start_beside(name, line, &self.log(name))
    }

    /// The same with a log of its own, beside what runs there already.
    pub fn start_beside(&self, name: &str, line: &str, log: &Path) -> Running {
        let words: Vec<&str> = line.split_whitespace().collect();
        let mut command = must(must(self.0.get(name)).command(&words));
        Running::start(&format!("{line} on {name}"), &mut command, log).leading_in()
    }

    pub fn log(&self, name: &str) -> PathBuf {
        self.home(name).join("log")
    }

    /// Where commands of a host start; `state` in it is the host's `/var/lib/muster`.
    pub fn home(&self, name: &str) -> PathBuf {
        must(self.0.get(name)).home.clone()
    }

    /// Runs `work` on a thread that is on a host's network.
    pub fn spawn<T: Send + 'static>(
        &self,
        name: &str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> std::thread::JoinHandle<T> {
        let path = format!("/run/netns/{}", must(self.0.get(name)).namespace);
        std::thread::spawn(move || {
            let namespace = std::fs::File::open(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
            let entered = rustix::thread::move_into_link_name_space(
                namespace.as_fd(),
                Some(rustix::thread::LinkNameSpaceType::Network),
            );
            entered.unwrap_or_else(|error| panic!("cannot enter {path}: {error}"));
            work()
        })
    }

    /// Puts all hosts on one Ethernet beside their first network.
    pub fn connect_by_lan(&self) {
        must(self.0.connect_by_lan());
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

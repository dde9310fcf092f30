//! The type `process`: a command that runs as long as the group does.

use super::{Doing, OF_PROGRAMS, Resource, Type, nothing_missing, nothing_wrong, options};
use crate::agent::guardian::{Process as Running, Rest, Tools};
use crate::config::definition::{Definition, Preset};
use crate::config::definitions::key;
use crate::config::kind::{Form, Kind};
use serde::Deserialize;
use std::cell::RefCell;
use std::rc::Rc;
use wire::group::ResourceSettings;

pub const TYPE: Type = Type {
    name: "process",
    keys: KEYS,
    needed: &["command"],
    shared: OF_PROGRAMS,
    timeout_ms: None,
    check: nothing_wrong,
    look: nothing_missing,
    make,
};

const KEYS: &[Definition] = &[key(
    "command",
    Kind::List { of: Form::Word, least: 1, most: 1000 },
    Preset::Else("none"),
    "[\"/usr/sbin/shopd\", \"--foreground\"]",
    "Of `process`: program and arguments. It gets TERM when it is to end.",
)];

#[derive(Debug, Deserialize)]
struct Options {
    command: Vec<String>,
}

struct Process {
    options: Options,
    running: RefCell<Option<Rc<Running>>>,
}

fn make(settings: &ResourceSettings) -> Result<Rc<dyn Resource>, String> {
    Ok(Rc::new(Process { options: options(settings)?, running: RefCell::new(None) }))
}

impl Process {
    fn running(&self) -> Option<Rc<Running>> {
        self.running.borrow().clone()
    }
}

impl Resource for Process {
    fn start<'a>(&'a self, tools: &'a Tools) -> Doing<'a, Result<(), String>> {
        Box::pin(async {
            let running = tools.begin(&tools.start(&self.options.command), Rest::IsKilled).await?;
            self.running.replace(Some(Rc::new(running)));
            Ok(())
        })
    }

    fn stop<'a>(&'a self, _tools: &'a Tools) -> Doing<'a, Result<(), String>> {
        Box::pin(async {
            if let Some(running) = self.running() {
                running.terminate();
                // How it ends does not matter: it was asked to.
                running.ended().await;
            }
            Ok(())
        })
    }

    fn watch<'a>(&'a self, _tools: &'a Tools) -> Doing<'a, String> {
        Box::pin(async {
            match self.running() {
                Some(running) => running.ended().await,
                None => std::future::pending().await,
            }
        })
    }
}

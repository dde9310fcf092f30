//! The type `exec`: a script that starts something, and one that stops it.
//!
//! Both are run to their end, and their status counts. A start that is `asynchronous` goes on: it counts once its program
//! runs. What scripts leave running is in the group's control group and goes with it.

use super::{Doing, OF_PROGRAMS, Resource, Type, Wrong, nothing_missing, options};
use crate::agent::guardian::{Process, Rest, Tools};
use crate::config::definition::{Definition, Preset};
use crate::config::definitions::key;
use crate::config::kind::{Form, Kind};
use serde::Deserialize;
use std::cell::RefCell;
use std::rc::Rc;
use wire::group::{OptionValue, ResourceOptions, ResourceSettings};

pub const TYPE: Type = Type {
    name: "exec",
    keys: KEYS,
    needed: &["start", "stop"],
    shared: OF_PROGRAMS,
    timeout_ms: None,
    check,
    look: nothing_missing,
    make,
};

const KEYS: &[Definition] = &[
    key(
        "start",
        Kind::List { of: Form::Word, least: 1, most: 1000 },
        Preset::Else("none"),
        "[\"/etc/shop/start.sh\"]",
        "Of `exec`: program and arguments that start it; no shell reads them. It must end, and 0 means that it was \
         started. What it leaves running belongs to the group.",
    ),
    key(
        "stop",
        Kind::List { of: Form::Word, least: 1, most: 1000 },
        Preset::Else("none"),
        "[\"/etc/shop/stop.sh\"]",
        "Of `exec`: program and arguments that stop it. What still runs when everything of the group was stopped is \
         killed. It is not run when the node has to end the group at once.",
    ),
    key(
        "asynchronous",
        Kind::Boolean,
        Preset::Boolean(false),
        "true",
        "Of `exec`: the program of `start` goes on by itself; it counts as started once it runs.",
    ),
    key(
        "must_last",
        Kind::Boolean,
        Preset::Boolean(false),
        "true",
        "Of `exec` with `asynchronous`: it has failed when the program of `start` ends before it is stopped, as a \
         monitoring command does that has found an error.",
    ),
];

#[derive(Debug, Deserialize)]
struct Options {
    start: Vec<String>,
    stop: Vec<String>,
    #[serde(default)]
    asynchronous: bool,
    #[serde(default)]
    must_last: bool,
}

struct Exec {
    options: Options,
    /// The program of an asynchronous start.
    going_on: RefCell<Option<Rc<Process>>>,
}

fn check(options: &ResourceOptions) -> Vec<Wrong> {
    let says = |key: &str| options.get(key) == Some(&OptionValue::Flag(true));
    if says("must_last") && !says("asynchronous") {
        let message = "`must_last` without `asynchronous`: a start that is waited for has to end".to_owned();
        return vec![Wrong { key: "must_last", message, allowed: "`asynchronous = true` beside it" }];
    }
    Vec::new()
}

fn make(settings: &ResourceSettings) -> Result<Rc<dyn Resource>, String> {
    Ok(Rc::new(Exec { options: options(settings)?, going_on: RefCell::new(None) }))
}

impl Resource for Exec {
    fn start<'a>(&'a self, tools: &'a Tools) -> Doing<'a, Result<(), String>> {
        Box::pin(async {
            if !self.options.asynchronous {
                return tools.run(&tools.start(&self.options.start)).await?.good();
            }
            let process = tools.begin(&tools.start(&self.options.start), Rest::Stays).await?;
            self.going_on.replace(Some(Rc::new(process)));
            Ok(())
        })
    }

    fn stop<'a>(&'a self, tools: &'a Tools) -> Doing<'a, Result<(), String>> {
        Box::pin(async { tools.run(&tools.start(&self.options.stop)).await?.good() })
    }

    fn watch<'a>(&'a self, _tools: &'a Tools) -> Doing<'a, String> {
        let process = self.going_on.borrow().clone().filter(|_| self.options.must_last);
        Box::pin(async move {
            match process {
                Some(process) => process.ended().await,
                None => std::future::pending().await,
            }
        })
    }
}

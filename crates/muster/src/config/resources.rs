//! Looks whether this machine has what its groups, monitors and fences need: interfaces, agents, devices, programs, users.
//!
//! Only for `muster check`: a node that lacks something must not keep the manager from starting.

use super::document::{At, Document};
use super::problem::{KeyPath, Problems};
use super::programs;
use crate::resource;
use std::collections::BTreeMap;
use std::path::Path;
use wire::error_code;
use wire::group::{GroupSettings, OptionValue, ResourceSettings};
use wire::id::NodeName;
use wire::monitor::{Check, MonitorSettings};
use wire::settings::CellSettings;

/// Keys of resources that name a program with its arguments.
const COMMANDS: [&str; 3] = ["start", "stop", "command"];

/// What the groups that `node` may run, its monitors and, where it has a manager, the fences would not find on this machine.
pub fn check(settings: &CellSettings, text: &str, file: &str, node: &NodeName) -> Problems {
    let Ok(document) = Document::read(text, file) else { return Problems::default() };
    let mut looking = Looking { document, problems: Problems::default() };
    for group in settings.groups.iter().filter(|group| group.nodes.contains(node)) {
        for resource in &group.resources {
            looking.resource(group, resource);
        }
    }
    for monitor in settings.monitors.iter().filter(|monitor| monitor.nodes.contains(node)) {
        looking.monitor(monitor);
    }
    for fence in settings.fences.iter().filter(|_| settings.managers().contains(node)) {
        let path = KeyPath::of(&["fences", &fence.name.0]);
        if let Err(why) = programs::executable(Path::new(&fence.agent)) {
            looking.lacks(&path.with("agent"), At::Value, &format!("the fence has no agent: {why}"));
        }
        for (name, file) in &fence.secret_files {
            if let Err(error) = std::fs::File::open(file) {
                let why = format!("the fence has no {name}: {file} cannot be read: {error}");
                looking.lacks(&path.with("secret_files").with(name), At::Value, &why);
            }
        }
    }
    looking.problems
}

struct Looking<'a> {
    document: Document<'a>,
    problems: Problems,
}

impl Looking<'_> {
    fn lacks(&mut self, path: &KeyPath, at: At, missing: &str) {
        let message = format!("on this machine: {missing}");
        let problem = self.document.problem(error_code::RESOURCE_NOT_USABLE, path, at, message);
        self.problems.push(problem.allowing("what it needs, on each node that it may be on".to_owned()));
    }

    fn resource(&mut self, group: &GroupSettings, settings: &ResourceSettings) {
        let Some(kind) = resource::find(&settings.kind.name) else { return };
        let path = KeyPath::of(&["groups", &group.name.0, "resources", &settings.name.0]);
        for missing in (kind.look)(settings) {
            self.lacks(&path, At::Key, &missing);
        }
        // What lies on a disk of the group is there only while that is mounted.
        let mounted: Vec<&str> =
            group.resources.iter().filter_map(|other| text(other, "mount_point")).collect();
        let is_elsewhere =
            |file: &str| mounted.iter().any(|mount_point| Path::new(file).starts_with(mount_point));
        let directory = settings.directory.as_deref();
        if let Some(directory) = directory.filter(|directory| !is_elsewhere(directory))
            && let Err(why) = programs::directory_that_exists(Path::new(directory))
        {
            let why = format!("the working directory cannot be used: {directory} {why}");
            self.lacks(&path.with("directory"), At::Value, &why);
            return;
        }
        if let Some(user) = &settings.user
            && let Err(why) = programs::check_user(user)
        {
            self.lacks(&path.with("user"), At::Value, &format!("it cannot run as `{user}`: {why}"));
        }
        for key in COMMANDS {
            let Some(OptionValue::List(words)) = settings.kind.options.get(key) else { continue };
            let Some(program) = words.first() else { continue };
            let is_relative = program.contains('/') && !program.starts_with('/');
            let start = directory.filter(|_| is_relative);
            if !is_elsewhere(start.unwrap_or(program)) {
                self.program(&path.with(key), program, directory, &settings.environment);
            }
        }
    }

    fn program(
        &mut self,
        path: &KeyPath,
        program: &str,
        directory: Option<&str>,
        environment: &BTreeMap<String, String>,
    ) {
        if let Err(why) = programs::find(program, directory, environment) {
            self.lacks(path, At::Value, &format!("the program `{program}` cannot be run: {why}"));
        }
    }

    fn monitor(&mut self, monitor: &MonitorSettings) {
        let path = KeyPath::of(&["monitors", &monitor.name.0]);
        let none = BTreeMap::new();
        if let Check::Program { command, .. } = &monitor.check
            && let Some(program) = command.first()
        {
            self.program(&path.with("command"), program, None, &none);
        }
        let Some(recovery) = &monitor.recovery else { return };
        let before = [
            ("before_restart", &recovery.before_restart),
            ("before_failover", &recovery.before_failover),
            ("before_final", &recovery.before_final),
        ];
        for (key, command) in before {
            if let Some(program) = command.first() {
                self.program(&path.with(key), program, None, &none);
            }
        }
    }
}

fn text<'a>(settings: &'a ResourceSettings, key: &str) -> Option<&'a str> {
    settings.kind.options.get(key).and_then(OptionValue::text)
}

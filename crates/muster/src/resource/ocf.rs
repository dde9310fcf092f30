//! The type `ocf`: any resource agent of the Open Cluster Framework, of version 1.0 or 1.1.
//!
//! An agent is a program with actions. It is called as clusters do that agents were written for: a clean environment with the
//! parameters, one action at a time, the reason of a failure taken from what it says. Before a start it is asked what runs
//! already; from then on its monitors are called, each at its interval. Daemons that it starts are in the group's control
//! group. What it sets up that is not a process only itself can take away: where the group must end at once, its `stop` is
//! called after all processes are gone. Facts: failover 5.2 to 5.4. Not here: what it says (see `logic::ocf`).

use super::{CLEAR_MAX, Doing, Resource, Type, Wrong, options};
use crate::agent::guardian::Tools;
use crate::agent::keeper::message::Start;
use crate::config::definition::{Definition, Preset};
use crate::config::definitions::{integer, key};
use crate::config::kind::{Form, Kind};
use crate::ocf::{self, Agent, Call, reason_prefix};
use crate::script;
use logic::ocf::{Action, Description, meaning};
use serde::Deserialize;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::time::Duration;
use tokio::time::{Instant, sleep_until, timeout};
use wire::group::{OptionValue, ResourceOptions, ResourceSettings};

pub const TYPE: Type = Type {
    name: "ocf",
    keys: KEYS,
    needed: &["agent"],
    shared: &["environment"],
    // The agent says how long each of its actions may take.
    timeout_ms: Some(AGENTS_TIMEOUT_MS),
    check,
    look,
    make,
};

/// Longer than any agent asks for; it stands for "as the agent says".
const AGENTS_TIMEOUT_MS: u64 = 3 * 3_600_000;
/// How long an agent may take for its `stop` when the group must end at once.
const LAST_STOP: Duration = CLEAR_MAX;
/// What agents say that have no program for it, that cannot know how to run it, and whose resource does not run.
const NOT_INSTALLED: i32 = 5;
const NOT_CONFIGURED: i32 = 6;
const NOT_RUNNING: i32 = 7;
/// How long an agent may take to describe itself.
const DESCRIBE: Duration = Duration::from_secs(20);

const KEYS: &[Definition] = &[
    key(
        "agent",
        Kind::Text(Form::Word),
        Preset::Else("none"),
        "\"heartbeat:IPaddr2\"",
        "Of `ocf`: provider and name of the agent, which is looked for in `/usr/lib/ocf/resource.d`, or where `OCF_ROOT` \
         in `environment` says.",
    ),
    key(
        "parameters",
        Kind::Environment,
        Preset::Else("none"),
        "{ ip = \"10.0.0.100\" }",
        "Of `ocf`: parameters of the agent. They are compared with its description when it is started.",
    ),
    integer(
        "check_level",
        0,
        100,
        0,
        "10",
        "Of `ocf`: how thorough the monitors of the agent are that are called; all that it has up to this depth, each at \
         the interval that it names.",
    ),
    integer(
        "check_interval_ms",
        0,
        24 * 3_600_000,
        0,
        "5000",
        "Of `ocf`: how often the agent's monitors are called; 0: as often as it says.",
    ),
];

#[derive(Debug, Deserialize)]
struct Options {
    agent: String,
    #[serde(default)]
    parameters: BTreeMap<String, String>,
    check_level: u32,
    check_interval_ms: u64,
}

fn check(options: &ResourceOptions) -> Vec<Wrong> {
    let Some(agent) = options.get("agent").and_then(OptionValue::text) else { return Vec::new() };
    match ocf::split(agent) {
        Some(_) => Vec::new(),
        None => {
            let message = format!("`{agent}` names no agent");
            vec![Wrong { key: "agent", message, allowed: "`PROVIDER:NAME`, such as `heartbeat:IPaddr2`" }]
        }
    }
}

/// Whether the agent is here, and takes the parameters.
fn look(settings: &ResourceSettings) -> Vec<String> {
    let Ok(ocf) = Ocf::of(settings) else { return Vec::new() };
    if !ocf.agent.program.is_file() {
        return vec![format!("there is no agent {}", ocf.agent.program.display())];
    }
    let mut command = Command::new(&ocf.agent.program);
    let call = Call::once("meta-data", DESCRIBE);
    command.arg(call.action).env_clear().envs(ocf.agent.environment(&call)).current_dir("/");
    let answer = command.stdin(Stdio::null()).stderr(Stdio::null()).output();
    let answer =
        answer.map_err(|error| format!("the agent {} cannot be run: {error}", ocf.agent.program.display()));
    let described = answer.and_then(|answer| {
        let description = Description::parse(&String::from_utf8_lossy(&answer.stdout));
        description
            .map_err(|error| format!("the agent {} cannot be used: {error}", ocf.agent.program.display()))
    });
    described.map_or_else(|why| vec![why], |description| description.wrong(&ocf.options.parameters))
}

struct Ocf {
    settings: ResourceSettings,
    options: Options,
    agent: Agent,
    /// From the agent, once it was asked.
    description: RefCell<Option<Rc<Description>>>,
    /// It was found neither there nor gone.
    is_unclear: Cell<bool>,
}

fn make(settings: &ResourceSettings) -> Result<Rc<dyn Resource>, String> {
    Ok(Rc::new(Ocf::of(settings)?))
}

impl Ocf {
    fn of(settings: &ResourceSettings) -> Result<Self, String> {
        let options: Options = options(settings)?;
        let agent = Agent::new(&options.agent, &settings.name.0, &options.parameters, &settings.environment)?;
        let (description, is_unclear) = (RefCell::default(), Cell::default());
        Ok(Self { settings: settings.clone(), options, agent, description, is_unclear })
    }

    fn start_of(&self, tools: &Tools, call: &Call<'_>) -> Start {
        let command = [self.agent.program.display().to_string(), call.action.to_owned()];
        let start = tools.start(&command);
        let facts = start.environment.clone();
        let environment = facts.into_iter().chain(self.agent.environment(call)).collect();
        Start { environment, is_bare: true, directory: Some("/".into()), ..start }
    }

    /// The status of an action. None: it took too long.
    async fn call(&self, tools: &Tools, call: &Call<'_>) -> Result<Option<i32>, String> {
        let start = self.start_of(tools, call);
        match timeout(call.timeout, tools.run(&start)).await {
            Ok(Ok(ended)) => Ok(Some(ended.code.unwrap_or(1))),
            Ok(Err(why)) => Err(format!("{why} (action {})", call.action)),
            Err(_) => Ok(None),
        }
    }

    /// An action that must end with one of these.
    async fn demand(&self, tools: &Tools, call: &Call<'_>, fine: &[i32]) -> Result<i32, String> {
        match self.call(tools, call).await? {
            Some(code) if fine.contains(&code) => Ok(code),
            Some(code) => Err(self.explain(tools, call.action, code)),
            None => Err(format!("did not come to the end of its {} within {:?}", call.action, call.timeout)),
        }
    }

    /// Completes "it ...".
    fn explain(&self, tools: &Tools, action: &str, code: i32) -> String {
        let meaning = meaning(code);
        match tools.last_line_after(&reason_prefix(tools.name())) {
            Some(reason) => format!("{meaning} (action {action}, status {code}): {reason}"),
            None => format!("{meaning} (action {action}, status {code})"),
        }
    }

    async fn describe(&self, tools: &Tools) -> Result<Rc<Description>, String> {
        let known = self.description.borrow().clone();
        if let Some(known) = known {
            return Ok(known);
        }
        let start = self.start_of(tools, &Call::once("meta-data", DESCRIBE));
        let read = timeout(DESCRIBE, tools.read(&start)).await;
        let (ended, answer) = read.map_err(|_| format!("did not describe itself within {DESCRIBE:?}"))??;
        ended.good()?;
        let description = Description::parse(&String::from_utf8_lossy(&answer));
        let description = Rc::new(description.map_err(|error| format!("cannot be used: {error}"))?);
        self.description.replace(Some(description.clone()));
        Ok(description)
    }

    /// As it is configured, or as the agent says.
    fn patience(&self, description: &Description, action: &str, configured_ms: u64) -> Duration {
        match configured_ms {
            AGENTS_TIMEOUT_MS => Duration::from_millis(description.timeout_ms(action)),
            configured_ms => Duration::from_millis(configured_ms),
        }
    }

    /// Whether the agent could run it here.
    async fn inspect(&self, tools: &Tools) -> Result<(), String> {
        ocf::make_directory();
        let description = self.describe(tools).await?;
        if let Some(wrong) = description.wrong(&self.options.parameters).first() {
            return Err(format!("was not tried: {wrong}"));
        }
        if description.action("validate-all").is_some() {
            let patience = Duration::from_millis(description.timeout_ms("validate-all"));
            // Some describe it and do not have it.
            self.demand(tools, &Call::once("validate-all", patience), &[0, 3]).await?;
        }
        let patience = Duration::from_millis(description.timeout_ms("monitor"));
        match self.call(tools, &Call::once("monitor", patience)).await? {
            Some(code @ (NOT_INSTALLED | NOT_CONFIGURED)) => Err(self.explain(tools, "monitor", code)),
            found => {
                self.is_unclear.set(!matches!(found, Some(0 | NOT_RUNNING)));
                Ok(())
            }
        }
    }

    async fn begin(&self, tools: &Tools) -> Result<(), String> {
        let description = self.describe(tools).await?;
        if self.is_unclear.get() {
            // It is cleared away first.
            self.end(tools).await?;
        }
        let patience = self.patience(&description, "start", self.settings.start_timeout_ms);
        self.demand(tools, &Call::once("start", patience), &[0]).await?;
        Ok(())
    }

    async fn end(&self, tools: &Tools) -> Result<(), String> {
        let description = self.describe(tools).await?;
        let patience = self.patience(&description, "stop", self.settings.stop_timeout_ms);
        self.demand(tools, &Call::once("stop", patience), &[0]).await?;
        Ok(())
    }

    /// Calls the monitors, one after the other, until one says that it does not run.
    async fn look_after(&self, tools: &Tools) -> String {
        let description = match self.describe(tools).await {
            Ok(description) => description,
            Err(why) => return why,
        };
        let mut due: Vec<(Instant, Action)> = Vec::new();
        for mut monitor in description.monitors(self.options.check_level) {
            if self.options.check_interval_ms > 0 {
                monitor.interval_ms = self.options.check_interval_ms;
            }
            due.push((Instant::now() + Duration::from_millis(monitor.interval_ms), monitor));
        }
        let mut is_degraded = false;
        loop {
            let Some((at, monitor)) = due.iter_mut().min_by_key(|(at, _)| *at) else {
                return std::future::pending().await;
            };
            sleep_until(*at).await;
            match self.look(tools, monitor).await {
                Ok(code) => {
                    let is_bad = matches!(code, 190 | 191);
                    if is_bad && !is_degraded {
                        tools.warn(format!("it {}", self.explain(tools, "monitor", code)));
                    }
                    is_degraded = is_bad;
                }
                Err(why) => return why,
            }
            // From the end of the last one: two never overlap.
            *at = Instant::now() + Duration::from_millis(monitor.interval_ms);
        }
    }

    /// One that takes too long says nothing; it is asked once more before that counts.
    async fn look(&self, tools: &Tools, monitor: &Action) -> Result<i32, String> {
        let timeout = Duration::from_millis(monitor.timeout_ms);
        let interval = Duration::from_millis(monitor.interval_ms);
        let call = Call { action: "monitor", timeout, interval, level: monitor.depth };
        if let Some(code) = self.call(tools, &call).await? {
            return if matches!(code, 0 | 190) {
                Ok(code)
            } else {
                Err(self.explain(tools, "monitor", code))
            };
        }
        tools.warn(format!("its monitor did not come to an end within {timeout:?}, and is asked again"));
        self.demand(tools, &call, &[0, 190]).await
    }
}

impl Resource for Ocf {
    fn may_start<'a>(&'a self, tools: &'a Tools) -> Doing<'a, Result<(), String>> {
        Box::pin(self.inspect(tools))
    }

    fn start<'a>(&'a self, tools: &'a Tools) -> Doing<'a, Result<(), String>> {
        Box::pin(self.begin(tools))
    }

    fn stop<'a>(&'a self, tools: &'a Tools) -> Doing<'a, Result<(), String>> {
        Box::pin(self.end(tools))
    }

    fn watch<'a>(&'a self, tools: &'a Tools) -> Doing<'a, String> {
        Box::pin(self.look_after(tools))
    }

    fn release(&self) -> Result<(), String> {
        let late = std::time::Instant::now() + LAST_STOP;
        let why = match self.call_at_last("stop", late)? {
            Some(0) => return Ok(()),
            Some(code) => format!("may not be stopped: {} (action stop, status {code})", meaning(code)),
            None => "may not be stopped: its stop was killed".to_owned(),
        };
        // Some find fault with anything that they are asked, also where nothing runs.
        let is_gone = self.call_at_last("monitor", late) == Ok(Some(NOT_RUNNING));
        if is_gone { Ok(()) } else { Err(why) }
    }
}

impl Ocf {
    /// The status of an action, without an event loop. None: it was killed.
    fn call_at_last(&self, action: &str, late: std::time::Instant) -> Result<Option<i32>, String> {
        let mut command = Command::new(&self.agent.program);
        let environment = self.agent.environment(&Call::once(action, LAST_STOP));
        command.arg(action).env_clear().envs(environment).current_dir("/");
        match script::run_until(&mut command, late) {
            Ok(Some(status)) => Ok(status.code()),
            Ok(None) => Err(format!("may not be stopped: its {action} did not end within {LAST_STOP:?}")),
            Err(error) => Err(format!("could not be stopped: {error}")),
        }
    }
}

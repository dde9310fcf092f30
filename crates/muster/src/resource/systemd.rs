//! The type `systemd`: a unit that systemd starts and stops as the group says.
//!
//! Spoken to through `systemctl`, each call with a time-out. The end of a service is known by its main process at once; what
//! has none is looked at every few seconds. Restarts that the unit asks systemd for are left to it: the unit is lost when it
//! is neither active nor on its way there.
//!
//! The unit's processes are in a control group of systemd, out of the guardian's reach. The kill path asks systemd to kill
//! them, after all that the guardian can take away itself. For a guardian that is killed, as systemd does when the service
//! of Muster dies, a second unit waits for the guardian's end, started before the first: whatever ends that one, systemd then
//! kills the unit of the group.

use super::{Doing, Resource, Type, Wrong, options};
use crate::agent::guardian::Tools;
use crate::config::definition::{Definition, Preset};
use crate::config::definitions::key;
use crate::config::kind::{Form, Kind};
use crate::readable::Readable;
use crate::script;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::Deserialize;
use std::path::Path;
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::time::{sleep, timeout};
use wire::group::{OptionValue, ResourceOptions, ResourceSettings};

pub const TYPE: Type =
    Type { name: "systemd", keys: KEYS, needed: &["unit"], shared: &[], timeout_ms: None, check, look, make };

const KEYS: &[Definition] = &[key(
    "unit",
    Kind::Text(Form::Word),
    Preset::Else("none"),
    "\"nginx.service\"",
    "Of `systemd`: the unit: a service, socket, mount, timer, path or target. It must not be enabled, or systemd would start \
     it on machines where the group is not.",
)];

/// Kinds of units that can be started and stopped at will.
const SUFFIXES: [&str; 6] = ["service", "socket", "mount", "timer", "path", "target"];
/// Longest name of a unit that systemd takes. That of what watches over one is longer than its own.
const UNIT_MAX_BYTES: usize = 255;
/// As long as the number of a process can be.
const LONGEST_NUMBER: &str = "4194304";
/// How long systemd may take to say how a unit is. It needs milliseconds; when it reads all units anew, a second or two.
const ASK: Duration = Duration::from_secs(10);
/// Between two looks at a unit whose end nothing tells: a call costs about 5 ms of a processor.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// Between two looks at a unit that is on its way: systemd starts what it restarts itself after 100 ms.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// How long systemd may take to end a unit of which all processes were killed.
const LAST_STOP: Duration = Duration::from_secs(5);
/// Where systemd's own program is, with the whole path that units need.
const SYSTEMCTL: [&str; 2] = ["/usr/bin/systemctl", "/bin/systemctl"];
/// What `systemctl stop` ends with for a unit that is not there, and so does not run.
const NOT_LOADED: i32 = 5;
/// What a look asks for.
const PROPERTIES: &str = "--property=LoadState,ActiveState,SubState,MainPID,Result,UnitFileState";

#[derive(Debug, Deserialize)]
struct Options {
    unit: String,
}

struct Systemd {
    options: Options,
}

/// What systemd says of a unit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Unit {
    load: String,
    active: String,
    sub: String,
    main: Option<Pid>,
    result: String,
    file: String,
}

/// Whether a unit is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Presence {
    There,
    /// It will be there or gone; systemd is at it.
    OnItsWay,
    Gone,
}

impl Unit {
    /// Lines of `name=value`; what is missing is empty.
    fn parse(text: &str) -> Self {
        let mut unit = Unit::default();
        for (name, value) in text.lines().filter_map(|line| line.split_once('=')) {
            match name {
                "LoadState" => unit.load = value.to_owned(),
                "ActiveState" => unit.active = value.to_owned(),
                "SubState" => unit.sub = value.to_owned(),
                "Result" => unit.result = value.to_owned(),
                "UnitFileState" => unit.file = value.to_owned(),
                "MainPID" => unit.main = value.parse().ok().and_then(Pid::from_raw),
                _ => {}
            }
        }
        unit
    }

    fn presence(&self) -> Presence {
        match self.active.as_str() {
            "active" | "reloading" | "refreshing" => Presence::There,
            "activating" | "deactivating" | "maintenance" => Presence::OnItsWay,
            _ => Presence::Gone,
        }
    }

    /// Completes "it ...".
    fn how(&self) -> String {
        match (self.load.as_str(), self.result.as_str()) {
            ("loaded" | "", "success" | "") => format!("is {} ({})", self.active, self.sub),
            ("loaded" | "", result) => format!("is {} ({}): {result}", self.active, self.sub),
            (load, _) => format!("is no unit that systemd could load ({load})"),
        }
    }
}

/// Of a type that can be started and stopped, with its instance if it is a template.
fn is_unit(name: &str) -> bool {
    let Some((stem, suffix)) = name.rsplit_once('.') else { return false };
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b":-_.@".contains(&byte);
    let has_instance = !stem.ends_with('@');
    let is_fit = watcher(name, LONGEST_NUMBER).len() <= UNIT_MAX_BYTES
        && !stem.is_empty()
        && !stem.starts_with(['-', '@']);
    is_fit && has_instance && name.bytes().all(is_plain) && SUFFIXES.contains(&suffix)
}

fn check(options: &ResourceOptions) -> Vec<Wrong> {
    let Some(unit) = options.get("unit").and_then(OptionValue::text) else { return Vec::new() };
    if is_unit(unit) {
        return Vec::new();
    }
    let message = format!("`{unit}` names no unit that could be started and stopped");
    vec![Wrong { key: "unit", message, allowed: "a name with its type, such as `nginx.service`" }]
}

/// Whether systemd knows the unit, and leaves it alone.
fn look(settings: &ResourceSettings) -> Vec<String> {
    let Ok(options) = options::<Options>(settings) else { return Vec::new() };
    let name = &options.unit;
    let mut command = systemctl(&["show", PROPERTIES, "--", name]);
    let said = command.stdin(Stdio::null()).stderr(Stdio::piped()).output();
    let said = match said {
        Ok(said) if said.status.success() => said,
        Ok(said) => {
            let words = String::from_utf8_lossy(&said.stderr);
            let words = words.lines().next().unwrap_or("systemctl failed").to_owned();
            return vec![format!("systemd cannot be asked for {name}: {words}")];
        }
        Err(error) => return vec![format!("systemd cannot be asked for {name}: systemctl: {error}")],
    };
    let unit = Unit::parse(&String::from_utf8_lossy(&said.stdout));
    if unit.load != "loaded" {
        return vec![format!("{name} {}", unit.how())];
    }
    match unit.file.as_str() {
        "enabled" | "enabled-runtime" => vec![format!(
            "{name} is enabled: systemd starts it with the machine, also where the group is not; \
             `systemctl disable {name}` leaves it to the group"
        )],
        _ => Vec::new(),
    }
}

fn make(settings: &ResourceSettings) -> Result<Rc<dyn Resource>, String> {
    let options: Options = options(settings)?;
    if !is_unit(&options.unit) {
        return Err(format!("names no unit: {}", options.unit));
    }
    Ok(Rc::new(Systemd { options }))
}

/// A call that asks nobody anything and shows no pages.
fn words<'a>(words: &[&'a str]) -> Vec<&'a str> {
    ["systemctl", "--no-ask-password", "--no-pager"].iter().chain(words).copied().collect()
}

fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn systemctl(arguments: &[&str]) -> Command {
    let all = words(arguments);
    let mut command = Command::new(all[0]);
    command.args(&all[1..]).env("LC_ALL", "C");
    command
}

/// The name of the unit that kills `unit` when the guardian with this number is gone; `*` for any. Differs for all units, also
/// as a pattern: a unit's own `-` is written otherwise than those around it.
fn watcher(unit: &str, guardian: &str) -> String {
    let mut name = format!("muster-watch-{guardian}-");
    for letter in unit.chars() {
        match letter {
            '@' | ':' | '-' => name.push_str(&format!(":{:02x}", u32::from(letter))),
            plain => name.push(plain),
        }
    }
    name + ".service"
}

impl Systemd {
    async fn call(&self, tools: &Tools, arguments: &[&str]) -> Result<(), String> {
        tools.run(&tools.start(&owned(&words(arguments)))).await?.good()
    }

    /// From now on the unit does not outlive this guardian.
    async fn tie(&self, tools: &Tools) -> Result<(), String> {
        let unit = &self.options.unit;
        let guardian = std::process::id().to_string();
        let systemctl = SYSTEMCTL.iter().find(|path| Path::new(path).is_file());
        let systemctl = systemctl.ok_or("needs systemctl, which is not here")?;
        let name = format!("--unit={}", watcher(unit, &guardian));
        let after = |call: &str| format!("--property=ExecStopPost=-{systemctl} {call} -- {unit}");
        let (stop, kill) = (after("--no-block stop"), after("--signal=KILL kill"));
        // At the end of the machine the unit is stopped first, in its own time.
        let order = format!("--property=Before={unit}");
        // This very program, even if its file has been replaced meanwhile.
        let program = format!("/proc/{guardian}/exe");
        let command = [
            "systemd-run",
            "--quiet",
            "--collect",
            "--property=Type=exec",
            &name,
            &order,
            &stop,
            &kill,
            &program,
            "unit-watch",
            &guardian,
        ];
        let tied = tools.run(&tools.start(&owned(&command))).await?.good();
        tied.map_err(|how| format!("was not started: what watches over it: systemd-run {how}"))
    }

    /// Ends what watches over the unit, which kills it.
    async fn untie(&self, tools: &Tools) -> Result<(), String> {
        self.call(tools, &["stop", "--", &watcher(&self.options.unit, "*")]).await
    }

    async fn ask(&self, tools: &Tools) -> Result<Unit, String> {
        let start = tools.start(&owned(&words(&["show", PROPERTIES, "--", &self.options.unit])));
        let said = timeout(ASK, tools.read(&start)).await;
        let (ended, said) =
            said.map_err(|_| format!("cannot be looked at: systemd is silent for {ASK:?}"))??;
        ended.good().map_err(|how| format!("cannot be looked at: systemctl {how}"))?;
        Ok(Unit::parse(&String::from_utf8_lossy(&said)))
    }

    /// Once systemd is not at it any more. The caller has a time-out.
    async fn settled(&self, tools: &Tools) -> Result<Unit, String> {
        loop {
            let unit = self.ask(tools).await?;
            if unit.presence() != Presence::OnItsWay {
                return Ok(unit);
            }
            sleep(LOOK_AGAIN).await;
        }
    }

    async fn begin(&self, tools: &Tools) -> Result<(), String> {
        // Those of guardians before this one would still do their work.
        self.untie(tools).await?;
        self.tie(tools).await?;
        self.call(tools, &["start", "--", &self.options.unit]).await?;
        let unit = self.settled(tools).await?;
        if unit.presence() == Presence::There { Ok(()) } else { Err(unit.how()) }
    }

    async fn end(&self, tools: &Tools) -> Result<(), String> {
        self.call(tools, &["stop", "--", &self.options.unit]).await?;
        let unit = self.settled(tools).await?;
        if unit.presence() != Presence::Gone {
            return Err(format!("still {}", unit.how()));
        }
        self.untie(tools).await
    }

    async fn look_after(&self, tools: &Tools) -> String {
        let mut is_silent = false;
        loop {
            let unit = match self.settled(tools).await {
                Ok(unit) => unit,
                // What systemd does not say is no proof of anything; said once.
                Err(why) => {
                    if !is_silent {
                        tools.warn(format!("it {why}"));
                    }
                    is_silent = true;
                    sleep(LOOK_INTERVAL).await;
                    continue;
                }
            };
            is_silent = false;
            if unit.presence() == Presence::Gone {
                return unit.how();
            }
            // One that has ended since is looked at again at once.
            match unit.main.map(|main| pidfd_open(main, PidfdFlags::NONBLOCK)) {
                Some(Ok(main)) => wait_for_end(main).await,
                Some(Err(_)) => sleep(LOOK_AGAIN).await,
                None => sleep(LOOK_INTERVAL).await,
            }
        }
    }
}

/// Of a process, or until it is time to look again: a service may change its main process.
async fn wait_for_end(process: rustix::fd::OwnedFd) {
    match Readable::watch(process) {
        Ok(process) => drop(timeout(LOOK_INTERVAL, process.ready()).await),
        Err(_) => sleep(LOOK_INTERVAL).await,
    }
}

impl Resource for Systemd {
    /// Where systemd does not answer, nobody can take away either what it was not told to start.
    fn may_start<'a>(&'a self, tools: &'a Tools) -> Doing<'a, Result<(), String>> {
        Box::pin(async { self.ask(tools).await.map(drop) })
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
        let unit = self.options.unit.as_str();
        let late = Instant::now() + LAST_STOP;
        // A stop that is on its way keeps systemd from starting again what is killed, and its stop program is killed too.
        finish(&mut systemctl(&["--no-block", "stop", "--", unit]), late)?;
        // Fails where there is nothing to kill.
        let _ = finish(&mut systemctl(&["--signal=KILL", "kill", "--", unit]), late);
        finish(&mut systemctl(&["stop", "--", unit]), late)?;
        // What watches over it has nothing left to do, and must not do it to a later run.
        finish(&mut systemctl(&["stop", "--", &watcher(unit, "*")]), late)
    }
}

/// Runs it to its end, which must be a good one and in time.
fn finish(command: &mut Command, late: Instant) -> Result<(), String> {
    match script::run_until(command, late) {
        Ok(Some(status)) if status.success() || status.code() == Some(NOT_LOADED) => Ok(()),
        Ok(Some(status)) => Err(format!("may still be there: systemctl ended with {status}")),
        Ok(None) => Err(format!("may still be there: systemd did not stop it within {LAST_STOP:?}")),
        Err(error) => Err(format!("may still be there: systemctl: {error}")),
    }
}

#[cfg(test)]
mod tests;

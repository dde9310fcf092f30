//! Reads scenarios: what a lab consists of, what happens in it, and how that must end. One line for each, in order.
//!
//! `CONTRIBUTING.md` has the words. Lines that begin with `#` and empty lines mean nothing; the first line of the file, a
//! comment, is what the scenario shows.

use crate::cell::{Part, Plan};
use crate::load::Method;
use crate::servers::Kind;
use std::time::Duration;

/// Words that begin a line before the cell is started.
const PLAN_WORDS: &str = "hosts, managers, store, profile, members, group, split, disk, clock-of, nightly";
const STEP_WORDS: &str = "load, wait, cut, partition, heal, lose, delay, unplug, plug, off, on, freeze, thaw, kill, start, \
                          fill, clear, burn, calm, clock, store, do, expect";
/// Stands for the host whose manager leads, and for what `@leader` stood for last.
pub const LEADERS: [&str; 2] = ["@leader", "@old"];
/// Longest wait that a line can ask for.
const WAIT_MAX: Duration = Duration::from_secs(3600);

/// A line that means nothing, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    pub line: usize,
    pub why: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scenario {
    pub title: String,
    pub plan: Plan,
    /// Takes too long for every change.
    pub is_nightly: bool,
    pub steps: Vec<Step>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    pub line: usize,
    pub text: String,
    /// Not before this time since the cell was whole.
    pub at: Option<Duration>,
    /// What is expected may take so long.
    pub within: Duration,
    pub what: What,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    Load { hosts: Vec<String>, connections: usize, method: Method },
    Wait(Duration),
    Act(Act),
    Expect(Expected),
}

/// From the first host to the second; none stands for every other one.
pub type Way = (Option<String>, Option<String>);

/// What is done to the lab.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    Cut(Vec<Way>),
    Partition(Vec<Vec<String>>),
    Heal(Vec<String>),
    Lose { host: String, per_mille: u32 },
    Delay { host: String, delay: Duration },
    Unplug(String),
    Plug(String),
    Off(Vec<String>),
    On(Vec<String>),
    Freeze { host: String, part: Option<Part> },
    Thaw { host: String, part: Option<Part> },
    Kill { host: String, part: Option<Part> },
    KillMember(String),
    Start { host: String, part: Option<Part> },
    Fill(String),
    Clear(String),
    Burn { host: String, processes: usize },
    Calm(String),
    Clock { host: String, seconds: i64 },
    Store(StoreAct),
    Do { host: String, command: String },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreAct {
    Kill,
    Start,
    Freeze,
    Thaw,
    Save,
    Restore,
}

/// The weight of a member by one revision of the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WeightAt {
    pub weight: u32,
    pub revision: u64,
}

/// What must be so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expected {
    /// Every request through these hosts (none: all) was answered well, but for those that failed within this time after
    /// something was done.
    Answered {
        hosts: Vec<String>,
        later_than: Option<Duration>,
    },
    Whole,
    Node {
        name: String,
        is_connected: bool,
    },
    Member {
        name: String,
        state: String,
    },
    Reached {
        host: String,
        members: Vec<String>,
    },
    /// Who was `@old` may lead again where it is not meant, but not in the term of then.
    Leader {
        name: String,
        is_meant: bool,
        /// It leads since at most this long after what was done last.
        by: Option<Duration>,
    },
    /// Of the requests through these hosts (none: all) that were answered well, each took less.
    NoneSlower {
        than: Duration,
        hosts: Vec<String>,
    },
    GenerationAbove(u64),
    /// So many epochs of a cluster began at routers since something was done.
    EpochsBegun {
        count: u64,
        cluster: String,
    },
    /// Every manager says one of these revisions, the same one, and every router has the member's weight of that revision.
    Weight {
        member: String,
        choices: Vec<WeightAt>,
    },
    Event {
        kind: String,
        is_meant: bool,
    },
    Command {
        host: String,
        command: String,
        is_good: bool,
    },
}

fn name(word: &str) -> Result<String, String> {
    let is_right = word.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    // Names of namespaces are names of files, and a host called so would be the lab's own.
    match is_right && word.len() <= 20 && !["switch", "store", "clients"].contains(&word) {
        true => Ok(word.to_owned()),
        false => Err(format!("`{word}` is no name for a host: letters, digits and `-`, at most 20")),
    }
}

fn number(word: &str, least: usize, most: usize) -> Result<usize, String> {
    let number = word.parse().ok().filter(|number| (least..=most).contains(number));
    number.ok_or_else(|| format!("`{word}` is not a number from {least} to {most}"))
}

/// `200ms`, `3s` or `10m`.
fn duration(word: &str) -> Result<Duration, String> {
    let wrong = || format!("`{word}` is no time like 200ms, 3s or 10m");
    let (digits, unit_ms) = match word.strip_suffix("ms") {
        Some(digits) => (digits, 1),
        None => match word.char_indices().next_back() {
            Some((end, 's')) => (&word[..end], 1_000),
            Some((end, 'm')) => (&word[..end], 60_000),
            Some(_) | None => return Err(wrong()),
        },
    };
    let ms = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(unit_ms)).ok_or_else(wrong)?;
    Some(Duration::from_millis(ms)).filter(|time| *time <= WAIT_MAX).ok_or_else(wrong)
}

fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// Reads a scenario; the mistake is the first one.
pub fn parse(text: &str) -> Result<Scenario, Mistake> {
    let title = text.lines().next().and_then(|line| line.strip_prefix("# ")).unwrap_or_default().to_owned();
    let plan = Plan {
        hosts: Vec::new(),
        managers: 1,
        store: Kind::Sqlite,
        profile: None,
        members: 1,
        split: Vec::new(),
        disks: Vec::new(),
        clocks: Vec::new(),
        group: Vec::new(),
    };
    let mut scenario = Scenario { title, plan, is_nightly: false, steps: Vec::new() };
    let mut lines = 0;
    for (line, text) in (1..).zip(text.lines()) {
        lines = line;
        let words: Vec<&str> = text.split_whitespace().collect();
        if words.is_empty() || words[0].starts_with('#') {
            continue;
        }
        let mistake = |why| Mistake { line, why };
        if scenario.steps.is_empty() && read_plan(&mut scenario, &words).map_err(mistake)? {
            continue;
        }
        scenario.steps.push(read_step(&scenario.plan, line, text.trim()).map_err(mistake)?);
    }
    let mistake = |line, why: &str| Mistake { line, why: why.to_owned() };
    if scenario.title.is_empty() {
        return Err(mistake(1, "the first line is a comment that says what the scenario shows"));
    }
    if scenario.plan.hosts.is_empty() {
        return Err(mistake(lines, "there are no hosts: `hosts web-1 web-2 web-3`"));
    }
    if scenario.plan.managers > scenario.plan.hosts.len() {
        return Err(mistake(lines, "there are more managers than hosts"));
    }
    if scenario.plan.managers > 1 && scenario.plan.store == Kind::Sqlite {
        return Err(mistake(lines, "several managers need `store etcd` or `store postgres`"));
    }
    Ok(scenario)
}

/// False: the line is none of the plan.
fn read_plan(scenario: &mut Scenario, words: &[&str]) -> Result<bool, String> {
    let plan = &mut scenario.plan;
    match words {
        ["hosts", hosts @ ..] if !hosts.is_empty() && plan.hosts.is_empty() => {
            plan.hosts = hosts.iter().map(|host| name(host)).collect::<Result<_, _>>()?;
            let mut sorted = plan.hosts.clone();
            sorted.sort();
            sorted.dedup();
            if sorted.len() != plan.hosts.len() {
                return Err("a host is given twice".into());
            }
        }
        ["managers", count] => plan.managers = number(count, 1, 5)?,
        ["store", "sqlite"] => plan.store = Kind::Sqlite,
        ["store", "etcd"] => plan.store = Kind::Etcd,
        ["store", "postgres"] => plan.store = Kind::Postgres,
        ["profile", profile] => plan.profile = Some(name(profile)?),
        ["members", count] => plan.members = number(count, 1, 50)?,
        ["split", hosts @ ..] if !hosts.is_empty() => plan.split = known(plan, hosts)?,
        ["group", hosts @ ..] if !hosts.is_empty() => plan.group = known(plan, hosts)?,
        ["clock-of", hosts @ ..] if !hosts.is_empty() => plan.clocks = known(plan, hosts)?,
        ["disk", host, size] => {
            let host = known(plan, &[host])?.remove(0);
            let digits = size.strip_suffix('M').ok_or("a disk has a size like 16M")?;
            number(digits, 1, 1024)?;
            plan.disks.push((host, (*size).to_owned()));
        }
        ["nightly"] => scenario.is_nightly = true,
        _ => return Ok(false),
    }
    Ok(true)
}

/// Hosts that there are.
fn known(plan: &Plan, words: &[&str]) -> Result<Vec<String>, String> {
    match words.iter().find(|word| !plan.hosts.iter().any(|host| host == *word)) {
        Some(unknown) => Err(format!("there is no host `{unknown}`; there are {}", plan.hosts.join(", "))),
        None => Ok(owned(words)),
    }
}

/// Reads one line of what happens.
pub fn read_step(plan: &Plan, line: usize, text: &str) -> Result<Step, String> {
    // Who leads is known when the line's time has come; until then any host stands for it.
    let stand_in = plan.hosts.first().map_or("", String::as_str);
    let name = |word| if LEADERS.contains(&word) { stand_in } else { word };
    let mut words: Vec<&str> = text.split_whitespace().map(name).collect();
    let (mut at, mut within) = (None, Duration::ZERO);
    if let ["at", time, rest @ ..] = &words[..] {
        at = Some(duration(time)?);
        words = rest.to_vec();
    }
    if let ["within", time, "expect", ..] = &words[..] {
        within = duration(time)?;
        words.drain(..2);
    }
    let what = match &words[..] {
        ["load", rest @ ..] => {
            let (rest, method) = match rest {
                [rest @ .., "posting"] => (rest, Method::Post),
                rest => (rest, Method::Get),
            };
            let (hosts, connections) = match rest {
                [hosts @ .., "with", count, "connections"] => (hosts, number(count, 1, 100)?),
                hosts => (hosts, 2),
            };
            let hosts = if hosts.is_empty() { plan.hosts.clone() } else { known(plan, hosts)? };
            What::Load { hosts, connections, method }
        }
        ["wait", time] => What::Wait(duration(time)?),
        ["expect", rest @ ..] => What::Expect(read_expected(plan, rest)?),
        words => What::Act(read_act(plan, words)?),
    };
    Ok(Step { line, text: text.to_owned(), at, within, what })
}

fn part(word: &str) -> Result<Option<Part>, String> {
    match word {
        "manager" => Ok(Some(Part::Manager)),
        "rest" => Ok(Some(Part::Rest)),
        other => Err(format!("`{other}` is no part of a host: manager, rest")),
    }
}

fn read_act(plan: &Plan, words: &[&str]) -> Result<Act, String> {
    let one = |host: &&str| Ok::<_, String>(known(plan, &[host])?.remove(0));
    let hosts = |words: &[&str]| if words.is_empty() { Ok(plan.hosts.clone()) } else { known(plan, words) };
    let several = |words: &[&str]| match words {
        [] => Err("which host?".to_owned()),
        words => known(plan, words),
    };
    Ok(match words {
        ["cut", rest @ ..] => Act::Cut(read_cut(plan, rest)?),
        ["partition", rest @ ..] => {
            let parts: Result<Vec<_>, _> = rest.split(|word| *word == "|").map(several).collect();
            Act::Partition(parts.and_then(|parts| match parts.len() {
                0..2 => Err("a partition is like `partition web-1 web-2 | web-3`".to_owned()),
                _ => Ok(parts),
            })?)
        }
        ["heal", rest @ ..] => Act::Heal(hosts(rest)?),
        ["lose", part, host] => {
            let percent = part.strip_suffix('%').and_then(|digits| digits.parse::<f64>().ok());
            let percent = percent.filter(|percent| (0.0..=100.0).contains(percent));
            let percent = percent.ok_or_else(|| format!("`{part}` is no part like 1% or 0.5%"))?;
            Act::Lose { host: one(host)?, per_mille: (percent * 10.0).round() as u32 }
        }
        ["delay", time, host] => Act::Delay { host: one(host)?, delay: duration(time)? },
        ["unplug", host] => Act::Unplug(one(host)?),
        ["plug", host] => Act::Plug(one(host)?),
        ["off", rest @ ..] => Act::Off(several(rest)?),
        ["on", rest @ ..] => Act::On(several(rest)?),
        ["kill", "member", member] => Act::KillMember((*member).to_owned()),
        [verb @ ("freeze" | "thaw" | "kill" | "start"), host, rest @ ..] if rest.len() < 2 => {
            let (host, part) = (one(host)?, rest.first().map_or(Ok(None), |word| part(word))?);
            match *verb {
                "freeze" => Act::Freeze { host, part },
                "thaw" => Act::Thaw { host, part },
                "kill" => Act::Kill { host, part },
                _ => Act::Start { host, part },
            }
        }
        ["fill", host] => Act::Fill(one(host)?),
        ["clear", host] => Act::Clear(one(host)?),
        ["burn", host, count] => Act::Burn { host: one(host)?, processes: number(count, 1, 64)? },
        ["calm", host] => Act::Calm(one(host)?),
        ["clock", host, step] => read_clock(plan, one(host)?, step)?,
        ["store", word] => Act::Store(match *word {
            _ if plan.store == Kind::Sqlite => return Err("this store is a file of its manager".into()),
            "kill" => StoreAct::Kill,
            "start" => StoreAct::Start,
            "freeze" => StoreAct::Freeze,
            "thaw" => StoreAct::Thaw,
            "save" => StoreAct::Save,
            "restore" => StoreAct::Restore,
            other => {
                return Err(format!("`store {other}`: allowed are kill, start, freeze, thaw, save, restore"));
            }
        }),
        ["do", host, command @ ..] if !command.is_empty() => {
            Act::Do { host: one(host)?, command: command.join(" ") }
        }
        [word, ..] if STEP_WORDS.split(", ").any(|known| known == *word) => {
            return Err(format!("`{}` lacks something, or has too much", words.join(" ")));
        }
        [word, ..] => {
            return Err(format!("`{word}` begins no line; first come {PLAN_WORDS}; then {STEP_WORDS}"));
        }
        [] => return Err("nothing follows the time".into()),
    })
}

fn read_clock(plan: &Plan, host: String, step: &str) -> Result<Act, String> {
    if !plan.clocks.contains(&host) {
        return Err(format!("the clock of {host} cannot be stepped: `clock-of {host}` first"));
    }
    let seconds = step.strip_suffix('s').and_then(|digits| digits.parse().ok());
    let seconds = seconds.ok_or_else(|| format!("`{step}` is no step like +3600s or -3600s"))?;
    Ok(Act::Clock { host, seconds })
}

/// `A`, `A B`, `A > B`, `A >` or `> A`.
fn read_cut(plan: &Plan, words: &[&str]) -> Result<Vec<Way>, String> {
    let one = |host: &&str| Ok::<_, String>(Some(known(plan, &[host])?.remove(0)));
    Ok(match words {
        ["store", ">", host] => vec![(Some("store".into()), one(host)?)],
        [host, ">", "store"] => vec![(one(host)?, Some("store".into()))],
        ["store", host] | [host, "store"] => {
            vec![(Some("store".into()), one(host)?), (one(host)?, Some("store".into()))]
        }
        [">", host] => vec![(None, one(host)?)],
        [host, ">"] => vec![(one(host)?, None)],
        [from, ">", to] => vec![(one(from)?, one(to)?)],
        [host] => vec![(one(host)?, None), (None, one(host)?)],
        [a, b] => vec![(one(a)?, one(b)?), (one(b)?, one(a)?)],
        _ => {
            return Err(
                "a cut is like `cut web-1`, `cut web-1 web-2`, `cut web-1 > web-2` or `cut web-1 >`".into()
            );
        }
    })
}

fn read_expected(plan: &Plan, words: &[&str]) -> Result<Expected, String> {
    let one = |host: &&str| Ok::<_, String>(known(plan, &[host])?.remove(0));
    let through = |words: &[&str]| match words {
        [] => Ok(Vec::new()),
        ["through", hosts @ ..] if !hosts.is_empty() => known(plan, hosts),
        _ => Err("requests go `through` hosts".into()),
    };
    Ok(match words {
        ["all", "requests", "answered", rest @ ..] => {
            let (later_than, rest) = match rest {
                ["later", "than", time, rest @ ..] => (Some(duration(time)?), rest),
                rest => (None, rest),
            };
            Expected::Answered { hosts: through(rest)?, later_than }
        }
        ["no", "request", "slower", "than", time, rest @ ..] => {
            Expected::NoneSlower { than: duration(time)?, hosts: through(rest)? }
        }
        ["the", "cell", "whole"] => Expected::Whole,
        ["node", name, state @ ("connected" | "lost")] => {
            Expected::Node { name: one(name)?, is_connected: *state == "connected" }
        }
        ["member", name, state] => {
            let states = ["unknown", "starting", "up", "draining", "down", "failed"];
            if !states.contains(state) {
                return Err(format!("`{state}` is no run state: {}", states.join(", ")));
            }
            Expected::Member { name: (*name).to_owned(), state: (*state).to_owned() }
        }
        ["through", host, members @ ..] if !members.is_empty() => {
            let mut members = owned(members);
            members.sort();
            Expected::Reached { host: one(host)?, members }
        }
        ["leader", rest @ ..] if (1..5).contains(&rest.len()) => read_leader(plan, rest)?,
        ["generation", "above", floor] => Expected::GenerationAbove(number(floor, 0, 1_000_000)? as u64),
        [count, "new", "epoch" | "epochs", "of", cluster] => {
            Expected::EpochsBegun { count: number(count, 0, 1_000)? as u64, cluster: (*cluster).to_owned() }
        }
        ["weight", "of", member, choices @ ..] => {
            let choices = choices.split(|word| *word == "or").map(read_weight).collect::<Result<_, _>>()?;
            Expected::Weight { member: (*member).to_owned(), choices }
        }
        ["event", kind] => Expected::Event { kind: (*kind).to_owned(), is_meant: true },
        ["no", "event", kind] => Expected::Event { kind: (*kind).to_owned(), is_meant: false },
        [host, word @ ("can" | "cannot"), command @ ..] if !command.is_empty() => {
            Expected::Command { host: one(host)?, command: command.join(" "), is_good: *word == "can" }
        }
        words => {
            return Err(format!(
                "`{}` cannot be expected; these can: all requests answered [later than TIME] [through HOST...]; \
                 no request slower than TIME [through HOST...]; the cell whole; node NAME connected|lost; member \
                 NAME STATE; through HOST MEMBER...; leader [not] NAME [by TIME]; generation above NUMBER; \
                 NUMBER new epochs of CLUSTER; weight of MEMBER NUMBER by revision NUMBER [or ...]; [no] event KIND; HOST can|cannot COMMAND",
                words.join(" ")
            ));
        }
    })
}

/// `3 by revision 2`.
fn read_weight(words: &[&str]) -> Result<WeightAt, String> {
    match words {
        [weight, "by", "revision", revision] => Ok(WeightAt {
            weight: number(weight, 0, 1_000_000)? as u32,
            revision: number(revision, 1, 1_000_000)? as u64,
        }),
        _ => Err("a weight is like `weight of shop-2 1 by revision 1 or 3 by revision 2`".into()),
    }
}

/// `[not] NAME [by TIME]`.
fn read_leader(plan: &Plan, words: &[&str]) -> Result<Expected, String> {
    let (words, is_meant) = match words {
        ["not", rest @ ..] => (rest, false),
        words => (words, true),
    };
    let (host, by) = match words {
        [host] => (host, None),
        [host, "by", time] => (host, Some(duration(time)?)),
        _ => {
            return Err(
                "a leader is like `leader web-1`, `leader not web-1` or `leader not web-1 by 2s`".into()
            );
        }
    };
    Ok(Expected::Leader { name: known(plan, &[host])?.remove(0), is_meant, by })
}

#[cfg(test)]
mod tests;

//! `clpmonctrl`: suspend and resume monitors, and let them fail as a drill.

use super::common::{Failure, SUCCEEDED, known_node, run, status};
use super::words::{Flag, Words, one_of, plain, valued};
use crate::cli::Exit;
use crate::cli::client::Api;
use std::collections::BTreeMap;
use wire::id::NodeName;
use wire::status::{Acted, CellStatus, MonitorStatus};

const HELP: &str = "\
clpmonctrl: suspend and resume monitors, count, and let them fail.

  clpmonctrl -s [-h SERVER] [-m MONITOR]   suspend: no more probes
  clpmonctrl -r [-h SERVER] [-m MONITOR]   resume
  clpmonctrl -n [-h SERVER] [-m MONITOR]   dummy failure: every probe fails, for a day or until -e
  clpmonctrl -e [-h SERVER] [-m MONITOR]   end the dummy failure
  clpmonctrl -v [-m MONITOR]               print how many probes were made, and how many failed
  clpmonctrl -c                            nothing to clear: counts expire; see below

  -m MONITOR   default: all
  -h SERVER    only monitors of this server. A monitor of several servers is suspended on all of them together:
               with -h that is refused, and `muster node maintenance SERVER on` suspends all monitors of one server.

What is counted towards recovery of a group is forgotten within an hour, and at once with `muster group start GROUP`.

Also --config FILE, --api URL, --token-file FILE, --state-dir DIR.

Examples:
  clpmonctrl -s -m mail
  clpmonctrl -n -m mail
  muster clp monctrl -r

Exit codes: 0 it is done, else it is not (1 no, 2 wrong use, 3 the cell was not reached).
";

const FLAGS: &[Flag] = &[
    plain("-s"),
    plain("-r"),
    plain("-n"),
    plain("-e"),
    plain("-v"),
    plain("-c"),
    valued("-h"),
    valued("-m"),
];

/// How long a dummy failure lasts where nobody ends it: the longest that a drill may.
const DRILL_MS: u64 = 86_400_000;

pub fn clpmonctrl(words: &[String]) -> Exit {
    run("clpmonctrl", HELP, FLAGS, words, control)
}

async fn control(words: Words) -> Result<String, Failure> {
    let act = one_of(&words, &["-s", "-r", "-n", "-e", "-v", "-c"]).map_err(Failure::WrongUse)?;
    if let Some(word) = words.rest.first() {
        return Err(Failure::WrongUse(format!("`{word}` is not expected here")));
    }
    if act == "-c" {
        let why = "there are no counts that could be cleared: what counts towards recovery is forgotten within an hour; \
                   `muster group start GROUP` forgets it at once";
        return Err(Failure::No(why.into()));
    }
    let api = Api::find(&words.target())?;
    let cell = status(&api).await?;
    let chosen = chosen(&words, &cell)?;
    if act == "-v" {
        return Ok(counts(&chosen));
    }
    let act = match act {
        "-s" => "pause".to_owned(),
        "-n" => format!("fail?for_ms={DRILL_MS}"),
        // Ends a drill as well.
        _ => "resume".to_owned(),
    };
    for name in chosen.keys() {
        let done: Acted = api.post(&format!("/api/v1/monitors/{name}/{act}"), String::new()).await?;
        eprintln!("{}", crate::cli::table::plain(&done.text));
    }
    Ok(SUCCEEDED.into())
}

/// The monitors that are meant, by name.
fn chosen<'a>(
    words: &Words,
    cell: &'a CellStatus,
) -> Result<BTreeMap<&'a str, Vec<&'a MonitorStatus>>, Failure> {
    let mut all: BTreeMap<&str, Vec<&MonitorStatus>> = BTreeMap::new();
    for monitor in &cell.monitors {
        all.entry(&monitor.monitor.0).or_default().push(monitor);
    }
    if let Some(name) = words.value("-m") {
        if !all.contains_key(name) {
            let names: Vec<&str> = all.keys().copied().collect();
            let names = if names.is_empty() { "none".into() } else { names.join(", ") };
            return Err(Failure::No(format!("there is no monitor {name}; there is {names}")));
        }
        all.retain(|known, _| *known == name);
    }
    if let Some(host) = words.value("-h") {
        let host = known_node(cell, host)?;
        all.retain(|_, list| list.iter().any(|monitor| monitor.node == host));
        let elsewhere = |list: &[&MonitorStatus]| list.iter().any(|monitor| monitor.node != host);
        let shared: Vec<&str> =
            all.iter().filter(|(_, list)| elsewhere(list)).map(|(name, _)| *name).collect();
        if !shared.is_empty() && !words.has("-v") {
            return Err(shared_refusal(&shared, &host));
        }
    }
    Ok(all)
}

fn shared_refusal(shared: &[&str], host: &NodeName) -> Failure {
    Failure::No(format!(
        "{} also run on other servers, and are suspended on all of them together: leave -h out, or use \
         `muster node maintenance {host} on` for all monitors of {host}",
        shared.join(", ")
    ))
}

fn counts(chosen: &BTreeMap<&str, Vec<&MonitorStatus>>) -> String {
    let mut text = format!("{:<24} {:<20} {:>10} {:>10}\n", "Monitor", "Server", "Probes", "Failures");
    for (name, list) in chosen {
        for monitor in list {
            text.push_str(&format!(
                "{name:<24} {:<20} {:>10} {:>10}\n",
                monitor.node.0, monitor.probes, monitor.failures
            ));
        }
    }
    text
}

//! `clpcfctrl`: applies a configuration, saves the one in force, and judges one.

use super::common::{Failure, known_node, run, status};
use super::words::{Flag, Words, one_of, plain, valued};
use crate::cli::Exit;
use crate::cli::client::Api;
use crate::config;
use crate::kept_file;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use wire::status::{Applied, ConfigText};

const HELP: &str = "\
clpcfctrl: apply a configuration, or save the one in force.

  clpcfctrl --push [-l | -w] [-x DIRECTORY] [-h SERVER]        apply DIRECTORY/muster.toml, at once and on all servers
  clpcfctrl --pull [-l | -w] [-x DIRECTORY] [-h SERVER]        save the configuration in force as DIRECTORY/muster.toml
  clpcfctrl --compcheck [-l | -w] [-x DIRECTORY]               say what --push would change

  -x DIRECTORY   default: the current directory
  -l, -w         the file was, or is to be, saved on Linux (default) or on Windows (lines end with CR LF)
  -h SERVER      which server is asked: each gives the same answer

A directory with clp.conf of ExpressCluster is not applied as it is: `muster import clp.conf FILE` makes a muster.toml of it.
Nothing is shut down or rebooted, and nothing is asked.

Also --config FILE, --api URL, --token-file FILE, --state-dir DIR.

Examples:
  clpcfctrl --pull -x /root/saved
  clpcfctrl --push -l -x /root/saved
  muster clp cfctrl --compcheck

Exit codes: 0 success, else it failed (1 no, 2 wrong use, 3 the cell was not reached).
";

const FLAGS: &[Flag] = &[
    plain("--push"),
    plain("--pull"),
    plain("--compcheck"),
    plain("-l"),
    plain("-w"),
    valued("-x"),
    valued("-h"),
];

/// The name of the file in a directory.
const FILE: &str = "muster.toml";

pub fn clpcfctrl(words: &[String]) -> Exit {
    run("clpcfctrl", HELP, FLAGS, words, control)
}

async fn control(words: Words) -> Result<String, Failure> {
    let act = one_of(&words, &["--push", "--pull", "--compcheck"]).map_err(Failure::WrongUse)?;
    if words.has("-l") && words.has("-w") {
        return Err(Failure::WrongUse("-l and -w exclude each other".into()));
    }
    if let Some(word) = words.rest.first() {
        return Err(Failure::WrongUse(format!("`{word}` is not expected here")));
    }
    let directory = PathBuf::from(words.value("-x").unwrap_or("."));
    let api = Api::find(&words.target())?;
    if let Some(host) = words.value("-h") {
        known_node(&status(&api).await?, host)?;
    }
    match act {
        "--pull" => {
            let now: ConfigText = api.get("/api/v1/config").await?;
            let text = if words.has("-w") { now.text.replace('\n', "\r\n") } else { now.text };
            let path = directory.join(FILE);
            // It may hold passwords: whole, ours alone, and not through a link that somebody has laid.
            kept_file::write_text(&path, &text)
                .map_err(|error| Failure::No(format!("{} cannot be written: {error}", path.display())))?;
            eprintln!("configuration {} is in {}", now.revision, path.display());
        }
        act => {
            let text = read(&directory)?;
            let dry_run = act == "--compcheck";
            let applied: Applied = api.post(&format!("/api/v1/config?dry_run={dry_run}"), text).await?;
            applied.changes.iter().for_each(|change| eprintln!("{}", crate::cli::table::plain(change)));
            if applied.changes.is_empty() {
                eprintln!("nothing differs from configuration {}", applied.revision);
            }
        }
    }
    Ok("success. (code:0)".into())
}

fn read(directory: &Path) -> Result<String, Failure> {
    let path = directory.join(FILE);
    let name = path.display().to_string();
    let file = std::fs::File::open(&path).map_err(|error| match directory.join("clp.conf").exists() {
        true => Failure::No(format!(
            "{name} is not there, but clp.conf is: make one of it with `muster import clp.conf {}`",
            directory.join("clp.conf").display()
        )),
        false => Failure::No(format!("{name} cannot be read: {error}")),
    })?;
    let mut bytes = Vec::new();
    file.take(config::SIZE_MAX_BYTES as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| Failure::No(format!("{name} cannot be read: {error}")))?;
    let text = config::text_of(bytes, &name).map_err(|problems| Failure::No(problems.to_string()))?;
    let text = text.replace("\r\n", "\n");
    config::parse(&text, &name).map_err(|problems| Failure::No(problems.to_string()))?;
    Ok(text)
}

//! `muster plugin-cfg write`: the running cell as a file for web servers in front of it.

use super::super::client::{Api, Target, encode, fail, run as run_until_done};
use super::super::{Exit, print};
use super::publish;
use std::path::PathBuf;
use wire::status::PluginCfgText;

const EXAMPLES: &str = "\
Examples:
  muster plugin-cfg write plugin-cfg.xml                the members of all clusters that have routes
  muster plugin-cfg write plugin-cfg.xml --router edge  only what router edge serves
  muster plugin-cfg write - | diff plugin-cfg.xml -

The file is written whole or not at all; the old one stays beside it as FILE.last-good. Weights are
written so that no plug-in divides equal ones down to 1. A router can also keep such a file itself:
see [routers.NAME.plugin_cfg].

Exit codes:
  0  done
  1  refused
  2  wrong use
  3  the cell was not reached
  4  Muster's fault";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The file to write; - is standard output
    file: PathBuf,
    /// Only the routes of this router [default: of all]
    #[arg(long, value_name = "NAME")]
    router: Option<String>,
    /// Print one JSON object with the notes, and with the file's text where FILE is -
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

pub fn run(args: &Args) -> Exit {
    let asking = async {
        let router =
            args.router.as_ref().map_or(String::new(), |router| format!("?router={}", encode(router)));
        Api::find(&args.target)?.get::<PluginCfgText>(&format!("/api/v1/plugin-cfg{router}")).await
    };
    let written = match run_until_done(asking) {
        Ok(written) => written,
        Err(error) => return fail(&error, args.json),
    };
    let is_shown = args.file.as_os_str() == "-";
    if !is_shown {
        match publish(&args.file, &written.text) {
            Exit::Yes => {}
            exit => return exit,
        }
    }
    if args.json {
        let text = is_shown.then_some(&written.text);
        let value = serde_json::json!({ "ok": true, "notes": written.notes, "text": text });
        return print(format!("{value:#}\n").as_bytes());
    }
    for note in &written.notes {
        eprintln!("note: {}", super::super::table::plain(note));
    }
    if is_shown { print(written.text.as_bytes()) } else { Exit::Yes }
}

//! `muster plugin-cfg explain`: where a request would go by a file alone.

use super::super::table::plain;
use super::super::{Exit, print};
use super::{Failure, load};
use logic::plugin_cfg::explain::{FileExplanation, explain};
use std::fmt::Write as _;
use std::path::PathBuf;

const EXAMPLES: &str = "\
Examples:
  muster plugin-cfg explain http://shop.example/cart plugin-cfg.xml
  muster plugin-cfg explain /cart plugin-cfg.xml --cookie 'JSESSIONID=0000abc:c1'

Every server counts as up, as a file says nothing of that. Port 80 is meant where the URL names none, 443 for https.

Exit codes: 0 a server would get it, 1 none would, 2 wrong use.";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The request's URL
    url: String,
    /// The plugin-cfg.xml; - reads standard input
    file: PathBuf,
    /// The request's Cookie header
    #[arg(long, value_name = "COOKIE")]
    cookie: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args) -> Exit {
    let explained = load(&args.file)
        .and_then(|document| explain(&document, &args.url, args.cookie.as_deref()).map_err(Failure::NoFile));
    let explanation = match explained {
        Ok(explanation) => explanation,
        Err(failure) => {
            failure.tell(args.json);
            return Exit::WrongUse;
        }
    };
    let text = if args.json { as_json(&args.url, &explanation) } else { tell(&args.url, &explanation) };
    match print(text.as_bytes()) {
        Exit::Yes if explanation.candidates.is_empty() => Exit::No,
        exit => exit,
    }
}

fn as_json(url: &str, explanation: &FileExplanation) -> String {
    let value = serde_json::json!({
        "url": url,
        "virtual_host": explanation.virtual_host,
        "uri": explanation.uri,
        "route_line": explanation.route_line,
        "cluster": explanation.cluster,
        "server": explanation.server,
        "candidates": explanation.candidates,
        "why": explanation.why,
    });
    format!("{value:#}\n")
}

fn tell(url: &str, explanation: &FileExplanation) -> String {
    let server = match (&explanation.server, explanation.candidates.as_slice()) {
        (Some(server), _) => server.clone(),
        (None, []) => "none".into(),
        (None, several) => format!("one of {}", several.join(", ")),
    };
    let or = |value: &Option<String>, missing: &str| value.clone().unwrap_or_else(|| missing.into());
    let missing = if explanation.route_line.is_some() { "any" } else { "none" };
    let route = explanation.route_line.map_or("none".into(), |line| format!("line {line}"));
    let mut text = format!(
        "{url}\n  virtual host  {}\n  uri           {}\n  route         {route}\n  cluster       {}\n  server        {server}\n",
        or(&explanation.virtual_host, missing),
        or(&explanation.uri, missing),
        or(&explanation.cluster, "none"),
    );
    for (index, why) in explanation.why.iter().enumerate() {
        writeln!(text, "{}{}. {why}", if index == 0 { "\n" } else { "" }, index + 1)
            .expect("a String takes any text");
    }
    plain(&text)
}

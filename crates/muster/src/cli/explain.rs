//! `muster explain`: where a request would go, and why.

use super::client::{Api, Target, encode, fail, run as run_until_done};
use super::table::plain;
use super::{Exit, print};
use std::fmt::Write as _;
use wire::status::Explanation;

const EXAMPLES: &str = "\
Examples:
  muster explain http://shop.example/cart
  muster explain /cart --cookie 'JSESSIONID=0000abc:shop-2'

Exit codes:
  0  a member would get it
  1  it would be refused
  2  wrong use
  3  the cell was not reached
  4  Muster's fault";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The request's URL
    url: String,
    /// The request's Cookie header
    #[arg(long, value_name = "COOKIE")]
    cookie: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

pub fn run(args: Args) -> Exit {
    let asking = async {
        let cookie =
            args.cookie.as_ref().map_or(String::new(), |cookie| format!("&cookie={}", encode(cookie)));
        let path = format!("/api/v1/explain?url={}{cookie}", encode(&args.url));
        Api::find(&args.target)?.get::<Explanation>(&path).await
    };
    let explanation = match run_until_done(asking) {
        Ok(explanation) => explanation,
        Err(error) => return fail(&error, args.json),
    };
    let text = if args.json {
        serde_json::to_string_pretty(&explanation).expect("an explanation has only names as keys") + "\n"
    } else {
        tell(&explanation)
    };
    let is_refused = explanation.member.is_none() && explanation.candidates.is_empty();
    match print(text.as_bytes()) {
        Exit::Yes if is_refused => Exit::No,
        exit => exit,
    }
}

fn tell(explanation: &Explanation) -> String {
    // Names of members are only told apart by their cluster where there are several.
    let has_several = explanation.cluster.is_none();
    let mut clusters = explanation.candidate_clusters.iter();
    let candidates: Vec<String> = (explanation.candidates.iter())
        .map(|name| match clusters.next().filter(|_| has_several) {
            Some(cluster) => format!("{cluster}/{name}"),
            None => name.0.clone(),
        })
        .collect();
    let member = match (&explanation.member, candidates.as_slice()) {
        (Some(member), _) => member.to_string(),
        (None, []) => "none".into(),
        (None, [only]) => only.clone(),
        (None, several) => format!("one of {}", several.join(", ")),
    };
    let route = explanation.route.as_deref().unwrap_or("none");
    let several = match candidates.as_slice() {
        [] => "none",
        _ => "several",
    };
    let cluster = explanation.cluster.as_ref().map_or(several, |cluster| cluster.0.as_str());
    let level = explanation.level.map_or(several.to_owned(), |level| level.to_string());
    let mut text = format!(
        "{}\n  route    {route}\n  level    {level}\n  cluster  {cluster}\n  member   {member}\n",
        explanation.url
    );
    for (index, why) in explanation.why.iter().enumerate() {
        writeln!(text, "{}{}. {why}", if index == 0 { "\n" } else { "" }, index + 1)
            .expect("a string takes any text");
    }
    plain(&text)
}

#[cfg(test)]
mod tests;

//! `muster cluster`: start, stop, drain or restart a cluster or one of its members, and see it through.

mod progress;

use super::client::{Api, ClientError, Target, fail, is_code, run as run_until_done};
use super::follow::News;
use super::status::no_such_cluster;
use super::table::plain;
use super::{Exit, print};
use progress::{Goal, Progress};
use std::io::{BufRead, IsTerminal, Write};
use std::time::Duration;
use wire::error_code;
use wire::id::is_valid_name;
use wire::status::{Act, Acted, CellStatus, ClusterStatus, ErrorBody};

const EXAMPLES: &str = "\
Examples:
  muster cluster restart shop              one member after the other, without a failed request
  muster cluster drain shop shop-2         shop-2 keeps its conversations and takes no new ones
  muster cluster stop shop/shop-2 --yes    in a script
  muster cluster start shop --no-wait

Exit codes:
  0  done (with --no-wait: begun)
  1  refused or it did not come about
  2  wrong use
  3  the cell was not reached
  4  Muster's fault";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, arg_required_else_help = true)]
pub struct Args {
    #[command(subcommand)]
    act: ActArgs,
}

#[derive(Debug, clap::Subcommand)]
enum ActArgs {
    /// Start members that are stopped, and let drained ones take requests again
    Start(What),
    /// Drain members, then stop them
    Stop(What),
    /// Take no new conversations; those that are there go on
    Drain(What),
    /// Drain, stop and start; a cluster one member after the other
    Restart(What),
}

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
struct What {
    /// The cluster, or CLUSTER/MEMBER
    name: String,
    /// One member of it; without it all
    member: Option<String>,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
    /// End as soon as it has begun
    #[arg(long)]
    no_wait: bool,
    /// Longest wait, in seconds; what has begun goes on all the same
    #[arg(long, value_name = "SECONDS", default_value_t = 600, conflicts_with = "no_wait",
          value_parser = clap::value_parser!(u64).range(1..=86_400))]
    timeout: u64,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

pub fn run(args: Args) -> Exit {
    let (act, what) = match args.act {
        ActArgs::Start(what) => (Act::Start, what),
        ActArgs::Stop(what) => (Act::Stop, what),
        ActArgs::Drain(what) => (Act::Drain, what),
        ActArgs::Restart(what) => (Act::Restart, what),
    };
    run_until_done(carry_out(act, &what)).unwrap_or_else(|error| fail(&error, what.json))
}

pub fn word(act: Act) -> &'static str {
    match act {
        Act::Start => "start",
        Act::Stop => "stop",
        Act::Drain => "drain",
        Act::Restart => "restart",
    }
}

async fn carry_out(act: Act, what: &What) -> Result<Exit, ClientError> {
    let (cluster, member) = names(what)?;
    let api = Api::find(&what.target)?;
    let status: CellStatus = api.get("/api/v1/status").await?;
    let before = find(&status, cluster)?;
    if let Some(question) = question(act, before, member)
        && !what.yes
        && !confirm(&question)?
    {
        eprintln!("nothing was changed");
        return Ok(Exit::No);
    }
    let goal = Goal::new(act, before, member);
    let place = member.map_or(String::new(), |member| format!("/members/{member}"));
    let path = format!("/api/v1/clusters/{cluster}{place}/{}", word(act));
    let acted: Acted = api.post(&path, String::new()).await?;
    if what.no_wait {
        return Ok(tell(what.json, &acted.text));
    }
    eprintln!("{}", plain(&acted.text));
    let waiting = see_through(&api, cluster, &goal, status.generation);
    match tokio::time::timeout(Duration::from_secs(what.timeout), waiting).await {
        Ok(Ok(Progress::Done(text))) => Ok(tell(what.json, &text)),
        Ok(Ok(Progress::Failed(text) | Progress::Going(text))) => Ok(did_not_come_about(what.json, text)),
        Ok(Err(error)) => Err(error),
        Err(_) => {
            let text = format!("not done after {} s; it goes on, see `muster status`", what.timeout);
            Ok(did_not_come_about(what.json, text))
        }
    }
}

/// Tells what was done.
pub fn tell(json: bool, text: &str) -> Exit {
    let text = plain(text);
    if json {
        let json = serde_json::to_string(&Acted { text }).expect("an answer has only names as keys");
        return print(format!("{json}\n").as_bytes());
    }
    print(format!("{text}\n").as_bytes())
}

/// Tells why it was not done, or not in time.
pub fn did_not_come_about(json: bool, message: String) -> Exit {
    if json {
        let body = ErrorBody { code: error_code::ACT_MAKES_NO_SENSE.to_string(), message, retry: true };
        let json = serde_json::to_string(&body).expect("an answer has only names as keys");
        print(format!("{json}\n").as_bytes());
    } else {
        eprintln!("{}", plain(&message));
    }
    Exit::No
}

/// `shop`, `shop shop-2` or `shop/shop-2`.
fn names(what: &What) -> Result<(&str, Option<&str>), ClientError> {
    let (cluster, member) = match (what.name.split_once('/'), &what.member) {
        (Some((cluster, member)), None) => (cluster, Some(member)),
        (Some(_), Some(_)) => {
            return Err(ClientError::WrongUse(format!("`{}` names a member already", what.name)));
        }
        (None, member) => (what.name.as_str(), member.as_deref()),
    };
    for name in [Some(cluster), member].into_iter().flatten() {
        if !is_valid_name(name) {
            return Err(ClientError::WrongUse(format!("`{name}` is no name of a cluster or member")));
        }
    }
    Ok((cluster, member))
}

fn find<'a>(status: &'a CellStatus, name: &str) -> Result<&'a ClusterStatus, ClientError> {
    let found = status.clusters.iter().find(|cluster| cluster.cluster.0 == name);
    found.ok_or_else(|| no_such_cluster(status, name))
}

/// What to ask before an act that may interrupt somebody; None when it cannot.
fn question(act: Act, cluster: &ClusterStatus, member: Option<&str>) -> Option<String> {
    let name = &cluster.cluster;
    let count = cluster.members.len();
    match (act, member) {
        (Act::Start, _) | (Act::Drain, Some(_)) => None,
        (Act::Stop | Act::Restart, Some(member)) => Some(format!("{} {name}/{member}?", capital(act))),
        (Act::Restart, None) => Some(format!("Restart all {count} members of {name}, one after the other?")),
        (Act::Stop | Act::Drain, None) => Some(format!(
            "{} all {count} members of {name}? New requests for it will be refused until a member is started.",
            capital(act)
        )),
    }
}

fn capital(act: Act) -> &'static str {
    match act {
        Act::Start => "Start",
        Act::Stop => "Stop",
        Act::Drain => "Drain",
        Act::Restart => "Restart",
    }
}

/// Asks at the terminal.
pub fn confirm(question: &str) -> Result<bool, ClientError> {
    if !std::io::stdin().is_terminal() {
        let text = "this asks for a yes, and there is no terminal to ask at: say --yes".to_owned();
        return Err(ClientError::WrongUse(text));
    }
    eprint!("{} [y/N] ", plain(question));
    let system = |source| ClientError::System { source };
    std::io::stderr().flush().map_err(system)?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer).map_err(system)?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

/// Follows the cell until the goal is reached or cannot be, telling each step once. The manager of this generation was
/// asked.
async fn see_through(
    api: &Api,
    cluster: &str,
    goal: &Goal,
    generation: u64,
) -> Result<Progress, ClientError> {
    let mut line = Line::new();
    loop {
        match follow_goal(api, cluster, goal, generation, &mut line).await {
            // The act was accepted and goes on; a manager that restarts is found again, the deadline is our caller's.
            Err(ClientError::NotReached { problem, .. }) => {
                line.show(&format!("cell not reached: {problem}"))
            }
            Err(error) if is_code(&error, error_code::MANAGER_UNAVAILABLE) => {
                line.show("the manager is away")
            }
            ended => return ended,
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

async fn follow_goal(
    api: &Api,
    cluster: &str,
    goal: &Goal,
    generation: u64,
    line: &mut Line,
) -> Result<Progress, ClientError> {
    let mut follow = api.follow(None).await?;
    loop {
        let News::Status(status) = follow.next().await? else { continue };
        let cluster = find(&status, cluster)?;
        match goal.look(cluster) {
            Progress::Going(text) => {
                if status.generation != generation
                    && let Some(why) = goal.was_forgotten(cluster)
                {
                    return Ok(Progress::Failed(why));
                }
                line.show(&text);
            }
            ended => return Ok(ended),
        }
    }
}

/// The line of progress on standard error: one that changes on a terminal, one for each change elsewhere.
pub struct Line {
    is_terminal: bool,
    shown: String,
}

impl Line {
    pub fn new() -> Self {
        Self { is_terminal: std::io::stderr().is_terminal(), shown: String::new() }
    }

    pub fn show(&mut self, text: &str) {
        let text = plain(text);
        if text == self.shown {
            return;
        }
        if self.is_terminal {
            eprint!("\r\x1b[K{text}")
        } else {
            eprintln!("{text}")
        }
        self.shown = text;
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if self.is_terminal && !self.shown.is_empty() {
            eprint!("\r\x1b[K");
        }
    }
}

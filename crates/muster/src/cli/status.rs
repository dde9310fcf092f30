//! `muster status`: nodes, routers, clusters and members, once or for as long as one looks.

use super::client::{Api, ClientError, Target, fail, run as run_until_done};
use super::follow::{Follow, News};
use super::table::{self, Paint};
use super::{Exit, print};
use std::collections::VecDeque;
use std::io::IsTerminal;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use wire::error_code;
use wire::status::{CellStatus, ErrorBody, Event};
use wire::view::RunState;

const EXAMPLES: &str = "\
Examples:
  muster status                            the cell of ./muster.toml
  muster status --watch                    live, until Ctrl-C
  muster status --json | jq .clusters      for programs
  muster status --wait-up shop             in a script: goes on when all members of shop are up
  muster status --api http://10.0.0.1:29003 --token-file token

Exit codes:
  0  yes
  1  the members are not up in time
  2  wrong use
  3  the cell was not reached, or no manager leads and what is shown is what was known last
  4  Muster's fault";

/// Events shown below a live table.
const EVENTS_SHOWN: usize = 6;
/// Members that are named while one waits for them.
const MISSING_NAMED_MAX: usize = 5;
/// Pause before a lost cell is looked for again.
pub(super) const RECONNECT_MS: u64 = 1_000;
/// The size taken for a terminal that does not tell its own.
pub(super) const TERMINAL_COLUMNS: u16 = 120;
pub(super) const TERMINAL_ROWS: u16 = 40;
/// Another screen, without a cursor; and back.
const ENTER_SCREEN: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE_SCREEN: &str = "\x1b[?25h\x1b[?1049l";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Print JSON: one object, or with --watch one for each change
    #[arg(long)]
    json: bool,
    /// Show each change as it happens, until Ctrl-C
    #[arg(long, short)]
    watch: bool,
    /// Wait until all members of this cluster are up
    #[arg(long, value_name = "CLUSTER", conflicts_with = "watch")]
    wait_up: Option<String>,
    /// Longest wait for --wait-up, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60, requires = "wait_up",
          value_parser = clap::value_parser!(u64).range(1..=86_400))]
    timeout: u64,
    #[command(flatten)]
    target: Target,
}

pub fn run(args: Args) -> Exit {
    let work = async {
        if let Some(cluster) = &args.wait_up {
            return wait_up(cluster, &args).await;
        }
        let api = Api::find(&args.target)?;
        match args.watch {
            true => watch(&api, &args).await,
            false => {
                let status = api.status().await?;
                let shown = print(show(&status, &args, Paint::of_stdout()).as_bytes());
                Ok(told_if_stale(&status, shown))
            }
        }
    };
    run_until_done(work).unwrap_or_else(|error| fail(&error, args.json))
}

/// How a command ends that has shown this status.
pub(super) fn told_if_stale(status: &CellStatus, exit: Exit) -> Exit {
    match status.stale_since_ms {
        Some(_) if exit != Exit::OurFault => Exit::CellNotReached,
        Some(_) | None => exit,
    }
}

fn show(status: &CellStatus, args: &Args, paint: Paint) -> String {
    if !args.json {
        return table::status(status, paint);
    }
    let pretty =
        if args.watch { serde_json::to_string(status) } else { serde_json::to_string_pretty(status) };
    pretty.expect("a status has only names as keys") + "\n"
}

// ---- waiting ----

async fn wait_up(cluster: &str, args: &Args) -> Result<Exit, ClientError> {
    let deadline = Duration::from_secs(args.timeout);
    // The last status, or why there is none.
    let mut last = None;
    let waiting = async {
        loop {
            match wait_here(cluster, &args.target, &mut last).await {
                // It may be starting: a script that starts it need not wait before it waits.
                Err(error) if is_away(&error) => last = Some(Err(error)),
                ended => return ended,
            }
            tokio::time::sleep(Duration::from_millis(RECONNECT_MS)).await;
        }
    };
    let waited: Result<Result<(), ClientError>, _> = tokio::time::timeout(deadline, waiting).await;
    match (&waited, last) {
        (Ok(Err(_)), _) => {}
        (_, Some(Ok(status))) => {
            print(show(&status, args, Paint::of_stdout()).as_bytes());
        }
        (Err(_), Some(Err(error))) => return Err(error),
        (_, _) => {}
    }
    let Ok(ended) = waited else {
        eprintln!("cluster {cluster} was not up within {} s", args.timeout);
        return Ok(Exit::No);
    };
    ended.map(|()| Exit::Yes)
}

/// Whether another try may reach the cell.
fn is_away(error: &ClientError) -> bool {
    error.exit() == Exit::CellNotReached && !matches!(error, ClientError::Stranger { .. })
}

/// Waits as long as the cell can be heard.
async fn wait_here(
    cluster: &str,
    target: &Target,
    last: &mut Option<Result<Box<CellStatus>, ClientError>>,
) -> Result<(), ClientError> {
    let mut follow = Api::find(target)?.follow(None).await?;
    loop {
        let News::Status(status) = follow.next().await? else { continue };
        let is_up = is_up(&status, cluster)?;
        let missing = missing(&status, cluster);
        if !is_up && !matches!(last, Some(Ok(before)) if self::missing(before, cluster) == missing) {
            eprintln!("waiting for cluster {cluster}: {}", table::plain(&missing));
        }
        *last = Some(Ok(status));
        if is_up {
            return Ok(());
        }
    }
}

/// Who is not up, for people.
fn missing(status: &CellStatus, name: &str) -> String {
    let members = status.clusters.iter().filter(|cluster| cluster.cluster.0 == name);
    let members = members.flat_map(|cluster| &cluster.members);
    let missing: Vec<String> = members
        .filter(|member| member.state != RunState::Up)
        .map(|member| format!("{} is {}", member.member, member.state))
        .collect();
    match missing.split_at_checked(MISSING_NAMED_MAX) {
        Some((named, more)) if !more.is_empty() => format!("{} and {} more", named.join(", "), more.len()),
        Some(_) | None => missing.join(", "),
    }
}

fn is_up(status: &CellStatus, name: &str) -> Result<bool, ClientError> {
    let cluster = status.clusters.iter().find(|cluster| cluster.cluster.0 == name);
    let cluster = cluster.ok_or_else(|| no_such_cluster(status, name))?;
    Ok(cluster.members.iter().all(|member| member.state == RunState::Up))
}

/// The refusal that the cell itself would give.
pub fn no_such_cluster(status: &CellStatus, name: &str) -> ClientError {
    let known: Vec<&str> = status.clusters.iter().map(|cluster| cluster.cluster.0.as_str()).collect();
    let known = if known.is_empty() { "none".into() } else { known.join(", ") };
    let body = ErrorBody {
        code: error_code::NO_SUCH_CLUSTER.to_string(),
        message: format!("there is no cluster {name}; there is {known}"),
        retry: false,
    };
    ClientError::Refused { status: hyper::StatusCode::NOT_FOUND, body }
}

// ---- watching ----

/// The other screen of a terminal; gone with this value, whatever ends it.
pub(super) struct Screen;

impl Screen {
    pub fn enter() -> Self {
        print(ENTER_SCREEN.as_bytes());
        Self
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        print(LEAVE_SCREEN.as_bytes());
    }
}

/// What a live view shows.
struct View {
    status: Option<Box<CellStatus>>,
    events: VecDeque<Event>,
    problem: Option<String>,
}

async fn watch(api: &Api, args: &Args) -> Result<Exit, ClientError> {
    let system = |source| ClientError::System { source };
    let mut interrupt = signal(SignalKind::interrupt()).map_err(system)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(system)?;
    let mut resize = signal(SignalKind::window_change()).map_err(system)?;
    // What cannot be reached at the start is an error; what is lost later is shown.
    let mut follow = Some(api.follow(None).await?);
    let is_screen = std::io::stdout().is_terminal() && !args.json;
    let _screen = is_screen.then(Screen::enter);
    let mut view = View { status: None, events: VecDeque::new(), problem: None };
    loop {
        // Cancelling loses nothing: signals are remembered, and a stream keeps what it has read.
        let news = tokio::select! {
            _ = interrupt.recv() => return Ok(Exit::Yes),
            _ = terminate.recv() => return Ok(Exit::Yes),
            _ = resize.recv(), if is_screen => None,
            news = next(api, &mut follow, &view) => Some(news),
        };
        let is_status = matches!(news, Some(Ok(News::Status(_))));
        match news {
            None => {}
            Some(Ok(News::Status(status))) => (view.status, view.problem) = (Some(status), None),
            Some(Ok(News::Event(event))) => {
                view.events.push_back(event);
                while view.events.len() > EVENTS_SHOWN {
                    view.events.pop_front();
                }
            }
            Some(Err(error @ ClientError::NotReached { .. })) => view.problem = Some(error.to_string()),
            Some(Err(error)) => return Err(error),
        }
        let exit = match &view.status {
            _ if is_screen => print(frame(&view).as_bytes()),
            Some(status) if is_status => print(show(status, args, Paint::Plain).as_bytes()),
            _ => Exit::Yes,
        };
        if exit != Exit::Yes {
            return Ok(exit);
        }
    }
}

/// The next news; a stream that was lost is opened again after a pause.
async fn next(api: &Api, follow: &mut Option<Follow>, view: &View) -> Result<News, ClientError> {
    if let Some(open) = follow {
        let news = open.next().await;
        if news.is_err() {
            *follow = None;
        }
        return news;
    }
    tokio::time::sleep(Duration::from_millis(RECONNECT_MS)).await;
    let after = view.events.back().map(|event| event.number);
    follow.insert(api.follow(after).await?).next().await
}

/// One picture of the live view, to be drawn over the one before.
fn frame(view: &View) -> String {
    let paint = Paint::of_stdout();
    let size = rustix::termios::tcgetwinsize(std::io::stdout()).ok();
    let size = size.filter(|size| size.ws_col > 0 && size.ws_row > 0);
    let (columns, rows) = size.map_or((TERMINAL_COLUMNS, TERMINAL_ROWS), |size| (size.ws_col, size.ws_row));
    let mut text = String::new();
    if let Some(problem) = &view.problem {
        text.push_str(&format!("{}\nShowing what was known last; trying again.\n\n", table::plain(problem)));
    }
    if let Some(status) = &view.status {
        text.push_str(&table::status(status, paint));
        if !view.events.is_empty() {
            let events: Vec<Event> = view.events.iter().cloned().collect();
            text.push_str(&format!("\n{}", table::events(&events, status.now_ms, paint)));
        }
    }
    let text = table::fit(&text, usize::from(columns), usize::from(rows));
    // Each line is cleared to its end before it is written over, and the rest below at last: nothing flickers.
    let lines: String = text.lines().map(|line| format!("{line}\x1b[K\r\n")).collect();
    format!("\x1b[H{}\x1b[J", lines.strip_suffix("\r\n").unwrap_or(&lines))
}

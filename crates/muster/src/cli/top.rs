//! `muster top`: routers, routes and members live in the terminal, sorted by what one looks for.
//!
//! On a terminal it draws until `q`; elsewhere it prints one snapshot. Sorting and drawing are pure (`picture`).

use super::client::{Api, ClientError, Target, fail, run as run_until_done};
use super::follow::{Follow, News};
use super::status::{RECONNECT_MS, Screen, TERMINAL_COLUMNS, TERMINAL_ROWS};
use super::table::{
    Cell, Paint, Side, Style, cell, duration, fit, latency, one_line, plain, rate, style_of, styled, table,
};
use super::{Exit, print};
use rustix::event::{PollFd, PollFlags};
use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};
use std::cmp::Ordering;
use std::io::{IsTerminal, PipeReader, PipeWriter, stdin, stdout};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use wire::status::{CellStatus, MemberStatus, RouteStatus, RouterStatus};

const EXAMPLES: &str = "\
Keys:
  r l i s e n   sort by rate, latency (p99), in flight, sessions, errors, name
  o             turn the order round
  q             leave

Examples:
  muster top --sort latency        the slowest first
  muster top | head -20            one snapshot
  muster top --json                the snapshot for programs, sorted

Exit codes: 0 yes, 2 wrong use, 3 the cell was not reached, 4 Muster's fault.";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// What comes first
    #[arg(long, value_enum, default_value = "rate")]
    sort: Sort,
    /// Print one snapshot as a JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Sort {
    Rate,
    Latency,
    InFlight,
    Sessions,
    Errors,
    Name,
}

/// What is shown and how.
#[derive(Debug, Clone, Copy)]
struct Look {
    sort: Sort,
    is_turned: bool,
}

pub fn run(args: Args) -> Exit {
    let is_live = !args.json && stdout().is_terminal() && stdin().is_terminal();
    let work = async {
        let api = Api::find(&args.target)?;
        let look = Look { sort: args.sort, is_turned: false };
        if is_live {
            return watch(&api, look).await;
        }
        let mut status: CellStatus = api.get("/api/v1/status").await?;
        if !args.json {
            return Ok(print(picture(&status, look, Paint::of_stdout()).as_bytes()));
        }
        sort_status(&mut status, look);
        let text = serde_json::to_string_pretty(&status).expect("a status has only names as keys");
        Ok(print((text + "\n").as_bytes()))
    };
    run_until_done(work).unwrap_or_else(|error| fail(&error, args.json))
}

// ---- the terminal ----

/// Keys that may wait while a picture is drawn; more were typed in vain.
const KEYS_MAX: usize = 16;

/// A terminal that gives each key at once and does not show it; as it was again when this is dropped.
struct Keys {
    before: Termios,
    typed: mpsc::Receiver<u8>,
    reader: Option<(PipeWriter, JoinHandle<()>)>,
}

impl Keys {
    fn listen() -> std::io::Result<Self> {
        let before = tcgetattr(stdin())?;
        let mut raw = before.clone();
        raw.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
        raw.special_codes[SpecialCodeIndex::VMIN] = 1;
        raw.special_codes[SpecialCodeIndex::VTIME] = 0;
        let (keys, typed) = mpsc::channel(KEYS_MAX);
        let (end, keeper) = std::io::pipe()?;
        let thread = std::thread::Builder::new().name("keys".into()).spawn(move || read_keys(&end, &keys))?;
        tcsetattr(stdin(), OptionalActions::Now, &raw)?;
        Ok(Self { before, typed, reader: Some((keeper, thread)) })
    }
}

/// Reads keys until the terminal is gone or the other end of `end` is dropped.
fn read_keys(end: &PipeReader, keys: &mpsc::Sender<u8>) {
    let input = stdin();
    loop {
        let mut waited = [PollFd::new(&input, PollFlags::IN), PollFd::new(end, PollFlags::IN)];
        let is_interrupted = rustix::event::poll(&mut waited, None).is_err();
        if !waited[1].revents().is_empty() {
            return;
        }
        if is_interrupted || waited[0].revents().is_empty() {
            continue;
        }
        let mut byte = [0];
        match rustix::io::read(&input, &mut byte) {
            // A key too many is dropped: whoever types that fast looks at the last picture only.
            Ok(1) => drop(keys.try_send(byte[0])),
            Ok(_) | Err(_) => return,
        }
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        if let Some((keeper, thread)) = self.reader.take() {
            drop(keeper);
            // It has nothing to say; a panic of its own was printed already.
            drop(thread.join());
        }
        // A terminal that is gone needs no setting back.
        let _ = tcsetattr(stdin(), OptionalActions::Now, &self.before);
    }
}

async fn watch(api: &Api, mut look: Look) -> Result<Exit, ClientError> {
    let system = |source| ClientError::System { source };
    let mut interrupt = signal(SignalKind::interrupt()).map_err(system)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(system)?;
    let mut resize = signal(SignalKind::window_change()).map_err(system)?;
    let mut follow = Some(api.follow(None).await?);
    let mut keys = Keys::listen().map_err(system)?;
    let _screen = Screen::enter();
    let (mut status, mut problem) = (None, None);
    loop {
        // Cancelling loses nothing: signals and keys are remembered, and a stream keeps what it has read.
        tokio::select! {
            _ = interrupt.recv() => return Ok(Exit::Yes),
            _ = terminate.recv() => return Ok(Exit::Yes),
            _ = resize.recv() => {}
            key = keys.typed.recv() => match key {
                None | Some(b'q' | b'Q' | 4) => return Ok(Exit::Yes),
                Some(key) => look = look.after(key),
            },
            news = next(api, &mut follow) => match news {
                Ok(News::Status(newest)) => (status, problem) = (Some(newest), None),
                Ok(News::Event(_)) => continue,
                Err(error @ ClientError::NotReached { .. }) => problem = Some(error.to_string()),
                Err(error) => return Err(error),
            },
        }
        let text = status.as_ref().map_or(String::new(), |status| picture(status, look, Paint::of_stdout()));
        if print(frame(&text, problem.as_deref()).as_bytes()) != Exit::Yes {
            return Ok(Exit::Yes);
        }
    }
}

/// The next news; a stream that was lost is opened again after a pause.
async fn next(api: &Api, follow: &mut Option<Follow>) -> Result<News, ClientError> {
    if let Some(open) = follow {
        let news = open.next().await;
        if news.is_err() {
            *follow = None;
        }
        return news;
    }
    tokio::time::sleep(Duration::from_millis(RECONNECT_MS)).await;
    follow.insert(api.follow(None).await?).next().await
}

/// Draws over the picture before: lines are cleared to their ends, so that nothing flickers.
fn frame(text: &str, problem: Option<&str>) -> String {
    let size = rustix::termios::tcgetwinsize(stdout()).ok();
    let size = size.filter(|size| size.ws_col > 0 && size.ws_row > 0);
    let (columns, rows) = size.map_or((TERMINAL_COLUMNS, TERMINAL_ROWS), |size| (size.ws_col, size.ws_row));
    let problem = problem.map_or(String::new(), |problem| {
        format!("{}\nShowing what was known last; trying again.\n\n", plain(problem))
    });
    let text = fit(&(problem + text), usize::from(columns), usize::from(rows));
    let lines: String = text.lines().map(|line| format!("{line}\x1b[K\r\n")).collect();
    format!("\x1b[H{}\x1b[J", lines.strip_suffix("\r\n").unwrap_or(&lines))
}

// ---- the picture ----

impl Look {
    /// After a key; keys that mean nothing change nothing.
    fn after(self, key: u8) -> Self {
        let sort = match key {
            b'r' => Sort::Rate,
            b'l' => Sort::Latency,
            b'i' => Sort::InFlight,
            b's' => Sort::Sessions,
            b'e' => Sort::Errors,
            b'n' => Sort::Name,
            b'o' => return Self { is_turned: !self.is_turned, ..self },
            _ => return self,
        };
        Self { sort, is_turned: false }
    }

    /// The largest first, names from the beginning of the alphabet; turned round if asked to.
    fn order(self, numbers: (f64, f64), names: (&str, &str)) -> Ordering {
        let by_number =
            if self.sort == Sort::Name { Ordering::Equal } else { numbers.1.total_cmp(&numbers.0) };
        let order = by_number.then_with(|| names.0.cmp(names.1));
        if self.is_turned { order.reverse() } else { order }
    }

    fn of_member(self, member: &MemberStatus) -> f64 {
        match self.sort {
            Sort::Rate | Sort::Name => member.requests_per_second,
            Sort::Latency => member.latency_p99_us as f64,
            Sort::InFlight => member.in_flight as f64,
            Sort::Sessions => member.sessions as f64,
            Sort::Errors => (member.failed + member.counts.by_class[4]) as f64,
        }
    }

    /// Routes know no sessions and no percentiles: by rate then, and by the mean.
    fn of_route(self, route: &RouteStatus) -> f64 {
        match self.sort {
            Sort::Rate | Sort::Name | Sort::Sessions => route.requests_per_second,
            Sort::Latency => mean_first_byte_us(route) as f64,
            Sort::InFlight => route.in_flight as f64,
            Sort::Errors => route.counts.by_class[4] as f64,
        }
    }
}

fn mean_first_byte_us(route: &RouteStatus) -> u64 {
    let answers: u64 = route.counts.first_byte.iter().sum();
    route.counts.first_byte_sum_us.checked_div(answers).unwrap_or(0)
}

fn sort_status(status: &mut CellStatus, look: Look) {
    for cluster in &mut status.clusters {
        cluster.members.sort_by(|left, right| {
            let names = (left.member.0.as_str(), right.member.0.as_str());
            look.order((look.of_member(left), look.of_member(right)), names)
        });
    }
    for router in &mut status.routers {
        router.routes.sort_by(|left, right| {
            look.order((look.of_route(left), look.of_route(right)), (&left.route, &right.route))
        });
    }
}

fn picture(status: &CellStatus, look: Look, paint: Paint) -> String {
    let sort = format!("{:?}", look.sort).to_lowercase().replace("inflight", "in flight");
    let order = if look.is_turned { ", turned round" } else { "" };
    let rate_of_all: f64 = status.routers.iter().map(|router| router.requests_per_second).sum();
    let head = format!(
        "cell {}  {} requests/s  sorted by {sort}{order}\n\n",
        plain(&status.cell),
        rate(rate_of_all)
    );
    [head, routers(status, paint), routes(status, look, paint), members(status, look, paint)].concat()
}

fn routers(status: &CellStatus, paint: Paint) -> String {
    const HEADS: [(&str, Side); 7] = [
        ("ROUTER", Side::Left),
        ("STATE", Side::Left),
        ("REQUESTS/S", Side::Right),
        ("CONNECTIONS", Side::Right),
        ("RETRIED", Side::Right),
        ("FAILED", Side::Right),
        ("REFUSED", Side::Right),
    ];
    let row = |router: &RouterStatus| {
        let state =
            if router.connected { styled("up", Style::Good) } else { styled("not heard", Style::Bad) };
        vec![
            cell(&router.router.0),
            state,
            cell(rate(router.requests_per_second)),
            cell(router.connections.to_string()),
            cell(router.totals.retried.to_string()),
            bad_if_any(router.totals.failed),
            cell(router.totals.refused.to_string()),
        ]
    };
    let rows: Vec<Vec<Cell>> = status.routers.iter().map(row).collect();
    table(paint, 0, &HEADS, &rows) + "\n"
}

fn bad_if_any(count: u64) -> Cell {
    styled(count.to_string(), if count > 0 { Style::Bad } else { Style::Plain })
}

fn routes(status: &CellStatus, look: Look, paint: Paint) -> String {
    const HEADS: [(&str, Side); 10] = [
        ("ROUTE", Side::Left),
        ("ROUTER", Side::Left),
        ("REQUESTS/S", Side::Right),
        ("IN FLIGHT", Side::Right),
        ("2XX", Side::Right),
        ("3XX", Side::Right),
        ("4XX", Side::Right),
        ("5XX", Side::Right),
        ("MEAN", Side::Right),
        ("LEADS TO", Side::Left),
    ];
    let mut all: Vec<(&RouterStatus, &RouteStatus)> = status
        .routers
        .iter()
        .flat_map(|router| router.routes.iter().map(move |route| (router, route)))
        .collect();
    all.sort_by(|(_, left), (_, right)| {
        look.order((look.of_route(left), look.of_route(right)), (&left.route, &right.route))
    });
    let row = |(router, route): &(&RouterStatus, &RouteStatus)| {
        let [_, second, third, fourth, fifth] = route.counts.by_class;
        let levels = route.levels.iter().map(|level| {
            let names: Vec<&str> = level.iter().map(|cluster| cluster.0.as_str()).collect();
            names.join(" + ")
        });
        let place = levels.collect::<Vec<_>>().join(", then ");
        let place =
            [place].into_iter().filter(|place| !place.is_empty()).chain(route.actions.iter().cloned());
        vec![
            cell(&route.route),
            cell(&router.router.0),
            cell(rate(route.requests_per_second)),
            cell(route.in_flight.to_string()),
            cell(second.to_string()),
            cell(third.to_string()),
            cell(fourth.to_string()),
            bad_if_any(fifth),
            cell(latency(mean_first_byte_us(route))),
            cell(one_line(&place.collect::<Vec<_>>().join("; "))),
        ]
    };
    let rows: Vec<Vec<Cell>> = all.iter().map(row).collect();
    table(paint, 0, &HEADS, &rows) + "\n"
}

fn members(status: &CellStatus, look: Look, paint: Paint) -> String {
    const HEADS: [(&str, Side); 11] = [
        ("CLUSTER", Side::Left),
        ("MEMBER", Side::Left),
        ("STATE", Side::Left),
        ("FOR", Side::Right),
        ("REQUESTS/S", Side::Right),
        ("IN FLIGHT", Side::Right),
        ("SESSIONS", Side::Right),
        ("P50", Side::Right),
        ("P99", Side::Right),
        ("FAILED", Side::Right),
        ("REASON", Side::Left),
    ];
    let mut all: Vec<(&str, &MemberStatus)> = status
        .clusters
        .iter()
        .flat_map(|cluster| cluster.members.iter().map(|member| (cluster.cluster.0.as_str(), member)))
        .collect();
    all.sort_by(|(_, left), (_, right)| {
        let names = (left.member.0.as_str(), right.member.0.as_str());
        look.order((look.of_member(left), look.of_member(right)), names)
    });
    let row = |(cluster, member): &(&str, &MemberStatus)| {
        vec![
            cell(*cluster),
            cell(&member.member.0),
            styled(member.state.to_string(), style_of(member.state)),
            cell(duration(status.now_ms, member.since_ms)),
            cell(rate(member.requests_per_second)),
            cell(member.in_flight.to_string()),
            cell(member.sessions.to_string()),
            cell(latency(member.latency_p50_us)),
            cell(latency(member.latency_p99_us)),
            bad_if_any(member.failed),
            cell(one_line(&member.reason)),
        ]
    };
    let rows: Vec<Vec<Cell>> = all.iter().map(row).collect();
    table(paint, 0, &HEADS, &rows)
}

#[cfg(test)]
mod tests;

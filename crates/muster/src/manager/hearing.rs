//! Hears of other cells: one stream to each, from its leading manager, and what comes over it goes to the desk.
//!
//! Promises: another cell has to prove with its authority who it is before it is told the token; what it sends is bounded
//! before it is read, and judged before it is believed; whatever it does, this cell goes on, and so do the others'
//! streams. Not here: what is believed (see `logic::summary::Board`), and what follows from it (see `logic::cell`).

use super::desk::Input;
use crate::clock::Clock;
use crate::identity::{connect, tls};
use crate::link::{read_bounded_frame, write_frame};
use crate::logging::chain;
use logic::cell::{self, Elsewhere};
use logic::enrol::{BridgeToken, to_hex};
use logic::limits::SUMMARY_SILENCE_MAX_MS;
use logic::machine::Machine;
use logic::summary::{Board, BoardInput, BoardOutput, Standing};
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{AbortHandle, JoinSet};
use wire::error_code;
use wire::id::{CellNumber, ClusterName};
use wire::settings::{CellSettings, OtherCell};
use wire::status::{CellStanding, OtherCellStatus, Severity};
use wire::summary::{
    BRIDGE_HELLO_MAX_BYTES, BRIDGE_VERSION, BridgeAnswer, BridgeHello, CellSummary, SUMMARY_MAX_BYTES,
};

/// Messages that wait to be judged. 64: one of each of many cells; who has more to say waits.
const HEARD_MAX: usize = 64;
/// Pause after the first failed attempt; each further one doubles it.
const PAUSE_MIN: Duration = Duration::from_millis(200);
/// Longest pause between attempts. Five seconds: a cell that is back is heard soon, and one that is away costs nothing.
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// Longest silence of a stream.
const SILENCE_MAX: Duration = Duration::from_millis(SUMMARY_SILENCE_MAX_MS);
/// Different reasons for hearing nothing that are told before something is heard. Eight: there are at most five managers.
const TOLD_MAX: usize = 8;

/// What a stream brings.
#[derive(Debug)]
enum Heard {
    /// Who has proven to be that cell.
    Begun { cell: String, number: CellNumber, name: String },
    /// A message of so many bytes; None: it does not parse. The answer says how long to stay away.
    Message {
        number: CellNumber,
        bytes: usize,
        summary: Option<CellSummary>,
        reply: oneshot::Sender<Option<Duration>>,
    },
    /// Nothing is heard, for a reason that is new.
    Failed { cell: String, reason: String },
}

/// Why a stream ended or did not come about.
#[derive(Debug)]
enum Ended {
    Reason(String),
    /// Another manager leads, at this address if it is known.
    Elsewhere(Option<String>),
    /// It is not listened to for so long.
    Quarantined(Duration),
    /// Nobody wants to hear any more.
    Over,
}

struct Follower {
    other: OtherCell,
    number: Option<CellNumber>,
    task: AbortHandle,
    status: OtherCellStatus,
}

struct Hearing {
    board: Board,
    followers: BTreeMap<String, Follower>,
    clock: Clock,
    desk: mpsc::Sender<Input>,
    /// What people are shown.
    told: watch::Sender<Vec<OtherCellStatus>>,
}

/// Hears until it is dropped. Must run within a `LocalSet`.
pub async fn hear(
    mut settings: watch::Receiver<Arc<CellSettings>>,
    told: watch::Sender<Vec<OtherCellStatus>>,
    clock: Clock,
    desk: mpsc::Sender<Input>,
) {
    let (heard_in, mut heard) = mpsc::channel(HEARD_MAX);
    let mut tasks = JoinSet::new();
    let mut hearing = Hearing { board: Board::default(), followers: BTreeMap::new(), clock, desk, told };
    loop {
        let others = settings.borrow_and_update().cells.clone();
        hearing.follow(others, &mut tasks, &heard_in).await;
        let is_over = loop {
            let wake_at = hearing.board.wake_at().map(|at| clock.instant(at));
            let wake = async {
                match wake_at {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                changed = settings.changed() => break changed.is_err(),
                Some(heard) = heard.recv() => hearing.take(heard).await,
                () = wake => drop(hearing.step(BoardInput::Tick).await),
                Some(ended) = tasks.join_next() => {
                    if let Err(error) = ended && !error.is_cancelled() {
                        tracing::error!(%error, "the task that hears another cell has failed");
                    }
                }
            }
        };
        if is_over {
            return;
        }
    }
}

impl Hearing {
    /// Begins to follow cells that are new or changed, and leaves those that are gone. What is known of a cell that is
    /// only reached in another way stays, and grows old as before.
    async fn follow(&mut self, others: Vec<OtherCell>, tasks: &mut JoinSet<()>, heard: &mpsc::Sender<Heard>) {
        let is_named = |name: &String| others.iter().any(|other| other.name == *name);
        let gone: Vec<String> = self.followers.keys().filter(|name| !is_named(name)).cloned().collect();
        for follower in gone.iter().filter_map(|name| self.followers.remove(name)).collect::<Vec<_>>() {
            follower.task.abort();
            self.forget(follower.number);
        }
        for other in others {
            let known = self.followers.get(&other.name);
            if known.is_some_and(|follower| follower.other == other) {
                continue;
            }
            if let Some(follower) = known {
                follower.task.abort();
            }
            let number = known.and_then(|follower| follower.number);
            let status = known.map(|follower| follower.status.clone()).unwrap_or_else(|| {
                let (cell, since_ms) = (other.name.clone(), self.now_ms());
                OtherCellStatus { cell, since_ms, ..OtherCellStatus::default() }
            });
            let task = tasks.spawn_local(follow(other.clone(), heard.clone()));
            self.followers.insert(other.name.clone(), Follower { other, number, task, status });
            // Clusters of it may be new.
            if let Some(cell) = number {
                self.pass_on_all(cell).await;
            }
        }
        self.show();
    }

    async fn pass_on_all(&self, cell: CellNumber) {
        for cluster in self.clusters_of(cell) {
            self.pass_on(cell, &cluster).await;
        }
    }

    fn forget(&mut self, cell: Option<CellNumber>) {
        if let Some(cell) = cell {
            self.board.step(self.clock.now(), BoardInput::Forget { cell });
        }
    }

    fn now_ms(&self) -> u64 {
        self.clock.unix_ms(self.clock.now())
    }

    fn show(&self) {
        let statuses = self.followers.values().map(|follower| follower.status.clone());
        self.told.send_replace(statuses.collect());
    }

    /// Notes how a cell stands now, for people.
    async fn stands(&mut self, cell: CellNumber, standing: Standing) {
        let now_ms = self.now_ms();
        let followers = self.followers.values_mut();
        let Some(follower) = followers.into_iter().find(|follower| follower.number == Some(cell)) else {
            return;
        };
        let status = &mut follower.status;
        let name = status.cell.clone();
        let was = status.standing;
        (status.standing, status.since_ms) = (standing_of(standing), now_ms);
        let news = match standing {
            // A stream that ends is told of with its reason, and so is one that is quarantined.
            Standing::Silent if status.problem.is_none() => {
                let text = format!(
                    "cell {name} is not heard: it says nothing; what it told last counts for a while"
                );
                Some((Severity::Warning, "cell-not-heard", text))
            }
            Standing::Forgotten => {
                let text = format!("cell {name} was not heard for too long: what it told counts no longer");
                Some((Severity::Error, "cell-forgotten", text))
            }
            Standing::Fresh if was == CellStanding::Silent || was == CellStanding::Quarantined => {
                Some((Severity::Info, "cell-heard", format!("cell {name} is heard again")))
            }
            Standing::Fresh | Standing::Silent | Standing::Quarantined => None,
        };
        self.show();
        if let Some((severity, kind, text)) = news {
            self.note(severity, kind, text).await;
        }
    }

    async fn take(&mut self, heard: Heard) {
        match heard {
            Heard::Begun { cell, number, name } => {
                let twin = self
                    .followers
                    .iter()
                    .find(|(other, known)| **other != cell && known.number == Some(number));
                if let Some((twin, _)) = twin {
                    let text = format!("cells {twin} and {cell} of the configuration are the same one");
                    return self.note(Severity::Warning, "cell-not-heard", text).await;
                }
                if let Some(follower) = self.followers.get_mut(&cell) {
                    let other = follower.number.replace(number).filter(|before| *before != number);
                    if other.is_some() {
                        self.forget(other);
                        // What another cell told under this name counts no longer.
                        self.pass_on_all(number).await;
                    }
                    let text = format!("cell {cell}, which calls itself {name}, is heard");
                    self.note(Severity::Info, "cell-heard", text).await;
                }
            }
            Heard::Message { number, bytes, summary, reply } => {
                let until = self.step(BoardInput::Received { from: number, bytes, summary }).await;
                let now_ms = self.now_ms();
                let follower = self.followers.values_mut().find(|follower| follower.number == Some(number));
                let status = follower.map(|follower| &mut follower.status);
                if let Some(status) = status.filter(|status| status.standing == CellStanding::Heard) {
                    (status.heard_ms, status.problem) = (Some(now_ms), None);
                }
                self.show();
                // Its stream may have ended meanwhile.
                let _ = reply.send(until);
            }
            Heard::Failed { cell, reason } => {
                if let Some(follower) = self.followers.get_mut(&cell) {
                    follower.status.problem = Some(reason.clone());
                }
                self.show();
                self.note(Severity::Warning, "cell-not-heard", format!("cell {cell} is not heard: {reason}"))
                    .await;
            }
        }
    }

    /// How long the sender is not to be listened to, if that has just been decided.
    async fn step(&mut self, input: BoardInput) -> Option<Duration> {
        let now = self.clock.now();
        let mut stay_away = None;
        for output in self.board.step(now, input) {
            if let BoardOutput::Stands { cell, standing } = &output {
                self.stands(*cell, *standing).await;
            }
            match output {
                BoardOutput::Changed { cell, cluster } => self.pass_on(cell, &cluster).await,
                BoardOutput::Stands { cell, standing: Standing::Fresh | Standing::Forgotten } => {
                    self.pass_on_all(cell).await;
                }
                // What it told counts until it is forgotten.
                BoardOutput::Stands { cell: _, standing: Standing::Silent | Standing::Quarantined } => {}
                BoardOutput::Quarantined { cell, why, until } => {
                    stay_away = Some(Duration::from_millis(until.since_ms(now)));
                    let name = self.name_of(cell).unwrap_or_default();
                    let code = error_code::CELL_QUARANTINED;
                    let text = format!("{code}: cell {name} is not listened to for a minute: {why}");
                    self.note(Severity::Error, "cell-quarantined", text).await;
                }
                BoardOutput::TooManyCells { cell } => {
                    let name = self.name_of(cell).unwrap_or_default();
                    let text = format!("cell {name} is not heard: there are too many cells");
                    self.note(Severity::Error, "cell-not-heard", text).await;
                }
            }
        }
        stay_away
    }

    fn follower(&self, cell: CellNumber) -> Option<&Follower> {
        self.followers.values().find(|follower| follower.number == Some(cell))
    }

    fn name_of(&self, cell: CellNumber) -> Option<String> {
        self.follower(cell).map(|follower| follower.other.name.clone())
    }

    fn clusters_of(&self, cell: CellNumber) -> Vec<ClusterName> {
        self.follower(cell).map(|follower| follower.other.clusters.clone()).unwrap_or_default()
    }

    /// Says to the desk what is known of a cluster over there.
    async fn pass_on(&self, cell: CellNumber, cluster: &ClusterName) {
        let Some(follower) = self.follower(cell) else { return };
        let place = self.board.places(cluster).find(|(other, _, _)| *other == cell);
        let is_forgotten = || {
            self.board.standings().any(|(other, standing)| other == cell && standing == Standing::Forgotten)
        };
        let known = match place {
            Some((_, Standing::Forgotten, _)) => Elsewhere::Forgotten,
            Some((_, Standing::Fresh | Standing::Silent | Standing::Quarantined, summary)) => {
                Elsewhere::Told(summary.clone())
            }
            None if is_forgotten() => Elsewhere::Forgotten,
            None => Elsewhere::Untold,
        };
        let cluster = follower.other.name_of(cluster);
        // Only fails when the manager ends, and this task with it.
        drop(self.desk.send(Input::Cell(cell::Input::Elsewhere { cluster, known })).await);
    }

    async fn note(&self, severity: Severity, kind: &'static str, text: String) {
        drop(self.desk.send(Input::Note { severity, kind, text }).await);
    }
}

fn standing_of(standing: Standing) -> CellStanding {
    match standing {
        Standing::Fresh => CellStanding::Heard,
        Standing::Silent => CellStanding::Silent,
        Standing::Quarantined => CellStanding::Quarantined,
        Standing::Forgotten => CellStanding::Forgotten,
    }
}

/// Keeps a stream of one cell, for ever.
async fn follow(other: OtherCell, heard: mpsc::Sender<Heard>) {
    let mut told: Vec<String> = Vec::new();
    let mut pause = PAUSE_MIN;
    let mut leader = None;
    let mut attempt = 0;
    loop {
        let is_sent_on = leader.is_some();
        let address =
            leader.take().or_else(|| other.managers.get(attempt % other.managers.len().max(1)).cloned());
        let Some(address) = address else { return };
        if !is_sent_on {
            attempt += 1;
        }
        let mut was_heard = false;
        let reason = match stream(&other, &address, &heard, &mut was_heard).await {
            Ended::Over => return,
            Ended::Elsewhere(Some(address)) if !is_sent_on => {
                leader = Some(address);
                continue;
            }
            Ended::Elsewhere(_) => "no manager leads there".to_owned(),
            Ended::Quarantined(wait) => {
                tokio::time::sleep(wait).await;
                continue;
            }
            Ended::Reason(reason) => reason,
        };
        if was_heard {
            told.clear();
            pause = PAUSE_MIN;
        }
        if !told.contains(&reason) && told.len() < TOLD_MAX {
            told.push(reason.clone());
            if heard.send(Heard::Failed { cell: other.name.clone(), reason }).await.is_err() {
                return;
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// One stream from its beginning to its end.
async fn stream(
    other: &OtherCell,
    address: &str,
    heard: &mpsc::Sender<Heard>,
    was_heard: &mut bool,
) -> Ended {
    let token = match read_token(Path::new(&other.token_file)) {
        Ok(token) => token,
        Err(why) => {
            let code = error_code::BRIDGE_TOKEN_NOT_USABLE;
            return Ended::Reason(format!("{code}: {}: {why}", other.token_file));
        }
    };
    let connected = async {
        let config = tls::bridge_config(token.authority)?;
        connect::connect(address, config).await
    };
    let mut stream = match connected.await {
        Ok(stream) => stream,
        Err(error) => return Ended::Reason(chain(&error)),
    };
    let hello = BridgeHello {
        version: BRIDGE_VERSION,
        muster: env!("CARGO_PKG_VERSION").to_owned(),
        bridge: token.bridge.clone(),
        secret: to_hex(&token.secret),
    };
    let greeting = async {
        write_frame(&mut stream, &hello).await?;
        read_bounded_frame::<BridgeAnswer>(&mut stream, BRIDGE_HELLO_MAX_BYTES).await
    };
    let name = match tokio::time::timeout(SILENCE_MAX, greeting).await {
        Ok(Ok(BridgeAnswer::Welcome { name })) => {
            name.chars().filter(|sign| !sign.is_control()).take(64).collect()
        }
        Ok(Ok(BridgeAnswer::Refused { code, message })) => {
            let is_plain = |sign: &char| !sign.is_control();
            let text: String = format!("{code}: {message}").chars().filter(is_plain).take(400).collect();
            return Ended::Reason(text);
        }
        Ok(Ok(BridgeAnswer::NotLeader { leader })) => return Ended::Elsewhere(leader),
        Ok(Err(error)) => return Ended::Reason(connect::explain(&error)),
        Err(_) => return Ended::Reason(format!("{address} says nothing")),
    };
    let number = token.cell();
    if heard.send(Heard::Begun { cell: other.name.clone(), number, name }).await.is_err() {
        return Ended::Over;
    }
    *was_heard = true;
    receive(&mut stream, number, heard).await
}

/// Reads summaries and has each judged before the next is read.
async fn receive(
    stream: &mut (impl AsyncRead + Unpin),
    number: CellNumber,
    heard: &mpsc::Sender<Heard>,
) -> Ended {
    loop {
        let (bytes, summary) = match tokio::time::timeout(SILENCE_MAX, read_summary(stream)).await {
            Ok(Ok(read)) => read,
            Ok(Err(error)) => return Ended::Reason(connect::explain(&error)),
            Err(_) => return Ended::Reason("it says nothing any more".to_owned()),
        };
        let (reply, judged) = oneshot::channel();
        if heard.send(Heard::Message { number, bytes, summary, reply }).await.is_err() {
            return Ended::Over;
        }
        match judged.await {
            Ok(None) => {}
            Ok(Some(wait)) => return Ended::Quarantined(wait),
            Err(_) => return Ended::Over,
        }
    }
}

/// The length of the next message, and the message if it is short enough and can be read.
async fn read_summary(
    stream: &mut (impl AsyncRead + Unpin),
) -> std::io::Result<(usize, Option<CellSummary>)> {
    let bytes = usize::try_from(stream.read_u32().await?).unwrap_or(usize::MAX);
    if bytes > SUMMARY_MAX_BYTES {
        return Ok((bytes, None));
    }
    let mut body = vec![0; bytes];
    stream.read_exact(&mut body).await?;
    Ok((bytes, serde_json::from_slice(&body).ok()))
}

/// The token in a file that nobody else can read; else why there is none.
fn read_token(path: &Path) -> Result<BridgeToken, String> {
    let found = std::fs::metadata(path).map_err(|error| error.to_string())?;
    if found.permissions().mode() & 0o077 != 0 {
        return Err("others than its owner may read it; `chmod 600` it".to_owned());
    }
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    text.parse().map_err(|why: logic::enrol::NotAToken| why.0.to_owned())
}

#[cfg(test)]
mod tests;

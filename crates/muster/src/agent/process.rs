//! One member's process, seen from the agent: a keeper is started, told what to do and listened to.
//!
//! Promises: each start is answered by `Started` or `StartFailed`, each `Started` by one `Exited`; a new keeper is
//! only started when the last one has ended and so has cleared up. A keeper that was killed is noticed by its pidfd,
//! and what it left behind is killed; a keeper that hangs is killed when its member should have been.

use super::companion::{at, spawn};
use super::keeper::message::{self, LINE_MAX_BYTES, News};
use super::keeper::{cgroup, signal};
use super::members::Surroundings;
use super::placeholders::Values;
use crate::readable::{Lines, Readable};
use logic::agent::Input;
use logic::supervision::StartNumber;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::process::ExitStatusExt;
use std::process::Child;
use std::rc::Rc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio::time::Instant;
use wire::agent::Launch;
use wire::id::MemberId;

/// How long a keeper may take to read an order, to obey a kill, and to clear up after its member's exit. A working
/// one needs milliseconds; 3 s tell a busy machine from a keeper that hangs.
const KEEPER_WAIT: Duration = Duration::from_secs(3);

#[derive(Debug)]
pub enum Command {
    Start { start: StartNumber, clone_id: String, launch: Box<Launch> },
    Stop { start: StartNumber, signal: String },
    Kill { start: StartNumber },
}

/// One start that is wished for.
struct Wish {
    start: StartNumber,
    clone_id: String,
    launch: Box<Launch>,
}

/// Why there is no process; a retry may help.
#[derive(Debug, thiserror::Error)]
enum StartError {
    #[error(transparent)]
    Port(#[from] super::ports::PortError),
    #[error("cannot start a keeper: {0}")]
    Keeper(io::Error),
    #[error("command and environment are longer than {LINE_MAX_BYTES} bytes")]
    TooLong,
    #[error("processes of the last run do not go away")]
    Lingering,
}

/// Obeys until there are no more orders and no process.
pub async fn look_after(id: MemberId, around: Rc<Surroundings>, mut commands: mpsc::Receiver<Command>) {
    let mut next = None;
    loop {
        let wish = match next.take() {
            Some(wish) => wish,
            None => match commands.recv().await {
                Some(Command::Start { start, clone_id, launch }) => Wish { start, clone_id, launch },
                // Meant for a process that is gone already; its exit is on its way.
                Some(Command::Stop { .. } | Command::Kill { .. }) => continue,
                None => return,
            },
        };
        let start = wish.start;
        match Kept::begin(&id, &around, wish).await {
            Ok(kept) => next = kept.run(&mut commands).await,
            Err(error) => {
                let failed = Input::StartFailed { id: id.clone(), start, why: error.to_string() };
                let _ = around.inputs.send(failed).await;
            }
        }
    }
}

/// What the machine has been told of this start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Nothing,
    Started,
    Ended,
}

/// A keeper and what is known of its member.
struct Kept<'a> {
    id: &'a MemberId,
    around: &'a Surroundings,
    start: StartNumber,
    address: SocketAddr,
    keeper: Child,
    keeper_pid: i32,
    pidfd: Readable,
    orders: UnixStream,
    news: Lines,
    told: Told,
    /// When the keeper is killed unless it has ended.
    keeper_kill_at: Option<Instant>,
    cgroup: Option<std::path::PathBuf>,
}

enum Turn {
    News(Option<Vec<u8>>),
    KeeperGone,
    KeeperLate,
    Command(Option<Command>),
    Lingering,
}

impl<'a> Kept<'a> {
    async fn begin(id: &'a MemberId, around: &'a Surroundings, wish: Wish) -> Result<Self, StartError> {
        let port = around.ports.borrow_mut().pick(id, wish.launch.port)?;
        let start = wish.start;
        let address = SocketAddr::new(address_of(&wish.launch), port);
        let plan = plan(id, around, &wish, port);
        let cgroup = plan.cgroup.clone();
        let line = line(&message::Order::Start(Box::new(plan)));
        if line.len() > LINE_MAX_BYTES {
            return Err(StartError::TooLong);
        }
        let (keeper, pidfd, orders, news) = spawn("keeper", None).map_err(StartError::Keeper)?;
        let keeper_pid = keeper.id().cast_signed();
        around.children.add_keeper(keeper_pid);
        let told = Told::Nothing;
        let mut kept = Self {
            id,
            around,
            start,
            address,
            keeper,
            keeper_pid,
            pidfd,
            orders,
            news,
            told,
            keeper_kill_at: None,
            cgroup,
        };
        kept.send(&line).await;
        Ok(kept)
    }

    /// Until the keeper has ended. Returns a start that was asked for meanwhile.
    async fn run(mut self, commands: &mut mpsc::Receiver<Command>) -> Option<Wish> {
        let mut next: Option<(Wish, Instant)> = None;
        let mut has_orders = true;
        let mut has_news = true;
        loop {
            // Only waiting here; `next` and `recv` lose nothing when another branch wins.
            let turn = tokio::select! {
                biased;
                line = self.news.next(), if has_news => Turn::News(line),
                () = self.pidfd.ready() => Turn::KeeperGone,
                () = at(self.keeper_kill_at) => Turn::KeeperLate,
                command = commands.recv(), if has_orders => Turn::Command(command),
                () = at(next.as_ref().map(|(_, until)| *until)) => Turn::Lingering,
            };
            match turn {
                Turn::News(Some(line)) => self.on_news(&line).await,
                Turn::News(None) => has_news = false,
                Turn::KeeperGone => break,
                Turn::KeeperLate => self.kill_keeper(),
                Turn::Command(None) => has_orders = false,
                Turn::Command(Some(Command::Start { start, clone_id, launch })) => {
                    next = Some((Wish { start, clone_id, launch }, Instant::now() + KEEPER_WAIT));
                }
                Turn::Command(Some(Command::Stop { start, signal })) if start == self.start => {
                    self.send(&line(&message::Order::Stop { signal })).await;
                }
                Turn::Command(Some(Command::Kill { start })) if start == self.start => {
                    self.keeper_kill_at = Some(Instant::now() + KEEPER_WAIT);
                    self.send(&line(&message::Order::Kill)).await;
                }
                Turn::Command(Some(Command::Stop { .. } | Command::Kill { .. })) => {}
                Turn::Lingering => self.refuse(next.take().map(|(wish, _)| wish)).await,
            }
        }
        self.end().await;
        next.map(|(wish, _)| wish)
    }

    /// A keeper that does not read is of no use any more.
    async fn send(&mut self, line: &[u8]) {
        // A pipe whose reader is gone is the pidfd's news.
        if tokio::time::timeout(KEEPER_WAIT, self.orders.write_all(line)).await.is_err() {
            self.kill_keeper();
        }
    }

    fn kill_keeper(&mut self) {
        self.keeper_kill_at = None;
        tracing::warn!(member = %self.id, keeper = self.keeper_pid, "its keeper hangs and is killed");
        // It is our child and not reaped, so the number can mean nobody else.
        let _ = self.keeper.kill();
    }

    async fn on_news(&mut self, line: &[u8]) {
        let id = self.id.clone();
        let start = self.start;
        let input = match serde_json::from_slice(line) {
            Ok(News::Started { pid }) => {
                self.told = Told::Started;
                Input::Started { id, start, pid, address: self.address }
            }
            Ok(News::StartFailed { why }) => {
                self.told = Told::Ended;
                Input::StartFailed { id, start, why }
            }
            Ok(News::Exited { status, last_line, dropped_bytes }) => {
                self.told = Told::Ended;
                if dropped_bytes > 0 {
                    tracing::warn!(member = %id, dropped_bytes, "output of this member was dropped");
                }
                Input::Exited { id, start, status, last_line }
            }
            Ok(News::LogTrouble { why }) => Input::LogTrouble { id, start, trouble: why },
            // Only a keeper of another edition could say such a thing; its end will tell the rest.
            Err(error) => return tracing::error!(member = %id, %error, "its keeper is not understood"),
        };
        // Nobody listens only when the agent has ended.
        let _ = self.around.inputs.send(input).await;
    }

    /// Tells that a start is impossible while the keeper cannot clear up.
    async fn refuse(&mut self, wish: Option<Wish>) {
        let Some(wish) = wish else { return };
        let why = StartError::Lingering.to_string();
        let failed = Input::StartFailed { id: self.id.clone(), start: wish.start, why };
        let _ = self.around.inputs.send(failed).await;
    }

    /// The keeper is gone: hear its last news, and do its work if it could not.
    async fn end(mut self) {
        while let Ok(line) = self.news.next_now() {
            self.on_news(&line).await;
        }
        let how = match self.keeper.wait() {
            Ok(status) => status.signal().map(signal::name_of),
            Err(_) => None,
        };
        self.around.children.remove_keeper(self.keeper_pid);
        if self.told == Told::Ended {
            return;
        }
        if let Some(group) = &self.cgroup {
            cgroup::kill(group);
        }
        // One sweep before the news, which is urgent, the rest after it.
        self.around.children.kill_left_over();
        let status = match how {
            Some(name) => format!("was killed, because its keeper was killed by signal {name}"),
            None => "was killed, because its keeper ended".into(),
        };
        let (id, start) = (self.id.clone(), self.start);
        let input = match self.told {
            Told::Nothing => Input::StartFailed { id, start, why: status },
            Told::Started | Told::Ended => Input::Exited { id, start, status, last_line: None },
        };
        let _ = self.around.inputs.send(input).await;
        // What hangs in the kernel is looked for again by the next sweep.
        let _ = self.around.children.clear().await;
        if let Some(group) = &self.cgroup {
            cgroup::remove(group);
        }
    }
}

/// Where a member is reached once it listens.
fn address_of(launch: &Launch) -> IpAddr {
    launch.address.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST))
}

fn plan(id: &MemberId, around: &Surroundings, wish: &Wish, port: u16) -> message::Start {
    let launch = &wish.launch;
    let values = Values { id, clone_id: &wish.clone_id, port, address: address_of(&wish.launch) };
    let own = values.environment().map(|(name, value)| (name.to_owned(), value));
    let configured = launch.environment.iter().map(|(name, value)| (name.clone(), values.fill(value)));
    let name = format!("{}.{}", id.cluster, id.member);
    message::Start {
        command: launch.command.iter().map(|word| values.fill(word)).collect(),
        // What is configured wins.
        environment: own.into_iter().chain(configured).collect(),
        directory: launch.directory.as_deref().map(|path| values.fill(path).into()),
        user: launch.user.clone(),
        cgroup: around.cgroup.as_ref().map(|base| base.join(&name)),
        log: match &launch.log.path {
            Some(path) => values.fill(path).into(),
            None => around.log_directory.join(format!("{name}.log")),
        },
        log_size_max_bytes: launch.log.size_max_bytes,
        log_files_max: launch.log.files_max,
        is_bare: false,
    }
}

fn line(order: &message::Order) -> Vec<u8> {
    let mut line = serde_json::to_vec(order).expect("plain texts and numbers always become JSON");
    line.push(b'\n');
    line
}

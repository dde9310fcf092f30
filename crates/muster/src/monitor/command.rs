//! `clp_httpmon` and `clp_smtpmon`: monitor a service until it fails or somebody stops that; and stop, interrupt, resume.
//!
//! The command that monitors stays in the foreground and ends when the error is confirmed: the pid monitor of the script that
//! started it sees that. Exit status: 0 it was stopped, or what was asked is done; 1 the service has failed, or what was asked
//! could not be done; 2 wrong use; 4 the system failed.
//! Not here: options, and when an error counts (see `logic::monitor::command`).

use super::converse::{Step, Trouble};
use super::registry::{Claim, Registry};
use super::small::{Broken, ORDER_WAIT, Order, Ordered, Orders, Server, Woken};
use super::tell;
use crate::clock::Clock;
use logic::monitor::command::{Act, Failure, Mistake, Options, Rounds, parse};
use logic::monitor::conversation::{Conversation, Trouble as Wrong};
use logic::monitor::http;
use logic::monitor::messages::{Message, Service};
use logic::monitor::smtp::SmtpManner;
use rustix::io::Errno;
use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};
use wire::monitor::{HttpAsk, Target};

/// How a command ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Done,
    Failed,
    WrongUse,
    SystemFailed,
}

/// One use of a command, for its messages.
#[derive(Debug)]
struct Use {
    service: Service,
    identifier: String,
}

impl Use {
    fn tell(&self, message: Message) {
        let text = message.text(self.service, &self.identifier);
        tell::tell(self.service.command(), message.id(), message.severity(self.service), &text);
    }

    /// A failure of the system itself.
    fn system(&self, function: &'static str, error: &io::Error) -> End {
        self.tell(Message::SystemError { function, number: error.raw_os_error().unwrap_or(0) });
        End::SystemFailed
    }
}

/// Does what the words after the command's name ask for.
pub fn run(service: Service, words: &[String]) -> End {
    let (identifier, act) = match parse(service, words) {
        Ok(asked) => asked,
        Err(Mistake::NoIdentifier) => {
            Use { service, identifier: String::new() }.tell(Message::NoIdentifier);
            return End::WrongUse;
        }
        Err(Mistake::BadParameter { identifier, why }) => {
            eprintln!("{}: {why}", service.command());
            Use { service, identifier }.tell(Message::BadParameter);
            return End::WrongUse;
        }
    };
    let asked = Use { service, identifier };
    let Some(registry) = Registry::find() else {
        eprintln!("{}: run it as root, or set MUSTER_RUNTIME_DIR or XDG_RUNTIME_DIR", service.command());
        return asked.system("mkdir", &Errno::ACCESS.into());
    };
    match act {
        Act::Monitor(options) => begin(&asked, &registry, &options),
        Act::Stop { wait_s } => stop(&asked, &registry, Duration::from_secs(wait_s)),
        Act::Pause => order(&asked, &registry, Order::Pause),
        Act::Resume => order(&asked, &registry, Order::Resume),
        Act::Display => display(&asked, &registry),
        Act::Delete => delete(&asked, &registry),
    }
}

// ---- monitoring ----

fn begin(asked: &Use, registry: &Registry, options: &Options) -> End {
    let claim = match registry.claim(&asked.identifier, asked.service.command()) {
        Ok(Some(claim)) => claim,
        Ok(None) => {
            asked.tell(Message::IdentifierUsed);
            return End::Failed;
        }
        Err(error) => return asked.system("open", &error),
    };
    asked.tell(Message::HasStarted);
    let orders = match claim.orders.try_clone() {
        Ok(listener) => Orders::new(listener),
        Err(error) => return asked.system("listen", &error),
    };
    monitor(asked, options, claim, orders)
}

fn monitor(asked: &Use, options: &Options, claim: Claim, mut orders: Orders) -> End {
    asked.tell(Message::WillMonitor);
    let clock = Clock::start();
    let mut rounds = Rounds::new(clock.now(), options);
    let mut server = Server::new(Target { host: options.server.clone(), port: options.port });
    loop {
        let due = rounds.due().map(|due| clock.instant(due).into_std());
        let ordered = match orders.wait(None, due) {
            Woken::Order(ordered) => ordered,
            Woken::Ready | Woken::Late => {
                let began = clock.now();
                let deadline = Instant::now() + Duration::from_secs(options.response_wait_s);
                let conversation = conversation(asked.service, options);
                let result = match server.converse(&mut orders, conversation, deadline) {
                    // A probe that is broken off by an order is begun anew, if it is still due then.
                    Err(Broken::ByOrder(ordered)) => Err(ordered),
                    Err(Broken::Failed(trouble)) => Ok(Err(failure(&trouble))),
                    Ok(()) => Ok(Ok(())),
                };
                match result {
                    Err(ordered) => ordered,
                    Ok(result) => {
                        let Some(messages) = rounds.probed(clock.now(), began, result) else { continue };
                        messages.into_iter().for_each(|message| asked.tell(message));
                        drop(claim);
                        return End::Failed;
                    }
                }
            }
        };
        if obey(asked, &mut rounds, &clock, &ordered) {
            drop(claim);
            ordered.heard();
            return End::Done;
        }
        ordered.heard();
    }
}

/// Whether that is the end.
fn obey(asked: &Use, rounds: &mut Rounds, clock: &Clock, ordered: &Ordered) -> bool {
    match ordered.order {
        Order::Stop => {
            asked.tell(Message::WillStop);
            return true;
        }
        Order::Pause if rounds.pause() => asked.tell(Message::Pauses),
        Order::Resume if rounds.resume(clock.now()) => asked.tell(Message::Resumes),
        Order::Pause | Order::Resume => {}
    }
    false
}

fn conversation(service: Service, options: &Options) -> Conversation {
    let target = Target { host: options.server.clone(), port: options.port };
    match service {
        Service::Http => {
            let ask = HttpAsk {
                is_head: true,
                is_version_11: options.is_version_11,
                path: options.uri.clone(),
                host: None,
                status_min: 0,
                status_max: 0,
                text: None,
                credentials: None,
            };
            Conversation::http(options.wanted(), http::request(&ask, &target, 80, None))
        }
        Service::Smtp => Conversation::smtp(SmtpManner::Noop),
    }
}

fn failure(trouble: &Trouble) -> Failure {
    let late = Errno::TIMEDOUT.raw_os_error();
    let of = |error: &io::Error| error.raw_os_error().unwrap_or(0);
    match trouble {
        Trouble::Lookup { source } => Failure::Address { number: lookup_number(source) },
        Trouble::Silent(Step::Lookup) => Failure::Address { number: late },
        Trouble::Socket { source } => Failure::Socket { number: of(source) },
        Trouble::Connect { source, .. } => Failure::Connect { number: of(source) },
        Trouble::Silent(Step::Connect) => Failure::Connect { number: late },
        Trouble::Send { source } => Failure::Send { number: of(source) },
        Trouble::Silent(Step::Exchange) => Failure::Wait { number: late },
        Trouble::Receive { source } => Failure::Receive { number: of(source) },
        Trouble::Wrong(Wrong::Status { status, .. }) => Failure::Status { status: *status },
        Trouble::Wrong(Wrong::Reply { code, .. }) => Failure::Status { status: *code },
        // It had begun to answer, or took the connection and said nothing: what came is no answer.
        Trouble::Wrong(Wrong::Closed) => Failure::Receive { number: Errno::CONNRESET.raw_os_error() },
        Trouble::Wrong(
            Wrong::OtherProtocol(_)
            | Wrong::TextMissing(_)
            | Wrong::NotOffered(_)
            | Wrong::Said(_)
            | Wrong::TooLong(_),
        )
        | Trouble::Files { .. }
        | Trouble::Name
        | Trouble::Handshake { .. } => Failure::Response,
    }
}

/// The number that `getaddrinfo` gave, which the standard library only keeps as text.
fn lookup_number(error: &io::Error) -> i32 {
    let text = error.to_string();
    let known = [
        ("Name or service not known", -2),
        ("Temporary failure in name resolution", -3),
        ("Non-recoverable failure in name resolution", -4),
        ("No address associated with hostname", -5),
        ("Memory allocation failure", -10),
    ];
    let found = known.iter().find(|(words, _)| text.contains(words)).map(|(_, number)| *number);
    error.raw_os_error().or(found).unwrap_or(-4)
}

// ---- orders ----

/// Why an order did not reach its monitor.
enum NotHeard {
    /// Nobody monitors under the identifier.
    Nobody,
    Late,
    System(&'static str, io::Error),
}

/// Connects to the monitor and says it; comes back once it has heard.
fn say(asked: &Use, registry: &Registry, order: Order, until: Instant) -> Result<UnixStream, NotHeard> {
    let record = registry.look_up(&asked.identifier).map_err(|error| NotHeard::System("open", error))?;
    let is_ours = |command: &str| command == asked.service.command();
    let record = record.filter(|record| record.is_held && is_ours(&record.command));
    let record = record.ok_or(NotHeard::Nobody)?;
    let mut stream = match UnixStream::connect(registry.socket(record.pid)) {
        Ok(stream) => stream,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(NotHeard::Nobody),
        Err(error) => return Err(NotHeard::System("connect", error)),
    };
    stream.write_all(&[order as u8]).map_err(|error| NotHeard::System("send", error))?;
    read_until(&mut stream, until)?;
    Ok(stream)
}

/// Waits for one byte, or the end.
fn read_until(stream: &mut UnixStream, until: Instant) -> Result<usize, NotHeard> {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(NotHeard::Late);
    }
    stream.set_read_timeout(Some(left)).map_err(|error| NotHeard::System("setsockopt", error))?;
    match stream.read(&mut [0]) {
        Ok(length) => Ok(length),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(NotHeard::Late),
        // It ended without reading the rest: that is an end too.
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(0),
        Err(error) => Err(NotHeard::System("recv", error)),
    }
}

fn stop(asked: &Use, registry: &Registry, wait: Duration) -> End {
    let until = Instant::now() + wait;
    let stopped = say(asked, registry, Order::Stop, until).and_then(|mut stream| {
        // Until its process is gone.
        while read_until(&mut stream, until)? > 0 {}
        Ok(())
    });
    match stopped {
        Ok(()) => End::Done,
        Err(NotHeard::Nobody | NotHeard::Late | NotHeard::System(..)) => {
            asked.tell(Message::CannotEnd);
            End::Failed
        }
    }
}

fn order(asked: &Use, registry: &Registry, order: Order) -> End {
    let (command, identifier) = (asked.service.command(), &asked.identifier);
    match say(asked, registry, order, Instant::now() + ORDER_WAIT) {
        Ok(_) => End::Done,
        Err(NotHeard::Nobody) => {
            eprintln!("{command}: nothing is monitored under {identifier}");
            End::Failed
        }
        Err(NotHeard::Late) => {
            eprintln!("{command}: the monitor {identifier} does not answer");
            End::Failed
        }
        Err(NotHeard::System(function, error)) => asked.system(function, &error),
    }
}

fn display(asked: &Use, registry: &Registry) -> End {
    let (command, identifier) = (asked.service.command(), &asked.identifier);
    match registry.look_up(identifier) {
        Ok(Some(record)) if record.is_held => {
            println!("{}", record.pid);
            End::Done
        }
        Ok(Some(record)) => {
            println!("{}", record.pid);
            eprintln!("{command}: that process was killed; the identifier can be used again");
            End::Failed
        }
        Ok(None) => {
            eprintln!("{command}: nothing is monitored under {identifier}");
            End::Failed
        }
        Err(error) => asked.system("open", &error),
    }
}

fn delete(asked: &Use, registry: &Registry) -> End {
    let (command, identifier) = (asked.service.command(), &asked.identifier);
    match registry.forget(identifier) {
        Ok(true) => End::Done,
        Ok(false) => {
            eprintln!("{command}: {identifier} is being monitored; stop it with --stop");
            End::Failed
        }
        Err(error) => asked.system("unlink", &error),
    }
}

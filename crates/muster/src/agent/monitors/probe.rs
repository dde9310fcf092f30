//! Makes one probe of a monitor: a conversation with a server, a question to this machine, or a program.

use super::machine::Looks;
use crate::agent::probe::TlsConfigs;
use crate::monitor::converse::{Encryption, Step, Trouble, converse, look_up};
use crate::ocf;
use crate::role::is_our_want;
use crate::script::{self, Streams, Unfinished};
use crate::tls::{TlsError, base64};
use logic::monitor::conversation::Conversation;
use logic::monitor::http::{self, Wanted};
use logic::monitor::redis::RedisTalk;
use logic::monitor::smtp::SmtpManner;
use logic::monitor::{Answer, dns, plugin};
use rustls::pki_types::ServerName;
use std::io;
use std::process::Command;
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout_at};
use wire::id::MonitorName;
use wire::monitor::{Check, Credentials, DnsAsk, HttpAsk, OcfAgent, Target};
use wire::view::MemberTls;

/// Longest answer of a name server in a datagram that is read.
const DATAGRAM_MAX_BYTES: usize = 4 << 10;

/// What probes share.
#[derive(Debug, Default)]
pub struct Means {
    configs: TlsConfigs,
    looks: Looks,
}

pub async fn ask(
    means: &Means,
    name: &MonitorName,
    check: &Check,
    interval: Duration,
    limit: Duration,
) -> Answer {
    let configs = &means.configs;
    let deadline = Instant::now() + limit;
    // Conversations are boxed, so that a look at this machine, and what waits for it, is not as large as the largest of them.
    let asked = match check {
        Check::Tcp { target } => Box::pin(converse(target, None, Conversation::Tcp, deadline)).await,
        Check::Http { target, tls, ask } => {
            Box::pin(ask_http(configs, target, tls.as_ref(), ask, deadline)).await
        }
        Check::Smtp { target, tls } => {
            let encryption = tls.as_ref().map(|tls| encryption(configs, target, &tls.tls, !tls.is_started));
            let is_started = tls.as_ref().is_some_and(|tls| tls.is_started);
            let manner = if is_started { SmtpManner::StartTls } else { SmtpManner::Greet };
            match encryption.transpose() {
                Ok(encryption) => {
                    let talk = Conversation::smtp(manner);
                    Box::pin(converse(target, encryption.as_ref(), talk, deadline)).await
                }
                Err(trouble) => Err(trouble),
            }
        }
        Check::Redis { target, tls, credentials } => {
            Box::pin(ask_redis(configs, target, tls.as_ref(), credentials.as_ref(), deadline)).await
        }
        Check::Postgres { target } => {
            let talk = Conversation::Postgres(Default::default());
            Box::pin(converse(target, None, talk, deadline)).await
        }
        Check::Dns { target, ask } => Box::pin(ask_name(target, ask, deadline)).await,
        Check::Program { command, manner } => return Box::pin(run(command, *manner, limit)).await,
        Check::Ocf { agent } => return Box::pin(ask_agent(agent, interval, limit)).await,
        Check::Pid { .. } | Check::Disk { .. } | Check::Link { .. } | Check::Address { .. } => {
            return means.looks.look(name, check).await;
        }
    };
    match asked {
        Ok(()) => Answer::good(),
        Err(trouble) => answer(&trouble),
    }
}

/// Whose trouble it is.
fn answer(trouble: &Trouble) -> Answer {
    let why = trouble.to_string();
    let source = match trouble {
        // A name server that does not answer tells nothing about whom it should have named.
        Trouble::Silent(Step::Lookup | Step::Connect | Step::Exchange) => return Answer::Silent,
        Trouble::Socket { .. } | Trouble::Name => return Answer::Unasked { why },
        Trouble::Files { source: TlsError::Unreadable { source, .. } }
        | Trouble::Lookup { source }
        | Trouble::Connect { source, .. }
        | Trouble::Handshake { source }
        | Trouble::Send { source }
        | Trouble::Receive { source } => Some(source),
        Trouble::Files { .. } | Trouble::Wrong(_) => None,
    };
    match source {
        Some(source) if is_our_want(source) => Answer::Unasked { why },
        Some(_) | None => Answer::Bad { why },
    }
}

async fn ask_http(
    configs: &TlsConfigs,
    target: &Target,
    tls: Option<&MemberTls>,
    ask: &HttpAsk,
    deadline: Instant,
) -> Result<(), Trouble> {
    let encryption = tls.map(|tls| encryption(configs, target, tls, true)).transpose()?;
    let authorization = match &ask.credentials {
        Some(credentials) => {
            let password = password(credentials).await?;
            let text = format!("{}:{password}", credentials.user);
            Some(format!("Basic {}", base64(text.as_bytes())))
        }
        None => None,
    };
    let default_port = if tls.is_some() { 443 } else { 80 };
    let request = http::request(ask, target, default_port, authorization.as_deref());
    let wanted =
        Wanted::Status { status_min: ask.status_min, status_max: ask.status_max, text: ask.text.clone() };
    converse(target, encryption.as_ref(), Conversation::http(wanted, request), deadline).await
}

async fn ask_redis(
    configs: &TlsConfigs,
    target: &Target,
    tls: Option<&MemberTls>,
    credentials: Option<&Credentials>,
    deadline: Instant,
) -> Result<(), Trouble> {
    let encryption = tls.map(|tls| encryption(configs, target, tls, true)).transpose()?;
    let credentials = match credentials {
        Some(credentials) => Some((credentials.user.clone(), password(credentials).await?)),
        None => None,
    };
    let talk = Conversation::Redis(RedisTalk::new(credentials));
    converse(target, encryption.as_ref(), talk, deadline).await
}

fn encryption(
    configs: &TlsConfigs,
    target: &Target,
    tls: &MemberTls,
    is_from_start: bool,
) -> Result<Encryption, Trouble> {
    let config = configs.get(tls).map_err(|source| Trouble::Files { source })?;
    let name = if tls.server_name.is_empty() { &target.host } else { &tls.server_name };
    let name = ServerName::try_from(name.clone()).map_err(|_| Trouble::Name)?;
    Ok(Encryption { config, name, is_from_start })
}

/// Read anew for each probe, so that a changed one is used at once.
async fn password(credentials: &Credentials) -> Result<String, Trouble> {
    let path = credentials.password_file.clone();
    let read = tokio::task::spawn_blocking(move || {
        let text = crate::secret_file::read(&path)?;
        Ok(text.trim_end_matches(['\r', '\n']).to_owned())
    });
    let read = read.await.unwrap_or_else(|error| Err(io::Error::other(error)));
    let path = credentials.password_file.clone();
    read.map_err(|source| Trouble::Files { source: TlsError::Unreadable { path, source } })
}

async fn ask_name(target: &Target, ask: &DnsAsk, deadline: Instant) -> Result<(), Trouble> {
    let mut number = [0; 2];
    getrandom::fill(&mut number).map_err(|error| Trouble::Socket { source: io::Error::other(error) })?;
    let question = dns::question(u16::from_be_bytes(number), &ask.name, ask.is_ipv6).ok_or(Trouble::Name)?;
    let address = look_up(target, deadline).await?.remove(0);
    let local = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(local).await.map_err(|source| Trouble::Socket { source })?;
    socket.connect(address).await.map_err(|source| Trouble::Connect { address, source })?;
    socket.send(&question).await.map_err(|source| Trouble::Send { source })?;
    let mut buffer = vec![0; DATAGRAM_MAX_BYTES];
    loop {
        let read = timeout_at(deadline, socket.recv(&mut buffer)).await;
        let length = read.map_err(|_| Trouble::Silent(Step::Exchange))?;
        let length = length.map_err(|source| Trouble::Connect { address, source })?;
        // What answers another question may be an earlier answer, or somebody's guess.
        if let Some(verdict) = dns::judge(&question, &buffer[..length]) {
            return verdict.map_err(Trouble::Wrong);
        }
    }
}

/// An agent that takes too long is killed with its process group, and not what it looks after: that is in groups of its own.
async fn ask_agent(asked: &OcfAgent, interval: Duration, limit: Duration) -> Answer {
    let OcfAgent { name, instance, parameters, environment, level } = asked;
    let agent = match ocf::Agent::new(name, instance, parameters, environment) {
        Ok(agent) => agent,
        Err(why) => return Answer::Unasked { why: format!("it {why}") },
    };
    ocf::make_directory();
    let call = ocf::Call { action: "monitor", timeout: limit, interval, level: *level };
    let mut command = Command::new(&agent.program);
    command.arg(call.action).env_clear().envs(agent.environment(&call)).current_dir("/");
    match script::run_often(command, Streams::Both, limit).await {
        Ok(ended) => logic::ocf::judge(ended.status.code(), &ended.output, &ocf::reason_prefix(instance)),
        Err(Unfinished::Late) => Answer::Silent,
        Err(error @ (Unfinished::Start(_) | Unfinished::Wait(_))) => {
            Answer::Unasked { why: format!("{}: {error}", agent.program.display()) }
        }
    }
}

async fn run(words: &[String], manner: wire::monitor::Manner, limit: Duration) -> Answer {
    let (program, arguments) = words.split_first().expect("the configuration demands a program");
    let mut command = Command::new(program);
    command.args(arguments);
    match script::run_often(command, Streams::Output, limit).await {
        Ok(ended) => plugin::judge(manner, ended.status.code(), &ended.output),
        Err(Unfinished::Late) => Answer::Silent,
        Err(error @ (Unfinished::Start(_) | Unfinished::Wait(_))) => {
            Answer::Unasked { why: format!("{program}: {error}") }
        }
    }
}

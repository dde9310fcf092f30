//! How commands talk to a cell: find its API and token, ask, and follow its events.
//!
//! On the manager's machine they use the console's port with the administrator's token; on a machine that has joined
//! the cell, the managers' port with the machine's certificate, which may look, and a token for everything else. Every
//! wait and every answer has a bound. Not here: what the answers mean.

use super::Exit;
use super::follow::Follow;
use crate::config::{self, Problems};
use crate::console::{ADDRESS_FILE, STALE_HEADER, TOKEN_FILE};
use crate::identity::{self, IdentityError, Place};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode, Uri, header};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use std::future::Future;
use std::io::Read as _;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use wire::error_code::{self, ErrorCode};
use wire::status::{CellStatus, ErrorBody};

/// From nothing to a connection. Longer than a lost packet, shorter than a person's patience.
const CONNECT_MAX_MS: u64 = 5_000;
/// Until a console of this machine is taken for one that is not there.
const LOOK_MAX_MS: u64 = 1_000;
/// From a request to the end of its answer; the console itself gives up on the manager after 30 s.
const ANSWER_MAX_MS: u64 = 40_000;
/// Longest answer: the status of a hundred thousand members.
pub const ANSWER_SIZE_MAX_BYTES: usize = 64 << 20;
/// Longest file with a token or an address.
const SMALL_FILE_MAX_BYTES: u64 = 4 << 10;

/// Which cell a command is for.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Which cell")]
pub struct Target {
    /// The cell's configuration, which names its console and its state directory
    /// [default: ./muster.toml, else /etc/muster/muster.toml]
    #[arg(long, short, value_name = "FILE", conflicts_with = "api")]
    pub config: Option<PathBuf>,
    /// The cell's API, e.g. http://10.0.0.1:29003 [or MUSTER_API]
    #[arg(long, value_name = "URL")]
    pub api: Option<String>,
    /// Where this machine, which has joined the cell, keeps that
    /// [default without a file: /var/lib/muster for root, else ~/.local/state/muster]
    #[arg(long, value_name = "DIR", conflicts_with_all = ["config", "api"])]
    pub state_dir: Option<PathBuf>,
    /// The file with a token [default: MUSTER_TOKEN, or admin-token in the manager's state directory]
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
}

/// Why a cell did not do what was asked. Each says whether it may have done it.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The configuration gives no settings. Nothing was sent.
    #[error("{0}")]
    Config(Problems),
    /// What was typed cannot be meant. Nothing was sent.
    #[error("{0}")]
    WrongUse(String),
    /// Nobody said which token to show. Nothing was sent.
    #[error("{}: an API needs a token: give --token-file FILE or MUSTER_TOKEN", error_code::NOT_LOGGED_IN)]
    NoToken,
    /// There is no token to show. Nothing was sent.
    #[error("{}: the token cannot be read from {}", error_code::NOT_LOGGED_IN, path.display())]
    Token {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// Nothing was sent, unless the connection broke while waiting for the answer: then it is unknown what was done.
    #[error("{}: the cell was not reached at {address}: {problem}", error_code::CELL_NOT_REACHED)]
    NotReached { address: String, problem: String },
    /// The cell refused; it says itself whether a retry is safe.
    #[error("{}: {}", body.code, body.message)]
    Refused { status: StatusCode, body: ErrorBody },
    /// The answer is not one of Muster's; it is unknown what was done.
    #[error("the answer of {address} is not one of Muster's API: {problem}")]
    Garbled { address: String, problem: String },
    /// Something else answers at that address. The cell has heard nothing.
    #[error("what answers at {address} is not Muster's API (is that the console's address?): {problem}")]
    Stranger { address: String, problem: String },
    /// This machine's certificate cannot be used, or what answers is no manager of its cell. Nothing was sent.
    #[error("the cell was not reached by the certificate of this machine")]
    Identity {
        #[source]
        source: IdentityError,
    },
    /// The system gave no runtime or no clean ending. Nothing was sent.
    #[error("this command cannot run")]
    System {
        #[source]
        source: std::io::Error,
    },
}

impl ClientError {
    pub fn exit(&self) -> Exit {
        match self {
            ClientError::Config(_)
            | ClientError::WrongUse(_)
            | ClientError::NoToken
            | ClientError::Token { .. } => Exit::WrongUse,
            ClientError::NotReached { .. } | ClientError::Stranger { .. } => Exit::CellNotReached,
            ClientError::Identity { source } => match source {
                IdentityError::NotReached { .. } | IdentityError::OtherCell { .. } => Exit::CellNotReached,
                IdentityError::None { .. }
                | IdentityError::NoAuthority { .. }
                | IdentityError::InACell { .. }
                | IdentityError::Files { .. }
                | IdentityError::Meaningless { .. }
                | IdentityError::Write { .. }
                | IdentityError::Make { .. }
                | IdentityError::Refused { .. } => Exit::WrongUse,
            },
            // The cell is there; what is wrong is the token that it was shown.
            ClientError::Refused { status, .. } if *status == StatusCode::UNAUTHORIZED => Exit::WrongUse,
            ClientError::Refused { body, .. } if body.code == error_code::ROLE_NOT_ENOUGH.0 => Exit::WrongUse,
            ClientError::Refused { body, .. } if body.code == error_code::MANAGER_UNAVAILABLE.0 => {
                Exit::CellNotReached
            }
            // Nothing was done, for want of a disk or a server.
            ClientError::Refused { body, .. }
                if [error_code::STORE_WRITE_FAILED.0, error_code::STORE_NOT_REACHED.0]
                    .contains(&body.code.as_str()) =>
            {
                Exit::No
            }
            ClientError::Refused { status, .. } if status.is_server_error() => Exit::OurFault,
            ClientError::Refused { .. } => Exit::No,
            ClientError::Garbled { .. } | ClientError::System { .. } => Exit::OurFault,
        }
    }

    /// The error as `--json` shows it.
    pub fn body(&self) -> ErrorBody {
        let code = match self {
            ClientError::Config(problems) => problems.list.first().map_or("", |first| first.code.0),
            ClientError::Refused { body, .. } => return body.clone(),
            ClientError::Token { .. } | ClientError::NoToken => error_code::NOT_LOGGED_IN.0,
            ClientError::NotReached { .. } => error_code::CELL_NOT_REACHED.0,
            ClientError::Identity { source } => source.code().0,
            ClientError::WrongUse(_)
            | ClientError::Garbled { .. }
            | ClientError::Stranger { .. }
            | ClientError::System { .. } => "",
        };
        let retry = matches!(self, ClientError::NotReached { .. });
        ErrorBody { code: code.to_owned(), message: chain(self), retry }
    }
}

/// An error with everything that led to it, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text.push_str(&format!(": {inner}"));
        source = inner.source();
    }
    text
}

/// Says why a command failed, and ends it.
pub fn fail(error: &ClientError, json: bool) -> Exit {
    if json {
        let text = serde_json::to_string(&error.body()).expect("an error body has only names as keys");
        super::print(format!("{text}\n").as_bytes());
    } else {
        eprintln!("{}", super::table::plain(&chain(error)));
        if let ClientError::NotReached { .. } = error {
            eprintln!("Is the cell running? `muster run` starts it; --config or --api say where it is.");
        }
    }
    error.exit()
}

/// Runs what a command has to wait for.
pub fn run<T>(work: impl Future<Output = Result<T, ClientError>>) -> Result<T, ClientError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|source| ClientError::System { source })?;
    tokio::task::LocalSet::new().block_on(&runtime, work)
}

/// Whether anything listens there, which on this machine is known at once.
fn answers(console: SocketAddr) -> bool {
    std::net::TcpStream::connect_timeout(&reachable(console), Duration::from_millis(LOOK_MAX_MS)).is_ok()
}

/// How the API is reached.
#[derive(Debug)]
enum Way {
    /// The console's port.
    Console,
    /// The managers' port, as the node that this machine is.
    Node(Place),
}

/// A cell's API and the right to use it.
#[derive(Debug)]
pub struct Api {
    way: Way,
    /// Host and port, as in a URL; of a node's way, what people are told.
    authority: String,
    /// None: the machine's certificate is all that is shown.
    token: Option<String>,
}

impl Api {
    /// Finds the API of the cell that is meant.
    pub fn find(target: &Target) -> Result<Self, ClientError> {
        let named = target.api.clone().or_else(|| from_environment("MUSTER_API"));
        let token = match &target.token_file {
            Some(path) => Some(read_small(path).map_err(|source| token_error(path, source))?),
            None => from_environment("MUSTER_TOKEN"),
        };
        if let Some(state_dir) = &target.state_dir {
            return Self::of_node(state_dir, token);
        }
        // A file that is named outweighs the environment.
        if let (Some(url), None) = (named, &target.config) {
            let token = token.ok_or(ClientError::NoToken)?;
            return Ok(Self { way: Way::Console, authority: authority_of(&url)?, token: Some(token) });
        }
        let path = target.config.clone().unwrap_or_else(config::default_path);
        if target.config.is_none()
            && !path.exists()
            && let Some(state_dir) = config::default_state_dir().map(PathBuf::from)
            && Place::of(&state_dir).membership().is_some()
        {
            return Self::of_node(&state_dir, token);
        }
        let (settings, _) = config::load(&path).map_err(ClientError::Config)?;
        let state_dir = PathBuf::from(&settings.state_dir);
        // The console wrote where it really listens, unless it runs on another machine.
        let written = read_small(&state_dir.join(ADDRESS_FILE)).ok().and_then(|text| text.parse().ok());
        // Where a manager was once, its address is left.
        if !written.is_some_and(answers) && Place::of(&state_dir).membership().is_some() {
            return Self::of_node(&state_dir, token);
        }
        let authority = reachable(written.unwrap_or(settings.console.listen)).to_string();
        let token = match token {
            Some(token) => token,
            None => token_of(&state_dir.join(TOKEN_FILE), &authority)?,
        };
        Ok(Self { way: Way::Console, authority, token: Some(token) })
    }

    /// The same for a call that needs no token: it proves by itself who calls.
    pub fn find_open(target: &Target) -> Result<Self, ClientError> {
        let named = target.api.clone().or_else(|| from_environment("MUSTER_API"));
        match (named, &target.config, &target.state_dir) {
            (Some(url), None, None) => {
                Ok(Self { way: Way::Console, authority: authority_of(&url)?, token: None })
            }
            (_, _, _) => Ok(Self { token: None, ..Self::find(target)? }),
        }
    }

    fn of_node(state_dir: &Path, token: Option<String>) -> Result<Self, ClientError> {
        let place = Place::of(state_dir);
        let membership = place.membership().ok_or_else(|| ClientError::Identity {
            source: IdentityError::None { directory: place.path().to_path_buf() },
        })?;
        let authority = membership.managers.join(", ");
        Ok(Self { way: Way::Node(place), authority, token })
    }

    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.call((Method::GET, false), path, String::new()).await
    }

    /// The cell as it is, or as a manager knew it last: then `stale_since_ms` says when.
    pub async fn status(&self) -> Result<CellStatus, ClientError> {
        self.call((Method::GET, true), "/api/v1/status", String::new()).await
    }

    pub async fn post<T: DeserializeOwned>(&self, path: &str, body: String) -> Result<T, ClientError> {
        self.call((Method::POST, false), path, body).await
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: (Method, bool),
        path: &str,
        body: String,
    ) -> Result<T, ClientError> {
        let calling = async {
            let answer = self.send(method, path, body).await?;
            let status = answer.status();
            let bytes = self.read(answer.into_body()).await?;
            self.understand(status, &bytes)
        };
        tokio::time::timeout(Duration::from_millis(ANSWER_MAX_MS), calling)
            .await
            .unwrap_or_else(|_| Err(self.not_reached("no answer came in time")))
    }

    /// Follows the cell: statuses and events as they come. `after` is the last event already seen.
    pub async fn follow(&self, after: Option<u64>) -> Result<Follow, ClientError> {
        let after = after.map_or(String::new(), |after| format!("?after={after}"));
        let path = format!("/api/v1/stream{after}");
        let answering = self.send((Method::GET, false), &path, String::new());
        let answer = tokio::time::timeout(Duration::from_millis(ANSWER_MAX_MS), answering)
            .await
            .unwrap_or_else(|_| Err(self.not_reached("no answer came in time")))?;
        if answer.status() != StatusCode::OK {
            let status = answer.status();
            let bytes = self.read(answer.into_body()).await?;
            return Err(self.refusal(status, &bytes));
        }
        Ok(Follow::new(answer.into_body(), self.authority.clone()))
    }

    async fn send(
        &self,
        (method, takes_stale): (Method, bool),
        path: &str,
        body: String,
    ) -> Result<Response<Incoming>, ClientError> {
        let stream = self.connect().await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| self.not_reached(error))?;
        // Ends with the answer's body, whose reader tells of any error; the runtime ends with the command.
        tokio::task::spawn_local(async move { drop(connection.await) });
        let host = match self.way {
            Way::Console => self.authority.as_str(),
            Way::Node(_) => identity::api::HOST,
        };
        let mut request = Request::builder().method(method).uri(path).header(header::HOST, host);
        if takes_stale {
            request = request.header(STALE_HEADER, "yes");
        }
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| ClientError::WrongUse(format!("this cannot be asked for: {error}")))?;
        sender.send_request(request).await.map_err(|error| self.not_reached(error))
    }

    async fn connect(&self) -> Result<Box<dyn Stream>, ClientError> {
        match &self.way {
            Way::Console => {
                let connecting = TcpStream::connect(&self.authority);
                let stream = tokio::time::timeout(Duration::from_millis(CONNECT_MAX_MS), connecting)
                    .await
                    .map_err(|_| self.not_reached("no connection came about in time"))?
                    .map_err(|error| self.not_reached(error))?;
                Ok(Box::new(stream))
            }
            Way::Node(place) => {
                let connected = identity::api::connect_to_any(place).await;
                Ok(Box::new(connected.map_err(|source| match source {
                    IdentityError::NotReached { address, why } => {
                        ClientError::NotReached { address, problem: why }
                    }
                    source => ClientError::Identity { source },
                })?))
            }
        }
    }

    async fn read(&self, body: Incoming) -> Result<Bytes, ClientError> {
        match Limited::new(body, ANSWER_SIZE_MAX_BYTES).collect().await {
            Ok(whole) => Ok(whole.to_bytes()),
            Err(error) if error.is::<LengthLimitError>() => Err(self.garbled("it is too long")),
            Err(error) => Err(self.not_reached(error)),
        }
    }

    fn understand<T: DeserializeOwned>(&self, status: StatusCode, bytes: &[u8]) -> Result<T, ClientError> {
        if !status.is_success() {
            return Err(self.refusal(status, bytes));
        }
        serde_json::from_slice(bytes).map_err(|error| self.garbled(error))
    }

    fn refusal(&self, status: StatusCode, bytes: &[u8]) -> ClientError {
        match serde_json::from_slice::<ErrorBody>(bytes) {
            Ok(body) => ClientError::Refused { status, body },
            // Muster's refusals are JSON, whatever is wrong with them.
            Err(error) if error.is_syntax() => ClientError::Stranger {
                address: self.authority.clone(),
                problem: format!("status {status}, {error}"),
            },
            Err(error) => self.garbled(format!("status {status}, {error}")),
        }
    }

    fn not_reached(&self, problem: impl std::fmt::Display) -> ClientError {
        ClientError::NotReached { address: self.authority.clone(), problem: problem.to_string() }
    }

    fn garbled(&self, problem: impl std::fmt::Display) -> ClientError {
        ClientError::Garbled { address: self.authority.clone(), problem: problem.to_string() }
    }
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

fn from_environment(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.trim().is_empty()).map(|value| value.trim().to_owned())
}

fn authority_of(url: &str) -> Result<String, ClientError> {
    let wrong =
        |why: &str| ClientError::WrongUse(format!("`{url}` is no API: {why}, e.g. http://10.0.0.1:29003"));
    let uri: Uri = url.parse().map_err(|error| wrong(&format!("{error}")))?;
    if uri.scheme_str() != Some("http") {
        return Err(wrong("it must begin with http://"));
    }
    if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
        return Err(wrong("it must be host and port alone"));
    }
    let authority = uri.authority().ok_or_else(|| wrong("it must name a host"))?;
    if authority.as_str().contains('@') {
        return Err(wrong("it must not name a user"));
    }
    let port = authority.port_u16().unwrap_or(80);
    Ok(format!("{}:{port}", authority.host()))
}

/// An address that stands for all of this machine is reached by its loopback.
fn reachable(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => ([127, 0, 0, 1], address.port()).into(),
        IpAddr::V6(ip) if ip.is_unspecified() => (std::net::Ipv6Addr::LOCALHOST, address.port()).into(),
        IpAddr::V4(_) | IpAddr::V6(_) => address,
    }
}

fn read_small(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    std::fs::File::open(path)?.take(SMALL_FILE_MAX_BYTES).read_to_string(&mut text)?;
    Ok(text.trim().to_owned())
}

/// A state directory without a token is one in which no manager has started.
fn token_of(path: &Path, authority: &str) -> Result<String, ClientError> {
    read_small(path).map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound => ClientError::NotReached {
            address: authority.to_owned(),
            problem: format!("no manager has started here, for there is no {}", path.display()),
        },
        _ => token_error(path, source),
    })
}

fn token_error(path: &Path, source: std::io::Error) -> ClientError {
    ClientError::Token { path: path.to_owned(), source }
}

/// A value for a query, percent-encoded.
pub fn encode(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
        encoded
    })
}

/// The code of a refusal, to act on.
pub fn is_code(error: &ClientError, code: ErrorCode) -> bool {
    matches!(error, ClientError::Refused { body, .. } if body.code == code.0)
}

#[cfg(test)]
mod tests;

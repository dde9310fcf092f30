//! One connection to an etcd server: gRPC over HTTP/2, calls and one watch.
//!
//! Promise: an error tells whether the server can have seen the call (`Failed`).

use super::message::{Message, WatchAnswer};
use crate::Cause;
use crate::remote::{CALL_TIME_MAX, CONNECT_TIME_MAX};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use h2::client::{ResponseFuture, SendRequest};
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Request};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

/// Longest answer. 256 MiB: what etcd keeps in all by default is 2 GiB, and a store of ours is a small part of that.
const ANSWER_SIZE_MAX_BYTES: usize = 256 << 20;
/// What a server may send ahead on one stream, and on all of a connection.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 8 << 20;
/// Compression flag and length before each message.
const PREFIX_SIZE_BYTES: usize = 5;

/// The status codes of gRPC that mean something to us.
pub const INVALID_ARGUMENT: u32 = 3;
pub const PERMISSION_DENIED: u32 = 7;
pub const RESOURCE_EXHAUSTED: u32 = 8;
pub const FAILED_PRECONDITION: u32 = 9;
pub const OUT_OF_RANGE: u32 = 11;
const UNAVAILABLE: u32 = 14;
pub const UNAUTHENTICATED: u32 = 16;

/// Why a call has no answer.
#[derive(Debug)]
pub enum Failed {
    /// The server has not seen it.
    NotSent(Cause),
    /// Nobody knows what the server did.
    Lost(Cause),
    /// The server's word. Whether it did something depends on the code.
    Status { code: u32, text: String },
}

/// A server's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    pub host: String,
    pub port: u16,
}

/// For calls; all clones use the same connection.
#[derive(Clone)]
pub struct Channel {
    requests: SendRequest<Bytes>,
    origin: String,
    token: Option<String>,
}

/// Moves the bytes of a connection; the connection ends with it.
pub struct Mover(JoinHandle<()>);

impl Drop for Mover {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Channel {
    pub async fn connect(
        endpoint: &Endpoint,
        tls: Option<&Arc<ClientConfig>>,
    ) -> Result<(Self, Mover), Cause> {
        let connecting = connect(endpoint, tls);
        let connected = tokio::time::timeout(CONNECT_TIME_MAX, connecting).await;
        connected
            .map_err(|_| Cause::from(format!("no connection within {} s", CONNECT_TIME_MAX.as_secs())))?
    }

    pub fn set_token(&mut self, token: String) {
        self.token = Some(token);
    }

    /// One request, one answer.
    pub async fn call(&self, method: &str, message: &Message, limit: Duration) -> Result<Bytes, Failed> {
        let called = tokio::time::timeout(limit, self.call_patiently(method, message)).await;
        called.map_err(|_| Failed::Lost(format!("no answer within {} s", limit.as_secs()).into()))?
    }

    async fn call_patiently(&self, method: &str, message: &Message) -> Result<Bytes, Failed> {
        let (answer, _) = self.send(method, message, true).await?;
        let mut body = body(answer).await?;
        let mut bytes = BytesMut::new();
        while let Some(piece) = body.data().await {
            let piece = piece.map_err(lost)?;
            release(&mut body, piece.len());
            bytes.extend_from_slice(&piece);
            if bytes.len() > ANSWER_SIZE_MAX_BYTES {
                return Err(Failed::Lost(format!("it has more than {ANSWER_SIZE_MAX_BYTES} bytes").into()));
            }
        }
        let trailers = body.trailers().await.map_err(lost)?;
        status(trailers.as_ref().unwrap_or(&HeaderMap::new()))?;
        match take_message(&mut bytes).map_err(Failed::Lost)? {
            Some(message) => Ok(message),
            None => Err(Failed::Lost("the answer is cut off".into())),
        }
    }

    /// Opens a watch; it tells of what happens after its first answer.
    pub async fn watch(&self, message: &Message) -> Result<WatchStream, Failed> {
        let opening = async {
            let (answer, sender) = self.send("/etcdserverpb.Watch/Watch", message, false).await?;
            let body = body(answer).await?;
            let mut watch = WatchStream { body, bytes: BytesMut::new(), _sender: sender };
            let first = watch.next().await?;
            if !first.is_created || first.is_cancelled {
                // The reason has the status in words.
                let is_ours = ["InvalidArgument", "Unauthenticated", "permission denied"];
                let is_ours = is_ours.iter().any(|words| first.reason.contains(words));
                let code = if is_ours { PERMISSION_DENIED } else { UNAVAILABLE };
                return Err(Failed::Status { code, text: first.reason });
            }
            Ok(watch)
        };
        let opened = tokio::time::timeout(CALL_TIME_MAX, opening).await;
        opened.map_err(|_| Failed::Lost(format!("no watch within {} s", CALL_TIME_MAX.as_secs()).into()))?
    }

    async fn send(
        &self,
        method: &str,
        message: &Message,
        is_last: bool,
    ) -> Result<(ResponseFuture, SendStream<Bytes>), Failed> {
        let request = Request::post(format!("{}{method}", self.origin));
        let request = request.header("content-type", "application/grpc").header("te", "trailers");
        // A server that has lost its leader shall say so instead of keeping us waiting.
        let request = request.header("hasleader", "true");
        let request = match &self.token {
            Some(token) => request.header("token", token),
            None => request,
        };
        let request = request.body(()).map_err(|error| Failed::NotSent(Box::new(error)))?;
        let not_sent = |error: h2::Error| Failed::NotSent(Box::new(error));
        let mut requests = self.requests.clone().ready().await.map_err(not_sent)?;
        let (answer, mut sender) = requests.send_request(request, false).map_err(not_sent)?;
        let mut bytes = BytesMut::with_capacity(PREFIX_SIZE_BYTES + message.0.len());
        bytes.put_u8(0);
        bytes.put_u32(message.0.len() as u32);
        bytes.put_slice(&message.0);
        sender.send_data(bytes.freeze(), is_last).map_err(lost)?;
        Ok((answer, sender))
    }
}

/// What a watch tells.
pub struct WatchStream {
    body: RecvStream,
    bytes: BytesMut,
    /// The server ends the watch when our side of the stream ends.
    _sender: SendStream<Bytes>,
}

impl WatchStream {
    /// Safe to cancel: bytes are kept.
    pub async fn next(&mut self) -> Result<WatchAnswer, Failed> {
        loop {
            if let Some(message) = take_message(&mut self.bytes).map_err(Failed::Lost)? {
                return WatchAnswer::read(&message).map_err(|error| Failed::Lost(Box::new(error)));
            }
            let Some(piece) = self.body.data().await else {
                let trailers = self.body.trailers().await.map_err(lost)?;
                status(trailers.as_ref().unwrap_or(&HeaderMap::new()))?;
                return Err(Failed::Lost("the server ended the watch".into()));
            };
            let piece = piece.map_err(lost)?;
            release(&mut self.body, piece.len());
            self.bytes.extend_from_slice(&piece);
        }
    }
}

async fn connect(endpoint: &Endpoint, tls: Option<&Arc<ClientConfig>>) -> Result<(Channel, Mover), Cause> {
    let stream = TcpStream::connect((endpoint.host.as_str(), endpoint.port)).await?;
    stream.set_nodelay(true)?;
    let Some(tls) = tls else { return handshake(stream, endpoint, "http").await };
    let mut config = ClientConfig::clone(tls);
    config.alpn_protocols = vec![b"h2".to_vec()];
    let name = ServerName::try_from(endpoint.host.clone())?;
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    handshake(stream, endpoint, "https").await
}

async fn handshake(
    stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
    endpoint: &Endpoint,
    scheme: &str,
) -> Result<(Channel, Mover), Cause> {
    let mut builder = h2::client::Builder::new();
    builder.initial_window_size(STREAM_WINDOW_BYTES);
    builder.initial_connection_window_size(CONNECTION_WINDOW_BYTES).enable_push(false);
    let (requests, connection) = builder.handshake(stream).await?;
    // Its end shows in every call.
    let mover = tokio::task::spawn_local(async move { drop(connection.await) });
    let host = match endpoint.host.contains(':') {
        true => format!("[{}]", endpoint.host),
        false => endpoint.host.clone(),
    };
    let origin = format!("{scheme}://{host}:{}", endpoint.port);
    Ok((Channel { requests, origin, token: None }, Mover(mover)))
}

fn lost(error: h2::Error) -> Failed {
    match error.reason() {
        // The one reason with which a server promises that it has not looked at the request.
        Some(Reason::REFUSED_STREAM) => Failed::NotSent(Box::new(error)),
        _ => Failed::Lost(Box::new(error)),
    }
}

/// Lets the server send as much again. An error is that of the connection and shows at the next read.
fn release(body: &mut RecvStream, count: usize) {
    drop(body.flow_control().release_capacity(count));
}

async fn body(answer: ResponseFuture) -> Result<RecvStream, Failed> {
    let answer = answer.await.map_err(lost)?;
    if answer.status() != http::StatusCode::OK {
        return Err(Failed::Lost(format!("the server answered with status {}", answer.status()).into()));
    }
    // Where there is no message the status comes with the head.
    if answer.headers().contains_key("grpc-status") {
        status(answer.headers())?;
    }
    Ok(answer.into_body())
}

fn status(headers: &HeaderMap) -> Result<(), Failed> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    match text("grpc-status").map(str::parse) {
        Some(Ok(0)) => Ok(()),
        Some(Ok(code)) => {
            Err(Failed::Status { code, text: text("grpc-message").unwrap_or_default().to_owned() })
        }
        Some(Err(_)) | None => Err(Failed::Lost("the answer ended without a status".into())),
    }
}

fn take_message(bytes: &mut BytesMut) -> Result<Option<Bytes>, Cause> {
    if bytes.len() < PREFIX_SIZE_BYTES {
        return Ok(None);
    }
    let length = u32::from_be_bytes([bytes[1], bytes[2], bytes[3], bytes[4]]) as usize;
    if bytes[0] != 0 || length > ANSWER_SIZE_MAX_BYTES {
        return Err("the answer is compressed or too long".into());
    }
    if bytes.len() < PREFIX_SIZE_BYTES + length {
        return Ok(None);
    }
    bytes.advance(PREFIX_SIZE_BYTES);
    Ok(Some(bytes.split_to(length).freeze()))
}

//! One request on a member's HTTP/2 connection, as an HTTP/1.1 connection: takes the request, gives the answer.
//!
//! Dropped before its answer is over, it tells the member that nobody wants it any more.

use super::member_link::Link;
use super::sink::{MemberOutlet, Sink, header_map};
use super::source::{Form, Source, write_header, write_headers};
use super::{broken, send_parts};
use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{Reason, RecvStream};
use http::header::{CONTENT_LENGTH, HOST, HeaderValue, TE};
use http::uri::{Authority, PathAndQuery, Scheme, Uri};
use http::{Method, Request, Response};
use logic::http::HEADERS_MAX;
use logic::http::body::Framing;
use std::borrow::Cow;
use std::fmt::Write;
use std::future::Future;
use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use tokio::io::ReadBuf;

#[derive(Debug)]
pub struct MemberStream {
    sender: SendRequest<Bytes>,
    link: Rc<Link>,
    ask: Ask,
    reply: Reply,
    is_head: bool,
    was_refused: bool,
    /// When it began: microseconds of the thread's clock.
    since_us: u64,
}

#[derive(Debug)]
enum Ask {
    Unsent,
    Body(Sink<MemberOutlet>),
    Over,
}

#[derive(Debug)]
enum Reply {
    Unasked,
    Head(ResponseFuture),
    Body(Source<RecvStream>),
}

impl MemberStream {
    /// Counts as one of the link's until it is dropped.
    pub fn new(link: &Rc<Link>, sender: SendRequest<Bytes>, now_us: u64) -> Self {
        link.begin();
        Self {
            sender,
            link: link.clone(),
            ask: Ask::Unsent,
            reply: Reply::Unasked,
            is_head: false,
            was_refused: false,
            since_us: now_us,
        }
    }

    /// Whether the member has said that it did not look at the request, so that it may go elsewhere.
    pub fn was_refused(&self) -> bool {
        self.was_refused
    }

    /// Takes as much as the member's windows allow. An error of kind WouldBlock: nothing.
    pub fn try_send(&mut self, first: &[u8], second: &[u8]) -> io::Result<usize> {
        send_parts(first, second, |bytes| self.send_part(bytes))
    }

    fn send_part(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.ask {
            Ask::Unsent => self.send_head(bytes),
            Ask::Body(sink) => {
                let sent = sink.send(bytes)?;
                if sink.framing().is_done() {
                    self.ask = Ask::Over;
                }
                Ok(sent)
            }
            Ask::Over => Err(ErrorKind::InvalidData.into()),
        }
    }

    /// The head is our own and whole.
    fn send_head(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut space = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut parsed = httparse::Request::new(&mut space);
        let invalid = |error| io::Error::new(ErrorKind::InvalidData, error);
        let httparse::Status::Complete(length) = parsed.parse(bytes).map_err(invalid)? else {
            return Err(ErrorKind::InvalidData.into());
        };
        let head = Bytes::copy_from_slice(&bytes[..length]);
        let share = |part: &[u8]| {
            let start = part.as_ptr() as usize - bytes.as_ptr() as usize;
            head.slice(start..start + part.len())
        };
        let mut headers = header_map(parsed.headers, share)?;
        let host = headers.remove(HOST).unwrap_or(HeaderValue::from_static(""));
        // Some gRPC servers insist on it, and trailers are passed on.
        headers.insert(TE, HeaderValue::from_static("trailers"));
        let method = parsed.method.unwrap_or_default();
        self.is_head = method == "HEAD";
        let framing = framing(parsed.headers);
        let mut request = Request::new(());
        *request.method_mut() = Method::from_bytes(method.as_bytes())
            .map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
        *request.uri_mut() = uri(self.link.scheme(), host.as_bytes(), parsed.path.unwrap_or_default())?;
        *request.headers_mut() = headers;
        let (response, stream) =
            self.sender.send_request(request, framing.is_done()).map_err(|error| self.broken(error))?;
        self.reply = Reply::Head(response);
        self.ask = if framing.is_done() {
            Ask::Over
        } else {
            Ask::Body(Sink::new(MemberOutlet::new(stream), framing))
        };
        Ok(length)
    }

    /// Notes whether the member can have seen the request.
    fn broken(&mut self, error: h2::Error) -> io::Error {
        let is_unseen =
            error.is_go_away() || (error.is_reset() && error.reason() == Some(Reason::REFUSED_STREAM));
        self.was_refused |= is_unseen && error.is_remote();
        broken(error)
    }

    pub fn poll_sendable(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.ask {
            Ask::Body(sink) => sink.poll_room(context),
            Ask::Unsent | Ask::Over => Poll::Ready(Ok(())),
        }
    }

    pub fn poll_read(&mut self, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if let Reply::Head(response) = &mut self.reply {
            if let Poll::Ready(Some(Ok(interim))) = response.poll_informational(context) {
                let mut head = Vec::new();
                write_head(&interim, &mut head);
                head.extend_from_slice(b"\r\n");
                if head.len() > buffer.remaining() {
                    return Poll::Ready(Err(ErrorKind::InvalidData.into()));
                }
                buffer.put_slice(&head);
                return Poll::Ready(Ok(()));
            }
            let response = match ready!(Pin::new(response).poll(context)) {
                Ok(response) => response,
                Err(error) => return Poll::Ready(Err(self.broken(error))),
            };
            self.reply = Reply::Body(source(response, self.is_head));
        }
        match &mut self.reply {
            Reply::Body(source) => source.poll_read(context, buffer),
            Reply::Unasked | Reply::Head(_) => Poll::Pending,
        }
    }
}

impl Drop for MemberStream {
    fn drop(&mut self) {
        let is_unanswered = matches!(self.reply, Reply::Head(_));
        self.link.end(self.since_us, is_unanswered);
    }
}

/// How the body of the request ends.
fn framing(headers: &[httparse::Header<'_>]) -> Framing {
    let value = |name: &str| headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
    if value("transfer-encoding").is_some() {
        return Framing::CHUNKED;
    }
    let length =
        value("content-length").and_then(|header| std::str::from_utf8(header.value).ok()?.parse().ok());
    length.map_or(Framing::Done, Framing::length)
}

fn uri(scheme: Scheme, host: &[u8], target: &str) -> io::Result<Uri> {
    let invalid = |error: http::uri::InvalidUri| io::Error::new(ErrorKind::InvalidData, error);
    let mut parts = http::uri::Parts::default();
    parts.path_and_query = Some(PathAndQuery::try_from(&*encoded(target)).map_err(invalid)?);
    if !host.is_empty() {
        parts.authority = Some(Authority::try_from(host).map_err(invalid)?);
        parts.scheme = Some(scheme);
    }
    Uri::from_parts(parts).map_err(|error| io::Error::new(ErrorKind::InvalidData, error))
}

/// HTTP/1.1 clients send some bytes bare that must be written as `%XX`; HTTP/2 is stricter.
fn encoded(target: &str) -> Cow<'_, str> {
    const BARE: [char; 4] = ['<', '>', '`', '#'];
    if !target.contains(BARE) {
        return Cow::Borrowed(target);
    }
    let mut text = String::with_capacity(target.len() + 8);
    for letter in target.chars() {
        if BARE.contains(&letter) {
            write!(text, "%{:02X}", u32::from(letter)).expect("a string takes every text");
        } else {
            text.push(letter);
        }
    }
    Cow::Owned(text)
}

fn write_head(response: &Response<impl Sized>, out: &mut Vec<u8>) {
    let status = response.status();
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(status.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    out.extend_from_slice(b"\r\n");
    write_headers(response.headers(), out);
}

/// The whole answer as HTTP/1.1.
fn source(response: Response<RecvStream>, is_head: bool) -> Source<RecvStream> {
    let mut head = Vec::with_capacity(512);
    write_head(&response, &mut head);
    let status = response.status().as_u16();
    let has_length = response.headers().contains_key(CONTENT_LENGTH);
    let form = match () {
        () if is_head || status == 204 || status == 304 => Form::Over,
        () if has_length => Form::Plain,
        () if response.body().is_end_stream() => {
            write_header("Content-Length", b"0", &mut head);
            Form::Over
        }
        () => {
            write_header("Transfer-Encoding", b"chunked", &mut head);
            Form::Chunked
        }
    };
    head.extend_from_slice(b"\r\n");
    Source::new(response.into_body(), head, form)
}

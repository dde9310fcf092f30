//! The answers that the router makes itself: small, typed, and silent about the inside of the cell.

use super::request::Refused;
use super::session::Session;
use super::streams::poll_read;
use super::waits::Ticket;
use logic::retry::Answer;
use std::io::{self, Write};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::AsyncWrite;
use wire::client_view;

/// How long a client may go on sending after its answer. Two seconds: a round trip to anywhere and back.
pub const LINGER_MS: u64 = 2_000;
/// How much of it is thrown away before we close.
const LINGER_MAX_BYTES: usize = 1 << 20;

/// The whole answer as bytes; with what its client is told of a cluster's view.
pub fn render(refused: &Refused, keep_alive: bool, news: Option<&str>) -> Vec<u8> {
    let answer = refused.fault.answer();
    let status = answer.status;
    let (kind, body) = if refused.wants_json {
        ("application/json", json(status, &answer))
    } else {
        ("text/html; charset=utf-8", html(status, &answer))
    };
    let mut out = Vec::with_capacity(512);
    let mut line = |text: std::fmt::Arguments<'_>| out.write_fmt(text).expect("a vector takes every byte");
    line(format_args!("HTTP/1.1 {status} {}\r\n", reason(status)));
    line(format_args!(
        "Content-Type: {kind}\r\nContent-Length: {}\r\nCache-Control: no-store\r\n",
        body.len()
    ));
    if let Some(seconds) = answer.retry_after_s {
        line(format_args!("Retry-After: {seconds}\r\n"));
    }
    if status == 401 {
        line(format_args!("WWW-Authenticate: Muster-View\r\n"));
    }
    if let Some(news) = news {
        line(format_args!("{}: {news}\r\n", client_view::HEADER));
    }
    if status == 405 {
        line(format_args!("Allow: GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH\r\n"));
    }
    line(format_args!("Connection: {}\r\n\r\n", if keep_alive { "keep-alive" } else { "close" }));
    if !refused.is_head {
        out.extend_from_slice(body.as_bytes());
    }
    out
}

fn json(status: u16, answer: &Answer) -> String {
    // Codes and texts come from one table of ours and need no escaping.
    format!("{{\"status\":{status},\"code\":\"{}\",\"message\":\"{}\"}}\n", answer.code, answer.text)
}

fn html(status: u16, answer: &Answer) -> String {
    format!(
        "<!doctype html>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width\">\n\
         <title>{status} {reason}</title>\n<h1>{reason}</h1>\n<p>{text}</p>\n<p><small>{code}</small></p>\n",
        reason = reason(status),
        text = answer.text,
        code = answer.code,
    )
}

/// The reason phrase of a status.
pub fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        304 => "Not Modified",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        401 => "Unauthorized",
        403 => "Forbidden",
        410 => "Gone",
        429 => "Too Many Requests",
        451 => "Unavailable For Legal Reasons",
        500 => "Internal Server Error",
        400 => "Bad Request",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        413 => "Content Too Large",
        421 => "Misdirected Request",
        417 => "Expectation Failed",
        431 => "Request Header Fields Too Large",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "Error",
    }
}

/// Closes so that the client can read what it was sent although it still sends: a close with unread bytes would
/// reset the connection and might take the answer with it. Over HTTP/2 the reset of a stream does the same to clients
/// that forget the answer when they are told to send no more, as curl does.
pub async fn linger(session: Session) {
    let Session { ticket, mut client } = session;
    let deadline = ticket.in_ms(LINGER_MS);
    let (core, stream) = (&client.core, &mut client.stream);
    if ticket.until(deadline, |context| Pin::new(&mut *stream).poll_shutdown(context)).await.is_err() {
        return;
    }
    throw_away(&ticket, deadline, |context| poll_read(&core.scratch, stream, context, <[u8]>::len)).await;
}

/// Reads until the other side ends, within bounds.
pub async fn throw_away(
    ticket: &Ticket,
    deadline: u64,
    mut read: impl FnMut(&mut Context<'_>) -> Poll<io::Result<usize>>,
) {
    let mut thrown_away = 0;
    while thrown_away < LINGER_MAX_BYTES {
        match ticket.until(deadline, &mut read).await {
            Ok(Ok(bytes)) if bytes > 0 => thrown_away += bytes,
            Ok(Ok(_) | Err(_)) | Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use logic::retry::Fault;

    #[test]
    fn answers_come_as_asked_and_leak_nothing() {
        let mut refused = Refused {
            fault: Fault::ConnectFailed,
            reason: "shop-1 at 10.0.0.1 refused".into(),
            line: String::new(),
            is_head: false,
            wants_json: true,
            keep_alive: true,
            head: Box::default(),
            is_version_11: true,
            route: None,
            claim: None,
        };
        let text = String::from_utf8(render(&refused, true, None)).expect("text");
        assert!(text.starts_with("HTTP/1.1 503 Service Unavailable\r\n"));
        assert!(text.contains("application/json"));
        assert!(!text.contains("10.0.0.1"));
        refused.wants_json = false;
        refused.is_head = true;
        let text = String::from_utf8(render(&refused, false, None)).expect("text");
        assert!(text.contains("text/html") && text.ends_with("Connection: close\r\n\r\n"));
    }
}

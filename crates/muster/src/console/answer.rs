//! Answers of the console: one body type, one way to say no, and the headers that every answer carries.

use super::stream::EventStream;
use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};
use serde::Serialize;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use wire::error_code::{self, ErrorCode};
use wire::status::ErrorBody;

/// What every answer carries. Scripts, styles and connections come from here alone, nobody may frame the console,
/// and nothing is kept by caches.
const ALWAYS: [(HeaderName, &str); 8] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
         form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "same-origin"),
    (header::CACHE_CONTROL, "no-store"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("permissions-policy"), "camera=(), microphone=(), geolocation=()"),
];

/// Said when not even an answer can be written.
const UNWRITABLE: &str =
    r#"{"code":"M2027","message":"An answer of ours could not be written.","retry":false}"#;

pub type Answer = Response<AnswerBody>;

/// A body that is there already, or one that goes on.
#[derive(Debug)]
pub enum AnswerBody {
    Whole(Bytes),
    Stream(EventStream),
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut *self {
            AnswerBody::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            AnswerBody::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            AnswerBody::Stream(stream) => stream.poll_next(context).map(|data| data.map(Frame::data).map(Ok)),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            AnswerBody::Whole(bytes) => bytes.is_empty(),
            AnswerBody::Stream(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            AnswerBody::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            AnswerBody::Stream(_) => SizeHint::default(),
        }
    }
}

/// An answer of any type.
pub fn of(status: StatusCode, content_type: &'static str, body: AnswerBody) -> Answer {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    for (name, value) in ALWAYS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}

/// An answer with text that is there already.
pub fn text(status: StatusCode, content_type: &'static str, text: impl Into<Bytes>) -> Answer {
    of(status, content_type, AnswerBody::Whole(text.into()))
}

pub fn json(status: StatusCode, value: &impl Serialize) -> Answer {
    match serde_json::to_vec(value) {
        Ok(bytes) => text(status, "application/json", bytes),
        Err(error) => {
            tracing::error!(%error, "an answer could not be written as JSON");
            text(StatusCode::INTERNAL_SERVER_ERROR, "application/json", UNWRITABLE)
        }
    }
}

/// Sends a browser elsewhere, to see and not to repeat.
pub fn see_other(place: &'static str) -> Answer {
    let mut answer = text(StatusCode::SEE_OTHER, "text/plain; charset=utf-8", "");
    answer.headers_mut().insert(header::LOCATION, HeaderValue::from_static(place));
    answer
}

/// A refusal of the console itself.
pub fn refuse(status: StatusCode, code: ErrorCode, message: impl Into<String>, retry: bool) -> Answer {
    json(status, &ErrorBody { code: code.to_string(), message: message.into(), retry })
}

/// The code of a refusal, if it is one.
pub fn code_of(answer: &Answer) -> Option<String> {
    match answer.body() {
        AnswerBody::Whole(bytes) if !answer.status().is_success() => {
            serde_json::from_slice::<ErrorBody>(bytes).ok().map(|body| body.code)
        }
        AnswerBody::Whole(_) | AnswerBody::Stream(_) => None,
    }
}

/// A refusal of the manager: its own words, with the status that fits its code.
pub fn refuse_as_manager(error: &ErrorBody) -> Answer {
    let missing = [
        error_code::NO_SUCH_CLUSTER,
        error_code::NO_SUCH_GROUP,
        error_code::NO_SUCH_FENCE,
        error_code::NO_SUCH_MEMBER,
        error_code::NO_SUCH_NODE,
        error_code::NO_SUCH_ACCOUNT,
        error_code::NO_SUCH_REVISION,
    ];
    let is_missing = missing.iter().any(|code| error.code == code.0);
    let status = if is_missing {
        StatusCode::NOT_FOUND
    } else if error.code.starts_with("M1") {
        StatusCode::UNPROCESSABLE_ENTITY
    } else if error.code.starts_with("M5") {
        StatusCode::INTERNAL_SERVER_ERROR
    } else {
        StatusCode::CONFLICT
    };
    json(status, error)
}

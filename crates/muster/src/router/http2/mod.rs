//! HTTP/2 on both sides, by streams that look like HTTP/1.1 connections of one request.
//!
//! Everything between client and member speaks HTTP/1.1 bytes, so that strictness, affinity, retries and bounds exist
//! once. A client's stream (`request_stream`) gives its request as such bytes and takes the answer as such bytes; a
//! member's (`member_stream`) the other way round. A client's frames, windows and tables are ours (`connection`), because
//! nearly all of what a request over HTTP/2 cost was theirs; a member's are the h2 crate's. Each connection stays on its
//! thread. Promise: what waits is bounded by the constants here, on both sides.

mod carrier;
mod connection;
pub mod crew;
pub mod front;
pub mod member_link;
pub mod member_stream;
mod parts;
pub mod request_stream;
mod sink;
mod source;

use super::core::Core;
use super::member::Member;
use super::streams::Stream;
use logic::http2::client::{CONNECTION_WINDOW_BYTES, STREAM_WINDOW_BYTES};
use logic::retry::Fault;
use parts::{broken, send_parts};
use std::rc::Rc;

/// What the h2 crate may keep for a member's small DATA frames that are not passed on yet: it counts 256 bytes for each,
/// and ends the connection beyond that. 64 MiB, because it is one of ours: the whole window in the smallest frames of
/// gRPC (five bytes).
const MEMBER_SMALL_FRAMES_BYTES: usize = 64 * 1024 * 1024;
/// Body bytes that a stream may have waiting here for the peer's window or socket. 64 KiB: one read of the thread.
const STREAM_UNSENT_MAX_BYTES: usize = 64 * 1024;
/// Room that each header takes in the size of a list of headers (RFC 9113, 6.5.2).
const HEADER_ROOM_BYTES: u32 = 32;
/// Room for a request on a connection to the member that is there already.
pub fn reuse(core: &Core, member: &Member) -> Option<Stream> {
    let most = core.settings.borrow().limits.pool_size_max as usize;
    Some(Stream::Http2Member(Box::new(member.links.take(most)?)))
}

/// Begins HTTP/2 on a new connection to the member, for this request and those that follow.
pub async fn begin(core: &Rc<Core>, member: &Member, connection: Stream) -> Result<Stream, Fault> {
    let has_left = member.address().is_none();
    let begun = member.links.add(core, connection, !has_left).await;
    begun.map(|stream| Stream::Http2Member(Box::new(stream))).map_err(|_| Fault::ConnectFailed)
}

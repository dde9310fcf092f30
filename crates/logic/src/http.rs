//! HTTP/1.1 as a pure machine: bytes in, bytes and decisions out. No socket, no time, no allocation of its own.
//!
//! Promise: what is forwarded was understood completely and is written anew, so that a member cannot read it
//! differently from us. The rules are those of spec/routing.md 6; each refusal names the rule that it broke.
//! Not here: which member gets a request (see `balance`), and when bytes move (the router's shell).

pub mod body;
mod head;
mod private;
pub mod refusal;
pub mod request;
pub mod response;

pub use head::{HEADERS_MAX, HeaderSpace};
pub use private::{PrivateHeaders, PrivateTls};

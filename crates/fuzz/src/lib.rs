//! What must hold for any bytes that a stranger may send: one oracle for each parser.
//!
//! An oracle panics when a promise is broken; "no panic" alone is none. Tests of this crate replay the corpus;
//! `cargo xtask fuzz` looks for more. Not here: how inputs are found (see `driver` and `xtask`).

mod affinity;
mod answer_head;
mod chunks;
mod client_hello;
mod http2;
mod http2_frames;
mod log_line;
mod plugin_cfg;
mod proxy_protocol;
mod request_head;
mod strict;

/// One parser and what must hold for it.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    pub name: &'static str,
    pub check: fn(&[u8]),
}

pub const TARGETS: [Target; 11] = [
    Target { name: "request-head", check: request_head::check },
    Target { name: "chunks", check: chunks::check },
    Target { name: "answer-head", check: answer_head::check },
    Target { name: "affinity", check: affinity::check },
    Target { name: "plugin-cfg", check: plugin_cfg::check },
    Target { name: "proxy-protocol", check: proxy_protocol::check },
    Target { name: "http2-client", check: http2::check_client },
    Target { name: "http2-frames", check: http2_frames::check },
    Target { name: "http2-member", check: http2::check_member },
    Target { name: "client-hello", check: client_hello::check },
    Target { name: "log-line", check: log_line::check },
];

pub fn target(name: &str) -> Option<Target> {
    TARGETS.into_iter().find(|target| target.name == name)
}

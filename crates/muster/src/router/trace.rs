//! Passes the trace context of a request on: continued when it is valid, started or dropped otherwise.
//!
//! The head that goes to the member is where the trace is kept; the access log reads it there. Not here: what is valid
//! (see `logic::trace`).

use super::actions::Changed;
use super::core::Core;
use logic::http::request::RequestHead;
use logic::trace::{TraceParent, is_state};
use wire::settings::TraceSettings;

/// Puts our own span into the head, in place of what came.
pub fn follow(trace: TraceSettings, core: &Core, head: &RequestHead<'_, '_>, changed: &mut Changed) {
    let is_parent = |name: &str| name.eq_ignore_ascii_case("traceparent");
    let is_state_name = |name: &str| name.eq_ignore_ascii_case("tracestate");
    let parents = head.named(is_parent);
    let is_single = parents.count_ones() == 1;
    let came = head.header("traceparent").filter(|_| is_single).and_then(TraceParent::parse);
    let next = match came {
        Some(parent) => Some(parent.child(core.chance())),
        None if trace.starts => {
            let is_sampled = core.chance() % 100 < u64::from(trace.sampled_percent);
            Some(TraceParent::start([core.chance(), core.chance(), core.chance()], is_sampled))
        }
        None => None,
    };
    let states = head.named(is_state_name);
    let is_state_kept =
        came.is_some() && states.count_ones() == 1 && head.header("tracestate").is_some_and(is_state);
    let dropped = parents | if is_state_kept { 0 } else { states };
    match next {
        Some(next) => changed.replace(dropped, format_args!("traceparent: {next}\r\n")),
        None => changed.replace(dropped, format_args!("")),
    }
}

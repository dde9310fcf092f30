//! The request between its head and its answer: read strictly, routed, given a member, written anew.
//!
//! `admit` decides everything that can be decided before a socket is touched. It is called with the bytes in the
//! thread's scratch buffer, so what it keeps is in the request's own buffer: the head as the member gets it and the
//! body bytes that came with it, kept for another attempt.

use super::actions::{self, Answered, Changed, Early, OnRoute, RouteState};
use super::core::Core;
use super::member::{Cluster, Member};
use super::origin::Origin;
use super::pick::{Asking, Nobody, Picked, Room, Target, awaited, is_elsewhere};
use super::spill;
use super::trace;
use super::waits::NEVER;
use logic::http::body::Framing;
use logic::http::refusal::Refusal;
use logic::http::request::{CertificateHeader, Forwarding, HeadChanges, HeadLimits, RequestHead, parse};
use logic::http::response::Asked;
use logic::http::{HeaderSpace, PrivateHeaders};
use logic::pace;
use logic::plugin_cfg;
use logic::retry::{self, Failure, Fault, Verdict};
use std::net::SocketAddr;
use std::rc::Rc;
use wire::client_view::Claim;
use wire::router::RouterSettings;

/// Our name in Via.
pub const VIA: &str = "muster";

#[derive(Debug)]
pub struct Request {
    pub target: Rc<Target>,
    pub cluster: Rc<Cluster>,
    pub route: OnRoute,
    /// Who gets it; changes when it is tried again.
    pub member: Rc<Member>,
    /// Its room at the member, where that is bounded.
    pub room: Room,
    pub asked: Asked,
    /// What is left of the body to read from the client.
    pub framing: Framing,
    pub is_idempotent: bool,
    pub expects_continue: bool,
    pub retries: u8,
    /// Head as sent and the body as far as it was read, while `is_replayable`.
    pub buffer: Vec<u8>,
    pub head_length: usize,
    /// Every byte of the body that was taken from the client is in `buffer`.
    pub is_replayable: bool,
    pub body_bytes: u64,
    /// When its head was complete, and when its whole time is up: microseconds of the thread's clock.
    pub started_us: u64,
    pub deadline_us: u64,
    /// Since when its body is waited for; None where it may come as slowly as it likes.
    pub body_since_us: Option<u64>,
    /// Attempts that ended because the member was silent.
    pub silences: u8,
    /// What its client shows of its view of a cluster.
    pub claim: Option<Box<Claim>>,
    /// It came from another cell, and goes to no third one.
    pub is_spilled: bool,
}

/// A request that is answered by the router itself.
#[derive(Debug)]
pub struct Refused {
    pub fault: Fault,
    /// For the log.
    pub reason: String,
    /// Method and target; empty if they could not be read.
    pub line: String,
    pub is_head: bool,
    pub wants_json: bool,
    /// Whether the connection can go on: the request's end is known.
    pub keep_alive: bool,
    /// Its head; empty where it could not be read.
    pub head: Box<[u8]>,
    pub is_version_11: bool,
    /// None where it was refused before that was known.
    pub route: Option<Rc<RouteState>>,
    /// What its client shows of its view of a cluster.
    pub claim: Option<Box<Claim>>,
}

impl Refused {
    /// A head whose rest did not come in time.
    pub fn late_head() -> Self {
        Self::closing(Fault::RequestTimeout, "the head did not come in time")
    }

    /// A connection beyond those that the router may have.
    pub fn overloaded() -> Self {
        Self::closing(Fault::Overloaded, "there are connections_max connections already")
    }

    /// HTTP where TLS is spoken.
    pub fn not_tls() -> Self {
        Self::closing(Fault::RequestRefused { why: Refusal::PlainOnTls }, "HTTP came where TLS is spoken")
    }

    /// A well-formed request that no member gets; `is_complete` when all of it has come.
    fn of(head: &RequestHead<'_, '_>, is_complete: bool, fault: Fault, reason: String) -> Self {
        Self {
            fault,
            reason,
            line: format!("{} {}", head.method, head.target),
            is_head: head.is_head(),
            wants_json: wants_json(head),
            keep_alive: head.keep_alive && is_complete,
            head: head.bytes().into(),
            is_version_11: head.is_version_11,
            route: None,
            claim: claim(head),
        }
    }

    fn closing(fault: Fault, reason: &str) -> Self {
        Self {
            fault,
            reason: reason.into(),
            line: String::new(),
            is_head: false,
            wants_json: false,
            keep_alive: false,
            head: Box::default(),
            is_version_11: true,
            route: None,
            claim: None,
        }
    }
}

#[derive(Debug)]
pub enum Admission {
    /// More bytes are needed.
    Incomplete,
    /// So many bytes were used; what follows belongs to the next request.
    Admitted {
        request: Box<Request>,
        used: usize,
    },
    Refused {
        refused: Refused,
        used: usize,
    },
    /// The route says that the router itself answers.
    Answered {
        answered: Box<Answered>,
        used: usize,
    },
}

/// Whom the request comes from.
#[derive(Debug, Clone, Copy)]
pub struct Caller<'a> {
    pub is_http2: bool,
    pub origin: &'a Origin,
}

/// Decides about the request at the start of `bytes`.
pub fn admit(core: &Core, caller: Caller<'_>, bytes: &[u8]) -> Admission {
    let settings = core.settings.borrow();
    let limits = HeadLimits {
        size_max_bytes: settings.limits.head_size_max_bytes as usize,
        header_count_max: settings.limits.header_count_max as usize,
    };
    let mut space = HeaderSpace::new();
    let head = match parse(bytes, &mut space, limits) {
        Ok(Some(head)) => head,
        Ok(None) => return Admission::Incomplete,
        Err(refusal) => return refuse_malformed(refusal),
    };
    let mut framing = head.framing;
    let rest = &bytes[head.length..];
    let step = match framing.consume(rest) {
        Ok(step) => step,
        Err(refusal) => return refuse_malformed(refusal),
    };
    let announced = if let Framing::Length(left) = framing { left } else { 0 } + step.data as u64;
    let route = find_route(core, &head, caller).map(|index| (index, core.route(index)));
    let actions = route.as_ref().and_then(|(_, route)| route.actions.as_ref());
    let body_size_max_bytes = actions
        .and_then(|actions| actions.body_size_max_bytes())
        .unwrap_or(settings.limits.body_size_max_bytes);
    if exceeds(announced, body_size_max_bytes) {
        return refuse_malformed(Refusal::BodyTooLarge);
    }
    // All payload is here and only the end of the trailers is missing: wait for it, so that a member never sees a
    // body whose end turns out to be malformed.
    if framing.is_in_trailers() && bytes.len() < limits.size_max_bytes {
        return Admission::Incomplete;
    }
    let (settings, head, body) = (&*settings, &head, &rest[..step.used]);
    Arrived { core, settings, caller, head, framing, body, body_bytes: step.data as u64, route }.admit()
}

/// A well-formed request with as much of its body as came with its head.
struct Arrived<'a, 'h, 's> {
    core: &'a Core,
    settings: &'a RouterSettings,
    caller: Caller<'a>,
    head: &'a RequestHead<'h, 's>,
    /// What is left of its body.
    framing: Framing,
    /// As it came.
    body: &'a [u8],
    body_bytes: u64,
    route: Option<(usize, Rc<RouteState>)>,
}

impl Arrived<'_, '_, '_> {
    /// Finds out who answers it: the router, or which member.
    fn admit(self) -> Admission {
        let Self { core, caller, head, .. } = self;
        let used = self.used();
        if !caller.origin.allows(head.host_name()) {
            let reason = "the connection was made for a host of another certificate";
            return self.refuse(Fault::WrongHost, reason.into());
        }
        let scheme = self.scheme();
        let actions = self.route.as_ref().and_then(|(_, route)| route.actions.as_ref());
        let changed = match actions.map(|actions| actions::early(actions, core, head, caller, scheme)) {
            None => None,
            Some(Early::Goes(changed)) => Some(changed),
            Some(Early::Refused(fault, reason)) => return self.refuse(fault, reason),
            Some(Early::Answered(message)) => {
                let (_, route) = self.route.expect("actions are those of a route");
                let answered = Answered::of(head, self.framing.is_done(), message, route);
                return Admission::Answered { answered: Box::new(answered), used };
            }
        };
        let found = find_target(core, self.route.as_ref().map(|(index, _)| *index)).and_then(|target| {
            let (client, is_secure) = (&*caller.origin.address, caller.origin.is_secure());
            let (now, is_spilled) = (core.now(), head.is_spilled());
            let asking =
                Asking { core, head, client, is_secure, is_spilled, tried: &[], now, is_called: false };
            Ok((target.admit(&asking)?, target))
        });
        match found {
            Ok((picked, target)) => {
                Admission::Admitted { request: self.written(picked, target, changed), used }
            }
            Err((fault, reason)) => self.refuse(fault, reason),
        }
    }

    /// So many bytes are its own.
    fn used(&self) -> usize {
        self.head.length + self.body.len()
    }

    fn scheme(&self) -> &'static str {
        if self.caller.origin.is_secure() { "https" } else { "http" }
    }

    fn refuse(&self, fault: Fault, reason: String) -> Admission {
        let mut refused = Refused::of(self.head, self.framing.is_done(), fault, reason);
        refused.route = self.route.as_ref().map(|(_, route)| route.clone());
        Admission::Refused { refused, used: self.used() }
    }

    /// Writes it anew for its member.
    fn written(self, picked: Picked, target: Rc<Target>, mut changed: Option<Changed>) -> Box<Request> {
        let Self { core, settings, caller, head, .. } = self;
        if let Some(trace) = settings.trace {
            trace::follow(trace, core, head, changed.get_or_insert_default());
        }
        let changes = changed.as_ref().map_or_else(HeadChanges::default, Changed::head);
        let mut buffer = core.take_buffer();
        let add = Forwarding {
            client: &caller.origin.address,
            server: SocketAddr::new(caller.origin.server, caller.origin.port),
            is_trusted: caller.origin.is_trusted,
            scheme: self.scheme(),
            via: VIA,
            is_http2: caller.is_http2,
            private: private_headers(&picked.cluster, head, caller),
            certificate: CertificateHeader {
                dropped: &core.certificate_headers.borrow(),
                added: caller.origin.client_certificate(),
            },
        };
        head.write_changed(&add, &changes, &mut buffer);
        let mut head_length = buffer.len();
        if is_elsewhere(&picked.cluster) {
            head_length = spill::mark(&mut buffer, head_length, true);
        }
        buffer.extend_from_slice(self.body);
        let started_us = core.waits.now_us();
        let (_, route) = self.route.expect("a member is that of a route");
        core.keep_request(Request {
            target,
            cluster: picked.cluster,
            route: OnRoute::begin(route, changed.and_then(|changed| changed.special)),
            member: picked.member,
            room: picked.room,
            asked: Asked {
                is_head: head.is_head(),
                is_version_11: head.is_version_11,
                keep_alive: head.keep_alive && !core.is_stopping.get(),
                upgrade: head.upgrade.is_some(),
            },
            framing: self.framing,
            is_idempotent: head.is_idempotent(),
            expects_continue: head.expects_continue,
            retries: 0,
            buffer,
            head_length,
            is_replayable: true,
            body_bytes: self.body_bytes,
            started_us,
            deadline_us: deadline(started_us, settings.timeouts.request_ms),
            body_since_us: Some(started_us),
            silences: 0,
            claim: claim(head),
            is_spilled: head.is_spilled(),
        })
    }
}

/// What a client shows of its view; None for all other requests.
pub fn claim(head: &RequestHead<'_, '_>) -> Option<Box<Claim>> {
    Claim::parse(head.view_claim()?).map(Box::new)
}

/// The port that the client asked for: that of Host, else the usual one.
fn named_port(head: &RequestHead<'_, '_>, caller: Caller<'_>) -> u16 {
    head.port().unwrap_or(if caller.origin.is_secure() { 443 } else { 80 })
}

/// What members that expect a plug-in before them are told; nothing for all others.
fn private_headers<'a>(
    cluster: &Cluster,
    head: &RequestHead<'_, '_>,
    caller: Caller<'a>,
) -> PrivateHeaders<'a> {
    match &cluster.view.borrow().plugin {
        None => PrivateHeaders::NotSent,
        Some(rules) => PrivateHeaders::Sent {
            drops_strangers: rules.remove_special_headers,
            port: if rules.tells_listener_port { caller.origin.port } else { named_port(head, caller) },
            tls: caller.origin.private(),
        },
    }
}

/// When a request that began at `started_us` must be done; 0 ms sets no bound.
fn deadline(started_us: u64, request_ms: u64) -> u64 {
    if request_ms == 0 { NEVER } else { started_us.saturating_add(request_ms * 1000) }
}

/// Whether a body of that many bytes is more than the setting allows; 0 allows any.
fn exceeds(body_bytes: u64, most: u64) -> bool {
    most != 0 && body_bytes > most
}

fn find_route(core: &Core, head: &RequestHead<'_, '_>, caller: Caller<'_>) -> Option<usize> {
    let routes = core.routes.borrow();
    let port = match routes.has_ports() {
        false => 0,
        true if core.settings.borrow().matches_listener_port => caller.origin.port,
        true => named_port(head, caller),
    };
    routes.find(head.host_name(), port, head.path())
}

/// The clusters of a route.
fn find_target(core: &Core, route: Option<usize>) -> Result<Rc<Target>, Nobody> {
    let Some(index) = route else { return Err((Fault::NoRoute, "no route fits".into())) };
    let target = core.target(index);
    target.ok_or_else(|| (Fault::NoMember, "the route's clusters are not known yet".into()))
}

impl Request {
    /// Gives the request to another member than those that have tried; None if there is none with room.
    pub fn pick_other(
        &mut self,
        core: &Core,
        client: &str,
        tried: &[Rc<Member>],
        now: logic::time::Time,
    ) -> Option<()> {
        // Whoever has been carried once does not wait behind those that have not.
        let picked = self.picked(core, client, tried, now, true).ok()?;
        if awaited(&picked.room).is_some() {
            return None;
        }
        self.take(picked);
        Some(())
    }

    /// Looks again whether a member has room, for a request that has been called.
    pub fn pick_again(&mut self, core: &Core, client: &str, now: logic::time::Time) -> Result<(), Nobody> {
        let picked = self.picked(core, client, &[], now, true)?;
        self.take(picked);
        Ok(())
    }

    /// Goes to another member, perhaps in another cell, whose routers are told that it comes from this one.
    fn take(&mut self, picked: Picked) {
        let (was, is) = (is_elsewhere(&self.cluster), is_elsewhere(&picked.cluster));
        if was != is {
            self.head_length = spill::mark(&mut self.buffer, self.head_length, is);
        }
        (self.cluster, self.member, self.room) = (picked.cluster, picked.member, picked.room);
    }

    /// Chooses anew, with the head as it was written for the member.
    fn picked(
        &self,
        core: &Core,
        client: &str,
        tried: &[Rc<Member>],
        now: logic::time::Time,
        is_called: bool,
    ) -> Result<Picked, Nobody> {
        let mut space = HeaderSpace::new();
        // Written by ourselves and with lines added: our own bounds do not apply to it.
        let limits = HeadLimits { size_max_bytes: usize::MAX, header_count_max: logic::http::HEADERS_MAX };
        let Ok(Some(head)) = parse(&self.buffer[..self.head_length], &mut space, limits) else {
            return Err((Fault::NoMember, "the request cannot be read again".into()));
        };
        // As we told the member ourselves.
        let is_secure = head.header("x-forwarded-proto") == Some(b"https");
        let is_spilled = self.is_spilled;
        self.target.pick(&Asking { core, head: &head, client, is_secure, is_spilled, tried, now, is_called })
    }

    /// The answer that the router itself gives instead of a member's.
    pub fn refused(&self, fault: Fault, reason: &str) -> Refused {
        Refused {
            fault,
            reason: reason.to_owned(),
            line: self.line().to_owned(),
            is_head: self.asked.is_head,
            wants_json: self.wants_json(),
            keep_alive: self.asked.keep_alive && self.framing.is_done(),
            head: Box::default(),
            is_version_11: self.asked.is_version_11,
            // Counted already, with the request.
            route: None,
            claim: self.claim.clone(),
        }
    }

    /// Whether more of the body has come than the route, or else the router, takes.
    pub fn has_too_large_body(&self, router_max_bytes: u64) -> bool {
        let own = self.route.actions.as_ref().and_then(|actions| actions.body_size_max_bytes());
        exceeds(self.body_bytes, own.unwrap_or(router_max_bytes))
    }

    /// An attempt failed that another one follows.
    pub fn count_retry(&mut self) {
        self.retries = self.retries.saturating_add(1);
        for counts in [&self.member.counts, &self.route.counts.counts] {
            counts.borrow_mut().retries += 1;
        }
    }

    /// Whether it may be sent again, by the rules that its cluster comes with.
    pub fn may_retry(&self, failure: &Failure, attempts_max: u32) -> Verdict {
        match &self.cluster.view.borrow().plugin {
            None => retry::may_retry(failure, attempts_max),
            Some(rules) => {
                let has_body = self.body_bytes > 0;
                plugin_cfg::retry::may_retry(rules, failure, has_body, attempts_max)
            }
        }
    }

    /// Whether its body follows only when the member has said that it wants it.
    pub fn holds_body(&self) -> bool {
        let has_body = self.body_bytes > 0 || !self.framing.is_done();
        let asks = has_body && !self.expects_continue && !self.uses_http2();
        asks && self.member.manner.get().waits_for_continue
    }

    /// Bytes of body that may be kept for another attempt.
    pub fn replay_max_bytes(&self, general: u32) -> u64 {
        match &self.cluster.view.borrow().plugin {
            None => u64::from(general),
            Some(rules) => rules.post_buffer_max_bytes.unwrap_or(u64::MAX),
        }
    }

    /// Whether it goes to its member over HTTP/2.
    pub fn uses_http2(&self) -> bool {
        self.member.speaks_http2() && !self.asked.upgrade
    }

    /// Whether the client would rather have JSON than HTML from us.
    pub fn wants_json(&self) -> bool {
        let mut space = HeaderSpace::new();
        let limits = HeadLimits { size_max_bytes: usize::MAX, header_count_max: logic::http::HEADERS_MAX };
        matches!(parse(&self.buffer[..self.head_length], &mut space, limits), Ok(Some(head)) if wants_json(&head))
    }

    /// Whether its body came so slowly that it is given up. Asked when its time is over; a call gets all the time.
    pub fn is_too_slow(&mut self) -> bool {
        let mut space = HeaderSpace::new();
        let limits = HeadLimits { size_max_bytes: usize::MAX, header_count_max: logic::http::HEADERS_MAX };
        let head = parse(&self.buffer[..self.head_length], &mut space, limits);
        if matches!(head, Ok(Some(head)) if pace::may_dribble(head.header("content-type"))) {
            self.body_since_us = None;
        }
        self.body_since_us.is_some()
    }

    /// Method and target, as the client sent them.
    pub fn line(&self) -> &str {
        if let Some(line) = self.route.special.as_ref().and_then(|special| special.line.as_deref()) {
            return line;
        }
        let end = self.buffer.windows(9).position(|part| part == b" HTTP/1.1").unwrap_or(0);
        std::str::from_utf8(&self.buffer[..end]).unwrap_or_default()
    }
}

fn wants_json(head: &RequestHead<'_, '_>) -> bool {
    let accept = head.header("accept").unwrap_or_default();
    let place =
        |wanted: &[u8]| accept.windows(wanted.len()).position(|part| part.eq_ignore_ascii_case(wanted));
    match (place(b"json"), place(b"text/html")) {
        (Some(json), Some(html)) => json < html,
        (json, _) => json.is_some(),
    }
}

fn refuse_malformed(why: Refusal) -> Admission {
    Admission::Refused { refused: Refused::closing(Fault::RequestRefused { why }, &why.to_string()), used: 0 }
}

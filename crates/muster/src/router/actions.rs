//! Carries out what routes do besides finding a member, and counts what happens on each.
//!
//! `Actions` are made once for each table and shared by all data threads; `RouteState` is one thread's. A rate holds
//! for the router as a whole: its table is behind a lock that only requests of that route take, for well under a
//! microsecond. Routes without actions have none of all this but their counts.
//! Not here: what is right (see `logic::actions`, `logic::rate`), compression (see `compress`).

use super::answers::reason;
use super::client_views;
use super::core::Core;
use super::request::{Caller, claim};
use logic::actions::{Facts, Template, VALUE_PLACES, is_same_name, rewrite};
use logic::compress::takes_gzip;
use logic::http::refusal::Refusal;
use logic::http::request::{HeadChanges, RequestHead};
use logic::rate::{RateTable, Verdict, network};
use logic::retry::Fault;
use std::cell::{Cell, OnceCell, RefCell};
use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use wire::client_view::{self, Claim};
use wire::router::{OTHER_ROUTES, ROUTES_TOLD_MAX, TrafficCounts};
use wire::settings::{HeaderChanges, PathKind, RateLimit, RouteActions, RouteAnswer, RouteSettings};

/// The actions of each route, in the order of the settings; None for a route without any.
pub type ActionTable = Vec<Option<Arc<Actions>>>;

#[derive(Debug)]
pub struct Actions {
    route: RouteSettings,
    /// Without `/` at its end.
    route_path: Box<[u8]>,
    answer: Option<OwnAnswer>,
    /// Answered with the view of the cluster that a client asks for.
    tells_views: bool,
    request_headers: Headers,
    answer_headers: Headers,
    rate: Option<Arc<Rate>>,
}

#[derive(Debug)]
enum OwnAnswer {
    Redirect { status: u16, location: Template },
    Static { status: u16, content_type: Box<str>, body: Box<str> },
}

#[derive(Debug, Default)]
struct Headers {
    /// Those that are removed, and those that are set anew.
    dropped: Vec<String>,
    set: Vec<(String, Template)>,
}

#[derive(Debug)]
struct Rate {
    limit: RateLimit,
    /// Keyed by chance, so that nobody can choose callers that share a set.
    hasher: RandomState,
    table: Mutex<RateTable>,
}

/// The actions of `routes`. A rate whose route and limit are those of `before` goes on counting.
pub fn build(routes: &[RouteSettings], before: &ActionTable) -> ActionTable {
    let one = |route: &RouteSettings| {
        if route.actions == RouteActions::default() {
            return None;
        }
        let rate = route.actions.rate_limit.as_ref().map(|limit| {
            let known =
                before.iter().flatten().find(|old| old.is_for(route)).and_then(|old| old.rate.clone());
            known.filter(|rate| rate.limit == *limit).unwrap_or_else(|| {
                let table = Mutex::new(RateTable::new(limit));
                Arc::new(Rate { limit: limit.clone(), hasher: RandomState::new(), table })
            })
        });
        Some(Arc::new(Actions {
            route: route.clone(),
            route_path: own_path(route).as_bytes().into(),
            answer: route.actions.answer.as_ref().and_then(OwnAnswer::new),
            tells_views: route.actions.answer == Some(RouteAnswer::Views),
            request_headers: Headers::new(&route.actions.request_headers),
            answer_headers: Headers::new(&route.actions.answer_headers),
            rate,
        }))
    };
    routes.iter().map(one).collect()
}

/// What a rewrite replaces. Of an extension it is the folder.
fn own_path(route: &RouteSettings) -> &str {
    let path = match route.path_kind {
        PathKind::Prefix | PathKind::Exact | PathKind::Start => &route.path,
        PathKind::Extension => route.path.split_once('*').map_or("", |(folder, _)| folder),
    };
    path.trim_end_matches('/')
}

/// A template that the configuration has checked; what came past it stands for itself.
fn template(parsed: Result<Template, logic::actions::Unfit>) -> Template {
    parsed.unwrap_or_else(|problem| {
        tracing::error!(%problem, "a text of a route is left empty");
        Template::default()
    })
}

impl OwnAnswer {
    /// None for what is not the same for all who ask.
    fn new(answer: &RouteAnswer) -> Option<Self> {
        Some(match answer {
            RouteAnswer::Redirect { status, location } => {
                Self::Redirect { status: *status, location: template(Template::parse_location(location)) }
            }
            RouteAnswer::Static { status, content_type, body } => Self::Static {
                status: *status,
                content_type: content_type.as_str().into(),
                body: body.as_str().into(),
            },
            RouteAnswer::Views => return None,
        })
    }
}

impl Headers {
    fn new(changes: &HeaderChanges) -> Self {
        let set = changes.set.iter();
        let names = changes.remove.iter().chain(set.clone().map(|(name, _)| name));
        Self {
            dropped: names.cloned().collect(),
            set: set
                .map(|(name, value)| (name.clone(), template(Template::parse(value, VALUE_PLACES))))
                .collect(),
        }
    }

    fn drops(&self, name: &str) -> bool {
        self.dropped.iter().any(|dropped| is_same_name(dropped, name))
    }

    fn write(&self, facts: &Facts<'_>, out: &mut Vec<u8>) {
        for (name, value) in &self.set {
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b": ");
            value.fill(facts, out);
            out.extend_from_slice(b"\r\n");
        }
    }
}

impl Rate {
    fn ask(&self, core: &Core, head: &RequestHead<'_, '_>, caller: Caller<'_>) -> Verdict {
        let named = self.limit.header.as_ref().and_then(|name| head.header(name));
        let key = match named {
            Some(value) => self.hasher.hash_one((1, value)),
            // Whoever leaves the header out is counted by address, or leaving it out would lift the limit.
            None => self.hasher.hash_one((0, client_of(core, head, caller).map(network))),
        };
        let now_ns = core.waits.now_us().saturating_mul(1000);
        self.table.lock().expect("nobody panics while holding it").ask(key, now_ns)
    }
}

/// Whose request it is: of a trusted caller, the last address of X-Forwarded-For that is none of a trusted proxy.
fn client_of(core: &Core, head: &RequestHead<'_, '_>, caller: Caller<'_>) -> Option<IpAddr> {
    let forwarded = head.header("x-forwarded-for").filter(|_| caller.origin.is_trusted);
    let settings = core.settings.borrow();
    let addresses = forwarded.unwrap_or_default().rsplit(|byte| *byte == b',');
    let address = |text: &[u8]| std::str::from_utf8(text.trim_ascii()).ok()?.parse::<IpAddr>().ok();
    let client = addresses.map_while(address).find(|address| !settings.trusted_proxies.contains(address));
    client.or_else(|| caller.origin.address.parse().ok())
}

impl Actions {
    fn is_for(&self, route: &RouteSettings) -> bool {
        let key =
            |route: &RouteSettings| (route.host.clone(), route.port, route.path.clone(), route.path_kind);
        key(&self.route) == key(route)
    }

    pub fn body_size_max_bytes(&self) -> Option<u64> {
        self.route.actions.body_size_max_bytes
    }

    pub fn drops_from_answers(&self, name: &str) -> bool {
        self.answer_headers.drops(name)
    }
}

/// What a route's actions make of a request that goes on to a member.
#[derive(Debug, Clone)]
pub struct Special {
    pub actions: Arc<Actions>,
    /// Method and target as the client sent them, where the target was rewritten.
    pub line: Option<Box<str>>,
    /// Lines that its answer gets.
    pub answer_lines: Vec<u8>,
    /// Its answer may be compressed, and whether this client takes it so.
    pub compresses: Option<bool>,
}

/// How the head of a request changes on its way to a member.
#[derive(Debug, Default)]
pub struct Changed {
    target: Vec<u8>,
    dropped: u128,
    lines: Vec<u8>,
    pub special: Option<Special>,
}

impl Changed {
    pub fn head(&self) -> HeadChanges<'_> {
        HeadChanges { target: &self.target, dropped: self.dropped, lines: &self.lines }
    }

    /// Leaves headers out and adds lines in their place.
    pub fn replace(&mut self, dropped: u128, lines: std::fmt::Arguments<'_>) {
        use std::io::Write as _;
        self.dropped |= dropped;
        self.lines.write_fmt(lines).expect("a vector takes every byte");
    }
}

/// What comes of a request before any member is looked for.
#[derive(Debug)]
pub enum Early {
    Goes(Changed),
    Refused(Fault, String),
    Answered(Message),
}

/// A whole answer but for its Connection header and its end.
#[derive(Debug)]
pub struct Message {
    pub status: u16,
    pub head: Vec<u8>,
    pub body: Vec<u8>,
}

/// Does what the route's actions say, as far as it comes before the choice of a member.
pub fn early(
    actions: &Arc<Actions>,
    core: &Core,
    head: &RequestHead<'_, '_>,
    caller: Caller<'_>,
    scheme: &str,
) -> Early {
    let settings = &actions.route.actions;
    if settings.head_size_max_bytes.is_some_and(|most| head.length > most as usize) {
        let why = Refusal::HeadTooLarge;
        return Early::Refused(Fault::RequestRefused { why }, why.to_string());
    }
    if let Some(rate) = &actions.rate
        && let Verdict::Beyond { retry_after_s } = rate.ask(core, head, caller)
    {
        return Early::Refused(Fault::RateLimited { retry_after_s }, "beyond the route's rate".into());
    }
    let facts = Facts {
        host: head.host_name(),
        path: head.path(),
        route_path: &actions.route_path,
        query: head.query(),
        client: &caller.origin.address,
        scheme,
        route: &actions.route.name,
    };
    if actions.tells_views {
        return client_views::answer(core, head);
    }
    match &actions.answer {
        Some(answer) => actions.answer(answer, &facts),
        None => actions.change(head, &facts),
    }
}

impl Actions {
    fn answer(&self, answer: &OwnAnswer, facts: &Facts<'_>) -> Early {
        let mut message = Message { status: 0, head: Vec::with_capacity(256), body: Vec::new() };
        let (status, kind) = match answer {
            OwnAnswer::Redirect { location, .. } if location.needs_host() && facts.host.is_empty() => {
                let why = Refusal::HostMissing;
                return Early::Refused(Fault::RequestRefused { why }, "a redirect needs the host".into());
            }
            OwnAnswer::Redirect { status, location } => {
                message.head.extend_from_slice(b"Location: ");
                message.head.extend_from_slice(&location.location(facts));
                message.head.extend_from_slice(b"\r\n");
                (*status, "")
            }
            OwnAnswer::Static { status, content_type, body } => {
                message.body.extend_from_slice(body.as_bytes());
                (*status, &**content_type)
            }
        };
        message.status = status;
        if !kind.is_empty() && !self.answer_headers.drops("content-type") {
            message.head.extend_from_slice(format!("Content-Type: {kind}\r\n").as_bytes());
        }
        self.answer_headers.write(facts, &mut message.head);
        Early::Answered(message)
    }

    fn change(self: &Arc<Self>, head: &RequestHead<'_, '_>, facts: &Facts<'_>) -> Early {
        let settings = &self.route.actions;
        let mut changed = Changed::default();
        if let Some(replacement) = &settings.path_replacement
            && rewrite(replacement, facts, &mut changed.target).is_none()
        {
            let why = Refusal::PathClimbs;
            return Early::Refused(Fault::RequestRefused { why }, why.to_string());
        }
        changed.dropped = head.named(|name| self.request_headers.drops(name));
        self.request_headers.write(facts, &mut changed.lines);
        let line = (!changed.target.is_empty()).then(|| format!("{} {}", head.method, head.target).into());
        let mut answer_lines = Vec::new();
        self.answer_headers.write(facts, &mut answer_lines);
        let takes = || head.is_version_11 && head.header("accept-encoding").is_some_and(takes_gzip);
        let compresses = settings.compresses.then(takes);
        changed.special = Some(Special { actions: self.clone(), line, answer_lines, compresses });
        Early::Goes(changed)
    }
}

/// What one thread counted of a route, or of all that are not told of one by one.
#[derive(Debug, Default)]
pub struct RouteCounts {
    pub in_flight: Cell<u64>,
    pub counts: RefCell<TrafficCounts>,
}

/// One data thread's part of a route; shared by its requests, but for those to which its actions did something of their
/// own.
#[derive(Debug, Clone)]
pub struct RouteState {
    pub name: Rc<str>,
    pub actions: Option<Arc<Actions>>,
    pub counts: Rc<RouteCounts>,
    pub special: Option<Special>,
}

/// The routes of one data thread, each made when it is first used after a change of the table.
#[derive(Debug, Default)]
pub struct Routes {
    actions: RefCell<Arc<ActionTable>>,
    states: RefCell<Vec<OnceCell<Rc<RouteState>>>>,
    /// By name; the counts of routes that left are forgotten.
    counts: RefCell<BTreeMap<Box<str>, Rc<RouteCounts>>>,
}

impl Routes {
    pub fn apply(&self, settings: &[RouteSettings], actions: &Arc<ActionTable>) {
        *self.actions.borrow_mut() = actions.clone();
        *self.states.borrow_mut() = settings.iter().map(|_| OnceCell::new()).collect();
        let told = || settings.iter().take(ROUTES_TOLD_MAX).map(|route| route.name.as_str());
        self.counts
            .borrow_mut()
            .retain(|name, _| &**name == OTHER_ROUTES || told().any(|stays| stays == &**name));
    }

    /// The route at that place of the settings that were applied last.
    pub fn get(&self, index: usize, settings: &[RouteSettings]) -> Rc<RouteState> {
        let states = self.states.borrow();
        states[index].get_or_init(|| Rc::new(self.make(index, &settings[index].name))).clone()
    }

    fn make(&self, index: usize, name: &str) -> RouteState {
        let counted_as = if index < ROUTES_TOLD_MAX { name } else { OTHER_ROUTES };
        let mut counts = self.counts.borrow_mut();
        let counts = counts.entry(counted_as.into()).or_default().clone();
        let actions = self.actions.borrow().get(index).cloned().flatten();
        RouteState { name: name.into(), actions, counts, special: None }
    }

    /// Name, requests under way and counts of each route that had a request.
    pub fn counted(&self) -> Vec<(String, u64, TrafficCounts)> {
        let counts = self.counts.borrow();
        let told = counts
            .iter()
            .map(|(name, counts)| (name.to_string(), counts.in_flight.get(), *counts.counts.borrow()));
        told.collect()
    }
}

impl RouteState {
    /// A request that no member gets: its answer is the router's own.
    pub fn count_own_answer(&self, status: u16, bytes_out: u64) {
        let mut counts = self.counts.counts.borrow_mut();
        counts.add_status(status);
        counts.bytes_out += bytes_out;
    }
}

/// Counts a request as under way on its route until it is dropped.
#[derive(Debug)]
pub struct OnRoute {
    state: Rc<RouteState>,
    is_over: bool,
}

impl OnRoute {
    pub fn begin(route: Rc<RouteState>, special: Option<Special>) -> Self {
        let route = match special {
            Some(_) => Rc::new(RouteState { special, ..RouteState::clone(&route) }),
            None => route,
        };
        route.counts.in_flight.set(route.counts.in_flight.get() + 1);
        Self { state: route, is_over: false }
    }

    /// The request is over, although its place is kept for another one.
    pub fn end(&mut self) {
        if !std::mem::replace(&mut self.is_over, true) {
            self.state.counts.in_flight.set(self.state.counts.in_flight.get() - 1);
        }
    }
}

impl std::ops::Deref for OnRoute {
    type Target = Rc<RouteState>;

    fn deref(&self) -> &Rc<RouteState> {
        &self.state
    }
}

impl Drop for OnRoute {
    fn drop(&mut self) {
        self.end();
    }
}

/// An answer of the router itself that is no failure.
#[derive(Debug)]
pub struct Answered {
    pub message: Message,
    pub route: Rc<RouteState>,
    /// Method and target.
    pub line: String,
    pub head: Box<[u8]>,
    pub is_version_11: bool,
    is_head: bool,
    /// Whether the connection can go on: the request's end is known.
    pub keep_alive: bool,
    /// What its client shows of its view of a cluster; None where the answer is about nothing else.
    pub claim: Option<Box<Claim>>,
}

impl Answered {
    /// `is_complete` when all of the request has come.
    pub fn of(
        head: &RequestHead<'_, '_>,
        is_complete: bool,
        message: Message,
        route: Rc<RouteState>,
    ) -> Self {
        let tells_views = route.actions.as_ref().is_some_and(|actions| actions.tells_views);
        let claim = if tells_views { None } else { claim(head) };
        Self {
            message,
            route,
            line: format!("{} {}", head.method, head.target),
            head: head.bytes().into(),
            is_version_11: head.is_version_11,
            is_head: head.is_head(),
            keep_alive: head.keep_alive && is_complete,
            claim,
        }
    }

    /// The whole answer as bytes; with what its client is told of a cluster's view.
    pub fn render(&self, keep_alive: bool, news: Option<&str>) -> Vec<u8> {
        let Message { status, head, body } = &self.message;
        let mut out = format!("HTTP/1.1 {status} {}\r\n", reason(*status)).into_bytes();
        out.extend_from_slice(head);
        if let Some(news) = news {
            out.extend_from_slice(format!("{}: {news}\r\n", client_view::HEADER).as_bytes());
        }
        // 204 and 304 have no body and no length.
        if !matches!(status, 204 | 304) {
            out.extend_from_slice(format!("Content-Length: {}\r\n", body.len()).as_bytes());
        }
        let connection = if keep_alive { "keep-alive" } else { "close" };
        out.extend_from_slice(format!("Connection: {connection}\r\n\r\n").as_bytes());
        if !self.is_head && !matches!(status, 204 | 304) {
            out.extend_from_slice(body);
        }
        out
    }
}

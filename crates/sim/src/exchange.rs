//! Requests on their way: from a client through a router to a member and back, with every way to fail.
//!
//! This is the router's data side as `logic` shapes it: find the route, choose a member, connect or reuse a connection,
//! and on failure ask `may_retry` and the budget. A request that was written to a process counts as delivered to it.

use crate::node::ProcessNumber;
use crate::plant::{CONNECT_MS, RESPONSE_MS};
use crate::router::Routed;
use crate::world::{Event, World};
use logic::affinity::{clone_ids, session_key, session_values};
use logic::balance::{Ask, Balancer, Choice, Tried};
use logic::retry::{Failure, Fault, Phase, Place, Refusal, Verdict, may_retry};
use std::collections::BTreeMap;
use std::rc::Rc;
use wire::id::{ClusterName, MemberName, RouterName};
use wire::view::{MemberView, View};

/// Someone who sends one request after the other.
#[derive(Debug)]
pub(crate) struct Client {
    pub router: RouterName,
    pub think_ms: u64,
    pub post_percent: u32,
    pub keeps_session: bool,
    pub cookie: Option<String>,
    pub is_active: bool,
}

/// A client's request until its answer.
#[derive(Debug)]
pub(crate) struct Request {
    pub client: usize,
    pub router: RouterName,
    cluster: ClusterName,
    is_idempotent: bool,
    cookie: Option<String>,
    tried: Tried,
    /// The view that `tried` counts by.
    view: Rc<View>,
    attempts: u32,
    /// Those that ended because the member was silent.
    silences: u32,
    earlier: Option<Fault>,
    /// How often it was written to a member.
    deliveries: u32,
}

/// A request at one member.
#[derive(Debug)]
pub(crate) struct Attempt {
    pub request: u64,
    member: MemberView,
    is_reused: bool,
    is_written: bool,
    /// Of the connection, once there is one.
    process: Option<ProcessNumber>,
    /// The member has answered; nothing that happens to it later matters.
    is_answered: bool,
}

/// What clients saw.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Tally {
    pub answered: u64,
    /// By member, in the order of names.
    pub by_member: BTreeMap<MemberName, u64>,
    pub retried: u64,
    /// Failed requests: method, fault.
    pub failed: BTreeMap<String, u64>,
    /// Requests of sessions that were answered by another member than the one before.
    pub moved: u64,
}

impl Tally {
    pub fn failed_count(&self) -> u64 {
        self.failed.values().sum()
    }
}

impl World {
    pub(crate) fn add_client(&mut self, think_ms: u64, post_percent: u32, keeps_session: bool) {
        let routers: Vec<RouterName> = self.routers.keys().cloned().collect();
        let client = self.clients.len();
        let router = routers[client % routers.len()].clone();
        self.clients.push(Client {
            router,
            think_ms,
            post_percent,
            keeps_session,
            cookie: None,
            is_active: true,
        });
        let pause_ms = self.some_ms(0, think_ms);
        self.after(pause_ms, Event::ClientSends { client });
    }

    pub(crate) fn on_client_sends(&mut self, number: usize) {
        let client = &self.clients[number];
        if !client.is_active {
            return;
        }
        let (router, post_percent, cookie) =
            (client.router.clone(), client.post_percent, client.cookie.clone());
        let is_idempotent = !self.chance.percent(post_percent);
        let now = self.now;
        let host = self.routers.get_mut(&router).expect("routers stay");
        let settings = host.settings.as_ref();
        let route =
            settings.and_then(|settings| Some(&settings.routes[host.routes.find(b"sim", 80, b"/cart")?]));
        let cluster = route.and_then(|route| route.clusters().next());
        let routed = cluster.and_then(|cluster| Some((cluster.clone(), host.clusters.get(cluster)?)));
        let Some((cluster, routed)) = routed else {
            self.fail_early(number, is_idempotent);
            return;
        };
        let request = Request {
            client: number,
            router,
            cluster,
            is_idempotent,
            cookie,
            tried: Tried::default(),
            view: routed.view.clone(),
            attempts: 0,
            silences: 0,
            earlier: None,
            deliveries: 0,
        };
        host.budget.as_mut().expect("comes with the settings").request(now);
        let id = self.fresh();
        self.requests.insert(id, request);
        self.try_member(id);
    }

    fn fail_early(&mut self, client: usize, is_idempotent: bool) {
        self.count_failure(is_idempotent, Fault::NoRoute);
        let pause_ms = self.clients[client].think_ms.max(1);
        self.after(pause_ms, Event::ClientSends { client });
    }

    fn count_failure(&mut self, is_idempotent: bool, fault: Fault) {
        let method = if is_idempotent { "GET" } else { "POST" };
        *self.tally.failed.entry(format!("{method} {fault:?}")).or_default() += 1;
    }

    /// Chooses a member and begins an attempt at it.
    fn try_member(&mut self, id: u64) {
        let now = self.now;
        let request = self.requests.get_mut(&id).expect("the caller has just seen it");
        let host = self.routers.get_mut(&request.router).expect("routers stay");
        let Some(Routed { view, balancer }) = host.clusters.get_mut(&request.cluster) else {
            self.fail(id, Fault::NoMember, "its cluster was removed");
            return;
        };
        if request.view.epoch != view.epoch {
            request.tried = request.tried.moved(&request.view, balancer);
            request.view = view.clone();
        }
        let header = request.cookie.as_ref().map(|cookie| format!("JSESSIONID={cookie}"));
        let affinity = view.affinity.as_ref().expect("the plant's cluster has affinity");
        let ids: Vec<&str> =
            clone_ids(header.iter().map(|header| header.as_bytes()), b"/cart", affinity).collect();
        let expected = self.checks.before_choice(&request.router, view, balancer, &ids, &request.tried, now);
        let session = header.as_ref().and_then(|header| {
            let headers = [header.as_bytes()];
            session_values(headers.into_iter(), b"/cart", affinity)
                .next()
                .map(|value| session_key(value, affinity))
        });
        let ask = Ask { session, ..Ask::new(&request.tried, now) };
        let choice = balancer.choose(ids.iter().copied(), &ask);
        balancer.check();
        self.checks.after_choice(&request.router, view, expected, &request.tried, choice);
        match choice {
            Choice::Member { index, .. } => {
                request.attempts += 1;
                let member = view.members[index as usize].clone();
                self.begin_attempt(id, member, true);
            }
            Choice::Full { .. } => unreachable!("the plant's members have no bound"),
            Choice::None { why } => self.fail(id, Fault::NoMember, &why.to_string()),
        }
    }

    fn begin_attempt(&mut self, id: u64, member: MemberView, may_reuse: bool) {
        let request = &self.requests[&id];
        let host = self.routers.get_mut(&request.router).expect("routers stay");
        let address = member.address.expect("only members with an address are chosen");
        let counts = host.counts_of(&request.cluster, &member.name);
        counts.in_flight += 1;
        let idle = host.pool.get_mut(&address).filter(|_| may_reuse).and_then(Vec::pop);
        let is_split = match self.node_of(&member.name) {
            Some(node) => self.splits.contains(&(self.requests[&id].router.clone(), node)),
            None => false,
        };
        let number = self.fresh();
        let is_reused = idle.is_some();
        self.attempts.insert(
            number,
            Attempt {
                request: id,
                member,
                is_reused,
                is_written: is_reused,
                process: idle,
                is_answered: false,
            },
        );
        let travel_ms = self.some_ms(0, 1);
        match (is_split, is_reused) {
            (false, _) => self.after(travel_ms, Event::Arrive { attempt: number }),
            (true, true) => {}
            (true, false) => {
                let result = Err(Fault::ConnectTimeout);
                self.after(CONNECT_MS, Event::Ends { attempt: number, result });
            }
        }
        let result = Err(Fault::MemberTimeout);
        self.after(CONNECT_MS + RESPONSE_MS, Event::Ends { attempt: number, result });
    }

    fn node_of(&self, member: &MemberName) -> Option<wire::id::NodeName> {
        let member = self.plant.members.iter().find(|known| known.name == member.0 && !known.is_external)?;
        Some(crate::plant::Plant::node_name(member.node))
    }

    pub(crate) fn on_arrive(&mut self, number: u64) {
        let now = self.now;
        let Some(attempt) = self.attempts.get(&number) else { return };
        let address = attempt.member.address.expect("only members with an address are chosen");
        let there = match attempt.process {
            Some(process) => self.processes.get(&process).map(|_| process),
            None => self
                .process_at(address)
                .filter(|(_, process)| process.listens(now))
                .map(|(process, _)| process),
        };
        let Some(process) = there else {
            let fault = if attempt.is_reused { Fault::MemberClosed } else { Fault::ConnectFailed };
            self.after(1, Event::Ends { attempt: number, result: Err(fault) });
            return;
        };
        let attempt = self.attempts.get_mut(&number).expect("it was there above");
        attempt.process = Some(process);
        attempt.is_written = true;
        let request = self.requests.get_mut(&attempt.request).expect("an attempt has its request");
        request.deliveries += 1;
        self.checks.delivered(request.is_idempotent, request.deliveries);
        let host = self.processes.get_mut(&process).expect("it was there above");
        if host.is_hung {
            host.held.push(number);
        } else {
            let service_ms = host.service_ms;
            self.after(service_ms, Event::Reply { attempt: number });
        }
    }

    pub(crate) fn on_reply(&mut self, number: u64) {
        let Some(attempt) = self.attempts.get_mut(&number) else { return };
        let process = attempt.process.expect("an attempt that is answered has arrived");
        let Some(host) = self.processes.get_mut(&process) else { return };
        if host.is_hung {
            host.held.push(number);
            return;
        }
        attempt.is_answered = true;
        self.after(1, Event::Ends { attempt: number, result: Ok(()) });
    }

    /// A process is gone: what it had not answered is lost, and idle connections to it close.
    pub(crate) fn connections_break(&mut self, process: ProcessNumber) {
        let hit = |attempt: &Attempt| {
            attempt.process == Some(process) && attempt.is_written && !attempt.is_answered
        };
        let lost: Vec<u64> =
            self.attempts.iter().filter(|(_, attempt)| hit(attempt)).map(|(number, _)| *number).collect();
        for attempt in lost {
            self.after(1, Event::Ends { attempt, result: Err(Fault::MemberClosed) });
        }
        let routers: Vec<RouterName> = self.routers.keys().cloned().collect();
        for router in routers {
            let pause_ms = self.some_ms(1, 2);
            self.after(pause_ms, Event::IdleCloses { router, process });
        }
    }

    pub(crate) fn on_idle_closes(&mut self, router: &RouterName, process: ProcessNumber) {
        let host = self.routers.get_mut(router).expect("routers stay");
        for idle in host.pool.values_mut() {
            idle.retain(|idle| *idle != process);
        }
    }

    pub(crate) fn on_ends(&mut self, number: u64, result: Result<(), Fault>) {
        // A time-out of an attempt that has ended long since.
        let Some(attempt) = self.attempts.remove(&number) else { return };
        let request = &self.requests[&attempt.request];
        let (router, cluster) = (request.router.clone(), request.cluster.clone());
        let host = self.routers.get_mut(&router).expect("routers stay");
        host.counts_of(&cluster, &attempt.member.name).in_flight -= 1;
        match result {
            Ok(()) => self.answered(attempt),
            Err(fault) => self.attempt_failed(attempt, fault),
        }
        // After the next attempt has begun, so that a router never seems idle in between.
        self.report_if_left(&router, &cluster, number);
    }

    fn report_if_left(&mut self, router: &RouterName, cluster: &ClusterName, _attempt: u64) {
        let host = &self.routers[router];
        let Some(routed) = host.clusters.get(cluster) else { return };
        let mut members =
            routed.view.members.iter().filter(|member| member.state != wire::view::RunState::Up);
        if members.any(|member| host.has_left(cluster, &member.name)) {
            self.report_of(router);
        }
    }

    /// The view says that nobody shall wait for this member any longer.
    pub(crate) fn give_up_on(&mut self, router: &RouterName, cluster: &ClusterName, member: &MemberName) {
        let waits = |attempt: &Attempt| {
            let request = &self.requests[&attempt.request];
            attempt.member.name == *member && request.router == *router && request.cluster == *cluster
        };
        let waiting: Vec<(u64, bool)> = self
            .attempts
            .iter()
            .filter(|(_, attempt)| waits(attempt))
            .map(|(number, attempt)| (*number, attempt.is_written))
            .collect();
        for (attempt, is_written) in waiting {
            let fault = if is_written { Fault::MemberLost } else { Fault::ConnectFailed };
            self.after(0, Event::Ends { attempt, result: Err(fault) });
        }
    }

    fn answered(&mut self, attempt: Attempt) {
        let request = self.requests.remove(&attempt.request).expect("an attempt has its request");
        let now = self.now;
        let host = self.routers.get_mut(&request.router).expect("routers stay");
        if let Some(routed) = host.clusters.get_mut(&request.cluster)
            && let Some(index) = routed.balancer.index_of(&attempt.member.name)
        {
            routed.balancer.answered(index);
        }
        let process = attempt.process.expect("an attempt that is answered has arrived");
        let address = attempt.member.address.expect("only members with an address are chosen");
        host.pool.entry(address).or_default().push(process);
        if !self.processes.contains_key(&process) {
            // It closed behind its last answer.
            self.after(1, Event::IdleCloses { router: request.router.clone(), process });
        }
        self.tally.answered += 1;
        *self.tally.by_member.entry(attempt.member.name.clone()).or_default() += 1;
        let client = &mut self.clients[request.client];
        if client.keeps_session {
            let fresh = || format!("0000{:023}", request.client);
            let cookie = client.cookie.get_or_insert_with(fresh);
            let was_with = cookie.split(':').nth(1).is_some_and(|first| first != attempt.member.clone_id);
            self.tally.moved += u64::from(was_with);
            if !cookie.split(':').skip(1).any(|clone_id| clone_id == attempt.member.clone_id) {
                // As servers that share sessions do: whoever takes it over adds its own id.
                cookie.push(':');
                cookie.push_str(&attempt.member.clone_id);
            }
            let affinity = crate::plant::affinity(false);
            let header = format!("JSESSIONID={cookie}");
            let headers = [header.as_bytes()];
            let value = session_values(headers.into_iter(), b"/", &affinity).next();
            let key = session_key(value.expect("the cookie was just made"), &affinity);
            let host = self.routers.get_mut(&request.router).expect("routers stay");
            let counts = host.counts_of(&request.cluster, &attempt.member.name);
            counts.requests += 1;
            counts.sessions.add(key, now);
        }
        self.client_goes_on(request.client);
    }

    fn client_goes_on(&mut self, client: usize) {
        let think_ms = self.clients[client].think_ms.max(1);
        let pause_ms = self.some_ms(think_ms / 2, think_ms + think_ms / 2).max(1);
        self.after(pause_ms, Event::ClientSends { client });
    }

    fn attempt_failed(&mut self, attempt: Attempt, fault: Fault) {
        let now = self.now;
        let id = attempt.request;
        let request = self.requests.get_mut(&id).expect("an attempt has its request");
        let host = self.routers.get_mut(&request.router).expect("routers stay");
        let settings = host.settings.as_ref().expect("requests come after settings");
        request.silences += u32::from(fault == Fault::MemberTimeout);
        let failure = Failure {
            fault,
            phase: if attempt.is_written { Phase::AwaitHead } else { Phase::Connect },
            is_written: attempt.is_written,
            answer_started: false,
            is_idempotent: request.is_idempotent,
            is_body_replayable: true,
            is_connection_reused: attempt.is_reused,
            attempts: request.attempts,
            silences: request.silences,
        };
        let verdict = may_retry(&failure, settings.retry.attempts_max);
        let budget = host.budget.as_mut().expect("comes with the settings");
        let mut balancer = host.clusters.get_mut(&request.cluster).map(|routed| &mut routed.balancer);
        let index = balancer.as_ref().and_then(|balancer| balancer.index_of(&attempt.member.name));
        let is_kept = |balancer: &&mut Balancer| index.is_some_and(|index| balancer.keeps(index));
        let place = match verdict {
            Verdict::Retry { place: Place::SameMember } if balancer.as_ref().is_some_and(is_kept) => {
                Ok(Place::SameMember)
            }
            Verdict::Retry { .. } if budget.take(now) => Ok(Place::OtherMember),
            Verdict::Retry { .. } => Err(Refusal::BudgetSpent),
            Verdict::Refuse { why } => Err(why),
        };
        if let (Some(balancer), Some(index)) = (&mut balancer, index)
            && place != Ok(Place::SameMember)
        {
            if fault.marks_member() {
                balancer.failed(index, now);
            }
            if request.view.epoch != balancer.epoch() {
                request.tried = request.tried.moved(&request.view, balancer);
                request.view = host.clusters[&request.cluster].view.clone();
            }
            request.tried.add(index);
        }
        request.earlier = Some(Fault::worse(request.earlier, fault));
        let method = if request.is_idempotent { "GET" } else { "POST" };
        let name = attempt.member.name.clone();
        let router = request.router.clone();
        match place {
            Ok(place) => {
                self.tally.retried += 1;
                self.tell(|| format!("{router}: {method} {fault:?} at {name}, tried again at {place:?}"));
                match place {
                    Place::SameMember => self.begin_attempt(id, attempt.member, false),
                    Place::OtherMember => self.try_member(id),
                }
            }
            Err(why) => self.fail(id, fault, &why.to_string()),
        }
    }

    fn fail(&mut self, id: u64, fault: Fault, why: &str) {
        let request = self.requests.remove(&id).expect("the caller has just seen it");
        let fault = Fault::worse(request.earlier, fault);
        let method = if request.is_idempotent { "GET" } else { "POST" };
        let (router, status) = (&request.router, fault.answer().status);
        self.tell(|| format!("{router}: {method} answered with {status} ({fault:?}): {why}"));
        self.count_failure(request.is_idempotent, fault);
        self.client_goes_on(request.client);
    }
}

//! The end of a request: what its client hears if no member answers, what is counted and logged, what comes next.
//!
//! Not here: whether it is tried again (see `session`), the text of own answers (see `answers`).

use super::actions::Answered;
use super::answers;
use super::exchange::Exchange;
use super::pick::awaited;
use super::reply::{Reply, State};
use super::request::{Refused, Request};
use super::session::{Client, InFlight, Session};
use super::streams::{Outbox, Stream};
use super::tunnel::{self, Carried};
use logic::log_pattern::Line;
use logic::retry::{Failure, Fault, Side};

/// What becomes of the connection after a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    Request,
    /// Give the session up until bytes come, or this point of the thread's clock.
    Park {
        idle_until_us: u64,
    },
    Close,
    /// Close after the client had a chance to read our answer although it still sends.
    Linger,
    /// Close so that the client notices that its answer was cut off.
    Reset,
    /// It speaks HTTP/2.
    Http2,
}

/// What is left to do after a request; large things in boxes, because every idle session would carry their size.
pub enum After {
    Next(Next),
    Tunnel(Box<Switched>),
    Failed(Box<Failed>),
}

/// What is left of an exchange whose sides speak another protocol now.
pub struct Switched {
    connection: Stream,
    reply: Reply,
}

/// An attempt that came to nothing, or a request that did.
pub struct Failed {
    pub failure: Failure,
    /// The client has a part of the final answer, so that no other can follow.
    pub is_cut_off: bool,
    /// The answer so far would look complete if the connection were just closed.
    pub looks_complete: bool,
}

impl Session {
    /// What becomes of a request that was carried, without waiting: counts it and keeps the member's connection.
    pub fn settle(&self, request: &Request, result: Result<(), Failed>, exchange: Option<Exchange>) -> After {
        let exchange = match (result, exchange) {
            (Err(failed), _) => return After::Failed(Box::new(failed)),
            (Ok(()), exchange) => exchange.expect("an attempt that succeeds leaves its exchange"),
        };
        self.count(request, &exchange.reply);
        if exchange.reply.state == State::Switched {
            let Exchange { connection, reply, .. } = exchange;
            return After::Tunnel(Box::new(Switched { connection, reply }));
        }
        self.log(request, exchange.reply.status, Some(&exchange.reply), Carried::default());
        // A client that was not told so is not closed while the router drains: it may be sending its next request.
        let client_closes = exchange.reply.client_closes || self.client.core.is_ending.get();
        let is_sent = exchange.upload.is_sent(request);
        self.keep_connection(request, exchange);
        After::Next(match (is_sent, client_closes) {
            (true, false) => Next::Request,
            (true, true) => Next::Close,
            // The answer came before the end of the body; what follows on this connection cannot be told apart.
            (false, _) => Next::Linger,
        })
    }

    fn count(&self, request: &Request, reply: &Reply) {
        let member = &request.member;
        member.requests.set(member.requests.get() + 1);
        member.latency.borrow_mut().add(reply.first_byte_us);
        let now = self.client.core.now();
        request.cluster.member_answered(member, reply.status, reply.first_byte_us, now);
        let bytes_in = request.head_length as u64 + request.body_bytes;
        self.client.core.count(|totals| {
            totals.requests += 1;
            totals.bytes_in += bytes_in;
            totals.bytes_out += reply.bytes_sent;
        });
        for counts in [&member.counts, &request.route.counts.counts] {
            counts.borrow_mut().add_answer(reply.status, bytes_in, reply.bytes_sent, reply.first_byte_us);
        }
    }

    /// Carries what follows a switch of protocols to its end. The request was counted when it was answered; its bytes
    /// and its line in the log follow now, when it is over.
    pub async fn tunnel(&mut self, request: &Request, switched: Switched) {
        let Switched { connection, reply } = switched;
        // A conversation like any other: who drains its member waits for it.
        let _in_flight = InFlight::begin(&self.client.core, &request.member);
        let carried = tunnel::run(self, connection, request.member.manner.get()).await;
        self.client.core.count(|totals| {
            totals.bytes_in += carried.up_bytes;
            totals.bytes_out += carried.down_bytes;
        });
        for counts in [&request.member.counts, &request.route.counts.counts] {
            let mut counts = counts.borrow_mut();
            counts.bytes_in += carried.up_bytes;
            counts.bytes_out += carried.down_bytes;
        }
        self.log(request, reply.status, Some(&reply), carried);
    }

    /// Keeps the member's connection for other requests if nothing is left on it.
    fn keep_connection(&self, request: &Request, exchange: Exchange) {
        if exchange.reply.member_keeps_alive && exchange.upload.is_sent(request) {
            let core = &self.client.core;
            let settings = core.settings.borrow();
            let until = core.now() + settings.timeouts.pool_idle_ms;
            let most = settings.limits.pool_size_max as usize;
            let is_secure = self.client.origin.is_secure();
            request.member.keep_idle(exchange.connection, exchange.generation, until, most, is_secure);
        }
    }

    pub async fn fail(&mut self, request: &Request, failed: Failed) -> Next {
        let Failed { failure, is_cut_off, looks_complete } = failed;
        let answer = failure.fault.answer();
        self.client.core.count(|totals| {
            totals.requests += 1;
            totals.failed += u64::from(answer.status >= 500);
        });
        request.route.count_own_answer(answer.status, 0);
        self.log(request, answer.status, None, Carried::default());
        if failure.fault == Fault::ClientGone {
            // It may only have stopped reading, and must not take what it has for the whole.
            return if is_cut_off && looks_complete { Next::Reset } else { Next::Close };
        }
        if self.client.core.may_tell() {
            tracing::info!(
                member = %request.member.name, fault = ?failure.fault, phase = ?failure.phase, side = ?answer.side,
                attempts = failure.attempts, "a request failed"
            );
        }
        if is_cut_off {
            return if looks_complete { Next::Reset } else { Next::Close };
        }
        self.answer(&request.refused(failure.fault, "")).await
    }

    /// Answers a request that goes to no member.
    pub async fn refuse(&mut self, refused: Refused) -> Next {
        self.count_refused(&refused);
        self.log_refused(&refused);
        self.answer(&refused).await
    }

    /// Answers a request that has a route and waited in vain for room at a member.
    pub async fn refuse_waiting(&mut self, request: &Request, refused: Refused) -> Next {
        let status = refused.fault.answer().status;
        self.count_refused(&refused);
        request.route.count_own_answer(status, 0);
        self.log(request, status, None, Carried::default());
        self.answer(&refused).await
    }

    fn count_refused(&self, refused: &Refused) {
        let answer = refused.fault.answer();
        let is_client_side = answer.side == Side::Client;
        self.client.core.count(|totals| {
            totals.requests += 1;
            // A client that asks wrongly is no failure of the service, whatever the status.
            let is_refusal = is_client_side || answer.status < 500;
            totals.refused += u64::from(is_refusal);
            totals.failed += u64::from(!is_refusal);
        });
        if is_client_side && self.client.core.may_tell() {
            tracing::info!(client = %self.client.origin.address, reason = refused.reason, "a request is refused");
        }
    }

    async fn answer(&mut self, refused: &Refused) -> Next {
        let keep_alive = refused.keep_alive && !self.client.core.is_stopping.get();
        if let Some(route) = &refused.route {
            route.count_own_answer(refused.fault.answer().status, 0);
        }
        let news = refused.claim.as_deref().and_then(|claim| self.client.core.view_news(claim));
        self.send_own(answers::render(refused, keep_alive, news.as_deref()), keep_alive).await
    }

    /// Gives the answer that the route itself has.
    pub async fn answer_itself(&mut self, answered: Box<Answered>) -> Next {
        let keep_alive = answered.keep_alive && !self.client.core.is_stopping.get();
        let news = answered.claim.as_deref().and_then(|claim| self.client.core.view_news(claim));
        let answer = answered.render(keep_alive, news.as_deref());
        let bytes_out = answer.len() as u64;
        answered.route.count_own_answer(answered.message.status, bytes_out);
        self.client.core.count(|totals| {
            totals.requests += 1;
            totals.bytes_out += bytes_out;
        });
        self.log_own(Line {
            request: &answered.line,
            protocol: self.client.protocol(answered.is_version_11),
            head: &answered.head,
            status: answered.message.status,
            bytes_in: answered.head.len() as u64,
            bytes_out,
            body_bytes: answered.message.body.len() as u64,
            route: &answered.route.name,
            ..Line::default()
        });
        self.send_own(answer, keep_alive).await
    }

    async fn send_own(&mut self, answer: Vec<u8>, keep_alive: bool) -> Next {
        let mut unsent = Outbox::default();
        if unsent.send(&mut self.client.stream, &answer, &[]).is_err() {
            return Next::Close;
        }
        let response_ms = self.client.core.settings.borrow().timeouts.response_ms;
        let deadline = self.ticket.in_ms(response_ms);
        let Self { ticket, client } = self;
        let flushed = ticket.until(deadline, |context| unsent.poll_flush(&mut client.stream, context)).await;
        match flushed {
            Ok(Ok(())) if keep_alive => Next::Request,
            Ok(Ok(())) => Next::Linger,
            Ok(Err(_)) | Err(_) => Next::Close,
        }
    }

    /// `carried` came and went beyond the request and its answer.
    fn log(&self, request: &Request, status: u16, reply: Option<&Reply>, carried: Carried) {
        let Some(log) = &*self.client.core.access_log.borrow() else { return };
        let settings = self.client.core.settings.borrow();
        let cluster = request.cluster.view.borrow();
        let duration_us = self.ticket.now_us().saturating_sub(request.started_us);
        let never_had_room = awaited(&request.room).is_some();
        log.write(Line {
            router: &settings.name.0,
            client: &self.client.origin.address,
            request: request.line(),
            protocol: self.client.protocol(request.asked.is_version_11),
            head: &request.buffer[..request.head_length],
            status,
            bytes_in: request.head_length as u64 + request.body_bytes + carried.up_bytes,
            bytes_out: reply.map_or(0, |reply| reply.bytes_sent) + carried.down_bytes,
            body_bytes: reply.map_or(0, Reply::body_bytes_sent) + carried.down_bytes,
            duration_us,
            tls: self.client.origin.tls_version(),
            phases: reply.map(|reply| reply.phases(request.started_us, duration_us)),
            route: &request.route.name,
            cluster: &cluster.cluster.0,
            member: if never_had_room { "" } else { &request.member.name.0 },
            retries: u32::from(request.retries),
            ..Line::default()
        });
    }

    fn log_refused(&self, refused: &Refused) {
        self.log_own(Line {
            request: &refused.line,
            protocol: self.client.protocol(refused.is_version_11),
            head: &refused.head,
            status: refused.fault.answer().status,
            route: refused.route.as_ref().map_or("", |route| &route.name),
            bytes_in: refused.head.len() as u64,
            ..Line::default()
        });
    }

    fn log_own(&self, line: Line<'_>) {
        if let Some(log) = &*self.client.core.access_log.borrow() {
            let settings = self.client.core.settings.borrow();
            let (router, client) = (&*settings.name.0, &*self.client.origin.address);
            log.write(Line { router, client, tls: self.client.origin.tls_version(), ..line });
        }
    }
}

impl Client {
    /// For the log.
    fn protocol(&self, is_version_11: bool) -> &'static str {
        match (&self.stream, is_version_11) {
            (Stream::Http2Client(_), _) => "HTTP/2",
            (_, true) => "HTTP/1.1",
            (_, false) => "HTTP/1.0",
        }
    }
}

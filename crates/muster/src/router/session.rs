//! One client connection, from its first request to its last.
//!
//! `turn` is the life of a request, to be read from top to bottom: read head (which finds the route, admits and
//! picks a member), connect, exchange, perhaps try again, finish, observe. Deadlines are microseconds of the thread's clock.

use super::actions::Answered;
use super::answers;
use super::connect::{Opening, connect};
use super::core::Core;
use super::exchange::{Exchange, Progress};
use super::finish::{After, Failed, Next};
use super::http2;
use super::lot::park_at_us;
use super::member::Member;
use super::origin::Origin;
use super::pick::awaited;
use super::queue;
use super::reply::State;
use super::request::{Admission, Refused, Request, admit};
use super::streams::{Stream, poll_read};
use super::waits::{Signal, Ticket};
use logic::retry::{Failure, Fault, Phase, Place, Refusal, Side, Verdict};
use std::rc::Rc;
use std::task::{Context, Poll};
use tokio::net::TcpStream;

/// How long a body is held for a member that was asked whether it wants it. A second, as common clients wait.
const CONTINUE_WAIT_MS: u64 = 1_000;
/// Bytes read beyond a request while its answer is awaited end here: a client that sends this much ahead waits.
const SURPLUS_MAX_BYTES: usize = 2 * super::streams::SCRATCH_BYTES;

#[derive(Debug)]
pub struct Session {
    pub ticket: Ticket,
    pub client: Client,
}

/// The client's side of a session.
#[derive(Debug)]
pub struct Client {
    pub core: Rc<Core>,
    pub stream: Stream,
    pub origin: Rc<Origin>,
    /// Bytes read and not used yet: the beginning of the next request.
    pub surplus: Vec<u8>,
    /// False once it has ended its direction or talks ahead: its going can no longer be seen by looking.
    is_watched: bool,
    /// It has said nothing yet, and may begin with HTTP/2.
    pub may_speak_http2: bool,
}

enum Read {
    Request(Box<Request>),
    Refused(Refused),
    Answered(Box<Answered>),
    /// Nothing came for a while.
    Parked {
        idle_until_us: u64,
    },
    End,
}

/// Serves a connection that was parked.
pub fn serve_again(core: Rc<Core>, stream: TcpStream, origin: Rc<Origin>) -> impl Future<Output = ()> {
    let client = Client::new(core, Stream::Tcp(stream), origin, Vec::new());
    converse(Session { ticket: Ticket::new(&client.core.waits), client })
}

/// Serves one request after the other, until either side ends it.
#[expect(clippy::manual_async_fn, reason = "an async function would carry its argument twice")]
pub fn converse(mut session: Session) -> impl Future<Output = ()> {
    async move {
        session.ticket.enter().await;
        loop {
            match session.turn().await {
                Next::Request if session.client.stream.is_single() => return,
                Next::Request => {}
                Next::Park { idle_until_us } => return session.client.park(idle_until_us),
                Next::Close => return,
                Next::Linger => return Box::pin(answers::linger(session)).await,
                Next::Reset => return session.client.stream.reset(),
                Next::Http2 => return Box::pin(http2::front::serve(session)).await,
            }
        }
    }
}

impl Session {
    /// The life of one request.
    async fn turn(&mut self) -> Next {
        let mut request = match self.read_head().await {
            Read::Request(request) => request,
            Read::Refused(_) if self.client.speaks_http2() => return Next::Http2,
            Read::Refused(refused) => return Box::pin(self.refuse(refused)).await,
            Read::Answered(answered) => return Box::pin(self.answer_itself(answered)).await,
            Read::Parked { idle_until_us } => return Next::Park { idle_until_us },
            Read::End => return Next::Close,
        };
        self.client.may_speak_http2 = false;
        if awaited(&request.room).is_some()
            && let Some(next) = Box::pin(self.wait_for_room(&mut request)).await
        {
            return next;
        }
        let mut exchange = None;
        let result = self.carry(&mut request, &mut exchange).await;
        let next = match self.settle(&request, result, exchange.take()) {
            After::Next(next) => next,
            After::Tunnel(switched) => {
                Box::pin(self.tunnel(&request, *switched)).await;
                Next::Close
            }
            After::Failed(failed) => Box::pin(self.fail(&request, *failed)).await,
        };
        self.client.core.give_request(request);
        if self.client.surplus.len() > SURPLUS_MAX_BYTES { Next::Close } else { next }
    }

    /// Waits until the request has room at its member; what comes next instead where it gets none. Apart from `turn`,
    /// whose size every idle session has.
    async fn wait_for_room(&mut self, request: &mut Request) -> Option<Next> {
        match queue::wait(self, request).await {
            Ok(()) => None,
            Err(refused) => Some(self.refuse_waiting(request, refused).await),
        }
    }

    async fn read_head(&mut self) -> Read {
        // Not all of the timeouts: every idle session would carry them.
        let (idle_ms, head_ms) = self.client.core.head_timeouts();
        let idle_until_us = self.ticket.in_ms(idle_ms);
        let mut deadline =
            park_at_us(self.ticket.now_us(), self.client.core.waits.count()).min(idle_until_us);
        self.client.is_watched = true;
        if !self.client.surplus.is_empty() {
            let bytes = std::mem::take(&mut self.client.surplus);
            let read = self.try_admit(&bytes);
            self.client.core.give_buffer(bytes);
            if let Some(read) = read {
                return read;
            }
            deadline = self.ticket.in_ms(head_ms);
        } else if self.client.core.is_ending.get() {
            return Read::End;
        }
        loop {
            let is_idle = self.client.surplus.is_empty();
            let Self { ticket, client } = self;
            let Client { stream, core, surplus, origin, .. } = client;
            ticket.set_idle(is_idle);
            let caller = origin.caller(stream);
            let read = ticket
                .until(deadline, |context| {
                    poll_read(&core.scratch, stream, context, |bytes| match bytes {
                        [] => Some(Read::End),
                        bytes if surplus.is_empty() => {
                            take_admission(admit(core, caller, bytes), bytes, surplus)
                        }
                        bytes => {
                            let mut joined = std::mem::take(surplus);
                            joined.extend_from_slice(bytes);
                            take_admission(admit(core, caller, &joined), &joined, surplus)
                        }
                    })
                })
                .await;
            match read {
                Ok(Ok(Some(read))) => {
                    self.ticket.set_idle(false);
                    return read;
                }
                Ok(Ok(None)) if is_idle => deadline = self.ticket.in_ms(head_ms),
                Ok(Ok(None)) => {}
                Err(Signal::Deadline) if is_idle && deadline < idle_until_us => {
                    if self.client.can_park() {
                        return Read::Parked { idle_until_us };
                    }
                    deadline = idle_until_us;
                }
                Err(Signal::Deadline) if !is_idle => return Read::Refused(Refused::late_head()),
                Ok(Err(_))
                | Err(Signal::Deadline | Signal::MemberLost | Signal::Doubted | Signal::Stopping) => {
                    return Read::End;
                }
            }
        }
    }

    fn try_admit(&mut self, bytes: &[u8]) -> Option<Read> {
        let Client { core, stream, surplus, origin, .. } = &mut self.client;
        let caller = origin.caller(stream);
        take_admission(admit(core, caller, bytes), bytes, surplus)
    }

    /// Attempts until one comes to its end or none may follow.
    async fn carry(&mut self, request: &mut Request, exchange: &mut Option<Exchange>) -> Result<(), Failed> {
        let mut in_flight = InFlight::begin(&self.client.core, &request.member);
        // While it waited for room, nobody took its body.
        request.body_since_us = Some(self.ticket.now_us());
        let mut tried: Vec<Rc<Member>> = Vec::new();
        let mut told = None;
        let mut may_reuse = true;
        loop {
            // A member that is lost while we connect is not waited for either.
            self.ticket.set_member(request.member.identity());
            let result = self.attempt(request, exchange, may_reuse).await;
            self.ticket.set_member(0);
            let mut failed = match result {
                Ok(()) => return Ok(()),
                Err(failed) => failed,
            };
            let fault = failed.failure.fault;
            let verdict = self.judge(request, &mut failed.failure, &tried);
            // Of several faults the client is told the one that says most truly what may have been carried out.
            failed.failure.fault = Fault::worse(told, fault);
            told = Some(failed.failure.fault);
            if matches!(verdict, Verdict::Retry { .. }) {
                request.count_retry();
            }
            match verdict {
                Verdict::Refuse { .. } => return Err(failed),
                Verdict::Retry { place: Place::SameMember } => may_reuse = false,
                Verdict::Retry { place: Place::OtherMember } => {
                    tried.push(request.member.clone());
                    let now = self.client.core.now();
                    if request.pick_other(&self.client.core, self.client.address(), &tried, now).is_none() {
                        return Err(failed);
                    }
                    in_flight = in_flight.moved_to(&request.member);
                    self.client.core.count(|totals| totals.retried += 1);
                    may_reuse = true;
                }
            }
        }
    }

    /// Whether to try again and where, with leave of the budget; notes what the attempt says about its member.
    fn judge(&self, request: &mut Request, failure: &mut Failure, tried: &[Rc<Member>]) -> Verdict {
        failure.attempts = tried.len() as u32 + 1;
        let now = self.client.core.now();
        let attempts_max = self.client.core.settings.borrow().retry.attempts_max;
        let is_silence = failure.fault == Fault::MemberTimeout;
        request.silences = request.silences.saturating_add(u8::from(is_silence));
        failure.silences = u32::from(request.silences);
        let verdict = match request.may_retry(failure, attempts_max) {
            Verdict::Retry { place: Place::SameMember } if request.cluster.keeps(&request.member) => {
                return Verdict::Retry { place: Place::SameMember };
            }
            Verdict::Retry { .. } if request.cluster.budget.borrow_mut().take(now) => {
                Verdict::Retry { place: Place::OtherMember }
            }
            Verdict::Retry { .. } => Verdict::Refuse { why: Refusal::BudgetSpent },
            Verdict::Refuse { why } => Verdict::Refuse { why },
        };
        self.note_failure(request, failure.fault, now);
        verdict
    }

    fn note_failure(&self, request: &Request, fault: Fault, now: logic::time::Time) {
        if fault.answer().side == Side::Member {
            request.member.failed.set(request.member.failed.get() + 1);
        }
        if fault.answer().side == Side::Member {
            let waited_us = self.ticket.now_us().saturating_sub(request.started_us);
            request.cluster.attempt_failed(&request.member, waited_us, fault.text(), now);
        }
        if fault.marks_member()
            || (fault == Fault::MemberTimeout && request.member.manner.get().marks_silence)
        {
            request.cluster.member_failed(&request.member, now);
        }
        tracing::debug!(member = %request.member.name, ?fault, "an attempt failed");
    }

    /// One attempt at the request's member. What came of it is left in `exchange`.
    async fn attempt(
        &mut self,
        request: &mut Request,
        exchange: &mut Option<Exchange>,
        may_reuse: bool,
    ) -> Result<(), Failed> {
        let is_reused = may_reuse && self.reuse(request, exchange);
        if !is_reused {
            // Boxed: connecting is rare, and every idle session would carry its size.
            let connected = Box::pin(self.open(request)).await;
            let connection =
                connected.map_err(|fault| unwritten(fault, Phase::Connect, request, is_reused))?;
            *exchange = Some(Exchange::new(connection, request, self.ticket.now_us()));
        }
        let exchange = exchange.as_mut().expect("there is a connection");
        exchange
            .begin(request)
            .map_err(|_| unwritten(Fault::MemberClosed, Phase::SendHead, request, is_reused))?;
        let result = self.run(exchange, request).await;
        result.map_err(|fault| {
            let mut failed = unwritten(fault, exchange.phase(request), request, is_reused);
            failed.failure.is_written = !exchange.connection.was_refused();
            failed.failure.answer_started = exchange.reply.has_started;
            failed.is_cut_off = exchange.reply.is_under_way();
            failed.looks_complete = exchange.reply.ends_by_close();
            failed
        })
    }

    /// A new connection to the request's member.
    async fn open(&self, request: &Request) -> Result<Stream, Fault> {
        let Client { core, stream, origin, .. } = &self.client;
        let connect_ms = core.settings.borrow().timeouts.connect_ms;
        let connect_ms = request.member.manner.get().connect_ms(connect_ms);
        let http2 = request.uses_http2();
        let deadline = self.ticket.in_ms(connect_ms).min(request.deadline_us);
        let opening = Opening { core, ticket: &self.ticket, client: (stream, origin), deadline, http2 };
        let way = || request.member.way(origin.is_secure());
        loop {
            let found = way();
            let connection = connect(&opening, &request.member).await?;
            if found != way() {
                // It has come to be somewhere else meanwhile.
                continue;
            }
            return if http2 {
                http2::begin(core, &request.member, connection).await
            } else {
                Ok(connection)
            };
        }
    }

    /// Takes an idle connection of the member if it has one.
    fn reuse(&self, request: &Request, exchange: &mut Option<Exchange>) -> bool {
        let idle = if request.uses_http2() {
            http2::reuse(&self.client.core, &request.member)
        } else {
            request.member.take_idle(self.client.core.now(), self.client.origin.is_secure())
        };
        *exchange = idle.map(|connection| Exchange::new(connection, request, self.ticket.now_us()));
        exchange.iter_mut().for_each(|exchange| exchange.is_reused = true);
        exchange.is_some()
    }

    /// Moves bytes both ways until the answer is over; every step may take `response_ms`.
    async fn run(&mut self, exchange: &mut Exchange, request: &mut Request) -> Result<(), Fault> {
        loop {
            // Asked anew each time, because every session would carry the answer.
            let response_ms = self.client.core.settings.borrow().timeouts.response_ms;
            let response_ms = request.member.manner.get().response_ms(request.asked.upgrade, response_ms);
            let since_us = if exchange.reply.state == State::AwaitHead {
                if !exchange.upload.is_sent(request) {
                    exchange.reply.sent_at_us = self.ticket.now_us();
                }
                // Interim answers do not put off the final one.
                exchange.reply.sent_at_us
            } else {
                self.ticket.set_member(0);
                self.ticket.now_us()
            };
            let step_by = since_us.saturating_add(response_ms.saturating_mul(1000));
            let mut deadline = step_by.min(request.deadline_us);
            if exchange.upload.waits_for_leave() {
                deadline = deadline.min(self.ticket.in_ms(CONTINUE_WAIT_MS));
            }
            let body_due_us = exchange.body_due_us(&self.client, request);
            let release_at_us = exchange.reply.release_at_us();
            deadline = deadline.min(body_due_us).min(release_at_us);
            let Self { ticket, client } = self;
            let progress = loop {
                let progress =
                    ticket.until(deadline, |context| exchange.poll(client, request, context)).await;
                // Who was heard waits as if nobody had asked.
                if !matches!(progress, Err(Signal::Doubted)) || exchange.is_unheard(request) {
                    break progress;
                }
            };
            match progress {
                Ok(Ok(Progress::Moved)) => {}
                Ok(Ok(Progress::Finished)) => return Ok(()),
                Ok(Err(fault)) => return Err(fault),
                Err(Signal::Deadline) if deadline == release_at_us => {
                    exchange.reply.release(&client.core, request, &mut client.stream)?;
                }
                // A member that knows nothing of Expect waits for the body, and so would we for its answer.
                Err(Signal::Deadline) if exchange.upload.waits_for_leave() => {
                    exchange.upload.release(&mut exchange.connection, request);
                }
                Err(Signal::Deadline) if deadline == request.deadline_us => {
                    return Err(Fault::DeadlinePassed);
                }
                Err(Signal::Deadline) if deadline == body_due_us => {
                    if request.is_too_slow() {
                        return Err(Fault::RequestTimeout);
                    }
                }
                Err(Signal::Deadline) => return Err(exchange.silent_side(request)),
                Err(Signal::Doubted | Signal::MemberLost | Signal::Stopping) => {
                    return Err(Fault::MemberLost);
                }
            }
        }
    }
}

impl Client {
    /// Its address as text.
    pub fn address(&self) -> &str {
        &self.origin.address
    }

    /// Whether giving the session up would save anything. TLS has a state of its own that would have to stay.
    fn can_park(&self) -> bool {
        let is_plain = self.stream.as_tcp().is_some();
        is_plain && !self.core.is_stopping.get() && self.core.lot.is_wanted(self.core.waits.count())
    }

    /// Leaves the connection, on which nothing is under way, to the parking lot.
    fn park(self, idle_until_us: u64) {
        let Stream::Tcp(stream) = self.stream else { unreachable!("`can_park` has looked") };
        match stream.into_std() {
            Ok(stream) => self.core.lot.park(stream, self.origin, idle_until_us),
            Err(error) => tracing::debug!(%error, "an idle connection could not be parked and is closed"),
        }
    }

    /// `surplus` was read from the stream before.
    pub fn new(core: Rc<Core>, stream: Stream, origin: Rc<Origin>, surplus: Vec<u8>) -> Self {
        Self { core, stream, origin, surplus, is_watched: true, may_speak_http2: false }
    }

    /// Whether what it said, and what is no HTTP/1.1, is the beginning of HTTP/2.
    fn speaks_http2(&self) -> bool {
        self.may_speak_http2 && logic::http2::begins(&self.surplus)
    }

    /// Ready when the connection is broken. A client that only ended its own direction is waited for.
    pub fn poll_gone(&mut self, context: &mut Context<'_>) -> Poll<Fault> {
        if !self.is_watched {
            return Poll::Pending;
        }
        match self.stream.poll_stir(context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(_)) => {
                self.is_watched = false;
                Poll::Pending
            }
            Poll::Ready(Err(_)) => Poll::Ready(Fault::ClientGone),
        }
    }
}

/// What an admission means for the session; keeps the bytes that were not used.
fn take_admission(admission: Admission, bytes: &[u8], surplus: &mut Vec<u8>) -> Option<Read> {
    let (read, used) = match admission {
        Admission::Incomplete => (None, 0),
        Admission::Admitted { request, used } => (Some(Read::Request(request)), used),
        Admission::Refused { refused, used } => (Some(Read::Refused(refused)), used),
        Admission::Answered { answered, used } => (Some(Read::Answered(answered)), used),
    };
    if used < bytes.len() {
        surplus.extend_from_slice(&bytes[used..]);
    }
    read
}

/// A failure before any byte of the request was written.
fn unwritten(fault: Fault, phase: Phase, request: &Request, is_connection_reused: bool) -> Failed {
    let failure = Failure {
        fault,
        phase,
        is_written: false,
        answer_started: false,
        is_idempotent: request.is_idempotent,
        is_body_replayable: request.is_replayable,
        is_connection_reused,
        attempts: 1,
        silences: 0,
    };
    Failed { failure, is_cut_off: false, looks_complete: false }
}

/// Counts a request as under way at a member until it is dropped.
pub struct InFlight {
    core: Rc<Core>,
    member: Rc<Member>,
}

impl InFlight {
    pub fn begin(core: &Rc<Core>, member: &Rc<Member>) -> Self {
        member.set_in_flight(member.in_flight() + 1);
        Self { core: core.clone(), member: member.clone() }
    }

    fn moved_to(self, member: &Rc<Member>) -> Self {
        Self::begin(&self.core, member)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let left = self.member.in_flight() - 1;
        self.member.set_in_flight(left);
        // Whoever waits to stop it shall hear at once that its last request is over.
        if left == 0 && !self.member.is_up() {
            self.core.report_now.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size<A, F>(_: impl Fn(A) -> F) -> usize {
        size_of::<F>()
    }

    /// Idle clients are parked, but each busy one costs one of these; what is rare belongs into a box.
    #[test]
    fn an_idle_session_is_small() {
        let bytes = size(converse);
        assert!(bytes <= 920, "a session takes {bytes} bytes");
    }
}

//! A request whose members are all at `requests_max` waits its turn, for `queue_ms` at most, or is refused at once.
//!
//! Rare, and therefore in a future of its own: who does not wait carries none of it.

use super::gate::Place;
use super::pick::{Awaited, awaited};
use super::request::{Refused, Request};
use super::session::Session;
use super::waits::Signal;
use logic::retry::Fault;
use std::task::Poll;

/// Waits until the request has a member with room. The error is what its client is told instead.
pub async fn wait(session: &mut Session, request: &mut Request) -> Result<(), Refused> {
    let cluster = request.cluster.clone();
    let health = cluster.view.borrow().health.clone();
    let refused = |request: &Request, reason: &str| request.refused(Fault::NoMember, reason);
    let Some(gate) = cluster.gate() else { return Err(refused(request, "the member is full")) };
    if cluster.waiting.get() >= health.queue_max {
        cluster.queue_refused.set(cluster.queue_refused.get() + 1);
        let reason = if health.queue_max == 0 {
            "all members have requests_max requests under way"
        } else {
            "all members have requests_max requests under way, and queue_max others wait"
        };
        return Err(refused(request, reason));
    }
    let is_own = awaited(&request.room) == Some(Awaited::OwnMember);
    let waiting = Waiting {
        place: gate.enter(is_own.then(|| request.member.name.clone())),
        _count: Count::begin(&cluster.waiting),
    };
    cluster.queued.set(cluster.queued.get() + 1);
    let deadline = session.ticket.in_ms(health.queue_ms).min(request.deadline_us);
    loop {
        let Session { ticket, client } = session;
        let called = ticket
            .until(deadline, |context| match waiting.place.poll_called(context) {
                Poll::Ready(()) => Poll::Ready(Ok(())),
                Poll::Pending => client.poll_gone(context).map(Err),
            })
            .await;
        match called {
            Ok(Ok(())) => {}
            Ok(Err(fault)) => return Err(request.refused(fault, "the client did not wait")),
            Err(Signal::Deadline) => {
                cluster.queue_refused.set(cluster.queue_refused.get() + 1);
                return Err(refused(request, "no member had room in time"));
            }
            Err(Signal::MemberLost | Signal::Doubted | Signal::Stopping) => {}
        }
        let now = client.core.now();
        if let Err((fault, reason)) = request.pick_again(&client.core, client.address(), now) {
            return Err(request.refused(fault, &reason));
        }
        if awaited(&request.room).is_none() {
            return Ok(());
        }
    }
}

struct Waiting<'c> {
    place: Place,
    _count: Count<'c>,
}

/// Counts those that wait on this thread.
struct Count<'c>(&'c std::cell::Cell<u32>);

impl<'c> Count<'c> {
    fn begin(count: &'c std::cell::Cell<u32>) -> Self {
        count.set(count.get() + 1);
        Self(count)
    }
}

impl Drop for Count<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

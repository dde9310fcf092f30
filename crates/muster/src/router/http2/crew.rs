//! Tasks that carry one request of an HTTP/2 client after the other, so that none is begun for each.
//!
//! Promise: at most `IDLE_MAX` of them wait on a thread; who waits holds no connection and nothing of a request.

use crate::router::core::Core;
use crate::router::session::{Session, converse};
use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

/// Tasks that wait for a request. 256: more are seldom under way on one thread, and each takes a kilobyte.
const IDLE_MAX: usize = 256;

/// Those of a thread that have nothing to do.
#[derive(Debug, Default)]
pub struct Crew(RefCell<Vec<Rc<Hand>>>);

#[derive(Debug)]
struct Hand {
    session: RefCell<Option<Session>>,
    waker: RefCell<Waker>,
}

/// Has the session's request carried.
pub fn carry(core: &Rc<Core>, session: Session) {
    let idle = core.crew.0.borrow_mut().pop();
    match idle {
        Some(hand) => {
            *hand.session.borrow_mut() = Some(session);
            hand.waker.borrow().wake_by_ref();
        }
        None => {
            let hand =
                Hand { session: RefCell::new(Some(session)), waker: RefCell::new(Waker::noop().clone()) };
            // Owned by the thread's LocalSet. Its sessions are counted by their tickets, for which `thread::run` waits.
            tokio::task::spawn_local(work(core.clone(), Rc::new(hand)));
        }
    }
}

async fn work(core: Rc<Core>, hand: Rc<Hand>) {
    loop {
        let session = poll_fn(|context| {
            if let Some(session) = hand.session.borrow_mut().take() {
                return Poll::Ready(session);
            }
            let mut waker = hand.waker.borrow_mut();
            if !waker.will_wake(context.waker()) {
                *waker = context.waker().clone();
            }
            Poll::Pending
        });
        converse(session.await).await;
        let mut idle = core.crew.0.borrow_mut();
        if idle.len() >= IDLE_MAX {
            return;
        }
        idle.push(hand.clone());
    }
}

//! Bounds hold, and whoever waits longest is called first.

use super::*;
use wire::view::MemberView;

#[test]
fn room_is_bounded_and_given_back_to_who_waits_longest() {
    let member = MemberView { name: "a".into(), requests_max: 2, ..MemberView::default() };
    let view = View { members: vec![member], ..View::default() };
    let gate = Gate::of(&view, None).expect("a member is bounded");
    let name = MemberName::from("a");
    let rooms = gate.rooms(&name).expect("it is bounded");
    let first = rooms.take(&gate.queue, &name);
    let second = rooms.take(&gate.queue, &name);
    assert!(first.is_some() && second.is_some() && rooms.is_full());
    assert!(rooms.take(&gate.queue, &name).is_none());
    let early = gate.queue.enter(None);
    let late = gate.queue.enter(None);
    let mut context = Context::from_waker(Waker::noop());
    assert!(early.poll_called(&mut context).is_pending());
    drop(first);
    assert!(late.poll_called(&mut context).is_pending());
    assert!(early.poll_called(&mut context).is_ready());
    drop((early, late));
    assert!(!gate.queue.has_waiting());
}

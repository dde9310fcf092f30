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
    let early = gate.enter(None);
    let late = gate.enter(None);
    let mut context = Context::from_waker(Waker::noop());
    assert!(early.poll_called(&mut context).is_pending());
    drop(first);
    assert!(late.poll_called(&mut context).is_pending());
    assert!(early.poll_called(&mut context).is_ready());
    drop((early, late));
    assert!(!gate.queue.has_waiting());
}

#[test]
fn room_that_became_free_just_before_somebody_began_to_wait_is_not_waited_for() {
    let member = |name: &str| MemberView { name: name.into(), requests_max: 1, ..MemberView::default() };
    let view = View { members: vec![member("a"), member("b")], ..View::default() };
    let gate = Gate::of(&view, None).expect("members are bounded");
    let [a, b] = ["a", "b"].map(MemberName::from);
    let take = |name| gate.rooms(name).expect("it is bounded").take(&gate.queue, name);
    let mut context = Context::from_waker(Waker::noop());
    let (_at_a, at_b) = (take(&a), take(&b));
    assert!(at_b.is_some());
    let for_a = gate.enter(Some(a.clone()));
    drop(at_b);
    let for_any = gate.enter(None);
    assert!(for_a.poll_called(&mut context).is_pending());
    assert!(for_any.poll_called(&mut context).is_ready());
    assert!(for_any.poll_called(&mut context).is_pending(), "one look is enough");
}

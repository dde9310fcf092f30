//! Routers that come back, and how many of them at a time are sent everything.

use super::*;
use crate::view::change;
use wire::id::MemberName;
use wire::view::RunState;

fn member(number: usize, state: RunState) -> MemberView {
    MemberView { name: MemberName(format!("shop-{number}")), state, weight: 1, ..MemberView::default() }
}

fn view(generation: u64, number: u64, down: &[usize]) -> View {
    let state = |member: &usize| if down.contains(member) { RunState::Down } else { RunState::Up };
    let members = (0..10).map(|number| member(number, state(&number))).collect();
    View { cluster: "shop".into(), epoch: Epoch { generation, number }, members, ..View::default() }
}

/// Views of one generation with one more member down each, and what leads from each to the next.
fn history(count: u64) -> (Vec<View>, Past) {
    let views: Vec<View> =
        (1..=count).map(|number| view(3, number, &(1..number as usize).collect::<Vec<_>>())).collect();
    let mut past = Past::default();
    for pair in views.windows(2) {
        past.add(change(&pair[0], &pair[1]).as_ref(), 10);
    }
    (views, past)
}

fn lacks(has: &View, view: &View, past: &Past) -> Lack {
    lack(Some(&known(has)), view, print(view), Some(past))
}

#[test]
fn who_has_the_newest_view_is_sent_nothing() {
    let (views, past) = history(4);
    assert_eq!(lacks(&views[3], &views[3], &past), Lack::Nothing);
}

#[test]
fn who_is_a_few_changes_behind_is_sent_those() {
    let (views, past) = history(4);
    for behind in &views[..3] {
        let Lack::Changes(changes) = lacks(behind, &views[3], &past) else { panic!("changes are known") };
        let caught_up = changes.iter().try_fold(behind.clone(), |view, change| change.apply(&view));
        assert_eq!(caught_up.expect("each fits the one before"), views[3]);
    }
}

#[test]
fn who_has_the_same_of_another_leader_is_sent_an_epoch() {
    let (old, new) = (view(3, 9, &[2]), view(4, 1, &[2]));
    let Lack::Changes(changes) = lacks(&old, &new, &Past::default()) else { panic!("it is the same") };
    assert_eq!(changes.len(), 1);
    assert!(changes[0].is_empty());
    assert_eq!(changes[0].apply(&old), Ok(new));
}

#[test]
fn who_has_something_else_or_nothing_is_sent_everything() {
    let (views, past) = history(4);
    assert_eq!(lack(None, &views[3], print(&views[3]), Some(&past)), Lack::Whole);
    assert_eq!(lacks(&view(2, 2, &[7]), &views[3], &past), Lack::Whole, "of another leader");
    assert_eq!(lacks(&view(3, 9, &[7]), &views[3], &past), Lack::Whole, "of a future that is lost");
    let mut forged = known(&views[1]);
    forged.epoch.number = 77;
    assert_eq!(lack(Some(&forged), &views[3], print(&views[3]), Some(&past)), Lack::Whole);
}

#[test]
fn everything_that_routers_act_on_is_in_the_print_and_reasons_are_not() {
    let view = view(3, 1, &[]);
    let printed = print(&view);
    let with = |edit: &dyn Fn(&mut View)| {
        let mut view = view.clone();
        edit(&mut view);
        print(&view)
    };
    assert_eq!(with(&|view| view.members[0].reason = "passes its probe".into()), printed);
    assert_eq!(with(&|view| view.epoch.number = 5), printed);
    assert_ne!(with(&|view| view.members[0].weight = 2), printed);
    assert_ne!(with(&|view| view.members[0].state = RunState::Draining), printed);
    assert_ne!(with(&|view| view.members.swap(0, 1)), printed);
    assert_ne!(with(&|view| view.health.eject_after = 1), printed);
    assert_ne!(with(&|view| drop(view.members.pop())), printed);
}

#[test]
fn the_past_is_bounded_by_what_a_whole_view_costs() {
    let (views, past) = history(9);
    assert!(past.changes.len() <= 5, "each change and its member count: {}", past.changes.len());
    assert_eq!(lacks(&views[0], &views[8], &past), Lack::Whole);
    assert!(matches!(lacks(&views[7], &views[8], &past), Lack::Changes(_)));
    let mut past = past;
    past.add(None, 10);
    assert_eq!(lacks(&views[7], &views[8], &past), Lack::Whole, "nothing leads there");
}

#[test]
fn whole_views_are_given_in_turn_at_a_rate_and_a_large_one_is_not_refused() {
    let bytes = 1_500_000;
    let mut line = Line::default();
    (0..1_000).for_each(|router| line.join(router));
    let (mut now, mut served, mut most) = (Time(10), Vec::new(), 0);
    while let Some(at) = line.wake_at() {
        now = now.max(at);
        let before = served.len();
        while let Some(router) = line.next(now) {
            line.gave(now, bytes);
            served.push(router);
        }
        if before > 0 {
            most = most.max(served.len() - before);
        }
    }
    assert!(served.is_sorted() && served.len() == 1_000, "first come, first served");
    assert!(most <= 2, "after the burst they go one after the other: {most} at once");
    let rate = 1_000 * bytes / (now.0 - 10 + RESUME_BURST_MS);
    assert!(rate <= RESUME_BYTES_PER_MS && rate > RESUME_BYTES_PER_MS / 2, "{rate} bytes in a millisecond");
    line.join(999);
    line.join(1_000);
    line.leave(|router| *router == 999);
    let later = now + 60_000;
    assert_eq!(line.next(later), Some(1_000));
    line.gave(later, u64::MAX / 2);
}

#[test]
fn those_who_were_cut_off_together_come_back_spread() {
    let mut slots = [0; 10];
    for router in 0..1_000 {
        let pause_ms = pause_ms(500, &mut Chance::new(router));
        assert!((125..=500).contains(&pause_ms), "{pause_ms}");
        slots[(pause_ms as usize - 125) * 10 / 376] += 1;
    }
    assert!(slots.iter().all(|count| (50..=150).contains(count)), "{slots:?}");
    assert_eq!(pause_ms(0, &mut Chance::new(1)), 0);
}

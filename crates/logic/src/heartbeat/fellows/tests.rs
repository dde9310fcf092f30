//! Whom a manager believes among managers, and who is shown as there.

use super::*;

const CELL: CellNumber = CellNumber(5);
const MANAGERS: [ManagerNumber; 3] = [ManagerNumber(0), ManagerNumber(4), ManagerNumber(9)];
const TERM: TermNumber = TermNumber(3);

fn manager(place: usize, run: u64) -> Fellows {
    Fellows::new(CELL, MANAGERS[place], &MANAGERS, run, Time(0))
}

fn presences(from: &mut Fellows, to: usize) -> Vec<Head> {
    let mut heads = from.presences(false, TERM);
    heads.retain(|head| head.to == MANAGERS[to]);
    heads
}

fn presence(from: &mut Fellows, to: usize) -> Head {
    presences(from, to).remove(0)
}

fn question(from: &mut Fellows, to: usize) -> Head {
    from.word_to(MANAGERS[to], Topic::Questions, true, TERM, Some(Time(77))).expect("they know each other")
}

/// Each has told the other its run.
fn acquaint(one: &mut Fellows, other: &mut Fellows) {
    assert_eq!(other.hear(Time(0), &presence(one, 1)), Word::Unproven);
    assert_eq!(one.hear(Time(0), &presence(other, 0)), Word::Counts);
    assert_eq!(other.hear(Time(0), &presence(one, 1)), Word::Counts);
}

#[test]
fn managers_believe_each_other_after_two_presences_and_nothing_twice() {
    let (mut one, mut other) = (manager(0, 100), manager(1, 200));
    assert_eq!(one.word_to(MANAGERS[1], Topic::Questions, true, TERM, None), None, "nobody is there yet");
    acquaint(&mut one, &mut other);
    let asked = question(&mut one, 1);
    let later = presence(&mut one, 1);
    assert_eq!(other.hear(Time(10), &later), Word::Counts);
    assert_eq!(other.hear(Time(10), &asked), Word::Counts, "it was only overtaken");
    assert_eq!(other.hear(Time(10), &asked), Word::Old, "it was sent again");
    assert_eq!(other.hear(Time(10), &later), Word::Old, "it was sent again");
    let last = (0..70).map(|_| question(&mut one, 1)).last().expect("there are some");
    let (lost, kept) =
        (Head { sequence: last.sequence - 64, ..last }, Head { sequence: last.sequence - 63, ..last });
    assert_eq!(other.hear(Time(10), &last), Word::Counts);
    assert_eq!(other.hear(Time(10), &lost), Word::Old, "nobody remembers whether it has counted");
    assert_eq!(other.hear(Time(10), &kept), Word::Counts);
    assert_eq!(other.hear(Time(10), &kept), Word::Old);
    assert_eq!(other.highest(), TERM);
}

#[test]
fn what_was_recorded_counts_for_nobody_who_has_started_since() {
    let (mut one, mut other) = (manager(0, 100), manager(1, 200));
    acquaint(&mut one, &mut other);
    let recorded = question(&mut one, 1);
    let mut anew = manager(1, 201);
    assert_eq!(anew.hear(Time(0), &recorded), Word::Unproven);
    // Nor once its sender has.
    let mut one = manager(0, 101);
    assert_eq!(other.hear(Time(1), &presence(&mut one, 1)), Word::Unproven);
    let answers = presences(&mut other, 0);
    assert_eq!(answers.iter().map(|head| head.to_run).collect::<Vec<_>>(), [100, 101]);
    assert_eq!(one.hear(Time(1), &answers[0]), Word::Unproven);
    assert_eq!(one.hear(Time(1), &answers[1]), Word::Counts);
    assert_eq!(other.hear(Time(2), &presence(&mut one, 1)), Word::Counts);
    assert_eq!(other.hear(Time(3), &recorded), Word::Old);
    assert_eq!(other.hear(Time(4), &presence(&mut one, 1)), Word::Counts);
}

#[test]
fn replayed_claims_shut_nobody_out() {
    let (mut one, mut other) = (manager(0, 100), manager(1, 200));
    acquaint(&mut one, &mut other);
    let claim = Head { run: 55, to_run: 7, ..presence(&mut one, 1) };
    for _ in 0..3 {
        assert_eq!(other.hear(Time(0), &claim), Word::Unproven);
        let word = other.word_to(MANAGERS[0], Topic::Opinions, false, TERM, None).expect("it is known");
        assert_eq!(one.hear(Time(0), &word), Word::Counts);
        assert_eq!(other.hear(Time(0), &question(&mut one, 1)), Word::Counts);
    }
}

#[test]
fn foreigners_are_told_apart_before_their_code_is_looked_at() {
    let (mut one, mut other) = (manager(0, 100), manager(1, 200));
    let good = presence(&mut one, 1);
    assert!(other.concerns(&good));
    for bad in [
        Head { cell: CellNumber(6), ..good },
        Head { to: MANAGERS[2], ..good },
        Head { from: ManagerNumber(7), ..good },
        Head { from: MANAGERS[1], ..good },
    ] {
        assert!(!other.concerns(&bad), "{bad:?}");
        assert_eq!(other.hear(Time(0), &bad), Word::Foreign);
    }
}

#[test]
fn who_says_nothing_for_two_seconds_is_down_since_its_last_word() {
    let (mut one, mut other) = (manager(0, 100), manager(1, 200));
    let shown =
        |fellows: &Fellows, now| fellows.presence(Time(now)).map(|(_, shown)| shown).collect::<Vec<_>>();
    assert_eq!(shown(&other, 1_999), [Presence::Unknown, Presence::Unknown]);
    assert_eq!(shown(&other, 2_000), [Presence::Down { since: None }; 2]);
    acquaint(&mut one, &mut other);
    for at in (250..5_000).step_by(250) {
        assert_eq!(other.hear(Time(at), &presence(&mut one, 1)), Word::Counts);
    }
    let never = Presence::Down { since: None };
    assert_eq!(shown(&other, 6_749), [Presence::There { since: Time(0) }, never]);
    assert_eq!(shown(&other, 6_750), [Presence::Down { since: Some(Time(4_750)) }, never]);
    assert_eq!(other.hear(Time(9_000), &presence(&mut one, 1)), Word::Counts);
    assert_eq!(shown(&other, 9_100), [Presence::There { since: Time(9_000) }, never]);
}

#[test]
fn who_is_down_or_back_is_told_once_and_anew_by_the_next_who_leads() {
    let (mut one, mut other) = (manager(0, 100), manager(1, 200));
    let late = Time(FELLOW_DOWN_AFTER_MS);
    assert_eq!(one.news(Time(0)), [], "nobody has listened for long enough");
    acquaint(&mut one, &mut other);
    assert_eq!(one.news(Time(10)), [], "that one is there is no news");
    assert_eq!(one.news(late), [(MANAGERS[1], false), (MANAGERS[2], false)]);
    assert_eq!(one.news(late + 10), []);
    let word = presence(&mut other, 0);
    assert_eq!(one.hear(late + 20, &word), Word::Counts);
    assert_eq!(one.news(late + 30), [(MANAGERS[1], true)]);
    one.tell_anew();
    assert_eq!(one.news(late + 40), [(MANAGERS[2], false)]);
}

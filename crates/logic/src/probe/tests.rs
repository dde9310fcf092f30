//! How answers add up, as a table: `g` is a good answer, `b` a bad one, `u` one that was not asked for; the result is
//! the state after each.

use super::*;

fn settings(rise: u32, fall: u32) -> ProbeSettings {
    ProbeSettings { kind: ProbeKind::Tcp, interval_ms: 400, timeout_ms: 100, rise, fall }
}

/// Answers each probe at once; returns the states and the pauses between probes.
fn run(subject: Subject, settings: &ProbeSettings, answers: &str) -> (String, Vec<u64>) {
    let mut health = Health::begin(Time(0), settings, subject);
    let mut states = String::new();
    let mut pauses_ms = Vec::new();
    let mut last = Time(0);
    for (number, answer) in answers.chars().enumerate() {
        let now = health.wake_at().expect("a probe is always due after an answer");
        pauses_ms.push(now.since_ms(last));
        last = now;
        let number = ProbeNumber(number as u64);
        assert!(health.ask(now, number), "the probe is due");
        assert!(!health.ask(now, ProbeNumber(999)), "one probe at a time");
        let answer = match answer {
            'g' => ProbeAnswer::Good,
            'u' => ProbeAnswer::Unasked { why: "no files".into() },
            _ => ProbeAnswer::Bad { why: "no".into() },
        };
        assert!(!health.answer(now, settings, ProbeNumber(999), answer.clone()), "nobody asked that");
        assert!(health.answer(now, settings, number, answer), "this was asked");
        states.push(match health.state() {
            ProbeState::Unknown => '?',
            ProbeState::Passing => '+',
            ProbeState::Failing => '-',
        });
    }
    (states, pauses_ms)
}

#[test]
fn answers_add_up() {
    use Subject::{JustStarted, LongThere};
    for (subject, rise, fall, answers, states) in [
        (JustStarted, 1, 1, "gbg", "+-+"),
        (JustStarted, 1, 3, "bbbbbgbbbg", "?????+++-+"),
        (JustStarted, 2, 2, "gbggbgbb", "???++++-"),
        (LongThere, 1, 3, "bbbgbbg", "??-++++"),
        (LongThere, 3, 1, "ggbggg", "??---+"),
        (LongThere, 2, 2, "bgbgbb", "?????-"),
        // What we could not ask changes nothing, for better or worse.
        (LongThere, 1, 2, "guuuubub", "+++++++-"),
        (LongThere, 2, 1, "buugug", "-----+"),
        (JustStarted, 2, 2, "ugug", "???+"),
        // Counts of 0 mean the same as 1.
        (LongThere, 0, 0, "gb", "+-"),
    ] {
        let settings = settings(rise, fall);
        assert_eq!(
            run(subject, &settings, answers).0,
            states,
            "{subject:?} rise {rise} fall {fall} {answers}"
        );
    }
}

#[test]
fn a_starting_process_is_asked_often_at_first_and_never_more_than_its_interval_apart() {
    let (_, pauses_ms) = run(Subject::JustStarted, &settings(1, 1), "bbbbbgbg");
    assert_eq!(pauses_ms, [0, 50, 100, 200, 400, 400, 400, 400]);
    let (_, pauses_ms) = run(Subject::JustStarted, &settings(3, 1), "bbbgbbggg");
    assert_eq!(pauses_ms, [0, 50, 100, 200, 50, 50, 100, 50, 50], "one that answers is proven quickly");
    let (_, pauses_ms) = run(Subject::LongThere, &settings(1, 1), "bbg");
    assert_eq!(pauses_ms, [0, 400, 400]);
}

#[test]
fn a_slow_answer_does_not_stretch_the_interval() {
    let settings = settings(1, 1);
    let mut health = Health::begin(Time(0), &settings, Subject::LongThere);
    assert!(health.ask(Time(0), ProbeNumber(1)));
    assert!(health.answer(Time(90), &settings, ProbeNumber(1), ProbeAnswer::Good));
    assert_eq!(health.wake_at(), Some(Time(400)));
    assert!(health.ask(Time(400), ProbeNumber(2)));
    assert!(health.answer(Time(1_000), &settings, ProbeNumber(2), ProbeAnswer::Good));
    assert_eq!(health.wake_at(), Some(Time(1_001)));
}

#[test]
fn where_being_there_is_enough_nothing_is_asked() {
    let settings = ProbeSettings { kind: ProbeKind::Process, ..settings(2, 2) };
    let health = Health::begin(Time(0), &settings, Subject::JustStarted);
    assert_eq!((health.state(), health.wake_at()), (ProbeState::Passing, None));
}

//! How answers add up, as tables: `g` good, `b` bad, `s` silent, `w` good with a warning, `u` not asked; the result is the state
//! after each: `N`ormal, `W`arning, `E`rror, `?` unknown.

use super::*;
use crate::seed::Chance;
use wire::monitor::Target;

fn assignment(retries: u32, confirmations: u32) -> MonitorAssignment {
    MonitorAssignment {
        name: "web".into(),
        check: Check::Tcp { target: Target { host: "web".into(), port: 80 } },
        pace: Pace { interval_ms: 1_000, timeout_ms: 400, retries, confirmations, slow_percent: 50 },
        wish: MonitorWish::Run,
        recovery: None,
    }
}

fn letter(state: MonitorState) -> char {
    match state {
        MonitorState::Unknown => '?',
        MonitorState::Normal => 'N',
        MonitorState::Warning => 'W',
        MonitorState::Error => 'E',
        MonitorState::Paused => 'P',
        MonitorState::Idle => 'I',
    }
}

fn answer(letter: char) -> Answer {
    match letter {
        'g' => Answer::good(),
        'b' => Answer::bad("refused"),
        's' => Answer::Silent,
        'w' => Answer::Good { warning: Some("nearly full".into()), figures: Vec::new() },
        _ => Answer::Unasked { why: "no files".into() },
    }
}

/// Answers each probe at once, silence after its time-out; returns the states and when each probe was sent.
fn run(mut watch: Watch, answers: &str) -> (String, Vec<u64>, Watch) {
    let (mut states, mut sent) = (String::new(), Vec::new());
    for (number, word) in answers.chars().enumerate() {
        let now = watch.wake_at().expect("a probe is always due after an answer");
        let number = ProbeNumber(number as u64);
        let probe = watch.ask(now, number).expect("the probe is due");
        assert_eq!(watch.ask(now, ProbeNumber(999)), None, "one probe at a time");
        let took_ms = if word == 's' { probe.timeout_ms } else { 1 };
        assert!(!watch.answer(now, ProbeNumber(999), answer(word)), "nobody asked that");
        assert!(watch.answer(now + took_ms, number, answer(word)), "this was asked");
        watch.check();
        sent.push(now.0);
        states.push(letter(watch.state()));
    }
    (states, sent, watch)
}

#[test]
fn answers_add_up() {
    for (retries, confirmations, answers, states) in [
        (2, 1, "gbbbg", "NNNEN"),
        // Failures must be in a row.
        (2, 1, "gbbgbbgbbb", "NNNNNNNNNE"),
        (0, 1, "gbg", "NEN"),
        // From the start nothing is known, and what fails is an error all the same.
        (1, 1, "bbg", "?EN"),
        // Silence is unknown until it is confirmed.
        (2, 1, "gssss", "NNN?E"),
        (0, 1, "gssg", "N?EN"),
        (0, 3, "gssssg", "N???EN"),
        // And a good answer in between ends the doubt.
        (1, 2, "gsssgss", "NN??NN?"),
        // What is refused needs no confirmation, in doubt or not.
        (1, 2, "gssb", "NN?E"),
        (1, 2, "gsb", "NNE"),
        // Whoever wants silence to count at once says so.
        (1, 0, "gss", "NNE"),
        // In error silence says nothing new.
        (0, 1, "bsss", "EEEE"),
        // What we could not ask changes nothing, for better or worse.
        (1, 1, "gubuub", "NNNNNE"),
        (0, 1, "ubug", "?EEN"),
        // Three answers in a row end a warning, and an error needs no three.
        (0, 1, "wgggwbg", "WWWNWEN"),
    ] {
        let watch = Watch::new(Time(0), assignment(retries, confirmations), None);
        assert_eq!(
            run(watch, answers).0,
            states,
            "{retries} retries, {confirmations} confirmations: {answers}"
        );
    }
}

#[test]
fn failures_are_tried_again_an_interval_later_and_silence_in_doubt_at_once() {
    let watch = Watch::new(Time(0), assignment(2, 1), None);
    // The third silence ends at 2,400; the last probe has twice the time, and after it the interval counts again.
    let (states, sent, watch) = run(watch, "ssssb");
    assert_eq!((states.as_str(), sent), ("???EE", vec![0, 1_000, 2_000, 2_401, 3_401]));
    assert_eq!(watch.news().1, "refused");
}

#[test]
fn slow_answers_are_a_warning_until_three_are_in_time() {
    let mut watch = Watch::new(Time(0), assignment(0, 1), None);
    let mut states = String::new();
    for (number, took_ms) in [100, 201, 100, 100, 250, 100, 100, 100].into_iter().enumerate() {
        let now = watch.wake_at().expect("it is asked each second");
        let number = ProbeNumber(number as u64);
        watch.ask(now, number).expect("the probe is due");
        watch.answer(now + took_ms, number, Answer::good());
        states.push(letter(watch.state()));
    }
    assert_eq!(states, "NWWWWWWN");
}

#[test]
fn an_answer_that_takes_longer_than_the_interval_delays_the_next_probe_only_until_it_is_there() {
    let mut watch = Watch::new(
        Time(0),
        MonitorAssignment {
            pace: Pace { interval_ms: 100, timeout_ms: 400, ..assignment(3, 1).pace },
            ..assignment(3, 1)
        },
        None,
    );
    watch.ask(Time(0), ProbeNumber(1)).expect("the first is due at once");
    assert_eq!(watch.wake_at(), None);
    watch.answer(Time(400), ProbeNumber(1), Answer::Silent);
    assert_eq!(watch.wake_at(), Some(Time(401)));
}

#[test]
fn a_paused_monitor_asks_nobody_and_begins_anew() {
    let (_, _, mut watch) = run(Watch::new(Time(0), assignment(0, 1), None), "b");
    let paused = MonitorAssignment { wish: MonitorWish::Pause, ..assignment(0, 1) };
    watch.ask(Time(1_000), ProbeNumber(7)).expect("it is due");
    watch.assign(Time(1_100), paused.clone());
    watch.check();
    assert_eq!((watch.state(), watch.wake_at()), (MonitorState::Paused, None));
    assert!(!watch.answer(Time(1_200), ProbeNumber(7), Answer::good()), "what was under way does not count");
    watch.assign(Time(9_000), paused);
    watch.assign(Time(9_000), assignment(0, 1));
    assert_eq!((watch.state(), watch.wake_at()), (MonitorState::Unknown, Some(Time(9_000))));
}

#[test]
fn a_drill_fails_as_the_service_would_and_asks_nobody() {
    let (_, _, mut watch) = run(Watch::new(Time(0), assignment(1, 1), None), "g");
    watch.assign(Time(1_500), MonitorAssignment { wish: MonitorWish::Fail, ..assignment(1, 1) });
    let mut states = String::new();
    for now in [1_500, 2_500] {
        assert_eq!(watch.wake_at(), Some(Time(now)));
        assert_eq!(watch.ask(Time(now), ProbeNumber(now)), None);
        watch.check();
        states.push(letter(watch.state()));
    }
    assert_eq!(states, "NE");
    watch.assign(Time(3_000), assignment(1, 1));
    assert_eq!(letter(watch.state()), 'E');
    assert_eq!(run(watch, "g").0, "N");
}

#[test]
fn what_is_asked_can_change_and_what_was_known_of_another_target_is_forgotten() {
    let (_, _, mut watch) = run(Watch::new(Time(0), assignment(0, 1), None), "b");
    let pace = Pace { interval_ms: 5_000, ..assignment(0, 1).pace };
    watch.assign(Time(10), MonitorAssignment { pace, ..assignment(0, 1) });
    assert_eq!(letter(watch.state()), 'E');
    let check = Check::Tcp { target: Target { host: "other".into(), port: 80 } };
    watch.assign(Time(20), MonitorAssignment { check, ..assignment(0, 1) });
    assert_eq!((letter(watch.state()), watch.wake_at()), ('?', Some(Time(20))));
}

#[test]
fn reasons_are_bounded_and_on_one_line() {
    let mut watch = Watch::new(Time(0), assignment(0, 1), None);
    watch.ask(Time(0), ProbeNumber(1)).expect("the first is due at once");
    watch.answer(Time(1), ProbeNumber(1), Answer::bad("no\r\n".to_owned() + &"x".repeat(5_000)));
    let reason = watch.news().1;
    assert!(reason.starts_with("no xxx") && reason.len() < 250, "{reason}");
}

/// The same rules, said another way: an error needs the failures, and silence alone needs its confirmations too.
#[test]
fn no_history_makes_an_error_too_early_or_too_late() {
    for seed in 0..2_000 {
        let mut seed = Chance::new(seed);
        let (retries, confirmations) = (seed.below(4), seed.below(3));
        let answers: String = (0..40).map(|_| ['g', 'b', 's', 'u', 's'][seed.below(5) as usize]).collect();
        let states = run(Watch::new(Time(0), assignment(retries, confirmations), None), &answers).0;
        let (mut row, mut expected, mut silent_over) = (0, '?', 0);
        for (at, word) in answers.chars().enumerate() {
            match word {
                'g' => (row, silent_over, expected) = (0, 0, 'N'),
                'u' => {}
                _ => {
                    row += 1;
                    let is_over = row > retries;
                    silent_over += u32::from(is_over && word == 's');
                    expected = match (expected, is_over, word) {
                        ('E', _, _) | (_, true, 'b') => 'E',
                        (_, true, _) if silent_over > confirmations => 'E',
                        (_, true, _) => '?',
                        (before, false, _) => before,
                    };
                }
            }
            let state = states.as_bytes()[at] as char;
            assert_eq!(state, expected, "{retries} {confirmations} {answers} at {at}: {states}");
        }
    }
}

/// Of a target that is online since 0.
fn starting(recovery: Recovery) -> Watch {
    Watch::new(Time(0), MonitorAssignment { recovery: Some(recovery), ..assignment(0, 0) }, Some(1))
}

fn recovery(start_period_ms: u64) -> Recovery {
    Recovery {
        target: wire::monitor::RecoveryTarget::Group { group: "web".into() },
        is_while_active: true,
        delay_ms: 0,
        start_period_ms,
        restarts_max: 3,
        failovers_max: 1,
        final_action: wire::monitor::FinalAction::None,
        final_command: Vec::new(),
        before_restart: Vec::new(),
        before_failover: Vec::new(),
        before_final: Vec::new(),
    }
}

#[test]
fn what_fails_while_its_target_starts_is_not_counted_until_it_has_answered_or_the_period_is_over() {
    for (start_period_ms, answers, states, sent) in [
        // Asked four times as often, and right when the period ends; then one failure is an error.
        (600, "bbbbb", "???EE", [0, 250, 500, 600, 1_600]),
        // Silence counts as little.
        (600, "ssbbb", "??EEE", [0, 401, 802, 1_802, 2_802]),
        // One good answer ends it.
        (5_000, "bgbgb", "?NENE", [0, 250, 1_250, 2_250, 3_250]),
        (0, "bgbgb", "ENENE", [0, 1_000, 2_000, 3_000, 4_000]),
    ] {
        let (found, when, _) = run(starting(recovery(start_period_ms)), answers);
        assert_eq!((found.as_str(), when.as_slice()), (states, sent.as_slice()), "{answers}");
    }
    let (found, _, watch) = run(starting(recovery(5_000)), "b");
    assert_eq!((found.as_str(), watch.news().1), ("?", "refused; it may still be starting"));
}

#[test]
fn a_drill_counts_while_its_target_starts_and_a_monitor_that_asks_always_has_no_start() {
    let mut watch = starting(recovery(5_000));
    watch.assign(Time(0), MonitorAssignment { wish: MonitorWish::Fail, ..watch.assignment.clone() });
    assert_eq!(watch.ask(Time(0), ProbeNumber(1)), None);
    assert_eq!(watch.state(), MonitorState::Error);
    watch.check();
    let always = Recovery { is_while_active: false, ..recovery(5_000) };
    assert_eq!(run(starting(always), "b").0, "E");
}

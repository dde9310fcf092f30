//! Every row of the options, and the timing that follows from them.

use super::*;
use Service::{Http, Smtp};

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

fn monitored(service: Service, line: &str) -> Options {
    match parse(service, &words(line)) {
        Ok((_, Act::Monitor(options))) => options,
        other => panic!("{line}: {other:?}"),
    }
}

fn refused(service: Service, line: &str) -> String {
    match parse(service, &words(line)) {
        Err(Mistake::BadParameter { why, .. }) => why,
        other => panic!("{line}: {other:?}"),
    }
}

/// An option of numbers from 1 to 10000.
fn range(flag: &str, read: fn(&Options) -> u64, preset: u64) {
    for service in [Http, Smtp] {
        assert_eq!(read(&monitored(service, "W")), preset);
        for right in [1, 2, 9_999, 10_000] {
            assert_eq!(read(&monitored(service, &format!("W {flag} {right}"))), right);
            assert_eq!(read(&monitored(service, &format!("W {flag}{right}"))), right);
        }
        for wrong in ["0", "10001", "-1", "1.5", "x", "+5", "99999999999999999999"] {
            let why = refused(service, &format!("W {flag} {wrong}"));
            assert_eq!(why, format!("`{flag}` is `{wrong}`; allowed: 1 to 10000"));
        }
        assert_eq!(refused(service, &format!("W {flag}")), format!("`{flag}` needs a value"));
    }
}

#[test]
fn option_identifier() {
    for service in [Http, Smtp] {
        for none in ["", "--stop", "-n 80"] {
            assert_eq!(parse(service, &words(none)), Err(Mistake::NoIdentifier), "{none}");
        }
        assert_eq!(parse(service, &[String::new()]), Err(Mistake::NoIdentifier));
        let longest = "x".repeat(255);
        for right in ["a", "Z9", longest.as_str()] {
            assert_eq!(parse(service, &words(right)).expect("it is right").0, right);
        }
        for wrong in ["a-b", "a_b", "ä", "a/b", &"x".repeat(256)] {
            refused(service, wrong);
        }
    }
}

#[test]
fn option_s_server_name() {
    for service in [Http, Smtp] {
        assert_eq!(monitored(service, "W").server, "localhost");
        assert_eq!(monitored(service, "W -s 10.0.0.1").server, "10.0.0.1");
        // Its length is not verified.
        let long = "x".repeat(300);
        assert_eq!(monitored(service, &format!("W -s {long}")).server, long);
        refused(service, "W -s");
    }
}

#[test]
fn option_n_port() {
    assert_eq!((monitored(Http, "W").port, monitored(Smtp, "W").port), (80, 25));
    assert_eq!(monitored(Http, "W -n 8080").port, 8080);
    assert_eq!(monitored(Smtp, "W -n65535").port, 65535);
    for wrong in ["0", "65536", "http", "-1"] {
        assert_eq!(
            refused(Http, &format!("W -n {wrong}")),
            format!("`-n` is `{wrong}`; allowed: 1 to 65535")
        );
    }
}

#[test]
fn option_i_interval() {
    range("-i", |options| options.interval_s, 60);
}

#[test]
fn option_c_retries() {
    range("-c", |options| options.retries, 3);
}

#[test]
fn option_r_and_t_response_wait() {
    range("-r", |options| options.response_wait_s, 10);
    range("-t", |options| options.response_wait_s, 10);
}

#[test]
fn option_v_http_version() {
    assert!(monitored(Http, "W").is_version_11 && monitored(Http, "W -v 1.1").is_version_11);
    assert!(!monitored(Http, "W -v 1.0").is_version_11);
    assert_eq!(refused(Http, "W -v 2"), "`-v` is `2`; allowed: 1.0, 1.1");
    assert_eq!(refused(Smtp, "W -v 1.0"), "there is no option `-v`");
}

#[test]
fn option_h_request_uri() {
    assert_eq!(monitored(Http, "W").uri, "/");
    assert_eq!(monitored(Http, "W -h /index.html").uri, "/index.html");
    let line = ["W", "-h", "/a b"].map(str::to_owned);
    assert!(parse(Http, &line).is_err(), "a blank would end the URI in the request");
    assert_eq!(refused(Smtp, "W -h /"), "there is no option `-h`");
}

#[test]
fn option_stop() {
    for service in [Http, Smtp] {
        assert_eq!(parse(service, &words("W --stop")), Ok(("W".into(), Act::Stop { wait_s: 10 })));
        assert_eq!(parse(service, &words("W --stop 10000")), Ok(("W".into(), Act::Stop { wait_s: 10_000 })));
        for wrong in ["0", "10001", "x"] {
            refused(service, &format!("W --stop {wrong}"));
        }
        refused(service, "W --stop 5 6");
        refused(service, "W -n 80 --stop");
    }
}

/// An option that is a whole command and takes nothing.
fn act(word: &str, act: &Act) {
    for service in [Http, Smtp] {
        assert_eq!(parse(service, &words(&format!("W {word}"))), Ok(("W".into(), act.clone())));
        refused(service, &format!("W {word} 5"));
        refused(service, &format!("W -n 80 {word}"));
        assert_eq!(parse(service, &words(word)), Err(Mistake::NoIdentifier));
    }
}

#[test]
fn option_pause() {
    act("--pause", &Act::Pause);
}

#[test]
fn option_resume() {
    act("--resume", &Act::Resume);
}

#[test]
fn option_disp() {
    act("--disp", &Act::Display);
}

#[test]
fn option_del() {
    act("--del", &Act::Delete);
}

#[test]
fn options_that_there_are_not_are_refused() {
    refused(Http, "W --other");
    refused(Http, "W word");
}

#[test]
fn the_status_counts_only_where_a_uri_was_given() {
    assert_eq!(monitored(Http, "W").wanted(), Wanted::Protocol);
    assert_eq!(monitored(Http, "W -h /").wanted(), Wanted::Protocol);
    let wanted = Wanted::Status { status_min: 100, status_max: 399, text: None };
    assert_eq!(monitored(Http, "W -h /x").wanted(), wanted);
}

/// Runs probes of which each takes `took_ms`, good or bad, and says when it ended and with what.
fn end(line: &str, probes: &str, took_ms: u64) -> Option<(u64, [u16; 2])> {
    let mut rounds = Rounds::new(Time(0), &monitored(Http, line));
    for probe in probes.chars() {
        let began = rounds.due().expect("it is not interrupted");
        let now = began + took_ms;
        let result = if probe == 'g' { Ok(()) } else { Err(Failure::Connect { number: 111 }) };
        if let Some(messages) = rounds.probed(now, began, result) {
            return Some((now.0, messages.map(Message::id)));
        }
    }
    None
}

#[test]
fn an_error_is_confirmed_after_interval_times_retries_and_one_probe() {
    // 60 x 2 + alpha, as the guide reckons.
    assert_eq!(end("W -i 60 -c 2", "bbbbb", 0), Some((120_000, [72, 6])));
    assert_eq!(end("W -i 60 -c 2 -r 10", "bbbbb", 10_000), Some((130_000, [72, 6])));
    // The presets: three minutes and ten seconds at most.
    assert_eq!(end("W", "bbbbbb", 10_000), Some((190_000, [72, 6])));
    // A probe that takes longer than the interval is followed at once.
    assert_eq!(end("W -i 1 -c 1 -r 5", "bbb", 5_000), Some((10_000, [72, 6])));
    assert_eq!(end("W -i 1 -c 2", "bbgbbgbb", 0), None);
}

#[test]
fn connect_errors_are_of_the_setting_until_it_has_worked_once() {
    let failure = Failure::Connect { number: 111 };
    let mut rounds = Rounds::new(Time(0), &monitored(Http, "W -c 1"));
    rounds.probed(Time(0), Time(0), Err(failure));
    let [first, _] = rounds.probed(Time(0), Time(0), Err(failure)).expect("it is confirmed");
    assert_eq!(first, Message::ConnectError { number: 111, is_setting: true });
    let mut rounds = Rounds::new(Time(0), &monitored(Http, "W -c 1"));
    rounds.probed(Time(0), Time(0), Ok(()));
    rounds.probed(Time(0), Time(0), Err(failure));
    let [first, _] = rounds.probed(Time(0), Time(0), Err(failure)).expect("it is confirmed");
    assert_eq!(first, Message::ConnectError { number: 111, is_setting: false });
}

#[test]
fn an_interrupted_monitor_waits_and_forgets_its_failures() {
    let mut rounds = Rounds::new(Time(0), &monitored(Http, "W -i 5 -c 1"));
    rounds.probed(Time(0), Time(0), Err(Failure::Response));
    assert!(rounds.pause() && !rounds.pause());
    assert_eq!(rounds.due(), None);
    assert!(rounds.resume(Time(9_000)) && !rounds.resume(Time(9_500)));
    assert_eq!(rounds.due(), Some(Time(9_000)));
    assert_eq!(rounds.probed(Time(9_000), Time(9_000), Err(Failure::Response)), None);
    assert_eq!(rounds.due(), Some(Time(14_000)));
}

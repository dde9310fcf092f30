//! Stories of who gets a request: queues, sessions, members that fail, backups, levels and zones.

use super::named;
use super::stage::{self, Stage, get, member, read_answer, read_request};
use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;
use wire::link::FromManager;
use wire::router::RouterReport;
use wire::settings::{RouteSettings, Spread};
use wire::view::{AffinityKind, RunState};

/// Who has come to the door, and how many were let through.
type Behind = (Vec<String>, usize);

/// A member's door: each request is noted by its path, and answered once it is let through.
#[derive(Clone, Default)]
struct Door(Arc<(Mutex<Behind>, Condvar)>);

impl Door {
    /// Lets so many requests through, now or later.
    fn open_for(&self, count: usize) {
        self.0.0.lock().expect("no panic").1 += count;
        self.0.1.notify_all();
    }

    /// Waits until so many have come, and says which.
    fn wait_for(&self, count: usize) -> Vec<String> {
        let come = self.0.0.lock().expect("no panic");
        let come = self.0.1.wait_while(come, |(come, _)| come.len() < count).expect("no panic");
        come.0.clone()
    }

    fn serve(&self) -> impl Fn(TcpStream) + Send + Sync + 'static {
        let door = self.clone();
        move |mut caller| {
            while let Some(request) = read_request(&mut caller) {
                let path = request.split(' ').nth(1).expect("a target").to_owned();
                let mut come = door.0.0.lock().expect("no panic");
                come.0.push(path.clone());
                door.0.1.notify_all();
                let mut let_in = door.0.1.wait_while(come, |(_, open)| *open == 0).expect("no panic");
                let_in.1 -= 1;
                drop(let_in);
                let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{path}", path.len());
                if caller.write_all(answer.as_bytes()).is_err() {
                    return;
                }
            }
        }
    }
}

/// A router before one member that takes one request at once; `queue_max` others may wait.
fn queued(queue_max: u32, queue_ms: u64) -> (Stage, Door) {
    let (stage, door) = (Stage::new(), Door::default());
    stage.member("a", 1, door.serve());
    stage.change(|view| {
        member(view, "a").requests_max = 1;
        (view.health.queue_max, view.health.queue_ms) = (queue_max, queue_ms);
    });
    (stage, door)
}

fn send(stage: &Stage, request: &str) -> TcpStream {
    let mut client = stage.connect();
    client.write_all(request.as_bytes()).expect("the router reads");
    client
}

fn wait_for_waiting(stage: &Stage, count: u64) {
    stage.wait_for_report(|report| report.clusters[0].waiting == count);
}

/// The answer to a request with this cookie.
fn ask_with(stage: &Stage, cookie: &str) -> String {
    let mut client = send(stage, &format!("GET / HTTP/1.1\r\nHost: a\r\nCookie: {cookie}\r\n\r\n"));
    read_answer(&mut client)
}

/// The names of the members that answer so many requests of no session, in order.
fn names(stage: &Stage, count: usize) -> String {
    let mut client = stage.connect();
    let mut names = String::new();
    for _ in 0..count {
        client.write_all(get("/").as_bytes()).expect("the router reads");
        let answer = read_answer(&mut client);
        names.push(answer.chars().next_back().expect("an answer"));
        if answer.contains("Connection: close") {
            client = stage.connect();
        }
    }
    names
}

fn count(names: &str, name: char) -> usize {
    names.chars().filter(|it| *it == name).count()
}

#[test]
fn who_waits_for_a_full_member_is_served_in_order_and_a_full_queue_refuses() {
    let (stage, door) = queued(2, 60_000);
    let mut first = send(&stage, &get("/1"));
    door.wait_for(1);
    let mut second = send(&stage, &get("/2"));
    wait_for_waiting(&stage, 1);
    let mut third = send(&stage, &get("/3"));
    wait_for_waiting(&stage, 2);
    let refused = stage.ask("/4");
    assert!(refused.starts_with("HTTP/1.1 503 "), "{refused}");
    door.open_for(3);
    for (client, path) in [(&mut first, "/1"), (&mut second, "/2"), (&mut third, "/3")] {
        assert!(read_answer(client).ends_with(path));
    }
    assert_eq!(door.wait_for(3), ["/1", "/2", "/3"]);
    let report = stage.wait_for_report(|report| report.clusters[0].waiting == 0);
    assert_eq!((report.clusters[0].queued, report.clusters[0].queue_refused), (2, 1));
}

#[test]
fn who_waits_too_long_is_told_503() {
    let (stage, door) = queued(5, 50);
    let mut first = send(&stage, &get("/1"));
    door.wait_for(1);
    assert!(stage.ask("/2").starts_with("HTTP/1.1 503 "));
    door.open_for(2);
    assert!(read_answer(&mut first).ends_with("/1"));
    assert!(stage.ask("/3").ends_with("/3"), "there is room again");
    assert_eq!(door.wait_for(2), ["/1", "/3"]);
}

#[test]
fn who_finds_no_room_is_logged_and_counted_like_any_request_of_its_route() {
    let (stage, door) = queued(1, 50);
    let path = stage::log_json(&stage, "no-room");
    let mut first = send(&stage, &get("/1"));
    door.wait_for(1);
    assert!(stage.ask("/2").starts_with("HTTP/1.1 503 "));
    let lines = stage::wait_for_lines(&path, 1);
    let line: serde_json::Value = serde_json::from_str(&lines[0]).expect("JSON");
    let told = ["target", "host", "route", "cluster"].map(|name| line[name].as_str().unwrap_or("-"));
    assert_eq!(told, ["/2", "a", "*/", "shop"]);
    assert_eq!((&line["status"], &line["member"]), (&503.into(), &serde_json::Value::Null));
    assert!(line["duration_us"].as_u64().expect("a number") >= 50_000, "it has waited: {line}");
    stage.wait_for_report(|report| report.routes.iter().any(|route| route.counts.by_class[4] == 1));
    door.open_for(1);
    assert!(read_answer(&mut first).ends_with("/1"));
    std::fs::remove_file(&path).expect("ours");
}

#[test]
fn who_goes_while_it_waits_leaves_its_place() {
    let (stage, door) = queued(1, 600_000);
    // A client that closes with an answer unread breaks the connection; an end alone would be waited for.
    let mut second = send(&stage, &get("/0"));
    door.open_for(1);
    assert_eq!(second.peek(&mut [0]).expect("an answer"), 1);
    let mut first = send(&stage, &get("/1"));
    door.wait_for(2);
    second.write_all(get("/2").as_bytes()).expect("the router reads");
    wait_for_waiting(&stage, 1);
    drop(second);
    wait_for_waiting(&stage, 0);
    let mut third = send(&stage, &get("/3"));
    wait_for_waiting(&stage, 1);
    door.open_for(2);
    assert!(read_answer(&mut first).ends_with("/1"));
    assert!(read_answer(&mut third).ends_with("/3"));
    assert_eq!(door.wait_for(3), ["/0", "/1", "/3"], "the second never came");
}

#[test]
fn requests_max_holds_over_all_threads() {
    const CLIENTS: usize = 24;
    let stage = Stage::with(|settings| settings.threads = 4);
    let (now, most) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let (at_once, highest) = (now.clone(), most.clone());
    stage.member("a", 1, move |mut caller| {
        while read_request(&mut caller).is_some() {
            highest.fetch_max(at_once.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(20));
            at_once.fetch_sub(1, Ordering::SeqCst);
            if caller.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na").is_err() {
                return;
            }
        }
    });
    stage.change(|view| {
        member(view, "a").requests_max = 3;
        (view.health.queue_max, view.health.queue_ms) = (100, 60_000);
    });
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| send(&stage, &get("/"))).collect();
    for client in &mut clients {
        let answer = read_answer(client);
        assert!(answer.ends_with('a'), "{answer}");
    }
    let most = most.load(Ordering::SeqCst);
    assert!((2..=3).contains(&most), "{most} at once");
}

#[test]
fn the_routers_own_cookie_is_set_once_and_believed_only_if_signed() {
    let stage = Stage::with(|settings| settings.cookie_keys = vec!["0a0a".into()]);
    stage.member("a", 1, named("a"));
    stage.member("b", 1, named("b"));
    stage.change(|view| {
        let affinity = view.affinity.as_mut().expect("the stage's view has affinity");
        (affinity.kind, affinity.cookie, affinity.separator) = (AffinityKind::Own, "MUSTERID".into(), '.');
    });
    let set = |answer: &str| {
        let line = answer.lines().find_map(|line| line.strip_prefix("Set-Cookie: "))?;
        assert!(line.ends_with("; Path=/; HttpOnly; SameSite=Lax"), "no Secure without TLS: {line}");
        Some(line.split(';').next().expect("a value").to_owned())
    };
    let first = stage.ask("/");
    let cookie = set(&first).expect("a cookie");
    let name = &first[first.len() - 1..];
    let is_kept = |cookie: &str| {
        (0..6).all(|_| {
            let answer = ask_with(&stage, cookie);
            set(&answer).is_none() && answer.ends_with(name)
        })
    };
    assert!(is_kept(&cookie), "{cookie} leads to {name}");
    assert!(
        is_kept(&format!("x=y; MUSTERID=nonsense; {cookie}")),
        "another cookie of that name is passed over"
    );
    let other = if name == "a" { "b" } else { "a" };
    let forged = cookie.replace(&format!(".{name}."), &format!(".{other}."));
    assert_ne!(forged, cookie);
    assert!((0..4).all(|_| set(&ask_with(&stage, &forged)).is_some_and(|fresh| fresh != forged)));
    stage.change_settings(|settings| settings.cookie_keys = vec!["0b0b".into(), "0a0a".into()]);
    assert!(is_kept(&cookie), "the older key is still believed");
    stage.change_settings(|settings| settings.cookie_keys = vec!["0b0b".into()]);
    assert!(set(&ask_with(&stage, &cookie)).is_some(), "a key that is gone is believed no more");
}

#[test]
fn a_session_fails_over_and_comes_back_to_its_first_member() {
    let stage = Stage::new();
    for name in ["a", "b", "c"] {
        stage.member(name, 1, named(name));
    }
    let ask = || ask_with(&stage, "JSESSIONID=0000session:b");
    assert!(ask().ends_with('b'));
    stage.set_state("b", RunState::Down);
    let (one, two) = (ask(), ask());
    let last = |answer: &str| answer.chars().next_back();
    assert!(!one.ends_with('b') && last(&one) == last(&two), "its number finds the same other member");
    stage.set_state("b", RunState::Up);
    assert!(ask().ends_with('b'));
    stage.set_state("b", RunState::Draining);
    assert!(ask().ends_with('b'), "a member that drains keeps its sessions");
    assert!(!names(&stage, 6).contains('b'), "and gets no new ones");
    stage.wait_for_report(|report| report.clusters[0].failed_over == 2);
}

#[test]
fn a_strict_session_is_refused_while_its_member_is_away() {
    let stage = Stage::new();
    stage.member("a", 1, named("a"));
    stage.member("b", 1, named("b"));
    stage.change(|view| view.affinity.as_mut().expect("the stage's view has affinity").is_strict = true);
    stage.set_state("b", RunState::Down);
    assert!(ask_with(&stage, "JSESSIONID=0000session:b").starts_with("HTTP/1.1 503 "));
    assert!(ask_with(&stage, "JSESSIONID=0000session:nobody").ends_with('a'), "an id that nobody has");
    assert_eq!(names(&stage, 2), "aa");
    stage.set_state("b", RunState::Up);
    assert!(ask_with(&stage, "JSESSIONID=0000session:b").ends_with('b'));
}

/// A member that fails while it is told to; its answers end with its name in either case.
fn failing(name: &'static str) -> (Arc<AtomicBool>, impl Fn(TcpStream) + Send + Sync + 'static) {
    let fails = Arc::new(AtomicBool::new(true));
    let told = fails.clone();
    let serve = move |mut caller: TcpStream| {
        while read_request(&mut caller).is_some() {
            let status = if told.load(Ordering::SeqCst) { "500 Broken" } else { "200 OK" };
            let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 1\r\n\r\n{name}");
            if caller.write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    };
    (fails, serve)
}

#[test]
fn a_third_at_most_is_left_out_for_failing_and_the_report_says_why() {
    let stage = Stage::new();
    stage.member("a", 1, failing("a").1);
    stage.member("b", 1, failing("b").1);
    stage.member("c", 1, named("c"));
    stage.change(|view| {
        (view.health.eject_after, view.health.ejects_on_status) = (2, true);
        view.health.eject_ms = 600_000;
    });
    names(&stage, 12);
    let later = names(&stage, 12);
    assert_eq!(count(&later, 'c'), 6, "{later}");
    let left = later.chars().find(|name| *name != 'c').expect("one of those that fail stays");
    assert_eq!(count(&later, left), 6, "{later}");
    let report = stage
        .wait_for_report(|report| report.clusters[0].members.iter().any(|member| member.ejection.is_some()));
    let ejections: Vec<_> =
        report.clusters[0].members.iter().filter_map(|member| member.ejection.as_ref()).collect();
    assert_eq!(ejections.len(), 1, "{ejections:?}");
    assert_eq!(ejections[0].reason, "2 failures in a row, the last: answers with status 500");
    assert_eq!(ejections[0].threads, 1);
    assert!(ejections[0].left_ms > 0);
}

#[test]
fn a_member_that_was_left_out_comes_back() {
    let stage = Stage::new();
    let (fails, serve) = failing("a");
    stage.member("a", 1, serve);
    stage.member("b", 1, named("b"));
    stage.change(|view| {
        (view.health.eject_after, view.health.ejects_on_status) = (3, true);
        view.health.eject_ms = 300;
    });
    let early = names(&stage, 12);
    assert!(count(&early, 'a') >= 3, "{early}");
    fails.store(false, Ordering::SeqCst);
    let mut seen = 0;
    // As many as come within its time out; then each second one is its own, whichever of the two begins.
    while count(&names(&stage, 4), 'a') != 2 {
        seen += 1;
        assert!(seen < 6_000, "it stays left out");
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(count(&names(&stage, 10), 'a'), 5);
}

#[test]
fn when_all_fail_their_probes_only_a_router_in_panic_uses_them() {
    let stage = Stage::new();
    for name in ["a", "b", "c"] {
        stage.member(name, 1, named(name));
    }
    stage.change(|view| {
        for member in &mut view.members {
            (member.state, member.is_lost, member.only_fails_probe) = (RunState::Down, true, true);
        }
    });
    assert!(stage.ask("/").starts_with("HTTP/1.1 503 "));
    stage.change(|view| view.health.panic_percent = 50);
    let all = names(&stage, 9);
    assert!(['a', 'b', 'c'].iter().all(|name| count(&all, *name) == 3), "{all}");
    assert!(ask_with(&stage, "JSESSIONID=0000session:b").ends_with('b'), "sessions stay");
    // An operator has stopped it: no panic changes that.
    stage.change(|view| member(view, "a").only_fails_probe = false);
    assert_eq!(count(&names(&stage, 6), 'a'), 0);
    stage.change(|view| {
        for member in view.members.iter_mut().skip(1) {
            (member.state, member.is_lost, member.only_fails_probe) = (RunState::Up, false, false);
        }
        member(view, "a").only_fails_probe = true;
    });
    assert_eq!(count(&names(&stage, 6), 'a'), 0, "two of three can be used: no panic");
}

#[test]
fn a_request_goes_on_in_panic_when_another_view_says_again_that_its_member_is_lost() {
    let (stage, door) = (Stage::new(), Door::default());
    stage.member("a", 1, door.serve());
    stage.change(|view| {
        view.health.panic_percent = 50;
        let member = member(view, "a");
        (member.state, member.is_lost, member.only_fails_probe) = (RunState::Down, true, true);
    });
    let mut client = send(&stage, &get("/1"));
    door.wait_for(1);
    stage.change(|view| member(view, "a").weight = 2);
    door.open_for(1);
    assert!(read_answer(&mut client).ends_with("/1"));
}

#[test]
fn an_idempotency_key_lets_a_broken_post_be_repeated() {
    let stage = Stage::new();
    let seen = stage.member("a", 1, |mut caller| drop(read_request(&mut caller)));
    stage.member("b", 1, named("b"));
    let post = |header: &str| {
        let request = format!(
            "POST / HTTP/1.1\r\nHost: a\r\nCookie: JSESSIONID=0000x:a\r\n{header}Content-Length: 3\r\n\r\nabc"
        );
        read_answer(&mut send(&stage, &request))
    };
    let answer = post("");
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
    assert_eq!(seen.count(), 1);
    // A fresh view forgets that it has just failed.
    stage.set_state("a", RunState::Down);
    stage.set_state("a", RunState::Up);
    let answer = post("Idempotency-Key: \"8e03978e\"\r\n");
    assert!(answer.ends_with('b'), "{answer}");
    assert_eq!(seen.count(), 2, "the session's own member was tried first");
}

#[test]
fn backups_are_used_one_after_the_other() {
    let stage = Stage::new();
    for name in ["a", "b", "c"] {
        stage.member(name, 1, named(name));
    }
    stage.change(|view| view.members.iter_mut().skip(1).for_each(|member| member.is_backup = true));
    assert_eq!(names(&stage, 3), "aaa");
    stage.set_state("a", RunState::Down);
    assert_eq!(names(&stage, 3), "bbb");
    stage.set_state("b", RunState::Down);
    assert_eq!(names(&stage, 3), "ccc");
    stage.set_state("a", RunState::Up);
    assert_eq!(names(&stage, 3), "aaa");
}

fn stage_with_levels(spread: Spread) -> Stage {
    Stage::with(|settings| {
        settings.zone = "east".into();
        let route = &mut settings.routes[0];
        *route = RouteSettings::to_cluster("*", "/", "shop".into());
        route.levels.push(vec!["spare".into()]);
        route.spread = spread;
    })
}

#[test]
fn a_level_spills_what_it_cannot_carry_and_keeps_sessions_over_all() {
    let stage = stage_with_levels(Spread::Spill);
    stage.tell("spare", vec![Stage::serve("s", 1, named("s")).0]);
    for (name, weight) in [("a", 5), ("b", 3), ("c", 2)] {
        stage.member(name, weight, named(name));
    }
    assert_eq!(count(&names(&stage, 20), 's'), 0);
    stage.set_state("b", RunState::Down);
    // 7 of 10 can be used: 1.4 times that is 98 of a hundred.
    assert_eq!(count(&names(&stage, 100), 's'), 2);
    stage.set_state("c", RunState::Down);
    assert_eq!(count(&names(&stage, 100), 's'), 30);
    assert!(ask_with(&stage, "JSESSIONID=0000session:a").ends_with('a'));
    assert!(ask_with(&stage, "JSESSIONID=0000session:s").ends_with('s'), "a session of the other level");
    stage.set_state("a", RunState::Down);
    assert_eq!(names(&stage, 4), "ssss");
}

#[test]
fn a_strict_backup_level_waits_until_nothing_before_it_is_left() {
    let stage = stage_with_levels(Spread::StrictBackup);
    stage.tell("spare", vec![Stage::serve("s", 1, named("s")).0]);
    stage.member("a", 1, named("a"));
    stage.member("b", 9, named("b"));
    stage.set_state("b", RunState::Down);
    assert_eq!(names(&stage, 4), "aaaa");
    stage.set_state("a", RunState::Down);
    assert_eq!(names(&stage, 4), "ssss");
}

#[test]
fn members_of_the_routers_zone_come_first() {
    let stage = Stage::with(|settings| {
        settings.zone = "east".into();
        settings.routes[0].spread = Spread::ZoneFirst;
    });
    for name in ["a", "b", "c"] {
        stage.member(name, 1, named(name));
    }
    stage.change(|view| {
        for (member, zone) in view.members.iter_mut().zip(["east", "east", "west"]) {
            member.zone = zone.into();
        }
    });
    assert_eq!(count(&names(&stage, 10), 'c'), 0);
    stage.set_state("a", RunState::Down);
    // Half of the zone can be used: it carries 70 of a hundred.
    assert_eq!(count(&names(&stage, 100), 'c'), 30);
    stage.set_state("b", RunState::Down);
    assert_eq!(names(&stage, 3), "ccc");
}

#[test]
fn a_change_that_does_not_fit_is_not_applied_and_whole_views_are_asked_for() {
    let stage = Stage::new();
    let seen = stage.member("one", 1, named("one"));
    stage.wait_for_report(|report| report.takes_changes);
    let before = stage.told_view();
    // As if one between had been lost.
    let mut later = before.clone();
    later.epoch.number += 2;
    member(&mut later, "one").state = RunState::Down;
    let mut change = logic::view::change(&before, &later).expect("it is later");
    change.from += 1;
    stage.say(&FromManager::Changes(vec![change]));
    stage.wait_for_report(|report| !report.takes_changes);
    assert!(stage.ask("/").contains("one"), "it goes on with what it has");
    assert_eq!(seen.count(), 1);
    stage.say(&FromManager::Views(vec![later.clone()]));
    let is_later = |report: &RouterReport| report.clusters.iter().any(|it| it.applied == later.epoch);
    stage.wait_for_report(|report| report.takes_changes && is_later(report));
}

#[test]
fn what_was_under_way_when_a_member_moved_ends_there_and_what_follows_goes_to_the_new_place() {
    let (stage, old) = (Stage::new(), Door::default());
    stage.member("a", 1, old.serve());
    let mut client = stage.connect();
    client.write_all(get("/first").as_bytes()).expect("the router reads");
    old.wait_for(1);
    let (moved, _) = Stage::serve("a", 1, named("new"));
    stage.change(|view| member(view, "a").address = moved.address);
    // Whoever comes to the old place finds it open.
    old.open_for(9);
    assert!(read_answer(&mut client).ends_with("/first"));
    client.write_all(get("/second").as_bytes()).expect("the router reads");
    let answer = read_answer(&mut client);
    assert!(answer.ends_with("new"), "{answer}");
    assert_eq!(old.wait_for(1), ["/first"]);
}

//! `muster apply` on a cell under load: what a file can say changes in place, no connection is dropped, and a file that
//! is wrong changes nothing.

mod support;

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use support::cell::{Cell, muster, shop_tables};
use support::http::{self, Connection};
use support::steady::Steady;
use support::{Scratch, free_address, wait_for};
use wire::status::{Applied, ConfigText, ErrorBody};

/// Requests that tell that a cell goes on.
const ENOUGH: u64 = 300;
/// An answer that is too long for the buffers on its way: most of it is still to come while its reader pauses.
const LONG_BYTES: usize = 64_000_000;

/// An answer of which the beginning has been read, on a connection that is kept.
struct LongAnswer {
    connection: Connection,
    /// Who gives it.
    member: String,
    read: usize,
}

impl LongAnswer {
    fn begin(address: SocketAddr) -> Self {
        let mut connection = Connection::open(address);
        let request = format!("GET /bytes/{LONG_BYTES} HTTP/1.1\r\nHost: {address}\r\n\r\n");
        connection.send(request.as_bytes()).expect("the router takes the request");
        let head = connection.read_head().expect("the answer begins");
        assert_eq!((head.status, head.header("content-length")), (200, Some(&*LONG_BYTES.to_string())));
        let member = head.header("x-member").expect("the member says its name").to_owned();
        Self { connection, member, read: 0 }
    }

    /// Begins answers until each of these members gives one. Other load decides whose turn it is.
    fn begin_on_each(address: SocketAddr, members: &[&str]) -> Vec<Self> {
        let mut begun: Vec<Self> = Vec::new();
        wait_for("each member to give a long answer", || {
            begun.push(Self::begin(address));
            match members.iter().find(|member| begun.iter().all(|answer| answer.member != **member)) {
                Some(missing) => Err(format!("none of {missing} in {}", begun.len())),
                None => Ok(()),
            }
        });
        begun
    }

    /// Reads one more part of it.
    fn go_on(&mut self) {
        let part = 1_000_000.min(LONG_BYTES - self.read);
        self.read += self.connection.read_exact(part).expect("the answer goes on").len();
    }

    /// Reads the rest, and then asks for something else on the same connection.
    fn finish(mut self) {
        while self.read < LONG_BYTES {
            self.go_on();
        }
        self.connection.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").expect("the connection is kept");
        assert_eq!(self.connection.read_answer("GET").expect("it is answered").text(), "ok\n");
    }
}

/// Checks that `first` gets this part, in percent, of what all members of the shop get from now on.
fn check_share(cell: &Cell, load: &Steady, first: &str, percent: f64) {
    let counts = || -> Vec<(bool, u64)> {
        let members = cell.status().clusters.remove(0).members;
        members.into_iter().map(|member| (member.member.0 == first, member.requests)).collect()
    };
    let before = counts();
    load.go_on(ENOUGH);
    wait_for(&format!("{first} to get {percent} percent"), || {
        let deltas =
            counts().into_iter().zip(&before).map(|((is_first, now), (_, then))| (is_first, now - then));
        let (of_first, all) = deltas.fold((0, 0), |(of_first, all), (is_first, count)| {
            (of_first + count * u64::from(is_first), all + count)
        });
        let found = of_first as f64 / all as f64 * 100.0;
        if all > ENOUGH && (found - percent).abs() < 2.0 {
            Ok(())
        } else {
            Err(format!("{found:.1} of {all}"))
        }
    });
}

#[test]
fn weights_members_and_routes_change_under_way() {
    let scratch = Scratch::new();
    let cell = Cell::start(&scratch, &shop_tables(&[("s1", 2), ("s2", 2)]));
    cell.wait_until_all_up("shop");
    let load = Steady::start(cell.router, "/healthz", 4);
    let mut long = LongAnswer::begin_on_each(cell.router, &["s1", "s2"]);
    long.iter_mut().for_each(LongAnswer::go_on);
    check_share(&cell, &load, "s1", 50.0);

    cell.apply(&[("members.s1]\nweight = 2", "members.s1]\nweight = 6")]);
    cell.wait_until_all_up("shop");
    check_share(&cell, &load, "s1", 75.0);
    long.iter_mut().for_each(LongAnswer::go_on);

    cell.apply(&[(
        "[clusters.shop.members.s2]",
        "[clusters.shop.members.s3]\nweight = 4\n\n[clusters.shop.members.s2]",
    )]);
    cell.wait_until_all_up("shop");
    assert_eq!(cell.status().clusters[0].members.len(), 3);
    wait_for("s3 to answer", || {
        let name = http::get(cell.router, "/healthz").map_err(|error| error.to_string())?;
        if name.header("x-member") == Some("s3") {
            Ok(())
        } else {
            Err(format!("{:?}", name.header("x-member")))
        }
    });
    long.iter_mut().for_each(LongAnswer::go_on);
    load.go_on(ENOUGH);

    let other = "[clusters.other.members.o1]\ncommand = [\"sleep\", \"1000\"]\nenvironment = { PORT = \"{port}\" }\n\
                 probe = { kind = \"process\" }\n";
    let routes = "threads = 2\n\n[[routers.front.routes]]\npath = \"/\"\ncluster = \"shop\"\n\n\
                  [[routers.front.routes]]\npath = \"/other\"\ncluster = \"other\"\n";
    cell.apply(&[("threads = 2\n", routes), ("[clusters.shop]\n", &format!("{other}\n[clusters.shop]\n"))]);
    cell.wait_until_all_up("other");
    let explained = cell.must(&["explain", "/other/x", "--json"]);
    assert!(explained.contains("\"o1\""), "{explained}");
    wait_for("the route to lead to a member that does not listen", || {
        let answer = http::get(cell.router, "/other").map_err(|error| error.to_string())?;
        if answer.status == 502 || answer.status == 503 { Ok(()) } else { Err(format!("{}", answer.status)) }
    });
    long.iter_mut().for_each(LongAnswer::go_on);
    load.go_on(ENOUGH);
    long.into_iter().for_each(LongAnswer::finish);
    load.finish();
    cell.stop();
}

#[test]
fn a_member_that_is_taken_out_finishes_its_answers() {
    let scratch = Scratch::new();
    let tables = shop_tables(&[("s1", 2), ("s2", 2)]).replace("drain_ms = 2000", "drain_ms = 120000");
    let cell = Cell::start(&scratch, &tables);
    cell.wait_until_all_up("shop");
    let load = Steady::start(cell.router, "/healthz", 4);
    let mut long = LongAnswer::begin_on_each(cell.router, &["s1", "s2"]);
    long.iter_mut().for_each(LongAnswer::go_on);
    let pid = cell.member_pid("shop", "s2");
    cell.apply(&[("\n[clusters.shop.members.s2]\nweight = 2\n", "")]);
    load.go_on(ENOUGH);
    assert!(support::is_alive(pid), "it still has something to do");
    long.into_iter().for_each(LongAnswer::finish);
    wait_for("s2 to be gone", || if support::is_alive(pid) { Err("it is there".into()) } else { Ok(()) });
    assert_eq!(cell.status().clusters[0].members.len(), 1);
    load.go_on(ENOUGH);
    load.finish();
    cell.stop();
}

/// Connects again and again until told to stop. An address may stop listening, but whoever had connected is served.
fn connect_until(must_stop: &AtomicBool, address: SocketAddr) -> (u64, Vec<String>) {
    let (mut answered, mut problems) = (0, Vec::new());
    while !must_stop.load(Ordering::Relaxed) {
        let Ok(mut connection) = Connection::try_open(address) else { continue };
        let request = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        match connection.send(request).and_then(|()| connection.read_answer("GET")) {
            Ok(answer) if answer.status == 200 => answered += 1,
            Ok(answer) => problems.push(format!("status {}", answer.status)),
            Err(error) => problems.push(format!("{error}")),
        }
    }
    (answered, problems)
}

#[test]
fn a_router_moves_to_another_address_without_dropping_a_connection() {
    let scratch = Scratch::new();
    let mut cell = Cell::start(&scratch, &shop_tables(&[("s1", 2), ("s2", 2)]));
    cell.wait_until_all_up("shop");
    let (old, new) = (cell.router, free_address());
    let mut long = LongAnswer::begin(old);
    long.go_on();
    let must_stop = AtomicBool::new(false);
    let (answered, problems) = std::thread::scope(|scope| {
        let connecting = scope.spawn(|| connect_until(&must_stop, old));
        cell.apply(&[(&format!("listen = [\"{old}\"]"), &format!("listen = [\"{old}\", \"{new}\"]"))]);
        wait_for("the new address to answer", || {
            http::get(new, "/healthz").map_err(|error| error.to_string())
        });
        cell.router = new;
        let load = Steady::start(new, "/healthz", 2);
        load.go_on(ENOUGH);
        cell.apply(&[(&format!("\"{old}\", "), "")]);
        let closed = wait_for("the old address to be closed", || match Connection::try_open(old) {
            Ok(_) => Err("it takes connections".into()),
            Err(error) => Ok(error.kind()),
        });
        assert_eq!(closed, ErrorKind::ConnectionRefused);
        load.go_on(ENOUGH);
        load.finish();
        must_stop.store(true, Ordering::Relaxed);
        connecting.join().expect("it only counts")
    });
    assert_eq!(problems, Vec::<String>::new(), "of {answered} connections");
    assert!(answered > 0);
    long.go_on();
    long.finish();
    let listening: Vec<SocketAddr> = cell.status().routers[0].listening.clone();
    assert_eq!(listening, [new]);
    cell.stop();
}

#[test]
fn a_wrong_file_changes_nothing_and_says_where_it_is_wrong() {
    let scratch = Scratch::new();
    let cell = Cell::start(&scratch, &shop_tables(&[("s1", 2), ("s2", 2)]));
    cell.wait_until_all_up("shop");
    let text = std::fs::read_to_string(&cell.config).expect("the test wrote it");
    let before = cell.status();
    let wrong = [
        ("weight = 2", "weight = 2000", "M1004", "2000", "0 to 1000"),
        ("weight = 2", "weight = \"2\"", "M1003", "\"2\"", "0 to 1000"),
        ("weight = 2", "wieght = 2", "M1002", "wieght", "weight"),
        ("kind = \"http\"", "kind = \"htpp\"", "M1004", "\"htpp\"", "http"),
        ("weight = 2", "weight = ", "M1001", "", ""),
        ("threads = 2", "threads = 2\nthreads = 3", "M1005", "threads", "once"),
    ];
    for (old, new, code, value, allowed) in wrong {
        let line = text[..text.find(old).expect("it is there")].lines().count() + new.matches('\n').count();
        let line = if text[..text.find(old).expect("it is there")].ends_with('\n') { line + 1 } else { line };
        let bad = scratch.write("bad.toml", &text.replacen(old, new, 1));
        let bad = bad.display().to_string();
        let said = cell.muster(&["apply", &bad]);
        assert_eq!((said.code, said.data.as_str()), (Some(1), ""), "{said:?}");
        assert!(said.talk.starts_with(&format!("{bad}:{line}:")), "it names line {line}: {said:?}");
        for part in [code, value, allowed] {
            assert!(said.talk.contains(part), "it names {part}: {said:?}");
        }
        assert_eq!(muster(&["check", "--file-only", "--config", &bad]).code, Some(1));
        // A client that does not look for itself is refused by the cell in the same way.
        let answer =
            cell.ask("POST", "/api/v1/config", text.replacen(old, new, 1).as_bytes()).expect("an answer");
        let body: ErrorBody = serde_json::from_slice(&answer.body).expect("a refusal is JSON");
        assert_eq!((answer.status, body.code.as_str()), (422, code), "{body:?}");
    }
    let after = cell.status();
    assert_eq!(after.config_revision, before.config_revision);
    assert_eq!(after.clusters[0].epoch, before.clusters[0].epoch);
    let kept: ConfigText = cell.read("/api/v1/config").expect("the configuration in force");
    assert_eq!(kept.text, text);
    cell.stop();
}

#[test]
fn a_dry_run_tells_the_changes_and_makes_none() {
    let scratch = Scratch::new();
    let cell = Cell::start(&scratch, &shop_tables(&[("s1", 2), ("s2", 2)]));
    cell.wait_until_all_up("shop");
    let text = std::fs::read_to_string(&cell.config).expect("the test wrote it");
    let new = scratch.write("new.toml", &text.replace("members.s2]\nweight = 2", "members.s2]\nweight = 7"));
    let new = new.display().to_string();
    let said = cell.must(&["apply", "--dry-run", &new]);
    assert!(said.contains("shop/s2") && said.contains('7') && said.contains("nothing has changed"), "{said}");
    assert_eq!((cell.status().config_revision, cell.member("shop", "s2").weight), (1, 2));
    let applied: Applied = serde_json::from_str(&cell.must(&["apply", "--json", &new])).expect("JSON");
    assert_eq!((applied.revision, applied.changes.len()), (2, 1), "{applied:?}");
    assert_eq!((cell.status().config_revision, cell.member("shop", "s2").weight), (2, 7));
    let again: Applied = serde_json::from_str(&cell.must(&["apply", "--json", &new])).expect("JSON");
    assert_eq!((again.revision, again.changes.len()), (2, 0), "the same again is no change");
    cell.stop();
}

//! A router that serves from a plugin-cfg.xml alone: each attribute that it acts on has a test named after it.

#[path = "plugin_cfg/files.rs"]
mod files;
mod support;
#[path = "plugin_cfg/tls.rs"]
mod tls;

use files::{Cluster, File, Server};
use rustix::process::Signal;
use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};
use support::http::{Answer, Connection, get, request};
use support::scripted::{Reply, Scripted, answer};
use support::steady::Steady;
use support::{Running, Scratch, free_address, wait_for, wait_until_listening};

/// A router and its file.
struct Router {
    scratch: Scratch,
    address: SocketAddr,
    process: Running,
}

impl Router {
    fn start(file: &File) -> Self {
        Self::with(Scratch::new(), file, &[])
    }

    fn with(scratch: Scratch, file: &File, more: &[&str]) -> Self {
        scratch.write("plugin-cfg.xml", &file.to_string());
        let address = free_address();
        let mut process = Self::launch(&scratch, address, more);
        wait_until_listening(address, &mut process);
        Self { scratch, address, process }
    }

    fn launch(scratch: &Scratch, address: SocketAddr, more: &[&str]) -> Running {
        let mut command = Command::new(env!("CARGO_BIN_EXE_muster"));
        command.args(["router", "run", "--threads", "1", "--log-level", "info", "--plugin-cfg"]);
        command.arg(scratch.join("plugin-cfg.xml"));
        command.args(["--listen", &address.to_string(), "--state-dir"]).arg(scratch.join("state")).args(more);
        Running::start("router", &mut command, &scratch.join("router.log"))
    }

    fn get(&self, target: &str) -> Answer {
        get(self.address, target).expect("the router answers")
    }

    fn get_with(&self, target: &str, headers: &[(&str, &str)]) -> Answer {
        request(self.address, "GET", target, headers, b"").expect("the router answers")
    }

    fn post(&self, target: &str, body: &[u8]) -> Answer {
        request(self.address, "POST", target, &[], body).expect("the router answers")
    }

    /// For a Host of the test's choice.
    fn get_from(&self, host: &str, target: &str) -> Answer {
        let mut connection = Connection::open(self.address);
        let head = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        connection.send(head.as_bytes()).expect("the router reads");
        connection.read_answer("GET").expect("the router answers")
    }

    /// Puts another file in place and tells the router.
    fn reload(&self, text: &str) {
        self.scratch.write("plugin-cfg.xml.new", text);
        std::fs::rename(self.scratch.join("plugin-cfg.xml.new"), self.scratch.join("plugin-cfg.xml"))
            .expect("both are ours");
        self.process.signal(Signal::HUP);
    }

    fn wait_for_log(&self, wanted: &str) {
        wait_for(&format!("the log to say {wanted:?}"), || {
            let log = self.process.log();
            if log.contains(wanted) { Ok(()) } else { Err(log) }
        });
    }
}

/// Who answered so many requests, in order.
fn answers(router: &Router, target: &str, count: usize) -> Vec<String> {
    (0..count).map(|_| router.get(target).text()).collect()
}

fn counts(answers: &[String], name: &str) -> usize {
    answers.iter().filter(|answer| *answer == name).count()
}

#[test]
fn name_of_uri_and_virtual_host_lead_to_the_cluster_and_the_last_route_wins() {
    let (a, b, c) = (Scripted::named("a"), Scripted::named("b"), Scripted::named("c"));
    let file = File::new()
        .cluster(Cluster::new("A").server(Server::new("a", a.address)))
        .cluster(Cluster::new("B").server(Server::new("b", b.address)))
        .cluster(Cluster::new("C").server(Server::new("c", c.address)))
        .hosts("any", &["*:*"])
        .hosts("shop", &["shop.example:80", "shop.example:8080"])
        .uris("all", &["/*"])
        .uris("some", &["/hello", "/app/*", "*.jsp"])
        .route("A", "all", "any")
        .route("B", "some", "any")
        .route("C", "some", "shop")
        .route("B", "all", "shop");
    let router = Router::start(&file);
    let ask = |host: &str, target: &str| router.get_from(host, target).text();
    assert_eq!(ask("x", "/"), "a");
    assert_eq!(ask("x", "/hello"), "b");
    assert_eq!(ask("x", "/hello/x"), "a");
    assert_eq!(ask("x", "/app/x?y"), "b");
    assert_eq!(ask("shop.example", "/app/x"), "c");
    assert_eq!(ask("SHOP.example:8080", "/hello"), "c");
    assert_eq!(ask("shop.example:81", "/hello"), "b");
    assert_eq!(ask("shop.example", "/other"), "b");
    // The longest path comes before an extension, and `/*` is a path.
    assert_eq!(ask("x", "/x.jsp"), "a");
}

#[test]
fn route_without_groups_matches_all_and_without_a_route_there_is_404() {
    let a = Scripted::named("a");
    let file = File::new().cluster(Cluster::new("A").server(Server::new("a", a.address)));
    let router = Router::start(&file.raw("<Route ServerCluster=\"A\"/>"));
    assert_eq!(router.get("/x").text(), "a");
    router.reload(&File::new().cluster(Cluster::new("A").server(Server::new("a", a.address))).to_string());
    router.wait_for_log("taken over");
    wait_for("the route to go", || match router.get("/x").status {
        404 => Ok(()),
        status => Err(status.to_string()),
    });
}

#[test]
fn load_balance_round_robin_counts_weights_and_random_does_not() {
    let (a, b) = (Scripted::named("a"), Scripted::named("b"));
    let servers = |cluster: Cluster| {
        cluster
            .server(Server::new("a", a.address).with("LoadBalanceWeight", 30))
            .server(Server::new("b", b.address).with("LoadBalanceWeight", 10))
    };
    let router = Router::start(&File::simple(servers(Cluster::new("A"))));
    let all = answers(&router, "/", 40);
    assert_eq!((counts(&all, "a"), counts(&all, "b")), (30, 10), "load_balance_weight is exact");
    let random = Router::start(&File::simple(servers(Cluster::new("A").with("LoadBalance", "Random"))));
    // By chance more than 60 away from the half once in a thousand million times; by weight 300 would be its part.
    let all = answers(&random, "/", 400);
    assert!((140..=260).contains(&counts(&all, "a")), "{all:?}");
}

#[test]
fn load_balance_weight_zero_keeps_sessions_and_gets_no_new_ones() {
    let (a, b) = (Scripted::named("a"), Scripted::named("b"));
    let cluster = Cluster::new("A")
        .server(Server::new("a", a.address).with("CloneID", "c1").with("LoadBalanceWeight", 0))
        .server(Server::new("b", b.address).with("CloneID", "c2"));
    let router = Router::start(&File::simple(cluster));
    assert_eq!(counts(&answers(&router, "/", 10), "b"), 10);
    assert_eq!(router.get_with("/", &[("Cookie", "JSESSIONID=0000x:c1")]).text(), "a");
}

/// Two servers with clone ids `c1` and `c2`, and what becomes of a request with this cookie or path.
#[track_caller]
fn check_affinity(router: &Router, target: &str, cookie: &str, expected: &str) {
    for _ in 0..4 {
        let answer = router.get_with(target, &[("Cookie", cookie)]);
        assert_eq!(answer.text(), expected, "{target} {cookie}");
    }
}

fn two_clones(a: &Scripted, b: &Scripted) -> Cluster {
    Cluster::new("A")
        .server(Server::new("a", a.address).with("CloneID", "c1"))
        .server(Server::new("b", b.address).with("CloneID", "c2"))
}

#[test]
fn clone_id_affinity_cookie_and_affinity_url_identifier_keep_a_session() {
    let (a, b) = (Scripted::named("a"), Scripted::named("b"));
    let router = Router::start(&File::simple(two_clones(&a, &b)));
    check_affinity(&router, "/", "JSESSIONID=0000x:c1", "a");
    check_affinity(&router, "/", "JSESSIONID=0000x:c2", "b");
    check_affinity(&router, "/", "JSESSIONID=0000x:gone:c2:c1", "b");
    check_affinity(&router, "/x;jsessionid=0000x:c2", "y=1", "b");
}

#[test]
fn affinity_cookie_may_differ_from_uri_to_uri() {
    let (a, b) = (Scripted::named("a"), Scripted::named("b"));
    let file = File::new().cluster(two_clones(&a, &b)).hosts("any", &["*:*"]).raw(
        "<UriGroup Name=\"two\"><Uri Name=\"/one/*\" AffinityCookie=\"ONE\"/>\
         <Uri Name=\"/two/*\" AffinityCookie=\"TWO\" AffinityURLIdentifier=\"two\"/></UriGroup>\
         <Route ServerCluster=\"A\" UriGroup=\"two\" VirtualHostGroup=\"any\"/>",
    );
    let router = Router::start(&file);
    check_affinity(&router, "/one/", "ONE=x:c1; TWO=x:c2", "a");
    check_affinity(&router, "/two/", "ONE=x:c1; TWO=x:c2", "b");
    check_affinity(&router, "/two/;two=x:c1", "ONE=x:c2", "a");
}

#[test]
fn clone_separator_change_separates_by_plus() {
    let (a, b) = (Scripted::named("a"), Scripted::named("b"));
    let router = Router::start(&File::simple(two_clones(&a, &b).with("CloneSeparatorChange", true)));
    check_affinity(&router, "/", "JSESSIONID=0000x+c1", "a");
    check_affinity(&router, "/", "JSESSIONID=0000x+c2+c1", "b");
    let all = (0..8).map(|_| router.get_with("/", &[("Cookie", "JSESSIONID=0000x:c1")]).text());
    assert!(all.collect::<Vec<_>>().contains(&"b".to_owned()), "a colon separates nothing here");
}

#[test]
fn ignore_affinity_requests_false_counts_them() {
    let (a, b) = (Scripted::named("a"), Scripted::named("b"));
    for (ignores, new_at_b) in [(true, 10), (false, 14)] {
        let router = Router::start(&File::simple(two_clones(&a, &b).with("IgnoreAffinityRequests", ignores)));
        let mut at_b = 0;
        // Of every five requests one belongs to a session at `a`.
        for _ in 0..5 {
            assert_eq!(router.get_with("/", &[("Cookie", "JSESSIONID=0000x:c1")]).text(), "a");
            at_b += counts(&answers(&router, "/", 4), "b");
        }
        let share = format!("IgnoreAffinityRequests={ignores}: {at_b} of 20 new ones at b");
        let is_right = if ignores { at_b == new_at_b } else { (12..=13).contains(&at_b) };
        assert!(is_right, "{share}");
    }
}

/// An address where nobody listens, kept free for a server that comes later.
fn closed_address() -> SocketAddr {
    free_address()
}

#[test]
fn retry_interval_is_how_long_a_server_stays_marked_down() {
    let (a, dead) = (Scripted::named("a"), closed_address());
    let cluster = Cluster::new("A")
        .with("RetryInterval", 3)
        .server(Server::new("a", a.address))
        .server(Server::new("b", dead));
    let router = Router::start(&File::simple(cluster));
    let started = Instant::now();
    // Failing over hides the dead server, and marks it.
    assert_eq!(counts(&answers(&router, "/", 6), "a"), 6);
    let b = Scripted::at(dead, |_| answer("b"));
    loop {
        let said = router.get("/").text();
        // Marked since then or later, and this answer is from before now: a slow machine proves less, but nothing wrong.
        if started.elapsed() > Duration::from_millis(2_900) {
            break;
        }
        assert_eq!(said, "a", "still marked after {:?}", started.elapsed());
        std::thread::sleep(Duration::from_millis(50));
    }
    wait_for("the server to be tried again", || match router.get("/").text().as_str() {
        "b" => Ok(()),
        other => Err(other.to_owned()),
    });
    assert!(!b.take().is_empty());
}

#[test]
fn connect_timeout_marks_down_and_fails_over_whatever_the_method() {
    // A backlog that is full takes no connection: the router waits for its time and goes on.
    let (full, _held) = full_backlog();
    let a = Scripted::named("a");
    let cluster = Cluster::new("A")
        .with("PostBufferSize", 0)
        .server(Server::new("full", full).with("ConnectTimeout", 1).with("LoadBalanceWeight", 1000))
        .server(Server::new("a", a.address).with("LoadBalanceWeight", 1));
    let router = Router::start(&File::simple(cluster));
    let started = Instant::now();
    assert_eq!(router.post("/", b"once").text(), "a");
    let first = started.elapsed();
    assert_eq!(counts(&answers(&router, "/", 40), "a"), 40);
    let others = started.elapsed() - first;
    // Without the mark each of the forty would wait for a second.
    assert!(
        others < Duration::from_secs(30),
        "the first took {first:?} and marked it; the others took {others:?}"
    );
    assert_eq!(a.take().iter().filter(|got| got.body == b"once").count(), 1);
}

/// A listener that nobody accepts from, with connections that fill its queue.
fn full_backlog() -> (SocketAddr, Vec<Box<dyn std::any::Any>>) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    let any: SocketAddr = ([127, 0, 0, 1], 0).into();
    socket.bind(&any.into()).expect("a free port");
    socket.listen(0).expect("it listens");
    let address = socket.local_addr().expect("it listens").as_socket().expect("an address");
    let mut held: Vec<Box<dyn std::any::Any>> = vec![Box::new(socket)];
    // One more than the queue holds does not get through; then it is full.
    while let Ok(stream) = std::net::TcpStream::connect_timeout(&address, Duration::from_millis(300)) {
        held.push(Box::new(stream));
    }
    (address, held)
}

fn silent() -> Scripted {
    Scripted::start(|_| Reply::Silence)
}

/// A silent server that gets the first request, and one that answers.
fn silent_first(cluster: Cluster, silent: &Scripted, a: &Scripted, timeout: i32) -> Cluster {
    cluster
        .server(
            Server::new("silent", silent.address)
                .with("ServerIOTimeout", timeout)
                .with("LoadBalanceWeight", 2),
        )
        .server(Server::new("a", a.address).with("LoadBalanceWeight", 1))
}

#[test]
fn server_io_timeout_above_zero_fails_over_without_marking_down() {
    let (silent, a) = (silent(), Scripted::named("a"));
    let cluster = silent_first(Cluster::new("A").with("PostBufferSize", 64), &silent, &a, 1);
    let router = Router::start(&File::simple(cluster));
    assert_eq!(counts(&answers(&router, "/", 6), "a"), 6);
    assert!(silent.take().len() >= 3, "it is asked again and again, as it is not marked");
}

#[test]
fn server_io_timeout_below_zero_marks_down() {
    let (silent, a) = (silent(), Scripted::named("a"));
    let cluster = silent_first(Cluster::new("A").with("PostBufferSize", 64), &silent, &a, -1);
    let router = Router::start(&File::simple(cluster));
    assert_eq!(counts(&answers(&router, "/", 12), "a"), 12);
    assert_eq!(silent.take().len(), 1, "once, and then it is marked");
}

#[test]
fn server_io_timeout_retry_zero_answers_504_at_once() {
    let (silent, other) = (silent(), silent());
    let cluster = Cluster::new("A")
        .with("ServerIOTimeoutRetry", 0)
        .server(Server::new("one", silent.address).with("ServerIOTimeout", 1))
        .server(Server::new("two", other.address).with("ServerIOTimeout", 1));
    let router = Router::start(&File::simple(cluster));
    assert_eq!(router.get("/").status, 504);
    assert_eq!(silent.take().len() + other.take().len(), 1);
    let text = |retries: i32| {
        let cluster = Cluster::new("A")
            .with("ServerIOTimeoutRetry", retries)
            .server(Server::new("one", silent.address).with("ServerIOTimeout", 1))
            .server(Server::new("two", other.address).with("ServerIOTimeout", 1));
        File::simple(cluster).to_string()
    };
    router.reload(&text(-1));
    router.wait_for_log("taken over");
    wait_for("both to be tried", || {
        let status = router.get("/").status;
        let asked = silent.take().len() + other.take().len();
        if (status, asked) == (504, 2) { Ok(()) } else { Err(format!("{status}, {asked} asked")) }
    });
}

#[test]
fn post_buffer_size_repeats_a_post_after_a_silence_and_zero_does_not() {
    for (buffer, expected, posts) in [(64, 200, 2), (0, 504, 1)] {
        let (silent, a) = (silent(), Scripted::named("a"));
        let cluster = Cluster::new("A")
            .with("PostBufferSize", buffer)
            .server(Server::new("silent", silent.address).with("ServerIOTimeout", 1))
            .server(Server::new("a", a.address).with("LoadBalanceWeight", 0).with("CloneID", "c1"));
        let file = File::simple(cluster.server(Server::new("b", a.address)));
        let router = Router::start(&file);
        let mut statuses = Vec::new();
        while silent.take().is_empty() {
            a.take();
            statuses.push(router.post("/", b"order").status);
        }
        assert_eq!(statuses.last(), Some(&expected), "PostBufferSize={buffer}");
        assert_eq!(1 + a.take().len(), posts, "PostBufferSize={buffer}");
    }
}

#[test]
fn post_buffer_size_bounds_the_body_that_is_kept() {
    let (silent, a) = (silent(), Scripted::named("a"));
    let cluster = Cluster::new("A")
        .with("PostBufferSize", 1)
        .server(Server::new("silent", silent.address).with("ServerIOTimeout", 1))
        .server(Server::new("a", a.address));
    let router = Router::start(&File::simple(cluster));
    let mut status = 200;
    while silent.take().is_empty() {
        status = router.post("/", &vec![b'x'; 400_000]).status;
    }
    assert_eq!(status, 504);
}

#[test]
fn post_size_limit_answers_413_and_closes() {
    let a = Scripted::named("a");
    let cluster = Cluster::new("A").with("PostSizeLimit", 10).server(Server::new("a", a.address));
    let router = Router::start(&File::simple(cluster));
    assert_eq!(router.post("/", b"0123456789").status, 200);
    let mut connection = Connection::open(router.address);
    connection.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 11\r\n\r\n0123456789a").expect("sent");
    assert_eq!(connection.read_answer("POST").expect("an answer").status, 413);
    assert_eq!(connection.read_to_end().expect("the end"), b"");
    // A body whose length nobody announced is stopped on its way.
    let mut connection = Connection::open(router.address);
    connection
        .send(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n01234\r\n")
        .expect("sent");
    wait_for("the first chunk to be read", || connection.send(b"").map_err(|error| error.to_string()));
    connection.send(b"6\r\n56789a\r\n").expect("sent");
    assert_eq!(connection.read_answer("POST").expect("an answer").status, 413);
}

#[test]
fn max_connections_answers_503_when_all_servers_are_full() {
    let silent = silent();
    let cluster = Cluster::new("A").server(Server::new("a", silent.address).with("MaxConnections", 1));
    let router = Router::start(&File::simple(cluster));
    let mut first = Connection::open(router.address);
    first.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").expect("sent");
    wait_for("the first request to arrive", || {
        if silent.take().is_empty() { Err("none".into()) } else { Ok(()) }
    });
    assert_eq!(router.get("/").status, 503);
}

#[test]
fn extended_handshake_asks_before_the_first_request_of_a_connection() {
    let a = Scripted::named("a");
    let cluster = Cluster::new("A").server(Server::new("a", a.address).with("ExtendedHandshake", true));
    let router = Router::start(&File::simple(cluster));
    for target in ["/one", "/two"] {
        assert_eq!(router.get(target).text(), "a");
    }
    let got = a.take();
    let seen: Vec<(usize, &str)> = got.iter().map(|got| (got.connection, got.target())).collect();
    // Its answer has a body here, so another connection carries the requests.
    assert_eq!(seen, [(0, "*"), (1, "/one"), (1, "/two")]);
}

#[test]
fn extended_handshake_finds_a_server_behind_a_firewall_dead() {
    // It takes connections and says nothing, as a firewall does for a server that is gone.
    let (silent, a) = (
        silent(),
        Scripted::start(|got| match got.target() {
            "*" => Reply::Bytes(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_vec()),
            _ => answer("a"),
        }),
    );
    // The other one is asked as well, and must not be late.
    let server =
        |name: &str, at| Server::new(name, at).with("ExtendedHandshake", true).with("ConnectTimeout", 5);
    let cluster = Cluster::new("A").server(server("silent", silent.address)).server(server("a", a.address));
    let router = Router::start(&File::simple(cluster.with("PostBufferSize", 0)));
    for _ in 0..4 {
        assert_eq!(router.post("/", b"order").text(), "a");
    }
    assert!(silent.take().iter().all(|got| got.target() == "*"), "no request was risked");
    assert_eq!(
        a.take().iter().map(|got| got.connection).max(),
        Some(0),
        "the connection that was asked is used"
    );
}

#[test]
fn wait_for_continue_sends_the_body_when_the_server_wants_it() {
    let a = Scripted::named("a");
    let cluster = Cluster::new("A").server(Server::new("a", a.address).with("WaitForContinue", true));
    let router = Router::start(&File::simple(cluster));
    let mut connection = Connection::open(router.address);
    connection.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\norder").expect("sent");
    // The client did not ask, so 100 is not for it: the first head is the answer's.
    assert_eq!(connection.read_head().expect("an answer").status, 200);
    assert_eq!(router.get("/").text(), "a");
    let got = a.take();
    assert_eq!(
        (got[0].header("expect"), got[0].body.as_slice()),
        (Some("100-continue"), b"order".as_slice())
    );
    assert_eq!(got[1].header("expect"), None, "a request without a body asks nothing");
}

#[test]
fn wait_for_continue_does_not_wait_for_ever() {
    let plain = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = plain.local_addr().expect("it listens");
    // Knows nothing of Expect: it reads head and body and answers.
    let served = std::thread::spawn(move || {
        use std::io::{Read as _, Write as _};
        let (mut stream, _) = plain.accept().expect("the router comes");
        let mut bytes = Vec::new();
        while !bytes.ends_with(b"order") {
            let mut more = [0; 1024];
            let count = stream.read(&mut more).expect("bytes come");
            bytes.extend_from_slice(&more[..count]);
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").expect("the router reads");
    });
    let cluster = Cluster::new("A").server(Server::new("a", address).with("WaitForContinue", true));
    let router = Router::start(&File::simple(cluster));
    assert_eq!(router.post("/", b"order").status, 200);
    served.join().expect("it has served");
}

#[test]
fn primary_servers_first_and_backup_servers_in_order() {
    let places: Vec<SocketAddr> = (0..3).map(|_| closed_address()).collect();
    let c = Scripted::named("c");
    let cluster = Cluster::new("A")
        .with("RetryInterval", 1)
        .server(Server::new("c", c.address))
        .server(Server::new("a", places[0]))
        .server(Server::new("b", places[1]))
        .list("PrimaryServers", &["a"])
        .list("BackupServers", &["b", "c"]);
    let router = Router::start(&File::simple(cluster));
    assert_eq!(counts(&answers(&router, "/", 4), "c"), 4);
    let _b = Scripted::at(places[1], |_| answer("b"));
    let until = |name: &str| {
        wait_for(&format!("{name} to take over"), || {
            let all = answers(&router, "/", 4);
            if counts(&all, name) == 4 { Ok(()) } else { Err(format!("{all:?}")) }
        });
    };
    until("b");
    let _a = Scripted::at(places[0], |_| answer("a"));
    until("a");
}

#[test]
fn cluster_address_gets_what_belongs_to_no_session() {
    let (front, a) = (Scripted::named("front"), Scripted::named("a"));
    let cluster = Cluster::new("A")
        .server(Server::new("a", a.address).with("CloneID", "c1"))
        .cluster_address(Server::new("front", front.address));
    let router = Router::start(&File::simple(cluster));
    assert_eq!(counts(&answers(&router, "/", 6), "front"), 6);
    assert_eq!(router.get_with("/", &[("Cookie", "JSESSIONID=0000x:c1")]).text(), "a");
}

#[test]
fn hostname_of_a_transport_is_looked_up_and_its_port_used() {
    let a = Scripted::named("a");
    let server = Server::without_transport("a").transport("http", "localhost", a.address.port());
    let router = Router::start(&File::simple(Cluster::new("A").server(server)));
    assert_eq!(router.get("/").text(), "a");
}

#[test]
fn protocol_of_a_request_chooses_the_transport() {
    let (http, https) = (Scripted::named("http"), closed_address());
    let server = Server::without_transport("a").transport("https", "127.0.0.1", https.port()).transport(
        "http",
        "127.0.0.1",
        http.address.port(),
    );
    let router = Router::start(&File::simple(Cluster::new("A").server(server)));
    assert_eq!(counts(&answers(&router, "/", 3), "http"), 3);
}

#[test]
fn ignore_dns_failures_serves_without_the_servers_whose_names_are_not_known() {
    let a = Scripted::named("a");
    let file = |ignores: bool| {
        let cluster = Cluster::new("A")
            .server(Server::new("a", a.address))
            .server(Server::without_transport("b").transport("http", "no-such-host.invalid", 80));
        File::simple(cluster).with("IgnoreDNSFailures", ignores)
    };
    let router = Router::start(&file(true));
    assert_eq!(counts(&answers(&router, "/", 4), "a"), 4);
    router.wait_for_log("no-such-host.invalid");
    let scratch = Scratch::new();
    scratch.write("plugin-cfg.xml", &file(false).to_string());
    let mut refused = Router::launch(&scratch, free_address(), &[]);
    assert_eq!(refused.wait(), Some(2));
    assert!(
        refused.log().contains("no-such-host.invalid") && refused.log().contains("line "),
        "{}",
        refused.log()
    );
}

#[test]
fn remove_special_headers_and_what_servers_are_told() {
    let a = Scripted::start(|_| Reply::Answer {
        headers: "$WSPT: x\r\n$WSEP: \r\n_WS_HAPRT_WLMVERSION: 1\r\n",
        body: "a".into(),
    });
    let router = Router::start(&File::simple(Cluster::new("A").server(Server::new("a", a.address))));
    let answered = router.get_with("/", &[("$WSRA", "6.6.6.6"), ("$WSRU", "admin"), ("$wssn", "forged")]);
    assert_eq!(answered.text(), "a");
    assert!(answered.headers.iter().all(|(name, _)| !name.contains("ws")), "{:?}", answered.headers);
    let got = &a.take()[0];
    let port = router.address.port().to_string();
    for (name, expected) in [
        ("$WSRA", Some("127.0.0.1")),
        ("$WSRH", Some("127.0.0.1")),
        ("$WSRU", None),
        ("$WSSN", Some("127.0.0.1")),
        ("$WSSP", Some(port.as_str())),
        ("$WSIS", Some("false")),
        ("$WSSC", Some("http")),
        ("$WSPR", Some("HTTP/1.1")),
    ] {
        assert_eq!(got.header(name), expected, "{name} in {}", got.head);
    }
    let open = Cluster::new("A").with("RemoveSpecialHeaders", false).server(Server::new("a", a.address));
    let router = Router::start(&File::simple(open));
    router.get_with("/", &[("$WSRU", "admin")]);
    assert_eq!(a.take()[0].header("$WSRU"), Some("admin"));
}

#[test]
fn private_headers_go_with_upgrades_too() {
    let a = Scripted::start(|_| {
        Reply::Bytes(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n".to_vec(),
        )
    });
    let router = Router::start(&File::simple(Cluster::new("A").server(Server::new("a", a.address))));
    let mut connection = Connection::open(router.address);
    let head = "GET /chat HTTP/1.1\r\nHost: x:81\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n$WSRA: 6.6.6.6\r\n\r\n";
    connection.send(head.as_bytes()).expect("sent");
    assert_eq!(connection.read_answer("GET").expect("an answer").status, 101);
    let got = &a.take()[0];
    assert_eq!((got.header("$WSRA"), got.header("$WSSP")), (Some("127.0.0.1"), Some("81")), "{}", got.head);
}

#[test]
fn trusted_proxy_enable_believes_those_of_trusted_proxy_group() {
    let a = Scripted::named("a");
    let file = |is_enabled: bool, address: &str| {
        File::simple(Cluster::new("A").server(Server::new("a", a.address)))
            .with("TrustedProxyEnable", is_enabled)
            .raw(&format!("<TrustedProxyGroup><TrustedProxy Name=\"{address}\"/></TrustedProxyGroup>"))
    };
    let told = [("$WSSN", "shop.example"), ("$WSRA", "192.0.2.7"), ("$WSIS", "true")];
    for (is_enabled, address, expected) in [
        (true, "127.0.0.1", "192.0.2.7"),
        (false, "127.0.0.1", "127.0.0.1"),
        (true, "127.0.0.2", "127.0.0.1"),
    ] {
        let router = Router::start(&file(is_enabled, address));
        router.get_with("/", &told);
        let got = &a.take()[0];
        assert_eq!(got.header("$WSRA"), Some(expected), "{is_enabled} {address}: {}", got.head);
    }
}

#[test]
fn app_server_port_preference_tells_the_port_of_the_connection() {
    let a = Scripted::named("a");
    let file = File::simple(Cluster::new("A").server(Server::new("a", a.address)));
    let router = Router::start(&file.with("AppServerPortPreference", "WebserverPort"));
    assert_eq!(router.get_from("shop.example:81", "/").text(), "a");
    assert_eq!(a.take()[0].header("$WSSP"), Some(router.address.port().to_string().as_str()));
}

#[test]
fn vhost_matching_compat_matches_the_port_of_the_connection() {
    let (a, b) = (Scripted::named("a"), Scripted::named("b"));
    let scratch = Scratch::new();
    let address = free_address();
    let file = File::new()
        .with("VHostMatchingCompat", true)
        .cluster(Cluster::new("A").server(Server::new("a", a.address)))
        .cluster(Cluster::new("B").server(Server::new("b", b.address)))
        .hosts("here", &[&format!("*:{}", address.port())])
        .hosts("there", &["*:81"])
        .uris("all", &["/*"])
        .route("A", "all", "here")
        .route("B", "all", "there");
    scratch.write("plugin-cfg.xml", &file.to_string());
    let mut process = Router::launch(&scratch, address, &[]);
    wait_until_listening(address, &mut process);
    let router = Router { scratch, address, process };
    assert_eq!(router.get_from("shop.example:81", "/").text(), "a");
}

#[test]
fn ws_server_idle_timeout_ends_a_quiet_tunnel_and_ws_server_io_timeout_a_silent_upgrade() {
    let switching = Scripted::start(|_| {
        Reply::Bytes(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n".to_vec(),
        )
    });
    let silent = silent();
    let upgrade = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    let server = Server::new("a", switching.address).with("wsServerIdleTimeout", 1);
    let router = Router::start(&File::simple(Cluster::new("A").server(server)));
    let mut connection = Connection::open(router.address);
    let started = Instant::now();
    connection.send(upgrade).expect("sent");
    assert_eq!(connection.read_answer("GET").expect("an answer").status, 101);
    assert_eq!(connection.read_to_end().expect("the end"), b"");
    assert!(started.elapsed() > Duration::from_millis(900), "after {:?}", started.elapsed());
    let server = Server::new("a", silent.address).with("wsServerIOTimeout", 1).with("ServerIOTimeout", 900);
    let router = Router::start(&File::simple(Cluster::new("A").server(server)));
    let mut connection = Connection::open(router.address);
    connection.send(upgrade).expect("sent");
    assert_eq!(connection.read_answer("GET").expect("an answer").status, 504);
}

/// A file for one server, with a RefreshInterval that only a signal can beat.
fn one(name: &str, server: &Scripted) -> File {
    File::simple(Cluster::new("A").server(Server::new(name, server.address))).with("RefreshInterval", 3600)
}

#[test]
fn refresh_interval_is_how_often_the_file_is_looked_at() {
    let (a, b) = (Scripted::named("a"), Scripted::named("b"));
    let router = Router::start(&one("a", &a).with("ConfigHash", 1).with("HTTPMaxHeaders", 300));
    assert_eq!(router.get("/").text(), "a");
    let every_second = |server: &Scripted| {
        File::simple(Cluster::new("A").server(Server::new("x", server.address))).with("RefreshInterval", 1)
    };
    router.reload(&every_second(&a).to_string());
    router.wait_for_log("taken over");
    // Nobody tells the router of this one.
    router.scratch.write("plugin-cfg.xml", &every_second(&b).to_string());
    wait_for("the new file to be seen", || match router.get("/").text().as_str() {
        "b" => Ok(()),
        other => Err(other.to_owned()),
    });
}

#[test]
fn a_broken_file_is_refused_with_line_and_column_and_the_last_good_one_stays() {
    let a = Scripted::named("a");
    let mut router = Router::start(&one("a", &a));
    router.reload("<?xml version=\"1.0\"?>\n<Config>\n  <ServerCluster Name=\"A\">\n</Config>\n");
    router.wait_for_log("the last good file stays in use");
    assert!(
        router.process.log().contains("line 4") || router.process.log().contains("line 3"),
        "{}",
        router.process.log()
    );
    assert_eq!(router.get("/").text(), "a");
    // Across a restart as well, and at another address.
    router.process.signal(Signal::TERM);
    assert_eq!(router.process.wait(), Some(0));
    router.address = free_address();
    router.process = Router::launch(&router.scratch, router.address, &[]);
    let address = router.address;
    wait_until_listening(address, &mut router.process);
    assert_eq!(router.get("/").text(), "a");
    router.wait_for_log("serving by the last good file");
    // A wrong value is as bad as a wrong bracket.
    router.reload(&one("a", &a).to_string().replace("3600", "often"));
    wait_for("the value to be refused", || {
        let log = router.process.log();
        if log.contains("often") { Ok(()) } else { Err(log) }
    });
    assert_eq!(router.get("/").text(), "a");
}

#[test]
fn without_a_good_file_nothing_is_started() {
    let scratch = Scratch::new();
    scratch.write("plugin-cfg.xml", "<Config><Oops</Config>");
    let mut router = Router::launch(&scratch, free_address(), &[]);
    assert_eq!(router.wait(), Some(2));
    assert!(router.log().contains("line 1"), "{}", router.log());
    let scratch = Scratch::new();
    let mut router = Router::launch(&scratch, free_address(), &[]);
    assert_eq!(router.wait(), Some(2));
    assert!(router.log().contains("cannot be read"), "{}", router.log());
}

#[test]
fn files_change_under_load_without_a_failed_request() {
    let (a, b) = (Scripted::named("a"), Scripted::named("b"));
    let router = Router::start(&one("a", &a));
    let steady = Steady::start(router.address, "/x", 4);
    steady.go_on(50);
    // Each time another cluster, other servers and other routes; what was there before goes.
    for round in 0..20 {
        let name = format!("C{round}");
        let server = if round % 2 == 0 { &b } else { &a };
        let file = File::new()
            .with("RefreshInterval", 3600)
            .cluster(Cluster::new(&name).server(Server::new(&name, server.address)))
            .hosts("any", &["*:*"])
            .uris("all", if round % 3 == 0 { &["/*"] } else { &["/x", "/y/*"] })
            .route(&name, "all", "any");
        server.take();
        router.reload(&file.to_string());
        wait_for("the file to be in force", || match server.take().is_empty() {
            true => Err("nobody asks its server".into()),
            false => Ok(()),
        });
        steady.go_on(50);
    }
    wait_for("the last file to be taken over", || match router.process.log().contains("routes=2") {
        true => Ok(()),
        false => Err(router.process.log()),
    });
    steady.finish();
}

#[test]
fn a_router_that_is_asked_to_stop_finishes_what_it_has() {
    let slow = Scripted::start(|_| {
        std::thread::sleep(Duration::from_millis(700));
        answer("late")
    });
    let mut router = Router::start(&one("a", &slow));
    let mut connection = Connection::open(router.address);
    connection.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").expect("sent");
    wait_for("the request to arrive", || if slow.take().is_empty() { Err("none".into()) } else { Ok(()) });
    router.process.signal(Signal::TERM);
    assert_eq!(connection.read_answer("GET").expect("an answer").text(), "late");
    assert_eq!(router.process.wait(), Some(0));
}

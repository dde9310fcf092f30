//! A router that serves from a plugin-cfg.xml alone: each attribute that it acts on has a test named after it.

#[path = "plugin_cfg/files.rs"]
mod files;
mod support;

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
    let all = answers(&random, "/", 60);
    assert!((15..=45).contains(&counts(&all, "a")), "{all:?}");
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

//! Programs that know a cluster's members: whatever happens to the cluster, a client's view is current with its next
//! response; who is dead is skipped at once; strangers learn nothing; a crowd that comes at once is let in bit by bit.

mod support;

use client::{Bytes, ClientState, Context, Error, Policy, Prefer, Request, Settings, Way};
use rustix::process::Signal;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use support::cell::{self, Cell, shop_tables};
use support::http::{self, Answer};
use support::{Scratch, free_address, send, wait_for};
use wire::client_view::{ClientView, HEADER, NEWS_MAX_BYTES, ViewNews};
use wire::id::Epoch;
use wire::view::RunState;

/// `HEADER` as answers are looked at here.
const NEWS: &str = "muster-view";
/// Programs that come at once.
const CROWD: usize = 1_000;
/// How soon a client that calls members itself learns what no member tells it: two seconds, half more, and the test's own
/// pace on a busy machine.
const DIRECT_LEARNS: Duration = Duration::from_secs(10);

/// A cell whose router `front` tells clients of `shop`, and one more cluster, and the token.
struct Shop {
    cell: Cell,
    token: String,
}

fn run<T>(story: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(story)
}

/// A token, and the lines of the configuration that let it in.
fn token() -> (String, String) {
    let said = cell::muster(&["client", "token", "billing", "--cluster", "shop", "--json"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    let made: serde_json::Value = serde_json::from_str(&said.data).expect("JSON");
    let text = |key: &str| made[key].as_str().expect("a text").to_owned();
    (text("token"), text("configuration"))
}

impl Shop {
    fn start(scratch: &Scratch, members: &[&str]) -> Self {
        let weights: Vec<(&str, u32)> = members.iter().map(|name| (*name, 1)).collect();
        let (token, client) = token();
        let tables = format!(
            "[[routers.front.routes]]\ncluster = \"shop\"\n\n\
             [[routers.front.routes]]\npath = \"/muster/views\"\nviews = true\n\n{client}\n{}\n\
             [clusters.bank.members.vault]\naddress = \"127.0.0.1:1\"\n",
            shop_tables(&weights)
        );
        let cell = Cell::start(scratch, &tables);
        cell.wait_until_all_up("shop");
        Self { cell, token }
    }

    fn url(&self) -> String {
        format!("http://{}/muster/views", self.cell.router)
    }

    fn settings(&self) -> Settings {
        Context::to("shop", &self.token).router(&self.url())
    }

    /// What the manager's newest view of the cluster is called.
    fn newest(&self) -> Epoch {
        self.cell.status().clusters.iter().find(|known| known.cluster.0 == "shop").expect("a cluster").epoch
    }

    fn claim(&self, epoch: &str) -> String {
        format!("shop {epoch} {}", self.token)
    }
}

fn ask(address: SocketAddr, target: &str, claim: &str) -> Answer {
    http::request(address, "GET", target, &[(HEADER, claim)], b"").expect("the router answers")
}

fn get(path: &str) -> Request<Bytes> {
    Request::get(path).body(Bytes::new()).expect("a path")
}

async fn call(context: &Context) -> String {
    let answer = context.invoke(get("/healthz")).await.expect("somebody answers");
    assert_eq!(answer.status(), 200);
    assert!(!answer.headers().contains_key(HEADER), "what is between client and router stays there");
    answer.headers()["x-member"].to_str().expect("a name").to_owned()
}

fn states(view: &ClientView) -> Vec<(String, ClientState)> {
    view.members.iter().map(|member| (member.name.0.clone(), member.state)).collect()
}

#[test]
fn the_view_of_a_client_is_current_with_its_next_response_whatever_happens_to_the_cluster() {
    let scratch = Scratch::new();
    let shop = Shop::start(&scratch, &["one", "two"]);
    run(async {
        let context = shop.settings().connect().await.expect("it connects");
        assert_eq!(context.view().epoch, shop.newest());
        call(&context).await;

        // Killed: the very next answer says so, or that it is back already.
        let before = context.view().epoch;
        send(shop.cell.member_pid("shop", "two"), Signal::KILL);
        wait_for("the cell to notice", || {
            if shop.newest() > before { Ok(()) } else { Err("nothing new".into()) }
        });
        shop.cell.wait_until_all_up("shop");
        call(&context).await;
        assert_eq!(context.view().epoch, shop.newest());
        assert!(context.view().members.iter().all(|member| member.state == ClientState::Up));

        // Drained.
        shop.cell.act("shop", Some("one"), "drain");
        shop.cell.wait_for_state("shop", "one", RunState::Draining);
        assert_eq!(call(&context).await, "two");
        assert_eq!(context.view().epoch, shop.newest());
        assert_eq!(context.view().members[0].state, ClientState::Draining);
        shop.cell.act("shop", Some("one"), "start");
        shop.cell.wait_until_all_up("shop");

        // Added, in front of those that were there; and taken away again.
        shop.cell.apply(&[(
            "\n[clusters.shop.members.one]",
            "\n[clusters.shop.members.new]\n[clusters.shop.members.one]",
        )]);
        shop.cell.wait_until_all_up("shop");
        call(&context).await;
        assert_eq!(context.view().epoch, shop.newest());
        let up = |names: &[&str]| {
            names.iter().map(|name| ((*name).to_owned(), ClientState::Up)).collect::<Vec<_>>()
        };
        assert_eq!(states(&context.view()), up(&["new", "one", "two"]));
        shop.cell.apply(&[("\n[clusters.shop.members.new]\n", "\n")]);
        wait_for("the member to be gone", || {
            let count = shop.cell.status().clusters[0].members.len();
            if count == 2 { Ok(()) } else { Err(format!("{count} members")) }
        });
        shop.cell.wait_until_all_up("shop");
        call(&context).await;
        assert_eq!(states(&context.view()), up(&["one", "two"]));

        // A change of policy alone.
        let before = context.view();
        shop.cell.apply(&[("policy = \"round-robin\"", "policy = \"least-outstanding\"")]);
        shop.cell.wait_until_all_up("shop");
        call(&context).await;
        let after = context.view();
        assert_eq!((before.policy, after.policy), (Policy::RoundRobin, Policy::LeastOutstanding));
        assert!(after.epoch > before.epoch && after.epoch == shop.newest());
        assert_eq!(after.members, before.members);
    });
    shop.cell.stop();
}

#[test]
fn a_client_that_calls_members_skips_a_dead_one_at_once_and_learns_of_the_rest() {
    let scratch = Scratch::new();
    let shop = Shop::start(&scratch, &["one", "two", "three"]);
    run(async {
        let context = shop.settings().way(Way::Members).connect().await.expect("it connects");
        let mut names = Vec::new();
        for _ in 0..6 {
            names.push(call(&context).await);
        }
        assert_eq!(names, ["one", "two", "three", "one", "two", "three"], "it takes turns by itself");

        // It stays away when it is stopped, so that only the client's own eyes can see it at first.
        let pid = shop.cell.member_pid("shop", "two");
        send(pid, Signal::KILL);
        let started = Instant::now();
        let mut reached = Vec::new();
        for _ in 0..12 {
            reached.push(call(&context).await);
        }
        assert!(
            started.elapsed() < Duration::from_secs(5),
            "nobody waits for the dead: {:?}",
            started.elapsed()
        );
        assert!(reached.iter().filter(|name| *name != "two").count() >= 8, "{reached:?}");

        // It learns what no member tells it.
        shop.cell.wait_until_all_up("shop");
        let newest = shop.newest();
        let known = tokio::time::timeout(DIRECT_LEARNS, async {
            while context.view().epoch < newest {
                call(&context).await;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        known.await.expect("it learns while it calls");

        // Near members first; transactions stay.
        let near = context.view().members[0].address.expect("it listens").ip();
        let near = shop.settings().way(Way::Members).prefer(Prefer::Address(near)).connect().await;
        call(&near.expect("it connects")).await;
        let mut transaction = context.transaction();
        let mut members = Vec::new();
        for _ in 0..4 {
            let answer = transaction.invoke(get("/")).await.expect("an answer");
            members.push(answer.headers()["x-member"].to_str().expect("a name").to_owned());
        }
        members.dedup();
        assert_eq!(members.len(), 1, "{members:?}");
        assert_eq!(transaction.member(), Some(members[0].as_str()));
        shop.cell.act("shop", Some(&members[0]), "stop");
        shop.cell.wait_for_state("shop", &members[0], RunState::Down);
        context.refresh().await.expect("the router answers");
        let lost = transaction.invoke(get("/")).await.expect_err("its member is gone");
        assert!(matches!(lost, Error::TransactionLost { .. }) && !lost.is_done(), "{lost:?}");

        // Without any member the router says what it has to say.
        shop.cell.act("shop", None, "stop");
        for name in ["one", "two", "three"] {
            shop.cell.wait_for_state("shop", name, RunState::Down);
        }
        context.refresh().await.expect("the router answers");
        let answer = context.invoke(get("/healthz")).await.expect("an answer of the router's own");
        assert_eq!(answer.status(), 503);
    });
    shop.cell.stop();
}

#[test]
fn a_client_goes_on_through_other_routers_and_what_may_be_done_is_not_done_again() {
    let scratch = Scratch::new();
    let shop = Shop::start(&scratch, &["one"]);
    let dead = free_address();
    run(async {
        let dead_url = format!("http://{dead}/muster/views");
        let nobody = Context::to("shop", &shop.token).router(&dead_url).connect().await;
        assert!(matches!(nobody, Err(Error::NotConnected { routers: 1, .. })), "{:?}", nobody.err());
        // The retry server is there for that.
        let context = Context::to("shop", &shop.token).router(&dead_url).retry_server(&shop.url());
        let context = context.connect().await.expect("the retry server answers");
        assert!(!context.is_verified(), "one router alone has said so");
        for _ in 0..5 {
            call(&context).await;
        }
        // A POST goes elsewhere too where nobody has seen it.
        let post = Request::post("/healthz").body(Bytes::from_static(b"x")).expect("a path");
        assert!(context.invoke(post).await.is_ok());

        let strict = Context::to("shop", &shop.token).router(&dead_url).retry_server(&shop.url());
        let strict = strict.allow_redirect(false).connect().await.expect("connecting is no call");
        let outcome = strict.invoke(get("/healthz")).await;
        if let Err(error) = &outcome {
            assert!(matches!(error, Error::Failed { attempts: 1, is_done: false, .. }), "{error:?}");
        }

        let wrong = Context::to("shop", &"0".repeat(64)).router(&shop.url()).connect().await;
        assert!(matches!(wrong, Err(Error::NotAClient { .. })), "{:?}", wrong.err());
        let other = Context::to("bank", &shop.token).router(&shop.url()).connect().await;
        assert!(
            matches!(other, Err(Error::NotAClient { .. })),
            "another cluster is not for it: {:?}",
            other.err()
        );
    });
    shop.cell.stop();
}

/// Follows the guide word by word, in a shell, with ports of its own.
#[test]
fn the_guide_leads_to_a_client_that_hears_of_a_change() {
    const GUIDE: &str = include_str!("../../../docs/operate/clients.md");
    let scratch = Scratch::new();
    let (router, console) = (free_address(), free_address());
    let own = |text: &str| {
        text.replace("127.0.0.1:8080", &router.to_string()).replace("127.0.0.1:29003", &console.to_string())
    };
    let block = |kind: &str, number: usize| {
        let fence = format!("```{kind}\n");
        let after = GUIDE.split(&fence).nth(number + 1).unwrap_or_else(|| panic!("block {number} of {kind}"));
        own(after.split("```").next().expect("its end"))
    };
    let binary = std::path::Path::new(cell::MUSTER).parent().expect("a directory").display().to_string();
    let path = format!("{binary}:{}", std::env::var("PATH").unwrap_or_default());
    let shell = |text: &str| {
        let mut command = std::process::Command::new("bash");
        command.args(["-euo", "pipefail", "-c", text]).current_dir(scratch.path());
        command
            .env("PATH", &path)
            .env("HOME", scratch.path())
            .env_remove("MUSTER_API")
            .env_remove("MUSTER_TOKEN");
        command
    };
    let must = |text: &str| {
        let output = shell(text).output().expect("there is a shell");
        let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(output.status.success(), "{text}\n{}{}", said(&output.stdout), said(&output.stderr));
        (said(&output.stdout), said(&output.stderr))
    };

    let (_, told) = must(&block("sh", 0));
    let hash = told.lines().find_map(|line| line.strip_prefix("token_sha256 = ")).expect("the hash is told");
    let file = block("toml", 0);
    let written = file.lines().find_map(|line| line.strip_prefix("token_sha256 = ")).expect("a place for it");
    // As any user does it who is not root, for whom the guide's cell keeps its state at home.
    let state = format!("name = \"shop\"\nstate_dir = \"{}\"", scratch.join("state").display());
    scratch.write("muster.toml", &file.replace(written, hash).replace("name = \"shop\"", &state));

    let start = block("sh", 1);
    let (check, run) = start.trim().split_once('\n').expect("two commands");
    must(check);
    let run = run.strip_suffix(" &").expect("it runs on");
    let process =
        support::Running::start("muster", &mut shell(&format!("exec {run}")), &scratch.join("muster.log"));
    let config = scratch.join("muster.toml");
    let cell = Cell::attach(process, console, router, config, scratch.join("state"));
    cell.wait_until_all_up("shop");
    let (view, _) = must(&block("sh", 2));
    let view: ClientView = serde_json::from_str(&view).expect("a view");
    assert_eq!(view.members.len(), 3);
    let (news, _) = must(&block("sh", 3));
    assert!(news.contains("\"states\":{\"draining\":[\"shop-2\"]}"), "{news}");
    cell.stop();
}

#[test]
fn strangers_learn_nothing() {
    let scratch = Scratch::new();
    let shop = Shop::start(&scratch, &["one"]);
    let router = shop.cell.router;
    let first = ask(router, "/muster/views", &shop.claim("0.0"));
    assert_eq!((first.status, first.header("content-type")), (200, Some("application/json")));
    let view: ClientView = serde_json::from_slice(&first.body).expect("a view");
    assert_eq!(ask(router, "/muster/views", &shop.claim(&view.epoch.to_string())).status, 304);

    let others = [
        String::new(),
        "shop".into(),
        format!("shop 0.0 {}", "0".repeat(64)),
        format!("bank 0.0 {}", shop.token),
        format!("none 0.0 {}", shop.token),
        format!("shop 00.0 {}", shop.token),
        format!("shop 0.0 {} ", &shop.token[1..]),
    ];
    let bodies: Vec<String> = others
        .iter()
        .map(|claim| {
            let answer = ask(router, "/muster/views", claim);
            assert_eq!((answer.status, answer.header(NEWS)), (401, None), "{claim}");
            assert_eq!(answer.header("www-authenticate"), Some(HEADER));
            answer.text()
        })
        .collect();
    assert!(
        bodies.windows(2).all(|pair| pair[0] == pair[1]),
        "they are not even told what is wrong: {bodies:?}"
    );
    let plain = http::get(router, "/muster/views").expect("an answer");
    assert_eq!(plain.status, 401);

    shop.cell.act("shop", Some("one"), "drain");
    shop.cell.wait_for_state("shop", "one", RunState::Draining);
    let behind = view.epoch.to_string();
    for claim in &others {
        let claim = claim.replace("0.0", &behind);
        assert_eq!(ask(router, "/healthz", &claim).header(NEWS), None, "{claim}");
    }
    let told = ask(router, "/healthz", &shop.claim(&behind));
    let news = told.header(NEWS).unwrap_or_else(|| panic!("one that may know is told: {told:?}"));
    assert!(news.len() <= NEWS_MAX_BYTES);
    assert!(matches!(serde_json::from_str(news), Ok(ViewNews::Delta(_))), "{news}");
    let hint = ask(router, "/healthz", &shop.claim("0.0"));
    let hint = hint.header(NEWS).expect("a hint");
    assert!(hint.contains("\"path\":\"/muster/views\""), "{hint}");
    shop.cell.stop();
}

#[test]
fn a_crowd_that_comes_at_once_is_let_in_bit_by_bit() {
    let scratch = Scratch::new();
    let shop = Shop::start(&scratch, &["one"]);
    // As a program without any patience would do: all at once, and no wait.
    let answers: Vec<Answer> = {
        let (router, claim) = (shop.cell.router, shop.claim("0.0"));
        let ask_some = |count: usize| {
            let claim = claim.clone();
            std::thread::spawn(move || {
                let mut connection = http::Connection::open(router);
                let request = format!("GET /muster/views HTTP/1.1\r\nHost: a\r\n{HEADER}: {claim}\r\n\r\n");
                let one = |_| {
                    connection.send(request.as_bytes()).expect("the router reads");
                    connection.read_answer("GET").expect("the router answers")
                };
                (0..count).map(one).collect::<Vec<_>>()
            })
        };
        let threads: Vec<_> = (0..8).map(|_| ask_some(CROWD / 8)).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("no panic")).collect()
    };
    let given = answers.iter().filter(|answer| answer.status == 200).count();
    let put_off: Vec<&Answer> = answers.iter().filter(|answer| answer.status == 503).collect();
    assert_eq!(given + put_off.len(), CROWD);
    assert!(given >= 200, "{given} were let in");
    for answer in &put_off {
        let body: serde_json::Value = serde_json::from_slice(&answer.body).expect("JSON");
        let wait_ms = body["retry_ms"].as_u64().expect("a time");
        assert!(body["code"] == "M4016" && (1..=30_000).contains(&wait_ms), "{body}");
        assert!(
            answer
                .header("retry-after")
                .is_some_and(|seconds| seconds.parse().is_ok_and(|s: u64| s * 1_000 >= wait_ms))
        );
    }

    // As clients do it: all come to their view, and soon.
    run(async {
        let started = Instant::now();
        let connecting: Vec<_> = (0..CROWD).map(|_| tokio::spawn(shop.settings().connect())).collect();
        let mut contexts = Vec::new();
        for connecting in connecting {
            contexts.push(connecting.await.expect("no panic").expect("it connects"));
        }
        let newest = shop.newest();
        assert!(contexts.iter().all(|context| context.view().epoch == newest));
        assert!(started.elapsed() < Duration::from_secs(30), "{:?}", started.elapsed());
        // Calls go on meanwhile, and the router is there for others.
        call(&contexts[0]).await;
    });
    shop.cell.stop();
}

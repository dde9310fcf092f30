//! The client library among routers and members that misbehave: those that lie about views, break off, stay silent, die
//! with a call under way; and what strangers can read of a client that speaks TLS.

mod support;

use client::{Bytes, ClientState, Context, Error, How, Request, Settings, Way};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use support::certificates::Authority;
use support::scripted::{Got, Reply, Scripted, answer};
use support::{Scratch, free_address};

const TOKEN: &str = "mc1.00112233445566778899aabbccddeeff";
/// Clients that are begun before one of them has begun at the other router: each takes the first one by chance.
const BEGINNINGS_MAX: usize = 200;
/// Far longer than anything here takes, and far shorter than the time-outs that must not be waited for.
const SOON: Duration = Duration::from_secs(5);

fn run<T>(story: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        tokio::time::timeout(Duration::from_secs(60), story).await.expect("the story ends in time")
    })
}

fn get(path: &str) -> Request<Bytes> {
    Request::get(path).body(Bytes::new()).expect("a path")
}

fn post(path: &str) -> Request<Bytes> {
    Request::post(path).body(Bytes::from_static(b"x")).expect("a path")
}

fn url(address: SocketAddr) -> String {
    format!("http://{address}/views")
}

fn to(address: SocketAddr) -> Settings {
    Context::to("shop", TOKEN).router(&url(address))
}

fn view(epoch: &str, members: &[(&str, SocketAddr, &str)]) -> String {
    let one = |(name, address, state): &(&str, SocketAddr, &str)| {
        format!(r#"{{"name":"{name}","address":"{address}","state":"{state}","weight":1}}"#)
    };
    let members: Vec<String> = members.iter().map(one).collect();
    format!(
        r#"{{"cluster":"shop","epoch":"{epoch}","policy":"round-robin","members":[{}]}}"#,
        members.join(",")
    )
}

fn nothing_new() -> Reply {
    Reply::Bytes(b"HTTP/1.1 304 Not Modified\r\n\r\n".to_vec())
}

fn told(news: &str) -> Reply {
    Reply::Bytes(
        format!("HTTP/1.1 200 OK\r\nMuster-View: {news}\r\nContent-Length: 2\r\n\r\nok").into_bytes(),
    )
}

/// The epoch that a request shows.
fn epoch(got: &Got) -> String {
    let claim = got.header("muster-view").unwrap_or_default();
    assert!(claim.starts_with("shop ") && claim.ends_with(TOKEN), "{claim}");
    claim.split(' ').nth(1).expect("an epoch").to_owned()
}

#[test]
fn whatever_routers_say_a_view_never_goes_back_and_nonsense_leads_to_fetching() {
    let news = Arc::new(Mutex::new(String::new()));
    let newest = Arc::new(Mutex::new(view("3.5", &[])));
    let (told_news, told_view) = (news.clone(), newest.clone());
    let router = Scripted::start(move |got| match got.target() {
        "/views" => answer(&told_view.lock().expect("no panic")),
        _ => told(&told_news.lock().expect("no panic")),
    });
    run(async {
        let context = to(router.address).connect().await.expect("it connects");
        let hears = async |text: &str| {
            *news.lock().expect("no panic") = text.to_owned();
            context.invoke(get("/")).await.expect("an answer");
            context.view().epoch.to_string()
        };
        let delta = |from: &str, to: &str| {
            format!(r#"{{"delta":{{"cluster":"shop","from":"{from}","to":"{to}","later":1}}}}"#)
        };
        assert_eq!(hears(&delta("3.5", "3.6")).await, "3.6", "also with a key of a later version");
        assert_eq!(hears(&delta("3.5", "3.6")).await, "3.6");
        assert_eq!(hears(&delta("3.6", "3.2")).await, "3.6");
        assert_eq!(hears(&delta("3.6", "2.99")).await, "3.6");
        assert_eq!(hears(r#"{"fetch":{"cluster":"shop","to":"3.1"}}"#).await, "3.6");
        assert_eq!(hears(r#"{"fetch":{"cluster":"bank","to":"9.1"}}"#).await, "3.6");
        router.take();
        context.refresh().await.expect("the router answers");
        assert_eq!(context.view().epoch.to_string(), "3.6", "a whole view that is older changes nothing");

        // What it does not understand, or cannot apply, makes it ask; then it has the newest.
        for (number, nonsense) in
            ["{}", "nonsense", r#"{"new":{"cluster":"shop"}}"#, &delta("3.99", "4.5")].iter().enumerate()
        {
            let wanted = format!("4.{}", number + 1);
            *newest.lock().expect("no panic") = view(&wanted, &[]);
            let before = context.view().epoch;
            hears(nonsense).await;
            tokio::time::timeout(SOON, context.changed(before)).await.expect("it asks soon");
            assert_eq!(context.view().epoch.to_string(), wanted, "after {nonsense}");
        }
    });
}

#[test]
fn a_thousand_calls_that_are_told_to_fetch_fetch_once() {
    let router = Scripted::start(|got| match (got.target(), epoch(got).as_str()) {
        ("/views", "0.0") => answer(&view("1.1", &[])),
        ("/views", _) => answer(&view("1.2", &[])),
        (_, "1.1") => told(r#"{"fetch":{"cluster":"shop","to":"1.2","path":"/views"}}"#),
        _ => answer("current"),
    });
    run(async {
        let context = to(router.address).connect().await.expect("it connects");
        router.take();
        let before = context.view().epoch;
        let calls: Vec<_> = (0..1_000)
            .map(|_| {
                let context = context.clone();
                tokio::spawn(async move { context.invoke(get("/")).await.map(|answer| answer.status()) })
            })
            .collect();
        for call in calls {
            assert_eq!(call.await.expect("no panic").expect("an answer"), 200);
        }
        tokio::time::timeout(SOON, context.changed(before)).await.expect("it fetches soon");
        let fetches = router.take().iter().filter(|got| got.target() == "/views").count();
        assert_eq!((fetches, context.view().epoch.to_string().as_str()), (1, "1.2"));
    });
}

#[test]
fn calls_that_may_have_been_carried_out_are_not_made_again() {
    let breaks = Scripted::start(|got| match got.target() {
        "/views" => answer(&view("1.1", &[])),
        _ => Reply::Close,
    });
    let works = Scripted::start(|got| match got.target() {
        "/views" => answer(&view("1.1", &[])),
        _ => answer("works"),
    });
    run(async {
        // Each time anew, so that none is left out for what it did before.
        for request in [
            get("/x"),
            Request::post("/x").header("Idempotency-Key", "1").body(Bytes::new()).expect("a path"),
        ] {
            for _ in 0..4 {
                let context =
                    to(breaks.address).router(&url(works.address)).connect().await.expect("it connects");
                assert!(context.is_verified(), "the second router has the same epoch");
                let answer = context.invoke(request.clone()).await.expect("the other one answers");
                assert_eq!(&answer.body()[..], b"works");
            }
        }
        let (mut answers, mut failures) = (0, 0);
        for _ in 0..BEGINNINGS_MAX {
            if answers > 0 && failures > 0 {
                break;
            }
            breaks.take();
            let context =
                to(breaks.address).router(&url(works.address)).connect().await.expect("it connects");
            works.take();
            let outcome = context.invoke(post("/x")).await;
            let seen = |router: &Scripted| router.take().iter().filter(|got| got.target() == "/x").count();
            match outcome {
                Ok(_) => {
                    assert_eq!((seen(&breaks), seen(&works)), (0, 1));
                    answers += 1;
                }
                Err(error) => {
                    assert!(
                        error.is_done() && matches!(error, Error::Failed { attempts: 1, .. }),
                        "{error:?}"
                    );
                    assert_eq!((seen(&breaks), seen(&works)), (1, 0), "once and nowhere else");
                    failures += 1;
                }
            }
        }
        assert!(answers > 0 && failures > 0, "clients begin at either: {answers} and {failures}");
    });
}

#[test]
fn a_call_at_a_member_that_is_lost_is_given_up_at_once_and_made_elsewhere() {
    let is_dead = Arc::new(AtomicBool::new(false));
    let waits = Arc::new(AtomicUsize::new(0));
    let count = waits.clone();
    let silent = Scripted::start(move |_| {
        count.fetch_add(1, Ordering::SeqCst);
        Reply::Silence
    });
    let works = Scripted::named("works");
    let members = [("silent", silent.address), ("works", works.address)];
    let knows = is_dead.clone();
    let router = Scripted::start(move |got| {
        let of = |epoch: &str, state| {
            view(epoch, &[(members[0].0, members[0].1, state), (members[1].0, members[1].1, "up")])
        };
        match (epoch(got).as_str(), knows.load(Ordering::SeqCst)) {
            ("0.0", _) => answer(&of("1.1", "up")),
            ("1.1", true) => Reply::Bytes(
                b"HTTP/1.1 204 No Content\r\nMuster-View: {\"delta\":{\"cluster\":\"shop\",\"from\":\"1.1\",\"to\":\"1.2\",\"states\":{\"lost\":[\"silent\"]}}}\r\n\r\n".to_vec(),
            ),
            _ => nothing_new(),
        }
    });
    run(async {
        let context = to(router.address).way(Way::Members).connect().await.expect("it connects");
        let started = Instant::now();
        let first = tokio::spawn({
            let context = context.clone();
            async move { context.invoke(get("/")).await }
        });
        while waits.load(Ordering::SeqCst) == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        is_dead.store(true, Ordering::SeqCst);
        context.refresh().await.expect("the router answers");
        assert_eq!(context.view().members[0].state, ClientState::Lost);
        let answer = first.await.expect("no panic").expect("the other member answers");
        assert_eq!(&answer.body()[..], b"works");
        assert!(started.elapsed() < SOON, "the time-out is half a minute: {:?}", started.elapsed());
        assert!(
            silent.take().iter().chain(&works.take()).all(|got| got.header("muster-view").is_none()),
            "members are not told the token"
        );
    });
}

#[test]
fn answers_have_bounds_in_time_and_size_and_uris_are_paths() {
    let router = Scripted::start(|got| match got.target() {
        "/views" => answer(&view("1.1", &[])),
        "/large" => answer(&"x".repeat(2_000)),
        _ => Reply::Silence,
    });
    run(async {
        let settings = to(router.address).answer_timeout(Duration::from_millis(300)).answer_max_bytes(1_000);
        let context = settings.connect().await.expect("it connects");
        match context.invoke(get("/large")).await {
            Err(Error::Failed { attempts: 1, is_done: true, last }) => {
                assert_eq!(last.how, How::AnswerTooLarge)
            }
            other => panic!("{other:?}"),
        }
        match context.invoke(get("/silent")).await {
            Err(Error::Failed { last, .. }) => assert_eq!(last.how, How::Silent),
            other => panic!("{other:?}"),
        }
        for uri in ["http://other/x", "other:80", "*"] {
            let request = Request::get(uri).body(Bytes::new()).expect("a URI");
            assert!(matches!(context.invoke(request).await, Err(Error::WrongUse { .. })), "{uri}");
        }
        for settings in [
            Context::to("sh op", TOKEN).router(&url(router.address)),
            Context::to("shop", "short").router(&url(router.address)),
            Context::to("shop", TOKEN),
            Context::to("shop", TOKEN).router("shop:80"),
            to(router.address).authorities(b"none"),
        ] {
            let error = settings.connect().await.err().expect("it is wrong");
            assert!(matches!(error, Error::WrongUse { .. } | Error::Authorities { .. }), "{error:?}");
        }
    });
}

#[test]
fn a_client_that_speaks_tls_believes_its_authorities_only() {
    let scratch = Scratch::new();
    let authority = Authority::new(&scratch, "authority");
    let pair = authority.sign(&scratch, "router", &["localhost"]);
    let router = Scripted::with_tls(&pair, |got| match got.target() {
        "/views" => answer(&view("1.1", &[])),
        _ => answer("works"),
    });
    let port = router.address.port();
    let pem = std::fs::read(&authority.file).expect("it was written");
    run(async {
        let to = |host: &str| Context::to("shop", TOKEN).router(&format!("https://{host}:{port}/views"));
        let context = to("localhost").authorities(&pem).connect().await.expect("it connects");
        let answer = context.invoke(get("/")).await.expect("an answer");
        assert_eq!(&answer.body()[..], b"works");
        for settings in [to("localhost"), to("127.0.0.1").authorities(&pem)] {
            let error = settings.connect().await.err().expect("the certificate is another's");
            let Error::NotConnected { last: Some(last), .. } = error else { panic!("{error:?}") };
            assert!(last.how == How::NotConnected && !last.is_sent, "{last:?}");
        }
        // Nothing listens there.
        let nobody =
            Context::to("shop", TOKEN).router(&format!("https://{}/views", free_address())).connect().await;
        assert!(matches!(nobody, Err(Error::NotConnected { .. })));
    });
}

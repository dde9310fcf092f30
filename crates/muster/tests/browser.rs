//! The console as a person sees it: a real browser at a running demo.
//!
//! A browser that is missing fails these tests. Screenshots are left in `target/tmp` to be looked at.

#[path = "browser/failover.rs"]
mod failover;
#[path = "browser/groups.rs"]
mod groups;
#[path = "browser/remote.rs"]
mod remote;
#[path = "browser/verifications.rs"]
mod verifications;
#[path = "browser/webdriver.rs"]
mod webdriver;

mod support;

use rustix::process::Signal;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use support::cell::MUSTER;
use support::http::Connection;
use support::{Running, Scratch, wait_for};
use webdriver::Browser;

/// A demo with steady traffic through its router.
struct Demo {
    process: Running,
    router: SocketAddr,
    console: String,
    stop: Arc<AtomicBool>,
    traffic: Option<std::thread::JoinHandle<()>>,
}

impl Demo {
    fn start(scratch: &Scratch) -> Self {
        let mut command = Command::new(MUSTER);
        command.args(["demo", "--port", "0", "--console-port", "0"]).env("TMPDIR", scratch.path());
        let mut process = Running::start("muster demo", &mut command, &scratch.join("demo.log"));
        let value = |log: &str, key: &str| {
            log.lines().find_map(|line| line.trim().strip_prefix(key)).map(|value| value.trim().to_owned())
        };
        let (router, console) = wait_for("the demo's greeting", || {
            process.check();
            let log = process.log();
            value(&log, "router ").zip(value(&log, "console ")).ok_or_else(|| format!("so far: {log:?}"))
        });
        let router = router.trim_start_matches("http://").trim_end_matches('/').parse().expect("an address");
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let traffic = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                // A demo that is being killed refuses; the page tells of it, not the traffic.
                if let Ok(mut connection) = Connection::try_open(router)
                    && connection.send(b"GET / HTTP/1.1\r\nHost: demo\r\nConnection: close\r\n\r\n").is_ok()
                {
                    drop(connection.read_answer("GET"));
                }
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
        });
        Self { process, router, console, stop, traffic: Some(traffic) }
    }

    /// Which member answers a client without a session.
    fn ask(&self) -> String {
        let mut connection = Connection::open(self.router);
        connection
            .send(b"GET / HTTP/1.1\r\nHost: demo\r\nConnection: close\r\n\r\n")
            .expect("the router reads");
        connection
            .read_answer("GET")
            .expect("an answer")
            .header("x-member")
            .expect("the sample application names itself")
            .to_owned()
    }

    /// The process of a member.
    fn member(&self, name: &str) -> u32 {
        let wanted = format!("MUSTER_MEMBER={name}");
        let is_it = |pid: &u32| {
            let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let has =
                |bytes: &[u8], word: &str| bytes.split(|byte| *byte == 0).any(|part| part == word.as_bytes());
            has(&environment, &wanted) && has(&command, "sample-app")
        };
        wait_for(&format!("a process of {name}"), || {
            support::family(self.process.pid()).into_iter().find(is_it).ok_or_else(|| "none yet".to_owned())
        })
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(traffic) = self.traffic.take() {
            drop(traffic.join());
        }
    }
}

fn member(name: &str, state: &str) -> String {
    format!("[data-member=\"shop/{name}\"][data-state=\"{state}\"]")
}

/// Lines of the picture that lead somewhere, with requests running along them.
const FLOWING: &str = "return [...document.querySelectorAll('#lines .line-dots')].filter(line => \
    line.getTotalLength() > 10 && line.style.opacity !== '0' \
    && line.getAnimations().some(flow => flow.playState === 'running')).length";

/// From here on the page remembers each state that a member is shown in, for as long as it is not loaded anew.
const WATCH_STATES: &str = "window.shown = []; new MutationObserver(changes => { \
    for (const { target } of changes) if (target.dataset.member) \
        window.shown.push(target.dataset.member + ' ' + target.dataset.state); \
    }).observe(document.getElementById('clusters'), { subtree: true, attributeFilter: ['data-state'] })";

/// Texts of all warnings.
const ALERTS: &str = "return [...document.querySelectorAll('#events [data-severity=warning]')].map(alert => alert.textContent)";

/// A page of one colour is a few kilobytes.
fn keep_screenshot(name: &str, browser: &Browser, width: u32) {
    let picture = browser.screenshot();
    assert!(picture.starts_with(b"\x89PNG\r\n\x1a\n"), "{name} is no PNG");
    let pixels = u32::from_be_bytes(picture[16..20].try_into().expect("four bytes"));
    assert_eq!(pixels, width, "width of {name}");
    assert!(picture.len() > 20_000, "{name} shows nothing: {} bytes", picture.len());
    let directory = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"));
    std::fs::write(directory.join(format!("{name}.png")), picture)
        .expect("the target directory can be written");
}

#[test]
fn console_shows_the_live_picture_and_drains_by_a_click() {
    let scratch = Scratch::new();
    let demo = Demo::start(&scratch);
    let browser = Browser::start(&scratch, 1280, 900);
    browser.open(&demo.console);
    browser.wait_for("#link[data-link=live]");
    browser.wait_for("[data-router=\"front\"][data-connected=\"true\"]");
    let router = browser.text("[data-router=\"front\"] .addresses");
    assert_eq!(router, demo.router.to_string(), "the router's address is shown");
    wait_for("the cluster's summary", || {
        let shown = browser.text("[data-cluster=\"shop\"] .hub-share");
        if shown == "3 of 3 up" { Ok(()) } else { Err(shown) }
    });
    for name in ["shop-1", "shop-2", "shop-3"] {
        browser.wait_for(&member(name, "up"));
        let metric =
            |metric: &str| browser.text(&format!("[data-member=\"shop/{name}\"] [data-metric={metric}] dd"));
        wait_for(&format!("requests per second of {name}"), || {
            let rate = metric("rate");
            if rate.chars().any(|letter| ('1'..='9').contains(&letter)) { Ok(()) } else { Err(rate) }
        });
        assert_eq!(metric("weight"), "2", "the weight of {name}");
    }
    // From clients to the router, on to the cluster, and to each of its members.
    wait_for("requests on all five lines", || match browser.script(FLOWING).as_u64() {
        Some(5) => Ok(()),
        other => Err(format!("on {other:?}")),
    });
    assert!(
        !browser.script("return location.href").to_string().contains("token"),
        "the token is out of the address"
    );
    let route = "[data-router=\"front\"] [data-route=\"*/\"]";
    assert_eq!(browser.text(&format!("{route} .route-levels")), "shop", "where the route leads");
    wait_for("the rate of the route", || {
        let rate = browser.text(&format!("{route} .route-rate"));
        if rate.chars().any(|letter| ('1'..='9').contains(&letter)) { Ok(()) } else { Err(rate) }
    });
    keep_screenshot("console", &browser, 1280);

    browser.click("[data-member=\"shop/shop-2\"] [data-act=drain]");
    browser.wait_for(&member("shop-2", "draining"));
    wait_for("how many sessions are left", || {
        let told = browser.text("[data-member=\"shop/shop-2\"] .member-reason");
        if told.contains(" left.") { Ok(()) } else { Err(told) }
    });
    wait_for("new conversations to stay away from shop-2", || {
        let answers: Vec<String> = (0..12).map(|_| demo.ask()).collect();
        if answers.contains(&"shop-2".to_owned()) { Err(format!("{answers:?}")) } else { Ok(()) }
    });
    browser.click("[data-member=\"shop/shop-2\"] [data-act=start]");
    browser.wait_for(&member("shop-2", "up"));
    wait_for("new conversations for shop-2", || match demo.ask().as_str() {
        "shop-2" => Ok(()),
        other => Err(format!("{other} answers")),
    });

    browser.script(WATCH_STATES);
    support::send(demo.member("shop-3"), Signal::KILL);
    wait_for("the picture and the alert of a killed member", || {
        // None of it is there after the page was loaded anew.
        let shown = browser.script("return (window.shown ?? ['loaded anew']).join(', ')").to_string();
        let alerts = browser.script(ALERTS);
        let is_shown = shown.contains("shop/shop-3 down") || shown.contains("shop/shop-3 starting");
        let is_it = |alert: &str| alert.contains("shop/shop-3 is down") && alert.contains("KILL");
        let is_told =
            alerts.as_array().is_some_and(|alerts| alerts.iter().filter_map(Value::as_str).any(is_it));
        if is_shown && is_told { Ok(()) } else { Err(format!("{shown}; {alerts}")) }
    });
    browser.wait_for(&member("shop-3", "up"));
}

#[test]
fn console_works_by_keyboard_on_a_phone_and_in_the_dark() {
    let scratch = Scratch::new();
    let demo = Demo::start(&scratch);
    let browser = Browser::start(&scratch, 1280, 900);
    let phone = json!({ "width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": true });
    browser.devtools("Emulation.setDeviceMetricsOverride", &phone);
    let dark = json!({ "features": [{ "name": "prefers-color-scheme", "value": "dark" }] });
    browser.devtools("Emulation.setEmulatedMedia", &dark);
    browser.open(&demo.console);
    browser.wait_for("#link[data-link=live]");
    browser.wait_for(&member("shop-1", "up"));
    for width in [320, 390, 768, 1024] {
        let screen = json!({ "width": width, "height": 844, "deviceScaleFactor": 1, "mobile": true });
        browser.devtools("Emulation.setDeviceMetricsOverride", &screen);
        let overflow = browser.script("return document.documentElement.scrollWidth - screen.width");
        assert!(overflow.as_i64().expect("a number") <= 0, "{overflow} px beyond the edge of {width} px");
    }
    browser.devtools("Emulation.setDeviceMetricsOverride", &phone);
    let colour = browser.script("return getComputedStyle(document.body).backgroundColor").to_string();
    let parts: Vec<u32> =
        colour.split(|letter: char| !letter.is_ascii_digit()).flat_map(str::parse).collect();
    assert!(parts.iter().take(3).all(|part| *part < 80), "the dark page is dark: {colour}");
    keep_screenshot("console-phone-dark", &browser, 390);

    // Tab goes round all that can be reached; the button must be among it.
    let reached = (0..80).any(|_| {
        browser.press("\u{e004}");
        let script = "const a = document.activeElement; return (a.closest('[data-member]')?.dataset.member ?? '') \
                      + ' ' + (a.dataset.act ?? '')";
        browser.script(script) == "shop/shop-1 drain"
    });
    assert!(reached, "the drain button of shop-1 is reached by Tab");
    browser.press("\u{e007}");
    browser.wait_for(&member("shop-1", "draining"));
}

#[test]
fn console_refuses_a_wrong_token_and_says_when_the_cell_is_gone() {
    let scratch = Scratch::new();
    let demo = Demo::start(&scratch);
    let browser = Browser::start(&scratch, 1280, 900);
    let page = demo.console.split("/login").next().expect("a login link").to_owned();
    browser.open(&format!("{page}/login#token=wrong"));
    wait_for("the refusal", || {
        let problem = browser.text("#problem:not([hidden])");
        if problem.contains("(M2002)") { Ok(()) } else { Err(problem) }
    });
    assert_eq!(browser.count("[data-member]"), 0, "nothing is shown without a login");
    browser.open(&demo.console);
    browser.wait_for("#link[data-link=live]");
    demo.process.signal(Signal::KILL);
    browser.wait_for("#link[data-link=lost]");
    let told = browser.text("#lost:not([hidden])");
    assert!(told.starts_with("Connection lost."), "{told}");
    assert!(browser.count("[data-member]") >= 3, "what was known last stays");
}

#[test]
fn people_log_in_with_their_password_and_see_what_their_role_allows() {
    let scratch = Scratch::new();
    let demo = Demo::start(&scratch);
    let (page, token) = demo.console.split_once("/login#token=").expect("a login link");
    let address: SocketAddr = page.trim_start_matches("http://").parse().expect("an address");
    let authorization = format!("Bearer {token}");
    let headers = [("Authorization", authorization.as_str())];
    let body = json!({ "role": "viewer", "password": "correct horse" }).to_string();
    let added = support::http::request(address, "POST", "/api/v1/users/anna", &headers, body.as_bytes());
    assert_eq!(added.map(|answer| answer.status).ok(), Some(200));

    let browser = Browser::start(&scratch, 1280, 900);
    let log_in = |user: &str, password: &str| {
        browser.open(&format!("{page}/login"));
        browser.wait_for("#login button:not([disabled])");
        let script = format!(
            "document.getElementById('user').value = '{user}'; \
             document.getElementById('password').value = '{password}'; return null"
        );
        browser.script(&script);
        browser.click("#login button");
    };
    log_in("anna", "battery staple");
    wait_for("the refusal", || {
        let problem = browser.text("#problem:not([hidden])");
        if problem.contains("(M2002)") { Ok(()) } else { Err(problem) }
    });
    keep_screenshot("login", &browser, 1280);
    log_in("anna", "correct horse");
    browser.wait_for("#link[data-link=live]");
    wait_for("who she is", || match browser.text(".who").as_str() {
        "anna viewer" => Ok(()),
        other => Err(other.to_owned()),
    });
    assert_eq!(browser.count("#audit:not([hidden])"), 0, "the log is for admins");
    browser.wait_for("[data-member=\"shop/shop-1\"] [data-act]");
    let enabled = browser.count("[data-act]:not([aria-disabled=true])");
    assert_eq!(enabled, 0, "a viewer can press nothing");
    let why = browser.script("return document.querySelector('[data-act=drain]').title").to_string();
    assert!(why.contains("needs the role operator"), "{why}");
    keep_screenshot("viewer", &browser, 1280);

    browser.open(&demo.console);
    wait_for("the administrator", || {
        let who = browser.text(".who");
        if who == "admin admin" { Ok(()) } else { Err(who) }
    });
    browser.click("#audit summary");
    browser.wait_for("#audit-rows tr[data-result=refused]");
    let rows = browser.script("return document.getElementById('audit-rows').innerText").to_string();
    assert!(rows.contains("user-add") && rows.contains("anna") && !rows.contains("horse"), "{rows}");
    keep_screenshot("audit", &browser, 1280);
}

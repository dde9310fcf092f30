//! Failover groups and monitors in the console, on one machine: each state, each way to the menus, alerts, viewers, phones.

use super::keep_screenshot;
use super::support::cell::Cell;
use super::support::{Scratch, wait_for};
use super::webdriver::Browser;
use serde_json::{Value, json};

const ARROW_DOWN: &str = "\u{e015}";
const ENTER: &str = "\u{e007}";
const ESCAPE: &str = "\u{e00c}";
const F10: &str = "\u{e03a}";
const SHIFT: &str = "\u{e008}";

/// What a script says last becomes part of a reason.
const HOSTILE: &str = "<img src=x onerror=window.hacked=1><script>window.hacked=1</script>";

fn tables() -> String {
    let group = |name: &str, more: &str, start: &str| {
        format!(
            "[groups.{name}]\nnodes = [\"local\"]\nrestarts_max = 0\n{more}\n[groups.{name}.resources.{name}-app]\n\
             type = \"exec\"\nstart = [{start}]\nstop = [\"true\"]\nstart_timeout_ms = 600000\n\n"
        )
    };
    let monitor = |name: &str, more: &str| {
        format!("[monitors.{name}]\nnodes = [\"local\"]\ninterval_ms = 200\nretries = 0\n{more}\n\n")
    };
    let fails = format!("\"sh\", \"-c\", \"echo '{HOSTILE}'; exit 3\"");
    [
        group("runs", "", "\"true\""),
        group("idle", "startup = \"manual\"\n", "\"true\""),
        group("fails", "", &fails),
        group("late", "after = [\"idle\"]\n", "\"true\""),
        group("slow", "", "\"sleep\", \"600\""),
        monitor("home", "kind = \"address\"\naddress = \"127.0.0.1\""),
        monitor("gone", "kind = \"address\"\naddress = \"192.0.2.77\""),
    ]
    .concat()
}

fn start(scratch: &Scratch) -> (Cell, Browser) {
    let cell = Cell::start(scratch, &tables());
    let browser = Browser::start(scratch, 1280, 1000);
    (cell, browser)
}

fn log_in(cell: &Cell, browser: &Browser) {
    let token = std::fs::read_to_string(cell.state_dir.join("admin-token")).expect("the manager wrote it");
    browser.open(&format!("http://{}/login#token={}", cell.console, token.trim()));
    browser.wait_for("#link[data-link=live]");
}

pub fn row(key: &str) -> String {
    format!("#tree [data-item=\"{key}\"]:not(.leaving)")
}

/// Waits until something in the tree has this colour and this word.
pub fn wait_for_lamp(browser: &Browser, key: &str, colour: &str, word: &str) {
    let row = row(key);
    wait_for(&format!("{key} to be {word} in {colour}"), || {
        let is_coloured = browser.count(&format!("{row} [data-lamp={colour}]")) == 1;
        let told = browser.text(&format!("{row} .lamp-word"));
        if is_coloured && told == word { Ok(()) } else { Err(format!("{told}: {}", browser.text("#tree"))) }
    });
}

/// The labels of the open menu; those that cannot be taken are in brackets.
pub fn menu(browser: &Browser) -> Vec<String> {
    browser.wait_for(".menu [role=menuitem]");
    let script = "return [...document.querySelectorAll('.menu [role=menuitem]')].map(item => \
        item.getAttribute('aria-disabled') ? `(${item.dataset.item})` : item.dataset.item)";
    let items = browser.script(script);
    items.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

pub fn item(label: &str) -> String {
    format!(".menu [data-item=\"{label}\"]:not([aria-disabled])")
}

/// What has the focus: the key of a row of the tree, or the label of an item of a menu.
fn focus(browser: &Browser) -> String {
    let script = "const a = document.activeElement; return a.dataset.item ?? a.id ?? ''";
    browser.script(script).as_str().unwrap_or_default().to_owned()
}

/// WebDriver has no name for this key.
fn press_menu_key(browser: &Browser) {
    for kind in ["rawKeyDown", "keyUp"] {
        let key =
            json!({ "type": kind, "key": "ContextMenu", "code": "ContextMenu", "windowsVirtualKeyCode": 93 });
        browser.devtools("Input.dispatchKeyEvent", &key);
    }
}

fn wait_for_focus(browser: &Browser, wanted: &str) {
    wait_for(&format!("the focus on {wanted}"), || {
        let found = focus(browser);
        if found == wanted { Ok(()) } else { Err(found) }
    });
}

fn wait_for_text(browser: &Browser, selector: &str, part: &str) {
    wait_for(&format!("{part:?} in {selector}"), || {
        let text = browser.text(selector);
        if text.contains(part) { Ok(()) } else { Err(text) }
    });
}

#[test]
fn every_state_has_a_colour_a_shape_and_a_word_and_hostile_reasons_stay_text() {
    let scratch = Scratch::new();
    let (cell, browser) = start(&scratch);
    log_in(&cell, &browser);
    for (key, colour, word) in [
        ("group/runs", "green", "Online"),
        ("resource/runs/runs-app", "green", "Online"),
        ("group/idle", "gray", "Offline"),
        ("group/fails", "red", "Failed"),
        ("group/late", "yellow", "Waiting"),
        ("group/slow", "yellow", "Starting"),
        ("resource/slow/slow-app", "yellow", "Starting"),
        ("groups", "red", "Failed"),
        ("monitor/home", "green", "Normal"),
        ("monitor/gone", "red", "Error"),
        ("server/local", "green", "Up"),
    ] {
        wait_for_lamp(&browser, key, colour, word);
    }
    let shapes = "return new Set(['runs', 'idle', 'fails', 'late', 'slow'].map(name => \
        document.querySelector(`#tree [data-item=\"group/${name}\"] .lamp use`).getAttribute('href'))).size";
    assert_eq!(browser.script(shapes), json!(5), "each state has a shape of its own");
    wait_for_text(&browser, "tr[data-group=fails] .wide", HOSTILE);
    wait_for_text(&browser, "#events", HOSTILE);
    keep_screenshot("groups", &browser, 1280);

    browser.click(&row("group/fails"));
    wait_for_text(&browser, ".timeline", HOSTILE);
    browser.wait_for(".stage[data-stage=failed]");
    assert_eq!(browser.script("return window.hacked === undefined"), json!(true), "nothing of it ran");
    assert_eq!(browser.count("main img, main script"), 0, "nothing of it became an element");
    keep_screenshot("group-failed", &browser, 1280);

    browser.click(&row("monitors"));
    browser.wait_for("tr[data-monitor=gone][data-state=error]");
    browser.click(&row("server/local"));
    browser.wait_for("#pane[data-server=local] tr[data-group=runs]");
}

#[test]
fn groups_are_stopped_started_frozen_and_thawed_by_mouse_and_by_keyboard() {
    let scratch = Scratch::new();
    let (cell, browser) = start(&scratch);
    log_in(&cell, &browser);
    wait_for_lamp(&browser, "group/runs", "green", "Online");
    // By the right button.
    browser.click_right(&format!("{} .tree-name", row("group/runs")));
    let items = menu(&browser);
    let wanted = [
        "(Start…)",
        "Stop…",
        "Move…",
        "(Fail back…)",
        "Freeze",
        "(Confirm that its node is off…)",
        "Timeline",
    ];
    assert_eq!(items, wanted);
    browser.click(&item("Stop…"));
    wait_for_text(&browser, "#plan-told", "Group runs is being stopped on node local.");
    wait_for_text(&browser, "#plan-steps", "On local: stop runs-app");
    browser.click("#plan-yes:not([disabled])");
    wait_for_lamp(&browser, "group/runs", "gray", "Offline");
    wait_for_text(&browser, "tr[data-group=runs] .last-move", "Stop on local");

    // By the menu key in the tree, with arrows; Escape gives the focus back.
    browser.click(&row("group/runs"));
    wait_for_focus(&browser, "group/runs");
    press_menu_key(&browser);
    wait_for_focus(&browser, "Start…");
    browser.press(ESCAPE);
    wait_for_focus(&browser, "group/runs");
    assert_eq!(browser.count(".menu"), 0);
    browser.press_with(SHIFT, F10);
    wait_for_focus(&browser, "Start…");
    browser.press(ENTER);
    wait_for_text(&browser, "#plan-told", "Group runs is being started on node local.");
    browser.wait_for("#plan-yes:not([disabled])");
    browser.press(ENTER);
    wait_for_lamp(&browser, "group/runs", "green", "Online");

    // By the button beside its name in the table.
    browser.click(&row("groups"));
    browser.click("tr[data-group=runs] .more");
    browser.click(&item("Freeze"));
    wait_for_lamp(&browser, "group/runs", "green", "Online, frozen");
    browser.click("tr[data-group=runs] .more");
    assert!(menu(&browser).contains(&"(Move…)".to_owned()), "what is frozen is not moved");
    browser.click(&item("Thaw"));
    wait_for_lamp(&browser, "group/runs", "green", "Online");

    // A wish that the manager refuses is told, and cannot be sent.
    browser.click_right(&format!("{} .tree-name", row("group/runs")));
    browser.click(&item("Move…"));
    wait_for_text(
        &browser,
        "#plan-outcome[data-kind=refused] #plan-told",
        "No other node can run group runs",
    );
    assert_eq!(browser.count("#plan-yes[disabled]"), 1);
    browser.press(ESCAPE);
    wait_for("the dialog to go", || {
        if browser.count("#plan[open]") == 0 { Ok(()) } else { Err("open".to_owned()) }
    });
    fold_by_arrows(&browser);
}

/// The last of the branches is folded, and its monitors are gone from sight; then it is opened again.
fn fold_by_arrows(browser: &Browser) {
    browser.click(&row("monitors"));
    browser.press("\u{e012}");
    browser.wait_for(&format!("{}[aria-expanded=false]", row("monitors")));
    browser.press("\u{e014}");
    browser.press(ARROW_DOWN);
    wait_for_focus(browser, "monitor/home");
}

#[test]
fn monitors_are_paused_and_alerts_are_searched_and_filtered() {
    let scratch = Scratch::new();
    let (cell, browser) = start(&scratch);
    log_in(&cell, &browser);
    wait_for_lamp(&browser, "monitor/home", "green", "Normal");
    browser.click_right(&format!("{} .tree-name", row("monitor/home")));
    browser.click(&item("Pause"));
    wait_for_lamp(&browser, "monitor/home", "gray", "Paused");
    browser.click_right(&format!("{} .tree-name", row("monitor/home")));
    browser.click(&item("Resume"));
    wait_for_lamp(&browser, "monitor/home", "green", "Normal");

    wait_for_text(&browser, "#events tr[data-severity=error]", "fails");
    let numbers = "const times = [...document.querySelectorAll('#events time')].map(time => time.dateTime); \
        return times.every((time, index) => index === 0 || times[index - 1] >= time)";
    assert_eq!(browser.script(numbers), json!(true), "the newest comes first");
    let fill = |id: &str, value: &str| {
        browser.script(&format!(
            "const it = document.getElementById('{id}'); it.value = {}; \
             it.dispatchEvent(new Event('input', {{ bubbles: true }})); return null",
            json!(value)
        ));
    };
    fill("alert-severity", "error");
    assert_eq!(browser.count("#events tr:not([data-severity=error])"), 0);
    assert!(browser.count("#events tr") > 0);
    fill("alert-severity", "info");
    fill("alert-search", "MONITOR home");
    let texts =
        browser.script("return [...document.querySelectorAll('#events tr')].map(row => row.innerText)");
    let texts: Vec<&str> = texts.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    assert!(!texts.is_empty() && texts.iter().all(|text| text.contains("home")), "{texts:?}");
    fill("alert-search", "nothing is called so");
    wait_for_text(&browser, "#no-events:not([hidden])", "fits these filters");
    fill("alert-search", "");
    fill("alert-server", "local");
    assert!(browser.count("#events tr") > 0, "some name the server");
    // What comes later is filtered as well.
    fill("alert-search", "asked for `freeze`");
    assert_eq!(browser.count("#events tr"), 0);
    fill("alert-server", "");
    cell.must(&["group", "freeze", "idle"]);
    wait_for("the freeze among the alerts", || match browser.count("#events tr") {
        1 => Ok(()),
        other => Err(format!("{other}: {}", browser.text("#events"))),
    });
}

#[test]
fn a_viewer_is_offered_nothing_and_a_phone_gets_menus_by_a_long_press() {
    let scratch = Scratch::new();
    let (cell, browser) = start(&scratch);
    let body = json!({ "role": "viewer", "password": "correct horse" }).to_string();
    let added = cell.ask("POST", "/api/v1/users/anna", body.as_bytes()).map(|answer| answer.status);
    assert_eq!(added, Ok(200));
    browser.open(&format!("http://{}/login", cell.console));
    browser.wait_for("#login button:not([disabled])");
    browser.script(
        "document.getElementById('user').value = 'anna'; \
         document.getElementById('password').value = 'correct horse'; return null",
    );
    browser.click("#login button");
    browser.wait_for("#link[data-link=live]");
    wait_for_lamp(&browser, "group/runs", "green", "Online");
    browser.click_right(&format!("{} .tree-name", row("group/runs")));
    assert_eq!(menu(&browser), ["Timeline"], "looking is all that a viewer may do");
    browser.press(ESCAPE);
    browser.click_right(&format!("{} .tree-name", row("monitor/home")));
    assert_eq!(browser.count(".menu"), 0, "there is nothing to do with a monitor");
    browser.script(
        "fetch('/api/v1/groups/runs/stop', { method: 'POST', headers: { 'X-Muster-Key': localStorage.getItem('muster-key') } })\
         .then(answer => { window.answered = answer.status; }); return null",
    );
    wait_for("the server's refusal", || match browser.script("return window.answered ?? null") {
        Value::Null => Err("no answer".to_owned()),
        status => {
            assert_eq!(status, json!(403));
            Ok(())
        }
    });

    log_in(&cell, &browser);
    for width in [320, 360, 390, 768] {
        let screen = json!({ "width": width, "height": 780, "deviceScaleFactor": 1, "mobile": true });
        browser.devtools("Emulation.setDeviceMetricsOverride", &screen);
        browser.devtools("Emulation.setTouchEmulationEnabled", &json!({ "enabled": true }));
        for key in ["groups", "group/fails", "monitors", "server/local"] {
            browser.click(&row(key));
            let overflow = browser.script("return document.documentElement.scrollWidth - screen.width");
            assert!(overflow.as_i64().expect("a number") <= 0, "{key}: {overflow} px beyond {width} px");
        }
    }
    let screen = json!({ "width": 360, "height": 780, "deviceScaleFactor": 1, "mobile": true });
    browser.devtools("Emulation.setDeviceMetricsOverride", &screen);
    browser.hold(&format!("{} .tree-name", row("group/runs")), 900);
    assert!(menu(&browser).contains(&"Stop…".to_owned()));
    keep_screenshot("groups-phone", &browser, 360);
    let place = browser.script(
        "const box = document.querySelector('.menu').getBoundingClientRect(); \
         return box.left >= 0 && box.right <= innerWidth && box.bottom <= innerHeight",
    );
    assert_eq!(place, json!(true), "all of the menu is in sight");
    browser.click(&item("Stop…"));
    browser.click("#plan-yes:not([disabled])");
    wait_for_lamp(&browser, "group/runs", "gray", "Offline");
    // A button is there for those who do not know of long presses.
    browser.click(&format!("{} .more", row("group/runs")));
    assert!(menu(&browser).contains(&"Start…".to_owned()));
}

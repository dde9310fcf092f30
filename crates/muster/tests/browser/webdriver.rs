//! A real browser, driven over WebDriver (W3C): Debian's chromium through its chromedriver.
//!
//! Promise: driver and browser end with their owner. Not here: what is to be seen (see `browser`).

use crate::support::http::Connection;
use crate::support::{Running, Scratch, family, free_address, program, send, wait_for, wait_until_listening};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

/// Without these a browser without a screen draws nothing, or talks to the world.
const FLAGS: [&str; 8] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
];

/// The name under which WebDriver hands out elements.
const ELEMENT_KEY: &str = "element-6066-11e4-a52e-4f735466cecf";

pub struct Browser {
    driver: Running,
    address: SocketAddr,
    session: String,
}

impl Browser {
    /// A browser with an empty profile and a window of that many pixels.
    pub fn start(scratch: &Scratch, width: u32, height: u32) -> Self {
        Self::start_in(scratch.path(), width, height)
    }

    /// The same with its files in this directory.
    pub fn start_in(directory: &Path, width: u32, height: u32) -> Self {
        let address = free_address();
        let mut command = Command::new(program("chromedriver"));
        // What a browser that is killed leaves behind goes with the test's own directory.
        command.arg(format!("--port={}", address.port())).env("TMPDIR", directory);
        let mut driver = Running::start("chromedriver", &mut command, &directory.join("chromedriver.log"));
        wait_until_listening(address, &mut driver);
        let mut browser = Self { driver, address, session: String::new() };
        let profile = format!("--user-data-dir={}", directory.join("profile").display());
        let size = format!("--window-size={width},{height}");
        let arguments: Vec<&str> = FLAGS.iter().copied().chain([profile.as_str(), size.as_str()]).collect();
        let options = json!({ "binary": program("chromium"), "args": arguments });
        let wanted = json!({ "browserName": "chrome", "goog:chromeOptions": options });
        let answer = browser.call("POST", "/session", &json!({ "capabilities": { "alwaysMatch": wanted } }));
        browser.session = answer["sessionId"].as_str().expect("a session has a name").to_owned();
        browser
    }

    /// One command; a refusal by the browser fails the test.
    fn call(&self, method: &str, path: &str, body: &Value) -> Value {
        self.try_call(method, path, body)
            .unwrap_or_else(|refusal| panic!("{method} {path} {body}: {refusal}"))
    }

    fn try_call(&self, method: &str, path: &str, body: &Value) -> Result<Value, String> {
        let body = if method == "GET" { String::new() } else { body.to_string() };
        let head =
            format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n");
        let request = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
        let mut connection = Connection::open(self.address);
        connection.send(request.as_bytes()).map_err(|error| error.to_string())?;
        let answer = connection.read_answer(method).map_err(|error| error.to_string())?;
        let mut value: Value = serde_json::from_slice(&answer.body).map_err(|error| error.to_string())?;
        if answer.status == 200 {
            Ok(value["value"].take())
        } else {
            Err(value["value"]["message"].to_string())
        }
    }

    fn in_session(&self, method: &str, path: &str, body: &Value) -> Value {
        self.call(method, &format!("/session/{}{path}", self.session), body)
    }

    pub fn open(&self, url: &str) {
        self.in_session("POST", "/url", &json!({ "url": url }));
    }

    /// What a script's `return` gives.
    pub fn script(&self, script: &str) -> Value {
        self.in_session("POST", "/execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// How many elements fit the selector.
    pub fn count(&self, selector: &str) -> u64 {
        self.script(&format!("return document.querySelectorAll({}).length", json!(selector)))
            .as_u64()
            .expect("a count")
    }

    /// Text of the first element that fits.
    pub fn text(&self, selector: &str) -> String {
        let script = format!("return document.querySelector({})?.textContent ?? ''", json!(selector));
        self.script(&script).as_str().expect("a text").to_owned()
    }

    pub fn wait_for(&self, selector: &str) {
        wait_for(&format!("{selector} in the page"), || match self.count(selector) {
            0 => Err(format!("the page shows: {}", self.text("main"))),
            _ => Ok(()),
        });
    }

    /// Clicks as a person does: where the element is seen.
    pub fn click(&self, selector: &str) {
        let id = wait_for(&format!("{selector} to be clicked"), || {
            let body = json!({ "using": "css selector", "value": selector });
            let found = self.try_call("POST", &format!("/session/{}/element", self.session), &body)?;
            let id = found[ELEMENT_KEY].as_str().ok_or("no element")?.to_owned();
            let path = format!("/session/{}/element/{id}/click", self.session);
            self.try_call("POST", &path, &json!({})).map(|_| id)
        });
        assert!(!id.is_empty());
    }

    /// Presses keys wherever the focus is.
    pub fn press(&self, key: &str) {
        let keys = json!([{ "type": "keyDown", "value": key }, { "type": "keyUp", "value": key }]);
        self.in_session(
            "POST",
            "/actions",
            &json!({ "actions": [{ "type": "key", "id": "k", "actions": keys }] }),
        );
    }

    /// Presses a key while another one is held.
    pub fn press_with(&self, held: &str, key: &str) {
        let down = |value: &str| json!({ "type": "keyDown", "value": value });
        let up = |value: &str| json!({ "type": "keyUp", "value": value });
        let keys = json!([down(held), down(key), up(key), up(held)]);
        self.act("key", &json!({}), &keys);
    }

    /// Types a text wherever the focus is.
    pub fn type_text(&self, text: &str) {
        for letter in text.chars() {
            self.press(&letter.to_string());
        }
    }

    /// Clicks with the right button in the middle of an element.
    pub fn click_right(&self, selector: &str) {
        let there = self.reach(selector);
        let actions = json!([
            { "type": "pointerMove", "duration": 0, "x": 0, "y": 0, "origin": there },
            { "type": "pointerDown", "button": 2 },
            { "type": "pointerUp", "button": 2 },
        ]);
        self.act("pointer", &json!({ "pointerType": "mouse" }), &actions);
    }

    /// Holds a finger on an element for so long.
    pub fn hold(&self, selector: &str, for_ms: u64) {
        let there = self.reach(selector);
        let actions = json!([
            { "type": "pointerMove", "duration": 0, "x": 0, "y": 0, "origin": there },
            { "type": "pointerDown", "button": 0 },
            { "type": "pause", "duration": for_ms },
            { "type": "pointerUp", "button": 0 },
        ]);
        self.act("pointer", &json!({ "pointerType": "touch" }), &actions);
    }

    fn act(&self, kind: &str, parameters: &Value, actions: &Value) {
        let source = json!({ "type": kind, "id": format!("{kind} {parameters}"), "parameters": parameters, "actions": actions });
        self.in_session("POST", "/actions", &json!({ "actions": [source] }));
    }

    /// An element in sight, as WebDriver names it.
    fn reach(&self, selector: &str) -> Value {
        let script =
            format!("document.querySelector({})?.scrollIntoView({{ block: 'center' }})", json!(selector));
        self.script(&script);
        wait_for(&format!("{selector} to be reached"), || {
            let body = json!({ "using": "css selector", "value": selector });
            self.try_call("POST", &format!("/session/{}/element", self.session), &body)
        })
    }

    /// A command of the browser's own protocol.
    pub fn devtools(&self, command: &str, parameters: &Value) {
        self.in_session("POST", "/goog/cdp/execute", &json!({ "cmd": command, "params": parameters }));
    }

    /// What is seen, as a PNG file.
    pub fn screenshot(&self) -> Vec<u8> {
        let answer = self.in_session("GET", "/screenshot", &Value::Null);
        from_base64(answer.as_str().expect("a picture as text"))
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Its processes are the driver's children; all of them go, however the test ended.
        for pid in family(self.driver.pid()) {
            send(pid, Signal::KILL);
        }
    }
}

fn from_base64(text: &str) -> Vec<u8> {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits = text.bytes().filter_map(|byte| ALPHABET.iter().position(|known| *known == byte));
    let (mut bits, mut count, mut bytes) = (0_u32, 0, Vec::new());
    for digit in digits {
        bits = bits << 6 | digit as u32;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
            bits &= (1 << count) - 1;
        }
    }
    bytes
}

//! Monitors.

use super::groups::is_asynchronous;
use super::{Import, find, text_of, toml};
use crate::plugin_cfg::xml::Element;

impl Import<'_> {
    pub(super) fn monitors(&mut self, root: &Element) {
        let mut names = Vec::new();
        for list in root.all("monitor") {
            for monitor in list.elements() {
                if monitor.value("name").is_none() || monitor.name == "types" {
                    continue;
                }
                let kind = monitor.name.as_str();
                let given = monitor.value("name").unwrap_or_default().to_owned();
                let what = format!("{kind}[{given}]");
                if let Some(why) = why_not(root, monitor) {
                    self.note(monitor, what, why);
                    continue;
                }
                let Some(name) = self.name(monitor, kind) else { continue };
                if names.contains(&name) {
                    self.note(monitor, what, "there is another monitor of this name");
                    continue;
                }
                self.monitor(monitor, &name);
                names.push(name);
            }
        }
    }

    fn monitor(&mut self, monitor: &Element, name: &str) {
        self.text.table(&format!("monitors.{}", toml::key(name)));
        match monitor.name.as_str() {
            "httpw" => self.http(monitor),
            "smtpw" => {
                let host = self.take(monitor, "parameters/ipaddress").unwrap_or("127.0.0.1").to_owned();
                let port = self.take_number(monitor, "parameters/port").unwrap_or(25);
                self.text.value("kind", "smtp");
                self.text.value("target", &target(&host, port));
            }
            "genw" => self.custom(monitor),
            _ => {
                let interface = self.take(monitor, "parameters/object").unwrap_or_default().to_owned();
                self.text.value("kind", "link");
                self.text.value("interface", &interface);
            }
        }
        let pace = [
            ("interval", "interval_ms", 1_000),
            ("timeout", "timeout_ms", 1_000),
            ("reconfirmation", "retries", 1),
        ];
        for (path, key, factor) in pace {
            if let Some(number) = self.take_number(monitor, &format!("polling/{path}")) {
                self.text.plain(key, number.saturating_mul(factor));
            }
        }
        self.recovery(monitor);
    }

    fn http(&mut self, monitor: &Element) {
        let host = self.take(monitor, "parameters/servername").unwrap_or("localhost").to_owned();
        let is_tls = self.take(monitor, "parameters/https") == Some("1");
        let port = self.take_number(monitor, "parameters/port").unwrap_or(if is_tls { 443 } else { 80 });
        let method = if self.take(monitor, "parameters/requesttype") == Some("1") { "GET" } else { "HEAD" };
        let uri = self.take(monitor, "parameters/requesturi").map(str::to_owned);
        self.text.value("kind", "http");
        self.text.value("target", &target(&host, port));
        self.text.value("method", method);
        // Without a URI any answer is good there.
        match uri.filter(|uri| uri != "/") {
            Some(uri) if uri.starts_with('/') => self.text.value("path", &uri),
            Some(uri) => self.text.value("path", &format!("/{uri}")),
            None => {
                self.text.plain("status_min", 100);
                self.text.plain("status_max", 999);
            }
        }
        if is_tls {
            self.text.plain("tls", true);
        }
        if let Some(user) = find(monitor, "parameters/username").filter(|user| !text_of(user).is_empty()) {
            let why = "a user needs a password_file on each node, and passwords of this file are not read";
            self.note(user, "username", why);
        }
        if let Some(password) = find(monitor, "parameters/password") {
            self.note(password, "password", "passwords are not taken over");
        }
    }

    fn custom(&mut self, monitor: &Element) {
        let given = monitor.value("name").unwrap_or_default();
        let path = self.take(monitor, "parameters/path").unwrap_or("genw.sh").to_owned();
        let path =
            if path.starts_with('/') { path } else { format!("{}/monitor.s/{given}/{path}", self.scripts) };
        for sync in ["parameters/sync", "parameters/normalval"] {
            self.take(monitor, sync);
        }
        self.text.value("kind", "custom");
        self.text.list("command", [path.as_str()]);
    }
}

/// Why a monitor is not taken; None: it is.
fn why_not(root: &Element, monitor: &Element) -> Option<String> {
    let value = |path: &str| find(monitor, path).map(text_of);
    let why = match monitor.name.as_str() {
        "httpw" | "smtpw" => return None,
        "genw" => match (value("parameters/sync"), value("parameters/normalval")) {
            (Some("0"), _) => "a script that goes on running is a resource of type process",
            (_, Some(normal)) if normal != "0" => "the normal value of a script is 0",
            (_, _) => return None,
        },
        "miiw" if value("parameters/object").is_some_and(|name| !name.is_empty()) => return None,
        "miiw" => "it names no interface",
        "pidw" => match value("target") {
            Some(target) if is_asynchronous(root, target) => {
                "not needed: when the process of that resource ends, the resource has failed"
            }
            Some(_) | None => "its target is not an exec resource with an asynchronous start script",
        },
        "ipw" => "there is no monitor that pings; kind = \"tcp\" asks a service of that machine",
        "userw" => "the guardian of each group ends it when its node hangs",
        "fipw" => {
            "not needed: an address that is taken away from its machine is lost, and the group is restarted"
        }
        "diskw" | "psqlw" => "write it by hand: kind = \"disk\" or \"postgres\"",
        other => return Some(format!("monitors of type {other} are not taken")),
    };
    Some(why.to_owned())
}

fn target(host: &str, port: u64) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

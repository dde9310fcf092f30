//! Holds for every definition alike: examples are right, defaults are defaults, ranges end where they say, unknown
//! keys are refused at each level, and no key is without effect.

use super::{parse, settings};
use crate::config::definition::{Definition, Preset, Section};
use crate::config::definitions::SECTIONS;
use crate::config::document::Document;
use crate::config::kind::Kind;
use crate::config::reference::EXAMPLE;
use crate::config::shape;
use logic::seed::Chance;
use wire::error_code::{self, ErrorCode};

/// Every table with something in it, none of whose keys is one of the examples.
const BASE: &str = r#"
[cell]
name = "base"
[console]
listen = "127.0.0.1:1"
[manager]
listen = "127.0.0.1:9"
[store]
[nodes.local]
address = "127.0.0.3"
[nodes.other]
address = "127.0.0.4"
[routers.r]
listen = ["127.0.0.1:2"]
node = "other"
gateway = "127.0.0.4:2"
[routers.r.timeouts]
[routers.r.limits]
[routers.r.retry]
[routers.r.access_log]
format = "common"
[routers.r.plugin_cfg]
path = "/base/plugin-cfg.xml"
[routers.r.trace]
[[routers.r.listeners]]
address = "127.0.0.1:4"
client_authorities = "/base/ca.pem"
[[routers.r.listeners.certificates]]
certificate = "/base/one.pem"
key = "/base/one.key"
[[routers.r.listeners]]
address = "127.0.0.1:5"
protocol = "tls"
[[routers.r.listeners.server_names]]
name = "base.example"
cluster = "c"
[[routers.r.routes]]
cluster = "c"
[routers.r.routes.rate_limit]
requests_per_second = 7
[routers.r.routes.request_headers]
[routers.r.routes.answer_headers]
[[routers.r.routes]]
path = "/redirect"
[routers.r.routes.redirect]
to = "/x"
[[routers.r.routes]]
path = "/answer"
[routers.r.routes.answer]
[[routers.r.routes]]
path = "/views"
views = true
[[routers.r.routes]]
path = "/base"
clusters = ["shop", "c"]
[cells.e]
managers = ["base:1"]
token_file = "/base/token"
clusters = ["c"]
[bridges.b]
token_sha256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
clusters = ["c"]
[clients.p]
token_sha256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
clusters = ["c"]
[clusters.shop]
members.m = { address = "127.0.0.1:3", node = "other" }
[clusters.c]
[clusters.c.affinity]
[clusters.c.health]
[clusters.c.probe]
kind = "http"
[clusters.c.defaults]
node = "other"
command = ["base", "{port}"]
[clusters.c.defaults.log]
[clusters.c.defaults.restart]
[clusters.c.members.m]
[clusters.c.members.m.log]
[clusters.c.members.m.restart]
[clusters.c.members.m.probe]
[groups.g]
nodes = ["other"]
[groups.g.resources.r]
type = "process"
command = ["base"]
[groups.storage]
nodes = ["other"]
resources.r = { type = "process", command = ["base"] }
[groups.batch]
nodes = ["other"]
resources.r = { type = "process", command = ["base"] }
[groups.mail]
nodes = ["other", "local"]
resources.server = { type = "process", command = ["base"] }
[fences.s]
agent = "/base"
nodes = ["other"]
[monitors.w]
kind = "tcp"
target = "base:1"
"#;

fn header(section: &Section) -> String {
    let names = [("ROUTER", "r"), ("CLUSTER", "c"), ("MEMBER", "m"), ("NODE", "local"), ("CLIENT", "p")];
    let names = names.into_iter().chain([("CELL", "e"), ("BRIDGE", "b"), ("GROUP", "g"), ("RESOURCE", "r")]);
    let names = names.chain([("MONITOR", "w"), ("FENCE", "s")]);
    names.fold(section.header(), |header, (placeholder, name)| header.replace(placeholder, name))
}

/// BASE with one line more in one table, in place of a line with the same key.
fn base_with(section: &Section, line: &str) -> String {
    let key = line.split_once(" = ").expect("lines are `key = value`").0;
    let wanted = header(section);
    let mut text = String::new();
    let mut current = "";
    let mut is_first = true;
    for old in BASE.lines() {
        if old.starts_with('[') {
            is_first &= current != wanted;
            current = old;
        }
        let is_replaced =
            is_first && current == wanted && old.split_once(" = ").is_some_and(|(name, _)| name == key);
        if !is_replaced {
            text.push_str(old);
            text.push('\n');
        }
        if old == wanted && is_first {
            text.push_str(line);
            text.push('\n');
        }
    }
    assert!(text.contains(line), "BASE has no table {wanted}");
    text
}

const ETCD: &str = "kind = \"etcd\"\nservers = [\"base:1\"]\n";

/// The text with what a key needs beside it to have an effect, and without what contradicts it.
fn in_company(text: &str, section: &Section, key: &str) -> String {
    match (section.path, key) {
        ("fences.*", _) => text.to_owned(),
        (path, key) if path.starts_with("groups") => in_company_of_groups(text, key),
        // Groups do not go to other nodes by themselves where there are several managers.
        ("manager", "nodes" | "profile") => {
            let auto = "nodes = [\"other\", \"local\"]\n";
            in_company_of_others(&text.replace(auto, &format!("{auto}failover = \"manual\"\n")), section, key)
        }
        _ => in_company_of_others(text, section, key),
    }
}

fn in_company_of_groups(text: &str, key: &str) -> String {
    let nodes = "[nodes.db-1]\naddress = \"127.0.0.8\"\n[nodes.db-2]\naddress = \"127.0.0.9\"\n";
    let process = "type = \"process\"\ncommand = [\"base\"]\n";
    match key {
        "nodes" => text.replace("[store]\n", &format!("[store]\n{nodes}")),
        "type" => text.replacen("command = [\"base\"]\n", "start = [\"a\"]\nstop = [\"b\"]\n", 1),
        "start" => text.replacen(process, "type = \"exec\"\nstop = [\"b\"]\n", 1),
        "stop" => text.replacen(process, "type = \"exec\"\nstart = [\"a\"]\n", 1),
        "asynchronous" => text.replacen(process, "type = \"exec\"\nstart = [\"a\"]\nstop = [\"b\"]\n", 1),
        "must_last" => {
            let exec = "type = \"exec\"\nstart = [\"a\"]\nstop = [\"b\"]\nasynchronous = true\n";
            text.replacen(process, exec, 1)
        }
        "address" => text.replacen(process, "type = \"address\"\n", 1),
        "interface" | "probe_ms" | "expires" => {
            text.replacen(process, "type = \"address\"\naddress = \"10.0.0.9/24\"\n", 1)
        }
        "device" => {
            let rest = "type = \"filesystem\"\nmount_point = \"/base\"\nfile_system = \"base\"\n";
            text.replacen(process, rest, 1)
        }
        "mount_point" => {
            text.replacen(process, "type = \"filesystem\"\ndevice = \"base\"\nfile_system = \"base\"\n", 1)
        }
        "file_system" => {
            text.replacen(process, "type = \"filesystem\"\ndevice = \"base\"\nmount_point = \"/base\"\n", 1)
        }
        "mount_options" | "fsck" | "forced_unmount" => {
            let all = "device = \"base\"\nmount_point = \"/base\"\nfile_system = \"base\"\n";
            text.replacen(process, &format!("type = \"filesystem\"\n{all}"), 1)
        }
        "unit" => text.replacen(process, "type = \"systemd\"\n", 1),
        "agent" => text.replacen(process, "type = \"ocf\"\n", 1),
        "parameters" | "check_level" | "check_interval_ms" => {
            text.replacen(process, "type = \"ocf\"\nagent = \"base:Base\"\n", 1)
        }
        _ => text.to_owned(),
    }
}

fn in_company_of_others(text: &str, section: &Section, key: &str) -> String {
    let (old, new) = match key {
        "clusters" if ["clients", "cells", "bridges"].contains(&section.name()) => return text.to_owned(),
        "views" => {
            let company = "cluster = \"c\"\n[routers.r.routes.rate_limit]\nrequests_per_second = 7\n\
                           [routers.r.routes.request_headers]\n";
            (company, "")
        }
        "clusters" | "levels" => ("cluster = \"c\"\n", ""),
        "spread" => ("cluster = \"c\"\n", "levels = [[\"c\"], [\"shop\"]]\n"),
        "hash_by" => ("[clusters.c]\n", "[clusters.c]\npolicy = \"hash\"\nhash_name = \"x\"\n"),
        "hash_name" => ("[clusters.c]\n", "[clusters.c]\npolicy = \"hash\"\nhash_by = \"cookie\"\n"),
        "nodes" => {
            let names = ["web-1", "web-2", "web-3"];
            let more = names.map(|name| format!("[nodes.{name}]\naddress = \"127.0.0.9\"\n")).concat();
            return text.replace("[store]\n", &format!("[store]\n{ETCD}{more}"));
        }
        "profile" => return text.replace("[store]\n", &format!("[store]\n{ETCD}")),
        "queue_ms" => ("[clusters.c.health]\n", "[clusters.c.health]\nqueue_max = 1\n"),
        _ => return text.to_owned(),
    };
    // Tables of listeners stand before those of routes and name clusters too.
    let (listeners, rest) = text.split_at(text.find("[[routers.r.routes]]").expect("BASE has a route"));
    format!("{listeners}{}", rest.replace(old, new))
}

/// A default as it would stand in the file; None where no fixed value does it.
fn literal(preset: Preset) -> Option<String> {
    match preset {
        Preset::Integer(number) => Some(number.to_string()),
        Preset::Boolean(flag) => Some(flag.to_string()),
        Preset::Text(text) => Some(format!("{text:?}")),
        Preset::EmptyList => Some("[]".to_owned()),
        Preset::Required | Preset::Else(_) => None,
    }
}

fn codes(text: &str) -> Vec<ErrorCode> {
    let document = Document::read(text, "t").unwrap_or_else(|problem| panic!("{problem}\nin\n{text}"));
    shape::check(&document).list.iter().map(|problem| problem.code).collect()
}

fn everything() -> impl Iterator<Item = (&'static Section, &'static Definition)> {
    SECTIONS.iter().flat_map(|section| section.definitions().map(move |definition| (section, definition)))
}

#[test]
fn the_full_example_is_right_and_uses_every_table() {
    settings(EXAMPLE);
    for section in SECTIONS.iter().filter(|section| !section.path.is_empty()) {
        let last = section.path.rsplit('.').find(|part| *part != "*").expect("a path has a name in it");
        assert!(EXAMPLE.contains(last), "the example has no {}", section.path);
    }
}

/// What must stand beside a key for it to have an effect.
fn companions(section: &Section, key: &str) -> &'static str {
    match (section.name(), key) {
        ("listeners", "protocol") => "cluster = \"c\"",
        ("listeners", "cluster") => "protocol = \"tcp\"",
        ("store", "kind") => "servers = [\"base:1\"]",
        ("store", "servers") => "kind = \"etcd\"",
        ("store", "prefix") => "kind = \"etcd\"\nservers = [\"base:1\"]",
        ("store", "tls_certificate") => {
            "kind = \"postgres\"\nservers = [\"base:1\"]\ntls = true\ntls_key = \"/k\""
        }
        ("store", "tls_key") => {
            "kind = \"postgres\"\nservers = [\"base:1\"]\ntls = true\ntls_certificate = \"/c\""
        }
        ("store", key) if key.starts_with("tls_") => {
            "kind = \"postgres\"\nservers = [\"base:1\"]\ntls = true"
        }
        ("store", _) => "kind = \"postgres\"\nservers = [\"base:1\"]",
        (_, "tls_certificate") => "tls = true\ntls_key = \"/base/key\"",
        (_, "tls_key") => "tls = true\ntls_certificate = \"/base/certificate\"",
        (_, key) if key.starts_with("tls_") => "tls = true",
        _ => "",
    }
}

/// What stands beside a key of a monitor, and what stands in its place where it is not looked at.
fn monitor_company(key: &str) -> (&'static str, &'static str) {
    const HTTP: &str = "kind = \"http\"\ntarget = \"base:1\"\n";
    const TCP: &str = "kind = \"tcp\"\ntarget = \"base:1\"\n";
    const GROUP: &str = "kind = \"tcp\"\ntarget = \"base:1\"\ngroup = \"mail\"\n";
    const HTTPS: &str = "kind = \"http\"\ntarget = \"base:1\"\ntls = true\n";
    match key {
        "kind" => ("target = \"base:1\"\n", "kind = \"tcp\"\n"),
        "target" => ("kind = \"tcp\"\n", "target = \"base:1\"\n"),
        "path" | "method" | "http_version" | "host" | "status_min" | "status_max" | "text" | "tls" => {
            (HTTP, "")
        }
        "user" => ("kind = \"redis\"\ntarget = \"base:1\"\npassword_file = \"/base\"\n", ""),
        "password_file" => {
            ("kind = \"http\"\ntarget = \"base:1\"\nuser = \"base\"\n", "password_file = \"/base\"\n")
        }
        "name" => ("kind = \"dns\"\ntarget = \"base:1\"\n", "name = \"base\"\n"),
        "ipv6" => ("kind = \"dns\"\ntarget = \"base:1\"\nname = \"base\"\n", ""),
        "pid_file" => ("kind = \"pid\"\n", "pid_file = \"/base\"\n"),
        "command" => ("kind = \"nagios\"\n", "command = [\"base\"]\n"),
        "agent" => ("kind = \"ocf\"\n", "agent = \"base:agent\"\n"),
        "instance" | "parameters" | "environment" | "check_level" => {
            ("kind = \"ocf\"\nagent = \"base:agent\"\n", "")
        }
        "directory" => ("kind = \"disk\"\n", "directory = \"/base\"\n"),
        "free_min_percent" => ("kind = \"disk\"\ndirectory = \"/base\"\n", ""),
        "interface" => ("kind = \"link\"\n", "interface = \"base0\"\n"),
        "address" => ("kind = \"address\"\n", "address = \"127.0.0.8\"\n"),
        "starttls" => ("kind = \"smtp\"\ntarget = \"base:1\"\ntls = true\n", ""),
        "tls_certificate" => (
            "kind = \"http\"\ntarget = \"base:1\"\ntls = true\ntls_key = \"/base\"\n",
            "tls_certificate = \"/b\"\n",
        ),
        "tls_key" => (
            "kind = \"http\"\ntarget = \"base:1\"\ntls = true\ntls_certificate = \"/base\"\n",
            "tls_key = \"/b\"\n",
        ),
        key if key.starts_with("tls_") => (HTTPS, ""),
        "final_command" => (
            "kind = \"tcp\"\ntarget = \"base:1\"\nnodes = [\"other\"]\ngroup = \"mail\"\nfinal_action = \"reboot\"\n",
            "",
        ),
        "resource" | "when" | "delay_ms" | "start_period_ms" | "restarts_max" | "failovers_max"
        | "final_action" | "before_restart" | "before_failover" | "before_final" => (GROUP, ""),
        _ => (TCP, ""),
    }
}

/// Each key of a monitor changes it, and the kinds that do not have it refuse it.
#[test]
fn every_key_of_a_monitor_has_an_effect_on_its_kinds_and_on_no_other() {
    let with = |lines: &str| BASE.replace("kind = \"tcp\"\ntarget = \"base:1\"\n", lines);
    let section = SECTIONS.iter().find(|section| section.path == "monitors.*").expect("it is defined");
    for definition in section.definitions() {
        let (beside, otherwise) = monitor_company(definition.name);
        let line = format!("{} = {}\n", definition.name, definition.example);
        let changed = settings(&with(&format!("{beside}{line}")));
        assert_ne!(changed, settings(&with(&format!("{beside}{otherwise}"))), "{line} has no effect");
        let is_of_all = [
            "kind",
            "nodes",
            "interval_ms",
            "timeout_ms",
            "retries",
            "confirmations",
            "slow_percent",
            "group",
            "all_groups",
        ];
        if is_of_all.contains(&definition.name) {
            continue;
        }
        // A kind that has neither it nor anything that it needs.
        let foreign = match definition.name {
            "interface" => "kind = \"pid\"\npid_file = \"/base\"\n",
            _ => "kind = \"link\"\ninterface = \"base0\"\n",
        };
        let problems = parse(&with(&format!("{foreign}{line}"))).expect_err("it has no effect there").list;
        let refused = problems.iter().any(|problem| {
            problem.code == error_code::CONFIG_CONTRADICTION
                && problem.to_string().contains("has no effect on a monitor")
        });
        assert!(refused, "{line} beside {foreign}: {problems:?}");
    }
}

/// BASE, with what keys of several managers need.
fn in_company_of_managers(section: &Section, key: &str) -> String {
    if ["nodes", "profile"].contains(&key) { in_company(BASE, section, key) } else { BASE.to_owned() }
}

#[test]
fn every_example_is_allowed_and_changes_the_settings() {
    // Those of monitors depend on their kind, and have a test of their own.
    for (section, definition) in everything().filter(|(section, _)| section.path != "monitors.*") {
        let line = format!("{} = {}", definition.name, definition.example);
        let beside = companions(section, definition.name);
        let base = match beside {
            // Halves of what is only allowed together.
            _ if section.name() == "store" && ["kind", "servers"].contains(&definition.name) => {
                settings(BASE)
            }
            beside if section.name() == "store" => {
                let alone = beside.split_once("\ntls_").map_or(beside, |(alone, _)| alone);
                settings(&base_with(section, alone))
            }
            "" | "cluster = \"c\"" => settings(&in_company_of_managers(section, definition.name)),
            beside if beside.contains('\n') => settings(&base_with(section, "tls = true")),
            "protocol = \"tcp\"" => settings(&base_with(section, "protocol = \"tcp\"\ncluster = \"c\"")),
            beside => settings(&base_with(section, beside)),
        };
        let mut text = base_with(section, format!("{line}\n{beside}").trim_end());
        if definition.name == "address" {
            // A member that runs elsewhere may have no tables about its start, not even empty ones.
            text = text.replace("[clusters.c.members.m.log]\n[clusters.c.members.m.restart]\n", "");
        }
        if definition.name == "pattern" {
            text = text.replace("format = \"common\"", "format = \"custom\"");
        }
        let text = in_company(&text, section, definition.name);
        let changed = settings(&text);
        assert_ne!(changed, base, "{line} has no effect in {}", section.header());
    }
}

#[test]
fn every_default_written_out_gives_the_same_settings() {
    // A monitor from whose errors nothing follows has no keys about that.
    let text = BASE.replace("target = \"base:1\"\n", "target = \"base:1\"\ngroup = \"mail\"\n");
    let base = settings(&text);
    let mut all = text;
    for (section, definition) in everything() {
        let Some(value) = literal(definition.preset) else { continue };
        let line = format!("{} = {value}", definition.name);
        let wanted = header(section);
        let start = all.find(&format!("{wanted}\n")).expect("BASE has every table") + wanted.len() + 1;
        let table = &all[start..start + all[start..].find("\n[").unwrap_or(all.len() - start)];
        if !table.lines().any(|written| written.starts_with(&format!("{} = ", definition.name))) {
            all.insert_str(start, &format!("{line}\n"));
        }
    }
    assert_eq!(settings(&all), base);
    assert!(all.lines().count() > BASE.lines().count() + 40, "the defaults were not put in");
}

#[test]
fn unknown_keys_are_refused_in_every_table() {
    for section in SECTIONS.iter().filter(|section| !section.path.is_empty()) {
        let text = base_with(section, "no_such_key = 1");
        assert_eq!(codes(&text), [error_code::CONFIG_UNKNOWN_KEY], "{text}");
    }
    assert_eq!(codes(&format!("no_such_key = 1\n{BASE}")), [error_code::CONFIG_UNKNOWN_KEY]);
}

#[test]
fn every_key_refuses_a_value_of_another_type() {
    for (section, definition) in everything() {
        let text = base_with(section, &format!("{} = 1.5", definition.name));
        assert_eq!(codes(&text), [error_code::CONFIG_WRONG_TYPE], "{text}");
    }
}

#[test]
fn every_table_refuses_to_be_a_value() {
    for section in SECTIONS.iter().filter(|section| !section.path.is_empty()) {
        let wanted = header(section);
        let path = wanted.trim_matches(['[', ']']);
        let found = codes(&format!("{path} = 3"));
        assert!(found.contains(&error_code::CONFIG_WRONG_TYPE), "{path}: {found:?}");
    }
}

#[test]
fn every_range_ends_where_it_says() {
    for (section, definition) in everything() {
        let Kind::Integer { least, most } = definition.kind else { continue };
        let codes_of = |number: i128| codes(&base_with(section, &format!("{} = {number}", definition.name)));
        let (least, most) = (i128::from(least), i128::from(most));
        for inside in [least, most] {
            assert_eq!(codes_of(inside), [], "{} = {inside}", definition.name);
        }
        for outside in [least - 1, most + 1] {
            assert_eq!(
                codes_of(outside),
                [error_code::CONFIG_NOT_ALLOWED],
                "{} = {outside}",
                definition.name
            );
        }
    }
}

#[test]
fn every_definition_is_documented_and_named_as_the_rules_say() {
    for (section, definition) in everything() {
        let name = definition.name;
        assert!(definition.doc.ends_with('.'), "{name}: {}", definition.doc);
        assert!(!definition.example.is_empty(), "{name} has no example");
        assert_ne!(
            literal(definition.preset).as_deref(),
            Some(definition.example),
            "{name} shows its default"
        );
        assert_ne!(definition.preset, Preset::Else(""), "{name}");
        let twins = section.definitions().filter(|other| other.name == name).count();
        assert_eq!(twins, 1, "{name} stands twice in {}", section.path);
    }
}

#[test]
fn damaged_files_are_refused_and_never_crash() {
    let mut chance = Chance::new(7);
    let mut below = |bound: usize| chance.below(u32::try_from(bound).expect("the example is short")) as usize;
    let mut refused = 0;
    for _ in 0..3000 {
        let mut bytes = EXAMPLE.as_bytes().to_vec();
        for _ in 0..=below(3) {
            let at = below(bytes.len());
            let letters = b"\"[]{}=.,'#\n\\ 09aZ-\x00\xc3";
            let letter = letters[below(letters.len())];
            match below(3) {
                0 => bytes[at] = letter,
                1 => bytes.insert(at, letter),
                _ => drop(bytes.remove(at)),
            }
        }
        let Ok(text) = String::from_utf8(bytes) else { continue };
        if let Err(problems) = parse(&text) {
            refused += 1;
            assert!(!problems.list.is_empty());
            for problem in &problems.list {
                assert!(problem.line.is_some(), "{problem}\nin\n{text}");
            }
        }
    }
    assert!(refused > 1000, "only {refused} damaged files were refused");
}

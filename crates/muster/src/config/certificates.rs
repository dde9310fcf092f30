//! Looks at the files of TLS on this machine: there, right, of one pair, and valid now.
//!
//! For `muster check` alone: a cell starts with a certificate whose time is over rather than not at all, and its
//! router tells of it.

use super::document::{At, Document};
use super::listeners;
use super::problem::{KeyPath, Problem, Problems};
use crate::tls::{self, TlsError};
use std::collections::BTreeSet;
use wire::id::NodeName;
use wire::settings::{CellSettings, CertificateFiles, ListenerTls};
use wire::view::MemberTls;

/// What is wrong with the files of `node`'s routers. `text` is the file from which `settings` came, for the lines.
pub fn check(settings: &CellSettings, text: &str, file_name: &str, node: &NodeName) -> Problems {
    let document = Document::read(text, file_name).or_else(|_| Document::read("", file_name));
    let document = document.expect("an empty text is valid TOML");
    let mut checker = Checker { document, problems: Problems::default() };
    let mut has_router = false;
    for router in settings.routers.iter().filter(|router| router.node == *node) {
        has_router = true;
        for (index, listener) in router.listeners.iter().enumerate() {
            if let Some(tls) = &listener.tls {
                let path = listeners::path_of(&checker.document, &router.name.0, index);
                checker.listener(&path, tls);
            }
        }
    }
    if has_router {
        for cluster in &settings.clusters {
            for member in &cluster.members {
                if let Some(tls) = &member.transport.tls {
                    checker.member([&cluster.name.0, &member.name.0], tls);
                }
            }
        }
    }
    let mut problems = checker.problems;
    problems.sort();
    problems
}

/// Certificates that the routers of a node use and that are over soon, as notes for people.
pub fn expiring(settings: &CellSettings, node: &NodeName) -> Vec<String> {
    let routers: Vec<_> = settings.routers.iter().filter(|router| router.node == *node).collect();
    let listeners = routers.iter().flat_map(|router| &router.listeners).filter_map(|at| at.tls.as_ref());
    let of_listeners = listeners.flat_map(|tls| &tls.certificates).map(|pair| &pair.certificate);
    let members = settings.clusters.iter().flat_map(|cluster| &cluster.members);
    let members = members.filter(|_| !routers.is_empty());
    let of_members = members.filter_map(|member| Some(&member.transport.tls.as_ref()?.certificate));
    let paths: BTreeSet<&String> = of_listeners.chain(of_members).filter(|path| !path.is_empty()).collect();
    let warnings = paths.into_iter().filter_map(|path| tls::time_warning(path, tls::now_s()));
    warnings.map(|error| format!("{}: {error}", error.code())).collect()
}

/// Members that are believed whatever they show, as notes for people.
pub fn unverified(settings: &CellSettings) -> Vec<String> {
    let is_unverified = |tls: &MemberTls| tls.is_unverified;
    let all = settings.clusters.iter().flat_map(|cluster| {
        let members = cluster
            .members
            .iter()
            .filter(move |member| member.transport.tls.as_ref().is_some_and(is_unverified));
        members.map(move |member| format!("{}/{}", cluster.name, member.name))
    });
    let monitors = settings.monitors.iter().filter(|monitor| monitor.check.tls().is_some_and(is_unverified));
    let all: Vec<String> = all.chain(monitors.map(|monitor| format!("monitor {}", monitor.name))).collect();
    if all.is_empty() {
        return Vec::new();
    }
    vec![format!(
        "tls_unverified: whoever can reach the network before {} can read and change what goes there",
        all.join(", ")
    )]
}

struct Checker<'a> {
    document: Document<'a>,
    problems: Problems,
}

impl Checker<'_> {
    fn listener(&mut self, path: &KeyPath, tls: &ListenerTls) {
        for (index, pair) in tls.certificates.iter().enumerate() {
            let at = path.with("certificates").with(&format!("[{index}]"));
            let alone = ListenerTls { certificates: vec![pair.clone()], ..ListenerTls::default() };
            self.note(&at, pair, tls::check_listener(&alone));
        }
        if !tls.client_authorities.is_empty()
            && let Err(error) = tls::check_authorities(&tls.client_authorities)
        {
            self.refuse(&path.with("client_authorities"), &tls.client_authorities, &error);
        }
    }

    fn note(&mut self, at: &KeyPath, pair: &CertificateFiles, checked: Result<(), TlsError>) {
        let late = || tls::time_trouble(&pair.certificate, tls::now_s());
        if let Some(error) = checked.err().or_else(late) {
            let is_of_key = error.is_about(&pair.key);
            let (key, value) =
                if is_of_key { ("key", &pair.key) } else { ("certificate", &pair.certificate) };
            self.refuse(&at.with(key), value, &error);
        }
    }

    fn member(&mut self, member: [&str; 2], tls: &MemberTls) {
        let late = || {
            let path = Some(&tls.certificate).filter(|path| !path.is_empty())?;
            tls::time_trouble(path, tls::now_s())
        };
        let Some(error) = tls::client_config(tls, &[]).err().or_else(late) else { return };
        let files = [
            ("tls_key", &tls.key),
            ("tls_certificate", &tls.certificate),
            ("tls_authorities", &tls.authorities),
        ];
        let about = files.into_iter().find(|(_, file)| error.is_about(file));
        let (key, value) = about.unwrap_or(("tls", &tls.server_name));
        let own = KeyPath::of(&["clusters", member[0], "members", member[1], key]);
        let shared = KeyPath::of(&["clusters", member[0], "defaults", key]);
        let path = if self.document.has(&shared) && !self.document.has(&own) { shared } else { own };
        self.refuse(&path, value, &error);
    }

    fn refuse(&mut self, path: &KeyPath, value: &str, error: &TlsError) {
        let problem: Problem = self.document.problem(error.code(), path, At::Value, error.to_string());
        let mut problem = problem.allowing("PEM files that can be read, belong together, and are valid now");
        problem.value.get_or_insert_with(|| value.to_owned());
        self.problems.push(problem);
    }
}

//! Clusters and servers: who gets requests, with which weight, and what happens when one does not answer.

use super::{Findings, Severity};
use crate::plugin_cfg::graph::takes_new;
use crate::plugin_cfg::model::{Config, LoadBalance, Server, ServerCluster, Transport, TransportProtocol};
use crate::plugin_cfg::xml::Place;
use std::collections::BTreeMap;

pub fn check(config: &Config, findings: &mut Findings) {
    for cluster in &config.clusters {
        check_names(cluster, findings);
        check_lists(cluster, findings);
        check_weights(cluster, findings);
        check_affinity(cluster, findings);
        check_times(cluster, findings);
        check_bodies(cluster, findings);
        for server in cluster.servers.iter().chain(&cluster.cluster_address) {
            check_transports(server, findings);
        }
        if !cluster.remove_special_headers {
            let what = format!("{}: RemoveSpecialHeaders is false", cluster.name);
            let advice =
                "Clients can then send private headers themselves and pass for others. Set it to true.";
            findings.add(Severity::Warning, "special-headers", cluster.place, what, advice);
        }
    }
    check_keyrings(config, findings);
}

fn check_names(cluster: &ServerCluster, findings: &mut Findings) {
    let mut names: BTreeMap<&str, Place> = BTreeMap::new();
    let mut clones: BTreeMap<&str, &Server> = BTreeMap::new();
    for server in &cluster.servers {
        if let Some(earlier) = names.insert(&server.name, server.place) {
            let what = format!("Server {} is defined already in line {}", server.name, earlier.line);
            let advice = "Give each server its own name; lists of servers mean the first.";
            findings.add(Severity::Error, "defined-twice", server.place, what, advice);
        }
        let Some(clone_id) = &server.clone_id else { continue };
        if let Some(earlier) = clones.insert(clone_id, server) {
            let what =
                format!("servers {} and {} have the same CloneID {clone_id}", earlier.name, server.name);
            let advice =
                "Sessions of the one go to the other and are lost there. Give each server its own CloneID.";
            findings.add(Severity::Error, "clone-id-twice", server.place, what, advice);
        }
        if clone_id.contains(cluster.clone_separator()) {
            let what =
                format!("the CloneID {clone_id} has the separator `{}` in it", cluster.clone_separator());
            let advice = "It is never found in a session id. Choose another CloneID or separator.";
            findings.add(Severity::Error, "clone-id-separator", server.place, what, advice);
        }
    }
    if cluster.servers.is_empty() {
        let what = format!("ServerCluster {} has no Server", cluster.name);
        findings.add(Severity::Error, "no-server", cluster.place, what, "Add servers, or take it out.");
    }
}

fn check_lists(cluster: &ServerCluster, findings: &mut Findings) {
    let primaries = cluster.primary_servers.iter().flatten();
    for (list, server) in primaries
        .map(|server| ("PrimaryServers", server))
        .chain(cluster.backup_servers.iter().map(|server| ("BackupServers", server)))
    {
        if cluster.server(&server.name).is_none() && !server.name.is_empty() {
            let what = format!("{list} names {}, which {} does not define", server.name, cluster.name);
            let advice = "Define the Server or correct the name.";
            findings.add(Severity::Error, "server-reference", server.place, what, advice);
        }
    }
    let Some(primaries) = &cluster.primary_servers else { return };
    for server in &cluster.servers {
        let is_primary = primaries.iter().any(|primary| primary.name == server.name);
        let is_backup = cluster.backup_servers.iter().any(|backup| backup.name == server.name);
        let (what, advice) = match (is_primary, is_backup) {
            (true, true) => ("is primary and backup", "Take it out of one of the lists."),
            (false, false) => (
                "is neither primary nor backup",
                "It gets no request without a session. Put it into one of the lists.",
            ),
            (true, false) | (false, true) => continue,
        };
        let what = format!("Server {} {what}", server.name);
        findings.add(Severity::Warning, "server-lists", server.place, what, advice);
    }
}

fn check_weights(cluster: &ServerCluster, findings: &mut Findings) {
    let primaries = cluster.primaries();
    if !primaries.is_empty() && takes_new(cluster).is_empty() {
        let what = format!("every primary server of {} has the weight 0", cluster.name);
        let advice = "Requests without a session get nowhere. Give at least one server a weight.";
        findings.add(Severity::Error, "weights-zero", cluster.place, what, advice);
        return;
    }
    for server in primaries.iter().filter(|server| server.load_balance_weight == Some(0)) {
        let what =
            format!("Server {} has the weight 0: it keeps its sessions and gets no new ones", server.name);
        let advice =
            "Right while it is drained. In Muster `muster cluster drain` does this and counts what is left.";
        findings.add(Severity::Hint, "drained", server.place, what, advice);
    }
    let weights: Vec<u32> = takes_new(cluster).iter().map(|server| server.weight()).collect();
    let are_equal = weights.windows(2).all(|pair| pair[0] == pair[1]);
    if cluster.load_balance == LoadBalance::RoundRobin && weights.len() > 1 && are_equal && weights[0] > 1 {
        let what = format!(
            "all weights of {} are {}: divided by their common factor they run as 1, so they are reset with every round",
            cluster.name, weights[0]
        );
        let advice = "Harmless in Muster. The vendor advises to make one of them differ by one.";
        findings.add(Severity::Hint, "weights-equal", cluster.place, what, advice);
    }
    if cluster.load_balance == LoadBalance::Random && weights.windows(2).any(|pair| pair[0] != pair[1]) {
        let what = format!("{} is balanced at random, so its weights do not count", cluster.name);
        findings.add(
            Severity::Warning,
            "weights-random",
            cluster.place,
            what,
            "Use Round Robin for weights.",
        );
    }
}

fn check_affinity(cluster: &ServerCluster, findings: &mut Findings) {
    let without = cluster.servers.iter().filter(|server| server.clone_id.is_none());
    if cluster.servers.len() > 1 {
        for server in without {
            let what = format!("Server {} has no CloneID, so no session stays with it", server.name);
            let advice = "Give it the CloneID of the server, unless the application keeps no sessions.";
            findings.add(Severity::Warning, "no-clone-id", server.place, what, advice);
        }
    }
    if !cluster.ignore_affinity_requests {
        let what = format!(
            "{}: IgnoreAffinityRequests=\"false\" makes requests of sessions count against the weights",
            cluster.name
        );
        let advice =
            "It does not switch affinity off, nor does \"true\" ignore cookies: sessions stay either way.";
        findings.add(Severity::Hint, "ignore-affinity", cluster.place, what, advice);
    }
    if cluster.get_dwlm_table {
        let what = format!("{}: GetDWLMTable is for sessions that servers copy to each other", cluster.name);
        let advice = "Muster reads it and needs no such table: it follows clone ids, and partition tables of answers are taken away.";
        findings.add(Severity::Hint, "partition-table", cluster.place, what, advice);
    }
}

fn check_times(cluster: &ServerCluster, findings: &mut Findings) {
    for server in &cluster.servers {
        if server.connect_timeout_s == 0 {
            let what = format!(
                "Server {}: without ConnectTimeout a dead machine holds a request for minutes",
                server.name
            );
            findings.add(
                Severity::Warning,
                "connect-timeout",
                server.place,
                what,
                "Set ConnectTimeout=\"5\".",
            );
        }
        match server.server_io_timeout_s {
            None => {
                let what = format!(
                    "Server {} has no ServerIOTimeout: Muster waits 900 s for an answer, older plug-ins for ever",
                    server.name
                );
                let advice = "Set it to more seconds than the longest answer takes.";
                findings.add(Severity::Hint, "io-timeout", server.place, what, advice);
            }
            Some(0) => {
                let what = format!(
                    "Server {}: with ServerIOTimeout 0 a hung server holds requests for ever",
                    server.name
                );
                let advice = "Set it to more seconds than the longest answer takes, such as 900.";
                findings.add(Severity::Warning, "io-timeout", server.place, what, advice);
            }
            Some(timeout_s) if timeout_s < 0 => check_retry_interval(cluster, server, timeout_s, findings),
            Some(_) => {}
        }
    }
}

/// With a negative ServerIOTimeout every server can be marked down before the first one is tried again.
fn check_retry_interval(cluster: &ServerCluster, server: &Server, timeout_s: i64, findings: &mut Findings) {
    let others = cluster.primaries().len().saturating_sub(1) as u64;
    let most_s = (others * timeout_s.unsigned_abs()).saturating_sub(1);
    if others > 0 && cluster.retry_interval_s > most_s {
        let what = format!(
            "Server {}: with ServerIOTimeout {timeout_s} and RetryInterval {} all servers can be marked down at once",
            server.name, cluster.retry_interval_s
        );
        let advice = format!("Set RetryInterval to at most {most_s}: (servers - 1) x |ServerIOTimeout| - 1.");
        findings.add(Severity::Warning, "retry-interval", server.place, what, &advice);
    }
}

fn check_bodies(cluster: &ServerCluster, findings: &mut Findings) {
    if cluster.post_buffer_max_bytes != Some(0) {
        let what = format!(
            "{}: PostBufferSize lets a POST be sent twice when a server does not answer in time",
            cluster.name
        );
        let advice = "Set it to 0 unless every POST may be repeated, or set ServerIOTimeoutRetry=\"0\".";
        if cluster.server_io_timeout_retries != Some(0) {
            findings.add(Severity::Warning, "post-twice", cluster.place, what, advice);
        }
    }
    // The vendor's console speaks of kilobytes, the file of bytes.
    if let Some(size @ 1..=10_000) = cluster.post_size_max_bytes {
        let what = format!("{}: PostSizeLimit {size} means bytes; longer bodies are refused", cluster.name);
        findings.add(
            Severity::Warning,
            "post-size",
            cluster.place,
            what,
            "If kilobytes were meant, multiply by 1024.",
        );
    }
}

fn check_transports(server: &Server, findings: &mut Findings) {
    if server.transports.is_empty() {
        let what = format!("Server {} has no Transport: nobody knows where it is", server.name);
        findings.add(
            Severity::Error,
            "no-transport",
            server.place,
            what,
            "Add a Transport with host and port.",
        );
    }
    for protocol in [TransportProtocol::Http, TransportProtocol::Https] {
        let same: Vec<&Transport> =
            server.transports.iter().filter(|transport| transport.protocol == protocol).collect();
        if let [first, second, ..] = same[..] {
            let what =
                format!("Server {} has several {protocol} transports; only {first} is used", server.name);
            let advice = "Requests are not shared among transports. Write a Server for each address.";
            findings.add(Severity::Warning, "transports", second.place, what, advice);
        }
    }
    for transport in server.transports.iter().filter(|one| one.protocol == TransportProtocol::Https) {
        if transport.property("keyring").is_none_or(str::is_empty) {
            let what = format!("the https Transport of {} has no keyring", server.name);
            let advice = "The vendor's plug-in needs one to believe the server's certificate.";
            findings.add(Severity::Warning, "keyring", transport.place, what, advice);
        }
    }
}

fn check_keyrings(config: &Config, findings: &mut Findings) {
    let mut first: Option<(&str, Place)> = None;
    let mut has_kdb = None;
    for cluster in &config.clusters {
        let transports = || cluster.servers.iter().flat_map(|server| &server.transports);
        for transport in transports() {
            let Some(keyring) = transport.property("keyring") else { continue };
            if keyring.to_ascii_lowercase().ends_with(".kdb") {
                has_kdb.get_or_insert(transport.place);
            }
            match first {
                None => first = Some((keyring, transport.place)),
                Some((other, place)) if other != keyring => {
                    let what =
                        format!("this keyring ({keyring}) is not that of line {} ({other})", place.line);
                    let advice = "Right if meant; a keyring that was forgotten in a change makes https fail.";
                    findings.add(Severity::Warning, "keyrings-differ", transport.place, what, advice);
                }
                Some(_) => {}
            }
        }
        let uses_https = transports().any(|transport| transport.protocol == TransportProtocol::Https);
        if !uses_https && !cluster.servers.is_empty() {
            let what = format!("ServerCluster {} has no https Transport", cluster.name);
            let advice = "Requests travel to its servers unencrypted, also those that came by https.";
            findings.add(Severity::Hint, "no-https", cluster.place, what, advice);
        }
    }
    if let Some(place) = has_kdb {
        let what = "keyrings of kind .kdb cannot be read by Muster".to_owned();
        let advice = "Put the certificates beside it in PEM; see docs/reference/plugin-cfg.md. The properties are kept.";
        findings.add(Severity::Hint, "keyring-kdb", place, what, advice);
    }
}

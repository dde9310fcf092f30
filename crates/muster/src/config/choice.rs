//! Reads what bears on who gets a request: the clusters of a route, a cluster's policy, affinity and health.
//!
//! Pure, like `settings`, of which this is a part.

use super::document::{At, Table};
use super::problem::KeyPath;
use super::reader::Reader;
use super::settings::{Builder, listed};
use wire::error_code;
use wire::id::ClusterName;
use wire::settings::Spread;
use wire::view::{Affinity, AffinityKind, HashKey, Health, Policy};

/// What `queue_ms` is where nobody writes it.
pub const QUEUE_MS: u64 = 5_000;

/// The clusters of a route by levels, and how requests are spread over them.
pub fn levels(builder: &mut Builder<'_>, route: &Reader<'_>) -> (Vec<Vec<ClusterName>>, Spread) {
    let ways = ["cluster", "clusters", "levels"];
    let written: Vec<&str> = ways.into_iter().filter(|key| route.says(key)).collect();
    if let [_, second, ..] = written[..] {
        let message = format!("`{second}` contradicts `{}`", written[0]);
        let allowed = "one of `cluster`, `clusters` and `levels`";
        builder.refuse(error_code::CONFIG_CONTRADICTION, &route.path(second), At::Key, message, allowed);
    }
    let names = match written.first() {
        Some(&"levels") => route.lists("levels"),
        Some(&"clusters") => vec![route.list("clusters")],
        Some(_) => vec![vec![route.text_if_any("cluster").unwrap_or_default()]],
        None => match builder.clusters.as_slice() {
            [only] => vec![vec![only.0.clone()]],
            _ => {
                let message = "the route does not say to which cluster it leads".to_owned();
                let allowed = listed(builder.clusters.iter().map(|name| name.0.as_str()));
                let path = route.path("cluster");
                builder.refuse(error_code::CONFIG_MISSING, &path, At::Key, message, &allowed);
                Vec::new()
            }
        },
    };
    let key = written.first().copied().unwrap_or("cluster");
    if !written.is_empty() {
        check_names(builder, &route.path(key), &names);
    }
    let levels: Vec<Vec<ClusterName>> =
        names.into_iter().map(|level| level.into_iter().map(ClusterName).collect()).collect();
    let spread = match route.text_if_any("spread").as_deref() {
        Some("flat") => Spread::Flat,
        Some("spill") => Spread::Spill,
        Some("zone-first") => Spread::ZoneFirst,
        Some("strict-backup") => Spread::StrictBackup,
        _ if key == "levels" => Spread::Spill,
        _ => Spread::Flat,
    };
    if levels.len() == 1 && matches!(spread, Spread::Spill | Spread::StrictBackup) && route.says("spread") {
        let message = "`spread` has no effect on a route with one level".to_owned();
        let allowed = "`levels` with more than one list beside it";
        builder.refuse(error_code::CONFIG_CONTRADICTION, &route.path("spread"), At::Key, message, allowed);
    }
    (levels, spread)
}

/// Each cluster exists, and stands in the route once.
fn check_names(builder: &mut Builder<'_>, path: &KeyPath, levels: &[Vec<String>]) {
    let all = builder.clusters.iter().chain(&builder.elsewhere);
    let known: Vec<String> = all.map(|name| name.0.clone()).collect();
    let mut seen: Vec<&String> = Vec::new();
    for name in levels.iter().flatten() {
        if !known.contains(name) {
            builder.unknown_name(path, "cluster", name, &known);
        }
        if seen.contains(&name) {
            let message = format!("cluster `{name}` stands in this route twice");
            let allowed = "each cluster once";
            builder.refuse(error_code::CONFIG_CONTRADICTION, path, At::Value, message, allowed);
        }
        seen.push(name);
    }
}

pub fn policy(cluster: &Reader<'_>) -> Policy {
    match cluster.text("policy").as_str() {
        "round-robin" => Policy::RoundRobin,
        "random" => Policy::Random,
        "least-outstanding" => Policy::LeastOutstanding,
        "hash" => Policy::Hash,
        _ => Policy::Auto,
    }
}

pub fn hash_key(builder: &mut Builder<'_>, cluster: &Reader<'_>) -> HashKey {
    for key in ["hash_by", "hash_name"] {
        let is_said = cluster.says(key) && cluster.text_if_any(key).as_deref() != Some("client-address");
        if is_said && cluster.text("policy") != "hash" {
            let message = format!("`{key}` has no effect on this policy");
            let allowed = "only with `policy = \"hash\"`";
            builder.refuse(error_code::CONFIG_CONTRADICTION, &cluster.path(key), At::Key, message, allowed);
        }
    }
    let by = cluster.text("hash_by");
    let name = cluster.text_if_any("hash_name");
    match (by.as_str(), name) {
        ("header", Some(name)) => HashKey::Header(name.to_ascii_lowercase()),
        ("cookie", Some(name)) => HashKey::Cookie(name),
        (by @ ("header" | "cookie"), None) => {
            let message = format!("`hash_name` is missing, the name of the {by}");
            let path = cluster.path("hash_by");
            builder.refuse(error_code::CONFIG_MISSING, &path, At::Key, message, "`hash_name = \"x-tenant\"`");
            HashKey::ClientAddress
        }
        (by, name) => {
            if name.is_some() {
                let message = format!("`hash_name` has no effect where the hash is of the {by}");
                let path = cluster.path("hash_name");
                let allowed = "only with `hash_by` \"header\" or \"cookie\"";
                builder.refuse(error_code::CONFIG_CONTRADICTION, &path, At::Key, message, allowed);
            }
            if by == "path" { HashKey::Path } else { HashKey::ClientAddress }
        }
    }
}

pub fn affinity(builder: &mut Builder<'_>, cluster: &str, table: &Table) -> Option<Affinity> {
    let inner = table.table("affinity")?;
    let path = KeyPath::of(&["clusters", cluster, "affinity"]);
    let reader = builder.reader("clusters.*.affinity", path, Some(inner));
    let kind = match reader.text("kind").as_str() {
        "route-suffix" => AffinityKind::RouteSuffix,
        "own" => AffinityKind::Own,
        _ => AffinityKind::CloneId,
    };
    let refused: &[&str] = match kind {
        AffinityKind::CloneId => &[],
        AffinityKind::RouteSuffix => &["separator"],
        AffinityKind::Own => &["separator", "url_identifier"],
    };
    for key in refused {
        if reader.says(key) {
            let message = format!("`{key}` has no effect on this kind of affinity");
            let allowed = "only with `kind = \"clone-id\"`";
            builder.refuse(error_code::CONFIG_CONTRADICTION, &reader.path(key), At::Key, message, allowed);
        }
    }
    let (cookie, url_identifier) = match kind {
        AffinityKind::CloneId | AffinityKind::RouteSuffix => ("JSESSIONID", "jsessionid"),
        AffinityKind::Own => ("MUSTERID", ""),
    };
    Some(Affinity {
        kind,
        cookie: reader.text_if_any("cookie").unwrap_or_else(|| cookie.to_owned()),
        url_identifier: reader.text_if_any("url_identifier").unwrap_or_else(|| url_identifier.to_owned()),
        separator: match kind {
            AffinityKind::CloneId if reader.text("separator") == "+" => '+',
            AffinityKind::CloneId => ':',
            AffinityKind::RouteSuffix | AffinityKind::Own => '.',
        },
        lowers_weight: reader.boolean("lowers_weight"),
        is_strict: reader.boolean("strict"),
    })
}

pub fn health(builder: &mut Builder<'_>, cluster: &str, table: &Table) -> Health {
    let path = KeyPath::of(&["clusters", cluster, "health"]);
    let reader = builder.reader("clusters.*.health", path, table.table("health"));
    if reader.integer("queue_ms") != QUEUE_MS && reader.integer("queue_max") == 0 {
        let message = "`queue_ms` has no effect, because `queue_max` is 0 and nobody waits".to_owned();
        let allowed = "`queue_max` above 0 beside it";
        builder.refuse(error_code::CONFIG_CONTRADICTION, &reader.path("queue_ms"), At::Key, message, allowed);
    }
    let retry_interval_ms = reader.integer("retry_interval_ms");
    Health {
        slow_start_ms: reader.integer("slow_start_ms"),
        eject_after: reader.small_integer("eject_after"),
        ejects_on_status: reader.boolean("eject_on_5xx"),
        eject_ms: reader.integer("eject_ms"),
        eject_percent_max: reader.small_integer("eject_percent_max"),
        panic_percent: reader.small_integer("panic_percent"),
        retry_interval_ms: Some(retry_interval_ms).filter(|interval| *interval > 0),
        queue_max: reader.small_integer("queue_max"),
        queue_ms: reader.integer("queue_ms"),
    }
}

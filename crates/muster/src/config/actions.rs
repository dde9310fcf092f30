//! Reads what a route does besides finding a member, and finds actions that contradict each other or have no effect.

use super::document::{At, Data, Table};
use super::problem::KeyPath;
use super::reader::Reader;
use super::settings::Builder;
use logic::actions::{is_same_name, why_fixed};
use wire::error_code;
use wire::settings::{HeaderChanges, RateLimit, RouteActions, RouteAnswer};

const REDIRECT_STATUSES: [u64; 4] = [301, 302, 307, 308];

/// The actions of the route at `path`, whose own keys `route` reads.
pub fn read(
    builder: &mut Builder<'_>,
    route: &Reader<'_>,
    path: &KeyPath,
    table: &Table,
    head_size_max_bytes: u64,
) -> RouteActions {
    let answer = read_answer(builder, path, table);
    if let Some((key, _)) = &answer {
        check_alone(builder, path, table, key);
    }
    let number = |key: &str| route.has(key).then(|| route.integer(key));
    if number("head_size_max_bytes").is_some_and(|own| own > head_size_max_bytes) {
        let message = format!("the router itself takes only heads of at most {head_size_max_bytes} bytes");
        let allowed = "at most `head_size_max_bytes` of the router's limits";
        let path = path.with("head_size_max_bytes");
        builder.refuse(error_code::CONFIG_CONTRADICTION, &path, At::Value, message, allowed);
    }
    RouteActions {
        answer: answer.map(|(_, answer)| answer),
        path_replacement: route.text_if_any("rewrite"),
        request_headers: read_headers(builder, path, table, "request_headers"),
        answer_headers: read_headers(builder, path, table, "answer_headers"),
        body_size_max_bytes: number("body_size_max_bytes"),
        head_size_max_bytes: number("head_size_max_bytes")
            .map(|most| u32::try_from(most).expect("the range of the key fits 32 bits")),
        rate_limit: read_rate_limit(path, table),
        compresses: route.boolean("compress"),
    }
}

/// Whether the route is answered by the router itself, so that it needs no cluster.
pub fn answers_itself(table: &Table) -> bool {
    table.get("redirect").is_some() || table.get("answer").is_some() || tells_views(table)
}

fn tells_views(table: &Table) -> bool {
    matches!(table.get("views"), Some(Data::Boolean(true)))
}

fn inner<'a>(path: &KeyPath, table: &'a Table, key: &str) -> Option<Reader<'a>> {
    let inner = table.table(key)?;
    Some(Reader::new(&format!("routers.*.routes.{key}"), vec![(path.with(key), Some(inner))]))
}

fn read_answer(
    builder: &mut Builder<'_>,
    path: &KeyPath,
    table: &Table,
) -> Option<(&'static str, RouteAnswer)> {
    let status = |reader: &Reader<'_>| {
        u16::try_from(reader.integer("status")).expect("the range of the key fits 16 bits")
    };
    if let Some(redirect) = inner(path, table, "redirect") {
        if !REDIRECT_STATUSES.contains(&redirect.integer("status")) {
            let message = "this status is no redirect that keeps to the standard".to_owned();
            let place = redirect.path("status");
            builder.refuse(error_code::CONFIG_NOT_ALLOWED, &place, At::Value, message, "301, 302, 307, 308");
        }
        let location = redirect.text_if_any("to").unwrap_or_default();
        return Some(("redirect", RouteAnswer::Redirect { status: status(&redirect), location }));
    }
    if tells_views(table) {
        return Some(("views", RouteAnswer::Views));
    }
    let answer = inner(path, table, "answer")?;
    let (status, body) = (status(&answer), answer.text("body"));
    if matches!(status, 204 | 205 | 304) && !body.is_empty() {
        let message = format!("an answer with status {status} has no body");
        let place = answer.path("body");
        builder.refuse(
            error_code::CONFIG_CONTRADICTION,
            &place,
            At::Key,
            message,
            "no `body`, or another status",
        );
    }
    Some(("answer", RouteAnswer::Static { status, content_type: answer.text("content_type"), body }))
}

/// Keys that speak of members have no effect where no member is asked.
fn check_alone(builder: &mut Builder<'_>, path: &KeyPath, table: &Table, answer: &str) {
    const OF_MEMBERS: [&str; 11] = [
        "answer",
        "views",
        "redirect",
        "cluster",
        "clusters",
        "levels",
        "spread",
        "rewrite",
        "request_headers",
        "compress",
        "cookie",
    ];
    for key in OF_MEMBERS.into_iter().filter(|key| *key != answer && says(table, key)) {
        let message = format!("`{key}` has no effect beside `{answer}`: the router answers itself");
        let allowed = format!("either `{answer}` or `{key}`");
        builder.refuse(error_code::CONFIG_CONTRADICTION, &path.with(key), At::Key, message, &allowed);
    }
}

/// Whether the key is there and means something.
fn says(table: &Table, key: &str) -> bool {
    table.get(key).is_some_and(|data| !matches!(data, Data::Boolean(false)))
}

fn read_headers(builder: &mut Builder<'_>, path: &KeyPath, table: &Table, key: &str) -> HeaderChanges {
    let Some(reader) = inner(path, table, key) else { return HeaderChanges::default() };
    let changes =
        HeaderChanges { remove: reader.list("remove"), set: reader.variables("set").into_iter().collect() };
    let place = path.with(key);
    let removed = changes
        .remove
        .iter()
        .enumerate()
        .map(|(at, name)| (name, place.with("remove").with(&format!("[{at}]")), At::Value));
    let set = changes.set.iter().map(|(name, _)| (name, place.with("set").with(name), At::Key));
    for (name, place, at) in removed.chain(set) {
        if let Some(why) = why_fixed(name, key == "request_headers") {
            let message = format!("the header {name} cannot be changed: {why}");
            builder.refuse(error_code::CONFIG_NOT_ALLOWED, &place, at, message, "other headers");
        }
    }
    for (name, _) in &changes.set {
        if changes.remove.iter().any(|removed| is_same_name(removed, name)) {
            let message =
                format!("{name} is both removed and set; what is set replaces what was there anyway");
            let place = place.with("set").with(name);
            builder.refuse(error_code::CONFIG_CONTRADICTION, &place, At::Key, message, "either of the two");
        }
    }
    changes
}

fn read_rate_limit(path: &KeyPath, table: &Table) -> Option<RateLimit> {
    let limit = inner(path, table, "rate_limit")?;
    let requests_per_second = limit.small_integer("requests_per_second");
    let burst = if limit.has("burst") { limit.small_integer("burst") } else { requests_per_second };
    Some(RateLimit { header: limit.text_if_any("header"), requests_per_second, burst })
}

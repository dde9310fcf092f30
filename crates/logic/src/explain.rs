//! Says where a request would go, and why: which router, route, cluster and member, a sentence for each decision.
//!
//! Asks the same functions as the routers do. Promise: changes nothing, and says what it cannot know (whose turn it
//! is, which members a router has marked). Not here: HTTP beyond what a URL says.

use crate::actions;
use crate::route::RouteTable;
use crate::spread;
use wire::id::ClusterName;
use wire::settings::{RouteSettings, RouterPlace};
use wire::status::Explanation;
use wire::view::{AffinityKind, View};

/// What a URL says about a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target<'a> {
    pub(crate) host: &'a str,
    pub(crate) port: Option<u16>,
    /// With query; starts with `/`.
    pub(crate) path: &'a str,
}

/// Explains `url` (`http://host:port/path`, `host/path` or `/path`) for a request with this Cookie header. The error
/// says what is wrong with the URL.
pub fn explain<'a>(
    url: &str,
    cookie: Option<&str>,
    routers: &[RouterPlace],
    views: impl Iterator<Item = &'a View>,
) -> Result<Explanation, String> {
    let target = parse(url)?;
    let mut explanation = Explanation {
        url: url.to_owned(),
        route: None,
        level: None,
        cluster: None,
        member: None,
        candidates: Vec::new(),
        candidate_clusters: Vec::new(),
        why: Vec::new(),
    };
    let Some(router) = choose_router(&target, routers, &mut explanation.why) else {
        explanation.why.push("The cell has no router.".into());
        return Ok(explanation);
    };
    let table = RouteTable::new(&router.routes);
    let (host, path) = (target.host.as_bytes(), target.path.as_bytes());
    let port = target.port.unwrap_or(80);
    explanation.why.extend(table.explain(&router.routes, host, port, path));
    let Some(index) = table.find(host, port, path) else { return Ok(explanation) };
    let route = &router.routes[index];
    explanation.route = Some(format!("{}{}", route.host, route.path));
    for action in actions::describe(&route.actions) {
        explanation.why.push(format!("The route's own action: {action}."));
    }
    if route.actions.answer.is_some() {
        explanation.why.push("The router answers itself; no member sees the request.".into());
        return Ok(explanation);
    }
    let views: Vec<&View> = views.collect();
    Ok(explain_choice(explanation, route, &router.zone, &views, (cookie, path)))
}

/// Who of the route's clusters would get a request with that cookie and path.
fn explain_choice(
    mut explanation: Explanation,
    route: &RouteSettings,
    zone: &str,
    views: &[&View],
    (cookie, path): (Option<&str>, &[u8]),
) -> Explanation {
    let clusters: Vec<&ClusterName> = route.clusters().collect();
    if let [only] = clusters[..] {
        explanation.cluster = Some(only.clone());
    }
    if clusters.is_empty() {
        return explanation;
    }
    let view_of = |cluster: &&ClusterName| views.iter().find(|view| view.cluster == **cluster).copied();
    let of_clusters: Vec<Option<&View>> = clusters.iter().map(view_of).collect();
    if of_clusters.iter().all(Option::is_none) {
        let names: Vec<&str> = clusters.iter().map(|cluster| cluster.0.as_str()).collect();
        let text = format!("Nothing is known of cluster {} yet; the router answers 503.", names.join(" or "));
        explanation.why.push(text);
        return explanation;
    }
    let keeps = |view: &&&View| route.affinity.is_some() || view.affinity.is_some();
    for view in of_clusters.iter().flatten().filter(|view| !keeps(view)) {
        explanation.why.push(format!("Cluster {} keeps no conversations together.", view.cluster));
    }
    let cookies = cookie.map(str::as_bytes);
    let reads_signed = |view: &View| {
        let affinity = route.affinity.as_ref().or(view.affinity.as_ref());
        affinity.is_some_and(|affinity| affinity.kind == AffinityKind::Own)
            && !spread::read_session(route, view, cookies.into_iter(), path).0.is_empty()
    };
    if of_clusters.iter().flatten().copied().any(reads_signed) {
        explanation.why.push(
            "The cookie's signature is taken to be right: only routers have the keys, and they pass over a cookie that \
             none of these keys has signed."
                .into(),
        );
    }
    let explained = spread::explain(route, zone, &of_clusters, &|view| {
        spread::read_session(route, view, cookies.into_iter(), path)
    });
    fill(&mut explanation, route, &of_clusters, &explained);
    explanation.why.extend(explained.why);
    explanation
}

/// Puts names to what was explained.
fn fill(
    explanation: &mut Explanation,
    route: &RouteSettings,
    views: &[Option<&View>],
    explained: &spread::Explained,
) {
    for (cluster, index) in &explained.candidates {
        let Some(view) = views[*cluster] else { continue };
        explanation.candidates.push(view.members[usize::from(*index)].name.clone());
        explanation.candidate_clusters.push(view.cluster.clone());
    }
    let place_of = |cluster: &usize| {
        let mut ends = route.levels.iter().scan(0, |end, level| {
            *end += level.len();
            Some(*end)
        });
        ends.position(|end| *cluster < end)
    };
    let mut levels: Vec<Option<usize>> =
        explained.candidates.iter().map(|(cluster, _)| place_of(cluster)).collect();
    levels.dedup();
    if let [Some(level)] = levels[..] {
        explanation.level = Some(level as u32 + 1);
    }
    let mut clusters = explanation.candidate_clusters.clone();
    clusters.dedup();
    if let [only] = &clusters[..] {
        explanation.cluster = Some(only.clone());
    }
    if let [only] = &explanation.candidates[..] {
        explanation.member = Some(only.clone());
    }
}

/// The router that listens on the URL's port, else the first.
fn choose_router<'a>(
    target: &Target,
    routers: &'a [RouterPlace],
    why: &mut Vec<String>,
) -> Option<&'a RouterPlace> {
    let listens = |router: &&RouterPlace| {
        let port = target.port.unwrap_or(80);
        router.listeners.iter().any(|listener| listener.address.port() == port)
    };
    let [first, _, ..] = routers else { return routers.first() };
    match routers.iter().find(listens) {
        Some(router) => {
            why.push(format!("Router {} listens on that port.", router.name));
            Some(router)
        }
        None => {
            why.push(format!(
                "No router is configured on that port; this is what router {} would do.",
                first.name
            ));
            Some(first)
        }
    }
}

pub(crate) fn parse(url: &str) -> Result<Target<'_>, String> {
    if url.is_empty() || url.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
        return Err(format!("{url:?} is not a URL: it is empty or has blanks in it"));
    }
    if url.starts_with('/') {
        return Ok(Target { host: "", port: None, path: url });
    }
    let (usual_port, rest) = match url.split_once("://") {
        Some(("https", rest)) => (Some(443), rest),
        Some(("http", rest)) => (None, rest),
        Some((scheme, _)) => {
            return Err(format!("{url:?} has the scheme {scheme}; routers know http and https"));
        }
        None => (None, url),
    };
    let rest = rest.split('#').next().unwrap_or(rest);
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    // A query without a path belongs to the path `/`; routes do not look at queries.
    let path = if path.starts_with('/') { path } else { "/" };
    let (host, port) =
        split_port(authority).ok_or_else(|| format!("{authority:?} is not a host and port"))?;
    if host.is_empty() {
        return Err(format!("{url:?} names no host"));
    }
    Ok(Target { host, port: port.or(usual_port), path })
}

fn split_port(authority: &str) -> Option<(&str, Option<u16>)> {
    let bracket = authority.rfind(']').map_or(0, |at| at + 1);
    match authority[bracket..].find(':') {
        None => Some((authority, None)),
        Some(colon) => {
            let (host, port) = authority.split_at(bracket + colon);
            Some((host, Some(port[1..].parse().ok()?)))
        }
    }
}

#[cfg(test)]
mod tests;

//! What `explain` says is what the router does: the same requests, put to both.

use super::super::core::Core;
use super::super::lot::{Lot, watcher};
use super::super::origin::Origin;
use super::super::request::{Admission, Caller, admit};
use super::super::table::Table;
use super::super::tests::stage;
use crate::clock::Clock;
use logic::explain::explain;
use logic::route::RouteTable;
use logic::seed::Chance;
use std::collections::BTreeMap;
use std::sync::Arc;
use wire::id::{ClusterName, Epoch};
use wire::settings::{AccessLog, AccessLogFormat, Listener, RouteSettings, RouterPlace, Spread};
use wire::view::{Affinity, AffinityKind, Health, MemberView, Policy, RunState, View};

const CELLS: u64 = 100;
const REQUESTS: u32 = 100;

fn one_of<T: Copy>(chance: &mut Chance, all: &[T]) -> T {
    all[chance.below(all.len() as u32) as usize]
}

/// A cluster with members in any state; clone ids are shared by clusters now and then.
fn random_view(chance: &mut Chance, number: usize) -> View {
    use RunState::{Down, Draining, Failed, Starting, Unknown, Up};
    let states = [Up, Up, Up, Up, Draining, Down, Failed, Starting, Unknown];
    let kind = one_of(chance, &[AffinityKind::CloneId, AffinityKind::CloneId, AffinityKind::RouteSuffix]);
    let affinity = Affinity {
        kind,
        cookie: one_of(chance, &["SESSION", "SESSION", "OTHER"]).into(),
        url_identifier: "session".into(),
        separator: if kind == AffinityKind::CloneId { ':' } else { '.' },
        is_strict: chance.percent(15),
        ..Affinity::default()
    };
    let members = (0..chance.below(5)).map(|index| MemberView {
        name: format!("m{index}").as_str().into(),
        clone_id: if chance.percent(10) { "shared".into() } else { format!("c{number}m{index}") },
        address: chance.percent(95).then(|| ([127, 0, 0, 1], 1).into()),
        state: one_of(chance, &states),
        weight: one_of(chance, &[0, 1, 1, 2, 5]),
        reason: "chance".into(),
        zone: one_of(chance, &["", "east", "west"]).into(),
        is_backup: chance.percent(15),
        ..MemberView::default()
    });
    let members = members.collect();
    View {
        cluster: format!("k{number}").as_str().into(),
        epoch: Epoch { generation: 1, number: 1 },
        policy: one_of(
            chance,
            &[Policy::RoundRobin, Policy::Random, Policy::LeastOutstanding, Policy::Auto, Policy::Hash],
        ),
        affinity: chance.percent(80).then_some(affinity),
        members,
        health: Health::default(),
        ..View::default()
    }
}

fn random_route(chance: &mut Chance, number: usize, clusters: usize) -> RouteSettings {
    let mut names: Vec<ClusterName> = (0..clusters).map(|it| format!("k{it}").as_str().into()).collect();
    let rotation = chance.below(clusters as u32) as usize;
    names.rotate_left(rotation);
    names.truncate(1 + chance.below(clusters as u32) as usize);
    let mut levels = vec![Vec::new()];
    for name in names {
        if chance.percent(40) && !levels[levels.len() - 1].is_empty() {
            levels.push(Vec::new());
        }
        let last = levels.len() - 1;
        levels[last].push(name);
    }
    RouteSettings {
        host: "*".into(),
        path: format!("/r{number}"),
        levels,
        spread: one_of(chance, &[Spread::Flat, Spread::Spill, Spread::ZoneFirst, Spread::StrictBackup]),
        ..RouteSettings::default()
    }
}

fn random_cookie(chance: &mut Chance, clusters: usize) -> String {
    let mut ids = String::new();
    let separator = one_of(chance, &[':', '.']);
    for _ in 0..chance.below(3) {
        ids.push(separator);
        match chance.below(8) {
            0 => ids.push_str("shared"),
            1 => ids.push_str("stranger"),
            _ => ids += &format!("c{}m{}", chance.below(clusters as u32), chance.below(5)),
        }
    }
    let session = chance.below(1000);
    match chance.below(6) {
        0 => String::new(),
        1 => format!("x=y; OTHER=0000{session:023}{ids}"),
        2 => format!("SESSION=abc; SESSION=0000{session:023}{ids}"),
        _ => format!("SESSION=0000{session:023}{ids}"),
    }
}

fn place(routes: Vec<RouteSettings>, zone: &str) -> RouterPlace {
    let settings = stage::settings();
    RouterPlace {
        name: "edge".into(),
        node: "a".into(),
        listeners: vec![Listener::plain(([0, 0, 0, 0], 80).into())],
        zone: zone.into(),
        threads: 1,
        routes,
        timeouts: settings.timeouts,
        limits: settings.limits,
        retry: settings.retry,
        access_log: AccessLog { format: AccessLogFormat::Off, path: String::new(), pattern: String::new() },
        trace: None,
        trusted_proxies: Vec::new(),
        clients: Vec::new(),
        advertise: String::new(),
        plugin_cfg: None,
        gateway: None,
    }
}

fn core_with(place: &RouterPlace, views: &[View], seed: u64) -> std::rc::Rc<Core> {
    let mut settings = stage::settings();
    settings.zone.clone_from(&place.zone);
    settings.routes.clone_from(&place.routes);
    let settings = Arc::new(settings);
    let lot = Lot::new(watcher().expect("an epoll"));
    let core = Core::new(Clock::start(), settings.clone(), seed, lot, Arc::default());
    let views: BTreeMap<_, _> =
        views.iter().map(|view| (view.cluster.clone(), Arc::new(view.clone()))).collect();
    let routes = Arc::new(RouteTable::new(&settings.routes));
    let actions = Arc::new(crate::router::actions::build(&settings.routes, &Default::default()));
    let table = Table {
        settings,
        routes,
        actions,
        access_log: None,
        tls: Arc::default(),
        views: Arc::new(views),
        client_views: Default::default(),
        gates: BTreeMap::new(),
    };
    table.views.iter().for_each(|(name, view)| core.take_view(name, view, &table));
    core.apply(&Arc::new(table));
    core
}

/// Cluster and member as the router chooses; None where it refuses.
fn route(core: &Core, path: &str, cookie: &str) -> Option<(String, String)> {
    let mut text = format!("GET {path} HTTP/1.1\r\nHost: shop.example\r\n");
    if !cookie.is_empty() {
        text += &format!("Cookie: {cookie}\r\n");
    }
    text += "\r\n";
    match admit(
        core,
        Caller { origin: &Origin::for_tests("192.0.2.7", 80), is_http2: false },
        text.as_bytes(),
    ) {
        Admission::Admitted { request, .. } => {
            let cluster = request.cluster.view.borrow().cluster.0.clone();
            Some((cluster, request.member.name.0.clone()))
        }
        Admission::Refused { .. } => None,
        Admission::Answered { .. } => panic!("no route answers by itself"),
        Admission::Incomplete => panic!("the request is whole"),
    }
}

#[test]
fn explain_agrees_with_the_router_on_ten_thousand_random_requests() {
    let (mut certain, mut open, mut refused, mut over_clusters) = (0, 0, 0, 0);
    for cell in 0..CELLS {
        let mut chance = Chance::new(cell);
        let clusters = 1 + chance.below(4) as usize;
        let views: Vec<View> = (0..clusters).map(|number| random_view(&mut chance, number)).collect();
        let routes = (0..3).map(|number| random_route(&mut chance, number, clusters)).collect();
        let place = place(routes, one_of(&mut chance, &["", "east", "west"]));
        let core = core_with(&place, &views, cell);
        for number in 0..REQUESTS {
            let mut path = format!("/r{}/cart", chance.below(3));
            if chance.percent(10) {
                path += &format!(";session=xyz:c{}m{}", chance.below(4), chance.below(4));
            }
            let cookie = random_cookie(&mut chance, clusters);
            let told = explain(
                &format!("http://shop.example{path}"),
                (!cookie.is_empty()).then_some(&cookie),
                std::slice::from_ref(&place),
                views.iter(),
            );
            let told = told.expect("the URL is right");
            let got = route(&core, &path, &cookie);
            let story =
                || format!("cell {cell}, request {number}: {path} {cookie:?} went to {got:?}; {told:#?}");
            let candidates: Vec<(String, String)> = (told.candidate_clusters.iter())
                .zip(&told.candidates)
                .map(|(cluster, member)| (cluster.0.clone(), member.0.clone()))
                .collect();
            match &got {
                None => assert!(candidates.is_empty(), "{}", story()),
                Some(place) => assert!(candidates.contains(place), "{}", story()),
            }
            if let Some(member) = &told.member {
                let (cluster, got) = got.clone().expect("said to go somewhere");
                assert_eq!(&got, &member.0, "{}", story());
                assert_eq!(Some(cluster), told.cluster.as_ref().map(|it| it.0.clone()), "{}", story());
                certain += 1;
            }
            refused += u32::from(got.is_none());
            open += u32::from(candidates.len() > 1);
            over_clusters += u32::from(told.cluster.is_none() && !candidates.is_empty());
        }
    }
    assert_eq!(CELLS as u32 * REQUESTS, 10_000);
    let kinds = [certain, open, refused, over_clusters];
    assert!(kinds.iter().all(|count| *count > 300), "too few of one kind: {kinds:?}");
}

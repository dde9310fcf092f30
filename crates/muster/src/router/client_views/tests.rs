//! What is written is written once, and made anew only where something changed.

use super::*;
use crate::router::tests::stage::settings;
use wire::settings::{RouteActions, RouteSettings};

fn some_settings() -> RouterSettings {
    let client = ClientSettings {
        name: "billing".into(),
        token_sha256: "0".repeat(64),
        clusters: vec!["shop".into(), "none".into()],
    };
    let mut views = RouteSettings { path: "/views".into(), ..RouteSettings::default() };
    views.actions = RouteActions { answer: Some(RouteAnswer::Views), ..RouteActions::default() };
    RouterSettings { clients: vec![client], routes: vec![views], ..settings() }
}

fn views(numbers: &[(&str, u64)]) -> ByCluster {
    let one = |(name, number): &(&str, u64)| {
        let epoch = Epoch { generation: 1, number: *number };
        let view = View { cluster: (*name).into(), epoch, ..View::default() };
        (view.cluster.clone(), Arc::new(view))
    };
    numbers.iter().map(one).collect()
}

#[test]
fn only_what_changed_is_made_anew() {
    let mut publisher = Publisher::default();
    let settings = some_settings();
    let first = publisher.publish(&settings, &views(&[("shop", 1), ("bank", 1)]));
    assert_eq!(first.by_cluster.len(), 1, "of clusters that no client may know nothing is made");
    let same = publisher.publish(&settings, &views(&[("shop", 1), ("bank", 2)]));
    assert!(Arc::ptr_eq(&first, &same));
    let next = publisher.publish(&settings, &views(&[("shop", 2)]));
    let shop = &next.by_cluster[&"shop".into()];
    let news = shop.news_since(Epoch { generation: 1, number: 1 }).expect("it is behind");
    assert!(news.starts_with("{\"delta\":"), "{news}");
    let again = shop.news_since(Epoch { generation: 1, number: 1 }).expect("it is behind");
    assert!(Arc::ptr_eq(&news, &again), "it is written once");
    assert!(Arc::ptr_eq(&shop.snapshot(), &shop.snapshot()));
    assert!(Arc::ptr_eq(&first.snapshots, &next.snapshots), "what was given counts on");
    let older = publisher.publish(&settings, &views(&[("shop", 1)]));
    assert_eq!(older.by_cluster[&"shop".into()].newest().epoch.number, 2, "a view never goes back");

    let mut elsewhere = settings.clone();
    elsewhere.routes[0].path = "/other".into();
    let moved = publisher.publish(&elsewhere, &views(&[("shop", 2)]));
    assert!(moved.by_cluster[&"shop".into()].hint.contains("/other"));
    let nobody = RouterSettings { clients: Vec::new(), ..settings };
    assert!(publisher.publish(&nobody, &views(&[("shop", 2)])).by_cluster.is_empty());
}

#[test]
fn a_hash_is_that_of_its_bytes_only() {
    assert!(is_hex_of("00ff7e", &[0, 255, 126]));
    for wrong in ["00ff7", "00ff7e0", "00FF7E", "00ff7f", ""] {
        assert!(!is_hex_of(wrong, &[0, 255, 126]), "{wrong}");
    }
}

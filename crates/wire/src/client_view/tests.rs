//! The format word by word, as docs/reference/wire.md gives it to other languages.

use super::*;

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

#[test]
fn a_claim_is_read_in_one_way_only() {
    let claim = Claim::parse(format!("shop 3.17 {TOKEN}").as_bytes()).expect("a claim");
    let epoch = Epoch { generation: 3, number: 17 };
    assert_eq!(claim, Claim { cluster: "shop".into(), epoch, token: TOKEN.into() });
    assert_eq!(claim.to_string(), format!("shop 3.17 {TOKEN}"));
    assert_eq!(format!("{claim:?}"), "Claim(shop 3.17)", "a token stays out of logs");
    let most = u64::MAX;
    let longest = format!("{} {most}.{most} {}", "n".repeat(64), "t".repeat(TOKEN_MAX_BYTES));
    assert_eq!(longest.len(), CLAIM_MAX_BYTES);
    assert!(Claim::parse(longest.as_bytes()).is_some());
    let wrong = [
        String::new(),
        "shop".into(),
        "shop 3.17".into(),
        format!("shop 3.17 {TOKEN} "),
        format!("shop  3.17 {TOKEN}"),
        format!(" shop 3.17 {TOKEN}"),
        format!("shop 3.17\t{TOKEN}"),
        format!("shop 3 {TOKEN}"),
        format!("shop 3.17.1 {TOKEN}"),
        format!("shop +3.17 {TOKEN}"),
        format!("shop 03.17 {TOKEN}"),
        format!("shop 3. {TOKEN}"),
        format!("shop 3.18446744073709551616 {TOKEN}"),
        format!("sh/op 3.17 {TOKEN}"),
        format!("shop 3.17 {}", &TOKEN[1..]),
        format!("shop 3.17 {TOKEN},"),
        format!("shop 3.17 {}", "t".repeat(TOKEN_MAX_BYTES + 1)),
    ];
    for wrong in wrong {
        assert_eq!(Claim::parse(wrong.as_bytes()), None, "{wrong:?}");
    }
    assert_eq!(Claim::parse(b"shop 3.17 \xff\xff"), None);
}

fn member(name: &str, state: ClientState) -> ClientMember {
    ClientMember { name: name.into(), state, weight: 2, ..ClientMember::default() }
}

fn view(number: u64, names: &[&str]) -> ClientView {
    let members = names.iter().map(|name| member(name, ClientState::Up)).collect();
    let epoch = Epoch { generation: 3, number };
    ClientView { cluster: "shop".into(), epoch, policy: Policy::RoundRobin, members }
}

#[test]
fn news_and_views_are_written_as_the_reference_says() {
    let put = ClientMember {
        address: Some(SocketAddr::from(([10, 0, 0, 4], 9080))),
        zone: "hall-1".into(),
        tls: Some("shop.example".into()),
        ..member("shop-4", ClientState::Up)
    };
    let delta = ViewDelta {
        cluster: "shop".into(),
        from: Epoch { generation: 3, number: 17 },
        to: Epoch { generation: 3, number: 19 },
        policy: Some(Policy::LeastOutstanding),
        gone: vec!["shop-2".into()],
        states: BTreeMap::from([(ClientState::Draining, vec!["shop-1".into(), "shop-3".into()])]),
        put: vec![PutMember { at: 2, member: put }],
    };
    let written = serde_json::to_string(&ViewNews::Delta(delta.clone())).expect("names as keys");
    let wanted = r#"{"delta":{"cluster":"shop","from":"3.17","to":"3.19","policy":"least-outstanding","gone":["shop-2"],"states":{"draining":["shop-1","shop-3"]},"put":[{"at":2,"name":"shop-4","address":"10.0.0.4:9080","state":"up","weight":2,"zone":"hall-1","tls":"shop.example"}]}}"#;
    assert_eq!(written, wanted);
    assert_eq!(serde_json::from_str::<ViewNews>(wanted).expect("our own"), ViewNews::Delta(delta));

    let hint =
        FetchHint { cluster: "shop".into(), to: Epoch { generation: 4, number: 1 }, path: "/views".into() };
    let wanted = r#"{"fetch":{"cluster":"shop","to":"4.1","path":"/views"}}"#;
    assert_eq!(serde_json::to_string(&ViewNews::Fetch(hint.clone())).expect("names as keys"), wanted);
    assert_eq!(serde_json::from_str::<ViewNews>(wanted).expect("our own"), ViewNews::Fetch(hint));

    let wanted = r#"{"cluster":"shop","epoch":"3.17","policy":"round-robin","members":[{"name":"a","state":"up","weight":2}]}"#;
    assert_eq!(serde_json::to_string(&view(17, &["a"])).expect("names as keys"), wanted);
    assert_eq!(serde_json::from_str::<ClientView>(wanted).expect("our own"), view(17, &["a"]));
    assert!(serde_json::from_str::<ClientView>(&wanted.replace("3.17", "3")).is_err());
}

#[test]
fn a_change_is_applied_once_and_only_where_it_fits() {
    let delta = ViewDelta {
        cluster: "shop".into(),
        from: Epoch { generation: 3, number: 1 },
        to: Epoch { generation: 3, number: 2 },
        gone: vec!["b".into()],
        states: BTreeMap::from([(ClientState::Lost, vec!["a".into()])]),
        put: vec![PutMember { at: 0, member: member("d", ClientState::Up) }],
        ..ViewDelta::default()
    };
    let mut changed = view(1, &["a", "b", "c"]);
    assert_eq!(changed.apply(&delta), Applied::Now);
    let mut wanted = view(2, &["d", "a", "c"]);
    wanted.members[1].state = ClientState::Lost;
    assert_eq!(changed, wanted);
    assert_eq!(changed.apply(&delta), Applied::Known, "a second time");

    for (from, wanted) in [(view(0, &["a"]), Applied::Unfit), (view(3, &["a"]), Applied::Known)] {
        let mut other = from.clone();
        assert_eq!(other.apply(&delta), wanted);
        assert_eq!(other, from, "nothing changed");
    }
    let mut bank = ClientView { cluster: "bank".into(), ..view(1, &["a"]) };
    assert_eq!(bank.apply(&delta), Applied::Unfit);
    assert_eq!(bank.replace(view(9, &[])), Applied::Unfit);
}

#[test]
fn a_whole_view_never_goes_back() {
    let mut known = view(5, &["a"]);
    assert_eq!(known.replace(view(4, &["b"])), Applied::Known);
    assert_eq!(known.replace(view(5, &["b"])), Applied::Known);
    assert_eq!(known, view(5, &["a"]));
    let newer = ClientView { epoch: Epoch { generation: 4, number: 1 }, ..view(0, &["b"]) };
    assert_eq!(known.replace(newer), Applied::Now);
    assert_eq!(known.replace(view(6, &["a"])), Applied::Known, "an older generation");
}

#[test]
fn what_the_reference_shows_is_right() {
    let page = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/wire.md");
    let page = std::fs::read_to_string(page).expect("the page is part of the project");
    let headers: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("Muster-View: {")).collect();
    assert_eq!(headers.len(), 2);
    for header in headers {
        let text = format!("{{{header}");
        let read: ViewNews = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
        assert_eq!(serde_json::to_string(&read).expect("names as keys"), text);
    }
    let (_, rest) = page.split_once("```json\n").expect("a view");
    let (view, _) = rest.split_once("```").expect("its end");
    let view: ClientView = serde_json::from_str(view).expect("a view");
    assert_eq!(view.members.len(), 3);
    assert!(view.members[2].is_backup && view.members[2].address.is_none());
    for number in [NEWS_MAX_BYTES, TOKEN_MIN_BYTES, TOKEN_MAX_BYTES] {
        let number = if number == NEWS_MAX_BYTES { "1,400".to_owned() } else { number.to_string() };
        assert!(page.contains(&number), "{number}");
    }
}

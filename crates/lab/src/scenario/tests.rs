//! What lines mean, and what they say when they mean nothing.

use super::*;

fn steps(text: &str) -> Vec<What> {
    let text = format!("# A title.\nhosts a b c\n{text}\n");
    let scenario = parse(&text).unwrap_or_else(|mistake| panic!("{mistake:?} of\n{text}"));
    scenario.steps.into_iter().map(|step| step.what).collect()
}

fn mistake(text: &str) -> String {
    let text = format!("# A title.\nhosts a b c\n{text}\n");
    let mistake = parse(&text).expect_err(&text);
    format!("{}: {}", mistake.line, mistake.why)
}

#[test]
fn a_scenario_has_a_title_a_plan_and_steps_with_times() {
    let text = "# Shows it.\n\nhosts a b c\nmanagers 3\nstore etcd\nprofile fast\nmembers 2\nsplit a\ndisk b 16M\n\
                nightly\n# nothing\nload a with 4 connections\nat 2s kill a manager\nwithin 500ms expect leader not a\n";
    let scenario = parse(text).expect("it is right");
    assert_eq!((scenario.title.as_str(), scenario.is_nightly), ("Shows it.", true));
    let plan = &scenario.plan;
    assert_eq!((plan.managers, plan.store, plan.members), (3, Kind::Etcd, 2));
    assert_eq!(
        (plan.split.as_slice(), plan.disks.as_slice()),
        (&["a".into()][..], &[("b".into(), "16M".into())][..])
    );
    let [load, kill, leader] = &scenario.steps[..] else { panic!("{:?}", scenario.steps) };
    assert_eq!(load.what, What::Load { hosts: vec!["a".into()], connections: 4, method: Method::Get });
    assert_eq!(kill.at, Some(Duration::from_secs(2)));
    assert_eq!(kill.what, What::Act(Act::Kill { host: "a".into(), part: Some(Part::Manager) }));
    assert_eq!((leader.line, leader.within), (14, Duration::from_millis(500)));
}

#[test]
fn cuts_go_one_way_or_both() {
    let some = |host: &str| Some(host.to_owned());
    let cut = |text: &str| match steps(text).remove(0) {
        What::Act(Act::Cut(pairs)) => pairs,
        other => panic!("{other:?}"),
    };
    assert_eq!(cut("cut a"), [(some("a"), None), (None, some("a"))]);
    assert_eq!(cut("cut a b"), [(some("a"), some("b")), (some("b"), some("a"))]);
    assert_eq!(cut("cut a > b"), [(some("a"), some("b"))]);
    assert_eq!(cut("cut a >"), [(some("a"), None)]);
    assert_eq!(cut("cut > a"), [(None, some("a"))]);
    let parts = vec![vec!["a".into(), "b".into()], vec!["c".into()]];
    assert_eq!(steps("partition a b | c"), [What::Act(Act::Partition(parts))]);
}

#[test]
fn figures_have_bounds() {
    let expected = |text: &str| match steps(text).remove(0) {
        What::Expect(expected) => expected,
        other => panic!("{other:?}"),
    };
    let two = Duration::from_secs(2);
    let leader = |is_meant, by| Expected::Leader { name: "b".into(), is_meant, by };
    assert_eq!(expected("expect leader b"), leader(true, None));
    assert_eq!(expected("expect leader not b"), leader(false, None));
    assert_eq!(expected("within 9s expect leader not b by 2s"), leader(false, Some(two)));
    let slower = |hosts: &[&str]| Expected::NoneSlower { than: two, hosts: owned(hosts) };
    assert_eq!(expected("expect no request slower than 2s"), slower(&[]));
    assert_eq!(expected("expect no request slower than 2s through a c"), slower(&["a", "c"]));
    let load = What::Load { hosts: owned(&["a", "b"]), connections: 3, method: Method::Post };
    assert_eq!(steps("load a b with 3 connections posting"), [load]);
    assert_eq!(
        expected("within 3s expect 1 new epoch of shop"),
        Expected::EpochsBegun { count: 1, cluster: "shop".into() }
    );
    let choices = [(1, 1), (3, 2)].map(|(weight, revision)| WeightAt { weight, revision }).to_vec();
    assert_eq!(
        expected("expect weight of shop-2 1 by revision 1 or 3 by revision 2"),
        Expected::Weight { member: "shop-2".into(), choices }
    );
    assert!(mistake("expect weight of shop-2 1 or 3").contains("3: a weight is like"));
    for text in ["expect leader not", "expect leader not b by", "expect leader b in 2s"] {
        assert!(mistake(text).contains("3: a leader is like"), "{text}");
    }
    assert!(mistake("expect no request slower than 2s at a").contains("`through` hosts"));
}

#[test]
fn every_mistake_names_its_line_and_what_is_allowed() {
    for (text, parts) in [
        ("kil a", &["3: `kil`", "kill", "expect"][..]),
        ("cut d", &["3: there is no host `d`", "a, b, c"]),
        ("wait 3", &["`3` is no time"]),
        ("wait 2h", &["200ms"]),
        ("wait 61m", &["is no time"]),
        ("lose 101% a", &["no part like"]),
        ("kill a half", &["manager, rest"]),
        ("kill", &["lacks something"]),
        ("clock a +5s", &["clock-of a"]),
        ("store kill", &["a file of its manager"]),
        ("expect member shop-1 upp", &["run state", "draining"]),
        ("expect wonders", &["cannot be expected", "the cell whole"]),
        ("at 1s", &["nothing follows"]),
        ("load a\nhosts d", &["4: `hosts`"]),
        ("partition a b", &["partition web-1"]),
        ("managers 4\nstore etcd", &["more managers than hosts"]),
        ("managers 2", &["several managers need"]),
        ("managers 6", &["1 to 5"]),
    ] {
        let said = mistake(text);
        parts.iter().for_each(|part| assert!(said.contains(part), "{part} is not in {said}"));
    }
    assert_eq!(parse("hosts a\n").expect_err("no title").line, 1);
    assert!(parse("# T\nwait 1s\n").expect_err("no hosts").why.contains("no hosts"));
    assert!(parse("# T\nhosts store\n").expect_err("ours").why.contains("no name"));
    assert!(parse("# T\nhosts a a\n").expect_err("twice").why.contains("twice"));
}

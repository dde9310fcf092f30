//! `muster config`: what was changed when and by whom, what differs, and back, on a cell that runs.

mod support;

use serde_json::Value;
use support::cell::{Cell, shop_tables};
use support::{Scratch, http};
use wire::status::{Applied, ConfigRevision, ConfigText};

/// A cell at revision 3: weights 2 and 2, then 2 and 7, then a comment.
fn start(scratch: &Scratch) -> (Cell, Vec<String>) {
    let cell = Cell::start(scratch, &shop_tables(&[("s1", 2), ("s2", 2)]));
    cell.wait_until_all_up("shop");
    let read = || std::fs::read_to_string(&cell.config).expect("the test wrote it");
    let mut texts = vec![read()];
    for change in [
        ("members.s2]\nweight = 2", "members.s2]\nweight = 7"),
        ("[clusters.shop]\n", "# ours\n[clusters.shop]\n"),
    ] {
        cell.apply(&[change]);
        texts.push(read());
    }
    (cell, texts)
}

#[test]
fn the_history_tells_who_changed_what_and_any_two_texts_can_be_compared() {
    let scratch = Scratch::new();
    let (cell, texts) = start(&scratch);
    let log: Vec<ConfigRevision> =
        serde_json::from_str(&cell.must(&["config", "log", "--json"])).expect("a list");
    let told: Vec<(u64, &str, usize)> =
        log.iter().map(|entry| (entry.revision, entry.who.as_str(), entry.changes.len())).collect();
    let by = "admin by API from 127.0.0.1";
    assert_eq!(told, [(1, "muster run", 1), (2, by, 1), (3, by, 0)]);
    assert_eq!(log[1].changes, ["shop/s2: weight changes from 2 to 7"]);
    let shown = cell.must(&["config", "log", "--most", "2"]);
    let lines: Vec<&str> = shown.lines().collect();
    assert!(lines[0].starts_with("2  20") && lines[0].ends_with(&format!("Z  {by}")), "{shown}");
    assert_eq!(lines[1], "    shop/s2: weight changes from 2 to 7");
    assert!(lines[2].starts_with("3  20"), "{shown}");
    assert_eq!(lines[3..], ["    nothing but its wording"]);

    assert_eq!(cell.must(&["config", "show"]), texts[2]);
    assert_eq!(cell.must(&["config", "show", "1"]), texts[0]);
    let shown: ConfigText =
        serde_json::from_str(&cell.must(&["config", "show", "2", "--json"])).expect("an object");
    assert_eq!((shown.revision, &shown.text), (2, &texts[1]));

    let differs = cell.muster(&["config", "diff", "1"]);
    assert_eq!(differs.code, Some(1), "{differs:?}");
    let expected = ["shop/s2: weight changes from 2 to 7\n\n--- configuration 1\n+++ configuration 3\n@@ -"];
    assert!(differs.data.starts_with(expected[0]), "{}", differs.data);
    for line in ["-weight = 2", "+weight = 7", "+# ours"] {
        assert_eq!(differs.data.lines().filter(|found| *found == line).count(), 1, "{}", differs.data);
    }
    let back: Value =
        serde_json::from_str(&cell.muster(&["config", "diff", "2", "1", "--json"]).data).expect("JSON");
    assert_eq!(back["changes"][0], "shop/s2: weight changes from 7 to 2");
    assert_eq!((&back["old"], &back["new"]), (&Value::from(2), &Value::from(1)));
    let wording = cell.muster(&["config", "diff", "2", "3"]);
    assert!(wording.data.starts_with("nothing but the wording differs\n"), "{wording:?}");
    let same = cell.muster(&["config", "diff", "3"]);
    assert_eq!((same.code, same.data.as_str()), (Some(0), "nothing differs\n"), "{same:?}");

    for arguments in
        [&["config", "show", "4"][..], &["config", "diff", "9", "1"], &["config", "rollback", "0"]]
    {
        let said = cell.muster(arguments);
        assert_eq!((said.code, said.data.as_str()), (Some(1), ""), "{said:?}");
        assert!(said.talk.contains("M2008") && said.talk.contains("muster config log"), "{said:?}");
    }
    for arguments in
        [&["config", "show", "x"][..], &["config", "show", "-1"], &["config"], &["config", "log", "-n", "0"]]
    {
        assert_eq!(cell.muster(arguments).code, Some(2), "{arguments:?}");
    }
    let answer = cell.ask("GET", "/api/v1/config/history/x", b"").expect("an answer");
    assert_eq!(answer.status, 404);
    cell.stop();
}

#[test]
fn who_says_which_revision_is_meant_undoes_nobodys_change() {
    let scratch = Scratch::new();
    let (cell, _) = start(&scratch);
    let text = std::fs::read_to_string(&cell.config).expect("the test wrote it");
    let new = scratch.write("new.toml", &text.replace("members.s1]\nweight = 2", "members.s1]\nweight = 3"));
    let new = new.display().to_string();
    for dry in [&["--dry-run"][..], &[]] {
        let said = cell.muster(&[&["apply", new.as_str(), "--if-revision", "2"], dry].concat());
        assert_eq!((said.code, said.data.as_str()), (Some(1), ""), "{said:?}");
        for part in ["M2009", "revision 3 is in force, by admin", "muster config diff 2 3"] {
            assert!(said.talk.contains(part), "{part}: {said:?}");
        }
    }
    assert_eq!(cell.status().config_revision, 3);
    let said = cell.must(&["apply", &new, "--if-revision", "3"]);
    assert!(said.ends_with("1 change made; this is configuration 4, in place of 3\n"), "{said}");
    let answer = cell.ask("POST", "/api/v1/config?if_revision=3", text.as_bytes()).expect("an answer");
    assert_eq!(answer.status, 409, "{}", String::from_utf8_lossy(&answer.body));
    let answer = cell.ask("POST", "/api/v1/config?if_revision=x", text.as_bytes()).expect("an answer");
    assert_eq!(answer.status, 400);
    // What is no text is a bad file like any other.
    let binary = scratch.join("bin.toml");
    std::fs::write(&binary, [0xff, 0xfe, 0]).expect("the test's directory can be written");
    let said = cell.muster(&["apply", &binary.display().to_string()]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.talk.contains("M1009") && said.talk.contains("UTF-8"), "{said:?}");
    cell.stop();
}

#[test]
fn going_back_is_a_new_configuration_that_says_what_it_changes_before_it_does() {
    let scratch = Scratch::new();
    let (cell, texts) = start(&scratch);
    let dry = cell.must(&["config", "rollback", "1", "--dry-run"]);
    assert_eq!(dry, "shop/s2: weight changes from 7 to 2\n1 change would be made; nothing has changed\n");
    assert_eq!(cell.muster(&["config", "rollback", "1"]).code, Some(2), "nobody is there to be asked");
    assert_eq!((cell.status().config_revision, cell.member("shop", "s2").weight), (3, 7));

    let done = cell.muster(&["config", "rollback", "1", "--yes"]);
    assert_eq!(done.code, Some(0), "{done:?}");
    let told =
        "shop/s2: weight changes from 7 to 2\n1 change made; this is configuration 4, with the text of 1\n";
    assert_eq!(done.data, told);
    assert!(done.talk.contains("muster config show"), "{done:?}");
    assert_eq!((cell.status().config_revision, cell.member("shop", "s2").weight), (4, 2));
    assert_eq!(cell.must(&["config", "show"]), texts[0]);
    let log: Vec<ConfigRevision> =
        serde_json::from_str(&cell.must(&["config", "log", "--json", "-n", "1"])).expect("a list");
    assert_eq!((log[0].revision, log[0].back_to, log[0].changes.len()), (4, Some(1), 1), "{log:?}");
    assert!(cell.must(&["config", "log"]).contains("\n    back to configuration 1\n"));

    let again = cell.muster(&["config", "rollback", "1", "--yes"]);
    assert_eq!((again.code, again.data.as_str()), (Some(0), ""), "{again:?}");
    assert!(again.talk.contains("configuration 4 has this text already"), "{again:?}");
    let forth: Applied =
        serde_json::from_str(&cell.must(&["config", "rollback", "2", "--yes", "--json"])).expect("an object");
    assert_eq!((forth.revision, forth.changes.len()), (5, 1), "{forth:?}");
    assert_eq!(cell.member("shop", "s2").weight, 7);
    let mistyped = cell.ask("POST", "/api/v1/config/history/1/rollback?dryrun=true", b"").expect("an answer");
    assert_eq!((mistyped.status, cell.status().config_revision), (400, 5));
    assert_eq!(http::get(cell.router, "/healthz").expect("it serves throughout").status, 200);
    cell.stop();
}

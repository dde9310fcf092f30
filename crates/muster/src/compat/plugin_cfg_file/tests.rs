//! A file is replaced whole, only by a right one, and nothing is left behind.

use super::*;
use std::os::unix::fs::PermissionsExt as _;

fn directory(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("muster-plugin-cfg-{name}-{}", std::process::id()));
    fs::create_dir_all(&path).expect("a temporary directory can be made");
    path
}

fn text(interval: u32) -> String {
    format!(
        "<Config RefreshInterval=\"{interval}\"><ServerCluster Name=\"c\"><Server Name=\"s\" ConnectTimeout=\"5\">\
         <Transport Hostname=\"h\" Port=\"80\"/></Server></ServerCluster><Route ServerCluster=\"c\"/></Config>"
    )
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).expect("ours").map(|entry| entry.expect("ours").file_name());
    let mut names: Vec<String> = entries.map(|name| name.to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn the_last_good_file_is_kept_and_nothing_else() {
    let directory = directory("kept");
    let path = directory.join("plugin-cfg.xml");
    assert_eq!(publish(&path, &text(1)).expect("written"), Published::Replaced);
    assert_eq!(names(&directory), ["plugin-cfg.xml"]);
    assert_eq!(publish(&path, &text(2)).expect("written"), Published::Replaced);
    assert_eq!(names(&directory), ["plugin-cfg.xml", "plugin-cfg.xml.last-good"]);
    assert_eq!(fs::read_to_string(beside(&path, "last-good")).expect("there"), text(1));
    assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o644);
    // A file that somebody broke is replaced and is no good copy.
    fs::write(&path, "<Config").expect("ours");
    assert_eq!(publish(&path, &text(3)).expect("written"), Published::Replaced);
    assert_eq!(fs::read_to_string(beside(&path, "last-good")).expect("there"), text(1));
    fs::remove_dir_all(&directory).expect("ours");
}

#[test]
fn only_a_right_text_replaces_anything() {
    let directory = directory("right");
    let path = directory.join("plugin-cfg.xml");
    publish(&path, &text(1)).expect("written");
    for wrong in
        ["<Config", "<Config RefreshInterval=\"x\"/>", "<Config><Route ServerCluster=\"gone\"/></Config>"]
    {
        let error = publish(&path, wrong).expect_err("wrong");
        assert!(matches!(error, PublishError::Wrong { .. }), "{error}");
    }
    assert_eq!(fs::read_to_string(&path).expect("there"), text(1));
    assert_eq!(names(&directory), ["plugin-cfg.xml"]);
    fs::remove_dir_all(&directory).expect("ours");
}

#[test]
fn comments_are_written_but_are_no_change() {
    let directory = directory("comments");
    let path = directory.join("plugin-cfg.xml");
    publish(&path, &text(1)).expect("written");
    assert_eq!(publish(&path, &text(1)).expect("written"), Published::Same);
    let commented = text(1).replace("<Route", "<!-- new --><Route");
    assert_eq!(publish(&path, &commented).expect("written"), Published::Same);
    assert_eq!(fs::read_to_string(&path).expect("there"), commented);
    fs::remove_dir_all(&directory).expect("ours");
}

#[test]
fn a_failure_leaves_nothing_behind() {
    let directory = directory("failure");
    let path = directory.join("plugin-cfg.xml");
    fs::create_dir(&path).expect("ours");
    let error = publish(&path, &text(1)).expect_err("a directory is in the way");
    assert!(matches!(error, PublishError::Write { .. }), "{error}");
    assert_eq!(names(&directory), ["plugin-cfg.xml"]);
    let missing = directory.join("missing/plugin-cfg.xml");
    assert!(publish(&missing, &text(1)).is_err());
    fs::remove_dir_all(&directory).expect("ours");
}

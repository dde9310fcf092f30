//! plugin-cfg.xml on the command line and of a running cell: exit codes, what is written, and the change script.

mod support;

use serde_json::Value;
use std::fs;
use std::path::Path;
use support::cell::{Cell, muster, shop_tables};
use support::{Scratch, free_address, wait_for};

fn file(clone: &str, uri: &str, interval: &str) -> String {
    format!(
        "<Config RefreshInterval=\"{interval}\">
  <VirtualHostGroup Name=\"hosts\"><VirtualHost Name=\"*:80\"/></VirtualHostGroup>
  <ServerCluster Name=\"shop\"><Server Name=\"server\" CloneID=\"{clone}\" ConnectTimeout=\"5\" ServerIOTimeout=\"900\">
    <Transport Hostname=\"{clone}.example\" Port=\"9080\" Protocol=\"http\"/></Server></ServerCluster>
  <UriGroup Name=\"uris\"><Uri Name=\"{uri}\"/></UriGroup>
  <Route ServerCluster=\"shop\" UriGroup=\"uris\" VirtualHostGroup=\"hosts\"/>
</Config>
"
    )
}

fn names(directory: &Path, beginning: &str) -> Vec<String> {
    let entries = fs::read_dir(directory).expect("ours").map(|entry| entry.expect("ours").file_name());
    let mut names: Vec<String> = entries.map(|name| name.to_string_lossy().into_owned()).collect();
    names.retain(|name| name.starts_with(beginning));
    names.sort();
    names
}

#[test]
fn files_are_judged_compared_merged_and_explained() {
    let scratch = Scratch::new();
    let write = |name: &str, text: &str| scratch.write(name, text).display().to_string();
    let (a, b) = (write("a.xml", &file("c1", "/x/*", "60")), write("b.xml", &file("c2", "/x/*", "61")));
    let said = muster(&["plugin-cfg", "check", &a]);
    assert_eq!(said.code, Some(0), "{said:?}");
    let wrong = write(
        "wrong.xml",
        &file("c1", "/x/*", "60").replace("VirtualHostGroup=\"hosts\"", "VirtualHostGroup=\"gone\""),
    );
    let said = muster(&["plugin-cfg", "check", &wrong]);
    assert!(said.code == Some(1) && said.data.contains("wrong.xml:6:3: error:"), "{said:?}");
    let broken = write("broken.xml", "<Config>\n<Log>\n</Config>");
    let said = muster(&["plugin-cfg", "check", &broken]);
    assert!(said.code == Some(1) && said.talk.contains("line 3, column 1"), "{said:?}");
    assert_eq!(muster(&["plugin-cfg", "check", "/no/such/file"]).code, Some(2));
    let json = muster(&["plugin-cfg", "check", "--json", &wrong]);
    let found: Value = serde_json::from_str(&json.data).expect("JSON");
    let all = found["findings"].as_array().expect("a list").iter();
    let errors: Vec<u64> =
        all.filter(|one| one["severity"] == "error").filter_map(|one| one["line"].as_u64()).collect();
    assert_eq!((&found["ok"], errors.as_slice()), (&Value::Bool(false), [6].as_slice()), "{found:#}");

    assert_eq!(muster(&["plugin-cfg", "diff", &a, &a]).code, Some(0));
    let said = muster(&["plugin-cfg", "diff", &a, &b]);
    assert!(said.code == Some(1) && said.data.contains("*:80 /x/*: c1 -> c2"), "{said:?}");
    assert_eq!(muster(&["plugin-cfg", "diff", &a, &broken]).code, Some(2));

    let merged = scratch.join("merged.xml").display().to_string();
    let said = muster(&["plugin-cfg", "merge", &a, &b, "--output", &merged]);
    assert!(said.code == Some(0) && said.talk.contains("RefreshInterval"), "{said:?}");
    let told = muster(&["plugin-cfg", "diff", "--routes-only", &a, &merged]);
    assert!(told.data.contains("c1 -> c1 c2"), "{told:?}");
    assert_eq!(muster(&["plugin-cfg", "merge", &a]).code, Some(2));

    let url = "http://any.example/x/y";
    let said = muster(&["plugin-cfg", "explain", url, &merged, "--cookie", "JSESSIONID=0000abc:c2"]);
    assert!(said.code == Some(0) && said.data.contains("server        server_1"), "{said:?}");
    assert_eq!(muster(&["plugin-cfg", "explain", "http://any.example/y", &merged]).code, Some(1));
    assert_eq!(muster(&["plugin-cfg", "explain", "no url", &merged]).code, Some(2));
}

#[test]
fn a_running_cell_is_written_with_its_members() {
    let scratch = Scratch::new();
    let cell = Cell::start(&scratch, &shop_tables(&[("s1", 2), ("s2", 2)]));
    cell.wait_until_all_up("shop");
    let path = scratch.join("plugin-cfg.xml").display().to_string();
    let config = cell.config.display().to_string();
    let said = muster(&["plugin-cfg", "write", &path, "--config", &config]);
    assert_eq!(said.code, Some(0), "{said:?}");
    let text = fs::read_to_string(&path).expect("it was written");
    assert!(text.contains("LoadBalanceWeight=\"20\"") && text.contains("LoadBalanceWeight=\"19\""), "{text}");
    assert_eq!(muster(&["plugin-cfg", "check", &path]).code, Some(0));
    let said = muster(&["plugin-cfg", "write", &path, "--config", &config, "--router", "gone"]);
    assert!(said.code == Some(1) && said.talk.contains("There is no router gone"), "{said:?}");
    assert_eq!(names(scratch.path(), "plugin-cfg"), ["plugin-cfg.xml"]);
}

#[test]
fn a_router_keeps_a_file_of_all_routers_and_runs_the_script() {
    let scratch = Scratch::new();
    let (path, seen) = (scratch.join("dmz.xml"), scratch.join("seen"));
    let other = free_address();
    let more = format!(
        "[routers.second]\nlisten = [\"{other}\"]\n[routers.second.plugin_cfg]\npath = {path:?}\n\
         change_script = [\"/bin/sh\", \"-c\", \"cp $MUSTER_PLUGIN_CFG {}\"]\n",
        seen.display()
    );
    let tables = format!("{}\n{more}", shop_tables(&[("s1", 2)]));
    let cell = Cell::start(&scratch, &tables);
    cell.wait_until_all_up("shop");
    wait_for("the script to run", || fs::read(&seen).map_err(|error| error.to_string()));
    let text = fs::read_to_string(&path).expect("it is written before the script runs");
    assert!(
        text.contains("Name=\"second\"") && text.contains(&format!("Port=\"{}\"", other.port())),
        "{text}"
    );
    for router in cell.status().routers {
        assert!(text.contains(&format!("<Server Name=\"{}\"/>", router.router)), "{}: {text}", router.router);
    }
    // Another route: the file changes, the old one stays beside it, nothing else is left.
    fs::remove_file(&seen).expect("ours");
    cell.apply(&[("[routers.second]\n", "[routers.second]\nadvertise = \"second.example\"\n")]);
    wait_for("the script to run again", || fs::read(&seen).map_err(|error| error.to_string()));
    let text = fs::read_to_string(&path).expect("there");
    assert!(text.contains("Hostname=\"second.example\""), "{text}");
    assert_eq!(names(scratch.path(), "dmz"), ["dmz.xml", "dmz.xml.last-good"]);
}

//! Stories of a simulated cell with their complete histories: each file in `scenarios/` is a script, a line of dashes,
//! and what happens. `UPDATE_EXPECT=1` writes the histories anew.

use expect_test::expect_file;

fn check(name: &str) {
    let path = format!("{}/tests/scenarios/{name}.txt", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).expect("the scenario is part of the project");
    let script = text.split("\n----\n").next().expect("split gives at least one part").trim_end();
    let history = sim::run_scenario(script).expect("the script is understood");
    expect_file![path].assert_eq(&format!("{script}\n----\n{history}"));
}

#[test]
fn kill() {
    check("kill");
}

#[test]
fn hang() {
    check("hang");
}

#[test]
fn hung() {
    check("hung");
}

#[test]
fn slow_start() {
    check("slow-start");
}

#[test]
fn give_up() {
    check("give-up");
}

#[test]
fn rolling_restart() {
    check("rolling-restart");
}

#[test]
fn drain() {
    check("drain");
}

#[test]
fn manager_lost() {
    check("manager-lost");
}

#[test]
fn ten_minutes_alone() {
    check("ten-minutes-alone");
}

#[test]
fn agent_lost() {
    check("agent-lost");
}

#[test]
fn apply() {
    check("apply");
}

#[test]
fn split() {
    check("split");
}

#[test]
fn every_scenario_is_run() {
    let files = std::fs::read_dir(format!("{}/tests/scenarios", env!("CARGO_MANIFEST_DIR")));
    let source = include_str!("scenarios.rs");
    for file in files.expect("the scenarios are part of the project") {
        let name =
            file.expect("the directory can be read").file_name().into_string().expect("names are plain");
        let name = name.trim_end_matches(".txt");
        assert!(source.contains(&format!("check(\"{name}\")")), "{name} is not run");
    }
}

#[test]
fn a_script_that_is_not_understood_names_its_line() {
    let wrong = sim::run_scenario("nodes 1\nmember shop-1 node 1 weight 1\nat 1 dance shop-1");
    assert_eq!(wrong, Err("not understood: at 1 dance shop-1".into()));
    assert_eq!(sim::run_scenario("nodes one"), Err("not understood: nodes one".into()));
}

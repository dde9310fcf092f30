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

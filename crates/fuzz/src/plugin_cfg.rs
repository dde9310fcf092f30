//! plugin-cfg.xml: what was read and written again is read as the same, and written as the same.

use logic::plugin_cfg::read;

pub fn check(bytes: &[u8]) {
    let Ok(document) = read(bytes) else { return };
    let written = document.file.write();
    let again = read(written.as_bytes()).unwrap_or_else(|error| panic!("{error}: what we wrote:\n{written}"));
    assert_eq!(again.file.write(), written, "written twice, it is another file");
    let told = |problems: &[logic::plugin_cfg::Problem]| -> Vec<String> {
        problems.iter().map(|problem| problem.what.clone()).collect()
    };
    assert_eq!(told(&again.problems), told(&document.problems));
}

//! What documents for users show is right: every TOML example that is a complete file is accepted.
//!
//! An example is complete when it has routers and members. Parts of files are shown beside it and are not judged here.

use super::parse;
use std::fs;
use std::path::{Path, PathBuf};

/// Less would mean that the examples were not found, or that documents have lost them.
const EXAMPLES_MIN: usize = 10;

#[test]
fn every_complete_example_of_the_documents_is_right() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut judged = 0;
    for path in documents(&root) {
        let text = fs::read_to_string(&path).expect("the document can be read");
        for example in examples(&text).filter(|example| is_complete(example)) {
            if let Err(problems) = parse(&example) {
                panic!("{}:\n{problems}\nin\n{example}", path.display());
            }
            judged += 1;
        }
    }
    assert!(judged >= EXAMPLES_MIN, "only {judged} complete examples were found");
}

fn documents(root: &Path) -> Vec<PathBuf> {
    let operate = fs::read_dir(root.join("docs/operate")).expect("the repository has docs/operate");
    let mut paths: Vec<PathBuf> =
        operate.map(|entry| entry.expect("the directory can be read").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|ending| ending == "md"));
    paths.push(root.join("README.md"));
    paths.sort();
    paths
}

fn examples(text: &str) -> impl Iterator<Item = String> + '_ {
    text.split("\n```toml\n").skip(1).map(|rest| {
        let end = rest.find("\n```").expect("the example has an end");
        format!("{}\n", &rest[..end])
    })
}

fn is_complete(example: &str) -> bool {
    example.contains("[routers.") && example.contains(".members.")
}

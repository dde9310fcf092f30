//! The committed pages are those that would be made now, and the examples of the guides are right.

use crate::config::definitions::SECTIONS;
use crate::config::{reference, schema};
use serde_json::Value;

#[test]
fn committed_reference_is_the_one_that_would_be_made_now() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/configuration.md");
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(file, reference::page()).expect("the repository can be written");
    }
    let committed = std::fs::read_to_string(file).unwrap_or_default();
    assert!(
        committed == reference::page(),
        "docs/reference/configuration.md is stale: muster reference > docs/reference/configuration.md"
    );
}

#[test]
fn schema_has_every_key_in_its_place() {
    let schema = schema::schema();
    for section in SECTIONS {
        let mut place = &schema;
        for part in section.path.split('.').filter(|part| !part.is_empty()) {
            place = match part {
                "*" => &place["additionalProperties"],
                name => &place["properties"][name],
            };
            if place["type"] == "array" {
                place = &place["items"];
            }
        }
        assert_eq!(place["additionalProperties"], Value::Bool(false), "{} takes unknown keys", section.path);
        for definition in section.definitions() {
            assert!(place["properties"][definition.name].is_object(), "{}.{}", section.path, definition.name);
        }
    }
}

/// What an example leaves out because it is about something else: a router, the clusters and the machines that it names, a member.
fn completed(example: &str) -> String {
    // A cell of groups needs nothing else.
    if example.contains("[groups.") {
        return example.to_owned();
    }
    let mut text = example.to_owned();
    let mut clusters: Vec<&str> =
        example.split("[clusters.").skip(1).filter_map(|rest| rest.split(['.', ']']).next()).collect();
    let named = example.lines().filter(|line| line.starts_with("cluster") || line.starts_with("levels"));
    let named = named.flat_map(|line| line.split('"').skip(1).step_by(2));
    // Those of other cells have no members here.
    clusters.extend(named.filter(|name| !name.contains('@')));
    clusters.extend(clusters.is_empty().then_some("shop"));
    clusters.sort_unstable();
    clusters.dedup();
    if clusters.len() > 1 && !example.contains("routes]]") {
        text += &format!("\n[[routers.front.routes]]\ncluster = \"{}\"\n", clusters[0]);
    }
    let several = example.lines().filter(|line| line.starts_with("nodes = "));
    let nodes: Vec<&str> = several.flat_map(|line| line.split('"').skip(1).step_by(2)).collect();
    for (place, node) in
        nodes.iter().enumerate().filter(|(_, node)| !example.contains(&format!("[nodes.{node}]")))
    {
        text += &format!("\n[nodes.{node}]\naddress = \"10.0.1.{place}\"\n");
    }
    if nodes.len() > 1 && !example.contains("[store]") {
        text += "\n[store]\nkind = \"etcd\"\nservers = [\"10.0.0.4:2379\"]\n";
    }
    let place = if nodes.len() > 1 { format!("node = \"{}\"\n", nodes[0]) } else { String::new() };
    for cluster in clusters {
        if !example.contains(&format!("[clusters.{cluster}.members.")) {
            text += &format!("\n[clusters.{cluster}.members.one]\naddress = \"10.0.0.1:8080\"\n{place}");
        }
    }
    if !example.contains("listen = [") && !example.contains("listeners]]") {
        text += &format!("\n[routers.front]\nlisten = [\"0.0.0.0:8080\"]\n{place}");
    }
    text
}

#[test]
fn the_examples_of_the_guides_are_right() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/operate");
    let mut examples = 0;
    for file in std::fs::read_dir(directory).expect("the guides are there") {
        let path = file.expect("the directory can be read").path();
        let text = std::fs::read_to_string(&path).expect("a guide can be read");
        for block in text.split("\n```toml\n").skip(1) {
            let example = block.split("\n```").next().expect("a block ends");
            let whole = completed(example);
            if let Err(problems) = super::parse(&whole) {
                panic!("an example of {} is wrong: {problems}\nin\n{whole}", path.display());
            }
            examples += 1;
        }
    }
    assert!(examples > 8, "{examples} examples: they are not found");
}

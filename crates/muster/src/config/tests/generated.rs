//! The committed pages are those that would be made now.

use crate::config::definitions::SECTIONS;
use crate::config::{reference, schema};
use serde_json::Value;

#[test]
fn committed_reference_is_the_one_that_would_be_made_now() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/configuration.md");
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

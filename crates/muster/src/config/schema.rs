//! The JSON schema of the configuration, for editors that complete and check while one types. Draft 2020-12.
//!
//! Made from the definitions. It says less than `muster check`: nothing that takes more than one key to judge.

use super::definition::{Preset, Repeats, Section};
use super::definitions::SECTIONS;
use super::kind::{Form, Kind};
use serde_json::{Map, Value, json};

pub fn schema() -> Value {
    let mut schema = table(&SECTIONS[0]);
    schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    schema["title"] = json!("Configuration of a Muster cell");
    schema["required"] = json!(["routers", "clusters"]);
    schema
}

fn table(section: &Section) -> Value {
    let mut properties = Map::new();
    for definition in section.definitions() {
        let mut schema = definition.kind.schema();
        schema["description"] =
            json!(format!("{} Default: {}.", definition.doc, definition.preset.describe()));
        match definition.preset {
            Preset::Integer(number) => schema["default"] = json!(number),
            Preset::Boolean(flag) => schema["default"] = json!(flag),
            Preset::Text(text) => schema["default"] = json!(text),
            Preset::EmptyList => schema["default"] = json!([]),
            Preset::Required | Preset::Else(_) => {}
        }
        properties.insert(definition.name.to_owned(), schema);
    }
    for child in section.children(SECTIONS) {
        properties.insert(child.name().to_owned(), repeated(child));
    }
    let mut schema = json!({
        "type": "object",
        "description": section.doc,
        "properties": properties,
        "additionalProperties": false,
    });
    let required: Vec<&str> = section
        .definitions()
        .filter(|definition| definition.preset == Preset::Required)
        .map(|definition| definition.name)
        .collect();
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    schema
}

fn repeated(section: &Section) -> Value {
    match section.repeats {
        Repeats::Once => table(section),
        Repeats::Named { most } => json!({
            "type": "object",
            "description": section.doc,
            "maxProperties": most,
            "propertyNames": Kind::Text(Form::Name).schema(),
            "additionalProperties": table(section),
        }),
        Repeats::Listed { most } => json!({
            "type": "array",
            "description": section.doc,
            "maxItems": most,
            "items": table(section),
        }),
    }
}

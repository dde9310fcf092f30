//! Reads keys of one table with their defaults, so that each default is said once, in the definitions.
//!
//! Only for documents that `shape` has found right: a value of the wrong kind is then our own mistake, and asserted.

use super::definition::{Preset, Section};
use super::definitions::SECTIONS;
use super::document::{Data, Table, Value};
use super::problem::KeyPath;
use std::collections::BTreeMap;
use wire::group::OptionValue;

/// A table, and the tables that stand in for keys that it lacks; the first that has a key wins.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    section: &'static Section,
    places: Vec<(KeyPath, Option<&'a Table>)>,
}

impl<'a> Reader<'a> {
    /// `places` are the ways to the tables, the table itself first; those that are not written count as empty.
    pub fn new(section_path: &str, places: Vec<(KeyPath, Option<&'a Table>)>) -> Self {
        let section = SECTIONS.iter().find(|section| section.path == section_path);
        Self { section: section.expect("only tables that are defined are read"), places }
    }

    /// Where `key` is written; where it belongs if it is not.
    pub fn path(&self, key: &str) -> KeyPath {
        let has_key = |(_, table): &&(KeyPath, Option<&Table>)| table.is_some_and(|it| it.get(key).is_some());
        self.places
            .iter()
            .find(has_key)
            .map_or_else(|| self.places[0].0.with(key), |(path, _)| path.with(key))
    }

    /// Whether the table itself says `key`.
    pub fn says(&self, key: &str) -> bool {
        self.own().is_some_and(|table| table.get(key).is_some())
    }

    /// Whether `key` is written in any of the tables.
    pub fn has(&self, key: &str) -> bool {
        self.written(key).is_some()
    }

    fn own(&self) -> Option<&'a Table> {
        self.places[0].1
    }

    fn written(&self, key: &str) -> Option<&'a Data> {
        self.places.iter().find_map(|(_, table)| table.and_then(|table| table.get(key)))
    }

    fn preset(&self, key: &str) -> Preset {
        self.section.definition(key).expect("only keys that are defined are read").preset
    }

    /// A value as it may stand in the file, for people.
    pub fn example(&self, key: &str) -> &'static str {
        self.section.definition(key).expect("only keys that are defined are read").example
    }

    /// Whether `key` is written, and says something else than its default.
    pub fn departs(&self, key: &str) -> bool {
        match (self.written(key), self.preset(key)) {
            (None, _) => false,
            (Some(Data::Integer(number)), Preset::Integer(preset)) => u64::try_from(*number) != Ok(preset),
            (Some(Data::Boolean(flag)), Preset::Boolean(preset)) => *flag != preset,
            (Some(Data::Text(text)), Preset::Text(preset)) => text != preset,
            (Some(Data::List(items)), Preset::EmptyList) => !items.is_empty(),
            (Some(_), _) => true,
        }
    }

    pub fn integer(&self, key: &str) -> u64 {
        match (self.written(key), self.preset(key)) {
            (Some(Data::Integer(number)), _) => {
                u64::try_from(*number).expect("every range begins at 0 or above")
            }
            (None, Preset::Integer(number)) => number,
            (found, preset) => panic!("{key} is defined as {preset:?} and was read as {found:?}"),
        }
    }

    pub fn small_integer(&self, key: &str) -> u32 {
        u32::try_from(self.integer(key)).expect("the range of every count fits 32 bits")
    }

    pub fn boolean(&self, key: &str) -> bool {
        match (self.written(key), self.preset(key)) {
            (Some(Data::Boolean(flag)), _) => *flag,
            (None, Preset::Boolean(flag)) => flag,
            (found, preset) => panic!("{key} is defined as {preset:?} and was read as {found:?}"),
        }
    }

    /// A text that has a default.
    pub fn text(&self, key: &str) -> String {
        self.text_if_any(key).expect("a text is written, or has a default")
    }

    pub fn text_if_any(&self, key: &str) -> Option<String> {
        match (self.written(key), self.preset(key)) {
            (Some(Data::Text(text)), _) => Some(text.clone()),
            (None, Preset::Text(text)) => Some(text.to_owned()),
            (None, Preset::Else(_) | Preset::Required) => None,
            (found, preset) => panic!("{key} is defined as {preset:?} and was read as {found:?}"),
        }
    }

    /// Empty where nothing is written.
    pub fn list(&self, key: &str) -> Vec<String> {
        let Some(Data::List(items)) = self.written(key) else { return Vec::new() };
        let texts = items.iter().filter_map(|item| match &item.data {
            Data::Text(text) => Some(text.clone()),
            _ => None,
        });
        texts.collect()
    }

    /// Empty where nothing is written.
    pub fn lists(&self, key: &str) -> Vec<Vec<String>> {
        let Some(Data::List(lists)) = self.written(key) else { return Vec::new() };
        let text = |item: &Value| match &item.data {
            Data::Text(text) => Some(text.clone()),
            _ => None,
        };
        let list = |list: &Value| match &list.data {
            Data::List(items) => Some(items.iter().filter_map(text).collect()),
            _ => None,
        };
        lists.iter().filter_map(list).collect()
    }

    /// Variables of all tables together; the first that has a variable wins.
    pub fn variables(&self, key: &str) -> BTreeMap<String, String> {
        let mut all = BTreeMap::new();
        for (_, table) in self.places.iter().rev() {
            let Some(variables) = table.and_then(|table| table.table(key)) else { continue };
            for entry in &variables.0 {
                if let Data::Text(text) = &entry.value.data {
                    all.insert(entry.key.clone(), text.clone());
                }
            }
        }
        all
    }

    /// As it is written, or its default if that is a value.
    pub fn option(&self, key: &str) -> Option<OptionValue> {
        match (self.written(key), self.preset(key)) {
            (Some(data), _) => option(data),
            (None, Preset::Integer(number)) => i64::try_from(number).ok().map(OptionValue::Number),
            (None, Preset::Boolean(flag)) => Some(OptionValue::Flag(flag)),
            (None, Preset::Text(text)) => Some(OptionValue::Text(text.to_owned())),
            (None, Preset::EmptyList) => Some(OptionValue::List(Vec::new())),
            (None, Preset::Required | Preset::Else(_)) => None,
        }
    }
}

fn option(data: &Data) -> Option<OptionValue> {
    let text = |data: &Data| match data {
        Data::Text(text) => Some(text.clone()),
        _ => None,
    };
    match data {
        Data::Integer(number) => Some(OptionValue::Number(*number)),
        Data::Boolean(flag) => Some(OptionValue::Flag(*flag)),
        Data::List(items) => {
            Some(OptionValue::List(items.iter().filter_map(|item| text(&item.data)).collect()))
        }
        Data::Table(table) => {
            let entries = table.0.iter();
            let entries = entries.filter_map(|entry| Some((entry.key.clone(), text(&entry.value.data)?)));
            Some(OptionValue::Table(entries.collect()))
        }
        data => text(data).map(OptionValue::Text),
    }
}

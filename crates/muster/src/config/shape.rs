//! Compares a file with the definitions: unknown keys, wrong types, values out of range, too many tables.
//!
//! Pure. Promise: a document without problems here has only known keys, each of its kind, so that `settings` can
//! read it without looking again. Not here: what takes more than one key to judge.

use super::definition::{Definition, Preset, Repeats, Section};
use super::definitions::SECTIONS;
use super::document::{At, Data, Document, Table, Value};
use super::problem::{KeyPath, Problem, Problems};
use super::suggest;
use wire::error_code;

pub fn check(document: &Document<'_>) -> Problems {
    let mut checker = Checker { document, problems: Problems::default() };
    let root = &SECTIONS[0];
    checker.table(root, &KeyPath::default(), &document.root);
    checker.problems
}

struct Checker<'a> {
    document: &'a Document<'a>,
    problems: Problems,
}

impl Checker<'_> {
    fn table(&mut self, section: &'static Section, path: &KeyPath, table: &Table) {
        for entry in &table.0 {
            let at = path.with(&entry.key);
            if let Some(definition) = section.definition(&entry.key) {
                self.value(definition, &at, &entry.value);
            } else if let Some(child) = section.children(SECTIONS).find(|child| child.name() == entry.key) {
                self.child(child, &at, &entry.value);
            } else {
                self.unknown(section, path, &entry.key);
            }
        }
        for definition in section.definitions() {
            if definition.preset == Preset::Required && table.get(definition.name).is_none() {
                self.missing(definition, &path.with(definition.name));
            }
        }
    }

    fn value(&mut self, definition: &Definition, path: &KeyPath, value: &Value) {
        let Err(refusal) = definition.kind.check(definition.name, value) else { return };
        let exact = refusal.within.as_deref().map_or_else(|| path.clone(), |part| path.with(part));
        let problem = self
            .document
            .problem(refusal.code, &exact, At::Value, refusal.message)
            .allowing(definition.kind.allowed())
            .suggesting(refusal.suggestion.map(|text| format!("`{text}`")));
        self.problems.push(problem);
    }

    fn missing(&mut self, definition: &Definition, path: &KeyPath) {
        let message = format!("`{}` is missing", definition.name);
        let problem = self.document.problem(error_code::CONFIG_MISSING, path, At::Key, message);
        let meant = format!("`{} = {}`", definition.name, definition.example);
        self.problems.push(problem.allowing(definition.kind.allowed()).suggesting(Some(meant)));
    }

    fn child(&mut self, child: &'static Section, path: &KeyPath, value: &Value) {
        match (child.repeats, &value.data) {
            (Repeats::Once, Data::Table(table)) => self.table(child, path, table),
            (Repeats::Named { most }, Data::Table(names)) => {
                self.count(names.0.len(), most, path);
                for entry in names.0.iter().take(most) {
                    self.named(child, &path.with(&entry.key), &entry.key, &entry.value);
                }
            }
            (Repeats::Listed { most }, Data::List(items)) => {
                self.count(items.len(), most, path);
                for (index, item) in items.iter().take(most).enumerate() {
                    let at = path.with(&format!("[{index}]"));
                    match &item.data {
                        Data::Table(table) => self.table(child, &at, table),
                        found => self.not_a_table(child, &at, found),
                    }
                }
            }
            (_, found) => self.not_a_table(child, path, found),
        }
    }

    fn named(&mut self, child: &'static Section, path: &KeyPath, name: &str, value: &Value) {
        let form = super::kind::Form::Name;
        if let Err(refusal) = form.check(name) {
            let problem = self
                .document
                .problem(refusal.code, path, At::Key, format!("{name:?} is not a valid name"))
                .allowing(form.allowed())
                .suggesting(refusal.suggestion.map(|text| format!("`{text}`")));
            self.problems.push(problem);
        }
        match &value.data {
            Data::Table(table) => self.table(child, path, table),
            found => self.not_a_table(child, path, found),
        }
    }

    fn count(&mut self, count: usize, most: usize, path: &KeyPath) {
        if count > most {
            let message = format!("there are {count} of these, which is too many");
            let problem = self.document.problem(error_code::CONFIG_NOT_ALLOWED, path, At::Key, message);
            self.problems.push(problem.allowing(format!("at most {most}")));
        }
    }

    fn not_a_table(&mut self, child: &Section, path: &KeyPath, found: &Data) {
        let message = format!("this is {}, but must be a table", found.kind());
        let problem = self.document.problem(error_code::CONFIG_WRONG_TYPE, path, At::Key, message);
        self.problems.push(problem.allowing(format!("a table {}", child.header())));
    }

    fn unknown(&mut self, section: &Section, path: &KeyPath, name: &str) {
        let names: Vec<&str> = known_names(section).collect();
        let message = if path.0.is_empty() {
            format!("there is no table `{name}`")
        } else {
            format!("there is no key `{name}` in `{path}`")
        };
        let near = suggest::nearest(name, names.iter().copied()).map(|name| format!("`{name}`"));
        let allowed = if names.is_empty() { "no keys".to_owned() } else { names.join(", ") };
        let problem: Problem = self
            .document
            .problem(error_code::CONFIG_UNKNOWN_KEY, &path.with(name), At::Key, message)
            .allowing(allowed)
            .suggesting(near.or_else(|| elsewhere(section, name)));
        self.problems.push(problem);
    }
}

/// Keys and tables that may stand in a table.
fn known_names(section: &Section) -> impl Iterator<Item = &'static str> {
    let keys = section.definitions().map(|definition| definition.name);
    keys.chain(section.children(SECTIONS).map(Section::name))
}

/// The table to which a key belongs that stands in the wrong one. One of the same kind of thing comes first.
fn elsewhere(section: &Section, name: &str) -> Option<String> {
    let top = section.path.split('.').next().unwrap_or("");
    let has_name = |other: &&Section| known_names(other).any(|known| known == name);
    let near = |other: &&Section| other.path.split('.').next() == Some(top);
    let found = SECTIONS.iter().filter(has_name).find(near).or_else(|| SECTIONS.iter().find(has_name))?;
    Some(format!(
        "`{name}` in `{}`",
        if found.path.is_empty() { "the file".to_owned() } else { found.header() }
    ))
}

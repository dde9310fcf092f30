//! The shape of a definition: one key or table of the configuration, as data.
//!
//! Checks, defaults, JSON schema and reference page all come from these, so that each is said once.
//! Not here: the definitions themselves (see `definitions`).

use super::kind::Kind;

/// A table of the file.
#[derive(Debug, Clone, Copy)]
pub struct Section {
    /// Its place: `clusters.*.members.*.log`. `*` is a name that the user chooses. Empty for the file itself.
    pub path: &'static str,
    pub repeats: Repeats,
    /// Sentences for the reference.
    pub doc: &'static str,
    /// In the order of the reference; more than one part where tables share keys.
    pub keys: &'static [&'static [Definition]],
}

/// How often a table may stand in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeats {
    /// `[cell]`
    Once,
    /// `[nodes.NAME]`, at most so many names.
    Named { most: usize },
    /// `[[routers.NAME.routes]]`, at most so many.
    Listed { most: usize },
}

#[derive(Debug, Clone, Copy)]
pub struct Definition {
    pub name: &'static str,
    pub kind: Kind,
    pub preset: Preset,
    /// Sentences for the reference.
    pub doc: &'static str,
    /// A value as it stands in the file.
    pub example: &'static str,
}

/// What holds when a key is not written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preset {
    Integer(u64),
    Boolean(bool),
    Text(&'static str),
    EmptyList,
    /// It must be written.
    Required,
    /// Something that depends on the rest, for people.
    Else(&'static str),
}

impl Section {
    pub fn definitions(&self) -> impl Iterator<Item = &'static Definition> + use<> {
        self.keys.iter().flat_map(|part| part.iter())
    }

    pub fn definition(&self, name: &str) -> Option<&'static Definition> {
        self.definitions().find(|definition| definition.name == name)
    }

    /// The last part of its path: what stands in the table above.
    pub fn name(&self) -> &'static str {
        let path = self.path.strip_suffix(".*").unwrap_or(self.path);
        path.rsplit('.').next().unwrap_or(path)
    }

    /// The path of the table above it.
    fn parent(&self) -> &'static str {
        let path = self.path.strip_suffix(".*").unwrap_or(self.path);
        path.rsplit_once('.').map_or("", |(parent, _)| parent)
    }

    /// The tables right below it.
    pub fn children<'a>(&self, all: &'a [Section]) -> impl Iterator<Item = &'a Section> + use<'a> {
        let path = self.path;
        all.iter().filter(move |section| !section.path.is_empty() && section.parent() == path)
    }

    /// How its header is written, with `NAME` for what the user chooses.
    pub fn header(&self) -> String {
        let mut path = String::new();
        let mut above = "";
        for part in self.path.split('.') {
            let placeholder = match above {
                "nodes" => "NODE",
                "routers" => "ROUTER",
                "clusters" => "CLUSTER",
                "clients" => "CLIENT",
                "cells" => "CELL",
                "bridges" => "BRIDGE",
                "fences" => "FENCE",
                "groups" => "GROUP",
                "resources" => "RESOURCE",
                "monitors" => "MONITOR",
                _ => "MEMBER",
            };
            if !path.is_empty() {
                path.push('.');
            }
            path.push_str(if part == "*" { placeholder } else { part });
            above = part;
        }
        match self.repeats {
            Repeats::Listed { .. } => format!("[[{path}]]"),
            Repeats::Once | Repeats::Named { .. } => format!("[{path}]"),
        }
    }
}

impl Preset {
    /// For the reference.
    pub fn describe(self) -> String {
        match self {
            Preset::Integer(number) => format!("`{number}`"),
            Preset::Boolean(flag) => format!("`{flag}`"),
            Preset::Text(text) => format!("`{text:?}`"),
            Preset::EmptyList => "`[]`".to_owned(),
            Preset::Required => "must be given".to_owned(),
            Preset::Else(text) => text.to_owned(),
        }
    }
}

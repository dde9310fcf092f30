//! Makes a configuration of Muster from the `clp.conf` of ExpressCluster, as far as there is the same thing; and tells what it
//! did not take, where that stands, and why.
//!
//! Pure. Promises: any bytes give a result or an error with line and column, in bounded time and space; what is not understood
//! is named, never guessed. Not here: whether the configuration made is right, which the reader of configurations judges.

mod groups;
mod monitors;
mod recovery;
mod toml;

use crate::limits::{CLP_CONF_NOTES_MAX, CLP_CONF_OBJECTS_MAX};
use crate::plugin_cfg::ReadError;
use crate::plugin_cfg::read_xml;
use crate::plugin_cfg::xml::{Element, Node, Place};
use std::collections::BTreeSet;
use std::fmt;
use toml::Text;

/// Something that was not taken, or taken otherwise than it stands there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    pub place: Place,
    /// The path of the element, like `group[mail]/fo`.
    pub what: String,
    pub why: String,
}

impl fmt::Display for Note {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "line {}, column {}: {}: {}", self.place.line, self.place.column, self.what, self.why)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// The configuration, as TOML.
    pub text: String,
    /// In the order of the file.
    pub notes: Vec<Note>,
    /// Notes beyond the bound.
    pub left_out: usize,
}

/// `scripts` is the directory that the file's scripts lie in, on every server.
pub fn import(bytes: &[u8], scripts: &str) -> Result<Imported, ReadError> {
    let file = read_xml(bytes)?;
    let root = &file.root;
    if root.name != "root" {
        let what = format!("the file begins with <{}>; a clp.conf begins with <root>", root.name);
        return Err(ReadError::at(root.place, what));
    }
    if root.elements().count() > CLP_CONF_OBJECTS_MAX {
        let what = format!("there are more than {CLP_CONF_OBJECTS_MAX} servers, groups and other objects");
        return Err(ReadError::at(root.place, what));
    }
    let mut import = Import::new(scripts);
    import.cluster(root);
    import.servers(root);
    import.groups(root);
    import.monitors(root);
    import.rest(root, "");
    import.notes.sort_by_key(|note| (note.place.line, note.place.column));
    let left_out = import.notes.len().saturating_sub(CLP_CONF_NOTES_MAX);
    import.notes.truncate(CLP_CONF_NOTES_MAX);
    Ok(Imported { text: import.text.end(), notes: import.notes, left_out })
}

/// Elements that say nothing which Muster would need.
const SILENT: [&str; 9] =
    ["comment", "gid", "objectnumber", "types", "charset", "encode", "serveros", "version", "trekking"];

/// What is being made.
struct Import<'a> {
    scripts: &'a str,
    text: Text,
    notes: Vec<Note>,
    /// Lines and columns of elements that were taken or told about, with all that is in them.
    done: BTreeSet<(u32, u32)>,
    /// By priority.
    servers: Vec<String>,
    /// That were taken.
    groups: Vec<Group>,
}

/// A group that was taken, with the names that the file gives, for the monitors that recover it.
struct Group {
    given: String,
    name: String,
    nodes: Vec<String>,
    /// The name in the file, and that here.
    resources: Vec<(String, String)>,
}

impl<'a> Import<'a> {
    fn new(scripts: &'a str) -> Self {
        let text = Text::default();
        let (notes, done) = (Vec::new(), BTreeSet::new());
        Self { scripts, text, notes, done, servers: Vec::new(), groups: Vec::new() }
    }

    fn note(&mut self, element: &Element, what: impl Into<String>, why: impl Into<String>) {
        self.done.insert((element.place.line, element.place.column));
        self.notes.push(Note { place: element.place, what: what.into(), why: why.into() });
    }

    /// The text at a path of names below an element, which is taken.
    fn take<'b>(&mut self, element: &'b Element, path: &str) -> Option<&'b str> {
        let found = find(element, path)?;
        self.done.insert((found.place.line, found.place.column));
        let text = text_of(found);
        (!text.is_empty()).then_some(text)
    }

    /// The same, as a number.
    fn take_number(&mut self, element: &Element, path: &str) -> Option<u64> {
        let text = self.take(element, path)?;
        let number = text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()));
        if number.is_none()
            && let Some(found) = find(element, path)
        {
            self.note(found, path, format!("`{text}` is no number"));
        }
        number
    }

    /// A name that Muster takes. Others are changed, and that is told.
    fn name(&mut self, element: &Element, what: &str) -> Option<String> {
        let given = element.value("name").unwrap_or_default().trim();
        self.named(element, given, what)
    }

    fn named(&mut self, element: &Element, given: &str, what: &str) -> Option<String> {
        if given.is_empty() {
            self.note(element, what, "it has no name");
            return None;
        }
        let fits = |letter: char| letter.is_ascii_alphanumeric() || "._-".contains(letter);
        let mut name: String =
            given.chars().take(64).map(|letter| if fits(letter) { letter } else { '-' }).collect();
        if !name.starts_with(|letter: char| letter.is_ascii_alphanumeric()) {
            name.insert(0, 'x');
            name.truncate(64);
        }
        if name != given {
            let place = element.place;
            let (what, why) = (format!("{what}[{given}]"), format!("it is called `{name}` here"));
            self.notes.push(Note { place, what, why });
        }
        Some(name)
    }

    fn cluster(&mut self, root: &Element) {
        let Some(cluster) = root.all("cluster").next() else { return };
        if let Some(given) = self.take(cluster, "name").map(str::to_owned)
            && let Some(name) = self.named(cluster, &given, "cluster")
        {
            self.text.table("cell");
            self.text.value("name", &name);
        }
    }

    fn servers(&mut self, root: &Element) {
        let mut servers: Vec<(u64, &Element)> = Vec::new();
        for server in root.all("server") {
            let priority = self.take_number(server, "priority").unwrap_or(u64::MAX);
            servers.push((priority, server));
        }
        servers.sort_by_key(|(priority, _)| *priority);
        if servers.len() > 1 {
            self.text.comment("The manager runs on the first server of this file.");
            self.text.table("manager");
            self.text.value("listen", "0.0.0.0:29001");
        }
        for (_, server) in servers {
            let Some(name) = self.name(server, "server") else { continue };
            if self.servers.contains(&name) {
                self.note(server, format!("server[{name}]"), "there is another one of this name");
                continue;
            }
            self.text.table(&format!("nodes.{}", toml::key(&name)));
            if let Some(address) = self.address(server) {
                self.text.value("address", &address);
            } else {
                let why = "it has no <device> of type lan with an address: give [nodes.NAME] one";
                self.notes.push(Note {
                    place: server.place,
                    what: format!("server[{name}]"),
                    why: why.into(),
                });
            }
            self.servers.push(name);
        }
    }

    /// The first address of a network; further ones are told about.
    fn address(&mut self, server: &Element) -> Option<String> {
        let mut address = None;
        for device in server.all("device") {
            let is_lan = find(device, "type").is_some_and(|kind| text_of(kind) == "lan");
            let info =
                find(device, "info").map(text_of).filter(|info| info.parse::<std::net::IpAddr>().is_ok());
            match (is_lan, info, &address) {
                (true, Some(info), None) => {
                    address = Some(info.to_owned());
                    self.done.insert((device.place.line, device.place.column));
                }
                (true, Some(info), Some(_)) => {
                    let info = info.to_owned();
                    self.note(device, "device", format!("a node has one address; {info} is not used"));
                }
                (_, _, _) => self.note(device, "device", "only networks with an IP address are taken"),
            }
        }
        address
    }

    /// Everything that nobody has taken, each once, at the place that says the most.
    fn rest(&mut self, element: &Element, path: &str) {
        for child in element.elements() {
            let is_silent = SILENT.contains(&child.name.as_str());
            if is_silent || self.done.contains(&(child.place.line, child.place.column)) {
                continue;
            }
            let name = child.value("name").map(|name| format!("[{name}]")).unwrap_or_default();
            let here = format!("{path}{}{name}", child.name);
            match child.elements().next() {
                Some(_) => self.rest(child, &format!("{here}/")),
                None if text_of(child).is_empty() && name.is_empty() => {}
                None => self.note(child, here, why_not(&child.name)),
            }
        }
    }
}

/// Why something was not taken, for what people will ask about.
fn why_not(name: &str) -> &'static str {
    match name {
        "userlog" | "logrotate" | "use" | "size" => {
            "output goes to log/group.NAME.log in the state directory"
        }
        "restart" | "fo" | "fo2" | "action" | "retry" | "migration" => {
            "recovery is configured otherwise: see restarts_max and failovers_max of [groups.NAME]"
        }
        _ => "there is nothing like it, or it is not known",
    }
}

/// The element at a path of names.
fn find<'a>(element: &'a Element, path: &str) -> Option<&'a Element> {
    path.split('/').try_fold(element, |element, name| element.elements().find(|child| child.name == name))
}

/// Text directly in an element, without blanks around it.
fn text_of(element: &Element) -> &str {
    let mut texts = element.children.iter().filter_map(|node| match node {
        Node::Text(text) => Some(text.trim()),
        Node::Element(_) | Node::Comment(_) | Node::Instruction { .. } => None,
    });
    texts.next().unwrap_or_default()
}

#[cfg(test)]
mod tests;

//! Reads bytes as XML: UTF-8 and ISO-8859-1, bounded in size, elements, attributes and depth, without a DTD.
//!
//! Promise: any bytes give a tree or an error with line and column, in time that grows with their number.
//! Entities other than the five of XML cannot be defined, so nothing grows. Not here: what the names mean.

use super::xml::{Attribute, Element, Node, Place, XmlFile};
use crate::limits::{
    PLUGIN_CFG_ATTRIBUTES_MAX, PLUGIN_CFG_DEPTH_MAX, PLUGIN_CFG_NODES_MAX, PLUGIN_CFG_SIZE_MAX_BYTES,
};
use roxmltree::{Document, Error, NodeType, ParsingOptions};

/// Why a file cannot be read. Nothing was changed; trying again gives the same until the file is changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {what}")]
pub struct ReadError {
    /// Counted from 1.
    pub line: u32,
    /// Characters, counted from 1.
    pub column: u32,
    pub what: String,
}

impl ReadError {
    pub fn at(place: Place, what: impl Into<String>) -> Self {
        Self { line: place.line, column: place.column, what: what.into() }
    }
}

pub fn parse(bytes: &[u8]) -> Result<XmlFile, ReadError> {
    if bytes.len() > PLUGIN_CFG_SIZE_MAX_BYTES {
        let what = format!("the file has {} bytes; at most {PLUGIN_CFG_SIZE_MAX_BYTES}", bytes.len());
        return Err(ReadError::at(START, what));
    }
    let text = decode(bytes)?;
    let lines = Lines::of(&text);
    look_before(&text, &lines)?;
    let options = ParsingOptions { nodes_limit: PLUGIN_CFG_NODES_MAX, ..ParsingOptions::default() };
    let document =
        Document::parse_with_options(&text, options).map_err(|error| explain(&error, &text, &lines))?;
    let reader = Reader { text: &text, lines: &lines };
    let mut file = XmlFile::default();
    let mut is_after = false;
    for child in document.root().children() {
        if child.is_element() {
            file.root = reader.element(child, 1)?;
            is_after = true;
        } else if let Some(node) = reader.plain(child) {
            if is_after { &mut file.after } else { &mut file.before }.push(node);
        }
    }
    Ok(file)
}

const START: Place = Place { line: 1, column: 1 };

/// Bytes between two places up to which characters are counted beforehand.
const MARK_EVERY_BYTES: usize = 1024;

/// Where lines begin and how many characters come before each mark, to find the place of a byte without counting from the
/// start each time: not even from that of its line, because some files have one line only.
struct Lines<'a> {
    text: &'a str,
    starts: Vec<usize>,
    marks: Vec<usize>,
}

impl<'a> Lines<'a> {
    fn of(text: &'a str) -> Self {
        let after_feed = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        let mut characters = 0;
        let to_mark = |part: &[u8]| {
            let before = characters;
            characters += characters_of(part);
            before
        };
        let mut marks: Vec<usize> = text.as_bytes().chunks(MARK_EVERY_BYTES).map(to_mark).collect();
        marks.push(characters);
        Self { text, starts: std::iter::once(0).chain(after_feed).collect(), marks }
    }

    fn place(&self, at: usize) -> Place {
        let line = self.starts.partition_point(|start| *start <= at).max(1);
        let column = self.characters_before(at) - self.characters_before(self.starts[line - 1]) + 1;
        Place { line: line as u32, column: column as u32 }
    }

    fn characters_before(&self, at: usize) -> usize {
        let at = at.min(self.text.len());
        let mark = at / MARK_EVERY_BYTES;
        let rest = &self.text.as_bytes()[mark * MARK_EVERY_BYTES..at];
        self.marks[mark] + characters_of(rest)
    }

    fn end(&self) -> Place {
        self.place(self.text.trim_end().len())
    }
}

/// Bytes that go on with a character are not counted.
fn characters_of(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| **byte & 0xc0 != 0x80).count()
}

/// The text of `bytes` by byte order mark or declaration.
fn decode(bytes: &[u8]) -> Result<String, ReadError> {
    if bytes.starts_with(&[0xfe, 0xff]) || bytes.starts_with(&[0xff, 0xfe]) {
        return Err(ReadError::at(START, "the file is UTF-16; save it as UTF-8 or ISO-8859-1"));
    }
    let bytes = bytes.strip_prefix(&[0xef, 0xbb, 0xbf]).unwrap_or(bytes);
    let declared = declared_encoding(bytes);
    match declared.as_deref().map(str::to_ascii_lowercase).as_deref() {
        None | Some("utf-8" | "utf8") => {
            String::from_utf8(bytes.to_vec()).map_err(|error| not_utf8(bytes, error.utf8_error()))
        }
        Some("iso-8859-1" | "iso8859-1" | "iso_8859-1" | "latin1" | "latin-1" | "us-ascii" | "ascii") => {
            Ok(bytes.iter().map(|byte| char::from(*byte)).collect())
        }
        Some(_) => {
            let name: String = declared.unwrap_or_default().chars().take(40).collect();
            let what =
                format!("the file says it is encoded in `{name}`; UTF-8 and ISO-8859-1 are understood");
            Err(ReadError::at(START, what))
        }
    }
}

fn not_utf8(bytes: &[u8], error: std::str::Utf8Error) -> ReadError {
    let good = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
    let place = Lines::of(&good).place(good.len());
    let byte = bytes[error.valid_up_to()];
    let what = format!(
        "the byte 0x{byte:02x} is not UTF-8; if the file is ISO-8859-1, say so in its first line: \
         <?xml version=\"1.0\" encoding=\"ISO-8859-1\"?>"
    );
    ReadError::at(place, what)
}

fn declared_encoding(bytes: &[u8]) -> Option<String> {
    let declaration = bytes.strip_prefix(b"<?xml")?;
    let end = declaration.iter().take(DECLARATION_MAX_BYTES).position(|byte| *byte == b'>')?;
    let declaration = std::str::from_utf8(&declaration[..end]).ok()?;
    let (_, rest) = declaration.split_once("encoding")?;
    let rest = rest.trim_start().strip_prefix('=')?.trim_start();
    let quote = rest.chars().next().filter(|first| matches!(first, '"' | '\''))?;
    Some(rest[1..].split(quote).next()?.to_owned())
}

/// Within which an XML declaration ends. 200: three times the longest that says anything.
const DECLARATION_MAX_BYTES: usize = 200;

/// Refuses what would make the parser work longer than a line of text is worth: too many attributes in one element
/// (each is compared with all others), and a document type, wherever it stands.
fn look_before(text: &str, lines: &Lines) -> Result<(), ReadError> {
    let mut rest = text;
    while let Some(open) = rest.find('<') {
        rest = &rest[open..];
        let at = text.len() - rest.len();
        let end_of = |end: &str| rest.find(end).map_or(rest.len(), |found| found + end.len());
        if rest.starts_with("<!--") {
            rest = &rest[end_of("-->")..];
        } else if rest.starts_with("<![CDATA[") {
            rest = &rest[end_of("]]>")..];
        } else if rest.starts_with("<!") {
            let what = "a document type (<!DOCTYPE ...>) is not allowed: entities could be defined in it";
            return Err(ReadError::at(lines.place(at), what));
        } else {
            let (length, attributes) = tag_of(rest);
            if attributes > PLUGIN_CFG_ATTRIBUTES_MAX {
                let what = format!("this element has more than {PLUGIN_CFG_ATTRIBUTES_MAX} attributes");
                return Err(ReadError::at(lines.place(at), what));
            }
            rest = &rest[length..];
        }
    }
    Ok(())
}

/// Length of the tag that `text` begins with, and a bound of its attributes: its quoted values.
fn tag_of(text: &str) -> (usize, usize) {
    let mut quote = None;
    let mut values = 0;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match (quote, byte) {
            (None, b'"' | b'\'') => quote = Some(byte),
            (None, b'>') => return (at + 1, values),
            (None, b'<') => return (at, values),
            (Some(open), _) if byte == open => {
                quote = None;
                values += 1;
            }
            (None | Some(_), _) => {}
        }
    }
    (text.len(), values)
}

struct Reader<'a> {
    text: &'a str,
    lines: &'a Lines<'a>,
}

impl Reader<'_> {
    fn element(&self, node: roxmltree::Node, depth: usize) -> Result<Element, ReadError> {
        let place = self.lines.place(node.range().start);
        if depth > PLUGIN_CFG_DEPTH_MAX {
            let what = format!("elements are nested deeper than {PLUGIN_CFG_DEPTH_MAX}");
            return Err(ReadError::at(place, what));
        }
        let mut element = Element { place, ..Element::new(self.name_at(node.range().start + 1)) };
        element.attributes = self.namespaces(node, place);
        element.attributes.extend(node.attributes().map(|attribute| Attribute {
            name: self.name_at(attribute.range().start).to_owned(),
            value: attribute.value().to_owned(),
            place: self.lines.place(attribute.range().start),
        }));
        for child in node.children() {
            if child.is_element() {
                element.children.push(Node::Element(self.element(child, depth + 1)?));
            } else if let Some(node) = self.plain(child) {
                element.children.push(node);
            }
        }
        Ok(element)
    }

    /// Namespaces that this element declares: the parser keeps them apart from the attributes.
    fn namespaces(&self, node: roxmltree::Node, place: Place) -> Vec<Attribute> {
        let parent = node.parent_element();
        let is_old = |namespace: &roxmltree::Namespace| {
            namespace.name() == Some("xml")
                || parent.is_some_and(|parent| {
                    parent.lookup_namespace_uri(namespace.name()) == Some(namespace.uri())
                })
        };
        node.namespaces()
            .filter(|namespace| !is_old(namespace))
            .map(|namespace| Attribute {
                name: namespace.name().map_or("xmlns".into(), |prefix| format!("xmlns:{prefix}")),
                value: namespace.uri().to_owned(),
                place,
            })
            .collect()
    }

    /// Names as written, with their prefix.
    fn name_at(&self, at: usize) -> &str {
        let ends = |letter: char| letter.is_whitespace() || matches!(letter, '=' | '/' | '>');
        self.text[at..].split(ends).next().unwrap_or_default()
    }

    fn plain(&self, node: roxmltree::Node) -> Option<Node> {
        match node.node_type() {
            NodeType::Comment => Some(Node::Comment(node.text().unwrap_or_default().to_owned())),
            NodeType::Text => {
                let text = node.text().unwrap_or_default();
                (!text.trim().is_empty()).then(|| Node::Text(text.to_owned()))
            }
            // The parser takes a broken declaration for an instruction; a right one is written in its place.
            NodeType::PI => node
                .pi()
                .filter(|instruction| !instruction.target.eq_ignore_ascii_case("xml"))
                .map(|instruction| Node::Instruction {
                    target: instruction.target.to_owned(),
                    value: instruction.value.unwrap_or_default().to_owned(),
                }),
            NodeType::Root | NodeType::Element => None,
        }
    }
}

/// The parser's complaint in words that tell what to do.
fn explain(error: &Error, text: &str, lines: &Lines) -> ReadError {
    let start = error.pos();
    let place = Place { line: start.row, column: start.col };
    let at_end = |what: String| ReadError::at(lines.end(), what);
    let what = match error {
        Error::UnclosedRootNode | Error::UnexpectedEndOfStream => {
            return at_end(match open_element(text) {
                Some((name, at)) => {
                    format!("the file ends before <{name}> of line {} is closed", lines.place(at).line)
                }
                None => "the file ends in the middle of something".into(),
            });
        }
        Error::NoRootNode => return at_end("the file has no element at all".into()),
        Error::NodesLimitReached => {
            return at_end(format!("the file has more than {PLUGIN_CFG_NODES_MAX} elements and texts"));
        }
        Error::UnexpectedCloseTag(open, close, _) => {
            format!("<{}> is open here, but </{}> closes", short(open), short(close))
        }
        Error::UnknownEntityReference(name, _) => {
            format!("`&{};` is not known; a plain & is written &amp;", short(name))
        }
        Error::MalformedEntityReference(_) => "a plain & is written &amp;".into(),
        Error::DuplicatedAttribute(name, _) => {
            format!("the attribute `{}` is given twice in this element", short(name))
        }
        Error::InvalidAttributeValue(_) => {
            "a plain < in a value is written &lt;; or is a closing quote missing before it?".into()
        }
        Error::UnknownNamespace(prefix, _) => format!("the prefix `{}:` is not declared", short(prefix)),
        other => {
            let told = other.to_string();
            let place = format!(" at {start}");
            told.replace(&place, "")
        }
    };
    ReadError::at(place, what)
}

/// Names in messages stay short whatever the file holds.
fn short(name: &str) -> String {
    name.chars().take(60).collect()
}

/// The innermost element that is open at the end of `text`, by counting tags.
fn open_element(text: &str) -> Option<(String, usize)> {
    let mut open: Vec<(&str, usize)> = Vec::new();
    let mut rest = text;
    while let Some(found) = rest.find('<') {
        rest = &rest[found..];
        let at = text.len() - rest.len();
        if rest.starts_with("<!--") || rest.starts_with("<![CDATA[") {
            let end = if rest.starts_with("<!--") { "-->" } else { "]]>" };
            let Some(length) = rest.find(end) else { break };
            rest = &rest[length..];
            continue;
        }
        let (length, _) = tag_of(rest);
        let tag = &rest[..length];
        if tag.starts_with("</") {
            open.pop();
        } else if !tag.starts_with("<?") && !tag.ends_with("/>") {
            let ends = |letter: char| letter.is_whitespace() || matches!(letter, '>' | '/');
            open.push((tag[1..].split(ends).next().unwrap_or_default(), at));
        }
        rest = &rest[length..];
    }
    open.last().map(|(name, at)| (short(name), *at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_those_that_counting_from_the_start_gives() {
        let line = "<é>0123456789".repeat(200);
        for text in [format!("{line}\n{line}\n\nend"), String::new(), "a".repeat(2 * MARK_EVERY_BYTES)] {
            let lines = Lines::of(&text);
            for (at, _) in text.char_indices().chain([(text.len(), ' ')]) {
                let before = &text[..at];
                let line = before.matches('\n').count() + 1;
                let column = before.chars().rev().take_while(|character| *character != '\n').count() + 1;
                let Place { line: said_line, column: said_column } = lines.place(at);
                assert_eq!((said_line, said_column), (line as u32, column as u32), "at {at}");
            }
        }
    }
}

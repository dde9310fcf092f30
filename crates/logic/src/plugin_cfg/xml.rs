//! A tree of XML as it stands in a file: elements, attributes and comments in their order, each with its place.
//!
//! What is written is what was read: unknown names, spellings, order and comments stay; only blanks between elements
//! and the kind of quotes change. Not here: reading (see `parse`), what the names mean (see `model`).

use std::fmt::Write as _;

/// Where something stands in its file, both counted from 1, columns in characters. (0, 0) was never in a file.
#[derive(Debug, Clone, Copy, Default)]
pub struct Place {
    pub line: u32,
    pub column: u32,
}

/// All places are equal: two documents that say the same are the same, wherever they say it.
impl PartialEq for Place {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Place {}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attribute {
    pub name: String,
    pub value: String,
    /// Of its name.
    pub place: Place,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    Element(Element),
    /// Without `<!--` and `-->`.
    Comment(String),
    /// Anything but blanks; vendor files have none.
    Text(String),
    /// `<?target value?>`
    Instruction {
        target: String,
        value: String,
    },
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Element {
    pub name: String,
    pub attributes: Vec<Attribute>,
    pub children: Vec<Node>,
    /// Of its `<`.
    pub place: Place,
}

impl Element {
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }

    /// The same with one more attribute; for what is made and not read.
    pub fn with(mut self, name: &str, value: impl ToString) -> Self {
        self.set(name, value);
        self
    }

    /// The same with one more child.
    pub fn with_child(mut self, child: Element) -> Self {
        self.children.push(Node::Element(child));
        self
    }

    /// Whether it has that name, in any case: people spell `Uri` and `URI`.
    pub fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }

    /// The attribute of that name in any case; of two that differ in case only the first.
    pub fn attribute(&self, name: &str) -> Option<&Attribute> {
        self.attributes.iter().find(|attribute| attribute.name.eq_ignore_ascii_case(name))
    }

    pub fn value(&self, name: &str) -> Option<&str> {
        self.attribute(name).map(|attribute| attribute.value.as_str())
    }

    /// Replaces the attribute's value, under the name that it has, or adds it last.
    pub fn set(&mut self, name: &str, value: impl ToString) {
        let value = value.to_string();
        match self.attributes.iter_mut().find(|attribute| attribute.name.eq_ignore_ascii_case(name)) {
            Some(attribute) => attribute.value = value,
            None => {
                self.attributes.push(Attribute { name: name.to_owned(), value, place: Place::default() });
            }
        }
    }

    pub fn elements(&self) -> impl Iterator<Item = &Element> {
        self.children.iter().filter_map(|node| match node {
            Node::Element(element) => Some(element),
            Node::Comment(_) | Node::Text(_) | Node::Instruction { .. } => None,
        })
    }

    /// Children of that name.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Element> {
        self.elements().filter(move |element| element.is(name))
    }

    /// Takes all comments out, those of its children too.
    pub fn drop_comments(&mut self) {
        self.children.retain(|child| !matches!(child, Node::Comment(_)));
        for child in &mut self.children {
            if let Node::Element(inner) = child {
                inner.drop_comments();
            }
        }
    }

    pub fn comment(&mut self, text: &str) {
        self.children.push(Node::Comment(text.to_owned()));
    }
}

/// A whole file: the root, and comments and instructions before and after it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct XmlFile {
    pub before: Vec<Node>,
    pub root: Element,
    pub after: Vec<Node>,
}

/// Blanks by which a child stands further in than its parent, as the vendor writes.
const INDENT: &str = "    ";

impl XmlFile {
    /// The file's text, in UTF-8, with a declaration and a line feed at its end.
    pub fn write(&self) -> String {
        let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
        for node in &self.before {
            write_node(&mut text, node, 0, true);
        }
        write_element(&mut text, &self.root, 0, true);
        for node in &self.after {
            write_node(&mut text, node, 0, true);
        }
        text
    }
}

/// `is_loose`: blanks around it mean nothing, so it gets a line of its own.
fn write_node(text: &mut String, node: &Node, depth: usize, is_loose: bool) {
    if let Node::Element(element) = node {
        return write_element(text, element, depth, is_loose);
    }
    if is_loose {
        text.push_str(&INDENT.repeat(depth));
    }
    match node {
        Node::Element(_) => unreachable!("written above"),
        Node::Comment(comment) => write!(text, "<!--{}-->", plain_comment(comment)),
        Node::Text(plain) => {
            escape(text, plain, false);
            Ok(())
        }
        Node::Instruction { target, value } if value.is_empty() => write!(text, "<?{target}?>"),
        Node::Instruction { target, value } => write!(text, "<?{target} {value}?>"),
    }
    .expect("a String takes any text");
    if is_loose {
        text.push('\n');
    }
}

fn write_element(text: &mut String, element: &Element, depth: usize, is_loose: bool) {
    if is_loose {
        text.push_str(&INDENT.repeat(depth));
    }
    write!(text, "<{}", element.name).expect("a String takes any text");
    for attribute in &element.attributes {
        write!(text, " {}=\"", attribute.name).expect("a String takes any text");
        escape(text, &attribute.value, true);
        text.push('"');
    }
    if element.children.is_empty() {
        text.push_str("/>");
    } else {
        text.push('>');
        let inner_is_loose = is_loose && !element.children.iter().any(|child| matches!(child, Node::Text(_)));
        if inner_is_loose {
            text.push('\n');
        }
        for child in &element.children {
            write_node(text, child, depth + 1, inner_is_loose);
        }
        if inner_is_loose {
            text.push_str(&INDENT.repeat(depth));
        }
        write!(text, "</{}>", element.name).expect("a String takes any text");
    }
    if is_loose {
        text.push('\n');
    }
}

/// Line ends and tabs of an attribute are written as references: plain ones would be read back as blanks.
fn escape(text: &mut String, plain: &str, is_attribute: bool) {
    for letter in plain.chars() {
        match letter {
            '&' => text.push_str("&amp;"),
            '<' => text.push_str("&lt;"),
            '>' => text.push_str("&gt;"),
            '"' if is_attribute => text.push_str("&quot;"),
            '\n' if is_attribute => text.push_str("&#10;"),
            '\t' if is_attribute => text.push_str("&#9;"),
            '\r' => text.push_str("&#13;"),
            other => text.push(other),
        }
    }
}

/// A comment may hold neither `--` nor end in `-`; one that was read never does.
fn plain_comment(comment: &str) -> String {
    let mut plain = comment.replace("--", "- -");
    // Three in a row leave another pair.
    while plain.contains("--") {
        plain = plain.replace("--", "- -");
    }
    if plain.ends_with('-') {
        plain.push(' ');
    }
    plain
}

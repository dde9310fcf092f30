//! Reads TOML into a plain tree that knows where each piece stands: exactly what was written, nothing filled in.
//!
//! Promise: tables keep the order of the file. Spans are byte offsets; `place` turns them into line and column.
//! Not here: what keys mean (see `definitions`).

use super::problem::{KeyPath, Problem, Problems, shorten};
use std::ops::Range;
use toml_edit::{Item, TableLike};
use wire::error_code::{self, ErrorCode};

/// Tables within tables. 16: the deepest key that exists is 6 deep; what is deeper is refused as unknown anyway.
const DEPTH_MAX: usize = 16;

#[derive(Debug, Clone, PartialEq)]
pub enum Data {
    Text(String),
    Integer(i64),
    Boolean(bool),
    List(Vec<Value>),
    Table(Table),
    /// Known to TOML but to no key: its kind for people.
    Other(&'static str),
}

impl Data {
    /// Its kind, for people.
    pub fn kind(&self) -> &'static str {
        match self {
            Data::Text(_) => "text",
            Data::Integer(_) => "an integer",
            Data::Boolean(_) => "true or false",
            Data::List(_) => "a list",
            Data::Table(_) => "a table",
            Data::Other(kind) => kind,
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct Value {
    pub span: Range<usize>,
    pub data: Data,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    pub key: String,
    pub key_span: Range<usize>,
    pub value: Value,
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct Table(pub Vec<Entry>);

impl Table {
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        self.0.iter().find(|entry| entry.key == key)
    }

    pub fn get(&self, key: &str) -> Option<&Data> {
        self.entry(key).map(|entry| &entry.value.data)
    }

    pub fn table(&self, key: &str) -> Option<&Table> {
        match self.get(key) {
            Some(Data::Table(table)) => Some(table),
            _ => None,
        }
    }
}

/// A file that is TOML; whether its keys are right is another question.
#[derive(Debug)]
pub struct Document<'a> {
    pub file: &'a str,
    pub text: &'a str,
    pub root: Table,
}

/// Which end of `key = value` a problem points at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    Key,
    Value,
}

impl<'a> Document<'a> {
    /// No part of `text` is kept when it is not TOML; the problem names the place.
    pub fn read(text: &'a str, file: &'a str) -> Result<Self, Problems> {
        match toml_edit::Document::parse(text) {
            Ok(document) => Ok(Self { file, text, root: table(document.as_table(), 0..0, DEPTH_MAX) }),
            Err(error) => Err(syntax_problem(text, file, &error).into()),
        }
    }

    /// A problem at `path`, or at the nearest table above it when it is not written there itself.
    pub fn problem(&self, code: ErrorCode, path: &KeyPath, at: At, message: String) -> Problem {
        let mut problem = Problem::of_file(code, self.file, message);
        problem.key = path.clone();
        let (key_span, value, is_exact) = self.nearest(path);
        let span = if at == At::Value && is_exact { value.map(|value| value.span.clone()) } else { key_span };
        if let Some(span) = span {
            let (line, column) = place(self.text, span.start);
            problem.line = Some(line);
            problem.column = Some(column);
        }
        let is_table = value.is_some_and(|value| matches!(value.data, Data::Table(_)));
        if is_exact && !is_table {
            problem.value = value.map(|value| shorten(self.text.get(value.span.clone()).unwrap_or("")));
        }
        problem
    }

    /// The line of `path`, or of the nearest table above it.
    pub fn line(&self, path: &KeyPath) -> Option<usize> {
        self.nearest(path).0.map(|span| place(self.text, span.start).0)
    }

    /// Whether `path` itself is written.
    pub fn has(&self, path: &KeyPath) -> bool {
        self.nearest(path).2
    }

    /// How many things a list holds; 0 where there is none.
    pub fn count(&self, path: &KeyPath) -> usize {
        match self.nearest(path) {
            (_, Some(Value { data: Data::List(items), .. }), true) => items.len(),
            _ => 0,
        }
    }

    fn nearest(&self, path: &KeyPath) -> (Option<Range<usize>>, Option<&Value>, bool) {
        let mut table = Some(&self.root);
        let mut found: (Option<Range<usize>>, Option<&Value>) = (None, None);
        for (depth, part) in path.0.iter().enumerate() {
            let next = match (table, found.1.map(|value| &value.data)) {
                (_, Some(Data::List(items))) => {
                    let position = part.trim_matches(['[', ']']).parse::<usize>().ok();
                    position.and_then(|at| items.get(at)).map(|item| (item.span.clone(), item))
                }
                (Some(table), _) => table.entry(part).map(|entry| (entry.key_span.clone(), &entry.value)),
                (None, _) => None,
            };
            let Some((span, value)) = next else { return (found.0, found.1, false) };
            table = if let Data::Table(inner) = &value.data { Some(inner) } else { None };
            found = (Some(span), Some(value));
            let is_last = depth + 1 == path.0.len();
            if is_last {
                return (found.0, found.1, true);
            }
        }
        (None, None, false)
    }
}

/// Line and column of a byte offset.
pub fn place(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

fn table(source: &dyn TableLike, fallback: Range<usize>, depth_left: usize) -> Table {
    if depth_left == 0 {
        return Table::default();
    }
    let entries = source.iter().map(|(name, item)| {
        let key_span = source.key(name).and_then(toml_edit::Key::span).unwrap_or_else(|| fallback.clone());
        let value = convert(item, &key_span, depth_left - 1);
        Entry { key: name.to_owned(), key_span, value }
    });
    Table(entries.collect())
}

fn convert(item: &Item, key_span: &Range<usize>, depth_left: usize) -> Value {
    let span = item.span().unwrap_or_else(|| key_span.clone());
    let data = match item {
        Item::Value(value) => convert_value(value, key_span, depth_left),
        Item::Table(inner) => Data::Table(table(inner, key_span.clone(), depth_left)),
        Item::ArrayOfTables(items) => {
            let of_item = |inner: &toml_edit::Table| Value {
                span: inner.span().unwrap_or_else(|| key_span.clone()),
                data: Data::Table(table(inner, key_span.clone(), depth_left.saturating_sub(1))),
            };
            Data::List(items.iter().map(of_item).collect())
        }
        Item::None => Data::Other("nothing"),
    };
    Value { span, data }
}

fn convert_value(value: &toml_edit::Value, key_span: &Range<usize>, depth_left: usize) -> Data {
    match value {
        toml_edit::Value::String(text) => Data::Text(text.value().clone()),
        toml_edit::Value::Integer(number) => Data::Integer(*number.value()),
        toml_edit::Value::Boolean(flag) => Data::Boolean(*flag.value()),
        toml_edit::Value::Float(_) => Data::Other("a number with a fraction"),
        toml_edit::Value::Datetime(_) => Data::Other("a date or time"),
        toml_edit::Value::InlineTable(inner) => Data::Table(table(inner, key_span.clone(), depth_left)),
        toml_edit::Value::Array(items) if depth_left > 0 => {
            let of_item = |item: &toml_edit::Value| Value {
                span: item.span().unwrap_or_else(|| key_span.clone()),
                data: convert_value(item, key_span, depth_left - 1),
            };
            Data::List(items.iter().map(of_item).collect())
        }
        toml_edit::Value::Array(_) => Data::List(Vec::new()),
    }
}

fn syntax_problem(text: &str, file: &str, error: &toml_edit::TomlError) -> Problem {
    let offset = error.span().map_or(text.len(), |span| span.start);
    let (line, column) = place(text, offset);
    let at_place = |code, message| Problem {
        line: Some(line),
        column: Some(column),
        ..Problem::of_file(code, file, message)
    };
    if error.message() != "duplicate key" {
        let written = text.lines().nth(line - 1).unwrap_or("").trim();
        let mut problem = at_place(error_code::CONFIG_SYNTAX, format!("not valid TOML: {}", error.message()));
        problem.value = (!written.is_empty()).then(|| shorten(written));
        return problem;
    }
    let name = error.span().and_then(|span| text.get(span)).unwrap_or("").to_owned();
    let earlier = first_of_duplicate(text, offset).map(|first| place(text, first).0);
    let message = match earlier {
        Some(first) => format!("`{name}` is given twice; the first is in line {first}"),
        None => format!("`{name}` is given twice in the same table"),
    };
    let mut problem = at_place(error_code::CONFIG_DUPLICATE, message);
    problem.value = text.lines().nth(line - 1).map(|written| shorten(written.trim()));
    problem.key = KeyPath::of(&[&name]);
    problem.allowed = Some("each key and each table once".to_owned());
    problem
}

/// Where the first of two equal keys stands, given the second. None when that cannot be told, as in inline tables.
fn first_of_duplicate(text: &str, second: usize) -> Option<usize> {
    let line_start = text[..second].rfind('\n').map_or(0, |newline| newline + 1);
    let line = text[line_start..].lines().next()?.trim();
    // All before the second one is valid by itself, as a parser that stops at the first mistake got that far.
    let before = toml_edit::Document::parse(&text[..line_start]).ok()?;
    let (start, written): (&dyn TableLike, &str) = match line.strip_prefix('[') {
        Some(header) => (before.as_table(), header.trim_start_matches('[').split(']').next()?),
        None => (last_opened(before.as_table()), line.split('=').next()?),
    };
    let parts = toml_edit::Key::parse(written.trim()).ok()?;
    let mut table = start;
    let mut found = None;
    for part in &parts {
        found = table.key(part.get()).and_then(toml_edit::Key::span).or(found);
        match table.get(part.get()) {
            Some(Item::ArrayOfTables(items)) => table = items.iter().last()?,
            Some(item) => match item.as_table_like() {
                Some(inner) => table = inner,
                None => break,
            },
            None => return None,
        }
    }
    found.map(|span| span.start)
}

/// The table to which the next `key = value` line would belong.
fn last_opened(root: &toml_edit::Table) -> &toml_edit::Table {
    let mut last = root;
    let mut waiting = vec![root];
    while let Some(table) = waiting.pop() {
        if table.position() > last.position() {
            last = table;
        }
        for (_, item) in table.iter() {
            match item {
                Item::Table(inner) => waiting.push(inner),
                Item::ArrayOfTables(items) => waiting.extend(items.iter()),
                Item::Value(_) | Item::None => {}
            }
        }
    }
    last
}

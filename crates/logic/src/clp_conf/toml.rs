//! Writes TOML: tables in their order, each with its keys.

/// The text so far.
#[derive(Debug, Default)]
pub struct Text {
    text: String,
    /// A comment stands directly above its table.
    is_after_comment: bool,
}

impl Text {
    /// `path` has its keys quoted where needed.
    pub fn table(&mut self, path: &str) {
        if !self.text.is_empty() && !self.is_after_comment {
            self.text.push('\n');
        }
        self.is_after_comment = false;
        self.text.push_str(&format!("[{path}]\n"));
    }

    pub fn comment(&mut self, text: &str) {
        if !self.text.is_empty() {
            self.text.push('\n');
        }
        self.is_after_comment = true;
        self.text.push_str(&format!("# {text}\n"));
    }

    pub fn value(&mut self, key: &str, value: &str) {
        self.text.push_str(&format!("{key} = {}\n", quoted(value)));
    }

    pub fn plain(&mut self, key: &str, value: impl std::fmt::Display) {
        self.text.push_str(&format!("{key} = {value}\n"));
    }

    pub fn list<'a>(&mut self, key: &str, values: impl IntoIterator<Item = &'a str>) {
        let values: Vec<String> = values.into_iter().map(quoted).collect();
        self.text.push_str(&format!("{key} = [{}]\n", values.join(", ")));
    }

    pub fn end(self) -> String {
        self.text
    }
}

/// A key of a table: names with dots in them are quoted.
pub fn key(name: &str) -> String {
    let is_bare = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
    if is_bare { name.to_owned() } else { quoted(name) }
}

fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            letter if letter.is_control() => quoted.push_str(&format!("\\u{:04X}", u32::from(letter))),
            letter => quoted.push(letter),
        }
    }
    quoted.push('"');
    quoted
}

//! Configuration: one TOML file for the whole cell, turned into settings that nobody has to check again.
//!
//! Two steps: `document` reads exactly what was written, `shape` holds it against `definitions`, and `settings` makes
//! the settings. Promise: a file with a problem gives no settings, and every problem names file, line, key, value and
//! what is allowed. `parse` and `load` change nothing; only `environment` looks at this machine.

mod action_definitions;
mod actions;
mod address;
mod blank;
mod cells;
mod certificates;
mod choice;
mod choice_definitions;
mod claims;
mod clients;
mod conflicts;
pub mod definition;
pub mod definitions;
mod document;
mod environment;
mod fences;
mod groups;
pub mod kind;
mod listeners;
mod members;
mod monitors;
mod problem;
mod programs;
mod reader;
mod recovery;
pub mod reference;
mod resources;
pub mod schema;
mod settings;
mod shape;
mod stores;
mod suggest;
#[cfg(test)]
mod tests;

pub use blank::blank;
pub use certificates::{check as check_certificates, expiring, unverified};
pub use environment::{check as check_environment, runs_already};
pub use fences::by_hand;
pub use problem::Problems;
pub use resources::check as check_resources;

use document::Document;
use problem::Problem;
use std::path::{Path, PathBuf};
use wire::error_code;
use wire::settings::CellSettings;

/// Where the file is that no user has of their own.
const SYSTEM_FILE: &str = "/etc/muster/muster.toml";
/// Largest file. 4 MiB: a thousand times what people write, and quickly read.
pub const SIZE_MAX_BYTES: usize = 4 << 20;

/// Settings from the text of a file; `file_name` is only for messages.
pub fn parse(text: &str, file_name: &str) -> Result<CellSettings, Problems> {
    parse_with(text, file_name, default_state_dir())
}

fn parse_with(
    text: &str,
    file_name: &str,
    default_state_dir: Option<String>,
) -> Result<CellSettings, Problems> {
    if text.len() > SIZE_MAX_BYTES {
        return Err(too_large(file_name).into());
    }
    let document = Document::read(text, file_name)?;
    let mut problems = shape::check(&document);
    if problems.is_empty() {
        match settings::build(&document, default_state_dir) {
            Ok(settings) => return Ok(settings),
            Err(found) => problems = found,
        }
    }
    problems.sort();
    Err(problems)
}

/// Settings from a file, and its text.
pub fn load(path: &Path) -> Result<(CellSettings, String), Problems> {
    let text = read(path)?;
    let settings = parse(&text, &path.display().to_string())?;
    Ok((settings, text))
}

fn read(path: &Path) -> Result<String, Problems> {
    use std::io::Read as _;
    let name = path.display().to_string();
    let unreadable = |message: String| Problem::of_file(error_code::CONFIG_UNREADABLE, &name, message);
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path)
        .map_err(|error| unreadable(format!("the file cannot be opened: {error}{}", hint(path, &error))))?;
    let bound = SIZE_MAX_BYTES as u64 + 1;
    file.take(bound)
        .read_to_end(&mut bytes)
        .map_err(|error| unreadable(format!("the file cannot be read: {error}")))?;
    text_of(bytes, &name)
}

/// What was read of a file, if it can be a configuration's text.
pub fn text_of(bytes: Vec<u8>, name: &str) -> Result<String, Problems> {
    if bytes.len() > SIZE_MAX_BYTES {
        return Err(too_large(name).into());
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = String::from_utf8_lossy(&error.as_bytes()[..error.utf8_error().valid_up_to()]);
        let (line, column) = document::place(&valid, valid.len());
        let message = "the file is not UTF-8 text".to_owned();
        let mut problem = Problem::of_file(error_code::CONFIG_UNREADABLE, name, message);
        (problem.line, problem.column) = (Some(line), Some(column));
        problem.allowing("UTF-8 text").into()
    })
}

/// What a machine lacks on which nothing was set up, as nobody named the file.
fn hint(path: &Path, error: &std::io::Error) -> &'static str {
    match error.kind() == std::io::ErrorKind::NotFound && path == Path::new(SYSTEM_FILE) {
        true => {
            "; there is no ./muster.toml either, and this machine has joined no cell: `muster join` makes it a node of \
             one, `muster init` begins one"
        }
        false => "",
    }
}

fn too_large(file_name: &str) -> Problem {
    let message = "the file is too large for a configuration".to_owned();
    let problem = Problem::of_file(error_code::CONFIG_UNREADABLE, file_name, message);
    problem.allowing(format!("at most {SIZE_MAX_BYTES} bytes"))
}

/// The file that is meant when none is named.
pub fn default_path() -> PathBuf {
    let here = PathBuf::from("./muster.toml");
    if here.exists() { here } else { PathBuf::from(SYSTEM_FILE) }
}

/// Where state goes when the file does not say; None when there is no home directory.
pub fn default_state_dir() -> Option<String> {
    if rustix::process::geteuid().is_root() {
        return Some("/var/lib/muster".to_owned());
    }
    let home = std::env::var("HOME").ok().filter(|home| home.starts_with('/'))?;
    Some(format!("{}/.local/state/muster", home.trim_end_matches('/')))
}

/// The answer to a node on the command line that the file does not have.
pub fn no_such_node(settings: &CellSettings, file_name: &str, node: &wire::id::NodeName) -> Problem {
    let known: Vec<&str> = settings.nodes.iter().map(|node| node.0.as_str()).collect();
    let near = suggest::nearest(&node.0, known.iter().copied()).map(|name| format!("`{name}`"));
    let message = format!("there is no node `{node}` in this file");
    let problem = Problem::of_file(error_code::NO_SUCH_NODE, file_name, message);
    problem.allowing(known.join(", ")).suggesting(near)
}

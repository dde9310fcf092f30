//! Where the project lies and which files it has.
//!
//! Promise: paths are relative to the root and sorted, so that findings come in the same order everywhere.
//! Not here: what is wrong with a file (see `tidy`).

use crate::failure::{Doing, Failure, Outcome};
use std::fs;
use std::path::{Path, PathBuf};

/// One text file of the project.
#[derive(Debug, Clone)]
pub struct TextFile {
    /// Relative to the root, with `/`.
    pub path: String,
    pub text: String,
}

/// Kinds of file that people read; everything else is not looked at.
const TEXT_ENDINGS: [&str; 9] = ["rs", "md", "toml", "js", "css", "html", "sh", "sql", "py"];

/// The project's directory. The tool is built inside it, so its own manifest tells.
pub fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = manifest.parent().and_then(Path::parent);
    root.expect("this crate lies two directories below the root").to_path_buf()
}

/// Every text file below `root`, without build output and hidden directories (`.ci` and `.cargo` are ours).
pub fn text_files(root: &Path) -> Outcome<Vec<TextFile>> {
    let mut files = Vec::new();
    let mut open = vec![root.to_path_buf()];
    while let Some(directory) = open.pop() {
        let entries = fs::read_dir(&directory).doing(format_args!("list {}", directory.display()))?;
        for entry in entries {
            let path = entry.doing(format_args!("list {}", directory.display()))?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_symlink() {
                continue;
            }
            if path.is_dir() {
                let is_ours = !name.starts_with('.') || name == ".ci" || name == ".cargo";
                if is_ours && name != "target" {
                    open.push(path);
                }
            } else if is_text(&path) {
                files.push(read(root, &path)?);
            }
        }
    }
    files.sort_by(|left, right| left.path.cmp(&right.path));
    Ok(files)
}

fn is_text(path: &Path) -> bool {
    let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
    TEXT_ENDINGS.contains(&ending) || path.ends_with(".ci/run")
}

fn read(root: &Path, path: &Path) -> Outcome<TextFile> {
    let relative = path.strip_prefix(root).expect("the walk started at the root");
    let bytes = fs::read(path).doing(format_args!("read {}", path.display()))?;
    let text =
        String::from_utf8(bytes).map_err(|_| Failure(format!("{} is not UTF-8", relative.display())))?;
    Ok(TextFile { path: relative.to_string_lossy().into_owned(), text })
}

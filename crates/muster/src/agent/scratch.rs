//! A directory of one unit test, gone with it.

use std::path::PathBuf;

pub struct Scratch(pub PathBuf);

impl Scratch {
    /// `name` must be the test's own.
    pub fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("muster-unit-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a temporary directory can be made");
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

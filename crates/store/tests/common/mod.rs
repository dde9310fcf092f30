//! What several test programs share; here: a directory for one test, removed when it ends.

#![allow(dead_code)] // Not every test program uses everything.

pub mod relay;
pub mod servers;
pub mod stories;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new(test: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("muster-{test}-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).expect("the directory for temporary files can be written");
        Self(path)
    }

    pub fn file(&self) -> PathBuf {
        self.0.join("store.sqlite")
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A test that has failed may keep files open; then the system's own cleaning takes them.
        drop(std::fs::remove_dir_all(&self.0));
    }
}

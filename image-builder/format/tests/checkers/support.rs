//! A directory for a test, programs that must succeed, and skips that leave a trace.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A directory that is gone when this is dropped.
pub struct TempDir(PathBuf);

impl TempDir {
    /// Makes one whose path contains `name`, which is unique among the tests.
    pub fn new(name: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("outgate-format-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file into it; its path.
    pub fn write(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, content).unwrap();
        path
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Runs a program that must succeed; what it said.
pub fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}{complained}");
    said
}

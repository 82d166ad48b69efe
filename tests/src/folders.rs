//! Where builds and tests keep their files.

use std::path::{Path, PathBuf};

/// The folder of the build profile that the running executable belongs to, `target/debug` for
/// instance: where the other executables of the same build are.
pub fn build_profile() -> PathBuf {
    let executable = std::env::current_exe().unwrap_or_default();
    let folder = executable.parent().unwrap_or_else(|| Path::new("."));
    // Tests are one level deeper.
    let is_deps = folder.ends_with("deps");
    let folder = if is_deps {
        folder.parent().unwrap_or(folder)
    } else {
        folder
    };
    folder.to_owned()
}

/// The build's target folder.
pub fn target() -> PathBuf {
    let profile = build_profile();
    profile
        .parent()
        .map_or_else(|| "target".into(), Path::to_owned)
}

/// The checkout's root.
pub fn checkout() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package).to_owned()
}

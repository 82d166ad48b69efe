//! Where the servers' programs are: unpacked beside the build, else installed.

use std::path::{Path, PathBuf};

use qemu::host::find_program;

use super::ForeignError;
use crate::folders;

/// Where `cargo verify` unpacks packages, in the target folder.
const ROOT: &str = "foreign/root";

/// Folders of programs in a package.
const PROGRAM_FOLDERS: [&str; 2] = ["usr/sbin", "usr/bin"];

/// Folders of libraries in a package, joined by a colon as the dynamic linker wants them.
const LIBRARY_FOLDERS: [&str; 3] = [
    "usr/lib/x86_64-linux-gnu",
    "lib/x86_64-linux-gnu",
    "usr/lib/x86_64-linux-gnu/swtpm",
];

/// Where Python's modules are in a package.
const MODULES: &str = "usr/lib/python3/dist-packages";

/// A program, and where its libraries are that the host has not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// The executable.
    pub path: PathBuf,
    /// The value of `LD_LIBRARY_PATH`, if it needs one.
    pub libraries: Option<String>,
    /// The value of `PYTHONPATH`, if it could need one.
    pub modules: Option<PathBuf>,
}

/// The program with this name.
///
/// # Errors
/// [`ForeignError::NoProgram`].
pub fn find(name: &str) -> Result<Program, ForeignError> {
    let roots = [folders::target(), folders::checkout().join("target")].map(|at| at.join(ROOT));
    if let Some(program) = roots.iter().find_map(|root| unpacked(root, name)) {
        return Ok(program);
    }
    let path = roots[0].join(PROGRAM_FOLDERS[0]).join(name);
    find_program(name)
        .map(|path| Program {
            path,
            libraries: None,
            modules: None,
        })
        .ok_or_else(|| ForeignError::NoProgram {
            name: name.to_owned(),
            path,
        })
}

fn unpacked(root: &Path, name: &str) -> Option<Program> {
    let places = PROGRAM_FOLDERS.map(|folder| root.join(folder).join(name));
    let path = places.into_iter().find(|path| path.is_file())?;
    let libraries = LIBRARY_FOLDERS.map(|folder| root.join(folder).display().to_string());
    Some(Program {
        path,
        libraries: Some(libraries.join(":")),
        modules: Some(root.join(MODULES)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use qemu::temp::TempDir;

    #[test]
    fn an_unpacked_program_brings_its_libraries() {
        let root = TempDir::new("outgate-unpacked").unwrap();
        let folder = root.path().join("usr/sbin");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("named"), "").unwrap();
        let program = unpacked(root.path(), "named").unwrap();
        assert_eq!(program.path, folder.join("named"));
        assert!(
            program
                .libraries
                .unwrap()
                .contains("/usr/lib/x86_64-linux-gnu:")
        );
        assert_eq!(unpacked(root.path(), "unbound"), None);
    }

    #[test]
    fn what_is_nowhere_is_named_with_the_remedy() {
        let error = find("no-such-server").unwrap_err().to_string();
        assert!(
            error.contains("no-such-server") && error.contains("cargo verify"),
            "{error}"
        );
    }
}

//! TPMs in software: swtpm, unpacked from its Debian package like the foreign servers.
//!
//! A TPM is the folder that it keeps its state in. It is started for one peer, and ends with it or when
//! this is dropped; started again with the same folder it is the same TPM.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use qemu::child::Child;
use qemu::temp::TempDir;

use crate::foreign::programs;

/// How long swtpm may take to end once its peer is gone.
const END_MAX: Duration = Duration::from_secs(10);

/// A running TPM.
#[derive(Debug)]
pub struct Swtpm {
    process: Child,
    /// Where its socket is: of a short name, as sockets must be.
    folder: TempDir,
}

impl Swtpm {
    /// What this computer lacks, for [`skip!`](crate::skip!).
    pub fn missing() -> Option<String> {
        programs::find("swtpm").err().map(|error| error.to_string())
    }

    /// Starts the TPM in `state` for a program that sends it commands, and starts it up as a computer's
    /// firmware does (`TPM2_Startup`). The descriptor is the TPM: what is written to it are commands.
    ///
    /// # Errors
    /// Those of making files and of starting swtpm.
    pub fn bare(state: &Path) -> io::Result<(Self, OwnedFd)> {
        let options = ["--server", "type=unixio,fd=0"];
        let flags = ["--flags", "not-need-init,startup-clear"];
        let swtpm = Self::start(state, &[options, flags].concat())?;
        let near = UnixStream::connect(swtpm.socket())?;
        Ok((swtpm, near.into()))
    }

    /// Starts the TPM in `state` for a virtual machine, which connects to [`Self::socket`].
    ///
    /// # Errors
    /// Those of making files and of starting swtpm.
    pub fn for_machine(state: &Path) -> io::Result<Self> {
        Self::start(state, &["--ctrl", "type=unixio,fd=0"])
    }

    /// The socket that its peer connects to.
    pub fn socket(&self) -> PathBuf {
        socket_in(&self.folder)
    }

    /// Waits until it has ended, after its peer is gone.
    ///
    /// # Panics
    /// If it does not.
    pub fn wait_for_its_end(self) {
        let ended = self.process.wait_exit(END_MAX);
        assert!(ended.is_some(), "swtpm runs although its peer is gone");
    }

    fn start(state: &Path, options: &[&str]) -> io::Result<Self> {
        let program = programs::find("swtpm").map_err(io::Error::other)?;
        fs::create_dir_all(state)?;
        let folder = TempDir::new("outgate-tpm")?;
        // Listened on before swtpm runs, so that its peer need not wait for it.
        let listener = OwnedFd::from(UnixListener::bind(socket_in(&folder))?);
        let process = Child::start(&program.path, |command| {
            command.args(["socket", "--tpm2", "--terminate", "--tpmstate"]);
            command.arg(option("dir=", state)).arg("--log");
            command.arg(option("truncate,file=", &state.join("log")));
            command.args(options);
            if let Some(libraries) = &program.libraries {
                command.env("LD_LIBRARY_PATH", libraries);
            }
            command.stdin(listener);
            command.stdout(Stdio::null()).stderr(Stdio::null());
        })?;
        Ok(Self { process, folder })
    }
}

fn option(name: &str, path: &Path) -> OsString {
    let mut option = OsString::from(name);
    option.push(path);
    option
}

fn socket_in(folder: &TempDir) -> PathBuf {
    folder.path().join("tpm")
}

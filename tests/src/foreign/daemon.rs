//! A server that runs in a namespace, or on the host, in the foreground, and what it says.

use std::ffi::OsString;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use qemu::child::Child;
use qemu::console::Console;

use super::namespace::Namespace;
use super::{ForeignError, programs};

/// How long a server may take to start.
const READY_TIME_MAX: Duration = Duration::from_secs(30);

/// A running server. It is killed when this is dropped; its log is kept in the story's folder.
#[derive(Debug)]
pub struct Daemon {
    name: String,
    log: Console,
    log_file: PathBuf,
    // After the log: the reader hears everything until the end.
    process: Child,
}

impl Daemon {
    /// Starts the program `name` in the namespace with these arguments, and waits until its log says
    /// `ready`. Its files belong into `folder`.
    ///
    /// # Errors
    /// [`ForeignError`], with the last lines of its log when it does not get ready.
    pub fn start(
        namespace: &Namespace,
        folder: &Path,
        name: &str,
        arguments: &[&str],
        ready: &str,
    ) -> Result<Self, ForeignError> {
        Self::start_by(&[], namespace, folder, name, arguments, ready)
    }

    /// The same with its command line after the words `before`, of a command that becomes it.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_by(
        before: &[&str],
        namespace: &Namespace,
        folder: &Path,
        name: &str,
        arguments: &[&str],
        ready: &str,
    ) -> Result<Self, ForeignError> {
        let mut words = namespace.enter();
        words.extend(before.iter().map(OsString::from));
        Self::start_in(words, folder, name, arguments, ready)
    }

    /// The same on the host itself.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_on_host(
        folder: &Path,
        name: &str,
        arguments: &[&str],
        ready: &str,
    ) -> Result<Self, ForeignError> {
        Self::start_in(Vec::new(), folder, name, arguments, ready)
    }

    fn start_in(
        mut words: Vec<OsString>,
        folder: &Path,
        name: &str,
        arguments: &[&str],
        ready: &str,
    ) -> Result<Self, ForeignError> {
        let program = programs::find(name)?;
        words.push(program.path.into_os_string());
        let (near, far) = UnixStream::pair()?;
        let errors = far.try_clone()?;
        let first = PathBuf::from(words.remove(0));
        let process = Child::start(&first, |command| {
            command.args(words).args(arguments).current_dir(folder);
            if let Some(libraries) = &program.libraries {
                command.env("LD_LIBRARY_PATH", libraries);
            }
            if let Some(modules) = &program.modules {
                // What it compiles is not wanted beside them.
                command.env("PYTHONPATH", modules);
                command.env("PYTHONDONTWRITEBYTECODE", "1");
            }
            // Kea takes the folders of its lock and of its process id from its environment.
            for variable in ["KEA_LOCKFILE_DIR", "KEA_PIDFILE_DIR"] {
                command.env(variable, folder);
            }
            command
                .stdin(Stdio::null())
                .stdout(OwnedFd::from(far))
                .stderr(OwnedFd::from(errors));
        })?;
        let daemon = Self {
            name: name.to_owned(),
            log: Console::new(near)?,
            log_file: folder.join(format!("{name}.log")),
            process,
        };
        daemon.wait_for(ready, READY_TIME_MAX)?;
        Ok(daemon)
    }

    /// Waits until its log says `pattern`, after what was found before, and returns the text before.
    ///
    /// # Errors
    /// [`ForeignError::Console`] with the last lines of the log.
    pub fn wait_for(&self, pattern: &str, timeout: Duration) -> Result<String, ForeignError> {
        let found = self.log.wait_for(pattern, timeout);
        found.map_err(|error| ForeignError::Console {
            who: self.name.clone(),
            error,
        })
    }

    /// Everything it said so far.
    pub fn log(&self) -> String {
        self.log.text()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.process.kill();
        // For whoever looks into a failed test's folder, and only if it can be kept.
        let mut text = fs::read(&self.log_file).unwrap_or_default();
        text.extend(self.log.text().into_bytes());
        let _ = fs::write(&self.log_file, text);
    }
}

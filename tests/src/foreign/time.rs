//! NTP servers: chrony and NTPsec. Both tell the host's time and cannot change it.

use std::fs;
use std::path::Path;

use super::ForeignError;
use super::daemon::Daemon;
use super::namespace::Namespace;
use crate::network::address::TIME_SERVER;

/// Which server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NtpServer {
    /// chrony's chronyd.
    Chrony,
    /// NTPsec's ntpd. It answers that it knows no time for its first two seconds.
    Ntpsec,
}

impl NtpServer {
    /// Its program's name.
    pub fn program(self) -> &'static str {
        match self {
            Self::Chrony => "chronyd",
            Self::Ntpsec => "ntpd",
        }
    }

    /// Starts it.
    ///
    /// # Errors
    /// [`ForeignError`].
    pub fn start(self, namespace: &Namespace, folder: &Path) -> Result<Daemon, ForeignError> {
        let file = folder.join(format!("{}.conf", self.program()));
        // The file's name beside the folder it runs in: chrony takes no path with a space.
        let configuration = match self {
            Self::Chrony => format!(
                "local stratum 1\nallow\nbindaddress {TIME_SERVER}\n\
                 cmdport 0\nbindcmdaddress /\npidfile chronyd.pid\n"
            ),
            // Without any other source it takes the host's clock for right after a second.
            Self::Ntpsec => "tos orphan 6 orphanwait 1\n".to_owned(),
        };
        fs::write(&file, configuration)?;
        let file = file.display().to_string();
        match self {
            Self::Chrony => {
                // -x: it does not touch the host's clock.
                let arguments = ["-4", "-d", "-x", "-u", "root", "-f", &file];
                let ready = "Running with root privileges";
                Daemon::start(namespace, folder, self.program(), &arguments, ready)
            }
            Self::Ntpsec => {
                let ready = format!("{TIME_SERVER}:123");
                Daemon::start(
                    namespace,
                    folder,
                    self.program(),
                    &["-4", "-n", "-c", &file],
                    &ready,
                )
            }
        }
    }
}

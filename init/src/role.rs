//! Which of its roles the one binary plays.

use std::ffi::OsStr;
use std::io;
use std::path::Path;

/// The roles of the binary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// PID 1.
    Init,
    /// The DHCP client.
    Netd,
    /// The NTP client.
    Timed,
    /// The process that writes or checks the idle slot.
    Installer,
    /// The process that reads what was set for this machine.
    Settings,
    /// The kernel's helper, for an orderly power-off.
    PowerOff,
    /// The kernel's helper, for an orderly restart.
    Restart,
    /// The kernel's helper, for something this machine does not do.
    Unknown,
}

impl Role {
    /// From the process id and the name the binary was started by.
    ///
    /// The kernel starts its user-mode helpers, `poweroff` and `reboot` among them, through one
    /// fixed path and says in `argv[0]` which one it means.
    #[must_use]
    pub fn of(pid: u32, argv0: &OsStr) -> Self {
        if pid == 1 {
            return Self::Init;
        }
        match Path::new(argv0).file_name().and_then(OsStr::to_str) {
            Some("netd") => Self::Netd,
            Some("timed") => Self::Timed,
            Some("installer") => Self::Installer,
            Some("settings") => Self::Settings,
            Some("poweroff") => Self::PowerOff,
            Some("reboot") => Self::Restart,
            _ => Self::Unknown,
        }
    }
}

/// What every service does first: nothing it starts can gain privileges.
///
/// # Errors
/// If the kernel refuses.
pub fn drop_privileges() -> io::Result<()> {
    Ok(rustix::thread::set_no_new_privs(true)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_process_is_init_whatever_its_name() {
        for name in ["/init", "init", "netd", ""] {
            assert_eq!(Role::of(1, OsStr::new(name)), Role::Init);
        }
    }

    #[test]
    fn other_processes_are_what_they_are_called() {
        for (name, role) in [
            ("/bin/netd", Role::Netd),
            ("timed", Role::Timed),
            ("/bin/installer", Role::Installer),
            ("/bin/settings", Role::Settings),
            ("/sbin/poweroff", Role::PowerOff),
            ("/sbin/reboot", Role::Restart),
            ("/sbin/init", Role::Unknown),
            ("/sbin/modprobe", Role::Unknown),
            ("", Role::Unknown),
        ] {
            assert_eq!(Role::of(77, OsStr::new(name)), role, "{name}");
        }
    }
}

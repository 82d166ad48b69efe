//! What is mounted where, and why.

use std::ffi::CStr;

use rustix::io::Errno;
use rustix::mount::{MountFlags, mount, mount_remount};

/// One mount.
#[derive(Debug)]
pub struct Mount {
    /// What is mounted; a label, for the file systems used here.
    pub source: &'static str,
    /// Where.
    pub target: &'static str,
    /// File system type.
    pub kind: &'static str,
    /// Restrictions.
    pub flags: MountFlags,
    /// Options of the file system.
    pub data: &'static CStr,
    /// What it is for.
    pub reason: &'static str,
}

/// Every mount of the machine, in order. Each writable one is noexec, nosuid and bounded.
pub const MOUNTS: &[Mount] = &[
    Mount {
        source: "proc",
        target: "/proc",
        kind: "proc",
        flags: NO_SPECIAL,
        data: c"hidepid=2",
        reason: "sysctls, and each process's view of itself; of no other process",
    },
    Mount {
        source: "sysfs",
        target: "/sys",
        kind: "sysfs",
        flags: NO_SPECIAL.union(MountFlags::RDONLY),
        data: c"",
        reason: "PID 1 finds the NIC, the state partition and the buttons there; nobody writes",
    },
    Mount {
        source: "devtmpfs",
        target: "/dev",
        kind: "devtmpfs",
        flags: MountFlags::NOSUID.union(MountFlags::NOEXEC),
        data: c"mode=0755",
        reason: "terminals, state partition, watchdog, buttons",
    },
    Mount {
        source: "tmpfs",
        target: "/run",
        kind: "tmpfs",
        flags: NO_SPECIAL,
        data: c"size=1m,nr_inodes=64,mode=0755",
        reason: "the one writable directory, for PID 1 only; bounded, so that it cannot eat the memory",
    },
];

const NO_SPECIAL: MountFlags = MountFlags::NOSUID
    .union(MountFlags::NODEV)
    .union(MountFlags::NOEXEC);

/// Mounts everything in [`MOUNTS`] and makes the root read-only.
///
/// # Errors
/// Names the mount that failed. Without them the machine cannot work, so the caller gives up.
pub fn mount_all() -> Result<(), String> {
    for entry in MOUNTS {
        match mount(
            entry.source,
            entry.target,
            entry.kind,
            entry.flags,
            entry.data,
        ) {
            // The kernel mounts devtmpfs itself where it is told to.
            Ok(()) | Err(Errno::BUSY) => {}
            Err(error) => {
                return Err(format!(
                    "cannot mount {} at {} ({}): {error}",
                    entry.kind, entry.target, entry.reason
                ));
            }
        }
    }
    mount_remount("/", MountFlags::RDONLY, c"")
        .map_err(|error| format!("cannot make the root read-only: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mount_is_nosuid_and_noexec() {
        for entry in MOUNTS {
            assert!(
                entry
                    .flags
                    .contains(MountFlags::NOSUID | MountFlags::NOEXEC),
                "{}",
                entry.target
            );
        }
    }
}

//! The role `installer`: writes the idle slot, or checks it, in a process of its own.
//!
//! PID 1 never reads a foreign byte. It starts `/bin/installer` as its own user, with nothing but
//! these descriptors:
//!
//! | | `installer install` | `installer check` |
//! |---|---|---|
//! | 0 | the stream: a slot's bytes, header first, to its end | `/dev/null` |
//! | 1 | the slot's block device, for reading and writing | the same, for reading |
//! | 2 | takes one line: why it failed | the same |
//!
//! Exit status 0: the slot holds a whole system. Otherwise the line says why it does not.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Seek as _, SeekFrom};

use crate::role;
use crate::slot::system;

/// Its file in the image.
pub const PATH: &str = "/bin/installer";
/// The user and group it runs as.
pub const UID: u32 = 105;
/// The argument that has the slot written.
pub const INSTALL: &str = "install";
/// The argument that has the slot read and checked.
pub const CHECK: &str = "check";

/// Does what the first argument says.
///
/// # Errors
/// Why the slot holds no whole system.
pub fn run() -> io::Result<()> {
    role::drop_privileges()?;
    let mut slot = descriptor(rustix::stdio::stdout())?;
    let slot_bytes = slot.seek(SeekFrom::End(0))?;
    let argument = std::env::args_os().nth(1);
    let outcome = if argument == Some(OsString::from(INSTALL)) {
        let mut stream = descriptor(rustix::stdio::stdin())?;
        system::install(&mut stream, &mut slot, slot_bytes)
    } else if argument == Some(OsString::from(CHECK)) {
        system::check(&mut slot, slot_bytes)
    } else {
        return Err(io::Error::other(format!("say {INSTALL} or {CHECK}")));
    };
    outcome.map(drop).map_err(io::Error::other)
}

fn descriptor(fd: rustix::fd::BorrowedFd<'_>) -> io::Result<File> {
    Ok(File::from(rustix::io::fcntl_dupfd_cloexec(fd, 3)?))
}

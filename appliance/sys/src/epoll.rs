//! Taking a descriptor out of an epoll set by its number.
//!
//! `rustix` asks for the descriptor itself, which the one who watches it does not own.

#![expect(unsafe_code, reason = "rustix removes only what is borrowed")]

use std::os::fd::{AsFd, AsRawFd, RawFd};

use rustix::io::Errno;

/// Removes a descriptor from the set. Nothing but the set changes.
///
/// # Errors
/// `ENOENT` and `EBADF` if it is not in it.
pub fn remove(set: impl AsFd, descriptor: RawFd) -> Result<(), Errno> {
    // SAFETY: EPOLL_CTL_DEL reads no event (epoll_ctl(2)), so the pointer may be null; the set is borrowed,
    // and a number that is no descriptor is an error, not undefined.
    let result = unsafe {
        libc::epoll_ctl(
            set.as_fd().as_raw_fd(),
            libc::EPOLL_CTL_DEL,
            descriptor,
            std::ptr::null_mut(),
        )
    };
    if result == 0 {
        return Ok(());
    }
    Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO))
}

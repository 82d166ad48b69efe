//! io_uring, cut down to readiness: polls, their cancellation, and waiting with a limit.
//!
//! The ring is created disabled, restricted to two opcodes and to no registration at all, and only then
//! enabled: operations in a ring pass by seccomp, so what it may do is decided before it can do anything.
//! It belongs to the thread that opened it. No operation used here lends memory to the kernel.

#![expect(unsafe_code, reason = "the ring's memory is shared with the kernel")]

use std::fmt;
use std::os::fd::RawFd;
use std::time::Duration;

use io_uring::register::Restriction;
use io_uring::types::{Fd, SubmitArgs, Timespec};
use io_uring::{EnterFlags, IoUring, cqueue, opcode, squeue};
use rustix::io::Errno;

/// It can be read (poll(2), `POLLIN`).
pub const READABLE: u32 = libc::POLLIN as u32;
/// It can be written (`POLLOUT`).
pub const WRITABLE: u32 = libc::POLLOUT as u32;
/// The peer sends no more (`POLLRDHUP`).
pub const PEER_ENDED: u32 = libc::POLLRDHUP as u32;
/// Both directions are over (`POLLHUP`); told without being asked for.
pub const HUNG_UP: u32 = libc::POLLHUP as u32;
/// An error is pending (`POLLERR`); told without being asked for.
pub const FAILED: u32 = libc::POLLERR as u32;

/// What a poll yielded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Completion {
    /// The poll's id.
    pub id: u64,
    /// Bits of poll(2), or why there was no poll.
    pub events: Result<u32, Errno>,
    /// The poll goes on. A multishot poll that does not must be asked for again.
    pub is_armed: bool,
}

/// Why there is no ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenError {
    /// What was attempted.
    pub step: &'static str,
    /// What the system said.
    pub errno: Errno,
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cause = match self.errno {
            Errno::PERM | Errno::ACCESS => {
                "seccomp or the setting kernel.io_uring_disabled forbids it"
            }
            Errno::NOSYS => "this kernel is built without io_uring",
            Errno::INVAL | Errno::OPNOTSUPP => "this kernel is older than Linux 6.1",
            Errno::NOMEM => "memory, or the limit on locked memory, does not suffice",
            Errno::MFILE | Errno::NFILE => "there is no descriptor left",
            _ => "unexpected",
        };
        write!(f, "{}: {} ({cause})", self.step, self.errno)
    }
}

impl std::error::Error for OpenError {}

/// See the module.
pub struct PollRing {
    ring: IoUring,
    /// How each wait enters the kernel.
    flags: EnterFlags,
}

impl fmt::Debug for PollRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PollRing").finish_non_exhaustive()
    }
}

impl PollRing {
    /// Opens a ring for the calling thread, with room for `submissions` requests between two waits (more
    /// are submitted at once) and for `completions` results (more are kept by the kernel).
    ///
    /// # Errors
    /// Which step failed, and the likely cause.
    pub fn open(submissions: u32, completions: u32) -> Result<Self, OpenError> {
        let failed = |step| {
            move |error: std::io::Error| OpenError {
                step,
                errno: errno_of(&error),
            }
        };
        // Completions are made when this thread waits and at no other time (DEFER_TASKRUN): readiness that
        // changes many times between two waits is told once.
        let ring: IoUring = IoUring::builder()
            .setup_r_disabled()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_submit_all()
            .setup_cqsize(completions)
            .dontfork()
            .build(submissions)
            .map_err(failed("io_uring_setup"))?;
        if !ring.params().is_feature_nodrop() || !ring.params().is_feature_ext_arg() {
            return Err(OpenError {
                step: "the features of io_uring",
                errno: Errno::OPNOTSUPP,
            });
        }
        ring.submitter()
            .register_restrictions(&mut ALLOWED.map(Restriction::sqe_op))
            .map_err(failed("restricting the ring"))?;
        ring.submitter()
            .register_enable_rings()
            .map_err(failed("enabling the ring"))?;
        let mut flags = EnterFlags::GETEVENTS | EnterFlags::EXT_ARG;
        if ring.params().is_feature_no_iowait() {
            flags |= EnterFlags::NO_IOWAIT; // a thread that waits for a peer is idle, not waiting for a disk
        }
        Ok(Self { ring, flags })
    }

    /// Polls a descriptor, once or until cancelled; a multishot poll is edge-triggered and tells the state
    /// at its beginning. Takes effect with the next [`Self::wait`] at the latest.
    ///
    /// The descriptor is named by its number, so that a poll can be asked for again without its owner: a
    /// number that is nobody's yields `EBADF`, and one that became another's yields that one's readiness.
    ///
    /// # Errors
    /// Those of submitting what was asked for before, if there is no more room.
    pub fn poll(
        &mut self,
        descriptor: RawFd,
        events: u32,
        is_multishot: bool,
        id: u64,
    ) -> Result<(), Errno> {
        let poll = opcode::PollAdd::new(Fd(descriptor), events).multi(is_multishot);
        self.push(&poll.build().user_data(id))
    }

    /// Cancels a poll. It completes once more, with `ECANCELED`, unless it had completed already.
    ///
    /// # Errors
    /// See [`Self::poll`].
    pub fn cancel(&mut self, id: u64) -> Result<(), Errno> {
        // Not POLL_REMOVE: it fails (EALREADY) on a poll that is about to tell something, and leaves it armed.
        self.push(&opcode::AsyncCancel::new(id).build().user_data(CANCELLING))
    }

    /// Submits what was asked for and waits until something completed, no longer than `timeout` (for ever
    /// without). A timeout and an interruption are no errors.
    ///
    /// # Errors
    /// Those of `io_uring_enter(2)`; `EEXIST` on a thread that is not the one that opened it.
    pub fn wait(&mut self, timeout: Option<Duration>) -> Result<(), Errno> {
        let limit = timeout.map(Timespec::from);
        let mut args = SubmitArgs::new();
        if let Some(limit) = &limit {
            args = args.timespec(limit);
        }
        let count = u32::from(timeout != Some(Duration::ZERO));
        match self.enter(count, self.flags, &args) {
            Err(Errno::TIME | Errno::INTR) => Ok(()),
            other => other,
        }
    }

    /// Takes what has completed.
    pub fn completions(&mut self) -> impl Iterator<Item = Completion> {
        self.ring.completion().filter_map(|entry| {
            let (id, result) = (entry.user_data(), entry.result());
            (id != CANCELLING).then(|| Completion {
                id,
                events: u32::try_from(result).map_err(|_| Errno::from_raw_os_error(-result)),
                is_armed: cqueue::more(entry.flags()),
            })
        })
    }

    fn push(&mut self, entry: &squeue::Entry) -> Result<(), Errno> {
        if self.ring.submission().is_full() {
            self.enter(0, EnterFlags::EXT_ARG, &SubmitArgs::new())?;
        }
        // SAFETY: the only operations pushed are polls and cancellations. Their entries hold numbers, no
        // pointer: there is no memory that would have to outlive the operation.
        unsafe { self.ring.submission().push(entry) }.map_err(|_| Errno::BUSY)
    }

    fn enter(
        &mut self,
        count: u32,
        flags: EnterFlags,
        args: &SubmitArgs<'_, '_>,
    ) -> Result<(), Errno> {
        let queued = u32::try_from(self.ring.submission().len()).unwrap_or(u32::MAX);
        // SAFETY: with EXT_ARG in every `flags` the kernel takes the argument for the struct that SubmitArgs
        // is and reads it, and the timespec that it points to, during the call; both are borrowed for it.
        unsafe {
            self.ring
                .submitter()
                .enter(queued, count, flags.bits(), Some(args))
        }
        .map(drop)
        .map_err(|error| errno_of(&error))
    }
}

fn errno_of(error: &std::io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

/// What the ring may do.
const ALLOWED: [u8; 2] = [opcode::PollAdd::CODE, opcode::AsyncCancel::CODE];

/// The id of cancellations, whose own results say nothing that their poll's does not.
const CANCELLING: u64 = u64::MAX;

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    /// Without io_uring there is nothing to test, and that must be the host's decision.
    fn open() -> Option<PollRing> {
        match PollRing::open(8, 16) {
            Ok(ring) => Some(ring),
            Err(error) => {
                assert!(
                    [Errno::PERM, Errno::NOSYS, Errno::INVAL].contains(&error.errno),
                    "{error}"
                );
                None
            }
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "the ring is the kernel's")]
    fn other_operations_are_refused_by_the_kernel() {
        let Some(mut ring) = open() else { return };
        ring.push(&opcode::Nop::new().build().user_data(7)).unwrap();
        ring.wait(None).unwrap();
        let all: Vec<Completion> = ring.completions().collect();
        assert_eq!(
            (all[0].id, all[0].events, all.len()),
            (7, Err(Errno::ACCESS), 1)
        );
    }

    #[test]
    #[cfg_attr(miri, ignore = "the ring is the kernel's")]
    fn registrations_are_refused_by_the_kernel() {
        let Some(ring) = open() else { return };
        let refused = ring.ring.submitter().register_files(&[0]).unwrap_err();
        assert_eq!(errno_of(&refused), Errno::ACCESS);
    }

    #[test]
    #[cfg_attr(miri, ignore = "the ring is the kernel's")]
    fn a_cancelled_poll_tells_no_more() {
        let Some(mut ring) = open() else { return };
        let (mut left, right) = UnixStream::pair().unwrap();
        ring.poll(right.as_raw_fd(), READABLE, true, 1).unwrap();
        ring.wait(Some(Duration::ZERO)).unwrap();
        left.write_all(b"told").unwrap();
        ring.cancel(1).unwrap();
        ring.wait(None).unwrap();
        let last = ring.completions().last().unwrap();
        assert_eq!((last.id, last.is_armed), (1, false));
        left.write_all(b"not told").unwrap();
        ring.wait(Some(Duration::ZERO)).unwrap();
        assert_eq!(ring.completions().count(), 0);
    }

    #[test]
    #[cfg_attr(miri, ignore = "the ring is the kernel's")]
    fn more_requests_than_the_queue_holds_are_submitted_on_the_way() {
        let Some(mut ring) = open() else { return };
        let (_left, right) = UnixStream::pair().unwrap();
        for id in 0..100 {
            ring.poll(right.as_raw_fd(), WRITABLE, false, id).unwrap();
        }
        let mut seen = vec![];
        while seen.len() < 100 {
            ring.wait(None).unwrap();
            seen.extend(ring.completions().map(|completion| completion.id));
        }
        seen.sort_unstable();
        assert_eq!(seen, (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn a_refusal_names_its_likely_cause() {
        let refused = OpenError {
            step: "io_uring_setup",
            errno: Errno::PERM,
        };
        assert!(refused.to_string().contains("kernel.io_uring_disabled"));
    }
}

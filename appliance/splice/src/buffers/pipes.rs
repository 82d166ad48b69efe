//! Pipes: what `splice(2)` moves bytes through, without copying them.
//!
//! A turn takes one and gives it back. One that holds bytes which the sink did not take stays with its
//! session, and nothing more is put into it before they are gone. An idle session holds none: a pipe costs
//! two descriptors and about 2 KiB.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::io::Errno;
use rustix::pipe::{
    PipeFlags, SpliceFlags, fcntl_getpipe_size, fcntl_setpipe_size, pipe_with, splice,
};

/// Bytes that a pipe is filled with: 64 pages, which is what its buffers are counted in.
pub const PIPE_BYTES: usize = 256 * 1024;

/// One thread's pipes.
#[derive(Default)]
pub struct Pipes {
    spare: Vec<Pipe>,
    /// How many there are, with sessions or spare. Each has a share of it, because sessions may end
    /// without a turn.
    count: Arc<AtomicUsize>,
}

impl fmt::Debug for Pipes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pipes")
            .field("spare", &self.spare.len())
            .field("count", &self.count)
            .finish()
    }
}

impl Pipes {
    /// An empty pipe. `None` if [`PIPES_MAX`] are in use, or the system has no descriptors left: bytes are
    /// then copied.
    #[must_use]
    pub fn take(&mut self) -> Option<Pipe> {
        if let Some(pipe) = self.spare.pop() {
            return Some(pipe);
        }
        if self.count.load(Ordering::Relaxed) >= PIPES_MAX {
            return None;
        }
        Pipe::open(&self.count).ok()
    }

    /// Whether none is left for the next one who needs one. Whoever keeps bytes in a pipe then copies them
    /// out of it, so that one always comes back.
    #[must_use]
    pub fn are_used_up(&self) -> bool {
        self.spare.is_empty() && self.count.load(Ordering::Relaxed) >= PIPES_MAX
    }

    /// Takes a pipe back. One that holds bytes is closed, and they are lost.
    pub fn give_back(&mut self, pipe: Pipe) {
        if pipe.held == 0 && self.spare.len() < SPARE_MAX {
            self.spare.push(pipe);
        }
    }
}

/// A pipe, and how many bytes are in it.
pub struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
    held: usize,
    slots: usize,
    _share: Share,
}

impl fmt::Debug for Pipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pipe({} bytes)", self.held)
    }
}

impl Pipe {
    fn open(count: &Arc<AtomicUsize>) -> Result<Self, Errno> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        // Beyond its share of memory a user gets smaller pipes, which work as well, in more calls.
        let _ = fcntl_setpipe_size(&write, PIPE_BYTES);
        let slots = fcntl_getpipe_size(&write)? / PAGE_BYTES;
        count.fetch_add(1, Ordering::Relaxed);
        Ok(Self {
            read,
            write,
            held: 0,
            slots,
            _share: Share(Arc::clone(count)),
        })
    }

    /// How many bytes are in it.
    #[must_use]
    pub const fn held(&self) -> usize {
        self.held
    }

    /// Whether there is certainly room after so many records were put into the empty pipe, so that `EAGAIN`
    /// is the socket's.
    #[must_use]
    pub const fn has_room_after(&self, records: usize) -> bool {
        records * RECORD_SLOTS_MAX < self.slots
    }

    /// Moves bytes of a non-blocking socket into the pipe, at most `most`. Returns how many; 0 at the
    /// socket's end.
    ///
    /// # Errors
    /// The socket's; `EAGAIN` if it has none, or if the pipe is full.
    pub fn fill(&mut self, source: BorrowedFd<'_>, most: usize) -> Result<usize, Errno> {
        let moved = moved(source, self.write.as_fd(), most)?;
        self.held += moved;
        Ok(moved)
    }

    /// Moves what is in the pipe to a non-blocking socket. Returns how many bytes it took.
    ///
    /// # Errors
    /// The socket's; `EAGAIN` if it takes none.
    pub fn drain(&mut self, sink: BorrowedFd<'_>) -> Result<usize, Errno> {
        let moved = moved(self.read.as_fd(), sink, self.held)?;
        self.held = self.held.saturating_sub(moved);
        Ok(moved)
    }

    /// Copies what is in the pipe into memory. Returns how many bytes that were: all of them, if `buffer`
    /// has [`PIPE_BYTES`] at least.
    ///
    /// # Errors
    /// None in practice.
    pub fn copy_out(&mut self, buffer: &mut [u8]) -> Result<usize, Errno> {
        let mut copied = 0;
        while self.held > 0 && copied < buffer.len() {
            match rustix::io::read(&self.read, &mut buffer[copied..]) {
                Ok(0) => break,
                Ok(count) => {
                    copied += count;
                    self.held = self.held.saturating_sub(count);
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(copied)
    }
}

/// `SPLICE_F_NONBLOCK` is about the pipe; the socket has to be non-blocking by itself. Never
/// `SPLICE_F_MORE`: kernel TLS would keep the last record open until more comes.
fn moved(from: BorrowedFd<'_>, to: BorrowedFd<'_>, most: usize) -> Result<usize, Errno> {
    loop {
        match splice(from, None, to, None, most, SpliceFlags::NONBLOCK) {
            Err(Errno::INTR) => {}
            other => return other,
        }
    }
}

/// A pipe's place among those that there are.
struct Share(Arc<AtomicUsize>);

impl Drop for Share {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Pipes of one thread. Those of a user may take 64 MiB (`/proc/sys/fs/pipe-user-pages-soft`), which is
/// 256 of them.
const PIPES_MAX: usize = 64;

/// Slots of a pipe that one record takes at most: one for each fragment of the kernel's buffer, and one
/// for its head (`MAX_SKB_FRAGS`).
const RECORD_SLOTS_MAX: usize = 18;

/// What the kernel counts a pipe's slots by.
const PAGE_BYTES: usize = 4096;

/// Pipes that wait for a turn: one is in use at a time, the others return from sessions.
const SPARE_MAX: usize = 4;

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use super::*;
    use crate::loopback::sockets;

    #[test]
    fn bytes_go_through_a_pipe_and_the_end_is_seen() {
        let mut pipe = Pipes::default().take().unwrap();
        let ((mut from, source), (sink, mut to)) = (sockets(), sockets());
        for socket in [&source, &sink] {
            socket.set_nonblocking(true).unwrap();
        }
        assert_eq!(pipe.fill(source.as_fd(), PIPE_BYTES), Err(Errno::AGAIN));
        from.write_all(&[7; 1000]).unwrap();
        drop(from);
        assert_eq!(pipe.fill(source.as_fd(), 600), Ok(600));
        assert_eq!(pipe.fill(source.as_fd(), PIPE_BYTES), Ok(400));
        assert_eq!(pipe.fill(source.as_fd(), PIPE_BYTES), Ok(0));
        assert_eq!(pipe.held(), 1000);
        assert_eq!(pipe.drain(sink.as_fd()), Ok(1000));
        assert_eq!(pipe.held(), 0);
        let mut read = [0; 1000];
        to.read_exact(&mut read).unwrap();
        assert_eq!(read, [7; 1000]);
    }

    #[test]
    fn a_pipe_that_was_emptied_is_used_again_and_one_that_was_not_is_closed() {
        let mut pipes = Pipes::default();
        let pipe = pipes.take().unwrap();
        pipes.give_back(pipe);
        assert_eq!(pipes.spare.len(), 1);
        let mut pipe = pipes.take().unwrap();
        assert_eq!(pipes.count.load(Ordering::Relaxed), 1);
        pipe.held = 1;
        pipes.give_back(pipe);
        assert_eq!(pipes.spare.len(), 0);
        assert_eq!(pipes.count.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn what_is_in_a_pipe_can_be_copied_out_and_it_is_empty_then() {
        let mut pipe = Pipes::default().take().unwrap();
        let (mut from, source) = sockets();
        source.set_nonblocking(true).unwrap();
        for part in [&[1; 700][..], &[2; 300]] {
            from.write_all(part).unwrap();
            assert_eq!(pipe.fill(source.as_fd(), PIPE_BYTES), Ok(part.len()));
        }
        let mut buffer = vec![0; PIPE_BYTES];
        assert_eq!(pipe.copy_out(&mut buffer), Ok(1000));
        assert_eq!(buffer[..1000], [&[1; 700][..], &[2; 300]].concat());
        assert_eq!(pipe.held(), 0);
    }

    #[test]
    fn no_more_pipes_than_the_limit_are_with_sessions() {
        let mut pipes = Pipes::default();
        let held: Vec<_> = std::iter::from_fn(|| pipes.take()).collect();
        assert_eq!(held.len(), PIPES_MAX);
        assert!(pipes.are_used_up());
        drop(held);
        assert!(pipes.take().is_some());
    }
}

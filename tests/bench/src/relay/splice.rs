//! Inside the kernel: splice(2) into a pipe and out of it.

use std::io;
use std::net::TcpStream;

use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};

use super::{Moved, Mover};

/// What a pipe holds, in bytes.
const LEN: usize = 256 << 10;
/// Pipes that are kept for later.
const SPARE_MAX: usize = 16;

/// The spare pipes of a thread. A session has one only while bytes wait in it.
#[derive(Debug, Default)]
pub struct Pipes(Vec<Pipe>);

/// A pipe and what is in it.
#[derive(Debug)]
pub struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
    len: usize,
}

impl Pipes {
    fn take(&mut self) -> io::Result<Pipe> {
        if let Some(pipe) = self.0.pop() {
            return Ok(pipe);
        }
        let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        fcntl_setpipe_size(&write, LEN)?;
        Ok(Pipe {
            read,
            write,
            len: 0,
        })
    }

    fn put(&mut self, pipe: Pipe) {
        if self.0.len() < SPARE_MAX {
            self.0.push(pipe);
        }
    }
}

impl Pipe {
    /// Fills it as far as there is something to fill it with: the bytes, or `None` at the end.
    fn fill(&mut self, from: &TcpStream) -> io::Result<Option<usize>> {
        let mut filled = 0;
        while self.len < LEN {
            match splice(from, None, &self.write, None, LEN - self.len, FLAGS) {
                Ok(0) if filled == 0 => return Ok(None),
                Ok(0) | Err(Errno::AGAIN) => break,
                Ok(len) => {
                    self.len += len;
                    filled += len;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Some(filled))
    }

    /// Empties it as far as the socket takes it; whether it is empty.
    fn drain(&mut self, to: &TcpStream) -> io::Result<bool> {
        while self.len > 0 {
            match splice(&self.read, None, to, None, self.len, FLAGS) {
                Ok(len) => self.len -= len,
                Err(Errno::AGAIN) => return Ok(false),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(true)
    }
}

const FLAGS: SpliceFlags = SpliceFlags::MOVE.union(SpliceFlags::NONBLOCK);

impl Mover for Pipes {
    type Held = Option<Pipe>;

    fn turn(
        &mut self,
        from: &TcpStream,
        to: &TcpStream,
        held: &mut Option<Pipe>,
        budget: usize,
    ) -> io::Result<Moved> {
        let mut pipe = match held.take() {
            Some(pipe) => pipe,
            None => self.take()?,
        };
        let mut moved = 0;
        let end = loop {
            if !pipe.drain(to)? {
                *held = Some(pipe);
                return Ok(Moved::Blocked);
            }
            if moved >= budget {
                break Moved::Spent;
            }
            match pipe.fill(from)? {
                None => break Moved::Ended,
                Some(0) => break Moved::Blocked,
                Some(len) => moved += len,
            }
        };
        self.put(pipe);
        Ok(end)
    }
}

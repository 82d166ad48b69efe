//! Outward: the plain socket is spliced into a pipe, the pipe into the TLS socket.

use std::net::TcpStream;

use connector_sys::kernel_tls::{self, Direction, Suite};
use rustix::io::Errno;
use rustix::net::RecvFlags;

use super::{Held, channel, errno, has_room, install, plain};
use crate::buffers::Kept;
use crate::buffers::pipes::PIPE_BYTES;
use crate::channel::DirectionKeys;
use crate::engine::course::{Course, State};
use crate::engine::in_place::control;
use crate::engine::{self, Broken, Engine, Flow, Progress};
use crate::record::{CONTENT_MAX, Content, OVERHEAD};

/// From the plain socket into records.
#[derive(Debug)]
pub struct Outward {
    suite: Suite,
    held: Held,
    course: Course,
    /// As things were before the first record of ours.
    began: Began,
    /// Bytes that were given to the kernel to seal, alerts included.
    given: u64,
    /// The number of the next record: exact when it was asked for, at least so much since then.
    sequence: u64,
    /// Calls since it was asked for.
    calls: u8,
}

/// Where the counting begins.
#[derive(Clone, Copy, Debug)]
struct Began {
    /// The number of the first record.
    sequence: u64,
    /// Bytes that TCP had taken.
    taken: u64,
}

impl Outward {
    /// Gives the kernel the keys of what is sent; `None` if it does not take them, and then nothing
    /// changed.
    #[must_use]
    pub fn install(socket: &TcpStream, keys: &DirectionKeys) -> Option<Self> {
        let taken = kernel_tls::taken_by_tcp(socket).ok()?;
        let suite = install(socket, Direction::Send, keys)?;
        Some(Self {
            suite,
            held: Held::default(),
            course: Course::new(),
            began: Began {
                sequence: keys.sequence,
                taken,
            },
            given: 0,
            sequence: keys.sequence,
            calls: 0,
        })
    }

    fn advance(&mut self, flow: &mut Flow<'_>) -> Result<Progress, Broken> {
        loop {
            if !self.flush(flow)? {
                return Ok(Progress::Waiting);
            }
            let progress = match self.course.state() {
                State::Open => self.forward(flow)?,
                State::Closing(end) => self.close(flow, end)?,
                State::Closed(end) => Some(end),
            };
            if let Some(progress) = progress {
                return Ok(progress);
            }
        }
    }

    /// Sends what is held; false if something of it is left then.
    fn flush(&mut self, flow: &mut Flow<'_>) -> Result<bool, Broken> {
        if self.held.is_empty() {
            return Ok(true);
        }
        let moved = self.held.flush(flow).map_err(channel)?;
        self.given += moved as u64;
        self.sequence += moved.div_ceil(CONTENT_MAX) as u64;
        self.calls += 1;
        if self.calls >= CALLS_UNCOUNTED_MAX {
            self.count(flow)?;
        }
        Ok(self.held.is_empty())
    }

    /// Asks the kernel for the number of the next record.
    fn count(&mut self, flow: &Flow<'_>) -> Result<(), Broken> {
        self.calls = 0;
        let sequence = kernel_tls::sequence(flow.sink, Direction::Send, self.suite);
        self.sequence = sequence.map_err(Broken::Channel)?;
        Ok(())
    }

    /// Reads once; `None` if there is something to be sent, or the end to be told.
    fn forward(&mut self, flow: &mut Flow<'_>) -> Result<Option<Progress>, Broken> {
        if *flow.budget == 0 {
            return Ok(Some(Progress::Spent));
        }
        if !*flow.readable || !*flow.writable {
            return Ok(Some(Progress::Waiting));
        }
        // Whole records: what is spliced at once does not end in the middle of one.
        let whole = flow
            .budget
            .div_ceil(CONTENT_MAX)
            .saturating_mul(CONTENT_MAX);
        let most = whole.min(PIPE_BYTES);
        let read = match self.course.room(most) {
            Some(room) => self.fill(flow, room),
            None => drop_some(flow),
        };
        match read {
            Ok(0) => self.course.close(Progress::Ended),
            Ok(read) => {
                *flow.budget = flow.budget.saturating_sub(read);
                self.course.take(read);
            }
            Err(Errno::AGAIN) => *flow.readable = false,
            Err(error) => return Err(plain(error)),
        }
        Ok(None)
    }

    /// Takes bytes of the plain socket: into a pipe, which is empty, so that `EAGAIN` is the socket's; or
    /// into memory.
    fn fill(&mut self, flow: &mut Flow<'_>, most: usize) -> Result<usize, Errno> {
        let Some(mut pipe) = flow.buffers.pipes.take() else {
            return self.copy(flow, most);
        };
        let filled = pipe.fill(flow.source, most);
        match pipe.held() {
            0 => flow.buffers.pipes.give_back(pipe),
            _ => self.held.pipe = Some(pipe),
        }
        filled
    }

    fn copy(&mut self, flow: &mut Flow<'_>, most: usize) -> Result<usize, Errno> {
        let mut buffer = flow.buffers.take();
        let room = most.min(buffer.len());
        match rustix::net::recv(flow.source, &mut buffer[..room], RecvFlags::empty()) {
            Ok((read, _)) if read > 0 => {
                self.held.copied = Some(flow.buffers.keep(buffer, 0..read));
                Ok(read)
            }
            other => {
                flow.buffers.give_back(buffer);
                other.map(|(read, _)| read)
            }
        }
    }

    /// Sends the alert of the end, once everything before it is TCP's; `None` when that is done.
    fn close(&mut self, flow: &mut Flow<'_>, end: Progress) -> Result<Option<Progress>, Broken> {
        if !self.is_taken(flow)? {
            if has_room(flow.sink) {
                // The kernel is about to go on by itself, and tells nobody.
                return Ok(Some(Progress::Spent));
            }
            *flow.writable = false;
        }
        if !*flow.writable {
            return Ok(Some(Progress::Waiting));
        }
        let alert = control::end_alert(end);
        match kernel_tls::send_record(flow.sink, Content::Alert.number(), &alert) {
            Ok(()) => {
                self.given += alert.len() as u64;
                self.course.set_closed(end);
                self.count(flow)?;
                Ok(None)
            }
            Err(error) if errno(&error) == Errno::AGAIN => {
                *flow.writable = false;
                Ok(Some(Progress::Waiting))
            }
            Err(error) => Err(Broken::Channel(error)),
        }
    }

    /// Whether TCP has taken every record. One that it has taken a part of, the kernel's TLS keeps, and
    /// would lose if the socket were closed; so the alert, which is always taken as a whole where there is
    /// room at all, waits for that.
    fn is_taken(&mut self, flow: &Flow<'_>) -> Result<bool, Broken> {
        self.count(flow)?;
        let records = self.sequence.saturating_sub(self.began.sequence);
        let sealed = self.given + records * OVERHEAD as u64;
        let taken = kernel_tls::taken_by_tcp(flow.sink).map_err(Broken::Channel)?;
        Ok(taken.saturating_sub(self.began.taken) >= sealed)
    }
}

impl engine::Outward for Outward {
    fn turn(&mut self, flow: &mut Flow<'_>) -> Result<Progress, Broken> {
        self.advance(flow)
    }

    fn preload(&mut self, bytes: Vec<u8>) {
        self.held.copied = (!bytes.is_empty()).then(|| Kept::copy(&bytes));
    }

    fn course(&mut self) -> &mut Course {
        &mut self.course
    }
}

impl engine::OneWay for Outward {
    fn is_holding(&self) -> bool {
        !self.held.is_empty() || self.course.is_closing()
    }

    fn records(&self) -> u64 {
        self.sequence
    }

    fn engine(&self) -> Engine {
        Engine::Kernel
    }
}

/// Reads bytes beyond the limit, and drops them.
fn drop_some(flow: &mut Flow<'_>) -> Result<usize, Errno> {
    let mut buffer = flow.buffers.take();
    let read = rustix::net::recv(flow.source, &mut buffer[..], RecvFlags::empty());
    flow.buffers.give_back(buffer);
    read.map(|(read, _)| read)
}

/// Calls after which the kernel is asked how many records they made. Small writes, each spliced by itself,
/// are counted; a call of many small pieces may make more records than its bytes tell.
const CALLS_UNCOUNTED_MAX: u8 = 64;

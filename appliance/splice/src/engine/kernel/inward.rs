//! Inward: the TLS socket is spliced into a pipe, the pipe into the plain socket.

use std::net::TcpStream;

use connector_sys::kernel_tls::{self, Direction};
use rustix::io::Errno;
use rustix::net::Shutdown;

use super::{Held, channel, errno, give, has_ended, install, plain};
use crate::buffers::pipes::{PIPE_BYTES, Pipe};
use crate::channel::{DirectionKeys, Rekey};
use crate::engine::in_place::control::{self, Control};
use crate::engine::{self, Broken, Engine, Flow, Progress};
use crate::record::{CONTENT_MAX, Content, RecordError};

/// From records to the plain socket.
#[derive(Debug)]
pub struct Inward {
    held: Held,
    /// What comes next could not be spliced: a record of another type, or no record.
    is_other_next: bool,
    /// Records without data since the last one with data.
    idle_records: u8,
    /// The peer asked for our keys to change.
    is_key_requested: bool,
    end: Option<End>,
    /// Records of data under the present keys, and the number of the first.
    records: u64,
}

/// The end of the direction, as the peer said.
#[derive(Clone, Copy, Debug)]
enum End {
    /// There is still something to deliver.
    Reached(Progress),
    /// Everything is delivered.
    Delivered(Progress),
}

impl Inward {
    /// Gives the kernel the keys of what comes; `None` if it does not take them, and then nothing changed.
    #[must_use]
    pub fn install(socket: &TcpStream, keys: &DirectionKeys) -> Option<Self> {
        install(socket, Direction::Receive, keys)?;
        Some(Self {
            held: Held::default(),
            is_other_next: false,
            idle_records: 0,
            is_key_requested: false,
            end: None,
            records: keys.sequence,
        })
    }

    fn advance(&mut self, flow: &mut Flow<'_>, rekey: &mut Rekey) -> Result<Progress, Broken> {
        loop {
            self.held.flush(flow).map_err(plain)?;
            if !self.held.is_empty() {
                return Ok(Progress::Waiting);
            }
            if self.end.is_some() {
                return self.finish(flow);
            }
            if *flow.budget == 0 {
                return Ok(Progress::Spent);
            }
            if !*flow.readable || !*flow.writable {
                return Ok(Progress::Waiting);
            }
            let pipe = match self.is_other_next {
                true => None,
                false => flow.buffers.pipes.take(),
            };
            match pipe {
                Some(pipe) => self.fill(flow, pipe)?,
                None => self.fetch(flow, rekey)?,
            }
        }
    }

    /// Takes what is there, up to a pipe full: one record a call.
    fn fill(&mut self, flow: &mut Flow<'_>, mut pipe: Pipe) -> Result<(), Broken> {
        let most = PIPE_BYTES.min(*flow.budget);
        let mut calls = 0;
        while pipe.held() < most {
            match pipe.fill(flow.source, PIPE_BYTES - pipe.held()) {
                Ok(0) => self.note_nothing(flow)?,
                Err(Errno::INVAL) => {
                    self.is_other_next = true;
                    break;
                }
                Ok(_) => {
                    self.idle_records = 0;
                    calls += 1;
                }
                Err(Errno::AGAIN) => {
                    // Else it may be the pipe that is full.
                    *flow.readable = !pipe.has_room_after(calls);
                    break;
                }
                Err(error) => return Err(channel(error)),
            }
        }
        self.records += calls as u64;
        *flow.budget = flow.budget.saturating_sub(pipe.held());
        match pipe.held() {
            0 => flow.buffers.pipes.give_back(pipe),
            _ => self.held.pipe = Some(pipe),
        }
        Ok(())
    }

    /// Receives records of one type into memory, whatever type that is, and does what they ask for.
    fn fetch(&mut self, flow: &mut Flow<'_>, rekey: &mut Rekey) -> Result<(), Broken> {
        let was_refused = std::mem::take(&mut self.is_other_next);
        let mut buffer = flow.buffers.take();
        match kernel_tls::receive_record(flow.source, &mut buffer) {
            Ok(Some((kind, length))) if length > 0 && kind == Content::Data.number() => {
                self.idle_records = 0;
                self.records += length.div_ceil(CONTENT_MAX) as u64;
                *flow.budget = flow.budget.saturating_sub(length);
                self.held.copied = Some(flow.buffers.keep(buffer, 0..length));
                return Ok(());
            }
            Ok(Some((kind, length))) => {
                let bytes = buffer.get(..length).unwrap_or_default();
                self.take(flow, kind, bytes, rekey)?;
            }
            Ok(None) => return Err(Broken::Truncated),
            // What could not be spliced was no record: the kernel has said so once, and reads no further.
            Err(error) if errno(&error) == Errno::AGAIN && was_refused => {
                return Err(RecordError::Header.into());
            }
            Err(error) if errno(&error) == Errno::AGAIN => *flow.readable = false,
            Err(error) => return Err(channel(errno(&error))),
        }
        flow.buffers.give_back(buffer);
        Ok(())
    }

    /// Does what a record without data asks for.
    fn take(
        &mut self,
        flow: &Flow<'_>,
        kind: u8,
        bytes: &[u8],
        rekey: &mut Rekey,
    ) -> Result<(), Broken> {
        self.note_idle()?;
        let content = Content::of(kind).ok_or(RecordError::Type)?;
        match control::read(content, bytes)? {
            Control::Nothing => {}
            Control::End(end) => self.end = Some(End::Reached(end)),
            Control::KeyUpdate(is_requested) => {
                let next = rekey.next_inward().map_err(|_| Broken::CannotRekey)?;
                // Before Linux 6.14 a direction's keys are set once.
                give(flow.source, Direction::Receive, &next).map_err(|_| Broken::CannotRekey)?;
                self.records = next.sequence;
                self.is_key_requested |= is_requested;
            }
        }
        Ok(())
    }

    /// A splice of nothing was the connection's end, at which every further one is the same; or a record
    /// without a byte. To receive what follows would tell, but a peer that sends such records without end
    /// would keep the kernel in that one call.
    fn note_nothing(&mut self, flow: &Flow<'_>) -> Result<(), Broken> {
        let noted = self.note_idle();
        match noted {
            Err(Broken::Flood) if has_ended(flow.source) => Err(Broken::Truncated),
            other => other,
        }
    }

    fn note_idle(&mut self) -> Result<(), Broken> {
        self.idle_records += 1;
        match self.idle_records > control::IDLE_RECORDS_MAX {
            true => Err(Broken::Flood),
            false => Ok(()),
        }
    }

    /// Hands the end on, once.
    fn finish(&mut self, flow: &mut Flow<'_>) -> Result<Progress, Broken> {
        match self.end {
            None => Ok(Progress::Waiting),
            Some(End::Delivered(end)) => Ok(end),
            Some(End::Reached(end)) => {
                if end == Progress::Ended {
                    rustix::net::shutdown(flow.sink, Shutdown::Write).map_err(plain)?;
                }
                self.end = Some(End::Delivered(end));
                Ok(end)
            }
        }
    }
}

impl engine::Inward for Inward {
    fn turn(&mut self, flow: &mut Flow<'_>, rekey: &mut Rekey) -> Result<Progress, Broken> {
        self.advance(flow, rekey)
    }

    fn takes_key_request(&mut self) -> bool {
        std::mem::take(&mut self.is_key_requested)
    }
}

impl engine::OneWay for Inward {
    fn is_holding(&self) -> bool {
        !self.held.is_empty()
    }

    fn records(&self) -> u64 {
        self.records
    }

    fn engine(&self) -> Engine {
        Engine::Kernel
    }
}

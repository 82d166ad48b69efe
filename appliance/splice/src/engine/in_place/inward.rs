//! Inward: received into one buffer, opened in place, written in one call.

use std::ops::Range;

use rustix::net::Shutdown;

use super::control::{self, Control, IDLE_RECORDS_MAX};
use super::{receive, send};
use crate::buffers::{BUFFER, Kept};
use crate::channel::{DirectionKeys, Rekey};
use crate::engine::{self, Broken, Engine, Flow, Progress};
use crate::record::{self, CONTENT_MAX, Content, Keys, Opened, RECEIVED_MAX, RECORD_MAX};

/// From records to the plain socket.
#[derive(Debug)]
pub struct Inward {
    keys: Keys,
    /// Received, and neither delivered nor complete.
    rest: Option<Rest>,
    /// Records without data since the last one with data.
    idle_records: u8,
    /// The peer asked for our keys to change.
    is_key_requested: bool,
    end: Option<End>,
}

/// The end of the direction, as the peer said.
#[derive(Clone, Copy, Debug)]
enum End {
    /// There is still something to deliver.
    Reached(Progress),
    /// Everything is delivered.
    Delivered(Progress),
}

/// What stays between two turns: opened bytes, then the part of a record.
#[derive(Debug)]
struct Rest {
    bytes: Kept,
    opened: usize,
}

/// Where things are in the buffer: opened bytes from `sent` to `opened`, then those that are of no use any
/// more, then the part of a record from `part` to `end`.
#[derive(Clone, Copy, Debug, Default)]
struct Filled {
    sent: usize,
    opened: usize,
    part: usize,
    end: usize,
}

impl Inward {
    /// From the next record on.
    ///
    /// # Errors
    /// [`Broken::BadRecord`] for a suite that is none of ours.
    pub fn new(keys: DirectionKeys) -> Result<Self, Broken> {
        Ok(Self {
            keys: Keys::new(&keys)?,
            rest: None,
            idle_records: 0,
            is_key_requested: false,
            end: None,
        })
    }

    fn advance(&mut self, flow: &mut Flow<'_>, rekey: &mut Rekey) -> Result<Progress, Broken> {
        if !self.flush(flow)? {
            return Ok(Progress::Waiting);
        }
        if self.end.is_none() {
            let progress = self.forward(flow, rekey)?;
            if self.end.is_none() || engine::OneWay::is_holding(self) {
                return Ok(progress);
            }
        }
        self.finish(flow)
    }

    /// Delivers what was opened; false if something of it is left then.
    fn flush(&mut self, flow: &mut Flow<'_>) -> Result<bool, Broken> {
        let Some(rest) = self.rest.as_mut().filter(|rest| rest.opened > 0) else {
            return Ok(true);
        };
        if !*flow.writable {
            return Ok(false);
        }
        let opened = rest.bytes.bytes().get(..rest.opened).unwrap_or_default();
        let sent = send(flow.sink, opened, flow.writable, Broken::Plain)?;
        rest.bytes.advance(sent);
        rest.opened -= sent;
        *flow.carried += sent as u64;
        if rest.opened > 0 {
            return Ok(false);
        }
        if rest.bytes.bytes().is_empty()
            && let Some(rest) = self.rest.take()
        {
            flow.buffers.release(rest.bytes);
        }
        Ok(true)
    }

    /// Receives, opens and delivers until something else is due. What is left then stays.
    fn forward(&mut self, flow: &mut Flow<'_>, rekey: &mut Rekey) -> Result<Progress, Broken> {
        if *flow.budget == 0 {
            return Ok(Progress::Spent);
        }
        if !*flow.readable || !*flow.writable {
            return Ok(Progress::Waiting);
        }
        let mut buffer = flow.buffers.take();
        let mut filled = Filled {
            end: self.unpack(flow, &mut buffer),
            ..Filled::default()
        };
        let progress = self.pump(flow, rekey, &mut buffer, &mut filled);
        let left = join(&mut buffer, filled);
        if progress.is_err() || left.is_empty() {
            flow.buffers.give_back(buffer);
        } else {
            self.rest = Some(Rest {
                bytes: flow.buffers.keep(buffer, left),
                opened: filled.opened - filled.sent,
            });
        }
        progress
    }

    /// Puts the part of a record that came earlier at the beginning of the buffer. Returns its length.
    fn unpack(&mut self, flow: &mut Flow<'_>, buffer: &mut [u8]) -> usize {
        let Some(rest) = self.rest.take() else {
            return 0;
        };
        let part = rest.bytes.bytes();
        let length = part.len();
        if let Some(front) = buffer.get_mut(..length) {
            front.copy_from_slice(part);
        }
        flow.buffers.release(rest.bytes);
        length
    }

    fn pump(
        &mut self,
        flow: &mut Flow<'_>,
        rekey: &mut Rekey,
        buffer: &mut [u8],
        filled: &mut Filled,
    ) -> Result<Progress, Broken> {
        let slots = flow.buffers.slots();
        loop {
            let room = RECORD_MAX * slots.min(flow.budget.div_ceil(CONTENT_MAX));
            let free = buffer.get_mut(filled.end..room.clamp(RECEIVED_MAX, BUFFER));
            let free = free.unwrap_or_default();
            match receive(flow.source, free, flow.readable)? {
                None => return Ok(Progress::Waiting),
                Some(0) => return Err(Broken::Truncated),
                Some(received) => filled.end += received,
            }
            self.open_all(buffer, filled, rekey)?;
            *flow.budget = flow.budget.saturating_sub(filled.opened);
            if !deliver(flow, buffer, filled)? || self.end.is_some() {
                return Ok(Progress::Waiting);
            }
            if *flow.budget == 0 {
                return Ok(Progress::Spent);
            }
            if !*flow.readable {
                return Ok(Progress::Waiting);
            }
        }
    }

    /// Opens all complete records, from the beginning of the buffer on. After the direction's end there is
    /// nothing more to open, whatever came.
    fn open_all(
        &mut self,
        buffer: &mut [u8],
        filled: &mut Filled,
        rekey: &mut Rekey,
    ) -> Result<(), Broken> {
        while self.end.is_none() {
            let unread = buffer.get(filled.part..filled.end).unwrap_or_default();
            let Some(length) = record::length(unread)? else {
                return Ok(());
            };
            let end = filled.part + length;
            if end > filled.end {
                return Ok(());
            }
            let bytes = buffer.get_mut(filled.opened..end).unwrap_or_default();
            let opened = self.keys.open(bytes, filled.part - filled.opened)?;
            filled.part = end;
            let content = bytes.get(..opened.length).unwrap_or_default();
            self.take(opened, content, rekey)?;
            if opened.content == Content::Data {
                filled.opened += opened.length;
            }
        }
        filled.part = filled.end;
        Ok(())
    }

    /// Does what a record asks for, beside delivering its data.
    fn take(&mut self, opened: Opened, content: &[u8], rekey: &mut Rekey) -> Result<(), Broken> {
        if opened.content == Content::Data && opened.length > 0 {
            self.idle_records = 0;
            return Ok(());
        }
        self.idle_records += 1;
        if self.idle_records > IDLE_RECORDS_MAX {
            return Err(Broken::Flood);
        }
        match control::read(opened.content, content)? {
            Control::Nothing => {}
            Control::End(end) => self.end = Some(End::Reached(end)),
            Control::KeyUpdate(is_requested) => {
                let next = rekey.next_inward().map_err(|_| Broken::CannotRekey)?;
                self.keys = Keys::new(&next)?;
                self.is_key_requested |= is_requested;
            }
        }
        Ok(())
    }

    /// Hands the end on, once.
    fn finish(&mut self, flow: &mut Flow<'_>) -> Result<Progress, Broken> {
        match self.end {
            None => Ok(Progress::Waiting),
            Some(End::Delivered(end)) => Ok(end),
            Some(End::Reached(end)) => {
                if end == Progress::Ended {
                    let shut = rustix::net::shutdown(flow.sink, Shutdown::Write);
                    shut.map_err(|error| Broken::Plain(error.into()))?;
                }
                self.end = Some(End::Delivered(end));
                Ok(end)
            }
        }
    }
}

impl engine::Inward for Inward {
    fn turn(&mut self, flow: &mut Flow<'_>, rekey: &mut Rekey) -> Result<Progress, Broken> {
        let progress = self.advance(flow, rekey);
        if !matches!(progress, Ok(Progress::Spent)) {
            self.keys.rest();
        }
        progress
    }

    fn takes_key_request(&mut self) -> bool {
        std::mem::take(&mut self.is_key_requested)
    }
}

impl engine::OneWay for Inward {
    fn is_holding(&self) -> bool {
        self.rest.as_ref().is_some_and(|rest| rest.opened > 0)
    }

    fn records(&self) -> u64 {
        self.keys.sequence()
    }

    fn engine(&self) -> Engine {
        Engine::InPlace
    }
}

/// Sends what was opened. If the sink takes it all, the part of a record moves to the beginning, and the
/// buffer is ready to be filled on; false if not.
fn deliver(flow: &mut Flow<'_>, buffer: &mut [u8], filled: &mut Filled) -> Result<bool, Broken> {
    if filled.opened > 0 {
        let opened = buffer.get(..filled.opened).unwrap_or_default();
        filled.sent = send(flow.sink, opened, flow.writable, Broken::Plain)?;
        *flow.carried += filled.sent as u64;
    }
    if filled.sent < filled.opened {
        return Ok(false);
    }
    if filled.part > 0 {
        buffer.copy_within(filled.part..filled.end, 0);
    }
    *filled = Filled {
        end: filled.end - filled.part,
        ..Filled::default()
    };
    Ok(true)
}

/// Moves the part of a record to where the opened bytes end. Returns where both are.
fn join(buffer: &mut [u8], filled: Filled) -> Range<usize> {
    if filled.part > filled.opened {
        buffer.copy_within(filled.part..filled.end, filled.opened);
    }
    filled.sent..filled.opened + (filled.end - filled.part)
}

//! Outward: read into record slots, sealed in place, many records in one send.

use std::io::IoSliceMut;

use super::{control, read, send};
use crate::buffers::{Kept, SLOTS};
use crate::channel::{DirectionKeys, Rekey};
use crate::engine::course::{Course, State};
use crate::engine::{self, Broken, Engine, Flow, Progress};
use crate::record::{CONTENT_MAX, Content, HEADER, Keys, OVERHEAD, RECORD_MAX, RecordError};

/// From the plain socket into records.
#[derive(Debug)]
pub struct Outward {
    keys: Keys,
    /// Sealed, and not taken by the channel's socket.
    unsent: Option<Unsent>,
    /// Goes before what is read.
    first: Option<Box<[u8]>>,
    /// The KeyUpdate that is due, and the keys after it.
    next_keys: Option<Box<DirectionKeys>>,
    course: Course,
}

/// What the sink has not taken.
#[derive(Debug)]
struct Unsent {
    sealed: Kept,
    /// How many plain bytes are in it.
    plain: u64,
}

/// How a stretch of reading and sending came to its end.
enum Stop {
    /// The source has ended.
    EndOfFile,
    /// Something else has its turn.
    Progress(Progress),
    /// The sink took only a part: up to here of the sealed bytes that end there, with so many plain bytes
    /// in what is left.
    SinkFull { sent: usize, end: usize, plain: u64 },
}

impl Outward {
    /// From the next record on.
    ///
    /// # Errors
    /// [`Broken::BadRecord`] for a suite that is none of ours.
    pub fn new(keys: DirectionKeys) -> Result<Self, Broken> {
        Ok(Self {
            keys: Keys::new(&keys)?,
            unsent: None,
            first: None,
            next_keys: None,
            course: Course::new(),
        })
    }

    /// Whatever is to be sent, in its order: what is left, a KeyUpdate, the first bytes, the source's, the
    /// end's alert.
    fn advance(&mut self, flow: &mut Flow<'_>) -> Result<Progress, Broken> {
        loop {
            if !self.flush(flow)? {
                return Ok(Progress::Waiting);
            }
            if let State::Closed(end) = self.course.state() {
                return Ok(end);
            }
            if let Some(next) = self.next_keys.take() {
                self.seal_small(Content::Handshake, &control::key_update(false))?;
                self.keys = Keys::new(&next)?;
            } else if let Some(first) = self.first.take() {
                self.seal_first(&first)?;
            } else if let State::Closing(end) = self.course.state() {
                self.seal_small(Content::Alert, &control::end_alert(end))?;
                self.course.set_closed(end);
            } else if let Some(progress) = self.forward(flow)? {
                return Ok(progress);
            }
        }
    }

    /// Sends what is left; false if there is still something left then.
    fn flush(&mut self, flow: &mut Flow<'_>) -> Result<bool, Broken> {
        let Some(unsent) = &mut self.unsent else {
            return Ok(true);
        };
        if !*flow.writable {
            return Ok(false);
        }
        let length = unsent.sealed.bytes().len();
        let sent = send(
            flow.sink,
            unsent.sealed.bytes(),
            flow.writable,
            Broken::Channel,
        )?;
        let plain = part(unsent.plain, sent, length);
        unsent.sealed.advance(sent);
        unsent.plain -= plain;
        *flow.carried += plain;
        if sent < length {
            return Ok(false);
        }
        if let Some(unsent) = self.unsent.take() {
            flow.buffers.release(unsent.sealed);
        }
        Ok(true)
    }

    /// Reads, seals and sends until something else is due; `None` if that is for [`Self::advance`] to see.
    fn forward(&mut self, flow: &mut Flow<'_>) -> Result<Option<Progress>, Broken> {
        if let Some(stopped) = stopped(flow) {
            return Ok(Some(stopped));
        }
        let mut buffer = flow.buffers.take();
        match self.pump(flow, &mut buffer) {
            Ok(Stop::SinkFull { sent, end, plain }) => {
                let sealed = flow.buffers.keep(buffer, sent..end);
                self.unsent = Some(Unsent { sealed, plain });
                Ok(Some(Progress::Waiting))
            }
            Ok(Stop::Progress(progress)) => {
                flow.buffers.give_back(buffer);
                Ok(Some(progress))
            }
            Ok(Stop::EndOfFile) => {
                flow.buffers.give_back(buffer);
                self.course.close(Progress::Ended);
                Ok(None)
            }
            Err(broken) => {
                flow.buffers.give_back(buffer);
                Err(broken)
            }
        }
    }

    fn pump(&mut self, flow: &mut Flow<'_>, buffer: &mut [u8]) -> Result<Stop, Broken> {
        let slots = flow.buffers.slots();
        loop {
            if let Some(stopped) = stopped(flow) {
                return Ok(Stop::Progress(stopped));
            }
            let most = CONTENT_MAX * slots.min(flow.budget.div_ceil(CONTENT_MAX));
            let room = self.course.room(most);
            let read = match room {
                Some(room) => read_into_slots(flow, buffer, room)?,
                None => read(flow.source, &mut [IoSliceMut::new(buffer)], flow.readable)?,
            };
            let Some(plain) = read else {
                return Ok(Stop::Progress(Progress::Waiting));
            };
            if plain == 0 {
                return Ok(Stop::EndOfFile);
            }
            *flow.budget = flow.budget.saturating_sub(plain);
            self.course.take(plain);
            if room.is_none() {
                continue;
            }
            let end = self.seal_slots(buffer, plain)?;
            let sent = send(flow.sink, &buffer[..end], flow.writable, Broken::Channel)?;
            let delivered = part(plain as u64, sent, end);
            *flow.carried += delivered;
            if sent < end {
                let plain = plain as u64 - delivered;
                return Ok(Stop::SinkFull { sent, end, plain });
            }
        }
    }

    /// Seals what lies in the slots, `plain` bytes in all. Returns where it ends.
    fn seal_slots(&mut self, buffer: &mut [u8], plain: usize) -> Result<usize, Broken> {
        let mut left = plain;
        let mut end = 0;
        while left > 0 {
            let length = left.min(CONTENT_MAX);
            let slot = buffer.get_mut(end..).unwrap_or_default();
            end += self.seal_data(slot, length)?;
            left -= length;
        }
        Ok(end)
    }

    fn seal_data(&mut self, slot: &mut [u8], length: usize) -> Result<usize, RecordError> {
        match self.keys.is_spent() {
            true => Err(RecordError::Spent),
            false => self.keys.seal(slot, length, Content::Data),
        }
    }

    fn seal_first(&mut self, first: &[u8]) -> Result<(), Broken> {
        let mut sealed = Vec::new();
        for content in first.chunks(CONTENT_MAX) {
            let mut record = vec![0; content.len() + OVERHEAD];
            record[HEADER..HEADER + content.len()].copy_from_slice(content);
            self.seal_data(&mut record, content.len())?;
            sealed.append(&mut record);
        }
        self.unsent = Some(Unsent {
            sealed: Kept::copy(&sealed),
            plain: first.len() as u64,
        });
        Ok(())
    }

    fn seal_small(&mut self, content: Content, bytes: &[u8]) -> Result<(), Broken> {
        let mut record = vec![0; bytes.len() + OVERHEAD];
        record[HEADER..HEADER + bytes.len()].copy_from_slice(bytes);
        self.keys.seal(&mut record, bytes.len(), content)?;
        self.unsent = Some(Unsent {
            sealed: Kept::copy(&record),
            plain: 0,
        });
        Ok(())
    }
}

impl engine::Outward for Outward {
    fn turn(&mut self, flow: &mut Flow<'_>) -> Result<Progress, Broken> {
        let progress = self.advance(flow);
        if !matches!(progress, Ok(Progress::Spent)) {
            self.keys.rest();
        }
        progress
    }

    fn preload(&mut self, bytes: Vec<u8>) {
        self.first = (!bytes.is_empty()).then(|| bytes.into_boxed_slice());
    }

    fn course(&mut self) -> &mut Course {
        &mut self.course
    }

    fn update_keys(&mut self, rekey: &mut Rekey) -> Result<(), Broken> {
        if self.next_keys.is_none() && !matches!(self.course.state(), State::Closed(_)) {
            let next = rekey.next_outward().map_err(|_| Broken::CannotRekey)?;
            self.next_keys = Some(Box::new(next));
        }
        Ok(())
    }
}

impl engine::OneWay for Outward {
    fn is_holding(&self) -> bool {
        let is_due = self.first.is_some() || self.next_keys.is_some() || self.course.is_closing();
        self.unsent.is_some() || is_due
    }

    fn records(&self) -> u64 {
        self.keys.sequence()
    }

    fn engine(&self) -> Engine {
        Engine::InPlace
    }
}

/// Why nothing more is to be read in this turn, if so.
fn stopped(flow: &Flow<'_>) -> Option<Progress> {
    if *flow.budget == 0 {
        return Some(Progress::Spent);
    }
    (!*flow.readable || !*flow.writable).then_some(Progress::Waiting)
}

/// Reads at most `room` bytes in one call, each slot's content where [`Keys::seal`] wants it.
fn read_into_slots(
    flow: &mut Flow<'_>,
    buffer: &mut [u8],
    room: usize,
) -> Result<Option<usize>, Broken> {
    let count = room.div_ceil(CONTENT_MAX).min(SLOTS);
    let mut slots = buffer.chunks_mut(RECORD_MAX);
    let mut left = room;
    let mut contents: [IoSliceMut<'_>; SLOTS] = std::array::from_fn(|_| {
        let length = left.min(CONTENT_MAX);
        left -= length;
        let content = slots
            .next()
            .and_then(|slot| slot.get_mut(HEADER..HEADER + length));
        IoSliceMut::new(content.unwrap_or_default())
    });
    let contents = contents.get_mut(..count).unwrap_or_default();
    read(flow.source, contents, flow.readable)
}

/// How many of `plain` bytes are in `sent` of the `sealed` bytes that carry them: all of them in all.
fn part(plain: u64, sent: usize, sealed: usize) -> u64 {
    let sent = sent as u64;
    match sealed as u64 {
        0 => plain,
        // At most 64 KiB times the size of a buffer: far from overflowing.
        sealed => plain * sent / sealed,
    }
}

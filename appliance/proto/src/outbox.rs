//! Bytes a machine wants sent, bounded.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::fmt;

use crate::error::Error;
use crate::frame;
use crate::limits::{self, OUTBOX_MAX};
use crate::message::{Close, Message};

/// Whole encoded frames in the order they go out. Not shown by `Debug`: a hello has a secret.
#[derive(Default)]
pub(crate) struct Outbox {
    frames: VecDeque<Vec<u8>>,
    bytes: usize,
}

impl Outbox {
    /// Queues a message.
    pub(crate) fn push<'a, M: Message<'a>>(&mut self, message: &M) -> Result<(), Error> {
        let mut body = [0; limits::FRAME_BODY_MAX];
        let body = postcard::to_slice(message, &mut body).map_err(|_| Error::OutboxFull {
            max: limits::FRAME_BODY_MAX,
        })?;
        let bytes = frame::encode(M::ID, body).ok_or(Error::OutboxFull {
            max: limits::FRAME_BODY_MAX,
        })?;
        if self.bytes + bytes.len() > OUTBOX_MAX {
            return Err(Error::OutboxFull { max: OUTBOX_MAX });
        }
        self.bytes += bytes.len();
        self.frames.push_back(bytes);
        Ok(())
    }

    /// Queues the farewell that belongs to `error`. If even that does not fit, the peer learns
    /// nothing, which is all it can expect.
    pub(crate) fn push_close(&mut self, error: &Error) {
        let _ = self.push(&Close {
            code: error.close_code(),
            detail: "",
        });
    }

    /// The next frame to send.
    pub(crate) fn pop(&mut self) -> Option<Vec<u8>> {
        let frame = self.frames.pop_front()?;
        self.bytes -= frame.len();
        Some(frame)
    }
}

impl fmt::Debug for Outbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Outbox({} bytes)", self.bytes)
    }
}

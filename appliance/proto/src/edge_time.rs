//! The edge's time, for a machine whose clock nobody else confirms.
//!
//! `TimeRequest{nonce}` by the connector, `TimeReply{nonce, time_us}` by the edge, and the
//! connection ends. Who the edge is, TLS has shown; the nonce shows that the answer was made after
//! the question, so that no stored one passes for it.

use alloc::vec::Vec;
use core::time::Duration;

use crate::error::Error;
use crate::frame::{Deframer, Frame};
use crate::limits;
use crate::message::{Close, Message, TimeReply, TimeRequest};
use crate::outbox::Outbox;
use crate::time::{Instant, UnixMicros};

/// The connector's side, from `TimeRequest` to `TimeReply`.
#[derive(Debug)]
pub struct Asking {
    nonce: [u8; 32],
    asked: Instant,
    deframer: Deframer,
    outbox: Outbox,
}

/// What the edge said, and how long that took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The edge's time, at some instant between question and answer.
    pub time: UnixMicros,
    /// When the question was asked.
    pub asked: Instant,
    /// From the question to the answer. In the middle of it, `time` is wrong by half of it at most.
    pub round_trip: Duration,
}

impl Asking {
    /// Asks at `now`. `nonce` is random and used for nothing else.
    ///
    /// # Errors
    /// None in practice; [`Error::OutboxFull`] by type.
    pub fn new(now: Instant, nonce: [u8; 32]) -> Result<Self, Error> {
        let mut outbox = Outbox::default();
        outbox.push(&TimeRequest { nonce })?;
        Ok(Self {
            nonce,
            asked: now,
            deframer: Deframer::new(),
            outbox,
        })
    }

    /// Takes bytes of the edge that arrived at `now`; the answer once it is whole.
    ///
    /// # Errors
    /// What the edge did wrong; [`Error::NonceMismatch`] if it answers another question.
    pub fn handle_input(
        &mut self,
        now: Instant,
        mut bytes: &[u8],
    ) -> Result<Option<Answer>, Error> {
        while let Some(frame) = self.deframer.next(&mut bytes)? {
            let Some(reply) = expected::<TimeReply>(frame, "TimeReply")? else {
                continue;
            };
            if reply.nonce != self.nonce {
                return Err(Error::NonceMismatch);
            }
            return Ok(Some(Answer {
                time: UnixMicros(reply.time_us),
                asked: self.asked,
                round_trip: now.since(self.asked),
            }));
        }
        Ok(None)
    }

    /// The next bytes to send.
    pub fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        self.outbox.pop()
    }

    /// When the edge must have answered.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        self.asked + limits::GREETING_MAX
    }
}

/// The edge's side, from the handshake to `TimeRequest`.
#[derive(Debug)]
pub struct Answering {
    deframer: Deframer,
    deadline: Instant,
}

impl Answering {
    /// Awaits a question.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self {
            deframer: Deframer::new(),
            deadline: now + limits::GREETING_MAX,
        }
    }

    /// Takes bytes of the connector; its nonce once the question is whole. Answer at once, with
    /// [`reply`], and close.
    ///
    /// # Errors
    /// What the connector did wrong.
    pub fn handle_input(&mut self, mut bytes: &[u8]) -> Result<Option<[u8; 32]>, Error> {
        while let Some(frame) = self.deframer.next(&mut bytes)? {
            if let Some(request) = expected::<TimeRequest>(frame, "TimeRequest")? {
                return Ok(Some(request.nonce));
            }
        }
        Ok(None)
    }

    /// When the connector must have asked.
    #[must_use]
    pub const fn deadline(&self) -> Instant {
        self.deadline
    }
}

/// Bytes of the edge's answer.
#[must_use]
pub fn reply(nonce: [u8; 32], time: UnixMicros) -> Vec<u8> {
    let mut outbox = Outbox::default();
    let time_us = time.0;
    // The message is fifty bytes long.
    let _ = outbox.push(&TimeReply { nonce, time_us });
    outbox.pop().unwrap_or_default()
}

/// The one message that may come now; `None` for one that may be skipped.
fn expected<'a, M: Message<'a>>(
    frame: Frame<'a>,
    awaited: &'static str,
) -> Result<Option<M>, Error> {
    match frame.id {
        id if id == M::ID => M::decode(frame).map(Some),
        Close::ID => Err(Error::PeerClosed {
            code: Close::decode(frame)?.code,
        }),
        _ if frame.is_ignorable() => Ok(None),
        id => Err(Error::UnexpectedMessage { id, awaited }),
    }
}

/// Body of the fuzz target `edge_time`: any bytes, in any pieces, to both sides.
///
/// # Panics
/// If a side believes an answer to another question, or panics itself.
pub fn fuzz_edge_time(data: &[u8]) {
    let Some((&piece, bytes)) = data.split_first() else {
        return;
    };
    let nonce = [7; 32];
    let Ok(mut asking) = Asking::new(Instant::default(), nonce) else {
        return;
    };
    let mut answering = Answering::new(Instant::default());
    let is_genuine = bytes
        .windows(nonce.len())
        .any(|window| window == nonce.as_slice());
    for part in bytes.chunks(usize::from(piece).max(1)) {
        match asking.handle_input(Instant::default(), part) {
            Ok(Some(_)) => assert!(is_genuine, "believed without its nonce"),
            Ok(None) => {}
            Err(_) => break,
        }
    }
    for part in bytes.chunks(usize::from(piece).max(1)) {
        if answering.handle_input(part).is_err() {
            break;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_bytes_of_a_peer_panic_or_are_believed(data: Vec<u8>) {
            fuzz_edge_time(&data);
        }

        #[test]
        fn an_altered_answer_is_not_believed_or_is_the_same_question(at in 0_usize..40, to: u8) {
            let mut bytes = reply([7; 32], UnixMicros(1_800_000_000_000_000));
            prop_assume!(bytes[at] != to);
            bytes[at] = to;
            let mut asking = Asking::new(Instant::default(), [7; 32]).expect("it fits");
            let answer = asking.handle_input(Instant::default(), &bytes);
            // Length, id and nonce are the first 38 bytes; the time is TLS's to protect.
            prop_assert!(at >= 38 || !matches!(answer, Ok(Some(_))), "{answer:?}");
        }
    }
}

//! Frames: `u32` length, `u16` message id, body; all numbers big-endian.
//!
//! The length counts the id and the body. It is checked against [`limits::FRAME_BODY_MAX`] as soon
//! as its four bytes are there, before anything is stored for the body.

use alloc::vec::Vec;
use core::fmt;

use zeroize::Zeroizing;

use crate::error::Error;
use crate::limits::{self, FRAME_HEADER_LEN};

/// Set in the id of a message that a receiver who does not know it may skip.
pub const IGNORABLE: u16 = 0x8000;

/// A whole frame; what it means is [`crate::message`]'s business.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Message id.
    pub id: u16,
    /// Encoded message, at most [`limits::FRAME_BODY_MAX`] bytes.
    pub body: &'a [u8],
}

impl Frame<'_> {
    /// Whether a receiver that does not know the id may skip the frame.
    #[must_use]
    pub const fn is_ignorable(&self) -> bool {
        self.id & IGNORABLE != 0
    }
}

/// Cuts a stream of bytes into frames. Holds at most one frame, which may be a secret's: wiped when
/// dropped, not shown by `Debug`.
#[derive(Default)]
pub struct Deframer {
    /// Has room for the largest frame from the first byte on, so that it never moves.
    buffer: Zeroizing<Vec<u8>>,
    /// The frame in `buffer` was handed out and goes away with the next call.
    handed_out: bool,
}

/// Length field's largest legal value.
const LENGTH_MAX: usize = limits::FRAME_BODY_MAX + ID_LEN;
const LENGTH_LEN: usize = 4;
const ID_LEN: usize = 2;

impl Deframer {
    /// A deframer at the start of a stream.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes bytes from the front of `input` until a frame is whole; never takes a byte of the next
    /// one, so what is left in `input` after the last frame belongs to whatever follows the frames.
    ///
    /// `Ok(None)` means that `input` is used up.
    ///
    /// # Errors
    /// [`Error::FrameLength`] when the announced length is not legal; the stream cannot be followed
    /// from there on.
    pub fn next<'a>(&'a mut self, input: &mut &[u8]) -> Result<Option<Frame<'a>>, Error> {
        if core::mem::take(&mut self.handed_out) {
            self.buffer.clear();
        }
        if !self.fill_to(LENGTH_LEN, input) {
            return Ok(None);
        }
        let announced = self.announced_len();
        let error = Error::FrameLength {
            len: announced,
            max: LENGTH_MAX,
        };
        let len = usize::try_from(announced).map_err(|_| error)?;
        if !(ID_LEN..=LENGTH_MAX).contains(&len) {
            return Err(error);
        }
        if !self.fill_to(LENGTH_LEN + len, input) {
            return Ok(None);
        }
        self.handed_out = true;
        let (header, body) = self.buffer.split_at(FRAME_HEADER_LEN);
        let id = u16::from_be_bytes([header[4], header[5]]);
        Ok(Some(Frame { id, body }))
    }

    /// Whether the stream stands between two frames: an end here is clean, elsewhere a truncation.
    #[must_use]
    pub fn is_between_frames(&self) -> bool {
        self.handed_out || self.buffer.is_empty()
    }

    fn announced_len(&self) -> u32 {
        let mut bytes = [0; LENGTH_LEN];
        bytes.copy_from_slice(&self.buffer[..LENGTH_LEN]);
        u32::from_be_bytes(bytes)
    }

    /// Moves bytes from `input` until the buffer holds `want`; false if `input` ran out first.
    fn fill_to(&mut self, want: usize, input: &mut &[u8]) -> bool {
        let missing = want.saturating_sub(self.buffer.len());
        let (taken, rest) = input.split_at(missing.min(input.len()));
        if self.buffer.capacity() == 0 {
            self.buffer.reserve_exact(LENGTH_LEN + LENGTH_MAX);
        }
        // No more than that: `want` is in the limit by the check of the length field.
        self.buffer.extend_from_slice(taken);
        *input = rest;
        taken.len() == missing
    }
}

impl fmt::Debug for Deframer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Deframer({} bytes)", self.buffer.len())
    }
}

/// Header of a frame whose body has `body_len` bytes; `None` if that is over the limit.
#[must_use]
pub fn header(id: u16, body_len: usize) -> Option<[u8; FRAME_HEADER_LEN]> {
    if body_len > limits::FRAME_BODY_MAX {
        return None;
    }
    let len = u32::try_from(body_len + ID_LEN).ok()?.to_be_bytes();
    let id = id.to_be_bytes();
    Some([len[0], len[1], len[2], len[3], id[0], id[1]])
}

/// A whole frame; `None` if the body is over the limit.
#[must_use]
pub fn encode(id: u16, body: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = header(id, body.len())?.to_vec();
    bytes.extend_from_slice(body);
    Some(bytes)
}

/// Body of the fuzz target `deframer`: any bytes in any pieces give the same frames, and never panic.
pub fn fuzz_deframer(data: &[u8]) {
    let whole = digest(data, data.len().max(1));
    let piece = usize::from(data.first().copied().unwrap_or(0) % 7) + 1;
    assert_eq!(
        whole,
        digest(data, piece),
        "the cut of the stream changed its frames"
    );
}

/// Number of frames, their bytes folded to one number, and the error that ended the stream.
fn digest(data: &[u8], piece: usize) -> (usize, u64, Option<Error>) {
    let mut deframer = Deframer::new();
    let (mut count, mut fold) = (0, 0u64);
    for mut chunk in data.chunks(piece) {
        loop {
            match deframer.next(&mut chunk) {
                Ok(Some(frame)) => {
                    count += 1;
                    fold = frame
                        .body
                        .iter()
                        .fold(fold ^ u64::from(frame.id), |acc, byte| {
                            acc.rotate_left(5)
                                .wrapping_mul(31)
                                .wrapping_add(u64::from(*byte))
                        });
                }
                Ok(None) => break,
                Err(error) => return (count, fold, Some(error)),
            }
        }
    }
    (count, fold, None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_frame_cut_at_every_byte_is_the_same_frame() {
        let bytes = encode(0x0102, b"hello").unwrap();
        for cut in 0..bytes.len() {
            let mut deframer = Deframer::new();
            let (mut first, mut second) = bytes.split_at(cut);
            assert_eq!(deframer.next(&mut first).unwrap(), None);
            let frame = deframer.next(&mut second).unwrap().unwrap();
            assert_eq!((frame.id, frame.body), (0x0102, b"hello".as_slice()));
        }
    }

    #[test]
    fn bytes_after_the_frame_stay_with_the_caller() {
        let mut bytes = encode(7, b"x").unwrap();
        bytes.extend_from_slice(b"raw");
        let mut input = bytes.as_slice();
        let mut deframer = Deframer::new();
        assert!(deframer.next(&mut input).unwrap().is_some());
        assert_eq!(input, b"raw");
        assert!(deframer.is_between_frames());
    }

    #[test]
    fn a_length_of_4_gib_is_refused_with_the_number_and_the_limit() {
        let mut input = [0xff; 4].as_slice();
        let error = Deframer::new().next(&mut input).unwrap_err();
        assert_eq!(
            error,
            Error::FrameLength {
                len: u32::MAX,
                max: 4098
            }
        );
    }

    #[test]
    fn a_length_too_short_for_an_id_is_refused() {
        for len in [0u32, 1] {
            let bytes = len.to_be_bytes();
            let mut input = bytes.as_slice();
            assert!(Deframer::new().next(&mut input).is_err());
        }
    }

    #[test]
    fn the_largest_body_passes_and_one_byte_more_has_no_header() {
        let body = [0u8; limits::FRAME_BODY_MAX];
        let bytes = encode(1, &body).unwrap();
        let mut input = bytes.as_slice();
        assert_eq!(
            Deframer::new()
                .next(&mut input)
                .unwrap()
                .unwrap()
                .body
                .len(),
            body.len()
        );
        assert_eq!(header(1, body.len() + 1), None);
    }

    proptest! {
        #[test]
        fn any_bytes_in_any_pieces_are_handled(data: Vec<u8>) {
            fuzz_deframer(&data);
        }

        #[test]
        fn frames_survive_any_cut(bodies: Vec<Vec<u8>>, piece in 1usize..40) {
            let mut stream = Vec::new();
            for (id, body) in bodies.iter().enumerate() {
                stream.extend(encode(u16::try_from(id).unwrap(), body).unwrap());
            }
            let mut deframer = Deframer::new();
            let mut seen = Vec::new();
            for mut chunk in stream.chunks(piece) {
                while let Some(frame) = deframer.next(&mut chunk).unwrap() {
                    seen.push(frame.body.to_vec());
                }
            }
            prop_assert_eq!(seen, bodies);
        }
    }
}

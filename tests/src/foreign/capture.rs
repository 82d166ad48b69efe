//! Reads what QEMU captured at the guest's network card: the classic pcap format, as the host orders
//! bytes, link type Ethernet.

use std::time::Duration;

use crate::pcap::{Direction, Frame};

/// The frames of a file; those with the source address `guest` are the guest's. A record that is not
/// whole yet ends them.
pub fn frames(file: &[u8], guest: [u8; 6]) -> Vec<Frame> {
    let mut rest = file.get(FILE_HEAD_BYTES..).unwrap_or_default();
    let mut frames = Vec::new();
    let mut began = None;
    while let Some((since_1970, bytes, after)) = record(rest) {
        let began = *began.get_or_insert(since_1970);
        let is_from_guest = bytes.get(6..12) == Some(guest.as_slice());
        frames.push(Frame {
            at: since_1970.saturating_sub(began),
            direction: if is_from_guest {
                Direction::FromGuest
            } else {
                Direction::ToGuest
            },
            bytes: bytes.to_vec(),
        });
        rest = after;
    }
    frames
}

/// Time, frame, and what follows.
fn record(rest: &[u8]) -> Option<(Duration, &[u8], &[u8])> {
    let number = |at: usize| {
        let bytes = rest.get(at..at + 4)?.try_into().ok()?;
        Some(u32::from_ne_bytes(bytes))
    };
    let seconds = Duration::from_secs(number(0)?.into());
    let micros = Duration::from_micros(number(4)?.into());
    let end = RECORD_HEAD_BYTES.checked_add(usize::try_from(number(8)?).ok()?)?;
    let bytes = rest.get(RECORD_HEAD_BYTES..end)?;
    Some((seconds + micros, bytes, &rest[end..]))
}

/// Magic, version, time zone, accuracy, length limit, link type.
const FILE_HEAD_BYTES: usize = 24;

/// Seconds, microseconds, length in the file, length on the wire.
const RECORD_HEAD_BYTES: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    const GUEST: [u8; 6] = [0, 0x50, 0x56, 0, 0, 1];

    #[test]
    fn frames_are_told_apart_by_their_source() {
        let file = [file_head(), frame(5, GUEST), frame(7, [2; 6])].concat();
        let frames = frames(&file, GUEST);
        let told: Vec<_> = frames
            .iter()
            .map(|frame| (frame.at, frame.direction))
            .collect();
        assert_eq!(
            told,
            [
                (Duration::ZERO, Direction::FromGuest),
                (Duration::from_secs(2), Direction::ToGuest)
            ]
        );
        assert_eq!(frames[0].bytes.len(), 14);
    }

    #[test]
    fn a_file_that_ends_anywhere_yields_the_whole_frames_before() {
        let file = [file_head(), frame(5, GUEST), frame(7, GUEST)].concat();
        for length in 0..file.len() {
            let whole = length.saturating_sub(FILE_HEAD_BYTES) / (RECORD_HEAD_BYTES + 14);
            assert_eq!(frames(&file[..length], GUEST).len(), whole, "{length}");
        }
    }

    fn file_head() -> Vec<u8> {
        vec![0; FILE_HEAD_BYTES]
    }

    fn frame(second: u32, source: [u8; 6]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for number in [second, 0, 14, 14] {
            bytes.extend(number.to_ne_bytes());
        }
        bytes.extend([0xff; 6]);
        bytes.extend(source);
        bytes.extend([8, 0]);
        bytes
    }
}

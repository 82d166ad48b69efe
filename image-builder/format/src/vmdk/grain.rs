//! One grain: 64 KiB of the disk as a zlib stream.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::panic::resume_unwind;
use std::thread;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::{GRAIN_BYTES, VmdkError, lba};
use crate::bytes::is_zero;

/// A grain that has a byte which is not zero.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Grain {
    /// CRC-32 of the 64 KiB.
    pub(super) content_crc32: u32,
    /// The zlib stream of them.
    pub(super) deflated: Vec<u8>,
}

impl Grain {
    /// The grain with this content, which is [`GRAIN_BYTES`] long; nothing when it is all zeros.
    pub(super) fn deflate(content: &[u8]) -> Option<Self> {
        Self::deflate_with(&mut compressor(), content)
    }

    fn deflate_with(zlib: &mut Compress, content: &[u8]) -> Option<Self> {
        if is_zero(content) {
            return None;
        }
        zlib.reset();
        let mut deflated = Vec::with_capacity(GRAIN_BYTES + GRAIN_BYTES / 16);
        loop {
            let rest = &content[usize::try_from(zlib.total_in()).expect("at most a grain")..];
            match zlib.compress_vec(rest, &mut deflated, FlushCompress::Finish) {
                Ok(Status::StreamEnd) => break,
                Ok(Status::Ok | Status::BufError) => deflated.reserve(GRAIN_BYTES),
                Err(error) => unreachable!("the compressor was reset: {error}"),
            }
        }
        deflated.shrink_to_fit();
        Some(Self {
            content_crc32: crc32fast::hash(content),
            deflated,
        })
    }

    /// The grain that a file stores at `index` as this zlib stream, and that inflates to
    /// [`GRAIN_BYTES`] which are not all zeros.
    pub(super) fn from_deflated(index: u64, deflated: &[u8]) -> Result<Self, VmdkError> {
        let content = inflate(index, deflated)?;
        if is_zero(&content) {
            return Err(VmdkError::ZeroGrain { lba: lba(index) });
        }
        Ok(Self {
            content_crc32: crc32fast::hash(&content),
            deflated: deflated.to_vec(),
        })
    }

    /// The content. `index` is for the error only.
    pub(super) fn inflate(&self, index: u64) -> Result<Vec<u8>, VmdkError> {
        inflate(index, &self.deflated)
    }
}

/// The grains of `disk` that are not all zeros, by index.
pub(super) fn deflate_all(disk: &[u8], threads: NonZeroUsize) -> BTreeMap<u64, Grain> {
    // A thread takes every n-th grain: what compresses slowly lies together on a disk.
    let threads = threads.get().min(disk.len().div_ceil(GRAIN_BYTES)).max(1);
    let share = |first: usize| {
        let mut zlib = compressor();
        let grains = (0u64..).zip(disk.chunks_exact(GRAIN_BYTES));
        grains
            .skip(first)
            .step_by(threads)
            .filter_map(|(index, content)| Some((index, Grain::deflate_with(&mut zlib, content)?)))
            .collect::<Vec<_>>()
    };
    thread::scope(|scope| {
        let others: Vec<_> = (1..threads)
            .map(|first| scope.spawn(move || share(first)))
            .collect();
        let mut grains: BTreeMap<u64, Grain> = share(0).into_iter().collect();
        for other in others {
            grains.extend(other.join().unwrap_or_else(|panic| resume_unwind(panic)));
        }
        grains
    })
}

/// The [`GRAIN_BYTES`] that `deflated` holds, of which every byte is used.
fn inflate(index: u64, deflated: &[u8]) -> Result<Vec<u8>, VmdkError> {
    let refused = VmdkError::Inflate { lba: lba(index) };
    let mut zlib = Decompress::new(true);
    let mut content = vec![0; GRAIN_BYTES];
    let status = zlib.decompress(deflated, &mut content, FlushDecompress::Finish);
    let is_whole = matches!(status, Ok(Status::StreamEnd))
        && zlib.total_in() == deflated.len() as u64
        && zlib.total_out() == GRAIN_BYTES as u64;
    if is_whole { Ok(content) } else { Err(refused) }
}

fn compressor() -> Compress {
    Compress::new(Compression::new(LEVEL), true)
}

/// zlib's usual level. Most of the disk is a kernel that is compressed already.
const LEVEL: u32 = 6;

/// The longest zlib stream of a grain that a file may hold. Data that cannot be compressed grows
/// by a few bytes; the factor leaves room for other writers.
pub(super) const DEFLATED_BYTES_MAX: usize = 2 * GRAIN_BYTES;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_and_patterns_inflate_to_what_was_deflated() {
        for content in [noise(), vec![7; GRAIN_BYTES]] {
            let grain = Grain::deflate(&content).unwrap();
            assert!(grain.inflate(0) == Ok(content));
            assert!(grain.deflated.len() < DEFLATED_BYTES_MAX);
            assert_eq!(Grain::from_deflated(0, &grain.deflated), Ok(grain));
        }
    }

    #[test]
    fn a_stream_that_is_cut_padded_or_has_a_wrong_checksum_is_refused() {
        let good = Grain::deflate(&noise()).unwrap().deflated;
        let refused = Err(VmdkError::Inflate { lba: 384 });
        let cut = &good[..good.len() - 1];
        assert_eq!(Grain::from_deflated(3, cut), refused);
        let padded = [good.as_slice(), &[0]].concat();
        assert_eq!(Grain::from_deflated(3, &padded), refused);
        let mut wrong_sum = good;
        *wrong_sum.last_mut().unwrap() ^= 1;
        assert_eq!(Grain::from_deflated(3, &wrong_sum), refused);
    }

    #[test]
    fn a_stream_that_inflates_to_more_or_less_than_a_grain_is_refused() {
        for length in [0, GRAIN_BYTES - 1, GRAIN_BYTES + 1, 1000 * GRAIN_BYTES] {
            let mut deflated = Vec::with_capacity(1 << 20);
            compressor()
                .compress_vec(&vec![1; length], &mut deflated, FlushCompress::Finish)
                .unwrap();
            let refused = Err(VmdkError::Inflate { lba: 0 });
            assert_eq!(Grain::from_deflated(0, &deflated), refused, "{length}");
        }
    }

    #[test]
    fn a_byte_that_is_not_zero_is_seen_wherever_it_is() {
        assert!(Grain::deflate(&vec![0; GRAIN_BYTES]).is_none());
        for at in [0, 1, 15, 16, GRAIN_BYTES / 2 + 7, GRAIN_BYTES - 1] {
            let mut content = vec![0; GRAIN_BYTES];
            content[at] = 1;
            assert!(Grain::deflate(&content).is_some(), "{at}");
        }
    }

    /// A grain that does not compress.
    fn noise() -> Vec<u8> {
        let mut state = 1u32;
        std::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.to_be_bytes()[0]
        })
        .take(GRAIN_BYTES)
        .collect()
    }
}

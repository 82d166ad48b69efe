//! A disk that loses its power: what it may hold afterwards.
//!
//! Pure. Between two flushes a disk writes sectors in any order, so that a power cut keeps any subset of
//! them; the sector under the head may be torn. Everything before the last flush is there.
//! [`for_each_cut`] goes through these states in an order that is always the same: through all subsets
//! where they are few, else through the ones that differ most and a seeded sample.

use std::fmt;

use crate::write_log::Operation;

/// Sectors between two flushes up to which every subset is tried.
const EXHAUSTIVE_MAX: usize = 10;
/// Subsets that are drawn where there are more sectors.
const SAMPLE: usize = 200;

/// A disk in memory that remembers what was done to it.
#[derive(Debug, Clone)]
pub struct BlockDevice {
    content: Vec<u8>,
    operations: Vec<Operation>,
    fails_after: Option<usize>,
}

/// The disk fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failure;

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the model of a disk fails, as it was told to")
    }
}

impl std::error::Error for Failure {}

impl BlockDevice {
    /// A disk with this content.
    pub const fn new(content: Vec<u8>) -> Self {
        Self {
            content,
            operations: Vec::new(),
            fails_after: None,
        }
    }

    /// From the `operations`-th write or flush on, counted over its life, everything fails.
    pub const fn fail_after(&mut self, operations: usize) {
        self.fails_after = Some(operations);
    }

    /// What was done to it, in order.
    pub fn operations(&self) -> &[Operation] {
        &self.operations
    }

    /// What is read from it while it has power.
    pub fn content(&self) -> &[u8] {
        &self.content
    }

    /// Fills `into` from `offset` bytes on.
    ///
    /// # Errors
    /// If the disk fails or ends before.
    pub fn read(&self, offset: usize, into: &mut [u8]) -> Result<(), Failure> {
        self.check()?;
        let end = offset.checked_add(into.len()).ok_or(Failure)?;
        into.copy_from_slice(self.content.get(offset..end).ok_or(Failure)?);
        Ok(())
    }

    /// Writes from `offset` bytes on.
    ///
    /// # Errors
    /// If the disk fails or ends before.
    pub fn write(&mut self, offset: usize, bytes: &[u8]) -> Result<(), Failure> {
        self.check()?;
        let end = offset.checked_add(bytes.len()).ok_or(Failure)?;
        let place = self.content.get_mut(offset..end).ok_or(Failure)?;
        place.copy_from_slice(bytes);
        self.operations.push(Operation::Write {
            offset: offset as u64,
            data: bytes.to_vec(),
        });
        Ok(())
    }

    /// What was written is on the medium.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn flush(&mut self) -> Result<(), Failure> {
        self.check()?;
        self.operations.push(Operation::Flush);
        Ok(())
    }

    fn check(&self) -> Result<(), Failure> {
        let is_dead = |after| self.operations.len() >= after;
        if self.fails_after.is_some_and(is_dead) {
            return Err(Failure);
        }
        Ok(())
    }
}

/// A disk after a power cut.
#[derive(Clone)]
pub struct Cut<'a> {
    /// Operations up to and with the last flush: what they wrote is there.
    pub flushed: usize,
    /// What is on the medium.
    pub disk: &'a [u8],
    /// Which of the sectors written since are there.
    kept: &'a [bool],
    /// The one that is neither there nor as it was.
    torn: Option<(usize, Torn)>,
}

impl Cut<'_> {
    /// Whether a sector was being written when the power failed.
    pub const fn is_torn(&self) -> bool {
        self.torn.is_some()
    }
}

impl fmt::Debug for Cut<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kept: String = self
            .kept
            .iter()
            .map(|kept| if *kept { '1' } else { '0' })
            .collect();
        write!(
            f,
            "cut after {} operations and sectors {kept}, torn {:?}",
            self.flushed, self.torn
        )
    }
}

/// What a torn sector holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Torn {
    /// The new bytes in its first half only.
    FirstHalf,
    /// The new bytes in its second half only.
    SecondHalf,
    /// Zeros.
    Zeros,
    /// Neither the old nor the new bytes.
    Garbage,
}

const TORN: [Torn; 4] = [
    Torn::FirstHalf,
    Torn::SecondHalf,
    Torn::Zeros,
    Torn::Garbage,
];

/// Shows `visit` every disk that a power cut during these operations on `before` may leave, in sectors of
/// `sector_bytes`; returns how many those were.
pub fn for_each_cut(
    before: &[u8],
    operations: &[Operation],
    sector_bytes: usize,
    mut visit: impl FnMut(&Cut<'_>),
) -> usize {
    let mut flushed = before.to_vec();
    let mut at = 0;
    let mut cuts = 0;
    for window in operations.split_inclusive(|operation| *operation == Operation::Flush) {
        let sectors: Vec<Sector<'_>> = window
            .iter()
            .flat_map(|operation| sectors(operation, sector_bytes))
            .collect();
        for (kept, torn) in choices(sectors.len(), at as u64) {
            let mut disk = flushed.clone();
            for (index, sector) in sectors.iter().enumerate() {
                match torn {
                    Some((torn, how)) if torn == index => sector.tear(&mut disk, how),
                    _ if kept[index] => sector.write(&mut disk),
                    _ => {}
                }
            }
            visit(&Cut {
                flushed: at,
                disk: &disk,
                kept: &kept,
                torn,
            });
            cuts += 1;
        }
        for sector in &sectors {
            sector.write(&mut flushed);
        }
        at += window.len();
    }
    visit(&Cut {
        flushed: at,
        disk: &flushed,
        kept: &[],
        torn: None,
    });
    cuts + 1
}

/// One sector of a write.
struct Sector<'a> {
    offset: usize,
    data: &'a [u8],
}

impl Sector<'_> {
    fn write(&self, disk: &mut [u8]) {
        self.place(disk).copy_from_slice(self.data);
    }

    fn tear(&self, disk: &mut [u8], how: Torn) {
        let half = self.data.len() / 2;
        let place = self.place(disk);
        match how {
            Torn::FirstHalf => place[..half].copy_from_slice(&self.data[..half]),
            Torn::SecondHalf => place[half..].copy_from_slice(&self.data[half..]),
            Torn::Zeros => place.fill(0),
            Torn::Garbage => {
                for (place, new) in place.iter_mut().zip(self.data) {
                    *place = !new;
                }
            }
        }
    }

    fn place<'disk>(&self, disk: &'disk mut [u8]) -> &'disk mut [u8] {
        &mut disk[self.offset..self.offset + self.data.len()]
    }
}

fn sectors(operation: &Operation, sector_bytes: usize) -> Vec<Sector<'_>> {
    let Operation::Write { offset, data } = operation else {
        return Vec::new();
    };
    let offset = usize::try_from(*offset).expect("disks in memory are small");
    assert_eq!(offset % sector_bytes, 0, "a write begins within a sector");
    let pieces = data.chunks(sector_bytes).enumerate();
    let sector = |(index, data)| Sector {
        offset: offset + index * sector_bytes,
        data,
    };
    pieces.map(sector).collect()
}

/// Which sectors are kept, and which one is torn how.
type Choice = (Vec<bool>, Option<(usize, Torn)>);

/// The choices among `count` sectors that are tried.
fn choices(count: usize, seed: u64) -> Vec<Choice> {
    let mut all: Vec<_> = subsets(count, seed)
        .into_iter()
        .map(|kept| (kept, None))
        .collect();
    for torn in 0..count {
        // In order, in the opposite order, as the last one, as the first one.
        let others: [&dyn Fn(usize) -> bool; 4] =
            [&|at| at < torn, &|at| at > torn, &|_| true, &|_| false];
        for (others, how) in others
            .iter()
            .flat_map(|others| TORN.map(|how| (others, how)))
        {
            let kept = (0..count).map(|at| at != torn && others(at)).collect();
            all.push((kept, Some((torn, how))));
        }
    }
    all
}

fn subsets(count: usize, seed: u64) -> Vec<Vec<bool>> {
    if count <= EXHAUSTIVE_MAX {
        let subset = |bits: u32| (0..count).map(|at| bits >> at & 1 == 1).collect();
        return (0..1 << count).map(subset).collect();
    }
    let mut all = Vec::new();
    for chosen in 0..count {
        all.push((0..count).map(|at| at < chosen).collect());
        all.push((0..count).map(|at| at >= chosen).collect());
        all.push((0..count).map(|at| at == chosen).collect());
        all.push((0..count).map(|at| at != chosen).collect());
    }
    let mut random = seed;
    for _ in 0..SAMPLE {
        all.push((0..count).map(|_| next(&mut random) & 1 == 1).collect());
    }
    all
}

/// `SplitMix64`.
const fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut value = *state;
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_subset_of_what_was_not_flushed_may_be_there() {
        let mut device = BlockDevice::new(vec![0; 4]);
        device.write(0, &[1, 2]).unwrap();
        device.flush().unwrap();
        device.write(2, &[3, 4]).unwrap();
        let mut met = BTreeSet::new();
        let cuts = for_each_cut(&[0; 4], device.operations(), 1, |cut| {
            if cut.torn.is_none() {
                met.insert((cut.flushed, cut.disk.to_vec()));
            }
        });
        let wanted = [
            (0, [0, 0, 0, 0]),
            (0, [1, 0, 0, 0]),
            (0, [0, 2, 0, 0]),
            (0, [1, 2, 0, 0]),
            (2, [1, 2, 0, 0]),
            (2, [1, 2, 3, 0]),
            (2, [1, 2, 0, 4]),
            (2, [1, 2, 3, 4]),
            (3, [1, 2, 3, 4]),
        ];
        let wanted = wanted.map(|(flushed, disk)| (flushed, disk.to_vec()));
        assert_eq!(met, wanted.into());
        // Two windows of two sectors: four subsets, and each sector torn in four ways beside others in four.
        assert_eq!(cuts, 2 * (4 + 2 * 4 * 4) + 1);
    }

    #[test]
    fn of_two_writes_to_one_sector_either_may_be_the_last() {
        let write = |byte: u8| Operation::Write {
            offset: 0,
            data: vec![byte; 2],
        };
        let mut met = BTreeSet::new();
        for_each_cut(&[0; 2], &[write(1), write(2)], 2, |cut| {
            met.insert(cut.disk.to_vec());
        });
        for disk in [[0, 0], [1, 1], [2, 2], [1, 0], [2, 1], [1, 2], [!2, !2]] {
            assert!(met.contains(&disk[..]), "{disk:?}");
        }
    }

    #[test]
    fn a_large_window_is_sampled_and_always_in_the_same_way() {
        let data = (0..64).collect();
        let operations = [Operation::Write { offset: 0, data }];
        let states = || {
            let mut states = Vec::new();
            for_each_cut(&[0xff; 64], &operations, 2, |cut| {
                states.push(cut.disk.to_vec());
            });
            states
        };
        let first = states();
        assert_eq!(first, states());
        let distinct: BTreeSet<_> = first.iter().collect();
        assert!(distinct.len() > 400, "{}", distinct.len());
    }

    #[test]
    fn a_disk_that_fails_does_nothing_any_more() {
        let mut device = BlockDevice::new(vec![0; 4]);
        device.fail_after(1);
        device.write(0, &[1]).unwrap();
        assert_eq!(device.flush(), Err(Failure));
        assert_eq!(device.write(1, &[1]), Err(Failure));
        assert_eq!(device.read(0, &mut [0]), Err(Failure));
        assert_eq!(device.content(), [1, 0, 0, 0]);
        let mut device = BlockDevice::new(vec![0; 4]);
        assert_eq!(device.write(3, &[1, 1]), Err(Failure));
        assert_eq!(device.read(usize::MAX, &mut [0]), Err(Failure));
    }
}

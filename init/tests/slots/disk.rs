//! A disk whose power may fail: it remembers what was durable at each flush and what was not.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;

use disk_format::grubenv::BLOCK_BYTES;
use disk_format::slot::{BOOT_STATE_BLOCK_OFFSET_BYTES, SlotName};
use init::slot::device::BlockDevice;

/// Bytes of a sector: what a disk writes whole or not at all.
pub const SECTOR: usize = 512;
/// Bytes of the boot-state partition, as far as it is used.
#[expect(clippy::cast_possible_truncation, reason = "a constant of five digits")]
const BOOT_STATE_BYTES: usize = BOOT_STATE_BLOCK_OFFSET_BYTES as usize + BLOCK_BYTES;
/// Up to this many sectors between two flushes, every subset of them is tried.
const EXHAUSTIVE_MAX: usize = 10;

/// What is on a disk: the boot-state partition, slot a, slot b.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Image {
    bytes: Vec<u8>,
    slot_bytes: usize,
}

impl Image {
    /// A disk of zeros with slots of `slot_bytes`.
    pub fn new(slot_bytes: usize) -> Self {
        Self {
            bytes: vec![0; BOOT_STATE_BYTES + 2 * slot_bytes],
            slot_bytes,
        }
    }

    /// The environment block.
    pub fn block(&self) -> &[u8] {
        &self.bytes[BOOT_STATE_BYTES - BLOCK_BYTES..BOOT_STATE_BYTES]
    }

    /// Overwrites the environment block.
    pub fn set_block(&mut self, block: &[u8]) {
        self.bytes[BOOT_STATE_BYTES - BLOCK_BYTES..BOOT_STATE_BYTES].copy_from_slice(block);
    }

    /// A slot's bytes.
    pub fn slot(&self, slot: SlotName) -> &[u8] {
        let start = self.slot_start(slot);
        &self.bytes[start..start + self.slot_bytes]
    }

    /// Overwrites a slot's first bytes.
    pub fn set_slot(&mut self, slot: SlotName, bytes: &[u8]) {
        let start = self.slot_start(slot);
        self.bytes[start..start + bytes.len()].copy_from_slice(bytes);
    }

    fn slot_start(&self, slot: SlotName) -> usize {
        let before = if slot == SlotName::A {
            0
        } else {
            self.slot_bytes
        };
        BOOT_STATE_BYTES + before
    }
}

/// A disk in use.
#[derive(Clone, Debug)]
pub struct Disk {
    state: Rc<RefCell<State>>,
}

#[derive(Debug)]
struct State {
    /// What was durable before the first write.
    before: Image,
    /// What reads return.
    now: Image,
    /// The sectors written between two flushes, in order, with what was written.
    groups: Vec<Vec<(usize, Vec<u8>)>>,
}

impl Disk {
    pub fn new(image: &Image) -> Self {
        Self {
            state: Rc::new(RefCell::new(State {
                before: image.clone(),
                now: image.clone(),
                groups: vec![Vec::new()],
            })),
        }
    }

    /// The boot-state partition.
    pub fn boot_state(&self) -> Part {
        self.part(0)
    }

    /// A slot's partition.
    pub fn slot(&self, slot: SlotName) -> Part {
        let start = self.state.borrow().now.slot_start(slot);
        self.part(start)
    }

    /// What is on it when everything was written.
    pub fn image(&self) -> Image {
        self.state.borrow().now.clone()
    }

    /// What can be on it after a power cut at any moment: between two flushes any of the sectors
    /// may be old or new, whatever their order. Of long runs only a choice is returned: each sector
    /// alone old, each alone new, and each prefix.
    pub fn after_power_cuts(&self) -> Vec<Image> {
        let state = self.state.borrow();
        let mut durable = state.before.clone();
        let mut images = vec![durable.clone()];
        for group in &state.groups {
            for survives in subsets(group.len()) {
                let mut image = durable.clone();
                for ((start, sector), _) in group.iter().zip(&survives).filter(|(_, lives)| **lives)
                {
                    image.bytes[*start..start + SECTOR].copy_from_slice(sector);
                }
                images.push(image);
            }
            for (start, sector) in group {
                durable.bytes[*start..start + SECTOR].copy_from_slice(sector);
            }
        }
        images
    }

    fn part(&self, start: usize) -> Part {
        Part {
            disk: self.clone(),
            start,
        }
    }
}

impl State {
    fn write(&mut self, at: usize, bytes: &[u8]) {
        self.now.bytes[at..at + bytes.len()].copy_from_slice(bytes);
        let unflushed = self.groups.last_mut().unwrap();
        for (index, sector) in bytes.chunks(SECTOR).enumerate() {
            unflushed.push((at + index * SECTOR, sector.to_vec()));
        }
    }
}

/// Which of `len` sectors survive, in every case that is tried.
fn subsets(len: usize) -> Vec<Vec<bool>> {
    if len <= EXHAUSTIVE_MAX {
        let all = 0..1_usize << len;
        return all
            .map(|bits| (0..len).map(|index| bits >> index & 1 == 1).collect())
            .collect();
    }
    let with = |lives: &dyn Fn(usize) -> bool| (0..len).map(lives).collect::<Vec<_>>();
    (0..len)
        .flat_map(|at| {
            [
                with(&|index| index == at),
                with(&|index| index != at),
                with(&|index| index < at),
            ]
        })
        .chain([vec![true; len]])
        .collect()
}

/// A partition of a disk.
#[derive(Debug)]
pub struct Part {
    disk: Disk,
    start: usize,
}

impl Part {
    fn at(&self, offset: u64) -> usize {
        self.start + usize::try_from(offset).unwrap()
    }
}

impl BlockDevice for Part {
    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let at = self.at(offset);
        let state = self.disk.state.borrow();
        buffer.copy_from_slice(&state.now.bytes[at..at + buffer.len()]);
        Ok(())
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let at = self.at(offset);
        assert!(
            at.is_multiple_of(SECTOR) && bytes.len().is_multiple_of(SECTOR),
            "{} bytes at {at} are no whole sectors",
            bytes.len()
        );
        self.disk.state.borrow_mut().write(at, bytes);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.disk.state.borrow_mut().groups.push(Vec::new());
        Ok(())
    }
}

#[test]
fn a_power_cut_loses_any_unflushed_sectors_and_none_before() {
    let disk = Disk::new(&Image::new(4 * SECTOR));
    let mut part = disk.slot(SlotName::A);
    part.write_at(0, &[1; SECTOR]).unwrap();
    part.flush().unwrap();
    part.write_at(512, &[2; 2 * SECTOR]).unwrap();
    let found = |image: &Image| {
        let slot = image.slot(SlotName::A);
        [slot[0], slot[512], slot[1024]]
    };
    let mut images: Vec<_> = disk.after_power_cuts().iter().map(found).collect();
    images.sort_unstable();
    images.dedup();
    let possible = [[0, 0, 0], [1, 0, 0], [1, 0, 2], [1, 2, 0], [1, 2, 2]];
    assert_eq!(images, possible);
}

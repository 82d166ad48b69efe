//! The boot loader's script (`image-builder/grub/grub.cfg`) as a model, beside PID 1's own reader.

use disk_format::grubenv::SIGNATURE;
use disk_format::slot::{BOOT_STATE_BLOCK_OFFSET_BYTES, HEADER_BYTES, SlotHeader, SlotName};
use init::slot::device::BlockDevice as _;

use super::disk::{Disk, Image, SECTOR};

/// What a boot came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Booted {
    /// A kernel was started from this slot.
    Slot(SlotName),
    /// Neither slot could be loaded.
    Nothing,
}

/// Boots once. What the loader writes is on `disk`, to be cut.
pub fn boot(disk: &Disk) -> Booted {
    let image = disk.image();
    let mut order = Vec::new();
    let left = left(&image);
    if let Some(trial) = variable(&image, "trial").and_then(|text| SlotName::of(&text))
        && left > 0
    {
        save_left(disk, left - 1);
        order.push(trial);
    }
    let good = match variable(&image, "good").as_deref() {
        Some("b") => SlotName::B,
        _ => SlotName::A,
    };
    order.extend([good, good.other()]);
    let mut loadable = order.into_iter().filter(|slot| loads(&image, *slot));
    loadable.next().map_or(Booted::Nothing, Booted::Slot)
}

/// How often the loader would still try a trial.
pub fn left(image: &Image) -> u8 {
    match variable(image, "left").as_deref() {
        Some("1") => 1,
        Some("2") => 2,
        Some("3") => 3,
        _ => 0,
    }
}

/// The loader looks at the header and at the kernel's first sector, and hashes nothing.
fn loads(image: &Image, slot: SlotName) -> bool {
    let bytes = image.slot(slot);
    let sectors = bytes.len() / SECTOR;
    SlotHeader::parse(bytes, sectors as u64).is_ok() && bytes[HEADER_BYTES..].starts_with(b"kernel")
}

fn variable(image: &Image, name: &str) -> Option<String> {
    let lines = image.block().strip_prefix(SIGNATURE)?;
    let text = String::from_utf8_lossy(lines).into_owned();
    let value = |line: &str| {
        line.strip_prefix(name)?
            .strip_prefix('=')
            .map(str::to_owned)
    };
    text.lines().filter_map(value).next_back()
}

/// As `save_env`: one digit changes and the whole block is written.
fn save_left(disk: &Disk, left: u8) {
    let mut block = disk.image().block().to_vec();
    let key = b"\nleft=";
    let at = block.windows(key.len()).position(|bytes| bytes == key);
    block[at.unwrap() + key.len()] = b'0' + left;
    let mut device = disk.boot_state();
    device
        .write_at(BOOT_STATE_BLOCK_OFFSET_BYTES, &block)
        .unwrap();
    device.flush().unwrap();
}

//! All that can become of a disk: every boot, every power cut in it, until nothing new comes.

use std::collections::HashSet;

use disk_format::grubenv::GrubEnv;
use disk_format::slot::{Extent, HEADER_BYTES, SlotHeader, SlotName};
use init::slot::boot_state::{BootState, Condition};
use init::slot::policy::{self, Boot};
use init::slot::system;
use ring::digest::{SHA256, digest};

use super::disk::{Disk, Image, SECTOR};
use super::loader::{self, Booted};

/// The version that never becomes ready: it panics, or never connects.
pub const BAD: &str = "bad";

/// A slot's bytes: a system of `version`, with `sectors` of content.
pub fn system_of(version: &str, sectors: usize) -> Vec<u8> {
    let mut content: Vec<u8> = format!("kernel {version} ")
        .bytes()
        .cycle()
        .take(sectors * SECTOR)
        .collect();
    content[SECTOR..].fill(version.as_bytes()[0]);
    let header = SlotHeader {
        kernel: Extent {
            start: 8,
            sectors: 1,
        },
        initrd: Extent {
            start: 9,
            sectors: sectors as u64 - 1,
        },
        version: version.into(),
        content_sha256: digest(&SHA256, &content).as_ref().try_into().unwrap(),
    };
    let mut slot = header.emit().unwrap().to_vec();
    slot.append(&mut content);
    slot
}

/// A disk with these systems and this boot state.
pub fn image(slots: [&[u8]; 2], boot_state: &[(&str, &str)]) -> Image {
    let longest = slots.iter().map(|slot| slot.len()).max().unwrap();
    let mut image = Image::new(longest.max(HEADER_BYTES + 8 * SECTOR));
    image.set_slot(SlotName::A, slots[0]);
    image.set_slot(SlotName::B, slots[1]);
    let mut env = GrubEnv::new();
    for (key, value) in boot_state {
        env.set(key, value).unwrap();
    }
    image.set_block(&env.emit());
    image
}

/// What ends up running when the power stays on: the version, or what is wrong.
pub fn runs(image: &Image) -> Result<String, String> {
    let mut image = image.clone();
    // Three tries, the good slot, and one boot more after a promotion.
    for _ in 0..5 {
        let disk = Disk::new(&image);
        if let Some(version) = boot_once(&disk)? {
            return Ok(version);
        }
        image = disk.image();
    }
    Err("the machine restarts for ever".into())
}

/// Every version that can end up running after any number of power cuts while booting, and every
/// image on the way.
///
/// # Errors
/// When a disk boots neither the old nor the new system, or tries a slot again that was counted.
pub fn explore(images: Vec<Image>) -> Result<HashSet<String>, String> {
    let mut versions = HashSet::new();
    let mut seen = HashSet::new();
    let mut open = images;
    while let Some(image) = open.pop() {
        if !seen.insert(image.clone()) {
            continue;
        }
        versions.insert(runs(&image)?);
        let disk = Disk::new(&image);
        boot_once(&disk)?;
        let mut cut = disk.after_power_cuts();
        cut.push(disk.image());
        for next in &cut {
            let (before, after) = (loader::left(&image), loader::left(next));
            if after > before {
                return Err(format!("the tries left rose from {before} to {after}"));
            }
            if is_whole(&image) && !is_whole(next) {
                return Err("the boot state was whole before a power cut".into());
            }
        }
        open.append(&mut cut);
    }
    Ok(versions)
}

/// Whether the boot state can be read to its last line.
pub fn is_whole(image: &Image) -> bool {
    BootState::parse(image.block()).1 == Condition::Whole
}

/// One boot to its end: the version that runs and stays, promoted if it was a trial; `None` if it
/// does not work and the machine restarts.
fn boot_once(disk: &Disk) -> Result<Option<String>, String> {
    let Booted::Slot(slot) = loader::boot(disk) else {
        return Err("neither slot can be loaded".into());
    };
    let bytes = disk.image().slot(slot).len() as u64;
    let Ok(header) = system::check(&mut disk.slot(slot), bytes) else {
        return Ok(None); // half a system crashes
    };
    let said = |error: std::io::Error| error.to_string();
    let (block, _) = BootState::read(&mut disk.boot_state()).map_err(said)?;
    let boot = policy::judge(&block, Some(slot));
    if header.version == BAD {
        return Ok(None);
    }
    if matches!(boot, Boot::Trial { .. }) {
        let promoted =
            policy::promoted(&block, boot, Some(slot)).map_err(|refusal| refusal.to_string())?;
        promoted.write(&mut disk.boot_state()).map_err(said)?;
    }
    Ok(Some(header.version))
}

//! What the machine finds out about itself: UUID, VM generation id, TPM, running slot, power buttons.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use disk_format::slot::{RUNNING_SLOT_PATH, SlotName};
use rustix::fs::OFlags;

/// The SMBIOS system UUID in the byte order of its text; zeros where there is none.
#[must_use]
pub fn smbios_uuid() -> [u8; 16] {
    let text = read_bounded("/sys/class/dmi/id/product_uuid", 64).unwrap_or_default();
    parse_uuid(text.trim()).unwrap_or_default()
}

/// The VM generation id as it lies in memory; zeros where the hypervisor gives none.
///
/// The kernel shows it after it has reseeded its random generator with it
/// (`kernel-config/patches/0001-vmgenid-show-generation-id.patch`).
#[must_use]
pub fn vm_generation() -> [u8; 16] {
    // The device's name is the hypervisor's choice: `QEMUVGID:00` for one.
    entries(Path::new("/sys/bus/platform/drivers/vmgenid"))
        .into_iter()
        .filter_map(|device| read_bounded(device.join("generation_id"), 64))
        .find_map(|text| parse_uuid(text.trim()))
        .unwrap_or_default()
}

/// The resource manager of the machine's TPM 2.0, to write commands to and read responses from; `None`
/// where there is no TPM.
///
/// # Errors
/// If there is one that cannot be opened.
pub fn tpm() -> io::Result<Option<OwnedFd>> {
    let node = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/tpmrm0");
    match node {
        Ok(file) => Ok(Some(file.into())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Parses `01234567-89ab-cdef-0123-456789abcdef`, and the same without dashes.
fn parse_uuid(text: &str) -> Option<[u8; 16]> {
    let digits: Vec<u8> = text.bytes().filter(|&byte| byte != b'-').collect();
    let mut uuid = [0; 16];
    if digits.len() != 2 * uuid.len() || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    for (byte, pair) in uuid.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(uuid)
}

/// The slot that the boot loader says it booted.
#[must_use]
pub fn running_slot() -> Option<SlotName> {
    let text = read_bounded(Path::new("/").join(RUNNING_SLOT_PATH), 16)?;
    SlotName::of(text.trim())
}

/// Opens the event devices that have a power button, except those in `known`.
#[must_use]
pub fn power_buttons(known: &[PathBuf]) -> Vec<(PathBuf, File)> {
    let is_button = |path: &PathBuf| {
        let keys = read_bounded(path.join("device/capabilities/key"), 4096).unwrap_or_default();
        has_key(keys.trim(), KEY_POWER)
    };
    entries(Path::new("/sys/class/input"))
        .into_iter()
        .filter(|path| !known.contains(path))
        .filter(is_button)
        .filter_map(|path| {
            let node = Path::new("/dev/input").join(path.file_name()?);
            let file = OpenOptions::new()
                .read(true)
                .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
                .open(node)
                .ok()?;
            Some((path, file))
        })
        .collect()
}

/// Whether the bitmap of `/sys/class/input/*/device/capabilities/key`, 64-bit words in hex with the
/// highest first, contains `key`.
fn has_key(bitmap: &str, key: u32) -> bool {
    let word = bitmap
        .split_whitespace()
        .rev()
        .nth((key / 64) as usize)
        .unwrap_or("0");
    u64::from_str_radix(word, 16).is_ok_and(|word| word >> (key % 64) & 1 == 1)
}

/// Reads what an event device has and says whether the power button was pressed.
///
/// # Errors
/// If the device is gone.
pub fn is_power_pressed(device: &mut File) -> io::Result<bool> {
    let mut buffer = [0; INPUT_EVENT_LEN * 16];
    match device.read(&mut buffer) {
        Ok(len) => Ok(buffer
            .get(..len)
            .unwrap_or_default()
            .chunks_exact(INPUT_EVENT_LEN)
            .any(is_power_press)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
        Err(error) => Err(error),
    }
}

/// `struct input_event` on 64-bit Linux: 16 bytes of time, type, code, value.
fn is_power_press(event: &[u8]) -> bool {
    let [.., t0, t1, c0, c1, v0, v1, v2, v3] = *event else {
        return false;
    };
    u16::from_ne_bytes([t0, t1]) == EV_KEY
        && u32::from(u16::from_ne_bytes([c0, c1])) == KEY_POWER
        && i32::from_ne_bytes([v0, v1, v2, v3]) == 1
}

/// Reads a text file of at most `max` bytes; `None` if it is absent, longer or not UTF-8.
pub(crate) fn read_bounded(path: impl AsRef<Path>, max: usize) -> Option<String> {
    let bytes = read_bytes(path, max.checked_add(1)?)?;
    if bytes.len() > max {
        return None;
    }
    String::from_utf8(bytes).ok()
}

/// Reads the first `max` bytes of a file; `None` if there is none or it cannot be read.
pub(crate) fn read_bytes(path: impl AsRef<Path>, max: usize) -> Option<Vec<u8>> {
    let limit = u64::try_from(max).ok()?;
    let mut bytes = Vec::new();
    let file = File::open(path).ok()?;
    file.take(limit).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    fs::read_dir(directory)
        .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
        .unwrap_or_default()
}

const KEY_POWER: u32 = 116;
const EV_KEY: u16 = 1;
const INPUT_EVENT_LEN: usize = 24;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_keeps_the_byte_order_of_its_text() {
        let uuid = parse_uuid("00112233-4455-6677-8899-aabbccddeeff").unwrap();
        assert_eq!(uuid[0], 0x00);
        assert_eq!(uuid[15], 0xff);
        assert_eq!(parse_uuid("00112233445566778899aabbccddeeff"), Some(uuid));
        for bad in [
            "",
            "0011",
            "zz112233-4455-6677-8899-aabbccddeeff",
            "+0112233-4455-6677-8899-aabbccddeeff",
        ] {
            assert_eq!(parse_uuid(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_power_key_is_found_in_the_bitmap() {
        assert!(has_key("10000000000000 0", KEY_POWER));
        assert!(!has_key("8000000000000 0", KEY_POWER));
        assert!(!has_key("10000000000000", KEY_POWER));
        assert!(!has_key("", KEY_POWER));
    }

    #[test]
    fn only_the_press_of_the_power_key_counts() {
        let event = |kind: u16, code: u16, value: i32| {
            let mut bytes = vec![0; 16];
            bytes.extend(kind.to_ne_bytes());
            bytes.extend(code.to_ne_bytes());
            bytes.extend(value.to_ne_bytes());
            bytes
        };
        assert!(is_power_press(&event(1, 116, 1)));
        assert!(!is_power_press(&event(1, 116, 0)));
        assert!(!is_power_press(&event(1, 30, 1)));
        assert!(!is_power_press(&event(0, 0, 0)));
        assert!(!is_power_press(&[]));
    }
}

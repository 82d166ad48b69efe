//! The disk's partitions as the kernel sees them, and what may be wrong with the disk.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::Path;

use disk_format::SECTOR_BYTES;
use disk_format::slot::DISK_BYTES_MIN;

use crate::hardware::read_bounded;

/// Most CD drives that are looked at.
const CD_DRIVES_MAX: usize = 4;

/// Where the kernel lists disks and partitions.
pub const CLASS: &str = "/sys/class/block";

/// A partition, as the kernel lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Its device's name: `vda6`.
    pub device: String,
    /// The name of the disk it is on: `vda`.
    pub disk: String,
    /// Nothing can be written to it.
    pub is_read_only: bool,
}

impl Partition {
    /// Opens it for reading, and for writing unless it is read-only.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn open(&self) -> io::Result<File> {
        OpenOptions::new()
            .read(true)
            .write(!self.is_read_only)
            .open(Path::new("/dev").join(&self.device))
    }
}

/// What the search for a partition found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Search {
    /// Exactly one.
    Found(Partition),
    /// None so far; a disk may still appear.
    Absent,
    /// More than one; their devices' names.
    Several(Vec<String>),
}

/// Looks in `class` for the partition whose GPT name is `name`.
#[must_use]
pub fn find(class: &Path, name: &str) -> Search {
    let mut found: Vec<_> = entries(class)
        .into_iter()
        .filter(|device| uevent_value(class, device, "PARTNAME").as_deref() == Some(name))
        .collect();
    match found.as_mut_slice() {
        [] => Search::Absent,
        [device] => Search::Found(partition(class, std::mem::take(device))),
        _ => Search::Several(found),
    }
}

/// The CD drives in `class`, with a disc in them or without, in the order of their names.
#[must_use]
pub fn cd_drives(class: &Path) -> Vec<String> {
    let mut drives = entries(class);
    drives.retain(|device| is_cd_drive(device));
    drives.truncate(CD_DRIVES_MAX);
    drives
}

/// As Linux names them: `sr0`.
fn is_cd_drive(device: &str) -> bool {
    let number = device.strip_prefix("sr").unwrap_or_default();
    !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
}

/// The sentence for partitions of the same name on several disks.
#[must_use]
pub fn several(what: &str, devices: &[String]) -> String {
    format!(
        "{} disks carry a {what} partition ({}): detach all but one, then restart.",
        devices.len(),
        devices.join(", ")
    )
}

/// The sentence for a disk that nothing can be written to.
#[must_use]
pub fn read_only(disk: &str) -> String {
    format!(
        "Disk {disk} is read-only: the connector cannot keep its identity. Allow writing to it in the \
         VM's settings, then restart."
    )
}

/// Why there may be none of the image's partitions: a disk that is shorter than the image, whose
/// partition table the kernel therefore refuses.
#[must_use]
pub fn too_small(class: &Path) -> Option<String> {
    entries(class).into_iter().find_map(|device| {
        let is_disk = uevent_value(class, &device, "DEVTYPE").as_deref() == Some("disk");
        let sectors = number(class, &device, "size")?;
        let bytes = sectors.saturating_mul(SECTOR_BYTES);
        // Empty drives and the kernel's own devices say zero.
        (is_disk && !is_cd_drive(&device) && bytes > 0 && bytes < DISK_BYTES_MIN).then(|| {
            format!(
                "Disk {device} has {}, the image needs {}: make it at least that large, or deploy \
                 the image again, then restart.",
                size(bytes),
                size(DISK_BYTES_MIN)
            )
        })
    })
}

/// A size in MiB, or in KiB below one.
fn size(bytes: u64) -> String {
    match bytes >> 20 {
        0 => format!("{} KiB", bytes >> 10),
        mib => format!("{mib} MiB"),
    }
}

fn partition(class: &Path, device: String) -> Partition {
    // The link leads to `.../vda/vda6`.
    let disk = fs::canonicalize(class.join(&device)).ok().and_then(|path| {
        let disk = path.parent()?.file_name()?.to_str()?;
        Some(disk.to_owned())
    });
    Partition {
        is_read_only: number(class, &device, "ro").is_some_and(|flag| flag != 0),
        disk: disk.unwrap_or_else(|| device.clone()),
        device,
    }
}

fn entries(class: &Path) -> Vec<String> {
    let listed = fs::read_dir(class).into_iter().flatten().flatten();
    let mut names: Vec<_> = listed
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort_unstable();
    names
}

fn uevent_value(class: &Path, device: &str, key: &str) -> Option<String> {
    let text = read_bounded(class.join(device).join("uevent"), 4096)?;
    let value = |line: &str| line.strip_prefix(key)?.strip_prefix('=').map(str::to_owned);
    text.lines().find_map(value)
}

fn number(class: &Path, device: &str, file: &str) -> Option<u64> {
    let text = read_bounded(class.join(device).join(file), 64)?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    #[test]
    fn a_partition_is_found_by_its_name_with_its_disk() {
        let kernel = Kernel::new("found");
        kernel.disk("vda", "157696");
        kernel.partition("vda", "vda5", "outgate-slot-b", "0");
        kernel.partition("vda", "vda6", "outgate-state", "1");
        let found = |device: &str, is_read_only| {
            Search::Found(Partition {
                device: device.into(),
                disk: "vda".into(),
                is_read_only,
            })
        };
        assert_eq!(
            find(&kernel.class(), "outgate-slot-b"),
            found("vda5", false)
        );
        assert_eq!(find(&kernel.class(), "outgate-state"), found("vda6", true));
        assert_eq!(find(&kernel.class(), "outgate"), Search::Absent);
        assert_eq!(too_small(&kernel.class()), None);
    }

    #[test]
    fn two_disks_with_one_partition_are_both_named() {
        let kernel = Kernel::new("several");
        for (disk, partition) in [("sdb", "sdb6"), ("sda", "sda6")] {
            kernel.disk(disk, "157696");
            kernel.partition(disk, partition, "outgate-state", "0");
        }
        let devices = vec!["sda6".to_owned(), "sdb6".to_owned()];
        assert_eq!(
            several("state", &devices),
            "2 disks carry a state partition (sda6, sdb6): detach all but one, then restart."
        );
        assert_eq!(
            find(&kernel.class(), "outgate-state"),
            Search::Several(devices)
        );
    }

    #[test]
    fn a_disk_shorter_than_the_image_is_named_with_both_sizes() {
        let kernel = Kernel::new("short");
        kernel.disk("sr0", "0");
        kernel.disk("sr1", "720");
        kernel.disk("srv", "0");
        kernel.disk("sda", "81920");
        assert_eq!(cd_drives(&kernel.class()), ["sr0", "sr1"]);
        let sentence = too_small(&kernel.class()).unwrap();
        assert!(
            sentence.starts_with("Disk sda has 40 MiB, the image needs 77 MiB:"),
            "{sentence}"
        );
        assert!(sentence.len() <= 160, "{sentence}");
        assert!(read_only("nvme0n1").len() <= 160);
    }

    #[test]
    fn a_directory_that_is_not_there_holds_nothing() {
        let nowhere = Path::new("/nonexistent");
        assert_eq!(find(nowhere, "outgate-state"), Search::Absent);
        assert_eq!(too_small(nowhere), None);
    }

    /// A tree as the kernel's, in a directory of its own.
    struct Kernel(PathBuf);

    impl Kernel {
        fn new(name: &str) -> Self {
            let name = format!("outgate-disks-{name}-{}", std::process::id());
            let kernel = Self(std::env::temp_dir().join(name));
            fs::create_dir_all(kernel.class()).unwrap();
            kernel
        }

        fn class(&self) -> PathBuf {
            self.0.join("class")
        }

        fn disk(&self, name: &str, sectors: &str) {
            self.device(name, name, "DEVTYPE=disk\n");
            fs::write(self.class().join(name).join("size"), format!("{sectors}\n")).unwrap();
        }

        fn partition(&self, disk: &str, name: &str, label: &str, ro: &str) {
            let path = format!("{disk}/{name}");
            self.device(
                name,
                &path,
                &format!("DEVTYPE=partition\nPARTNAME={label}\n"),
            );
            fs::write(self.class().join(name).join("ro"), format!("{ro}\n")).unwrap();
        }

        fn device(&self, name: &str, path: &str, uevent: &str) {
            let directory = self.0.join("devices").join(path);
            fs::create_dir_all(&directory).unwrap();
            fs::write(directory.join("uevent"), uevent).unwrap();
            symlink(directory, self.class().join(name)).unwrap();
        }
    }

    impl Drop for Kernel {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }
}

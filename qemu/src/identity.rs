//! What tells a machine from others and from its own past: UUID and VM generation id.
//!
//! Both lie beside the disk, as a hypervisor keeps them beside its own: a disk that is copied alone
//! becomes another machine's, and an edited generation says that the disk was reverted.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// A UUID from the kernel (version 4), new at each reading.
const RANDOM_UUID: &str = "/proc/sys/kernel/random/uuid";

/// Where the identity of the machine with this disk is.
pub fn file(disk: &Path) -> PathBuf {
    disk.with_extension("machine")
}

/// UUID and VM generation id of the machine with this disk; made at its first start.
///
/// # Errors
/// A sentence that names the file.
pub fn of(disk: &Path) -> Result<[String; 2], String> {
    let file = file(disk);
    let failed = |error: io::Error| format!("{}: {error}", file.display());
    match fs::read_to_string(&file) {
        Ok(text) => parse(&text).ok_or_else(|| {
            format!(
                "{} is not two lines, uuid and generation: --fresh makes the machine anew",
                file.display()
            )
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let random = || fs::read_to_string(RANDOM_UUID).map(|text| text.trim().to_owned());
            let identity = [random().map_err(failed)?, random().map_err(failed)?];
            let [uuid, generation] = &identity;
            fs::write(&file, format!("uuid {uuid}\ngeneration {generation}\n")).map_err(failed)?;
            Ok(identity)
        }
        Err(error) => Err(failed(error)),
    }
}

/// QEMU says what is wrong with a UUID that is none.
fn parse(text: &str) -> Option<[String; 2]> {
    let mut lines = text.lines();
    let uuid = lines.next()?.strip_prefix("uuid ")?;
    let generation = lines.next()?.strip_prefix("generation ")?;
    Some([uuid, generation].map(|id| id.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_keeps_its_identity_and_another_disk_has_another() {
        let folder = qemu::temp::TempDir::new("outgate-identity").unwrap();
        let [one, other] = ["one.qcow2", "other.qcow2"].map(|name| folder.path().join(name));
        let identity = of(&one).unwrap();
        assert_eq!(of(&one).unwrap(), identity);
        assert_ne!(identity[0], identity[1]);
        assert_ne!(of(&other).unwrap(), identity);
    }

    #[test]
    fn an_identity_that_is_not_understood_is_named_with_the_remedy() {
        let folder = qemu::temp::TempDir::new("outgate-identity").unwrap();
        let disk = folder.path().join("disk.qcow2");
        fs::write(file(&disk), "uuid 1\n").unwrap();
        assert!(of(&disk).unwrap_err().contains("--fresh"));
    }
}

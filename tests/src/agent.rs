//! Boots an image's own kernel and initramfs with the test agent (`tests/agent`) beside PID 1.
//!
//! The agent sees and does what no shell in the appliance can: it lists processes, reads `/proc` and
//! kills. Everything else in the machine is the image's.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use disk_format::SECTOR_BYTES;
use disk_format::cpio::{self, Entry, Node};
use disk_format::gpt::Gpt;
use disk_format::qcow2;
use disk_format::slot::{SlotHeader, partition};
use qemu::console::{Console, ConsoleError};
use qemu::machine::DirectKernel;

use crate::folders;
use crate::lab::LabError;

/// Names the agent's static executable, when it is not where the driver builds it.
pub const EXECUTABLE_VARIABLE: &str = "OUTGATE_AGENT";

/// How long an answer may take.
const ANSWER_MAX: Duration = Duration::from_secs(60);
/// Lines of a service that reach the log within a second.
const LINES_A_SECOND_MAX: usize = 10;
/// Largest virtual disk that is read.
const DISK_BYTES_MAX: u64 = 1 << 30;

/// Asks the agent and returns the lines of its answer.
///
/// # Errors
/// When it does not answer.
pub fn ask(port: &Console, command: &str) -> Result<String, ConsoleError> {
    // What came before is the greeting, or nothing.
    port.skip_to_end();
    port.send(format!("{command}\n").as_bytes())?;
    let answer = port.wait_for("\n.", ANSWER_MAX)?;
    // The line echoes what was sent to it.
    let answer = answer.replace('\r', "");
    let answer = answer.trim();
    Ok(answer
        .strip_prefix(command)
        .unwrap_or(answer)
        .trim()
        .to_owned())
}

/// Fails the test when a service wrote more to the kernel's log than it may: ten lines in any
/// second. `log` is the agent's answer to `log`.
///
/// # Panics
/// Then, and when the service wrote nothing: it was to be heard of.
pub fn assert_few_lines(log: &str, service: &str) {
    let lines = log.lines().filter(|line| line.contains(service));
    let stamps: Vec<u64> = lines
        .filter_map(|line| line.split(' ').next()?.parse().ok())
        .collect();
    assert!(!stamps.is_empty(), "{service} is not in the log:\n{log}");
    // The kernel stamps a line a little after it was let through.
    let window_us = 950_000;
    for burst in stamps.windows(LINES_A_SECOND_MAX + 1) {
        let took_us = burst[LINES_A_SECOND_MAX].saturating_sub(burst[0]);
        assert!(took_us > window_us, "{service} fills the log:\n{log}");
    }
}

/// Takes kernel and initramfs out of an image's slot A and puts the agent into the initramfs.
///
/// # Errors
/// When the image is not one of ours, or the agent was not built.
pub fn kernel(image: &Path, folder: &Path) -> Result<DirectKernel, LabError> {
    let (kernel, initramfs) = slot_a(image)?;
    let paths = (folder.join("agent.bzImage"), folder.join("agent.initramfs"));
    fs::write(&paths.0, kernel).map_err(LabError::Io)?;
    let agent = fs::read(find_executable()?).map_err(LabError::Io)?;
    let archive = with_agent(&decompressed(&initramfs)?, agent)
        .ok_or_else(|| wrong(image, "has an initramfs without /init"))?;
    fs::write(&paths.1, archive).map_err(LabError::Io)?;
    Ok(DirectKernel {
        image: paths.0,
        initrd: Some(paths.1),
        command_line: String::new(),
    })
}

/// The kernel and the initramfs in an image's slot A.
///
/// # Errors
/// When the image is not one of ours.
pub(crate) fn slot_a(image: &Path) -> Result<(Vec<u8>, Vec<u8>), LabError> {
    let wrong = |what| wrong(image, what);
    let bytes = fs::read(image).map_err(LabError::Io)?;
    let disk = qcow2::parse(&bytes, DISK_BYTES_MAX).map_err(|_| wrong("is not a qcow2 of ours"))?;
    let gpt = Gpt::parse_primary(&disk).map_err(|_| wrong("has no partition table of ours"))?;
    let slot = gpt
        .find(partition::SLOT_A)
        .ok_or_else(|| wrong("has no slot A"))?;
    let part = |first: u64, sectors: u64| -> Option<&[u8]> {
        let start = usize::try_from(first * SECTOR_BYTES).ok()?;
        disk.get(start..start + usize::try_from(sectors * SECTOR_BYTES).ok()?)
    };
    let sectors = slot.last_lba + 1 - slot.first_lba;
    let slot_bytes = part(slot.first_lba, sectors).ok_or_else(|| wrong("ends within slot A"))?;
    let header =
        SlotHeader::parse(slot_bytes, sectors).map_err(|_| wrong("has no header in slot A"))?;
    let extent = |start, sectors| part(slot.first_lba + start, sectors);
    let kernel = extent(header.kernel.start, header.kernel.sectors);
    let initramfs = extent(header.initrd.start, header.initrd.sectors);
    match (kernel, initramfs) {
        (Some(kernel), Some(initramfs)) => Ok((kernel.to_vec(), initramfs.to_vec())),
        _ => Err(wrong("has a slot A that reaches beyond it")),
    }
}

fn wrong(image: &Path, what: &str) -> LabError {
    let text = format!("{} {what}", image.display());
    LabError::Io(io::Error::new(io::ErrorKind::InvalidData, text))
}

/// The archive in a slot: one zstd frame, then zeros up to the end of its sector.
pub(crate) fn decompressed(initramfs: &[u8]) -> Result<Vec<u8>, LabError> {
    let decoder = zstd::stream::Decoder::with_buffer(initramfs).map_err(LabError::Io)?;
    let mut archive = Vec::new();
    io::copy(&mut decoder.single_frame(), &mut archive).map_err(LabError::Io)?;
    Ok(archive)
}

/// The archive with the agent as `/init`, and the image's own programs where it looks for them.
pub(crate) fn with_agent(archive: &[u8], agent: Vec<u8>) -> Option<Vec<u8>> {
    let (mut entries, mtime) = cpio::parse(archive).ok()?;
    let init = entries.iter_mut().find(|entry| entry.path == "init")?;
    let real = std::mem::replace(&mut init.node, Node::File(agent));
    let entry = |path: &str, node| Entry {
        path: path.to_owned(),
        permissions: 0o755,
        node,
    };
    entries.push(entry("real", Node::Directory));
    entries.push(entry("real/init", real));
    for role in ["installer", "netd", "settings", "timed"] {
        entries.push(entry(
            &format!("real/{role}"),
            Node::Symlink("/real/init".to_owned()),
        ));
    }
    entries.push(entry(
        "real/ttyS1",
        Node::CharDevice {
            major: 4,
            minor: 65,
        },
    ));
    cpio::emit(&entries, mtime).ok()
}

/// Where the agent was built.
pub(crate) fn find_executable() -> Result<PathBuf, LabError> {
    find_static("agent", EXECUTABLE_VARIABLE)
}

/// Where a static program for test VMs was built, unless `variable` names one.
pub(crate) fn find_static(name: &str, variable: &str) -> Result<PathBuf, LabError> {
    let built = Path::new("appliance/x86_64-unknown-linux-gnu/appliance").join(name);
    let places = match std::env::var_os(variable) {
        Some(path) => vec![PathBuf::from(path)],
        None => vec![
            folders::target().join(&built),
            folders::checkout().join("target").join(&built),
        ],
    };
    places.iter().find(|path| path.is_file()).cloned().ok_or_else(|| {
        let text = format!(
            "the test program {name} is not at {}: cargo verify builds it, or name one in {variable}",
            places[0].display()
        );
        LabError::Io(io::Error::new(io::ErrorKind::NotFound, text))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eleven_lines_in_a_second_are_too_many_and_ten_are_not() {
        let log = |count: u64, step_us: u64| -> String {
            let line = |at| format!("{} timed: no answer\n", 5_000_000 + at * step_us);
            (0..count).map(line).collect()
        };
        assert_few_lines(&log(10, 1), "timed");
        assert_few_lines(&log(100, 100_000), "timed");
        let fails = |log: String, service| {
            std::panic::catch_unwind(|| assert_few_lines(&log, service)).is_err()
        };
        assert!(fails(log(11, 1), "timed"));
        assert!(fails(log(3, 1), "netd"));
    }
}

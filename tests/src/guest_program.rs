//! Boots the image's kernel with one program (`tests/guest`) as `/init` and nothing else.
//!
//! What needs the product's kernel and not the product is tried so: a machine without disk and network,
//! which runs cases, says on its serial console how each ended, and switches itself off. The command line
//! is compiled into the kernel, so the cases to run are a file of the initramfs.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use disk_format::cpio::{self, Entry, Node};
use qemu::accel;
use qemu::console::ConsoleError;
use qemu::host;
use qemu::machine::{DirectKernel, Machine};
use qemu::process::Vm;

use crate::agent;
use crate::folders;
use crate::lab::{self, LabError};

/// Names the program's static executable, when it is not where the driver builds it.
pub const EXECUTABLE_VARIABLE: &str = "OUTGATE_GUEST";

/// What the program says last.
pub const OVER: &str = "guest: the cases are over";

/// Memory in MiB: what the smallest appliance has.
const MEMORY_MIB: u32 = 128;
/// How long the machine may take to switch itself off.
const POWER_OFF_TIME_MAX: Duration = Duration::from_secs(30);

/// What the machine said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// How each case ended, by its name: `Err` with the reason.
    pub cases: BTreeMap<String, Result<(), String>>,
    /// All of the console.
    pub text: String,
}

/// Boots the machine, waits until it is off, and reads how the cases ended. Its files are in the lab
/// folder `name`.
///
/// # Errors
/// When something is not built or installed, or the machine does not come to its end in time.
pub fn run(name: &str, cases: &[&str], most: Duration) -> Result<Report, LabError> {
    let qemu = host::find_qemu().map_err(LabError::Host)?;
    let choice = accel::choose(&qemu).map_err(LabError::Accelerator)?;
    let folder = folders::target().join("lab").join(name);
    fs::create_dir_all(&folder).map_err(LabError::Io)?;
    let mut machine = Machine::new(choice.accelerator);
    machine.memory_mib = MEMORY_MIB;
    machine.restart_on_reset = false;
    machine.kernel = Some(kernel(cases, &folder)?);
    let vm = Vm::start(machine).map_err(LabError::Vm)?;
    let over = vm.console().wait_for(OVER, most);
    let status = vm.wait_exit(POWER_OFF_TIME_MAX);
    let text = vm.console().text();
    fs::write(folder.join("console.txt"), &text).map_err(LabError::Io)?;
    match (over, status) {
        (Ok(_), Some(_)) => Ok(Report {
            cases: parse(&text),
            text,
        }),
        (Err(ConsoleError::Io(error)), _) => Err(LabError::Io(error)),
        (_, _) => Err(LabError::StillRunning {
            waited: most,
            last_lines: vm.console().last_lines(40),
        }),
    }
}

/// The image's kernel and an initramfs with the program, written into `folder`. `cases` are the cases to
/// run, each with its arguments; none are all that take none.
///
/// # Errors
/// When there is no image of ours, or the program was not built.
pub fn kernel(cases: &[&str], folder: &Path) -> Result<DirectKernel, LabError> {
    let (kernel, _) = agent::slot_a(&lab::find_image()?)?;
    let program = fs::read(find_executable()?).map_err(LabError::Io)?;
    let (image, initrd) = (folder.join("guest.bzImage"), folder.join("guest.initramfs"));
    fs::write(&image, kernel).map_err(LabError::Io)?;
    fs::write(&initrd, archive(program, cases)).map_err(LabError::Io)?;
    Ok(DirectKernel {
        image,
        initrd: Some(initrd),
        command_line: String::new(),
    })
}

/// Where the program was built.
///
/// # Errors
/// When it was not.
pub fn find_executable() -> Result<PathBuf, LabError> {
    agent::find_static("guest", EXECUTABLE_VARIABLE)
}

fn archive(program: Vec<u8>, cases: &[&str]) -> Vec<u8> {
    let entry = |path: &str, permissions, node| Entry {
        path: path.to_owned(),
        permissions,
        node,
    };
    let console = Node::CharDevice { major: 5, minor: 1 };
    let mut entries = vec![
        entry("dev", 0o755, Node::Directory),
        entry("dev/console", 0o600, console),
        entry("init", 0o755, Node::File(program)),
        entry("proc", 0o755, Node::Directory),
    ];
    if !cases.is_empty() {
        let text = cases.join("\n").into_bytes();
        entries.push(entry("arguments", 0o644, Node::File(text)));
    }
    cpio::emit(&entries, 0).expect("the paths are clean, each once, and below their directories")
}

/// The lines `case NAME: ok` and `case NAME: FAILED: WHY`.
fn parse(text: &str) -> BTreeMap<String, Result<(), String>> {
    let lines = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("case "));
    let cases = lines.filter_map(|line| {
        let (name, end) = line.split_once(": ")?;
        let end = match end {
            "ok" => Ok(()),
            other => Err(other.strip_prefix("FAILED: ")?.to_owned()),
        };
        Some((name.to_owned(), end))
    });
    cases.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_is_ok_or_failed_with_a_reason_and_other_lines_are_none() {
        let text = "[    0.1] Linux\r\ncase a-b: ok\r\ncase c: FAILED: 3: not 4\r\ncase of beer\n";
        let cases = parse(text);
        assert_eq!(cases.len(), 2);
        assert_eq!(cases["a-b"], Ok(()));
        assert_eq!(cases["c"], Err("3: not 4".to_owned()));
    }

    #[test]
    fn the_archive_holds_the_program_a_console_and_the_cases_line_by_line() {
        let (entries, _) = cpio::parse(&archive(vec![7], &["a 1", "b"])).unwrap();
        let file = |path: &str| {
            let entry = entries.iter().find(|entry| entry.path == path);
            entry.map(|entry| entry.node.clone())
        };
        assert_eq!(file("init"), Some(Node::File(vec![7])));
        assert_eq!(file("arguments"), Some(Node::File(b"a 1\nb".to_vec())));
        assert!(file("dev/console").is_some());
    }
}

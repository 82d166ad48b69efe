//! The installer as a process, with the descriptors that PID 1 gives it.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use disk_format::slot::{HEADER_BYTES, SlotHeader};
use init::installer::{CHECK, INSTALL};

use super::world::system_of;

/// Bytes of a slot in these tests.
const SLOT_BYTES: usize = 256 * 1024;

#[test]
fn a_system_from_a_pipe_is_in_the_slot_and_passes_the_check() {
    let slot = Slot::new("good", &[0xee; SLOT_BYTES]);
    let system = system_of("new", 300);
    let output = slot.install(&system);
    assert_eq!(
        (output.status.code(), said(&output)),
        (Some(0), String::new())
    );
    let bytes = slot.bytes();
    assert_eq!(bytes[..system.len()], system);
    assert_eq!(SlotHeader::parse(&bytes, 512).unwrap().version, "new");
    assert!(bytes[system.len()..].iter().all(|byte| *byte == 0xee));
    assert_eq!(slot.check().status.code(), Some(0));
}

#[test]
fn a_stream_that_ends_early_leaves_a_slot_that_nothing_boots() {
    let slot = Slot::new("short", &system_of("older", 20));
    let system = system_of("new", 300);
    for cut in [0, 100, HEADER_BYTES - 1] {
        let output = slot.install(&system[..cut]);
        assert_eq!(said(&output), "the stream ends before the system does");
        // Nothing was written yet.
        assert_eq!(slot.check().status.code(), Some(0), "{cut}");
    }
    for cut in [HEADER_BYTES, HEADER_BYTES + 1, system.len() - 1] {
        let output = slot.install(&system[..cut]);
        assert_eq!(output.status.code(), Some(1), "{cut}");
        assert_eq!(said(&output), "the stream ends before the system does");
        assert_eq!(slot.bytes()[..HEADER_BYTES], [0; HEADER_BYTES], "{cut}");
        assert_eq!(said(&slot.check()), "it is empty");
    }
}

#[test]
fn a_stream_that_goes_on_or_is_altered_is_refused_with_the_reason() {
    let slot = Slot::new("altered", &[]);
    let system = system_of("new", 20);
    let mut longer = system.clone();
    longer.push(0);
    let reason = format!(
        "the stream goes on after the system's {} bytes",
        system.len()
    );
    assert_eq!(said(&slot.install(&longer)), reason);

    let mut altered = system.clone();
    altered[HEADER_BYTES + 5000] ^= 1;
    let reason = "the content does not hash to what the header says";
    assert_eq!(said(&slot.install(&altered)), reason);
    assert_eq!(slot.bytes()[..HEADER_BYTES], [0; HEADER_BYTES]);

    let mut padded = system;
    padded[2000] = 1;
    let reason = "slot header: not in the form in which it is written";
    assert_eq!(said(&slot.install(&padded)), reason);
}

#[test]
fn a_system_longer_than_the_slot_is_refused_before_anything_is_written() {
    let slot = Slot::new("long", &system_of("older", 20));
    let output = slot.install(&system_of("new", SLOT_BYTES / 512));
    assert!(said(&output).contains("within 512 sectors"), "{output:?}");
    assert_eq!(slot.check().status.code(), Some(0));
}

#[test]
fn a_slot_whose_content_rots_does_not_pass_the_check() {
    let mut system = system_of("new", 20);
    assert_eq!(Slot::new("fresh", &system).check().status.code(), Some(0));
    let last = system.len() - 1;
    system[last] ^= 0x80;
    let output = Slot::new("rotten", &system).check();
    assert_eq!(
        said(&output),
        "the content does not hash to what the header says"
    );
}

#[test]
fn a_slot_that_cannot_be_written_is_an_error_and_not_a_panic() {
    let slot = Slot::new("sealed", &[]);
    let mut command = command(INSTALL);
    let system = system_of("new", 20);
    let stream = pipe(&system);
    let output = command
        .stdin(stream)
        .stdout(File::open(&slot.path).unwrap())
        .output_of();
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).starts_with("the disk fails: "), "{output:?}");
}

#[test]
fn without_an_argument_it_does_nothing_and_says_what_it_takes() {
    let slot = Slot::new("none", &[]);
    let output = slot.run(command("remove"), &[]);
    assert_eq!(said(&output), "say install or check");
    assert!(slot.bytes().iter().all(|byte| *byte == 0));
}

/// A file in the place of a slot's block device.
struct Slot {
    path: PathBuf,
}

impl Slot {
    fn new(name: &str, content: &[u8]) -> Self {
        let file = format!("outgate-slot-{name}-{}", std::process::id());
        let path = std::env::temp_dir().join(file);
        let mut bytes = content.to_vec();
        bytes.resize(SLOT_BYTES, 0);
        fs::write(&path, bytes).unwrap();
        Self { path }
    }

    fn bytes(&self) -> Vec<u8> {
        fs::read(&self.path).unwrap()
    }

    fn install(&self, stream: &[u8]) -> Output {
        self.run(command(INSTALL), stream)
    }

    fn check(&self) -> Output {
        self.run(command(CHECK), &[])
    }

    fn run(&self, mut command: Command, stream: &[u8]) -> Output {
        let device = OpenOptions::new().read(true).write(true).open(&self.path);
        command
            .stdin(pipe(stream))
            .stdout(device.unwrap())
            .output_of()
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// The binary under the name that makes it the installer.
fn command(argument: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_init"));
    command.arg0("/bin/installer").arg(argument).env_clear();
    command
}

/// A pipe that yields `bytes`; a reader that ends early is none of the writer's business.
fn pipe(bytes: &[u8]) -> Stdio {
    let (reader, mut writer) = std::io::pipe().unwrap();
    let bytes = bytes.to_vec();
    std::thread::spawn(move || writer.write_all(&bytes));
    reader.into()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr)
        .trim_end()
        .to_owned()
}

/// `Command::output` would replace standard output by a pipe of its own.
trait OutputOf {
    fn output_of(&mut self) -> Output;
}

impl OutputOf for Command {
    fn output_of(&mut self) -> Output {
        let child = self.stderr(Stdio::piped()).spawn().unwrap();
        child.wait_with_output().unwrap()
    }
}

//! Decides who executes the guest's instructions, by trying.
//!
//! `/dev/kvm` may open, answer its version, and still be unable to run an ordinary kernel: under
//! nested virtualisation some instructions are neither executed nor emulated. So the probe boots
//! [`BOOT_SECTOR`] and waits at most [`PROBE_TIME_MAX`] for it to report. Nothing is remembered
//! between calls, because the answer changes with the host and costs well under a second.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use crate::machine::Accelerator;
use crate::temp::TempDir;

/// Overrides the probe: `kvm` or `tcg`.
pub const OVERRIDE_VARIABLE: &str = "OUTGATE_ACCEL";

/// How long the probe may take. A working KVM needs about 0.3 s.
pub const PROBE_TIME_MAX: Duration = Duration::from_secs(3);

/// An accelerator and why it was chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// The accelerator to use.
    pub accelerator: Accelerator,
    /// One sentence for people.
    pub reason: String,
}

/// The environment variable has a value that means nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OverrideError {
    value: String,
}

/// Chooses the accelerator: what the environment says, else KVM when it really works, else TCG.
///
/// # Errors
/// [`OverrideError`] when the environment variable is set to something else than `kvm` or `tcg`.
pub fn choose(qemu: &Path) -> Result<Choice, OverrideError> {
    if let Some(value) = std::env::var_os(OVERRIDE_VARIABLE) {
        return overridden(&value.to_string_lossy());
    }
    Ok(match probe_kvm(qemu) {
        Ok(elapsed) => Choice {
            accelerator: Accelerator::Kvm,
            reason: format!("KVM ran a test program in {} ms", elapsed.as_millis()),
        },
        Err(failure) => Choice {
            accelerator: Accelerator::Tcg,
            reason: format!("software emulation, about ten times slower, because {failure}"),
        },
    })
}

fn overridden(value: &str) -> Result<Choice, OverrideError> {
    let accelerator = match value {
        "kvm" => Accelerator::Kvm,
        "tcg" => Accelerator::Tcg,
        _ => {
            return Err(OverrideError {
                value: value.to_owned(),
            });
        }
    };
    Ok(Choice {
        accelerator,
        reason: format!("{OVERRIDE_VARIABLE}={value} says so"),
    })
}

/// Why KVM is not used.
#[derive(Debug)]
enum ProbeFailure {
    /// `/dev/kvm` cannot be opened for reading and writing.
    Device(io::Error),
    /// QEMU ended with another status than the test program's.
    Ended {
        status: ExitStatus,
        last_line: String,
    },
    /// The probe itself could not be set up.
    Setup(io::Error),
    /// QEMU said that KVM failed, or nothing at all until the time was over.
    Stuck { last_line: String },
}

/// How long KVM took to run the test program.
fn probe_kvm(qemu: &Path) -> Result<Duration, ProbeFailure> {
    File::options()
        .read(true)
        .write(true)
        .open("/dev/kvm")
        .map_err(ProbeFailure::Device)?;
    let folder = TempDir::new("outgate-kvm-probe").map_err(ProbeFailure::Setup)?;
    let image = folder.path().join("boot-sector");
    fs::write(&image, boot_sector_image()).map_err(ProbeFailure::Setup)?;
    let started = Instant::now();
    let mut child = spawn_probe(qemu, &image, Accelerator::Kvm).map_err(ProbeFailure::Setup)?;
    let stderr = child.stderr.take();
    let last_line = watch(stderr, started + PROBE_TIME_MAX);
    let exited_by_itself = matches!(child.try_wait(), Ok(Some(_))) || last_line.is_ok();
    if !exited_by_itself {
        // An error here means that QEMU has ended meanwhile, which `wait` reports.
        let _ = child.kill();
    }
    let status = child.wait().map_err(ProbeFailure::Setup)?;
    match last_line {
        Ok(_) if status.code() == Some(PASS_STATUS) => Ok(started.elapsed()),
        Ok(last_line) => Err(ProbeFailure::Ended { status, last_line }),
        Err(last_line) => Err(ProbeFailure::Stuck { last_line }),
    }
}

fn spawn_probe(qemu: &Path, image: &Path, accelerator: Accelerator) -> io::Result<Child> {
    let name = match accelerator {
        Accelerator::Kvm => "kvm",
        Accelerator::Tcg => "tcg",
    };
    Command::new(qemu)
        .args([
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
            "-cpu",
            "max",
            "-m",
            "32",
        ])
        .args(["-machine", &format!("pc,accel={name}")])
        .args(["-drive", "if=ide,format=raw,snapshot=on,file=boot-sector"])
        .args(["-device", "isa-debug-exit,iobase=0xf4,iosize=1"])
        .current_dir(image.parent().unwrap_or_else(|| Path::new("/")))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
}

/// Follows QEMU's messages until it ends, says that KVM failed, or the time is over.
/// Ok and Err alike carry the most telling line; Ok means that QEMU has closed its stderr.
fn watch(stderr: Option<ChildStderr>, deadline: Instant) -> Result<String, String> {
    let Some(stderr) = stderr else {
        return Err(String::new());
    };
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    let mut first_line = String::new();
    loop {
        match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            // After this message QEMU stops the processor and waits for a debugger.
            Ok(line) if line.contains("KVM internal error") => return Err(line),
            Ok(line) if first_line.is_empty() => first_line = line,
            Ok(_) => {}
            Err(RecvTimeoutError::Disconnected) => return Ok(first_line),
            Err(RecvTimeoutError::Timeout) => return Err(first_line),
        }
    }
}

impl fmt::Display for ProbeFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device(error) => write!(f, "/dev/kvm cannot be opened: {error}"),
            Self::Ended { status, last_line } => {
                write!(f, "QEMU ended with {status} under KVM: {last_line}")
            }
            Self::Setup(error) => write!(f, "KVM could not be tried: {error}"),
            Self::Stuck { last_line } if last_line.is_empty() => {
                write!(
                    f,
                    "/dev/kvm opens but ran no test program within {PROBE_TIME_MAX:?}"
                )
            }
            Self::Stuck { last_line } => {
                write!(
                    f,
                    "/dev/kvm opens but did not run a test program: {last_line}"
                )
            }
        }
    }
}

impl fmt::Display for OverrideError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{OVERRIDE_VARIABLE}={:?} means nothing: set it to kvm or tcg, or unset it",
            self.value
        )
    }
}

impl std::error::Error for OverrideError {}

/// What the boot sector writes to the exit device.
const PASS_CODE: u8 = 0x15;

/// QEMU's exit status then, `code << 1 | 1` by the exit device's definition.
const PASS_STATUS: i32 = (PASS_CODE as i32) << 1 | 1;

/// Length of a sector, and where its signature is.
const SECTOR_BYTES: usize = 512;
const SIGNATURE_AT: usize = 510;

/// Linked at 0x7c00. It takes timer interrupts, walks into long mode as a kernel does, and there
/// executes CPUID and SSE: what a hypervisor that emulates instead of executing fails at.
#[rustfmt::skip]
const BOOT_SECTOR: [u8; 174] = [
    0xfa,                                                       // cli
    0x31, 0xc0, 0x8e, 0xd8, 0x8e, 0xc0, 0x8e, 0xd0,             // ax = ds = es = ss = 0
    0xbc, 0x00, 0x7c,                                           // mov $0x7c00, %sp
    0xfc, 0xfb,                                                 // cld; sti
    0xb9, 0x03, 0x00,                                           // mov $3, %cx
    0xf4, 0xe2, 0xfd,                                           // 1: hlt; loop 1b: three timer ticks
    0xfa,                                                       // cli
    0xbf, 0x00, 0x10, 0x66, 0x31, 0xc0, 0xb9, 0x00, 0x0c,       // page tables: 0x1000..0x4000
    0x66, 0xf3, 0xab,                                           // rep stosl: all zero
    0xc7, 0x06, 0x00, 0x10, 0x03, 0x20,                         // PML4[0] -> 0x2000
    0xc7, 0x06, 0x00, 0x20, 0x03, 0x30,                         // PDPT[0] -> 0x3000
    0xc7, 0x06, 0x00, 0x30, 0x83, 0x00,                         // PD[0] = 2 MiB at 0
    0x0f, 0x20, 0xe0, 0x66, 0x0d, 0x20, 0x06, 0x00, 0x00,       // cr4 |= PAE, OSFXSR,
    0x0f, 0x22, 0xe0,                                           //        OSXMMEXCPT
    0x66, 0xb8, 0x00, 0x10, 0x00, 0x00, 0x0f, 0x22, 0xd8,       // cr3 = 0x1000
    0x66, 0xb9, 0x80, 0x00, 0x00, 0xc0, 0x0f, 0x32,             // rdmsr EFER
    0x66, 0x0d, 0x00, 0x01, 0x00, 0x00, 0x0f, 0x30,             // wrmsr EFER | LME
    0x66, 0x0f, 0x01, 0x16, 0xa8, 0x7c,                         // lgdtl 0x7ca8
    0x0f, 0x20, 0xc0, 0x66, 0x83, 0xe0, 0xfb,                   // cr0 &= !EM
    0x66, 0x0d, 0x03, 0x00, 0x00, 0x80, 0x0f, 0x22, 0xc0,       // cr0 |= PG, MP, PE
    0xea, 0x73, 0x7c, 0x08, 0x00,                               // ljmp $8, $0x7c73: 64 bits
    0x31, 0xc0, 0x0f, 0xa2,                                     // cpuid, leaf 0
    0x66, 0x48, 0x0f, 0x6e, 0xc3,                               // movq %rbx, %xmm0
    0x66, 0x0f, 0xd4, 0xc0,                                     // paddq %xmm0, %xmm0
    0x66, 0x48, 0x0f, 0x7e, 0xc3,                               // movq %xmm0, %rbx
    0xb9, 0x00, 0x00, 0x10, 0x00,                               // mov $0x100000, %ecx
    0xff, 0xc9, 0x75, 0xfc,                                     // 2: decl %ecx; jnz 2b
    0xb0, PASS_CODE, 0xe6, 0xf4,                                // outb to the exit device
    0xf4, 0xeb, 0xfd,                                           // 3: hlt; jmp 3b
    0x0f, 0x1f, 0x00,                                           // alignment
    0, 0, 0, 0, 0, 0, 0, 0,                                     // gdt: null,
    0, 0, 0, 0, 0, 0x9a, 0x20, 0x00,                            //      64-bit code
    0x0f, 0x00, 0x98, 0x7c, 0x00, 0x00,                         // gdtr: limit, base
];

fn boot_sector_image() -> [u8; SECTOR_BYTES] {
    let mut sector = [0; SECTOR_BYTES];
    sector[..BOOT_SECTOR.len()].copy_from_slice(&BOOT_SECTOR);
    sector[SIGNATURE_AT..].copy_from_slice(&[0x55, 0xaa]);
    sector
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::find_qemu;

    #[test]
    fn the_environment_decides_before_any_probe() {
        assert_eq!(
            overridden("tcg").map(|choice| choice.accelerator),
            Ok(Accelerator::Tcg)
        );
        assert_eq!(
            overridden("kvm").map(|choice| choice.accelerator),
            Ok(Accelerator::Kvm)
        );
        assert!(
            overridden("fast")
                .unwrap_err()
                .to_string()
                .contains("kvm or tcg")
        );
    }

    #[test]
    fn the_test_program_passes_where_the_processor_is_faithful() {
        let Ok(qemu) = find_qemu() else {
            println!("skipped: {}", crate::host::HostError::NoQemu);
            return;
        };
        let folder = TempDir::new("outgate-tcg-probe").unwrap();
        let image = folder.path().join("boot-sector");
        fs::write(&image, boot_sector_image()).unwrap();
        let mut child = spawn_probe(&qemu, &image, Accelerator::Tcg).unwrap();
        let said = watch(child.stderr.take(), Instant::now() + 10 * PROBE_TIME_MAX);
        if said.is_err() {
            child.kill().unwrap();
        }
        assert_eq!(child.wait().unwrap().code(), Some(PASS_STATUS), "{said:?}");
    }
}

//! What a whole machine executes while it carries bytes: instructions, bytes copied, system calls.
//!
//! Time under software emulation says nothing about processors, but counts repeat to one per cent: the
//! guest's clock counts instructions, too. A plugin of QEMU (`tests/plugin/count.c`) counts; the guest's
//! program carries (`tests/guest/src/carry.rs`) and stands still before and after, so that the counters can
//! be read. Each means of carrying is counted for a short and for a long way, and what is between the two
//! is the price: starting, connecting and the machine's own life cancel out.
//!
//! - [`table`]: rows, and what is written for people and programs.

use std::fs::{self, File};
use std::io;
use std::ops::Sub;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use qemu::machine::{Accelerator, Machine, Plugin};
use qemu::process::Vm;

use crate::folders;
use crate::guest_program;
use crate::lab::LabError;

pub mod table;

use table::{Row, Table};

/// MiB of the short way.
const SHORT_MIB: u64 = 4;
/// MiB of the long way.
const LONG_MIB: u64 = 36;
/// MiB whose bytes are all compared.
const VERIFIED_MIB: u64 = 4;
/// Memory in MiB: room for all records, sealed beforehand.
const MEMORY_MIB: u32 = 512;
/// How long the machine may take from one line to the next on a busy computer.
const STEP_TIME_MAX: Duration = Duration::from_secs(120);
/// What a failed case says.
const FAILED: &str = "case carry: FAILED";

/// What carries, as the guest's program calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Means {
    /// Source and sink alone.
    Nothing,
    /// Stock rustls between blocking reads and writes.
    Stock,
    /// Engine B.
    InPlace,
    /// Engine A.
    Kernel,
}

/// Seen from the application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Into the data channel.
    Up,
    /// Out of it.
    Down,
}

/// The plugin's counters, in the order of its file; see there for what each is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Instructions of the kernel.
    pub kernel: u64,
    /// Instructions of programs.
    pub user: u64,
    /// Passes of `rep movs`, which are among the instructions.
    pub moves: u64,
    /// Bytes that they copied.
    pub moved: u64,
    /// Passes of `rep stos`, which are among the instructions.
    pub fills: u64,
    /// Bytes that they wrote.
    pub filled: u64,
    /// System calls.
    pub system_calls: u64,
}

/// What carrying costs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cost {
    /// Bytes copied for each byte of payload.
    pub copied: f64,
    /// Bytes zeroed for each byte of payload.
    pub zeroed: f64,
    /// Instructions for each byte of payload, without those that copy or zero.
    pub instructions: f64,
    /// System calls for each MiB of payload.
    pub calls: f64,
}

/// Compiles the plugin, boots the guest under it, and counts each means in each direction, after it has
/// carried some MiB of which every byte was compared. Files go to the lab folder `name`.
///
/// # Errors
/// When something is not built or installed, or the guest does not do what it is asked for.
pub fn count(name: &str, means: &[Means]) -> Result<Table, LabError> {
    let ways: Vec<Way> = means.iter().flat_map(|&means| Way::both(means)).collect();
    let meter = Meter::start(name, &ways)?;
    let rows = ways.iter().map(|way| {
        let short = meter.counted(&way.case(SHORT_MIB))?;
        let long = meter.counted(&way.case(LONG_MIB))?;
        Ok(Row {
            means: way.means,
            direction: way.direction,
            cost: Cost::of(long - short, (LONG_MIB - SHORT_MIB) << 20),
        })
    });
    let rows = rows.collect::<Result<_, LabError>>()?;
    meter.end()?;
    Ok(Table { rows })
}

/// Why nothing can be counted here, as one sentence, if so.
pub fn missing() -> Option<String> {
    let error = match Command::new(COMPILER).arg("--version").output() {
        Ok(_) => guest_program::find_executable().err()?.to_string(),
        Err(error) => format!("{COMPILER} compiles QEMU's plugin: {error}"),
    };
    Some(error)
}

#[derive(Clone, Copy, Debug)]
struct Way {
    means: Means,
    direction: Direction,
}

impl Way {
    fn both(means: Means) -> [Self; 2] {
        [Direction::Up, Direction::Down].map(|direction| Self { means, direction })
    }

    /// The guest's case that counts it.
    fn case(self, mib: u64) -> String {
        format!("{} {mib} count", self.words())
    }

    fn words(self) -> String {
        let means = match self.means {
            Means::Nothing => "nothing",
            Means::Stock => "stock",
            Means::InPlace => "in-place",
            Means::Kernel => "kernel",
        };
        let direction = match self.direction {
            Direction::Up => "up",
            Direction::Down => "down",
        };
        format!("{means} {direction}")
    }
}

/// A guest under the plugin.
#[derive(Debug)]
struct Meter {
    vm: Vm,
    counters: File,
    folder: PathBuf,
}

impl Meter {
    /// Boots a guest that first carries and compares, and then waits to be counted.
    fn start(name: &str, ways: &[Way]) -> Result<Self, LabError> {
        let folder = folders::target().join("lab").join(name);
        fs::create_dir_all(&folder).map_err(LabError::Io)?;
        let counts = folder.join("counts");
        let counters = counters(&counts).map_err(LabError::Io)?;
        let mut cases: Vec<String> = Vec::new();
        for way in ways {
            cases.push(format!("carry {} {VERIFIED_MIB} verify", way.words()));
            cases.push(format!("carry {}", way.case(SHORT_MIB)));
            cases.push(format!("carry {}", way.case(LONG_MIB)));
        }
        let cases: Vec<&str> = cases.iter().map(String::as_str).collect();
        // A plugin is a part of the translator.
        let mut machine = Machine::new(Accelerator::Tcg);
        machine.memory_mib = MEMORY_MIB;
        machine.restart_on_reset = false;
        machine.kernel = Some(guest_program::kernel(&cases, &folder)?);
        machine.plugin = Some(Plugin {
            path: compiled(&folder).map_err(LabError::Io)?,
            argument: "counts".to_owned(),
            value: counts,
        });
        machine.clock_counts_instructions = true;
        Ok(Self {
            vm: Vm::start(machine).map_err(LabError::Vm)?,
            counters,
            folder,
        })
    }

    /// What the whole machine did from the case's first byte to its last.
    fn counted(&self, case: &str) -> Result<Counts, LabError> {
        let before = self.at(&format!("counted: {case} begins"))?;
        let after = self.at(&format!("counted: {case} ended"))?;
        Ok(after - before)
    }

    /// The counters at this line, where the guest waits for an answer; answers.
    fn at(&self, line: &str) -> Result<Counts, LabError> {
        let console = self.vm.console();
        let found = console.wait_for_any(&[line, FAILED], STEP_TIME_MAX);
        match found {
            Ok(found) if found.pattern == 0 => {}
            Ok(_) | Err(_) => return Err(self.stuck()),
        }
        let counts = self.read().map_err(LabError::Io)?;
        console.type_line("").map_err(|_| self.stuck())?;
        Ok(counts)
    }

    fn read(&self) -> io::Result<Counts> {
        let mut bytes = [0; Counts::LEN];
        self.counters.read_exact_at(&mut bytes, 0)?;
        Ok(Counts::parse(&bytes))
    }

    fn end(&self) -> Result<(), LabError> {
        let over = self
            .vm
            .console()
            .wait_for(guest_program::OVER, STEP_TIME_MAX);
        let is_over = over.is_ok_and(|text| !text.contains(FAILED));
        let text = self.vm.console().text();
        fs::write(self.folder.join("console.txt"), text).map_err(LabError::Io)?;
        if is_over { Ok(()) } else { Err(self.stuck()) }
    }

    fn stuck(&self) -> LabError {
        LabError::StillRunning {
            waited: STEP_TIME_MAX,
            last_lines: self.vm.console().last_lines(40),
        }
    }
}

/// The file that the plugin maps, all zeros.
fn counters(path: &Path) -> io::Result<File> {
    fs::write(path, [0; Counts::LEN])?;
    File::open(path)
}

/// The compiler of the plugin.
const COMPILER: &str = "gcc";

/// Compiles the plugin into `folder`.
fn compiled(folder: &Path) -> io::Result<PathBuf> {
    let source = folders::checkout().join("tests/plugin/count.c");
    let object = folder.join("count.so");
    let output = Command::new(COMPILER)
        .args([
            "-std=c11",
            "-D_DEFAULT_SOURCE",
            "-O2",
            "-Wall",
            "-Wextra",
            "-Werror",
        ])
        .args(["-shared", "-fPIC", "-fvisibility=hidden", "-o"])
        .args([&object, &source])
        .output()?;
    if output.status.success() {
        return Ok(object);
    }
    let text = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!("{}: {text}", source.display())))
}

impl Counts {
    /// Bytes of the plugin's file.
    const LEN: usize = 7 * 8;

    fn parse(bytes: &[u8; Self::LEN]) -> Self {
        let mut numbers = bytes.chunks_exact(8).map(|chunk| {
            let mut number = [0; 8];
            number.copy_from_slice(chunk);
            u64::from_ne_bytes(number)
        });
        let mut next = || numbers.next().unwrap_or_default();
        Self {
            kernel: next(),
            user: next(),
            moves: next(),
            moved: next(),
            fills: next(),
            filled: next(),
            system_calls: next(),
        }
    }
}

impl Sub for Counts {
    type Output = Self;

    /// What is between two readings, or between a longer and a shorter way; nothing where that did more.
    fn sub(self, earlier: Self) -> Self {
        Self {
            kernel: self.kernel.saturating_sub(earlier.kernel),
            user: self.user.saturating_sub(earlier.user),
            moves: self.moves.saturating_sub(earlier.moves),
            moved: self.moved.saturating_sub(earlier.moved),
            fills: self.fills.saturating_sub(earlier.fills),
            filled: self.filled.saturating_sub(earlier.filled),
            system_calls: self.system_calls.saturating_sub(earlier.system_calls),
        }
    }
}

impl Cost {
    /// Of `payload` bytes.
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    fn of(counts: Counts, payload: u64) -> Self {
        let each = |count: u64| count as f64 / payload as f64;
        let others = (counts.kernel + counts.user).saturating_sub(counts.moves + counts.fills);
        Self {
            copied: each(counts.moved),
            zeroed: each(counts.filled),
            instructions: each(others),
            calls: each(counts.system_calls) * f64::from(1 << 20),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_read_in_the_order_in_which_the_plugin_writes_them() {
        let mut bytes = [0; Counts::LEN];
        for (number, chunk) in (1_u64..).zip(bytes.chunks_exact_mut(8)) {
            chunk.copy_from_slice(&number.to_ne_bytes());
        }
        let expected = Counts {
            kernel: 1,
            user: 2,
            moves: 3,
            moved: 4,
            fills: 5,
            filled: 6,
            system_calls: 7,
        };
        assert_eq!(Counts::parse(&bytes), expected);
    }

    #[test]
    fn passes_of_copies_and_fills_are_no_other_instructions() {
        let counts = Counts {
            kernel: 3000,
            user: 1000,
            moves: 1500,
            moved: 2000,
            fills: 500,
            filled: 4000,
            system_calls: 1,
        };
        let expected = Cost {
            copied: 2.0,
            zeroed: 4.0,
            instructions: 2.0,
            calls: 1048.576,
        };
        assert_eq!(Cost::of(counts, 1000), expected);
    }

    #[test]
    fn what_came_between_two_readings_is_their_difference() {
        let before = Counts {
            kernel: 10,
            ..Counts::default()
        };
        let after = Counts {
            kernel: 25,
            user: 1,
            ..Counts::default()
        };
        assert_eq!((after - before).kernel, 15);
        assert_eq!((after - before).user, 1);
    }

    #[test]
    fn a_way_is_spelled_as_the_guest_s_program_reads_it() {
        let [up, down] = Way::both(Means::InPlace);
        assert_eq!(up.case(36), "in-place up 36 count");
        assert_eq!(down.case(1), "in-place down 1 count");
    }
}

//! Programs that run for a while: started with a log, killed with all that they started.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

use crate::trouble::Trouble;

/// A running program. Dropped, it is killed, and its children are, and theirs.
#[derive(Debug)]
pub struct Program {
    child: Child,
    log: PathBuf,
}

impl Program {
    /// Starts `command`, whose standard error goes to the file `log`; its output too, unless it is set.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start(mut command: Command, log: &Path, pipes_output: bool) -> Result<Self, Trouble> {
        let name = command.get_program().to_string_lossy().into_owned();
        let file = File::create(log).map_err(Trouble::at(log.display()))?;
        match pipes_output {
            true => command.stdout(Stdio::piped()),
            false => command.stdout(file.try_clone()?),
        };
        let child = command.stderr(file).spawn().map_err(Trouble::at(name))?;
        Ok(Self {
            child,
            log: log.to_owned(),
        })
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its standard output, once, if it was to be a pipe.
    pub fn take_output(&mut self) -> Option<impl std::io::Read + use<>> {
        self.child.stdout.take()
    }

    /// The last lines of its log.
    #[must_use]
    pub fn last_words(&self) -> String {
        let mut bytes = Vec::new();
        if let Ok(mut file) = File::open(&self.log) {
            // What can be read is better than nothing.
            let _ = file.read_to_end(&mut bytes);
        }
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LAST_WORDS)..].join("\n")
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<String> {
        let status = self.child.try_wait().ok().flatten()?;
        Some(format!("{status}; it said:\n{}", self.last_words()))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let family = family(self.pid());
        let pids: Vec<Pid> = family
            .iter()
            .filter_map(|pid| Pid::from_raw(i32::try_from(*pid).ok()?))
            .collect();
        for pid in &pids {
            // It may have ended by itself.
            let _ = kill_process(*pid, Signal::KILL);
        }
        // Its ports are free, and its memory is, once it was waited for.
        let _ = self.child.wait();
        for pid in &pids[1.min(pids.len())..] {
            // Orphans are this process's children: it is the first of its namespace.
            let _ = waitpid(Some(*pid), WaitOptions::empty());
        }
    }
}

/// Lines of a log that are shown when a program failed.
const LAST_WORDS: usize = 12;

/// A process with its children, and theirs; itself first.
#[must_use]
pub fn family(pid: u32) -> Vec<u32> {
    let parents = parents();
    let mut family = vec![pid];
    let mut at = 0;
    while let Some(parent) = family.get(at).copied() {
        let children = parents.iter().filter(|(_, its)| *its == parent);
        family.extend(children.map(|(child, _)| *child));
        at += 1;
    }
    family
}

/// Every process with its parent.
fn parents() -> Vec<(u32, u32)> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let pids = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid: u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        Some((pid, parent_in(&stat)?))
    })
    .collect()
}

/// The fourth field of `/proc/PID/stat`; the second is a name that may hold anything.
fn parent_in(stat: &str) -> Option<u32> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parent_is_found_behind_any_name() {
        assert_eq!(parent_in("12 (nginx: worker) S 7 12 1"), Some(7));
        assert_eq!(parent_in("12 (a) S 9 (b) R 3 1"), Some(3));
        assert_eq!(parent_in("12 nothing"), None);
    }

    #[test]
    fn a_program_is_killed_with_its_children() {
        let log = std::env::temp_dir().join(format!("bench-program-{}", std::process::id()));
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 1000 & echo $!; wait"]);
        let mut program = Program::start(command, &log, true).unwrap();
        let mut output = program.take_output().unwrap();
        let mut word = [0; 16];
        let len = output.read(&mut word).unwrap();
        let text = std::str::from_utf8(&word[..len]).unwrap();
        let child: u32 = text.trim().parse().unwrap();
        assert!(family(program.pid()).contains(&child));
        drop(program);
        // Only the death of everybody who holds the pipe ends it.
        assert_eq!(output.read(&mut word).unwrap(), 0);
        fs::remove_file(log).unwrap();
    }
}

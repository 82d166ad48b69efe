//! What processes have used: processor time, memory, sockets.

use std::fs;

use crate::program::family;
use crate::statistics::to_f64;

/// Processor time that processes and their children have used so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cpu {
    /// By the scheduler, of the threads that there are: exact, in nanoseconds.
    scheduler_ns: u64,
    /// By the accounts, of threads that ended too: in steps of a tick.
    accounts_ns: u64,
}

impl Cpu {
    /// Reads it.
    #[must_use]
    pub fn of(pids: &[u32]) -> Self {
        let mut cpu = Self::default();
        for pid in pids.iter().flat_map(|pid| family(*pid)) {
            cpu.scheduler_ns += threads_ns(pid);
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            cpu.accounts_ns += accounts_ns(&stat).unwrap_or(0);
        }
        cpu
    }

    /// Seconds used since `earlier`.
    #[must_use]
    pub fn seconds_since(self, earlier: Self) -> f64 {
        let scheduler = self.scheduler_ns.saturating_sub(earlier.scheduler_ns);
        let accounts = self.accounts_ns.saturating_sub(earlier.accounts_ns);
        // More than ticks can explain: threads have come and gone.
        let ended_threads = accounts > scheduler + TICKS_LOST * TICK_NS;
        let exact = if ended_threads { accounts } else { scheduler };
        to_f64(exact) / 1e9
    }
}

/// `USER_HZ` is 100 on every Linux that this runs on.
const TICK_NS: u64 = 10_000_000;
/// Ticks by which the accounts of a few processes may be wrong: each rounds two sums down, twice.
const TICKS_LOST: u64 = 8;

fn threads_ns(pid: u32) -> u64 {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return 0;
    };
    let ns = threads.flatten().filter_map(|thread| {
        let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    });
    ns.sum()
}

/// Fields 14 and 15 of `/proc/PID/stat`: time in user space and in the kernel, in ticks.
fn accounts_ns(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some((user + system) * TICK_NS)
}

/// Memory of processes and their children, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Memory {
    /// Resident pages, those that are shared counted in each process.
    pub resident: u64,
    /// The same, with shared pages divided among those who share them.
    pub proportional: u64,
}

impl Memory {
    /// Reads it.
    #[must_use]
    pub fn of(pids: &[u32]) -> Self {
        let mut memory = Self::default();
        for pid in pids.iter().flat_map(|pid| family(*pid)) {
            let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
            memory.resident += bytes_in(&text, "Rss:").unwrap_or(0);
            memory.proportional += bytes_in(&text, "Pss:").unwrap_or(0);
        }
        memory
    }
}

/// Sockets that processes and their children hold.
#[must_use]
pub fn sockets(pids: &[u32]) -> usize {
    let families = pids.iter().flat_map(|pid| family(*pid));
    let held = families.map(|pid| {
        let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else {
            return 0;
        };
        let targets = entries
            .flatten()
            .filter_map(|entry| fs::read_link(entry.path()).ok());
        targets
            .filter(|target| target.to_string_lossy().starts_with("socket:"))
            .count()
    });
    held.sum()
}

/// Memory of the kernel's own objects on the whole machine, in bytes.
#[must_use]
pub fn kernel_objects() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    bytes_in(&text, "Slab:").unwrap_or(0)
}

/// The value of a line `NAME  NUMBER kB`.
fn bytes_in(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib * 1024)
}

/// The machine in one line: processor, cores, kernel.
#[must_use]
pub fn machine() -> String {
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("unknown processor", |(_, name)| name.trim());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let version = kernel.split('-').next().unwrap_or_default().trim();
    format!("{cores} cores of {model}, Linux {version}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_are_read_behind_any_name() {
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 9 9 20 0 1 0 100";
        assert_eq!(accounts_ns(stat), Some(3_000_000_000));
        assert_eq!(accounts_ns("7 nothing"), None);
    }

    #[test]
    fn sizes_are_read_in_kib() {
        let text = "55 [rollup]\nRss:      1736 kB\nPss:       317 kB\nPss_Dirty: 1 kB\n";
        assert_eq!(bytes_in(text, "Rss:"), Some(1736 * 1024));
        assert_eq!(bytes_in(text, "Pss:"), Some(317 * 1024));
        assert_eq!(bytes_in(text, "Swap:"), None);
    }

    #[test]
    fn the_scheduler_is_believed_unless_threads_have_ended() {
        let at = |scheduler_ms: u64, accounts_ms: u64| Cpu {
            scheduler_ns: scheduler_ms * 1_000_000,
            accounts_ns: accounts_ms * 1_000_000,
        };
        let seconds = |cpu: Cpu| (cpu.seconds_since(at(1000, 990)) * 1000.0).round();
        assert_eq!(seconds(at(1337, 1310)), 337.0);
        assert_eq!(seconds(at(1010, 1990)), 1000.0, "most threads are gone");
    }

    #[test]
    fn this_process_uses_what_it_uses() {
        let pids = [std::process::id()];
        let before = Cpu::of(&pids);
        let mut sum = 0_u64;
        for number in 0..20_000_000_u64 {
            sum = std::hint::black_box(sum ^ number);
        }
        assert!(Cpu::of(&pids).seconds_since(before) > 0.0, "{sum}");
        assert!(Memory::of(&pids).resident > 100 << 10);
    }
}

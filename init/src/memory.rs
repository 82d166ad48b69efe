//! The machine's memory, as the kernel counts it in `/proc/meminfo` (proc_meminfo(5)).

use crate::hardware::read_bounded;

/// How much memory there is, and how much of it is free for the asking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// What the kernel manages, in KiB.
    pub total_kib: u32,
    /// What programs could still get without anything being swapped or killed, in KiB.
    pub available_kib: u32,
}

/// Measures it; `None` if the kernel says something that is not understood.
#[must_use]
pub fn read() -> Option<Memory> {
    parse(&read_bounded("/proc/meminfo", MEMINFO_BYTES_MAX)?)
}

fn parse(text: &str) -> Option<Memory> {
    let kib = |name: &str| {
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        value.trim().strip_suffix(" kB")?.parse().ok()
    };
    Some(Memory {
        total_kib: kib("MemTotal")?,
        available_kib: kib("MemAvailable")?,
    })
}

/// Fifty lines of about thirty bytes, and room for as many again.
const MEMINFO_BYTES_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn total_and_available_are_read_among_other_lines() {
        let text = "MemTotal:         108820 kB\nMemFree:           70124 kB\n\
                    MemAvailable:      66940 kB\nBuffers:               0 kB\nHugePages_Total: 0\n";
        let memory = Memory {
            total_kib: 108_820,
            available_kib: 66_940,
        };
        assert_eq!(parse(text), Some(memory));
    }

    #[test]
    fn what_is_not_understood_is_no_measurement() {
        for text in [
            "",
            "MemTotal: 108820 kB\n",
            "MemTotal: 108820 kB\nMemAvailable: 66940 pages\n",
            "MemTotal: 108820 kB\nMemAvailable: -1 kB\n",
            "MemTotal: 99999999999 kB\nMemAvailable: 66940 kB\n",
            "MemTotalled: 1 kB\nMemAvailable: 1 kB\n",
        ] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn the_running_kernel_is_understood() {
        let memory = read().unwrap();
        assert!(memory.available_kib <= memory.total_kib, "{memory:?}");
    }
}

//! How many sessions this machine can carry: the edge is told, and sends more elsewhere.
//!
//! Each session takes two descriptors, two ports (one towards the edge, one towards its application) and
//! memory of the kernel's and of this process. What there is least of decides.

mod group;

use std::fs;

use connector_proto::limits::CAPACITY_MAX;
use rustix::process::{Resource, getrlimit};

/// What sessions are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resources {
    /// Descriptors that this process may have open.
    pub descriptors: u64,
    /// Ports that one address may use towards another one's port.
    pub ports: u64,
    /// Memory that can be had without harm, in bytes.
    pub memory: u64,
}

/// Descriptors of a session: its application's socket and its data channel.
const DESCRIPTORS: u64 = 2;
/// Descriptors for all else: the warm channels, those being dialled, questions to resolvers, pipes that
/// move bytes; no more than half of them where there are few.
const DESCRIPTORS_KEPT: u64 = 1024;
/// Ports for warm channels and for those that linger in TIME_WAIT.
const PORTS_KEPT: u64 = 4_512;
/// Memory of a session that moves nothing, in bytes, rounded up: 15 KB of the kernel's with its TLS
/// (DATAPLANE: 13.5 KB measured) and 1.5 KB of this process.
const MEMORY: u64 = 16_500;
/// Memory that is left to sockets that are full and to all else, in bytes; besides, a quarter of it all.
const MEMORY_KEPT: u64 = 16 << 20;

impl Resources {
    /// Those of this process and machine. What cannot be read is taken for little.
    #[must_use]
    pub fn here() -> Self {
        let ports = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range");
        let memory = fs::read_to_string("/proc/meminfo");
        let memory = memory.ok().as_deref().and_then(memory_in);
        Self {
            descriptors: getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX),
            ports: ports.ok().as_deref().and_then(ports_in).unwrap_or(8_192),
            memory: group::free().min(memory.unwrap_or(64 << 20)),
        }
    }

    /// Sessions that it can carry in all, while it carries `carried` of them: their memory is not
    /// available any more.
    #[must_use]
    pub fn capacity(&self, carried: u32) -> u32 {
        let kept = DESCRIPTORS_KEPT.min(self.descriptors / 2);
        let by_descriptors = (self.descriptors - kept) / DESCRIPTORS;
        let by_ports = self.ports.saturating_sub(PORTS_KEPT);
        let free = (self.memory - self.memory / 4).saturating_sub(MEMORY_KEPT);
        let by_memory = (free / MEMORY).saturating_add(carried.into());
        let least = by_descriptors.min(by_ports).min(by_memory);
        u32::try_from(least).unwrap_or(u32::MAX).min(CAPACITY_MAX)
    }
}

/// The size of a range `1024\t65535`.
fn ports_in(text: &str) -> Option<u64> {
    let mut ends = text.split_whitespace().map(str::parse::<u64>);
    let (Some(Ok(first)), Some(Ok(last)), None) = (ends.next(), ends.next(), ends.next()) else {
        return None;
    };
    Some((last + 1).saturating_sub(first))
}

/// `MemAvailable` of `/proc/meminfo`, in bytes.
fn memory_in(text: &str) -> Option<u64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib = line.trim().strip_suffix(" kB")?.parse::<u64>().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    const AMPLE: Resources = Resources {
        descriptors: 1 << 20,
        ports: 64_512,
        memory: 1 << 36,
    };

    #[test]
    fn what_there_is_least_of_decides() {
        assert_eq!(AMPLE.capacity(0), CAPACITY_MAX);
        let descriptors = 32_768;
        assert_eq!(
            Resources {
                descriptors,
                ..AMPLE
            }
            .capacity(0),
            15_872
        );
        let ports = 28_232;
        assert_eq!(Resources { ports, ..AMPLE }.capacity(0), 23_720);
        let memory = 256 << 20;
        assert_eq!(Resources { memory, ..AMPLE }.capacity(0), 11_184);
    }

    #[test]
    fn a_machine_with_next_to_nothing_carries_few_and_never_less_than_it_does() {
        let poor = Resources {
            descriptors: 256,
            ports: 64_512,
            memory: 8 << 20,
        };
        assert_eq!(poor.capacity(0), 0);
        assert_eq!(poor.capacity(17), 17);
        assert_eq!(
            Resources {
                memory: 1 << 30,
                ..poor
            }
            .capacity(0),
            64
        );
        assert_eq!(Resources { ports: 0, ..AMPLE }.capacity(9), 0);
    }

    #[test]
    fn memory_that_sessions_took_is_not_counted_against_them_twice() {
        let memory = 256 << 20;
        let before = Resources { memory, ..AMPLE };
        let taken = 1_000 * MEMORY;
        let after = Resources {
            memory: memory - taken,
            ..AMPLE
        };
        let (before, after) = (before.capacity(0), after.capacity(1_000));
        assert!(after >= before && after - before <= 250, "{before} {after}");
    }

    #[test]
    fn what_the_kernel_says_is_read_and_nonsense_is_nothing() {
        assert_eq!(ports_in("1024\t65535\n"), Some(64_512));
        assert_eq!(ports_in("32768 60999"), Some(28_232));
        assert_eq!(
            ports_in("9 8 7").or(ports_in("9")).or(ports_in("a b")),
            None
        );
        assert_eq!(ports_in("65535 1"), Some(0));
        let text = "MemTotal:  999 kB\nMemAvailable:    123 kB\nBuffers: 1 kB\n";
        assert_eq!(memory_in(text), Some(123 * 1024));
        assert_eq!(memory_in("MemAvailable: 12 MB"), None);
        assert_eq!(memory_in(""), None);
        let here = Resources::here();
        assert!(
            here.ports > 0 && here.memory > 0 && here.descriptors > 0,
            "{here:?}"
        );
    }
}

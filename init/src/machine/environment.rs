//! What PID 1 does about the machine's surroundings: disks, buttons and memory.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use connector_proto::time::Instant;
use disk_format::slot::partition;
use rustix::process::Signal;

use super::Machine;
use crate::disks::{self, CLASS, Search};
use crate::hardware;
use crate::hub::Topic;
use crate::memory;
use crate::service::{Condition, Service};

/// How long after the start a disk may appear before the connector is started without one.
const STATE_SETTLES_IN: Duration = Duration::from_secs(10);

/// The search for the state partition.
#[derive(Debug)]
pub(super) struct StateDisk {
    partition: Option<File>,
    settles_at: Option<Instant>,
}

impl StateDisk {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            partition: None,
            settles_at: Some(now + STATE_SETTLES_IN),
        }
    }

    /// A descriptor for the connector.
    pub(super) fn descriptor(&self) -> io::Result<Option<OwnedFd>> {
        self.partition
            .as_ref()
            .map(|file| Ok(file.try_clone()?.into()))
            .transpose()
    }

    /// Whether the partition was found.
    pub(super) const fn is_found(&self) -> bool {
        self.partition.is_some()
    }

    pub(super) const fn poll_timeout(&self) -> Option<Instant> {
        self.settles_at
    }

    pub(super) fn is_settling_over(&self, now: Instant) -> bool {
        self.settles_at.is_some_and(|at| at <= now)
    }
}

impl Machine {
    /// Looks for disks and buttons.
    pub(super) fn look_at_devices(&mut self, now: Instant) {
        self.look_for_partitions(now);
        let known: Vec<_> = self.buttons.iter().map(|(path, _)| path.clone()).collect();
        for (path, device) in hardware::power_buttons(&known) {
            log::info!("power button {}", path.display());
            self.buttons.push((path, device));
        }
    }

    /// Looks for the image's partitions.
    pub(super) fn look_for_partitions(&mut self, now: Instant) {
        let is_last = self.state_disk.poll_timeout().is_none_or(|at| at <= now);
        self.look_for_boot_state(now, is_last);
        self.look_for_state_partition(now, is_last);
    }

    fn look_for_state_partition(&mut self, now: Instant, is_last: bool) {
        if self.state_disk.is_found() {
            return;
        }
        let class = Path::new(CLASS);
        let problem = match disks::find(class, partition::STATE) {
            Search::Found(partition) if partition.is_read_only => disks::read_only(&partition.disk),
            Search::Found(partition) => match partition.open() {
                Ok(file) => return self.use_state_partition(now, file),
                Err(error) => format!(
                    "The state partition {} cannot be opened ({error}): check the disk, then restart.",
                    partition.device
                ),
            },
            Search::Several(devices) => disks::several("state", &devices),
            Search::Absent if is_last => {
                disks::too_small(class).unwrap_or_else(|| NO_STATE_PARTITION.to_owned())
            }
            Search::Absent => return,
        };
        self.tell_problem(now, Topic::State, &problem);
        self.settle_state(now);
    }

    fn use_state_partition(&mut self, now: Instant, file: File) {
        log::info!("the state partition is there");
        self.learn_floor(now, &file);
        self.state_disk.partition = Some(file);
        self.hub.solved(Topic::State);
        // A connector that was started without it is started again with it.
        self.signal(Service::Connector, Signal::TERM);
        self.settle_state(now);
    }

    fn settle_state(&mut self, now: Instant) {
        self.state_disk.settles_at = None;
        self.supervisor
            .handle_condition(now, Condition::StateSettled);
    }

    /// Tells how much memory the machine uses, if that is due.
    pub(super) fn measure_memory(&mut self, now: Instant) {
        if !self.hub.is_memory_due() {
            return;
        }
        let Some(memory) = memory::read() else {
            return log::warn!("/proc/meminfo is not understood");
        };
        let letters = self.hub.memory(now, memory);
        self.deliver(letters);
    }
}

const NO_STATE_PARTITION: &str =
    "No disk carries the state partition outgate-state: attach the image's disk, then restart.";

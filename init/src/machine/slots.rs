//! What PID 1 does about the system slots by itself: tells which one runs, promotes a trial or ends it.
//! What is done on request is in [`super::slot_requests`].

use std::path::Path;
use std::time::Duration;

use connector_proto::local::{self, Fact, FallbackReason, text};
use connector_proto::time::Instant;
use disk_format::slot::{SlotName, partition};

use super::Machine;
use super::slot_requests::{Job, damage_of};
use crate::disks::{self, CLASS, Partition, Search};
use crate::hardware;
use crate::hub::Topic;
use crate::slot::boot_state::{BootState, Condition};
use crate::slot::policy::{self, Boot};

/// How long after a promotion that could not be written the next one is tried.
const PROMOTE_AGAIN_IN: Duration = Duration::from_secs(10);

/// What PID 1 knows about the slots.
#[derive(Debug)]
pub(super) struct Slots {
    /// What the boot loader said.
    pub(super) running: Option<SlotName>,
    pub(super) boot: Boot,
    /// The partition of the block, and the block as it is on the disk; `None` until it was found.
    pub(super) block: Option<(Partition, BootState)>,
    /// When a trial must have been promoted.
    promote_by: Option<Instant>,
    /// When to write a promotion that could not be written again.
    promote_again_at: Option<Instant>,
    pub(super) job: Option<Job>,
}

impl Slots {
    pub(super) fn new() -> Self {
        let running = hardware::running_slot();
        match running {
            Some(slot) => log::info!("this is slot {slot}"),
            None => {
                log::warn!("the boot loader did not say which slot this is: slots stay as they are")
            }
        }
        Self {
            running,
            boot: policy::judge(&BootState::assumed(), running),
            block: None,
            promote_by: None,
            promote_again_at: None,
            job: None,
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let job = self.job.as_ref().map(Job::until);
        [self.promote_by, self.promote_again_at, job]
            .into_iter()
            .flatten()
            .min()
    }

    /// The pieces that every change of a slot needs.
    pub(super) fn block(&self) -> Result<&(Partition, BootState), String> {
        self.block.as_ref().ok_or_else(|| {
            "No boot-state partition was found: check the disk, then restart.".to_owned()
        })
    }

    /// Writes another block, which is in force from then on.
    pub(super) fn write_block(&mut self, block: BootState) -> Result<(), String> {
        let (partition, held) = self
            .block
            .as_mut()
            .ok_or("There is no boot-state partition.")?;
        if *held == block {
            return Ok(());
        }
        if partition.is_read_only {
            return Err(format!(
                "Disk {} is read-only: allow writing to it in the VM's settings, then restart.",
                partition.disk
            ));
        }
        let written = partition
            .open()
            .and_then(|mut device| block.write(&mut device));
        written.map_err(|error| {
            format!(
                "The boot state on disk {} cannot be written: {error}.",
                partition.disk
            )
        })?;
        *held = block;
        Ok(())
    }
}

impl Machine {
    /// Looks for the boot-state partition and tells what this boot is. `is_last` when no further
    /// disk is waited for.
    pub(super) fn look_for_boot_state(&mut self, now: Instant, is_last: bool) {
        if self.slots.block.is_some() {
            return;
        }
        let found = disks::find(Path::new(CLASS), partition::BOOT_STATE);
        let problem = match found {
            Search::Found(partition) => {
                let read = partition
                    .open()
                    .and_then(|mut device| BootState::read(&mut device));
                match read {
                    Ok((block, condition)) => {
                        return self.learn_block(now, partition, block, condition);
                    }
                    Err(error) => Some(format!(
                        "The boot state on disk {} cannot be read ({error}): check the disk, then \
                         restart.",
                        partition.disk
                    )),
                }
            }
            Search::Several(devices) => Some(disks::several("boot-state", &devices)),
            Search::Absent if !is_last => return,
            // That there is no state partition either was said already.
            Search::Absent if !self.state_disk.is_found() => None,
            Search::Absent => Some(NO_BOOT_STATE.to_owned()),
        };
        if let Some(problem) = problem {
            self.tell_problem(now, Topic::BootState, &problem);
        }
        self.tell_system(now);
    }

    fn learn_block(
        &mut self,
        now: Instant,
        partition: Partition,
        block: BootState,
        condition: Condition,
    ) {
        let disk = &partition.disk;
        let problem = match condition {
            Condition::Whole => None,
            Condition::Damaged => Some(format!(
                "The boot state on disk {disk} is damaged; what can be read of it is used. Arming a \
                 slot mends it."
            )),
            Condition::Destroyed => Some(format!(
                "The boot state on disk {disk} is destroyed: slot a is assumed, and what was minted \
                 is lost. Arming a slot mends it."
            )),
        };
        match problem {
            Some(problem) => self.tell_problem(now, Topic::BootState, &problem),
            None => self.hub.solved(Topic::BootState),
        }
        let boot = policy::judge(&block, self.slots.running);
        log::info!("boot state: {block:?}, so this boot is {boot:?}");
        if let Boot::Trial { deadline_s, .. } = boot {
            let micros = u64::from(deadline_s) * 1_000_000;
            self.slots.promote_by = Some(Instant::from_micros(micros));
        }
        self.slots.boot = boot;
        self.slots.block = Some((partition, block));
        self.tell_system(now);
        self.tell_idle_slot(now);
        self.promote_if_due(now);
    }

    /// Tells what is wrong with the slot that a good system would fall back to.
    fn tell_idle_slot(&mut self, now: Instant) {
        // Whoever is on trial or fell back was told what the other slot is like.
        if let (Boot::Good, Some(running)) = (self.slots.boot, self.slots.running)
            && let Some(problem) = damage_of(running.other())
        {
            self.tell_problem(now, Topic::IdleSlot, &problem);
        }
    }

    fn tell_system(&mut self, now: Instant) {
        let until_boot_us = self.slots.promote_by.map_or(0, Instant::as_micros);
        let fact = Fact::System {
            slot: self.slots.running.map(told),
            version: text(&self.build.version),
            boot: match self.slots.boot {
                Boot::Good => local::Boot::Good,
                Boot::Trial { left, .. } => local::Boot::Trial {
                    left,
                    until_boot_us,
                },
                Boot::Fallback { from, tries_spent } => local::Boot::Fallback {
                    from: told(from),
                    why: if tries_spent {
                        FallbackReason::TriesSpent
                    } else {
                        FallbackReason::NotLoaded
                    },
                },
                Boot::Unknown => local::Boot::Unknown,
            },
        };
        let letters = self.hub.system(now, fact);
        self.deliver(letters);
    }

    /// Promotes a trial whose clock is right and whose connector is connected.
    pub(super) fn promote_if_due(&mut self, now: Instant) {
        let is_trial = matches!(self.slots.boot, Boot::Trial { .. });
        let is_too_early = self.slots.promote_again_at.is_some_and(|at| at > now);
        if is_trial
            && !is_too_early
            && self.hub.is_clock_ok()
            && self.hub.is_connected()
            && let Err(problem) = self.promote(now)
        {
            log::error!("{problem}");
            self.slots.promote_again_at = Some(now + PROMOTE_AGAIN_IN);
            let sentence = format!("This trial cannot be promoted. {problem}");
            self.tell_problem(now, Topic::Promotion, &sentence);
        }
    }

    pub(super) fn promote(&mut self, now: Instant) -> Result<(), String> {
        let (_, block) = self.slots.block()?;
        let block = policy::promoted(block, self.slots.boot, self.slots.running)
            .map_err(|refusal| refusal.to_string())?;
        self.slots.write_block(block)?;
        log::info!("the trial is promoted: this is the good slot");
        self.slots.boot = Boot::Good;
        self.slots.promote_by = None;
        self.slots.promote_again_at = None;
        self.hub.solved(Topic::Promotion);
        self.tell_system(now);
        Ok(())
    }

    /// Ends a trial that was not promoted in time, and an installer that takes too long.
    pub(super) fn check_slot_timeouts(&mut self, now: Instant) {
        if self.slots.promote_again_at.is_some_and(|at| at <= now) {
            self.slots.promote_again_at = None;
            self.promote_if_due(now);
        }
        if self.slots.promote_by.is_some_and(|at| at <= now) {
            self.slots.promote_by = None;
            let sentence = "This trial was not promoted in time: restarting.";
            log::error!("{sentence}");
            self.tell_problem(now, Topic::Promotion, sentence);
            self.supervisor.handle_shutdown(now, true);
        }
        self.check_installer(now);
    }

    pub(super) fn tell_problem(&mut self, now: Instant, topic: Topic, sentence: &str) {
        let letters = self.hub.problem(now, topic, sentence);
        self.deliver(letters);
    }
}

pub(super) const fn told(slot: SlotName) -> local::SlotName {
    match slot {
        SlotName::A => local::SlotName::A,
        SlotName::B => local::SlotName::B,
    }
}

const NO_BOOT_STATE: &str = "The boot-state partition outgate-boot-state is missing: this system goes on, slots cannot be \
     changed. Deploy the image again.";

//! What PID 1 does about the slots on request: says what is in them, has the idle one written and
//! checked by the installer's process, arms it.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use connector_proto::local::{self, SlotContent, SlotReply, SlotRequest, SlotStatus, text};
use connector_proto::time::Instant;
use disk_format::slot::SlotName;

use super::Machine;
use super::slots::told;
use crate::disks::{self, CLASS, Search};
use crate::hub::{Hub, Topic};
use crate::process::{Installation, InstallerRole};
use crate::slot::boot_state::BootState;
use crate::slot::policy;
use crate::slot::system;

/// How long the installer may take: a slot is 32 MiB, a stream may come over a slow line.
const INSTALL_MAX: Duration = Duration::from_secs(15 * 60);
/// A running installer.
#[derive(Debug)]
pub(super) struct Job {
    process: Installation,
    work: Work,
    /// When it is killed.
    until: Instant,
}

#[derive(Clone, Copy, Debug)]
enum Work {
    Install {
        slot: SlotName,
    },
    /// Check the slot, then arm it.
    Arm {
        slot: SlotName,
        deadline_s: Option<u16>,
    },
}

impl Machine {
    /// Answers a request about the slots, at once or when the installer has ended.
    pub(super) fn serve_slot_request(
        &mut self,
        now: Instant,
        request: SlotRequest,
        descriptors: Vec<OwnedFd>,
    ) {
        let done = match request {
            SlotRequest::Status => {
                return self.reply(SlotReply::Status(self.slot_status()));
            }
            SlotRequest::Install { slot } => self.begin_install(now, known(slot), descriptors),
            SlotRequest::Arm { slot, deadline_s } => self.begin_arm(now, known(slot), deadline_s),
            SlotRequest::Promote => self.promote_by_hand(now).map(Some),
        };
        match done {
            Ok(None) => {}
            Ok(Some(sentence)) => self.reply(SlotReply::Done(text(&sentence))),
            Err(sentence) => self.refuse(&sentence),
        }
    }

    fn promote_by_hand(&mut self, now: Instant) -> Result<String, String> {
        let (_, block) = self.slots.block()?;
        policy::promoted(block, self.slots.boot, self.slots.running)
            .map_err(|refusal| refusal.to_string())?;
        if !self.hub.is_clock_ok() {
            return Err(
                "This trial is promoted once the clock is right: it waits for that.".into(),
            );
        }
        if !self.hub.is_connected() {
            return Err("This trial is promoted once it is connected: it waits for that.".into());
        }
        self.promote(now)?;
        Ok("The trial is promoted: this is the good slot.".into())
    }

    fn begin_install(
        &mut self,
        now: Instant,
        slot: SlotName,
        descriptors: Vec<OwnedFd>,
    ) -> Result<Option<String>, String> {
        let mut descriptors = descriptors.into_iter();
        let (Some(stream), None) = (descriptors.next(), descriptors.next()) else {
            return Err("An installation needs one descriptor: its stream.".into());
        };
        self.check_no_job()?;
        let (_, block) = self.slots.block()?;
        let block = policy::before_install(block, self.slots.boot, self.slots.running, slot)
            .map_err(|refusal| refusal.to_string())?;
        let device = open_slot(slot, true)?;
        // Nothing may boot the slot while it is written.
        self.slots.write_block(block)?;
        let role = InstallerRole::Install { stream };
        self.begin(now, role, device, Work::Install { slot })
    }

    fn begin_arm(
        &mut self,
        now: Instant,
        slot: SlotName,
        deadline_s: Option<u16>,
    ) -> Result<Option<String>, String> {
        self.check_no_job()?;
        let (_, block) = self.slots.block()?;
        policy::armed(block, self.slots.boot, self.slots.running, slot, deadline_s)
            .map_err(|refusal| refusal.to_string())?;
        let device = open_slot(slot, false)?;
        let work = Work::Arm { slot, deadline_s };
        self.begin(now, InstallerRole::Check, device, work)
    }

    fn check_no_job(&self) -> Result<(), String> {
        match &self.slots.job {
            None => Ok(()),
            Some(job) => Err(format!(
                "Slot {} is being worked on: wait for the end of that.",
                job.work.slot()
            )),
        }
    }

    fn begin(
        &mut self,
        now: Instant,
        role: InstallerRole,
        device: File,
        work: Work,
    ) -> Result<Option<String>, String> {
        let process = Installation::spawn(role, device)
            .map_err(|error| format!("The installer cannot be started: {error}."))?;
        self.slots.job = Some(Job {
            process,
            work,
            until: now + INSTALL_MAX,
        });
        Ok(None)
    }

    /// Whether the process that ended was the installer; if so, its work goes on here.
    pub(super) fn installer_ended(
        &mut self,
        pid: rustix::process::Pid,
        how: &str,
        is_success: bool,
    ) -> bool {
        let Some(mut job) = self.slots.job.take_if(|job| job.process.pid() == pid) else {
            return false;
        };
        let slot = job.work.slot();
        let why = job.process.last_words().unwrap_or_else(|| how.to_owned());
        let outcome = match job.work {
            Work::Install { .. } if is_success => Ok(format!(
                "Slot {slot} holds the new system: arm it to have it tried."
            )),
            Work::Install { .. } => Err(format!("Slot {slot} was not installed: {why}.")),
            Work::Arm { deadline_s, .. } if is_success => self.arm(slot, deadline_s),
            Work::Arm { .. } => Err(format!("Slot {slot} is not armed: {why}.")),
        };
        match outcome {
            Ok(sentence) => {
                log::info!("{sentence}");
                self.reply(SlotReply::Done(text(&sentence)));
            }
            Err(sentence) => self.refuse(&sentence),
        }
        true
    }

    fn arm(&mut self, slot: SlotName, deadline_s: Option<u16>) -> Result<String, String> {
        let (_, block) = self.slots.block()?;
        let block = policy::armed(block, self.slots.boot, self.slots.running, slot, deadline_s)
            .map_err(|refusal| refusal.to_string())?;
        self.slots.write_block(block)?;
        self.hub.solved(Topic::BootState);
        Ok(format!(
            "Slot {slot} is tried at the next 3 starts, until it is promoted."
        ))
    }

    fn slot_status(&self) -> SlotStatus {
        let assumed = BootState::assumed();
        let block = self
            .slots
            .block
            .as_ref()
            .map_or(&assumed, |(_, block)| block);
        SlotStatus {
            running: self.slots.running.map(told),
            good: told(block.good),
            trial: block.trial.map(|slot| (told(slot), block.left)),
            a: slot_content(SlotName::A),
            b: slot_content(SlotName::B),
        }
    }

    /// Ends an installer that takes too long.
    pub(super) fn check_installer(&mut self, now: Instant) {
        if let Some(job) = &mut self.slots.job
            && job.until <= now
        {
            log::error!("the installer took longer than {INSTALL_MAX:?}: it is killed");
            job.process.kill();
            job.until = now + INSTALL_MAX;
        }
    }

    fn refuse(&mut self, sentence: &str) {
        log::warn!("{sentence}");
        self.reply(SlotReply::Refused(text(sentence)));
    }

    fn reply(&mut self, reply: SlotReply) {
        self.deliver(vec![Hub::slot_reply(reply)]);
    }
}

impl Job {
    /// When it is killed.
    pub(super) const fn until(&self) -> Instant {
        self.until
    }
}

impl Work {
    const fn slot(self) -> SlotName {
        match self {
            Self::Install { slot } | Self::Arm { slot, .. } => slot,
        }
    }
}

/// Opens a slot's partition.
fn open_slot(slot: SlotName, to_write: bool) -> Result<File, String> {
    let partition = match disks::find(Path::new(CLASS), slot.partition()) {
        Search::Found(partition) => partition,
        Search::Absent => return Err(format!("No disk carries slot {slot}: check the disk.")),
        Search::Several(devices) => return Err(disks::several(&format!("slot {slot}"), &devices)),
    };
    if to_write && partition.is_read_only {
        return Err(format!(
            "Disk {} is read-only: allow writing to it in the VM's settings, then restart.",
            partition.disk
        ));
    }
    partition.open().map_err(|error| {
        format!(
            "Slot {slot} on disk {} cannot be opened: {error}.",
            partition.disk
        )
    })
}

/// What a slot's header says.
fn slot_content(slot: SlotName) -> SlotContent {
    let header = open_slot(slot, false).and_then(|mut device| {
        let bytes = device_bytes(&mut device).map_err(|error| error.to_string())?;
        system::header(&mut device, bytes).map_err(|error| error.to_string())
    });
    match header {
        Ok(header) => SlotContent::System(text(&header.version)),
        Err(why) => SlotContent::Unusable(text(&why)),
    }
}

/// What the operator should know about a slot that is neither empty nor a system.
pub(super) fn damage_of(slot: SlotName) -> Option<String> {
    let mut device = open_slot(slot, false).ok()?;
    let bytes = device_bytes(&mut device).ok()?;
    match system::header(&mut device, bytes) {
        Ok(_) | Err(system::Error::Empty) => None,
        Err(error) => Some(format!(
            "Slot {slot} holds no system ({error}): there is nothing to fall back to until an \
             update is installed."
        )),
    }
}

fn device_bytes(device: &mut File) -> io::Result<u64> {
    io::Seek::seek(device, io::SeekFrom::End(0))
}

const fn known(slot: local::SlotName) -> SlotName {
    match slot {
        local::SlotName::A => SlotName::A,
        local::SlotName::B => SlotName::B,
    }
}

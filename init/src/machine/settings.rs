//! What PID 1 does about settings: names the places to the process that reads them, takes the typed
//! values it sends, and has them applied before a NIC is touched. See [`crate::settings`].

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use connector_proto::local::{Fact, Text, text};
use connector_proto::time::Instant;
use ovf::property::FW_CFG_PREFIX;
use rustix::event::PollFlags;
use rustix::fs::OFlags;
use rustix::process::{Pid, Signal};

use super::Machine;
use crate::channel::{Received, Slot};
use crate::disks::{self, CLASS};
use crate::hardware::read_bytes;
use crate::hub::Topic;
use crate::process::Process;
use crate::service::Service;
use crate::settings::findings::Findings;
use crate::settings::message::{TEXT_BYTES_MAX, ToSettings};
use crate::settings::{self, FromSettings, Minted};

/// How long the reader may take. It needs milliseconds; a drive that spins up needs seconds.
const READING_MAX: Duration = Duration::from_secs(5);
/// Most items of fw_cfg that are handed over: more than there are settings.
const ITEMS_MAX: usize = 16;

/// The search for settings.
#[derive(Debug)]
pub(super) struct SettingsSearch {
    reading: Option<Reading>,
    /// The devices that were there when the last reading began.
    devices: Option<Devices>,
    findings: Findings,
    /// A reading has ended, well or not: the machine goes on.
    is_settled: bool,
}

/// Devices that may hold settings, by their names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Devices {
    drives: Vec<String>,
    /// The boot-state partition.
    partition: Option<String>,
}

/// A reader at work.
#[derive(Debug)]
struct Reading {
    process: Process,
    until: Instant,
    findings: Findings,
    /// It has closed its end; what is left is to reap it.
    is_closed: bool,
}

impl SettingsSearch {
    pub(super) fn new() -> Self {
        Self {
            reading: None,
            devices: None,
            findings: Findings::default(),
            is_settled: false,
        }
    }

    /// Whether the settings are known as far as they can be: before that no NIC is touched.
    pub(super) const fn is_settled(&self) -> bool {
        self.is_settled
    }

    /// The name of the connector that the image is for.
    pub(super) fn minted_name(&self) -> Option<Text<63>> {
        self.findings.minted().name
    }

    /// When to call [`Machine::check_settings_timeout`].
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.reading.as_ref().map(|reading| reading.until)
    }

    /// The reader's channel, while it is open, and what to wait for on it.
    pub(super) fn events_fd(&self) -> Option<(BorrowedFd<'_>, PollFlags)> {
        let reading = self.reading.as_ref().filter(|reading| !reading.is_closed)?;
        let channel = &reading.process.channel;
        let mut interest = PollFlags::IN;
        if channel.wants_to_send() {
            interest |= PollFlags::OUT;
        }
        Some((channel.as_fd(), interest))
    }
}

impl Machine {
    /// Has settings read, unless that was done with the devices that are there.
    pub(super) fn look_for_settings(&mut self, now: Instant) {
        let devices = self.setting_devices();
        let is_known = self.settings.devices.as_ref() == Some(&devices);
        if is_known || self.settings.reading.is_some() || self.supervisor.is_going_down() {
            return;
        }
        let started = self.start_reading(now, &devices);
        self.settings.devices = Some(devices);
        match started {
            Ok(reading) => self.settings.reading = Some(reading),
            Err(error) => {
                let why = format!("it cannot be started: {error}");
                self.reading_ended(now, Findings::default(), Some(&why));
            }
        }
    }

    fn setting_devices(&self) -> Devices {
        let block = self.slots.block().ok();
        Devices {
            drives: disks::cd_drives(Path::new(CLASS)),
            partition: block.map(|(partition, _)| partition.device.clone()),
        }
    }

    fn start_reading(&self, now: Instant, devices: &Devices) -> io::Result<Reading> {
        let mut process = Process::start(settings::PATH, settings::UID)?;
        let mut slot: Slot = 0;
        let mut ask = |question: &ToSettings, device: Option<OwnedFd>| {
            // Each question has a slot of its own, so that none replaces another.
            slot = slot.saturating_add(1);
            let devices = device.into_iter().collect();
            process.channel.send(slot, question, devices)
        };
        for item in fw_cfg_items() {
            ask(&item, None)?;
        }
        if let Some(bytes) = read_bytes(EDGE_FROM_IMAGE, TEXT_BYTES_MAX) {
            let content = bytes.into_iter().collect();
            ask(&ToSettings::Image { content }, None)?;
        }
        for (question, device) in devices.open() {
            ask(&question, Some(device))?;
        }
        ask(&ToSettings::Guestinfo, None)?;
        ask(&ToSettings::Go, None)?;
        Ok(Reading {
            process,
            until: now + READING_MAX,
            findings: Findings::default(),
            is_closed: false,
        })
    }

    /// Takes what the reader says.
    pub(super) fn hear_settings(&mut self) {
        let Some(reading) = &mut self.settings.reading else {
            return;
        };
        loop {
            let is_sound = match reading.process.channel.receive::<FromSettings>() {
                Ok(Received::Message(message, _)) => reading.findings.add(message),
                Ok(Received::Empty) => break,
                Ok(Received::Closed) | Err(_) => {
                    reading.is_closed = true;
                    break;
                }
                Ok(Received::Malformed) => false,
            };
            if !is_sound {
                log::warn!("the reader of settings sent something that no honest one sends");
                reading.process.signal(Signal::KILL);
            }
        }
        // What did not fit into its channel goes on its way now.
        if reading.process.channel.flush().is_err() {
            reading.is_closed = true;
        }
    }

    /// Whether the process that ended was the reader; if so, the machine goes on with what it said.
    pub(super) fn settings_reader_ended(
        &mut self,
        now: Instant,
        pid: Pid,
        how: &str,
        is_success: bool,
    ) -> bool {
        let is_reader = |reading: &Reading| reading.process.pid() == pid;
        if !self.settings.reading.as_ref().is_some_and(is_reader) {
            return false;
        }
        self.hear_settings();
        let Some(mut reading) = self.settings.reading.take() else {
            return false;
        };
        let log = reading.process.read_log();
        for line in String::from_utf8_lossy(&log).lines() {
            crate::logger::service_line("settings", line);
        }
        let why = (!is_success).then(|| format!("its reader ended: {how}"));
        self.reading_ended(now, reading.findings, why.as_deref());
        // A device may have appeared in the meantime.
        self.look_for_settings(now);
        true
    }

    /// Ends a reader that takes too long.
    pub(super) fn check_settings_timeout(&mut self, now: Instant) {
        if let Some(reading) = &mut self.settings.reading
            && reading.until <= now
        {
            log::error!("reading the settings took longer than {READING_MAX:?}");
            reading.process.signal(Signal::KILL);
            reading.until = now + READING_MAX;
        }
    }

    /// Goes on with what was found. `failure` says why there may be more.
    fn reading_ended(&mut self, now: Instant, mut findings: Findings, failure: Option<&str>) {
        if let Some(why) = failure {
            findings.keep(std::mem::take(&mut self.settings.findings));
            log::error!("settings: {why}");
        }
        self.settings.findings = findings;
        self.tell_complaints(now, failure);
        self.use_findings(now);
        if !std::mem::replace(&mut self.settings.is_settled, true) {
            self.look_at_links(now);
        }
    }

    fn tell_complaints(&mut self, now: Instant, failure: Option<&str>) {
        let complaints = self.settings.findings.complaints().to_vec();
        for complaint in &complaints {
            log::warn!("{complaint}");
        }
        let letters = self.hub.complaints(now, &complaints);
        self.deliver(letters);
        match failure {
            Some(why) => {
                let why: String = why.chars().take(FAILURE_CHARS_MAX).collect();
                let sentence = format!(
                    "Not all settings were read ({why}). What is missing is left to DHCP: restart \
                     the machine to try again."
                );
                self.tell_problem(now, Topic::Settings, &sentence);
            }
            None => self.hub.solved(Topic::Settings),
        }
    }

    fn use_findings(&mut self, now: Instant) {
        if let Some(fact) = minted_fact(self.settings.findings.minted()) {
            let letters = self.hub.minted(now, fact);
            self.deliver(letters);
        }
        if let Some((places, what)) = self.settings.findings.in_words() {
            log::info!("settings by {places}: {what}");
            let letters = self.hub.settings_found(now, &places, &what);
            self.deliver(letters);
        }
        let settings = self.settings.findings.settings();
        let is_other_edge = self.hub.settings().edge != settings.edge;
        let letters = self.hub.configured(now, settings);
        self.deliver(letters);
        self.apply_settings(now);
        if is_other_edge && !self.hub.is_connected() {
            // It is told of the edge when it starts.
            self.signal(Service::Connector, Signal::TERM);
        }
    }
}

impl Devices {
    /// Opens them to be read. One that cannot be opened is passed over.
    fn open(&self) -> Vec<(ToSettings, OwnedFd)> {
        let drives = self.drives.iter().map(|name| (ToSettings::Cd, name));
        let partition = self.partition.iter().map(|name| (ToSettings::Disk, name));
        drives
            .chain(partition)
            .filter_map(|(question, name)| match open_device(name) {
                Ok(device) => Some((question, device.into())),
                Err(error) => {
                    log::warn!("{name} is not read for settings: {error}");
                    None
                }
            })
            .collect()
    }
}

/// Opens a device without waiting for a disc in it, which is the reader's to do.
fn open_device(name: &str) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
        .open(Path::new("/dev").join(name))
}

/// The items below `opt/outgate/` of QEMU's firmware configuration, in the order of their names.
fn fw_cfg_items() -> Vec<ToSettings> {
    let folder = Path::new(FW_CFG).join(FW_CFG_PREFIX);
    let mut keys: Vec<_> = fs::read_dir(folder)
        .map(|entries| entries.flatten().map(|entry| entry.file_name()).collect())
        .unwrap_or_default();
    keys.sort_unstable();
    let item = |key: &std::ffi::OsString| {
        let path = Path::new(FW_CFG).join(FW_CFG_PREFIX).join(key).join("raw");
        Some(ToSettings::FwCfg {
            key: text(&key.to_string_lossy()),
            content: read_bytes(path, TEXT_BYTES_MAX)?.into_iter().collect(),
        })
    };
    keys.iter().filter_map(item).take(ITEMS_MAX).collect()
}

/// The fact for the console, if there is anything to tell.
fn minted_fact(minted: Minted) -> Option<Fact> {
    let is_minted = minted != Minted::default();
    let Minted { name, mac, group } = minted;
    is_minted.then_some(Fact::Minted { name, mac, group })
}

const FW_CFG: &str = "/sys/firmware/qemu_fw_cfg/by_name";
const EDGE_FROM_IMAGE: &str = "/etc/outgate/edge";
/// How much of a failure the operator is told.
const FAILURE_CHARS_MAX: usize = 50;

//! The event loop of PID 1: everything that can wake it, and what it then does.
//!
//! [`services`] starts, tells and reaps; [`environment`] deals with disks and buttons, [`evidence`] with
//! what the machine is known by,
//! [`network`] and [`ipv6`] with the NIC;
//! [`settings`] with what was set; [`time`] with the clock; [`slots`] and [`slot_requests`] with the system slots.

mod environment;
mod evidence;
mod ipv6;
mod network;
mod services;
mod settings;
mod slot_requests;
mod slots;
mod time;

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use connector_proto::message::Fingerprint;
use connector_proto::time::Instant;
use rustix::event::{PollFd, PollFlags};

use crate::build_info::BuildInfo;
use crate::clock::{self, RealMicros};
use crate::hardware;
use crate::hub::Hub;
use crate::log_ring::LogRing;
use crate::netlink::DeviceEvents;
use crate::network::Network;
use crate::process::Process;
use crate::readiness::wait;
use crate::service::Service;
use crate::signals::{Signal, Signals};
use crate::supervisor::Supervisor;
use crate::watchdog::Watchdog;
use environment::StateDisk;
use network::NetworkState;
use settings::SettingsSearch;
use slots::Slots;
use time::Time;

/// Everything that can wake PID 1, in the order in which it is handled.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// A signal came.
    Signal(Signal),
    /// A service sent something, or has room for what waits.
    Channel(Service),
    /// A service logged something.
    Log(Service),
    /// A network link changed.
    Link,
    /// A device appeared or went.
    Device,
    /// The reader of settings said something.
    Settings,
    /// A power button's event device has something; its place in the list.
    Button(usize),
    /// Somebody set the clock, or the machine resumed.
    ClockSet,
    /// The disks are written.
    Synced,
}

/// PID 1's whole state.
#[derive(Debug)]
pub struct Machine {
    build: BuildInfo,
    supervisor: Supervisor,
    hub: Hub,
    processes: [Option<Process>; Service::ALL.len()],
    logs: [LogRing; Service::ALL.len()],
    /// How each service ended last, for the fact that says so.
    endings: [String; Service::ALL.len()],
    signals: Signals,
    network: Network,
    /// What is set for the network, and what holds for a time.
    net: NetworkState,
    device_events: DeviceEvents,
    buttons: Vec<(PathBuf, File)>,
    settings: SettingsSearch,
    state_disk: StateDisk,
    /// What the machine was known by when that was looked at last.
    evidence: Option<Fingerprint>,
    slots: Slots,
    time: Time,
    watchdog: Option<Watchdog>,
    /// Becomes readable when the disks are written.
    sync: Option<OwnedFd>,
}

impl Machine {
    /// Sets up everything that wakes PID 1.
    ///
    /// # Errors
    /// If the kernel refuses something without which the machine cannot work.
    pub fn new(build: BuildInfo, clock_floor: RealMicros) -> io::Result<Self> {
        let now = clock::boot_now();
        let mut seed = [0; 8];
        getrandom::fill(&mut seed)?;
        Ok(Self {
            supervisor: Supervisor::new(u64::from_ne_bytes(seed)),
            hub: Hub::new(&build.version, now),
            build,
            processes: [const { None }; Service::ALL.len()],
            logs: Default::default(),
            endings: Default::default(),
            signals: Signals::catch()?,
            network: Network::open()?,
            net: NetworkState::default(),
            device_events: DeviceEvents::open()?,
            buttons: Vec::new(),
            settings: SettingsSearch::new(),
            state_disk: StateDisk::new(now),
            evidence: None,
            slots: Slots::new(),
            time: Time::new(clock_floor),
            watchdog: Watchdog::arm(now),
            sync: None,
        })
    }

    /// Runs the machine. Returns only if waiting itself fails.
    ///
    /// # Errors
    /// If the kernel is out of memory for PID 1; the caller panics, and the machine restarts.
    pub fn run(mut self) -> io::Result<()> {
        let now = clock::boot_now();
        self.supervisor.start(now);
        self.begin_time(now);
        self.carry_out(now);
        self.look_at_devices(now);
        // The NIC is touched when this is known.
        self.look_for_settings(now);
        loop {
            self.carry_out(clock::boot_now());
            for event in self.next_events()? {
                self.handle(event);
            }
            self.handle_timeouts(clock::boot_now());
        }
    }

    fn handle(&mut self, event: Event) {
        let now = clock::boot_now();
        match event {
            Event::Signal(signal) => {
                self.signals.drain(signal);
                match signal {
                    Signal::Child => self.reap(now),
                    Signal::Interrupt => self.supervisor.handle_shutdown(now, true),
                    Signal::Terminate => self.supervisor.handle_shutdown(now, false),
                }
            }
            Event::Channel(service) => self.serve_channel(now, service),
            Event::Log(service) => self.read_log(now, service),
            Event::Link => self.look_at_links(now),
            Event::Device => {
                self.device_events.drain();
                self.check_evidence(now);
                self.look_at_devices(now);
                self.look_for_settings(now);
            }
            Event::Settings => self.hear_settings(),
            Event::Button(index) => self.read_button(now, index),
            Event::ClockSet => {
                self.check_evidence(now);
                self.clock_was_set(now);
            }
            Event::Synced => {
                self.sync = None;
                self.supervisor.handle_synced(now);
            }
        }
    }

    fn handle_timeouts(&mut self, now: Instant) {
        self.supervisor.handle_timeout(now);
        self.check_network_timeouts(now);
        self.check_time(now);
        self.check_logs(now);
        if self.state_disk.is_settling_over(now) {
            self.look_for_partitions(now);
            self.look_for_settings(now);
        }
        self.check_settings_timeout(now);
        self.check_slot_timeouts(now);
        if let Some(watchdog) = &mut self.watchdog {
            watchdog.handle_timeout(now);
        }
    }

    fn poll_timeout(&self) -> Option<Instant> {
        [
            self.supervisor.poll_timeout(),
            self.net.poll_timeout(),
            Some(self.time.poll_timeout()),
            self.settings.poll_timeout(),
            self.state_disk.poll_timeout(),
            self.slots.poll_timeout(),
            self.logs.iter().filter_map(LogRing::poll_timeout).min(),
            self.watchdog.as_ref().map(Watchdog::poll_timeout),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Waits until something happens and says what.
    fn next_events(&self) -> io::Result<Vec<Event>> {
        let sources = self.sources();
        let mut fds: Vec<_> = sources
            .iter()
            .map(|(_, fd, interest)| PollFd::from_borrowed_fd(*fd, *interest))
            .collect();
        wait(&mut fds, self.poll_timeout())?;
        let ready = fds.iter().map(|fd| !fd.revents().is_empty());
        Ok(sources
            .iter()
            .zip(ready)
            .filter(|(_, ready)| *ready)
            .map(|((e, ..), _)| *e)
            .collect())
    }

    /// Every descriptor that can wake PID 1, in the order in which they are handled.
    fn sources(&self) -> Vec<(Event, BorrowedFd<'_>, PollFlags)> {
        let mut sources: Vec<_> = self
            .signals
            .descriptors()
            .map(|(signal, fd)| (Event::Signal(signal), fd, PollFlags::IN))
            .collect();
        for (service, process) in Service::ALL.into_iter().zip(&self.processes) {
            let Some(process) = process else { continue };
            let mut interest = PollFlags::IN;
            if process.channel.wants_to_send() {
                interest |= PollFlags::OUT;
            }
            sources.push((Event::Channel(service), process.channel.as_fd(), interest));
            if let Some(log) = process.log_fd() {
                sources.push((Event::Log(service), log, PollFlags::IN));
            }
        }
        if self.settings.is_settled() {
            sources.push((Event::Link, self.network.events_fd(), PollFlags::IN));
        }
        if let Some((reader, interest)) = self.settings.events_fd() {
            sources.push((Event::Settings, reader, interest));
        }
        sources.push((Event::Device, self.device_events.as_fd(), PollFlags::IN));
        for (index, (_, button)) in self.buttons.iter().enumerate() {
            sources.push((Event::Button(index), button.as_fd(), PollFlags::IN));
        }
        if let Some(watch) = self.time.watch_fd() {
            sources.push((Event::ClockSet, watch, PollFlags::IN));
        }
        if let Some(sync) = &self.sync {
            sources.push((Event::Synced, sync.as_fd(), PollFlags::IN));
        }
        sources
    }

    fn read_button(&mut self, now: Instant, index: usize) {
        let Some((path, device)) = self.buttons.get_mut(index) else {
            return;
        };
        match hardware::is_power_pressed(device) {
            Ok(false) => {}
            Ok(true) => {
                log::info!("the power button was pressed");
                self.supervisor.handle_shutdown(now, false);
            }
            Err(error) => {
                log::info!("{} is gone: {error}", path.display());
                self.buttons.remove(index);
            }
        }
    }
}

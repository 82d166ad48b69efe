//! The event loop of PID 1: everything that can wake it, and what it then does.
//!
//! [`services`] starts, tells and reaps; [`environment`] deals with NIC, lease and disk;
//! [`time`] with the clock; [`slots`] and [`slot_requests`] with the system slots.

mod environment;
mod services;
mod slot_requests;
mod slots;
mod time;

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

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
    /// A power button's event device has something; its place in the list.
    Button(usize),
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
    /// When the lease ends unless it is renewed.
    lease_until: Option<Instant>,
    device_events: DeviceEvents,
    buttons: Vec<(PathBuf, File)>,
    state_disk: StateDisk,
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
            lease_until: None,
            device_events: DeviceEvents::open()?,
            buttons: Vec::new(),
            state_disk: StateDisk::new(now),
            slots: Slots::new(),
            time: Time::new(now, clock_floor),
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
        self.carry_out(now);
        self.learn_from_hypervisor(now);
        // The disk says which address the NIC is to have.
        self.look_at_devices(now);
        self.look_at_links(now);
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
            Event::Log(service) => self.read_log(service),
            Event::Link => self.look_at_links(now),
            Event::Device => {
                self.device_events.drain();
                self.look_at_devices(now);
            }
            Event::Button(index) => self.read_button(now, index),
            Event::Synced => {
                self.sync = None;
                self.supervisor.handle_synced(now);
            }
        }
    }

    fn handle_timeouts(&mut self, now: Instant) {
        self.supervisor.handle_timeout(now);
        self.check_lease_end(now);
        self.check_ntp_silence(now);
        if self.state_disk.is_settling_over(now) {
            self.look_for_partitions(now);
        }
        self.check_slot_timeouts(now);
        if let Some(watchdog) = &mut self.watchdog {
            watchdog.handle_timeout(now);
        }
    }

    fn poll_timeout(&self) -> Option<Instant> {
        [
            self.supervisor.poll_timeout(),
            self.lease_until,
            self.time.poll_timeout(),
            self.state_disk.poll_timeout(),
            self.slots.poll_timeout(),
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
        sources.push((Event::Link, self.network.events_fd(), PollFlags::IN));
        sources.push((Event::Device, self.device_events.as_fd(), PollFlags::IN));
        for (index, (_, button)) in self.buttons.iter().enumerate() {
            sources.push((Event::Button(index), button.as_fd(), PollFlags::IN));
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

//! Carries out what the supervisor decides, and passes messages between the services.

use std::io;
use std::os::fd::OwnedFd;

use connector_proto::local::{FromConnector, FromConsole, FromNetd, FromTimed};
use connector_proto::time::Instant;
use rustix::process::Signal;
use rustix::system::RebootCommand;

use super::Machine;
use crate::channel::Received;
use crate::hub::{Hub, Letter, SLOT_START};
use crate::logger;
use crate::process::{Process, reap, wake_pipe};
use crate::service::Service;
use crate::supervisor::Action;
use crate::terminals;
use crate::wipe;

/// Messages taken from one service in one go, so that a chatty one does not keep PID 1.
const MESSAGES_MAX: usize = 16;

/// Processes reaped in one go; the signal comes again for those that end later.
const REAPED_MAX: usize = 1024;

impl Machine {
    /// Does everything the supervisor wants done.
    pub(super) fn carry_out(&mut self, now: Instant) {
        while let Some(action) = self.supervisor.poll_action() {
            match action {
                Action::Spawn(service) => self.spawn(now, service),
                Action::ReportDeath {
                    service,
                    restart_in,
                } => {
                    let how = self.endings[service.index()].clone();
                    log::warn!("{} ended ({how}), again in {restart_in:?}", service.name());
                    let restart_in_ms = u32::try_from(restart_in.as_millis()).unwrap_or(u32::MAX);
                    let letters = self.hub.died(now, service, &how, restart_in_ms);
                    self.deliver(letters);
                }
                Action::AnnounceShutdown { restart } => {
                    log::info!(
                        "going down to {}",
                        if restart { "restart" } else { "power off" }
                    );
                    let letters = self.hub.shutting_down(now, restart);
                    self.deliver(letters);
                }
                Action::Stop(Service::Connector) => self.deliver(vec![Hub::stop_connector()]),
                Action::Stop(service) => self.signal(service, Signal::TERM),
                Action::Kill(service) => self.signal(service, Signal::KILL),
                Action::Sync => self.sync_disks(now),
                Action::Finish { restart } => finish(restart),
            }
        }
    }

    fn spawn(&mut self, now: Instant, service: Service) {
        let started = Process::spawn(service).and_then(|process| {
            self.processes[service.index()] = Some(process);
            self.greet(service)
        });
        match started {
            Ok(()) => log::info!("started {}", service.name()),
            Err(error) => {
                self.endings[service.index()] = format!("cannot start: {error}");
                // If it runs but could not be greeted, it is of no use; its end is reported when it
                // is reaped.
                match &self.processes[service.index()] {
                    Some(process) => process.signal(Signal::KILL),
                    None => self.supervisor.handle_exited(now, service),
                }
            }
        }
    }

    /// Sends a service its `Start` and everything it has to know.
    pub(super) fn greet(&mut self, service: Service) -> io::Result<()> {
        match service {
            Service::Console => {
                let (start, descriptors) = terminals::open();
                self.send(service, SLOT_START, &start, descriptors)?;
                logger::leave_terminals();
            }
            Service::Netd => self.send_netd_start()?,
            Service::Timed => {}
            Service::Connector => self.send_connector_start()?,
        }
        let letters = self.hub.greeting(service);
        self.deliver(letters);
        Ok(())
    }

    /// Sends letters to those of their addressees that run. The others are told when they start.
    pub(super) fn deliver(&mut self, mut letters: Vec<Letter>) {
        for letter in &mut letters {
            let (service, result) = match letter {
                Letter::Console(slot, message) => (
                    Service::Console,
                    self.send(Service::Console, *slot, message, Vec::new()),
                ),
                Letter::Netd(slot, message) => (
                    Service::Netd,
                    self.send(Service::Netd, *slot, message, Vec::new()),
                ),
                Letter::Timed(slot, message) => (
                    Service::Timed,
                    self.send(Service::Timed, *slot, message, Vec::new()),
                ),
                Letter::Connector(slot, message) => (
                    Service::Connector,
                    self.send(Service::Connector, *slot, message, Vec::new()),
                ),
            };
            if let Err(error) = result {
                log::warn!("cannot tell {}: {error}", service.name());
            }
            wipe::letter(letter);
        }
    }

    pub(super) fn send<M: serde::Serialize>(
        &mut self,
        service: Service,
        slot: crate::channel::Slot,
        message: &M,
        descriptors: Vec<OwnedFd>,
    ) -> io::Result<()> {
        match &mut self.processes[service.index()] {
            Some(process) => process.channel.send(slot, message, descriptors),
            None => Ok(()),
        }
    }

    /// Takes what a service sent, and sends it what waits.
    pub(super) fn serve_channel(&mut self, now: Instant, service: Service) {
        self.take_messages(now, service);
        if service == Service::Console {
            // What it passed on may have been a key.
            wipe::stack();
        }
        if let Some(process) = &mut self.processes[service.index()]
            && let Err(error) = process.channel.flush()
        {
            log::warn!("cannot tell {}: {error}", service.name());
        }
    }

    // Its frame is to be gone when the stack is wiped.
    #[inline(never)]
    fn take_messages(&mut self, now: Instant, service: Service) {
        for _ in 0..MESSAGES_MAX {
            let is_more = match service {
                Service::Console => self.take(service, |machine, message, descriptors| {
                    if let FromConsole::Slot(request) = message {
                        return machine.serve_slot_request(now, request, descriptors);
                    }
                    let letters = machine.hub.operator(message);
                    machine.deliver(letters);
                }),
                Service::Connector => self.take(service, |machine, message, _| match message {
                    FromConnector::Status(status) => {
                        let letters = machine.hub.status(status);
                        machine.deliver(letters);
                        machine.measure_memory(now);
                        machine.promote_if_due(now);
                    }
                    FromConnector::Time(sample) => machine.take_edge_time(now, &sample),
                }),
                Service::Netd => self.take(service, |machine, message, _| match message {
                    FromNetd::Lease(lease) => machine.take_dhcp_lease(now, &lease),
                    FromNetd::Lost => machine.lose_dhcp_lease(now),
                    FromNetd::Router(advert) => machine.take_advert(now, &advert),
                }),
                Service::Timed => self.take(service, |machine, message, _| match message {
                    FromTimed::Sample(sample) => machine.take_sample(now, &sample),
                    FromTimed::Split(samples) => machine.take_split(now, &samples),
                    FromTimed::Silent { asked } => {
                        log::info!("none of {asked} NTP servers answers")
                    }
                }),
            };
            if !is_more {
                break;
            }
        }
    }

    /// Takes one message; `false` if there is none. A service that closes its channel or sends
    /// something else is broken, and is ended to be started again.
    fn take<M: serde::de::DeserializeOwned>(
        &mut self,
        service: Service,
        handle: impl FnOnce(&mut Self, M, Vec<OwnedFd>),
    ) -> bool {
        let Some(process) = &self.processes[service.index()] else {
            return false;
        };
        match process.channel.receive() {
            Ok(Received::Message(message, descriptors)) => {
                handle(self, message, descriptors);
                true
            }
            Ok(Received::Empty) => false,
            Ok(Received::Closed) => {
                process.signal(Signal::KILL);
                false
            }
            Ok(Received::Malformed) => {
                log::warn!("{} sent something that is no message", service.name());
                process.signal(Signal::KILL);
                false
            }
            Err(error) => {
                log::warn!("{}: {error}", service.name());
                process.signal(Signal::KILL);
                false
            }
        }
    }

    /// Keeps what a service logged.
    pub(super) fn read_log(&mut self, now: Instant, service: Service) {
        let Some(process) = &mut self.processes[service.index()] else {
            return;
        };
        let bytes = process.read_log();
        for line in self.logs[service.index()].push_bytes(now, &bytes) {
            logger::service_line(service.name(), &line);
        }
    }

    /// Says how many lines of each service were left out, where that is due.
    pub(super) fn check_logs(&mut self, now: Instant) {
        for (service, log) in Service::ALL.into_iter().zip(&mut self.logs) {
            if let Some(line) = log.handle_timeout(now) {
                logger::service_line(service.name(), &line);
            }
        }
    }

    /// Takes every process that ended off the kernel's table.
    pub(super) fn reap(&mut self, now: Instant) {
        for _ in 0..REAPED_MAX {
            let Some(ended) = reap() else { return };
            let (pid, how) = (ended.pid, ended.how);
            if self.installer_ended(pid, &how, ended.is_success)
                || self.settings_reader_ended(now, pid, &how, ended.is_success)
            {
                continue;
            }
            let ended = Service::ALL.into_iter().find(|service| {
                self.processes[service.index()]
                    .as_ref()
                    .is_some_and(|process| process.pid() == pid)
            });
            let Some(service) = ended else { continue }; // an orphan
            // What it said last is in its channel and its pipe.
            self.serve_channel(now, service);
            self.read_log(now, service);
            self.processes[service.index()] = None;
            self.endings[service.index()] = how;
            self.supervisor.handle_exited(now, service);
        }
    }

    pub(super) fn signal(&self, service: Service, signal: Signal) {
        if let Some(process) = &self.processes[service.index()] {
            process.signal(signal);
        }
    }

    /// Writes what is in memory to the disks, in a thread, because a broken disk blocks for ever.
    fn sync_disks(&mut self, now: Instant) {
        let started = wake_pipe().and_then(|(reader, writer)| {
            std::thread::Builder::new()
                .name("sync".to_owned())
                .spawn(move || {
                    rustix::fs::sync();
                    drop(writer); // the reader sees the end of the pipe
                })?;
            Ok(reader)
        });
        match started {
            Ok(reader) => self.sync = Some(reader),
            Err(error) => {
                log::warn!("cannot wait for the disks: {error}");
                self.supervisor.handle_synced(now);
            }
        }
    }
}

/// Ends the machine. If even that fails, PID 1's end does it: the kernel panics and restarts.
fn finish(restart: bool) {
    let command = if restart {
        RebootCommand::Restart
    } else {
        RebootCommand::PowerOff
    };
    if let Err(error) = rustix::system::reboot(command) {
        panic!("the kernel refuses to end the machine: {error}");
    }
}

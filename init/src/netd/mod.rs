//! `netd`: speaks DHCP and tells PID 1 what it was leased.
//!
//! It runs without privileges and holds one packet socket, on which PID 1 locked a filter that
//! passes nothing but DHCP answers and ARP replies. [`client`] is the state machine, [`options`]
//! reads what smoltcp leaves to its user, [`device`] is the socket; here is the input and output.

pub mod client;
pub mod device;
pub mod options;

use std::io;
use std::os::fd::AsFd;

use connector_proto::local::ToNetd;
use rustix::event::{PollFd, PollFlags};

use crate::channel::{Channel, Received};
use crate::clock;
use crate::readiness::wait;
use crate::role;
use client::Client;
use device::PacketDevice;

/// Runs until PID 1 is gone.
///
/// # Errors
/// If the local channel fails; PID 1 then starts the service again.
pub fn run() -> io::Result<()> {
    role::drop_privileges()?;
    let mut netd = Netd {
        channel: Channel::from_stdin()?,
        nic: None,
    };
    while netd.step()? {}
    Ok(())
}

struct Netd {
    channel: Channel,
    nic: Option<Nic>,
}

struct Nic {
    client: Client,
    device: PacketDevice,
}

impl Netd {
    /// Waits for the next event and handles it. `false` once PID 1 is gone.
    fn step(&mut self) -> io::Result<bool> {
        self.wait()?;
        loop {
            match self.channel.receive()? {
                Received::Message(message, descriptors) => {
                    self.take(message, descriptors.into_iter().next())?;
                }
                Received::Malformed => log::warn!("malformed message from PID 1"),
                Received::Empty => break,
                Received::Closed => return Ok(false),
            }
        }
        self.channel.flush()?;
        if let Some(nic) = &mut self.nic {
            for change in nic.client.poll(clock::boot_now(), &mut nic.device) {
                log::info!("{change:?}");
                self.channel.send(0, &change, Vec::new())?;
            }
        }
        Ok(true)
    }

    fn wait(&mut self) -> io::Result<()> {
        let now = clock::boot_now();
        let deadline = self
            .nic
            .as_mut()
            .and_then(|nic| nic.client.poll_timeout(now));
        let mut interest = PollFlags::IN;
        if self.channel.wants_to_send() {
            interest |= PollFlags::OUT;
        }
        let mut fds = vec![PollFd::from_borrowed_fd(self.channel.as_fd(), interest)];
        if let Some(nic) = &self.nic {
            fds.push(PollFd::from_borrowed_fd(nic.device.as_fd(), PollFlags::IN));
        }
        wait(&mut fds, deadline)
    }

    fn take(
        &mut self,
        message: ToNetd,
        descriptor: Option<std::os::fd::OwnedFd>,
    ) -> io::Result<()> {
        let now = clock::boot_now();
        match (message, descriptor) {
            (ToNetd::Start { mac, .. }, Some(socket)) => {
                let mut device = PacketDevice::new(socket);
                let mut seed = [0; 8];
                getrandom::fill(&mut seed)?;
                let client = Client::new(mac, u64::from_ne_bytes(seed), now, &mut device);
                self.nic = Some(Nic { client, device });
            }
            (ToNetd::Start { .. }, None) => log::warn!("PID 1 sent no packet socket"),
            (ToNetd::Carrier { up: true }, _) => {
                if let Some(nic) = &mut self.nic {
                    nic.client.handle_carrier_up(now);
                }
            }
            (ToNetd::Carrier { up: false }, _) => {}
        }
        Ok(())
    }
}

//! `netd`: speaks DHCP, hears IPv6 routers, and tells PID 1 what they say.
//!
//! It runs without privileges and holds one packet socket, on which PID 1 locked a filter that
//! passes nothing but DHCP answers, ARP replies and router advertisements. [`nic`] reads and writes
//! it. For IPv4 [`client`] is the state machine over [`device`], [`tame`] and [`options`] read what
//! smoltcp leaves to its user; for IPv6 [`solicitor`] is it, [`router_advert`] and [`icmpv6`] read.
//! Here is the channel to PID 1.

pub mod client;
pub mod device;
pub mod icmpv6;
pub mod nic;
pub mod options;
pub mod router_advert;
pub mod solicitor;
pub mod tame;

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use connector_proto::local::{FromNetd, ToNetd};
use rustix::event::{PollFd, PollFlags};

use crate::channel::{Channel, Received, Slot};
use crate::clock;
use crate::readiness::wait;
use crate::role;
use client::Client;
use nic::Nic;

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
            for change in nic.poll(clock::boot_now()) {
                // One line for each question that was answered; routers may speak unasked.
                if !matches!(change, FromNetd::Router(_)) {
                    log::info!("{change:?}");
                }
                self.channel.send(slot(&change), &change, Vec::new())?;
            }
        }
        Ok(true)
    }

    fn wait(&mut self) -> io::Result<()> {
        let now = clock::boot_now();
        let deadline = self.nic.as_mut().and_then(|nic| nic.poll_timeout(now));
        let mut interest = PollFlags::IN;
        if self.channel.wants_to_send() {
            interest |= PollFlags::OUT;
        }
        let mut fds = vec![PollFd::from_borrowed_fd(self.channel.as_fd(), interest)];
        if let Some(nic) = &self.nic {
            fds.push(PollFd::from_borrowed_fd(nic.as_fd(), PollFlags::IN));
        }
        wait(&mut fds, deadline)
    }

    fn take(&mut self, message: ToNetd, descriptor: Option<OwnedFd>) -> io::Result<()> {
        let now = clock::boot_now();
        match (message, descriptor) {
            (
                ToNetd::Start {
                    mac,
                    hostname,
                    dhcp,
                    link_local,
                },
                Some(socket),
            ) => {
                let mut seed = [0; 8];
                getrandom::fill(&mut seed)?;
                let seed = u64::from_ne_bytes(seed);
                let dhcp = dhcp.then(|| Client::new(mac, seed, hostname.as_deref(), now));
                let routers = nic::solicitor(mac, link_local, now);
                self.nic = Some(Nic::new(socket, dhcp, routers));
            }
            (ToNetd::Start { .. }, None) => log::warn!("PID 1 sent no packet socket"),
            (ToNetd::Carrier { up }, _) => {
                if let Some(nic) = &mut self.nic {
                    nic.handle_carrier(now, up);
                }
            }
        }
        Ok(())
    }
}

/// Of what waits for PID 1 the newest of a slot is kept: the last word about the lease, and the
/// last of each of a few routers.
fn slot(change: &FromNetd) -> Slot {
    match change {
        FromNetd::Lease(_) | FromNetd::Lost => 0,
        FromNetd::Router(advert) => 1 + advert.router.octets()[15] % 8,
    }
}

//! One NIC: the packet socket, and the two who speak through it.

use std::net::Ipv6Addr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use connector_proto::local::FromNetd;
use connector_proto::time::Instant;
use rustix::net::{RecvFlags, SendFlags, recv, send};

use super::client::Client;
use super::device::FRAME_MAX;
use super::solicitor::Solicitor;

/// Frames read in one go, so that a flood does not keep the clients from their timers.
const FRAMES_MAX: usize = 64;

/// A NIC on which is asked for a lease, or for routers, or for both.
#[derive(Debug)]
pub struct Nic {
    /// Non-blocking; PID 1 opened and filtered it.
    socket: OwnedFd,
    dhcp: Option<Client>,
    routers: Option<Solicitor>,
    has_carrier: bool,
}

impl Nic {
    /// A NIC whose link is not up yet.
    #[must_use]
    pub const fn new(socket: OwnedFd, dhcp: Option<Client>, routers: Option<Solicitor>) -> Self {
        Self {
            socket,
            dhcp,
            routers,
            has_carrier: false,
        }
    }

    /// The link came up, perhaps in another network, or went down: what is held, is held.
    pub fn handle_carrier(&mut self, now: Instant, up: bool) {
        self.has_carrier = up;
        if !up {
            return;
        }
        if let Some(dhcp) = &mut self.dhcp {
            dhcp.handle_carrier_up(now);
        }
        if let Some(routers) = &mut self.routers {
            routers.handle_carrier_up(now);
        }
    }

    /// Reads and writes what there is, and says what changed.
    pub fn poll(&mut self, now: Instant) -> Vec<FromNetd> {
        let mut changes = Vec::new();
        for _ in 0..FRAMES_MAX {
            let mut frame = vec![0; FRAME_MAX];
            let Ok((_, len)) = recv(&self.socket, frame.as_mut_slice(), RecvFlags::empty()) else {
                break;
            };
            frame.truncate(len);
            changes.extend(self.take(now, frame));
        }
        if let Some(dhcp) = &mut self.dhcp {
            dhcp.handle_timeout(now);
        }
        changes.extend(self.drain_dhcp());
        if self.has_carrier
            && let Some(routers) = &mut self.routers
            && let Some(frame) = routers.handle_timeout(now)
        {
            self.send(&frame);
        }
        changes
    }

    fn take(&mut self, now: Instant, frame: Vec<u8>) -> Vec<FromNetd> {
        if frame.get(12..14) == Some(&ETHERTYPE_IPV6) {
            let routers = self.routers.as_mut();
            let advert = routers.and_then(|routers| routers.handle_frame(now, &frame));
            return advert.map(FromNetd::Router).into_iter().collect();
        }
        if let Some(dhcp) = &mut self.dhcp {
            dhcp.handle_frame(now, frame);
        }
        self.drain_dhcp()
    }

    fn drain_dhcp(&mut self) -> Vec<FromNetd> {
        let Some(dhcp) = &mut self.dhcp else {
            return Vec::new();
        };
        let frames: Vec<_> = std::iter::from_fn(|| dhcp.poll_transmit()).collect();
        let events = std::iter::from_fn(|| dhcp.poll_event()).collect();
        for frame in frames {
            self.send(&frame);
        }
        events
    }

    /// A frame that is not sent is a frame that is lost: it is asked again.
    fn send(&self, frame: &[u8]) {
        if let Err(error) = send(&self.socket, frame, SendFlags::DONTWAIT) {
            log::debug!("a frame of {} bytes was not sent: {error}", frame.len());
        }
    }

    /// When to call [`Self::poll`] again, even if nothing comes in.
    pub fn poll_timeout(&mut self, now: Instant) -> Option<Instant> {
        let dhcp = self.dhcp.as_mut().and_then(|dhcp| dhcp.poll_timeout(now));
        let routers = self.routers.as_ref().filter(|_| self.has_carrier);
        dhcp.into_iter()
            .chain(routers.map(Solicitor::poll_timeout))
            .min()
    }
}

impl AsFd for Nic {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// The link-local address from which routers are asked makes the [`Solicitor`].
#[must_use]
pub fn solicitor(mac: [u8; 6], link_local: Option<Ipv6Addr>, now: Instant) -> Option<Solicitor> {
    link_local.map(|link_local| Solicitor::new(mac, link_local, now))
}

const ETHERTYPE_IPV6: [u8; 2] = [0x86, 0xdd];

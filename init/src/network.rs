//! The machine's one NIC: found, set up, and given what a lease says.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use connector_proto::local::Lease;

use crate::netlink::{Address, Link, LinkEvents, Requests, message};

/// What became of the NIC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// There is one now.
    Found(Link),
    /// It is gone.
    Lost,
    /// It has a carrier, or has none any more.
    Carrier(bool),
}

/// The NIC and its configuration.
#[derive(Debug)]
pub struct Network {
    requests: Requests,
    events: LinkEvents,
    nic: Option<Nic>,
}

#[derive(Debug)]
struct Nic {
    link: Link,
    mac: [u8; 6],
    applied: Option<Applied>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Applied {
    address: Address,
    router: Option<Ipv4Addr>,
    mtu: u32,
}

impl Network {
    /// Opens the sockets to the kernel and sets the loopback up.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn open() -> io::Result<Self> {
        let events = LinkEvents::open()?;
        let network = Self {
            requests: Requests::open()?,
            events,
            nic: None,
        };
        if let Some(loopback) = network
            .requests
            .links()?
            .iter()
            .find(|link| link.name == "lo")
        {
            network
                .requests
                .change(&message::set_link_up(loopback.index))?;
        }
        Ok(network)
    }

    /// Becomes readable when [`Self::refresh`] has something to find.
    #[must_use]
    pub fn events_fd(&self) -> BorrowedFd<'_> {
        self.events.as_fd()
    }

    /// Looks at the links and says what changed. A NIC that was found is set up.
    pub fn refresh(&mut self) -> Vec<Change> {
        self.events.drain();
        let links = match self.requests.links() {
            Ok(links) => links,
            Err(error) => {
                log::error!("cannot list the network interfaces: {error}");
                return Vec::new();
            }
        };
        let mut changes = Vec::new();
        if let Some(nic) = &self.nic
            && !links
                .iter()
                .any(|link| link.index == nic.link.index && link.mac == Some(nic.mac))
        {
            self.nic = None;
            changes.push(Change::Lost);
        }
        if self.nic.is_none() {
            changes.extend(self.adopt(&links));
        }
        changes.extend(self.note_carrier(&links));
        changes
    }

    /// Takes the Ethernet NIC with the lowest index and sets it up.
    fn adopt(&mut self, links: &[Link]) -> Option<Change> {
        let (link, mac) = links
            .iter()
            .filter(|link| link.is_ethernet)
            .find_map(|link| Some((link, link.mac?)))?;
        if let Err(error) = self.requests.change(&message::set_link_up(link.index)) {
            log::error!("cannot set {} up: {error}", link.name);
            return None;
        }
        // The carrier is reported when the link has come up.
        let link = Link {
            has_carrier: false,
            ..link.clone()
        };
        self.nic = Some(Nic {
            link: link.clone(),
            mac,
            applied: None,
        });
        Some(Change::Found(link))
    }

    fn note_carrier(&mut self, links: &[Link]) -> Option<Change> {
        let nic = self.nic.as_mut()?;
        let link = links.iter().find(|link| link.index == nic.link.index)?;
        if link.has_carrier == nic.link.has_carrier {
            return None;
        }
        nic.link.has_carrier = link.has_carrier;
        Some(Change::Carrier(link.has_carrier))
    }

    /// The NIC's MAC address.
    #[must_use]
    pub fn mac(&self) -> Option<[u8; 6]> {
        self.nic.as_ref().map(|nic| nic.mac)
    }

    /// A packet socket on the NIC, for `netd`.
    ///
    /// # Errors
    /// If there is no NIC, or the kernel refuses.
    pub fn packet_socket(&self) -> io::Result<OwnedFd> {
        let nic = self.nic.as_ref().ok_or(io::ErrorKind::NotFound)?;
        connector_sys::packet_socket::open_for_dhcp(nic.link.index)
    }

    /// Gives the NIC what a checked lease says, in place of what it had.
    ///
    /// # Errors
    /// If there is no NIC, or the kernel refuses.
    pub fn apply(&mut self, lease: &Lease) -> io::Result<()> {
        let nic = self.nic.as_mut().ok_or(io::ErrorKind::NotFound)?;
        let address = Address {
            link: nic.link.index,
            address: lease.address,
            prefix_len: lease.prefix_len,
        };
        let mtu = lease.mtu.map_or(nic.link.mtu, u32::from);
        let wanted = Applied {
            address,
            router: lease.router,
            mtu,
        };
        if nic.applied == Some(wanted) {
            return Ok(());
        }
        if let Some(old) = nic.applied.take()
            && old.address != address
        {
            self.requests
                .change(&message::remove_address(old.address))?;
        }
        self.requests
            .change(&message::set_mtu(nic.link.index, mtu))?;
        self.requests.change(&message::add_address(address))?;
        match lease.router {
            Some(router) => {
                self.requests
                    .change(&message::replace_default_route(address, router))?;
            }
            None => {
                // There may be none, which is as well.
                let _ = self
                    .requests
                    .change(&message::remove_default_route(nic.link.index));
            }
        }
        nic.applied = Some(wanted);
        Ok(())
    }

    /// Takes away what a lease gave.
    pub fn remove(&mut self) {
        let Some(applied) = self.nic.as_mut().and_then(|nic| nic.applied.take()) else {
            return;
        };
        // The default route of a /32 does not go with the address.
        let _ = self
            .requests
            .change(&message::remove_default_route(applied.address.link));
        if let Err(error) = self
            .requests
            .change(&message::remove_address(applied.address))
        {
            log::warn!("cannot remove {}: {error}", applied.address.address);
        }
    }
}

//! The machine's one NIC: found, set up, and given what a lease, a router or a setting says.
//!
//! With a VLAN set, the NIC itself carries nothing but its tagged frames, and everything else here
//! is about the link of the VLAN.

mod ipv4;
mod ipv6;

use std::fmt;
use std::io;
use std::net::Ipv6Addr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::ipv6::link_local;
use crate::netlink::{Link, LinkEvents, Requests, message};

pub use ipv6::Settled;

/// What became of the NIC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// There is one now.
    Found(Link),
    /// It is gone.
    Lost,
    /// It has a carrier, or has none any more.
    Carrier(bool),
    /// There is one, and the kernel refuses to set it up; the sentence says what.
    Unusable(String),
}

/// The kernel does not do what the network needs.
#[derive(Debug)]
pub struct Refused {
    what: String,
    error: io::Error,
}

impl Refused {
    /// To be made of the kernel's answer to a request for `what`.
    fn to(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |error| Self { what, error }
    }

    fn without_nic() -> Self {
        Self::to("what is asked of a NIC")(io::ErrorKind::NotFound.into())
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "The kernel refuses {}: {}.", self.what, self.error)
    }
}

impl std::error::Error for Refused {}

/// The NIC and its configuration.
#[derive(Debug)]
pub struct Network {
    requests: Requests,
    events: LinkEvents,
    nic: Option<Nic>,
    vlan: Option<u16>,
}

#[derive(Debug)]
struct Nic {
    mac: [u8; 6],
    /// The NIC itself.
    port: Link,
    /// The link that has the addresses: the NIC, or its VLAN.
    link: Link,
    /// Its MTU.
    mtu: u32,
    ipv4: ipv4::Applied,
    ipv6: ipv6::Applied,
}

impl Network {
    /// Opens the sockets to the kernel and sets the loopback up.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn open() -> io::Result<Self> {
        let events = LinkEvents::open()?;
        let requests = Requests::open()?;
        let links = requests.links()?;
        if let Some(loopback) = links.iter().find(|link| link.name == "lo") {
            requests.change(&message::set_link_up(loopback.index))?;
        }
        Ok(Self {
            requests,
            events,
            nic: None,
            vlan: None,
        })
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
        if self.nic.as_ref().is_some_and(|nic| !nic.is_in(&links)) {
            self.nic = None;
            changes.push(Change::Lost);
        }
        if self.nic.is_none() {
            changes.extend(self.adopt(&links));
        }
        changes.extend(self.note_carrier(&links));
        if let Some(nic) = &self.nic {
            nic.hold_ipv6_mtu();
        }
        changes
    }

    /// Takes the Ethernet NIC with the lowest index and sets it up.
    fn adopt(&mut self, links: &[Link]) -> Option<Change> {
        let (port, mac) = links
            .iter()
            .filter(|link| link.is_ethernet && !link.is_vlan)
            .find_map(|link| Some((link, link.mac?)))?;
        let link = match self.set_up(port) {
            Ok(link) => link,
            Err(error) => return Some(Change::Unusable(error.to_string())),
        };
        self.nic = Some(Nic::new(mac, port.clone(), link));
        Some(Change::Found(port.clone()))
    }

    /// Sets the NIC up, and its VLAN if one is set. Returns the link that is to have the addresses.
    /// Its carrier is reported when it has come up.
    fn set_up(&self, port: &Link) -> Result<Link, Refused> {
        self.requests
            .change(&message::set_link_up(port.index))
            .map_err(Refused::to(format!("to set {} up", port.name)))?;
        let link = match self.vlan {
            Some(vlan) => self.add_vlan(port, vlan)?,
            None => port.clone(),
        };
        Ok(Link {
            has_carrier: false,
            ..link
        })
    }

    fn add_vlan(&self, port: &Link, vlan: u16) -> Result<Link, Refused> {
        let name = format!("{}.{vlan}", port.name);
        let refused = |error| Refused::to(format!("VLAN {vlan} on {}", port.name))(error);
        self.requests
            .change(&message::add_vlan(port.index, &name, vlan))
            .map_err(refused)?;
        let links = self.requests.links().map_err(refused)?;
        let link = links.into_iter().find(|link| link.name == name);
        let link = link.ok_or_else(|| refused(io::ErrorKind::NotFound.into()))?;
        self.requests
            .change(&message::set_link_up(link.index))
            .map_err(refused)?;
        Ok(link)
    }

    /// Moves everything to this VLAN, or to the NIC itself. What the link had is gone; it is to be
    /// looked at anew ([`Self::refresh`]).
    ///
    /// # Errors
    /// If the kernel refuses; the NIC is then without a link and is found again by
    /// [`Self::refresh`].
    pub fn set_vlan(&mut self, vlan: Option<u16>) -> Result<(), Refused> {
        if self.vlan == vlan {
            return Ok(());
        }
        self.vlan = vlan;
        let Some(nic) = self.nic.take() else {
            return Ok(());
        };
        if nic.link.is_vlan {
            self.requests
                .change(&message::remove_link(nic.link.index))
                .map_err(Refused::to(format!("to remove {}", nic.link.name)))?;
        }
        let link = self.set_up(&nic.port)?;
        self.nic = Some(Nic::new(nic.mac, nic.port, link));
        Ok(())
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

    /// The NIC's link-local address, if IPv6 is on.
    #[must_use]
    pub fn link_local(&self) -> Option<Ipv6Addr> {
        let nic = self.nic.as_ref().filter(|nic| nic.ipv6.is_on());
        nic.map(|nic| link_local(nic.mac))
    }

    /// A packet socket on the link, for `netd`.
    ///
    /// # Errors
    /// If there is no NIC, or the kernel refuses.
    pub fn packet_socket(&self) -> io::Result<OwnedFd> {
        let nic = self.nic.as_ref().ok_or(io::ErrorKind::NotFound)?;
        connector_sys::packet_socket::open_for_netd(nic.link.index)
    }
}

impl Nic {
    fn new(mac: [u8; 6], port: Link, link: Link) -> Self {
        Self {
            mac,
            mtu: link.mtu,
            port,
            link,
            ipv4: ipv4::Applied::default(),
            ipv6: ipv6::Applied::default(),
        }
    }

    /// Whether it is still there: a NIC that was replaced has another index, or another MAC.
    fn is_in(&self, links: &[Link]) -> bool {
        let has = |index: u32| links.iter().any(|link| link.index == index);
        let is_port = |link: &Link| link.index == self.port.index && link.mac == Some(self.mac);
        links.iter().any(is_port) && has(self.link.index)
    }

    /// Sets the link's MTU. The frames of a VLAN have to fit the NIC's.
    fn set_mtu(&mut self, requests: &Requests, mtu: u32) -> Result<(), Refused> {
        if self.mtu == mtu {
            return Ok(());
        }
        if self.link.is_vlan {
            let port_mtu = mtu.max(self.port.mtu);
            requests
                .change(&message::set_mtu(self.port.index, port_mtu))
                .map_err(Refused::to(format!("MTU {port_mtu} on {}", self.port.name)))?;
        }
        requests
            .change(&message::set_mtu(self.link.index, mtu))
            .map_err(Refused::to(format!("MTU {mtu} on {}", self.link.name)))?;
        self.mtu = mtu;
        self.ipv6.forget_mtu();
        Ok(())
    }
}

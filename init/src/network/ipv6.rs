//! The link's IPv6 configuration. Until it is switched on, no frame of IPv6 leaves.

use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use connector_proto::time::Instant;
use rustix::io::Errno;

use super::{Network, Nic, Refused};
use crate::ipv6::{Lifetime, MTU_MIN, PREFIX_LEN, Wanted, WantedAddress, link_local};
use crate::netlink::message::FOREVER;
use crate::netlink::{Address, AddressState, Lifetimes, Requests, message};
use crate::sysctl;

/// What the link has.
#[derive(Debug, Default)]
pub(super) struct Applied {
    is_on: bool,
    addresses: Vec<WantedAddress>,
    router: Option<Ipv6Addr>,
    /// The MTU of IPv6 alone; `None` when it is the link's.
    mtu: Option<u32>,
}

impl Applied {
    pub(super) const fn is_on(&self) -> bool {
        self.is_on
    }

    /// The kernel has set the MTU of IPv6 to the link's.
    pub(super) const fn forget_mtu(&mut self) {
        self.mtu = None;
    }
}

/// What became of the link's addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settled {
    /// Those that can be used: nobody else has them.
    pub usable: Vec<Ipv6Addr>,
    /// One that another machine has.
    pub duplicate: Option<Ipv6Addr>,
}

impl Network {
    /// Which of the link's addresses can be used. The kernel asks the network first whether another
    /// machine has one (RFC 4862 section 5.4), and [`Self::events_fd`] becomes readable when it knows.
    #[must_use]
    pub fn settled_ipv6(&self, now: Instant) -> Settled {
        let Some(nic) = self.nic.as_ref().filter(|nic| nic.ipv6.is_on) else {
            return Settled::default();
        };
        let states = match self.requests.ipv6_addresses(nic.link.index) {
            Ok(states) => states,
            Err(error) => {
                log::error!("cannot list the IPv6 addresses: {error}");
                return Settled::default();
            }
        };
        let usable = |state: &&AddressState| !state.is_duplicate && !state.is_tentative;
        Settled {
            usable: states.iter().filter(usable).map(|s| s.address).collect(),
            duplicate: nic.duplicate(now, &states),
        }
    }

    /// Whether the link can carry IPv6: by its MTU (RFC 8200 section 5).
    #[must_use]
    pub fn allows_ipv6(&self) -> bool {
        let mtu = self.nic.as_ref().map(|nic| nic.mtu);
        mtu.is_some_and(|mtu| mtu >= u32::from(MTU_MIN))
    }

    /// Switches IPv6 on, with nothing but a link-local address.
    ///
    /// # Errors
    /// If there is no NIC, or the kernel refuses.
    pub fn switch_ipv6_on(&mut self) -> Result<(), Refused> {
        let nic = self.nic.as_mut().ok_or_else(Refused::without_nic)?;
        if nic.ipv6.is_on {
            return Ok(());
        }
        sysctl::set_of_ipv6(&nic.link.name, "disable_ipv6", "0")
            .map_err(Refused::to(format!("IPv6 on {}", nic.link.name)))?;
        let address = Address {
            link: nic.link.index,
            address: link_local(nic.mac).into(),
            prefix_len: PREFIX_LEN,
        };
        self.requests
            .change(&message::add_address(address, None))
            .map_err(Refused::to(format!("address {}", address.address)))?;
        nic.ipv6.is_on = true;
        Ok(())
    }

    /// Switches IPv6 off. The kernel takes its addresses and routes away.
    pub fn switch_ipv6_off(&mut self) {
        let Some(nic) = &mut self.nic else { return };
        nic.ipv6 = Applied::default();
        match sysctl::set_of_ipv6(&nic.link.name, "disable_ipv6", "1") {
            Ok(()) => {}
            // The kernel itself does without IPv6 on a link of a small MTU.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => log::error!("IPv6 stays on: {error}"),
        }
    }

    /// Gives the link what is wanted, in place of what it had. IPv6 has to be on.
    ///
    /// # Errors
    /// If there is no NIC, or the kernel refuses a part; what was done before stays.
    pub fn apply_ipv6(&mut self, now: Instant, wanted: &Wanted) -> Result<(), Refused> {
        let nic = self.nic.as_mut().ok_or_else(Refused::without_nic)?;
        nic.remove_ipv6_addresses(&self.requests, wanted)?;
        nic.set_ipv6_mtu(wanted.mtu)?;
        for address in &wanted.addresses {
            nic.add_ipv6_address(&self.requests, now, *address)?;
        }
        nic.set_ipv6_router(&self.requests, wanted.router)
    }
}

impl Nic {
    /// An address that another machine has. The kernel marks one that is for ever, and takes one that
    /// has an end away.
    fn duplicate(&self, now: Instant, states: &[AddressState]) -> Option<Ipv6Addr> {
        let marked = states.iter().find(|state| state.is_duplicate);
        let is_over = |held: &WantedAddress| {
            let soon = now + KERNEL_MAY_BE_AHEAD;
            held.until.is_some_and(|until| until.valid <= soon)
        };
        let is_there = |address| states.iter().any(|state| state.address == address);
        let mut held = self.ipv6.addresses.iter();
        let taken = held.find(|held| !is_there(held.address) && !is_over(held));
        marked
            .map(|state| state.address)
            .or(taken.map(|held| held.address))
    }

    fn remove_ipv6_addresses(
        &mut self,
        requests: &Requests,
        wanted: &Wanted,
    ) -> Result<(), Refused> {
        let is_wanted = |held: &WantedAddress| {
            let mut wanted = wanted.addresses.iter();
            wanted.any(|new| (new.address, new.prefix_len) == (held.address, held.prefix_len))
        };
        let gone: Vec<_> = self
            .ipv6
            .addresses
            .extract_if(.., |held| !is_wanted(held))
            .collect();
        for old in gone {
            match requests.change(&message::remove_address(self.ipv6_address(old))) {
                Ok(()) => log::info!("address {} is gone", old.address),
                // Its time was over for the kernel too.
                Err(error) if error.raw_os_error() == Some(Errno::ADDRNOTAVAIL.raw_os_error()) => {}
                Err(error) => {
                    return Err(Refused::to(format!("to remove address {}", old.address))(
                        error,
                    ));
                }
            }
        }
        Ok(())
    }

    fn add_ipv6_address(
        &mut self,
        requests: &Requests,
        now: Instant,
        wanted: WantedAddress,
    ) -> Result<(), Refused> {
        let held = self.ipv6.addresses.iter_mut();
        let held = held.into_iter().find(|held| held.address == wanted.address);
        if held.as_deref() == Some(&wanted) {
            return Ok(());
        }
        let is_new = held.is_none();
        let (address, len) = (wanted.address, wanted.prefix_len);
        let lifetimes = wanted.until.map(|until| lifetimes(now, until));
        requests
            .change(&message::add_address(self.ipv6_address(wanted), lifetimes))
            .map_err(Refused::to(format!("address {address}/{len}")))?;
        self.ipv6.addresses.retain(|held| held.address != address);
        self.ipv6.addresses.push(wanted);
        if is_new {
            log::info!("address {address}/{len}");
        }
        Ok(())
    }

    fn set_ipv6_router(
        &mut self,
        requests: &Requests,
        router: Option<Ipv6Addr>,
    ) -> Result<(), Refused> {
        if self.ipv6.router == router {
            return Ok(());
        }
        if self.ipv6.router.take().is_some() {
            // The kernel may have dropped it with an address, which is as well.
            let _ = requests.change(&message::remove_default_route(self.link.index, true));
        }
        if let Some(router) = router {
            requests
                .change(&message::replace_default_route(
                    self.link.index,
                    IpAddr::V6(router),
                ))
                .map_err(Refused::to(format!("gateway {router}")))?;
            log::info!("IPv6 gateway {router}");
        }
        self.ipv6.router = router;
        Ok(())
    }

    fn set_ipv6_mtu(&mut self, mtu: Option<u16>) -> Result<(), Refused> {
        let wanted = mtu.map(u32::from).filter(|mtu| *mtu < self.mtu);
        if self.ipv6.mtu == wanted {
            return Ok(());
        }
        let value = wanted.unwrap_or(self.mtu).to_string();
        sysctl::set_of_ipv6(&self.link.name, "mtu", &value)
            .map_err(Refused::to(format!("MTU {value} for IPv6")))?;
        self.ipv6.mtu = wanted;
        Ok(())
    }

    /// Sets the MTU of IPv6 once more: the kernel sets it to the link's when that comes up.
    pub(super) fn hold_ipv6_mtu(&self) {
        if let Some(mtu) = self.ipv6.mtu
            && let Err(error) = sysctl::set_of_ipv6(&self.link.name, "mtu", &mtu.to_string())
        {
            log::warn!("MTU {mtu} for IPv6: {error}");
        }
    }

    fn ipv6_address(&self, wanted: WantedAddress) -> Address {
        Address {
            link: self.link.index,
            address: wanted.address.into(),
            prefix_len: wanted.prefix_len,
        }
    }
}

/// The kernel counts an address's life in whole seconds.
const KERNEL_MAY_BE_AHEAD: Duration = Duration::from_secs(5);

/// What is left of an address's life. The kernel refuses a life of no second.
fn lifetimes(now: Instant, until: Lifetime) -> Lifetimes {
    let left = |at: Instant| u32::try_from(at.since(now).as_secs()).unwrap_or(FOREVER);
    let valid_s = left(until.valid).max(1);
    Lifetimes {
        valid_s,
        preferred_s: left(until.preferred).min(valid_s),
    }
}

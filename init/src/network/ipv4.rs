//! The link's IPv4 configuration: what a checked lease says, in place of what there was.

use std::net::IpAddr;

use connector_proto::local::Lease;

use super::{Network, Nic, Refused};
use crate::netlink::{Address, Requests, message};

/// What the link has.
#[derive(Debug, Default)]
pub(super) struct Applied {
    address: Option<Address>,
    router: Option<IpAddr>,
}

impl Network {
    /// Gives the link what a checked lease says, in place of what it had.
    ///
    /// # Errors
    /// If there is no NIC, or the kernel refuses a part; what was done before stays.
    pub fn apply_ipv4(&mut self, lease: &Lease) -> Result<(), Refused> {
        let nic = self.nic.as_mut().ok_or_else(Refused::without_nic)?;
        let mtu = lease.mtu.map_or(nic.port.mtu, u32::from);
        nic.set_mtu(&self.requests, mtu)?;
        let address = Address {
            link: nic.link.index,
            address: lease.address.into(),
            prefix_len: lease.prefix_len,
        };
        if nic.ipv4.address != Some(address) {
            nic.remove_ipv4_address(&self.requests)?;
            let what = format!(
                "address {}/{} on {}",
                lease.address, lease.prefix_len, nic.link.name
            );
            self.requests
                .change(&message::add_address(address, None))
                .map_err(Refused::to(what))?;
            nic.ipv4.address = Some(address);
        }
        nic.set_ipv4_router(&self.requests, lease.router.map(IpAddr::V4))
    }

    /// Takes away what a lease gave.
    pub fn remove_ipv4(&mut self) {
        let Some(nic) = &mut self.nic else { return };
        // The default route of a /32 does not go with the address.
        let removed = nic
            .set_ipv4_router(&self.requests, None)
            .and(nic.remove_ipv4_address(&self.requests));
        if let Err(error) = removed {
            log::warn!("{error}");
        }
    }
}

impl Nic {
    fn remove_ipv4_address(&mut self, requests: &Requests) -> Result<(), Refused> {
        let Some(old) = self.ipv4.address.take() else {
            return Ok(());
        };
        requests
            .change(&message::remove_address(old))
            .map_err(Refused::to(format!("to remove address {}", old.address)))
    }

    fn set_ipv4_router(
        &mut self,
        requests: &Requests,
        router: Option<IpAddr>,
    ) -> Result<(), Refused> {
        match router {
            // Made again even if it is the same: the kernel may have dropped it with an address.
            Some(router) => requests
                .change(&message::replace_default_route(self.link.index, router))
                .map_err(Refused::to(format!("gateway {router}")))?,
            None if self.ipv4.router.is_some() => {
                // The kernel may have dropped it with the address, which is as well.
                let _ = requests.change(&message::remove_default_route(self.link.index, false));
            }
            None => {}
        }
        self.ipv4.router = router;
        Ok(())
    }
}

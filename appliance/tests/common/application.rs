//! Where a connector may find an application.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};

/// An address of this machine's that is not loopback, where no application may be.
pub fn address_beside_loopback() -> Option<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    // Nothing is sent: connecting chooses the address that would be used.
    socket.connect((Ipv4Addr::new(198, 51, 100, 1), 9)).ok()?;
    let address = socket.local_addr().ok()?.ip();
    let is_usable = !address.is_loopback() && !address.is_unspecified();
    if !is_usable {
        eprintln!("skipped: this machine has no address but loopback, where no application may be");
    }
    is_usable.then_some(address)
}

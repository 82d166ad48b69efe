//! Who is where in the virtual network.

use std::net::{Ipv4Addr, SocketAddrV4};

/// Length of the local network's prefix, in bits.
pub const PREFIX_LENGTH: u8 = 24;

/// The local network's mask.
pub const MASK: Ipv4Addr = Ipv4Addr::new(255, 255, 255, 0);

/// The router, which is also the DHCP server.
pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);

/// The address the first guest is given; the next guests get the ones after it.
pub const GUEST: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 15);

/// The resolver.
pub const RESOLVER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 53);

/// The time server.
pub const TIME_SERVER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 123);

/// The private application, reachable in this network only.
pub const APPLICATION: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 77, 0, 80), 80);

/// The private application's name.
pub const APPLICATION_NAME: &str = "intranet.outgate.example";

/// The service edge, beyond the router.
pub const EDGE: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(203, 0, 113, 10), 443);

/// The service edge's name.
pub const EDGE_NAME: &str = "edge.outgate.example";

/// The router's hardware address: locally administered.
pub const GATEWAY_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x01];

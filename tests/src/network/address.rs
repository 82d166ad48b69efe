//! Who is where in the virtual network.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};

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

/// Four more time servers, for networks that have them.
pub const TIME_SERVERS: [Ipv4Addr; 4] = [
    Ipv4Addr::new(10, 77, 0, 121),
    Ipv4Addr::new(10, 77, 0, 122),
    Ipv4Addr::new(10, 77, 0, 124),
    Ipv4Addr::new(10, 77, 0, 125),
];

/// The second resolver, for networks that have one.
pub const SECOND_RESOLVER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 54);

/// The HTTP proxy, for networks that have one.
pub const PROXY: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 77, 0, 30), 3128);

/// A neighbour that answers nothing: to where hostile answers point.
pub const HOSTILE: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 66);

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

/// The IPv6 prefix that the router advertises, 64 bits long.
pub const PREFIX6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x77, 0, 0, 0, 0, 0);

/// The router's link-local address.
pub const GATEWAY6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);

/// The router's address in the prefix.
pub const GATEWAY6_GLOBAL: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x77, 0, 0, 0, 0, 1);

/// The resolver's IPv6 address.
pub const RESOLVER6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x77, 0, 0, 0, 0, 0x53);

/// The time server's IPv6 address.
pub const TIME_SERVER6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x77, 0, 0, 0, 0, 0x123);

/// The private application by IPv6.
pub const APPLICATION6: SocketAddrV6 = SocketAddrV6::new(
    Ipv6Addr::new(0x2001, 0xdb8, 0x77, 0, 0, 0, 0, 0x80),
    80,
    0,
    0,
);

/// The service edge by IPv6, beyond the router.
pub const EDGE6: SocketAddrV6 = SocketAddrV6::new(
    Ipv6Addr::new(0x2001, 0xdb8, 0x10, 0, 0, 0, 0, 0x10),
    443,
    0,
    0,
);

//! The rtnetlink messages PID 1 uses: encoded and parsed, without a socket.

use std::net::{IpAddr, Ipv4Addr};

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkHeader,
    NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::address::{AddressAttribute, AddressMessage, AddressScope};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkLayerType, LinkMessage};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteProtocol, RouteScope,
    RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

/// A network interface as the kernel describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its index.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its MAC address, if it has one of six bytes.
    pub mac: Option<[u8; 6]>,
    /// Whether it is an Ethernet NIC, as opposed to the loopback or a tunnel.
    pub is_ethernet: bool,
    /// Whether it was set up.
    pub is_up: bool,
    /// Whether it has a carrier: the cable, or the hypervisor's "connected" tick.
    pub has_carrier: bool,
    /// Its MTU.
    pub mtu: u32,
}

/// What a packet from the kernel says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A link exists, or changed.
    Link(Link),
    /// The link with this index is gone.
    LinkGone(u32),
    /// The request failed with this errno; 0 means it succeeded.
    Result(i32),
    /// The end of a list.
    Done,
    /// Something PID 1 does not use.
    Other,
}

/// The IPv4 configuration of a link, as a lease gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// Index of the link.
    pub link: u32,
    /// The machine's address.
    pub address: Ipv4Addr,
    /// Prefix length of its subnet.
    pub prefix_len: u8,
}

/// Asks for all links.
#[must_use]
pub fn list_links() -> Vec<u8> {
    encode(
        RouteNetlinkMessage::GetLink(LinkMessage::default()),
        NLM_F_DUMP,
    )
}

/// Sets a link up.
#[must_use]
pub fn set_link_up(index: u32) -> Vec<u8> {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.header.flags = LinkFlags::Up;
    message.header.change_mask = LinkFlags::Up;
    encode(RouteNetlinkMessage::SetLink(message), NLM_F_ACK)
}

/// Sets a link's MTU.
#[must_use]
pub fn set_mtu(index: u32, mtu: u32) -> Vec<u8> {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.attributes.push(LinkAttribute::Mtu(mtu));
    encode(RouteNetlinkMessage::SetLink(message), NLM_F_ACK)
}

/// Gives a link an address.
#[must_use]
pub fn add_address(address: Address) -> Vec<u8> {
    let message = RouteNetlinkMessage::NewAddress(address_message(address));
    encode(message, NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE)
}

/// Takes an address off a link. The kernel takes the routes that need it away as well.
#[must_use]
pub fn remove_address(address: Address) -> Vec<u8> {
    encode(
        RouteNetlinkMessage::DelAddress(address_message(address)),
        NLM_F_ACK,
    )
}

/// Makes `router` the default gateway. It is reached through the link even from a /32.
#[must_use]
pub fn replace_default_route(address: Address, router: Ipv4Addr) -> Vec<u8> {
    let message = RouteNetlinkMessage::NewRoute(route_message(address.link, Some(router)));
    encode(message, NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE)
}

/// Takes the default route away.
#[must_use]
pub fn remove_default_route(link: u32) -> Vec<u8> {
    encode(
        RouteNetlinkMessage::DelRoute(route_message(link, None)),
        NLM_F_ACK,
    )
}

fn address_message(address: Address) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = AddressFamily::Inet;
    message.header.prefix_len = address.prefix_len;
    message.header.scope = AddressScope::Universe;
    message.header.index = address.link;
    message
        .attributes
        .push(AddressAttribute::Local(IpAddr::V4(address.address)));
    message
        .attributes
        .push(AddressAttribute::Address(IpAddr::V4(address.address)));
    let host_mask = u32::MAX
        .checked_shr(u32::from(address.prefix_len))
        .unwrap_or(0);
    if host_mask > 1 {
        let broadcast = Ipv4Addr::from_bits(address.address.to_bits() | host_mask);
        message
            .attributes
            .push(AddressAttribute::Broadcast(broadcast));
    }
    message
}

fn route_message(link: u32, router: Option<Ipv4Addr>) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = AddressFamily::Inet;
    message.header.table = RouteHeader::RT_TABLE_MAIN;
    message.header.protocol = RouteProtocol::Dhcp;
    message.header.scope = RouteScope::Universe;
    message.header.kind = RouteType::Unicast;
    message.attributes.push(RouteAttribute::Oif(link));
    if let Some(router) = router {
        message.header.flags = RouteFlags::Onlink;
        message
            .attributes
            .push(RouteAttribute::Gateway(RouteAddress::Inet(router)));
    }
    message
}

fn encode(message: RouteNetlinkMessage, flags: u16) -> Vec<u8> {
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | flags;
    let mut message = NetlinkMessage::new(header, NetlinkPayload::from(message));
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}

/// Parses one packet from the kernel, which may hold several messages. What is cut off ends it.
#[must_use]
pub fn parse(packet: &[u8]) -> Vec<Answer> {
    let mut answers = Vec::new();
    let mut rest = packet;
    while let Ok(message) = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest) {
        let len = usize::try_from(message.header.length).unwrap_or(usize::MAX);
        answers.push(answer(message.payload));
        match rest.get(len.next_multiple_of(4)..) {
            Some(next) if len > 0 && !next.is_empty() => rest = next,
            _ => break,
        }
    }
    answers
}

fn answer(payload: NetlinkPayload<RouteNetlinkMessage>) -> Answer {
    match payload {
        NetlinkPayload::Done(_) => Answer::Done,
        NetlinkPayload::Error(error) => Answer::Result(-error.raw_code()),
        NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(message)) => {
            Answer::Link(link(&message))
        }
        NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelLink(message)) => {
            Answer::LinkGone(message.header.index)
        }
        _ => Answer::Other,
    }
}

fn link(message: &LinkMessage) -> Link {
    let flags = message.header.flags;
    let mut link = Link {
        index: message.header.index,
        name: String::new(),
        mac: None,
        is_ethernet: message.header.link_layer_type == LinkLayerType::Ether,
        is_up: flags.contains(LinkFlags::Up),
        has_carrier: flags.contains(LinkFlags::Up | LinkFlags::LowerUp),
        mtu: 0,
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::Address(mac) => link.mac = mac.as_slice().try_into().ok(),
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            _ => {}
        }
    }
    link
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_request_has_the_bytes_of_the_kernel_header() {
        let bytes = add_address(Address {
            link: 2,
            address: Ipv4Addr::new(10, 0, 2, 15),
            prefix_len: 24,
        });
        // nlmsghdr: length, RTM_NEWADDR, REQUEST|ACK|REPLACE|CREATE, sequence, port.
        assert_eq!(
            bytes[..16],
            [48, 0, 0, 0, 20, 0, 5, 5, 0, 0, 0, 0, 0, 0, 0, 0]
        );
        // ifaddrmsg: AF_INET, /24, no flags, universe, index.
        assert_eq!(bytes[16..24], [2, 24, 0, 0, 2, 0, 0, 0]);
        // IFA_LOCAL, IFA_ADDRESS, IFA_BROADCAST.
        assert_eq!(bytes[24..32], [8, 0, 2, 0, 10, 0, 2, 15]);
        assert_eq!(bytes[32..40], [8, 0, 1, 0, 10, 0, 2, 15]);
        assert_eq!(bytes[40..48], [8, 0, 4, 0, 10, 0, 2, 255]);
    }

    #[test]
    fn a_subnet_of_two_addresses_has_no_broadcast_address() {
        let address = Address {
            link: 2,
            address: Ipv4Addr::new(10, 0, 0, 1),
            prefix_len: 31,
        };
        assert_eq!(add_address(address).len(), 40);
    }

    #[test]
    fn garbage_and_cut_off_packets_are_harmless() {
        assert_eq!(parse(&[]), []);
        assert_eq!(parse(&[0xff; 40]), []);
        let mut bytes = list_links();
        bytes[0] = 0; // a message that says it has no length
        assert_eq!(parse(&bytes), []);
    }
}

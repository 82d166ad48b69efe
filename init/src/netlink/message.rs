//! The rtnetlink messages PID 1 uses: encoded and parsed, without a socket.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkHeader,
    NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::address::{
    AddressAttribute, AddressHeaderFlags, AddressMessage, AddressScope, CacheInfo,
};
use netlink_packet_route::link::{
    InfoData, InfoKind, InfoVlan, LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage,
};
use netlink_packet_route::route::{
    RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
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
    /// Whether it carries the frames of a VLAN on another link.
    pub is_vlan: bool,
}

/// What a packet from the kernel says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A link exists, or changed.
    Link(Link),
    /// The link with this index is gone.
    LinkGone(u32),
    /// A link has an IPv6 address.
    Address(AddressState),
    /// The request failed with this errno; 0 means it succeeded.
    Result(i32),
    /// The end of a list.
    Done,
    /// Something PID 1 does not use.
    Other,
}

/// An address of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// Index of the link.
    pub link: u32,
    /// The machine's address.
    pub address: IpAddr,
    /// Prefix length of its subnet.
    pub prefix_len: u8,
}

/// An IPv6 address as the kernel describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressState {
    /// Index of the link.
    pub link: u32,
    /// The address.
    pub address: Ipv6Addr,
    /// The kernel still asks whether another machine has it, and does not use it before.
    pub is_tentative: bool,
    /// Another machine has it, and this one does not use it.
    pub is_duplicate: bool,
}

/// For how long an address holds, in seconds; [`FOREVER`] is for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetimes {
    /// For how long it is the machine's.
    pub valid_s: u32,
    /// For how long new connections may use it.
    pub preferred_s: u32,
}

/// A lifetime that does not end (`INFINITY_LIFE_TIME`).
pub const FOREVER: u32 = u32::MAX;

/// Asks for all links.
#[must_use]
pub fn list_links() -> Vec<u8> {
    encode(
        RouteNetlinkMessage::GetLink(LinkMessage::default()),
        NLM_F_DUMP,
    )
}

/// Asks for all IPv6 addresses.
#[must_use]
pub fn list_ipv6_addresses() -> Vec<u8> {
    let mut message = AddressMessage::default();
    message.header.family = AddressFamily::Inet6;
    encode(RouteNetlinkMessage::GetAddress(message), NLM_F_DUMP)
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

/// Makes the link that carries the frames of one VLAN on a NIC.
#[must_use]
pub fn add_vlan(parent: u32, name: &str, vlan: u16) -> Vec<u8> {
    let mut message = LinkMessage::default();
    message.attributes = vec![
        LinkAttribute::Link(parent),
        LinkAttribute::IfName(name.to_owned()),
        LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Vlan),
            LinkInfo::Data(InfoData::Vlan(vec![InfoVlan::Id(vlan)])),
        ]),
    ];
    encode(
        RouteNetlinkMessage::NewLink(message),
        NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL,
    )
}

/// Takes a link that was made away.
#[must_use]
pub fn remove_link(index: u32) -> Vec<u8> {
    let mut message = LinkMessage::default();
    message.header.index = index;
    encode(RouteNetlinkMessage::DelLink(message), NLM_F_ACK)
}

/// Gives a link an address, or one that it has other lifetimes.
#[must_use]
pub fn add_address(address: Address, lifetimes: Option<Lifetimes>) -> Vec<u8> {
    let mut message = address_message(address);
    if let Some(lifetimes) = lifetimes {
        let mut info = CacheInfo::default();
        info.ifa_valid = lifetimes.valid_s;
        info.ifa_preferred = lifetimes.preferred_s;
        message.attributes.push(AddressAttribute::CacheInfo(info));
    }
    encode(
        RouteNetlinkMessage::NewAddress(message),
        NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE,
    )
}

/// Takes an address off a link. The kernel takes the routes that need it away as well.
#[must_use]
pub fn remove_address(address: Address) -> Vec<u8> {
    encode(
        RouteNetlinkMessage::DelAddress(address_message(address)),
        NLM_F_ACK,
    )
}

/// Makes `router` the default gateway of its family. It is reached through the link even from a /32
/// or a /128.
#[must_use]
pub fn replace_default_route(link: u32, router: IpAddr) -> Vec<u8> {
    let mut message = default_route(link, router.is_ipv6());
    message.header.flags = RouteFlags::Onlink;
    message
        .attributes
        .push(RouteAttribute::Gateway(router.into()));
    encode(
        RouteNetlinkMessage::NewRoute(message),
        NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE,
    )
}

/// Takes the default route of one family away.
#[must_use]
pub fn remove_default_route(link: u32, is_ipv6: bool) -> Vec<u8> {
    encode(
        RouteNetlinkMessage::DelRoute(default_route(link, is_ipv6)),
        NLM_F_ACK,
    )
}

fn address_message(address: Address) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.prefix_len = address.prefix_len;
    message.header.scope = AddressScope::Universe;
    message.header.index = address.link;
    message.attributes = vec![
        AddressAttribute::Local(address.address),
        AddressAttribute::Address(address.address),
    ];
    match address.address {
        IpAddr::V4(v4) => {
            message.header.family = AddressFamily::Inet;
            let broadcast = broadcast(v4, address.prefix_len);
            message
                .attributes
                .extend(broadcast.map(AddressAttribute::Broadcast));
        }
        IpAddr::V6(_) => message.header.family = AddressFamily::Inet6,
    }
    message
}

/// The subnet's broadcast address; one of two addresses or fewer has none (RFC 3021).
fn broadcast(address: Ipv4Addr, prefix_len: u8) -> Option<Ipv4Addr> {
    let host_mask = u32::MAX.checked_shr(u32::from(prefix_len)).unwrap_or(0);
    (host_mask > 1).then(|| Ipv4Addr::from_bits(address.to_bits() | host_mask))
}

fn default_route(link: u32, is_ipv6: bool) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = if is_ipv6 {
        AddressFamily::Inet6
    } else {
        AddressFamily::Inet
    };
    message.header.table = RouteHeader::RT_TABLE_MAIN;
    message.header.protocol = RouteProtocol::Static;
    message.header.scope = RouteScope::Universe;
    message.header.kind = RouteType::Unicast;
    message.attributes.push(RouteAttribute::Oif(link));
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
        NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewAddress(message)) => {
            address_state(&message).map_or(Answer::Other, Answer::Address)
        }
        _ => Answer::Other,
    }
}

fn address_state(message: &AddressMessage) -> Option<AddressState> {
    let mut attributes = message.attributes.iter();
    let address = attributes.find_map(|attribute| match attribute {
        AddressAttribute::Address(IpAddr::V6(address)) => Some(*address),
        _ => None,
    })?;
    let flags = message.header.flags;
    Some(AddressState {
        link: message.header.index,
        address,
        is_tentative: flags.contains(AddressHeaderFlags::Tentative),
        is_duplicate: flags.contains(AddressHeaderFlags::Dadfailed),
    })
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
        is_vlan: false,
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::Address(mac) => link.mac = mac.as_slice().try_into().ok(),
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            LinkAttribute::LinkInfo(info) => {
                link.is_vlan = info.contains(&LinkInfo::Kind(InfoKind::Vlan));
            }
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
        let bytes = add_address(address("10.0.2.15", 24), None);
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
        assert_eq!(add_address(address("10.0.0.1", 31), None).len(), 40);
    }

    #[test]
    fn an_ipv6_address_request_carries_its_lifetimes() {
        let lifetimes = Lifetimes {
            valid_s: 0x0102_0304,
            preferred_s: FOREVER,
        };
        let bytes = add_address(address("2001:db8::15", 64), Some(lifetimes));
        assert_eq!(bytes[16..24], [10, 64, 0, 0, 2, 0, 0, 0]);
        // IFA_LOCAL and IFA_ADDRESS of 16 bytes, then IFA_CACHEINFO: preferred, valid, two stamps.
        assert_eq!(bytes[24..28], [20, 0, 2, 0]);
        assert_eq!(bytes[44..48], [20, 0, 1, 0]);
        let info = [20, 0, 6, 0, 255, 255, 255, 255, 4, 3, 2, 1];
        assert_eq!(bytes[64..76], info);
        assert_eq!(bytes.len(), 84);
    }

    #[test]
    fn a_default_route_is_of_its_router_s_family_and_on_the_link() {
        for (router, family) in [("10.0.2.2", 2), ("fe80::1", 10)] {
            let router: IpAddr = router.parse().unwrap();
            let bytes = replace_default_route(2, router);
            // rtmsg: family, /0 from /0, no TOS, main table, static, universe, unicast, RTNH_F_ONLINK.
            let header = [family, 0, 0, 0, 254, 4, 0, 1, 4, 0, 0, 0];
            assert_eq!(bytes[16..28], header, "{router}");
            // RTA_OIF, then RTA_GATEWAY.
            assert_eq!(bytes[28..36], [8, 0, 4, 0, 2, 0, 0, 0]);
            assert_eq!(bytes[38], 5);
        }
    }

    #[test]
    fn a_vlan_request_names_the_nic_and_the_tag() {
        let bytes = add_vlan(2, "eth0.7", 7);
        // IFLA_LINK, IFLA_IFNAME.
        assert_eq!(bytes[32..40], [8, 0, 5, 0, 2, 0, 0, 0]);
        assert_eq!(bytes[40..51], *b"\x0b\0\x03\0eth0.7\0");
        // IFLA_LINKINFO of IFLA_INFO_KIND "vlan" and IFLA_INFO_DATA of IFLA_VLAN_ID.
        let data = [12, 0, 2, 0, 6, 0, 1, 0, 7, 0];
        assert!(bytes.windows(data.len()).any(|window| window == data));
        assert!(bytes.windows(4).any(|window| window == b"vlan"));
    }

    #[test]
    fn garbage_and_cut_off_packets_are_harmless() {
        assert_eq!(parse(&[]), []);
        assert_eq!(parse(&[0xff; 40]), []);
        let mut bytes = list_links();
        bytes[0] = 0; // a message that says it has no length
        assert_eq!(parse(&bytes), []);
    }

    fn address(address: &str, prefix_len: u8) -> Address {
        Address {
            link: 2,
            address: address.parse().unwrap(),
            prefix_len,
        }
    }
}

//! Whether a guest sent anything that it must not: judged from the captured frames alone.
//!
//! Allowed are ARP, DHCP, DNS to the given resolvers, NTP to the given servers, and TCP to the
//! edge and to granted applications; of IPv6 also what a host asks and tells its neighbours (router
//! and neighbour solicitations, neighbour advertisements, multicast reports). Everything else is a
//! violation: any other ICMP or IGMP, any other port or host, a reset to a stranger included.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use smoltcp::wire::{
    EthernetFrame, EthernetProtocol, IpAddress, IpProtocol, Ipv4Packet, Ipv6Packet, TcpPacket,
    UdpPacket,
};

use crate::network::address::{EDGE, EDGE6, RESOLVER, RESOLVER6, TIME_SERVER, TIME_SERVER6};
use crate::network::{dhcp, dns, ntp, vlan};
use crate::pcap::{Direction, Frame};

/// What a guest may send, beside ARP and DHCP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Where questions for names may go.
    pub resolvers: Vec<IpAddr>,
    /// Where questions for the time may go.
    pub time_servers: Vec<IpAddr>,
    /// Service edges, or the proxy in their place.
    pub edges: Vec<SocketAddr>,
    /// Applications that were granted.
    pub applications: Vec<SocketAddr>,
    /// Whether IPv6 is spoken at all.
    pub ipv6: bool,
    /// Whether a machine may tell all neighbours where it is without being asked, as the kernel does
    /// when the hypervisor has moved or restored it (RFC 4861 section 7.2.6).
    pub announces: bool,
}

/// Something a guest must not send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// When it was first sent, since the capture began.
    pub at: Duration,
    /// How often.
    pub count: usize,
    /// What it was, for people.
    pub description: String,
}

impl Policy {
    /// The lab's resolver, time server and edge, and these applications.
    pub fn lab<A: Into<SocketAddr> + Copy>(applications: &[A]) -> Self {
        Self {
            resolvers: vec![RESOLVER.into(), RESOLVER6.into()],
            time_servers: vec![TIME_SERVER.into(), TIME_SERVER6.into()],
            edges: vec![EDGE.into(), EDGE6.into()],
            applications: applications.iter().map(|&to| to.into()).collect(),
            ipv6: true,
            announces: false,
        }
    }

    /// The same where the edge is reached through a proxy only.
    pub fn through_proxy<A: Into<SocketAddr> + Copy>(
        proxy: impl Into<SocketAddr>,
        applications: &[A],
    ) -> Self {
        Self {
            edges: vec![proxy.into()],
            ..Self::lab(applications)
        }
    }

    /// The same for machines that a hypervisor moved or restored.
    #[must_use]
    pub const fn of_restored_machines(mut self) -> Self {
        self.announces = true;
        self
    }

    /// The same with these resolvers and time servers.
    pub fn asking<A: Into<IpAddr> + Copy>(mut self, resolvers: &[A], time_servers: &[A]) -> Self {
        self.resolvers = resolvers.iter().map(|&server| server.into()).collect();
        self.time_servers = time_servers.iter().map(|&server| server.into()).collect();
        self
    }

    /// What guests sent that is not allowed, each kind once, in order of the first time.
    pub fn violations<'a>(&self, frames: impl IntoIterator<Item = &'a Frame>) -> Vec<Violation> {
        let mut kinds: BTreeMap<String, (Duration, usize)> = BTreeMap::new();
        for frame in frames
            .into_iter()
            .filter(|frame| frame.direction == Direction::FromGuest)
        {
            if let Err(description) = self.judge(&frame.bytes) {
                kinds.entry(description).or_insert((frame.at, 0)).1 += 1;
            }
        }
        let mut violations: Vec<_> = kinds
            .into_iter()
            .map(|(description, (at, count))| Violation {
                at,
                count,
                description,
            })
            .collect();
        violations.sort_by_key(|violation| violation.at);
        violations
    }

    /// Judges one frame; the error describes it.
    fn judge(&self, frame: &[u8]) -> Result<(), String> {
        let ethernet = EthernetFrame::new_checked(frame)
            .map_err(|_| format!("a frame of {} bytes", frame.len()))?;
        match ethernet.ethertype() {
            EthernetProtocol::Arp => Ok(()),
            EthernetProtocol::Ipv4 => self.judge_ipv4(ethernet.payload()),
            EthernetProtocol::Ipv6 => self.judge_ipv6(ethernet.payload()),
            EthernetProtocol::Unknown(other) if other.to_be_bytes() == vlan::ETHERTYPE => {
                // The network passes on only the frames of the one VLAN that it has.
                let id = ethernet
                    .payload()
                    .first_chunk()
                    .copied()
                    .unwrap_or_default();
                let inner = vlan::untagged(frame, u16::from_be_bytes(id) & 0x0fff);
                inner.map_or_else(
                    || Err("a frame with a tag and no more".to_owned()),
                    |inner| self.judge(&inner),
                )
            }
            EthernetProtocol::Unknown(other) => Err(format!("Ethernet protocol {other:#06x}")),
        }
    }

    fn judge_ipv4(&self, packet: &[u8]) -> Result<(), String> {
        let ip = Ipv4Packet::new_checked(packet).map_err(|_| "a broken IPv4 packet".to_owned())?;
        let to = ip.dst_addr();
        if ip.frag_offset() != 0 || ip.more_frags() {
            return Err(format!("a fragment of {} to {to}", ip.next_header()));
        }
        self.judge_segment(ip.next_header(), to.into(), ip.payload())
    }

    fn judge_ipv6(&self, packet: &[u8]) -> Result<(), String> {
        let ip = Ipv6Packet::new_checked(packet).map_err(|_| "a broken IPv6 packet".to_owned())?;
        let to = ip.dst_addr();
        if !self.ipv6 {
            return Err(format!("IPv6 {} to {to}", ip.next_header()));
        }
        match ip.next_header() {
            IpProtocol::Icmpv6 => {
                judge_icmpv6(to.into(), ip.payload(), ip.hop_limit(), self.announces)
            }
            // Multicast reports carry the router alert option.
            IpProtocol::HopByHop => judge_report(to.into(), ip.payload()),
            protocol => self.judge_segment(protocol, to.into(), ip.payload()),
        }
    }

    fn judge_segment(
        &self,
        protocol: IpProtocol,
        to: IpAddress,
        segment: &[u8],
    ) -> Result<(), String> {
        let to = IpAddr::from(to);
        match protocol {
            IpProtocol::Tcp => {
                let tcp = TcpPacket::new_checked(segment)
                    .map_err(|_| format!("a broken TCP segment to {to}"))?;
                self.judge_tcp(SocketAddr::new(to, tcp.dst_port()), flags(&tcp))
            }
            IpProtocol::Udp => {
                let udp = UdpPacket::new_checked(segment)
                    .map_err(|_| format!("a broken UDP datagram to {to}"))?;
                self.judge_udp(udp.src_port(), SocketAddr::new(to, udp.dst_port()))
            }
            other => Err(format!("{other} to {to}")),
        }
    }

    fn judge_tcp(&self, to: SocketAddr, flags: &str) -> Result<(), String> {
        let is_dns = to.port() == dns::PORT && self.resolvers.contains(&to.ip());
        if is_dns || self.edges.contains(&to) || self.applications.contains(&to) {
            return Ok(());
        }
        Err(format!("TCP {flags} to {to}"))
    }

    fn judge_udp(&self, from_port: u16, to: SocketAddr) -> Result<(), String> {
        let is_allowed = match to.port() {
            dhcp::SERVER_PORT => to.is_ipv4() && from_port == dhcp::CLIENT_PORT,
            dns::PORT => self.resolvers.contains(&to.ip()),
            ntp::PORT => self.time_servers.contains(&to.ip()),
            _ => false,
        };
        if is_allowed {
            Ok(())
        } else {
            Err(format!("UDP from port {from_port} to {to}"))
        }
    }
}

/// What a host asks and tells its neighbours (RFC 4861): solicitations to anybody on the link, and
/// advertisements to who asked; to all who did not if the machine may announce itself.
fn judge_icmpv6(to: IpAddr, message: &[u8], hop_limit: u8, announces: bool) -> Result<(), String> {
    let kind = message.first().copied().unwrap_or_default();
    let is_solicited_node = matches!(to, IpAddr::V6(to) if to.segments()[..7] == [0xff02, 0, 0, 0, 0, 1, 0xff00 | to.segments()[6] & 0xff]);
    let is_unicast = !to.is_multicast();
    let is_allowed = match kind {
        ROUTER_SOLICITATION => to == ALL_ROUTERS,
        NEIGHBOUR_SOLICITATION => is_solicited_node || is_unicast,
        NEIGHBOUR_ADVERTISEMENT => is_unicast || announces && to == ALL_NODES,
        _ => false,
    };
    if is_allowed && hop_limit == 255 {
        Ok(())
    } else {
        Err(format!("ICMPv6 of type {kind} to {to}"))
    }
}

/// A multicast report (RFC 3810), behind a hop-by-hop header.
fn judge_report(to: IpAddr, packet: &[u8]) -> Result<(), String> {
    let next = packet.first().copied().map(IpProtocol::from);
    let length = packet
        .get(1)
        .map_or(0, |units| 8 * (1 + usize::from(*units)));
    let kind = packet.get(length).copied();
    if (next, kind) == (Some(IpProtocol::Icmpv6), Some(MULTICAST_REPORT)) && to == ALL_REPORTS {
        Ok(())
    } else {
        Err(format!("IPv6 with hop-by-hop options to {to}"))
    }
}

const ROUTER_SOLICITATION: u8 = 133;
const NEIGHBOUR_SOLICITATION: u8 = 135;
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
const MULTICAST_REPORT: u8 = 143;
const ALL_NODES: IpAddr = IpAddr::V6(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1));
const ALL_ROUTERS: IpAddr = IpAddr::V6(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2));
const ALL_REPORTS: IpAddr = IpAddr::V6(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x16));

fn flags<T: AsRef<[u8]>>(tcp: &TcpPacket<T>) -> &'static str {
    match (tcp.syn(), tcp.rst()) {
        (true, _) => "SYN",
        (false, true) => "RST",
        (false, false) => "segment",
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.at.as_secs_f64();
        write!(
            f,
            "{} ({} times, first at {seconds:.3} s)",
            self.description, self.count
        )
    }
}

#[cfg(test)]
mod tests;

//! Foreign bytes for the DHCP client: raw frames, and answers to its own questions.

use std::net::Ipv4Addr;
use std::time::Duration;

use connector_proto::time::Instant;
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    DhcpPacket, EthernetAddress, EthernetFrame, EthernetProtocol, EthernetRepr, IpProtocol,
    Ipv4Packet, Ipv4Repr, UdpPacket, UdpRepr,
};

use super::{Client, tame};
use crate::netd::options::OPTIONS_AT;

/// Runs a client on any bytes, as a fuzzer supplies them: as a frame, and as the options of an
/// offer, an acknowledgement and a refusal that answer its own question.
///
/// # Panics
/// If a lease is longer or shorter than it may be, or the client would be called without end.
pub fn fuzz_dhcp_client(data: &[u8]) {
    let mut now = Instant::from_micros(1_000_000);
    let mut client = Client::new(MAC, 1, Some("fuzz"), now);
    client.handle_timeout(now);
    let mut question = Vec::new();
    for kind in [RAW, OFFER, ACK, ACK, NAK] {
        question = last_sent(&mut client).unwrap_or(question);
        let frame = if kind == RAW {
            data.to_vec()
        } else {
            answer(&question, kind, data).unwrap_or_default()
        };
        client.handle_frame(now, frame);
    }
    for _ in 0..8 {
        let Some(at) = client.poll_timeout(now) else {
            break;
        };
        now = at.max(now + Duration::from_millis(1));
        client.handle_timeout(now);
        assert!(
            client.wire.outgoing.len() <= 2,
            "two frames in one go at most"
        );
        while client.poll_transmit().is_some() {}
    }
    while let Some(event) = client.poll_event() {
        check(&event);
    }
}

fn check(event: &connector_proto::local::FromNetd) {
    use crate::lease::{LEASE_S_MAX, LEASE_S_MIN};
    if let connector_proto::local::FromNetd::Lease(lease) = event {
        assert!(
            (LEASE_S_MIN..=LEASE_S_MAX).contains(&lease.lease_s),
            "lease time {}",
            lease.lease_s
        );
    }
}

fn last_sent(client: &mut Client) -> Option<Vec<u8>> {
    std::iter::from_fn(|| client.poll_transmit()).last()
}

/// The frame of a server that answers `question`, a frame of the client, with a message of this kind
/// and these options behind those that every answer needs.
#[must_use]
pub fn answer(question: &[u8], kind: u8, options: &[u8]) -> Option<Vec<u8>> {
    let ip = question.get(14..)?;
    let asked = ip.get(20 + 8..)?;
    let mut message = asked.get(..OPTIONS_AT)?.to_vec();
    message[0] = 2; // BOOTREPLY
    message[16..20].copy_from_slice(&ADDRESS.octets());
    message.extend([53, 1, kind, 54, 4]);
    message.extend(SERVER.octets());
    message.extend([1, 4, 255, 255, 255, 0]);
    // What does not fit a frame is cut off.
    message.extend(options.iter().take(1472 - message.len() - 1));
    message.push(255);
    Some(frame(&message))
}

/// Wraps a DHCP message of the server in its headers.
#[must_use]
pub fn frame(message: &[u8]) -> Vec<u8> {
    let udp = UdpRepr {
        src_port: 67,
        dst_port: 68,
    };
    let ip = Ipv4Repr {
        src_addr: SERVER,
        dst_addr: Ipv4Addr::BROADCAST,
        next_header: IpProtocol::Udp,
        payload_len: 8 + message.len(),
        hop_limit: 64,
    };
    let ethernet = EthernetRepr {
        src_addr: EthernetAddress(SERVER_MAC),
        dst_addr: EthernetAddress(MAC),
        ethertype: EthernetProtocol::Ipv4,
    };
    let checksums = ChecksumCapabilities::default();
    let mut bytes = vec![0; 14 + 20 + 8 + message.len()];
    let mut frame = EthernetFrame::new_unchecked(&mut bytes);
    ethernet.emit(&mut frame);
    let mut packet = Ipv4Packet::new_unchecked(frame.payload_mut());
    ip.emit(&mut packet, &checksums);
    udp.emit(
        &mut UdpPacket::new_unchecked(packet.payload_mut()),
        &SERVER.into(),
        &Ipv4Addr::BROADCAST.into(),
        message.len(),
        |payload| payload.copy_from_slice(message),
        &checksums,
    );
    debug_assert!(
        tame::find_message(&bytes)
            .and_then(|place| DhcpPacket::new_checked(bytes.get(place)?).ok())
            .is_some(),
        "a message that is long enough"
    );
    bytes
}

/// Kinds of messages (RFC 2132 section 9.6).
pub const OFFER: u8 = 2;
/// The server leases what was asked for.
pub const ACK: u8 = 5;
/// The server refuses what was asked for.
pub const NAK: u8 = 6;
/// No message of a server.
const RAW: u8 = 0;

/// The client's MAC address.
pub const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// The server's MAC address.
pub const SERVER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
/// What the server leases.
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);
/// The server.
pub const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);

//! The shape of an ICMPv6 message in an Ethernet frame, and its checksum (RFC 4443).

use std::net::Ipv6Addr;

/// Ethernet and IPv6 header.
pub const HEADERS_LEN: usize = 14 + 40;

/// An ICMPv6 message that came in, its headers and sum checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// Who sent it.
    pub source: Ipv6Addr,
    /// Hop limit at its arrival.
    pub hop_limit: u8,
    /// The message, its type first.
    pub body: &'a [u8],
}

/// Reads the headers of a frame that holds an ICMPv6 message directly behind the IPv6 header.
/// `None`: it holds something else, is cut off, or its sum is wrong.
#[must_use]
pub fn parse(frame: &[u8]) -> Option<Message<'_>> {
    let is_ipv6 = frame.get(12..14)? == ETHERTYPE && frame.get(14)? >> 4 == 6;
    let len = usize::from(u16::from_be_bytes([*frame.get(18)?, *frame.get(19)?]));
    let is_icmpv6 = *frame.get(20)? == NEXT_HEADER;
    let hop_limit = *frame.get(21)?;
    let source = address(frame.get(22..38)?)?;
    let destination = address(frame.get(38..HEADERS_LEN)?)?;
    let body = frame.get(HEADERS_LEN..HEADERS_LEN + len)?;
    let message = Message {
        source,
        hop_limit,
        body,
    };
    (is_ipv6 && is_icmpv6 && sum(source, destination, body) == 0).then_some(message)
}

/// The frame of a message of the link: hop limit 255. Its sum, bytes 2 and 3 of `body`, is made.
#[must_use]
pub fn emit(
    macs: ([u8; 6], [u8; 6]),
    source: Ipv6Addr,
    destination: Ipv6Addr,
    mut body: Vec<u8>,
) -> Vec<u8> {
    let (from, to) = macs;
    if let Some(field) = body.get_mut(2..4) {
        field.fill(0);
    }
    let sum = sum(source, destination, &body);
    if let Some(field) = body.get_mut(2..4) {
        field.copy_from_slice(&sum.to_be_bytes());
    }
    let len = u16::try_from(body.len()).unwrap_or(u16::MAX);
    let mut frame = Vec::with_capacity(HEADERS_LEN + body.len());
    frame.extend(to);
    frame.extend(from);
    frame.extend(ETHERTYPE);
    frame.extend([0x60, 0, 0, 0]);
    frame.extend(len.to_be_bytes());
    frame.extend([NEXT_HEADER, HOP_LIMIT_OF_THE_LINK]);
    frame.extend(source.octets());
    frame.extend(destination.octets());
    frame.extend(body);
    frame
}

/// The internet checksum over the pseudo header and the message; 0 over one whose sum is right.
fn sum(source: Ipv6Addr, destination: Ipv6Addr, body: &[u8]) -> u16 {
    let mut sum = u64::from(NEXT_HEADER) + u64::try_from(body.len()).unwrap_or(u64::MAX);
    for bytes in [&source.octets(), &destination.octets(), body] {
        for pair in bytes.chunks(2) {
            let low = pair.get(1).copied().unwrap_or(0);
            sum += u64::from(u16::from_be_bytes([pair[0], low]));
        }
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    #[expect(clippy::cast_possible_truncation, reason = "folded to 16 bits")]
    let folded = sum as u16;
    !folded
}

fn address(bytes: &[u8]) -> Option<Ipv6Addr> {
    Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?))
}

/// The hop limit of messages that no router forwards (RFC 4861 section 6.1).
pub const HOP_LIMIT_OF_THE_LINK: u8 = 255;
const ETHERTYPE: [u8; 2] = [0x86, 0xdd];
const NEXT_HEADER: u8 = 58;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_emitted_is_read_back() {
        for len in 4..20 {
            let body: Vec<u8> = (0..len).collect();
            let frame = frame(&body);
            let message = parse(&frame).unwrap();
            assert_eq!(message.source, Ipv6Addr::LOCALHOST);
            assert_eq!(message.hop_limit, 255);
            assert_eq!(message.body[..2], body[..2]);
            assert_eq!(message.body[4..], body[4..]);
        }
    }

    #[test]
    fn the_sum_is_the_one_of_a_known_frame() {
        // A router solicitation from :: to ff02::2.
        let body = vec![133, 0, 0, 0, 0, 0, 0, 0];
        let all_routers = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);
        let frame = emit(([0; 6], [0; 6]), Ipv6Addr::UNSPECIFIED, all_routers, body);
        assert_eq!(frame[56..58], [0x7b, 0xb8]);
    }

    #[test]
    fn any_wrong_bit_of_the_message_is_found() {
        let whole = frame(&[134, 0, 0, 0, 1, 2, 3, 4, 5]);
        for at in HEADERS_LEN..whole.len() {
            for bit in 0..8 {
                let mut wrong = whole.clone();
                wrong[at] ^= 1 << bit;
                assert_eq!(parse(&wrong), None, "byte {at}, bit {bit}");
            }
        }
    }

    #[test]
    fn a_frame_that_is_cut_off_holds_no_message() {
        let whole = frame(&[134, 0, 0, 0, 1, 2, 3, 4]);
        for len in 0..whole.len() {
            assert_eq!(parse(&whole[..len]), None, "{len}");
        }
    }

    #[test]
    fn bytes_behind_the_message_are_padding_of_the_frame() {
        let mut padded = frame(&[134, 0, 0, 0]);
        padded.extend([7; 6]);
        assert_eq!(parse(&padded).unwrap().body.len(), 4);
    }

    fn frame(body: &[u8]) -> Vec<u8> {
        let to = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
        emit(([1; 6], [2; 6]), Ipv6Addr::LOCALHOST, to, body.to_vec())
    }
}

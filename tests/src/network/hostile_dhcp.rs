//! What a hostile DHCP server, or a neighbour that plays one, sends.

use std::net::{Ipv4Addr, SocketAddrV4};

use super::address::{GATEWAY, GATEWAY_MAC, HOSTILE};
use super::datagram::Datagram;
use super::dhcp::{BROADCAST_MAC, CLIENT_PORT, HEAD_BYTES, MAGIC, SERVER_PORT};
use super::link::Chance;

/// Options that lead all packets to `target` through [`HOSTILE`]: classless routes (RFC 3442: 121,
/// and Microsoft's 249) and static routes (RFC 2132: 33).
pub fn routes_to(target: Ipv4Addr) -> Vec<(u8, Vec<u8>)> {
    let classless = [&[32], &target.octets()[..], &HOSTILE.octets()].concat();
    let halves = [&[1, 0], &HOSTILE.octets()[..], &[1, 128], &HOSTILE.octets()].concat();
    let classless = [classless, halves].concat();
    let fixed = [target.octets(), HOSTILE.octets()].concat();
    vec![(121, classless.clone()), (249, classless), (33, fixed)]
}

/// Options as long as they can be, as many as a frame holds.
pub fn huge_options() -> Vec<(u8, Vec<u8>)> {
    // A name, a path, a vendor's own, and one that nobody knows.
    [15, 17, 43, 224].map(|code| (code, vec![b'a'; 255])).into()
}

/// A copy of a server's message with a few bytes changed, cut off, or with random options.
pub fn damaged(message: &[u8], chance: &mut Chance) -> Vec<u8> {
    let mut copy = message.to_vec();
    let options_at = HEAD_BYTES + MAGIC.len();
    match chance.index(4) {
        0 => copy.truncate(chance.index(message.len())),
        1 => {
            copy.truncate(options_at);
            let mut options = vec![0; chance.index(600)];
            chance.fill(&mut options);
            copy.extend(options);
        }
        2 => {
            for _ in 0..4 {
                let at = options_at + chance.index(message.len() - options_at);
                chance.fill(&mut copy[at..=at]);
            }
        }
        _ => {
            // The transaction is another one, whatever else holds.
            chance.fill(&mut copy[4..8]);
            let at = chance.index(message.len());
            chance.fill(&mut copy[at..=at]);
        }
    }
    copy
}

/// A frame for the client's port, to everybody: random bytes, or a reply of random options.
pub fn random_frame(chance: &mut Chance) -> Vec<u8> {
    let mut payload = vec![0; chance.index(1200)];
    chance.fill(&mut payload);
    if chance.strikes(500) && payload.len() > HEAD_BYTES + MAGIC.len() {
        payload[..4].copy_from_slice(&[2, 1, 6, 0]);
        payload[HEAD_BYTES..HEAD_BYTES + MAGIC.len()].copy_from_slice(&MAGIC);
    }
    Datagram {
        from_mac: GATEWAY_MAC,
        to_mac: BROADCAST_MAC,
        from: SocketAddrV4::new(GATEWAY, SERVER_PORT).into(),
        to: SocketAddrV4::new(Ipv4Addr::BROADCAST, CLIENT_PORT).into(),
        payload,
    }
    .emit()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::address::EDGE;

    #[test]
    fn routes_are_in_the_form_of_their_standards() {
        let options = routes_to(*EDGE.ip());
        // RFC 3442: the length of the prefix, its significant bytes, the router.
        assert_eq!(options[0].0, 121);
        assert_eq!(options[0].1[..9], [32, 203, 0, 113, 10, 10, 77, 0, 66]);
        assert_eq!(options[0].1[9..15], [1, 0, 10, 77, 0, 66]);
        assert_eq!(options[2], (33, vec![203, 0, 113, 10, 10, 77, 0, 66]));
    }

    #[test]
    fn random_frames_are_datagrams_for_clients_and_differ() {
        let mut chance = Chance::new(3);
        let frames: Vec<_> = (0..100).map(|_| random_frame(&mut chance)).collect();
        for frame in &frames {
            assert_eq!(Datagram::parse(frame).unwrap().to.port(), CLIENT_PORT);
        }
        assert_ne!(frames[0], frames[1]);
    }

    #[test]
    fn a_damaged_copy_is_never_the_message() {
        let message: Vec<u8> = (0..=255).cycle().take(300).collect();
        let mut chance = Chance::new(5);
        assert!((0..1000).all(|_| damaged(&message, &mut chance) != message));
    }
}

//! A time server (RFC 5905, the server half of SNTP) that may lie by a constant, refuse, or send rubbish.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::link::Chance;

/// The port of time servers.
pub const PORT: u16 = 123;

/// A time server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TimeServer {
    /// What it adds to the host's clock, in milliseconds.
    pub offset_ms: i64,
    /// How it answers.
    pub manner: Manner,
}

/// How a time server answers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Manner {
    /// As it should.
    #[default]
    Honest,
    /// With a kiss-o'-death of this code, `DENY` for one (RFC 5905 section 7.4).
    Kiss([u8; 4]),
    /// With so many packets that are none, and no other.
    Rubbish {
        /// How many to each request.
        packets: u32,
        /// Time from one to the next.
        gap: Duration,
    },
    /// Not at all.
    Silent,
}

impl TimeServer {
    /// One that is right.
    pub const HONEST: Self = Self {
        offset_ms: 0,
        manner: Manner::Honest,
    };

    /// One that lies by so many milliseconds.
    pub const fn lying_by_ms(offset_ms: i64) -> Self {
        Self {
            offset_ms,
            manner: Manner::Honest,
        }
    }

    /// One that answers in this manner.
    pub const fn answering(manner: Manner) -> Self {
        Self {
            offset_ms: 0,
            manner,
        }
    }

    /// What it sends for a request, each with the time from the request on.
    pub fn answers(&self, request: &[u8], chance: &mut Chance) -> Vec<(Duration, Vec<u8>)> {
        let Some(mut right) = answer(request, shifted_clock(self.offset_ms)) else {
            return Vec::new();
        };
        match self.manner {
            Manner::Honest => vec![(Duration::ZERO, right)],
            Manner::Kiss(code) => {
                right[1] = STRATUM_KISS;
                right[12..16].copy_from_slice(&code);
                vec![(Duration::ZERO, right)]
            }
            Manner::Rubbish { packets, gap } => (0..packets)
                .map(|index| (gap * index, rubbish(&right, index, chance)))
                .collect(),
            Manner::Silent => Vec::new(),
        }
    }
}

/// A packet that a client must not take for the answer, made from the one that it should.
fn rubbish(right: &[u8], index: u32, chance: &mut Chance) -> Vec<u8> {
    let mut packet = right.to_vec();
    match index % 8 {
        // Another request's origin, by one bit and altogether.
        0 => packet[31] ^= 1,
        1 => chance.fill(&mut packet[24..32]),
        // A client's packet, a broadcast, an unknown version.
        2 => packet[0] = packet[0] & !7 | MODE_CLIENT,
        3 => packet[0] = packet[0] & !7 | MODE_BROADCAST,
        4 => packet[0] &= 7,
        // The clock was never set.
        5 => packet[0] |= LEAP_UNKNOWN,
        6 => packet.truncate(usize::try_from(index / 8).unwrap_or(0) % PACKET_BYTES),
        _ => chance.fill(&mut packet),
    }
    packet
}

/// The answer to a client's request received at `now`. None when it is no request.
pub fn answer(request: &[u8], now: SystemTime) -> Option<Vec<u8>> {
    let request = request.first_chunk::<PACKET_BYTES>()?;
    let version = (request[0] >> 3) & 7;
    if request[0] & 7 != MODE_CLIENT || !(3..=4).contains(&version) {
        return None;
    }
    let now = timestamp(now);
    let last_set = now.wrapping_sub(SECONDS_SINCE_SET << 32);
    let mut packet = [0; PACKET_BYTES];
    packet[0] = version << 3 | MODE_SERVER;
    packet[1] = STRATUM;
    packet[2] = request[2];
    packet[3] = PRECISION_LOG2.cast_unsigned();
    packet[4..8].copy_from_slice(&ROOT_DELAY);
    packet[8..12].copy_from_slice(&ROOT_DISPERSION);
    packet[12..16].copy_from_slice(&REFERENCE_ADDRESS);
    packet[16..24].copy_from_slice(&last_set.to_be_bytes());
    // The client's transmit time is echoed, so that it knows its own request.
    packet[24..32].copy_from_slice(&request[40..48]);
    packet[32..40].copy_from_slice(&now.to_be_bytes());
    packet[40..48].copy_from_slice(&now.to_be_bytes());
    Some(packet.to_vec())
}

/// The host's clock moved by `offset_ms` milliseconds.
pub fn shifted_clock(offset_ms: i64) -> SystemTime {
    let offset = Duration::from_millis(offset_ms.unsigned_abs());
    let now = SystemTime::now();
    let shifted = if offset_ms < 0 {
        now.checked_sub(offset)
    } else {
        now.checked_add(offset)
    };
    shifted.unwrap_or(now)
}

/// 32 bits of seconds since 1900, modulo an era of 136 years, and 32 bits of fraction.
fn timestamp(time: SystemTime) -> u64 {
    let since_1970 = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = since_1970.as_secs().wrapping_add(SECONDS_1900_TO_1970);
    let fraction = (u64::from(since_1970.subsec_nanos()) << 32) / 1_000_000_000;
    seconds << 32 | fraction
}

const PACKET_BYTES: usize = 48;
const MODE_CLIENT: u8 = 3;
const MODE_SERVER: u8 = 4;
const MODE_BROADCAST: u8 = 5;
const LEAP_UNKNOWN: u8 = 0xc0;
const STRATUM_KISS: u8 = 0;
/// One step from a reference clock.
const STRATUM: u8 = 2;
/// About a microsecond.
const PRECISION_LOG2: i8 = -20;
/// 1 ms and 2 ms in units of 1/65536 s.
const ROOT_DELAY: [u8; 4] = [0, 0, 0, 0x41];
const ROOT_DISPERSION: [u8; 4] = [0, 0, 0, 0x83];
/// The server this one pretends to follow.
const REFERENCE_ADDRESS: [u8; 4] = [203, 0, 113, 123];
const SECONDS_SINCE_SET: u64 = 16;
const SECONDS_1900_TO_1970: u64 = 2_208_988_800;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_echoes_the_request_and_tells_the_time() {
        let mut request = [0; PACKET_BYTES];
        request[0] = 0x23;
        request[40..].copy_from_slice(b"originxx");
        // RFC 5905: 1 January 2000 is 3,155,673,600 s after 1900.
        let packet = answer(
            &request,
            UNIX_EPOCH + Duration::from_millis(946_684_800_500),
        )
        .unwrap();
        assert_eq!(packet[..2], [0x24, STRATUM]);
        assert_eq!(&packet[24..32], b"originxx");
        assert_eq!(
            packet[40..48],
            (3_155_673_600_u64 << 32 | 1 << 31).to_be_bytes()
        );
    }

    #[test]
    fn each_manner_answers_in_its_own_way() {
        let mut request = [0; PACKET_BYTES];
        request[0] = 0x23;
        request[40..].copy_from_slice(b"originxx");
        let chance = &mut Chance::new(1);
        let mut answers = |manner| TimeServer::answering(manner).answers(&request, chance);
        assert_eq!(answers(Manner::Honest).len(), 1);
        assert_eq!(answers(Manner::Silent), []);
        let kiss = &answers(Manner::Kiss(*b"DENY"))[0].1;
        assert_eq!((kiss[1], &kiss[12..16]), (0, &b"DENY"[..]));
        let rubbish = answers(Manner::Rubbish {
            packets: 800,
            gap: Duration::from_millis(1),
        });
        assert_eq!(rubbish.len(), 800);
        assert_eq!(rubbish[799].0, Duration::from_millis(799));
        let is_an_answer = |packet: &[u8]| {
            packet.len() == PACKET_BYTES && packet[0] == 0x24 && packet[24..32] == request[40..]
        };
        assert!(!rubbish.iter().any(|(_, packet)| is_an_answer(packet)));
    }

    #[test]
    fn what_is_no_request_is_not_answered() {
        assert_eq!(answer(&[0x23; 47], UNIX_EPOCH), None);
        assert_eq!(answer(&[0x24; PACKET_BYTES], UNIX_EPOCH), None);
    }
}

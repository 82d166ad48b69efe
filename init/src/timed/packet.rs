//! NTP packets (RFC 5905 section 7.3), client mode, by hand: 48 bytes.

use std::fmt;

/// Length of a packet without extensions, which is all that is sent and looked at.
pub const PACKET_LEN: usize = 48;

/// Largest root distance that is believed: half the root delay plus the root dispersion, in
/// microseconds. RFC 5905's MAXDIST is 1 s; half a second more for servers that just started.
pub const ROOT_DISTANCE_MAX_US: u32 = 1_500_000;

/// A server's answer that can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply {
    /// When the server got the request, microseconds since 1970.
    pub received_us: i64,
    /// When it sent the answer, microseconds since 1970.
    pub sent_us: i64,
    /// Half its root delay plus its root dispersion, in microseconds.
    pub root_distance_us: u32,
    /// Its stratum, 1 to 15.
    pub stratum: u8,
}

/// Why an answer is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyError {
    /// The server says it does not serve us.
    Denied,
    /// It is not an answer to our request: late, doubled or forged.
    Origin,
    /// The server does not know the time.
    NotSynchronised,
    /// Not an NTP answer.
    NotNtp,
    /// The server says we ask too often.
    RateExceeded,
    /// The server is too far from its reference clock: microseconds.
    RootDistance(u32),
    /// Its times cannot be: sent before received.
    Timestamps,
}

impl fmt::Display for ReplyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Denied => f.write_str("the server does not serve this machine"),
            Self::Origin => f.write_str("not an answer to the request"),
            Self::NotSynchronised => f.write_str("the server does not know the time"),
            Self::NotNtp => f.write_str("not an NTP answer"),
            Self::RateExceeded => f.write_str("the server is asked too often"),
            Self::RootDistance(us) => {
                write!(
                    f,
                    "the server is {us} us from its clock, more than {ROOT_DISTANCE_MAX_US}"
                )
            }
            Self::Timestamps => f.write_str("the answer was sent before the request came"),
        }
    }
}

/// A client request. `nonce` stands where the time of sending would: it comes back in the answer,
/// proves that the answer belongs to the request, and tells nobody what this machine's clock says.
#[must_use]
pub fn request(nonce: [u8; 8]) -> [u8; PACKET_LEN] {
    let mut packet = [0; PACKET_LEN];
    packet[0] = (VERSION << 3) | MODE_CLIENT;
    packet[TRANSMIT..TRANSMIT + 8].copy_from_slice(&nonce);
    packet
}

/// Parses the answer to a request with this nonce, on a machine whose image was built at `built_s`
/// (seconds since 1970). Extensions and authenticators are not looked at.
///
/// # Errors
/// If it is none, or the server's time cannot be used.
pub fn parse(packet: &[u8], nonce: [u8; 8], built_s: u32) -> Result<Reply, ReplyError> {
    let packet: &[u8; PACKET_LEN] = packet.first_chunk().ok_or(ReplyError::NotNtp)?;
    let version = (packet[0] >> 3) & 7;
    if packet[0] & 7 != MODE_SERVER || !(3..=4).contains(&version) {
        return Err(ReplyError::NotNtp);
    }
    if bytes8(packet, ORIGIN) != nonce {
        return Err(ReplyError::Origin);
    }
    let stratum = packet[1];
    if stratum == 0 {
        return Err(match &packet[REFERENCE_ID..REFERENCE_ID + 4] {
            b"DENY" | b"RSTR" => ReplyError::Denied,
            b"RATE" => ReplyError::RateExceeded,
            _ => ReplyError::NotSynchronised,
        });
    }
    if stratum > STRATUM_MAX || packet[0] >> 6 == LEAP_ALARM {
        return Err(ReplyError::NotSynchronised);
    }
    let root_distance_us = (short_micros(packet, ROOT_DELAY) / 2)
        .saturating_add(short_micros(packet, ROOT_DISPERSION));
    if root_distance_us > ROOT_DISTANCE_MAX_US {
        return Err(ReplyError::RootDistance(root_distance_us));
    }
    let time = |at| unix_micros(bytes8(packet, at), built_s).ok_or(ReplyError::NotSynchronised);
    let (received_us, sent_us) = (time(RECEIVE)?, time(TRANSMIT)?);
    if sent_us < received_us {
        return Err(ReplyError::Timestamps);
    }
    Ok(Reply {
        received_us,
        sent_us,
        root_distance_us,
        stratum,
    })
}

/// An NTP timestamp as microseconds since 1970; `None` for zero, which means "unknown".
///
/// Seconds count from 1900 and wrap in February 2036 (RFC 5905 section 6). Of the eras, the one is
/// meant that brings the time within 68 years of the image's build: a server whose clock stands in
/// the past says the past, and not a time after 2100.
fn unix_micros(timestamp: [u8; 8], built_s: u32) -> Option<i64> {
    let timestamp = u64::from_be_bytes(timestamp);
    if timestamp == 0 {
        return None;
    }
    let built_s = i64::from(built_s);
    let seconds = i64::try_from(timestamp >> 32).ok()? - NTP_1970;
    let since_build = (seconds - built_s + ERA_S / 2).rem_euclid(ERA_S) - ERA_S / 2;
    let micros_of_second = i64::try_from(((timestamp & 0xffff_ffff) * 1_000_000) >> 32).ok()?;
    Some((built_s + since_build) * 1_000_000 + micros_of_second)
}

/// NTP's short format, 16 bits of seconds and 16 of fraction, in microseconds.
fn short_micros(packet: &[u8; PACKET_LEN], at: usize) -> u32 {
    let mut bytes = [0; 4];
    bytes.copy_from_slice(&packet[at..at + 4]);
    let micros = (u64::from(u32::from_be_bytes(bytes)) * 1_000_000) >> 16;
    u32::try_from(micros).unwrap_or(u32::MAX)
}

fn bytes8(packet: &[u8; PACKET_LEN], at: usize) -> [u8; 8] {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&packet[at..at + 8]);
    bytes
}

/// Parses any bytes, as a fuzzer supplies them.
pub fn fuzz_ntp(data: &[u8]) {
    let nonce = data
        .get(ORIGIN..ORIGIN + 8)
        .and_then(|bytes| bytes.try_into().ok());
    if let Ok(reply) = parse(data, nonce.unwrap_or_default(), BUILT_S) {
        assert!(reply.sent_us >= reply.received_us, "an answer takes time");
        assert!(
            (1..=STRATUM_MAX).contains(&reply.stratum),
            "only synchronised servers are used"
        );
        assert!(
            reply.root_distance_us <= ROOT_DISTANCE_MAX_US,
            "only close servers are used"
        );
    }
}

const VERSION: u8 = 4;
const MODE_CLIENT: u8 = 3;
const MODE_SERVER: u8 = 4;
const LEAP_ALARM: u8 = 3;
const STRATUM_MAX: u8 = 15;
/// Seconds from 1900 to 1970.
const NTP_1970: i64 = 2_208_988_800;
/// Seconds of an era.
const ERA_S: i64 = 1 << 32;
/// 2024-01-01: when the image of the fuzzer and the tests was built.
const BUILT_S: u32 = 1_704_067_200;
// Byte offsets of the fields.
const ROOT_DELAY: usize = 4;
const ROOT_DISPERSION: usize = 8;
const REFERENCE_ID: usize = 12;
const ORIGIN: usize = 24;
const RECEIVE: usize = 32;
const TRANSMIT: usize = 40;

#[cfg(test)]
mod tests {
    use super::*;

    const NONCE: [u8; 8] = *b"nonce123";

    #[test]
    fn a_request_says_nothing_but_version_mode_and_nonce() {
        let packet = request(NONCE);
        assert_eq!(packet[0], 0b00_100_011);
        assert_eq!(packet[1..40], [0; 39]);
        assert_eq!(packet[40..], NONCE);
    }

    #[test]
    fn a_good_answer_is_read() {
        let reply = parse(&answer(), NONCE, BUILT_S).unwrap();
        assert_eq!(reply.received_us, 1_767_225_600_500_000); // 2026-01-01T00:00:00.5Z
        assert_eq!(reply.sent_us, 1_767_225_600_750_000);
        assert_eq!(reply.root_distance_us, 500_000 / 2 + 250_000);
        assert_eq!(reply.stratum, 2);
    }

    #[test]
    fn each_flaw_of_an_answer_has_its_name() {
        type Change = fn(&mut Vec<u8>);
        let cases: [(Change, ReplyError); 14] = [
            (|p| p.truncate(47), ReplyError::NotNtp),
            (|p| p.clear(), ReplyError::NotNtp),
            (|p| p[0] = 0b00_100_011, ReplyError::NotNtp), // our own request, reflected
            (|p| p[0] = 0b00_111_100, ReplyError::NotNtp), // version 7
            (|p| p[ORIGIN] ^= 1, ReplyError::Origin),
            (|p| p[0] |= 0b11_000_000, ReplyError::NotSynchronised),
            (|p| p[1] = 16, ReplyError::NotSynchronised),
            (|p| p[1] = 0, ReplyError::NotSynchronised),
            (|p| kiss(p, b"DENY"), ReplyError::Denied),
            (|p| kiss(p, b"RSTR"), ReplyError::Denied),
            (|p| kiss(p, b"RATE"), ReplyError::RateExceeded),
            (
                |p| p[ROOT_DISPERSION..ROOT_DISPERSION + 4].fill(0xff),
                ReplyError::RootDistance(u32::MAX),
            ),
            (|p| p[TRANSMIT..].fill(0), ReplyError::NotSynchronised),
            (|p| p[TRANSMIT + 4] = 0, ReplyError::Timestamps),
        ];
        for (number, (change, error)) in cases.into_iter().enumerate() {
            let mut packet = answer();
            change(&mut packet);
            assert_eq!(parse(&packet, NONCE, BUILT_S), Err(error), "case {number}");
        }
    }

    #[test]
    fn a_kiss_with_a_foreign_origin_is_not_heeded() {
        let mut packet = answer();
        kiss(&mut packet, b"DENY");
        packet[ORIGIN] ^= 1;
        assert_eq!(parse(&packet, NONCE, BUILT_S), Err(ReplyError::Origin));
    }

    #[test]
    fn timestamps_go_on_after_2036() {
        assert_eq!(
            unix_micros([0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0], BUILT_S),
            Some(2_085_978_495_000_000)
        );
        assert_eq!(
            unix_micros([0, 0, 0, 1, 0, 0, 0, 0], BUILT_S),
            Some(2_085_978_497_000_000)
        );
    }

    #[test]
    fn a_server_whose_clock_stands_in_the_past_is_of_the_past_and_not_of_the_next_era() {
        for unix_s in [0, 946_684_800, 1_451_606_400, 1_704_067_199, 3_800_000_000] {
            let seconds = u32::try_from((unix_s + NTP_1970) % ERA_S).unwrap();
            let mut timestamp = [0, 0, 0, 0, 0x80, 0, 0, 0];
            timestamp[..4].copy_from_slice(&seconds.to_be_bytes());
            assert_eq!(
                unix_micros(timestamp, BUILT_S),
                Some(unix_s * 1_000_000 + 500_000)
            );
        }
    }

    #[test]
    fn no_bytes_make_the_parser_panic() {
        fuzz_ntp(&[]);
        fuzz_ntp(&answer());
        let mut bytes = [0_u8; 64];
        let mut state = 1_u32;
        for _ in 0..20_000 {
            for byte in &mut bytes {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                *byte = state.to_be_bytes()[0];
            }
            bytes[0] = 0b00_100_100;
            fuzz_ntp(&bytes);
        }
    }

    /// An answer of a stratum 2 server at 2026-01-01T00:00:00.5Z.
    fn answer() -> Vec<u8> {
        let mut packet = vec![0; PACKET_LEN];
        packet[0] = 0b00_100_100;
        packet[1] = 2;
        packet[ROOT_DELAY + 2] = 0x80;
        packet[ROOT_DISPERSION + 2] = 0x40;
        packet[ORIGIN..ORIGIN + 8].copy_from_slice(&NONCE);
        let seconds = u32::try_from(1_767_225_600 + NTP_1970)
            .unwrap()
            .to_be_bytes();
        packet[RECEIVE..RECEIVE + 4].copy_from_slice(&seconds);
        packet[RECEIVE + 4] = 0x80;
        packet[TRANSMIT..TRANSMIT + 4].copy_from_slice(&seconds);
        packet[TRANSMIT + 4] = 0xc0;
        packet
    }

    fn kiss(packet: &mut [u8], code: &[u8; 4]) {
        packet[1] = 0;
        packet[REFERENCE_ID..REFERENCE_ID + 4].copy_from_slice(code);
    }
}

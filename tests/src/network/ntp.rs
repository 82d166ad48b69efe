//! A time server (RFC 5905, the server half of SNTP) that may lie by a constant.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The port of time servers.
pub const PORT: u16 = 123;

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
    fn what_is_no_request_is_not_answered() {
        assert_eq!(answer(&[0x23; 47], UNIX_EPOCH), None);
        assert_eq!(answer(&[0x24; PACKET_BYTES], UNIX_EPOCH), None);
    }
}

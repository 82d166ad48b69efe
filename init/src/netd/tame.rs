//! Finds the DHCP message in a frame, and makes its times bearable before the client reads them.
//!
//! A server that leases for a second, or wants every lease renewed at once, would have the client
//! ask without end. The client is shown times within [`LEASE_S_MIN`] to [`LEASE_S_MAX`], and renewal
//! times no shorter than [`RENEW_S_MIN`].

use std::ops::Range;

use super::options::{LEASE_TIME, PAD, Place, REBINDING_TIME, RENEWAL_TIME, places};
use crate::lease::{LEASE_S_MAX, LEASE_S_MIN};

/// Shortest renewal time a server may set, in seconds: half of the shortest lease.
const RENEW_S_MIN: u32 = LEASE_S_MIN / 2;

/// Where the DHCP message is in an Ethernet frame, if it is a datagram to the DHCP client's port.
#[must_use]
pub fn find_message(frame: &[u8]) -> Option<Range<usize>> {
    let ip = frame.get(ETHERNET_LEN..)?;
    let is_ipv4 = frame.get(12..14)? == [0x08, 0x00];
    let header_len = usize::from(ip.first()? & 0xf) * 4;
    let udp = ip.get(header_len..)?;
    let is_udp = *ip.get(9)? == 17;
    let is_to_client = udp.get(2..4)? == [0, 68];
    let len = usize::from(u16::from_be_bytes([*udp.get(4)?, *udp.get(5)?]));
    let start = ETHERNET_LEN + header_len + UDP_LEN;
    let end = ETHERNET_LEN + header_len + len;
    (is_ipv4 && is_udp && is_to_client && start <= end && end <= frame.len()).then_some(start..end)
}

/// Clamps the lease time of the message at `place`, and takes renewal times that are too short
/// out: the client then makes them of the lease time.
pub fn clamp_times(frame: &mut [u8], place: Range<usize>) {
    let Some(message) = frame.get_mut(place.clone()) else {
        return;
    };
    let options = places(message);
    let is_changed = clamp_lease(message, &options) | drop_short_renewals(message, &options);
    // The sum is not right any more; zero says that there is none (RFC 768).
    if is_changed && let Some(sum) = frame.get_mut(place.start - 2..place.start) {
        sum.fill(0);
    }
}

fn clamp_lease(message: &mut [u8], options: &[Place]) -> bool {
    let mut is_changed = false;
    for option in options.iter().filter(|option| option.kind == LEASE_TIME) {
        let Some(lease_s) = seconds(message, option) else {
            continue;
        };
        let clamped = lease_s.clamp(LEASE_S_MIN, LEASE_S_MAX);
        if clamped != lease_s
            && let Some(value) = message.get_mut(option.value.clone())
        {
            value.copy_from_slice(&clamped.to_be_bytes());
            is_changed = true;
        }
    }
    is_changed
}

fn drop_short_renewals(message: &mut [u8], options: &[Place]) -> bool {
    let is_renewal = |option: &&Place| matches!(option.kind, RENEWAL_TIME | REBINDING_TIME);
    let renewals: Vec<_> = options.iter().filter(is_renewal).collect();
    let is_short = |option: &&Place| seconds(message, option).is_none_or(|s| s < RENEW_S_MIN);
    if !renewals.iter().any(is_short) {
        return false;
    }
    for option in renewals {
        if let Some(bytes) = message.get_mut(option.value.start - 2..option.value.end) {
            bytes.fill(PAD);
        }
    }
    true
}

fn seconds(message: &[u8], option: &Place) -> Option<u32> {
    let value = message.get(option.value.clone())?;
    Some(u32::from_be_bytes(value.try_into().ok()?))
}

const ETHERNET_LEN: usize = 14;
const UDP_LEN: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netd::options::{OPTIONS_AT, read};

    #[test]
    fn lease_times_are_clamped_where_they_are() {
        for (given, shown) in [(0, 60), (1, 60), (60, 60), (3600, 3600), (u32::MAX, 86_400)] {
            let mut frame = frame(&option(LEASE_TIME, given));
            let place = find_message(&frame).unwrap();
            clamp_times(&mut frame, place.clone());
            assert_eq!(read(&frame[place]).lease_s, shown, "{given}");
        }
    }

    #[test]
    fn renewal_times_that_are_too_short_are_taken_out_together() {
        for (t1, t2, is_kept) in [
            (30, 50, true),
            (0, 1, false),
            (29, 1000, false),
            (100, 5, false),
        ] {
            let mut options = option(RENEWAL_TIME, t1);
            options.extend(option(REBINDING_TIME, t2));
            options.extend([12, 1, b'm']);
            let mut frame = frame(&options);
            let place = find_message(&frame).unwrap();
            clamp_times(&mut frame, place.clone());
            let message = &frame[place];
            assert_eq!(places(message).len(), if is_kept { 3 } else { 1 });
            assert_eq!(read(message).hostname.as_deref(), Some("m"));
        }
    }

    #[test]
    fn a_message_is_unchanged_with_its_sum_unless_it_has_to_be_changed() {
        let honest = frame(&option(LEASE_TIME, 3600));
        let mut shown = honest.clone();
        let place = find_message(&honest).unwrap();
        clamp_times(&mut shown, place.clone());
        assert_eq!(shown, honest);
        let mut hostile = frame(&option(LEASE_TIME, 1));
        clamp_times(&mut hostile, place);
        assert_eq!(hostile[40..42], [0, 0]);
    }

    #[test]
    fn frames_that_hold_no_message_are_left_alone() {
        let whole = frame(&[]);
        for (at, byte) in [(12, 0x86), (23, 6), (37, 67), (38, 0xff), (39, 7)] {
            let mut other = whole.clone();
            other[at] = byte;
            assert_eq!(find_message(&other), None, "byte {at}");
        }
        for len in 0..42 {
            assert_eq!(find_message(&whole[..len]), None, "{len}");
        }
    }

    fn option(kind: u8, seconds: u32) -> Vec<u8> {
        let mut option = vec![kind, 4];
        option.extend(seconds.to_be_bytes());
        option
    }

    /// A frame whose sum is not checked here.
    fn frame(options: &[u8]) -> Vec<u8> {
        let len = u16::try_from(UDP_LEN + OPTIONS_AT + options.len()).unwrap();
        let mut frame = vec![0; 12];
        frame.extend([8, 0, 0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17]);
        frame.extend([0; 10]);
        frame.extend([0, 67, 0, 68]);
        frame.extend(len.to_be_bytes());
        frame.extend([0xab, 0xcd]);
        frame.extend([0; OPTIONS_AT]);
        frame.extend(options);
        frame
    }
}

//! The MAC address that a descriptor pins to the network card.

use std::fmt;
use std::str::FromStr;

use crate::value::{Problem, ValueError};

/// The addresses that VMware leaves to administrators begin so; see
/// [`MacAddress::is_vmware_static_range`].
pub const VMWARE_STATIC_PREFIX: [u8; 3] = [0x00, 0x50, 0x56];
/// Largest fourth octet in that range.
pub const VMWARE_STATIC_FOURTH_MAX: u8 = 0x3f;

/// A MAC address: its six octets in the order in which they are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MacAddress(pub [u8; 6]);

impl MacAddress {
    /// The six octets.
    #[must_use]
    pub const fn octets(self) -> [u8; 6] {
        self.0
    }

    /// Whether this names a group of cards (broadcast included), which no card can have.
    #[must_use]
    pub const fn is_multicast(self) -> bool {
        self.0[0] & 1 != 0
    }

    /// Whether a card can have this address: not of a group, and not all zeros.
    #[must_use]
    pub const fn is_unicast(self) -> bool {
        !self.is_multicast() && u64::from_be_bytes(self.padded()) != 0
    }

    /// Whether vSphere powers on a machine that was given this address by hand:
    /// 00:50:56:00:00:00 to 00:50:56:3f:ff:ff.
    #[must_use]
    pub const fn is_vmware_static_range(self) -> bool {
        let [a, b, c, fourth, ..] = self.0;
        let [x, y, z] = VMWARE_STATIC_PREFIX;
        a == x && b == y && c == z && fourth <= VMWARE_STATIC_FOURTH_MAX
    }

    const fn padded(self) -> [u8; 8] {
        let [a, b, c, d, e, f] = self.0;
        [0, 0, a, b, c, d, e, f]
    }
}

/// Six pairs of hexadecimal digits with colons or dashes between them, white space around ignored.
impl FromStr for MacAddress {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let error = || ValueError::new(text, Problem::Mac);
        let trimmed = text.trim_ascii();
        let separator = if trimmed.contains('-') { '-' } else { ':' };
        let mut pairs = trimmed.split(separator);
        let mut octets = [0; 6];
        for octet in &mut octets {
            *octet = pairs.next().and_then(pair).ok_or_else(error)?;
        }
        if pairs.next().is_some() {
            return Err(error());
        }
        Ok(Self(octets))
    }
}

/// Lower case with colons: `00:50:56:01:02:03`.
impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// The octet of two hexadecimal digits: `from_str_radix` would also take a sign.
fn pair(text: &str) -> Option<u8> {
    let digits = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    digits.then(|| u8::from_str_radix(text, 16).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_address_prints_in_lower_case_with_colons() {
        for text in [
            "00:50:56:0A:0b:3F",
            "00-50-56-0a-0b-3f",
            " 00:50:56:0a:0b:3f\n",
        ] {
            let mac: MacAddress = text.parse().unwrap();
            assert_eq!(mac.to_string(), "00:50:56:0a:0b:3f");
        }
    }

    #[test]
    fn what_is_not_six_pairs_is_refused() {
        for text in [
            "",
            "00:50:56:01:02",
            "00:50:56:01:02:03:04",
            "00:50:56:01:02:3",
            "00:50:56:01:02:+3",
            "00:50:56:01:02:0g",
            "00:50-56:01:02:03",
            "005056010203",
            "00:50:56:01:02:é",
        ] {
            let error = text.parse::<MacAddress>().unwrap_err().to_string();
            assert!(error.contains("type six pairs"), "{text}: {error}");
        }
    }

    #[test]
    fn the_range_of_vmware_ends_at_3f() {
        let fourth = |octet| MacAddress([0x00, 0x50, 0x56, octet, 0xff, 0xff]);
        assert!(fourth(0x00).is_vmware_static_range());
        assert!(fourth(0x3f).is_vmware_static_range());
        assert!(!fourth(0x40).is_vmware_static_range());
        assert!(!MacAddress([0x00, 0x0c, 0x29, 0, 0, 1]).is_vmware_static_range());
    }

    #[test]
    fn groups_and_zeros_are_no_address_of_a_card() {
        let multicast = MacAddress([0x01, 0x00, 0x5e, 0, 0, 1]);
        assert!(multicast.is_multicast() && !multicast.is_unicast());
        assert!(MacAddress([0xff; 6]).is_multicast());
        assert!(!MacAddress([0; 6]).is_unicast() && !MacAddress([0; 6]).is_multicast());
        assert!(MacAddress([0, 0, 0, 0, 0, 1]).is_unicast());
    }

    proptest! {
        #[test]
        fn every_address_parses_as_it_prints(octets: [u8; 6]) {
            let mac = MacAddress(octets);
            prop_assert_eq!(mac.to_string().parse(), Ok(mac));
        }
    }
}

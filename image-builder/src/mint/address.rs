//! Pure: which MAC address a connector gets.
//!
//! All minted addresses are in 00:50:56:00:00:00 to 00:50:56:3f:ff:ff, the range VMware keeps for
//! addresses set by hand: ESXi refuses to power on a machine with another address of its prefix,
//! and every other hypervisor takes these as well. So one rule does for all of them.

use std::fmt;

use ovf::mac::MacAddress;
use ovf::name::ConnectorName;
use sha2::{Digest, Sha256};

/// How many addresses there are to mint.
pub const ADDRESSES: u32 = 1 << 22;

/// The address of `name`: its digest says where the search begins, and the first address that is
/// not taken is the one. Nothing when all are taken.
#[must_use]
pub fn derive(name: &ConnectorName, is_taken: impl Fn(MacAddress) -> bool) -> Option<MacAddress> {
    let start = start(name);
    (0..ADDRESSES)
        .map(|counter| at((start + counter) % ADDRESSES))
        .find(|mac| !is_taken(*mac))
}

/// Checks an address that a person chose.
///
/// # Errors
/// When a hypervisor would refuse it, with the reason.
pub const fn check(mac: MacAddress) -> Result<MacAddress, AddressError> {
    let reason = match mac.0 {
        [first, ..] if first & 1 == 1 => Reason::Multicast,
        [0x00, 0x50, 0x56, 0x00..=0x3f, ..] => return Ok(mac),
        [0x00, 0x50, 0x56, 0x80..=0xbf, ..] => Reason::AssignedByVcenter,
        [0x00, 0x50, 0x56, ..] => Reason::KeptByVmware,
        [0x00, 0x0c, 0x29, ..] => Reason::AssignedByHost,
        _ => Reason::OtherVendor,
    };
    Err(AddressError { mac, reason })
}

/// An address that cannot be pinned. Its text names the value, the range and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddressError {
    mac: MacAddress,
    reason: Reason,
}

/// Why an address is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reason {
    /// 00:0c:29.
    AssignedByHost,
    /// 00:50:56:80 to bf.
    AssignedByVcenter,
    /// The rest of 00:50:56.
    KeptByVmware,
    /// The group bit is set.
    Multicast,
    /// Any other prefix.
    OtherVendor,
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reason = match self.reason {
            Reason::AssignedByHost => {
                "is of the range 00:0c:29 from which ESXi hosts assign by themselves, and they \
                 refuse to power on a machine where it was set by hand"
            }
            Reason::AssignedByVcenter => {
                "is of the range 00:50:56:80 to bf from which vCenter assigns by itself, so that \
                 another machine may get it too"
            }
            Reason::KeptByVmware => {
                "has VMware's prefix with a fourth byte above 3f, and ESXi refuses to power on a \
                 machine where it was set by hand"
            }
            Reason::Multicast => {
                "is a multicast address (the lowest bit of its first byte is set), which no \
                 network card can have"
            }
            Reason::OtherVendor => {
                "is outside of the one range that every hypervisor lets people choose from"
            }
        };
        write!(
            f,
            "MAC {} {reason}; choose one from 00:50:56:00:00:00 to 00:50:56:3f:ff:ff, or leave \
             --mac out and the name decides",
            self.mac
        )
    }
}

impl std::error::Error for AddressError {}

/// Where the search for the address of `name` begins.
fn start(name: &ConnectorName) -> u32 {
    let digest = Sha256::new()
        .chain_update(LABEL)
        .chain_update([0])
        .chain_update(name.as_str())
        .finalize();
    u32::from_be_bytes([0, digest[0], digest[1], digest[2]]) % ADDRESSES
}

/// The address with this `index` below [`ADDRESSES`].
const fn at(index: u32) -> MacAddress {
    let [_, high, middle, low] = index.to_be_bytes();
    MacAddress([0x00, 0x50, 0x56, high, middle, low])
}

/// What is hashed in front of the name.
const LABEL: &str = "outgate mac v1";

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_name_has_the_address_it_was_released_with() {
        assert_eq!(mac_of("mumbai-01").to_string(), "00:50:56:3e:27:3c");
    }

    #[test]
    fn a_taken_address_gives_way_to_the_next_one_also_at_the_end_of_the_range() {
        let name = name("mumbai-01");
        let first = mac_of("mumbai-01");
        let next = derive(&name, |mac| mac == first).unwrap();
        assert_eq!(next, at((start(&name) + 1) % ADDRESSES));
        assert_eq!(at((ADDRESSES - 1 + 1) % ADDRESSES), at(0));
        assert_eq!(at(ADDRESSES - 1).to_string(), "00:50:56:3f:ff:ff");
    }

    #[test]
    fn when_all_are_taken_there_is_none() {
        assert_eq!(derive(&name("mumbai-01"), |_| true), None);
    }

    #[test]
    fn each_refusal_names_value_range_and_reason() {
        for (text, reason) in [
            ("01:50:56:00:00:00", "multicast"),
            ("ff:ff:ff:ff:ff:ff", "multicast"),
            ("00:0c:29:01:02:03", "ESXi hosts assign"),
            ("00:50:56:40:00:00", "fourth byte above 3f"),
            ("00:50:56:ff:ff:ff", "fourth byte above 3f"),
            ("00:50:56:80:00:00", "vCenter assigns"),
            ("52:54:00:12:34:56", "outside"),
            ("00:00:00:00:00:00", "outside"),
        ] {
            let said = check(text.parse().unwrap()).unwrap_err().to_string();
            assert!(said.contains(text) && said.contains(reason), "{said}");
            assert!(said.contains("00:50:56:3f:ff:ff"), "{said}");
        }
    }

    #[test]
    fn both_ends_of_the_range_are_taken() {
        for text in ["00:50:56:00:00:00", "00:50:56:3F:FF:FF"] {
            assert!(check(text.parse().unwrap()).is_ok());
        }
    }

    proptest! {
        #[test]
        fn any_set_of_names_gets_as_many_addresses_all_in_range(
            names in proptest::collection::btree_set("[a-z][a-z0-9]{0,8}", 1..60),
            others in proptest::collection::btree_set(0..ADDRESSES, 0..200),
            crowded in 0..99_u32,
        ) {
            let mut taken: BTreeSet<MacAddress> = others.into_iter().map(at).collect();
            let others = taken.len();
            for text in &names {
                let name = name(text);
                // Where the search of each name begins, this many are taken.
                let crowd: BTreeSet<_> =
                    (0..crowded).map(|counter| at((start(&name) + counter) % ADDRESSES)).collect();
                let mac = derive(&name, |mac| taken.contains(&mac) || crowd.contains(&mac)).unwrap();
                prop_assert!(check(mac).is_ok() && !crowd.contains(&mac));
                prop_assert!(taken.insert(mac));
            }
            let taken = taken.len() - others;
            prop_assert_eq!(taken, names.len());
        }
    }

    fn mac_of(text: &str) -> MacAddress {
        derive(&name(text), |_| false).unwrap()
    }

    fn name(text: &str) -> ConnectorName {
        text.parse().unwrap()
    }
}

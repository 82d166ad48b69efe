//! 802.1Q tags: a network whose frames carry one, as a trunk's do.

/// The frame without its tag, if the tag is of this VLAN.
pub fn untagged(frame: &[u8], vlan: u16) -> Option<Vec<u8>> {
    let (addresses, rest) = frame.split_at_checked(ADDRESSES_BYTES)?;
    let (tag, rest) = rest.split_first_chunk::<TAG_BYTES>()?;
    let id = u16::from_be_bytes([tag[2], tag[3]]) & ID_MASK;
    (tag[..2] == ETHERTYPE && id == vlan).then(|| [addresses, rest].concat())
}

/// The frame with the tag of this VLAN. A frame too short for addresses stays as it is.
pub fn tagged(frame: &[u8], vlan: u16) -> Vec<u8> {
    let Some((addresses, rest)) = frame.split_at_checked(ADDRESSES_BYTES) else {
        return frame.to_vec();
    };
    [addresses, &ETHERTYPE, &(vlan & ID_MASK).to_be_bytes(), rest].concat()
}

/// The Ethernet type of a tag.
pub const ETHERTYPE: [u8; 2] = [0x81, 0x00];
/// Bytes of both hardware addresses.
const ADDRESSES_BYTES: usize = 12;
const TAG_BYTES: usize = 4;
/// Without priority and drop bit.
const ID_MASK: u16 = 0x0fff;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_taken_off_only_where_it_is_the_vlans() {
        let frame = b"to....from..\x08\x00content";
        let carried = tagged(frame, 7);
        assert_eq!(&carried[12..16], b"\x81\x00\x00\x07");
        assert_eq!(untagged(&carried, 7).unwrap(), frame);
        assert_eq!(untagged(&carried, 8), None);
        assert_eq!(untagged(frame, 7), None);
        assert_eq!(untagged(&carried[..15], 7), None);
    }
}

//! The descriptor: a text that repeats the capacity and names the content.

use super::header::DESCRIPTOR_SECTORS;
use super::{EXTENT_NAME, SECTOR, VmdkError};
use crate::SECTOR_BYTES;
use crate::bytes::put;

/// The descriptor of a disk of `capacity_bytes` with this content identifier, padded with zeros.
pub(super) fn emit(capacity_bytes: u64, cid: u32) -> Vec<u8> {
    let mut sectors = vec![0; DESCRIPTOR_SECTORS * SECTOR];
    put(&mut sectors, 0, text(capacity_bytes, cid).as_bytes());
    sectors
}

/// Checks that `sectors` are the descriptor of this capacity and content.
pub(super) fn check(sectors: &[u8], capacity_bytes: u64, cid: u32) -> Result<(), VmdkError> {
    let wanted = text(capacity_bytes, cid);
    let end = sectors.iter().position(|byte| *byte == 0);
    let (found, padding) = sectors.split_at(end.unwrap_or(sectors.len()));
    let mut found_lines = found.split(|byte| *byte == b'\n');
    for (number, wanted) in (1..).zip(wanted.split('\n')) {
        let found = found_lines.next().unwrap_or_default();
        if found != wanted.as_bytes() {
            return Err(VmdkError::Descriptor {
                line: number,
                found: shown(found),
                expected: wanted.to_owned(),
            });
        }
    }
    let has_more = found_lines.next().is_some() || padding.iter().any(|byte| *byte != 0);
    if has_more {
        return Err(VmdkError::Padding {
            part: "descriptor",
            offset: wanted.len(),
        });
    }
    Ok(())
}

/// What VMware's own writers say of a streamOptimized disk. `virtualHWVersion` is obsolete and
/// always 4; `toolsVersion` is the value that stands for open-vm-tools or none.
fn text(capacity_bytes: u64, cid: u32) -> String {
    let sectors = capacity_bytes / SECTOR_BYTES;
    let cylinders = sectors.div_ceil(HEADS * SECTORS_PER_TRACK);
    format!(
        "# Disk DescriptorFile\n\
         version=1\n\
         encoding=\"UTF-8\"\n\
         CID={cid:08x}\n\
         parentCID=ffffffff\n\
         createType=\"streamOptimized\"\n\
         \n\
         # Extent description\n\
         RDONLY {sectors} SPARSE \"{EXTENT_NAME}\"\n\
         \n\
         # The Disk Data Base\n\
         #DDB\n\
         \n\
         ddb.adapterType = \"lsilogic\"\n\
         ddb.geometry.cylinders = \"{cylinders}\"\n\
         ddb.geometry.heads = \"{HEADS}\"\n\
         ddb.geometry.sectors = \"{SECTORS_PER_TRACK}\"\n\
         ddb.toolsVersion = \"2147483647\"\n\
         ddb.virtualHWVersion = \"4\"\n"
    )
}

/// A line of a foreign file, fit to be shown.
fn shown(line: &[u8]) -> String {
    let start = &line[..line.len().min(SHOWN_BYTES_MAX)];
    start.escape_ascii().to_string()
}

/// Bytes of a wrong line that an error repeats; ours are shorter.
const SHOWN_BYTES_MAX: usize = 64;
/// The geometry VMware gives every SCSI disk above 1 GiB, and that no system we run looks at.
const HEADS: u64 = 255;
const SECTORS_PER_TRACK: u64 = 63;

#[cfg(test)]
mod tests {
    use super::*;

    const GOLDEN: &str = r#"# Disk DescriptorFile
version=1
encoding="UTF-8"
CID=0badcafe
parentCID=ffffffff
createType="streamOptimized"

# Extent description
RDONLY 157696 SPARSE "outgate.vmdk"

# The Disk Data Base
#DDB

ddb.adapterType = "lsilogic"
ddb.geometry.cylinders = "10"
ddb.geometry.heads = "255"
ddb.geometry.sectors = "63"
ddb.toolsVersion = "2147483647"
ddb.virtualHWVersion = "4"
"#;

    #[test]
    fn the_text_is_the_golden_one_and_the_rest_zeros() {
        let sectors = emit(77 << 20, 0x0bad_cafe);
        assert_eq!(sectors.len(), 20 * 512);
        assert_eq!(&sectors[..GOLDEN.len()], GOLDEN.as_bytes());
        assert!(sectors[GOLDEN.len()..].iter().all(|byte| *byte == 0));
        assert_eq!(check(&sectors, 77 << 20, 0x0bad_cafe), Ok(()));
    }

    #[test]
    fn every_wrong_byte_is_refused() {
        let good = emit(77 << 20, 1);
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert!(check(&bad, 77 << 20, 1).is_err(), "{at}");
        }
    }

    #[test]
    fn a_wrong_line_is_shown_beside_the_right_one() {
        let error = check(&emit(77 << 20, 1), 77 << 20, 2).unwrap_err();
        assert_eq!(
            error.to_string(),
            "VMDK descriptor: line 4 is \"CID=00000001\"; it must be \"CID=00000002\""
        );
    }

    #[test]
    fn a_hostile_line_is_escaped_and_cut() {
        assert_eq!(shown(b"\x1b[2J\""), "\\x1b[2J\\\"");
        assert_eq!(shown(&[b'a'; 1000]).len(), SHOWN_BYTES_MAX);
    }
}

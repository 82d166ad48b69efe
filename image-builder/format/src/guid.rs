//! GUIDs in the mixed-endian form that GPT stores.
//!
//! The first three groups are little-endian on disk, the last two are bytes in reading order
//! (UEFI 2.10 appendix A). A GUID is made from a digest, never from a random source.

use std::fmt;

/// A GUID, held as its 16 bytes on disk.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Guid([u8; 16]);

impl Guid {
    /// The type of an unused partition entry.
    pub const ZERO: Self = Self([0; 16]);

    /// From the 16 bytes on disk.
    #[must_use]
    pub const fn from_disk(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// From the groups as they are printed: `0x2168_6148, 0x6449, 0x6E6F, 0x744E_6565_6445_4649`
    /// is `21686148-6449-6E6F-744E-656564454649`.
    #[must_use]
    pub const fn from_groups(a: u32, b: u16, c: u16, d: u64) -> Self {
        let (a, b, c, d) = (
            a.to_le_bytes(),
            b.to_le_bytes(),
            c.to_le_bytes(),
            d.to_be_bytes(),
        );
        Self([
            a[0], a[1], a[2], a[3], b[0], b[1], c[0], c[1], d[0], d[1], d[2], d[3], d[4], d[5],
            d[6], d[7],
        ])
    }

    /// A GUID that depends on `digest` alone: its first 16 bytes, marked as version 8 (made by
    /// the vendor's own method) of the RFC 9562 variant. The caller hashes a label and a seed.
    #[must_use]
    pub const fn from_digest(digest: &[u8; 32]) -> Self {
        let mut bytes = [0; 16];
        let mut at = 0;
        while at < bytes.len() {
            bytes[at] = digest[at];
            at += 1;
        }
        bytes[7] = (bytes[7] & 0x0f) | 0x80;
        bytes[8] = (bytes[8] & 0x3f) | 0x80;
        Self(bytes)
    }

    /// The 16 bytes on disk.
    #[must_use]
    pub const fn to_disk(self) -> [u8; 16] {
        self.0
    }
}

impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let b = &self.0;
        write!(f, "{:02X}{:02X}{:02X}{:02X}-", b[3], b[2], b[1], b[0])?;
        write!(f, "{:02X}{:02X}-{:02X}{:02X}-", b[5], b[4], b[7], b[6])?;
        write!(f, "{:02X}{:02X}-", b[8], b[9])?;
        b[10..].iter().try_for_each(|byte| write!(f, "{byte:02X}"))
    }
}

impl fmt::Debug for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Guid({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bios_boot_type_spells_its_joke_on_disk() {
        let bios_boot = Guid::from_groups(0x2168_6148, 0x6449, 0x6E6F, 0x744E_6565_6445_4649);
        assert_eq!(&bios_boot.to_disk(), b"Hah!IdontNeedEFI");
        assert_eq!(
            bios_boot.to_string(),
            "21686148-6449-6E6F-744E-656564454649"
        );
    }

    #[test]
    fn a_digest_gives_a_version_8_guid_of_the_rfc_variant() {
        let guid = Guid::from_digest(&[0xff; 32]);
        assert_eq!(guid.to_string(), "FFFFFFFF-FFFF-8FFF-BFFF-FFFFFFFFFFFF");
        assert_eq!(
            Guid::from_digest(&[0; 32]).to_string(),
            "00000000-0000-8000-8000-000000000000"
        );
    }
}

//! What a file is, by its first bytes.

use std::fmt;

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The bill of materials.
    Bill,
    /// What the image was built from.
    Facts,
    /// The manifest of an OVA.
    Manifest,
    /// The archive for vSphere.
    Ova,
    /// Its descriptor alone.
    Ovf,
    /// The disk image for QEMU/KVM.
    Qcow2,
    /// The disk as it is.
    Raw,
    /// The signature of a manifest.
    Signature,
    /// Digests of all artefacts.
    Sums,
    /// Nothing of ours.
    Unknown,
    /// The disk image inside the archive.
    Vmdk,
}

impl Kind {
    /// The kind of a file with this content.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        let has = |offset: usize, magic: &[u8]| {
            bytes
                .get(offset..)
                .is_some_and(|rest| rest.starts_with(magic))
        };
        if has(0, b"QFI\xfb") {
            Self::Qcow2
        } else if has(0, b"KDMV") {
            Self::Vmdk
        } else if has(257, b"ustar") {
            Self::Ova
        } else if has(512, b"EFI PART") || has(510, &[0x55, 0xaa]) {
            // The second is what is left when the first was overwritten.
            Self::Raw
        } else if has(0, b"<?xml") {
            Self::Ovf
        } else if has(0, b"SHA256(") {
            let is_signature = bytes.split(|byte| *byte == b'\n').nth(1);
            if is_signature.is_some_and(|line| line.starts_with(b"-----BEGIN")) {
                Self::Signature
            } else {
                Self::Manifest
            }
        } else if has(0, b"outgate ") {
            Self::Facts
        } else if has(0, b"{") {
            Self::Bill
        } else if is_sums(bytes) {
            Self::Sums
        } else {
            Self::Unknown
        }
    }
}

/// 64 hex digits and two spaces, as `sha256sum` writes them.
fn is_sums(bytes: &[u8]) -> bool {
    bytes.split_at_checked(64).is_some_and(|(digest, rest)| {
        digest.iter().all(u8::is_ascii_hexdigit) && rest.starts_with(b"  ")
    })
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bill => "bill of materials",
            Self::Facts => "build manifest",
            Self::Manifest => "manifest of an OVA",
            Self::Ova => "OVA",
            Self::Ovf => "OVF descriptor",
            Self::Qcow2 => "qcow2 disk image",
            Self::Raw => "raw disk",
            Self::Signature => "signature of a manifest",
            Self::Sums => "list of SHA-256 sums",
            Self::Unknown => "file of unknown kind",
            Self::Vmdk => "streamOptimized VMDK",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_told_by_content() {
        let at = |offset, magic: &[u8]| {
            let mut bytes = vec![0; 1024];
            bytes[offset..offset + magic.len()].copy_from_slice(magic);
            bytes
        };
        let sums = format!("{}  outgate.raw\n", "0".repeat(64));
        for (bytes, kind) in [
            (at(0, b"QFI\xfb"), Kind::Qcow2),
            (at(0, b"KDMV"), Kind::Vmdk),
            (at(257, b"ustar"), Kind::Ova),
            (at(512, b"EFI PART"), Kind::Raw),
            (b"<?xml version=".to_vec(), Kind::Ovf),
            (b"SHA256(a.ovf)= 00".to_vec(), Kind::Manifest),
            (b"SHA256(a.mf)= 00\n-----BEGIN C".to_vec(), Kind::Signature),
            (b"{\n  \"bomFormat\"".to_vec(), Kind::Bill),
            (b"outgate 0.1.0\n".to_vec(), Kind::Facts),
            (sums.into_bytes(), Kind::Sums),
            (b"QFI".to_vec(), Kind::Unknown),
            (Vec::new(), Kind::Unknown),
        ] {
            assert_eq!(Kind::of(&bytes), kind);
        }
    }
}

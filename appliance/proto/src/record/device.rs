//! The device secret's block: what the record's key is derived from, plain or sealed by a TPM.
//!
//! It lies behind the slots, [`DEVICE_PLACES`] times: a bad sector under it would cost the identity, and
//! a new one is written beside the old one.
//!
//! ```text
//!  0  magic       8  "OUTGDEV\0"
//!  8  version     2  big-endian; 1
//! 10  kind        2  big-endian; 1: the secret, 2: a TPM's two parts of it
//! 12  length      4  of the payload, big-endian
//! 16  digest     32  SHA-256 over bytes 0..16 and the payload
//! 48  payload        kind 1: 32 bytes; kind 2: public and private, each behind its length (u16, big-endian)
//! ```

use alloc::vec::Vec;
use core::fmt;

use ring::digest;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::{SLOT_LEN, SLOTS};

/// Bytes of one place.
pub const DEVICE_LEN: usize = 4096;
/// Places of the block, one behind the other.
pub const DEVICE_PLACES: usize = 2;
/// Offset of the first place in the state partition, in bytes.
pub const DEVICE_AT: usize = SLOTS * SLOT_LEN;

const MAGIC: &[u8; 8] = b"OUTGDEV\0";
const VERSION: u16 = 1;
const PLAIN: u16 = 1;
const TPM: u16 = 2;
const DIGEST_AT: usize = 16;
const PAYLOAD_AT: usize = 48;
const PAYLOAD_MAX: usize = DEVICE_LEN - PAYLOAD_AT;

/// The device secret as it lies on the disk. Wiped when dropped; not in `Debug`.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub enum DeviceSecret {
    /// 32 random bytes.
    Plain([u8; 32]),
    /// Sealed by this machine's TPM: the two parts that `TPM2_Load` wants.
    Tpm {
        /// `TPM2B_PUBLIC`, its size field included.
        public: Vec<u8>,
        /// `TPM2B_PRIVATE`, its size field included.
        private: Vec<u8>,
    },
}

/// Why a place holds no device secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceError {
    /// It was never written: all zeros.
    Blank,
    /// Its digest does not fit: a torn write, a bad disk or somebody's hand.
    Digest,
    /// It is of a kind that this image does not know.
    Kind {
        /// Which.
        kind: u16,
    },
    /// It announces a payload over the limit.
    Length {
        /// What it announces, in bytes.
        len: u32,
    },
    /// Something else is written there.
    Magic,
    /// The digest holds but the payload does not decode.
    Payload,
    /// It was written by another version.
    Version {
        /// Which.
        version: u16,
    },
}

impl fmt::Display for DeviceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Blank => f.write_str("never written"),
            Self::Digest => f.write_str("digest does not fit"),
            Self::Kind { kind } => write!(f, "kind {kind}, this image knows 1 and 2"),
            Self::Length { len } => write!(f, "announces {len} bytes, the limit is {PAYLOAD_MAX}"),
            Self::Magic => f.write_str("not a device secret"),
            Self::Payload => f.write_str("payload does not decode"),
            Self::Version { version } => {
                write!(f, "version {version}, this image knows version {VERSION}")
            }
        }
    }
}

impl core::error::Error for DeviceError {}

impl fmt::Debug for DeviceSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plain(_) => "Plain(..)",
            Self::Tpm { .. } => "Tpm(..)",
        })
    }
}

/// The bytes of a place for a secret: [`DEVICE_LEN`] of them.
///
/// # Errors
/// [`DeviceError::Length`] if what the TPM made does not fit.
pub fn emit_device(secret: &DeviceSecret) -> Result<Zeroizing<Vec<u8>>, DeviceError> {
    let parts: [&[u8]; 2] = match secret {
        DeviceSecret::Plain(secret) => [secret, &[]],
        DeviceSecret::Tpm { public, private } => [public, private],
    };
    let is_tpm = matches!(secret, DeviceSecret::Tpm { .. });
    let prefix = if is_tpm { 2 } else { 0 };
    let len = parts[0].len().saturating_add(parts[1].len());
    let len = len.saturating_add(2 * prefix);
    let too_long = DeviceError::Length {
        len: u32::try_from(len).unwrap_or(u32::MAX),
    };
    if len > PAYLOAD_MAX {
        return Err(too_long);
    }
    let mut payload = Zeroizing::new(Vec::with_capacity(len));
    for part in parts {
        if is_tpm {
            let announced = u16::try_from(part.len()).map_err(|_| too_long)?;
            payload.extend_from_slice(&announced.to_be_bytes());
        }
        payload.extend_from_slice(part);
    }
    Ok(place(if is_tpm { TPM } else { PLAIN }, &payload))
}

/// A place with this payload under a header that fits; `payload` is at most [`PAYLOAD_MAX`] long.
fn place(kind: u16, payload: &[u8]) -> Zeroizing<Vec<u8>> {
    let announced = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    let mut place = Zeroizing::new(alloc::vec![0; DEVICE_LEN]);
    let (header, body) = place.split_at_mut(PAYLOAD_AT);
    body[..payload.len()].copy_from_slice(payload);
    header[..8].copy_from_slice(MAGIC);
    header[8..10].copy_from_slice(&VERSION.to_be_bytes());
    header[10..12].copy_from_slice(&kind.to_be_bytes());
    header[12..DIGEST_AT].copy_from_slice(&announced.to_be_bytes());
    let digest = digest_of(&header[..DIGEST_AT], payload);
    header[DIGEST_AT..].copy_from_slice(&digest);
    place
}

/// Reads one place.
///
/// # Errors
/// Why it holds no device secret. Never panics, whatever the bytes.
pub fn parse_device(place: &[u8]) -> Result<DeviceSecret, DeviceError> {
    let (header, body) = place
        .split_at_checked(PAYLOAD_AT)
        .ok_or(DeviceError::Magic)?;
    if &header[..8] != MAGIC {
        let is_blank = place.iter().all(|byte| *byte == 0);
        return Err(if is_blank {
            DeviceError::Blank
        } else {
            DeviceError::Magic
        });
    }
    let version = u16::from_be_bytes([header[8], header[9]]);
    if version != VERSION {
        return Err(DeviceError::Version { version });
    }
    let kind = u16::from_be_bytes([header[10], header[11]]);
    let len = u32::from_be_bytes([header[12], header[13], header[14], header[15]]);
    let payload = usize::try_from(len)
        .ok()
        .filter(|len| *len <= PAYLOAD_MAX)
        .and_then(|len| body.get(..len))
        .ok_or(DeviceError::Length { len })?;
    if digest_of(&header[..DIGEST_AT], payload) != header[DIGEST_AT..] {
        return Err(DeviceError::Digest);
    }
    match kind {
        PLAIN => payload
            .try_into()
            .map(DeviceSecret::Plain)
            .map_err(|_| DeviceError::Payload),
        TPM => parse_parts(payload).ok_or(DeviceError::Payload),
        kind => Err(DeviceError::Kind { kind }),
    }
}

fn parse_parts(payload: &[u8]) -> Option<DeviceSecret> {
    let (public, rest) = parse_part(payload)?;
    let (private, rest) = parse_part(rest)?;
    rest.is_empty().then(|| DeviceSecret::Tpm {
        public: public.to_vec(),
        private: private.to_vec(),
    })
}

/// A part behind its length, and what follows it.
fn parse_part(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = bytes.split_first_chunk::<2>()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*len)))
}

fn digest_of(header: &[u8], payload: &[u8]) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(header);
    context.update(payload);
    let mut bytes = [0; 32];
    bytes.copy_from_slice(context.finish().as_ref());
    bytes
}

/// Part of the fuzz target `record`: any bytes as a place, and as a payload of each kind under a header
/// that fits. Never a panic; what parses is written as it was.
///
/// # Panics
/// If a secret does not survive its place.
pub(super) fn fuzz_device(data: &[u8]) {
    survives(data);
    let payload = &data[..data.len().min(PAYLOAD_MAX)];
    for kind in [0, PLAIN, TPM] {
        survives(&place(kind, payload));
    }
}

fn survives(place: &[u8]) {
    let Ok(secret) = parse_device(place) else {
        return;
    };
    let emitted = emit_device(&secret);
    // Behind the payload, the reader takes any bytes and the writer writes zeros.
    let used = emitted.as_ref().map_or(0, |emitted| {
        emitted
            .iter()
            .rposition(|byte| *byte != 0)
            .map_or(0, |at| at + 1)
    });
    assert!(
        emitted.is_ok_and(|emitted| place.get(..used) == Some(&emitted[..used])),
        "a device secret changed in its place"
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn both_kinds_survive_their_place() {
        for secret in [plain(), sealed(300), sealed(0)] {
            let place = emit_device(&secret).unwrap();
            assert_eq!(place.len(), DEVICE_LEN);
            let again = parse_device(&place).unwrap();
            assert_eq!(emit_device(&again).unwrap(), place);
        }
    }

    #[test]
    fn every_flipped_bit_of_the_used_bytes_loses_the_place() {
        for (secret, used) in [(plain(), 80), (sealed(7), 48 + 4 + 3 + 7)] {
            let place = emit_device(&secret).unwrap();
            assert!(place[used..].iter().all(|byte| *byte == 0));
            for bit in 0..used * 8 {
                let mut altered = place.clone();
                altered[bit / 8] ^= 1 << (bit % 8);
                assert!(parse_device(&altered).is_err(), "bit {bit}");
            }
            for cut in 0..used {
                assert!(parse_device(&place[..cut]).is_err(), "cut after {cut}");
            }
        }
    }

    #[test]
    fn what_a_place_does_not_hold_is_named() {
        let error = |place: &[u8]| parse_device(place).err();
        assert_eq!(error(&[0; DEVICE_LEN]), Some(DeviceError::Blank));
        assert_eq!(error(&[0x5a; DEVICE_LEN]), Some(DeviceError::Magic));
        assert_eq!(error(&[]), Some(DeviceError::Magic));
        assert_eq!(error(&place(3, &[])), Some(DeviceError::Kind { kind: 3 }));
        for payload in [&[][..], &[1; 31], &[1; 33]] {
            assert_eq!(error(&place(PLAIN, payload)), Some(DeviceError::Payload));
        }
        for payload in [&[][..], &[0, 1, 7], &[0, 0, 0, 2, 7], &[0, 0, 0, 0, 7]] {
            assert_eq!(error(&place(TPM, payload)), Some(DeviceError::Payload));
        }
    }

    #[test]
    fn what_a_tpm_made_must_fit() {
        let room = PAYLOAD_MAX - 4 - 3;
        assert!(emit_device(&sealed(room)).is_ok());
        let len = u32::try_from(PAYLOAD_MAX + 1).unwrap();
        assert_eq!(
            emit_device(&sealed(room + 1)).err(),
            Some(DeviceError::Length { len })
        );
    }

    #[test]
    fn debug_output_has_no_secret() {
        assert_eq!(alloc::format!("{:?}", plain()), "Plain(..)");
        assert_eq!(alloc::format!("{:?}", sealed(9)), "Tpm(..)");
    }

    proptest! {
        #[test]
        fn any_place_is_handled(data: Vec<u8>) {
            fuzz_device(&data);
        }
    }

    fn plain() -> DeviceSecret {
        DeviceSecret::Plain([7; 32])
    }

    fn sealed(private: usize) -> DeviceSecret {
        DeviceSecret::Tpm {
            public: alloc::vec![1, 2, 3],
            private: alloc::vec![9; private],
        }
    }
}

//! The device secret in force, and its places on the disk.

use std::fmt;

use connector_proto::record::{
    DEVICE_AT, DEVICE_LEN, DEVICE_PLACES, DeviceSecret, SealingKey, emit_device,
};
use ring::digest::{SHA256, digest};
use zeroize::Zeroizing;

use super::StoreError;
use super::disk::{Disk, write_and_check};
use super::unsealer::Unsealer;

/// A device secret, as what it is for and as it lies on the disk.
pub(super) struct Secret {
    /// What it seals and opens records with.
    pub(super) key: SealingKey,
    /// Whether it lies there for everybody to read.
    pub(super) is_plain: bool,
    /// The bytes of its place.
    place: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl Secret {
    /// The secret that lies on the disk as `sealed`.
    pub(super) fn new(
        sealed: &DeviceSecret,
        secret: &[u8; 32],
        uuid: &[u8; 16],
    ) -> Result<Self, StoreError> {
        let is_plain = matches!(sealed, DeviceSecret::Plain(_));
        Ok(Self {
            key: SealingKey::derive(secret, is_plain.then_some(uuid)),
            is_plain,
            place: emit_device(sealed).map_err(StoreError::Secret)?,
        })
    }

    /// A new one, on no disk yet: sealed by the TPM if that does it, else plain.
    pub(super) fn make(uuid: &[u8; 16], unsealer: &mut dyn Unsealer) -> Result<Self, StoreError> {
        let mut secret = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *secret).map_err(|error| StoreError::Random(error.to_string()))?;
        let sealed = unsealer.seal(&secret).unwrap_or_else(|error| {
            log::warn!("the device secret is not sealed: {error}");
            DeviceSecret::Plain(*secret)
        });
        Self::new(&sealed, &secret, uuid)
    }
}

/// What lies in the places.
#[derive(Debug)]
pub(super) struct Places {
    /// SHA-256 of each one's bytes; `None` while it is not known what is there.
    contents: [Option<[u8; 32]>; DEVICE_PLACES],
    /// The place that is not written to while something may still need what is there.
    keep: Option<usize>,
}

impl Places {
    pub(super) fn new(bytes: [&[u8]; DEVICE_PLACES], keep: Option<usize>) -> Self {
        Self {
            contents: bytes.map(|bytes| Some(sha256(bytes))),
            keep,
        }
    }

    /// Sees to it that `secret` is in one place at least.
    pub(super) fn hold(&mut self, disk: &mut impl Disk, secret: &Secret) -> Result<(), StoreError> {
        let is_there = (0..DEVICE_PLACES).any(|place| self.is_in(place, secret));
        match self.keep {
            _ if is_there => Ok(()),
            Some(keep) => self.write(disk, 1 - keep, secret),
            None => self.write(disk, 0, secret),
        }
    }

    /// Sees to it that `secret` is in every place, and nothing else.
    pub(super) fn settle(
        &mut self,
        disk: &mut impl Disk,
        secret: &Secret,
    ) -> Result<(), StoreError> {
        for place in 0..DEVICE_PLACES {
            if !self.is_in(place, secret) {
                self.write(disk, place, secret)?;
            }
        }
        Ok(())
    }

    /// Nothing is known of them any more.
    pub(super) fn forget(&mut self) {
        *self = Self {
            contents: [None; DEVICE_PLACES],
            keep: None,
        };
    }

    fn is_in(&self, place: usize, secret: &Secret) -> bool {
        self.contents[place] == Some(sha256(&secret.place))
    }

    fn write(
        &mut self,
        disk: &mut impl Disk,
        place: usize,
        secret: &Secret,
    ) -> Result<(), StoreError> {
        self.contents[place] = None;
        write_and_check(disk, DEVICE_AT + place * DEVICE_LEN, &secret.place)?;
        self.contents[place] = Some(sha256(&secret.place));
        Ok(())
    }
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, bytes).as_ref());
    hash
}

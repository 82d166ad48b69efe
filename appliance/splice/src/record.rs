//! The record layer of TLS 1.3 (RFC 8446 section 5), in place.
//!
//! ```text
//!  0        1         3        5                                   5 + n   6 + n      22 + n
//!  +--------+---------+--------+------------------------------------+-------+----------+
//!  | 23     | 0x0303  | length | n bytes of content, and of padding | type  | 16: tag  |
//!  +--------+---------+--------+------------------------------------+-------+----------+
//!                              |<---------------- sealed ------------------>|
//! ```
//!
//! The header is what is authenticated beside the content; the nonce is the IV with the record's number
//! in it, which is never sent. A record that was moved, left out or sent twice does not open.

use std::fmt;

use ring::aead::{self, Aad, LessSafeKey, Nonce, UnboundKey};
use rustls::ConnectionTrafficSecrets;
use zeroize::Zeroize;

use crate::channel::DirectionKeys;

#[cfg(test)]
mod against_rustls;
mod fuzz;
pub mod traffic;
#[cfg(test)]
mod vectors;

pub use fuzz::fuzz_records;

/// Bytes before the content.
pub const HEADER: usize = 5;

/// Bytes of content in the largest record that is sent.
pub const CONTENT_MAX: usize = 1 << 14;

/// What a record has beside its content: header, type and tag.
pub const OVERHEAD: usize = HEADER + 1 + TAG;

/// The largest record that is sent, in bytes.
pub const RECORD_MAX: usize = CONTENT_MAX + OVERHEAD;

/// The largest record that is taken, in bytes: room for padding (RFC 8446 section 5.2).
pub const RECEIVED_MAX: usize = HEADER + CONTENT_MAX + 256;

/// What a record carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// An alert: an end, in order or not.
    Alert,
    /// Bytes of the session.
    Data,
    /// After the handshake: tickets and KeyUpdates.
    Handshake,
}

impl Content {
    pub(crate) const fn number(self) -> u8 {
        match self {
            Self::Alert => 21,
            Self::Handshake => 22,
            Self::Data => 23,
        }
    }

    pub(crate) const fn of(number: u8) -> Option<Self> {
        match number {
            21 => Some(Self::Alert),
            22 => Some(Self::Handshake),
            23 => Some(Self::Data),
            _ => None,
        }
    }
}

/// A record that was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened {
    /// What it carries.
    pub content: Content,
    /// How many bytes of it, without padding.
    pub length: usize,
}

/// Why there is no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordError {
    /// It was changed on the way, is not the next one, or was sealed with other keys.
    Forged,
    /// The header is not that of a protected record: its type is not 23 or its version not 0x0303.
    Header,
    /// More than 2^14 bytes of content, or more than 2^14 + 256 with what protects them.
    Long,
    /// Nothing but padding: there is no type.
    Padding,
    /// Too short for a type and a tag.
    Short,
    /// The keys have protected as many records as they may.
    Spent,
    /// A cipher suite that is none of TLS 1.3's three.
    Suite,
    /// A type that has no place after the handshake.
    Type,
}

impl RecordError {
    /// The same for people.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Forged => "a record was forged, left out or changed",
            Self::Header => "what came is no TLS 1.3 record",
            Self::Long => "a record is longer than 16384 bytes",
            Self::Padding => "a record holds only padding",
            Self::Short => "a record is too short for its seal",
            Self::Spent => "the keys have protected as many records as they may",
            Self::Suite => "the cipher suite is not one of TLS 1.3",
            Self::Type => "a record's content has no place after the handshake",
        }
    }
}

impl fmt::Display for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl std::error::Error for RecordError {}

/// The length of the record that these bytes begin with, header included; `None` until its header is
/// there. At most [`RECEIVED_MAX`].
///
/// # Errors
/// [`RecordError::Header`], [`RecordError::Long`], [`RecordError::Short`].
pub fn length(bytes: &[u8]) -> Result<Option<usize>, RecordError> {
    let Some((header, _)) = bytes.split_first_chunk::<HEADER>() else {
        return Ok(None);
    };
    let [23, 3, 3, high, low] = *header else {
        return Err(RecordError::Header);
    };
    match HEADER + usize::from(u16::from_be_bytes([high, low])) {
        long if long > RECEIVED_MAX => Err(RecordError::Long),
        short if short < OVERHEAD => Err(RecordError::Short),
        length => Ok(Some(length)),
    }
}

/// One direction's keys at its next record.
///
/// The expanded key, half a kilobyte, exists only while records are sealed or opened: whoever has no more
/// of them for now calls [`Keys::rest`].
pub struct Keys {
    algorithm: &'static aead::Algorithm,
    /// As long as the algorithm's; zeros beyond.
    key: [u8; KEY_MAX],
    iv: [u8; aead::NONCE_LEN],
    sequence: u64,
    expanded: Option<Box<LessSafeKey>>,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let expanded = self.expanded.as_ref().map_or("", |_| ", expanded");
        write!(f, "Keys(record {}{expanded})", self.sequence)
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        self.key.zeroize();
        self.iv.zeroize();
    }
}

impl Keys {
    /// From what rustls handed over.
    ///
    /// # Errors
    /// [`RecordError::Suite`].
    pub fn new(keys: &DirectionKeys) -> Result<Self, RecordError> {
        let (algorithm, key, iv) = match &keys.secrets {
            ConnectionTrafficSecrets::Aes128Gcm { key, iv } => (&aead::AES_128_GCM, key, iv),
            ConnectionTrafficSecrets::Aes256Gcm { key, iv } => (&aead::AES_256_GCM, key, iv),
            ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => {
                (&aead::CHACHA20_POLY1305, key, iv)
            }
            _ => return Err(RecordError::Suite),
        };
        let own = key.as_ref().get(..algorithm.key_len());
        let mut made = Self {
            algorithm,
            key: [0; KEY_MAX],
            iv: [0; aead::NONCE_LEN],
            sequence: keys.sequence,
            expanded: None,
        };
        made.key[..algorithm.key_len()].copy_from_slice(own.ok_or(RecordError::Suite)?);
        made.iv.copy_from_slice(iv.as_ref());
        Ok(made)
    }

    /// The number of the next record, which is how many there were under these keys.
    #[must_use]
    pub const fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Whether no more records of data are to be sent: [`RECORDS_LIMIT`].
    #[must_use]
    pub fn is_spent(&self) -> bool {
        self.sequence >= RECORDS_LIMIT && *self.algorithm != aead::CHACHA20_POLY1305
    }

    /// Gives the expanded key back until the next record.
    pub fn rest(&mut self) {
        self.expanded = None;
    }

    /// Seals the content that lies in `slot` behind room for the header: `length` bytes, at most
    /// [`CONTENT_MAX`], followed by room for type and tag. Returns the record's length, which is `length`
    /// and [`OVERHEAD`].
    ///
    /// # Errors
    /// [`RecordError::Long`] for more content than fits; [`RecordError::Spent`].
    pub fn seal(
        &mut self,
        slot: &mut [u8],
        length: usize,
        content: Content,
    ) -> Result<usize, RecordError> {
        let slot = slot.get_mut(..length + OVERHEAD);
        let slot = slot.ok_or(RecordError::Long)?;
        let (header, rest) = slot.split_at_mut(HEADER);
        let (body, tag) = rest.split_at_mut(length + 1);
        let protected = u16::try_from(length + 1 + TAG).ok();
        let protected = protected.filter(|_| length <= CONTENT_MAX);
        let [high, low] = protected.ok_or(RecordError::Long)?.to_be_bytes();
        header.copy_from_slice(&[23, 3, 3, high, low]);
        body[length] = content.number();
        let nonce = self.next_nonce()?;
        let aad = Aad::from([23, 3, 3, high, low]);
        let sealed = self
            .expanded()?
            .seal_in_place_separate_tag(nonce, aad, body)
            .map_err(|_| RecordError::Long)?;
        tag.copy_from_slice(sealed.as_ref());
        Ok(length + OVERHEAD)
    }

    /// Opens the record that begins at `at` and ends with `bytes`, which [`length`] has measured. Its
    /// content is then at the beginning of `bytes`: so record after record is moved together to one piece.
    ///
    /// # Errors
    /// What is wrong with it; `bytes` is rubbish then.
    pub fn open(&mut self, bytes: &mut [u8], at: usize) -> Result<Opened, RecordError> {
        let record = bytes.get(at..).ok_or(RecordError::Short)?;
        let (header, _) = record
            .split_first_chunk::<HEADER>()
            .ok_or(RecordError::Short)?;
        let aad = Aad::from(*header);
        let nonce = self.next_nonce()?;
        let plain = self
            .expanded()?
            .open_within(nonce, aad, bytes, at + HEADER..)
            .map_err(|_| RecordError::Forged)?;
        let last = plain.iter().rposition(|&byte| byte != 0);
        let length = last.ok_or(RecordError::Padding)?;
        if length > CONTENT_MAX {
            return Err(RecordError::Long);
        }
        let content = Content::of(plain[length]).ok_or(RecordError::Type)?;
        Ok(Opened { content, length })
    }

    /// RFC 8446 section 5.3. A nonce is never used twice: the sequence number moves on, whatever comes of
    /// the record.
    fn next_nonce(&mut self) -> Result<Nonce, RecordError> {
        let following = self.sequence.checked_add(1).ok_or(RecordError::Spent)?;
        let mut nonce = self.iv;
        let number = self.sequence.to_be_bytes();
        for (byte, number) in nonce[aead::NONCE_LEN - number.len()..]
            .iter_mut()
            .zip(number)
        {
            *byte ^= number;
        }
        self.sequence = following;
        Ok(Nonce::assume_unique_for_key(nonce))
    }

    fn expanded(&mut self) -> Result<&LessSafeKey, RecordError> {
        if self.expanded.is_none() {
            let key = &self.key[..self.algorithm.key_len()];
            let key = UnboundKey::new(self.algorithm, key).map_err(|_| RecordError::Suite)?;
            self.expanded = Some(Box::new(LessSafeKey::new(key)));
        }
        self.expanded.as_deref().ok_or(RecordError::Suite)
    }
}

/// Records of data under one AES-GCM key: RFC 8446 section 5.5 allows 2^24.5 of full size. A session is
/// expected to have moved to other keys long before.
pub const RECORDS_LIMIT: u64 = 1 << 24;

/// Bytes of a tag, in all three suites.
const TAG: usize = 16;

/// Bytes of the longest key, in all three suites.
const KEY_MAX: usize = 32;

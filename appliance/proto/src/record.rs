//! The state record: what a connector remembers over a restart.
//!
//! Two slots of [`SLOT_LEN`] bytes, at the start of the state partition and right behind it, then the
//! device secret ([`DEVICE_AT`]). A write goes to the slot that does not hold the newest record, is
//! flushed and read back, so a power cut leaves the old record or the new one. Nothing in a record is
//! executed or used as a path.
//!
//! ```text
//!   0  magic           8  "OUTGATE\0"
//!   8  version         2  big-endian; 3: the payload is postcard(State), sealed
//!  10  reserved        1  zero
//!  11  name length     1  at most 63
//!  12  length          4  of the payload, big-endian
//!  16  generation      8  big-endian; the higher of two good slots is the newest
//!  24  last good time  8  big-endian, seconds since 1970; 0 if the clock was never right
//!  32  name           64  the connector's, then zeros; empty before enrolment
//!  96  siv            32  see `seal`
//! 128  digest         32  SHA-256 over bytes 0..128 and the payload
//! 160  payload            sealed with bytes 0..96, the *clear header*
//! ```
//! The digest tells a torn write from a record that another machine sealed, and needs no key: whoever
//! writes to the disk can make it fit. The clear header can be read without the key, for the console's
//! sentence about a copy and for PID 1's floor of the clock, and cannot be changed without it.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use ring::digest;
use zeroize::Zeroizing;

use crate::limits::NAME_MAX;
use crate::local::Text;

mod device;
mod seal;
mod state;

#[cfg(test)]
mod tests;

pub use device::{
    DEVICE_AT, DEVICE_LEN, DEVICE_PLACES, DeviceError, DeviceSecret, emit_device, parse_device,
};
pub use seal::SealingKey;
pub use state::{EdgeAddresses, Identity, Next, ProxyCredentials, State};

/// Bytes of one slot.
pub const SLOT_LEN: usize = 64 * 1024;
/// Slots of a state partition, one after the other from its start.
pub const SLOTS: usize = 2;

const MAGIC: &[u8; 8] = b"OUTGATE\0";
/// The only version that is read and written. Those before were not sealed, and a reader of them would
/// take a forged one.
const VERSION: u16 = 3;
const NAME_AT: usize = 32;
const CLEAR_LEN: usize = 96;
const DIGEST_AT: usize = CLEAR_LEN + seal::SIV_LEN;
const PAYLOAD_AT: usize = DIGEST_AT + 32;
/// Largest payload.
const PAYLOAD_MAX: usize = SLOT_LEN - PAYLOAD_AT;
const _: () = assert!(NAME_MAX < CLEAR_LEN - NAME_AT);

/// A record read from a slot.
#[derive(Clone, Debug)]
pub struct Record {
    /// Counts writes.
    pub generation: u64,
    /// What was written.
    pub state: State,
}

/// Why a slot holds no record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SlotError {
    /// It was never written: all zeros where the header belongs.
    Blank,
    /// Its digest does not fit: a torn write, a bad disk or somebody's hand.
    Digest,
    /// It announces a payload over the limit.
    Length {
        /// What it announces, in bytes.
        len: u32,
    },
    /// Something else is written there.
    Magic,
    /// The seal opens but the payload does not decode.
    Payload,
    /// The digest holds and the seal does not open: another machine's record.
    Sealed {
        /// The connector it says it is for; anybody could have written that. Empty if it never enrolled.
        name: Text<NAME_MAX>,
        /// How many writes it says it counts.
        generation: u64,
    },
    /// It was written by another version.
    Version {
        /// Which.
        version: u16,
    },
}

impl fmt::Display for SlotError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Blank => f.write_str("never written"),
            Self::Digest => f.write_str("digest does not fit"),
            Self::Length { len } => write!(f, "announces {len} bytes, the limit is {PAYLOAD_MAX}"),
            Self::Magic => f.write_str("not a state record"),
            Self::Payload => f.write_str("payload does not decode"),
            Self::Sealed { name, .. } => write!(f, "sealed on another machine, for {name:?}"),
            Self::Version { version } => {
                write!(f, "version {version}, this image knows version {VERSION}")
            }
        }
    }
}

impl core::error::Error for SlotError {}

/// Reads one slot.
///
/// # Errors
/// Why it holds no record. Never panics, whatever the bytes.
pub fn parse(slot: &[u8], key: &SealingKey) -> Result<Record, SlotError> {
    let sealed = Sealed::read(slot)?;
    let payload = key
        .open(sealed.clear, sealed.siv, sealed.payload)
        .ok_or_else(|| SlotError::Sealed {
            name: sealed.name(),
            generation: sealed.generation(),
        })?;
    let state = state::decode(&payload).ok_or(SlotError::Payload)?;
    Ok(Record {
        generation: sealed.generation(),
        state,
    })
}

/// The bytes of a slot for a record; shorter than [`SLOT_LEN`].
///
/// # Errors
/// [`SlotError::Length`] if the state does not fit.
pub fn emit(record: &Record, key: &SealingKey) -> Result<Vec<u8>, SlotError> {
    let state = &record.state;
    let mut payload = Zeroizing::new(alloc::vec![0; PAYLOAD_MAX - seal::TAG_LEN]);
    let payload =
        postcard::to_slice(state, &mut payload).map_err(|_| SlotError::Length { len: u32::MAX })?;
    let name = state
        .identity
        .as_ref()
        .map_or("", |identity| &identity.name);
    let clear = Clear {
        version: VERSION,
        generation: record.generation,
        last_good_time: state.last_good_time,
        name,
    };
    Ok(slot(&clear, payload, key))
}

/// What stands in the clear header.
struct Clear<'a> {
    version: u16,
    generation: u64,
    last_good_time: u64,
    /// As much of it as fits is kept; the edge gives no longer one.
    name: &'a str,
}

/// A slot with this payload, at most `PAYLOAD_MAX - TAG_LEN` bytes, sealed.
fn slot(clear: &Clear<'_>, payload: &[u8], key: &SealingKey) -> Vec<u8> {
    let sealed = payload.len() + seal::TAG_LEN;
    let mut slot = alloc::vec![0; PAYLOAD_AT + sealed];
    let (header, body) = slot.split_at_mut(PAYLOAD_AT);
    body[..payload.len()].copy_from_slice(payload);
    let name = &clear.name.as_bytes()[..clear.name.floor_char_boundary(NAME_MAX)];
    header[..8].copy_from_slice(MAGIC);
    header[8..10].copy_from_slice(&clear.version.to_be_bytes());
    header[11] = u8::try_from(name.len()).unwrap_or(0);
    header[12..16].copy_from_slice(&u32::try_from(sealed).unwrap_or(u32::MAX).to_be_bytes());
    header[16..24].copy_from_slice(&clear.generation.to_be_bytes());
    header[24..NAME_AT].copy_from_slice(&clear.last_good_time.to_be_bytes());
    header[NAME_AT..NAME_AT + name.len()].copy_from_slice(name);
    let siv = key.seal(&header[..CLEAR_LEN], body);
    header[CLEAR_LEN..DIGEST_AT].copy_from_slice(&siv);
    let digest = digest_of(&header[..DIGEST_AT], body);
    header[DIGEST_AT..].copy_from_slice(&digest);
    slot
}

/// A slot whose digest holds, its seal not opened.
struct Sealed<'a> {
    clear: &'a [u8; CLEAR_LEN],
    siv: &'a [u8; seal::SIV_LEN],
    payload: &'a [u8],
}

impl<'a> Sealed<'a> {
    fn read(slot: &'a [u8]) -> Result<Self, SlotError> {
        let (header, body) = slot
            .split_first_chunk::<PAYLOAD_AT>()
            .ok_or(SlotError::Magic)?;
        if &header[..8] != MAGIC {
            let blank = header.iter().all(|byte| *byte == 0);
            return Err(if blank {
                SlotError::Blank
            } else {
                SlotError::Magic
            });
        }
        let (clear, rest) = header.split_first_chunk().ok_or(SlotError::Magic)?;
        let (siv, digest) = rest.split_first_chunk().ok_or(SlotError::Magic)?;
        let version = u16::from_be_bytes([clear[8], clear[9]]);
        if version != VERSION {
            return Err(SlotError::Version { version });
        }
        let len = u32::from_be_bytes([clear[12], clear[13], clear[14], clear[15]]);
        let payload = usize::try_from(len)
            .ok()
            .filter(|len| *len <= PAYLOAD_MAX)
            .and_then(|len| body.get(..len))
            .ok_or(SlotError::Length { len })?;
        if digest_of(&header[..DIGEST_AT], payload) != *digest {
            return Err(SlotError::Digest);
        }
        Ok(Self {
            clear,
            siv,
            payload,
        })
    }

    fn generation(&self) -> u64 {
        self.number(16)
    }

    fn last_good_time(&self) -> u64 {
        self.number(24)
    }

    /// Empty if it is no text of a length that was ever written.
    fn name(&self) -> Text<NAME_MAX> {
        let name = &self.clear[NAME_AT..];
        let name = name.get(..usize::from(self.clear[11])).unwrap_or_default();
        let name = core::str::from_utf8(name).unwrap_or_default();
        Text::try_from(name).unwrap_or_default()
    }

    fn number(&self, at: usize) -> u64 {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&self.clear[at..at + 8]);
        u64::from_be_bytes(bytes)
    }
}

/// What the two slots of a partition say together.
#[derive(Clone, Debug)]
pub struct Newest {
    /// The newest record, if any slot holds one.
    pub record: Option<Record>,
    /// The slot the next record goes to: never the one of `record`.
    pub write_to: usize,
    /// What is wrong with each slot that holds none.
    pub errors: [Option<SlotError>; SLOTS],
}

/// Picks the newest record of two slots.
#[must_use]
pub fn newest(slots: [&[u8]; SLOTS], key: &SealingKey) -> Newest {
    let [a, b] = slots.map(|slot| parse(slot, key));
    let errors = [a.as_ref().err().cloned(), b.as_ref().err().cloned()];
    let (record, write_to) = match (a, b) {
        (Ok(a), Ok(b)) if b.generation > a.generation => (Some(b), 0),
        (Ok(a), _) => (Some(a), 1),
        (Err(_), Ok(b)) => (Some(b), 0),
        (Err(_), Err(_)) => (None, 0),
    };
    Newest {
        record,
        write_to,
        errors,
    }
}

/// The last time the clock was known to be right, seconds since 1970, of the newest record in the
/// first `SLOTS * SLOT_LEN` bytes of a state partition; `None` if there is no record, or it never was.
///
/// For PID 1, which has no key to the records: it is read from the clear header, and whoever can write
/// to the disk can have written it.
#[must_use]
pub fn last_good_time(partition: &[u8]) -> Option<u64> {
    let (a, b) = partition.split_at_checked(SLOT_LEN)?;
    let sealed = [a, b].map(|slot| Sealed::read(slot).ok());
    let newest = sealed.iter().flatten().max_by_key(|slot| slot.generation());
    newest.map(Sealed::last_good_time).filter(|time| *time != 0)
}

fn digest_of(header: &[u8], payload: &[u8]) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(header);
    context.update(payload);
    let mut bytes = [0; 32];
    bytes.copy_from_slice(context.finish().as_ref());
    bytes
}

/// Body of the fuzz target `record`: any bytes as a slot, as a sealed payload and as a place of the device
/// secret. Never a panic; what parses is written, and reads as the same.
///
/// # Panics
/// If a record or a device secret changes on its way.
pub fn fuzz_record(data: &[u8]) {
    let key = SealingKey::derive(&[1; 32], Some(&[2; 16]));
    survives(data, &key);
    let name = String::from_utf8_lossy(&data[..data.len().min(80)]);
    let clear = Clear {
        version: VERSION,
        generation: 7,
        last_good_time: 1,
        name: &name,
    };
    let payload = &data[..data.len().min(PAYLOAD_MAX - seal::TAG_LEN)];
    let sealed = slot(&clear, payload, &key);
    survives(&sealed, &key);
    let other = SealingKey::derive(&[1; 32], None);
    let foreign = parse(&sealed, &other).err();
    assert!(
        matches!(foreign, Some(SlotError::Sealed { name: read, .. }) if name.starts_with(read.as_str())),
        "a record that another machine sealed was opened, or told another name"
    );
    let _ = last_good_time(data);
    device::fuzz_device(data);
}

fn survives(slot: &[u8], key: &SealingKey) {
    let Ok(record) = parse(slot, key) else { return };
    let Ok(emitted) = emit(&record, key) else {
        return;
    };
    let again = parse(&emitted, key).and_then(|again| emit(&again, key));
    assert!(again == Ok(emitted), "a record changed in its slot");
}

//! The state record: what a connector remembers over a restart.
//!
//! Two slots of [`SLOT_LEN`] bytes, at the start of the state partition and right behind it. A write
//! goes to the slot that does not hold the newest record, is flushed and read back, so a power cut
//! leaves the old record or the new one. Nothing in a record is executed or used as a path.
//!
//! ```text
//!  0  magic       8  "OUTGATE\0"
//!  8  version     2  big-endian; 3: the payload is postcard(State)
//! 10  reserved    2  zero
//! 12  length      4  of the payload, big-endian
//! 16  generation  8  big-endian; the higher of two good slots is the newest
//! 24  digest     32  SHA-256 over bytes 0..24 and the payload
//! 56  payload
//! ```

use alloc::vec::Vec;
use core::fmt;

use ring::digest;
use zeroize::Zeroizing;

mod state;

pub use state::{EdgeAddresses, Identity, Next, ProxyCredentials, State};

/// Bytes of one slot.
pub const SLOT_LEN: usize = 64 * 1024;
/// Slots of a state partition, one after the other from its start.
pub const SLOTS: usize = 2;

const MAGIC: &[u8; 8] = b"OUTGATE\0";
/// The only version that is read and written.
const VERSION: u16 = 3;
const DIGEST_AT: usize = 24;
const PAYLOAD_AT: usize = 56;
/// Largest payload.
const PAYLOAD_MAX: u32 = 64 * 1024 - 56;
const _: () = assert!(PAYLOAD_MAX as usize + PAYLOAD_AT == SLOT_LEN);

/// A record read from a slot.
#[derive(Clone, Debug)]
pub struct Record {
    /// Counts writes.
    pub generation: u64,
    /// What was written.
    pub state: State,
}

/// Why a slot holds no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotError {
    /// It was never written: all zeros where the magic belongs.
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
    /// The digest holds but the payload does not decode.
    Payload,
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
pub fn parse(slot: &[u8]) -> Result<Record, SlotError> {
    let header = slot.get(..PAYLOAD_AT).ok_or(SlotError::Magic)?;
    if &header[..8] != MAGIC {
        let blank = header.iter().all(|byte| *byte == 0);
        return Err(if blank {
            SlotError::Blank
        } else {
            SlotError::Magic
        });
    }
    let version = u16::from_be_bytes([header[8], header[9]]);
    if version != VERSION {
        return Err(SlotError::Version { version });
    }
    let len = u32::from_be_bytes([header[12], header[13], header[14], header[15]]);
    let payload = usize::try_from(len)
        .ok()
        .filter(|_| len <= PAYLOAD_MAX)
        .and_then(|len| slot.get(PAYLOAD_AT..PAYLOAD_AT + len))
        .ok_or(SlotError::Length { len })?;
    if digest_of(&header[..DIGEST_AT], payload) != header[DIGEST_AT..PAYLOAD_AT] {
        return Err(SlotError::Digest);
    }
    let mut generation = [0; 8];
    generation.copy_from_slice(&header[16..DIGEST_AT]);
    let generation = u64::from_be_bytes(generation);
    let state = state::decode(payload).ok_or(SlotError::Payload)?;
    Ok(Record { generation, state })
}

/// The bytes of a slot for a record; shorter than [`SLOT_LEN`].
///
/// # Errors
/// [`SlotError::Length`] if the state does not fit.
pub fn emit(record: &Record) -> Result<Vec<u8>, SlotError> {
    let mut payload = Zeroizing::new(alloc::vec![0; SLOT_LEN - PAYLOAD_AT]);
    let payload = postcard::to_slice(&record.state, &mut payload)
        .map_err(|_| SlotError::Length { len: u32::MAX })?;
    Ok(seal(VERSION, record.generation, payload))
}

/// A slot with this payload under a header that fits; `payload` is at most [`PAYLOAD_MAX`] long.
fn seal(version: u16, generation: u64, payload: &[u8]) -> Vec<u8> {
    let announced = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    let mut slot = alloc::vec![0; PAYLOAD_AT + payload.len()];
    let (header, body) = slot.split_at_mut(PAYLOAD_AT);
    body.copy_from_slice(payload);
    header[..8].copy_from_slice(MAGIC);
    header[8..10].copy_from_slice(&version.to_be_bytes());
    header[12..16].copy_from_slice(&announced.to_be_bytes());
    header[16..DIGEST_AT].copy_from_slice(&generation.to_be_bytes());
    let digest = digest_of(&header[..DIGEST_AT], body);
    header[DIGEST_AT..].copy_from_slice(&digest);
    slot
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
pub fn newest(slots: [&[u8]; SLOTS]) -> Newest {
    let [a, b] = slots.map(parse);
    let errors = [a.as_ref().err().copied(), b.as_ref().err().copied()];
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
/// For PID 1, which needs nothing else of the record and keeps nothing else: what is decoded beside
/// the time is wiped before this returns. The bytes themselves hold secrets: the caller wipes them.
#[must_use]
pub fn last_good_time(partition: &[u8]) -> Option<u64> {
    let (a, b) = partition.split_at_checked(SLOT_LEN)?;
    let record = newest([a, b]).record?;
    Some(record.state.last_good_time).filter(|time| *time != 0)
}

fn digest_of(header: &[u8], payload: &[u8]) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(header);
    context.update(payload);
    let mut bytes = [0; 32];
    bytes.copy_from_slice(context.finish().as_ref());
    bytes
}

/// Body of the fuzz target `record`: any bytes as a slot, and as a payload under a header that fits. Never a panic; what parses is written, and reads as the same.
///
/// # Panics
/// If a record does not survive its slot.
pub fn fuzz_record(data: &[u8]) {
    survives(data);
    survives(&seal(VERSION, 7, data));
    let _ = last_good_time(data);
}

fn survives(slot: &[u8]) {
    let Ok(record) = parse(slot) else { return };
    let Ok(emitted) = emit(&record) else { return };
    let again = parse(&emitted).and_then(|again| emit(&again));
    assert!(again == Ok(emitted), "a record changed in its slot");
}

#[cfg(test)]
mod tests {
    use core::net::{Ipv4Addr, Ipv6Addr};

    use super::*;
    use crate::message::RatchetValue;
    use proptest::prelude::*;

    #[test]
    fn a_record_survives_its_slot() {
        let record = parse(&emit(&sample(7)).unwrap()).unwrap();
        assert_eq!(record.generation, 7);
        assert_eq!(record.state.edge, "edge.example:443");
        assert_eq!(record.state.identity.as_ref().unwrap().name, "mumbai-01");
    }

    #[test]
    fn every_flipped_bit_loses_that_slot_and_the_other_is_used() {
        let (old, new) = (emit(&sample(1)).unwrap(), emit(&sample(2)).unwrap());
        for bit in 0..new.len() * 8 {
            let mut altered = new.clone();
            altered[bit / 8] ^= 1 << (bit % 8);
            let newest = newest([&old, &altered]);
            assert_eq!(newest.record.unwrap().generation, 1, "bit {bit}");
            assert_eq!(newest.write_to, 1);
        }
    }

    #[test]
    fn a_write_cut_at_every_byte_leaves_the_old_record() {
        let old = emit(&sample(1)).unwrap();
        let new = emit(&sample(2)).unwrap();
        for cut in 0..new.len() {
            let mut slot = alloc::vec![0; SLOT_LEN];
            slot[..cut].copy_from_slice(&new[..cut]);
            assert_eq!(newest([&old, &slot]).record.unwrap().generation, 1);
        }
    }

    #[test]
    fn the_newest_record_is_never_the_one_that_is_written_over() {
        let (older, newer) = (emit(&sample(4)).unwrap(), emit(&sample(5)).unwrap());
        assert_eq!(newest([&older, &newer]).write_to, 0);
        assert_eq!(newest([&newer, &older]).write_to, 1);
        assert_eq!(newest([&[0; SLOT_LEN], &newer]).write_to, 0);
    }

    #[test]
    fn a_fresh_partition_is_blank_and_a_file_system_is_named_as_foreign() {
        let blank = [0; SLOT_LEN];
        let newest = newest([&blank, &[0x5a; SLOT_LEN]]);
        assert!(newest.record.is_none());
        assert_eq!(
            newest.errors,
            [Some(SlotError::Blank), Some(SlotError::Magic)]
        );
    }

    #[test]
    fn debug_output_has_no_secret() {
        let text = alloc::format!("{:?}", sample(1));
        assert!(
            !text.contains("42, 42") && !text.contains("hunter2"),
            "{text}"
        );
        let credentials = sample(1).state.proxy_credentials.clone();
        assert!(!alloc::format!("{credentials:?}").contains("hunter2"));
    }

    #[test]
    fn the_floor_of_the_clock_is_read_from_the_newest_record_only() {
        let mut partition = alloc::vec![0; SLOTS * SLOT_LEN];
        assert_eq!(last_good_time(&partition), None);
        let mut never = sample(8);
        never.state.last_good_time = 0;
        for (at, record, wanted) in [(0, sample(7), Some(1_700_000_000)), (SLOT_LEN, never, None)] {
            let slot = emit(&record).unwrap();
            partition[at..at + slot.len()].copy_from_slice(&slot);
            assert_eq!(last_good_time(&partition), wanted);
        }
        assert_eq!(last_good_time(&partition[..SLOT_LEN]), Some(1_700_000_000));
        assert_eq!(last_good_time(&[]), None);
    }

    #[test]
    fn a_record_of_another_version_is_named_and_not_read() {
        for version in [0, VERSION + 1, u16::MAX] {
            let slot = seal(version, 1, &emit(&sample(1)).unwrap()[PAYLOAD_AT..]);
            assert_eq!(parse(&slot).err(), Some(SlotError::Version { version }));
        }
    }

    proptest! {
        #[test]
        fn any_slot_is_handled(data: Vec<u8>) {
            fuzz_record(&data);
        }
    }

    fn sample(generation: u64) -> Record {
        let identity = Identity {
            ca: alloc::vec![1; 40],
            other_ca: Vec::new(),
            certificate: alloc::vec![2; 40],
            connector_id: [3; 16],
            name: "mumbai-01".into(),
            group: "Mumbai".into(),
            grant_key: [4; 32],
        };
        let state = State {
            private_key: alloc::vec![42; 40],
            edge: "edge.example:443".into(),
            identity: Some(identity),
            last_good_time: 1_700_000_000,
            edge_addresses: EdgeAddresses::from_slice(&[
                Ipv6Addr::LOCALHOST.into(),
                Ipv4Addr::new(192, 0, 2, 7).into(),
            ])
            .unwrap(),
            proxy_credentials: Some(ProxyCredentials {
                user: "plant".into(),
                password: "hunter2".into(),
            }),
            next: None,
            ratchet: RatchetValue::default(),
        };
        Record { generation, state }
    }
}

//! What lies on the disk when the connector starts, and what follows from it.

use connector_proto::local::NoIdentity;
use connector_proto::record::{
    self, DEVICE_AT, DEVICE_LEN, DEVICE_PLACES, DeviceError, Newest, SLOT_LEN, SlotError,
};

use super::StoreError;
use super::secret::{Places, Secret};
use super::unsealer::Unsealer;

/// Bytes of the state partition that are used.
pub(super) const LEN: usize = DEVICE_AT + DEVICE_PLACES * DEVICE_LEN;

/// The slots and the device secret of one disk, judged.
pub(super) struct Reading {
    pub(super) secret: Secret,
    /// Whether the secret lies on no disk yet.
    pub(super) is_new: bool,
    pub(super) places: Places,
    pub(super) newest: Newest,
    /// The slot whose record this machine cannot open, and that is not given up yet.
    pub(super) kept: Option<usize>,
    pub(super) why: Option<NoIdentity>,
}

/// A device secret that was unsealed, and what it opens.
struct Candidate {
    secret: Secret,
    place: usize,
    newest: Newest,
}

impl Reading {
    /// `disk` is the first [`LEN`] bytes.
    pub(super) fn new(
        disk: &[u8],
        uuid: &[u8; 16],
        unsealer: &mut dyn Unsealer,
    ) -> Result<Self, StoreError> {
        let (a, rest) = disk.split_at(SLOT_LEN);
        let (b, places) = rest.split_at(SLOT_LEN);
        let (first, second) = places.split_at(DEVICE_LEN);
        let places = [first, second];
        let mut best: Option<Candidate> = None;
        let mut locked = None;
        for (place, bytes) in places.iter().enumerate() {
            if place > 0 && *bytes == first {
                continue;
            }
            let sealed = match record::parse_device(bytes) {
                Ok(sealed) => sealed,
                Err(DeviceError::Blank) => continue,
                Err(error) => {
                    log::warn!("place {place} of the device secret is not used: {error}");
                    continue;
                }
            };
            let secret = match unsealer.unseal(&sealed) {
                Ok(secret) => Secret::new(&sealed, &secret, uuid)?,
                Err(error) => {
                    log::warn!("the device secret in place {place} is not unsealed: {error}");
                    locked = locked.or(Some(place));
                    continue;
                }
            };
            let newest = record::newest([a, b], &secret.key);
            if best
                .as_ref()
                .is_none_or(|best| generation(&newest) > generation(&best.newest))
            {
                best = Some(Candidate {
                    secret,
                    place,
                    newest,
                });
            }
        }
        let is_unlocked = best.is_some();
        let (secret, place, newest) = match best {
            Some(best) => (best.secret, Some(best.place), best.newest),
            None => {
                // Opens nothing that is there.
                let secret = Secret::make(uuid, unsealer)?;
                let newest = record::newest([a, b], &secret.key);
                (secret, None, newest)
            }
        };
        let access = match (locked, is_unlocked) {
            (Some(_), _) => Access::Locked,
            (None, true) => Access::Unlocked,
            (None, false) => Access::Lost,
        };
        let (kept, why) = judge(&newest, access);
        let keep = kept.and(locked).or(place);
        Ok(Self {
            secret,
            is_new: !is_unlocked,
            places: Places::new(places, keep),
            newest,
            kept,
            why,
        })
    }
}

/// What became of the device secret.
#[derive(Clone, Copy)]
enum Access {
    /// A TPM keeps it, and it is not this one.
    Locked,
    /// There is none in any place.
    Lost,
    /// It is known.
    Unlocked,
}

/// Which slot to keep, and why there is no identity.
fn judge(newest: &Newest, access: Access) -> (Option<usize>, Option<NoIdentity>) {
    let state = newest.record.as_ref().map(|record| &record.state);
    if state.is_some_and(|state| state.identity.is_some()) {
        return (None, None);
    }
    let sealed = newest
        .errors
        .iter()
        .enumerate()
        .filter_map(|(slot, error)| match error {
            Some(SlotError::Sealed { name, generation }) if !name.is_empty() => {
                Some((*generation, slot, name))
            }
            _ => None,
        });
    if let Some((_, slot, name)) = sealed.max() {
        let name = name.clone();
        let why = match access {
            Access::Locked => NoIdentity::Sealed { name },
            Access::Lost => NoIdentity::Unreadable,
            Access::Unlocked => NoIdentity::Foreign { name },
        };
        return (Some(slot), Some(why));
    }
    // A copy of a machine that was never enrolled has lost nothing.
    let is_empty = |error: &Option<SlotError>| {
        matches!(error, Some(SlotError::Blank | SlotError::Sealed { .. }))
    };
    let why = match state {
        Some(_) => None,
        None if newest.errors.iter().all(is_empty) => Some(NoIdentity::Blank),
        None => Some(NoIdentity::Unreadable),
    };
    (None, why)
}

fn generation(newest: &Newest) -> Option<u64> {
    newest.record.as_ref().map(|record| record.generation)
}

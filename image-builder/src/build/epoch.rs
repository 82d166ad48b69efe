//! The build's one time stamp.

use crate::Error;
use crate::provenance::git;

/// `SOURCE_DATE_EPOCH`, else the time of the commit, else [`EPOCH_WITHOUT_COMMIT`] (a source
/// archive has no commit). In seconds since 1970.
///
/// # Errors
/// When `SOURCE_DATE_EPOCH` is no such number.
pub fn epoch() -> Result<u32, Error> {
    let text = match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(text) => text,
        Err(_) => match git(&["log", "-1", "--format=%ct"]) {
            Some(text) => text,
            None => return Ok(EPOCH_WITHOUT_COMMIT),
        },
    };
    text.trim().parse().map_err(|_| Error::Epoch { text })
}

/// 2026-11-01, before the first release: a floor for the guest's clock that is never in the future.
const EPOCH_WITHOUT_COMMIT: u32 = 1_793_491_200;

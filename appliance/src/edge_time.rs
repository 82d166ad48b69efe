//! The edge's time: who is believed while the clock may be wrong, and what follows from the answer.
//!
//! This is the one connection on which a certificate's dates are not held against it: they cannot
//! be, because the clock they would be compared with is what is being asked for. Everything else is
//! verified as ever. Whoever holds an expired key of the edge can therefore tell a false time, never
//! below PID 1's floor; the connection yields nothing else.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use connector_proto::edge_time::Answer;
use connector_proto::local::{EdgeSample, EdgeText};
use connector_proto::time::Instant;
use rustls::CertificateError;
use rustls::client::danger::ServerCertVerified;
use rustls::pki_types::{CertificateDer, UnixTime};

use crate::issuer;
use crate::verifier::Judgement;

/// How often the time of verification is moved. Once does for an edge's own certificate; more, for
/// certificates between it and the CA.
const DATES_MAX: usize = 4;

/// Whether the dates of a certificate held by this machine's clock: what a verifier notes for whoever
/// uses the connection.
#[derive(Debug, Default)]
pub struct Dates(AtomicBool);

impl Dates {
    /// Whether they held. Not before the certificate was verified.
    #[must_use]
    pub fn held(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Accepts a certificate that is valid at some time, and notes whether that is now. For one connection.
#[derive(Debug)]
pub struct AtItsOwnTime(pub Arc<Dates>);

impl Judgement for AtItsOwnTime {
    fn judge(
        &self,
        certificate: &CertificateDer<'_>,
        now: UnixTime,
        verify: &dyn Fn(UnixTime) -> Result<ServerCertVerified, rustls::Error>,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let mut result = verify(now);
        self.0.0.store(result.is_ok(), Ordering::Relaxed);
        for _ in 0..DATES_MAX {
            let Err(rustls::Error::InvalidCertificate(error)) = &result else {
                break;
            };
            // Nothing is taken as valid here: the whole chain is verified again at that time.
            let at = match error {
                CertificateError::ExpiredContext { not_after, .. } => *not_after,
                CertificateError::NotValidYetContext { not_before, .. } => *not_before,
                _ => break,
            };
            result = verify(at);
        }
        result.map_err(|error| issuer::named(error, certificate))
    }
}

/// What the clocks showed at one moment: `CLOCK_BOOTTIME` and `CLOCK_REALTIME` in microseconds.
pub type Clocks = (Instant, i64);

/// What an answer says about the clock, if the clocks show `clocks` now. `is_strict`: the dates of the
/// edge's certificate held by this clock.
///
/// The edge's time is taken for that of the middle of the round trip, so the bound is half of it.
/// `None` if the numbers cannot be.
#[must_use]
pub fn sample(
    edge: EdgeText,
    answer: &Answer,
    is_strict: bool,
    clocks: Clocks,
) -> Option<EdgeSample> {
    let (boot, real_us) = clocks;
    let half_us = u64::try_from(answer.round_trip.as_micros() / 2).ok()?;
    let since_middle_us = boot
        .as_micros()
        .checked_sub(answer.asked.as_micros() + half_us)?;
    let middle_us = real_us.checked_sub(i64::try_from(since_middle_us).ok()?)?;
    Some(EdgeSample {
        edge,
        offset_us: i64::try_from(answer.time.0).ok()?.checked_sub(middle_us)?,
        bound_us: u32::try_from(half_us).ok()?,
        at_boot_us: answer.asked.as_micros(),
        is_strict,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use connector_proto::time::UnixMicros;

    use super::*;

    #[test]
    fn the_offset_is_that_of_the_middle_of_the_round_trip_and_the_bound_half_of_it() {
        let answer = Answer {
            time: UnixMicros(1_800_000_000_000_000),
            asked: Instant::from_micros(5_000_000),
            round_trip: Duration::from_millis(80),
        };
        let edge: EdgeText = "edge.example.org".parse().unwrap();
        // Read 10 ms after the answer came: 50 ms after the middle.
        let clocks = (Instant::from_micros(5_090_000), 1_700_000_000_050_000);
        assert_eq!(
            sample(edge.clone(), &answer, true, clocks),
            Some(EdgeSample {
                edge: edge.clone(),
                offset_us: 100_000_000_000_000,
                bound_us: 40_000,
                at_boot_us: 5_000_000,
                is_strict: true,
            })
        );
        let impossible = Answer {
            time: UnixMicros(u64::MAX),
            ..answer
        };
        assert_eq!(sample(edge, &impossible, true, clocks), None);
    }
}

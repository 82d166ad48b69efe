//! Which grants were taken, so that none is taken twice.
//!
//! A grant is remembered for as long as its time could hold. The memory is bounded by
//! [`limits::GRANTS_REMEMBERED`], and being full refuses nobody: the grant whose time ends first is
//! forgotten, and from then on every grant whose time ends no later than that is refused unseen. A
//! fresh grant ends last of all, so only one that took longer on its way than the newest
//! [`limits::GRANTS_REMEMBERED`] is mistaken for a replay.
//!
//! It is kept in memory alone. After a restart of the process a grant of the last two minutes would be
//! taken again if it came; it comes over a new control channel, from the edge that signed it, or not at all.

use alloc::collections::BTreeSet;

use super::{Grant, GrantError, verify};
use crate::limits::{GRANT_CLOCK_SKEW, GRANT_LIFE, GRANTS_REMEMBERED};
use crate::time::UnixSeconds;

/// The grants that one connector took.
#[derive(Debug, Default)]
pub struct Seen {
    sessions: BTreeSet<[u8; 16]>,
    /// The same sessions, each behind the end of its grant's time.
    ends: BTreeSet<(u64, [u8; 16])>,
    /// The latest end of a grant that was forgotten.
    horizon: u64,
}

impl Seen {
    /// Nothing taken yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Checks a grant as [`verify`] does, and takes it if it was not taken before.
    ///
    /// # Errors
    /// What is wrong with it; [`GrantError::Replayed`] if all else is right.
    pub fn accept<'a>(
        &mut self,
        bytes: &'a [u8],
        key: &[u8; 32],
        connector_id: &[u8; 16],
        now: UnixSeconds,
    ) -> Result<Grant<'a>, (Option<[u8; 16]>, GrantError)> {
        let grant = verify(bytes, key, connector_id, now)?;
        match self.take(&grant, now) {
            Ok(()) => Ok(grant),
            Err(error) => Err((Some(grant.session), error)),
        }
    }

    fn take(&mut self, grant: &Grant<'_>, now: UnixSeconds) -> Result<(), GrantError> {
        self.forget_ended(now);
        let end = grant.not_after.0;
        if self.sessions.contains(&grant.session) || end <= self.horizon_at(now) {
            return Err(GrantError::Replayed);
        }
        while self.ends.len() >= GRANTS_REMEMBERED {
            self.forget_first();
        }
        self.sessions.insert(grant.session);
        self.ends.insert((end, grant.session));
        Ok(())
    }

    /// The horizon, unless a clock was set back: an end that no grant can have by now says nothing
    /// about those that have one.
    fn horizon_at(&self, now: UnixSeconds) -> u64 {
        let longest = GRANT_LIFE + GRANT_CLOCK_SKEW;
        if self.horizon > now.0.saturating_add(longest.as_secs()) {
            0
        } else {
            self.horizon
        }
    }

    fn forget_ended(&mut self, now: UnixSeconds) {
        let over = now.0.saturating_sub(GRANT_CLOCK_SKEW.as_secs());
        while self.ends.first().is_some_and(|(end, _)| *end < over) {
            self.forget_first();
        }
    }

    fn forget_first(&mut self) {
        if let Some((end, session)) = self.ends.pop_first() {
            self.sessions.remove(&session);
            self.horizon = self.horizon.max(end);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{NOW, grant, key};
    use super::super::{Grant, sign};
    use super::*;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    #[test]
    fn a_grant_is_taken_once_and_refused_for_as_long_as_its_time_holds() {
        let mut offers = Offers::new();
        assert_eq!(offers.offer(1, 60, 0), Ok(()));
        for now in [0, 1, 59, 60, 90] {
            assert_eq!(offers.offer(1, 60, now), Err(GrantError::Replayed), "{now}");
        }
        assert!(matches!(
            offers.offer(1, 60, 91),
            Err(GrantError::NotValidNow { .. })
        ));
        assert_eq!(offers.offer(2, 120, 91), Ok(()), "another is taken");
    }

    #[test]
    fn a_second_grant_for_a_session_that_was_taken_is_a_replay_too() {
        let mut offers = Offers::new();
        assert_eq!(offers.offer(1, 60, 0), Ok(()));
        assert_eq!(offers.offer(1, 61, 0), Err(GrantError::Replayed));
    }

    #[test]
    fn a_refused_grant_is_not_taken() {
        let mut offers = Offers::new();
        for _ in 0..2 {
            let early = offers.offer(1, 91, 0);
            assert!(matches!(early, Err(GrantError::NotValidNow { .. })));
        }
        assert_eq!(offers.offer(1, 91, 1), Ok(()));
    }

    #[test]
    fn a_grant_that_was_forgotten_stays_refused_when_the_clock_is_set_back() {
        let mut offers = Offers::new();
        assert_eq!(offers.offer(1, 60, 0), Ok(()));
        assert_eq!(offers.offer(2, 150, 100), Ok(()));
        assert_eq!(offers.seen.sessions.len(), 1, "the first is over");
        assert_eq!(offers.offer(1, 60, 50), Err(GrantError::Replayed));
        // An hour back, the horizon is out of every grant's reach: it must not refuse them all.
        assert_eq!(offers.offer(3, -3_540, -3_600), Ok(()));
    }

    #[test]
    fn a_grant_holds_for_the_clocks_difference_beside_others_of_the_same_time() {
        let mut offers = Offers::new();
        for (number, now) in [0, 60, 61, 89, 90].into_iter().enumerate() {
            let number = i64::try_from(number).unwrap();
            assert_eq!(offers.offer(number, 60, now), Ok(()), "{now}");
        }
        assert_eq!(offers.offer(0, 60, 90), Err(GrantError::Replayed));
    }

    #[test]
    fn a_horizon_that_a_grant_can_reach_counts_and_one_beyond_does_not() {
        // A minute of life, and half a one between the clocks.
        for (horizon, expected) in [
            (61, Err(GrantError::Replayed)),
            (90, Err(GrantError::Replayed)),
            (91, Ok(())),
        ] {
            let mut offers = Offers::new();
            offers.seen.horizon = NOW.0 + horizon;
            let end = i64::try_from(horizon).unwrap().min(90);
            assert_eq!(offers.offer(1, end, 0), expected, "{horizon}");
        }
    }

    #[test]
    fn what_a_clock_that_was_set_back_forgets_moves_the_horizon_not_back() {
        let mut offers = Offers::new();
        assert_eq!(offers.offer(1, 150, 100), Ok(()));
        assert_eq!(offers.offer(2, 240, 190), Ok(()), "the first is over");
        assert_eq!(offers.offer(3, -50, -100), Ok(()));
        assert_eq!(offers.offer(4, 30, 0), Ok(()), "the third is over");
        assert_eq!(offers.offer(1, 150, 100), Err(GrantError::Replayed));
    }

    #[test]
    fn a_flood_of_sessions_is_remembered_in_bounds_and_refuses_no_fresh_grant() {
        let (per_second, seconds) = (400, 60);
        let mut seen = Seen::new();
        let mut offer = |number: u64, now| {
            let taken = seen.take(
                &Grant {
                    session: u128::from(number).to_be_bytes(),
                    not_after: UnixSeconds(NOW.0 + number / per_second + 60),
                    ..grant()
                },
                UnixSeconds(NOW.0 + now),
            );
            assert!(seen.sessions.len() <= GRANTS_REMEMBERED);
            assert_eq!(seen.sessions.len(), seen.ends.len());
            taken
        };
        for number in 0..per_second * seconds {
            assert_eq!(offer(number, number / per_second), Ok(()), "{number}");
        }
        assert!(per_second * seconds > 2 * u64::try_from(GRANTS_REMEMBERED).unwrap());
        for number in 0..per_second * seconds {
            let again = offer(number, seconds - 1);
            assert_eq!(
                again,
                Err(GrantError::Replayed),
                "{number}, forgotten or not"
            );
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn no_order_of_offers_takes_a_grant_twice(
            offers in proptest::collection::vec((0i64..8, -40i64..100, 0i64..20), 1..60)
        ) {
            let mut seen = Offers::new();
            let (mut taken, mut now) = (Vec::new(), 0);
            for (number, end, later) in offers {
                now += later;
                if seen.offer(number, now + end, now).is_ok() {
                    prop_assert!(!taken.contains(&(number, now + end)));
                    taken.push((number, now + end));
                }
            }
        }
    }

    struct Offers {
        seen: Seen,
        pair: ring::signature::Ed25519KeyPair,
        public: [u8; 32],
    }

    impl Offers {
        fn new() -> Self {
            let (pair, public) = key();
            let seen = Seen::new();
            Self { seen, pair, public }
        }

        /// Offers session `number`; both times count from [`NOW`].
        fn offer(&mut self, number: i64, not_after: i64, now: i64) -> Result<(), GrantError> {
            let at = |offset| UnixSeconds(NOW.0.checked_add_signed(offset).unwrap());
            let session = i128::from(number).to_be_bytes();
            let not_after = at(not_after);
            let grant = Grant {
                session,
                not_after,
                ..grant()
            };
            let bytes = sign(&self.pair, &grant)?;
            let accepted = self.seen.accept(&bytes, &self.public, &[1; 16], at(now));
            accepted.map(drop).map_err(|(named, error)| {
                assert_eq!(named, Some(session));
                error
            })
        }
    }
}

//! Which sessions are to have their next data channel, and when.
//!
//! Pure. Both ends may ask for it, at about the same time; one channel does for both.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use connector_proto::time::Instant;

/// How long after a session's channel its next one may be attached: they go by connections of their own, and
/// the edge takes them in their order.
const SETTLED: Duration = Duration::from_secs(1);
/// How long what the edge asks for may have been said before it heard of the last channel, which may be what
/// it asks for. After that it gets one more: one too many does no harm, and one too few ends the session
/// after 20 s.
const CROSSING_MAX: Duration = Duration::from_secs(10);

/// Who wants a session to go on on another channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asker {
    /// This end's data plane.
    Plane,
    /// The edge.
    Edge,
}

/// See the module. Sessions are known by their tokens.
#[derive(Debug, Default)]
pub(super) struct Succession {
    /// Those that are to have one now.
    wanted: VecDeque<u64>,
    /// Those that have been asked for.
    of: HashMap<u64, State>,
    /// Those that were asked for too early; when to look at each again.
    unsettled: BTreeSet<(Instant, u64)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Wanted,
    /// Its last channel was attached then; whether another one is wanted since.
    Done {
        at: Instant,
        is_asked: bool,
    },
}

impl Succession {
    /// Somebody asks for a session's next channel.
    pub(super) fn ask(&mut self, now: Instant, token: u64, asker: Asker) {
        let settled = match asker {
            Asker::Plane => SETTLED,
            Asker::Edge => CROSSING_MAX,
        };
        match self.of.get_mut(&token) {
            Some(State::Wanted) => {}
            Some(State::Done { at, is_asked }) if now < *at + settled => {
                *is_asked = true;
                self.unsettled.insert((*at + settled, token));
            }
            Some(State::Done { .. }) | None => self.want(token),
        }
    }

    /// The first of those that are to have one now.
    pub(super) fn next(&mut self, now: Instant) -> Option<u64> {
        while let Some((at, token)) = self.unsettled.first().copied()
            && at <= now
        {
            self.unsettled.pop_first();
            if let Some(State::Done { is_asked: true, .. }) = self.of.get(&token) {
                self.want(token);
            }
        }
        while let Some(token) = self.wanted.front().copied() {
            if self.of.get(&token) == Some(&State::Wanted) {
                return Some(token);
            }
            // It has it, or is over.
            self.wanted.pop_front();
        }
        None
    }

    /// The session has it.
    pub(super) fn done(&mut self, now: Instant, token: u64) {
        let (at, is_asked) = (now, false);
        self.of.insert(token, State::Done { at, is_asked });
    }

    /// The session is over.
    pub(super) fn forget(&mut self, token: u64) {
        self.of.remove(&token);
    }

    /// All are over.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// How many are to have one now, after [`Self::next`].
    pub(super) fn wanted(&self) -> usize {
        self.wanted.len()
    }

    /// When [`Self::next`] may say more than it did.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.unsettled.first().map(|(at, _)| *at)
    }

    fn want(&mut self, token: u64) {
        self.of.insert(token, State::Wanted);
        self.wanted.push_back(token);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Instant = Instant::from_micros(1_000_000_000);
    const S: Duration = Duration::from_secs(1);

    #[test]
    fn both_ends_that_ask_at_once_get_one_channel_whoever_is_first() {
        for (first, second) in [(Asker::Plane, Asker::Edge), (Asker::Edge, Asker::Plane)] {
            let mut succession = Succession::default();
            succession.ask(START, 7, first);
            succession.ask(START, 7, second);
            assert_eq!((succession.next(START), succession.wanted()), (Some(7), 1));
            succession.done(START, 7);
            assert_eq!((succession.next(START), succession.wanted()), (None, 0));
        }
    }

    #[test]
    fn what_the_edge_said_before_it_heard_of_the_channel_waits_and_is_not_lost() {
        let mut succession = Succession::default();
        succession.ask(START, 7, Asker::Plane);
        succession.done(START, 7);
        succession.ask(START + S / 20, 7, Asker::Edge);
        assert_eq!(succession.next(START + 9 * S), None);
        assert_eq!(succession.poll_timeout(), Some(START + 10 * S));
        assert_eq!(succession.next(START + 10 * S), Some(7));
        assert_eq!(succession.poll_timeout(), None);
    }

    #[test]
    fn a_channel_that_came_meanwhile_answers_it() {
        let mut succession = Succession::default();
        succession.done(START, 7);
        succession.ask(START + S / 20, 7, Asker::Edge);
        succession.ask(START + 5 * S, 7, Asker::Plane);
        assert_eq!(succession.next(START + 5 * S), Some(7));
        succession.done(START + 5 * S, 7);
        assert_eq!(succession.next(START + 60 * S), None);
    }

    #[test]
    fn channels_of_one_session_keep_their_distance_and_those_of_others_need_not() {
        let mut succession = Succession::default();
        succession.done(START, 7);
        succession.ask(START, 7, Asker::Plane);
        succession.ask(START, 8, Asker::Plane);
        assert_eq!(succession.next(START), Some(8));
        succession.done(START, 8);
        assert_eq!(succession.next(START), None);
        assert_eq!(succession.next(START + S), Some(7));
    }

    #[test]
    fn a_session_that_is_over_wants_nothing() {
        let mut succession = Succession::default();
        succession.ask(START, 7, Asker::Edge);
        succession.done(START, 8);
        succession.ask(START, 8, Asker::Edge);
        succession.forget(7);
        succession.forget(8);
        assert_eq!(
            (succession.next(START + 60 * S), succession.wanted()),
            (None, 0)
        );
    }
}

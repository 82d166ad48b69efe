//! How far a direction outward goes: to the limit of its bytes, and to its end.

use super::Progress;

/// See the module.
#[derive(Debug)]
pub struct Course {
    /// Bytes of the plain socket that may still be taken.
    limit_left: Option<u64>,
    state: State,
}

/// How far the direction is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Bytes are read and sent.
    Open,
    /// The alert of this end is to be sent.
    Closing(Progress),
    /// The alert of this end is sent, or is sealed: nothing comes after it.
    Closed(Progress),
}

impl Course {
    /// From the first byte on, without a limit.
    pub(super) const fn new() -> Self {
        Self {
            limit_left: None,
            state: State::Open,
        }
    }

    /// Takes no more than this many bytes of the plain socket from here on; what comes beyond is read
    /// and dropped, and its end of file is still the end.
    pub const fn limit(&mut self, bytes: u64) {
        self.limit_left = Some(bytes);
    }

    /// How many bytes of the limit are left, for the successor's direction; `None` without a limit.
    #[must_use]
    pub const fn limit_left(&self) -> Option<u64> {
        self.limit_left
    }

    /// Has the next turns send out what is held, then [`crate::channel::ALERT_CONTINUES`], and end with
    /// [`Progress::Continues`]. Nothing more is read from the plain socket.
    pub fn leave(&mut self) {
        if self.state == State::Open {
            self.state = State::Closing(Progress::Continues);
        }
    }

    pub(super) const fn state(&self) -> State {
        self.state
    }

    pub(super) const fn is_closing(&self) -> bool {
        matches!(self.state, State::Closing(_))
    }

    /// The alert of this end is next.
    pub(super) const fn close(&mut self, end: Progress) {
        self.state = State::Closing(end);
    }

    /// The alert is under way.
    pub(super) const fn set_closed(&mut self, end: Progress) {
        self.state = State::Closed(end);
    }

    /// How many of `most` bytes may be read for the channel; `None` if what comes is to be dropped.
    pub(super) fn room(&self, most: usize) -> Option<usize> {
        match self.limit_left {
            Some(0) => None,
            Some(left) => Some(usize::try_from(left).map_or(most, |left| most.min(left))),
            None => Some(most),
        }
    }

    /// So many bytes were read.
    pub(super) fn take(&mut self, read: usize) {
        self.limit_left = (self.limit_left).map(|left| left.saturating_sub(read as u64));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_than_the_limit_is_taken_and_the_rest_is_dropped() {
        let mut course = Course::new();
        assert_eq!((course.room(9), course.limit_left()), (Some(9), None));
        course.take(9);
        course.limit(5);
        assert_eq!(course.room(9), Some(5));
        course.take(3);
        assert_eq!((course.room(9), course.limit_left()), (Some(2), Some(2)));
        course.take(2);
        assert_eq!(course.room(9), None);
        course.take(100);
        assert_eq!(course.limit_left(), Some(0));
        course.limit(u64::MAX);
        assert_eq!(course.room(9), Some(9));
    }

    #[test]
    fn an_end_that_is_under_way_is_not_changed_by_leaving() {
        let mut course = Course::new();
        course.close(Progress::Ended);
        course.leave();
        assert_eq!(course.state(), State::Closing(Progress::Ended));
        course.set_closed(Progress::Ended);
        course.leave();
        assert_eq!(course.state(), State::Closed(Progress::Ended));
    }
}

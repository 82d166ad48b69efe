//! The data channels of one session, by number: 0 is its first, each that succeeds it one more.
//!
//! Pure. Both ends ask for the next one, often at the same time, and each says which one that is: so one
//! channel does for both, however late either of them hears of it.

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Channels {
    /// How many the session has had, which is the number of the next one.
    given: u32,
    is_next_wanted: bool,
}

/// What somebody's wish for a channel means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// It is to be given.
    New,
    /// It was given, or is about to be.
    Known,
    /// It is not even the next one. No honest end asks for it: each asks for the one after those that it has.
    TooEarly,
}

impl Channels {
    /// Of a session that has its first one.
    pub(super) const fn first() -> Self {
        Self {
            given: 1,
            is_next_wanted: false,
        }
    }

    /// Somebody asks for the channel of this number.
    pub(super) const fn ask(&mut self, number: u32) -> Wish {
        if number > self.given {
            return Wish::TooEarly;
        }
        if number < self.given || self.is_next_wanted {
            return Wish::Known;
        }
        self.is_next_wanted = true;
        Wish::New
    }

    /// The number of the one that is to be given now, if one is.
    pub(super) const fn wanted(self) -> Option<u32> {
        match self.is_next_wanted {
            true => Some(self.given),
            false => None,
        }
    }

    /// That one is given.
    pub(super) const fn give(&mut self) {
        self.given += 1;
        self.is_next_wanted = false;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn both_ends_that_ask_for_the_same_channel_get_one_whoever_is_first_and_however_late() {
        let mut channels = Channels::first();
        assert_eq!(channels.wanted(), None);
        assert_eq!(channels.ask(1), Wish::New);
        assert_eq!(channels.ask(1), Wish::Known);
        assert_eq!(channels.wanted(), Some(1));
        channels.give();
        assert_eq!((channels.ask(1), channels.wanted()), (Wish::Known, None));
        assert_eq!(channels.ask(2), Wish::New);
    }

    #[test]
    fn a_channel_after_the_next_one_is_nobody_s_to_ask_for() {
        let mut channels = Channels::first();
        for number in [2, 3, u32::MAX] {
            assert_eq!(channels.ask(number), Wish::TooEarly);
        }
        assert_eq!((channels.ask(0), channels.wanted()), (Wish::Known, None));
    }

    proptest! {
        /// Two ends that each know of some of the channels, and wishes that take as long as they like.
        #[test]
        fn each_wish_is_fulfilled_by_one_channel(steps in proptest::collection::vec(0_u8..6, 0..200)) {
            let mut channels = Channels::first();
            let (mut had, mut under_way) = ([1_u32; 2], Vec::new());
            let (mut wishes, mut given) = (0, 0);
            for step in steps {
                match step {
                    end @ 0..2 => under_way.push(had[usize::from(end)]),
                    2..4 if !under_way.is_empty() => {
                        let wish = channels.ask(under_way.swap_remove(usize::from(step) % under_way.len()));
                        prop_assert_ne!(wish, Wish::TooEarly);
                        wishes += u32::from(wish == Wish::New);
                    }
                    4 if channels.wanted().is_some() => {
                        prop_assert_eq!(channels.wanted(), Some(1 + given));
                        channels.give();
                        given += 1;
                    }
                    // One end hears of all that there are.
                    _ => had[usize::from(step) % 2] = 1 + given,
                }
                prop_assert_eq!(wishes, given + u32::from(channels.wanted().is_some()));
            }
        }
    }
}

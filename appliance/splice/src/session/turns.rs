//! The turns of a session's two directions, and their way from link to link.

use super::direction::{At, Waits};
use super::side::{self, Means};
use super::{Around, Session, link_of};
use crate::engine::{self, Broken, Engine, Progress};

/// How many times the records after which a successor is asked for a direction sends before it waits for it.
const RECORDS_FACTOR: u64 = 2;

impl Session {
    /// Says whether there is more to do at once.
    pub(super) fn turn_outward(
        &mut self,
        around: &mut Around<'_>,
        budget: &mut usize,
    ) -> Result<bool, Broken> {
        let direction = &mut self.outward;
        let is_newest = self.links.last().map(|link| link.number) == Some(direction.link);
        let spent = around.records_max.saturating_mul(RECORDS_FACTOR);
        if is_newest && direction.records() >= spent {
            direction.note(Some(Waits::Successor), false, around.now);
            return Ok(false);
        }
        let link = link_of(&mut self.links, direction.link);
        let (At::Link(engine), Some(link)) = (&mut direction.at, link) else {
            direction.note(direction.waiting(), false, around.now);
            return Ok(false);
        };
        let before = direction.carried;
        let mut means = Means {
            budget,
            carried: &mut direction.carried,
            buffers: around.buffers,
        };
        let progress = side::turn(&mut self.plain, &mut link.side, &mut means, |flow| {
            engine.turn(flow)
        })?;
        match progress {
            Progress::Waiting | Progress::Spent => {}
            Progress::Ended => direction.at = At::End,
            Progress::Continues => {
                self.limit = engine.limit_left();
                direction.at = At::Between;
                direction.link += 1;
                self.start_outward(around.engine)?;
            }
        }
        let direction = &mut self.outward;
        let is_moving = direction.carried != before || progress == Progress::Continues;
        direction.note(direction.waiting(), is_moving, around.now);
        Ok(matches!(progress, Progress::Spent | Progress::Continues))
    }

    /// Says whether there is more to do at once.
    pub(super) fn turn_inward(
        &mut self,
        around: &mut Around<'_>,
        budget: &mut usize,
    ) -> Result<bool, Broken> {
        let direction = &mut self.inward;
        let link = link_of(&mut self.links, direction.link);
        let (At::Link(engine), Some(link)) = (&mut direction.at, link) else {
            direction.note(direction.waiting(), false, around.now);
            return Ok(false);
        };
        let before = direction.carried;
        let mut means = Means {
            budget,
            carried: &mut direction.carried,
            buffers: around.buffers,
        };
        let rekey = &mut link.rekey;
        let progress = side::turn(&mut link.side, &mut self.plain, &mut means, |flow| {
            engine.turn(flow, rekey)
        })?;
        let mut has_more = matches!(progress, Progress::Spent | Progress::Continues);
        if engine.takes_key_request()
            && direction.link == self.outward.link
            && let At::Link(engine) = &mut self.outward.at
        {
            engine.update_keys(&mut link.rekey)?;
            has_more = true;
        }
        match progress {
            Progress::Waiting | Progress::Spent => {}
            Progress::Ended => direction.at = At::End,
            Progress::Continues => {
                direction.at = At::Between;
                direction.link += 1;
                self.start_inward(around.engine)?;
            }
        }
        let direction = &mut self.inward;
        let is_moving = direction.carried != before || progress == Progress::Continues;
        direction.note(direction.waiting(), is_moving, around.now);
        Ok(has_more)
    }

    /// Puts the direction on its link, if that is there.
    pub(super) fn start_outward(&mut self, wanted: Engine) -> Result<(), Broken> {
        let is_newest = self.newest() == self.outward.link;
        let Some(link) = link_of(&mut self.links, self.outward.link) else {
            return Ok(());
        };
        let Some(keys) = link.outward.take() else {
            return Ok(());
        };
        let mut engine = engine::outward(&link.side.socket, *keys, wanted)?;
        if let Some(limit) = self.limit {
            engine.limit(limit);
        }
        if !is_newest {
            engine.leave();
        }
        self.outward.at = At::Link(engine);
        Ok(())
    }

    /// See [`Self::start_outward`].
    pub(super) fn start_inward(&mut self, wanted: Engine) -> Result<(), Broken> {
        let Some(link) = link_of(&mut self.links, self.inward.link) else {
            return Ok(());
        };
        let Some(keys) = link.inward.take() else {
            return Ok(());
        };
        self.inward.at = At::Link(engine::inward(&link.side.socket, *keys, wanted)?);
        Ok(())
    }
}

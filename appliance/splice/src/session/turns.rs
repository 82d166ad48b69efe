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
        let is_newest = self.newest() == self.outward.link;
        let spent = around.records_max.saturating_mul(RECORDS_FACTOR);
        if is_newest && self.outward.records() >= spent {
            let waits = Some(Waits::Successor);
            self.outward.wait_for(waits, false, around.now);
            return Ok(false);
        }
        let link = link_of(&mut self.links, self.outward.link);
        let turned = self.outward.turn(|engine, carried| {
            let Some(link) = link else {
                return Ok(Progress::Waiting);
            };
            let (source, sink) = (&mut self.plain, &mut link.side);
            let mut means = Means {
                budget,
                carried,
                buffers: around.buffers,
            };
            let progress = side::turn(source, sink, &mut means, |flow| engine.turn(flow))?;
            self.limit = engine.course().limit_left();
            Ok(progress)
        })?;
        if turned.has_left {
            self.start_outward(around.engine)?;
        }
        self.outward.note(turned.is_moving, around.now);
        Ok(turned.has_more)
    }

    /// Says whether there is more to do at once.
    pub(super) fn turn_inward(
        &mut self,
        around: &mut Around<'_>,
        budget: &mut usize,
    ) -> Result<bool, Broken> {
        let link = link_of(&mut self.links, self.inward.link);
        let mut is_asked = false;
        let turned = self.inward.turn(|engine, carried| {
            let Some(link) = link else {
                return Ok(Progress::Waiting);
            };
            let (source, sink) = (&mut link.side, &mut self.plain);
            let mut means = Means {
                budget,
                carried,
                buffers: around.buffers,
            };
            let rekey = &mut link.rekey;
            let progress = side::turn(source, sink, &mut means, |flow| engine.turn(flow, rekey))?;
            if engine.takes_key_request()
                && link.number == self.outward.link
                && let At::Link(outward) = &mut self.outward.at
            {
                outward.update_keys(rekey)?;
                is_asked = true;
            }
            Ok(progress)
        })?;
        if turned.has_left {
            self.start_inward(around.engine)?;
        }
        self.inward.note(turned.is_moving, around.now);
        Ok(turned.has_more || is_asked)
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
            engine.course().limit(limit);
        }
        if !is_newest {
            engine.course().leave();
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

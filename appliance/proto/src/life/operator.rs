//! What the operator typed.

use super::{Declined, Life};
use crate::key::ProvisioningKey;
use crate::local::FromConsole;
use crate::message::CloseCode;
use crate::time::Instant;

impl Life {
    pub(super) fn take_typed(&mut self, now: Instant, typed: &FromConsole) -> Result<(), Declined> {
        match typed {
            FromConsole::Key(data) => {
                self.check_wants_key(now)?;
                let key = ProvisioningKey::from_data(*data).map_err(|_| Declined::NotAKey)?;
                self.key = Some(key);
                self.is_pair_new = false;
            }
            FromConsole::Edge(edge) => {
                self.check_wants_key(now)?;
                self.typed_edge = Some(edge.as_str().into());
            }
            FromConsole::FactoryReset => {
                self.key = None;
                self.journal.erase();
            }
            // Those are for others.
            FromConsole::ProxyCredentials { .. } | FromConsole::Slot(_) => return Ok(()),
        }
        self.refused = None;
        self.drop_connection(Some(CloseCode::Normal));
        if self.journal.is_erasing() || self.state.identity.is_none() || self.key.is_some() {
            self.link.try_at_once(now);
        }
        Ok(())
    }

    /// A key or an edge is for a machine that lacks something, or that the edge does not let in.
    fn check_wants_key(&self, now: Instant) -> Result<(), Declined> {
        let is_wanted = self.key.is_some() || self.wants_key(now);
        is_wanted.then_some(()).ok_or(Declined::AlreadyEnrolled)
    }
}

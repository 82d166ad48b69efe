//! Sessions that the edge offers: whether they are taken, and what it is told of those that are not.
//!
//! Each leaves one line in the log, with its id and its application: this end's part of the audit.

use connector_proto::message::SessionRefusal;
use connector_proto::time::Instant;

use super::Connector;
use super::sessions::Refused;
use crate::clock;
use crate::session::{SessionId, Target};

impl Connector {
    pub(super) fn handle_offer(&mut self, now: Instant, bytes: &[u8]) {
        let Some(identity) = &self.life.state().identity else {
            return;
        };
        let (key, id) = (&identity.grant_key, &identity.connector_id);
        let target = match self.seen.accept(bytes, key, id, clock::unix()) {
            Ok(grant) => Target {
                session: grant.session,
                host: grant.host.to_owned(),
                port: grant.port,
            },
            // An unsigned one has no session that could be named.
            Err((None, error)) => return log::warn!("an offered session is refused: {error}"),
            Err((Some(session), error)) => {
                log::warn!("session {} is refused: {error}", SessionId(&session));
                return self.refuse(&Refused {
                    session,
                    reason: SessionRefusal::GrantInvalid,
                    detail: error.to_string(),
                });
            }
        };
        if !self.life.takes_sessions() {
            let detail = "it was offered before the ratchet value was stored".to_owned();
            log::warn!(
                "session {} is refused: {detail}",
                SessionId(&target.session)
            );
            return self.refuse(&Refused {
                session: target.session,
                reason: SessionRefusal::GrantInvalid,
                detail,
            });
        }
        if let Some(context) = self.context() {
            self.pool.arrived(now);
            let refused = self.sessions.start(now, target, context, &mut self.waiting);
            if let Some(refused) = refused {
                self.refuse(&refused);
            }
        }
    }

    pub(super) fn refuse(&mut self, refused: &Refused) {
        let Some(channel) = self.control() else {
            return;
        };
        let Refused {
            session,
            reason,
            detail,
        } = refused;
        if let Err(error) = channel.refuse_session(*session, *reason, detail) {
            log::warn!("the edge is not told of a refusal: {error}");
        }
    }
}

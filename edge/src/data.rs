//! A data channel, until it is handed over to the session that waits for it.

use std::sync::Arc;

use connector_proto::data::{OldAccepting, old_attached, refused};
use connector_proto::message::CloseCode;
use log::{info, warn};
use tokio::io::AsyncWriteExt as _;

use crate::acceptor::Known;
use crate::broker::{Carrier, Outcome, SessionId};
use crate::clock;
use crate::server::Shared;
use crate::tls::{self, Tls};

/// Serves one data channel up to the point where it is the session's.
pub(crate) async fn serve(shared: &Arc<Shared>, known: Known) {
    let Known {
        mut tls,
        identity,
        // Held until the session takes the channel over, or it is closed.
        ticket: _ticket,
        ..
    } = known;
    let (session, early) = match session_of(&mut tls).await {
        Ok(asked) => asked,
        Err((code, problem)) => {
            warn!("data channel of {} refused: {problem}", identity.name);
            return tls::farewell(tls, &refused(code)).await;
        }
    };
    let Some(waiting) = shared.broker.claim(&session, &identity.id) else {
        info!(
            "data channel of {} refused: nobody waits for its session",
            identity.name
        );
        return tls::farewell(tls, &refused(CloseCode::UnknownSession)).await;
    };
    let sent = async {
        tls.write_all(&old_attached()).await?;
        tls.flush().await
    };
    let outcome = match sent.await {
        Ok(()) => Outcome::Attached(Box::new(Carrier { tls, early })),
        Err(_) => Outcome::Lost,
    };
    // A user who has gone meanwhile: the data channel ends here.
    let _ = waiting.send(outcome);
}

/// The session that the connector asks for, and bytes of it that came along.
async fn session_of(tls: &mut Tls) -> Result<(SessionId, Vec<u8>), (CloseCode, String)> {
    let mut accepting = OldAccepting::new(clock::now());
    let deadline = accepting.deadline();
    tls::question(tls, deadline, |mut bytes| {
        let session = accepting.handle_input(&mut bytes)?;
        Ok(session.map(|session| (session, bytes.to_vec())))
    })
    .await
}

//! The port that connectors dial: handshake, who it is, and which protocol takes over.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use connector_proto::data;
use connector_proto::message::CloseCode;
use log::{info, warn};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::authorise::{Denied, Endpoint, authorise};
use crate::config::{HANDSHAKE_MAX, STORE_POLL, WAITING_PER_CONNECTOR_MAX};
use crate::server::{Alive, Shared, stopped};
use crate::store::holder::{Holder, Identity};
use crate::tls::{self, Arrived, StreamProtocol, Tls};
use crate::{clock, control, data as data_channel, edge_time, enrolment, renewal};

mod waiting;

pub(crate) use waiting::{Ticket, Waiting};

/// Accepts until `stop` says otherwise.
pub(crate) async fn run(
    listener: TcpListener,
    shared: Arc<Shared>,
    mut stop: watch::Receiver<bool>,
    alive: Alive,
) {
    let waiting = Arc::clone(&shared.waiting);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stopped(&mut stop) => return waiting.abort_all(),
        };
        match accepted {
            Ok((tcp, peer)) => {
                let (shared, alive) = (Arc::clone(&shared), alive.clone());
                waiting.spawn(|ticket| async move {
                    serve(&shared, tcp, peer, ticket).await;
                    drop(alive);
                });
            }
            Err(error) => accept_failed("connectors", &error).await,
        }
    }
}

/// Out of descriptors, most likely: whoever waits in the backlog is served when some are free.
pub(crate) async fn accept_failed(whom: &str, error: &io::Error) {
    warn!(
        "cannot accept {whom}: {error}; trying again in {} s",
        STORE_POLL.as_secs()
    );
    sleep(STORE_POLL).await;
}

async fn serve(shared: &Arc<Shared>, tcp: TcpStream, peer: SocketAddr, ticket: Ticket) {
    let handshake = shared.tls.handshake(tcp);
    // What a stage needs is in a box of its own and goes with it: a warm channel, which is the last one of
    // its connection, waits without the buffers of the handshake.
    let arrived = timeout(HANDSHAKE_MAX, Box::pin(handshake)).await;
    match arrived {
        Ok(Ok(Arrived::Data(greeting, tcp))) => {
            let serving = data_channel::serve(shared, *greeting, tcp, peer, ticket);
            Box::pin(serving).await;
        }
        Ok(Ok(Arrived::Stream(protocol, tls))) => {
            Box::pin(serve_stream(shared, protocol, *tls, peer, ticket)).await;
        }
        Ok(Err(error)) => info!("{peer}: handshake failed: {error}"),
        Err(_) => info!("{peer}: no handshake within {} s", HANDSHAKE_MAX.as_secs()),
    }
}

async fn serve_stream(
    shared: &Arc<Shared>,
    protocol: StreamProtocol,
    tls: Tls,
    peer: SocketAddr,
    ticket: Ticket,
) {
    match protocol {
        StreamProtocol::Enrol => {
            enrolment::serve(shared, tls, peer).await;
            drop(ticket);
        }
        StreamProtocol::Time => {
            edge_time::serve(tls, peer).await;
            drop(ticket);
        }
        StreamProtocol::Renew => {
            renewal::serve(shared, tls, peer).await;
            drop(ticket);
        }
        StreamProtocol::Control => {
            if let Some(known) = authenticate(shared, tls, peer, ticket).await {
                control::serve(shared, known).await;
            }
        }
    }
}

/// A peer whose certificate is a connector's, on a control channel.
pub(crate) struct Known {
    pub(crate) tls: Tls,
    pub(crate) identity: Identity,
    /// SHA-256 of the subject public key info of its certificate.
    pub(crate) spki: [u8; 32],
    pub(crate) peer: SocketAddr,
    /// To be dropped when the connection has become something of which there are only so many.
    pub(crate) ticket: Ticket,
}

/// Who the peer of a control channel is; says farewell to those who are nobody.
async fn authenticate(
    shared: &Arc<Shared>,
    mut tls: Tls,
    peer: SocketAddr,
    mut ticket: Ticket,
) -> Option<Known> {
    let spki = tls::verified_spki(tls.get_ref().1.peer_certificates());
    match identify(shared, spki, Endpoint::Control, peer) {
        Ok(identity) => {
            tls::lift_limit(&mut tls);
            ticket.belongs_to(identity.id, WAITING_PER_CONNECTOR_MAX);
            Some(Known {
                tls,
                identity,
                spki: spki?,
                peer,
                ticket,
            })
        }
        Err(code) => {
            tls::farewell(tls, &data::refused(code)).await;
            None
        }
    }
}

/// Who the holder of a verified certificate is, if it may have this kind of channel; what it is told if
/// not.
pub(crate) fn identify(
    shared: &Shared,
    spki: Option<[u8; 32]>,
    endpoint: Endpoint,
    peer: SocketAddr,
) -> Result<Identity, CloseCode> {
    let Some(spki) = spki else {
        // The handshake has verified one.
        return Err(CloseCode::InternalError);
    };
    let Holder { identity, standing } = shared.store.holder(&spki).map_err(|error| {
        warn!("{peer}: cannot look its certificate up: {error}");
        CloseCode::InternalError
    })?;
    let authorised = authorise(endpoint, &standing, clock::unix_now());
    authorised
        .and(identity.ok_or(Denied::Unknown))
        .map_err(|denied| {
            warn!("{peer}: refused: {denied}");
            denied.close_code()
        })
}

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
use crate::config::{HANDSHAKE_MAX, STORE_POLL, TCP_PROBE_INTERVAL, TCP_UNACKNOWLEDGED_MAX};
use crate::server::{Alive, Shared, stopped};
use crate::store::holder::{Holder, Identity};
use crate::tls::{self, Protocol, Tls};
use crate::{clock, control, data as data_channel, descriptors, edge_time, enrolment, renewal};

mod waiting;

pub(crate) use waiting::Ticket;
use waiting::Waiting;

/// Accepts until `stop` says otherwise.
pub(crate) async fn run(
    listener: TcpListener,
    shared: Arc<Shared>,
    mut stop: watch::Receiver<bool>,
    alive: Alive,
) {
    let waiting = Waiting::new(descriptors::strangers_max());
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

/// Lets the system notice a peer that is gone without a word.
pub(crate) fn watch_peer(tcp: &TcpStream) -> io::Result<()> {
    use rustix::net::sockopt;
    let unacknowledged = u32::try_from(TCP_UNACKNOWLEDGED_MAX.as_millis()).unwrap_or(u32::MAX);
    tcp.set_nodelay(true)?;
    sockopt::set_tcp_user_timeout(tcp, unacknowledged)?;
    sockopt::set_socket_keepalive(tcp, true)?;
    sockopt::set_tcp_keepidle(tcp, TCP_PROBE_INTERVAL)?;
    sockopt::set_tcp_keepintvl(tcp, TCP_PROBE_INTERVAL)?;
    Ok(())
}

async fn serve(shared: &Arc<Shared>, tcp: TcpStream, peer: SocketAddr, ticket: Ticket) {
    let handshake = async {
        watch_peer(&tcp)?;
        shared.tls.handshake(tcp).await
    };
    let (protocol, tls) = match timeout(HANDSHAKE_MAX, handshake).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => return info!("{peer}: handshake failed: {error}"),
        Err(_) => return info!("{peer}: no handshake within {} s", HANDSHAKE_MAX.as_secs()),
    };
    match protocol {
        Protocol::Enrol => {
            enrolment::serve(shared, tls, peer).await;
            drop(ticket);
        }
        Protocol::Time => {
            edge_time::serve(tls, peer).await;
            drop(ticket);
        }
        Protocol::Renew => {
            renewal::serve(shared, tls, peer).await;
            drop(ticket);
        }
        Protocol::Control => {
            if let Some(known) = authenticate(shared, tls, Endpoint::Control, peer, ticket).await {
                control::serve(shared, known).await;
            }
        }
        Protocol::Data => {
            if let Some(known) = authenticate(shared, tls, Endpoint::Data, peer, ticket).await {
                data_channel::serve(shared, known).await;
            }
        }
    }
}

/// A peer whose certificate is a connector's.
pub(crate) struct Known {
    pub(crate) tls: Tls,
    pub(crate) identity: Identity,
    /// SHA-256 of the subject public key info of its certificate.
    pub(crate) spki: [u8; 32],
    pub(crate) peer: SocketAddr,
    /// To be dropped when the connection has become something of which there are only so many.
    pub(crate) ticket: Ticket,
}

/// Who the holder of the verified certificate is; says farewell to those who are nobody.
async fn authenticate(
    shared: &Arc<Shared>,
    mut tls: Tls,
    endpoint: Endpoint,
    peer: SocketAddr,
    mut ticket: Ticket,
) -> Option<Known> {
    let spki = tls::verified_spki(&tls)?;
    let holder = shared.store.run(move |store| store.holder(&spki)).await;
    let allowed = holder.map(|Holder { identity, standing }| {
        let authorised = authorise(endpoint, &standing, clock::unix_now());
        authorised.and(identity.ok_or(Denied::Unknown))
    });
    let code = match allowed {
        Ok(Ok(identity)) => {
            tls::lift_limit(&mut tls);
            ticket.belongs_to(identity.id);
            return Some(Known {
                tls,
                identity,
                spki,
                peer,
                ticket,
            });
        }
        Ok(Err(denied)) => {
            warn!("{peer}: refused: {denied}");
            denied.close_code()
        }
        Err(error) => {
            warn!("{peer}: cannot look its certificate up: {error}");
            CloseCode::InternalError
        }
    };
    tls::farewell(tls, &data::refused(code)).await;
    None
}

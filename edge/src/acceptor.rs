//! The port that connectors dial: handshake, who it is, and which protocol takes over.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use connector_proto::data;
use connector_proto::message::CloseCode;
use log::{info, warn};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

use crate::authorise::{Denied, Endpoint, authorise};
use crate::config::{
    HANDSHAKE_MAX, STORE_POLL, TCP_PROBE_INTERVAL, TCP_UNACKNOWLEDGED_MAX, UNAUTHENTICATED_MAX,
};
use crate::server::{Alive, Shared, stopped};
use crate::store::holder::{Holder, Identity};
use crate::tls::{self, Protocol, Tls};
use crate::{clock, control, data as data_channel, edge_time, enrolment, renewal};

/// Accepts until `stop` says otherwise.
pub(crate) async fn run(
    listener: TcpListener,
    shared: Arc<Shared>,
    mut stop: watch::Receiver<bool>,
    alive: Alive,
) {
    let strangers = Arc::new(Strangers::default());
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stopped(&mut stop) => return strangers.abort_all(),
        };
        match accepted {
            Ok((tcp, peer)) => {
                let (shared, alive) = (Arc::clone(&shared), alive.clone());
                strangers.spawn(|ticket| async move {
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
            if let Some(known) = authenticate(shared, tls, Endpoint::Control, peer).await {
                drop(ticket);
                control::serve(shared, known.tls, known.identity, known.spki, peer).await;
            }
        }
        Protocol::Data => {
            if let Some(known) = authenticate(shared, tls, Endpoint::Data, peer).await {
                drop(ticket);
                data_channel::serve(shared, known.tls, &known.identity).await;
            }
        }
    }
}

/// A peer whose certificate is a connector's.
struct Known {
    tls: Tls,
    identity: Identity,
    spki: [u8; 32],
}

/// Who the holder of the verified certificate is; says farewell to those who are nobody.
async fn authenticate(
    shared: &Arc<Shared>,
    mut tls: Tls,
    endpoint: Endpoint,
    peer: SocketAddr,
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
            return Some(Known {
                tls,
                identity,
                spki,
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

/// The connections that have not authenticated yet, oldest first.
#[derive(Debug, Default)]
struct Strangers(Mutex<Tasks>);

#[derive(Debug, Default)]
struct Tasks {
    next_id: u64,
    running: BTreeMap<u64, AbortHandle>,
}

/// One connection's place among the strangers; given up when dropped.
#[derive(Debug)]
struct Ticket {
    strangers: Arc<Strangers>,
    id: u64,
}

impl Strangers {
    /// Runs a connection. If there are too many, the one that has been silent the longest ends.
    fn spawn<F>(self: &Arc<Self>, connection: impl FnOnce(Ticket) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let mut tasks = self.lock();
        let id = tasks.next_id;
        tasks.next_id += 1;
        let ticket = Ticket {
            strangers: Arc::clone(self),
            id,
        };
        let handle = tokio::spawn(connection(ticket)).abort_handle();
        tasks.running.insert(id, handle);
        let oldest = if tasks.running.len() > UNAUTHENTICATED_MAX {
            tasks.running.pop_first()
        } else {
            None
        };
        drop(tasks);
        if let Some((_, oldest)) = oldest {
            oldest.abort();
        }
    }

    fn abort_all(&self) {
        self.lock().running.values().for_each(AbortHandle::abort);
    }

    fn lock(&self) -> MutexGuard<'_, Tasks> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.strangers.lock().running.remove(&self.id);
    }
}

//! A data channel, until it is a session's.
//!
//! Who is at the other end is looked up at every connection, whether its handshake was a whole one or from
//! a ticket. Then the channel is *warm*, and waits for the connector to give it to a session.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use connector_proto::data::{ready, refused};
use connector_proto::limits::WARM_MAX;
use connector_proto::message::{Attach, CloseCode};
use log::{debug, info, warn};
use splice_core::greeting::Greeting;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::acceptor::{Ticket, identify};
use crate::authorise::Endpoint;
use crate::config::{LINGER_MAX, WAITING_PER_CONNECTOR_MAX, WRITE_MAX};
use crate::server::Shared;
use crate::store::holder::Identity;
use crate::{clock, tls};

mod warm;

use warm::{Ending, WarmChannel};

/// Serves one data channel up to the point where it is a session's.
pub(crate) async fn serve(
    shared: &Arc<Shared>,
    mut greeting: Greeting,
    tcp: TcpStream,
    peer: SocketAddr,
    mut ticket: Ticket,
) {
    let identity = match admit(shared, &mut greeting, peer) {
        Ok(identity) => identity,
        Err(code) => return Box::pin(turn_away(greeting, tcp, code)).await,
    };
    let opening = shared.broker.opening(&identity.id);
    ticket.belongs_to(identity.id, WAITING_PER_CONNECTOR_MAX + opening);
    let warming = Box::pin(warm_up(greeting, tcp)).await;
    let mut channel = match warming {
        Ok(channel) => channel,
        Err(error) => {
            let name = &identity.name;
            return info!("{peer}: a data channel of {name} did not get warm: {error}");
        }
    };
    match channel.await_attach(clock::now() + WARM_MAX).await {
        Ok(attach) => {
            let refused = hand_over(shared, &identity, &attach, channel);
            // It is one of those that wait no more.
            drop(ticket);
            if let Some(refused) = refused {
                info!(
                    "{peer}: data channel of {} refused: nobody waits for its session",
                    identity.name
                );
                refused.end(Ending::Refused).await;
            }
        }
        Err(warm::Unused::Retired) => debug!("{peer}: a warm channel ended unused"),
        Err(warm::Unused::Violation(problem)) => {
            warn!(
                "{peer}: data channel of {} refused: {problem}",
                identity.name
            );
            channel.end(Ending::Refused).await;
        }
    }
}

/// Who it is, if that may have data channels and has said nothing so far.
fn admit(
    shared: &Shared,
    greeting: &mut Greeting,
    peer: SocketAddr,
) -> Result<Identity, CloseCode> {
    let spki = tls::verified_spki(greeting.peer_certificates());
    let identity = identify(shared, spki, Endpoint::Data, peer)?;
    if !greeting.take_plaintext().is_empty() {
        let name = &identity.name;
        warn!("{peer}: data channel of {name} refused: it spoke before it was asked");
        return Err(CloseCode::UnexpectedMessage);
    }
    Ok(identity)
}

/// Says that the channel is warm, with the tickets in front.
async fn warm_up(mut greeting: Greeting, mut tcp: TcpStream) -> io::Result<WarmChannel> {
    greeting.write(&ready()).map_err(io::Error::other)?;
    let sent = timeout(WRITE_MAX, tls::send(&mut tcp, &mut greeting)).await;
    sent.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
    WarmChannel::new(greeting, tcp)
}

/// Tells a connector in the place of `Ready` why it is not let in.
async fn turn_away(mut greeting: Greeting, mut tcp: TcpStream, code: CloseCode) {
    let saying = async {
        greeting.write(&refused(code)).map_err(io::Error::other)?;
        tls::send(&mut tcp, &mut greeting).await?;
        WarmChannel::new(greeting, tcp)
    };
    // The peer may be gone already, and may not read: either way it has had its chance.
    if let Ok(Ok(channel)) = timeout(LINGER_MAX, saying).await {
        channel.end(Ending::CloseNotify).await;
    }
}

/// Gives the channel to the session that it is for; the channel again, if there is none.
fn hand_over(
    shared: &Shared,
    identity: &Identity,
    attach: &Attach,
    channel: WarmChannel,
) -> Option<WarmChannel> {
    let channel = match channel.into_channel() {
        Ok(channel) => channel,
        Err(error) => {
            warn!("a data channel of {} is lost: {error}", identity.name);
            return None;
        }
    };
    let succeed = |key, channel| shared.plane.succeed(key, channel);
    let broker = &shared.broker;
    let refused = broker.attach(&identity.id, attach, channel, succeed)?;
    // One that cannot be told is closed.
    WarmChannel::of(refused).ok()
}

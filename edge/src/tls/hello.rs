//! A peer's first message, which says what the connection is for, and the handshake of those that become
//! data channels.

use std::io;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::{Accepted, Acceptor};
use splice_core::greeting::{Greeting, GreetingError};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::metered::too_much;
use crate::config::UNAUTHENTICATED_BYTES_MAX;

/// Bytes read at once. A client hello is about 250 bytes long, and about 1.5 KB with a ticket.
const CHUNK: usize = 4096;

/// What a peer has said first.
pub(super) struct Hello {
    /// As rustls understands it.
    pub(super) accepted: Accepted,
    /// As it came, to the last byte that was read.
    pub(super) bytes: Vec<u8>,
}

/// Reads a client hello; a peer that says anything else is told so by an alert.
pub(super) async fn read(tcp: &mut TcpStream) -> io::Result<Hello> {
    let mut acceptor = Acceptor::default();
    let mut bytes = Vec::new();
    while bytes.len() < UNAUTHENTICATED_BYTES_MAX {
        let before = bytes.len();
        bytes.reserve(CHUNK);
        if tcp.read_buf(&mut bytes).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut unread = &bytes[before..];
        while !unread.is_empty() && acceptor.read_tls(&mut unread)? > 0 {}
        match acceptor.accept() {
            Ok(Some(accepted)) => return Ok(Hello { accepted, bytes }),
            Ok(None) => {}
            Err((error, mut alert)) => {
                let mut last = Vec::new();
                alert.write_all(&mut last)?;
                // The peer may have gone; then there is nobody to tell.
                let _ = tcp.write_all(&last).await;
                return Err(invalid(error));
            }
        }
    }
    Err(too_much())
}

/// Does the handshake of a connection that is to become a data channel and has begun with `first`. What
/// is left to send are the tickets: they go out with what is said next.
pub(super) async fn greet(
    tcp: &mut TcpStream,
    config: Arc<ServerConfig>,
    first: &[u8],
) -> io::Result<Greeting> {
    let mut greeting = Greeting::server(config).map_err(invalid)?;
    take(tcp, &mut greeting, first).await?;
    let mut part = [0; CHUNK];
    while greeting.is_handshaking() {
        send(tcp, &mut greeting).await?;
        let wanted = greeting.wanted().min(CHUNK);
        let len = tcp.read(&mut part[..wanted]).await?;
        if len == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        take(tcp, &mut greeting, &part[..len]).await?;
    }
    Ok(greeting)
}

async fn take(tcp: &mut TcpStream, greeting: &mut Greeting, bytes: &[u8]) -> io::Result<()> {
    if let Err(error) = greeting.handle_input(bytes) {
        // The alert; the peer may have gone.
        let _ = send(tcp, greeting).await;
        return Err(match error {
            GreetingError::TooMuch => too_much(),
            GreetingError::Tls(_) | GreetingError::Unfinished(_) => invalid(error),
        });
    }
    Ok(())
}

/// Sends what a greeting has to say.
pub(crate) async fn send(tcp: &mut TcpStream, greeting: &mut Greeting) -> io::Result<()> {
    tcp.write_all(greeting.to_send()).await?;
    greeting.sent(greeting.to_send().len());
    Ok(())
}

fn invalid(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

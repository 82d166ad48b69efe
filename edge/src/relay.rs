//! The bytes of one session, both ways, with each direction's end kept apart.
//!
//! - The user's end of file becomes a close_notify towards the connector; the other way goes on.
//! - The connector's close_notify becomes a shutdown towards the user.
//! - An end without close_notify is a truncation: the user's connection is reset, never ended as
//!   if all had come.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::broker::Carrier;
use crate::config::RELAY_BUFFER_LEN;

/// What goes from the user to the application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Upload {
    /// Everything.
    All,
    /// The body of one request; what a client sends beyond it is not for this application.
    Body(u64),
}

/// How a session ended.
#[derive(Debug)]
pub(crate) struct End {
    /// Bytes from user to application.
    pub(crate) up: u64,
    /// Bytes from application to user.
    pub(crate) down: u64,
    /// `finished`, or what cut it short.
    pub(crate) reason: String,
}

/// Carries the session until both directions have ended or one fails. `first` goes to the
/// application before anything that is read from the user.
pub(crate) async fn relay(
    mut user: TcpStream,
    carrier: Carrier,
    first: &[u8],
    upload: Upload,
    cancel: &Notify,
) -> End {
    let (up, down) = (AtomicU64::new(0), AtomicU64::new(0));
    let result = {
        let (user_read, user_write) = user.split();
        let (tls_read, tls_write) = tokio::io::split(carrier.tls);
        let upward = send_up(user_read, tls_write, first, upload, &up);
        let downward = send_down(tls_read, user_write, &carrier.early, &down);
        tokio::select! {
            both = async { tokio::try_join!(upward, downward) } => both.map(|_| ()),
            () = cancel.notified() => Err("ended by the edge".into()),
        }
    };
    if result.is_err() {
        // Reset, so that the user does not take what came for the whole. A socket that refuses
        // this is already reset.
        let _ = user.set_zero_linger();
    }
    End {
        up: up.into_inner(),
        down: down.into_inner(),
        reason: result.err().unwrap_or_else(|| "finished".into()),
    }
}

async fn send_up(
    mut user: impl AsyncRead + Unpin,
    mut connector: impl AsyncWrite + Unpin,
    first: &[u8],
    upload: Upload,
    count: &AtomicU64,
) -> Result<(), String> {
    let mut left = match upload {
        Upload::All => u64::MAX,
        // `first` is the request's head and what came with it, already cut to the body.
        Upload::Body(left) => left,
    };
    forward(&mut connector, first, count)
        .await
        .map_err(connector_failed)?;
    let mut buffer = vec![0; RELAY_BUFFER_LEN];
    loop {
        let len = user.read(&mut buffer).await.map_err(user_failed)?;
        if len == 0 {
            return connector.shutdown().await.map_err(connector_failed);
        }
        let wanted = usize::try_from(left).map_or(len, |left| left.min(len));
        left -= wanted as u64;
        forward(&mut connector, &buffer[..wanted], count)
            .await
            .map_err(connector_failed)?;
    }
}

async fn send_down(
    mut connector: impl AsyncRead + Unpin,
    mut user: impl AsyncWrite + Unpin,
    early: &[u8],
    count: &AtomicU64,
) -> Result<(), String> {
    forward(&mut user, early, count)
        .await
        .map_err(user_failed)?;
    let mut buffer = vec![0; RELAY_BUFFER_LEN];
    loop {
        let len = connector
            .read(&mut buffer)
            .await
            .map_err(connector_failed)?;
        if len == 0 {
            return user.shutdown().await.map_err(user_failed);
        }
        forward(&mut user, &buffer[..len], count)
            .await
            .map_err(user_failed)?;
    }
}

/// Writes and flushes: a TLS stream may hold back what it has taken.
async fn forward(
    to: &mut (impl AsyncWrite + Unpin),
    bytes: &[u8],
    count: &AtomicU64,
) -> io::Result<()> {
    if bytes.is_empty() {
        return Ok(());
    }
    to.write_all(bytes).await?;
    to.flush().await?;
    count.fetch_add(bytes.len() as u64, Ordering::Relaxed);
    Ok(())
}

fn user_failed(error: io::Error) -> String {
    format!("the user's connection failed: {error}")
}

fn connector_failed(error: io::Error) -> String {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        "the connector's end is missing: truncated".into()
    } else {
        format!("the data channel failed: {error}")
    }
}

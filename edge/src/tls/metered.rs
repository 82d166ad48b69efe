//! A connection whose peer may say only so much before it is known.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::config::UNAUTHENTICATED_BYTES_MAX;

/// Ends a connection whose peer sent too much before it was known. May take one read more than
/// the limit, which is 4 KiB while a handshake is read.
pub(crate) struct Metered<S> {
    inner: S,
    left: Option<usize>,
}

impl<S> Metered<S> {
    /// The peer has sent so many bytes already.
    pub(super) const fn new(inner: S, taken: usize) -> Self {
        let left = Some(UNAUTHENTICATED_BYTES_MAX.saturating_sub(taken));
        Self { inner, left }
    }

    /// The peer is known.
    pub(super) const fn lift(&mut self) {
        self.left = None;
    }
}

/// Why a connection ends whose peer said too much.
pub(super) fn too_much() -> io::Error {
    let problem = format!("more than {UNAUTHENTICATED_BYTES_MAX} bytes before authentication");
    io::Error::new(io::ErrorKind::InvalidData, problem)
}

impl<S> fmt::Debug for Metered<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Metered({:?} left)", self.left)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.left == Some(0) {
            return Poll::Ready(Err(too_much()));
        }
        let before = buf.filled().len();
        let poll = Pin::new(&mut self.inner).poll_read(cx, buf);
        let taken = buf.filled().len() - before;
        self.left = self.left.map(|left| left.saturating_sub(taken));
        poll
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

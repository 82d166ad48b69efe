//! What may answer a TCP connection inside the virtual network, as a machine without I/O.

use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

/// One accepted connection. The network hands it what the client sends and fetches what it
/// answers; it never blocks.
pub trait Connection: fmt::Debug + Send {
    /// Takes the client's next bytes.
    fn receive(&mut self, bytes: &[u8]);

    /// The client has closed its direction.
    fn finish(&mut self);

    /// Puts the next bytes for the client into `buffer`.
    fn transmit(&mut self, buffer: &mut [u8]) -> Transmit;

    /// False while it has too much to send to take more.
    fn wants_input(&self) -> bool;
}

/// What a connection has to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transmit {
    /// So many bytes, at least one.
    Bytes(usize),
    /// All was sent, and nothing more will come: close this direction.
    End,
    /// Nothing for now.
    Pending,
}

/// Who answers at an address and port.
#[derive(Clone)]
pub enum Answerer {
    /// A server on the host: the connection is terminated here and its bytes are relayed.
    Host(SocketAddr),
    /// A connection made for each client.
    Service(Arc<dyn Fn() -> Box<dyn Connection> + Send + Sync>),
}

impl Answerer {
    /// A service that `make` makes a connection of for each client.
    pub fn service<C: Connection + 'static>(make: impl Fn() -> C + Send + Sync + 'static) -> Self {
        Self::Service(Arc::new(move || Box::new(make())))
    }
}

impl fmt::Debug for Answerer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(address) => write!(f, "Host({address})"),
            Self::Service(_) => f.write_str("Service(..)"),
        }
    }
}

/// Bytes a service keeps for a client before it takes no more.
pub(crate) const BACKLOG_BYTES_MAX: usize = 64 << 10;

/// Sends back what it receives, and closes when the client does (RFC 862).
#[derive(Debug, Default)]
pub struct Echo {
    queue: VecDeque<u8>,
    finished: bool,
}

impl Connection for Echo {
    fn receive(&mut self, bytes: &[u8]) {
        self.queue.extend(bytes);
    }

    fn finish(&mut self) {
        self.finished = true;
    }

    fn transmit(&mut self, buffer: &mut [u8]) -> Transmit {
        take(&mut self.queue, buffer).unwrap_or(if self.finished {
            Transmit::End
        } else {
            Transmit::Pending
        })
    }

    fn wants_input(&self) -> bool {
        self.queue.len() < BACKLOG_BYTES_MAX
    }
}

/// Moves bytes from the front of `queue` into `buffer`; None when there are none.
pub(crate) fn take(queue: &mut VecDeque<u8>, buffer: &mut [u8]) -> Option<Transmit> {
    let (front, _) = queue.as_slices();
    let count = front.len().min(buffer.len());
    buffer[..count].copy_from_slice(&front[..count]);
    queue.drain(..count);
    (count > 0).then_some(Transmit::Bytes(count))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_echo_ends_after_the_last_byte_went_back() {
        let mut echo = Echo::default();
        let mut buffer = [0; 3];
        assert_eq!(echo.transmit(&mut buffer), Transmit::Pending);
        echo.receive(b"abcde");
        echo.finish();
        assert_eq!(
            (echo.transmit(&mut buffer), &buffer),
            (Transmit::Bytes(3), b"abc")
        );
        assert_eq!(echo.transmit(&mut buffer), Transmit::Bytes(2));
        assert_eq!(echo.transmit(&mut buffer), Transmit::End);
    }
}

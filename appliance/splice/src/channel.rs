//! A data channel at the moment when it becomes a session's: a socket, and the keys of both directions.

use std::fmt;
use std::net::TcpStream;

use rustls::ConnectionTrafficSecrets;

use crate::record::RecordError;
use crate::record::traffic::Traffic;

/// Alert description of a *continuation*: the sender's direction goes on, on the successor of this
/// channel, with the byte that follows the last one here. Sent with level warning in place of
/// close_notify. Not a number of RFC 8446: only peers that agreed on our ALPN ever see it.
pub const ALERT_CONTINUES: u8 = 224;

/// Alert description with which the edge refuses an `Attach` (RFC 8446 section 6.2, access_denied).
/// The session's bytes may follow the `Attach` at once, so a refusal cannot be a message.
pub const ALERT_REFUSED: u8 = 49;

/// One direction's keys, as rustls hands them over.
pub struct DirectionKeys {
    /// The sequence number of the next record.
    pub sequence: u64,
    /// Key and IV of the suite that was negotiated.
    pub secrets: ConnectionTrafficSecrets,
}

impl fmt::Debug for DirectionKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DirectionKeys(record {})", self.sequence)
    }
}

/// Makes the keys that follow a KeyUpdate.
#[derive(Debug)]
pub enum Rekey {
    /// For keys that were made without a handshake: they never change.
    Never,
    /// From the secrets of the handshake.
    Traffic(Box<Traffic>),
}

impl Rekey {
    /// The keys of the peer's direction after its KeyUpdate (RFC 8446 section 7.2).
    ///
    /// # Errors
    /// [`RecordError::Spent`] if the keys never change.
    pub fn next_inward(&mut self) -> Result<DirectionKeys, RecordError> {
        match self {
            Self::Never => Err(RecordError::Spent),
            Self::Traffic(traffic) => traffic.next_inward(),
        }
    }

    /// The keys of our direction after our KeyUpdate.
    ///
    /// # Errors
    /// See [`Self::next_inward`].
    pub fn next_outward(&mut self) -> Result<DirectionKeys, RecordError> {
        match self {
            Self::Never => Err(RecordError::Spent),
            Self::Traffic(traffic) => traffic.next_outward(),
        }
    }
}

/// A data channel whose greeting is over. Both directions stand between two records: nothing that was
/// read is left anywhere, and nothing that was sealed waits to be sent.
#[derive(Debug)]
pub struct Channel {
    /// The connection; non-blocking.
    pub socket: TcpStream,
    /// Keys of what we send.
    pub outward: DirectionKeys,
    /// Keys of what the peer sends.
    pub inward: DirectionKeys,
    /// For KeyUpdates.
    pub rekey: Rekey,
}

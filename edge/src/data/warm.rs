//! A warm channel: a socket and the keys of both directions. All that the handshake needed is gone, so
//! that a connector's pool costs little while it waits.

use std::io;

use connector_proto::data::Warm;
use connector_proto::message::Attach;
use connector_proto::time::Instant;
use splice_core::channel::{ALERT_REFUSED, Channel, DirectionKeys, Rekey};
use splice_core::greeting::Greeting;
use splice_core::record::{self, Content, HEADER, Keys, OVERHEAD, RecordError};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{timeout, timeout_at};

use crate::clock;
use crate::config::{LINGER_MAX, UNAUTHENTICATED_BYTES_MAX};

/// See the module. Both directions stand between two records.
pub(super) struct WarmChannel {
    tcp: TcpStream,
    outward: DirectionKeys,
    inward: DirectionKeys,
    rekey: Rekey,
}

/// Why a warm channel was given to no session.
pub(super) enum Unused {
    /// The connector has no use for it any more, or it has waited for as long as it may.
    Retired,
    /// The connector broke the protocol.
    Violation(String),
}

/// What a channel ends with.
#[derive(Clone, Copy, Debug)]
pub(super) enum Ending {
    /// All was said.
    CloseNotify,
    /// The connector does not get what it asked for.
    Refused,
}

impl Ending {
    /// Level and description (RFC 8446 section 6).
    const fn alert(self) -> [u8; 2] {
        match self {
            Self::CloseNotify => [1, 0],
            Self::Refused => [2, ALERT_REFUSED],
        }
    }
}

impl WarmChannel {
    /// Of a greeting that is over. Fails if the connector has said more than it may.
    pub(super) fn new(greeting: Greeting, tcp: TcpStream) -> io::Result<Self> {
        let (outward, inward, rekey) = greeting.into_keys().map_err(io::Error::other)?;
        Ok(Self {
            tcp,
            outward,
            inward,
            rekey,
        })
    }

    pub(super) fn of(channel: Channel) -> io::Result<Self> {
        let Channel {
            socket,
            outward,
            inward,
            rekey,
        } = channel;
        Ok(Self {
            tcp: TcpStream::from_std(socket)?,
            outward,
            inward,
            rekey,
        })
    }

    pub(super) fn into_channel(self) -> io::Result<Channel> {
        let Self {
            tcp,
            outward,
            inward,
            rekey,
        } = self;
        Ok(Channel {
            socket: tcp.into_std()?,
            outward,
            inward,
            rekey,
        })
    }

    /// Waits for the connector to say what the channel is for, no longer than until `deadline` (of
    /// [`clock`]). Not a byte is read behind that: the session's may follow at once.
    pub(super) async fn await_attach(&mut self, deadline: Instant) -> Result<Attach, Unused> {
        let waiting = timeout_at(clock::deadline(deadline), self.read_attach());
        waiting.await.unwrap_or(Err(Unused::Retired))
    }

    async fn read_attach(&mut self) -> Result<Attach, Unused> {
        // Made when something comes: a channel that waits needs no buffer for a frame.
        let mut warm = None;
        let mut left = UNAUTHENTICATED_BYTES_MAX;
        loop {
            let mut record = self.read_record(&mut left).await?;
            let mut keys = Keys::new(&self.inward).map_err(violation)?;
            let opened = keys.open(&mut record, 0).map_err(violation)?;
            self.inward.sequence = keys.sequence();
            match opened.content {
                Content::Data => {
                    let warm = warm.get_or_insert_with(|| Warm::new(clock::now()));
                    let attach = warm.handle_input(&record[..opened.length]);
                    if let Some(attach) = attach.map_err(farewell)? {
                        return Ok(attach);
                    }
                }
                // A connector that retires a channel says close_notify; whatever else it says, it is over.
                Content::Alert => return Err(Unused::Retired),
                Content::Handshake => {
                    let problem = "a handshake message on a channel that has carried nothing";
                    return Err(Unused::Violation(problem.into()));
                }
            }
        }
    }

    /// Reads one record, of which there is room for so many bytes.
    async fn read_record(&mut self, left: &mut usize) -> Result<Vec<u8>, Unused> {
        let mut header = [0; HEADER];
        let read = self.tcp.read_exact(&mut header).await;
        // A connector that is gone has no use for the channel.
        read.map_err(|_| Unused::Retired)?;
        let len = record::length(&header).map_err(violation)?;
        let len = len.ok_or_else(|| violation(RecordError::Header))?;
        *left = left.checked_sub(len).ok_or_else(|| {
            let problem =
                format!("more than {UNAUTHENTICATED_BYTES_MAX} bytes before it named its session");
            Unused::Violation(problem)
        })?;
        let mut record = vec![0; len];
        record[..HEADER].copy_from_slice(&header);
        let read = self.tcp.read_exact(&mut record[HEADER..]).await;
        read.map_err(|_| Unused::Retired)?;
        Ok(record)
    }

    /// Says how it ends, and ends the connection so that this arrives: a socket that is closed with unread
    /// bytes in it resets the connection and the alert with it.
    pub(super) async fn end(mut self, ending: Ending) {
        let Ok(last) = sealed(&self.outward, ending) else {
            return;
        };
        let goodbye = async {
            self.tcp.write_all(&last).await?;
            self.tcp.shutdown().await?;
            let mut rest = [0; 1024];
            while self.tcp.read(&mut rest).await? > 0 {}
            io::Result::Ok(())
        };
        // The peer may be gone already, and may stay silent: either way it has had its chance. In a box,
        // because most channels never end like this.
        let _ = timeout(LINGER_MAX, Box::pin(goodbye)).await;
    }
}

fn sealed(keys: &DirectionKeys, ending: Ending) -> Result<[u8; OVERHEAD + 2], RecordError> {
    let alert = ending.alert();
    let mut record = [0; OVERHEAD + 2];
    record[HEADER..HEADER + alert.len()].copy_from_slice(&alert);
    Keys::new(keys)?.seal(&mut record, alert.len(), Content::Alert)?;
    Ok(record)
}

fn violation(error: RecordError) -> Unused {
    Unused::Violation(error.to_string())
}

fn farewell(error: connector_proto::error::Error) -> Unused {
    match error {
        connector_proto::error::Error::PeerClosed { .. } => Unused::Retired,
        error => Unused::Violation(error.to_string()),
    }
}

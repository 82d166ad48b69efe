//! The other end of the data channel: stock rustls, in memory.

use std::io::{ErrorKind, Read as _, Write as _};
use std::sync::Arc;

use rustls::crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ServerConnection};
use splice_core::loopback::{NAME, Trust};

use super::Failure;
use super::pattern::Pattern;

/// The end that accepts.
#[derive(Debug)]
pub struct Peer {
    tls: ServerConnection,
    is_closed: bool,
}

/// What the end that dials needs.
pub type Dialling = (Arc<ClientConfig>, ServerName<'static>);

impl Peer {
    /// A peer that waits for its first bytes, and what dials it. The suite is the first choice of the
    /// product's data channels.
    ///
    /// # Errors
    /// Those of rustls.
    pub fn new() -> Result<(Self, Dialling), Failure> {
        let trust = Trust::new(Some(&[TLS13_AES_128_GCM_SHA256]));
        let mut tls = ServerConnection::new(trust.server)?;
        tls.set_buffer_limit(None);
        let peer = Self {
            tls,
            is_closed: false,
        };
        Ok((peer, (trust.client, ServerName::try_from(NAME)?)))
    }

    /// Takes a part of the handshake and answers.
    ///
    /// # Errors
    /// Those of TLS.
    pub fn answer(&mut self, heard: &[u8]) -> Result<Vec<u8>, Failure> {
        self.open(heard, |_| Err("the handshake has payload".into()))?;
        self.take_records()
    }

    /// The records of this much of the pattern, and close_notify.
    ///
    /// # Errors
    /// Those of TLS.
    pub fn seal(&mut self, pattern: &Pattern, bytes: usize) -> Result<Vec<u8>, Failure> {
        // Room for the records' frames, 22 bytes for each 16 KiB.
        let mut records = Vec::with_capacity(bytes + bytes / 512 + 4096);
        let mut sealed = 0;
        while sealed < bytes {
            let chunk = pattern.at(sealed, bytes - sealed);
            self.tls.writer().write_all(chunk)?;
            sealed += chunk.len();
            records.append(&mut self.take_records()?);
        }
        records.append(&mut self.close()?);
        Ok(records)
    }

    /// The record that says that no more comes.
    ///
    /// # Errors
    /// Those of TLS.
    pub fn close(&mut self) -> Result<Vec<u8>, Failure> {
        self.tls.send_close_notify();
        self.take_records()
    }

    /// Opens what arrived and hands out its payload.
    ///
    /// # Errors
    /// Those of TLS and of `take`.
    pub fn open(
        &mut self,
        mut records: &[u8],
        mut take: impl FnMut(&[u8]) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut payload = [0; 16 << 10];
        while !records.is_empty() {
            self.tls.read_tls(&mut records)?;
            self.tls.process_new_packets()?;
            loop {
                match self.tls.reader().read(&mut payload) {
                    Ok(0) => {
                        self.is_closed = true;
                        break;
                    }
                    Ok(len) => take(&payload[..len])?,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(())
    }

    /// Whether the other end has said that it sends no more.
    pub const fn is_closed(&self) -> bool {
        self.is_closed
    }

    fn take_records(&mut self) -> Result<Vec<u8>, Failure> {
        let mut records = Vec::new();
        while self.tls.wants_write() {
            self.tls.write_tls(&mut records)?;
        }
        Ok(records)
    }
}

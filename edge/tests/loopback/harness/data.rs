//! Data channels as a connector has them: a greeting over rustls's unbuffered connections, then, in most
//! stories, a stream of plain bytes over the keys that are left.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use connector_proto::data::{self, Warming};
use connector_proto::error::Error;
use connector_proto::message::CloseCode;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use splice_core::channel::{ALERT_REFUSED, Channel, DirectionKeys};
use splice_core::greeting::Greeting;
use splice_core::record::{self, CONTENT_MAX, Content, HEADER, Keys, OVERHEAD, RECEIVED_MAX};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{EDGE_NAME, clock, soon};

/// A data channel that is warm.
pub struct WarmChannel {
    tcp: TcpStream,
    greeting: Greeting,
}

/// Why there is no warm channel.
#[derive(Debug)]
pub enum Turned {
    /// The edge said so.
    Away(CloseCode),
    /// The handshake failed, or the edge closed.
    Io(io::Error),
}

impl From<io::Error> for Turned {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Dials the edge and returns when the channel is warm.
pub async fn warm_up(edge: SocketAddr, config: Arc<ClientConfig>) -> Result<WarmChannel, Turned> {
    warm_up_saying(edge, config, &[]).await
}

/// The same, with something that is said right behind the handshake, before the edge has answered.
pub async fn warm_up_saying(
    edge: SocketAddr,
    config: Arc<ClientConfig>,
    message: &[u8],
) -> Result<WarmChannel, Turned> {
    let tcp = TcpStream::connect(edge).await?;
    tcp.set_nodelay(true)?;
    let name = ServerName::try_from(EDGE_NAME).unwrap();
    let greeting = Greeting::client(config, name).map_err(io::Error::other)?;
    let mut channel = WarmChannel { tcp, greeting };
    let mut warming = Warming::new(clock());
    let mut message = Some(message).filter(|message| !message.is_empty());
    loop {
        if !channel.greeting.is_handshaking()
            && let Some(message) = message.take()
        {
            channel.greeting.write(message).unwrap();
        }
        channel.send().await?;
        let mut part = vec![0; channel.greeting.wanted()];
        let len = soon("Ready", channel.tcp.read(&mut part)).await?;
        if len == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        channel
            .greeting
            .handle_input(&part[..len])
            .map_err(io::Error::other)?;
        match warming.handle_input(&channel.greeting.take_plaintext()) {
            Ok(true) => return Ok(channel),
            Ok(false) => {}
            Err(Error::PeerClosed { code }) => return Err(Turned::Away(code)),
            Err(error) => panic!("{error}"),
        }
    }
}

impl WarmChannel {
    pub fn is_resumed(&self) -> bool {
        self.greeting.is_resumed()
    }

    /// Says something that need not be right.
    pub async fn say(&mut self, message: &[u8]) -> io::Result<()> {
        self.greeting.write(message).unwrap();
        self.send().await
    }

    /// Gives it to a session, whose bytes may follow at once.
    pub async fn attach(mut self, session: [u8; 16], channel: u32) -> DataStream {
        self.say(&data::attach(session, channel)).await.unwrap();
        self.into_stream()
    }

    /// The same, for a data plane.
    pub async fn attach_channel(mut self, session: [u8; 16], channel: u32) -> Channel {
        self.say(&data::attach(session, channel)).await.unwrap();
        self.into_channel()
    }

    pub fn into_stream(self) -> DataStream {
        DataStream::of(self.into_channel())
    }

    fn into_channel(self) -> Channel {
        let socket = self.tcp.into_std().unwrap();
        self.greeting.into_channel(socket).unwrap()
    }

    /// Waits for the edge to close it; whether that came without a word.
    pub async fn ended(mut self) -> bool {
        matches!(self.tcp.read(&mut [0; 64]).await, Ok(0) | Err(_))
    }

    async fn send(&mut self) -> io::Result<()> {
        self.tcp.write_all(self.greeting.to_send()).await?;
        self.greeting.sent(self.greeting.to_send().len());
        Ok(())
    }
}

/// A data channel that is a session's, with plain reads and writes.
pub struct DataStream {
    pub reading: Reading,
    pub writing: Writing,
}

pub struct Reading {
    tcp: tokio::net::tcp::OwnedReadHalf,
    keys: Keys,
}

pub struct Writing {
    tcp: tokio::net::tcp::OwnedWriteHalf,
    keys: Keys,
}

/// What a record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    Bytes(Vec<u8>),
    /// The description of an alert: 0 is close_notify.
    Alert(u8),
}

impl DataStream {
    pub fn of(channel: Channel) -> Self {
        let Channel {
            socket,
            outward,
            inward,
            ..
        } = channel;
        let (reading, writing) = TcpStream::from_std(socket).unwrap().into_split();
        let keys = |keys: &DirectionKeys| Keys::new(keys).unwrap();
        Self {
            reading: Reading {
                tcp: reading,
                keys: keys(&inward),
            },
            writing: Writing {
                tcp: writing,
                keys: keys(&outward),
            },
        }
    }

    /// The alert that is the edge's answer, before any byte.
    pub async fn alert(mut self) -> u8 {
        match soon("the edge's answer", self.reading.next()).await {
            Ok(Said::Alert(description)) => description,
            other => panic!("{other:?}"),
        }
    }

    /// Whether the edge gave it to nobody.
    pub async fn refused(self) -> bool {
        self.alert().await == ALERT_REFUSED
    }
}

impl Reading {
    /// The next record.
    pub async fn next(&mut self) -> io::Result<Said> {
        let mut bytes = vec![0; HEADER];
        self.tcp.read_exact(&mut bytes).await?;
        let len = record::length(&bytes).unwrap().unwrap();
        assert!(len <= RECEIVED_MAX);
        bytes.resize(len, 0);
        self.tcp.read_exact(&mut bytes[HEADER..]).await?;
        let opened = self.keys.open(&mut bytes, 0).unwrap();
        bytes.truncate(opened.length);
        Ok(match opened.content {
            Content::Data => Said::Bytes(bytes),
            Content::Alert => Said::Alert(bytes[1]),
            Content::Handshake => panic!("a handshake message: {bytes:?}"),
        })
    }
}

impl Writing {
    pub async fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        for part in bytes.chunks(CONTENT_MAX) {
            self.seal(part, Content::Data).await?;
        }
        Ok(())
    }

    /// Says that there is no more of this direction.
    pub async fn close_notify(&mut self) -> io::Result<()> {
        self.seal(&[1, 0], Content::Alert).await
    }

    async fn seal(&mut self, bytes: &[u8], content: Content) -> io::Result<()> {
        let mut record = vec![0; bytes.len() + OVERHEAD];
        record[HEADER..HEADER + bytes.len()].copy_from_slice(bytes);
        self.keys.seal(&mut record, bytes.len(), content).unwrap();
        self.tcp.write_all(&record).await
    }
}

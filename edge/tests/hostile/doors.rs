//! The five doors of an edge, and what whoever knocks at one hears.

use std::io;

use connector_proto::control::{Channel, ConnectorEvent};
use connector_proto::data::Warming;
use connector_proto::edge_time::Asking;
use connector_proto::error::Error;
use connector_proto::message::{
    ALPN_CONTROL, ALPN_DATA, ALPN_ENROL, ALPN_RENEW, ALPN_TIME, CloseCode, RatchetValue,
    RenewRefusal, Verdict,
};
use connector_proto::renew::{Connector as Renewing, ConnectorEvent as RenewEvent};
use rustls::AlertDescription;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::shared::harness::{FINGERPRINT, Machine, Tls, clock, next_event, soon};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    Enrol,
    Time,
    Control,
    Data,
    Renew,
}

/// What somebody hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// TLS refused the certificate.
    Alert(AlertDescription),
    /// The channel was closed.
    Closed(CloseCode),
    /// A machine with this identity is held.
    Held(Verdict),
    /// No renewal.
    Refused(RenewRefusal),
    /// It was served: at the door of control as the connector of this name.
    Served(Option<String>),
}

impl Door {
    pub const fn alpn(self) -> &'static [u8] {
        match self {
            Self::Enrol => ALPN_ENROL,
            Self::Time => ALPN_TIME,
            Self::Control => ALPN_CONTROL,
            Self::Data => ALPN_DATA,
            Self::Renew => ALPN_RENEW,
        }
    }

    /// Says what is said at this door, and listens. What an edge that lets in answers is awaited; an
    /// alert is awaited before anything is said, if it is `expected`, because a connection that ends
    /// with bytes in it may lose it.
    pub async fn knock(
        self,
        connection: io::Result<Tls>,
        ratchet: RatchetValue,
        expected: &Heard,
    ) -> Heard {
        let knocking = async {
            let mut tls = connection?;
            if matches!(expected, Heard::Alert(_)) {
                // Whoever is let in hears nothing before it has spoken.
                let len = tls.read(&mut [0; 64]).await?;
                panic!("{len} bytes for nothing");
            }
            match self {
                Self::Enrol => enrol(&mut tls).await,
                Self::Time => time(&mut tls).await,
                Self::Control => control(&mut tls, ratchet).await,
                Self::Data => data(&mut tls).await,
                Self::Renew => renew(&mut tls, ratchet).await,
            }
        };
        match soon("an answer", knocking).await {
            Ok(heard) => heard,
            Err(error) => Heard::Alert(alert(&error)),
        }
    }
}

/// The alert that ended a connection.
fn alert(error: &io::Error) -> AlertDescription {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref());
    match cause {
        Some(rustls::Error::AlertReceived(alert)) => *alert,
        _ => panic!("no alert but {error}"),
    }
}

/// Asks with a key that nobody has: it spends nothing.
async fn enrol(tls: &mut Tls) -> io::Result<Heard> {
    let hello = [&b"\0\0\0\x12\x01\0"[..], &[7; 16]].concat();
    say(tls, &hello).await?;
    let mut answer = Vec::new();
    tls.read_to_end(&mut answer).await?;
    // EnrolRefused{KeyUnknown}
    assert_eq!(answer, b"\0\0\0\x03\x01\x04\0");
    Ok(Heard::Served(None))
}

async fn time(tls: &mut Tls) -> io::Result<Heard> {
    let mut asking = Asking::new(clock(), [7; 32]).unwrap();
    say(tls, &asking.poll_transmit().unwrap()).await?;
    let mut buffer = [0; 256];
    loop {
        let len = tls.read(&mut buffer).await?;
        assert_ne!(len, 0, "closed without an answer");
        let answer = asking.handle_input(clock(), &buffer[..len]).unwrap();
        if answer.is_some() {
            return Ok(Heard::Served(None));
        }
    }
}

async fn control(tls: &mut Tls, ratchet: RatchetValue) -> io::Result<Heard> {
    let mut channel = Channel::connector(clock(), 7, "test 1.0", FINGERPRINT, ratchet).unwrap();
    Ok(match next_event(tls, &mut channel).await? {
        ConnectorEvent::Closed { code } => Heard::Closed(code),
        ConnectorEvent::Welcomed { name, .. } => Heard::Served(Some(name)),
        ConnectorEvent::Recognised { verdict, admitted } => {
            assert!(!admitted, "{verdict:?}");
            let end = next_event(tls, &mut channel).await?;
            let code = CloseCode::Held;
            assert_eq!(end, ConnectorEvent::Closed { code });
            Heard::Held(verdict)
        }
        other => panic!("{other:?}"),
    })
}

/// Waits for the word that the channel is warm.
async fn data(tls: &mut Tls) -> io::Result<Heard> {
    let mut warming = Warming::new(clock());
    let mut buffer = [0; 256];
    loop {
        let len = tls.read(&mut buffer).await?;
        assert_ne!(len, 0, "closed without an answer");
        match warming.handle_input(&buffer[..len]) {
            Ok(true) => return Ok(Heard::Served(None)),
            Ok(false) => {}
            Err(Error::PeerClosed { code }) => return Ok(Heard::Closed(code)),
            Err(error) => panic!("{error}"),
        }
    }
}

async fn renew(tls: &mut Tls, ratchet: RatchetValue) -> io::Result<Heard> {
    let next = Machine::new();
    let mut renewing = Renewing::new(clock(), &next.csr, FINGERPRINT, ratchet).unwrap();
    say(tls, &renewing.poll_transmit().unwrap()).await?;
    let mut buffer = [0; 4096];
    loop {
        let len = tls.read(&mut buffer).await?;
        assert_ne!(len, 0, "closed without an answer");
        renewing.handle_input(&buffer[..len]).unwrap();
        match renewing.poll_event() {
            Some(RenewEvent::Renewed { .. }) => return Ok(Heard::Served(None)),
            Some(RenewEvent::Refused(reason)) => return Ok(Heard::Refused(reason)),
            None => {}
        }
    }
}

async fn say(tls: &mut Tls, bytes: &[u8]) -> io::Result<()> {
    tls.write_all(bytes).await?;
    tls.flush().await
}

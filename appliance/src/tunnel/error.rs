//! Why there is no connection to the edge.

use connector_proto::error::Error as ProtocolError;

use crate::dial::DialError;
use crate::issuer;
use crate::lookup::LookupError;
use crate::proxy::ProxyError;
use crate::reach::ReachError;
use crate::tls::TlsError;

/// Why there is no connection.
#[derive(Debug)]
pub enum TunnelError {
    /// The edge's name.
    Lookup(LookupError),
    /// TCP.
    Dial(DialError),
    /// Something in this machine, or a setting of its: a sentence.
    Machine(String),
    /// The proxy, or something on the way to it.
    Proxy(ProxyError),
    /// TLS or the socket.
    Tls(TlsError),
    /// The edge broke the protocol, could not prove itself, was silent, or said farewell.
    Protocol(ProtocolError),
    /// The edge closed the connection without a word.
    Closed,
}

impl TunnelError {
    /// Who issued the certificate of what answered in the edge's place, if that is why there is no
    /// connection.
    #[must_use]
    pub fn foreign_issuer(&self) -> Option<&str> {
        match self {
            Self::Tls(TlsError::Tls(error)) => issuer::foreign(error),
            Self::Tls(_)
            | Self::Lookup(_)
            | Self::Dial(_)
            | Self::Machine(_)
            | Self::Proxy(_)
            | Self::Protocol(_)
            | Self::Closed => None,
        }
    }
}

impl std::fmt::Display for TunnelError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Lookup(error) => write!(f, "{error}"),
            Self::Dial(error) => write!(f, "{error}"),
            Self::Machine(sentence) => f.write_str(sentence),
            Self::Proxy(error) => write!(f, "{error}"),
            Self::Tls(error) => write!(f, "{error}"),
            Self::Protocol(error) => write!(f, "{error}"),
            Self::Closed => f.write_str("the edge closed the connection"),
        }
    }
}

impl std::error::Error for TunnelError {}

impl From<ReachError> for TunnelError {
    fn from(error: ReachError) -> Self {
        match error {
            ReachError::Dial(error) => Self::Dial(error),
            ReachError::Lookup(error) => Self::Lookup(error),
            ReachError::Proxy(error) => Self::Proxy(error),
        }
    }
}

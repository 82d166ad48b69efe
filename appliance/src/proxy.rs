//! The HTTP proxy through which the edge is reached (RFC 9110 section 9.3.6, CONNECT).

use connector_proto::local::EdgeText;
use zeroize::Zeroizing;

/// A proxy, and what it is told about who asks.
#[derive(Clone, Debug)]
pub struct Proxy {
    /// Its name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// As it was set, for people.
    pub text: EdgeText,
    /// User and password (RFC 7617), once it asked for them.
    pub credentials: Option<Credentials>,
}

/// A user's name and password, wiped when dropped.
#[derive(Clone)]
pub struct Credentials {
    /// The user; without a colon.
    pub user: Zeroizing<String>,
    /// The password.
    pub password: Zeroizing<String>,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credentials(..)")
    }
}

//! What a session is and where it goes, as grants and logs name it.

use std::fmt;

/// What a grant allows.
#[derive(Clone, Debug)]
pub struct Target {
    /// The session.
    pub session: [u8; 16],
    /// The application's host.
    pub host: String,
    /// Its port.
    pub port: u16,
}

/// `session 0a1b.. to host:port`, as logs name it. The host is the edge's word, so it is escaped.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (session, host) = (SessionId(&self.session), self.host.escape_debug());
        write!(f, "session {session} to {host}:{}", self.port)
    }
}

/// A session's id as hexadecimal digits.
#[derive(Debug)]
pub struct SessionId<'a>(
    /// The id.
    pub &'a [u8; 16],
);

impl fmt::Display for SessionId<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(*self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_line_names_session_host_and_port_and_escapes_what_the_edge_made_up() {
        let mut session = [0; 16];
        session[..2].copy_from_slice(&[0xa0, 0x0b]);
        let target = Target {
            session,
            host: "intranet\n\u{1b}[2J".into(),
            port: 443,
        };
        let id = format!("a00b{}", "0".repeat(28));
        assert_eq!(
            target.to_string(),
            format!("session {id} to intranet\\n\\u{{1b}}[2J:443")
        );
    }
}

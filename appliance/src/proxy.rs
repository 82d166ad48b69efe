//! The HTTP proxy through which the edge is reached (RFC 9110 section 9.3.6, CONNECT).
//!
//! [`connect`] is the pure machine: a request out, an answer's head in. [`challenge`] reads what a
//! proxy says about who may pass; [`fuzz`] any answer. [`crate::reach`] does the input and output.

pub mod challenge;
pub mod connect;
pub mod fuzz;
mod request;

use std::fmt;
use std::time::Duration;

use connector_proto::local::EdgeText;
use ovf::property::{ProxyName, ValueError};
use zeroize::Zeroizing;

use crate::dial::DialError;
use crate::lookup::LookupError;

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

impl Proxy {
    /// The proxy that `text` names: `host:port`.
    ///
    /// # Errors
    /// A sentence that names the value and the remedy.
    pub fn parse(text: &str, credentials: Option<Credentials>) -> Result<Self, String> {
        let name: ProxyName = text
            .parse()
            .map_err(|error: ValueError| error.to_string())?;
        Ok(Self {
            host: name.host().to_owned(),
            port: name.port(),
            text: EdgeText::try_from(text).unwrap_or_default(),
            credentials,
        })
    }
}

/// A user's name and password, wiped when dropped.
#[derive(Clone)]
pub struct Credentials {
    /// The user; without a colon.
    pub user: Zeroizing<String>,
    /// The password.
    pub password: Zeroizing<String>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(..)")
    }
}

/// Why a proxy opened no tunnel. What it said is printable ASCII here, and short.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProxyError {
    /// It closed the connection before its answer was whole.
    Closed,
    /// User or password hold what cannot be sent (RFC 7617 section 2).
    Credentials,
    /// No TCP connection to it.
    Dial(DialError),
    /// Its answer has no end within this many bytes.
    HeadTooLong {
        /// The limit.
        max: usize,
    },
    /// The connection failed, in words.
    Io(String),
    /// Its own name.
    Lookup(LookupError),
    /// The edge's name cannot stand in a request.
    Name,
    /// It wants a user and a password.
    NeedsCredentials {
        /// Those that it was given did not do.
        refused: bool,
        /// What it says they are for; may be empty.
        realm: String,
    },
    /// What it said is not HTTP.
    NotHttp {
        /// The beginning of what it said.
        seen: String,
    },
    /// It refused.
    Refused {
        /// HTTP's status code.
        status: u16,
        /// The words behind it; may be empty.
        reason: String,
    },
    /// No whole answer came in time.
    Silent {
        /// The time it had.
        within: Duration,
    },
    /// It wants to know who asks in a way that is not spoken here.
    Unsupported {
        /// The ways it offers, with commas; may be empty.
        schemes: String,
    },
}

impl fmt::Display for ProxyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str(
                "the proxy closed the connection without an answer; ask who runs it to let this \
                 machine in",
            ),
            Self::Credentials => f.write_str(
                "the proxy's user holds a colon, or user or password a control character, and cannot \
                 be sent",
            ),
            Self::Dial(error) => write!(f, "the proxy cannot be reached: {error}"),
            Self::HeadTooLong { max } => write!(
                f,
                "the proxy's answer has no end within {max} bytes; does the setting name an HTTP \
                 proxy?"
            ),
            Self::Io(error) => write!(f, "the connection to the proxy failed: {error}"),
            Self::Lookup(error) => write!(f, "the proxy's name has no address: {error}"),
            Self::Name => f.write_str("the edge's name cannot be said to a proxy"),
            Self::NeedsCredentials { refused, realm } => needs_credentials(f, *refused, realm),
            Self::NotHttp { seen } => write!(
                f,
                "what answers at the proxy's port says \"{seen}\" and is no HTTP proxy; check host \
                 and port"
            ),
            Self::Refused { status, reason } => refused(f, *status, reason),
            Self::Silent { within } => write!(
                f,
                "the proxy did not answer within {} s; does the setting name an HTTP proxy, and \
                 does it work?",
                within.as_secs()
            ),
            Self::Unsupported { schemes } if schemes.is_empty() => f.write_str(
                "the proxy wants to know who asks and does not say how; have it let this machine \
                 pass without",
            ),
            Self::Unsupported { schemes } => write!(
                f,
                "the proxy wants {schemes} and this machine knows only Basic; have it allow Basic, \
                 or this machine without"
            ),
        }
    }
}

impl std::error::Error for ProxyError {}

fn needs_credentials(f: &mut fmt::Formatter<'_>, refused: bool, realm: &str) -> fmt::Result {
    f.write_str(if refused {
        "the proxy refuses the user and password it was given"
    } else {
        "the proxy wants a user and a password"
    })?;
    if realm.is_empty() {
        Ok(())
    } else {
        write!(f, " for \"{realm}\"")
    }
}

fn refused(f: &mut fmt::Formatter<'_>, status: u16, reason: &str) -> fmt::Result {
    write!(f, "the proxy answers {status}")?;
    if !reason.is_empty() {
        write!(f, " \"{reason}\"")?;
    }
    f.write_str(match status {
        403 => ": have it allow this machine to CONNECT to the edge",
        400 | 404 | 405 | 501 => ": it does not do CONNECT; does the setting name a forward proxy?",
        502 => ": it cannot reach the edge; have its own way out looked at",
        503 => {
            ": it cannot reach the edge or find its name, or has too much to do; have it looked at"
        }
        504 => ": the edge did not answer it in time; have its own way out looked at",
        _ => " and opens no tunnel; ask who runs it",
    })
}

/// What a proxy said, as far as it is shown: printable ASCII without quotes, of at most `columns`.
fn shown(bytes: &[u8], columns: usize) -> String {
    bytes
        .trim_ascii()
        .iter()
        .take(columns)
        .map(|byte| match byte {
            b'"' => '\'',
            b' '..=b'~' => char::from(*byte),
            _ => '?',
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_set_with_its_port() {
        let proxy = Proxy::parse("Proxy.Example:3128", None).unwrap();
        assert_eq!((proxy.host.as_str(), proxy.port), ("proxy.example", 3128));
        assert_eq!(proxy.text.as_str(), "Proxy.Example:3128");
        assert!(Proxy::parse("proxy.example", None).is_err());
        assert!(Proxy::parse("proxy.example:0", None).is_err());
    }

    #[test]
    fn every_sentence_fits_the_console_and_says_what_to_do() {
        let long = |columns| shown(&[b'w'; 200], columns);
        let statuses = [302, 400, 403, 404, 405, 500, 501, 502, 503, 504, 999];
        let mut errors: Vec<ProxyError> = statuses
            .into_iter()
            .map(|status| ProxyError::Refused {
                status,
                reason: long(connect::REASON_COLUMNS),
            })
            .collect();
        errors.extend([
            ProxyError::Closed,
            ProxyError::Credentials,
            ProxyError::HeadTooLong { max: 8192 },
            ProxyError::NeedsCredentials {
                refused: true,
                realm: long(challenge::REALM_COLUMNS),
            },
            ProxyError::NotHttp {
                seen: long(connect::SEEN_COLUMNS),
            },
            ProxyError::Silent {
                within: connect::ANSWER_MAX,
            },
            ProxyError::Unsupported {
                schemes: long(challenge::SCHEMES_COLUMNS),
            },
            ProxyError::Unsupported {
                schemes: String::new(),
            },
        ]);
        for error in errors {
            let sentence = error.to_string();
            assert!(sentence.len() < 160, "{} {sentence}", sentence.len());
            assert!(sentence.contains("proxy"), "{sentence}");
        }
    }

    #[test]
    fn credentials_are_in_no_debug_output() {
        let credentials = Credentials {
            user: Zeroizing::new("mona".into()),
            password: Zeroizing::new("sesame".into()),
        };
        let proxy = Proxy::parse("proxy.example:3128", Some(credentials)).unwrap();
        let text = format!("{proxy:?}");
        assert!(!text.contains("mona") && !text.contains("sesame"), "{text}");
    }
}

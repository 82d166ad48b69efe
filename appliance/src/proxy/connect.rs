//! Asks a proxy for a tunnel: one request, one answer's head. Pure.
//!
//! What follows the head belongs to the tunnel and is left to the caller. An answer's body is never
//! read: a refusal's is a page for people with browsers.

use std::time::Duration;

use connector_proto::time::Instant;
use zeroize::Zeroizing;

use super::challenge::Challenges;
use super::request::request;
use super::{Proxy, ProxyError, shown};

/// How long a proxy may take to answer; it resolves and dials the edge meanwhile.
pub const ANSWER_MAX: Duration = Duration::from_secs(15);
/// Longest answer's head in bytes, interim answers included.
pub const HEAD_MAX: usize = 8 * 1024;

/// A tunnel being asked for.
#[derive(Debug)]
pub struct Connect {
    request: Option<Zeroizing<Vec<u8>>>,
    has_credentials: bool,
    deadline: Instant,
    /// Bytes of the head so far.
    taken: usize,
    /// The line that has not ended yet.
    line: Vec<u8>,
    state: State,
}

#[derive(Debug)]
enum State {
    ExpectStatus,
    ExpectEnd {
        status: u16,
        reason: String,
        challenges: Challenges,
    },
}

impl Connect {
    /// Asks `proxy` for a tunnel to `port` of `host`, the edge's name as the proxy is to resolve it.
    ///
    /// # Errors
    /// [`ProxyError::Name`] or [`ProxyError::Credentials`] if they would break the request.
    pub fn new(now: Instant, proxy: &Proxy, host: &str, port: u16) -> Result<Self, ProxyError> {
        let credentials = proxy.credentials.as_ref();
        Ok(Self {
            request: Some(request(host, port, credentials)?),
            has_credentials: credentials.is_some(),
            deadline: now + ANSWER_MAX,
            taken: 0,
            line: Vec::new(),
            state: State::ExpectStatus,
        })
    }

    /// The bytes to send, once.
    pub const fn poll_transmit(&mut self) -> Option<Zeroizing<Vec<u8>>> {
        self.request.take()
    }

    /// Takes bytes of the proxy; true once the tunnel stands. What is left in `bytes` then is the
    /// tunnel's.
    ///
    /// # Errors
    /// What the proxy said in place of a tunnel, or did wrong.
    pub fn handle_input(&mut self, bytes: &mut &[u8]) -> Result<bool, ProxyError> {
        while let Some((byte, rest)) = bytes.split_first() {
            *bytes = rest;
            if self.taken == HEAD_MAX {
                return Err(ProxyError::HeadTooLong { max: HEAD_MAX });
            }
            self.taken += 1;
            if *byte != b'\n' {
                self.line.push(*byte);
                if !self.begins_well() {
                    // What came with it says more about what it is.
                    self.line.extend(rest.iter().take(SEEN_COLUMNS));
                    return Err(not_http(&self.line));
                }
                continue;
            }
            let mut line = std::mem::take(&mut self.line);
            if line.last() == Some(&b'\r') {
                line.pop();
            }
            if self.handle_line(&line)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Checks the time.
    ///
    /// # Errors
    /// [`ProxyError::Silent`] at the deadline.
    pub fn handle_timeout(&self, now: Instant) -> Result<(), ProxyError> {
        if now < self.deadline {
            Ok(())
        } else {
            Err(ProxyError::Silent { within: ANSWER_MAX })
        }
    }

    /// When the answer must be whole.
    #[must_use]
    pub const fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Another protocol's greeting may have no line end to wait for.
    fn begins_well(&self) -> bool {
        match self.state {
            State::ExpectStatus => {
                let common = self.line.len().min(PROTOCOL.len());
                self.line[..common] == PROTOCOL[..common]
            }
            State::ExpectEnd { .. } => true,
        }
    }

    /// Takes one line without its end; true once the tunnel stands.
    fn handle_line(&mut self, line: &[u8]) -> Result<bool, ProxyError> {
        if !line
            .iter()
            .all(|byte| matches!(byte, b'\t' | b' '..=b'~' | 0x80..))
        {
            return Err(not_http(line));
        }
        match std::mem::replace(&mut self.state, State::ExpectStatus) {
            State::ExpectStatus => {
                let (status, reason) = status_line(line).ok_or_else(|| not_http(line))?;
                self.state = State::ExpectEnd {
                    status,
                    reason,
                    challenges: Challenges::default(),
                };
                Ok(false)
            }
            State::ExpectEnd {
                status,
                reason,
                mut challenges,
            } if !line.is_empty() => {
                if let Some(value) = field(line, b"proxy-authenticate") {
                    challenges.take(value);
                }
                self.state = State::ExpectEnd {
                    status,
                    reason,
                    challenges,
                };
                Ok(false)
            }
            State::ExpectEnd {
                status,
                reason,
                challenges,
            } => match status {
                // An upgrade that nobody asked for is no interim answer.
                100 | 102..200 => Ok(false),
                200..300 => Ok(true),
                407 => Err(challenges.into_error(self.has_credentials)),
                _ => Err(ProxyError::Refused { status, reason }),
            },
        }
    }
}

/// Code and words of `HTTP/1.1 200 Connection established`; some proxies leave the words out, and
/// the space before them.
fn status_line(line: &[u8]) -> Option<(u16, String)> {
    let (minor, rest) = line.strip_prefix(PROTOCOL)?.split_first()?;
    let (code, words) = rest.strip_prefix(b" ")?.split_at_checked(3)?;
    let is_well_formed = minor.is_ascii_digit()
        && code.iter().all(u8::is_ascii_digit)
        && (words.is_empty() || words.starts_with(b" "));
    let status = std::str::from_utf8(code).ok()?.parse().ok()?;
    (is_well_formed && status >= 100).then(|| (status, shown(words, REASON_COLUMNS)))
}

/// The value of a header line if it is of the field `name`, which is in lower case.
fn field<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (found, value) = line.split_at_checked(name.len())?;
    let value = value.strip_prefix(b":")?;
    found.eq_ignore_ascii_case(name).then_some(value)
}

fn not_http(line: &[u8]) -> ProxyError {
    let first = line.trim_ascii().split(|byte| *byte == b'\n').next();
    let seen = shown(first.unwrap_or(line), SEEN_COLUMNS);
    ProxyError::NotHttp { seen }
}

/// What every answer begins with.
const PROTOCOL: &[u8] = b"HTTP/1.";
/// Columns of an answer's words that are shown.
pub const REASON_COLUMNS: usize = 32;
/// Columns of what is not HTTP that are shown.
pub const SEEN_COLUMNS: usize = 24;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::Credentials;

    #[test]
    fn the_tunnel_stands_after_the_blank_line_and_what_follows_is_its_own() {
        for head in [
            "HTTP/1.1 200 Connection established\r\n\r\n",
            "HTTP/1.0 200 OK\r\nProxy-agent: Apache\r\n\r\n",
            "HTTP/1.1 200\nVia: 1.1 x\n\n",
            "HTTP/1.1 204 \r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\nX-Folded: a\r\n b\r\nno colon at all\r\nX: \u{e9}\r\n\r\n",
        ] {
            let tunnel = b"\x16\x03\x03\r\n\r\nHTTP/1.1 407 no\r\n\r\n";
            let answer = [head.as_bytes(), tunnel].concat();
            assert_eq!(at_once(&answer), (Ok(true), &tunnel[..]), "{head:?}");
            assert_eq!(byte_by_byte(&answer), (Ok(true), &tunnel[..]), "{head:?}");
        }
    }

    #[test]
    fn half_an_answer_is_waited_for() {
        let answer = b"HTTP/1.1 200 OK\r\nVia: x\r\n\r\n";
        for len in 0..answer.len() {
            assert_eq!(at_once(&answer[..len]), (Ok(false), &[][..]));
        }
    }

    #[test]
    fn a_refusal_is_told_with_the_proxys_words_and_without_its_page() {
        let answer = "HTTP/1.1 403 Forb\"idden\x7f by the proxy of the whole company\r\n";
        assert_eq!(of(answer), not_http_error("HTTP/1.1 403 Forb'idden?"));
        let page = "Content-Type: text/html\r\n\r\n<html>\x1b[2J";
        for (line, status, reason) in [
            ("HTTP/1.1 403 Forbidden", 403, "Forbidden"),
            ("HTTP/1.1 503 Forb\"id\u{e9}", 503, "Forb'id??"),
            ("HTTP/1.1 502", 502, ""),
            (
                "HTTP/1.0 101 Switching Protocols",
                101,
                "Switching Protocols",
            ),
            ("HTTP/1.1 302 Found", 302, "Found"),
        ] {
            let reason = reason.to_owned();
            let refused = ProxyError::Refused { status, reason };
            assert_eq!(of(&format!("{line}\r\n{page}")), refused);
        }
    }

    #[test]
    fn a_proxy_that_wants_to_know_who_asks_is_told_apart_from_one_that_did_not_like_the_answer() {
        let answer = b"HTTP/1.1 407 Proxy Authentication Required\r\nPROXY-AUTHENTICATE: NTLM\r\n\
                       Proxy-Authenticate:Basic realm=\"hq\"\r\n\r\n";
        for (credentials, refused) in [(None, false), (Some(credentials("mona", "x")), true)] {
            let mut connect = machine(credentials);
            let realm = "hq".to_owned();
            assert_eq!(
                connect.handle_input(&mut &answer[..]),
                Err(ProxyError::NeedsCredentials { refused, realm })
            );
        }
        let schemes = "NTLM, Negotiate".to_owned();
        assert_eq!(
            of(
                "HTTP/1.1 407 x\r\nProxy-Authenticate: NTLM\r\nProxy-Authenticate: Negotiate\r\n\r\n"
            ),
            ProxyError::Unsupported { schemes }
        );
    }

    #[test]
    fn what_is_no_http_proxy_is_told_at_once_with_what_it_said() {
        for (said, seen) in [
            ("SSH-2.0-OpenSSH_9.2p1 Debian-2", "SSH-2.0-OpenSSH_9.2p1 De"),
            ("220 mail\r\n220 x", "220 mail"),
            ("\x15\x03\x01\0\x02\x02\x50", "??????P"),
            ("HTTP/2 ", "HTTP/2"),
            ("\r\nHTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK"),
            ("\nx", ""),
            ("HTTP/1.1 2OO OK\r\n", "HTTP/1.1 2OO OK"),
            ("HTTP/1.1 099 OK\r\n", "HTTP/1.1 099 OK"),
            ("HTTP/1.1 2000 OK\r\n", "HTTP/1.1 2000 OK"),
            ("HTTP/1.x 200 OK\r\n", "HTTP/1.x 200 OK"),
            ("HTTP/1.1\n", "HTTP/1.1"),
            ("HTTP/1.1 200 OK\r\nA: b\0c\r\n", "A: b?c"),
            ("HTTP/1.1 200 OK\r\nA: b\rc\r\n", "A: b?c"),
            ("HTTP/1.1 200 OK\r\r\n", "HTTP/1.1 200 OK"),
        ] {
            assert_eq!(of(said), not_http_error(seen), "{said:?}");
        }
    }

    #[test]
    fn a_head_without_an_end_is_given_up_at_its_limit() {
        let too_long = Err(ProxyError::HeadTooLong { max: HEAD_MAX });
        let line = format!("HTTP/1.1 200 {}", "x".repeat(2 * HEAD_MAX));
        let fields = format!("HTTP/1.1 200 OK\r\n{}", "A: b\r\n".repeat(HEAD_MAX));
        let interim = "HTTP/1.1 100 Continue\r\n\r\n".repeat(HEAD_MAX);
        for endless in [line, fields, interim] {
            assert_eq!(at_once(endless.as_bytes()).0, too_long);
        }
        let fits = format!("HTTP/1.1 200 {}\r\n\r\n", "x".repeat(HEAD_MAX - 17));
        assert_eq!(fits.len(), HEAD_MAX);
        assert_eq!(at_once(fits.as_bytes()), (Ok(true), &[][..]));
    }

    #[test]
    fn a_proxy_has_fifteen_seconds() {
        let connect = machine(None);
        assert_eq!(connect.deadline(), Instant::default() + ANSWER_MAX);
        let nearly = Instant::from_micros(14_999_999);
        assert_eq!(connect.handle_timeout(nearly), Ok(()));
        let within = ANSWER_MAX;
        let late = connect.handle_timeout(Instant::from_micros(15_000_000));
        assert_eq!(late, Err(ProxyError::Silent { within }));
    }

    fn credentials(user: &str, password: &str) -> Credentials {
        Credentials {
            user: Zeroizing::new(user.into()),
            password: Zeroizing::new(password.into()),
        }
    }

    fn machine(credentials: Option<Credentials>) -> Connect {
        let proxy = Proxy::parse("proxy.example:3128", credentials).unwrap();
        Connect::new(Instant::default(), &proxy, "edge.example", 443).unwrap()
    }

    fn at_once(answer: &[u8]) -> (Result<bool, ProxyError>, &[u8]) {
        let mut rest = answer;
        (machine(None).handle_input(&mut rest), rest)
    }

    fn byte_by_byte(answer: &[u8]) -> (Result<bool, ProxyError>, &[u8]) {
        let mut connect = machine(None);
        for index in 0..answer.len() {
            match connect.handle_input(&mut &answer[index..=index]) {
                Ok(false) => {}
                result => return (result, &answer[index + 1..]),
            }
        }
        (Ok(false), &[])
    }

    fn of(answer: &str) -> ProxyError {
        at_once(answer.as_bytes()).0.unwrap_err()
    }

    fn not_http_error(seen: &str) -> ProxyError {
        let seen = seen.to_owned();
        ProxyError::NotHttp { seen }
    }
}

//! The private application: a web server (HTTP/1.1, RFC 9112) as a machine without I/O.
//!
//! | request | answer |
//! |---|---|
//! | `GET /` | a page that contains [`PAGE_MARKER`] |
//! | `GET /bytes/N` | N bytes, byte i is i modulo 251 |
//! | `POST /echo` | the request's body, while it still arrives |
//! | `POST /count` | how many bytes the body had; without a Content-Length the body ends when the client closes its direction |
//!
//! Everything else is 404. Bodies of requests in chunks are refused with 411.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use super::service::{BACKLOG_BYTES_MAX, Connection, Transmit, take};

/// Words of the private page that occur nowhere else.
pub const PAGE_MARKER: &str = "This page exists inside the private network only.";

/// The longest head of a request.
const HEAD_BYTES_MAX: usize = 16 << 10;

/// Request lines that the log keeps; the oldest go.
const LOG_LINES_MAX: usize = 10_000;

/// The request lines that arrived, oldest first; shared by all connections of a server.
#[derive(Debug, Clone, Default)]
pub struct RequestLog {
    lines: Arc<Mutex<VecDeque<String>>>,
}

impl RequestLog {
    /// The lines so far, like `GET / HTTP/1.1`.
    pub fn lines(&self) -> Vec<String> {
        self.lines
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .cloned()
            .collect()
    }

    fn push(&self, line: &str) {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == LOG_LINES_MAX {
            lines.pop_front();
        }
        lines.push_back(line.to_owned());
    }
}

/// One client's connection.
#[derive(Debug)]
pub struct WebServer {
    log: RequestLog,
    state: State,
    input: Vec<u8>,
    output: VecDeque<u8>,
    client_finished: bool,
}

/// What the connection waits for.
#[derive(Debug)]
enum State {
    /// The empty line after a head.
    Head { close_after: bool },
    /// The rest of a body that is counted; its length, unless it ends with the connection.
    Count {
        left: Option<u64>,
        received: u64,
        close_after: bool,
    },
    /// The rest of a body that is sent back.
    Echo { left: u64, close_after: bool },
    /// Room to send the rest of a pattern.
    Pattern {
        next: u64,
        end: u64,
        close_after: bool,
    },
    /// Nothing: the rest of the output is the last.
    Closing,
}

/// The parts of a request's head that matter.
#[derive(Debug)]
struct Head {
    line: String,
    method: String,
    path: String,
    content_length: Option<u64>,
    is_chunked: bool,
    close_after: bool,
    expects_continue: bool,
}

impl WebServer {
    /// A new connection of the server with this log.
    pub fn new(log: RequestLog) -> Self {
        Self {
            log,
            state: State::Head { close_after: false },
            input: Vec::new(),
            output: VecDeque::new(),
            client_finished: false,
        }
    }

    /// Does all that the input and the room for output allow.
    fn advance(&mut self) {
        while self.step() {}
    }

    /// One step; false when it takes more input or more room.
    fn step(&mut self) -> bool {
        match self.state {
            State::Head { close_after: true } => {
                self.state = State::Closing;
                false
            }
            State::Head { close_after: false } => self.step_head(),
            State::Count {
                left,
                received,
                close_after,
            } => self.step_count(left, received, close_after),
            State::Echo { left, close_after } => self.step_echo(left, close_after),
            State::Pattern {
                next,
                end,
                close_after,
            } => self.step_pattern(next, end, close_after),
            State::Closing => false,
        }
    }

    fn step_head(&mut self) -> bool {
        let Some(end) = find(&self.input, b"\r\n\r\n") else {
            if self.input.len() > HEAD_BYTES_MAX {
                self.respond(
                    "431 Request Header Fields Too Large",
                    "the head is too long\n",
                );
                self.state = State::Closing;
            } else if self.client_finished {
                self.state = State::Closing;
            }
            return false;
        };
        let head: Vec<u8> = self.input.drain(..end + 4).collect();
        match Head::parse(&head) {
            Some(head) => self.begin(&head),
            None => {
                self.respond("400 Bad Request", "that is no request\n");
                self.state = State::Closing;
            }
        }
        true
    }

    fn begin(&mut self, head: &Head) {
        self.log.push(&head.line);
        let close_after = head.close_after;
        if head.is_chunked {
            self.respond("411 Length Required", "no chunks, please\n");
            self.state = State::Closing;
            return;
        }
        if head.expects_continue {
            self.output.extend(b"HTTP/1.1 100 Continue\r\n\r\n");
        }
        let pattern_length = head
            .path
            .strip_prefix("/bytes/")
            .and_then(|n| n.parse().ok());
        self.state = match (head.method.as_str(), head.path.as_str(), pattern_length) {
            ("GET", "/", _) => {
                self.respond(
                    "200 OK",
                    &format!("<!doctype html>\n<p>{PAGE_MARKER}</p>\n"),
                );
                State::Head { close_after }
            }
            ("GET", _, Some(end)) => {
                self.push_head("200 OK", "application/octet-stream", end);
                State::Pattern {
                    next: 0,
                    end,
                    close_after,
                }
            }
            ("POST", "/echo", _) => {
                let left = head.content_length.unwrap_or(0);
                self.push_head("200 OK", "application/octet-stream", left);
                State::Echo { left, close_after }
            }
            ("POST", "/count", _) => State::Count {
                left: head.content_length,
                received: 0,
                close_after,
            },
            _ => {
                self.respond("404 Not Found", "there is no such page\n");
                // A body that nobody asked for would be taken for the next request.
                State::Head {
                    close_after: close_after || head.content_length.is_some(),
                }
            }
        };
    }

    fn step_count(&mut self, left: Option<u64>, received: u64, close_after: bool) -> bool {
        let taken = self.drain_input(left.unwrap_or(u64::MAX)).len();
        let received = received + bytes(taken);
        let left = left.map(|left| left - bytes(taken));
        let is_complete = left == Some(0) || self.client_finished;
        if is_complete {
            self.respond("200 OK", &format!("{received}\n"));
            self.state = State::Head {
                close_after: close_after || self.client_finished,
            };
        } else {
            self.state = State::Count {
                left,
                received,
                close_after,
            };
        }
        is_complete
    }

    fn step_echo(&mut self, left: u64, close_after: bool) -> bool {
        let taken = self.drain_input(left);
        let left = left - bytes(taken.len());
        self.output.extend(taken);
        self.state = match left {
            0 => State::Head { close_after },
            // The client closed before its body was complete.
            _ if self.client_finished => State::Closing,
            _ => State::Echo { left, close_after },
        };
        left == 0
    }

    fn step_pattern(&mut self, next: u64, end: u64, close_after: bool) -> bool {
        let room = bytes(BACKLOG_BYTES_MAX.saturating_sub(self.output.len()));
        let stop = end.min(next + room);
        self.output.extend((next..stop).map(pattern_byte));
        if stop == end {
            self.state = State::Head { close_after };
        } else {
            self.state = State::Pattern {
                next: stop,
                end,
                close_after,
            };
        }
        stop == end
    }

    fn respond(&mut self, status: &str, body: &str) {
        self.push_head(status, "text/html; charset=utf-8", bytes(body.len()));
        self.output.extend(body.as_bytes());
    }

    fn push_head(&mut self, status: &str, content_type: &str, length: u64) {
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\n\r\n"
        );
        self.output.extend(head.as_bytes());
    }

    /// At most `most` bytes of the input.
    fn drain_input(&mut self, most: u64) -> Vec<u8> {
        let count = usize::try_from(most)
            .unwrap_or(usize::MAX)
            .min(self.input.len());
        self.input.drain(..count).collect()
    }
}

impl Connection for WebServer {
    fn receive(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
        self.advance();
    }

    fn finish(&mut self) {
        self.client_finished = true;
        self.advance();
    }

    fn transmit(&mut self, buffer: &mut [u8]) -> Transmit {
        self.advance();
        let at_end = matches!(self.state, State::Closing);
        take(&mut self.output, buffer).unwrap_or(if at_end {
            Transmit::End
        } else {
            Transmit::Pending
        })
    }

    fn wants_input(&self) -> bool {
        self.output.len() < BACKLOG_BYTES_MAX && self.input.len() < BACKLOG_BYTES_MAX
    }
}

impl Head {
    fn parse(head: &[u8]) -> Option<Self> {
        let text = str::from_utf8(head).ok()?;
        let mut lines = text.split("\r\n");
        let line = lines.next()?;
        let mut words = line.split(' ');
        let (method, path, version) = (words.next()?, words.next()?, words.next()?);
        if !version.starts_with("HTTP/1.") || words.next().is_some() {
            return None;
        }
        let mut parsed = Self {
            line: line.to_owned(),
            method: method.to_owned(),
            path: path.to_owned(),
            content_length: None,
            is_chunked: false,
            close_after: version == "HTTP/1.0",
            expects_continue: false,
        };
        for header in lines.filter(|line| !line.is_empty()) {
            let (name, value) = header.split_once(':')?;
            let value = value.trim();
            match name.to_ascii_lowercase().as_str() {
                "content-length" => parsed.content_length = Some(value.parse().ok()?),
                "transfer-encoding" => parsed.is_chunked = true,
                "connection" => parsed.close_after |= value.eq_ignore_ascii_case("close"),
                "expect" => parsed.expects_continue = true,
                _ => {}
            }
        }
        Some(parsed)
    }
}

/// Byte `index` of the pattern of `/bytes/N`.
pub fn pattern_byte(index: u64) -> u8 {
    u8::try_from(index % 251).unwrap_or(0)
}

fn bytes(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack
        .windows(needle.len())
        .position(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_the_marker_and_the_connection_stays_open() {
        let log = RequestLog::default();
        let mut server = WebServer::new(log.clone());
        for _ in 0..2 {
            server.receive(b"GET / HTTP/1.1\r\nHost: intranet\r\n\r\n");
            let (answer, ended) = all(&mut server);
            assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n"));
            assert!(String::from_utf8(answer).unwrap().contains(PAGE_MARKER));
            assert!(!ended);
        }
        assert_eq!(log.lines(), ["GET / HTTP/1.1", "GET / HTTP/1.1"]);
    }

    #[test]
    fn a_long_pattern_comes_in_full_and_is_never_kept_in_full() {
        let mut server = WebServer::new(RequestLog::default());
        server.receive(b"GET /bytes/1000000 HTTP/1.1\r\nConnection: close\r\n\r\n");
        assert!(server.output.len() <= 2 * BACKLOG_BYTES_MAX);
        let (answer, ended) = all(&mut server);
        let body = &answer[find(&answer, b"\r\n\r\n").unwrap() + 4..];
        assert_eq!((body.len(), ended), (1_000_000, true));
        assert!(
            body.iter()
                .zip(0..)
                .all(|(&byte, index)| byte == pattern_byte(index))
        );
    }

    #[test]
    fn a_body_comes_back_byte_by_byte() {
        let mut server = WebServer::new(RequestLog::default());
        for byte in b"POST /echo HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello" {
            server.receive(&[*byte]);
        }
        assert!(all(&mut server).0.ends_with(b"\r\n\r\nhello"));
    }

    #[test]
    fn a_body_without_length_is_counted_when_the_client_closes_its_direction() {
        let mut server = WebServer::new(RequestLog::default());
        server.receive(b"POST /count HTTP/1.1\r\n\r\n12345");
        assert_eq!(all(&mut server), (Vec::new(), false));
        server.finish();
        let (answer, ended) = all(&mut server);
        assert!(answer.ends_with(b"\r\n\r\n5\n"));
        assert!(ended);
    }

    #[test]
    fn nonsense_is_refused_and_ends_the_connection() {
        for nonsense in [&b"\x16\x03\x01\r\n\r\n"[..], &[b'x'; HEAD_BYTES_MAX + 1]] {
            let mut server = WebServer::new(RequestLog::default());
            server.receive(nonsense);
            let (answer, ended) = all(&mut server);
            assert!(answer.starts_with(b"HTTP/1.1 4"));
            assert!(ended);
        }
    }

    /// All output that is there, and whether the end came.
    fn all(server: &mut WebServer) -> (Vec<u8>, bool) {
        let mut answer = Vec::new();
        let mut buffer = [0; 1000];
        loop {
            match server.transmit(&mut buffer) {
                Transmit::Bytes(count) => answer.extend_from_slice(&buffer[..count]),
                Transmit::End => return (answer, true),
                Transmit::Pending => return (answer, false),
            }
        }
    }
}

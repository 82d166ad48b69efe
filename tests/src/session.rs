//! A user's session that stays open: bytes to the private application, which sends them back.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::network::address::{APPLICATION, APPLICATION_NAME};
use crate::network::connect_proxy::base64;

/// How long the edge, the connector and the application may take for anything.
const ANSWER_MAX: Duration = Duration::from_secs(60);

/// More than any story sends; the application echoes a body while it still arrives.
const BODY_BYTES: u32 = 1_000_000;

/// The longest head of an answer.
const HEAD_BYTES_MAX: usize = 8 << 10;

/// An open session.
#[derive(Debug)]
pub struct Session {
    stream: TcpStream,
}

impl Session {
    /// Opens one as this user, `name:password`, through the edge's proxy for users.
    ///
    /// # Errors
    /// With the proxy's or the application's words when they refuse.
    pub fn open(proxy: SocketAddr, credentials: &str) -> io::Result<Self> {
        let stream = TcpStream::connect(proxy)?;
        stream.set_read_timeout(Some(ANSWER_MAX))?;
        stream.set_nodelay(true)?;
        let mut session = Self { stream };
        let (host, port) = (APPLICATION_NAME, APPLICATION.port());
        let authorization = base64(credentials.as_bytes());
        let connect = format!(
            "CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n\
             Proxy-Authorization: Basic {authorization}\r\n\r\n"
        );
        session.ask(&connect)?;
        session.ask(&format!(
            "POST /echo HTTP/1.1\r\nHost: {host}\r\nContent-Length: {BODY_BYTES}\r\n\r\n"
        ))?;
        Ok(session)
    }

    /// Sends bytes and waits until the application sent them back.
    ///
    /// # Errors
    /// When the session is over, or others come back.
    pub fn exchange(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)?;
        let mut echoed = vec![0; bytes.len()];
        self.stream.read_exact(&mut echoed)?;
        if echoed == bytes {
            Ok(())
        } else {
            Err(io::Error::other("other bytes came back"))
        }
    }

    /// Sends a request's head and reads that of the answer, whose status is to be 200.
    fn ask(&mut self, head: &str) -> io::Result<()> {
        self.stream.write_all(head.as_bytes())?;
        let (mut answer, mut byte) = (Vec::new(), [0]);
        while !answer.ends_with(b"\r\n\r\n") && answer.len() < HEAD_BYTES_MAX {
            self.stream.read_exact(&mut byte)?;
            answer.extend(byte);
        }
        let answer = String::from_utf8_lossy(&answer).into_owned();
        if answer.split(' ').nth(1) == Some("200") {
            Ok(())
        } else {
            Err(io::Error::other(answer))
        }
    }
}

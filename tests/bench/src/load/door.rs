//! How a user comes in: straight to a port, or by HTTP CONNECT.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How long anything may take that a user waits for.
pub const PATIENCE: Duration = Duration::from_secs(15);

/// The head of a proxy's answer is no longer.
const HEAD_MAX: usize = 4096;

/// Where users come in.
#[derive(Debug, Clone)]
pub struct Door {
    address: SocketAddr,
    /// What is said first, and answered; empty where nothing is.
    request: Vec<u8>,
}

impl Door {
    /// A port that leads to the application.
    #[must_use]
    pub const fn port(address: SocketAddr) -> Self {
        Self {
            address,
            request: Vec::new(),
        }
    }

    /// An HTTP proxy that is asked for `target` by a user with a password.
    #[must_use]
    pub fn proxy(address: SocketAddr, target: SocketAddr, user: &str, password: &str) -> Self {
        let credentials = base64(format!("{user}:{password}").as_bytes());
        let request = format!(
            "CONNECT {target} HTTP/1.1\r\nHost: {target}\r\nProxy-Authorization: Basic {credentials}\r\n\r\n"
        );
        Self {
            address,
            request: request.into_bytes(),
        }
    }

    /// Dials, and returns when the tunnel may be used. Reads and writes time out.
    ///
    /// # Errors
    /// Those of the socket, and the first line of a proxy's refusal.
    pub fn connect(&self) -> io::Result<TcpStream> {
        let mut stream = TcpStream::connect_timeout(&self.address, PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        if !self.request.is_empty() {
            stream.write_all(&self.request)?;
            let head = read_head(&mut stream)?;
            let line = head.lines().next().unwrap_or_default();
            if line.split(' ').nth(1) != Some("200") {
                return Err(io::Error::other(format!("the proxy answered {head:?}")));
            }
        }
        Ok(stream)
    }
}

/// Reads up to the empty line. The application speaks only when it was spoken to, so nothing follows it.
fn read_head(stream: &mut TcpStream) -> io::Result<String> {
    let mut head = Vec::new();
    let mut buffer = [0; 512];
    while !head.ends_with(b"\r\n\r\n") {
        let len = stream.read(&mut buffer)?;
        if len == 0 || head.len() > HEAD_MAX {
            let said = String::from_utf8_lossy(&head).into_owned();
            return Err(io::Error::other(format!("no whole answer but {said:?}")));
        }
        head.extend_from_slice(&buffer[..len]);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

/// RFC 4648, with padding.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let letters = bytes.chunks(3).flat_map(|chunk| {
        let bits = (0..3).fold(0, |bits, at| {
            bits << 8 | u32::from(chunk.get(at).copied().unwrap_or(0))
        });
        let letter = |at: usize| char::from(LETTERS[(bits >> (18 - 6 * at) & 63) as usize]);
        [0, 1, 2, 3].map(|at| if at > chunk.len() { '=' } else { letter(at) })
    });
    letters.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::thread;

    #[test]
    fn credentials_are_encoded_as_rfc_4648_shows() {
        for (plain, encoded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(plain.as_bytes()), encoded);
        }
    }

    #[test]
    fn a_refusal_of_the_proxy_is_an_error_that_quotes_it() {
        for (answer, is_open) in [
            ("HTTP/1.1 200 OK\r\n\r\n", true),
            ("HTTP/1.1 503 Busy\r\n\r\n", false),
            ("HTTP/1.1 200", false),
        ] {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            let proxy = thread::spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                let said = read_head(&mut stream).unwrap();
                stream.write_all(answer.as_bytes()).unwrap();
                said
            });
            let result = Door::proxy(address, address, "mona", "pass").connect();
            let said = proxy.join().unwrap();
            assert!(said.contains("Basic bW9uYTpwYXNz\r\n"), "{said}");
            match result {
                Ok(_) => assert!(is_open, "{answer}"),
                Err(error) => assert!(!is_open && error.to_string().contains("answer"), "{error}"),
            }
        }
    }
}

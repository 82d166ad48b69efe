//! An HTTP proxy that knows CONNECT (RFC 9110 section 9.3.6), with Basic credentials if wanted
//! (RFC 7617): a server on the host's loopback, to be served in the network as
//! [`Answerer::Host`](super::service::Answerer::Host).

use std::collections::BTreeMap;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// The longest head of a request.
const HEAD_BYTES_MAX: u64 = 8 << 10;

/// A running proxy. It takes no more connections once this is dropped.
#[derive(Debug)]
pub struct ConnectProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// Where on the host each `host:port` is; others are refused with 502.
    routes: BTreeMap<String, SocketAddr>,
    /// The `Proxy-Authorization` that is accepted; without one all are.
    authorization: Option<String>,
    requests: Mutex<Vec<String>>,
    has_ended: AtomicBool,
}

impl ConnectProxy {
    /// Starts a proxy with these routes, that wants these credentials, `user:password`, if any.
    ///
    /// # Errors
    /// Those of listening.
    pub fn start(routes: &[(&str, SocketAddr)], credentials: Option<&str>) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let routes = routes.iter().map(|(name, at)| ((*name).to_owned(), *at));
        let shared = Arc::new(Shared {
            routes: routes.collect(),
            authorization: credentials.map(|both| format!("Basic {}", base64(both.as_bytes()))),
            requests: Mutex::default(),
            has_ended: AtomicBool::new(false),
        });
        let for_thread = Arc::clone(&shared);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if for_thread.has_ended.load(Ordering::SeqCst) {
                    return;
                }
                let shared = Arc::clone(&for_thread);
                // An error ends the connection, which is what the client sees.
                thread::spawn(move || drop(shared.serve(client)));
            }
        });
        Ok(Self { address, shared })
    }

    /// Where on the host it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The request lines so far, each with the status that answered it: `200 CONNECT edge:443 HTTP/1.1`.
    pub fn requests(&self) -> Vec<String> {
        self.shared
            .requests
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Drop for ConnectProxy {
    fn drop(&mut self) {
        self.shared.has_ended.store(true, Ordering::SeqCst);
        // Wakes the listener; where that fails there is none any more.
        let _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    fn serve(&self, client: TcpStream) -> io::Result<()> {
        let mut reader = BufReader::new(client.try_clone()?);
        let mut head = (&mut reader).take(HEAD_BYTES_MAX);
        let (mut request, mut authorization) = (String::new(), None);
        head.read_line(&mut request)?;
        loop {
            let mut line = String::new();
            if head.read_line(&mut line)? == 0 || line == "\r\n" {
                break;
            }
            let field = line.trim_end().split_once(": ");
            if let Some((_, value)) =
                field.filter(|(name, _)| name.eq_ignore_ascii_case("proxy-authorization"))
            {
                authorization = Some(value.to_owned());
            }
        }
        let request = request.trim_end();
        let (status, server) = self.judge(request, authorization.as_deref());
        self.requests
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(format!("{} {request}", &status[..3]));
        let challenge = if status.starts_with("407") {
            "Proxy-Authenticate: Basic realm=\"lab\"\r\n"
        } else {
            ""
        };
        let mut answers = client.try_clone()?;
        let length = if server.is_none() {
            "Content-Length: 0\r\n"
        } else {
            ""
        };
        write!(answers, "HTTP/1.1 {status}\r\n{challenge}{length}\r\n")?;
        match server {
            Some(server) => relay(reader, &client, &server),
            None => client.shutdown(Shutdown::Both),
        }
    }

    fn judge(
        &self,
        request: &str,
        authorization: Option<&str>,
    ) -> (&'static str, Option<TcpStream>) {
        if self.authorization.is_some() && self.authorization.as_deref() != authorization {
            return ("407 Proxy Authentication Required", None);
        }
        let words: Vec<_> = request.split(' ').collect();
        let ["CONNECT", target, "HTTP/1.1"] = words[..] else {
            return ("405 Method Not Allowed", None);
        };
        let server = self.routes.get(target).map(TcpStream::connect);
        match server {
            Some(Ok(server)) => ("200 Connection established", Some(server)),
            Some(Err(_)) | None => ("502 Bad Gateway", None),
        }
    }
}

/// Copies both ways until both directions are over. The reader may hold bytes of the tunnel already.
fn relay(
    mut from_client: BufReader<TcpStream>,
    client: &TcpStream,
    server: &TcpStream,
) -> io::Result<()> {
    for stream in [client, server] {
        stream.set_nodelay(true)?;
    }
    let (mut to_server, mut back_to_client, mut from_server) = (
        server.try_clone()?,
        client.try_clone()?,
        server.try_clone()?,
    );
    let up = thread::spawn(move || {
        let copied = io::copy(&mut from_client, &mut to_server);
        // An error means that the other side is gone.
        let _ = to_server.shutdown(Shutdown::Write);
        copied
    });
    let copied = io::copy(&mut from_server, &mut back_to_client);
    let _ = client.shutdown(Shutdown::Write);
    let _ = up.join();
    copied.map(drop)
}

/// Bytes in base64 (RFC 4648 section 4), as Basic credentials are (RFC 7617).
pub fn base64(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let mut padded = [0; 4];
        padded[1..=chunk.len()].copy_from_slice(chunk);
        let bits = u32::from_be_bytes(padded);
        for place in 0..4 {
            let index = usize::try_from(bits >> (18 - 6 * place) & 63).unwrap_or(0);
            let is_padding = place > chunk.len();
            text.push(if is_padding {
                '='
            } else {
                char::from(ALPHABET[index])
            });
        }
    }
    text
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_known_answers_of_base64_hold() {
        // RFC 7617 section 2, and the three lengths of RFC 4648 section 10.
        let known = [
            ("Aladdin:open sesame", "QWxhZGRpbjpvcGVuIHNlc2FtZQ=="),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
        ];
        for (text, encoded) in known {
            assert_eq!(base64(text.as_bytes()), encoded);
        }
    }

    #[test]
    fn only_who_has_the_credentials_gets_through_and_only_to_a_known_name() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let routes = [("edge:443", server.local_addr().unwrap())];
        thread::spawn(move || {
            let (mut stream, _) = server.accept().unwrap();
            stream.write_all(b"hello").unwrap();
        });
        let proxy = ConnectProxy::start(&routes, Some("f:oo")).unwrap();
        let ask = |target: &str, field: &str| {
            let mut stream = TcpStream::connect(proxy.address()).unwrap();
            write!(stream, "CONNECT {target} HTTP/1.1\r\n{field}\r\n").unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            answer
        };
        let right = "Proxy-Authorization: Basic Zjpvbw==\r\n";
        assert!(ask("edge:443", "").starts_with("HTTP/1.1 407"));
        assert!(ask("edge:443", "Proxy-Authorization: Basic Zm9v\r\n").contains("Basic realm"));
        assert!(ask("elsewhere:443", right).starts_with("HTTP/1.1 502"));
        assert!(ask("edge:443", right).ends_with("\r\n\r\nhello"));
        assert_eq!(proxy.requests()[3], "200 CONNECT edge:443 HTTP/1.1");
    }
}

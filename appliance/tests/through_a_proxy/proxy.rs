//! An HTTP proxy of a few lines.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use appliance::proxy::{Credentials, Proxy};
use zeroize::Zeroizing;

use crate::edge::{EDGE_NAME, EDGE_PORT};

/// What it does with a request.
#[derive(Clone, Copy, Debug)]
pub enum Conduct {
    /// Opens the tunnel if user and password are right.
    Tunnel,
    /// As well, and each byte of its answer comes alone.
    ByteByByte,
    /// Closes the connection.
    Close,
    /// Says this, and closes.
    Say(&'static [u8]),
    /// Says nothing.
    Silent,
}

pub struct TestProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    edge: SocketAddr,
    conduct: Conduct,
    authorization: Option<&'static str>,
    heard: Mutex<Vec<String>>,
    stopped: Mutex<bool>,
}

impl TestProxy {
    /// Listens on loopback. It knows one name, the edge's.
    pub fn start(edge: SocketAddr, credentials: Option<(&str, &str)>, conduct: Conduct) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let authorization = credentials.map(|credentials| {
            assert_eq!(credentials, ("mona", "open:sesame"));
            "Basic bW9uYTpvcGVuOnNlc2FtZQ=="
        });
        let shared = Arc::new(Shared {
            edge,
            conduct,
            authorization,
            heard: Mutex::default(),
            stopped: Mutex::default(),
        });
        let address = listener.local_addr().unwrap();
        let serving = shared.clone();
        thread::spawn(move || {
            for client in listener.incoming() {
                if *serving.stopped.lock().unwrap() {
                    return;
                }
                let (client, shared) = (client.unwrap(), serving.clone());
                thread::spawn(move || shared.serve(client));
            }
        });
        Self { address, shared }
    }

    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The heads of the requests that came.
    pub fn heard(&self) -> Vec<String> {
        self.shared.heard.lock().unwrap().clone()
    }

    /// How a connector finds it.
    pub fn settings(&self, credentials: Option<(&str, &str)>) -> Proxy {
        let credentials = credentials.map(|(user, password)| Credentials {
            user: Zeroizing::new(user.into()),
            password: Zeroizing::new(password.into()),
        });
        Proxy::parse(&self.address.to_string(), credentials).unwrap()
    }
}

/// Nothing listens any more when this returns.
impl Drop for TestProxy {
    fn drop(&mut self) {
        *self.shared.stopped.lock().unwrap() = true;
        while TcpStream::connect(self.address).is_ok() {}
    }
}

impl Shared {
    fn serve(&self, mut client: TcpStream) {
        client.set_nodelay(true).unwrap();
        // A connector that gave up takes its connection with it.
        let Ok(head) = read_head(&mut client) else {
            return;
        };
        let right = format!("CONNECT {EDGE_NAME}:{EDGE_PORT} HTTP/1.1\r\n");
        let is_right = head.starts_with(&right);
        let may_pass = self
            .authorization
            .is_none_or(|wanted| head.contains(&format!("\r\nProxy-Authorization: {wanted}\r\n")));
        self.heard.lock().unwrap().push(head);
        let answer: &[u8] = match self.conduct {
            Conduct::Silent => {
                let _ = client.read(&mut [0]);
                return;
            }
            Conduct::Close => return,
            Conduct::Say(what) => what,
            Conduct::Tunnel | Conduct::ByteByByte if !is_right => UNKNOWN,
            Conduct::Tunnel | Conduct::ByteByByte if !may_pass => WHO_ASKS,
            Conduct::Tunnel | Conduct::ByteByByte => ESTABLISHED,
        };
        let portion = match self.conduct {
            Conduct::ByteByByte => 1,
            _ => answer.len(),
        };
        for portion in answer.chunks(portion) {
            client.write_all(portion).unwrap();
            if portion.len() == 1 {
                // A slow proxy: each byte is on its way before the next is written.
                thread::sleep(Duration::from_millis(1));
            }
        }
        if answer == ESTABLISHED {
            carry(client, TcpStream::connect(self.edge).unwrap());
        }
    }
}

fn read_head(client: &mut TcpStream) -> io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    Ok(String::from_utf8(head).unwrap())
}

fn carry(client: TcpStream, edge: TcpStream) {
    let (from_client, to_edge) = (client.try_clone().unwrap(), edge.try_clone().unwrap());
    let there = thread::spawn(move || copy(from_client, to_edge));
    copy(edge, client);
    there.join().unwrap();
}

fn copy(mut from: TcpStream, mut to: TcpStream) {
    // Either end may break off; what matters is what the two ends make of it.
    let _ = io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Write);
}

const ESTABLISHED: &[u8] =
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 Connection established\r\nVia: 1.1 x\r\n\r\n";
const WHO_ASKS: &[u8] = b"HTTP/1.1 407 Proxy Authentication Required\r\n\
    Proxy-Authenticate: Negotiate\r\n\
    Proxy-Authenticate: Basic realm=\"Squid, the proxy\", charset=\"UTF-8\"\r\n\
    Content-Length: 10\r\n\r\n<html>Who?";
const UNKNOWN: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nX-Squid-Error: ERR_DNS_FAIL 0\r\n\r\n";

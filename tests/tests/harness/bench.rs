//! A network and a guest in it.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use qemu::temp::TempDir;
use tests::guest::{Guest, Stream};
use tests::network::address::{APPLICATION, RESOLVER, TIME_SERVER};
use tests::network::{Network, RouterTerms};

/// Ample for anything that does happen.
pub const SOON: Duration = Duration::from_secs(10);

/// Enough to believe that something does not happen.
pub const A_WHILE: Duration = Duration::from_millis(150);

pub const MAC: [u8; 6] = [0x00, 0x50, 0x56, 0, 0, 1];

pub const WORDS: &[u8] = b"outgate";

/// A network and one guest in it.
pub struct Bench {
    // Unplugged before the network ends.
    pub guest: Guest,
    pub network: Network,
    pub pcap: PathBuf,
    _folder: TempDir,
}

impl Bench {
    pub fn new() -> Self {
        let folder = TempDir::new("outgate-bench").unwrap();
        let pcap = folder.path().join("network.pcap");
        let network = Network::start(&pcap, 1).unwrap();
        let guest = Guest::plug(&network.socket(), MAC).unwrap();
        Self {
            guest,
            network,
            pcap,
            _folder: folder,
        }
    }

    /// With a guest that speaks IPv6, and a router.
    pub fn with_router(terms: RouterTerms) -> Self {
        let mut bench = Self::new();
        bench.network.set_router(Some(terms));
        bench.guest = Guest::plug_with_ipv6(&bench.network.socket(), MAC).unwrap();
        bench
    }

    pub fn with_lease() -> Self {
        let mut bench = Self::new();
        bench.guest.take_lease(SOON).unwrap().unwrap();
        bench
    }

    /// An echo server on the host in the edge's place; the function ends it.
    pub fn start_edge(&self) -> (SocketAddr, impl FnOnce() + use<>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        self.network.set_edge(address);
        (address, serve_echo(listener))
    }

    pub fn resolve(&mut self, name: &str) -> Option<Option<Ipv4Addr>> {
        self.resolve_within(name, SOON)
    }

    /// None without an answer; the inner None when there is no such address.
    pub fn resolve_within(&mut self, name: &str, timeout: Duration) -> Option<Option<Ipv4Addr>> {
        let query = query(name, 1);
        let answer = self
            .guest
            .ask(SocketAddrV4::new(RESOLVER, 53), &query, timeout)
            .unwrap()?;
        let address = answer.last_chunk::<4>().copied().map(Ipv4Addr::from);
        Some(address.filter(|_| answer[7] == 1))
    }

    pub fn ask_time(&mut self) -> Option<i64> {
        self.ask_time_within(SOON)
    }

    /// Seconds since 1900.
    pub fn ask_time_within(&mut self, timeout: Duration) -> Option<i64> {
        let answer = self.ask_time_of(TIME_SERVER.into(), timeout)?;
        let seconds = answer.get(40..44)?.try_into().unwrap();
        Some(i64::from(u32::from_be_bytes(seconds)))
    }

    /// The whole packet that the server at an address answers first.
    pub fn ask_time_of(&mut self, server: IpAddr, timeout: Duration) -> Option<Vec<u8>> {
        let mut question = [0; 48];
        question[0] = 0x23;
        let server = SocketAddr::new(server, 123);
        self.guest.ask(server, &question, timeout).unwrap()
    }

    /// A request to the private application, and everything until it closes.
    pub fn request(&mut self, request: &[u8], finish: bool) -> String {
        let stream = self.guest.connect(APPLICATION, SOON).unwrap().unwrap();
        let answer = self
            .guest
            .converse(stream, request, finish, SOON, |_| false)
            .unwrap()
            .unwrap();
        String::from_utf8(answer).unwrap()
    }

    pub fn echo(&mut self, stream: Stream) -> io::Result<()> {
        assert_eq!(self.echo_within(stream, SOON)?.as_deref(), Some(WORDS));
        Ok(())
    }

    pub fn echo_within(
        &mut self,
        stream: Stream,
        timeout: Duration,
    ) -> io::Result<Option<Vec<u8>>> {
        self.guest.converse(stream, WORDS, false, timeout, |words| {
            words.len() >= WORDS.len()
        })
    }
}

/// Echoes each connection on a thread of its own. The returned function ends the listener.
pub fn serve_echo(listener: TcpListener) -> impl FnOnce() + use<> {
    let address = listener.local_addr().unwrap();
    let ended = Arc::new(AtomicBool::new(false));
    let ended_for_thread = Arc::clone(&ended);
    let thread = thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            if ended_for_thread.load(Ordering::SeqCst) {
                return;
            }
            thread::spawn(move || echo(&stream));
        }
    });
    move || {
        ended.store(true, Ordering::SeqCst);
        TcpStream::connect(address).unwrap();
        thread.join().unwrap();
    }
}

fn echo(stream: &TcpStream) {
    let (mut reader, mut writer) = (stream, stream);
    if io::copy(&mut reader, &mut writer).is_ok() {
        // An error means that the other side is gone.
        let _ = stream.shutdown(Shutdown::Write);
    }
}

/// A query for a name's records of a type.
pub fn query(name: &str, kind: u8) -> Vec<u8> {
    let mut query = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        query.push(u8::try_from(label.len()).unwrap());
        query.extend(label.as_bytes());
    }
    query.extend([0, 0, kind, 0, 1]);
    query
}

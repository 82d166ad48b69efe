//! Two planes, tunnels between them, and random bytes to go through.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use splice_core::channel::Channel;
use splice_core::engine::Broken;
use splice_core::loopback::Trust;
use splice_core::plane::{Config, End, Event, NewSession, Plane, SessionKey};
use splice_core::reactor::{Kind, open};

/// Long enough for anything that happens at all.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Runs a claim with each reactor that this host allows.
pub fn on_each_reactor(claim: impl Fn(Config)) {
    let config = |reactor| Config {
        threads: 2,
        reactor,
        ..Config::default()
    };
    claim(config(Kind::Epoll));
    if open(Kind::Ring).is_ok() {
        claim(config(Kind::Ring));
    }
}

/// A connector's plane and an edge's.
pub struct Planes {
    pub connector: Arc<Plane>,
    pub edge: Arc<Plane>,
    /// How many successors its sessions were given.
    pub successors: Arc<AtomicU64>,
    trust: Trust,
    listener: TcpListener,
}

impl Planes {
    pub fn new(config: Config) -> Self {
        Self::of(config, config)
    }

    pub fn of(connector: Config, edge: Config) -> Self {
        Self {
            connector: Plane::start(connector).unwrap(),
            edge: Plane::start(edge).unwrap(),
            successors: Arc::default(),
            trust: Trust::new(None),
            listener: TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap(),
        }
    }

    /// A session from an application to a user.
    pub fn open(&self) -> Tunnel {
        self.open_with(Vec::new(), None)
    }

    /// With bytes that the connector sends first, and a limit of what it takes from the application.
    pub fn open_with(&self, first: Vec<u8>, limit: Option<u64>) -> Tunnel {
        let (app, dialled) = self.plain();
        let (user, accepted) = self.plain();
        for socket in [&dialled, &accepted] {
            socket.set_nonblocking(true).unwrap();
        }
        let (at_connector, at_edge) = self.trust.channels();
        let known = Arc::new(Mutex::new(None));
        let (connector_tell, connector_end) = self.teller(&known);
        let (edge_tell, edge_end) = self.teller(&known);
        // Successors go to both, so nobody may ask for one before both keys are known.
        let mut known = known.lock().unwrap();
        let connector = self.connector.carry(NewSession {
            plain: dialled,
            channel: at_connector,
            first,
            limit,
            tell: connector_tell,
        });
        let edge = self.edge.carry(NewSession {
            plain: accepted,
            channel: at_edge,
            first: Vec::new(),
            limit: None,
            tell: edge_tell,
        });
        *known = Some(Known {
            connector,
            edge,
            channels: 1,
        });
        drop(known);
        for socket in [&app, &user] {
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            socket.set_write_timeout(Some(PATIENCE)).unwrap();
        }
        Tunnel {
            app,
            user,
            connector: Told {
                key: connector,
                end: connector_end,
            },
            edge: Told {
                key: edge,
                end: edge_end,
            },
        }
    }

    /// Two connected sockets. One listener serves all: binding one for each is what takes the time otherwise.
    fn plain(&self) -> (TcpStream, TcpStream) {
        let outside = TcpStream::connect(self.listener.local_addr().unwrap()).unwrap();
        outside.set_nodelay(true).unwrap();
        let (inside, _) = self.listener.accept().unwrap();
        inside.set_nodelay(true).unwrap();
        (outside, inside)
    }

    /// Hears of a session: fresh channels are made on a thread of their own, the end is passed on.
    fn teller(
        &self,
        known: &Arc<Mutex<Option<Known>>>,
    ) -> (Box<dyn FnMut(Event) + Send>, Receiver<End>) {
        let (end, receiver) = channel();
        let wishes = steward(self, known);
        let tell = move |event| match event {
            Event::WantsSuccessor { channel } => wishes.send(channel).unwrap(),
            Event::Ended(told) => drop(end.send(told)),
        };
        (Box::new(tell), receiver)
    }
}

/// What both ends' stewards know of a session.
struct Known {
    connector: SessionKey,
    edge: SessionKey,
    /// Channels that it was given.
    channels: u32,
}

/// Serves one end's wishes for successors, with a channel for both ends each, unless the other one's wish was
/// for the same.
fn steward(planes: &Planes, known: &Arc<Mutex<Option<Known>>>) -> Sender<u32> {
    let (wish, wishes) = channel();
    if planes.connector.config().records_max == splice_core::plane::RECORDS_MAX {
        return wish; // nobody will want one: no thread for it
    }
    let (known, trust) = (Arc::clone(known), planes.trust.clone());
    let successors = Arc::clone(&planes.successors);
    let (connector, edge) = (
        Arc::downgrade(&planes.connector),
        Arc::downgrade(&planes.edge),
    );
    std::thread::spawn(move || {
        while let Ok(channel) = wishes.recv() {
            // Under the lock, so that both ends get successors in the same order.
            let mut known = known.lock().unwrap();
            let (Some(known), Some(connector), Some(edge)) =
                (&mut *known, connector.upgrade(), edge.upgrade())
            else {
                return;
            };
            if channel < known.channels {
                continue;
            }
            assert_eq!(
                channel, known.channels,
                "nobody asks for one after the next"
            );
            known.channels += 1;
            successors.fetch_add(1, Ordering::Relaxed);
            let (at_connector, at_edge) = trust.channels();
            connector.succeed(known.connector, at_connector);
            edge.succeed(known.edge, at_edge);
        }
    });
    wish
}

/// One session, from outside.
pub struct Tunnel {
    pub app: TcpStream,
    pub user: TcpStream,
    pub connector: Told,
    pub edge: Told,
}

/// What a plane tells of a session.
pub struct Told {
    pub key: SessionKey,
    end: Receiver<End>,
}

impl Told {
    /// Waits for its end.
    pub fn end(&self) -> End {
        self.end.recv_timeout(PATIENCE).expect("the session ends")
    }

    /// Its end, if that was told already.
    pub fn has_ended(&self) -> Option<End> {
        self.end.try_recv().ok()
    }
}

impl Tunnel {
    /// Both ends have ended in order, having carried so much.
    pub fn ended_in_order(&self, from_app: u64, from_user: u64) {
        let (connector, edge) = (self.connector.end(), self.edge.end());
        assert!(connector.broken.is_none(), "{connector:?}");
        assert!(edge.broken.is_none(), "{edge:?}");
        assert_eq!((connector.outward, connector.inward), (from_app, from_user));
        assert_eq!((edge.outward, edge.inward), (from_user, from_app));
    }

    /// Sends random bytes both ways at once, in writes of at most `write_max` bytes, each side closing its
    /// direction at its end; compares; and waits for the ends.
    pub fn exchange(self, seed: u64, from_app: u64, from_user: u64, write_max: usize) {
        std::thread::scope(|scope| {
            scope.spawn(|| write_random(&self.app, seed, from_app, write_max));
            scope.spawn(|| write_random(&self.user, !seed, from_user, write_max));
            scope.spawn(|| read_random(&self.app, !seed, from_user));
            scope.spawn(|| read_random(&self.user, seed, from_app));
        });
        self.ended_in_order(from_app, from_user);
    }
}

/// Has a plane carry a session with neither first bytes nor limit, and hears what it tells of it.
pub fn carry(plane: &Plane, plain: TcpStream, data: Channel) -> (SessionKey, Receiver<Event>) {
    let (told, events) = channel();
    let key = plane.carry(NewSession {
        plain,
        channel: data,
        first: Vec::new(),
        limit: None,
        tell: Box::new(move |event| drop(told.send(event))),
    });
    (key, events)
}

/// Writes `bytes` bytes of the seed's stream, in writes of random sizes, and ends the direction.
pub fn write_random(mut socket: &TcpStream, seed: u64, bytes: u64, write_max: usize) {
    let (mut content, mut sizes) = (Random(seed), Random(seed ^ 0x5151));
    let mut left = bytes;
    let mut buffer = vec![0; write_max];
    while left > 0 {
        let size = 1 + usize::try_from(sizes.next() % write_max as u64).unwrap();
        let size = size.min(usize::try_from(left).unwrap_or(usize::MAX));
        content.fill(&mut buffer[..size]);
        socket.write_all(&buffer[..size]).unwrap();
        left -= size as u64;
    }
    socket.shutdown(Shutdown::Write).unwrap();
}

/// Reads `bytes` bytes, which are the seed's stream, and then the end of file.
pub fn read_random(socket: &TcpStream, seed: u64, bytes: u64) {
    let mut content = Random(seed);
    expect_random(socket, &mut content, bytes);
    let more = read_some(socket, &mut [0; 16]);
    assert_eq!(more, 0, "more than was sent");
}

/// A read that a signal of the thread's own, closed ring may interrupt.
fn read_some(mut socket: &TcpStream, buffer: &mut [u8]) -> usize {
    loop {
        match socket.read(buffer) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            other => return other.unwrap(),
        }
    }
}

/// Reads the next `bytes` bytes of a stream.
pub fn expect_random(socket: &TcpStream, content: &mut Random, bytes: u64) {
    let (mut got, mut expected) = (vec![0; 65536], vec![0; 65536]);
    let mut left = bytes;
    while left > 0 {
        let max = got.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let len = read_some(socket, &mut got[..max]);
        assert_ne!(len, 0, "{left} of {bytes} bytes are missing");
        content.fill(&mut expected[..len]);
        assert!(got[..len] == expected[..len], "other bytes than were sent");
        left -= len as u64;
    }
}

/// Reads until the socket fails, which must be by RST.
pub fn read_reset(mut socket: &TcpStream) {
    let mut buffer = vec![0; 65536];
    loop {
        match socket.read(&mut buffer) {
            Ok(0) => panic!("an end of file and not a reset"),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}");
                return;
            }
        }
    }
}

/// Closes by RST.
pub fn reset(socket: TcpStream) {
    rustix::net::sockopt::set_socket_linger(&socket, Some(Duration::ZERO)).unwrap();
    drop(socket);
}

/// Whether it is this kind of end.
pub fn is_cancelled(end: &End) -> bool {
    matches!(end.broken, Some(Broken::Cancelled))
}

/// A stream of bytes that depends on its seed alone (splitmix64), however it is cut.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// One byte a step, so that no cut shifts the stream.
    pub fn fill(&mut self, buffer: &mut [u8]) {
        for byte in buffer {
            *byte = self.next().to_le_bytes()[0];
        }
    }
}

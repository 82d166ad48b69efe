//! Which engine is the faster one on this machine: found at start, in about 50 ms, by trying both.
//!
//! Bytes go from one socket by the engine into a TLS socket, and back from there by the engine into a third
//! one. Each socket is connected to itself, so that nothing has to listen: TCP allows two ends to connect to
//! each other at the same time (RFC 9293 section 3.5, simultaneous open), and both may be the same. The TLS
//! socket has the same keys for both directions, and so opens what it sealed. They are AES-256's, whose keys
//! can be made without a handshake; the data channels' AES-128 is a little faster in both engines.
//!
//! What is measured is the time of this thread within the engine's turns. Of several rounds, in which the
//! engines take turns themselves, the fastest counts: everything that disturbs makes one slower.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::os::fd::AsFd as _;
use std::time::Duration;

use ring::rand::{SecureRandom as _, SystemRandom};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use rustix::time::{ClockId, clock_gettime};
use rustls::ConnectionTrafficSecrets;
use zeroize::Zeroizing;

use crate::buffers::Buffers;
use crate::channel::{DirectionKeys, Rekey};
use crate::engine::{self, Engine, Flow, Inward, Outward, kernel};

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Calibration {
    /// What a MiB outward and a MiB inward take by the kernel's TLS; `None` where it has none that works.
    pub kernel: Option<Duration>,
    /// The same in this process. Zero if it was not tried, because there is nothing to choose from.
    pub in_place: Duration,
    /// The faster one.
    pub chosen: Engine,
}

impl fmt::Display for Calibration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let in_place = self.in_place.as_micros();
        match self.kernel {
            None => write!(f, "{}: this kernel has no TLS", self.chosen),
            Some(kernel) => write!(
                f,
                "{}: a MiB each way takes {} us by the kernel, {in_place} us in user space",
                self.chosen,
                kernel.as_micros()
            ),
        }
    }
}

/// Tries both engines. Where something fails, user space is chosen, which needs nothing of the kernel.
///
/// Opens sockets of 127.0.0.1 and makes pipes, so it has to come before anything that forbids either.
#[must_use]
pub fn calibrate() -> Calibration {
    let found = try_both().unwrap_or_else(|error| {
        log::warn!("the engines cannot be compared: {error}");
        None
    });
    found.unwrap_or(Calibration {
        kernel: None,
        in_place: Duration::ZERO,
        chosen: Engine::InPlace,
    })
}

/// `None` if the kernel has no TLS.
fn try_both() -> io::Result<Option<Calibration>> {
    if !kernel::is_available(&connected_to_itself()?) {
        return Ok(None);
    }
    let mut kernel = Loop::new(Engine::Kernel)?;
    let mut in_place = Loop::new(Engine::InPlace)?;
    if kernel.engines() != (Engine::Kernel, Engine::Kernel) {
        return Ok(None);
    }
    let mut best = (Duration::MAX, Duration::MAX);
    let mut spent = Duration::ZERO;
    for round in 0..ROUNDS_MAX {
        if round >= ROUNDS_MIN && spent >= TIME_MAX {
            break;
        }
        let took = (kernel.round()?, in_place.round()?);
        best = (best.0.min(took.0), best.1.min(took.1));
        spent += took.0 + took.1;
    }
    let chosen = match best.0 <= best.1 {
        true => Engine::Kernel,
        false => Engine::InPlace,
    };
    Ok(Some(Calibration {
        kernel: Some(best.0 * ROUNDS_A_MIB),
        in_place: best.1 * ROUNDS_A_MIB,
        chosen,
    }))
}

/// One engine between three sockets: source, TLS, sink.
#[derive(Debug)]
struct Loop {
    source: TcpStream,
    channel: TcpStream,
    sink: TcpStream,
    outward: Box<dyn Outward>,
    inward: Box<dyn Inward>,
    buffers: Buffers,
    chunk: Vec<u8>,
}

impl Loop {
    fn new(engine: Engine) -> io::Result<Self> {
        let channel = connected_to_itself()?;
        let secret = Secret::random()?;
        let outward = engine::outward(&channel, secret.keys(), engine).map_err(io::Error::other)?;
        let inward = engine::inward(&channel, secret.keys(), engine).map_err(io::Error::other)?;
        Ok(Self {
            source: connected_to_itself()?,
            channel,
            sink: connected_to_itself()?,
            outward,
            inward,
            buffers: Buffers::default(),
            chunk: vec![0; CHUNK],
        })
    }

    fn engines(&self) -> (Engine, Engine) {
        (self.outward.engine(), self.inward.engine())
    }

    /// Carries a round's bytes around. Returns how long the engine's turns took.
    fn round(&mut self) -> io::Result<Duration> {
        let (mut written, mut arrived) = (0, 0);
        let mut took = Duration::ZERO;
        for _ in 0..TURNS_MAX {
            if written < ROUND {
                let chunk = self.chunk.get(..CHUNK.min(ROUND - written));
                let sent =
                    rustix::net::send(&self.source, chunk.unwrap_or_default(), SendFlags::NOSIGNAL);
                written += or_nothing(sent)?;
            }
            let before = thread_time();
            self.turn()?;
            took += thread_time().saturating_sub(before);
            let flags = RecvFlags::TRUNC; // discards, without a copy
            let read = rustix::net::recv(&self.sink, &mut self.chunk[..], flags);
            arrived += or_nothing(read.map(|(_, read)| read))?;
            if arrived >= ROUND {
                return Ok(took);
            }
        }
        Err(io::ErrorKind::TimedOut.into())
    }

    fn turn(&mut self) -> io::Result<()> {
        let mut flow = Flow {
            source: self.source.as_fd(),
            sink: self.channel.as_fd(),
            readable: &mut true,
            writable: &mut true,
            budget: &mut ROUND.clone(),
            carried: &mut 0,
            buffers: &mut self.buffers,
        };
        self.outward.turn(&mut flow).map_err(io::Error::other)?;
        let mut flow = Flow {
            source: self.channel.as_fd(),
            sink: self.sink.as_fd(),
            readable: &mut true,
            writable: &mut true,
            budget: &mut ROUND.clone(),
            carried: &mut 0,
            buffers: &mut self.buffers,
        };
        let inward = self.inward.turn(&mut flow, &mut Rekey::Never);
        inward.map(drop).map_err(io::Error::other)
    }
}

/// A key and an IV, of which both directions are made.
struct Secret {
    key: Zeroizing<[u8; 32]>,
    iv: [u8; 12],
}

impl Secret {
    fn random() -> io::Result<Self> {
        let mut secret = Self {
            key: Zeroizing::new([0; 32]),
            iv: [0; 12],
        };
        let random = SystemRandom::new();
        random
            .fill(&mut *secret.key)
            .and_then(|()| random.fill(&mut secret.iv))
            .map_err(|_| io::Error::other("the system gives no random bytes"))?;
        Ok(secret)
    }

    fn keys(&self) -> DirectionKeys {
        DirectionKeys {
            sequence: 0,
            secrets: ConnectionTrafficSecrets::Aes256Gcm {
                key: (*self.key).into(),
                iv: self.iv.into(),
            },
        }
    }
}

/// A TCP socket that reads what is written to it; non-blocking.
fn connected_to_itself() -> io::Result<TcpStream> {
    let flags = SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
    rustix::net::bind(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0))?;
    let own = rustix::net::getsockname(&socket)?;
    rustix::net::connect(&socket, &own)?;
    // Closed, it is gone at once.
    rustix::net::sockopt::set_socket_linger(&socket, Some(Duration::ZERO))?;
    let socket = TcpStream::from(socket);
    socket.set_nonblocking(true)?;
    socket.set_nodelay(true)?;
    Ok(socket)
}

/// What would block is nothing yet.
fn or_nothing(result: Result<usize, rustix::io::Errno>) -> io::Result<usize> {
    match result {
        Err(rustix::io::Errno::AGAIN) => Ok(0),
        other => other.map_err(io::Error::from),
    }
}

fn thread_time() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default()
}

/// Bytes of a round, each way.
const ROUND: usize = 256 * 1024;
const ROUNDS_A_MIB: u32 = 4;
/// Bytes that are written at once.
const CHUNK: usize = 64 * 1024;
/// Rounds of each engine: the first one warms up.
const ROUNDS_MIN: usize = 2;
const ROUNDS_MAX: usize = 32;
/// Time in the engines after which no further round begins.
const TIME_MAX: Duration = Duration::from_millis(40);
/// Turns after which a round has failed; it takes about ten.
const TURNS_MAX: usize = 10_000;

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use super::*;

    #[test]
    fn a_socket_that_is_connected_to_itself_reads_what_it_wrote() {
        let mut socket = connected_to_itself().unwrap();
        assert_eq!(socket.local_addr().unwrap(), socket.peer_addr().unwrap());
        socket.write_all(b"echo").unwrap();
        let mut read = [0; 4];
        socket.read_exact(&mut read).unwrap();
        assert_eq!(read, *b"echo");
    }

    #[test]
    fn a_round_in_user_space_carries_its_bytes_each_way_and_takes_time() {
        let mut around = Loop::new(Engine::InPlace).unwrap();
        assert!(around.round().unwrap() > Duration::ZERO);
        assert_eq!(around.engines(), (Engine::InPlace, Engine::InPlace));
    }

    #[test]
    fn without_kernel_tls_user_space_is_chosen_at_once_and_with_it_the_faster() {
        let found = calibrate();
        match found.kernel {
            None => {
                assert_eq!(found.chosen, Engine::InPlace);
                assert!(found.to_string().contains("no TLS"), "{found}");
            }
            Some(kernel) => {
                let is_faster = kernel <= found.in_place;
                assert_eq!(found.chosen == Engine::Kernel, is_faster);
            }
        }
    }

    #[test]
    fn both_figures_are_told() {
        let found = Calibration {
            kernel: Some(Duration::from_micros(700)),
            in_place: Duration::from_micros(650),
            chosen: Engine::InPlace,
        };
        assert_eq!(
            found.to_string(),
            "user space, in place: a MiB each way takes 700 us by the kernel, 650 us in user space"
        );
    }
}

//! Carries bytes from a source to a sink, for the tests to count what that takes of the whole machine.
//!
//! ```text
//! up:    source --plain--> relay --TLS--> sink (throws the records away, or opens and compares them)
//! down:  source --TLS--> relay --plain--> sink (throws the bytes away, or compares them)
//! ```
//!
//! The relay is what is measured; the rest costs as little as can be. The source writes from memory, in
//! calls of [`ends::CHUNK`] bytes: one copy of each byte. Downward its records were sealed beforehand. The
//! sink discards inside the kernel (`MSG_TRUNC`): no copy at all.
//!
//! A *counted* carry says [`mark`] before its first byte and after its last, and waits for an answer each
//! time, so that whoever counts can look while nothing happens. A *verified* one compares every byte.

use std::fmt;
use std::io::{self, BufRead as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::thread;

use splice_core::engine::Engine;

mod ends;
mod pattern;
mod peer;
mod relay;

use ends::{Content, Sink};
use pattern::Pattern;
use relay::Relay;

/// The case of the table.
///
/// # Errors
/// Why not every byte arrived as it was sent.
pub fn run(words: &[&str]) -> Result<(), String> {
    let carried = Carry::parse(words).and_then(Carry::run);
    carried.map_err(|error| error.to_string())
}

/// Any reason why a carry did not succeed.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// One carry: what the tests ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Carry {
    /// What is between source and sink.
    pub means: Means,
    /// Into the data channel, or out of it.
    pub direction: Direction,
    /// Payload.
    pub mib: usize,
    /// Compare every byte, rather than be counted.
    pub is_verified: bool,
}

/// What is between source and sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Means {
    /// Nothing: what source and sink cost by themselves.
    Nothing,
    /// Stock rustls between blocking reads and writes: what one would write without this project.
    Stock,
    /// The data plane with one of its engines.
    Plane(Engine),
}

/// Seen from the application beside the connector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the plain socket into the data channel.
    Up,
    /// From the data channel to the plain socket.
    Down,
}

impl Carry {
    /// A carry from its words: means, direction, MiB, and `count` or `verify`.
    ///
    /// # Errors
    /// Which word means nothing.
    pub fn parse(words: &[&str]) -> Result<Self, Failure> {
        let [means, direction, mib, purpose] = words else {
            return Err(format!("a carry has four words, not {words:?}").into());
        };
        Ok(Self {
            means: match *means {
                "nothing" => Means::Nothing,
                "stock" => Means::Stock,
                "kernel" => Means::Plane(Engine::Kernel),
                "in-place" => Means::Plane(Engine::InPlace),
                other => return Err(format!("no means of carrying is called {other:?}").into()),
            },
            direction: match *direction {
                "up" => Direction::Up,
                "down" => Direction::Down,
                other => return Err(format!("no direction is called {other:?}").into()),
            },
            mib: mib.parse()?,
            is_verified: match *purpose {
                "verify" => true,
                "count" => false,
                other => return Err(format!("no carry is there to {other:?}").into()),
            },
        })
    }

    /// Carries.
    ///
    /// # Errors
    /// Why not every byte arrived as it was sent.
    pub fn run(self) -> Result<(), Failure> {
        let pattern = Pattern::new();
        let bytes = self.mib << 20;
        let (app, near) = sockets()?;
        if self.means == Means::Nothing {
            let content = Content::Plain(&pattern, bytes);
            let sink = self.sink(Sink::Plain(&pattern));
            return self.between((&app, content), (&near, sink), || Ok(()));
        }
        let (edge, far) = sockets()?;
        let (mut peer, relay) = Relay::greet(self.means)?;
        // The other direction ends before this one begins.
        match self.direction {
            Direction::Up => {
                (&edge).write_all(&peer.close()?)?;
                let content = Content::Plain(&pattern, bytes);
                let sink = self.sink(Sink::Sealed(peer, &pattern));
                self.between((&app, content), (&edge, sink), || relay.up(near, far))
            }
            Direction::Down => {
                app.shutdown(Shutdown::Write)?;
                let content = Content::Sealed(peer.seal(&pattern, bytes)?);
                let sink = self.sink(Sink::Plain(&pattern));
                self.between((&edge, content), (&app, sink), || relay.down(near, far))
            }
        }
    }

    fn sink<'a>(&self, comparing: Sink<'a>) -> Sink<'a> {
        if self.is_verified {
            comparing
        } else {
            Sink::Discard
        }
    }

    /// Lets source, relay and sink run until the sink has met the end.
    fn between(
        self,
        (source, content): (&TcpStream, Content<'_>),
        (end, sink): (&TcpStream, Sink<'_>),
        relay: impl FnOnce() -> Result<(), Failure> + Send,
    ) -> Result<(), Failure> {
        self.mark("begins")?;
        let arrived = thread::scope(|scope| {
            let source = scope.spawn(|| content.write(source));
            let relay = scope.spawn(relay);
            let arrived = sink.take(end);
            // The relay knows best why something did not arrive.
            joined(relay)?;
            joined(source)?;
            arrived
        })?;
        self.mark("ended")?;
        let bytes = self.mib << 20;
        // Records that are thrown away are longer than their payload.
        if arrived == bytes || (!self.is_verified && arrived > bytes) {
            return Ok(());
        }
        Err(format!("{arrived} of {bytes} bytes arrived").into())
    }

    /// Says where a counted carry stands, and waits until somebody has looked.
    fn mark(self, stands: &str) -> io::Result<()> {
        if self.is_verified {
            return Ok(());
        }
        writeln!(io::stdout(), "{MARK} {self} {stands}")?;
        io::stdin().lock().read_line(&mut String::new())?;
        Ok(())
    }
}

impl fmt::Display for Carry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let means = match self.means {
            Means::Nothing => "nothing",
            Means::Stock => "stock",
            Means::Plane(Engine::Kernel) => "kernel",
            Means::Plane(Engine::InPlace) => "in-place",
        };
        let direction = match self.direction {
            Direction::Up => "up",
            Direction::Down => "down",
        };
        let purpose = if self.is_verified { "verify" } else { "count" };
        write!(f, "{means} {direction} {} {purpose}", self.mib)
    }
}

fn joined(thread: thread::ScopedJoinHandle<'_, Result<(), Failure>>) -> Result<(), Failure> {
    thread.join().map_err(|_| "a thread panicked")?
}

/// Two connected sockets: the one that dialled and the one that was accepted. They block.
fn sockets() -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let dialling = TcpStream::connect(listener.local_addr()?)?;
    let (accepted, _) = listener.accept()?;
    for socket in [&dialling, &accepted] {
        socket.set_nodelay(true)?;
    }
    Ok((dialling, accepted))
}

/// The first word of a line that waits for an answer.
const MARK: &str = "counted:";

//! What carries: the data plane, and what it is compared with.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc;

use rustls::{ClientConnection, Stream};
use splice_core::engine::Engine;
use splice_core::greeting::Greeting;
use splice_core::plane::{Config, Event, NewSession, Plane};

use super::peer::Peer;
use super::{Failure, Means};

/// What the relay of stock rustls reads and writes at once.
const STOCK_CHUNK: usize = 64 << 10;

/// A relay whose handshake with its peer is over.
#[derive(Debug)]
pub enum Relay {
    /// Stock rustls.
    Stock(Box<ClientConnection>),
    /// The data plane.
    Plane(Engine, Box<Greeting>),
}

impl Relay {
    /// Makes a relay and its peer and lets them greet each other, in memory.
    ///
    /// # Errors
    /// Those of TLS.
    pub fn greet(means: Means) -> Result<(Peer, Self), Failure> {
        let (mut peer, (config, name)) = Peer::new()?;
        let relay = match means {
            Means::Nothing => return Err("nothing greets nobody".into()),
            Means::Stock => {
                let mut tls = ClientConnection::new(config, name)?;
                while tls.is_handshaking() || tls.wants_write() {
                    let mut said = Vec::new();
                    while tls.wants_write() {
                        tls.write_tls(&mut said)?;
                    }
                    let answer = peer.answer(&said)?;
                    tls.read_tls(&mut answer.as_slice())?;
                    tls.process_new_packets()?;
                }
                Self::Stock(Box::new(tls))
            }
            Means::Plane(engine) => {
                let mut greeting = Greeting::client(config, name)?;
                while !greeting.to_send().is_empty() {
                    let said = greeting.to_send().to_vec();
                    greeting.sent(said.len());
                    greeting.handle_input(&peer.answer(&said)?)?;
                }
                Self::Plane(engine, Box::new(greeting))
            }
        };
        Ok((peer, relay))
    }

    /// Carries what the plain socket has until its end.
    ///
    /// # Errors
    /// Those of the sockets and of TLS.
    pub fn up(self, plain: TcpStream, channel: TcpStream) -> Result<(), Failure> {
        match self {
            Self::Stock(tls) => stock_up(*tls, plain, channel),
            Self::Plane(engine, greeting) => by_plane(engine, *greeting, plain, channel),
        }
    }

    /// Carries what the data channel has until its end.
    ///
    /// # Errors
    /// Those of the sockets and of TLS.
    pub fn down(self, plain: TcpStream, channel: TcpStream) -> Result<(), Failure> {
        match self {
            Self::Stock(tls) => stock_down(*tls, plain, channel),
            Self::Plane(engine, greeting) => by_plane(engine, *greeting, plain, channel),
        }
    }
}

/// A session of a plane of one thread; returns when both directions have ended.
fn by_plane(
    engine: Engine,
    greeting: Greeting,
    plain: TcpStream,
    channel: TcpStream,
) -> Result<(), Failure> {
    let plane = Plane::start(Config {
        threads: 1,
        engine,
        ..Config::default()
    })?;
    plain.set_nonblocking(true)?;
    channel.set_nonblocking(true)?;
    let (tell, told) = mpsc::channel();
    plane.carry(NewSession {
        plain,
        channel: greeting.into_channel(channel)?,
        first: Vec::new(),
        limit: None,
        tell: Box::new(move |event| {
            if let Event::Ended(end) = event {
                // Whoever carries waits for this until it comes.
                let _ = tell.send(end);
            }
        }),
    });
    match told.recv()?.broken {
        None => Ok(()),
        Some(broken) => Err(broken.into()),
    }
}

fn stock_up(
    mut tls: ClientConnection,
    mut plain: TcpStream,
    mut channel: TcpStream,
) -> Result<(), Failure> {
    let mut buffer = vec![0; STOCK_CHUNK];
    loop {
        let len = plain.read(&mut buffer)?;
        if len == 0 {
            break;
        }
        Stream::new(&mut tls, &mut channel).write_all(&buffer[..len])?;
    }
    tls.send_close_notify();
    while tls.wants_write() {
        tls.write_tls(&mut channel)?;
    }
    channel.shutdown(Shutdown::Write)?;
    // The peer's close_notify, unread, would make a reset of the socket's end.
    match Stream::new(&mut tls, &mut channel).read(&mut buffer)? {
        0 => Ok(()),
        len => Err(format!("{len} bytes came the other way").into()),
    }
}

fn stock_down(
    mut tls: ClientConnection,
    mut plain: TcpStream,
    mut channel: TcpStream,
) -> Result<(), Failure> {
    let mut buffer = vec![0; STOCK_CHUNK];
    loop {
        let len = Stream::new(&mut tls, &mut channel).read(&mut buffer)?;
        if len == 0 {
            break;
        }
        plain.write_all(&buffer[..len])?;
    }
    plain.shutdown(Shutdown::Write)?;
    Ok(())
}

//! The application: one thread for all that is echoed, one more for each flow.

use std::collections::HashMap;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::fd::OwnedFd;
use rustix::io::Errno;

use crate::load::door::PATIENCE;
use crate::load::flow::{Content, Flows};
use crate::load::{DOWN, ECHO, UP};

/// The token of the listener; sessions have those above.
const LISTENER: u64 = 0;
/// Connections that may wait to be accepted.
pub const BACKLOG: i32 = 4096;

/// Starts an application that listens at `address`, and runs as long as this process does.
///
/// # Errors
/// Those of the socket and the thread.
pub fn start(address: SocketAddr, flows: Arc<Flows>) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind(address)?;
    rustix::net::listen(&listener, BACKLOG)?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let mut application = Application {
        epoll: epoll::create(CreateFlags::CLOEXEC)?,
        listener,
        sessions: HashMap::new(),
        next: LISTENER + 1,
        flows,
        content: Arc::new(Content::new()?),
    };
    let listening = EventData::new_u64(LISTENER);
    epoll::add(
        &application.epoll,
        &application.listener,
        listening,
        EventFlags::IN,
    )?;
    thread::Builder::new()
        .name("application".to_owned())
        .spawn(move || match application.serve() {
            Ok(never) => match never {},
            Err(error) => eprintln!("the application failed: {error}"),
        })?;
    Ok(address)
}

struct Application {
    epoll: OwnedFd,
    listener: TcpListener,
    /// Each with whether it has said what it is for.
    sessions: HashMap<u64, (TcpStream, bool)>,
    next: u64,
    flows: Arc<Flows>,
    content: Arc<Content>,
}

impl Application {
    fn serve(&mut self) -> io::Result<std::convert::Infallible> {
        let mut events = Vec::with_capacity(256);
        loop {
            match epoll::wait(&self.epoll, spare_capacity(&mut events), None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            for event in events.drain(..) {
                match event.data.u64() {
                    LISTENER => self.accept()?,
                    token => self.turn(token),
                }
            }
        }
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            let stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
                Err(error) => return Err(error),
            };
            stream.set_nonblocking(true)?;
            stream.set_nodelay(true)?;
            let data = EventData::new_u64(self.next);
            epoll::add(&self.epoll, &stream, data, EventFlags::IN)?;
            self.sessions.insert(self.next, (stream, false));
            self.next += 1;
        }
    }

    /// Goes on with a session; one that ended or broke is dropped.
    fn turn(&mut self, token: u64) {
        let Some((stream, is_named)) = self.sessions.get_mut(&token) else {
            return;
        };
        match answer(stream, *is_named) {
            Ok(Turn::Named) => *is_named = true,
            Ok(Turn::Pending) => {}
            Ok(Turn::Flow(role)) => {
                if let Some((stream, _)) = self.sessions.remove(&token) {
                    self.hand_over(stream, role);
                }
            }
            Err(_) => drop(self.sessions.remove(&token)),
        }
    }

    /// A flow goes on in a thread of its own.
    fn hand_over(&self, stream: TcpStream, role: u8) {
        if epoll::delete(&self.epoll, &stream).is_err() {
            return;
        }
        let (flows, content) = (Arc::clone(&self.flows), Arc::clone(&self.content));
        thread::spawn(move || {
            if let Err(error) = carry(stream, role, &flows, &content) {
                eprintln!("a flow reached the application and did not begin: {error}");
            }
        });
    }
}

enum Turn {
    /// It has said that it wants to be echoed.
    Named,
    Pending,
    Flow(u8),
}

fn answer(stream: &mut TcpStream, is_named: bool) -> io::Result<Turn> {
    let mut buffer = [0; 4096];
    // Of a session that has not said what it is for no byte is taken but the one that says it.
    let room = if is_named { buffer.len() } else { 1 };
    match stream.read(&mut buffer[..room]) {
        Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
        Ok(_) if !is_named && buffer[0] != ECHO => Ok(Turn::Flow(buffer[0])),
        Ok(len) => {
            stream.write_all(&buffer[..len])?;
            Ok(if is_named { Turn::Pending } else { Turn::Named })
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Turn::Pending),
        Err(error) => Err(error),
    }
}

fn carry(mut stream: TcpStream, role: u8, flows: &Flows, content: &Content) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut number = [0; 8];
    stream.read_exact(&mut number)?;
    let number = u64::from_be_bytes(number);
    let Some(flow) = flows.take(number) else {
        return Err(io::Error::other(format!("there is no flow {number}")));
    };
    match role {
        UP => flow.send(&stream, content),
        DOWN => flow.receive(&stream),
        other => return Err(io::Error::other(format!("there is no role {other}"))),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::bulk::{Bulk, Mix};
    use crate::load::door::Door;
    use crate::load::idle::Idle;
    use crate::load::{ping, sessions};
    use std::time::Duration;

    fn door() -> (Door, Arc<Flows>) {
        let flows = Arc::new(Flows::default());
        let address = start(([127, 0, 0, 1], 0).into(), Arc::clone(&flows)).unwrap();
        (Door::port(address), flows)
    }

    #[test]
    fn every_byte_of_bulk_arrives_in_either_direction() {
        let (door, flows) = door();
        for mix in [Mix::up(2), Mix::down(2), Mix { up: 1, down: 1 }] {
            let bulk = Bulk::start(&door, &flows, mix, None).unwrap();
            while bulk.received() < 32 << 20 {
                thread::yield_now();
            }
            bulk.finish().unwrap();
        }
    }

    #[test]
    fn paced_bulk_keeps_its_rate() {
        let (door, flows) = door();
        let bulk = Bulk::start(&door, &flows, Mix::up(1), Some(8 << 20)).unwrap();
        thread::sleep(Duration::from_millis(500));
        let received = bulk.received();
        bulk.finish().unwrap();
        assert!((1 << 20..6 << 20).contains(&received), "{received}");
    }

    #[test]
    fn sessions_and_pings_are_echoed() {
        let (door, _) = door();
        let time = Duration::from_millis(50);
        let (latencies, _) = sessions::run(&door, 2, time).unwrap();
        assert!(!latencies.is_empty() && latencies.iter().all(|latency| *latency > 0.0));
        assert!(ping::run(&door, time).unwrap().len() > 10);
    }

    #[test]
    fn idle_sessions_are_counted_and_answer() {
        let (door, _) = door();
        let mut idle = Idle::default();
        assert_eq!(idle.grow_to(50, &door), Ok(()));
        assert_eq!(idle.check(), Ok(50));
        let nowhere = Door::port(([127, 0, 0, 1], 1).into());
        let (at, why) = idle.grow_to(60, &nowhere).unwrap_err();
        assert_eq!(at, 50, "{why}");
    }
}

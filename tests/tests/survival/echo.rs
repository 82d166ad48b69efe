//! An application that says back what it hears, to any number of sessions in one thread.

use std::collections::HashMap;
use std::io::{self, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::thread;

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::fd::OwnedFd;
use rustix::io::Errno;

use crate::ground::APPLICATION;

/// The token of the listener; sessions have those above.
const LISTENER: u64 = 0;

/// Starts it, for as long as this process lives.
pub fn start() {
    let listener = TcpListener::bind(APPLICATION).unwrap();
    rustix::net::listen(&listener, i32::from(u16::MAX)).unwrap();
    listener.set_nonblocking(true).unwrap();
    let epoll = epoll::create(CreateFlags::CLOEXEC).unwrap();
    epoll::add(
        &epoll,
        &listener,
        EventData::new_u64(LISTENER),
        EventFlags::IN,
    )
    .unwrap();
    let mut echo = Echo {
        epoll,
        listener,
        sessions: HashMap::new(),
        next: LISTENER + 1,
    };
    thread::spawn(move || echo.serve());
}

struct Echo {
    epoll: OwnedFd,
    listener: TcpListener,
    sessions: HashMap<u64, TcpStream>,
    next: u64,
}

impl Echo {
    fn serve(&mut self) {
        let mut events = Vec::with_capacity(256);
        let mut room = vec![0; 64 << 10];
        loop {
            match epoll::wait(&self.epoll, spare_capacity(&mut events), None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => panic!("the application: {error}"),
            }
            for event in events.drain(..) {
                match event.data.u64() {
                    LISTENER => self.accept(),
                    token => self.turn(token, &mut room),
                }
            }
        }
    }

    fn accept(&mut self) {
        while let Ok((session, _)) = self.listener.accept() {
            let data = EventData::new_u64(self.next);
            epoll::add(&self.epoll, &session, data, EventFlags::IN).unwrap();
            self.sessions.insert(self.next, session);
            self.next += 1;
        }
    }

    /// Hears some and says it back. One that ended or broke is closed.
    fn turn(&mut self, token: u64, room: &mut [u8]) {
        let Some(session) = self.sessions.get_mut(&token) else {
            return;
        };
        match say_back(session, room) {
            Ok(1..) => {}
            Ok(0) | Err(_) => drop(self.sessions.remove(&token)),
        }
    }
}

fn say_back(session: &mut TcpStream, room: &mut [u8]) -> io::Result<usize> {
    let len = session.read(room)?;
    session.write_all(&room[..len])?;
    Ok(len)
}

//! The yardsticks: relays without TLS, as cheap as they can be made.
//!
//! Two in a row take the place of a tunnel's two ends. One thread for each core, readiness by edges, a
//! budget for each session and turn. [`splice`] moves bytes inside the kernel, [`copy`] through a buffer.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::fd::OwnedFd;
use rustix::io::Errno;

use crate::load::application::BACKLOG;
use crate::trouble::Trouble;

mod copy;
mod splice;

/// Bytes that one direction may move before the others have their turn.
const BUDGET: usize = 1 << 20;
/// The token of the listener; sessions have those above.
const LISTENER: u64 = 0;

/// How bytes get from one socket to the other. One value serves all sessions of a thread.
trait Mover {
    /// What a direction keeps while bytes wait in it.
    type Held: Default;

    /// Moves what can be moved now, at most about `budget` bytes.
    fn turn(
        &mut self,
        from: &TcpStream,
        to: &TcpStream,
        held: &mut Self::Held,
        budget: usize,
    ) -> io::Result<Moved>;
}

/// What a turn came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moved {
    /// One of the two sockets is to become ready first.
    Blocked,
    /// The source has ended and everything has arrived.
    Ended,
    /// The budget is spent.
    Spent,
}

/// Runs a relay: `relay splice|copy LISTEN TARGET`. Returns only when it fails.
///
/// # Errors
/// What is wrong with the words, or with the sockets.
pub fn run(words: &[String]) -> Result<(), Trouble> {
    let [kind, listen, target] = words else {
        return Err(Trouble::Failed(
            "relay needs a kind and two addresses".to_owned(),
        ));
    };
    let parse = |text: &str| text.parse::<SocketAddr>().map_err(Trouble::at(text));
    let (listen, target) = (parse(listen)?, parse(target)?);
    let listener = TcpListener::bind(listen).map_err(Trouble::at(listen))?;
    rustix::net::listen(&listener, BACKLOG).map_err(Trouble::at(listen))?;
    listener.set_nonblocking(true)?;
    match kind.as_str() {
        "splice" => serve::<splice::Pipes>(&listener, target),
        "copy" => serve::<copy::Buffer>(&listener, target),
        other => Err(Trouble::Failed(format!("{other:?} is no relay"))),
    }
}

fn serve<M: Mover + Default>(listener: &TcpListener, target: SocketAddr) -> Result<(), Trouble> {
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        let relays: Vec<_> = (0..threads)
            .map(|_| {
                scope
                    .spawn(|| Relay::<M>::new(listener, target).and_then(|mut relay| relay.serve()))
            })
            .collect();
        for relay in relays {
            if let Ok(result) = relay.join() {
                result?;
            }
        }
        Err(Trouble::Failed("the relay's threads died".to_owned()))
    })
}

struct Relay<'a, M: Mover> {
    epoll: OwnedFd,
    listener: &'a TcpListener,
    target: SocketAddr,
    links: HashMap<u64, Link<M::Held>>,
    next: u64,
    /// Links whose budget was spent.
    again: VecDeque<u64>,
    mover: M,
}

/// A session: two sockets, two directions.
struct Link<H> {
    sockets: [TcpStream; 2],
    /// `None`: the direction has ended.
    held: [Option<H>; 2],
}

impl<'a, M: Mover + Default> Relay<'a, M> {
    fn new(listener: &'a TcpListener, target: SocketAddr) -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let listening = EventData::new_u64(LISTENER);
        let flags = EventFlags::IN | EventFlags::EXCLUSIVE;
        epoll::add(&epoll, listener, listening, flags)?;
        Ok(Self {
            epoll,
            listener,
            target,
            links: HashMap::new(),
            next: LISTENER + 1,
            again: VecDeque::new(),
            mover: M::default(),
        })
    }

    fn serve(&mut self) -> io::Result<()> {
        let mut events = Vec::with_capacity(256);
        let at_once = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        loop {
            let timeout = (!self.again.is_empty()).then_some(&at_once);
            match epoll::wait(&self.epoll, spare_capacity(&mut events), timeout) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            for event in events.drain(..) {
                match event.data.u64() {
                    LISTENER => self.accept()?,
                    token => self.turn(token),
                }
            }
            for _ in 0..self.again.len() {
                if let Some(token) = self.again.pop_front() {
                    self.turn(token);
                }
            }
        }
    }

    fn accept(&mut self) -> io::Result<()> {
        let user = match self.listener.accept() {
            Ok((user, _)) => user,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        };
        // To an address of this machine: it is connected at once, or refused.
        let Ok(target) = TcpStream::connect(self.target) else {
            return Ok(());
        };
        let sockets = [user, target];
        for socket in &sockets {
            socket.set_nonblocking(true)?;
            socket.set_nodelay(true)?;
            let edges = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
            epoll::add(&self.epoll, socket, EventData::new_u64(self.next), edges)?;
        }
        let held = [Some(M::Held::default()), Some(M::Held::default())];
        self.links.insert(self.next, Link { sockets, held });
        self.next += 1;
        Ok(())
    }

    fn turn(&mut self, token: u64) {
        let Some(link) = self.links.get_mut(&token) else {
            return;
        };
        match link.turn(&mut self.mover) {
            Ok(true) => self.again.push_back(token),
            Ok(false) if link.held.iter().any(Option::is_some) => {}
            Ok(false) | Err(_) => drop(self.links.remove(&token)),
        }
    }
}

impl<H> Link<H> {
    /// Whether it is to be called again without waiting.
    fn turn<M: Mover<Held = H>>(&mut self, mover: &mut M) -> io::Result<bool> {
        let mut again = false;
        for way in [0, 1] {
            let (from, to) = (&self.sockets[way], &self.sockets[1 - way]);
            let Some(held) = &mut self.held[way] else {
                continue;
            };
            match mover.turn(from, to, held, BUDGET)? {
                Moved::Blocked => {}
                Moved::Spent => again = true,
                Moved::Ended => {
                    to.shutdown(Shutdown::Write)?;
                    self.held[way] = None;
                }
            }
        }
        Ok(again)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};

    fn bytes_pass<M: Mover + Default>() {
        let pair = || {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let one = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let other = listener.accept().unwrap().0;
            (one, other)
        };
        let ((mut user, near), (far, mut application)) = (pair(), pair());
        for socket in [&near, &far] {
            socket.set_nonblocking(true).unwrap();
        }
        let sent: Vec<u8> = (0..3 << 20).map(|at: u32| (at % 253) as u8).collect();
        let expected = sent.clone();
        let writer = thread::spawn(move || {
            user.write_all(&sent).unwrap();
            user.shutdown(Shutdown::Write).unwrap();
            let mut back = Vec::new();
            user.read_to_end(&mut back).unwrap();
            back
        });
        let reader = thread::spawn(move || {
            let mut received = Vec::new();
            application.read_to_end(&mut received).unwrap();
            application.write_all(b"all of it").unwrap();
            received
        });
        let mut mover = M::default();
        let mut link = Link {
            sockets: [near, far],
            held: [Some(M::Held::default()), Some(M::Held::default())],
        };
        while link.held.iter().any(Option::is_some) {
            link.turn(&mut mover).unwrap();
            thread::yield_now();
        }
        drop(link);
        assert!(
            reader.join().unwrap() == expected,
            "not the bytes that were sent"
        );
        assert_eq!(writer.join().unwrap(), b"all of it");
    }

    #[test]
    fn spliced_bytes_arrive_and_half_close_is_kept() {
        bytes_pass::<splice::Pipes>();
    }

    #[test]
    fn copied_bytes_arrive_and_half_close_is_kept() {
        bytes_pass::<copy::Buffer>();
    }

    #[test]
    fn words_that_are_no_relay_are_refused() {
        let words = |line: &str| -> Vec<String> { line.split(' ').map(str::to_owned).collect() };
        assert!(run(&words("splice 127.0.0.1:0")).is_err());
        assert!(run(&words("splice here there")).is_err());
        assert!(run(&words("carry 127.0.0.1:0 127.0.0.1:1")).is_err());
    }
}

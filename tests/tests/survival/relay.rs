//! What is between connector and edge: it passes bytes on, until it is told to do worse.
//!
//! One thread carries all connections. Whoever orders something waits until it was done.

use std::collections::BTreeMap;
use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread;
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{EventfdFlags, eventfd};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::sockopt::set_socket_linger;

use crate::ground::{EDGE, WAY};

/// Bytes that are read in one go.
const ROOM: usize = 64 << 10;
/// Tokens of the listener and of what orders come by; a connection has two of those above.
const LISTENER: u64 = 0;
const ORDERS: u64 = 1;

/// What a connection suffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Harm {
    /// Both ends are reset.
    Reset,
    /// Both ends hear of an orderly end of TCP, without TLS's.
    Finish,
    /// Nothing is passed on any more, and nobody is told.
    Deafen,
    /// The connector hears an alert that is not encrypted.
    Alert,
    /// The connector hears something else than TLS.
    Garble,
}

enum Order {
    Harm(Which, Harm),
    /// How many connections there are.
    Count,
    /// How many there ever were.
    Dialled,
    Stall(Duration),
}

/// Which connections are harmed.
#[derive(Clone, Copy, Debug)]
pub enum Which {
    /// All but the oldest one: that is the control channel.
    Data,
    /// The one through which most was passed on.
    Busiest,
}

/// The relay's other end.
pub struct Relay {
    orders: Sender<(Order, SyncSender<usize>)>,
    bell: std::sync::Arc<OwnedFd>,
}

impl Relay {
    /// One from [`WAY`] to [`EDGE`].
    pub fn start() -> Self {
        let (orders, theirs) = channel();
        let bell = std::sync::Arc::new(eventfd(0, EventfdFlags::CLOEXEC).unwrap());
        let listener = TcpListener::bind(WAY).unwrap();
        listener.set_nonblocking(true).unwrap();
        let epoll = epoll::create(CreateFlags::CLOEXEC).unwrap();
        watch(&epoll, &listener, LISTENER);
        watch(&epoll, &bell, ORDERS);
        let mut desk = Desk {
            epoll,
            listener,
            pairs: BTreeMap::new(),
            next: 1,
            orders: theirs,
            bell: std::sync::Arc::clone(&bell),
        };
        thread::spawn(move || desk.serve());
        Self { orders, bell }
    }

    /// Harms connections; returns how many.
    pub fn harm(&self, which: Which, harm: Harm) -> usize {
        self.order(Order::Harm(which, harm))
    }

    /// Connections that there ever were.
    pub fn dialled(&self) -> usize {
        self.order(Order::Dialled)
    }

    /// Connections that it passes on.
    pub fn count(&self) -> usize {
        self.order(Order::Count)
    }

    /// Passes nothing on for so long, and returns then.
    pub fn stall(&self, time: Duration) {
        self.order(Order::Stall(time));
    }

    fn order(&self, order: Order) -> usize {
        let (done, result) = sync_channel(1);
        self.orders.send((order, done)).unwrap();
        rustix::io::write(&self.bell, &1_u64.to_ne_bytes()).unwrap();
        result.recv().unwrap()
    }
}

struct Desk {
    epoll: OwnedFd,
    listener: TcpListener,
    /// By the time of their dials.
    pairs: BTreeMap<u64, Pair>,
    next: u64,
    orders: Receiver<(Order, SyncSender<usize>)>,
    bell: std::sync::Arc<OwnedFd>,
}

/// A connection: its connector's end and its edge's end.
struct Pair {
    ends: [TcpStream; 2],
    /// What came in at each end and was not taken at the other one.
    held: [Vec<u8>; 2],
    /// Whether each end has said all.
    finished: [bool; 2],
    passed: u64,
}

impl Desk {
    fn serve(&mut self) {
        let mut events = Vec::with_capacity(256);
        let mut room = vec![0; ROOM];
        loop {
            match epoll::wait(&self.epoll, spare_capacity(&mut events), None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => panic!("the relay: {error}"),
            }
            for event in events.drain(..) {
                match event.data.u64() {
                    LISTENER => self.accept(),
                    ORDERS => self.obey(),
                    token => self.turn(token / 2, &mut room),
                }
            }
        }
    }

    fn accept(&mut self) {
        while let Ok((connector, _)) = self.listener.accept() {
            // An edge that is gone is no relay's fault: the connector is told by a reset.
            let Ok(edge) = TcpStream::connect(EDGE) else {
                reset(&connector);
                continue;
            };
            let number = self.next;
            self.next += 1;
            let ends = [connector, edge];
            for (at, end) in (0..).zip(&ends) {
                end.set_nonblocking(true).unwrap();
                end.set_nodelay(true).unwrap();
                let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
                let data = EventData::new_u64(2 * number + at);
                epoll::add(&self.epoll, end, data, flags).unwrap();
            }
            let pair = Pair {
                ends,
                held: [Vec::new(), Vec::new()],
                finished: [false; 2],
                passed: 0,
            };
            self.pairs.insert(number, pair);
        }
    }

    /// Passes on what there is, in both directions.
    fn turn(&mut self, number: u64, room: &mut [u8]) {
        let Some(pair) = self.pairs.get_mut(&number) else {
            return;
        };
        let is_over = match (pair.pass(0, room), pair.pass(1, room)) {
            (Ok(()), Ok(())) => pair.finished == [true; 2] && pair.held.iter().all(Vec::is_empty),
            _ => {
                pair.ends.iter().for_each(reset);
                true
            }
        };
        if is_over {
            self.pairs.remove(&number);
        }
    }

    fn obey(&mut self) {
        rustix::io::read(&self.bell, &mut [0; 8]).unwrap();
        while let Ok((order, done)) = self.orders.try_recv() {
            let count = match order {
                Order::Count => self.pairs.len(),
                Order::Dialled => usize::try_from(self.next - 1).unwrap(),
                Order::Harm(which, harm) => self.harm(which, harm),
                Order::Stall(time) => {
                    thread::sleep(time);
                    self.pairs.len()
                }
            };
            done.send(count).unwrap();
        }
    }

    fn harm(&mut self, which: Which, harm: Harm) -> usize {
        let numbers: Vec<u64> = match which {
            Which::Data => self.pairs.keys().skip(1).copied().collect(),
            Which::Busiest => {
                let data = self.pairs.iter().skip(1);
                let busiest = data.max_by_key(|(_, pair)| pair.passed);
                busiest.map(|(number, _)| *number).into_iter().collect()
            }
        };
        for number in &numbers {
            if let Some(pair) = self.pairs.get(number)
                && pair.suffer(harm, &self.epoll)
            {
                self.pairs.remove(number);
            }
        }
        numbers.len()
    }
}

impl Pair {
    /// Whether it is over by that.
    fn suffer(&self, harm: Harm, epoll: &OwnedFd) -> bool {
        let mut connector = &self.ends[0];
        match harm {
            Harm::Reset => self.ends.iter().for_each(reset),
            Harm::Finish => {}
            Harm::Deafen => {
                for end in &self.ends {
                    epoll::delete(epoll, end).unwrap();
                }
                return false;
            }
            Harm::Alert => connector.write_all(&[21, 3, 3, 0, 2, 2, 40]).unwrap(),
            Harm::Garble => connector
                .write_all(b"HTTP/1.1 502 Bad Gateway\r\n\r\n")
                .unwrap(),
        }
        true
    }

    /// Passes on what comes in at one end, as far as the other one takes it.
    fn pass(&mut self, from: usize, room: &mut [u8]) -> io::Result<()> {
        let to = 1 - from;
        loop {
            while !self.held[from].is_empty() {
                match self.ends[to].write(&self.held[from]) {
                    Ok(len) => drop(self.held[from].drain(..len)),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                    Err(error) => return Err(error),
                }
            }
            if self.finished[from] {
                return Ok(());
            }
            match self.ends[from].read(room) {
                Ok(0) => {
                    self.finished[from] = true;
                    self.ends[to].shutdown(Shutdown::Write)?;
                }
                Ok(len) => {
                    self.passed += len as u64;
                    self.held[from].extend_from_slice(&room[..len]);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }
}

/// Has a socket's peer be reset once it is closed.
fn reset(socket: &TcpStream) {
    // One that has gone needs none.
    let _ = set_socket_linger(socket, Some(Duration::ZERO));
}

fn watch(epoll: &OwnedFd, what: impl std::os::fd::AsFd, token: u64) {
    epoll::add(epoll, what, EventData::new_u64(token), EventFlags::IN).unwrap();
}

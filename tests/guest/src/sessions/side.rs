//! One end of a session on a thread of its own.

use std::net::TcpStream;
use std::os::fd::AsFd as _;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use splice_core::buffers::Buffers;
use splice_core::buffers::pipes::Pipe;
use splice_core::channel::{Channel, Rekey};
use splice_core::engine::{self, Broken, Engine, Flow, Inward, Outward, Progress, kernel};
use splice_core::reactor::{self, Interest, Reactor};

use super::STEP_MAX;

/// What the sockets are watched by.
const PLAIN: u64 = 1;
const CHANNEL: u64 = 2;

/// Payload of a turn.
const BUDGET: usize = 256 * 1024;

/// One end.
#[derive(Debug)]
pub struct Side {
    pub plain: TcpStream,
    pub channel: TcpStream,
    pub outward: Box<dyn Outward>,
    pub inward: Box<dyn Inward>,
    rekey: Rekey,
    buffers: Buffers,
    /// Taken away, so that the engine has none.
    _pipes: Vec<Pipe>,
    plain_is: Is,
    channel_is: Is,
    /// Bytes outward after which the channel is left.
    pub leave_after: Option<u64>,
    /// Bytes that went outward and inward.
    pub carried: (u64, u64),
    /// How long it may wait for something to happen.
    pub patience: Duration,
    /// By how much its thread is less nice than the kernel's own, which it then runs before.
    pub urgency: i32,
}

/// What is known of a socket.
#[derive(Clone, Copy, Debug, Default)]
struct Is {
    readable: bool,
    writable: bool,
}

/// How it ended.
#[derive(Debug)]
pub struct Ended {
    pub side: Side,
    pub result: Result<(Progress, Progress), Broken>,
}

impl Side {
    /// With these engines outward and inward.
    pub fn new(plain: TcpStream, channel: Channel, engines: (Engine, Engine)) -> Self {
        plain.set_nonblocking(true).unwrap();
        let Channel {
            socket,
            outward,
            inward,
            rekey,
        } = channel;
        let outward = engine::outward(&socket, outward, engines.0).unwrap();
        let inward = engine::inward(&socket, inward, engines.1).unwrap();
        assert_eq!((outward.engine(), inward.engine()), engines);
        Self {
            plain,
            channel: socket,
            outward,
            inward,
            rekey,
            buffers: Buffers::default(),
            _pipes: Vec::new(),
            plain_is: Is::default(),
            channel_is: Is::default(),
            leave_after: None,
            carried: (0, 0),
            patience: STEP_MAX,
            urgency: 0,
        }
    }

    /// The same with so many pipes left, the others being in use.
    pub fn with_pipes_left(mut self, count: usize) -> Self {
        self._pipes = std::iter::from_fn(|| self.buffers.pipes.take()).collect();
        self._pipes.truncate(self._pipes.len() - count);
        self
    }

    /// Offers the kernel the keys after the present ones, for both directions. Whether it took any.
    pub fn offer_next_keys(&mut self) -> bool {
        let (outward, inward) = (self.rekey.next_outward(), self.rekey.next_inward());
        kernel::Outward::install(&self.channel, &outward.unwrap()).is_some()
            || kernel::Inward::install(&self.channel, &inward.unwrap()).is_some()
    }

    /// Carries until both directions are over.
    pub fn spawn(mut self) -> JoinHandle<Ended> {
        thread::spawn(move || {
            rustix::process::nice(-self.urgency).unwrap();
            let result = self.run();
            Ended { side: self, result }
        })
    }

    fn run(&mut self) -> Result<(Progress, Progress), Broken> {
        let mut reactor = reactor::open(reactor::Kind::Best).unwrap();
        for (socket, token) in [(&self.plain, PLAIN), (&self.channel, CHANNEL)] {
            let watched = reactor.watch(socket.as_fd(), token, Interest::Edges);
            watched.unwrap();
        }
        loop {
            let outward = self.outward_turn()?;
            let inward = self.inward_turn()?;
            if is_over(outward) && is_over(inward) {
                return Ok((outward, inward));
            }
            if ![outward, inward].contains(&Progress::Spent) {
                self.wait(&mut *reactor);
            }
        }
    }

    fn outward_turn(&mut self) -> Result<Progress, Broken> {
        if self
            .leave_after
            .is_some_and(|after| self.carried.0 >= after)
        {
            self.outward.course().leave();
        }
        let progress = self.outward.turn(&mut Flow {
            source: self.plain.as_fd(),
            sink: self.channel.as_fd(),
            readable: &mut self.plain_is.readable,
            writable: &mut self.channel_is.writable,
            budget: &mut BUDGET.clone(),
            carried: &mut self.carried.0,
            buffers: &mut self.buffers,
        })?;
        let waits = progress == Progress::Waiting;
        let for_what = !self.plain_is.readable || !self.channel_is.writable;
        assert!(!waits || for_what, "outward waits for nothing: {self:?}");
        Ok(progress)
    }

    fn inward_turn(&mut self) -> Result<Progress, Broken> {
        let mut flow = Flow {
            source: self.channel.as_fd(),
            sink: self.plain.as_fd(),
            readable: &mut self.channel_is.readable,
            writable: &mut self.plain_is.writable,
            budget: &mut BUDGET.clone(),
            carried: &mut self.carried.1,
            buffers: &mut self.buffers,
        };
        let progress = self.inward.turn(&mut flow, &mut self.rekey)?;
        let waits = progress == Progress::Waiting;
        let for_what = !self.channel_is.readable || !self.plain_is.writable;
        assert!(!waits || for_what, "inward waits for nothing: {self:?}");
        Ok(progress)
    }

    fn wait(&mut self, reactor: &mut dyn Reactor) {
        let mut ready = Vec::new();
        reactor.wait(Some(self.patience), &mut ready).unwrap();
        assert!(!ready.is_empty(), "nothing happens: {self:?}");
        for ready in ready {
            let is = match ready.token {
                PLAIN => &mut self.plain_is,
                _ => &mut self.channel_is,
            };
            is.readable |= ready.readable;
            is.writable |= ready.writable;
        }
    }
}

impl Ended {
    /// How it broke; both sockets are then reset, as the data plane does it.
    #[track_caller]
    pub fn broken(self) -> Broken {
        for socket in [&self.side.plain, &self.side.channel] {
            rustix::net::sockopt::set_socket_linger(socket, Some(Duration::ZERO)).unwrap();
        }
        self.result.expect_err("the session did not break")
    }

    /// That it ended in order, both directions by close_notify. What both directions carried.
    #[track_caller]
    pub fn in_order(self) -> (u64, u64) {
        let ended = self.result.expect("the session broke");
        assert_eq!(ended, (Progress::Ended, Progress::Ended));
        self.side.carried
    }
}

const fn is_over(progress: Progress) -> bool {
    matches!(progress, Progress::Ended | Progress::Continues)
}

//! Writes, ends and readers in random order: whatever the order in which the reactor hears of them, no
//! session waits for an edge that does not come.

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rustix::net::SendFlags;
use splice_core::engine::Broken;
use splice_core::loopback::{pair, sockets};
use splice_core::plane::{Event, Plane};

use crate::harness::{PATIENCE, Planes, Random, Tunnel, carry, expect_random, on_each_reactor};

/// Sessions of one run, with a seed each: some 200 writes. `OUTGATE_SEEDS` asks for more.
const SEEDS: u64 = 300;

/// Sessions under way at a time.
const AT_A_TIME: usize = 8;

#[test]
fn no_order_of_writes_and_ends_leaves_a_session_hanging() {
    let asked = std::env::var("OUTGATE_SEEDS").ok();
    let seeds = asked.map_or(SEEDS, |seeds| seeds.parse().unwrap());
    on_each_reactor(|config| {
        let planes = Planes::new(config);
        let next = Mutex::new(0..seeds);
        // One after the other, because all connect to one listener.
        let open = || {
            let mut next = next.lock().unwrap();
            next.next().map(|seed| Story::new(seed, planes.open()))
        };
        std::thread::scope(|scope| {
            for _ in 0..AT_A_TIME {
                scope.spawn(|| std::iter::from_fn(open).for_each(Story::run));
            }
        });
    });
}

/// One session's random order of things.
struct Story {
    seed: u64,
    random: Random,
    tunnel: Tunnel,
    sides: [Side; 2],
}

/// What goes from the application to the user (0), or back (1).
#[derive(Default)]
struct Side {
    written: u64,
    read: u64,
    has_ended: bool,
}

impl Story {
    fn new(seed: u64, tunnel: Tunnel) -> Self {
        Self {
            seed,
            random: Random(seed),
            tunnel,
            sides: Default::default(),
        }
    }

    fn run(mut self) {
        let mut contents = self.streams();
        let mut sources = self.streams();
        while !self.sides.iter().all(|side| side.has_ended) {
            let from = usize::from(self.draw(2) == 1);
            match self.draw(16) {
                0 => self.end(from),
                1..6 => self.hear(from, &mut contents[from]),
                6..8 => self.pause(),
                _ => self.write(from, &mut sources[from]),
            }
        }
        for (from, content) in contents.iter_mut().enumerate() {
            self.hear(from, content);
        }
        let [from_app, from_user] = self.sides.map(|side| side.written);
        self.tunnel.ended_in_order(from_app, from_user);
    }

    /// A stream for each direction, which depends on the seed alone.
    fn streams(&self) -> [Random; 2] {
        [Random(self.seed ^ 0xaaaa), Random(self.seed ^ 0x5555)]
    }

    /// Never more than the sockets on the way hold, so that no write waits for a reader.
    fn write(&mut self, from: usize, source: &mut Random) {
        let length = match self.draw(4) {
            0 => 1,
            1 => 1 + self.draw(64),
            2 => 16_370 + self.draw(20),
            _ => 1 + self.draw(20_000),
        };
        let side = &mut self.sides[from];
        if side.has_ended || side.written + length - side.read > IN_FLIGHT_MAX {
            return;
        }
        let mut bytes = vec![0; usize::try_from(length).unwrap()];
        source.fill(&mut bytes);
        side.written += length;
        let mut socket = [&self.tunnel.app, &self.tunnel.user][from];
        socket.write_all(&bytes).unwrap();
    }

    fn end(&mut self, from: usize) {
        self.sides[from].has_ended = true;
        let socket = [&self.tunnel.app, &self.tunnel.user][from];
        socket.shutdown(Shutdown::Write).unwrap();
    }

    /// Everything that was written arrives, though nothing follows it.
    fn hear(&mut self, from: usize, content: &mut Random) {
        let side = &mut self.sides[from];
        let socket = [&self.tunnel.user, &self.tunnel.app][from];
        expect_random(socket, content, side.written - side.read);
        side.read = side.written;
    }

    /// Long enough for one thread or the other to have come somewhere.
    fn pause(&mut self) {
        let until = Instant::now() + Duration::from_micros(self.draw(120));
        while Instant::now() < until {
            std::thread::yield_now();
        }
    }

    fn draw(&mut self, below: u64) -> u64 {
        self.random.next() % below
    }
}

/// Bytes of one direction that nobody has read.
const IN_FLIGHT_MAX: u64 = 40_000;

#[test]
fn bytes_behind_urgent_data_arrive_though_nothing_follows_them() {
    on_each_reactor(|config| {
        let plane = Plane::start(config).unwrap();
        let (ours, theirs) = pair();
        let ((mut app, dialled), (user, accepted)) = (sockets(), sockets());
        for socket in [&dialled, &accepted] {
            socket.set_nonblocking(true).unwrap();
        }
        app.write_all(b"before").unwrap();
        rustix::net::send(&app, b"!", SendFlags::OOB).unwrap();
        app.write_all(b"behind").unwrap();
        carry(&plane, dialled, ours);
        carry(&plane, accepted, theirs);
        user.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut got = [0; 12];
        (&user).read_exact(&mut got).unwrap();
        assert_eq!(&got, b"beforebehind");
    });
}

#[test]
fn a_truncation_is_found_whatever_comes_before_it_and_whenever_it_is_heard_of() {
    on_each_reactor(|config| {
        let plane = Plane::start(config).unwrap();
        // The beginning of a record, and how much of it is there before the plane looks for the first time.
        let record = b"\x17\x03\x03\x40\x11 and not all of it";
        for (early, has_ended_early) in (0..=record.len()).flat_map(|at| [(at, true), (at, false)])
        {
            let (ours, theirs) = pair();
            let (_app, dialled) = sockets();
            dialled.set_nonblocking(true).unwrap();
            let mut channel = theirs.socket;
            channel.write_all(&record[..early]).unwrap();
            if has_ended_early {
                channel.shutdown(Shutdown::Write).unwrap();
            }
            let (_, events) = carry(&plane, dialled, ours);
            if !has_ended_early {
                channel.write_all(&record[early..]).unwrap();
                channel.shutdown(Shutdown::Write).unwrap();
            }
            let Ok(Event::Ended(end)) = events.recv_timeout(PATIENCE) else {
                panic!("the session has to end");
            };
            assert!(matches!(end.broken, Some(Broken::Truncated)), "{end:?}");
        }
    });
}

//! Users: each thread has one kind of session, one after the other, until all is over.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::net::sockopt::set_socket_linger;

use super::ledger::Ledger;
use crate::application::{Application, CHUNK, End, Kind, Task, pour};
use crate::pattern::Pattern;
use crate::site::Door;

/// How long a user who was refused or cut waits.
const AGAIN: Duration = Duration::from_millis(200);
/// Bytes a second of each stream of bulk: enough to fill every buffer of a stalled path within seconds.
const BULK: u64 = 12 << 20;
/// Bytes a second of a session that is open in one direction alone.
const TRICKLE: u64 = 20_000;
/// Sessions that are open and say little.
const IDLE: usize = 200;

/// What all users share.
pub struct World {
    pub door: Door,
    pub application: Arc<Application>,
    pub ledger: Ledger,
    pub is_over: AtomicBool,
    /// The user of bulk is to reset its session.
    pub is_reset_wanted: AtomicBool,
    /// The user of bulk takes nothing.
    pub is_stalled: AtomicBool,
    /// The seed of the session of bulk upwards that is under way; 0 if there is none.
    pub bulk: AtomicU64,
    /// How long a session lasts that lasts.
    span: Duration,
    seeds: AtomicU64,
}

type Life = fn(&World, &mut u64) -> io::Result<()>;

impl World {
    pub fn new(door: Door, application: Arc<Application>, span: Duration) -> Arc<Self> {
        Arc::new(Self {
            door,
            application,
            ledger: Ledger::default(),
            is_over: AtomicBool::new(false),
            is_reset_wanted: AtomicBool::new(false),
            is_stalled: AtomicBool::new(false),
            bulk: AtomicU64::new(0),
            span,
            seeds: AtomicU64::new(1),
        })
    }

    /// Starts everybody.
    pub fn begin(self: &Arc<Self>) -> Vec<JoinHandle<()>> {
        let lives: [(&'static str, Life); 7] = [
            ("bulk to the application", bulk_out),
            ("bulk to the user", bulk_in),
            ("ping and pong", ping_pong),
            ("short sessions", short),
            ("short sessions", short),
            ("the user's half ends first", user_ends_first),
            ("the application's half ends first", application_ends_first),
        ];
        let lives = lives.into_iter().map(|(name, life)| {
            let world = Arc::clone(self);
            thread::spawn(move || world.live(name, life))
        });
        let mut lives: Vec<_> = lives.collect();
        let world = Arc::clone(self);
        lives.push(thread::spawn(move || idle(&world)));
        lives
    }

    fn live(&self, name: &'static str, life: Life) {
        while self.goes_on() {
            let mut bytes = 0;
            match life(self, &mut bytes) {
                Ok(()) => self.ledger.carried(bytes),
                Err(error) => {
                    self.note(name, bytes, &error);
                    thread::sleep(AGAIN);
                }
            }
        }
    }

    fn note(&self, name: &str, bytes: u64, error: &io::Error) {
        let how = format!("{name}, after {bytes} bytes: {error}");
        match error.kind() {
            io::ErrorKind::InvalidData | io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                self.ledger.wrong(how);
            }
            io::ErrorKind::UnexpectedEof => self
                .ledger
                .wrong(format!("a part looks like the whole: {how}")),
            // It was this user who did it.
            io::ErrorKind::Interrupted => self.ledger.carried(bytes),
            io::ErrorKind::NotConnected => self.ledger.refused(how),
            _ => self.ledger.cut(how),
        }
    }

    fn goes_on(&self) -> bool {
        !self.is_over.load(Ordering::SeqCst)
    }

    fn task(&self, kind: Kind, rate: u64, time: Duration) -> Task {
        let seed = self.seeds.fetch_add(1, Ordering::SeqCst);
        Task {
            kind,
            seed,
            rate,
            time,
        }
    }

    /// A session with its first bytes said. That there is none is [`io::ErrorKind::NotConnected`].
    fn enter(&self, task: Task) -> io::Result<TcpStream> {
        let none = |error: io::Error| match error.kind() {
            // It hangs.
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => error,
            _ => io::Error::new(io::ErrorKind::NotConnected, error),
        };
        let mut user = self.door.enter().map_err(none)?;
        user.write_all(&task.encode())?;
        Ok(user)
    }

    /// The application is to have had to do with so many bytes.
    fn settle(&self, task: Task, bytes: u64) -> io::Result<()> {
        let end = self.application.end_of(task.seed);
        let kind = match end {
            Some(End::InOrder(same)) if same == bytes => return Ok(()),
            Some(_) => io::ErrorKind::UnexpectedEof,
            // It hangs.
            None => io::ErrorKind::TimedOut,
        };
        let what = format!("the user saw the end after {bytes} bytes, the application {end:?}");
        Err(io::Error::new(kind, what))
    }

    /// Takes a session's bytes to their end.
    fn take(&self, mut user: &TcpStream, task: Task, bytes: &mut u64) -> io::Result<()> {
        let mut pattern = Pattern::new(task.seed);
        let mut room = vec![0; CHUNK];
        loop {
            while self.is_stalled.load(Ordering::SeqCst) && task.rate == BULK {
                thread::sleep(AGAIN);
            }
            let len = user.read(&mut room)?;
            if len == 0 {
                return Ok(());
            }
            pattern.check(&room[..len])?;
            *bytes = pattern.passed();
        }
    }
}

/// Sends for a while, then ends, and hears the end.
fn bulk_out(world: &World, bytes: &mut u64) -> io::Result<()> {
    let task = world.task(Kind::Take, BULK, world.span);
    let mut user = world.enter(task)?;
    world.bulk.store(task.seed, Ordering::SeqCst);
    let began = Instant::now();
    let result = pour(&user, task, || {
        if world.is_reset_wanted.swap(false, Ordering::SeqCst) {
            set_socket_linger(&user, Some(Duration::ZERO))?;
            return Err(io::ErrorKind::Interrupted.into());
        }
        Ok(world.goes_on() && began.elapsed() < task.time)
    });
    world.bulk.store(0, Ordering::SeqCst);
    *bytes = result?;
    user.shutdown(Shutdown::Write)?;
    match user.read(&mut [0])? {
        0 => world.settle(task, *bytes),
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the application said something",
        )),
    }
}

/// Takes for a while, then says that it is enough, and takes the rest.
fn bulk_in(world: &World, bytes: &mut u64) -> io::Result<()> {
    let task = world.task(Kind::Give, BULK, world.span);
    let user = world.enter(task)?;
    user.shutdown(Shutdown::Write)?;
    world.take(&user, task, bytes)?;
    world.settle(task, *bytes)
}

/// A few bytes there and back, over and over.
fn ping_pong(world: &World, bytes: &mut u64) -> io::Result<()> {
    let task = world.task(Kind::Echo, 1, world.span);
    let user = world.enter(task)?;
    let (mut said, mut heard) = (Pattern::new(task.seed), Pattern::new(task.seed));
    let began = Instant::now();
    while world.goes_on() && began.elapsed() < task.time {
        let len = 1 + usize::from(said.clone().next(1)[0]);
        exchange(&user, &mut said, &mut heard, len)?;
        *bytes = said.passed();
        thread::sleep(Duration::from_millis(5));
    }
    finish(world, &user, task, *bytes)
}

/// Some bytes there and back, and the end.
fn short(world: &World, bytes: &mut u64) -> io::Result<()> {
    let task = world.task(Kind::Echo, 1, Duration::ZERO);
    let user = world.enter(task)?;
    let (mut said, mut heard) = (Pattern::new(task.seed), Pattern::new(task.seed));
    exchange(&user, &mut said, &mut heard, 300)?;
    *bytes = said.passed();
    finish(world, &user, task, *bytes)?;
    thread::sleep(Duration::from_millis(20));
    Ok(())
}

/// The user says all at once, and hears for as long as a session lasts.
fn user_ends_first(world: &World, bytes: &mut u64) -> io::Result<()> {
    let task = world.task(Kind::Give, TRICKLE, world.span);
    let user = world.enter(task)?;
    user.shutdown(Shutdown::Write)?;
    world.take(&user, task, bytes)?;
    world.settle(task, *bytes)
}

/// The application says nothing, and hears for as long as a session lasts.
fn application_ends_first(world: &World, bytes: &mut u64) -> io::Result<()> {
    let task = world.task(Kind::Hear, TRICKLE, world.span);
    let mut user = world.enter(task)?;
    if user.read(&mut [0])? != 0 {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the application said something",
        ));
    }
    let began = Instant::now();
    *bytes = pour(&user, task, || {
        Ok(world.goes_on() && began.elapsed() < task.time)
    })?;
    user.shutdown(Shutdown::Write)?;
    world.settle(task, *bytes)
}

/// Many sessions that are asked now and then whether they are alive. One that was cut is replaced.
fn idle(world: &World) {
    let mut sessions: Vec<Idle> = Vec::new();
    for turn in 0.. {
        if !world.goes_on() {
            break;
        }
        let at = turn % IDLE;
        let result = match sessions.get_mut(at) {
            Some(idle) => exchange(&idle.user, &mut idle.said, &mut idle.heard, 40),
            None => Idle::begin(world).map(|idle| sessions.push(idle)),
        };
        if let Err(error) = result {
            if at < sessions.len() {
                sessions.swap_remove(at);
            }
            world.note("idle sessions", 0, &error);
        }
        thread::sleep(Duration::from_millis(20));
    }
    for idle in sessions {
        let bytes = idle.said.passed();
        match finish(world, &idle.user, idle.task, bytes) {
            Ok(()) => world.ledger.carried(bytes),
            Err(error) => world.note("idle sessions", bytes, &error),
        }
    }
}

struct Idle {
    user: TcpStream,
    task: Task,
    said: Pattern,
    heard: Pattern,
}

impl Idle {
    fn begin(world: &World) -> io::Result<Self> {
        let task = world.task(Kind::Echo, 1, Duration::ZERO);
        Ok(Self {
            user: world.enter(task)?,
            task,
            said: Pattern::new(task.seed),
            heard: Pattern::new(task.seed),
        })
    }
}

/// Says the next bytes and has them back.
fn exchange(
    mut user: &TcpStream,
    said: &mut Pattern,
    heard: &mut Pattern,
    len: usize,
) -> io::Result<()> {
    let bytes = said.next(len);
    user.write_all(bytes)?;
    let mut room = vec![0; bytes.len()];
    user.read_exact(&mut room)?;
    heard.check(&room)
}

/// Ends a session that is echoed.
fn finish(world: &World, mut user: &TcpStream, task: Task, bytes: u64) -> io::Result<()> {
    user.shutdown(Shutdown::Write)?;
    match user.read(&mut [0])? {
        0 => world.settle(task, bytes),
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "more came back than was said",
        )),
    }
}

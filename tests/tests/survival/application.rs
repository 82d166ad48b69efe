//! The application: a thread for each session, which does what the session's first bytes say.

use std::collections::HashMap;
use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::sockopt::set_socket_linger;

use crate::ground::APPLICATION;
use crate::pattern::Pattern;
use crate::site::PATIENCE;

/// Bytes that are sent or taken in one go.
pub const CHUNK: usize = 16 << 10;
/// Length of a [`Task`] on the wire.
const TASK_LEN: usize = 25;
/// A session's thread needs little.
const STACK: usize = 256 << 10;
/// A sender looks at its orders as often.
const PAUSE_MAX: Duration = Duration::from_millis(200);

/// What a session is for.
#[derive(Clone, Copy, Debug)]
pub struct Task {
    pub kind: Kind,
    /// Which bytes; no other session has the same.
    pub seed: u64,
    /// Bytes a second that the sender sends at most.
    pub rate: u64,
    /// How long [`Kind::Give`] gives at least, whether the user has said all or not.
    pub time: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Says back what it hears.
    Echo,
    /// Hears to the user's end, and ends then.
    Take,
    /// The same, but its own direction ends at once.
    Hear,
    /// Sends until the user has said all, and ends then.
    Give,
}

impl Task {
    /// Its session's first bytes.
    pub fn encode(&self) -> [u8; TASK_LEN] {
        let mut bytes = [self.kind as u8; TASK_LEN];
        bytes[1..9].copy_from_slice(&self.seed.to_be_bytes());
        bytes[9..17].copy_from_slice(&self.rate.to_be_bytes());
        let millis = u64::try_from(self.time.as_millis()).unwrap();
        bytes[17..].copy_from_slice(&millis.to_be_bytes());
        bytes
    }

    fn decode(bytes: &[u8; TASK_LEN]) -> Option<Self> {
        let kinds = [Kind::Echo, Kind::Take, Kind::Hear, Kind::Give];
        let number = |at: usize| u64::from_be_bytes(bytes[at..at + 8].try_into().unwrap());
        Some(Self {
            kind: kinds.into_iter().find(|kind| *kind as u8 == bytes[0])?,
            seed: number(1),
            rate: number(9),
            time: Duration::from_millis(number(17)),
        })
    }
}

/// An application that runs as long as this process does.
#[derive(Default)]
pub struct Application {
    sessions: Mutex<HashMap<u64, Session>>,
    changed: Condvar,
    wrong: Mutex<Vec<String>>,
}

#[derive(Default)]
struct Session {
    /// It is to reset itself.
    is_doomed: Arc<AtomicBool>,
    end: Option<End>,
}

/// How the application saw a session end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// In order, after it checked or gave so many bytes.
    InOrder(u64),
    /// By an error.
    Broken,
}

impl Application {
    pub fn start() -> Arc<Self> {
        let application = Arc::<Self>::default();
        let listener = TcpListener::bind(APPLICATION).unwrap();
        let its_own = Arc::clone(&application);
        thread::spawn(move || {
            for user in listener.incoming() {
                let application = Arc::clone(&its_own);
                let serve = move || application.serve(&user.unwrap());
                thread::Builder::new()
                    .stack_size(STACK)
                    .spawn(serve)
                    .unwrap();
            }
        });
        application
    }

    /// Has the application reset a session; whether it has that one.
    pub fn reset(&self, seed: u64) -> bool {
        let sessions = self.sessions.lock().unwrap();
        let session = sessions.get(&seed).filter(|session| session.end.is_none());
        session
            .map(|session| session.is_doomed.store(true, Ordering::SeqCst))
            .is_some()
    }

    /// How a session ended, once it has; `None` if it does not.
    pub fn end_of(&self, seed: u64) -> Option<End> {
        let sessions = self.sessions.lock().unwrap();
        let is_under_way = |sessions: &mut HashMap<u64, Session>| {
            sessions
                .get(&seed)
                .is_none_or(|session| session.end.is_none())
        };
        let waited = self
            .changed
            .wait_timeout_while(sessions, PATIENCE, is_under_way);
        let mut sessions = waited.unwrap().0;
        sessions.remove(&seed)?.end
    }

    /// What it heard that nobody said.
    pub fn wrong(&self) -> Vec<String> {
        self.wrong.lock().unwrap().clone()
    }

    fn serve(&self, user: &TcpStream) {
        let mut head = [0; TASK_LEN];
        let mut reader = user;
        // Whoever was cut off before has not begun.
        if reader.read_exact(&mut head).is_err() {
            return;
        }
        let Some(task) = Task::decode(&head) else {
            self.wrong
                .lock()
                .unwrap()
                .push(format!("a session began with {head:?}"));
            return;
        };
        let doom = Arc::<AtomicBool>::default();
        let session = Session {
            is_doomed: Arc::clone(&doom),
            end: None,
        };
        self.sessions.lock().unwrap().insert(task.seed, session);
        let result = match task.kind {
            Kind::Echo => echo(user, &doom),
            Kind::Take => take(user, task, &doom),
            Kind::Hear => user
                .shutdown(Shutdown::Write)
                .and_then(|()| take(user, task, &doom)),
            Kind::Give => give(user, task, &doom),
        };
        if let Err(error) = &result
            && error.kind() == io::ErrorKind::InvalidData
        {
            let what = format!("the application heard of {task:?}: {error}");
            self.wrong.lock().unwrap().push(what);
        }
        let end = result.map_or(End::Broken, End::InOrder);
        let mut sessions = self.sessions.lock().unwrap();
        sessions.entry(task.seed).or_default().end = Some(end);
        self.changed.notify_all();
    }
}

fn echo(mut user: &TcpStream, doom: &AtomicBool) -> io::Result<u64> {
    let mut room = [0; 4096];
    let mut bytes = 0;
    loop {
        let len = user.read(&mut room)?;
        obey(user, doom)?;
        if len == 0 {
            end(user)?;
            return Ok(bytes);
        }
        user.write_all(&room[..len])?;
        bytes += len as u64;
    }
}

fn take(mut user: &TcpStream, task: Task, doom: &AtomicBool) -> io::Result<u64> {
    let mut pattern = Pattern::new(task.seed);
    let mut room = vec![0; CHUNK];
    loop {
        let len = user.read(&mut room)?;
        obey(user, doom)?;
        if len == 0 {
            end(user)?;
            return Ok(pattern.passed());
        }
        pattern.check(&room[..len])?;
    }
}

fn give(user: &TcpStream, task: Task, doom: &AtomicBool) -> io::Result<u64> {
    let has_ended = Arc::<AtomicBool>::default();
    let (mut reader, its_has_ended) = (user.try_clone()?, Arc::clone(&has_ended));
    let listening = move || {
        // An end or a reset: the user wants no more.
        let _ = io::copy(&mut reader, &mut io::sink());
        its_has_ended.store(true, Ordering::SeqCst);
    };
    let listening = thread::Builder::new().stack_size(STACK).spawn(listening)?;
    let began = Instant::now();
    let sent = pour(user, task, || {
        obey(user, doom)?;
        Ok(!has_ended.load(Ordering::SeqCst) || began.elapsed() < task.time)
    });
    match sent {
        Ok(_) => end(user)?,
        // Frees the other thread, which shares the socket: it is closed, and so reset, by its last owner.
        Err(_) => drop(user.shutdown(Shutdown::Read)),
    }
    listening
        .join()
        .map_err(|_| io::Error::other("the reader's thread died"))?;
    sent
}

/// Ends a direction; it may have ended before.
fn end(user: &TcpStream) -> io::Result<()> {
    match user.shutdown(Shutdown::Write) {
        Err(error) if error.kind() != io::ErrorKind::NotConnected => Err(error),
        _ => Ok(()),
    }
}

/// Sends a session's bytes at its rate for as long as it is to; returns how many.
pub fn pour(
    mut to: &TcpStream,
    task: Task,
    mut goes_on: impl FnMut() -> io::Result<bool>,
) -> io::Result<u64> {
    let mut pattern = Pattern::new(task.seed);
    let chunk = usize::try_from(task.rate / 8)
        .unwrap_or(CHUNK)
        .clamp(1, CHUNK);
    let began = Instant::now();
    while goes_on()? {
        let due = Duration::from_micros(pattern.passed() * 1_000_000 / task.rate);
        match due.saturating_sub(began.elapsed()) {
            Duration::ZERO => to.write_all(pattern.next(chunk))?,
            // The pace is the point.
            early => thread::sleep(early.min(PAUSE_MAX)),
        }
    }
    Ok(pattern.passed())
}

/// Resets the session if that was ordered.
fn obey(user: &TcpStream, doom: &AtomicBool) -> io::Result<()> {
    if !doom.load(Ordering::SeqCst) {
        return Ok(());
    }
    set_socket_linger(user, Some(Duration::ZERO))?;
    Err(io::ErrorKind::ConnectionAborted.into())
}

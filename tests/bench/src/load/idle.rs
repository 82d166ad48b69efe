//! Sessions that stay open and say nothing.

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::load::door::Door;
use crate::load::sessions;

/// Sessions that are opened at the same time.
const OPENERS: usize = 8;
/// How long opening may take in all: with every session that some peers hold, the next one costs more.
const GROW_MAX: Duration = Duration::from_secs(60);

/// Sessions that are held.
#[derive(Debug, Default)]
pub struct Idle(Vec<TcpStream>);

impl Idle {
    /// Opens sessions until there are `count`.
    ///
    /// # Errors
    /// How many there are when the first one fails, and why it does.
    pub fn grow_to(&mut self, count: usize, door: &Door) -> Result<(), (usize, String)> {
        let left = AtomicUsize::new(count.saturating_sub(self.0.len()));
        let opened = Mutex::new(Vec::new());
        let failed = Mutex::new(None);
        let end = Instant::now() + GROW_MAX;
        let open_one = || match Instant::now() < end {
            true => sessions::open(door),
            false => Err(io::Error::other(format!(
                "{count} are not open after {GROW_MAX:?}"
            ))),
        };
        let open = || {
            while left
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                    left.checked_sub(1)
                })
                .is_ok()
            {
                match open_one() {
                    Ok(stream) => lock(&opened).push(stream),
                    Err(error) => {
                        left.store(0, Ordering::Relaxed);
                        lock(&failed).get_or_insert(error.to_string());
                    }
                }
            }
        };
        thread::scope(|scope| {
            for _ in 0..OPENERS {
                scope.spawn(open);
            }
        });
        self.0.append(&mut lock(&opened));
        match lock(&failed).take() {
            None => Ok(()),
            Some(why) => Err((self.0.len(), why)),
        }
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Sends a byte of its own into every session, and has each come back; returns how many did.
    ///
    /// # Errors
    /// The first session in which it does not, and why.
    pub fn check(&mut self) -> Result<usize, String> {
        let dead = |number, error| format!("session {number} is dead: {error}");
        let bytes = || (0..=u8::MAX).cycle();
        for ((number, stream), byte) in self.0.iter_mut().enumerate().zip(bytes()) {
            let sent = stream.write_all(&[byte]);
            sent.map_err(|error| dead(number, error))?;
        }
        for ((number, stream), byte) in self.0.iter_mut().enumerate().zip(bytes()) {
            let mut back = [0];
            let read = stream.read_exact(&mut back);
            read.map_err(|error| dead(number, error))?;
            if back != [byte] {
                return Err(format!("session {number} echoes another one's byte"));
            }
        }
        Ok(self.0.len())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

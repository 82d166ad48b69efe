//! One stream of bulk: both its ends, which count in the same place.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write as _};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{MemfdFlags, memfd_create, sendfile};
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};

use crate::load::door::PATIENCE;

/// Bytes that are sent over and over. More than a core's own cache, as what an application sends is.
const CONTENT_LEN: u64 = 16 << 20;
/// Bytes that are asked of the kernel in one call.
const CHUNK: u64 = 1 << 20;
/// Bytes that one call discards at most.
const ROOM: usize = 1 << 20;
/// How often a paced flow sends.
const BEATS_PER_SECOND: u64 = 1000;

/// A stream of bulk, seen from both ends.
#[derive(Debug, Default)]
pub struct Flow {
    /// Bytes a second; `None`: as many as there go.
    rate: Option<u64>,
    stopped: AtomicBool,
    sent: AtomicU64,
    received: AtomicU64,
    /// How each end ended.
    ends: Mutex<Vec<Result<(), String>>>,
    ended: Condvar,
}

impl Flow {
    /// One that was not begun.
    #[must_use]
    pub fn new(rate: Option<u64>) -> Arc<Self> {
        Arc::new(Self {
            rate,
            ..Self::default()
        })
    }

    /// Bytes that have arrived.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Has the sender stop. What it sent is still to arrive.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    /// Waits for both ends.
    ///
    /// # Errors
    /// What broke, or how many bytes are missing.
    pub fn finish(&self) -> Result<(), String> {
        let ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        let (ends, waited) = self
            .ended
            .wait_timeout_while(ends, PATIENCE, |ends| ends.len() < 2)
            .unwrap_or_else(PoisonError::into_inner);
        if waited.timed_out() {
            return Err(format!("a flow did not end within {PATIENCE:?}"));
        }
        ends.iter().cloned().collect::<Result<(), String>>()?;
        let (sent, received) = (self.sent.load(Ordering::Relaxed), self.received());
        match sent == received {
            true => Ok(()),
            false => Err(format!("{sent} bytes were sent, {received} arrived")),
        }
    }

    /// Sends until it is stopped, then ends this direction.
    pub fn send(&self, socket: &TcpStream, content: &Content) {
        self.end(self.pour(socket, content));
    }

    fn pour(&self, socket: &TcpStream, content: &Content) -> io::Result<()> {
        let chunk = self.rate.map_or(CHUNK, |rate| rate / BEATS_PER_SECOND);
        let (start, mut sent, mut offset) = (Instant::now(), 0, 0);
        while !self.stopped.load(Ordering::Relaxed) {
            let wanted = chunk.min(CONTENT_LEN - offset);
            let len = usize::try_from(wanted).unwrap_or(usize::MAX);
            let len = sendfile(socket, &content.0, Some(&mut offset), len)? as u64;
            offset %= CONTENT_LEN;
            sent += len;
            self.sent.fetch_add(len, Ordering::Relaxed);
            if let Some(rate) = self.rate {
                let due = start + Duration::from_nanos(sent.saturating_mul(1_000_000_000) / rate);
                thread::sleep(due.saturating_duration_since(Instant::now()));
            }
        }
        socket.shutdown(Shutdown::Write)
    }

    /// Takes everything there comes, to the end.
    pub fn receive(&self, socket: &TcpStream) {
        self.end(self.discard(socket));
    }

    fn discard(&self, socket: &TcpStream) -> io::Result<()> {
        let mut nowhere = vec![0; ROOM];
        loop {
            // TCP drops what is read with this flag instead of copying it (tcp(7)).
            match recv(socket, &mut nowhere[..], RecvFlags::TRUNC) {
                Ok((0, _)) => return Ok(()),
                Ok((len, _)) => self.received.fetch_add(len as u64, Ordering::Relaxed),
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            };
        }
    }

    fn end(&self, result: io::Result<()>) {
        let result = result.map_err(|error| error.to_string());
        let mut ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        ends.push(result);
        self.ended.notify_all();
    }
}

/// What bulk consists of: a file in memory.
#[derive(Debug)]
pub struct Content(File);

impl Content {
    /// Makes it.
    ///
    /// # Errors
    /// Those of the file.
    pub fn new() -> io::Result<Self> {
        let mut file = File::from(memfd_create("bulk", MemfdFlags::CLOEXEC)?);
        let block: Vec<u8> = (0..CHUNK).map(|at| (at % 251) as u8).collect();
        for _ in 0..CONTENT_LEN / CHUNK {
            file.write_all(&block)?;
        }
        Ok(Self(file))
    }
}

/// The flows that users have announced, by their numbers.
#[derive(Debug, Default)]
pub struct Flows(Mutex<HashMap<u64, Arc<Flow>>>, AtomicU64);

impl Flows {
    /// Announces one; returns its number.
    pub fn announce(&self, flow: &Arc<Flow>) -> u64 {
        let number = self.1.fetch_add(1, Ordering::Relaxed);
        let mut flows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        flows.insert(number, Arc::clone(flow));
        number
    }

    /// Takes one that was announced, once.
    #[must_use]
    pub fn take(&self, number: u64) -> Option<Arc<Flow>> {
        let mut flows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        flows.remove(&number)
    }
}

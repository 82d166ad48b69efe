//! New sessions, one after the other: dial, a byte there and back, close.

use std::io::{self, Read as _, Write as _};
use std::thread;
use std::time::{Duration, Instant};

use crate::load::ECHO;
use crate::load::door::Door;

/// Has `clients` open and close sessions for `time`; returns how long each took from the dial to the
/// byte, in microseconds, and how long all of it took, in seconds.
///
/// # Errors
/// The first session that fails.
pub fn run(door: &Door, clients: usize, time: Duration) -> io::Result<(Vec<f64>, f64)> {
    let start = Instant::now();
    let one = || -> io::Result<Vec<f64>> {
        let mut latencies = Vec::new();
        while start.elapsed() < time {
            let begun = Instant::now();
            open(door)?;
            latencies.push(begun.elapsed().as_secs_f64() * 1e6);
        }
        Ok(latencies)
    };
    let results: Vec<io::Result<Vec<f64>>> = thread::scope(|scope| {
        let threads: Vec<_> = (0..clients).map(|_| scope.spawn(one)).collect();
        let died = || Err(io::Error::other("a client's thread died"));
        let results = threads.into_iter().map(thread::ScopedJoinHandle::join);
        results
            .map(|result| result.unwrap_or_else(|_| died()))
            .collect()
    });
    let mut latencies = Vec::new();
    for result in results {
        latencies.extend(result?);
    }
    Ok((latencies, start.elapsed().as_secs_f64()))
}

/// Opens a session and has a byte come back.
///
/// # Errors
/// Those of the session.
pub fn open(door: &Door) -> io::Result<std::net::TcpStream> {
    let mut stream = door.connect()?;
    stream.write_all(&[ECHO])?;
    let mut back = [0];
    stream.read_exact(&mut back)?;
    match back {
        [ECHO] => Ok(stream),
        [other] => Err(io::Error::other(format!("{other} came back"))),
    }
}

//! One byte there and back, over and over, in one session.

use std::io::{self, Read as _, Write as _};
use std::time::{Duration, Instant};

use crate::load::ECHO;
use crate::load::door::Door;

/// Plays for `time`; returns each round trip in microseconds.
///
/// # Errors
/// Those of the session, and a byte that is another one when it comes back.
pub fn run(door: &Door, time: Duration) -> io::Result<Vec<f64>> {
    let mut stream = door.connect()?;
    stream.write_all(&[ECHO])?;
    stream.read_exact(&mut [0])?;
    let end = Instant::now() + time;
    let mut round_trips = Vec::new();
    for byte in (0..=u8::MAX).cycle() {
        let start = Instant::now();
        if start >= end {
            break;
        }
        stream.write_all(&[byte])?;
        let mut back = [0];
        stream.read_exact(&mut back)?;
        round_trips.push(start.elapsed().as_secs_f64() * 1e6);
        if back != [byte] {
            let what = format!("{byte} was sent and {} came back", back[0]);
            return Err(io::Error::other(what));
        }
    }
    Ok(round_trips)
}

//! Through a buffer in user space: read(2) and write(2).

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;

use super::{Moved, Mover};

/// Bytes that one call reads. They stay in a core's own cache from the read to the write.
const LEN: usize = 64 << 10;

/// The buffer of a thread: no session keeps it.
#[derive(Debug)]
pub struct Buffer(Vec<u8>);

impl Default for Buffer {
    fn default() -> Self {
        Self(vec![0; LEN])
    }
}

impl Mover for Buffer {
    /// What was read and not taken.
    type Held = Vec<u8>;

    fn turn(
        &mut self,
        mut from: &TcpStream,
        mut to: &TcpStream,
        held: &mut Vec<u8>,
        budget: usize,
    ) -> io::Result<Moved> {
        while !held.is_empty() {
            match to.write(held) {
                Ok(len) => drop(held.drain(..len)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(Moved::Blocked);
                }
                Err(error) => return Err(error),
            }
        }
        let mut moved = 0;
        while moved < budget {
            let len = match from.read(&mut self.0) {
                Ok(0) => return Ok(Moved::Ended),
                Ok(len) => len,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(Moved::Blocked);
                }
                Err(error) => return Err(error),
            };
            moved += len;
            let mut rest = &self.0[..len];
            while !rest.is_empty() {
                match to.write(rest) {
                    Ok(len) => rest = &rest[len..],
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        held.extend_from_slice(rest);
                        return Ok(Moved::Blocked);
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(Moved::Spent)
    }
}

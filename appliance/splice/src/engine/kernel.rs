//! Engine A: the kernel's TLS and `splice(2)`; no byte comes into this process.

use super::{Broken, Engine, Flow, Progress};
use crate::channel::{DirectionKeys, Rekey};
use std::net::TcpStream;

/// Gives the kernel the keys of what is sent; false if it does not take them, and then nothing changed.
#[must_use]
pub fn install_outward(_socket: &TcpStream, _keys: &DirectionKeys) -> bool {
    false
}

/// Gives the kernel the keys of what comes; see [`install_outward`].
#[must_use]
pub fn install_inward(_socket: &TcpStream, _keys: &DirectionKeys) -> bool {
    false
}

/// Outward: the plain socket is spliced into a pipe, the pipe into the TLS socket.
#[derive(Debug)]
pub struct Outward {}

impl Outward {
    /// From the next record on.
    #[must_use]
    pub fn new(_sequence: u64) -> Self {
        Self {}
    }
}

impl super::Outward for Outward {
    fn turn(&mut self, _flow: &mut Flow<'_>) -> Result<Progress, Broken> {
        Ok(Progress::Waiting)
    }
    fn preload(&mut self, _bytes: Vec<u8>) {}
    fn limit(&mut self, _bytes: u64) {}
    fn limit_left(&self) -> Option<u64> {
        None
    }
    fn leave(&mut self) {}
    fn is_holding(&self) -> bool {
        false
    }
    fn records(&self) -> u64 {
        0
    }
    fn engine(&self) -> Engine {
        Engine::Kernel
    }
}

/// Inward: the TLS socket is spliced into a pipe, the pipe into the plain socket.
#[derive(Debug)]
pub struct Inward {}

impl Inward {
    /// From the next record on.
    #[must_use]
    pub fn new(_sequence: u64) -> Self {
        Self {}
    }
}

impl super::Inward for Inward {
    fn turn(&mut self, _flow: &mut Flow<'_>, _rekey: &mut Rekey) -> Result<Progress, Broken> {
        Ok(Progress::Waiting)
    }
    fn is_holding(&self) -> bool {
        false
    }
    fn records(&self) -> u64 {
        0
    }
    fn engine(&self) -> Engine {
        Engine::Kernel
    }
}

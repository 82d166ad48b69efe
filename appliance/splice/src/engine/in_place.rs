//! Engine B: in this process, records sealed and opened where they lie.

use super::{Broken, Engine, Flow, Progress};
use crate::channel::{DirectionKeys, Rekey};

/// Outward: read into record slots, sealed in place, many records in one send.
#[derive(Debug)]
pub struct Outward {}

impl Outward {
    /// From the next record on.
    ///
    /// # Errors
    /// [`Broken::BadRecord`] for a suite that is none of ours.
    pub fn new(_keys: DirectionKeys) -> Result<Self, Broken> {
        Ok(Self {})
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
        Engine::InPlace
    }
}

/// Inward: received into one buffer, opened in place, written in one call.
#[derive(Debug)]
pub struct Inward {}

impl Inward {
    /// From the next record on.
    ///
    /// # Errors
    /// [`Broken::BadRecord`] for a suite that is none of ours.
    pub fn new(_keys: DirectionKeys) -> Result<Self, Broken> {
        Ok(Self {})
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
        Engine::InPlace
    }
}

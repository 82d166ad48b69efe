//! The system slots when the power fails at any moment, and the installer's process.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod disk;
mod installer;
mod loader;
mod power_cuts;
mod world;

//! The load: users on one side of a tunnel, an application on the other, both in this process.
//!
//! A user's first byte tells the application what the session is for: [`ECHO`] has everything sent back,
//! that byte included; [`UP`] and [`DOWN`] name a [`flow::Flow`] by number, whose counters both ends
//! share. Bulk never enters this process's memory: it leaves by sendfile and is discarded in the kernel.

pub mod application;
pub mod bulk;
pub mod door;
pub mod flow;
pub mod idle;
pub mod ping;
pub mod sessions;

/// First byte of a session that is echoed.
pub const ECHO: u8 = b'e';
/// First byte of a flow from the application to the user; its number follows.
pub const UP: u8 = b'u';
/// First byte of a flow from the user to the application; its number follows.
pub const DOWN: u8 = b'd';

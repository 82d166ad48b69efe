//! The data plane of both ends over loopback: an application behind a connector's plane, a user behind an
//! edge's, engine B on both. Every byte is compared.

#![expect(clippy::unwrap_used, reason = "a panic is a test's report")]

mod ends;
mod faults;
mod harness;
mod many;
mod orders;
mod succession;
mod transport;

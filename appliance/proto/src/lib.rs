//! The protocol between connector and service edge, without any input or output.
//!
//! Everything here is handed bytes, the time and random numbers, and says what to send, what
//! happened and when to be called again. No clock, socket, thread or random source is read, so a
//! test can run a fleet of both sides in one process under a seeded world.
//!
//! From the bottom up:
//!
//! 1. [`limits`]: every bound, with its reason.
//! 2. [`time`]: instants the caller supplies.
//! 3. [`frame`]: length-delimited frames; the first place where a peer's bytes are looked at.
//! 4. [`message`]: what each frame means; frozen structs with golden bytes.
//! 5. [`key`], [`mod@derive`]: the provisioning key as people type it, and what both sides derive.
//! 6. [`enrol`], [`renew`], [`edge_time`], [`control`], [`data`]: one state machine for each kind of connection and side.
//! 7. [`grant`], [`address`]: what a session may reach.
//! 8. [`keepalive`], [`backoff`]: when a peer is dead, and when to try again.
//! 9. [`record`]: the state record on disk. [`local`]: what the machine's own processes tell each other.
//! 10. [`tpm`]: commands that seal a secret with a TPM.
//! 11. [`life`]: what a connector does with all that, from its first boot on.
//! 12. [`dns`], [`resolve`]: the addresses of a host, from resolvers that may lie or be silent.
//!
//! A machine is driven with five verbs:
//!
//! - `handle_input(now, bytes)` takes what the peer sent;
//! - `handle_timeout(now)` when the instant of `poll_timeout` has come;
//! - `poll_transmit()` yields bytes to send: drain until `None`;
//! - `poll_event()` yields what happened: drain until `None`;
//! - `poll_timeout()` says when to call `handle_timeout`.
//!
//! Guaranteed: no panic on any input, no recursion, no allocation that a length field of a peer
//! decides, and at most [`limits::FRAME_BODY_MAX`] bytes buffered for a peer.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod limits;
pub mod time;

pub mod error;
pub mod frame;
pub mod message;

pub mod derive;
pub mod key;

pub mod control;
pub mod data;
pub mod edge_time;
pub mod enrol;
mod outbox;
pub mod renew;

pub mod address;
pub mod grant;

pub mod backoff;
pub mod keepalive;

pub mod local;
pub mod network;
pub mod record;
pub mod tpm;

pub mod life;

pub mod dns;
pub mod resolve;

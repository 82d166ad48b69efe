//! The reference service edge: connectors dial it, users come in by its proxy, and it brokers
//! sessions between the two.
//!
//! From the bottom up:
//!
//! 1. [`config`], [`error`], `clock`, `text`, `log_sink`: what everything else stands on.
//! 2. [`authorise`], [`recognise`]: who may do what, and which machine is which; pure.
//! 3. [`store`]: one SQLite file; every decision is one transaction with its audit row.
//! 4. [`authority`]: the keys of the edge; issues certificates and signs grants. [`backup`]: a copy of all.
//! 5. `tls`, `acceptor`: one port, one protocol per ALPN name, bounds before authentication.
//! 6. `enrolment`, `renewal`, `edge_time`, `control`, `data`: the five kinds of connection, each a
//!    driver of one machine of `connector-proto`.
//! 7. `broker`: who is connected, and which session waits for which data channel.
//! 8. `ingress`, [`passwords`], `relay`: the users' proxy, and a session on the data plane.
//! 9. [`cli`]: the administrator's commands, on the same store while the edge runs.
//!
//! Guaranteed: no peer can end more than its own connection; nothing a peer says in a message
//! names who it is, only its verified certificate does.
#![forbid(unsafe_code)]

pub mod config;
pub mod error;

mod clock;
mod descriptors;
mod log_sink;
mod text;

pub mod authorise;
pub mod recognise;

pub mod store;

pub mod authority;
pub mod backup;

mod acceptor;
mod tls;

mod control;
mod data;
mod edge_time;
mod enrolment;
mod renewal;

mod broker;
mod housekeeping;

mod ingress;
pub mod passwords;
mod relay;

pub mod cli;
mod server;

pub use config::Config;
pub use error::Error;
pub use server::{Edge, Running};
pub use tls::fuzz_ticket;

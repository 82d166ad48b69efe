//! An edge, connectors and users in one process over loopback. The connectors are written with
//! rustls and the machines of `connector-proto`, as an appliance is.

#![expect(clippy::unwrap_used, reason = "a helper that cannot go on says where")]

mod harness;

mod administration;
mod backup;
mod bad_peers;
mod capacity;
mod edge_time;
mod enrolment;
mod identity;
mod outage;
mod path;
mod process;
mod proxy;
mod renewal;
mod restart;
mod rotation;
mod sessions;
mod succession;
mod warm;

//! An edge, connectors and users in one process over loopback. The connectors are written with
//! rustls and the machines of `connector-proto`, as an appliance is.

mod harness;

mod bad_peers;
mod certificates;
mod enrolment;
mod proxy;
mod restart;
mod sessions;

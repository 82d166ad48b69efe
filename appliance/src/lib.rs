//! The connector and the console: what runs in the VM beside PID 1.
//!
//! The connector, from the outside in:
//!
//! 1. [`event_loop`]: the one loop; [`interest`] is what it waits for, [`local_channel`] its line to PID 1.
//! 2. [`connector`]: does what `connector_proto::life` decides, and what surrounds the identity.
//! 3. [`tunnel`] and [`session`]: one connection to the edge, one session; both go on in `turn`s that
//!    never block. [`pump`] carries a session's bytes.
//! 4. [`reach`]: TCP to the edge, directly or through an HTTP [`proxy`].
//! 5. [`lookup`], [`dial`], [`tls`]: names, TCP, TLS. [`verifier`]: what is made of a certificate's verdict, by
//!    [`edge_time`] while the clock may be wrong, and by [`issuer`] where TLS is inspected on the way.
//! 6. [`store`], [`identity`], [`edge_name`]: the state record, the key pair, the edge's name.
//! 7. [`tpm`]: seals what opens the state record, where there is one.
//! 8. [`clock`], [`logger`].
//!
//! The console is [`console`], a process of its own without network access.

pub mod event_loop;
pub mod interest;
pub mod local_channel;

pub mod connector;

pub mod pump;
pub mod session;
pub mod tunnel;

pub mod proxy;
pub mod reach;

pub mod dial;
pub mod edge_time;
pub mod issuer;
pub mod lookup;
pub mod tls;
pub mod verifier;

pub mod edge_name;
pub mod identity;
pub mod store;
pub mod tpm;

pub mod clock;
pub mod logger;

pub mod console;

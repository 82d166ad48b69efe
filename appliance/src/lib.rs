//! The connector and the console: what runs in the VM beside PID 1.
//!
//! The connector, from the outside in:
//!
//! 1. [`event_loop`]: the one loop; [`interest`] and [`waiting`] are what it waits for, [`local_channel`] is its
//!    line to PID 1, [`mailbox`] what the data plane's threads tell it.
//! 2. [`connector`]: does what `connector_proto::life` decides, and what surrounds the identity.
//! 3. [`tunnel`], [`pool`] and [`session`]: one connection to the edge, the data channels that wait for
//!    sessions, one session until its application stands; all go on in `turn`s that never block. From then
//!    on a session is the data plane's (`splice_core`). [`capacity`] says how many there may be.
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
pub mod mailbox;
pub mod waiting;

pub mod connector;

pub mod capacity;
pub mod pool;
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

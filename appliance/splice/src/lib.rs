//! The splice core: carries the bytes of sessions between plain sockets and data channels.
//!
//! Both ends of a tunnel use it: the connector between an application and its data channel, the
//! service edge between a user and the same data channel. To both, the side without TLS is *plain*,
//! the direction into the data channel is *outward* and the one out of it *inward*.
//!
//! ```text
//!             outward: read plain, seal, send                  (engine A: splice into kernel TLS)
//!  plain  ------------------------------------>  data channel
//!  socket <------------------------------------  (TLS 1.3)
//!             inward: receive, open, write                     (engine B: in place, in user space)
//! ```
//!
//! Reading order: [`greeting`] (a data channel up to the moment when it becomes a session's),
//! [`channel`] (what is left of it then), [`engine`] (one direction of a session, in two
//! implementations), [`session`] (both directions and succession), [`reactor`] (what is ready),
//! [`plane`] (the threads that do all of that), [`calibrate`] (which engine is the faster one here).

pub mod buffers;
pub mod calibrate;
pub mod channel;
pub mod engine;
pub mod greeting;
#[cfg(any(test, feature = "loopback"))]
pub mod loopback;
pub mod plane;
pub mod reactor;
pub mod record;
pub mod session;
